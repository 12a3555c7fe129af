# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""From one attempt to the next: what a pod's answers so far add up to. Shared by everything that runs commands in pods."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._exposure import key
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.outside import as_text
from ansible_collections.meshops.istio_precheck.plugins.module_utils._targets import Attempt, answers, attempts


class Outcome(t.NamedTuple):
    """What became of one command. `code` is its exit code, None if it is not known; then `reason` is one word, `detail` a sentence."""

    stdout: str
    code: int | None
    reason: str = ""
    detail: str = ""


class Step(t.NamedTuple):
    """Exactly one is set: the next thing to try, the pod's entry in `socketTables`, or its entry in `unread`."""

    attempt: Attempt | None = None
    table: dict[str, t.Any] | None = None
    unread: dict[str, t.Any] | None = None


CANNOT_RUN = "cannot_run"
"""The container, not the cluster, is why a command did not run: another container may do."""


def step(pod: dict[str, t.Any], outcomes: t.Sequence[Outcome]) -> Step:
    """What follows from the outcomes of the first attempts, in their order: the first that answers wins."""
    namespace, name = key(pod)
    tries = attempts(pod)
    for attempt, outcome in zip(tries, outcomes):
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
        if outcome.code is None and outcome.reason != CANNOT_RUN:
            return Step(
                unread={"namespace": namespace, "pod": name, "reason": outcome.reason, "detail": outcome.detail}
            )
    if len(outcomes) < len(tries):
        return Step(attempt=tries[len(outcomes)])
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
    """(reason, detail) for an exec that the API server or the kubelet answered with an HTTP error."""
    detail = message[:300]
    if status in (401, 403):
        return "forbidden", re.sub(r'^pods "[^"]*" is forbidden: ', "", detail)  # the rest is the same for each pod
    if status == 404:
        return "gone", detail
    if status == 400 or "container not found" in message:
        return CANNOT_RUN, detail
    if "dialing backend" in message:
        return "node_unreachable", detail
    return "server_error", detail


def is_rbac(unread: dict[str, t.Any]) -> bool:
    """Whether a pod was not read for want of a right in its namespace, and not because something is particular about the pod."""
    return (
        unread["reason"] == "forbidden"
        and re.search(r'cannot \w+ resource "pods/exec"', unread.get("detail") or "") is not None
    )


def locked_out(snapshot: dict[str, t.Any]) -> str | None:
    """Why no pod at all may be read, if so: then there is nothing to judge, whoever gathered."""
    unread = snapshot["unread"]
    if (
        snapshot["socketTables"]
        or not unread
        or any(entry["reason"] not in ("forbidden", "probe_forbidden") for entry in unread)
    ):
        return None
    detail = (unread[0].get("detail") or "forbidden").rstrip(".")
    return f"no pod may be read: {detail}. {'Grant the verbs get and create on pods/exec.' if is_rbac(unread[0]) else ''}".rstrip()
