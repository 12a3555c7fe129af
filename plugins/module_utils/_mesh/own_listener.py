# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""What `bind`, `captureMode` and the protocol of a Sidecar's ingress entry make of it: where the proxy takes connections to the port at all.

Citations are `path@tag` in istio/istio.
"""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.istio_values import Version
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.kube import Thing
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.schema import is_address
from ansible_collections.meshops.istio_precheck.plugins.module_utils._sockets.lookup import accepts
from ansible_collections.meshops.istio_precheck.plugins.module_utils._sockets.parse import Listener

WILDCARDS = ("0.0.0.0", "::")


class Own(t.NamedTuple):
    """The one address at which the proxy takes connections to a port."""

    address: str
    port: int
    bound: bool
    """Whether by a socket of its own, which it does not get while a program has the port; else by a filter chain for what is intercepted."""

    def takes(self, asked: str, listeners: t.Sequence[Listener]) -> bool:
        """Whether what asks for the port at this address meets the proxy; the program's `listeners` may keep it from listening."""
        here = asked == self.address or self.address == ("::" if ":" in asked else "0.0.0.0")
        return here and not (self.bound and self._held(listeners))

    def programs(self, listeners: t.Sequence[Listener]) -> list[Listener]:
        """`listeners` without the proxy's socket. One that stands alone is taken for the program's: nobody else is there to be reached."""
        here = (self.address, self.port)
        others = [each for each in listeners if not self.bound or (each.address, each.port) != here]
        return others or list(listeners)

    def _held(self, listeners: t.Sequence[Listener]) -> bool:
        """Whether the kernel does not give the port to the proxy, because the program has it; a socket that may be in the way is."""
        if self.address in WILDCARDS:
            there = [each for each in listeners if each.port == self.port]
            return any((":" in each.address) == (":" in self.address) or _is_both(each) for each in there)
        # An interface keeps two sockets apart only if both have one.
        anywhere = [dataclasses.replace(each, interface=None) for each in listeners]
        return not is_address(self.address) or accepts(anywhere, self.port, self.address) is not False


def _is_both(listener: Listener) -> bool:
    return listener.address == "::" and not listener.v6only


def is_bound(entry: Thing, mode: str, version: Version | None) -> bool:
    """Whether the proxy is to bind the entry's port itself: by its captureMode, else where nothing is intercepted.

    getBindToPort, pilot/pkg/networking/core/v1alpha3/listener_inbound.go@1.14.0. Before, IPTABLES did not keep a proxy of mode NONE from it.
    """
    capture = entry.get("captureMode")
    if capture == "IPTABLES" and mode == "NONE" and version is not None and version < (1, 14):
        return True
    return capture == "NONE" or (mode == "NONE" and capture != "IPTABLES")


def own_listener(entry: Thing, ips: t.Sequence[str], bound: bool, port: int, version: Version | None) -> Own | None:
    """Where the proxy takes connections to the entry's port, None for every address of the pod.

    At the entry's `bind`, else at the pod's first address. Where it binds the port: listener.go@1.9.9, listener_inbound.go@1.20.8. Else up to 1.10 alone,
    as the address that the chain asks for: amendFilterChainMatchFromInboundListener, listener_builder.go@1.9.9, 1.10.0; gone in 1.11.0.
    """
    address = entry.get("bind") or ""
    if bound:
        return Own(address or next(iter(ips), ""), port, True)
    if version is None or version >= (1, 11) or address in WILDCARDS:
        return None
    if address and is_address(address):
        return Own(address, port, False)
    return Own(ips[0], port, False) if len(ips) > 1 else None


def has_no_chain(entry: Thing, version: Version | None) -> bool:
    """Whether the port gets a cluster and no filter chain: one of protocol UDP, up to 1.9 (listener.go@1.9.9)."""
    protocol = entry["port"].get("protocol") or ""
    return protocol.upper() == "UDP" and version is not None and version < (1, 10)
