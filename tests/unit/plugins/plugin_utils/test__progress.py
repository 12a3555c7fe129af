# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How far a gather is, in words."""

from __future__ import annotations

import pytest

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.progress import Record
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._progress import sentence


@pytest.mark.parametrize(
    ("record", "seconds", "said"),
    [
        (Record(0, 0, 40, 0), 3, "east: 0 of 40 pods read, 0 ports on localhost so far, 0 unread"),
        (Record(9, 1, 40, 2), 10, "east: 9 of 40 pods read, 2 ports on localhost so far, 1 unread, about 30 s left"),
        (
            Record(100, 0, 8000, 2),
            10,
            "east: 100 of 8000 pods read, 2 ports on localhost so far, 0 unread, about 13 min left",
        ),
        (Record(39, 1, 40, 2), 10, "east: 39 of 40 pods read, 2 ports on localhost so far, 1 unread"),
    ],
)
def test_the_sentence_says_how_much_is_left(record, seconds, said):
    assert sentence("east", record, seconds) == said
