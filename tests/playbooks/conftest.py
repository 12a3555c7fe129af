# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plays the real ansible-playbook over recorded clusters."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import pathlib
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios
import threading
import typing as t

import pytest
import yaml

from ansible_collections.meshops.istio_precheck.tests.helpers import cluster

HERE = pathlib.Path(__file__).resolve().parent
GATE = "meshops.istio_precheck.check_listeners"


@dataclasses.dataclass
class Played:
    code: int
    output: str
    facts: dict[str, dict[str, t.Any]]
    """By host, what the role set."""
    terminal: str = ""
    """What standard error got, where it was a terminal."""

    @property
    def result(self) -> dict[str, t.Any]:
        return self.facts["localhost"]["check_listeners_result"]

    @property
    def passed(self) -> bool:
        return self.facts["localhost"]["check_listeners_passed"]

    def verdict(self, host: str = "localhost") -> str:
        """What the last two tasks, which must be the role's own, say: the list, and the sentence that the play ends with."""
        *_others, shown, stop = self.output.split("TASK [")
        assert "Show the result]" in shown.splitlines()[0] and "Stop the upgrade]" in stop.splitlines()[0], self.output
        said = self.said(shown, f"ok: [{host}] => {{")
        shut = self.said(stop, f"fatal: [{host}]: FAILED! => {{")
        assert (said or shut) and (shut or f"skipping: [{host}]" in stop), f"no verdict for {host}: {self.output}"
        return "\n".join([*said, *shut])

    @staticmethod
    def said(task: str, mark: str) -> list[str]:
        """The message of a task behind a mark, in lines."""
        if mark not in task:
            return []
        message = json.JSONDecoder().raw_decode(task[task.index(mark) + len(mark) - 1 :])[0]["msg"]
        return [message] if isinstance(message, str) else message


class Terminal:
    """A terminal of 80 columns; `end` is for the program, `text` what it wrote."""

    def __enter__(self) -> Terminal:
        self._own, self.end = pty.openpty()
        fcntl.ioctl(self.end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.text = ""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        return self

    def _read(self) -> None:
        with contextlib.suppress(OSError), open(self._own, encoding="utf-8", newline="") as stream:
            while part := stream.read(1):
                self.text += part

    def __exit__(self, *_how: object) -> None:
        os.close(self.end)
        self._reader.join(10)


@pytest.fixture()
def play(tmp_path):
    """Plays a playbook, the gate if none is given, with variables; `inventory` maps hosts to variables of their own.

    With `terminal` standard error is one, with `screen` all that is written goes to it, and it alone says how large it is.
    """

    def play_it(
        *arguments: str,
        playbook: str | list[t.Any] = GATE,
        inventory: dict[str, t.Any] | None = None,
        terminal: bool = False,
        screen: bool = False,
        **variables: t.Any,
    ) -> Played:
        facts = tmp_path / "facts.json"
        facts.unlink(missing_ok=True)
        if not isinstance(playbook, str):
            (tmp_path / "play.json").write_text(json.dumps(playbook), encoding="utf-8")  # JSON is YAML
            playbook = str(tmp_path / "play.json")
        if inventory:
            (tmp_path / "inventory.json").write_text(json.dumps({"all": {"hosts": inventory}}), encoding="utf-8")
            arguments = ("-i", str(tmp_path / "inventory.json"), *arguments)
        (tmp_path / "variables.json").write_text(json.dumps(variables), encoding="utf-8")
        known = environment(facts, tmp_path)
        if screen:
            del known["COLUMNS"], known["LINES"]
        with Terminal() if terminal or screen else contextlib.nullcontext() as on:
            done = subprocess.run(
                [tool("ansible-playbook"), playbook, "-e", f"@{tmp_path / 'variables.json'}", *arguments],
                cwd=tmp_path, env=known, stdin=subprocess.DEVNULL, stdout=on.end if on and screen else subprocess.PIPE,
                stderr=on.end if on else subprocess.STDOUT, text=True, timeout=240, check=False,
            )  # fmt: skip
        return Played(
            done.returncode,
            done.stdout or "",
            json.loads(facts.read_text("utf-8")) if facts.exists() else {},
            on.text if on else "",
        )

    return play_it


@pytest.fixture()
def record(tmp_path):
    """Writes a recorded cluster; what is not said is as in cluster.snapshot()."""

    def write(name: str = "record", **parts: t.Any) -> str:
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(cluster.snapshot(**parts)), encoding="utf-8")
        return str(path)

    return write


@pytest.fixture(scope="session")
def example() -> t.Callable[[str, str], t.Any]:
    """The one block of YAML of a page in docs/ that holds a text, parsed: what is tested is what is shown."""

    def parse(page: str, holds: str) -> t.Any:
        blocks = re.findall(
            r"^```yaml\n(.*?)^```$", (HERE.parents[1] / "docs" / page).read_text("utf-8"), re.MULTILINE | re.DOTALL
        )
        (found,) = [block for block in blocks if holds in block]
        return yaml.safe_load(found)

    return parse


def tool(name: str) -> str:
    """A command of the environment that these tests run in."""
    beside = pathlib.Path(sys.executable).parent / name
    return str(beside) if beside.exists() else shutil.which(name) or name


def environment(facts: pathlib.Path, home: pathlib.Path) -> dict[str, str]:
    """The caller's, with no cluster in it."""
    (home / "ansible.cfg").touch()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("KUBE", "K8S_AUTH_"))}
    return {
        **kept,
        "HOME": str(home),
        "KEEP_FACTS": str(facts),
        "ANSIBLE_CALLBACK_PLUGINS": str(HERE.parent / "callback"),
        "ANSIBLE_CALLBACKS_ENABLED": "keep_facts",
        "ANSIBLE_COLLECTIONS_PATH": os.environ.get("ANSIBLE_COLLECTIONS_PATH")
        or str(HERE.parents[1] / ".venv" / "tree"),
        "ANSIBLE_CONFIG": str(home / "ansible.cfg"),
        "ANSIBLE_LOCALHOST_WARNING": "False",
        "ANSIBLE_INVENTORY_UNPARSED_WARNING": "False",
        "ANSIBLE_INVENTORY_ENABLED": "host_list,yaml",  # to load the others takes a tenth of a play
        "ANSIBLE_NOCOLOR": "1",
        "COLUMNS": "1000",  # so that no text that a test looks for is broken
        "LINES": "1000",
    }
