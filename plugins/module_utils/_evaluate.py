# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""evaluate: a ClusterSnapshot and options in, a Report out. Pure: the same input gives the same output, byte for byte."""

from __future__ import annotations

import datetime
import functools
import re
import typing as t
from collections import defaultdict

from ansible_collections.meshops.istio_precheck.plugins.module_utils._endpoints import Seen
from ansible_collections.meshops.istio_precheck.plugins.module_utils._exposure import (
    Exposure,
    PodKey,
    Thing,
    key,
    pod_ips,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh import (
    ControlPlane,
    ControlPlanes,
    Delivery,
    OncePerTemplate,
    Sidecars,
    delivery,
    ingress_entry,
    is_ipv6,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.outside import excerpt
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.report import (
    CODE,
    DOCUMENTATION_URL,
    IMPACTS,
    LEVEL,
    MESSAGE,
    FailingProbe,
    Report,
    WorkloadName,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._notation import Version, as_version
from ansible_collections.meshops.istio_precheck.plugins.module_utils._probes import (
    Failing,
    failing_probes,
    probed_ports,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._reach import is_loopback, is_wildcard
from ansible_collections.meshops.istio_precheck.plugins.module_utils._remedies import Looked, Remedies
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule import Verdict, answers, is_local, judge
from ansible_collections.meshops.istio_precheck.plugins.module_utils._sandboxes import container_ids
from ansible_collections.meshops.istio_precheck.plugins.module_utils._snapshot import Snapshot
from ansible_collections.meshops.istio_precheck.plugins.module_utils._sockets import Listener, SocketTable
from ansible_collections.meshops.istio_precheck.plugins.module_utils._tables import Holder, Tables
from ansible_collections.meshops.istio_precheck.plugins.module_utils._targets import (
    Selection,
    Target,
    is_running,
    select,
    waiting,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._text import for_people
from ansible_collections.meshops.istio_precheck.plugins.module_utils._waivers import (
    SUPPRESS_ANNOTATION,
    Waiver,
    apply,
    suppresses,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._workloads import Controllers, Workload

NOTHING_CHECKED = (
    "No pod was checked: with scope {scope} and these namespaces and label selectors, no Service exposes one."
)

BY_NEIGHBOURS = (
    "hostNetwork pod {} could not be read itself: its verdict rests on what {} showed of their node, "
    "which the authors of those pods could make up."
)

OLDEST_ISTIOD = (1, 5)


class Options(t.NamedTuple):
    """What shapes a Report beside the snapshot; `today` is the day on which waivers are judged, the only clock there is."""

    today: datetime.date
    selection: Selection = Selection()
    target_version: str | None = None
    waivers: tuple[Waiver, ...] = ()
    sidecar_api_version: str | None = None


class OptionError(ValueError):
    """An option value that cannot be understood; the text names the option."""


def target(options: Options) -> Version | None:
    """The version upgraded to. Raises OptionError if it is none."""
    version = as_version(options.target_version)
    if options.target_version and not version:
        raise OptionError(
            f"target_version: {excerpt(options.target_version)} is no Istio version; wanted one such as 1.24"
        )
    if version and version < OLDEST_ISTIOD:
        raise OptionError(
            f"target_version: there is no istiod {options.target_version}; a version such as 1.20 needs quotes in YAML, where it is the number 1.2"
        )
    return version


class _Seen(t.NamedTuple):
    """One port of one pod, exposed or asked by a probe, judged."""

    pod: str
    port: int
    verdict: Verdict
    today: Delivery
    after: Delivery
    probes: tuple[Failing, ...]
    asked: tuple[str, ...]
    """What listens on the port itself, where a probe of it fails."""
    judged_by: str | None
    """The pod whose table speaks for this one, if it is another."""
    processes: frozenset[tuple[str, str, str]] = frozenset()
    """(listener, container, process) of who listens on localhost, as far as that is known; the container is empty where it is none of the pod's."""


class _Group(t.NamedTuple):
    """One workload, as far as it is checked."""

    workload: Workload
    targets: list[Target]
    seen: list[_Seen]


def evaluate(snapshot: Snapshot, options: Options, tables: Tables | None = None) -> Report:
    """The Report on a checked snapshot. `tables` are its socket tables if it holds them no more.

    Raises SelectionError, OptionError or WaiverError for options that cannot be understood.
    """
    upgraded_to = target(options)
    chosen = select(snapshot, options.selection)
    mesh = _Mesh(snapshot, upgraded_to)
    controllers = Controllers(snapshot)
    tables = Tables(snapshot["socketTables"]) if tables is None else tables
    readings = _Readings(snapshot, tables)
    unchecked: list[dict[str, t.Any]] = []
    by_neighbours: list[str] = []
    groups: dict[Workload, _Group] = {}
    for entry in chosen.targets:
        workload = controllers.workload(entry.pod)
        group = groups.setdefault(workload, _Group(workload, [], []))
        group.targets.append(entry)
        reading = readings.of(entry)
        if reading.trouble:
            unchecked.append(
                {
                    "namespace": workload.namespace,
                    "pod": entry.pod["metadata"]["name"],
                    "workload": workload.as_dict(),
                    **reading.trouble,
                }
            )
        witnesses = readings.witnesses(entry)
        if witnesses:
            by_neighbours.append(
                BY_NEIGHBOURS.format("/".join(key(entry.pod)), " and ".join(sorted(map("/".join, witnesses))))
            )
        if reading.table:
            group.seen.extend(_judge_pod(entry, reading.table, reading.by, tables.holders(key(reading.by)), mesh))

    probes = [probe for group in groups.values() for probe in _failing_probes(group)]
    records: dict[str, list[dict[str, t.Any]]] = {"finding": [], "remediated": [], "not_listening": []}
    suppressed: dict[str, str] = {}
    for group in groups.values():
        for outcome, found in records.items():
            for record in _records(group, outcome):
                found.append(record)
                if outcome == "finding":
                    annotation = _suppressed_by(group, record["pods"])
                    if annotation:
                        suppressed[record["id"]] = annotation
    found = sorted(records["finding"], key=_urgency)
    concerned = [group for group in groups.values() if any(seen.verdict.outcome == "finding" for seen in group.seen)]
    whole = {group.workload: group.targets for group in _whole(concerned, snapshot, options, controllers)}

    def look(workload: Workload) -> list[Looked]:
        return [_look(entry, readings, mesh) for entry in whole[workload]]

    remedies = Remedies(snapshot, controllers, mesh.all, options.sidecar_api_version, probes)
    findings, remediations = remedies.of(found, look)
    judged = apply(
        findings, options.waivers, suppressed, options.today
    )  # after the remedies: a waiver may ask for them, too
    if judged.waived:  # a waived port is kept as it is, not cured
        findings, remediations = remedies.of([finding for finding in found if finding["id"] in judged.expired], look)
    findings = [{**finding, "notes": [*finding["notes"], *judged.expired[finding["id"]]]} for finding in findings]
    report = {
        "findings": findings,
        "failing_probes": sorted(probes, key=_urgency),
        "waived": judged.waived,
        "remediated": sorted(records["remediated"], key=_urgency),
        "unchecked": sorted(unchecked, key=lambda u: (u["namespace"], u["pod"], u["reason"])),
        "not_listening": sorted(records["not_listening"], key=_urgency),
        "out_of_scope": chosen.skipped,
        "remediations": remediations,
        "hints": sorted(
            f"{u.get('object') or u['resource']} could not be {'read' if u.get('object') else 'listed'}: {u.get('detail') or 'no reason given'}"
            for u in snapshot.get("unlisted") or ()
        )
        + mesh.downgrades()
        + mesh.moves()
        + sorted(by_neighbours)
        + ([] if chosen.targets else [NOTHING_CHECKED.format(scope=options.selection.scope)])
        + judged.warnings,
    }
    report["summary"] = _summary(report, chosen.targets, groups)
    return for_people(report)


# ---------------------------------------------------------------------------------------------------------------------
# Tables


class _Reading(t.NamedTuple):
    """The table that speaks for a pod, the pod it was read in, and what is wrong with it: `{reason, detail}`."""

    table: SocketTable | None
    by: Thing
    trouble: dict[str, str] | None


class _Readings:
    """What the socket tables say of each pod."""

    def __init__(self, snapshot: Snapshot, tables: Tables) -> None:
        self._snapshot = snapshot
        self._unread = {
            (u["namespace"], u["pod"]): u
            for u in sorted(snapshot["unread"], key=lambda u: (u["reason"], u.get("detail") or ""), reverse=True)
        }
        self._tables = tables

    @functools.cached_property
    def _pods(self) -> dict[PodKey, Thing]:
        """Made only where a pod is read for others."""
        return {key(pod): pod for pod in self._snapshot["pods"]}

    def _speaker(self, entry: Target) -> PodKey:
        """Whose table speaks for the pod: its own goes before a neighbour's, and what a node showed before what any program in a pod said."""
        readers = [pod_key for pod_key in entry.readers if self._tables.get(pod_key)]
        neighbours = [pod_key for pod_key in entry.neighbours if self._tables.get(pod_key)]
        shown = [pod_key for pod_key in (*readers, *neighbours) if self._tables.from_node(pod_key)]
        return next(iter((shown if entry.neighbours else []) + readers + neighbours), key(entry.pod))

    def witnesses(self, entry: Target) -> list[PodKey]:
        """The pods that speak for a hostNetwork pod without having been asked by it: no program of its own, and no probe, showed its sockets."""
        by = self._speaker(entry)
        if by not in entry.neighbours or self._tables.from_node(by):
            return []
        return [pod_key for pod_key in entry.neighbours if self._tables.get(pod_key)]

    def _contradiction(self, entry: Target) -> str:
        """Why its neighbours' tables are not believed, if so: one of them could be made up, and they do not say the same of its ports."""
        ports = {exposure.port for exposure in entry.exposures}
        said: dict[frozenset[tuple[str, int]], PodKey] = {}
        for pod_key in self.witnesses(entry):
            table = self._tables.get(pod_key)
            here = (
                frozenset((each.address, each.port) for each in table.listeners if each.port in ports)
                if table
                else frozenset()
            )
            said.setdefault(here, pod_key)
        names = " and ".join(sorted("/".join(pod_key) for pod_key in said.values()))
        return f"Of its node's sockets pods {names} show different ones." if len(said) > 1 else ""

    def of(self, entry: Target) -> _Reading:
        own = key(entry.pod)
        by = self._speaker(entry)
        pod = entry.pod if by == own else self._pods[by]
        table = self._tables.get(by)
        if table is None:
            return _Reading(None, pod, self._why_unread(entry))
        if not pod_ips(pod):
            return _Reading(None, pod, {"reason": "no_address", "detail": "The pod has no IP address."})
        doubt = self._contradiction(entry)
        suspect = [s for s in table.suspect if s != NO_IPV6_HALF or any(is_ipv6(ip) for ip in pod_ips(pod))]
        suspect += [doubt] if doubt else []
        return _Reading(table, pod, {"reason": "suspect_table", "detail": " ".join(suspect)} if suspect else None)

    def _why_unread(self, entry: Target) -> dict[str, str]:
        unread = self._unread.get(key(entry.pod)) or self._unread.get(entry.readers[0])
        if unread:
            return {"reason": unread["reason"], "detail": unread.get("detail") or ""}
        if not is_running(entry.pod):
            phase = (entry.pod.get("status") or {}).get("phase") or "not known"
            return {"reason": "not_running", "detail": f"The pod's phase is {phase}."}
        return {"reason": "not_read", "detail": "The snapshot holds no socket table of the pod."}


NO_IPV6_HALF = "The IPv6 half of the table, /proc/net/tcp6, is missing."
"""Only a kernel without IPv6 lacks the file (a cut-off table is never kept), and there it hides nothing from a pod without an IPv6 address."""


# ---------------------------------------------------------------------------------------------------------------------
# Workloads


def _whole(groups: t.Sequence[_Group], snapshot: Snapshot, options: Options, controllers: Controllers) -> list[_Group]:
    """The groups with all pods that Services expose, also those that label_selectors left out: a Sidecar selects these, too."""
    if not (groups and options.selection.label_selectors):
        return list(groups)
    whole = {group.workload: {key(entry.pod): entry for entry in group.targets} for group in groups}
    for entry in select(snapshot, options.selection._replace(label_selectors=())).targets:
        targets = whole.get(controllers.workload(entry.pod))
        if targets is not None:
            targets.setdefault(key(entry.pod), entry)
    return [
        group._replace(targets=[entry for _key, entry in sorted(whole[group.workload].items())]) for group in groups
    ]


# ---------------------------------------------------------------------------------------------------------------------
# Ports


ORDINARY = re.compile(r"(?!127\.|0\.0\.0\.0\Z)[0-9.]+\Z|[1-9A-Fa-f][0-9A-Fa-f]{3}:")
"""Addresses that no listener takes for its own unless it is bound to them: neither localhost, nor unspecified, nor one family inside the other."""


class _Mesh:
    """What istiod does with a pod, before and after the upgrade; most of it is the same for all replicas, and found out once."""

    def __init__(self, snapshot: Snapshot, upgraded_to: Version | None) -> None:
        self._target = upgraded_to
        self._planes = ControlPlanes(snapshot)
        self._sidecars = Sidecars(snapshot, self._planes)
        self.planes: t.Callable[[Thing], tuple[ControlPlane, ControlPlane]] = OncePerTemplate(self._planes_of)
        self.sidecars: t.Callable[[Thing], tuple[Thing | None, Thing | None]] = OncePerTemplate(self._sidecars_of)
        self._deliveries = OncePerTemplate(self._deliveries_of)
        self._probes = OncePerTemplate(self._probes_of)
        self._verdicts: dict[t.Any, Verdict] = {}

    @property
    def all(self) -> list[ControlPlane]:
        return self._planes.all

    def _planes_of(self, pod: Thing) -> tuple[ControlPlane, ControlPlane]:
        return self._planes.today(pod), self._planes.after(pod, self._target)

    def _sidecars_of(self, pod: Thing) -> tuple[Thing | None, Thing | None]:
        today, after = self.planes(pod)
        return self._sidecars.effective(pod, today), self._sidecars.effective(pod, after)

    def deliveries(self, pod: Thing, port: int, exposures: t.Sequence[Exposure]) -> tuple[Delivery, Delivery]:
        served = any(e.served for e in exposures if e.port == port)
        ips = pod_ips(pod)
        named = any(
            ingress_entry(sidecar, port) for sidecar in self.sidecars(pod)
        )  # without, a delivery depends on the families alone
        return self._deliveries(pod, port, served, tuple(ips if named else map(_family, ips)))

    def _deliveries_of(self, pod: Thing, port: int, served: bool, _ips: tuple[str, ...]) -> tuple[Delivery, Delivery]:
        (today, after), (sidecar_today, sidecar_after) = self.planes(pod), self.sidecars(pod)
        return delivery(pod, port, sidecar_today, today, served), delivery(pod, port, sidecar_after, after, served)

    def probes(self, pod: Thing, port: int, impact: str | None, answered: bool) -> tuple[Failing, ...]:
        return self._probes(pod, port, impact, answered)

    def _probes_of(self, pod: Thing, port: int, impact: str | None, answered: bool) -> tuple[Failing, ...]:
        return tuple(failing_probes(pod, port, self.planes(pod)[1], impact, answered))

    def judge(
        self,
        listeners: t.Sequence[Listener],
        port: int,
        asked: t.Sequence[str],
        today: Delivery,
        after: Delivery,
        idle: tuple[str, ...],
    ) -> Verdict:
        """judge(), once for all pods of which it says the same."""
        here = tuple(listener for listener in listeners if listener.port in (port, today.port, after.port))
        bound = any(not is_loopback(listener.address) and not is_wildcard(listener.address) for listener in here)
        ips = tuple(ip if bound or not ORDINARY.match(ip) else _family(ip) for ip in asked)
        which = (here, port, ips, today, after, idle)
        if which not in self._verdicts:
            self._verdicts[which] = judge(here, port, asked, today, after, idle)
        return self._verdicts[which]

    def downgrades(self) -> list[str]:
        target = self._target
        newer = [p for p in self._planes.all if target and p.version and p.version[: len(target)] > target]
        return [f"target_version is older than {plane} of revision {plane.name}." for plane in newer]

    def moves(self) -> list[str]:
        return [
            f"The settings of revision {other}, which runs the target version, count for pods of revision {name} too: let them move to it. "
            f"Upgraded in place, revision {name} would deliver to the pod IP."
            for name, other in self._planes.spoken_for(self._target)
        ]


NOT_EXPOSED = Verdict("ok", None, "No Service exposes it.", ())
"""Of a port that a probe asks: when that fails the pod is not ready, and with it goes every port that is exposed."""


def _judge_pod(
    entry: Target, table: SocketTable, by: Thing, holders: t.Sequence[Holder], mesh: _Mesh
) -> t.Iterator[_Seen]:
    """Each port of a pod that is exposed, or that a probe asks, by the table of `by`.

    Where that is another pod, the port is asked at that one's addresses, to which its listeners may be bound.
    """
    pod = _as_read(entry.pod, by)
    idle = tuple(waiting(pod))
    exposed = {exposure.port for exposure in entry.exposures}
    for port in sorted(exposed | probed_ports(pod)):
        today, after = mesh.deliveries(pod, port, entry.exposures)
        verdict = (
            mesh.judge(table.listeners, port, _asked_for(pod, port, entry.exposures), today, after, idle)
            if port in exposed
            else NOT_EXPOSED
        )
        judged_by = None if by is entry.pod else by["metadata"]["name"]
        probes = _probes_of(pod, port, table.listeners, verdict, mesh)
        yield _Seen(
            pod["metadata"]["name"],
            port,
            verdict,
            today,
            after,
            probes,
            tuple(listener.text for listener in table.listeners if probes and listener.port == port),
            judged_by,
            _processes(verdict, holders, entry.pod, by),
        )


def _probes_of(
    pod: Thing, port: int, listeners: t.Sequence[Listener], verdict: Verdict, mesh: _Mesh
) -> tuple[Failing, ...]:
    """The probes that fail because the port listens on localhost only, whatever becomes of its other connections."""
    if verdict.outcome not in ("finding", "remediated") and not is_local(listeners, port):
        return ()
    return mesh.probes(pod, port, verdict.impact, any(answers(listeners, port, ip) for ip in pod_ips(pod)[:1]))


def _processes(verdict: Verdict, holders: t.Sequence[Holder], *pods: Thing) -> frozenset[tuple[str, str, str]]:
    if not holders or verdict.outcome not in ("finding", "remediated"):
        return frozenset()
    names = {container: name for pod in pods for container, name in container_ids(pod).items()}
    return frozenset(
        (h.listener.text, names.get(h.container, ""), h.process)
        for h in holders
        if h.listener.text in verdict.listeners
    )


def _as_read(pod: Thing, by: Thing) -> Thing:
    """The pod, at the addresses of the one whose table speaks for it."""
    status = by.get("status") or {}
    return (
        pod
        if by is pod
        else {
            **pod,
            "status": {**(pod.get("status") or {}), "podIP": status.get("podIP"), "podIPs": status.get("podIPs")},
        }
    )


def _look(entry: Target, readings: _Readings, mesh: _Mesh) -> Looked:
    """The pod as a remedy has to see it: with every port, whatever the verdict on it."""
    reading = readings.of(entry)
    pod = _as_read(entry.pod, reading.by)
    listeners = reading.table.listeners if reading.table else None

    def seen(exposed: t.Sequence[Exposure]) -> dict[int, Seen]:
        found: dict[int, Seen] = {}
        for port in sorted({exposure.port for exposure in exposed}):
            exposures = tuple(exposure for exposure in exposed if exposure.port == port)
            asked = tuple(_asked_for(pod, port, exposures))
            found[port] = Seen(
                pod, exposures, listeners, asked, mesh.planes(pod), *mesh.deliveries(pod, port, exposures)
            )
        return found

    return Looked(pod, seen(entry.exposures), seen(entry.istios), mesh.sidecars(pod))


def _asked_for(pod: dict[str, t.Any], port: int, exposures: t.Sequence[Exposure]) -> list[str]:
    """The pod's addresses of the families that the port's Services have.

    The primary one for a Service from before ipFamilies, and for a ServiceEntry, to which istiod gives no other: NewEndpointBuilder,
    pilot/pkg/serviceregistry/kube/controller/endpoint_builder.go@1.20.8.
    """
    ips = pod_ips(pod)
    families = {family for e in exposures if e.port == port for family in e.families or [_family(ip) for ip in ips[:1]]}
    return [ip for ip in ips if _family(ip) in families] or ips[:1]


def _family(ip: str) -> str:
    return "IPv6" if is_ipv6(ip) else "IPv4"


# ---------------------------------------------------------------------------------------------------------------------
# Records


def _records(group: _Group, outcome: str) -> t.Iterator[dict[str, t.Any]]:
    """One record for each port of the workload with this outcome in any pod."""
    by_port: dict[int, list[_Seen]] = defaultdict(list)
    for seen in group.seen:
        if seen.verdict.outcome == outcome:
            by_port[seen.port].append(seen)
    workload = group.workload
    for port, seen_in in sorted(by_port.items()):
        worst = min(seen_in, key=lambda s: (IMPACTS.index(s.verdict.impact) if s.verdict.impact else 0, s.pod))
        pods = sorted(s.pod for s in seen_in)
        record: dict[str, t.Any] = {
            "id": f"{CODE}/{workload.namespace}/{workload.kind}/{workload.name}/{port}",
            "namespace": workload.namespace,
            "workload": workload.as_dict(),
            "pods": pods,
            "port": port,
            "services": _services(group, port, pods),
            "listeners": sorted({text for s in seen_in for text in s.verdict.listeners}),
            "delivery": {"today": worst.today.as_dict(), "after": worst.after.as_dict()},
            "reason": worst.verdict.reason,
        }
        if outcome != "not_listening":
            record.update(
                code=CODE,
                level=LEVEL,
                message=MESSAGE.format(port=port),
                documentation_url=DOCUMENTATION_URL,
                impact=worst.verdict.impact,
                notes=_notes(group, seen_in, port),
            )
        processes = sorted({process for s in seen_in for process in s.processes})
        if processes:
            record["processes"] = [
                {"listener": on, **({"container": container} if container else {}), "process": name}
                for on, container, name in processes
            ]
        yield record


def _failing_probes(group: _Group) -> t.Iterator[FailingProbe]:
    """One record for each probe of the workload that fails in any pod; of several the one that no Sidecar helps, then the most urgent."""
    by_probe: dict[tuple[str, str], list[tuple[Failing, _Seen]]] = defaultdict(list)
    for seen in group.seen:
        for probe in seen.probes:
            by_probe[probe.container, probe.name.removesuffix("Probe")].append((probe, seen))
    workload = group.workload
    for (container, name), seen_in in sorted(by_probe.items()):
        worst, _seen = min(seen_in, key=lambda p: (p[0].sidecar_helps, IMPACTS.index(p[0].impact), p[1].pod))
        yield {
            "id": f"PROBE/{workload.namespace}/{workload.kind}/{workload.name}/{container}/{name}",
            "namespace": workload.namespace,
            "workload": t.cast(WorkloadName, workload.as_dict()),
            "pods": sorted(seen.pod for _probe, seen in seen_in),
            "container": container,
            "probe": name,
            "port": worst.port,
            "listeners": sorted({text for _probe, seen in seen_in for text in seen.asked}),
            "impact": worst.impact,
            "reason": worst.reason,
            "sidecar_helps": worst.sidecar_helps,
        }


def _services(group: _Group, port: int, pods: t.Sequence[str]) -> list[dict[str, t.Any]]:
    among = frozenset(pods)
    exposing = {
        (e.service, e.service_port, e.port_name): e
        for entry in group.targets
        for e in entry.exposures
        if e.port == port and e.pod in among
    }
    return [exposing[which].as_dict() for which in sorted(exposing)]


def _notes(group: _Group, seen_in: t.Sequence[_Seen], port: int) -> list[str]:
    notes = list(dict.fromkeys(probe.reason for seen in seen_in for probe in seen.probes))
    judged = {seen.pod for seen in group.seen if seen.port == port}
    if len(seen_in) < len(judged):
        notes.insert(0, f"It is so in {len(seen_in)} of the {len(judged)} pods of the workload that were judged.")
    for by in sorted({seen.judged_by for seen in seen_in if seen.judged_by}):
        several = sum(seen.judged_by == by for seen in seen_in)
        notes.append(
            f"{several} of its pods {'was' if several == 1 else 'were'} not read but judged by the sockets of pod {by}."
        )
    return notes


def _suppressed_by(group: _Group, pods: t.Sequence[str]) -> str | None:
    """The annotation, if every pod of the finding has one that names the code."""
    texts = [
        (entry.pod["metadata"].get("annotations") or {}).get(SUPPRESS_ANNOTATION)
        for entry in group.targets
        if entry.pod["metadata"]["name"] in pods
    ]
    return texts[0] if all(suppresses(text, CODE) for text in texts) else None


def _urgency(record: t.Mapping[str, t.Any]) -> tuple[t.Any, ...]:
    impact = record.get("impact")
    return (
        IMPACTS.index(impact) if impact else 0,
        record["namespace"],
        record["workload"]["kind"],
        record["workload"]["name"],
        record["port"],
        record["id"],
    )


# ---------------------------------------------------------------------------------------------------------------------
# Summary


def _summary(report: Report, targets: t.Sequence[Target], groups: dict[Workload, _Group]) -> dict[str, t.Any]:
    """Counts; `seconds` is added by who has a clock."""
    unread = {(u["namespace"], u["pod"]) for u in report["unchecked"] if u["reason"] != "suspect_table"}
    impacts = {impact: sum(1 for f in report["findings"] if f["impact"] == impact) for impact in IMPACTS}
    return {
        "namespaces": len({group.namespace for group in groups}),
        "workloads": len(groups),
        "pods": len(targets),
        "pods_read": len(targets) - len(unread),
        "ports": len(
            {
                (workload, e.port)
                for workload, group in groups.items()
                for entry in group.targets
                for e in entry.exposures
            }
        ),
        "findings": len(report["findings"]),
        **impacts,
        **{
            name: len(report[name])
            for name in (
                "failing_probes",
                "waived",
                "remediated",
                "unchecked",
                "not_listening",
                "out_of_scope",
                "remediations",
            )
        },
    }
