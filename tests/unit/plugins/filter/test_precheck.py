# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The pure functions as filters."""

from __future__ import annotations

import json
import pathlib

import pytest
import yaml
from ansible.errors import AnsibleFilterError

from ansible_collections.meshops.istio_precheck.plugins.filter import precheck
from ansible_collections.meshops.istio_precheck.plugins.module_utils._evaluate import Options, evaluate
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.proxies import SILENCE
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.proxy_answer import COMMAND
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.report import DEFAULT_FAIL_ON
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.snapshot import check
from ansible_collections.meshops.istio_precheck.plugins.modules import localhost_listener_info
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._plain import plain as to_plain
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._reports import formats as _formats
from ansible_collections.meshops.istio_precheck.tests.helpers import cluster

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


def module_result(**of):
    """What the module returns of a cluster."""
    about = {"server": "https://api", "server_version": "v1.29.4", "taken_at": "2026-11-23T06:30:00Z"}
    return {**cluster.report(**of), "cluster": about, "failed": False, "changed": False}


def test_every_filter_is_documented_and_every_document_has_its_filter():
    documented = {path.stem: yaml.safe_load(path.read_text("utf-8"))["DOCUMENTATION"] for path in FOLDER.glob("*.yml")}
    assert set(documented) == set(FILTERS)
    assert {name: text["name"] for name, text in documented.items()} == {name: name for name in FILTERS}


def test_the_documents_name_the_formats_that_there_are():
    def choices(name, option):
        return yaml.safe_load((FOLDER / f"{name}.yml").read_text("utf-8"))["DOCUMENTATION"]["options"][option][
            "choices"
        ]

    role = yaml.safe_load((FOLDER / "../../roles/check_listeners/meta/argument_specs.yml").read_text("utf-8"))
    formats = role["argument_specs"]["main"]["options"]["check_listeners_report_formats"]["choices"]
    assert choices("report_files", "formats") == formats == list(_formats.FORMATS)
    assert choices("reports_as", "format") == list(_formats.MERGED)


@pytest.mark.parametrize("columns", ["0", "1", "8", "12", "13"])
def test_a_verdict_is_given_on_a_terminal_of_no_width_to_speak_of(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("LINES", columns)
    lines = FILTERS["gate"](module_result(), ["breaks_on_upgrade"])["verdict"]
    assert lines[0] == "shop: Deployment web" and len(lines) < 15


def test_tagged_input_becomes_plain():
    plain = to_plain(tagged({"a": [1, True, None, "x", {"b": 2.5}]}))
    assert plain == {"a": [1, True, None, "x", {"b": 2.5}]}
    assert [type(plain), type(plain["a"])] == [dict, list]
    assert [type(item) for item in plain["a"]] == [int, bool, type(None), str, dict]
    assert [type(key) for key in plain] == [str]


def test_a_tagged_report_gives_the_same_words_and_files():
    report = module_result()
    assert report["remediations"]
    assert FILTERS["gate"](tagged(report), Row([Text("breaks_on_upgrade")])) == FILTERS["gate"](
        report, ["breaks_on_upgrade"]
    )
    for name, of, more in (
        ("sidecar_yaml", report["remediations"][0], []),
        ("sidecar_files", report, []),
        ("report_files", report, [["html", "json", "junit"], "east"]),
    ):
        assert FILTERS[name](tagged(of), *map(tagged, more)) == FILTERS[name](of, *more)


# ---------------------------------------------------------------------------------------------------------------------
# gate


@pytest.mark.parametrize(
    ("fail_on", "words"),
    [(["breaks_on_upgrade"], ["breaks_on_upgrade"]), (["unreachable", "unknown", "unchecked"], []), ([], [])],
)
def test_only_what_the_play_fails_on_blocks(fail_on, words):
    found = FILTERS["gate"](module_result(), fail_on)
    assert found["blocking"] == [{"word": word, "count": 1, "known": True} for word in words]
    assert found["passed"] is found["outcome"]["passed"] is (not words)


def test_a_port_that_nothing_listens_on_blocks_where_asked_for():
    report = module_result(binds=("127.0.0.1:1",))
    assert FILTERS["gate"](report)["passed"] is True
    (blocker,) = FILTERS["gate"](report, ["not_listening"])["blocking"]
    assert (blocker["word"], blocker["count"]) == ("not_listening", 1)


def test_the_gate_has_the_default_of_the_role():
    assert FILTERS["gate"](module_result()) == FILTERS["gate"](module_result(), list(DEFAULT_FAIL_ON))
    assert FILTERS["gate"](module_result())["passed"] is False


WHOLE = cluster.report(binds=("0.0.0.0:8080",))


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ({"failed": True, "msg": "no route"}, "Could not check the cluster: no route"),
        ({"skipped": True, "changed": False}, "localhost_listener_info ended without a result"),
        ({"failed": True, "msg": "no space left", **WHOLE}, "no space left"),
        ({"failed": False, "failed_when_result": False, "msg": "forbidden", **WHOLE}, "forbidden"),
        ({"failed": False, "msg": "forbidden", **WHOLE}, "forbidden"),
        ({"msg": "forbidden", **WHOLE}, "forbidden"),
        ({"failed": True, "failed_when_result": True, **WHOLE}, "localhost_listener_info ended without a result"),
    ],
)
def test_a_check_that_failed_or_was_skipped_opens_no_gate(returned, said):
    found = FILTERS["gate"](returned, [])
    (file,) = FILTERS["report_files"](returned, ["json"], "east", [])
    assert json.loads(file["content"])["metadata"]["passed"] is False
    assert (found["passed"], found["blocking"]) == (False, [])
    assert said in found["outcome"]["verdict"]
    assert said in " ".join(" ".join(found["verdict"]).split())  # whatever the width of the terminal


def test_an_impact_that_is_not_known_blocks_as_data_too():
    report = module_result()
    report["findings"][0]["impact"] = "********"
    (blocker,) = FILTERS["gate"](report, [])["blocking"]
    assert (blocker["word"], blocker["known"]) == ("********", False)


def test_what_the_gate_returns_is_summed_up_with_others():
    lines = FILTERS["cluster_verdicts"](["east", "west"], [FILTERS["gate"](module_result())["outcome"], {}])
    assert lines[0].startswith("east  Do not upgrade yet") and lines[-1] == "0 of 2 clusters may be upgraded."


# ---------------------------------------------------------------------------------------------------------------------
# report_files


def test_each_format_is_one_file_named_by_the_cluster():
    files = FILTERS["report_files"](module_result(), ["json", "junit", "json"], "../east")
    assert [file["path"] for file in files] == ["%2E.%2Feast.json", "%2E.%2Feast.junit.xml"]
    metadata = json.loads(files[0]["content"])["metadata"]
    assert (metadata["cluster"], metadata["passed"], metadata["failOn"]) == ("../east", False, list(DEFAULT_FAIL_ON))


def test_a_report_of_a_check_that_failed_says_so():
    (file,) = FILTERS["report_files"]({"failed": True, "msg": "no route"}, ["json"], "east", [])
    made = json.loads(file["content"])
    assert (made["metadata"]["passed"], made["msg"]) == (False, "no route")


@pytest.mark.parametrize("formats", ["html", "html,json", None, ["htm"], [["html"]]])
def test_formats_that_mean_nothing_are_refused(formats):
    with pytest.raises(AnsibleFilterError, match="format|report_files: "):
        FILTERS["report_files"](module_result(), formats, "east")


# ---------------------------------------------------------------------------------------------------------------------
# What is refused


@pytest.mark.parametrize("name", ["gate", "report_files"])
@pytest.mark.parametrize("fail_on", ["breaks_on_upgrade", "unchecked,unknown", ["breaks"], None])
def test_a_fail_on_that_means_nothing_is_refused_with_what_it_is(name, fail_on):
    more = [["json"], "east"] if name == "report_files" else []
    for given in (fail_on, tagged(fail_on)):
        with pytest.raises(AnsibleFilterError, match="^check_listeners_fail_on: wanted ") as caught:
            FILTERS[name](module_result(), *more, given)
        assert repr(fail_on[0] if isinstance(fail_on, list) else fail_on) in str(caught.value)


@pytest.mark.parametrize("name", sorted(FILTERS))
@pytest.mark.parametrize("junk", [None, 5, "text", ["text"], [[]], {"findings": 1}], ids=repr)
def test_input_that_is_none_is_one_error_that_names_the_filter(name, junk):
    more = {
        "cluster_verdicts": [[{}]],
        "gather_step": [{}, [{"item": 1}]],
        "report_files": [["json"], "east"],
        "reports_as": ["html"],
        "same_cluster": [[{}], "a"],
    }.get(name, [])
    try:
        found = FILTERS[name](junk, *more)
    except AnsibleFilterError as error:
        assert f"meshops.istio_precheck.{name}: " in str(error) or str(error).startswith("findings: wanted a list")
    else:
        assert name in ("path_part", "cluster_verdicts", "same_cluster") and isinstance(junk, (str, list))
        assert found if name != "same_cluster" else found == ""


@pytest.mark.parametrize(
    ("hosts", "outcomes"), [("ab", [{}, {}]), (["a", "b"], {"a": {}, "b": {}}), (["a", "b"], [{}]), (["a"], "b")]
)
def test_no_cluster_is_left_out_of_a_summary(hosts, outcomes):
    with pytest.raises(AnsibleFilterError, match="cluster_verdicts: .*(hosts|outcomes): wanted "):
        FILTERS["cluster_verdicts"](hosts, outcomes)


# ---------------------------------------------------------------------------------------------------------------------
# gather_step


def info(item, **result):
    return {"item": item, "failed": False, **result}


def gathered(served, behave, options=None, most=20):
    """Plays the tasks: `served` gives the objects of a kind, or what its k8s_info failed with; `behave` what a k8s_exec returns."""
    step, results, asked = {}, [], []
    for _round in range(most):
        step = FILTERS["gather_step"](step, options or {}, results)
        asked.append([item.get("kind") or item["command"] for item in step["lists"] + step["execs"]])
        if not step["lists"] and not step["execs"]:
            return step, asked
        results = []
        for item in step["lists"]:
            said = served.get(item["kind"], [])
            found = {"api_found": item["kind"] != "ClusterSnapshot", "resources": said}
            results.append(info(item, **(said if isinstance(said, dict) else found)))
        results += [info(item, **behave(item)) for item in step["execs"]]
    raise AssertionError("the rounds do not end")


def test_the_steps_end_with_a_snapshot_that_is_evaluated():
    pods, services = [cluster.pod()], [cluster.service()]
    table = "LISTEN 0 128 127.0.0.1:8080 0.0.0.0:*\n"
    step, asked = gathered(
        {"Pod": pods, "Service": services}, lambda _item: {"stdout": table, "rc": 0}, {"delivery_source": "rule"}
    )
    assert asked[0] == ["ClusterSnapshot"] and asked[-2:] == [["ss -ltnH"], []]
    assert (step["problem"], step["kept"]) == ("", {})
    found = evaluate(check(step["snapshot"]), Options(cluster.TODAY))
    assert [finding["port"] for finding in found["findings"]] == [8080]
    assert FILTERS["gather_step"](tagged(step), {}) == step


def test_proxies_are_asked_last_and_only_where_something_was_found():
    served = {"Pod": [cluster.pod()], "Service": [cluster.service(ports=[cluster.port(), cluster.port(81, 9, "b")])]}

    def behave(item):
        if item["command"].startswith("pilot-agent"):
            return {"stdout": cluster.proxy_answer({8080: "127.0.0.1:8080", 7: None}), "rc": 0}
        return {"stdout": f"LISTEN 0 128 {bind}:8080 0.0.0.0:*\n", "rc": 0}

    bind = "127.0.0.1"
    step, asked = gathered(served, behave)
    assert asked[-3:] == [["ss -ltnH"], [" ".join(COMMAND)], []]
    assert step["snapshot"]["proxyConfigs"] == [cluster.proxy_config({8080: "127.0.0.1:8080"})]
    (found,) = evaluate(check(step["snapshot"]), Options(cluster.TODAY))["findings"]
    assert (found["impact"], found["delivery"]["today"]["by"]) == ("breaks_on_upgrade", "proxy")
    bind = "0.0.0.0"
    assert gathered(served, behave)[1][-2:] == [["ss -ltnH"], []]


@pytest.mark.parametrize(
    "result",
    [
        {"msg": "", "module_stderr": "Traceback"},
        {"rc": 124},
        {"stdout": "x", "rc": 0},
        {"stdout": "{}\n", "rc": 0},
    ],
)
def test_a_proxy_that_says_nothing_by_tasks_is_recorded_so(result):
    def behave(item):
        table = {"stdout": "LISTEN 0 128 127.0.0.1:8080 0.0.0.0:*\n", "rc": 0}
        return result if item["command"].startswith("pilot-agent") else table

    step, _asked = gathered({"Pod": [cluster.pod()], "Service": [cluster.service()]}, behave)
    (entry,) = check(step["snapshot"])["proxyConfigs"]
    assert entry["reason"] in SILENCE and "inbound" not in entry


@pytest.mark.parametrize(
    ("served", "options", "problem", "rounds"),
    [
        ({"ClusterSnapshot": {"msg": "Could not create API client"}}, {}, "no connection to a cluster: Could not", 2),
        ({"Pod": {"msg": "no"}}, {}, "GET /api/v1/pods: no", 3),
        ({}, {"namespaces": ["shopp"]}, "namespaces: the cluster has no namespace 'shopp'", 4),
    ],
)
def test_why_there_is_no_snapshot_is_a_sentence_and_nothing_more_is_asked(served, options, problem, rounds):
    step, asked = gathered(served, lambda _item: {}, options)
    assert step["problem"].startswith(problem) and step["snapshot"] is None
    assert len(asked) == rounds and asked[-1] == []
    assert FILTERS["gather_step"](step, options) == step


def test_a_bad_label_selector_is_the_users_and_says_so():
    with pytest.raises(AnsibleFilterError, match=r"^label_selectors\[0\]: 'a b' is no label selector"):
        gathered({"Pod": [cluster.pod()]}, lambda _item: {}, {"label_selectors": ["a b"]})


@pytest.mark.parametrize(
    "options",
    [
        {"namespaces": "shop"},
        {"label_selectors": "app=web"},
        {"scope": "pods"},
        {"replicas": "two"},
        {"namespace": ["shop"]},
        {"delivery_source": "istiod"},
    ],
)
def test_options_that_mean_nothing_are_refused_by_name(options):
    with pytest.raises(AnsibleFilterError, match=f"{next(iter(options))}: wanted "):
        FILTERS["gather_step"]({}, options)


def test_a_target_that_is_no_version_is_refused_at_once():
    with pytest.raises(AnsibleFilterError, match="^target_version: 'latest' is no Istio version"):
        FILTERS["gather_step"]({}, {"target_version": "latest"})


def test_options_have_the_modules_defaults_and_choices():
    spec = localhost_listener_info.argument_spec()
    made = precheck._options({})
    assert made.selection == precheck.Selection()
    known = {**made.selection._asdict(), **{name: getattr(made, name) for name in precheck.JUDGING}}
    assert {name: spec[name].get("default") for name in known} == {
        name: list(value) if isinstance(value, tuple) else value for name, value in known.items()
    }
    assert {name: sorted(words) for name, words in precheck.CHOICES.items()} == {
        name: sorted(spec[name]["choices"]) for name in known if "choices" in spec[name]
    }
