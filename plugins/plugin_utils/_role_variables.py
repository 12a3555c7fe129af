# -*- coding: utf-8 -*-
# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins!

"""The door of each role: its variables, checked and converted once.

Ansible's own validation of a role checks a copy: it splits `a,b` where a list is wanted, finds it good, and hands the text on.
"""

from __future__ import annotations

import difflib
import json
import os
import pathlib
import typing as t

import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._plain import plain

Specification = dict[str, dict[str, t.Any]]

NOT_OPTIONS = {
    "check_listeners": ("hosts", "any_errors_fatal", "result", "passed"),
    "remediate_listeners": ("hosts",),
}
"""What has a role's prefix beside its options: variables of the playbooks, and facts of the role."""

WHOLE = ("check_listeners_label_selectors",)
"""A text is one selector, in which a comma means "and" as for `kubectl get -l`."""


LONGEST = 3600
"""Seconds, as the module has it."""


class Variables(t.NamedTuple):
    """The options of a role by the names of their variables, what is wrong with them, and which variables are none of its options, nor like one."""

    values: dict[str, t.Any]
    problems: list[str]
    unknown: list[str]


def of(role: str, directory: pathlib.Path, templar: t.Any, task_vars: t.Mapping[str, t.Any]) -> Variables:
    """The variables of `role`, whose files are in `directory`, as the task sees them."""
    text = (directory.parent / role / "meta" / "argument_specs.yml").read_text("utf-8")
    options = yaml.safe_load(text)["argument_specs"]["main"]["options"]
    found = read(role, options, task_vars, lambda name: templar.template(task_vars[name]))
    contradiction = "" if found.problems else _contradiction(found.values)
    return found._replace(problems=[contradiction]) if contradiction else found


def read(role: str, options: Specification, names: t.Iterable[str], value_of: t.Callable[[str], t.Any]) -> Variables:
    """The variables of `role` among those with these `names`; `value_of` gives the value of one, and may raise anything.

    No value and an empty text count as not given, so the default holds. Every list is a list afterwards.
    """
    given: dict[str, t.Any] = {}
    problems: list[str] = []
    there = sorted(name for name in names if name.startswith(f"{role}_"))
    for name in there:
        if name not in options:
            continue
        try:
            value = plain(value_of(name))
        except Exception as error:  # before ansible-core 2.19 a filter's own, whatever that is
            problems.append(f"{name}: {(str(error).splitlines() or [type(error).__name__])[0]}")
            continue
        try:
            value = as_list(name, value) if options[name].get("type") == "list" else value
        except ValueError as error:
            problems.append(str(error))
        else:
            if value is not None and value != "":
                given[name] = value
    checked = ArgumentSpecValidator(options).validate(given)
    values = {name: value for name, value in checked.validated_parameters.items() if value is not None}
    paths = {name: value for name, value in given.items() if options[name].get("type") == "path"}  # for another host
    known = {*options, *(f"{role}_{name}" for name in NOT_OPTIONS.get(role, ()))}
    meant = {name: _meant(role, name, known) for name in there if name not in known}
    # Without it another cluster may be checked, or another namespace.
    problems += [f"Unknown variable {name}. Did you mean {other}?" for name, other in meant.items() if other]
    return Variables(
        {**values, **paths},
        problems or [str(message) for message in checked.error_messages],
        [name for name, other in meant.items() if not other],
    )


def _meant(role: str, name: str, known: t.Iterable[str]) -> str:
    """The known name that is most like this one; empty if none is. The prefix, which all have, counts for nothing."""
    likely = difflib.get_close_matches(option(role, name), [option(role, other) for other in sorted(known)], 1)
    return f"{role}_{likely[0]}" if likely else ""


def option(role: str, name: str) -> str:
    """The name of a variable without the role's prefix: the module's name for it."""
    return name.removeprefix(f"{role}_")


def as_list(name: str, value: t.Any) -> t.Any:
    """The list that a text means: JSON, or items between commas, as `ansible-playbook -e name=a,b` gives them.

    None for one without an item: it is as empty as no text, and no empty list, which turns the gate into a report.
    Raises ValueError, naming the variable, for a text that begins like JSON and is none. What is no text is left to the validation.
    """
    if not isinstance(value, str) or not value.strip():
        return value.strip() if isinstance(value, str) else value
    if value.lstrip().startswith(("[", "{")):
        try:
            found = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{name}: wanted a list, found text that is no JSON: {error}") from error
        return found if isinstance(found, list) else [found]
    if name in WHOLE:
        return [value]
    return [item.strip() for item in value.split(",") if item.strip()] or None


def _contradiction(values: dict[str, t.Any]) -> str:
    """Why options of check_listeners cannot be taken together; empty if they can."""
    if not by_tasks(values):
        return ""
    source = values.get("check_listeners_socket_source")
    if source != "exec":
        return (
            f"check_listeners_socket_source: {source} needs check_listeners_gather_with: module; tasks make no probes"
        )
    named = [values.get(f"check_listeners_impersonate_{what}") for what in ("user", "groups")]
    if any(named) or os.environ.get("K8S_AUTH_IMPERSONATE_USER") or os.environ.get("K8S_AUTH_IMPERSONATE_GROUPS"):
        # k8s_exec sends no headers of impersonation: the client under it drops them, kubernetes/stream/ws_client.py@37.0.2.
        return (
            "check_listeners_impersonate_user needs check_listeners_gather_with: module; "
            "k8s_exec would run commands as the one who impersonates"
        )
    seconds = values["check_listeners_exec_timeout"]  # the module checks its own
    if not 0 < seconds <= LONGEST:
        return f"check_listeners_exec_timeout: wanted a number above 0 and at most {LONGEST}, found {seconds:g}"
    return ""


def by_tasks(values: t.Mapping[str, t.Any]) -> bool:
    """Whether tasks of kubernetes.core gather for check_listeners."""
    return values.get("check_listeners_gather_with") == "k8s_exec" and not is_recorded(values)


def is_recorded(values: t.Mapping[str, t.Any]) -> bool:
    """Whether check_listeners evaluates a record, and asks no cluster."""
    return bool(values.get("check_listeners_snapshot_src")) or values.get("check_listeners_snapshot") is not None
