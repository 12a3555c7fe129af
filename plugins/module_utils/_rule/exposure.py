# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""Services × pods: which target ports of which pods other pods can ask for, and by which name.

A Service selects pods in its own namespace by label equality; its targetPort is a number, or the name of a container port
that each pod resolves for itself: FindPort, pilot/pkg/serviceregistry/kube/controller/util.go@1.20.8.
"""

from __future__ import annotations

import typing as t
from collections import defaultdict

from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.cluster import Registry
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.targets import (
    ALWAYS,
    BESIDE,
    NATIVE_PORT,
    OTHER_ADDRESS,
    OTHER_NAMESPACE,
    PORT_NAME,
    PORT_NUMBER,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.kube import (
    PerTemplate,
    Pod,
    PodKey,
    Thing,
    family_of,
    key,
    matches,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.objects import (
    EndpointSlice,
    Port,
    Service,
    ServiceEntry,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.report import OutOfScope, ServicePort
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.workloads import Controllers


class Exposure(t.NamedTuple):
    """One port of a pod that one Service exposes: the same of all pods that are exposed alike."""

    port: int
    service: str
    service_port: int
    port_name: str
    app_protocol: str | None
    kind: str
    families: tuple[str, ...]
    """Of the addresses by which the pod is asked; empty: its primary one."""
    rank: tuple[str, str, int]
    """Istio's order where several expose one port: the oldest first, then by host name, then as the ports are written: SetServiceTargets,
    pilot/pkg/model/context.go@1.20.8. Host names of Services differ before the domain that ends them."""
    how: str
    """What decides whether istiod counts the port among those that Services give the pod: one of the ways of _mesh.targets."""

    def as_dict(self) -> ServicePort:
        return {"name": self.service, "port": self.service_port, "port_name": self.port_name}


class Exposures(t.NamedTuple):
    by_pod: dict[PodKey, tuple[Exposure, ...]]
    skipped: list[OutOfScope]
    standing: t.Collection[PodKey]
    """The pods that count, whether or not a Service exposes them."""


def expose(pods: t.Sequence[Pod], registry: Registry, controllers: Controllers) -> Exposures:
    """Every TCP target port that a Service exposes, by pod; and what was passed over, each with a reason.

    `skipped` holds `{namespace, service, port, reason}`, `port` being the Service's.
    """
    collector = _Collector(_standing(pods, controllers), registry)
    for service in sorted(registry.services, key=lambda service: not service.selector):
        collector.add_service(service)
    for entry in registry.entries:
        collector.add_service_entry(entry)
    return collector.exposures()


class _Offer(t.NamedTuple):
    """One port of one Service; the fields of Exposure from `service` on."""

    service: str
    service_port: int
    port_name: str
    app_protocol: str | None
    kind: str
    families: tuple[str, ...]
    rank: tuple[str, str, int]
    how: str = ALWAYS


class _Collector:
    def __init__(self, pods: t.Iterable[Pod], registry: Registry) -> None:
        self._pods: dict[PodKey, Pod] = {pod.key: pod for pod in pods}
        self._found: dict[PodKey, set[Exposure]] = defaultdict(set)
        self._skipped: list[OutOfScope] = []
        self._selected: set[PodKey] = set()
        self._named: t.Callable[[Pod], dict[str, tuple[int, bool]]] = PerTemplate(_named_ports)
        self._labelled: dict[tuple[str, str, str], set[PodKey]] = defaultdict(set)
        self._addressed: dict[tuple[str, str], set[PodKey]] = defaultdict(set)
        self._slices: dict[tuple[str, str], list[EndpointSlice]] = defaultdict(list)
        for part in registry.slices:
            self._slices[part.namespace, part.service].append(part)
        self._slices_hidden = registry.slices_hidden
        selecting: list[Service | ServiceEntry] = [*registry.services, *registry.entries]
        asked_for = {(each.namespace, *pair) for each in selecting for pair in each.selector.items()}
        wanted: t.Callable[[Pod], list[tuple[str, str, str]]] = PerTemplate(
            lambda pod: [
                which for which in ((pod.namespace, *pair) for pair in pod.labels.items()) if which in asked_for
            ]
        )
        by_address = self._slices or registry.workload_entries or any(entry.endpoints for entry in registry.entries)
        for pod_key, pod in self._pods.items():
            for which in wanted(pod):
                self._labelled[which].add(pod_key)
            if by_address and not pod.host_network:  # whose address is its node's, and so says nothing of the pod
                for ip in pod.ips:
                    self._addressed[pod_key[0], ip].add(pod_key)
        self._anywhere: dict[str, set[PodKey]] = defaultdict(set)
        for (_namespace, ip), those in self._addressed.items():
            self._anywhere[ip] |= those
        self._entries: dict[str, list[tuple[Thing, PodKey]]] = defaultdict(list)
        """WorkloadEntries by their namespaces, each with a pod that has its address."""
        for entry in registry.workload_entries:
            spec = entry.get("spec") or {}
            for pod_key in self._anywhere.get(spec.get("address") or "") or ():
                self._entries[key(entry)[0]].append((spec, pod_key))

    def exposures(self) -> Exposures:
        """Pods that are exposed alike have one and the same tuple."""
        made: dict[frozenset[Exposure], tuple[Exposure, ...]] = {}
        by_pod = {}
        for pod_key in sorted(self._found):
            found = frozenset(self._found[pod_key])
            if found not in made:
                made[found] = tuple(sorted(found, key=lambda e: (*e[:4], e.app_protocol or "", *e[5:])))
            by_pod[pod_key] = made[found]
        skipped = sorted(self._skipped, key=lambda s: (s["namespace"], s["service"], s["port"], s["reason"]))
        return Exposures(by_pod, skipped, self._pods.keys())

    def add_service(self, service: Service) -> None:
        """Those with a selector come first: they decide what becomes of the others."""
        selected = self._select(service.namespace, service.selector) if service.selector else []
        self._selected.update(selected)
        for place, port in enumerate(service.ports):
            if service.is_alias:
                self._skip(
                    service,
                    port.number,
                    f"An ExternalName Service is an alias in DNS, here of {service.external_name or 'nothing'}: no pod stands behind it.",
                )
            elif port.protocol != "TCP":
                self._skip(service, port.number, f"{port.protocol} is not checked: the rule is about TCP listeners.")
            else:
                offer = _Offer(
                    service.name,
                    port.number,
                    port.name,
                    port.app_protocol,
                    "Service",
                    service.families,
                    (service.created, f"{service.name}.{service.namespace}.svc.", place),
                )
                if service.selector:
                    self._add_selected(service, offer, selected, port.target)
                    named = (offer.port_name, port.target) if isinstance(port.target, int) else (port.target, 0)
                    self._add_entries(service, offer, *named)
                else:
                    self._add_sliced(service, offer)

    def _add_selected(self, service: Service, offer: _Offer, selected: t.Sequence[PodKey], target: int | str) -> None:
        missing = 0
        made: dict[tuple[int, bool], Exposure] = {}
        for pod_key in selected:
            which = (target, False) if isinstance(target, int) else self._port_named(pod_key, target)
            number, native = which
            if which not in made:
                made[which] = Exposure(number, *(offer._replace(how=NATIVE_PORT) if native else offer))
            if number:
                self._found[pod_key].add(made[which])
            else:
                missing += 1
        if missing:
            several = (
                f"{missing} of the {len(selected)} pods that it selects declare"
                if len(selected) > 1
                else "The pod that it selects declares"
            )
            self._skip(
                service,
                offer.service_port,
                f"{several} no TCP container port named {target!r}, so the Service sends nothing there.",
            )
        if not selected:
            self._skip(service, offer.service_port, "Its selector matches no pod that runs or may run.")

    def _add_sliced(self, service: Service, offer: _Offer) -> None:
        """Pods named by the EndpointSlices of a Service without a selector, else found by address as istiod does.

        getPod, pilot/pkg/serviceregistry/kube/controller/endpoint_builder.go and endpointslice.go@1.20.8.
        """
        found = False
        parts = self._slices.get(service.key) or ()
        addresses = {address for part in parts for each in part.endpoints for address in each.get("addresses") or ()}
        for part in parts:
            family = (part.address_type,) if part.address_type else offer.families
            named = [
                p
                for p in part.ports
                if (p.get("name") or "") == offer.port_name and (p.get("protocol") or "TCP") == "TCP"
            ]
            numbers = {p["port"] for p in named if p.get("port")}
            for pod_key in {
                pod_key for endpoint in part.endpoints for pod_key in self._endpoint(service.namespace, endpoint)
            }:
                first = addresses.intersection(self._pods[pod_key].ips[:1])
                how = BESIDE if pod_key in self._selected else ALWAYS if first else OTHER_ADDRESS
                for number in numbers:
                    found = True
                    self._add(pod_key, number, offer._replace(families=family, how=how))
        if not found:
            why = (
                "EndpointSlices could not be listed, so its pods are not known"
                if self._slices_hidden
                else "none of its EndpointSlices leads to a pod"
            )
            self._skip(service, offer.service_port, f"It has no selector, and {why}.")

    def _endpoint(self, namespace: str, endpoint: Thing) -> set[PodKey]:
        target = endpoint.get("targetRef") or {}
        if target.get("kind") == "Pod":
            pod_key = (target.get("namespace") or namespace, target.get("name") or "")
            return {pod_key} if pod_key in self._pods and pod_key[0] == namespace else set()
        return {
            pod_key
            for address in endpoint.get("addresses") or ()
            for pod_key in self._addressed.get((namespace, address)) or ()
        }

    def add_service_entry(self, entry: ServiceEntry) -> None:
        """A ServiceEntry with a workloadSelector exposes pods like a Service, and one whose endpoints hold their addresses does, too."""
        if not entry.selector and not entry.endpoints:
            return
        host = min(entry.hosts or ("",))
        for place, port in enumerate(entry.ports):
            if port.protocol == "UDP":
                self._skip(entry, port.number, "UDP is not checked: the rule is about TCP listeners.")
                continue
            rank = (entry.created, host, place)
            offer = _Offer(entry.name, port.number, port.name, port.app_protocol, "ServiceEntry", (), rank)
            if entry.selector:
                self._add_entry_selected(entry, offer, port)
            else:
                self._add_addressed(entry.namespace, offer, entry.endpoints, t.cast(int, port.target))

    def _add_entry_selected(self, entry: ServiceEntry, offer: _Offer, port: Port) -> None:
        """A pod's container port of the same name comes before targetPort, and that before the number:
        convertWorkloadInstanceToServiceInstance, pilot/pkg/serviceregistry/serviceentry/conversion.go@1.20.8.
        """
        selected, number = self._select(entry.namespace, entry.selector), t.cast(int, port.target)
        self._add_entries(entry, offer, offer.port_name, number)
        for pod_key in selected:
            named, _native = self._port_named(pod_key, offer.port_name)
            if named and named != number:
                self._add(pod_key, named, offer._replace(how=PORT_NAME))
                self._add(pod_key, number, offer._replace(how=PORT_NUMBER))
            else:
                self._add(pod_key, number, offer)
        if not selected:
            self._skip(entry, port.number, "Its workloadSelector matches no pod that runs or may run.")

    def _add_entries(self, selecting: Service | ServiceEntry, offer: _Offer, name: str, number: int) -> None:
        """What a selector exposes of the pods whose addresses WorkloadEntries hold: it selects these by their labels, and their port of that name comes
        before the number. istiod has the proxy of that address serve it, of whatever namespace the pod is: GetProxyServiceTargets,
        serviceTargetsFromWorkloadInstance and convertWorkloadInstanceToServiceInstance, kube/controller/controller.go and
        serviceentry/conversion.go@1.20.8; GetInstanceForProxy, serviceregistry/util/workloadinstances.
        """
        for spec, pod_key in self._entries.get(selecting.namespace) or ():
            port = (spec.get("ports") or {}).get(name) or number
            if port and matches(selecting.selector, spec.get("labels")):
                self._add_from(selecting.namespace, pod_key, port, offer, spec["address"])

    def _add_addressed(self, namespace: str, offer: _Offer, endpoints: t.Sequence[Thing], number: int) -> None:
        """An endpoint's own port of that name comes before the others: convertEndpoint, serviceentry/conversion.go@1.20.8."""
        for endpoint in endpoints:
            address = endpoint.get("address") or ""
            for pod_key in self._anywhere.get(address) or ():
                own = (endpoint.get("ports") or {}).get(offer.port_name)
                self._add_from(namespace, pod_key, own or number, offer, address)

    def _add_from(self, namespace: str, pod_key: PodKey, number: int, offer: _Offer, address: str) -> None:
        """What is exposed by an address of the pod. From 1.11 on istiod counts what ServiceEntries of its namespace alone expose so."""
        if pod_key[0] != namespace:
            how = OTHER_NAMESPACE if offer.kind == "ServiceEntry" else offer.how
            offer = offer._replace(service=f"{namespace}/{offer.service}", how=how)
        self._add(pod_key, number, offer._replace(families=(family_of(address),)))

    def _port_named(self, pod_key: PodKey, name: str) -> tuple[int, bool]:
        """The number of the pod's TCP port of that name, 0 for none, and whether only a native sidecar declares it."""
        return self._named(self._pods[pod_key]).get(name, (0, False)) if name else (0, False)

    def _select(self, namespace: str, selector: t.Mapping[str, str]) -> list[PodKey]:
        return sorted(
            set.intersection(
                *(self._labelled.get((namespace, label, value)) or set() for label, value in selector.items())
            )
        )

    def _add(self, pod_key: PodKey, number: int, offer: _Offer) -> None:
        self._found[pod_key].add(Exposure(number, *offer))

    def _skip(self, service: Service | ServiceEntry, port: int, reason: str) -> None:
        self._skipped.append({"namespace": service.namespace, "service": service.name, "port": port, "reason": reason})


def _standing(pods: t.Sequence[Pod], controllers: Controllers) -> list[Pod]:
    """The pods that are or may become endpoints; of a workload that has none of these also those that are being deleted, since others come after them.

    So a workload is not passed over while its only pod is on a node that is gone, or between two pods of a Recreate.
    A pod of a StatefulSet stands for itself: the next one has its name, and may have a Service of its own.
    """
    standing = [pod for pod in pods if pod.can_be_asked]
    ending = [pod for pod in pods if pod.is_ending and pod.owner]
    if not ending:
        return standing
    there = {controllers.workload(pod) for pod in standing}
    return standing + [
        pod
        for pod, workload in ((pod, controllers.workload(pod)) for pod in ending)
        if workload.kind == "StatefulSet" or workload not in there
    ]


def _named_ports(pod: Pod) -> dict[str, tuple[int, bool]]:
    """The pod's TCP ports by name, and whether a native sidecar declares each; of two of one name the first counts, and native sidecars come last."""
    found: dict[str, tuple[int, bool]] = {}
    for container in pod.containers:
        native = container in pod.template.init_containers
        for port in container.get("ports") or ():
            if port.get("name") and (port.get("protocol") or "TCP") == "TCP":
                found.setdefault(port["name"], (int(port["containerPort"]), native))
    return found
