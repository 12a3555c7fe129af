# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""Is the pod in the mesh, and where does a connection to one of its ports end up: today, and after the upgrade.

Citations are `path@tag` in istio/istio.
"""

from __future__ import annotations

import re
import typing as t
from collections import defaultdict

from ansible_collections.meshops.istio_precheck.plugins.module_utils._exposure import Thing, pod_ips, running_containers
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.report import DeliveryRecord
from ansible_collections.meshops.istio_precheck.plugins.module_utils._notation import (
    Version,
    as_object,
    as_version,
    go_false,
    go_true,
    image_tag,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._reach import is_loopback
from ansible_collections.meshops.istio_precheck.plugins.module_utils._snapshot import Snapshot
from ansible_collections.meshops.istio_precheck.plugins.module_utils._workloads import matches

PASSTHROUGH_ENV = "PILOT_ENABLE_INBOUND_PASSTHROUGH"
MERGE_ENV = "PILOT_ALLOW_SIDECAR_SERVICE_INBOUND_LISTENER_MERGE"
ISTIOD_ENV = (PASSTHROUGH_ENV, MERGE_ENV)
"""Variables of istiod whose values the rule reads."""

MESH_CONFIG_FIELDS = ("rootNamespace", "inboundTrafficPolicy", "outboundTrafficPolicy")

ISTIO_PORTS = frozenset((15000, 15001, 15004, 15006, 15008, 15020, 15021, 15053, 15090))
"""Ports of the proxy and its agent: istioReservedPorts, pilot/cmd/pilot-agent/status/server.go@1.20.8."""

NOT_INTERCEPTED = frozenset((15008, 15020, 15021, 15090))
"""Inbound ports that injection always excludes, manifests/charts/istio-control/istio-discovery/files/injection-template.yaml@1.20.8, and that of the
tunnel, which istio-iptables does: tools/istio-iptables/pkg/capture/run.go@1.20.8 (InboundTunnelPort)."""


# ---------------------------------------------------------------------------------------------------------------------
# The pod


class OncePerTemplate:
    """`function` of a pod (and of what else is given), remembered for pods with the very same labels, annotations and containers in one namespace.

    Replicas of a gathered snapshot share these parts, see Trimmer. Only for functions that read no other part of a pod but hostNetwork, and for no
    longer than the pods live unchanged.
    """

    def __init__(self, function: t.Callable[..., t.Any]) -> None:
        self._function = function
        self._known: dict[t.Any, t.Any] = {}

    def __call__(self, pod: Thing, *more: t.Hashable) -> t.Any:
        meta, spec = pod["metadata"], pod["spec"]
        parts = (
            id(meta.get("labels")),
            id(meta.get("annotations")),
            id(spec["containers"]),
            id(spec.get("initContainers")),
        )
        which = (meta["namespace"], parts, spec.get("hostNetwork"), more)
        if which not in self._known:
            self._known[which] = self._function(pod, *more)
        return self._known[which]


def proxy_container(pod: Thing) -> Thing | None:
    """The container `istio-proxy`, ordinary or native sidecar: FindSidecar, pkg/kube/inject/app_probe.go@1.20.8."""
    return next((c for c in running_containers(pod) if c["name"] == "istio-proxy"), None)


def has_sidecar(pod: Thing) -> bool:
    """Whether istiod sends the pod's proxy inbound listeners of a sidecar: not to a gateway, a waypoint or an agent of proxyless gRPC.

    The proxy's own arguments say so; the label tlsMode and the status annotation do not tell a gateway from a sidecar. The agent's
    say `sidecar` too (files/grpc-agent.yaml@1.20.8). A pod in its node's network is never injected (inject.go@1.20.8).
    """
    proxy = proxy_container(pod)
    templates = {name.strip() for name in (_annotations(pod).get("inject.istio.io/templates") or "").split(",")}
    if not proxy or pod["spec"].get("hostNetwork") or "grpc-agent" in templates:
        return False
    args = (proxy.get("args") or ())[:2]
    if "sidecar" in args:
        return True
    return not {"router", "waypoint"}.intersection(args) and not templates & {"gateway", "waypoint", "kube-gateway"}


def is_ambient(pod: Thing) -> bool:
    """Whether ztunnel captures the pod: pkg/config/constants/constants.go (AmbientRedirectionEnabled) at HEAD of 2026-08."""
    return _annotations(pod).get("ambient.istio.io/redirection") == "enabled" and not has_sidecar(pod)


def is_ipv6(address: str) -> bool:
    return ":" in address


class Revision(t.NamedTuple):
    """The control plane revision that a pod names; `certain` if the injector wrote it, else it may be a revision tag."""

    name: str
    certain: bool


def revision(pod: Thing) -> Revision:
    """The revision that injected the pod, `default` where nothing says.

    The status annotation names it from 1.11 (pkg/kube/inject/webhook.go@1.11.0), from 1.18 an annotation of its own does too; the
    label is the injector's up to 1.10 and the user's after.
    """
    annotations = _annotations(pod)
    named = as_object(annotations.get("sidecar.istio.io/status")).get("revision") or annotations.get("istio.io/rev")
    if isinstance(named, str) and named:
        return Revision(named, True)
    return Revision((pod["metadata"].get("labels") or {}).get("istio.io/rev") or "default", False)


class Interception(t.NamedTuple):
    """Which inbound connections iptables hands to the proxy."""

    mode: str
    include: str
    exclude: frozenset[int]

    def takes(self, port: int) -> bool:
        """tools/istio-iptables/pkg/capture/run.go@1.20.8: excludes count only where everything is included."""
        if self.mode == "NONE" or port in NOT_INTERCEPTED:
            return False
        if self.include == "*":
            return port not in self.exclude
        return port in _ports(self.include)


def interception(pod: Thing) -> Interception:
    """From istio-init's arguments where it ran (what really was set), else from the annotations that istio-cni reads."""
    annotations = _annotations(pod)
    proxy = proxy_container(pod) or {}
    env = {e.get("name"): e.get("value") for e in proxy.get("env") or ()}
    init: Thing = next((c for c in pod["spec"].get("initContainers") or () if c["name"] == "istio-init"), {})
    flags = _flags(init.get("args") or ())
    mode = (
        flags.get("-m")
        or annotations.get("sidecar.istio.io/interceptionMode")
        or _config_mode(annotations.get("proxy.istio.io/config"))
        or env.get("ISTIO_META_INTERCEPTION_MODE")
        or "REDIRECT"
    )
    # Empty and absent differ: an empty list includes no port.
    include = next(
        (
            text
            for text in (flags.get("-b"), annotations.get("traffic.sidecar.istio.io/includeInboundPorts"))
            if text is not None
        ),
        "*",
    )
    exclude = next(
        (
            text
            for text in (flags.get("-d"), annotations.get("traffic.sidecar.istio.io/excludeInboundPorts"))
            if text is not None
        ),
        "",
    )
    ports = _ports(exclude) | _ports(annotations.get("status.sidecar.istio.io/port") or "")
    version = as_version(image_tag((init or proxy).get("image")))
    if version and version < (1, 13):
        ports.add(22)  # always left out up to 1.12: run.go@1.12.0; no more from commit f1f7487b9cb
    return Interception(mode.upper(), include.strip(), frozenset(ports))


def _annotations(pod: Thing) -> dict[str, str]:
    return pod["metadata"].get("annotations") or {}


def _config_mode(config: str | None) -> str | None:
    found = re.search(r"""interceptionMode["']?\s*:\s*["']?(\w+)""", config or "")
    return found[1] if found else None


FLAGS = {"--istio-inbound-interception-mode": "-m", "--istio-inbound-ports": "-b", "--istio-local-exclude-ports": "-d"}


def _flags(args: t.Sequence[str]) -> dict[str, str]:
    """istio-iptables' flags by their short names, in every spelling that pflag takes: `-d 22`, `-d=22`, `-d22`, `--flag 22`, `--flag=22`."""
    flags = {}
    rest = list(args)
    while rest:
        arg = rest.pop(0)
        name, equals, value = arg.partition("=")
        name = FLAGS.get(name, name)
        if name in FLAGS.values():
            flags[name] = value if equals else rest.pop(0) if rest else ""
        elif arg[:2] in FLAGS.values():
            flags[arg[:2]] = arg[2:]
    return flags


def _ports(text: str) -> set[int]:
    return {int(part) for part in text.split(",") if re.fullmatch(r"\s*\d{1,5}\s*", part, re.ASCII)}


# ---------------------------------------------------------------------------------------------------------------------
# The control plane


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

    def today(self, pod: Thing) -> ControlPlane:
        """The control plane that serves the pod, an unknown one if none is found.

        A revision may run several replicas that differ, in the middle of a rollout: then the one that hands most to localhost counts,
        since that is what the pod may be served by today.
        """
        order = ("localhost", "unknown", "pod_ip")
        return min(self._serving(pod), key=lambda p: order.index(p.default_delivery()), default=UNKNOWN_CONTROL_PLANE)

    def after(self, pod: Thing, target: Version | None) -> ControlPlane:
        """The control plane that will serve the pod: one that runs the target version beside today's, if the mesh has it, else today's, upgraded.

        Of several, the one that hands least to localhost.
        """
        serving = self._serving(pod) or [UNKNOWN_CONTROL_PLANE]
        return min(
            self._ready(target) or [p.upgraded(target) for p in serving],
            key=lambda p: (p not in serving, _least_local(p)),
        )

    def spoken_for(self, target: Version | None) -> list[tuple[str, str]]:
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

    def _serving(self, pod: Thing) -> list[ControlPlane]:
        """Those of the pod's revision. A name that is none may be a revision tag, which can only mean the one that there is."""
        wanted = revision(pod)
        serving = [p for p in self.all if p.name == wanted.name]
        if not serving and not wanted.certain and len({p.name for p in self.all}) == 1:
            return self.all
        return serving


def _least_local(plane: ControlPlane) -> int:
    return ("pod_ip", "unknown", "localhost").index(plane.default_delivery())


# ---------------------------------------------------------------------------------------------------------------------
# Sidecar resources


class Sidecars:
    """The Sidecars of a snapshot, in the order in which istiod looks at them."""

    def __init__(self, snapshot: Snapshot, planes: ControlPlanes) -> None:
        self._planes = planes
        self._in: dict[str, list[Thing]] = defaultdict(list)
        for sidecar in sorted(snapshot["sidecars"], key=age):
            self._in[sidecar["metadata"]["namespace"]].append(sidecar)

    def effective(self, pod: Thing, plane: ControlPlane) -> Thing | None:
        """The one Sidecar that `plane` applies to the pod, None for a pod without sidecar; they are never merged.

        Oldest that selects the pod in its namespace, else the oldest without a selector there, else the oldest without one in the root
        namespace: getSidecarScope and sortConfigByCreationTime, pilot/pkg/model/push_context.go@1.20.8. One that is labelled with
        another revision is not seen: ObjectInRevision, pkg/config/model.go@1.20.8.
        """
        if not has_sidecar(pod):
            return None
        name = plane.name or revision(pod).name
        local, root = (
            [
                s
                for s in self._in.get(namespace) or ()
                if (s["metadata"].get("labels") or {}).get("istio.io/rev", name) == name
            ]
            for namespace in (pod["metadata"]["namespace"], self._planes.root_namespace(plane))
        )
        for sidecar in local:
            if has_selector(sidecar) and matches(
                sidecar["spec"]["workloadSelector"].get("labels") or {}, pod["metadata"].get("labels")
            ):
                return sidecar
        return next((s for s in local + root if not has_selector(s)), None)


def age(thing: dict[str, t.Any]) -> tuple[str, str]:
    """Istio's order of configuration: oldest first, ties by `name.namespace` (pkg/config/config.go, sortConfigByCreationTime)."""
    meta = thing["metadata"]
    return meta.get("creationTimestamp") or "", f"{meta['name']}.{meta['namespace']}"


def has_selector(sidecar: dict[str, t.Any]) -> bool:
    """An empty workloadSelector ranks as one that selects every pod: push_context.go@1.20.8."""
    return sidecar["spec"].get("workloadSelector") is not None


# ---------------------------------------------------------------------------------------------------------------------
# Delivery


CAUSES = {
    "host_network": "the pod shares its node's network, which the mesh leaves alone",
    "ambient": "ztunnel connects to the pod IP, and no Sidecar changes that",
    "no_sidecar": "the pod has no sidecar, so the kernel delivers to the pod IP",
    "mode_none": "interception mode NONE gives it no inbound listener, so the kernel delivers to the pod IP",
    "excluded": "inbound interception leaves the port out, so the kernel delivers to the pod IP",
    "not_listed": "Sidecar {} does not list the port, so it is passed through to the pod IP",
    "not_served": "{} passes it through to the pod IP, because other Services select the pod and this one does not",
    "plane": "{} delivers to {}",
    "no_config": "the mesh configuration could not be read",
    "no_version": "{} serves the pod",
    "no_plane": "no istiod was found that serves the pod",
    "sidecar": "Sidecar {} delivers it to {}",
    "either": "Sidecar {} delivers it to {}, which means localhost up to istiod 1.9 and the pod IP after, and {}",
    "no_endpoint": "Sidecar {} delivers it to the pod IP, because {} is no endpoint that istiod knows",
    "perhaps": "it may be delivered to the pod IP, because {}",
}
"""Why a connection is delivered as it is, in the middle of a sentence."""


class Cause(t.NamedTuple):
    """One of CAUSES, with what fills it in."""

    name: str
    of: tuple[str, ...] = ()

    def __str__(self) -> str:
        return CAUSES[self.name].format(*self.of)


class Delivery(t.NamedTuple):
    """Where a connection to a pod's port ends up inside the pod.

    `kind` is `localhost`, `pod_ip`, `kernel` (the proxy never sees it), `unix` or `unknown`; `address` is the one that the proxy
    dials whatever was asked for, None for the address that was asked for; `port` is the one it dials.
    """

    kind: str
    address: str | None
    port: int
    cause: Cause

    @property
    def why(self) -> str:
        return str(self.cause)

    def destination(self, asked: str) -> str:
        return self.address or asked

    def as_dict(self) -> DeliveryRecord:
        """Known by the rule: from versions, settings and Sidecars."""
        return {"to": self.kind, "address": self.address or "", "port": self.port, "by": "rule", "why": self.why}


def localhost_of(ips: t.Sequence[str]) -> str:
    """`127.0.0.1`, or `::1` in a pod with IPv6 alone: actualLocalHost, pilot/pkg/networking/core/v1alpha3/listener.go@1.9.9."""
    return "::1" if ips and all(is_ipv6(ip) for ip in ips) else "127.0.0.1"


def delivery(pod: Thing, port: int, sidecar: Thing | None, plane: ControlPlane, served: bool = True) -> Delivery:
    """Where `plane` has a connection to `port` of `pod` delivered, given the pod's effective Sidecar.

    `served` is whether istiod counts the port among those that Services give the pod.
    """
    ips = pod_ips(pod)
    if pod["spec"].get("hostNetwork"):
        return Delivery("kernel", None, port, Cause("host_network"))
    if is_ambient(pod):
        return Delivery("pod_ip", None, port, Cause("ambient"))
    if not has_sidecar(pod):
        return Delivery("kernel", None, port, Cause("no_sidecar"))
    entry = ingress_entry(sidecar, port)
    capture = interception(pod)
    if not capture.takes(port) and not (capture.mode == "NONE" and entry):
        return Delivery("kernel", None, port, Cause("mode_none" if capture.mode == "NONE" else "excluded"))
    if entry:
        return _endpoint(entry, port, ips, plane, _name(sidecar))
    if sidecar and sidecar["spec"].get("ingress") and not plane.merges_ingress:
        return Delivery("pod_ip", None, port, Cause("not_listed", (_name(sidecar),)))
    kind = plane.default_delivery()
    if kind == "localhost" and not served:
        # controller.go (GetProxyServiceInstances)@1.20.8
        return Delivery("pod_ip", None, port, Cause("not_served", (str(plane),)))
    if kind == "localhost":
        address = localhost_of(ips)
        return Delivery(kind, address, port, Cause("plane", (str(plane), f"{address}{_because(plane)}")))
    if kind == "pod_ip":
        return Delivery(kind, None, port, Cause("plane", (str(plane), "the pod IP")))
    return Delivery(
        kind,
        localhost_of(ips),
        port,
        Cause("no_config") if plane.version else _unknown_version(plane),
    )


def _unknown_version(plane: ControlPlane) -> Cause:
    return Cause("no_version", (str(plane),)) if plane.name else Cause("no_plane")


def _because(plane: ControlPlane) -> str:
    if plane.version and plane.version >= (1, 22):
        return " (meshConfig.inboundTrafficPolicy.mode: LOCALHOST)"
    return f" ({PASSTHROUGH_ENV}=false)" if plane.version and plane.version >= (1, 10) else ""


def _name(thing: dict[str, t.Any] | None) -> str:
    return f"{thing['metadata']['namespace']}/{thing['metadata']['name']}" if thing else ""


def ingress_entry(sidecar: dict[str, t.Any] | None, port: int) -> dict[str, t.Any] | None:
    """The ingress listener for a target port: it is the pod's port, never the Service's (listener_inbound.go@1.20.8)."""
    listeners = sidecar["spec"].get("ingress") or () if sidecar else ()
    return next((i for i in listeners if i["port"].get("number") == port), None)


def _endpoint(entry: Thing, port: int, ips: t.Sequence[str], plane: ControlPlane, name: str) -> Delivery:
    """What a defaultEndpoint means: buildInboundClustersFromSidecar, pilot/pkg/networking/core/v1alpha3/cluster.go@1.9.9 to 1.20.8.

    A host that is none of those which validation lets pass is no host to it, and then the pod is dialled as it was asked for.
    """
    endpoint = entry.get("defaultEndpoint") or ""
    cause = Cause("sidecar", (name, endpoint or "the pod IP"))
    if endpoint.startswith("unix://"):
        return Delivery("unix", None, port, cause)
    host, _colon, number = endpoint.rpartition(":")
    host = host.strip("[]")
    if not re.fullmatch(r"\d{1,5}", number, re.ASCII):
        return Delivery("pod_ip", None, port, cause)
    v4 = next((ip for ip in ips if not is_ipv6(ip)), None)
    v6 = next((ip for ip in ips if is_ipv6(ip)), None)
    old = plane.version is not None and plane.version < (1, 15)
    if host == "0.0.0.0":
        address = (ips[0] if ips and old else v4) or "127.0.0.1"
    elif host == "::":
        address = v6 or "::1"
    elif host == "::1":
        address = "::1" if v6 and (dials_ipv6_localhost(plane.version) or not v4) else "127.0.0.1"
    elif host == "127.0.0.1" or (not host and plane.version is not None and plane.version < (1, 10)):
        address = localhost_of(ips)
    elif not host and plane.version is None:
        either = Cause("either", (name, endpoint, str(_unknown_version(plane))))
        return Delivery("unknown", localhost_of(ips), int(number), either)
    else:
        return Delivery("pod_ip", None, port, Cause("no_endpoint", (name, endpoint)))
    return Delivery("localhost" if is_loopback(address) else "pod_ip", address, int(number), cause)


def dials_ipv6_localhost(version: Version | None) -> bool:
    """Whether the defaultEndpoint `[::1]` means ::1 in a pod with both families; it was 127.0.0.1 until release note 47412 (1.18.6, 1.19.4, 1.20.0)."""
    return version is not None and (
        version >= (1, 20) or (1, 19, 4) <= version < (1, 20) or (1, 18, 6) <= version < (1, 19)
    )
