# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""What proxies said, against what the rule expects: where connections go today."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.control_plane import ControlPlane
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.default_endpoint import localhost_of
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.delivery import (
    Cause,
    Delivery,
    within_reach,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.pod import has_sidecar, interception
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.proxy_answer import Cluster
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.sidecars import ingress_entry
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.kube import Pod, PodKey, Thing
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.schema import is_address
from ansible_collections.meshops.istio_precheck.plugins.module_utils._sockets.lookup import is_loopback


class Silent(t.NamedTuple):
    """A proxy that was asked and said nothing."""

    pod: PodKey
    reason: str
    detail: str


class Proxies:
    """The word of each proxy that was asked: its entry in `proxyConfigs`. `source` is what the option delivery_source says."""

    def __init__(self, entries: t.Iterable[Thing], source: str) -> None:
        self._must_say = source == "proxy"
        self._said: dict[PodKey, dict[int, Cluster]] = {}
        self.silent: list[Silent] = []
        for entry in entries if source != "rule" else ():
            pod_key = entry["namespace"], entry["pod"]
            if entry.get("inbound") is not None:
                self._said[pod_key] = {cluster["port"]: cluster for cluster in entry["inbound"]}
            else:
                self.silent.append(Silent(pod_key, entry.get("reason") or "no_answer", entry.get("detail") or ""))
        self._reasons = {each.pod: each.reason for each in self.silent}

    def matter_to(self, pod_keys: t.Iterable[PodKey]) -> bool:
        """Whether what one of their proxies said, or kept to itself, counts."""
        return self._must_say or not self._said.keys().isdisjoint(pod_keys)

    def today(
        self,
        pod: Pod,
        port: int,
        pod_keys: t.Sequence[PodKey],
        sidecar: Thing | None,
        plane: ControlPlane,
        rule: Delivery,
    ) -> Delivery:
        """Where a connection to `port` goes today, given what the rule expects, and the Sidecar and the control plane that it takes for the pod's.

        The first of `pod_keys` whose proxy said something speaks: the pod's, or that of the pod which was read for it. Whether another pod's has no
        cluster says nothing of this one: a Service may expose the port in this one alone.
        """
        if not (self._said or self._must_say) or rule.kind == "kernel" or not has_sidecar(pod):
            return rule
        heard = ((each, self._said[each]) for each in pod_keys if each in self._said)
        said = next((clusters for each, clusters in heard if each == pod.key or port in clusters), None)
        if said is not None and _clusters_tell(pod, port, sidecar):
            found = within_reach(_delivery(said.get(port), port), pod, plane)
            return _compared(rule, found._replace(doors=rule.doors), pod.ips)
        return self._unsaid(pod, pod_keys, said is not None, rule) if self._must_say else rule

    def _unsaid(self, pod: Pod, pod_keys: t.Sequence[PodKey], asked: bool, rule: Delivery) -> Delivery:
        """Where only the proxy's word counts and there is none. A Unix socket may still be where the connection goes, and is in no table."""
        reason = next((self._reasons[each] for each in pod_keys if each in self._reasons), "not_asked")
        address = None if rule.kind == "unix" else rule.address or localhost_of(pod.ips)
        cause = Cause("proxy_own_listener") if asked else Cause("proxy_silent", (SILENCE.get(reason, reason),))
        return rule._replace(kind="unknown", address=address, cause=cause, doors=(), exits=())


SILENCE = {
    "connection": "the connection to it broke",
    "forbidden": "no command may be run in the pod",
    "gone": "the pod was gone",
    "masked": "kubernetes.core hid a part of its answer",
    "no_agent": "no pilot-agent can be run in its container",
    "no_answer": "its answer was none",
    "node_unreachable": "the API server did not reach its node",
    "not_asked": "it was not asked",
    "server_error": "the API server failed",
    "timeout": "it did not answer in time",
    "too_much_output": "its answer was too long",
}
"""Why a proxy said nothing, by the reason in the snapshot's `proxyConfigs`."""


def _clusters_tell(pod: Pod, port: int, sidecar: Thing | None) -> bool:
    """Whether a cluster is all there is to a connection: not where the proxy is to bind a listener of its own, to leave the port to the kernel, or to
    have no chain for it (which an entry of UDP may mean).

    Which of these is in effect the proxy's listeners tell, and whether it could bind, the socket table.
    """
    entry = ingress_entry(sidecar, port) or {}
    if not interception(pod).takes(port) or entry.get("bind") or entry.get("captureMode") == "NONE":
        return False
    return not entry or (entry["port"].get("protocol") or "").upper() != "UDP"


def _delivery(cluster: Cluster | None, port: int) -> Delivery:
    """What the proxy does with a connection to `port`, for which it has this cluster."""
    if cluster is None:
        return Delivery("pod_ip", None, port, Cause("proxy_passes"), "proxy")
    kind, dialled = cluster["type"], cluster.get("address") or ""
    if kind == "ORIGINAL_DST":
        return Delivery("pod_ip", None, port, Cause("proxy", ("the pod IP",)), "proxy")
    host, _colon, number = dialled.rpartition(":")
    host = host.strip("[]")
    if kind == "STATIC" and dialled.startswith("unix://"):
        return Delivery("unix", None, port, Cause("proxy", (dialled,)), "proxy")
    if kind == "STATIC" and host and is_address(host) and re.fullmatch(r"[1-9]\d{0,4}", number, re.ASCII):
        to = host if int(number) == port else dialled
        local = is_loopback(host)
        return Delivery("localhost" if local else "pod_ip", host, int(number), Cause("proxy", (to,)), "proxy")
    cause = Cause("proxy_unclear", (kind,)) if kind else Cause("proxy_several")
    return Delivery("unknown", None, port, cause, "proxy")


def _compared(rule: Delivery, said: Delivery, ips: t.Sequence[str]) -> Delivery:
    """The proxy's word; where it is what the rule expects, for the rule's reason."""
    same = (rule.kind, rule.port) == (said.kind, said.port)
    if same and all(rule.destination(ip) == said.destination(ip) for ip in ips):
        return rule._replace(by="proxy", version_by="")
    return said._replace(instead_of=rule.cause) if rule.kind != "unknown" and said.kind != "unknown" else said
