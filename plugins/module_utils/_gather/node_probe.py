# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""The life of probe pods: one a node is made, waited for, asked once and removed, whatever happens in between.

What could outlive a run that was killed is bounded (`activeDeadlineSeconds`) and removed by the next one.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import math
import os
import secrets
import signal
import threading
import time
import typing as t
from collections import defaultdict, deque
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from urllib.parse import quote

from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.api import Api
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.attempts import (
    CANNOT_RUN,
    EXEC_VERBS,
    Step,
    explained,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.errors import ApiError
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.node_output import (
    Node,
    ProbeError,
    command,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.rights import lacking_or_none
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.source import Run, Source, Take
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.kube import Pod, PodKey, Thing
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.snapshot import Unread

RUN_LABEL = "precheck.meshops.io/node-probe"
"""A label of every probe pod; its value is that of the run."""

OWNER = "precheck.meshops.io/owner"
"""An annotation: the process that made the probe, as far as another on the same machine can tell."""

CONTAINER = "probe"

AHEAD = 8
"""How many times `concurrency` probes may be there at once: a pod takes seconds to start, in which nobody has to do anything."""

POLL = 0.25
"""Seconds between two looks at which probes have started."""

ABANDONED = 3600.0
"""Seconds after which a probe is nobody's any more, whatever its node says; no run lets one live half as long."""

NOT_TO_BE_PROBED = ("forbidden", "gone", "node_unreachable")
"""Reasons of a failed exec for which `auto` asks no probe: a right that is withheld is not an obstacle, and the others hold for a probe, too."""

PROBE_VERBS = ("list", "create", "delete")
"""What the life of a probe takes on pods in its namespace."""

GIVEN_UP = (
    "ErrImagePull",
    "ImagePullBackOff",
    "ImageInspectError",
    "ErrImageNeverPull",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
)
"""Why a container waits that the kubelet has tried to start, or never will: pkg/kubelet/images/types.go, kuberuntime/kuberuntime_container.go."""


class Settings(t.NamedTuple):
    """The probe's options. `timeout` is how many seconds one may take to start, `lifetime` how many the kubelet lets it live,
    `exec_timeout` how many its script may take."""

    image: str
    namespace: str
    timeout: float
    lifetime: int
    exec_timeout: float


def probe_settings(image: str, namespace: str, timeout: float, exec_timeout: float) -> Settings:
    return Settings(image, namespace, timeout, math.ceil(timeout + exec_timeout) + 60, exec_timeout)


def by_node(api: Api, run: Run, probe: Settings, concurrency: int, warn: t.Callable[[str], None]) -> Source:
    """Reads pods by one probe on each of their nodes. `warn` is told of probes that could not be removed."""

    def source(pods: t.Sequence[Pod], take: Take) -> None:
        nodes: dict[str, list[Pod]] = defaultdict(list)
        for pod in pods:
            nodes[pod.node].append(pod)  # the API names it for every pod that runs
        _Probes(api, run, probe, concurrency, warn, take).read(nodes)

    return source


def without_probes(pods: t.Sequence[Pod], take: Take) -> None:
    """The source of check mode."""
    for pod in pods:
        take(_unread(pod, "check_mode", "In check mode no probe is made."))


def exec_then_node(first: Source, then: Source) -> Source:
    """Reads pods by `first`, and by `then` what that could not read; what neither could has the reasons of both."""

    def source(pods: t.Sequence[Pod], take: Take) -> None:
        failed: dict[PodKey, Unread] = {}

        def take_first(result: Step) -> None:
            if result.unread and result.unread["reason"] not in NOT_TO_BE_PROBED:
                failed[result.unread["namespace"], result.unread["pod"]] = result.unread
            else:
                take(result)

        def take_then(result: Step) -> None:
            if result.unread:
                before = failed[result.unread["namespace"], result.unread["pod"]]
                result = Step(
                    unread={
                        **result.unread,
                        "detail": f"By exec: {before['detail']} By probe: {result.unread['detail']}",
                    }
                )
            take(result)

        first(pods, take_first)
        then([pod for pod in pods if pod.key in failed], take_then)

    return source


def manifest(probe: Settings, name: str, node: str, run_id: str) -> Thing:
    """The probe pod. It is privileged because AppArmor and SELinux let nothing less look at other containers' processes.

    It is placed by `nodeName`, so a cordoned node will do and a taint does not matter. With the node's network it needs no address and no network
    plugin, and gets no network of its own; it opens no connection. It asks for no CPU or memory, so that a full node takes it, and may not use much.
    """
    owner = owner_of(os.getpid())
    owned = {OWNER: owner} if owner else {}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "labels": {
                RUN_LABEL: run_id,
                "app.kubernetes.io/name": "istio-precheck-node-probe",
                "sidecar.istio.io/inject": "false",
            },
            "annotations": {"sidecar.istio.io/inject": "false", **owned},
        },
        "spec": {
            "nodeName": node,
            "hostPID": True,
            "hostNetwork": True,
            "restartPolicy": "Never",
            "activeDeadlineSeconds": probe.lifetime,
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "tolerations": [{"operator": "Exists"}],
            "containers": [
                {
                    "name": CONTAINER,
                    "image": probe.image,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["sleep", str(probe.lifetime)],
                    "securityContext": {
                        "privileged": True,
                        "runAsUser": 0,
                        "runAsNonRoot": False,
                        "readOnlyRootFilesystem": True,
                    },
                    "resources": {
                        "requests": {"cpu": "0", "memory": "0"},
                        "limits": {"cpu": "500m", "memory": "128Mi"},
                    },
                }
            ],
        },
    }


def _unread(pod: Pod, reason: str, detail: str) -> Step:
    namespace, name = pod.key
    return Step(unread={"namespace": namespace, "pod": name, "reason": reason, "detail": detail})


# ---------------------------------------------------------------------------------------------------------------------
# One run


class _Probe(t.NamedTuple):
    name: str
    node: str
    pods: list[Pod]
    deadline: float


class _Probes:
    """Leads the probes through their lives: the main thread decides, the pool's threads ask."""

    def __init__(
        self, api: Api, run: Run, probe: Settings, concurrency: int, warn: t.Callable[[str], None], take: Take
    ) -> None:
        self._api, self._run, self._settings, self._concurrency, self._warn, self._take = (
            api,
            run,
            probe,
            concurrency,
            warn,
            take,
        )
        self._path = f"/api/v1/namespaces/{quote(probe.namespace, safe='')}/pods"
        self._id = secrets.token_hex(4)
        self._there: set[str] = set()
        """Names of probes that may be on the cluster."""
        self._lost: dict[str, str] = {}
        """Why the probe of that name could not be removed."""
        self._forbidden: str | None = None
        """What RBAC said to one probe, and would to all."""
        self._clearing = False

    def read(self, nodes: t.Mapping[str, list[Pod]]) -> None:
        try:
            self._prepare()
        except ApiError as error:
            self._give_up([pod for pods in nodes.values() for pod in pods], *self._refused(error))
            return
        if not nodes:
            return
        pool = ThreadPoolExecutor(min(self._concurrency, len(nodes)), thread_name_prefix="probe")
        with _interruptible() as interrupted:
            try:
                self._lead(pool, nodes, interrupted)
            finally:
                self._clear(pool)

    def _prepare(self) -> None:
        """Removes what killed runs left, and makes sure that what will be made can be found and removed again. Raises ApiError."""
        left = self._api.pages(
            self._path, lambda pod: (pod["metadata"]["name"], abandoned(pod, time.time())), label_selector=RUN_LABEL
        )
        for name in [f"{self._name(0)}-none", *(name for name, nobodys in left if nobodys)]:
            self._remove(name)

    def _name(self, number: int) -> str:
        return f"istio-precheck-{self._id}-{number}"

    def _lead(self, pool: ThreadPoolExecutor, nodes: t.Mapping[str, list[Pod]], interrupted: t.Sequence[int]) -> None:
        ahead = deque(sorted(nodes.items()))
        asked: dict[Future[bool], _Probe] = {}
        starting: dict[str, _Probe] = {}
        looked = 0.0
        number = 0
        while (ahead or asked or starting) and not interrupted:
            while ahead and len(asked) + len(starting) < self._concurrency * AHEAD:
                probe = _Probe(self._name(number), *ahead.popleft(), 0.0)
                number += 1
                asked[pool.submit(self._make, probe)] = probe
            done, _rest = wait(asked, POLL, FIRST_COMPLETED) if asked else (set(), None)
            for future in done:
                probe = asked.pop(future)
                if future.result():
                    starting[probe.name] = probe._replace(deadline=time.monotonic() + self._settings.timeout)
            if starting:
                if not asked:
                    time.sleep(max(0.0, looked + POLL - time.monotonic()))
                if time.monotonic() >= looked + POLL:
                    for probe, state in self._look(starting):
                        del starting[probe.name]
                        asked[pool.submit(self._end, probe, state)] = probe
                    looked = time.monotonic()

    def _make(self, probe: _Probe) -> bool:
        """Whether the probe is on its way."""
        if self._forbidden:
            self._give_up(probe.pods, "probe_forbidden", self._forbidden)
            return False
        self._there.add(probe.name)
        try:
            self._api.ask("post", self._path, body=manifest(self._settings, probe.name, probe.node, self._id))
        except ApiError as error:
            # Nobody else has the name, so that it is taken says that an earlier try got through.
            if (error.status, error.reason) != (409, "AlreadyExists"):
                reason, detail = self._refused(error)
                if reason == "probe_forbidden":
                    self._forbidden = detail
                self._give_up(probe.pods, reason, detail.replace(probe.name, "the probe"))
                if error.status or self._clearing:
                    self._remove_quietly(probe.name)
                return False
        if self._clearing:  # its name was gone through before it was there
            self._remove_quietly(probe.name)
        return True

    def _look(self, starting: t.Mapping[str, _Probe]) -> t.Iterator[tuple[_Probe, tuple[str, str] | None]]:
        """The probes that have an end to their start: None where it runs, (reason, detail) where it will not."""
        try:
            pods = dict(
                self._api.pages(
                    self._path,
                    lambda pod: (pod["metadata"]["name"], pod),
                    label_selector=f"{RUN_LABEL}={self._id}",
                    resource_version="0",
                )
            )
        except ApiError as error:
            yield from [(probe, self._refused(error)) for probe in starting.values()]
            return
        for probe in list(starting.values()):
            pod = pods.get(probe.name)
            running, trouble = start_of(pod or {})
            if running:
                yield probe, None
            elif trouble:
                yield probe, ("probe_not_started", f"Node {probe.node} did not start the probe: {trouble}")
            elif time.monotonic() > probe.deadline:
                yield probe, self._late(probe, pod)

    def _late(self, probe: _Probe, pod: Thing | None) -> tuple[str, str]:
        seconds = f"{self._settings.timeout:g} seconds"
        if pod is None:
            return "probe_not_started", f"The probe on node {probe.node} was removed by another before it started."
        if not (pod.get("status") or {}).get("startTime"):
            return "node_unreachable", f"Node {probe.node} did not take the probe up in {seconds}."
        return (
            "probe_not_started",
            f"Node {probe.node} did not start the probe in {seconds}: {_waits(pod)[1] or 'it says not why'}.",
        )

    def _end(self, probe: _Probe, trouble: tuple[str, str] | None) -> bool:
        """Asks a probe that runs, and removes it. False: there is nothing more to do with it."""
        word = secrets.token_hex(8)
        outcome = None
        try:
            if not trouble:
                outcome = self._run(
                    self._settings.namespace,
                    probe.name,
                    CONTAINER,
                    command(word, self._settings.exec_timeout / 2),
                    self._settings.exec_timeout,
                    1.0,
                )
        finally:
            self._remove_quietly(probe.name)
        if trouble or outcome is None:
            self._give_up(probe.pods, *(trouble or ("probe_failed", "")))
        elif outcome.code is None:
            reason = {CANNOT_RUN: "probe_failed", "forbidden": "probe_forbidden"}.get(outcome.reason, outcome.reason)
            detail = outcome.detail or self._unexplained()
            self._give_up(probe.pods, reason, f"On node {probe.node}: {detail}")
        else:
            try:
                node = Node(outcome.stdout, word)
            except ProbeError as error:
                self._give_up(probe.pods, "probe_failed", f"On node {probe.node}: {error}")
            else:
                for step in node.tables(probe.pods):
                    self._take(step)
        return False

    def _unexplained(self) -> str:
        """Why nothing may be run in a probe, where the API server does not say."""
        namespace = self._settings.namespace
        lacks = lacking_or_none(self._api, EXEC_VERBS, namespace, "exec")
        return str(explained({"namespace": namespace, "detail": ""}, lacks)["detail"])

    def _give_up(self, pods: t.Sequence[Pod], reason: str, detail: str) -> None:
        for pod in pods:
            self._take(_unread(pod, reason, detail[:500]))

    def _clear(self, pool: ThreadPoolExecutor) -> None:
        """Removes every probe that may be there. One that appears only now is removed by the thread that makes it."""
        self._clearing = True
        pool.shutdown(wait=False, cancel_futures=True)
        if self._there:
            with ThreadPoolExecutor(
                min(self._concurrency, len(self._there)), thread_name_prefix="probe-removal"
            ) as removers:
                list(removers.map(self._remove_quietly, sorted(self._there)))
        pool.shutdown(wait=True)
        for name, why in sorted(self._lost.items()):
            self._warn(f"The probe pod {self._settings.namespace}/{name} could not be removed: {why}")

    def _remove_quietly(self, name: str) -> None:
        try:
            self._remove(name)
        except ApiError as error:
            self._lost[name] = error.detail
        else:
            self._lost.pop(name, None)
            self._there.discard(name)

    def _remove(self, name: str) -> None:
        """Raises ApiError if the pod may still be there."""
        try:
            self._api.ask("delete", f"{self._path}/{name}", grace_period_seconds=0)
        except ApiError as error:
            if error.status != 404:
                raise

    def _refused(self, error: ApiError) -> tuple[str, str]:
        """(reason, detail) where the API server did not do what a probe takes. A 403 is RBAC's, or, as Pod Security's, an admission plugin's."""
        if error.status == 401:
            return "probe_forbidden", error.detail
        if error.status == 403 and lacking_or_none(self._api, PROBE_VERBS, self._settings.namespace):
            return "probe_forbidden", error.detail
        if 400 <= error.status < 500 and error.status != 429:
            return "probe_rejected", error.detail
        return "server_error" if error.status else "connection", error.detail


def start_of(pod: Thing) -> tuple[bool, str]:
    """(whether the probe runs, why it never will)."""
    status = pod.get("status") or {}
    if status.get("phase") in ("Failed", "Succeeded"):
        ended = _state(pod).get("terminated") or {}
        why = (
            status.get("message")
            or ended.get("message")
            or status.get("reason")
            or ended.get("reason")
            or "it says not why"
        )
        return False, f"{why.rstrip('.')}."
    if (pod.get("metadata") or {}).get("deletionTimestamp"):
        return False, "Another removes it."
    if _state(pod).get("running") is not None:
        return True, ""
    reason, why = _waits(pod)
    return False, f"{why}." if reason in GIVEN_UP else ""


def _state(pod: Thing) -> dict[str, t.Any]:
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return next((each.get("state") or {} for each in statuses if each["name"] == CONTAINER), {})


def _waits(pod: Thing) -> tuple[str, str]:
    """(reason, sentence without its point) of a container that waits."""
    waiting = _state(pod).get("waiting") or {}
    reason, message = waiting.get("reason") or "", (waiting.get("message") or "").rstrip(".")
    return reason, f"{reason}: {message}" if message else reason


# ---------------------------------------------------------------------------------------------------------------------
# Whose is it


def owner_of(pid: int) -> str | None:
    """A word for the process: the same until it ends, on this machine and in this PID namespace. None where /proc does not tell."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            machine = file.read() + os.readlink("/proc/self/ns/pid")
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            started = file.read().rpartition(")")[2].split()[19]  # starttime, proc_pid_stat(5)
    except (OSError, IndexError):
        return None
    return f"{hashlib.sha256(machine.encode()).hexdigest()[:16]}.{pid}.{started}"


def abandoned(pod: Thing, now: float) -> bool:
    """Whether a probe is nobody's: its process is known to have ended, or it has ended itself, or is older than any run lets one become.

    A process on another machine, or in another container, cannot be looked at; its probe is left alone until it ends.
    """
    machine, _dot, process = ((pod["metadata"].get("annotations") or {}).get(OWNER) or "").partition(".")
    pid = process.partition(".")[0]
    here = owner_of(os.getpid())
    if pid.isdecimal() and here and here.partition(".")[0] == machine:
        return owner_of(int(pid)) != f"{machine}.{process}"
    if (pod.get("status") or {}).get("phase") in ("Failed", "Succeeded"):
        return True
    made = datetime.datetime.strptime(pod["metadata"]["creationTimestamp"], "%Y-%m-%dT%H:%M:%SZ").replace(
        tzinfo=datetime.timezone.utc
    )
    return now - made.timestamp() > ABANDONED


# ---------------------------------------------------------------------------------------------------------------------
# Signals


@contextlib.contextmanager
def _interruptible() -> t.Iterator[t.Sequence[int]]:
    """The signals that asked the process to end so far. They end it when the block does, which is to be soon.

    Ansible passes SIGINT and SIGTERM on to the module's process group; a lost terminal or SSH connection sends SIGHUP.
    """
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, lambda caught_number, _frame: caught.append(caught_number))
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if caught:
            os.kill(os.getpid(), caught[0])
