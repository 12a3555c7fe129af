# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plays the gate as a user does, with ansible-playbook, and brings back what it said and set."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import typing as t

CALLBACKS = pathlib.Path(__file__).resolve().parent.parent / "callback"


@dataclasses.dataclass
class Played:
    """`result` and `passed` are the facts that the role set."""

    code: int
    output: str
    result: dict[str, t.Any]
    passed: bool

    @property
    def ids(self) -> list[str]:
        return [finding["id"] for finding in self.result["findings"]]

    def report(self) -> str:
        """The Report as bytes to compare: without the seconds, and without what ansible-core adds to any result."""
        report = {
            key: value
            for key, value in self.result.items()
            if key not in ("changed", "failed", "deprecations", "warnings")
        }
        report["summary"] = {key: value for key, value in report["summary"].items() if key != "seconds"}
        return json.dumps(report, indent=1, sort_keys=True)


def play(
    *arguments: str, timeout: float = 600, playbook: str = "meshops.istio_precheck.check_listeners", **variables: t.Any
) -> Played:
    """Plays the gate over one cluster, with these variables."""
    with tempfile.TemporaryDirectory(prefix="istio-precheck-play-") as scratch:
        facts = pathlib.Path(scratch, "facts.json")
        given = pathlib.Path(scratch, "variables.json")
        given.write_text(json.dumps(variables), "utf-8")
        done = subprocess.run(
            [tool("ansible-playbook"), playbook, "-e", f"@{given}", *arguments],
            env=environment(KEEP_FACTS=str(facts)), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, timeout=timeout, check=False,
        )  # fmt: skip
        kept = json.loads(facts.read_text("utf-8")).get("localhost", {}) if facts.exists() else {}
        return Played(
            done.returncode,
            done.stdout,
            kept.get("check_listeners_result") or {},
            bool(kept.get("check_listeners_passed")),
        )


def tool(name: str) -> str:
    """A command of the environment that these tests run in."""
    beside = pathlib.Path(sys.executable).parent / name
    return str(beside) if beside.exists() else shutil.which(name) or name


def environment(**more: str) -> dict[str, str]:
    """The caller's, without the KUBECONFIG that names the cluster of the tests: each play is told its own."""
    kept = {name: value for name, value in os.environ.items() if name != "KUBECONFIG"}
    callback = {"ANSIBLE_CALLBACK_PLUGINS": str(CALLBACKS), "ANSIBLE_CALLBACKS_ENABLED": "keep_facts"}
    # Wide and long enough for a verdict that neither wraps nor leaves out.
    quiet = {
        "COLUMNS": "2000",
        "LINES": "2000",
        "ANSIBLE_LOCALHOST_WARNING": "False",
        "ANSIBLE_INVENTORY_UNPARSED_WARNING": "False",
        "ANSIBLE_NOCOLOR": "1",
    }
    return {**kept, **callback, **quiet, **more}
