# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime

import pytest

from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.misreadings import WORDS_OF
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.waivers import (
    WaiverError,
    apply,
    compile_waivers,
    suppresses,
)
from ansible_collections.meshops.istio_precheck.tests.helpers.cluster import (
    TODAY,
    pod,
    port,
    report,
    service,
)

FINDING = {
    "id": "IST0143/shop/Deployment/web/8080",
    "namespace": "shop",
    "workload": {"kind": "Deployment", "name": "web"},
    "pods": ["web-1"],
    "port": 8080,
    "listeners": ["127.0.0.1:8080"],
    "services": [{"name": "web", "port": 80, "port_name": "http"}],
    "impact": "breaks_on_upgrade",
    "notes": [],
}


def judged(*entries, findings=(FINDING,), suppressed=None, today=TODAY):
    return apply(
        findings, compile_waivers([{"reason": "accepted", **entry} for entry in entries]), suppressed or {}, today
    )


@pytest.mark.parametrize(
    "match, wanted",
    [
        ("namespace == 'shop'", True),
        ("namespace == 'other'", False),
        ("port == `8080` && workload.name == 'web'", True),
        ("starts_with(id, 'IST0143/shop/')", True),
        ("services[?name == 'web']", True),
        ("services[?name == 'other']", False),
        ("contains(listeners[0], '127.0.0.1')", True),
        ("notes", False),
        ("not_null(notes[0], id, port) == 'x'", False),
        ("length(notes) == `0`", True),
        ("services[?name == 'web'].port", True),
        ("services[?name == 'other'].port | [0]", False),
        ("notes[0] != `null` || namespace == 'other'", False),
        ("services[?port == `80`] | [0].name == 'web'", True),
        ("impact != 'breaks_on_upgrade'", False),
    ],
)
def test_a_waiver_waives_the_findings_for_which_its_expression_is_true(match, wanted):
    found = judged({"match": match})
    assert bool(found.waived) is wanted and bool(found.findings) is not wanted
    assert bool(found.warnings) is not wanted


def test_a_waived_finding_stays_visible_with_the_reason():
    found = judged({"match": "port == `8080`", "reason": "debug port", "until": "2026-12-31"})
    assert found.waived == [
        {**FINDING, "waived_by": {"match": "port == `8080`", "reason": "debug port", "until": "2026-12-31"}}
    ]


def test_the_first_waiver_that_matches_gives_its_reason():
    found = judged(
        {"match": "port == `1`", "reason": "no"},
        {"match": "port == `8080`", "reason": "yes"},
        {"match": "namespace == 'shop'", "reason": "late"},
    )
    assert found.waived[0]["waived_by"]["reason"] == "yes"


@pytest.mark.parametrize(
    "until, counts",
    [
        ("2026-11-22", False),
        ("2026-11-23", True),
        ("2026-11-24", True),
        (datetime.date(2026, 11, 23), True),
        (None, True),
    ],
)
def test_the_day_in_until_is_the_last_on_which_a_waiver_counts(until, counts):
    assert bool(judged({"match": "port == `8080`", "until": until}).waived) is counts


def test_an_expired_waiver_says_so_twice():
    found = judged({"match": "port == `8080`", "reason": "legacy", "until": "2026-01-31"})
    assert found.findings[0]["notes"] == ["waivers[0] (legacy) expired on 2026-01-31 and waives nothing."]
    assert found.warnings == ["waivers[0] expired on 2026-01-31: port == `8080`"]
    assert FINDING["notes"] == []


def test_an_expired_waiver_does_not_hide_a_valid_one():
    found = judged({"match": "port == `8080`", "until": "2026-01-31"}, {"match": "port == `8080`", "reason": "valid"})
    assert found.waived[0]["waived_by"]["reason"] == "valid"
    assert found.warnings == ["waivers[0] expired on 2026-01-31: port == `8080`"]


def test_a_waiver_that_matches_nothing_is_reported():
    assert judged({"match": "port == `1`"}).warnings == ["waivers[0] matches no finding: port == `1`"]
    assert judged({"match": "port == `1`", "until": "2026-01-31"}, findings=[]).warnings == [
        "waivers[0] matches no finding: port == `1`"
    ]


@pytest.mark.parametrize(
    "entry, wanted",
    [
        ({"match": "port == `8080"}, "waivers[0].match: invalid JMESPath: "),
        ({"match": "port = 8080"}, "waivers[0].match: invalid JMESPath: "),
        ({"match": "a b"}, "Parse error at column 2"),
        ({"match": ""}, "waivers[0].match: invalid JMESPath: "),
        ({"match": None}, "waivers[0].match: invalid JMESPath: "),
        (
            {"match": "port && matches(id, 'x')"},
            "waivers[0].match: unknown JMESPath function matches() at column 8: port && matches(id, 'x')",
        ),
        ({"match": "services[?nope(@)] | [0]"}, "unknown JMESPath function nope() at column 10"),
        ({"match": "sort_by(services, &nope(@))"}, "unknown JMESPath function nope() at column 19"),
        (
            {"match": "port && length()"},
            "waivers[0].match: length() takes 1 argument, not 0, at column 8: port && length()",
        ),
        ({"match": "starts_with(id)"}, "starts_with() takes 2 arguments, not 1, at column 0"),
        ({"match": "length(pods, notes)"}, "length() takes 1 argument, not 2, at column 0"),
        ({"match": "not_null()"}, "not_null() takes 1 argument, not 0,"),
        ({"match": "port < `1e400`"}, "a value: wanted a number that JSON has, found inf at column 7: port < `1e400`"),
        ({"match": "ceil(`-1e400`) != port"}, "a value: wanted a number that JSON has, found -inf at column 5"),
        ({"match": "port != `NaN`"}, "a value: wanted a number that JSON has, found nan at column 8"),
        ({"match": "pods[::0]"}, "waivers[0].match: a slice with a step of 0 at column 6: pods[::0]"),
        (
            {"match": "starts_with(port, '80')"},
            "waivers[0].match: starts_with() wants string, found number 8080, at column 0: starts_with(port, '80')",
        ),
        ({"match": "contains(port, '8')"}, "contains() wants array or string, found number 8080, at column 0"),
        ({"match": "join(',', port)"}, "join() wants array-string, found number 8080, at column 0"),
        ({"match": "port > '80'"}, "waivers[0].match: > compares a number with text at column 5: port > '80'"),
        ({"match": "port>=`1` && port < '9'"}, "< compares a number with text at column 18"),
        (
            {"match": "namespace == 'a' && starts_with(port, '8')"},
            "starts_with() wants string, found number 8080, at column 20",
        ),
        (
            {"match": "namespace == 'a' && (code == 'b' || starts_with(workload, 'w'))"},
            "found object {'kind': 'Deployment', 'name': 'web'}, at column 36",
        ),
        ({"match": "services[?starts_with(port, '8')]"}, "starts_with() wants string, found number 80, at column 10"),
        (
            {"match": "starts_with(prot, '8')"},
            "no finding has a key prot there; text is in single quotes, at column 12",
        ),
        ({"match": "contains(notes[0], 'x')"}, "contains() wants array or string, found nothing, at column 0"),
        ({"match": "contains(processes, 'x')"}, "contains() wants array or string, found nothing, at column 0"),
        ({"match": "max_by(services, &port_names)"}, "no finding has a key port_names there"),
        (
            {"match": "port", "reason": " ... "},
            "waivers[0].reason: a waiver says why; write it in words in place of ...",
        ),
        ({"match": "port", "reason": "-"}, "waivers[0].reason: a waiver says why; write it in words in place of -"),
        ({"match": "port", "reason": ""}, "waivers[0].reason: a waiver says why"),
        ({"match": "port", "reason": "  "}, "waivers[0].reason: a waiver says why"),
        ({"match": "port", "reason": None}, "waivers[0].reason: a waiver says why"),
        (
            {"match": "port == `8080`", "until": "soon"},
            "waivers[0].until: wanted a day such as 2026-12-31, found 'soon'",
        ),
        ({"match": "port == `8080`", "until": "2026-02-30"}, "waivers[0].until: wanted a day"),
        ({"match": "port == `8080`", "until": ""}, "waivers[0].until: wanted a day such as 2026-12-31, found ''"),
        ({"match": "port == `8080`", "until": "20261231"}, "waivers[0].until: wanted a day"),
        ({"match": "port == `8080`", "until": "2026-W01-1"}, "waivers[0].until: wanted a day"),
    ],
)
def test_a_waiver_that_cannot_be_used_is_refused_where_it_is_wrong(entry, wanted):
    with pytest.raises(WaiverError) as error:
        compile_waivers([{"reason": "accepted", **entry}])
    assert wanted in str(error.value)


OF_ALL = "it is true of every finding: say of which it is to be, as in namespace == 'shop', at column 0"
ALWAYS = {
    # Each is true of every finding, whatever its author meant: two keys that are not there are equal, and what is not there is unequal to all that is.
    "starts_with(id, join('/', ['IST0143', namespace]))": OF_ALL,
    "ends_with(id, to_string(port))": OF_ALL,
    "contains(id, workload.name)": OF_ALL,
    "id == join('/', [code, namespace, workload.kind, workload.name, to_string(port)])": OF_ALL,
    "contains(message, join(' ', ['Port', to_string(port), 'is']))": OF_ALL,
    " || ".join(
        f"delivery.after.to == '{word}'" for word in ("localhost", "pod_ip", "kernel", "closed", "unknown")
    ): OF_ALL,
    "contains('localhost pod_ip kernel closed unknown', delivery.after.to)": OF_ALL,
    " || ".join(f"delivery.today.to == '{word}'" for word in WORDS_OF["delivery.today.to"]): OF_ALL,
    "delivery.today.by == 'rule' || delivery.today.by == 'proxy'": OF_ALL,
    "delivery.after.to != 'unix'": "no delivery.after.to is called unix",
    'name == "web"': "no finding has a key name there; text is in single quotes, at column 0",
    'kind == "Deployment"': "no finding has a key kind there; text is in single quotes, at column 0",
    'workload.namespace == "shop"': "no finding has a key namespace there",
    'namespace != "prod"': "no finding has a key prod there; text is in single quotes, at column 13",
    "namespace != prod": "no finding has a key prod there",
    "namspace != 'prod'": "no finding has a key namspace there",
    "!namspace": "no finding has a key namspace there",
    "namespace == 'bank' || !(impact == 'unknown' && owner)": "no finding has a key owner there",
    "services.name != 'web'": "no finding has a key name there",
    "length(services[?nme == 'web']) == `0`": "no finding has a key nme there",
    "length(services[?name == 'no'].prt) == `0`": "no finding has a key prt there",
    "services[].prt == `[]`": "no finding has a key prt there",
    "namespace == 'shop' || 'bank'": "'bank' is the same for every finding: compare it with a key",
    "namespace == ('shop' || 'bank')": "'shop' is the same for every finding: compare it with a key",
    "!(`false` && namespace)": "false is the same for every finding",
    "!'shop'": "'shop' is the same for every finding",
    "`true`": "true is the same for every finding",
    "'IST0143/shop/Deployment/web/8080'": "'IST0143/shop/Deployment/web/8080' is the same for every finding",
    "contains(['shop', 'bank'], 'shop')": "contains() is the same for every finding",
    "'shop' != 'bank'": "!= is the same for every finding",
    "services[?'web']": "'web' is the same for every finding",
    "port != '8080'": "!= compares a number with text, at column 5",
    "pods != 'web-1'": "!= compares a list with text, at column 5",
    "!(namespace == `1`)": "== compares text with a number, at column 12",
    "services[0].port != '80'": "!= compares a number with text",
    "impact != 'breaks'": "no impact is called breaks, but one of breaks_on_upgrade, unknown, unreachable, at column 7",
    "remedy != 'change-bind'": "no remedy is called change-bind, but one of create_sidecar, update_sidecar, change_bind, at column 7",
    "delivery.after.to != 'pod-ip'": "no delivery.after.to is called pod-ip, but one of localhost, pod_ip,",
    "delivery.after.by != 'proxy'": "no delivery.after.by is called proxy, but one of rule, at column 18",
    "delivery.today.by != 'proxies'": "no delivery.today.by is called proxies, but one of rule, proxy,",
    # Found by trial over findings made of its own texts and numbers.
    "namespace != 'shop' || namespace != 'bank'": OF_ALL,
    "workload.name != 'a' || port == `80` || 'b' != workload.name": OF_ALL,
    "!(namespace == 'shop' && namespace == 'bank')": OF_ALL,
    "port != `80` || !(port == `81`)": OF_ALL,
    "services[?name != 'a'] || services[?name != 'b']": OF_ALL,
    "code == 'IST0143'": OF_ALL,
    "starts_with(id, 'IST0143/')": OF_ALL,
    "contains(message, 'listens on localhost')": OF_ALL,
    "contains(id, namespace)": OF_ALL,
    "port > `0`": OF_ALL,
    "port < `65536` && namespace != ''": OF_ALL,
    "impact == 'breaks_on_upgrade' || impact == 'unknown' || impact == 'unreachable'": OF_ALL,
    "length(pods) >= `1`": OF_ALL,
    "length(notes) >= `0`": OF_ALL,
    "namespace == 'shop' && port != `0`": "one side of && or || is true of every finding, at column 20",
    "namespace == 'shop' && (port != `80` || port != `81`)": "one side of && or || is true of every finding",
    # As where a template leaves nothing of a name.
    "starts_with(namespace, '')": OF_ALL,
    "port == `80` || contains(workload.name, '')": OF_ALL,
    "!contains('', namespace)": OF_ALL,
    "!contains(`[]`, namespace)": OF_ALL,
    "!(namespace == '')": OF_ALL,
    "namespace != ''": OF_ALL,
    "port == `80` || workload.name != ''": OF_ALL,
    # As where a template joins names, leaves a space behind one, or has none to give: no key holds such a text.
    "!contains(['shop,bank'], namespace)": OF_ALL,
    "namespace != 'shop, bank' && port != `80`": "one side of && or || is true of every finding",
    """namespace != '["shop", "bank"]'""": OF_ALL,
    "namespace != 'shop ' || namespace != 'bank '": OF_ALL,
    "!contains(['shop\n'], namespace)": OF_ALL,
    "workload.name != 'None'": OF_ALL,
    "!contains(pods, 'web_1')": OF_ALL,
    "!contains(services[].name, 'web.shop:80')": OF_ALL,
    # As where its author takes one key for another.
    "namespace != 'Shop'": OF_ALL,
    "workload.kind != 'deployment'": OF_ALL,
    "id != 'shop/Deployment/web/8080'": OF_ALL,
    "!starts_with(id, 'shop/')": OF_ALL,
    "!contains(listeners, '127.0.0.1')": OF_ALL,
    "listeners[0] != 'localhost:8080'": OF_ALL,
    "contains(listeners[0], ':')": OF_ALL,
    "delivery.today.address != 'localhost'": OF_ALL,
    "delivery.after.by == 'rule'": OF_ALL,
    # JMESPath's truth: of a text and a list only the empty one is false, and no number is.
    "[namespace == 'shop']": "a list is true of every finding, whatever it holds: compare it",
    "{a: namespace == 'shop', b: port == `80`}": "an object is true of every finding",
    "pods[*].starts_with(@, 'web-')": "a list is true of every finding",
    "map(&starts_with(@, 'web-'), pods)": "a list is true of every finding, whatever it holds: compare it, as in namespace == 'shop', at column 0",
    "services[].[name == 'web']": "a list is true of every finding",
    "to_string(namespace == 'shop')": "text is true of every finding",
    "length(services[?name == 'web'])": "a number is true of every finding",
    "pods[?starts_with(@, 'web-')] | length(@)": "a number is true of every finding",
    "namespace == 'shop' || workload.name": "text is true of every finding",
    "!(namespace == 'shop' && !port)": "a number is true of every finding",
    "services[?port]": "a number is true of every finding",
    "notes[0] || id": "text is true of every finding, whatever it holds: compare it",
    "@": "an object is true of every finding",
    "reason != 'x'": "it is true of every finding",
    "contains(reason, ' ')": "it is true of every finding",
    "ends_with(reason, '.') && delivery.after.why != ''": "it is true of every finding",
    "delivery.today.why != 'rule'": "it is true of every finding",
    "delivery.today.address != 'abc'": "it is true of every finding",
}


@pytest.mark.parametrize("match", ALWAYS)
def test_a_waiver_that_does_not_depend_on_the_finding_is_refused(match):
    with pytest.raises(WaiverError) as error:
        compile_waivers([{"match": match, "reason": "accepted"}])
    assert f"waivers[0].match: {ALWAYS[match]}" in str(error.value)


@pytest.mark.parametrize(
    "match",
    [
        "namespace != 'shop' && namespace != 'bank'",
        "!(namespace == 'shop' || namespace == 'bank')",
        "namespace != 'shop' || port != `80`",
        "!(namespace == 'shop' && port == `80`)",
        "services[?name != 'a'] && services[?name != 'b']",
        "namespace != 'shop' || workload.name != 'web' || port != `80` || impact != 'unknown'",
        "port > `1023`",
        "id != 'IST0143/shop/Deployment/web/8080'",
        "id != 'IST0143/bank/StatefulSet/db/5432' && namespace != 'shop'",
        "!starts_with(id, join('/', ['IST0143', 'shop']))",
        "!(namespace == 'shop' && starts_with(id, 'IST0143/shop/Deployment/web/'))",
        "!(id == 'IST0143/shop/Deployment/web/8080' && port == `8080`)",
        "!contains(message, 'Port 9090 ')",
        "delivery.after.to == 'pod_ip' || delivery.after.to == 'kernel' || delivery.after.to == 'closed'",
        "!starts_with(id, 'IST0143/shop/')",
        "!starts_with(id, 'IST0143/shop/Stateful')",
        "!contains(id, '/shop/')",
        "!contains(id, 'Deployment/web')",
        "!ends_with(id, '/8080')",
        "!starts_with(namespace, 'shop-')",
        "!contains('shop, bank', namespace)",
        "!contains('Job StatefulSet', workload.kind)",
        "!contains('127.0.0.1:80 [::1]:80', listeners[0])",
        "!ends_with(workload.kind, 'Set')",
        "!contains(pods[0], 'web-7d4b9.')",
        "!contains(listeners, '127.0.0.1:8080')",
        "!contains(listeners[0], '127.0.0.1')",
        "!contains(listeners[0], '::1')",
        "!starts_with(listeners[0], '127.')",
        "!starts_with(listeners[0], '[::1]:')",
        "!contains(listeners[0], '%lo:')",
        "!ends_with(listeners[0], ':9999')",
        "listeners[0] != '127.0.0.53%lo:53'",
        "processes[?listener != '[::1]:9999']",
        "delivery.today.address != '::1'",
        "delivery.today.address != '127.0.0.1'",
        "contains(reason, 'localhost')",
        "!contains(reason, 'localhost')",
        "!contains(reason, 'LOCALHOST) over')",
        "!starts_with(reason, 'It listens on ')",
        "!ends_with(reason, 'either.')",
        "reason != 'It listens on 127.0.0.1:8080 only.'",
        "!contains(delivery.after.why, 'Sidecar')",
        "delivery.after.why != 'a newer istiod delivers to the pod IP'",
        "delivery.today.by != 'proxy'",
        "!contains(workload.name, 'web')",
        "length(pods) > `3` || length(services) > `2`",
        "!(length(pods) > `3`)",
        "notes == `[]`",
        "contains(message, 'Port 8080 ')",
        "!processes",
        "processes[?process != 'java']",
        "!(services[0].port_name == '')",
        "services[0].port_name != ''",
        "delivery.today.address != ''",
        "remedy != 'change_bind'",
        "delivery.today.to != 'pod_ip'",
    ],
)
def test_a_waiver_may_say_what_it_is_not_for(match):
    assert compile_waivers([{"match": match, "reason": "accepted"}])


def test_the_entry_that_is_wrong_is_named():
    with pytest.raises(WaiverError, match=r"waivers\[1\]"):
        compile_waivers([{"match": "port == `8080`", "reason": "ok"}, {"match": "[", "reason": "ok"}])


@pytest.mark.parametrize("match", ["namespace == 'late' && length(notes[3])", "pods[1] && starts_with(pods[2], 'x')"])
def test_a_waiver_that_cannot_be_evaluated_over_a_finding_says_over_which(match):
    with pytest.raises(WaiverError) as error:
        judged({"match": match}, findings=[{**FINDING, "namespace": "late", "pods": ["web-1", "web-2"]}])
    assert match in str(error.value) and FINDING["id"] in str(error.value)


@pytest.mark.parametrize("name", ["inf", "-inf", "nan", "1e999"])
@pytest.mark.parametrize("function", ["floor", "ceil"])
def test_a_number_that_a_finding_makes_without_end_is_no_traceback(name, function):
    """The author of a Service names its ports, and floor() of infinity is Python's own error."""
    match = f"namespace == 'x' && {function}(to_number(services[0].port_name)) == `1`"
    services = [{"name": "web", "port": 80, "port_name": name}]
    with pytest.raises(WaiverError, match="cannot be evaluated over finding"):
        judged({"match": match}, findings=[{**FINDING, "namespace": "x", "services": services}])


@pytest.mark.parametrize(
    "match",
    [
        "floor(to_number('inf')) == `1`",
        "namespace == 'x' && ceil(to_number('nan')) == port",
        "namespace == 'x' || floor(to_number('1e999')) == port",
    ],
)
def test_an_expression_that_no_finding_can_answer_is_refused(match):
    with pytest.raises(WaiverError, match=r"waivers\[0\]\.match: .*(cannot be evaluated|same for every finding)"):
        compile_waivers([{"match": match, "reason": "accepted"}])


@pytest.mark.parametrize(
    "match",
    [
        "notes[1] && contains(notes[1], 'x')",
        "processes && contains(processes[].process, 'java')",
        "impact == 'unknown' && pods[3]",
    ],
)
def test_a_waiver_may_ask_first_for_what_not_every_finding_has(match):
    assert compile_waivers([{"match": match, "reason": "accepted"}])


def test_no_waivers_are_no_waivers():
    assert compile_waivers(None) == [] and compile_waivers([]) == []


# ---------------------------------------------------------------------------------------------------------------------
# Istio's annotation


@pytest.mark.parametrize(
    "annotation, wanted",
    [
        ("IST0143", True),
        ("IST0108,IST0143", True),
        ("*", True),
        ("IST0108,*", True),
        ("IST0108, IST0143", False),
        ("IST01*", False),
        ("ist0143", False),
        ("IST01430", False),
        ("", False),
        (None, False),
    ],
)
def test_the_suppress_annotation_is_read_as_istio_reads_it(annotation, wanted):
    assert suppresses(annotation, "IST0143") is wanted


QUIET = {"annotations": {"galley.istio.io/analyze-suppress": "IST0143"}}


def test_a_finding_whose_pods_are_all_annotated_is_waived():
    found = report([pod("a", **QUIET), pod("b", **QUIET)])
    assert not found["findings"]
    assert found["waived"][0]["waived_by"] == {
        "annotation": "galley.istio.io/analyze-suppress",
        "reason": "the pod template says galley.istio.io/analyze-suppress: 'IST0143'",
    }


def test_a_finding_of_which_one_pod_is_not_annotated_counts():
    assert report([pod("a", **QUIET), pod("b")])["findings"]


def test_a_pod_without_the_finding_need_not_be_annotated():
    pods = [pod("a", ports={"http": 8080}, **QUIET), pod("b", ports={"http": 9090})]
    assert report(pods, [service(ports=[port(80, "http")])])["waived"][0]["pods"] == ["a"]
