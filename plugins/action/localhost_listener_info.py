# -*- coding: utf-8 -*-
# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible.utils.display import Display

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.progress import VARIABLE
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._progress import shown
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._quiet import QuietAction


class ActionModule(QuietAction):
    """Shows the module's progress."""

    def _execute_module(self, *args: t.Any, **kwargs: t.Any) -> dict[str, t.Any]:
        """Shows how far the module is, where that runs on this machine and somebody waits for it."""
        if not self._is_local() or self._task.async_val:
            return super()._execute_module(*args, **kwargs)
        before = self._task.environment
        with shown(Display(), (kwargs.get("task_vars") or {}).get("inventory_hostname") or "localhost") as path:
            if path:
                self._task.environment = [*(before or []), {VARIABLE: path}]
            try:
                return super()._execute_module(*args, **kwargs)
            finally:
                self._task.environment = before

    def _is_local(self) -> bool:
        """Whether the module runs on this machine."""
        return self._connection.transport in ("local", "ansible.builtin.local")
