# -*- coding: utf-8 -*-
# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins!

"""What a play says around a role and the role has to know: the conditions over it, and the defaults of modules."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleError

from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._kubernetes_core import AUTH_ARG_SPEC

GROUP = "group/meshops.istio_precheck.precheck"
MODULE = "meshops.istio_precheck.localhost_listener_info"

CONDITION = (
    "a condition over the role asks for check_listeners_result or check_listeners_passed, which the role sets. Ansible asks it again for each task of "
    "an imported role or a block, so that the task that stops the upgrade would be skipped. Give the condition to include_role itself, outside of blocks"
)

Values = t.Mapping[str, t.Any]


def skips(task: t.Any, templar: t.Any, task_vars: Values, result: Values, passed: bool) -> bool:
    """Whether the conditions over `task` skip the tasks behind it once the facts of check_listeners are these.

    The conditions of a block, of `roles`, of import_role and of import_playbook are those of each task in it, and asked before each; only include_role
    asks once. One that cannot be asked skips.
    """
    if not task.when:
        return False
    before = templar.available_variables
    told = {**task_vars, "check_listeners_result": result, "check_listeners_passed": passed}
    try:
        if not hasattr(templar, "evaluate_conditional"):  # up to ansible-core 2.18
            return not task.evaluate_conditional(templar, told)
        templar.available_variables = told
        return not all(templar.evaluate_conditional(condition) for condition in task.when)
    except AnsibleError:
        return True
    finally:
        templar.available_variables = before


def unread_defaults(task: t.Any, templar: t.Any, connection: Values) -> str:
    """Why a role would ask another cluster than `module_defaults` of the play say; empty if it would not.

    They are for modules, and a role has variables; `connection` is what these say.
    """
    options = t.cast(t.Mapping[str, Values], AUTH_ARG_SPEC)
    names = {alias: name for name, option in options.items() for alias in (name, *option.get("aliases", ()))}
    omitted = templar.available_variables.get("omit")
    left: set[str] = set()
    for defaults in task.module_defaults or ():
        for of in {GROUP, MODULE} & {*defaults}:
            given = templar.template(defaults[of]) or {}
            left |= {names[option] for option, value in given.items() if option in names and value != omitted}
    left -= {*connection}
    variables = ", ".join(f"check_listeners_{name}" for name in sorted(left))
    return (
        f"module_defaults give {', '.join(sorted(left))}, which no role reads: another cluster would be asked. Set {variables}"
        if left
        else ""
    )
