# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module and the playbook as processes of their own, and what they leave behind."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
import typing as t

HERE = pathlib.Path(__file__).resolve().parent
TREE = os.environ.get("ANSIBLE_COLLECTIONS_PATH") or str(HERE.parents[1] / ".venv" / "tree")
GATE = "meshops.istio_precheck.check_listeners"

MODULE = """
import json, sys
from ansible_collections.meshops.istio_precheck.plugins.modules import localhost_listener_info
from ansible_collections.meshops.istio_precheck.tests.helpers.module_runner import patch_module_args
with patch_module_args(json.load(sys.stdin)):
    localhost_listener_info.main()
"""

CACHE = "k8srcp-"
"""kubernetes.core's own cache of what kinds a server has; it holds no secret, and stays."""


@dataclasses.dataclass
class Ended:
    """How a process ended, and what it left: `code` is negative for a signal that killed it."""

    code: int
    stdout: str
    stderr: str
    seconds: float
    strays: list[str]
    files: list[str]
    commands: set[str] = dataclasses.field(default_factory=set)
    """Command lines that were seen while it ran."""
    exposed: set[str] = dataclasses.field(default_factory=set)
    """Its temporary files that others than their owner could read while it ran."""

    @property
    def output(self) -> str:
        return self.stdout + self.stderr

    @property
    def result(self) -> dict[str, t.Any]:
        return json.loads(self.stdout)


def module(
    place: pathlib.Path,
    signals: t.Callable[[subprocess.Popen[str]], None] | None = None,
    patience: float = 200,
    **options: t.Any,
) -> Ended:
    """Runs the module over these options; `place` is its home and its folder for temporary files."""
    return run([sys.executable, "-c", MODULE], place, json.dumps(options), signals, patience)


def playbook(
    place: pathlib.Path,
    *arguments: str,
    signals: t.Any = None,
    patience: float = 600,
    prefix: t.Sequence[str] = (),
    book: str = GATE,
    **variables: t.Any,
) -> Ended:
    """Plays the gate, or another `book`, with these variables; its facts are in `place`, see facts()."""
    place.mkdir(parents=True, exist_ok=True)
    given = place / "variables.json"
    given.write_text(json.dumps(variables), encoding="utf-8")
    books = [] if arguments and arguments[0].endswith((".yml", ".json")) else [book]
    return run([*prefix, tool("ansible-playbook"), *books, *arguments, "-e", f"@{given}"], place, "", signals, patience)


def facts(place: pathlib.Path) -> dict[str, t.Any]:
    return json.loads((place / "facts.json").read_text("utf-8"))["localhost"]


def run(command: t.Sequence[str], place: pathlib.Path, given: str, signals: t.Any, patience: float) -> Ended:
    temporary = place / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    commands: set[str] = set()
    exposed: set[str] = set()
    with subprocess.Popen(
        command, cwd=place, env=environment(place), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
        start_new_session=True,
    ) as process:  # fmt: skip
        watching = threading.Event()
        watcher = threading.Thread(
            target=_watch, args=(process.pid, temporary, watching, commands, exposed), daemon=True
        )
        watcher.start()
        if signals:
            threading.Thread(target=signals, args=(process,), daemon=True).start()
        try:
            stdout, stderr = process.communicate(given, timeout=patience)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            watching.set()
            watcher.join()
    seconds = time.monotonic() - began
    strays = _strays(process.pid, temporary)
    files = sorted(
        str(path.relative_to(place))
        for path in temporary.rglob("*")
        if not path.name.startswith(CACHE) and path.is_file()
    )
    return Ended(process.returncode, stdout, stderr, seconds, strays, files, commands, exposed)


def _watch(session: int, temporary: pathlib.Path, stop: threading.Event, seen: set[str], exposed: set[str]) -> None:
    """Notes the command line of whatever runs in the session, or below it, and what others could read."""
    while not stop.wait(0.05):
        running = _processes()
        for pid, (_parent, group, text) in running.items():
            above, steps = pid, 0
            while above in running and above != session and steps < 50:
                above, steps = running[above][0], steps + 1
            if session in (above, group):
                seen.add(text)
        exposed.update(_open_to_others(temporary))


def _open_to_others(folder: pathlib.Path) -> list[str]:
    found = []
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            mode = entry.stat(follow_symlinks=False).st_mode
            if entry.is_dir(follow_symlinks=False):
                found += _open_to_others(pathlib.Path(entry.path)) if mode & 0o011 else []
            elif stat.S_ISREG(mode) and mode & 0o044 and not entry.name.startswith(CACHE):
                found.append(f"{entry.name} {mode:o}")
    return found


def _processes() -> dict[int, tuple[int, int, str]]:
    """{pid: (parent, session, command line)} of what runs."""
    found = {}
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = (folder / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
            if fields[0] != "Z":
                found[int(folder.name)] = (
                    int(fields[1]),
                    int(fields[3]),
                    (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"),
                )
    return found


def strays_of(place: pathlib.Path, patience: float) -> list[str]:
    """What still runs, after so many seconds, that was told of the folder for temporary files in `place`."""
    return _strays(-1, place / "tmp", patience)


def _strays(session: int, temporary: pathlib.Path, patience: float = 3) -> list[str]:
    """What still runs of the session, or was told of its folder for temporary files."""
    end = time.monotonic() + patience
    while True:
        found = []
        for pid, (_parent, group, text) in _processes().items():
            environ = b""
            with contextlib.suppress(OSError):
                environ = pathlib.Path(f"/proc/{pid}/environ").read_bytes()
            if group == session or f"TMPDIR={temporary}\0".encode() in environ:
                found.append(f"{pid} {text}")
        if not found or time.monotonic() > end:
            return found
        time.sleep(0.1)


def environment(place: pathlib.Path) -> dict[str, str]:
    """The caller's, with no cluster in it, and a home of its own."""
    config = place / "ansible.cfg"
    config.touch()
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("KUBE", "K8S_AUTH_", "ANSIBLE_")) and "proxy" not in name.lower()
    }
    return {
        **kept,
        "HOME": str(place),
        "TMPDIR": str(place / "tmp"),
        "PYTHONPATH": TREE,
        "KEEP_FACTS": str(place / "facts.json"),
        "ANSIBLE_CALLBACK_PLUGINS": str(HERE.parent / "callback"),
        "DUMP_RESULTS": str(place / "results.txt"),
        "ANSIBLE_CALLBACKS_ENABLED": "keep_facts,dump_results",
        "ANSIBLE_COLLECTIONS_PATH": TREE,
        "ANSIBLE_CONFIG": str(config),
        "ANSIBLE_HOME": str(place / ".ansible"),
        "ANSIBLE_LOCAL_TEMP": str(place / "tmp" / "local"),
        "ANSIBLE_REMOTE_TMP": str(place / "tmp" / "remote"),
        "ANSIBLE_LOCALHOST_WARNING": "False",
        "ANSIBLE_INVENTORY_UNPARSED_WARNING": "False",
        "ANSIBLE_INVENTORY_ENABLED": "host_list,yaml",  # to load the others takes a tenth of a play
        "ANSIBLE_NOCOLOR": "1",
    }


def tool(name: str) -> str:
    """A command of the environment that these tests run in."""
    beside = pathlib.Path(sys.executable).parent / name
    return str(beside) if beside.exists() else shutil.which(name) or name


def sends(number: signal.Signals, when: t.Callable[[], bool]) -> t.Callable[[subprocess.Popen[str]], None]:
    """Sends a signal to the process once `when` is true."""

    def send(process: subprocess.Popen[str]) -> None:
        while not when() and process.poll() is None:
            time.sleep(0.02)
        if process.poll() is None:
            process.send_signal(number)

    return send
