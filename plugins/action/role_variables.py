# -*- coding: utf-8 -*-
# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib
import typing as t

from ansible.plugins.action import ActionBase

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.report import nothing
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils import _play, _role_variables

CHECKS = "remediate_listeners"
"""The role that plays check_listeners before its own tasks."""


class ActionModule(ActionBase):
    """The variables of the role that it is called in. Never fails: the role says what is wrong where it says everything else."""

    _supports_async = False

    def run(self, tmp: t.Any = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        task_vars = task_vars or {}
        directory = pathlib.Path(task_vars["role_path"])
        found = _role_variables.of(directory.name, directory, self._templar, task_vars)
        problem = "; ".join(found.problems)
        if directory.name == CHECKS and not problem and not found.values["remediate_listeners_undo"]:
            skipped = (_play.skips(self._task, self._templar, task_vars, nothing(), passed) for passed in (False, True))
            problem = _play.CONDITION if any(skipped) else ""
        return {
            "changed": False,
            "variables": _role_variables.shown(directory.name, found.values),
            "problem": problem,
            "warnings": found.hints,
            "_ansible_verbose_override": True,
        }
