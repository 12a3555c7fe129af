# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The gate on a real cluster: real programs in real pods, found, explained, and given their remedy."""

from __future__ import annotations

import json

import pytest
import yaml

from ansible_collections.meshops.istio_precheck.tests.helpers.playing import play

MESSAGE = "Port {} is exposed in a Service but listens on localhost. It will not be exposed to other pods."

# Workload, port, pods, Service port and its name. Each program is one of those on Istio's page about IST0143.
ON_LOCALHOST = [
    ("go-localhost", 8080, 2, 8080, "http"),
    ("netcat", 8080, 1, 8080, "tcp"),
    ("node-localhost", 8080, 1, 8080, "http"),
    ("python-localhost", 8083, 1, 80, "http"),
]

NAMESPACES = ["ist0143", "cured", "awkward"]

WHY = "It listens on 127.0.0.1:{0} only: today istiod 1.9 delivers to 127.0.0.1, after the upgrade a newer istiod delivers to the pod IP."


@pytest.fixture(scope="module")
def gate(workloads, tmp_path_factory):
    """One run of the gate over all the workloads, which the tests below look at from several sides."""
    place = tmp_path_factory.mktemp("gate")
    played = play(
        check_listeners_kubeconfig=str(workloads.kubeconfig),
        check_listeners_namespaces=NAMESPACES,
        check_listeners_snapshot_dest=str(place / "snapshot.json.gz"),
        check_listeners_remediation_dir=str(place / "sidecars"),
    )
    played.place = place
    return played


def finding(played, namespace, name):
    found = [f for f in played.result["findings"] if f["namespace"] == namespace and f["workload"]["name"] == name]
    assert len(found) == 1
    return found[0]


def test_without_namespaces_it_looks_at_all_of_them(gate, workloads):
    everywhere = play(check_listeners_kubeconfig=str(workloads.kubeconfig))
    assert set(gate.ids) <= set(everywhere.ids)
    assert everywhere.result["summary"]["pods"] >= gate.result["summary"]["pods"]


def test_the_play_fails_while_there_is_something_to_fail_on(gate):
    assert gate.code == 2
    assert gate.passed is False


def test_it_finds_the_programs_on_localhost_and_no_others(gate):
    assert gate.ids == sorted(
        [f"IST0143/ist0143/Deployment/{name}/{port}" for name, port, *_rest in ON_LOCALHOST]
        + ["IST0143/awkward/Deployment/no-ss/8080", "IST0143/awkward/Deployment/two-ports/8080"]
    )


@pytest.mark.parametrize(("name", "port", "pods", "service_port", "port_name"), ON_LOCALHOST)
def test_a_finding_says_what_where_why_and_how_urgent(gate, name, port, pods, service_port, port_name):
    found = finding(gate, "ist0143", name)
    assert found["code"] == "IST0143"
    assert found["level"] == "Error"
    assert found["message"] == MESSAGE.format(port)
    assert found["workload"] == {"kind": "Deployment", "name": name}
    assert found["port"] == port
    assert found["listeners"] == [f"127.0.0.1:{port}"]
    assert found["services"] == [{"name": name, "port": service_port, "port_name": port_name}]
    assert len(found["pods"]) == pods
    assert all(pod.startswith(f"{name}-") for pod in found["pods"])
    assert found["impact"] == "breaks_on_upgrade"
    assert found["reason"] == WHY.format(port)
    assert found["remedy"] == "create_sidecar"


def test_a_pod_without_ss_is_read_from_proc(gate):
    assert finding(gate, "awkward", "no-ss")["listeners"] == ["127.0.0.1:8080"]


def test_a_pod_that_cannot_be_read_is_unchecked_and_fails_the_gate(gate):
    unread = [(entry["namespace"], entry["workload"], entry["reason"]) for entry in gate.result["unchecked"]]
    assert unread == [("awkward", {"kind": "Deployment", "name": "distroless"}, "no_tool")]
    only_unread = play(
        check_listeners_snapshot_src=str(gate.place / "snapshot.json.gz"),
        check_listeners_namespaces=NAMESPACES,
        check_listeners_waivers=[{"match": "namespace != 'elsewhere'", "reason": "for the test"}],
    )
    assert only_unread.code == 2
    assert only_unread.result["findings"] == []
    assert only_unread.result["unchecked"] == gate.result["unchecked"]


def test_the_verdict_comes_last_and_names_every_finding_and_unread_pod(gate):
    verdict = "".join(gate.output.split("TASK [")[-2:])  # the list, and the sentence that the play ends with
    for found in gate.result["findings"]:
        assert found["id"] in verdict
    assert gate.result["unchecked"][0]["pod"] in verdict
    assert "Do not upgrade yet: 6 ports break on upgrade, 1 pod not checked. " in verdict


def test_the_sidecar_for_istios_own_example_is_the_one_on_istios_page(gate):
    written = yaml.safe_load(
        (gate.place / "sidecars" / "ist0143" / "precheck-deployment-netcat.yaml").read_text("utf-8")
    )
    assert written == {
        "apiVersion": "networking.istio.io/v1beta1",
        "kind": "Sidecar",
        # The page calls it `ratings`, after another example; ours is named after the workload that it is for.
        "metadata": {"name": "precheck-deployment-netcat", "namespace": "ist0143"},
        "spec": {
            "workloadSelector": {"labels": {"app": "netcat"}},
            "ingress": [
                {"port": {"number": 8080, "protocol": "TCP", "name": "tcp"}, "defaultEndpoint": "127.0.0.1:8080"}
            ],
        },
    }


def test_a_sidecar_lists_all_target_ports_of_its_workload(gate):
    written = yaml.safe_load(
        (gate.place / "sidecars" / "awkward" / "precheck-deployment-two-ports.yaml").read_text("utf-8")
    )
    ingress = {listener["port"]["number"]: listener.get("defaultEndpoint") for listener in written["spec"]["ingress"]}
    assert ingress == {8080: "127.0.0.1:8080", 9090: "127.0.0.1:9090"}


def test_the_files_are_those_of_the_findings_and_the_api_server_takes_them(gate, workloads):
    files = sorted((gate.place / "sidecars").rglob("*.yaml"))
    assert {path.stem for path in files} == {r["manifest"]["metadata"]["name"] for r in gate.result["remediations"]}
    for path in files:
        workloads.kubectl("apply", "--dry-run=server", "--filename", path)


def test_the_recorded_cluster_gives_the_same_report(gate):
    record = str(gate.place / "snapshot.json.gz")
    again = play(check_listeners_snapshot_src=record, check_listeners_namespaces=NAMESPACES)
    assert again.code == 2
    assert again.report() == gate.report()


def test_the_cured_cluster_passes(workloads):
    cured = play(check_listeners_kubeconfig=str(workloads.kubeconfig), check_listeners_namespaces=["cured"])
    assert cured.code == 0, cured.output
    assert cured.passed is True
    assert cured.result["findings"] == []
    assert cured.result["unchecked"] == []
    assert cured.result["summary"]["pods_read"] >= 4


# What is wrong, what the message must name.
BAD = [
    ({"check_listeners_kubeconfig": "/nowhere/kubeconfig"}, "/nowhere/kubeconfig"),
    ({"check_listeners_namespaces": ["nowhere"]}, "namespaces: the cluster has no namespace 'nowhere'"),
    ({"check_listeners_scope": "everything"}, "check_listeners_scope"),
    ({"check_listeners_context": "nowhere"}, "context"),
]


@pytest.mark.parametrize(("variables", "named"), BAD, ids=[named for _variables, named in BAD])
def test_bad_input_gets_one_message_that_names_it(workloads, variables, named):
    played = play(**{"check_listeners_kubeconfig": str(workloads.kubeconfig), **variables})
    assert played.code != 0
    assert named in played.output
    assert "Traceback" not in played.output


def test_an_unreachable_server_is_named():
    played = play(check_listeners_host="https://127.0.0.1:1", check_listeners_api_key="none")
    assert played.code != 0
    assert "https://127.0.0.1:1 cannot be reached" in played.output
    assert "Traceback" not in played.output


LISTS = [
    {"apiGroups": [""], "resources": ["services", "pods"], "verbs": ["list"]},
    {"apiGroups": ["networking.istio.io"], "resources": ["sidecars", "serviceentries"], "verbs": ["list"]},
]
EXEC = {"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["get", "create"]}


def test_a_refused_list_names_the_verb_and_the_resource(workloads):
    kubeconfig = workloads.kubeconfig_for(
        "lists-no-services", [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]
    )
    played = play(check_listeners_kubeconfig=str(kubeconfig))
    assert played.code != 0
    assert 'cannot list resource "services"' in played.output.replace('\\"', '"')
    assert "Traceback" not in played.output


def test_a_refused_exec_names_the_verbs_and_what_was_listed_is_kept(workloads):
    kubeconfig = workloads.kubeconfig_for("lists-only", LISTS)
    played = play(check_listeners_kubeconfig=str(kubeconfig), check_listeners_namespaces=["cured"])
    assert played.code != 0
    assert "pods/exec" in played.output
    assert {entry["reason"] for entry in played.result["unchecked"]} == {"forbidden"}
    assert "Traceback" not in played.output


def test_rights_in_one_namespace_are_enough_for_it(workloads):
    kubeconfig = workloads.kubeconfig_for("cured-only", [*LISTS, EXEC], namespace="cured")
    played = play(
        check_listeners_kubeconfig=str(kubeconfig),
        check_listeners_namespaces=["cured"],
        check_listeners_istio_namespace="cured",
    )
    assert played.code == 0, played.output
    assert played.result["summary"]["pods_read"] >= 4


def test_a_snapshot_holds_no_secret(gate, workloads, tmp_path):
    path = tmp_path / "snapshot.json"
    play(check_listeners_kubeconfig=str(workloads.kubeconfig), check_listeners_snapshot_dest=str(path))
    text = path.read_text("utf-8")
    assert path.stat().st_mode & 0o077 == 0
    assert "managedFields" not in text
    assert "last-applied" not in text
    variables = {
        e["name"] for pod in json.loads(text)["pods"] for c in pod["spec"]["containers"] for e in c.get("env", ())
    }
    assert variables <= {
        "ISTIO_META_INTERCEPTION_MODE",
        "REWRITE_PROBE_LEGACY_LOCALHOST_DESTINATION",
        "ISTIO_KUBE_APP_PROBERS",
    }
