# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What people see, as files to read: fixtures/terminal/CASE.SIZE.txt, the list of the role and, below a line, the sentence that the play ends with;
and fixtures/formats/CASE.FORMAT, the reports, of the HTML page its text, and of what repeats the beginning and a count.

A change of words or layout changes these files in the same commit. To write them anew: UPDATE_SNAPSHOTS=1 and this test.
"""

from __future__ import annotations

import datetime
import json
import os
import pathlib
import typing as t

import pytest

from ansible_collections.meshops.istio_precheck.plugins.module_utils._evaluate import evaluate
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.report import DEFAULT_FAIL_ON, nothing
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.version import VERSION
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.options import Options
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils import _terminal
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._reports import formats as _formats
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._reports.verdict import Screen, details, outcome
from ansible_collections.meshops.istio_precheck.tests.helpers import cluster, sample, shortened

HERE = pathlib.Path(__file__).resolve()
SNAPSHOTS = HERE.parents[1] / "fixtures" / "terminal"
FORMATS = HERE.parents[1] / "fixtures" / "formats"
ROOT = HERE.parents[5]
FAILURE = "no cluster configured"


def demo() -> sample.Thing:
    """The four findings that `make demo` shows."""
    snapshot = json.loads((ROOT / "playbooks" / "files" / "demo_before.json").read_text("utf-8"))
    return t.cast(sample.Thing, evaluate(snapshot, Options(datetime.date(2026, 11, 23))))


CASES: dict[str, t.Callable[[], sample.Thing]] = {
    "4-findings": demo,
    "300-findings": lambda: sample.large(300, 60),
    "500-unread-pods": sample.unread,
    "everything": sample.everything,
    "all-is-well": lambda: cluster.report(binds=("0.0.0.0:8080",)),
    "no-cluster": lambda: {**nothing(), "failed": True, "msg": FAILURE},
}
SIZES = {"80x24": (80, 24), "200x50": (200, 50), "log": None, "80-verbose": (80, 24)}


def on_the_terminal(report: sample.Thing, size: str) -> str:
    frame = _terminal.FRAME
    known = SIZES[size]
    screen = Screen(known[0] - frame.columns, known[1] - frame.lines) if known else Screen()
    lines = details(report, DEFAULT_FAIL_ON, report.get("msg"), screen, (), "verbose" in size)
    return "\n".join([*lines, "-" * 20, outcome(report, DEFAULT_FAIL_ON, report.get("msg"), "https://10.0.0.1:6443")])


PLAYED = [
    (case, size) for case in CASES for size in SIZES if size != "80-verbose" or case in ("4-findings", "everything")
]


@pytest.mark.parametrize(("case", "size"), PLAYED)
def test_the_terminal_shows_what_the_snapshot_shows(case, size):
    same(SNAPSHOTS / f"{case}.{size}.txt", on_the_terminal(CASES[case](), size) + "\n")


WRITTEN = [(case, name) for case in ("4-findings", "300-findings", "500-unread-pods") for name in _formats.FORMATS]
WRITTEN += [("everything", name) for name in ("html", "markdown", "text", "csv")]


@pytest.mark.parametrize(("case", "name"), WRITTEN)
def test_the_reports_are_what_the_snapshot_shows(case, name):
    about = sample.about(istio_versions=["1.9.9"], target_version="1.24")
    text = _formats.report_as(CASES[case](), name, about)
    text = shortened.shortened(shortened.seen(text) if name == "html" else text)
    same(FORMATS / f"{case}.{name}", text.replace(VERSION, "VERSION"))


def same(path: pathlib.Path, text: str) -> None:
    if os.environ.get("UPDATE_SNAPSHOTS") == "1":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text("utf-8"), f"{path.name} is another; UPDATE_SNAPSHOTS=1 writes it anew, to be reviewed"


def test_no_snapshot_is_left_of_a_case_that_is_gone():
    assert {path.name for path in SNAPSHOTS.iterdir()} == {f"{case}.{size}.txt" for case, size in PLAYED}
    assert {path.name for path in FORMATS.iterdir()} == {f"{case}.{name}" for case, name in WRITTEN}
