# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""From findings to remedies: gathers what a plan is made from, and gives each finding its own."""

from __future__ import annotations

import functools
import typing as t
from collections import defaultdict

from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.cluster import Cluster, Registry
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.control_plane import ControlPlane
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.pod import has_sidecar
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.sidecars import has_selector
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.kube import Pod, Template, Thing, pod_of
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.objects import Controller
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.report import (
    FailingProbe,
    Finding,
    Remediation,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._remedy.chosen_endpoint import (
    ANOTHER_PORT,
    PodPort,
    Port,
    advice,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._remedy.plan import (
    Labels,
    Neighbour,
    Plan,
    WorkloadFacts,
    api_version,
    caught,
    plan,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.workloads import (
    Controllers,
    Workload,
    lasting,
)


class ExposedPod(t.NamedTuple):
    """A pod that Services expose: its ports, those of them that are Istio's own, and the Sidecars in effect before and after the upgrade."""

    pod: Pod
    ports: t.Mapping[int, PodPort]
    istio_ports: t.Mapping[int, PodPort]
    sidecars: tuple[Thing | None, ...]
    """Today's, the next one, and those of others that may serve the pod then."""
    hidden_root: str = ""
    """The root namespace, where its Sidecars could not be listed and one of them may be in effect."""
    without_sidecars: str = ""
    """Why a Sidecar in its namespace has no effect, or may have none, if so."""


class Remedies:
    """The remedies of a cluster's findings. `planes` are all control planes that it has, `probes` those that fail."""

    def __init__(
        self,
        cluster: Cluster,
        controllers: Controllers,
        planes: t.Sequence[ControlPlane],
        asked_for: str | None,
        probes: t.Sequence[FailingProbe],
        opens_closed: bool = False,
    ) -> None:
        self._opens_closed = opens_closed
        self._probes: dict[tuple[Workload, int], list[str]] = defaultdict(list)
        for probe in probes:
            if not probe["sidecar_helps"]:
                self._probes[Workload(probe["namespace"], **probe["workload"]), probe["port"]].append(probe["reason"])
        self._controllers = controllers
        self._versions = [plane.version for plane in planes]
        self._services = {service.key: service for service in cluster.registry.services}
        self._api_version = api_version(cluster.sidecar_versions, asked_for)
        self._sidecars: dict[str, list[Thing]] = defaultdict(list)
        for sidecar in cluster.sidecars:
            self._sidecars[sidecar["metadata"]["namespace"]].append(sidecar)
        self._pods: dict[str, list[Pod]] = defaultdict(list)
        for pod in cluster.pods:
            self._pods[pod.namespace].append(pod)
        self._neighbours: dict[str, list[Neighbour]] = {}
        self._dormant: dict[str, list[tuple[Workload, Labels]]] = {}
        self._makers: dict[str, list[Controller]] = defaultdict(list)
        for each in cluster.controllers:
            self._makers[each.namespace].append(each)
        self._registry = cluster.registry

    @functools.cached_property
    def _split_hosts(self) -> list[str]:
        return split_hosts(self._registry)

    def _look_around(self, namespace: str) -> None:
        """Who else is in the namespace, for a Sidecar to select: pods of the mesh, and workloads without any. Found out where there is a finding."""
        if namespace in self._neighbours:
            return
        workload = self._controllers.workload
        replicas: dict[tuple[Workload, Template], list[str]] = defaultdict(list)
        for pod in self._pods[namespace]:
            if has_sidecar(pod) and pod.can_be_asked:
                replicas[workload(pod), pod.template].append(pod.name)
        there = [Neighbour(which, names, template.labels) for (which, template), names in replicas.items()]
        awake = {neighbour.workload for neighbour in there}
        dormant: list[tuple[Workload, Labels]] = []
        for controller in self._makers[namespace]:
            owned = pod_of(namespace, (controller.kind, controller.name))
            labels = self._controllers.match_labels(owned)
            if labels and workload(owned) not in awake:
                dormant.append((workload(owned), labels))
        self._neighbours[namespace], self._dormant[namespace] = there, dormant

    def of(
        self, findings: list[Finding], look: t.Callable[[Workload], t.Sequence[ExposedPod]]
    ) -> tuple[list[Finding], list[Remediation]]:
        """The findings, each with its remedy, and the remediations. `look` is asked for the pods of one workload after the other."""
        by_workload: dict[Workload, dict[int, Finding]] = defaultdict(dict)
        for finding in findings:
            by_workload[Workload(finding["namespace"], **finding["workload"])][finding["port"]] = finding
        facts = {workload: self._facts(workload, look(workload), ports) for workload, ports in by_workload.items()}
        plans = {workload: plan(each) for workload, each in facts.items()}
        of_plan: dict[Workload, tuple[Workload, ...]] = {workload: (workload,) for workload in plans}
        for workload in sorted(plans):
            shared = None if plans[workload].manifest else self._shared(workload, facts, plans, by_workload, look)
            if shared:
                group, one = shared
                plans.update(dict.fromkeys(group, one))
                of_plan.update({each: group if each == workload else () for each in group})
        remediations = [
            self._remediation(plans[workload], [by_workload[each] for each in of_plan[workload]])
            for workload in sorted(plans)
            if plans[workload].manifest and of_plan[workload]
        ]
        return [
            self._with_remedy(finding, plans[Workload(finding["namespace"], **finding["workload"])])
            for finding in findings
        ], remediations

    def _shared(
        self,
        workload: Workload,
        facts: t.Mapping[Workload, WorkloadFacts],
        plans: t.Mapping[Workload, Plan],
        findings: t.Mapping[Workload, t.Mapping[int, Finding]],
        look: t.Callable[[Workload], t.Sequence[ExposedPod]],
    ) -> tuple[tuple[Workload, ...], Plan] | None:
        """One plan for the workload and those that its selectors catch, too, if it cures something of each, and all that plans of their own would."""
        own = facts[workload]
        chosen = [sidecar for sidecar in own.effective if sidecar and has_selector(sidecar)]
        edited = [sidecar["spec"]["workloadSelector"].get("labels") or {} for sidecar in chosen]
        for selector in edited or own.selectors:
            others = tuple(sorted(caught(own, selector)))
            if not others or not all(other in facts for other in others):
                continue
            group = (workload, *others)
            merged: dict[int, Finding] = {}
            for finding in (finding for each in group for finding in findings[each].values()):
                if finding["port"] not in merged or opens(finding):  # closed, as soon as it is closed in one of them
                    merged[finding["port"]] = finding
            looked = [pod for each in group for pod in look(each)]
            one = plan(self._facts(workload, looked, merged)._replace(with_others=others, selectors=[selector]))
            served = all(plans[each].cures <= one.cures and one.cures & findings[each].keys() for each in group)
            if one.manifest and served:
                return group, one
        return None

    def _facts(
        self, workload: Workload, looked: t.Sequence[ExposedPod], findings: t.Mapping[int, Finding]
    ) -> WorkloadFacts:
        ports: dict[int, list[PodPort]] = defaultdict(list)
        for each in looked:
            for number, seen in each.ports.items():
                ports[number].append(seen)
        self._look_around(workload.namespace)
        serving = [plane for seens in ports.values() for seen in seens for plane in seen.planes]
        return WorkloadFacts(
            workload=workload,
            istio_ports=[seen for each in looked for seen in each.istio_ports.values()],
            ports=[
                Port(
                    number,
                    tuple(seens),
                    findings[number]["id"] if number in findings else None,
                    number in findings and opens(findings[number]),
                )
                for number, seens in sorted(ports.items())
            ],
            effective=_different([sidecar for each in looked for sidecar in each.sidecars]),
            hidden_root=next((each.hidden_root for each in looked if each.hidden_root), ""),
            without_sidecars=next((each.without_sidecars for each in looked if each.without_sidecars), ""),
            selectors=self._selectors(workload, looked),
            neighbours=self._neighbours[workload.namespace],
            dormant=self._dormant[workload.namespace],
            sidecars=self._sidecars[workload.namespace],
            versions=[*self._versions, *(plane.version for plane in serving)],
            today=min((seen.planes[0].version or () for seens in ports.values() for seen in seens), default=()) or None,
            api_version=self._api_version,
            opens_closed=self._opens_closed,
            split_hosts=self._split_hosts,
        )

    def _selectors(self, workload: Workload, looked: t.Sequence[ExposedPod]) -> list[Labels]:
        """The controller's matchLabels; then, as for a bare pod, the labels by which its Services find it, of the oldest first, and all of these."""
        candidates = [self._controllers.match_labels(each.pod) or {} for each in looked[:1]]
        exposures = {
            (e.rank[:2], e.service)
            for each in looked
            for seen in each.ports.values()
            for e in seen.exposures
            if e.kind == "Service" and (workload.namespace, e.service) in self._services  # another's selects no pod
        }
        for _rank, name in sorted(exposures):
            candidates.append(lasting(self._services[workload.namespace, name].selector, workload.kind))
        together = {k: v for candidate in candidates[1:] for k, v in candidate.items()}
        unique: list[Labels] = []
        for candidate in [*candidates, together]:
            if candidate and candidate not in unique:
                unique.append(candidate)
        return unique

    def _remediation(self, workload_plan: Plan, findings: t.Sequence[t.Mapping[int, Finding]]) -> Remediation:
        cured = [each[port] for each in findings for port in sorted(workload_plan.cures) if port in each]
        probes = [f"Not fixed by it: {reason}" for finding in cured for reason in self._beyond_help(finding)]
        record: Remediation = {
            "action": workload_plan.action,
            "manifest": t.cast("Thing", workload_plan.manifest),
            "findings": [finding["id"] for finding in cured],
            "notes": workload_plan.notes + probes,
        }
        if workload_plan.made_from:
            record["made_from"] = workload_plan.made_from
        return record

    def _with_remedy(self, finding: Finding, workload_plan: Plan) -> Finding:
        two = "answered_by" in finding
        bind = ANOTHER_PORT if two else advice(finding["port"], finding["listeners"])
        finding = {**finding, "opens": opens(finding)}
        if finding["opens"]:
            finding["notes"] = [*finding["notes"], _take_out(finding)]
        if finding["port"] in workload_plan.cures:
            notes = [*finding["notes"], *([bind] if two or self._beyond_help(finding) else [])]
            return {**finding, "remedy": f"{workload_plan.action}_sidecar", "notes": notes}
        return {
            **finding,
            "remedy": "change_bind",
            "notes": [*finding["notes"], workload_plan.refused[finding["port"]], bind],
        }

    def _beyond_help(self, finding: Finding) -> list[str]:
        """Why which probes of the port fail with a Sidecar, too."""
        return self._probes.get((Workload(finding["namespace"], **finding["workload"]), finding["port"]), [])


def opens(finding: Finding) -> bool:
    """Whether its remedy, a Sidecar or another bind, would open a port that is closed today."""
    return finding["impact"] == "unreachable"


def _take_out(finding: Finding) -> str:
    services = " and ".join(dict.fromkeys(service["name"] for service in finding["services"]))
    return f"It is closed today: take port {finding['port']} out of {services} first, unless others are meant to reach it from now on."


def split_hosts(registry: Registry) -> list[str]:
    """The hosts to which several namespaces give different ports, each with these. A ServiceEntry may name a host that another one or a Service has."""
    found: dict[str, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    for entry in registry.entries:
        for host in entry.hosts:
            found[host][entry.namespace].update(port.number for port in entry.ports)
    for service in registry.services if found else ():
        host = f"{service.name}.{service.namespace}.svc.cluster.local"
        if host in found:
            found[host][service.namespace].update(port.number for port in service.ports)
    return [
        f"{host} has "
        + " and ".join(f"{', '.join(map(str, sorted(ports)))} of {place}" for place, ports in sorted(places.items()))
        for host, places in sorted(found.items())
        if len({frozenset(ports) for ports in places.values()}) > 1
    ]


def _different(sidecars: t.Sequence[Thing | None]) -> list[Thing | None]:
    return [
        sidecar for number, sidecar in enumerate(sidecars) if not any(sidecar is other for other in sidecars[:number])
    ]
