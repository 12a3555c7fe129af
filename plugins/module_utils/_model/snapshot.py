# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""The ClusterSnapshot: what was seen of a cluster, as plain data that a user can read, keep and send.

The shapes that trim what the API gave also check what a file holds, so that nothing else has to.
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import json
import os
import tempfile
import threading
import typing as t
from collections import defaultdict

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model import outside
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.kube import Thing
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.outside import (
    OutsideError,
    check_plain,
    from_json,
    read_file,
    without_collecting,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.schema import (
    Checker,
    SnapshotError,
    check_shape,
    excerpt_of,
    type_name,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.shapes import SNAPSHOT

API_VERSION = "precheck.meshops.io/v1"
KIND = "ClusterSnapshot"
MOST_OF_TABLES = 192 << 20
"""Most bytes of socket tables in a record: three quarters of what is read of one."""

TABLE_FORMATS = ("ss", "procnet", "netstat")


class HolderRecord(t.TypedDict, total=False):
    """A process that has a listening socket open, as a node shows it."""

    inode: int
    process: str
    containerID: str


class TableRecord(t.TypedDict, total=False):
    """The sockets of one pod, as `container` or its node printed them; `format` is of TABLE_FORMATS."""

    namespace: str
    pod: str
    container: str
    format: str
    stdout: str
    holders: list[HolderRecord]


class Unread(t.TypedDict, total=False):
    """A pod that was not read, and why; `status` is the HTTP status, `lacks` names the verbs that the user lacks."""

    namespace: str
    pod: str
    reason: str
    detail: str
    status: int
    lacks: list[str]


class Unlisted(t.TypedDict, total=False):
    resource: str
    namespace: str
    object: str
    detail: str


class Metadata(t.TypedDict, total=False):
    """Of which cluster it was taken, when and how much.

    `context` is the kubeconfig's, if there was one; `namespaces` are those that were recorded where others were not.
    """

    takenAt: str
    server: str
    context: str
    serverVersion: str
    scope: str
    namespaces: list[str]


class Snapshot(t.TypedDict, total=False):
    """A ClusterSnapshot: objects as the API server gives them, reduced to what is read, and what pods printed."""

    apiVersion: str
    kind: str
    metadata: Metadata
    pods: list[Thing]
    services: list[Thing]
    sidecars: list[Thing]
    serviceEntries: list[Thing]
    endpointSlices: list[Thing]
    controllers: list[Thing]
    namespaces: list[Thing]
    workloadEntries: list[Thing]
    workloadGroups: list[Thing]
    envoyFilters: list[Thing]
    emptyNamespaces: list[str]
    sidecarVersions: list[str]
    unlisted: list[Unlisted]
    istio: dict[str, t.Any]
    socketTables: t.Iterable[TableRecord]
    proxyConfigs: list[dict[str, t.Any]]
    unread: list[Unread]


def check(document: t.Any) -> Snapshot:
    """Returns `document` if it is a ClusterSnapshot of this version.

    Raises SnapshotError, which names the path inside the document, if not.
    """
    if not isinstance(document, dict):
        raise SnapshotError(f"a {KIND} is a mapping, this is {type_name(document)}")
    for key, wanted in (("apiVersion", API_VERSION), ("kind", KIND)):
        if document.get(key) != wanted:
            raise SnapshotError(f"{key}: wanted {wanted!r}, found {excerpt_of(document.get(key))}")
    if not Checker()(document, SNAPSHOT):
        check_shape(document, SNAPSHOT, "")  # which says where
    for number, table in enumerate(document["socketTables"]):
        if table["format"] not in TABLE_FORMATS:
            raise SnapshotError(
                f"socketTables[{number}].format: wanted one of {', '.join(TABLE_FORMATS)}, found {excerpt_of(table['format'])}"
            )
    return t.cast("Snapshot", document)


def check_given(document: t.Any) -> Snapshot:
    """check() for a document that somebody else has parsed: a number or a text in it may be none that JSON has."""
    try:
        check_plain(document)
    except OutsideError as error:
        raise SnapshotError(str(error)) from error
    return check(document)


def read(path: str) -> Snapshot:
    """The ClusterSnapshot in the file `path`, JSON or gzipped JSON (told by its first bytes, not its name).

    Raises SnapshotError if it is none, and OSError if it cannot be read, or is no file: a pipe may never be written to.
    """
    try:
        with without_collecting():
            return check(from_json(read_file(path), shaped=True))
    except OutsideError as error:
        raise SnapshotError(str(error)) from error


def key_of_table(table: TableRecord) -> tuple[str, str, str]:
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
        self._lock = threading.Lock()

    def append(self, table: TableRecord) -> None:
        """Safe from many threads."""
        data = json.dumps(table).encode()
        with self._lock:
            if self._error:
                return
            try:
                if self._file is None:
                    self._file = tempfile.TemporaryFile(prefix=".precheck-", dir=self._folder)
                self._file.write(data)
            except OSError as error:
                self._error = error
            self._places.append((key_of_table(table), self._size, len(data)))
            self._size += len(data)

    def __iter__(self) -> t.Iterator[TableRecord]:
        """Raises OSError if they could not all be kept."""
        if self._error:
            raise self._error
        for _key, offset, size in sorted(self._places):
            self._file.seek(offset)  # type: ignore[union-attr]  # it is there, or there are no places
            yield json.loads(self._file.read(size))  # type: ignore[union-attr]

    def leave_out(self, most: int = MOST_OF_TABLES) -> list[Unread]:
        """Leaves out the largest pods' tables until the rest has `most` bytes, so that the record can be read again; their entries in `unread`."""
        sizes: dict[tuple[str, str], int] = defaultdict(int)
        for (namespace, pod, _container), _offset, size in self._places:
            sizes[namespace, pod] += size
        total, unread = sum(sizes.values()), list[Unread]()
        for (namespace, pod), size in sorted(sizes.items(), key=lambda item: (-item[1], item[0])):
            if total <= most:
                break
            total -= size
            self._places = [place for place in self._places if place[0][:2] != (namespace, pod)]
            detail = f"Its socket table takes {size} bytes in a record, which has room for {most} in all."
            unread.append({"namespace": namespace, "pod": pod, "reason": "too_much_output", "detail": detail})
        return unread

    def close(self) -> None:
        if self._file:
            self._file.close()


def write(snapshot: Snapshot, path: str) -> None:
    """Writes `snapshot` to `path`, gzipped if that ends in `.gz`: whole or not at all, readable by its owner only.

    Its lists may be anything that can be iterated over; they are written an item at a time. The same snapshot gives the same bytes. Raises
    OSError, also for what is there and is no file: a device would be replaced by one; and SnapshotError for more than read() takes.
    """
    with whole_file(path) as file:
        if path.endswith(".gz"):
            with gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0) as packed:
                packed.writelines(_readable(_pieces(snapshot)))
        else:
            file.writelines(_readable(_pieces(snapshot)))


@contextlib.contextmanager
def whole_file(path: str) -> t.Iterator[t.BinaryIO]:
    """A file to write to that is in `path` once that has ended well, for its owner only; else what is there stays. Raises OSError.

    Not AnsibleModule.atomic_move(): it gives the file the mode and the owner of what is there, and ends the module where it cannot.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        raise OSError(errno.EINVAL, "it is there and is no file", path)
    handle, temporary = tempfile.mkstemp(prefix=".precheck-", dir=os.path.dirname(os.path.abspath(path)))
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _readable(pieces: t.Iterable[bytes]) -> t.Iterator[bytes]:
    """`pieces`, as long as read() takes all of them. Raises SnapshotError, which shows the beginning of the largest, if it does not."""
    size = values = 0
    largest = b""
    for piece in pieces:
        size += len(piece)
        values += outside.size_of_json(piece)
        largest = max(largest, piece, key=len)
        if size > outside.BYTES or values > outside.VALUES:
            limit = f"{outside.BYTES} bytes" if size > outside.BYTES else f"{outside.VALUES} values"
            begins = " ".join(largest[:300].decode("utf-8", "replace").strip(" ,[").split())
            raise SnapshotError(
                f"it would hold more than {limit}, and could not be read again; the largest part, of {len(largest)} bytes, begins with {begins}"
            )
        yield piece


def _pieces(snapshot: Snapshot) -> t.Iterator[bytes]:
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
