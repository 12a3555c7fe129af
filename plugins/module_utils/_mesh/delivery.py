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
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.families import (
    Family,
    has_source_of_ipv6,
    past_the_proxy,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.own_listener import (
    has_no_chain,
    is_bound,
    own_listener,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.pod import (
    has_sidecar,
    interception,
    is_ambient,
    redirects_both,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.sidecars import ingress_entry
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.targets import (
    ALWAYS,
    BESIDE,
    NATIVE_PORT,
    OTHER_ADDRESS,
    OTHER_NAMESPACE,
    PORT_NAME,
    PORT_NUMBER,
    uncounted,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.kube import Pod, Thing, is_ipv6
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
    OTHER_NAMESPACE: "{} passes it through to the pod IP, because it counts no ServiceEntry of another namespace among those of the pod",
    NATIVE_PORT: "{} passes it through to the pod IP, because it resolves no port name that only a native sidecar declares",
    PORT_NAME: "{} passes it through to the pod IP, because it takes the ServiceEntry's number and not the name of the container's port",
    PORT_NUMBER: "{} passes it through to the pod IP, because it takes the container's port of the ServiceEntry's port name",
    "plane": "{} delivers to {}",
    "no_config": "the mesh configuration could not be read",
    "no_version": "{} serves the pod",
    "env_hidden": "{} delivers as {} says, whose value was not seen",
    "config_hidden": "{} delivers as its mesh configuration says, and {}",
    "disputed": "{}, but the pod may be moved to {} of revision {} in {}, which delivers otherwise",
    "no_plane": "no istiod was found that serves the pod",
    "no_plane_at": "its proxy is served by {}, where no istiod was found",
    "which_plane": "the pod does not say which istiod serves it, that of {}",
    "undiscovered": "{} passes it through to the pod IP, because its discoverySelectors leave namespace {} out",
    "namespace_hidden": "the discoverySelectors of {} may leave namespace {} out, whose labels are not known",
    "selectors_invalid": "the discoverySelectors of {} are not all valid, so it is not known whether they leave namespace {} out",
    "scoping_hidden": "{} sees Sidecars of namespace {}, which its discoverySelectors leave out, only as ENABLE_ENHANCED_RESOURCE_SCOPING says, "
    "which was not seen",
    "no_root": "a Sidecar for all namespaces may say otherwise, and those of {} could not be listed",
    "sidecar": "Sidecar {} delivers it to {}",
    "either": "Sidecar {} delivers it to {}, which means localhost up to istiod 1.9 and the pod IP after, and {}",
    "own_listener": "Sidecar {} has the proxy itself listen on {}, so that the pod IP is reached past it",
    "own_chain": "Sidecar {} binds it to {}, by which {} closes connections to any other address",
    "no_source": "{}, to which the proxy cannot connect over IPv6: istiod has it do so from 127.0.0.6",
    "source_unknown": "{}, to which the proxy connects over IPv6 only if ISTIO_DUAL_STACK is set for {}, which was not seen",
    "no_route_localnet": "{}, which in TPROXY mode is reached only if net.ipv4.conf.*.route_localnet is set in the pod, and nobody looked",
    "tproxy_ipv6": "in TPROXY mode connections over IPv6 arrive nowhere in a pod of an istio-init up to 1.11",
    "tproxy_family": "{}, which in TPROXY mode no connection over the other family reaches",
    "ipv6_kernel": "connections over IPv6 go past the proxy to the pod IP, because the pod's first address is of IPv4",
    "ipv6_closed": "connections over IPv6 are refused, because {} has the proxy of a pod with both families listen over IPv4 alone",
    "ipv6_unknown": "connections over IPv6 meet the proxy only if ISTIO_DUAL_STACK is set for {} and the pod, which was not seen",
    "first_address": "Sidecar {0} lists it, for which {2} closes connections to any address but the pod's first one, {1}",
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


LOCALHOST = "127.0.0.1"

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


class Door(t.Protocol):
    """What lets some connections through, to the proxy or from it."""

    def takes(self, asked: str, listeners: t.Sequence[Listener]) -> bool:
        """Whether it lets through what asks at this address."""

    def programs(self, listeners: t.Sequence[Listener]) -> list[Listener]:
        """`listeners` without what belongs to the proxy."""


class Doorway(t.NamedTuple):
    """A door, with the kind and the cause of the delivery of a connection that it does not take."""

    door: Door
    kind: str
    cause: Cause
    certain: bool = True
    """Whether it is known that there is such a door."""


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
    doors: tuple[Doorway, ...] = ()
    """What a connection passes on its way to the proxy, in order, where not all are delivered so."""
    exits: tuple[Doorway, ...] = ()
    """What it passes on its way from the proxy."""
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

    @property
    def uncertain(self) -> Cause | None:
        """Why it is not known of every door whether it is there, if so."""
        return next((way.cause for way in (*self.doors, *self.exits) if not way.certain), None)

    def met(self, asked: str, port: int, listeners: t.Sequence[Listener], shut: bool = True) -> Delivery:
        """The delivery of what asks for `port` at this address, in a pod whose program has these listeners.

        `shut` is whether the doors are there of which that is not known.
        """
        for way in (*self.doors, *self.exits):
            if (way.certain or shut) and not way.door.takes(asked, listeners):
                return Delivery(way.kind, None, port, way.cause, self.by, version_by=self.version_by)
        return self._replace(doors=(), exits=()) if self.doors or self.exits else self

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
    pod: Pod,
    port: int,
    sidecar: Thing | None,
    plane: ControlPlane,
    ways: t.Iterable[str] = (ALWAYS,),
    discovered: bool = True,
    anew: bool = False,
) -> Delivery:
    """Where `plane` has a connection to `port` of `pod` delivered, given the pod's effective Sidecar.

    `ways` are those of targets in which Services expose the port; `discovered` is whether `plane` knows the Services of its namespace; `anew` is whether
    the pod is one that comes in its place, which `plane` injects.
    """
    ips = pod.ips
    if pod.host_network:
        return Delivery("kernel", None, port, Cause("host_network"))
    if is_ambient(pod):
        return Delivery("pod_ip", None, port, Cause("ambient"))
    if not has_sidecar(pod):
        return Delivery("kernel", None, port, Cause("no_sidecar"))
    entry = ingress_entry(sidecar, port)
    capture = interception(pod).anew(plane.version) if anew else interception(pod)
    intercepted = capture.takes(port)
    bound = (
        entry is not None and not has_no_chain(entry, plane.version) and is_bound(entry, capture.mode, plane.version)
    )
    if not intercepted and not bound:
        return Delivery("kernel", None, port, Cause("mode_none" if capture.mode == "NONE" else "excluded"))
    if entry:
        found = _listed(entry, port, ips, plane, _name(sidecar), intercepted, bound)
    elif not discovered:
        cause = Cause("undiscovered", (str(plane), pod.namespace))
        found = Delivery("pod_ip", None, port, cause, version_by=plane.by)
    else:
        found = _unlisted(port, ips, sidecar, plane, ways)
    found = within_reach(found, pod, plane)
    if intercepted and capture.loses_ipv6:
        found = found._replace(doors=(Doorway(Family(False), "closed", Cause("tproxy_ipv6")), *found.doors))
    redirected = redirects_both(pod) or (False if plane.families_recorded else None)
    past = past_the_proxy(ips, redirected, plane.dual_stack) if intercepted else None
    if past is None or (bound and past.kind == "kernel"):  # the kernel delivers to the proxy's own listener as well
        return found
    cause = Cause(f"ipv6_{past.kind}" if past.certain else "ipv6_unknown", (str(plane),))
    return found._replace(doors=(Doorway(Family(False), past.kind, cause, past.certain), *found.doors))


def within_reach(found: Delivery, pod: Pod, plane: ControlPlane) -> Delivery:
    """The delivery, with what the proxy cannot connect to from the address that it connects from."""
    if interception(pod).mode == "TPROXY":  # that of the client
        return _from_the_client(found)
    dials_ipv6 = is_ipv6(found.address) if found.address else any(map(is_ipv6, pod.ips))
    if found.kind != "pod_ip" or not dials_ipv6:
        return found
    has_source = has_source_of_ipv6(found.address, pod.ips, plane.version, plane.dual_stack)
    if has_source:
        return found
    cause = Cause("no_source" if has_source is False else "source_unknown", (found.why, str(plane)))
    way = Doorway(Family(None if found.address else False), "closed", cause, has_source is False)
    return found._replace(exits=(way,))


def _from_the_client(found: Delivery) -> Delivery:
    """What becomes of it where the proxy connects from the address of whoever connected to it."""
    if found.address is None or found.kind == "unknown":
        return found
    way = Doorway(Family(is_ipv6(found.address)), "closed", Cause("tproxy_family", (found.why,)))
    if found.address == LOCALHOST:
        found = found._replace(kind="unknown", cause=Cause("no_route_localnet", (found.why,)))
    return found._replace(exits=(way,))


def _unlisted(
    port: int, ips: t.Sequence[str], sidecar: Thing | None, plane: ControlPlane, ways: t.Iterable[str]
) -> Delivery:
    """Where an intercepted connection goes to a port that no entry of the Sidecar lists."""
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
    return how._replace(
        kind="unknown", address=localhost_of(pod.ips), cause=Cause("no_root", (root,)), version_by="", exits=()
    )


def of_cases(pod: Pod, plane: ControlPlane, found: t.Sequence[Delivery], unsure: tuple[str, str]) -> Delivery:
    """The delivery of a pod of which it is not known whether `plane` discovers its namespace, and the root namespace, given that of each case.

    `unsure` says why. An unknown delivery, or one that is the same in all cases, is what it is.
    """
    first = next((how for how in found if how.kind == "unknown"), found[0])
    if first.kind == "unknown" or all(_end(how, pod.ips) == _end(first, pod.ips) for how in found):
        return first
    why, namespace = unsure
    cause = Cause(why, (str(plane), namespace)) if why else _unknown_version(plane)
    doors = first.doors if len({_ways(how.doors) for how in found}) == 1 else ()
    if any(how.kind in ("unix", "closed") for how in found):
        return Delivery("unknown", None, first.port, cause, doors=doors)
    local = next((how for how in found if how.kind == "localhost"), first)
    return Delivery("unknown", local.address or localhost_of(pod.ips), local.port, cause, doors=doors)


def disputed(pod: Pod, here: Delivery, other: ControlPlane, there: Delivery) -> Delivery:
    """The delivery `here`, where `other`, which delivers `there` and for which nobody vouches, may serve the pod instead. That one makes nothing better."""
    if here.kind not in ("localhost", "unix") or _end(here, pod.ips) == _end(there, pod.ips):
        return here
    cause = Cause("disputed", (here.why, str(other), other.name, other.namespace))
    doors = here.doors if _ways(here.doors) == _ways(there.doors) else ()
    return Delivery("unknown", here.address or localhost_of(pod.ips), here.port, cause, doors=doors)


def _end(how: Delivery, ips: t.Sequence[str]) -> tuple[t.Any, ...]:
    return how.kind, how.port, _ways(how.doors), _ways(how.exits), [how.destination(ip) for ip in ips]


def _ways(doorways: t.Sequence[Doorway]) -> tuple[t.Any, ...]:
    """What they do, whatever is said of it."""
    return tuple((each.door, each.kind, each.certain) for each in doorways)


def _unknown_version(plane: ControlPlane) -> Cause:
    if plane.name:
        return Cause("no_version", (str(plane),))
    if plane.rivals:
        return Cause("which_plane", (" or of ".join(plane.rivals),))
    return Cause("no_plane_at", (plane.at,)) if plane.at else Cause("no_plane")


def _unknown_settings(plane: ControlPlane) -> Cause:
    if any(plane.disputed):
        return Cause("disputed", (f"{plane} delivers to localhost", *plane.disputed))
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
        past = ("closed", Cause("own_chain" if entry.get("bind") else "first_address", (name, own.address, str(plane))))
    return found._replace(doors=(Doorway(own, *past),))


def _endpoint(entry: Thing, port: int, ips: t.Sequence[str], plane: ControlPlane, name: str) -> Delivery:
    endpoint = entry.get("defaultEndpoint") or ""
    kind, address, dialled, cause = meaning(endpoint, port, ips, plane.version)
    said: tuple[str, ...] = (name, endpoint or "the pod IP")
    if cause == "no_cluster":
        said = (*said, str(plane))
    elif cause == "either":
        said = (*said, str(_unknown_version(plane)))
    return Delivery(kind, address, dialled, Cause(cause, said))
