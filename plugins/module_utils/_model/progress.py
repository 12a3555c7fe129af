# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""How far a gather is, as one record in a small file: `_gather` writes it, and the action plugin shows it."""

from __future__ import annotations

import contextlib
import typing as t

VARIABLE = "ISTIO_PRECHECK_PROGRESS"
"""The environment variable that holds the file's path."""


class Record(t.NamedTuple):
    """Pods read, pods that could not be read so far, pods to read in all, and exposed ports that listen on localhost only so far."""

    read: int
    unread: int
    total: int
    found: int

    def text(self) -> bytes:
        return b"%9d %9d %9d %9d\n" % self

    @classmethod
    def of(cls, text: bytes) -> Record | None:
        """None for what is no whole record."""
        with contextlib.suppress(TypeError, ValueError):
            return cls(*map(int, text.split())) if text.endswith(b"\n") else None
        return None
