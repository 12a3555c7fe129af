# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""One HTML file that stands alone: readable without its script, and unable to load or run anything but the style and script it came with."""

from __future__ import annotations

import base64
import functools
import hashlib
import pathlib
import typing as t
import urllib.parse

import jinja2
from markupsafe import Markup, escape

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.report import IMPACTS, WORDS
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.version import VERSION
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._reports.document import Document, upgrade
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._reports.text import (
    count,
    lines,
    some,
    written_out,
)
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._reports.view import (
    ClusterView,
    Entry,
    Sidecar,
    WorkloadView,
    checked,
    view,
)

HERE = pathlib.Path(__file__).parent

FEW = 20
"""So many ports, probes and unread pods are printed with all that their rows unfold to; of more, only what the reader has unfolded."""

OPEN = 5
"""So many rows of ports and probes are unfolded from the start."""

NARROWEST = 0.8
"""Percent of the bar, so that one port of thousands can be seen."""


def as_html(mades: t.Sequence[Document], left_out: t.Sequence[dict[str, str]] = ()) -> str:
    """A page on one cluster, or on several; `left_out` are files of which it shows nothing, `{path, reason}`."""
    clusters = [view(made) for made in mades]
    several = len(clusters) != 1 or bool(left_out)
    rows = sum(cluster.entries for cluster in clusters)
    totals = {kind.name: sum(cluster.counts[kind.name] for cluster in clusters) for kind in WORDS}
    return _template().render(
        clusters=clusters,
        several=several,
        names_of=_names([cluster.name for cluster in clusters]) if several else [""],
        few=rows + totals["unchecked"] <= FEW,
        most=FEW,
        unfolded=rows <= OPEN,
        left_out=left_out,
        kinds=WORDS,
        totals=totals,
        ready=sum(cluster.made["metadata"]["passed"] for cluster in clusters),
        namespaces=sorted({namespace.name for cluster in clusters for namespace in cluster.namespaces}),
    )


@functools.cache
def _template() -> jinja2.Template:
    """Everything that the template puts out is made visible and escaped, whether or not it asks for it."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        block=_block, some=some, parts=_parts, picture=_picture, place=_place, sidecars=_sidecars, begun=_begun
    )
    style, script = ((HERE / name).read_text("utf-8") for name in ("page.css", "page.js"))
    environment.globals.update(
        style=Markup(style),
        script=Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
        count=count,
        checked=checked,
        upgrade=upgrade,
        version=VERSION,
    )
    return environment.get_template("page.html.j2")


def _shown(value: t.Any) -> t.Any:
    return written_out(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _block(text: str) -> Markup:
    """Text of several lines."""
    return escape(lines(text))


def _hash(text: str) -> str:
    """What a content security policy names an inline element by: its text to the byte, so that nothing else that got into the page runs."""
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii") + "'"


def _begun(text: str) -> str:
    """With a capital letter."""
    return text[:1].upper() + text[1:]


def _names(clusters: t.Sequence[str]) -> list[str]:
    """What the clusters are called in links: two may have one name."""
    names: list[str] = []
    for name in map(written_out, clusters):
        named, number = name, 1
        while named in names:
            number += 1
            named = f"{name} ({number})"
        names.append(named)
    return names


def _place(namespace: str, cluster: str = "") -> str:
    """What stands after `#` in a link to a namespace or a cluster, and is the id of what it leads to where no script runs."""
    parts = (("cluster", cluster), ("ns", written_out(namespace)))
    return "&".join(f"{key}={urllib.parse.quote(value, safe='')}" for key, value in parts if value)


def _sidecars(workload: WorkloadView, entry: Entry) -> list[tuple[int, Sidecar, int]]:
    """The Sidecars for the entry's port: which of the workload it is, itself, and the port that it is shown with, the first of several."""
    if entry.probe or entry.kind not in IMPACTS:
        return []
    return [
        (number, sidecar, sidecar.ports[0])
        for number, sidecar in enumerate(workload.sidecars, 1)
        if entry.port in sidecar.ports
    ]


class Part(t.NamedTuple):
    """A stretch of the bar of all exposed ports, in percent of its width."""

    name: str
    label: str
    number: int
    at: str
    width: str


def _parts(cluster: ClusterView) -> list[Part]:
    """The exposed ports by what is said of them; those of pods that were not read are not among those that are fine."""
    known = "ports_unread" in cluster.made["summary"]
    once = {**cluster.counts, "opens_on_upgrade": cluster.opening}
    numbers = [
        (kind.name, kind.label, once[kind.name])
        for kind in WORDS
        if kind.name not in ("unchecked", "failing_probes", "not_checked")
    ]
    numbers.append(("unread", "Of pods not checked" if known else "OK, or of pods not checked", cluster.unread_ports))
    numbers.append(("fine", "OK", cluster.fine))
    total = sum(number for _name, _label, number in numbers)
    shares = {name: max(NARROWEST, 100 * number / total) for name, _label, number in numbers if number}
    parts, at = [], 0.0
    for name, label, number in numbers:
        if number:
            width = 100 * shares[name] / sum(shares.values())
            parts.append(Part(name, label, number, f"{at:.3f}%", f"{width:.3f}%"))
            at += width
    return parts


class Picture(t.NamedTuple):
    """Where connections to a port go, and where the program listens."""

    wire: str
    listening: list[str]
    asked: str
    """Where nothing listens, today or after the upgrade; empty where that is not said."""
    said: str


def _picture(entry: Entry) -> Picture:
    """Drawn from what the Report says alone: where it does not say that connections go to the pod IP, the picture does not either."""
    elsewhere = "another address" if entry.elsewhere else "pod IP"
    where = some(entry.listeners)
    told = {
        "breaks_on_upgrade": f"Today connections end at {where}, where the program listens; after the upgrade at the {elsewhere}, where nothing listens.",
        "unknown": f"The program listens on {where}; after the upgrade connections end at the {elsewhere}, where nothing listens.",
        "unreachable": f"The program listens on {where}; connections end at the {elsewhere}, where nothing listens, today and after the upgrade.",
        "not_listening": f"Connections end at the {elsewhere}, where nothing listens.",
        "opens_on_upgrade": f"Today nothing accepts connections; after the upgrade they end at {where}, where the program listens.",
        "remediated": f"Connections end at {where}, where the program listens, after the upgrade, too.",
    }
    return Picture(
        entry.impact,
        entry.listeners,
        "" if entry.impact in ("opens_on_upgrade", "remediated") else elsewhere,
        f"Service {some(entry.services)} leads to port {entry.port}. {told[entry.impact]}",
    )
