# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reports, as the gate writes them and as merge_reports reads them again."""

from __future__ import annotations

import json
import stat

import pytest

from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._reports import formats as _formats
from ansible_collections.meshops.istio_precheck.tests.helpers import cluster

ALL = ["html", "markdown", "json", "junit", "sarif", "istio-json", "text", "csv"]
FILES = {
    "localhost.html",
    "localhost.md",
    "localhost.json",
    "localhost.junit.xml",
    "localhost.sarif",
    "localhost.istio.json",
    "localhost.txt",
    "localhost.csv",
}
FINE = {"binds": ("0.0.0.0:8080",)}
MERGE = "meshops.istio_precheck.merge_reports"


def changed(played) -> int:
    return int(played.output.rpartition("changed=")[2].split()[0])


def texts(place):
    return {path.name: path.read_text("utf-8") for path in place.iterdir()}


def test_every_format_is_written_before_the_verdict_once_and_then_stands(play, record, tmp_path):
    place = tmp_path / "some" / "reports"
    variables = {
        "check_listeners_snapshot_src": record(),
        "check_listeners_report_dir": str(place),
        "check_listeners_report_formats": [*ALL, "html"],
    }
    first = play(**variables)
    assert (first.code, first.passed) == (2, False)
    assert first.verdict().splitlines()[-1].startswith("Do not upgrade yet")
    written = texts(place)
    assert set(written) == FILES
    assert {stat.S_IMODE(path.stat().st_mode) for path in place.iterdir()} == {0o644}
    saved = json.loads(written["localhost.json"])
    assert saved["findings"] == first.result["findings"]
    assert (
        saved["metadata"]["takenAt"] == "2026-11-23T00:00:00Z"
    )  # when the cluster was seen, not when its record was read
    assert saved["metadata"]["passed"] is False
    assert written["localhost.json"].startswith(
        '{\n  "apiVersion"'
    )  # as it was made, whatever ansible-core does to text that looks like JSON
    second = play(**variables)
    assert changed(second) == 0
    assert texts(place) == written


def test_a_cluster_that_passes_has_a_report_too_and_by_default_for_people_and_for_merging(play, record, tmp_path):
    played = play(
        check_listeners_snapshot_src=record(**FINE), check_listeners_report_dir="reports"
    )  # relative to where one is
    assert played.code == 0
    assert set(texts(tmp_path / "reports")) == {"localhost.html", "localhost.json"}
    assert json.loads((tmp_path / "reports" / "localhost.json").read_text("utf-8"))["metadata"]["passed"] is True
    assert "Nothing stands in the way of the upgrade" in (tmp_path / "reports" / "localhost.html").read_text("utf-8")


def test_a_check_that_could_not_be_made_has_a_report_that_says_so(play, tmp_path):
    played = play(
        check_listeners_snapshot_src="/no/such.json",
        check_listeners_report_dir=str(tmp_path / "reports"),
        check_listeners_report_formats=ALL,
        check_listeners_remediation_dir="/proc/none",
    )
    assert (played.code, played.passed) == (2, False)
    written = texts(tmp_path / "reports")
    assert set(written) == FILES
    for name, text in written.items():
        assert "/no/such.json cannot be read" in text.replace("\\/", "/"), name


def test_check_mode_writes_no_report_and_a_diff_shows_what_would_be(play, record, tmp_path):
    played = play(
        *("--check", "--diff"),
        check_listeners_snapshot_src=record(), check_listeners_report_dir=str(tmp_path / "reports"), check_listeners_report_formats=["markdown"],
    )  # fmt: skip
    assert played.code == 2
    assert "+# Do not upgrade yet" in played.output
    assert not (tmp_path / "reports").exists()


def test_reports_that_cannot_be_written_fail_the_play_and_do_not_hide_the_verdict(play, record, tmp_path):
    (tmp_path / "taken").write_text("a file", encoding="utf-8")
    played = play(check_listeners_snapshot_src=record(**FINE), check_listeners_report_dir=str(tmp_path / "taken"))
    assert (played.code, played.passed) == (2, False)
    assert f"The reports could not be written to {tmp_path / 'taken'}: " in played.verdict()
    assert "Traceback" not in played.output


def test_sidecars_that_could_not_be_written_are_a_problem_in_the_report(play, record, tmp_path):
    (tmp_path / "taken").write_text("a file", encoding="utf-8")
    play(
        check_listeners_snapshot_src=record(),
        check_listeners_remediation_dir=str(tmp_path / "taken"),
        check_listeners_report_dir=str(tmp_path / "reports"),
    )
    saved = json.loads((tmp_path / "reports" / "localhost.json").read_text("utf-8"))
    (problem,) = saved["metadata"]["problems"]
    assert problem.startswith("The Sidecars could not be written")


def test_templates_in_a_cluster_are_text_in_its_reports(play, tmp_path):
    bait = "{{ lookup('ansible.builtin.pipe', 'touch " + str(tmp_path / "taken") + "') }}"
    snapshot = cluster.snapshot()
    snapshot["unread"].append({"namespace": "shop", "pod": "web-7d4b9-a", "reason": bait, "detail": bait})
    snapshot["services"][0]["spec"]["ports"][0]["name"] = bait
    snapshot["metadata"]["server"] = bait
    (tmp_path / "hostile.json").write_text(json.dumps(snapshot), encoding="utf-8")
    variables = {"check_listeners_report_dir": str(tmp_path / "reports"), "check_listeners_report_formats": ALL}
    assert play(check_listeners_snapshot_src=str(tmp_path / "hostile.json"), **variables).code == 2
    assert set(texts(tmp_path / "reports")) == FILES
    assert json.loads((tmp_path / "reports" / "localhost.json").read_text("utf-8"))["metadata"]["server"] == bait
    assert play(playbook=MERGE, merge_reports_dir=str(tmp_path / "reports")).code == 0
    assert not (tmp_path / "taken").exists()


def test_an_unknown_format_names_its_variable(play, record, tmp_path):
    played = play(
        check_listeners_snapshot_src=record(),
        check_listeners_report_dir=str(tmp_path),
        check_listeners_report_formats=["pdf"],
    )
    assert played.code == 2
    assert "check_listeners_report_formats" in played.output and "Traceback" not in played.output


def test_many_clusters_have_files_that_stand_alone_and_one_page_is_made_of_them(play, record, tmp_path):
    place = tmp_path / "reports"
    hosts = {
        "east": {"check_listeners_snapshot_src": record("east", **FINE)},
        "lost": {"check_listeners_snapshot_src": "/no/such.json"},
        "../west": {"check_listeners_snapshot_src": record("west")},
    }
    assert play(inventory=hosts, check_listeners_report_dir=str(place)).code == 2
    assert set(texts(place)) == {
        f"{name}.{suffix}" for name in ("east", "lost", "%2E.%2Fwest") for suffix in ("html", "json")
    }
    merged = play(playbook=MERGE, merge_reports_dir=str(place))
    assert merged.code == 0, merged.output
    for name in ("index.html", "index.md"):
        text = (place / name).read_text("utf-8")
        assert "1 of 3 clusters" in text
        for said in (
            "east",
            "lost",
            "../west",
            "Do not upgrade yet",
            "Nothing stands in the way",
            "Could not check the cluster",
            "/no/such.json",
        ):
            assert said in text, (name, said)
        assert stat.S_IMODE((place / name).stat().st_mode) == 0o644
    assert changed(play(playbook=MERGE, merge_reports_dir=str(place))) == 0


def test_two_reports_of_one_cluster_are_one_cluster(play, record, tmp_path):
    place = tmp_path / "reports"
    play(
        check_listeners_snapshot_src=record(),
        check_listeners_report_dir=str(place),
        check_listeners_report_formats=["json"],
    )
    (place / "copy.json").write_text((place / "localhost.json").read_text("utf-8"), "utf-8")
    played = play(playbook=MERGE, merge_reports_dir=str(place))
    assert played.code == 0
    assert "localhost.json: it is of the same cluster as copy.json, and no newer" in played.output
    assert "0 of 1 cluster" in (place / "index.md").read_text("utf-8") and "localhost.json" in (
        place / "index.html"
    ).read_text("utf-8")


def test_a_file_that_is_no_report_is_named_on_the_page_and_fails_the_play(play, record, tmp_path):
    place = tmp_path / "reports"
    play(
        check_listeners_snapshot_src=record(), check_listeners_report_dir=str(place), check_listeners_report_formats=ALL
    )
    (place / "cut.json").write_text((place / "localhost.json").read_text("utf-8")[:500], "utf-8")
    played = play(
        playbook=MERGE, merge_reports_dir="reports", merge_reports_dest="page", merge_reports_formats=["html"]
    )
    assert played.code == 2
    assert "1 of the files in reports are no reports" in played.output and "cut.json: it is not JSON" in played.output
    assert "istio.json" not in played.output
    assert set(texts(tmp_path / "page")) == {"index.html"}
    assert "cut.json" in (tmp_path / "page" / "index.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, "missing required arguments: merge_reports_dir"),
        ({"merge_reports_dir": "/no/such"}, "merge_reports_dir: /no/such is no directory"),
        ({"merge_reports_dir": "."}, "holds no report"),
        ({"merge_reports_dir": ".", "merge_reports_formats": ["pdf"]}, "merge_reports_formats"),
        (
            {"merge_reports_dir": "full", "merge_reports_dest": "/proc/none"},
            "merge_reports_dest: /proc/none cannot be written to: ",
        ),
    ],
    ids=["no directory", "a wrong one", "an empty one", "no format", "nowhere to write"],
)
def test_merging_says_which_variable_is_wrong(play, tmp_path, variables, said):
    given = {name: str(tmp_path / "empty") if value == "." else value for name, value in variables.items()}
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "east.json").write_text(
        _formats.report_as(cluster.report(), "json", {"cluster": "east", "passed": False}), "utf-8"
    )
    played = play(playbook=MERGE, **given)
    assert played.code == 2
    assert said in played.output and "Traceback" not in played.output
