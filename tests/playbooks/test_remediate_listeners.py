# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The remediation, played against an API server on loopback that keeps Sidecars. tests/live plays it against a real one."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import random
import socket
import types
import typing as t

import pytest
import yaml

from ansible_collections.meshops.istio_precheck.tests.helpers import cluster
from ansible_collections.meshops.istio_precheck.tests.helpers.remedies import EGRESS

from .mesh_server import GROUP, ID, NAME, REMEDIATE, Mesh

EXISTING = cluster.sidecar("mine", selector={"app": "web"}, ingress={7070: "127.0.0.1:7070"}, egress=EGRESS)
TEMPLATES = {"annotations": {"note": "{{ 7 * 191 }}"}, "labels": {"team": "shop"}}


@pytest.fixture()
def remediate(play, tmp_path):
    """Plays the remediation on one cluster."""

    def play_it(server: t.Any, *arguments: str, playbook: str = REMEDIATE, **variables: t.Any) -> t.Any:
        told = {
            "check_listeners_host": server.url,
            "check_listeners_api_key": "abc",
            "check_listeners_exec_timeout": 60,
            "check_listeners_remediate_unreachable": True,  # a port that the Sidecar which is there does not list is closed today
            "remediate_listeners_undo_file": str(tmp_path / "undo.json"),
        }
        return play(*arguments, playbook=playbook, **told, **variables)

    return play_it


@pytest.fixture()
def reviewed(remediate, tmp_path):
    """Has the files written."""

    def write(server: Mesh) -> dict[str, str]:
        played = remediate(
            server,
            playbook="meshops.istio_precheck.check_listeners",
            check_listeners_remediation_dir=str(tmp_path / "sidecars"),
        )
        assert [finding["id"] for finding in played.result["findings"]] == [ID], played.output
        return {"remediate_listeners_dir": str(tmp_path / "sidecars")}

    return write


def refused(played, *reasons):
    assert played.code == 2, played.output
    assert [reason for reason in reasons if reason not in played.output] == [], played.output


@pytest.mark.parametrize(
    "before", [[], [{**EXISTING, "metadata": {**EXISTING["metadata"], **TEMPLATES}}]], ids=["create", "update"]
)
def test_what_was_reviewed_is_applied_and_taken_back(remediate, reviewed, tmp_path, before):
    with Mesh(*before) as server:
        files = reviewed(server)
        state, first = server.specs, copy.deepcopy(server.sidecars)
        tried = remediate(server, "--check", "--diff", **files)
        assert tried.code == 0, tried.output
        assert (server.writes(), (tmp_path / "undo.json").exists()) == ([], False)

        applied = remediate(server, **files)
        assert (applied.code, applied.passed) == (0, True), applied.output
        assert [record["id"] for record in applied.result["remediated"]] == [ID]
        assert ID in applied.output[applied.output.index("Show the fixed ports") :]
        assert server.specs != state
        assert json.loads((tmp_path / "undo.json").read_text("utf-8"))["server"] == server.url

        writes = server.writes()
        again = remediate(server, **files)
        assert (again.code, "changed=0" in again.output) == (0, True), again.output
        assert server.writes() == writes

        undone = remediate(server, remediate_listeners_undo=True)
        assert undone.code == 0, undone.output
        assert server.specs == state
        for key, each in first.items():
            assert {**server.sidecars[key]["metadata"], "resourceVersion": None} == {
                **each["metadata"],
                "resourceVersion": None,
            }
        twice = remediate(server, remediate_listeners_undo=True)
        assert (twice.code, "changed=0" in twice.output) == (0, True), twice.output


def test_a_fresh_plan_is_applied_without_files_whatever_fail_on_says(remediate):
    with Mesh() as server:
        played = remediate(server, check_listeners_fail_on=["breaks_on_upgrade"])
        assert (played.code, list(server.specs)) == (0, [f"shop/{NAME}"]), played.output


def test_a_report_that_is_given_is_no_plan(remediate):
    """As of a saved report: the check refuses it, and what it plans is not applied."""
    sidecar = cluster.sidecar("evil", namespace="kube-system", selector=None, ingress={1: "127.0.0.1:1"})
    plan = {"action": "create", "manifest": sidecar, "findings": [], "notes": []}
    given = {**{part: [] for part in cluster.PARTS}, "remediations": [plan], "summary": {"pods": 1, "pods_read": 1}}
    with Mesh() as server:
        played = remediate(server, check_listeners_result=given)
        refused(played, "Nothing was changed: check_listeners_result: the role sets this")
        assert server.writes() == []


def test_an_empty_directory_variable_is_no_directory(remediate, tmp_path):
    (tmp_path / "stray.yaml").write_text("kind: ConfigMap\n", "utf-8")
    with Mesh() as server:
        played = remediate(server, remediate_listeners_dir="")
        assert (played.code, list(server.specs)) == (0, [f"shop/{NAME}"]), played.output


def test_what_an_earlier_check_said_is_not_gone_by_if_there_can_be_none_now(remediate):
    roles = (
        ("meshops.istio_precheck.check_listeners", {"check_listeners_fail_on": []}),
        (REMEDIATE, {"check_listeners_concurrency": "none"}),
    )
    tasks = [{"ansible.builtin.include_role": {"name": role}, "vars": told} for role, told in roles]
    with Mesh() as server:
        played = remediate(
            server, playbook=[{"hosts": "localhost", "gather_facts": False, "connection": "local", "tasks": tasks}]
        )
        refused(played, "Stop if the check failed", "check_listeners_concurrency")
        assert server.writes() == []


def test_a_file_that_is_not_true_any_more_is_refused_before_anything_is_written(remediate, reviewed, tmp_path):
    with Mesh() as server:
        files = reviewed(server)
        (tmp_path / "sidecars" / "zoo.yaml").write_text(
            yaml.safe_dump({**EXISTING, "kind": "Sidecar", "metadata": {"name": "zoo", "namespace": "shop"}}), "utf-8"
        )
        server.lists["/api/v1/services"] = [cluster.service(ports=[cluster.port(), cluster.port(90, 9090, "more")])]
        played = remediate(server, **files, check_listeners_report_dir=str(tmp_path / "reports"))
        refused(
            played,
            "Nothing was applied.",
            f"Sidecar shop/{NAME}: port 9090 is in today's plan, but not in the file",
            "Sidecar shop/zoo: Sidecar shop/precheck-deployment-web of these files selects the same pods",
        )
        assert (server.writes(), server.specs, (tmp_path / "undo.json").exists()) == ([], {}, False)
        made = json.loads((tmp_path / "reports" / "localhost.json").read_text("utf-8"))
        assert (played.passed, made["metadata"]["passed"]) == (False, False), "ports break that nothing cured"


@pytest.mark.parametrize("said", ["y", " true "])
def test_an_undo_is_one_however_it_is_written(remediate, said):
    with Mesh() as server:
        refused(remediate(server, remediate_listeners_undo=said), "Nothing was changed: there is no record")
        assert server.writes() == []


def test_a_waived_file_is_refused_with_that_reason(remediate, reviewed):
    with Mesh() as server:
        files = reviewed(server)
        played = remediate(
            server, **files, check_listeners_waivers=[{"match": "port == `8080`", "reason": "moves in May"}]
        )
        refused(
            played,
            f"Sidecar shop/{NAME}: {ID} is waived today (moves in May), so no Sidecar is planned for it. Plan again.",
        )
        assert server.writes() == []


def test_a_record_of_another_cluster_is_neither_written_over_nor_undone(remediate, tmp_path):
    with Mesh() as one, Mesh(EXISTING) as other:
        assert remediate(one).code == 0
        kept = (tmp_path / "undo.json").read_text("utf-8")
        for more in ({}, {"remediate_listeners_undo": True}):
            refused(
                remediate(other, **more),
                f"Nothing was changed: {tmp_path / 'undo.json'} cannot be used: it records what was changed on {one.url}, but this cluster is {other.url}.",
            )
        assert (other.writes(), (tmp_path / "undo.json").read_text("utf-8")) == ([], kept)


@pytest.mark.parametrize(
    ("text", "why"),
    [("", "it is not JSON: "), ('{"changes": []}', "this is no "), ("[" * 1000, "it holds more than 100 levels")],
)
def test_a_file_that_is_no_record_is_named_and_kept(remediate, tmp_path, text, why):
    (tmp_path / "undo.json").write_text(text, "utf-8")
    with Mesh() as server:
        refused(remediate(server), f"Nothing was changed: {tmp_path / 'undo.json'} cannot be used: {why}")
        assert server.writes() == []
    assert (tmp_path / "undo.json").read_text("utf-8") == text


@pytest.mark.parametrize("kind", ["pipe", "device", "directory"])
def test_an_undo_file_that_is_no_file_is_refused_and_not_waited_for(remediate, tmp_path, kind):
    path = tmp_path / "undo.json"
    {"pipe": os.mkfifo, "device": lambda there: there.symlink_to("/dev/zero"), "directory": os.mkdir}[kind](path)
    with Mesh() as server:
        refused(
            remediate(server, remediate_listeners_undo=True),
            f"Nothing was changed: {path} cannot be used: it is no file",
        )
        assert server.writes() == []


def test_a_reviewed_file_that_is_too_large_is_not_read(remediate, tmp_path):
    (tmp_path / "sidecars").mkdir()
    large = tmp_path / "sidecars" / "large.yaml"
    large.write_bytes(b"#" * (5 << 20))
    with Mesh() as server:
        refused(
            remediate(server, remediate_listeners_dir=str(tmp_path / "sidecars")),
            "large.yaml",
            "it holds more than 4194304 bytes",
        )
        assert server.writes() == []


def test_a_failure_in_the_middle_leaves_a_record_that_undoes_the_rest(remediate):
    with Mesh() as server:
        server.lists["/api/v1/pods"] += [
            cluster.pod("db-7d4b9-a", app="db", owner=("ReplicaSet", "db-7d4b9"), ips=("10.0.0.6",))
        ]
        server.lists["/api/v1/services"] += [cluster.service("db", selector={"app": "db"})]
        server.broken = {NAME}
        refused(remediate(server), "etcd is on fire")
        assert list(server.specs) == ["shop/precheck-deployment-db"]
        undone = remediate(server, remediate_listeners_undo=True)
        assert (undone.code, server.specs) == (0, {}), undone.output


def test_one_that_someone_makes_meanwhile_is_left_alone(remediate):
    with Mesh() as server:
        server.meanwhile = {
            **copy.deepcopy(EXISTING),
            "kind": "Sidecar",
            "metadata": {"name": NAME, "namespace": "shop"},
        }
        refused(
            remediate(server),
            "Nothing was applied.",
            f"Sidecar shop/{NAME}: it was created since it was looked for. Plan again.",
        )
        assert (server.writes(), server.specs) == ([], {f"shop/{NAME}": EXISTING["spec"]})


def test_a_cluster_that_does_not_answer_is_one_message(remediate):
    # Bound and not listening, and below the ports that the kernel hands out: no other test's server answers there, and none ever
    # did, which kubernetes.core would remember in a file by its address.
    with socket.socket() as nobody:
        for port in range(random.randrange(20_000, 30_000), 32_000):
            with contextlib.suppress(OSError):
                nobody.bind(("127.0.0.1", port))
                break
        server = types.SimpleNamespace(url=f"http://127.0.0.1:{nobody.getsockname()[1]}")
        for more in ({}, {"remediate_listeners_undo": True}):
            refused(remediate(server, **more), "Nothing was changed: no connection to a cluster")


FOREIGN = {
    **copy.deepcopy(EXISTING),
    "kind": "Sidecar",
    "metadata": {"name": NAME, "namespace": "shop", "labels": {"of": "another"}},
}


def test_a_sidecar_made_after_the_trial_is_not_overwritten_recorded_or_removed(remediate, tmp_path):
    with Mesh() as server:
        server.lists["/api/v1/pods"] += [
            cluster.pod("api-7d4b9-a", app="api", owner=("ReplicaSet", "api-7d4b9"), ips=("10.0.0.6",))
        ]
        server.lists["/api/v1/services"] += [cluster.service("api", selector={"app": "api"})]
        server.after_trial = FOREIGN
        refused(
            remediate(server),
            f"Sidecar shop/{NAME}: it was created since it was looked for. Plan again.",
            "Before that, shop/precheck-deployment-api was applied.",
        )
        assert server.specs[f"shop/{NAME}"] == FOREIGN["spec"]
        kept = json.loads((tmp_path / "undo.json").read_text("utf-8"))["changes"]
        assert [entry["after"]["metadata"]["name"] for entry in kept] == ["precheck-deployment-api"]

        undone = remediate(server, remediate_listeners_undo=True)
        assert (undone.code, server.specs) == (0, {f"shop/{NAME}": FOREIGN["spec"]}), undone.output
        assert server.sidecars["shop", NAME]["metadata"]["labels"] == {"of": "another"}


def test_one_that_someone_changes_after_the_trial_is_left_as_it_is(remediate, reviewed, tmp_path):
    with Mesh(EXISTING) as server:
        files = reviewed(server)
        other = {**copy.deepcopy(EXISTING), "kind": "Sidecar"}
        other["spec"]["ingress"][0]["port"]["number"] = 6060
        server.after_trial = other
        refused(remediate(server, **files), "Sidecar shop/mine: it changed since it was looked at. Plan again.")
        assert server.specs == {"shop/mine": other["spec"]}
        assert json.loads((tmp_path / "undo.json").read_text("utf-8"))["changes"] == []

        server.after_trial = None
        applied = remediate(server, **reviewed(server))
        assert applied.code == 0, applied.output
        server.after_trial = other
        refused(
            remediate(server, remediate_listeners_undo=True), "Sidecar shop/mine: it changed since it was looked at."
        )
        assert server.specs == {"shop/mine": other["spec"]}


BINDING = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRoleBinding",
    "metadata": {"name": "owned"},
    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
}


@pytest.mark.parametrize(
    "before, path",
    [
        ({"apiVersion": "v1", "kind": "List", "items": [BINDING]}, "changes[0].before.metadata: missing"),
        (
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "x", "namespace": "kube-system"},
                "spec": {},
            },
            "changes[0].before holds something other than a Sidecar",
        ),
        ({"metadata": {"name": NAME, "namespace": "kube-system"}}, "changes[0].before: it is another object"),
        ({"items": [BINDING]}, "changes[0].before.items: this field does not belong here"),
    ],
    ids=["list", "configmap", "elsewhere", "items"],
)
def test_an_undo_sends_nothing_of_a_record_that_names_anything_but_its_sidecars(remediate, tmp_path, before, path):
    with Mesh() as server:
        assert remediate(server).code == 0
        kept = json.loads((tmp_path / "undo.json").read_text("utf-8"))
        kept["changes"][0]["before"] = {**kept["changes"][0]["after"], **before}
        if before.get("kind") == "List":
            kept["changes"][0]["before"] = before
        (tmp_path / "undo.json").write_text(json.dumps(kept), "utf-8")
        asked = len(server.requests)
        refused(remediate(server, remediate_listeners_undo=True), "Nothing was changed:", path)
        assert [each.line for each in server.requests[asked:] if not each.line.startswith("GET ")] == []


def test_a_reviewed_file_with_more_than_a_sidecar_is_refused_before_anything_is_sent(remediate, reviewed, tmp_path):
    with Mesh() as server:
        files = reviewed(server)
        (path,) = (tmp_path / "sidecars").rglob("*.yaml")
        manifest = yaml.safe_load(path.read_text("utf-8"))
        manifest["metadata"]["finalizers"] = ["a/b"]
        path.write_text(yaml.safe_dump(manifest), "utf-8")
        refused(
            remediate(server, **files),
            f"Nothing was changed: {path}: metadata.finalizers: this field does not belong here",
        )
        assert [
            each.line for each in server.requests if f"/apis/{GROUP}" in each.path and not each.line.startswith("GET ")
        ] == []
