# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A cluster that falls apart in the middle of a gather: what was read counts, what was not is unchecked, and nothing passes for it.

The last file of its folder by name: after it the cluster's pods start anew.
"""

from __future__ import annotations

import itertools
import pathlib
import subprocess
import sys
import threading
import time

import pytest

from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather import exec as _exec
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.report import blocking
from ansible_collections.meshops.istio_precheck.plugins.modules import localhost_listener_info
from ansible_collections.meshops.istio_precheck.tests.helpers import module_runner

CLUSTER = pathlib.Path(__file__).resolve().parents[1] / "cluster" / "cluster.py"
NAMESPACES = ["ist0143", "cured"]
FIRST = 3


def cluster_py(*arguments):
    subprocess.run(
        [sys.executable, str(CLUSTER), *arguments],
        check=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=240,
    )


@pytest.fixture(name="whole", scope="module")
def fixture_whole(workloads):
    """The result while all is well."""
    if not workloads.ours:
        pytest.skip("stops parts of the cluster, so it has to be the one that tests/cluster makes")
    ended = module_runner.run(localhost_listener_info.main, kubeconfig=str(workloads.kubeconfig), namespaces=NAMESPACES)
    assert ended.code == 0 and not ended.result["unchecked"]
    return ended.result


@pytest.fixture(name="disturbed")
def fixture_disturbed(workloads, whole, monkeypatch):
    """Runs the module with three pods at once. After the first few it stops a component, and the others go on; the one at that point once it is `back`."""
    asked = _exec.ExecClient.run

    def run_it(component, back):
        number, lock, fallen = itertools.count(1), threading.Lock(), threading.Event()
        waited: list[tuple[str, str]] = []

        def disturbed(client, *what):
            with lock:
                turn = next(number)
            if turn == FIRST + 1:
                waited.append(what[:2])
                cluster_py("stop", component)
                fallen.set()
                if back:
                    time.sleep(3)  # in which the others find nobody
                    cluster_py("up")
            elif turn > FIRST:
                assert fallen.wait(120)
            return asked(client, *what)

        monkeypatch.setattr(_exec.ExecClient, "run", disturbed)
        ended = module_runner.run(
            localhost_listener_info.main, kubeconfig=str(workloads.kubeconfig), namespaces=NAMESPACES, concurrency=3
        )
        unread = {(entry["namespace"], entry["pod"]) for entry in ended.result["unchecked"]}
        assert waited and unread.isdisjoint(waited) is back
        return ended

    return run_it


def holds(ended, whole):
    """The run ended as it should: each pod is read or unchecked, what it says of those it read is true, and the gate is shut."""
    assert ended.code == 0 and "Traceback" not in ended.stderr
    result = ended.result
    unread = {(entry["namespace"], entry["pod"]) for entry in result["unchecked"]}
    assert 0 < result["summary"]["pods_read"] == whole["summary"]["pods"] - len(unread)
    assert unread and all(entry["detail"] for entry in result["unchecked"])
    expected = {
        finding["id"]
        for finding in whole["findings"]
        if not {(finding["namespace"], pod) for pod in finding["pods"]} <= unread
    }
    assert {finding["id"] for finding in result["findings"]} == expected
    assert blocking(result, ["unchecked"])
    return {entry["reason"] for entry in result["unchecked"]}


def test_an_api_server_that_restarts_leaves_unchecked_what_it_could_not_answer(disturbed, whole):
    try:
        assert holds(disturbed("apiserver", back=True), whole) == {"connection"}
    finally:
        cluster_py("up")


def test_a_node_that_goes_away_leaves_its_pods_unchecked(disturbed, whole):
    try:
        assert "node_unreachable" in holds(disturbed("node", back=False), whole)
    finally:
        cluster_py("up")
