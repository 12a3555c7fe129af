# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""Which ports that Services expose an istiod counts among the pod's own, and so gives a listener; the others are passed through.

Citations are `path@tag` in istio/istio.
"""

from __future__ import annotations

import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.istio_values import Version

ALWAYS = ""
BESIDE = "beside"
"""By EndpointSlices of a Service without a selector, in a pod that another Service selects: never. They count only where none does:
GetProxyServiceInstances, pilot/pkg/serviceregistry/kube/controller/controller.go@1.20.8."""
OTHER_ADDRESS = "other_address"
"""By EndpointSlices without the pod's first address: up to 1.23 (endpointslice.go@1.24.0, which compares that one alone)."""
OTHER_NAMESPACE = "other_namespace"
"""By a ServiceEntry of another namespace, which has the pod's address: up to 1.10. istio/istio#33079 leaves those out."""
NATIVE_PORT = "native_port"
"""By the name of a port that only a native sidecar declares: FindPort reads these from 1.28.5, 1.29.1 and 1.30 on (istio/istio#59142)."""
PORT_NAME = "port_name"
"""By the name of a ServiceEntry's port, which is that of a container's port of another number: serviceentry/conversion.go@1.13.4, 1.14.5."""
PORT_NUMBER = "port_number"
"""By that port's number, which an istiod before these takes."""

ALWAYS_ASKED = (ALWAYS, BESIDE, OTHER_ADDRESS, OTHER_NAMESPACE, NATIVE_PORT)
"""In which ways exposed clients of every istiod ask for a port."""


def counts(how: str, version: Version | None) -> bool:
    """Whether an istiod of this version counts a port that is exposed like this. One of unknown version may count any."""
    if how == BESIDE:
        return False
    if version is None or how == ALWAYS:
        return True
    if how == OTHER_ADDRESS:
        return version < (1, 24)
    if how == OTHER_NAMESPACE:
        return version < (1, 11)
    if how == NATIVE_PORT:
        return version >= (1, 30) or (1, 29, 1) <= version < (1, 30) or (1, 28, 5) <= version < (1, 29)
    by_name = version >= (1, 14, 5) or (1, 13, 4) <= version < (1, 14)
    return by_name == (how == PORT_NAME)


def asked(how: str, version: Version | None) -> bool:
    """Whether clients of such an istiod ask for a port that is exposed like this: which of its two ports a ServiceEntry means, it tells them, too."""
    return how in ALWAYS_ASKED or counts(how, version)


def uncounted(ways: t.Iterable[str], version: Version | None) -> str:
    """Why the port is none of the pod's for this istiod, whichever Service exposes it: one of these ways; empty if it is."""
    found = sorted(ways)
    return ALWAYS if any(counts(how, version) for how in found) else next(iter(found), BESIDE)
