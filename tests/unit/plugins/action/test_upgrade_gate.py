# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role's action evaluates a record itself, and says of it what the module says."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import types

import pytest

pytest.importorskip("kubernetes")

from ansible_collections.meshops.istio_precheck.plugins.action import upgrade_gate
from ansible_collections.meshops.istio_precheck.plugins.module_utils import _check
from ansible_collections.meshops.istio_precheck.plugins.modules import localhost_listener_info
from ansible_collections.meshops.istio_precheck.tests.helpers import cluster
from ansible_collections.meshops.istio_precheck.tests.helpers.module_runner import run

WAIVER = {"match": "port == `8080`", "reason": "TICKET-1"}

OPTIONS = {
    "nothing": {},
    "a selection": {"namespaces": ["elsewhere"]},
    "a waiver": {"waivers": [WAIVER]},
    "a version that is none": {"target_version": "latest"},
    "a waiver that is none": {"waivers": [{**WAIVER, "match": "port =="}]},
    "a number that is too small": {"exec_timeout": 0},
    "a word that is no choice": {"replicas": "some"},
    "a probe without an image": {"socket_source": "node"},
    "a waiver without a reason": {"waivers": [{"match": WAIVER["match"]}]},
}

RECORDS = {
    "a cluster": json.dumps(cluster.snapshot()),
    "no JSON": "{",
    "no snapshot": "[]",
    "nothing": "",
}


@pytest.fixture(name="written")
def _written(tmp_path):
    def write(text):
        path = tmp_path / "record.json"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def by_module(**options):
    result = run(localhost_listener_info.main, **options).result
    return {name: value for name, value in result.items() if name not in ("changed", "invocation")}


def timeless(result):
    if "summary" in result:
        result["summary"].pop("seconds")
    return result


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_it_says_of_a_record_what_the_module_says(options, written):
    asked = {"snapshot_src": written(RECORDS["a cluster"]), **options}
    assert timeless(upgrade_gate._evaluate(asked)) == timeless(by_module(**asked))


@pytest.mark.parametrize("text", RECORDS.values(), ids=RECORDS)
def test_it_says_of_what_is_no_record_what_the_module_says(text, written):
    asked = {"snapshot_src": written(text)}
    assert timeless(upgrade_gate._evaluate(asked)) == timeless(by_module(**asked))


def test_a_snapshot_of_the_options_is_evaluated_alike():
    asked = {"snapshot": cluster.snapshot()}
    assert timeless(upgrade_gate._evaluate(asked)) == timeless(by_module(**asked))


def test_two_records_are_refused_by_name(written):
    asked = {"snapshot": cluster.snapshot(), "snapshot_src": written(RECORDS["a cluster"])}
    assert upgrade_gate._evaluate(asked) == by_module(**asked)
    assert "snapshot_src|snapshot" in upgrade_gate._evaluate(asked)["msg"]


def test_a_fault_of_its_own_is_a_check_that_could_not_be_made(written, monkeypatch):
    def broken(*_given):
        raise ZeroDivisionError("of ours")

    monkeypatch.setattr(_check, "check", broken)
    result = upgrade_gate._evaluate({"snapshot_src": written(RECORDS["a cluster"])})
    assert result == {"failed": True, "msg": "the record could not be evaluated: ZeroDivisionError: of ours"}


def needs_no_module(transport="local", become=None, **options):
    made = object.__new__(upgrade_gate.ActionModule)
    made._connection = types.SimpleNamespace(transport=transport, become=become)
    return made._needs_no_module(options)


def test_only_a_record_on_this_machine_takes_no_process():
    assert needs_no_module(snapshot_src="record.json")
    assert needs_no_module(snapshot={})
    assert not needs_no_module()
    assert not needs_no_module(snapshot_src="")
    assert not needs_no_module("ssh", snapshot_src="record.json")
    assert not needs_no_module(become=object(), snapshot_src="record.json")
    assert not needs_no_module(snapshot_src="record.json", snapshot_dest="other.json")


# ---------------------------------------------------------------------------------------------------------------------
# In place


def in_place(interpreter=sys.executable, transport="local", become=None, background=0, delegate_to=None, **variables):
    made = object.__new__(upgrade_gate.ActionModule)
    made._connection = types.SimpleNamespace(transport=transport, become=become)
    made._task = types.SimpleNamespace(async_val=background, delegate_to=delegate_to)
    made._templar = types.SimpleNamespace(template=lambda value: value)
    return made._is_in_place({"ansible_python_interpreter": interpreter, **variables})


def test_the_module_is_run_in_place_only_by_this_very_python_on_this_machine_and_as_this_user():
    assert in_place()
    assert not in_place(None) and not in_place("auto") and not in_place("/usr/bin/another/python3")
    assert not in_place(transport="ssh")
    assert not in_place(become=object())
    assert not in_place(background=10)
    there = {"ansible_delegated_vars": {"there": {"ansible_python_interpreter": "/usr/bin/another/python3"}}}
    assert not in_place(delegate_to="there", **there) and not in_place(delegate_to="elsewhere", **there)
    there["ansible_delegated_vars"]["there"]["ansible_python_interpreter"] = sys.executable
    assert in_place("/usr/bin/another/python3", delegate_to="there", **there)


def by_the_file(place, cwd, **options):
    """What the file of modules/ prints, with its arguments where ansible-core puts them."""
    arguments = json.dumps({**options, "in_place": place, "_ansible_remote_tmp": "/tmp"}).encode()
    text = (pathlib.Path(upgrade_gate.__file__).parents[1] / "modules" / "upgrade_gate.py").read_bytes()
    for mark in (b'"<<INCLUDE_ANSIBLE_MODULE_COMPLEX_ARGS>>"', b"<<INCLUDE_ANSIBLE_MODULE_JSON_ARGS>>"):
        assert text.count(mark) == 1
        text = text.replace(mark, repr(arguments).encode() if mark.startswith(b'"') else arguments)
    done = subprocess.run([sys.executable, "-"], input=text, capture_output=True, cwd=cwd, check=False)
    found = json.loads(done.stdout)
    # ansible-core 2.22 deprecates remove_values(), which the module masks with.
    added = ("changed", "invocation", "deprecations")
    return {name: value for name, value in found.items() if name not in added and name[0] != "_"}


def test_in_place_the_module_says_what_it_says_packed(written, tmp_path):
    for name in ("json", "yaml", "ansible", "types"):  # as may lie beside a playbook
        (tmp_path / f"{name}.py").write_text("raise SystemExit('not this one')\n", encoding="utf-8")
    asked = {"snapshot_src": written(RECORDS["a cluster"]), "waivers": [{**WAIVER, "reason": 'é \\ \' """ \n'}]}
    found = by_the_file(upgrade_gate._place(), tmp_path, **asked)
    assert found["waived"] and timeless(found) == timeless(by_module(**asked))


def test_in_place_a_module_that_cannot_be_run_is_a_check_that_could_not_be_made(tmp_path):
    place = upgrade_gate._place()
    place["packages"]["ansible_collections.meshops.istio_precheck"] = [str(tmp_path)]
    found = by_the_file(place, tmp_path)
    assert found["failed"] and found["msg"].startswith("the module ended with ModuleNotFoundError: ")


UNUSED = (
    "_check",
    "_evaluate",
    "_gather",
    "_rule",
    "_reports.formats",
    "_reports.table",
    "_sidecars",
    "_files",
    "_k8s_exec",
)
"""What a gate that passes has no use for on the controller, where ansible-core compiles each file again in every run."""


def test_the_action_imports_nothing_that_a_passing_run_does_not_use():
    asked = f"import sys, {upgrade_gate.__name__}; print(*sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True, env=environment())
    parts = [name.partition(".plugins.")[2].split(".", 1)[1:] for name in done.stdout.split() if "meshops" in name]
    assert parts and not [part for (part,) in filter(None, parts) if part.startswith(UNUSED)]


def environment():
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
