# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.meshops.istio_precheck.tests.helpers.cluster import (
    endpoint_slice,
    exposed_in,
    meta,
    pod,
    port,
    read_pod,
    service,
    service_entry,
    snapshot,
)


def exposed(*args, **kwargs):
    """`{pod: [(port, Service)]}`"""
    found = exposed_in(snapshot(*args, **kwargs)).by_pod
    return {name: [(e.port, e.service) for e in exposures] for (_namespace, name), exposures in found.items()}


def passed_over(*args, **kwargs):
    return [(s["service"], s["port"], s["reason"]) for s in exposed_in(snapshot(*args, **kwargs)).skipped]


def two(**second):
    return [pod("a", ports={"http": 8080}), pod("b", **second)]


@pytest.mark.parametrize(
    "services, wanted",
    [
        ([service()], [(8080, "web")]),
        ([service(ports=[port(80, None)])], [(80, "web")]),
        ([service(ports=[port(80, 0)])], [(80, "web")]),
        ([service(ports=[port(80, "http")])], [(8080, "web")]),
        (
            [service(ports=[port(80), port(81, 8080, "again"), port(82, 8082, "more")])],
            [(8080, "web"), (8080, "web"), (8082, "web")],
        ),
        ([service(), service("other", ports=[port(9000, 8080)])], [(8080, "other"), (8080, "web")]),
        ([service(clusterIP="None")], [(8080, "web")]),
        ([service(type="NodePort")], [(8080, "web")]),
        ([service(type="LoadBalancer")], [(8080, "web")]),
        ([service(selector={"app": "web", "pod-template-hash": "7d4b9"})], [(8080, "web")]),
    ],
)
def test_a_service_exposes_the_target_ports_of_the_pods_it_selects(services, wanted):
    assert exposed([pod("a", ports={"http": 8080})], services) == {"a": wanted}


def test_an_exposure_says_by_what():
    named = service(
        ports=[port(80, name="grpc", appProtocol="kubernetes.io/h2c")],
        families=("IPv6", "IPv4"),
        created="2026-02-02T00:00:00Z",
    )
    entry = service_entry(ports=[{"number": 81, "name": "tcp", "protocol": "MONGO"}])
    entry["metadata"]["creationTimestamp"] = "2026-03-03T00:00:00Z"
    found = exposed_in(snapshot([pod("a")], [named], serviceEntries=[entry])).by_pod["shop", "a"]
    assert [tuple(e) for e in found] == [
        (
            81,
            "web-entry",
            81,
            "tcp",
            "MONGO",
            "ServiceEntry",
            (),
            ("2026-03-03T00:00:00Z", "web.example", 0),
            "",
        ),
        (
            8080,
            "web",
            80,
            "grpc",
            "kubernetes.io/h2c",
            "Service",
            ("IPv6", "IPv4"),
            ("2026-02-02T00:00:00Z", "web.shop.svc.", 0),
            "",
        ),
    ]
    assert found[1].as_dict() == {"name": "web", "port": 80, "port_name": "grpc"}


@pytest.mark.parametrize(
    "a_service",
    [
        service(namespace="billing"),
        service(selector={"app": "other"}),
        service(selector={"app": "web", "tier": "x"}),
        service(ports=[]),
    ],
)
def test_a_service_that_does_not_select_the_pod_exposes_nothing_of_it(a_service):
    assert exposed([pod()], [a_service]) == {}


def test_a_named_target_port_is_each_pods_own():
    assert exposed(two(ports={"http": 9090}), [service(ports=[port(80, "http")])]) == {
        "a": [(8080, "web")],
        "b": [(9090, "web")],
    }


def test_a_named_target_port_may_be_a_native_sidecars():
    helper = {"name": "helper", "restartPolicy": "Always", "ports": [{"name": "http", "containerPort": 7070}]}
    once = {"name": "once", "ports": [{"name": "http", "containerPort": 6060}]}
    assert exposed([pod("a", initContainers=[once, helper])], [service(ports=[port(80, "http")])]) == {
        "a": [(7070, "web")]
    }


def test_a_named_target_port_is_of_the_same_protocol():
    a_pod = pod("a")
    a_pod["spec"]["containers"][0]["ports"] = [
        {"name": "dns", "containerPort": 53, "protocol": "UDP"},
        {"name": "dns", "containerPort": 5353},
    ]
    assert exposed([a_pod], [service(ports=[port(80, "dns")])]) == {"a": [(5353, "web")]}


@pytest.mark.parametrize(
    "pods, reason",
    [
        (
            [pod("a")],
            "The pod that it selects declares no TCP container port named 'http', so the Service sends nothing there.",
        ),
        (
            two(),
            "1 of the 2 pods that it selects declare no TCP container port named 'http', so the Service sends nothing there.",
        ),
    ],
)
def test_a_named_port_that_no_container_declares_is_said(pods, reason):
    assert passed_over(pods, [service(ports=[port(80, "http")])]) == [("web", 80, reason)]


@pytest.mark.parametrize(
    "a_service, reason",
    [
        (service(ports=[port(protocol="UDP")]), "UDP is not checked: the rule is about TCP listeners."),
        (service(ports=[port(protocol="sctp")]), "SCTP is not checked: the rule is about TCP listeners."),
        (
            service(type="ExternalName", externalName="db.example"),
            "An ExternalName Service is an alias in DNS, here of db.example: no pod stands behind it.",
        ),
        (service(selector={"app": "gone"}), "Its selector matches no pod that runs or may run."),
        (service(selector={}), "It has no selector, and none of its EndpointSlices leads to a pod."),
    ],
)
def test_what_the_rule_is_not_about_is_said(a_service, reason):
    assert passed_over([pod()], [a_service]) == [("web", 80, reason)]
    assert exposed([pod()], [a_service]) == {}


@pytest.mark.parametrize(
    "spec, wanted",
    [
        ({"phase": "Running"}, True),
        ({"phase": "Running", "ready": False}, True),
        ({"phase": "Pending", "ips": ()}, True),
        ({"phase": "Unknown"}, True),
        ({"phase": "Succeeded"}, False),
        ({"phase": "Failed"}, False),
        ({"deleting": True, "owner": None}, False),
    ],
)
def test_a_pod_is_asked_until_it_ends(spec, wanted):
    assert read_pod(**spec).can_be_asked is wanted
    assert bool(exposed([pod(**spec)])) is wanted


# The owner of a pod that is being deleted, beside another of the same owner; which pods count.
@pytest.mark.parametrize(
    "owner, wanted",
    [
        (("StatefulSet", "web"), ["web-0", "web-1"]),
        (("ReplicaSet", "web"), ["web-1"]),
        (("DaemonSet", "web"), ["web-1"]),
        (None, ["web-1"]),
    ],
)
def test_each_pod_of_a_statefulset_stands_for_itself_while_it_is_being_deleted(owner, wanted):
    """On a node that is gone that lasts; the others may serve Services of their own."""
    name = "statefulset.kubernetes.io/pod-name"
    pods = [
        pod("web-0", owner=owner, labels={name: "web-0"}, deleting=True),
        pod("web-1", owner=owner, labels={name: "web-1"}, ips=("10.0.0.6",)),
    ]
    assert sorted(exposed(pods, [service(each, selector={name: each}) for each in ("web-0", "web-1")])) == wanted


# ---------------------------------------------------------------------------------------------------------------------
# EndpointSlices and ServiceEntries


@pytest.mark.parametrize(
    "part, wanted",
    [
        (endpoint_slice(pods=["a"]), {"a": [(8080, "web")]}),
        (endpoint_slice(addresses=["10.0.0.5"]), {"a": [(8080, "web")]}),
        (endpoint_slice(pods=["a"], number=9090), {"a": [(9090, "web")]}),
        (endpoint_slice(pods=["gone"]), {}),
        (endpoint_slice(addresses=["192.0.2.9"]), {}),
        (endpoint_slice(pods=["a"], name="other"), {}),
        (endpoint_slice("other", pods=["a"]), {}),
        (endpoint_slice(namespace="billing", pods=["a"]), {}),
    ],
)
def test_a_service_without_selector_exposes_what_its_endpoint_slices_lead_to(part, wanted):
    assert exposed([pod("a")], [service(selector={})], endpointSlices=[part]) == wanted
    assert bool(passed_over([pod("a")], [service(selector={})], endpointSlices=[part])) is not bool(wanted)


def test_an_endpoint_slice_names_no_pod_of_another_namespace():
    part = endpoint_slice(pods=["a"])
    part["endpoints"][0]["targetRef"]["namespace"] = "billing"
    assert exposed([pod("a", "billing"), pod("a")], [service(selector={})], endpointSlices=[part]) == {}


def test_the_address_of_a_node_is_no_pods():
    part = endpoint_slice(addresses=["10.0.0.5"])
    assert exposed([pod(host_network=True)], [service(selector={})], endpointSlices=[part]) == {}


def test_the_endpoint_slices_of_a_service_with_a_selector_add_nothing():
    assert exposed(
        [pod("a"), pod("b", app="other")], endpointSlices=[endpoint_slice(pods=["a", "b"], number=9090)]
    ) == {"a": [(8080, "web")]}


@pytest.mark.parametrize("family", ["IPv4", "IPv6"])
def test_an_endpoint_slice_is_of_one_family(family):
    found = exposed_in(
        snapshot(
            [pod("a")],
            [service(selector={}, families=("IPv4", "IPv6"))],
            endpointSlices=[endpoint_slice(pods=["a"], family=family)],
        )
    )
    assert [e.families for e in found.by_pod["shop", "a"]] == [(family,)]


def test_endpoint_slices_that_could_not_be_listed_are_said():
    unlisted = [{"resource": "endpointslices", "detail": "forbidden"}]
    wanted = "It has no selector, and EndpointSlices could not be listed, so its pods are not known."
    assert passed_over([pod()], [service(selector={})], unlisted=unlisted) == [("web", 80, wanted)]


@pytest.mark.parametrize(
    "ports, wanted",
    [
        ([{"number": 80, "name": "tcp"}], [(80, "web-entry")]),
        ([{"number": 80, "name": "tcp", "targetPort": 9090}], [(9090, "web-entry")]),
        ([{"number": 80, "name": "http", "targetPort": 8080}], [(8080, "web-entry")]),
        ([{"number": 80, "targetPort": 9090, "protocol": "HTTP"}], [(9090, "web-entry")]),
    ],
)
def test_a_service_entry_with_a_workload_selector_exposes_pods(ports, wanted):
    assert exposed([pod("a", ports={"http": 8080})], [], serviceEntries=[service_entry(ports=ports)]) == {"a": wanted}


def ways(*args, **kwargs):
    """`[(port, how)]` of the pod a"""
    return [(e.port, e.how) for e in exposed_in(snapshot(*args, **kwargs)).by_pod["shop", "a"]]


def test_a_service_entrys_port_that_has_the_name_of_a_containers_is_one_of_the_two():
    entry = service_entry(ports=[{"number": 80, "name": "http", "targetPort": 9090}])
    found = ways([pod("a", ports={"http": 8080})], [], serviceEntries=[entry])
    assert found == [(8080, "port_name"), (9090, "port_number")]


@pytest.mark.parametrize("ports, how", [({}, "native_port"), ({"http": 8080}, "")])
def test_a_port_name_that_only_a_native_sidecar_declares_is_said_to_be_that(ports, how):
    a_pod = pod("a", ports=ports)
    helper = {"name": "helper", "restartPolicy": "Always", "ports": [{"name": "http", "containerPort": 8080}]}
    a_pod["spec"]["initContainers"].append(helper)
    assert ways([a_pod], [service(ports=[port(80, "http")])]) == [(8080, how)]
    assert ways([a_pod], [service(ports=[port(80, 8080)])]) == [(8080, "")]


@pytest.mark.parametrize(
    "addresses, selected, how",
    [
        (["10.0.0.5"], False, ""),
        (["fd00::5"], False, "other_address"),
        (["10.0.0.5", "fd00::5"], False, ""),
        (["10.0.0.5", "fd00::5"], True, "beside"),
        (["fd00::5"], True, "beside"),
    ],
)
def test_slices_say_whether_they_hold_the_pods_first_address(addresses, selected, how):
    parts = [endpoint_slice("manual", addresses=[each]) for each in addresses]
    services = [service("manual", selector={}), *([service()] if selected else [])]
    found = exposed_in(snapshot([pod("a", ips=("10.0.0.5", "fd00::5"))], services, endpointSlices=parts))
    assert {e.how for e in found.by_pod["shop", "a"] if e.service == "manual"} == {how}


@pytest.mark.parametrize(
    "endpoint, wanted",
    [
        ({"address": "10.0.0.5"}, [(9090, "", ("IPv4",))]),
        ({"address": "fd00::5"}, [(9090, "", ("IPv6",))]),
        ({"address": "10.0.0.5", "ports": {"http": 7070}}, [(7070, "", ("IPv4",))]),
        ({"address": "10.0.0.5", "ports": {"other": 7070}}, [(9090, "", ("IPv4",))]),
        ({"address": "192.0.2.9"}, []),
        ({"address": "web.example"}, []),
        ({}, []),
    ],
)
def test_a_service_entry_whose_endpoints_are_a_pods_addresses_exposes_it(endpoint, wanted):
    entry = service_entry(ports=[{"number": 80, "name": "http", "targetPort": 9090}])
    del entry["spec"]["workloadSelector"]
    entry["spec"]["endpoints"] = [endpoint]
    pods = [pod("a", ips=("10.0.0.5", "fd00::5"), ports={"http": 8080})]
    found = exposed_in(snapshot(pods, [], serviceEntries=[entry]))
    assert [(e.port, e.how, e.families) for e in found.by_pod.get(("shop", "a"), ())] == wanted
    assert found.skipped == []
    entry["metadata"]["namespace"] = "billing"
    found = exposed_in(snapshot(pods, [], serviceEntries=[entry])).by_pod.get(("shop", "a"), ())
    assert [(e.port, e.how, e.families) for e in found] == [
        (p, "other_namespace", families) for p, _how, families in wanted
    ]
    assert {e.service for e in found} == ({"billing/web-entry"} if wanted else set())


def workload_entry(address="10.0.0.5", namespace="shop", app="db", **spec):
    return {"metadata": meta("entry", namespace), "spec": {"address": address, "labels": {"app": app}, **spec}}


DATABASE = service("db", selector={"app": "db"}, ports=[port(80, 5432, "tcp")])
NAMED = service("db", selector={"app": "db"}, ports=[port(80, "sql", "tcp")])
ENTRIES = [
    # what selects it, the WorkloadEntry, the ports of the pod that it exposes
    (DATABASE, workload_entry(), [5432]),
    (DATABASE, workload_entry("fd00::5"), [5432]),
    (DATABASE, workload_entry(ports={"tcp": 5433, "sql": 1}), [5433]),
    (NAMED, workload_entry(ports={"sql": 5433}), [5433]),
    (NAMED, workload_entry(), []),
    (service("db", selector={"app": "db"}, ports=[port(5432, None)]), workload_entry(), [5432]),
    (DATABASE, workload_entry(app="other"), []),
    (DATABASE, workload_entry("192.0.2.9"), []),
    (DATABASE, workload_entry(namespace="billing"), []),
    (service("db", selector={}), workload_entry(), []),
    (service_entry(selector={"app": "db"}, ports=[{"number": 80, "name": "tcp"}]), workload_entry(), [80]),
    (service_entry(selector={"app": "db"}, ports=[{"number": 80, "targetPort": 81}]), workload_entry(), [81]),
    (
        service_entry(selector={"app": "db"}, ports=[{"number": 80, "name": "tcp"}]),
        workload_entry(ports={"tcp": 82}),
        [82],
    ),
]


@pytest.mark.parametrize(("selecting", "entry", "wanted"), ENTRIES)
def test_what_selects_a_workload_entry_of_a_pods_address_exposes_the_pod(selecting, entry, wanted):
    """istiod has the proxy of that address serve it: GetProxyServiceTargets, pilot/pkg/serviceregistry/kube/controller/controller.go@1.20.8."""
    kinds = {"services": []} | (
        {"serviceEntries": [selecting]} if "hosts" in selecting["spec"] else {"services": [selecting]}
    )
    pods = [pod("a", ips=("10.0.0.5", "fd00::5")), pod("b", ips=("10.0.0.6",))]
    found = exposed_in(snapshot(pods, **kinds, workloadEntries=[entry]))
    exposed = [(pod_key, exposure.port) for pod_key, several in found.by_pod.items() for exposure in several]
    assert exposed == [(("shop", "a"), number) for number in wanted]


IN_BILLING = [
    # what selects a WorkloadEntry of billing that has the address of a pod of shop; the ports of that pod, the way of each and what they are told of
    (service("db", "billing", {"app": "db"}, [port(80, 5432, "tcp")]), [(5432, "", "billing/db")]),
    (
        service_entry("db", "billing", {"app": "db"}, [{"number": 80, "name": "tcp"}]),
        [(80, "other_namespace", "billing/db")],
    ),
    (DATABASE, []),
    (service_entry("db", "shop", {"app": "db"}, [{"number": 80, "name": "tcp"}]), []),
]


@pytest.mark.parametrize(("selecting", "wanted"), IN_BILLING)
def test_a_workload_entry_stands_for_a_pod_of_another_namespace_too(selecting, wanted):
    """No istiod asks for the namespace of the one entry of an address: GetInstanceForProxy, workloadinstances/util.go@1.14.0."""
    kind = "serviceEntries" if "hosts" in selecting["spec"] else "services"
    more = {"services": [], kind: [selecting]}
    found = exposed_in(snapshot([pod("a")], **more, workloadEntries=[workload_entry(namespace="billing")]))
    assert [(e.port, e.how, e.service) for e in found.by_pod.get(("shop", "a"), ())] == wanted


def test_what_a_service_entry_does_not_expose_is_said():
    udp = service_entry(ports=[{"number": 53, "protocol": "UDP"}])
    assert passed_over([pod()], [], serviceEntries=[udp]) == [
        ("web-entry", 53, "UDP is not checked: the rule is about TCP listeners.")
    ]
    gone = service_entry(selector={"app": "gone"})
    assert passed_over([pod()], [], serviceEntries=[gone]) == [
        ("web-entry", 80, "Its workloadSelector matches no pod that runs or may run.")
    ]


def test_a_service_entry_without_a_workload_selector_is_about_no_pod():
    entry = service_entry()
    entry["spec"]["workloadSelector"] = None
    found = exposed_in(snapshot([pod()], [], serviceEntries=[entry]))
    assert (found.by_pod, found.skipped) == ({}, [])
