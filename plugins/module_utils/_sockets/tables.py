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


def differ(holders: t.Iterable[Holder], now: t.Container[Listener], then: t.Container[Listener]) -> bool | None:
    """Whether sockets of `then` are another program's than those of `now`: of another process or in another container. None if that is not known."""
    known = tuple(holders)
    here, there = ([holder for holder in known if holder.listener in those] for those in (now, then))
    if not here or not there:
        return None
    alike = [(one, other) for one in here for other in there if one.process == other.process]
    if any(one.container == other.container for one, other in alike):
        return False
    return None if any(not one.container or not other.container for one, other in alike) else True


class Tables:
    """Parsed socket tables by the pod that was read. What is equal, as most is among replicas, is held once. Safe to add to from many threads."""

    def __init__(self, entries: t.Iterable[TableRecord] = ()) -> None:
        self._by_pod: dict[PodKey, SocketTable] = {}
        self._tables: dict[SocketTable, SocketTable] = {}
        self._same: dict[int, tuple[SocketTable, SocketTable]] = {}
        """A table that came, and the one that is held in its place, by the identity of the former: a table that comes again is not compared."""
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
            table = parse(form, stdout)
            with self._lock:
                table = self._parsed[content] = self._once(table)
        return table

    def _once(self, table: SocketTable) -> SocketTable:
        """The table, or the equal one that is held already."""
        listeners = tuple(self._listeners.setdefault(listener, listener) for listener in table.listeners)
        table = SocketTable(listeners, tuple(sorted(set(table.suspect))))
        return self._tables.setdefault(table, table)

    def _put(self, entry: TableRecord, table: SocketTable, inodes: t.Mapping[int, Listener]) -> None:
        pod_key = (entry["namespace"], entry["pod"])
        if inodes:
            self._hold(pod_key, entry["holders"], inodes)
        if not entry.get("container"):
            self._from_nodes.add(pod_key)
        before = self._by_pod.get(pod_key)
        if before:
            listeners = tuple(sorted({*table.listeners, *before.listeners}))
            table = self._once(SocketTable(listeners, table.suspect + before.suspect))
        elif entry.get("holders"):
            if id(table) not in self._same:
                self._same[id(table)] = table, self._once(table)
            table = self._same[id(table)][1]
        self._by_pod[pod_key] = table

    def _hold(self, pod_key: PodKey, holders: t.Iterable[HolderRecord], inodes: t.Mapping[int, Listener]) -> None:
        """Keeps who listens."""
        known = {inode: self._listeners.setdefault(listener, listener) for inode, listener in inodes.items()}
        found = {
            Holder(known[h["inode"]], h.get("containerID") or "", h["process"]) for h in holders if h["inode"] in known
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
        """Which processes listen in the pod, as far as whoever read it could tell."""
        return self._holders.get(pod_key, ())
