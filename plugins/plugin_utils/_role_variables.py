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

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.common.yaml import yaml_load

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.schema import type_name
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._kubernetes_core import AUTH_ARG_SPEC
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._plain import plain

Specification = dict[str, dict[str, t.Any]]

NOT_OPTIONS = {
    "check_listeners": ("hosts", "any_errors_fatal", "result", "passed"),
    "remediate_listeners": ("hosts",),
}
"""What has a role's prefix beside its options: variables of the playbooks, and facts of the role."""

ALSO_READ = {"remediate_listeners": ("check_listeners",)}
"""Roles whose variables a role reads beside its own: of these, too, a slip may have it go to another cluster."""

FACTS = ("result", "passed")
"""Of these what the role sets. A name that is like one is somebody's own: nobody gives it."""

ALIKE = 0.92
"""How like a whole name, its prefix misspelt, must be to one of a role. Above it nothing but a slip of the hand is left."""
SLIPS = 2
"""How many letters of a role's name may be wrong before an option that is right."""

TEXTS = ("path", "raw", "str")
"""Types of options that are a text, or may be."""

IN_ITS_PLACE = ("remediate_listeners_dir",)
"""Texts beside those of the connection without which something else is taken that was not asked for."""

WHOLE = ("check_listeners_label_selectors",)
"""A text is one selector, in which a comma means "and" as for `kubectl get -l`."""


LONGEST = 3600
"""Seconds, as the module has it."""


class Variables(t.NamedTuple):
    """The options of a role by the names of their variables, what is wrong with them, and what is odd."""

    values: dict[str, t.Any]
    problems: list[str]
    hints: list[str]


def of(role: str, directory: pathlib.Path, templar: t.Any, task_vars: t.Mapping[str, t.Any]) -> Variables:
    """The variables of `role`, whose files are in `directory`, as the task sees them."""
    roles = {
        file.parent.parent.name: yaml_load(file.read_text("utf-8"))["argument_specs"]["main"]["options"]
        for file in sorted(directory.parent.glob("*/meta/argument_specs.yml"))
    }
    found = read(role, roles, task_vars, lambda name: templar.template(task_vars[name]))
    contradiction = "" if found.problems else _contradiction(found.values)
    return found._replace(problems=[contradiction]) if contradiction else found


def read(
    role: str, roles: t.Mapping[str, Specification], names: t.Iterable[str], value_of: t.Callable[[str], t.Any]
) -> Variables:
    """The variables of `role` among those with these `names`; `value_of` gives the value of one, and may raise anything.

    `roles` are the options of every role. A name that is like one of a role that is not played is a hint: it may be a user's own.
    No value and an empty text count as not given, so the default holds. Every list is a list afterwards.
    """
    given: dict[str, t.Any] = {}
    problems: list[str] = []
    options = roles[role]
    there = sorted(names)
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
    paths = {  # as they are, for another host
        name: str(value) if value and not isinstance(value, str) else value
        for name, value in given.items()
        if options[name].get("type") == "path"
    }
    also = ALSO_READ.get(role, ())
    problems += _no_texts({each: roles[each] for each in (role, *also) if each in roles}, there, value_of)
    # Without it another cluster may be checked, or another namespace, or Sidecars applied that were to be taken back.
    read_here = tuple(f"{each}_" for each in (role, *also))
    hints = []
    for name, other in _meant(there, roles).items():
        said = f"Unknown variable {name}." + (f" Did you mean {other}?" if other else "")
        if other and (name.startswith(read_here) or other.startswith(read_here)):
            problems.append(said)
        elif other or name.startswith(f"{role}_"):
            hints.append(said)
    return Variables({**values, **paths}, problems or [str(message) for message in checked.error_messages], hints)


def _no_texts(
    roles: t.Mapping[str, Specification], there: t.Sequence[str], value_of: t.Callable[[str], t.Any]
) -> t.Iterator[str]:
    """What is wrong with values of texts that are none.

    YAML has `context: no` be false, and a template has what is false be as if it were not given: then the current context was checked, in the place of
    the one called `no`. What is no text and leads to a path that nobody named is refused, too.
    """
    for role, options in roles.items():
        for name in there:
            kind = options[name].get("type", "str") if name in options else ""
            decides = option(role, name) in AUTH_ARG_SPEC or name in IN_ITS_PLACE
            if kind not in TEXTS or not (decides or kind == "path"):
                continue
            try:
                value = plain(value_of(name))
            except Exception:  # who reads it says so
                continue
            dropped = decides and (isinstance(value, bool) or (not value and value is not None and value != ""))
            if dropped or (kind == "path" and (value is True or isinstance(value, (list, dict)))):
                yield f"{name}: wanted text, found {type_name(value)}; a word such as no, and a number, need quotes in YAML"


def _meant(names: t.Iterable[str], roles: t.Mapping[str, Specification]) -> dict[str, str]:
    """Of the `names` that no role knows: the known name that was meant, empty where one has a role's prefix and is like none."""
    known = {
        role: {option(role, name) for name in options} | set(NOT_OPTIONS.get(role, ()))
        for role, options in sorted(roles.items())
    }
    prefixes = [(len(role), difflib.SequenceMatcher(None, "", role)) for role in known]
    found = {}
    for name in names:
        of_role = next((role for role in known if name.startswith(f"{role}_")), "")
        if of_role:
            if option(of_role, name) not in known[of_role]:
                found[name] = _other_option(of_role, option(of_role, name), known)
        elif _begins_like_one(name.lower(), prefixes):
            meant = _other_prefix(name.lower(), known)
            found.update({name: meant} if meant else {})
    return found


def _other_option(role: str, wrong: str, known: t.Mapping[str, t.Collection[str]]) -> str:
    """The name that was meant where the prefix is the role's: another role's of just this option, or the most like one."""
    theirs = [other for other in known if wrong in known[other] and wrong not in FACTS]
    likely = difflib.get_close_matches(wrong, sorted(known[role]), 1)
    return f"{theirs[0]}_{wrong}" if theirs else f"{role}_{likely[0]}" if likely else ""


def _begins_like_one(name: str, prefixes: t.Iterable[tuple[int, difflib.SequenceMatcher[str]]]) -> bool:
    """Whether it is worth a closer look: a play has hundreds of variables."""
    for length, prefix in prefixes:
        prefix.set_seq1(name[:length])
        if prefix.real_quick_ratio() > 0.7 and prefix.quick_ratio() > 0.7:
            return True
    return False


def _other_prefix(name: str, known: t.Mapping[str, t.Collection[str]]) -> str:
    """The name that was meant where the prefix is no role's; empty for a name of somebody's own.

    Who writes a role's name in full behind something else, as in `my_check_listeners_context`, means a variable of their own.
    """
    if any(f"_{role}_" in name for role in known):
        return ""
    wholes = {f"{role}_{each}": (role, each) for role in known for each in known[role] if each not in FACTS}
    near = [
        (_slips(name[: -len(each) - 1], role), whole)
        for whole, (role, each) in sorted(wholes.items())
        if name.endswith(f"_{each}")
    ]
    best = min(near, default=(SLIPS + 1, ""))
    likely = [best[1]] if best[0] <= SLIPS else difflib.get_close_matches(name, sorted(wholes), 1, ALIKE)
    return likely[0] if likely else ""


def _slips(one: str, other: str) -> int:
    """How many letters are to be put in, left out or changed to make one of the other."""
    row = list(range(len(other) + 1))
    for number, letter in enumerate(one, 1):
        above, row = row, [number]
        for place, wanted in enumerate(other, 1):
            row.append(min(above[place] + 1, row[-1] + 1, above[place - 1] + (letter != wanted)))
    return row[-1]


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


def shown(role: str, values: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The `values` that may be part of a result: none of the connection's, and no whole cluster."""
    return {name: value for name, value in values.items() if option(role, name) not in (*AUTH_ARG_SPEC, "snapshot")}


def by_tasks(values: t.Mapping[str, t.Any]) -> bool:
    """Whether tasks of kubernetes.core gather for check_listeners."""
    return values.get("check_listeners_gather_with") == "k8s_exec" and not is_recorded(values)


def is_recorded(values: t.Mapping[str, t.Any]) -> bool:
    """Whether check_listeners evaluates a record, and asks no cluster."""
    return bool(values.get("check_listeners_snapshot_src")) or values.get("check_listeners_snapshot") is not None
