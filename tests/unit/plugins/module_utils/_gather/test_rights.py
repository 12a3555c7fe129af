# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The API server is asked what the user may do before ten thousand pods are told that he may not."""

from __future__ import annotations

import contextlib
import json

import pytest

pytest.importorskip("kubernetes")
pytest.importorskip("websocket")

from ansible_collections.kubernetes.core.plugins.module_utils.k8s.client import get_api_client

from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather import api as _api
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather import exec as _exec
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.api import Api
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.attempts import locked_out
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.by_exec import by_exec
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.cluster import gather
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.rights import ExecRights, minor
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.selection import Selection
from ansible_collections.meshops.istio_precheck.tests.helpers import cluster
from ansible_collections.meshops.istio_precheck.tests.helpers.fault_server import (
    SUCCESS,
    ApiServer,
    answers,
    forbidden_exec,
    http,
    out,
    refusal,
    reviews,
    says,
    status,
)

REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
READ = says(out("LISTEN 0 128 0.0.0.0:8080 0.0.0.0:*\n"), status(SUCCESS))
MANY = 300


pytestmark = pytest.mark.usefixtures("alone")


def forbidding(verb, *namespaces):
    """Refuses execs in these namespaces, as an API server does."""

    def behave(connection):
        asked = connection.request()
        parts = asked.path.split("/")
        if parts[4] not in namespaces:
            return READ(connection)
        user = (asked.all("Impersonate-User") or ["jane"])[0]
        return answers(forbidden_exec(parts[6], parts[4], verb, user))(connection)

    return behave


def lists(**pods):
    """So many pods in each namespace."""
    made = [
        cluster.pod(name=f"web-{n}", namespace=namespace) for namespace, several in pods.items() for n in range(several)
    ]
    services = [cluster.service(namespace=namespace) for namespace in pods]
    found = {"/api/v1/pods": made, "/api/v1/services": services, "/api/v1/replicationcontrollers": []}
    return {**found, "/api/v1/namespaces/istio-system/pods": [], "/api/v1/namespaces/istio-system/configmaps": []}


def run(server, **auth):
    client = get_api_client(**{"host": server.url, "api_key": "abc", **auth})
    api = Api(client, 5)
    with contextlib.closing(_exec.ExecClient(client, 5)) as executor:
        return gather(
            api,
            [by_exec(executor.run, 8, 99, ExecRights(api))],
            Selection(),
            "istio-system",
            "now",
        )


def server(pods, execs, may, version="v1.30.0"):
    faults = {
        "selfsubjectaccessreviews": [reviews(lambda verb, part, namespace: part == "exec" and may(verb, namespace))]
    }
    return ApiServer({**lists(**pods), "/version": {"gitVersion": version}}, execs, faults)


def test_who_may_exec_everywhere_is_asked_one_question():
    with server({"shop": 3, "bank": 3}, READ, lambda _verb, namespace: not namespace) as api:
        assert len(run(api)["socketTables"]) == 6
        assert len(api.paths("reviews")) == 1


def test_from_1_35_on_there_is_a_question_for_each_verb():
    with server({"shop": 1}, READ, lambda _verb, _namespace: True, "v1.35.0") as api:
        run(api)
        assert [
            json.loads(asked.body)["spec"]["resourceAttributes"]["verb"]
            for asked in api.requests
            if "reviews" in asked.path
        ] == ["get", "create"]


@pytest.mark.parametrize(("verb", "version"), [("get", "v1.30.0"), ("create", "v1.35.1+k3s1")])
def test_many_refusals_become_one(verb, version):
    with server(
        {"shop": MANY, "bank": MANY}, forbidding(verb, "shop", "bank"), lambda asked, _namespace: asked != verb, version
    ) as api:
        found = run(api)
        assert len(api.paths("/exec")) == 1
    said = {entry["namespace"]: entry for entry in found["unread"]}
    assert {(each["reason"], *each["lacks"]) for each in said.values()} == {("forbidden", verb)}
    for namespace in ("shop", "bank"):
        assert f'"{namespace}"' in said[namespace]["detail"] and verb in said[namespace]["detail"]
        assert "pods/exec" in said[namespace]["detail"]
    assert len(found["unread"]) == 2 * MANY


@pytest.mark.parametrize("version", ["v1.34.3", "v1.36.2"])
def test_a_refusal_that_nobody_foresaw_is_asked_about_once_a_namespace(version):
    """The right was taken away after the first question; a version that asks for get alone is asked about get alone."""
    asked = []

    def may(verb, namespace):
        asked.append((verb, namespace))
        return not namespace

    with server({"shop": 40, "bank": 9}, forbidding("get", "shop"), may, version) as api:
        found = run(api)
        assert len(api.paths("/namespaces/shop/pods/")) <= 8
    assert len(found["socketTables"]) == 9
    assert {tuple(entry["lacks"]) for entry in found["unread"]} == {
        ("get",) if version == "v1.34.3" else ("get", "create")
    }
    assert len([namespace for _verb, namespace in asked if namespace]) <= 2


def test_a_refusal_of_a_pod_though_the_user_has_the_rights_says_nothing_of_the_others():
    def behave(connection):
        parts = connection.request().path.split("/")
        refused = parts[6] == "web-1"
        (answers(forbidden_exec("web-1", "shop", "create")) if refused else READ)(connection)

    with server({"shop": 9}, behave, lambda _verb, _namespace: True, "v1.36.2") as api:
        found = run(api)
    (entry,) = found["unread"]
    assert (entry["pod"], entry["lacks"], len(found["socketTables"])) == ("web-1", [], 8)
    assert entry["detail"].endswith('on resource "pods/exec" in the namespace "shop", and has them.')


def test_a_refusal_without_a_reason_and_without_an_answer_why_still_names_the_right():
    with ApiServer(lists(shop=2), forbidding("create", "shop")) as api:
        found = run(api)
    assert {entry["detail"] for entry in found["unread"]} == {
        'The API server gives no reason. The user needs the verbs get and create on resource "pods/exec" in the namespace "shop".'
    }
    assert locked_out(found).endswith(" Grant the verbs get and create on pods/exec.")


def test_rights_in_one_namespace_are_used_there():
    with server(
        {"shop": 20, "bank": 20}, forbidding("get", "bank"), lambda _verb, namespace: namespace == "shop"
    ) as api:
        found = run(api)
        assert len(api.paths("/exec")) == 21
    assert {table["namespace"] for table in found["socketTables"]} == {"shop"} and len(found["socketTables"]) == 20
    assert {entry["namespace"] for entry in found["unread"]} == {"bank"} and len(found["unread"]) == 20


def test_a_review_that_is_wrong_closes_nothing():
    with server({"shop": 9, "bank": 9}, READ, lambda _verb, _namespace: False) as api:
        found = run(api)
    assert (len(found["socketTables"]), found["unread"]) == (18, [])


NO_ANSWER = {
    "forbidden": answers(http(403, refusal(403, "Forbidden", "no"), "Connection: close")),
    "not served": answers(http(404, b"404 page not found", "Connection: close")),
    "no review": answers(http(201, b'{"status": {}}', "Connection: close")),
    "no JSON": answers(http(201, b"<html>", "Connection: close")),
    "a list": answers(http(201, b"[]", "Connection: close")),
    "cut off": answers(http(201, b"{", length=99)),
    "reset": lambda connection: connection.reset(),
    "silent": lambda connection: connection.hold(),
}


@pytest.mark.parametrize("answer", NO_ANSWER)
def test_a_server_that_cannot_say_is_tried_all_the_same(monkeypatch, answer):
    monkeypatch.setattr(_api, "QUESTION_TIMEOUT", 0.3)
    with ApiServer(lists(shop=3), READ, {"selfsubjectaccessreviews": [NO_ANSWER[answer]]}) as api:
        assert len(run(api)["socketTables"]) == 3
        assert api.paths("reviews")


def test_impersonation_reaches_lists_questions_and_execs():
    with server({"shop": 2}, forbidding("get", "shop"), lambda _verb, _namespace: False) as api:
        found = run(api, impersonate_user="mary", impersonate_groups=["dev", "ops"])
        for piece in ("/api/v1/pods", "reviews", "/exec"):
            asked = [each for each in api.requests if piece in each.path][0]
            assert (asked.all("Impersonate-User"), sorted(asked.all("Impersonate-Group"))) == (
                ["mary"],
                ["dev", "ops"],
            ), piece
    assert {entry["detail"].partition(" cannot")[0] for entry in found["unread"]} == {'User "mary"'}


@pytest.mark.parametrize(
    ("version", "found"), [("v1.20.2", 20), ("v1.35.1+k3s1", 35), ("1.36", 36), ("", 0), ("v2.1", 0), ("main", 0)]
)
def test_the_minor_version_is_read_off_whatever_a_server_calls_itself(version, found):
    assert minor(version) == found
