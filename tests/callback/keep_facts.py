# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = """
name: keep_facts
type: aggregate
short_description: Writes the facts that the gate sets to the file in KEEP_FACTS, by host
description:
  - For tests; a play that fails leaves no later task that could tell.
"""

import json
import os

from ansible.plugins.callback import CallbackBase


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "keep_facts"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.kept = {}

    def v2_runner_on_ok(self, result):
        facts = result._result.get("ansible_facts") or {}
        found = {name: value for name, value in facts.items() if name.startswith("check_listeners_")}
        if found:
            self.kept.setdefault(result._host.get_name(), {}).update(found)
            with open(os.environ["KEEP_FACTS"], "w", encoding="utf-8") as file:
                json.dump(self.kept, file)
