# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two listeners on one port, of which one answers today and the other after the upgrade: whose they are decides."""

from __future__ import annotations

import pytest

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.shapes import DUAL_STACK_ENV
from ansible_collections.meshops.istio_precheck.tests.helpers.cluster import (
    held_table,
    istiod,
    pod,
    report,
    service,
    sidecar,
    verdict,
)

ON_LO, ON_IP, ANYWHERE = "127.0.0.1:8080", "10.0.0.5:8080", "0.0.0.0:8080"
AGENT, SERVER = ("agent", "helper"), ("server", "app")
LOCALHOST = [istiod("1.22.0", localhost=True)]


def told(held, **spec):
    """The Report where these processes, each with its container, hold these sockets."""
    made = pod()
    made["status"]["containerStatuses"] = [
        {"name": name, "containerID": f"containerd://{name}-id", "ready": True} for name in ("app", "helper")
    ]
    return report(pods=[made], tables=[held_table(held)], **{"target": "1.24", **spec})


FINDING, FINE, NOTED = "breaks_on_upgrade", "ok", "noted"

CASES = {
    "two programs": ({ON_LO: [AGENT], ON_IP: [SERVER]}, {}, FINDING),
    "two programs, one on every address": ({ON_LO: [AGENT], ANYWHERE: [SERVER]}, {}, FINDING),
    "two processes of one container": ({ON_LO: [("agent", "app")], ON_IP: [SERVER]}, {}, FINDING),
    "two containers of one program": ({ON_LO: [("server", "helper")], ON_IP: [SERVER]}, {}, FINDING),
    "the other way round": ({ON_LO: [AGENT], ON_IP: [SERVER]}, {"istiods": [istiod("1.21.6", localhost=True)]}, FINDING),
    "one program": ({ON_LO: [SERVER], ON_IP: [SERVER]}, {}, NOTED),
    "one that both have, among others": ({ON_LO: [AGENT, SERVER], ON_IP: [SERVER]}, {}, NOTED),
    "nobody knows whose one is": ({ON_LO: [], ON_IP: [SERVER]}, {}, NOTED),
    "nobody knows whose they are": ({ON_LO: [], ON_IP: []}, {}, NOTED),
    "nobody knows of which container one is": ({ON_LO: [("server", "")], ON_IP: [SERVER]}, {}, NOTED),
    "the program of localhost answers both times": ({ON_LO: [AGENT], ON_IP: [SERVER]}, {"istiods": LOCALHOST}, FINE),
    "that of the pod IP does": ({ON_LO: [AGENT], ON_IP: [SERVER]}, {"istiods": [istiod("1.22.0")]}, FINE),
    "a Sidecar keeps the one": (
        {ON_LO: [AGENT], ON_IP: [SERVER]},
        {"sidecars": [sidecar(selector={"app": "web"}, ingress={8080: ON_LO})]},
        FINE,
    ),
    "one socket alone": ({ANYWHERE: [SERVER]}, {}, FINE),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_another_program_that_answers_after_the_upgrade_is_a_finding(case):
    held, spec, wanted = CASES[case]
    found = told(held, **spec)
    assert verdict(found) == (FINE if wanted == NOTED else wanted)
    assert [hint for hint in found["hints"] if "One listener accepts today" in hint] == found["hints"]
    assert len(found["hints"]) == (wanted == NOTED)


def test_the_finding_says_who_answers_when_and_whose_that_is():
    (found,) = told({ON_LO: [AGENT], ON_IP: [SERVER]})["findings"]
    assert found["answered_by"] == {"today": [ON_LO], "later": [ON_IP]}
    assert found["listeners"] == [ON_IP, ON_LO]
    assert found["processes"] == [
        {"listener": ON_IP, "container": "app", "process": "server"},
        {"listener": ON_LO, "container": "helper", "process": "agent"},
    ]
    assert found["reason"] == (
        "Today istiod 1.9 delivers to 127.0.0.1, where 127.0.0.1:8080 accepts, but after the upgrade istiod 1.24 delivers to the pod IP, "
        "where 10.0.0.5:8080 accepts, which is another program's."
    )
    assert found["notes"] == [
        "Give one of the two programs another port, and the Service the port of the one that its clients are to reach."
    ]


def test_no_other_finding_says_who_answers():
    (found,) = report()["findings"]
    assert "answered_by" not in found


def test_it_is_said_that_one_program_has_both_where_that_is_known():
    same, unknown = (told({ON_LO: held, ON_IP: [SERVER]})["hints"][0] for held in ([SERVER], []))
    assert same.endswith("shop/Deployment/web, which one program has: see whether it serves the same on both.")
    assert unknown.endswith("shop/Deployment/web: see whether both are of one program.")


@pytest.mark.parametrize(
    "spec, endpoint",
    [
        ({}, {"defaultEndpoint": ON_LO}),
        ({"istiods": [istiod("1.21.6", localhost=True)]}, {}),
    ],
)
def test_the_remedy_keeps_the_program_that_answers_today(spec, endpoint):
    found = told({ON_LO: [AGENT], ON_IP: [SERVER]}, **spec)
    (remediation,) = found["remediations"]
    (entry,) = remediation["manifest"]["spec"]["ingress"]
    assert {name: value for name, value in entry.items() if name != "port"} == endpoint
    assert [each["remedy"] for each in found["findings"]] == ["create_sidecar"]
    again = told({ON_LO: [AGENT], ON_IP: [SERVER]}, sidecars=[remediation["manifest"]], **spec)
    assert (verdict(again), again["hints"]) == ("ok", [])


def test_another_program_that_answers_on_the_way_is_a_finding_too():
    found = told({ON_LO: [AGENT], ON_IP: [SERVER]}, istiods=[istiod("1.9.9", localhost=True)])
    (finding,) = found["findings"]
    assert finding["impact"] == "breaks_on_upgrade"
    assert finding["answered_by"] == {"today": [ON_LO], "later": [ON_IP]}
    assert [(way["from_version"], way["to_version"]) for way in finding["delivery"]["between"]] == [("1.10", "1.21")]
    assert "where 10.0.0.5:8080 accepts, which is another program's" in finding["reason"]


def test_a_probe_of_the_port_is_said_to_fail_only_where_nothing_answers_it():
    made = {"httpGet": {"path": "/", "port": 8080}}
    spec = pod(probes={"readinessProbe": made})
    found = report(pods=[spec], tables=[held_table({ON_LO: [AGENT], ON_IP: [SERVER]})], target="1.24")
    assert verdict(found) == "breaks_on_upgrade"
    assert not found["failing_probes"]


@pytest.mark.parametrize(("ips", "failing"), [(("10.0.0.5", "fd00::5"), 1), (("fd00::5", "10.0.0.5"), 0)])
def test_another_program_over_one_family_helps_no_probe_over_the_other(ips, failing):
    """The kubelet asks the pod's first address. A waiver of the port would have waived the probe with it."""
    made = pod(
        ips=ips,
        probes={"readinessProbe": {"httpGet": {"path": "/", "port": 8080}}},
        annotations={"sidecar.istio.io/rewriteAppHTTPProbers": "false"},
        env={DUAL_STACK_ENV: "true"},
    )
    web = service()
    web["spec"]["ipFamilies"] = ["IPv4", "IPv6"]
    found = report(
        pods=[made],
        services=[web],
        tables=[held_table({ON_LO: [AGENT], "[fd00::5]:8080": [SERVER]})],
        istiods=[istiod("1.22.6", localhost=True, dual=True), istiod("1.24.0", revision="canary", dual=True)],
        target="1.24",
    )
    (finding,) = found["findings"]
    assert finding["answered_by"] == {"today": [ON_LO], "later": ["[fd00::5]:8080"]}
    assert [probe["impact"] for probe in found["failing_probes"]] == ["breaks_on_upgrade"] * failing
