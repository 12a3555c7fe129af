# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The proxy's own word against the rule: where connections go today."""

from __future__ import annotations

import pytest

from ansible_collections.meshops.istio_precheck.plugins.module_utils._evaluate import proxies_to_ask
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.cluster import read_cluster
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.options import Options
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.selection import Selection
from ansible_collections.meshops.istio_precheck.tests.helpers import cluster
from ansible_collections.meshops.istio_precheck.tests.helpers.cluster import (
    istiod,
    pod,
    proxy_config,
    report,
    sidecar,
    table,
    verdict,
)

OLD, NEW, NONE = [istiod("1.9.9")], [istiod("1.12.0")], []
TO_LOCALHOST = proxy_config({8080: "127.0.0.1:8080"})
PASSED_ON = proxy_config({8080: None})
MODE_NONE = pod(annotations={"sidecar.istio.io/interceptionMode": "NONE"})

TODAY = {
    # what the rule says without it, the proxy's entry, more of the cluster: (verdict, to, by, hint)
    "agrees, localhost": (TO_LOCALHOST, {}, ("breaks_on_upgrade", "localhost", "proxy", 0)),
    "agrees, pod IP": (PASSED_ON, {"istiods": NEW}, ("unreachable", "pod_ip", "proxy", 0)),
    "decides against a wrong tag": (TO_LOCALHOST, {"istiods": NEW}, ("breaks_on_upgrade", "localhost", "proxy", 1)),
    "decides against an old tag": (PASSED_ON, {"istiods": OLD}, ("unreachable", "pod_ip", "proxy", 1)),
    "decides where no istiod is seen": (
        TO_LOCALHOST,
        {"istiods": NONE},
        ("breaks_on_upgrade", "localhost", "proxy", 0),
    ),
    "decides there, pod IP": (PASSED_ON, {"istiods": NONE}, ("unreachable", "pod_ip", "proxy", 0)),
    "has no cluster for the port": (proxy_config({9090: None}), {}, ("unreachable", "pod_ip", "proxy", 1)),
    "has none for any port that is asked": ({**TO_LOCALHOST, "inbound": []}, {}, ("unreachable", "pod_ip", "proxy", 1)),
    "dials the pod IP": (
        proxy_config({8080: "10.0.0.5:8080"}),
        {"istiods": NEW},
        ("unreachable", "pod_ip", "proxy", 0),
    ),
    "dials another address": (proxy_config({8080: "10.0.0.9:8080"}), {}, ("unreachable", "pod_ip", "proxy", 1)),
    "dials a Unix socket": (proxy_config({8080: "unix:///x"}), {}, ("breaks_on_upgrade", "unix", "proxy", 1)),
    "dials another port where nothing is": (
        proxy_config({8080: "127.0.0.1:9"}),
        {},
        ("unreachable", "localhost", "proxy", 1),
    ),
    "dials localhost of IPv6": (proxy_config({8080: "[::1]:8080"}), {}, ("unreachable", "localhost", "proxy", 1)),
    "knows a cluster of another type": (
        {**TO_LOCALHOST, "inbound": [{"port": 8080, "type": "STRICT_DNS"}]},
        {},
        ("unknown", "unknown", "proxy", 0),
    ),
    "knows several endpoints": (
        {**TO_LOCALHOST, "inbound": [{"port": 8080, "type": "STATIC"}]},
        {},
        ("unknown", "unknown", "proxy", 0),
    ),
    "knows two clusters that differ": (
        {**TO_LOCALHOST, "inbound": [{"port": 8080, "type": ""}]},
        {},
        ("unknown", "unknown", "proxy", 0),
    ),
    "says an address that is none": (
        {**TO_LOCALHOST, "inbound": [{"port": 8080, "type": "STATIC", "address": "localhost:8080"}]},
        {},
        ("unknown", "unknown", "proxy", 0),
    ),
    "says nothing": (
        proxy_config(reason="timeout", detail="No answer in time."),
        {},
        ("breaks_on_upgrade", "localhost", "rule", 1),
    ),
    "is another pod's": (proxy_config({8080: None}, of="other"), {}, ("breaks_on_upgrade", "localhost", "rule", 0)),
    # Where the kernel delivers, no proxy is asked.
    "of mode NONE": (TO_LOCALHOST, {"pods": [MODE_NONE]}, ("unreachable", "kernel", "rule", 0)),
    "of an excluded port": (
        TO_LOCALHOST,
        {"pods": [pod(annotations={"traffic.sidecar.istio.io/excludeInboundPorts": "8080"})]},
        ("unreachable", "kernel", "rule", 0),
    ),
    # A cluster does not tell whether its listener is asked.
    "of a Sidecar that binds": (
        TO_LOCALHOST,
        {"sidecars": [sidecar(ingress_of={"bind": "127.0.0.2", "captureMode": "NONE"})], "istiods": NEW},
        ("unreachable", "pod_ip", "rule", 0),
    ),
    "of mode NONE with a Sidecar's entry": (
        PASSED_ON,
        {"pods": [MODE_NONE], "sidecars": [sidecar(ingress={8080: "127.0.0.1:8080"})]},
        ("remediated", "localhost", "rule", 0),
    ),
    # What a Sidecar is expected to do, and does not.
    "does not have the Sidecar yet": (
        PASSED_ON,
        {"sidecars": [sidecar(ingress={8080: "127.0.0.1:8080"})], "istiods": NEW},
        ("remediated", "pod_ip", "proxy", 1),
    ),
}


def only(found):
    """The one record on a port."""
    (record,) = [*found["findings"], *found["remediated"]]
    return record


@pytest.mark.parametrize("name", TODAY)
def test_the_proxys_word_decides_for_today(name):
    config, more, (impact, to, by, hints) = TODAY[name]
    found = report(proxyConfigs=[config], target="1.21", **more)
    today = only(found)["delivery"]["today"]
    assert (verdict(found), today["to"], today["by"], len(found["hints"])) == (impact, to, by, hints)
    assert only(found)["delivery"]["after"]["by"] == "rule"


@pytest.mark.parametrize("name", TODAY)
def test_by_the_rule_alone_nothing_that_a_proxy_said_counts(name):
    config, more, _wanted = TODAY[name]
    without = report(target="1.21", **more)
    assert report(proxyConfigs=[config], target="1.21", delivery_source="rule", **more) == without


def test_what_the_rule_knows_too_is_said_in_its_words():
    one, other = report(target="1.21"), report(target="1.21", proxyConfigs=[TO_LOCALHOST])
    assert only(other)["reason"] == only(one)["reason"].replace("127.0.0.1,", "127.0.0.1 (its proxy says so),")
    assert only(other)["delivery"]["today"] == {**only(one)["delivery"]["today"], "by": "proxy"}


def test_a_proxy_that_says_otherwise_is_a_hint_that_names_both():
    pods = [pod(f"web-7d4b9-{n}") for n in "ab"]
    configs = [proxy_config({8080: "127.0.0.1:8080"}, of=f"web-7d4b9-{n}") for n in "ab"]
    found = report(pods, proxyConfigs=configs, istiods=NEW, target="1.21")
    assert found["hints"] == [
        "Expected for shop/Deployment/web port 8080 (2 pods): istiod 1.12 delivers to the pod IP. "
        "Found: its proxy delivers to 127.0.0.1. What the proxy says counts for today. "
        "An EnvoyFilter, another istiod or an old configuration may be why; if none is, please report it."
    ]
    assert only(found)["reason"] == (
        "It listens on 127.0.0.1:8080 only: today its proxy delivers to 127.0.0.1, after the upgrade istiod 1.21 delivers to the pod IP."
    )


def test_proxies_that_say_nothing_are_one_line():
    pods = [pod(f"web-7d4b9-{n}") for n in "abc"]
    configs = [
        proxy_config(of="web-7d4b9-a", reason="timeout", detail="No answer in time."),
        proxy_config(of="web-7d4b9-b", reason="no_agent", detail="pilot-agent: not found"),
        proxy_config(of="web-7d4b9-c", reason="timeout", detail="No answer in time."),
    ]
    found = report(pods, proxyConfigs=configs)
    assert found["hints"] == [
        "3 proxies did not say how they deliver (1 because no pilot-agent can be run in its container, 2 because it did not answer in time), "
        "so what is said of today in their pods rests on versions and settings. The first is shop/web-7d4b9-a: No answer in time."
    ]
    assert {k: v for k, v in found.items() if k != "hints"} == {k: v for k, v in report(pods).items() if k != "hints"}


def test_of_pods_that_differ_the_worst_counts():
    pods = [pod(f"web-7d4b9-{n}") for n in "ab"]
    configs = [PASSED_ON | {"pod": "web-7d4b9-a"}, TO_LOCALHOST | {"pod": "web-7d4b9-b"}]
    assert verdict(report(pods, proxyConfigs=configs, istiods=NONE, target="1.21")) == "breaks_on_upgrade"


SILENT = {
    "not asked": ([], "it was not asked"),
    "asked in vain": ([proxy_config(reason="no_agent")], "no pilot-agent can be run in its container"),
}


@pytest.mark.parametrize("name", SILENT)
def test_where_only_the_proxy_counts_and_says_nothing_today_is_unknown(name):
    configs, why = SILENT[name]
    found = report(proxyConfigs=configs, delivery_source="proxy", target="1.21")
    assert verdict(found) == "unknown"
    assert only(found)["delivery"]["today"] == {
        "to": "unknown",
        "address": "127.0.0.1",
        "port": 8080,
        "by": "rule",
        "why": f"its proxy did not say, because {why}",
    }


def test_where_only_the_proxy_counts_a_unix_socket_that_the_rule_expects_is_not_forgotten():
    sidecars = [sidecar(ingress={8080: "unix:///x"}, revision="default")]
    canary = [istiod("1.9.9"), istiod("1.21.0", revision="canary")]
    more = {"sidecars": sidecars, "istiods": canary, "binds": ("127.0.0.1:9",), "target": "1.21"}
    assert verdict(report(**more)) == "breaks_on_upgrade"
    assert verdict(report(delivery_source="proxy", **more)) == "unknown"


def test_where_only_the_proxy_counts_what_is_fine_or_kernel_delivered_needs_no_word():
    assert verdict(report(binds=("0.0.0.0:8080",), delivery_source="proxy")) == "ok"
    assert verdict(report([MODE_NONE], delivery_source="proxy")) == "unreachable"
    assert verdict(report([pod(proxy=None)], scope="all", delivery_source="proxy")) == "unreachable"


def test_a_listener_of_the_proxys_own_is_unknown_where_only_the_proxy_counts():
    sidecars = [sidecar(ingress_of={"bind": "127.0.0.2", "captureMode": "NONE"})]
    found = report(sidecars=sidecars, istiods=NEW, proxyConfigs=[TO_LOCALHOST], delivery_source="proxy")
    assert only(found)["delivery"]["today"]["to"] == "unknown"


def test_the_pod_that_was_read_for_others_speaks_for_them_too():
    pods = [pod(f"web-7d4b9-{n}", ips=(f"10.0.0.{n}",)) for n in "12"]
    found = report(
        pods,
        tables=[table("web-7d4b9-1")],
        selection=Selection(replicas="one"),
        proxyConfigs=[proxy_config({8080: None}, of="web-7d4b9-1")],
        target="1.21",
    )
    assert (verdict(found), only(found)["pods"]) == ("unreachable", ["web-7d4b9-1", "web-7d4b9-2"])
    assert only(found)["delivery"]["today"]["by"] == "proxy"


REVISIONS = [istiod("1.9.9"), istiod("1.12.0", "next")]


@pytest.mark.parametrize(("source", "wanted"), [("auto", "breaks_on_upgrade"), ("proxy", "unknown")])
def test_the_pod_that_was_read_for_others_does_not_speak_for_those_of_another_istiod(source, wanted):
    """Amid a move from one revision to the next, pods of one template are served by either, and the first may have moved."""
    moved, stays = pod("web-7d4b9-1", revision="next"), pod("web-7d4b9-2")
    found = report(
        [moved, stays],
        istiods=REVISIONS,
        tables=[table("web-7d4b9-1")],
        selection=Selection(replicas="one"),
        proxyConfigs=[proxy_config({8080: None}, of="web-7d4b9-1")],
        delivery_source=source,
        target="1.21",
    )
    assert verdict(found) == wanted


@pytest.mark.parametrize(("source", "wanted"), [("auto", "breaks_on_upgrade"), ("proxy", "unknown")])
def test_the_pod_that_was_read_for_others_does_not_speak_for_a_port_that_only_they_have(source, wanted):
    """As where each pod of a StatefulSet has a Service of its own."""
    named = "statefulset.kubernetes.io/pod-name"
    pods = [pod(name, labels={named: name}) for name in ("web-0", "web-1")]
    found = report(
        pods,
        [cluster.service(), cluster.service("web-1", selector={named: "web-1"}, ports=[cluster.port(90, 9000)])],
        tables=[table("web-0", ["0.0.0.0:8080", "127.0.0.1:9000"])],
        selection=Selection(replicas="one"),
        proxyConfigs=[proxy_config({8080: "127.0.0.1:8080"}, of="web-0")],
        delivery_source=source,
        target="1.21",
    )
    assert (verdict(found), only(found)["pods"], only(found)["port"]) == (wanted, ["web-1"], 9000)


# ---------------------------------------------------------------------------------------------------------------------
# Who is asked


ASKED = {
    "a finding": ({}, {("shop", "web-7d4b9-a"): (8080,)}),
    "a finding that is waived": (
        {"waivers": [{"match": "namespace == 'shop'", "reason": "x"}]},
        {("shop", "web-7d4b9-a"): (8080,)},
    ),
    "a port that is remediated": (
        {"sidecars": [sidecar(ingress={8080: "127.0.0.1:8080"})]},
        {("shop", "web-7d4b9-a"): (8080,)},
    ),
    "every port that clients ask": (
        {"services": [cluster.service(ports=[cluster.port(), cluster.port(90, 9090, "b")])]},
        {("shop", "web-7d4b9-a"): (8080, 9090)},
    ),
    "where nothing was found, nobody": ({"binds": ("0.0.0.0:8080",)}, {}),
    "where nothing listens, nobody": ({"binds": ("0.0.0.0:9",)}, {}),
    "without a sidecar nobody": ({"pods": [pod(proxy=None)], "scope": "all"}, {}),
    "only the pod that was read": (
        {
            "pods": [pod("web-7d4b9-1"), pod("web-7d4b9-2")],
            "tables": [table("web-7d4b9-1")],
            "selection": Selection(replicas="one"),
        },
        {("shop", "web-7d4b9-1"): (8080,)},
    ),
}


@pytest.mark.parametrize("name", ASKED)
def test_only_those_are_asked_of_whom_something_is_said(name):
    more, wanted = ASKED[name]
    more = dict(more)
    waivers, scope = more.pop("waivers", ()), more.pop("scope", "mesh")
    selection = more.pop("selection", Selection(scope=scope))
    found = report(waivers=waivers, selection=selection, **more)
    snapshot = cluster.snapshot(**more)
    read = {(entry["namespace"], entry["pod"]) for entry in snapshot["socketTables"]}
    assert proxies_to_ask(found, read_cluster(snapshot), Options(cluster.TODAY, selection), read.__contains__) == wanted
