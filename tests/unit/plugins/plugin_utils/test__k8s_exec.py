# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A snapshot out of what tasks of kubernetes.core return, as recorded from kubernetes.core 6.6.0 with client 35 and 37."""

from __future__ import annotations

import json
import shlex

import pytest

pytest.importorskip("yaml")

from ansible_collections.meshops.istio_precheck.plugins.module_utils._evaluate import evaluate
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.attempts import CANNOT_RUN, Outcome
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.by_exec import by_exec
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.cluster import read_sockets
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.errors import GatherError
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.proxy_answer import COMMAND
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.snapshot import check
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.options import Options
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.selection import Selection
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils import _k8s_exec
from ansible_collections.meshops.istio_precheck.tests.helpers import cluster

ALL = Selection()
TABLE = "LISTEN 0 128 127.0.0.1:8080 0.0.0.0:*\n"
PROC = "  sl  local_address rem_address   st\n"


def said(message, code):
    return json.dumps({"kind": "Status", "status": "Failure", "message": message, "code": code})


def k8s_info_failed(message, code, quoted=False):
    """The `msg` of a k8s_info that was refused: client 37 gives the body as text, 35 as the repr of bytes."""
    body = repr((said(message, code) + "\n").encode()) if quoted else said(message, code)
    return (
        f"Exception '{code}\nReason: Said\nHTTP response headers: HTTPHeaderDict({{'Content-Type': 'application/json'}})\n"
        f'HTTP response body: {body}\n\nOriginal traceback: \n  File "x.py", line 54, in inner\n\' raised while trying to get resource'
        " using (name=None, namespace=shop, label_selectors=[], field_selectors=[])"
    )


def k8s_exec_failed(message, code, quoted=False):
    body = repr(said(message, code).encode()) if quoted else said(message, code)
    return (
        f"Failed to execute on pod web-1 due to : (0)\nReason: Handshake status {code} Said -+-+- {{'content-type': 'application/json',"
        f" 'content-length': '323'}} -+-+- {body}\n\n"
    )


# ---------------------------------------------------------------------------------------------------------------------
# Lists

LISTED = {listing.kind: listing for listing in _k8s_exec.SELECTED}


def answer_all(served=None, failing=None, selection=ALL, rounds=9):
    """Plays the rounds: `served` gives the objects of a kind, `failing` the failed result of one."""
    answers = []
    for _round in range(rounds):
        asked = _k8s_exec.list_requests(selection, "istio-system", answers)
        if not asked:
            return answers
        results = []
        for item in asked:
            if item["kind"] in (failing or {}):
                results.append({"item": item, "failed": False, **failing[item["kind"]]})
            elif item["kind"] in (served or {}):
                results.append({"item": item, "api_found": True, "resources": served[item["kind"]]})
            elif item["api_version"] == "v1":
                results.append({"item": item, "api_found": True, "resources": []})
            else:
                results.append({"item": item, "api_found": False, "resources": [], "msg": "Could not find API"})
        answers += _k8s_exec.list_answers(results)
    raise AssertionError("the rounds do not end")


def test_the_rounds_end_and_give_a_snapshot():
    pod = cluster.pod()
    answers = answer_all({"Pod": [pod], "Service": [cluster.service()]})
    found = _k8s_exec.base_snapshot(ALL, "istio-system", answers)
    assert check(found)["pods"][0]["metadata"]["name"] == pod["metadata"]["name"]
    assert len(found["services"]) == 1


def test_a_loop_may_call_its_item_by_any_name():
    state = _k8s_exec.gather_step({}, [], Options(cluster.TODAY), "istio-system")
    said = {"failed": True, "msg": "Could not create API client: no configuration"}
    for named in ({"item": state["lists"][0]}, {"ansible_loop_var": "mine", "mine": state["lists"][0]}):
        after = _k8s_exec.gather_step(state, [{**said, **named}], Options(cluster.TODAY), "istio-system")
        assert after["problem"].startswith("no connection to a cluster: "), after


def test_the_first_round_says_where_the_second_looks_for_sidecars():
    config = {"metadata": {"name": "istio", "namespace": "istio-system"}, "data": {"mesh": "rootNamespace: config"}}
    answers = answer_all({"ConfigMap": [config], "Pod": [cluster.pod()]}, selection=Selection(namespaces=("shop",)))
    assert {a["item"]["namespace"] for a in answers if a["item"]["kind"] == "Sidecar"} == {"shop", "config"}


def test_an_older_api_version_is_asked_for_only_if_the_server_lacks_the_newer():
    kinds = ("Sidecar", "ServiceEntry", "WorkloadEntry", "WorkloadGroup", "EndpointSlice")
    there = answer_all({kind: [] for kind in kinds})
    for kind in kinds:
        versions = LISTED[kind].versions
        assert [each["item"]["api_version"] for each in there if each["item"]["kind"] == kind] == [versions[0]]
    absent = answer_all()
    for kind in kinds:
        versions = LISTED[kind].versions
        assert [each["item"]["api_version"] for each in absent if each["item"]["kind"] == kind] == [*versions]


def test_a_namespace_that_is_not_there_is_named():
    answers = answer_all(selection=Selection(namespaces=("shopp",)))
    assert [a["item"]["name"] for a in answers if a["item"]["kind"] == "Namespace"] == ["shopp"]
    with pytest.raises(GatherError, match="^namespaces: the cluster has no namespace 'shopp'$"):
        _k8s_exec.base_snapshot(Selection(namespaces=("shopp",)), "istio-system", answers)


def test_a_namespace_that_is_empty_or_may_not_be_looked_at_is_told_apart():
    selection = Selection(namespaces=("shop",))
    empty = answer_all({"Namespace": [{"metadata": {"name": "shop"}}]}, selection=selection)
    hidden = answer_all(failing={"Namespace": {"msg": k8s_info_failed("no", 403)}}, selection=selection)
    seen, unseen = (_k8s_exec.base_snapshot(selection, "istio-system", answers) for answers in (empty, hidden))
    assert (seen["emptyNamespaces"], seen["unlisted"]) == (["shop"], [])
    assert (unseen["emptyNamespaces"], unseen["unlisted"]) == ([], [{"resource": "namespaces", "detail": "no"}])


def test_the_first_version_that_the_server_has_counts():
    answers = answer_all({"Sidecar": [cluster.sidecar()]})
    found = _k8s_exec.base_snapshot(ALL, "istio-system", answers)
    assert (len(found["sidecars"]), found["sidecarVersions"]) == (1, ["v1beta1"])


@pytest.mark.parametrize("quoted", [False, True], ids=["client 37", "client 35"])
@pytest.mark.parametrize("kind", ["Pod", "Service", "Sidecar", "ServiceEntry"])
def test_a_list_that_a_verdict_depends_on_and_is_forbidden_stops_the_gather(kind, quoted):
    message = 'it is forbidden: User "jane\'s" cannot list resource "it" in API group ""'
    answers = answer_all(failing={kind: {"msg": k8s_info_failed(message, 403, quoted)}})
    with pytest.raises(GatherError) as caught:
        _k8s_exec.base_snapshot(ALL, "istio-system", answers)
    assert str(caught.value).startswith("GET /api") and str(caught.value).endswith(f": {message}")


def test_after_a_refusal_that_counts_nothing_more_is_asked():
    answers = answer_all(failing={"Pod": {"msg": k8s_info_failed("no", 500)}})
    first = _k8s_exec.list_requests(ALL, "istio-system", [])
    assert [answer["item"] for answer in answers] == first


def test_a_list_that_helps_and_is_forbidden_is_told_as_the_module_tells_it():
    message = 'endpointslices.discovery.k8s.io is forbidden: User "jane" cannot list resource "endpointslices"'
    found = _k8s_exec.base_snapshot(
        ALL, "istio-system", answer_all(failing={"EndpointSlice": {"msg": k8s_info_failed(message, 403)}})
    )
    assert found["unlisted"] == [{"resource": "endpointslices", "detail": message}]


@pytest.mark.parametrize(
    "result",
    [
        {"msg": "Could not create API client: Invalid kube-config file. No configuration found."},
        {"msg": "Failed to import the required Python library (kubernetes)"},
        {"msg": "Task failed: Timed out after 40 second(s).", "timedout": {"period": 40}},
        {"module_stderr": "Traceback (most recent call last)", "module_stdout": "", "rc": 1, "msg": "MODULE FAILURE"},
        {},
    ],
)
def test_a_task_that_failed_otherwise_is_no_empty_list(result):
    with pytest.raises(GatherError):
        _k8s_exec.base_snapshot(ALL, "istio-system", answer_all(failing={"Pod": result}))


ISTIOD = {
    "metadata": {"name": "istiod-1", "namespace": "istio-system", "labels": {"app": "istiod"}},
    "spec": {"containers": [{"name": "discovery", "image": "docker.io/istio/pilot:1.24.0"}]},
    "status": {"phase": "Running"},
}
SELECTING = {
    "metadata": {"name": "istio", "namespace": "istio-system"},
    "data": {"mesh": "discoverySelectors: [{matchLabels: {mesh: in}}]"},
}
NAMED = [cluster.namespace(name, mesh="in") for name in ("istio-system", "shop")]


def with_selectors(selection=ALL, there=("istio-system", "shop"), hidden=()):
    """The snapshot of a cluster whose selectors select some namespaces; those in `hidden` may not be looked at, empty for the list of all."""
    answers = []
    for _round in range(6):
        results = []
        for item in _k8s_exec.list_requests(selection, "istio-system", answers):
            pods = [ISTIOD] if item["label_selectors"] else [cluster.pod()]
            names = [each for each in NAMED if each["metadata"]["name"] in there]
            served = {"Pod": pods, "Service": [cluster.service()], "ConfigMap": [SELECTING], "Namespace": names}
            found = [each for each in served.get(item["kind"], []) if item["name"] in ("", each["metadata"]["name"])]
            refused = item["kind"] == "Namespace" and item["name"] in hidden
            answer = {"msg": k8s_info_failed("no", 403)} if refused else {"api_found": True, "resources": found}
            results.append({"item": item, **answer})
        answers += _k8s_exec.list_answers(results)
    return check(_k8s_exec.base_snapshot(selection, "istio-system", answers))


SHOP = Selection(namespaces=("shop",))


@pytest.mark.parametrize("selection", [ALL, SHOP])
def test_labels_of_namespaces_are_what_the_module_takes(selection):
    found = with_selectors(selection)
    assert (found["namespaces"], found["unlisted"], found["emptyNamespaces"]) == (NAMED, [], [])


def test_a_root_namespace_that_is_not_there_has_no_labels_and_is_not_missed():
    found = with_selectors(SHOP, ("shop",))
    assert (found["namespaces"], found["unlisted"]) == (NAMED[1:], [])


@pytest.mark.parametrize(
    ("selection", "hidden", "kept", "said"),
    [
        (ALL, "", [], {"resource": "namespaces", "detail": "no"}),
        (
            SHOP,
            "istio-system",
            NAMED[1:],
            {"resource": "namespaces", "object": "Namespace istio-system", "detail": "no"},
        ),
    ],
)
def test_labels_that_may_not_be_seen_are_told_as_the_module_tells_it(selection, hidden, kept, said):
    found = with_selectors(selection, hidden=(hidden,))
    assert (found["namespaces"], found["unlisted"]) == (kept, [said])


CRASH = """Traceback (most recent call last):
  File "client.py", line 55, in inner
kubernetes.client.exceptions.ApiException: (401)
Reason: Unauthorized
HTTP response headers: HTTPHeaderDict({})
HTTP response body: b'{"kind": "Status", "message": "Unauthorized", "code": 401}'


During handling of the above exception, another exception occurred:

Traceback (most recent call last):
kubernetes.dynamic.exceptions.UnauthorizedError: 401
Original traceback:
    raise ApiException(http_resp=r)
"""
SAID = {
    "a refusal in a traceback, as on core 2.17": (
        {"module_stderr": CRASH, "rc": 1, "msg": "MODULE FAILURE"},
        401,
        "Unauthorized",
    ),
    "an answer that only looks like bytes": ({"msg": "(500)\nReason: x\nHTTP response body: b'\\x'"}, 500, "HTTP 500"),
    "nothing in time": (
        {"rc": 124, "module_stderr": "", "msg": "MODULE FAILURE"},
        0,
        "the API server did not answer in time",
    ),
}


@pytest.mark.parametrize("case", SAID)
def test_what_a_list_was_refused_with_is_found(case):
    result, status, detail = SAID[case]
    (answer,) = _k8s_exec.list_answers([{"item": {"key": "pods", "kind": "Pod", "api_version": "v1"}, **result}])
    assert answer["status"] == status and answer["detail"].startswith(detail)


def test_nothing_is_kept_of_a_result_but_trimmed_objects():
    pod = cluster.pod(annotations={"secret": "CANARY"})
    pod["spec"]["containers"][0]["env"] = [{"name": "PASSWORD", "value": "CANARY"}]
    pod["metadata"]["managedFields"] = ["CANARY"]
    item = {"key": "pods", "kind": "Pod", "api_version": "v1", "namespace": "", "name": "", "label_selectors": []}
    results = [
        {"item": item, "resources": [pod], "api_found": True, "invocation": {"module_args": {"api_key": "CANARY"}}}
    ]
    assert "CANARY" not in json.dumps(_k8s_exec.list_answers(results))


# ---------------------------------------------------------------------------------------------------------------------
# Execs

OUTCOMES = {
    "well": ({"stdout": TABLE, "stderr": "", "rc": 0}, (TABLE, 0)),
    "a non-zero exit": ({"stdout": PROC, "rc": 1}, (PROC, 1)),
    "403, client 37": (
        {"msg": k8s_exec_failed('pods "web-1" is forbidden: User "jane" cannot get resource', 403)},
        ("", None, "forbidden", 'User "jane" cannot get resource'),
    ),
    "403, client 35": (
        {"msg": k8s_exec_failed('pods "web-1" is forbidden: User "jane" cannot get resource', 403, True)},
        ("", None, "forbidden", 'User "jane" cannot get resource'),
    ),
    "404": ({"msg": k8s_exec_failed('pods "web-1" not found', 404)}, ("", None, "gone", 'pods "web-1" not found')),
    "400": ({"msg": k8s_exec_failed("container app is not valid for pod web-1", 400)}, ("", None, "cannot_run")),
    "500, container not found": (
        {"msg": k8s_exec_failed('container not found ("app")', 500)},
        ("", None, "cannot_run"),
    ),
    "500, kubelet unreachable": (
        {"msg": k8s_exec_failed("error dialing backend: dial tcp", 500)},
        ("", None, "node_unreachable"),
    ),
    "a refusal without a body": (
        {"msg": "(0)\nReason: Handshake status 503 Service Unavailable -+-+- {} -+-+- None\n"},
        ("", None, "server_error"),
    ),
    "killed by timeout(1)": (
        {"rc": 124, "module_stdout": "", "module_stderr": "", "msg": "MODULE FAILURE"},
        ("", None, "timeout", "No answer in time."),
    ),
    "killed for good": (
        {"rc": 137, "module_stdout": "", "module_stderr": "", "msg": "MODULE FAILURE"},
        ("", None, "timeout"),
    ),
    "the task's own timeout": (
        {"timedout": {"period": 20}, "msg": "Timed out after 20 second(s)."},
        ("", None, "timeout"),
    ),
    "a crash on core 2.21": ({"changed": False, "failed_when_result": False}, ("", None, "cannot_run")),
    "a crash on core 2.17": (
        {
            "rc": 1,
            "module_stdout": "",
            "module_stderr": "ValueError: invalid literal for int()",
            "msg": "MODULE FAILURE",
        },
        ("", None, "cannot_run"),
    ),
    "no interpreter": (
        {"rc": 127, "module_stdout": "", "module_stderr": "sh: not found", "msg": "MODULE FAILURE"},
        ("", None, "connection", "MODULE FAILURE sh: not found"),
    ),
    "no server": (
        {"msg": "Failed to execute on pod web-1 due to : (0)\nReason: [Errno 111] Connection refused\n"},
        ("", None, "connection"),
    ),
}


@pytest.mark.parametrize("case", OUTCOMES)
def test_a_result_of_k8s_exec_is_an_outcome(case):
    result, expected = OUTCOMES[case]
    (answer,) = _k8s_exec.exec_answers([{"item": {"pod": "web-1"}, **result, "invocation": {"api_key": "CANARY"}}])
    assert tuple(answer[field] for field in Outcome._fields)[: len(expected)] == expected
    assert set(answer) == {"item", *Outcome._fields}


def play(snapshot, behave, selection=ALL, rounds=20):
    answers, asked = [], []
    for _round in range(rounds):
        requests = _k8s_exec.exec_requests(selection, snapshot, answers)
        if not requests:
            return _k8s_exec.with_sockets(selection, snapshot, answers), asked
        asked.append([(r["pod"], r["container"], r["command"]) for r in requests])
        answers += _k8s_exec.exec_answers([{"item": r, **behave(r)} for r in requests])
    raise AssertionError("the rounds do not end")


def test_each_round_asks_only_pods_that_have_not_answered():
    snapshot = cluster.snapshot(pods=[cluster.pod(name="web-1"), cluster.pod(name="web-2")], tables=[])

    def behave(request):
        if request["pod"] == "web-1":
            return {"stdout": TABLE, "rc": 0}
        return {"stdout": PROC, "rc": 1} if request["command"].startswith("cat") else {"changed": False}

    found, asked = play(snapshot, behave)
    assert asked == [
        [("web-1", "istio-proxy", "ss -ltnH"), ("web-2", "istio-proxy", "ss -ltnH")],
        [("web-2", "istio-proxy", "cat /proc/net/tcp /proc/net/tcp6")],
    ]
    assert [(t["pod"], t["format"]) for t in found["socketTables"]] == [("web-1", "ss"), ("web-2", "procnet")]


def test_a_pod_that_never_answers_ends_unread():
    found, asked = play(cluster.snapshot(tables=[]), lambda _request: {"changed": False})
    assert [entry["reason"] for entry in found["unread"]] == ["no_tool"]
    assert len(asked) == 5


def test_where_a_task_hangs_the_next_container_is_asked_and_the_second_that_hangs_ends_it():
    hangs = {"rc": 124, "module_stdout": "", "module_stderr": "", "msg": "MODULE FAILURE"}
    crowd = cluster.pod(name="web-1")
    crowd["spec"]["containers"] += [{"name": "more"}]
    crowd["status"]["containerStatuses"] += [{"name": "more", "ready": True, "state": {"running": {}}}]

    def behave(request):
        return {"stdout": PROC, "rc": 0} if request["container"] == "app" else hangs

    found, asked = play(cluster.snapshot(pods=[crowd], tables=[]), behave)
    assert [table["container"] for table in found["socketTables"]] == ["app"] and len(asked) == 2
    found, asked = play(cluster.snapshot(pods=[crowd], tables=[]), lambda _request: hangs)
    assert [entry["reason"] for entry in found["unread"]] == ["timeout"]
    assert [each[0][1] for each in asked] == ["istio-proxy", "app"]


@pytest.mark.parametrize("mute", ["", "web-0", "web-0 web-1 web-2"])
def test_both_gathers_ask_the_same_pods_where_one_replica_is_enough(mute):
    selection = Selection(replicas="one")
    everything = [cluster.pod(name=f"web-{n}") for n in range(6)]
    no_tool = {"changed": False}
    found, _asked = play(
        cluster.snapshot(pods=everything, tables=[]),
        lambda request: no_tool if request["pod"] in mute.split() else {"stdout": TABLE, "rc": 0},
        selection,
    )
    module = cluster.snapshot(pods=everything, tables=[])

    def run(_namespace, pod, _container, _command, _seconds, _share):
        return Outcome("", None, CANNOT_RUN, "no such file") if pod in mute.split() else Outcome(TABLE, 0)

    read_sockets(module, [by_exec(run, 4, 4)], selection, module["socketTables"].append)
    tables = [sorted(table["pod"] for table in each["socketTables"]) for each in (found, module)]
    assert tables[0] == tables[1]
    assert [entry["pod"] for entry in found["unread"]] == [entry["pod"] for entry in module["unread"]] == mute.split()
    reports = [evaluate(each, Options(cluster.TODAY, selection)) for each in (found, module)]
    assert reports[0] == reports[1] and not reports[0]["unchecked"]


def test_a_refusal_without_a_reason_names_the_right_by_tasks_too():
    silent = {"msg": k8s_exec_failed('pods "web-7d4b9-a" is forbidden: ', 403)}
    (entry,) = play(cluster.snapshot(tables=[]), lambda _request: silent)[0]["unread"]
    assert (entry["reason"], entry["status"]) == ("forbidden", 403)
    assert entry["detail"] == (
        'The API server gives no reason. The user needs the verbs get and create on resource "pods/exec" in the namespace "shop".'
    )


def test_without_pods_nothing_is_run():
    assert play(cluster.snapshot(pods=[], tables=[]), lambda _request: {})[1] == []


def test_an_answer_that_was_not_asked_for_is_not_a_table():
    answers = _k8s_exec.exec_answers([{"item": {"namespace": "shop", "pod": "stranger"}, "stdout": TABLE, "rc": 0}])
    assert _k8s_exec.with_sockets(ALL, cluster.snapshot(tables=[]), answers)["socketTables"] == []


@pytest.mark.parametrize("secret", ["upgrade", "io", "web-7d4b9-a"])
def test_an_answer_in_which_a_secret_was_hidden_is_no_answer(secret):
    """As ansible-core before 2.22 hides it: a part as eight asterisks, the whole as a word of its own."""
    from ansible.module_utils.common.parameters import remove_values

    made = cluster.pod(labels={"tier": "upgrade"})
    for resources in ([made], [made, cluster.pod(name="other")]):
        item = {"key": "pods", "kind": "Pod", "api_version": "v1", "namespace": "", "name": ""}
        (answer,) = _k8s_exec.list_answers([{"item": item, **remove_values({"resources": resources}, {secret})}])
        assert "objects" not in answer
        assert answer["detail"].endswith("use check_listeners_gather_with: module")
    item = {"namespace": "shop", "pod": "web", "container": "app", "command": "ss -ltnH"}
    stdout = f"LISTEN 0 1 127.0.0.1:8080 {secret}"
    (answer,) = _k8s_exec.exec_answers([{"item": item, **remove_values({"stdout": stdout, "rc": 0}, {secret})}])
    assert (answer["code"], answer["reason"]) == (None, "masked")


PROBERS = {"name": "ISTIO_KUBE_APP_PROBERS", "value": '{"/app-health/app/readyz": {"httpGet": {"port": 9999}}}'}
POLICY = {"name": "PILOT_ENABLE_INBOUND_PASSTHROUGH", "value": "false"}
ENTRY = {"address": "10.0.0.5", "ports": {"http": 8080}}
VALUES = {"values": '{"sidecarInjectorWebhook": {"rewriteAppHTTPProbe": true}}'}


def _with(parts, **more):
    return {"metadata": {"name": "one", "namespace": "shop"}, **parts, **more}


@pytest.mark.parametrize(
    "key, kind, thing, secrets",
    [
        ("pods", "Pod", _with({"spec": {"containers": [{"name": "istio-proxy", "env": [PROBERS]}]}}), ["httpG", "9999"]),
        (
            "pods",
            "Pod",
            _with({"spec": {"containers": []}}, metadata={**cluster.meta("web"), "annotations": {"proxy.istio.io/config": "interceptionMode: NONE"}}),
            ["interception", "NONE"],
        ),
        ("istiods", "Pod", _with({"spec": {"containers": [{"name": "discovery", "env": [POLICY]}]}}), ["PILOT", "false"]),
        ("configMaps", "ConfigMap", _with({"data": VALUES}), ["rewrite", "true"]),
        ("workloadEntries", "WorkloadEntry", _with({"spec": ENTRY}), ["10.0", "8080"]),
    ],
)  # fmt: skip
def test_what_is_hidden_in_a_part_that_is_read_and_not_kept_is_seen(key, kind, thing, secrets):
    """Else a probe, a variable or an address is as if it were not there."""
    from ansible.module_utils.common.parameters import remove_values

    item = {"key": key, "kind": kind, "api_version": "v1", "namespace": "", "name": ""}
    for secret in secrets:
        (answer,) = _k8s_exec.list_answers([{"item": item, **remove_values({"resources": [thing]}, {secret})}])
        assert answer == {"item": item, "status": 0, "detail": _k8s_exec.MASKED}, secret
    (answer,) = _k8s_exec.list_answers([{"item": item, "resources": [thing]}])
    assert len(answer["objects"]) == 1


@pytest.mark.parametrize(("target", "asked"), [("1.24", ["web-7d4b9-a"]), ("1.21", [])])
def test_the_proxies_of_what_this_upgrade_breaks_are_asked(target, asked):
    """From 1.22 on the policy counts, and then the program, which has bound the pod IP alone, is not reached any more."""
    snapshot = cluster.snapshot(istiods=[cluster.istiod("1.20.8", localhost=True)], binds=("10.0.0.5:8080",))
    requests = _k8s_exec.proxy_requests(snapshot, Options(cluster.TODAY, target_version=target))
    assert [request["pod"] for request in requests] == asked
    rule = Options(cluster.TODAY, target_version=target, delivery_source="rule")
    assert _k8s_exec.proxy_requests(snapshot, rule) == []


def test_a_command_of_one_text_is_split_into_its_words_again():
    """kubernetes.core splits it as a shell would: plugins/modules/k8s_exec.py@6.6.0."""
    (request,) = _k8s_exec.proxy_requests(cluster.snapshot(), Options(cluster.TODAY))
    assert tuple(shlex.split(request["command"])) == COMMAND
