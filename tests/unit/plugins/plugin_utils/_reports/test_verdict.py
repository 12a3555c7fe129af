# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The verdict on a screen."""

from __future__ import annotations

import json
import re
import sys

import pytest
import yaml

from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather import attempts as _attempts
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.report import (
    BEYOND,
    DEFAULT_FAIL_ON,
    REASONS,
    WORD,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.shapes import PROBERS_ENV
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.waivers import (
    WaiverError,
    compile_waivers,
    waiver_line,
)
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._reports.verdict import (
    Screen,
    clusters,
    details,
    outcome,
    verdict,
)
from ansible_collections.meshops.istio_precheck.tests.helpers import cluster

ALL = ["breaks_on_upgrade", "unreachable", "unknown", "unchecked"]
WIDE = Screen(1000, 1000)
PROBED = cluster.pod(
    probes={"readinessProbe": {"httpGet": {"path": "/app-health/app/readyz", "port": 15020}}},
    env={PROBERS_ENV: '{"/app-health/app/readyz": {"httpGet": {"path": "/", "port": 8080}}}'},
)


def many(workloads, ports=1, unread=0):
    """A report on `workloads` Deployments with `ports` findings each, and `unread` pods that were not read."""
    apps = [f"app-{number:03}" for number in range(workloads)]
    pods = [cluster.pod(f"{app}-1", app=app, owner=("StatefulSet", app)) for app in apps]
    numbers = range(8080, 8080 + ports)
    services = [
        cluster.service(app, selector={"app": app}, ports=[cluster.port(n, n, f"p{n}") for n in numbers])
        for app in apps
    ]
    lost = [cluster.pod(f"lost-{number}", app=apps[0]) for number in range(unread)]
    return cluster.report(
        pods + lost,
        services,
        tables=[cluster.table(f"{app}-1", [f"127.0.0.1:{n}" for n in numbers]) for app in apps],
        unread=[
            {"namespace": "shop", "pod": p["metadata"]["name"], "reason": "timeout", "detail": "No answer in time."}
            for p in lost
        ],
    )


def ending(lines):
    """What the lines come to: the last that is not indented, and what it goes on with."""
    start = max(number for number, line in enumerate(lines) if not line.startswith(" "))
    return " ".join(line.strip() for line in lines[start:])


def test_a_finding_is_said_with_everything_that_is_needed_to_deal_with_it():
    report = cluster.report(target="1.24")
    (finding,) = report["findings"]
    assert verdict(report, ALL, screen=WIDE) == [
        "shop: Deployment web",
        "  port 8080: breaks on upgrade; Service web:80; pods web-7d4b9-a",
        "    listens  127.0.0.1:8080",
        f"    why      {finding['reason']}",
        "    fix      apply Sidecar shop/precheck-deployment-web, or make the program listen on 0.0.0.0 or ::",
        "    waive    check_listeners_waivers: [{match: id == 'IST0143/shop/Deployment/web/8080', reason: ...}]",
        "Do not upgrade yet: 1 port breaks on upgrade. Checked 1 port of 1 workload; read 1 of 1 pod.",
    ]


@pytest.mark.parametrize("screen", [Screen(68, 12), Screen(69, 40), Screen(100, 40), Screen(1000, 40)])
def test_the_line_that_accepts_a_finding_does_so_however_wide_the_screen_is(screen):
    text = "\n".join(verdict(cluster.report(), ALL, screen=screen)).partition("Do not upgrade yet")[0]
    waivers = yaml.safe_load(text[text.index("check_listeners_waivers") :])["check_listeners_waivers"]
    with pytest.raises(
        WaiverError, match=r"waivers\[0\].reason: a waiver says why; write it in words in place of \.\.\."
    ):
        compile_waivers(waivers)
    waivers[0]["reason"] = "known"
    assert cluster.report(waivers=waivers)["findings"] == []


HOSTILE = [
    "x' || 'a' == 'a",
    "x'||`true`||'",
    "x`, reason: y}, {match: '`true`'",
    "x\\",
    "x\\'",
    'x" || "a',
    "x: y",
    "x #",
    "x, y",
    "x}]",
    "x{{ lookup('pipe', 'id') }}",
    "x  y",
    "\u2028x",
    "x?",
    "&x",
    "*",
    "!!x",
    "%",
    "x\n- {match: '`true`'}",
]


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("screen", [Screen(60, 12), Screen(100, 400), WIDE])
def test_no_line_is_suggested_that_says_more_than_its_finding(name, screen):
    """Whatever the author of a pod called its controller: a line of the verdict that looks like a waiver waives one finding, or nothing."""
    pods = [
        cluster.pod("evil", app="evil", owner=("ReplicaSet", name)),
        cluster.pod("kind", app="evil", owner=(name, "db")),
        cluster.pod("web", app="web", owner=("StatefulSet", "web")),
    ]
    services = [cluster.service(), cluster.service("evil", selector={"app": "evil"})]
    report = cluster.report(pods, services)
    assert len(report["findings"]) == 3
    text = "\n".join(verdict(report, ALL, screen=screen, verbose=screen.lines > 12))
    suggested = [
        yaml.safe_load(f"check_listeners_waivers:{part.partition('}]')[0]}}}]")["check_listeners_waivers"]
        for part in text.split("check_listeners_waivers:")[1:]
    ]
    for waivers in suggested:
        waived = cluster.report(pods, services, waivers=[{**waiver, "reason": "known"} for waiver in waivers])["waived"]
        assert [record["workload"]["name"] for record in waived] == ["web"]
    if screen.lines > 12:
        assert len(suggested) == 1 and text.count("by hand: the name of its workload holds") == 2


def test_an_ordinary_name_is_suggested_without_jmespath_too(monkeypatch):
    which = "IST0143/shop/StatefulSet/web-1.x/8080"
    monkeypatch.setitem(sys.modules, "jmespath", None)
    assert waiver_line(which, {which: 1}).startswith(f"check_listeners_waivers: [{{match: id == '{which}'")
    assert waiver_line("IST0143/shop/StatefulSet/x'||'a/8080", {"IST0143/shop/StatefulSet/x'||'a/8080": 1}).startswith(
        "by hand"
    )


def test_an_id_that_two_findings_have_is_no_line_to_copy():
    report = many(1)
    report["findings"] = [report["findings"][0], report["findings"][0]]
    assert "check_listeners_waivers" not in "".join(verdict(report, ALL, screen=WIDE))


def test_findings_stand_with_their_workload_and_the_most_urgent_come_first():
    report = many(2, ports=2)
    first, second, third, fourth = report["findings"]
    report["findings"] = [first, fourth, {**second, "impact": "unknown"}, {**third, "impact": "unreachable"}]
    heads = [
        line.strip().partition(";")[0] for line in verdict(report, ALL, screen=WIDE) if not line.startswith("    ")
    ]
    assert heads[:-1] == [
        "shop: StatefulSet app-000", "port 8080: breaks on upgrade", "port 8081: impact unknown",
        "shop: StatefulSet app-001", "port 8081: breaks on upgrade", "port 8080: unreachable already",
    ]  # fmt: skip


@pytest.mark.parametrize("workloads", [1, 3, 8, 60])
@pytest.mark.parametrize("unread", [0, 1, 40])
@pytest.mark.parametrize("screen", [Screen(69, 24), Screen(100, 40), Screen(180, 70)])
def test_the_verdict_fits_the_screen_and_what_is_left_out_is_counted(workloads, unread, screen):
    report = many(workloads, unread=unread)
    lines = verdict(report, ALL, screen=screen)
    assert sum(-(-len(line) // screen.columns) for line in lines) <= screen.lines
    text = " ".join(lines)
    shown = sum(line.lstrip().startswith("waive") or line.startswith("shop  StatefulSet/app-") for line in lines)
    left_out = re.findall(r"(\d+) (?:more )?findings? not shown", text)
    assert shown + sum(map(int, left_out)) == len(report["findings"])
    counted = re.findall(r"(\d+) pods? not checked(?:, timeout: | \(timeout)", text)
    assert sum(map(int, counted)) == unread
    assert ending(lines) == outcome(report, ALL)


@pytest.mark.parametrize("screen", [Screen(0, 0), Screen(-4, 24), Screen(-11, -9), Screen(1, 1)])
def test_a_screen_too_small_for_anything_shows_the_first_finding_in_brief(screen):
    lines = verdict(many(5, unread=1), ALL, screen=screen)
    assert lines == verdict(many(5, unread=1), ALL, screen=Screen(60, max(1, screen.lines)))
    assert len(lines) <= max(15, screen.lines)


def test_on_a_small_screen_reasons_fall_before_findings_and_lines_to_copy_stay():
    lines = verdict(many(4, unread=1), ALL, screen=Screen(68, 12), reports=["/tmp/reports/localhost.html"])
    assert lines == [
        "shop: StatefulSet app-000",
        "  port 8080: breaks on upgrade; Service app-000:8080; 1 pod",
        "    listens: 127.0.0.1:8080",
        "    fix: make the program listen on 0.0.0.0 or ::, or take the port",
        "      out of the Service",
        "    waive: check_listeners_waivers: [{match: id ==",
        "      'IST0143/shop/StatefulSet/app-000/8080', reason: ...}]",
        "3 more findings not shown (breaks on upgrade). 1 pod not checked",
        "  (timeout). The report holds them.",
        "Reports: /tmp/reports/localhost.html",
        "Do not upgrade yet: 4 ports break on upgrade, 1 pod not checked.",
        "  Checked 5 ports of 5 workloads; read 4 of 5 pods.",
    ]


def test_no_line_is_wider_than_the_screen_but_for_a_name_that_is_to_be_copied():
    report = many(4, unread=1)
    for columns in (60, 68, 100):
        lines = verdict(
            report,
            ALL,
            screen=Screen(columns, 40),
            reports=["/tmp/reports/localhost.html"],
            server="https://api.production.example:6443",
        )
        assert max(map(len, lines)) <= columns


def test_what_is_left_out_is_said_to_be_in_the_report_and_where_that_is():
    lines = verdict(many(60), ALL, screen=Screen(100, 20), reports=["/tmp/east.html", "/tmp/east.json"])
    assert "44 more findings not shown (breaks on upgrade). The report holds them." in lines
    assert lines[-2] == "Reports in /tmp: east.html, east.json"
    assert "Reports: /tmp/east.html" in verdict(many(60), ALL, reports=["/tmp/east.html"])
    assert "Reports: /a/east.html, /b/east.json" in verdict(many(60), ALL, reports=["/a/east.html", "/b/east.json"])


def test_verbose_leaves_nothing_out_and_speaks_like_istioctl():
    lines = verdict(many(60), ALL, screen=Screen(100, 20), verbose=True)
    assert not any("not shown" in line for line in lines)
    said = "Error [IST0143] (Pod shop/app-007-1) Port 8080 is exposed in a Service but listens on localhost. It will not be exposed to other pods."
    assert [line.strip() for line in lines].count(said) == 1
    assert sum("[IST0143]" in line for line in lines) == 60


def test_pods_that_were_not_read_are_grouped_by_the_reason_with_what_to_do():
    unread = [
        ("a", "no_tool", "Nothing."),
        ("b", "forbidden", "no right"),
        ("c", "forbidden", "no right"),
        ("d", "forbidden", "another"),
    ]
    report = cluster.report(
        [cluster.pod(name) for name, _reason, _detail in unread],
        tables=[],
        unread=[
            {"namespace": "shop", "pod": name, "reason": reason, "detail": detail} for name, reason, detail in unread
        ],
    )
    assert verdict(report, ["unknown", "unchecked"], screen=WIDE)[:-1] == [
        "3 pods not checked, forbidden: shop/b, shop/c, shop/d",
        "    why      no right (and 1 other answer)",
        f"    fix      {REASONS['forbidden']}",
        "1 pod not checked, no_tool: shop/a",
        "    why      Nothing.",
        f"    fix      {REASONS['no_tool']}",
        "To go on without the unread pods: check_listeners_fail_on: [unknown]",
    ]


@pytest.mark.parametrize("reason", ["no_tool", "forbidden"])
def test_advice_to_read_from_the_node_names_all_that_it_takes(reason):
    assert (
        "check_listeners_socket_source: " in REASONS[reason] and "check_listeners_node_probe_image" in REASONS[reason]
    )


def test_over_a_record_the_advice_is_said_to_count_where_it_was_recorded():
    said = "This is a recorded cluster. "
    assert [line.startswith(said) for line in verdict(many(1, unread=1), ALL, screen=WIDE, recorded=True)].count(
        True
    ) == 1
    assert not any(line.startswith(said) for line in verdict(many(1, unread=1), ALL, screen=WIDE))
    assert not any(line.startswith(said) for line in verdict(many(1), ALL, screen=WIDE, recorded=True))


def test_the_rule_for_a_forbidden_pod_is_one_that_kubernetes_takes():
    rule = yaml.safe_load(REASONS["forbidden"][REASONS["forbidden"].index("{") : REASONS["forbidden"].index("}") + 1])
    assert rule == {"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["get", "create"]}


def test_there_is_advice_for_each_way_in_which_an_exec_fails():
    answers = [(403, ""), (404, ""), (500, "dialing backend"), (500, ""), (400, "")]
    assert {_attempts.refused(*answer)[0] for answer in answers} | {
        "timeout",
        "connection",
        "no_tool",
        "too_much_output",
    } <= set(REASONS)


def test_what_nothing_listens_on_is_named_where_it_stops_the_play():
    report = cluster.report(binds=["0.0.0.0:15090"])
    assert len(verdict(report, ALL, screen=WIDE)) == 1
    assert verdict(report, ["not_listening"], screen=WIDE)[0].startswith(
        "Nothing listens: shop: Deployment web port 8080: "
    )


OPENING = {"binds": ["10.0.0.5:8080"], "workloadEntries": [{"metadata": cluster.meta("vm"), "spec": {}}]}


def test_what_opens_and_what_is_beyond_the_check_is_counted_whatever_the_gate_fails_on():
    report = cluster.report(**OPENING)
    both = "1 port opens on upgrade, 1 object beyond the check"
    fine = f"Nothing stands in the way of the upgrade ({both}). {CHECKED}."
    assert outcome(report, []) == outcome(report, list(DEFAULT_FAIL_ON)) == fine
    assert outcome(report, ["opens_on_upgrade", "not_checked"]) == f"Do not upgrade yet: {both}. {CHECKED}."
    found = {**cluster.report(), "opens_on_upgrade": report["opens_on_upgrade"], "not_checked": report["not_checked"]}
    beside = f"; not failed on: {both}. {CHECKED}."
    assert outcome(found, ["breaks_on_upgrade"]) == f"Do not upgrade yet: 1 port breaks on upgrade{beside}"
    assert outcome(found, []).endswith(f"the gate is open{beside}")
    assert outcome(found, ["breaks_on_upgrade", "not_checked"]).endswith(
        f"1 object beyond the check; not failed on: 1 port opens on upgrade. {CHECKED}."
    )


def test_what_opens_and_what_is_beyond_the_check_is_named_with_what_to_do():
    report = cluster.report(**OPENING)
    (opens,), (machine,) = report["opens_on_upgrade"], report["not_checked"]
    brief = [
        "1 port opens on upgrade: shop: Deployment web port 8080",
        "1 object beyond the check, vm: shop: WorkloadEntry vm",
    ]
    fix = f"    fix      {WORD['opens_on_upgrade'].advice}"
    whole = [f"    why      {machine['detail']}", f"    fix      {BEYOND['vm']}"]
    assert verdict(report, list(DEFAULT_FAIL_ON), screen=WIDE)[:-1] == brief
    assert verdict(report, [], screen=WIDE, verbose=True)[:-1] == [brief[0], fix, brief[1], *whole]
    assert verdict(report, ["opens_on_upgrade", "not_checked"], screen=WIDE)[:-1] == [
        f"Opens on upgrade: shop: Deployment web port 8080: {opens['reason']}",
        fix,
        brief[1],
        *whole,
    ]


def test_a_probe_that_fails_in_spite_of_the_sidecar_is_named_with_what_to_do():
    report = cluster.report(
        [PROBED], sidecars=[cluster.sidecar(selector={"app": "web"}, ingress={8080: "127.0.0.1:8080"})], target="1.24"
    )
    (probe,) = report["failing_probes"]
    assert verdict(report, list(DEFAULT_FAIL_ON), screen=WIDE) == [
        f"Probe fails: shop: Deployment web: {probe['reason']}",
        f"    fix      {WORD['failing_probes'].advice}",
        f"Do not upgrade yet: 1 probe fails. {CHECKED}.",
    ]
    said = f"1 probe fails, but check_listeners_fail_on ignores it: the gate is open. {CHECKED}."
    assert outcome(report, ["breaks_on_upgrade"]) == said


def test_a_probe_that_is_settled_with_its_port_is_not_counted_beside_it():
    a_pod = cluster.pod(probes={"readinessProbe": {"httpGet": {"port": 8080}}})
    report = cluster.report([a_pod], istiods=[cluster.istiod(rewrites=False)], target="1.24")
    lines = verdict(report, list(DEFAULT_FAIL_ON), screen=WIDE)
    assert not any(line.startswith("Probe fails") for line in lines)
    assert lines[-1] == f"Do not upgrade yet: 1 port breaks on upgrade. {CHECKED}."
    waived = {**report, "findings": [], "waived": report["findings"]}
    assert verdict(waived, list(DEFAULT_FAIL_ON), screen=WIDE)[-1] == f"Do not upgrade yet: 1 probe fails. {CHECKED}."


def test_other_notes_on_what_is_remediated_are_for_the_reports():
    report = cluster.report(
        [cluster.pod()],
        sidecars=[cluster.sidecar(selector={"app": "web"}, ingress={8080: "127.0.0.1:8080"})],
        target="1.24",
    )
    report["remediated"][0]["notes"] = ["1 of its pods was not read but judged by the sockets of pod web-7d4b9-b."]
    assert verdict(report, ALL, screen=WIDE) == [
        f"Nothing stands in the way of the upgrade (1 port remediated). {CHECKED}."
    ]


# ---------------------------------------------------------------------------------------------------------------------
# The last line

UNWRITTEN = "snapshot_dest: /no/such/record.json cannot be written: No such file or directory"
CHECKED = "Checked 1 port of 1 workload; read 1 of 1 pod"


@pytest.mark.parametrize(
    ("report", "failure", "said"),
    [
        (cluster.report(), None, f"Do not upgrade yet: 1 port breaks on upgrade. {CHECKED}."),
        (cluster.report(), UNWRITTEN, f"Do not upgrade yet: 1 port breaks on upgrade; {UNWRITTEN}. {CHECKED}."),
        (cluster.report(binds=("0.0.0.0:8080",)), UNWRITTEN, f"Do not upgrade yet: {UNWRITTEN}. {CHECKED}."),
        (cluster.report([], []), "no Service exposes a pod", "Could not check the cluster: no Service exposes a pod"),
        (
            cluster.report(tables=[], unread=[]),
            "no pod may be read: why",
            "Could not check the cluster: no pod may be read: why",
        ),
        ({"findings": [], "summary": {}}, "no cluster", "Could not check the cluster: no cluster"),
        ({}, "no cluster", "Could not check the cluster: no cluster"),
    ],
)
def test_a_failure_denies_no_check_that_was_made(report, failure, said):
    assert outcome(report, ALL, failure) == said
    assert verdict(report, ALL, failure, screen=WIDE)[-1] == said


def test_a_file_that_could_not_be_written_is_in_the_sentence_and_nothing_is_said_to_be_fine():
    problem = "The reports could not be written to /no: Permission denied"
    fine = cluster.report(binds=("0.0.0.0:8080",))
    assert outcome(fine, ALL, problems=[problem]) == f"Do not upgrade yet: {problem}. {CHECKED}."
    said = f"Do not upgrade yet: 1 port breaks on upgrade; {problem}. {CHECKED}."
    assert outcome(cluster.report(), ALL, problems=[problem]) == said
    assert outcome({}, ALL, "no cluster", problems=[problem]) == f"Could not check the cluster: no cluster; {problem}"


def test_the_last_line_says_of_which_cluster_it_speaks():
    assert (
        outcome(cluster.report(), ALL, server="https://10.0.0.1:6443")
        == f"Do not upgrade yet: 1 port breaks on upgrade. {CHECKED} (https://10.0.0.1:6443)."
    )
    fine = cluster.report(binds=("0.0.0.0:8080",))
    assert verdict(fine, ALL, screen=WIDE, server="https://10.0.0.1:6443") == [
        f"Nothing stands in the way of the upgrade. {CHECKED} (https://10.0.0.1:6443)."
    ]


def test_a_bad_expression_keeps_its_caret_under_the_place_on_every_screen():
    failure = f"waivers[0].match: invalid JMESPath: x:\n{'a' * 90} {'b' * 90}\n{' ' * 91}^"
    first, *lines = failure.split("\n")
    assert details({}, ALL, failure, screen=Screen(68, 12)) == [first, *lines]
    assert outcome({}, ALL, failure) == f"Could not check the cluster: {first}"


@pytest.mark.parametrize("expression", ["a b", 'namespace == "a', '"a" == "b" c', r'"a\"b" c'])
def test_the_caret_points_at_the_place_in_what_the_callback_makes_of_the_expression(expression):
    with pytest.raises(WaiverError) as error:
        compile_waivers([{"match": expression, "reason": "known"}])
    (*_lines, raw, caret) = str(error.value).split("\n")
    *_lines, shown, under = [json.dumps(line)[1:-1] for line in details({}, ALL, str(error.value), screen=WIDE)]
    place = caret.index("^")
    assert shown == json.dumps(raw)[1:-1] and under.index("^") == len(json.dumps(raw[:place])[1:-1])


@pytest.mark.parametrize(
    ("report", "fail_on", "said"),
    [
        (many(4), [], "4 ports break on upgrade, but check_listeners_fail_on ignores them: the gate is open"),
        (many(1), ["unchecked"], "1 port breaks on upgrade, but check_listeners_fail_on ignores it: the gate is open"),
        (
            many(1, unread=2),
            ["unreachable"],
            "1 port breaks on upgrade, 2 pods not checked, but check_listeners_fail_on ignores them: the gate is open",
        ),
        (
            cluster.report(binds=["0.0.0.0:15090"]),
            [],
            "Nothing stands in the way of the upgrade (1 port without a listener)",
        ),
        (
            cluster.report(services=[]),
            [],
            "No pod with an exposed port was there to check, so nothing stands in the way of the upgrade",
        ),
    ],
)
def test_what_was_found_and_is_not_failed_on_is_said_in_the_last_line(report, fail_on, said):
    assert outcome(report, fail_on).startswith(f"{said}. Checked ")
    assert outcome(report, fail_on) == ending(verdict(report, fail_on, screen=WIDE))


def test_what_the_tables_do_not_know_is_named_where_it_stops_the_play():
    report = many(1)
    report["findings"][0]["impact"] = "********_on_upgrade"
    said = "Do not upgrade yet: 1 ********_on_upgrade, which nothing is known of. Checked "
    assert outcome(report, []).startswith(said)
    assert ending(verdict(report, [], screen=WIDE)).startswith(said)


# ---------------------------------------------------------------------------------------------------------------------
# Any text


def test_no_part_of_a_report_reaches_the_terminal_as_it_is():
    evil = "\x1b[2J\x9b2J\r\n\u202eevil"
    report = many(1, unread=1)
    for record in (*report["findings"], *report["unchecked"]):
        record.update({name: evil for name, value in record.items() if isinstance(value, str) and name != "impact"})
    report["findings"][0].update(notes=[evil], listeners=[evil], pods=[evil], workload={"kind": evil, "name": evil})
    report["hints"] = [evil]
    lines = verdict(report, ALL, failure=evil, screen=WIDE, reports=[evil], verbose=True, server=evil)
    assert "evil" in lines[-1]
    assert all(line.isprintable() for line in [*lines, *outcome(report, ALL, evil, evil).split("\n")])
    assert all(line.isprintable() for line in clusters([evil], [{"passed": False, "verdict": evil}]))


def test_many_clusters_are_summed_up_host_by_host():
    outcomes = [
        {"passed": True, "verdict": "Nothing stands in the way."},
        {},
        {"passed": False, "verdict": "Do not upgrade yet: 1 unknown."},
    ]
    assert clusters(["east", "lost", "northwest"], outcomes) == [
        "east       Nothing stands in the way.",
        "lost       Not checked, or not yet.",
        "northwest  Do not upgrade yet: 1 unknown.",
        "1 of 3 clusters may be upgraded.",
    ]
