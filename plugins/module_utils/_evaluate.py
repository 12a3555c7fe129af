# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""evaluate: a ClusterSnapshot and options in, a Report out. Pure: the same input gives the same output, byte for byte."""

from __future__ import annotations

import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.control_plane import ControlPlanes
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.pod import has_sidecar
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.istio_values import dotted
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.kube import Pod, PodKey, read_pods
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.report import Finding, Report, Unchecked
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.snapshot import Snapshot
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
    judge_pod,
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
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.selection import Target, select
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.unlooked import moves, not_checked
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.waivers import WaiverError, apply
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
    upgraded_to, now = target(options, snapshot), current(options, snapshot)
    pods = read_pods(snapshot["pods"])
    chosen = select(snapshot, options.selection, pods)
    mesh = Mesh(snapshot, upgraded_to, now, options.delivery_source)
    controllers = Controllers(snapshot)
    tables = Tables(snapshot["socketTables"]) if tables is None else tables
    readings = Readings(snapshot, tables, pods)
    unchecked: list[Unchecked] = []
    by_neighbours: list[str] = []
    groups: dict[Workload, Group] = {}
    targets = [mesh.asked(entry) for entry in chosen.targets]
    newer = mesh.downgraded()
    if newer:
        raise OptionError(
            f"target_version: {options.target_version} is older than {newer}, which serves pods that are checked; "
            "this checks an upgrade, and knows nothing of a downgrade"
        )
    for entry in targets:
        workload = controllers.workload(entry.pod)
        group = groups.setdefault(workload, Group(workload, [], []))
        group.targets.append(entry)
        reading = readings.of(entry)
        if reading.trouble:
            unchecked.append(
                {
                    "namespace": workload.namespace,
                    "pod": entry.pod.name,
                    "workload": workload.as_dict(),
                    **reading.trouble,
                }
            )
        witnesses = readings.witnesses(entry)
        if witnesses:
            by_neighbours.append(
                BY_NEIGHBOURS.format("/".join(entry.pod.key), " and ".join(sorted(map("/".join, witnesses))))
            )
        if reading.table:
            group.seen.extend(judge_pod(entry, reading.table, reading.by, tables.holders(reading.by.key), mesh))

    probes = [probe for group in groups.values() for probe in probe_records(group)]
    records: dict[str, list[Finding]] = {"finding": [], "remediated": [], "not_listening": [], OPENS: []}
    suppressed: dict[str, str] = {}
    for group in groups.values():
        for outcome, found in records.items():
            for record in port_records(group, outcome):
                found.append(record)
                if outcome == "finding":
                    annotation = suppressed_by(group, record["pods"])
                    if annotation:
                        suppressed[record["id"]] = annotation
    found = sorted(records["finding"], key=urgency)
    concerned = [group for group in groups.values() if any(seen.verdict.outcome == "finding" for seen in group.seen)]
    whole = {
        group.workload: [mesh.asked(entry) for entry in group.targets if entry.exposures]
        for group in _whole(concerned, snapshot, pods, options, controllers)
    }

    def look(workload: Workload) -> list[ExposedPod]:
        return [_look(entry, readings, mesh) for entry in whole[workload]]

    remedies = Remedies(
        snapshot, pods, controllers, mesh.all, options.sidecar_api_version, probes, options.remediate_unreachable
    )
    findings, remediations = remedies.of(found, look)
    judged = apply(
        findings, options.waivers, suppressed, options.today
    )  # after the remedies: a waiver may ask for them, too
    if judged.waived:  # a waived port is kept as it is, not cured
        findings, remediations = remedies.of([finding for finding in found if finding["id"] in judged.expired], look)
    findings = [{**finding, "notes": [*finding["notes"], *judged.expired[finding["id"]]]} for finding in findings]
    report: Report = {
        "findings": findings,
        "failing_probes": sorted(probes, key=urgency),
        "waived": judged.waived,
        "remediated": sorted(records["remediated"], key=urgency),
        "unchecked": sorted(unchecked, key=lambda u: (u["namespace"], u["pod"], u["reason"])),
        "opens_on_upgrade": sorted(records[OPENS], key=urgency),
        "not_listening": sorted(records["not_listening"], key=urgency),
        "not_checked": not_checked(snapshot, options.selection, pods, groups.values(), mesh),
        "out_of_scope": chosen.skipped,
        "remediations": remediations,
        "hints": sorted(
            f"{u.get('object') or u['resource']} could not be {'read' if u.get('object') else 'listed'}: {u.get('detail') or 'no reason given'}"
            for u in snapshot.get("unlisted") or ()
        )
        + mesh.places()
        + mesh.downgrades()
        + mesh.moves()
        + mesh.labelled()
        + mesh.missing()
        + mesh.unsure()
        + sorted(by_neighbours)
        + contradictions([group for _workload, group in sorted(groups.items())])
        + moves(groups.values())
        + silences(mesh.proxies.silent, options.delivery_source)
        + ([] if targets else [NOTHING_CHECKED.format(scope=options.selection.scope)])
        + judged.warnings,
    }
    report["summary"] = summarize(report, targets, groups)
    report["summary"]["ports_unread"] = _unread_ports(report, groups)
    return for_people(report)


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


def evaluated(snapshot: Snapshot, options: Options, tables: Tables | None = None) -> tuple[Report, str]:
    """The report, and what is wrong with options that only the snapshot shows to be: it is made without these."""
    wrong = ""
    while True:
        try:
            return evaluate(snapshot, options, tables), wrong
        except OptionError as error:
            options, wrong = options._replace(target_version=None, current_version=None), str(error)
        except WaiverError as error:
            options, wrong = options._replace(waivers=()), wrong or str(error)


def versions(snapshot: Snapshot, options: Options) -> list[str]:
    """The versions of the control planes, oldest first, as a person names them; the one that the user states where none can be read."""
    planes = {plane.version: plane.service_mesh for plane in ControlPlanes(snapshot).all if plane.version}
    named = [f"Service Mesh {mesh}" if mesh else dotted(version) for version, mesh in sorted(planes.items())]
    return list(for_people(named)) or ([options.current_version] if options.current_version else [])


def proxies_to_ask(
    report: Report, snapshot: Snapshot, options: Options, read: t.Callable[[PodKey], t.Any]
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
        for entry in select(snapshot, options.selection, read_pods(snapshot["pods"])).targets
        if entry.pod.key in named and has_sidecar(entry.pod) and read(entry.pod.key)
    }


def _whole(
    groups: t.Sequence[Group], snapshot: Snapshot, pods: t.Sequence[Pod], options: Options, controllers: Controllers
) -> list[Group]:
    """The groups with all pods that Services expose, also those that label_selectors left out: a Sidecar selects these, too."""
    if not (groups and options.selection.label_selectors):
        return list(groups)
    whole = {group.workload: {entry.pod.key: entry for entry in group.targets} for group in groups}
    for entry in select(snapshot, options.selection._replace(label_selectors=()), pods).targets:
        targets = whole.get(controllers.workload(entry.pod))
        if targets is not None:
            targets.setdefault(entry.pod.key, entry)
    return [
        group._replace(targets=[entry for _key, entry in sorted(whole[group.workload].items())]) for group in groups
    ]


def _look(entry: Target, readings: Readings, mesh: Mesh) -> ExposedPod:
    """The pod as a remedy has to see it: with every port, whatever the verdict on it."""
    reading = readings.of(entry)
    pod = as_read(entry.pod, reading.by)
    listeners = reading.table.listeners if reading.table else None
    planes = (*mesh.planes(pod), *(stretch.plane for stretch in mesh.stretches(pod)))

    def seen(exposed: t.Sequence[Exposure]) -> dict[int, PodPort]:
        found: dict[int, PodPort] = {}
        for port, exposures in sorted(by_port(exposed).items()):
            asked = tuple(asked_for(pod, exposures))
            found[port] = PodPort(
                pod, exposures, listeners, asked, planes, *mesh.deliveries(pod, port, exposures, reading.by)
            )
        return found

    return ExposedPod(
        pod,
        seen(entry.exposures),
        seen(entry.istio_ports),
        (*mesh.sidecars(pod), *mesh.sidecars_elsewhere(pod)),
        mesh.hidden_root(pod),
        mesh.without_sidecars(pod),
    )
