# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""How far a gather is, written to a small file that the action plugin reads meanwhile: a module itself is silent until it ends.

`plugins/plugin_utils/_progress.py` holds the other side. The file is the action plugin's; without it there is no progress to tell.
"""

from __future__ import annotations

import contextlib
import os
import time
import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.attempts import Step
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.kube import PodKey
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.progress import VARIABLE, Record
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.selection import Target
from ansible_collections.meshops.istio_precheck.plugins.module_utils._sockets.lookup import is_loopback
from ansible_collections.meshops.istio_precheck.plugins.module_utils._sockets.tables import Tables

INTERVAL = 0.2
"""Seconds between two records."""


class Progress:
    """Counts what read_sockets() takes. `tables` must have got a table before it is taken here."""

    def __init__(self, descriptor: int, tables: Tables) -> None:
        self._descriptor, self._tables = descriptor, tables
        self._ports: dict[PodKey, set[int]] = {}
        self._read: set[PodKey] = set()
        self._unread: set[PodKey] = set()
        self._total = self._found = 0
        self._next = 0.0

    def begin(self, targets: t.Sequence[Target], total: int) -> None:
        """Once for each round of pods: `total` grows where pods could not be read and others are asked instead."""
        groups: dict[PodKey, tuple[t.Sequence[PodKey], set[int]]] = {}
        for target in targets:
            ports = groups.setdefault(target.readers[0], (target.readers, set()))[1]
            ports.update(exposure.port for exposure in target.exposures)
        self._ports = {pod_key: ports for readers, ports in groups.values() for pod_key in readers}
        self._total = total
        self._write()

    def take(self, result: Step) -> None:
        entry = result.table or result.unread
        if not entry:
            return
        pod_key = (entry["namespace"], entry["pod"])
        if not result.table:
            self._unread.add(pod_key)
        elif pod_key not in self._read:
            self._read.add(pod_key)
            self._unread.discard(pod_key)
            self._found += self._on_localhost(pod_key)
        if time.monotonic() >= self._next:
            self._write()

    def _on_localhost(self, pod_key: PodKey) -> int:
        """A first look: whether a finding comes of it, evaluate decides when all is there."""
        table = self._tables.get(pod_key)
        local: dict[int, bool] = {}
        for listener in table.listeners if table else ():
            if listener.port in self._ports.get(pod_key, ()):
                local[listener.port] = local.get(listener.port, True) and is_loopback(listener.address)
        return sum(local.values())

    def _write(self) -> None:
        self._next = time.monotonic() + INTERVAL
        with contextlib.suppress(OSError):
            os.pwrite(self._descriptor, Record(len(self._read), len(self._unread), self._total, self._found).text(), 0)


@contextlib.contextmanager
def progress(tables: Tables) -> t.Iterator[Progress | None]:
    """Progress to the file that the environment names, or None if it names none that can be written."""
    try:
        descriptor = os.open(os.environ[VARIABLE], os.O_WRONLY)
    except (KeyError, OSError):
        yield None
        return
    try:
        yield Progress(descriptor, tables)
    finally:
        os.close(descriptor)
