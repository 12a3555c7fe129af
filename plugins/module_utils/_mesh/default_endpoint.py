# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""Which address a Sidecar's defaultEndpoint means to an istiod.

buildInboundClustersFromSidecar, pilot/pkg/networking/core/v1alpha3/cluster.go@1.9.9 to 1.20.8 in istio/istio.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.istio_values import Version
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.kube import is_ipv6
from ansible_collections.meshops.istio_precheck.plugins.module_utils._sockets.lookup import is_loopback


class Meaning(t.NamedTuple):
    """What the proxy dials: `kind`, `address` and `port` as in a Delivery, and `cause` as one of its causes."""

    kind: str
    address: str | None
    port: int
    cause: str = "sidecar"


def localhost_of(ips: t.Sequence[str]) -> str:
    """`127.0.0.1`, or `::1` in a pod with IPv6 alone: actualLocalHost, pilot/pkg/networking/core/v1alpha3/listener.go@1.9.9."""
    return "::1" if ips and all(is_ipv6(ip) for ip in ips) else "127.0.0.1"


def meaning(endpoint: str, port: int, ips: t.Sequence[str], version: Version | None) -> Meaning:
    """What an entry of `port` with this defaultEndpoint means in a pod with these addresses, to an istiod of this version.

    A host that is none of those which validation lets pass is no host to it, and then the pod is dialled as it was asked for. Until 1.14.4
    an address of IPv6 is not understood: the port has a filter chain and no cluster. Such a Sidecar is let in by the webhook of a newer istiod.
    """
    if endpoint.startswith("unix://"):
        return Meaning("unix", None, port)
    host, _colon, number = endpoint.rpartition(":")
    host = host.strip("[]")
    if not re.fullmatch(r"\d{1,5}", number, re.ASCII):
        return Meaning("pod_ip", None, port)
    v4 = next((ip for ip in ips if not is_ipv6(ip)), None)
    v6 = next((ip for ip in ips if is_ipv6(ip)), None)
    old = version is not None and version < (1, 14, 4)
    if old and ":" in host:
        return Meaning("closed", None, port, "no_cluster")
    if host == "0.0.0.0":
        address = (ips[0] if ips and old else v4) or "127.0.0.1"
    elif host == "::":
        address = v6 or "::1"
    elif host == "::1":
        address = "::1" if v6 and (dials_ipv6_localhost(version) or not v4) else "127.0.0.1"
    elif host == "127.0.0.1" or (not host and version is not None and version < (1, 10)):
        address = localhost_of(ips)
    elif not host and version is None:
        return Meaning("unknown", localhost_of(ips), int(number), "either")
    else:
        return Meaning("pod_ip", None, port, "no_endpoint")
    return Meaning("localhost" if is_loopback(address) else "pod_ip", address, int(number))


def dials_ipv6_localhost(version: Version | None) -> bool:
    """Whether `[::1]` means ::1 in a pod with both families; it was 127.0.0.1 until release note 47412 (1.18.6, 1.19.4, 1.20.0)."""
    return version is not None and (
        version >= (1, 20) or (1, 19, 4) <= version < (1, 20) or (1, 18, 6) <= version < (1, 19)
    )
