# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""What the rule reads of each object: one table of shapes, and how it trims what the API gave, so that nothing else is ever kept."""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import json
import marshal
import math
import socket
import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.outside import OutsideError, fields_of_yaml
from ansible_collections.meshops.istio_precheck.plugins.module_utils._notation import as_object

MAX_DEPTH = 64
"""Most levels of what is carried over as it is, which copying and printing goes through level by level."""


class Misshapen(ValueError):
    """A part that has not its shape: what was wanted, and what there is. Where that is in the object, check_shape() of _snapshot says."""

    def __init__(self, wanted: str, value: t.Any) -> None:
        super().__init__(f"wanted {wanted}")
        self.wanted, self.value = wanted, value


class Required:
    """A field that evaluate cannot do without."""

    def __init__(self, shape: t.Any) -> None:
        self.shape = shape


class Mapping:
    """A mapping with free keys and values of one shape."""

    def __init__(self, value: t.Any) -> None:
        self.value = value


class Only:
    """A mapping of these fields and no other: what a person or a program wrote for this collection to act on."""

    def __init__(self, fields: dict[str, t.Any]) -> None:
        self.fields = fields


class Reduced:
    """A field of which only a part may be kept; `keep` returns that part, or None for nothing."""

    def __init__(self, shape: t.Any, keep: t.Callable[[t.Any], t.Any]) -> None:
        self.shape = shape
        self.keep = keep


class Alike(Reduced):
    """A part that many objects have in common, as replicas have what their template says: a Trimmer makes and holds it once.

    `look`, where it costs something to trim the part, says what of it is read at all, so that the rest does not make it another.
    """

    def __init__(self, shape: t.Any, look: t.Callable[[t.Any], t.Any] | None = None) -> None:
        super().__init__(shape, lambda part: part)
        self.look = look


class Number:
    """A whole number within bounds; what a file may hold there is checked, since it ends up in arithmetic and names."""

    def __init__(self, low: int, high: int) -> None:
        self.low, self.high = low, high


class Address:
    """An IP address, or empty text where there is none yet: rules compute with it."""


# ---------------------------------------------------------------------------------------------------------------------
# What the rule reads

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

POD_ENV = ("ISTIO_META_INTERCEPTION_MODE", "REWRITE_PROBE_LEGACY_LOCALHOST_DESTINATION")
"""Variables of the proxy whose values the rule reads; no other value of any container is ever kept."""

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

LISTED_CONTROLLER = {
    "metadata": META,
    "spec": {"selector": dict, "replicas": Number(0, 1 << 31)},
}
CONTROLLER = {"kind": Required(str), **LISTED_CONTROLLER}

CONTROL_PLANE = {"namespace": str, "revision": str, "version": str, "env": Mapping(str), "meshConfig": dict}

SOCKET_TABLE = {
    "namespace": Required(str),
    "pod": Required(str),
    "container": str,
    "format": Required(str),
    "stdout": Required(str),
    "holders": [{"inode": Required(Number(0, 1 << 64)), "process": Required(str), "containerID": str}],
}
"""`holders` says which processes have the listening sockets open; whoever reads a table inside the pod cannot know."""

SNAPSHOT = {
    "metadata": {"takenAt": str, "server": str, "serverVersion": str, "scope": str},
    "services": Required([SERVICE]),
    "pods": Required([POD]),
    "sidecars": Required([SIDECAR]),
    "serviceEntries": [SERVICE_ENTRY],
    "endpointSlices": [ENDPOINT_SLICE],
    "controllers": [CONTROLLER],
    "emptyNamespaces": [str],
    "sidecarVersions": [str],
    "unlisted": [{"resource": Required(str), "object": str, "detail": str}],
    "istio": {"rootNamespace": str, "controlPlanes": [CONTROL_PLANE], "meshConfig": dict},
    "socketTables": Required([SOCKET_TABLE]),
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


# ---------------------------------------------------------------------------------------------------------------------
# Trimming


def trim(value: t.Any, shape: t.Any) -> t.Any:
    """What `shape` names of `value`, as plain JSON types; empty and absent parts are left out, unless they are required.

    Raises Misshapen for what has not the shape, so that all that is kept can be recorded and read again.
    """
    return _PLAIN(value, shape)


PLAIN_MARSHAL = 2
"""The last version of the format without references, in which equal values have equal bytes; several times as fast as repr() or JSON."""


WORDS: dict[type, str] = {str: "text", bool: "true or false"}


class Trimmer:
    """trim() for many objects: parts that are equal, where a shape says that they may be, are one object, which nobody may change."""

    def __init__(self, share: bool = True) -> None:
        self._share = share
        self._functions: dict[int, tuple[t.Any, t.Callable[[t.Any], t.Any] | None]] = {}
        self._held: dict[int | str, t.Any] = {}
        self._made: dict[bytes, t.Any] = {}

    def __call__(self, value: t.Any, shape: t.Any) -> t.Any:
        function = self._function(shape)
        return function(value) if function else value

    def _function(self, shape: t.Any) -> t.Callable[[t.Any], t.Any] | None:
        """What trims to `shape`, None where there is nothing to trim; made once, because looking a shape up costs more than trimming."""
        known = self._functions.get(id(shape))
        if known is None:
            known = self._functions[id(shape)] = (shape, self._new_function(shape))
        return known[1]

    def _new_function(self, shape: t.Any) -> t.Callable[[t.Any], t.Any] | None:
        if isinstance(shape, Required):
            return self._function(shape.shape)
        if isinstance(shape, Alike):
            return self._alike(shape, self._function(shape.shape))
        if isinstance(shape, Reduced):
            inner, keep = self._function(shape.shape), shape.keep
            return (lambda value: keep(inner(value))) if inner else keep
        if isinstance(shape, dict):
            return self._mapping(shape)
        if isinstance(shape, list):
            return self._list(self._function(shape[0]))
        if isinstance(shape, Number):
            return _number(shape)
        if isinstance(shape, tuple):
            return _number_or_text(_number(shape[0]))
        return _LEAVES.get(shape if isinstance(shape, type) else type(shape))

    def _mapping(self, shape: dict[str, t.Any]) -> t.Callable[[t.Any], t.Any]:
        fields = []
        for key, inner in shape.items():
            plain = inner.shape if isinstance(inner, Required) else inner
            word = (
                plain if isinstance(plain, type) and plain in WORDS else None
            )  # its class is looked at here: a call for each text costs more
            fields.append(
                (key, None if word else self._function(inner), word, isinstance(inner, Required), inner == {})
            )

        def mapping(value: t.Any) -> t.Any:
            if not isinstance(value, dict):
                raise Misshapen("a mapping", value)
            kept = {}
            for key, function, word, required, may_be_empty in fields:
                part = value.get(key)
                if part is None:
                    if required:
                        raise Misshapen(key, value)
                    continue
                if function:
                    part = function(part)
                    if part is None:
                        continue
                elif part.__class__ is not word:
                    raise Misshapen(WORDS[word], part)
                if part or required or (part != [] and (part != {} or may_be_empty)):
                    kept[key] = part
            return kept

        return mapping

    def _list(self, item: t.Callable[[t.Any], t.Any] | None) -> t.Callable[[t.Any], t.Any]:
        def several(value: t.Any) -> t.Any:
            if not isinstance(value, list):
                raise Misshapen("a list", value)
            return [item(each) for each in value] if item else list(value)

        return several

    def _alike(self, shape: Alike, inner: t.Callable[[t.Any], t.Any] | None) -> t.Callable[[t.Any], t.Any] | None:
        held, made, look = self._held, self._made, shape.look

        def looked(value: t.Any) -> t.Any:
            return inner(look(value)) if inner and look else value

        def once(value: t.Any) -> t.Any:
            read = look(value) if look else value
            digest = hashlib.blake2b(marshal.dumps(read, PLAIN_MARSHAL), digest_size=16).digest()
            if digest not in made:
                made[digest] = inner(read) if inner else read
            return made[digest]

        def equal(value: t.Any) -> t.Any:
            part = inner(value) if inner else value
            one = held.setdefault(hash(marshal.dumps(part, PLAIN_MARSHAL)), part)
            return one if one == part else part

        def of_the_same(value: t.Any) -> t.Any:
            part = inner(value) if inner else value
            one = held.setdefault(hash(tuple(map(id, part))), part)
            return one if one == part else part

        if not self._share:
            return looked if look else inner
        if look:
            return once
        if shape.shape is str:
            return lambda value: held.setdefault(_text(value), value)
        return of_the_same if isinstance(shape.shape, list) and isinstance(shape.shape[0], Alike) else equal


def _word(kind: type) -> t.Callable[[t.Any], t.Any]:
    def word(value: t.Any) -> t.Any:
        if value.__class__ is not kind:
            raise Misshapen(WORDS[kind], value)
        return value

    return word


_text = _word(str)


def _number(shape: Number) -> t.Callable[[t.Any], t.Any]:
    low, high = shape.low, shape.high

    def number(value: t.Any) -> t.Any:
        if value.__class__ is not int or not low <= value <= high:
            raise Misshapen(f"a whole number from {low} to {high}", value)
        return value

    return number


def _number_or_text(number: t.Callable[[t.Any], t.Any]) -> t.Callable[[t.Any], t.Any]:
    return lambda value: value if value.__class__ is str else number(value)


def _texts(value: t.Any) -> t.Any:
    if value.__class__ is not dict:
        raise Misshapen("a mapping", value)
    for each in value.values():
        if each.__class__ is not str:
            raise Misshapen("text", each)
    return value


def _address(value: t.Any) -> t.Any:
    if not is_address(value):
        raise Misshapen("an IP address", value)
    return value


def is_address(value: t.Any) -> bool:
    return isinstance(value, str) and _parses(value)


def _parses(text: str) -> bool:
    with contextlib.suppress(OSError, ValueError):  # which is much faster, and takes nothing that the other does not
        socket.inet_pton(socket.AF_INET, text)
        return True
    try:
        ipaddress.ip_address(text or "::")
    except ValueError:
        return False
    return True


def check_free(value: t.Any) -> t.Any:
    """What is carried over as it is has to be JSON that everybody reads: Python's parser takes NaN, and levels without end. Raises Misshapen."""
    if not isinstance(value, dict):
        raise Misshapen("a mapping", value)
    level: list[t.Any] = [value]
    for _depth in range(MAX_DEPTH):
        for item in level:
            if isinstance(item, float) and not math.isfinite(item):
                raise Misshapen("a number that JSON has", item)
        level = [
            inner
            for item in level
            if isinstance(item, (dict, list))
            for inner in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            return value
    raise Misshapen(f"at most {MAX_DEPTH} levels", value)


_LEAVES: dict[t.Any, t.Callable[[t.Any], t.Any]] = {
    str: _text,
    bool: _word(bool),
    dict: check_free,
    Address: _address,
    Mapping: _texts,
}
"""What checks a leaf: the table of shapes has text for the values of every Mapping."""

_PLAIN = Trimmer(share=False)
