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

    def v2_playbook_on_play_start(self, play):
        self.variables = play.get_variable_manager()

    def v2_playbook_on_stats(self, stats):
        """The role shows no callback its facts, so they are read where Ansible keeps them."""
        kept = {
            host: {name: value for name, value in facts.items() if name.startswith("check_listeners_")}
            for host, facts in self.variables._nonpersistent_fact_cache.items()
        }
        with open(os.environ["KEEP_FACTS"], "w", encoding="utf-8") as file:
            json.dump({host: facts for host, facts in kept.items() if facts}, file)
