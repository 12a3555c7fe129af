# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""What a run does not look at, or cannot know by its rule: said, so that it is not taken for fine."""

from __future__ import annotations

import typing as t
from collections import defaultdict

from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.cluster import Cluster, Registry
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.delivery import Delivery
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.pod import has_sidecar
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.kube import (
    Labels,
    Pod,
    PodKey,
    Thing,
    controller_of,
    key,
    matches,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.objects import Controller
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.report import NotChecked, subject
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.label_selector import label_matcher
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.pods import Mesh, as_read
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.readings import Readings
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.records import Group
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.selection import (
    API_SERVER,
    Selection,
    Target,
    in_namespaces,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.workloads import Controllers, Workload

OF_ROLLOUTS = ("ReplicaSet", "ReplicationController")
"""Kinds of which a workload has one for each rollout, most without replicas."""

SCALED = (*OF_ROLLOUTS, "StatefulSet")

MOST = 5
"""Names in a sentence."""


def not_checked(cluster: Cluster, selection: Selection, groups: t.Collection[Group], mesh: Mesh) -> list[NotChecked]:
    """Sorted by namespace and name. `groups` are the workloads that were checked."""
    wanted = label_matcher(selection.label_selectors)

    def chosen(namespace: str, labels: Labels) -> bool:
        return in_namespaces(namespace, selection) and wanted(labels)

    found = [
        *_without_pods(cluster, chosen, selection.scope),
        *_machines(cluster, chosen, selection),
        *_addresses(cluster.registry, cluster.pods, chosen),
        *_under_filters(cluster.beside.envoy_filters, groups, mesh),
    ]
    return sorted(found, key=lambda r: (r["namespace"], subject(r)["kind"], subject(r)["name"], r["reason"]))


def moves(groups: t.Iterable[Group]) -> list[str]:
    """One line for all ports of which one listener accepts today and another after the upgrade, and nobody knows whose these are; one for those of
    which one program has both. Where it is another program's there is a finding."""
    found: dict[bool, dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {False: {}, True: {}}
    for group in groups:
        for seen in group.seen:
            verdict = seen.verdict
            if verdict.moves[0] and verdict.outcome != "finding":
                workload = group.workload
                where = f"port {seen.port} of {workload.namespace}/{workload.kind}/{workload.name}"
                those = found[verdict.one_program]
                those[where] = min(those.get(where, verdict.moves), verdict.moves)
    return [_moved(those, one_program) for one_program, those in found.items() if those]


def listed_alone(
    cluster: Cluster,
    selection: Selection,
    targets: t.Iterable[Target],
    controllers: Controllers,
    readings: Readings,
    mesh: Mesh,
) -> list[str]:
    """One line for each port that a Sidecar lists, that no Service exposes, and whose clients, which know the pod's address, an upgrade may cut off.

    No other port that no Service exposes is delivered elsewhere after an upgrade: all are passed through to the pod IP.
    """
    if not any(sidecar["spec"].get("ingress") for sidecar in cluster.sidecars):
        return []
    wanted = label_matcher(selection.label_selectors)
    looked = {entry.pod.key: entry for entry in targets}
    found: set[str] = set()
    for pod in cluster.pods:
        if not pod.can_be_asked or not in_namespaces(pod.namespace, selection) or not wanted(pod.labels):
            continue
        entry = looked.get(pod.key)
        exposed = {e.port for e in (*entry.exposures, *entry.istio_ports)} if entry else set()
        for port, sidecar in mesh.lists(pod).items():
            if port in exposed:
                continue
            today, after = mesh.by_rule(pod, port)
            said = "" if today == after else _lost_by(pod, port, today, after, entry, readings, mesh)
            if said:
                workload = controllers.workload(pod)
                where = f"{workload.namespace}/{workload.kind}/{workload.name}"
                found.add(f"Port {port} of {where}, which no Service exposes and Sidecar {sidecar} lists: {said}")
    return sorted(found)


def _lost_by(
    pod: Pod, port: int, today: Delivery, after: Delivery, entry: Target | None, readings: Readings, mesh: Mesh
) -> str:
    """How clients of the port may be cut off, by what is known of its listeners; empty if they are not."""
    reading = readings.of(entry) if entry else None
    if reading is None or reading.table is None:
        ends = [(how.kind, how.address, how.port) for how in (today, after)]
        return f"it was not looked at: today {today.why}, after the upgrade {after.why}." if ends[0] != ends[1] else ""
    pod = as_read(pod, reading.by)
    concerned = [each for each in reading.table.listeners if each.port in (port, today.port, after.port)]
    verdict = mesh.judge(concerned, port, pod.ips[:1], today, after, ())
    return verdict.reason if verdict.impact in ("breaks_on_upgrade", "unknown") else ""


def _moved(those: t.Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]], one_program: bool) -> str:
    places = sorted(those)
    now, then = (" and ".join(texts) for texts in those[places[0]])
    such = "such as " if len(places) > 1 else ""
    whose = (
        ", which one program has: see whether it serves the same on both"
        if one_program
        else ": see whether both are of one program"
    )
    return (
        f"One listener accepts today and another after the upgrade, {such}{now} and {then}, on {_some(places)}{whose}."
    )


Chosen = t.Callable[[str, Labels], bool]


def _without_pods(cluster: Cluster, chosen: Chosen, scope: str) -> t.Iterator[NotChecked]:
    """Workloads that a Service selects and that have no pods to look at, by the template of their latest rollout.

    The label that keeps the injector away does so here, too; all else that decides on it is not known of a pod that is not there.
    """
    owners = {(pod.namespace, *pod.owner) for pod in cluster.pods if pod.owner and (pod.can_be_asked or pod.is_ending)}
    latest = _latest_of_none(cluster.controllers, owners)
    services = _Selecting(cluster.registry) if latest else None
    told: set[Workload] = set()
    for controller in sorted(latest, key=lambda c: (c.namespace, c.name, c.kind)):
        namespace = controller.namespace
        workload = Workload(namespace, *(controller.owner or (controller.kind, controller.name)))
        labels = controller.template_labels or {}
        injected = scope == "all" or labels.get("sidecar.istio.io/inject") != "false"
        names = services.of(namespace, labels) if services and injected and chosen(namespace, labels) else []
        if names and workload not in told:
            told.add(workload)
            wanted = controller.replicas
            has = f"It has none of the {wanted} pods that it wants" if wanted else "It has 0 replicas"
            yield {
                "namespace": namespace,
                "workload": workload.as_dict(),
                "reason": "no_pods" if wanted else "no_replicas",
                "detail": f"{has}, and {_some(names)} will send to its pods: what they listen on is not known.",
            }


def _latest_of_none(controllers: t.Iterable[Controller], owners: t.Container[tuple[str, str, str]]) -> list[Controller]:
    """The latest rollout of each workload of which none has a pod, the one that wants some before those that want none.

    `owners` are the controllers of pods. A StatefulSet stands for itself, as an owner may have several.
    """
    latest: dict[t.Any, Controller] = {}
    alive: set[t.Any] = set()
    for controller in controllers:
        kind, namespace, name = controller.kind, controller.namespace, controller.name
        if kind not in SCALED:
            continue
        which = (namespace, (controller.owner if kind in OF_ROLLOUTS else None) or (kind, name))
        if controller.replicas is None or (namespace, kind, name) in owners:
            alive.add(which)
        elif which not in latest or _rank(controller) > _rank(latest[which]):
            latest[which] = controller
    return [controller for which, controller in latest.items() if which not in alive]


def _rank(controller: Controller) -> tuple[bool, str, str]:
    return bool(controller.replicas), controller.created, controller.name


class _Selecting:
    """Services and ServiceEntries with a TCP port, by one pair of their selectors: a namespace may have thousands."""

    def __init__(self, registry: Registry) -> None:
        self._by_pair: dict[tuple[str, str, str], list[tuple[str, Labels]]] = defaultdict(list)
        for service in registry.services:
            if service.has_tcp and not service.is_alias:
                self._add("Service", service.key, service.selector)
        for entry in registry.entries:
            if any(port.protocol != "UDP" for port in entry.ports):
                self._add("ServiceEntry", (entry.namespace, entry.name), entry.selector)

    def _add(self, kind: str, which: tuple[str, str], selector: Labels) -> None:
        if selector:
            namespace, name = which
            label, value = min(selector.items())
            self._by_pair[namespace, label, value].append((f"{kind} {name}", selector))

    def of(self, namespace: str, labels: Labels) -> list[str]:
        return sorted(
            name
            for label, value in labels.items()
            for name, selector in self._by_pair.get((namespace, label, value)) or ()
            if matches(selector, labels)
        )


def _machines(cluster: Cluster, chosen: Chosen, selection: Selection) -> t.Iterator[NotChecked]:
    """WorkloadEntries and WorkloadGroups; an entry that istiod made for a group, one for each machine, is counted with it.

    One of the address of a pod, in a namespace that is looked at, is no machine: what selects it exposes that pod.
    """
    entries, machine_groups = cluster.registry.workload_entries, cluster.beside.workload_groups
    known = {
        ip
        for pod in (cluster.pods if entries else ())
        for ip in pod.ips
        if pod.can_be_asked and not pod.host_network and in_namespaces(pod.namespace, selection)
    }
    groups = {key(group) for group in machine_groups}
    of_group: dict[tuple[str, str], int] = defaultdict(int)
    for entry in entries:
        namespace, _name = key(entry)
        kind, owner = controller_of(entry) or ("", "")
        if kind == "WorkloadGroup" and (namespace, owner) in groups:
            of_group[namespace, owner] += 1
        elif (entry.get("spec") or {}).get("address") in known:
            continue
        elif chosen(namespace, (entry.get("spec") or {}).get("labels") or {}):
            detail = "It stands for a machine outside of the cluster's pods, whose sockets are not read."
            yield _resource("WorkloadEntry", key(entry), "vm", detail)
    for group in machine_groups:
        if chosen(key(group)[0], ((group.get("spec") or {}).get("metadata") or {}).get("labels") or {}):
            number = of_group[key(group)]
            now = f"{number:,} WorkloadEntr{'y' if number == 1 else 'ies'} today" if number else "none today"
            detail = f"It stands for machines outside of the cluster's pods, {now}, whose sockets are not read."
            yield _resource("WorkloadGroup", key(group), "vm", detail)


def _addresses(registry: Registry, pods: t.Sequence[Pod], chosen: Chosen) -> t.Iterator[NotChecked]:
    """Services without a selector whose EndpointSlices name addresses that are no pod's; what names its target is not written by hand."""
    without = {
        service.key
        for service in registry.services
        if service.by_slices and service.key != API_SERVER and chosen(service.namespace, {}) and service.has_tcp
    }
    named: dict[PodKey, set[str]] = defaultdict(set)
    for part in registry.slices:
        if (part.namespace, part.service) in without:
            for endpoint in part.endpoints:
                named[part.namespace, part.service].update(
                    () if endpoint.get("targetRef") else endpoint.get("addresses") or ()
                )
    known = {ip for pod in pods for ip in pod.ips} if any(named.values()) else set()
    for service, addresses in named.items():
        others = sorted(addresses - known)
        if others:
            several = "Addresses" if len(others) > 1 else "Address"
            detail = f"{several} {_some(others)} of its EndpointSlices lead{'' if len(others) > 1 else 's'} to no pod that was seen."
            yield _resource("Service", service, "no_pod", detail)


def _under_filters(filters: t.Iterable[Thing], groups: t.Iterable[Group], mesh: Mesh) -> t.Iterator[NotChecked]:
    """Workloads whose pods are in the mesh and under an EnvoyFilter that changes how connections come in: no rule follows that."""
    by_namespace: dict[str, list[Thing]] = defaultdict(list)
    for each in filters:
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
            numbers = [str(port) for port in sorted(ports)]
            said = f"port{'s' if len(ports) > 1 else ''} {_some(numbers)}" if numbers else "what its probes ask for"
            yield {
                "namespace": group.workload.namespace,
                "workload": group.workload.as_dict(),
                "reason": "envoy_filter",
                "detail": f"EnvoyFilter {_some(sorted(names))} may change where its proxy delivers {said}.",
            }


LEAVE_ALONE = ("BOOTSTRAP", "EXTENSION_CONFIG", "HTTP_FILTER")
"""What patches apply to that leave the delivery alone, whatever they do. Of all else, such as what a later Istio adds, nobody knows that."""

PUT_BESIDE = ("ADD", "INSERT_AFTER", "INSERT_BEFORE", "INSERT_FIRST")
"""How a network filter is put before or after others, as Istio's own telemetry is, which stay as they are."""

ELSEWHERE = ("GATEWAY", "SIDECAR_OUTBOUND")
"""Contexts in which a patch changes nothing of what comes in."""


def _changes_inbound(spec: Thing) -> bool:
    """One with targetRefs is for gateways and waypoints. A context that is not given is ANY, the enum's zero: EnvoyFilter.PatchContext."""
    return not spec.get("targetRefs") and any(
        (patch.get("match") or {}).get("context") not in ELSEWHERE
        and patch.get("applyTo") not in LEAVE_ALONE
        and not (patch.get("applyTo") == "NETWORK_FILTER" and (patch.get("patch") or {}).get("operation") in PUT_BESIDE)
        for patch in spec.get("configPatches") or ()
    )


def _resource(kind: str, which: tuple[str, str], reason: str, detail: str) -> NotChecked:
    namespace, name = which
    return {"namespace": namespace, "resource": {"kind": kind, "name": name}, "reason": reason, "detail": detail}


def _some(names: t.Sequence[str]) -> str:
    """The first names, joined for a sentence, and how many more there are."""
    shown = names[:MOST]
    if len(names) > MOST:
        return f"{', '.join(shown)} and {len(names) - MOST:,} more"
    return " and ".join(filter(None, [", ".join(shown[:-1]), shown[-1]]))
