# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""evaluate: a ClusterSnapshot and options in, a Report out. Pure: the same input gives the same output, byte for byte."""

from __future__ import annotations

import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.cluster import Cluster, read_cluster
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.pod import has_sidecar
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.istio_values import dotted
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.kube import PodKey
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.report import (
    Finding,
    Remediation,
    Report,
    Unchecked,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.snapshot import Snapshot, Unlisted
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.text import for_people
from ansible_collections.meshops.istio_precheck.plugins.module_utils._remedy.chosen_endpoint import PodPort
from ansible_collections.meshops.istio_precheck.plugins.module_utils._remedy.remedies import ExposedPod, Remedies
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.exposure import Exposure
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.options import (
    OptionError,
    Options,
    current,
    target,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.pods import (
    Mesh,
    as_read,
    asked_for,
    by_port,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.proxy_hints import contradictions, silences
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.readings import Readings
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.records import (
    OPENS,
    Group,
    port_records,
    probe_records,
    summarize,
    suppressed_by,
    urgency,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.selection import Selection, Target, select
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.unlooked import (
    listed_alone,
    moves,
    not_checked,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.waivers import Judged, WaiverError, apply
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.workloads import Controllers, Workload
from ansible_collections.meshops.istio_precheck.plugins.module_utils._sockets.tables import Tables

NOTHING_CHECKED = (
    "No pod was checked: with scope {scope} and these namespaces and label selectors, no Service exposes one."
)

BY_NEIGHBOURS = (
    "hostNetwork pod {} could not be read itself: its verdict rests on what {} showed of their node, "
    "which the authors of those pods could make up."
)


def evaluate(snapshot: Snapshot, options: Options, tables: Tables | None = None) -> Report:
    """The Report on a checked snapshot. `tables` are its socket tables if it holds them no more.

    Raises SelectionError, OptionError or WaiverError for options that cannot be understood.
    """
    return report_on(read_cluster(snapshot), options, tables)


def report_on(cluster: Cluster, options: Options, tables: Tables | None = None) -> Report:
    """evaluate(), where the snapshot was read already: the steps of a check, in their order."""
    mesh = _mesh(cluster, options)
    chosen = select(cluster, options.selection)
    targets = [mesh.asked(entry) for entry in chosen.targets]
    _refuse_downgrade(targets, mesh, options)
    controllers = Controllers(cluster.controllers)
    readings = Readings(Tables(cluster.tables) if tables is None else tables, cluster.unread, cluster.pods)
    groups, unchecked = _judged(targets, controllers, readings, mesh)
    probes = [probe for group in groups.values() for probe in probe_records(group)]
    records = {outcome: _records(groups, outcome) for outcome in ("finding", "remediated", "not_listening", OPENS)}
    remedies = Remedies(
        cluster, controllers, mesh.all, options.sidecar_api_version, probes, options.remediate_unreachable
    )
    workloads = _Workloads([group for group in groups.values() if group.has("finding")], readings, mesh)
    if options.selection.label_selectors:
        workloads.complete(cluster, options.selection, controllers)
    judged, findings, remediations = _remedied(records["finding"], groups, options, remedies, workloads)
    report: Report = {
        "findings": findings,
        "failing_probes": sorted(probes, key=urgency),
        "waived": judged.waived,
        "remediated": records["remediated"],
        "unchecked": unchecked,
        "opens_on_upgrade": records[OPENS],
        "not_listening": records["not_listening"],
        "not_checked": not_checked(cluster, options.selection, groups.values(), mesh),
        "out_of_scope": chosen.skipped,
        "remediations": remediations,
        "hints": [
            *_unlisted(cluster.unlisted),
            *mesh.hints(),
            *_by_neighbours(targets, readings),
            *contradictions([group for _workload, group in sorted(groups.items())]),
            *moves(groups.values()),
            *listed_alone(cluster, options.selection, targets, controllers, readings, mesh),
            *silences(mesh.proxies.silent, options.delivery_source),
            *([] if targets else [NOTHING_CHECKED.format(scope=options.selection.scope)]),
            *judged.warnings,
        ],
    }
    report["summary"] = summarize(report, targets, groups)
    report["summary"]["ports_unread"] = _unread_ports(report, groups)
    return for_people(report)


Groups = t.Mapping[Workload, Group]


def _mesh(cluster: Cluster, options: Options) -> Mesh:
    service_mesh = cluster.shows_service_mesh
    return Mesh(cluster, target(options, service_mesh), current(options, service_mesh), options.delivery_source)


def _refuse_downgrade(targets: t.Sequence[Target], mesh: Mesh, options: Options) -> None:
    newer = mesh.downgraded(entry.pod for entry in targets)
    if newer:
        raise OptionError(
            f"target_version: {options.target_version} is older than {newer}; "
            "this checks an upgrade, and knows nothing of a downgrade"
        )


def _judged(
    targets: t.Sequence[Target], controllers: Controllers, readings: Readings, mesh: Mesh
) -> tuple[dict[Workload, Group], list[Unchecked]]:
    """The pods by their workload, each with what is said of its ports; and those that could not be read."""
    groups: dict[Workload, Group] = {}
    unchecked: list[Unchecked] = []
    for entry in targets:
        workload = controllers.workload(entry.pod)
        group = groups.get(workload)
        if group is None:
            group = groups[workload] = Group(workload, [], {})
        group.targets.append(entry)
        reading = readings.of(entry)
        if reading.trouble:
            about: Unchecked = {"namespace": workload.namespace, "pod": entry.pod.name, "workload": workload.as_dict()}
            unchecked.append({**about, **reading.trouble})
        if reading.table:
            said = mesh.judged(entry, reading.table, reading.by, readings.holders(reading.by))
            group.judged.setdefault(said, []).append(entry.pod.name)
    return groups, sorted(unchecked, key=lambda u: (u["namespace"], u["pod"], u["reason"]))


def _records(groups: Groups, outcome: str) -> list[Finding]:
    """What has this outcome, the most urgent first."""
    return sorted((record for group in groups.values() for record in port_records(group, outcome)), key=urgency)


def _remedied(
    found: list[Finding], groups: Groups, options: Options, remedies: Remedies, workloads: _Workloads
) -> tuple[Judged, list[Finding], list[Remediation]]:
    """What is waived, the findings that are left, and the remedies of these.

    Waivers are applied after the remedies, since one may ask for these, too; and a port that is waived is kept as it is.
    """
    suppressed = {}
    for record in found:
        annotation = suppressed_by(groups[Workload(record["namespace"], **record["workload"])], record["pods"])
        if annotation:
            suppressed[record["id"]] = annotation
    findings, remediations = remedies.of(found, workloads.look)
    judged = apply(findings, options.waivers, suppressed, options.today)
    if judged.waived:
        left = [finding for finding in found if finding["id"] in judged.expired]
        findings, remediations = remedies.of(left, workloads.look)
    findings = [{**finding, "notes": [*finding["notes"], *judged.expired[finding["id"]]]} for finding in findings]
    return judged, findings, remediations


def _unlisted(several: t.Iterable[Unlisted]) -> list[str]:
    return sorted(
        f"{u.get('object') or u['resource']} could not be {'read' if u.get('object') else 'listed'}: {u.get('detail') or 'no reason given'}"
        for u in several
    )


def _by_neighbours(targets: t.Iterable[Target], readings: Readings) -> list[str]:
    """The hostNetwork pods that others speak for."""
    witnesses = ((entry.pod.key, readings.witnesses(entry)) for entry in targets if entry.neighbours)
    return sorted(
        BY_NEIGHBOURS.format("/".join(pod_key), " and ".join(sorted(map("/".join, those))))
        for pod_key, those in witnesses
        if those
    )


def _unread_ports(report: Report, groups: t.Mapping[Workload, Group]) -> int:
    """How many exposed ports nobody can call fine: those of pods that were not read, but for those of which a list says something."""
    unread = {(entry["namespace"], entry["pod"]) for entry in report["unchecked"]}
    said = {
        (record["namespace"], record["workload"]["kind"], record["workload"]["name"], record["port"])
        for part in (report["findings"], report["waived"], report["remediated"], report["not_listening"])
        for record in part
    }
    ports = {
        (workload.namespace, workload.kind, workload.name, exposure.port)
        for workload, group in groups.items()
        for entry in group.targets
        if entry.pod.key in unread
        for exposure in entry.exposures
    }
    return len(ports - said)


def evaluated(cluster: Cluster, options: Options, tables: Tables | None = None) -> tuple[Report, str]:
    """The report, and what is wrong with options that only the snapshot shows to be: it is made without these."""
    wrong = ""
    while True:
        try:
            return report_on(cluster, options, tables), wrong
        except OptionError as error:
            options, wrong = options._replace(target_version=None, current_version=None), str(error)
        except WaiverError as error:
            options, wrong = options._replace(waivers=()), wrong or str(error)


def versions(cluster: Cluster, options: Options) -> list[str]:
    """The versions of the control planes, oldest first, as a person names them; the one that the user states where none can be read."""
    planes = {plane.version: plane.service_mesh for plane in cluster.istio.planes if plane.version}
    named = [f"Service Mesh {mesh}" if mesh else dotted(version) for version, mesh in sorted(planes.items())]
    return list(for_people(named)) or ([options.current_version] if options.current_version else [])


def proxies_to_ask(
    report: Report, cluster: Cluster, options: Options, read: t.Callable[[PodKey], t.Any]
) -> dict[PodKey, tuple[int, ...]]:
    """The pods whose proxies can say more about what a Report says of them, and the ports that clients ask each for.

    Those that were `read` themselves and have a sidecar. None where nothing was found, or where only the rule counts.
    """
    records = [*report["findings"], *report["waived"], *report["remediated"]]
    named = {(record["namespace"], pod) for record in records for pod in record["pods"]}
    if not named or options.delivery_source == "rule":
        return {}
    return {
        entry.pod.key: tuple(sorted({exposure.port for exposure in entry.exposures}))
        for entry in select(cluster, options.selection).targets
        if entry.pod.key in named and has_sidecar(entry.pod) and read(entry.pod.key)
    }


class _Workloads:
    """The pods of workloads in which something was found, as a remedy has to see them."""

    def __init__(self, groups: t.Sequence[Group], readings: Readings, mesh: Mesh) -> None:
        self._targets = {group.workload: {entry.pod.key: entry for entry in group.targets} for group in groups}
        self._readings, self._mesh = readings, mesh

    def complete(self, cluster: Cluster, selection: Selection, controllers: Controllers) -> None:
        """Adds the pods that label_selectors leave out and Services expose: a Sidecar selects these, too."""
        for entry in select(cluster, selection._replace(label_selectors=())).targets if self._targets else ():
            targets = self._targets.get(controllers.workload(entry.pod))
            if targets is not None:
                targets.setdefault(entry.pod.key, entry)

    def look(self, workload: Workload) -> list[ExposedPod]:
        exposed = [entry for _key, entry in sorted(self._targets[workload].items()) if entry.exposures]
        return [_look(self._mesh.asked(entry), self._readings, self._mesh) for entry in exposed]


def _look(entry: Target, readings: Readings, mesh: Mesh) -> ExposedPod:
    """The pod as a remedy has to see it: with every port, whatever the verdict on it."""
    reading = readings.of(entry)
    pod = as_read(entry.pod, reading.by)
    listeners = reading.table.listeners if reading.table else None
    holders = readings.holders(reading.by)
    planes = (*mesh.planes(pod), *(stretch.plane for stretch in mesh.stretches(pod)))

    def seen(exposed: t.Sequence[Exposure]) -> dict[int, PodPort]:
        found: dict[int, PodPort] = {}
        for port, exposures in sorted(by_port(exposed).items()):
            asked = tuple(asked_for(pod, exposures))
            today, after = mesh.deliveries(pod, port, exposures, reading.by)
            found[port] = PodPort(pod, exposures, listeners, asked, planes, today, after, holders)
        return found

    return ExposedPod(
        pod,
        seen(entry.exposures),
        seen(entry.istio_ports),
        (*mesh.sidecars(pod), *mesh.sidecars_elsewhere(pod)),
        mesh.hidden_root(pod),
        mesh.without_sidecars(pod),
    )
