# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import shutil

import pytest

NAMESPACES = ("istio-system", "ist0143", "cured", "awkward")


@pytest.fixture(scope="session")
def cluster():
    """The test cluster, with nothing of these tests left on it afterwards."""
    given = os.environ.get("KUBECONFIG") and os.environ.get("PRECHECK_DISPOSABLE_CLUSTER") == "1"
    if not given and (os.geteuid() or not shutil.which("apt-get")):
        pytest.skip(
            "needs root on a Linux with apt, or a cluster to use up: KUBECONFIG and PRECHECK_DISPOSABLE_CLUSTER=1"
        )
    import testcluster

    running = testcluster.running_cluster()
    running.install_sidecar_crd()
    yield running
    running.clean_up()


@pytest.fixture(scope="session")
def workloads(cluster):
    """The cluster with the programs of tests/cluster/workloads up and listening."""
    import testcluster

    cluster.apply(testcluster.WORKLOADS)
    for namespace in NAMESPACES:
        cluster.wait_ready(namespace)
    return cluster
