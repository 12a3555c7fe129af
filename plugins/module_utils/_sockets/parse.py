# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""Raw text of a TCP socket table to listeners.

Pure: text in, data out. No function here raises because of what a table says: a line that is not understood, or a table that is visibly
incomplete, becomes a sentence in :attr:`SocketTable.suspect`, so that the caller can refuse to call the pod fine.

What each source can tell:

========== ============== ================= =========================================================================================
format     v6only of "::" bound interface   notes
========== ============== ================= =========================================================================================
``ss``     yes            yes               Unless ss fell back to /proc/net/tcp (no netlink, as in gVisor): then neither. Noticed here.
``procnet`` no            no                Byte order is that of the host, see :func:`parse`.
``netstat`` no            no                Long IPv6 addresses are cut to fit the column. Noticed here.
========== ============== ================= =========================================================================================
"""

from __future__ import annotations

import ipaddress
import itertools
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache, total_ordering

FORMATS = ("ss", "procnet", "netstat")

_MAX_SUSPECT = 50  # A binary or an HTML page instead of a table must not become a report of thousands of sentences.
_MAX_LINE = 200

MAX_LINES = 70_000
"""Lines of a table that are read one by one: seconds of work. A run of procnet's lines that do not listen counts once, and a pod has no more
listeners than that. A limit and no clock, so that a recorded table says what it said when it was read."""

MAX_LINE_LENGTH = 4096
"""Characters of a line of a table; the kernel's have 150, and those of ss with every column a few hundred."""

MAX_EVIDENCE = 5000
"""Addresses that are weighed to find a byte order."""

_MAPPED = 0xFFFF << 32  # ::ffff:0:0/96, RFC 4291 section 2.5.5.2


@lru_cache(maxsize=8192)
def _number(address: str) -> tuple[int, int]:
    """Return (4 or 6, the address as an integer). Raises ValueError."""
    parsed = ipaddress.ip_address(address)
    if "%" in address:
        raise ValueError(f"{address!r} carries a zone")
    return parsed.version, int(parsed)


def _text_of(version: int, number: int) -> str:
    # Python prints ::ffff:127.0.0.1 only since 3.13, before it was ::ffff:7f00:1.
    if version == 4:
        return str(ipaddress.IPv4Address(number))
    if number >> 32 == 0xFFFF:
        return f"::ffff:{ipaddress.IPv4Address(number & 0xFFFFFFFF)}"
    return str(ipaddress.IPv6Address(number))


@total_ordering
@dataclass(frozen=True, slots=True)
class Listener:
    """One TCP socket in state LISTEN.

    Sorts by port, then IPv4 before IPv6, then address (by number, not by text), then interface.

    :param address: canonical text of the bound address, ``127.0.0.1``, ``0.0.0.0``, ``::``, ``::1``, ``::ffff:127.0.0.1``. No brackets, no zone.
    :param port: 1 to 65535.
    :param v6only: only meaningful for ``::``, and None for every other address. True: IPV6_V6ONLY is set, the socket takes no IPv4.
        False: it takes both (ipv6(7)). None: the source cannot tell.
    :param interface: name of the interface the socket is bound to (SO_BINDTODEVICE, socket(7)), or the scope of a link-local address.
        None: not bound to one, or the source does not show it (procnet, netstat).
    """

    address: str
    port: int
    v6only: bool | None = None
    interface: str | None = None

    @property
    def text(self) -> str:
        """How a human writes it: ``127.0.0.1:8080``, ``[::1]:8080``, ``[::]:8080``, and as ss does ``*:8080`` for a ``::`` that takes IPv4 too."""
        zone = f"%{self.interface}" if self.interface else ""
        if self.address == "::" and self.v6only is False:
            host = "*"
        elif ":" in self.address:
            host = f"[{self.address}]"
        else:
            host = self.address
        return f"{host}{zone}:{self.port}"

    def __str__(self) -> str:
        return self.text

    def order(self) -> tuple[int, tuple[int, int], str, str, int]:
        # None does not compare with bool or str, which is why the order that dataclass generates will not do.
        try:
            number = _number(self.address)
        except ValueError:
            number = (99, 0)
        return self.port, number, self.address, self.interface or "", {None: 0, False: 1, True: 2}[self.v6only]

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, Listener):
            return NotImplemented
        return self.order() < other.order()


@dataclass(frozen=True, slots=True)
class SocketTable:
    """What a table said.

    :param listeners: sorted, unique.
    :param suspect: sentences; empty if every line was understood and nothing is visibly missing.
    """

    listeners: tuple[Listener, ...]
    suspect: tuple[str, ...]
    _hash: int = field(init=False, repr=False, compare=False, default=0)
    """Found out once: thousands of pods are looked up by what their tables said."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash((self.listeners, self.suspect)))

    def __hash__(self) -> int:
        return self._hash


def parse(fmt: str, stdout: str, *, byte_order: str | None = None) -> SocketTable:
    """Read a table.

    The byte order of ``procnet``: the kernel prints each 32-bit word of an address as a host integer (``%08X`` of a ``__be32``, get_tcp4_sock in
    net/ipv4/tcp_ipv4.c, get_tcp6_sock in net/ipv6/tcp_ipv6.c), so 127.0.0.1 is ``0100007F`` on x86 and arm and ``7F000001`` on s390x. Ports are
    converted by the kernel and need no care. Pass the order if you know it (``node.status.nodeInfo.architecture``: only ``s390x`` is big).
    Otherwise it is found in the text: each non-zero address is read in both orders, each reading is weighed by how plausible it is for a pod
    (::1, ::ffff:0:0/96, fe80::/10 and 127.0.0.1 are near proof; then the rest of 127.0.0.0/24, private and global unicast prefixes), and
    big wins only if its readings weigh clearly more. The listeners are asked first and the other lines (peers of connections) only if those do not
    decide. Without evidence it is little, the order of every other platform Kubernetes runs on. A wildcard reads the same in both.

    :param fmt: ``ss`` (text of ``ss -ltnH``, with or without header and -p columns), ``procnet`` (/proc/net/tcp followed by /proc/net/tcp6, each
        with its header; or the other way round) or ``netstat`` (``netstat -ltn`` of net-tools or busybox).
    :param stdout: the text.
    :param byte_order: ``little``, ``big`` or None (find out). Only read for ``procnet``.
    :raises ValueError: fmt or byte_order is not one of these. Never because of stdout.
    """
    if byte_order not in (None, "little", "big"):
        raise ValueError(f"unknown byte order {byte_order!r}")
    return _collect(fmt, stdout, byte_order).table()


def parse_procnet(stdout: str) -> tuple[SocketTable, dict[int, Listener]]:
    """Read a table as :func:`parse` does with ``procnet``, and the inode of each listening socket in it (sockfs, the number in ``socket:[...]`` of proc(5)).

    Tables of replicas differ in inodes alone, so one of nothing but listeners is read once for all that have the same addresses in the same order.
    """
    rows = _PROC_LISTENING.findall(stdout)
    if not 0 < len(rows) <= _MAX_ALIKE or not _is_nothing_else(stdout, len(rows)):
        collected = _collect("procnet", stdout, None)
        return collected.table(), collected.inodes
    addresses, inodes = zip(*rows)
    table, listeners = _table_of(addresses)
    return table, dict(zip(map(int, inodes), listeners))


def _collect(fmt: str, stdout: str, byte_order: str | None) -> _Collected:
    collected = _Collected()
    if fmt == "ss":
        _parse_ss(stdout, collected)
    elif fmt == "procnet":
        _parse_procnet(stdout, byte_order, collected)
    elif fmt == "netstat":
        _parse_netstat(stdout, collected)
    else:
        raise ValueError(f"unknown socket table format {fmt!r}, expected one of {', '.join(FORMATS)}")
    return collected


class _Collected:
    def __init__(self) -> None:
        self.listeners: set[Listener] = set()
        self.inodes: dict[int, Listener] = {}
        self.suspect: list[str] = []
        self.lines_left_out = 0
        self._lines = 0

    def lines(self, found: Iterable[str]) -> Iterable[str]:
        """Those that can be read, as long as the table is within its limits; what is wrong with it otherwise is said."""
        for line in found:
            self._lines += 1
            if self._lines > MAX_LINES:
                self.suspect.append(f"The table has more than {MAX_LINES} lines, so the rest was not read.")
                return
            if len(line) > MAX_LINE_LENGTH:
                self.line(line, "A line is too long")
            else:
                yield line

    def line(self, text: str, why: str) -> None:
        if len(self.suspect) >= _MAX_SUSPECT:
            self.lines_left_out += 1
            return
        self.suspect.append(f"{why}: {_shortened(text)}")

    def table(self) -> SocketTable:
        suspect = self.suspect
        if self.lines_left_out:
            suspect = [*suspect, f"{self.lines_left_out} more lines were not understood."]
        return SocketTable(tuple(sorted(self.listeners, key=Listener.order)), tuple(suspect))


def _shortened(line: str) -> str:
    text = ascii(line[:_MAX_LINE])[1:-1]
    return f'"{text[:_MAX_LINE]}..."' if len(line) > _MAX_LINE or len(text) > _MAX_LINE else f'"{text}"'


_LINE = re.compile(r"[^\n]+")


def _lines(stdout: str) -> Iterable[str]:
    # Not splitlines(): that also splits on form feeds and other characters that no kernel ends a line with.
    for match in _LINE.finditer(stdout):
        line = match[0].rstrip()
        if line:
            yield line


def _port(text: str) -> int | None:
    if len(text) > 5 or not (text.isascii() and text.isdigit()):
        return None
    port = int(text)
    return port if 0 < port < 65536 else None


# --- ss -----------------------------------------------------------------------------------------------------------------------------------
# sctp, dccp, mptcp and the rest can be in a table that was taken without -t. They are not TCP listeners, and saying so is understanding them.
_SS_OTHER_NETIDS = frozenset(
    "udp raw icmp6 sctp dccp mptcp tipc nl p_raw p_dgr u_str u_dgr u_seq v_str v_dgr ti_rd ti_sq ti_st ti_dg xdp ???".split()
)
_SS_OTHER_STATES = frozenset(
    "ESTAB SYN-SENT SYN-RECV FIN-WAIT-1 FIN-WAIT-2 TIME-WAIT UNCONN CLOSE-WAIT LAST-ACK CLOSING NEW-SYN-RECV BOUND-INACTIVE".split()
)
_SS_HEADER = re.compile(
    r"(?:Netid\s+)?(?:State\s+)?Recv-Q\s+Send-Q\s+Local Address:Port\s+Peer Address:Port(?:\s*Process)?(?:\s.*)?\Z"
)
_SS_ADDRESS = re.compile(
    r"""
    (?: \[ (?P<bracketed> [0-9A-Fa-f:.]+ ) (?: % (?P<zone_in> [^\s/:\[\]%]+ ) )? \]
      | (?P<bare> \* | [0-9A-Fa-f:.]+ )
    )
    (?: % (?P<zone> [^\s/:\[\]%]+ ) )?
    : (?P<port> [0-9]{1,5} ) \Z
    """,
    re.VERBOSE,
)
_UNKNOWN_ADDRESS = "The local address was not understood"
_SS_PEER = re.compile(r"\S*:(?:\*|[0-9]{1,5})\Z")


@dataclass(frozen=True, slots=True)
class _SsRow:
    host: str  # "*", or canonical text
    port: int
    interface: str | None
    bracketed: bool
    send_q: int
    peer: str


def _parse_ss(stdout: str, out: _Collected) -> None:
    """Read the text of ``ss -ltn``.

    How ss writes a wildcard (inet_addr_print in misc/ss.c of iproute2; recorded from 5.10 to 7.3): ``0.0.0.0`` for IPv4, ``*`` for an IPv6 socket
    without IPV6_V6ONLY, ``[::]`` for one with it. Releases up to about 4.11 wrote ``*`` for IPv4 and an unbracketed ``::`` for IPv6, whatever its
    v6only: an unbracketed IPv6 address anywhere in the table gives that dialect away.

    ss learns v6only from netlink (INET_DIAG_SKV6ONLY, Linux 4.2). Without netlink (gVisor, no inet_diag) it reads /proc/net/tcp6 instead and then
    prints ``*`` for every IPv6 wildcard. Two things give this away. The kernel sets v6only on every socket bound to a specific IPv6
    address (__inet6_bind in net/ipv6/af_inet6.c), so that its peer column is ``[::]:*``; it is ``*:*`` if ss does not know. And Send-Q, the
    listen backlog, is 0 in every line, because /proc does not hold it. A bound interface is lost then, too.
    """
    rows: list[_SsRow] = []
    for line in out.lines(_lines(stdout)):
        row = (_ss_row_again if len(line) <= _MAX_LINE else _ss_row)(line)
        if isinstance(row, _SsRow):
            rows.append(row)
        elif row:
            out.line(line, row)

    old_dialect = any(":" in row.host and not row.bracketed for row in rows)
    if old_dialect:
        knows_v6only = False
    elif any(row.host == "::" or row.peer.startswith("[::]") for row in rows):
        knows_v6only = True
    elif any(":" in row.host and not row.host.startswith("::ffff:") for row in rows):
        knows_v6only = False
    else:
        knows_v6only = any(row.send_q for row in rows)

    for row in rows:
        v6only: bool | None = None
        host = row.host
        if host == "*":
            if old_dialect:
                host = "0.0.0.0"
            else:
                host = "::"
                v6only = False if knows_v6only else None
        elif host == "::" and not old_dialect:
            v6only = True
        out.listeners.add(Listener(host, row.port, v6only, row.interface))


def _ss_row(line: str) -> _SsRow | str | None:
    """What a line says, or why it is not understood; None for one that is not about a listener, as is known."""
    if _SS_HEADER.match(line.lstrip()):
        return None
    tokens = line.split()
    # [Netid] [State] Recv-Q Send-Q Local:Port Peer:Port ...; ss hides the State column if only one state was asked for.
    at = 0
    other = tokens[0] in _SS_OTHER_NETIDS
    if other or tokens[0] == "tcp":
        at = 1
    state = "LISTEN"
    if at < len(tokens) and not _is_number(tokens[at]):
        state = tokens[at]
        at += 1
    fields = tokens[at : at + 4]
    numbers = len(fields) == 4 and _is_number(fields[0]) and _is_number(fields[1])
    if other and numbers and (state == "LISTEN" or state in _SS_OTHER_STATES):
        return None
    if other or not numbers or not _SS_PEER.match(fields[3]):
        return "A line is not one of ss -ltn"
    if state in _SS_OTHER_STATES:
        return None
    if state != "LISTEN":
        return "A line has an unknown socket state"
    match = _SS_ADDRESS.match(fields[2])
    port = _port(match["port"]) if match else None
    if match is None or port is None or (match["zone_in"] and match["zone"]):
        return _UNKNOWN_ADDRESS
    host = match["bracketed"] or match["bare"]
    if host != "*":
        try:
            version, number = _number(host)
        except ValueError:
            return _UNKNOWN_ADDRESS
        if match["bracketed"] and version == 4:
            return _UNKNOWN_ADDRESS
        host = _text_of(version, number)
    return _SsRow(
        host=host,
        port=port,
        interface=match["zone"] or match["zone_in"],
        bracketed=match["bracketed"] is not None,
        send_q=int(fields[1]),
        peer=fields[3],
    )


# Every sidecar listens on the same ports, so most lines of a cluster are alike.
_ss_row_again = lru_cache(maxsize=4096)(_ss_row)


def _is_number(text: str) -> bool:
    return len(text) <= 20 and text.isascii() and text.isdigit()


# --- /proc/net/tcp ------------------------------------------------------------------------------------------------------------------------
_HEX_PAIR = r"(?:[0-9A-F]{8}:[0-9A-F]{4} [0-9A-F]{8}|[0-9A-F]{32}:[0-9A-F]{4} [0-9A-F]{32}):[0-9A-F]{4}"

# A busy pod has tens of thousands of sockets that do not listen. The first branch swallows whole runs of their lines, at C speed; what it does not
# know for certain falls to the second, one line at a time. 01 to 0D are the states of include/net/tcp_states.h.
_PROC_LINES = re.compile(rf"(?: *[0-9]+: {_HEX_PAIR} 0[1-9B-D] [^\n]*\n){{1,1000}}|(?P<line>[^\n]+)\n?")
_PROC_ROW = re.compile(
    rf" *[0-9]+: (?={_HEX_PAIR} )(?P<address>[0-9A-F]+):(?P<port>[0-9A-F]{{4}}) [0-9A-F:]+ (?P<state>[0-9A-F]{{2}})"
    r" [0-9A-F]{8,}:[0-9A-F]{8,} [0-9A-F]{2}:[0-9A-F]{8,} [0-9A-F]{8,} +[0-9]+ +[0-9]+ +(?P<inode>[0-9]{1,20})(?:\s|\Z)"
)
_PROC_OTHER_STATES = frozenset(f"{state:02X}" for state in range(0x01, 0x0E) if state != 0x0A)
_PROC_HEADER = re.compile(r"\s*sl\s+local_address\s+(?P<peer>rem(?:ote)?_address)\s+st\b")
_PROC_ANY_ADDRESS = re.compile(r"\b([0-9A-F]{32}|[0-9A-F]{8}):[0-9A-F]{4}\b")


def _parse_procnet(stdout: str, byte_order: str | None, out: _Collected) -> None:
    """Read /proc/net/tcp and /proc/net/tcp6 (proc_pid_net(5); the state 0A is TCP_LISTEN, include/net/tcp_states.h)."""
    sockets: list[tuple[str, int, str]] = []
    headers: set[str] = set()
    for line in out.lines((match["line"] or "").rstrip() for match in _PROC_LINES.finditer(stdout)):
        if not line:
            continue
        row = _PROC_ROW.match(line)
        if row is None:
            header = _PROC_HEADER.match(line)
            if header is None:
                out.line(line, "A line is not one of /proc/net/tcp or /proc/net/tcp6")
            else:
                headers.add(header["peer"])
            continue
        port = int(row["port"], 16)
        if row["state"] in _PROC_OTHER_STATES:
            continue
        if row["state"] != "0A":
            out.line(line, "A line has an unknown socket state")
        elif port == 0:
            out.line(line, "A listener has no port")
        else:
            sockets.append((row["address"], port, row["inode"]))

    if not headers:
        out.suspect.append("The table has no header, so it is not a complete /proc/net/tcp or /proc/net/tcp6.")
    elif "rem_address" not in headers:
        out.suspect.append("The IPv4 half of the table, /proc/net/tcp, is missing.")
    elif "remote_address" not in headers:
        out.suspect.append("The IPv6 half of the table, /proc/net/tcp6, is missing.")

    order = byte_order or _byte_order(
        (address for address, _port, _inode in sockets),
        lambda: (match[1] for match in _PROC_ANY_ADDRESS.finditer(stdout)),
    )
    for address, port, inode in sockets:
        listener = _listener(address, port, order)
        out.listeners.add(listener)
        out.inodes[int(inode)] = listener


_MAX_ALIKE = 1000
"""Listeners of a table that is compared with others; more make the byte order depend on more than their addresses, see MAX_EVIDENCE."""

_PROC_LISTENING = re.compile(
    r"^ *[0-9]{1,10}: ((?:[0-9A-F]{8}(?=:.{4} 0{8}:)|[0-9A-F]{32}(?=:.{4} 0{32}:)):(?!0000)[0-9A-F]{4}) 0+:0000 0A"
    r" [0-9A-F]{8}:[0-9A-F]{8} [0-9A-F]{2}:[0-9A-F]{8} [0-9A-F]{8} {1,10}[0-9]{1,10} {1,10}[0-9]{1,10} {1,10}([0-9]{1,20}) [^\n]{1,1000}\n",
    re.MULTILINE,
)
"""A line of a listener as the kernel writes it, peers and all: what else :data:`_PROC_ROW` takes is read line by line."""
_PROC_HEADER_LINE = re.compile(rf"{_PROC_HEADER.pattern}[^\n]{{0,1000}}\n")


def _is_nothing_else(stdout: str, rows: int) -> bool:
    """Whether the lines of a table beside `rows` that were found are its two headers."""
    if stdout.count("\n") != rows + 2 or stdout[-1] != "\n":
        return False
    last = stdout.rfind("\n", 0, stdout.rfind("local_address")) + 1
    heads = [_PROC_HEADER_LINE.match(stdout, at) for at in (0, last)]
    return {head["peer"] for head in heads if head} == {"rem_address", "remote_address"}


@lru_cache(maxsize=4096)
def _table_of(addresses: tuple[str, ...]) -> tuple[SocketTable, tuple[Listener, ...]]:
    """The table of these listeners, and each in its place; the addresses are the kernel's, ``0100007F:1F90``."""
    parts = [address.split(":") for address in addresses]
    order = _byte_order((address for address, _port in parts), lambda: (address for address, _port in parts))
    listeners = tuple(_listener(address, int(port, 16), order) for address, port in parts)
    return SocketTable(tuple(sorted(set(listeners), key=Listener.order)), ()), listeners


@lru_cache(maxsize=8192)
def _listener(address: str, port: int, order: str) -> Listener:
    return Listener(_text_of(*_hex_address(address, order)), port)


@lru_cache(maxsize=8192)
def _hex_address(text: str, order: str) -> tuple[int, int]:
    packed = bytes.fromhex(text)
    if order == "little":
        packed = b"".join(packed[at : at + 4][::-1] for at in range(0, len(packed), 4))
    return (4 if len(packed) == 4 else 6), int.from_bytes(packed, "big")


def _byte_order(listening: Iterable[str], every: Callable[[], Iterable[str]]) -> str:
    """Find the byte order of addresses as hexadecimal text; every is called only if the listening ones do not decide."""
    listening = _first(listening)
    if all(_hex_address(text, "little") == _hex_address(text, "big") for text in listening):
        return "little"
    lead = _lead_of_big(listening)
    if abs(lead) < _CLEAR_LEAD:
        lead = _lead_of_big(_first(every()))
    return "big" if lead >= _CLEAR_LEAD else "little"


def _first(addresses: Iterable[str]) -> list[str]:
    """The first that are different, of so many: always the same ones, as a set's would not be."""
    return list(dict.fromkeys(itertools.islice(addresses, MAX_EVIDENCE)))


def _lead_of_big(addresses: Iterable[str]) -> int:
    return sum(_plausible(*_hex_address(text, "big")) - _plausible(*_hex_address(text, "little")) for text in addresses)


# One near proof, or two weak hints. One weak hint is not enough: 30.1.2.10, read backwards, is in 10.0.0.0/8 as well.
_CLEAR_LEAD = 16

# (prefix, bits, weight), first match counts. The weights are ranks, not probabilities: a loopback address outweighs a few odd peers.
_PLAUSIBLE_V4 = tuple(
    (int(ipaddress.IPv4Address(prefix)) >> (32 - bits), 32 - bits, weight)
    for prefix, bits, weight in (
        ("127.0.0.1", 32, 50),
        ("127.0.0.0", 24, 8),
        ("127.0.0.0", 8, 3),
        ("10.0.0.0", 8, 8),
        ("192.168.0.0", 16, 8),
        ("172.16.0.0", 12, 8),
        ("100.64.0.0", 10, 8),
        ("169.254.0.0", 16, 8),
        ("0.0.0.0", 8, -8),
        ("224.0.0.0", 3, -8),
        ("0.0.0.0", 0, 0),
    )
)
_PLAUSIBLE_V6 = tuple(
    (int(ipaddress.IPv6Address(prefix)) >> (128 - bits), 128 - bits, weight)
    for prefix, bits, weight in (
        ("::1", 128, 50),
        ("::ffff:0:0", 96, 50),
        ("fe80::", 10, 50),
        ("fc00::", 7, 8),
        ("2000::", 3, 8),
        ("64:ff9b::", 96, 8),
        ("::", 0, -8),
    )
)


def _plausible(version: int, number: int) -> int:
    if not number:
        return 0
    for prefix, shift, weight in _PLAUSIBLE_V4 if version == 4 else _PLAUSIBLE_V6:
        if number >> shift == prefix:
            if version == 6 and number >> 32 == 0xFFFF:
                return weight + _plausible(4, number & 0xFFFFFFFF)
            return weight
    return 0


# --- netstat ------------------------------------------------------------------------------------------------------------------------------
_NETSTAT_ROW = re.compile(
    r"(?P<proto>tcp6?)\s+[0-9]+\s+[0-9]+\s+(?P<local>\S+)\s+(?P<peer>\S+)\s+(?P<state>[A-Z][A-Z0-9_]+)(?:\s|\Z)"
)
_NETSTAT_HEADER = re.compile(
    r"(?:Active Internet connections\b|Proto\s+Recv-Q\s+Send-Q\s+Local Address\s+Foreign Address\s+State\b)"
)
_NETSTAT_OTHER_PROTO = re.compile(r"(?:udp|udp6|udplite|udplite6|raw|raw6|sctp|unix)\s")
_NETSTAT_OTHER_STATES = frozenset(
    "ESTABLISHED SYN_SENT SYN_RECV FIN_WAIT1 FIN_WAIT2 TIME_WAIT CLOSE CLOSE_WAIT LAST_ACK CLOSING UNKNOWN".split()
)
_NETSTAT_COLUMN = (
    23  # Both print an address in 23 characters and cut the rest: net-tools before the port, busybox through it.
)


def _parse_netstat(stdout: str, out: _Collected) -> None:
    """Read ``netstat -ltn`` of net-tools (netstat.c, addr_do_one) or busybox (networking/netstat.c).

    net-tools prints an IPv4-mapped address as plain IPv4 with the protocol tcp6. Without ``-W`` an IPv6 address may have been cut, silently and
    even to another valid address: one that fills its column is only believed if a longer one elsewhere shows that nothing is cut here.
    """
    rows: list[tuple[str, re.Match[str]]] = []
    header = False
    for line in out.lines(_lines(stdout)):
        row = _NETSTAT_ROW.match(line)
        if row:
            rows.append((line, row))
        elif _NETSTAT_HEADER.match(line):
            header = True
        elif not _NETSTAT_OTHER_PROTO.match(line):
            out.line(line, "A line is not one of netstat -ltn")
    if not header and not rows:
        out.suspect.append("The table has no header, so it is not the output of netstat -ltn.")

    wide = any(len(row["local"]) > _NETSTAT_COLUMN or len(row["peer"]) > _NETSTAT_COLUMN for line, row in rows)
    for line, row in rows:
        if row["state"] in _NETSTAT_OTHER_STATES:
            continue
        if row["state"] != "LISTEN":
            out.line(line, "A line has an unknown socket state")
            continue
        host, _separator, port_text = row["local"].rpartition(":")
        port = _port(port_text)
        try:
            version, number = _number(host)
        except ValueError:
            version, number = 0, 0
        if not wide and len(row["local"]) >= _NETSTAT_COLUMN and version != 4:
            out.line(line, "The local address may have been cut, netstat needs -W")
        elif port is None or not version:
            out.line(line, _UNKNOWN_ADDRESS)
        else:
            if version == 4 and row["proto"] == "tcp6":
                version, number = 6, _MAPPED | number
            out.listeners.add(Listener(_text_of(version, number), port))
