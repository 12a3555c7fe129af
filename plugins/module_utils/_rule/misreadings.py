# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""What of a JMESPath expression says the same of every finding, so that a waiver with it would waive all of them.

JMESPath takes a key that is not there for null: two of these are equal, so `name == "web"`, which is about two keys, is always true. It knows no
comparison of a number with text, so `port != '8080'` is, too. And `'a' || 'b'` is the truth of a text, `[port == `80`]` that of a list with something
in it, whatever that is, and `length(pods)` that of a number: for JMESPath it is true.
"""

from __future__ import annotations

import json
import re
import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.report import IMPACTS

Node = dict[str, t.Any]
Mistake = tuple[str, str]
"""What is wrong, and a pattern for its place in the expression."""

SIGNS = {"eq": "==", "ne": "!=", "lt": "<", "lte": "<=", "gt": ">", "gte": ">="}
OF_THE_FINDING = ("field", "current", "identity")
"""Nodes that take something from what the expression is asked over; all others are made of these and of literals."""
CANNOT_BE_ASKED = (ValueError, TypeError, ArithmeticError, LookupError)
"""What JMESPath raises over a finding: its own errors are ValueErrors, and Python's come through, of a step of 0 in a slice, or of floor() of infinity."""

OF_CONDITIONS = ("and_expression", "or_expression", "not_expression")
MAY_BE_EMPTY = ("notes", "processes")
"""Lists of a finding that hold nothing in some."""


def misreadings(parsed: Node, sample: dict[str, t.Any]) -> t.Iterator[Mistake]:
    """The mistakes of a parsed expression, `sample` being a finding that has every key and no empty list."""
    for condition in _conditions(parsed):
        if condition["type"] not in OF_CONDITIONS and not _asks(condition):
            yield (
                f"{_text(condition)} is the same for every finding: compare it with a key, as in namespace == 'shop',",
                _pattern(condition),
            )
    yield from _read(parsed, sample)


def _conditions(node: t.Any) -> t.Iterator[Node]:
    """Whatever of the expression is taken for true or false: all of it, sides of `&&` and `||`, what `!` and `[? ]` have inside."""
    yield node
    yield from _inner(node)


def _inner(node: Node) -> t.Iterator[Node]:
    kind, children = node.get("type"), [child for child in node.get("children") or () if isinstance(child, dict)]
    if kind in OF_CONDITIONS:
        yield from children
    elif kind == "filter_projection":
        yield children[2]
    for child in children:
        yield from _inner(child)


def _name(node: Node) -> str:
    """`namespace`, or `workload.name`; empty for what is no name of a key."""
    parts = node["children"] if node["type"] == "subexpression" else [node]
    return ".".join(part["value"] for part in parts) if all(part["type"] == "field" for part in parts) else ""


def _asks(node: t.Any) -> bool:
    return isinstance(node, dict) and (node["type"] in OF_THE_FINDING or any(map(_asks, node.get("children") or ())))


def _may_find_nothing(node: Node) -> bool:
    """Whether it is a list that a filter has picked, or something of one, and so is empty for some findings."""
    kind, children = node["type"], node.get("children") or []
    if kind == "projection":
        return _may_find_nothing(children[0])
    if kind in ("pipe", "subexpression", "index_expression", "flatten"):
        made = children[-1]["type"] in ("function_expression", "multi_select_list", "multi_select_dict")
        return not made and any(map(_may_find_nothing, children))
    return kind == "filter_projection" or (kind == "field" and node["value"] in MAY_BE_EMPTY)


def _text(node: Node) -> str:
    value = node.get("value")
    if node["type"] == "literal":
        return f"'{value}'" if isinstance(value, str) else json.dumps(value)
    if node["type"] == "function_expression":
        return f"{value}()"
    return SIGNS.get(str(value), "it")


def _pattern(node: Node) -> str:
    value = node.get("value")
    if node["type"] == "literal":
        return re.escape(value if isinstance(value, str) else json.dumps(value))
    return re.escape(SIGNS.get(str(value), str(value)))


def _kind(value: t.Any) -> str | None:
    if value is None:
        return None
    kinds = ((bool, "a truth"), ((int, float), "a number"), (str, "text"), (list, "a list"))
    return next((name for types, name in kinds if isinstance(value, types)), "an object")


DELIVERIES = ("localhost", "pod_ip", "kernel", "unix", "closed", "unknown")
WORDS_OF = {
    "impact": IMPACTS,
    "remedy": ("create_sidecar", "update_sidecar", "change_bind"),
    "delivery.today.to": DELIVERIES,
    "delivery.after.to": tuple(each for each in DELIVERIES if each != "unix"),  # which always arrives
    "delivery.today.by": ("rule", "proxy"),
    "delivery.after.by": ("rule",),
}
"""Keys of which a finding has one of a few words."""


def _no_words(node: Node, sign: str) -> t.Iterator[Mistake]:
    """A comparison of such a key with what is none of its words."""
    one, other = node["children"]
    for this, literal in ((one, other), (other, one)):
        name = _name(this)
        if name in WORDS_OF and literal["type"] == "literal":
            word = literal["value"]
            if isinstance(word, str) and word not in WORDS_OF[name]:
                yield f"no {name} is called {word}, but one of {', '.join(WORDS_OF[name])},", sign


def _no_condition(node: Node, value: t.Any) -> t.Iterator[Mistake]:
    """A value that is taken for true or false and is neither."""
    kind = _kind(value)
    if kind not in (None, "a truth") and node["type"] not in OF_CONDITIONS and not _may_find_nothing(node):
        what = f"{kind} is true of every finding, whatever it holds: compare it, as in namespace == 'shop',"
        yield what, _pattern(node)


def _read(parsed: Node, sample: dict[str, t.Any]) -> list[Mistake]:
    """What the expression asks of the sample that no finding has. Each part of it is visited once for each value, whatever another part says."""
    from jmespath.visitor import TreeInterpreter

    found: dict[Mistake, None] = {}
    conditions = set(map(id, _conditions(parsed)))

    class Reader(TreeInterpreter):  # type: ignore[misc, unused-ignore]
        def visit(self, node: Node, *args: t.Any, **kwargs: t.Any) -> t.Any:
            try:
                seen = super().visit(node, *args, **kwargs)
            except CANNOT_BE_ASKED:  # said by who tries the expression as it is
                return None
            found.update(dict.fromkeys(_no_condition(node, seen) if id(node) in conditions else ()))
            return seen

        def visit_field(self, node: Node, value: t.Any) -> t.Any:
            name = node["value"]
            if isinstance(value, dict) and name in value:
                return value[name]
            if value is not None:
                what = f"no finding has a key {name} there; text is in single quotes,"
                found[what, rf"(?<![\w'])\"?{re.escape(name)}(?!\w)"] = None
            return None

        def visit_and_expression(self, node: Node, value: t.Any) -> t.Any:
            left, right = (self.visit(child, value) for child in node["children"])
            return left if self._is_false(left) else right

        def visit_or_expression(self, node: Node, value: t.Any) -> t.Any:
            left, right = (self.visit(child, value) for child in node["children"])
            return right if self._is_false(left) else left

        def visit_filter_projection(self, node: Node, value: t.Any) -> t.Any:
            base, right, condition = node["children"]
            elements = self.visit(base, value)
            if not isinstance(elements, list):
                return None
            kept = [(self.visit(condition, each), self.visit(right, each)) for each in elements]
            return [each for holds, each in kept if each is not None and not self._is_false(holds)]

        def visit_comparator(self, node: Node, value: t.Any) -> t.Any:
            if node["value"] not in ("eq", "ne"):
                return super().visit_comparator(node, value)
            sign = SIGNS[node["value"]]
            left, right = (self.visit(child, value) for child in node["children"])
            kinds = [_kind(left), _kind(right)]
            if None not in kinds and kinds[0] != kinds[1]:
                found[f"{sign} compares {kinds[0]} with {kinds[1]},", sign] = None
            if value is sample:
                found.update(dict.fromkeys(_no_words(node, sign)))
            return (left == right) is (node["value"] == "eq")

    Reader().visit(parsed, sample)
    return list(found)
