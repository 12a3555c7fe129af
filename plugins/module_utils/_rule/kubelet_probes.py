# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""Kubelet probes and lifecycle hooks that fail after the upgrade: with a localhost port, or because nothing accepts where they are sent then.

Those that Istio rewrote go to the pod IP from agent 1.10 on, whatever a Sidecar says (istio/istio#36649). Those that it left alone go
through the proxy like any other connection. Citations are `path@tag` in istio/istio.
"""

from __future__ import annotations

import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.control_plane import ControlPlane
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.pod import (
    has_sidecar,
    proxy_container,
    proxy_version,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.istio_values import (
    Version,
    as_object,
    go_false,
    go_true,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.kube import (
    Pod,
    Template,
    Thing,
    once_per_template,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.shapes import PROBERS_ENV

REWRITTEN_SINCE: dict[str, Version] = {"httpGet": (1, 0), "tcpSocket": (1, 12), "grpc": (1, 13)}
"""Which probes the injector rewrites, by the version it is from: pkg/kube/inject/app_probe.go@1.9.9, 1.12.0, 1.13.0."""

HOOKS_REWRITTEN_SINCE: Version = (1, 25)
"""Of lifecycle hooks those by httpGet, and no others: pkg/kube/inject/app_probe.go@1.25.0."""

PROBES = {
    "livenessProbe": "/app-health/{}/livez",
    "readinessProbe": "/app-health/{}/readyz",
    "startupProbe": "/app-health/{}/startupz",
}
HOOKS = {"postStart": "/app-lifecycle/{}/poststartz", "preStop": "/app-lifecycle/{}/prestopz"}
"""Probes and hooks by their names in a container, and the paths that the injector gives them there."""

LEGACY_ENV = "REWRITE_PROBE_LEGACY_LOCALHOST_DESTINATION"


class Probe(t.NamedTuple):
    """A probe or hook as its author wrote it. `since` is the injector that first rewrites one like it."""

    container: str
    name: str
    kind: str
    port: t.Any
    rewritten: bool
    since: Version


class Failing(t.NamedTuple):
    """A probe or hook that fails, in one pod. `name` is its name in the container; `cause` is of SAID."""

    container: str
    name: str
    port: int
    impact: str
    cause: str
    when: str = ""
    """At which versions on the way to the target, if it fails at these alone."""

    @property
    def sidecar_helps(self) -> bool:
        return self.cause == "proxy"

    @property
    def reason(self) -> str:
        what = f"{self.name} hook" if self.name in HOOKS else self.name
        told = f"The {what} of container {self.container} asks port {self.port} {SAID[self.cause]}."
        when = f" It is so on the way to the target version, {self.when}." if self.when else ""
        return f"{told}{when}{ENDS.get(self.name, '')}"


TAKEN = "through the proxy, which accepts it whatever listens"
ASKED = "the Istio agent asks the program itself, and nothing accepts there. If the program had only not started yet, check again"


def _by_agent(asks: str) -> dict[str, str]:
    """What to say of probes that go to an agent, which asks there."""
    agent = f"with or without a Sidecar, because the Istio agent sends it to {asks}"
    return {
        "agent": f"and fails already, {agent}",
        "next_agent": f"and will fail once the pod is injected again, {agent}",
        "perhaps": "through the proxy, and may fail once the pod is injected again, with or without a Sidecar: its injector has not rewritten it, but the "
        f"next one may, and then the Istio agent sends it to {asks}",
        "both": f"and fails already, with the port; once the pod is injected again it will fail {agent}",
    }


SAID = {
    **_by_agent("the pod IP"),
    **{f"{cause}_localhost": said for cause, said in _by_agent("localhost").items()},
    "proxy": "through the proxy: it fails with the port, and a Sidecar that fixes the port fixes it",
    "bind": "through the proxy: it fails with the port, and in its namespace a Sidecar has no effect, or may have none",
    "asked": f"{TAKEN}, and will fail once the pod is injected again, with or without a Sidecar: {ASKED}",
    "perhaps_asked": f"{TAKEN}, and may fail once the pod is injected again, with or without a Sidecar: its injector has not rewritten it, but the "
    f"next one may, and then {ASKED}",
}
"""Who has the probe fail: the agent that the pod has, the one that it gets, that one perhaps, today the proxy and then that agent, or the proxy; and,
where nothing has the port, the agent that the pod gets, for certain or perhaps."""

ENDS = {"postStart": " The kubelet kills a container whose postStart hook fails."}


class _Shown(t.NamedTuple):
    """What a pod with a sidecar shows of its probes. `asks_pod_ip` is whether its agent sends rewritten ones to the pod IP, None where nobody knows;
    `asked_for` what its annotation says of rewriting, None for nothing."""

    probes: tuple[Probe, ...]
    agent: Version | None
    asks_pod_ip: bool | None
    asked_for: bool | None

    def will_be_rewritten(self, probe: Probe, after: ControlPlane, rewriting: bool | None) -> bool | None:
        """Whether the injector of `after` rewrites it, given whether that one's values say so; None where nobody knows.

        Of one that today's injector would have rewritten and did not, nothing says that the next one will not: that was decided by settings of its own.
        """
        if probe.rewritten:
            return True
        if _too_old(after.version, probe.since) or (rewriting if self.asked_for is None else self.asked_for) is False:
            return False
        passed_over = probe.since < (1, 10) or (self.agent is not None and self.agent >= probe.since)
        return None if passed_over else True


@once_per_template
def _shown(pod: Template) -> _Shown | None:
    """None for a pod without a sidecar: nobody rewrites its probes, and no proxy takes them."""
    proxy = proxy_container(pod)
    if not proxy or not has_sidecar(pod):
        return None
    agent = proxy_version(pod, proxy)
    env = {e.get("name"): e.get("value") for e in proxy.get("env") or ()}
    local = go_true(env.get(LEGACY_ENV))
    said = (pod.annotations.get("sidecar.istio.io/rewriteAppHTTPProbers") or "").strip()
    asked_for = True if go_true(said) else False if go_false(said) else None
    probes = tuple(_probes(pod, as_object(env.get(PROBERS_ENV))))
    return _Shown(probes, agent, None if agent is None else agent >= (1, 10) and not local, asked_for)


class Quiet(t.NamedTuple):
    """What is known of a port where nothing accepts at the pod IP, and which no program keeps to localhost."""

    on_localhost: bool
    """Whether a listener accepts at localhost all the same, over the family that the pod IP is not of."""
    taken: bool
    """Whether the proxy takes the kubelet's connections to it today."""


def failing_probes(
    pod: Pod,
    port: int,
    after: ControlPlane,
    rewriting: bool | None,
    impact: str | None,
    answered: bool,
    reached: bool | None = True,
    quiet: Quiet | None = None,
    on_localhost: bool = True,
) -> list[Failing]:
    """The probes of `port` that fail now, or will once `after` serves and injects the pod. `rewriting` is whether that injector's values have them rewritten.

    `impact` is that of the finding on the port, None where its connections arrive after the upgrade: then so do probes that are not rewritten.
    `answered` is whether a listener accepts at the pod IP, `on_localhost` whether one does at localhost: then probes that are rewritten succeed, as far as
    their agent asks there, which that of an injector with LOCALHOST does at localhost. `reached` is whether the proxy reaches a
    listener today, None where that is not known: so do probes that are not rewritten. With `quiet`, those alone count that succeed today all the same.
    """
    shown = _shown(pod)
    if not shown:
        return []
    if quiet:
        return [
            each
            for probe in shown.probes
            if probe.port == port
            for each in _quiet(probe, shown, after, rewriting, reached, quiet)
        ]
    meets = on_localhost if after.probes_localhost else answered or after.version is None
    found = []
    for probe in shown.probes:
        if probe.port != port:
            continue
        said: tuple[str, str] | None = None
        if probe.rewritten and shown.asks_pod_ip:
            said = ("unreachable", "agent") if not answered else None if meets else ("breaks_on_upgrade", "next_agent")
        else:
            will = shown.will_be_rewritten(probe, after, rewriting)
            through = impact if probe.kind != "tcpSocket" else None  # the proxy accepts every TCP connection
            stays = after.probes_localhost and probe.rewritten and shown.asks_pod_ip is False
            if will is not False and not meets and not stays:
                said = _once_moved(probe, shown, impact, reached) if will else _perhaps_moved(probe, through, reached)
            if not will and not said and through:
                said = through, "proxy"
        if said:
            found.append(Failing(probe.container, probe.name, port, said[0], _where(said[1], after)))
    return found


def _where(cause: str, after: ControlPlane) -> str:
    """The cause, with where the agent that the pod gets asks."""
    return f"{cause}_localhost" if after.probes_localhost and cause in ("next_agent", "perhaps", "both") else cause


def _too_old(version: Version | None, since: Version) -> bool:
    return version is not None and version < since


def _once_moved(probe: Probe, shown: _Shown, impact: str | None, reached: bool | None) -> tuple[str, str] | None:
    """What to say of a probe that the next agent will send to the pod IP, where nothing accepts."""
    if probe.rewritten:
        return ("unknown" if shown.agent is None else "breaks_on_upgrade"), "next_agent"
    if probe.kind == "tcpSocket" or reached:
        return "breaks_on_upgrade", "next_agent"
    if reached is None:
        return "unknown", "next_agent"
    # Of a port that no Service exposes it fails already, and no upgrade has to do with it.
    return ("unreachable", "both") if impact else None


def _perhaps_moved(probe: Probe, through: str | None, reached: bool | None) -> tuple[str, str] | None:
    """The same of one that the next agent may send there, and that fails with this impact as long as it goes through the proxy."""
    works = probe.kind == "tcpSocket" or reached is not False
    return (through or "unknown", "perhaps") if works else None


def _quiet(
    probe: Probe, shown: _Shown, after: ControlPlane, rewriting: bool | None, reached: bool | None, quiet: Quiet
) -> t.Iterator[Failing]:
    """A probe that succeeds today, and fails once `after` injects the pod, since nothing accepts where the next agent asks.

    It succeeds because its agent asks localhost, because the proxy accepts every tcpSocket, or because a Sidecar delivers the port to another one.
    """
    tcp = probe.kind == "tcpSocket"
    if probe.rewritten:
        works = not shown.asks_pod_ip and quiet.on_localhost
    else:
        works = quiet.taken if tcp else reached is not False
    will = shown.will_be_rewritten(probe, after, rewriting)
    if not works or will is False or (after.probes_localhost and quiet.on_localhost):
        return
    certain = will and (shown.agent is not None if probe.rewritten else tcp or reached is not None)
    through_the_proxy = tcp and not probe.rewritten
    cause = ("asked" if will else "perhaps_asked") if through_the_proxy else "next_agent" if will else "perhaps"
    impact = "breaks_on_upgrade" if certain else "unknown"
    yield Failing(probe.container, probe.name, probe.port, impact, _where(cause, after))


@once_per_template
def probed_ports(pod: Template) -> set[int]:
    """The ports that the probes and hooks of a pod with a sidecar ask."""
    shown = _shown(pod)
    return {probe.port for probe in shown.probes if _is_port(probe.port)} if shown else set()


class AtRisk(t.NamedTuple):
    """Ports that no Service needs to expose for an upgrade to have a probe fail; `listed` those for which a Sidecar has to list the port, `localhost` those
    for which some injector has to have probes go to localhost."""

    always: frozenset[int]
    listed: frozenset[int]
    localhost: frozenset[int]


@once_per_template
def at_risk(pod: Template) -> AtRisk:
    """The ports whose probes or hooks go elsewhere once the pod is injected again: from localhost, or from the proxy, to the pod IP, or to localhost.

    The proxy passes a port that neither a Service nor a Sidecar names through to the pod IP, so there only a tcpSocket probe gets worse, which
    the proxy accepts by itself.
    """
    shown = _shown(pod)
    always: set[int] = set()
    listed: set[int] = set()
    localhost: set[int] = set()
    for probe in shown.probes if shown else ():
        if not shown or not _is_port(probe.port) or (not probe.rewritten and shown.asked_for is False):
            continue
        localhost.add(probe.port)
        if not (probe.rewritten and shown.asks_pod_ip):
            (always if probe.rewritten or probe.kind == "tcpSocket" else listed).add(probe.port)
    return AtRisk(frozenset(always), frozenset(listed), frozenset(localhost))


def _is_port(port: t.Any) -> bool:
    return isinstance(port, int) and not isinstance(port, bool) and 0 < port < 65536


def _probes(pod: Pod | Template, kept: dict[str, t.Any]) -> t.Iterator[Probe]:
    """The probes and hooks of the pod's own containers, from what the injector kept of the rewritten ones, else from the pod."""
    for container in pod.containers:
        if container["name"] == "istio-proxy":
            continue
        for name, path in (*PROBES.items(), *HOOKS.items()):
            rewritten = kept.get(path.format(container["name"]))
            handler = rewritten or (container.get("lifecycle") or {} if name in HOOKS else container).get(name)
            for kind, since in {"httpGet": HOOKS_REWRITTEN_SINCE}.items() if name in HOOKS else REWRITTEN_SINCE.items():
                asked = handler.get(kind) if isinstance(handler, dict) else None
                if isinstance(asked, dict) and (
                    rewritten or not asked.get("host")
                ):  # another host is not this pod; the agent reads none
                    port = _port(container, asked.get("port"))
                    yield Probe(container["name"], name, kind, port, bool(rewritten), since)


def _port(container: Thing, port: t.Any) -> t.Any:
    """A probe's port as a number; a name is one of the container's own ports."""
    if not isinstance(port, str):
        return port
    if port.isdecimal() and len(port) <= 5:
        return int(port)
    return next((p["containerPort"] for p in container.get("ports") or () if p.get("name") == port), None)
