# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import json
import math
import pathlib
import random
import time
import typing as t
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.meshops.istio_precheck.plugins.module_utils._evaluate import evaluate, evaluated
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.cluster import read_cluster
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model import kube as _kube
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model import schema as _schema
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model import shapes as _shapes
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model import snapshot as _snapshot
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model import trim as _trim
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule import pods as _pods
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.options import OptionError, Options, target
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.selection import Selection
from ansible_collections.meshops.istio_precheck.tests.helpers import truth
from ansible_collections.meshops.istio_precheck.tests.helpers.cluster import (
    TODAY,
    endpoint_slice,
    envoy_filter,
    istiod,
    meta,
    namespace,
    pod,
    port,
    report,
    service,
    service_entry,
    sidecar,
    snapshot,
    table,
    verdict,
    verdicts,
)

PAGE = pathlib.Path(__file__).parents[4] / "docs" / "verdicts.md"


@pytest.mark.parametrize("number", range(3))
def test_the_page_shows_the_tables_that_are_tested(number):
    assert truth.tables()[number] in PAGE.read_text(encoding="utf-8")


# ---------------------------------------------------------------------------------------------------------------------
# From the cluster to the verdict


@pytest.mark.parametrize("version, named, to, wanted", truth.HOPS)
def test_an_upgrade_breaks_what_the_table_says(version, named, to, wanted):
    assert verdict(report(istiods=[istiod(version, **truth.SETTINGS[named])], target=to)) == wanted


EXCLUDED = {"annotations": {"traffic.sidecar.istio.io/excludeInboundPorts": "8080"}}
DUAL = {"ips": ("10.0.0.5", "fd00::5")}
CURED = {"ingress": {8080: "127.0.0.1:8080"}}
BREAKS, NEVER, CURE, FINE, SILENT = "breaks_on_upgrade", "unreachable", "remediated", "ok", "not_listening"


# From istiod 1.9 to 1.24: the pod, its Service, Sidecars, what it binds, the verdict; with every pod in scope.
@pytest.mark.parametrize(
    "spec, families, sidecars, binds, wanted",
    [
        ({}, ["IPv4"], [], ["127.0.0.1:8080"], BREAKS),
        ({"native": True}, ["IPv4"], [], ["127.0.0.1:8080"], BREAKS),
        ({}, ["IPv4"], [], ["*:8080"], FINE),
        ({}, ["IPv4"], [], ["127.0.0.1:8080", "0.0.0.0:8080"], FINE),
        ({}, ["IPv4"], [], ["127.0.0.1:8080", "10.0.0.5:8080"], FINE),
        ({}, ["IPv4"], [], ["127.0.0.2:8080"], NEVER),
        ({}, ["IPv4"], [], ["[::1]:8080"], NEVER),
        ({}, ["IPv4"], [], ["0.0.0.0:15090"], SILENT),
        ({}, ["IPv4"], [], ["127.0.0.1:80"], SILENT),
        ({"ips": ("fd00::5",)}, ["IPv6"], [], ["127.0.0.1:8080"], NEVER),
        ({"ips": ("fd00::5",)}, ["IPv6"], [], ["[::1]:8080"], BREAKS),
        (DUAL, ["IPv4"], [], ["0.0.0.0:8080", "[::1]:8080"], FINE),
        (DUAL, ["IPv6"], [], ["0.0.0.0:8080", "[::1]:8080"], NEVER),
        (DUAL, ["IPv4", "IPv6"], [], ["0.0.0.0:8080", "[::1]:8080"], NEVER),
        (DUAL, ["IPv4", "IPv6"], [], ["127.0.0.1:8080", "[::1]:8080"], BREAKS),
        (DUAL, ["IPv4", "IPv6"], [], ["*:8080"], FINE),
        (DUAL, [], [], ["0.0.0.0:8080", "[::1]:8080"], FINE),
        ({"ips": ("fd00::5", "10.0.0.5")}, [], [], ["0.0.0.0:8080", "[::1]:8080"], NEVER),
        ({}, ["IPv6"], [], ["127.0.0.1:8080"], BREAKS),
        ({"proxy": None}, ["IPv4"], [], ["127.0.0.1:8080"], NEVER),
        ({"proxy": None}, ["IPv4"], [sidecar(**CURED)], ["127.0.0.1:8080"], NEVER),
        ({"host_network": True}, ["IPv4"], [], ["127.0.0.1:8080"], NEVER),
        ({"role": "router"}, ["IPv4"], [], ["127.0.0.1:8080"], NEVER),
        ({"role": "router"}, ["IPv4"], [], ["0.0.0.0:8080"], FINE),
        (
            {"proxy": None, "annotations": {"ambient.istio.io/redirection": "enabled"}},
            ["IPv4"],
            [],
            ["127.0.0.1:8080"],
            NEVER,
        ),
        (EXCLUDED, ["IPv4"], [], ["127.0.0.1:8080"], NEVER),
        (EXCLUDED, ["IPv4"], [sidecar(**CURED)], ["127.0.0.1:8080"], NEVER),
        ({"annotations": {"sidecar.istio.io/interceptionMode": "NONE"}}, ["IPv4"], [], ["127.0.0.1:8080"], NEVER),
        (
            {"annotations": {"sidecar.istio.io/interceptionMode": "NONE"}},
            ["IPv4"],
            [sidecar(**CURED)],
            ["127.0.0.1:8080"],
            CURE,
        ),
        ({}, ["IPv4"], [sidecar(selector={"app": "web"}, **CURED)], ["127.0.0.1:8080"], CURE),
        ({}, ["IPv4"], [sidecar(selector={"app": "other"}, **CURED)], ["127.0.0.1:8080"], BREAKS),
        ({}, ["IPv4"], [sidecar(selector={}, **CURED)], ["127.0.0.1:8080"], CURE),
        ({}, ["IPv4"], [sidecar(namespace="istio-system", **CURED)], ["127.0.0.1:8080"], CURE),
        ({}, ["IPv4"], [sidecar(namespace="billing", **CURED)], ["127.0.0.1:8080"], BREAKS),
        ({}, ["IPv4"], [sidecar(revision="canary", **CURED)], ["127.0.0.1:8080"], BREAKS),
        ({}, ["IPv4"], [sidecar(ingress={9090: "127.0.0.1:9090"})], ["127.0.0.1:8080"], NEVER),
        ({}, ["IPv4"], [sidecar()], ["127.0.0.1:8080"], BREAKS),
        ({}, ["IPv4"], [sidecar(ingress={80: "127.0.0.1:8080"})], ["127.0.0.1:8080"], NEVER),
        ({}, ["IPv4"], [sidecar(ingress={8080: "127.0.0.1:9000"})], ["127.0.0.1:9000"], CURE),
        ({}, ["IPv4"], [sidecar(ingress={8080: "127.0.0.1:9000"})], ["127.0.0.1:8080"], NEVER),
        ({}, ["IPv4"], [sidecar(ingress={8080: "unix:///run/app"})], ["127.0.0.1:8080"], CURE),
        ({}, ["IPv4"], [sidecar(ingress={8080: "0.0.0.0:8080"})], ["127.0.0.1:8080"], NEVER),
        ({}, ["IPv4"], [sidecar(ingress={8080: None})], ["127.0.0.1:8080"], NEVER),
        (DUAL, ["IPv6"], [sidecar(ingress={8080: "[::1]:8080"})], ["[::1]:8080"], NEVER),
    ],
)
def test_a_port_gets_its_verdict_from_the_whole_cluster(spec, families, sidecars, binds, wanted):
    found = report([pod(**spec)], [service(families=families)], sidecars, binds=binds, scope="all", target="1.24")
    assert verdict(found) == wanted


@pytest.mark.parametrize(
    "selector, labels, target_revision, wanted",
    [
        ({"app": "web", "pod-template-hash": "7d4b9"}, {}, "default", BREAKS),
        ({"controller-revision-hash": "1"}, {"controller-revision-hash": "1"}, "default", BREAKS),
        ({"deployment": "web-3"}, {"deployment": "web-3", "deploymentconfig": "web"}, "default", BREAKS),
        ({"deployment": "web-3"}, {"deployment": "web-3"}, "default", CURE),
        ({"deploymentconfig": "web"}, {"deployment": "web-3", "deploymentconfig": "web"}, "default", CURE),
        (
            {"statefulset.kubernetes.io/pod-name": "web-0"},
            {"statefulset.kubernetes.io/pod-name": "web-0"},
            "next",
            CURE,
        ),
        ({"controller-uid": "1"}, {"controller-uid": "1"}, "default", BREAKS),
        ({"batch.kubernetes.io/controller-uid": "1"}, {"batch.kubernetes.io/controller-uid": "1"}, "default", BREAKS),
        ({"job-name": "web-28391234"}, {"job-name": "web-28391234"}, "default", BREAKS),
        (
            {"batch.kubernetes.io/job-name": "web-28391234"},
            {"batch.kubernetes.io/job-name": "web-28391234"},
            "default",
            BREAKS,
        ),
        ({"job-name": "web"}, {"job-name": "web"}, "default", CURE),
    ],
)
def test_a_sidecar_that_selects_the_pods_of_one_rollout_selects_none_of_the_next(
    selector, labels, target_revision, wanted
):
    istiods = [istiod("1.9.9"), *([istiod("1.24.0", "next")] if target_revision == "next" else [])]
    cured = sidecar(selector=selector, **CURED)
    assert verdict(report([pod(labels=labels)], sidecars=[cured], istiods=istiods, target="1.24")) == wanted


@pytest.mark.parametrize("selector, wanted", [({"app": "web"}, CURE), ({"pod-template-hash": "7d4b9"}, BREAKS)])
def test_a_sidecar_of_one_rollout_does_not_stand_before_those_of_a_root_namespace_that_could_not_be_listed(
    selector, wanted
):
    hidden = [{"resource": "sidecars", "namespace": "istio-system", "detail": "no"}]
    cured = sidecar(selector=selector, **CURED)
    stays = istiod("1.22.0", localhost=True)
    assert verdict(report(sidecars=[cured], istiods=[stays], unlisted=hidden, target="1.24")) == wanted


BY_1_10 = {"proxy": "1.10.6", "revision": None}
BY_1_18 = {"proxy": "1.18.7", "revision": "default"}
OPT_OUT = {"opt_out": True}


@pytest.mark.parametrize(
    "spec, istiods, target, wanted",
    [
        # From 1.11 on the label is the user's, who moves his pods by it.
        (BY_1_18, [istiod("1.18.7", **OPT_OUT)], "1.24", CURE),
        (BY_1_18, [istiod("1.18.7", **OPT_OUT), istiod("1.24.0", "next")], "1.24", BREAKS),
        (BY_1_18, [istiod("1.18.7", **OPT_OUT)], None, CURE),
        # Up to 1.10 it is the injector's, and no later one writes it.
        (BY_1_10, [istiod("1.10.6", **OPT_OUT)], "1.24", BREAKS),
        (BY_1_10, [istiod("1.10.6", **OPT_OUT)], None, BREAKS),
        (BY_1_10, [istiod("1.18.7", **OPT_OUT)], "1.24", BREAKS),
        (BY_1_10, [istiod("1.9.9")], "1.10", CURE),
        ({**BY_1_10, "annotations": {"istio.io/rev": "default"}}, [istiod("1.10.6", **OPT_OUT)], "1.24", BREAKS),
    ],
)
def test_a_sidecar_that_selects_by_a_revision_selects_the_next_pod_if_that_has_the_label(spec, istiods, target, wanted):
    cured = sidecar(selector={"istio.io/rev": "default"}, **CURED)
    pods = [pod(labels={"istio.io/rev": "default"}, **spec)]
    assert verdict(report(pods, sidecars=[cured], istiods=istiods, target=target)) == wanted


BY_HAND = {"fixed": "yes"}
REV = {"istio.io/rev": "default"}


@pytest.mark.parametrize(
    "selector, labels, template, wanted",
    [
        (BY_HAND, BY_HAND, {"app": "web"}, BREAKS),
        (BY_HAND, BY_HAND, {"app": "web", "fixed": "no"}, BREAKS),
        ({"app.kubernetes.io/part-of": "x"}, {"app.kubernetes.io/part-of": "x"}, {"app": "web"}, BREAKS),
        (BY_HAND, BY_HAND, {"app": "web", **BY_HAND}, CURE),
        (BY_HAND, BY_HAND, None, CURE),  # nothing says otherwise, as in records from before templates were kept
        ({"app": "web"}, {}, {"app": "web"}, CURE),
        ({"app": "web", "pod-template-hash": "7d4b9"}, {}, {"app": "web", "pod-template-hash": "7d4b9"}, BREAKS),
        (
            {"security.istio.io/tlsMode": "istio"},
            {"security.istio.io/tlsMode": "istio"},
            {"app": "web"},
            CURE,
        ),
        (REV, REV, {"app": "web"}, BREAKS),
        (REV, REV, {"app": "web", **REV}, CURE),
    ],
)
def test_a_sidecar_that_selects_by_what_somebody_put_on_running_pods_selects_none_of_the_next(
    selector, labels, template, wanted
):
    owner = {"kind": "ReplicaSet", "metadata": meta("web-7d4b9"), "spec": {}}
    if template is not None:
        owner["spec"]["template"] = {"metadata": {"labels": template}}
    cured = sidecar(selector=selector, **CURED)
    found = report([pod(labels=labels, proxy="1.18.7")], sidecars=[cured], controllers=[owner], target="1.24")
    assert verdict(found) == wanted


def test_settings_of_the_target_that_nobody_saw_may_take_a_port_from_the_pod_ip():
    hidden = {**istiod("1.20.8"), "meshConfigUnknown": {"why": "unlisted", "name": "istio-system"}}
    found = report(istiods=[hidden], binds=["10.0.0.5:8080"], target="1.24")
    assert verdict(found) == BREAKS
    assert (
        "it may be delivered to 127.0.0.1, because istiod 1.24 delivers as its mesh" in found["findings"][0]["reason"]
    )
    assert found["remediations"][0]["findings"] == [found["findings"][0]["id"]]
    assert verdict(report(istiods=[hidden], binds=["0.0.0.0:8080"], target="1.24")) == FINE
    assert verdict(report(istiods=[{**hidden, "version": "1.22.1"}], binds=["10.0.0.5:8080"], target="1.24")) == FINE


def test_a_sidecar_of_a_canary_counts_once_its_control_plane_is_the_next():
    canary = sidecar(revision="canary", **CURED)
    both = [istiod("1.9.9"), istiod("1.24.0", "canary")]
    assert verdict(report(istiods=both, sidecars=[canary], target="1.24")) == CURE
    assert verdict(report(istiods=both, sidecars=[sidecar(revision="default", **CURED)], target="1.24")) == BREAKS


ASKED_AT = {
    "which its proxy does not name": {},
    "which its proxy names": {"env": {"PROXY_CONFIG": '{"discoveryAddress": "istiod.istio-system.svc:15012"}'}},
}


@pytest.mark.parametrize("asked", ASKED_AT)
def test_an_istiod_somewhere_else_does_not_speak_for_the_mesh_whose_root_namespace_it_names(asked):
    """Whoever may make a pod and a ConfigMap in a namespace of his own can make one, and in no other one may he open the gate."""
    made_up = {**istiod("1.24.0", localhost=True), "namespace": "tenant"}
    pods = [pod(**ASKED_AT[asked])]
    for planes in ([istiod("1.9.9"), made_up], [istiod("1.9.9"), istiod("1.24.0", "canary"), made_up]):
        assert verdict(report(pods, istiods=planes, target="1.24")) == BREAKS
        assert verdict(report(pods, istiods=planes[::-1], target="1.24")) == BREAKS


def test_an_istiod_somewhere_else_counts_where_it_hands_less_to_localhost_or_is_where_the_user_says():
    canary = {**istiod("1.24.0", "canary"), "namespace": "istio-canary"}
    stays = istiod("1.22.0", localhost=True)
    assert verdict(report(istiods=[stays], target="1.24")) == CURE
    assert verdict(report(istiods=[stays, canary], target="1.24")) == BREAKS
    at_home = istiod("1.24.0", "canary", localhost=True)
    assert verdict(report(istiods=[{**istiod("1.9.9"), "namespace": "mesh-a"}, at_home], target="1.24")) == CURE


@pytest.mark.parametrize("root", ["istio-system", "tenant"])
def test_an_istiod_somewhere_else_makes_no_verdict_better_whatever_a_program_binds(root):
    """Where the settings of today's mesh would break a port that is bound to the pod IP, those of another save it not."""
    made_up = {**istiod("1.24.0", "next", rootNamespace=root), "namespace": "tenant"}
    today = istiod("1.20.8", localhost=True)
    for planes in ([today], [today, made_up], [made_up, today]):
        assert verdict(report(istiods=planes, binds=["10.0.0.5:8080"], target="1.24")) == BREAKS


MESH_ONLY = [{"matchLabels": {"mesh": "in"}}]
SHOP_LEFT_OUT = [namespace("shop", mesh="out"), namespace("istio-system", mesh="in")]
OF_ROOT = sidecar(namespace="istio-system", **CURED)
OF_DEFAULT = sidecar(revision="default", **CURED)
BLIND = {**istiod("1.24.0", "canary", discoverySelectors=MESH_ONLY), "namespace": "istio-canary"}
SEEING = {**istiod("1.24.0", "canary"), "namespace": "istio-canary"}
FOREIGN = {**istiod("1.24.0", "next", rootNamespace="istio-next"), "namespace": "istio-next"}

# Today's istiod, one elsewhere, the Sidecar in effect today, target, verdict; `shop` is left out by selectors.
SIDECARS_ELSEWHERE = {
    "which leaves the namespace out": (istiod("1.23.0"), BLIND, sidecar(**CURED), "1.24", BREAKS),
    "the same, from 1.9": (istiod("1.9.9"), BLIND, sidecar(**CURED), "1.24", BREAKS),
    "the same, where the mesh says LOCALHOST": (
        istiod("1.23.0", localhost=True),
        BLIND,
        sidecar(**CURED),
        "1.24",
        BREAKS,
    ),
    "the same, without a target": (istiod("1.23.0"), BLIND, sidecar(**CURED), None, BREAKS),
    "the same, of unknown version": (istiod("1.23.0"), {**BLIND, "version": ""}, sidecar(**CURED), "1.24", BREAKS),
    "the same, which does not run yet": (
        istiod("1.23.0"),
        {**BLIND, "running": False},
        sidecar(**CURED),
        "1.24",
        BREAKS,
    ),
    "the same, beside a unix socket": (
        istiod("1.23.0"),
        BLIND,
        sidecar(ingress={8080: "unix:///tmp/web"}),
        "1.24",
        BREAKS,
    ),
    "which is of another version": (istiod("1.23.0"), {**BLIND, "version": "1.22.1"}, sidecar(**CURED), "1.24", CURE),
    "which sees a Sidecar for all revisions": (istiod("1.23.0"), SEEING, sidecar(**CURED), "1.24", CURE),
    "which sees none of the other revision": (istiod("1.23.0"), SEEING, OF_DEFAULT, "1.24", BREAKS),
    "of a mesh of its own": (istiod("1.23.0"), FOREIGN, OF_ROOT, "1.24", BREAKS),
    "of a mesh of its own, without a target": (istiod("1.23.0"), FOREIGN, OF_ROOT, None, CURE),
    "of a mesh of its own, which sees that beside the pod": (istiod("1.23.0"), FOREIGN, sidecar(**CURED), "1.24", CURE),
}


@pytest.mark.parametrize("case", SIDECARS_ELSEWHERE)
def test_a_sidecar_that_an_istiod_somewhere_else_does_not_see_fixes_nothing_for_certain(case):
    here, there, fix, target, wanted = SIDECARS_ELSEWHERE[case]
    for planes in ([here, there], [there, here]):
        found = report(istiods=planes, sidecars=[fix], target=target, namespaces=SHOP_LEFT_OUT)
        assert verdict(found) == wanted
        if wanted == BREAKS:
            assert (
                f"but the pod may be moved to {'a' if target is None else 'istiod 1.24'}"
                in found["findings"][0]["reason"]
            )


ROOT_LEFT_OUT = [namespace("shop", mesh="in"), namespace("istio-system", mesh="out")]
ROOTLESS = istiod("1.24.0", "canary", discoverySelectors=MESH_ONLY)

# The canary beside istiod 1.21.6, the Sidecar, target, verdict; the root namespace is left out by selectors.
ROOT_SIDECARS = {
    "which leaves the root namespace out": (ROOTLESS, OF_ROOT, "1.24", BREAKS),
    "the same, without a target": (ROOTLESS, OF_ROOT, None, BREAKS),
    "of unknown version": ({**ROOTLESS, "version": ""}, OF_ROOT, "1.24", BREAKS),
    "of unknown version, without a target": ({**ROOTLESS, "version": ""}, OF_ROOT, None, BREAKS),
    "which does not run yet": ({**ROOTLESS, "running": False}, OF_ROOT, "1.24", BREAKS),
    "which sees the root namespace": (istiod("1.24.0", "canary"), OF_ROOT, "1.24", CURE),
    "which sees the Sidecar beside the pod": (ROOTLESS, sidecar(**CURED), "1.24", CURE),
}


@pytest.mark.parametrize("case", ROOT_SIDECARS)
def test_a_sidecar_for_all_namespaces_fixes_nothing_where_the_next_istiod_may_not_see_it(case):
    canary, fix, target, wanted = ROOT_SIDECARS[case]
    today = istiod("1.21.6")
    for planes in ([today, canary], [canary, today]):
        assert verdict(report(istiods=planes, sidecars=[fix], target=target, namespaces=ROOT_LEFT_OUT)) == wanted


def test_of_two_canaries_the_one_that_delivers_to_the_pod_ip_counts_before_the_one_that_leaves_the_root_out():
    local = istiod("1.24.0", "local", localhost=True, discoverySelectors=MESH_ONLY)
    planes = [istiod("1.9.9"), local, istiod("1.24.0", "plain")]
    for order in (planes, planes[::-1]):
        assert verdict(report(istiods=order, target="1.24", namespaces=ROOT_LEFT_OUT)) == BREAKS


# The istiod elsewhere, the Sidecar that is there, what stands in the way of a remedy.
NO_REMEDY_ELSEWHERE = {
    "which leaves the namespace out": (
        BLIND,
        None,
        "The discoverySelectors of istiod 1.24 of revision canary in istio-canary leave",
    ),
    "which does not see the one to be edited": (
        SEEING,
        sidecar(revision="default", selector={"app": "web"}, ingress={8080: ":8080"}),
        "Not the same Sidecar is in effect",
    ),
    "of which all is seen": (SEEING, None, ""),
}


@pytest.mark.parametrize("case", NO_REMEDY_ELSEWHERE)
def test_no_remedy_is_planned_that_an_istiod_somewhere_else_would_not_see(case):
    there, edited, wanted = NO_REMEDY_ELSEWHERE[case]
    sidecars = [edited] if edited else []
    found = report(istiods=[istiod("1.9.9"), there], sidecars=sidecars, target="1.24", namespaces=SHOP_LEFT_OUT)
    assert bool(found["remediations"]) is not bool(wanted)
    assert wanted in " ".join(found["findings"][0]["notes"])


def test_a_sidecar_that_an_istiod_does_not_see_which_does_not_run_yet_cures_nothing_of_its_pods():
    both = [istiod("1.9.9"), {**istiod("1.24.0", "canary"), "running": False}]
    assert verdict(report(istiods=both, sidecars=[sidecar(revision="default", **CURED)], target="1.24")) == BREAKS
    assert verdict(report(istiods=both, sidecars=[sidecar(**CURED)], target="1.24")) == CURE


@pytest.mark.parametrize(
    "spec, istiods, wanted",
    [
        ({}, [], "unknown"),
        ({"revision": "gone"}, [istiod("1.9.9")], "unknown"),
        ({"revision": "canary"}, [istiod("1.9.9"), istiod("1.20.8", "canary")], NEVER),
        ({"revision": "default"}, [istiod("1.9.9"), istiod("1.20.8", "canary")], BREAKS),
        ({"revision": "canary"}, [istiod("1.20.8"), istiod("1.20.8", "canary", opt_out=True)], BREAKS),
        ({"proxy": "1.20.8"}, [istiod("1.9.9")], BREAKS),
        ({"proxy": "1.9.9"}, [istiod("1.20.8")], NEVER),
    ],
)
def test_the_control_plane_of_the_pods_revision_decides_and_not_its_proxy(spec, istiods, wanted):
    assert verdict(report([pod(**spec)], istiods=istiods, target="1.24")) == wanted


def test_what_never_could_be_reached_is_not_unknown_without_a_control_plane():
    assert verdict(report(istiods=[], binds=["127.0.0.2:8080"])) == NEVER
    assert verdict(report([pod(proxy=None)], istiods=[], scope="all")) == NEVER


def test_a_port_of_an_endpoint_slice_is_passed_through_if_another_service_selects_the_pod():
    by_slice = [service("manual", selector={}, ports=[port(81, 9090, "other")])]
    part = endpoint_slice("manual", pods=["web-7d4b9-a"], number=9090, name="other")
    binds = ["127.0.0.1:8080", "127.0.0.1:9090"]
    assert verdicts(report(services=[service(), *by_slice], binds=binds, endpointSlices=[part])) == {
        ("web", 8080): BREAKS,
        ("web", 9090): NEVER,
    }
    assert verdicts(report(services=by_slice, binds=binds, endpointSlices=[part])) == {("web", 9090): BREAKS}


# What selects the pod beside a Service without a selector, whose port 8080 EndpointSlices give to it; whether istiod then gives that port a listener.
@pytest.mark.parametrize(
    "beside, entries, wanted",
    [
        ([], [service_entry(ports=[{"number": 9090, "name": "m"}])], BREAKS),
        ([service("dns", ports=[port(53, 53, "dns", "UDP")])], [], NEVER),
        ([service("odd", ports=[port(53, "nowhere")])], [], NEVER),
        ([service("none", ports=[])], [], NEVER),
        ([service("alias", type="ExternalName", externalName="example.org")], [], NEVER),
        (
            [service("dns", ports=[port(53, 53, "dns", "UDP")])],
            [service_entry(ports=[{"number": 8080, "name": "m"}])],
            BREAKS,
        ),
        ([service("dns", "billing", ports=[port(53, 53, "dns", "UDP")])], [], BREAKS),
        ([service("dns", selector={"app": "other"}, ports=[port(53, 53, "dns", "UDP")])], [], BREAKS),
    ],
)
def test_endpoint_slices_count_where_no_service_selects_the_pod_whatever_its_ports(beside, entries, wanted):
    binds = ["127.0.0.1:8080", "0.0.0.0:9090"]
    for services in ([service(selector={}), *beside], [*beside, service(selector={})]):
        found = report(
            services=services,
            endpointSlices=[endpoint_slice(pods=["web-7d4b9-a"])],
            serviceEntries=entries,
            binds=binds,
            target="1.24",
        )
        assert verdicts(found) == {("web", 8080): wanted}


def test_a_service_entry_is_asked_at_the_primary_address():
    found = report(
        [pod(**DUAL)],
        [],
        serviceEntries=[service_entry(ports=[{"number": 8080}])],
        binds=["0.0.0.0:8080", "[::1]:8080"],
    )
    assert verdict(found) == FINE


# ---------------------------------------------------------------------------------------------------------------------
# A pod that could not be read is never fine


@pytest.mark.parametrize(
    "spec, tables, unread, reason",
    [
        ({"phase": "Pending", "ips": ()}, [], [], "not_running"),
        ({"phase": "Unknown"}, [], [], "not_running"),
        ({}, [], [], "not_read"),
        ({}, [], [{"namespace": "shop", "pod": "web-7d4b9-a", "reason": "timeout", "detail": "after 10 s"}], "timeout"),
        ({"ips": ()}, [table()], [], "no_address"),
        ({}, [table(text="nonsense\n")], [], "suspect_table"),
        ({}, [table()], [{"namespace": "billing", "pod": "web-7d4b9-a", "reason": "timeout"}], None),
    ],
)
def test_a_pod_that_could_not_be_read_is_unchecked_with_the_reason(spec, tables, unread, reason):
    found = report([pod(**spec)], tables=tables, unread=unread)
    assert [u["reason"] for u in found["unchecked"]] == ([reason] if reason else [])
    assert found["summary"]["unchecked"] == len(found["unchecked"])
    if reason:
        assert found["unchecked"][0]["workload"] == {"kind": "Deployment", "name": "web"}
        assert found["unchecked"][0]["pod"] == "web-7d4b9-a"
        assert found["summary"]["pods_read"] == (1 if reason == "suspect_table" else 0)


@pytest.mark.parametrize(
    "spec", [{"phase": "Succeeded"}, {"phase": "Failed", "deleting": True}, {"deleting": True, "owner": None}]
)
def test_a_pod_that_has_ended_is_nobodys_business(spec):
    found = report([pod(**spec)], tables=[])
    assert (
        verdicts(found) == {}
        and found["out_of_scope"][0]["reason"] == "Its selector matches no pod that runs or may run."
    )


def test_the_last_pod_of_a_workload_stands_for_the_next_while_it_is_being_deleted():
    """On a node that is gone that lasts; its StatefulSet makes no other."""
    going = pod(deleting=True, owner=("StatefulSet", "db"))
    assert verdicts(report([going])) == {("db", 8080): BREAKS}
    assert verdicts(report([going], tables=[])) == {("web-7d4b9-a", None): "unchecked"}


@pytest.mark.parametrize("owner", [("ReplicaSet", "web-7d4b9"), ("ReplicaSet", "web-11111")])
def test_one_of_several_pods_that_is_being_deleted_is_nobodys_business(owner):
    """Neither where a node is drained, nor amid a rollout, whose former pods are of another ReplicaSet."""
    going = pod(
        "web-11111-b", ips=("10.0.0.6",), deleting=True, owner=owner, labels={"pod-template-hash": owner[1][4:]}
    )
    found = report([pod(), going])
    assert verdicts(found) == {("web", 8080): BREAKS}
    assert found["unchecked"] == []


def test_a_suspect_table_makes_the_pod_unchecked_and_its_findings_are_still_reported():
    found = report(tables=[table(text="LISTEN 0 1 127.0.0.1:8080 0.0.0.0:*\nLISTEN 0 1 what?:80 0.0.0.0:*\n")])
    assert verdicts(found) == {("web", 8080): BREAKS, ("web-7d4b9-a", None): "unchecked"}


@pytest.mark.parametrize("spec, unchecked", [({}, 0), (DUAL, 1)])
def test_a_table_without_its_ipv6_half_is_whole_for_a_pod_without_ipv6(spec, unchecked):
    text = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
    text += "   0: 00000000:3A9E 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1337        0 1 1 0 100 0 0 10 0\n"
    found = report([pod(**spec)], tables=[{**table(text=text), "format": "procnet"}])
    assert len(found["unchecked"]) == unchecked


HEADER = "State  Recv-Q Send-Q Local Address:Port  Peer Address:Port\n"
PROCNET = "  sl  local_address rem_address   st\n  sl  local_address                         remote_address                        st\n"
NETSTAT = "Active Internet connections (only servers)\nProto Recv-Q Send-Q Local Address           Foreign Address         State\n"


@pytest.mark.parametrize("format, text", [("ss", ""), ("ss", HEADER), ("procnet", PROCNET), ("netstat", NETSTAT)])
def test_a_table_without_any_listener_is_not_believed_of_a_pod_with_a_proxy(format, text):
    empty = [{**table(text=text), "format": format}]
    for role in ("sidecar", "router"):
        assert [u["reason"] for u in report([pod(role=role)], tables=empty, scope="all")["unchecked"]] == [
            "suspect_table"
        ]
    bare = report([pod(proxy=None)], tables=empty, scope="all")
    assert verdict(bare) == SILENT and not bare["unchecked"]


@pytest.mark.parametrize("bad", ["\x1b[2J", "\x9b2J", "\u202e"])
@pytest.mark.parametrize("selector", [None, {"app": "web"}])
def test_no_sidecar_is_planned_that_holds_what_a_terminal_obeys(bad, selector):
    hostile = {"egress": [{"hosts": ["./*"], "bind": bad}]}
    found = report(sidecars=[sidecar(selector=selector, **hostile)])
    assert verdict(found) == BREAKS and found["remediations"] == []
    assert found["findings"][0]["remedy"] == "change_bind"
    assert any("Sidecar shop/listeners" in note for note in found["findings"][0]["notes"])
    assert report(sidecars=[sidecar(selector=selector, egress=[{"hosts": ["./*"]}])])["remediations"]


def _seconds(ports):
    """Of the processor, for a pod with so many ports that listen on localhost."""
    services = [service(ports=[port(number, f"n{number}" if number % 2 else number) for number in range(1, ports + 1)])]
    named = {f"n{number}": number for number in range(1, ports + 1)}
    binds = [f"127.0.0.1:{number}" for number in range(1, ports + 1)]
    before = time.process_time()
    found = report([pod(ports=named)], services, binds=binds)
    assert len(found["findings"]) > ports - 20
    return time.process_time() - before


def test_a_service_of_very_many_ports_keeps_the_check_busy_in_proportion():
    _seconds(100)
    assert _seconds(4000) < 8 * _seconds(1000)


def test_several_tables_of_a_pod_are_taken_together():
    tables = [table(binds=["127.0.0.1:8080"]), table(binds=["10.0.0.5:8080"])]
    assert verdict(report(tables=tables)) == verdict(report(tables=tables[::-1])) == FINE


def test_nothing_listening_says_which_container_does_not_run():
    found = report([pod(ready=False, waiting="CrashLoopBackOff")], binds=[])
    assert (
        found["not_listening"][0]["reason"]
        == "Nothing listens on the port; container app does not run (CrashLoopBackOff)."
    )
    assert report(binds=[])["not_listening"][0]["reason"] == "Nothing listens on the port."
    elsewhere = report([pod(ready=False, waiting="CrashLoopBackOff")], binds=["10.0.0.9:8080"])
    assert "does not run" not in elsewhere["not_listening"][0]["reason"]


# ---------------------------------------------------------------------------------------------------------------------
# Records


def test_a_finding_has_the_keys_of_the_contract():
    found = report()["findings"][0]
    assert {k: v for k, v in found.items() if k != "notes"} == {
        "id": "IST0143/shop/Deployment/web/8080",
        "code": "IST0143",
        "level": "Error",
        "message": "Port 8080 is exposed in a Service but listens on localhost. It will not be exposed to other pods.",
        "documentation_url": "https://istio.io/latest/docs/reference/config/analysis/ist0143/",
        "namespace": "shop",
        "workload": {"kind": "Deployment", "name": "web"},
        "pods": ["web-7d4b9-a"],
        "port": 8080,
        "services": [{"name": "web", "port": 80, "port_name": "http"}],
        "listeners": ["127.0.0.1:8080"],
        "impact": "breaks_on_upgrade",
        "delivery": {
            "today": {
                "to": "localhost",
                "address": "127.0.0.1",
                "port": 8080,
                "by": "rule",
                "why": "istiod 1.9 delivers to 127.0.0.1",
            },
            "after": {
                "to": "pod_ip",
                "address": "",
                "port": 8080,
                "by": "rule",
                "why": "a newer istiod delivers to the pod IP",
            },
        },
        "reason": "It listens on 127.0.0.1:8080 only: today istiod 1.9 delivers to 127.0.0.1, after the upgrade a newer istiod delivers to the pod IP.",
        "remedy": "create_sidecar",
        "opens": False,
    }


def test_replicas_are_one_finding_and_services_on_one_port_are_named_together():
    found = report([pod("web-7d4b9-b"), pod("web-7d4b9-a")], [service("z"), service("a", ports=[port(9000)])])[
        "findings"
    ]
    assert [(f["pods"], [s["name"] for s in f["services"]]) for f in found] == [
        (["web-7d4b9-a", "web-7d4b9-b"], ["a", "z"])
    ]


def test_a_finding_names_the_services_of_its_port_and_pods_alone():
    pods = [pod("a", ports={"http": 8080}, labels={"tier": "x"}), pod("b", ports={"http": 9090})]
    services = [
        service(ports=[port(80, "http")]),
        service("x", selector={"tier": "x"}),
        service("all", ports=[port(81, 9090)]),
    ]
    found = report(pods, services, binds=["127.0.0.1:8080", "127.0.0.1:9090"])["findings"]
    assert [(f["port"], f["pods"], [s["name"] for s in f["services"]]) for f in found] == [
        (8080, ["a"], ["web", "x"]),
        (9090, ["a", "b"], ["all", "web"]),
    ]
    only = report(
        [pod("a", labels={"tier": "x"}), pod("b")],
        [service(), service("x", selector={"tier": "x"})],
        tables=[table("a", []), table("b")],
    )
    assert [s["name"] for s in only["findings"][0]["services"]] == ["web"]


def test_a_port_is_asked_for_at_the_addresses_of_all_its_services():
    services = [service(families=()), service("six", families=("IPv6",))]
    assert verdict(report([pod(**DUAL)], services, binds=["[::]:8080"])) == SILENT
    assert verdict(report([pod(**DUAL)], services, binds=["0.0.0.0:8080"])) == SILENT
    assert verdict(report([pod(**DUAL)], services, binds=["*:8080"])) == FINE


def test_a_finding_in_some_pods_says_in_how_many():
    pods = [pod("a"), pod("b"), pod("c")]
    found = report(pods, tables=[table("a"), table("b", ["0.0.0.0:8080"]), table("c")])
    assert found["findings"][0]["pods"] == ["a", "c"]
    assert found["findings"][0]["notes"][0] == "It is so in 2 of the 3 pods of the workload that were judged."


def test_a_workload_is_as_bad_as_its_worst_pod():
    pods = [pod("a", annotations={"traffic.sidecar.istio.io/excludeInboundPorts": "8080"}), pod("b")]
    found = report(pods)["findings"]
    assert [(f["impact"], f["pods"]) for f in found] == [(BREAKS, ["a", "b"])]
    assert "today istiod 1.9" in found[0]["reason"]


def test_findings_come_most_urgent_first():
    special = {"a": {}, "b": {"revision": "gone"}, "c": EXCLUDED, "d": {}}
    pods = [pod(name, app=name, owner=None, **spec) for name, spec in special.items()]
    services = [service(name, selector={"app": name}) for name in "abcd"]
    found = report(pods, services)["findings"]
    assert [(f["workload"]["name"], f["impact"]) for f in found] == [
        ("a", BREAKS),
        ("d", BREAKS),
        ("b", "unknown"),
        ("c", NEVER),
    ]


@pytest.mark.parametrize("binds, wanted", [(["127.0.0.1:8080"], BREAKS), (["10.0.0.5:8080"], FINE)])
def test_pods_judged_by_another_are_judged_at_that_ones_addresses_and_say_so(binds, wanted):
    pods = [pod("a"), pod("b", ips=("10.0.0.6",)), pod("c", ips=("10.0.0.7",))]
    found = report(pods, tables=[table("a", binds)], selection=Selection(replicas="one"))
    assert verdict(found) == wanted
    if wanted == BREAKS:
        assert found["findings"][0]["pods"] == ["a", "b", "c"]
        assert "2 of its pods were not read but judged by the sockets of pod a." in found["findings"][0]["notes"]


def test_a_pod_whose_reader_could_not_be_read_is_unchecked():
    unread = [{"namespace": "shop", "pod": "a", "reason": "timeout"}]
    found = report([pod("a"), pod("b")], tables=[], unread=unread, selection=Selection(replicas="one"))
    assert [(u["pod"], u["reason"]) for u in found["unchecked"]] == [("a", "timeout"), ("b", "timeout")]


def test_the_reason_why_a_pod_was_not_read_may_be_its_own():
    unread = [{"namespace": "shop", "pod": "b", "reason": "timeout"}]
    found = report([pod("a"), pod("b")], tables=[], unread=unread, selection=Selection(replicas="one"))
    assert [(u["pod"], u["reason"]) for u in found["unchecked"]] == [("a", "not_read"), ("b", "timeout")]


def test_where_the_first_replica_could_not_be_read_the_next_speaks_for_all():
    unread = [{"namespace": "shop", "pod": "a", "reason": "no_tool"}]
    found = report([pod("a"), pod("b")], tables=[table("b")], unread=unread, selection=Selection(replicas="one"))
    assert verdicts(found) == {("web", 8080): BREAKS}


def on_one_node(*names):
    return [pod(name, host_network=True, proxy=None, owner=None, ips=("10.9.0.1",)) for name in names]


EVERY = Selection(scope="all")
OPEN, LOCAL = ["0.0.0.0:8080"], ["127.0.0.1:8080"]


def test_a_host_network_pod_is_judged_by_its_own_table_whatever_a_neighbour_shows():
    found = report(on_one_node("a", "b"), tables=[table("a", OPEN), table("b", LOCAL)], selection=EVERY)
    assert [finding["pods"] for finding in found["findings"]] == [["b"]]
    assert (found["unchecked"], found["hints"]) == ([], [])


def test_a_host_network_pod_that_could_not_be_read_is_judged_by_a_neighbour_which_is_said():
    unread = [{"namespace": "shop", "pod": "a", "reason": "no_tool"}]
    found = report(on_one_node("a", "b"), tables=[table("b", OPEN)], unread=unread, selection=EVERY)
    assert (found["findings"], found["unchecked"]) == ([], [])
    assert found["hints"] == [
        "hostNetwork pod shop/a could not be read itself: its verdict rests on what shop/b showed of their node, "
        "which the authors of those pods could make up."
    ]


def test_neighbours_that_contradict_each_other_are_not_believed():
    unread = [{"namespace": "shop", "pod": "a", "reason": "no_tool"}]
    tables = [table("b", OPEN), table("c", LOCAL)]
    found = report(on_one_node("a", "b", "c"), tables=tables, unread=unread, selection=EVERY)
    assert [(u["pod"], u["reason"]) for u in found["unchecked"]] == [("a", "suspect_table")]
    assert found["unchecked"][0]["detail"] == "Of its node's sockets pods shop/b and shop/c show different ones."


def test_what_a_node_shows_is_believed_before_what_a_hostnetwork_pod_says_of_itself():
    seen = {"namespace": "shop", "pod": "b", "format": "ss", "stdout": table("b", LOCAL)["stdout"]}
    found = report(on_one_node("a", "b"), tables=[table("a", OPEN), seen], selection=EVERY)
    assert [pod for finding in found["findings"] for pod in finding["pods"]] == ["a", "b"]
    assert found["hints"] == []


def test_the_summary_counts():
    pods = [pod("a"), pod("b", app="db", owner=None), pod("c", app="c", owner=None)]
    services = [
        service(),
        service("db", selector={"app": "db"}, ports=[port(), port(53, protocol="UDP")]),
        service("c", selector={"app": "c"}),
    ]
    found = report(pods, services, tables=[table("a"), table("b", ["0.0.0.0:8080"])])
    assert found["summary"] == {
        "namespaces": 1,
        "workloads": 3,
        "pods": 3,
        "pods_read": 2,
        "ports": 3,
        "ports_unread": 1,
        "findings": 1,
        "breaks_on_upgrade": 1,
        "unknown": 0,
        "unreachable": 0,
        "failing_probes": 0,
        "waived": 0,
        "remediated": 0,
        "unchecked": 1,
        "opens_on_upgrade": 0,
        "not_listening": 0,
        "not_checked": 0,
        "out_of_scope": 1,
        "remediations": 1,
    }


# ---------------------------------------------------------------------------------------------------------------------
# Options and hints


def test_a_selection_that_finds_no_pod_says_so():
    assert report(selection=Selection(label_selectors=("app=nothing",)))["hints"] == [
        "No pod was checked: with scope mesh and these namespaces and label selectors, no Service exposes one."
    ]


@pytest.mark.parametrize(
    "text, wanted",
    [("1.24", (1, 24)), ("v1.20.8", (1, 20, 8)), ("1.5", (1, 5)), (None, None), ("", None)],
)
def test_the_target_version_is_understood(text, wanted):
    assert target(Options(TODAY, target_version=text)) == wanted


@pytest.mark.parametrize(
    "text, wanted",
    [
        ("latest", "is no Istio"),
        ("1", "is no Istio"),
        ("1.2", "needs quotes"),
        ("1.4", "needs quotes"),
        ("0.9", "no istiod 0.9"),
    ],
)
def test_a_target_version_that_is_none_is_refused(text, wanted):
    with pytest.raises(OptionError, match=wanted):
        report(target=text)


# Control planes, with target 1.24; the revisions that another one's settings speak for.
@pytest.mark.parametrize(
    "istiods, spoken_for",
    [
        ([istiod("1.20.8", opt_out=True), istiod("1.24.0", "test", localhost=True)], ["default"]),
        ([istiod("1.9.9"), istiod("1.22.0", "b"), istiod("1.24.0", "test", localhost=True)], ["b", "default"]),
        ([istiod("1.9.9"), istiod("1.9.8"), istiod("1.24.0", "test", localhost=True)], ["default"]),
        ([istiod("1.20.8", "test", opt_out=True), istiod("1.24.0", "test", localhost=True)], []),
        ([istiod("1.20.8", opt_out=True, localhost=True), istiod("1.24.0", "test", localhost=True)], []),
        ([istiod("1.20.8", opt_out=True), istiod("1.24.0", "test")], []),
        ([istiod("1.24.0"), istiod("1.24.1", "test", localhost=True)], []),
        ([istiod("1.9.9"), istiod("1.24.0", "test"), istiod("1.24.0", "other", localhost=True)], []),
        ([istiod("1.9.9")], []),
    ],
)
def test_settings_of_the_target_that_count_for_another_revision_are_hinted_at(istiods, spoken_for):
    hints = report(istiods=istiods, target="1.24")["hints"]
    assert hints == [
        f"The settings of revision test, which runs the target version, count for pods of revision {name} too: let them move to it. "
        f"Upgraded in place, revision {name} would deliver to the pod IP."
        for name in spoken_for
    ]


def test_an_istiod_that_is_newer_than_the_target_and_serves_no_pod_is_hinted_at():
    found = report(istiods=[istiod("1.20.8"), istiod("1.9.9", "old"), istiod("1.24.0", "new")], target="1.20")
    assert found["hints"] == ["target_version is older than istiod 1.24 of revision new."]


@pytest.mark.parametrize(
    ("istiods", "given", "newer"),
    [
        ([istiod("1.20.8", opt_out=True)], {"target": "1.12"}, "1.12 is older than istiod 1.20 of revision default"),
        ([istiod("1.21.0")], {"target": "1.12"}, "1.12 is older than istiod 1.21 of revision default"),
        ([istiod("1.24.3")], {"target": "1.24.1"}, "1.24.1 is older than istiod 1.24 of revision default"),
        ([istiod("1.24.3")], {"target": "1.22"}, "1.22 is older than istiod 1.24 of revision default"),
        ([], {"target": "1.9", "current": "1.22"}, "1.9 is older than istiod 1.22 (as current_version says)"),
        ([istiod("1.24.3")], {"target": "1.24"}, ""),
        ([istiod("1.24.3")], {"target": "1.24.3"}, ""),
        ([istiod("1.20.8")], {}, ""),
        ([istiod("1.20.8"), istiod("1.24.0", "new")], {"target": "1.22"}, ""),
    ],
)
def test_a_target_that_is_older_than_what_serves_the_pods_is_refused(istiods, given, newer):
    """Digits are swapped easily, and 1.12 for 1.21 would have the settings of 1.20 count for the next istiod."""
    options = Options(TODAY, target_version=given.get("target"), current_version=given.get("current"))
    if not newer:
        assert evaluate(snapshot(istiods=istiods), options)["summary"]["pods"] == 1
        return
    with pytest.raises(OptionError, match="this checks an upgrade") as raised:
        evaluate(snapshot(istiods=istiods), options)
    assert f"target_version: {newer}, which serves pods" in str(raised.value)


@pytest.mark.parametrize("istiods", [[], [istiod("?")]], ids=["none to be seen", "one of unknown version"])
def test_a_target_that_is_older_than_a_proxy_is_refused_where_nobody_knows_its_istiod(istiods):
    """No proxy is newer than its istiod. A slip such as 1.9 for 1.29 had all ports on localhost remediated, since 1.9 delivers there."""
    seen = snapshot([pod("a", proxy="1.8.6"), pod("b", proxy="1.20.8"), pod("c", proxy="@sha256:01")], istiods=istiods)
    wanted = "target_version: 1.9 is older than the proxy of pod shop/b, which is 1.20.8; this checks an upgrade"
    with pytest.raises(OptionError, match=wanted):
        evaluate(seen, Options(TODAY, target_version="1.9"))
    for options in ({"target_version": "1.20"}, {"target_version": "1.9", "current_version": "1.9.9"}, {}):
        assert evaluate(seen, Options(TODAY, **options))["summary"]["pods"] == 3


def test_lists_that_were_refused_are_hinted_at():
    found = report(unlisted=[{"resource": "replicasets", "detail": "403"}, {"resource": "jobs"}])
    assert found["hints"] == ["jobs could not be listed: no reason given", "replicasets could not be listed: 403"]


def test_the_waivers_of_the_options_are_applied():
    found = report(
        waivers=[{"match": "namespace == 'shop'", "reason": "known"}, {"match": "port == `1`", "reason": "typo"}]
    )
    assert not found["findings"] and found["waived"][0]["waived_by"]["reason"] == "known"
    assert found["hints"] == ["waivers[1] matches no finding: port == `1`"]
    assert not found["remediations"]


def test_a_waiver_may_ask_for_the_remedy_and_a_waived_finding_has_one():
    found = report([pod(), pod("b", app="b", owner=None)], [service(), service("b", selector={"app": "b"})], tables=[table(), table("b", ["127.0.0.2:8080"])],
                   waivers=[{"match": "remedy == 'change_bind'", "reason": "known"}])  # fmt: skip
    assert [(f["workload"]["name"], f["remedy"]) for f in found["findings"]] == [("web", "create_sidecar")]
    assert [(f["workload"]["name"], f["remedy"]) for f in found["waived"]] == [("b", "change_bind")]
    assert set(found["waived"][0]) == {*found["findings"][0], "waived_by"}
    assert len(found["remediations"]) == 1


def test_an_expired_waiver_is_noted_once_beside_one_that_counts():
    waivers = [
        {"match": "port == `8080`", "reason": "old", "until": "2026-01-31"},
        {"match": "port == `9090`", "reason": "known"},
    ]
    found = report(
        services=[service(ports=[port(), port(90, 9090, "x")])],
        binds=["127.0.0.1:8080", "127.0.0.1:9090"],
        waivers=waivers,
    )
    assert [note for note in found["findings"][0]["notes"] if "waives nothing" in note] == [
        "waivers[0] (old) expired on 2026-01-31 and waives nothing."
    ]
    assert [f["port"] for f in found["waived"]] == [9090]


# ---------------------------------------------------------------------------------------------------------------------
# Properties

NAMES = st.sampled_from(["a", "b"])
BINDS = st.sets(
    st.sampled_from(["127.0.0.1:8080", "[::1]:8080", "*:8080", "10.0.0.5:8080", "127.0.0.1:9090", "0.0.0.0:9090"])
)
ENDPOINTS = st.sampled_from(["127.0.0.1:8080", "0.0.0.0:8080", "[::1]:9090", "unix:///x", None])


# Made once: to make and check a strategy takes longer than to draw from it.
PODS = st.lists(
    st.fixed_dictionaries(
        {
            "namespace": NAMES,
            "app": NAMES,
            "owner": st.sampled_from([None, ("ReplicaSet", "{}-7d4b9"), ("StatefulSet", "{}")]),
            "ips": st.sampled_from([("10.0.0.5",), ("fd00::5",), ("10.0.0.5", "fd00::5"), ()]),
            "proxy": st.sampled_from(["1.9.9", "1.9.9", "1.20.0", None]),
            "revision": st.sampled_from(["default", "default", "canary", None]),
            "phase": st.sampled_from(["Running", "Running", "Pending"]),
            "ready": st.booleans(),
            "host_network": st.sampled_from([False] * 5 + [True]),
            "ports": st.sampled_from([{}, {"http": 8080}, {"http": 9090}]),
            "annotations": st.sampled_from([{}, EXCLUDED["annotations"], {"galley.istio.io/analyze-suppress": "*"}]),
            "probes": st.sampled_from([{}, {"livenessProbe": {"httpGet": {"port": 8080}}}]),
            "tables": st.lists(BINDS, max_size=2),
            "unread": st.lists(st.sampled_from(["timeout", "forbidden"]), max_size=2),
        }
    ),
    min_size=1,
    max_size=5,
)
SERVICES = st.lists(
    st.tuples(
        NAMES,
        st.sampled_from([{"app": "a"}, {"app": "b"}, {}]),
        st.sampled_from([8080, 9090, "http", 15021]),
        st.sampled_from([(), ("IPv4",), ("IPv6", "IPv4")]),
    ),
    min_size=1,
    max_size=4,
)
SIDECARS = st.lists(
    st.tuples(
        st.sampled_from(["a", "a", "istio-system"]),
        st.sampled_from([None, {}, {"app": "a"}]),
        st.dictionaries(st.sampled_from([8080, 9090]), ENDPOINTS),
        st.sampled_from(["2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"]),
    ),
    max_size=4,
)
ISTIODS = st.lists(
    st.tuples(
        st.sampled_from(["1.9.9", "1.12.0", "1.20.8", "1.24.0", "?"]),
        st.sampled_from(["default", "canary"]),
        st.booleans(),
        st.booleans(),
    ),
    max_size=3,
)
SLICES = st.lists(st.tuples(st.integers(0, 3), NAMES), max_size=2)
ENTRIES = st.lists(NAMES, max_size=1)
OWNERS = st.lists(
    st.tuples(st.sampled_from(["ReplicaSet", "StatefulSet"]), st.sampled_from(["a", "b", "a-7d4b9", "b-7d4b9"]), NAMES),
    unique=True,
    max_size=4,
)
HIDDEN = st.lists(st.sampled_from(["jobs", "configmaps", "endpointslices"]), unique=True)


@st.composite
def clusters(draw):
    """Small clusters whose objects know each other."""
    pods, tables, unread = [], [], []
    for number, parts in enumerate(draw(PODS)):
        app, namespace, owner = parts["app"], parts.pop("namespace"), parts["owner"]
        name = f"{app}-{number}"
        tables += [table(name, sorted(binds), namespace) for binds in parts.pop("tables")]
        unread += [{"namespace": namespace, "pod": name, "reason": reason} for reason in parts.pop("unread")]
        pods.append(pod(name, namespace, **{**parts, "owner": owner and (owner[0], owner[1].format(app))}))
    services = [
        service(f"svc-{n}", namespace, selector, [port(80, of)], families)
        for n, (namespace, selector, of, families) in enumerate(draw(SERVICES))
    ]
    sidecars = [
        sidecar(f"sc-{n}", namespace, selector, ingress, created=created)
        for n, (namespace, selector, ingress, created) in enumerate(draw(SIDECARS))
    ]
    istiods = [istiod(*parts) for parts in draw(ISTIODS)]
    slices = [endpoint_slice(f"svc-{number}", namespace, addresses=["10.0.0.5"]) for number, namespace in draw(SLICES)]
    entries = [service_entry(namespace=namespace, selector={"app": "a"}) for namespace in draw(ENTRIES)]
    owners = [
        {
            "kind": kind,
            "metadata": meta(
                name,
                namespace,
                ownerReferences=[{"kind": "Deployment", "name": name[0], "controller": True}]
                if kind == "ReplicaSet"
                else [],
            ),
            "spec": {
                "selector": {"matchLabels": {"app": name[0], "pod-template-hash": "7d4b9"}},
                "replicas": len(name) - 1,
                "template": {"metadata": {"labels": {"app": name[0]}}},
            },
        }
        for kind, name, namespace in draw(OWNERS)
    ]
    hidden = [{"resource": name} for name in draw(HIDDEN)]
    more = {"endpointSlices": slices, "serviceEntries": entries, "controllers": owners, "unlisted": hidden}
    more["workloadEntries"] = [{"metadata": meta(f"vm-{n}", each)} for n, each in enumerate(draw(ENTRIES))]
    more["envoyFilters"] = [envoy_filter(f"ef-{n}", each) for n, each in enumerate(draw(ENTRIES))]
    return snapshot(pods, services, sidecars, istiods, tables, unread=unread, **more)


OPTIONS = st.builds(
    lambda labels, scope, replicas, to: Options(
        TODAY, Selection(label_selectors=labels, scope=scope, replicas=replicas), to
    ),
    st.sampled_from([(), (), ("app=a",)]),
    st.sampled_from(["mesh", "all"]),
    st.sampled_from(["all", "one"]),
    st.sampled_from([None, "1.9", "1.15", "1.21", "1.24"]),
)
LISTS = (
    "pods",
    "services",
    "sidecars",
    "serviceEntries",
    "endpointSlices",
    "controllers",
    "workloadEntries",
    "envoyFilters",
    "socketTables",
    "unread",
    "unlisted",
)


def shuffled(document, seed):
    """The same cluster, its objects in another order; within one object the order means something and stays."""
    generator, mixed = random.Random(seed), copy.deepcopy(document)
    for part in LISTS:
        generator.shuffle(mixed[part])
    generator.shuffle(mixed["istio"]["controlPlanes"])
    return mixed


def judged(document, options):
    """Without the target version where that is older than what serves the pods."""
    return evaluated(read_cluster(document), options)[0]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(clusters(), OPTIONS, st.integers())
def test_the_report_is_the_same_whatever_the_order_of_the_objects(document, options, seed):
    before = json.dumps(document)
    once = json.dumps(judged(document, options))
    assert json.dumps(document) == before, "evaluate changed its input"
    assert json.dumps(judged(document, options)) == once
    assert json.dumps(judged(shuffled(document, seed), options)) == once


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(clusters(), OPTIONS)
def test_every_exposed_pod_is_judged_or_unchecked(document, options):
    found = judged(document, options)
    tabled = {(t["namespace"], t["pod"]) for t in document["socketTables"] if t["stdout"]}
    unchecked = {(u["namespace"], u["pod"]) for u in found["unchecked"]}
    readable = {
        (p["metadata"]["namespace"], p["metadata"]["name"]) for p in document["pods"] if p["status"].get("podIP")
    }
    own = options.selection.replicas == "all" and not any(p["spec"]["hostNetwork"] for p in document["pods"])
    if own:
        assert not unchecked & tabled & readable
        for record in found["findings"] + found["waived"] + found["remediated"] + found["not_listening"]:
            blind = record["listeners"] == []  # a table that shows nothing at all is suspect, and says the same
            assert blind or {(record["namespace"], name) for name in record["pods"]} <= tabled - unchecked
    read = found["summary"]["pods"] - sum(u["reason"] != "suspect_table" for u in found["unchecked"])
    assert found["summary"]["pods_read"] == read


TEXTS = [
    *"a b default istio-proxy istio-init sidecar proxy router web 8080 http * 10.0.0.5 fd00::5 127.0.0.1 127.0.0.1:8080 [::1]:8080 unix:///x :8080 x:y".split(),
    *"IPv4 IPv6 NONE Running Pending Pod Service ReplicaSet ReplicationController Job Node Always TCP UDP HTTP ExternalName Ready True false true".split(),
    *"1.9.9 1.20.8 1.24.0 -m -b -d -d80 --istio-inbound-ports=80 {} [] configmaps endpointslices ss procnet netstat 2026-01-01T00:00:00Z ,, é".split(),
    "",
    "LISTEN 0 1 127.0.0.1:8080 0.0.0.0:*\n",
    "[" * 5000,
    "9" * 5000,
    '{"revision": 7}',
    '{"/app-health/app/livez": {"httpGet": {"port": []}}}',
    '{"/app-health/app/livez": 1}',
]


class Anything:
    """Draws documents that pass the check: what a shape says may be absent is, or is null, or is anything of its kind."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def of(self, shape):
        if isinstance(shape, (_schema.Required, _schema.Reduced)):
            return self.of(shape.shape)
        if isinstance(shape, dict):
            return {
                key: self.part(inner)
                for key, inner in shape.items()
                if isinstance(inner, _schema.Required) or self.random.random() < 0.6
            }
        if isinstance(shape, list):
            return [self.of(shape[0]) for _time in range(self.random.randrange(3))]
        if isinstance(shape, tuple):
            return self.of(self.random.choice(shape))
        if isinstance(shape, _schema.Mapping):
            return {self.of(str): self.of(shape.value) for _time in range(self.random.randrange(3))}
        if isinstance(shape, _schema.Number):
            return self.random.choice(
                [n for n in (shape.low, 22, 80, 8080, 15021, shape.high) if shape.low <= n <= shape.high]
            )
        if isinstance(shape, _schema.Address):
            return self.random.choice(["", "10.0.0.5", "fd00::5", "fe80::1%eth0", "::ffff:10.0.0.5"])
        if shape is dict:
            keys = ["mode", "labels", "matchLabels", "matchExpressions", "inboundTrafficPolicy", "rootNamespace", "app"]
            return {self.random.choice(keys): self.json() for _time in range(self.random.randrange(3))}
        return self.random.choice(TEXTS if shape is str else [True, False])

    def part(self, shape):
        return None if not isinstance(shape, _schema.Required) and self.random.random() < 0.2 else self.of(shape)

    def json(self):
        return self.random.choice(
            [
                None,
                True,
                7,
                1.5,
                "LOCALHOST",
                "app",
                [],
                ["x", {}],
                {},
                {"app": "web"},
                {"mode": "LOCALHOST"},
                {"mode": []},
            ]
        )

    def like(self, shape, sample):
        """The sample, of which one part in fifteen is anything that its shape allows: ordinary enough to be looked at."""
        if isinstance(shape, (_schema.Required, _schema.Reduced)):
            return self.like(shape.shape, sample)
        if isinstance(shape, dict) and isinstance(sample, dict):
            parts = {}
            for key, inner in shape.items():
                if self.random.random() < 1 / 15:
                    parts[key] = self.part(inner)
                elif key in sample:
                    parts[key] = self.like(inner, sample[key])
            return parts
        if isinstance(shape, list) and isinstance(sample, list):
            return [self.like(shape[0], item) for item in sample]
        return sample


ORDINARY = snapshot(
    [
        pod("a", "a", init=["-b", "*"], ports={"http": 8080}, probes={"livenessProbe": {"httpGet": {"port": 8080}}}),
        pod("b", "a", native=True),
    ],
    [service("a", "a"), service("b", "a", {}, ports=[port(81, "http")])],
    [sidecar("a", "a", {"app": "web"}, {8080: "127.0.0.1:8080"}), sidecar("b", "a")],
    endpointSlices=[endpoint_slice("b", "a", pods=["a"], addresses=["10.0.0.5"])],
    serviceEntries=[service_entry("a", "a")],
    controllers=[
        {
            "kind": "ReplicaSet",
            "metadata": {"name": "web-7d4b9", "namespace": "a"},
            "spec": {"selector": {"matchLabels": {"app": "web"}}},
        }
    ],
    unread=[{"namespace": "a", "pod": "b", "reason": "timeout"}],
    unlisted=[],
)


@settings(max_examples=1500, deadline=None)
@given(st.integers(), st.booleans(), OPTIONS)
def test_evaluate_never_raises_on_a_checked_snapshot(seed, odd, options):
    anything = Anything(seed)
    parts = anything.of(_shapes.SNAPSHOT) if odd else anything.like(_shapes.SNAPSHOT, ORDINARY)
    for one in parts["socketTables"]:
        one["format"] = "ss"
    document = _snapshot.check({**parts, "apiVersion": _snapshot.API_VERSION, "kind": _snapshot.KIND})
    json.dumps(judged(document, options))


# ---------------------------------------------------------------------------------------------------------------------
# What is found out once for many pods


@settings(max_examples=200, deadline=None)
@given(st.integers(), OPTIONS)
def test_replicas_that_share_their_parts_in_memory_are_judged_like_any_other_pods(seed, options):
    parts = Anything(seed).like(_shapes.SNAPSHOT, ORDINARY)
    others = [
        {**one, "metadata": {**one["metadata"], "name": f"{one['metadata']['name']}-{n}"}}
        for n in range(3)
        for one in parts["pods"]
    ]
    for n, other in enumerate(others):
        other["status"] = {
            **(other.get("status") or {}),
            "podIP": f"10.0.1.{n}",
            "podIPs": [{"ip": f"10.0.1.{n}"}, {"ip": f"fd00::{n}"}][: n % 3],
        }
    parts["pods"] += others
    parts["socketTables"] = [
        table(p["metadata"]["name"], ["127.0.0.1:8080", "10.0.1.1:81"], p["metadata"]["namespace"])
        for p in parts["pods"]
    ]
    trimmed = _trim.Trimmer()
    shared = {
        **parts,
        "apiVersion": _snapshot.API_VERSION,
        "kind": _snapshot.KIND,
        "pods": [trimmed(p, _shapes.POD) for p in parts["pods"]],
    }
    alone = json.loads(json.dumps(shared))
    together = json.dumps(judged(shared, options))
    assert together == json.dumps(judged(alone, options))
    assert shared == alone
    with mock.patch.object(_kube.PodReader, "_template", lambda _self, metadata, spec: _kube.Template(metadata, spec)):
        assert together == json.dumps(judged(alone, options)), "what is found out once holds for each"


@settings(max_examples=500, deadline=None)
@given(st.integers(), st.booleans())
def test_the_fast_check_of_a_snapshot_finds_what_the_slow_one_does(seed, odd):
    anything = Anything(seed)
    document = anything.of(_shapes.SNAPSHOT) if odd else anything.like(_shapes.SNAPSHOT, ORDINARY)
    for _time in range(anything.random.randrange(3)):
        part: t.Any = document
        while isinstance(part, (dict, list)) and part:
            key = anything.random.choice(list(part) if isinstance(part, dict) else range(len(part)))
            if not isinstance(part[key], (dict, list)) or not part[key] or anything.random.random() < 0.2:
                part[key] = anything.random.choice([None, 3, -1, True, 1.5, "x", [], {}, [{}], {"a": [1]}, math.nan])
                break
            part = part[key]
    try:
        _schema.check_shape(document, _shapes.SNAPSHOT, "")
        fits = True
    except _schema.SnapshotError:
        fits = False
    assert _schema.Checker()(document, _shapes.SNAPSHOT) is fits


ADDRESSES = [("10.0.0.5",), ("10.0.0.6",), ("fd00::5",), ("fd00::6", "10.0.0.6"), ("10.0.0.5", "fd00::5")]
BOUND = [
    "127.0.0.1",
    "10.0.0.5",
    "0.0.0.0",
    "*",
    "[::]",
    "[::1]",
    "[fd00::5]",
    "[::ffff:10.0.0.5]",
    "[::ffff:127.0.0.1]",
    "127.0.0.2",
    "0.0.0.0%lo",
]


@pytest.mark.parametrize("bind", BOUND)
@pytest.mark.parametrize("to", [None, "1.24"])
def test_each_pod_is_judged_at_its_own_addresses_whatever_was_found_of_the_others(bind, to):
    several = [pod(f"pod-{n}", ips=ips, owner=None) for n, ips in enumerate(ADDRESSES)]
    services = [service(families=("IPv4", "IPv6")), service("primary", ports=[port(81)])]
    options = {
        "binds": [f"{bind}:8080", "127.0.0.1:9000"],
        "services": services,
        "target": to,
        "sidecars": [sidecar(ingress={8080: "0.0.0.0:9000"})],
    }
    together = verdicts(report(several, **options))
    assert together == {what: said for each in several for what, said in verdicts(report([each], **options)).items()}
    assert together


@pytest.mark.parametrize(
    "entry, revision, to",
    [({"bind": "10.0.0.5", "captureMode": "NONE"}, "next", "1.24"), ({"bind": "10.0.0.5"}, None, "1.10")],
)
def test_each_pod_is_judged_by_whether_a_sidecar_binds_its_own_address(entry, revision, to):
    several = [pod(f"pod-{n}", ips=ips, owner=None) for n, ips in enumerate(ADDRESSES)]
    options = {
        "istiods": [istiod("1.9.9"), istiod(to, "next")],
        "target": to,
        "sidecars": [sidecar(revision=revision, ingress_of=entry)],
    }
    together = verdicts(report(several, **options))
    assert together == {what: said for each in several for what, said in verdicts(report([each], **options)).items()}
    assert len(set(map(str, together.values()))) > 1


def test_pods_that_are_alike_are_judged_once(monkeypatch):
    judged = []
    judge_pod = _pods.judge_pod
    monkeypatch.setattr(
        _pods, "judge_pod", lambda entry, *more: judged.append(entry.pod.name) or judge_pod(entry, *more)
    )
    names = [f"web-7d4b9-{number}" for number in range(8)]
    pods = [pod(name, ips=(f"10.0.0.{number + 1}",)) for number, name in enumerate(names)]
    tables = [table(name) for name in names[:7]] + [table(names[7], binds=("10.0.0.8:8080",))]
    (found,) = report(pods, tables=tables)["findings"]
    assert found["pods"] == names[:7]
    assert judged == [names[0], names[7]]
