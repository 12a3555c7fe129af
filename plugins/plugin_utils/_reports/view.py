# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""A Report as a person reads it: by namespace and workload, most urgent first. What HTML and Markdown show is made here, and escaped there."""

from __future__ import annotations

import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.report import (
    BEYOND,
    FAIL_ON,
    IMPACTS,
    REASONS,
    WORD,
    WORDS,
    blocking,
    ignored,
    probes_of_their_own,
    subject,
    was_checked,
    was_made,
)
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._reports.document import Document
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._reports.text import count, lines, some
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._reports.verdict import (
    gate_is_open,
    in_words,
    not_failed_on,
    nothing_in_the_way,
)
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._sidecars.files import sidecar_yaml

ORDER = {word.name: number for number, word in enumerate(WORDS)}


class Entry(t.NamedTuple):
    """What the Report says about one port of a workload, about a probe of its pods, or, without a `port`, about what the check does not look at."""

    kind: str
    impact: str
    """The kind that it would be of if nobody had waived it."""
    port: int | None
    id: str
    services: list[str]
    listeners: list[str]
    reason: str
    notes: list[str]
    pods: list[str]
    url: str
    fix: str
    """What to do about it, in a sentence."""
    brief: str = ""
    """The same in a word or two."""
    elsewhere: bool = True
    """Whether what is asked after the upgrade is another address than the pod's, as far as the Report says."""
    probe: str = ""

    @property
    def listens(self) -> str:
        return some(self.listeners, 2) or "nothing listens"


class Sidecar(t.NamedTuple):
    name: str
    action: str
    ports: list[int]
    remediation: dict[str, t.Any]

    @property
    def yaml(self) -> str:
        """Made when it is asked for: it costs more than all the rest."""
        return lines(sidecar_yaml(self.remediation))


class WorkloadView(t.NamedTuple):
    kind: str
    name: str
    entries: list[Entry]
    sidecars: list[Sidecar]


class NamespaceView(t.NamedTuple):
    name: str
    workloads: list[WorkloadView]
    unread: dict[str, int]
    """How many pods were not read, by reason."""

    @property
    def entries(self) -> list[Entry]:
        return [entry for workload in self.workloads for entry in workload.entries]

    def count(self, kind: str) -> int:
        if kind == "unchecked":
            return sum(self.unread.values())
        return sum(entry.kind == kind for entry in self.entries)


class Unread(t.NamedTuple):
    """The pods that were not read for one reason, by namespace and in it by workload, `{(kind, name): pods}`."""

    reason: str
    detail: str
    notes: list[str]
    fix: str
    places: dict[str, dict[tuple[str, str], list[str]]]

    @property
    def pods(self) -> int:
        return sum(map(self.pods_in, self.places))

    def pods_in(self, namespace: str) -> int:
        return sum(map(len, self.places[namespace].values()))


class ClusterView(t.NamedTuple):
    """One cluster. `tone` is `go`, `open` if it was told to ignore what was found, `stop`, or `lost` if the check could not be made."""

    made: Document
    tone: str
    title: str
    detail: str
    counts: dict[str, int]
    fine: int
    """Exposed ports that the Report does not name, of pods that were all read."""
    unread_ports: int
    """Exposed ports that the Report does not name, of pods that were not read, or that may be of such."""
    namespaces: list[NamespaceView]
    unread: list[Unread]

    @property
    def entries(self) -> int:
        """How many rows there are: for ports, for probes, and for what the check does not look at."""
        return sum(len(namespace.entries) for namespace in self.namespaces)

    @property
    def opening(self) -> int:
        """How many ports open on upgrade and are in no other list: one that opens may be remediated, too."""
        remediated = {record["id"] for record in self.made["remediated"]}
        return sum(record["id"] not in remediated for record in self.made["opens_on_upgrade"])

    @property
    def name(self) -> str:
        return self.made["metadata"]["cluster"]

    def number(self, kind: str) -> str:
        """How many of a kind; `?` where the check was not made, since none is not what that is."""
        return "?" if self.tone == "lost" and not self.counts[kind] else f"{self.counts[kind]:,}"

    @property
    def problems(self) -> list[str]:
        """What went wrong beside the check."""
        return problems(self.made)

    @property
    def when(self) -> str:
        return (self.made["metadata"].get("takenAt") or "").replace("T", " ").replace("Z", " UTC")


def view(made: Document) -> ClusterView:
    counts = {
        **{impact: sum(finding["impact"] == impact for finding in made["findings"]) for impact in IMPACTS},
        **{word.name: len(made.get(word.part) or ()) for word in WORDS if word.name not in IMPACTS},
    }
    tone, title, detail = _headline(made, counts)
    return ClusterView(made, tone, title, detail, counts, *others(made), _namespaces(made), _unread(made))


def checked(made: Document) -> str:
    """How much was checked, in one line."""
    summary = made["summary"]
    if not summary:
        return ""
    ports, workloads, read, pods = (summary.get(name) or 0 for name in ("ports", "workloads", "pods_read", "pods"))
    return f"{count(ports, 'exposed port')} of {count(workloads, 'workload')}, {read:,} of {count(pods, 'pod')} read"


def problems(made: Document) -> list[str]:
    """What went wrong beside a check that was made."""
    return [
        *(made["metadata"].get("problems") or ()),
        *([made.get("msg") or "no reason given"] if made.get("failed") and was_made(made) else ()),
    ]


def _headline(made: Document, counts: dict[str, int]) -> tuple[str, str, str]:
    meta = made["metadata"]
    fail_on = [word for word in meta.get("failOn") or () if word in FAIL_ON]
    found = [count(counts[word.name], word.one, word.many) for word in WORDS if counts[word.name]]
    stops = list(map(in_words, blocking(made, fail_on)))
    left = ignored(made, fail_on)
    if not was_checked(made):
        return "lost", "Could not check the cluster", made.get("msg") or "no reason given"
    if not meta["passed"]:
        why = ", ".join(stops) or "; ".join(problems(made)) or "The gate did not pass"
        return "stop", "Do not upgrade yet", why + not_failed_on(made, fail_on)
    if left:
        return "open", "The gate is open", gate_is_open(left) + not_failed_on(made, fail_on)
    return (
        "go",
        nothing_in_the_way(made["summary"]),
        ", ".join(found)
        or (
            "Every exposed port listens where connections arrive"
            if made["summary"].get("pods")
            else "Nothing was checked"
        ),
    )


def others(made: Document) -> tuple[int, int]:
    """How many exposed ports the Report does not name: those that are fine, and those of which nobody can say that.

    A Report that was saved before `ports_unread` was counted does not tell the two apart where a pod was not read: then none is fine.
    """
    left = _unnamed(made)
    unread = min(left, made["summary"].get("ports_unread", left)) if made["unchecked"] else 0
    return left - unread, unread


def _unnamed(made: Document) -> int:
    named = {
        (record["namespace"], record["workload"]["kind"], record["workload"]["name"], record["port"])
        for part in ("findings", "waived", "remediated", "opens_on_upgrade", "not_listening")
        for record in made[part]
    }
    return max(0, (made["summary"].get("ports") or 0) - len(named))


Place = tuple[str, str, str]


def _namespaces(made: Document) -> list[NamespaceView]:
    entries: dict[Place, list[Entry]] = {}
    remediations = remedies(made)
    own = {probe["id"] for probe in probes_of_their_own(made, made["metadata"].get("failOn") or ())}
    for part in ("findings", "opens_on_upgrade", "not_listening", "waived", "remediated"):
        for record in made[part]:
            entries.setdefault(_place(record), []).append(_entry(record, part, remediations.get(record["id"])))
    for probe in made.get("failing_probes") or ():
        entries.setdefault(_place(probe), []).append(_probe(probe, probe["id"] in own))
    for record in made["not_checked"]:
        about = subject(record)
        entries.setdefault((record["namespace"], about["kind"], about["name"]), []).append(_beyond(record))
    ports: dict[str, tuple[Place, int]] = {
        finding["id"]: (_place(finding), finding["port"]) for finding in made["findings"]
    }
    sidecars: dict[Place, list[Sidecar]] = {}
    for remediation in made["remediations"]:
        for place in dict.fromkeys(ports[finding][0] for finding in remediation["findings"] if finding in ports):
            reached = sorted(
                ports[finding][1]
                for finding in remediation["findings"]
                if finding in ports and ports[finding][0] == place
            )
            sidecars.setdefault(place, []).append(_sidecar(remediation, reached))
    namespaces: dict[str, list[WorkloadView]] = {}
    for place, found in entries.items():
        found.sort(key=lambda entry: (ORDER[entry.kind], entry.port or 0))
        namespaces.setdefault(place[0], []).append(WorkloadView(place[1], place[2], found, sidecars.get(place, [])))
    for workloads in namespaces.values():
        workloads.sort(key=lambda workload: (ORDER[workload.entries[0].kind], workload.kind, workload.name))
    unread: dict[str, dict[str, int]] = {}
    for pod in made["unchecked"]:
        reasons = unread.setdefault(pod["namespace"], {})
        reasons[pod["reason"]] = reasons.get(pod["reason"], 0) + 1
    views = [NamespaceView(name, namespaces.get(name, []), unread.get(name, {})) for name in {**namespaces, **unread}]
    return sorted(views, key=lambda view: (min(ORDER[word] for word in ORDER if view.count(word)), view.name))


def remedies(made: Document) -> dict[str, dict[str, t.Any]]:
    """The remediation of each finding that has one, by the finding's id."""
    return {finding: remediation for remediation in made["remediations"] for finding in remediation["findings"]}


def _place(record: dict[str, t.Any]) -> Place:
    return record["namespace"], record["workload"]["kind"], record["workload"]["name"]


def _entry(record: dict[str, t.Any], part: str, remediation: dict[str, t.Any] | None) -> Entry:
    impact = record.get("impact") or part
    by = record.get("waived_by")
    waived = f"Waived{' until ' + by['until'] if by.get('until') else ''}: {by['reason']}" if by else ""
    url = record.get("documentation_url") or ""
    return Entry(
        kind=impact if part == "findings" else part,
        impact=impact,
        port=record["port"],
        id=record["id"],
        services=[
            f"{service['name']}:{service['port']}" if service.get("port") is not None else service["name"]
            for service in record["services"]
        ],
        listeners=record["listeners"],
        reason=record["reason"],
        notes=[*([waived] if waived else []), *_holders(record), *(record.get("notes") or ())],
        pods=record["pods"],
        url=url if url.startswith("https://") else "",
        fix=fix_of(part, record, remediation),
        brief=("Sidecar ready" if remediation else "No Sidecar") if part == "findings" else "",
        elsewhere=_elsewhere(record),
    )


def _probe(probe: dict[str, t.Any], of_its_own: bool) -> Entry:
    return Entry(
        kind="failing_probes",
        impact=probe["impact"],
        port=probe["port"],
        id=probe["id"],
        services=[],
        listeners=probe["listeners"],
        reason=probe["reason"],
        notes=[],
        pods=probe["pods"],
        url="",
        fix=probe_fix(probe, of_its_own),
        brief="With the port" if not of_its_own else "Sidecar helps" if probe["sidecar_helps"] else "No Sidecar",
        probe=f"{probe['probe']} of container {probe['container']}",
    )


def _beyond(record: dict[str, t.Any]) -> Entry:
    return Entry(
        kind="not_checked",
        impact="not_checked",
        port=None,
        id=record["reason"],
        services=[],
        listeners=[],
        reason=record.get("detail") or "No detail given.",
        notes=[],
        pods=[],
        url="",
        fix=BEYOND.get(record["reason"], ""),
    )


def _elsewhere(record: dict[str, t.Any]) -> bool:
    """A Report of the first form does not say where connections go: then the port without a listener stands for the pod IP."""
    if "delivery" not in record:
        return bool(record["listeners"])
    return record["delivery"]["after"]["to"] not in ("pod_ip", "kernel", "closed", "unknown")


def _holders(record: dict[str, t.Any]) -> list[str]:
    return [
        f"{held['listener']} belongs to {held['process']}{' in container ' + held['container'] if held.get('container') else ''}."
        for held in record.get("processes") or ()
    ]


def fix_of(part: str, record: dict[str, t.Any], remediation: dict[str, t.Any] | None = None, where: str = "") -> str:
    """What to do about a port; empty where there is nothing to do. `where` is where the Sidecar is to be seen."""
    if part in ("opens_on_upgrade", "not_listening"):
        return WORD[part].advice
    if part != "findings":
        return ""
    two = record.get("answered_by")
    otherwise = "give one of the two programs another port" if two else "make the program listen on 0.0.0.0 or ::"
    if not remediation:
        return f"{otherwise[:1].upper()}{otherwise[1:]}, or take the port out of the Service. No Sidecar can help."
    meta = remediation["manifest"]["metadata"]
    edited = "the edited " if remediation["action"] == "update" else ""
    return f"Apply {edited}Sidecar {meta['namespace']}/{meta['name']}{where}, or {otherwise}."


def probe_fix(probe: dict[str, t.Any], of_its_own: bool) -> str:
    """What to do about a probe, which is settled with its port or has to be seen to by itself."""
    if not of_its_own:
        return "It is settled with the port."
    advice = WORD["failing_probes"].advice
    return f"{advice} A Sidecar for the port helps, too." if probe["sidecar_helps"] else advice


def _sidecar(remediation: dict[str, t.Any], ports: list[int]) -> Sidecar:
    meta = remediation["manifest"]["metadata"]
    return Sidecar(f"{meta['namespace']}/{meta['name']}", remediation["action"], ports, remediation)


def _unread(made: Document) -> list[Unread]:
    """By reason, that of the most pods first."""
    by_reason: dict[str, list[dict[str, t.Any]]] = {}
    for pod in made["unchecked"]:
        by_reason.setdefault(pod["reason"], []).append(pod)
    found = []
    for reason, pods in sorted(by_reason.items(), key=lambda item: (-len(item[1]), item[0])):
        details = list(dict.fromkeys(pod.get("detail") or "" for pod in pods))
        places: dict[str, dict[tuple[str, str], list[str]]] = {}
        for pod in sorted(pods, key=lambda pod: (pod["namespace"], pod["pod"])):
            workload = pod.get("workload") or {"kind": "Pod", "name": pod["pod"]}
            workloads = places.setdefault(pod["namespace"], {})
            workloads.setdefault((workload["kind"], workload["name"]), []).append(pod["pod"])
        notes = [f"{count(len(details) - 1, 'other answer')} in the JSON report."] if len(details) > 1 else []
        found.append(Unread(reason, details[0] or "No detail given.", notes, REASONS.get(reason, ""), places))
    return found
