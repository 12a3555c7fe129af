# -*- coding: utf-8 -*-
# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import pathlib
import sys
import typing as t

import ansible
from ansible.errors import AnsibleError
from ansible.module_utils import basic
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.utils.vars import load_extra_vars

from ansible_collections.meshops.istio_precheck.plugins.action.localhost_listener_info import (
    ActionModule as ListenerInfo,
)
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils import _gate, _play, _role_variables
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._kubernetes_core import AUTH_ARG_SPEC
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._plain import plain

ROLE = "check_listeners"
COLLECTIONS = ("meshops.istio_precheck", "kubernetes.core")
MODULE = "meshops.istio_precheck.localhost_listener_info"
IN_PLACE = "meshops.istio_precheck.upgrade_gate"
"""The file of modules/ that runs MODULE unpacked."""
OF_THE_ROLE = ("gather_with", "fail_on", "remediation_dir", "report_dir", "report_formats")
"""Options of the role that are none of the module's."""

QUIET = {"_ansible_verbose_override": True}
"""All of it is said by the verdict."""

Values = dict[str, t.Any]
"""Variables, options or a result, by name."""


class ActionModule(ListenerInfo):
    """The role check_listeners in one task. What is wrong is part of the verdict, which the role gives last; this fails only where
    the role could not give it, since what it sets is set by somebody else."""

    def run(self, tmp: t.Any = None, task_vars: Values | None = None) -> Values:
        task_vars = task_vars or {}
        taken = _gate.taken(self._set_by_others())
        if taken:
            return {"failed": True, "msg": taken}
        args = {name: plain(value) for name, value in self._task.args.items()}
        variables = _role_variables.of(ROLE, pathlib.Path(task_vars["role_path"]), self._templar, task_vars)
        problem = "; ".join(variables.problems) or self._speaks_for_others(task_vars)
        problem = problem or _play.unread_defaults(self._task, self._templar, self._connection_options(task_vars))
        if not problem and _role_variables.by_tasks(variables.values):
            if "snapshot" not in args:
                if _play.skips(self._task, self._templar, task_vars, _gate.nothing(), False):
                    return {"failed": True, "msg": _play.CONDITION}
                return {"by_tasks": True, "variables": _role_variables.shown(ROLE, variables.values), **QUIET}
            problem = args.get("problem") or (
                "" if args["snapshot"] else "the tasks that gather ended without a result"
            )
        returned = {} if problem else self._check(variables.values, args.get("snapshot") or None, task_vars)
        place = _gate.Place(
            host=str(task_vars.get("inventory_hostname") or "localhost"),
            several=len((task_vars.get("groups") or {}).get("all") or ()) > 1,
            check_mode=bool(self._task.check_mode),
            verbose=self._display.verbosity > 0,
            local=self._is_local(),
        )
        made = _gate.outcome(returned, variables.values, place, problem, variables.hints)
        is_trial = boolean(task_vars.get("__remediate_listeners_is_trial", False), strict=False)
        if (is_trial or not made.passed) and _play.skips(
            self._task, self._templar, task_vars, made.result, made.passed
        ):
            return {"failed": True, "msg": f"{made.line} Beside that, {_play.CONDITION}"}
        line = _gate.in_brief(made.result, made.passed, made.line)
        stats = {"data": {ROLE: {place.host: line}}, "per_host": False, "aggregate": True}
        known: Values = {
            name: returned[name] for name in ("warnings", "deprecations", "ansible_facts") if name in returned
        }
        return {
            **known,
            "by_tasks": False,
            "changed": made.changed,
            "diff": made.diff,
            "result": made.result,
            "passed": made.passed,
            "verdict": made.lines,
            "outcome": {**line, "asked": made.asked},
            "ansible_stats": stats,
            **QUIET,
        }

    def _set_by_others(self) -> set[str]:
        """The names of the variables that go before facts and what is registered: extra variables, and parameters of roles and of includes."""
        role = self._task._role
        of_roles = role.get_role_params(self._task.get_dep_chain()) if role else {}
        return {*load_extra_vars(self._loader), *of_roles, *self._task.get_include_params()}

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
        if not self._is_in_place(kwargs.get("task_vars") or {}):
            return super()._execute_module(*args, **{**kwargs, "module_name": MODULE})
        given = {**(kwargs.get("module_args") or self._task.args), "in_place": _place()}
        return super()._execute_module(*args, **{**kwargs, "module_name": IN_PLACE, "module_args": given})

    def _is_in_place(self, task_vars: Values) -> bool:
        """Whether the module would run by the Python that runs this, on its machine and as its user: then all that it imports is there already."""
        if (
            not self._is_local()
            or self._connection.become
            or self._task.async_val
            or not hasattr(basic, "_ANSIBLE_ARGS")
        ):
            return False
        there = task_vars
        if self._task.delegate_to:
            there = (task_vars.get("ansible_delegated_vars") or {}).get(self._task.delegate_to) or {}
        return bool(self._templar.template(there.get("ansible_python_interpreter")) == sys.executable)


def _place() -> Values:
    """Where the module and what it imports are on this machine."""
    packages: dict[str, list[str]] = {"ansible_collections": []}
    for collection in COLLECTIONS:
        name = f"ansible_collections.{collection}"
        packages[name.rpartition(".")[0]] = []
        packages[name] = list(sys.modules[name].__path__)
    file = f"ansible_collections.{MODULE}".replace("istio_precheck.", "istio_precheck.plugins.modules.")
    return {
        "ansible": str(pathlib.Path(ansible.__file__).parents[1]),
        "packages": packages,
        "module": MODULE,
        "file": file,
    }


def _evaluate(options: Values) -> Values:
    """What the module returns for a record."""
    # Where a cluster is asked, it is the module that has a use for all this.
    from ansible_collections.meshops.istio_precheck.plugins.module_utils._check import (
        OPTIONS,
        RELATIONS,
        CheckError,
        check,
    )

    def no_cluster(*_needed: t.Any) -> t.NoReturn:
        raise CheckError("there is no record to evaluate")

    # A whole cluster is neither copied nor gone through, which validation does.
    given = {name: {} if name == "snapshot" else value for name, value in options.items()}
    checked = ArgumentSpecValidator(OPTIONS, **RELATIONS).validate(given)
    if checked.error_messages:
        return {"failed": True, "msg": "; ".join(map(str, checked.error_messages))}
    try:
        return check({**checked.validated_parameters, "snapshot": options.get("snapshot")}, True, no_cluster)
    except Exception as error:  # the role says so where it says everything else
        return {"failed": True, "msg": f"the record could not be evaluated: {type(error).__name__}: {error}"}
