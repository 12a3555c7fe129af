# -*- coding: utf-8 -*-
# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins!

"""Shows how far a gather is, while the module runs: on a terminal a line that is written over, elsewhere lines at -v, else nothing.

Standard output belongs to callbacks, which machines may read; the live line goes to standard error, and only where that is a terminal.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import time
import typing as t

from ansible import constants as C

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.progress import Record
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils import _terminal

PATIENCE = 2.0
"""Seconds before the first line: most gathers are over by then."""

LIVE, LOGGED = 0.5, 10.0
"""Seconds between two lines on a terminal, and elsewhere."""

CLEAR = "\r\x1b[K"


def sentence(host: str, record: Record, seconds: float) -> str:
    """How far the gather of a host's cluster is, `seconds` after it began to read pods."""
    done = record.read + record.unread
    left = ""
    if 0 < done < record.total:
        more = seconds / done * (record.total - done)
        left = f", about {more:.0f} s left" if more < 120 else f", about {more / 60:.0f} min left"
    return f"{host}: {record.read} of {record.total} pods read, {record.found} ports on localhost so far, {record.unread} unread{left}"


@contextlib.contextmanager
def shown(display: t.Any, host: str) -> t.Iterator[str | None]:
    """While it lasts, shows what is written to the file that it gives the path of; None where nobody would see it.

    `display` is an Ansible Display. Whatever fails here is no reason to fail.
    """
    live = _terminal.STDERR
    if not live and display.verbosity < 1:
        yield None
        return
    try:
        descriptor, path = tempfile.mkstemp(prefix="istio-precheck-progress-", dir=C.DEFAULT_LOCAL_TMP)
    except OSError:
        yield None
        return
    ended = threading.Event()
    watcher = threading.Thread(
        target=_watch, args=(display, host, descriptor, live, ended), name="progress", daemon=True
    )
    watcher.start()
    try:
        yield path
    finally:
        ended.set()
        watcher.join(5)
        os.close(descriptor)
        with contextlib.suppress(OSError):
            os.unlink(path)


def _watch(display: t.Any, host: str, descriptor: int, live: bool, ended: threading.Event) -> None:
    begun: float | None = None
    following = 0.0
    written = False
    while not ended.wait(LIVE):
        record = Record.of(os.pread(descriptor, 200, 0))
        now = time.monotonic()
        begun = now if begun is None and record else begun
        if not record or begun is None or now - begun < PATIENCE or now < following:
            continue
        following = now + (LIVE if live else LOGGED)
        text = sentence(host, record, now - begun)
        if live:
            display.display(f"{CLEAR}{text[: _terminal.columns() - 1]}", stderr=True, screen_only=True, newline=False)
            written = True
        else:
            display.v(text)
    if written:
        display.display(CLEAR, stderr=True, screen_only=True, newline=False)
