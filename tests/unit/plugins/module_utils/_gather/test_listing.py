# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is asked for, and a snapshot of what came."""

from __future__ import annotations

import json
import random
import time

import pytest

pytest.importorskip("yaml")

from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather import listing as _listing
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.schema import SnapshotError
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.snapshot import check
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.trim import Trimmer, trim
from ansible_collections.meshops.istio_precheck.tests.helpers import cluster

BY_KIND = {listing.kind: listing for listing in (*_listing.CONTROL_PLANE, *_listing.SELECTED)}


def rounds(namespaces=(), istio_namespace="istio-system", **found):
    """What is asked for, round by round, as (kind, namespace); `found` are the objects of a list by its key."""
    objects, asked, said = {"unlisted": []}, set(), []
    while more := [r for r in _listing.requests(namespaces, istio_namespace, objects) if r.id not in asked]:
        said.append([(r.listing.kind, r.namespace) for r in more])
        for request in more:
            asked.add(request.id)
            objects.setdefault(request.listing.key, found.get(request.listing.key, []))
    return said


def istiod(namespace="istio-system", **labels):
    return {
        "metadata": {"name": "istiod-1", "namespace": namespace, "labels": {"app": "istiod", **labels}},
        "spec": {"containers": [{"name": "discovery", "image": "docker.io/istio/pilot:1.9.9"}]},
    }


def asking(address):
    return cluster.pod(env={"PROXY_CONFIG": json.dumps({"discoveryAddress": address} if address else {})})


def test_everything_is_listed_once_where_no_namespace_is_named():
    first, *others = rounds()
    assert {namespace for _kind, namespace in first} == {""}
    assert sorted(kind for kind, _namespace in first) == sorted([*(each.kind for each in _listing.SELECTED), "Pod"])
    assert others == [[("Deployment", "istio-system"), ("ConfigMap", "istio-system")]]


def test_what_belongs_to_an_istiod_is_listed_where_it_is_found():
    _first, second = rounds(istiods=[istiod("mesh-a"), istiod("mesh-b")])
    assert second == [(kind, where) for where in ("mesh-a", "mesh-b") for kind in ("Deployment", "ConfigMap")]


def test_a_service_mesh_is_listed_where_nothing_else_says_its_version():
    nameless = istiod("mesh-a", **{"maistra-control-plane": "mesh-a"})
    nameless["spec"]["containers"][0]["image"] = "quay.io/maistra/pilot@sha256:00"
    assert rounds(istiods=[nameless])[2:] == [[("ServiceMeshControlPlane", "mesh-a")]]
    deployment = {
        **istiod("mesh-a", **{"maistra-version": "2.1.6"}),
        "spec": {"selector": {"matchLabels": {"app": "istiod"}}},
    }
    assert rounds(istiods=[nameless], istiodDeployments=[deployment])[2:] == []
    assert rounds(istiods=[istiod()])[2:] == []


def test_with_namespaces_only_these_are_listed_and_where_istiod_is_asked_for():
    first, second, third, fourth = rounds(("shop", "bank"), pods=[asking("istiod-basic.mesh-a.svc:15012")])
    assert {namespace for _kind, namespace in first} == {"shop", "bank"}
    assert second == [("Pod", "mesh-a")]
    assert third == [("Deployment", "mesh-a"), ("ConfigMap", "mesh-a")]
    assert fourth == [("Sidecar", "mesh-a"), ("EnvoyFilter", "mesh-a")]


@pytest.mark.parametrize(
    ("address", "places"),
    [
        ("istiod.mesh-a.svc:15012", ["mesh-a"]),
        (None, ["istio-system"]),  # Istio's default
        ("trafficdirector.googleapis.com:443", ["config"]),
    ],
)
def test_istio_namespace_counts_where_the_proxies_name_no_other(address, places):
    assert rounds(("shop",), "config", pods=[asking(address)])[1] == [("Pod", place) for place in places]
    assert ("Pod", "config") in rounds(("shop",), "config", pods=[asking(address), cluster.pod()])[1]


def test_a_root_namespace_that_is_named_is_listed_once_and_one_that_is_not_may_be_refused():
    assert [kind for kind, _where in sum(rounds(("istio-system",)), [])].count("Sidecar") == 1
    config = {"metadata": {"name": "istio", "namespace": "istio-system"}, "data": {"mesh": "rootNamespace: config"}}
    assert rounds(("shop",), configMaps=[config])[-1] == [("Sidecar", "config"), ("EnvoyFilter", "config")]
    assert not _listing.DEFAULT_SIDECARS.required and _listing.SIDECARS.required


def config(mesh, namespace="istio-system"):
    return {"metadata": {"name": "istio", "namespace": namespace}, "data": {"mesh": mesh}}


def asked_by_name(namespaces, mesh):
    """The Namespaces that are asked for, empty for all of them."""
    objects = {"unlisted": [], "pods": [cluster.pod()], "istiods": [istiod()], "configMaps": [config(mesh)]}
    requests = _listing.requests(namespaces, "istio-system", objects)
    return [request.name for request in requests if request.listing is _listing.NAMESPACES]


@pytest.mark.parametrize(
    ("namespaces", "mesh", "names"),
    [
        ((), "", []),
        (("shop",), "", []),
        ((), "discoverySelectors: []", []),
        ((), "discoverySelectors: [{matchLabels: {mesh: in}}]", [""]),
        (("shop", "bank"), "discoverySelectors: [{}]", ["bank", "istio-system", "shop"]),
        (("istio-system",), "discovery_selectors: [{}]", ["istio-system"]),
        (("shop",), "{rootNamespace: config, discoverySelectors: [{}]}", ["config", "shop"]),
    ],
)
def test_namespaces_are_asked_for_where_selectors_select_some(namespaces, mesh, names):
    assert asked_by_name(namespaces, mesh) == names


def test_a_namespace_by_its_name_has_a_path_that_the_name_cannot_leave():
    request = _listing.Request(_listing.NAMESPACES, "", name="../pods?x=")
    assert request.path("v1") == "/api/v1/namespaces/..%2Fpods%3Fx%3D"
    assert _listing.Request(_listing.NAMESPACES, "").path("v1") == "/api/v1/namespaces"


def test_a_snapshot_holds_names_and_labels_of_namespaces_only_where_they_were_asked_for():
    raw = {
        "metadata": {"name": "shop", "labels": {"mesh": "in"}, "annotations": {"a": "b"}, "uid": "1"},
        "spec": {"finalizers": ["kubernetes"]},
    }
    kept = [_listing.reduced(_listing.NAMESPACES, each, "v1") for each in (raw, {"metadata": {"name": "bank"}})]
    found = _listing.assemble({"pods": [], "namespaces": kept}, {}, "istio-system")
    assert check(found)["namespaces"] == [
        {"metadata": {"name": "bank"}},
        {"metadata": {"name": "shop", "labels": {"mesh": "in"}}},
    ]
    assert "namespaces" not in _listing.assemble({"pods": []}, {}, "istio-system")


@pytest.mark.parametrize(
    ("kind", "version", "namespace", "path"),
    [
        ("Pod", "v1", "", "/api/v1/pods"),
        ("Service", "v1", "shop", "/api/v1/namespaces/shop/services"),
        (
            "Sidecar",
            "networking.istio.io/v1beta1",
            "shop",
            "/apis/networking.istio.io/v1beta1/namespaces/shop/sidecars",
        ),
        ("Pod", "v1", "../../nodes?x=", "/api/v1/namespaces/..%2F..%2Fnodes%3Fx%3D/pods"),
    ],
)
def test_a_request_has_a_path_that_a_name_cannot_leave(kind, version, namespace, path):
    assert _listing.Request(BY_KIND[kind], namespace).path(version) == path


@pytest.mark.parametrize(
    ("kind", "absent"),
    [("Pod", False), ("Service", False), ("Sidecar", True), ("EndpointSlice", True), ("ReplicaSet", True)],
)
def test_a_server_may_lack_an_extension_but_no_core_kind(kind, absent):
    listings = [listing for listing in _listing.SELECTED if listing.kind == kind]
    assert [listing.may_be_absent for listing in listings] == [absent]


def test_objects_are_sorted_so_that_the_same_cluster_gives_the_same_file():
    pods = [cluster.pod(name=f"web-{n}", namespace=namespace) for n in range(5) for namespace in ("shop", "bank")]
    shuffled = random.Random(1).sample(pods, len(pods))
    one, other = (_listing.assemble({"pods": some}, {}, "istio-system") for some in (pods, shuffled))
    assert one == other
    assert [(p["metadata"]["namespace"], p["metadata"]["name"]) for p in one["pods"]][:2] == [
        ("bank", "web-0"),
        ("bank", "web-1"),
    ]


def test_an_assembled_snapshot_is_one():
    found = _listing.assemble(
        {"pods": [cluster.pod()], "services": [cluster.service()]},
        {"server": "x"},
        "istio-system",
    )
    assert check(found)["pods"][0]["metadata"]["name"] == "web-7d4b9-a"


def test_the_served_versions_of_sidecars_are_kept():
    served = ["v1/Pod", "networking.istio.io/v1/Sidecar", "networking.istio.io/v1/ServiceEntry"]
    assert _listing.assemble({"served": served}, {}, "istio-system")["sidecarVersions"] == ["v1"]


def test_an_object_keeps_what_its_list_says_of_it():
    meta = {"metadata": {"name": "web", "namespace": "shop"}}
    assert _listing.reduced(BY_KIND["ReplicaSet"], {**meta, "spec": {}}, "apps/v1")["kind"] == "ReplicaSet"
    assert (
        _listing.reduced(BY_KIND["Sidecar"], {**meta, "spec": {}}, "networking.istio.io/v1")["apiVersion"]
        == "networking.istio.io/v1"
    )


def test_a_sidecar_without_a_specification_is_an_empty_one():
    assert (
        _listing.reduced(
            BY_KIND["Sidecar"], {"metadata": {"name": "web", "namespace": "shop"}}, "networking.istio.io/v1"
        )["spec"]
        == {}
    )


def nested(levels):
    return {"a": nested(levels - 1)} if levels else {}


def put(thing, path, value):
    *parents, last = path.split(".")
    inner = thing
    for step in parents:
        inner = inner[int(step) if step.isdecimal() else step]
    inner[int(last) if last.isdecimal() else last] = value


# An object that no Kubernetes has: what is at some path of an ordinary one, and what is said of it.
MISSHAPEN = [
    ("Pod", "metadata.namespace", None, "Pod None/web-7d4b9-a.metadata.namespace: missing"),
    ("Pod", "metadata.labels", {"app": 1}, "Pod shop/web-7d4b9-a.metadata.labels.app: wanted text, found 1"),
    ("Pod", "metadata.labels", [], "Pod shop/web-7d4b9-a.metadata.labels: wanted a mapping, found a list"),
    (
        "Pod",
        "metadata.ownerReferences.0",
        None,
        "Pod shop/web-7d4b9-a.metadata.ownerReferences[0]: wanted a mapping, found nothing",
    ),
    ("Pod", "spec", None, "Pod shop/web-7d4b9-a.spec: missing"),
    ("Pod", "spec.containers", {}, "Pod shop/web-7d4b9-a.spec.containers: wanted a list, found a mapping"),
    ("Pod", "spec.containers.0", None, "Pod shop/web-7d4b9-a.spec.containers[0]: wanted a mapping, found nothing"),
    (
        "Pod",
        "spec.containers.1.env",
        [None],
        "Pod shop/web-7d4b9-a.spec.containers[1].env[0]: wanted a mapping, found nothing",
    ),
    ("Pod", "spec.hostNetwork", "yes", "Pod shop/web-7d4b9-a.spec.hostNetwork: wanted true or false, found 'yes'"),
    ("Pod", "status.phase", [], "Pod shop/web-7d4b9-a.status.phase: wanted text, found a list"),
    ("Pod", "status.podIP", "zzz", "Pod shop/web-7d4b9-a.status.podIP: wanted an IP address, found 'zzz'"),
    (
        "Pod",
        "status.podIPs",
        [{"ip": "zzz"}],
        "Pod shop/web-7d4b9-a.status.podIPs[0].ip: wanted an IP address, found 'zzz'",
    ),
    (
        "Service",
        "spec.ports.0.targetPort",
        [],
        "Service shop/web.spec.ports[0].targetPort: wanted a whole number from 0 to 65535, found a list",
    ),
    (
        "Sidecar",
        "spec.egress",
        [nested(70)],
        "Sidecar shop/web.spec.egress[0]: wanted at most 64 levels, found a mapping",
    ),
]


@pytest.mark.parametrize(
    ("kind", "path", "value", "wanted"), MISSHAPEN, ids=[f"{kind}.{path}" for kind, path, _value, _wanted in MISSHAPEN]
)
def test_an_object_that_no_kubernetes_has_is_named_with_the_path_inside_it(kind, path, value, wanted):
    made = {
        "Pod": cluster.pod,
        "Service": cluster.service,
        "Sidecar": lambda: cluster.sidecar(ingress={8080: "127.0.0.1:8080"}, name="web"),
    }
    thing = json.loads(json.dumps(made[kind]()))
    put(thing, path, value)
    with pytest.raises(SnapshotError) as caught:
        _listing.reduced(BY_KIND[kind], thing, "v1", Trimmer())
    assert str(caught.value) == wanted


# ---------------------------------------------------------------------------------------------------------------------
# Pods alike


def batch(name, image="batch:1", value="CANARY", token="x", **spec):
    raw = cluster.pod(name=name, owner=("Job", "batch"), labels={"pod-template-hash": ""})
    mounts = [{"name": f"kube-api-access-{token}", "mountPath": "/var/run/secrets"}]
    containers = [
        {"name": "app", "image": image, "env": [{"name": "PASSWORD", "value": value}], "volumeMounts": mounts}
    ]
    return {**raw, "spec": {"containers": containers, "volumes": [{"name": f"kube-api-access-{token}"}], **spec}}


def likes(*pods, listing=_listing.PODS):
    kept = [_listing.reduced(listing, pod, "v1") for pod in pods]
    snapshot = _listing.assemble({"pods": kept}, {}, "istio-system")
    assert "CANARY" not in str(snapshot)
    return [pod.get("specLike") for pod in snapshot["pods"]]


@pytest.mark.parametrize(
    ("second", "same"),
    [
        ({"token": "y"}, True),
        ({"nodeName": "another"}, True),
        ({"image": "batch:2"}, False),
        ({"value": "another"}, False),
    ],
)
def test_a_pod_whose_labels_name_no_template_names_the_first_pod_with_the_same_spec(second, same):
    assert likes(batch("batch-a"), batch("batch-b", **second)) == ["batch-a", "batch-a" if same else "batch-b"]


def test_a_pod_of_very_many_volumes_keeps_the_gather_busy_in_proportion():
    volumes = [{"name": f"kube-api-access-{n}"} for n in range(30_000)]
    before = time.process_time()
    assert likes(*(batch(name, volumes=volumes) for name in ("batch-a", "batch-b"))) == ["batch-a", "batch-a"]
    assert time.process_time() - before < 3


def test_a_pod_whose_labels_name_its_template_needs_no_other():
    assert likes(cluster.pod()) == [None]


@pytest.mark.parametrize("trimmed", [trim, Trimmer()], ids=["one", "many"])
def test_a_service_entry_whose_endpoints_have_ports_is_kept(trimmed):
    """Its list was refused for them, and with it the verdict on the cluster."""
    entry = cluster.service_entry()
    entry["spec"]["endpoints"] = [{"address": "10.0.0.5", "ports": {"http": 7070}}]
    kept = _listing.reduced(BY_KIND["ServiceEntry"], entry, "networking.istio.io/v1", trimmed)
    assert kept["spec"]["endpoints"] == entry["spec"]["endpoints"]
    entry["spec"]["endpoints"] = [{"address": "10.0.0.5", "ports": {"http": "7070"}}]
    with pytest.raises(SnapshotError, match=r"endpoints\[0\].ports.http: wanted a whole number"):
        _listing.reduced(BY_KIND["ServiceEntry"], entry, "networking.istio.io/v1", trimmed)
