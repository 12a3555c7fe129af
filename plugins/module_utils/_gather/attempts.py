# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""What to run in a pod, and from one attempt to the next: what its answers so far add up to. The same for everything that runs commands in pods."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.pod import proxy_container
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.kube import Pod
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.outside import as_text
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.snapshot import (
    Snapshot,
    TableRecord,
    Unread,
)


class Attempt(t.NamedTuple):
    """One command in one container, and the format of what it prints."""

    container: str
    command: tuple[str, ...]
    format: str


SS = ("ss", "-ltnH")
PROCNET = ("cat", "/proc/net/tcp", "/proc/net/tcp6")
NETSTAT = ("netstat", "-ltn")


def attempts(pod: Pod) -> list[Attempt]:
    """What to try in a pod, in order, until one answers: its containers share one network namespace, so any will do.

    istio-proxy first, because every sidecar has it and most of its images hold ss.
    """
    proxy = proxy_container(pod)
    names = [c["name"] for c in pod.containers]
    others = [name for name in names if not proxy or name != proxy["name"]]
    first = [Attempt(proxy["name"], SS, "ss"), Attempt(proxy["name"], PROCNET, "procnet")] if proxy else []
    return (
        first
        + [Attempt(name, PROCNET, "procnet") for name in others]
        + [Attempt(name, NETSTAT, "netstat") for name in names]
    )


NO_LISTENER = ("State ", "ESTAB ")
"""How lines of ss begin that show no listener: its header, and a connection. What is neither is for the parser to say."""


def answers(attempt: Attempt, stdout: str, code: int) -> bool:
    """Whether a finished command's output is a table.

    ss is asked in the proxy alone, which listens itself: where it shows no listener, it could not see (it exits with 0 even if it may not open a
    netlink socket). /proc/net/tcp6 is absent where the kernel has no IPv6; cat then prints the other half and exits with 1.
    """
    if attempt.format == "ss":
        return code == 0 and any(line.strip() and not line.startswith(NO_LISTENER) for line in stdout.splitlines())
    return (
        code in (0, 1) and "local_address" in stdout
        if attempt.format == "procnet"
        else code == 0 and "Local Address" in stdout
    )


class Outcome(t.NamedTuple):
    """What became of one command. `code` is its exit code, None if it is not known; then `reason` is one word, `detail` a sentence."""

    stdout: str
    code: int | None
    reason: str = ""
    detail: str = ""
    status: int = 0
    """The HTTP status, where one is why the command did not run."""


class Step(t.NamedTuple):
    """Exactly one of the first three is set: the next thing to try, the pod's entry in `socketTables`, or its entry in `unread`."""

    attempt: Attempt | None = None
    table: TableRecord | None = None
    unread: Unread | None = None
    share: float = 1.0
    """How much of the pod's time that is left the attempt may take, from 0 to 1."""


CANNOT_RUN = "cannot_run"
"""The container, not the cluster, is why a command did not run: another container may do."""

TIMEOUT = "timeout"
"""A command did not end in time. Nothing more is asked of its container; another may do."""


def step(pod: Pod, outcomes: t.Sequence[Outcome], hangs: int | None = None) -> Step:
    """What follows from the outcomes of the attempts so far, in their order: the first that answers wins.

    All attempts share the pod's time. Until one hangs, each may take half of what is left, as long as there is another container to ask;
    then the containers that are left share what is left evenly. `hangs`: how many containers may hang before the pod is given up.
    """
    namespace, name = pod.key
    tries = attempts(pod)
    given = iter(outcomes)
    hung: dict[str, Outcome] = {}
    for number, attempt in enumerate(tries):
        if attempt.container in hung or len(hung) == hangs:
            continue
        outcome = next(given, None)
        if outcome is None:
            others = {later.container for later in tries[number:]} - {attempt.container, *hung}
            return Step(attempt=attempt, share=1 / (1 + len(others) if hung else 2) if others else 1.0)
        if outcome.code is not None and answers(attempt, outcome.stdout, outcome.code):
            return Step(
                table={
                    "namespace": namespace,
                    "pod": name,
                    "container": attempt.container,
                    "format": attempt.format,
                    "stdout": as_text(outcome.stdout),
                }
            )
        if outcome.code is None and outcome.reason == TIMEOUT:
            hung[attempt.container] = outcome
        elif outcome.code is None and outcome.reason != CANNOT_RUN:
            entry: Unread = {"namespace": namespace, "pod": name, "reason": outcome.reason, "detail": outcome.detail}
            if outcome.status in (401, 403):
                entry["status"] = outcome.status
            return Step(unread=entry)
    for outcome in hung.values():  # the first tells: the others had less time
        return Step(unread={"namespace": namespace, "pod": name, "reason": TIMEOUT, "detail": outcome.detail})
    tried = ", ".join(f"{attempt.command[0]} in {attempt.container}" for attempt in tries)
    return Step(
        unread={
            "namespace": namespace,
            "pod": name,
            "reason": "no_tool",
            "detail": f"No container could show its sockets; tried {tried}.",
        }
    )


def refused(status: int, message: str) -> tuple[str, str]:
    """(reason, detail) for an exec that the API server or the kubelet answered with an HTTP error.

    Two answers can be told from other faults by their text alone, since both come with a status of 500 and no field that says more: the kubelet's
    for a container that it has not (GetExec, pkg/kubelet/kubelet_pods.go@v1.30.0), and the API server's where it does not reach the kubelet
    (k8s.io/apimachinery/pkg/util/proxy/upgradeaware.go@v0.30.0). Not recognized they are a server's error, which leaves the pod unread, too.
    """
    detail = message[:300]
    if status in (401, 403):
        return "forbidden", re.sub(
            r'^pods "[^"]*" is forbidden(: |:?\s*$)', "", detail
        )  # the rest is the same for each pod
    if status == 404:
        return "gone", detail
    if status == 400 or "container not found" in message:
        return CANNOT_RUN, detail
    if "dialing backend" in message:
        return "node_unreachable", detail
    return "server_error", detail


def explained(unread: Unread, lacks: t.Sequence[str] | None = None) -> Unread:
    """The entry of a pod that may not be read, with a reason where the API server gave none.

    From Kubernetes 1.35 on it gives none where the second of its two checks fails: `pods "web" is forbidden: ` is all it says
    (ensureAuthorizedForVerb in pkg/registry/core/pod/rest/authorize.go). `lacks`: the verbs that the user lacks, None if that is not known.
    """
    found: Unread = {**unread}
    if lacks is not None:
        found["lacks"] = list(lacks)
    if not found["detail"]:
        where = f'on resource "pods/exec" in the namespace "{found["namespace"]}"'
        verbs = f"the {'verb' if lacks and len(lacks) == 1 else 'verbs'} {' and '.join(lacks or EXEC_VERBS)}"
        found["detail"] = (
            f"The user lacks {verbs} {where}."
            if lacks
            else f"The API server gives no reason. The user needs {verbs} {where}{'' if lacks is None else ', and has them'}."
        )
    return found


EXEC_VERBS = ("get", "create")
"""A command over a WebSocket takes get, and from Kubernetes 1.35 on create, too (AuthorizePodWebsocketUpgradeCreatePermission)."""


def locked_out(snapshot: Snapshot) -> str | None:
    """Why no pod at all may be read, if so: then there is nothing to judge, whoever gathered."""
    unread = snapshot["unread"]
    if (
        snapshot["socketTables"]
        or not unread
        or any(entry["reason"] not in ("forbidden", "probe_forbidden") for entry in unread)
    ):
        return None
    first = unread[0]
    detail = (first.get("detail") or "forbidden").rstrip(".")
    refused_here = first["reason"] == "forbidden" and first.get("status", 403) == 403
    advised = first.get("lacks", EXEC_VERBS) if refused_here else ()  # not where it is known that the rights are there
    return f"no pod may be read: {detail}. {'Grant the verbs get and create on pods/exec.' if advised else ''}".rstrip()
