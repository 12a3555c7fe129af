# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The life of probe pods on a cluster that misbehaves as it is told. Whatever happens, none is left and no pod is passed over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

import pytest

pytest.importorskip("kubernetes")

from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather import node_probe as _node_probe
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.attempts import CANNOT_RUN, Outcome, Step
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.errors import ApiError
from ansible_collections.meshops.istio_precheck.tests.helpers import cluster

REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
PATH = "/api/v1/namespaces/probes/pods"
RBAC = 'pods is forbidden: User "gate" cannot {} resource "pods" in API group "" in the namespace "probes"'
PSA = 'pods "{}" is forbidden: violates PodSecurity "baseline:latest": host namespaces (hostNetwork=true, hostPID=true)'
RUNNING = {
    "phase": "Running",
    "startTime": "2026-11-23T00:00:00Z",
    "containerStatuses": [{"name": "probe", "state": {"running": {}}}],
}


def waiting(reason, message=""):
    return {
        "phase": "Pending",
        "startTime": "2026-11-23T00:00:00Z",
        "containerStatuses": [{"name": "probe", "state": {"waiting": {"reason": reason, "message": message}}}],
    }


def sandbox(number):
    return f"{number:064x}"


class Probed:
    """An API server, the kubelets behind it, and what a probe on them prints. `faults` maps a verb to a function that may raise."""

    def __init__(self, nodes=("node-1",), pods_on_node=2, status=None, answer=None, faults=None, left=(), lacks=()):
        self._lacks = lacks
        self.pods = []
        for number, node in enumerate(n for n in nodes for _pod in range(pods_on_node)):
            pod = cluster.pod(f"web-{number}", node=node, ips=(f"10.0.0.{number + 1}",))
            pod["metadata"]["uid"] = f"00000000-0000-4000-8000-{number:012x}"
            pod["status"]["containerStatuses"] = [
                {"name": "app", "containerID": f"containerd://{sandbox(number)}", "ready": True}
            ]
            self.pods.append(pod)
        self.probes = {pod["metadata"]["name"]: pod for pod in left}
        self.made, self.said, self.warned = [], [], []
        self.most = 0
        self._status = status if callable(status) else lambda _node: status or RUNNING
        self._answer = answer or self.look
        self._faults = faults or {}
        self._lock = threading.Lock()

    # -- the API server

    def ask(self, method, path, body=None, grace_period_seconds=None):
        self.said.append((method, path))
        name = path.rpartition("/")[2] if method == "delete" else body["metadata"]["name"]
        node = body["spec"]["nodeName"] if body else self.probes.get(name, {}).get("spec", {}).get("nodeName")
        if method == "delete":
            assert grace_period_seconds == 0
        self._faults.get(method, lambda *_: None)(name, node)
        with self._lock:
            if method == "post":
                assert path == PATH
                if name in self.probes:
                    raise ApiError("", f'pods "{name}" is there', 409, "AlreadyExists")
                self.probes[name] = {
                    **body,
                    "metadata": {**body["metadata"], "creationTimestamp": "2026-11-23T00:00:00Z"},
                }
                self.made.append(body)
                self.most = max(self.most, len(self.probes))
            elif self.probes.pop(name, None) is None:
                raise ApiError("", f'pods "{name}" not found', 404)
        return {}

    def post(self, path, body):
        asked = body["spec"]["resourceAttributes"]
        assert (path, asked["resource"], asked["namespace"]) == (REVIEWS, "pods", "probes")
        return {"status": {"allowed": f"{asked['verb']} {asked.get('subresource', '')}".strip() not in self._lacks}}

    version = "v1.35.0"

    def pages(self, path, reduce, label_selector, resource_version=None):
        assert path == PATH
        self.said.append(("list", label_selector))
        self._faults.get("list", lambda *_: None)(label_selector, None)
        label, _equals, value = label_selector.partition("=")
        with self._lock:
            several = [
                pod
                for pod in self.probes.values()
                if label in pod["metadata"]["labels"] and value in ("", pod["metadata"]["labels"][label])
            ]
        return [reduce({"status": self._status(pod["spec"]["nodeName"]), **pod}) for pod in several]

    # -- the kubelet

    def run(self, namespace, pod, container, command, seconds, share):
        assert (seconds, share) == (10, 1.0)
        assert (namespace, container) == ("probes", "probe")
        node = self.probes[pod]["spec"]["nodeName"]
        self.said.append(("exec", node))
        return self._answer(node, command[-2])

    def look(self, node, word):
        """What the script prints on a healthy node."""
        several = [(number, pod) for number, pod in enumerate(self.pods) if pod["spec"]["nodeName"] == node]
        pods = "".join(
            f"/proc/{100 + n}/cgroup:0::/kubepods/pod{pod['metadata']['uid']}/{sandbox(n)}\n" for n, pod in several
        )
        networks = "".join(f"l 1 0 0 0 /proc/{100 + n}/ns/net -> net:[{5000 + n}]\n" for n, _pod in several)
        tables = "".join(
            f"{word} table {5000 + n}\n  sl  local_address rem_address   st\n     |-- 10.0.0.{n + 1}\n        /32 host LOCAL\n"
            for n, _pod in several
        )
        return Outcome(
            f"{word} pods\n{pods}{word} names\n{word} networks\n{networks}{tables}{word} sockets\n{word} cut\n{word} end\n",
            0,
        )

    # -- a run

    def read(self, concurrency=4, timeout=5.0, source=None):
        """(names of pods that were read, unread pods' reason and detail by name)."""
        steps = []
        probe = _node_probe.probe_settings("busybox", "probes", timeout, 10)
        (source or _node_probe.by_node(self, self.run, probe, concurrency, self.warned.append))(
            list(map(cluster.as_read, self.pods)), steps.append
        )
        counted = Counter((step.table or step.unread)["pod"] for step in steps)
        assert counted == Counter(pod["metadata"]["name"] for pod in self.pods), "each pod is answered for once"
        return [s.table["pod"] for s in steps if s.table], {
            s.unread["pod"]: (s.unread["reason"], s.unread["detail"]) for s in steps if s.unread
        }

    def count(self, verb):
        return sum(said[0] == verb for said in self.said)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(_node_probe, "POLL", 0.01)


def refuse(detail, status, only=None):
    def fault(name, node):
        if only is None or node == only:
            raise ApiError("", detail.format(name), status)

    return fault


def test_a_node_takes_one_probe_and_one_exec_whatever_runs_on_it():
    probed = Probed([f"node-{n}" for n in range(20)], pods_on_node=5)
    read, unread = probed.read()
    assert len(read) == 100 and not unread
    assert (probed.count("post"), probed.count("exec")) == (20, 20)
    assert sorted(body["spec"]["nodeName"] for body in probed.made) == sorted(f"node-{n}" for n in range(20))
    assert not probed.probes and not probed.warned


def test_a_probe_asks_for_no_more_than_it_takes():
    probed = Probed()
    probed.read()
    (made,) = probed.made
    spec = made["spec"]
    assert (spec["hostPID"], spec["hostNetwork"], spec["automountServiceAccountToken"]) == (True, True, False)
    assert spec["tolerations"] == [{"operator": "Exists"}]
    assert 5 + 10 < spec["activeDeadlineSeconds"] < 300
    (container,) = spec["containers"]
    assert container["image"] == "busybox"
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert set(container["resources"]["limits"]) == {"cpu", "memory"}
    assert not {"volumes", "serviceAccountName", "hostIPC"} & set(spec)


def test_no_more_probes_are_there_at_once_than_concurrency_allows():
    probed = Probed([f"node-{n:02}" for n in range(30)], pods_on_node=1)
    probed.read(concurrency=1)
    assert 1 < probed.most <= _node_probe.AHEAD


# What goes wrong on one node, the reason its pods get, and what the detail must hold.
ON_ONE_NODE = [
    (
        "rejected",
        {"faults": {"post": refuse(PSA, 403, "bad")}},
        "probe_rejected",
        'violates PodSecurity "baseline:latest"',
    ),
    (
        "a quota",
        {"faults": {"post": refuse('pods "{}" is forbidden: exceeded quota: few', 403, "bad")}},
        "probe_rejected",
        "exceeded quota: few",
    ),
    (
        "no answer",
        {"faults": {"post": refuse("the API server did not answer in time", 0, "bad")}},
        "connection",
        "did not answer in time",
    ),
    (
        "image",
        {"status": waiting("ErrImagePull", "rpc error: not found")},
        "probe_not_started",
        "Node bad did not start the probe: ErrImagePull: rpc error: not found.",
    ),
    ("no such image", {"status": waiting("ErrImageNeverPull", "Never")}, "probe_not_started", "ErrImageNeverPull"),
    (
        "slow",
        {"status": waiting("ContainerCreating")},
        "probe_not_started",
        "did not start the probe in 0.5 seconds: ContainerCreating.",
    ),
    (
        "full",
        {"status": {"phase": "Failed", "reason": "OutOfpods", "message": "Node didn't have enough resource: pods"}},
        "probe_not_started",
        "enough resource: pods.",
    ),
    (
        "no sleep",
        {
            "status": {
                "phase": "Failed",
                "containerStatuses": [
                    {
                        "name": "probe",
                        "state": {"terminated": {"reason": "StartError", "message": 'exec: "sleep": not found'}},
                    }
                ],
            }
        },
        "probe_not_started",
        'exec: "sleep": not found',
    ),
    (
        "no kubelet",
        {"status": {"phase": "Pending"}},
        "node_unreachable",
        "Node bad did not take the probe up in 0.5 seconds.",
    ),
    (
        "timeout",
        {"answer": Outcome("", None, "timeout", "No answer in time.")},
        "timeout",
        "On node bad: No answer in time.",
    ),
    (
        "dead",
        {"answer": Outcome("", None, "node_unreachable", "error dialing backend")},
        "node_unreachable",
        "On node bad: error dialing backend",
    ),
    (
        "no shell",
        {"answer": Outcome("", None, CANNOT_RUN, 'exec: "sh": not found')},
        "probe_failed",
        'exec: "sh": not found',
    ),
    (
        "no exec right and no reason",
        {"answer": Outcome("", None, "forbidden", "", 403), "lacks": ("create exec",)},
        "probe_forbidden",
        'On node bad: The user lacks the verb create on resource "pods/exec" in the namespace "probes".',
    ),
    ("no exec right", {"answer": Outcome("", None, "forbidden", "no")}, "probe_forbidden", "On node bad: no"),
    ("cut off", {"answer": "half"}, "probe_failed", "On node bad: What the probe printed is cut off."),
    ("nothing", {"answer": Outcome("", 0)}, "probe_failed", "cut off"),
    ("garbage", {"answer": Outcome("\0\xff<html>", 0)}, "probe_failed", "cut off"),
    ("killed", {"answer": Outcome("", 137)}, "probe_failed", "cut off"),
]


@pytest.mark.parametrize(
    ("how", "reason", "detail"), [case[1:] for case in ON_ONE_NODE], ids=[case[0] for case in ON_ONE_NODE]
)
def test_one_bad_node_hides_no_other(how, reason, detail):
    status, answer = how.get("status", RUNNING), how.get("answer")

    def answers(node, word):
        healthy = probed.look(node, word)
        if node != "bad" or answer is None:
            return healthy
        return Outcome(healthy.stdout[: len(healthy.stdout) // 2], 0) if answer == "half" else answer

    probed = Probed(
        ["bad", "good-1", "good-2"],
        status=lambda node: status if node == "bad" else RUNNING,
        answer=answers,
        faults=how.get("faults"),
        lacks=how.get("lacks", ()),
    )
    read, unread = probed.read(timeout=0.5)
    assert sorted(read) == ["web-2", "web-3", "web-4", "web-5"]
    assert set(unread) == {"web-0", "web-1"}
    for found in unread.values():
        assert found[0] == reason
        assert detail in found[1]
    assert not probed.probes and not probed.warned


@pytest.mark.parametrize("verb", ["list", "post", "delete"])
def test_a_right_that_is_missing_is_named_and_asked_for_once(verb):
    probed = Probed(
        [f"node-{n:02}" for n in range(40)],
        faults={verb: refuse(RBAC.format(verb), 403)},
        lacks=({"post": "create"}.get(verb, verb),),
    )
    read, unread = probed.read(concurrency=1)
    assert read == []
    assert set(unread.values()) == {("probe_forbidden", RBAC.format(verb))}
    assert probed.count(verb) <= 2
    assert not probed.made


def test_a_namespace_that_is_not_there_is_named():
    read, unread = Probed(faults={"post": refuse('namespaces "probes" not found', 404)}).read()
    assert set(unread.values()) == {("probe_rejected", 'namespaces "probes" not found')}


def test_a_probe_that_was_made_though_the_answer_was_lost_is_used():
    def lost(name, node):
        if name not in probed.probes:
            probed.probes[name] = {
                "metadata": {"name": name, "labels": {_node_probe.RUN_LABEL: name.split("-")[2]}},
                "spec": {"nodeName": node},
            }

    probed = Probed(faults={"post": lost})
    assert len(probed.read()[0]) == 2
    assert not probed.probes


def test_a_probe_that_another_removes_is_no_table():
    def gone(selector, _node_name):
        if "=" in selector:
            probed.probes.clear()

    probed = Probed(faults={"list": gone})
    _read, unread = probed.read(timeout=0.2)
    assert {reason for reason, _detail in unread.values()} == {"probe_not_started"}


def test_a_probe_that_cannot_be_removed_is_told_of():
    probed = Probed(
        faults={
            "delete": lambda name, _node_name: (
                refuse("etcdserver: no leader", 500)(name, None) if name in probed.probes else None
            )
        }
    )
    assert len(probed.read()[0]) == 2
    (warning,) = probed.warned
    assert warning.startswith("The probe pod probes/istio-precheck-") and warning.endswith(
        "could not be removed: etcdserver: no leader"
    )


def test_an_error_of_our_own_leaves_no_probe():
    def crash(_node_name, _word):
        raise RuntimeError("a mistake")

    probed = Probed(["node-1", "node-2"], answer=crash)
    with pytest.raises(RuntimeError, match="a mistake"):
        probed.read()
    assert not probed.probes


# ---------------------------------------------------------------------------------------------------------------------
# What others left


def left_over(name="istio-precheck-aaaaaaaa-0", owner=None, made="2026-11-23T00:00:00Z", phase=None):
    """A probe of another run."""
    annotations = {_node_probe.OWNER: owner} if owner else {}
    return {
        "metadata": {
            "name": name,
            "labels": {_node_probe.RUN_LABEL: "aaaaaaaa"},
            "annotations": annotations,
            "creationTimestamp": made,
        },
        "spec": {"nodeName": "node-1"},
        **({"status": {"phase": phase}} if phase else {}),
    }


def ended_process():
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        owner = _node_probe.owner_of(process.pid)
        process.kill()
    return owner


NOW = 1795500000.0
JUST_NOW, LONG_AGO = (
    time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(NOW - ago)) for ago in (5, 2 * _node_probe.ABANDONED)
)
ELSEWHERE = "0123456789abcdef.1234.5678"


@pytest.mark.parametrize(
    ("pod", "expected"),
    [
        pytest.param(
            lambda: left_over(owner=_node_probe.owner_of(os.getpid()), made=JUST_NOW), False, id="of a run that goes on"
        ),
        pytest.param(
            lambda: left_over(owner=_node_probe.owner_of(os.getpid()), made=LONG_AGO, phase="Failed"),
            False,
            id="of a run that goes on, and will look at it",
        ),
        pytest.param(lambda: left_over(owner=ended_process(), made=JUST_NOW), True, id="of a process that was killed"),
        pytest.param(
            lambda: left_over(owner=_node_probe.owner_of(os.getpid()) + "0", made=JUST_NOW),
            True,
            id="of a process whose number another has now",
        ),
        pytest.param(lambda: left_over(owner=ELSEWHERE, made=JUST_NOW), False, id="of another machine"),
        pytest.param(
            lambda: left_over(owner=ELSEWHERE, made=JUST_NOW, phase="Failed"),
            True,
            id="of another machine, past its deadline",
        ),
        pytest.param(
            lambda: left_over(owner=ELSEWHERE, made=LONG_AGO), True, id="of another machine, on a node that is dead"
        ),
        pytest.param(lambda: left_over(made=JUST_NOW), False, id="of a machine without /proc"),
        pytest.param(lambda: left_over(made=LONG_AGO), True, id="of a machine without /proc, long ago"),
        pytest.param(lambda: left_over(owner="nonsense", made=JUST_NOW), False, id="of nobody knows whom"),
    ],
)
def test_what_a_killed_run_left_is_told_from_what_a_run_uses(pod, expected):
    assert _node_probe.abandoned(pod(), NOW) is expected


def test_a_run_removes_what_a_killed_one_left_and_nothing_else():
    others = [
        left_over("istio-precheck-aaaaaaaa-0", ended_process()),
        left_over("istio-precheck-bbbbbbbb-0", _node_probe.owner_of(os.getpid())),
    ]
    bystander = {"metadata": {"name": "mine", "labels": {"app": "mine"}}, "spec": {"nodeName": "node-1"}}
    probed = Probed(left=[*others, bystander])
    assert len(probed.read()[0]) == 2
    assert set(probed.probes) == {"istio-precheck-bbbbbbbb-0", "mine"}


# ---------------------------------------------------------------------------------------------------------------------
# auto


def source_of(table=(), unread=None):
    """A source that reads the pods in `table` and has these reasons for others; it keeps what it was asked for."""

    def source(pods, take):
        source.asked = [pod.name for pod in pods]
        for name in source.asked:
            known = {"namespace": "shop", "pod": name}
            take(
                Step(table={**known, "stdout": ""})
                if name in table
                else Step(unread={**known, "reason": (unread or {}).get(name), "detail": f"{name} says why."})
            )

    return source


def test_auto_asks_a_probe_only_for_what_exec_could_not_read():
    reasons = {
        "web-1": "no_tool",
        "web-2": "timeout",
        "web-3": "forbidden",
        "web-4": "gone",
        "web-5": "node_unreachable",
    }
    probed = Probed(pods_on_node=6)
    by_exec, by_probe = source_of(["web-0"], reasons), source_of(["web-1"], {"web-2": "not_seen"})
    read, unread = probed.read(source=_node_probe.exec_then_node(by_exec, by_probe))
    assert by_probe.asked == ["web-1", "web-2"]
    assert read == ["web-0", "web-1"]
    assert unread == {
        "web-2": ("not_seen", "By exec: web-2 says why. By probe: web-2 says why."),
        **{name: (reasons[name], f"{name} says why.") for name in ("web-3", "web-4", "web-5")},
    }


def test_where_exec_read_everything_no_probe_is_made():
    probed = Probed(pods_on_node=2)
    probe = _node_probe.by_node(
        probed, probed.run, _node_probe.probe_settings("busybox", "probes", 5, 10), 4, probed.warned.append
    )
    assert len(probed.read(source=_node_probe.exec_then_node(source_of(["web-0", "web-1"]), probe))[0]) == 2
    assert not probed.made


def test_in_check_mode_no_probe_is_made():
    probed = Probed()
    read, unread = probed.read(source=_node_probe.without_probes)
    assert read == [] and set(unread.values()) == {("check_mode", "In check mode no probe is made.")}
    assert not probed.said


# ---------------------------------------------------------------------------------------------------------------------
# Signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("when", ["post", "list", "exec"])
def test_a_signal_ends_the_run_with_no_probe_left(number, when):
    """It comes again while it is being honoured, as Ansible may send it."""
    caught = []
    before = signal.signal(number, lambda *_: caught.append(number))

    def struck(*_):
        if not (when == "list" and not probed.made):
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), number)

    def answers(node, word):
        struck()
        return probed.look(node, word)

    try:
        probed = Probed(
            [f"node-{n}" for n in range(40)],
            pods_on_node=1,
            faults={} if when == "exec" else {when: struck},
            answer=answers if when == "exec" else None,
        )
        with pytest.raises(AssertionError, match="each pod is answered for once"):
            probed.read(concurrency=2)
        assert caught == [number], "it is passed on, once"
    finally:
        signal.signal(number, before)
    assert probed.made and not probed.probes


def test_a_signal_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        probed = Probed(faults={"post": lambda *_: os.kill(os.getpid(), signal.SIGHUP)})
        assert len(probed.read()[0]) == 2
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_probe_that_appears_while_the_others_are_removed_goes_too():
    started, interrupted = threading.Event(), threading.Event()

    def slow(_name, node):
        if node == "node-1":
            started.wait(5)
            os.kill(os.getpid(), signal.SIGTERM)
            interrupted.wait(5)
            time.sleep(0.2)
        else:
            started.set()

    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        probed = Probed(
            ["node-1", "node-2"], faults={"post": slow, "delete": lambda *_: started.is_set() and interrupted.set()}
        )
        with pytest.raises(AssertionError):
            probed.read()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert len(probed.made) == 2 and not probed.probes
