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

    def v2_on_any(self, *args, **kwargs):
        with open(os.environ["DUMP_RESULTS"], "a", encoding="utf-8") as file:
            for each in (*args, *kwargs.values()):
                file.write(f"{getattr(each, '_result', each)!r}\n")
