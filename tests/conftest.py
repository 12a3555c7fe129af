# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import gc

import pytest

LONGEST_ID = 50


def pytest_collection_finish():
    """Let the garbage collector pass by what is loaded until the end: a tenth of the processor time of all tests."""
    gc.collect()
    gc.freeze()


def pytest_make_parametrize_id(config, val, argname):
    """A text that would fill the screen is cut; pytest tells those apart that are alike then."""
    return f"{val[: LONGEST_ID - 3]}..." if isinstance(val, str) and len(val) > LONGEST_ID else None


@pytest.fixture()
def alone(monkeypatch, tmp_path):
    """No proxy of the user's, no file about an earlier server, no wait that a user would notice."""
    from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather import api, exec
    from ansible_collections.meshops.istio_precheck.tests.helpers.fault_server import stand_alone

    stand_alone(monkeypatch, tmp_path, api, exec)
