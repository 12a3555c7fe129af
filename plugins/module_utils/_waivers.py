# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""Findings that a user has accepted, with a reason: JMESPath waivers and Istio's own suppress annotation."""

from __future__ import annotations

import datetime
import re
import typing as t

SUPPRESS_ANNOTATION = "galley.istio.io/analyze-suppress"


class WaiverError(ValueError):
    """A waiver that cannot be used; the text names the option, the entry and, for an expression, the column."""


class Waiver(t.NamedTuple):
    match: str
    reason: str
    until: datetime.date | None
    expression: t.Any

    def matches(self, finding: dict[str, t.Any]) -> bool:
        """Whether the expression is true for the finding, as JMESPath understands truth: not null, false or empty.

        Raises WaiverError if it cannot be evaluated over this finding.
        """
        try:
            found = self.expression.search(finding)
        except (ValueError, TypeError) as error:  # JMESPath's own errors are ValueErrors; a step of 0 in a slice is Python's
            raise WaiverError(f"waivers: {self.match!r} cannot be evaluated over finding {finding['id']}: {error}") from error
        return found is not None and found is not False and found not in ("", [], {})

    def expired(self, today: datetime.date) -> bool:
        """`until` is the last day on which the waiver counts."""
        return self.until is not None and today > self.until

    def as_dict(self) -> dict[str, t.Any]:
        until = {"until": self.until.isoformat()} if self.until else {}
        return {"match": self.match, "reason": self.reason, **until}


def compile_waivers(entries: t.Sequence[t.Mapping[str, t.Any]] | None) -> list[Waiver]:
    """The waivers of the option, ready to use. Raises WaiverError, and ImportError if jmespath is missing."""
    compiled = []
    for number, entry in enumerate(entries or ()):
        import jmespath

        where = f"waivers[{number}]"
        match = str(entry.get("match") or "")
        if not str(entry.get("reason") or "").strip():
            raise WaiverError(f"{where}.reason: a waiver says why")
        try:
            expression = jmespath.compile(match)
        except jmespath.exceptions.JMESPathError as error:
            raise WaiverError(f"{where}.match: invalid JMESPath: {error}") from error
        unknown = next((name for name in _functions(expression.parsed) if name not in jmespath.functions.Functions.FUNCTION_TABLE), None)
        if unknown:
            raise WaiverError(f"{where}.match: unknown JMESPath function {unknown}() at column {_column(match, unknown)}: {match}")
        compiled.append(Waiver(match, str(entry["reason"]).strip(), _day(entry.get("until"), where), expression))
    return compiled


def _functions(node: t.Any) -> t.Iterator[str]:
    """The names of the functions that a parsed expression calls; jmespath itself looks for them only when it comes to the call."""
    if isinstance(node, dict):
        if node.get("type") == "function_expression":
            yield node["value"]
        node = node.get("children") or ()
    if isinstance(node, (list, tuple)):
        for child in node:
            yield from _functions(child)


def _column(match: str, function: str) -> int:
    """Counted from 0, as jmespath does for what it finds itself."""
    found = re.search(rf"\b{re.escape(function)}\s*\(", match)
    return found.start() if found else 0


def _day(text: t.Any, where: str) -> datetime.date | None:
    if not text:
        return None
    try:
        if re.fullmatch(r"\d{4}-\d\d-\d\d", str(text), re.ASCII):
            return datetime.date.fromisoformat(str(text))
    except ValueError:
        pass
    raise WaiverError(f"{where}.until: wanted a day such as 2026-12-31, found {str(text)!r}")


class Judged(t.NamedTuple):
    findings: list[dict[str, t.Any]]
    waived: list[dict[str, t.Any]]
    warnings: list[str]


def apply(findings: t.Sequence[dict[str, t.Any]], waivers: t.Sequence[Waiver], suppressed: t.Mapping[str, str], today: datetime.date) -> Judged:
    """Parts `findings` into those that count and those waived; the first waiver that matches gives its reason.

    `suppressed` maps ids of findings whose pods all carry Istio's annotation to its text. An expired waiver waives nothing: the finding
    counts and says so in `notes`. A waiver that matches nothing is reported, since it hides nothing but its author's mistake.
    """
    counted, waived, warnings = [], [], []
    used = set()
    for finding in findings:
        by: dict[str, t.Any] | None = None
        notes: list[str] = []
        for number, waiver in enumerate(waivers):
            if not waiver.matches(finding):
                continue
            used.add(number)
            if waiver.expired(today):
                notes.append(f"waivers[{number}] ({waiver.reason}) expired on {t.cast(datetime.date, waiver.until).isoformat()} and waives nothing.")
            elif by is None:
                by = waiver.as_dict()
        if by is None and finding["id"] in suppressed:
            by = {"annotation": SUPPRESS_ANNOTATION, "reason": f"the pod template says {SUPPRESS_ANNOTATION}: {suppressed[finding['id']]!r}"}
        if by:
            waived.append({**finding, "waived_by": by})
        else:
            counted.append({**finding, "notes": finding["notes"] + notes})
    for number, waiver in enumerate(waivers):
        if number not in used:
            warnings.append(f"waivers[{number}] matches no finding: {waiver.match}")
        elif waiver.expired(today):
            warnings.append(f"waivers[{number}] expired on {t.cast(datetime.date, waiver.until).isoformat()}: {waiver.match}")
    return Judged(counted, waived, warnings)


def suppresses(annotation: str | None, code: str) -> bool:
    """Istio's reading: comma-separated without trimming, `*` only as a whole item (istiod_analyze.go at HEAD of 2026-08)."""
    return bool({code, "*"} & set((annotation or "").split(",")))
