# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""The ClusterSnapshot: what was seen of a cluster, as plain data that a user can read, keep and send.

One table of shapes says which fields of each object the rule reads. It trims what the API gave (so nothing else is ever
kept) and it checks what a file holds (so nothing else has to).
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import ipaddress
import json
import marshal
import math
import os
import tempfile
import typing as t
import zlib

API_VERSION = "precheck.meshops.io/v1"
KIND = "ClusterSnapshot"
TABLE_FORMATS = ("ss", "procnet", "netstat")
MAX_BYTES = 256 << 20
"""Most bytes of JSON that read() unpacks; ten thousand pods take about 50 MB."""

MAX_VALUES = 5_000_000
"""Most values in them, since a value of two bytes, `{}`, takes 64 as an object; ten thousand pods have about a million."""

MAX_DEPTH = 64
"""Most levels of what is carried over as it is, which copying and printing goes through level by level."""

Snapshot = t.Dict[str, t.Any]


class SnapshotError(ValueError):
    """A document that is not a ClusterSnapshot; the text names the path inside it."""


class Required:
    """A field that evaluate cannot do without."""

    def __init__(self, shape: t.Any) -> None:
        self.shape = shape


class Mapping:
    """A mapping with free keys and values of one shape."""

    def __init__(self, value: t.Any) -> None:
        self.value = value


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
LABELS = Alike(Mapping(str))


def _handler(number: t.Any) -> dict[str, t.Any]:
    return {
        "httpGet": {"path": str, "port": number, "host": str, "scheme": str},
        "tcpSocket": {"port": number, "host": str},
        "grpc": {"port": number},
        "exec": {},
    }


PROBE = _handler(PORT_OR_NAME)


def _proxy_config(text: str) -> str | None:
    """Of `proxy.istio.io/config` (YAML) only interceptionMode: its proxyMetadata holds environment values."""
    import yaml

    try:
        config = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):  # a number of 5000 digits is a ValueError
        return None
    mode = config.get("interceptionMode") if isinstance(config, dict) else None
    return json.dumps({"interceptionMode": mode}) if isinstance(mode, str) else None


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
            try:
                probers = json.loads(value)
            except ValueError:
                continue
            if isinstance(probers, dict):
                trimmed = {path: trim(probe, PROBE) for path, probe in probers.items() if isinstance(probe, dict)}
                kept.append({"name": name, "value": json.dumps(trimmed, sort_keys=True)})
    return kept


OWNERS = Alike([{"apiVersion": str, "kind": Required(str), "name": Required(str), "uid": str, "controller": bool}])

META = Required(
    {
        "name": Required(str),
        "namespace": Required(Alike(str)),
        "uid": str,
        "creationTimestamp": str,
        "deletionTimestamp": str,
        "resourceVersion": str,
        "labels": LABELS,
        "annotations": Alike(
            {
                **{name: str for name in ANNOTATIONS},
                "proxy.istio.io/config": Reduced(str, _proxy_config),
            }
        ),
        "ownerReferences": OWNERS,
    }
)

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
    "containerID": str,
    "ready": bool,
    "state": {"running": {}, "waiting": {"reason": str}, "terminated": {"reason": str}},
}


def _read_of(container: t.Any) -> t.Any:
    """Of a container that Istio did not write, neither arguments nor environment."""
    ours = container.get("name") in ISTIO_CONTAINERS
    return {field: container[field] for field in CONTAINER if field in container and (ours or field not in ("args", "env"))}


def _one_text(status: t.Any) -> t.Any:
    """The primary address stands in a status twice; it is held once."""
    for entry in status.get("podIPs") or ():
        if entry["ip"] == status.get("podIP"):
            entry["ip"] = status["podIP"]
    return status


CONTAINERS = Alike([Alike(CONTAINER, _read_of)])
CONTAINER_STATUSES = Alike([CONTAINER_STATUS])

POD = {
    "metadata": META,
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
            "containerStatuses": CONTAINER_STATUSES,
            "initContainerStatuses": CONTAINER_STATUSES,
        },
        _one_text,
    ),
}

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
            "ports": [{"name": str, "number": Required(PORT), "protocol": str, "targetPort": PORT}],
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
    "port": Required({"number": PORT, "name": str, "protocol": str}),
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

CONTROLLER = {
    "kind": Required(str),
    "metadata": META,
    "spec": {"selector": dict, "replicas": Number(0, 1 << 31)},
}

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
    "sidecarVersions": [str],
    "unlisted": [{"resource": Required(str), "detail": str}],
    "istio": {"rootNamespace": str, "controlPlanes": [CONTROL_PLANE], "meshConfig": dict},
    "socketTables": Required([SOCKET_TABLE]),
    "unread": Required([{"namespace": Required(str), "pod": Required(str), "reason": Required(str), "detail": str}]),
}


# ---------------------------------------------------------------------------------------------------------------------
# Trimming


def trim(value: t.Any, shape: t.Any) -> t.Any:
    """What `shape` names of `value`, as plain JSON types; empty and absent parts are left out, unless they are required.

    Objects that came from the API have the shape by its schema; nothing is checked here.
    """
    return _PLAIN(value, shape)


PLAIN_MARSHAL = 2
"""The last version of the format without references, in which equal values have equal bytes; several times as fast as repr() or JSON."""


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
        return None

    def _mapping(self, shape: dict[str, t.Any]) -> t.Callable[[t.Any], t.Any]:
        fields = [(key, self._function(inner), isinstance(inner, Required), inner == {}) for key, inner in shape.items()]

        def mapping(value: t.Any) -> t.Any:
            if not isinstance(value, dict):
                return value
            kept = {}
            for key, function, required, may_be_empty in fields:
                part = value.get(key)
                if part is None:
                    continue
                if function:
                    part = function(part)
                    if part is None:
                        continue
                if part or required or (part != [] and (part != {} or may_be_empty)):
                    kept[key] = part
            return kept

        return mapping

    def _list(self, item: t.Callable[[t.Any], t.Any] | None) -> t.Callable[[t.Any], t.Any]:
        return lambda value: ([item(each) for each in value] if item else list(value)) if isinstance(value, list) else value

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
            return lambda value: held.setdefault(value, value)
        return of_the_same if isinstance(shape.shape, list) and isinstance(shape.shape[0], Alike) else equal


_PLAIN = Trimmer(share=False)


# ---------------------------------------------------------------------------------------------------------------------
# Checking


def check(document: t.Any) -> Snapshot:
    """Returns `document` if it is a ClusterSnapshot of this version.

    Raises SnapshotError, which names the path inside the document, if not.
    """
    if not isinstance(document, dict):
        raise SnapshotError(f"a {KIND} is a mapping, this is {_type_name(document)}")
    for key, wanted in (("apiVersion", API_VERSION), ("kind", KIND)):
        if document.get(key) != wanted:
            raise SnapshotError(f"{key}: wanted {wanted!r}, found {_excerpt(document.get(key))}")
    check_shape(document, SNAPSHOT, "")
    for number, table in enumerate(document["socketTables"]):
        if table["format"] not in TABLE_FORMATS:
            raise SnapshotError(f"socketTables[{number}].format: wanted one of {', '.join(TABLE_FORMATS)}, found {_excerpt(table['format'])}")
    return document


def check_shape(value: t.Any, shape: t.Any, path: str) -> None:
    """Raises SnapshotError, which names the path below `path`, if `value` has not the shape: for a ClusterSnapshot, and for a saved Report."""
    if isinstance(shape, (Required, Reduced)):
        check_shape(value, shape.shape, path)
    elif isinstance(shape, dict):
        _expect(isinstance(value, dict), "a mapping", value, path)
        for key, inner in shape.items():
            if value.get(key) is not None:
                check_shape(value[key], inner, f"{path}.{key}" if path else key)
            elif isinstance(inner, Required):
                raise SnapshotError(f"{path + '.' if path else ''}{key}: missing")
    elif isinstance(shape, Mapping):
        _expect(isinstance(value, dict), "a mapping", value, path)
        for key, item in value.items():
            _expect(isinstance(key, str), "text for a key", key, path)
            check_shape(item, shape.value, f"{path}.{key}")
    elif isinstance(shape, list):
        _expect(isinstance(value, list), "a list", value, path)
        for number, item in enumerate(value):
            check_shape(item, shape[0], f"{path}[{number}]")
    elif isinstance(shape, Number):
        fits = isinstance(value, int) and not isinstance(value, bool) and shape.low <= value <= shape.high
        _expect(fits, f"a whole number from {shape.low} to {shape.high}", value, path)
    elif isinstance(shape, Address):
        _expect(isinstance(value, str) and _is_address(value), "an IP address", value, path)
    elif isinstance(shape, tuple):
        check_shape(value, shape[1] if isinstance(value, str) else shape[0], path)
    else:
        names = {str: "text", bool: "true or false", dict: "a mapping"}
        _expect(isinstance(value, shape), names[shape], value, path)
        if shape is dict:
            _check_free(value, path)


def _check_free(value: dict[str, t.Any], path: str) -> None:
    """What is carried over as it is has to be JSON that everybody reads: Python's parser takes NaN, and levels without end."""
    level: list[t.Any] = [value]
    for _depth in range(MAX_DEPTH):
        for item in level:
            _expect(not isinstance(item, float) or math.isfinite(item), "a number that JSON has", item, path)
        level = [inner for item in level if isinstance(item, (dict, list)) for inner in (item.values() if isinstance(item, dict) else item)]
    _expect(not level, f"at most {MAX_DEPTH} levels", value, path)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text or "::")
    except ValueError:
        return False
    return True


def _expect(fits: bool, wanted: str, value: t.Any, path: str) -> None:
    if not fits:
        raise SnapshotError(f"{path}: wanted {wanted}, found {_excerpt(value)}")


def _type_name(value: t.Any) -> str:
    for kind, name in ((dict, "a mapping"), (list, "a list"), (str, "text"), (bool, "true or false"), (type(None), "nothing")):
        if isinstance(value, kind):
            return name
    return "a number"


def _excerpt(value: t.Any) -> str:
    if isinstance(value, (dict, list)) or value is None:
        return _type_name(value)
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


# ---------------------------------------------------------------------------------------------------------------------
# Files


def read(path: str) -> Snapshot:
    """The ClusterSnapshot in the file `path`, JSON or gzipped JSON (told by its first bytes, not its name).

    Raises SnapshotError if it is none, and OSError if it cannot be read.
    """
    with open(path, "rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        try:
            data = gzip.GzipFile(fileobj=raw).read(MAX_BYTES + 1) if packed else raw.read(MAX_BYTES + 1)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise SnapshotError(f"it is not whole gzip data: {error}") from error
    if len(data) > MAX_BYTES:
        raise SnapshotError(f"it holds more than {MAX_BYTES} bytes")
    if sum(map(data.count, (b",", b"{", b"["))) > MAX_VALUES:
        raise SnapshotError(f"it holds more than {MAX_VALUES} values")
    try:
        document = json.loads(data.decode("utf-8"))
        if b"\\ud" in data or b"\\uD" in data:  # half of a surrogate pair is JSON, but no text that can be printed
            json.dumps(document, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise SnapshotError(f"it is not JSON: {error}") from error
    return check(document)


def key_of_table(table: t.Mapping[str, t.Any]) -> tuple[str, str, str]:
    """The order of `socketTables`."""
    return table["namespace"], table["pod"], table.get("container") or ""


class Spool:
    """The socket tables of a snapshot on their way to the file `path`: appended in any order, given back in the snapshot's.

    They wait in a file without a name in the same directory, so that none is held in memory, and nothing is left behind however the
    process ends. An error keeps until they are asked for: what has been gathered is worth more than its record.
    """

    def __init__(self, path: str) -> None:
        self._folder = os.path.dirname(os.path.abspath(path))
        self._file: t.IO[bytes] | None = None
        self._places: list[tuple[tuple[str, str, str], int, int]] = []
        self._size = 0
        self._error: OSError | None = None

    def append(self, table: dict[str, t.Any]) -> None:
        if self._error:
            return
        data = json.dumps(table).encode()
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix=".precheck-", dir=self._folder)
            self._file.write(data)
        except OSError as error:
            self._error = error
        self._places.append((key_of_table(table), self._size, len(data)))
        self._size += len(data)

    def __iter__(self) -> t.Iterator[dict[str, t.Any]]:
        """Raises OSError if they could not all be kept."""
        if self._error:
            raise self._error
        for _key, offset, size in sorted(self._places):
            self._file.seek(offset)  # type: ignore[union-attr]  # it is there, or there are no places
            yield json.loads(self._file.read(size))  # type: ignore[union-attr]

    def close(self) -> None:
        if self._file:
            self._file.close()


def write(snapshot: t.Mapping[str, t.Any], path: str) -> None:
    """Writes `snapshot` to `path`, gzipped if that ends in `.gz`: whole or not at all, readable by its owner only.

    Its lists may be anything that can be iterated over; they are written an item at a time. The same snapshot gives the same bytes. Raises
    OSError, also for what is there and is no file: a device would be replaced by one.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        raise OSError(errno.EINVAL, "it is there and is no file", path)
    handle, temporary = tempfile.mkstemp(prefix=".precheck-", dir=os.path.dirname(os.path.abspath(path)))
    try:
        with os.fdopen(handle, "wb") as file:
            if path.endswith(".gz"):
                with gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0) as packed:
                    packed.writelines(_pieces(snapshot))
            else:
                file.writelines(_pieces(snapshot))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _pieces(snapshot: t.Mapping[str, t.Any]) -> t.Iterator[bytes]:
    """`json.dumps(snapshot, indent=1, sort_keys=True)` and a line feed, piece by piece. A line feed inside a string is never a bare one in JSON."""

    def indented(value: t.Any, depth: int) -> bytes:
        return json.dumps(value, indent=1, sort_keys=True).replace("\n", "\n" + " " * depth).encode()

    before = b"{\n "
    for name, value in sorted(snapshot.items()):
        yield before + json.dumps(name).encode() + b": "
        before = b",\n "
        if isinstance(value, (dict, str)) or not isinstance(value, t.Iterable):
            yield indented(value, 1)
            continue
        between = b"[\n  "
        for item in value:
            yield between + indented(item, 2)
            between = b",\n  "
        yield b"[]" if between.startswith(b"[") else b"\n ]"
    yield b"\n}\n"
