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
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.kubelet_probes import Failing
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.pods import JudgedPort, by_port
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.selection import Target
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.waivers import (
    SUPPRESS_ANNOTATION,
    suppresses,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.workloads import Workload


class Group(t.NamedTuple):
    """One workload, as far as it is checked."""

    workload: Workload
    targets: list[Target]
    seen: list[JudgedPort]


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
    exposures = by_port(exposure for entry in group.targets for exposure in entry.exposures)
    for port, seen_in in sorted(concerned.items()):
        worst = min(seen_in, key=lambda s: (IMPACTS.index(s.verdict.impact) if s.verdict.impact else 0, s.pod))
        pods = sorted(s.pod for s in seen_in)
        record: Record = {
            "id": f"{CODE}/{workload.namespace}/{workload.kind}/{workload.name}/{port}",
            "namespace": workload.namespace,
            "workload": workload.as_dict(),
            "pods": pods,
            "port": port,
            "services": _services(exposures.get(port, ()), pods),
            "listeners": sorted({text for s in seen_in for text in s.verdict.listeners}),
            "delivery": _delivery(worst),
            "reason": worst.verdict.reason,
        }
        if outcome not in ("not_listening", OPENS):
            record["code"], record["level"] = CODE, LEVEL
            record["message"], record["documentation_url"] = MESSAGE.format(port=port), DOCUMENTATION_URL
            record["impact"], record["notes"] = worst.verdict.impact, _notes(seen_in, len(judged[port]))
        processes = sorted({process for s in seen_in for process in s.processes})
        if processes and outcome != OPENS:
            record["processes"] = [
                {"listener": on, **({"container": container} if container else {}), "process": name}
                for on, container, name in processes
            ]
        yield record


def _delivery(seen: JudgedPort) -> Deliveries:
    found: Deliveries = {"today": seen.today.as_dict(), "after": seen.after.as_dict()}
    if seen.between:
        found["between"] = [passage.as_dict() for passage in seen.between]
    return found


def probe_records(group: Group) -> t.Iterator[FailingProbe]:
    """One record for each probe of the workload that fails in any pod; of several the one that no Sidecar helps, then the most urgent."""
    by_probe: dict[tuple[str, str], list[tuple[Failing, JudgedPort]]] = defaultdict(list)
    for seen in group.seen:
        for probe in seen.probes:
            by_probe[probe.container, probe.name.removesuffix("Probe")].append((probe, seen))
    workload = group.workload
    for (container, name), seen_in in sorted(by_probe.items()):
        worst, _seen = min(seen_in, key=lambda p: (p[0].sidecar_helps, IMPACTS.index(p[0].impact), p[1].pod))
        yield {
            "id": f"PROBE/{workload.namespace}/{workload.kind}/{workload.name}/{container}/{name}",
            "namespace": workload.namespace,
            "workload": workload.as_dict(),
            "pods": sorted(seen.pod for _probe, seen in seen_in),
            "container": container,
            "probe": name,
            "port": worst.port,
            "listeners": sorted({text for _probe, seen in seen_in for text in seen.asked}),
            "impact": worst.impact,
            "reason": worst.reason,
            "sidecar_helps": worst.sidecar_helps,
        }


def _services(exposures: t.Sequence[Exposure], pods: t.Sequence[str]) -> list[ServicePort]:
    among = frozenset(pods)
    exposing = {(e.service, e.service_port, e.port_name): e for e in exposures if e.pod in among}
    return [exposing[which].as_dict() for which in sorted(exposing)]


def _notes(seen_in: t.Sequence[JudgedPort], judged: int) -> list[str]:
    notes = list(dict.fromkeys(probe.reason for seen in seen_in for probe in seen.probes))
    if len(seen_in) < judged:
        notes.insert(0, f"It is so in {len(seen_in)} of the {judged} pods of the workload that were judged.")
    for by in sorted({seen.judged_by for seen in seen_in if seen.judged_by}):
        several = sum(seen.judged_by == by for seen in seen_in)
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
