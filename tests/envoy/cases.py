# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One workload and its mesh, twice: as the collection sees it, in a snapshot, and as it is, behind an Envoy.

The collection is asked through `evaluate` alone. What its verdict should be follows from who answered, and from nothing else that it knows.
"""

from __future__ import annotations

import ipaddress
import typing as t
from unittest import mock

from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule import pods as _pods
from ansible_collections.meshops.istio_precheck.tests.envoy.inbound import (
    Entry,
    Inbound,
    Settings,
    Version,
    inbound,
    is_6,
)
from ansible_collections.meshops.istio_precheck.tests.envoy.pods import Answer, Kind, Question
from ansible_collections.meshops.istio_precheck.tests.helpers import cluster

Answers = t.Mapping[Question, Answer | None]

WORST = ("breaks_on_upgrade", "unknown", "unreachable", "not_listening", "remediated", "ok")


class Plane(t.NamedTuple):
    """An istiod."""

    version: Version
    settings: Settings

    def __str__(self) -> str:
        said = [name for name, value in zip(Settings._fields, self.settings) if value]
        return " ".join([".".join(map(str, self.version)), *said])


class Case(t.NamedTuple):
    """A workload of one pod whose ports, `block`, no other case of the same pod has."""

    kind: Kind
    today: Plane
    after: Plane
    canary: bool
    """Whether that of after runs already, beside today's; else it is today's, upgraded."""
    sidecar: str
    """`selector`, `default` for all of the namespace, or empty for none."""
    ingress: tuple[Entry, ...]
    exposed: t.Mapping[int, tuple[str, ...]]
    """The ports that Services expose, and the families of each Service; none where it does not say."""
    block: range
    excluded: frozenset[int]
    """Ports that go past the proxy."""
    proxy: bool
    """Whether the pod has one."""
    binds: tuple[str, ...]

    def __str__(self) -> str:
        listed = []
        for entry in self.ingress:
            more = [f" {name} {entry[name]}" for name in ("bind", "captureMode") if name in entry]
            listed.append(f"{entry['port']['number']}->{entry.get('defaultEndpoint', 'unset')}{''.join(more)}")
        words = [
            str(self.kind),
            "" if self.proxy else "no proxy",
            f"{self.today} to {self.after}{' (canary)' if self.canary else ''}",
            f"{self.sidecar} Sidecar {', '.join(listed)}" if self.sidecar else "",
            f"excluded {sorted(self.excluded)}" if self.excluded else "",
            f"exposed {dict(self.exposed)}",
            f"binds {' '.join(self.binds)}",
        ]
        return "; ".join(word for word in words if word)

    def planes(self) -> tuple[Plane, Plane]:
        return self.today, self.after

    def asked(self, port: int) -> list[str]:
        """The addresses at which clients ask: of the families of the Service, else the first."""
        families = self.exposed.get(port, ())
        ips = [ip for ip in self.kind.ips if ("IPv6" if is_6(ip) else "IPv4") in families]
        return ips or list(self.kind.ips[:1])

    def questions(self) -> list[Question]:
        """Every port at every address."""
        return [(ip, port) for port in self.block for ip in self.kind.ips]

    def inbound(self, plane: Plane, ingress: t.Sequence[Entry] | None = None) -> Inbound:
        """What that istiod sends, with this ingress instead of that of the Sidecar."""
        if not self.proxy:
            return Inbound((), ())
        entries = self.ingress if ingress is None else ingress
        made = inbound(plane.version, plane.settings, self.kind.ips, self.kind.mode, self.exposed, entries)
        return within(made, self.block)

    def on(self, port: int) -> list[str]:
        return [bind for bind in self.binds if bind.endswith(f":{port}")]

    # --- As the collection sees it ---

    def report(self, sockets: str, sidecars: t.Sequence[t.Any] | None = None) -> dict[str, t.Any]:
        annotations = {"sidecar.istio.io/interceptionMode": self.kind.mode} if self.kind.mode != "REDIRECT" else {}
        if self.excluded:
            annotations["traffic.sidecar.istio.io/excludeInboundPorts"] = ",".join(map(str, sorted(self.excluded)))
        # In mode TPROXY pods.py has the rules of an istio-init that lets IPv6 arrive; those of older ones are a row of the page.
        injected = ".".join(
            map(str, max(self.today.version, (1, 12)) if self.kind.mode == "TPROXY" else self.today.version)
        )
        pod = cluster.pod(
            ips=self.kind.ips,
            proxy=injected if self.proxy else None,
            annotations=annotations,
            env=self.env(),
        )
        services = [
            cluster.service(f"s{port}", ports=[cluster.port(80, port)], families=families)
            for port, families in self.exposed.items()
        ]
        istiods = [istiod(self.today)] + ([istiod(self.after, "canary")] if self.canary else [])
        ours = {bind.rpartition(":")[2] for bind in self.binds if not bind.startswith("unix:")} | {"15006"}
        table = [line for line in sockets.splitlines() if line.split()[3].rpartition(":")[2] in ours]
        # Envoy is fed today's configuration and that of after, so what lies between the two is left to the truth tables.
        with mock.patch.object(_pods, "stretches", lambda *_planes: ()):
            return cluster.report(
                pods=[pod],
                services=services,
                istiods=istiods,
                sidecars=self.sidecars() if sidecars is None else sidecars,
                tables=[cluster.table(text="".join(f"{line}\n" for line in table))],
                target=".".join(map(str, self.after.version)),
                scope="all",
                remediate_unreachable=True,
            )

    def env(self) -> dict[str, str]:
        """Of the proxy."""
        return {"ISTIO_DUAL_STACK": "true"} if self.kind.dual else {}

    def sidecars(self) -> list[t.Any]:
        if not self.sidecar:
            return []
        selector = {"app": "web"} if self.sidecar == "selector" else None
        made = cluster.sidecar(selector=selector, egress=[{"hosts": ["*/*"]}])
        made["spec"]["ingress"] = [dict(entry) for entry in self.ingress]
        return [made]


def istiod(plane: Plane, revision: str = "default") -> t.Any:
    """As it stands in a snapshot."""
    return cluster.istiod(".".join(map(str, plane.version)), revision, *plane.settings)


def within(made: Inbound, block: range) -> Inbound:
    """The part of a configuration that is for these ports, so that others can stand beside it: what is for any port becomes what is for each
    that has no chain of its own, which is how Envoy chooses."""
    listeners = []
    for listener in made.listeners:
        own = [chain for chain in listener.chains if chain.port is not None and (chain.port in block)]
        named = {chain.port for chain in own}
        others = [chain for chain in listener.chains if chain.port is None]
        if listener.redirected:
            own += [chain._replace(port=port) for port in block if port not in named for chain in others]
        else:
            own += others
        listeners.append(listener._replace(chains=tuple(own)))
    return made._replace(listeners=tuple(listeners))


# ---------------------------------------------------------------------------------------------------------------------
# What the verdict should be


def on_lo(bind: str) -> bool:
    """Whether it is bound to the interface lo, where the pod itself asks at any of its addresses."""
    return bind.rpartition(":")[0].endswith("%lo")


def is_local(bind: str) -> bool:
    host = bind.rpartition(":")[0].strip("[]").partition("%")[0]
    if on_lo(bind):
        return True
    if host == "*":
        return False
    address = ipaddress.ip_address(host)
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def wanted(case: Case, port: int, today: Answers, after: Answers, direct: Answers) -> str:
    """docs/verdicts.md, section 3, from what was answered."""
    return min((_at(case, (ip, port), today, after, direct) for ip in case.asked(port)), key=WORST.index)


def _at(case: Case, question: Question, today: Answers, after: Answers, direct: Answers) -> str:
    now, then, past = today[question], after[question], direct[question]
    here = case.on(question[1])
    if then:
        shown = here if then.by.startswith("unix:") else case.on(int(then.by.rpartition(":")[2]))
        others = past is not None and not on_lo(past.by)
        return "remediated" if any(map(is_local, shown)) and not others else "ok"
    if now:
        return "breaks_on_upgrade"
    return "unreachable" if any(map(is_local, here)) else "not_listening"
