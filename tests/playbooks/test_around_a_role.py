# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a play says around the roles: conditions over them, defaults of modules, other hosts to keep their facts. None opens the gate."""

from __future__ import annotations

import json

import pytest

from ansible_collections.meshops.istio_precheck.tests.helpers import cluster
from ansible_collections.meshops.istio_precheck.tests.helpers.fault_server import CLOSED, SUCCESS, out, says, status
from ansible_collections.meshops.istio_precheck.tests.playbooks.mesh_server import Mesh

GATE, REMEDY = "meshops.istio_precheck.check_listeners", "meshops.istio_precheck.remediate_listeners"
UPGRADE = {"name": "Upgrade", "ansible.builtin.debug": {"msg": "UPGRADED"}}
PYTHON = {"ansible_python_interpreter": "{{ ansible_playbook_python }}"}
PLAY = {"hosts": "localhost", "connection": "local", "gather_facts": False}
ALL_FINE = says(out("LISTEN 0 128 0.0.0.0:8080 0.0.0.0:*\n"), status(SUCCESS), CLOSED)


def once(statement: str, condition: str) -> list[dict]:
    """A playbook with a condition over the gate, and the upgrade behind it."""
    if statement == "import_playbook":
        return [{statement: GATE, "when": condition}, {**PLAY, "tasks": [UPGRADE]}]
    if statement == "roles":
        return [{**PLAY, statement: [{"role": GATE, "when": condition}], "tasks": [UPGRADE]}]
    if statement == "block":
        return [{**PLAY, "tasks": [{"block": [{"include_role": {"name": GATE}}], "when": condition}, UPGRADE]}]
    return [{**PLAY, "tasks": [{statement: {"name": GATE}, "when": condition}, UPGRADE]}]


@pytest.mark.parametrize(
    "statement, condition",
    [
        ("import_role", "check_listeners_result is not defined"),
        ("roles", "check_listeners_passed is not defined"),
        ("block", "check_listeners_passed is not defined"),
        ("import_playbook", "check_listeners_result is not defined"),
        ("include_role", "check_listeners_result is not defined"),
    ],
)
def test_a_condition_that_the_facts_turn_false_skips_no_stop(play, statement, condition):
    found = play(playbook=once(statement, condition), check_listeners_snapshot=cluster.snapshot())
    assert (found.code, found.passed, "UPGRADED" in found.output) == (2, False, False), found.output
    assert ("Give the condition to include_role itself" in found.output) is (statement != "include_role")


@pytest.mark.parametrize("statement", ["import_role", "roles"])
def test_a_condition_that_asks_for_the_facts_holds_up_no_open_gate(play, statement):
    fine = cluster.snapshot(binds=("0.0.0.0:8080",))
    found = play(playbook=once(statement, "check_listeners_passed is not defined"), check_listeners_snapshot=fine)
    assert (found.code, found.passed, "UPGRADED" in found.output) == (0, True, True), found.output


def test_a_second_check_under_a_condition_of_the_first_stops_where_less_could_be_read(play):
    first = {"check_listeners_snapshot": cluster.snapshot(), "check_listeners_fail_on": []}
    second = {"check_listeners_snapshot": cluster.snapshot(tables=[])}
    tasks = [
        {"import_role": {"name": GATE}, "vars": first},
        {"import_role": {"name": GATE}, "when": "check_listeners_result.findings | length > 0", "vars": second},
        UPGRADE,
    ]
    found = play(playbook=[{**PLAY, "tasks": tasks}])
    assert (found.code, found.passed, "UPGRADED" in found.output) == (2, False, False), found.output


@pytest.mark.parametrize("statement", ["import_role", "block", "include_role"])
def test_a_condition_over_the_remedy_that_its_first_check_turns_false_is_refused(play, statement, tmp_path):
    remedy = {"include_role" if statement == "block" else statement: {"name": REMEDY}}
    over = {"block": [remedy]} if statement == "block" else remedy
    with Mesh() as server:
        tasks = [
            {"block": [{"import_role": {"name": GATE}}], "rescue": [{"debug": {"msg": "it is remediated"}}]},
            {**over, "when": "not check_listeners_passed"},
            UPGRADE,
        ]
        found = play(
            playbook=[{**PLAY, "tasks": tasks}],
            check_listeners_host=server.url,
            check_listeners_api_key="abc",
            check_listeners_delivery_source="rule",
            remediate_listeners_undo_file=str(tmp_path / "undo.json"),
        )
        writes = server.writes()
    if statement == "include_role":
        assert writes, found.output
        return
    assert (found.code, found.passed, "UPGRADED" in found.output) == (2, False, False), found.output
    assert "Give the condition to include_role itself" in found.output
    assert writes == []


def test_facts_that_go_to_another_host_leave_no_earlier_verdict_in_force(play):
    fine, broken = cluster.snapshot(binds=("0.0.0.0:8080",)), cluster.snapshot()
    tasks = [
        {"include_role": {"name": GATE}, "vars": {"check_listeners_snapshot": fine}},
        {
            "block": [{"import_role": {"name": GATE}, "vars": {"check_listeners_snapshot": broken}}],
            "delegate_to": "other",
            "delegate_facts": True,
        },
        UPGRADE,
    ]
    hosts = {"c1": PYTHON, "other": {**PYTHON, "ansible_connection": "local"}}
    found = play(playbook=[{**PLAY, "hosts": "c1", "tasks": tasks}], inventory=hosts)
    assert (found.code, "UPGRADED" in found.output) == (2, False), found.output


def test_defaults_of_a_module_send_no_task_of_the_gate_to_another_cluster(play):
    with Mesh() as other, Mesh() as production:
        found = play(
            playbook=[
                {
                    **PLAY,
                    "module_defaults": {"kubernetes.core.k8s_info": {"host": other.url, "api_key": "abc"}},
                    "roles": [{"role": GATE}],
                    "tasks": [UPGRADE],
                }
            ],
            check_listeners_host=production.url,
            check_listeners_api_key="abc",
            check_listeners_gather_with="k8s_exec",
            check_listeners_delivery_source="rule",
        )
        asked = {"other": len(other.requests), "production": len(production.requests) > 0}
    assert (found.code, "UPGRADED" in found.output) == (2, False), found.output
    assert asked == {"other": 0, "production": True}


def test_defaults_of_a_module_send_no_sidecar_to_another_cluster(play, tmp_path):
    with Mesh() as other, Mesh() as production:
        defaults = {"meshops.istio_precheck.sidecar_remediation": {"host": other.url, "api_key": "abc"}}
        play(
            playbook=[{**PLAY, "module_defaults": defaults, "roles": [{"role": REMEDY}]}],
            check_listeners_host=production.url,
            check_listeners_api_key="abc",
            check_listeners_delivery_source="rule",
            remediate_listeners_undo_file=str(tmp_path / "undo.json"),
        )
        assert other.writes() == []
        assert production.writes() != []


def test_a_connection_in_defaults_of_modules_that_no_role_reads_is_refused(play, tmp_path):
    with Mesh() as staging, Mesh() as production:
        staging.execs = ALL_FINE
        servers = {"staging": staging, "production": production}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "staging",
            "clusters": [{"name": name, "cluster": {"server": server.url}} for name, server in servers.items()],
            "users": [{"name": "jane", "user": {"token": "abc"}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": "jane"}} for name in servers],
        }
        (tmp_path / ".kube").mkdir()
        (tmp_path / ".kube" / "config").write_text(json.dumps(config))
        defaults = {"group/meshops.istio_precheck.precheck": {"context": "production"}}
        gate = {**PLAY, "module_defaults": defaults, "roles": [{"role": GATE}], "tasks": [UPGRADE]}
        found = play(playbook=[gate], check_listeners_delivery_source="rule")
        asked = len(staging.requests) + len(production.requests)
    assert (found.code, found.passed, "UPGRADED" in found.output) == (2, False, False), found.output
    assert "Set check_listeners_context" in found.output
    assert asked == 0
