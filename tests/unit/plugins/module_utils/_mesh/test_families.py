# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pods with IPv4 and IPv6, with and without ISTIO_DUAL_STACK, and pods in TPROXY mode. tests/envoy and tests/istiod show that a real mesh does the same."""

from __future__ import annotations

import pytest

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.shapes import DUAL_STACK_ENV
from ansible_collections.meshops.istio_precheck.tests.helpers.cluster import (
    istiod,
    pod,
    proxy_config,
    report,
    service,
    sidecar,
    verdict,
)

V4_FIRST, V6_FIRST = ("10.0.0.5", "fd00::5"), ("fd00::5", "10.0.0.5")
V6_ALONE = ("fd00::5",)
BOTH = ("IPv4", "IPv6")
BREAKS, UNKNOWN, UNREACHABLE, CURE, FINE = "breaks_on_upgrade", "unknown", "unreachable", "remediated", "ok"


def plane(version, dual=False, **settings):
    made = istiod(version, dual=bool(dual), **settings)
    return {**made, "envUnknown": [DUAL_STACK_ENV]} if dual is None else made


def checked(ips, families, binds, today, target, endpoint=None, pods_flag=False, mode=None):
    return report(
        [
            pod(
                ips=ips,
                env={DUAL_STACK_ENV: "true"} if pods_flag else None,
                annotations={"sidecar.istio.io/interceptionMode": mode} if mode else None,
            )
        ],
        [service(families=families)],
        [sidecar("mine", selector={"app": "web"}, ingress={8080: endpoint})] if endpoint else [],
        [today],
        binds=binds,
        target=target,
    )


@pytest.mark.parametrize(
    "ips, families, dual, pods_flag, wanted",
    [
        # LOCALHOST stays over the upgrade, so what meets the proxy stays reached.
        (V4_FIRST, ("IPv4",), False, False, CURE),
        (V4_FIRST, ("IPv6",), False, False, UNREACHABLE),
        (V4_FIRST, BOTH, False, False, UNREACHABLE),
        (V4_FIRST, ("IPv6",), True, False, UNREACHABLE),  # iptables of the pod redirect IPv4 alone
        (V4_FIRST, ("IPv6",), False, True, UNREACHABLE),  # they do redirect, to where nothing listens
        (V4_FIRST, ("IPv6",), True, True, CURE),
        (V4_FIRST, BOTH, True, True, CURE),
        (V6_FIRST, ("IPv4",), False, False, CURE),
        (V6_FIRST, ("IPv6",), False, False, UNREACHABLE),
        (V6_FIRST, ("IPv6",), True, False, CURE),
        (V6_FIRST, BOTH, True, False, CURE),
        (V4_FIRST, ("IPv6",), None, True, UNKNOWN),
        (V6_ALONE, ("IPv6",), False, False, CURE),
    ],
)
def test_ipv6_of_a_pod_with_both_meets_its_proxy_only_with_the_variable(ips, families, dual, pods_flag, wanted):
    binds = ["[::1]:8080"] if ips == V6_ALONE else ["127.0.0.1:8080"]
    found = checked(ips, families, binds, plane("1.24.0", dual, localhost=True), "1.26", pods_flag=pods_flag)
    assert verdict(found) == wanted


@pytest.mark.parametrize("version, wanted", [("1.16.7", UNREACHABLE), ("1.17.0", BREAKS)])
def test_istiod_knows_the_variable_from_1_17_on(version, wanted):
    found = checked(V6_FIRST, ("IPv6",), ["127.0.0.1:8080"], plane(version, True, opt_out=True), "1.21")
    assert verdict(found) == wanted


def test_with_the_variable_a_program_on_0_0_0_0_is_reached_over_ipv6_as_long_as_localhost_is_dialled():
    found = checked(V4_FIRST, ("IPv6",), ["0.0.0.0:8080"], plane("1.20.8", True, opt_out=True), "1.21", pods_flag=True)
    assert verdict(found) == BREAKS


@pytest.mark.parametrize(
    "ips, families, dual, endpoint, binds, wanted",
    [
        # The source 127.0.0.6 is of the other family.
        (V4_FIRST, ("IPv4",), False, "[::]:8080", ["[fd00::5]:8080"], "not_listening"),
        (V4_FIRST, ("IPv4",), True, "[::]:8080", ["[fd00::5]:8080"], FINE),
        (V6_ALONE, ("IPv6",), False, "[::]:8080", ["[fd00::5]:8080"], FINE),
        # Localhost has no such source.
        (V4_FIRST, ("IPv4",), False, "[::1]:8080", ["[::1]:8080"], CURE),
    ],
)
def test_the_proxy_connects_to_no_address_of_the_other_family_than_its_source(
    ips, families, dual, endpoint, binds, wanted
):
    found = checked(ips, families, binds, plane("1.24.0", dual), "1.26", endpoint, pods_flag=bool(dual))
    assert verdict(found) == wanted


@pytest.mark.parametrize("version, wanted", [("1.10.0", UNREACHABLE), ("1.11.0", CURE)])
def test_up_to_1_10_a_listed_port_is_closed_at_any_address_but_the_first(version, wanted):
    found = checked(V6_FIRST, ("IPv4",), ["127.0.0.1:8080"], plane(version), version, "127.0.0.1:8080")
    assert verdict(found) == wanted


@pytest.mark.parametrize(
    "ips, binds, wanted",
    [
        (("10.0.0.5",), ["127.0.0.1:8080"], UNKNOWN),  # only with net.ipv4.conf.*.route_localnet
        (("10.0.0.5",), ["0.0.0.0:8080"], FINE),
        (V6_ALONE, ["[::1]:8080"], CURE),
    ],
)
def test_in_tproxy_mode_localhost_of_ipv4_may_not_be_reached(ips, binds, wanted):
    found = checked(ips, (), binds, plane("1.24.0", localhost=True), "1.26", mode="TPROXY")
    assert verdict(found) == wanted


@pytest.mark.parametrize("mode, wanted", [(None, FINE), ("TPROXY", "not_listening")])
def test_in_tproxy_mode_no_endpoint_of_the_other_family_is_reached(mode, wanted):
    """`[::]` is ::1 in a pod without IPv6."""
    found = checked(("10.0.0.5",), (), ["[::]:8080"], plane("1.20.8"), "1.24", "[::]:8080", mode=mode)
    assert verdict(found) == wanted


@pytest.mark.parametrize(
    "proxy, target, binds, wanted, opens",
    [
        # Nothing arrives today; an injector from 1.12 on makes pods in which it does.
        ("1.11.8", "1.20", ["[::]:8080"], FINE, True),
        ("1.11.8", "1.11", ["[::]:8080"], "not_listening", False),
        ("1.11.8", "1.20", ["[::1]:8080"], UNREACHABLE, False),
        ("1.12.0", "1.20", ["[::]:8080"], FINE, False),
    ],
)
def test_in_tproxy_mode_an_old_istio_init_lets_nothing_arrive_over_ipv6(proxy, target, binds, wanted, opens):
    made = pod(ips=V6_ALONE, proxy=proxy, annotations={"sidecar.istio.io/interceptionMode": "TPROXY"})
    found = report([made], [service(families=("IPv6",))], istiods=[plane("1.11.8")], binds=binds, target=target)
    assert (verdict(found), bool(found["opens_on_upgrade"])) == (wanted, opens)


# ---------------------------------------------------------------------------------------------------------------------
# What a record does not hold


def old(plane):
    """The `istio` of a record from before ISTIO_DUAL_STACK was kept."""
    return {"rootNamespace": "istio-system", "controlPlanes": [plane], "meshConfig": {}}


@pytest.mark.parametrize(
    "ips, families, today, settings, binds, wanted",
    [
        # Without the variable unreachable, with it remediated.
        (V4_FIRST, ("IPv6",), "1.24.0", {"localhost": True}, "127.0.0.1:8080", UNKNOWN),
        (V4_FIRST, BOTH, "1.24.0", {"localhost": True}, "127.0.0.1:8080", UNKNOWN),
        (V6_FIRST, ("IPv6",), "1.24.0", {"localhost": True}, "127.0.0.1:8080", UNKNOWN),
        # Without the variable it does not listen over IPv6, with it what listens over IPv4 breaks.
        (V4_FIRST, ("IPv6",), "1.20.8", {"opt_out": True}, "0.0.0.0:8080", UNKNOWN),
        # Without the variable the kernel delivers, with it the proxy goes to localhost from 1.22 on.
        (V4_FIRST, ("IPv6",), "1.20.8", {"localhost": True}, "[fd00::5]:8080", UNKNOWN),
        # It does not matter.
        (V4_FIRST, ("IPv6",), "1.24.0", {}, "127.0.0.1:8080", UNREACHABLE),
        (V4_FIRST, ("IPv6",), "1.24.0", {}, "[::]:8080", FINE),
        (V4_FIRST, ("IPv4",), "1.24.0", {"localhost": True}, "127.0.0.1:8080", CURE),
        (("10.0.0.5",), ("IPv4",), "1.24.0", {"localhost": True}, "127.0.0.1:8080", CURE),
        (V6_ALONE, ("IPv6",), "1.24.0", {"localhost": True}, "[::1]:8080", CURE),
    ],
)
def test_of_what_an_old_record_does_not_hold_the_worse_counts(ips, families, today, settings, binds, wanted):
    found = report(
        [pod(ips=ips)],
        [service(families=families)],
        istio=old(istiod(today, **settings)),
        binds=[binds],
        target="1.26",
    )
    assert verdict(found) == wanted


def test_an_old_record_before_1_17_says_enough():
    found = report([pod(ips=V4_FIRST)], [service(families=("IPv6",))], istio=old(istiod("1.9.9")), target="1.16")
    assert verdict(found) == UNREACHABLE


def test_the_sentence_says_that_a_verdict_is_not_certain_and_why():
    found = report(
        [pod(ips=V4_FIRST)],
        [service(families=("IPv6",))],
        istio=old(istiod("1.24.0", localhost=True)),
        target="1.26",
    )
    assert found["findings"][0]["reason"].endswith(
        "; that is not certain, because connections over IPv6 meet the proxy only if ISTIO_DUAL_STACK is set for istiod 1.24 and the pod, "
        "which was not seen."
    )


# ---------------------------------------------------------------------------------------------------------------------
# What the proxy says


@pytest.mark.parametrize("families, wanted", [(("IPv4",), BREAKS), (("IPv6",), UNREACHABLE)])
def test_a_proxy_speaks_for_connections_that_meet_it(families, wanted):
    """It was sent what istiod 1.9 sends, by one that says that it is newer."""
    found = report(
        [pod(ips=V4_FIRST)],
        [service(families=families)],
        istiods=[istiod("1.20.8")],
        binds=["127.0.0.1:8080"],
        proxyConfigs=[proxy_config({8080: "127.0.0.1:8080"})],
        target="1.21",
    )
    assert verdict(found) == wanted


def test_what_a_proxy_of_mode_tproxy_dials_on_127_0_0_1_may_not_be_reached():
    found = report(
        [pod(annotations={"sidecar.istio.io/interceptionMode": "TPROXY"})],
        istiods=[istiod("1.20.8")],
        proxyConfigs=[proxy_config({8080: "127.0.0.1:8080"})],
        target="1.21",
    )
    assert verdict(found) == UNKNOWN
