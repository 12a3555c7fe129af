# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.attempts import Attempt, answers, attempts
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.cluster import read_cluster
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.label_selector import (
    SelectionError,
    label_matcher,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.selection import (
    Selection,
    asked,
    select,
    why_not_covered,
)
from ansible_collections.meshops.istio_precheck.tests.helpers.cluster import (
    pod,
    port,
    read_pod,
    service,
    snapshot,
)


def chosen(pods, services=None, **selection):
    """`{pod: pod it is read in}`"""
    found = select(read_cluster(snapshot(pods, services)), Selection(**selection)).targets
    return {t.pod.name: t.readers[0][1] for t in found}


@pytest.mark.parametrize(
    "spec, selection, wanted",
    [
        ({}, {}, True),
        ({}, {"namespaces": ("shop", "billing")}, True),
        ({}, {"namespaces": ("billing",)}, False),
        ({}, {"exclude_namespaces": ("shop",)}, False),
        ({}, {"namespaces": ("shop",), "exclude_namespaces": ("shop",)}, False),
        ({}, {"label_selectors": ("app=web",)}, True),
        ({}, {"label_selectors": ("app=web", "tier")}, False),
        ({"proxy": None}, {}, False),
        ({"proxy": None}, {"scope": "all"}, True),
        ({"role": "router"}, {}, False),
        ({"role": "router"}, {"scope": "all"}, True),
        ({"host_network": True}, {}, False),
        ({"host_network": True}, {"scope": "all"}, True),
        ({"app": "unexposed"}, {"scope": "all"}, False),
        ({"phase": "Pending"}, {}, True),
        ({"phase": "Succeeded"}, {}, False),
    ],
)
def test_the_pods_of_a_run_are_those_exposed_and_selected(spec, selection, wanted):
    assert bool(chosen([pod(**spec)], **selection)) is wanted


PROBED = {"probes": {"livenessProbe": {"tcpSocket": {"port": 8080}}}}
GOING = {"deleting": True, **PROBED}


# The pods of a workload, without a Service; those that are looked at for the sake of their probes.
@pytest.mark.parametrize(
    "pods, wanted",
    [
        ([pod("a", **PROBED)], {"a"}),
        ([pod("a", **GOING)], {"a"}),  # the last one, and others come after it
        ([pod("a", **GOING), pod("b", **PROBED)], {"b"}),
        ([pod("a", owner=None, **GOING)], set()),
        ([pod("a", phase="Failed", **GOING)], set()),
        ([pod("a", deleting=True)], set()),
    ],
)
def test_a_pod_whose_probe_is_at_risk_is_looked_at_as_long_as_it_stands_for_its_workload(pods, wanted):
    assert set(chosen(pods, services=[])) == wanted


def test_what_is_passed_over_is_said_of_the_selected_namespaces_only():
    services = [
        service(ports=[port(53, protocol="UDP")]),
        service(namespace="billing", ports=[port(53, protocol="UDP")]),
    ]
    found = select(read_cluster(snapshot([pod()], services)), Selection(namespaces=("billing",))).skipped
    assert [s["namespace"] for s in found] == ["billing"]


HIDDEN = [{"resource": "endpointslices", "detail": "forbidden"}]
SLICED = service("bare", selector={})
UNSEEN = {
    "a record of some namespaces, and all are asked for": (
        {"metadata": {"namespaces": ["bank", "shop"]}},
        {},
        "namespaces: of this cluster namespaces bank and shop alone were recorded; name them, or record all of it",
    ),
    "a record of one namespace, and another is asked for": (
        {"metadata": {"namespaces": ["shop"]}},
        {"namespaces": ("shop", "bank")},
        "namespaces: of this cluster namespace shop alone was recorded; name it, or record all of it",
    ),
    "a Service without a selector, and a record without EndpointSlices": (
        {"services": [service(), service("by-hand", selector={})]},
        {},
        "the pods of Service shop/by-hand, which has no selector, are not known: the record holds no EndpointSlices",
    ),
    "a Service without a selector, and EndpointSlices that there are none of": (
        {"services": [service(), service("by-hand", selector={})], "endpointSlices": []},
        {},
        None,
    ),
    "a record of one namespace, and it is asked for": (
        {"metadata": {"namespaces": ["shop"]}},
        {"namespaces": ("shop",)},
        None,
    ),
    "all that is asked for is there": ({}, {"namespaces": ("shop",), "label_selectors": ("app=web",)}, None),
    "nothing at all is asked for and nothing is there": (
        {"pods": [], "services": []},
        {},
        "no Pod and no Service of the whole cluster is to be seen",
    ),
    "nothing but the API server's Service is there": (
        {"pods": [], "services": [service("kubernetes", "default", selector={})]},
        {},
        None,
    ),
    "all that would be checked is excluded": (
        {"pods": [pod(), pod("pay-1", "bank", proxy=None)]},
        {"exclude_namespaces": ("shop",)},
        "exclude_namespaces: nothing is left to check, the one pod with exposed ports being left out",
    ),
    "all that would be checked is excluded or not selected": (
        {"pods": [pod(), pod("web-2"), pod("pay-1", "bank", proxy=None, app="pay")]},
        {"exclude_namespaces": ("shop",), "label_selectors": ("app=pay",)},
        "exclude_namespaces and label_selectors: nothing is left to check, all 2 pods with exposed ports being left out",
    ),
    "a part is excluded": (
        {"pods": [pod(), pod("web-1", "bank")], "services": [service(), service(namespace="bank")]},
        {"exclude_namespaces": ("shop",)},
        None,
    ),
    "what is excluded would not be checked either": (
        {"pods": [pod(proxy=None)]},
        {"exclude_namespaces": ("shop",)},
        None,
    ),
    "a namespace without anything in it": (
        {},
        {"namespaces": ("shop", "shpo")},
        "namespaces: there is no Pod and no Service in a namespace 'shpo'",
    ),
    "one that is known to be empty": ({"emptyNamespaces": ["shpo"]}, {"namespaces": ("shpo",)}, None),
    "one that may not be asked for": (
        {"unlisted": [{"resource": "namespaces", "detail": "forbidden"}]},
        {"namespaces": ("shpo",)},
        "namespaces: there is no Pod and no Service in a namespace 'shpo', and it could not be asked whether it exists: forbidden",
    ),
    "a namespace that is excluded too": (
        {},
        {"namespaces": ("shop",), "exclude_namespaces": ("shop",)},
        "namespaces: 'shop' is also in exclude_namespaces, so it would not be checked",
    ),
    "a selector that matches nothing": (
        {},
        {"label_selectors": ("app=wbe", "tier")},
        "label_selectors: no pod matches app=wbe, tier",
    ),
    "a selector that matches elsewhere": (
        {"pods": [pod(), pod("pay-1", "bank", app="pay")]},
        {"namespaces": ("shop",), "label_selectors": ("app=pay",)},
        "label_selectors: no pod matches app=pay",
    ),
    "pods, and not even the API server's Service": (
        {"services": []},
        {},
        "no Service of the whole cluster is to be seen",
    ),
    "a selector that matches a pod that no Service exposes": (
        {"services": [service("kubernetes", "default", selector={})]},
        {"label_selectors": ("app=web",)},
        None,
    ),
    "a Service whose pods are hidden": (
        {"services": [SLICED], "unlisted": HIDDEN},
        {},
        "the pods of Service shop/bare, which has no selector, are not known: forbidden",
    ),
    "one in a namespace that is not asked for": (
        {"services": [SLICED], "unlisted": HIDDEN},
        {"exclude_namespaces": ("shop",)},
        None,
    ),
    "the API server's own Service": (
        {"services": [service("kubernetes", "default", selector={})], "unlisted": HIDDEN},
        {},
        None,
    ),
    "an alias in DNS": ({"services": [service(selector={}, type="ExternalName")], "unlisted": HIDDEN}, {}, None),
    "a Service of UDP": (
        {"services": [service(selector={}, ports=[port(53, protocol="UDP")])], "unlisted": HIDDEN},
        {},
        None,
    ),
    "hidden EndpointSlices that nothing needs": ({"unlisted": HIDDEN}, {}, None),
}


@pytest.mark.parametrize("case", UNSEEN)
def test_what_is_asked_for_and_not_there_to_be_seen_is_named(case):
    made, selection, wanted = UNSEEN[case]
    there, chosen = snapshot(**made), Selection(**selection)
    cluster = read_cluster(there)
    assert why_not_covered(cluster, chosen, len(select(cluster, chosen).targets)) == wanted


@pytest.mark.parametrize("number", [15000, 15001, 15004, 15006, 15008, 15020, 15021, 15053, 15090])
def test_istios_own_ports_are_passed_over_in_pods_with_a_sidecar_alone(number):
    services = [service(ports=[port(80), port(81, number, "istio")])]
    mine, gateway = (
        select(read_cluster(snapshot([pod("a", role=role)], services)), Selection(scope="all"))
        for role in ("sidecar", "router")
    )
    assert [e.port for e in mine.targets[0].exposures] == [8080]
    reason = f"Target port {number} is one of Istio's own in a pod with a sidecar."
    assert mine.skipped == [{"namespace": "shop", "service": "web", "port": 81, "reason": reason}]
    assert [e.port for e in gateway.targets[0].exposures] == [8080, number] and not gateway.skipped


def test_a_port_that_only_looks_like_istios_is_the_users():
    assert select(read_cluster(snapshot(services=[service(ports=[port(80, 15002)])])), Selection()).targets


def test_a_pod_of_which_only_istios_ports_are_exposed_is_not_read():
    assert chosen([pod()], [service(ports=[port(80, 15021)])]) == {}


# ---------------------------------------------------------------------------------------------------------------------
# Which table speaks for a pod


def test_each_pod_is_read_itself():
    assert chosen([pod("a"), pod("b")]) == {"a": "a", "b": "b"}


@pytest.mark.parametrize(
    "pods, wanted",
    [
        ([pod("a"), pod("b"), pod("c")], {"a": "a", "b": "a", "c": "a"}),
        ([pod("a", ready=False), pod("b")], {"a": "b", "b": "b"}),
        ([pod("a", ready=False), pod("b", ready=False)], {"a": "a", "b": "a"}),
        ([pod("a", phase="Pending"), pod("b"), pod("c")], {"a": "a", "b": "b", "c": "b"}),
        (
            [pod("a"), pod("b", owner=("ReplicaSet", "web-55555"), labels={"pod-template-hash": "55555"})],
            {"a": "a", "b": "b"},
        ),
        ([pod("a", owner=None), pod("b", owner=None)], {"a": "a", "b": "b"}),
    ],
)
def test_with_one_replica_the_pods_of_a_template_are_judged_by_one_that_is_ready(pods, wanted):
    assert chosen(pods, replicas="one") == wanted
    assert chosen(pods[::-1], replicas="one") == wanted


def test_host_network_pods_are_read_themselves_and_know_their_neighbours():
    pods = [
        pod(name, host_network=True, node=node, owner=None) for name, node in (("a", "n1"), ("b", "n1"), ("c", "n2"))
    ]
    assert chosen(pods, scope="all") == {"a": "a", "b": "b", "c": "c"}
    assert chosen(pods, scope="all", replicas="one") == {"a": "a", "b": "b", "c": "c"}
    found = select(read_cluster(snapshot(pods)), Selection(scope="all")).targets
    assert [[name for _namespace, name in each.neighbours] for each in found] == [["b"], ["a"], []]


@pytest.mark.parametrize(
    "read, wanted",
    [
        ({}, "a"),
        ({"a": True}, "a"),
        ({"a": False}, "abc"),
        ({"a": False, "b": True}, "abc"),
        ({"a": False, "b": False, "c": False}, "abcdefg"),
        (dict.fromkeys("abcdefg", False), "abcdefgh"),
        (dict.fromkeys("abcdefgh", False), "abcdefgh"),
    ],
)
def test_the_next_pods_are_asked_while_none_could_be_read(read, wanted):
    assert "".join(asked("abcdefgh", read.get)) == wanted


def test_a_host_network_pod_without_a_node_is_read_itself():
    assert chosen([pod("a", host_network=True, node=""), pod("b", host_network=True, node="")], scope="all") == {
        "a": "a",
        "b": "b",
    }


# ---------------------------------------------------------------------------------------------------------------------
# Label selectors


@pytest.mark.parametrize(
    "selector, labels, wanted",
    [
        ("app", {"app": ""}, True),
        ("app", {}, False),
        ("!app", {}, True),
        ("! app", {"app": "x"}, False),
        ("app=web", {"app": "web"}, True),
        ("app == web", {"app": "web"}, True),
        ("app=", {"app": ""}, True),
        ("app!=web", {"app": "db"}, True),
        ("app!=web", {}, True),
        ("app!=web", {"app": "web"}, False),
        ("app in (web, db)", {"app": "db"}, True),
        ("app in (web, db)", {"app": "x"}, False),
        ("app in (web)", {}, False),
        ("app notin (web,db)", {"app": "db"}, False),
        ("app notin (web,db)", {}, True),
        ("app in (web,db),tier=front", {"app": "db", "tier": "front"}, True),
        ("app in (web,db),tier=front", {"app": "db"}, False),
        ("example.com/app=web", {"example.com/app": "web"}, True),
    ],
)
def test_a_label_selector_means_what_it_means_to_kubectl(selector, labels, wanted):
    assert label_matcher([selector])(labels) is wanted


def test_labels_must_meet_every_selector():
    assert label_matcher(["a=1", "b=2"])({"a": "1", "b": "2"}) and not label_matcher(["a=1", "b=2"])({"a": "1"})
    assert label_matcher([])({})


@pytest.mark.parametrize(
    "selector", ["", "a=b=c", "app in web", "app in ()", "app > 1", "=web", "app=web,", "app in (a b)", "-app"]
)
def test_a_text_that_is_no_label_selector_is_refused_by_name(selector):
    with pytest.raises(SelectionError, match=r"label_selectors\[1\]"):
        label_matcher(["app=web", selector])


# ---------------------------------------------------------------------------------------------------------------------
# What to run


def test_a_pod_is_asked_from_the_proxy_first_and_with_netstat_last():
    said = [(a.container, a.command[0]) for a in attempts(read_pod())]
    assert said == [
        ("istio-proxy", "ss"),
        ("istio-proxy", "cat"),
        ("app", "cat"),
        ("app", "netstat"),
        ("istio-proxy", "netstat"),
    ]


def test_a_native_sidecar_is_asked_like_any_other_or_else_the_pods_own_containers():
    assert attempts(read_pod(native=True))[0].container == "istio-proxy"
    assert {a.container for a in attempts(read_pod(proxy=None))} == {"app"}


@pytest.mark.parametrize(
    "form, stdout, code, wanted",
    [
        ("ss", "LISTEN 0 1 127.0.0.1:1 0.0.0.0:*", 0, True),
        ("ss", "", 0, False),
        ("ss", "\n", 0, False),
        ("ss", "State Recv-Q Send-Q Local Address:Port Peer Address:Port\n", 0, False),
        ("ss", "ESTAB 0 0 10.0.0.5:8080 10.0.0.6:40000\n", 0, False),
        ("ss", "LISTEN 0 1 127.0.0.1:1 0.0.0.0:*", 1, False),
        ("procnet", "  sl  local_address rem_address", 0, True),
        ("procnet", "  sl  local_address rem_address", 1, True),
        ("procnet", "  sl  local_address rem_address", 126, False),
        ("procnet", "", 0, False),
        ("netstat", "Proto Recv-Q Send-Q Local Address", 0, True),
        ("netstat", "Proto Recv-Q Send-Q Local Address", 1, False),
        ("netstat", "", 0, False),
    ],
)
def test_output_counts_as_a_table_only_if_it_looks_like_one(form, stdout, code, wanted):
    assert answers(Attempt("app", ("x",), form), stdout, code) is wanted
