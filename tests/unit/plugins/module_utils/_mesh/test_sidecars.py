# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.meshops.istio_precheck.tests.helpers.cluster import istiod, pod, report, sidecar, verdict

SAID = "Sidecar shop/listeners is labelled istio.io/rev=old, and no istiod of another revision sees it"
TO_LOCALHOST = {8080: "127.0.0.1:8080"}
OLD, CANARY = istiod("1.20.8", "old"), istiod("1.24.0", "canary")


@pytest.mark.parametrize(
    "istiods, target, label, wanted, said",
    [
        ([OLD], "1.24", "old", "remediated", True),
        ([OLD], None, "old", "remediated", True),
        ([OLD], "1.24", None, "remediated", False),
        ([OLD], "1.24", "other", "unreachable", False),
        # The next one is there, and does not see it.
        ([OLD, CANARY], "1.24", "old", "breaks_on_upgrade", False),
        ([OLD, CANARY], "1.24", None, "remediated", False),
        # Nothing moves.
        ([OLD], "1.20.8", "old", "remediated", False),
    ],
)
def test_a_sidecar_that_the_next_revision_would_not_see_is_named(istiods, target, label, wanted, said):
    sidecars = [sidecar(ingress=TO_LOCALHOST, revision=label)]
    found = report([pod(revision="old")], None, sidecars, istiods, target=target)
    assert verdict(found) == wanted
    assert any(hint.startswith(SAID) for hint in found["hints"]) == said
