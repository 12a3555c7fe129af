# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""Markdown fit for a ticket: CommonMark with GitHub's tables and task lists, and short enough for the body of an issue."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.report import FAIL_ON, WORDS
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._reports.document import Document, upgrade
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._reports.text import count, written_out
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._reports.view import (
    ClusterView,
    Entry,
    Sidecar,
    WorkloadView,
    checked,
    view,
)

LIMIT = 60_000
"""Characters; GitHub takes 65,536. The table of all that was found goes first. The Sidecars are left out before the text on a workload, the least urgent
of these before others, rows of the table last; and the text says so."""

NAMES = 5
"""So many names are said of several."""

PLACES = 10
"""So many namespaces are named that have pods which were not read."""

LABELS = {kind.name: kind.label for kind in WORDS}

OPEN = FAIL_ON
"""What somebody has to see to: these become the task list."""


def as_markdown(mades: t.Sequence[Document], left_out: t.Sequence[dict[str, str]] = ()) -> str:
    """One cluster, or several with a table of them first; `left_out` are files of which it shows nothing, `{path, reason}`."""
    clusters = [view(made) for made in mades]
    several = len(clusters) != 1 or bool(left_out)
    above = _overview(clusters, left_out) if several else ""
    parts = [_part(cluster, several) for cluster in clusters]
    room = LIMIT - len(above) - sum(len(part.head) + len(part.unread) for part in parts)
    rows = _fitting([row for part in parts for row in part.rows], room, len)
    room -= sum(len(row) for part in parts for row in part.rows) if rows is None else room
    blocks = [block for part in parts for block in part.blocks]
    whole = sum(len(block.text) + len(block.yaml) for block in blocks) <= room
    texts = None if whole else _fitting(blocks, room, lambda block: len(block.text))
    return above + "".join(_written(parts, rows, texts, whole))


class Block(t.NamedTuple):
    """One workload. What stands above the first of a namespace belongs to it."""

    text: str
    yaml: str
    entries: int


class Part(t.NamedTuple):
    """One cluster: what stands above all, a table of all that was found, the pods that were not read, and the text on each workload."""

    head: str
    rows: list[str]
    unread: str
    blocks: list[Block]


Fitting = t.TypeVar("Fitting")


def _fitting(things: t.Sequence[Fitting], room: int, size: t.Callable[[Fitting], int]) -> int | None:
    """How many of the things fit, one after the other; None for all."""
    used = 0
    for number, thing in enumerate(things):
        used += size(thing)
        if used > room:
            return number
    return None


def _written(parts: t.Sequence[Part], rows: int | None, texts: int | None, whole: bool) -> t.Iterator[str]:
    """The parts with the first `rows` of all their rows and the first `texts` of all their blocks; with the Sidecars if `whole`."""
    for part in parts:
        shown = len(part.rows) if rows is None else min(rows, len(part.rows))
        yield part.head + "".join(part.rows[:shown])
        rows = None if rows is None else rows - shown
        if shown < len(part.rows):
            left = count(len(part.rows) - shown, "further row", "further rows")
            yield f"\n{left} left out, to fit a ticket; the HTML and JSON reports hold all.\n"
        yield part.unread
        blocks = part.blocks if texts is None else part.blocks[:texts]
        texts = None if texts is None else texts - len(blocks)
        if not whole and any(block.yaml for block in part.blocks):
            yield "\nThe Sidecars are left out, to fit a ticket; the HTML and JSON reports hold them.\n"
        yield from (block.text + (block.yaml if whole else "") for block in blocks)
        left_out = sum(block.entries for block in part.blocks[len(blocks) :])
        if left_out:
            yield (
                f"\nOf {count(left_out, 'entry', 'entries')} only the row is shown, to fit a ticket; "
                "the HTML and JSON reports hold all.\n"
            )


def _part(cluster: ClusterView, several: bool) -> Part:
    rows = [
        _row(cluster, namespace.name, workload, entry)
        for namespace in cluster.namespaces
        for workload in namespace.workloads
        for entry in workload.entries
    ]
    head = ("\n" if several else "") + _head(cluster, several)
    if rows:
        head += "\n" + _table([("Namespace", "Workload", "Port", "Listens on", "Verdict", "Fix")])
    return Part(head, rows, "".join(_unread(cluster, several)), list(_blocks(cluster, several)))


def _row(cluster: ClusterView, namespace: str, workload: WorkloadView, entry: Entry) -> str:
    about = entry.probe or (entry.id if entry.port is None else "")
    verdict = f"{LABELS[entry.kind].lower()}{f': {about}' if about else ''}"
    cells = (
        code(namespace),
        f"{code(workload.kind)} {code(workload.name)}",
        "" if entry.port is None else str(entry.port),
        _names(entry.listeners, 2) or ("" if entry.port is None else "nothing"),
        prose(verdict),
        prose(entry.brief),
    )
    return f"| {' | '.join(cells)} |\n"


def _overview(clusters: t.Sequence[ClusterView], left_out: t.Sequence[dict[str, str]]) -> str:
    ready = sum(cluster.made["metadata"]["passed"] for cluster in clusters)
    kinds = [kind for kind in WORDS if any(cluster.counts[kind.name] for cluster in clusters)]
    rows = [["Cluster", "Verdict", *(kind.label for kind in kinds), "Recorded"]]
    for cluster in clusters:
        numbers = [cluster.number(kind.name) for kind in kinds]
        title = cluster.title if cluster.tone == "go" else f"**{cluster.title}**"
        rows.append([code(cluster.name), title, *numbers, code(cluster.when) if cluster.when else ""])
    problems = "".join(f"- {code(file['path'])}: {prose(file['reason'])}\n" for file in left_out)
    return (
        f"# Istio upgrade: {ready:,} of {count(len(clusters), 'cluster is', 'clusters are')} ready\n\n"
        + (_table(rows) if clusters else "")
        + (f"\n**{count(len(left_out), 'file is', 'files are')} left out:**\n\n{problems}" if problems else "")
    )


def _head(cluster: ClusterView, several: bool) -> str:
    meta = cluster.made["metadata"]
    facts = [f"Cluster {code(cluster.name)}"]
    server = meta.get("server") if meta.get("server") != cluster.name else ""
    known = (("Istio", upgrade(cluster.made)), ("server", server), ("recorded", cluster.when))
    facts += [f"{label} {code(text)}" for label, text in known if text]
    facts += [checked(cluster.made)] if checked(cluster.made) else []
    version = meta.get("collectionVersion")
    facts += [f"checked by {code('meshops.istio_precheck ' + version)}"] if version else []
    title = (
        f"Cluster {code(cluster.name)}: {cluster.title.lower() if several else cluster.title}"
        if several
        else cluster.title
    )
    return (
        f"{'## ' if several else '# '}{title}\n\n"
        f"**Verdict:** {prose(cluster.detail.rstrip('.'))}.\n\n{'; '.join(facts)}.\n"
        + "".join(f"\n**Problem:** {prose(problem)}\n" for problem in cluster.problems)
        + "".join(f"\n**Hint:** {prose(hint)}\n" for hint in cluster.made["hints"])
    )


def _unread(cluster: ClusterView, several: bool) -> t.Iterator[str]:
    """The pods that were not read, by reason; some names of some namespaces."""
    above = f"\n{'###' if several else '##'} Pods not checked\n"
    for reason in cluster.unread:
        facts = [f"Why: {prose(reason.detail)}", *(f"Note: {prose(note)}" for note in reason.notes)]
        facts += [f"Fix: {prose(reason.fix)}"] if reason.fix else []
        for namespace, workloads in list(reason.places.items())[:PLACES]:
            facts.append(f"{code(namespace)}: {_names([pod for pods in workloads.values() for pod in pods], 3)}")
        if len(reason.places) > PLACES:
            facts.append(f"{count(len(reason.places) - PLACES, 'more namespace')}")
        box = "[ ] " if "unchecked" in OPEN else ""
        said = f"{above}\n- {box}**{count(reason.pods, 'pod')} not checked**, {code(reason.reason)}.\n"
        yield said + "".join(f"  - {fact}\n" for fact in facts)
        above = ""


def _blocks(cluster: ClusterView, several: bool) -> t.Iterator[Block]:
    for namespace in cluster.namespaces:
        above = f"\n{'###' if several else '##'} Namespace {code(namespace.name)}\n"
        for workload in namespace.workloads:
            text = above + _workload(workload, "####" if several else "###")
            yield Block(text, "".join(map(_sidecar, workload.sidecars)), len(workload.entries))
            above = ""


def _workload(workload: WorkloadView, level: str) -> str:
    return f"\n{level} {code(workload.kind)} {code(workload.name)}\n\n" + "".join(
        _entry(entry) for entry in workload.entries
    )


def _entry(entry: Entry) -> str:
    box = "[ ] " if entry.kind in OPEN else ""
    if entry.port is None:
        said = f"**{LABELS[entry.kind]}**, {code(entry.id)}"
    elif entry.probe:
        listens = f"listens on {_names(entry.listeners)}" if entry.listeners else "nothing listens"
        said = f"**Port {entry.port}: {LABELS[entry.kind].lower()}**, {code(entry.probe)}; {listens}; pods {_names(entry.pods)}"
    else:
        listens = f"listens on {_names(entry.listeners)}" if entry.listeners else "nothing listens"
        said = f"**Port {entry.port}: {LABELS[entry.kind].lower()}**. Service {_names(entry.services)}; {listens}; pods {_names(entry.pods)}"
    lines = [f"Why: {prose(entry.reason)}", *(f"Note: {prose(note)}" for note in entry.notes)]
    lines += [f"Fix: {prose(entry.fix)}"] if entry.fix else []
    lines += [f"Id: {code(entry.id)}"] if entry.port is not None else []
    return f"- {box}{said}.\n" + "".join(f"  - {line}\n" for line in lines)


def _sidecar(sidecar: Sidecar) -> str:
    fence = "`" * max(3, _longest_run(sidecar.yaml) + 1)
    return f"\nSidecar {code(sidecar.name)} to {'edit' if sidecar.action == 'update' else 'create'}:\n\n{fence}yaml\n{sidecar.yaml}{fence}\n"


def _names(names: t.Sequence[str], most: int = NAMES) -> str:
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(code(name) for name in names[:most]) + more


def _table(rows: t.Sequence[t.Sequence[str]]) -> str:
    lines = [f"| {' | '.join(row)} |\n" for row in rows]
    return "".join([lines[0], f"|{'---|' * len(rows[0])}\n", *lines[1:]])


def code(text: str) -> str:
    """A code span. Nothing in one is markup, a mention or a link; a pipe is written out, since it would still end a cell of a table."""
    shown = written_out(text).replace("|", r"\x7c") or " "
    fence = "`" * (_longest_run(shown) + 1)
    pad = " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def prose(text: str) -> str:
    """Text in which nothing is markup. Mentions, references to issues and bare links are made after the markup is read: a comment parts them."""
    escaped = re.sub(r"[\\`*_\[\]<>&|~$]", r"\\\g<0>", written_out(text))
    return re.sub(r"@|#(?=\d)|:(?=//)|(?<=www)(?=\.)", r"\g<0><!-- -->", escaped)


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall("`+", text)), default=0)
