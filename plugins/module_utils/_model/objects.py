# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""The objects beside pods, as records: what the rules read of each, and no dictionary to dig in. Their defaults are Kubernetes' and Istio's."""

from __future__ import annotations

import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.kube import (
    NONE,
    Labels,
    PodKey,
    Thing,
    controller_of,
    key,
)


class Port(t.NamedTuple):
    """A port of a Service or a ServiceEntry."""

    name: str
    number: int
    target: int | str
    """The port of the pod: its number, or the name of one that a container declares."""
    protocol: str
    """In capitals; empty where istiod detects it."""
    app_protocol: str | None
    """As it is written."""


class Service(t.NamedTuple):
    namespace: str
    name: str
    created: str
    selector: Labels
    type: str
    external_name: str
    families: tuple[str, ...]
    ports: tuple[Port, ...]

    @property
    def key(self) -> PodKey:
        return self.namespace, self.name

    @property
    def is_alias(self) -> bool:
        return self.type == "ExternalName"

    @property
    def by_slices(self) -> bool:
        """Whether its EndpointSlices alone say where it leads."""
        return not self.selector and not self.is_alias

    @property
    def has_tcp(self) -> bool:
        return any(port.protocol == "TCP" for port in self.ports)


class ServiceEntry(t.NamedTuple):
    namespace: str
    name: str
    created: str
    selector: Labels
    """Of its workloadSelector."""
    hosts: tuple[str, ...]
    endpoints: tuple[Thing, ...]
    ports: tuple[Port, ...]


class EndpointSlice(t.NamedTuple):
    namespace: str
    service: str
    address_type: str
    endpoints: tuple[Thing, ...]
    ports: tuple[Thing, ...]


class Controller(t.NamedTuple):
    """What makes pods: a ReplicaSet, a StatefulSet, a Job and the like."""

    namespace: str
    kind: str
    name: str
    created: str
    owner: tuple[str, str] | None
    """Kind and name of its own controller."""
    selector: Thing
    replicas: int | None
    template_labels: Labels | None
    """What it gives to its pods, None where that is not recorded."""


def service_of(thing: Thing) -> Service:
    spec = thing["spec"]
    return Service(
        *key(thing),
        _created(thing),
        spec.get("selector") or NONE,
        spec.get("type") or "",
        spec.get("externalName") or "",
        tuple(spec.get("ipFamilies") or ()),
        tuple(
            Port(
                port.get("name") or "",
                port["port"],
                port.get("targetPort") or port["port"],
                (port.get("protocol") or "TCP").upper(),
                port.get("appProtocol"),
            )
            for port in spec.get("ports") or ()
        ),
    )


def service_entry_of(thing: Thing) -> ServiceEntry:
    """Without a protocol istiod detects it: convertPort, pilot/pkg/serviceregistry/serviceentry/conversion.go@1.20.8."""
    spec = thing["spec"]
    return ServiceEntry(
        *key(thing),
        _created(thing),
        (spec.get("workloadSelector") or NONE).get("labels") or NONE,
        tuple(spec.get("hosts") or ()),
        tuple(spec.get("endpoints") or ()),
        tuple(
            Port(
                port.get("name") or "",
                port["number"],
                port.get("targetPort") or port["number"],
                (port.get("protocol") or "").upper(),
                port.get("protocol"),
            )
            for port in spec.get("ports") or ()
        ),
    )


def endpoint_slice_of(thing: Thing) -> EndpointSlice:
    metadata = thing["metadata"]
    return EndpointSlice(
        metadata["namespace"],
        (metadata.get("labels") or NONE).get("kubernetes.io/service-name") or "",
        thing.get("addressType") or "",
        tuple(thing.get("endpoints") or ()),
        tuple(thing.get("ports") or ()),
    )


def controller_record(thing: Thing) -> Controller:
    namespace, name = key(thing)
    spec = thing.get("spec") or NONE
    template = spec.get("template")
    return Controller(
        namespace,
        thing["kind"],
        name,
        _created(thing),
        controller_of(thing),
        spec.get("selector") or NONE,
        spec.get("replicas"),
        ((template.get("metadata") or NONE).get("labels") or NONE) if template else None,
    )


def _created(thing: Thing) -> str:
    return thing["metadata"].get("creationTimestamp") or ""
