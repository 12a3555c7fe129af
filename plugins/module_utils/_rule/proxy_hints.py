# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""Hints about proxies: those that said something else than the rule expects, and those that said nothing."""

from __future__ import annotations

import typing as t
from collections import Counter, defaultdict

from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.proxies import SILENCE, Silent
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.records import Group

NAMED = 3
"""Workloads that a hint names."""


def contradictions(groups: t.Iterable[Group]) -> list[str]:
    """One line for each pair of what was expected and what proxies said: the alarm for a wrong rule."""
    found: dict[tuple[str, str], dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for group in groups:
        where = f"{group.workload.namespace}/{group.workload.kind}/{group.workload.name}"
        for seen in group.seen:
            today = seen.judged.today
            if today.instead_of:
                found[str(today.instead_of), today.why][f"{where} port {seen.port}"].update(seen.pods)
    return [_contradiction(expected, said, of) for (expected, said), of in sorted(found.items())]


def _contradiction(expected: str, said: str, of: t.Mapping[str, set[str]]) -> str:
    pods = sum(map(len, of.values()))
    names = ", ".join(sorted(of)[:NAMED]) + (f" and {len(of) - NAMED} more" if len(of) > NAMED else "")
    return (
        f"Expected for {names} ({pods} pod{'s'[: pods != 1]}): {expected}. Found: {said}. What the proxy says counts for today. "
        "An EnvoyFilter, another istiod or an old configuration may be why; if none is, please report it."
    )


def silences(silent: t.Sequence[Silent], source: str) -> list[str]:
    """One line for all proxies that were asked and did not say how they deliver."""
    if not silent:
        return []
    reasons = Counter(each.reason for each in silent)
    counts = ", ".join(f"{count} because {SILENCE.get(reason, reason)}" for reason, count in sorted(reasons.items()))
    first = min(silent)
    said = f" The first is {'/'.join(first.pod)}: {first.detail.rstrip('.')}." if first.detail else ""
    then = "is unknown" if source == "proxy" else "rests on versions and settings"
    one = len(silent) == 1
    return [
        f"{len(silent)} prox{'y' if one else 'ies'} did not say how {'it delivers' if one else 'they deliver'} ({counts}), "
        f"so what is said of today in {'its pod' if one else 'their pods'} {then}.{said}"
    ]
