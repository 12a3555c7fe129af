# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""The options that shape a Report."""

from __future__ import annotations

import datetime
import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.istio_values import (
    Version,
    as_version,
    dotted,
    numbers,
    of_service_mesh,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.outside import excerpt
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.selection import Selection
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.waivers import Waiver

OLDEST_ISTIOD = (1, 5)
NEWEST_MINOR = 99
"""Above it a number is a slip, as 1.240 for 1.24: with four versions a year no istiod is there for a long time."""


class Options(t.NamedTuple):
    """What shapes a Report beside the snapshot; `today` is the day on which waivers are judged, the only clock there is."""

    today: datetime.date
    selection: Selection = Selection()
    target_version: str | None = None
    waivers: tuple[Waiver, ...] = ()
    sidecar_api_version: str | None = None
    current_version: str | None = None
    delivery_source: str = "auto"
    """Whose word on today's deliveries counts: the proxy's where it said something (`auto`), only the `rule`'s, or only the `proxy`'s."""
    remediate_unreachable: bool = False
    """Whether a Sidecar is planned for a port that is closed today, too, which it would open."""


class OptionError(ValueError):
    """An option value that cannot be understood; the text names the option."""


def target(options: Options, service_mesh: bool = True) -> Version | None:
    """The version upgraded to, of Istio. Raises OptionError if it is none.

    The numbers of an OpenShift Service Mesh count where the cluster shows one; before it is asked it may.
    """
    return _version("target_version", options.target_version, service_mesh)


def current(options: Options, service_mesh: bool = True) -> Version | None:
    """The version that the user states for today. Raises OptionError if it is none."""
    return _version("current_version", options.current_version, service_mesh)


def _version(option: str, text: str | None, service_mesh: bool) -> Version | None:
    if not text:
        return None
    version, mesh, number = as_version(text), of_service_mesh(text), numbers(text)
    if not version and mesh:
        if service_mesh:
            return mesh
        raise OptionError(
            f"{option}: there is no istiod {text}. Service Mesh {text} is Istio {dotted(mesh)}: "
            "give that number, since no label in this cluster shows a Service Mesh"
        )
    if not version and number:
        raise OptionError(f"{option}: there is no istiod {text[:60]}; wanted a version such as 1.24")
    if not version:
        raise OptionError(f"{option}: {excerpt(text)} is no Istio version; wanted one such as 1.24")
    if version < OLDEST_ISTIOD:
        raise OptionError(
            f"{option}: there is no istiod {text}; a version such as 1.20 needs quotes in YAML, where it is the number 1.2"
        )
    if version[1] > NEWEST_MINOR:
        raise OptionError(f"{option}: there is no istiod {dotted(version)}; wanted a version such as 1.24")
    return version
