# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Socket tables by probes on a real cluster: what exec cannot read is read, and nothing stays behind, however a run ends."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
import yaml

from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather import exec as _exec
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather import node_probe as _node_probe
from ansible_collections.meshops.istio_precheck.plugins.modules import localhost_listener_info
from ansible_collections.meshops.istio_precheck.tests.helpers import module_runner
from ansible_collections.meshops.istio_precheck.tests.helpers.playing import environment, play, tool

PROBES, ODD = "precheck-probes", "precheck-odd"
IMAGE = "precheck.test/go:1"  # has busybox
HOST_PORT = 29417
STARTUP = 47.5  # makes the argument of the probe's `sleep` one that no other process has
LIFETIME = _node_probe.probe_settings(IMAGE, PROBES, STARTUP, 10).lifetime

LISTS = [
    {"apiGroups": [""], "resources": ["services", "pods"], "verbs": ["list"]},
    {"apiGroups": ["networking.istio.io"], "resources": ["sidecars", "serviceentries"], "verbs": ["list"]},
]
MANIFEST = pathlib.Path(__file__).resolve().parents[2] / "docs" / "rbac" / "node-probe.yaml"
PODS, EXEC = (rule for each in yaml.safe_load(MANIFEST.read_text("utf-8"))["items"] for rule in each.get("rules", ()))


def run_pod(name, arguments, **spec):
    container = {"name": "app", "image": "precheck.test/distroless:1", "imagePullPolicy": "Never", "args": arguments}
    meta = {"name": name, "namespace": ODD, "labels": {"app": name}}
    more = {"automountServiceAccountToken": False, "enableServiceLinks": False, "terminationGracePeriodSeconds": 1}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"containers": [container], **more, **spec}}


def expose(name, port):
    meta = {"name": name, "namespace": ODD}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": meta,
        "spec": {"selector": {"app": name}, "ports": [{"port": port}]},
    }


BESIDE = {"name": "beside", "image": IMAGE, "imagePullPolicy": "Never", "args": ["localhost:8081"]}
SHARED = run_pod("shared", ["localhost:8080"], shareProcessNamespace=True)
SHARED["spec"]["containers"].append(BESIDE)
FALLEN = run_pod("fallen", ["none:such:address"])  # ends at once; what is left is the sandbox
HOST = run_pod("host", [f"127.0.0.1:{HOST_PORT}"], hostNetwork=True)
LOST = run_pod("lost", ["localhost:8080"], nodeName="precheck-no-such-node")


def prober(cluster, user, rules, lists_in=None):
    """The kubeconfig of a user with these rights where probes are, and to list in one namespace, or everywhere."""
    kubeconfig = cluster.kubeconfig_for(user, LISTS, lists_in)
    kind = ("rolebinding", "--namespace", lists_in) if lists_in else ("clusterrolebinding",)
    subjects = cluster.get(*kind, f"precheck-test-{user}")["subjects"]
    for namespace, allowed in {PROBES: rules, "istio-system": LISTS}.items():
        role = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": user, "namespace": namespace}}
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": user}
        cluster.apply(
            [
                {**role, "kind": "Role", "rules": allowed},
                {**role, "kind": "RoleBinding", "roleRef": reference, "subjects": subjects},
            ]
        )
    return str(kubeconfig)


@pytest.fixture(scope="module", name="probing")
def fixture_probing(workloads):
    """The cluster, with a namespace for probes and a user who may make them there and list elsewhere, and no more."""
    names = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in (PROBES, ODD)]
    workloads.apply(names)
    workloads.apply([SHARED, FALLEN, HOST, expose("shared", 8080), expose("fallen", 8080), expose("host", HOST_PORT)])
    workloads.kubectl("wait", "--for=condition=Ready", "--timeout=60s", "--namespace", ODD, "pod/shared", "pod/host")
    workloads.prober = prober(workloads, "prober", [PODS, EXEC])
    yield workloads
    workloads.delete_namespace(PROBES, ODD)


def options(cluster, **more):
    common = {
        "node_probe_image": IMAGE,
        "node_probe_namespace": PROBES,
        "node_probe_timeout": STARTUP,
        "socket_source": "node",
    }
    return {"kubeconfig": cluster.prober, "namespaces": ["ist0143", "cured", "awkward"], **common, **more}


@pytest.fixture(name="run")
def fixture_run(probing, monkeypatch):
    """Runs the module in this process; what it runs in pods is kept as `execs`, (namespace, pod) each."""
    asked = _exec.ExecClient.run

    def watched(client, namespace, pod, *how):
        run.execs.append((namespace, pod))
        return asked(client, namespace, pod, *how)

    def run(check_mode=False, **more):
        run.execs = []
        ended = module_runner.run(localhost_listener_info.main, check_mode, **options(probing, **more))
        assert not probes(probing)
        return ended

    monkeypatch.setattr(_exec.ExecClient, "run", watched)
    return run


def probes(cluster):
    return cluster.kubectl(
        "get", "pods", "--namespace", PROBES, "--selector", _node_probe.RUN_LABEL, "--output=name"
    ).stdout.split()


def sleepers():
    """The processes of probes, on this machine."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if path.read_bytes() == f"sleep\0{LIFETIME}\0".encode():
                found.append(path.parent.name)
    return found


def until(condition, seconds, what):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def by_id(result):
    return {finding["id"]: finding for finding in result["findings"]}


def unchecked(result):
    return {(entry["namespace"], entry["workload"]["name"]): entry["reason"] for entry in result["unchecked"]}


# ---------------------------------------------------------------------------------------------------------------------
# What is read


@pytest.fixture(scope="module", name="both")
def fixture_both(probing):
    """The same pods by exec and by probe, the latter played as a user does."""
    variables = {f"check_listeners_{name}": value for name, value in options(probing).items()}
    by_exec = play(
        **{**variables, "check_listeners_kubeconfig": str(probing.kubeconfig), "check_listeners_socket_source": "exec"}
    )
    by_probe = play(**variables)
    return by_exec, by_probe


def test_a_distroless_pod_is_read_and_nothing_is_unchecked(both):
    by_exec, by_probe = both
    assert unchecked(by_exec.result) == {("awkward", "distroless"): "no_tool"}
    assert by_probe.result["unchecked"] == []
    assert "IST0143/awkward/Deployment/distroless/8080" in by_probe.ids


def test_a_probe_finds_what_exec_finds_and_what_it_could_not(both):
    by_exec, by_probe = both
    ours, theirs = by_id(by_probe.result), by_id(by_exec.result)
    assert set(ours) - set(theirs) == {"IST0143/awkward/Deployment/distroless/8080"}
    for identity, finding in theirs.items():
        assert {**ours[identity], "processes": None} == {**finding, "processes": None}
    for part in ("remediated", "not_listening", "out_of_scope"):
        assert by_probe.result[part] == by_exec.result[part]


HELD = {
    "ist0143/Deployment/netcat/8080": "nc.openbsd",
    "ist0143/Deployment/go-localhost/8080": "listen",
    "ist0143/Deployment/node-localhost/8080": "node",
    "ist0143/Deployment/python-localhost/8083": "python3",
    "awkward/Deployment/distroless/8080": "listen",
}


@pytest.mark.parametrize("workload", HELD)
def test_a_finding_names_the_process_and_its_container(both, workload):
    (held,) = by_id(both[1].result)[f"IST0143/{workload}"]["processes"]
    assert held == {
        "listener": f"127.0.0.1:{workload.rpartition('/')[2]}",
        "container": "app",
        "process": HELD[workload],
    }


def test_the_play_leaves_no_probe(both, probing):
    assert both[1].code == 2
    assert not probes(probing)


def test_a_node_takes_one_exec(run):
    result = run().result
    assert result["summary"]["pods_read"] == result["summary"]["pods"] > 10
    assert len(run.execs) == 1
    assert run.execs[0][0] == PROBES


def test_auto_makes_a_probe_only_where_exec_did_not_do(run, probing):
    admin = {"kubeconfig": str(probing.kubeconfig), "socket_source": "auto"}
    assert run(namespaces=["cured"], **admin).result["unchecked"] == []
    assert not [pod for namespace, pod in run.execs if namespace == PROBES]
    result = run(namespaces=["awkward"], **admin).result
    assert result["unchecked"] == []
    assert len([pod for namespace, pod in run.execs if namespace == PROBES]) == 1
    assert "processes" in by_id(result)["IST0143/awkward/Deployment/distroless/8080"]
    assert "processes" not in by_id(result)["IST0143/awkward/Deployment/no-ss/8080"]


def test_in_check_mode_no_probe_is_made(run):
    result = run(check_mode=True, namespaces=["awkward"]).result
    assert set(unchecked(result).values()) == {"check_mode"}
    assert not run.execs


def test_shared_processes_the_nodes_network_and_a_fallen_program(run, probing):
    until(lambda: has_fallen(probing), 60, "the program has not ended")
    result = run(namespaces=[ODD], scope="all").result
    found = by_id(result)
    assert found[f"IST0143/{ODD}/Pod/shared/8080"]["processes"] == [
        {"listener": "127.0.0.1:8080", "container": "app", "process": "listen"}
    ]
    assert found[f"IST0143/{ODD}/Pod/host/{HOST_PORT}"]["processes"] == [
        {"listener": f"127.0.0.1:{HOST_PORT}", "container": "app", "process": "listen"}
    ]
    assert unchecked(result) == {(ODD, "fallen"): "not_seen"}
    assert len(run.execs) == 1


def has_fallen(cluster):
    """Whether the pod counts as running though its container does not."""
    status = cluster.get("pod", "fallen", "--namespace", ODD)["status"]
    return status["phase"] == "Running" and not any("running" in each["state"] for each in status["containerStatuses"])


# ---------------------------------------------------------------------------------------------------------------------
# What goes wrong


def test_a_namespace_that_takes_no_pod_is_named(run, probing):
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none", "namespace": PROBES},
        "spec": {"hard": {"pods": "0"}},
    }
    probing.apply([quota])
    try:
        until(
            lambda: probing.get("resourcequota", "none", "--namespace", PROBES).get("status", {}).get("hard"),
            60,
            "the quota is not in force",
        )
        result = run(namespaces=["cured"]).result
    finally:
        probing.kubectl("delete", "resourcequota", "none", "--namespace", PROBES)
    assert set(unchecked(result).values()) == {"probe_rejected"}
    assert "exceeded quota: none" in result["unchecked"][0]["detail"]


def test_an_image_that_cannot_be_had_is_named(run):
    result = run(namespaces=["cured"], node_probe_image="precheck.test/No-Such:1").result
    assert set(unchecked(result).values()) == {"probe_not_started"}
    assert "InvalidImageName" in result["unchecked"][0]["detail"]


def test_a_node_without_a_kubelet_is_named(run, probing):
    try:
        probing.apply([LOST, expose("lost", 8080)])
        lost = probing.get("pod", "lost", "--namespace", ODD)
        lost["status"] = {"phase": "Running", "podIP": "10.9.9.9", "podIPs": [{"ip": "10.9.9.9"}]}
        probing.kubectl(
            "replace", "--raw", f"/api/v1/namespaces/{ODD}/pods/lost/status", "--filename=-", input=json.dumps(lost)
        )
        result = run(
            namespaces=[ODD], scope="all", label_selectors=["app in (lost, shared)"], node_probe_timeout=3
        ).result
        assert unchecked(result) == {(ODD, "lost"): "node_unreachable"}
        assert f"IST0143/{ODD}/Pod/shared/8080" in by_id(result)
    finally:
        probing.kubectl(
            "delete",
            "pod/lost",
            "service/lost",
            "--namespace",
            ODD,
            "--grace-period=0",
            "--force",
            "--ignore-not-found",
        )


@pytest.mark.parametrize(
    ("missing", "resource"), [("create", "pods"), ("delete", "pods"), ("list", "pods"), ("get", "pods/exec")]
)
def test_a_right_that_is_missing_is_named(run, probing, missing, resource):
    rest = [
        {**rule, "verbs": [verb for verb in rule["verbs"] if (verb, *rule["resources"]) != (missing, resource)]}
        for rule in (PODS, EXEC)
    ]
    user = f"prober-without-{missing}-{resource.replace('/', '-')}"
    ended = run(kubeconfig=prober(probing, user, rest, lists_in="cured"), namespaces=["cured"])
    assert f'cannot {missing} resource "{resource}" in API group "" in the namespace "{PROBES}"' in ended.message
    assert not ended.result["summary"]["pods_read"]
    assert not probes(probing)


# ---------------------------------------------------------------------------------------------------------------------
# What stays behind


@contextlib.contextmanager
def module_process(cluster, tmp_path):
    """The module as a process of its own, whose probe has just come to be."""
    arguments = tmp_path / "arguments.json"
    given = {**options(cluster), "_ansible_remote_tmp": str(tmp_path), "_ansible_keep_remote_files": False}
    arguments.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": given}), "utf-8")
    program = (
        "import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"  # under nohup it would be ignored
        "import json, sys; from ansible_collections.meshops.istio_precheck.tests.helpers.module_runner import patch_module_args; "
        "from ansible_collections.meshops.istio_precheck.plugins.modules import localhost_listener_info as module\n"
        "with patch_module_args(json.load(open(sys.argv[1]))['ANSIBLE_MODULE_ARGS']): module.main()"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", program, str(arguments)], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            until(lambda: probes(cluster) or process.poll() is not None, 60, "the module makes no probe")
            assert process.poll() is None, process.communicate()
            yield process
        finally:
            process.kill()


def test_what_a_killed_run_leaves_the_next_one_removes(run, probing, tmp_path):
    with module_process(probing, tmp_path) as process:
        process.kill()
        process.wait()
    left = probes(probing)
    assert left
    if probing.ours:
        until(sleepers, 30, "the probe that was left does not run")
    ended = run(namespaces=["cured"])  # which makes sure that none is left
    assert ended.result["unchecked"] == []
    if probing.ours:
        until(lambda: not sleepers(), 60, "a process of a probe stays behind")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_run_that_is_interrupted_leaves_nothing(probing, tmp_path, number):
    with module_process(probing, tmp_path) as process:
        process.send_signal(number)
        process.wait(60)
        assert process.returncode != 0
    assert not probes(probing)


def test_a_play_that_is_interrupted_leaves_nothing(probing, tmp_path):
    variables = tmp_path / "variables.json"
    variables.write_text(
        json.dumps({f"check_listeners_{name}": value for name, value in options(probing).items()}), "utf-8"
    )
    command = [tool("ansible-playbook"), "meshops.istio_precheck.check_listeners", "-e", f"@{variables}"]
    with subprocess.Popen(
        command,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as played:
        try:
            until(lambda: probes(probing) or played.poll() is not None, 90, "the play makes no probe")
            os.killpg(played.pid, signal.SIGINT)  # what a terminal does at ctrl-c
            played.wait(60)
            until(lambda: not probes(probing), 30, "a probe stays behind")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(played.pid, signal.SIGKILL)
