# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The inventory of docs/many-clusters.md, over API servers that each answer in another way."""

from __future__ import annotations

import contextlib
import json

import pytest
import yaml

from ansible_collections.meshops.istio_precheck.tests.helpers import cluster, fault_server

FORBIDDEN = (
    'pods "web" is forbidden: User "jane" cannot create resource "pods/exec" in API group "" in the namespace "shop"'
)


def serve(binds, exec_allowed=True):
    lists = {
        "/api/v1/pods": [cluster.pod()],
        "/api/v1/services": [cluster.service()],
        "/api/v1/replicationcontrollers": [],
    }
    istio = {f"/api/v1/namespaces/istio-system/{kind}": [] for kind in ("pods", "configmaps")}
    read = fault_server.says(
        fault_server.out(f"LISTEN 0 4096 {binds} 0.0.0.0:*\n"), fault_server.status(fault_server.SUCCESS)
    )
    refuse = fault_server.answers(fault_server.http(403, fault_server.refusal(403, "Forbidden", FORBIDDEN)))
    return fault_server.ApiServer({**lists, **istio}, read if exec_allowed else refuse)


@pytest.fixture()
def example_inventory(example, tmp_path):
    """The example with servers of this machine behind its names: `east` is clean, `west` has a finding, `south` forbids exec, `here` cannot be reached."""
    with contextlib.ExitStack() as stack:
        servers = {
            "east": stack.enter_context(serve("0.0.0.0:8080")),
            "west": stack.enter_context(serve("127.0.0.1:8080")),
            "south": stack.enter_context(serve("127.0.0.1:8080", exec_allowed=False)),
        }
        named = [name for name in servers if name != "south"]
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": name, "cluster": {"server": servers[name].url}} for name in named],
            "users": [{"name": "jane", "user": {"token": "CANARY-kubeconfig"}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": "jane"}} for name in named],
        }
        (tmp_path / ".kube").mkdir()
        (tmp_path / ".kube" / "config").write_text(json.dumps(config), encoding="utf-8")  # `~` of the test's home
        inventory = example("many-clusters.md", "ansible_connection: local")
        hosts = inventory["clusters"]["hosts"]
        assert list(hosts) == ["east", "west", "south", "here"] and hosts["here"] == {}
        del hosts["south"]["check_listeners_ca_cert"]
        hosts["south"]["check_listeners_host"] = servers["south"].url
        hosts["here"] = {"check_listeners_host": "http://127.0.0.1:9", "check_listeners_api_key": "CANARY-here"}
        (tmp_path / "clusters.yml").write_text(yaml.safe_dump(inventory, sort_keys=False), encoding="utf-8")
        yield str(tmp_path / "clusters.yml"), servers


@pytest.fixture()
def played(play, example_inventory, monkeypatch):
    monkeypatch.setenv("SOUTH_TOKEN", "CANARY-token")
    monkeypatch.setenv("ANSIBLE_SHOW_CUSTOM_STATS", "1")
    inventory, servers = example_inventory
    return play("-i", inventory), servers


def test_four_clusters_each_have_a_verdict_of_their_own_and_none_hides_another(played):
    found, servers = played
    assert found.code == 2
    assert {host: facts["check_listeners_passed"] for host, facts in found.facts.items()} == {
        "east": True,
        "west": False,
        "south": False,
        "here": False,
    }
    assert found.verdict("east").startswith(
        "Nothing stands in the way of the upgrade. Checked 1 port of 1 workload; read 1 of 1 pod"
    )
    assert found.verdict("west").startswith("shop: Deployment web\n") and "port 8080: impact unknown" in found.verdict(
        "west"
    )
    assert "Could not check the cluster: no pod may be read: User" in found.verdict(
        "south"
    ) and "1 pod not checked, forbidden" in found.verdict("south")
    assert "127.0.0.1:9 cannot be reached" in found.verdict("here")
    sent = {
        host: {value for asked in server.requests for value in asked.all("Authorization")}
        for host, server in servers.items()
    }
    assert sent == {
        "east": {"Bearer CANARY-kubeconfig"},
        "west": {"Bearer CANARY-kubeconfig"},
        "south": {"Bearer CANARY-token"},
    }
    assert "CANARY" not in found.output

    # the summary, once and before the verdicts
    (summary,) = [task for task in found.output.split("TASK [") if "Summarize all clusters]" in task.splitlines()[0]]
    lines = json.loads(summary[summary.index("{") : summary.rindex("}") + 1])["msg"]
    assert [line.split()[0] for line in lines] == ["east", "west", "south", "here", "1"]
    for host, line in zip(found.facts, lines):
        assert found.verdict(line.split()[0]).splitlines()[-1] in line, host
    assert lines[-1] == "1 of 4 clusters may be upgraded."

    # set_stats, by host
    stats = json.loads(found.output[found.output.index("RUN: {") + 5 :].splitlines()[0])["check_listeners"]
    assert {host: entry["passed"] for host, entry in stats.items()} == {
        "east": True,
        "west": False,
        "south": False,
        "here": False,
    }
    assert stats["west"]["summary"]["findings"] == 1 and stats["here"]["summary"] == {}
    assert stats["west"]["verdict"].startswith("Do not upgrade yet: 1 port of unknown impact")


def test_hosts_that_are_the_same_cluster_are_not_several(play, monkeypatch):
    """As where a context is forgotten: nobody has looked at the cluster that the other host is named after."""
    monkeypatch.setenv("ANSIBLE_SHOW_CUSTOM_STATS", "1")
    with serve("0.0.0.0:8080") as server, serve("0.0.0.0:8080") as other:
        hosts = {name: {"check_listeners_host": server.url} for name in ("east", "west")}
        hosts["north"] = {"check_listeners_host": other.url}
        found = play(inventory=hosts, check_listeners_api_key="abc")
    assert found.code == 2, found.output
    said = f"Do not upgrade yet: east and west are the same cluster ({server.url}). "
    passed = {"east": False, "west": False, "north": True}
    assert {host: facts["check_listeners_passed"] for host, facts in found.facts.items()} == passed
    assert all(found.verdict(host).startswith(said) for host in ("east", "west")), found.output
    assert said.strip() in found.output and "1 of 3 clusters may be upgraded." in found.output
    stats = json.loads(found.output[found.output.index("RUN: {") + 5 :].splitlines()[0])["check_listeners"]
    assert {host: entry["passed"] for host, entry in stats.items()} == passed
    assert stats["west"]["summary"]["pods"] == 1 and stats["west"]["verdict"].startswith(said)


def test_awx_credentials_reach_the_cluster(play, monkeypatch, tmp_path, example):
    """The variables that the two types of credentials set; an inventory of one host without any."""
    injector = example("many-clusters.md", "tower.filename")
    with serve("0.0.0.0:8080") as server:
        monkeypatch.setenv("AWX_JOB", "1")
        for settings in (
            {"K8S_AUTH_HOST": server.url, "K8S_AUTH_API_KEY": "abc", "K8S_AUTH_VERIFY_SSL": "False"},
            {next(iter(injector["env"])): "kubeconfig"},
        ):
            config = {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "a",
                "clusters": [{"name": "a", "cluster": {"server": server.url}}],
            }
            config |= {
                "users": [{"name": "a", "user": {"token": "abc"}}],
                "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
            }
            (tmp_path / "kubeconfig").write_text(json.dumps(config), encoding="utf-8")
            task = {
                "environment": {
                    name: str(tmp_path / value) if value == "kubeconfig" else value for name, value in settings.items()
                }
            }
            host = {
                "hosts": "all",
                "connection": "local",
                "gather_facts": False,
                "vars": {"ansible_python_interpreter": "{{ ansible_playbook_python }}"},
            }
            found = play(
                playbook=[{**host, **task, "roles": ["meshops.istio_precheck.check_listeners"]}], inventory={"one": {}}
            )
            assert (found.code, found.facts["one"]["check_listeners_passed"]) == (0, True)
