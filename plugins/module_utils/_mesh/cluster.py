# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""The Cluster: a ClusterSnapshot read once, as records that nobody changes. Behind this door nobody sees the document again."""

from __future__ import annotations

import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.control_plane import Istio, istio_of
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.kube import Pod, Thing, read_pods
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.objects import (
    Controller,
    EndpointSlice,
    Service,
    ServiceEntry,
    controller_record,
    endpoint_slice_of,
    service_entry_of,
    service_of,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.shapes import MAISTRA_LABELS
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.snapshot import (
    Snapshot,
    TableRecord,
    Unlisted,
    Unread,
)


class Registry(t.NamedTuple):
    """By which names clients ask for pods: istiod calls it its service registry."""

    services: tuple[Service, ...]
    entries: tuple[ServiceEntry, ...]
    workload_entries: tuple[Thing, ...]
    slices: tuple[EndpointSlice, ...]
    slices_hidden: bool
    """Whether EndpointSlices could not be listed."""
    slices_recorded: bool


class Beside(t.NamedTuple):
    """What no rule follows, and a report names: machines outside of the cluster, and EnvoyFilters."""

    workload_groups: tuple[Thing, ...]
    envoy_filters: tuple[Thing, ...]


class Cluster(t.NamedTuple):
    """What is known of a cluster. Objects are in the snapshot's order."""

    pods: tuple[Pod, ...]
    registry: Registry
    controllers: tuple[Controller, ...]
    istio: Istio
    sidecars: tuple[Thing, ...]
    """As they are written: a remedy edits them."""
    sidecar_versions: tuple[str, ...]
    beside: Beside
    recorded_namespaces: tuple[str, ...] | None
    """Those of which alone something was recorded, None where nothing was left out."""
    empty_namespaces: tuple[str, ...]
    """Those that are there and hold no pod and no Service, as far as somebody asked for them."""
    unlisted: tuple[Unlisted, ...]
    unread: tuple[Unread, ...]
    proxy_configs: tuple[Thing, ...]
    tables: t.Iterable[TableRecord]

    @property
    def shows_service_mesh(self) -> bool:
        """Whether labels of pods or control planes are those of OpenShift Service Mesh 2."""
        return self.istio.maistra or any(
            label in template.labels for template in {pod.template for pod in self.pods} for label in MAISTRA_LABELS
        )


def read_cluster(snapshot: Snapshot) -> Cluster:
    """The cluster of a checked snapshot."""
    unlisted = tuple(snapshot.get("unlisted") or ())
    services = tuple(map(service_of, snapshot["services"]))
    only = (snapshot.get("metadata") or {}).get("namespaces")
    return Cluster(
        pods=tuple(read_pods(snapshot["pods"])),
        registry=Registry(
            services,
            tuple(map(service_entry_of, snapshot.get("serviceEntries") or ())),
            tuple(snapshot.get("workloadEntries") or ()),
            tuple(map(endpoint_slice_of, snapshot.get("endpointSlices") or ())),
            any(entry["resource"] == "endpointslices" for entry in unlisted),
            "endpointSlices" in snapshot,
        ),
        controllers=tuple(map(controller_record, snapshot.get("controllers") or ())),
        istio=istio_of(snapshot.get("istio") or {}, snapshot.get("namespaces") or (), services, unlisted),
        sidecars=tuple(snapshot["sidecars"]),
        sidecar_versions=tuple(snapshot.get("sidecarVersions") or ()),
        beside=Beside(
            tuple(snapshot.get("workloadGroups") or ()),
            tuple(snapshot.get("envoyFilters") or ()),
        ),
        recorded_namespaces=None if only is None else tuple(only),
        empty_namespaces=tuple(snapshot.get("emptyNamespaces") or ()),
        unlisted=unlisted,
        unread=tuple(snapshot["unread"]),
        proxy_configs=tuple(snapshot.get("proxyConfigs") or ()),
        tables=snapshot["socketTables"],
    )
