# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""The socket tables of a cluster as evaluate needs them: parsed as they come, so that their text can be dropped."""

from __future__ import annotations

import hashlib
import threading
import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.kube import PodKey
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.snapshot import HolderRecord, TableRecord
from ansible_collections.meshops.istio_precheck.plugins.module_utils._sockets.lookup import is_loopback
from ansible_collections.meshops.istio_precheck.plugins.module_utils._sockets.parse import (
    Listener,
    SocketTable,
    parse,
    parse_procnet,
)


class Holder(t.NamedTuple):
    """A process that has a socket open; `container` is its container's id, empty where there is none."""

    listener: Listener
    container: str
    process: str


class Tables:
    """Parsed socket tables by the pod that was read. What is equal, as most is among replicas, is held once. Safe to add to from many threads."""

    def __init__(self, entries: t.Iterable[TableRecord] = ()) -> None:
        self._by_pod: dict[PodKey, SocketTable] = {}
        self._tables: dict[SocketTable, SocketTable] = {}
        self._parsed: dict[bytes, SocketTable] = {}
        self._listeners: dict[Listener, Listener] = {}
        self._holders: dict[PodKey, tuple[Holder, ...]] = {}
        self._from_nodes: set[PodKey] = set()
        self._lock = threading.Lock()
        for entry in entries:
            self.add(entry)

    def __len__(self) -> int:
        return len(self._by_pod)

    def add(self, entry: TableRecord) -> None:
        """Takes an entry of `socketTables`; several of one pod show the same sockets, and are taken together."""
        inodes: dict[int, Listener] = {}
        if (
            entry.get("holders") and entry["format"] == "procnet"
        ):  # parsing comes before the lock: no table holds another up
            table, inodes = parse_procnet(entry["stdout"])
        else:
            table = self._parse(entry["format"], entry["stdout"])
        with self._lock:
            self._put(entry, table, inodes)

    def _parse(self, form: str, stdout: str) -> SocketTable:
        """Replicas often print the very same text, which is parsed once."""
        content = hashlib.blake2b(f"{form} {stdout}".encode("utf-8", "surrogatepass"), digest_size=16).digest()
        table = self._parsed.get(content)
        if table is None:
            table = self._parsed[content] = parse(form, stdout)
        return table

    def _put(self, entry: TableRecord, table: SocketTable, inodes: t.Mapping[int, Listener]) -> None:
        pod_key = (entry["namespace"], entry["pod"])
        if inodes:
            self._hold(pod_key, entry["holders"], inodes)
        if not entry.get("container"):
            self._from_nodes.add(pod_key)
        before = self._by_pod.get(pod_key)
        listeners, suspect = table.listeners, table.suspect
        if before:
            listeners, suspect = tuple(sorted({*listeners, *before.listeners})), suspect + before.suspect
        table = SocketTable(
            tuple(self._listeners.setdefault(listener, listener) for listener in listeners), tuple(sorted(set(suspect)))
        )
        self._by_pod[pod_key] = self._tables.setdefault(table, table)

    def _hold(self, pod_key: PodKey, holders: t.Iterable[HolderRecord], inodes: t.Mapping[int, Listener]) -> None:
        """Keeps who listens on localhost: of nobody else is anything said."""
        local = {
            inode: self._listeners.setdefault(listener, listener)
            for inode, listener in inodes.items()
            if is_loopback(listener.address)
        }
        found = {
            Holder(local[h["inode"]], h.get("containerID") or "", h["process"]) for h in holders if h["inode"] in local
        }
        if found:
            self._holders[pod_key] = tuple(sorted(found | set(self.holders(pod_key))))

    def drop(self, pod_key: PodKey) -> None:
        """Forgets what was read of a pod."""
        self._by_pod.pop(pod_key, None)
        self._holders.pop(pod_key, None)

    def get(self, pod_key: PodKey) -> SocketTable | None:
        return self._by_pod.get(pod_key)

    def from_node(self, pod_key: PodKey) -> bool:
        """Whether a probe on its node read the pod: what the kernel says, and nobody's program in a container."""
        return pod_key in self._from_nodes

    def holders(self, pod_key: PodKey) -> tuple[Holder, ...]:
        """Which processes listen on localhost in the pod, as far as whoever read it could tell."""
        return self._holders.get(pod_key, ())
