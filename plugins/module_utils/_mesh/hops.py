# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""The minor versions between today's and the target: an upgrade in place goes through each, and what works before and after may not work there."""

from __future__ import annotations

import itertools
import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.control_plane import ControlPlane
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.istio_values import (
    SERVICE_MESH,
    Version,
    dotted,
)

NEWEST_PATCH = 1 << 20
"""Of a version on the way. Whoever stops there takes its newest release, in which what its first ones got wrong is fixed."""

PROBES_SINCE: tuple[Version, ...] = ((1, 12), (1, 13), (1, 25))
"""Injectors that rewrite more probes or hooks than those before."""


class Span(t.NamedTuple):
    """Minor versions one after the other."""

    first: Version
    last: Version

    def __str__(self) -> str:
        return (
            f"at {dotted(self.first)}"
            if self.first == self.last
            else f"from {dotted(self.first)} to {dotted(self.last)}"
        )


class Stretch(t.NamedTuple):
    """Versions on the way in which all that can get worse and better again is the same, and the control plane in them."""

    span: Span
    plane: ControlPlane


def stretches(today: ControlPlane, after: ControlPlane) -> tuple[Stretch, ...]:
    """Those between `today` and `after`, which is the same revision upgraded in place, settings kept; without those that are like either.

    What a Sidecar's endpoint, bind or protocol means changes once, and for good: there a version on the way says what today's or the target says.
    """
    if not today.version or not after.version or after.assumed:
        return ()
    like = {_decides(today), _decides(after)}
    way = [after._replace(version=(*minor, NEWEST_PATCH)) for minor in _between(today, after.version)]
    found = []
    for (decides, _probes), planes in itertools.groupby(way, key=lambda plane: (_decides(plane), _rewriting(plane))):
        here = list(planes)
        if decides not in like:
            span = Span(*((plane.version or ())[:2] for plane in (here[0], here[-1])))
            found.append(Stretch(span, here[0]))
    return tuple(found)


def spans(those: t.Iterable[Span]) -> list[Span]:
    """The same versions, those that follow each other as one. `those` are in order."""
    found: list[Span] = []
    for span in those:
        if found and span.first[:1] == found[-1].last[:1] and span.first[1] == found[-1].last[1] + 1:
            found[-1] = Span(found[-1].first, span.last)
        else:
            found.append(span)
    return found


def said(those: t.Sequence[Span]) -> str:
    return " and ".join(map(str, those))


def _between(today: ControlPlane, target: Version) -> list[Version]:
    """The minor versions after today's and before the target: those that OpenShift Service Mesh has, where it is one, else all."""
    now = (today.version or ())[:2]
    if len(now) < 2 or len(target) < 2:
        return []
    every = sorted(SERVICE_MESH.values()) if today.service_mesh else [(now[0], n) for n in range(now[1] + 1, target[1])]
    return [minor for minor in every if now < minor < target[:2]]


def _decides(plane: ControlPlane) -> tuple[str, bool, bool, bool]:
    """What may get worse and better again: where ports go by default, and unlisted ones; which EndpointSlices count there; where probes are sent."""
    kind = plane.default_delivery()
    old = kind == "localhost" and plane.version is not None and plane.version < (1, 24)
    return kind, plane.merges_ingress, old, plane.probes_localhost


def _rewriting(plane: ControlPlane) -> tuple[bool, ...]:
    return tuple(plane.version is not None and plane.version >= since for since in PROBES_SINCE)
