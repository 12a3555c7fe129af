# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A real one-node Kubernetes for the tests, on this machine and gone without a trace: see README.md."""

from __future__ import annotations

import argparse
import os
import pathlib
import signal
import subprocess
import sys

from testbed import (
    control_plane,
    images,
    kubernetes,
    leftovers,
    mesh,
    modules,
    node,
    packages,
    pki,
    processes,
    versions,
)
from testbed.settings import STATE, STATE_VARIABLES, TestbedError, locked, say, write

KUBECONFIG = STATE / "kubeconfig"
COMPONENTS = ("etcd", "apiserver", "controller-manager", "node")
MESH = "-mesh"
"""The end of the state folder of a cluster with a mesh."""


def build() -> None:
    """Make all programs that are not in the cache, in the order in which `make test` needs them."""
    packages.require_machine()
    with modules.together():
        kubernetes.binaries(versions.VERSIONS[versions.NEWEST])
        mesh.programs()
    modules.envoy()
    for version in versions.VERSIONS.values():
        kubernetes.binaries(version)


def healthy() -> bool:
    return (
        all(processes.alive(name) for name in COMPONENTS)
        and KUBECONFIG.exists()
        and control_plane.apiserver_healthy()
        and control_plane.controller_manager_healthy()
        and node.ready()
    )


def up() -> None:
    """Start what does not run. What is half there, by a crash or an interruption, is completed."""
    packages.require_machine()
    packages.recover()
    archives = images.archives()
    programs = kubernetes.binaries()
    with locked("cluster"):
        known = STATE / "programs"
        if any(processes.alive(name) for name in COMPONENTS) and not (
            known.exists() and known.read_text("utf-8") == str(programs)
        ):
            say("runs other programs than these, so it is started anew")
            for name in reversed(COMPONENTS):
                stop(name)
        if healthy() and node.has(archives):
            say("is up")
            return
        packages.install(packages.RUNTIME)
        leftovers.claim_state()
        write(known, str(programs))
        pki.ensure()
        pki.kubeconfig(KUBECONFIG, control_plane.server(), "admin")
        for name in COMPONENTS[:3]:
            start(name, programs)
        node.start(programs)
        node.load(archives)
        processes.until_healthy("node", node.ready, 180, "ready")
        say(f"is up; its kubeconfig is {KUBECONFIG}")


def start(name: str, programs: pathlib.Path) -> None:
    if name == "etcd":
        control_plane.start_etcd()
    elif name == "apiserver":
        control_plane.start_apiserver(programs)
    elif name == "controller-manager":
        control_plane.start_controller_manager(programs)
    else:
        node.start(programs)


def stop(name: str) -> None:
    if name == "node":
        node.stop()
    else:
        processes.stop(name, patience=5)


def down() -> None:
    """Take it down, and the clusters beside it: with a mesh, and of the other versions."""
    packages.require_machine()
    packages.recover()
    with locked("cluster"):
        for name in reversed(COMPONENTS):
            stop(name)
        processes.stop_others()
        leftovers.remove()
    say("is down")
    failed = [str(other) for other in leftovers.beside() if again("down", other)]
    if failed:
        raise TestbedError(f"not taken down: {', '.join(failed)}")


def again(command: str, state: pathlib.Path) -> int:
    """Run a command for another cluster, and return its exit code."""
    variables = {**os.environ, **STATE_VARIABLES, "ISTIO_PRECHECK_STATE": str(state), "ISTIO_PRECHECK_KUBERNETES": ""}
    return subprocess.run([sys.executable, __file__, command], env=variables, check=False).returncode


def restart(name: str) -> None:
    with locked("cluster"):
        stop(name)
    up()


def status() -> int:
    for name in COMPONENTS:
        pid = processes.alive(name)
        print(f"{name:20}{f'running, pid {pid}' if pid else 'not running'}")
    well = healthy()
    print(f"{'cluster':20}{'up' if well else 'not up'}")
    return 0 if well else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="start it, or complete what is half there")
    commands.add_parser("mesh", help="start one with a real mesh beside it, to look at")
    commands.add_parser("build", help="build what is not in the cache yet, for every version")
    commands.add_parser("down", help="stop it and those beside it, and leave nothing behind but the cache")
    commands.add_parser("status", help="say what runs; exit code 0 only where all is well")
    commands.add_parser("kubeconfig", help="print the path of its administrator's kubeconfig")
    for command, text in (
        ("restart", "stop one component and start it again"),
        ("stop", "stop one component; `up` starts it again"),
    ):
        commands.add_parser(command, help=text).add_argument("component", choices=COMPONENTS)
    commands.add_parser("node-init").add_argument("programs", type=pathlib.Path)
    arguments = parser.parse_args()
    try:
        if arguments.command == "up":
            up()
        elif arguments.command == "mesh" and not STATE.name.endswith(MESH):
            return again("mesh", STATE.with_name(STATE.name + MESH))
        elif arguments.command == "mesh":
            up()
            with locked("cluster"):
                mesh.up()
            mesh.apply(mesh.example())
            say(f"try: {kubernetes.binaries() / 'kubectl'} --kubeconfig {KUBECONFIG} get pods --all-namespaces")
        elif arguments.command == "build":
            signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that half a build goes with its process
            build()
        elif arguments.command == "down":
            down()
        elif arguments.command == "status":
            return status()
        elif arguments.command == "kubeconfig":
            if not KUBECONFIG.exists():
                raise TestbedError("is not up")
            print(KUBECONFIG)
        elif arguments.command == "restart":
            restart(arguments.component)
        elif arguments.command == "stop":
            with locked("cluster"):
                stop(arguments.component)
        else:
            node.init(arguments.programs)
    except TestbedError as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        say("interrupted; `up` completes what has begun, `down` removes it")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
