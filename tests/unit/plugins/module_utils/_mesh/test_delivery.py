# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import time

import pytest

from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.cluster import read_cluster
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.control_plane import ControlPlanes
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.delivery import delivery
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.pod import (
    has_sidecar,
    interception,
    is_ambient,
    revision,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.sidecars import Sidecars
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.istio_values import (
    as_object,
    as_version,
    go_false,
    go_true,
    image_tag,
)
from ansible_collections.meshops.istio_precheck.tests.helpers import truth
from ansible_collections.meshops.istio_precheck.tests.helpers.cluster import (
    istiod,
    port,
    report,
    service,
    sidecar,
    snapshot,
    verdict,
)
from ansible_collections.meshops.istio_precheck.tests.helpers.cluster import pod as written_pod
from ansible_collections.meshops.istio_precheck.tests.helpers.cluster import read_pod as pod


def planes(*istiods, **more):
    return ControlPlanes(read_cluster(snapshot(istiods=istiods, **more)).istio)


def serving(a_pod, *istiods):
    return planes(*istiods).today(a_pod)


def delivered(a_pod, port, endpoint, plane, listed=8080, asked=""):
    """Where a connection goes, in the words of the truth table: at the address `asked`, else as far as that does not matter."""
    chosen = sidecar(ingress={listed: endpoint or None}) if endpoint is not None else None
    found = delivery(a_pod, port, chosen, plane)
    if asked:
        found = found.met(asked, port, ())
    words = {each: each for each in (truth.KERNEL, truth.UNIX, truth.CLOSED, truth.UNKNOWN)}
    where = words.get(found.kind) or found.address or truth.IP
    return where if found.port == port else f"{where} port {found.port}"


@pytest.mark.parametrize("special, spec, port, endpoint, cells", truth.DELIVERY, ids=[row[0] for row in truth.DELIVERY])
def test_a_connection_ends_up_where_the_table_says(special, spec, port, endpoint, cells):
    for (column, variants), wanted in zip(truth.PLANES.items(), cells):
        for settings in variants:
            plane = serving(pod(revision=None), istiod(**settings))
            a_pod = pod(**spec)
            asked = truth.ASKED.get(special, a_pod.ips[0])
            assert delivered(a_pod, port, endpoint, plane, asked=asked) == wanted, (column, settings)


@pytest.mark.parametrize(
    "version, address",
    [
        ("?", "127.0.0.1"),
        ("1.14.4", "127.0.0.1"),
        ("1.15.0", "127.0.0.1"),
        ("1.18.5", "127.0.0.1"),
        ("1.18.6", "::1"),
        ("1.18", "127.0.0.1"),
        ("1.19.3", "127.0.0.1"),
        ("1.19.4", "::1"),
        ("1.20.0", "::1"),
        ("1.24", "::1"),
    ],
)
def test_the_endpoint_ipv6_localhost_is_dialled_as_such_from_the_fixed_releases_on(version, address):
    plane = serving(pod(), istiod(version))
    assert delivered(pod(ips=("10.0.0.5", "fd00::5")), 8080, "[::1]:8080", plane) == address


@pytest.mark.parametrize("endpoint", ["[::1]:8080", "[::]:8080"])
@pytest.mark.parametrize(
    "version, closed", [("1.9.9", True), ("1.14.3", True), ("1.14", True), ("1.14.4", False), ("?", False)]
)
def test_an_endpoint_of_ipv6_was_no_cluster_until_1_14_4(version, closed, endpoint):
    """Such a Sidecar was let in by the webhook of a newer istiod."""
    found = delivery(pod(), 8080, sidecar(ingress={8080: endpoint}), serving(pod(), istiod(version)))
    assert (found.kind == "closed") == closed


@pytest.mark.parametrize(
    "endpoint, ips, where",
    [
        ("[::1]:8080", ("10.0.0.5",), "127.0.0.1"),
        ("[::1]:8080", ("fd00::5",), "::1"),
        ("[::]:8080", ("10.0.0.5",), "::1"),
        ("[::]:8080", ("fd00::5",), "fd00::5"),
        ("[::]:8080", ("10.0.0.5", "fd00::5"), "fd00::5"),
    ],
)
@pytest.mark.parametrize("version", ["1.14.4", "1.20.8", "1.24.0"])
def test_an_endpoint_of_ipv6_is_an_address_that_the_pod_has(endpoint, ips, where, version):
    assert delivered(pod(ips=ips), 8080, endpoint, serving(pod(), istiod(version))) == where


@pytest.mark.parametrize("version, address", [("1.9.9", "fd00::5"), ("1.14.3", "fd00::5"), ("1.14.4", "10.0.0.5")])
def test_the_endpoint_any_address_was_the_primary_one_until_1_14_4(version, address):
    plane = serving(pod(), istiod(version))
    assert delivered(pod(ips=("fd00::5", "10.0.0.5")), 8080, "0.0.0.0:8080", plane) == address


@pytest.mark.parametrize(
    "version, ips, kind",
    [("1.20.8", ("fd00::5",), "localhost"), ("1.9.9", ("fd00::5",), "pod_ip"), ("1.20.8", ("10.0.0.5",), "pod_ip")],
)
def test_the_endpoint_any_address_is_localhost_where_the_pod_has_no_such_family(version, ips, kind):
    assert (
        delivery(pod(ips=ips), 8080, sidecar(ingress={8080: "0.0.0.0:8080"}), serving(pod(), istiod(version))).kind
        == kind
    )


@pytest.mark.parametrize(
    "version, merge, where", [("1.15.7", True, "pod IP"), ("1.16.0", True, "127.0.0.1"), ("1.16.0", False, "pod IP")]
)
def test_ports_that_a_sidecar_does_not_list_keep_their_delivery_only_where_istiod_merges(version, merge, where):
    plane = serving(pod(), istiod(version, opt_out=True, merge=merge))
    assert delivered(pod(), 9090, "127.0.0.1:8080", plane) == where


@pytest.mark.parametrize("version, where", [("1.9.9", "pod IP"), ("1.24.0", "pod IP")])
def test_a_port_that_istiod_does_not_count_among_the_pods_services_is_passed_through(version, where):
    plane = serving(pod(), istiod(version, localhost=True))
    found = delivery(pod(), 8080, None, plane, ways=["beside"])
    assert (found.kind, found.address) == ("pod_ip", None)


def test_without_control_plane_the_delivery_is_unknown_but_a_sidecar_is_still_read():
    nothing = planes().today(pod())
    assert delivery(pod(), 8080, None, nothing).kind == "unknown"
    assert delivered(pod(), 8080, "127.0.0.1:8080", nothing) == "127.0.0.1"
    assert delivered(pod(proxy=None), 8080, None, nothing) == "kernel"


def test_an_unlisted_mesh_configuration_makes_delivery_unknown_where_it_decides():
    unlisted = [{"resource": "configmaps", "detail": "forbidden"}]
    assert delivery(pod(), 8080, None, planes(istiod("1.22.0"), unlisted=unlisted).today(pod())).kind == "unknown"
    assert (
        delivery(pod(), 8080, None, planes(istiod("1.22.0", localhost=True), unlisted=unlisted).today(pod())).kind
        == "localhost"
    )
    assert delivery(pod(), 8080, None, planes(istiod("1.21.0"), unlisted=unlisted).today(pod())).kind == "pod_ip"


@pytest.mark.parametrize(
    "spec, settings, chosen, port, why",
    [
        ({"host_network": True}, {}, None, 8080, "the pod shares its node's network, which the mesh leaves alone"),
        ({"proxy": None}, {}, None, 8080, "the pod has no sidecar, so the kernel delivers to the pod IP"),
        (
            truth.NONE,
            {},
            None,
            8080,
            "interception mode NONE gives it no inbound listener, so the kernel delivers to the pod IP",
        ),
        (
            truth.EXCLUDED,
            {},
            None,
            8080,
            "inbound interception leaves the port out, so the kernel delivers to the pod IP",
        ),
        ({}, {}, None, 8080, "istiod 1.9 delivers to 127.0.0.1"),
        (
            {},
            {"version": "1.10.3", "opt_out": True},
            None,
            8080,
            "istiod 1.10 delivers to 127.0.0.1 (PILOT_ENABLE_INBOUND_PASSTHROUGH=false)",
        ),
        (
            {},
            {"version": "1.22.0", "localhost": True},
            None,
            8080,
            "istiod 1.22 delivers to 127.0.0.1 (meshConfig.inboundTrafficPolicy.mode: LOCALHOST)",
        ),
        ({}, {"version": "1.24.0"}, None, 8080, "istiod 1.24 delivers to the pod IP"),
        ({}, {"version": "?"}, None, 8080, "an istiod of unknown version serves the pod"),
        ({}, {}, {8080: "127.0.0.1:9000"}, 8080, "Sidecar shop/listeners delivers it to 127.0.0.1:9000"),
        ({}, {}, {8080: None}, 8080, "Sidecar shop/listeners delivers it to the pod IP"),
        (
            {},
            {},
            {8080: "10.9.9.9:1"},
            8080,
            "Sidecar shop/listeners delivers it to the pod IP, because 10.9.9.9:1 is no endpoint that istiod knows",
        ),
        (
            {},
            {},
            {8080: None},
            9090,
            "Sidecar shop/listeners does not list the port, so it is passed through to the pod IP",
        ),
    ],
)
def test_the_delivery_says_why(spec, settings, chosen, port, why):
    found = delivery(
        pod(**spec), port, chosen and sidecar(ingress=chosen), serving(pod(revision=None), istiod(**settings))
    )
    assert found.why == why


def test_an_endpoint_without_a_host_is_not_known_where_the_version_of_istiod_is_not():
    of_no_version = serving(pod(), istiod("?"))
    for plane, why in (
        (planes().today(pod()), "no istiod was found that serves the pod"),
        (of_no_version, "an istiod of unknown version serves the pod"),
    ):
        found = delivery(pod(), 8080, sidecar(ingress={8080: ":9000"}), plane)
        assert found[:3] == ("unknown", "127.0.0.1", 9000)
        assert (
            found.why
            == f"Sidecar shop/listeners delivers it to :9000, which means localhost up to istiod 1.9 and the pod IP after, and {why}"
        )


def test_the_delivery_says_why_it_is_not_known():
    assert delivery(pod(), 8080, None, planes().today(pod())).why == "no istiod was found that serves the pod"
    hidden = planes(istiod("1.24.0"), unlisted=[{"resource": "configmaps"}]).today(pod())
    assert delivery(pod(), 8080, None, hidden).why == "the mesh configuration could not be read"


# ---------------------------------------------------------------------------------------------------------------------
# Pods


VALIDATION = [{"name": "istio-validation", "args": ["istio-iptables"]}]


@pytest.mark.parametrize(
    "spec, wanted",
    [
        ({}, True),
        ({"native": True}, True),
        ({"proxy": None}, False),
        ({"role": "router"}, False),
        ({"role": "waypoint"}, False),
        ({"host_network": True}, False),
        ({"role": "?"}, True),
        ({"role": "?", "annotations": {"inject.istio.io/templates": "gateway"}}, False),
        ({"role": "?", "annotations": {"inject.istio.io/templates": "kube-gateway, custom"}}, False),
        ({"role": "?", "annotations": {"inject.istio.io/templates": "waypoint"}}, False),
        ({"role": "?", "annotations": {"inject.istio.io/templates": "sidecar,custom"}}, True),
        ({"role": "sidecar", "annotations": {"inject.istio.io/templates": "gateway"}}, True),
        ({"role": "sidecar", "annotations": {"inject.istio.io/templates": "grpc-agent"}}, False),
        ({"role": "sidecar", "annotations": {"inject.istio.io/templates": "grpc-agent"}, "init": []}, True),
        ({"role": "sidecar", "annotations": {"inject.istio.io/templates": "sidecar,grpc-agent"}, "init": []}, True),
        (
            {
                "role": "sidecar",
                "annotations": {"inject.istio.io/templates": "grpc-agent"},
                "initContainers": VALIDATION,
            },
            True,
        ),
        ({"labels": {"security.istio.io/tlsMode": "disabled"}}, True),
        ({"proxy": None, "labels": {"security.istio.io/tlsMode": "istio", "sidecar.istio.io/inject": "true"}}, False),
    ],
)
def test_a_pod_has_a_sidecar_if_its_containers_say_so(spec, wanted):
    assert has_sidecar(pod(**spec)) is wanted


def test_an_ordinary_init_container_named_as_the_proxy_is_no_sidecar():
    assert not has_sidecar(pod(proxy=None, initContainers=[{"name": "istio-proxy", "args": ["proxy", "sidecar"]}]))


@pytest.mark.parametrize(
    "spec, wanted",
    [
        ({"proxy": None, "annotations": {"ambient.istio.io/redirection": "enabled"}}, True),
        ({"proxy": None, "annotations": {"ambient.istio.io/redirection": "pending"}}, False),
        ({"proxy": None, "labels": {"istio.io/dataplane-mode": "ambient"}}, False),
        ({"annotations": {"ambient.istio.io/redirection": "enabled"}}, False),
    ],
)
def test_ambient_is_what_ztunnel_really_captures(spec, wanted):
    assert is_ambient(pod(**spec)) is wanted


@pytest.mark.parametrize(
    "args",
    [
        ["-m", "NONE", "-b", "80,90", "-d", "15090"],
        [
            "istio-iptables",
            "-p",
            "15001",
            "-z",
            "15006",
            "-m",
            "NONE",
            "-i",
            "*",
            "-x",
            "",
            "-b",
            "80,90",
            "-d",
            "15090",
        ],
        ["-m=NONE", "-b=80,90", "-d=15090"],
        ["-mNONE", "-b80,90", "-d15090"],
        [
            "--istio-inbound-interception-mode",
            "NONE",
            "--istio-inbound-ports",
            "80,90",
            "--istio-local-exclude-ports",
            "15090",
        ],
        ["--istio-inbound-interception-mode=NONE", "--istio-inbound-ports=80,90", "--istio-local-exclude-ports=15090"],
        ["-m", "none", "-b", " 80,90 ", "-d", "15090"],
        ["-m", "TPROXY", "-m", "NONE", "-b", "80,90", "-d", "15090"],
    ],
)
def test_the_flags_of_istio_init_are_understood_in_every_spelling(args):
    found = interception(pod(init=args, proxy="1.20.0"))
    assert (found.mode, found.include, found.exclude) == ("NONE", "80,90", {15090})


def test_the_value_of_another_flag_is_not_taken_for_a_flag():
    assert interception(pod(init=["-b", "-d", "-d", "8080"], proxy="1.20.0")).include == "-d"
    assert interception(pod(init=["-d"], proxy="1.20.0")).exclude == frozenset()


@pytest.mark.parametrize("text", ["x,,8080,-1, 9 9", "8080,123456789012345678901234567890", "٨٠٨٠,8080"])
def test_what_is_no_port_in_a_list_of_ports_is_passed_over(text):
    found = interception(pod(proxy="1.20.0", annotations={"traffic.sidecar.istio.io/excludeInboundPorts": text}))
    assert found.exclude == {8080}


# ---------------------------------------------------------------------------------------------------------------------
# Revisions and control planes


@pytest.mark.parametrize(
    "spec, wanted",
    [
        ({"revision": "canary"}, ("canary", True)),
        ({"revision": "canary", "labels": {"istio.io/rev": "prod"}}, ("canary", True)),
        (
            {"revision": None, "annotations": {"istio.io/rev": "canary"}, "labels": {"istio.io/rev": "prod"}},
            ("canary", True),
        ),
        ({"revision": None, "labels": {"istio.io/rev": "prod"}}, ("prod", False)),
        ({"revision": None}, ("default", False)),
        ({"revision": ""}, ("default", False)),
        ({"revision": None, "annotations": {"istio.io/rev": ""}}, ("default", False)),
        ({"revision": 7}, ("default", False)),
        ({"annotations": {"sidecar.istio.io/status": "no JSON"}}, ("default", False)),
        ({"annotations": {"sidecar.istio.io/status": "[1]"}}, ("default", False)),
    ],
)
def test_the_revision_of_a_pod_is_what_its_injector_wrote(spec, wanted):
    assert revision(pod(**spec)) == wanted


@pytest.mark.parametrize(
    "spec, istiods, wanted",
    [
        ({}, [istiod("1.9.9"), istiod("1.20.8", "canary")], (1, 9, 9)),
        ({"revision": "canary"}, [istiod("1.9.9"), istiod("1.20.8", "canary")], (1, 20, 8)),
        ({"revision": "gone"}, [istiod("1.9.9"), istiod("1.20.8", "canary")], None),
        ({"revision": "gone"}, [istiod("1.9.9")], None),
        ({"revision": None, "labels": {"istio.io/rev": "prod"}}, [istiod("1.9.9", "1-9-9")], (1, 9, 9)),
        ({"revision": None, "labels": {"istio.io/rev": "prod"}}, [istiod("1.9.9"), istiod("1.20.8", "canary")], None),
        ({"revision": None}, [istiod("1.9.9", "1-9-9")], (1, 9, 9)),
        ({"revision": None}, [istiod("1.9.9", "1-9-9"), istiod("1.20.8", "1-20-8")], None),
        ({}, [], None),
        ({}, [istiod("weird")], None),
    ],
)
def test_a_pod_is_served_by_the_control_plane_of_its_revision(spec, istiods, wanted):
    assert serving(pod(**spec), *istiods).version == wanted
    assert serving(pod(**spec), *reversed(istiods)).version == wanted


@pytest.mark.parametrize(
    "istiods, wanted",
    [
        ([istiod("1.9.9"), istiod("1.10.0")], "localhost"),
        ([istiod("1.12.0", opt_out=True), istiod("1.12.0")], "localhost"),
        ([istiod("weird"), istiod("1.10.0")], "unknown"),
        ([istiod("weird"), istiod("1.9.9")], "localhost"),
    ],
)
def test_amid_a_rollout_the_replica_that_hands_most_to_localhost_counts_today(istiods, wanted):
    for order in (istiods, istiods[::-1]):
        assert serving(pod(), *order).default_delivery() == wanted


def test_amid_a_rollout_the_replica_that_hands_least_to_localhost_counts_for_the_upgrade():
    istiods = [istiod("1.12.0", opt_out=True), istiod("1.12.0")]
    for order in (istiods, istiods[::-1]):
        assert planes(*order).after(pod(), (1, 15)).default_delivery() == "pod_ip"


@pytest.mark.parametrize(
    "canary, wanted",
    [
        (istiod("1.24.1", "canary", localhost=True), ("canary", "localhost")),
        (istiod("1.24.1", "canary"), ("canary", "pod_ip")),
        (istiod("1.23.1", "canary", localhost=True), ("default", "pod_ip")),
    ],
)
def test_a_control_plane_that_runs_the_target_version_beside_todays_is_the_one_to_come(canary, wanted):
    after = planes(istiod("1.9.9"), canary).after(pod(), (1, 24))
    assert (after.name, after.default_delivery()) == wanted


LOCAL_TODAY = istiod("1.22.3", localhost=True)


@pytest.mark.parametrize(
    "today, canary, target, current, wanted",
    [
        (LOCAL_TODAY, istiod("1.24.1", "canary"), None, None, "pod_ip"),
        (LOCAL_TODAY, istiod("1.24.1", "canary", localhost=True), None, None, "localhost"),
        (LOCAL_TODAY, istiod("1.20.8", "left-over"), None, None, "localhost"),
        (LOCAL_TODAY, istiod("prod-2026-11", "canary"), "1.24", None, "pod_ip"),
        (LOCAL_TODAY, istiod("1.24", "canary"), "1.24.3", None, "pod_ip"),
        (LOCAL_TODAY, istiod("1.24.1", "canary"), "1.24.2", None, "pod_ip"),
        (LOCAL_TODAY, istiod("1.23.1", "canary"), "1.24.2", None, "localhost"),
        (istiod("mine", localhost=True), istiod("other", "canary"), "1.24", "1.22", "pod_ip"),
        (istiod("1.18.0", opt_out=True), istiod("other", "canary"), "1.20", None, "pod_ip"),
    ],
)
def test_another_revision_that_may_be_the_next_counts_with_its_own_settings(today, canary, target, current, wanted):
    both = ControlPlanes(read_cluster(snapshot(istio={"controlPlanes": [today, canary]})).istio, as_version(current))
    assert both.after(pod(), as_version(target)).default_delivery() == wanted


def waiting(*args, **kwargs):
    return {**istiod(*args, **kwargs), "running": False}


READY = istiod("1.24.1", "1-24", localhost=True)
NAMELESS = istiod("", "next")
OPTED_OUT = istiod("1.18.0", opt_out=True)
BESIDE = {
    "a canary that does not run yet": ([LOCAL_TODAY, waiting("1.24.1", "1-24")], "1.24", "pod_ip"),
    "the same without a target": ([LOCAL_TODAY, waiting("1.24.1", "1-24")], None, "pod_ip"),
    "one that makes nothing better": (
        [istiod("1.22.3"), waiting("1.24.1", "1-24", localhost=True)],
        "1.24",
        "pod_ip",
    ),
    "a canary of another version": ([LOCAL_TODAY, waiting("1.23.1", "1-23")], "1.24", "localhost"),
    "one that runs beside it": ([LOCAL_TODAY, READY, waiting("1.24.2", "1-24-2")], "1.24", "pod_ip"),
    "a rollout of the same revision, in place": ([LOCAL_TODAY, waiting("1.24.1")], "1.24", "pod_ip"),
    "a rollout of other settings, in place": ([OPTED_OUT, waiting("1.18.0")], "1.20", "pod_ip"),
    "a rollout of what runs the target version": (
        [istiod("1.24.1", localhost=True), waiting("1.24.2")],
        "1.24",
        "pod_ip",
    ),
    "what another revision waits for, where nothing moves": (
        [istiod("1.24.1", localhost=True), waiting("1.24.2", "other")],
        "1.24",
        "localhost",
    ),
    "one of unknown version beside a canary": ([LOCAL_TODAY, READY, NAMELESS], "1.24", "pod_ip"),
    "one of unknown version where nothing moves": ([istiod("1.24.1", localhost=True), NAMELESS], "1.24", "pod_ip"),
    "one of unknown version that does not run yet": ([LOCAL_TODAY, READY, waiting("", "next")], "1.24", "pod_ip"),
    "a replica of unknown version beside one of the target": ([READY, istiod("", "1-24")], "1.24", "pod_ip"),
}


@pytest.mark.parametrize("case", BESIDE)
def test_what_does_not_run_yet_or_has_no_known_version_counts_beside_what_comes_next(case):
    istiods, target, wanted = BESIDE[case]
    a_pod = pod(revision=istiods[0]["revision"])
    for order in (istiods, istiods[::-1]):
        assert planes(*order).after(a_pod, as_version(target)).default_delivery() == wanted


def test_one_that_does_not_run_serves_nobody_today():
    assert planes(waiting("1.22.3", localhost=True)).today(pod()).version is None
    assert planes(waiting("1.22.3"), LOCAL_TODAY).today(pod()).default_delivery() == "localhost"
    assert planes(waiting("1.9.9", "old"), istiod("1.22.3", "new")).today(pod(revision=None)).name == "new"


ELSEWHERE = {**istiod("1.24.1", "next"), "namespace": "istio-next"}
FOREIGN = {**istiod("1.24.1", "next", rootNamespace="istio-next"), "namespace": "istio-next"}
SETTINGS_ELSEWHERE = {
    "of this mesh": ([LOCAL_TODAY, ELSEWHERE], "1.24", "unknown"),
    "of this mesh, beside a canary at home": ([LOCAL_TODAY, READY, ELSEWHERE], "1.24", "unknown"),
    "of a mesh of its own": ([LOCAL_TODAY, FOREIGN], "1.24", "unknown"),
    "the same, and does not run yet": ([LOCAL_TODAY, {**FOREIGN, "running": False}], "1.24", "unknown"),
    "the same, beside a canary at home": ([LOCAL_TODAY, READY, FOREIGN], "1.24", "localhost"),
    "the same, of another version": ([LOCAL_TODAY, FOREIGN], "1.23", "localhost"),
    "the same, without a target": ([LOCAL_TODAY, FOREIGN], None, "localhost"),
    "the same, of a mesh that runs the target": ([istiod("1.24.3", localhost=True), FOREIGN], "1.24", "localhost"),
    "the same, which hands as much to localhost": (
        [LOCAL_TODAY, {**FOREIGN, "meshConfig": READY["meshConfig"] | {"rootNamespace": "istio-next"}}],
        "1.24",
        "localhost",
    ),
}


@pytest.mark.parametrize("case", SETTINGS_ELSEWHERE)
def test_an_istiod_elsewhere_that_hands_less_to_localhost_leaves_the_next_delivery_unknown(case):
    istiods, target, wanted = SETTINGS_ELSEWHERE[case]
    for order in (istiods, istiods[::-1]):
        both = planes(*order)
        after = both.after(pod(), as_version(target))
        assert after.default_delivery() == wanted
        assert both.root_namespace(after) == "istio-system", "no mesh lends another its Sidecars"


def test_the_delivery_names_the_istiod_elsewhere_that_leaves_it_unknown():
    after = planes(LOCAL_TODAY, FOREIGN).after(pod(), (1, 24))
    assert delivery(pod(), 8080, None, after).why == (
        "istiod 1.24 delivers to localhost, but the pod may be moved to istiod 1.24 of revision next in istio-next, "
        "which delivers otherwise"
    )


@pytest.mark.parametrize("name", ["aaa", "zzz"])
def test_an_istiod_elsewhere_makes_nothing_better_whatever_its_revision_is_called(name):
    today = istiod("1.20.8", opt_out=True, localhost=True, merge=True)
    canary = istiod("1.24.1", "canary", localhost=True)
    tenants = {**istiod("1.24.1", name, localhost=True, merge=True), "namespace": "tenant"}
    assert planes(today, canary, tenants).after(pod(), (1, 24)).name == "canary"


def test_a_control_plane_that_runs_the_target_version_already_stays():
    both = planes(istiod("1.24.1", localhost=True), istiod("1.24.1", "canary"))
    assert both.after(pod(), (1, 24)).name == "default"


def test_a_revision_with_a_mesh_configuration_of_its_own_does_not_take_the_default_ones():
    own = {**istiod("1.24.0", "canary"), "meshConfig": {}}
    missing = {**istiod("1.24.0", "canary"), "meshConfig": None}
    for plane, wanted in ((own, "pod_ip"), (missing, "localhost")):
        istio = {"controlPlanes": [plane], "meshConfig": {"inboundTrafficPolicy": {"mode": "LOCALHOST"}}}
        assert (
            ControlPlanes(read_cluster(snapshot(istio=istio)).istio).today(pod(revision="canary")).default_delivery()
            == wanted
        )


@pytest.mark.parametrize(
    "policy", [None, [], "LOCALHOST", {"mode": None}, {"mode": "PASSTHROUGH"}, {"mode": ["LOCALHOST"]}]
)
def test_only_the_policy_localhost_is_localhost(policy):
    plane = serving(pod(), {**istiod("1.24.0"), "meshConfig": {"inboundTrafficPolicy": policy}})
    assert plane.default_delivery() == "pod_ip"


@pytest.mark.parametrize("text", ["0", "f", "F", "false", "FALSE", "False"])
def test_the_opt_out_is_whatever_go_reads_as_false(text):
    assert go_false(text) and not go_true(text)


@pytest.mark.parametrize("text", ["no", "off", "", None, "fAlse"])
def test_the_opt_out_is_not_what_go_cannot_read(text):
    assert not go_false(text) and not go_true(text)


# ---------------------------------------------------------------------------------------------------------------------
# Sidecars


OLD, NEW = "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"


@pytest.mark.parametrize(
    "sidecars, wanted",
    [
        ([], None),
        ([sidecar("root", "istio-system")], "root"),
        ([sidecar("root", "istio-system", selector={"app": "web"})], None),
        ([sidecar("root", "istio-system", selector={})], None),
        ([sidecar("ns", created=NEW), sidecar("root", "istio-system", created=OLD)], "ns"),
        ([sidecar("ns", created=OLD), sidecar("mine", selector={"app": "web"}, created=NEW)], "mine"),
        (
            [
                sidecar("young", selector={"app": "web"}, created=NEW),
                sidecar("old", selector={"app": "web"}, created=OLD),
            ],
            "old",
        ),
        ([sidecar("b", selector={"app": "web"}), sidecar("a", selector={"app": "web"})], "a"),
        ([sidecar("young", created=NEW), sidecar("old", created=OLD)], "old"),
        ([sidecar("other", selector={"app": "other"}), sidecar("ns")], "ns"),
        ([sidecar("partly", selector={"app": "web", "tier": "x"})], None),
        ([sidecar("all", selector={}, created=OLD), sidecar("mine", selector={"app": "web"}, created=NEW)], "all"),
        ([sidecar("all", selector={}, created=NEW), sidecar("ns", created=OLD)], "all"),
        ([sidecar("elsewhere", "billing", selector={"app": "web"}), sidecar("elsewhere", "billing")], None),
        ([sidecar("canary", selector={"app": "web"}, revision="canary"), sidecar("ns")], "ns"),
        ([sidecar("mine", selector={"app": "web"}, revision="default"), sidecar("ns")], "mine"),
        ([sidecar("canary", "istio-system", revision="canary")], None),
    ],
)
def test_one_sidecar_is_effective_by_istios_own_order(sidecars, wanted):
    for order in (sidecars, sidecars[::-1]):
        seen = read_cluster(snapshot(sidecars=order))
        found = Sidecars(seen, ControlPlanes(seen.istio)).effective(pod(), ControlPlanes(seen.istio).today(pod()))
        assert (found and found["metadata"]["name"]) == wanted


@pytest.mark.parametrize("spec", [{"proxy": None}, {"role": "router"}, {"role": "waypoint"}, {"host_network": True}])
def test_no_sidecar_is_effective_for_a_pod_without_a_sidecar(spec):
    seen = read_cluster(snapshot(sidecars=[sidecar(), sidecar(namespace="istio-system")]))
    assert (
        Sidecars(seen, ControlPlanes(seen.istio)).effective(pod(**spec), ControlPlanes(seen.istio).today(pod())) is None
    )


@pytest.mark.parametrize("named, wanted", [("roots", "roots"), (None, "istio-system"), (3, "istio-system")])
def test_the_root_namespace_is_the_control_planes_own(named, wanted):
    seen = read_cluster(
        snapshot(
            istiods=[{**istiod(), "meshConfig": {"rootNamespace": named}}],
            sidecars=[sidecar(namespace="roots"), sidecar(namespace="istio-system")],
        )
    )
    found = Sidecars(seen, ControlPlanes(seen.istio)).effective(pod(), ControlPlanes(seen.istio).today(pod()))
    assert found["metadata"]["namespace"] == wanted


# ---------------------------------------------------------------------------------------------------------------------
# Notation


@pytest.mark.parametrize(
    "text, wanted",
    [
        ("1.20.8", (1, 20, 8)),
        ("1.9", (1, 9)),
        ("v1.9.9", (1, 9, 9)),
        ("1.11.2-asm.17-distroless", (1, 11, 2)),
        ("1.5-dev", (1, 5)),
        ("release-1.3-latest-daily", (1, 3)),
        ("1.24.0+meta", (1, 24, 0)),
        ("1.6.14.2", (1, 6, 14)),
        ("1.20.0_custom", (1, 20)),
        ("latest", None),
        ("535fc0716e0a1d2b3c4d5e6f708192a3b4c5d6e7", None),
        ("1", None),
        ("", None),
        (None, None),
        ("1.20.8\nx", None),
        ("١.٢", None),
        ("1." + "9" * 5000, None),
    ],
)
def test_a_version_is_read_as_istio_reads_a_tag(text, wanted):
    assert as_version(text) == wanted


def test_no_image_of_a_pod_keeps_it_busy():
    """The API server takes a line feed inside of an image, and a megabyte of it."""
    before = time.process_time()
    assert as_version(image_tag("istio/proxyv2:1.1" + ".1" * 50_000 + "\nx")) is None
    assert time.process_time() - before < 1


@pytest.mark.parametrize(
    "image, wanted",
    [
        ("istio/proxyv2:1.20.8", "1.20.8"),
        ("reg.example:5000/istio/proxyv2:1.20.0", "1.20.0"),
        ("reg.example:5000/istio/proxyv2", None),
        ("istio/proxyv2:1.20.0@sha256:0123", "1.20.0"),
        ("istio/proxyv2@sha256:0123", None),
        ("[fd00::1]:5000/proxyv2:1.9.9-distroless", "1.9.9-distroless"),
        ("proxyv2", None),
        ("", None),
        (None, None),
    ],
)
def test_a_tag_is_read_off_every_legal_image_reference(image, wanted):
    assert image_tag(image) == wanted


@pytest.mark.parametrize(
    "text, wanted",
    [('{"a": 1}', {"a": 1}), ("[]", {}), ("{", {}), ("", {}), (None, {}), ("[" * 200000, {}), (json.dumps("x"), {})],
)
def test_json_in_an_annotation_is_an_object_or_nothing(text, wanted):
    assert as_object(text) == wanted


OLD, OPT_OUT = istiod("1.12.9"), istiod("1.12.9", opt_out=True)
LISTED = [sidecar(selector={"app": "web"}, ingress={22: "127.0.0.1:22"})]
SSH = [
    # what listens on port 22 of a pod of an injector up to 1.12, its istiod, the target, what is beside; the verdict, and whether the port opens
    ("127.0.0.1", OLD, "1.13", {}, "unreachable", False),
    ("127.0.0.1", OPT_OUT, "1.12", {}, "unreachable", False),
    ("127.0.0.1", OPT_OUT, "1.13", {}, "remediated", True),
    ("127.0.0.1", istiod("1.12.9", localhost=True), "1.24", {}, "remediated", True),
    ("127.0.0.1", OLD, "1.24", {"sidecars": LISTED}, "remediated", True),
    ("0.0.0.0", OPT_OUT, "1.20", {}, "ok", False),
    ("10.0.0.5", OLD, "1.20", {}, "ok", False),
    ("10.0.0.5", OPT_OUT, "1.12", {}, "ok", False),
    ("10.0.0.5", OPT_OUT, "1.20", {}, "breaks_on_upgrade", False),
    ("10.0.0.5", istiod("1.12.9", localhost=True), "1.24", {}, "breaks_on_upgrade", False),
    ("10.0.0.5", OLD, "1.24", {"sidecars": LISTED}, "breaks_on_upgrade", False),
    ("10.0.0.5", OPT_OUT, "1.20", {"excluded": "22"}, "ok", False),
]


@pytest.mark.parametrize("init", [None, ["-b", "*", "-d", "15020"]], ids=["istio-cni", "istio-init"])
@pytest.mark.parametrize(("address", "plane", "target", "beside", "wanted", "opens"), SSH)
def test_port_22_meets_the_proxy_of_the_pod_that_an_injector_from_1_13_makes(
    address, plane, target, beside, wanted, opens, init
):
    """Upgrade notes of Istio 1.13, "Port 22 iptables capture changes"."""
    more = {name: value for name, value in beside.items() if name == "sidecars"}
    excluded = {"traffic.sidecar.istio.io/excludeInboundPorts": beside.get("excluded", "")}
    args = [*init[:-1], f"{init[-1]},{beside.get('excluded', '')}"] if init else None
    a_pod = written_pod(proxy="1.12.9", annotations=excluded, init=args)
    services = [service(ports=[port(22, 22, "tcp-ssh")])]
    found = report([a_pod], services, istiods=[plane], binds=[f"{address}:22"], target=target, **more)
    assert (verdict(found), [record["port"] for record in found["opens_on_upgrade"]]) == (wanted, [22] if opens else [])
