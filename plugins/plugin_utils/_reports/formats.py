# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""The formats that a Report is written in."""

from __future__ import annotations

import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.report import Report
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._reports.document import (
    Document,
    ReportError,
    as_json,
    checked,
    document,
)
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._reports.html import as_html
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._reports.istio import as_istio_json
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._reports.junit import as_junit
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._reports.markdown import as_markdown
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._reports.sarif import as_sarif
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._reports.table import as_csv, as_text
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._reports.text import file_name
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._reports.verdict import outcome


class Format(t.NamedTuple):
    suffix: str
    render: t.Callable[[Document], str]


def _sentence(made: Document) -> str:
    meta = made["metadata"]
    failure = (made.get("msg") or "no reason given") if made.get("failed") else None
    server, problems = meta.get("server") or "", meta.get("problems") or ()
    return outcome(t.cast(Report, made), meta.get("failOn") or (), failure, server, problems)


FORMATS: dict[str, Format] = {
    "html": Format("html", lambda made: as_html([made])),
    "markdown": Format("md", lambda made: as_markdown([made])),
    "json": Format("json", as_json),
    "junit": Format("junit.xml", as_junit),
    "sarif": Format("sarif", as_sarif),
    "istio-json": Format("istio.json", as_istio_json),
    "text": Format("txt", lambda made: as_text(made, _sentence(made))),
    "csv": Format("csv", as_csv),
}

MERGED: dict[str, t.Callable[[t.Sequence[Document], t.Sequence[dict[str, str]]], str]] = {
    "html": as_html,
    "markdown": as_markdown,
}
"""What can show several clusters."""


def report_as(report: t.Mapping[str, t.Any], name: str, about: t.Mapping[str, t.Any]) -> str:
    """A run's Report in the format `name`. Raises ReportError for one that is none, or a format that is not known."""
    return _chosen(FORMATS, name).render(document(report, about))


def report_name(cluster: str, name: str) -> str:
    """The file's name for a cluster's report in the format `name`. Raises ReportError."""
    return file_name(cluster, _chosen(FORMATS, name).suffix)


def reports_as(read: t.Mapping[str, t.Any], name: str) -> str:
    """Saved Reports, `{reports, older, left_out}`, as one text in the format `name`. Raises ReportError."""
    return _chosen(MERGED, name)(
        [checked(made) for made in read["reports"]], [*(read.get("left_out") or ()), *(read.get("older") or ())]
    )


Chosen = t.TypeVar("Chosen")


def _chosen(formats: t.Mapping[str, Chosen], name: str) -> Chosen:
    if name not in formats:
        raise ReportError(f"no format {name!r}; wanted one of {', '.join(formats)}")
    return formats[name]
