# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a report says is to be done about a port."""

from __future__ import annotations

import pytest

from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._reports.view import fix_of

SIDECAR = {"action": "create", "manifest": {"metadata": {"namespace": "shop", "name": "listeners"}}}
TWO = {"answered_by": {"today": ["127.0.0.1:8080"], "later": ["10.0.0.5:8080"]}}


@pytest.mark.parametrize(
    "record, remediation, wanted",
    [
        ({}, SIDECAR, "Apply Sidecar shop/listeners, or make the program listen on 0.0.0.0 or ::."),
        (
            {},
            None,
            "Make the program listen on 0.0.0.0 or ::, or take the port out of the Service. No Sidecar can help.",
        ),
        (TWO, SIDECAR, "Apply Sidecar shop/listeners, or give one of the two programs another port."),
        (
            TWO,
            None,
            "Give one of the two programs another port, or take the port out of the Service. No Sidecar can help.",
        ),
    ],
)
def test_two_programs_on_one_port_are_not_told_to_listen_everywhere(record, remediation, wanted):
    assert fix_of("findings", record, remediation) == wanted
