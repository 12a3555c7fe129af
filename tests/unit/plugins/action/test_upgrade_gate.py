# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role's action evaluates a record itself, and says of it what the module says."""

from __future__ import annotations

import json
import types

import pytest

pytest.importorskip("kubernetes")

from ansible_collections.meshops.istio_precheck.plugins.action import upgrade_gate
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

    monkeypatch.setattr(upgrade_gate, "check", broken)
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
