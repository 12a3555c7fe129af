# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The tables of what a Report can say, the texts that repeat them, and the decision on what they do not know."""

from __future__ import annotations

import pathlib
import re
import typing as t

import pytest
import yaml

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model import report as room
from ansible_collections.meshops.istio_precheck.plugins.modules import localhost_listener_info
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._reports import html as _html
from ansible_collections.meshops.istio_precheck.tests.helpers import cluster

ROOT = pathlib.Path(__file__).resolve().parents[5]
OPTIONS = yaml.safe_load((ROOT / "roles/check_listeners/meta/argument_specs.yml").read_text("utf-8"))["argument_specs"][
    "main"
]["options"]


def test_the_role_knows_the_words_of_the_table_and_no_others():
    defaults = yaml.safe_load((ROOT / "roles/check_listeners/defaults/main.yml").read_text("utf-8"))
    assert OPTIONS["check_listeners_fail_on"]["choices"] == list(room.FAIL_ON)
    assert OPTIONS["check_listeners_fail_on"]["default"] == list(room.DEFAULT_FAIL_ON)
    assert defaults["check_listeners_fail_on"] == list(room.DEFAULT_FAIL_ON)


def test_the_readme_of_the_role_names_the_default():
    readme = (ROOT / "roles/check_listeners/README.md").read_text("utf-8")
    assert f"| `check_listeners_fail_on` | `[{', '.join(room.DEFAULT_FAIL_ON)}]` |" in readme


def test_the_role_begins_with_an_empty_report():
    facts = yaml.safe_load((ROOT / "roles/check_listeners/vars/main/main.yml").read_text("utf-8"))
    assert facts["__check_listeners_nothing"] == room.nothing()


def test_the_module_documents_every_list_and_count_of_a_report():
    documented = yaml.safe_load(localhost_listener_info.RETURN)
    assert set(room.LISTS) <= set(documented)
    assert set(documented["summary"]["sample"]) == set(t.get_type_hints(room.Summary))


@pytest.mark.parametrize(
    ("shape", "form"),
    [
        (room.RECORD, room.Record),
        (room.FINDING, room.Finding),
        (room.FAILING_PROBE, room.FailingProbe),
        (room.NOT_CHECKED, room.NotChecked),
        (room.DELIVERY, room.DeliveryRecord),
        (room.WAIVED_BY, room.WaivedBy),
        (room.WORKLOAD, room.WorkloadName),
        ({**room.REPORT}, room.Report),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_is_checked_is_what_is_typed(shape, form):
    assert set(shape) == set(t.get_type_hints(form))


def test_every_word_has_a_colour_in_the_page_and_a_rule_if_it_has_a_level():
    style = (pathlib.Path(_html.__file__).parent / "page.css").read_text("utf-8")
    rules = {rule.id for rule in room.RULES}
    for word in room.WORDS:
        assert style.count(f"--{word.name}: ") == 3, word.name  # light, dark, paper
        assert f".f-{word.name}" in style and f".k-{word.name}" in style, word.name
        assert bool(word.rule) == bool(word.level) == word.fails and (not word.rule or word.rule in rules)
        assert word.part in room.LISTS and (word.name in room.IMPACTS or word.part == word.name)


def test_every_reason_that_the_code_gives_is_in_the_table():
    """Where a reason is made it stands beside its detail, in a dict or as an argument."""
    sources = [path for path in (ROOT / "plugins/module_utils").rglob("*.py") if path.name != "report.py"]
    given = set()
    for path in sources:
        text = path.read_text("utf-8")
        given.update(re.findall(r'"reason": "(\w+)"', text))
        given.update(re.findall(r'_Failed\(\s*"(\w+)"', text))
        given.update(re.findall(r'_unread\(\w+, "(\w+)"', text))
        given.update(re.findall(r'return \(?\s*"([a-z]+_[a-z_]+)", (?:f"|detail|error)', text))
        given.update(re.findall(r'Outcome\("", None, "(\w+)"', text))
    assert len(given) > 10
    assert given <= {*room.REASONS, *room.BEYOND}


# ---------------------------------------------------------------------------------------------------------------------
# The decision


@pytest.mark.parametrize(
    "fail_on",
    [
        "breaks_on_upgrade",
        "breaks_on_upgrade,unchecked",
        "",
        None,
        1,
        {"unchecked": True},
        ["unchecked", "breaks"],
        [[]],
        [1],
    ],
    ids=repr,
)
def test_a_fail_on_that_means_nothing_is_refused_by_name(fail_on):
    with pytest.raises(room.FailOnError, match=r"^check_listeners_fail_on: wanted "):
        room.blocking(cluster.report(), fail_on)


OPENING = cluster.report(binds=["10.0.0.5:8080"], workloadEntries=[{"metadata": cluster.meta("vm"), "spec": {}}])


@pytest.mark.parametrize("word", ["opens_on_upgrade", "not_checked"])
def test_what_opens_and_what_is_beyond_the_check_block_only_where_that_is_asked_for(word):
    assert [len(OPENING[part]) for part in ("findings", "opens_on_upgrade", "not_checked")] == [0, 1, 1]
    assert room.blocking(OPENING, room.DEFAULT_FAIL_ON) == room.ignored(OPENING, []) == []
    assert room.blocking(OPENING, [word]) == [room.Blocker(word, 1)]
    assert sorted(each.word for each in room.beside(OPENING, [])) == ["not_checked", "opens_on_upgrade"]
    assert word not in [each.word for each in room.beside(OPENING, [word])]


def test_a_reason_of_what_is_beyond_the_check_that_is_not_known_blocks_under_its_own_name():
    report = {**OPENING, "not_checked": [{**OPENING["not_checked"][0], "reason": "****"}]}
    assert room.blocking(report, ["unchecked"]) == [room.Blocker("****", 1, known=False)]
    assert room.blocking(report, ["not_checked"]) == [room.Blocker("not_checked", 1)]


@pytest.mark.parametrize("fail_on", [[], ["unchecked"], list(room.FAIL_ON)])
@pytest.mark.parametrize("impact", ["********_on_upgrade", "", "finding", "waived", None])
def test_an_impact_that_is_not_known_blocks_under_its_own_name(fail_on, impact):
    report = cluster.report()
    report["findings"][0]["impact"] = impact
    assert room.blocking(report, fail_on) == [room.Blocker(str(impact), 1, known=False)]


def test_a_reason_that_is_not_known_blocks_whatever_is_failed_on():
    report = cluster.report(
        tables=[], unread=[{"namespace": "shop", "pod": "web-7d4b9-a", "reason": "********", "detail": ""}]
    )
    assert room.blocking(report, []) == [room.Blocker("********", 1, known=False)]
    assert room.blocking(report, ["unchecked"]) == [room.Blocker("unchecked", 1)]


def test_what_blocks_is_in_the_order_of_the_table_and_counted_once():
    report = cluster.report()
    (finding,) = report["findings"]
    report["findings"] = [{**finding, "impact": "unreachable"}, finding, finding]
    assert room.blocking(report, ["unreachable", "breaks_on_upgrade", "unreachable"]) == [
        room.Blocker("breaks_on_upgrade", 2),
        room.Blocker("unreachable", 1),
    ]


def test_no_report_is_no_open_gate():
    with pytest.raises(KeyError):
        room.blocking({}, [])


@pytest.mark.parametrize(
    "probe, wanted", [("readiness", "readiness probe"), ("startup", "startup probe"), ("preStop", "preStop hook")]
)
def test_a_lifecycle_hook_is_not_called_a_probe(probe, wanted):
    assert room.probe_as_text(probe) == wanted
