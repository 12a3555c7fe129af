# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The table of faults: each one met by the whole module, as a process, over TLS.

However it ends, it ends in time, with no traceback, no process and no file left; what could be read is in the snapshot, what could not is in
`unchecked` with its reason, and the gate does not pass. The exec client's own table, with every way to cut up a frame, is in test__exec.py.
"""

from __future__ import annotations

import json
import pathlib
import random
import re
import typing as t
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("kubernetes")
pytest.importorskip("websocket")

import yaml

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model import snapshot as _snapshot
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.report import blocking
from ansible_collections.meshops.istio_precheck.tests.helpers import fault_server, running
from ansible_collections.meshops.istio_precheck.tests.helpers.fault_server import (
    CLOSED,
    NO_BINARY,
    SUCCESS,
    Behaviour,
    Connection,
    answers,
    exited,
    http,
    out,
    refusal,
    says,
    status,
)
from ansible_collections.meshops.istio_precheck.tests.helpers.servers import FINE, READ, Cluster, auth, pods

ROOT = pathlib.Path(__file__).resolve().parents[2]
FAIL_ON = yaml.safe_load((ROOT / "roles" / "check_listeners" / "defaults" / "main.yml").read_text("utf-8"))[
    "check_listeners_fail_on"
]

EXEC_TIMEOUT = 4
REQUEST_TIMEOUT = 60
SLACK = 15
"""Seconds for starting Python, and for a machine that is busy."""


# ---------------------------------------------------------------------------------------------------------------------
# Behaviours


def refuse(code: int, message: str, reason: str = "Reason", *headers: str) -> Behaviour:
    return answers(http(code, refusal(code, reason, message), "Connection: close", *headers))


def silent(connection: Connection) -> None:
    connection.hold()


def resets(connection: Connection) -> None:
    connection.reset()


def closes(_connection: Connection) -> None:
    pass


def resets_after_request(connection: Connection) -> None:
    connection.request()
    connection.reset()


def slow_tls(connection: Connection) -> None:
    connection.dribble(b"\x16\x03\x03\x40\x00" + b"\x02" * 4000)


def plain_http(connection: Connection) -> None:
    connection.send(http(400, b"Client sent an HTTP request to an HTTPS server."))


def slow_upgrade(connection: Connection) -> None:
    connection.dribble(fault_server.handshake(connection.request()))


def prints_forever(connection: Connection) -> None:
    connection.upgrade()
    while not connection.server.stopping.wait(0.001):
        connection.send(out("x" * 1000))


def listed(items: list[t.Any], token: str = "") -> Behaviour:
    return answers(
        http(200, json.dumps({"items": items, "metadata": {"continue": token}}).encode(), "Connection: close")
    )


def slow_list(connection: Connection) -> None:
    connection.request()
    connection.dribble(http(200, b'{"items": [' + b" " * 5000))


def leads_elsewhere(connection: Connection) -> None:
    connection.request()
    connection.send(http(302, b"", f"Location: http://127.0.0.1:{connection.server.port}/", "Connection: close"))


LOCAL = "also-local"
"""A pod that is well, but listens on localhost: its finding is to survive whatever becomes of the others."""

ON_LOCALHOST = {f"/pods/{LOCAL}/exec": [says(out("LISTEN 0 128 127.0.0.1:8080 0.0.0.0:*\n"), status(SUCCESS))]}

ZZZ = {**pods("web")[0], "status": {"podIP": "zzz"}}

BIG = "".join(f"LISTEN 0 128 127.0.0.1:{20000 + n % 30000} 0.0.0.0:*\n" for n in range(45_000)) + FINE
GONE = 'pods "bad" not found'
RBAC = 'pods "bad" is forbidden: User "jane" cannot create resource "pods/exec" in API group "" in the namespace "shop"'


# ---------------------------------------------------------------------------------------------------------------------
# The tables. A reason is that of the pod `bad` in `unchecked`, None where it is read all the same.

IN_A_POD: dict[str, tuple[t.Sequence[Behaviour], str | None]] = {
    # How it is cut up
    "frames coalesced in one TLS record": ([says(b"".join((out(FINE), status(SUCCESS), CLOSED)))], None),
    "frames split over many TLS records": ([says(*(bytes([byte]) for byte in out(FINE) + status(SUCCESS)))], None),
    "UTF-8 split over frames": (
        [says(out("é".encode()[:1]), out("é".encode()[1:] + b"\n" + FINE.encode()), status(SUCCESS))],
        "suspect_table",
    ),
    "half a frame, then the end": ([says(out(FINE)[:9])], "connection"),
    "half a frame, then silence": ([says(out(FINE)[:9], then="hold")], "timeout"),
    "half a frame, then a reset": ([says(out(FINE)[:9], then="reset")], "connection"),
    "megabytes of output": (
        [says(*(out(BIG[n : n + 60000]) for n in range(0, len(BIG), 60000)), status(SUCCESS))],
        None,
    ),
    "binary garbage for frames": ([says(b"\xff" * 64)], "connection"),
    "binary garbage for a table": ([says(out(bytes(range(256)) * 20), status(SUCCESS))], "suspect_table"),
    "a missing status frame": ([says(out(FINE), CLOSED)], "connection"),
    "a missing status frame once": ([says(out(FINE), CLOSED), READ], None),
    "a status that is garbage": ([says(out(FINE), status(b"<html>"), CLOSED)], "connection"),
    # Refusals
    "401": ([refuse(401, "Unauthorized")], "forbidden"),
    "403": ([refuse(403, RBAC)], "forbidden"),
    "404, gone since the list": ([refuse(404, GONE)], "gone"),
    "409": ([refuse(409, "conflict")], "server_error"),
    "410": ([refuse(410, "gone")], "server_error"),
    "429 with Retry-After, then well": ([refuse(429, "slow down", "TooManyRequests", "Retry-After: 1"), READ], None),
    "429 with Retry-After of an hour": (
        [refuse(429, "slow down", "TooManyRequests", "Retry-After: 3600")],
        "server_error",
    ),
    **{f"{code} for ever": ([refuse(code, "no")], "server_error") for code in (500, 502, 503, 504)},
    **{f"{code}, then well": ([refuse(code, "no"), READ], None) for code in (500, 502, 503, 504)},
    "kubelet unreachable": (
        [refuse(500, "error dialing backend: dial tcp 10.0.0.1:10250: i/o timeout")],
        "node_unreachable",
    ),
    "container restarting": ([refuse(500, 'container not found ("istio-proxy")')], "no_tool"),
    # Commands
    "an exec that never ends": ([says(out("LISTEN"), then="hold")], "timeout"),
    "an exec that prints for ever": ([prints_forever], ("timeout", "too_much_output")),
    "a missing binary": ([says(status(NO_BINARY))], "no_tool"),
    "a non-zero exit without output": ([says(status(exited(1)))], "no_tool"),
    "a non-zero exit with output": ([says(out(FINE), status(exited(1)))], "no_tool"),
    # Connections
    "reset": ([resets_after_request], "connection"),
    "reset once": ([resets_after_request, READ], None),
    "silent after the handshake": ([says(then="hold")], "timeout"),
    "a slow handshake": ([slow_upgrade], "timeout"),
}

IN_THE_MIDDLE: dict[str, tuple[t.Any, str]] = {
    "refused": (None, "connection"),
    "reset": (resets, "connection"),
    "closed": (closes, "connection"),
    "TLS failure": (plain_http, "connection"),
    "expired certificate": ("expired", "connection"),
    "certificate of another host": ("named", "connection"),
    "slow TLS handshake": (slow_tls, "timeout"),
    "silent": (silent, "timeout"),
}
"""What becomes of the API server once it has let the first pod be read, and lasts."""

PODS = "/api/v1/pods"

OF_A_LIST: dict[str, tuple[str, t.Sequence[t.Any], str | None]] = {
    "401": (PODS, [refuse(401, "Unauthorized")], "GET /api/v1/pods: Unauthorized"),
    "403": (PODS, [refuse(403, 'cannot list resource "pods"')], 'GET /api/v1/pods: cannot list resource "pods"'),
    "404": (PODS, [refuse(404, "page not found")], "GET /api/v1/pods: page not found"),
    "409": (PODS, [refuse(409, "conflict")], "GET /api/v1/pods: conflict"),
    "410 on a continue token": (PODS, [None, refuse(410, "too old"), None], None),
    "410 on every continue token": (
        PODS,
        [None, refuse(410, "too old"), None, refuse(410, "too old")],
        "GET /api/v1/pods: too old",
    ),
    "429 with Retry-After": (PODS, [refuse(429, "slow down", "TooManyRequests", "Retry-After: 1"), None], None),
    **{f"{code}, then well": (PODS, [refuse(code, "no"), None], None) for code in (500, 502, 503, 504)},
    "503 for ever": (PODS, [refuse(503, "not yet")], "GET /api/v1/pods: not yet"),
    "reset": (PODS, [resets_after_request], "GET /api/v1/pods: "),
    "half an answer": (
        PODS,
        [answers(http(200, b'{"items": [', "Connection: close", length=500))],
        "GET /api/v1/pods: ",
    ),
    "binary garbage": (PODS, [answers(http(200, b"\xff\x00\xfe", "Connection: close"))], "GET /api/v1/pods: "),
    "silent": (PODS, [silent], "GET /api/v1/pods: "),
    "a redirection": (PODS, [leads_elsewhere], "GET /api/v1/pods: HTTP 302, a redirection to 127.0.0.1"),
    "a redirection from the start": (
        "/",
        [leads_elsewhere],
        "no connection to a cluster with host: HTTP 302, a redirection to 127.0.0.1",
    ),
    "a page that leads to itself": (PODS, [listed([], token="on")], "GET /api/v1/pods: the list has no end"),
    "an object that is null": (PODS, [listed([None])], "GET /api/v1/pods: the answer is no list of objects"),
    "an address that is none": (
        PODS,
        [listed([ZZZ])],
        "GET /api/v1/pods: Pod shop/web.status.podIP: wanted an IP address",
    ),
    "levels without end": (
        PODS,
        [answers(http(200, b'{"items": ' + b"[" * 200_000, "Connection: close"))],
        "GET /api/v1/pods: it holds more than 100 levels",
    ),
    "a refusal of levels without end": (
        PODS,
        [answers(http(403, b"[" * 200_000, "Connection: close"))],
        "GET /api/v1/pods: 403 Said",
    ),
    "byte by byte": (PODS, [slow_list], "GET /api/v1/pods: "),
    "garbage from the start": (
        "/",
        [answers(http(200, b"<html>", "Connection: close"))],
        "no connection to a cluster with host: ",
    ),
    "401 from the start": ("/", [refuse(401, "Unauthorized")], "no connection to a cluster with host: Unauthorized"),
    "silent from the start": ("/", [silent], "no connection to a cluster with host: "),
}


def clean(ended: running.Ended, deadline: float) -> list[str]:
    """What is wrong with how a process ended, whatever it was to find."""
    found = []
    if ended.seconds > deadline + SLACK:
        found.append(f"it took {ended.seconds:.0f} s of {deadline} s")
    if "Traceback" in ended.output or ended.stderr.strip():
        found.append(f"it printed {ended.output[-500:]}")
    if ended.strays or ended.files:
        found.append(f"it left {ended.strays} {ended.files}")
    return found


def check(
    ended: running.Ended, record: pathlib.Path, unread: dict[str, str | None | tuple[str, ...]], deadline: float
) -> list[str]:
    """What is wrong with a run that was to end well, with these pods unread, each for its reason."""
    found = clean(ended, deadline)
    if ended.code or not record.exists():
        return [*found, f"it ended with {ended.code}: {ended.output[-500:]}"]
    result, snapshot = ended.result, _snapshot.read(str(record))
    known = sorted(pod["metadata"]["name"] for pod in snapshot["pods"])
    said = {entry["pod"]: (entry["reason"], entry["detail"]) for entry in result["unchecked"]}
    wanted = {name: reason for name, reason in unread.items() if reason}
    read = {table["pod"] for table in snapshot["socketTables"]}
    for name, reason in wanted.items():
        if (
            name not in said
            or said[name][0] not in (reason if isinstance(reason, tuple) else (reason,))
            or not said[name][1]
        ):
            found.append(f"{name} is {said.get(name)}, not {reason}")
    if set(said) != set(wanted):
        found.append(f"unchecked are {sorted(said)}, not {sorted(wanted)}")
    suspect = {name for name, reason in wanted.items() if reason == "suspect_table"}
    if read != set(known) - set(wanted) | suspect:
        found.append(f"read were {sorted(read)} of {known}")
    local = [[LOCAL]] if LOCAL in known else []
    if [finding["pods"] for finding in result["findings"]] != local:
        found.append(f"found were {[finding['id'] for finding in result['findings']]}")
    for fail_on, wrong in ((FAIL_ON, wanted or local), (["unchecked"], wanted)):
        if bool(blocking(result, fail_on)) != bool(wrong):
            found.append(f"the gate says {blocking(result, fail_on)} of {fail_on}")
    return found


def in_parallel(table: t.Iterable[str], one: t.Callable[[str], list[str]], several: int = 6) -> None:
    """Fails with all that is wrong, by fault."""
    names = list(table)
    fault_server.pki()
    with ThreadPoolExecutor(max_workers=several) as pool:
        wrong = dict(zip(names, pool.map(one, names)))
    assert {fault: found for fault, found in wrong.items() if found} == {}


def test_a_fault_in_one_pod_is_that_pods_reason_and_costs_no_other(tmp_path):
    def one(fault: str) -> list[str]:
        behaviours, reason = IN_A_POD[fault]
        place = tmp_path / fault.replace(" ", "-")
        with Cluster(LOCAL, "bad", "fine", faults={**ON_LOCALHOST, "/pods/bad/exec": behaviours}) as server:
            ended = running.module(
                place, **auth(server), exec_timeout=EXEC_TIMEOUT, snapshot_dest=str(place / "record.json")
            )
        return check(ended, place / "record.json", {"bad": reason}, EXEC_TIMEOUT)

    in_parallel(IN_A_POD, one)


def test_an_api_server_that_fails_in_the_middle_leaves_what_was_read(tmp_path):
    pki = fault_server.pki()

    def one(fault: str) -> list[str]:
        then, reason = IN_THE_MIDDLE[fault]
        then = pki.context(getattr(pki, then)) if isinstance(then, str) else then
        place = tmp_path / fault.replace(" ", "-")
        with Cluster(
            LOCAL, "b-late", "c-late", until=f"/pods/{LOCAL}/exec", then=then or resets, faults=ON_LOCALHOST
        ) as server:
            if then is None:
                route = server._route
                server._route = lambda connection: (route(connection), server.paths("/exec") and server.refuse())
                server.behaviours = [server._route]
            ended = running.module(
                place,
                **auth(server),
                exec_timeout=EXEC_TIMEOUT,
                concurrency=1,
                snapshot_dest=str(place / "record.json"),
            )
        return check(ended, place / "record.json", {"b-late": reason, "c-late": reason}, 2 * EXEC_TIMEOUT)

    in_parallel(IN_THE_MIDDLE, one)


def test_a_fault_of_a_list_passes_or_is_one_message_and_the_gate_does_not_pass(tmp_path):
    def one(fault: str) -> list[str]:
        piece, behaviours, message = OF_A_LIST[fault]
        place = tmp_path / fault.replace(" ", "-")
        record = place / "record.json"
        with Cluster(*(f"p{n}" for n in range(5)), faults={piece: behaviours}) as server:
            server.page = 2
            ended = running.module(place, **auth(server), exec_timeout=EXEC_TIMEOUT, snapshot_dest=str(record))
        if message is None:
            return check(ended, record, {}, REQUEST_TIMEOUT)
        found = clean(ended, REQUEST_TIMEOUT)
        result = ended.result
        if (
            ended.code != 1
            or not result.get("failed")
            or not result["msg"].startswith(message)
            or "\n" in result["msg"]
        ):
            found.append(f"it said {result.get('msg')!r}, not {message!r}")
        if record.exists():
            found.append("it wrote a record of what it did not see")
        return found

    in_parallel(OF_A_LIST, one, several=12)


def test_a_server_that_cannot_be_trusted_or_reached_is_one_message(tmp_path):
    pki = fault_server.pki()
    cases = {
        "expired certificate": (pki.context(pki.expired), "certificate has expired"),
        "certificate of another host": (pki.context(pki.named), "IP address mismatch|certificate is not valid"),
        "refused": (None, "Connection refused"),
    }

    def one(fault: str) -> list[str]:
        context, message = cases[fault]
        with Cluster("web", tls=context or pki.context()) as server:
            if context is None:
                server.refuse()
            ended = running.module(tmp_path / fault.replace(" ", "-"), **auth(server))
        found = clean(ended, REQUEST_TIMEOUT)
        text = ended.result.get("msg", "")
        if (
            ended.code != 1
            or not any(part in text for part in message.split("|"))
            or server.url.split("//")[1] not in text
        ):
            found.append(f"it said {text!r}")
        return found

    in_parallel(cases, one)


# ---------------------------------------------------------------------------------------------------------------------
# Mixtures


@pytest.mark.parametrize("seed", range(2))
def test_faults_that_come_together_are_told_apart(tmp_path, seed):
    rng = random.Random(seed)
    # What the server says of rights in a namespace holds for all of its pods, and is not for a mixture.
    chosen = rng.sample([fault for fault in IN_A_POD if fault not in ("403",)], 14)
    names = {f"p{n:02}": fault for n, fault in enumerate(chosen)}
    faults: dict[str, t.Any] = {f"/pods/{name}/exec": IN_A_POD[fault][0] for name, fault in names.items()}
    faults[PODS] = [
        refuse(503, "not yet"),
        None,
        refuse(410, "too old"),
        refuse(429, "slow", "Slow", "Retry-After: 1"),
        None,
    ]
    with Cluster(LOCAL, "fine", *names, faults={**ON_LOCALHOST, **faults}) as server:
        server.page = 4
        record = tmp_path / "record.json"
        ended = running.module(tmp_path, **auth(server), exec_timeout=EXEC_TIMEOUT, snapshot_dest=str(record))
    assert check(ended, record, {name: IN_A_POD[fault][1] for name, fault in names.items()}, 14 * EXEC_TIMEOUT) == []


PROMISED = {
    "a pod": (
        IN_A_POD,
        "coalesced in one TLS record|split over many TLS records|UTF-8 split over frames|half a frame, then|megabytes of output|binary garbage for frames|"
        "binary garbage for a table|a missing status frame|401|403|404|409|410|429 with Retry-After|500|502|503|504|kubelet unreachable|container restarting|"
        "an exec that never ends|a missing binary|a non-zero exit without output|a non-zero exit with output|reset|silent after the handshake|a slow handshake",
    ),
    "what comes after the first pod": (
        IN_THE_MIDDLE,
        "refused|reset|TLS failure|expired certificate|certificate of another host|slow TLS handshake|silent",
    ),
    "a list": (
        OF_A_LIST,
        "401|403|404|409|410 on a continue token|410 on every continue token|429 with Retry-After|500|502|503|504|reset|half an answer|binary garbage|silent|"
        "byte by byte|garbage from the start|401 from the start|silent from the start|a redirection",
    ),
}

ELSEWHERE = {
    "SIGINT and SIGTERM": "tests/trust/test_signals.py::test_the_module_ends_at_once_with_a_message_and_leaves_nothing",
    "SIGINT and SIGTERM of a play": "tests/trust/test_signals.py::test_the_playbook_ends_and_does_not_pass_and_leaves_no_process",
    "a full disk under a record": "tests/trust/test_files.py::test_a_full_disk_under_snapshot_dest_is_named_and_the_report_is_kept",
    "a full disk under the role's files": "tests/trust/test_files.py::test_a_full_disk_under_the_files_of_the_role_is_named_after_the_verdict",
    "an API server that restarts": "tests/live/test_upheaval.py::test_an_api_server_that_restarts_leaves_unchecked_what_it_could_not_answer",
    "a node that goes away": "tests/live/test_upheaval.py::test_a_node_that_goes_away_leaves_its_pods_unchecked",
}


@pytest.mark.parametrize("what", PROMISED)
def test_the_table_is_the_one_that_was_promised(what):
    """Each fault of the list that the table was made from begins the name of one in it."""
    table, promised = PROMISED[what]
    names = [re.sub("^(an?|frames) ", "", name) for name in table]
    assert [
        fault for fault in promised.split("|") if not any(name.startswith(re.sub("^an? ", "", fault)) for name in names)
    ] == []


@pytest.mark.parametrize("what", ELSEWHERE)
def test_a_fault_that_no_table_holds_has_a_test_of_its_own(what):
    path, name = ELSEWHERE[what].split("::")
    assert f"def {name}(" in (ROOT / path).read_text("utf-8")
