# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The slow way to gather, with kubernetes.core's own tasks, says what the module says."""

from __future__ import annotations

import pathlib
from concurrent.futures import ThreadPoolExecutor

import pytest

from ansible_collections.meshops.istio_precheck.tests.helpers.playing import play

NAMESPACE = "by-tasks"
# To whoever may not list it, a server does not say that it lacks a kind; kubernetes.core asks it which kinds there are.
LISTS = [
    {"apiGroups": [""], "resources": ["services", "pods"], "verbs": ["list"]},
    {
        "apiGroups": ["networking.istio.io"],
        "resources": ["sidecars", "serviceentries", "workloadentries", "workloadgroups", "envoyfilters"],
        "verbs": ["list"],
    },
]

# Its ss never ends: an exec into it gets no answer.
DEAF = """
ss=$(command -v ss); rm "$ss"; printf '#!/bin/sh\\nexec sleep 3600\\n' > "$ss"; chmod 755 "$ss"; exec sleep 3600
"""


def silent():
    labels = {"app": "silent", "security.istio.io/tlsMode": "istio"}
    proxy = {
        "name": "istio-proxy",
        "image": "precheck.test/proxyv2:1.9.9",
        "imagePullPolicy": "Never",
        "command": ["sh", "-c", DEAF],
        "args": [],
    }
    return [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": "silent",
                "namespace": NAMESPACE,
                "labels": labels,
                "annotations": {"sidecar.istio.io/status": '{"containers":["istio-proxy"],"revision":"default"}'},
            },
            "spec": {
                "containers": [proxy],
                "automountServiceAccountToken": False,
                "enableServiceLinks": False,
                "terminationGracePeriodSeconds": 0,
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "silent", "namespace": NAMESPACE},
            "spec": {"selector": {"app": "silent"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
        },
    ]


@pytest.fixture(scope="module")
def awkward(cluster):
    """A namespace with one pod of each awkward kind, and a silent one."""
    import testcluster

    objects = testcluster.load(testcluster.WORKLOADS / "awkward.yaml")
    for each in objects:
        if each["kind"] == "Namespace":
            each["metadata"]["name"] = NAMESPACE
        else:
            each["metadata"]["namespace"] = NAMESPACE
    cluster.apply(testcluster.WORKLOADS / "istio-system.yaml")
    cluster.apply([*objects, *silent()])
    cluster.wait_ready("istio-system")
    cluster.wait_ready(NAMESPACE)
    yield cluster
    cluster.delete_namespace(NAMESPACE)


def both(kubeconfig, *arguments, **variables):
    """The same check, once by the module and once by tasks."""
    common = {
        "check_listeners_kubeconfig": str(kubeconfig),
        "check_listeners_namespaces": [NAMESPACE],
        "check_listeners_exec_timeout": 3,
        **variables,
    }
    return play(**common), play(*arguments, check_listeners_gather_with="k8s_exec", **common)


def left_behind(scratch):
    """What plays with this TMPDIR left: modules that still run, and scripts that are still there."""
    processes = []
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            runs = b"AnsiballZ_k8s_exec" in (process / "cmdline").read_bytes()
            processes += [process.name] if runs and f"TMPDIR={scratch}".encode() in environment_of(process) else []
        except OSError:
            continue
    return processes, sorted(scratch.glob("precheck-*.sh"))


def environment_of(process):
    return (process / "environ").read_bytes().split(b"\0")


@pytest.fixture(scope="module")
def pairs(awkward, tmp_path_factory):
    """By name, a pair of plays that runs or has run: each task of kubernetes.core is a process, so they take minutes, and two run at a time."""
    lists_only, nothing = awkward.kubeconfig_for("tasks-lists-only", LISTS), awkward.kubeconfig_for("tasks-nothing", [])
    scratch = tmp_path_factory.mktemp("gathered")
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(max_workers=2) as pool:
        patch.setenv("TMPDIR", str(scratch))
        yield {
            "all rights": pool.submit(both, awkward.kubeconfig),
            "lists only": pool.submit(both, lists_only, check_listeners_fail_on=[]),
            "no rights": pool.submit(both, nothing, "-vv"),
            "nowhere": pool.submit(both, awkward.kubeconfig, check_listeners_namespaces=["nowhere"]),
        }
        pool.shutdown()
        assert left_behind(scratch) == ([], [])


def test_both_ways_give_the_same_report(pairs):
    by_module, by_tasks = pairs["all rights"].result()
    assert by_tasks.code == by_module.code == 2, by_tasks.output
    assert by_tasks.report() == by_module.report()


def test_every_awkward_pod_is_read_or_told_by_tasks_too(pairs):
    _by_module, by_tasks = pairs["all rights"].result()
    assert by_tasks.ids == [f"IST0143/{NAMESPACE}/Deployment/{name}/8080" for name in ("no-ss", "two-ports")]
    unread = {(entry["workload"]["name"], entry["reason"]) for entry in by_tasks.result["unchecked"]}
    assert unread == {("distroless", "no_tool"), ("silent", "timeout")}


def test_without_the_right_to_exec_both_ways_fail_with_the_same_words(pairs):
    by_module, by_tasks = pairs["lists only"].result()
    assert (by_module.code, by_tasks.code) == (2, 2)
    assert "no pod may be read" in by_tasks.result["msg"] and 'resource "pods/exec"' in by_tasks.result["msg"]
    assert by_tasks.result["msg"] == by_module.result["msg"]
    assert by_tasks.report() == by_module.report()


def test_without_the_right_to_list_both_ways_fail_with_the_same_words(pairs):
    by_module, by_tasks = pairs["no rights"].result()
    assert (by_module.code, by_tasks.code) == (2, 2)
    assert 'cannot list resource "services"' in by_tasks.result["msg"]
    assert by_tasks.result["msg"] == by_module.result["msg"]
    assert "Traceback" not in by_tasks.output


def test_an_unknown_namespace_is_named_by_both_ways(pairs):
    by_module, by_tasks = pairs["nowhere"].result()
    assert by_tasks.result["msg"] == by_module.result["msg"] == "namespaces: the cluster has no namespace 'nowhere'"


def test_a_token_is_in_no_output_of_the_tasks(awkward):
    server = awkward.kubectl(
        "config", "view", "--minify", "--output=jsonpath={.clusters[0].cluster.server}"
    ).stdout.strip()
    played = play(
        "-vvv",
        check_listeners_gather_with="k8s_exec",
        check_listeners_host=server,
        check_listeners_api_key="CANARY",
        check_listeners_validate_certs=False,
    )
    assert played.code == 2 and played.passed is False
    assert "Unauthorized" in played.result["msg"]
    assert "CANARY" not in played.output and "CANARY" not in str(played.result)
