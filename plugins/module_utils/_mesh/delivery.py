# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""Where a connection to a pod's port ends up, and which address a Sidecar's defaultEndpoint means.

Citations are `path@tag` in istio/istio.
"""

from __future__ import annotations

import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.control_plane import ControlPlane
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.default_endpoint import localhost_of, meaning
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.own_listener import (
    Own,
    has_no_chain,
    is_bound,
    own_listener,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.pod import (
    has_sidecar,
    interception,
    is_ambient,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.sidecars import ingress_entry
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.targets import (
    ALWAYS,
    BESIDE,
    NATIVE_PORT,
    OTHER_ADDRESS,
    PORT_NAME,
    PORT_NUMBER,
    uncounted,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.kube import Pod, Thing
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.report import DeliveryRecord
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.shapes import MERGE_ENV, PASSTHROUGH_ENV
from ansible_collections.meshops.istio_precheck.plugins.module_utils._sockets.parse import Listener

CAUSES = {
    "host_network": "the pod shares its node's network, which the mesh leaves alone",
    "ambient": "ztunnel connects to the pod IP, and no Sidecar changes that",
    "no_sidecar": "the pod has no sidecar, so the kernel delivers to the pod IP",
    "mode_none": "interception mode NONE gives it no inbound listener, so the kernel delivers to the pod IP",
    "excluded": "inbound interception leaves the port out, so the kernel delivers to the pod IP",
    "not_listed": "Sidecar {} does not list the port, so it is passed through to the pod IP",
    BESIDE: "{} passes it through to the pod IP, because other Services select the pod and this one does not",
    OTHER_ADDRESS: "{} passes it through to the pod IP, because no EndpointSlice of the Service has the pod's first address",
    NATIVE_PORT: "{} passes it through to the pod IP, because it resolves no port name that only a native sidecar declares",
    PORT_NAME: "{} passes it through to the pod IP, because it takes the ServiceEntry's number and not the name of the container's port",
    PORT_NUMBER: "{} passes it through to the pod IP, because it takes the container's port of the ServiceEntry's port name",
    "plane": "{} delivers to {}",
    "no_config": "the mesh configuration could not be read",
    "no_version": "{} serves the pod",
    "env_hidden": "{} delivers as {} says, whose value was not seen",
    "config_hidden": "{} delivers as its mesh configuration says, and {}",
    "no_plane": "no istiod was found that serves the pod",
    "no_plane_at": "its proxy is served by {}, where no istiod was found",
    "which_plane": "the pod does not say which istiod serves it, that of {}",
    "no_root": "a Sidecar for all namespaces may say otherwise, and those of {} could not be listed",
    "sidecar": "Sidecar {} delivers it to {}",
    "either": "Sidecar {} delivers it to {}, which means localhost up to istiod 1.9 and the pod IP after, and {}",
    "own_listener": "Sidecar {} has the proxy itself listen on {}, so that the pod IP is reached past it",
    "own_chain": "Sidecar {} binds it to {}, by which {} closes connections to any other address",
    "udp_entry": "Sidecar {} lists it as UDP, so {} passes it through to the pod IP",
    "no_cluster": "Sidecar {} names {}, for which {} has no cluster, so the proxy closes the connection",
    "no_endpoint": "Sidecar {} delivers it to the pod IP, because {} is no endpoint that istiod knows",
    "proxy": "its proxy delivers to {}",
    "proxy_passes": "its proxy, which has no cluster for the port, passes it through to the pod IP",
    "proxy_unclear": "its proxy delivers by a cluster of the type {}, which names no one address",
    "proxy_several": "its proxy has several clusters for the port, which differ",
    "proxy_own_listener": "its proxy shows how its own listener on the port delivers, and not whether connections come to it",
    "proxy_silent": "its proxy did not say, because {}",
    "perhaps": "it may be delivered to {}, because {}",
}
"""Why a connection is delivered as it is, in the middle of a sentence."""


HIDDEN = {
    "unlisted": "the ConfigMaps of {} could not be listed",
    "absent": "ConfigMap {} was not found",
    "unreadable": "ConfigMap {} could not be read",
    "unnamed": "SHARED_MESH_CONFIG, which names a part of it, has a value that was not seen",
    "unseen": "that was not seen",
}
"""Why a mesh configuration is not known, by `meshConfigUnknown` of the snapshot."""


class Cause(t.NamedTuple):
    """One of CAUSES, with what fills it in."""

    name: str
    of: tuple[str, ...] = ()

    def __str__(self) -> str:
        return CAUSES[self.name].format(*self.of)


class Delivery(t.NamedTuple):
    """Where a connection to a pod's port ends up inside the pod.

    `kind` is `localhost`, `pod_ip`, `kernel` (the proxy never sees it), `unix`, `closed` (by the proxy) or `unknown`; `address` is the one that the proxy
    dials whatever was asked for, None for the address that was asked for; `port` is the one it dials. An `unknown` one without an address
    may end anywhere.
    """

    kind: str
    address: str | None
    port: int
    cause: Cause
    by: str = "rule"
    """How it is known: by the `rule`, from versions, settings and Sidecars, or by the `proxy` itself."""
    instead_of: Cause | None = None
    """Why the rule expected something else than the proxy said, if so."""
    own: Own | None = None
    """Where the proxy takes these connections, if not wherever it is asked; what becomes of others is `past`."""
    past: tuple[str, Cause] = ("", Cause(""))
    """The kind and the cause of a delivery that `own` does not take."""
    version_by: str = ""
    """Where the version was read that decides, of istio_version; empty where none does, or where nobody reads it, as that of the target."""

    @property
    def why(self) -> str:
        return str(self.cause)

    @property
    def known(self) -> str:
        """Why, and that the proxy says so, too, where it is what the rule expects."""
        confirmed = self.by == "proxy" and not self.cause.name.startswith("proxy")
        return f"{self.why} (its proxy says so)" if confirmed else self.why

    def met(self, asked: str, listeners: t.Sequence[Listener]) -> Delivery:
        """The delivery of what is asked for at this address, in a pod whose program has these listeners."""
        if self.own is None:
            return self
        if self.own.takes(asked, listeners):
            return self._replace(own=None)
        kind, cause = self.past
        return Delivery(kind, None, self.own.port, cause, self.by, version_by=self.version_by)

    def destination(self, asked: str) -> str:
        return self.address or asked

    def as_dict(self) -> DeliveryRecord:
        found: DeliveryRecord = {
            "to": self.kind,
            "address": self.address or "",
            "port": self.port,
            "by": self.by,
            "why": self.why,
        }
        return {**found, "version_by": self.version_by} if self.version_by else found


def delivery(
    pod: Pod, port: int, sidecar: Thing | None, plane: ControlPlane, ways: t.Iterable[str] = (ALWAYS,)
) -> Delivery:
    """Where `plane` has a connection to `port` of `pod` delivered, given the pod's effective Sidecar.

    `ways` are those of targets in which Services expose the port.
    """
    ips = pod.ips
    if pod.host_network:
        return Delivery("kernel", None, port, Cause("host_network"))
    if is_ambient(pod):
        return Delivery("pod_ip", None, port, Cause("ambient"))
    if not has_sidecar(pod):
        return Delivery("kernel", None, port, Cause("no_sidecar"))
    entry = ingress_entry(sidecar, port)
    capture = interception(pod)
    intercepted = capture.takes(port)
    bound = (
        entry is not None and not has_no_chain(entry, plane.version) and is_bound(entry, capture.mode, plane.version)
    )
    if not intercepted and not bound:
        return Delivery("kernel", None, port, Cause("mode_none" if capture.mode == "NONE" else "excluded"))
    if entry:
        return _listed(entry, port, ips, plane, _name(sidecar), intercepted, bound)
    kind = plane.default_delivery()
    if sidecar and sidecar["spec"].get("ingress") and not plane.merges_ingress:
        if plane.may_merge_ingress and kind != "pod_ip":
            return Delivery("unknown", localhost_of(ips), port, Cause("env_hidden", (str(plane), MERGE_ENV)))
        return Delivery("pod_ip", None, port, Cause("not_listed", (_name(sidecar),)))
    passed_on = uncounted(ways, plane.version)
    if kind == "localhost" and passed_on:
        return Delivery("pod_ip", None, port, Cause(passed_on, (str(plane),)), version_by=plane.by)
    if kind == "localhost":
        address = localhost_of(ips)
        return Delivery(
            kind, address, port, Cause("plane", (str(plane), f"{address}{_because(plane)}")), version_by=plane.by
        )
    if kind == "pod_ip":
        return Delivery(kind, None, port, Cause("plane", (str(plane), "the pod IP")), version_by=plane.by)
    return Delivery(
        kind, localhost_of(ips), port, _unknown_settings(plane) if plane.version else _unknown_version(plane)
    )


def under_hidden_default(pod: Pod, how: Delivery, root: str) -> Delivery:
    """The delivery of a pod for which a Sidecar of the root namespace may be in effect, where these could not be listed."""
    if how.kind not in ("localhost", "pod_ip"):
        return how
    return Delivery("unknown", localhost_of(pod.ips), how.port, Cause("no_root", (root,)))


def _unknown_version(plane: ControlPlane) -> Cause:
    if plane.name:
        return Cause("no_version", (str(plane),))
    if plane.rivals:
        return Cause("which_plane", (" or of ".join(plane.rivals),))
    return Cause("no_plane_at", (plane.at,)) if plane.at else Cause("no_plane")


def _unknown_settings(plane: ControlPlane) -> Cause:
    if plane.version and plane.version < (1, 21):
        return Cause("env_hidden", (str(plane), PASSTHROUGH_ENV))
    why, name = plane.config_unknown
    hidden = HIDDEN.get(why)
    return Cause("config_hidden", (str(plane), hidden.format(name))) if hidden else Cause("no_config")


def _because(plane: ControlPlane) -> str:
    if plane.version and plane.version >= (1, 22):
        return " (meshConfig.inboundTrafficPolicy.mode: LOCALHOST)"
    return f" ({PASSTHROUGH_ENV}=false)" if plane.version and plane.version >= (1, 10) else ""


def _name(thing: Thing | None) -> str:
    return f"{thing['metadata']['namespace']}/{thing['metadata']['name']}" if thing else ""


def _listed(
    entry: Thing, port: int, ips: t.Sequence[str], plane: ControlPlane, name: str, intercepted: bool, bound: bool
) -> Delivery:
    """What a Sidecar's ingress entry makes of connections to its port."""
    if has_no_chain(entry, plane.version):
        return Delivery("pod_ip", None, port, Cause("udp_entry", (name, str(plane))))
    own = own_listener(entry, ips, bound, port, plane.version)
    found = _endpoint(entry, port, ips, plane, name)
    if own is None:
        return found
    if bound:
        past = ("pod_ip" if intercepted else "kernel", Cause("own_listener", (name, own.address)))
    else:
        past = ("closed", Cause("own_chain", (name, own.address, str(plane))))
    return found._replace(own=own, past=past)


def _endpoint(entry: Thing, port: int, ips: t.Sequence[str], plane: ControlPlane, name: str) -> Delivery:
    endpoint = entry.get("defaultEndpoint") or ""
    kind, address, dialled, cause = meaning(endpoint, port, ips, plane.version)
    said: tuple[str, ...] = (name, endpoint or "the pod IP")
    if cause == "no_cluster":
        said = (*said, str(plane))
    elif cause == "either":
        said = (*said, str(_unknown_version(plane)))
    return Delivery(kind, address, dialled, Cause(cause, said))
