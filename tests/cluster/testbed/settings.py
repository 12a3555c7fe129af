# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

REPOSITORY = pathlib.Path(__file__).resolve().parents[3]
CLUSTER_DIR = pathlib.Path(__file__).resolve().parents[1]
CACHE = pathlib.Path(
    os.environ.get("ISTIO_PRECHECK_CACHE")
    or pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "istio-precheck"
).resolve()
KUBERNETES = os.environ.get("ISTIO_PRECHECK_KUBERNETES", "")
USUAL_STATE = "/run/istio-precheck-cluster"
BASE_STATE = str(pathlib.Path(os.environ.get("ISTIO_PRECHECK_STATE") or USUAL_STATE).resolve())
# Each version of Kubernetes that is asked for by name is a cluster of its own, beside the one of the newest.
STATE = pathlib.Path(f"{BASE_STATE}-{KUBERNETES}" if KUBERNETES else BASE_STATE)
STATE_VARIABLES = {"ISTIO_PRECHECK_STATE": BASE_STATE, "ISTIO_PRECHECK_KUBERNETES": KUBERNETES}
"""What makes another process of ours work on the same cluster."""
KEY = hashlib.sha256(str(STATE).encode()).hexdigest()
PATH = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"

NODE_NAME = "localhost"
# Another state folder is another cluster, which may run at the same time: it has a network and ports of its own.
SLOT = 0 if str(STATE) == USUAL_STATE else 1 + int(KEY[:8], 16) % 700
BRIDGE = f"ist0143br{SLOT}"
IPV4_NETWORK = f"10.{202 + SLOT // 64}.{4 * (SLOT % 64)}" if SLOT else "10.213.96"
IPV4_SUBNET, IPV4_GATEWAY = f"{IPV4_NETWORK}.0/22", f"{IPV4_NETWORK}.1"
IPV6_SUBNET, IPV6_GATEWAY = f"fd43:143:213:{SLOT:x}::/64", f"fd43:143:213:{SLOT:x}::1"
SERVICE_SUBNETS = "10.213.100.0/22,fd43:143:214::/112"
SERVICE_GATEWAY = "10.213.100.1"


class TestbedError(Exception):
    """One sentence for the person at the terminal."""


def say(message: str) -> None:
    print(f"cluster: {message}", file=sys.stderr, flush=True)


def program(name: str) -> str:
    found = shutil.which(name, path=PATH)
    if not found:
        raise TestbedError(f"{name} is not installed")
    return found


def run(
    *command: Any, log: pathlib.Path | None = None, check: bool = True, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run to the end; what it printed is captured, or written to a log, and shown only where it fails."""
    words = [str(word) for word in command]
    words[0] = program(words[0])
    if "input" not in options:
        options["stdin"] = subprocess.DEVNULL
    with log.open("a", encoding="utf-8") if log else contextlib.nullcontext(subprocess.PIPE) as stream:
        done = subprocess.run(
            words,
            stdout=stream,
            stderr=subprocess.STDOUT if log else subprocess.PIPE,
            text=True,
            check=False,
            **options,
        )
    if check and done.returncode:
        shown = tail(log) if log else (done.stderr or done.stdout).strip()
        raise TestbedError(f"{' '.join(words)[:200]} failed with {done.returncode}:\n{shown}")
    return done


def tail(log: pathlib.Path, lines: int = 25) -> str:
    if not log.exists():
        return f"(no {log})"
    return f"--- the end of {log}\n" + "\n".join(log.read_text("utf-8", "replace").splitlines()[-lines:])


def write(path: pathlib.Path, content: str, mode: int = 0o644) -> pathlib.Path:
    """Write so that nobody ever sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text(content, encoding="utf-8")
    fresh.chmod(mode)
    fresh.replace(path)
    return path


@contextlib.contextmanager
def locked(name: str) -> Iterator[int]:
    """Hold one of the locks; a lock dies with its holder, however that ends."""
    path = CACHE / "locks" / (f"{name}-{KEY[:12]}" if name == "cluster" else f"{name}-all")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say(f"waiting for another run that holds {path}")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield handle.fileno()
