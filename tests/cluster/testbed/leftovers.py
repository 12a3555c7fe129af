# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a cluster leaves on the machine when its processes are gone, and its removal."""

from __future__ import annotations

import pathlib
import re
import shutil

from .settings import BRIDGE, STATE, TestbedError, run

MARKER = STATE / "this-is-an-istio-precheck-test-cluster"
BRIDGE_IS_OURS = STATE / "made-the-bridge"
CGROUPS = pathlib.Path("/sys/fs/cgroup")


def claim_state() -> None:
    """Use only a folder that is ours or new: `down` removes it as a whole."""
    if STATE.exists() and any(STATE.iterdir()) and not MARKER.exists():
        raise TestbedError(f"{STATE} holds something else; set ISTIO_PRECHECK_STATE to a folder that does not exist")
    STATE.mkdir(mode=0o755, parents=True, exist_ok=True)
    MARKER.touch()


def beside() -> list[pathlib.Path]:
    """The state folders of clusters that belong to this one: named after it, and something more."""
    return sorted(path.parent for path in STATE.parent.glob(f"{STATE.name}-*/{MARKER.name}"))


def remove() -> None:
    remove_bridge()
    remove_cgroups()
    if MARKER.exists():
        unmount()
        for entry in [each for each in STATE.iterdir() if each != MARKER] + [MARKER]:
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
        STATE.rmdir()


def remove_bridge() -> None:
    if BRIDGE_IS_OURS.exists():
        if bridge_exists():
            run("ip", "link", "delete", BRIDGE)
        BRIDGE_IS_OURS.unlink()


def bridge_exists() -> bool:
    return pathlib.Path("/sys/class/net", BRIDGE).exists()


def remove_cgroups() -> None:
    """Of the containers that our containerd knew, and their parent where nothing else is in it."""
    known = {
        entry.name
        for kind in ("containers", "sandboxes")
        for entry in (STATE / "containerd" / "io.containerd.grpc.v1.cri" / kind).glob("*")
    }
    for parent in [*CGROUPS.glob("*/k8s.io"), CGROUPS / "k8s.io"]:
        for name in known:
            if (parent / name).is_dir():
                for folder in sorted((parent / name).rglob("*/"), reverse=True):
                    remove_cgroup(folder)
                remove_cgroup(parent / name)
        if parent.is_dir():
            remove_cgroup(parent)


def remove_cgroup(folder: pathlib.Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        pass  # it has processes, or groups of somebody else


def mounts() -> list[str]:
    """Mount points under the state folder, innermost first."""
    points = [line.split()[4] for line in pathlib.Path("/proc/self/mountinfo").read_text("utf-8").splitlines()]
    decoded = [re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), point) for point in points]
    return sorted((point for point in decoded if point.startswith(f"{STATE}/")), reverse=True)


def unmount() -> None:
    for point in mounts():
        run("umount", "--lazy", point)
    if mounts():
        raise TestbedError(f"still mounted, so not removed: {', '.join(mounts())}")
