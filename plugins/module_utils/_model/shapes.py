# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""What is read of each object: THE table, so that nothing else is ever kept."""

from __future__ import annotations

import contextlib
import json
import re
import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.istio_values import as_object
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.outside import OutsideError, fields_of_yaml
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.schema import (
    Address,
    Alike,
    Mapping,
    Misshapen,
    Number,
    Reduced,
    Required,
    is_address,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.trim import trim

ANNOTATIONS = (
    "ambient.istio.io/redirection",
    "galley.istio.io/analyze-suppress",
    "inject.istio.io/templates",
    "istio.io/rev",
    "openshift.io/deployment-config.name",
    "sidecar.istio.io/interceptionMode",
    "sidecar.istio.io/rewriteAppHTTPProbers",
    "sidecar.istio.io/status",
    "status.sidecar.istio.io/port",
    "traffic.sidecar.istio.io/excludeInboundPorts",
    "traffic.sidecar.istio.io/includeInboundPorts",
)

DUAL_STACK_ENV = "ISTIO_DUAL_STACK"
POD_ENV = ("ISTIO_META_INTERCEPTION_MODE", "REWRITE_PROBE_LEGACY_LOCALHOST_DESTINATION", DUAL_STACK_ENV)
"""Variables of the proxy whose values the rule reads; no other value of any container is ever kept, but for parts of those below."""

CA_ENV = "CA_ADDR"
CONFIG_ENV = "PROXY_CONFIG"
ADDRESS = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252})(?::\d{1,5})?", re.ASCII)
"""The address of a control plane, a name and a port: what is kept of these two variables."""

ISTIO_CONTAINERS = ("istio-proxy", "istio-init", "istio-validation")
"""Containers that Istio wrote; the arguments of any other one may hold secrets and are dropped."""

PROBERS_ENV = "ISTIO_KUBE_APP_PROBERS"

PORT = Number(1, 65535)
PORT_OR_NAME = (PORT, str)
ISTIO_PORT = Number(-(1 << 63), (1 << 63) - 1)
"""Of Istio's own kinds only its webhook bounds ports, and it may be off: what one author writes there must not cost the others their verdict."""
LABELS = Alike(Mapping(str))


def _handler(number: t.Any) -> dict[str, t.Any]:
    return {
        "httpGet": {"port": number, "host": str, "scheme": str},
        "tcpSocket": {"port": number, "host": str},
        "grpc": {"port": number},
        "exec": {},
    }


PROBE = _handler(PORT_OR_NAME)
HOOK = {"httpGet": PROBE["httpGet"]}
"""A lifecycle hook. One by tcpSocket is none that the kubelet can run."""


def _proxy_config(text: str) -> str | None:
    """Of `proxy.istio.io/config` (YAML) only interceptionMode: its proxyMetadata holds environment values. The pod's author writes it."""
    if "interceptionMode" not in text:
        return None
    try:
        mode = fields_of_yaml(text, ["interceptionMode"]).get("interceptionMode")
    except OutsideError:
        return None
    return json.dumps({"interceptionMode": mode}) if isinstance(mode, str) and mode.isalpha() else None


def _env(entries: list[t.Any]) -> list[dict[str, str]]:
    """The variables in POD_ENV with their values, and the probers without their request headers."""
    kept = []
    for entry in entries:
        name, value = entry.get("name"), entry.get("value")
        if not isinstance(value, str):
            continue
        if name in POD_ENV:
            kept.append({"name": name, "value": value})
        elif name == PROBERS_ENV:
            kept.append({"name": name, "value": json.dumps(dict(_probers(value)), sort_keys=True)})
        elif name == CA_ENV and ADDRESS.fullmatch(value):
            kept.append({"name": name, "value": value})
        elif name == CONFIG_ENV and value.lstrip().startswith("{"):
            address = as_object(value).get("discoveryAddress")
            known = isinstance(address, str) and ADDRESS.fullmatch(address)
            if known or address is None:  # without one it is Istio's default
                kept.append({"name": name, "value": json.dumps({"discoveryAddress": address} if known else {})})
    return kept


def _probers(text: str) -> t.Iterator[tuple[str, t.Any]]:
    """What Istio wrote has its shape; anybody can write something else."""
    for path, probe in as_object(text).items():
        with contextlib.suppress(Misshapen):
            yield path, trim(probe, PROBE)


OWNERS = Alike([{"apiVersion": str, "kind": Required(str), "name": Required(str), "uid": str, "controller": bool}])

POD_META = {
    "name": Required(str),
    "namespace": Required(Alike(str)),
    "uid": str,
    "deletionTimestamp": str,
    "labels": LABELS,
    "annotations": Alike(
        {
            **dict.fromkeys(ANNOTATIONS, str),
            "proxy.istio.io/config": Reduced(str, _proxy_config),
        }
    ),
    "ownerReferences": OWNERS,
}
META = Required({**POD_META, "creationTimestamp": str, "resourceVersion": str})

CONTAINER = {
    "name": Required(str),
    "image": str,
    "args": [str],
    "restartPolicy": str,
    "env": Reduced([{"name": str, "value": str}], _env),
    "ports": [{"name": str, "containerPort": Required(PORT), "protocol": str}],
    "livenessProbe": PROBE,
    "readinessProbe": PROBE,
    "startupProbe": PROBE,
    "lifecycle": {"postStart": HOOK, "preStop": HOOK},
}

CONTAINER_STATUS = {
    "name": Required(str),
    "ready": bool,
    "state": {"running": {}, "waiting": {"reason": str}, "terminated": {"reason": str}},
}


def _read_of(container: t.Any) -> t.Any:
    """Of a container that Istio did not write, neither arguments nor environment."""
    if not isinstance(container, dict):
        return container
    ours = container.get("name") in ISTIO_CONTAINERS
    return {
        field: container[field] for field in CONTAINER if field in container and (ours or field not in ("args", "env"))
    }


def _addresses_once(status: t.Any) -> t.Any:
    """The primary address stands in a status twice; the list is kept where it says more."""
    if status.get("podIPs") == [{"ip": status.get("podIP")}]:
        del status["podIPs"]
    return status


CONTAINERS = Alike([Alike(CONTAINER, _read_of)])


def _pod(container_status: dict[str, t.Any]) -> dict[str, t.Any]:
    statuses = Alike([container_status])
    return {
        "metadata": Required(POD_META),
        # No field of a Pod: the name of the first pod with the same spec, of a pod whose labels do not name its template.
        "specLike": str,
        "spec": Required(
            {
                "containers": Required(CONTAINERS),
                "initContainers": CONTAINERS,
                "hostNetwork": bool,
                "nodeName": Alike(str),
            }
        ),
        "status": Reduced(
            {
                "phase": Alike(str),
                "podIP": Address(),
                "podIPs": [{"ip": Required(Address())}],
                "conditions": Alike([{"type": Required(str), "status": str}]),
                "containerStatuses": statuses,
                "initContainerStatuses": statuses,
            },
            _addresses_once,
        ),
    }


POD = _pod({**CONTAINER_STATUS, "containerID": str})
POD_WITHOUT_IDS = _pod(CONTAINER_STATUS)
"""Only a probe knows a container by its id, and without it the statuses of replicas are alike."""

SERVICE = {
    "metadata": META,
    "spec": Required(
        {
            "type": str,
            "clusterIP": str,
            "ipFamilies": [str],
            "selector": LABELS,
            "externalName": str,
            "ports": [
                {
                    "name": str,
                    "port": Required(PORT),
                    "targetPort": (Number(0, 65535), str),
                    "protocol": str,
                    "appProtocol": str,
                }
            ],
        }
    ),
}

SERVICE_ENTRY = {
    "metadata": META,
    "spec": Required(
        {
            "hosts": [str],
            "workloadSelector": {"labels": LABELS},
            "endpoints": [{"address": str, "ports": Mapping(ISTIO_PORT)}],
            "ports": [{"name": str, "number": Required(ISTIO_PORT), "protocol": str, "targetPort": ISTIO_PORT}],
        }
    ),
}

ENDPOINT_SLICE = {
    "metadata": META,
    "addressType": str,
    "endpoints": [{"addresses": [str], "targetRef": {"kind": str, "namespace": str, "name": str}}],
    "ports": [{"name": str, "port": PORT, "protocol": str}],
}

INGRESS = {
    "port": Required({"number": ISTIO_PORT, "name": str, "protocol": str}),
    "defaultEndpoint": str,
    "bind": str,
    "captureMode": str,
    "tls": dict,
    "connectionPool": dict,
}

SIDECAR = {
    "apiVersion": str,
    "metadata": META,
    # The whole spec is kept: a remediation carries over what it replaces. Empty parts say something here, so they are spelled out:
    # an empty selector selects every pod, and an empty policy is its enum's zero, REGISTRY_ONLY.
    "spec": Required(
        {
            "workloadSelector": Reduced({"labels": LABELS}, lambda selector: selector or {"labels": {}}),
            "ingress": [INGRESS],
            "egress": [dict],
            "outboundTrafficPolicy": Reduced(dict, lambda policy: policy or {"mode": "REGISTRY_ONLY"}),
            "inboundConnectionPool": dict,
        }
    ),
}

NAMESPACE = {"metadata": Required({"name": Required(str), "labels": LABELS})}


def _part(value: t.Any, name: str) -> dict[str, t.Any]:
    """A part of what an optional list holds, empty where it is not what it should be: that must not cost anybody a verdict."""
    part = value.get(name) if isinstance(value, dict) else None
    return part if isinstance(part, dict) else {}


def _parts(value: dict[str, t.Any], name: str) -> list[dict[str, t.Any]]:
    several = value.get(name)
    return [each for each in several if isinstance(each, dict)] if isinstance(several, list) else []


def _labels(value: dict[str, t.Any]) -> dict[str, str]:
    return {str(k): v for k, v in _part(value, "labels").items() if isinstance(v, str)}


LISTED_CONTROLLER = {
    "metadata": META,
    "spec": {"selector": dict, "replicas": Number(0, 1 << 31), "template": {"metadata": {"labels": LABELS}}},
}
CONTROLLER = {"kind": Required(str), **LISTED_CONTROLLER}

OPTIONAL_META = Required({"name": Required(str), "namespace": Required(str), "ownerReferences": OWNERS})


def _of_workload_entry(spec: t.Any) -> dict[str, t.Any]:
    """Its labels, its ports, and its address, if it is one that a pod may have."""
    if not isinstance(spec, dict):
        return {}
    ports, address = _part(spec, "ports"), spec.get("address")
    return {
        "labels": _labels(spec),
        "ports": {
            str(name): port
            for name, port in ports.items()
            if isinstance(port, int) and port is not True and 0 < port < 65536
        },
        **({"address": address} if isinstance(address, str) and is_address(address) else {}),
    }


WORKLOAD_ENTRY = {
    "metadata": OPTIONAL_META,
    "spec": Alike({"labels": Mapping(str), "ports": Mapping(PORT), "address": str}, _of_workload_entry),
}
WORKLOAD_GROUP = {
    "metadata": OPTIONAL_META,
    "spec": Alike(
        {"metadata": {"labels": Mapping(str)}}, lambda spec: {"metadata": {"labels": _labels(_part(spec, "metadata"))}}
    ),
}


def _of_envoy_filter(spec: t.Any) -> dict[str, t.Any]:
    """Whom it is for, and which parts of a proxy it changes, each once; not how."""
    if not isinstance(spec, dict):
        return {}
    changes: dict[tuple[str, ...], dict[str, t.Any]] = {}
    for each in _parts(spec, "configPatches"):
        words = (each.get("applyTo"), _part(each, "match").get("context"), _part(each, "patch").get("operation"))
        applied, context, operation = (word if isinstance(word, str) else "" for word in words)
        changes.setdefault(
            (applied, context, operation),
            {"applyTo": applied, "match": {"context": context}, "patch": {"operation": operation}},
        )
    targets = [*_parts(spec, "targetRefs"), *filter(None, [_part(spec, "targetRef")])]
    return {
        "workloadSelector": {"labels": _labels(_part(spec, "workloadSelector"))},
        "targetRefs": [{"kind": str(each.get("kind"))} for each in targets],
        "configPatches": [changes[which] for which in sorted(changes)],
    }


ENVOY_FILTER = {
    "metadata": OPTIONAL_META,
    "spec": Alike(
        {
            "workloadSelector": {"labels": Mapping(str)},
            "targetRefs": [{"kind": str}],
            "configPatches": [{"applyTo": str, "match": {"context": str}, "patch": {"operation": str}}],
        },
        _of_envoy_filter,
    ),
}

CONTROL_PLANE = {
    "namespace": str,
    "revision": str,
    "version": str,
    "versions": [{"by": Required(str), "label": str, "text": Required(str)}],
    "maistra": bool,
    "running": bool,
    "rewritesProbes": bool,
    "env": Mapping(str),
    "envUnknown": [str],
    "meshConfig": dict,
    "meshConfigUnknown": {"why": Required(str), "name": str},
}
"""`versions` is what was read of its version, and where; `version` is the Istio in it, as far as that agrees. `maistra` is whether its pods and
Deployment are those of OpenShift Service Mesh 2. `envUnknown` are variables that are set, or may be, to what was not seen; `meshConfigUnknown` says
why its mesh configuration is not known: `unlisted`, `absent`, `unreadable` or `unnamed`. `running` is false for one that has no pod that runs yet.
`rewritesProbes` is what the values of its injector say, left out where that was not seen."""

SOCKET_TABLE = {
    "namespace": Required(str),
    "pod": Required(str),
    "container": str,
    "format": Required(str),
    "stdout": Required(str),
    "holders": [{"inode": Required(Number(0, 1 << 64)), "process": Required(str), "containerID": str}],
}
"""`holders` says which processes have the listening sockets open; whoever reads a table inside the pod cannot know."""

PROXY_CONFIG = {
    "namespace": Required(str),
    "pod": Required(str),
    "inbound": [{"port": Required(PORT), "type": Required(str), "address": str}],
    "reason": str,
    "detail": str,
}
"""What a pod's proxy said of the ports that clients ask it for; where it said nothing, why."""

SNAPSHOT = {
    "metadata": {
        **dict.fromkeys(("takenAt", "server", "context", "serverVersion", "scope"), str),
        "namespaces": [str],
    },
    "services": Required([SERVICE]),
    "pods": Required([POD]),
    "sidecars": Required([SIDECAR]),
    "serviceEntries": [SERVICE_ENTRY],
    "endpointSlices": [ENDPOINT_SLICE],
    "controllers": [CONTROLLER],
    "namespaces": [NAMESPACE],
    "workloadEntries": [WORKLOAD_ENTRY],
    "workloadGroups": [WORKLOAD_GROUP],
    "envoyFilters": [ENVOY_FILTER],
    "emptyNamespaces": [str],
    "sidecarVersions": [str],
    "unlisted": [{"resource": Required(str), "namespace": str, "object": str, "detail": str}],
    "istio": {
        "istioNamespace": str,
        "rootNamespace": str,
        "controlPlanes": [CONTROL_PLANE],
        "meshConfig": dict,
        "variables": [str],
    },
    "socketTables": Required([SOCKET_TABLE]),
    "proxyConfigs": [PROXY_CONFIG],
    "unread": Required(
        [
            {
                "namespace": Required(str),
                "pod": Required(str),
                "reason": Required(str),
                "detail": str,
                "status": Number(0, 999),
                "lacks": [str],
            }
        ]
    ),
}

PASSTHROUGH_ENV = "PILOT_ENABLE_INBOUND_PASSTHROUGH"
MERGE_ENV = "PILOT_ALLOW_SIDECAR_SERVICE_INBOUND_LISTENER_MERGE"
SHARED_ENV = "SHARED_MESH_CONFIG"
SCOPING_ENV = "ENABLE_ENHANCED_RESOURCE_SCOPING"
ISTIOD_ENV = (PASSTHROUGH_ENV, MERGE_ENV, DUAL_STACK_ENV, SCOPING_ENV)
"""Variables of istiod whose values the rule reads."""

VERSION_LABELS = ("app.kubernetes.io/version", "operator.istio.io/version", "maistra-version")
MAISTRA_LABELS = ("maistra-control-plane", "maistra-version")
"""Labels that OpenShift Service Mesh 2 gives to pods and Deployments of its control planes, the second also to pods that it injects."""


def _istiod_env(entries: list[t.Any]) -> list[dict[str, t.Any]]:
    return [entry for entry in entries if entry.get("name") in (*ISTIOD_ENV, SHARED_ENV)]


_ISTIOD_SPEC = {
    "containers": Required(
        [
            {
                "name": Required(str),
                "image": str,
                "env": Reduced([{"name": str, "value": str, "valueFrom": {}}], _istiod_env),
                "envFrom": [{"prefix": str, "configMapRef": {}, "secretRef": {}}],
            }
        ]
    ),
    "volumes": [{"name": str, "configMap": {"name": str}}],
}
ISTIOD = {
    "metadata": Required({"name": Required(str), "namespace": Required(str), "labels": LABELS}),
    "spec": Required(_ISTIOD_SPEC),
    "status": {"phase": str},
}
ISTIOD_DEPLOYMENT = {
    "metadata": Required({"name": Required(str), "namespace": Required(str), "labels": LABELS}),
    "spec": Required(
        {"selector": {"matchLabels": LABELS}, "template": {"metadata": {"labels": LABELS}, "spec": _ISTIOD_SPEC}}
    ),
}
SERVICE_MESH_CONTROL_PLANE = {
    "metadata": Required({"name": Required(str), "namespace": Required(str)}),
    "status": {"chartVersion": str},
}
REWRITING = ("sidecarInjectorWebhook", "rewriteAppHTTPProbe")


def _injector_values(text: str) -> str | None:
    """Of the values of an injector the one that the rule reads, in its place."""
    webhook, name = REWRITING
    found = _part(as_object(text), webhook).get(name) if name in text else None
    return json.dumps({webhook: {name: found}}) if isinstance(found, bool) else None


MESH_CONFIG = {
    "metadata": Required({"name": Required(str), "namespace": Required(str)}),
    "data": {"mesh": str, "values": Reduced(str, _injector_values)},
}

MESH_CONFIG_FIELDS = ("rootNamespace", "inboundTrafficPolicy", "outboundTrafficPolicy", "discoverySelectors")
