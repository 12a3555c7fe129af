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

from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.targets import (
    ALWAYS,
    BESIDE,
    NATIVE_PORT,
    OTHER_ADDRESS,
    PORT_NAME,
    PORT_NUMBER,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.kube import (
    Pod,
    PodKey,
    Thing,
    family_of,
    key,
    read_pods,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.report import OutOfScope, ServicePort
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.snapshot import Snapshot
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.workloads import Controllers


class Exposure(t.NamedTuple):
    """One port of one pod that one Service exposes."""

    namespace: str
    pod: str
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
    pilot/pkg/model/context.go@1.20.8. All Services of a pod are of its namespace, so the domain that ends their host names decides nothing."""
    how: str
    """What decides whether istiod counts the port among those that Services give the pod: one of the ways of _mesh.targets."""

    def as_dict(self) -> ServicePort:
        return {"name": self.service, "port": self.service_port, "port_name": self.port_name}


class Exposures(t.NamedTuple):
    by_pod: dict[PodKey, list[Exposure]]
    skipped: list[OutOfScope]
    standing: t.Collection[PodKey]
    """The pods that count, whether or not a Service exposes them."""


def expose(snapshot: Snapshot, pods: t.Iterable[Pod] | None = None) -> Exposures:
    """Every TCP target port that a Service exposes, by pod; and what was passed over, each with a reason.

    Takes a checked snapshot, and its pods if they were read already. `skipped` holds `{namespace, service, port, reason}`, `port` being the Service's.
    """
    collector = _Collector(snapshot, read_pods(snapshot["pods"]) if pods is None else pods)
    for service in sorted(snapshot["services"], key=lambda service: not service["spec"].get("selector")):
        collector.add_service(service)
    for entry in snapshot.get("serviceEntries") or ():
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
    def __init__(self, snapshot: Snapshot, pods: t.Iterable[Pod]) -> None:
        self._pods: dict[PodKey, Pod] = {pod.key: pod for pod in _standing(snapshot, list(pods))}
        self._found: set[Exposure] = set()
        self._skipped: list[OutOfScope] = []
        self._selected: set[PodKey] = set()
        self._named: dict[PodKey, dict[str, tuple[int, bool]]] = {}
        self._labelled: dict[tuple[str, str, str], set[PodKey]] = defaultdict(set)
        self._addressed: dict[tuple[str, str], set[PodKey]] = defaultdict(set)
        asked_for = {pair for selector in _selectors(snapshot) for pair in selector.items()}
        for pod_key, pod in self._pods.items():
            for pair in pod.labels.items():
                if pair in asked_for:
                    self._labelled[pod_key[0], pair[0], pair[1]].add(pod_key)
            if not pod.host_network:  # whose address is its node's, and so says nothing of the pod
                for ip in pod.ips:
                    self._addressed[pod_key[0], ip].add(pod_key)
        self._slices: dict[tuple[str, str], list[Thing]] = defaultdict(list)
        for part in snapshot.get("endpointSlices") or ():
            service = (part["metadata"].get("labels") or {}).get("kubernetes.io/service-name") or ""
            self._slices[part["metadata"]["namespace"], service].append(part)
        self._slices_hidden = any(entry["resource"] == "endpointslices" for entry in snapshot.get("unlisted") or ())

    def exposures(self) -> Exposures:
        by_pod: dict[PodKey, list[Exposure]] = defaultdict(list)
        for exposure in sorted(self._found, key=lambda e: (*e[:6], e.app_protocol or "", *e[7:])):
            by_pod[exposure.namespace, exposure.pod].append(exposure)
        skipped = sorted(self._skipped, key=lambda s: (s["namespace"], s["service"], s["port"], s["reason"]))
        return Exposures(dict(by_pod), skipped, self._pods.keys())

    def add_service(self, service: Thing) -> None:
        """Those with a selector come first: they decide what becomes of the others."""
        namespace, name = key(service)
        spec = service["spec"]
        selected = self._select(namespace, spec["selector"]) if spec.get("selector") else []
        self._selected.update(selected)
        for place, port in enumerate(spec.get("ports") or ()):
            protocol = (port.get("protocol") or "TCP").upper()
            if spec.get("type") == "ExternalName":
                where = spec.get("externalName") or "nothing"
                self._skip(
                    service,
                    port["port"],
                    f"An ExternalName Service is an alias in DNS, here of {where}: no pod stands behind it.",
                )
            elif protocol != "TCP":
                self._skip(service, port["port"], f"{protocol} is not checked: the rule is about TCP listeners.")
            else:
                offer = _Offer(
                    name,
                    port["port"],
                    port.get("name") or "",
                    port.get("appProtocol"),
                    "Service",
                    tuple(spec.get("ipFamilies") or ()),
                    (service["metadata"].get("creationTimestamp") or "", f"{name}.{namespace}.svc.", place),
                )
                if spec.get("selector"):
                    self._add_selected(service, offer, selected, port.get("targetPort") or port["port"])
                else:
                    self._add_sliced(service, offer)

    def _add_selected(self, service: Thing, offer: _Offer, selected: t.Sequence[PodKey], target: int | str) -> None:
        missing = 0
        for pod_key in selected:
            number, native = (target, False) if isinstance(target, int) else self._port_named(pod_key, target)
            if number:
                self._add(pod_key, number, offer._replace(how=NATIVE_PORT) if native else offer)
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

    def _add_sliced(self, service: Thing, offer: _Offer) -> None:
        """Pods named by the EndpointSlices of a Service without a selector, else found by address as istiod does.

        getPod, pilot/pkg/serviceregistry/kube/controller/endpoint_builder.go and endpointslice.go@1.20.8.
        """
        namespace, name = key(service)
        found = False
        parts = self._slices.get((namespace, name)) or ()
        addresses = {
            address for part in parts for each in part.get("endpoints") or () for address in each.get("addresses") or ()
        }
        for part in parts:
            family = (part["addressType"],) if part.get("addressType") else offer.families
            named = [
                p
                for p in part.get("ports") or ()
                if (p.get("name") or "") == offer.port_name and (p.get("protocol") or "TCP") == "TCP"
            ]
            numbers = {p["port"] for p in named if p.get("port")}
            for pod_key in {
                pod_key for endpoint in part.get("endpoints") or () for pod_key in self._endpoint(namespace, endpoint)
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

    def add_service_entry(self, entry: Thing) -> None:
        """A ServiceEntry with a workloadSelector exposes pods like a Service, and one whose endpoints hold their addresses does, too.

        A pod's container port of the same name comes before targetPort, and that before the number:
        convertWorkloadInstanceToServiceInstance, pilot/pkg/serviceregistry/serviceentry/conversion.go@1.20.8. By its endpoints it exposes pods of
        its own namespace alone: GetProxyServiceTargets, servicediscovery.go@1.20.8.
        """
        namespace, name = key(entry)
        selector = (entry["spec"].get("workloadSelector") or {}).get("labels") or {}
        endpoints = entry["spec"].get("endpoints") or ()
        if not selector and not endpoints:
            return
        host = min(entry["spec"].get("hosts") or ("",))
        for place, port in enumerate(entry["spec"].get("ports") or ()):
            protocol = port.get(
                "protocol"
            )  # without one istiod detects it: convertPort, serviceentry/conversion.go@1.20.8
            if (protocol or "").upper() == "UDP":
                self._skip(entry, port["number"], "UDP is not checked: the rule is about TCP listeners.")
                continue
            rank = (entry["metadata"].get("creationTimestamp") or "", host, place)
            offer = _Offer(name, port["number"], port.get("name") or "", protocol, "ServiceEntry", (), rank)
            number = port.get("targetPort") or port["number"]
            if not selector:
                self._add_addressed(namespace, offer, endpoints, number)
                continue
            selected = self._select(namespace, selector)
            for pod_key in selected:
                named, _native = self._port_named(pod_key, offer.port_name)
                if named and named != number:
                    self._add(pod_key, named, offer._replace(how=PORT_NAME))
                    self._add(pod_key, number, offer._replace(how=PORT_NUMBER))
                else:
                    self._add(pod_key, number, offer)
            if not selected:
                self._skip(entry, port["number"], "Its workloadSelector matches no pod that runs or may run.")

    def _add_addressed(self, namespace: str, offer: _Offer, endpoints: t.Sequence[Thing], number: int) -> None:
        """An endpoint's own port of that name comes before the others: convertEndpoint, serviceentry/conversion.go@1.20.8."""
        for endpoint in endpoints:
            address = endpoint.get("address") or ""
            for pod_key in self._addressed.get((namespace, address)) or ():
                own = (endpoint.get("ports") or {}).get(offer.port_name)
                self._add(pod_key, own or number, offer._replace(families=(family_of(address),)))

    def _port_named(self, pod_key: PodKey, name: str) -> tuple[int, bool]:
        """The number of the pod's TCP port of that name, 0 for none, and whether only a native sidecar declares it."""
        if pod_key not in self._named:
            self._named[pod_key] = _named_ports(self._pods[pod_key])
        return self._named[pod_key].get(name, (0, False)) if name else (0, False)

    def _select(self, namespace: str, selector: t.Mapping[str, str]) -> list[PodKey]:
        return sorted(
            set.intersection(
                *(self._labelled.get((namespace, label, value)) or set() for label, value in selector.items())
            )
        )

    def _add(self, pod_key: PodKey, number: int, offer: _Offer) -> None:
        self._found.add(Exposure(*pod_key, number, **offer._asdict()))

    def _skip(self, service: Thing, port: int, reason: str) -> None:
        namespace, name = key(service)
        self._skipped.append({"namespace": namespace, "service": name, "port": port, "reason": reason})


def _standing(snapshot: Snapshot, pods: t.Sequence[Pod]) -> list[Pod]:
    """The pods that are or may become endpoints; of a workload that has none of these also those that are being deleted, since others come after them.

    So a workload is not passed over while its only pod is on a node that is gone, or between two pods of a Recreate.
    A pod of a StatefulSet stands for itself: the next one has its name, and may have a Service of its own.
    """
    standing = [pod for pod in pods if pod.can_be_asked]
    ending = [pod for pod in pods if pod.is_ending and pod.owner]
    if not ending:
        return standing
    controllers = Controllers(snapshot)
    there = {controllers.workload(pod) for pod in standing}
    return standing + [
        pod
        for pod, workload in ((pod, controllers.workload(pod)) for pod in ending)
        if workload.kind == "StatefulSet" or workload not in there
    ]


def _selectors(snapshot: Snapshot) -> t.Iterator[t.Mapping[str, str]]:
    for service in snapshot["services"]:
        yield service["spec"].get("selector") or {}
    for entry in snapshot.get("serviceEntries") or ():
        yield (entry["spec"].get("workloadSelector") or {}).get("labels") or {}


def _named_ports(pod: Pod) -> dict[str, tuple[int, bool]]:
    """The pod's TCP ports by name, and whether a native sidecar declares each; of two of one name the first counts, and native sidecars come last."""
    found: dict[str, tuple[int, bool]] = {}
    for container in pod.containers:
        native = container in pod.template.init_containers
        for port in container.get("ports") or ():
            if port.get("name") and (port.get("protocol") or "TCP") == "TCP":
                found.setdefault(port["name"], (int(port["containerPort"]), native))
    return found
