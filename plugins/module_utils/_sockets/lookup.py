# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""The kernel's listener lookup as a pure function: would a TCP connection to this address find a listener?

``tests/kernel/test_oracle.py`` holds it against what a real kernel does.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from functools import lru_cache

from ansible_collections.meshops.istio_precheck.plugins.module_utils._sockets.parse import Listener

_V4_ANY = (4, 0)
_V4_LOOPBACK = (4, 0x7F000001)
_V6_ANY = (6, 0)
_V6_LOOPBACK = (6, 1)


@lru_cache(maxsize=8192)
def _number(address: str) -> tuple[bool, int, int]:
    """Return (IPv4-mapped?, 4 or 6, the address as an integer), a mapped address as the IPv4 one it stands for. Raises ValueError."""
    parsed = ipaddress.ip_address(address.partition("%")[0] if ":" in address else address)
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        return True, 4, int(parsed.ipv4_mapped)
    return False, parsed.version, int(parsed)


def is_loopback(address: str) -> bool:
    """Return whether the address can only be reached from inside the pod: 127.0.0.0/8 (RFC 1122 section 3.2.1.3), ::1 (RFC 4291 section 2.5.3), or
    the IPv4-mapped form of the former (RFC 4291 section 2.5.5.2).

    :raises ValueError: not an IP address.
    """
    _mapped, version, number = _number(address)
    return number >> 24 == 127 if version == 4 else number == 1


def is_wildcard(address: str) -> bool:
    """Return whether a socket bound to the address takes connections to any address of its family: 0.0.0.0 (ip(7)), :: (ipv6(7)), ::ffff:0.0.0.0.

    :raises ValueError: not an IP address.
    """
    return _number(address)[2] == 0


def accepts(listeners: Iterable[Listener], port: int, destination: str, *, interface: str | None = None) -> bool | None:
    """Return whether a TCP connection to destination:port finds a listener. None: these listeners do not tell.

    The kernel looks for a listener bound to exactly the destination and then for one bound to the wildcard (__inet_lookup_listener in
    net/ipv4/inet_hashtables.c, inet6_lookup_listener in net/ipv6/inet6_hashtables.c; which of several wins does not matter here). A candidate
    is one that passes compute_score in these files:

    * Over IPv4, an IPv4 socket, or an IPv6 socket without IPV6_V6ONLY, whose IPv4 address is the destination or 0.0.0.0. The IPv4 address of an
      IPv6 socket is 0.0.0.0 for ``::``, and the embedded one for an IPv4-mapped address, ``::ffff:0.0.0.0`` included (__inet6_bind in
      net/ipv6/af_inet6.c; ipv6(7), "IPv4 and IPv6 interaction"). A socket bound to any other IPv6 address is always v6only.
    * Over IPv6, an IPv6 socket whose IPv6 address is the destination or ``::``. An IPv4-mapped one is neither.
    * A socket bound to an interface (SO_BINDTODEVICE, socket(7)), only if that one holds the destination (inet_sk_bound_dev_eq). This is so for
      connections from inside the pod too: they pass lo, but count as arriving on the interface of the address they dialled.

    All of 127.0.0.0/8 is local, but each of its addresses is its own: a listener on 127.0.0.2 is not found at 127.0.0.1.

    None has two causes. A ``::`` with unknown v6only (procnet, netstat) is the only candidate for an IPv4 destination. Nothing else in such a table
    settles it: SO_REUSEPORT lets 127.0.0.1:P exist next to a dual-stack :::P, so the presence of an IPv4 listener proves nothing. Or the only
    candidate is bound to an interface other than lo, and the interface of a destination that is not loopback was not given.

    Not looked at: network policies, a full backlog, BPF programs that steer the lookup, VRFs.

    :param listeners: the listeners of the pod's network namespace. procnet and netstat do not show a socket's interface, it is then taken as unbound.
    :param port: destination port.
    :param destination: an IP address of the pod, or one that is dialled inside the pod (127.0.0.1, ::1). ``::ffff:a.b.c.d`` is IPv4 to the kernel. An
        unspecified address means loopback, as connect(2) takes it on Linux. A zone (``%eth0``) is ignored.
    :param interface: the interface that holds destination. Without it: lo for loopback, for any other an unknown one that is not lo.
    :raises ValueError: destination, or a listener's address, is not an IP address.
    """
    _mapped, version, number = _number(destination)
    wanted = (version, number)
    if wanted == _V4_ANY:
        wanted = _V4_LOOPBACK
    elif wanted == _V6_ANY:
        wanted = _V6_LOOPBACK
    if interface is None and (wanted == _V6_LOOPBACK or (wanted[0] == 4 and wanted[1] >> 24 == 127)):
        interface = "lo"

    unknown = False
    for listener in listeners:
        if listener.port != port:
            continue
        answer = _serves(listener, wanted)
        if answer is False:
            continue
        if listener.interface is not None and listener.interface != interface:
            if interface is not None or listener.interface == "lo":
                continue
            answer = None
        if answer:
            return True
        unknown = True
    return None if unknown else False


def _serves(listener: Listener, wanted: tuple[int, int]) -> bool | None:
    _mapped, version, number = _number(listener.address)
    if (version, number) == wanted:
        return True
    if number:
        return False
    if version == 4:  # 0.0.0.0 or ::ffff:0.0.0.0
        return wanted[0] == 4
    if wanted[0] == 6:
        return True
    return None if listener.v6only is None else not listener.v6only
