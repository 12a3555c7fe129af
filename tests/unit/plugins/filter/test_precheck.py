# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The pure functions as filters."""

from __future__ import annotations

import pathlib

import pytest
import yaml
from ansible.errors import AnsibleFilterError

from ansible_collections.meshops.istio_precheck.plugins.filter import precheck
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._plain import plain as to_plain
from ansible_collections.meshops.istio_precheck.tests.unit.plugins.module_utils import cluster

FILTERS = precheck.FilterModule().filters()
FOLDER = pathlib.Path(precheck.__file__).parent


class Text(str):
    """As ansible-core tags text; up to 2.18 not even str() makes it plain."""

    def __str__(self):
        return str.__new__(Text, str.__str__(self))


class Whole(int):
    """As ansible-core tags numbers."""


class Table(dict):
    """As ansible-core's lazy mappings."""


class Row(list):
    """As ansible-core's lazy lists."""


def tagged(value):
    if isinstance(value, dict):
        return Table({Text(key): tagged(item) for key, item in value.items()})
    if isinstance(value, list):
        return Row(tagged(item) for item in value)
    if isinstance(value, bool) or value is None:
        return value
    return Text(value) if isinstance(value, str) else Whole(value) if isinstance(value, int) else value


def test_every_filter_is_documented_and_every_document_has_its_filter():
    documented = {path.stem: yaml.safe_load(path.read_text("utf-8"))["DOCUMENTATION"] for path in FOLDER.glob("*.yml")}
    assert set(documented) == set(FILTERS)
    assert {name: text["name"] for name, text in documented.items()} == {name: name for name in FILTERS}


@pytest.mark.parametrize("columns", ["0", "1", "8", "12", "13"])
def test_a_verdict_is_given_on_a_terminal_of_no_width_to_speak_of(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("LINES", columns)
    lines = FILTERS["verdict"](cluster.report(), ["breaks_on_upgrade"])
    assert lines[0] == "shop: Deployment web" and len(lines) < 15


def test_tagged_input_becomes_plain():
    plain = to_plain(tagged({"a": [1, True, None, "x", {"b": 2.5}]}))
    assert plain == {"a": [1, True, None, "x", {"b": 2.5}]}
    assert [type(plain), type(plain["a"])] == [dict, list]
    assert [type(item) for item in plain["a"]] == [int, bool, type(None), str, dict]
    assert [type(key) for key in plain] == [str]


def test_a_tagged_report_gives_the_same_words_and_files():
    report = cluster.report()
    assert report["remediations"]
    assert FILTERS["verdict"](tagged(report), Row([Text("breaks_on_upgrade")])) == FILTERS["verdict"](
        report, ["breaks_on_upgrade"]
    )
    assert FILTERS["sidecar_yaml"](tagged(report["remediations"][0])) == FILTERS["sidecar_yaml"](
        report["remediations"][0]
    )


@pytest.mark.parametrize(
    ("fail_on", "found"),
    [(["breaks_on_upgrade"], ["1 breaks_on_upgrade"]), (["unreachable", "unknown", "unchecked"], []), ([], [])],
)
def test_only_what_the_play_fails_on_blocks(fail_on, found):
    assert FILTERS["blocking"](cluster.report(), fail_on) == found


def test_a_port_that_nothing_listens_on_blocks_where_asked_for():
    report = cluster.report(binds=("127.0.0.1:1",))
    assert FILTERS["blocking"](report, ["breaks_on_upgrade", "unchecked"]) == []
    assert FILTERS["blocking"](report, ["not_listening"]) == ["1 not_listening"]


@pytest.mark.parametrize("name", ["blocking", "outcome", "verdict"])
@pytest.mark.parametrize("fail_on", ["breaks_on_upgrade", "unchecked,unknown", ["breaks"], None])
def test_a_fail_on_that_means_nothing_is_refused_with_what_it_is(name, fail_on):
    for given in (fail_on, tagged(fail_on)):
        with pytest.raises(AnsibleFilterError, match="^check_listeners_fail_on: wanted ") as caught:
            FILTERS[name](cluster.report(), given)
        assert repr(fail_on[0] if isinstance(fail_on, list) else fail_on) in str(caught.value)


@pytest.mark.parametrize("fail_on", ["breaks_on_upgrade", ["breaks"]])
def test_no_report_is_made_for_a_fail_on_that_means_nothing(fail_on):
    about = {"cluster": "here", "passed": True, "fail_on": fail_on}
    with pytest.raises(AnsibleFilterError, match="^check_listeners_fail_on: wanted "):
        FILTERS["report_as"](cluster.report(), "json", about)


@pytest.mark.parametrize("name", sorted(FILTERS))
@pytest.mark.parametrize("junk", [None, 5, "text", ["text"], [[]], {"findings": 1}], ids=repr)
def test_input_that_is_none_is_one_error_that_names_the_filter(name, junk):
    more = {
        "list_requests": [{}], "list_problem": [{}], "cluster_snapshot": [{}], "exec_requests": [{}, []], "with_sockets": [{}, []],
        "verdict": [["unknown"]], "blocking": [["unknown"]],
    }.get(name, [])  # fmt: skip
    try:
        FILTERS[name](junk, *more)
    except AnsibleFilterError as error:
        assert f"meshops.istio_precheck.{name}: " in str(error)
    except TypeError as error:
        assert "argument" in str(error)  # a filter of two inputs, called with one


def test_a_bad_label_selector_is_the_users_and_says_so():
    with pytest.raises(AnsibleFilterError, match=r"^label_selectors\[0\]: 'a b' is no label selector"):
        FILTERS["exec_requests"](cluster.snapshot(), {"label_selectors": ["a b"]}, [])


def test_a_problem_of_the_lists_is_a_sentence_and_none_is_empty():
    item = {"key": "pods", "kind": "Pod", "api_version": "v1", "namespace": "", "name": "", "label_selectors": []}
    refused = FILTERS["list_answers"]([{"item": item, "msg": "no"}])
    assert FILTERS["list_problem"](refused, {}) == "GET /api/v1/pods: no"
    assert FILTERS["list_problem"]([], {}) == ""


def test_options_have_the_modules_defaults():
    assert precheck._selection({}) == precheck.Selection()
