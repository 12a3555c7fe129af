# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""Which namespaces an istiod knows of: those that meshConfig.discoverySelectors select, from 1.10 on.

Citations are `path@tag` in istio/istio.
"""

from __future__ import annotations

import itertools
import re
import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.istio_values import Version

SELECTORS_SINCE: Version = (1, 10)
"""The first istiod that reads discoverySelectors."""

SIDECARS_SINCE: Version = (1, 22)
"""The first one that does not see Sidecars of namespaces that they leave out, unless it is told otherwise."""

Labels = t.Mapping[str, str]


class DiscoverySelectors:
    """meshConfig.discoverySelectors, checked once. There may be very many, so nobody compares two of them: control planes that say the same have the same."""

    def __init__(self, said: t.Any) -> None:
        self.valid = are_selectors(said)
        """Whether istiod takes all of them."""
        self._selectors: list[list[Requirement]] = list(map(requirements, said)) if self.valid else []

    def select(self, labels: Labels | None) -> bool | None:
        """Whether they select a namespace of these labels, None if that is not known. Any one is enough, and without any they select all.

        isSelectedLocked, pkg/kube/namespace/filter.go@1.22.0. Of selectors one of which is none, istiod goes on with those that it had.
        """
        if not self.valid:
            return None
        if not self._selectors or not all(self._selectors):
            return True
        return None if labels is None else any(selected(each, labels) for each in self._selectors)


class Selecting(t.Protocol):
    """What of a control plane says which namespaces it knows of."""

    @property
    def version(self) -> Version | None: ...

    @property
    def scoped(self) -> bool | None: ...

    @property
    def discovery(self) -> DiscoverySelectors: ...


class Discovered:
    """The namespaces of a cluster, asked whether a control plane knows of them. `labels` are those that are known, by name."""

    def __init__(self, labels: t.Mapping[str, Labels]) -> None:
        self._labels = labels
        self._selected: dict[tuple[DiscoverySelectors, str], bool | None] = {}

    def selects(self, plane: Selecting, namespace: str) -> bool | None:
        """Whether its selectors select the namespace, None if that is not known; the root namespace is no exception."""
        if plane.version is not None and plane.version < SELECTORS_SINCE:
            return True
        which = (plane.discovery, namespace)
        if which not in self._selected:
            self._selected[which] = plane.discovery.select(self._labels.get(namespace))
        return self._selected[which]

    def cases(self, plane: Selecting, namespaces: t.Sequence[str]) -> tuple[frozenset[str], ...]:
        """Which of `namespaces` it leaves out: several answers where that, or what it means to its version, is not known.

        In the first of these, whatever is not known is discovered.
        """
        answers = [(name, self.selects(plane, name)) for name in dict.fromkeys(namespaces)]
        choices = [
            (False,) if known else (False, True) if known is None or plane.version is None else (True,)
            for _name, known in answers
        ]
        return tuple(
            frozenset(name for (name, _known), out in zip(answers, case) if out) for case in itertools.product(*choices)
        )

    def unsure(self, plane: Selecting, namespaces: t.Iterable[str]) -> tuple[str, str]:
        """Why it is not known whether it knows of all of these, of CAUSES in delivery.py, and of which; empty if it is known."""
        hidden = next((name for name in namespaces if self.selects(plane, name) is None), "")
        if not hidden:
            return "", ""
        return "namespace_hidden" if plane.discovery.valid else "selectors_invalid", hidden


def knows_services(plane: Selecting, left_out: bool) -> bool:
    """Whether it knows the Services of a namespace that its selectors leave out. One of unknown version may: then its default delivery is not known."""
    return not left_out or plane.version is None or plane.version < SELECTORS_SINCE


def unseen_sidecars(plane: Selecting, left_out: frozenset[str]) -> tuple[frozenset[str], ...]:
    """Of which of these namespaces it sees no Sidecars: two answers where that is not known, the first that it sees all."""
    answers = {True: (left_out,), False: (frozenset[str](),), None: (frozenset[str](), left_out)}[plane.scoped]
    return answers if left_out else answers[:1]


# ---------------------------------------------------------------------------------------------------------------------
# Selectors

OPERATORS = {"In": True, "NotIn": True, "Exists": False, "DoesNotExist": False}
"""Whether each takes values."""

_PART = r"(?:[A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_DNS = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
_KEY = re.compile(rf"(?:(?=.{{1,253}}/){_DNS}(?:\.{_DNS})*/)?(?=.{{1,63}}\Z){_PART}", re.ASCII)
_VALUE = re.compile(rf"(?=.{{0,63}}\Z)(?:{_PART})?", re.ASCII)

Requirement = tuple[str, str, t.Sequence[str]]
"""Key, operator and values."""


def requirements(selector: t.Mapping[str, t.Any]) -> list[Requirement]:
    """All of which have to hold; without any, a selector selects everything."""
    pairs = (selector.get("matchLabels") or {}).items()
    given = ((e.get("key"), e.get("operator"), e.get("values") or ()) for e in selector.get("matchExpressions") or ())
    return [*((key, "In", (value,)) for key, value in pairs), *given]


def are_selectors(selectors: t.Any) -> bool:
    """Whether istiod takes all of them: NewRequirement, apimachinery/pkg/labels/selector.go in kubernetes/kubernetes."""
    return isinstance(selectors, list) and all(_is_selector(each) for each in selectors)


def _is_selector(selector: t.Any) -> bool:
    if not isinstance(selector, dict):
        return False
    labels, expressions = selector.get("matchLabels") or {}, selector.get("matchExpressions") or []
    if not isinstance(labels, dict) or not isinstance(expressions, list):
        return False
    return all(isinstance(each, dict) for each in expressions) and all(map(_is_requirement, requirements(selector)))


def _is_requirement(requirement: tuple[t.Any, t.Any, t.Any]) -> bool:
    key, operator, values = requirement
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        return False
    if not isinstance(operator, str) or operator not in OPERATORS or not isinstance(values, (list, tuple)):
        return False
    fitting = all(isinstance(value, str) and _VALUE.fullmatch(value) for value in values)
    return fitting and bool(values) == OPERATORS[operator]


def selected(selector: t.Iterable[Requirement], labels: Labels) -> bool:
    """Whether all requirements of a selector hold. A label that is not there is in no list."""
    return all(_holds(key, operator, values, labels) for key, operator, values in selector)


def _holds(key: str, operator: str, values: t.Sequence[str], labels: Labels) -> bool:
    found = labels.get(key) in values if OPERATORS[operator] else key in labels
    return found == (operator in ("In", "Exists"))


EVERYTHING = DiscoverySelectors([])
"""Where none is given."""
