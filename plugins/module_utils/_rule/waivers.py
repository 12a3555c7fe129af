# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""Findings that a user has accepted, with a reason: JMESPath waivers and Istio's own suppress annotation."""

from __future__ import annotations

import datetime
import itertools
import re
import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.outside import (
    OPTION,
    OutsideError,
    check_plain,
    excerpt,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.report import Finding, WaivedBy
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.every_finding import is_true, true_of_every
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.misreadings import (
    CANNOT_BE_ASKED,
    misreadings,
)

SUPPRESS_ANNOTATION = "galley.istio.io/analyze-suppress"


class WaiverError(ValueError):
    """A waiver that cannot be used; the text names the option, the entry and, for an expression, the column."""


class Waiver(t.NamedTuple):
    match: str
    reason: str
    until: datetime.date | None
    expression: t.Any

    def matches(self, finding: Finding) -> bool:
        """Whether the expression is true for the finding, as JMESPath understands truth: not null, false or empty.

        Raises WaiverError if it cannot be evaluated over this finding.
        """
        try:
            found = self.expression.search(finding)
        except (*CANNOT_BE_ASKED, RecursionError) as error:
            raise WaiverError(
                f"waivers: {excerpt(self.match)} cannot be evaluated over finding {finding['id']}: {error}"
            ) from error
        return is_true(found)

    def expired(self, today: datetime.date) -> bool:
        """`until` is the last day on which the waiver counts."""
        return self.until is not None and today > self.until

    def as_dict(self) -> WaivedBy:
        until: WaivedBy = {"until": self.until.isoformat()} if self.until else {}
        return {"match": self.match, "reason": self.reason, **until}


def compile_waivers(entries: t.Sequence[t.Mapping[str, t.Any]] | None) -> list[Waiver]:
    """The waivers of the option, ready to use. Raises WaiverError, and ImportError if jmespath is missing."""
    compiled = []
    for number, entry in enumerate(entries or ()):
        import jmespath

        where = f"waivers[{number}]"
        match = str(entry.get("match") or "")
        reason = str(entry.get("reason") or "").strip()
        if not re.search(r"\w", reason):  # the `...` of the line that the verdict gives to copy is none
            raise WaiverError(
                f"{where}.reason: a waiver says why; write it in words" + (f" in place of {reason}" if reason else "")
            )
        if len(match) > OPTION:
            raise WaiverError(f"{where}.match: wanted at most {OPTION} characters, found {len(match)}")
        functions = jmespath.functions.Functions.FUNCTION_TABLE
        try:
            expression = jmespath.compile(match)
            mistake = next(
                itertools.chain(
                    _mistakes(expression.parsed, functions),
                    misreadings(expression.parsed, SAMPLE),
                    _type_mistakes(expression),
                    _always_true(expression),
                ),
                None,
            )
        except RecursionError as error:
            raise WaiverError(f"{where}.match: it is nested too deep: {excerpt(match)}") from error
        except jmespath.exceptions.JMESPathError as error:
            raise WaiverError(f"{where}.match: invalid JMESPath: {error}") from error
        if mistake:
            raise WaiverError(f"{where}.match: {mistake[0]} at column {_column(match, mistake[1])}: {match}")
        compiled.append(Waiver(match, reason, _day(entry.get("until"), where), expression))
    return compiled


def _mistakes(node: t.Any, functions: t.Mapping[str, t.Any]) -> t.Iterator[tuple[str, str]]:
    """What of a parsed expression is wrong whatever the finding, each with a pattern for its text; jmespath sees it only when it comes to it."""
    if isinstance(node, (list, tuple)):
        for child in node:
            yield from _mistakes(child, functions)
    elif isinstance(node, dict):
        children: t.Sequence[t.Any] = node.get("children") or ()
        if node.get("type") == "function_expression":
            name, known = node["value"], functions.get(node["value"])
            parameters = known["signature"] if known else ()
            if known is None:
                yield f"unknown JMESPath function {name}()", rf"\b{re.escape(name)}\s*\("
            elif len(children) < len(parameters) or (
                len(children) > len(parameters) and not (parameters and parameters[-1].get("variadic"))
            ):
                yield (
                    f"{name}() takes {len(parameters)} argument{'s' if len(parameters) > 1 else ''}, not {len(children)},",
                    rf"\b{re.escape(name)}\s*\(",
                )
        elif node.get("type") == "slice" and children[2] == 0:
            yield "a slice with a step of 0", r":\s*-?0+\s*\]"
        elif node.get("type") == "literal":
            try:
                check_plain(node["value"], "a value")
            except OutsideError as error:
                yield str(error), "`"
        yield from _mistakes(children, functions)


SAMPLE = {
    "id": "IST0143/shop/Deployment/web/8080",
    "code": "IST0143",
    "level": "Error",
    "message": "Port 8080 is exposed in a Service but listens on localhost. It will not be exposed to other pods.",
    "documentation_url": "https://istio.io/latest/docs/reference/config/analysis/ist0143/",
    "namespace": "shop",
    "workload": {"kind": "Deployment", "name": "web"},
    "pods": ["web-7d4b9c5f6-x2x7k"],
    "port": 8080,
    "services": [{"name": "web", "port": 80, "port_name": "http"}],
    "listeners": ["127.0.0.1:8080"],
    "impact": "breaks_on_upgrade",
    "delivery": {
        "today": {
            "to": "localhost",
            "address": "127.0.0.1",
            "port": 8080,
            "by": "rule",
            "why": "istiod 1.9 delivers to 127.0.0.1",
        },
        "after": {
            "to": "pod_ip",
            "address": "",
            "port": 8080,
            "by": "rule",
            "why": "a newer istiod delivers to the pod IP",
        },
    },
    "reason": "It listens on 127.0.0.1:8080 only.",
    "answered_by": {"today": ["127.0.0.1:8080"], "later": ["10.0.0.5:8080"]},
    "remedy": "create_sidecar",
    "opens": False,
    "notes": ["A note."],
    "processes": [{"listener": "127.0.0.1:8080", "container": "app", "process": "server"}],
}
"""A finding with all that one can hold."""

BARE = {
    name: [] if name == "notes" else value for name, value in SAMPLE.items() if name not in ("answered_by", "processes")
}
"""One without what it need not hold."""


def _type_mistakes(expression: t.Any) -> t.Iterator[tuple[str, str]]:
    """What an expression asks of a value that is of another type in every finding, such as the beginning of a port, each with a pattern for its text.

    Each side of `&&` and `||` is tried by itself, too, since the other may spare it over a sample. Then a value that is missing is no mistake: the
    other side may well ask for it.
    """
    import jmespath

    for part, finding in (
        (expression, SAMPLE),
        (expression, BARE),
        *((side, SAMPLE) for side in _sides_of(expression)),
    ):
        try:
            part.search(finding)
        except jmespath.exceptions.JMESPathTypeError as error:
            if part is expression or error.actual_type != "null":
                found = (
                    "nothing" if error.current_value is None else f"{error.actual_type} {str(error.current_value)[:60]}"
                )
                yield (
                    f"{error.function_name}() wants {' or '.join(error.expected_types)}, found {found},",
                    rf"\b{error.function_name}\s*\(",
                )
        except jmespath.exceptions.JMESPathError:
            raise
        except CANNOT_BE_ASKED as error:
            operator = re.match(r"'([<>]=?)' not supported", str(error))  # Python's own, of a comparison
            if operator:
                yield f"{operator[1]} compares a number with text", rf"{operator[1]}(?!=)"
            else:
                yield f"it cannot be evaluated: {error},", "^"


def _always_true(expression: t.Any) -> t.Iterator[tuple[str, str]]:
    """What is true of every finding: all of it, or a side of `&&` or `||`."""
    if true_of_every(expression, SAMPLE):
        yield "it is true of every finding: say of which it is to be, as in namespace == 'shop',", "^"
    if any(true_of_every(side, SAMPLE) for side in _sides_of(expression)):
        yield "one side of && or || is true of every finding,", r"&&|\|\|"


def _sides_of(expression: t.Any) -> list[t.Any]:
    return [type(expression)(expression.expression, side) for side in _sides(expression.parsed)]


def _sides(node: t.Mapping[str, t.Any]) -> t.Iterator[t.Any]:
    for child in node["children"] if node["type"] in ("and_expression", "or_expression") else ():
        yield child
        yield from _sides(child)


def _column(match: str, pattern: str) -> int:
    """Counted from 0, as jmespath does for what it finds itself."""
    found = re.search(pattern, match)
    return found.start() if found else 0


def _day(text: t.Any, where: str) -> datetime.date | None:
    """An empty text is no day: a template leaves it where a variable is empty, and the waiver would count for ever."""
    if text is None:
        return None
    try:
        if re.fullmatch(r"\d{4}-\d\d-\d\d", str(text), re.ASCII):
            return datetime.date.fromisoformat(str(text))
    except ValueError:
        pass
    raise WaiverError(f"{where}.until: wanted a day such as 2026-12-31, found {excerpt(str(text))}")


def waiver_line(which: str, ids: t.Mapping[str, int]) -> str:
    """The line that waives the finding `which`, to be copied from a terminal, or in a few words why there is none.

    An id holds what the author of a pod called its controller. `ids` says how many findings have each. The line is read back as a file of variables
    and its expression as a waiver would be: only one that compares the id with this very text, and nothing else, is given.
    """
    expression = f"id == '{which}'"
    line = f"check_listeners_waivers: [{{match: {expression}, reason: ...}}]"
    if ids.get(which) != 1:
        return f"by hand: {ids.get(which, 0)} findings have the id {which}"
    if not _is_plain(which) or not _says(line, expression) or not _compares(expression, which):
        return "by hand: the name of its workload holds what YAML, JMESPath or a terminal would take for its own"
    return line


def _is_plain(which: str) -> bool:
    """Whether the text is the same to copy as it is to see: nothing that a callback escapes, a line is broken at, or that ends a text of JMESPath."""
    return re.fullmatch(r"[A-Za-z0-9/._:-]+", which, re.ASCII) is not None


def _says(line: str, expression: str) -> bool:
    import yaml

    try:
        return bool(yaml.safe_load(line) == {"check_listeners_waivers": [{"match": expression, "reason": "..."}]})
    except yaml.YAMLError:
        return False


def _compares(expression: str, which: str) -> bool:
    """Whether JMESPath reads the expression as the comparison of the field `id` with this text; what is plain holds nothing that it could read otherwise."""
    try:
        import jmespath
    except ImportError:
        return True
    try:
        parsed = jmespath.compile(expression).parsed
    except jmespath.exceptions.JMESPathError:
        return False
    sides = [(side["type"], side["value"]) for side in parsed["children"]]
    return (parsed["type"], parsed["value"], sides) == ("comparator", "eq", [("field", "id"), ("literal", which)])


class Judged(t.NamedTuple):
    findings: list[Finding]
    waived: list[Finding]
    warnings: list[str]
    expired: dict[str, list[str]]
    """By id of the finding that counts: of which waivers it is no more waived."""


def apply(
    findings: t.Sequence[Finding],
    waivers: t.Sequence[Waiver],
    suppressed: t.Mapping[str, str],
    today: datetime.date,
) -> Judged:
    """Parts `findings` into those that count and those waived; the first waiver that matches gives its reason.

    `suppressed` maps ids of findings whose pods all carry Istio's annotation to its text. An expired waiver waives nothing: the finding
    counts and says so in `notes`. A waiver that matches nothing is reported, since it hides nothing but its author's mistake.
    """
    counted: list[Finding] = []
    waived: list[Finding] = []
    warnings: list[str] = []
    expired: dict[str, list[str]] = {}
    used = set()
    for finding in findings:
        by: WaivedBy | None = None
        notes: list[str] = []
        for number, waiver in enumerate(waivers):
            if not waiver.matches(finding):
                continue
            used.add(number)
            if waiver.expired(today):
                notes.append(
                    f"waivers[{number}] ({waiver.reason}) expired on {t.cast(datetime.date, waiver.until).isoformat()} and waives nothing."
                )
            elif by is None:
                by = waiver.as_dict()
        if by is None and finding["id"] in suppressed:
            by = {
                "annotation": SUPPRESS_ANNOTATION,
                "reason": f"the pod template says {SUPPRESS_ANNOTATION}: {suppressed[finding['id']]!r}",
            }
        if by:
            waived.append({**finding, "waived_by": by})
        else:
            counted.append({**finding, "notes": finding["notes"] + notes})
            expired[finding["id"]] = notes
    for number, waiver in enumerate(waivers):
        if number not in used:
            warnings.append(f"waivers[{number}] matches no finding: {waiver.match}")
        elif waiver.expired(today):
            warnings.append(
                f"waivers[{number}] expired on {t.cast(datetime.date, waiver.until).isoformat()}: {waiver.match}"
            )
    return Judged(counted, waived, warnings, expired)


def suppresses(annotation: str | None, code: str) -> bool:
    """Istio's reading: comma-separated without trimming, `*` only as a whole item (istiod_analyze.go at HEAD of 2026-08)."""
    return bool({code, "*"} & set((annotation or "").split(",")))
