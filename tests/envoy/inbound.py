# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an istiod makes of a pod's inbound traffic: a second reading, which knows nothing of the plugins that it is to judge.

test_inbound.py holds it against what istiod's own generator pushed. Citations are `path@tag` in istio/istio. Left out is what a plain TCP
connection does not meet: chains for TLS and for what an inspector finds.
"""

from __future__ import annotations

import typing as t

Version = tuple[int, ...]
Entry = dict[str, t.Any]
"""One of the `ingress` of a Sidecar."""

FORMS = ("127.0.0.1", "[::1]", "", "0.0.0.0", "[::]")
"""The hosts that a defaultEndpoint may have; empty for no defaultEndpoint."""


class Settings(t.NamedTuple):
    """What decides beside the version."""

    opt_out: bool = False
    """PILOT_ENABLE_INBOUND_PASSTHROUGH=false"""
    localhost: bool = False
    """meshConfig.inboundTrafficPolicy.mode: LOCALHOST"""
    merge: bool = False
    """PILOT_ALLOW_SIDECAR_SERVICE_INBOUND_LISTENER_MERGE=true"""
    dual: bool = False
    """ISTIO_DUAL_STACK=true"""


class Cluster(t.NamedTuple):
    """`dials` is empty where it is the original destination, else `ADDRESS:PORT` or `unix:PATH`; `binds` are the addresses that it connects from."""

    name: str
    dials: str
    binds: tuple[str, ...]


class Chain(t.NamedTuple):
    """For connections to this port, or to any, and to an address of one of these, or to any."""

    port: int | None
    prefixes: tuple[str, ...]
    to: str


class Listener(t.NamedTuple):
    name: str
    addresses: tuple[str, ...]
    transparent: bool
    redirected: bool
    """Whether it takes what iptables hands to it, by its original destination."""
    chains: tuple[Chain, ...]


class Inbound(t.NamedTuple):
    clusters: tuple[Cluster, ...]
    listeners: tuple[Listener, ...]


def is_6(address: str) -> bool:
    return ":" in address


def valid(version: Version, entry: Entry) -> bool:
    """Whether this istiod's validation lets the entry pass: ValidateSidecar, validation.go@1.8.6, 1.9.9, 1.10.0, 1.14.4, 1.20.8."""
    endpoint = entry.get("defaultEndpoint") or ""
    if not endpoint:
        return version >= (1, 10)
    if endpoint.startswith("unix://"):
        return True
    host, _colon, number = endpoint.rpartition(":")
    if not number.isdigit():
        return False
    since = {"127.0.0.1": (1, 0), "": (1, 0), "0.0.0.0": (1, 9), "[::1]": (1, 14, 4), "[::]": (1, 14, 4)}
    return host in since and version >= since[host]


def inbound(
    version: Version,
    settings: Settings,
    ips: t.Sequence[str],
    mode: str,
    targets: t.Iterable[int],
    ingress: t.Sequence[Entry],
) -> Inbound:
    """What the proxy of a pod with these addresses, in order, is sent.

    `targets` are the ports that istiod counts among those that Services give the pod, `ingress` that of the Sidecar in effect.
    """
    both = settings.dual and version >= (1, 17) and len({is_6(ip) for ip in ips}) == 2
    clusters = list(_passthrough(version, ips, both))
    chains = [Chain(15006, (), "BlackHoleCluster")]
    chains += [Chain(None, _everything(version, cluster), cluster.name) for cluster in clusters]
    own: list[Listener] = []
    listed = {entry["port"]["number"] for entry in ingress}
    for entry in ingress:
        number = entry["port"]["number"]
        cluster = _of_entry(version, entry, ips, both)
        bound = _binds(version, mode, entry)
        if cluster:
            clusters.append(cluster)
        name = f"inbound|{number}||"
        if bound:
            address = entry.get("bind") or ips[0]
            port = number if version >= (1, 10) else None
            own.append(
                Listener(f"{address}_{number}", (_joined(address, number),), False, False, (Chain(port, (), name),))
            )
        else:
            chains.append(Chain(number, _of_entrys_chain(version, entry, ips), name))
    if mode != "NONE" and (not ingress or settings.merge and version >= (1, 16)):
        for number in dict.fromkeys(targets):
            if number not in listed:
                name = f"inbound|{number}||"
                clusters.append(Cluster(name, *_default(version, settings, number, ips, both)))
                chains.append(Chain(number, (), name))
    wildcards = ["[::]:15006"] if all(map(is_6, ips)) else ["0.0.0.0:15006"]
    if both:
        wildcards = ["0.0.0.0:15006", "[::]:15006"]
    virtual = Listener("virtualInbound", tuple(wildcards), mode == "TPROXY", True, tuple(chains))
    return Inbound(tuple(clusters), tuple(own) if mode == "NONE" and version >= (1, 14) else (*own, virtual))


def _joined(address: str, port: int) -> str:
    return f"[{address}]:{port}" if is_6(address) else f"{address}:{port}"


def _sources(ips: t.Sequence[str], both: bool) -> tuple[str, ...]:
    """What Envoy connects from to an address of the pod."""
    return ("127.0.0.6", "::6") if both else ("::6",) if all(map(is_6, ips)) else ("127.0.0.6",)


def _passthrough(version: Version, ips: t.Sequence[str], both: bool) -> t.Iterator[Cluster]:
    """One for each family up to 1.22, one for all from 1.23 on: cluster_builder.go@1.20.8, util.go@1.23.0."""
    families = [
        (name, source)
        for name, source in (("4", "127.0.0.6"), ("6", "::6"))
        if any(is_6(ip) == (name == "6") for ip in ips)
    ]
    if version >= (1, 23):
        yield Cluster("InboundPassthroughCluster", "", tuple(source for _name, source in families))
        return
    for name, source in families:
        yield Cluster(f"InboundPassthroughClusterIpv{name}", "", (source,))


def _everything(version: Version, cluster: Cluster) -> tuple[str, ...]:
    if version >= (1, 23):
        return ()
    return ("::/0",) if cluster.name.endswith("6") else ("0.0.0.0/0",)


def _default(
    version: Version, settings: Settings, port: int, ips: t.Sequence[str], both: bool
) -> tuple[str, tuple[str, ...]]:
    """Where a port goes that no Sidecar names: cluster.go@1.9.9, 1.10.0, 1.20.8, 1.21.0, 1.22.0."""
    localhost = (
        True
        if version < (1, 10)
        else settings.opt_out
        if version < (1, 21)
        else settings.localhost and version >= (1, 22)
    )
    return (_joined(_localhost(ips), port), ()) if localhost else ("", _sources(ips, both))


def _localhost(ips: t.Sequence[str]) -> str:
    return "::1" if all(map(is_6, ips)) else "127.0.0.1"


def _of_entry(version: Version, entry: Entry, ips: t.Sequence[str], both: bool) -> Cluster | None:
    """buildInboundClustersFromSidecar, cluster.go@1.9.9, 1.10.0, 1.14.4, 1.20.8, 1.24.0. None where it makes no cluster."""
    name = f"inbound|{entry['port']['number']}||"
    endpoint = entry.get("defaultEndpoint") or ""
    sources = _sources(ips, both) if version >= (1, 10) else ("127.0.0.6",)
    if endpoint.startswith("unix://"):
        return Cluster(name, f"unix:{endpoint.removeprefix('unix://')}", sources if version >= (1, 10) else ())
    host, _colon, number = endpoint.rpartition(":")
    if not number.isdigit() or (not host and version >= (1, 10)):
        return Cluster(name, "", sources)
    v4 = [ip for ip in ips if not is_6(ip)]
    v6 = [ip for ip in ips if is_6(ip)]
    new = version >= (1, 14, 4)
    if host in ("", "127.0.0.1"):
        address = _localhost(ips)
    elif host == "0.0.0.0":
        address = (v4[0] if v4 else "127.0.0.1") if new else ips[0]
    elif not new:
        return None  # the port's chain leads nowhere
    elif host == "[::]":
        address = v6[0] if v6 else "::1"
    elif host == "[::1]":
        fixed = version >= (1, 20) or (1, 19, 4) <= version < (1, 20) or (1, 18, 6) <= version < (1, 19)
        address = "::1" if v6 and (fixed or not v4) else "127.0.0.1"
    else:
        return Cluster(name, "", sources)
    return Cluster(name, _joined(address, int(number)), () if address in ("127.0.0.1", "::1") else sources)


def _of_entrys_chain(version: Version, entry: Entry, ips: t.Sequence[str]) -> tuple[str, ...]:
    """Up to 1.10 a listed port is matched by one address: amendFilterChainMatchFromInboundListener, listener_builder.go@1.9.9, 1.10.0."""
    if version >= (1, 11):
        return ()
    address = entry.get("bind") or ips[0]
    return (f"{address}/{128 if is_6(address) else 32}",)


def _binds(version: Version, mode: str, entry: Entry) -> bool:
    """Whether Envoy listens on the entry's own address instead of taking what is redirected: getBindToPort, listener.go@1.9.9, 1.20.8."""
    capture = entry.get("captureMode") or "DEFAULT"
    if mode == "NONE":
        return capture != "IPTABLES" or version < (1, 14)
    return capture == "NONE"
