# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The variables of a role, as they are written and as they are used."""

from __future__ import annotations

import pathlib

import pytest
import yaml
from ansible.errors import AnsibleError

from ansible_collections.meshops.istio_precheck.plugins.plugin_utils import _role_variables

ROLES = pathlib.Path(__file__).resolve().parents[4] / "roles"
OPTIONS = {
    role.name: yaml.safe_load((role / "meta/argument_specs.yml").read_text("utf-8"))["argument_specs"]["main"][
        "options"
    ]
    for role in sorted(ROLES.iterdir())
}
TWO = ["breaks_on_upgrade", "unchecked"]
DEFAULT = OPTIONS["check_listeners"]["check_listeners_fail_on"]["default"]


def read(role="check_listeners", **given):
    given = {f"{role}_{name}": value for name, value in given.items()}
    return _role_variables.read(role, OPTIONS, given, lambda name: given[name])


@pytest.mark.parametrize(
    ("written", "means"),
    [
        (["unchecked"], ["unchecked"]),
        ("unchecked", ["unchecked"]),
        ("breaks_on_upgrade,unchecked", TWO),
        (" breaks_on_upgrade , unchecked, ", TWO),
        ('["breaks_on_upgrade", "unchecked"]', TWO),
        ([], []),
        ("[]", []),
        ("", DEFAULT),
        ("  ", DEFAULT),
        (",", DEFAULT),
        (" , ,", DEFAULT),
        (None, DEFAULT),
    ],
)
def test_a_list_is_a_list_however_it_is_written(written, means):
    found = read(fail_on=written)
    assert (found.values["check_listeners_fail_on"], found.problems) == (means, [])


@pytest.mark.parametrize(
    "written",
    ["nonsense", "unchecked,nonsense", "[unchecked", "[" * 99999, {"unchecked": True}, False, 5, [["unchecked"]], [{}]],
)
def test_what_is_no_list_of_known_words_is_a_problem_that_names_its_variable(written):
    (problem, *_more) = read(fail_on=written).problems
    assert "check_listeners_fail_on" in problem and len(problem) < 400


@pytest.mark.parametrize("selector", ["app=web", "app in (web, shop)", "app=web,app!=api"])
def test_a_text_is_one_label_selector(selector):
    """As for `kubectl get -l`, where a comma means "and"."""
    assert read(label_selectors=selector).values["check_listeners_label_selectors"] == [selector]


def test_waivers_may_be_a_text_of_json():
    (waiver,) = read(waivers='[{"match": "true", "reason": "known"}]').values["check_listeners_waivers"]
    assert (waiver["match"], waiver["reason"]) == ("true", "known")
    assert read(waivers='{"match": "true", "reason": "known"}').values["check_listeners_waivers"] == [waiver]


def test_every_list_of_every_role_takes_items_between_commas():
    for role, options in OPTIONS.items():
        for name, option in options.items():
            if option["type"] != "list" or name in _role_variables.WHOLE or option["elements"] != "str":
                continue
            two = (option.get("choices") or ["a", "b"])[:2]
            given = {role: {name: {**option, "required": False}}}
            found = _role_variables.read(role, given, [name], lambda _, two=two: ",".join(two))
            assert (found.values, found.problems) == ({name: two}, []), name


@pytest.mark.parametrize("role", ["check_listeners", "remediate_listeners"])
@pytest.mark.parametrize("name", ["context", "host", "kubeconfig", "impersonate_user", "proxy"])
@pytest.mark.parametrize("value", [False, True, 0, 0.0, [], {}])
def test_no_value_that_a_template_takes_for_none_leads_to_another_cluster(role, name, value):
    """`check_listeners_context: no`, of a cluster in Norway, is false in YAML: the current context was checked in its place."""
    given = {f"check_listeners_{name}": value}
    (problem, *_more) = _role_variables.read(role, OPTIONS, given, lambda name: given[name]).problems
    assert problem.startswith(f"check_listeners_{name}: wanted text, found ") and "quotes" in problem


@pytest.mark.parametrize("value", ["no", "0", "", None, 2026])
def test_a_text_of_the_connection_is_one(value):
    assert read(context=value).problems == []
    assert read(kubeconfig={"current-context": "no"}).problems == []
    assert read(proxy_headers={}, impersonate_groups=[], validate_certs=False).problems == []


@pytest.mark.parametrize("value", [False, 0, [], {}])
def test_what_is_no_directory_does_not_stand_for_files_that_nobody_reviewed(value):
    assert read("remediate_listeners", dir=value).problems[0].startswith("remediate_listeners_dir: wanted text")


def test_a_path_that_is_a_number_is_text():
    """As a directory that is named by the year. It was a traceback."""
    found = read(report_dir=2026, remediation_dir=2026.5, snapshot_src=2026)
    names = ("report_dir", "remediation_dir", "snapshot_src")
    assert [found.values[f"check_listeners_{name}"] for name in names] == ["2026", "2026.5", "2026"]


def test_numbers_and_truths_are_what_they_say_and_paths_stay_as_given():
    found = read(concurrency="8", validate_certs="no", snapshot_src="~/cluster.json", context="")
    assert found.problems == []
    assert found.values["check_listeners_concurrency"] == 8
    assert found.values["check_listeners_validate_certs"] is False
    assert found.values["check_listeners_snapshot_src"] == "~/cluster.json"
    assert "check_listeners_context" not in found.values


@pytest.mark.parametrize("error", [AnsibleError, ValueError, TypeError])
def test_a_variable_without_a_value_is_a_problem_and_one_that_the_role_lacks_is_told(error):
    """Before ansible-core 2.19 what a filter raises comes as it is."""

    def value_of(name):
        raise error("'nope' is undefined")

    found = _role_variables.read(
        "check_listeners", OPTIONS, ["check_listeners_context", "check_listeners_contxt"], value_of
    )
    assert found.problems == [
        "check_listeners_context: 'nope' is undefined",
        "Unknown variable check_listeners_contxt. Did you mean check_listeners_context?",
    ]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("check_listeners_contxt", "check_listeners_context"),
        ("check_listeners_kube_context", "check_listeners_context"),
        ("check_listeners_failon", "check_listeners_fail_on"),
        ("check_listeners_waiver", "check_listeners_waivers"),
        ("check_listeners_namespace", "check_listeners_namespaces"),
        ("check_listeners_report_format", "check_listeners_report_formats"),
    ],
)
def test_a_variable_that_is_mistyped_is_refused_with_the_one_that_was_meant(name, meant):
    found = _role_variables.read("check_listeners", OPTIONS, [name], lambda _name: "x")
    assert (found.problems, found.hints) == ([f"Unknown variable {name}. Did you mean {meant}?"], [])


def test_a_variable_that_is_like_none_of_the_roles_is_somebodys_own():
    name = "check_listeners_colour"
    found = _role_variables.read("check_listeners", OPTIONS, [name], lambda _name: "x")
    assert (found.problems, found.hints) == ([], [f"Unknown variable {name}."])


MISSPELT = {
    # as it is written: what was meant
    "check_listener_context": "check_listeners_context",
    "check_listener_namespaces": "check_listeners_namespaces",
    "check_listners_target_version": "check_listeners_target_version",
    "check_listner_namespace": "check_listeners_namespaces",
    "check_listners_target_verson": "check_listeners_target_version",
    "checklisteners_context": "check_listeners_context",
    "Check_listeners_context": "check_listeners_context",
    "CHECK_LISTENERS_HOST": "check_listeners_host",
    "check_listener_hosts": "check_listeners_hosts",
    "check_listeners_undo": "remediate_listeners_undo",
    "check_listeners_undo_file": "remediate_listeners_undo_file",
    "remediate_listener_undo": "remediate_listeners_undo",
    "remediation_listeners_undo": "remediate_listeners_undo",
    "remediate_listener_hosts": "remediate_listeners_hosts",
    "remediate_listeners_context": "check_listeners_context",
    "merge_report_dir": "merge_reports_dir",
    "merge_reports_namespaces": "check_listeners_namespaces",
}
OWN = [
    "check_list",
    "check_listener",
    "check_listener_result",
    "check_listening_ports",
    "my_check_listeners_x",
    "my_check_listeners_context",
    "__check_listeners_snapshot",
    "_check_listeners_context",
    "__remediate_listeners_dir",
    "k8s_context",
    "context",
    "namespaces",
    "listeners_context",
    "check_hosts",
    "checks_context",
    "merge_request_dir",
    "remediate_vulnerabilities_undo",
]


@pytest.mark.parametrize("role", OPTIONS)
@pytest.mark.parametrize(("name", "meant"), MISSPELT.items())
def test_a_name_that_is_misspelt_is_refused_by_the_roles_that_would_read_it_and_told_by_the_others(role, name, meant):
    """Else another cluster may be checked, or Sidecars applied that were to be taken back."""
    found = _role_variables.read(role, OPTIONS, [name], lambda _name: "x")
    said = f"Unknown variable {name}. Did you mean {meant}?"
    reads = (role, *{"remediate_listeners": ["check_listeners"]}.get(role, []))
    refused = any(each.startswith(f"{one}_") for one in reads for each in (name, meant))
    assert ((said in found.problems), (said in found.hints)) == (refused, not refused)


@pytest.mark.parametrize(
    ("name", "refusing"),
    [
        ("merged_reports_dest", {"merge_reports"}),
        ("remediated_listeners_dir", {"remediate_listeners"}),
        ("checked_listeners_namespaces", {"check_listeners", "remediate_listeners"}),  # which reads it, too
        ("check_listener_context", {"check_listeners", "remediate_listeners"}),
        ("check_listeners_undo", {"check_listeners", "remediate_listeners"}),
        ("merge_reports_namespaces", {"check_listeners", "merge_reports", "remediate_listeners"}),
    ],
)
def test_a_variable_that_may_be_ones_own_stops_no_role_that_would_not_read_it(name, refusing):
    """Its name is two letters from one of a role, and it may be of the play's own, for another role."""
    found = {role: _role_variables.read(role, OPTIONS, [name], lambda _name: "x") for role in OPTIONS}
    unknown = f"Unknown variable {name}."
    assert {role for role, each in found.items() if any(unknown in said for said in each.problems)} == refusing
    assert {role for role, each in found.items() if any(unknown in said for said in each.hints)} == {*found} - refusing


@pytest.mark.parametrize("role", OPTIONS)
@pytest.mark.parametrize("name", OWN)
def test_a_variable_of_ones_own_stops_no_role(role, name):
    found = _role_variables.read(role, OPTIONS, [name], lambda _name: "x")
    assert not [problem for problem in found.problems if problem.startswith("Unknown")] and found.hints == []


def test_what_one_role_knows_stops_no_other():
    names = [name for options in OPTIONS.values() for name in options]
    names += [f"{role}_{name}" for role, others in _role_variables.NOT_OPTIONS.items() for name in others]
    for role in OPTIONS:
        found = _role_variables.read(role, OPTIONS, names, lambda _name: "")
        assert not [problem for problem in found.problems if problem.startswith("Unknown")], role


def test_the_defaults_of_a_role_are_those_of_its_specification():
    for role, options in OPTIONS.items():
        file = ROLES / role / "defaults/main.yml"
        defaults = yaml.safe_load(file.read_text("utf-8")) if file.exists() else {}
        computed = {name for name, value in defaults.items() if isinstance(value, str) and "{{" in value}
        told = {name: option["default"] for name, option in options.items() if "default" in option}
        assert {name: value for name, value in defaults.items() if name not in computed} == told, role


def test_the_options_of_the_module_have_the_same_types_and_defaults_in_the_role():
    from ansible_collections.meshops.istio_precheck.plugins.modules.localhost_listener_info import argument_spec

    options = OPTIONS["check_listeners"]
    for name, option in argument_spec().items():
        if name == "persist_config":
            continue
        told = options[f"check_listeners_{name}"]
        for part in ("type", "default", "choices", "elements"):
            assert told.get(part) == option.get(part, "str" if part == "type" else None), (name, part)


def test_no_variable_says_more_seconds_than_the_module_takes():
    from ansible_collections.meshops.istio_precheck.plugins.module_utils._check import LARGEST

    assert _role_variables.LONGEST == LARGEST["exec_timeout"]
