# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What people see, as files to read: fixtures/terminal/SIZE-CASE.txt, the list of the role and, below a line, the sentence that the play ends with.

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
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.options import Options
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils import _terminal
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._reports import formats as _formats
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._reports.verdict import Screen, details, outcome
from ansible_collections.meshops.istio_precheck.tests.helpers import cluster, sample

HERE = pathlib.Path(__file__).resolve()
SNAPSHOTS = HERE.parents[1] / "fixtures" / "terminal"
ROOT = HERE.parents[5]
FAILURE = "no cluster configured"


def demo() -> sample.Thing:
    """The four findings that `make demo` shows."""
    snapshot = json.loads((ROOT / "playbooks" / "files" / "demo_before.json").read_text("utf-8"))
    return t.cast(sample.Thing, evaluate(snapshot, Options(datetime.date(2026, 11, 23))))


def unread(number: int = 500) -> sample.Thing:
    """A finding, and pods that were not read: for four reasons, in ten namespaces."""
    report = cluster.report(target="1.24")
    reasons = {
        "no_tool": "No container could run a command that shows its sockets.",
        "timeout": "No answer within 10 seconds.",
        "not_running": "The pod is Pending.",
        "forbidden": 'User "jane" cannot create resource "pods/exec" in API group "" in the namespace "team-3"',
    }
    names = [list(reasons)[min(n * n // (number * number // 8), 3)] for n in range(number)]
    report["unchecked"] = [
        {
            "namespace": f"team-{n % 10}",
            "pod": f"app-{n:03}-7d4b9c5f6-x2x7k",
            "workload": {"kind": "Deployment", "name": f"app-{n:03}"},
            "reason": reason,
            "detail": reasons[reason],
        }
        for n, reason in enumerate(names)
    ]
    report["summary"].update(unchecked=number, pods=number + 1)
    return report


CASES: dict[str, t.Callable[[], sample.Thing]] = {
    "4-findings": demo,
    "300-findings": lambda: sample.large(300, 60),
    "500-unread-pods": unread,
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


@pytest.mark.parametrize("name", ["text", "csv"])
@pytest.mark.parametrize("case", ["4-findings", "everything"])
def test_the_formats_with_a_line_for_each_thing_are_what_the_snapshot_shows(case, name):
    text = _formats.report_as(CASES[case](), name, sample.about(taken_at="2026-11-23T06:30:00Z"))
    same(SNAPSHOTS.parent / "formats" / f"{case}.{name}", text)


def same(path: pathlib.Path, text: str) -> None:
    if os.environ.get("UPDATE_SNAPSHOTS") == "1":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text("utf-8"), f"{path.name} is another; UPDATE_SNAPSHOTS=1 writes it anew, to be reviewed"


def test_no_snapshot_is_left_of_a_case_that_is_gone():
    assert {path.name for path in SNAPSHOTS.iterdir()} == {f"{case}.{size}.txt" for case, size in PLAYED}
