# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the stages of noxfile.py need and nox does not have.

A stage has a time limit, after which all processes of its command end. One that ran nothing has failed. Where nothing
may be skipped, a skip is a failure. At the end a table lists every stage with its seconds and the reason of its outcome.
"""

from __future__ import annotations

import atexit
import configparser
import contextlib
import functools
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any
from xml.etree import ElementTree

import nox

ROOT = pathlib.Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
COLLECTION = pathlib.Path("ansible_collections", "meshops", "istio_precheck")
STRICT = (os.environ.get("GATE_STRICT") or os.environ.get("CI", "")).lower() in ("1", "true")
NAMED = any(word.startswith(("-s", "-e", "-k", "-t", "--session", "--keyword", "--tag")) for word in sys.argv[1:])


class Failed(Exception):
    """The stage failed, and why."""


class Skipped(Exception):
    """The stage cannot run here, and why."""


class Table:
    """The outcomes of one run, and when the present stage has to end."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, float, str]] = []
        self.deadline = 0.0
        self.beside: tuple[str | pathlib.Path, ...] = ()
        """A command to run beside the stages of a full run."""

    def begin(self) -> None:
        """Once: nobody answers questions, what ends nox ends its stages as the keyboard does, and the table comes last."""
        if self.deadline:
            return
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        atexit.register(self.show)
        if self.beside and not NAMED:
            stack = contextlib.ExitStack()
            stack.enter_context(running_beside(*self.beside))
            atexit.register(stack.close)

    def show(self) -> None:
        print()
        for outcome, name, seconds, reason in self.rows:
            print(f"{outcome:8} {name:18}{seconds:7.1f} s  {reason}".rstrip())
        count = Counter(row[0] for row in self.rows)
        print(", ".join(f"{count[outcome]} {outcome}" for outcome in ("passed", "failed", "skipped")), flush=True)

    def failed(self, name: str) -> bool:
        return any(row[:2] == ("failed", name) for row in self.rows)


TABLE = Table()


def stage(minutes: float = 5, everywhere: bool = True, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Make a nox session of a function, which may return what it could not test.

    `everywhere` is false where the machine decides whether it can run: where the gate is strict, it has to.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        @functools.wraps(function)
        def play(session: nox.Session, *arguments: Any, **more: Any) -> None:
            TABLE.begin()
            began = time.monotonic()
            TABLE.deadline = began + minutes * 60
            outcome, reason = "failed", ""
            try:
                reason = function(session, *arguments, **more) or ""
                outcome = "passed"
            except Skipped as why:
                reason = str(why)
                if NAMED or STRICT and not everywhere:
                    session.error(reason)
                outcome = "skipped"
                session.skip(reason)
            except Failed as why:
                reason = str(why)
                session.error(reason)
            except KeyboardInterrupt:
                reason = "interrupted; a test cluster may still run: make cluster-down"
                raise
            except Exception as why:
                reason = repr(why)
                raise
            finally:
                TABLE.rows.append((outcome, session.name, time.monotonic() - began, reason))

        return nox.session(venv_backend="none", **options)(play)

    return decorate


# --- Commands ---------------------------------------------------------------------------------------------------------


def pythons() -> list[pathlib.Path]:
    """The interpreters that tests/setup found, best first: .venv uses the first."""
    found = VENV / "pythons"
    return [pathlib.Path(line) for line in found.read_text("utf-8").splitlines()] if found.exists() else []


def ask(python: pathlib.Path, code: str) -> str:
    return subprocess.check_output([python, "-c", code], stdin=subprocess.DEVNULL, text=True).strip()


def python_version(python: pathlib.Path) -> str:
    return ask(python, "import sys; print('%d.%d' % sys.version_info[:2])")


def environment(venv: pathlib.Path = VENV, **more: str) -> dict[str, str]:
    """The user's environment, with the environment's tools in front and pyenv's shims, which may fail, replaced."""
    before = os.environ.get("PATH", os.defpath).split(os.pathsep)
    paths = [
        str(venv / "bin"),
        *(str(python.parent) for python in pythons()),
        *(each for each in before if not each.endswith("/shims")),
    ]
    return {
        **os.environ,
        "PATH": os.pathsep.join(dict.fromkeys(paths)),
        "VIRTUAL_ENV": str(venv),
        "LC_ALL": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "",  # to rewrite the asserts of all tests takes seconds each time
        "ANSIBLE_COLLECTIONS_PATH": str(venv / "tree"),
        "ANSIBLE_CONFIG": str(venv / "ansible.cfg"),
        "ANSIBLE_HOME": str(venv / "home" / ".ansible"),
        "ANSIBLE_REMOTE_TMP": str(venv / "home" / ".ansible" / "tmp"),
        # Git refuses a checkout that belongs to another user, as it may where root tests it.
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "safe.directory",
        "GIT_CONFIG_VALUE_0": str(ROOT),
        **more,
    }


def run(
    session: nox.Session, *command: str | pathlib.Path, cwd: pathlib.Path = ROOT, venv: pathlib.Path = VENV,
    silent: bool = False, **more: str,
) -> str:  # fmt: skip
    """Run a command until the time of its stage is over, then end it and all that it started. What is silent is returned.

    nox itself ends only the process that it started, and knows no time limit: hence `timeout`.
    """
    left = max(1.0, TABLE.deadline - time.monotonic())
    session.log(" ".join(map(str, command)))
    try:
        with session.chdir(cwd) if cwd != ROOT else contextlib.nullcontext():
            printed = session.run(
                "timeout", "--kill-after=20", f"{left:.1f}", *command, env=environment(venv, **more), silent=silent,
                log=False, external=True, terminate_timeout=30,
            )  # fmt: skip
    except nox.command.CommandFailed as failed:
        name = pathlib.Path(command[0]).name
        late = time.monotonic() > TABLE.deadline - 1
        raise Failed(f"{name} took too long" if late else f"{name} failed: {failed}") from failed
    if silent:
        print(printed, flush=True)
    return str(printed)


@contextlib.contextmanager
def running_beside(*command: str | pathlib.Path) -> Iterator[None]:
    """Run it in the background, behind whatever else wants the processor, and end it with all that it started."""
    process = subprocess.Popen(
        ("nice", "-n", "15", *command), cwd=ROOT, env=environment(), stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    # Linux may weigh sessions first, and only within one the niceness of its processes.
    with contextlib.suppress(OSError):
        pathlib.Path(f"/proc/{process.pid}/autogroup").write_text("15", encoding="utf-8")
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def each(*parts: Callable[[], object]) -> None:
    """Do all of it, and fail with what failed."""
    reasons = []
    for part in parts:
        try:
            part()
        except Failed as reason:
            reasons.append(str(reason))
    if reasons:
        raise Failed("; ".join(reasons))


def count(*reports: pathlib.Path) -> None:
    """Add up JUnit reports, and fail where they tell of no test that really ran."""
    total: Counter[str] = Counter()
    for report in reports:
        for suite in ElementTree.parse(report).iter("testsuite"):
            total.update({name: int(suite.get(name, 0)) for name in ("tests", "skipped")})
    if total["tests"] == total["skipped"]:
        raise Failed(f"no test ran, {total['skipped']} skipped" if total["skipped"] else "no test ran")


def pytest(session: nox.Session, *arguments: str, venv: pathlib.Path = VENV, **more: str) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        report = pathlib.Path(scratch, "junit.xml")
        options = ("-q", "-rs", f"--junitxml={report}", "-o", f"pythonpath={venv / 'tree'} tests/cluster tests/scale")
        run(session, venv / "bin" / "python", "-m", "pytest", *options, *arguments, venv=venv, **more)
        count(report)


@contextlib.contextmanager
def copied_tree(venv: pathlib.Path = VENV, backwards: bool = False) -> Iterator[pathlib.Path]:
    """A copy of the checkout, ignored files left out, in a collections path that also holds kubernetes.core.

    With `backwards` it is laid in another order and with other times, as on another machine.

    ansible-test takes neither a checkout outside of ansible_collections nor a link to one, and skips everything in
    a folder that git ignores: hence the copy, and outside of the repository.
    """
    with tempfile.TemporaryDirectory(prefix="istio-precheck-") as scratch:
        copy = pathlib.Path(scratch) / COLLECTION
        copy.mkdir(parents=True)
        (copy.parents[1] / "kubernetes").symlink_to((venv / "deps" / "ansible_collections" / "kubernetes").resolve())
        listing = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
        listed = subprocess.check_output(listing, cwd=ROOT, env=environment(venv), text=True)
        for name in sorted(filter(None, listed.split("\0")), reverse=backwards):
            if (ROOT / name).is_file():
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                (shutil.copy if backwards else shutil.copy2)(ROOT / name, copy / name, follow_symlinks=False)
        yield copy


def ansible_test(session: nox.Session, *arguments: str, venv: pathlib.Path = VENV) -> None:
    """Run ansible-test over a copy of the checkout, with a home of its own, so that the user's is left alone."""
    home = venv / "home"
    write_pip_settings(home / ".config" / "pip" / "pip.conf")
    # It would fetch the script that bootstraps pip from a server of its own, were it not in this cache.
    cache = home / ".ansible" / "test" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    package = ask(venv / "bin" / "python", "import ansible_test; print(ansible_test.__path__[0])")
    source = pathlib.Path(package, "_internal", "python_requirements.py").read_text("utf-8")
    for version in re.findall(r"\bpip='([\d.]+)'", source):
        shutil.copy(ROOT / "tests" / "get_pip.py", cache / f"get_pip_{version.replace('.', '_')}.py")
    with copied_tree(venv) as copy:
        run(session, "ansible-test", *arguments, "--color", "no", cwd=copy, venv=venv, HOME=str(home))
        count(*(copy / "tests" / "output" / "junit").glob("*.xml"))


def write_pip_settings(path: pathlib.Path) -> None:
    """The user's settings of pip as one file: ansible-test passes no environment on, and its home is not the user's."""
    home = pathlib.Path.home()
    settings = configparser.RawConfigParser()
    settings.read(
        (home / ".pip" / "pip.conf", home / ".config" / "pip" / "pip.conf", os.environ.get("PIP_CONFIG_FILE", ""))
    )
    if not settings.has_section("global"):
        settings.add_section("global")
    settings["global"].setdefault(
        "cache-dir", str(pathlib.Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "pip")
    )
    for name, value in os.environ.items():
        if name.startswith("PIP_") and name != "PIP_CONFIG_FILE":
            settings["global"][name[len("PIP_") :].lower().replace("_", "-")] = value
    settings["global"]["quiet"] = "2"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as stream:
        settings.write(stream)
