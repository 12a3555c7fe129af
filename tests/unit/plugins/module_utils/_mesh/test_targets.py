# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.targets import (
    ALWAYS,
    BESIDE,
    NATIVE_PORT,
    OTHER_ADDRESS,
    OTHER_NAMESPACE,
    PORT_NAME,
    PORT_NUMBER,
    asked,
    counts,
    uncounted,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.istio_values import as_version
from ansible_collections.meshops.istio_precheck.tests.helpers.cluster import (
    endpoint_slice,
    istiod,
    pod,
    port,
    report,
    service,
    service_entry,
    verdict,
    verdicts,
)

VERSIONS = (
    "1.9.9 1.13.3 1.13.4 1.14.0 1.14.4 1.14.5 1.15.0 1.23.6 1.24.0 1.28.4 1.28.5 1.29.0 1.29.1 1.30.0 1.31.0".split()
)


@pytest.mark.parametrize(
    "how, counting",
    [
        (ALWAYS, VERSIONS),
        (BESIDE, []),
        (OTHER_ADDRESS, "1.9.9 1.13.3 1.13.4 1.14.0 1.14.4 1.14.5 1.15.0 1.23.6".split()),
        (OTHER_NAMESPACE, ["1.9.9"]),
        (NATIVE_PORT, "1.28.5 1.29.1 1.30.0 1.31.0".split()),
        (PORT_NAME, "1.13.4 1.14.5 1.15.0 1.23.6 1.24.0 1.28.4 1.28.5 1.29.0 1.29.1 1.30.0 1.31.0".split()),
        (PORT_NUMBER, "1.9.9 1.13.3 1.14.0 1.14.4".split()),
    ],
)
def test_which_istiod_counts_a_port_depends_on_the_way_in_which_it_is_exposed(how, counting):
    assert [version for version in VERSIONS if counts(how, as_version(version))] == counting


def test_of_a_service_entrys_two_ports_one_is_asked_for():
    for version in VERSIONS:
        assert asked(PORT_NAME, as_version(version)) != asked(PORT_NUMBER, as_version(version))
    assert (
        asked(BESIDE, (1, 24))
        and asked(OTHER_ADDRESS, (1, 24))
        and asked(OTHER_NAMESPACE, (1, 24))
        and asked(NATIVE_PORT, (1, 24))
    )


def test_an_istiod_of_unknown_version_may_count_all_but_what_none_counts():
    assert {how for how in (ALWAYS, BESIDE, OTHER_ADDRESS, NATIVE_PORT, PORT_NAME, PORT_NUMBER) if counts(how, None)} == {
        ALWAYS, OTHER_ADDRESS, NATIVE_PORT, PORT_NAME, PORT_NUMBER,
    }  # fmt: skip


def test_a_port_is_the_pods_if_any_service_makes_it_that():
    assert uncounted([NATIVE_PORT, ALWAYS], (1, 24)) == ALWAYS
    assert uncounted([NATIVE_PORT, OTHER_ADDRESS], (1, 24)) == NATIVE_PORT
    assert uncounted([], (1, 24)) == BESIDE


# ---------------------------------------------------------------------------------------------------------------------
# What becomes of such ports


def native(a_pod):
    a_pod["spec"]["initContainers"].append(
        {"name": "helper", "restartPolicy": "Always", "ports": [{"name": "http", "containerPort": 8080}]}
    )
    return a_pod


@pytest.mark.parametrize(
    "today, target, wanted",
    [
        (istiod("1.24.0", localhost=True), "1.26", "unreachable"),
        (istiod("1.24.0", localhost=True), "1.30", "remediated"),
        (istiod("1.24.0", localhost=True), "1.29", "unreachable"),
        (istiod("1.30.0", localhost=True), "1.31", "remediated"),
        (istiod("1.9.9"), "1.10", "unreachable"),
    ],
)
def test_a_named_port_of_a_native_sidecar_is_passed_through_by_an_istiod_that_does_not_resolve_it(
    today, target, wanted
):
    found = report([native(pod())], [service(ports=[port(80, "http")])], istiods=[today], target=target)
    assert verdict(found) == wanted


@pytest.mark.parametrize("target, wanted", [("1.23", "remediated"), ("1.24", "breaks_on_upgrade")])
def test_slices_of_the_second_address_alone_count_up_to_1_23(target, wanted):
    found = report(
        [pod(ips=("10.0.0.5", "fd00::5"), env={"ISTIO_DUAL_STACK": "true"})],
        [service("manual", selector={}, families=("IPv6",))],
        istiods=[istiod("1.22.0", localhost=True, dual=True)],
        target=target,
        endpointSlices=[endpoint_slice("manual", addresses=["fd00::5"], family="IPv6")],
    )
    assert verdict(found) == wanted


@pytest.mark.parametrize(
    "version, target, wanted",
    [
        ("1.9.9", "1.12", {9090: "breaks_on_upgrade"}),
        ("1.9.9", "1.15", {9090: "breaks_on_upgrade", 8080: "unreachable"}),
        ("1.13.4", "1.16", {8080: "unreachable"}),
        ("1.16.0", "1.24", {8080: "unreachable"}),
    ],
)
def test_of_a_service_entrys_two_ports_each_istiod_asks_for_one(version, target, wanted):
    entry = service_entry(ports=[{"number": 80, "name": "http", "targetPort": 9090}])
    found = report(
        [pod(ports={"http": 8080})],
        [],
        istiods=[istiod(version)],
        target=target,
        serviceEntries=[entry],
        binds=("127.0.0.1:8080", "127.0.0.1:9090"),
    )
    assert {number: what for (_workload, number), what in verdicts(found).items()} == wanted


def test_a_port_that_a_service_entry_exposes_by_the_pods_address_is_checked():
    entry = service_entry(ports=[{"number": 80, "name": "http", "targetPort": 8080}])
    del entry["spec"]["workloadSelector"]
    entry["spec"]["endpoints"] = [{"address": "10.0.0.5"}]
    assert verdict(report([pod()], [], serviceEntries=[entry], target="1.24")) == "breaks_on_upgrade"


BY_ADDRESS = service_entry("db", "billing", ports=[{"number": 8080, "name": "tcp"}])
del BY_ADDRESS["spec"]["workloadSelector"]
BY_ADDRESS["spec"]["endpoints"] = [{"address": "10.0.0.5"}]
IN_BILLING = {
    "metadata": {"name": "e", "namespace": "billing"},
    "spec": {"address": "10.0.0.5", "labels": {"app": "db"}},
}
SELECTED = {"services": [service("db", "billing", {"app": "db"})], "workloadEntries": [IN_BILLING]}
BY_ENTRY = {"services": [], "serviceEntries": [BY_ADDRESS]}


@pytest.mark.parametrize(
    ("more", "today", "target", "wanted"),
    [
        (BY_ENTRY, istiod("1.9.9"), "1.24", "breaks_on_upgrade"),
        (BY_ENTRY, istiod("1.10.0", opt_out=True), "1.20", "breaks_on_upgrade"),
        (BY_ENTRY, istiod("1.20.8", opt_out=True), "1.20", "unreachable"),
        (BY_ENTRY, istiod("1.24.0", localhost=True), "1.25", "unreachable"),
        (SELECTED, istiod("1.9.9"), "1.24", "breaks_on_upgrade"),
        (SELECTED, istiod("1.20.8", opt_out=True), "1.24", "breaks_on_upgrade"),
        (SELECTED, istiod("1.24.0", localhost=True), "1.25", "remediated"),
    ],
)
def test_what_another_namespace_exposes_of_a_pod_breaks_like_what_its_own_does(more, today, target, wanted):
    """Up to 1.10 istiod counts ServiceEntries of any namespace: istio/istio#33079."""
    found = report([pod()], istiods=[today], target=target, **more)
    assert verdict(found) == wanted
    (record,) = found["findings"] or found["remediated"]
    assert [each["name"] for each in record["services"]] == ["billing/db"]
