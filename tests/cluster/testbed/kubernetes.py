# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Kubernetes' programs, built once and kept: from its Go modules, or the oldest version from Debian's source package."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import tempfile
import time
from typing import Any

from . import modules, packages, versions
from .settings import CACHE, PATH, TestbedError, locked, run, say, write

PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kubelet", "kubectl")
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
SUITE = "bookworm"
REFLECT2 = pathlib.Path("/usr/share/gocode/src/github.com/modern-go/reflect2")
RECIPE = "3"
"""Part of the built folder's name, so that a change of the way to build is not answered with what was built the old way."""
TAGS = "providerless,dockerless"
"""Of that build: without the clients of four clouds, and of Docker, which are a third of the source."""
GO = "/usr/lib/go-1.19"
VERSION_PACKAGES = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")


def stamps(release: str, vendored: str = "") -> tuple[str, ...]:
    """What the linker writes into the programs, so that they know their version."""
    major, minor, _patch = release.split(".")
    values = {"gitVersion": f"v{release}", "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    return tuple(
        f"{vendored}{package}.{name}={value}" for package in VERSION_PACKAGES for name, value in values.items()
    )


def binaries(version: versions.Version | None = None) -> pathlib.Path:
    """The folder with the programs of a version, else of this cluster's; built first where no whole one is there."""
    version = version or versions.chosen()
    if not version.module:
        return from_debian()
    return modules.built(
        modules.Module(f"kubernetes-{version.name}", ".", "kubernetes", stamps=stamps(version.module), names=PROGRAMS)
    )


def from_debian() -> pathlib.Path:
    found = built()
    if found:
        return found
    with locked("build") as lock:
        found = built()
        if found:
            return found
        packages.install(packages.BUILD)
        for stale in CACHE.glob("building-*"):
            shutil.rmtree(stale, ignore_errors=True)
        work = pathlib.Path(tempfile.mkdtemp(prefix="building-", dir=CACHE))
        try:
            return build(work, lock)
        finally:
            shutil.rmtree(work, ignore_errors=True)


def built() -> pathlib.Path | None:
    """A folder gets its name by a rename after the last program was linked, so it is whole or absent."""
    return max(CACHE.glob(f"kubernetes-*+recipe{RECIPE}"), key=lambda folder: folder.stat().st_mtime, default=None)


def build(work: pathlib.Path, lock: int) -> pathlib.Path:
    started = time.monotonic()
    log = CACHE / "kubernetes-build.log"
    log.unlink(missing_ok=True)
    version, tree = unpack(work, log)
    # The reflect2 of 2020 walks maps by the runtime of the Go of its day: with a Go from 1.18 on, the API server crashes on a custom resource.
    vendored = tree / "vendor" / "github.com" / "modern-go" / "reflect2"
    shutil.rmtree(vendored)
    shutil.copytree(REFLECT2, vendored)
    upstream = re.search(r"(\d+)\.(\d+)\.\d+(?=-|$)", version)
    if not upstream:
        raise TestbedError(f"Debian's kubernetes source has an unexpected version: {version}")
    say(f"building Kubernetes {upstream[0]} from Debian's source; this takes some minutes, once (log: {log})")
    environment = {
        **os.environ,
        "PATH": f"{GO}/bin:{PATH}",
        "GOROOT": GO,
        "GOPATH": str(work / "go"),
        "GOCACHE": str(work / "go-cache"),
        "GO111MODULE": "off",
        "GOFLAGS": "",
        "GOGC": modules.FEWER_COLLECTIONS,
    }
    # The lock's descriptor is handed on: what a killed run leaves compiling still holds it, and is waited for.
    options: dict[str, Any] = {"cwd": tree, "env": environment, "log": log, "pass_fds": [lock]}
    run("make", "gen_openapi", **options)  # what else is generated is part of the source
    output = work / "bin"
    output.mkdir()
    run(
        f"{GO}/bin/go",
        "build",
        "-tags",
        TAGS,
        modules.UNDEBUGGED,
        "-o",
        f"{output}/",
        "-ldflags",
        " ".join(["-s -w", *(f"-X {stamp}" for stamp in stamps(upstream[0], "k8s.io/kubernetes/vendor/"))]),
        *(f"./cmd/{name}" for name in PROGRAMS),
        **options,
    )
    target = CACHE / f"kubernetes-{version}+recipe{RECIPE}"
    output.replace(target)
    say(f"built Kubernetes in {time.monotonic() - started:.0f} s: {target}")
    return target


def unpack(work: pathlib.Path, log: pathlib.Path) -> tuple[str, pathlib.Path]:
    """Fetch by package lists of our own, so that the machine's stay as they are."""
    lists = work / "lists"
    (lists / "partial").mkdir(parents=True)
    source_list = write(work / "sources.list", f"deb-src [signed-by={KEYRING}] {archive()} {SUITE} main\n")
    apt = ["apt-get", "-o", f"Dir::Etc::SourceList={source_list}", "-o", "Dir::Etc::SourceParts=/dev/null"]
    apt += ["-o", f"Dir::State::Lists={lists}", "-o", "APT::Sandbox::User=root"]
    run(*apt, "update", log=log)
    run(*apt, "source", "kubernetes", cwd=work, log=log)
    description = next(work.glob("kubernetes_*.dsc"))
    tree = work / "go" / "src" / "k8s.io" / "kubernetes"
    tree.parent.mkdir(parents=True)
    next(folder for folder in work.glob("kubernetes-*") if folder.is_dir()).replace(tree)
    return description.stem.split("_", 1)[1], tree


def archive() -> str:
    """The Debian archive that this machine's own apt asks for packages of SUITE."""
    targets = run(
        "apt-get", "indextargets", "Created-By: Packages", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)"
    ).stdout.splitlines()
    for target in targets:
        address, release, component = (target.split() + ["", "", ""])[:3]
        if (release, component) == (SUITE, "main"):
            return address
    raise TestbedError(
        f"Kubernetes is built from the source package of Debian's {SUITE}, and apt knows no archive of it here"
    )
