# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""IPv4 and IPv6: over which a connection meets the proxy of a pod that has both, and over which the proxy reaches what it dials.

Citations are `path@tag` in istio/istio. What Envoy and the kernel do with it, tests/envoy shows.
"""

from __future__ import annotations

import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.istio_values import Version
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.kube import is_ipv6
from ansible_collections.meshops.istio_precheck.plugins.module_utils._sockets.parse import Listener


class Family(t.NamedTuple):
    """A door for connections over one family alone, or, where `v6` is None, for none."""

    v6: bool | None

    def takes(self, asked: str, listeners: t.Sequence[Listener]) -> bool:
        return is_ipv6(asked) == self.v6

    def programs(self, listeners: t.Sequence[Listener]) -> list[Listener]:
        return list(listeners)


class Past(t.NamedTuple):
    """What becomes of connections that do not meet the proxy: `kind` as in a Delivery."""

    kind: str
    certain: bool
    """Whether it is known that they do not."""


def past_the_proxy(ips: t.Sequence[str], redirected: bool | None, dual_stack: bool | None) -> Past | None:
    """What becomes of connections over IPv6 in a pod with these addresses; None where they meet its proxy.

    istio-init redirects IPv6 only where the pod's first address is one, or the pod has ISTIO_DUAL_STACK (`redirected`): getLocalIP,
    tools/istio-iptables/pkg/cmd/root.go@1.9.9, tools/istio-iptables/pkg/config/config.go@1.20.8. What is redirected meets a listener only where istiod has
    that variable (`dual_stack`): without, it makes that of 0.0.0.0:15006 alone in a pod with both families. None stands for what is not known.
    """
    if not any(map(is_ipv6, ips)) or all(map(is_ipv6, ips)):
        return None
    if not redirected and not is_ipv6(ips[0]):
        return Past("kernel", redirected is False or dual_stack is False)
    return None if dual_stack else Past("closed", dual_stack is False)


def has_source_of_ipv6(
    address: str | None, ips: t.Sequence[str], version: Version | None, dual_stack: bool | None
) -> bool | None:
    """Whether Envoy can connect over IPv6 to this address of the pod, None for the one that was asked for: from 127.0.0.6 there is no way. None if unknown.

    istiod gives that source to what a Sidecar names up to 1.9, and later to all in pods with both families: buildInboundClustersFromSidecar,
    pilot/pkg/networking/core/v1alpha3/cluster.go@1.9.9, 1.10.0, cluster_builder.go@1.20.8. With ISTIO_DUAL_STACK there is ::6, too.
    """
    if address is not None and version is not None and version < (1, 10):
        return False
    return all(map(is_ipv6, ips)) or dual_stack
