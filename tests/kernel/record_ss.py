# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Record what a release of ss (or netstat, or the kernel) prints for a known set of real listeners, as fixtures of the parsers' unit tests.

As root, from the repository root:

    tests/kernel/record_ss.py ss tests/unit/plugins/module_utils/fixtures/ss/iproute2-6.1.0 --package "iproute2 6.1.0-3 (Debian 12)" --run ss
    tests/kernel/record_ss.py netstat .../fixtures/netstat/busybox-1.37.0 --package "..." --run "busybox netstat"
    tests/kernel/record_ss.py procnet .../fixtures/procnet/linux-x86_64 --package "Linux 6.18"

To record a release that is not installed, unpack its package and the packages of its libraries (dpkg-deb -x) and give as --run
"LD_SO --library-path LIBRARIES .../ss".
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import socket
from pathlib import Path

try:
    from ansible_collections.meshops.istio_precheck.tests.kernel.netns import NetworkNamespace, connect
except ImportError:  # run as a script, not from a collections tree
    from netns import NetworkNamespace, connect  # type: ignore

ADDRESS = "2001:db8:aaaa:bbbb:cccc:dddd:eeee:1"
LONG_NAME = "verylongname-15"  # IFNAMSIZ leaves 15 characters

# (address, port, v6only, interface)
LISTENERS: tuple[tuple[str, int, bool | None, str | None], ...] = (
    ("0.0.0.0", 80, None, None),
    ("0.0.0.0", 8081, None, "eth0"),
    ("127.0.0.1", 8082, None, None),
    ("127.0.0.2", 8082, None, None),
    ("127.0.0.53", 53, None, "lo"),
    ("10.1.2.3", 8083, None, None),
    ("10.1.2.127", 8083, None, None),
    ("10.1.2.3", 8084, None, "eth0.100"),
    ("::", 8085, False, None),
    ("::", 8086, True, None),
    ("::", 8087, False, LONG_NAME),
    ("::", 8088, True, "eth0"),
    ("0.0.0.0", 8089, None, None),
    ("::", 8089, True, None),
    ("127.0.0.1", 8090, None, None),
    ("::1", 8090, None, None),
    ("::1", 65535, None, None),
    ("::ffff:127.0.0.1", 8091, None, None),
    ("::ffff:0.0.0.0", 8092, None, None),
    ("::ffff:10.1.2.3", 8093, None, None),
    (ADDRESS, 65000, None, None),
    (ADDRESS, 65001, None, LONG_NAME),
    ("2001:db8::7", 1, None, None),
    ("fe80::1", 8094, None, "eth0"),
    ("::", 8095, False, None),  # these three share a port by SO_REUSEPORT: a dual-stack wildcard next to IPv4 listeners
    ("127.0.0.1", 8095, None, None),
    ("0.0.0.0", 8095, None, None),
)
VARIANTS: dict[str, dict[str, tuple[list[str], dict[str, str]]]] = {
    "ss": {
        "ltnH": (["-ltnH"], {}),
        "ltn": (["-ltn"], {}),
        "ltnpH": (["-ltnpH"], {}),
        "ltnp": (["-ltnp"], {}),
        "ltnO": (["-ltnO"], {}),
        "state-listening": (["-tn", "state", "listening"], {}),
        "with-netid": (["-ltunH"], {}),
        "without-netlink": (
            ["-ltnH"],
            {"PROC_NET_TCP": "/proc/net/tcp"},
        ),  # as in a sandbox without it: ss reads /proc/net then
    },
    "netstat": {"ltn": (["-ltn"], {}), "ltnW": (["-ltnW"], {})},
}


def open_listeners(namespace: NetworkNamespace) -> list[socket.socket]:
    """Open LISTENERS in the namespace; the kernel confirms each."""
    opened = []
    with namespace.entered():
        for address, port, v6only, interface in LISTENERS:
            sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, port == 8095)
            if ":" in address:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, bool(v6only))
            scope = 0
            if address.startswith("fe80:"):
                scope = socket.if_nametoindex(interface or "eth0")
            elif interface:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
            sock.bind((address, port, 0, scope) if ":" in address else (address, port))
            sock.listen(128)
            if sock.getsockname()[:2] != (address, port):
                raise RuntimeError(f"{address}:{port} became {sock.getsockname()}")
            opened.append(sock)
    return opened


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("format", choices=("ss", "netstat", "procnet"))
    parser.add_argument("directory", type=Path)
    parser.add_argument("--package", required=True, help="what is recorded, and where it came from")
    parser.add_argument("--run", default="", help="the program, with its first arguments")
    arguments = parser.parse_args()
    program = shlex.split(arguments.run)

    with NetworkNamespace() as pod, NetworkNamespace() as neighbour:
        empty: dict[str, str] = {}
        if arguments.format == "ss":
            empty = {"empty-ltnH": pod.run(*program, "-ltnH"), "empty-ltn": pod.run(*program, "-ltn")}
        connect(
            pod,
            neighbour,
            ["10.1.2.3/24", "10.1.2.127/24", f"{ADDRESS}/64", "2001:db8::7/64", "fe80::1/64"],
            ["10.1.2.1/24"],
        )
        for name in ("eth0.100", LONG_NAME):
            connect(pod, neighbour, [], [], name)
        opened = open_listeners(pod)
        with pod.entered():  # one connection, so that the tables are not of listeners alone
            client = socket.create_connection(("10.1.2.3", 80))
        if arguments.format == "procnet":
            texts = {"tcp-tcp6": pod.read("tcp", "tcp6"), "tcp6-tcp": pod.read("tcp6", "tcp")}
        else:
            texts = {}
            for name, (options, environment) in VARIANTS[arguments.format].items():
                try:
                    texts[name] = pod.run(*program, *options, env=environment)
                except RuntimeError as error:
                    if "invalid option" not in str(error):  # busybox is often built without -W
                        raise
        client.close()
        for sock in opened:
            sock.close()

    arguments.directory.mkdir(parents=True, exist_ok=True)
    for name, text in {**texts, **empty}.items():
        # -p prints this process, whose name and id would differ each time.
        text = text.replace(f"pid={os.getpid()},", "pid=4711,")
        (arguments.directory / f"{name}.txt").write_text(text, encoding="ascii")
    recorded = {"package": arguments.package, "kernel": os.uname().release, "machine": os.uname().machine}
    if arguments.format == "ss":
        recorded["version"] = NetworkNamespace().run(*program, "-V").strip()
    bound = [dict(zip(("address", "port", "v6only", "interface"), listener, strict=True)) for listener in LISTENERS]
    rows = ",\n  ".join(json.dumps(row) for row in bound)
    text = f'{{"recorded": {json.dumps(recorded)},\n "bound": [\n  {rows}\n ]}}\n'
    json.loads(text)
    (arguments.directory / "bound.json").write_text(text, encoding="ascii")


if __name__ == "__main__":
    main()
