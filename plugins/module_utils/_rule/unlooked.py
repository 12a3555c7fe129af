# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""What a run does not look at, or cannot know by its rule: said, so that it is not taken for fine."""

from __future__ import annotations

import typing as t
from collections import defaultdict

from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.pod import has_sidecar
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.kube import (
    Labels,
    Pod,
    Thing,
    controller_of,
    key,
    matches,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.report import NotChecked, subject
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.snapshot import Snapshot
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.label_selector import label_matcher
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.pods import Mesh
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.records import Group
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.selection import (
    API_SERVER,
    Selection,
    in_namespaces,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.workloads import Workload

OF_ROLLOUTS = ("ReplicaSet", "ReplicationController")
"""Kinds of which a workload has one for each rollout, most without replicas."""

SCALED = (*OF_ROLLOUTS, "StatefulSet")

MOST = 5
"""Names in a sentence."""


def not_checked(
    snapshot: Snapshot, selection: Selection, pods: t.Sequence[Pod], groups: t.Collection[Group], mesh: Mesh
) -> list[NotChecked]:
    """Sorted by namespace and name. `groups` are the workloads that were checked."""
    wanted = label_matcher(selection.label_selectors)

    def chosen(namespace: str, labels: Labels) -> bool:
        return in_namespaces(namespace, selection) and wanted(labels)

    found = [
        *_without_pods(snapshot, pods, chosen, selection.scope),
        *_machines(snapshot, chosen),
        *_addresses(snapshot, pods, chosen),
        *_under_filters(snapshot, groups, mesh),
    ]
    return sorted(found, key=lambda r: (r["namespace"], subject(r)["kind"], subject(r)["name"], r["reason"]))


def moves(groups: t.Iterable[Group]) -> list[str]:
    """One line for all ports of which one listener accepts today and another after the upgrade. Who holds these, a table does not say."""
    found: dict[str, tuple[str, str]] = {}
    for group in groups:
        for seen in group.seen:
            if any(seen.verdict.moves):
                workload = group.workload
                where = f"port {seen.port} of {workload.namespace}/{workload.kind}/{workload.name}"
                found[where] = min(found.get(where, seen.verdict.moves), seen.verdict.moves)
    if not found:
        return []
    places = sorted(found)
    now, then = found[places[0]]
    such = "such as " if len(places) > 1 else ""
    return [
        f"One listener accepts today and another after the upgrade, {such}{now} and {then}, on {_some(places)}: "
        "see whether both are of one program."
    ]


Chosen = t.Callable[[str, Labels], bool]


def _without_pods(snapshot: Snapshot, pods: t.Iterable[Pod], chosen: Chosen, scope: str) -> t.Iterator[NotChecked]:
    """Workloads that a Service selects and that have no pods to look at, by the template of their latest rollout.

    The label that keeps the injector away does so here, too; all else that decides on it is not known of a pod that is not there.
    """
    owners = {(pod.namespace, *pod.owner) for pod in pods if pod.owner and (pod.can_be_asked or pod.is_ending)}
    latest = _latest_of_none(snapshot, owners)
    services = _Selecting(snapshot) if latest else None
    told: set[Workload] = set()
    for controller in sorted(latest, key=lambda c: (*key(c), c["kind"])):
        namespace, _name = key(controller)
        workload = Workload(
            namespace, *(controller_of(controller) or (controller["kind"], controller["metadata"]["name"]))
        )
        labels = (((controller["spec"].get("template") or {}).get("metadata") or {}).get("labels")) or {}
        injected = scope == "all" or labels.get("sidecar.istio.io/inject") != "false"
        names = services.of(namespace, labels) if services and injected and chosen(namespace, labels) else []
        if names and workload not in told:
            told.add(workload)
            wanted = controller["spec"]["replicas"]
            has = f"It has none of the {wanted} pods that it wants" if wanted else "It has 0 replicas"
            yield {
                "namespace": namespace,
                "workload": workload.as_dict(),
                "reason": "no_pods" if wanted else "no_replicas",
                "detail": f"{has}, and {_some(names)} will send to its pods: what they listen on is not known.",
            }


def _latest_of_none(snapshot: Snapshot, owners: t.Container[tuple[str, str, str]]) -> list[Thing]:
    """The latest rollout of each workload of which none has a pod, the one that wants some before those that want none.

    `owners` are the controllers of pods. A StatefulSet stands for itself, as an owner may have several.
    """
    latest: dict[t.Any, Thing] = {}
    alive: set[t.Any] = set()
    for controller in snapshot.get("controllers") or ():
        kind, (namespace, name) = controller["kind"], key(controller)
        if kind not in SCALED:
            continue
        which = (namespace, (controller_of(controller) if kind in OF_ROLLOUTS else None) or (kind, name))
        if (controller.get("spec") or {}).get("replicas") is None or (namespace, kind, name) in owners:
            alive.add(which)
        elif which not in latest or _rank(controller) > _rank(latest[which]):
            latest[which] = controller
    return [controller for which, controller in latest.items() if which not in alive]


def _rank(controller: Thing) -> tuple[bool, str, str]:
    metadata = controller["metadata"]
    return bool(controller["spec"]["replicas"]), metadata.get("creationTimestamp") or "", metadata["name"]


class _Selecting:
    """Services and ServiceEntries with a TCP port, by one pair of their selectors: a namespace may have thousands."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._by_pair: dict[tuple[str, str, str], list[tuple[str, Labels]]] = defaultdict(list)
        for service in snapshot["services"]:
            spec = service["spec"]
            tcp = any((port.get("protocol") or "TCP").upper() == "TCP" for port in spec.get("ports") or ())
            if tcp and spec.get("type") != "ExternalName":
                self._add("Service", service, spec.get("selector") or {})
        for entry in snapshot.get("serviceEntries") or ():
            if any((port.get("protocol") or "").upper() != "UDP" for port in entry["spec"].get("ports") or ()):
                self._add("ServiceEntry", entry, (entry["spec"].get("workloadSelector") or {}).get("labels") or {})

    def _add(self, kind: str, thing: Thing, selector: Labels) -> None:
        if selector:
            namespace, name = key(thing)
            label, value = min(selector.items())
            self._by_pair[namespace, label, value].append((f"{kind} {name}", selector))

    def of(self, namespace: str, labels: Labels) -> list[str]:
        return sorted(
            name
            for label, value in labels.items()
            for name, selector in self._by_pair.get((namespace, label, value)) or ()
            if matches(selector, labels)
        )


def _machines(snapshot: Snapshot, chosen: Chosen) -> t.Iterator[NotChecked]:
    """WorkloadEntries and WorkloadGroups; an entry that istiod made for a group, one for each machine, is counted with it."""
    groups = {key(group) for group in snapshot.get("workloadGroups") or ()}
    of_group: dict[tuple[str, str], int] = defaultdict(int)
    for entry in snapshot.get("workloadEntries") or ():
        namespace, _name = key(entry)
        kind, owner = controller_of(entry) or ("", "")
        if kind == "WorkloadGroup" and (namespace, owner) in groups:
            of_group[namespace, owner] += 1
        elif chosen(namespace, (entry.get("spec") or {}).get("labels") or {}):
            detail = "It stands for a machine outside of the cluster's pods, whose sockets are not read."
            yield _resource("WorkloadEntry", entry, "vm", detail)
    for group in snapshot.get("workloadGroups") or ():
        if chosen(key(group)[0], ((group.get("spec") or {}).get("metadata") or {}).get("labels") or {}):
            number = of_group[key(group)]
            now = f"{number:,} WorkloadEntr{'y' if number == 1 else 'ies'} today" if number else "none today"
            detail = f"It stands for machines outside of the cluster's pods, {now}, whose sockets are not read."
            yield _resource("WorkloadGroup", group, "vm", detail)


def _addresses(snapshot: Snapshot, pods: t.Sequence[Pod], chosen: Chosen) -> t.Iterator[NotChecked]:
    """Services without a selector whose EndpointSlices name addresses that are no pod's; what names its target is not written by hand."""
    without = {
        key(service): service
        for service in snapshot["services"]
        if not service["spec"].get("selector")
        and service["spec"].get("type") != "ExternalName"
        and key(service) != API_SERVER
        and chosen(key(service)[0], {})
        and any((port.get("protocol") or "TCP").upper() == "TCP" for port in service["spec"].get("ports") or ())
    }
    named: dict[tuple[str, str], set[str]] = defaultdict(set)
    for part in snapshot.get("endpointSlices") or ():
        service = (key(part)[0], (part["metadata"].get("labels") or {}).get("kubernetes.io/service-name") or "")
        if service in without:
            for endpoint in part.get("endpoints") or ():
                named[service].update(() if endpoint.get("targetRef") else endpoint.get("addresses") or ())
    known = {ip for pod in pods for ip in pod.ips} if any(named.values()) else set()
    for service, addresses in named.items():
        others = sorted(addresses - known)
        if others:
            several = "Addresses" if len(others) > 1 else "Address"
            detail = f"{several} {_some(others)} of its EndpointSlices lead{'' if len(others) > 1 else 's'} to no pod that was seen."
            yield _resource("Service", without[service], "no_pod", detail)


def _under_filters(snapshot: Snapshot, groups: t.Iterable[Group], mesh: Mesh) -> t.Iterator[NotChecked]:
    """Workloads whose pods are in the mesh and under an EnvoyFilter that changes how connections come in: no rule follows that."""
    by_namespace: dict[str, list[Thing]] = defaultdict(list)
    for each in snapshot.get("envoyFilters") or ():
        if _changes_inbound(each.get("spec") or {}):
            by_namespace[key(each)[0]].append(each)
    if not by_namespace:
        return
    for group in groups:
        names: set[str] = set()
        ports: set[int] = set()
        for entry in group.targets:
            pod = entry.pod
            found = {
                "/".join(key(each))
                for namespace in (mesh.root_namespaces(pod) | {pod.namespace} if has_sidecar(pod) else ())
                for each in by_namespace.get(namespace) or ()
                if matches(((each["spec"].get("workloadSelector") or {}).get("labels")) or {}, pod.labels)
            }
            if found:
                names |= found
                ports.update(exposure.port for exposure in entry.exposures)
        if names:
            said = f"port{'s' if len(ports) > 1 else ''} {_some([str(port) for port in sorted(ports)])}"
            yield {
                "namespace": group.workload.namespace,
                "workload": group.workload.as_dict(),
                "reason": "envoy_filter",
                "detail": f"EnvoyFilter {_some(sorted(names))} may change where its proxy delivers {said}.",
            }


WHOLE = ("CLUSTER", "FILTER_CHAIN", "HTTP_ROUTE", "LISTENER", "ROUTE_CONFIGURATION", "VIRTUAL_HOST")
"""What a patch of which may have the proxy deliver elsewhere, whatever it does; a network filter, where it changes one that is there. HTTP filters,
and what is put before or after others, as Istio's own telemetry is, leave the delivery alone."""


def _changes_inbound(spec: Thing) -> bool:
    """One with targetRefs is for gateways and waypoints. A context that is not given is ANY, the enum's zero: EnvoyFilter.PatchContext."""
    return not spec.get("targetRefs") and any(
        ((patch.get("match") or {}).get("context") or "ANY") in ("ANY", "SIDECAR_INBOUND")
        and (
            patch.get("applyTo") in WHOLE
            or (
                patch.get("applyTo") == "NETWORK_FILTER"
                and (patch.get("patch") or {}).get("operation") in ("MERGE", "REMOVE", "REPLACE")
            )
        )
        for patch in spec.get("configPatches") or ()
    )


def _resource(kind: str, thing: Thing, reason: str, detail: str) -> NotChecked:
    namespace, name = key(thing)
    return {"namespace": namespace, "resource": {"kind": kind, "name": name}, "reason": reason, "detail": detail}


def _some(names: t.Sequence[str]) -> str:
    """The first names, joined for a sentence, and how many more there are."""
    shown = names[:MOST]
    if len(names) > MOST:
        return f"{', '.join(shown)} and {len(names) - MOST:,} more"
    return " and ".join(filter(None, [", ".join(shown[:-1]), shown[-1]]))
