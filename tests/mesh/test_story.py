# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A real istiod, agent and Envoy. Each row asks two that know nothing of each other: the gate, and a client in another pod of the mesh."""

from __future__ import annotations

import json

import pytest

from ansible_collections.meshops.istio_precheck.tests.mesh.meshes import ANSWERED, HELLO, REFUSED, application

REMEDIATE = "meshops.istio_precheck.remediate_listeners"
OPEN = {"check_listeners_remediate_unreachable": True}
"""This istiod delivers to the pod IP, so the port is closed today."""
NS = "story"
FINDING = f"IST0143/{NS}/Deployment/shop/8080"

UNHARMED = {"another port over HTTP": ANSWERED, "one over TCP": HELLO, "one of no Service": HELLO, "egress": ANSWERED}


@pytest.fixture(scope="module")
def story(mesh):
    """`shop` on 127.0.0.1:8080 and on other ports that are reached, a client, and a neighbour for its egress."""
    from testbed import mesh as made

    shop = application("http=127.0.0.1:8080", "http=0.0.0.0:8081", "tcp=0.0.0.0:9090", "tcp=0.0.0.0:9091")
    mesh.deploy(
        NS,
        made.deployment("shop", NS, shop),
        made.service("shop", NS, http=(80, 8080), http_admin=(8081, 8081), tcp=(9090, 9090)),
        made.deployment("client", NS, made.container("app", made.REACH, ["sleep"])),
        made.deployment("neighbour", NS, application("http=0.0.0.0:8080")),
        made.service("neighbour", NS, http=(80, 8080)),
    )
    assert mesh.comes_to(ANSWERED, lambda: mesh.http(NS, "neighbour", 80)) == ANSWERED
    yield mesh
    mesh.cluster.delete_namespace(NS)


def shop(mesh) -> str:
    return mesh.http(NS, "shop", 80)


def others(mesh) -> dict[str, str]:
    return {
        "another port over HTTP": mesh.http(NS, "shop", 8081),
        "one over TCP": mesh.tcp(NS, "shop", 9090),
        "one of no Service": mesh.undeclared(NS, "shop", 9091),
        "egress": mesh.http(NS, "neighbour", 80, client="shop"),
    }


def shut(played) -> bool:
    """The gate says that the upgrade must wait, because of the shop's port and of nothing else."""
    return (played.code, played.passed, played.ids, played.result["unchecked"]) == (2, False, [FINDING], [])


def remediated(played) -> bool:
    """The gate is open, and knows that it is so because something delivers the port to localhost."""
    known = [record["id"] for record in played.result["remediated"]]
    return (played.code, played.passed, played.ids, known) == (0, True, [], [FINDING])


def test_the_remedy_makes_the_port_answer_harms_no_other_and_its_undo_takes_it_back(story, tmp_path):
    assert story.comes_to(REFUSED, lambda: shop(story)) == REFUSED
    assert others(story) == UNHARMED
    before = story.gate(NS, check_listeners_remediation_dir=str(tmp_path / "sidecars"), **OPEN)
    assert shut(before), before.output

    undo = {"remediate_listeners_undo_file": str(tmp_path / "undo.json")}
    applied = story.gate(NS, playbook=REMEDIATE, remediate_listeners_dir=str(tmp_path / "sidecars"), **undo, **OPEN)
    assert applied.code == 0, applied.output
    assert story.comes_to(ANSWERED, lambda: shop(story)) == ANSWERED
    assert others(story) == UNHARMED
    after = story.gate(NS)
    assert remediated(after), after.output

    undone = story.gate(NS, playbook=REMEDIATE, remediate_listeners_undo=True, **undo)
    assert undone.code == 0, undone.output
    assert story.comes_to(REFUSED, lambda: shop(story)) == REFUSED
    assert others(story) == UNHARMED
    again = story.gate(NS)
    assert shut(again), again.output


def test_with_the_mesh_policy_LOCALHOST_the_port_answers(story):
    story.configure(inboundTrafficPolicy={"mode": "LOCALHOST"})
    try:
        assert story.comes_to(ANSWERED, lambda: shop(story)) == ANSWERED
        played = story.gate(NS)
        assert remediated(played), played.output
    finally:
        story.configure()
    assert story.comes_to(REFUSED, lambda: shop(story)) == REFUSED
    played = story.gate(NS)
    assert shut(played), played.output


def test_the_opt_out_that_ended_with_1_20_changes_nothing(story):
    opt_out = {"PILOT_ENABLE_INBOUND_PASSTHROUGH": "false"}
    story.restart_istiod(opt_out)
    try:
        seen = [
            {each["name"]: each.get("value") for each in pod["spec"]["containers"][0]["env"]}
            for pod in story.cluster.get("pods", "--namespace", "istio-system")["items"]
        ]
        assert [each.items() >= opt_out.items() for each in seen] == [True]
        assert story.stays(lambda: shop(story)) == {REFUSED}
        played = story.gate(NS)
        assert shut(played), played.output
    finally:
        story.restart_istiod()


def sidecar(workload="shop", namespace=NS, entry=None, **labels):
    listed = {"port": {"number": 8080, "protocol": "HTTP", "name": "http"}, "defaultEndpoint": "127.0.0.1:8080"}
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "Sidecar",
        "metadata": {"name": workload, "namespace": namespace, "labels": labels},
        "spec": {"workloadSelector": {"labels": {"app": workload}}, "ingress": [{**listed, **(entry or {})}]},
    }


def envoy_filter(**labels):
    """The same by another way: the cluster of the port leads to localhost."""
    address = {"socket_address": {"address": "127.0.0.1", "port_value": 8080}}
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
    value = {"type": "STATIC", "load_assignment": {"cluster_name": "inbound|8080||", "endpoints": endpoints}}
    return {
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "EnvoyFilter",
        "metadata": {"name": "shop", "namespace": NS, "labels": labels},
        "spec": {
            "workloadSelector": {"labels": {"app": "shop"}},
            "configPatches": [
                {
                    "applyTo": "CLUSTER",
                    "match": {"context": "SIDECAR_INBOUND", "cluster": {"portNumber": 8080}},
                    "patch": {"operation": "MERGE", "value": value},
                }
            ],
        },
    }


@pytest.mark.parametrize("resource", [sidecar, envoy_filter])
def test_what_is_labelled_for_another_revision_changes_nothing(story, resource):
    given = resource(**{"istio.io/rev": "another"})
    story.cluster.apply([given])
    try:
        assert story.stays(lambda: shop(story)) == {REFUSED}
        played = story.gate(NS)
        assert shut(played), played.output
    finally:
        story.cluster.kubectl("delete", given["kind"].lower(), "shop", "--namespace", NS)


def test_the_same_sidecar_without_the_label_is_in_effect(story):
    story.cluster.apply([sidecar()])
    try:
        assert story.comes_to(ANSWERED, lambda: shop(story)) == ANSWERED
        played = story.gate(NS)
        assert remediated(played), played.output
    finally:
        story.cluster.kubectl("delete", "sidecar", "shop", "--namespace", NS)
    assert story.comes_to(REFUSED, lambda: shop(story)) == REFUSED


def reached(mesh) -> str:
    """The client's proxy does not know the Service either, and passes bytes on: so there is no 503, but a connection that is reset."""
    return ANSWERED if shop(mesh) == ANSWERED else "cut off"


def test_a_sidecar_in_a_namespace_that_selectors_leave_out_changes_nothing(story):
    story.cluster.apply([sidecar()])
    try:
        assert story.comes_to(ANSWERED, lambda: shop(story)) == ANSWERED
        story.configure(discoverySelectors=[{"matchLabels": {"story": "told"}}])
        assert story.comes_to("cut off", lambda: reached(story)) == "cut off"
        assert story.stays(lambda: reached(story)) == {"cut off"}
        assert shut(played := story.gate(NS, **OPEN)), played.output
        assert [found["remedy"] for found in played.result["findings"]] == ["change_bind"]
        story.cluster.kubectl("label", "namespace", NS, "story=told")
        assert story.comes_to(ANSWERED, lambda: shop(story)) == ANSWERED
        assert remediated(played := story.gate(NS)), played.output
    finally:
        story.cluster.kubectl("label", "namespace", NS, "story-")
        story.configure()
        story.cluster.kubectl("delete", "sidecar", "shop", "--namespace", NS)
    assert story.comes_to(REFUSED, lambda: shop(story)) == REFUSED


@pytest.mark.parametrize(
    "entry, answer",
    [
        ({"captureMode": "NONE", "bind": "127.0.0.2"}, REFUSED),
        ({"defaultEndpoint": "0.0.0.0:8080"}, REFUSED),
        ({"bind": "127.0.0.2"}, ANSWERED),
        ({"captureMode": "IPTABLES"}, ANSWERED),
    ],
)
def test_an_entry_counts_where_the_proxy_takes_connections_to_it(story, entry, answer):
    story.cluster.apply([sidecar(entry=entry)])
    try:
        assert story.comes_to(answer, lambda: shop(story)) == answer
        assert story.stays(lambda: shop(story)) == {answer}
        played = story.gate(NS)
        assert (remediated if answer == ANSWERED else shut)(played), played.output
        assert {each for found in played.result["findings"] for each in found["listeners"]} <= {"127.0.0.1:8080"}
    finally:
        story.cluster.kubectl("delete", "sidecar", "shop", "--namespace", NS)
    assert story.comes_to(REFUSED, lambda: shop(story)) == REFUSED


def test_a_sidecar_whose_selector_the_pod_comes_to_meet_is_in_effect_until_the_next_pod_comes(story):
    """The label is the pod's and not its template's."""
    later = sidecar()
    later["spec"]["workloadSelector"]["labels"] = {"fix": "later"}
    story.cluster.apply([later])
    chosen = ("pods", "--namespace", NS, "--selector=app=shop")
    try:
        assert story.stays(lambda: shop(story)) == {REFUSED}
        assert shut(played := story.gate(NS)), played.output
        story.cluster.kubectl("label", *chosen, "fix=later")
        assert story.comes_to(ANSWERED, lambda: shop(story)) == ANSWERED
        assert shut(played := story.gate(NS)), played.output
        assert [found["impact"] for found in played.result["findings"]] == ["breaks_on_upgrade"]
    finally:
        story.cluster.kubectl("label", *chosen, "fix-")
        story.cluster.kubectl("delete", "sidecar", "shop", "--namespace", NS)
    assert story.comes_to(REFUSED, lambda: shop(story)) == REFUSED


def not_intercepted(name, namespace):
    """A workload of interception mode NONE: no rules of iptables, and a proxy that knows it, and that it may not listen below port 1024."""
    from testbed import mesh as made

    workload = made.deployment(name, namespace, application("http=127.0.0.1:8080"))
    template = workload["spec"]["template"]
    template["metadata"]["annotations"]["sidecar.istio.io/interceptionMode"] = "NONE"
    spec = template["spec"]
    spec["initContainers"] = [each for each in spec["initContainers"] if each["name"] != "istio-init"]
    proxy = next(each for each in spec["containers"] if each["name"] == "istio-proxy")
    next(each for each in proxy["env"] if each["name"] == "ISTIO_META_INTERCEPTION_MODE")["value"] = "NONE"
    proxy["env"].append({"name": "ISTIO_META_UNPRIVILEGED_POD", "value": "true"})
    return workload


def test_in_mode_none_the_proxy_is_met_where_it_listens_itself(story):
    from testbed import mesh as made

    place = "story-none"
    finding = f"IST0143/{place}/Deployment/plain/8080"
    try:
        client = made.deployment("client", place, made.container("app", made.REACH, ["sleep"]))
        story.deploy(place, not_intercepted("plain", place), made.service("plain", place, http=(80, 8080)), client)

        def ask():
            return story.http(place, "plain", 80)

        for entry, answer in (
            (None, REFUSED),
            ({"bind": "127.0.0.1"}, REFUSED),
            ({"bind": "0.0.0.0"}, REFUSED),
            ({"captureMode": "IPTABLES"}, REFUSED),
            ({}, ANSWERED),
        ):
            if entry is not None:
                story.cluster.apply([sidecar("plain", place, entry)])
            assert story.comes_to(answer, ask) == answer, entry
            assert story.stays(ask) == {answer}, entry
            played = story.gate(place)
            found = {name: [each["id"] for each in played.result[name]] for name in ("findings", "remediated")}
            expected = ("remediated", "findings") if answer == ANSWERED else ("findings", "remediated")
            assert found == {expected[0]: [finding], expected[1]: []}, (entry, played.output)
            if entry is not None:
                story.cluster.kubectl("delete", "sidecar", "plain", "--namespace", place)
    finally:
        story.cluster.delete_namespace(place)


def test_a_rewritten_probe_of_a_port_on_localhost_fails_as_the_gate_says(mesh):
    from testbed import mesh as made

    place = "story-probes"
    asked = {"httpGet": {"path": "/", "port": 8080, "scheme": "HTTP"}, "timeoutSeconds": 1}
    rewritten = {"httpGet": {"path": "/app-health/app/readyz", "port": 15020}, "periodSeconds": 1}
    workloads = [
        made.deployment(
            name,
            place,
            application(f"http={address}:8080", readinessProbe=rewritten),
            {"/app-health/app/readyz": asked},
        )
        for name, address in (("hidden", "127.0.0.1"), ("open", "0.0.0.0"))
    ]
    services = [made.service(name, place, http=(80, 8080)) for name in ("hidden", "open")]
    try:
        mesh.deploy(place, *workloads, *services, ready=False)

        def ready(name):
            pods = mesh.cluster.get("pods", "--namespace", place, f"--selector=app={name}")["items"]
            states = [state for pod in pods for state in pod["status"].get("containerStatuses", ())]
            return json.dumps({state["name"]: state["ready"] for state in states}, sort_keys=True)

        healthy, unhealthy = '{"app": true, "istio-proxy": true}', '{"app": false, "istio-proxy": true}'
        assert mesh.comes_to(healthy, lambda: ready("open"), 90) == healthy
        assert mesh.comes_to(unhealthy, lambda: ready("hidden"), 60) == unhealthy
        assert mesh.stays(lambda: ready("hidden")) == {unhealthy}
        played = mesh.gate(place)
        assert played.ids == [f"IST0143/{place}/Deployment/hidden/8080"], played.output
        said = [(probe["id"], probe["port"], probe["sidecar_helps"]) for probe in played.result["failing_probes"]]
        assert said == [(f"PROBE/{place}/Deployment/hidden/app/readiness", 8080, False)]
    finally:
        mesh.cluster.delete_namespace(place)
