# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The kernel as oracle: what the tables say about real sockets against what real connections to them find.

Needs root, Linux and iproute2. All traffic stays in network namespaces without a way out. KERNEL_ORACLE_DRAWS and KERNEL_ORACLE_SEED change how
many sets of listeners are drawn, and which.
"""

from __future__ import annotations

import os
import random
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.delivery import Delivery
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.judge import judge
from ansible_collections.meshops.istio_precheck.plugins.module_utils._sockets.lookup import accepts, is_loopback
from ansible_collections.meshops.istio_precheck.plugins.module_utils._sockets.parse import Listener, parse
from ansible_collections.meshops.istio_precheck.tests.kernel.netns import NetworkNamespace, connect, why_impossible

WHY_IMPOSSIBLE = why_impossible()
pytestmark = pytest.mark.skipif(WHY_IMPOSSIBLE is not None, reason=WHY_IMPOSSIBLE or "")

DRAWS = int(os.environ.get("KERNEL_ORACLE_DRAWS", "4000"))
SEED = int(os.environ.get("KERNEL_ORACLE_SEED", "143"))
DRAWS_PER_TABLE = 50
PORTS_PER_DRAW = 2
FIRST_PORT = 1024
LAST_PORT = 30000  # below the ephemeral ports, which the connections use

IPPROTO_MPTCP = 262
LINK_LOCAL = "fe80::7"


@dataclass(frozen=True)
class Stack:
    """The addresses of a pod."""

    name: str
    pod: tuple[str, ...]
    neighbour: tuple[str, ...]
    loopback: tuple[str, ...]  # those dialled from inside
    disable_ipv6: bool = False
    bindv6only: bool = False


# Read backwards, the second is a loopback address. The byte order of procnet must be found out all the same.
V4 = ("10.7.0.2/24", "10.7.0.127/24")
V6 = ("fd07::2/64", "2001:db8:aaaa:bbbb:cccc:dddd:eeee:2/64")
V4_LOOPBACK = ("127.0.0.1", "127.0.0.2", "127.0.0.6", "127.9.9.9", "::ffff:127.0.0.1", "0.0.0.0")
STACKS = (
    Stack("IPv4, IPv6 switched off", V4, ("10.7.0.1/24",), V4_LOOPBACK[:4], disable_ipv6=True),
    Stack("IPv4", V4, ("10.7.0.1/24",), (*V4_LOOPBACK, "::1", "::")),
    Stack("IPv6", V6, ("fd07::1/64", "2001:db8:aaaa:bbbb:cccc:dddd:eeee:1/64"), (*V4_LOOPBACK, "::1", "::")),
    Stack(
        "dual stack",
        V4 + V6,
        ("10.7.0.1/24", "fd07::1/64", "2001:db8:aaaa:bbbb:cccc:dddd:eeee:1/64"),
        (*V4_LOOPBACK, "::1", "::"),
    ),
    Stack(
        "dual stack, bindv6only",
        V4 + V6,
        ("10.7.0.1/24", "fd07::1/64", "2001:db8:aaaa:bbbb:cccc:dddd:eeee:1/64"),
        (*V4_LOOPBACK, "::1", "::"),
        bindv6only=True,
    ),
)


class Pod:
    """A pod's namespace and its neighbour's."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.addresses = [text.partition("/")[0] for text in stack.pod]
        self.inside = NetworkNamespace()
        self.outside = NetworkNamespace()
        if stack.disable_ipv6:
            self._sysctl("net/ipv6/conf/all/disable_ipv6")
        if stack.bindv6only:
            self._sysctl("net/ipv6/bindv6only")
        link_local = not stack.disable_ipv6
        connect(
            self.inside,
            self.outside,
            [*stack.pod, *[f"{LINK_LOCAL}/64"] * link_local],
            [*stack.neighbour, *["fe80::1/64"] * link_local],
        )
        with self.inside.entered():
            self.scope = socket.if_nametoindex("eth0")
        with self.outside.entered():
            self.outside_scope = socket.if_nametoindex("eth0")

    def _sysctl(self, name: str) -> None:
        self.inside.run("sh", "-c", f"echo 1 > /proc/sys/{name}")

    def close(self) -> None:
        self.inside.__exit__()
        self.outside.__exit__()

    def tables(self) -> dict[str, str]:
        return {"ss": self.inside.run("ss", "-ltnH"), "procnet": self.inside.read("tcp", "tcp6")}


@dataclass
class Draw:
    """A set of listeners on a few ports that nobody else uses."""

    ports: tuple[int, ...]
    sockets: list[socket.socket] = field(default_factory=list)
    bound: set[Listener] = field(default_factory=set)
    found: dict[tuple[str, str, int], bool] = field(default_factory=dict)  # (from, destination, port)

    @property
    def has_interface(self) -> bool:
        return any(listener.interface for listener in self.bound)


def _what_is_bound(sock: socket.socket) -> Listener:
    name = sock.getsockname()
    address = name[0].partition("%")[0]
    v6only = bool(sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)) if address == "::" else None
    device = sock.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16).rstrip(b"\0").decode()
    if address == LINK_LOCAL:
        device = (
            "eth0"  # Binding to its scope does that. An MPTCP socket does not say so, the TCP socket inside it does.
        )
    return Listener(address, name[1], v6only, device or None)


def _some_listeners(rng: random.Random, pod: Pod, draw: Draw, seen: Counter[str]) -> None:
    """Open random listeners; what the kernel refuses is not part of the set."""
    own = pod.addresses
    v4 = [
        "0.0.0.0",
        "0.0.0.0",
        "127.0.0.1",
        "127.0.0.1",
        "127.0.0.2",
        "127.9.9.9",
        *(address for address in own if ":" not in address),
    ]
    v6 = [
        "::",
        "::",
        "::",
        "::1",
        "::1",
        "::ffff:0.0.0.0",
        *(f"::ffff:{address}" for address in v4),
        *(address for address in own if ":" in address),
    ]
    with_interface = rng.random() < 0.1
    if with_interface and not pod.stack.disable_ipv6:
        v6.append(LINK_LOCAL)
    all_share = rng.choice(("none", "port", "address", "both", "any"))
    listen_late = rng.random() < 0.3
    waiting: list[tuple[socket.socket, int]] = []
    for _number in range(rng.choice((0, 1, 1, 1, 2, 2, 3, 4, 6))):
        address = rng.choice(v4 if rng.random() < 0.45 else v6)
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        port = draw.ports[0] if rng.random() < 0.85 else rng.choice(draw.ports)
        with pod.inside.entered():
            try:
                sock = socket.socket(family, socket.SOCK_STREAM, IPPROTO_MPTCP if rng.random() < 0.15 else 0)
            except OSError:  # no MPTCP in this kernel
                sock = socket.socket(family, socket.SOCK_STREAM)
        share = rng.choice(("none", "port", "address", "both")) if all_share == "any" else all_share
        if share in ("address", "both"):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if share in ("port", "both"):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            v6only = rng.choice((None, None, 0, 1))
            if v6only is None and address.startswith("::ffff:"):
                v6only = 0  # otherwise bindv6only would refuse them all
            if v6only is not None:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, v6only)
        if with_interface and rng.random() < 0.7:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, rng.choice((b"lo", b"eth0")))
        backlog = rng.randint(64, 200)
        try:
            sock.bind((address, port, 0, pod.scope) if address == LINK_LOCAL else (address, port))
            if listen_late:
                waiting.append((sock, backlog))
                continue
            sock.listen(backlog)
        except OSError as error:
            seen[f"refused by the kernel: {os.strerror(error.errno or 0)}"] += 1
            sock.close()
            continue
        draw.sockets.append(sock)
    for sock, backlog in waiting:
        try:
            sock.listen(backlog)
        except OSError as error:
            seen[f"refused by the kernel: {os.strerror(error.errno or 0)}"] += 1
            sock.close()
            continue
        draw.sockets.append(sock)
    draw.bound = {_what_is_bound(sock) for sock in draw.sockets}
    seen["listening sockets"] += len(draw.sockets)
    seen["sets with two or more listeners on one port"] += len({listener.port for listener in draw.bound}) < len(
        draw.bound
    )
    seen["sets with a listener bound to an interface"] += draw.has_interface


def _client(destination: str) -> socket.socket:
    if ":" not in destination:
        return socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)  # with bindv6only it could not dial ::ffff:127.0.0.1
    return sock


def _connects(destination: str, port: int, scope: int) -> bool:
    """Return what a real connection finds: a listener, or nothing (ECONNREFUSED). Anything else is a fault of the test."""
    with _client(destination) as sock:
        sock.settimeout(10)
        # The client leaves with a reset, otherwise thousands of sockets in TIME-WAIT would use up its ports.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        try:
            sock.connect((destination, port, 0, scope) if destination == LINK_LOCAL else (destination, port))
        except ConnectionRefusedError:
            return False
        return True


def _ask_the_kernel(pod: Pod, draws: list[Draw], keep: list[socket.socket]) -> int:
    link_local = [] if pod.stack.disable_ipv6 else [LINK_LOCAL]
    places = (
        ("inside", pod.inside, [*pod.stack.loopback, *pod.addresses, *link_local], pod.scope),
        ("outside", pod.outside, [*pod.addresses, *link_local], pod.outside_scope),
    )
    connects = 0
    for place, namespace, destinations, scope in places:
        with namespace.entered():
            for draw in draws:
                for port in draw.ports:
                    for destination in destinations:
                        draw.found[place, destination, port] = _connects(destination, port, scope)
                        connects += 1
            # Some connections stay, so that the tables are not of listeners alone.
            for draw in draws[::5]:
                for (found_from, destination, port), found in draw.found.items():
                    if found and found_from == place and destination != LINK_LOCAL:
                        kept = _client(destination)
                        keep.append(kept)
                        kept.connect((destination, port))
    return connects


@contextmanager
def _draws(rng: random.Random, pod: Pod, count: int, first_port: int, seen: Counter[str]) -> Iterator[list[Draw]]:
    draws = []
    keep: list[socket.socket] = []
    try:
        for number in range(count):
            port = first_port + number * PORTS_PER_DRAW
            draw = Draw(tuple(range(port, port + PORTS_PER_DRAW)))
            draws.append(draw)
            _some_listeners(rng, pod, draw, seen)
        seen["connections"] += _ask_the_kernel(pod, draws, keep)
        yield draws
    finally:
        for sock in keep:
            sock.close()
        for draw in draws:
            for sock in draw.sockets:
                sock.close()


def _verdict(
    pod: Pod, on_port: list[Listener], place: str, destination: str, port: int, truth: bool, seen: Counter[str]
) -> Iterator[str]:
    """Say where the rule's verdict is not what the connection found: from the neighbour one to the pod's address, from inside one that a proxy makes."""
    if place == "outside":
        delivery = Delivery("pod_ip", None, port, "the pod is asked")
    elif destination in ("127.0.0.1", "::1"):
        delivery = Delivery("localhost", destination, port, "the proxy asks")
    else:
        return
    asked = destination if place == "outside" else pod.addresses[0]
    found = judge(on_port, port, [asked], delivery, delivery)
    seen["verdicts"] += 1
    local = any(is_loopback(listener.address) for listener in on_port)
    wanted = ("ok", "remediated") if truth else ("finding",) if local else ("not_listening",)
    if found.outcome not in wanted or (place == "outside" and found.outcome == "remediated"):
        yield f"{found.outcome}, the connection from {place} to {destination} {'found' if truth else 'did not find'} a listener, {on_port}"


def _compare(pod: Pod, draws: list[Draw], seen: Counter[str]) -> list[str]:
    """Return a sentence for every answer that is not the kernel's."""
    wrong: list[str] = []
    for source, text in pod.tables().items():
        table = parse(source, text)
        wrong.extend(f"{source}: {sentence}" for sentence in table.suspect)
        if parse(source, text, byte_order=sys.byteorder) != table:
            wrong.append(f"{source}: the byte order that was found is not that of this machine")

        # First the parser: exactly what was bound, as far as the source shows it.
        bound = {listener for draw in draws for listener in draw.bound}
        if source == "procnet":
            bound = {Listener(listener.address, listener.port) for listener in bound}
        wrong.extend(
            f"{source}: {listener!r} is not in the table as read" for listener in sorted(bound - set(table.listeners))
        )
        wrong.extend(f"{source}: {listener!r} was never bound" for listener in sorted(set(table.listeners) - bound))

        for draw in draws:
            if source == "procnet" and draw.has_interface:
                seen["sets not asked of procnet, which does not show interfaces"] += 1
                continue
            for (place, destination, port), truth in draw.found.items():
                on_port = [listener for listener in table.listeners if listener.port == port]
                if draw.has_interface:
                    # The interface that holds the destination must be known to be certain, and is asked for only then.
                    careful = accepts(table.listeners, port, destination)
                    holder = "lo" if destination in pod.stack.loopback else "eth0"
                    answer = accepts(table.listeners, port, destination, interface=holder)
                    may_be_none = False
                    if careful is not answer:
                        lo_aside = [listener for listener in on_port if listener.interface is None]
                        if careful is not None or holder == "lo" or accepts(lo_aside, port, destination):
                            wrong.append(f"{source}: {careful} without the interface of {destination}, {on_port}")
                        seen[f"{source}: None for want of the interface"] += 1
                else:
                    answer = accepts(table.listeners, port, destination)
                    others = [listener for listener in on_port if listener.address != "::"]
                    may_be_none = (
                        source == "procnet"
                        and (":" not in destination or destination.startswith("::ffff:"))
                        and len(others) < len(on_port)
                        and accepts(others, port, destination) is False
                    )
                seen[f"{source}: answers"] += 1
                if answer is None and may_be_none:
                    seen[f'{source}: None, "::" of unknown v6only and an IPv4 destination'] += 1
                    seen["... of these, the kernel found a listener"] += truth
                elif answer is truth and not draw.has_interface:
                    wrong.extend(
                        f"{source}: {sentence}"
                        for sentence in _verdict(pod, on_port, place, destination, port, truth, seen)
                    )
                elif answer is not truth:
                    wrong.append(
                        f"{source}: {answer}, the kernel says {truth}: from {place} to {destination}, {on_port}, bound {sorted(draw.bound)}"
                    )
    return wrong


def test_every_answer_is_the_one_that_a_real_connection_gets(capsys: pytest.CaptureFixture[str]) -> None:
    rng = random.Random(SEED)
    seen: Counter[str] = Counter()
    wrong: list[str] = []
    started = time.monotonic()
    per_stack = -(-DRAWS // len(STACKS))
    with capsys.disabled():
        print(f"\nkernel oracle: Linux {os.uname().release}, seed {SEED}")
    for stack in STACKS:
        pod = Pod(stack)
        try:
            port = FIRST_PORT
            left = per_stack
            while left:
                count = min(left, DRAWS_PER_TABLE)
                with _draws(rng, pod, count, port, seen) as draws:
                    wrong.extend(f"{stack.name}: {sentence}" for sentence in _compare(pod, draws, seen))
                seen["sets of listeners"] += count
                left -= count
                port += count * PORTS_PER_DRAW
                if port > LAST_PORT - DRAWS_PER_TABLE * PORTS_PER_DRAW:
                    port = FIRST_PORT
        finally:
            pod.close()
    seconds = time.monotonic() - started
    with capsys.disabled():
        for what, count in sorted(seen.items()):
            print(f"  {count:8,} {what}")
        print(f"  {seconds:8.1f} seconds, {len(wrong)} mismatches")

    assert not wrong, f"{len(wrong)} mismatches, seed {SEED}:\n" + "\n".join(wrong[:20])
    assert seen["sets of listeners"] >= DRAWS
    assert seen["verdicts"] > 2 * DRAWS
    assert seen["sets with two or more listeners on one port"] > seen["sets of listeners"] // 10
