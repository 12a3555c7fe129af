# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An API server on loopback that does what it is told, however wrong: plain sockets and threads, no framework in between."""

from __future__ import annotations

import base64
import contextlib
import datetime
import functools
import hashlib
import json
import pathlib
import select
import socket
import ssl
import struct
import tempfile
import threading
import time
import types
import typing as t
from urllib.parse import parse_qs, unquote, urlsplit

import trustme

STDOUT, STDERR, ERROR = 1, 2, 3
SUCCESS = {"metadata": {}, "status": "Success"}
TEXT, BINARY, CLOSE, PING = 1, 2, 8, 9


def exited(code: int) -> dict[str, t.Any]:
    """The status of a command that ended with `code`, as a kubelet puts it."""
    cause = {"reason": "ExitCode", "message": str(code)}
    return {
        "status": "Failure",
        "reason": "NonZeroExitCode",
        "message": f"exit code {code}",
        "details": {"causes": [cause]},
    }


NO_BINARY = {
    "status": "Failure",
    "reason": "InternalError",
    "code": 500,
    "message": 'Internal error occurred: error executing command in container: exec: "ss": executable file not found in $PATH',
    "details": {
        "causes": [{"message": 'error executing command in container: exec: "ss": executable file not found in $PATH'}]
    },
}


def refusal(code: int, reason: str, message: str) -> bytes:
    return json.dumps(
        {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "reason": reason, "code": code}
    ).encode()


def http(code: int, body: bytes = b"", *headers: str, length: int | str | None = None) -> bytes:
    lines = [
        f"HTTP/1.1 {code} Said",
        "Content-Type: application/json",
        f"Content-Length: {len(body) if length is None else length}",
        *headers,
        "",
        "",
    ]
    return "\r\n".join(lines).encode() + body


def frame(payload: bytes, opcode: int = BINARY, final: bool = True) -> bytes:
    size = len(payload)
    head = bytes([(0x80 if final else 0) | opcode])
    if size < 126:
        return head + bytes([size]) + payload
    return (
        head
        + (bytes([126]) + struct.pack(">H", size) if size < 1 << 16 else bytes([127]) + struct.pack(">Q", size))
        + payload
    )


def out(text: str | bytes) -> bytes:
    return frame(bytes([STDOUT]) + (text.encode() if isinstance(text, str) else text))


def status(what: t.Any) -> bytes:
    return frame(bytes([ERROR]) + (what if isinstance(what, bytes) else json.dumps(what).encode()))


CLOSED = frame(struct.pack(">H", 1000), CLOSE)


class Request(t.NamedTuple):
    line: str
    headers: list[tuple[str, str]]
    body: bytes = b""

    @property
    def path(self) -> str:
        return self.line.split()[1]

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]


class Connection:
    """One client. What goes wrong with it is not the server's business: the client may be gone."""

    def __init__(self, sock: socket.socket, server: FaultServer) -> None:
        self.sock = sock
        self.server = server
        self.peer_certificate: dict[str, t.Any] | None = None

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def dribble(self, data: bytes, pause: float = 0.05) -> None:
        for byte in data:
            self.send(bytes([byte]))
            if self.server.stopping.wait(pause):
                return

    def hold(self) -> None:
        """Say nothing more until the client goes or the server stops."""
        with contextlib.suppress(OSError, ssl.SSLError):
            while not self.server.stopping.is_set():
                if select.select([self.sock], [], [], 0.02)[0] and not self.sock.recv(65536):
                    return

    def reset(self) -> None:
        """Close with an RST, as a crashing process does."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def request(self) -> Request:
        data = b""
        while b"\r\n\r\n" not in data:
            part = self.sock.recv(65536)
            if not part:
                raise ConnectionError("the client is gone")
            data += part
        head, _end, body = data.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        found = Request(lines[0], [tuple(line.split(": ", 1)) for line in lines[1:]])  # type: ignore[misc]
        while len(body) < int("0" + "".join(found.all("Content-Length"))):
            part = self.sock.recv(65536)
            if not part:
                raise ConnectionError("the client is gone")
            body += part
        found = found._replace(body=body)
        self.server.requests.append(found)
        return found

    def upgrade(self) -> Request:
        """Answer a WebSocket handshake as a server must."""
        asked = self.request()
        self.send(handshake(asked))
        return asked


def handshake(asked: Request) -> bytes:
    key = asked.all("Sec-WebSocket-Key")[0] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
    lines = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {accept}",
    ]
    return "\r\n".join([*lines, "Sec-WebSocket-Protocol: v4.channel.k8s.io", "", ""]).encode()


Behaviour = t.Callable[[Connection], None]


class FaultServer:
    """Serves each connection with the next of `behaviours`; the last one serves all that follow."""

    def __init__(
        self,
        *behaviours: Behaviour,
        tls: ssl.SSLContext | None = None,
        raw: bool = False,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.behaviours = list(behaviours)
        self.requests: list[Request] = []
        self.connections = 0
        self.stopping = threading.Event()
        self._tls = tls
        self._raw = raw
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server((host, port), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://{host}:{self.port}"

    def __enter__(self) -> FaultServer:
        thread = threading.Thread(target=self._accept, name="fault-server", daemon=True)
        self._threads.append(thread)
        thread.start()
        return self

    def __exit__(self, *_error: t.Any) -> None:
        self.stopping.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        while not self.stopping.is_set():
            try:
                sock, _address = self._listener.accept()
            except OSError:
                return
            behaviour = self.behaviours[min(self.connections, len(self.behaviours) - 1)]
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(sock, behaviour), name="fault-server", daemon=True)
            self._threads = [each for each in self._threads if each.is_alive()] + [thread]
            thread.start()

    def _serve(self, sock: socket.socket, behaviour: Behaviour) -> None:
        sock.settimeout(10)
        with contextlib.suppress(OSError, ValueError):
            if self._tls and not self._raw:
                sock = self._tls.wrap_socket(sock, server_side=True)
            connection = Connection(sock, self)
            if isinstance(sock, ssl.SSLSocket):
                connection.peer_certificate = sock.getpeercert()
            behaviour(connection)
        with contextlib.suppress(OSError):
            sock.close()


# ---------------------------------------------------------------------------------------------------------------------
# Behaviours of pods/exec


def says(*parts: bytes, then: str = "close") -> Behaviour:
    """Upgrades, sends the parts one by one, and then closes, holds or resets the connection."""

    def behave(connection: Connection) -> None:
        connection.upgrade()
        for part in parts:
            connection.send(part)
            time.sleep(0.002)
        if then == "hold":
            connection.hold()
        elif then == "reset":
            time.sleep(0.05)  # a reset takes away what the client has not read yet
            connection.reset()

    return behave


def by_command(**behaviours: Behaviour) -> Behaviour:
    """Execs by the name of their command, with `_` for `-`; `otherwise` where none is named."""

    def behave(connection: Connection) -> None:
        command = parse_qs(urlsplit(connection.request().path).query)["command"][0]
        behaviours.get(command.replace("-", "_"), behaviours["otherwise"])(connection)

    return behave


def answers(data: bytes) -> Behaviour:
    """Answers a request with these bytes, whatever they are."""

    def behave(connection: Connection) -> None:
        connection.request()
        connection.send(data)

    return behave


def reviews(may: t.Callable[[str, str, str], bool]) -> Behaviour:
    """Answers a SelfSubjectAccessReview with what `may` says of (verb, subresource of pods, namespace), the namespace empty for all."""

    def behave(connection: Connection) -> None:
        asked = json.loads(connection.request().body)
        attributes = asked["spec"]["resourceAttributes"]
        assert attributes["resource"] == "pods"
        allowed = may(attributes["verb"], attributes.get("subresource", ""), attributes.get("namespace", ""))
        connection.send(http(201, json.dumps({**asked, "status": {"allowed": allowed}}).encode(), "Connection: close"))

    return behave


def forbidden_exec(pod: str, namespace: str, verb: str, user: str = "jane") -> bytes:
    """What a kube-apiserver 1.36.2 answers an exec without the verb with: RBAC's words for get, and for create, its second check, none at all."""
    words = f'User "{user}" cannot get resource "pods/exec" in API group "" in the namespace "{namespace}"'
    return http(403, refusal(403, "Forbidden", f'pods "{pod}" is forbidden: {words if verb == "get" else ""}'))


# ---------------------------------------------------------------------------------------------------------------------
# Clients


def client(url: str, headers: t.Mapping[str, str] | None = None, **configuration: t.Any) -> t.Any:
    """What kubernetes.core's get_api_client() returns, as far as a gather looks at it."""
    import kubernetes.client

    made = kubernetes.client.Configuration()
    made.host = url
    made.proxy = None
    made.no_proxy = None
    for name, value in configuration.items():
        setattr(made, name, value)
    return types.SimpleNamespace(
        configuration=made,
        client=types.SimpleNamespace(client=types.SimpleNamespace(default_headers=dict(headers or {}))),
    )


# ---------------------------------------------------------------------------------------------------------------------
# Certificates, made for this run


class Pki(t.NamedTuple):
    """Paths of a throw-away authority, its client, and its servers, whose certificates are behind their keys in one file."""

    ca: str
    client: str
    client_key: str
    server: str
    expired: str
    named: str

    def context(self, certificate: str | None = None, ask_client: bool = False) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate or self.server)
        if ask_client:
            context.load_verify_locations(self.ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


@functools.cache
def pki() -> Pki:
    """Certificates for api.example and 127.0.0.1, for api.example alone (`named`), and one that has expired; made once a run."""
    folder = tempfile.TemporaryDirectory(prefix="precheck-pki-")
    pki_folders.append(folder)
    authority = trustme.CA()
    both = ("api.example", "127.0.0.1")
    day = datetime.datetime(2020, 1, 1)
    client = authority.issue_cert(common_name="client")
    servers = {
        "server": authority.issue_cert(*both),
        "expired": authority.issue_cert(*both, not_before=day, not_after=day + datetime.timedelta(days=1)),
        "named": authority.issue_cert("api.example"),
    }
    parts = {"ca": authority.cert_pem, "client": client.cert_chain_pems[0], "client_key": client.private_key_pem}
    parts.update({name: server.private_key_and_cert_chain_pem for name, server in servers.items()})
    paths = {name: str(pathlib.Path(folder.name, f"{name}.pem")) for name in parts}
    for name, part in parts.items():
        part.write_to_path(paths[name])
    return Pki(**paths)


pki_folders: list[tempfile.TemporaryDirectory[str]] = []
"""Kept until the interpreter ends, which removes them."""


def proxy(upstream: int) -> Behaviour:
    """An HTTP proxy whose every CONNECT leads to one port on loopback."""

    def behave(connection: Connection) -> None:
        connection.request()
        with socket.create_connection(("127.0.0.1", upstream)) as onward:
            connection.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
            pump = threading.Thread(target=_copy, args=(connection.sock, onward), daemon=True)
            pump.start()
            _copy(onward, connection.sock)
            pump.join(5)

    return behave


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def stand_alone(monkeypatch: t.Any, folder: pathlib.Path, *impatient: types.ModuleType) -> None:
    """Lets a test see no proxy of the user's, no file about an earlier server, and no wait of the modules `impatient` that a user would notice.

    kubernetes.core keeps what a server offers in a file by its address.
    """
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    for module in impatient:
        monkeypatch.setattr(module, "FIRST_WAIT", 0.02)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


# ---------------------------------------------------------------------------------------------------------------------
# A whole API server


class ApiServer(FaultServer):
    """Lists and execs as an API server answers them; `faults` maps a piece of a path to behaviours that come first, used up one by one.

    `lists` maps a path to the items of its list, or to a JSON object that is the answer.
    """

    def __init__(
        self,
        lists: t.Mapping[str, t.Any],
        execs: Behaviour | None = None,
        faults: t.Mapping[str, t.Sequence[t.Any]] | None = None,
        **options: t.Any,
    ) -> None:
        super().__init__(self._route, **options)
        self.lists = {
            "/version": {"gitVersion": "v1.30.0", "major": "1", "minor": "30"},
            "/api": {"versions": ["v1"]},
            "/apis": {"kind": "APIGroupList", "groups": []},
            **lists,
        }
        self.execs = execs or says(out(""), status(SUCCESS))
        self.faults = {piece: list(several) for piece, several in (faults or {}).items()}
        self.page = 500

    def paths(self, piece: str = "") -> list[str]:
        """What was asked for, queries included."""
        return [asked.path for asked in self.requests if piece in asked.path]

    def _route(self, connection: Connection) -> None:
        asked = connection.request()
        path, _question, query = asked.path.partition("?")
        for piece, several in self.faults.items():
            if piece in asked.path and several:
                fault = several.pop(0) if len(several) > 1 else several[0]
                if fault is not None:
                    if isinstance(fault, bytes):
                        connection.send(fault)
                    else:
                        fault(_Asked(connection, asked))
                    return
                break
        if path.endswith("/exec"):
            self.execs(_Asked(connection, asked))
        elif path not in self.lists:
            connection.send(http(404, b"404 page not found\n", "Connection: close"))
        else:
            answer = self.lists[path]
            if isinstance(answer, list):
                answer = self._page(answer, dict(part.split("=", 1) for part in query.split("&") if part))
            connection.send(http(200, json.dumps(answer).encode(), "Connection: close"))

    def _page(self, items: list[t.Any], query: dict[str, str]) -> dict[str, t.Any]:
        wanted = dict(part.split("=") for part in unquote(query.get("labelSelector", "")).split(",") if part)
        if wanted:
            items = [item for item in items if wanted.items() <= (item["metadata"].get("labels") or {}).items()]
        start = int(query.get("continue") or 0)
        end = start + min(self.page, int(query.get("limit") or self.page))
        return {
            "kind": "List",
            "apiVersion": "v1",
            "metadata": {"continue": str(end)} if end < len(items) else {},
            "items": items[start:end],
        }


class _Asked(Connection):
    """A connection whose request has been read already."""

    def __init__(self, connection: Connection, asked: Request) -> None:
        super().__init__(connection.sock, connection.server)
        self._asked = asked

    def request(self) -> Request:
        return self._asked
