# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""One command in one container, over a WebSocket, under a deadline.

Not kubernetes.stream: that is not thread-safe, drops impersonation, has no working timeout, can lose frames over TLS, and parses
the CA file again for each exec. What is used here is the same Configuration, and websocket-client, which it depends on.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import threading
import time
import typing as t
from urllib.parse import quote, urlencode, urlsplit

from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.api import (
    REQUEST_TIMEOUT,
    RETRIED,
    retry_after,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.attempts import (
    CANNOT_RUN,
    Outcome,
    refused,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.background import Ahead
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.errors import redirection, status_message
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.secrets import without_user

MAX_OUTPUT = 16 << 20
"""Bytes of output of one command that are kept; a table of 100,000 sockets has 15 MB."""

MAX_HEADERS = 256 << 10
"""Bytes that the server may send before the command runs, or instead: headers, and what a refusal says."""

STDOUT, STDERR, ERROR = 1, 2, 3
"""Channels of v4.channel.k8s.io: k8s.io/apimachinery/pkg/util/remotecommand/constants.go."""

FIRST_WAIT = 0.25
"""Seconds before the second try; each further wait is twice as long."""

DIALS = 3
"""Tries of a connection that breaks: an API server that restarts costs some, one that is gone must not cost each pod its whole timeout."""

FRESH = 1.0
"""Seconds for which a token and the host's addresses are not asked for again; a token is replaced minutes before it expires."""

T = t.TypeVar("T")


class _Failed(Exception):
    """A try that gave no output: the word and the sentence for it, and whether another try may do better."""

    def __init__(
        self, reason: str, detail: str, again: bool = False, wait: float | None = None, status: int = 0
    ) -> None:
        super().__init__(detail)
        self.reason, self.detail, self.again, self.wait, self.status = reason, detail[:300], again, wait, status


class ExecClient:
    """Runs commands in pods; safe to use from many threads. `client` is what kubernetes.core's get_api_client() returns.

    Raises ValueError or OSError if its configuration cannot be used.
    """

    def __init__(self, client: t.Any, timeout: float) -> None:
        self.timeout = timeout
        self._configuration = client.configuration
        self._host = urlsplit(without_user(self._configuration.host))
        self._impersonation = [
            f"{name}: {value}"
            for name, value in client.client.client.default_headers.items()
            if name.lower().startswith("impersonate-")
        ]
        self._context = tls_context(self._configuration)
        self._proxy = proxy_of(self._configuration)
        # A refresh hook may re-read a token file or run a plugin.
        self._settings = _Shared(self._configuration.auth_settings, "what makes the token")
        self._port = self._host.port or (443 if self._host.scheme == "https" else 80)
        name, port = (
            (self._proxy.hostname, self._proxy.port or 80) if self._proxy else (self._host.hostname or "", self._port)
        )
        self._addresses = _Shared(lambda: socket.getaddrinfo(name, port, type=socket.SOCK_STREAM), "the name server")
        self._watchdog = _Watchdog()

    def close(self) -> None:
        """Ends at once what still runs."""
        self._watchdog.stop()
        self._settings.abandon()

    def run(
        self,
        namespace: str,
        pod: str,
        container: str,
        command: t.Sequence[str],
        seconds: float | None = None,
        share: float = 1.0,
    ) -> Outcome:
        """What the command printed, or why that is not known. Never raises for what a cluster does; ends within `seconds`, or `timeout`.

        A try may take the `share` of these: a command that hangs leaves the rest to others, a server that is busy is asked again in all of them.
        """
        seconds = self.timeout if seconds is None else seconds
        deadline = time.monotonic() + seconds
        query = [
            ("container", container),
            ("stdout", "true"),
            ("stderr", "true"),
            *(("command", part) for part in command),
        ]
        path = f"{self._host.path.rstrip('/')}/api/v1/namespaces/{quote(namespace, safe='')}/pods/{quote(pod, safe='')}/exec?{urlencode(query)}"
        wait = FIRST_WAIT
        dials = 0
        said: _Failed | None = None
        while True:
            ends = min(deadline, time.monotonic() + seconds * share)
            try:
                return self._once(path, ends)
            except Exception as error:  # pylint: disable=broad-except
                # Whatever one pod's answer is, garbage included, the others are still to be read.
                failed = self._failed(error, ends)
            if (
                failed.reason == "timeout" and said
            ):  # what the server said before tells more than that the last try had too little time
                return Outcome("", None, said.reason, said.detail, said.status)
            said = failed
            dials += failed.reason == "connection"
            if failed.wait is not None:
                wait = failed.wait
            if (
                not failed.again
                or dials >= DIALS
                or time.monotonic() + wait >= deadline
                or self._watchdog.stopped.wait(wait)
            ):
                return Outcome("", None, failed.reason, failed.detail, failed.status)
            wait = max(wait, FIRST_WAIT) * 2

    def _failed(self, error: Exception, deadline: float) -> _Failed:
        """Every way in which a try can fail, as one."""
        import websocket

        if isinstance(error, _Failed):
            return error
        if isinstance(error, (TimeoutError, websocket.WebSocketTimeoutException)) or time.monotonic() >= deadline:
            return _Failed("timeout", "No answer in time.")
        if isinstance(error, websocket.WebSocketBadStatusException):
            return _refusal(error)
        certain = isinstance(error, ssl.SSLCertVerificationError) or not isinstance(
            error, (websocket.WebSocketException, http.client.HTTPException, OSError)
        )
        return _Failed("connection", f"{type(error).__name__}: {error}", again=not certain)

    def _once(self, path: str, deadline: float) -> Outcome:
        import websocket

        with self._watchdog.until(deadline) as watched, contextlib.ExitStack() as stack:
            raw = self._dial(deadline, watched, stack)
            stream = websocket.WebSocket(enable_multithread=False, skip_utf8_validation=True)
            stack.callback(stream.shutdown)
            raw.settimeout(_left(deadline))
            metered = _Metered(
                raw, MAX_HEADERS, _Failed("connection", f"The server sent more than {MAX_HEADERS} bytes of headers.")
            )
            stream.connect(
                f"{'wss' if self._host.scheme == 'https' else 'ws'}://{self._host.netloc}{path}",
                socket=metered,
                header=self._headers(deadline),
                subprotocols=["v4.channel.k8s.io"],
                suppress_origin=True,
                redirect_limit=0,  # it would take the token to wherever it is sent, past the proxy and the TLS context
            )
            if stream.getstatus() != 101:
                raise _Failed(
                    "connection",
                    f"The server answered with {redirection(stream.getstatus(), (stream.getheaders() or {}).get('location'))}.",
                )
            metered.allow(
                2 * MAX_OUTPUT, too_much_output()
            )  # as much again for the frames, and for what else is printed
            return _read(stream, deadline)

    def _headers(self, deadline: float) -> list[str]:
        settings = self._settings.get(deadline)
        return [f"{s['key']}: {s['value']}" for s in settings.values() if s.get("in") == "header"] + self._impersonation

    def _dial(self, deadline: float, watched: t.Callable[[t.Any], None], stack: contextlib.ExitStack) -> t.Any:
        """A connected socket, TLS done. Each step is visible to the watchdog: a peer that dribbles bytes renews a socket's own timeout."""
        name = self._host.hostname or ""
        raw = _connect(self._addresses.get(deadline), deadline, watched, stack)
        if self._proxy:
            _tunnel(
                raw,
                f"[{name}]:{self._port}" if ":" in name else f"{name}:{self._port}",
                self._configuration.proxy_headers or {},
            )
        if self._host.scheme == "https":
            raw.settimeout(_left(deadline))
            server_name = getattr(self._configuration, "tls_server_name", None) or name
            raw = stack.enter_context(
                self._context.wrap_socket(raw, server_hostname=server_name, do_handshake_on_connect=False)
            )
            watched(raw)
            raw.do_handshake()
        return raw


class _Metered:
    """A socket from which so much is read and no more. websocket-client has no limits: to a line, to headers, or to a frame of 2**63 bytes."""

    def __init__(self, sock: t.Any, most: int, beyond: Exception) -> None:
        self._socket, self._left, self._beyond = sock, most, beyond

    def allow(self, most: int, beyond: Exception) -> None:
        """From now on, so much more."""
        self._left, self._beyond = most, beyond

    def recv(self, size: int) -> bytes:
        """Raises `beyond`."""
        if self._left <= 0:
            raise self._beyond
        data: bytes = self._socket.recv(min(size, 1 << 16))
        self._left -= len(data)
        return data

    def __getattr__(self, name: str) -> t.Any:
        return getattr(self._socket, name)


def too_much_output() -> _Failed:
    return _Failed("too_much_output", f"The command printed more than {MAX_OUTPUT} bytes.")


class _Shared(t.Generic[T]):
    """What a call returns, for all threads, asked for again when it is older than FRESH.

    It is called in the background, once at a time: it may hang, and who needs it waits no longer than its own deadline. `who` answers it.
    """

    def __init__(self, call: t.Callable[[], T], who: str) -> None:
        self._call, self._who = call, who
        self._lock = threading.Lock()
        self._asking: Ahead[None] | None = None
        self._until = 0.0
        self._outcome: tuple[T | None, Exception | None] = (None, None)

    def get(self, deadline: float) -> T:
        """Raises what the call raises, and _Failed if it takes too long."""
        with self._lock:
            now = time.monotonic()
            if now >= self._until:
                self.abandon()
                self._until = now + REQUEST_TIMEOUT
                self._asking = Ahead(self._ask)
            asking = t.cast("Ahead[None]", self._asking)
        if not asking.ends_within(_left(deadline)):
            raise _Failed("timeout", f"No answer in time from {asking.program or self._who}.")
        found, error = self._outcome
        if error:
            raise error
        return t.cast(T, found)

    def abandon(self) -> None:
        """Ends what a call that has not ended waits for."""
        if self._asking:
            self._asking.abandon()

    def _ask(self) -> None:
        try:
            self._outcome = (self._call(), None)
        except Exception as error:  # pylint: disable=broad-except
            self._outcome = (None, error)
        self._until = 0.0 if self._outcome[1] else time.monotonic() + FRESH


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _connect(
    addresses: t.Sequence[t.Any], deadline: float, watched: t.Callable[[t.Any], None], stack: contextlib.ExitStack
) -> socket.socket:
    """The first of a host's addresses that answers, all under one deadline: socket.create_connection() gives each the whole time."""
    for number, (family, kind, protocol, _canonical, address) in enumerate(addresses):
        raw = stack.enter_context(socket.socket(family, kind, protocol))
        watched(raw)
        raw.settimeout(_left(deadline) / (len(addresses) - number))
        try:
            raw.connect(address)
        except OSError:
            raw.close()
            if number == len(addresses) - 1:
                raise
        else:
            raw.settimeout(_left(deadline))
            return raw
    raise OSError("the host has no address")


def _tunnel(raw: socket.socket, target: str, headers: t.Mapping[str, str]) -> None:
    """Asks an HTTP proxy for a connection to `target`.

    By hand but for the answer: http.client's set_tunnel() opens the socket itself, out of reach of the deadline and the watchdog, and
    websocket-client's proxy support sends no headers but a user and a password.
    """
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}", *(f"{name}: {value}" for name, value in headers.items())]
    raw.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
    response = http.client.HTTPResponse(raw, method="CONNECT")
    try:
        response.begin()
        if response.status // 100 != 2:
            raise _Failed(
                "connection",
                f"The proxy answered with {response.status} {response.reason}.",
                again=response.status in RETRIED,
            )
    finally:
        response.close()


def proxy_of(configuration: t.Any) -> t.Any:
    """The URL of the proxy to the API server, split, or None; the lists decide it in the same way. Raises ValueError for one that cannot be used."""
    from kubernetes.client import rest

    if not configuration.proxy:
        return None
    bypass = getattr(rest, "should_bypass_proxies", None)  # not in every version of the client
    if bypass and bypass(configuration.host, no_proxy=getattr(configuration, "no_proxy", None) or ""):
        return None
    proxy = urlsplit(configuration.proxy)
    if proxy.scheme != "http" or not proxy.hostname:
        raise ValueError(f"proxy: an exec can only go through an http:// proxy, not {proxy.scheme or 'no'}://")
    return proxy


def _read(stream: t.Any, deadline: float) -> Outcome:
    """Frames until the status arrives, which comes last, or the server closes: the first byte of each is its channel."""
    import websocket

    stdout = bytearray()
    error = bytearray()
    status = None
    while status is None:
        stream.settimeout(_left(deadline))
        try:
            opcode, data = stream.recv_data(control_frame=True)
        except (websocket.WebSocketConnectionClosedException, ConnectionError, ssl.SSLError):
            _left(deadline)
            opcode, data = websocket.ABNF.OPCODE_CLOSE, b""
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            break
        if opcode not in (websocket.ABNF.OPCODE_BINARY, websocket.ABNF.OPCODE_TEXT) or not data:
            continue
        if data[0] == STDOUT:
            stdout += data[1:]
        elif data[0] == ERROR and len(data) > 1:
            error += data[1:]
            with contextlib.suppress(ValueError):
                status = json.loads(error)
        if len(stdout) + len(error) > MAX_OUTPUT:
            raise too_much_output()
    if status is None and not error:
        raise _Failed(
            "connection", "The connection was closed before the server said how the command ended.", again=True
        )
    if not isinstance(status, dict):
        raise _Failed("connection", "What the server said of how the command ended is no status.")
    text = stdout.decode("utf-8", "replace")
    if status.get("status") == "Success":
        return Outcome(text, 0)
    causes = (status.get("details") or {}).get("causes") or ()
    code = next((c.get("message") for c in causes if c.get("reason") == "ExitCode"), None)
    if status.get("reason") == "NonZeroExitCode" and str(code).isdecimal():
        return Outcome(text, int(str(code)))
    return Outcome(text, None, CANNOT_RUN, str(status.get("message") or "no reason given")[:300])


def _refusal(error: t.Any) -> _Failed:
    """A failed upgrade: an HTTP status and, where the server gave one, a Kubernetes Status."""
    body = (error.resp_body or b"")[:MAX_HEADERS].decode("utf-8", "replace").strip()
    reason, detail = refused(error.status_code, status_message(body, body or f"HTTP {error.status_code}"))
    again = reason == "server_error" and error.status_code in RETRIED
    return _Failed(
        reason, detail, again, retry_after(error.resp_headers or {}) if again else None, error.status_code or 0
    )


def tls_context(configuration: t.Any) -> ssl.SSLContext:
    """One context for all connections, as the generated client would make one for each.

    Not ssl.create_default_context(): from Python 3.13 on that asks more of a certificate than the client's own lists may do.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_flags |= (
        ssl.VERIFY_X509_PARTIAL_CHAIN
    )  # as urllib3 and kubectl: a CA given by name is trusted, root or not
    if not configuration.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        data = getattr(configuration, "ca_cert_data", None)
        if configuration.ssl_ca_cert or data:
            context.load_verify_locations(cafile=configuration.ssl_ca_cert or None, cadata=data or None)
        else:
            context.load_default_certs()
        if configuration.assert_hostname is False:
            context.check_hostname = False
    if configuration.cert_file:
        context.load_cert_chain(
            configuration.cert_file, configuration.key_file, password=""
        )  # without one, an encrypted key asks the terminal
    return context


class _Watchdog:
    """Shuts down what is past its deadline, so that nothing a peer does keeps a thread longer."""

    def __init__(self) -> None:
        self._watched: dict[int, tuple[float, socket.socket]] = {}
        self._lock = threading.Lock()
        self.stopped = threading.Event()
        self._next = 0
        self._thread = threading.Thread(target=self._watch, name="exec-deadlines", daemon=True)
        self._thread.start()

    @contextlib.contextmanager
    def until(self, deadline: float) -> t.Iterator[t.Callable[[socket.socket], None]]:
        with self._lock:
            self._next += 1
            ticket = self._next

        def watched(connection: socket.socket) -> None:
            with self._lock:
                self._watched[ticket] = (deadline, connection)
            if self.stopped.is_set():
                raise OSError("the run has ended")

        try:
            yield watched
        finally:
            with self._lock:
                self._watched.pop(ticket, None)

    def stop(self) -> None:
        """Shuts down all that is watched, and whatever comes to be."""
        self.stopped.set()
        self._thread.join()

    def _watch(self) -> None:
        ended = False
        while not ended:
            ended = self.stopped.wait(0.1)
            now = time.monotonic()
            with self._lock:
                late = [connection for deadline, connection in self._watched.values() if ended or now > deadline]
            for connection in late:
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)
