# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""gather: a live cluster in, a ClusterSnapshot out. The only part that talks to a cluster; it decides nothing."""

from __future__ import annotations

import typing as t
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

from ansible_collections.meshops.istio_precheck.plugins.module_utils._exposure import key
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather._api import Api, ApiError, GatherError
from ansible_collections.meshops.istio_precheck.plugins.module_utils._ladder import Outcome, Step, is_rbac, step
from ansible_collections.meshops.istio_precheck.plugins.module_utils._objects import (
    Request,
    assemble,
    control_plane_requests,
    control_planes,
    reduced,
    requests,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._snapshot import Snapshot
from ansible_collections.meshops.istio_precheck.plugins.module_utils._targets import Selection, is_running, select

Run = t.Callable[[str, str, str, t.Sequence[str]], Outcome]
"""Runs (namespace, pod, container, command)."""


def gather(api: Api, run: Run, selection: Selection, istio_namespace: str, concurrency: int, taken_at: str) -> Snapshot:
    """The snapshot of a cluster. Raises GatherError."""
    metadata = {"takenAt": taken_at, "server": api.server, "serverVersion": str(api.get("/version").get("gitVersion") or "")}
    objects: dict[str, list[t.Any]] = {"unlisted": []}
    for request in control_plane_requests(istio_namespace):
        _list(api, request, objects)
    istio = control_planes(objects, istio_namespace)
    for request in requests(selection.namespaces, istio["rootNamespace"]):
        _list(api, request, objects)
    for namespace in selection.namespaces:
        if not any(thing["metadata"]["namespace"] == namespace for kind in ("pods", "services") for thing in objects[kind]):
            _must_exist(api, namespace)
    snapshot = assemble(objects, metadata, istio)
    read_sockets(snapshot, run, selection, concurrency)
    return snapshot


def _list(api: Api, request: Request, objects: dict[str, list[t.Any]]) -> None:
    """Adds what one request finds, each object trimmed as its page arrives. A kind that the server does not have has no objects."""
    listing = request.listing
    found = objects.setdefault(listing.key, [])
    params = {"label_selector": request.label_selector} if request.label_selector else {}
    for version in listing.versions:
        try:
            found.extend(api.pages(request.path(version), lambda item: reduced(listing, item, version), **params))
            objects.setdefault("served", []).append(f"{version}/{listing.kind}")
            return
        except ApiError as error:
            if error.status == 404 and listing.may_be_absent:
                continue
            if listing.required or error.status not in (401, 403, 404):
                raise
            objects["unlisted"].append({"resource": listing.resource, "detail": error.detail})
            return


def _must_exist(api: Api, namespace: str) -> None:
    """An unknown namespace lists as an empty one does, so an empty one is looked at; where that is forbidden it stays unsaid."""
    try:
        api.get(f"/api/v1/namespaces/{quote(namespace, safe='')}")
    except ApiError as error:
        if error.status == 404:
            raise GatherError(f"namespaces: the cluster has no namespace {namespace!r}") from error


def read_sockets(snapshot: Snapshot, run: Run, selection: Selection, concurrency: int) -> None:
    """Adds the socket table of each pod that has to be read, or the reason why there is none."""
    pods = {key(pod): pod for pod in snapshot["pods"]}
    wanted = sorted({target.read_in for target in select(snapshot, selection).targets if is_running(pods[target.read_in])})
    no_right: dict[str, str] = {}

    def read(pod_key: tuple[str, str]) -> None:
        namespace, name = pod_key
        if namespace in no_right:  # what RBAC says of one pod it says of all of the namespace's
            snapshot["unread"].append({"namespace": namespace, "pod": name, "reason": "forbidden", "detail": no_right[namespace]})
            return
        result = read_pod(pods[pod_key], run)
        if result.table:
            snapshot["socketTables"].append(result.table)
        elif result.unread:
            if is_rbac(result.unread):
                no_right[namespace] = result.unread["detail"]
            snapshot["unread"].append(result.unread)

    with ThreadPoolExecutor(max_workers=concurrency, thread_name_prefix="exec") as pool:
        for _done in pool.map(read, _spread(wanted, pods)):
            pass
    for part in ("socketTables", "unread"):
        snapshot[part].sort(key=lambda entry: (entry["namespace"], entry["pod"]))


def read_pod(pod: dict[str, t.Any], run: Run) -> Step:
    """The pod's socket table, or why there is none."""
    namespace, name = key(pod)
    outcomes: list[Outcome] = []
    while True:
        result = step(pod, outcomes)
        if result.attempt is None:
            return result
        outcomes.append(run(namespace, name, result.attempt.container, result.attempt.command))


def _spread(wanted: t.Sequence[tuple[str, str]], pods: dict[tuple[str, str], dict[str, t.Any]]) -> list[tuple[str, str]]:
    """In turn from each node, so that no kubelet has to answer for all at once: the API server does not throttle exec."""
    by_node: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for pod_key in wanted:
        by_node[pods[pod_key]["spec"].get("nodeName") or ""].append(pod_key)
    ranked = [(rank, node, pod_key) for node, several in by_node.items() for rank, pod_key in enumerate(several)]
    return [pod_key for _rank, _node, pod_key in sorted(ranked)]
