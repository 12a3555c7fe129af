# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""A Report in words, for the terminal."""

from __future__ import annotations

import collections
import textwrap
import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.report import (
    IMPACTS,
    REASONS,
    WORD,
    WORDS,
    Blocker,
    FailingProbe,
    Finding,
    Record,
    Report,
    Unchecked,
    blocking,
    ignored,
    probes_of_their_own,
    was_made,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.secrets import without_user
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.text import printable
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.waivers import waiver_line

FREE = 1 << 30
"""Lines, where there is no end to the screen."""

LABEL = 9
"""Columns of the names in front of the facts."""

LINES_OF = {"why": 3, "note": 2}
"""How many lines some facts get at most."""

IN_BRIEF = ("listens", "cure", "accept")
"""The facts for which there is room on every screen."""


class Screen(t.NamedTuple):
    """Room for text, in columns and lines."""

    columns: int = 100
    lines: int = 40


NARROWEST = 60
"""Columns; fewer are taken for these."""


class Block(t.NamedTuple):
    """Lines that stand or fall together; `what` of `of`, such as an impact of a workload, is counted where they fall."""

    lines: list[str]
    what: str
    of: tuple[str, ...] = ()


def verdict(
    report: Report,
    fail_on: t.Sequence[str],
    failure: str | None = None,
    screen: Screen | None = None,
    reports: t.Sequence[str] = (),
    verbose: bool = False,
    server: str = "",
    recorded: bool = False,
) -> list[str]:
    """The verdict as lines that fit the screen: the findings, what was not checked and why, and last what it comes to.

    `reports` are the paths of the files that hold all of it. `verbose` leaves nothing out, and says each finding as istioctl does, too.
    `server` is the address of the cluster; `recorded` says that this one was not asked, but a record of it.
    """
    columns, height = screen or Screen()
    columns = max(columns, NARROWEST)
    said = outcome(report, fail_on, failure, server)
    last = [
        *_wrapped("", _places(reports), columns, 2),
        *(_under_quotes(said.split("\n")) if "\n" in said else _wrapped("", said, columns, 2)),
    ]
    room = (FREE if verbose else height) - _height(last, columns)
    rest = [
        *_unlistened(report, fail_on, columns),
        *_probes(report, fail_on, columns, verbose),
        *_unchecked(report, columns, verbose),
        *_hints(report, columns),
    ]
    advice = [line for text in _on_unchecked(report, fail_on, recorded) for line in _wrapped("", text, columns, 2)]
    for brief in (False, True):
        found = list(_findings(report, columns, verbose, brief))
        least = _height([*_shown(rest, 0, "entries", reports, columns), *advice], columns)
        if _height(_shown(found, 0, "findings", reports, columns), columns) + least <= room:
            needed = _height([*_all(rest), *advice], columns)
            shown = _shown(found, max(room - needed, min(room // 2, room - least)), "findings", reports, columns)
            room -= _height(advice, columns)
            return [
                *map(
                    printable,
                    (
                        *shown,
                        *_shown(rest, room - _height(shown, columns), "entries", reports, columns),
                        *advice,
                        *last,
                    ),
                )
            ]
    return [*map(printable, (*_shown([*found, *rest], room, "entries", reports, columns), *last))]


def outcome(report: Report, fail_on: t.Sequence[str], failure: str | None = None, server: str = "") -> str:
    """What the check comes to: one line, or more where `failure`, what went wrong, has more."""
    if failure and not was_made(report):
        return "\n".join(map(printable, f"The check could not be made: {failure}".split("\n")))
    summary: t.Mapping[str, t.Any] = report.get("summary") or {}
    count = {name: summary.get(name, 0) for name in ("ports", "workloads", "pods_read", "pods")}
    looked = "{ports} exposed ports of {workloads} workloads, {pods_read} of {pods} pods read".format(**count) + (
        f" on {without_user(server)}" if server else ""
    )
    stop = [*map(_blocker, blocking(report, fail_on)), *([failure] if failure else [])]
    if stop:
        said = f"Do not upgrade yet: {', '.join(stop)} ({looked})."
    else:
        rest = [
            f"{summary[name]} {name}"
            for name in ("findings", *(word.name for word in WORDS if word.name not in IMPACTS))
            if summary.get(name)
        ]
        left = ignored(report, fail_on)
        fine = gate_is_open(left) if left else nothing_in_the_way(summary)
        said = f"{fine} ({looked}{'; ' if rest else ''}{', '.join(rest)})."
    return printable(said)


def nothing_in_the_way(summary: t.Mapping[str, t.Any]) -> str:
    """That there is nothing to fail on, and whether that is so because there was nothing to check; no full stop."""
    fine = "othing stands in the way of the upgrade"
    return f"N{fine}" if summary.get("pods") else f"No pod with an exposed port was there to check, so n{fine}"


def _blocker(found: Blocker) -> str:
    return f"{found.times} {found.word}" if found.known else f"{found.times} {found.word}, which nothing is known of"


def gate_is_open(left: t.Sequence[Blocker]) -> str:
    """That there is something, and that the gate was told not to fail on it: no full stop."""
    several = len(left) > 1 or left[0].times > 1
    found = ", ".join(map(in_words, left))
    return f"{found}, but check_listeners_fail_on ignores {'them' if several else 'it'}: the gate is open"


def in_words(found: Blocker) -> str:
    """`2 ports break on upgrade`."""
    if not found.known:
        return _blocker(found)
    word = WORD[found.word]
    return f"{found.times:,} {word.one if found.times == 1 else word.many}"


def clusters(
    hosts: t.Sequence[str], outcomes: t.Sequence[t.Mapping[str, t.Any]], screen: Screen | None = None
) -> list[str]:
    """What each host's cluster comes to, and a count. An outcome is `{passed, verdict}`, empty for a host that has not been checked."""
    wide = max(map(len, hosts), default=0)
    lines = []
    for host, outcome in zip(hosts, outcomes):
        text = outcome.get("verdict") or "Not checked, or not yet."
        lines.extend(_wrapped("", f"{host:{wide}}  {text}", (screen or Screen()).columns, wide + 2))
    passed = sum(outcome.get("passed") is True for outcome in outcomes)
    return [*map(printable, lines), f"{passed} of {len(hosts)} clusters may be upgraded."]


# ---------------------------------------------------------------------------------------------------------------------
# Blocks


def _findings(report: Report, columns: int, verbose: bool = False, brief: bool = False) -> t.Iterator[Block]:
    """One block for each finding, by workload; the workload with the most urgent one first."""
    remedies = {
        finding: r["manifest"]["metadata"] for r in report.get("remediations") or () for finding in r["findings"]
    }
    ids = collections.Counter(finding["id"] for finding in report.get("findings") or ())
    workloads: dict[tuple[str, str, str], list[Finding]] = {}
    for finding in report.get("findings") or ():
        workloads.setdefault(
            (finding["namespace"], finding["workload"]["kind"], finding["workload"]["name"]), []
        ).append(finding)
    for this, findings in workloads.items():
        for number, finding in enumerate(findings):
            lines = [] if number else [_place(finding)]
            services = ", ".join(f"{s['name']}:{s['port']}" for s in finding["services"])
            pods = f"{len(finding['pods'])} pods" if brief else f"pods {_some(finding['pods'])}"
            lines.extend(
                _wrapped("  ", f"port {finding['port']}: {finding['impact']}; Service {services}; {pods}", columns, 2)
            )
            facts = [
                ("listens", ", ".join(_held(finding, listener) for listener in finding["listeners"])),
                ("why", finding["reason"]),
                *(("note", note) for note in finding["notes"]),
                ("cure", _cure(finding, remedies.get(finding["id"]))),
                ("accept", waiver_line(finding["id"], ids)),
            ]
            lines.extend(_facts(facts, columns, verbose, brief))
            if verbose:
                lines.extend(f"    {one}" for one in as_istioctl(finding))
            yield Block(lines, finding["impact"] or "", this)


def as_istioctl(finding: Finding) -> list[str]:
    """The finding as `istioctl` logs it, a line for each pod: pkg/config/analysis/diag/message.go@1.20.8."""
    return [
        f"{finding['level']} [{finding['code']}] (Pod {finding['namespace']}/{pod}) {finding['message']}"
        for pod in finding["pods"]
    ]


def _cure(finding: Finding, sidecar: dict[str, t.Any] | None) -> str:
    bind = "bind to 0.0.0.0 or ::"
    if not sidecar:
        return f"{bind}, or take the port out of the Service"
    return f"{'edit' if finding['remedy'] == 'update_sidecar' else 'create'} Sidecar {sidecar['namespace']}/{sidecar['name']}, or {bind}"


def _unchecked(report: Report, columns: int, verbose: bool) -> t.Iterator[Block]:
    """One block for each reason, that of the most pods first."""
    by_reason: dict[str, list[Unchecked]] = {}
    for entry in report.get("unchecked") or ():
        by_reason.setdefault(entry["reason"], []).append(entry)
    for reason, entries in sorted(by_reason.items(), key=lambda item: (-len(item[1]), item[0])):
        pods = _some([f"{entry['namespace']}/{entry['pod']}" for entry in entries])
        details = list(dict.fromkeys(entry["detail"] for entry in entries if entry["detail"]))
        facts = (
            [("why", details[0] + (f" (and {len(details) - 1} other answers)" if len(details) > 1 else ""))]
            if details
            else []
        )
        facts += [("do", REASONS[reason])] if reason in REASONS else []
        lines = _wrapped("", f"Not checked, {reason}: {pods}", columns, 2)
        yield Block([*lines, *_facts(facts, columns, verbose)], reason)


def _on_unchecked(report: Report, fail_on: t.Sequence[str], recorded: bool) -> t.Iterator[str]:
    if report.get("unchecked") and recorded:
        yield "This is a record of a cluster: what is to be done about a pod counts where that is recorded, and then it is recorded again."
    if report.get("unchecked") and "unchecked" in fail_on:
        yield f"To go on without the pods that were not checked: check_listeners_fail_on: [{', '.join(name for name in fail_on if name != 'unchecked')}]"


def _unlistened(report: Report, fail_on: t.Sequence[str], columns: int) -> t.Iterator[Block]:
    if "not_listening" in fail_on:
        for record in report.get("not_listening") or ():
            yield Block(
                _wrapped(
                    "", f"Nothing listens: {_place(record)} port {record['port']}: {record['reason']}", columns, 2
                ),
                "not_listening",
            )


def _probes(report: Report, fail_on: t.Sequence[str], columns: int, verbose: bool) -> t.Iterator[Block]:
    """One block for each probe that fails, but for those that are settled with a finding."""
    for probe in probes_of_their_own(report, fail_on) if report.get("failing_probes") else ():
        lines = _wrapped("", f"Probe fails: {_place(probe)}: {probe['reason']}", columns, 2)
        yield Block([*lines, *_facts([("do", WORD["failing_probes"].advice)], columns, verbose)], "failing_probes")


def _place(record: Record | FailingProbe) -> str:
    return f"{record['namespace']}: {record['workload']['kind']} {record['workload']['name']}"


def _hints(report: Report, columns: int) -> t.Iterator[Block]:
    for hint in report.get("hints") or ():
        yield Block(_wrapped("", f"Hint: {hint}", columns, 2), "hint")


def _shown(blocks: t.Sequence[Block], room: int, name: str, reports: t.Sequence[str], columns: int) -> list[str]:
    """The first of the blocks, at least one, as far as there is room, and a count of the others."""
    if _height(_all(blocks), columns) <= room:
        return _all(blocks)
    for number in range(1, len(blocks)):
        more = _more(blocks[number + 1 :], name, reports, columns)
        if _height([*_all(blocks[: number + 1]), *more], columns) > room:
            return [*_all(blocks[:number]), *_more(blocks[number:], name, reports, columns)]
    return _all(blocks)


def _more(left: t.Sequence[Block], name: str, reports: t.Sequence[str], columns: int) -> list[str]:
    if not left:
        return []
    kinds = ", ".join(f"{count} {what}" for what, count in collections.Counter(block.what for block in left).items())
    places = {block.of for block in left if block.of}
    among = f" of {len(places)} workloads" if places else ""
    where = "the report holds them" if reports else "-v shows them, check_listeners_report_dir writes them to a file"
    return _wrapped("", f"And {len(left)} more {name}{among} ({kinds}): {where}.", columns, 2)


def _all(blocks: t.Sequence[Block]) -> list[str]:
    return [line for block in blocks for line in block.lines]


def _height(lines: t.Iterable[str], columns: int) -> int:
    """How many lines the screen makes of these: it breaks names that are longer than itself."""
    return sum(-(-len(line) // columns) or 1 for line in lines)


def _facts(facts: t.Iterable[tuple[str, str]], columns: int, verbose: bool, brief: bool = False) -> list[str]:
    """Names and texts in two columns, in one if `brief`; what is long is cut unless `verbose`, but never what is there to be copied."""
    if brief:
        return [
            line for name, text in facts if name in IN_BRIEF for line in _wrapped("    ", f"{name}: {text}", columns, 2)
        ]
    lines = []
    for name, text in facts:
        wrapped = _wrapped("    ", f"{name:{LABEL}}{text}", columns, LABEL)
        if not verbose and name in LINES_OF and len(wrapped) > LINES_OF[name]:
            wrapped = [*wrapped[: LINES_OF[name] - 1], f"{wrapped[LINES_OF[name] - 1]} ..."]
        lines.extend(wrapped)
    return lines


def _wrapped(indent: str, text: str, columns: int, hanging: int) -> list[str]:
    """Broken at spaces only: a name or an address stays whole, and can be copied."""
    return textwrap.wrap(
        text,
        max(columns, NARROWEST),
        initial_indent=indent,
        subsequent_indent=indent + " " * hanging,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _held(finding: Finding, listener: str) -> str:
    """The listener, and whose it is as far as that is known."""
    processes = [p for p in finding.get("processes") or () if p["listener"] == listener]
    whose = [f"{p['process']} in container {p['container']}" if p.get("container") else p["process"] for p in processes]
    return f"{listener} ({', '.join(whose)})" if whose else listener


def _under_quotes(lines: t.Sequence[str]) -> t.Iterator[str]:
    """The lines, with a caret, which shows the place in a bad waiver, where it belongs once the callback has put a backslash before each quote above it."""
    for above, line in zip(["", *lines], lines):
        yield " " * sum(above[: line.index("^")].count(char) for char in '"\\') + line if line.strip() == "^" else line


def _places(reports: t.Sequence[str]) -> str:
    """Where the reports are; the directory once, if it is the same."""
    directories = {report.rpartition("/")[0] for report in reports}
    if len(reports) > 1 and len(directories) == 1:
        return f"Reports in {directories.pop() or '/'}: {', '.join(report.rpartition('/')[2] for report in reports)}"
    return f"Reports: {', '.join(reports)}" if reports else ""


def _some(names: t.Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
