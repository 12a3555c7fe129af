# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""Reads socket tables by running commands in the pods, many at once."""

from __future__ import annotations

import threading
import time
import typing as t
from collections import defaultdict, deque
from concurrent.futures import ThreadPoolExecutor

from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.attempts import (
    TIMEOUT,
    Outcome,
    Step,
    explained,
    step,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.source import (
    EXEC_TIMEOUT,
    Rights,
    Run,
    Source,
    Take,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.kube import Pod
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.snapshot import Unread


def by_exec(
    run: Run, concurrency: int, per_node: int, rights: Rights | None = None, seconds: float = EXEC_TIMEOUT
) -> Source:
    """Reads pods with commands in them, at most `concurrency` at once, and `per_node` on one node; a pod takes at most `seconds`.

    What is said to be closed is believed once an attempt in one of the namespaces was refused, too. Where one is refused that was not said
    to be closed, the API server is asked why: for want of a right, which speaks for all pods of the namespace, or for something of this pod.
    """
    no_right: dict[str, Unread] = {}

    def source(pods: t.Sequence[Pod], take: Take) -> None:
        def read(pod: Pod) -> Step:
            namespace, name = pod.key
            if namespace in no_right:
                return Step(unread={**no_right[namespace], "pod": name})
            result = read_pod(pod, run, seconds)
            if result.unread and result.unread["reason"] == "forbidden":
                lacks = rights.lacking(namespace) if rights else None
                result = Step(unread=explained(result.unread, lacks))
                if lacks:
                    no_right[namespace] = t.cast("Unread", result.unread)
            return result

        closed = rights.closed(sorted({pod.namespace for pod in pods} - set(no_right))) if rights else {}
        witness = next((pod for pod in pods if pod.namespace in closed), None)
        if witness:
            pods = [pod for pod in pods if pod is not witness]
            take(read(witness))
            said = no_right.get(witness.namespace)
            for there, lacks in closed.items() if said else ():
                entry: Unread = {"namespace": there, "reason": "forbidden", "detail": ""}
                no_right.setdefault(there, explained(entry, lacks))
        in_turns(pods, concurrency, per_node, lambda pod: take(read(pod)))

    return source


def in_turns(pods: t.Sequence[Pod], concurrency: int, per_node: int, visit: t.Callable[[Pod], None]) -> None:
    """Calls `visit` for each pod, for at most `concurrency` at once, and `per_node` of one node."""
    turns = _Turns(pods, per_node)

    def work() -> None:
        for pod in turns.each():
            visit(pod)

    workers = min(concurrency, turns.most)
    if not workers:
        return
    pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="exec")
    try:
        for worker in [pool.submit(work) for _number in range(workers)]:
            worker.result()
    finally:
        turns.end()
        pool.shutdown(wait=False)  # who interrupts a run closes its connections, which ends the workers


def read_pod(pod: Pod, run: Run, seconds: float) -> Step:
    """The pod's socket table, or why there is none: all attempts in all of its containers take `seconds` together, shared as step() says."""
    namespace, name = pod.key
    deadline = time.monotonic() + seconds
    outcomes: list[Outcome] = []
    while True:
        result = step(pod, outcomes)
        if result.attempt is None:
            return result
        left = deadline - time.monotonic()
        outcomes.append(
            run(namespace, name, result.attempt.container, result.attempt.command, left, result.share)
            if left > 0
            else Outcome("", None, TIMEOUT, "No answer in time.")
        )


class _Turns:
    """Hands out pods to workers, from each node in turn, and never more than `per_node` of one node at once.

    The API server does not throttle exec, so this is all that spares a kubelet. A worker waits only when every node that has pods left is
    busy: one slow node holds up no other.
    """

    def __init__(self, pods: t.Sequence[Pod], per_node: int) -> None:
        self._per_node = per_node
        self._left: dict[str, deque[Pod]] = defaultdict(deque)
        for pod in pods:
            self._left[pod.node].append(pod)
        self._busy = dict.fromkeys(self._left, 0)
        self._free = deque(sorted(self._left))
        self._change = threading.Condition()
        self.most = sum(min(per_node, len(waiting)) for waiting in self._left.values())

    def each(self) -> t.Iterator[Pod]:
        """The pods of one worker; asking for the next says that it is done with the last."""
        while True:
            with self._change:
                while self._left and not self._free:
                    self._change.wait()
                if not self._left:
                    return
                node = self._free.popleft()
                pod = self._left[node].popleft()
                self._busy[node] += 1
                if not self._left[node]:
                    del self._left[node]
                    if not self._left:
                        self._change.notify_all()
                elif self._busy[node] < self._per_node:
                    self._free.append(node)
            try:
                yield pod
            finally:
                with self._change:
                    if self._busy[node] == self._per_node and node in self._left:
                        self._free.append(node)
                        self._change.notify()
                    self._busy[node] -= 1

    def end(self) -> None:
        """No more pods for anyone."""
        with self._change:
            self._left.clear()
            self._change.notify_all()
