# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = """
name: dump_results
type: aggregate
short_description: Appends whatever callbacks are handed to the file in DUMP_RESULTS
description:
  - For tests; it keeps what a callback of anybody could, such as one that sends results to a log server.
"""

import os

from ansible.plugins.callback import CallbackBase


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "dump_results"
    CALLBACK_NEEDS_ENABLED = True

    def _dump(self, result, *_more, **_options):
        with open(os.environ["DUMP_RESULTS"], "a", encoding="utf-8") as file:
            file.write(f"{result._result!r}\n")

    v2_runner_on_ok = v2_runner_on_failed = v2_runner_on_skipped = v2_runner_on_unreachable = _dump
    v2_runner_item_on_ok = v2_runner_item_on_failed = v2_runner_item_on_skipped = v2_runner_retry = _dump
