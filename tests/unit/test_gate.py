# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A stage in which nothing ran is never green."""

from __future__ import annotations

import contextlib
import os
import pathlib
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import gate  # noqa: E402  pylint: disable=wrong-import-position


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
def test_reports_of_no_test_fail_the_stage(tmp_path, monkeypatch, counts, why):
    monkeypatch.setattr(gate, "PROGRESS", gate.Progress())
    with pytest.raises(gate.Failed, match=f"^{why}$") if why else contextlib.nullcontext():
        gate.count(*(report(tmp_path / f"{number}.xml", **each) for number, each in enumerate(counts)))


@pytest.mark.parametrize(
    "printed",
    ["", "WARNING: All targets skipped.\n", "Running sanity test 'yamllint'\nWARNING: All targets skipped.\n"],
)
def test_sanity_that_skipped_everything_fails_the_stage(tmp_path, monkeypatch, printed):
    monkeypatch.setattr(gate, "copied_tree", lambda venv: contextlib.nullcontext(tmp_path))
    monkeypatch.setattr(gate, "ansible_test", lambda *_arguments, **_options: printed)
    with pytest.raises(gate.Failed, match="no sanity test ran"):
        gate.sanity()


def skipping():
    raise gate.Skipped("needs root")


@pytest.mark.parametrize(("strict", "outcome"), [(True, "failed"), (False, "skipped")])
def test_a_skipped_stage_says_why_and_fails_where_it_must_not_be_skipped(strict, outcome):
    assert gate.play(gate.Stage("x", "", skipping), strict) == (outcome, "needs root")


def test_what_is_built_beside_the_stages_ends_with_them(tmp_path, monkeypatch):
    started = tmp_path / "started"
    script = tmp_path / "cluster.py"
    script.write_text(
        f"import os, time\nopen({str(started)!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)\n", "utf-8"
    )
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    monkeypatch.setattr(gate, "VENV", tmp_path)
    monkeypatch.setattr(gate, "CLUSTER", script)
    monkeypatch.setattr(gate, "environment", lambda _venv: dict(os.environ))
    with gate.building(True):
        end = time.monotonic() + 30
        while not (started.exists() and started.read_text("utf-8")) and time.monotonic() < end:
            time.sleep(0.05)
        pid = started.read_text("utf-8")
    assert not pathlib.Path(f"/proc/{pid}").exists()
    started.unlink()
    with gate.building(False):
        time.sleep(0.2)
    assert not started.exists()
