# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import pathlib
import re
import typing as t

import pytest

from ansible_collections.meshops.istio_precheck.plugins.module_utils._evaluate import evaluate
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.istio_values import as_version
from ansible_collections.meshops.istio_precheck.plugins.module_utils._remedy.plan import (
    CARRIES_OVER,
    api_version,
    name_of,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._remedy.protocol import protocol
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.exposure import Exposure
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.selection import Selection
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.workloads import Workload
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._sidecars.files import sidecar_files
from ansible_collections.meshops.istio_precheck.tests.helpers.cluster import (
    istiod,
    meta,
    pod,
    port,
    report,
    service,
    service_entry,
    sidecar,
    table,
)
from ansible_collections.meshops.istio_precheck.tests.helpers.remedies import (
    EGRESS,
    GOLDEN,
    OPEN,
    applied,
    controller,
    manifests,
    versioned,
)

FILES = pathlib.Path(__file__).parent.parent / "fixtures" / "sidecars"


# ---------------------------------------------------------------------------------------------------------------------
# Golden files


@pytest.mark.parametrize("name", GOLDEN)
def test_the_remedy_is_the_file_that_a_maintainer_wrote(name):
    files = sidecar_files(evaluate(GOLDEN[name], OPEN))
    assert len(files) == 1
    assert files[0]["content"] == (FILES / f"{name}.yaml").read_text(encoding="utf-8")


def test_there_is_no_file_without_its_case():
    assert sorted(path.stem for path in FILES.iterdir()) == sorted(GOLDEN)


def test_the_typed_models_of_istio_take_every_manifest_whole():
    models = pytest.importorskip(
        "cloudcoil.models.istio.networking.v1beta1",
        reason="cloudcoil-models-istio is not installed: no schema to hold manifests against",
    )
    rendered = manifests(60)
    assert len(rendered) > len(GOLDEN)
    for manifest in rendered:
        read = models.Sidecar.model_validate(manifest).model_dump(by_alias=True, exclude_unset=True, mode="json")
        assert read == manifest, "the models do not know a field"


# ---------------------------------------------------------------------------------------------------------------------
# In short


def plans(*args, **kwargs):
    """With Sidecars for what is closed today, too: that decides whether there is one, and what it says is another question."""
    return report(*args, **{"controllers": [controller()], "remediate_unreachable": True, **kwargs})


def ingress(found):
    """Port by port, the defaultEndpoint of the one remediation; None for unset."""
    assert len(found["remediations"]) == 1, [finding["notes"] for finding in found["findings"]]
    return {
        listener["port"]["number"]: listener.get("defaultEndpoint")
        for listener in found["remediations"][0]["manifest"]["spec"]["ingress"]
    }


def refusal(found, of=0):
    """Why there is no manifest."""
    assert found["remediations"] == []
    assert {finding["remedy"] for finding in found["findings"]} == {"change_bind"}
    return found["findings"][of]["notes"][-2]


DUAL = ("10.0.0.5", "fd00::5")
BOTH = ("IPv4", "IPv6")
OFFERED = [service(ports=[port(), port(9090, 9090, "http-metrics")])]
SELECTING = sidecar("mine", selector={"app": "web"}, ingress={9090: None})

# ---------------------------------------------------------------------------------------------------------------------
# Endpoints


# istiod today; what port 9090 binds, beside localhost-only 8080; the endpoint for 9090 that leaves it as it is.
@pytest.mark.parametrize(
    "plane, bind, wanted",
    [
        (istiod("1.9.9"), "0.0.0.0:9090", "127.0.0.1:9090"),
        (istiod("1.9.9"), "*:9090", "127.0.0.1:9090"),
        (istiod("1.9.9"), "10.0.0.5:9090", "0.0.0.0:9090"),
        (istiod("1.9.9"), None, "127.0.0.1:9090"),
        (istiod("1.20.8", opt_out=True), "0.0.0.0:9090", "127.0.0.1:9090"),
        (istiod("1.20.8", opt_out=True), "10.0.0.5:9090", None),
        (istiod("1.20.8", opt_out=True), None, "127.0.0.1:9090"),
        (istiod("1.20.8"), "0.0.0.0:9090", None),
        (istiod("1.20.8"), "10.0.0.5:9090", None),
        (istiod("1.20.8"), None, None),
        (istiod("v-unknown"), "0.0.0.0:9090", "127.0.0.1:9090"),
        (istiod("v-unknown"), "10.0.0.5:9090", "0.0.0.0:9090"),
    ],
)
def test_a_port_without_a_finding_goes_on_as_it_is(plane, bind, wanted):
    binds = ("127.0.0.1:8080", *([bind] if bind else []))
    assert ingress(plans(services=OFFERED, istiods=[plane], binds=binds)) == {8080: "127.0.0.1:8080", 9090: wanted}


def test_an_istiod_of_1_8_takes_no_endpoint_for_the_pod_ip():
    found = plans(services=OFFERED, istiods=[istiod("1.8.6")], binds=("127.0.0.1:8080", "10.0.0.5:9090"))
    assert (
        refusal(found)
        == "Port 9090, which a Sidecar would have to list too, listens on 10.0.0.5:9090: no defaultEndpoint leaves it as it is."
    )


def test_a_waived_port_is_kept_as_reachable_as_it_is():
    found = plans(
        services=OFFERED,
        binds=("127.0.0.1:8080", "127.0.0.1:9090"),
        waivers=[{"match": "port == `9090`", "reason": "debug"}],
    )
    assert ingress(found) == {8080: "127.0.0.1:8080", 9090: "127.0.0.1:9090"}
    assert found["remediations"][0]["findings"] == ["IST0143/shop/Deployment/web/8080"]


def test_a_port_that_istio_1_8_alone_would_lose_is_not_lost_to_a_canary_revision():
    """An unset endpoint is right for 1.20, but the webhook of the 1.9 beside it refuses it."""
    planes = [istiod("1.9.9"), istiod("1.20.8", "canary", opt_out=True)]
    found = plans([pod(revision="canary")], services=OFFERED, istiods=planes, binds=("127.0.0.1:8080", "10.0.0.5:9090"))
    assert ingress(found) == {8080: "127.0.0.1:8080", 9090: "0.0.0.0:9090"}


# Addresses and families; what 8080 binds; istiod; the endpoint.
@pytest.mark.parametrize(
    "ips, families, bind, plane, wanted",
    [
        (("10.0.0.5",), ("IPv4",), "127.0.0.1:8080", "1.9.9", "127.0.0.1:8080"),
        (("10.0.0.5",), ("IPv4",), "[::ffff:127.0.0.1]:8080", "1.9.9", "127.0.0.1:8080"),
        (("fd00::5",), ("IPv6",), "[::1]:8080", "1.9.9", "127.0.0.1:8080"),
        (DUAL, ("IPv4",), "127.0.0.1:8080", "1.9.9", "127.0.0.1:8080"),
        (DUAL, ("IPv4",), "[::1]:8080", "1.20.0", "[::1]:8080"),
        (DUAL, ("IPv4",), "[::1]:8080", "1.19.4", "[::1]:8080"),
    ],
)
def test_a_localhost_port_gets_the_endpoint_that_reaches_it(ips, families, bind, plane, wanted):
    found = plans([pod(ips=ips)], [service(families=families)], istiods=[istiod(plane, opt_out=True)], binds=(bind,))
    assert ingress(found) == {8080: wanted}


# What no endpoint reaches; the sentence that says so.
OUT_OF_REACH = [
    (
        {"binds": ("127.0.0.2:8080",)},
        "No Sidecar can name 127.0.0.2: of all localhost addresses a proxy dials 127.0.0.1 and ::1 alone.",
    ),
    (
        # The proxy listens on 10.0.0.5 itself, and would no more under the Sidecar that is tried.
        {
            "sidecars": [sidecar("mine", selector={"app": "web"}, ingress_of={"captureMode": "NONE"})],
            "istiods": [istiod("1.20.8")],
            "binds": ("127.0.0.2:8080", "10.0.0.5:8080"),
        },
        "No Sidecar can name 127.0.0.2: of all localhost addresses a proxy dials 127.0.0.1 and ::1 alone.",
    ),
    (
        {"binds": ("[::1]:8080",)},
        "The program listens on ::1, and in a pod without an IPv6 address no proxy dials ::1.",
    ),
    (
        {"pods": [pod(ips=("fd00::5",))], "services": [service(families=("IPv6",))]},
        "The program listens on 127.0.0.1, and in a pod with IPv6 alone a proxy dials ::1 for localhost.",
    ),
    (
        {
            "pods": [pod(ips=DUAL)],
            "binds": ("[::1]:8080",),
            "istiods": [istiod("1.19.3", opt_out=True)],
        },
        "The program listens on ::1, and an istiod in play dials 127.0.0.1 where a Sidecar says [::1] (fixed in 1.18.6, 1.19.4 and 1.20.0).",
    ),
    (
        {"pods": [pod(ips=DUAL)], "services": [service(families=BOTH)]},
        "In pod web-7d4b9-a connections over IPv6 go past the proxy to the pod IP, because the pod's first address is of IPv4.",
    ),
    (
        {
            "pods": [pod(annotations={"sidecar.istio.io/interceptionMode": "TPROXY"})],
            "istiods": [istiod("1.20.8", opt_out=True)],
        },
        "Interception mode TPROXY of pod web-7d4b9-a: the proxy reaches 127.0.0.1 only if net.ipv4.conf.*.route_localnet is set in the pod, "
        "and nobody looked.",
    ),
    (
        {"pods": [pod(annotations={"traffic.sidecar.istio.io/excludeInboundPorts": "8080"})]},
        "Port 8080 is not intercepted in pod web-7d4b9-a (traffic.sidecar.istio.io/excludeInboundPorts or includeInboundPorts): "
        "connections pass the proxy by, and with it a Sidecar.",
    ),
    (
        {"pods": [pod(annotations={"sidecar.istio.io/interceptionMode": "NONE"})]},
        "Interception mode NONE of pod web-7d4b9-a: for a Sidecar's listener the proxy would have to bind the port that the program has.",
    ),
    (
        {"pods": [pod(proxy=None, annotations={"ambient.istio.io/redirection": "enabled"})], "scope": "all"},
        "Pod web-7d4b9-a is in ambient mode: ztunnel connects to the pod IP and reads no Sidecar (Istio's message IST0167).",
    ),
    (
        {"pods": [pod(proxy=None)], "scope": "all"},
        "Pod web-7d4b9-a has no sidecar: a Sidecar resource has no effect on it.",
    ),
    (
        {"pods": [pod(host_network=True)], "scope": "all"},
        "Pod web-7d4b9-a shares its node's network, which the mesh leaves alone: a Sidecar has no effect on it.",
    ),
    (
        {
            "pods": [pod("web-7d4b9-a"), pod("web-7d4b9-b", ips=("10.0.0.6",))],
            "tables": [table("web-7d4b9-a"), table("web-7d4b9-b", ["10.0.0.6:8080"])],
        },
        "The pods differ, and no endpoint reaches all of them: web-7d4b9-a listens on 127.0.0.1:8080, web-7d4b9-b listens on 10.0.0.6:8080.",
    ),
]


@pytest.mark.parametrize("cluster, why", OUT_OF_REACH, ids=[why[:50] for _cluster, why in OUT_OF_REACH])
def test_what_a_sidecar_cannot_cure_is_said_in_words(cluster, why):
    assert refusal(plans(**cluster)) == why


def test_a_change_of_bind_comes_with_the_line_to_change_in_every_language_of_istios_page():
    advice = plans(binds=("127.0.0.2:8080",))["findings"][0]["notes"][-1]
    for line in (
        'Go: net.Listen("tcp", ":8080")',
        "Node.js: server.listen(8080)",
        'Python: server = HTTPServer(("", 8080)',
        "netcat: nc -l -p 8080",
    ):
        assert line in advice


# What serves port 8080 today and not after the upgrade, without a localhost listener on 8080; the action, and the endpoint that cures it.
@pytest.mark.parametrize(
    "cluster, action, endpoint",
    [
        (
            {
                "sidecars": [sidecar("mine", selector={"app": "web"}, ingress={8080: ":9000"})],
                "binds": ("127.0.0.1:9000",),
            },
            "update",
            "127.0.0.1:9000",
        ),
        (
            {
                "sidecars": [sidecar("mine", selector={"app": "web"}, ingress={8080: ":9000"})],
                "binds": ("0.0.0.0:9000",),
            },
            "update",
            "127.0.0.1:9000",
        ),
        (
            {"sidecars": [sidecar("default", ingress={8080: ":9000"})], "binds": ("127.0.0.1:9000", "127.0.0.1:8080")},
            "create",
            "127.0.0.1:9000",
        ),
        (
            {"istiods": [istiod("1.20.8"), istiod("1.24.0", "canary", localhost=True)], "binds": ("10.0.0.5:8080",)},
            "create",
            None,
        ),
        (
            {
                "istiods": [istiod("1.9.9", "old"), istiod("1.20.8"), istiod("1.24.0", "c", localhost=True)],
                "binds": ("10.0.0.5:8080",),
            },
            "create",
            "0.0.0.0:8080",
        ),
        (
            {
                "pods": [pod(ips=("fd00::5",))],
                "services": [service(families=("IPv6",))],
                "istiods": [istiod("1.14.3")],
                "sidecars": [sidecar("mine", selector={"app": "web"}, ingress={8080: "0.0.0.0:8080"})],
                "binds": ("[fd00::5]:8080",),
            },
            "update",
            None,
        ),
    ],
)
def test_what_is_served_elsewhere_today_goes_on_being_served_there(cluster, action, endpoint):
    found = plans(target="1.24", **cluster)
    assert {finding["impact"] for finding in found["findings"]} == {"breaks_on_upgrade"}
    assert (found["remediations"][0]["action"], ingress(found)) == (action, {8080: endpoint})
    assert not [note for note in found["remediations"][0]["notes"] if "Nothing was seen" in note]


@pytest.mark.parametrize(
    "endpoint, binds, beside",
    [
        ("127.0.0.1:9000", ("127.0.0.1:9000",), "127.0.0.1:9000"),
        ("127.0.0.1:9000", ("0.0.0.0:9000",), "0.0.0.0:9000"),
        ("unix:///x", (), "what serves it today"),
    ],
)
def test_a_bind_that_todays_sidecar_relies_on_is_not_to_be_given_up_before_the_upgrade(endpoint, binds, beside):
    mine = sidecar("mine", selector={"app": "web"}, ingress={8080: endpoint}, revision="default")
    found = plans(sidecars=[mine], binds=binds, istiods=[istiod("1.20.8"), istiod("1.24.0", "canary")], target="1.24")
    assert [finding["impact"] for finding in found["findings"]] == ["breaks_on_upgrade"]
    assert refusal(found)
    assert found["findings"][0]["notes"][-1].startswith(
        f"Listen on port 8080 of every address, and on {beside} too until the upgrade is done. Go: "
    )


def test_a_canary_on_all_addresses_is_reached_like_the_pods_on_localhost():
    pods = [pod("web-7d4b9-a"), pod("web-7d4b9-b", ips=("10.0.0.6",))]
    assert ingress(plans(pods, tables=[table("web-7d4b9-a"), table("web-7d4b9-b", ["0.0.0.0:8080"])])) == {
        8080: "127.0.0.1:8080"
    }


def test_a_pod_that_listens_on_nothing_yet_or_was_not_read_does_not_stand_in_the_way():
    pods = [pod("web-7d4b9-a"), pod("web-7d4b9-b", ips=("10.0.0.6",)), pod("web-7d4b9-c", ips=("10.0.0.7",))]
    found = plans(pods, tables=[table("web-7d4b9-a"), table("web-7d4b9-b", [])])
    assert ingress(found) == {8080: "127.0.0.1:8080"}
    assert "Not read, and supposed to listen like the others: web-7d4b9-c." in found["remediations"][0]["notes"]


ADMIN = [service(ports=[port(), port(15000, 15000, "admin"), port(15090, 15090, "metrics")])]
SWITCHED_OFF = (
    "Port 15000, which Service web exposes, is Istio's own and not listed: "
    "with a Sidecar it is passed through to the pod IP at once, and no longer to localhost."
)


@pytest.mark.parametrize(
    "cluster, noted",
    [
        ({}, True),
        ({"istiods": [istiod("1.20.8", opt_out=True)]}, True),
        ({"istiods": [istiod("1.20.8", opt_out=True, merge=True)]}, False),
        ({"istiods": [istiod("1.20.8")], "binds": ("127.0.0.1:8080",)}, False),
        ({"sidecars": [sidecar("mine", selector={"app": "web"}, ingress={9090: None})]}, False),
        (
            {"sidecars": [sidecar("mine", selector={"app": "web"}, ingress={9090: None, 15000: "127.0.0.1:15000"})]},
            False,
        ),
        ({"pods": [pod(annotations={"traffic.sidecar.istio.io/excludeInboundPorts": "15000"})]}, False),
    ],
)
def test_a_port_of_istio_is_not_listed_but_a_sidecar_that_switches_it_off_is_named(cluster, noted):
    found = plans(services=ADMIN, **{"binds": ("127.0.0.1:8080", "127.0.0.1:15000"), **cluster})
    listed = {*ingress(found)} - {8080, 9090}
    assert listed == (
        {15000}
        if 15000
        in {n for s in cluster.get("sidecars") or () for n in [i["port"]["number"] for i in s["spec"]["ingress"]]}
        else set()
    )
    assert (SWITCHED_OFF in found["remediations"][0]["notes"]) is noted
    assert not [note for note in found["remediations"][0]["notes"] if "15090" in note]


def test_one_port_that_can_be_cured_is_cured_beside_one_that_cannot():
    found = plans(services=OFFERED, binds=("127.0.0.1:8080", "127.0.0.2:9090"))
    assert ingress(found) == {8080: "127.0.0.1:8080", 9090: "127.0.0.1:9090"}
    assert {finding["port"]: finding["remedy"] for finding in found["findings"]} == {
        8080: "create_sidecar",
        9090: "change_bind",
    }


# ---------------------------------------------------------------------------------------------------------------------
# The selector


def selector(found):
    return found["remediations"][0]["manifest"]["spec"]["workloadSelector"]["labels"]


OWNED = {
    "Deployment": ({"owner": ("ReplicaSet", "web-7d4b9")}, controller()),
    "StatefulSet": ({"owner": ("StatefulSet", "web")}, controller("web", {"app": "web"}, "StatefulSet", owner=None)),
    "DaemonSet": ({"owner": ("DaemonSet", "web")}, controller("web", {"app": "web"}, "DaemonSet", owner=None)),
    "ReplicaSet": ({"owner": ("ReplicaSet", "web")}, controller("web", {"app": "web"}, owner=None)),
    "Job": ({"owner": ("Job", "web")}, controller("web", {"app": "web", "controller-uid": "1"}, "Job", owner=None)),
    "Rollout": (
        {"owner": ("ReplicaSet", "web-55"), "labels": {"rollouts-pod-template-hash": "55"}},
        controller("web-55", {"app": "web", "rollouts-pod-template-hash": "55"}, owner=("Rollout", "web")),
    ),
    "DeploymentConfig": (
        {"owner": ("ReplicationController", "web-1"), "labels": {"deployment": "web-1"}},
        controller(
            "web-1", {"app": "web", "deployment": "web-1"}, "ReplicationController", owner=("DeploymentConfig", "web")
        ),
    ),
}


@pytest.mark.parametrize("kind", OWNED)
def test_the_selector_is_the_controllers_without_the_labels_of_a_revision(kind):
    spec, owner = OWNED[kind]
    found = plans([pod(**spec)], controllers=[owner])
    assert selector(found) == {"app": "web"}
    assert found["findings"][0]["workload"]["kind"] == kind


def test_the_revision_that_the_pods_are_labelled_with_is_no_part_of_the_selector():
    found = plans(
        [pod(labels={"istio.io/rev": "1-9"})], controllers=[controller(labels={"app": "web", "istio.io/rev": "1-9"})]
    )
    assert selector(found) == {"app": "web"}


def test_a_bare_pod_is_selected_as_its_service_does():
    found = plans([pod(owner=None, labels={"role": "api"})], [service(selector={"role": "api"})], controllers=[])
    assert selector(found) == {"role": "api"}


def test_a_controller_that_could_not_be_listed_is_replaced_by_the_service():
    assert selector(plans(controllers=[])) == {"app": "web"}


def test_a_controller_with_expressions_is_replaced_by_the_service():
    assert selector(plans(controllers=[controller(expressions=[{"key": "app", "operator": "Exists"}])])) == {
        "app": "web"
    }


PER_POD = {"statefulset.kubernetes.io/pod-name": "db-0"}


@pytest.mark.parametrize(
    "label",
    [
        "istio.io/rev",
        "rollouts-pod-template-hash",
        "statefulset.kubernetes.io/pod-name",
        "pod-template-hash",
        "controller-revision-hash",
    ],
)
def test_a_services_label_of_one_revision_or_one_pod_is_never_used(label):
    found = plans([pod(labels={label: "x"})], [service(selector={label: "x", "app": "web"})], controllers=[])
    assert selector(found) == {"app": "web"}
    assert refusal(plans([pod(labels={label: "x"})], [service(selector={label: "x"})], controllers=[])) == (
        "No labels are known that select this workload's pods alone."
    )


def test_a_label_named_deployment_is_no_revision_outside_openshift():
    assert selector(
        plans([pod(labels={"deployment": "web"})], [service(selector={"deployment": "web"})], controllers=[])
    ) == {"deployment": "web"}


def test_a_label_named_deployment_tells_deployments_apart():
    pods = [
        pod(labels={"deployment": "blue"}),
        pod("green-1-a", labels={"deployment": "green"}, ips=("10.0.0.6",), owner=("ReplicaSet", "green-1")),
    ]
    owners = [
        controller(labels={"app": "web", "deployment": "blue"}),
        controller("green-1", {"app": "web", "deployment": "green"}, owner=("Deployment", "green")),
    ]
    found = plans(pods, controllers=owners)["remediations"]
    assert [r["manifest"]["spec"]["workloadSelector"]["labels"] for r in found] == [
        {"app": "web", "deployment": colour} for colour in ("green", "blue")
    ]


def test_a_selector_that_catches_another_workload_without_findings_gives_no_manifest():
    pods = [pod(), pod("other-1-a", ips=("10.0.0.6",), owner=("ReplicaSet", "other-1"))]
    tables = [table(), table("other-1-a", ["0.0.0.0:8080"])]
    owners = [controller(), controller("other-1", {"app": "web"}, owner=("Deployment", "other"))]
    assert refusal(plans(pods, controllers=owners, tables=tables)) == (
        "The selector app=web also selects pods of other workloads: Deployment other."
    )


CANARY = controller("canary-1", {"app": "web", "track": "canary"}, owner=("Deployment", "canary"))


def beside_a_canary(binds=("127.0.0.1:8080",), **more):
    """A Deployment `web`, and one whose pods have a label more; one Service for both."""
    other = pod("canary-1-a", ips=("10.0.0.6",), owner=("ReplicaSet", "canary-1"), labels={"track": "canary"})
    given = {"tables": [table(), table("canary-1-a", binds)], "controllers": [controller(), CANARY], **more}
    return plans([pod(), other], **given)


def test_two_workloads_alike_under_one_selector_get_one_sidecar():
    found = beside_a_canary()
    (remediation,) = found["remediations"]
    assert remediation["manifest"]["metadata"]["name"] == "precheck-deployment-web"
    assert remediation["manifest"]["spec"]["workloadSelector"] == {"labels": {"app": "web"}}
    assert sorted(remediation["findings"]) == [
        "IST0143/shop/Deployment/canary/8080",
        "IST0143/shop/Deployment/web/8080",
    ]
    assert remediation["notes"][0].startswith("It is for Deployment web and Deployment canary together")
    assert {finding["remedy"] for finding in found["findings"]} == {"create_sidecar"}


def test_two_workloads_under_one_sidecar_of_today_have_it_edited_once():
    found = beside_a_canary(sidecars=[sidecar("all", selector={"app": "web"}, ingress={9090: "127.0.0.1:9090"})])
    (remediation,) = found["remediations"]
    assert (remediation["action"], remediation["manifest"]["metadata"]["name"]) == ("update", "all")
    assert len(remediation["findings"]) == 2


def test_a_workload_for_which_a_sidecar_would_do_nothing_gets_none_for_the_sake_of_another():
    offered = [service(ports=[port(), port(9090, 9090, "admin")])]
    both = [table(binds=["127.0.0.1:8080", "0.0.0.0:9090"]), table("canary-1-a", ["0.0.0.0:8080", "127.0.0.2:9090"])]
    found = beside_a_canary(services=offered, tables=both)
    assert [(each["workload"]["name"], each["port"]) for each in found["findings"]] == [("web", 8080), ("canary", 9090)]
    assert found["remediations"] == []


def test_two_workloads_that_differ_get_no_sidecar_in_common():
    found = beside_a_canary(binds=("127.0.0.2:8080",))
    said = {finding["workload"]["name"]: finding["notes"][-2] for finding in found["findings"]}
    assert said["web"] == "The selector app=web also selects pods of other workloads: Deployment canary."
    assert found["remediations"] == []


def test_a_narrower_service_is_used_where_the_selector_catches_another_workload():
    pods = [pod(labels={"track": "stable"}), pod("other-1-a", ips=("10.0.0.6",), owner=("ReplicaSet", "other-1"))]
    found = plans(pods, [service(selector={"app": "web", "track": "stable"})])
    assert selector(found) == {"app": "web", "track": "stable"}


def test_a_selector_that_misses_a_pod_gives_no_manifest():
    pods = [
        pod("web-7d4b9-a", labels={"track": "stable"}),
        pod("web-7d4b9-b", ips=("10.0.0.6",), labels={"track": "canary"}),
    ]
    services = [service(track, selector={"track": track}) for track in ("stable", "canary")]
    assert (
        refusal(plans(pods, services, controllers=[]))
        == "The selector track=canary does not select all of the workload's pods: not web-7d4b9-a."
    )


@pytest.mark.parametrize("gone", [{"phase": "Succeeded"}, {"deleting": True}, {"proxy": None}])
def test_a_pod_that_no_sidecar_can_touch_is_not_caught(gone):
    pods = [pod(), pod("other-1-a", ips=("10.0.0.6",), owner=("ReplicaSet", "other-1"), **gone)]
    assert selector(plans(pods)) == {"app": "web"}


def test_two_workloads_behind_one_service_get_a_sidecar_each():
    pods = [
        pod("web-1-a", labels={"version": "v1"}, owner=("ReplicaSet", "web-1")),
        pod("web-2-a", ips=("10.0.0.6",), labels={"version": "v2"}, owner=("ReplicaSet", "web-2")),
    ]
    owners = [
        controller(f"web-{n}", {"app": "web", "version": f"v{n}"}, owner=("Deployment", f"web-v{n}")) for n in (1, 2)
    ]
    found = plans(pods, controllers=owners)
    assert [r["manifest"]["spec"]["workloadSelector"]["labels"]["version"] for r in found["remediations"]] == [
        "v1",
        "v2",
    ]
    assert len({r["manifest"]["metadata"]["name"] for r in found["remediations"]}) == 2


def test_a_controller_without_pods_that_would_be_caught_is_named():
    asleep = controller("asleep-1", {"app": "web", "track": "canary"}, owner=("Deployment", "asleep"), replicas=0)
    found = plans(controllers=[controller(), asleep])
    assert "It would also select pods of Deployment asleep, which has none now." in found["remediations"][0]["notes"]
    old = controller("web-older", {"app": "web", "pod-template-hash": "older"}, replicas=0)
    assert not any(
        "which has none now" in note for note in plans(controllers=[controller(), old])["remediations"][0]["notes"]
    )


def test_a_named_port_that_pods_resolve_differently_gives_no_manifest():
    pods = [pod("web-7d4b9-a", ports={"main": 8080}), pod("web-7d4b9-b", ips=("10.0.0.6",), ports={"main": 9090})]
    found = plans(pods, [service(ports=[port(80, "main")])], binds=("127.0.0.1:8080", "127.0.0.1:9090"))
    assert (
        refusal(found)
        == "Port 80 of Service web is port 8080 and 9090, depending on the pod: no Sidecar fits all of them."
    )


def test_a_service_for_some_of_the_pods_gives_no_manifest():
    pods = [pod("web-7d4b9-a"), pod("web-7d4b9-b", ips=("10.0.0.6",), labels={"first": "yes"})]
    found = plans(pods, [service(), service("first", selector={"first": "yes"}, ports=[port(90, 9090)])])
    assert (
        refusal(found)
        == "Service first exposes port 9090 on web-7d4b9-b only: one Sidecar for all pods would change the others."
    )


def test_a_service_and_a_service_entry_of_one_name_are_two():
    found = plans(serviceEntries=[service_entry("web", ports=[{"number": 80, "name": "http", "targetPort": 9090}])])
    assert set(ingress(found)) == {8080, 9090}


CHOSEN = Selection(label_selectors=("track=stable",))


def test_pods_of_the_workload_that_were_not_chosen_are_not_harmed():
    """The Sidecar selects them, too, and would switch off their ports."""
    pods = [pod(labels={"track": "stable"}), pod("web-7d4b9-b", ips=("10.0.0.6",), labels={"track": "canary"})]
    canary = service("canary", selector={"track": "canary"}, ports=[port(90, 9090)])
    found = plans(pods, [service(), canary], tables=[table()], selection=CHOSEN)
    assert (
        refusal(found)
        == "Service canary exposes port 9090 on web-7d4b9-b only: one Sidecar for all pods would change the others."
    )
    alike = plans(pods, OFFERED, tables=[table()], selection=CHOSEN)
    assert ingress(alike) == {8080: "127.0.0.1:8080", 9090: "127.0.0.1:9090"}
    assert alike["findings"][0]["pods"] == ["web-7d4b9-a"] and alike["unchecked"] == []
    assert "Not read, and supposed to listen like the others: web-7d4b9-b." in alike["remediations"][0]["notes"]


def test_one_pod_of_a_template_speaks_for_the_others_in_a_remedy_that_labels_chose():
    pods = [
        pod("web-7d4b9-a", labels={"track": "canary"}),
        pod("web-7d4b9-b", ips=("10.0.0.6",), labels={"track": "stable"}),
    ]
    assert ingress(plans(pods, tables=[table("web-7d4b9-b")], selection=CHOSEN._replace(replicas="one"))) == {
        8080: "127.0.0.1:8080"
    }


# ---------------------------------------------------------------------------------------------------------------------
# Create and update


def test_a_new_sidecar_shares_nothing_with_the_default_that_it_copies():
    default = versioned(
        sidecar("default", egress=copy.deepcopy(EGRESS), outboundTrafficPolicy={"mode": "REGISTRY_ONLY"}), "7"
    )
    found = plans(sidecars=[default])
    made = found["remediations"][0]
    assert made["action"] == "create"
    assert made["manifest"]["spec"]["egress"] == EGRESS
    assert made["made_from"] == {"namespace": "shop", "name": "default", "resourceVersion": "7"}
    assert made["manifest"]["metadata"]["annotations"] == {CARRIES_OVER: "shop/default@7"}
    made["manifest"]["spec"]["egress"][0]["hosts"].append("changed")
    made["manifest"]["spec"]["outboundTrafficPolicy"]["mode"] = "changed"
    assert default["spec"]["egress"] == EGRESS
    assert default["spec"]["outboundTrafficPolicy"] == {"mode": "REGISTRY_ONLY"}


def test_an_empty_policy_of_the_default_is_not_lost():
    found = plans(sidecars=[sidecar("default", outboundTrafficPolicy={})])
    assert found["remediations"][0]["manifest"]["spec"]["outboundTrafficPolicy"] == {}


def test_the_oldest_default_of_the_namespace_comes_before_that_of_the_root():
    defaults = [
        sidecar("young", created="2026-03-01T00:00:00Z", egress=[{"hosts": ["young/*"]}]),
        sidecar("old", created="2026-02-01T00:00:00Z", egress=[{"hosts": ["old/*"]}]),
        sidecar("root", "istio-system", egress=[{"hosts": ["root/*"]}]),
    ]
    assert plans(sidecars=defaults)["remediations"][0]["manifest"]["spec"]["egress"] == [{"hosts": ["old/*"]}]


def test_an_update_changes_nothing_but_the_ingress_and_names_the_version_that_it_edits():
    mine = versioned(sidecar("mine", selector={"app": "web"}, ingress={9090: "127.0.0.1:1"}, egress=EGRESS), "99")
    mine["spec"]["ingress"][0].update(
        bind="0.0.0.0", connectionPool={"tcp": {"maxConnections": 3}}, tls={"mode": "SIMPLE"}
    )
    kept = copy.deepcopy(mine)
    made = plans(sidecars=[mine])["remediations"][0]
    assert mine == kept
    assert (made["action"], made["manifest"]["metadata"]) == (
        "update",
        {"name": "mine", "namespace": "shop", "resourceVersion": "99"},
    )
    assert made["manifest"]["spec"] == {
        **kept["spec"],
        "ingress": [
            kept["spec"]["ingress"][0],
            {"port": {"number": 8080, "protocol": "HTTP", "name": "http"}, "defaultEndpoint": "127.0.0.1:8080"},
        ],
    }


def test_an_edited_sidecar_keeps_its_labels_where_the_file_is_applied_with_kubectl():
    mine = sidecar("mine", selector={"app": "web"}, ingress={9090: None}, revision="default")
    made = plans(sidecars=[mine])["remediations"][0]["manifest"]
    assert made["metadata"] == {"name": "mine", "namespace": "shop", "labels": {"istio.io/rev": "default"}}
    assert made["metadata"]["labels"] is not mine["metadata"]["labels"]


def test_an_edited_sidecar_shares_nothing_with_the_one_that_there_is():
    mine = sidecar("mine", selector={"app": "web"}, ingress={9090: None}, egress=copy.deepcopy(EGRESS))
    kept = copy.deepcopy(mine)
    made = plans(sidecars=[mine])["remediations"][0]["manifest"]["spec"]
    made["egress"][0]["hosts"].append("changed")
    made["ingress"][0]["port"]["number"] = 1
    made["workloadSelector"]["labels"]["app"] = "changed"
    assert mine == kept


def test_of_two_listeners_for_one_port_the_one_in_effect_stays():
    mine = sidecar("mine", selector={"app": "web"}, ingress={9090: "127.0.0.1:1"})
    mine["spec"]["ingress"].append({"port": {"number": 9090}, "defaultEndpoint": "127.0.0.1:2"})
    assert ingress(plans(sidecars=[mine])) == {9090: "127.0.0.1:1", 8080: "127.0.0.1:8080"}


def test_a_listener_that_an_update_cures_keeps_everything_but_its_endpoint():
    mine = sidecar("mine", selector={"app": "web"}, ingress={8080: "0.0.0.0:8080"})
    mine["spec"]["ingress"][0].update(captureMode="IPTABLES", port={"number": 8080, "protocol": "GRPC", "name": "own"})
    listener = plans(sidecars=[mine])["remediations"][0]["manifest"]["spec"]["ingress"]
    assert listener == [
        {
            "port": {"number": 8080, "protocol": "GRPC", "name": "own"},
            "captureMode": "IPTABLES",
            "defaultEndpoint": "127.0.0.1:8080",
        }
    ]


def test_an_empty_selector_is_edited_where_it_selects_this_workload_alone():
    made = plans(sidecars=[sidecar("all", selector={}, ingress={9090: None})])["remediations"][0]
    assert (made["action"], made["manifest"]["metadata"]["name"]) == ("update", "all")


def test_a_selector_sidecar_that_serves_others_too_is_not_edited():
    pods = [pod(), pod("db-1-a", app="db", ips=("10.0.0.6",), owner=("StatefulSet", "db"))]
    found = plans(pods, sidecars=[sidecar("all", selector={}, ingress={9090: None})])  # the other one has no finding
    assert (
        refusal(found)
        == "Sidecar shop/all, which would have to be edited, also selects pods of other workloads: StatefulSet db."
    )


def test_a_sidecar_for_some_of_the_pods_is_no_base_for_a_plan():
    pods = [pod("web-7d4b9-a"), pod("web-7d4b9-b", ips=("10.0.0.6",), labels={"track": "canary"})]
    found = plans(pods, sidecars=[sidecar("canary", selector={"track": "canary"}, egress=EGRESS, ingress={9090: None})])
    assert (
        refusal(found)
        == "Not the same Sidecar is in effect for all pods of the workload, before and after the upgrade: none and shop/canary."
    )


def test_a_younger_sidecar_for_the_same_pods_is_named():
    young = sidecar("young", selector={"app": "web"}, ingress={8080: "127.0.0.1:8080"}, created="2026-05-01T00:00:00Z")
    made = plans(sidecars=[SELECTING, young])["remediations"][0]
    assert made["manifest"]["metadata"]["name"] == "mine"
    assert (
        "Sidecar shop/young selects pods of the workload too, but is younger and so without effect (Istio's message IST0110)."
        in made["notes"]
    )


def test_a_sidecar_of_another_revision_is_neither_edited_nor_taken_for_a_rival():
    other = sidecar("other", selector={"app": "web"}, ingress={9090: None}, revision="canary")
    made = plans(sidecars=[other])["remediations"][0]
    assert made["action"] == "create"
    assert "Sidecar shop/other selects pods of the workload too, for revision canary only." in made["notes"]


def test_a_name_that_is_taken_by_a_sidecar_without_effect_gives_no_manifest():
    taken = sidecar("precheck-deployment-web", selector={"app": "other"})
    assert (
        refusal(plans(sidecars=[taken]))
        == "A Sidecar named precheck-deployment-web exists and is not the one in effect: remove or rename it first."
    )


def test_a_second_plan_edits_the_sidecar_of_the_first():
    first = report(controllers=[controller()])
    more = {"services": OFFERED, "binds": ("127.0.0.1:8080", "127.0.0.1:9090"), "controllers": [controller()]}
    made = report(
        sidecars=[
            {
                **first["remediations"][0]["manifest"],
                "metadata": {
                    **first["remediations"][0]["manifest"]["metadata"],
                    "creationTimestamp": "2026-11-01T00:00:00Z",
                },
            }
        ],
        remediate_unreachable=True,
        **more,
    )
    assert (made["remediations"][0]["action"], ingress(made)) == (
        "update",
        {8080: "127.0.0.1:8080", 9090: "127.0.0.1:9090"},
    )


def test_probes_that_the_sidecar_does_not_help_are_named_in_the_remedy():
    rewritten = {"ISTIO_KUBE_APP_PROBERS": '{"/app-health/app/livez": {"httpGet": {"path": "/", "port": 8080}}}'}
    found = plans([pod(env=rewritten)])
    made = found["remediations"][0]
    assert [note for note in made["notes"] if note.startswith("Not fixed by it: The livenessProbe")], made["notes"]
    assert found["findings"][0]["remedy"] == "create_sidecar"
    assert found["findings"][0]["notes"][-1].startswith("Bind to every address instead. Go: "), (
        "what cures the probe, too, is not said"
    )


# ---------------------------------------------------------------------------------------------------------------------
# Port, protocol, name


def exposure(service_port=80, port_name="", app_protocol=None, kind="Service"):
    return Exposure(8080, "web", service_port, port_name, app_protocol, kind, (), ("", "", 0), True)


@pytest.mark.parametrize(
    "given, version, wanted",
    [
        ({"port_name": "http"}, "1.9", "HTTP"),
        ({"port_name": "HTTP2-api"}, "1.9", "HTTP2"),
        ({"port_name": "http_proxy"}, "1.9", "HTTP_PROXY"),
        ({"port_name": "grpc-web-x"}, "1.9", "GRPC-Web"),
        ({"port_name": "grpc-webby"}, "1.9", "GRPC-Web"),
        ({"port_name": "grpc-api"}, "1.9", "GRPC"),
        ({"port_name": "mongo"}, "1.9", "Mongo"),
        ({"port_name": "tcp-x"}, "1.9", "TCP"),
        ({"port_name": "https"}, "1.9", "HTTPS"),
        ({"port_name": "httpx"}, "1.9", None),
        ({"port_name": "main"}, "1.9", None),
        ({"port_name": "udp-x"}, "1.9", None),
        ({"port_name": "thrift"}, "1.9", None),
        ({}, "1.9", None),
        ({"service_port": 3306}, "1.9", "TCP"),
        ({"service_port": 25, "port_name": "main"}, "1.9", "TCP"),
        ({"service_port": 3306, "port_name": "http"}, "1.9", "HTTP"),
        ({"port_name": "http", "app_protocol": "tcp"}, "1.9", "TCP"),
        ({"port_name": "http", "app_protocol": ""}, "1.9", None),
        ({"app_protocol": "", "service_port": 53}, "1.9", "TCP"),
        ({"app_protocol": "kubernetes.io/h2c"}, "1.20", "HTTP2"),
        ({"app_protocol": "kubernetes.io/h2c"}, "1.18.7", None),
        ({"app_protocol": "kubernetes.io/ws"}, "1.24", "HTTP"),
        ({"app_protocol": "kubernetes.io/wss"}, "1.23.1", None),
        ({"app_protocol": "kubernetes.io/wss"}, "1.24", "HTTPS"),
        ({"port_name": "kubernetes.io/h2c"}, "1.24", None),
        ({"app_protocol": "GRPC", "kind": "ServiceEntry"}, "1.9", "GRPC"),
        ({"port_name": "http", "app_protocol": None, "kind": "ServiceEntry", "service_port": 3306}, "1.9", None),
    ],
)
def test_the_protocol_is_what_istio_takes_the_service_port_for(given, version, wanted):
    assert protocol(exposure(**given), as_version(version)) == wanted


def test_the_service_port_decides_not_the_target_port():
    listed = {
        r["port"]["number"]: r["port"]
        for r in plans(services=[service(ports=[port(3306, 8080, "")])])["remediations"][0]["manifest"]["spec"][
            "ingress"
        ]
    }
    assert listed == {8080: {"number": 8080, "protocol": "TCP"}}
    other = plans(services=[service(ports=[port(80, 3306, "")])], binds=("127.0.0.1:3306",))
    assert other["remediations"][0]["manifest"]["spec"]["ingress"][0]["port"] == {"number": 3306}


@pytest.mark.parametrize("version, wanted", [("1.20.8", {"protocol": "HTTP2"}), ("1.18.0", {})])
def test_the_protocol_is_the_one_that_todays_istiod_sees(version, wanted):
    services = [service(ports=[port(80, 8080, "", appProtocol="kubernetes.io/h2c")])]
    made = plans(services=services, istiods=[istiod(version, opt_out=True)])["remediations"][0]
    assert made["manifest"]["spec"]["ingress"][0]["port"] == {"number": 8080, **wanted}


@pytest.mark.parametrize("name", ["a.b", "a_b", "-a", "a-", "x" * 64, "a\n"])
def test_a_port_name_that_istio_refuses_is_left_out(name):
    made = plans(services=[service(ports=[port(80, 8080, name)])])["remediations"][0]
    assert "name" not in made["manifest"]["spec"]["ingress"][0]["port"]


def test_of_two_services_the_oldest_and_then_the_first_by_name_gives_name_and_protocol():
    services = [service("b", ports=[port(80, 8080, "tcp-b")]), service("a", ports=[port(81, 8080, "grpc-a")])]
    assert plans(services=services)["remediations"][0]["manifest"]["spec"]["ingress"][0]["port"] == {
        "number": 8080,
        "protocol": "GRPC",
        "name": "grpc-a",
    }
    services[1]["metadata"]["creationTimestamp"] = "2026-06-01T00:00:00Z"
    assert plans(services=services)["remediations"][0]["manifest"]["spec"]["ingress"][0]["port"]["name"] == "tcp-b"


# Of one second: Services, and the hosts of a ServiceEntry; the name of the port that istiod goes by.
@pytest.mark.parametrize(
    "services, hosts, wanted",
    [
        ({"web": ["http-a"], "web-headless": ["tcp-b"]}, [], "tcp-b"),
        ({"web": ["http-a"], "web2": ["tcp-b"]}, [], "http-a"),
        ({"web": ["http-a"]}, ["v.example"], "entry"),
        ({"web": ["http-a"]}, ["x.example"], "http-a"),
        ({"web": ["http-a"]}, ["x.example", "v.example"], "entry"),
        ({"web": ["http-z", "grpc-a"]}, [], "http-z"),
    ],
)
def test_within_one_second_host_names_decide_and_within_a_service_the_written_order(services, hosts, wanted):
    made = [
        service(name, ports=[port(900 - n, 8080, of) for n, of in enumerate(ports)]) for name, ports in services.items()
    ]
    entries = [service_entry(ports=[{"number": 8080, "name": "entry"}])] if hosts else []
    for entry in entries:
        entry["spec"]["hosts"] = hosts
    for order in (made, made[::-1]):
        found = plans(services=order, serviceEntries=entries, target="1.24")
        assert found["remediations"][0]["manifest"]["spec"]["ingress"][0]["port"]["name"] == wanted


@pytest.mark.parametrize(
    "said, wanted",
    [({}, {}), ({"protocol": ""}, {}), ({"protocol": "tcp"}, {"protocol": "TCP"}), ({"protocol": "THRIFT"}, {})],
)
def test_a_service_entry_that_says_no_protocol_leaves_it_to_be_detected(said, wanted):
    made = plans(services=[], serviceEntries=[service_entry(ports=[{"number": 8080, "name": "x", **said}])])[
        "remediations"
    ][0]
    assert made["manifest"]["spec"]["ingress"][0]["port"] == {"number": 8080, "name": "x", **wanted}


def test_ports_of_a_service_entry_are_listed_too():
    found = plans(
        services=[service()],
        serviceEntries=[service_entry(ports=[{"number": 90, "targetPort": 9090, "name": "x", "protocol": "TCP"}])],
    )
    assert set(ingress(found)) == {8080, 9090}


@pytest.mark.parametrize(
    "served, asked_for, wanted",
    [
        ([], None, "v1beta1"),
        (["v1", "v1beta1", "v1alpha3"], None, "v1beta1"),
        (["v1"], None, "v1"),
        (["v1alpha3"], None, "v1alpha3"),
        (["v2"], None, "v1beta1"),
        (["v1beta1"], "v1", "v1"),
    ],
)
def test_the_version_is_the_portable_one_unless_it_is_not_served_or_another_is_asked_for(served, asked_for, wanted):
    assert api_version(served, asked_for) == f"networking.istio.io/{wanted}"
    found = evaluate(
        {**GOLDEN["existing-selector"], "sidecarVersions": served}, OPEN._replace(sidecar_api_version=asked_for)
    )
    assert found["remediations"][0]["manifest"]["apiVersion"] == f"networking.istio.io/{wanted}"


LEGAL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
HOSTILE = [
    "web",
    "web.v1",
    "x" * 253,
    "x" * 252,
    "../../etc/passwd",
    "a/b",
    "a..b",
    ".a",
    "a.",
    "-a-",
    "WEB",
    "w\u00e9b",
    "a\nb",
    "a.-b",
    "",
    "a" * 70 + ".b",
    "\x00",
]


def test_names_are_legal_and_no_two_workloads_share_one():
    names = [
        name_of(Workload("shop", kind, name)) for kind in ("Deployment", "StatefulSet", "../x") for name in HOSTILE
    ]
    assert len(set(names)) == len(names)
    for name in names:
        assert len(name) <= 253 and LEGAL.fullmatch(name), name
    assert names[0] == "precheck-deployment-web"


def test_every_golden_remedy_cures_what_it_says_and_a_second_run_has_nothing_to_add():
    for before in GOLDEN.values():
        first = evaluate(before, OPEN)
        again = evaluate(applied(before, first["remediations"]), OPEN)
        assert again["findings"] == [] and again["remediations"] == []
        assert (
            {r["id"] for r in again["remediated"]} >= {i for r in first["remediations"] for i in r["findings"]} != set()
        )


# ---------------------------------------------------------------------------------------------------------------------
# What old istiods need, and what a first Sidecar takes away


OLD_ISTIODS = [
    # the istiods that there are, what is in effect today; the egress of the manifest
    ([istiod("1.8.6")], [], [{"hosts": ["*/*"]}]),
    ([istiod("1.5.10")], [], [{"hosts": ["*/*"]}]),
    ([istiod("1.9.9"), istiod("1.8.6", "old")], [], [{"hosts": ["*/*"]}]),
    ([istiod("1.8.6")], [sidecar("default", egress=EGRESS)], EGRESS),
    (
        [istiod("1.8.6")],
        [sidecar("mine", selector={"app": "web"}, ingress={9090: "127.0.0.1:9090"})],
        [{"hosts": ["*/*"]}],
    ),
    ([istiod("1.9.0")], [], None),
    ([istiod("v-unknown")], [], None),
]


@pytest.mark.parametrize(("planes", "sidecars", "wanted"), OLD_ISTIODS)
def test_an_istiod_up_to_1_8_gets_the_egress_without_which_it_takes_no_sidecar(planes, sidecars, wanted):
    (remediation,) = plans(istiods=planes, sidecars=sidecars)["remediations"]
    assert remediation["manifest"]["spec"].get("egress") == wanted
    said = any("an istiod up to 1.8 takes no Sidecar without" in note for note in remediation["notes"])
    assert said == (wanted == [{"hosts": ["*/*"]}])


def test_an_entry_without_a_default_endpoint_gets_one_where_an_istiod_up_to_1_9_needs_it():
    """Somebody wrote it under a newer istiod; to that of 1.9 it means the pod IP."""
    mine = sidecar("mine", selector={"app": "web"}, ingress={9090: None, 7070: None})
    binds = ("127.0.0.1:8080", "10.0.0.5:9090")
    found = plans(services=OFFERED, sidecars=[mine], istiods=[istiod("1.9.9")], binds=binds)
    assert ingress(found) == {9090: "0.0.0.0:9090", 7070: "0.0.0.0:7070", 8080: "127.0.0.1:8080"}
    notes = found["remediations"][0]["notes"]
    assert "Port 7070 gets defaultEndpoint 0.0.0.0:7070: an istiod up to 1.9 takes no entry without one." in notes
    newer = plans(services=OFFERED, sidecars=[mine], istiods=[istiod("1.20.8", opt_out=True)], binds=binds)
    assert ingress(newer) == {9090: None, 7070: None, 8080: "127.0.0.1:8080"}


def test_an_entry_for_which_an_istiod_up_to_1_8_takes_no_endpoint_stands_in_the_way():
    mine = sidecar("mine", selector={"app": "web"}, ingress={7070: None})
    assert refusal(plans(sidecars=[mine], istiods=[istiod("1.8.6")])) == (
        "Port 7070 has no defaultEndpoint in the Sidecar in effect, which an istiod up to 1.9 needs, and none leaves the port as it is."
    )


def entry_of(namespace, *numbers):
    made = service_entry("db", namespace, {"no": "pod"}, [{"number": n, "name": f"tcp-{n}"} for n in numbers])
    return {**made, "spec": {**made["spec"], "hosts": ["db.example"]}}


BOTH_HAVE_IT = [entry_of("bank", 5432), entry_of("shop", 5432, 6432)]
SPLIT = "db.example has 5432 of bank and 5432, 6432 of shop"
HOSTS = [
    # ServiceEntries, Sidecars, istiods; whether the note is there
    (BOTH_HAVE_IT, [], [istiod("1.9.9")], True),
    (BOTH_HAVE_IT, [], [istiod("v-unknown")], True),
    (BOTH_HAVE_IT, [], [istiod("1.24.0", localhost=True), istiod("1.25.0", "canary")], False),
    (BOTH_HAVE_IT, [sidecar("default")], [istiod("1.9.9")], False),
    ([entry_of("bank", 5432), entry_of("shop", 5432)], [], [istiod("1.9.9")], False),
    ([entry_of("bank", 5432, 6432)], [], [istiod("1.9.9")], False),
]


@pytest.mark.parametrize(("entries", "sidecars", "planes", "wanted"), HOSTS)
def test_the_first_sidecar_names_the_hosts_that_lose_a_namespaces_ports(entries, sidecars, planes, wanted):
    target = "1.25" if len(planes) == 2 else None
    (remediation,) = plans(serviceEntries=entries, sidecars=sidecars, istiods=planes, target=target)["remediations"]
    assert any(SPLIT in note for note in remediation["notes"]) == wanted


def test_each_remediation_says_in_its_file_too_that_it_cuts_connections():
    found = plans()
    assert "may cut open connections" in found["remediations"][0]["notes"][-1]
    assert "cut open connections" in " ".join(sidecar_files(found)[0]["content"].replace("#", "").split())


CLOSED = [istiod("1.20.8")]
TAKE_OUT = "It is closed today: take port 8080 out of web first, unless others are meant to reach it from now on."


def test_a_port_that_is_closed_today_is_taken_out_of_the_service_and_not_opened():
    found = plans(istiods=CLOSED, remediate_unreachable=False)
    (finding,) = found["findings"]
    assert (finding["impact"], finding["remedy"], finding["opens"]) == ("unreachable", "change_bind", True)
    assert found["remediations"] == []
    assert finding["notes"][0] == TAKE_OUT
    assert "planned with remediate_unreachable alone" in finding["notes"][1]


def test_a_port_that_is_closed_today_is_opened_where_that_is_asked_for_with_a_warning():
    found = plans(istiods=CLOSED)
    (finding,) = found["findings"]
    assert (finding["remedy"], finding["opens"], finding["notes"][0]) == ("create_sidecar", True, TAKE_OUT)
    assert ingress(found) == {8080: "127.0.0.1:8080"}
    warned = [note for note in found["remediations"][0]["notes"] if note.startswith("It opens port 8080, closed today")]
    assert len(warned) == 1 and "127.0.0.1, an address that many programs trust" in warned[0]


@pytest.mark.parametrize("plane", [istiod("1.9.9"), istiod("1.8.6"), istiod("v-unknown")])
def test_a_port_that_works_today_is_not_said_to_be_opened(plane):
    (finding,) = plans(istiods=[plane], remediate_unreachable=False)["findings"]
    assert (finding["opens"], finding["remedy"]) == (False, "create_sidecar")


TWO_REVISIONS = [istiod("1.9.9"), istiod("1.20.8", revision="canary")]


# The pods' owner, whether closed ports are to be opened, the remedies by workload, and what each plan says that it opens.
@pytest.mark.parametrize(
    "owner, asked_for, remedies, opened",
    [
        (("ReplicaSet", "canary-1"), False, {"web": "change_bind", "canary": "change_bind"}, []),
        (("ReplicaSet", "canary-1"), True, {"web": "create_sidecar", "canary": "create_sidecar"}, ["port 8080"]),
        (("ReplicaSet", "web-7d4b9"), False, {"web": "create_sidecar"}, ["port 8080 of canary-1-a"]),
    ],
)
def test_no_sidecar_opens_a_port_in_passing_for_pods_of_which_some_have_moved(owner, asked_for, remedies, opened):
    """Under 1.9 the port works and breaks with the upgrade; the pods that are on 1.20 already have it closed."""
    moved = pod("canary-1-a", ips=("10.0.0.6",), owner=owner, labels={"track": "canary"}, revision="canary")
    found = plans(
        [pod(), moved],
        istiods=TWO_REVISIONS,
        controllers=[controller(), CANARY],
        tables=[table(), table("canary-1-a", ("127.0.0.1:8080",))],
        target="1.20",
        remediate_unreachable=asked_for,
    )
    assert {finding["workload"]["name"]: finding["remedy"] for finding in found["findings"]} == remedies
    notes = [note for remediation in found["remediations"] for note in remediation["notes"]]
    assert [note.split(", closed today")[0] for note in notes if ", closed today" in note] == [
        f"It opens {what}" for what in opened
    ]


def test_beside_a_port_that_breaks_a_closed_one_stays_closed():
    """The Sidecar of today leaves 9090 out, and the one for 8080 has to list it, too."""
    mine = sidecar("mine", selector={"app": "web"}, ingress={8080: ":8080"})
    both = {"sidecars": [mine], "services": OFFERED, "binds": ("127.0.0.1:8080", "127.0.0.1:9090")}
    found = plans(remediate_unreachable=False, **both)
    assert [(each["port"], each["impact"], each["remedy"]) for each in found["findings"]] == [
        (8080, "breaks_on_upgrade", "update_sidecar"),
        (9090, "unreachable", "change_bind"),
    ]
    assert ingress(found) == {8080: "127.0.0.1:8080", 9090: "0.0.0.0:9090"}
    assert found["remediations"][0]["findings"] == ["IST0143/shop/Deployment/web/8080"]
    assert ingress(plans(**both)) == {8080: "127.0.0.1:8080", 9090: "127.0.0.1:9090"}


def leader_and_standby(**options: t.Any) -> dict:
    """A StatefulSet whose program labels one of its pods, the only one that the Service selects."""
    maker = {
        "kind": "StatefulSet",
        "metadata": meta("web"),
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": {"metadata": {"labels": {"app": "web"}}}},
    }
    named = (("web-0", "10.0.0.5", {"role": "leader"}), ("web-1", "10.0.0.6", {}))
    return report(
        pods=[
            pod(name=name, owner=("StatefulSet", "web"), ips=(ip,), proxy="1.20.8", labels=labels)
            for name, ip, labels in named
        ],
        services=[service(selector={"app": "web", "role": "leader"})],
        istiods=[istiod("1.20.8", opt_out=True)],
        target="1.24",
        controllers=[maker],
        tables=[table("web-0"), table("web-1")],
        **options,
    )


def test_no_sidecar_is_planned_that_would_change_pods_of_the_workload_that_nobody_exposes():
    found = leader_and_standby()
    assert found["remediations"] == []
    (finding,) = found["findings"]
    assert (finding["impact"], finding["remedy"]) == ("breaks_on_upgrade", "change_bind")
    assert (
        "No Service exposes web-1 of the same workload: a Sidecar for the workload would change it." in finding["notes"]
    )


def test_no_sidecar_is_edited_that_selects_pods_of_the_workload_which_nobody_exposes():
    found = leader_and_standby(sidecars=[sidecar(selector={"app": "web"})])
    assert found["remediations"] == []
    assert "also selects pods that nobody asks: No Service exposes web-1" in " ".join(found["findings"][0]["notes"])
