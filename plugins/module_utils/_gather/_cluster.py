# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""gather: a live cluster in, a ClusterSnapshot out. The only part that talks to a cluster; it decides nothing."""

from __future__ import annotations

import contextlib
import gc
import threading
import time
import typing as t
from collections import defaultdict, deque
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

from ansible_collections.meshops.istio_precheck.plugins.module_utils._exposure import PodKey, Thing, key
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather._api import Api, ApiError, GatherError
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather._progress import Progress
from ansible_collections.meshops.istio_precheck.plugins.module_utils._ladder import (
    TIMEOUT,
    Outcome,
    Step,
    explained,
    step,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._objects import (
    Request,
    assemble,
    control_plane_requests,
    control_planes,
    leads,
    reduced,
    requests,
    without_selector,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._shapes import Trimmer
from ansible_collections.meshops.istio_precheck.plugins.module_utils._snapshot import Snapshot, key_of_table
from ansible_collections.meshops.istio_precheck.plugins.module_utils._targets import (
    Selection,
    asked,
    is_running,
    select,
)

Run = t.Callable[[str, str, str, t.Sequence[str], float, float], Outcome]
"""Runs (namespace, pod, container, command, the seconds that it may take with all tries, the share of them that one try may take)."""

Take = t.Callable[[Step], None]
Source = t.Callable[[t.Sequence[Thing], Take], None]
"""Reads pods: hands over, as it comes and from whatever thread, each one's socket table or why there is none."""

EXEC_TIMEOUT = 10.0
"""Seconds for one pod, if nothing else is said."""

Keep = t.Callable[[dict[str, t.Any]], None]
"""Takes one entry of `socketTables`; several threads call it at once, so that no pod's table holds up another's."""


def gather(
    api: Api,
    sources: t.Sequence[Source],
    selection: Selection,
    istio_namespace: str,
    taken_at: str,
    keep: Keep | None = None,
    progress: Progress | None = None,
    container_ids: bool = False,
) -> Snapshot:
    """The snapshot of a cluster; the socket tables go to `keep` one by one, in no order, or into the snapshot if there is none.

    Each of `sources` is asked for what those before it could not read; `container_ids` says that one of them needs those. Raises GatherError.
    """
    metadata = {"takenAt": taken_at, "server": api.server, "serverVersion": api.version}
    objects: dict[str, list[t.Any]] = {"unlisted": []}
    trimmed = Trimmer()
    with _without_collecting():
        for request in control_plane_requests(istio_namespace):
            _list(api, request, objects, trimmed)
        istio = control_planes(objects, istio_namespace)
        for request in requests(selection.namespaces, istio["rootNamespace"], container_ids):
            _list(api, request, objects, trimmed)
    for namespace in selection.namespaces:
        if not any(
            thing["metadata"]["namespace"] == namespace for kind in ("pods", "services") for thing in objects[kind]
        ):
            _must_exist(api, namespace, objects)
    snapshot = assemble(objects, metadata, istio)
    read_sockets(snapshot, sources, selection, keep or snapshot["socketTables"].append, progress)
    snapshot["socketTables"].sort(key=key_of_table)
    return snapshot


@contextlib.contextmanager
def _without_collecting() -> t.Iterator[None]:
    """JSON has no cycles, and looking for some in pages of it again and again costs as much as parsing them; what is kept of it never has any."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        if collecting:
            gc.enable()


def _list(api: Api, request: Request, objects: dict[str, list[t.Any]], trimmed: Trimmer) -> None:
    """Adds what one request finds, page by page, each object trimmed. A kind that the server does not have has no objects."""
    listing = request.listing
    found = objects.setdefault(listing.key, [])
    params = {"label_selector": request.label_selector} if request.label_selector else {}
    without = without_selector(objects["services"]) if listing.key == "endpointSlices" else None
    for version in listing.versions:

        def reduce(item: dict[str, t.Any]) -> dict[str, t.Any] | None:
            kept = reduced(listing, item, version, trimmed)  # noqa: B023  # pylint: disable=cell-var-from-loop
            return kept if without is None or leads(kept, without) else None

        try:
            found.extend(api.pages(request.path(version), reduce, **params))
            objects.setdefault("served", []).append(f"{version}/{listing.kind}")
            return
        except ApiError as error:
            if error.status == 404 and listing.may_be_absent:
                continue
            if listing.required or error.status not in (401, 403, 404):
                raise
            objects["unlisted"].append({"resource": listing.resource, "detail": error.detail})
            return


def _must_exist(api: Api, namespace: str, objects: dict[str, list[t.Any]]) -> None:
    """An unknown namespace lists as an empty one does, so an empty one is looked at."""
    try:
        api.get(f"/api/v1/namespaces/{quote(namespace, safe='')}")
        objects.setdefault("emptyNamespaces", []).append(namespace)
    except ApiError as error:
        if error.status == 404:
            raise GatherError(f"namespaces: the cluster has no namespace {namespace!r}") from error
        objects["unlisted"].append({"resource": "namespaces", "detail": error.detail})


def read_sockets(
    snapshot: Snapshot, sources: t.Sequence[Source], selection: Selection, keep: Keep, progress: Progress | None = None
) -> None:
    """Reads each pod that has to be read; `unread` of the snapshot gets the reason where there is no table.

    Where one of several pods is enough, the next are asked once those before could not be read.
    """
    pods = {key(pod): pod for pod in snapshot["pods"]}
    targets = select(snapshot, selection).targets
    groups = {each.readers[0]: each.readers for each in targets if is_running(pods[each.readers[0]])}.values()
    known: dict[PodKey, bool] = {}
    unread: dict[PodKey, dict[str, t.Any]] = {}
    read: set[PodKey] = set()
    lock = threading.Lock()

    def take(result: Step) -> None:
        if result.table:
            keep(result.table)
        with lock:
            if result.table:
                read.add((result.table["namespace"], result.table["pod"]))
            elif result.unread:
                unread[result.unread["namespace"], result.unread["pod"]] = result.unread
            if progress:
                progress.take(result)

    left = sorted(group[0] for group in groups)
    while left or not known:
        known.update(dict.fromkeys(left, False))
        if progress:
            progress.begin(targets, len(known))
        for source in sources:
            source([pods[pod_key] for pod_key in left], take)
            left = [pod_key for pod_key in left if pod_key not in read]
        known.update(dict.fromkeys(read, True))
        if not known:
            break
        left = sorted({pod_key for group in groups for pod_key in asked(group, known.get)} - set(known))
    snapshot["unread"] = [unread[pod_key] for pod_key in sorted(unread) if pod_key not in read]


# ---------------------------------------------------------------------------------------------------------------------
# By exec


class Rights(t.Protocol):
    """What the API server says of the user's right to run commands in pods."""

    def closed(self, namespaces: t.Sequence[str]) -> t.Mapping[str, t.Sequence[str]]:
        """The namespaces of these in which nothing may be run, each with the verbs on pods/exec that the user lacks."""

    def lacking(self, namespace: str) -> t.Sequence[str] | None:
        """The verbs on pods/exec that the user lacks there; None if the API server does not say."""


def by_exec(
    run: Run, concurrency: int, per_node: int, rights: Rights | None = None, seconds: float = EXEC_TIMEOUT
) -> Source:
    """Reads pods with commands in them, at most `concurrency` at once, and `per_node` on one node; a pod takes at most `seconds`.

    What is said to be closed is believed once an attempt in one of the namespaces was refused, too. Where one is refused that was not said
    to be closed, the API server is asked why: for want of a right, which speaks for all pods of the namespace, or for something of this pod.
    """
    no_right: dict[str, dict[str, t.Any]] = {}

    def source(pods: t.Sequence[Thing], take: Take) -> None:
        def read(pod: Thing) -> Step:
            namespace, name = key(pod)
            if namespace in no_right:
                return Step(unread={**no_right[namespace], "pod": name})
            result = read_pod(pod, run, seconds)
            if result.unread and result.unread["reason"] == "forbidden":
                lacks = rights.lacking(namespace) if rights else None
                result = Step(unread=explained(result.unread, lacks))
                if lacks:
                    no_right[namespace] = t.cast("dict[str, t.Any]", result.unread)
            return result

        def work() -> None:
            for pod in turns.each():
                take(read(pod))

        closed = rights.closed(sorted({key(pod)[0] for pod in pods} - set(no_right))) if rights else {}
        witness = next((pod for pod in pods if key(pod)[0] in closed), None)
        if witness:
            pods = [pod for pod in pods if pod is not witness]
            take(read(witness))
            said = no_right.get(key(witness)[0])
            for there, lacks in closed.items() if said else ():
                entry = {"namespace": there, "reason": "forbidden", "detail": ""}
                no_right.setdefault(there, explained(entry, lacks))
        turns = _Turns(pods, per_node)
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

    return source


def read_pod(pod: dict[str, t.Any], run: Run, seconds: float) -> Step:
    """The pod's socket table, or why there is none: all attempts in all of its containers take `seconds` together, shared as step() says."""
    namespace, name = key(pod)
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

    def __init__(self, pods: t.Sequence[Thing], per_node: int) -> None:
        self._per_node = per_node
        self._left: dict[str, deque[Thing]] = defaultdict(deque)
        for pod in pods:
            self._left[pod["spec"].get("nodeName") or ""].append(pod)
        self._busy = dict.fromkeys(self._left, 0)
        self._free = deque(sorted(self._left))
        self._change = threading.Condition()
        self.most = sum(min(per_node, len(waiting)) for waiting in self._left.values())

    def each(self) -> t.Iterator[Thing]:
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
