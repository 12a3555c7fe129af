# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The kubelet of every node of the fleet: answers /exec, forwards to the port of Envoy, and starts node probes.

That is all that the API server asks of it here, over a WebSocket, as the module and kubernetes.core ask, and over SPDY, as this version's kubectl does.
"""

from __future__ import annotations

import argparse
import functools
import json
import pathlib
import signal
import ssl
import struct
import threading
import time
import typing as t
import zlib
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qs, quote, urlsplit

import fleet
import urllib3

from ansible_collections.meshops.istio_precheck.tests.helpers.cluster import proxy_answer
from ansible_collections.meshops.istio_precheck.tests.helpers.fault_server import (
    CLOSED,
    ERROR,
    NO_BINARY,
    STDERR,
    STDOUT,
    SUCCESS,
    Connection,
    FaultServer,
    Request,
    exited,
    frame,
    handshake,
    http,
    out,
    status,
)

SPDY_STREAMS = {ERROR: 1, STDOUT: 3, STDERR: 5}
"""kubectl opens them in this order, each with the next odd number: k8s.io/client-go/tools/remotecommand/v2.go."""
SYN_STREAM, SYN_REPLY, SPDY_PING = 1, 2, 6
FINAL = 1
DATA, FORWARD_ERROR = 0, 1
"""The channels of the first port that is forwarded."""


RUN_LABEL = "precheck.meshops.io/node-probe"

PROBES: dict[str, str] = {}
"""Nodes by the name of the probe that was started there."""


ANY_WORD = "@word@"

DELIVERY = proxy_answer({port: f"127.0.0.1:{port}" for port in (fleet.APP_PORT, fleet.METRICS_PORT)})
"""What a proxy answers that is asked how it delivers: to localhost, as before Istio 1.10."""

CONFIG_DUMP = json.dumps({"configs": [{"name": f"outbound|80||svc-{n}", "more": "x" * 960} for n in range(100)]})
"""The 100 kB that an Envoy of a small mesh has to dump at least."""


@functools.cache
def seen(pods: fleet.Fleet, node: str) -> str:
    """What a probe sees there, made once: a real node has a core of its own for it."""
    return fleet.seen_by_probe(ANY_WORD, pods.on_node(node))


def answer(pods: fleet.Fleet, pod: str, command: t.Sequence[str]) -> tuple[str, dict[str, t.Any]]:
    """(stdout, status) of a command: in a node probe its script, in any other pod ss and little else."""
    if pod in PROBES:
        return seen(pods, PROBES[pod]).replace(ANY_WORD, command[-2]), SUCCESS
    if command[0] == "ss":
        return fleet.table(pod), SUCCESS
    if command[0] == "pilot-agent":
        return DELIVERY, SUCCESS
    return "", exited(127) if command[0] == "sh" else NO_BINARY


def kubelet(connection: Connection, pods: fleet.Fleet, delay: float) -> None:
    """Takes `delay` seconds from a command's start to its output."""
    asked = connection.request()
    connection.server.requests.clear()
    url = urlsplit(asked.path)
    parts = url.path.split("/")
    if parts[1] == "portForward":
        forward(connection, asked)
        return
    if len(parts) != 5 or parts[1] != "exec":
        connection.send(http(404, b"404 page not found\n", "Connection: close"))
        return
    stdout, ended = answer(pods, parts[3], parse_qs(url.query)["command"])
    spdy = asked.all("Upgrade") == ["SPDY/3.1"]
    if spdy:
        open_spdy(connection)
    else:
        connection.send(handshake(asked))
    time.sleep(delay)
    if spdy:
        for channel, data in ((STDOUT, stdout.encode()), (STDERR, b""), (ERROR, json.dumps(ended).encode())):
            connection.send(struct.pack(">II", SPDY_STREAMS[channel], FINAL << 24 | len(data)) + data)
        connection.hold()  # the client closes
    else:
        connection.send(out(stdout) + status(ended) + CLOSED)


def forward(connection: Connection, asked: Request) -> None:
    """One request to Envoy's admin interface over one WebSocket: each channel begins with the port, as the kubelet has it."""
    port = struct.pack("<H", 15000)
    connection.send(handshake(asked) + frame(bytes([DATA]) + port) + frame(bytes([FORWARD_ERROR]) + port))
    connection.sock.recv(65536)
    connection.send(frame(bytes([DATA]) + http(200, CONFIG_DUMP.encode())) + CLOSED)


def open_spdy(connection: Connection) -> None:
    """Accept the streams of one command. A header block needs no dictionary where it has no headers."""
    upgrade = ("Upgrade: SPDY/3.1", "Connection: Upgrade", "X-Stream-Protocol-Version: v4.channel.k8s.io")
    connection.send("\r\n".join(["HTTP/1.1 101 Switching Protocols", *upgrade, "", ""]).encode())
    compressor = zlib.compressobj()
    opened: set[int] = set()
    with connection.sock.makefile("rb") as stream:
        while opened != set(SPDY_STREAMS.values()):
            head = stream.read(8)
            body = stream.read(int.from_bytes(head[5:8], "big"))
            if not head:
                raise ConnectionError("the client is gone")
            kind = int.from_bytes(head[2:4], "big") if head[0] & 0x80 else None
            if kind == SPDY_PING:
                connection.send(head + body)
            elif kind == SYN_STREAM:
                opened.add(int.from_bytes(body[:4], "big"))
                reply = body[:4] + compressor.compress(bytes(4)) + compressor.flush(zlib.Z_SYNC_FLUSH)
                connection.send(struct.pack(">HHI", 0x8003, SYN_REPLY, len(reply)) + reply)


def start_probes(api: urllib3.HTTPSConnectionPool, delay: float) -> None:
    """Report node probes as running, `delay` seconds after each was made. Never returns."""
    starters = ThreadPoolExecutor(8)

    def start(path: str) -> None:
        state = {"running": {"startedAt": fleet.STARTED}}
        container = {"name": "probe", "image": "", "imageID": "", "ready": True, "restartCount": 0, "state": state}
        body = json.dumps({"status": {"phase": "Running", "containerStatuses": [container]}})
        api.request(
            "PATCH", f"{path}/status", body=body, headers={"Content-Type": "application/strategic-merge-patch+json"}
        )

    while True:
        watched = api.request("GET", f"/api/v1/pods?watch=1&labelSelector={quote(RUN_LABEL)}", preload_content=False)
        for line in watched:
            event = json.loads(line)
            metadata = event["object"]["metadata"]
            if event["type"] == "ADDED":
                PROBES[metadata["name"]] = event["object"]["spec"]["nodeName"]
                path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
                threading.Timer(delay, starters.submit, (start, path)).start()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pki", type=pathlib.Path, required=True)
    parser.add_argument("--apiserver", type=int, required=True, help="its port")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--pods", type=int, required=True, help="of the whole fleet")
    parser.add_argument("--delay", type=float, default=0, help="seconds from a command's start to its output")
    parser.add_argument("--start-delay", type=float, default=0, help="seconds from a probe's creation to its start")
    options = parser.parse_args()
    pods = fleet.Fleet(options.pods)
    for node in [*pods.nodes, *pods.small_nodes] if options.start_delay else ():
        seen(pods, node)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(options.pki / "server.crt", options.pki / "server.key")
    context.num_tickets = 0  # the API server resumes no session
    admin = {
        "ca_certs": str(options.pki / "ca.crt"),
        "cert_file": str(options.pki / "admin.crt"),
        "key_file": str(options.pki / "admin.key"),
    }
    api = urllib3.HTTPSConnectionPool("127.0.0.1", options.apiserver, maxsize=9, timeout=3600, **admin)
    threading.Thread(target=start_probes, args=(api, options.start_delay), daemon=True).start()
    with FaultServer(lambda connection: kubelet(connection, pods, options.delay), tls=context, port=options.port):
        signal.sigwait([signal.SIGTERM])


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    main()
