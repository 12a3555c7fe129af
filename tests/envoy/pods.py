# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A pod without Kubernetes: a network namespace with Istio's redirection, a real Envoy, the programs, and a neighbour that asks.

Nothing of it outlives this process, however it ends: the namespaces are file descriptors, and the kernel kills Envoy with the thread that started it.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import pathlib
import platform
import selectors
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import time
import typing as t

from ansible_collections.meshops.istio_precheck.tests.envoy import wire
from ansible_collections.meshops.istio_precheck.tests.envoy.inbound import Inbound, is_6
from ansible_collections.meshops.istio_precheck.tests.kernel import netns
from ansible_collections.meshops.istio_precheck.tests.kernel.netns import NetworkNamespace, connect

PROXY_USER = 1337
OUTBOUND, INBOUND = 15001, 15006
PATIENCE = 60.0
"""Seconds in which Envoy has to take a configuration."""
LOST = 60.0
"""Seconds without any event after which a connection is taken to be lost: on its way, since a refusal is answered at once."""
FOLDER = "istio-precheck-envoy-"
CLIENT_4, CLIENT_6 = "10.0.0.1", "fd00::1"


class Kind(t.NamedTuple):
    """What the pods of a kind have in common."""

    ips: tuple[str, ...] = ("10.0.0.5",)
    mode: str = "REDIRECT"
    dual: bool = False
    """Whether the proxy has ISTIO_DUAL_STACK, and istiod too."""
    route_localnet: bool = True
    """Whether net.ipv4.conf.*.route_localnet is set in it, as a delivery from a client's address to 127.0.0.1 needs."""

    @property
    def connect_timeout(self) -> str:
        """How long Envoy waits for what it dials. On a busy machine it may be long until it sees an answer; only without route_localnet there is none."""
        return "60s" if self.route_localnet else "3s"

    def __str__(self) -> str:
        family = "".join("6" if is_6(ip) else "4" for ip in self.ips)
        return f"IPv{family} {self.mode}{' dual' if self.dual else ''}{'' if self.route_localnet else ' no-localnet'}"


class Capture(t.NamedTuple):
    """Which ports of a pod are handed to the proxy: the arguments -b and -d of istio-iptables; `without` no proxy at all."""

    include: str = "*"
    exclude: tuple[int, ...] = ()
    init: tuple[int, int] = (1, 20)
    """The version of istio-init: up to 1.12 it leaves port 22 out, and up to 1.11 it redirects IPv6 in mode TPROXY, too (run.go@1.9.9)."""


class Answer(t.NamedTuple):
    """Who answered, as it is bound, and from where it was asked."""

    by: str
    source: str


Question = tuple[str, int]


class Pod:
    """The namespaces and Envoy of a pod. Use it as a context."""

    def __init__(self, kind: Kind, envoy: pathlib.Path | None = None, capture: Capture | None = None) -> None:
        self.kind = kind
        _sweep()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"{FOLDER}{os.getpid()}-"))
        self.folder.chmod(0o755)
        self.inside, self.outside = NetworkNamespace(), NetworkNamespace()
        self.programs = Programs(self.inside)
        self._envoy: subprocess.Popen[bytes] | None = None
        self._pushed = 0
        try:
            v4 = not all(map(is_6, kind.ips))
            v6 = any(map(is_6, kind.ips))
            own = [f"{ip}/{64 if is_6(ip) else 24}" for ip in kind.ips]
            connect(
                self.inside, self.outside, own, [f"{CLIENT_4}/24"] * v4 + [f"{CLIENT_6}/64"] * v6
            )  # the order of a pod's addresses is that in its status
            self._gateway(v4, v6)
            if envoy:
                self._redirect(capture or Capture())
                self._start(envoy)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Pod:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        if self._envoy:
            self._envoy.kill()
            self._envoy.wait()
        self.programs.close()
        self.inside.__exit__()
        self.outside.__exit__()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _gateway(self, v4: bool, v6: bool) -> None:
        if v4:
            self.inside.run("ip", "route", "add", "default", "via", CLIENT_4)
        if v6:
            self.inside.run("ip", "route", "add", "default", "via", CLIENT_6)
        if self.kind.mode == "TPROXY" and self.kind.route_localnet:
            self.inside.run("sh", "-c", "for f in /proc/sys/net/ipv4/conf/*/route_localnet; do echo 1 > $f; done")

    @property
    def pid(self) -> int:
        assert self._envoy
        return self._envoy.pid

    # --- Redirection ---

    def _redirect(self, capture: Capture) -> None:
        """As istio-iptables does: rules for IPv6 only where the first address is one, or the proxy has the flag (config.go@1.20.8)."""
        if self.kind.mode == "NONE":
            return
        for v6 in self._redirected:
            if v6:
                self.inside.run("ip", "addr", "add", "::6/128", "dev", "lo", "nodad")
            transparent = self.kind.mode == "TPROXY" and not (v6 and capture.init < (1, 12))
            self._restore(v6, _tproxy(capture, v6) if transparent else _nat(capture, v6))
            if transparent:
                family = "-6" if v6 else "-4"
                self.inside.run("ip", family, "rule", "add", "fwmark", "1337", "lookup", "133")
                self.inside.run("ip", family, "route", "add", "local", "default", "dev", "lo", "table", "133")

    @contextlib.contextmanager
    def excluding(self, ports: t.Collection[int]) -> t.Iterator[None]:
        """More ports that go past the proxy, as -d would have had them."""
        self._rules("-I", ports)
        try:
            yield
        finally:
            self._rules("-D", ports)

    def _rules(self, do: str, ports: t.Collection[int]) -> None:
        if not ports or self.kind.mode == "NONE":
            return
        table = "mangle" if self.kind.mode == "TPROXY" else "nat"
        text = "".join(f"{do} ISTIO_INBOUND -p tcp --dport {port} -j RETURN\n" for port in ports)
        for v6 in self._redirected:
            self._restore(v6, f"*{table}\n{text}COMMIT\n", "--noflush")

    @property
    def _redirected(self) -> tuple[bool, ...]:
        """The families that have rules, IPv6 being True."""
        return (False, True) if is_6(self.kind.ips[0]) or self.kind.dual else (False,)

    def _restore(self, v6: bool, rules: str, *options: str) -> None:
        command = ["ip6tables-restore" if v6 else "iptables-restore", *options]
        with self.inside.entered():
            done = subprocess.run(command, input=rules, text=True, capture_output=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{command[0]}: {done.stderr}")

    # --- Envoy ---

    def _start(self, envoy: pathlib.Path) -> None:
        self._write([], [])
        bootstrap = self.folder / "bootstrap.json"
        bootstrap.write_text(json.dumps(wire.bootstrap(str(self.folder / "xds"))), encoding="utf-8")
        transparent = self.kind.mode == "TPROXY"
        who = ["--reuid", "0" if transparent else str(PROXY_USER), "--regid", str(PROXY_USER), "--clear-groups"]
        command = ["setpriv", *who, "--pdeathsig", "KILL", str(envoy), "--config-path", str(bootstrap)]
        command += ["--concurrency", "1", "--disable-hot-restart", "--log-level", "warning", "--drain-time-s", "1"]
        with self.inside.entered(), open(self.folder / "log", "wb") as log:
            self._envoy = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._wait()

    @property
    def _socket(self) -> pathlib.Path:
        return self.folder / "run" / "version"

    def _write(self, clusters: list[wire.Thing], listeners: list[wire.Thing]) -> None:
        """Beside, then by a rename: Envoy watches the folder for those. What tells the version comes last, so that all else is there."""
        folder = self.folder / "xds"
        folder.mkdir(exist_ok=True)
        self._socket.parent.mkdir(exist_ok=True)
        os.chown(self._socket.parent, PROXY_USER, PROXY_USER)
        cluster, telling = wire.telling(str(self._socket), self._pushed)
        clusters, listeners = [*clusters, cluster], [*listeners, *telling]
        for name, kind, things in (("cds", "cluster.v3.Cluster", clusters), ("lds", "listener.v3.Listener", listeners)):
            beside = self.folder / f"{name}.json"
            beside.write_text(json.dumps(wire.resources(kind, things, self._pushed)), encoding="utf-8")
            beside.rename(folder / f"{name}.json")

    def push(self, inbounds: t.Mapping[str, Inbound]) -> None:
        """Give Envoy these, by what names their clusters' scope, and wait until it works by them."""
        self._pushed += 1
        self._write(*wire.envoy(inbounds, self.kind.connect_timeout))
        self._wait()

    def _wait(self) -> None:
        end = time.monotonic() + PATIENCE
        while self._version() != str(self._pushed):
            if time.monotonic() > end or (self._envoy and self._envoy.poll() is not None):
                raise RuntimeError(f"Envoy did not take the configuration: {(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.005)

    def _version(self) -> str:
        try:
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(2)
                sock.connect(str(self._socket))
                return sock.recv(100).decode()
        except OSError:
            return ""

    def log(self) -> str:
        return (self.folder / "log").read_text("utf-8", "replace")

    # --- What a client sees ---

    def ask(self, questions: t.Iterable[Question], inside: bool = False) -> dict[Question, Answer | None]:
        """Who answers at each address and port: asked by the neighbour, or by the pod itself, past the proxy."""
        return _ask(self.inside if inside else self.outside, list(dict.fromkeys(questions)))

    def sockets(self) -> str:
        return self.inside.run("ss", "-ltnH")

    def kernel_table(self) -> str:
        """The same with the sockets' numbers, as it stands in /proc."""
        return self.inside.run("cat", "/proc/net/tcp", "/proc/net/tcp6")


def _sweep() -> None:
    """Take away the files of runs that were killed."""
    for path in pathlib.Path(tempfile.gettempdir()).glob(f"{FOLDER}*"):
        pid = path.name.removeprefix(FOLDER).partition("-")[0]
        if pid.isdigit() and not os.path.exists(f"/proc/{pid}"):
            shutil.rmtree(path, ignore_errors=True)


def _nat(capture: Capture, v6: bool) -> str:
    """tools/istio-iptables/pkg/capture/run.go@1.20.8, mode REDIRECT."""
    localhost, source = ("::1/128", "::6/128") if v6 else ("127.0.0.1/32", "127.0.0.6/32")
    lines = [
        "*nat",
        *(f":{chain} - [0:0]" for chain in ("ISTIO_INBOUND", "ISTIO_REDIRECT", "ISTIO_IN_REDIRECT", "ISTIO_OUTPUT")),
        f"-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports {OUTBOUND}",
        f"-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports {INBOUND}",
        "-A ISTIO_INBOUND -p tcp --dport 15008 -j RETURN",
        *_chosen(capture, "ISTIO_IN_REDIRECT"),
        "-A PREROUTING -p tcp -j ISTIO_INBOUND",
        "-A OUTPUT -p tcp -j ISTIO_OUTPUT",
        f"-A ISTIO_OUTPUT -s {source} -o lo -j RETURN",
    ]
    for owner in ("uid", "gid"):
        lines += [
            f"-A ISTIO_OUTPUT ! -d {localhost} -o lo -m owner --{owner}-owner {PROXY_USER} -j ISTIO_IN_REDIRECT",
            f"-A ISTIO_OUTPUT -o lo -m owner ! --{owner}-owner {PROXY_USER} -j RETURN",
            f"-A ISTIO_OUTPUT -m owner --{owner}-owner {PROXY_USER} -j RETURN",
        ]
    return "\n".join(
        [*lines, f"-A ISTIO_OUTPUT -d {localhost} -j RETURN", "-A ISTIO_OUTPUT -j ISTIO_REDIRECT", "COMMIT", ""]
    )


def _tproxy(capture: Capture, v6: bool) -> str:
    """The same, mode TPROXY: the mangle table for what comes in."""
    localhost, source = ("::1/128", "::6/128") if v6 else ("127.0.0.1/32", "127.0.0.6/32")
    lines = [
        "*mangle",
        *(f":{chain} - [0:0]" for chain in ("ISTIO_INBOUND", "ISTIO_DIVERT", "ISTIO_TPROXY")),
        "-A ISTIO_DIVERT -j MARK --set-mark 1337",
        "-A ISTIO_DIVERT -j ACCEPT",
        f"-A ISTIO_TPROXY ! -d {localhost} -p tcp -j TPROXY --tproxy-mark 1337/0xffffffff --on-port {INBOUND}",
        "-A PREROUTING -p tcp -j ISTIO_INBOUND",
        "-A ISTIO_INBOUND -p tcp -m mark --mark 1337 -j RETURN",
        f"-A ISTIO_INBOUND -p tcp -s {source} -i lo -j RETURN",
        "-A ISTIO_INBOUND -p tcp -i lo -m mark ! --mark 1338 -j RETURN",
        *_chosen(
            capture,
            "ISTIO_TPROXY",
            "-A ISTIO_INBOUND -p tcp -m conntrack --ctstate RELATED,ESTABLISHED -j ISTIO_DIVERT",
        ),
        "-A PREROUTING -p tcp -m mark --mark 1337 -j CONNMARK --save-mark",
        "-A OUTPUT -p tcp -o lo -m mark --mark 1337 -j RETURN",
        f"-A OUTPUT ! -d {localhost} -p tcp -o lo -m owner --gid-owner {PROXY_USER} -j MARK --set-mark 1338",
        "-A OUTPUT -p tcp -m connmark --mark 1337 -j CONNMARK --restore-mark",
        "COMMIT",
        "",
    ]
    return "\n".join(lines)


def _chosen(capture: Capture, to: str, before: str = "") -> list[str]:
    """Excludes count only where everything is included."""
    first = [before] if before else []
    if capture.include == "*":
        left_out = [*([22] if capture.init < (1, 13) else []), 15090, 15021, 15020, *capture.exclude]
        excluded = [f"-A ISTIO_INBOUND -p tcp --dport {port} -j RETURN" for port in dict.fromkeys(left_out)]
        return [*excluded, *first, f"-A ISTIO_INBOUND -p tcp -j {to}"]
    ports = [part for part in capture.include.split(",") if part]
    return [
        line
        for port in ports
        for line in (
            *(each.replace("-p tcp", f"-p tcp --dport {port}", 1) for each in first),
            f"-A ISTIO_INBOUND -p tcp --dport {port} -j {to}",
        )
    ]


# ---------------------------------------------------------------------------------------------------------------------
# Programs and clients


class Programs:
    """Listening sockets in a namespace. Each says to whoever asks how it is bound, and from where it was asked."""

    def __init__(self, namespace: NetworkNamespace) -> None:
        self._namespace = namespace
        self._selector = selectors.DefaultSelector()
        self._sockets: dict[str, socket.socket] = {}
        self._lock = threading.Lock()
        self._open = True
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def inode(self, text: str) -> int:
        """The number of the socket that is bound so."""
        return os.fstat(self._sockets[text].fileno()).st_ino

    def bind(self, texts: t.Iterable[str]) -> None:
        """`127.0.0.1:80`, `[::1]:80`, `*:80` (both families), `[::]:80` (IPv6 alone), `0.0.0.0%lo:80` (on an interface), `unix:PATH`."""
        with self._namespace.entered():
            for text in texts:
                sock = _bound(text)
                sock.setblocking(False)
                with self._lock:
                    self._sockets[text] = sock
                    self._selector.register(sock, selectors.EVENT_READ, text)

    def unbind(self) -> None:
        with self._lock:
            for sock in self._sockets.values():
                self._selector.unregister(sock)
                sock.close()
            self._sockets.clear()

    def close(self) -> None:
        self._open = False
        self._thread.join()
        self.unbind()
        self._selector.close()

    def _serve(self) -> None:
        while self._open:
            for key, _events in self._selector.select(0.05):
                with self._lock:
                    if self._sockets.get(key.data) is not key.fileobj:
                        continue
                    try:
                        connection, peer = key.fileobj.accept()
                    except OSError:
                        continue
                self._answer(connection, key.data, peer)

    @staticmethod
    def _answer(connection: socket.socket, text: str, peer: t.Any) -> None:
        with connection:
            try:
                connection.settimeout(10)
                connection.recv(100)
                source = peer[0].removeprefix("::ffff:") if isinstance(peer, tuple) else ""
                connection.sendall(f"{text} {source}\n".encode())
                connection.shutdown(socket.SHUT_WR)
            except OSError:
                pass


def _bound(text: str) -> socket.socket:
    if text.startswith("unix:"):
        sock = socket.socket(socket.AF_UNIX)
        path = text.removeprefix("unix:")
        pathlib.Path(path).unlink(missing_ok=True)
        sock.bind(path)
        os.chmod(path, 0o777)
        sock.listen(128)
        return sock
    host, _colon, port = text.rpartition(":")
    host, _percent, device = host.strip("[]").partition("%")
    v6 = ":" in host or host == "*"
    sock = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if v6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, host != "*" and not host.startswith("::ffff:"))
    if device:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
    sock.setsockopt(socket.IPPROTO_IP, 15, 1)  # IP_FREEBIND, for an address that the pod has no more
    sock.bind(("::" if host == "*" else host, int(port)))
    sock.listen(128)
    return sock


def _ask(namespace: NetworkNamespace, questions: list[Question]) -> dict[Question, Answer | None]:
    found: dict[Question, Answer | None] = dict.fromkeys(questions)
    for start in range(0, len(questions), 200):
        _ask_some(namespace, questions[start : start + 200], found)
    return found


def _ask_some(namespace: NetworkNamespace, questions: list[Question], found: dict[Question, Answer | None]) -> None:
    said: dict[socket.socket, bytes] = {}
    with selectors.DefaultSelector() as selector, namespace.entered():
        for question in questions:
            sock = socket.socket(socket.AF_INET6 if is_6(question[0]) else socket.AF_INET)
            sock.setblocking(False)
            # It leaves with a reset, or thousands of sockets in TIME-WAIT would use up its ports.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if sock.connect_ex(question) not in (0, 115):  # EINPROGRESS
                sock.close()
                continue
            said[sock] = b""
            selector.register(sock, selectors.EVENT_WRITE, question)
        while said:
            events = selector.select(LOST)
            if not events:
                break
            for key, mask in events:
                sock = t.cast(socket.socket, key.fileobj)
                try:
                    if mask & selectors.EVENT_WRITE:
                        sock.send(b"who?\n")
                        selector.modify(sock, selectors.EVENT_READ, key.data)
                        continue
                    more = sock.recv(200)
                except OSError:
                    more = b""
                said[sock] += more
                if more and not said[sock].endswith(b"\n"):
                    continue
                words = said[sock].decode().split()
                if words:
                    found[key.data] = Answer(words[0], words[1] if len(words) > 1 else "")
                selector.unregister(sock)
                sock.close()
                del said[sock]
        for sock in said:
            sock.close()


def why_impossible() -> str | None:
    """Why this machine cannot run such a pod, as a sentence, or None if it can."""
    if platform.machine() != "x86_64":
        return "Envoy comes for x86-64."
    for tool in ("iptables-restore", "ip6tables-restore", "setpriv"):
        if shutil.which(tool) is None:
            return f"The {tool} command is missing."
    return netns.why_impossible()


@functools.cache
def envoy() -> pathlib.Path:
    """The program, from PyPI, by its hash."""
    from testbed import modules

    return modules.envoy()
