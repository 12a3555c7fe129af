# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The verdict on a screen."""

from __future__ import annotations

import pytest
import yaml

from ansible_collections.meshops.istio_precheck.plugins.module_utils import _ladder
from ansible_collections.meshops.istio_precheck.plugins.module_utils._verdict import ADVICE, Screen, clusters, verdict
from ansible_collections.meshops.istio_precheck.plugins.module_utils._waivers import compile_waivers
from ansible_collections.meshops.istio_precheck.tests.unit.plugins.module_utils import cluster

ALL = ["breaks_on_upgrade", "unreachable", "unknown", "unchecked"]
WIDE = Screen(1000, 1000)


def many(workloads, ports=1, unread=0):
    """A report on `workloads` Deployments with `ports` findings each, and `unread` pods that were not read."""
    apps = [f"app-{number:03}" for number in range(workloads)]
    pods = [cluster.pod(f"{app}-1", app=app, owner=("StatefulSet", app)) for app in apps]
    numbers = range(8080, 8080 + ports)
    services = [cluster.service(app, selector={"app": app}, ports=[cluster.port(n, n, f"p{n}") for n in numbers]) for app in apps]
    lost = [cluster.pod(f"lost-{number}", app=apps[0]) for number in range(unread)]
    return cluster.report(
        pods + lost,
        services,
        tables=[cluster.table(f"{app}-1", [f"127.0.0.1:{n}" for n in numbers]) for app in apps],
        unread=[{"namespace": "shop", "pod": p["metadata"]["name"], "reason": "timeout", "detail": "No answer in time."} for p in lost],
    )


def test_a_finding_is_said_with_everything_that_is_needed_to_deal_with_it():
    report = cluster.report(target="1.24")
    (finding,) = report["findings"]
    assert verdict(report, ALL, screen=WIDE) == [
        "shop: Deployment web",
        "  port 8080: breaks_on_upgrade; Service web:80; pods web-7d4b9-a",
        "    listens  127.0.0.1:8080",
        f"    why      {finding['reason']}",
        "    cure     create Sidecar shop/precheck-deployment-web, or bind to 0.0.0.0 or ::",
        "    accept   check_listeners_waivers: [{match: id == 'IST0143/shop/Deployment/web/8080', reason: ...}]",
        "Do not upgrade yet: 1 breaks_on_upgrade (1 exposed ports of 1 workloads, 1 of 1 pods read).",
    ]


@pytest.mark.parametrize("columns", [69, 100, 1000])
def test_the_line_that_accepts_a_finding_does_so_however_wide_the_screen_is(columns):
    lines = verdict(cluster.report(), ALL, screen=Screen(columns, 40))
    start = next(n for n, line in enumerate(lines) if line.lstrip().startswith("accept"))
    waivers = yaml.safe_load("\n".join([lines[start].replace("accept  ", "        "), *lines[start + 1 : -1]]))["check_listeners_waivers"]
    assert len(compile_waivers(waivers)) == 1
    assert cluster.report(waivers=waivers)["findings"] == []


def test_findings_stand_with_their_workload_and_the_most_urgent_come_first():
    report = many(2, ports=2)
    first, second, third, fourth = report["findings"]
    report["findings"] = [first, fourth, {**second, "impact": "unknown"}, {**third, "impact": "unreachable"}]
    heads = [line.strip().partition(";")[0] for line in verdict(report, ALL, screen=WIDE) if not line.startswith("    ")]
    assert heads[:-1] == [
        "shop: StatefulSet app-000", "port 8080: breaks_on_upgrade", "port 8081: unknown",
        "shop: StatefulSet app-001", "port 8081: breaks_on_upgrade", "port 8080: unreachable",
    ]  # fmt: skip


@pytest.mark.parametrize("workloads", [1, 3, 8, 60])
@pytest.mark.parametrize("unread", [0, 1, 40])
@pytest.mark.parametrize("screen", [Screen(69, 24), Screen(100, 40), Screen(180, 70)])
def test_the_verdict_fits_the_screen_and_what_is_left_out_is_counted(workloads, unread, screen):
    report = many(workloads, unread=unread)
    lines = verdict(report, ALL, screen=screen)
    assert sum(-(-len(line) // screen.columns) for line in lines) <= screen.lines
    shown = sum(line.lstrip().startswith("accept") for line in lines)
    left_out = [line for line in lines if line.startswith("And ") and " more findings of " in line]
    assert shown + sum(int(line.split()[1]) for line in left_out) == len(report["findings"])
    assert any(line.startswith("Not checked, timeout: ") for line in lines) == bool(unread)
    assert lines[-1].startswith("Do not upgrade yet: ")


def test_what_is_left_out_is_said_to_be_in_the_report_and_where_that_is():
    lines = verdict(many(60), ALL, screen=Screen(100, 20), reports=["/tmp/east.html", "/tmp/east.json"])
    assert any(line.startswith("And 58 more findings of 58 workloads (58 breaks_on_upgrade): the report holds them.") for line in lines)
    assert lines[-2] == "Reports: /tmp/east.html, /tmp/east.json"


def test_verbose_leaves_nothing_out_and_speaks_like_istioctl():
    lines = verdict(many(60), ALL, screen=Screen(100, 20), verbose=True)
    assert not any(line.startswith("And ") for line in lines)
    said = "Error [IST0143] (Pod shop/app-007-1) Port 8080 is exposed in a Service but listens on localhost. It will not be exposed to other pods."
    assert [line.strip() for line in lines].count(said) == 1
    assert sum("[IST0143]" in line for line in lines) == 60


def test_pods_that_were_not_read_are_grouped_by_the_reason_with_what_to_do():
    unread = [("a", "no_tool", "Nothing."), ("b", "forbidden", "no right"), ("c", "forbidden", "no right"), ("d", "forbidden", "another")]
    report = cluster.report(
        [cluster.pod(name) for name, _reason, _detail in unread],
        tables=[],
        unread=[{"namespace": "shop", "pod": name, "reason": reason, "detail": detail} for name, reason, detail in unread],
    )
    assert verdict(report, ["unknown", "unchecked"], screen=WIDE)[:-1] == [
        "Not checked, forbidden: shop/b, shop/c, shop/d",
        "    why      no right (and 1 other answers)",
        f"    do       {ADVICE['forbidden']}",
        "Not checked, no_tool: shop/a",
        "    why      Nothing.",
        f"    do       {ADVICE['no_tool']}",
        "To go on without the pods that were not checked: check_listeners_fail_on: [unknown]",
    ]


def test_the_rule_for_a_forbidden_pod_is_one_that_kubernetes_takes():
    rule = yaml.safe_load(ADVICE["forbidden"][ADVICE["forbidden"].index("{") : ADVICE["forbidden"].index("}") + 1])
    assert rule == {"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["get", "create"]}


def test_there_is_advice_for_each_way_in_which_an_exec_fails():
    answers = [(403, ""), (404, ""), (500, "dialing backend"), (500, ""), (400, "")]
    assert {_ladder.refused(*answer)[0] for answer in answers} | {"timeout", "connection", "no_tool", "too_much_output"} <= set(ADVICE)


def test_what_nothing_listens_on_is_named_where_it_stops_the_play():
    report = cluster.report(binds=[])
    assert len(verdict(report, ALL, screen=WIDE)) == 1
    assert verdict(report, ["not_listening"], screen=WIDE)[0].startswith("Nothing listens: shop: Deployment web port 8080: ")


def test_no_part_of_a_report_reaches_the_terminal_as_it_is():
    evil = "\x1b[2J\x9b2J\r\n\u202eevil"
    report = many(1, unread=1)
    for record in (*report["findings"], *report["unchecked"]):
        record.update({name: evil for name, value in record.items() if isinstance(value, str) and name != "impact"})
    report["findings"][0].update(notes=[evil], listeners=[evil], pods=[evil], workload={"kind": evil, "name": evil})
    report["hints"] = [evil]
    lines = verdict(report, ALL, failure=evil, screen=WIDE, reports=[evil], verbose=True)
    assert "evil" in lines[-1]
    assert all(line.isprintable() for line in lines)
    outcome = {"passed": False, "verdict": evil}
    assert all(line.isprintable() for line in clusters([evil], [outcome]))


def test_many_clusters_are_summed_up_host_by_host():
    outcomes = [{"passed": True, "verdict": "Nothing stands in the way."}, {}, {"passed": False, "verdict": "Do not upgrade yet: 1 unknown."}]
    assert clusters(["east", "lost", "northwest"], outcomes) == [
        "east       Nothing stands in the way.",
        "lost       Not checked, or not yet.",
        "northwest  Do not upgrade yet: 1 unknown.",
        "1 of 3 clusters may be upgraded.",
    ]
