# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From one attempt in a pod to the next."""

from __future__ import annotations

import pytest

from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather import attempts as _attempts
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.attempts import (
    CANNOT_RUN,
    Outcome,
    attempts,
    explained,
    locked_out,
    refused,
    step,
)
from ansible_collections.meshops.istio_precheck.tests.helpers import cluster

POD = cluster.read_pod()
SS = "LISTEN 0 128 127.0.0.1:8080 0.0.0.0:*\n"
PROC = "  sl  local_address rem_address   st\n"
NETSTAT = "Proto Recv-Q Send-Q Local Address Foreign Address State\n"
MISSING = Outcome("", None, CANNOT_RUN, "no such file")

TABLES = {
    "ss answers at once": ([Outcome(SS, 0)], ("istio-proxy", "ss", SS)),
    "ss sees nothing, not even its proxy": ([Outcome("\n", 0), Outcome(PROC, 0)], ("istio-proxy", "procnet", PROC)),
    "no ss, but cat": ([MISSING, Outcome(PROC, 0)], ("istio-proxy", "procnet", PROC)),
    "ss fails, cat has no tcp6": ([Outcome("", 1), Outcome(PROC, 1)], ("istio-proxy", "procnet", PROC)),
    "ss prints and fails": ([Outcome(SS, 1), Outcome(PROC, 0)], ("istio-proxy", "procnet", PROC)),
    "nothing in the proxy": ([MISSING, MISSING, Outcome(PROC, 0)], ("app", "procnet", PROC)),
    "a shell says 127": ([Outcome("", 127), Outcome("", 127), Outcome(PROC, 0)], ("app", "procnet", PROC)),
    "netstat last": ([MISSING, MISSING, MISSING, Outcome(NETSTAT, 0)], ("app", "netstat", NETSTAT)),
}


@pytest.mark.parametrize("case", TABLES)
def test_the_first_attempt_that_answers_gives_the_table(case):
    outcomes, (container, form, stdout) = TABLES[case]
    for number in range(len(outcomes)):
        assert step(POD, outcomes[:number]).attempt == attempts(POD)[number]
    assert step(POD, outcomes).table == {
        "namespace": "shop",
        "pod": "web-7d4b9-a",
        "container": container,
        "format": form,
        "stdout": stdout,
    }


def test_a_pod_in_which_nothing_runs_is_unread_and_every_attempt_is_told():
    found = step(POD, [MISSING] * len(attempts(POD)))
    assert (found.attempt, found.table) == (None, None)
    assert found.unread == {
        "namespace": "shop",
        "pod": "web-7d4b9-a",
        "reason": "no_tool",
        "detail": "No container could show its sockets; tried ss in istio-proxy, cat in istio-proxy, cat in app, netstat in app, netstat in istio-proxy.",
    }


@pytest.mark.parametrize(
    "reason", ["connection", "forbidden", "gone", "node_unreachable", "server_error", "too_much_output"]
)
def test_a_reason_that_is_not_the_containers_ends_the_attempts(reason):
    found = step(POD, [MISSING, Outcome("", None, reason, "Why.")])
    assert found.unread == {"namespace": "shop", "pod": "web-7d4b9-a", "reason": reason, "detail": "Why."}


HANGS = Outcome("", None, "timeout", "No answer in time.")
MANY = cluster.as_read(
    {
        "metadata": {"name": "many", "namespace": "shop"},
        "spec": {"containers": [{"name": f"c{n}"} for n in range(14)]},
    }
)


def test_where_a_command_hangs_the_next_container_is_asked_and_nothing_more_of_this_one():
    found = step(POD, [HANGS])
    assert (found.attempt.container, found.attempt.command[0]) == ("app", "cat")
    assert step(POD, [HANGS, Outcome(PROC, 0)]).table["container"] == "app"
    assert step(POD, [HANGS, MISSING]).attempt.command[0] == "netstat"
    assert step(POD, [MISSING, HANGS, Outcome(PROC, 0)]).table["container"] == "app"
    assert step(POD, [HANGS, MISSING, MISSING]).unread["reason"] == "timeout"
    assert step(POD, [HANGS, HANGS]).unread["detail"] == "No answer in time."
    assert step(POD, [HANGS], hangs=1).unread["reason"] == "timeout"


def test_all_containers_of_a_pod_share_its_time():
    left, shares = 10.0, []
    for number in range(14):
        share = left * step(MANY, [HANGS] * number).share
        shares.append(share)
        left -= share
    assert shares == pytest.approx([5.0, *[5.0 / 13] * 13])
    assert step(cluster.read_pod(proxy=None), []).share == 1.0


def test_output_that_is_no_table_is_not_taken_for_one():
    assert step(POD, [MISSING, Outcome("welcome to this shell\n", 0)]).attempt is not None


def test_output_whose_end_is_not_known_is_not_taken_for_a_table():
    assert step(POD, [Outcome(SS, None, CANNOT_RUN, "?")]).table is None


REFUSED = {
    (403, 'pods "web-1" is forbidden: '): ("forbidden", ""),
    (403, 'pods "web-1" is forbidden:'): ("forbidden", ""),
    (401, "Unauthorized"): ("forbidden", "Unauthorized"),
    (403, 'pods "web-1" is forbidden: User "jane" cannot get resource "pods/exec"'): (
        "forbidden",
        'User "jane" cannot get resource "pods/exec"',
    ),
    (403, "admission webhook denied the request"): ("forbidden", "admission webhook denied the request"),
    (404, 'pods "web-1" not found'): ("gone", 'pods "web-1" not found'),
    (400, "container istio-proxy is not valid for pod web-1"): (
        CANNOT_RUN,
        "container istio-proxy is not valid for pod web-1",
    ),
    (500, 'container not found ("istio-proxy")'): (CANNOT_RUN, 'container not found ("istio-proxy")'),
    (500, "error dialing backend: dial tcp: i/o timeout"): (
        "node_unreachable",
        "error dialing backend: dial tcp: i/o timeout",
    ),
    (500, "etcd"): ("server_error", "etcd"),
    (409, "conflict"): ("server_error", "conflict"),
    (503, "x" * 1000): ("server_error", "x" * 300),
}


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: str(case)[:50])
def test_an_http_error_is_a_word_and_a_sentence(case):
    assert refused(*case) == REFUSED[case]


def unread(
    reason="forbidden",
    detail='User "jane" cannot create resource "pods/exec" in API group "" in the namespace "shop"',
    namespace="shop",
    pod="web",
):
    return {"namespace": namespace, "pod": pod, "reason": reason, "detail": detail}


SILENT = {
    ("create",): 'The user lacks the verb create on resource "pods/exec" in the namespace "shop".',
    ("get", "create"): 'The user lacks the verbs get and create on resource "pods/exec" in the namespace "shop".',
    None: 'The API server gives no reason. The user needs the verbs get and create on resource "pods/exec" in the namespace "shop".',
    (): 'The API server gives no reason. The user needs the verbs get and create on resource "pods/exec" in the namespace "shop", and has them.',
}


@pytest.mark.parametrize("lacks", SILENT, ids=str)
def test_a_refusal_without_a_reason_is_given_the_verb_the_resource_and_the_namespace(lacks):
    assert explained(unread(detail=""), lacks)["detail"] == SILENT[lacks]
    assert explained(unread(detail="no"), lacks)["detail"] == "no"
    assert explained(unread(), lacks).get("lacks") == (None if lacks is None else list(lacks))


def snapshot(*entries, tables=()):
    return {"unread": list(entries), "socketTables": list(tables)}


def test_a_run_that_may_read_no_pod_has_nothing_to_judge():
    message = locked_out(snapshot(unread(), unread(namespace="bank")))
    assert message == (
        'no pod may be read: User "jane" cannot create resource "pods/exec" in API group "" in the namespace "shop". '
        "Grant the verbs get and create on pods/exec."
    )


def test_a_token_that_is_none_is_not_cured_by_rights():
    assert locked_out(snapshot({**unread(detail="Unauthorized"), "status": 401})) == "no pod may be read: Unauthorized."


@pytest.mark.parametrize(
    "other",
    [snapshot(), snapshot(unread(), tables=[{}]), snapshot(unread(), unread("timeout")), snapshot(unread("gone"))],
)
def test_a_run_that_read_something_or_failed_otherwise_is_judged(other):
    assert locked_out(other) is None


def test_the_word_for_a_container_that_cannot_run_never_reaches_a_report():
    for code in (0, None):
        for reason in ("", CANNOT_RUN):
            found = step(POD, [Outcome("", code, reason, "x")] * len(attempts(POD)))
            assert not found.unread or found.unread["reason"] != _attempts.CANNOT_RUN
