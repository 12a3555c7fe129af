# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Commands in pods, against a server that misbehaves in every way that a network, an API server or a kubelet has been seen to."""

from __future__ import annotations

import base64
import contextlib
import itertools
import os
import socket
import ssl
import struct
import threading
import time
import tracemalloc
import typing as t
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qsl, urlsplit

import pytest

pytest.importorskip("kubernetes")
pytest.importorskip("websocket")

from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather import exec as _exec
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.attempts import Outcome
from ansible_collections.meshops.istio_precheck.tests.helpers import fault_server as faults
from ansible_collections.meshops.istio_precheck.tests.helpers.fault_server import (
    CLOSED,
    NO_BINARY,
    SUCCESS,
    Connection,
    FaultServer,
    answers,
    client,
    exited,
    frame,
    http,
    out,
    refusal,
    says,
    status,
)

TABLE = "LISTEN 0 128 127.0.0.1:8080 0.0.0.0:*\n"
TIMEOUT = 0.6
GRACE = 1.0
"""What a run may take beyond its timeout: the watchdog looks ten times a second, and the machine is shared."""

COMMAND = ("ss", "-ltnH")
GOOD = (out(TABLE), status(SUCCESS), CLOSED)
ANSWERED = Outcome(TABLE, 0)


@pytest.fixture(autouse=True)
def no_long_waits(monkeypatch):
    monkeypatch.setattr(_exec, "FIRST_WAIT", 0.02)


@pytest.fixture(autouse=True)
def nothing_is_left():
    """No thread and no socket outlives a test."""
    with nothing_left():
        yield


@contextlib.contextmanager
def nothing_left() -> t.Iterator[None]:

    def sockets() -> int:
        found = 0
        for number in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else ():
            with contextlib.suppress(OSError):
                found += os.readlink(f"/proc/self/fd/{number}").startswith("socket:")
        return found

    threads, before = set(threading.enumerate()), sockets()
    yield
    end = time.monotonic() + 2
    while time.monotonic() < end and (set(threading.enumerate()) - threads or sockets() > before):
        time.sleep(0.01)
    assert set(threading.enumerate()) <= threads
    assert sockets() <= before


def run(made: t.Any, timeout: float = TIMEOUT, command: t.Sequence[str] = COMMAND, pod: str = "web-1") -> Outcome:
    with contextlib.closing(_exec.ExecClient(made, timeout)) as executor:
        began = time.monotonic()
        outcome = executor.run("shop", pod, "istio-proxy", command)
        assert time.monotonic() - began < timeout + GRACE, "the deadline did not hold"
    return outcome


# ---------------------------------------------------------------------------------------------------------------------
# The table of faults


def refuse(code: int, message: str = "", reason: str = "Reason", *headers: str) -> faults.Behaviour:
    return answers(http(code, refusal(code, reason, message) if message else b"", *headers))


def dribbles(data: bytes) -> faults.Behaviour:
    def behave(connection: Connection) -> None:
        connection.request()
        connection.dribble(data)

    return behave


def dribbles_handshake(connection: Connection) -> None:
    connection.dribble(faults.handshake(connection.request()))


def dribbles_frames(connection: Connection) -> None:
    connection.upgrade()
    connection.dribble(out(TABLE * 100))


def pings_forever(connection: Connection) -> None:
    connection.upgrade()
    while not connection.server.stopping.wait(0.02):
        connection.send(frame(b"still there?", faults.PING))


def prints_forever(connection: Connection) -> None:
    connection.upgrade()
    while not connection.server.stopping.is_set():
        connection.send(out("x" * 1000))
        time.sleep(0.001)


def silent(connection: Connection) -> None:
    connection.hold()


def closes(_connection: Connection) -> None:
    """The server takes the connection and drops it."""


def resets(connection: Connection) -> None:
    connection.request()
    connection.reset()


BIG = "".join(f"LISTEN 0 128 127.0.0.1:{n % 65536} 0.0.0.0:*\n" for n in range(100_000))
FORBIDDEN = (
    'pods "web-1" is forbidden: User "jane" cannot create resource "pods/exec" in API group "" in the namespace "shop"'
)
RBAC = 'User "jane" cannot create resource "pods/exec" in API group "" in the namespace "shop"'
LATE = ("", None, "timeout", "No answer in time.")
CUT = ("", None, "connection", "The connection was closed before the server said how the command ended.")

FAULTS: dict[str, tuple[t.Sequence[faults.Behaviour], tuple[t.Any, ...]]] = {
    # What goes well, however it is cut up
    "frame by frame": ([says(*GOOD)], ANSWERED),
    "all frames in one piece": ([says(b"".join(GOOD))], ANSWERED),
    "the connection stays open after the status": ([says(out(TABLE), status(SUCCESS), then="hold")], ANSWERED),
    "the connection is reset after the status": ([says(out(TABLE), status(SUCCESS), then="reset")], ANSWERED),
    "empty frames first, as a kubelet sends them": (
        [says(frame(b"\1"), frame(b"\2"), frame(b"\3"), frame(b""), *GOOD)],
        ANSWERED,
    ),
    "text frames": ([says(frame(b"\1" + TABLE.encode(), faults.TEXT), status(SUCCESS))], ANSWERED),
    "a ping in between": ([says(out(TABLE), frame(b"?", faults.PING), status(SUCCESS))], ANSWERED),
    "something on stderr": ([says(frame(b"\2warning\n"), out(TABLE), status(SUCCESS))], ANSWERED),
    "a channel of a later protocol": ([says(frame(b"\xff\1"), *GOOD)], ANSWERED),
    "one frame in two fragments": (
        [says(frame(b"\1" + TABLE[:9].encode(), final=False), frame(TABLE[9:].encode(), 0), status(SUCCESS))],
        ANSWERED,
    ),
    "a status in two frames": ([says(out(TABLE), status(b'{"status": "Suc'), status(b'cess"}'))], ANSWERED),
    "UTF-8 split over frames": ([says(out("é".encode()[:1]), out("é".encode()[1:]), status(SUCCESS))], ("é", 0)),
    "bytes that are no UTF-8": ([says(out(b"a\xff\xfe\n"), status(SUCCESS))], ("a\ufffd\ufffd\n", 0)),
    "no output": ([says(status(SUCCESS))], ("", 0)),
    "megabytes in small frames": (
        [says(*(out(BIG[n : n + 65000]) for n in range(0, len(BIG), 65000)), status(SUCCESS))],
        (BIG, 0),
    ),
    "megabytes in one frame": ([says(out(BIG), status(SUCCESS))], (BIG, 0)),
    # Commands that fail
    "a non-zero exit without output": ([says(status(exited(3)))], ("", 3)),
    "a non-zero exit with output": ([says(out(TABLE), status(exited(1)))], (TABLE, 1)),
    "a missing binary": ([says(status(NO_BINARY))], ("", None, "cannot_run", NO_BINARY["message"])),
    "an exit code that is no number": (
        [says(status({**exited(3), "details": {"causes": [{"reason": "ExitCode", "message": "three"}]}}))],
        ("", None, "cannot_run"),
    ),
    # Answers cut short
    "no status at all": ([says(out(TABLE), CLOSED)], CUT),
    "no status, no close frame": ([says(out(TABLE))], CUT),
    "half a frame, then the end": ([says(out(TABLE)[:9])], CUT),
    "half a frame, then a reset": ([says(out(TABLE)[:9], then="reset")], CUT),
    "half a status": ([says(out(TABLE), status(b'{"status": "Suc'), CLOSED)], ("", None, "connection")),
    "half a frame, then silence": ([says(out(TABLE)[:9], then="hold")], LATE),
    "a status that is no JSON": ([says(out(TABLE), status(b"<html>"), CLOSED)], ("", None, "connection")),
    "a status that is a list": ([says(status([])), says(status([]))], ("", None, "connection")),
    "a status with causes of a wrong shape": (
        [says(status({"status": "Failure", "details": {"causes": "no"}}))],
        ("", None, "connection"),
    ),
    "cut off once, then well": ([says(out(TABLE)), says(*GOOD)], ANSWERED),
    "frames that are garbage": ([says(b"\xff" * 64)], ("", None, "connection")),
    "a frame that claims to be endless": ([says(bytes([0x82, 127]) + struct.pack(">Q", 1 << 62), then="hold")], LATE),
    # Handshakes
    "silent after accept": ([silent], LATE),
    "silent after the handshake": ([says(then="hold")], LATE),
    "a handshake byte by byte": ([dribbles_handshake], LATE),
    "a refusal byte by byte": ([dribbles(http(403, b"x" * 500))], LATE),
    "frames byte by byte": ([dribbles_frames], LATE),
    "pings for ever": ([pings_forever], LATE),
    "output for ever": ([prints_forever], LATE),
    "closed after accept": ([closes], ("", None, "connection")),
    "closed once after accept, then well": ([closes, says(*GOOD)], ANSWERED),
    "reset after the request": ([resets], ("", None, "connection")),
    "reset once after the request, then well": ([resets, says(*GOOD)], ANSWERED),
    "an answer that is no HTTP": ([answers(b"\x15\x03\x01\x00\x02\x02\x50\r\n\r\n")], ("", None, "connection")),
    "a header that is no UTF-8": (
        [answers(b"HTTP/1.1 101 \xff\xfe\r\nUpgrade: \xff\r\n\r\n")],
        ("", None, "connection"),
    ),
    "a status line without a status": ([answers(b"HTTP/1.1\r\n\r\n")], ("", None, "connection")),
    "an upgrade that is none": ([answers(http(200, b"hello"))], ("", None, "server_error", "hello")),
    "a redirection": ([answers(http(302, b"", "Location: http://127.0.0.1:9/"))], ("", None, "connection")),
    # Refusals
    "401": ([refuse(401, "Unauthorized")], ("", None, "forbidden", "Unauthorized")),
    "403": ([refuse(403, FORBIDDEN)], ("", None, "forbidden", RBAC)),
    "404": ([refuse(404, 'pods "web-1" not found')], ("", None, "gone", 'pods "web-1" not found')),
    "400, container not found": (
        [refuse(400, "container istio-proxy is not valid for pod web-1")],
        ("", None, "cannot_run"),
    ),
    "500, container not found": ([refuse(500, 'container not found ("istio-proxy")')], ("", None, "cannot_run")),
    "500, kubelet unreachable": (
        [refuse(500, "error dialing backend: dial tcp 10.0.0.1:10250: i/o timeout")],
        ("", None, "node_unreachable"),
    ),
    "409": ([refuse(409, "conflict")], ("", None, "server_error", "conflict")),
    "a refusal without a body": ([answers(b"HTTP/1.1 403 Forbidden\r\n\r\n")], ("", None, "forbidden", "HTTP 403")),
    "a refusal in HTML": ([answers(http(409, b"<h1>no</h1>"))], ("", None, "server_error", "<h1>no</h1>")),
    "a refusal in binary": ([answers(http(409, b"\xff\x00"))], ("", None, "server_error")),
    "a refusal whose body is cut off": ([answers(http(403, b"{", length=99))], ("", None, "connection")),
    # Refusals that pass
    "429 with Retry-After, then well": (
        [refuse(429, "slow down", "TooManyRequests", "Retry-After: 0"), says(*GOOD)],
        ANSWERED,
    ),
    "500, then well": ([refuse(500, "etcd"), says(*GOOD)], ANSWERED),
    "502, then well": ([answers(http(502, b"<html>")), says(*GOOD)], ANSWERED),
    "503, then well": ([refuse(503), says(*GOOD)], ANSWERED),
    "504, then well": ([refuse(504), says(*GOOD)], ANSWERED),
    "503, then silent": (
        [refuse(503, "apiserver not ready"), silent],
        ("", None, "server_error", "apiserver not ready"),
    ),
    "503 for ever": ([refuse(503, "apiserver not ready")], ("", None, "server_error", "apiserver not ready")),
    "429 that asks for more time than there is": (
        [refuse(429, "slow down", "Slow", "Retry-After: 60")],
        ("", None, "server_error", "slow down"),
    ),
}


class Ended(t.NamedTuple):
    outcome: Outcome
    seconds: float
    patience: float


def suffer(secure: bool) -> dict[str, Ended]:
    """How each fault ended: all of them at once, as in a run, and because most take their whole timeout."""

    def one(fault: str) -> Ended:
        # Only what is late needs a short one; a busy machine makes the others late, too.
        patience = 20 if "megabytes" in fault else TIMEOUT if FAULTS[fault][1] == LATE else 3
        with FaultServer(*FAULTS[fault][0], tls=faults.pki().context() if secure else None) as server:
            with contextlib.closing(
                _exec.ExecClient(client(server.url, ssl_ca_cert=faults.pki().ca), patience)
            ) as executor:
                began = time.monotonic()
                outcome = executor.run("shop", "web-1", "istio-proxy", COMMAND)
                return Ended(outcome, time.monotonic() - began, patience)

    faults.pki()
    with ThreadPoolExecutor(max_workers=12) as pool:
        return dict(zip(FAULTS, pool.map(one, FAULTS)))


def wrong(ended: Ended, expected: tuple[t.Any, ...]) -> list[str]:
    """What of it is not as it should be."""
    outcome, found = ended.outcome, []
    if tuple(outcome)[: len(expected)] != tuple(expected):
        found.append(f"{tuple(outcome)} instead of {expected}")
    if ended.seconds >= ended.patience + GRACE:
        found.append(f"the deadline did not hold: {ended.seconds:.1f} s of {ended.patience} s")
    if outcome.code is None and not (outcome.reason and outcome.detail and len(outcome.detail) <= 300):
        found.append("no reason, or no detail of at most 300 characters")
    return found


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
def test_every_fault_ends_in_time_with_its_reason_and_nothing_lost(secure):
    ends = suffer(secure)
    assert {fault: wrong(ended, FAULTS[fault][1]) for fault, ended in ends.items()} == {fault: [] for fault in FAULTS}


def test_a_refused_connection_is_given_up_long_before_the_deadline():
    with FaultServer(silent) as server:
        url = server.url
    began = time.monotonic()
    outcome = run(client(url), timeout=30)
    assert outcome.reason == "connection" and "Connection refused" in outcome.detail
    assert time.monotonic() - began < 5


def test_a_host_that_is_none_is_a_connection_failure():
    assert run(client("http://no-such-host.invalid:6443"), timeout=10).reason == "connection"


def test_a_name_server_that_does_not_answer_keeps_no_pod_beyond_its_deadline(monkeypatch):
    done = threading.Event()
    monkeypatch.setattr(_exec.socket, "getaddrinfo", lambda *_args, **_kwargs: done.wait(30))
    began = time.monotonic()
    try:
        assert run(client("http://slow.example:1"), timeout=0.5)[:4] == (
            "",
            None,
            "timeout",
            "No answer in time from the name server.",
        )
    finally:
        done.set()
    assert time.monotonic() - began < 0.5 + GRACE


def test_addresses_that_do_not_answer_share_one_deadline(monkeypatch):
    full = socket.create_server(("127.0.0.1", 0), backlog=0)  # a full backlog lets no connection through
    fillers = [socket.socket() for _filler in range(4)]
    for filler in fillers:
        filler.setblocking(False)
        filler.connect_ex(full.getsockname())
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", full.getsockname())] * 4
    monkeypatch.setattr(_exec.socket, "getaddrinfo", lambda *_args, **_kwargs: found)
    try:
        assert run(client("http://many.example:1")).reason == "timeout"
    finally:
        for each in (*fillers, full):
            each.close()


def test_the_second_address_answers_where_the_first_refuses(monkeypatch):
    with FaultServer(silent) as gone:
        dead = ("127.0.0.1", gone.port)
    with FaultServer(says(*GOOD)) as server:
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in (dead, ("127.0.0.1", server.port))]
        monkeypatch.setattr(_exec.socket, "getaddrinfo", lambda *_args, **_kwargs: found)
        assert run(client("http://two.example:1")) == ANSWERED


def test_output_beyond_the_limit_is_a_reason_not_a_cut_table(monkeypatch):
    monkeypatch.setattr(_exec, "MAX_OUTPUT", 1000)
    with FaultServer(says(out("x" * 600), out("x" * 600), status(SUCCESS))) as server:
        outcome = run(client(server.url))
    assert outcome[:4] == ("", None, "too_much_output", "The command printed more than 1000 bytes.")


def headers_for_ever(connection: faults.Connection) -> None:
    connection.request()
    connection.send(b"HTTP/1.1 101 Switching Protocols\r\n")
    for number in itertools.count():
        connection.send(b"".join(b"X-%d: 1\r\n" % (1000 * number + n) for n in range(1000)))


def a_header_for_ever(connection: faults.Connection) -> None:
    connection.request()
    connection.send(b"HTTP/1.1 101 Switching Protocols\r\nX: ")
    while True:
        connection.send(b"x" * 65536)


def a_frame_for_ever(connection: faults.Connection) -> None:
    connection.upgrade()
    connection.send(b"\x82\x7f" + (1 << 63).to_bytes(8, "big") + b"\x01")
    while True:
        connection.send(b"x" * 65536)


def parts_for_ever(connection: faults.Connection) -> None:
    """One message of frames that are never the last."""
    connection.upgrade()
    connection.send(faults.frame(b"\x01", final=False))
    while True:
        connection.send(faults.frame(b"x" * 60000, opcode=0, final=False))


def errors_for_ever(connection: faults.Connection) -> None:
    connection.upgrade()
    while True:
        connection.send(faults.frame(bytes([faults.STDERR]) + b"x" * 60000))


def a_refusal_for_ever(connection: faults.Connection) -> None:
    connection.request()
    connection.send(f"HTTP/1.1 403 Forbidden\r\nContent-Length: {10**11}\r\n\r\n".encode())
    while True:
        connection.send(b"x" * 65536)


HEADERS = ("connection", "The server sent more than 8192 bytes of headers.")
OUTPUT = ("too_much_output", "The command printed more than 1000000 bytes.")
BOMBS = {
    "headers": (headers_for_ever, HEADERS),
    "a header": (a_header_for_ever, HEADERS),
    "a refusal": (a_refusal_for_ever, HEADERS),
    "a frame": (a_frame_for_ever, OUTPUT),
    "parts": (parts_for_ever, OUTPUT),
    "errors": (errors_for_ever, OUTPUT),
}


@pytest.mark.parametrize("what", BOMBS)
def test_what_a_server_sends_for_ever_meets_a_limit_before_it_takes_memory(monkeypatch, what):
    behaviour, wanted = BOMBS[what]
    monkeypatch.setattr(_exec, "MAX_HEADERS", 1 << 13)
    monkeypatch.setattr(_exec, "MAX_OUTPUT", 1_000_000)
    with FaultServer(behaviour) as server:
        tracemalloc.start()
        try:
            outcome = run(client(server.url), timeout=20)
            assert tracemalloc.get_traced_memory()[1] < 16 << 20
        finally:
            tracemalloc.stop()
    assert (outcome.reason, outcome.detail) == wanted
    assert server.connections == 1


def test_a_busy_server_is_asked_again_until_the_deadline_and_no_longer():
    with FaultServer(refuse(503, "not ready")) as server:
        assert run(client(server.url), timeout=0.5).reason == "server_error"
        assert 2 <= server.connections <= 5  # after 0.02, 0.04, 0.08 and 0.16 s; another 0.32 s would be too late


def test_a_connection_that_always_breaks_is_tried_three_times():
    with FaultServer(closes) as server:
        assert run(client(server.url), timeout=20).reason == "connection"
        assert server.connections == 3


def test_no_token_follows_a_redirection():
    with FaultServer(says(*GOOD)) as elsewhere:
        with FaultServer(answers(http(307, b"", f"Location: {elsewhere.url.replace('http', 'ws')}/"))) as server:
            assert (
                run(
                    client(server.url, api_key={"authorization": "Bearer secret", "BearerToken": "Bearer secret"})
                ).reason
                == "connection"
            )
        assert elsewhere.requests == []


def test_one_bad_pod_among_many_costs_the_others_nothing():
    def some(connection: Connection) -> None:
        asked = connection.upgrade()
        if "/pods/bad-" in asked.path:
            connection.send(b"\xff" * 64)
            return
        connection.send(b"".join((out(asked.path.split("/pods/")[1].split("/")[0]), status(SUCCESS))))

    with FaultServer(some, tls=faults.pki().context()) as server:
        with contextlib.closing(_exec.ExecClient(client(server.url, ssl_ca_cert=faults.pki().ca), 10)) as executor:
            names = [f"bad-{n}" if n % 10 == 0 else f"good-{n}" for n in range(100)]
            with ThreadPoolExecutor(max_workers=32) as pool:
                found = list(pool.map(lambda name: executor.run("shop", name, "c", COMMAND), names))
    for name, outcome in zip(names, found):
        assert outcome.reason == "connection" if name.startswith("bad") else outcome == (name, 0, "", "", 0)


def test_many_silent_pods_end_together_at_the_deadline():
    with FaultServer(says(then="hold")) as server:
        with (
            contextlib.closing(_exec.ExecClient(client(server.url), TIMEOUT)) as executor,
            ThreadPoolExecutor(max_workers=32) as pool,
        ):
            began = time.monotonic()
            found = list(pool.map(lambda n: executor.run("shop", f"web-{n}", "c", COMMAND), range(32)))
            assert time.monotonic() - began < TIMEOUT + GRACE + 0.5
    assert {outcome.reason for outcome in found} == {"timeout"}


# ---------------------------------------------------------------------------------------------------------------------
# What is sent


def test_the_request_names_pod_container_and_command_and_asks_for_both_streams():
    with FaultServer(says(*GOOD)) as server:
        run(client(server.url + "/prefix/"), command=("cat", "/proc/net/tcp", "a b&c"))
        (asked,) = server.requests
    url = urlsplit(asked.path)
    assert url.path == "/prefix/api/v1/namespaces/shop/pods/web-1/exec"
    assert parse_qsl(url.query) == [
        ("container", "istio-proxy"),
        ("stdout", "true"),
        ("stderr", "true"),
        ("command", "cat"),
        ("command", "/proc/net/tcp"),
        ("command", "a b&c"),
    ]
    assert asked.all("Sec-WebSocket-Protocol") == ["v4.channel.k8s.io"]
    assert asked.all("Origin") == []


def test_a_name_cannot_leave_its_place_in_the_path():
    with FaultServer(says(*GOOD)) as server:
        run(client(server.url), pod="../../secrets?x=\r\nHost: evil")
        assert (
            urlsplit(server.requests[0].path).path
            == "/api/v1/namespaces/shop/pods/..%2F..%2Fsecrets%3Fx%3D%0D%0AHost%3A%20evil/exec"
        )


def test_the_token_is_sent():
    with FaultServer(says(*GOOD)) as server:
        run(client(server.url, api_key={"authorization": "Bearer abc", "BearerToken": "Bearer abc"}))
        assert server.requests[0].all("authorization") == ["Bearer abc"]


def test_a_token_is_refreshed_for_each_exec_by_one_thread_at_a_time():
    inside, most = [], []

    def refresh(configuration: t.Any) -> None:
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.005)
        configuration.api_key = {"authorization": "Bearer fresh", "BearerToken": "Bearer fresh"}
        inside.pop()

    with FaultServer(says(*GOOD)) as server:
        made = client(
            server.url,
            api_key={"authorization": "Bearer old", "BearerToken": "Bearer old"},
            refresh_api_key_hook=refresh,
        )
        with contextlib.closing(_exec.ExecClient(made, 10)) as executor, ThreadPoolExecutor(max_workers=8) as pool:
            assert (
                list(pool.map(lambda n: executor.run("shop", f"web-{n}", "c", COMMAND), range(16))) == [ANSWERED] * 16
            )
        assert {value for asked in server.requests for value in asked.all("authorization")} == {"Bearer fresh"}
    assert max(most) == 1


def test_what_has_been_asked_for_is_asked_for_again_once_it_is_old(monkeypatch):
    monkeypatch.setattr(_exec, "FRESH", 0.05)
    tokens = iter(range(100))

    def refresh(configuration: t.Any) -> None:
        configuration.api_key = {name: f"Bearer {next(tokens)}" for name in ("authorization", "BearerToken")}

    with FaultServer(says(*GOOD)) as server:
        made = client(server.url, api_key={"authorization": "", "BearerToken": ""}, refresh_api_key_hook=refresh)
        with contextlib.closing(_exec.ExecClient(made, 10)) as executor:
            for _run in range(3):
                assert executor.run("shop", "web", "c", COMMAND) == ANSWERED
                time.sleep(0.1)
        assert len({value for asked in server.requests for value in asked.all("authorization")}) == 3


def test_a_refresh_that_fails_is_tried_again_for_the_next_pod():
    left = [ValueError("no token yet")] * _exec.DIALS

    def refresh(_configuration: t.Any) -> None:
        if left:
            raise left.pop()

    with FaultServer(says(*GOOD)) as server:
        made = client(
            server.url,
            api_key={"authorization": "Bearer abc", "BearerToken": "Bearer abc"},
            refresh_api_key_hook=refresh,
        )
        with contextlib.closing(_exec.ExecClient(made, 10)) as executor:
            outcomes = [executor.run("shop", "web", "c", COMMAND) for _run in range(_exec.DIALS + 1)]
    assert outcomes[0][:4] == ("", None, "connection", "ValueError: no token yet")
    assert outcomes[-1] == ANSWERED


def test_impersonation_reaches_the_exec_with_all_of_its_groups():
    class Unequal(str):
        """A header name that may come twice, as kubernetes.core makes them."""

        __hash__ = object.__hash__

        def __eq__(self, other):
            return self is other

    headers = {
        "Impersonate-User": "jane",
        Unequal("Impersonate-Group"): "dev",
        Unequal("Impersonate-Group"): "ops",
        "User-Agent": "other",
    }
    with FaultServer(says(*GOOD)) as server:
        run(client(server.url, headers))
        (asked,) = server.requests
    assert (asked.all("Impersonate-User"), asked.all("Impersonate-Group"), asked.all("User-Agent")) == (
        ["jane"],
        ["dev", "ops"],
        [],
    )


# ---------------------------------------------------------------------------------------------------------------------
# TLS


def over_tls(
    certificate: str | None = None, ask_client: bool = False, host: str | None = None, **configuration: t.Any
) -> tuple[Outcome, t.Any]:
    seen: list[t.Any] = []

    def behave(connection: Connection) -> None:
        seen.append(connection.peer_certificate)
        says(*GOOD)(connection)

    with FaultServer(behave, tls=faults.pki().context(certificate, ask_client)) as server:
        outcome = run(
            client(
                host.format(port=server.port) if host else server.url,
                **{"ssl_ca_cert": faults.pki().ca, **configuration},
            ),
            timeout=5,
        )
    return outcome, seen[0] if seen else None


UNTRUSTED = {
    "an authority that is not trusted": {"ssl_ca_cert": None},
    "an expired certificate": {"certificate": "expired"},
    "a certificate for another name": {"certificate": "named"},
}


@pytest.mark.parametrize("case", UNTRUSTED)
def test_a_server_that_cannot_be_trusted_is_not_talked_to(case):
    settings = dict(UNTRUSTED[case])
    if "certificate" in settings:
        settings["certificate"] = getattr(faults.pki(), settings["certificate"])
    outcome, seen = over_tls(**settings)
    assert outcome.reason == "connection" and "certificate verify failed" in outcome.detail
    assert seen is None


def test_verification_can_be_turned_off():
    assert over_tls(faults.pki().expired, verify_ssl=False, ssl_ca_cert=None)[0] == ANSWERED


def test_assert_hostname_false_takes_any_name_but_no_other_authority():
    assert over_tls(faults.pki().named, assert_hostname=False)[0] == ANSWERED
    assert over_tls(faults.pki().named, assert_hostname=False, ssl_ca_cert=None)[0].reason == "connection"


def test_tls_server_name_is_the_name_that_is_checked():
    assert over_tls(faults.pki().named, tls_server_name="api.example")[0] == ANSWERED
    assert over_tls(faults.pki().server, tls_server_name="other.example")[0].reason == "connection"


def test_a_client_certificate_is_shown():
    outcome, seen = over_tls(ask_client=True, cert_file=faults.pki().client, key_file=faults.pki().client_key)
    assert outcome == ANSWERED
    assert (("commonName", "client"),) in seen["subject"]


def test_a_server_that_wants_a_client_certificate_gets_none_that_was_not_given():
    assert over_tls(ask_client=True)[0].reason == "connection"


def test_a_client_certificate_that_is_none_is_said_before_anything_is_run(tmp_path):
    (tmp_path / "no.pem").write_text("no certificate", encoding="utf-8")
    with pytest.raises(ssl.SSLError):
        _exec.ExecClient(
            client("https://127.0.0.1:1", cert_file=str(tmp_path / "no.pem"), ssl_ca_cert=faults.pki().ca), 1
        )
    with pytest.raises(FileNotFoundError):
        _exec.ExecClient(client("https://127.0.0.1:1", ssl_ca_cert=str(tmp_path / "missing.pem")), 1)


def test_a_plain_server_behind_https_is_a_connection_failure():
    with FaultServer(says(*GOOD)) as server:
        assert run(client(server.url.replace("http", "https"), ssl_ca_cert=faults.pki().ca)).reason in (
            "connection",
            "timeout",
        )


def test_a_tls_handshake_byte_by_byte_ends_at_the_deadline():
    def behave(connection: Connection) -> None:
        connection.dribble(b"\x16\x03\x03\x40\x00" + b"\x02" * 4000)

    with FaultServer(behave, tls=faults.pki().context(), raw=True) as server:
        assert run(client(server.url, ssl_ca_cert=faults.pki().ca)).reason == "timeout"


def test_a_tls_handshake_that_never_comes_ends_at_the_deadline():
    with FaultServer(silent, tls=faults.pki().context(), raw=True) as server:
        assert run(client(server.url, ssl_ca_cert=faults.pki().ca)).reason == "timeout"


def test_one_tls_context_serves_all_execs(monkeypatch):
    made = []
    real = _exec.tls_context
    monkeypatch.setattr(_exec, "tls_context", lambda configuration: made.append(1) or real(configuration))
    with FaultServer(says(*GOOD), tls=faults.pki().context()) as server:
        with contextlib.closing(_exec.ExecClient(client(server.url, ssl_ca_cert=faults.pki().ca), 5)) as executor:
            assert [executor.run("shop", "web", "c", COMMAND) for _run in range(3)] == [ANSWERED] * 3
    assert len(made) == 1


# ---------------------------------------------------------------------------------------------------------------------
# Proxies


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
def test_a_proxy_is_asked_for_a_connection_with_its_headers(secure):
    basic = "Basic " + base64.b64encode(b"user:secret").decode()
    with (
        FaultServer(says(*GOOD), tls=faults.pki().context() if secure else None) as server,
        FaultServer(faults.proxy(server.port)) as via,
    ):
        url = f"{'https' if secure else 'http'}://api.example:6443"
        assert (
            run(
                client(url, proxy=via.url, proxy_headers={"proxy-authorization": basic}, ssl_ca_cert=faults.pki().ca),
                timeout=5,
            )
            == ANSWERED
        )
        (asked,) = via.requests
        assert asked.line == "CONNECT api.example:6443 HTTP/1.1"
        assert asked.all("proxy-authorization") == [basic]
        assert server.requests[0].all("proxy-authorization") == []


@pytest.mark.parametrize("no_proxy", ["127.0.0.1", "example.com,127.0.0.1", "*"])
def test_no_proxy_goes_past_the_proxy(no_proxy):
    with FaultServer(says(*GOOD)) as server, FaultServer(silent) as via:
        assert run(client(server.url, proxy=via.url, no_proxy=no_proxy), timeout=5) == ANSWERED
        assert via.connections == 0


PROXY_FAULTS: dict[str, tuple[faults.Behaviour, str]] = {
    "silent": (silent, "timeout"),
    "byte by byte": (dribbles(b"HTTP/1.1 200 Connection established\r\n\r\n" * 9), "timeout"),
    "refuses": (answers(http(407, b"", "Proxy-Authenticate: Basic")), "connection"),
    "fails": (answers(http(502)), "connection"),
    "is no proxy": (answers(b"garbage\r\n\r\n"), "connection"),
    "closes": (closes, "connection"),
}


@pytest.mark.parametrize("fault", PROXY_FAULTS)
def test_a_proxy_that_fails_is_a_reason_in_time(fault):
    behaviour, reason = PROXY_FAULTS[fault]
    with FaultServer(behaviour) as via:
        assert run(client("http://api.example:6443", proxy=via.url)).reason == reason


@pytest.mark.parametrize("url", ["socks5://127.0.0.1:1080", "https://127.0.0.1:3128", "127.0.0.1:3128"])
def test_a_proxy_that_an_exec_cannot_use_is_said_at_once(url):
    with pytest.raises(ValueError, match="proxy: "):
        _exec.ExecClient(client("http://api.example:6443", proxy=url), 1)
