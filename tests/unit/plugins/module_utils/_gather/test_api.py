# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lists, through the client that kubernetes.core makes, from a server that misbehaves."""

from __future__ import annotations

import contextlib
import gzip
import http.server as http_server
import json
import threading
import time
import tracemalloc
import typing as t
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("kubernetes")

import urllib3
from ansible_collections.kubernetes.core.plugins.module_utils.k8s.client import get_api_client

from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather import api as _api
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather import background as _background
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.api import Api
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.errors import ApiError
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model import outside
from ansible_collections.meshops.istio_precheck.tests.helpers import fault_server as faults
from ansible_collections.meshops.istio_precheck.tests.helpers.fault_server import (
    ApiServer,
    Connection,
    answers,
    http,
    refusal,
)

PODS = "/api/v1/pods"
NAMES = [{"metadata": {"name": f"web-{n}"}} for n in range(7)]
FORBIDDEN = 'pods is forbidden: User "jane" cannot list resource "pods" in API group "" at the cluster scope'


pytestmark = pytest.mark.usefixtures("alone")


def api(server: ApiServer, timeout: float = 5.0, **auth: t.Any) -> Api:
    return Api(get_api_client(**{"host": server.url, "api_key": "abc", **auth}), timeout)


def names(found: t.Sequence[dict[str, t.Any]]) -> list[str]:
    return [item["metadata"]["name"] for item in found]


def same(item: t.Any) -> t.Any:
    return item


def test_pages_are_read_to_the_last_each_object_once_and_in_order():
    with ApiServer({PODS: NAMES}) as server:
        server.page = 3
        assert names(api(server).pages(PODS, same)) == names(NAMES)
        assert server.paths(PODS) == [
            f"{PODS}?limit=250",
            f"{PODS}?continue=3&limit=250",
            f"{PODS}?continue=6&limit=250",
        ]


def test_a_request_of_another_kind_carries_its_method_body_and_query():
    with ApiServer({PODS: {"kind": "Status"}}) as server:
        assert api(server).ask("post", PODS, body={"kind": "Pod"}) == {"kind": "Status"}
        assert api(server).ask("delete", PODS, grace_period_seconds=0) == {"kind": "Status"}
        made, removed = [asked for asked in server.requests if PODS in asked.path]
    assert made.line.startswith(f"POST {PODS} ") and made.all("Content-Type") == ["application/json"]
    assert made.all("Content-Length") == [str(len(json.dumps({"kind": "Pod"})))]
    assert removed.line.startswith(f"DELETE {PODS}?gracePeriodSeconds=0 ")


def test_a_request_of_another_kind_that_is_refused_names_itself():
    with ApiServer(
        {PODS: {}}, faults={PODS: [http(403, refusal(403, "Forbidden", FORBIDDEN), "Connection: close")]}
    ) as server:
        with pytest.raises(ApiError, match=f"^POST {PODS}: pods is forbidden") as caught:
            api(server).ask("post", PODS, body={})
    assert (caught.value.status, caught.value.detail) == (403, FORBIDDEN)


def test_objects_are_reduced_as_their_page_arrives():
    with ApiServer({PODS: NAMES}) as server:
        assert api(server).pages(PODS, lambda item: item["metadata"]["name"]) == names(NAMES)


def test_objects_that_are_reduced_to_none_are_left_out():
    with ApiServer({PODS: NAMES}) as server:
        assert names(api(server).pages(PODS, lambda item: item if item["metadata"]["name"] == "web-3" else None)) == [
            "web-3"
        ]


def test_the_server_makes_the_next_page_while_one_is_reduced():
    with ApiServer({PODS: NAMES}) as server:
        server.page = 3
        seen = []

        def reduce(item):
            deadline = time.monotonic() + 20
            while len(server.paths(PODS)) < min(3, len(seen) // 3 + 2) and time.monotonic() < deadline:
                time.sleep(0.001)
            seen.append(len(server.paths(PODS)))
            return item

        assert names(api(server).pages(PODS, reduce)) == names(NAMES)
        assert seen == [2, 2, 2, 3, 3, 3, 3]


def test_a_list_without_items_is_empty():
    with ApiServer({PODS: {"kind": "PodList", "metadata": None, "items": None}}) as server:
        assert api(server).pages(PODS, same) == []


def gone(n: int) -> list[t.Any]:
    return [None, *[http(410, refusal(410, "Expired", "The provided continue parameter is too old"))] * n, None]


def test_an_expired_continue_token_starts_the_list_over_and_nothing_comes_twice():
    with ApiServer({PODS: NAMES}, faults={PODS: gone(1)}) as server:
        server.page = 4
        assert names(api(server).pages(PODS, same)) == names(NAMES)
        assert len(server.paths(PODS)) == 4


def test_a_continue_token_that_expires_again_is_an_error():
    with ApiServer({PODS: NAMES}, faults={PODS: [None, http(410, refusal(410, "Expired", "too old"))]}) as server:
        server.page = 4
        with pytest.raises(ApiError, match="too old") as caught:
            api(server).pages(PODS, same)
    assert caught.value.status == 410


def test_a_label_selector_is_passed_on_with_every_page():
    with ApiServer({PODS: NAMES}) as server:
        server.page = 4
        api(server).pages(PODS, same, label_selector="app=istiod")
        assert all("labelSelector=app%3Distiod" in path for path in server.paths(PODS))


def test_token_and_impersonation_reach_the_lists_with_all_groups():
    with ApiServer({PODS: NAMES}) as server:
        api(server, impersonate_user="jane", impersonate_groups=["dev", "ops"]).pages(PODS, same)
        asked = server.requests[-1]
    assert asked.all("authorization") == ["Bearer abc"]
    assert (asked.all("Impersonate-User"), sorted(asked.all("Impersonate-Group"))) == (["jane"], ["dev", "ops"])


def silent(connection: Connection) -> None:
    connection.hold()


def resets(connection: Connection) -> None:
    connection.reset()


def dribbles(connection: Connection) -> None:
    connection.dribble(http(200, json.dumps({"items": NAMES}).encode()))


def body(data: bytes, *headers: str, code: int = 200) -> bytes:
    return http(code, data, "Connection: close", *headers)


REFUSED: dict[str, tuple[t.Any, int, str]] = {
    "401": (body(refusal(401, "Unauthorized", "Unauthorized"), code=401), 401, "GET /api/v1/pods: Unauthorized"),
    "403": (body(refusal(403, "Forbidden", FORBIDDEN), code=403), 403, f"GET /api/v1/pods: {FORBIDDEN}"),
    "404": (body(b"404 page not found", code=404), 404, "GET /api/v1/pods: 404 Said"),
    "409": (body(refusal(409, "Conflict", "conflict"), code=409), 409, "GET /api/v1/pods: conflict"),
    "500 for ever": (
        body(refusal(500, "InternalError", "etcd is gone"), code=500),
        500,
        "GET /api/v1/pods: etcd is gone",
    ),
    "503 for ever": (body(b"", code=503), 503, "GET /api/v1/pods: 503 Said"),
    "a message that is none": (body(b'{"message": {"no": 1}}', code=409), 409, "GET /api/v1/pods: 409 Said"),
    "429 that asks for an hour": (
        body(b"", "Retry-After: 3600", code=429),
        0,
        "GET /api/v1/pods: the API server did not answer in time",
    ),
    "silence": (silent, 0, "GET /api/v1/pods: "),
    "a reset": (resets, 0, "GET /api/v1/pods: "),
    "byte by byte": (dribbles, 0, "GET /api/v1/pods: the API server did not answer in time"),
    "HTML": (body(b"<html>log in first</html>"), 0, "GET /api/v1/pods: it is not JSON: "),
    "binary": (body(b"\xff\xfe\x00"), 0, "GET /api/v1/pods: "),
    "half of a surrogate pair": (
        body(b'{"items": [{"metadata": {"name": "\\ud800"}}]}'),
        0,
        "GET /api/v1/pods: items[0].metadata.name: wanted text, found half of a surrogate pair in it",
    ),
    "a number that JSON has not": (
        body(b'{"items": [{"metadata": {"name": "a"}, "x": 1e999}]}'),
        0,
        "GET /api/v1/pods: items[0].x: wanted a number that JSON has, found inf",
    ),
    "a JSON list": (body(b"[]"), 0, "GET /api/v1/pods: the answer is no JSON object"),
    "a page that leads to itself": (
        body(b'{"items": [], "metadata": {"continue": "on"}}'),
        0,
        "GET /api/v1/pods: the list has no end: a continue token came",
    ),
    "no list": (body(b'{"kind": "PodList"}'), 0, "GET /api/v1/pods: the answer is no list"),
    "a list that is a mapping": (body(b'{"items": {"a": 1}}'), 0, "GET /api/v1/pods: the answer is no list"),
    "metadata that is a list": (body(b'{"items": [], "metadata": [1]}'), 0, "GET /api/v1/pods: the answer is no list"),
    "a continue token that is none": (
        body(b'{"items": [], "metadata": {"continue": [1]}}'),
        0,
        "GET /api/v1/pods: the answer is no list",
    ),
    "an object that is null": (
        body(b'{"items": [null]}'),
        0,
        "GET /api/v1/pods: the answer is no list of objects that have a name",
    ),
    "an object without metadata": (
        body(b'{"items": [{"spec": {}}]}'),
        0,
        "GET /api/v1/pods: the answer is no list of objects that have a name",
    ),
    "an object without a name": (
        body(b'{"items": [{"metadata": {"name": 1}}]}'),
        0,
        "GET /api/v1/pods: the answer is no list of objects that have a name",
    ),
    "levels without end": (body(b'{"items": [' + b"[" * 200_000), 0, "GET /api/v1/pods: "),
    "a refusal of levels without end": (body(b"[" * 200_000, code=403), 403, "GET /api/v1/pods: 403 Said"),
    "half an answer": (http(200, b'{"items": [', length=500), 0, "GET /api/v1/pods: "),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_every_fault_of_a_list_is_one_sentence_in_time(fault):
    behaviour, code, message = REFUSED[fault]
    with ApiServer({PODS: NAMES}, faults={PODS: [behaviour]}) as server:
        asking = api(server, timeout=0.6)
        began = time.monotonic()
        with pytest.raises(ApiError) as caught:
            asking.pages(PODS, same)
        assert time.monotonic() - began < 0.6 + 1.0
    assert str(caught.value).startswith(message)
    assert caught.value.status == code
    assert "object at 0x" not in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("code", [429, 500, 502, 503, 504])
def test_a_failure_that_passes_is_asked_again(code):
    with ApiServer({PODS: NAMES}, faults={PODS: [body(b"", code=code), None]}) as server:
        assert names(api(server).pages(PODS, same)) == names(NAMES)


def test_a_retry_after_is_waited_for():
    with ApiServer({PODS: NAMES}, faults={PODS: [body(b"", "Retry-After: 1", code=429), None]}) as server:
        began = time.monotonic()
        assert names(api(server).pages(PODS, same)) == names(NAMES)
        assert time.monotonic() - began >= 1


def test_an_unreachable_server_is_named():
    with ApiServer({PODS: NAMES}) as server:
        asking = api(server)
    with pytest.raises(
        ApiError, match=rf"GET /api/v1/pods: http://127.0.0.1:{server.port} cannot be reached: .*Connection refused"
    ):
        asking.pages(PODS, same)


def test_a_call_that_raises_raises_in_the_caller():
    with pytest.raises(ZeroDivisionError):
        _background.within(5, "asked", lambda: 1 // 0)


def test_a_call_that_exits_exits_the_caller():
    def leave() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        _background.within(5, "asked", leave)


def test_a_call_that_takes_too_long_is_not_waited_for():
    done = threading.Event()
    try:
        with pytest.raises(ApiError, match="^asked: the API server did not answer in time$"):
            _background.within(0.05, "asked", done.wait)
    finally:
        done.set()


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7),
        ({"retry-after": " 7 "}, 7),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
        ({"Retry-After": "-1"}, None),
    ],
)
def test_a_retry_after_is_a_number_of_seconds_or_nothing(headers, seconds):
    assert _api.retry_after(headers) == seconds


def test_a_defect_of_ours_is_not_dressed_up_as_the_servers():
    def broken(_item: t.Any) -> t.Any:
        raise KeyError("ours")

    with ApiServer({PODS: NAMES}) as server, pytest.raises(KeyError):
        api(server).pages(PODS, broken)


def test_over_tls_the_server_is_verified():
    with ApiServer({PODS: NAMES}, tls=faults.pki().context()) as server:
        assert names(api(server, ca_cert=faults.pki().ca).pages(PODS, same)) == names(NAMES)


# ---------------------------------------------------------------------------------------------------------------------
# Limits: nothing that a server says of itself takes memory


def endless(connection):
    """Each page has one object, and a continue token that was never there before."""
    number = connection.request().path.partition("continue=")[2].partition("&")[0] or "0"
    page = {"items": NAMES[:1], "metadata": {"continue": str(int(number) + 1)}}
    connection.send(http(200, json.dumps(page).encode(), "Connection: close"))


def chunks_for_ever(connection):
    connection.request()
    connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    with contextlib.suppress(OSError):
        while not connection.server.stopping.is_set():
            connection.send(b"10000\r\n" + b" " * 0x10000 + b"\r\n")


BOMB = gzip.compress(b" " * (64 << 20))
BOMBS = {
    "continue tokens without end": (endless, "the list has no end: more than 20 pages"),
    "a length of a hundred gigabytes": (
        answers(http(200, b"{", "Connection: close", length=10**11)),
        "the answer has more than 1048576 bytes",
    ),
    "a refusal of that length": (
        answers(http(403, b"{", "Connection: close", length=10**11)),
        "the answer has more than 1048576 bytes",
    ),
    "a length of a thousand digits": (
        answers(http(200, b"{", "Connection: close", length="1" * 1000)),
        "the answer has more than 1048576 bytes",
    ),
    "chunks without end": (chunks_for_ever, "the answer has more than 1048576 bytes"),
    "a bomb of gzip": (
        answers(http(200, BOMB, "Content-Encoding: gzip", "Connection: close")),
        "the answer has more than 1048576 bytes",
    ),
    "a refusal that is one": (
        answers(http(403, BOMB, "Content-Encoding: gzip", "Connection: close")),
        "the answer has more than 1048576 bytes",
    ),
    "more values than any page has": (
        answers(http(200, b'{"items": [' + b"{}," * 5000 + b"{}]}", "Connection: close")),
        "it holds more than 5000 values",
    ),
    "headers without end": (
        answers(b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: 1\r\n" % n for n in range(100_000)) + b"\r\n"),
        "headers",
    ),
    "a header without end": (answers(b"HTTP/1.1 200 OK\r\nX: " + b"x" * (4 << 20) + b"\r\n\r\n"), "header line"),
}


@pytest.mark.parametrize("how", BOMBS)
def test_a_bomb_in_an_answer_is_one_message_and_takes_no_memory(monkeypatch, how):
    behaviour, message = BOMBS[how]
    monkeypatch.setattr(_api, "MAX_ANSWER", 1 << 20)
    monkeypatch.setattr(outside, "VALUES", 5000)
    monkeypatch.setattr(_api, "MAX_PAGES", 20)
    with ApiServer({}, faults={PODS: [behaviour]}) as server, _api.staying():
        asked = api(server)
        tracemalloc.start()
        try:
            with pytest.raises(ApiError, match=message):
                asked.pages(PODS, same)
            assert tracemalloc.get_traced_memory()[1] < 32 << 20
        finally:
            tracemalloc.stop()


def test_an_answer_that_was_compressed_is_read():
    packed = gzip.compress(json.dumps({"items": NAMES}).encode())
    fault = answers(http(200, packed, "Content-Encoding: gzip", "Connection: close"))
    with ApiServer({}, faults={PODS: [fault]}) as server, _api.staying():
        assert names(api(server).pages(PODS, same)) == names(NAMES)


def test_requests_that_are_made_at_once_leave_connections_for_the_next_ones():
    together, connections = threading.Barrier(20), []

    class Handler(http_server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self):
            connections.append(self.client_address)
            super().setup()

        def do_GET(self):
            together.wait(30)
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_said):
            pass

    class Server(http_server.ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 50

    with Server(("127.0.0.1", 0), Handler) as server, _api.staying(), ThreadPoolExecutor(20) as pool:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        manager = urllib3.PoolManager(maxsize=10)  # as the client has it on two processors
        url = f"http://127.0.0.1:{server.server_port}{PODS}"
        for _round in range(3):
            answers_ = list(pool.map(lambda _number: manager.request("GET", url).data, range(20)))
            assert answers_ == [b"{}"] * 20
        server.shutdown()
    assert len(connections) == 20
