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

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model import shapes
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.istio_values import as_version, image_tag
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.kube import controller_of
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.outside import OutsideError, fields_of_yaml
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.schema import SnapshotError, check_shape
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.shapes import (
    ISTIOD,
    ISTIOD_ENV,
    MESH_CONFIG,
    MESH_CONFIG_FIELDS,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.snapshot import API_VERSION, KIND, Snapshot
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
)

CONTROL_PLANE = (
    Listing("istiods", "Pod", "pods", ("v1",), ISTIOD),
    Listing("configMaps", "ConfigMap", "configmaps", ("v1",), MESH_CONFIG),
)


class Request(t.NamedTuple):
    """One list to ask for: in one namespace, or, where that is empty, in all."""

    listing: Listing
    namespace: str
    label_selector: str | None = None

    def path(self, version: str) -> str:
        prefix = "/api" if "/" not in version else "/apis"
        where = f"namespaces/{quote(self.namespace, safe='')}/" if self.namespace else ""
        return f"{prefix}/{version}/{where}{self.listing.resource}"


def control_plane_requests(istio_namespace: str) -> list[Request]:
    """What says how istiod delivers; asked for first, because it names the root namespace."""
    istiods, config_maps = CONTROL_PLANE
    return [Request(istiods, istio_namespace, "app=istiod"), Request(config_maps, istio_namespace)]


def requests(namespaces: t.Sequence[str], root_namespace: str, container_ids: bool = False) -> list[Request]:
    """Everything else. With `namespaces`, only there, so that rights in them are enough, and the root namespace's Sidecars.

    `container_ids` are for who reads sockets from outside of the containers.
    """
    selected = [
        listing._replace(shape=shapes.POD) if container_ids and listing is PODS else listing for listing in SELECTED
    ]
    asked = [Request(listing, namespace) for listing in selected for namespace in namespaces or ("",)]
    if namespaces and root_namespace not in namespaces:
        asked.append(Request(SIDECARS, root_namespace))
    return asked


def reduced(
    listing: Listing, item: dict[str, t.Any], version: str, trimmed: t.Callable[[t.Any, t.Any], t.Any] = trim
) -> dict[str, t.Any]:
    """An item of a list of `version` as the snapshot keeps it. A raw list's items do not say what they are.

    Raises SnapshotError, which says what is wrong with it, for one that no Kubernetes has.
    """
    if listing.versions is ISTIO and isinstance(item, dict) and item.get("spec") is None:
        item = {**item, "spec": {}}  # no schema of Istio's asks for one
    try:
        kept: dict[str, t.Any] = trimmed(item, listing.shape)
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


def _specification(pod: dict[str, t.Any]) -> str:
    """A digest of what its template says of the pod. It is of values that no snapshot may hold, so assemble() puts a name in its place."""
    spec = {
        field: value
        for field, value in (pod.get("spec") or {}).items()
        if field not in ("nodeName", "hostname", "ephemeralContainers")
    }
    text = json.dumps(spec, sort_keys=True)
    for volume in spec.get("volumes") or ():  # the ServiceAccount admission plugin names this one at random
        if isinstance(volume, dict) and str(volume.get("name")).startswith("kube-api-access-"):
            text = text.replace(json.dumps(volume["name"]), '"kube-api-access"')
    return hashlib.sha256(text.encode()).hexdigest()


def _name_specifications(pods: t.Sequence[dict[str, t.Any]]) -> None:
    """Each `specLike` becomes the name of the first pod of the namespace with the same one, which tells nothing of what it says."""
    first: dict[tuple[str, str], str] = {}
    for pod in pods:
        if "specLike" in pod:
            pod["specLike"] = first.setdefault((pod["metadata"]["namespace"], pod["specLike"]), pod["metadata"]["name"])


def without_selector(services: t.Iterable[dict[str, t.Any]]) -> set[tuple[str, str]]:
    return {(s["metadata"]["namespace"], s["metadata"]["name"]) for s in services if not s["spec"].get("selector")}


def leads(part: dict[str, t.Any], without: t.Container[tuple[str, str]]) -> bool:
    """Whether an EndpointSlice is needed: it is one of a Service without a selector, and of all others the selector says more."""
    return (
        part["metadata"]["namespace"],
        (part["metadata"].get("labels") or {}).get("kubernetes.io/service-name") or "",
    ) in without


def assemble(objects: dict[str, list[t.Any]], metadata: dict[str, t.Any], istio: dict[str, t.Any]) -> Snapshot:
    """A snapshot of `objects` by key, without socket tables yet. Objects are sorted, so that the same cluster gives the same file."""
    snapshot: Snapshot = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": metadata,
        "istio": istio,
        "socketTables": [],
        "unread": [],
    }
    for listing in SELECTED:
        snapshot[listing.key] = sorted(
            objects.get(listing.key) or (),
            key=lambda o: (o.get("kind") or "", o["metadata"]["namespace"], o["metadata"]["name"]),
        )
    _name_specifications(snapshot["pods"])
    without = without_selector(snapshot["services"])
    snapshot["endpointSlices"] = [part for part in snapshot["endpointSlices"] if leads(part, without)]
    snapshot["emptyNamespaces"] = sorted(objects.get("emptyNamespaces") or ())
    snapshot["unlisted"] = objects.get("unlisted") or []
    snapshot["sidecarVersions"] = sorted(
        {api.split("/")[1] for api in objects.get("served") or () if api.endswith("/Sidecar")}
    )
    return snapshot


def control_planes(objects: dict[str, list[t.Any]], istio_namespace: str) -> dict[str, t.Any]:
    """The snapshot's `istio`, from istiod's pods and their mesh configurations. `unlisted` of the objects gets those that cannot be read."""
    configs = {}
    for config_map in objects.get("configMaps") or ():
        name = config_map["metadata"]["name"]
        if name != "istio" and not name.startswith("istio-"):
            continue
        try:
            configs[name] = mesh_config((config_map.get("data") or {}).get("mesh"))
        except OutsideError as error:
            hidden = {
                "resource": "configmaps",
                "object": f"ConfigMap {istio_namespace}/{name}",
                "detail": f"mesh: {error}",
            }
            objects.setdefault("unlisted", []).append(hidden)
    planes: dict[tuple[t.Any, ...], dict[str, t.Any]] = {}
    for pod in objects.get("istiods") or ():
        if (pod.get("status") or {}).get("phase") not in (None, "Running"):
            continue
        labels = pod["metadata"].get("labels") or {}
        revision = labels.get("istio.io/rev") or "default"
        containers = pod["spec"]["containers"]
        discovery = next((c for c in containers if c["name"] == "discovery"), containers[0] if containers else {})
        tag = image_tag(discovery.get("image"))
        version = (
            tag
            if as_version(tag)
            else labels.get("app.kubernetes.io/version") or labels.get("operator.istio.io/version") or tag or ""
        )
        env = {
            e["name"]: e["value"]
            for e in discovery.get("env") or ()
            if e.get("name") in ISTIOD_ENV and isinstance(e.get("value"), str)
        }
        config = configs.get("istio" if revision == "default" else f"istio-{revision}") or {}
        planes[revision, version, tuple(sorted(env.items()))] = {
            "namespace": istio_namespace,
            "revision": revision,
            "version": version,
            "env": env,
            "meshConfig": config,
        }
    default: dict[str, t.Any] = configs.get("istio") or next(
        (p["meshConfig"] for _key, p in sorted(planes.items())), {}
    )
    return {
        "rootNamespace": str(default.get("rootNamespace") or istio_namespace),
        "controlPlanes": [plane for _key, plane in sorted(planes.items())],
        "meshConfig": default,
    }


POLICIES = {
    "inboundTrafficPolicy": ("PASSTHROUGH", "LOCALHOST"),
    "outboundTrafficPolicy": ("REGISTRY_ONLY", "ALLOW_ANY"),
}
"""The modes of the policies that the rule reads, each in the place of its number: mesh/v1alpha1/config.proto in istio/api@1.22.0."""


def mesh_config(text: str | None) -> dict[str, t.Any]:
    """The fields that the rule reads of a mesh configuration in YAML, as istiod reads them: either spelling of a field, and modes by number, too.

    Raises OutsideError for one that istiod would not take, or that is not read; protomarshal.ApplyYAML, pkg/util/protomarshal/protomarshal.go@1.22.0.
    """
    spellings = {re.sub("[A-Z]", lambda found: f"_{found[0].lower()}", field): field for field in MESH_CONFIG_FIELDS}
    spellings.update(zip(MESH_CONFIG_FIELDS, MESH_CONFIG_FIELDS))
    read = fields_of_yaml(text or "", spellings)
    config = {spellings[name]: value for name, value in read.items() if value is not None}
    if not isinstance(config.get("rootNamespace", ""), str):
        raise OutsideError("rootNamespace: wanted text")
    for field, modes in POLICIES.items():
        policy = config.get(field, {})
        if not isinstance(policy, dict):
            raise OutsideError(f"{field}: wanted a mapping")
        mode = policy.get("mode")
        if isinstance(mode, int) and not isinstance(mode, bool) and 0 <= mode < len(modes):
            config[field] = {**policy, "mode": modes[mode]}
        elif mode is not None and mode not in modes:
            raise OutsideError(f"{field}.mode: wanted one of {', '.join(modes)}, found {str(mode)[:60]}")
    return config
