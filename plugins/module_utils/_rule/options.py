# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""The options that shape a Report."""

from __future__ import annotations

import datetime
import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.istio_values import Version, as_version
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.outside import excerpt
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.selection import Selection
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.waivers import Waiver

OLDEST_ISTIOD = (1, 5)


class Options(t.NamedTuple):
    """What shapes a Report beside the snapshot; `today` is the day on which waivers are judged, the only clock there is."""

    today: datetime.date
    selection: Selection = Selection()
    target_version: str | None = None
    waivers: tuple[Waiver, ...] = ()
    sidecar_api_version: str | None = None
    delivery_source: str = "auto"
    """Whose word on today's deliveries counts: the proxy's where it said something (`auto`), only the `rule`'s, or only the `proxy`'s."""


class OptionError(ValueError):
    """An option value that cannot be understood; the text names the option."""


def target(options: Options) -> Version | None:
    """The version upgraded to. Raises OptionError if it is none."""
    version = as_version(options.target_version)
    if options.target_version and not version:
        raise OptionError(
            f"target_version: {excerpt(options.target_version)} is no Istio version; wanted one such as 1.24"
        )
    if version and version < OLDEST_ISTIOD:
        raise OptionError(
            f"target_version: there is no istiod {options.target_version}; a version such as 1.20 needs quotes in YAML, where it is the number 1.2"
        )
    return version
