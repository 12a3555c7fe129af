# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""Whether a JMESPath expression is true of every finding, found out by trial.

No list of spellings holds all ways to write what is always true. So the expression is asked over many findings: each key that it names is given each text and
number of the expression that it can hold, and one that is not there. What is true of all of them is true of more than its author meant.
"""

from __future__ import annotations

import copy
import itertools
import random
import re
import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.misreadings import (
    CANNOT_BE_ASKED,
    MAY_BE_EMPTY,
    WORDS_OF,
    Node,
)

MOST = 4000
"""Findings that an expression is asked over. Of more, these are drawn."""

Path: t.TypeAlias = "tuple[str | int, ...]"

NEVER_OTHER = ("code", "level", "documentation_url")
"""Keys that are the same in all findings."""
MAY_BE_BLANK = ("port_name", "address", "container", "process")
"""Keys whose text may be empty."""
STRANGE = "strange-to-all"
STRANGE_PORT = 54321
STRANGE_TEXTS = {
    "reason": f"Today {STRANGE}.",
    "why": f"a {STRANGE}",
    "id": f"IST0143/{STRANGE}/Deployment/{STRANGE}/{STRANGE_PORT}",
    "listeners": f"*:{STRANGE_PORT}",
    "listener": f"*:{STRANGE_PORT}",
}
"""What no expression names, in the form of its key."""
ID: Path = ("id",)
LONGEST = 32
"""Elements of the longest list that is tried."""


class Form(t.NamedTuple):
    """How the texts of a key are written; and what may stand before and after a part of one, as starts_with() and contains() name it."""

    pattern: str
    before: tuple[str, ...] = ("",)
    after: tuple[str, ...] = ("",)


LABEL, NAME = Form(r"[a-z0-9-]+"), Form(r"[a-z0-9.-]+")
LISTENER = Form(
    r"(\*|[0-9.]{1,15}|\[[0-9a-f:.]{1,45}\])(%[\w.-]+)?:[0-9]+", ("", "127.0.0.1", "["), ("", "1", ":1", "]:1")
)
FORMS = {
    "id": Form(
        r"IST0143/[a-z0-9-]+/[A-Z]\w*/[a-z0-9.-]+/[0-9]+",
        ("", "IST0143", "IST0143/", "IST0143/a", "IST0143/a/", "IST0143/a/K", "IST0143/a/K/", "IST0143/a/K/a"),
        ("", "1", "/1", "a/1", "/a/1", "K/a/1", "/K/a/1", "a/K/a/1"),
    ),
    "namespace": LABEL,
    "kind": Form(r"[A-Z]\w*"),
    "name": NAME,
    "pods": NAME,
    "port_name": Form(r"[\w-]+"),
    "container": LABEL,
    "address": Form(r"[0-9]{1,3}(\.[0-9]{1,3}){3}|[0-9a-f.]*:[0-9a-f:.]*"),
    "reason": Form(r"\A\S+ .*\.\Z", ("", "Today ", "Today"), (".", " so.", "so.", "")),
    "why": Form(r"\A\S+ .*\Z", ("", "a ", "a"), ("", " so", "so")),
    "listeners": LISTENER,
    "listener": LISTENER,
}
"""A text that a key cannot hold makes no trial: `namespace != 'shop,bank'`, as a template joins two names, is true of every namespace."""


def true_of_every(expression: t.Any, sample: dict[str, t.Any]) -> bool:
    """Whether the compiled `expression` is true of every finding; `sample` is one that has every key and no empty list."""
    names = {node["value"] for node in _nodes(expression.parsed) if node["type"] == "field"}
    literals = [node["value"] for node in _nodes(expression.parsed) if node["type"] == "literal"]
    indexes = [node["value"] for node in _nodes(expression.parsed) if node["type"] == "index"]
    texts = sorted({text for text in _flat(literals) if isinstance(text, str) and text})
    numbers = sorted({int(n) for n in _flat(literals) if isinstance(n, (int, float)) and not isinstance(n, bool)})
    if "message" in names:  # which says the port, and nothing else of its own
        names = {*names, "port"}
        numbers = sorted(
            {*numbers, *(int(each) for text in texts for each in re.findall(r"(?<!\d)[1-9]\d{0,4}(?!\d)", text))}
        )
    choices = {
        path: _values(path, value, texts, numbers)
        for path, value in _leaves(sample)
        if path[-1] in names and path[-1] != "message"
    }
    if "id" in names:
        choices[ID].append("")
    lengths = {1, *(n + 1 for n in (*indexes, *numbers) if 0 <= n < LONGEST)}
    for name in (name for name in ("pods", "services", "listeners", *MAY_BE_EMPTY) if name in names):
        choices[name, "*"] = sorted(lengths | ({0} if name in MAY_BE_EMPTY else set()))
    return all(_holds(expression, _made(sample, dict(zip(choices, made)))) for made in _combined(choices))


def _nodes(node: Node) -> t.Iterator[Node]:
    pending = [node]
    while pending:
        this = pending.pop()
        yield this
        pending += [child for child in this.get("children") or () if isinstance(child, dict)]


def _flat(values: t.Any) -> t.Iterator[t.Any]:
    for value in values:
        if isinstance(value, dict):
            value = list(value.values())
        yield from _flat(value) if isinstance(value, list) else (value,)


def _leaves(value: t.Any, path: Path = ()) -> t.Iterator[tuple[Path, t.Any]]:
    """The texts and numbers of a finding. One of a list has the path of the list, and so the list's name."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield from _leaves(each, (*path, name))
    elif isinstance(value, list):
        yield from _leaves(value[0], (*path, 0)) if isinstance(value[0], dict) else [(path, value[0])]
    else:
        yield path, value


def _values(path: Path, value: t.Any, texts: t.Sequence[str], numbers: t.Sequence[int]) -> list[t.Any]:
    """What may stand there: the words that do, or what the expression holds, and what it does not."""
    name = path[-1]
    words = WORDS_OF.get(".".join(map(str, path)))
    if words:
        return list(words)
    if name in NEVER_OTHER:
        return [value]
    if isinstance(value, bool):
        return [False, True]
    if isinstance(value, int):
        near = {n + more for n in numbers for more in (-1, 0, 1) if 1 <= n + more <= 65535}
        return sorted({STRANGE_PORT, *near})
    blank = [""] if name in MAY_BE_BLANK else []
    return [
        STRANGE_TEXTS.get(str(name), STRANGE),
        *itertools.chain(*(_written(str(name), text) for text in texts)),
        *blank,
    ]


def _written(name: str, text: str) -> list[str]:
    """Of the texts that hold `text`, or that it holds, those that a key of this name may hold."""
    form = FORMS.get(name)
    if form is None or re.fullmatch(form.pattern, text, re.ASCII):
        return [text]
    around = (f"{before}{text}{after}" for before in form.before for after in form.after)
    parts = (found[0] for found in re.finditer(form.pattern, text, re.ASCII))
    return [*(each for each in around if re.fullmatch(form.pattern, each, re.ASCII)), *parts]


def _combined(choices: t.Mapping[Path, t.Sequence[t.Any]]) -> t.Iterator[tuple[t.Any, ...]]:
    count = 1
    for values in choices.values():
        count *= len(values)
    if count <= MOST:
        yield from itertools.product(*choices.values())
        return
    drawn = random.Random(0)  # noqa: S311  # nothing secret: the same waiver is always told the same
    for _each in range(MOST):
        yield tuple(drawn.choice(values) for values in choices.values())


def _made(sample: dict[str, t.Any], values: t.Mapping[Path, t.Any]) -> dict[str, t.Any]:
    """A finding like the sample, with these values at these paths, and as many elements in its lists as those at `*` say.

    Its id and its message say what its other fields do: an id that is given is theirs, too, and an empty one is made of them.
    """
    finding = copy.deepcopy(sample)
    for path, value in values.items():
        if path[-1] != "*":
            place: t.Any = finding
            for part in path[:-1]:
                place = place[part]
            place[path[-1]] = [value] if isinstance(place[path[-1]], list) else value
    if values.get(ID):
        _code, finding["namespace"], kind, name, port = values[ID].split("/")
        finding["workload"], finding["port"] = {"kind": kind, "name": name}, int(port)
    else:
        workload = finding["workload"]
        finding["id"] = "/".join(
            (finding["code"], finding["namespace"], workload["kind"], workload["name"], str(finding["port"]))
        )
    finding["message"] = finding["message"].replace(str(sample["port"]), str(finding["port"]))
    for path, value in values.items():
        if path[-1] == "*":
            name = str(path[0])
            finding[name] = finding[name] * value
            if not value and name == "processes":
                del finding[name]
    return finding


def _holds(expression: t.Any, finding: dict[str, t.Any]) -> bool:
    """What cannot be asked over this finding says nothing of it."""
    try:
        found = expression.search(finding)
    except (*CANNOT_BE_ASKED, RecursionError):
        return False
    return is_true(found)


def is_true(found: t.Any) -> bool:
    """As JMESPath understands truth: not null, false or empty. Every number is true."""
    return found is not None and found is not False and found not in ("", [], {})
