# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.meshops.istio_precheck.tests.helpers.cluster import (
    istiod,
    pod,
    report,
    scaled,
    sidecar,
    verdict,
)

SAID = "Sidecar shop/listeners is labelled istio.io/rev=old, and no istiod of another revision sees it"
TO_LOCALHOST = {8080: "127.0.0.1:8080"}
OLD, CANARY = istiod("1.20.8", "old"), istiod("1.24.0", "canary")


@pytest.mark.parametrize(
    "istiods, target, label, wanted, said",
    [
        ([OLD], "1.24", "old", "remediated", True),
        ([OLD], None, "old", "remediated", True),
        ([OLD], "1.24", None, "remediated", False),
        ([OLD], "1.24", "other", "unreachable", False),
        # The next one is there, and does not see it.
        ([OLD, CANARY], "1.24", "old", "breaks_on_upgrade", False),
        ([OLD, CANARY], "1.24", None, "remediated", False),
        # Nothing moves.
        ([OLD], "1.20.8", "old", "remediated", False),
    ],
)
def test_a_sidecar_that_the_next_revision_would_not_see_is_named(istiods, target, label, wanted, said):
    sidecars = [sidecar(ingress=TO_LOCALHOST, revision=label)]
    found = report([pod(revision="old")], None, sidecars, istiods, target=target)
    assert verdict(found) == wanted
    assert any(hint.startswith(SAID) for hint in found["hints"]) == said


GIVEN = {"team": "a"}
LACKS = (
    "Sidecar shop/listeners selects pods by the label team, which the template of ReplicaSet shop/web-7d4b9 does not give them. "
    "Whatever does may not do so again, so the Sidecar does not count for the pods after the upgrade: put the label team into the template."
)
TEMPLATES = {
    "lacks the label": (GIVEN, {"app": "web"}, "breaks_on_upgrade", LACKS),
    "has another value": (GIVEN, {"app": "web", "team": "b"}, "breaks_on_upgrade", LACKS),
    "has it": (GIVEN, {"app": "web", **GIVEN}, "remediated", ""),
    "is not recorded": (GIVEN, None, "remediated", ""),
    "lacks one of two": ({"app": "web", **GIVEN}, {"app": "web"}, "breaks_on_upgrade", LACKS),
    "lacks two": (
        {"tier": "x", **GIVEN},
        {"app": "web"},
        "breaks_on_upgrade",
        LACKS.replace("label team", "labels team and tier"),
    ),
    "lacks what no Sidecar asks for": ({"app": "web"}, {"app": "web"}, "remediated", ""),
    "lacks the hash of a rollout": ({"pod-template-hash": "7d4b9"}, {"app": "web"}, "breaks_on_upgrade", ""),
}


@pytest.mark.parametrize("case", TEMPLATES)
def test_a_label_that_pods_have_and_their_template_lacks_is_named_with_the_template(case):
    selector, labels, wanted, said = TEMPLATES[case]
    a_pod = pod(labels={**GIVEN, "tier": "x"})
    controllers = (
        [] if labels is None else [scaled("web-7d4b9", owner=("Deployment", "web"), replicas=1, labels=labels)]
    )
    fix = sidecar(selector=selector, ingress=TO_LOCALHOST)
    found = report([a_pod], None, [fix], [istiod("1.20.8")], target="1.24", controllers=controllers)
    assert verdict(found) == wanted
    assert [hint for hint in found["hints"] if "selects pods by" in hint] == ([said] if said else [])


def test_of_many_templates_that_lack_a_label_a_few_are_named():
    names = [f"web-{number}" for number in range(5)]
    pods = [
        pod(f"{name}-a", labels={**GIVEN, "pod-template-hash": name[4:]}, owner=("ReplicaSet", name)) for name in names
    ]
    controllers = [scaled(name, owner=("Deployment", "web"), replicas=1) for name in names]
    fix = sidecar(selector=GIVEN, ingress=TO_LOCALHOST)
    (hint,) = [
        each for each in report(pods, None, [fix], controllers=controllers)["hints"] if "selects pods by" in each
    ]
    assert "of ReplicaSet shop/web-0, ReplicaSet shop/web-1, ReplicaSet shop/web-2 and 2 more does" in hint
