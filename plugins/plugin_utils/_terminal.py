# -*- coding: utf-8 -*-
# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins!

"""The terminal that ansible-playbook runs in, if it does.

It is looked at when this is imported. The action plugin imports it, and every strategy loads the class of an action in the main process
before it forks a worker: a worker of ansible-core 2.19 and later has no terminal any more, but it has what was found before.
"""

from __future__ import annotations

import os
import sys

from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._reports.verdict import Screen

FRAME = Screen(columns=12, lines=8)
"""What the default callback puts around the list: the task above it, indentation, quotes and a comma, two brackets below it. The task that fails is no part
of it: from ansible-core 2.19 on, its error with its source alone takes a small screen."""


def _size() -> os.terminal_size | None:
    for stream in (1, 2):
        try:
            return os.get_terminal_size(stream)
        except OSError:
            continue
    return None


SIZE = _size()

STDERR = sys.stderr is not None and sys.stderr.isatty()
"""Whether standard error is a terminal."""


def columns() -> int:
    return SIZE.columns if SIZE and SIZE.columns else 80


def screen() -> Screen:
    """Room for a task's message: what COLUMNS and LINES say, else the terminal's size, else a default."""
    known = SIZE or os.terminal_size((0, 0))
    wide, high = (
        int(os.environ[name]) if os.environ.get(name, "").isdecimal() else size
        for name, size in (("COLUMNS", known.columns), ("LINES", known.lines))
    )
    default = Screen()
    return Screen(wide - FRAME.columns if wide else default.columns, high - FRAME.lines if high else default.lines)
