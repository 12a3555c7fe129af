# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Workloads by chance, with what is rare drawn more often than it is met."""

from __future__ import annotations

import random
import typing as t

from ansible_collections.meshops.istio_precheck.tests.envoy.cases import Case, Plane
from ansible_collections.meshops.istio_precheck.tests.envoy.inbound import FORMS, Entry, Settings, Version, is_6, valid
from ansible_collections.meshops.istio_precheck.tests.envoy.pods import Kind

PORTS = 6
"""Of a case: three that Services may expose, one that none does, two that a Sidecar may have dialled."""

VERSIONS: tuple[Version, ...] = (
    *((1, 6, 14), (1, 7, 8), (1, 8, 6), (1, 9, 9), (1, 10, 0), (1, 11, 8), (1, 12, 9), (1, 13, 9)),
    *((1, 14, 3), (1, 14, 4), (1, 15, 7), (1, 16, 0), (1, 17, 8), (1, 18, 5), (1, 18, 6), (1, 19, 3), (1, 19, 4)),
    *((1, 20, 0), (1, 20, 8), (1, 21, 6), (1, 22, 0), (1, 23, 0), (1, 24, 3), (1, 25, 0), (1, 26, 0), (1, 27, 0)),
    *((1, 28, 0), (1, 29, 0), (1, 30, 1)),
)
HINGES: tuple[Version, ...] = ((1, 9, 9), (1, 10, 0), (1, 16, 0), (1, 20, 8), (1, 21, 6), (1, 22, 0), (1, 24, 3))
"""Those around which deliveries change."""

BINDS = {
    "127.0.0.1": 8,
    "[::1]": 3,
    "0.0.0.0": 3,
    "*": 3,
    "[::]": 2,
    "ip": 4,
    "127.0.0.2": 1,
    "[::ffff:127.0.0.1]": 1,
    "0.0.0.0%lo": 1,
    "10.0.0.9": 1,
    "": 4,
}


def draw(rng: random.Random, kind: Kind, first: int, folder: str) -> Case:
    block = range(first, first + PORTS)
    today, after, settings = _upgrade(rng, kind)
    canary = rng.random() < 0.12 and after != today
    exposed = {port: _families(rng, kind) for port in rng.sample(block[:3], rng.choice((1, 1, 2, 2, 3)))}
    binds = [bind for port in block for bind in _binds(rng, kind, port)]
    sidecar, ingress = _sidecar(rng, kind, block, (today, after), binds, folder)
    return Case(
        kind,
        Plane(today, settings),
        Plane(after, _settings(rng, kind) if canary else settings),
        canary,
        sidecar,
        tuple(ingress),
        dict(sorted(exposed.items())),
        block,
        frozenset(port for port in block[:4] if rng.random() < 0.08),
        rng.random() > 0.03,
        tuple(binds),
    )


def _upgrade(rng: random.Random, kind: Kind) -> tuple[Version, Version, Settings]:
    """From one version to the same or another, with what is set in both."""
    versions = [version for version in VERSIONS if version >= (1, 17) or not kind.dual]
    hinges = [version for version in HINGES if version in versions]
    settings = _settings(rng, kind)
    if rng.random() < 0.35:  # from one that delivers to localhost to one that does not
        opt_out = kind.dual or rng.random() < 0.5
        today = rng.choice([v for v in versions if (v < (1, 21) if opt_out else v < (1, 10))])
        after = rng.choice([v for v in versions if v >= ((1, 21) if opt_out else (1, 10))])
        return today, after, settings._replace(opt_out=opt_out, localhost=settings.localhost and rng.random() < 0.2)
    today = rng.choice(hinges if rng.random() < 0.5 else versions)
    if rng.random() < 0.07:  # whatever comes, but for a downgrade, which is refused
        return today, max(today, rng.choice(versions)), settings
    return (
        today,
        rng.choice([v for v in (hinges if rng.random() < 0.4 else versions) if v >= today] or [today]),
        settings,
    )


def _settings(rng: random.Random, kind: Kind) -> Settings:
    return Settings(rng.random() < 0.3, rng.random() < 0.35, rng.random() < 0.2, kind.dual)


def _families(rng: random.Random, kind: Kind) -> tuple[str, ...]:
    own = tuple(dict.fromkeys("IPv6" if is_6(ip) else "IPv4" for ip in kind.ips))
    return rng.choice((own, *((each,) for each in own), ()))


def _binds(rng: random.Random, kind: Kind, port: int) -> list[str]:
    hosts: list[str] = []
    for _number in range(rng.choice((1, 1, 1, 2))):
        host = rng.choices(list(BINDS), list(BINDS.values()))[0]
        if host == "ip":
            host = rng.choice(kind.ips)
            host = f"[{host}]" if is_6(host) else host
        # Two sockets of one address would share its connections.
        if (
            host
            and host not in hosts
            and not {host, *hosts} >= {"*", "[::]"}
            and not {host, *hosts} >= {"0.0.0.0", "0.0.0.0%lo"}
        ):
            hosts.append(host)
    return [f"{host}:{port}" for host in hosts]


def _sidecar(
    rng: random.Random, kind: Kind, block: range, versions: t.Sequence[Version], binds: list[str], folder: str
) -> tuple[str, list[Entry]]:
    if rng.random() < 0.5:
        return "", []
    which = rng.choice(("selector", "selector", "default"))
    listed = sorted(rng.sample(block[:4], rng.choice((0, 1, 1, 2, 3))))
    entries = []
    for port in listed:
        entry = _entry(rng, kind, port, block, binds, folder)
        # What one of the istiods refuses may be there all the same, but not by its leave.
        if all(valid(version, entry) for version in versions):
            entries.append(entry)
    return which, entries


def _entry(rng: random.Random, kind: Kind, port: int, block: range, binds: list[str], folder: str) -> Entry:
    entry: Entry = {"port": {"number": port, "protocol": "TCP", "name": f"p{port}"}}
    if rng.random() < 0.1 and kind.mode != "TPROXY":
        entry["captureMode"] = rng.choice(("NONE", "NONE", "IPTABLES", "DEFAULT"))
    if rng.random() < 0.07 and kind.mode != "TPROXY":
        entry["bind"] = rng.choice(("127.0.0.1", "127.0.0.2", *kind.ips))
    number = port if rng.random() < 0.75 else rng.choice(block[4:])
    form = rng.choice((*FORMS, "127.0.0.1", "unix", ":"))
    if form == "unix":
        path = f"{folder}/{port}.sock"
        binds.append(f"unix:{path}")
        return {**entry, "defaultEndpoint": f"unix://{path}"}
    if form:
        entry["defaultEndpoint"] = f":{number}" if form == ":" else f"{form}:{number}"
    return entry
