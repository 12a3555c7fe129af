# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Network namespaces without names: they hold nothing but file descriptors of this process, so nothing is left behind however it ends."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_CLONE_NEWNET = 0x40000000
_OWN = "/proc/thread-self/ns/net"


def why_impossible() -> str | None:
    """Return why this process cannot make network namespaces, as a sentence, or None if it can."""
    if not sys.platform.startswith("linux"):
        return "Network namespaces need Linux."
    if os.geteuid() != 0:
        return "Network namespaces need root."
    for tool in ("ip", "ss"):
        if shutil.which(tool) is None:
            return f"The {tool} command (iproute2) is missing."
    if not os.path.exists("/proc/net/if_inet6"):
        return "This kernel has no IPv6."
    try:
        with NetworkNamespace() as one, NetworkNamespace() as other:
            connect(one, other, ["10.7.0.2/24"], ["10.7.0.1/24"])
    except (OSError, RuntimeError) as error:
        return f"No pair of network namespaces could be made: {error}."
    return None


def _call(name: str, *arguments: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


class NetworkNamespace:
    """A network namespace with its loopback up. The calling thread stays where it is, except inside entered()."""

    def __init__(self) -> None:
        before = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _call("unshare", _CLONE_NEWNET)
            try:
                self.fd = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
            finally:
                _call("setns", before, _CLONE_NEWNET)
        finally:
            os.close(before)
        self.run("ip", "link", "set", "lo", "up")

    def __enter__(self) -> NetworkNamespace:
        return self

    def __exit__(self, *_exc: object) -> None:
        os.close(self.fd)

    @property
    def path(self) -> str:
        """A path to it for ip, valid as long as this object is."""
        return f"/proc/{os.getpid()}/fd/{self.fd}"

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Put the calling thread into the namespace. Sockets made there stay there."""
        before = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _call("setns", self.fd, _CLONE_NEWNET)
            try:
                yield
            finally:
                _call("setns", before, _CLONE_NEWNET)
        finally:
            os.close(before)

    def run(self, *command: str, env: dict[str, str] | None = None) -> str:
        """Run a command in the namespace and return its standard output. Raises RuntimeError with its standard error if it fails."""
        with self.entered():
            done = subprocess.run(
                command, capture_output=True, text=True, env={**os.environ, **(env or {})}, check=False
            )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout

    def read(self, *paths: str) -> str:
        """Return the files below /proc/net one after the other, as cat prints them."""
        texts = []
        with self.entered():
            for path in paths:
                with open(f"/proc/thread-self/net/{path}", encoding="ascii") as stream:
                    texts.append(stream.read())
        return "".join(texts)


def connect(
    one: NetworkNamespace, other: NetworkNamespace, addresses: list[str], other_addresses: list[str], name: str = "eth0"
) -> None:
    """Join two namespaces by a veth pair, called name in both. Addresses are "10.0.0.2/24" or "fd00::2/64"."""
    one.run("ip", "link", "add", name, "type", "veth", "peer", "name", name, "netns", other.path)
    for namespace, texts in ((one, addresses), (other, other_addresses)):
        for text in texts:
            namespace.run("ip", "addr", "add", text, "dev", name, *(["nodad"] if ":" in text else []))
        namespace.run("ip", "link", "set", name, "up")
