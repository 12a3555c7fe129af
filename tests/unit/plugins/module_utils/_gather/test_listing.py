# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is asked for, and a snapshot of what came."""

from __future__ import annotations

import json
import random
import re

import pytest

pytest.importorskip("yaml")

from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather import listing as _listing
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh import control_plane as _control_plane
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model import snapshot as _snapshot
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.schema import SnapshotError
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.snapshot import check
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.trim import Trimmer
from ansible_collections.meshops.istio_precheck.tests.helpers import cluster

BY_KIND = {listing.kind: listing for listing in (*_listing.CONTROL_PLANE, *_listing.SELECTED)}


def test_everything_is_listed_once_where_no_namespace_is_named():
    asked = _listing.requests((), "istio-system")
    assert [r.namespace for r in asked] == [""] * len(_listing.SELECTED)
    assert {r.listing.kind for r in asked} >= {
        "Service",
        "Pod",
        "Sidecar",
        "ServiceEntry",
        "EndpointSlice",
        "ReplicaSet",
    }


def test_with_namespaces_only_these_are_listed_and_the_root_namespaces_sidecars():
    asked = _listing.requests(("shop", "bank"), "istio-config")
    assert {r.namespace for r in asked if r.listing.kind != "Sidecar"} == {"shop", "bank"}
    assert [r.namespace for r in asked if r.listing.kind == "Sidecar"] == ["shop", "bank", "istio-config"]


def test_a_root_namespace_that_is_named_is_not_listed_twice():
    asked = _listing.requests(("istio-system",), "istio-system")
    assert [r.namespace for r in asked if r.listing.kind == "Sidecar"] == ["istio-system"]


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
    one, other = (_listing.assemble({"pods": some}, {}, {}) for some in (pods, shuffled))
    assert one == other
    assert [(p["metadata"]["namespace"], p["metadata"]["name"]) for p in one["pods"]][:2] == [
        ("bank", "web-0"),
        ("bank", "web-1"),
    ]


def test_an_assembled_snapshot_is_one():
    found = _listing.assemble(
        {"pods": [cluster.pod()], "services": [cluster.service()]},
        {"server": "x"},
        _listing.control_planes({}, "istio-system"),
    )
    assert check(found)["pods"][0]["metadata"]["name"] == "web-7d4b9-a"


def test_the_served_versions_of_sidecars_are_kept():
    served = ["v1/Pod", "networking.istio.io/v1/Sidecar", "networking.istio.io/v1/ServiceEntry"]
    assert _listing.assemble({"served": served}, {}, {})["sidecarVersions"] == ["v1"]


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
# The control plane


def batch(name, image="batch:1", value="CANARY", token="x", **spec):
    raw = cluster.pod(name=name, owner=("Job", "batch"), labels={"pod-template-hash": ""})
    mounts = [{"name": f"kube-api-access-{token}", "mountPath": "/var/run/secrets"}]
    containers = [
        {"name": "app", "image": image, "env": [{"name": "PASSWORD", "value": value}], "volumeMounts": mounts}
    ]
    return {**raw, "spec": {"containers": containers, "volumes": [{"name": f"kube-api-access-{token}"}], **spec}}


def likes(*pods, listing=_listing.PODS):
    kept = [_listing.reduced(listing, pod, "v1") for pod in pods]
    snapshot = _listing.assemble({"pods": kept}, {}, {})
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


def test_a_pod_whose_labels_name_its_template_needs_no_other():
    assert likes(cluster.pod()) == [None]


def istiod(
    name="istiod-1",
    image="docker.io/istio/pilot:1.9.9",
    revision="default",
    phase="Running",
    env=(),
    labels=None,
    containers=None,
):
    return {
        "metadata": {
            "name": name,
            "namespace": "istio-system",
            "labels": {"app": "istiod", "istio.io/rev": revision, **(labels or {})},
        },
        "spec": {
            "containers": containers
            or [{"name": "discovery", "image": image, "env": [{"name": n, "value": v} for n, v in env]}]
        },
        "status": {"phase": phase},
    }


def config(text, name="istio"):
    return {"metadata": {"name": name}, "data": {"mesh": text}}


def planes(*pods, configs=()):
    return _listing.control_planes({"istiods": list(pods), "configMaps": list(configs)}, "istio-system")


def test_an_istiod_says_version_revision_and_the_variables_that_the_rule_reads():
    (plane,) = planes(istiod(env=[("PILOT_ENABLE_INBOUND_PASSTHROUGH", "false"), ("SECRET", "x")]))["controlPlanes"]
    assert plane == {
        "namespace": "istio-system",
        "revision": "default",
        "version": "1.9.9",
        "env": {"PILOT_ENABLE_INBOUND_PASSTHROUGH": "false"},
        "meshConfig": {},
    }


def test_replicas_of_one_istiod_are_one_control_plane_and_two_versions_are_two():
    found = planes(istiod(), istiod("istiod-2"), istiod("istiod-3", image="docker.io/istio/pilot:1.10.0"))[
        "controlPlanes"
    ]
    assert [plane["version"] for plane in found] == ["1.10.0", "1.9.9"] or [plane["version"] for plane in found] == [
        "1.9.9",
        "1.10.0",
    ]
    assert len(found) == 2


def test_an_istiod_that_does_not_run_delivers_nothing():
    assert planes(istiod(phase="Failed"), istiod(phase="Pending"))["controlPlanes"] == []


def test_an_image_without_a_version_leaves_it_to_the_labels():
    (plane,) = planes(
        istiod(image="registry.example/pilot@sha256:" + "0" * 64, labels={"app.kubernetes.io/version": "1.22.3"})
    )["controlPlanes"]
    assert plane["version"] == "1.22.3"


def test_the_discovery_container_is_read_wherever_it_stands():
    others = [{"name": "logger", "image": "logger:9.9.9"}, {"name": "discovery", "image": "istio/pilot:1.9.9"}]
    assert planes(istiod(containers=others))["controlPlanes"][0]["version"] == "1.9.9"


def test_each_revision_has_its_own_mesh_configuration():
    found = planes(
        istiod(),
        istiod("istiod-canary", revision="canary"),
        configs=[config("rootNamespace: config"), config("rootNamespace: other", "istio-canary")],
    )
    assert {plane["revision"]: plane["meshConfig"] for plane in found["controlPlanes"]} == {
        "default": {"rootNamespace": "config"},
        "canary": {"rootNamespace": "other"},
    }
    assert found["rootNamespace"] == "config"


def test_without_an_istiod_the_istio_namespace_is_the_root():
    assert planes() == {"rootNamespace": "istio-system", "controlPlanes": [], "meshConfig": {}}


@pytest.mark.parametrize(
    "text", [None, "", "# nothing", "---", "null", "a: !!python/object/apply:os.system [id]", "a: b"]
)
def test_a_mesh_configuration_that_says_nothing_is_all_defaults(text):
    assert _listing.mesh_config(text) == {}


BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
LOCALHOST = {"inboundTrafficPolicy": {"mode": "LOCALHOST"}}
TAKEN = {
    "an alias": ("x: &x {mode: LOCALHOST}\ninboundTrafficPolicy: *x", LOCALHOST),
    "a merge": ("x: &x {mode: LOCALHOST}\ninboundTrafficPolicy: {<<: *x}", LOCALHOST),
    "a merge that is overruled": (
        "x: &x {mode: PASSTHROUGH}\ninboundTrafficPolicy: {<<: [*x], mode: LOCALHOST}",
        LOCALHOST,
    ),
    "a merge of everything": ("x: &x {inboundTrafficPolicy: {mode: LOCALHOST}}\n<<: *x", LOCALHOST),
    "its other spelling": ("inbound_traffic_policy: {mode: LOCALHOST}", LOCALHOST),
    "its number": ("inboundTrafficPolicy: {mode: 1}", LOCALHOST),
    "JSON": ('{"inboundTrafficPolicy": {"mode": "LOCALHOST"}}', LOCALHOST),
    "a bomb beside it": (f"{BOMB}inboundTrafficPolicy: {{mode: LOCALHOST}}", LOCALHOST),
    "what is no plain data beside it": (
        "x: !!binary aGk=\ny: !!set {a}\nz: 2020-01-01\ninboundTrafficPolicy: {mode: LOCALHOST}",
        LOCALHOST,
    ),
    "nothing": ("inboundTrafficPolicy:", {}),
    "a name that is a date": ("rootNamespace: 2020-01-01", {"rootNamespace": "2020-01-01"}),
    "a name to the base of 60": ("rootNamespace: 1:30", {"rootNamespace": "1:30"}),
}


@pytest.mark.parametrize("what", TAKEN)
def test_a_mesh_configuration_is_read_as_istiod_reads_it(what):
    text, fields = TAKEN[what]
    assert _listing.mesh_config(text) == fields


UNREADABLE = {
    "a list": ("- a list", "mesh: line 1: wanted a mapping"),
    "text": ("just text", "mesh: line 1: wanted a mapping"),
    "a number": ("5", "mesh: line 1: wanted a mapping"),
    "no YAML": ("a: b\n{unclosed", "mesh: it is not YAML: line "),
    "a tab": ("\t\tbad", "mesh: it is not YAML: line 1: "),
    "two documents": ("a: b\n---\na: b", "mesh: line 3: wanted one document"),
    "a date": (
        "inboundTrafficPolicy: {mode: 2020-01-01}",
        "mesh: inboundTrafficPolicy.mode: wanted one of PASSTHROUGH, LOCALHOST, found 2020-01-01",
    ),
    "a set": ("inboundTrafficPolicy: !!set {mode}", "mesh: line 1: the tag !!set is none of plain data"),
    "bytes": ("rootNamespace: !!binary aGk=", "mesh: line 1: the tag !!binary is none of plain data"),
    "a time": ("outboundTrafficPolicy: {mode: !!timestamp 2020-01-01}", "mesh: line 1: the tag !!timestamp is none"),
    "a number to the base of 60": (
        "outboundTrafficPolicy: {mode: 1:30}",
        "mesh: outboundTrafficPolicy.mode: wanted one of",
    ),
    "an object of Python": (
        "rootNamespace: !!python/name:os.system x",
        "mesh: line 1: the tag !!python/name:os.system is none",
    ),
    "a namespace that is true": ("rootNamespace: yes", "mesh: rootNamespace: wanted text"),
    "a policy that is a list": ("inboundTrafficPolicy: [LOCALHOST]", "mesh: inboundTrafficPolicy: wanted a mapping"),
    "two of a key": (
        "inboundTrafficPolicy: {mode: LOCALHOST}\ninboundTrafficPolicy: {}",
        "mesh: line 2: the key 'inboundTrafficPolicy' comes twice",
    ),
    "infinity": ("outboundTrafficPolicy: {x: .inf}", "mesh: line 1: .inf is no number that JSON has"),
    "more than any number": ("outboundTrafficPolicy: {x: 1e999}", "mesh: line 1: 1e999 is no number that JSON has"),
    "digits without end": (
        f"outboundTrafficPolicy: {{x: 0x{'f' * 5000}}}",
        "mesh: line 1: a number has more than 400 characters",
    ),
    "a bomb": (f"{BOMB}outboundTrafficPolicy: {{x: *a11}}", "mesh: line 1: its aliases stand for more than is read"),
    "itself": ("outboundTrafficPolicy: &x {x: *x}", "mesh: line 1: the alias \\*x stands for nothing, or for itself"),
    "levels without end": (
        "a: " + "[" * 100_000,
        "mesh: (line 1: it holds more than 100 levels|it is not YAML: line 1: .*exceeded maximum nesting depth)",
    ),
    "half of a surrogate pair": ("a: \ud800", "mesh: it is not YAML: 'utf-8' codec"),
}


@pytest.mark.parametrize("what", UNREADABLE)
def test_a_mesh_configuration_that_istiod_would_not_take_is_named_and_nothing_is_made_of_it(what):
    text, message = UNREADABLE[what]
    objects = {"configMaps": [config(text)], "istiods": [istiod()]}
    found = _listing.control_planes(objects, "istio-system")
    (hidden,) = objects["unlisted"]
    assert (hidden["resource"], hidden["object"]) == ("configmaps", "ConfigMap istio-system/istio")
    assert re.match(message, hidden["detail"]) and hidden["detail"].isprintable() or "surrogate" in what
    assert found["meshConfig"] == {} and found["rootNamespace"] == "istio-system"
    snapshot = {**cluster.snapshot(), "istio": found, "unlisted": objects["unlisted"]}
    _snapshot.check(snapshot)
    (plane,) = _control_plane.ControlPlanes(snapshot).all
    assert not plane.config_known


@pytest.mark.parametrize("name", ["other", "istiox"])
def test_no_other_config_map_is_read(name):
    objects = {"configMaps": [config("- a list", name)]}
    assert _listing.control_planes(objects, "istio-system")["meshConfig"] == {} and "unlisted" not in objects
