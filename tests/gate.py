# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs the stages of the gate: all of them, or those named on the command line.

tests/setup must have made .venv. A stage fails where a command of it fails, and also where it ran nothing.
"""

from __future__ import annotations

import argparse
import configparser
import contextlib
import importlib
import json
import os
import pathlib
import platform
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree

from matrix import NEWEST, OLDEST, PAIRS, PLAYED_ONCE, Pair
from repack import repack

ROOT = pathlib.Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STRICT = (os.environ.get("GATE_STRICT") or os.environ.get("CI", "")).lower() in ("1", "true")
CLUSTER = ROOT / "tests" / "cluster" / "cluster.py"
COLLECTION = pathlib.Path("ansible_collections", "meshops", "istio_precheck")

# The first elements of the paths that the tarball may hold.
SHIPPED = set(
    "CHANGELOG.rst CODE_OF_CONDUCT.md CONTRIBUTING.md COPYING FILES.json MANIFEST.json README.md SECURITY.md"
    " changelogs docs meta playbooks plugins roles".split()
)


class Failed(Exception):
    """The stage failed, and why."""


class Skipped(Exception):
    """The stage cannot run here, and why."""


@dataclass(frozen=True)
class Stage:
    name: str
    about: str
    run: Callable[[], str | None]  # returns what it could not test, if anything
    minutes: int = 5
    everywhere: bool = True  # else the machine decides, and where the gate is strict, a skip is a failure


@dataclass
class Progress:
    """What the stages of one run share."""

    cases: Counter[str] = field(default_factory=Counter)
    deadline: float = 0.0
    failed: set[str] = field(default_factory=set)


PROGRESS = Progress()


# --- Commands ---------------------------------------------------------------------------------------------------------


def pythons() -> list[pathlib.Path]:
    """The interpreters that tests/setup found, best first: .venv uses the first."""
    return [pathlib.Path(line) for line in (VENV / "pythons").read_text("utf-8").splitlines()]


def ask(python: pathlib.Path, code: str) -> str:
    return subprocess.run(
        [python, "-c", code], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    ).stdout.strip()


def python_version(python: pathlib.Path) -> str:
    return ask(python, "import sys; print('%d.%d' % sys.version_info[:2])")


def environment(venv: pathlib.Path, **more: str) -> dict[str, str]:
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


def run(*command: str | pathlib.Path, cwd: pathlib.Path = ROOT, venv: pathlib.Path = VENV, **more: str) -> str:
    """Run a command, show what it prints as it comes, and return it."""
    words = [str(word) for word in command]
    print("$", " ".join(words), flush=True)
    env = environment(venv, **more)
    name = pathlib.Path(words[0]).name
    words[0] = shutil.which(words[0], path=env["PATH"]) or words[0]
    printed = []
    with subprocess.Popen(
        words, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        encoding="utf-8", errors="replace", start_new_session=True,
    ) as process:  # fmt: skip

        def stop() -> None:
            with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(process.pid, signal.SIGTERM)
                process.wait(20)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

        timer = threading.Timer(max(1.0, PROGRESS.deadline - time.monotonic()), stop)
        timer.start()
        try:
            for line in process.stdout or ():
                printed.append(line)
                print(line, end="", flush=True)
        except BaseException:
            stop()
            raise
        finally:
            timer.cancel()
    if time.monotonic() > PROGRESS.deadline:
        raise Failed(f"{name} took too long")
    if process.returncode:
        raise Failed(f"{name} ended with {process.returncode}")
    return "".join(printed)


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
            total.update({name: int(suite.get(name, 0)) for name in ("tests", "skipped", "failures", "errors")})
    PROGRESS.cases.update(total)
    if total["tests"] == total["skipped"]:
        raise Failed(f"no test ran, {total['skipped']} skipped" if total["skipped"] else "no test ran")


def pytest(*arguments: str, venv: pathlib.Path = VENV, **more: str) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        report = pathlib.Path(scratch, "junit.xml")
        command = (
            venv / "bin" / "python",
            "-m",
            "pytest",
            "-q",
            "-rs",
            f"--junitxml={report}",
            "-o",
            f"pythonpath={venv / 'tree'}",
            *arguments,
        )
        reports = [report]
        each(lambda: run(*command, venv=venv, **more), lambda: count(*(path for path in reports if path.exists())))


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
        listed = subprocess.run(
            ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"),
            cwd=ROOT, env=environment(venv), check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        for name in sorted(filter(None, listed.stdout.split("\0")), reverse=backwards):
            if (ROOT / name).is_file():
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                (shutil.copy if backwards else shutil.copy2)(ROOT / name, copy / name, follow_symlinks=False)
        yield copy


def ansible_test(*arguments: str, copy: pathlib.Path, venv: pathlib.Path = VENV) -> str:
    """Run ansible-test with a home of its own, so that the user's is left alone."""
    home = venv / "home"
    write_pip_settings(home / ".config" / "pip" / "pip.conf")
    # It would fetch the script that bootstraps pip from a server of its own, were it not in this cache.
    cache = home / ".ansible" / "test" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    package = ask(venv / "bin" / "python", "import ansible_test; print(ansible_test.__path__[0])")
    source = pathlib.Path(package, "_internal", "python_requirements.py").read_text("utf-8")
    for version in re.findall(r"\bpip='([\d.]+)'", source):
        shutil.copy(ROOT / "tests" / "get_pip.py", cache / f"get_pip_{version.replace('.', '_')}.py")
    return run("ansible-test", *arguments, "--color", "no", cwd=copy, venv=venv, HOME=str(home))


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


# --- Stages -----------------------------------------------------------------------------------------------------------


def unit() -> None:
    pytest("-n", "auto", "tests/unit")


def lint() -> None:
    with copied_tree() as copy:
        scripts = [
            path
            for path in copy.rglob("*")
            if path.is_file() and re.match(rb"#!.*\b(ba|da)?sh\n", path.read_bytes()[:80])
        ]
        # What loads a plugin would leave its bytecode, which has no licence.
        paths = {"ANSIBLE_COLLECTIONS_PATH": str(copy.parents[2]), "NO_COLOR": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        docs = ("--plugin-docs", "--validate-collection-refs", "all", "--check-extra-docs-refs")
        each(
            lambda: run("ruff", "format", "--no-cache", "--diff", ".", cwd=copy),
            lambda: run("ruff", "check", "--no-cache", ".", cwd=copy),
            lambda: run("yamllint", "--strict", ".", cwd=copy),
            lambda: run("ansible-lint", "--offline", "--strict", cwd=copy, **paths),
            lambda: run("antsibull-changelog", "lint", cwd=copy, **paths),
            lambda: run("antsibull-docs", "lint-collection-docs", *docs, ".", cwd=copy, **paths),
            lambda: run("shellcheck", *sorted(path.relative_to(copy) for path in scripts), cwd=copy),
            lambda: run("reuse", "lint", "--lines", cwd=copy),
            lambda: run(
                "check-jsonschema",
                "--builtin-schema",
                "vendor.github-workflows",
                *sorted(copy.glob(".github/workflows/*.yml")),
                cwd=copy,
            ),
            lambda: run("zizmor", "--offline", "--no-progress", "--persona", "pedantic", ".github/workflows", cwd=copy),
        )


def build_into(target: pathlib.Path, backwards: bool = False) -> pathlib.Path:
    """The tarball that is released: made by ansible-galaxy, then always the same bytes for the same commit."""
    with copied_tree(backwards=backwards) as copy:
        run("ansible-galaxy", "collection", "build", "--force", "--output-path", target, cwd=copy)
    tarball = next(target.glob("meshops-istio_precheck-*.tar.gz"))
    epoch = os.environ.get("SOURCE_DATE_EPOCH") or run("git", "log", "-1", "--format=%ct").strip()
    print(repack(tarball, int(epoch)), tarball.name)
    return tarball


def build() -> None:
    dist = ROOT / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    tarball = build_into(dist)
    with tempfile.TemporaryDirectory(prefix="istio-precheck-build-") as scratch:
        if build_into(pathlib.Path(scratch), backwards=True).read_bytes() != tarball.read_bytes():
            raise Failed("two builds of the same files differ")
    with tarfile.open(tarball) as members:
        names = {name for name in members.getnames() if name.strip("./")}
    stray = sorted(name for name in names if name.split("/")[0] not in SHIPPED or "/." in name)
    missing = sorted({"COPYING", "README.md", "meta/runtime.yml", "plugins/modules/localhost_listener_info.py"} - names)
    if stray or missing:
        raise Failed(f"the tarball should not hold {stray} and should hold {missing}")


def sanity(venv: pathlib.Path = VENV, *arguments: str) -> None:
    with copied_tree(venv) as copy:
        printed = ansible_test("sanity", *arguments, copy=copy, venv=venv)
    if "Running sanity test" not in printed or "All targets skipped" in printed:
        raise Failed("no sanity test ran")


def units() -> None:
    with copied_tree() as copy:
        reports = copy / "tests" / "output" / "junit"
        each(
            lambda: ansible_test("units", "--python", python_version(pythons()[0]), copy=copy),
            lambda: count(*reports.glob("*.xml")),
        )


def playbooks() -> None:
    pytest("-n", "auto", "tests/playbooks")


def strip(collection: pathlib.Path) -> None:
    """Leave what may be needed to run, and nothing else."""
    for path in collection.iterdir():
        if path.name not in ("meta", "playbooks", "plugins", "roles"):
            (shutil.rmtree if path.is_dir() else os.remove)(path)


def demo() -> None:
    """As a user would: install the tarball beside nothing but ansible-core and kubernetes.core, then call the playbook by its name."""
    with tempfile.TemporaryDirectory(prefix="istio-precheck-demo-") as scratch:
        place = pathlib.Path(scratch)
        settings = {
            "ANSIBLE_COLLECTIONS_PATH": f"{place}:{VENV / 'deps'}",
            "ANSIBLE_LOCALHOST_WARNING": "False",
            "ANSIBLE_INVENTORY_UNPARSED_WARNING": "False",
            "ANSIBLE_FORCE_COLOR": str(sys.stdout.isatty()),
        }
        tarball = build_into(place)
        core = ask(VENV / "bin" / "python", "from ansible.release import __version__; print(__version__)")
        clean = place / "venv"
        run(pythons()[0], "-m", "venv", clean)
        run(clean / "bin" / "pip", "install", "-qq", "--disable-pip-version-check", f"ansible-core=={core}")
        (clean / "ansible.cfg").touch()
        run(
            "ansible-galaxy",
            "collection",
            "install",
            tarball,
            "--offline",
            "--collections-path",
            place,
            cwd=place,
            venv=clean,
            **settings,
        )
        run(
            "ansible-galaxy",
            "collection",
            "verify",
            "meshops.istio_precheck",
            "--offline",
            cwd=place,
            venv=clean,
            **settings,
        )
        strip(place / COLLECTION)
        printed = run("ansible-playbook", "meshops.istio_precheck.demo", cwd=place, venv=clean, **settings)
    if not re.search(r"^TASK ", printed, re.MULTILINE):
        raise Failed("the demo played nothing")


def importer() -> None:
    each(galaxy_importer, ansible_builder)


def ansible_builder() -> None:
    """It finds what the installed collection needs, and takes the manual's example of an execution environment."""
    with tempfile.TemporaryDirectory(prefix="istio-precheck-builder-") as scratch:
        place = pathlib.Path(scratch)
        tarball = build_into(place)
        settings = {"ANSIBLE_COLLECTIONS_PATH": scratch}
        run(
            "ansible-galaxy",
            "collection",
            "install",
            tarball,
            "--no-deps",
            "--offline",
            "--collections-path",
            place,
            cwd=place,
            **settings,
        )
        printed = run("ansible-builder", "introspect", place, cwd=place)
        needed = [
            line
            for line in (ROOT / "meta" / "ee-requirements.txt").read_text("utf-8").splitlines()
            if line and not line.startswith("#")
        ]
        found = re.findall(r"- '?(.+?)  # from collection meshops\.istio_precheck", printed)
        if not needed or found != needed:
            raise Failed(f"ansible-builder finds that the collection needs {found}, not {needed}")
        page = (ROOT / "docs" / "many-clusters.md").read_text("utf-8")
        (example,) = re.findall(r"^```yaml\n(# execution-environment\.yml\n.*?)^```$", page, re.MULTILINE | re.DOTALL)
        (place / "execution-environment.yml").write_text(example, encoding="utf-8")
        run("ansible-builder", "create", "--file", "execution-environment.yml", "--context", "context", cwd=place)
        if "meshops.istio_precheck" not in (place / "context" / "_build" / "requirements.yml").read_text("utf-8"):
            raise Failed("ansible-builder leaves the collection out of the manual's execution environment")


def galaxy_importer() -> None:
    """What Galaxy does with an upload, and what Automation Hub asks for beyond that. Each warning is a failure."""
    with tempfile.TemporaryDirectory(prefix="istio-precheck-importer-") as scratch:
        tarball = build_into(pathlib.Path(scratch))
        settings = {
            # It hides the collections path, not those that Python finds, as in the `ansible` package.
            "PYTHONPATH": str(VENV / "deps"),
            "GALAXY_IMPORTER_CHECK_REQUIRED_TAGS": "true",
            "GALAXY_IMPORTER_TMP_ROOT_DIR": scratch,
            "HOME": str(VENV / "home"),
        }
        printed = run(
            VENV / "bin" / "python", "-m", "galaxy_importer.main", tarball, cwd=pathlib.Path(scratch), **settings
        )
    found = [line for line in printed.splitlines() if re.match(r"WARNING|ERROR|CRITICAL", line)]
    if found or "Importer processing completed successfully" not in printed:
        raise Failed(f"galaxy-importer says: {'; '.join(found) or 'nothing'}")


# What depends on the client and on ansible-core, and takes seconds.
FAULTS = tuple(
    f"tests/unit/plugins/{name}"
    for name in ("module_utils/_gather/test_api.py", "module_utils/_gather/test_exec.py", "modules", "action")
)
# Those tests of sanity that depend on the versions most and need the fewest tools.
SANITY = tuple(
    f"--test={name}" for name in ("ansible-doc", "compile", "import", "runtime-metadata", "validate-modules")
)


def on_pairs(pairs: Sequence[Pair], test: Callable[[Pair, pathlib.Path], None]) -> str:
    """Do it with each pair for which there is a Python, and say for which there was none."""
    found = {python_version(python): python for python in pythons()}

    def on(pair: Pair) -> None:
        print(f"\n--- {pair.name}", flush=True)
        run(
            ROOT / "tests" / "setup",
            pair.venv,
            PYTHON=str(found[pair.python]),
            CORE=pair.core,
            CLIENT=pair.client,
            ANSIBLE=pair.ansible,
        )
        manifest = json.loads(
            (ROOT / pair.venv / "deps" / "ansible_collections" / "kubernetes" / "core" / "MANIFEST.json").read_text(
                "utf-8"
            )
        )
        try:
            if manifest["collection_info"]["version"] != pair.kubernetes_core:
                raise Failed(f"ansible {pair.ansible} has kubernetes.core {manifest['collection_info']['version']}")
            test(pair, ROOT / pair.venv)
        except Failed as reason:
            raise Failed(f"{pair.name}: {reason}") from reason

    each(*(lambda pair=pair: on(pair) for pair in pairs if pair.python in found))
    without = [pair for pair in pairs if pair.python not in found]
    if len(without) == len(pairs):
        raise Skipped("none of the Pythons of tests/matrix.py is here")
    return "; ".join(f"not tested, there is no Python {pair.python}: {pair.name}" for pair in without)


def testbed_module(name: str) -> Any:
    """A module of the test cluster's own code."""
    sys.path.insert(0, str(CLUSTER.parent))
    return importlib.import_module(f"testbed.{name}")


def browser() -> None:
    """The HTML report in a real Chromium, which is installed where that can be done."""
    if not any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))):
        if os.geteuid() or not shutil.which("apt-get"):
            raise Skipped("needs chromium, or root and apt-get to install it")
        testbed = testbed_module("packages")
        try:
            testbed.install({"chromium": "chromium", "/usr/share/fonts/truetype/liberation": "fonts-liberation"})
        except testbed.TestbedError as reason:
            raise Failed(str(reason)) from reason
    run(
        VENV / "bin" / "pip",
        "install",
        "-qq",
        "--disable-pip-version-check",
        "--requirement",
        "tests/requirements-browser.txt",
    )
    pytest("tests/browser")


def older() -> str:
    """The slice of the matrix that is cheap: with the oldest pair what needs no cluster and a version can change, with others the fault table."""

    def test(pair: Pair, venv: pathlib.Path) -> None:
        if pair != OLDEST:
            return pytest("-n", "auto", *FAULTS, venv=venv)
        left = [f"--deselect={test}" for test in PLAYED_ONCE]
        return each(
            lambda: pytest("-n", "auto", "tests/unit", "tests/playbooks", *left, venv=venv),
            lambda: sanity(venv, "--python", pair.python, *SANITY),
        )

    # .venv itself is the newest.
    return on_pairs([pair for pair in PAIRS if pair != NEWEST], test)


def matrix() -> str:
    """All of it, with each pair; the real cluster with the oldest and the newest."""
    real = cluster_given() or cluster_possible()
    ours = real and "cluster-down" in planned()

    def test(pair: Pair, venv: pathlib.Path) -> None:
        each(
            lambda: pytest("-n", "auto", "tests/unit", "tests/playbooks", "tests/trust", venv=venv),
            lambda: sanity(
                venv, "--python", pair.python, *(word for name in pair.without for word in ("--skip-test", name))
            ),
            *([lambda: pytest("tests/live", venv=venv)] if real and pair in (OLDEST, NEWEST) else []),
        )

    try:
        without = on_pairs(PAIRS, test)
    finally:
        if ours:
            cluster("down")
    untested = "; ".join(
        filter(
            None,
            (
                without,
                "" if real else "not tested, needs root on Debian 12, x86-64, or a cluster to use up: tests/live",
            ),
        )
    )
    if untested and STRICT:
        raise Failed(untested)
    return untested


def trust() -> None:
    pytest("-n", "auto", "tests/trust")


def fuzz() -> None:
    try:
        ask(VENV / "bin" / "python", "import atheris")
    except subprocess.CalledProcessError:
        raise Skipped("needs atheris, which comes for Linux on x86-64") from None
    run(VENV / "bin" / "python", ROOT / "tests" / "trust" / "fuzz.py", "--seconds", "20", PYTHONPATH=str(VENV / "tree"))


def kernel() -> None:
    if sys.platform != "linux" or os.geteuid():
        raise Skipped("needs root on Linux")
    pytest("tests/kernel")


def cluster_given() -> bool:
    return os.environ.get("PRECHECK_DISPOSABLE_CLUSTER") == "1" and bool(os.environ.get("KUBECONFIG"))


def cluster_possible() -> bool:
    """tests/cluster makes its cluster from Debian 12's packages."""
    try:
        system = platform.freedesktop_os_release()
    except OSError:
        return False
    debian_12 = (system.get("ID"), system.get("VERSION_ID")) == ("debian", "12")
    return debian_12 and platform.machine() == "x86_64" and not os.geteuid()


def cluster(command: str, **more: str) -> None:
    if not cluster_possible():
        raise Skipped("needs root on Debian 12, x86-64")
    run(VENV / "bin" / "python", CLUSTER, command, **more)


@contextlib.contextmanager
def building(wanted: bool) -> Iterator[None]:
    """Build the clusters' programs beside the stages that do not need them yet, and behind whatever else wants the processor.

    A stage that needs one waits for it by the lock of the build. A build that failed is made again there, and says why.
    """
    if not wanted:
        yield
        return
    process = subprocess.Popen(
        ("nice", "-n", "15", VENV / "bin" / "python", CLUSTER, "build"), cwd=ROOT, env=environment(VENV),
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    with contextlib.suppress(
        OSError
    ):  # Linux may weigh sessions first, and only within one the niceness of its processes
        pathlib.Path(f"/proc/{process.pid}/autogroup").write_text("15", encoding="utf-8")
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def live() -> None:
    if not cluster_given() and not cluster_possible():
        raise Skipped(
            "needs root on Debian 12, x86-64, or a cluster to use up: KUBECONFIG and PRECHECK_DISPOSABLE_CLUSTER=1"
        )
    if "cluster-up" in PROGRESS.failed:
        raise Failed("the cluster did not come up")
    pytest("tests/live")


def mesh() -> None:
    if not cluster_possible():
        raise Skipped("needs root on Debian 12, x86-64")
    pytest("tests/mesh")


def oldest() -> None:
    """What a version of Kubernetes can change: exec, rights, what the API server offers, and the gate as a whole."""
    if not cluster_possible():
        raise Skipped("needs root on Debian 12, x86-64")
    names = ("test_gate.py", "test_rights.py")
    this = {"ISTIO_PRECHECK_KUBERNETES": testbed_module("versions").OLDEST, "PRECHECK_DISPOSABLE_CLUSTER": ""}
    try:
        pytest(*(f"tests/live/{name}" for name in names), **this)
    finally:
        cluster("down", **this)


def scale() -> None:
    if not cluster_possible():
        raise Skipped("needs root on Debian 12, x86-64")
    pytest("tests/scale")


def bench() -> None:
    if not cluster_possible():
        raise Skipped("needs root on Debian 12, x86-64")
    run(VENV / "bin" / "python", ROOT / "tests" / "bench" / "bench.py")


STAGES = (
    Stage("unit", "pytest over tests/unit", unit),
    Stage("lint", "style, documentation, changelog, licences, workflows", lint),
    Stage("build", "the tarball and what it holds, in dist/", build),
    Stage("sanity", "ansible-test sanity, on every Python found", sanity, minutes=10),
    Stage("units", "ansible-test units", units, 10),
    Stage("playbooks", "role and playbooks over recorded clusters", playbooks, minutes=15),
    Stage("demo", "install the tarball in a clean environment and play meshops.istio_precheck.demo", demo),
    Stage("importer", "galaxy-importer and ansible-builder over the tarball", importer),
    Stage(
        "browser",
        "the HTML report in Chromium; pictures in tests/output/browser",
        browser,
        minutes=10,
        everywhere=False,
    ),
    Stage("older", "the oldest versions, and the fault table with all of tests/matrix.py", older, minutes=20),
    Stage("trust", "faults, secrets and hostile input, on whole processes", trust, minutes=15),
    Stage("fuzz", "coverage-guided fuzzing of what comes from outside", fuzz, everywhere=False),
    Stage("matrix", "everything with each pair of versions of tests/matrix.py", matrix, minutes=120),
    Stage("kernel", "the rule against what the kernel does", kernel, minutes=5, everywhere=False),
    Stage(
        "cluster-up",
        "start the test cluster, built from Go modules the first time",
        lambda: cluster("up"),
        minutes=40,
        everywhere=False,
    ),
    Stage("live", "the tests on the real cluster", live, minutes=20, everywhere=False),
    Stage("mesh", "a real istiod and Envoy: what the gate says, and whether the client is answered", mesh, 40, False),
    Stage("mesh-up", "start a real mesh to look at", lambda: cluster("mesh"), minutes=40, everywhere=False),
    Stage("oldest", "exec, rights and the gate on the oldest Kubernetes", oldest, minutes=40, everywhere=False),
    Stage("scale", "thousands of pods, and kubelets that are slow, dead or liars", scale, minutes=40, everywhere=False),
    Stage("bench", "what a cluster of 10,000 pods costs", bench, minutes=60),
    Stage("cluster-down", "stop the test cluster, keep only its cache", lambda: cluster("down"), everywhere=False),
)


def planned() -> set[str]:
    """The stages of a full run: a cluster that was given or runs already is not ours to stop."""
    names = {stage.name for stage in STAGES} - {"bench", "matrix", "mesh-up"}
    if cluster_given():
        names -= {"cluster-up", "cluster-down"}
    elif cluster_possible() and CLUSTER.exists():
        status = subprocess.run(
            (sys.executable, CLUSTER, "status"), check=False, stdin=subprocess.DEVNULL, capture_output=True
        )
        names -= set() if status.returncode else {"cluster-down"}
    return names


def play(stage: Stage, strict: bool) -> tuple[str, str]:
    """The outcome, and the reason where it did not pass."""
    PROGRESS.deadline = time.monotonic() + stage.minutes * 60
    try:
        untested = stage.run()
    except Skipped as reason:
        return "failed" if strict else "skipped", str(reason)
    except (Failed, OSError, subprocess.CalledProcessError, ElementTree.ParseError) as reason:
        return "failed", str(reason)
    return "passed", untested or ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=" ".join(stage.name for stage in STAGES))
    named = set(parser.parse_args().stages)
    if unknown := named - {stage.name for stage in STAGES}:
        parser.error(f"no such stage: {', '.join(sorted(unknown))}")

    selected = named or planned()
    lines: list[str] = []
    outcomes: Counter[str] = Counter(passed=0, failed=0)
    with building(not named and cluster_possible() and not cluster_given()):
        for stage in STAGES:
            if stage.name in selected:
                print(f"\n=== {stage.name}: {stage.about}", flush=True)
                began = time.monotonic()
                outcome, reason = play(stage, stage.name in named or STRICT and not stage.everywhere)
                outcomes[outcome] += 1
                PROGRESS.failed |= {stage.name} if outcome == "failed" else set()
                lines.append(f"{outcome:8} {stage.name:13}{time.monotonic() - began:7.1f} s  {reason}".rstrip())
                print(f"=== {stage.name}: {outcome}{reason and ': '}{reason}", flush=True)

    print("\n" + "\n".join(lines))
    cases = PROGRESS.cases
    if cases:
        bad = cases["failures"] + cases["errors"]
        print(f"test cases: {cases['tests'] - cases['skipped'] - bad} passed, {bad} failed, {cases['skipped']} skipped")
    print(", ".join(f"{number} {outcome}" for outcome, number in outcomes.items()))
    return 1 if outcomes["failed"] else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted; a test cluster may still run: make cluster-down")
