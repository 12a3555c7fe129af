# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""What was found, as the records of a Report: one for each port of a workload, not of a pod."""

from __future__ import annotations

import typing as t
from collections import defaultdict

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.report import (
    CODE,
    DOCUMENTATION_URL,
    IMPACTS,
    LEVEL,
    MESSAGE,
    RECORDS,
    Deliveries,
    FailingProbe,
    Record,
    Report,
    ServicePort,
    Summary,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.exposure import Exposure
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.judge import Verdict
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.kubelet_probes import Failing
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.pods import JudgedPod, JudgedPort, by_port
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.selection import Target
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.waivers import (
    SUPPRESS_ANNOTATION,
    suppresses,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.workloads import Workload


class Seen(t.NamedTuple):
    """A port as it was judged, and the names of the pods in which it is so, in order."""

    judged: JudgedPort
    pods: list[str]

    @property
    def port(self) -> int:
        return self.judged.port

    @property
    def verdict(self) -> Verdict:
        return self.judged.verdict


class Group(t.NamedTuple):
    """One workload, as far as it is checked."""

    workload: Workload
    targets: list[Target]
    judged: dict[JudgedPod, list[str]]
    """What is said of its pods, with the names of those of which it is."""

    def has(self, outcome: str) -> bool:
        return any(seen.verdict.outcome == outcome for seen in self.seen)

    @property
    def seen(self) -> t.Iterator[Seen]:
        return (Seen(port, pods) for judged, pods in self.judged.items() for port in judged.ports)


OPENS = "opens_on_upgrade"
"""Beside the outcomes of a verdict: what opens is fine otherwise, or remediated."""


def port_records(group: Group, outcome: str) -> t.Iterator[Record]:
    """One record for each port of the workload with this outcome in any pod, or that opens in any."""
    concerned = by_port(
        seen for seen in group.seen if (seen.verdict.opens if outcome == OPENS else seen.verdict.outcome == outcome)
    )
    if not concerned:
        return
    workload, judged = group.workload, by_port(group.seen)
    services = _Exposing(group.targets)
    for port, seen_in in sorted(concerned.items()):
        worst = min(
            seen_in, key=lambda s: (IMPACTS.index(s.verdict.impact) if s.verdict.impact else 0, s.pods[0])
        ).judged
        pods = sorted(name for seen in seen_in for name in seen.pods)
        record: Record = {
            "id": f"{CODE}/{workload.namespace}/{workload.kind}/{workload.name}/{port}",
            "namespace": workload.namespace,
            "workload": workload.as_dict(),
            "pods": pods,
            "port": port,
            "services": services.of(port, pods),
            "listeners": sorted({text for s in seen_in for text in s.verdict.listeners}),
            "delivery": _delivery(worst),
            "reason": worst.verdict.reason,
        }
        if outcome not in ("not_listening", OPENS):
            record["code"], record["level"] = CODE, LEVEL
            record["message"], record["documentation_url"] = MESSAGE.format(port=port), DOCUMENTATION_URL
            record["impact"], record["notes"] = worst.verdict.impact, _notes(seen_in, _pods(judged[port]))
        if outcome == "finding" and worst.verdict.moves[0]:
            now, then = worst.verdict.moves
            record["answered_by"] = {"today": list(now), "later": list(then)}
        processes = sorted({process for s in seen_in for process in s.judged.processes})
        if processes and outcome != OPENS:
            record["processes"] = [
                {"listener": on, **({"container": container} if container else {}), "process": name}
                for on, container, name in processes
            ]
        yield record


class _Exposing:
    """The Services that expose the ports of a workload's pods; most of these are exposed alike."""

    def __init__(self, targets: t.Iterable[Target]) -> None:
        alike: dict[tuple[Exposure, ...], list[str]] = defaultdict(list)
        for entry in targets:
            alike[entry.exposures].append(entry.pod.name)
        self._on: dict[int, list[tuple[Exposure, list[str]]]] = defaultdict(list)
        for exposures, pods in alike.items():
            for exposure in exposures:
                self._on[exposure.port].append((exposure, pods))

    def of(self, port: int, pods: t.Sequence[str]) -> list[ServicePort]:
        """Those that expose the port in one of these pods."""
        among = frozenset(pods)
        exposing = {
            (e.service, e.service_port, e.port_name): e
            for e, names in self._on.get(port, ())
            if not among.isdisjoint(names)
        }
        return [exposing[which].as_dict() for which in sorted(exposing)]


def _pods(several: t.Iterable[Seen]) -> int:
    return sum(len(seen.pods) for seen in several)


def _delivery(seen: JudgedPort) -> Deliveries:
    found: Deliveries = {"today": seen.today.as_dict(), "after": seen.after.as_dict()}
    if seen.between:
        found["between"] = [passage.as_dict() for passage in seen.between]
    return found


def probe_records(group: Group) -> t.Iterator[FailingProbe]:
    """One record for each probe of the workload that fails in any pod; of several the one that no Sidecar helps, then the most urgent."""
    by_probe: dict[tuple[str, str], list[tuple[Failing, Seen]]] = defaultdict(list)
    for seen in group.seen:
        for probe in seen.judged.probes:
            by_probe[probe.container, probe.name.removesuffix("Probe")].append((probe, seen))
    workload = group.workload
    for (container, name), seen_in in sorted(by_probe.items()):
        worst, _seen = min(seen_in, key=lambda p: (p[0].sidecar_helps, IMPACTS.index(p[0].impact), p[1].pods[0]))
        yield {
            "id": f"PROBE/{workload.namespace}/{workload.kind}/{workload.name}/{container}/{name}",
            "namespace": workload.namespace,
            "workload": workload.as_dict(),
            "pods": sorted(name for _probe, seen in seen_in for name in seen.pods),
            "container": container,
            "probe": name,
            "port": worst.port,
            "listeners": sorted({text for _probe, seen in seen_in for text in seen.judged.asked}),
            "impact": worst.impact,
            "reason": worst.reason,
            "sidecar_helps": worst.sidecar_helps,
        }


def _notes(seen_in: t.Sequence[Seen], judged: int) -> list[str]:
    notes = list(dict.fromkeys(probe.reason for seen in seen_in for probe in seen.judged.probes))
    if _pods(seen_in) < judged:
        notes.insert(0, f"It is so in {_pods(seen_in)} of the {judged} pods of the workload that were judged.")
    for by in sorted({seen.judged.judged_by for seen in seen_in if seen.judged.judged_by}):
        several = _pods(seen for seen in seen_in if seen.judged.judged_by == by)
        notes.append(
            f"{several} of its pods {'was' if several == 1 else 'were'} not read but judged by the sockets of pod {by}."
        )
    return notes


def suppressed_by(group: Group, pods: t.Sequence[str]) -> str | None:
    """The annotation, if every pod of the finding has one that names the code."""
    among = frozenset(pods)
    texts = [entry.pod.annotations.get(SUPPRESS_ANNOTATION) for entry in group.targets if entry.pod.name in among]
    return texts[0] if all(suppresses(text, CODE) for text in texts) else None


def urgency(record: Record | FailingProbe) -> tuple[t.Any, ...]:
    impact = record.get("impact")
    return (
        IMPACTS.index(impact) if impact else 0,
        record["namespace"],
        record["workload"]["kind"],
        record["workload"]["name"],
        record["port"],
        record["id"],
    )


def summarize(report: Report, targets: t.Sequence[Target], groups: dict[Workload, Group]) -> Summary:
    """Counts; `seconds` is added by who has a clock."""
    unread = {(u["namespace"], u["pod"]) for u in report["unchecked"] if u["reason"] != "suspect_table"}
    impacts = {impact: sum(1 for f in report["findings"] if f["impact"] == impact) for impact in IMPACTS}
    counts = {
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
        **{name: len(report[name]) for name in RECORDS if name != "findings"},  # type: ignore[literal-required]
    }
    return t.cast("Summary", counts)
