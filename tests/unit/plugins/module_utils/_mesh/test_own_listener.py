# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sidecars whose entries say where the proxy is to take connections: `bind`, `captureMode`, and the protocol UDP."""

from __future__ import annotations

import pytest

from ansible_collections.meshops.istio_precheck.tests.helpers.cluster import (
    istiod,
    pod,
    report,
    service,
    sidecar,
    verdict,
)

MODE_NONE = {"sidecar.istio.io/interceptionMode": "NONE"}
LOCAL = "127.0.0.1:8080"
SELECTOR = {"app": "web"}


def checked(entry, binds=(LOCAL,), version="1.24.0", target="1.26", mode=None, **more):
    """The Report on a pod with this entry in its Sidecar. `binds` are all sockets of the pod, the proxy's own included."""
    pods = [pod(annotations=MODE_NONE if mode else None, **more)]
    services = [service(families=("IPv4", "IPv6")[: len(more.get("ips", "1"))])]
    mine = sidecar("mine", selector=SELECTOR, ingress_of=entry)
    return report(pods, services, [mine], [istiod(version)], binds=binds, target=target, remediate_unreachable=True)


CAPTURE = {"captureMode": "NONE"}
ONLY_ITSELF = {"captureMode": "NONE", "bind": "127.0.0.2"}


@pytest.mark.parametrize("version, target", [("1.9.9", "1.10"), ("1.20.8", "1.24"), ("1.24.0", "1.26")])
@pytest.mark.parametrize(
    "mode, entry, binds, wanted",
    [
        # The proxy listens for itself, and nobody asks there.
        (None, ONLY_ITSELF, (LOCAL, "127.0.0.2:8080"), "unreachable"),
        (None, ONLY_ITSELF, ("0.0.0.0:8080",), "ok"),
        ("NONE", {"bind": "127.0.0.1"}, (LOCAL,), "unreachable"),
        ("NONE", {"bind": "127.0.0.1"}, ("0.0.0.0:8080",), "ok"),
        # It listens where it is asked, unless the program keeps the port from it.
        (None, CAPTURE, (LOCAL, "10.0.0.5:8080"), "remediated"),
        ("NONE", {}, (LOCAL, "10.0.0.5:8080"), "remediated"),
        ("NONE", {}, (LOCAL,), "remediated"),
        ("NONE", {}, ("0.0.0.0:8080",), "ok"),
        ("NONE", {}, ("0.0.0.0%lo:8080",), "unreachable"),
        ("NONE", {}, ("10.0.0.5:8080",), "ok"),
        (None, CAPTURE, ("10.0.0.5:8080",), "ok"),
        ("NONE", {"bind": "10.0.0.5"}, (LOCAL, "10.0.0.5:8080"), "remediated"),
        ("NONE", {"bind": "0.0.0.0"}, (LOCAL,), "unreachable"),
        ("NONE", {"bind": "0.0.0.0"}, ("*:8080",), "ok"),
        (
            "NONE",
            {"bind": "0.0.0.0", "defaultEndpoint": "127.0.0.1:9000"},
            ("127.0.0.1:9000", "0.0.0.0:8080"),
            "remediated",
        ),
        ("NONE", {"bind": "::"}, (LOCAL, "[::]:8080"), "unreachable"),
        ("NONE", {"bind": "no address"}, (LOCAL,), "unreachable"),
        ("NONE", {"captureMode": "NONE"}, (LOCAL, "10.0.0.5:8080"), "remediated"),
        (None, {"captureMode": "IPTABLES"}, (LOCAL,), "remediated"),
        (None, {"captureMode": "DEFAULT"}, (LOCAL,), "remediated"),
    ],
)
def test_an_entry_for_which_the_proxy_listens_itself_is_in_effect_where_it_is_asked(
    mode, entry, binds, wanted, version, target
):
    assert verdict(checked(entry, binds, version, target, mode)) == wanted


def test_the_proxys_own_socket_is_not_shown_as_the_programs():
    found = checked(ONLY_ITSELF, (LOCAL, "127.0.0.2:8080"))["findings"][0]
    assert found["listeners"] == [LOCAL]
    assert found["delivery"]["today"]["to"] == found["delivery"]["after"]["to"] == "pod_ip"
    assert "Sidecar shop/mine has the proxy itself listen on 127.0.0.2" in found["reason"]


@pytest.mark.parametrize(
    "version, wanted", [("1.13.0", "remediated"), ("1.14.0", "unreachable"), ("1.24.0", "unreachable")]
)
def test_capture_by_iptables_kept_a_proxy_of_mode_none_from_listening_from_1_14_on(version, wanted):
    assert verdict(checked({"captureMode": "IPTABLES"}, version=version, target=version, mode="NONE")) == wanted


@pytest.mark.parametrize(
    "ips, own, wanted",
    [
        (("10.0.0.5", "fd00::5"), "10.0.0.5:8080", "unreachable"),
        (("fd00::5", "10.0.0.5"), "[fd00::5]:8080", "unreachable"),
        (("10.0.0.5",), "10.0.0.5:8080", "remediated"),
    ],
)
def test_a_proxy_of_mode_none_listens_on_the_pods_first_address_alone(ips, own, wanted):
    assert verdict(checked({}, (LOCAL, own), mode="NONE", ips=ips)) == wanted


@pytest.mark.parametrize(
    "version, target, bind, wanted",
    [
        ("1.9.9", "1.10", "127.0.0.1", "unreachable"),
        ("1.9.9", "1.10", "172.16.1.32", "unreachable"),
        ("1.9.9", "1.10", "10.0.0.5", "remediated"),
        ("1.9.9", "1.10", "0.0.0.0", "remediated"),
        ("1.10.0", "1.11", "127.0.0.1", "remediated"),
        ("1.11.0", "1.12", "127.0.0.1", "remediated"),
    ],
)
def test_up_to_1_10_the_chain_of_an_entry_asks_for_the_address_that_it_binds(version, target, bind, wanted):
    assert verdict(checked({"bind": bind}, version=version, target=target)) == wanted


def test_what_the_proxy_closes_is_not_reached_and_opens_with_1_11():
    assert verdict(checked({"bind": "127.0.0.1"}, ("0.0.0.0:8080",), "1.9.9", "1.10")) == "not_listening"
    assert verdict(checked({"bind": "127.0.0.1"}, ("0.0.0.0:8080",), "1.9.9", "1.11")) == "ok"
    found = checked({"bind": "127.0.0.1"}, version="1.9.9", target="1.10")["findings"][0]
    assert found["delivery"]["today"]["to"] == "closed"


@pytest.mark.parametrize("version, target, wanted", [("1.9.9", "1.9", "unreachable"), ("1.10.0", "1.11", "remediated")])
def test_an_entry_of_udp_is_a_cluster_without_a_chain_up_to_1_9(version, target, wanted):
    assert verdict(checked({"port": {"number": 8080, "protocol": "UDP"}}, version=version, target=target)) == wanted


def test_a_port_that_is_not_intercepted_is_the_proxys_where_it_listens_itself():
    a_pod = {"annotations": {"traffic.sidecar.istio.io/excludeInboundPorts": "8080"}}
    mine = sidecar("mine", selector=SELECTOR, ingress_of=CAPTURE)
    found = report([pod(**a_pod)], None, [mine], [istiod("1.24.0")], binds=(LOCAL, "10.0.0.5:8080"), target="1.26")
    assert verdict(found) == "remediated"


@pytest.mark.parametrize(
    "entry, version, target, left, note",
    [
        (
            ONLY_ITSELF,
            "1.24.0",
            "1.26",
            {},
            "It takes bind: 127.0.0.2 and captureMode: NONE from the entry of port 8080",
        ),
        ({"bind": "127.0.0.1"}, "1.9.9", "1.10", {}, "It takes bind: 127.0.0.1 from the entry of port 8080"),
        (
            {"bind": "127.0.0.1", "captureMode": "IPTABLES", "defaultEndpoint": "0.0.0.0:8080"},
            "1.24.0",
            "1.26",
            {"bind": "127.0.0.1", "captureMode": "IPTABLES"},
            None,
        ),
    ],
)
def test_the_remedy_takes_from_the_entry_what_keeps_connections_from_it(entry, version, target, left, note):
    found = checked(entry, version=version, target=target)
    [remedy] = found["remediations"]
    assert remedy["manifest"]["spec"]["ingress"] == [{"port": {"number": 8080}, "defaultEndpoint": LOCAL, **left}]
    assert any(each.startswith(note or "It takes") for each in remedy["notes"]) == bool(note)


def test_the_remedy_of_an_entry_of_udp_is_one_of_tcp():
    found = checked({"port": {"number": 8080, "protocol": "UDP"}}, version="1.9.9", target="1.9")
    [remedy] = found["remediations"]
    [entry] = remedy["manifest"]["spec"]["ingress"]
    assert entry["port"].get("protocol") != "UDP" and entry["defaultEndpoint"] == LOCAL
