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
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._reports.document import Document
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._reports.text import count, written_out
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._reports.view import (
    ClusterView,
    Entry,
    Sidecar,
    WorkloadView,
    looked,
    view,
)

LIMIT = 60_000
"""Characters; GitHub takes 65,536. The Sidecars are left out first, then the least urgent workloads, and the text says so."""

LABELS = {kind.name: kind.label for kind in WORDS}

OPEN = FAIL_ON
"""What somebody has to see to: these become the task list."""


def as_markdown(mades: t.Sequence[Document], left_out: t.Sequence[dict[str, str]] = ()) -> str:
    """One cluster, or several with a table of them first; `left_out` are files of which it shows nothing, `{path, reason}`."""
    clusters = [view(made) for made in mades]
    several = len(clusters) != 1 or bool(left_out)
    head = (_overview(clusters, left_out) if several else "") + "".join(
        _head(cluster, several) for cluster in clusters if not several
    )
    blocks = [block for cluster in clusters for block in _blocks(cluster, several)]
    text = head
    for block in blocks:
        text += block.text + "".join(_sidecar(sidecar) for sidecar in block.sidecars)
        if len(text) > LIMIT:
            break
    else:
        return text
    text = head + "\nThe Sidecars are left out, to fit a ticket; the HTML and JSON reports hold them.\n"
    for position, block in enumerate(blocks):
        if len(text) + len(block.text) > LIMIT:
            rest = sum(block.entries for block in blocks[position:])
            return f"{text}\n{count(rest, 'further entry', 'further entries')} left out, to fit a ticket; the HTML and JSON reports hold all.\n"
        text += block.text
    return text


def _overview(clusters: t.Sequence[ClusterView], left_out: t.Sequence[dict[str, str]]) -> str:
    ready = sum(cluster.made["metadata"]["passed"] for cluster in clusters)
    kinds = [kind for kind in WORDS if any(cluster.counts[kind.name] for cluster in clusters)]
    rows = [["Cluster", "Verdict", *(kind.label for kind in kinds), "Seen"]]
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
    facts += [
        f"{label} {code(text)}" for label, text in (("server", meta.get("server")), ("seen", cluster.when)) if text
    ]
    facts += [looked(cluster.made)] if looked(cluster.made) else []
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


class Block(t.NamedTuple):
    """One workload. What stands above the first of a namespace belongs to it."""

    text: str
    sidecars: list[Sidecar]
    entries: int


def _blocks(cluster: ClusterView, several: bool) -> t.Iterator[Block]:
    above = f"\n{_head(cluster, True)}" if several else ""
    if not cluster.namespaces and above:
        yield Block(above, [], 0)
    for namespace in cluster.namespaces:
        above += f"\n{'###' if several else '##'} Namespace {code(namespace.name)}\n"
        for workload in namespace.workloads:
            yield Block(
                above + _workload(workload, "####" if several else "###"), workload.sidecars, len(workload.entries)
            )
            above = ""


def _workload(workload: WorkloadView, level: str) -> str:
    return f"\n{level} {code(workload.kind)} {code(workload.name)}\n\n" + "".join(
        _entry(entry) for entry in workload.entries
    )


def _entry(entry: Entry) -> str:
    box = "[ ] " if entry.kind in OPEN else ""
    if entry.port is None:
        said = f"**Not checked**, {code(entry.id)}: {_names(entry.pods)}"
    elif entry.probe:
        said = f"**Port {entry.port}: {LABELS[entry.kind].lower()}**, {code(entry.probe)}; pods {_names(entry.pods)}"
    else:
        listens = f"listens on {_names(entry.listeners)}" if entry.listeners else "nothing listens"
        said = f"**Port {entry.port}: {LABELS[entry.kind].lower()}**. Service {_names(entry.services)}; {listens}; pods {_names(entry.pods)}"
    lines = [f"Why: {prose(entry.reason)}", *(f"Note: {prose(note)}" for note in entry.notes)]
    lines += [f"Cure: {prose(entry.cure)}"] if entry.cure else []
    lines += [f"Id: {code(entry.id)}"] if entry.port is not None else []
    return f"- {box}{said}.\n" + "".join(f"  - {line}\n" for line in lines)


def _sidecar(sidecar: Sidecar) -> str:
    fence = "`" * max(3, _longest_run(sidecar.yaml) + 1)
    return f"\nSidecar {code(sidecar.name)} to {'edit' if sidecar.action == 'update' else 'create'}:\n\n{fence}yaml\n{sidecar.yaml}{fence}\n"


def _names(names: t.Sequence[str]) -> str:
    more = f" and {len(names) - 5:,} more" if len(names) > 5 else ""
    return ", ".join(code(name) for name in names[:5]) + more


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
