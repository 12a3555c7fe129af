# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""gather: a live cluster in, a ClusterSnapshot out. The only part that talks to a cluster; it decides nothing."""

from __future__ import annotations

import threading
import typing as t
from urllib.parse import quote

from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.api import Api
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.attempts import Step
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.errors import ApiError, GatherError
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.listing import (
    Request,
    assemble,
    leads,
    reduced,
    refusal,
    requests,
    without_selector,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.progress import Progress
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.source import Keep, Source
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.cluster import read_cluster
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.kube import PodKey, Thing
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.outside import without_collecting
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.schema import SnapshotError
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.snapshot import (
    Metadata,
    Snapshot,
    TableRecord,
    Unread,
    key_of_table,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.trim import Trimmer
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.selection import (
    Selection,
    asked,
    recorded_part,
    select,
)


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
    metadata: Metadata = {
        "takenAt": taken_at,
        "server": api.server,
        "serverVersion": api.version,
        **recorded_part(selection),
    }
    objects: dict[str, list[t.Any]] = {"unlisted": []}
    trimmed = Trimmer()
    with without_collecting():
        asked_for: set[tuple[str, str, str, str]] = set()
        while more := [
            request
            for request in requests(selection.namespaces, istio_namespace, objects, container_ids)
            if request.id not in asked_for
        ]:
            for request in more:
                _list(api, request, objects, trimmed)
                asked_for.add(request.id)
    for namespace in selection.namespaces:
        if not any(
            thing["metadata"]["namespace"] == namespace for kind in ("pods", "services") for thing in objects[kind]
        ):
            _must_exist(api, namespace, objects)
    snapshot = assemble(objects, metadata, istio_namespace)
    tables: list[TableRecord] = []
    read_sockets(snapshot, sources, selection, keep or tables.append, progress)
    snapshot["socketTables"] = sorted(tables, key=key_of_table)
    return snapshot


def _list(api: Api, request: Request, objects: dict[str, list[t.Any]], trimmed: Trimmer) -> None:
    """Adds what one request finds, page by page, each object trimmed. A kind that the server does not have has no objects."""
    listing = request.listing
    found = objects.setdefault(listing.key, [])
    params = {"label_selector": request.label_selector} if request.label_selector else {}
    without = without_selector(objects["services"]) if listing.key == "endpointSlices" else None
    for version in listing.versions:

        def reduce(item: Thing) -> Thing | None:
            kept = reduced(listing, item, version, trimmed)  # noqa: B023  # pylint: disable=cell-var-from-loop
            return kept if without is None or leads(kept, without) else None

        try:
            if request.name:
                found.append(_one(api, request, version, trimmed))
            else:
                found.extend(api.pages(request.path(version), reduce, **params))
            objects.setdefault("served", []).append(f"{version}/{listing.kind}")
            return
        except ApiError as error:
            if error.status == 404 and request.name:
                return
            if error.status == 404 and listing.may_be_absent:
                continue
            if listing.required or error.status not in (401, 403, 404):
                raise
            objects["unlisted"].append(refusal(request, error.detail))
            return


def _one(api: Api, request: Request, version: str, trimmed: Trimmer) -> Thing:
    """The object that a request names. Raises ApiError."""
    path = request.path(version)
    try:
        return reduced(request.listing, api.get(path), version, trimmed)
    except SnapshotError as error:
        raise ApiError(f"GET {path}", str(error)) from error


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
    cluster = read_cluster(snapshot)
    pods = {pod.key: pod for pod in cluster.pods}
    targets = select(cluster, selection).targets
    groups = {each.readers[0]: each.readers for each in targets if pods[each.readers[0]].is_running}.values()
    known: dict[PodKey, bool] = {}
    unread: dict[PodKey, Unread] = {}
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
