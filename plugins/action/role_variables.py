# -*- coding: utf-8 -*-
# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib
import typing as t

from ansible.plugins.action import ActionBase

from ansible_collections.meshops.istio_precheck.plugins.plugin_utils import _role_variables
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._kubernetes_core import AUTH_ARG_SPEC

HAS_A_VERDICT = ("check_listeners",)
"""Roles that tell hints with it, and need no warning."""


class ActionModule(ActionBase):
    """The variables of the role that it is called in. Never fails: the role says what is wrong where it says everything else."""

    _supports_async = False

    def run(self, tmp: t.Any = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        task_vars = task_vars or {}
        directory = pathlib.Path(task_vars["role_path"])
        found = _role_variables.of(directory.name, directory, self._templar, task_vars)
        # What the variables of the connection hold stays out of results, and so does a whole cluster.
        named = {name: _role_variables.option(directory.name, name) for name in found.values}
        shown = {name: value for name, value in found.values.items() if named[name] not in (*AUTH_ARG_SPEC, "snapshot")}
        return {
            "changed": False,
            "variables": shown,
            "problem": "; ".join(found.problems),
            "by_tasks": not found.problems and _role_variables.by_tasks(found.values),
            "warnings": [] if directory.name in HAS_A_VERDICT else found.hints,
            "_ansible_verbose_override": True,
        }
