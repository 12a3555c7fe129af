# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""Kubelet probes that fail with a localhost port after the upgrade.

Those that Istio rewrote go to the pod IP from agent 1.10 on, whatever a Sidecar says (istio/istio#36649). Those that it left alone go
through the proxy like any other connection.
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

REWRITTEN_SINCE = {"httpGet": (1, 0), "tcpSocket": (1, 12), "grpc": (1, 13)}
"""Which probes the injector rewrites, by the version it is from: pkg/kube/inject/app_probe.go@1.9.9, 1.12.0, 1.13.0."""

PROBES = {"livenessProbe": "livez", "readinessProbe": "readyz", "startupProbe": "startupz"}
"""Probe fields and the last part of the paths that the injector gives them."""

LEGACY_ENV = "REWRITE_PROBE_LEGACY_LOCALHOST_DESTINATION"


class Probe(t.NamedTuple):
    """A probe as its author wrote it."""

    container: str
    name: str
    kind: str
    port: t.Any
    rewritten: bool


class Failing(t.NamedTuple):
    """A probe that fails, in one pod. `name` is the field of the container; `cause` is of SAID."""

    container: str
    name: str
    port: int
    impact: str
    cause: str

    @property
    def sidecar_helps(self) -> bool:
        return self.cause == "proxy"

    @property
    def reason(self) -> str:
        return f"The {self.name} of container {self.container} asks port {self.port} {SAID[self.cause]}."


AGENT = "with or without a Sidecar, because the Istio agent sends it to the pod IP"
SAID = {
    "agent": f"and fails already, {AGENT}",
    "next_agent": f"and will fail once the pod is injected again, {AGENT}",
    "proxy": "through the proxy: it fails with the port, and a Sidecar that cures the port cures it",
    "bind": "through the proxy: it fails with the port, and in its namespace a Sidecar has no effect, or may have none",
}
"""Who has the probe fail: the agent that the pod has, the one that it gets, or the proxy, with a Sidecar or without."""


def failing_probes(pod: Pod, port: int, after: ControlPlane, impact: str | None, answered: bool) -> list[Failing]:
    """The probes of `port` that fail now, or will once `after` serves and injects the pod.

    `impact` is that of the finding on the port, None where its connections arrive after the upgrade: then so do probes that are not rewritten.
    `answered` is whether a listener accepts at the pod IP: then probes that are rewritten succeed.
    """
    proxy = proxy_container(pod)
    if not proxy or not has_sidecar(pod):
        return []
    agent = proxy_version(pod, proxy)
    env = {e.get("name"): e.get("value") for e in proxy.get("env") or ()}
    fails_already = agent is not None and agent >= (1, 10) and not go_true(env.get(LEGACY_ENV))
    next_agent = None if after.probes_localhost else after.version
    refused = go_false((pod.annotations.get("sidecar.istio.io/rewriteAppHTTPProbers") or "").strip())
    found = []
    for probe in _probes(pod, as_object(env.get(PROBERS_ENV))):
        if probe.port != port:
            continue
        since = REWRITTEN_SINCE[probe.kind]
        # One that this injector would have rewritten and did not is one that the next will leave alone, too.
        left_alone = not probe.rewritten and (refused or since < (1, 10) or (agent is not None and agent >= since))
        said: tuple[str, str] | None = None
        if probe.rewritten and fails_already:
            said = None if answered else ("unreachable", "agent")
        elif not left_alone:
            if next_agent is not None and next_agent >= since and not answered:
                today = "unknown" if probe.rewritten and agent is None else "breaks_on_upgrade"
                said = today, "next_agent"
        elif probe.kind != "tcpSocket" and impact:  # the proxy accepts every TCP connection, so that kind never fails
            said = impact, "proxy"
        if said:
            found.append(Failing(probe.container, probe.name, port, *said))
    return found


@once_per_template
def probed_ports(pod: Template) -> set[int]:
    """The ports that the probes of a pod with a sidecar ask."""
    proxy = proxy_container(pod)
    if not proxy or not has_sidecar(pod):
        return set()
    env = {e.get("name"): e.get("value") for e in proxy.get("env") or ()}
    ports = (probe.port for probe in _probes(pod, as_object(env.get(PROBERS_ENV))))
    return {port for port in ports if isinstance(port, int) and not isinstance(port, bool) and 0 < port < 65536}


def _probes(pod: Pod | Template, kept: dict[str, t.Any]) -> t.Iterator[Probe]:
    """The probes of the pod's own containers, from what the injector kept of the rewritten ones, else from the pod."""
    for container in pod.containers:
        if container["name"] == "istio-proxy":
            continue
        for name, path in PROBES.items():
            rewritten = kept.get(f"/app-health/{container['name']}/{path}")
            handler = rewritten or container.get(name)
            for kind in REWRITTEN_SINCE:
                asked = handler.get(kind) if isinstance(handler, dict) else None
                if isinstance(asked, dict) and (
                    rewritten or not asked.get("host")
                ):  # another host is not this pod; the agent reads none
                    yield Probe(container["name"], name, kind, _port(container, asked.get("port")), bool(rewritten))


def _port(container: Thing, port: t.Any) -> t.Any:
    """A probe's port as a number; a name is one of the container's own ports."""
    if not isinstance(port, str):
        return port
    if port.isdecimal() and len(port) <= 5:
        return int(port)
    return next((p["containerPort"] for p in container.get("ports") or () if p.get("name") == port), None)
