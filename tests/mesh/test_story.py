# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A real istiod, agent and Envoy. Each row asks two that know nothing of each other: the gate, and a client in another pod of the mesh.

What can stand beside the rest is a row of one namespace, with a workload of its own: all of them start at once, and are asked at once. What changes the
mesh for all has a test of its own.
"""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.meshops.istio_precheck.tests.helpers.playing import Played
from ansible_collections.meshops.istio_precheck.tests.mesh.meshes import (
    ANSWERED,
    HELLO,
    OPT_OUT,
    REFUSED,
    Mesh,
    Object,
    Question,
    application,
)

REMEDIATE = "meshops.istio_precheck.remediate_listeners"
OPEN = {"check_listeners_remediate_unreachable": True}
"""This istiod delivers to the pod IP, so the port is closed today."""


def sidecar(workload: str, namespace: str, entry: Object | None = None, **labels: str) -> Object:
    """One that lists port 8080, which it has delivered to localhost if `entry` does not say otherwise."""
    listed = {"port": {"number": 8080, "protocol": "HTTP", "name": "http"}, "defaultEndpoint": "127.0.0.1:8080"}
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "Sidecar",
        "metadata": {"name": workload, "namespace": namespace, "labels": labels},
        "spec": {"workloadSelector": {"labels": {"app": workload}}, "ingress": [{**listed, **(entry or {})}]},
    }


def envoy_filter(workload: str, namespace: str, value: Object, **labels: str) -> Object:
    """What patches the cluster of port 8080."""
    patch = {
        "applyTo": "CLUSTER",
        "match": {"context": "SIDECAR_INBOUND", "cluster": {"portNumber": 8080}},
        "patch": {"operation": "MERGE", "value": value},
    }
    return {
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "EnvoyFilter",
        "metadata": {"name": workload, "namespace": namespace, "labels": labels},
        "spec": {"workloadSelector": {"labels": {"app": workload}}, "configPatches": [patch]},
    }


TO_LOCALHOST = {
    "type": "STATIC",
    "load_assignment": {
        "cluster_name": "inbound|8080||",
        "endpoints": [
            {
                "lb_endpoints": [
                    {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 8080}}}}
                ]
            }
        ],
    },
}
REFUSED_BY_ENVOY = {"connect_timeout": "-1s"}
ANOTHER = {"istio.io/rev": "another"}


def not_intercepted(workload: Object) -> Object:
    """In interception mode NONE: no rules of iptables, and a proxy that knows it, and that it may not listen below port 1024."""
    template = workload["spec"]["template"]
    template["metadata"]["annotations"]["sidecar.istio.io/interceptionMode"] = "NONE"
    spec = template["spec"]
    spec["initContainers"] = [each for each in spec["initContainers"] if each["name"] != "istio-init"]
    proxy = next(each for each in spec["containers"] if each["name"] == "istio-proxy")
    next(each for each in proxy["env"] if each["name"] == "ISTIO_META_INTERCEPTION_MODE")["value"] = "NONE"
    proxy["env"].append({"name": "ISTIO_META_UNPRIVILEGED_POD", "value": "true"})
    return workload


# ---------------------------------------------------------------------------------------------------------------------
# Rows beside each other

ROWS_NS = "rows"
NOBODY = "connection refused"
"""What a client gets where no proxy is in between and nobody listens."""


class Row(t.NamedTuple):
    """A workload with a Service, and what becomes of its port 8080."""

    answer: str
    """The client's."""
    said: str
    """The impact of the gate's finding, or `remediated`."""
    entry: Object | None = None
    """What its Sidecar says of the port beside 127.0.0.1:8080; None for no Sidecar."""
    labels: Object = {}  # noqa: RUF012
    """Of its Sidecar, or else of its EnvoyFilter."""
    filter: Object | None = None
    bind: str = "127.0.0.1:8080"
    mode: str = "REDIRECT"
    v6: bool = False
    """Whether the Service is of IPv6 alone, and clients ask at the pod's second address."""
    by: str = "rule"
    """How the gate knows where it is delivered today."""
    then: str = ""
    """What comes when the pod is ready: `labelled`, a label of its Sidecar's selector for the pod; `listed`, its Sidecar, by which Envoy would not become
    ready; `refused`, an EnvoyFilter that Envoy refuses, after which the Sidecar goes."""


ROWS = {
    "no-sidecar": Row(REFUSED, "unreachable"),
    "a-sidecar": Row(ANSWERED, "remediated", {}),
    "a-sidecar-asked-over-ipv6": Row(NOBODY, "unreachable", {}, v6=True),
    "sidecar-of-another-revision": Row(REFUSED, "unreachable", {}, ANOTHER),
    "filter-of-another-revision": Row(REFUSED, "unreachable", labels=ANOTHER, filter=TO_LOCALHOST),
    "captured-by-none": Row(REFUSED, "unreachable", {"captureMode": "NONE", "bind": "127.0.0.2"}),
    "captured-by-iptables": Row(ANSWERED, "remediated", {"captureMode": "IPTABLES"}),
    "with-a-bind": Row(ANSWERED, "remediated", {"bind": "127.0.0.2"}),
    "to-the-pod-ip": Row(REFUSED, "unreachable", {"defaultEndpoint": "0.0.0.0:8080"}),
    "program-on-ipv6-localhost": Row(REFUSED, "unreachable", {}, bind="[::1]:8080"),
    "mode-none": Row(REFUSED, "unreachable", mode="NONE"),
    "mode-none-a-sidecar": Row(ANSWERED, "remediated", {}, mode="NONE"),
    "mode-none-asked-over-ipv6": Row(NOBODY, "unreachable", {}, mode="NONE", v6=True),
    "mode-none-bound-to-localhost": Row(REFUSED, "unreachable", {"bind": "127.0.0.1"}, mode="NONE", then="listed"),
    "mode-none-bound-to-all": Row(REFUSED, "unreachable", {"bind": "0.0.0.0"}, mode="NONE", then="listed"),
    "mode-none-not-bound": Row(REFUSED, "unreachable", {"captureMode": "IPTABLES"}, mode="NONE"),
    # The label is the pod's and not its template's, and so goes with the pod.
    "labelled-later": Row(ANSWERED, "breaks_on_upgrade", {}, then="labelled"),
    # Only the proxy knows that it goes on with the configuration before the one that it refused.
    "configuration-refused": Row(ANSWERED, "breaks_on_upgrade", {}, by="proxy", then="refused"),
}


def objects(name: str, row: Row) -> list[Object]:
    from testbed import mesh as made

    workload = made.deployment(name, ROWS_NS, application(f"http={row.bind}"))
    service = made.service(name, ROWS_NS, http=(80, 8080))
    if row.v6:
        service["spec"].update(ipFamilies=["IPv6"], ipFamilyPolicy="SingleStack")
    listed = sidecars(name, row) if row.then != "listed" else []
    filters = [envoy_filter(name, ROWS_NS, row.filter, **row.labels)] if row.filter else []
    return [not_intercepted(workload) if row.mode == "NONE" else workload, service, *listed, *filters]


def sidecars(name: str, row: Row) -> list[Object]:
    if row.entry is None:
        return []
    made = sidecar(name, ROWS_NS, row.entry, **row.labels)
    if row.then == "labelled":
        made["spec"]["workloadSelector"]["labels"] = {"fix": "later"}
    return [made]


def asked(mesh: Mesh) -> dict[str, Question]:
    return {
        name: mesh.of_pod(ROWS_NS, name, 8080, v6=True) if row.v6 else mesh.of_service(ROWS_NS, name, 80)
        for name, row in ROWS.items()
    }


ASKED_TO_PROBE = {"httpGet": {"path": "/", "port": 8080, "scheme": "HTTP"}, "timeoutSeconds": 1}
REWRITTEN = {"httpGet": {"path": "/app-health/app/readyz", "port": 15020}, "periodSeconds": 1}
PROBED = {"probed-on-localhost": "127.0.0.1", "probed": "0.0.0.0"}


def probed() -> list[Object]:
    from testbed import mesh as made

    workloads = [
        made.deployment(
            name,
            ROWS_NS,
            application(f"http={address}:8080", readinessProbe=REWRITTEN),
            {"/app-health/app/readyz": ASKED_TO_PROBE},
        )
        for name, address in PROBED.items()
    ]
    return [*workloads, *(made.service(name, ROWS_NS, http=(80, 8080)) for name in PROBED)]


def ready(mesh: Mesh, name: str) -> dict[str, bool]:
    """Of its containers."""
    pods = mesh.cluster.get("pods", "--namespace", ROWS_NS, f"--selector=app={name}")["items"]
    return {state["name"]: state["ready"] for pod in pods for state in pod["status"].get("containerStatuses", ())}


class Answers(t.NamedTuple):
    """What the clients got first and last, and what the gate said of all rows together."""

    first: dict[str, str]
    last: dict[str, str]
    played: Played
    probes: dict[str, dict[str, bool]]


def in_short(answers: dict[str, str]) -> dict[str, str]:
    return {name: NOBODY if NOBODY in answer else answer for name, answer in answers.items()}


@pytest.fixture(scope="module")
def rows(mesh):
    from testbed import mesh as made

    client = made.deployment("client", ROWS_NS, made.container("app", made.REACH, ["sleep"]))
    listed = [each for name, row in ROWS.items() for each in objects(name, row)]
    mesh.deploy(ROWS_NS, *listed, *probed(), client, ready=False)
    try:
        mesh.cluster.wait_ready(ROWS_NS, 240, but="probed-on-localhost")
        mesh.cluster.kubectl("label", "pods", "--namespace", ROWS_NS, "--selector=app=labelled-later", "fix=later")
        mesh.cluster.apply([each for name, row in ROWS.items() if row.then == "listed" for each in sidecars(name, row)])
        questions = asked(mesh)
        wanted = {name: row.answer for name, row in ROWS.items()}
        first = mesh.comes_to(wanted, lambda: in_short(mesh.answers(ROWS_NS, questions)))
        mesh.cluster.apply([envoy_filter("configuration-refused", ROWS_NS, REFUSED_BY_ENVOY)])
        mesh.keeps_to(wanted, lambda: in_short(mesh.answers(ROWS_NS, questions)))
        mesh.cluster.kubectl("delete", "sidecar", "configuration-refused", "--namespace", ROWS_NS)
        last = mesh.keeps_to(wanted, lambda: in_short(mesh.answers(ROWS_NS, questions)))
        probes = {name: ready(mesh, name) for name in PROBED}
        yield Answers(first, last, mesh.gate(ROWS_NS), probes)
    finally:
        mesh.forget(ROWS_NS)


def of_gate(played, workload: str) -> list[tuple[str, str]]:
    """What it says of the workload's port, and how it knows where that is delivered today."""
    return [
        (record["impact"] if part == "findings" else part, record["delivery"]["today"]["by"])
        for part in ("findings", "waived", "remediated", "not_listening")
        for record in played.result[part]
        if (record["workload"]["name"], record["port"]) == (workload, 8080)
    ]


@pytest.mark.parametrize("name", ROWS)
def test_the_gate_says_what_a_client_finds(rows, name):
    row = ROWS[name]
    assert (rows.first[name], rows.last[name]) == (row.answer, row.answer)
    ((said, by),) = of_gate(rows.played, name)
    assert said == row.said
    assert row.by in ("rule", by)


def test_the_opt_out_that_ended_with_1_20_changes_nothing(mesh, rows):
    """istiod has it all the time, and lists show it."""
    pods = mesh.cluster.get("pods", "--namespace", "istio-system")["items"]
    seen = [{each["name"]: each.get("value") for each in pod["spec"]["containers"][0]["env"]} for pod in pods]
    assert [each.items() >= OPT_OUT.items() for each in seen] == [True]
    assert rows.last["no-sidecar"] == REFUSED
    assert [said for said, _by in of_gate(rows.played, "no-sidecar")] == ["unreachable"]


def test_sockets_of_envoy_are_not_taken_for_the_programs(rows):
    found = {
        text
        for part in ("findings", "remediated")
        for record in rows.played.result[part]
        if record["workload"]["name"] in ROWS
        for text in record["listeners"]
    }
    assert found == {row.bind for row in ROWS.values()}


def test_a_rewritten_probe_of_a_port_on_localhost_fails_as_the_gate_says(rows):
    healthy, unhealthy = {"app": True, "istio-proxy": True}, {"app": False, "istio-proxy": True}
    assert rows.probes == {"probed": healthy, "probed-on-localhost": unhealthy}
    said = [(probe["id"], probe["port"], probe["sidecar_helps"]) for probe in rows.played.result["failing_probes"]]
    assert said == [(f"PROBE/{ROWS_NS}/Deployment/probed-on-localhost/app/readiness", 8080, False)]
    assert not of_gate(rows.played, "probed")


# ---------------------------------------------------------------------------------------------------------------------
# What changes the mesh, or the shop

NS, APART = "story", "story-apart"
FINDING = f"IST0143/{NS}/Deployment/shop/8080"
UNEXPORTED = f"IST0143/{APART}/Deployment/unexported/8080"
UNHARMED = {"another port over HTTP": ANSWERED, "one over TCP": HELLO, "one of no Service": HELLO, "egress": ANSWERED}


@pytest.fixture(scope="module")
def story(mesh):
    """`shop` on 127.0.0.1:8080 and on other ports that are reached, a client, a neighbour for its egress, and a workload whose Service nobody is told of."""
    from testbed import mesh as made

    shop = application("http=127.0.0.1:8080", "http=0.0.0.0:8081", "tcp=0.0.0.0:9090", "tcp=0.0.0.0:9091")
    unexported = made.service("unexported", APART, http=(80, 8080))
    unexported["metadata"]["annotations"] = {"networking.istio.io/exportTo": "~"}
    apart = [made.deployment("unexported", APART, application("http=127.0.0.1:8080")), unexported]
    mesh.deploy(APART, *apart, ready=False)
    mesh.deploy(
        NS,
        made.deployment("shop", NS, shop),
        made.service("shop", NS, http=(80, 8080), http_admin=(8081, 8081), tcp=(9090, 9090)),
        made.deployment("client", NS, made.container("app", made.REACH, ["sleep"])),
        made.deployment("neighbour", NS, application("http=0.0.0.0:8080")),
        made.service("neighbour", NS, http=(80, 8080)),
    )
    mesh.cluster.wait_ready(APART)
    assert mesh.comes_to(ANSWERED, lambda: mesh.http(NS, "neighbour", 80)) == ANSWERED
    yield mesh
    mesh.forget(NS, APART)


def shop(mesh) -> str:
    return mesh.http(NS, "shop", 80)


def others(mesh) -> dict[str, str]:
    questions = {
        "another port over HTTP": mesh.of_service(NS, "shop", 8081),
        "one over TCP": mesh.of_service(NS, "shop", 9090, "tcp"),
        "one of no Service": mesh.of_pod(NS, "shop", 9091, "tcp"),
    }
    egress = mesh.answers(NS, {"egress": mesh.of_service(NS, "neighbour", 80)}, client="shop")
    return {**mesh.answers(NS, questions), **egress}


def shut(played) -> bool:
    """The gate says that the upgrade must wait, because of the shop's port and of nothing else."""
    return (played.code, played.passed, played.ids, played.result["unchecked"]) == (2, False, [FINDING], [])


def remediated(played, *more: str) -> bool:
    """The gate is open, and knows that it is so because something delivers the port to localhost."""
    known = [record["id"] for record in played.result["remediated"]]
    return (played.code, played.passed, played.ids, known) == (0, True, [], [FINDING, *more])


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
    assert remediated(applied), applied.output  # by the check that the playbook ends with

    undone = story.gate(NS, playbook=REMEDIATE, remediate_listeners_undo=True, **undo)
    assert undone.code == 0, undone.output
    assert story.comes_to(REFUSED, lambda: shop(story)) == REFUSED
    assert others(story) == UNHARMED
    again = story.gate(NS)
    assert shut(again), again.output


def test_with_the_mesh_policy_LOCALHOST_the_port_answers_that_of_a_service_nobody_is_told_of_too(story):
    questions = {"shop": story.of_service(NS, "shop", 80), "unexported": story.of_pod(APART, "unexported", 8080)}

    def answers():
        return story.answers(NS, questions)

    assert story.comes_to(dict.fromkeys(questions, REFUSED), answers) == dict.fromkeys(questions, REFUSED)
    story.configure(inboundTrafficPolicy={"mode": "LOCALHOST"})
    try:
        assert story.comes_to(dict.fromkeys(questions, ANSWERED), answers) == dict.fromkeys(questions, ANSWERED)
        played = story.gate(NS, APART)
        assert remediated(played, UNEXPORTED), played.output
    finally:
        story.configure()
    assert story.comes_to(REFUSED, lambda: shop(story)) == REFUSED


def reached(mesh) -> str:
    """The client's proxy does not know the Service either, and passes bytes on: so there is no 503, but a connection that is reset."""
    return ANSWERED if shop(mesh) == ANSWERED else "cut off"


def test_a_sidecar_in_a_namespace_that_selectors_leave_out_changes_nothing(story):
    story.cluster.apply([sidecar("shop", NS)])
    try:
        assert story.comes_to(ANSWERED, lambda: shop(story)) == ANSWERED
        story.configure(discoverySelectors=[{"matchLabels": {"story": "told"}}])
        assert story.comes_to("cut off", lambda: reached(story)) == "cut off"
        assert story.keeps_to("cut off", lambda: reached(story)) == "cut off"
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
