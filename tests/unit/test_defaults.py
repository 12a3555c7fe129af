# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An option stands in a module, in its documentation, in a role's defaults, its argument specification and its README: all of them say the same."""

from __future__ import annotations

import pathlib
import re

import pytest
import yaml
from ansible_collections.kubernetes.core.plugins.module_utils.args_common import AUTH_ARG_SPEC

from ansible_collections.meshops.istio_precheck.plugins.modules import localhost_listener_info, sidecar_remediation

ROLES = pathlib.Path(__file__).resolve().parents[2] / "roles"
NAMES = sorted(role.name for role in ROLES.iterdir())
SAME = ("type", "elements", "default", "choices", "required")
"""What must be the same of an option, wherever it stands."""

IN_WORDS = {"all": [], "none": None, "required": None, "": None}
"""What the tables of the READMEs say instead of a value."""


def options_of(role):
    text = (ROLES / role / "meta/argument_specs.yml").read_text("utf-8")
    return yaml.safe_load(text)["argument_specs"]["main"]["options"]


def defaults_of(role):
    return yaml.safe_load((ROLES / role / "defaults/main.yml").read_text("utf-8"))


def essence(option):
    """`option` but for its words: a type that is not given is a text, and a documentation has suboptions for options."""
    kept = {name: option[name] for name in SAME if name in option and option[name] is not None}
    inside = option.get("options") or option.get("suboptions") or {}
    more = {"options": {name: essence(each) for name, each in inside.items()}} if inside else {}
    return {"type": "str", "required": False, **kept, **more}


@pytest.mark.parametrize("role", NAMES)
def test_the_defaults_of_a_role_are_those_that_it_documents(role):
    documented = {name: option["default"] for name, option in options_of(role).items() if "default" in option}
    made = {name: value for name, value in defaults_of(role).items() if "{{" in str(value)}
    assert defaults_of(role) == {**documented, **made}
    assert made.keys() <= options_of(role).keys()


def test_the_role_takes_the_modules_options_as_they_are():
    role = {name.removeprefix("check_listeners_"): option for name, option in options_of("check_listeners").items()}
    module = {
        name: option for name, option in localhost_listener_info.argument_spec().items() if name not in AUTH_ARG_SPEC
    }
    assert module.keys() <= role.keys()
    assert {name: essence(role[name]) for name in module} == {name: essence(each) for name, each in module.items()}


def test_the_role_takes_the_options_of_a_connection_as_they_are():
    role = options_of("check_listeners")
    wanted = {name: spec for name, spec in AUTH_ARG_SPEC.items() if name != "persist_config"}
    told = {name: role[f"check_listeners_{name}"] for name in wanted}
    assert {name: (each["type"], each.get("elements"), bool(each.get("no_log"))) for name, each in told.items()} == {
        name: (spec.get("type", "str"), spec.get("elements"), bool(spec.get("no_log"))) for name, spec in wanted.items()
    }


@pytest.mark.parametrize("module", [localhost_listener_info, sidecar_remediation], ids=lambda each: each.__name__[-20:])
def test_a_module_documents_the_options_that_it_takes(module):
    documented = yaml.safe_load(module.DOCUMENTATION)["options"]
    taken = {name: option for name, option in module.argument_spec().items() if name not in AUTH_ARG_SPEC}
    assert {name: essence(option) for name, option in documented.items()} == {
        name: essence(option) for name, option in taken.items()
    }


def readme_rows(role):
    """`(variables, defaults)` of each row of the table of variables of a role's README."""
    for line in (ROLES / role / "README.md").read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        names = re.findall(rf"`({role}_\w+)`", cells[0]) if line.startswith(f"| `{role}_") else []
        if names:
            yield names, cells[1]


@pytest.mark.parametrize("role", NAMES)
def test_the_table_of_a_readme_says_the_default(role):
    rows = list(readme_rows(role))
    assert rows
    for names, told in rows:
        values = [yaml.safe_load(text.strip("`")) for text in re.findall(r"`[^`]*`|\w+", told)]
        for number, name in enumerate(names):
            option = options_of(role)[name]
            if told in IN_WORDS:
                assert option.get("default") in (None, []), name
            elif "default" in option:
                assert option["default"] == values[number], name


@pytest.mark.parametrize("role", NAMES)
def test_a_role_is_played_each_time_that_it_is_named(role):
    """By its default ansible-core passes over one that has run for the host, whatever its variables are by then."""
    assert yaml.safe_load((ROLES / role / "meta/main.yml").read_text("utf-8"))["allow_duplicates"] is True
