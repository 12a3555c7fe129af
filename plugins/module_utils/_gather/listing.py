# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""Which objects a snapshot is made of, and how lists of them become one: the same for every way to gather."""

from __future__ import annotations

import hashlib
import json
import re
import typing as t
from urllib.parse import quote

from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather import control_planes
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.control_planes import (
    Objects,
    has_selectors,
    is_hidden,
    istiod_namespaces,
    nameless_service_meshes,
    places,
    root_namespaces,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model import shapes
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.kube import Thing, controller_of
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.schema import SnapshotError, check_shape
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.snapshot import (
    API_VERSION,
    KIND,
    Metadata,
    Snapshot,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.trim import trim
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.workloads import template_hash

ISTIO = tuple(f"networking.istio.io/{version}" for version in ("v1beta1", "v1", "v1alpha3"))
"""v1beta1 first: it is served by every Istio from 1.5 on."""


class Listing(t.NamedTuple):
    """One kind to list. `versions` are tried in turn; the first that the server has counts."""

    key: str
    kind: str
    resource: str
    versions: tuple[str, ...]
    shape: t.Any
    required: bool = False
    """Whether a verdict depends on it: if so, it must be allowed."""

    @property
    def may_be_absent(self) -> bool:
        """Whether a server may lack the kind; one that lacks a core kind is no Kubernetes."""
        return self.versions != ("v1",)


SERVICES = Listing("services", "Service", "services", ("v1",), shapes.SERVICE, True)
PODS = Listing("pods", "Pod", "pods", ("v1",), shapes.POD_WITHOUT_IDS, True)
SIDECARS = Listing("sidecars", "Sidecar", "sidecars", ISTIO, shapes.SIDECAR, True)
ENVOY_FILTERS = Listing("envoyFilters", "EnvoyFilter", "envoyfilters", ISTIO[-1:], shapes.ENVOY_FILTER)

SELECTED = (
    SERVICES,
    PODS,
    SIDECARS,
    Listing("serviceEntries", "ServiceEntry", "serviceentries", ISTIO, shapes.SERVICE_ENTRY, True),
    Listing(
        "endpointSlices",
        "EndpointSlice",
        "endpointslices",
        ("discovery.k8s.io/v1", "discovery.k8s.io/v1beta1"),
        shapes.ENDPOINT_SLICE,
    ),
    Listing("controllers", "ReplicaSet", "replicasets", ("apps/v1",), shapes.LISTED_CONTROLLER),
    Listing("controllers", "StatefulSet", "statefulsets", ("apps/v1",), shapes.LISTED_CONTROLLER),
    Listing("controllers", "DaemonSet", "daemonsets", ("apps/v1",), shapes.LISTED_CONTROLLER),
    Listing("controllers", "Job", "jobs", ("batch/v1",), shapes.LISTED_CONTROLLER),
    Listing("controllers", "ReplicationController", "replicationcontrollers", ("v1",), shapes.LISTED_CONTROLLER),
    Listing("workloadEntries", "WorkloadEntry", "workloadentries", ISTIO, shapes.WORKLOAD_ENTRY),
    Listing("workloadGroups", "WorkloadGroup", "workloadgroups", ISTIO, shapes.WORKLOAD_GROUP),
    ENVOY_FILTERS,
)

ISTIODS = Listing(control_planes.ISTIODS, "Pod", "pods", ("v1",), shapes.ISTIOD)
DEPLOYMENTS = Listing(control_planes.DEPLOYMENTS, "Deployment", "deployments", ("apps/v1",), shapes.ISTIOD_DEPLOYMENT)
MESH_CONFIGS = Listing(control_planes.CONFIG_MAPS, "ConfigMap", "configmaps", ("v1",), shapes.MESH_CONFIG)
SERVICE_MESHES = Listing(
    control_planes.SERVICE_MESHES,
    "ServiceMeshControlPlane",
    "servicemeshcontrolplanes",
    ("maistra.io/v2", "maistra.io/v1"),
    shapes.SERVICE_MESH_CONTROL_PLANE,
)
NAMESPACES = Listing("namespaces", "Namespace", "namespaces", ("v1",), shapes.NAMESPACE)
"""Their labels, which discoverySelectors select by. They are in no namespace."""
DEFAULT_SIDECARS = SIDECARS._replace(required=False)
"""Those of a root namespace beside the namespaces that were named: who may not see them still gets a verdict where they do not matter."""

CONTROL_PLANE = (ISTIODS, DEPLOYMENTS, MESH_CONFIGS, SERVICE_MESHES)
OF_ISTIOD = "app=istiod"


class Request(t.NamedTuple):
    """One list to ask for: in one namespace, or, where that is empty, in all. With a `name`, that one object, whoever may not list it."""

    listing: Listing
    namespace: str
    label_selector: str | None = None
    name: str = ""

    @property
    def id(self) -> tuple[str, str, str, str]:
        return self.listing.key, self.listing.kind, self.namespace, self.name

    def path(self, version: str) -> str:
        prefix = "/api" if "/" not in version else "/apis"
        where = f"namespaces/{quote(self.namespace, safe='')}/" if self.namespace else ""
        which = f"/{quote(self.name, safe='')}" if self.name else ""
        return f"{prefix}/{version}/{where}{self.listing.resource}{which}"


def requests(
    namespaces: t.Sequence[str], istio_namespace: str, objects: Objects, container_ids: bool = False
) -> list[Request]:
    """The lists that are known to be needed by now. Others may follow from what these hold: ask again until there is nothing new.

    Without `namespaces`, everywhere. With, only there, so that rights in them are enough; in the namespaces where their proxies say that
    istiod is, or, if they do not, in `istio_namespace`; and Sidecars and EnvoyFilters in the root namespaces. Namespaces themselves only where
    discoverySelectors select some of them: with `namespaces`, these and the root namespaces one by one, since a Role in a namespace may give the
    right to get that one. `container_ids` are for who reads sockets from outside of the containers.
    """
    selected = [
        listing._replace(shape=shapes.POD) if container_ids and listing is PODS else listing for listing in SELECTED
    ]
    asked = [Request(listing, namespace) for listing in selected for namespace in namespaces or ("",)]
    if not namespaces:
        asked.append(Request(ISTIODS, "", OF_ISTIOD))
    elif PODS.key in objects:
        asked += [Request(ISTIODS, place, OF_ISTIOD) for place in places(objects, istio_namespace)]
    if ISTIODS.key not in objects:
        return asked
    looked = places(objects, istio_namespace) if namespaces else [istio_namespace]
    there = istiod_namespaces(objects) or [each for each in looked if not is_hidden(objects, "pods", each)]
    for namespace in there:
        asked += [Request(DEPLOYMENTS, namespace, OF_ISTIOD), Request(MESH_CONFIGS, namespace)]
    if DEPLOYMENTS.key in objects:
        asked += [Request(SERVICE_MESHES, namespace) for namespace in nameless_service_meshes(objects)]
    if namespaces and (MESH_CONFIGS.key in objects or not there):
        roots = root_namespaces(objects, istio_namespace)
        for_all = (DEFAULT_SIDECARS, ENVOY_FILTERS)
        asked += [Request(listing, root) for root in roots if root not in namespaces for listing in for_all]
    if MESH_CONFIGS.key in objects and has_selectors(objects, istio_namespace):
        names = sorted({*namespaces, *root_namespaces(objects, istio_namespace)}) if namespaces else [""]
        asked += [Request(NAMESPACES, "", name=name) for name in names]
    return asked


def refusal(request: Request, detail: str) -> dict[str, str]:
    """The entry of a list that was refused in the snapshot's `unlisted`."""
    where = {"namespace": request.namespace} if request.namespace else {}
    if request.name:
        where["object"] = f"{request.listing.kind} {request.name}"
    return {"resource": request.listing.resource, **where, "detail": detail}


def reduced(
    listing: Listing, item: Thing, version: str, trimmed: t.Callable[[t.Any, t.Any], t.Any] = trim
) -> dict[str, t.Any]:
    """An item of a list of `version` as the snapshot keeps it. A raw list's items do not say what they are.

    Raises SnapshotError, which says what is wrong with it, for one that no Kubernetes has.
    """
    if listing.versions is ISTIO and isinstance(item, dict) and item.get("spec") is None:
        item = {**item, "spec": {}}  # no schema of Istio's asks for one
    try:
        kept: Thing = trimmed(item, listing.shape)
        alike = (
            _specification(item)
            if listing.key == PODS.key
            and template_hash(controller_of(item), (item.get("metadata") or {}).get("labels") or {}) is None
            else None
        )
    except (AttributeError, LookupError, TypeError, ValueError, RecursionError) as error:
        metadata = item.get("metadata") if isinstance(item, dict) else None
        name = f" {metadata.get('namespace')}/{metadata.get('name')}" if isinstance(metadata, dict) else ""
        check_shape(item, listing.shape, f"{listing.kind}{name}")
        if not isinstance(error, (ValueError, RecursionError)):
            raise
        raise SnapshotError(f"{listing.kind}{name}: {error}") from error
    if alike:
        kept["specLike"] = alike
    if listing.shape is shapes.LISTED_CONTROLLER:
        kept["kind"] = listing.kind
    if listing.shape is shapes.SIDECAR:
        kept["apiVersion"] = version
    return kept


def _specification(pod: Thing) -> str:
    """A digest of what its template says of the pod. It is of values that no snapshot may hold, so assemble() puts a name in its place."""
    spec = {
        field: value
        for field, value in (pod.get("spec") or {}).items()
        if field not in ("nodeName", "hostname", "ephemeralContainers")
    }
    # The ServiceAccount admission plugin names one volume at random, and its mounts. One pass: a pod may have tens of thousands so called.
    volumes = [volume.get("name") for volume in spec.get("volumes") or () if isinstance(volume, dict)]
    random = {json.dumps(name) for name in volumes if str(name).startswith("kube-api-access-")}
    text = re.sub(
        r'"kube-api-access-[^"\\]*"',
        lambda found: '"kube-api-access"' if found[0] in random else found[0],
        json.dumps(spec, sort_keys=True),
    )
    return hashlib.sha256(text.encode()).hexdigest()


def _name_specifications(pods: t.Sequence[Thing]) -> None:
    """Each `specLike` becomes the name of the first pod of the namespace with the same one, which tells nothing of what it says."""
    first: dict[tuple[str, str], str] = {}
    for pod in pods:
        if "specLike" in pod:
            pod["specLike"] = first.setdefault((pod["metadata"]["namespace"], pod["specLike"]), pod["metadata"]["name"])


def without_selector(services: t.Iterable[Thing]) -> set[tuple[str, str]]:
    return {(s["metadata"]["namespace"], s["metadata"]["name"]) for s in services if not s["spec"].get("selector")}


def leads(part: Thing, without: t.Container[tuple[str, str]]) -> bool:
    """Whether an EndpointSlice is needed: it is one of a Service without a selector, and of all others the selector says more."""
    return (
        part["metadata"]["namespace"],
        (part["metadata"].get("labels") or {}).get("kubernetes.io/service-name") or "",
    ) in without


def assemble(objects: Objects, metadata: Metadata, istio_namespace: str) -> Snapshot:
    """A snapshot of `objects` by key, without socket tables yet. Objects are sorted, so that the same cluster gives the same file."""
    istio, unreadable = control_planes.control_planes(objects, istio_namespace)
    snapshot: Snapshot = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": metadata,
        "istio": istio,
        "socketTables": [],
        "unread": [],
    }
    for listing in SELECTED:
        snapshot[listing.key] = sorted(  # type: ignore[literal-required]
            objects.get(listing.key) or (),
            key=lambda o: (o.get("kind") or "", o["metadata"]["namespace"], o["metadata"]["name"]),
        )
    if NAMESPACES.key in objects:
        snapshot["namespaces"] = sorted(objects[NAMESPACES.key], key=lambda each: str(each["metadata"]["name"]))
    _name_specifications(snapshot["pods"])
    without = without_selector(snapshot["services"])
    snapshot["endpointSlices"] = [part for part in snapshot["endpointSlices"] if leads(part, without)]
    snapshot["emptyNamespaces"] = sorted(objects.get("emptyNamespaces") or ())
    snapshot["unlisted"] = [*(objects.get("unlisted") or ()), *unreadable]
    snapshot["sidecarVersions"] = sorted(
        {api.split("/")[1] for api in objects.get("served") or () if api.endswith("/Sidecar")}
    )
    return snapshot
