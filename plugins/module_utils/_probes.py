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

from ansible_collections.meshops.istio_precheck.plugins.module_utils._exposure import Thing, running_containers
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh import (
    ControlPlane,
    has_sidecar,
    proxy_container,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._notation import (
    as_object,
    as_version,
    go_false,
    go_true,
    image_tag,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._shapes import PROBERS_ENV

REWRITTEN_SINCE = {"httpGet": (1, 0), "tcpSocket": (1, 12), "grpc": (1, 13)}
"""Which probes the injector rewrites, by the version it is from: pkg/kube/inject/app_probe.go@1.9.9, 1.12.0, 1.13.0."""

PROBES = {"livenessProbe": "livez", "readinessProbe": "readyz", "startupProbe": "startupz"}
"""Probe fields and the last part of the paths that the injector gives them."""

LEGACY_ENV = "REWRITE_PROBE_LEGACY_LOCALHOST_DESTINATION"

IN_SPITE = "with or without a Sidecar"


class Probe(t.NamedTuple):
    """A probe as its author wrote it."""

    container: str
    name: str
    kind: str
    port: t.Any
    rewritten: bool


def probe_notes(pod: Thing, port: int, after: ControlPlane, cured: bool) -> list[str]:
    """A sentence for each probe of `port`, which listens on localhost only, that fails now or will once `after` serves and injects the pod.

    `cured` is whether a Sidecar or the mesh delivers the port to localhost: it helps the probes that are not rewritten.
    """
    proxy = proxy_container(pod)
    if not proxy or not has_sidecar(pod):
        return []
    agent = as_version(image_tag(proxy.get("image")))
    env = {e.get("name"): e.get("value") for e in proxy.get("env") or ()}
    fails_already = agent is not None and agent >= (1, 10) and not go_true(env.get(LEGACY_ENV))
    next_agent = None if after.probes_localhost else after.version
    refused = go_false(
        ((pod["metadata"].get("annotations") or {}).get("sidecar.istio.io/rewriteAppHTTPProbers") or "").strip()
    )
    notes = []
    for probe in _probes(pod, as_object(env.get(PROBERS_ENV))):
        if probe.port != port:
            continue
        what = f"The {probe.name} of container {probe.container} asks port {port}"
        agent_asks = f"{IN_SPITE}, because the Istio agent sends it to the pod IP"
        since = REWRITTEN_SINCE[probe.kind]
        # One that this injector would have rewritten and did not is one that the next will leave alone, too.
        left_alone = not probe.rewritten and (refused or since < (1, 10) or (agent is not None and agent >= since))
        if probe.rewritten and fails_already:
            notes.append(f"{what} and fails already, {agent_asks}.")
        elif not left_alone:
            if next_agent is not None and next_agent >= since:
                notes.append(f"{what} and will fail once the pod is injected again, {agent_asks}.")
        elif (
            probe.kind != "tcpSocket" and not cured
        ):  # the proxy accepts every TCP connection, so that kind never fails
            notes.append(
                f"{what} through the proxy: it fails with the port, and a Sidecar that cures the port cures it."
            )
    return notes


def in_spite_of_sidecar(note: str) -> bool:
    """Whether the note is of a probe that no Sidecar cures."""
    return IN_SPITE in note


def _probes(pod: Thing, kept: dict[str, t.Any]) -> t.Iterator[Probe]:
    """The probes of the pod's own containers, from what the injector kept of the rewritten ones, else from the pod."""
    for container in running_containers(pod):
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
