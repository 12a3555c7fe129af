# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Kubelets that are slow, dead or liars, behind a real API server: what they keep from us is told, in time, and passes for nothing."""

from __future__ import annotations

import contextlib
import random
import socket
import ssl
import time
import typing as t

import fleet
import pytest

from ansible_collections.meshops.istio_precheck.tests.helpers.fault_server import (
    CLOSED,
    NO_BINARY,
    SUCCESS,
    Behaviour,
    Connection,
    FaultServer,
    answers,
    exited,
    handshake,
    http,
    out,
    pki,
    says,
    status,
)

TIMEOUT = 6
"""Seconds for one pod."""

TABLE = fleet.table("odd-one-out")
GOOD = out(TABLE) + status(SUCCESS) + CLOSED


def after(seconds: float) -> Behaviour:
    def behave(connection: Connection) -> None:
        connection.upgrade()
        time.sleep(seconds)
        connection.send(GOOD)

    return behave


def endless(data: bytes, pause: float = 0) -> Behaviour:
    def behave(connection: Connection) -> None:
        connection.upgrade()
        while not connection.server.stopping.wait(pause):
            connection.send(data)

    return behave


def stalls_in_the_upgrade(connection: Connection) -> None:
    connection.send(handshake(connection.request())[:40])
    connection.hold()


class Kubelet(t.NamedTuple):
    """How it behaves, connection by connection, and the word in `unchecked` for its pod; none where the pod is read after all."""

    behaviours: tuple[Behaviour, ...]
    reason: str | None
    tls: str = "the cluster's"


def kubelet(*behaviours: Behaviour, reason: str | None, tls: str = "the cluster's") -> Kubelet:
    return Kubelet(behaviours, reason, tls)


def prints(stdout: bytes | str, ended: t.Any = None) -> Behaviour:
    return says(out(stdout) + status(SUCCESS if ended is None else ended) + CLOSED)


GARBAGE = random.Random(1).randbytes(2000)

KUBELETS = {
    # slow, but good
    "slow": kubelet(after(TIMEOUT / 3), reason=None),  # within the half that the first container may take
    "in-pieces": kubelet(
        says(*(out(line) for line in TABLE.splitlines(keepends=True)), status(SUCCESS), CLOSED), reason=None
    ),
    "busy-once": kubelet(answers(http(503, b"starting", "Retry-After: 0")), after(0), reason=None),
    "breaks-once": kubelet(says(out(TABLE), then="reset"), after(0), reason=None),
    # dead
    "nobody-listens": kubelet(reason="node_unreachable"),
    "no-handshake": kubelet(lambda connection: connection.hold(), reason="timeout", tls="none"),
    "stalls": kubelet(stalls_in_the_upgrade, reason="timeout"),
    "silent": kubelet(says(then="hold"), reason="timeout"),
    "half-a-table": kubelet(says(out(TABLE[:200]), then="hold"), reason="timeout"),
    "always-busy": kubelet(answers(http(503, b"starting")), reason="server_error"),
    "cut-off": kubelet(says(out(TABLE), then="reset"), reason="connection"),
    "too-late": kubelet(after(TIMEOUT * 2), reason="timeout"),
    # liars
    "other-certificate": kubelet(prints(TABLE), reason="node_unreachable", tls="another"),
    "no-tls": kubelet(
        lambda connection: connection.send(http(200, TABLE.encode())), reason="node_unreachable", tls="none"
    ),
    "no-upgrade": kubelet(answers(http(200, TABLE.encode())), reason="server_error"),
    "unauthorized": kubelet(answers(http(401, b"Unauthorized")), reason="forbidden"),
    "forgetful": kubelet(answers(http(404, b"pod not found")), reason="gone"),
    "garbage": kubelet(prints(GARBAGE), reason="suspect_table"),
    "prose": kubelet(prints("Usage: ss [ OPTIONS ]\n       ss [ OPTIONS ] [ FILTER ]\n"), reason="suspect_table"),
    "banner": kubelet(prints("Welcome to this pod!\n" + TABLE), reason="suspect_table"),
    "truncated": kubelet(prints(TABLE[: TABLE.index("127.0.0.1:8080") + 5]), reason="suspect_table"),
    "wrong-exit-code": kubelet(prints(TABLE, exited(3)), reason="no_tool"),
    "no-exit-code": kubelet(prints(TABLE, {"status": "Failure", "message": "lost it"}), reason="no_tool"),
    "status-is-no-json": kubelet(prints(TABLE, b"{"), reason="connection"),
    "status-is-no-object": kubelet(prints(TABLE, b"[1]"), reason="connection"),
    "no-binary": kubelet(prints("", NO_BINARY), reason="no_tool"),
    "endless": kubelet(endless(out(TABLE * 400)), reason="too_much_output"),
    "drips": kubelet(endless(out("LISTEN "), 0.1), reason="timeout"),
}


LENGTHY = ("always-busy", "cut-off", "endless")
"""What takes many tries or bytes to tell: on a busy machine the deadline may come first."""


@contextlib.contextmanager
def serving(one: Kubelet, context: ssl.SSLContext) -> t.Iterator[int]:
    """The kubelet's port."""
    if not one.behaviours:
        with socket.socket() as taken:  # bound, so that nobody else listens on it either
            taken.bind(("127.0.0.1", 0))
            yield taken.getsockname()[1]
        return
    with FaultServer(
        *one.behaviours, tls={"the cluster's": context, "another": pki().context(), "none": None}[one.tls]
    ) as server:
        yield server.port


@pytest.fixture(scope="module")
def among_bad(large):
    """One run over the good pods of the fleet and the bad ones."""
    import harness
    from testbed.pki import PKI

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(PKI / "server.crt", PKI / "server.key")
    large.create(fleet.namespace(fleet.ODD))
    with contextlib.ExitStack() as stack:
        for number, (name, one) in enumerate(KUBELETS.items()):
            large.create(fleet.node(name, stack.enter_context(serving(one, context))))
            large.create(fleet.service(name, fleet.ODD))
            large.run_pod(fleet.Pod(fleet.ODD, f"{name}-0", name, name, f"10.98.0.{number + 1}"))
        return harness.run_module(large, exec_timeout=TIMEOUT)


@pytest.mark.parametrize("name", KUBELETS)
def test_a_pod_is_read_or_told_with_the_reason(among_bad, name):
    told = [entry["reason"] for entry in among_bad.result["unchecked"] if entry["pod"] == f"{name}-0"]
    expected = [] if KUBELETS[name].reason is None else [KUBELETS[name].reason]
    assert told == expected or (name in LENGTHY and told == ["timeout"])


def test_none_of_them_is_called_fine(among_bad, large):
    unchecked = {entry["pod"] for entry in among_bad.result["unchecked"]}
    found = {finding["id"] for finding in among_bad.result["findings"]} - set(large.fleet.findings())
    assert found >= {finding(name) for name, one in KUBELETS.items() if one.reason is None}
    assert [name for name in KUBELETS if f"{name}-0" not in unchecked and finding(name) not in found] == []


def finding(name: str) -> str:
    return f"IST0143/{fleet.ODD}/Pod/{name}-0/{fleet.APP_PORT}"


def test_all_others_are_read(among_bad, large):
    assert among_bad.code == 0 and "Traceback" not in among_bad.stderr
    assert {finding["id"] for finding in among_bad.result["findings"]} >= set(large.fleet.findings())
    assert {entry["namespace"] for entry in among_bad.result["unchecked"]} == {fleet.ODD}
    assert among_bad.result["summary"]["pods_read"] >= large.fleet.size


def test_bad_kubelets_cost_their_own_deadlines_and_no_more(among_bad, whole):
    assert among_bad.seconds < 2 * whole.seconds + 2 * TIMEOUT, "the machine is shared, so the bound is a wide one"
