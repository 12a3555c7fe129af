# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""A Report in words, for the terminal."""

from __future__ import annotations

import collections
import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._evaluate import Report
from ansible_collections.meshops.istio_precheck.plugins.module_utils._text import printable

ADVICE = {
    "forbidden": "Grant the verbs get and create on pods/exec.",
    "no_tool": "None of the containers holds ss, cat or netstat.",
    "not_running": "Run the check again when the pod is up, or delete it.",
    "timeout": "Raise check_listeners_exec_timeout.",
    "node_unreachable": "See to the node; the API server cannot reach its kubelet.",
}
"""What to do about a reason for not reading a pod."""


def blocking(report: Report, fail_on: t.Sequence[str]) -> list[str]:
    """What of `fail_on` the report holds, each as a count and a name. Empty: the gate is open."""
    counts = collections.Counter(finding["impact"] for finding in report["findings"])
    counts.update({kind: len(report[kind]) for kind in ("unchecked", "not_listening")})
    return [f"{counts[name]} {name}" for name in fail_on if counts[name]]


def verdict(report: Report, fail_on: t.Sequence[str], failure: str | None = None) -> list[str]:
    """The verdict as lines: what was found, pod by pod unread, and one last line that says what it comes to."""
    lines: list[str] = []
    remedies = {finding: r["manifest"]["metadata"] for r in report.get("remediations") or () for finding in r["findings"]}
    workload = None
    for finding in report.get("findings") or ():
        this = (finding["namespace"], finding["workload"]["kind"], finding["workload"]["name"])
        if this != workload:
            workload = this
            lines.append(f"{this[0]}: {this[1]} {this[2]}")
        services = ", ".join(f"{s['name']}:{s['port']}" for s in finding["services"])
        lines.append(f"  port {finding['port']}: {finding['impact']}; Service {services}; pods {_some(finding['pods'])}")
        lines.append(f"    {finding['reason']}")
        lines.extend(f"    Note: {note}" for note in finding["notes"])
        meta = remedies.get(finding["id"])
        cure = f"{'edit' if finding['remedy'] == 'update_sidecar' else 'create'} Sidecar {meta['namespace']}/{meta['name']}, or " if meta else ""
        lines.append(f"    Cure: {cure}bind to 0.0.0.0 or ::, or take the port out of the Service.")
        lines.append(f"    To accept it: check_listeners_waivers: [{{match: \"id == '{finding['id']}'\", reason: ...}}]")
    for reason, pods in sorted(_by_reason(report.get("unchecked") or ()).items()):
        lines.append(f"Not checked, {reason}: {_some(pods)}")
        if reason in ADVICE:
            lines.append(f"    {ADVICE[reason]}")
    lines.extend(f"Hint: {hint}" for hint in report.get("hints") or ())
    last = "\n".join(map(printable, _last(report, fail_on, failure).split("\n")))  # a bad waiver is shown with a caret below it
    return [*map(printable, lines), last]


def _last(report: Report, fail_on: t.Sequence[str], failure: str | None) -> str:
    summary = report.get("summary") or {}
    count = {name: summary.get(name, 0) for name in ("ports", "workloads", "pods_read", "pods")}
    looked = "{ports} exposed ports of {workloads} workloads, {pods_read} of {pods} pods read".format(**count)
    if failure:
        return f"The check could not be made: {failure}"
    stop = blocking(report, fail_on)
    if stop:
        return f"Do not upgrade yet: {', '.join(stop)} ({looked})."
    rest = [f"{summary[name]} {name}" for name in ("findings", "waived", "remediated", "unchecked", "not_listening") if summary.get(name)]
    return f"Nothing stands in the way of the upgrade ({looked}{'; ' if rest else ''}{', '.join(rest)})."


def _by_reason(unchecked: t.Iterable[dict[str, t.Any]]) -> dict[str, list[str]]:
    pods: dict[str, list[str]] = {}
    for entry in unchecked:
        pods.setdefault(entry["reason"], []).append(f"{entry['namespace']}/{entry['pod']}")
    return pods


def _some(names: t.Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
