# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""Asks proxies how they deliver: which to ask, others decide. An entry of a snapshot's `proxyConfigs` for each, whatever it answers."""

from __future__ import annotations

import threading
import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.attempts import CANNOT_RUN, Outcome
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.by_exec import in_turns
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.source import Rights, Run
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.proxy_answer import (
    COMMAND,
    Cluster,
    ProxyAnswerError,
    inbound_clusters,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.kube import Pod, PodKey, read_pods
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.outside import as_text
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.snapshot import Snapshot

Ports = t.Mapping[PodKey, t.Collection[int]]
"""The pods whose proxies are asked, each with the ports whose clusters are kept."""

CONTAINER = "istio-proxy"

NOT_FOUND = (126, 127)
"""With what a shell or a runtime ends where there is no such program."""


def ask_proxies(
    snapshot: Snapshot,
    ports: Ports,
    run: Run,
    concurrency: int,
    per_node: int,
    rights: Rights,
    seconds: float,
) -> list[dict[str, t.Any]]:
    """`proxyConfigs` of these pods. No proxy takes longer than `seconds`, and none is asked where the API server says that nothing may be run."""
    pods = [pod for pod in read_pods(snapshot["pods"]) if pod.key in ports]
    no_right = set(rights.closed(sorted({pod.namespace for pod in pods})))
    found: dict[PodKey, dict[str, t.Any]] = {}
    lock = threading.Lock()

    def ask(pod_key: PodKey) -> Outcome:
        namespace, name = pod_key
        if namespace in no_right:
            return Outcome("", None, "forbidden", "The user may not run commands there.")
        outcome = run(namespace, name, CONTAINER, COMMAND, seconds, 1.0)
        if outcome.reason == "forbidden" and rights.lacking(namespace):
            no_right.add(namespace)
        return outcome

    def visit(pod: Pod) -> None:
        entry = proxy_config(pod.key, ask(pod.key), ports[pod.key])
        with lock:
            found[pod.key] = entry

    in_turns(pods, concurrency, per_node, visit)
    return [found[pod_key] for pod_key in sorted(found)]


def proxy_config(pod_key: PodKey, outcome: Outcome, ports: t.Collection[int]) -> dict[str, t.Any]:
    """The entry of a pod whose proxy was asked with COMMAND. Only these ports are kept: a proxy can say as many as it likes."""
    said, why = _said(outcome)
    kept = {"inbound": [each for each in said if each["port"] in ports]} if said is not None else why._asdict()
    return {"namespace": pod_key[0], "pod": pod_key[1], **kept}


class _Silence(t.NamedTuple):
    """Why a proxy said nothing: one word of SILENCE, and a sentence."""

    reason: str = ""
    detail: str = ""


def _said(outcome: Outcome) -> tuple[list[Cluster] | None, _Silence]:
    if outcome.code in NOT_FOUND or outcome.reason == CANNOT_RUN:  # tasks do not say why a command could not be run
        return None, _Silence("no_agent", f"{COMMAND[0]} cannot be run in {CONTAINER}.")
    if outcome.code is None:
        return None, _Silence(outcome.reason, as_text(outcome.detail))
    if outcome.code:
        return None, _Silence("no_answer", f"{COMMAND[0]} ended with {outcome.code}.")
    try:
        return inbound_clusters(outcome.stdout), _Silence()
    except ProxyAnswerError as error:
        return None, _Silence("no_answer", as_text(str(error)[:300]))
