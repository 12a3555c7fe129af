# -*- coding: utf-8 -*-
# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import pathlib
import typing as t

from ansible.errors import AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.parsing.convert_bool import boolean

from ansible_collections.meshops.istio_precheck.plugins.action.localhost_listener_info import (
    ActionModule as ListenerInfo,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._check import OPTIONS, RELATIONS, CheckError, check
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils import _gate, _role_variables
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._kubernetes_core import AUTH_ARG_SPEC
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._plain import plain

ROLE = "check_listeners"
MODULE = "meshops.istio_precheck.localhost_listener_info"
OF_THE_ROLE = ("gather_with", "fail_on", "remediation_dir", "report_dir", "report_formats")
"""Options of the role that are none of the module's."""

Values = dict[str, t.Any]
"""Variables, options or a result, by name."""


class ActionModule(ListenerInfo):
    """The role check_listeners in one task. What is wrong is part of the verdict, which the role gives last; this fails only where
    the role could not give it, since what it sets is set by somebody else."""

    def run(self, tmp: t.Any = None, task_vars: Values | None = None) -> Values:
        task_vars = task_vars or {}
        taken = _gate.taken(task_vars)
        if taken:
            return {"failed": True, "msg": taken}
        args = {name: plain(value) for name, value in self._task.args.items()}
        variables = _role_variables.of(ROLE, pathlib.Path(task_vars["role_path"]), self._templar, task_vars)
        problem = "; ".join(variables.problems) or self._speaks_for_others(task_vars) or args.get("problem") or ""
        returned = {} if problem else self._check(variables.values, args.get("snapshot") or None, task_vars)
        place = _gate.Place(
            host=str(task_vars.get("inventory_hostname") or "localhost"),
            several=len((task_vars.get("groups") or {}).get("all") or ()) > 1,
            check_mode=bool(self._task.check_mode),
            verbose=self._display.verbosity > 0,
            local=self._is_local(),
        )
        made = _gate.outcome(returned, variables.values, place, problem, variables.hints)
        line = _gate.in_brief(made.result, made.passed, made.line)
        stats = {"data": {ROLE: {place.host: line}}, "per_host": False, "aggregate": True}
        known: Values = {
            name: returned[name] for name in ("warnings", "deprecations", "ansible_facts") if name in returned
        }
        return {
            **known,
            "changed": made.changed,
            "diff": made.diff,
            "result": made.result,
            "passed": made.passed,
            "verdict": made.lines,
            "outcome": {**line, "asked": made.asked},
            "ansible_stats": stats,
            "_ansible_verbose_override": True,  # all of it is said by the verdict
        }

    def _speaks_for_others(self, task_vars: Values) -> str:
        """Why the verdict on this host's cluster would be that on others, which nobody looks at; empty if it would not.

        With run_once what this host sets is set for all of the play, and include_role with it is played for this host alone.
        """
        hosts = task_vars.get("ansible_play_hosts_all") or ()
        each = self._task if len(hosts) > 1 else None
        while each is not None:
            if boolean(self._templar.template(getattr(each, "run_once", False)), strict=False):
                return (
                    f"run_once: each host of the inventory is a cluster, and only one of {len(hosts)} would be checked. "
                    "Leave run_once out, or play the role for one host"
                )
            each = getattr(each, "_parent", None)
        return ""

    def _check(self, values: Values, snapshot: Values | None, task_vars: Values) -> Values:
        """What the module returns for the role's variables, and for the snapshot that tasks have gathered, if they have."""
        options = self._options(values, snapshot)
        if self._needs_no_module(options):
            return _evaluate(options)
        before = self._task.args
        try:
            self._task.args = {**self._connection_options(task_vars), **options}
            # Up to ansible-core 2.18 the texts of a result are of a type that no YAML takes.
            return plain(super().run(task_vars=task_vars))
        except AnsibleError as error:
            return {"failed": True, "msg": str(error)}
        finally:
            self._task.args = before

    def _needs_no_module(self, options: Values) -> bool:
        """Whether a record on this machine is evaluated, by and as the user who runs this: it takes no process, which would cost more than that does.

        What is written stays with the module, which removes half a file when it is stopped.
        """
        recorded = bool(options.get("snapshot_src")) or options.get("snapshot") is not None
        return recorded and self._is_local() and not self._connection.become and not options.get("snapshot_dest")

    def _connection_options(self, task_vars: Values) -> Values:
        """Those of vars/main/connection.yml, which the tasks of kubernetes.core get too."""
        given = self._templar.template(task_vars["__check_listeners_connection"])
        return {name: plain(value) for name, value in given.items() if value != task_vars.get("omit")}

    def _options(self, values: Values, snapshot: Values | None) -> Values:
        own = {_role_variables.option(ROLE, name): value for name, value in values.items()}
        options = {name: value for name, value in own.items() if name not in (*OF_THE_ROLE, *AUTH_ARG_SPEC)}
        for name in ("snapshot_src", "snapshot_dest"):
            if options.get(name) and self._is_local():  # by itself a relative path would start where the collection is
                options[name] = os.path.join(os.getcwd(), os.path.expanduser(options[name]))
        return {**options, "snapshot": snapshot} if snapshot is not None else options

    def _execute_module(self, *args: t.Any, **kwargs: t.Any) -> Values:
        return super()._execute_module(*args, **{**kwargs, "module_name": MODULE})


def _evaluate(options: Values) -> Values:
    """What the module returns for a record."""
    # A whole cluster is neither copied nor gone through, which validation does.
    given = {name: {} if name == "snapshot" else value for name, value in options.items()}
    checked = ArgumentSpecValidator(OPTIONS, **RELATIONS).validate(given)
    if checked.error_messages:
        return {"failed": True, "msg": "; ".join(map(str, checked.error_messages))}
    try:
        return check({**checked.validated_parameters, "snapshot": options.get("snapshot")}, True, _no_cluster)
    except Exception as error:  # the role says so where it says everything else
        return {"failed": True, "msg": f"the record could not be evaluated: {type(error).__name__}: {error}"}


def _no_cluster(*_needed: t.Any) -> t.NoReturn:
    raise CheckError("there is no record to evaluate")
