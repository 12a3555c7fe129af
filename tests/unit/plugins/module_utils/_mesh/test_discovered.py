# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Namespaces that meshConfig.discoverySelectors leave out: what no longer counts there, and what is said where that is not known."""

from __future__ import annotations

import time

import pytest

from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.cluster import read_cluster
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.control_plane import ControlPlanes
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.shapes import SCOPING_ENV
from ansible_collections.meshops.istio_precheck.tests.helpers.cluster import (
    istiod,
    namespace,
    pod,
    proxy_config,
    report,
    sidecar,
    snapshot,
    verdict,
)

LABELS = {"mesh": "in", "team": "shop"}


def expression(key="mesh", operator="In", values=("in",)):
    return {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}


@pytest.mark.parametrize(
    "selectors, wanted",
    [
        ([], True),
        ([{}], True),
        ([{"matchLabels": {}, "matchExpressions": []}], True),
        ([{"matchLabels": {"mesh": "in"}}], True),
        ([{"matchLabels": {"mesh": "in", "team": "shop"}}], True),
        ([{"matchLabels": {"mesh": "in", "team": "bank"}}], False),
        ([{"matchLabels": {"mesh": ""}}], False),
        ([{"matchLabels": {"mesh": "out"}}, {"matchLabels": {"team": "shop"}}], True),
        ([{"matchLabels": {"mesh": "out"}}, {"matchLabels": {"team": "bank"}}], False),
        ([expression(values=["out", "in"])], True),
        ([expression(values=["out"])], False),
        ([expression("tier")], False),
        ([expression(operator="NotIn", values=["out"])], True),
        ([expression(operator="NotIn")], False),
        ([expression("tier", "NotIn")], True),
        ([expression(operator="Exists", values=[])], True),
        ([expression("tier", "Exists", [])], False),
        ([expression(operator="DoesNotExist", values=[])], False),
        ([expression("tier", "DoesNotExist", [])], True),
        ([{"matchLabels": {"mesh": "in"}, **expression("tier", "Exists", [])}], False),
        # No selectors, by which istiod keeps what it had.
        ([expression(operator="in")], None),
        ([expression(operator="")], None),
        ([expression(values=[])], None),
        ([expression(operator="Exists")], None),
        ([expression(key="")], None),
        ([expression(key="no key")], None),
        ([expression(key="a..b/mesh")], None),
        ([expression(values=["-"])], None),
        ([{"matchLabels": {"mesh": "x" * 64}}], None),
        ([{"matchLabels": {"x" * 64: "in"}}], None),
        ([{"matchLabels": {"mesh": "in"}}, expression(operator="in")], None),
        # What no istiod has taken, in a record that somebody wrote.
        ({"matchLabels": {}}, None),
        ([None], None),
        ([{"matchLabels": ["mesh"]}], None),
        ([{"matchLabels": {"mesh": 1}}], None),
        ([{"matchExpressions": {"key": "mesh"}}], None),
        ([{"matchExpressions": [None]}], None),
        ([expression(operator=["In"])], None),
        ([{"matchExpressions": [{"key": "mesh", "operator": "In", "values": "in"}]}], None),
    ],
)
def test_a_namespace_is_discovered_if_one_selector_matches_its_labels(selectors, wanted):
    seen = snapshot(
        istiods=[istiod("1.24.0", discoverySelectors=selectors)],
        namespaces=[namespace("shop", **LABELS), namespace("bank")],
    )
    planes = ControlPlanes(read_cluster(seen).istio)
    assert planes.discovered.selects(planes.all[0], "shop") is wanted


def test_very_many_selectors_are_read_once_for_each_namespace():
    many = [{"matchLabels": {"mesh": f"m{number}"}} for number in range(20_000)]
    pods = [pod(f"web-{n}", labels={"pod-template-hash": str(n)}) for n in range(300)]
    before = time.process_time()
    found = report(pods, istiods=[istiod("1.24.0", discoverySelectors=many)], target="1.26", **namespaces())
    assert (verdict(found), time.process_time() - before < 3) == (NEVER, True)


@pytest.mark.parametrize("key", ["mesh", "example.com/mesh", "a-b.c/M_e.s-h", f"{'x' * 253}/{'y' * 63}", "1"])
def test_a_key_of_a_label_may_have_a_prefix(key):
    seen = snapshot(istiods=[istiod("1.24.0", discoverySelectors=[expression(key, "Exists", [])])])
    planes = ControlPlanes(read_cluster(seen).istio)
    assert planes.discovered.selects(planes.all[0], "shop") is None  # for want of labels alone
    assert planes.discovered.unsure(planes.all[0], ["shop"]) == ("namespace_hidden", "shop")


SELECT = {"discoverySelectors": [{"matchLabels": {"mesh": "in"}}]}
IN, OUT, HIDDEN = "in", "out", "hidden"


def namespaces(shop=OUT, root=IN):
    """Namespaces `shop` and `istio-system`, in the mesh, outside of it, or not seen."""
    some = {"shop": shop, "istio-system": root}
    return {"namespaces": [namespace(name, mesh=where) for name, where in some.items() if where != HIDDEN]}


PLAIN, OPT_OUT, LOCALHOST = {}, {"opt_out": True}, {"localhost": True}
CURED = {"ingress": {8080: "127.0.0.1:8080"}}
NONE, LOCAL, ROOT = [], [sidecar(**CURED)], [sidecar(namespace="istio-system", **CURED)]
BREAKS, NEVER, UNKNOWN, CURE = "breaks_on_upgrade", "unreachable", "unknown", "remediated"

# Of a port on 127.0.0.1: istiod, its settings, Sidecars, target, the verdict if namespace `shop` is selected, left out, or its labels are not known.
SHOP = [
    # Before 1.10 there are no selectors; from then on istiod knows no Service there, whatever else is said.
    ("1.9.9", PLAIN, NONE, "1.9", CURE, CURE, CURE),
    ("1.9.9", PLAIN, NONE, "1.10", BREAKS, BREAKS, BREAKS),
    ("1.9.9", OPT_OUT, NONE, "1.10", CURE, BREAKS, BREAKS),
    ("1.9.9", OPT_OUT, NONE, "1.20", CURE, BREAKS, BREAKS),
    ("1.10.0", PLAIN, NONE, "1.20", NEVER, NEVER, NEVER),
    ("1.10.0", OPT_OUT, NONE, "1.20", CURE, NEVER, UNKNOWN),
    ("1.20.8", OPT_OUT, NONE, "1.21", BREAKS, NEVER, UNKNOWN),
    ("1.9.9", LOCALHOST, NONE, "1.22", BREAKS, BREAKS, BREAKS),
    ("1.21.6", LOCALHOST, NONE, "1.22", CURE, NEVER, NEVER),
    ("1.22.0", LOCALHOST, NONE, "1.24", CURE, NEVER, UNKNOWN),
    ("1.22.0", LOCALHOST, NONE, None, CURE, NEVER, UNKNOWN),
    ("1.22.0", PLAIN, NONE, "1.24", NEVER, NEVER, NEVER),
    # Sidecars count up to 1.21.
    ("1.9.9", PLAIN, LOCAL, "1.21", CURE, CURE, CURE),
    ("1.20.8", PLAIN, LOCAL, "1.21", CURE, CURE, CURE),
    ("1.21.6", PLAIN, LOCAL, "1.21", CURE, CURE, CURE),
    ("1.21.6", PLAIN, LOCAL, "1.22", CURE, BREAKS, BREAKS),
    ("1.21.6", PLAIN, LOCAL, None, CURE, BREAKS, BREAKS),
    ("1.22.0", PLAIN, LOCAL, "1.24", CURE, NEVER, UNKNOWN),
    ("1.24.0", PLAIN, LOCAL, None, CURE, NEVER, UNKNOWN),
    ("1.24.0", LOCALHOST, LOCAL, "1.26", CURE, NEVER, UNKNOWN),
    # Nobody knows which istiod it is today.
    ("unreadable", PLAIN, LOCAL, "1.21", CURE, CURE, CURE),
    ("unreadable", PLAIN, LOCAL, "1.24", CURE, UNKNOWN, UNKNOWN),
    # That of a root namespace which is selected counts everywhere.
    ("1.24.0", PLAIN, ROOT, "1.26", CURE, CURE, CURE),
]


@pytest.mark.parametrize("version, special, sidecars, target, selected, left_out, hidden", SHOP)
def test_where_selectors_leave_a_namespace_out_its_services_and_its_sidecars_do_not_count(
    version, special, sidecars, target, selected, left_out, hidden
):
    plane = [istiod(version, **special, **SELECT)]
    for shop, wanted in ((IN, selected), (OUT, left_out), (HIDDEN, hidden)):
        found = report(None, None, sidecars, plane, target=target, **namespaces(shop))
        assert verdict(found) == wanted, shop
    assert verdict(report(None, None, sidecars, [istiod(version, **special)], target=target)) == selected
    everything = [istiod(version, **special, discoverySelectors=[{}])]
    assert verdict(report(None, None, sidecars, everything, target=target)) == selected


# Of a port on 127.0.0.1 that a Sidecar of `shop`, which is left out, delivers to localhost: istiod, what the variable is set to, target, verdict.
HIDDEN_ENV = object()
SCOPING = [
    # Before 1.16 it says nothing.
    ("1.9.9", "true", "1.15", CURE),
    ("1.9.9", "true", "1.16", BREAKS),
    ("1.9.9", "1", "1.21", BREAKS),
    ("1.20.8", "true", "1.21", NEVER),
    ("1.9.9", "false", "1.21", CURE),
    ("1.9.9", None, "1.21", CURE),
    # From 1.22 on it takes the old way back.
    ("1.21.6", "false", "1.22", CURE),
    ("1.24.0", "False", "1.26", CURE),
    ("1.24.0", "false", None, CURE),
    ("1.21.6", "true", "1.22", NEVER),
    ("1.21.6", None, "1.22", BREAKS),
    # istiod takes its default for what is no truth value.
    ("1.9.9", "yes", "1.21", CURE),
    ("1.21.6", "no", "1.22", BREAKS),
    # Of what is not seen the worse counts.
    ("1.9.9", HIDDEN_ENV, "1.15", CURE),
    ("1.9.9", HIDDEN_ENV, "1.21", BREAKS),
    ("1.20.8", HIDDEN_ENV, "1.21", UNKNOWN),
    ("1.24.0", HIDDEN_ENV, "1.26", UNKNOWN),
]


@pytest.mark.parametrize("version, said, target, wanted", SCOPING)
def test_whether_sidecars_of_a_namespace_that_is_left_out_count_is_as_the_variable_says(version, said, target, wanted):
    plane = istiod(version, scoping=None if said is HIDDEN_ENV else said, **SELECT)
    if said is HIDDEN_ENV:
        plane["envUnknown"] = [SCOPING_ENV]
    found = report(None, None, LOCAL, [plane], target=target, **namespaces())
    assert verdict(found) == wanted
    assert verdict(report(None, None, LOCAL, [plane], target=target, **namespaces(IN))) == CURE, "it is selected"
    if said is HIDDEN_ENV:
        older = {"rootNamespace": "istio-system", "controlPlanes": [istiod(version, **SELECT)], "meshConfig": {}}
        assert verdict(report(None, None, LOCAL, istio=older, target=target, **namespaces())) == wanted


def test_a_finding_names_the_variable_that_was_not_seen_and_no_label():
    plane = {**istiod("1.20.8", **SELECT), "envUnknown": [SCOPING_ENV]}
    found = report(None, None, LOCAL, [plane], target="1.21", **namespaces())
    (finding,) = found["findings"]
    assert "which its discoverySelectors leave out, only as ENABLE_ENHANCED_RESOURCE_SCOPING says" in finding["reason"]
    assert not [hint for hint in found["hints"] if "discoverySelectors" in hint]
    assert found["remediations"] == []


@pytest.mark.parametrize(
    "version, target, selected, left_out, hidden",
    [
        ("1.20.8", "1.21", CURE, CURE, CURE),
        ("1.21.6", "1.22", CURE, BREAKS, BREAKS),
        ("1.22.0", "1.24", CURE, NEVER, UNKNOWN),
    ],
)
def test_a_root_namespace_that_selectors_leave_out_is_no_exception(version, target, selected, left_out, hidden):
    for root, wanted in ((IN, selected), (OUT, left_out), (HIDDEN, hidden)):
        found = report(None, None, ROOT, [istiod(version, **SELECT)], target=target, **namespaces(IN, root))
        assert verdict(found) == wanted, root


def test_root_sidecars_that_could_not_be_listed_matter_only_where_they_would_count():
    refused = [{"resource": "sidecars", "namespace": "istio-system", "detail": "no"}]
    plane = [istiod("1.24.0", localhost=True, **SELECT)]
    for root, wanted in ((IN, UNKNOWN), (OUT, CURE), (HIDDEN, UNKNOWN)):
        found = report(istiods=plane, target="1.26", unlisted=refused, **namespaces(IN, root))
        assert verdict(found) == wanted, root


PAST = "passes it through to the pod IP, because its discoverySelectors leave namespace shop out"
NOT_KNOWN = "the discoverySelectors of {} may leave namespace {} out, whose labels are not known"
INVALID = "the discoverySelectors of {} are not all valid, so it is not known whether they leave namespace {} out"


@pytest.mark.parametrize(
    "selectors, some, sidecars, today, after",
    [
        (SELECT, namespaces(), LOCAL, f"istiod 1.24 {PAST}", f"istiod 1.26 {PAST}"),
        (
            SELECT,
            namespaces(HIDDEN),
            LOCAL,
            NOT_KNOWN.format("istiod 1.24", "shop"),
            NOT_KNOWN.format("istiod 1.26", "shop"),
        ),
        (
            SELECT,
            namespaces(IN, HIDDEN),
            ROOT,
            NOT_KNOWN.format("istiod 1.24", "istio-system"),
            NOT_KNOWN.format("istiod 1.26", "istio-system"),
        ),
        (
            {"discoverySelectors": [expression(operator="in")]},
            namespaces(IN),
            LOCAL,
            INVALID.format("istiod 1.24", "shop"),
            INVALID.format("istiod 1.26", "shop"),
        ),
    ],
)
def test_the_finding_says_which_namespace_it_is(selectors, some, sidecars, today, after):
    (finding,) = report(None, None, sidecars, [istiod("1.24.0", **selectors)], target="1.26", **some)["findings"]
    assert [finding["delivery"][when]["why"] for when in ("today", "after")] == [today, after]


def test_a_hint_says_what_is_not_known_for_want_of_labels_and_only_where_it_matters():
    def hints(sidecars, *some):
        return [
            hint
            for hint in report(list(some), None, sidecars, [istiod("1.24.0", **SELECT)], target="1.26")["hints"]
            if "discoverySelectors" in hint
        ]

    (hint,) = hints(LOCAL, pod())
    assert hint.startswith("It is not known whether discoverySelectors select namespaces as these: shop. ")
    assert hints(NONE, pod()) == []


@pytest.mark.parametrize("listed, wanted", [(["10.0.0.5:8080"], "ok"), (["127.0.0.1:8080"], NEVER)])
def test_what_is_so_in_every_case_needs_no_labels(listed, wanted):
    """A Sidecar that leads to the pod IP, where nothing else does otherwise."""
    leads = [sidecar(ingress={8080: ""})]
    found = report(None, None, leads, [istiod("1.24.0", **SELECT)], target="1.26", binds=listed)
    assert verdict(found) == wanted


def test_a_case_of_which_one_namespace_is_selected_and_the_other_not_counts_too():
    """In both or neither the pod IP; but if the root namespace alone is selected, localhost, where nothing listens."""
    sidecars = [sidecar(ingress={8080: ""}), *ROOT]
    found = report(None, None, sidecars, [istiod("1.24.0", **SELECT)], target="1.26", binds=["10.0.0.5:8080"])
    deliveries = {verdict(found)} | {hint for hint in found["hints"] if "discoverySelectors" in hint}
    assert len(deliveries) == 2, deliveries


def test_what_the_proxy_says_counts_for_today_where_labels_are_not_known():
    said = {"proxyConfigs": [proxy_config({8080: "127.0.0.1:8080"})]}
    (finding,) = report(None, None, LOCAL, [istiod("1.24.0", **SELECT)], target="1.26", **said)["findings"]
    assert (finding["impact"], finding["delivery"]["today"]["by"]) == (BREAKS, "proxy")


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")])
def test_of_two_revisions_that_may_be_next_the_one_that_leaves_the_namespace_out_decides(names):
    one, other = names
    planes = [
        istiod("1.20.8", opt_out=True),
        istiod("1.24.0", one, localhost=True),
        istiod("1.24.0", other, localhost=True, **SELECT),
    ]
    assert verdict(report(istiods=planes, target="1.24", **namespaces(IN))) == CURE
    assert verdict(report(istiods=planes, target="1.24", **namespaces(OUT))) == BREAKS
    assert verdict(report(istiods=planes, target="1.24", **namespaces(HIDDEN))) == BREAKS


# ---------------------------------------------------------------------------------------------------------------------
# Remedies


@pytest.mark.parametrize(
    "version, target, shop, remedy, said",
    [
        ("1.20.8", "1.21", OUT, "create_sidecar", None),
        ("1.21.6", "1.22", OUT, "change_bind", "The discoverySelectors of istiod 1.22 leave namespace shop out"),
        ("1.24.0", "1.26", OUT, "change_bind", "The discoverySelectors of istiod 1.26 leave namespace shop out"),
        ("1.24.0", None, OUT, "change_bind", "The discoverySelectors of a newer istiod leave namespace shop out"),
        ("1.24.0", "1.26", IN, "create_sidecar", None),
        ("1.20.8", "1.21", HIDDEN, "create_sidecar", None),
        (
            "1.24.0",
            "1.26",
            HIDDEN,
            "change_bind",
            "It is not known whether the discoverySelectors of istiod 1.26 leave",
        ),
    ],
)
def test_no_sidecar_is_offered_where_it_would_do_nothing(version, target, shop, remedy, said):
    plane = [istiod(version, **SELECT)]
    found = report(istiods=plane, target=target, remediate_unreachable=True, **namespaces(shop))
    (finding,) = found["findings"]
    notes = [note for note in finding["notes"] if "discoverySelectors" in note]
    assert finding["remedy"] == remedy
    assert len(found["remediations"]) == (remedy == "create_sidecar")
    assert [note[: len(said)] for note in notes] == [said] if said else notes == []
    assert ("label the namespace" in "".join(notes)) == (shop == OUT and said is not None)


def test_a_sidecar_that_has_lost_its_effect_is_not_edited():
    mine = [sidecar(selector={"app": "web"}, ingress={9090: ""})]
    found = report(None, None, mine, [istiod("1.24.0", **SELECT)], target="1.26", **namespaces())
    assert [finding["remedy"] for finding in found["findings"]] == ["change_bind"]
    assert found["remediations"] == []


@pytest.mark.parametrize("shop, helps", [(IN, True), (OUT, False), (HIDDEN, False)])
def test_a_sidecar_helps_no_probe_of_such_a_namespace(shop, helps):
    asked = {
        "probes": {"livenessProbe": {"httpGet": {"port": 8080}}},
        "annotations": {"sidecar.istio.io/rewriteAppHTTPProbers": "false"},
    }
    found = report(
        [pod(proxy="1.24.0", **asked)], None, NONE, [istiod("1.24.0", **SELECT)], target="1.26", **namespaces(shop)
    )
    assert [probe["sidecar_helps"] for probe in found["failing_probes"]] == [helps]
