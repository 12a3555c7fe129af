# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""Whose socket table speaks for a pod, and why one could not be read."""

from __future__ import annotations

import functools
import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.pod import proxy_container
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.kube import Pod, PodKey, is_ipv6
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.report import Unchecked
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.snapshot import Unread
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.selection import Target
from ansible_collections.meshops.istio_precheck.plugins.module_utils._sockets.parse import SocketTable
from ansible_collections.meshops.istio_precheck.plugins.module_utils._sockets.tables import Holder, Tables


class Reading(t.NamedTuple):
    """The table that speaks for a pod, the pod it was read in, and what is wrong with it: `{reason, detail}`."""

    table: SocketTable | None
    by: Pod
    trouble: Unchecked | None


class Readings:
    """What the socket tables say of each pod."""

    def __init__(self, tables: Tables, unread: t.Iterable[Unread], pods: t.Sequence[Pod]) -> None:
        self._all = pods
        self._unread = {
            (u["namespace"], u["pod"]): u
            for u in sorted(unread, key=lambda u: (u["reason"], u.get("detail") or ""), reverse=True)
        }
        self._tables = tables

    @functools.cached_property
    def _pods(self) -> dict[PodKey, Pod]:
        """Made only where a pod is read for others."""
        return {pod.key: pod for pod in self._all}

    def _speaker(self, entry: Target) -> PodKey:
        """Whose table speaks for the pod: its own goes before a neighbour's, and what a node showed before what any program in a pod said."""
        if len(entry.readers) == 1 and not entry.neighbours:
            return entry.readers[0]
        readers = [pod_key for pod_key in entry.readers if self._tables.get(pod_key)]
        neighbours = [pod_key for pod_key in entry.neighbours if self._tables.get(pod_key)]
        shown = [pod_key for pod_key in (*readers, *neighbours) if self._tables.from_node(pod_key)]
        return next(iter((shown if entry.neighbours else []) + readers + neighbours), entry.pod.key)

    def witnesses(self, entry: Target) -> list[PodKey]:
        """The pods that speak for a hostNetwork pod without having been asked by it: no program of its own, and no probe, showed its sockets."""
        by = self._speaker(entry)
        if by not in entry.neighbours or self._tables.from_node(by):
            return []
        return [pod_key for pod_key in entry.neighbours if self._tables.get(pod_key)]

    def _contradiction(self, entry: Target) -> str:
        """Why its neighbours' tables are not believed, if so: one of them could be made up, and they do not say the same of its ports."""
        if not entry.neighbours:
            return ""
        ports = {exposure.port for exposure in entry.exposures}
        said: dict[frozenset[tuple[str, int]], PodKey] = {}
        for pod_key in self.witnesses(entry):
            table = self._tables.get(pod_key)
            here = (
                frozenset((each.address, each.port) for each in table.listeners if each.port in ports)
                if table
                else frozenset()
            )
            said.setdefault(here, pod_key)
        names = " and ".join(sorted("/".join(pod_key) for pod_key in said.values()))
        return f"Of its node's sockets pods {names} show different ones." if len(said) > 1 else ""

    def holders(self, pod: Pod) -> tuple[Holder, ...]:
        """Which processes listen in a pod that was read."""
        return self._tables.holders(pod.key)

    def of(self, entry: Target) -> Reading:
        own = entry.pod.key
        by = self._speaker(entry)
        pod = entry.pod if by == own else self._pods[by]
        table = self._tables.get(by)
        if table is None:
            return Reading(None, pod, self._why_unread(entry))
        if not pod.ips:
            return Reading(None, pod, {"reason": "no_address", "detail": "The pod has no IP address."})
        doubt = self._contradiction(entry)
        suspect = [s for s in table.suspect if s != NO_IPV6_HALF or any(is_ipv6(ip) for ip in pod.ips)]
        suspect += [doubt] if doubt else []
        if not table.listeners and proxy_container(pod):
            suspect.append(NO_PROXY)
        return Reading(table, pod, {"reason": "suspect_table", "detail": " ".join(suspect)} if suspect else None)

    def _why_unread(self, entry: Target) -> Unchecked:
        unread = self._unread.get(entry.pod.key) or self._unread.get(entry.readers[0])
        if unread:
            return {"reason": unread["reason"], "detail": unread.get("detail") or ""}
        if not entry.pod.is_running:
            return {"reason": "not_running", "detail": f"The pod's phase is {entry.pod.phase or 'not known'}."}
        return {"reason": "not_read", "detail": "The snapshot holds no socket table of the pod."}


NO_PROXY = "It shows nothing that listens, though the pod has a proxy, which does: whoever was asked could not see."
"""ss for one exits with 0 where it may not open a netlink socket."""

NO_IPV6_HALF = "The IPv6 half of the table, /proc/net/tcp6, is missing."
"""Only a kernel without IPv6 lacks the file (a cut-off table is never kept), and there it hides nothing from a pod without an IPv6 address."""
