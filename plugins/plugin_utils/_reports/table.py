# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""A Report with one line for each thing that it says: what the terminal shows of many findings, and the formats `text` and `csv`."""

from __future__ import annotations

import collections
import csv
import io
import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.report import (
    BEYOND,
    REASONS,
    WORD,
    WORDS,
    Report,
    probe_as_text,
    subject,
)
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._reports.document import Document, blocks, upgrade
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._reports.text import (
    count,
    label,
    some,
    written_out,
)

PARTS = tuple(dict.fromkeys(word.part for word in WORDS))
FAILING = ("findings", "failing_probes", "opens_on_upgrade", "not_listening")
"""The lists of which the terminal shows a line each: those that are not of pods, and not settled."""

ORDER = {word.name: number for number, word in enumerate(WORDS)}

WIDEST = 40
"""Columns that a name may take before it breaks the alignment rather than push all others out of sight."""

SPARED = (5, 3)
"""Where lines are too long for the screen: the columns that are left out, by their place in Row.cells."""


class Row(t.NamedTuple):
    """One line. `word` is of WORDS; `pods` is a number."""

    word: str
    namespace: str
    kind: str
    name: str
    port: str
    listeners: list[str]
    label: str
    fix: str
    pods: int
    services: list[str]
    reason: str
    id: str
    part: str
    """The list of the Report, and what it holds there."""
    record: t.Mapping[str, t.Any]

    @property
    def cells(self) -> tuple[str, ...]:
        listens = some(self.listeners, 2) or "-"
        if self.word == "unchecked":
            return self.namespace, f"Pod/{self.id}", "-", listens, self.label, ""
        if self.word == "not_checked":
            return self.namespace, f"{self.kind}/{self.name}", "-", listens, self.label, ""
        # What to do about a pod, a probe or a port without a listener is too long for a line.
        brief = self.fix if self.part == "findings" else ""
        return self.namespace, f"{self.kind}/{self.name}", self.port, listens, self.label, brief


def rows(report: Report | Document, parts: t.Sequence[str] = PARTS) -> list[Row]:
    """A row for each thing in these lists of the Report, the most urgent first; what the tables do not know is more urgent than all of it."""
    lists = t.cast("t.Mapping[str, t.Any]", report)
    ready = {finding for remediation in lists.get("remediations") or () for finding in remediation["findings"]}
    found = [_row(record, part, ready) for part in parts for record in lists.get(part) or ()]
    return sorted(found, key=lambda row: ORDER.get(row.word, -1))


def _row(record: t.Mapping[str, t.Any], part: str, ready: t.Collection[str]) -> Row:
    if part == "unchecked":
        workload = record.get("workload") or {"kind": "Pod", "name": record["pod"]}
        return Row(
            word=part,
            namespace=record["namespace"],
            kind=workload["kind"],
            name=workload["name"],
            port="",
            listeners=[],
            label=f"{label(part)}: {record['reason']}",
            fix=REASONS.get(record["reason"], ""),
            pods=1,
            services=[],
            reason=record.get("detail") or "No detail given.",
            id=record["pod"],
            part=part,
            record=record,
        )
    if part == "not_checked":
        about = subject(record)
        return Row(
            word=part,
            namespace=record["namespace"],
            kind=about["kind"],
            name=about["name"],
            port="",
            listeners=[],
            label=f"{label(part)}: {record['reason']}",
            fix=BEYOND.get(record["reason"], ""),
            pods=0,
            services=[],
            reason=record.get("detail") or "No detail given.",
            id=record["reason"],
            part=part,
            record=record,
        )
    word = record["impact"] if part == "findings" else part
    said, fix = label(word), WORD[part].advice if part in WORD else ""
    if part == "findings":
        fix = "Sidecar ready" if record["id"] in ready else "no Sidecar"
    elif part == "failing_probes":
        said = f"{probe_as_text(record['probe'])} fails"
    return Row(
        word=word,
        namespace=record["namespace"],
        kind=record["workload"]["kind"],
        name=record["workload"]["name"],
        port=str(record["port"]),
        listeners=list(record["listeners"]),
        label=said,
        fix=fix,
        pods=len(record["pods"]),
        services=[f"{service['name']}:{service.get('port', '?')}" for service in record.get("services") or ()],
        reason=record["reason"],
        id=record["id"],
        part=part,
        record=record,
    )


def by_namespace(found: t.Sequence[Row], most: int) -> str:
    """How many rows each namespace has, that of the most first; of more than `most` namespaces how many more there are."""
    counts = collections.Counter(row.namespace for row in found)
    named = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    each = some([f"{namespace} {times:,}" for namespace, times in named], most)
    return f"{count(len(found), 'finding')} in {count(len(counts), 'namespace')}: {each}"


def aligned(found: t.Sequence[Row], columns: int | None = None) -> list[str]:
    """A line of one length for each row, in columns; where the screen is too narrow for all of these, without those that can be spared."""
    cells = [tuple(written_out(cell) for cell in row.cells) for row in found]
    kept = [place for place in range(6) if any(line[place] not in ("", "-") for line in cells)]
    widths = [min(WIDEST, max(len(line[place]) for line in cells)) if cells else 0 for place in range(6)]
    for spared in SPARED:
        if columns is not None and sum(widths[place] + 2 for place in kept) - 2 > columns:
            kept = [place for place in kept if place != spared]
    return ["  ".join(f"{line[place]:{widths[place]}}" for place in kept) for line in cells]


# ---------------------------------------------------------------------------------------------------------------------
# Formats


def as_text(made: Document, verdict: str) -> str:
    """The table with a reason at the end of each line, and counts of each namespace above it; `verdict` is the sentence."""
    found = rows(made)
    meta = made["metadata"]
    namespaces = dict.fromkeys(row.namespace for row in found)
    wide = max(map(len, namespaces), default=0)
    sections = [
        [", ".join([f"Cluster {meta['cluster']}", *_about(made)])],
        [f"{name:{wide}}  {_in_namespace(name, found)}" for name in namespaces],
        [f"{line}  {row.reason}" for row, line in zip(found, aligned(found))],
        [f"Hint: {hint}" for hint in made["hints"]],
        [verdict],
    ]
    return "\n\n".join("\n".join(map(written_out, section)) for section in sections if section) + "\n"


def _about(made: Document) -> t.Iterator[str]:
    """What is known of the cluster beside its name, and who looked."""
    meta = made["metadata"]
    if meta.get("server") and meta["server"] != meta["cluster"]:
        yield meta["server"]
    if upgrade(made):
        yield f"Istio {upgrade(made)}"
    if meta.get("takenAt"):
        yield meta["takenAt"]
    if meta.get("collectionVersion"):
        yield f"meshops.istio_precheck {meta['collectionVersion']}"


def _in_namespace(namespace: str, found: t.Sequence[Row]) -> str:
    counts = collections.Counter(row.word for row in found if row.namespace == namespace)
    return ", ".join(count(counts[word.name], word.one, word.many) for word in WORDS if counts[word.name])


CSV = ("cluster", "namespace", "kind", "name", "port", "listeners", "verdict", "blocks", "fix", "pods", "services", "reason", "id")  # fmt: skip


def as_csv(made: Document) -> str:
    """A row for each thing, and for what went wrong. `verdict` is a word of the Report, or `problem`."""
    failure = [made.get("msg") or "no reason given"] if made.get("failed") else []
    cluster = made["metadata"]["cluster"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV)
    for row in rows(made):
        cells = (
            *(row.namespace, row.kind, row.name, row.port, " ".join(row.listeners), row.word),
            *(
                "yes" if blocks(made, row.part, row.record) else "no",
                row.fix,
                str(row.pods),
                " ".join(row.services),
                row.reason,
                row.id,
            ),
        )
        writer.writerow([_cell(cell) for cell in (cluster, *cells)])
    for problem in (*failure, *(made["metadata"].get("problems") or ())):
        writer.writerow([_cell(cell) for cell in (cluster, *[""] * 5, "problem", "yes", *[""] * 3, problem, "")])
    return text.getvalue()


def _cell(value: str) -> str:
    """Text that no spreadsheet takes for a formula: https://owasp.org/www-community/attacks/CSV_Injection."""
    shown = written_out(value)
    return f"'{shown}" if shown.startswith(("=", "+", "-", "@")) else shown
