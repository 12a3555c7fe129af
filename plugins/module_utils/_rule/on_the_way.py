# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""What works today and after the upgrade, but not at a version on the way: a finding like any other, which says at which versions."""

from __future__ import annotations

import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.delivery import Delivery
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.hops import Span, said, spans
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.istio_values import dotted
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.report import DeliveryBetween
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.judge import Verdict
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.kubelet_probes import Failing


class Passage(t.NamedTuple):
    """Versions on the way in which a port is not reached, and how connections to it are delivered there."""

    span: Span
    delivery: Delivery

    def as_dict(self) -> DeliveryBetween:
        return {
            **self.delivery.as_dict(),
            "from_version": dotted(self.span.first),
            "to_version": dotted(self.span.last),
        }


def broken(
    verdict: Verdict, after: Delivery, met: t.Sequence[tuple[Span, Verdict, Delivery, Delivery]]
) -> tuple[Verdict, tuple[Passage, ...]]:
    """The verdict on a port, given what is said of it at each span on the way, with the deliveries of today and there.

    `verdict` and `after` are those of the target, at which it is reached.
    """
    failing = [
        (span, there, today, how)
        for span, there, today, how in met
        if there.outcome == "finding" and there.impact != "unreachable"
    ]
    if not failing:
        return verdict, ()
    _span, first, today, how = failing[0]
    when = said(spans(span for span, *_more in failing))
    on = " and ".join(first.listeners)
    now = (
        f"today {today.known}"
        if first.impact != "unknown"
        else f"how it is delivered today is not known, because {today.why}"
    )
    reason = (
        f"{f'It listens on {on}' if on else 'It is reached'}: {now}, and after the upgrade {after.why}, "
        f"but on the way, {when}, {how.why}, where {_met(first)}."
    )
    passages = _passages([(span, there_how) for span, _there, _today, there_how in failing])
    return first._replace(reason=reason, ends=None), passages


def _met(there: Verdict) -> str:
    return (
        f"{' and '.join(there.moves[1])} accepts, which is another program's" if there.moves[1] else "nothing accepts"
    )


def _passages(those: t.Sequence[tuple[Span, Delivery]]) -> tuple[Passage, ...]:
    """One for each delivery of its own kind, not for each version that has it."""
    found: list[Passage] = []
    for span, how in those:
        last = found[-1] if found else None
        joined = spans([last.span, span]) if last and _alike(last.delivery, how) else []
        if last and len(joined) == 1:
            found[-1] = last._replace(span=joined[0])
        else:
            found.append(Passage(span, how))
    return tuple(found)


def _alike(one: Delivery, other: Delivery) -> bool:
    return (one.kind, one.address, one.port) == (other.kind, other.address, other.port)


def with_those_on_the_way(
    found: t.Sequence[Failing], met: t.Sequence[tuple[Span, t.Sequence[Failing]]]
) -> tuple[Failing, ...]:
    """The failing probes of the target, and after them those that fail on the way alone."""
    known = {(probe.container, probe.name) for probe in found}
    between: dict[tuple[str, str], tuple[Failing, list[Span]]] = {}
    for span, there in met:
        for probe in there:
            name = (probe.container, probe.name)
            if name not in known and probe.impact != "unreachable":
                between.setdefault(name, (probe, []))[1].append(span)
    return (*found, *(probe._replace(when=said(spans(those))) for probe, those in between.values()))
