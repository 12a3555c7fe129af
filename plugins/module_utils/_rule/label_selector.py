# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""Label selectors, as Kubernetes writes them."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.outside import OPTION, excerpt


class SelectionError(ValueError):
    """A selection that cannot be understood; the text names the option."""


def label_matcher(selectors: t.Sequence[str]) -> t.Callable[[t.Mapping[str, str]], bool]:
    """A predicate for labels that meet every selector: `k`, `!k`, `k=v`, `k==v`, `k!=v`, `k in (a,b)`, `k notin (a,b)`.

    Kubernetes' syntax (Labels and Selectors, set-based requirements). Evaluated here and not by the API, because a remedy needs to know
    the pods that do not match, too. Raises SelectionError.
    """
    tests: list[t.Callable[[t.Mapping[str, str]], bool]] = []
    for number, selector in enumerate(selectors):
        if len(selector) > OPTION:
            raise SelectionError(
                f"label_selectors[{number}]: wanted at most {OPTION} characters, found {len(selector)}"
            )
        for part in re.split(r",(?![^(]*\))", selector):
            tests.append(_requirement(part.strip(), f"label_selectors[{number}]"))
    return lambda labels: all(test(labels) for test in tests)


def _requirement(text: str, where: str) -> t.Callable[[t.Mapping[str, str]], bool]:
    label = r"(?P<key>[A-Za-z0-9](?:[-A-Za-z0-9_./]*[A-Za-z0-9])?)"
    value = r"[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?"
    exists = re.fullmatch(rf"(?P<no>!?)\s*{label}", text)
    if exists:
        return lambda labels: (exists["key"] in labels) != bool(exists["no"])
    equals = re.fullmatch(rf"{label}\s*(?P<op>==?|!=)\s*(?P<value>(?:{value})?)", text)
    if equals:
        return lambda labels: (labels.get(equals["key"]) == equals["value"]) != (equals["op"] == "!=")
    among = re.fullmatch(rf"{label}\s+(?P<op>in|notin)\s*\(\s*(?P<values>[^()]*?)\s*\)", text)
    if among and among["values"] and all(re.fullmatch(f"(?:{value})?", v.strip()) for v in among["values"].split(",")):
        values = {v.strip() for v in among["values"].split(",")}
        return lambda labels: (labels.get(among["key"]) in values) != (among["op"] == "notin")
    raise SelectionError(f"{where}: {excerpt(text)} is no label selector")
