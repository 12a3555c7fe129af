# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import shutil

import pytest

PODS = 2000


@pytest.fixture(scope="session")
def large():
    """A cluster of 2,000 pods."""
    if os.geteuid() or not shutil.which("apt-get"):
        pytest.skip("needs root on a Linux with apt")
    import harness

    with harness.large_cluster(PODS) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def run(large):
    """Runs the module over the pods of the fleet."""
    import fleet
    import harness

    def run_module(**options):
        ran = harness.run_module(large, exclude_namespaces=[fleet.ODD], **options)
        assert ran.code == 0, ran.result.get("msg")
        return ran

    return run_module


@pytest.fixture(scope="session")
def whole(run):
    """One run over all of them."""
    return run()
