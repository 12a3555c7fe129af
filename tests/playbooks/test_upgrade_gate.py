# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What comes after the gate: the playbooks of docs/upgrade-gate.md, with upgrades that only say that they were reached."""

from __future__ import annotations

import json

import pytest

from ansible_collections.meshops.istio_precheck.tests.helpers import cluster

FINE = {"binds": ("0.0.0.0:8080",)}
TASK = {
    "name": "First task",
    "ansible.builtin.debug": {"msg": "REACHED {{ inventory_hostname }} {{ behind | default('') }}"},
    "tags": ["upgrade"],
}


@pytest.fixture()
def gated(play, tmp_path, example):
    """Plays an example of the page; each playbook behind a gate is one task over `hosts`."""

    def play_it(
        *arguments, holds="ansible.builtin.import_playbook: upgrade.yml", hosts="all:localhost", behind=(), **more
    ):
        for name in ("upgrade.yml", "install_revision.yml", "move_namespace.yml"):
            first = [
                {
                    "hosts": hosts,
                    "gather_facts": False,
                    "connection": "local",
                    "vars": {"behind": name},
                    "tasks": [TASK],
                }
            ]
            (tmp_path / name).write_text(json.dumps(first), encoding="utf-8")
        (tmp_path / "upgrade_tasks.yml").write_text(json.dumps([TASK]), encoding="utf-8")
        return play(*arguments, playbook=[*example("upgrade-gate.md", holds), *behind], **more)

    return play_it


def reached(played):
    return sorted(
        line.partition("REACHED ")[2].strip('" ') for line in played.output.splitlines() if '"msg": "REACHED ' in line
    )


STOPPED = {
    "findings": {"check_listeners_snapshot": cluster.snapshot()},
    "a pod that was not read": {"check_listeners_snapshot": cluster.snapshot(tables=[])},
    "no cluster": {"check_listeners_snapshot_src": "/no/such.json"},
    "a waiver that is none": {
        "check_listeners_snapshot": cluster.snapshot(**FINE),
        "check_listeners_waivers": [{"match": "a b", "reason": "x"}],
    },
    "an option that is none": {
        "check_listeners_snapshot": cluster.snapshot(**FINE),
        "check_listeners_fail_on": ["breaks"],
    },
}


@pytest.mark.parametrize("case", STOPPED)
def test_nothing_of_the_upgrade_is_reached_if_the_gate_fails(gated, case):
    played = gated(**STOPPED[case])
    assert (played.code, reached(played)) == (2, [])


def test_the_upgrade_is_reached_if_the_gate_passes(gated):
    played = gated(check_listeners_snapshot=cluster.snapshot(**FINE))
    assert (played.code, reached(played)) == (0, ["localhost upgrade.yml"])


@pytest.mark.parametrize(
    "arguments", [["--tags", "upgrade"], ["--check"], ["--skip-tags", "slow"], ["--limit", "localhost"]]
)
def test_no_argument_leads_around_the_gate(gated, arguments):
    assert reached(gated(*arguments, check_listeners_snapshot=cluster.snapshot())) == []


def test_arguments_do_not_close_a_gate_that_is_open(gated):
    played = gated("--check", "--tags", "upgrade", check_listeners_snapshot=cluster.snapshot(**FINE))
    assert (played.code, reached(played)) == (0, ["localhost upgrade.yml"])


def test_tags_do_not_keep_the_gate_from_writing_its_sidecars(gated, tmp_path):
    gated(
        "--tags",
        "upgrade",
        check_listeners_snapshot=cluster.snapshot(),
        check_listeners_remediation_dir=str(tmp_path / "sidecars"),
    )
    assert [path.name for path in (tmp_path / "sidecars").rglob("*.yaml")] == ["precheck-deployment-web.yaml"]


def clusters(record):
    bad = {"west": {"check_listeners_snapshot_src": record("west")}}
    return {**bad, **{name: {"check_listeners_snapshot_src": record(name, **FINE)} for name in ("east", "north")}}


@pytest.mark.parametrize("strategy", ["free", "host_pinned"])
def test_no_strategy_of_the_configuration_leads_around_the_gate(gated, record, monkeypatch, strategy):
    monkeypatch.setenv("ANSIBLE_STRATEGY", strategy)
    played = gated(inventory=clusters(record), hosts="all")
    assert (played.code, reached(played)) == (2, [])


@pytest.mark.parametrize("hosts", ["all", "localhost"])
def test_one_cluster_that_fails_stops_the_upgrade_of_all_wherever_it_is_played(gated, record, hosts):
    played = gated(inventory=clusters(record), hosts=hosts)
    assert (played.code, reached(played)) == (2, [])
    for host in ("east", "north"):
        assert played.verdict(host).startswith("Nothing stands in the way")
    assert "Do not upgrade yet" in played.verdict("west")


def test_a_cluster_whose_host_cannot_be_reached_stops_the_upgrade_of_all(gated, record):
    hosts = clusters(record)
    hosts["west"] = {"check_listeners_gather_with": "k8s_exec", "ansible_remote_tmp": "/proc/none"}
    played = gated(inventory=hosts, hosts="localhost")
    assert (played.code, reached(played)) == (2, [])
    assert "Could not check the cluster" in played.verdict("west")
    assert "Failed to create temporary directory" in played.verdict("west")


@pytest.mark.parametrize("said", ["", "y", "maybe"])
def test_what_is_no_known_way_to_say_false_lets_no_cluster_go_on_by_itself(gated, record, said):
    played = gated("-e", f"check_listeners_any_errors_fatal={said}", inventory=clusters(record), hosts="all")
    assert (played.code, reached(played)) == (2, [])


def test_clusters_may_go_on_by_themselves(gated, record):
    played = gated("--tags", "upgrade", inventory=clusters(record), hosts="all", check_listeners_any_errors_fatal=False)
    assert (played.code, reached(played)) == (2, ["east upgrade.yml", "north upgrade.yml"])


def test_the_role_is_a_gate_in_a_play_of_ones_own(gated, record, tmp_path):
    hosts = clusters(record)
    (tmp_path / "clusters.json").write_text(json.dumps({"clusters": {"hosts": hosts}}), encoding="utf-8")
    played = gated("-i", str(tmp_path / "clusters.json"), "--tags", "upgrade", holds="import_tasks: upgrade_tasks.yml")
    assert (played.code, reached(played)) == (2, [])
    played = gated(
        "-i",
        str(tmp_path / "clusters.json"),
        "--tags",
        "upgrade",
        "--limit",
        "east",
        holds="import_tasks: upgrade_tasks.yml",
    )
    assert (played.code, reached(played)) == (0, ["east"])


@pytest.mark.parametrize(
    ("shop", "steps"),
    [
        ({"revision": "default"}, ["install_revision.yml"]),
        ({"revision": "canary", "proxy": "1.24.0"}, ["install_revision.yml"]),
        (None, ["install_revision.yml", "move_namespace.yml"]),
    ],
    ids=["before the move", "moved, and cut off", "another namespace alone has findings"],
)
def test_a_namespace_is_moved_to_the_new_revision_only_if_it_loses_no_port(gated, shop, steps):
    pods = (
        [cluster.pod(), cluster.pod("pay-1", "bank")]
        if shop is None
        else [cluster.pod(**shop), cluster.pod("pay-1", "bank")]
    )
    tables = [
        cluster.table(binds=["0.0.0.0:8080"] if shop is None else ["127.0.0.1:8080"]),
        cluster.table("pay-1", namespace="bank"),
    ]
    snapshot = cluster.snapshot(
        pods,
        [cluster.service(), cluster.service(namespace="bank")],
        istiods=[cluster.istiod("1.9.9"), cluster.istiod("1.24.0", "canary")],
        tables=tables,
    )
    played = gated(holds="check_listeners_namespaces: [shop]", check_listeners_snapshot=snapshot)
    assert reached(played) == [f"localhost {step}" for step in steps]
    assert played.code == (2 if len(steps) == 1 else 0)
    if shop:
        (finding,) = played.result["findings"]
        assert finding["impact"] == ("unreachable" if shop["revision"] == "canary" else "breaks_on_upgrade")


ROLE = "meshops.istio_precheck.check_listeners"


def own(*tasks, hosts="all"):
    """A play of one's own with these tasks, and behind them the upgrade."""
    interpreter = {"ansible_python_interpreter": "{{ ansible_playbook_python }}"}
    return [
        {"hosts": hosts, "connection": "local", "gather_facts": False, "vars": interpreter, "tasks": [*tasks, TASK]}
    ]


def test_a_tag_of_the_role_that_is_asked_for_does_not_leave_its_tasks_out(play, record):
    book = own({"ansible.builtin.include_role": {"name": ROLE}, "tags": ["upgrade"]}, hosts="localhost")
    played = play("--tags", "upgrade", playbook=book, check_listeners_snapshot_src=record())
    assert (played.code, reached(played)) == (2, []), played.output


@pytest.mark.parametrize("how", ["import_role", "include_role", "block"])
def test_no_cluster_is_passed_by_the_verdict_on_another(play, record, how):
    role = {f"ansible.builtin.{'import_role' if how == 'block' else how}": {"name": ROLE}}
    task = {"run_once": True, **({"block": [role]} if how == "block" else role)}
    hosts = {name: {"check_listeners_snapshot_src": record(name, **FINE)} for name in ("east", "north")}
    played = play(playbook=own(task), inventory={**hosts, **clusters(record)})
    assert played.code == 2, played.output
    assert "only one of 3 would be checked" in played.output
    # What ansible-core plays for one host alone by include_role ends for that one alone.
    assert reached(played) == (["north", "west"] if how == "include_role" else []), played.output
    alone = play(playbook=own(task), inventory={"east": hosts["east"]})
    assert (alone.code, reached(alone)) == (0, ["east"]), alone.output


@pytest.mark.parametrize("how", ["named twice", "needed twice"])
def test_a_role_that_is_named_again_is_played_again(play, record, tmp_path, how):
    """Where a role does not say otherwise, ansible-core passes over it once it has run for the host."""
    fine, breaks = record("fine", **FINE), record("breaks")
    upgrade = tmp_path / "roles" / "upgrade"
    (upgrade / "tasks").mkdir(parents=True)
    (upgrade / "tasks" / "main.yml").write_text(json.dumps([TASK]), encoding="utf-8")
    if how == "named twice":  # the same parameters, whose values are others by then
        select = {"ansible.builtin.set_fact": {"behind": "second", "which": breaks}}
        (tmp_path / "roles" / "select" / "tasks").mkdir(parents=True)
        (tmp_path / "roles" / "select" / "tasks" / "main.yml").write_text(json.dumps([select]), encoding="utf-8")
        gate = {"role": ROLE, "check_listeners_snapshot_src": "{{ which | default(fine) }}"}
        roles = [gate, "upgrade", "select", gate, {"role": "upgrade", "again": True}]
    else:
        (upgrade / "meta").mkdir()
        (upgrade / "meta" / "main.yml").write_text(json.dumps({"dependencies": [{"role": ROLE}]}), encoding="utf-8")
        roles = [
            {"role": "upgrade", "check_listeners_snapshot_src": fine},
            {"role": "upgrade", "check_listeners_snapshot_src": breaks, "behind": "second"},
        ]
    book = [{"hosts": "localhost", "gather_facts": False, "connection": "local", "roles": roles}]
    played = play(playbook=book, fine=fine)
    assert (played.code, reached(played)) == (2, ["localhost"]), played.output
    assert "Do not upgrade yet: 1 port breaks on upgrade" in played.output


ISTIOCTL = {
    "neither": (FINE, "echo 'No issues found when checking the cluster.' >&2", []),
    "the gate": ({}, "exit 0", ["Do not upgrade yet: 1 port breaks on upgrade"]),
    "istioctl": (FINE, "echo 'Error [IST0142] (Cluster)'; exit 1", ["Error [IST0142]"]),
    "both": (
        {},
        "echo 'Warning [IST0168]'; exit 1",
        ["Warning [IST0168]", "Do not upgrade yet: 1 port breaks on upgrade"],
    ),
    "an istioctl that is missing": (FINE, None, ["istioctl"]),
}
"""What finds a problem: the cluster, the script in the place of istioctl, and what the play then names."""


@pytest.mark.parametrize("finder", ISTIOCTL)
@pytest.mark.parametrize("arguments", [(), ("--check",), ("--tags", "upgrade")], ids=["plain", "check", "tags"])
def test_the_precheck_of_istioctl_stops_the_upgrade_beside_the_gate(gated, tmp_path, monkeypatch, finder, arguments):
    found, script, named = ISTIOCTL[finder]
    programs = tmp_path / "programs"
    programs.mkdir()
    if script:
        (programs / "istioctl").write_text(f'#!/bin/sh\necho "$@" >{programs}/asked\n{script}\n')
        (programs / "istioctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    behind = [{"ansible.builtin.import_playbook": "upgrade.yml"}]
    played = gated(
        *arguments, holds="istioctl, x, precheck", behind=behind, check_listeners_snapshot=cluster.snapshot(**found)
    )
    assert [name for name in named if name not in played.output] == []
    assert (played.code, reached(played)) == ((2, []) if named else (0, ["localhost upgrade.yml"])), played.output
    if script:
        asked = (programs / "asked").read_text("utf-8").split()
        assert asked == ["x", "precheck", "--context", "production", "--from-version", "1.23"]


@pytest.mark.parametrize("how", [{"failed_when": False}, {"ignore_errors": True}, {"failed_when": [False]}])
def test_a_failed_check_opens_no_gate_whatever_a_task_makes_of_its_failure(play, record, how):
    """`failed_when: false` says `failed: false` of it, and leaves it all the rest."""
    ask = {"snapshot_src": record(**FINE), "namespaces": ["nonesuch"]}
    task = {"meshops.istio_precheck.localhost_listener_info": ask, "register": "found", **how}
    gate = "{{ (found | meshops.istio_precheck.gate).passed }}"
    file = "{{ (found | meshops.istio_precheck.report_files(['json'], 'east') | map(attribute='content') | first | from_json).metadata.passed }}"
    told = {"ansible.builtin.debug": {"msg": f"gate {gate}, file {file}"}}
    start = {"hosts": "localhost", "gather_facts": False, "connection": "local"}
    played = play(playbook=[{**start, "tasks": [task, told]}])
    assert played.code == 0 and "gate False, file False" in played.output, played.output
