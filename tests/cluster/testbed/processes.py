# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Long-running processes, known by a record that each writes about itself before it becomes the program."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import time
from collections.abc import Callable

from .settings import CACHE, PATH, STATE, STATE_VARIABLES, TestbedError, program, say, tail, write

RECORDS = STATE / "processes"
LOGS = STATE / "logs"


def start_time(pid: int | str = "self") -> tuple[str, str] | None:
    """When the process started and the machine booted: with these a pid that was given to another process is told apart."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    if fields[0] in "ZX":
        return None
    return fields[19], pathlib.Path("/proc/sys/kernel/random/boot_id").read_text("utf-8").strip()


def record(name: str, pid: int) -> None:
    write(RECORDS / f"{name}.json", json.dumps({"pid": pid, "started": start_time()}))


def since(name: str) -> float:
    """When the record was written: the process's start."""
    return (RECORDS / f"{name}.json").stat().st_mtime


def alive(name: str) -> int | None:
    """The pid, only while it is still the process that was recorded."""
    try:
        known = json.loads((RECORDS / f"{name}.json").read_text("utf-8"))
    except OSError:
        return None
    started = start_time(known["pid"])
    return known["pid"] if started and list(started) == known["started"] else None


def start(
    name: str, command: list[str], environment: dict[str, str] | None = None, cwd: pathlib.Path | str = "/"
) -> None:
    """
    Start a process that outlives us.

    The child holds our cluster lock until its exec, and writes its own record before: whoever gets the lock next sees
    every process there is, also when we are killed right here.
    """
    if alive(name):
        return
    command = [program(command[0]), *command[1:]]
    LOGS.mkdir(parents=True, exist_ok=True)
    RECORDS.mkdir(parents=True, exist_ok=True)
    (RECORDS / f"{name}.json").unlink(missing_ok=True)
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        until((RECORDS / f"{name}.json").exists, 10, f"{name} did not start")
        return
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        log = os.open(LOGS / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(source, target)
        record(name, os.getpid())
        os.chdir(cwd)
        os.execve(
            command[0],
            command,
            {"PATH": PATH, "HOME": "/", "ISTIO_PRECHECK_CACHE": str(CACHE), **STATE_VARIABLES, **(environment or {})},
        )
    finally:
        os._exit(127)


def stop(name: str, patience: float = 15, how: int = signal.SIGTERM) -> None:
    pid = alive(name)
    if pid:
        for number, seconds in ((how, patience), (signal.SIGKILL, 30)):
            if alive(name):
                os.kill(pid, number)
            if gone(name, seconds):
                break
        else:
            raise TestbedError(f"{name} (pid {pid}) does not end")
    (RECORDS / f"{name}.json").unlink(missing_ok=True)


def stop_others() -> None:
    """What runs beside the components, such as a mesh."""
    for known in RECORDS.glob("*.json"):
        stop(known.stem, patience=5)


def gone(name: str, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while alive(name):
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def until(true: Callable[[], object], seconds: float, otherwise: str) -> None:
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise TestbedError(otherwise)
        time.sleep(0.05)


def until_healthy(name: str, healthy: Callable[[], object], seconds: float, state: str = "up") -> None:
    """Wait for a component, and where it ends or stays silent say so with the end of its log."""
    started = time.monotonic()
    while not healthy():
        if not alive(name):
            raise TestbedError(f"{name} ended while it was starting\n{tail(LOGS / (name + '.log'))}")
        if time.monotonic() - started > seconds:
            raise TestbedError(f"{name} was not healthy after {seconds:.0f} s\n{tail(LOGS / (name + '.log'))}")
        time.sleep(0.1)
    say(f"{name} is {state} ({time.monotonic() - started:.1f} s)")
