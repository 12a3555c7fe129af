# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""
Container images from this machine's own programs, without a registry.

An image is one layer in a docker-archive, as `ctr images import`, `kind load image-archive` and `k3d image import` take it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import pathlib
import platform
import re
import tarfile
import tempfile
import time
from collections.abc import Callable

from . import packages
from .settings import CACHE, CLUSTER_DIR, locked, program, run

PROGRAMS = CLUSTER_DIR / "programs"
SEARCHED = "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
KEEP_SECONDS = 7 * 24 * 3600
PYTHON = pathlib.Path("/usr/bin/python3")
Files = dict[str, pathlib.Path | bytes]
PYTHON_MODULES = (
    "import __future__, encodings.idna, encodings.utf_8, encodings.latin_1, runpy, signal, socket, sys, time"
)


@dataclasses.dataclass
class Image:
    """A name, what is in it (path in the image: a file of this machine, or bytes), and what it runs."""

    name: str
    entrypoint: list[str]
    files: Files = dataclasses.field(default_factory=dict)
    links: dict[str, str] = dataclasses.field(default_factory=dict)

    def key(self) -> str:
        digest = hashlib.sha256(json.dumps([self.name, self.entrypoint, self.links, SEARCHED]).encode())
        for path, content in sorted(self.files.items()):
            data = content if isinstance(content, bytes) else content.read_bytes()
            digest.update(f"{path} {len(data)}\n".encode())
            digest.update(data)
        return digest.hexdigest()[:16]


def wanted(folder: pathlib.Path) -> list[Image]:
    """Every image of the workloads; a program whose arguments hold no address listens on nothing and sleeps."""
    listen: Files = {"/bin/listen": go_program("listen", folder)}
    shell, applets = busybox()
    cat = {"/bin/cat": "busybox"}
    return [
        Image("precheck.test/pause:1", ["/bin/listen"], listen),
        Image("precheck.test/go:1", ["/bin/listen"], {**listen, **shell}, applets),
        Image(
            "precheck.test/netcat:1",
            ["/bin/nc.openbsd", "-l", "-k"],
            {**with_libraries("nc.openbsd"), **shell},
            applets,
        ),
        Image("precheck.test/node:1", ["/bin/node", "/listen.js"], {**node_js(), **shell}, applets),
        Image("precheck.test/python:1", [str(PYTHON), "-I", "-S", "/listen.py"], {**python_files(), **shell}, applets),
        Image("precheck.test/proxyv2:1.9.9", ["/bin/listen"], {**listen, **with_libraries("ss"), **shell}, applets),
        Image("precheck.test/proxyv2:1.9.9-distroless", ["/bin/listen"], {**listen, **shell}, cat),
        Image("precheck.test/distroless:1", ["/bin/listen"], listen),
        Image("precheck.test:5000/pilot:1.9.9", ["/bin/listen"], listen),
    ]


def archives() -> dict[str, pathlib.Path]:
    """The archive of each image by name, from the cache or made now. The file's name holds the hash of what is in it."""
    packages.install(packages.IMAGES)
    return made_of(wanted)


def made_of(wanted: Callable[[pathlib.Path], list[Image]]) -> dict[str, pathlib.Path]:
    folder = CACHE / "images"
    folder.mkdir(parents=True, exist_ok=True)
    with locked("images"):
        made = {image.name: archive(image, folder) for image in wanted(folder)}
        for path in made.values():
            os.utime(path)
        for old in folder.iterdir():  # another checkout may be about to load its own
            if not old.is_dir() and old.stat().st_mtime < time.time() - KEEP_SECONDS:
                old.unlink()
    return made


def archive(image: Image, folder: pathlib.Path) -> pathlib.Path:
    path = folder / f"{re.sub('[^a-z0-9.-]', '_', image.name)}-{image.key()}.tar"
    if path.exists():
        return path
    with tempfile.TemporaryDirectory(dir=folder) as work:
        layer = pathlib.Path(work, "layer.tar")
        with tarfile.open(layer, "w") as tar:
            for name in folders([*image.files, *image.links]):
                add(tar, name, mode=0o1777 if name == "tmp" else 0o755, type=tarfile.DIRTYPE)
            for name, content in sorted(image.files.items()):
                add(
                    tar,
                    name,
                    content,
                    mode=0o755 if isinstance(content, bytes) or os.access(content, os.X_OK) else 0o644,
                )
            for name, target in sorted(image.links.items()):
                add(tar, name, mode=0o777, type=tarfile.SYMTYPE, linkname=target)
        architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
        config = json.dumps(
            {
                "architecture": architecture,
                "os": "linux",
                "created": "2026-01-01T00:00:00Z",
                "config": {"Entrypoint": image.entrypoint, "Env": [f"PATH={SEARCHED}"]},
                "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer.read_bytes()).hexdigest()]},
            }
        ).encode()
        fresh = pathlib.Path(work, "image.tar")
        with tarfile.open(fresh, "w") as tar:
            add(
                tar,
                "manifest.json",
                json.dumps([{"Config": "config.json", "RepoTags": [image.name], "Layers": ["layer.tar"]}]).encode(),
            )
            add(tar, "config.json", config)
            add(tar, "layer.tar", layer)
        fresh.replace(path)
    return path


def add(tar: tarfile.TarFile, name: str, content: pathlib.Path | bytes = b"", **attributes: object) -> None:
    """Add an entry that depends on nothing but its name and content."""
    entry = tarfile.TarInfo(name.lstrip("/"))
    for attribute, value in attributes.items():
        setattr(entry, attribute, value)
    data = content if isinstance(content, bytes) else content.read_bytes()
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))


def folders(paths: list[str]) -> list[str]:
    found = {"tmp", "etc", "run"}
    for path in paths:
        found.update(str(parent).lstrip("/") for parent in pathlib.PurePosixPath(path).parents if str(parent) != "/")
    return sorted(found)


def libraries(binary: pathlib.Path) -> Files:
    """The shared libraries that a program is linked with, and its loader, under the paths where it looks for them."""
    listed = run("ldd", binary, check=False).stdout
    return {path: pathlib.Path(path) for path in re.findall(r"(?:=> |^\s+)(/\S+) \(0x", listed, re.MULTILINE)}


def with_libraries(name: str) -> Files:
    binary = pathlib.Path(program(name))
    return {f"/bin/{name}": binary, **libraries(binary)}


def busybox() -> tuple[Files, dict[str, str]]:
    binary = pathlib.Path(program("/bin/busybox"))
    applets = run(binary, "--list").stdout.split()
    return {"/bin/busybox": binary}, {
        f"/bin/{applet}": "busybox" for applet in applets if applet not in ("busybox", "nc", "ss")
    }


def go_program(name: str, folder: pathlib.Path) -> pathlib.Path:
    """A program of ours, static; compiled again only where its source is new."""
    source = PROGRAMS / f"{name}.go"
    path = folder / f"{name}-{hashlib.sha256(source.read_bytes()).hexdigest()[:16]}"
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=folder) as work:
            environment = {
                **os.environ,
                "CGO_ENABLED": "0",
                "GO111MODULE": "off",
                "GOFLAGS": "",
                "GOCACHE": f"{work}/cache",
                "GOPATH": f"{work}/path",
            }
            run(
                program("go"),
                "build",
                "-trimpath",
                "-ldflags",
                "-s -w -buildid=",
                "-o",
                f"{work}/{name}",
                source,
                env=environment,
            )
            pathlib.Path(work, name).replace(path)
    return path


def node_js() -> Files:
    """Node.js; Debian's own keeps some of its built-in modules in files."""
    modules = [
        path
        for path in pathlib.Path("/usr/share/nodejs").glob("**/*")
        if path.is_file() and path.suffix in (".js", ".json", ".wasm", ".mjs")
    ]
    found: Files = {
        str(path): path for path in modules if path.parts[4] in ("acorn", "acorn-walk", "cjs-module-lexer", "undici")
    }
    return {**with_libraries("node"), **found, "/listen.js": PROGRAMS / "listen.js"}


def python_files() -> Files:
    """The interpreter and those modules of the standard library that the listener comes to import."""
    listing = "print(*{getattr(m, '__file__', None) or '' for m in list(sys.modules.values())}, sep='\\n')"
    output = run(PYTHON, "-I", "-S", "-c", f"{PYTHON_MODULES}\n{listing}").stdout
    modules = [pathlib.Path(line) for line in output.splitlines() if line.startswith("/")]
    # A module may put another in its own place, as collections.abc does from 3.13 on; so packages come whole.
    modules += [beside for path in modules if path.name == "__init__.py" for beside in path.parent.glob("*.py")]
    found: Files = {str(path): path for path in [PYTHON, *modules]}
    for path in [PYTHON, *modules]:
        if path.suffix != ".py":
            found.update(libraries(path))
    return {**found, "/listen.py": PROGRAMS / "listen.py"}
