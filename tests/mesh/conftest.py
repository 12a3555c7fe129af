# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import shutil

import pytest

STATE = os.environ.get("ISTIO_PRECHECK_STATE") or "/run/istio-precheck-cluster"
if not STATE.endswith("-mesh"):  # the one of `make mesh-up`, beside the cluster that may be up
    os.environ["ISTIO_PRECHECK_STATE"] = f"{STATE}-mesh"


@pytest.fixture(scope="session")
def mesh():
    """A mesh with one namespace of the story in it. It is left up only where it was up before."""
    if os.geteuid() or not shutil.which("apt-get"):
        pytest.skip("needs root on a Linux with apt")
    from ansible_collections.meshops.istio_precheck.tests.mesh import meshes

    with meshes.running() as running:
        yield running
