# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""A Report in words, for the terminal: the list of what was found, and the one sentence that it comes to."""

from __future__ import annotations

import collections
import textwrap
import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.report import (
    BEYOND,
    IMPACTS,
    REASONS,
    WORD,
    WORDS,
    Blocker,
    FailingProbe,
    Finding,
    NotChecked,
    Record,
    Report,
    Unchecked,
    beside,
    blocking,
    ignored,
    probes_of_their_own,
    subject,
    was_made,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.secrets import without_user
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.text import printable
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._reports.text import count, label

FREE = 1 << 30
"""Lines, where there is no end to the screen."""

MANY = 10
"""Findings, probes and the like; more of them get a line each."""

LABEL = 9
"""Columns of the names in front of the facts."""

LINES_OF = {"why": 3, "note": 2}
"""How many lines some facts get at most."""

IN_BRIEF = ("listens", "fix", "waive")
"""The facts for which there is room on every screen."""


class Screen(t.NamedTuple):
    """Room for text, in columns and lines. Where there is no screen, as in the log of a job, lines are cheap, but not free."""

    columns: int = 100
    lines: int = 400


NARROWEST = 60
"""Columns; fewer are taken for these."""


class Block(t.NamedTuple):
    """Lines that stand or fall together. Where they fall, `times` things of the `sort` of SORTS are counted as `what`."""

    lines: list[str]
    sort: str
    what: str = ""
    times: int = 1


SORTS = {
    "record": ("finding", "findings", "not shown"),
    "pod": ("pod", "pods", "not checked"),
    "beyond": ("object", "objects", "beyond the check"),
    "hint": ("hint", "hints", "not shown"),
}
"""How one and several of them are called where they fall, and what became of them."""


def verdict(
    report: Report,
    fail_on: t.Sequence[str],
    failure: str | None = None,
    screen: Screen | None = None,
    reports: t.Sequence[str] = (),
    verbose: bool = False,
    recorded: bool = False,
    server: str = "",
    record: str = "",
) -> list[str]:
    """The list and the sentence as lines that fit the screen. What the parameters mean, details() and outcome() say."""
    columns, height = screen or Screen()
    columns = max(columns, NARROWEST)
    sentence = outcome(report, fail_on, failure, server, record=record)
    last = [printable(line) for line in _wrapped("", sentence, columns, 2)]
    room = Screen(columns, height - _height(last, columns))
    return [*details(report, fail_on, failure, room, reports, verbose, recorded), *last]


def details(
    report: Report,
    fail_on: t.Sequence[str],
    failure: str | None = None,
    screen: Screen | None = None,
    reports: t.Sequence[str] = (),
    verbose: bool = False,
    recorded: bool = False,
) -> list[str]:
    """What stands above the sentence, as lines that fit the screen: the findings, what was not checked and why, and where the reports are.

    `failure` is what went wrong, `reports` are the paths of the files that hold all of it. `verbose` leaves nothing out, and says each finding as
    istioctl does, too. `recorded` says that no cluster was asked, but a record of one.
    """
    columns, height = screen or Screen()
    columns = max(columns, NARROWEST)
    last = _wrapped("", _places(reports), columns, 2)
    if failure and "\n" in failure:
        last += _under_quotes(failure.split("\n"))
    room = (FREE if verbose else height) - _height(last, columns)
    rest = [
        *_unchecked(report, columns, verbose),
        *_opening_anyway(report, fail_on, columns, verbose),
        *_beyond(report, fail_on, columns, verbose),
        *_hints(report, columns),
    ]
    advice = [line for text in _on_unchecked(report, fail_on, recorded) for line in _wrapped("", text, columns, 2)]
    for head, found in _ways(report, fail_on, columns, room, verbose):
        room_of_lists = room - _height(head, columns)
        least = _height([*_shown(rest, 0, reports, columns), *advice], columns)
        if _height(_shown(found, 0, reports, columns), columns) + least <= room_of_lists:
            needed = _height([*_all(rest), *advice], columns)
            above = max(room_of_lists - needed, min(room_of_lists // 2, room_of_lists - least))
            shown = _shown(found, above, reports, columns)
            left = room_of_lists - _height([*shown, *advice], columns)
            return [*map(printable, (*head, *shown, *_shown(rest, left, reports, columns), *advice, *last))]
    return [*map(printable, (*_shown([*found, *rest], room, reports, columns), *last))]


def outcome(
    report: Report,
    fail_on: t.Sequence[str],
    failure: str | None = None,
    server: str = "",
    problems: t.Sequence[str] = (),
    record: str = "",
) -> str:
    """The sentence, and after it what was checked. Of a `failure` of several lines it has the first; `problems` are with files.

    `record` is of when a recorded cluster is: where the gate opens by one, nobody is to take it for a live one.
    """
    failure = failure.split("\n")[0] if failure else ""
    if failure and not was_made(report):
        return printable("; ".join([f"Could not check the cluster: {failure}", *problems]))
    summary: t.Mapping[str, t.Any] = report.get("summary") or {}
    ports, workloads, read, pods = (summary.get(name) or 0 for name in ("ports", "workloads", "pods_read", "pods"))
    where = f" ({without_user(server)})" if server else ""
    checked = f"Checked {count(ports, 'port')} of {count(workloads, 'workload')}; read {read:,} of {count(pods, 'pod')}{where}."
    stop = ", ".join(map(in_words, blocking(report, fail_on)))
    left = ignored(report, fail_on)
    if stop or failure or problems:
        said = f"Do not upgrade yet: {'; '.join(part for part in (stop, failure, *problems) if part)}"
        said = said.rstrip(".") + not_failed_on(report, fail_on)
    elif left:
        said = gate_is_open(left) + not_failed_on(report, fail_on)
    else:
        counts = dict(summary) | {each.word: each.times for each in beside(report, fail_on)}
        words = [word for word in WORDS if word.name not in IMPACTS and counts.get(word.name)]
        others = ", ".join(count(counts[word.name], word.one, word.many) for word in words)
        said = nothing_in_the_way(summary) + (f" ({others})" if others else "")
    old = f" This is a record of {record}." if record and not (stop or failure or problems) else ""
    return printable(f"{said.rstrip('.')}. {checked}{old}")


def nothing_in_the_way(summary: t.Mapping[str, t.Any]) -> str:
    """That there is nothing to fail on, and whether that is so because there was nothing to check; no full stop."""
    fine = "othing stands in the way of the upgrade"
    return f"N{fine}" if summary.get("pods") else f"No pod with an exposed port was there to check, so n{fine}"


def gate_is_open(left: t.Sequence[Blocker]) -> str:
    """That there is something, and that the gate was told not to fail on it: no full stop."""
    several = len(left) > 1 or left[0].times > 1
    found = ", ".join(map(in_words, left))
    return f"{found}, but check_listeners_fail_on ignores {'them' if several else 'it'}: the gate is open"


def not_failed_on(report: t.Mapping[str, t.Any], fail_on: t.Sequence[str]) -> str:
    """What the sentence counts whatever the gate fails on, as its end; empty where there is nothing of it."""
    found = ", ".join(map(in_words, beside(report, fail_on)))
    return f"; not failed on: {found}" if found else ""


def in_words(found: Blocker) -> str:
    """`2 ports break on upgrade`."""
    if not found.known:
        return f"{found.times} {found.word}, which nothing is known of"
    word = WORD[found.word]
    return count(found.times, word.one, word.many)


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


def _ways(
    report: Report, fail_on: t.Sequence[str], columns: int, room: int, verbose: bool
) -> t.Iterator[tuple[list[str], list[Block]]]:
    """The ways to show findings and the like, lines above them and blocks, the one that takes the most room first."""
    probes = list(probes_of_their_own(report, fail_on)) if report.get("failing_probes") else []
    silent = list(report.get("not_listening") or ()) if "not_listening" in fail_on else []
    opening = list(report.get("opens_on_upgrade") or ()) if "opens_on_upgrade" in fail_on else []
    if not verbose and len(report.get("findings") or ()) + len(probes) + len(silent) + len(opening) > MANY:
        shown: Report = {**report, "failing_probes": probes, "opens_on_upgrade": opening, "not_listening": silent}
        # Most runs have no use for it, and what it imports takes as long as the rest of the verdict.
        from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._reports import table

        rows = table.rows(shown, table.FAILING)
        lines = table.aligned(rows, columns)
        heads = [_wrapped("", table.by_namespace(rows, most), columns, 2) for most in (FREE, 40, 20, 10, 5)]
        head = next((lines for lines in heads if len(lines) <= room // 4), heads[-1])
        yield head, [Block([line.rstrip()], "record", row.label) for row, line in zip(rows, lines)]
        return
    for brief in (False, True):
        yield (
            [],
            [
                *_findings(report, columns, verbose, brief),
                *_opening(opening, columns, verbose),
                *_unlistened(silent, columns),
                *_probes(probes, columns, verbose),
            ],
        )


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
    if workloads:
        from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.waivers import waiver_line
    for findings in workloads.values():
        for number, finding in enumerate(findings):
            lines = [] if number else [_place(finding)]
            services = ", ".join(f"{s['name']}:{s['port']}" for s in finding["services"])
            pods = count(len(finding["pods"]), "pod") if brief else f"pods {_some(finding['pods'])}"
            word = label(finding["impact"] or "")
            lines.extend(_wrapped("  ", f"port {finding['port']}: {word}; Service {services}; {pods}", columns, 2))
            facts = [
                ("listens", ", ".join(_held(finding, listener) for listener in finding["listeners"])),
                ("why", finding["reason"]),
                *(("note", note) for note in finding["notes"]),
                ("fix", _fix(finding, remedies.get(finding["id"]))),
                ("waive", waiver_line(finding["id"], ids)),
            ]
            lines.extend(_facts(facts, columns, verbose, brief))
            if verbose:
                lines.extend(f"    {one}" for one in as_istioctl(finding))
            yield Block(lines, "record", word)


def as_istioctl(finding: Finding) -> list[str]:
    """The finding as `istioctl` logs it, a line for each pod: pkg/config/analysis/diag/message.go@1.20.8."""
    return [
        f"{finding['level']} [{finding['code']}] (Pod {finding['namespace']}/{pod}) {finding['message']}"
        for pod in finding["pods"]
    ]


def _fix(finding: Finding, sidecar: dict[str, t.Any] | None) -> str:
    listen = "make the program listen on 0.0.0.0 or ::"
    if not sidecar:
        return f"{listen}, or take the port out of the Service"
    edited = "the edited " if finding["remedy"] == "update_sidecar" else ""
    return f"apply {edited}Sidecar {sidecar['namespace']}/{sidecar['name']}, or {listen}"


def _unchecked(report: Report, columns: int, verbose: bool) -> t.Iterator[Block]:
    """One block for each reason, that of the most pods first."""
    by_reason: dict[str, list[Unchecked]] = {}
    for entry in report.get("unchecked") or ():
        by_reason.setdefault(entry["reason"], []).append(entry)
    for reason, entries in sorted(by_reason.items(), key=lambda item: (-len(item[1]), item[0])):
        names = [f"{entry['namespace']}/{entry['pod']}" for entry in entries]
        pods = ", ".join(names) if verbose else _some(names)
        details = list(dict.fromkeys(entry["detail"] for entry in entries if entry["detail"]))
        others = f" (and {count(len(details) - 1, 'other answer')})" if len(details) > 1 else ""
        facts = [("why", details[0] + others)] if details else []
        facts += [("fix", REASONS[reason])] if reason in REASONS else []
        lines = _wrapped("", f"{count(len(entries), 'pod')} not checked, {reason}: {pods}", columns, 2)
        yield Block([*lines, *_facts(facts, columns, verbose)], "pod", reason, len(entries))


def _on_unchecked(report: Report, fail_on: t.Sequence[str], recorded: bool) -> t.Iterator[str]:
    if report.get("unchecked") and recorded:
        yield "This is a recorded cluster. Fix unread pods on the live cluster, then record it again."
    if report.get("unchecked") and "unchecked" in fail_on:
        yield f"To go on without the unread pods: check_listeners_fail_on: [{', '.join(name for name in fail_on if name != 'unchecked')}]"


def _unlistened(records: t.Sequence[Record], columns: int) -> t.Iterator[Block]:
    for record in records:
        said = f"Nothing listens: {_place(record)} port {record['port']}: {record['reason']}"
        yield Block(_wrapped("", said, columns, 2), "record", label("not_listening"))


def _opening(records: t.Sequence[Record], columns: int, verbose: bool) -> t.Iterator[Block]:
    for record in records:
        lines = _wrapped(
            "", f"Opens on upgrade: {_place(record)} port {record['port']}: {record['reason']}", columns, 2
        )
        facts = [("fix", WORD["opens_on_upgrade"].advice)]
        yield Block([*lines, *_facts(facts, columns, verbose)], "record", label("opens_on_upgrade"))


def _opening_anyway(report: Report, fail_on: t.Sequence[str], columns: int, verbose: bool) -> t.Iterator[Block]:
    """One block for the ports that open, where the gate does not fail on them: then it is no more than a line."""
    word, records = WORD["opens_on_upgrade"], report.get("opens_on_upgrade") or ()
    if records and word.name not in fail_on:
        names = [f"{_place(record)} port {record['port']}" for record in records]
        said = f"{count(len(records), word.one, word.many)}: {'; '.join(names) if verbose else _some(names, '; ')}"
        facts = [("fix", word.advice)] if verbose else []
        lines = [*_wrapped("", said, columns, 2), *_facts(facts, columns, verbose)]
        yield Block(lines, "record", label(word.name), len(records))


def _beyond(report: Report, fail_on: t.Sequence[str], columns: int, verbose: bool) -> t.Iterator[Block]:
    """One block for each reason, that of the most objects first; no more than a line where the gate does not fail on them."""
    word = WORD["not_checked"]
    by_reason: dict[str, list[NotChecked]] = {}
    for entry in report.get("not_checked") or ():
        by_reason.setdefault(entry["reason"], []).append(entry)
    for reason, entries in sorted(by_reason.items(), key=lambda item: (-len(item[1]), item[0])):
        names = [f"{entry['namespace']}: {subject(entry)['kind']} {subject(entry)['name']}" for entry in entries]
        named = "; ".join(names) if verbose else _some(names, "; ")
        details = list(dict.fromkeys(entry.get("detail") or "" for entry in entries))
        others = f" (and {count(len(details) - 1, 'other detail')})" if len(details) > 1 else ""
        facts = [("why", details[0] + others)] if details[0] else []
        facts += [("fix", BEYOND[reason])] if reason in BEYOND else []
        facts = facts if verbose or word.name in fail_on else []
        lines = _wrapped("", f"{count(len(entries), word.one, word.many)}, {reason}: {named}", columns, 2)
        yield Block([*lines, *_facts(facts, columns, verbose)], "beyond", reason, len(entries))


def _probes(probes: t.Sequence[FailingProbe], columns: int, verbose: bool) -> t.Iterator[Block]:
    for probe in probes:
        lines = _wrapped("", f"Probe fails: {_place(probe)}: {probe['reason']}", columns, 2)
        facts = [("fix", WORD["failing_probes"].advice)]
        yield Block([*lines, *_facts(facts, columns, verbose)], "record", label("failing_probes"))


def _place(record: Record | FailingProbe) -> str:
    return f"{record['namespace']}: {record['workload']['kind']} {record['workload']['name']}"


def _hints(report: Report, columns: int) -> t.Iterator[Block]:
    for hint in report.get("hints") or ():
        yield Block(_wrapped("", f"Hint: {hint}", columns, 2), "hint")


def _shown(blocks: t.Sequence[Block], room: int, reports: t.Sequence[str], columns: int) -> list[str]:
    """The first of the blocks, at least one, as far as there is room, and a count of the others."""
    if _height(_all(blocks), columns) <= room:
        return _all(blocks)
    lines: list[str] = _all(blocks[:1])
    used = _height(lines, columns)
    for number, block in enumerate(blocks[1:], 1):
        used += _height(block.lines, columns)
        if used > room or used + _height(_more(blocks, number + 1, reports, columns), columns) > room:
            return [*lines, *_more(blocks, number, reports, columns)]
        lines += block.lines
    return lines


def _more(blocks: t.Sequence[Block], shown: int, reports: t.Sequence[str], columns: int) -> list[str]:
    """What is not shown where the first `shown` blocks are, counted by what it is, and where to see it."""
    said = []
    for sort, (one, many, fate) in SORTS.items():
        kinds: collections.Counter[str] = collections.Counter()
        for block in blocks[shown:]:
            if block.sort == sort:
                kinds[block.what] += block.times
        if kinds:
            more = "more " if any(block.sort == sort for block in blocks[:shown]) else ""
            names = ", ".join(f"{times:,} {what}" if len(kinds) > 1 else what for what, times in kinds.items())
            said.append(f"{count(kinds.total(), more + one, more + many)} {fate}{f' ({names})' if names else ''}.")
    if not said:
        return []
    said.append(
        "The report holds them."
        if reports
        else "See them all with -v, or write a report with check_listeners_report_dir."
    )
    return _wrapped("", " ".join(said), columns, 2)


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


def _some(names: t.Sequence[str], between: str = ", ") -> str:
    return between.join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
