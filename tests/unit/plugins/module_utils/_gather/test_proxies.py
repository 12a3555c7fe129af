# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Asking proxies, from an API server on loopback that misbehaves as it is told."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from urllib.parse import parse_qs, urlsplit

import pytest

pytest.importorskip("kubernetes")
pytest.importorskip("websocket")

from ansible_collections.kubernetes.core.plugins.module_utils.k8s.client import get_api_client

from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather import api as _api
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather import exec as _exec
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.api import Api
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.attempts import Outcome
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.proxies import ask_proxies, proxy_config
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.rights import ExecRights
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.proxies import SILENCE
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.proxy_answer import COMMAND
from ansible_collections.meshops.istio_precheck.tests.helpers import cluster
from ansible_collections.meshops.istio_precheck.tests.helpers.fault_server import (
    NO_BINARY,
    SUCCESS,
    ApiServer,
    answers,
    exited,
    forbidden_exec,
    http,
    out,
    refusal,
    reviews,
    says,
    status,
)

SAID = says(out(cluster.proxy_answer({8080: "127.0.0.1:8080", 9090: None})), status(SUCCESS))
NO_AGENT = json.loads(json.dumps(NO_BINARY).replace('\\"ss\\"', '\\"pilot-agent\\"'))


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    for module in (_api, _exec):
        monkeypatch.setattr(module, "FIRST_WAIT", 0.02)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


def ask(server, *names, timeout=1.0, namespaces=("shop",), **limits):
    pods = [cluster.pod(name, namespace) for namespace in namespaces for name in names or ("web-1",)]
    limits = {"concurrency": 8, "per_node": 99, **limits}
    with contextlib.closing(_exec.ExecClient(client := get_api_client(host=server.url, api_key="abc"), timeout)) as to:
        snapshot = cluster.snapshot(pods)
        ports = {(pod["metadata"]["namespace"], pod["metadata"]["name"]): (8080,) for pod in pods}
        return ask_proxies(snapshot, ports, to.run, rights=ExecRights(Api(client, 5)), seconds=timeout, **limits)


def test_a_proxy_is_asked_by_its_agent_and_only_the_ports_that_count_are_kept():
    with ApiServer({}, SAID) as server:
        found = ask(server)
    assert found == [
        {
            "namespace": "shop",
            "pod": "web-1",
            "inbound": [{"port": 8080, "type": "STATIC", "address": "127.0.0.1:8080"}],
        }
    ]
    (path,) = server.paths("/exec")
    query = parse_qs(urlsplit(path).query)
    assert (query["container"], query["command"]) == (["istio-proxy"], list(COMMAND))


FAULTS = {
    "no answer in time": (says(then="hold"), "timeout", "No answer in time."),
    "no pilot-agent": (says(status(NO_AGENT)), "no_agent", "pilot-agent cannot be run in istio-proxy."),
    "a shell that does not find it": (
        says(status(exited(127))),
        "no_agent",
        "pilot-agent cannot be run in istio-proxy.",
    ),
    "an agent that fails": (says(status(exited(1))), "no_answer", "pilot-agent ended with 1."),
    "garbage": (says(out(b"\x00\xff\x1b[31m"), status(SUCCESS)), "no_answer", "Its answer is no JSON object."),
    "no cluster, as before it is configured": (
        says(out("{}\n"), status(SUCCESS)),
        "no_answer",
        "It has no inbound cluster at all",
    ),
    "half of an answer": (says(out('{"configs": ['), status(SUCCESS)), "no_answer", "Its answer is not read: "),
    "no right": (answers(forbidden_exec("web-1", "shop", "get")), "forbidden", "User "),
    "a pod that is gone": (answers(http(404, refusal(404, "NotFound", 'pods "web-1" not found'))), "gone", "pods "),
    "a broken connection": (says(out("{"), then="reset"), "connection", ""),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_proxy_that_says_nothing_has_a_reason(name):
    behaviour, reason, detail = FAULTS[name]
    began = time.monotonic()
    with ApiServer({}, behaviour) as server:
        (found,) = ask(server)
    assert (found["reason"], found.get("inbound")) == (reason, None)
    assert found["detail"].startswith(detail)
    assert reason in SILENCE
    assert time.monotonic() - began < 3


def test_an_answer_without_end_meets_a_limit(monkeypatch):
    monkeypatch.setattr(_exec, "MAX_OUTPUT", 1000)
    with ApiServer({}, says(*[out("x" * 500)] * 5)) as server:
        (found,) = ask(server)
    assert found["reason"] == "too_much_output"


def test_one_proxy_that_hangs_costs_no_other():
    def behave(asked):
        (says(then="hold") if "/web-1/" in asked.request().path else SAID)(asked)

    with ApiServer({}, behave) as server:
        found = ask(server, "web-1", "web-2", "web-3", concurrency=2)
    assert [(entry["pod"], entry.get("reason", "")) for entry in found] == [
        ("web-1", "timeout"),
        ("web-2", ""),
        ("web-3", ""),
    ]


def test_where_no_command_may_be_run_no_proxy_is_asked():
    lists = {"/apis/authorization.k8s.io/v1/selfsubjectaccessreviews": []}
    may = reviews(lambda verb, subresource, namespace: namespace == "open")
    with ApiServer(lists, SAID, {"selfsubjectaccessreviews": [may]}) as server:
        found = ask(server, "web-1", "web-2", namespaces=("open", "shut"))
    assert [(entry["namespace"], entry.get("reason", "")) for entry in found] == [
        ("open", ""),
        ("open", ""),
        ("shut", "forbidden"),
        ("shut", "forbidden"),
    ]
    assert len(server.paths("/exec")) == 2


def test_the_limit_of_a_node_holds():
    lock, now, most = threading.Lock(), [0], [0]

    def behave(asked):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.05)
        with lock:
            now[0] -= 1
        SAID(asked)

    with ApiServer({}, behave) as server:
        assert len(ask(server, *(f"web-{n}" for n in range(6)), per_node=2)) == 6
    assert most[0] <= 2


def test_what_a_proxy_printed_can_be_recorded():
    entry = proxy_config(("shop", "web"), Outcome("", None, "connection", "half \ud800"), ())
    json.dumps(entry, ensure_ascii=False).encode()
