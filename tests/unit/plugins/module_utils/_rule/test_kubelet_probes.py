# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json

import pytest

from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.cluster import read_cluster
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.control_plane import ControlPlanes
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.report import (
    DEFAULT_FAIL_ON,
    Blocker,
    blocking,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.shapes import POD, PROBERS_ENV
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.trim import trim
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.kubelet_probes import (
    LEGACY_ENV,
    failing_probes,
)
from ansible_collections.meshops.istio_precheck.tests.helpers.cluster import (
    as_read,
    istiod,
    pod,
    read_pod,
    report,
    service,
    sidecar,
    snapshot,
)

ANNOTATION = "sidecar.istio.io/rewriteAppHTTPProbers"
HTTP = {"httpGet": {"path": "/", "port": 8080}}
TCP = {"tcpSocket": {"port": 8080}}
GRPC = {"grpc": {"port": 8080}}
MOVED = {"httpGet": {"path": "/app-health/app/livez", "port": 15020}}


def rewritten(handler, path="livez", **env):
    """How an injector leaves a pod whose probe it rewrote."""
    return {
        "probes": {"livenessProbe": MOVED},
        "env": {PROBERS_ENV: json.dumps({f"/app-health/app/{path}": handler}), **env},
    }


def plain(handler, name="livenessProbe"):
    return {"probes": {name: handler}}


def hook(handler, name="postStart"):
    return {"probes": {"lifecycle": {name: handler}}}


def rewritten_hook(handler, name="postStart", **env):
    moved = {"httpGet": {"path": f"/app-lifecycle/app/{name.lower()}z", "port": 15020}}
    kept = json.dumps({f"/app-lifecycle/app/{name.lower()}z": handler})
    return {"probes": {"lifecycle": {name: moved}}, "env": {PROBERS_ENV: kept, **env}}


ALREADY, WILL, PROXY, NOTHING = "fails already", "will fail once the pod is injected again", "through the proxy", None
MAY = "may fail once the pod is injected again"
OFF = istiod("1.24.0", rewrites=False)
NEXT, OPT_OUT, LOCALHOST = istiod("1.24.0"), istiod("1.20.8", opt_out=True), istiod("1.24.0", localhost=True)


def fails(spec, after, port=8080, impact="breaks_on_upgrade", answered=False, reached=True):
    plane = ControlPlanes(read_cluster(snapshot(istiods=[after])).istio).today(read_pod(revision=None))
    return failing_probes(read_pod(**spec), port, plane, plane.rewrites_probes, impact, answered, reached)


def notes(spec, after, port=8080, cured=False):
    return [probe.reason for probe in fails(spec, after, port, None if cured else "breaks_on_upgrade")]


@pytest.mark.parametrize(
    "spec, after, wanted",
    [
        # rewritten by an injector that had its agent ask localhost
        ({"proxy": "1.9.9", **rewritten(HTTP)}, NEXT, WILL),
        ({"proxy": "1.9.9", **rewritten(HTTP)}, istiod("1.9.9"), NOTHING),
        ({"proxy": "1.9.9", **rewritten(HTTP)}, istiod("1.10.0"), WILL),
        ({"proxy": "1.9.9", **rewritten(HTTP)}, OPT_OUT, NOTHING),
        ({"proxy": "1.9.9", **rewritten(HTTP)}, LOCALHOST, NOTHING),
        ({"proxy": "@sha256:01", **rewritten(HTTP)}, NEXT, WILL),
        ({"proxy": "1.20.8", **rewritten(HTTP, **{LEGACY_ENV: "true"})}, NEXT, WILL),
        ({"proxy": "1.20.8", **rewritten(HTTP, **{LEGACY_ENV: "1"})}, OPT_OUT, NOTHING),
        # 1.21: istiod no longer reads the opt-out, but the injector does
        ({"proxy": "1.20.8", **rewritten(HTTP, **{LEGACY_ENV: "true"})}, istiod("1.21.0", opt_out=True), NOTHING),
        ({"proxy": "1.20.8", **rewritten(HTTP, **{LEGACY_ENV: "true"})}, istiod("1.22.0", opt_out=True), WILL),
        # rewritten by one that has it ask the pod IP
        ({"proxy": "1.20.8", **rewritten(HTTP)}, NEXT, ALREADY),
        ({"proxy": "1.10.0", **rewritten(HTTP)}, OPT_OUT, ALREADY),
        ({"proxy": "1.10", **rewritten(HTTP)}, OPT_OUT, ALREADY),
        ({"proxy": "1.9.9", **rewritten(HTTP)}, istiod("1.10"), WILL),
        ({"proxy": "1.9.9", **rewritten(HTTP)}, istiod("?"), NOTHING),
        ({"proxy": "1.12.0", **rewritten(TCP)}, NEXT, ALREADY),
        ({"proxy": "1.13.0", **rewritten(GRPC)}, NEXT, ALREADY),
        ({"proxy": "1.20.8", **rewritten(HTTP, **{LEGACY_ENV: "false"})}, NEXT, ALREADY),
        # not rewritten, since its injector did not know that kind
        ({"proxy": "1.9.9", **plain(TCP)}, NEXT, WILL),
        ({"proxy": "1.9.9", **plain(TCP)}, istiod("1.11.0"), NOTHING),
        ({"proxy": "1.9.9", **plain(TCP)}, istiod("1.12.0"), WILL),
        ({"proxy": "1.9.9", **plain(TCP)}, istiod("1.12"), WILL),
        ({"proxy": "@sha256:01", **plain(TCP)}, istiod("1.12"), WILL),
        ({"proxy": "1.12.0", **plain(GRPC)}, istiod("1.13.0"), WILL),
        ({"proxy": "1.12.0", **plain(GRPC)}, istiod("1.12.0"), PROXY),  # nor does the next: it fails with the port
        # not rewritten, since rewriting is off
        ({"proxy": "1.9.9", **plain(HTTP)}, OFF, PROXY),
        ({"proxy": "@sha256:01", **plain(HTTP)}, OFF, PROXY),
        ({"proxy": "1.13.0", **plain(GRPC)}, OFF, PROXY),
        ({"proxy": "1.12.0", **plain(TCP)}, OFF, NOTHING),
        ({"proxy": "1.12", **plain(TCP)}, OFF, NOTHING),
        ({"proxy": "1.9.9", **plain(TCP)}, OFF, NOTHING),
        ({"proxy": "1.12.0", **plain(TCP), "annotations": {ANNOTATION: "true"}}, OFF, MAY),
        # not rewritten, and nobody knows why
        ({"proxy": "1.9.9", **plain(HTTP)}, NEXT, MAY),
        ({"proxy": "@sha256:01", **plain(HTTP)}, NEXT, MAY),
        ({"proxy": "1.13.0", **plain(GRPC)}, NEXT, MAY),
        ({"proxy": "1.12.0", **plain(TCP)}, NEXT, MAY),
        ({"proxy": "1.12", **plain(TCP)}, NEXT, MAY),
        ({"proxy": "1.12.0", **plain(TCP)}, istiod("1.24.0", rewrites=True), MAY),
        ({"proxy": "1.20.8", **plain(HTTP)}, OPT_OUT, PROXY),
        ({"proxy": "1.20.8", **plain(TCP)}, LOCALHOST, NOTHING),
        (
            {"proxy": "1.9.9", **plain(GRPC), "annotations": {ANNOTATION: "false"}},
            NEXT,
            PROXY,
        ),
        (
            {"proxy": "1.9.9", **plain(TCP), "annotations": {ANNOTATION: "false"}},
            NEXT,
            NOTHING,
        ),
        # no probe of this port, or none at all
        ({"proxy": "1.20.8", **rewritten({"httpGet": {"port": 9090}})}, NEXT, NOTHING),
        ({"proxy": "1.20.8", **plain({"httpGet": {"port": 8080, "host": "192.0.2.1"}})}, NEXT, NOTHING),
        ({"proxy": "1.20.8", **rewritten({"httpGet": {"port": 8080, "host": "192.0.2.1"}})}, NEXT, ALREADY),
        ({"proxy": "1.20.8", **plain({"exec": {}})}, NEXT, NOTHING),
        ({"proxy": "1.20.8"}, NEXT, NOTHING),
        ({"proxy": None, **plain(HTTP)}, NEXT, NOTHING),
        ({"proxy": "1.20.8", "role": "router", **rewritten(HTTP)}, NEXT, NOTHING),
        # what cannot be read
        ({"proxy": "1.20.8", "env": {PROBERS_ENV: "no JSON"}}, NEXT, NOTHING),
        (
            {"proxy": "1.20.8", "env": {PROBERS_ENV: json.dumps({"/app-health/app/livez": {"httpGet": 8080}})}},
            NEXT,
            NOTHING,
        ),
        ({"proxy": "1.20.8", "env": {PROBERS_ENV: json.dumps({"/app-health/app/livez": [8080]})}}, NEXT, NOTHING),
        ({"proxy": "1.20.8", **rewritten({"httpGet": {"port": "9" * 5000}})}, NEXT, NOTHING),
    ],
)
def test_a_probe_of_a_localhost_port_is_told_what_becomes_of_it(spec, after, wanted):
    said = notes(spec, after)
    assert len(said) == (wanted is not NOTHING), said
    assert wanted is NOTHING or wanted in said[0]


@pytest.mark.parametrize(
    "name, path", [("livenessProbe", "livez"), ("readinessProbe", "readyz"), ("startupProbe", "startupz")]
)
def test_each_kind_of_probe_is_looked_at(name, path):
    wanted = f"The {name} of container app asks port 8080 and fails already, with or without a Sidecar, because the Istio agent sends it to the pod IP."
    assert notes({"proxy": "1.20.8", **rewritten(HTTP, path)}, NEXT) == [wanted]


@pytest.mark.parametrize("port", ["8080", "http"])
def test_the_port_of_a_probe_may_be_a_number_in_text_or_a_name(port):
    assert notes({"proxy": "1.20.8", "ports": {"http": 8080}, **rewritten({"httpGet": {"port": port}})}, NEXT)
    assert not notes({"proxy": "1.20.8", "ports": {"http": 9090}, **rewritten({"httpGet": {"port": "http"}})}, NEXT)


def test_a_probe_that_goes_through_the_proxy_is_cured_with_the_port():
    assert notes({"proxy": "1.9.9", **plain(HTTP)}, OFF) == [
        "The livenessProbe of container app asks port 8080 through the proxy: it fails with the port, and a Sidecar that fixes the port fixes it."
    ]
    assert not notes({"proxy": "1.9.9", **plain(HTTP)}, OFF, cured=True)
    assert notes({"proxy": "1.9.9", **rewritten(HTTP)}, NEXT, cured=True)


def test_the_probe_of_the_proxy_itself_is_its_own_affair():
    a_pod = pod(proxy="1.20.8")
    a_pod["spec"]["containers"][1]["readinessProbe"] = HTTP
    plane = ControlPlanes(read_cluster(snapshot(istiods=[NEXT])).istio).today(as_read(a_pod))
    assert failing_probes(as_read(a_pod), 8080, plane, None, "unreachable", False) == []


def test_a_finding_says_so_in_its_notes():
    found = report([pod(**rewritten(HTTP))], target="1.24")["findings"][0]
    assert any("livenessProbe" in note and "will fail" in note for note in found["notes"])


def test_without_a_target_version_the_trap_of_1_21_is_not_relied_on():
    spec = {"proxy": "1.20.8", **rewritten(HTTP, **{LEGACY_ENV: "true"})}
    found = report([pod(**spec)], istiods=[istiod("1.20.8", opt_out=True)])["findings"][0]
    assert any("will fail" in note for note in found["notes"])


@pytest.mark.parametrize(
    "spec, after, impact, helps",
    [
        ({"proxy": "1.20.8", **rewritten(HTTP)}, NEXT, "unreachable", False),
        ({"proxy": "1.9.9", **rewritten(HTTP)}, NEXT, "breaks_on_upgrade", False),
        ({"proxy": "@sha256:01", **rewritten(HTTP)}, NEXT, "unknown", False),
        ({"proxy": "1.9.9", **plain(TCP)}, NEXT, "breaks_on_upgrade", False),
        ({"proxy": "1.9.9", **plain(HTTP)}, OFF, "unknown", True),
        ({"proxy": "1.9.9", **plain(HTTP)}, NEXT, "unknown", False),
        ({"proxy": "1.12.0", **plain(TCP)}, NEXT, "unknown", False),
    ],
)
def test_a_probe_that_fails_says_since_when_and_whether_a_sidecar_helps(spec, after, impact, helps):
    (probe,) = fails(spec, after, impact="unknown")
    assert (probe.container, probe.port, probe.impact, probe.sidecar_helps) == ("app", 8080, impact, helps)


def test_a_rewritten_probe_succeeds_where_a_listener_accepts_at_the_pod_ip():
    assert not fails({"proxy": "1.9.9", **rewritten(HTTP)}, NEXT, answered=True)
    assert not fails({"proxy": "1.20.8", **rewritten(HTTP)}, NEXT, answered=True)
    assert fails({"proxy": "1.9.9", **plain(HTTP)}, NEXT, answered=True)[0].sidecar_helps


READY = rewritten(HTTP, "readyz")
KEPT = [sidecar(selector={"app": "web"}, ingress={8080: "127.0.0.1:8080"})]
MOVED_ON = [sidecar(selector={"app": "web"}, ingress={8080: "127.0.0.1:9000"})]
WAIVER = {"match": "port == `8080`", "reason": "known"}
SUPPRESSED = {"galley.istio.io/analyze-suppress": "IST0143"}


@pytest.mark.parametrize(
    ("spec", "more", "where"),
    [
        ({}, {}, "findings"),
        ({}, {"sidecars": KEPT}, "remediated"),
        ({}, {"waivers": [WAIVER]}, "waived"),
        ({"annotations": SUPPRESSED}, {}, "waived"),
        ({}, {"sidecars": MOVED_ON, "binds": ("127.0.0.1:8080", "0.0.0.0:9000")}, None),
    ],
    ids=["finding", "remediated", "waived", "suppressed", "fine"],
)
def test_a_probe_that_will_fail_keeps_the_gate_shut_whatever_is_said_of_the_port(spec, more, where):
    found = report([pod(**READY, **spec)], target="1.24", **more)
    for part in ("findings", "remediated", "waived", "not_listening"):
        assert len(found[part]) == (part == where), part
    (probe,) = found["failing_probes"]
    assert probe == {
        "id": "PROBE/shop/Deployment/web/app/readiness",
        "namespace": "shop",
        "workload": {"kind": "Deployment", "name": "web"},
        "pods": ["web-7d4b9-a"],
        "container": "app",
        "probe": "readiness",
        "port": 8080,
        "listeners": ["127.0.0.1:8080"],
        "impact": "breaks_on_upgrade",
        "reason": "The readinessProbe of container app asks port 8080 and will fail once the pod is injected again, "
        "with or without a Sidecar, because the Istio agent sends it to the pod IP.",
        "sidecar_helps": False,
    }
    assert found["summary"]["failing_probes"] == 1
    assert Blocker("failing_probes", 1) in blocking(found, DEFAULT_FAIL_ON)


def test_a_probe_of_a_port_that_no_service_exposes_keeps_the_gate_shut_too():
    """With the probe the pod is not ready, and no Service has it any more."""
    spec = rewritten({"httpGet": {"port": 9090}}, "readyz")
    found = report([pod(**spec)], target="1.24", binds=("0.0.0.0:8080", "127.0.0.1:9090"))
    assert [found[part] for part in ("findings", "remediated", "waived", "not_listening")] == [[], [], [], []]
    assert [(probe["port"], probe["listeners"]) for probe in found["failing_probes"]] == [(9090, ["127.0.0.1:9090"])]
    assert blocking(found, DEFAULT_FAIL_ON) == [Blocker("failing_probes", 1)]
    assert found["summary"]["ports"] == 1
    through_the_proxy = plain({"httpGet": {"port": 9090}}, "readinessProbe")
    assert report([pod(**through_the_proxy)], target="1.24", binds=("127.0.0.1:9090",))["failing_probes"] == []


def test_a_probe_that_a_sidecar_helps_blocks_with_its_port_or_alone_where_that_is_waived():
    a_pod = pod(**plain(HTTP, "readinessProbe"))
    found = report([a_pod], target="1.24", istiods=[istiod(rewrites=False)])
    assert [probe["sidecar_helps"] for probe in found["failing_probes"]] == [True]
    assert blocking(found, DEFAULT_FAIL_ON) == [Blocker("breaks_on_upgrade", 1)]
    assert blocking(found, ["failing_probes"]) == [Blocker("failing_probes", 1)]
    waived = report([a_pod], target="1.24", waivers=[WAIVER], istiods=[istiod(rewrites=False)])
    assert blocking(waived, DEFAULT_FAIL_ON) == [Blocker("failing_probes", 1)]
    assert blocking(waived, ["breaks_on_upgrade"]) == []


def test_of_pods_that_differ_the_probe_that_no_sidecar_helps_counts_for_all():
    pods = [pod("a", **READY), pod("b", **plain(HTTP, "readinessProbe"))]
    (probe,) = report(pods, target="1.24")["failing_probes"]
    assert (probe["pods"], probe["sidecar_helps"]) == (["a", "b"], False)


def test_a_probe_of_a_port_that_listens_everywhere_is_none_of_these():
    for binds in (("0.0.0.0:8080",), ("0.0.0.0:8080", "127.0.0.1:8080"), ()):
        assert report([pod(**READY)], target="1.24", binds=binds)["failing_probes"] == []


REFUSED = {"annotations": {ANNOTATION: "false"}}

HOOKS = [
    # what the pod has, the next istiod, the impact of its port, whether the proxy reaches it today; what is said, the impact, whether a Sidecar helps
    ({"proxy": "1.20.8", **hook(HTTP)}, "1.24.6", "breaks_on_upgrade", True, PROXY, "breaks_on_upgrade", True),
    ({"proxy": "1.20.8", **hook(HTTP)}, "1.24.6", None, True, NOTHING, None, None),
    ({"proxy": "1.20.8", **hook(HTTP)}, "1.25.0", "breaks_on_upgrade", True, WILL, "breaks_on_upgrade", False),
    ({"proxy": "1.20.8", **hook(HTTP)}, "1.25.0", None, True, WILL, "breaks_on_upgrade", False),
    ({"proxy": "1.24.6", **hook(HTTP, "preStop")}, "1.25", None, True, WILL, "breaks_on_upgrade", False),
    ({"proxy": "1.24.6", **hook(HTTP)}, "1.25.0", "unknown", None, WILL, "unknown", False),
    (
        {"proxy": "1.24.6", **hook(HTTP)},
        "1.25.0",
        "unreachable",
        False,
        "fails already, with the port",
        "unreachable",
        False,
    ),
    ({"proxy": "1.24.6", **hook(HTTP)}, "1.25.0", None, False, NOTHING, None, None),
    ({"proxy": "1.24.6", **hook(HTTP), **REFUSED}, "1.25.0", "unreachable", False, PROXY, "unreachable", True),
    ({"proxy": "1.25.0", **hook(HTTP)}, "1.26.0", None, True, MAY, "unknown", False),
    ({"proxy": "1.25.0", **hook(HTTP), **REFUSED}, "1.26.0", None, True, NOTHING, None, None),
    ({"proxy": "1.25.0", **rewritten_hook(HTTP)}, "1.26.0", None, True, ALREADY, "unreachable", False),
    ({"proxy": "1.25.0", **rewritten_hook(HTTP, "preStop")}, "1.26.0", None, True, ALREADY, "unreachable", False),
    (
        {"proxy": "1.25.0", **rewritten_hook(HTTP, **{LEGACY_ENV: "true"})},
        "1.26.0",
        None,
        True,
        WILL,
        "breaks_on_upgrade",
        False,
    ),
    ({"proxy": "1.20.8", **hook(TCP)}, "1.25.0", "breaks_on_upgrade", True, NOTHING, None, None),
    ({"proxy": "1.20.8", **hook({"exec": {}})}, "1.25.0", "breaks_on_upgrade", True, NOTHING, None, None),
]


@pytest.mark.parametrize(("spec", "after", "impact", "reached", "said", "wanted", "helps"), HOOKS)
def test_a_hook_goes_through_the_proxy_until_the_injector_of_1_25_rewrites_it(
    spec, after, impact, reached, said, wanted, helps
):
    found = fails(spec, istiod(after), impact=impact, reached=reached)
    assert [(probe.impact, probe.sidecar_helps) for probe in found] == ([] if said is NOTHING else [(wanted, helps)])
    assert said is NOTHING or said in found[0].reason


NOT_KNOWN = istiod("1.20.8")
INJECTORS = [
    # the istiods, the revision and the target; what becomes of a probe that the injector of today should have rewritten
    ("off", [istiod("1.20.8", rewrites=False)], "1.24", None),
    ("on by now", [istiod("1.20.8", rewrites=True)], "1.24", "unknown"),
    ("not known", [NOT_KNOWN], "1.24", "unknown"),
    ("not known, without a target", [NOT_KNOWN], None, "unknown"),
    (
        "on in the next revision",
        [istiod("1.20.8", rewrites=False), istiod("1.24.0", "b", rewrites=True)],
        "1.24",
        "unknown",
    ),
    ("not known of the next revision", [istiod("1.20.8", rewrites=False), istiod("1.24.0", "b")], "1.24", "unknown"),
    ("off in the next revision", [NOT_KNOWN, istiod("1.24.0", "b", rewrites=False)], "1.24", None),
    ("no istiod to be seen", [], "1.24", "unknown"),
]


@pytest.mark.parametrize(("istiods", "target", "impact"), [row[1:] for row in INJECTORS], ids=[r[0] for r in INJECTORS])
def test_that_an_injector_left_a_probe_alone_says_nothing_of_the_next_one(istiods, target, impact):
    """The value `rewriteAppHTTPProbe`, which is the next injector's own, may be another by then; so may REWRITE_TCP_PROBES."""
    found = report([pod(proxy="1.20.8", **plain(TCP))], sidecars=KEPT, istiods=istiods, target=target)
    assert [probe["impact"] for probe in found["failing_probes"]] == ([impact] if impact else [])
    assert (Blocker("failing_probes", 1) in blocking(found, DEFAULT_FAIL_ON)) == bool(impact)


def test_a_hook_is_sent_to_localhost_where_the_mesh_says_so():
    assert not fails({"proxy": "1.24.6", **hook(HTTP)}, istiod("1.25.0", localhost=True))


def test_a_hook_says_its_name_and_that_its_container_dies_with_post_start():
    start = fails({"proxy": "1.24.6", **hook(HTTP)}, istiod("1.25.0"))[0]
    stop = fails({"proxy": "1.24.6", **hook(HTTP, "preStop")}, istiod("1.25.0"))[0]
    assert start.reason.startswith("The postStart hook of container app asks port 8080 and will fail once")
    assert start.reason.endswith("The kubelet kills a container whose postStart hook fails.")
    assert "kills" not in stop.reason


def test_a_hook_fails_in_spite_of_the_sidecar_that_has_its_port_reached():
    found = report([pod(proxy="1.24.6", **hook(HTTP))], sidecars=KEPT, istiods=[istiod("1.24.6")], target="1.25")
    assert [record["port"] for record in found["remediated"]] == [8080]
    assert [(probe["id"], probe["impact"], probe["sidecar_helps"]) for probe in found["failing_probes"]] == [
        ("PROBE/shop/Deployment/web/app/postStart", "breaks_on_upgrade", False)
    ]
    assert blocking(found, DEFAULT_FAIL_ON) == [Blocker("failing_probes", 1)]


OLD_OPT_OUT = {"proxy": "1.20.8", **rewritten(HTTP, **{LEGACY_ENV: "true"})}
ALONE = [
    # a pod that no Service selects, whose program listens on localhost; the istiod of today, the target; how many pods are read, and what fails
    ("http, rewritten by 1.9", {"proxy": "1.9.9", **rewritten(HTTP)}, istiod("1.9.9"), "1.24", 1, "breaks_on_upgrade"),
    ("http, of an unknown agent", {"proxy": "@sha256:01", **rewritten(HTTP)}, istiod("1.9.9"), "1.24", 1, "unknown"),
    ("tcp, not rewritten by 1.11", {"proxy": "1.11.8", **plain(TCP)}, istiod("1.11.8"), "1.12", 1, "breaks_on_upgrade"),
    ("tcp, as far as 1.11", {"proxy": "1.9.9", **plain(TCP)}, istiod("1.9.9"), "1.11", 1, None),
    ("the opt-out ends", OLD_OPT_OUT, istiod("1.20.8", opt_out=True), "1.22", 1, "breaks_on_upgrade"),
    ("the opt-out stays", OLD_OPT_OUT, istiod("1.20.8", opt_out=True), "1.20", 1, None),
    ("LOCALHOST takes over", OLD_OPT_OUT, istiod("1.20.8", opt_out=True, localhost=True), "1.22", 1, None),
    ("http, sent to the pod IP already", {"proxy": "1.20.8", **rewritten(HTTP)}, istiod("1.20.8"), "1.24", 0, None),
    ("http, never rewritten", {"proxy": "1.9.9", **plain(HTTP)}, istiod("1.9.9"), "1.24", 0, None),
    ("tcp, not rewritten by 1.20", {"proxy": "1.20.8", **plain(TCP)}, istiod("1.20.8"), "1.24", 1, "unknown"),
    (
        "tcp, of rewriting that is off",
        {"proxy": "1.20.8", **plain(TCP)},
        istiod("1.20.8", rewrites=False),
        "1.24",
        1,
        None,
    ),
    ("rewriting refused", {"proxy": "1.9.9", **plain(TCP), **REFUSED}, istiod("1.9.9"), "1.24", 0, None),
    ("a hook, which the proxy passes on", {"proxy": "1.24.6", **hook(HTTP)}, istiod("1.24.6"), "1.25", 0, None),
    ("a command", {"proxy": "1.9.9", **plain({"exec": {}})}, istiod("1.9.9"), "1.24", 0, None),
    ("no sidecar", {"proxy": None, **plain(TCP)}, istiod("1.9.9"), "1.24", 0, None),
    (
        "about to go",
        {"proxy": "1.9.9", "deleting": True, "owner": None, **rewritten(HTTP)},
        istiod("1.9.9"),
        "1.24",
        0,
        None,
    ),
]


@pytest.mark.parametrize(
    ("spec", "today", "target", "read", "impact"), [row[1:] for row in ALONE], ids=[row[0] for row in ALONE]
)
def test_a_pod_that_no_service_selects_is_read_where_the_upgrade_may_have_its_probe_fail(
    spec, today, target, read, impact
):
    found = report([pod(**spec)], services=[], istiods=[today], target=target)
    assert (found["summary"]["pods"], found["summary"]["ports"]) == (read, 0)
    assert [probe["impact"] for probe in found["failing_probes"]] == ([impact] if impact else [])
    for part in ("findings", "remediated", "waived", "not_listening", "unchecked", "remediations"):
        assert found[part] == [], part


def test_a_hook_of_a_pod_that_no_service_selects_is_looked_at_where_a_sidecar_lists_its_port():
    found = report(
        [pod(proxy="1.24.6", **hook(HTTP))], services=[], sidecars=KEPT, istiods=[istiod("1.24.6")], target="1.25"
    )
    assert [(probe["probe"], probe["impact"]) for probe in found["failing_probes"]] == [
        ("postStart", "breaks_on_upgrade")
    ]
    elsewhere = [sidecar(namespace="bank", selector={"app": "web"}, ingress={8080: "127.0.0.1:8080"})]
    assert report([pod(proxy="1.24.6", **hook(HTTP))], services=[], sidecars=elsewhere)["summary"]["pods"] == 0


def test_a_pod_that_no_service_selects_and_that_could_not_be_read_is_unchecked():
    found = report([pod(**READY)], services=[], tables=[], target="1.24")
    assert [(entry["pod"], entry["reason"]) for entry in found["unchecked"]] == [("web-7d4b9-a", "not_read")]


def test_a_pod_beside_those_that_services_select_changes_no_remedy():
    """It is of the same workload and lacks a label: what Services expose decides on a Sidecar."""
    both = [pod("a", labels={"in": "yes"}), pod("b", **rewritten({"httpGet": {"port": 9090}}))]
    chosen = service(selector={"app": "web", "in": "yes"})
    with_it, without = (report(pods, services=[chosen], target="1.24") for pods in (both, both[:1]))
    assert with_it["summary"]["pods"] == 2
    assert [each["remedy"] for each in with_it["findings"]] == [each["remedy"] for each in without["findings"]]


def test_of_a_hook_a_record_keeps_the_port_and_nothing_else():
    secret = {"httpGet": {"port": 8080, "path": "/?token=x", "httpHeaders": [{"name": "a", "value": "b"}]}}
    a_pod = pod(**hook(secret))
    a_pod["spec"]["containers"][0]["lifecycle"]["preStop"] = {"exec": {"command": ["rm", "secret"]}}
    kept = trim(a_pod, POD)["spec"]["containers"][0]["lifecycle"]
    assert kept == {"postStart": {"httpGet": {"port": 8080}}}


ELSEWHERE = ("0.0.0.0:8080",)
TCP_9090 = plain({"tcpSocket": {"port": 9090}}, "readinessProbe")
QUIET = [
    # the pod, what listens, the istiods of today and the settings beside; the target; what is said of its probe
    ("nothing listens", {"proxy": "1.11.8", **TCP_9090}, ELSEWHERE, istiod("1.11.8"), "1.12", "breaks_on_upgrade"),
    ("nothing, from 1.9", {**TCP_9090}, ELSEWHERE, istiod(), "1.24", "breaks_on_upgrade"),
    ("nothing, from 1.9, without a target", {**TCP_9090}, ELSEWHERE, istiod(), None, "breaks_on_upgrade"),
    ("nothing, as far as 1.11", {**TCP_9090}, ELSEWHERE, istiod(), "1.11", None),
    (
        "nothing, and the agent goes on asking localhost",
        {"proxy": "1.11.8", **TCP_9090},
        ELSEWHERE,
        istiod("1.11.8", opt_out=True),
        "1.20",
        "breaks_on_upgrade",
    ),
    ("another address", {**TCP_9090}, ("10.9.9.9:9090",), istiod(), "1.24", "breaks_on_upgrade"),
    ("IPv6 alone, in a pod of IPv4", {**TCP_9090}, ("[::]:9090",), istiod(), "1.24", "breaks_on_upgrade"),
    ("both families", {**TCP_9090}, ("*:9090",), istiod(), "1.24", None),
    ("left alone by 1.20", {"proxy": "1.20.8", **TCP_9090}, ELSEWHERE, istiod("1.20.8"), "1.24", "unknown"),
    ("rewriting is off", {**TCP_9090}, ELSEWHERE, istiod(rewrites=False), "1.24", None),
    ("rewriting is refused", {**TCP_9090, **REFUSED}, ELSEWHERE, istiod(), "1.24", None),
    (
        "the proxy does not take it",
        {**TCP_9090, "annotations": {"traffic.sidecar.istio.io/excludeInboundPorts": "9090"}},
        ELSEWHERE,
        istiod(),
        "1.24",
        None,
    ),
    ("its program does not run", {**TCP_9090, "waiting": "CrashLoopBackOff"}, ELSEWHERE, istiod(), "1.24", None),
    ("http, of which nothing listens", rewritten(HTTP), ("0.0.0.0:80",), istiod(), "1.24", None),
    ("http, rewritten, IPv6 alone", rewritten(HTTP), ("[::]:8080",), istiod(), "1.24", "breaks_on_upgrade"),
    ("http, rewritten, IPv6 alone, up to 1.9", rewritten(HTTP), ("[::]:8080",), istiod(), "1.9", None),
    (
        "http, rewritten, IPv6 alone, LOCALHOST",
        {"proxy": "1.20.8", **rewritten(HTTP, **{LEGACY_ENV: "true"})},
        ("[::]:8080",),
        istiod("1.20.8", opt_out=True),
        "1.20",
        None,
    ),
    (
        "http, rewritten, IPv4 alone, in a pod of IPv6",
        {"ips": ("fd00::5",), **rewritten(HTTP)},
        ("0.0.0.0:8080",),
        istiod(),
        "1.24",
        "breaks_on_upgrade",
    ),
    (
        "http, rewritten, of an unknown agent, IPv6 alone",
        {"proxy": "@sha256:01", **rewritten(HTTP)},
        ("[::]:8080",),
        istiod(),
        "1.24",
        "unknown",
    ),
    ("http, sent to the pod IP already", {"proxy": "1.20.8", **rewritten(HTTP)}, ("[::]:8080",), NEXT, "1.24", None),
    ("http, through the proxy", plain(HTTP), ("[::]:8080",), istiod(), "1.24", None),
]


@pytest.mark.parametrize("services", [[], None], ids=["no Service", "a Service"])
@pytest.mark.parametrize(
    ("spec", "binds", "today", "target", "impact"), [row[1:] for row in QUIET], ids=[row[0] for row in QUIET]
)
def test_a_probe_that_succeeds_though_nothing_accepts_at_the_pod_ip_fails_once_that_is_asked(
    spec, binds, today, target, impact, services
):
    """Up to 1.11 every tcpSocket probe succeeded: upgrade notes of Istio 1.12, "TCP probes now working as expected"."""
    found = report([pod(**spec)], services=services, binds=binds, istiods=[today], target=target)
    assert [(probe["impact"], probe["sidecar_helps"]) for probe in found["failing_probes"]] == (
        [(impact, False)] if impact else []
    )


def test_a_probe_of_a_port_that_nobody_has_says_why():
    (probe,) = report([pod(**TCP_9090)], binds=ELSEWHERE, target="1.24")["failing_probes"]
    assert probe["listeners"] == []
    assert probe["reason"] == (
        "The readinessProbe of container app asks port 9090 through the proxy, which accepts it whatever listens, and will fail once the pod is "
        "injected again, with or without a Sidecar: the Istio agent asks the program itself, and nothing accepts there. "
        "If the program had only not started yet, check again."
    )


def test_a_hook_of_a_port_that_a_sidecar_delivers_to_another_one_fails_once_the_agent_asks_it():
    found = report(
        [pod(proxy="1.24.6", **hook(HTTP))],
        sidecars=MOVED_ON,
        binds=("0.0.0.0:9000",),
        istiods=[istiod("1.24.6")],
        target="1.25",
    )
    assert [(probe["impact"], probe["probe"]) for probe in found["failing_probes"]] == [
        ("breaks_on_upgrade", "postStart")
    ]


# ---------------------------------------------------------------------------------------------------------------------
# An agent that will ask localhost, where the program is bound to the pod IP alone


ON_THE_POD_IP = ("0.0.0.0:8080", "10.0.0.5:8558")
ADMIN = {"httpGet": {"port": 8558}}


@pytest.mark.parametrize(
    "spec, istiods, target, binds, wanted",
    [
        # LOCALHOST is set already, and the next version is the first to obey it
        ({"proxy": "1.21.6", **rewritten(ADMIN)}, [istiod("1.21.6", localhost=True)], "1.22", ON_THE_POD_IP, WILL),
        # pods move to a canary that has it
        (
            {"proxy": "1.20.8", **rewritten(ADMIN)},
            [istiod("1.20.8"), istiod("1.24.0", revision="canary", localhost=True)],
            "1.24",
            ON_THE_POD_IP,
            WILL,
        ),
        # the next injector is the first to rewrite one of its kind
        ({"proxy": "1.24.6", **hook(ADMIN)}, [istiod("1.24.6", localhost=True)], "1.25", ON_THE_POD_IP, WILL),
        (
            {"proxy": "1.12.0", **plain({"grpc": {"port": 8558}})},
            [istiod("1.12.0", opt_out=True)],
            "1.13",
            ON_THE_POD_IP,
            WILL,
        ),
        # nobody knows whether the next one rewrites it
        ({"proxy": "1.22.0", **plain(ADMIN)}, [istiod("1.22.0", localhost=True)], "1.23", ON_THE_POD_IP, MAY),
        # the program accepts at localhost, too
        (
            {"proxy": "1.21.6", **rewritten(ADMIN)},
            [istiod("1.21.6", localhost=True)],
            "1.22",
            ("*:8080", "*:8558"),
            NOTHING,
        ),
        # its agent asks localhost already, so that nothing changes
        (
            {"proxy": "1.22.0", **rewritten(ADMIN, **{LEGACY_ENV: "true"})},
            [istiod("1.22.0", localhost=True)],
            "1.23",
            ON_THE_POD_IP,
            NOTHING,
        ),
        # it goes on asking the pod IP
        ({"proxy": "1.21.6", **rewritten(ADMIN)}, [istiod("1.21.6")], "1.22", ON_THE_POD_IP, NOTHING),
    ],
)
def test_a_probe_that_moves_to_localhost_fails_where_only_the_pod_ip_is_listened_on(
    spec, istiods, target, binds, wanted
):
    found = report(pods=[pod(**spec)], istiods=istiods, target=target, binds=binds)
    said = [each["reason"] for each in found["failing_probes"]]
    assert len(said) == (wanted is not NOTHING), said
    assert wanted is NOTHING or (wanted in said[0] and "sends it to localhost" in said[0])
    assert ("failing_probes" in [each.word for each in blocking(found, DEFAULT_FAIL_ON)]) is (wanted is not NOTHING)


def test_the_sidecar_that_keeps_a_port_hides_no_probe_of_it_that_moves_to_localhost():
    spec = {"proxy": "1.21.6", **rewritten(HTTP)}
    known = {
        "pods": [pod(**spec)],
        "istiods": [istiod("1.21.6", localhost=True)],
        "target": "1.24",
        "binds": ("10.0.0.5:8080",),
    }
    first = report(**known)
    (remediation,) = first["remediations"]
    applied = remediation["manifest"]
    applied["metadata"]["creationTimestamp"] = "2026-11-24T00:00:00Z"
    assert any("Not fixed by it" in note and "localhost" in note for note in remediation["notes"])
    second = report(**known, sidecars=[applied])
    assert second["findings"] == []
    assert [each.word for each in blocking(second, DEFAULT_FAIL_ON)] == ["failing_probes"]
