# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Debian packages that the cluster and its images are made from."""

from __future__ import annotations

import os
import pathlib
import platform
import shutil

from .settings import CACHE, PATH, TestbedError, locked, program, run, say

RUNTIME = {
    "etcd": "etcd-server",
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "ip": "iproute2",
    "unshare": "util-linux",
    "mount": "mount",
    "openssl": "openssl",
}
IMAGES = {
    "/bin/busybox": "busybox-static",
    "nc.openbsd": "netcat-openbsd",
    "ss": "iproute2",
    "node": "nodejs",
    "/usr/bin/python3": "python3",
    "go": "golang-go",
}
BUILD = {
    "/usr/lib/go-1.19/bin/go": "golang-1.19-go",
    "gcc": "gcc",
    "make": "make",
    "rsync": "rsync",
    "jq": "jq",
    "which": "debianutils",
    "dpkg-source": "dpkg-dev",
    "xz": "xz-utils",
    "/usr/share/gocode/src/github.com/modern-go/reflect2": "golang-github-modern-go-reflect2-dev",
}
POLICY = pathlib.Path("/usr/sbin/policy-rc.d")
POLICY_ASIDE = POLICY.with_name("policy-rc.d.before-istio-precheck")
POLICY_TEXT = "#!/bin/sh\n# istio-precheck test cluster: start no service while its packages are installed\nexit 101\n"


def install(wanted: dict[str, str]) -> None:
    """Install what is missing, and start none of the services that come with it."""
    if all(map(present, wanted)):
        return
    with locked("apt"):
        _install(wanted)


def _install(wanted: dict[str, str]) -> None:
    missing = sorted({package for name, package in wanted.items() if not present(name)})
    if not missing:
        return
    if not shutil.which("apt-get", path=PATH):
        raise TestbedError(f"this needs Debian, or by other means what these packages hold: {', '.join(missing)}")
    say(f"installing {', '.join(missing)}")
    log = CACHE / "apt.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "PATH": PATH, "DEBIAN_FRONTEND": "noninteractive"}
    run("apt-get", "update", log=log, env=environment)
    forbid_services()
    try:
        run("apt-get", "install", "--yes", "--no-install-recommends", *missing, log=log, env=environment)
    finally:
        restore_policy()
    if pathlib.Path("/run/systemd/system").is_dir():
        for service in {"etcd-server": "etcd", "containerd": "containerd"}.items():
            if service[0] in missing:
                run("systemctl", "disable", "--now", service[1], check=False)
    for name in wanted:
        if not present(name):
            program(name)


def present(name: str) -> bool:
    """A program on the path, or a folder of sources."""
    return bool(shutil.which(name, path=PATH)) or os.path.isdir(name)


def forbid_services() -> None:
    if POLICY.exists():
        POLICY.replace(POLICY_ASIDE)
    POLICY.write_text(POLICY_TEXT, encoding="utf-8")
    POLICY.chmod(0o755)


def recover() -> None:
    """After a run that was killed while it installed something."""
    with locked("apt"):
        restore_policy()


def restore_policy() -> None:
    if POLICY.exists() and POLICY.read_text(encoding="utf-8") == POLICY_TEXT:
        POLICY.unlink()
    if POLICY_ASIDE.exists():
        POLICY_ASIDE.replace(POLICY)


def require_machine() -> None:
    if os.geteuid() != 0:
        raise TestbedError("the cluster needs root: its node mounts, makes network namespaces and cgroups")
    if platform.system() != "Linux" or platform.machine() not in ("x86_64", "aarch64"):
        raise TestbedError("the cluster needs Linux on amd64 or arm64")
