# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""The control planes: which one serves a pod, today and after the upgrade, and where it delivers by default.

Citations are `path@tag` in istio/istio.
"""

from __future__ import annotations

import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.pod import revision
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.istio_values import (
    Version,
    as_version,
    go_false,
    go_true,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.kube import Pod, Template
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.shapes import MERGE_ENV, PASSTHROUGH_ENV
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.snapshot import Snapshot


class ControlPlane(t.NamedTuple):
    """What decides how inbound traffic is delivered: istiod's version and settings, never the proxy's version."""

    name: str
    version: Version | None
    env: t.Mapping[str, str]
    mesh_config: t.Mapping[str, t.Any]
    assumed: bool = False
    """Whether no one said which version it is."""
    config_known: bool = True

    @property
    def localhost_policy(self) -> bool:
        """meshConfig.inboundTrafficPolicy.mode LOCALHOST, from 1.22: pilot/pkg/networking/core/cluster.go@1.22.0."""
        policy = self.mesh_config.get("inboundTrafficPolicy")
        return isinstance(policy, dict) and policy.get("mode") == "LOCALHOST"

    @property
    def passthrough_off(self) -> bool:
        return go_false(self.env.get(PASSTHROUGH_ENV))

    @property
    def merges_ingress(self) -> bool:
        """Unlisted ports keep their chains from 1.16 if asked for: pilot/pkg/features/experimental.go@1.16.0."""
        return go_true(self.env.get(MERGE_ENV)) and self.version is not None and self.version >= (1, 16)

    def default_delivery(self) -> str:
        """`localhost`, `pod_ip` or `unknown`: where the proxy connects for a port that no Sidecar mentions.

        Up to 1.9 localhost; 1.10 to 1.20 the pod IP unless PILOT_ENABLE_INBOUND_PASSTHROUGH=false; 1.21 the pod IP; from 1.22 the
        pod IP unless inboundTrafficPolicy.mode is LOCALHOST (cluster.go@1.9.9, 1.10.0, 1.20.8, 1.21.0, 1.22.0).
        """
        if self.version is None:
            return "unknown"
        if self.version < (1, 10):
            return "localhost"
        if self.version < (1, 21):
            return "localhost" if self.passthrough_off else "pod_ip"
        if self.version < (1, 22):
            return "pod_ip"
        return "localhost" if self.localhost_policy else "pod_ip" if self.config_known else "unknown"

    @property
    def probes_localhost(self) -> bool:
        """Whether its injector has rewritten probes go to localhost; in 1.21 the template still reads the variable that istiod does not.

        Up to 1.9 the agent does so by itself; then files/injection-template.yaml@1.10.0, 1.21.0, 1.22.0.
        """
        if self.version is not None and (1, 21) <= self.version < (1, 22) and not self.assumed:
            return self.passthrough_off
        return self.default_delivery() == "localhost"

    def upgraded(self, target: Version | None) -> ControlPlane:
        """This control plane after the upgrade, its settings kept. Without a target: any version that delivers to the pod IP.

        A mesh that is on 1.22 or later and says LOCALHOST goes on saying so in every later version.
        """
        if target is None:
            stays = self.version is not None and self.version >= (1, 22) and self.localhost_policy
            return self if stays else self._replace(version=(1, 21), assumed=True)
        return self._replace(version=target)

    def __str__(self) -> str:
        if self.assumed:
            return "a newer istiod"
        return f"istiod {'.'.join(map(str, self.version[:2]))}" if self.version else "an istiod of unknown version"


UNKNOWN_CONTROL_PLANE = ControlPlane("", None, {}, {})


class ControlPlanes:
    """The control planes of a snapshot, found by the revision a pod names."""

    def __init__(self, snapshot: Snapshot) -> None:
        istio = snapshot.get("istio") or {}
        self._root_namespace: str = istio.get("rootNamespace") or "istio-system"
        known = not any(entry["resource"] == "configmaps" for entry in snapshot.get("unlisted") or ())
        self.all: list[ControlPlane] = []
        for plane in istio.get("controlPlanes") or ():
            own = plane.get("meshConfig")
            config: dict[str, t.Any] = (
                (istio.get("meshConfig") or {}) if own is None else own
            )  # an empty one says something: all defaults
            self.all.append(
                ControlPlane(
                    plane.get("revision") or "default",
                    as_version(plane.get("version")),
                    plane.get("env") or {},
                    config,
                    False,
                    known,
                )
            )
        self.all.sort(
            key=lambda p: (p.name, p.version or (), sorted(p.env.items()), p.localhost_policy, self.root_namespace(p))
        )

    def today(self, pod: Pod | Template) -> ControlPlane:
        """The control plane that serves the pod, an unknown one if none is found.

        A revision may run several replicas that differ, in the middle of a rollout: then the one that hands most to localhost counts,
        since that is what the pod may be served by today.
        """
        order = ("localhost", "unknown", "pod_ip")
        return min(self._serving(pod), key=lambda p: order.index(p.default_delivery()), default=UNKNOWN_CONTROL_PLANE)

    def after(self, pod: Pod | Template, target: Version | None) -> ControlPlane:
        """The control plane that will serve the pod: one that runs the target version beside today's, if the mesh has it, else today's, upgraded.

        Of several, the one that hands least to localhost.
        """
        serving = self._serving(pod) or [UNKNOWN_CONTROL_PLANE]
        return min(
            self._ready(target) or [p.upgraded(target) for p in serving],
            key=lambda p: (p not in serving, _least_local(p)),
        )

    def moved_to_another(self, target: Version | None) -> list[tuple[str, str]]:
        """The revisions for which `after` takes one that hands to localhost what they would not once upgraded in place; with that one."""
        ready = self._ready(target)
        other = min(ready, key=_least_local, default=UNKNOWN_CONTROL_PLANE)
        worse = {p.name for p in self.all if p not in ready and p.upgraded(target).default_delivery() == "pod_ip"} - {
            p.name for p in ready
        }
        return [(name, other.name) for name in sorted(worse)] if other.default_delivery() == "localhost" else []

    def _ready(self, target: Version | None) -> list[ControlPlane]:
        return [p for p in self.all if target and p.version and p.version[: len(target)] == target]

    def root_namespace(self, plane: ControlPlane) -> str:
        named = plane.mesh_config.get("rootNamespace")
        return named if isinstance(named, str) and named else self._root_namespace

    def _serving(self, pod: Pod | Template) -> list[ControlPlane]:
        """Those of the pod's revision. A name that is none may be a revision tag, which can only mean the one that there is."""
        wanted = revision(pod)
        serving = [p for p in self.all if p.name == wanted.name]
        if not serving and not wanted.certain and len({p.name for p in self.all}) == 1:
            return self.all
        return serving


def _least_local(plane: ControlPlane) -> int:
    return ("pod_ip", "unknown", "localhost").index(plane.default_delivery())
