# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The door of each role: every way in which a user writes a variable means the same, and no way opens the gate."""

from __future__ import annotations

import json
import pathlib

import pytest
import yaml

from ansible_collections.meshops.istio_precheck.tests.helpers import cluster

ROLES = pathlib.Path(__file__).resolve().parents[2] / "roles"
MERGE = "meshops.istio_precheck.merge_reports"
OTHER = {
    "pods": [cluster.pod(), cluster.pod(name="api-1", namespace="bank", app="api", owner=("ReplicaSet", "api-7d4b9"))],
    "services": [cluster.service(), cluster.service(name="api", namespace="bank", selector={"app": "api"})],
    "tables": [cluster.table(), cluster.table(of="api-1", namespace="bank")],
}
"""Two namespaces, each with a port that breaks on upgrade."""

LISTS = {
    # variable: two items, and what the play makes of them, from Played
    "fail_on": (["breaks_on_upgrade", "unchecked"], lambda played: played.passed is False),
    "namespaces": (["shop", "bank"], lambda played: len(played.result["findings"]) == 2),
    "exclude_namespaces": (["shop", "none"], lambda played: ids(played) == {"bank"}),
    "report_formats": (["html", "sarif"], lambda played: written(played) == {"localhost.html", "localhost.sarif"}),
}


def ids(played):
    return {finding["namespace"] for finding in played.result["findings"]}


def written(played):
    return {path.name for path in pathlib.Path(played.result["place"]).iterdir()}


def as_given(spelling, name, items, tmp_path):
    """The arguments of ansible-playbook that give `items` to a variable."""
    if spelling == "one":
        return ["-e", f"{name}={items[0]}"]
    if spelling == "commas":
        return ["-e", f"{name}={','.join(items)}"]
    if spelling == "JSON":
        return ["-e", json.dumps({name: items})]
    (tmp_path / "given.yml").write_text(yaml.safe_dump({name: items}), "utf-8")
    return ["-e", f"@{tmp_path / 'given.yml'}"]


SPELLINGS = ("one", "commas", "JSON", "YAML")
"""As a user gives them; tests/unit/plugins/plugin_utils/test__role_variables.py has more."""


def list_variables(role):
    options = yaml.safe_load((ROLES / role / "meta/argument_specs.yml").read_text("utf-8"))["argument_specs"]["main"]
    return {name for name, option in options["options"].items() if option["type"] == "list"}


def test_the_table_names_every_list_of_every_role():
    elsewhere = {"check_listeners_label_selectors", "check_listeners_waivers", "check_listeners_impersonate_groups"}
    lists = {name for role in ROLES.iterdir() for name in list_variables(role.name)}
    assert lists - elsewhere - {"merge_reports_formats"} == {f"check_listeners_{name}" for name in LISTS}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("name", LISTS)
def test_a_list_means_the_same_however_it_is_written(play, record, tmp_path, name, spelling):
    items, holds = LISTS[name]
    place = tmp_path / "reports"
    given = {"check_listeners_snapshot_src": record(**OTHER), "check_listeners_report_dir": str(place)}
    played = play(*as_given(spelling, f"check_listeners_{name}", items, tmp_path), **given)
    assert played.code == 2, played.output
    played.result["place"] = str(place)
    if spelling == "one" and name in ("namespaces", "report_formats"):
        assert ids(played) == {"shop"} if name == "namespaces" else written(played) == {"localhost.html"}
    else:
        assert holds(played)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_the_formats_of_the_merged_page_mean_the_same_however_they_are_written(play, record, tmp_path, spelling):
    place = tmp_path / "reports"
    play(check_listeners_snapshot_src=record(), check_listeners_report_dir=str(place))
    given = as_given(spelling, "merge_reports_formats", ["markdown", "html"], tmp_path)
    played = play(*given, playbook=MERGE, merge_reports_dir=str(place))
    assert played.code == 0, played.output
    pages = {path.name for path in place.glob("index.*")}
    assert pages == ({"index.md"} if spelling == "one" else {"index.md", "index.html"})


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ("check_listeners_fail_on=", 2),
        ("check_listeners_fail_on=,", 2),
        ("check_listeners_fail_on=[]", 0),
        ("check_listeners_fail_on=unchecked,nonsense", 2),
        ('{"check_listeners_fail_on": {"breaks_on_upgrade": true}}', 2),
    ],
)
def test_only_an_empty_list_turns_the_gate_into_a_report(play, record, written, code):
    played = play("-e", written, check_listeners_snapshot_src=record())
    assert (played.code, played.passed) == (code, code == 0), played.output


@pytest.mark.parametrize(
    "given",
    [{"check_listeners_passed": True}, {"__check_listeners_gate": {"passed": True, "result": {}, "verdict": []}}],
)
def test_no_extra_variable_stands_in_the_place_of_the_verdict(play, record, given):
    played = play("-e", json.dumps(given), check_listeners_snapshot_src=record())
    assert played.code == 2, played.output
    assert f"{next(iter(given))}: the role sets this" in played.output


@pytest.mark.parametrize("given", [{"check_listeners_passed": True}, {"__check_listeners_gate": {"passed": True}}])
def test_no_parameter_of_the_role_does_and_what_a_run_before_it_found_is_forgotten(play, record, given):
    def run(**variables):
        return {"ansible.builtin.include_role": {"name": "meshops.istio_precheck.check_listeners"}, "vars": variables}

    fine = {"check_listeners_snapshot_src": record("fine", binds=("0.0.0.0:8080",))}
    book = {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "tasks": [run(**fine), run(**fine, **given)],
    }
    played = play(playbook=[book])
    assert (played.code, played.passed) == (2, False), played.output
    said = f"{next(iter(given))}: the role sets this"
    assert said in played.output and played.result["msg"].startswith(said)


def test_where_errors_are_ignored_what_a_run_before_it_found_is_forgotten_too(play, record):
    """No `rescue` is played then, and what comes after goes by the facts."""
    role = {"name": "meshops.istio_precheck.check_listeners", "apply": {"ignore_errors": True}}
    fine = {"check_listeners_snapshot_src": record("fine", binds=("0.0.0.0:8080",))}
    fails = {"check_listeners_snapshot_src": record(), "__check_listeners_gate": {}}
    book = {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "tasks": [
            {"ansible.builtin.include_role": role, "vars": fine},
            {"ansible.builtin.include_role": role, "vars": fails},
        ],
    }
    played = play(playbook=[book])
    assert (played.code, played.passed) == (0, False), played.output
    assert played.result["failed"] and not played.result["summary"]


@pytest.mark.parametrize(
    ("playbook", "name", "meant"),
    [
        ("check_listeners", "check_listener_context", "check_listeners_context"),
        ("check_listeners", "remediate_listeners_context", "check_listeners_context"),
        ("remediate_listeners", "remediate_listener_undo", "remediate_listeners_undo"),
        ("remediate_listeners", "check_listeners_undo", "remediate_listeners_undo"),
        ("merge_reports", "merge_report_dest", "merge_reports_dest"),
    ],
)
def test_a_misspelt_prefix_is_refused_at_the_door(play, record, tmp_path, playbook, name, meant):
    """Before anything is asked of a cluster: with another name the role would apply what it is to take back."""
    source = {"check_listeners_snapshot_src": record()} if playbook == "check_listeners" else {}
    more = {"merge_reports_dir": str(tmp_path)} if playbook == "merge_reports" else {}
    played = play(playbook=f"meshops.istio_precheck.{playbook}", **source, **more, **{name: "true"})
    assert played.code == 2 and f"Unknown variable {name}. Did you mean {meant}?" in played.output, played.output


@pytest.mark.parametrize(
    ("option", "secret"), [("api_key", "upgrade"), ("password", "breaks"), ("api_key", "io"), ("password", "127")]
)
def test_a_secret_that_is_part_of_a_word_changes_neither_the_verdict_nor_a_file(play, record, tmp_path, option, secret):
    place = tmp_path / "sidecars"
    given = {"check_listeners_snapshot_src": record(), "check_listeners_remediation_dir": str(place)}
    played = play(**given, **{f"check_listeners_{option}": secret, "check_listeners_username": "jane"})
    assert (played.code, played.passed) == (2, False)
    (finding,) = played.result["findings"]
    assert (finding["impact"], finding["namespace"], finding["listeners"]) == (
        "breaks_on_upgrade",
        "shop",
        ["127.0.0.1:8080"],
    )
    (sidecar,) = place.rglob("*.yaml")
    assert yaml.safe_load(sidecar.read_text("utf-8"))["apiVersion"] == "networking.istio.io/v1beta1"
