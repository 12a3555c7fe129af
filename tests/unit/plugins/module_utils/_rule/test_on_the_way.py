# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json

import pytest

from ansible_collections.meshops.istio_precheck.plugins.module_utils._evaluate import evaluate
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.shapes import CONFIG_ENV, PROBERS_ENV
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.options import Options
from ansible_collections.meshops.istio_precheck.tests.helpers.cluster import (
    TODAY,
    istiod,
    pod,
    report,
    service,
    sidecar,
    snapshot,
    table,
    verdict,
)

OLD = istiod("1.9.9", localhost=True)
OPTED_OUT = istiod("1.20.8", opt_out=True, localhost=True)
KEPT = sidecar(selector={"app": "web"}, ingress={8080: "127.0.0.1:8080"})
FROM_10_TO_21, AT_21 = [("1.10", "1.21", "pod_ip")], [("1.21", "1.21", "pod_ip")]

WAYS = [
    # special about it; istiods, target, what else; the verdict, and where the port is not reached on the way
    ("1.9 to 1.24 with LOCALHOST", [OLD], "1.24", {}, "breaks_on_upgrade", FROM_10_TO_21),
    ("1.9 to 1.22 with LOCALHOST", [OLD], "1.22", {}, "breaks_on_upgrade", FROM_10_TO_21),
    ("the opt-out until LOCALHOST", [OPTED_OUT], "1.24", {}, "breaks_on_upgrade", AT_21),
    ("both from 1.9 on", [istiod("1.9.9", opt_out=True, localhost=True)], "1.24", {}, "breaks_on_upgrade", AT_21),
    ("it breaks for good", [istiod("1.9.9")], "1.24", {}, "breaks_on_upgrade", None),
    ("it listens everywhere", [OLD], "1.24", {"binds": ("0.0.0.0:8080",)}, "ok", None),
    ("it is out of reach today", [istiod("1.20.8", localhost=True)], "1.24", {}, "remediated", None),
    ("a Sidecar keeps it", [OLD], "1.24", {"sidecars": [KEPT]}, "remediated", None),
    ("the next version is the target", [istiod("1.21.6", localhost=True)], "1.22", {}, "remediated", None),
    (
        "a revision runs the target version",
        [OLD, istiod("1.24.1", "canary", localhost=True)],
        "1.24",
        {},
        "remediated",
        None,
    ),
    ("no target is named", [istiod("1.22.0", localhost=True)], None, {}, "remediated", None),
    (
        "it is bound to the pod IP, and only on the way handed to localhost",
        [istiod("1.15.0", opt_out=True, merge=True)],
        "1.24",
        {"binds": ("10.0.0.5:8080",), "sidecars": [sidecar(selector={"app": "web"}, ingress={9090: ""})]},
        "breaks_on_upgrade",
        [("1.16", "1.20", "localhost")],
    ),
]


@pytest.mark.parametrize(
    ("istiods", "target", "more", "wanted", "between"), [row[1:] for row in WAYS], ids=[row[0] for row in WAYS]
)
def test_a_port_that_breaks_on_the_way_is_a_finding_that_says_at_which_versions(istiods, target, more, wanted, between):
    found = report(istiods=istiods, target=target, **more)
    assert verdict(found) == wanted
    for record in (*found["findings"], *found["remediated"]):
        said = [
            (each["from_version"], each["to_version"], each["to"]) for each in record["delivery"].get("between", [])
        ]
        assert said == (between or [])


def test_the_reason_names_the_versions_and_what_they_do():
    (found,) = report(istiods=[OLD], target="1.24")["findings"]
    assert found["reason"] == (
        "It listens on 127.0.0.1:8080: today istiod 1.9 delivers to 127.0.0.1, and after the upgrade istiod 1.24 delivers to 127.0.0.1 "
        "(meshConfig.inboundTrafficPolicy.mode: LOCALHOST), but on the way, from 1.10 to 1.21, istiod 1.10 delivers to the pod IP, where nothing accepts."
    )
    (found,) = report(istiods=[OPTED_OUT], target="1.22")["findings"]
    assert ", but on the way, at 1.21, istiod 1.21 delivers to the pod IP, where nothing accepts." in found["reason"]


def test_a_sidecar_is_the_remedy_and_keeps_the_port_all_the_way():
    found = report(istiods=[OLD], target="1.24")
    assert [each["remedy"] for each in found["findings"]] == ["create_sidecar"]
    (remediation,) = found["remediations"]
    applied = {**remediation["manifest"], "metadata": {**remediation["manifest"]["metadata"], "creationTimestamp": ""}}
    assert verdict(report(istiods=[OLD], target="1.24", sidecars=[applied])) == "remediated"


HTTP, TCP = {"httpGet": {"port": 8080}}, {"tcpSocket": {"port": 8080}}
REWRITTEN = {"env": {PROBERS_ENV: json.dumps({"/app-health/app/readyz": HTTP})}}
PROBES = [
    # what the pod has, what is exposed; where its probe fails on the way
    ("rewritten today", {**REWRITTEN}, {}, "from 1.10 to 1.21"),
    ("rewritten from 1.12 on", {"probes": {"readinessProbe": TCP}}, {}, "from 1.12 to 1.21"),
    ("rewritten today, in a pod that no Service selects", {**REWRITTEN}, {"services": []}, "from 1.10 to 1.21"),
    ("rewritten today, beside a Sidecar", {**REWRITTEN}, {"sidecars": [KEPT]}, "from 1.10 to 1.21"),
]


@pytest.mark.parametrize(("spec", "more", "when"), [row[1:] for row in PROBES], ids=[row[0] for row in PROBES])
def test_a_probe_that_fails_on_the_way_alone_says_so(spec, more, when):
    (probe,) = report([pod(**spec)], istiods=[OLD], target="1.24", **more)["failing_probes"]
    assert (probe["impact"], probe["sidecar_helps"]) == ("breaks_on_upgrade", False)
    assert probe["reason"].endswith(f"It is so on the way to the target version, {when}.")


def test_a_probe_that_goes_through_the_proxy_fails_with_its_port():
    (probe,) = report([pod(probes={"readinessProbe": HTTP})], istiods=[OLD], target="1.24")["failing_probes"]
    assert (probe["impact"], probe["sidecar_helps"]) == ("breaks_on_upgrade", True)


def test_of_two_meshes_that_nobody_sees_each_is_on_the_way_with_sidecars_of_its_own():
    def asks(mesh):
        return {CONFIG_ENV: json.dumps({"discoveryAddress": f"istiod.{mesh}.svc:15012"})}

    seen = snapshot(
        pods=[pod("web", "bank", env=asks("mesh-a")), pod("web", "shop", env=asks("mesh-b"))],
        services=[service(namespace="bank"), service(namespace="shop")],
        sidecars=[sidecar("own", place, ingress={8080: "127.0.0.1:8080"}) for place in ("bank", "mesh-b")],
        tables=[table("web", namespace="bank"), table("web", namespace="shop")],
        istio={"istioNamespace": "mesh-0", "rootNamespace": "mesh-0", "controlPlanes": [], "variables": []},
    )
    found = evaluate(seen, Options(TODAY, current_version="1.9", target_version="1.24"))
    assert found["findings"] == []
    assert [each["namespace"] for each in found["remediated"]] == ["bank", "shop"]
