# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a run does not look at, from a cluster to its records."""

from __future__ import annotations

import pytest

from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.selection import Selection
from ansible_collections.meshops.istio_precheck.tests.helpers.cluster import (
    endpoint_slice,
    envoy_filter,
    istiod,
    meta,
    pod,
    port,
    report,
    scaled,
    service,
    service_entry,
    sidecar,
    table,
)

OTHER = {"app": "other"}


def told(**spec):
    """`(kind, name, reason)` of each record."""
    found = report(**{"binds": ("0.0.0.0:8080",), **spec})["not_checked"]
    return [(of["kind"], of["name"], r["reason"]) for r in found for of in [r.get("workload") or r["resource"]]]


def controllers(*several, services=None, **spec):
    chosen = [service("other", selector=OTHER)] if services is None else services
    return {"services": [service(), *chosen], "controllers": list(several), **spec}


WEB, NIGHTLY = ("Deployment", "web"), ("Deployment", "nightly")
NONE = scaled("nightly-1", owner=NIGHTLY, labels=OTHER)
NONE_LEFT = ("Deployment", "nightly", "no_replicas")
NONE_COMES = ("Deployment", "nightly", "no_pods")


@pytest.mark.parametrize(
    "spec, wanted",
    [
        (controllers(), []),
        (controllers(NONE), [NONE_LEFT]),
        (controllers({**NONE, "spec": {}}), []),  # a record of an earlier version
        (controllers(scaled("nightly-1", owner=NIGHTLY, labels=OTHER, replicas=2)), [NONE_COMES]),
        (controllers(scaled("nightly-1", owner=NIGHTLY, labels={"app": "nobody"})), []),
        (controllers(NONE, services=[]), []),
        (controllers(NONE, services=[service("other", "elsewhere", OTHER)]), []),
        (controllers(NONE, services=[service("other", selector=OTHER, ports=[port(53, 53, "dns", "UDP")])]), []),
        (controllers(NONE, services=[service("other", selector={**OTHER, "tier": "db"})]), []),
        (controllers(NONE, services=[], serviceEntries=[service_entry(selector=OTHER)]), [NONE_LEFT]),
        # The rollouts of one Deployment: the one that runs counts, else the latest.
        (controllers(NONE, scaled("nightly-2", owner=NIGHTLY, labels=OTHER, replicas=1)), [NONE_COMES]),
        (controllers(scaled("web-7d4b9", owner=WEB, replicas=1), scaled("web-11111", owner=WEB)), []),
        (controllers(NONE, scaled("nightly-2", owner=NIGHTLY, labels={}, created="2026-02-01T00:00:00Z")), []),
        (
            controllers(scaled("nightly-0", owner=NIGHTLY, labels={}, created="2025-02-01T00:00:00Z"), NONE),
            [NONE_LEFT],
        ),
        # Two StatefulSets of one owner: each is a workload of its own.
        (
            controllers(
                scaled("db-a", owner=("Database", "db"), labels=OTHER, kind="StatefulSet"),
                scaled("db-b", owner=("Database", "db"), labels=OTHER, kind="StatefulSet", replicas=3),
            ),
            [("Database", "db", "no_replicas")],
        ),
        (
            controllers(scaled("db", labels=OTHER, kind="StatefulSet")),
            [("StatefulSet", "db", "no_replicas")],
        ),
        (
            controllers(scaled("old-1", owner=("DeploymentConfig", "old"), labels=OTHER, kind="ReplicationController")),
            [("DeploymentConfig", "old", "no_replicas")],
        ),
        (controllers(scaled("all", labels=OTHER, kind="DaemonSet")), []),
        # Its last pod is there still, and was looked at.
        (controllers(scaled("web-7d4b9", owner=WEB)), []),
        (controllers(scaled("n", owner=NIGHTLY, labels={**OTHER, "sidecar.istio.io/inject": "false"})), []),
        (
            {**controllers(scaled("n", owner=NIGHTLY, labels={**OTHER, "sidecar.istio.io/inject": "false"})), "scope": "all"},
            [NONE_LEFT],
        ),
        ({**controllers(NONE), "selection": Selection(namespaces=("elsewhere",))}, []),
        ({**controllers(NONE), "selection": Selection(label_selectors=("app=web",))}, []),
        ({**controllers(NONE), "selection": Selection(label_selectors=("app=other",))}, [NONE_LEFT]),
    ],
)  # fmt: skip
def test_a_workload_without_pods_that_a_service_selects_was_not_looked_at(spec, wanted):
    assert told(**spec) == wanted


def entry(name="vm-1", group=None, labels=None):
    owners = {"ownerReferences": [{"kind": "WorkloadGroup", "name": group, "controller": True}]} if group else {}
    return {"metadata": meta(name, **owners), "spec": {"labels": labels or {}}}


def group(name="vms", labels=None):
    return {"metadata": meta(name), "spec": {"metadata": {"labels": labels or {}}}}


@pytest.mark.parametrize(
    "entries, groups, selectors, wanted",
    [
        ([], [], (), []),
        ([entry()], [], (), [("WorkloadEntry", "vm-1", "vm")]),
        ([], [group()], (), [("WorkloadGroup", "vms", "vm")]),
        ([entry(group="vms"), entry("vm-2", "vms")], [group()], (), [("WorkloadGroup", "vms", "vm")]),
        ([entry(group="gone")], [group()], (), [("WorkloadEntry", "vm-1", "vm"), ("WorkloadGroup", "vms", "vm")]),
        ([entry()], [group()], ("app=web",), []),
        ([entry(labels={"app": "web"})], [group()], ("app=web",), [("WorkloadEntry", "vm-1", "vm")]),
        ([entry()], [group(labels={"app": "web"})], ("app=web",), [("WorkloadGroup", "vms", "vm")]),
    ],
)
def test_a_machine_was_not_looked_at_and_those_of_a_group_are_told_once(entries, groups, selectors, wanted):
    spec = {"workloadEntries": entries, "workloadGroups": groups}
    assert told(**spec, selection=Selection(label_selectors=selectors)) == wanted


def test_a_workload_that_is_looked_at_for_its_probes_alone_may_be_under_an_envoy_filter():
    """It has no exposed port to name."""
    probed = pod(probes={"livenessProbe": {"tcpSocket": {"port": 8080}}})
    found = report([probed], services=[], envoyFilters=[envoy_filter()], target="1.24")["not_checked"]
    said = "EnvoyFilter shop/patch may change where its proxy delivers what its probes ask for."
    assert [(each["reason"], each["detail"]) for each in found] == [("envoy_filter", said)]


@pytest.mark.parametrize(("address", "wanted"), [("10.0.0.5", []), ("192.0.2.7", ["vm"])])
def test_a_workload_entry_of_a_pods_address_is_no_machine(address, wanted):
    """And what selects it is looked at in the pod."""
    of_pod = {**entry(labels={"app": "db"}), "spec": {"labels": {"app": "db"}, "address": address}}
    found = report(services=[service(selector={"app": "db"})], workloadEntries=[of_pod], target="1.24")
    assert [each["reason"] for each in found["not_checked"]] == wanted
    assert [each["impact"] for each in found["findings"]] == ([] if wanted else ["breaks_on_upgrade"])


@pytest.mark.parametrize(("namespaces", "wanted"), [((), []), (("bank",), ["vm"]), (("bank", "shop"), [])])
def test_a_workload_entry_of_the_address_of_a_pod_elsewhere_is_a_machine_if_that_one_is_not_looked_at(
    namespaces, wanted
):
    of_pod = {"metadata": meta("vm-1", "bank"), "spec": {"labels": {"app": "db"}, "address": "10.0.0.5"}}
    services = [service("db", "bank", {"app": "db"})]
    chosen = Selection(namespaces=namespaces)
    found = report(services=services, workloadEntries=[of_pod], target="1.24", selection=chosen)
    assert [each["reason"] for each in found["not_checked"]] == wanted


def test_the_machines_of_a_group_are_counted():
    found = report(workloadEntries=[entry(group="vms"), entry("vm-2", "vms")], workloadGroups=[group()])
    assert "2 WorkloadEntries today" in found["not_checked"][0]["detail"]


BY_HAND = service("byhand", selector={})
ON_A_NODE = endpoint_slice("byhand")
ON_A_NODE["endpoints"] = [{"addresses": ["192.0.2.7"], "targetRef": {"kind": "Node", "name": "node-1"}}]


@pytest.mark.parametrize(
    "slices, services, wanted",
    [
        ([endpoint_slice("byhand", addresses=["192.0.2.7"])], [BY_HAND], [("Service", "byhand", "no_pod")]),
        ([endpoint_slice("byhand", addresses=["10.0.0.5"])], [BY_HAND], []),
        ([endpoint_slice("byhand", addresses=["10.0.0.5", "192.0.2.7"])], [BY_HAND], [("Service", "byhand", "no_pod")]),
        ([endpoint_slice("byhand", pods=["web-7d4b9-a"])], [BY_HAND], []),
        ([ON_A_NODE], [BY_HAND], []),
        ([endpoint_slice("byhand", addresses=["192.0.2.7"])], [service("byhand")], []),
        ([endpoint_slice("kubernetes", "default", addresses=["192.0.2.7"])], [service("kubernetes", "default", {})], []),
        ([endpoint_slice("byhand", addresses=["192.0.2.7"])], [service("byhand", selector={}, ports=[port(protocol="UDP")])], []),
    ],
)  # fmt: skip
def test_addresses_that_somebody_wrote_and_that_are_no_pod_s_were_not_looked_at(slices, services, wanted):
    assert told(endpointSlices=slices, services=[service(), *services]) == wanted


UNDER = [("Deployment", "web", "envoy_filter")]


@pytest.mark.parametrize(
    "patch, wanted",
    [
        ({}, UNDER),
        ({"applied": "LISTENER", "context": "ANY", "operation": "ADD"}, UNDER),
        ({"applied": "FILTER_CHAIN", "context": None}, UNDER),
        ({"applied": "NETWORK_FILTER", "operation": "REPLACE"}, UNDER),
        ({"applied": "NETWORK_FILTER", "operation": "INSERT_BEFORE"}, []),  # as Istio's own telemetry
        ({"applied": "HTTP_ROUTE", "operation": "INSERT_FIRST"}, UNDER),
        ({"applied": "VIRTUAL_HOST", "operation": "ADD"}, UNDER),
        ({"applied": "ROUTE_CONFIGURATION"}, UNDER),
        ({"applied": "HTTP_ROUTE", "context": "SIDECAR_OUTBOUND"}, []),
        ({"applied": "VIRTUAL_HOST", "context": "GATEWAY"}, []),
        ({"applied": "HTTP_FILTER"}, []),
        ({"applied": "LISTENER_FILTER", "operation": "INSERT_FIRST"}, UNDER),  # it may take away the original address
        ({"applied": "A_PART_OF_TOMORROW"}, UNDER),
        ({"applied": ""}, UNDER),  # a number, in the place of a word
        ({"applied": "NETWORK_FILTER", "operation": "A_WAY_OF_TOMORROW"}, UNDER),
        ({"context": "A_CONTEXT_OF_TOMORROW"}, UNDER),
        ({"applied": "BOOTSTRAP"}, []),
        ({"applied": "EXTENSION_CONFIG", "operation": "ADD"}, []),
        ({"context": "SIDECAR_OUTBOUND"}, []),
        ({"context": "GATEWAY"}, []),
        ({"selector": {"app": "web"}}, UNDER),
        ({"selector": {"app": "db"}}, []),
        ({"targetRefs": [{"kind": "Gateway"}]}, []),
        ({"namespace": "istio-system"}, UNDER),
        ({"namespace": "elsewhere"}, []),
        ({"configPatches": []}, []),
    ],
)
def test_a_workload_under_an_envoyfilter_that_changes_what_comes_in_is_not_vouched_for(patch, wanted):
    assert told(envoyFilters=[envoy_filter(**patch)]) == wanted


@pytest.mark.parametrize("proxy", [None, "1.9.9"])
def test_an_envoyfilter_changes_nothing_where_there_is_no_proxy(proxy):
    assert told(pods=[pod(proxy=proxy)], envoyFilters=[envoy_filter()], scope="all") == (UNDER if proxy else [])


def test_the_root_namespace_is_the_one_of_the_mesh_that_serves_the_pod():
    planes = [istiod(rootNamespace="mesh-root")]
    assert told(istiods=planes, envoyFilters=[envoy_filter(namespace="mesh-root")]) == UNDER
    assert told(istiods=planes, envoyFilters=[envoy_filter(namespace="istio-system")]) == []


def test_each_record_says_where_it_is_and_why():
    found = report(
        services=[service(), service("other", selector=OTHER), BY_HAND],
        controllers=[NONE],
        workloadEntries=[entry()],
        endpointSlices=[endpoint_slice("byhand", addresses=["192.0.2.7"])],
        envoyFilters=[envoy_filter()],
    )
    assert [(each["namespace"], each["detail"]) for each in found["not_checked"]] == [
        ("shop", "It has 0 replicas, and Service other will send to its pods: what they listen on is not known."),
        ("shop", "EnvoyFilter shop/patch may change where its proxy delivers port 8080."),
        ("shop", "Address 192.0.2.7 of its EndpointSlices leads to no pod that was seen."),
        ("shop", "It stands for a machine outside of the cluster's pods, whose sockets are not read."),
    ]
    assert found["summary"]["not_checked"] == 4


# ---------------------------------------------------------------------------------------------------------------------
# Ports that open

BOUND = ("10.0.0.5:8080",)


@pytest.mark.parametrize(
    "spec, wanted",
    [
        ({}, [8080]),
        ({"target": "1.9"}, []),
        ({"istiods": [istiod("1.20.8")]}, []),
        ({"istiods": [istiod("1.20.8", opt_out=True)], "target": "1.20"}, []),
        ({"istiods": [istiod("1.20.8", opt_out=True)], "target": "1.21"}, [8080]),
        ({"istiods": []}, []),
        ({"binds": ("0.0.0.0:8080",)}, []),
        ({"binds": ("10.0.0.5:8080", "127.0.0.1:8080")}, []),
        ({"pods": [pod(proxy=None)], "scope": "all"}, []),
    ],
)
def test_a_port_on_the_pod_ip_alone_opens_with_the_version_that_delivers_there(spec, wanted):
    found = report(**{"binds": BOUND, **spec})
    assert [record["port"] for record in found["opens_on_upgrade"]] == wanted
    assert (found["findings"], found["summary"]["opens_on_upgrade"]) == ([], len(wanted))


def test_a_port_that_opens_has_the_record_of_one_that_nothing_listens_on():
    (opens,) = report(binds=BOUND)["opens_on_upgrade"]
    (silent,) = report(binds=("0.0.0.0:1",))["not_listening"]
    assert opens.keys() == silent.keys()
    assert (opens["id"], opens["pods"], opens["listeners"]) == (silent["id"], ["web-7d4b9-a"], list(BOUND))
    assert (opens["delivery"]["today"]["to"], opens["delivery"]["after"]["to"]) == ("localhost", "pod_ip")


def test_a_workload_s_port_opens_if_it_does_in_one_of_its_pods():
    pods = [pod(), pod("web-7d4b9-b", ips=("10.0.0.6",))]
    (record,) = report(pods, binds=BOUND)["opens_on_upgrade"]
    assert record["pods"] == ["web-7d4b9-a"]


def test_two_listeners_of_which_one_accepts_today_and_the_other_tomorrow_are_told_once_for_all():
    both = ("10.0.0.5:8080", "127.0.0.1:8080")
    said = "One listener accepts today and another after the upgrade, "
    assert report(binds=both)["hints"] == [
        f"{said}127.0.0.1:8080 and 10.0.0.5:8080, on port 8080 of shop/Deployment/web: see whether both are of one program."
    ]
    assert report(binds=both, target="1.9")["hints"] == []
    pods = [
        pod(f"{app}-{n}", app=app, owner=("StatefulSet", app), ips=(f"10.0.0.{n}",)) for app in "ab" for n in (1, 2)
    ]
    tables = [table(f"{app}-{n}", (f"10.0.0.{n}:8080", "127.0.0.1:8080")) for app in "ab" for n in (1, 2)]
    services = [service(app, selector={"app": app}) for app in "ab"]
    assert report(pods, services, tables=tables)["hints"] == [
        f"{said}such as 127.0.0.1:8080 and 10.0.0.1:8080, on port 8080 of shop/StatefulSet/a and port 8080 of shop/StatefulSet/b: "
        "see whether both are of one program."
    ]


def lists(endpoint, **more):
    return [sidecar(selector={"app": "web"}, ingress={8080: "127.0.0.1:8080", 9090: endpoint}, **more)]


OLD_FORM, PLAIN = lists(":9090"), lists("127.0.0.1:9090")
NOBODY = "which no Service exposes and Sidecar shop/listeners lists"
UNEXPOSED = [
    # what is special; the snapshot and options; the end of the hint, None where there is none
    (":PORT", {"sidecars": OLD_FORM}, "It listens on 127.0.0.1:9090 only: today"),
    (":PORT, listening everywhere", {"sidecars": OLD_FORM, "binds": ("0.0.0.0:9090",)}, None),
    (":PORT, nothing listens", {"sidecars": OLD_FORM, "binds": ()}, None),
    (":PORT, up to 1.9", {"sidecars": OLD_FORM, "target": "1.9"}, None),
    (":PORT, not read", {"sidecars": OLD_FORM, "tables": []}, "it was not looked at: today"),
    (":PORT, no Service at all", {"sidecars": OLD_FORM, "services": []}, "it was not looked at: today"),
    ("other namespaces", {"sidecars": OLD_FORM, "services": [], "selection": Selection(exclude_namespaces=["shop"])}, None),
    ("other labels", {"sidecars": OLD_FORM, "selection": Selection(label_selectors=("app=web,tier=x",))}, None),
    (":PORT, exposed", {"sidecars": OLD_FORM, "services": [service(ports=[port(), port(90, 9090, "b")])]}, None),
    ("127.0.0.1", {"sidecars": PLAIN}, None),
    ("not effective any more", {"sidecars": lists("127.0.0.1:9090", revision="default"), "istiods": [istiod(), istiod("1.24.0", "b")]}, "It listens on"),
    ("no sidecar in the pod", {"sidecars": OLD_FORM, "pods": [pod(proxy=None)]}, None),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "said"), [row[1:] for row in UNEXPOSED], ids=[row[0] for row in UNEXPOSED])
def test_a_port_that_a_sidecar_lists_and_no_service_exposes_is_named_if_it_may_be_lost(spec, said):
    """Clients ask for it by the pod's address. It is no finding, since no Service exposes it."""
    found = report(**{"binds": ("127.0.0.1:9090",), "target": "1.24", **spec})
    hints = [hint for hint in found["hints"] if NOBODY in hint]
    assert len(hints) == (said is not None), found["hints"]
    assert said is None or said in hints[0]
    assert all(finding["port"] != 9090 or said is None for finding in found["findings"])


def test_of_pods_alike_such_a_port_is_named_once():
    pods = [pod("a"), pod("b", ips=("10.0.0.6",))]
    found = report(pods, sidecars=OLD_FORM, binds=("127.0.0.1:9090",), target="1.24")
    assert [hint for hint in found["hints"] if NOBODY in hint] == [
        f"Port 9090 of shop/Deployment/web, {NOBODY}: It listens on 127.0.0.1:9090 only: today Sidecar shop/listeners delivers it to :9090, "
        "after the upgrade Sidecar shop/listeners delivers it to the pod IP, because :9090 is no endpoint that istiod knows."
    ]
