# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""What a pod says of the mesh: whether it has a sidecar, which revision injected it, what its proxy intercepts.

Citations are `path@tag` in istio/istio.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.istio_values import (
    Version,
    as_object,
    as_version,
    go_true,
    image_tag,
    of_service_mesh,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.kube import (
    Pod,
    Template,
    Thing,
    once_per_template,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.shapes import (
    CA_ENV,
    CONFIG_ENV,
    DUAL_STACK_ENV,
)

ISTIO_PORTS = frozenset((15000, 15001, 15004, 15006, 15008, 15020, 15021, 15053, 15090))
"""Ports of the proxy and its agent: istioReservedPorts, pilot/cmd/pilot-agent/status/server.go@1.20.8."""

NOT_INTERCEPTED = frozenset((15020, 15021, 15090))
"""Inbound ports that injection always excludes: manifests/charts/istio-control/istio-discovery/files/injection-template.yaml@1.20.8."""

TUNNEL = 15008
"""istio-iptables redirects it nowhere, and has TPROXY take it: tools/istio-iptables/pkg/capture/run.go@1.20.8 (InboundTunnelPort)."""


@once_per_template
def proxy_container(pod: Template) -> Thing | None:
    """The container `istio-proxy`, ordinary or native sidecar: FindSidecar, pkg/kube/inject/app_probe.go@1.20.8."""
    return next((c for c in pod.containers if c["name"] == "istio-proxy"), None)


def proxy_version(pod: Pod | Template, container: Thing) -> Version | None:
    """The version of Istio that `container`, which an injector made, is of; that of OpenShift Service Mesh 2 labels its pods with its own numbers."""
    mesh = pod.labels.get("maistra-version")
    return of_service_mesh(mesh) if mesh else as_version(image_tag(container.get("image")))


@once_per_template
def has_sidecar(pod: Template) -> bool:
    """Whether istiod sends the pod's proxy inbound listeners of a sidecar: not to a gateway, a waypoint or an agent of proxyless gRPC.

    The proxy's own arguments say so; the label tlsMode and the status annotation do not tell a gateway from a sidecar. The agent's
    say `sidecar` too, but nothing is set up for it to intercept (files/grpc-agent.yaml@1.20.8). A pod in its node's network is never
    injected (inject.go@1.20.8).
    """
    proxy = proxy_container(pod)
    templates = {name.strip() for name in (pod.annotations.get("inject.istio.io/templates") or "").split(",")}
    intercepting = any(c["name"] in ("istio-init", "istio-validation") for c in pod.init_containers)
    if not proxy or pod.host_network or ("grpc-agent" in templates and not intercepting):
        return False
    args = (proxy.get("args") or ())[:2]
    if "sidecar" in args:
        return True
    return not {"router", "waypoint"}.intersection(args) and not templates & {"gateway", "waypoint", "kube-gateway"}


@once_per_template
def is_ambient(pod: Template) -> bool:
    """Whether ztunnel captures the pod: pkg/config/constants/constants.go (AmbientRedirectionEnabled) at HEAD of 2026-08."""
    return pod.annotations.get("ambient.istio.io/redirection") == "enabled" and not has_sidecar(pod)


class Revision(t.NamedTuple):
    """The control plane revision that a pod names; `certain` if the injector wrote it, else it may be a revision tag."""

    name: str
    certain: bool


@once_per_template
def revision(pod: Template) -> Revision:
    """The revision that injected the pod, `default` where nothing says.

    The status annotation names it from 1.11 (pkg/kube/inject/webhook.go@1.11.0), from 1.18 an annotation of its own does too; the
    label is the injector's up to 1.10 and the user's after.
    """
    annotations = pod.annotations
    named = as_object(annotations.get("sidecar.istio.io/status")).get("revision") or annotations.get("istio.io/rev")
    if isinstance(named, str) and named:
        return Revision(named, True)
    return Revision(pod.labels.get("istio.io/rev") or "default", False)


class Discovery(t.NamedTuple):
    """Where a pod's proxy asks for its configuration: a Service and its namespace, both empty for an address outside of the cluster."""

    service: str
    namespace: str
    text: str
    certain: bool
    """Whether the proxy's own configuration says so; else it is where it gets its certificates, which istiod mostly gives, too."""


DEFAULT_DISCOVERY = "istiod.istio-system.svc:15012"
"""What an injector leaves out of PROXY_CONFIG: pkg/config/mesh/mesh.go and cleanProxyConfig, pkg/kube/inject/template.go@1.20.8."""


@once_per_template
def discovery(pod: Template) -> Discovery | None:
    """None where nothing says."""
    proxy = proxy_container(pod) or {}
    env = {e.get("name"): e.get("value") for e in proxy.get("env") or ()}
    args = list(proxy.get("args") or ())
    if "--discoveryAddress" in args[:-1]:  # up to 1.5
        return _discovery(args[args.index("--discoveryAddress") + 1], pod, True)
    config = env.get(CONFIG_ENV)
    if config is not None:
        return _discovery(as_object(config).get("discoveryAddress") or DEFAULT_DISCOVERY, pod, True)
    found = _discovery(env.get(CA_ENV) or "", pod, False)
    return found if found.service.startswith("istiod") else None


def _discovery(text: str, pod: Template, certain: bool) -> Discovery:
    """As the cluster's DNS takes it: `SERVICE`, `SERVICE.NAMESPACE`, and on with `.svc`."""
    parts = text.partition(":")[0].split(".")
    if len(parts) > 2 and parts[2] != "svc":
        return Discovery("", "", text, certain)
    return Discovery(parts[0], parts[1] if len(parts) > 1 else pod.namespace, text, certain)


@once_per_template
def redirects_both(pod: Template) -> bool:
    """Whether iptables hand connections over both families to the proxy: its environment, from which istio-init and istio-cni have it."""
    env = {e.get("name"): e.get("value") for e in (proxy_container(pod) or {}).get("env") or ()}
    return go_true(env.get(DUAL_STACK_ENV))


class Interception(t.NamedTuple):
    """Which inbound connections iptables hands to the proxy."""

    mode: str
    include: str
    exclude: frozenset[int]
    loses_ipv6: bool = False
    """Whether what it takes over IPv6 arrives nowhere: up to 1.11 istio-init redirects that in mode TPROXY, too, and so the proxy connects from the
    client's address, to which the answer leaves the pod: handleInboundIpv6Rules, run.go@1.9.9 to 1.11; ROUTES_IPV6_SINCE."""
    spares_ssh: bool = False
    """Whether it leaves port 22 out where everything is included, unasked: run.go@1.12.0; no more from commit f1f7487b9cb, TAKES_SSH_SINCE."""

    def takes(self, port: int) -> bool:
        """tools/istio-iptables/pkg/capture/run.go@1.20.8: excludes count only where everything is included."""
        if self.mode == "NONE" or port in NOT_INTERCEPTED or (port == TUNNEL and self.mode != "TPROXY"):
            return False
        if self.include == "*":
            return port not in self.exclude and not (self.spares_ssh and port == SSH)
        return port in _ports(self.include)

    def anew(self, version: Version | None) -> Interception:
        """That of the pod which an injector of this version makes in the place of this one."""
        if version is None:
            return self
        return self._replace(
            loses_ipv6=self.loses_ipv6 and version < ROUTES_IPV6_SINCE,
            spares_ssh=self.spares_ssh and version < TAKES_SSH_SINCE,
        )


SSH = 22
TAKES_SSH_SINCE: Version = (1, 13)

ROUTES_IPV6_SINCE: Version = (1, 12)
"""The istio-init that first lets connections over IPv6 arrive in mode TPROXY; tests/envoy shows both."""


@once_per_template
def interception(pod: Template) -> Interception:
    """From istio-init's arguments where it ran (what really was set), else from the annotations that istio-cni reads."""
    annotations = pod.annotations
    proxy = proxy_container(pod) or {}
    env = {e.get("name"): e.get("value") for e in proxy.get("env") or ()}
    init: Thing = next((c for c in pod.init_containers if c["name"] == "istio-init"), {})
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
    version = proxy_version(pod, init or proxy)
    loses_ipv6 = mode.upper() == "TPROXY" and version is not None and version < ROUTES_IPV6_SINCE
    spares_ssh = version is not None and version < TAKES_SSH_SINCE
    return Interception(mode.upper(), include.strip(), frozenset(ports), loses_ipv6, spares_ssh)


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
