# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What istiod's own generator pushed for each case, and what an Envoy with that configuration does with a connection.

`fixtures/cases.json.gz` holds the cases: Kubernetes `objects`, Istio's `configs`, the proxy's addresses `ips` in order, its interception `mode`, the
`mesh` configuration. The proxy is pod `app-1` of namespace `ns`. `fixtures/VERSION-ENV.json.gz` holds, by case, the inbound clusters and listeners that
istiod of that version and with that environment pushed, or why its validation refuses the case. Of 1.14.4 there are clusters alone.
Nothing here knows what the rule says.
"""

from __future__ import annotations

import functools
import gzip
import ipaddress
import json
import pathlib
import typing as t

FIXTURES = pathlib.Path(__file__).parent / "fixtures"

Case = dict[str, t.Any]

CONNECTIONS = (
    ("raw_buffer", ""),
    ("raw_buffer", "http/1.1"),
    ("raw_buffer", "h2c"),
    ("tls", "istio"),
    ("tls", "istio-peer-exchange"),
    ("tls", "istio-http/1.1"),
    ("tls", "istio-h2"),
)
"""What other pods send: the transport and the application protocol that Envoy's inspectors find. A TLS of its own is left out: a Sidecar up to 1.9 has no chain
for that which an mTLS port would."""


class Recording(t.NamedTuple):
    """One run of the generator."""

    version: str
    env: str
    by_case: dict[str, dict[str, t.Any]]

    def __str__(self) -> str:
        return f"{self.version}-{self.env}"


class End(t.NamedTuple):
    """Where a connection ends: `kind` is one of Delivery's, or `closed`; `address` and `port` are dialled, empty and 0 where nothing is."""

    kind: str
    address: str = ""
    port: int = 0


CLOSED = End("closed")


def _read(path: pathlib.Path) -> t.Any:
    return json.loads(gzip.decompress(path.read_bytes()))


@functools.cache
def cases() -> dict[str, Case]:
    return {case["name"]: case for case in _read(FIXTURES / "cases.json.gz")}


@functools.cache
def recordings() -> tuple[Recording, ...]:
    """In the order of versions."""
    found = []
    for path in FIXTURES.glob("[0-9]*.json.gz"):
        version, _dash, env = path.name.removesuffix(".json.gz").partition("-")
        found.append(Recording(version, env, _read(path)))
    return tuple(sorted(found, key=lambda each: (tuple(map(int, each.version.split("."))), each.env)))


class Pushed:
    """An Envoy with what istiod pushed for a case, behind the redirection that the pod's mode asks for."""

    def __init__(self, case: Case, record: dict[str, t.Any]) -> None:
        self._mode = case["mode"]
        self._ips = case["ips"]
        self._clusters = {cluster["name"]: cluster for cluster in record["clusters"]}
        self._listeners = record.get("listeners")
        own = any(_own_listener(entry) for config in case["configs"] for entry in config["spec"].get("ingress", ()))
        self.tells = self._listeners is not None or (case["mode"] != "NONE" and not own)
        """Whether clusters alone tell where connections end, where there is nothing else."""

    def tells_of(self, asked: str) -> bool:
        """Whether it is known which connections to this address meet Envoy: listeners tell, where a pod has both families."""
        return self._listeners is not None or ":" not in asked or all(":" in ip for ip in self._ips)

    def ends(self, asked: str, port: int) -> frozenset[End]:
        """Where connections to this address and port end, of all kinds that other pods make: one, unless istiod tells them apart."""
        return frozenset(self._end(asked, port, *connection) for connection in CONNECTIONS)

    def _end(self, asked: str, port: int, transport: str, alpn: str) -> End:
        if self._listeners is None:
            name = f"inbound|{port}||"
            return self._by_cluster(name if name in self._clusters else self._passthrough(asked), asked, port)
        own = next((each for each in self._listeners if _binds(each, asked, port)), None)
        if self._mode == "NONE" or not self._redirected(asked):
            return self._by_listener(own, asked, port, transport, alpn) if own else End("kernel", asked, port)
        virtual = next((each for each in self._listeners if _binds(each, asked, 15006)), None)
        if virtual is None:
            return CLOSED
        end = self._by_listener(virtual, asked, port, transport, alpn)
        # What is passed through to an address that Envoy binds meets it a second time.
        return (
            self._by_listener(own, asked, port, transport, alpn) if own and end == End("pod_ip", asked, port) else end
        )

    def _redirected(self, asked: str) -> bool:
        """istio-init writes rules for IPv6 where the pod's first address is one, or the flag for both families is set, as for istiod; those for IPv4 always."""
        return ":" not in asked or ":" in self._ips[0] or any("additional" in each for each in self._listeners or ())

    def _passthrough(self, asked: str) -> str:
        names = ("InboundPassthroughCluster", f"InboundPassthroughClusterIpv{6 if ':' in asked else 4}")
        return next((name for name in names if name in self._clusters), "")

    def _by_listener(self, listener: dict[str, t.Any], asked: str, port: int, transport: str, alpn: str) -> End:
        chain = _chain(listener["chains"], asked, port, transport, alpn)
        return self._by_cluster(chain["to"], asked, port) if chain else CLOSED

    def _by_cluster(self, name: str, asked: str, port: int) -> End:
        cluster = self._clusters.get(name)
        if cluster is None:
            return CLOSED
        address, number = asked, port
        if cluster["type"] != "ORIGINAL_DST":
            dialled = cluster["endpoints"][0]
            if dialled.startswith("unix:"):
                return End("unix")
            host, _colon, text = dialled.rpartition(":")
            address, number = host.strip("[]"), int(text)
        # Envoy cannot connect from an address of the other family. In TPROXY mode it connects from the client's, whatever this says.
        if (
            self._mode != "TPROXY"
            and cluster.get("bind")
            and not any((":" in bind) == (":" in address) for bind in cluster["bind"])
        ):
            return CLOSED
        kind = "localhost" if ipaddress.ip_address(address).is_loopback else "pod_ip"
        return End(kind, address, number)


def _own_listener(entry: dict[str, t.Any]) -> bool:
    return bool(entry.get("bind") or entry.get("captureMode"))


def _binds(listener: dict[str, t.Any], asked: str, port: int) -> bool:
    for address in (listener["address"], *listener.get("additional", ())):
        host, _colon, number = address.rpartition(":")
        host = host.strip("[]")
        if int(number) == port and host in (asked, "::" if ":" in asked else "0.0.0.0"):
            return True
    return False


def _chain(
    chains: t.Sequence[dict[str, t.Any]], asked: str, port: int, transport: str, alpn: str
) -> dict[str, t.Any] | None:
    """As Envoy chooses: by the port, then the address, the transport and the application protocol; what has a better match has no way back."""
    found = [each for each in chains if each.get("port") == port] or [each for each in chains if "port" not in each]
    longest = max((_prefix(each, asked) for each in found), default=-1)
    found = [each for each in found if longest >= 0 and _prefix(each, asked) == longest]
    found = [each for each in found if each.get("transport") == transport] or [
        each for each in found if "transport" not in each
    ]
    found = [each for each in found if alpn in each.get("alpn", ())] or [each for each in found if "alpn" not in each]
    return found[0] if found else None


def _prefix(chain: dict[str, t.Any], asked: str) -> int:
    """How many bits of the address the chain asks for; -1 if it asks for another."""
    if "prefix" not in chain:
        return 0
    nets = [ipaddress.ip_network("::/0" if text == "::0/0" else text) for text in chain["prefix"]]
    address = ipaddress.ip_address(asked)
    return max((net.prefixlen for net in nets if net.version == address.version and address in net), default=-1)
