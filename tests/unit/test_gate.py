# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A stage in which nothing ran is never green, and none outlives its time."""

from __future__ import annotations

import contextlib
import pathlib
import subprocess
import sys
import time

import pytest

from ansible_collections.meshops.istio_precheck.tests import gate


def report(path, **counts):
    attributes = " ".join(f'{name}="{number}"' for name, number in counts.items())
    path.write_text(f"<testsuites><testsuite {attributes}/></testsuites>", "utf-8")
    return path


@pytest.mark.parametrize(
    ("counts", "why"),
    [
        ([], "no test ran"),
        ([{"tests": 0}], "no test ran"),
        ([{"tests": 3, "skipped": 3}], "no test ran, 3 skipped"),
        ([{"tests": 0}, {"tests": 1, "skipped": 1}], "no test ran, 1 skipped"),
        ([{"tests": 2, "skipped": 1}], None),
        ([{"tests": 1, "failures": 1}], None),  # which pytest's own exit code tells
    ],
)
def test_reports_of_no_test_fail_the_stage(tmp_path, counts, why):
    with pytest.raises(gate.Failed, match=f"^{why}$") if why else contextlib.nullcontext():
        gate.count(*(report(tmp_path / f"{number}.xml", **each) for number, each in enumerate(counts)))


@pytest.mark.parametrize("reports", [{}, {"tests": 1, "skipped": 1}])
def test_sanity_that_skipped_everything_fails_the_stage(tmp_path, monkeypatch, reports):
    def skipped(_session, *_command, cwd, **_options):
        (cwd / "tests" / "output" / "junit").mkdir(parents=True)
        if reports:
            report(cwd / "tests" / "output" / "junit" / "one.xml", **reports)

    monkeypatch.setattr(gate, "copied_tree", lambda venv: contextlib.nullcontext(tmp_path))
    monkeypatch.setattr(gate, "write_pip_settings", lambda _path: None)
    monkeypatch.setattr(gate, "ask", lambda _python, _code: str(tmp_path))
    monkeypatch.setattr(gate, "run", skipped)
    (tmp_path / "_internal").mkdir()
    (tmp_path / "_internal" / "python_requirements.py").touch()
    with pytest.raises(gate.Failed, match="no test ran"):
        gate.ansible_test(None, "sanity", venv=tmp_path)


def test_what_runs_beside_the_stages_ends_with_them(tmp_path):
    started = tmp_path / "started"
    with gate.running_beside("sh", "-c", f"echo $$ >{started}; sleep 60; true"):
        end = time.monotonic() + 30
        while not (started.exists() and started.read_text("utf-8")) and time.monotonic() < end:
            time.sleep(0.05)
        pid = started.read_text("utf-8").strip()
        assert pathlib.Path("/proc", pid).exists()
    assert not pathlib.Path("/proc", pid).exists()


# --- With nox itself --------------------------------------------------------------------------------------------------

STAGES = """
import sys
sys.path.insert(0, {tests!r})
import pathlib
from gate import Failed, Skipped, run, stage

HERE = pathlib.Path(__file__).parent

@stage()
def fine(session):
    return "but not on the moon"

@stage()
def broken(session):
    raise Failed("it broke")

@stage()
def elsewhere(session):
    raise Skipped("needs a moon")

@stage(everywhere=False)
def here(session):
    raise Skipped("needs root")

@stage(default=False, minutes=0.01)
def slow(session):
    run(session, "sh", "-c", "sleep 60 & echo $! >child; wait", venv=HERE, cwd=HERE)

@stage(default=False)
def bad(session):
    run(session, "false", venv=HERE, cwd=HERE)
"""


def nox(place, *arguments, strict="0"):
    """Its exit code and the table at the end, without the seconds."""
    (place / "noxfile.py").write_text(STAGES.format(tests=str(pathlib.Path(gate.__file__).parent)), "utf-8")
    ended = subprocess.run(
        (sys.executable, "-m", "nox", "--noxfile", place / "noxfile.py", *arguments),
        check=False, capture_output=True, text=True, env={**gate.environment(place), "GATE_STRICT": strict},
    )  # fmt: skip
    rows = [line.split() for line in ended.stdout.strip().splitlines()]
    return ended.returncode, [" ".join(row[:2] + row[4:]) for row in rows[:-1]], " ".join(rows[-1])


def test_the_table_names_every_stage_with_its_reason(tmp_path):
    assert nox(tmp_path) == (
        1,
        [
            "passed fine but not on the moon",
            "failed broken it broke",
            "skipped elsewhere needs a moon",
            "skipped here needs root",
        ],
        "1 passed, 1 failed, 2 skipped",
    )


def test_what_the_machine_decides_may_not_be_skipped_where_the_gate_is_strict(tmp_path):
    assert nox(tmp_path, strict="1")[1][2:] == ["skipped elsewhere needs a moon", "failed here needs root"]


def test_a_stage_that_was_asked_for_may_not_be_skipped(tmp_path):
    assert nox(tmp_path, "-s", "elsewhere") == (1, ["failed elsewhere needs a moon"], "0 passed, 1 failed, 0 skipped")


def test_a_command_that_fails_is_named(tmp_path):
    assert nox(tmp_path, "-s", "bad")[:2] == (1, ["failed bad false failed: Returned code 1"])


def test_a_stage_ends_with_its_time_and_so_do_all_its_processes(tmp_path):
    assert nox(tmp_path, "-s", "slow")[:2] == (1, ["failed slow sh took too long"])
    process = pathlib.Path("/proc", (tmp_path / "child").read_text("utf-8").strip(), "stat")
    end = time.monotonic() + 10
    while process.exists() and process.read_text("utf-8").split()[2] != "Z" and time.monotonic() < end:
        time.sleep(0.05)
    assert not process.exists() or process.read_text("utf-8").split()[2] == "Z"
