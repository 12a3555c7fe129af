# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""
The one node: containerd and the kubelet in process and mount namespaces of their own.

Whatever they start or mount, however deep, ends with the first process of these namespaces, also after a kill -9. Only the
pods' bridge and the cgroups are outside, and `leftovers` removes those.
"""

from __future__ import annotations

import datetime
import ipaddress
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from . import control_plane, leftovers, pki, processes, versions
from .settings import (
    BRIDGE,
    CACHE,
    CLUSTER_DIR,
    IPV4_GATEWAY,
    IPV4_SUBNET,
    IPV6_GATEWAY,
    IPV6_SUBNET,
    NODE_NAME,
    REPOSITORY,
    STATE,
    TestbedError,
    run,
    say,
    write,
)

SOCKET = STATE / "containerd.sock"
PAUSE = "precheck.test/pause:1"
RECOVERY = 20
"""Seconds in which containerd may still say "server is not initialized yet" to a kubelet, which then ends."""
PRIVATE = ("/run", "/var/log", "/var/lib")
# What the kubelet insists on; it finds these in files of its own instead of changing the machine.
KERNEL_SETTINGS = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1000000,
    "kernel/keys/root_maxbytes": 25000000,
}


def start(programs: pathlib.Path) -> None:
    """Start the node up to the point where containerd takes images."""
    if not (processes.alive("node") and processes.alive("node-init")):
        stop()
        control_plane.require_free("kubelet")
        make_bridge()
        configure()
        unshare = ["unshare", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child=SIGKILL"]
        processes.start("node", [*unshare, sys.executable, str(CLUSTER_DIR / "cluster.py"), "node-init", str(programs)])
    processes.until_healthy("node", containerd_healthy, 120)


def stop() -> None:
    """The kernel ends every process of a process namespace with the first one, and that one last of all."""
    outer = processes.alive("node")
    children = pathlib.Path(f"/proc/{outer}/task/{outer}/children").read_text("utf-8").split() if outer else []
    processes.stop("node-init", how=signal.SIGKILL)
    processes.stop("node", how=signal.SIGKILL)
    # An init that was killed before it wrote its record: the kernel tells it to end with its parent.
    processes.until(
        lambda: not any(map(processes.start_time, children)), 30, f"the node's processes {children} do not end"
    )


def containerd_healthy() -> bool:
    return processes.alive("node-init") is not None and ctr("version", check=False).returncode == 0


def ready() -> bool:
    """Does the kubelet answer, and has it said since it was started that the node takes pods."""
    # The kubelet itself is asked: newer API servers proxy to no loopback address.
    kubelet_address = f"https://127.0.0.1:{control_plane.ports()['kubelet']}"
    if not processes.alive("node-init") or control_plane.request("/healthz", kubelet_address) != "ok":
        return False
    started = datetime.datetime.fromtimestamp(int(processes.since("node-init")), datetime.timezone.utc).strftime(
        "%Y-%m-%dT%H:%M:%SZ"
    )
    answer = control_plane.request(f"/api/v1/nodes/{NODE_NAME}")
    conditions = json.loads(answer)["status"].get("conditions", []) if answer else []
    return any(
        each["type"] == "Ready" and each["status"] == "True" and each["lastHeartbeatTime"] >= started
        for each in conditions
    )


def ctr(*arguments: object, check: bool = True) -> subprocess.CompletedProcess[str]:
    return run("ctr", "--address", SOCKET, "--namespace", "k8s.io", "--connect-timeout", "2s", *arguments, check=check)


def has(archives: dict[str, pathlib.Path], record: str = "images") -> bool:
    return loaded(record) == {name: path.name for name, path in archives.items()}


def loaded(record: str) -> dict[str, str]:
    known = STATE / f"{record}.json"
    return json.loads(known.read_text("utf-8")) if known.exists() else {}


def load(archives: dict[str, pathlib.Path], record: str = "images") -> None:
    """Import what containerd does not have yet. A record is of images that are always loaded together."""
    before = loaded(record)
    for name, path in archives.items():
        if before.get(name) != path.name:
            ctr("images", "import", "--snapshotter", snapshotter(), path)
    write(STATE / f"{record}.json", json.dumps({name: path.name for name, path in archives.items()}))


def make_bridge() -> None:
    """Made here rather than by the CNI plugin, which would switch on IP forwarding for the whole machine."""
    leftovers.remove_bridge()
    if leftovers.bridge_exists():
        raise TestbedError(f"the network interface {BRIDGE} exists already and is not of this cluster")
    for family, subnet in (("-4", IPV4_SUBNET), ("-6", IPV6_SUBNET)):
        for route in json.loads(run("ip", "-j", family, "route", "show", check=False).stdout or "[]"):
            if route["dst"] != "default" and ipaddress.ip_network(route["dst"], strict=False).overlaps(
                ipaddress.ip_network(subnet)
            ):
                raise TestbedError(f"the pods' network {subnet} overlaps this machine's route to {route['dst']}")
    leftovers.BRIDGE_IS_OURS.touch()
    run("ip", "link", "add", BRIDGE, "type", "bridge")
    run("ip", "address", "add", f"{IPV4_GATEWAY}/{IPV4_SUBNET.partition('/')[2]}", "dev", BRIDGE)
    run("ip", "address", "add", f"{IPV6_GATEWAY}/{IPV6_SUBNET.partition('/')[2]}", "dev", BRIDGE, "nodad", check=False)
    run("ip", "link", "set", BRIDGE, "up")


def snapshotter() -> str:
    """Overlays do not nest on every file system; copies always work."""
    trial = STATE / "overlay-trial"
    for part in ("lower", "upper", "work", "merged"):
        (trial / part).mkdir(parents=True, exist_ok=True)
    options = f"lowerdir={trial}/lower,upperdir={trial}/upper,workdir={trial}/work"
    mounted = run(
        "unshare", "--mount", "mount", "-t", "overlay", "-o", options, "overlay", trial / "merged", check=False
    )
    return "native" if mounted.returncode else "overlayfs"


def configure() -> None:
    """The files that containerd, its network plugin and the kubelet read."""
    cri = '[plugins."io.containerd.grpc.v1.cri"'
    write(
        STATE / "containerd.toml",
        f"""version = 2
root = "{STATE}/containerd"
state = "{STATE}/containerd-state"
disabled_plugins = [{", ".join(f'"io.containerd.snapshotter.v1.{name}"' for name in ("aufs", "btrfs", "devmapper", "zfs"))}]
[grpc]
  address = "{SOCKET}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{STATE}/containerd-opt"
{cri}]
  sandbox_image = "{PAUSE}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  netns_mounts_under_state_dir = true
{cri}.cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "{STATE}/cni"
{cri}.containerd]
  snapshotter = "{snapshotter()}"
{cri}.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
{cri}.containerd.runtimes.runc.options]
  Root = "{STATE}/runc"
""",
    )
    addresses = {
        "type": "host-local",
        "dataDir": str(STATE / "cni-addresses"),
        "ranges": [[{"subnet": IPV4_SUBNET}], [{"subnet": IPV6_SUBNET}]],
    }
    bridge = {"type": "bridge", "bridge": BRIDGE, "isGateway": False, "ipMasq": False, "ipam": addresses}
    write(
        STATE / "cni" / "pods.conflist",
        json.dumps({"cniVersion": "0.4.0", "name": "istio-precheck", "plugins": [bridge]}),
    )
    pki.kubeconfig(STATE / "kubelet.kubeconfig", control_plane.server(), "kubelet")
    write(
        STATE / "kubelet.json",
        json.dumps(
            {
                "apiVersion": "kubelet.config.k8s.io/v1beta1",
                "kind": "KubeletConfiguration",
                "address": "127.0.0.1",
                "port": control_plane.ports()["kubelet"],
                "readOnlyPort": 0,
                "healthzPort": 0,
                "authentication": {
                    "anonymous": {"enabled": False},
                    "webhook": {"enabled": True},
                    "x509": {"clientCAFile": str(pki.PKI / "ca.crt")},
                },
                "authorization": {"mode": "Webhook"},
                "tlsCertFile": str(pki.PKI / "server.crt"),
                "tlsPrivateKeyFile": str(pki.PKI / "server.key"),
                "cgroupDriver": "cgroupfs",
                "cgroupsPerQOS": False,
                "enforceNodeAllocatable": [],
                "evictionHard": {},
                "failSwapOn": False,
                "makeIPTablesUtilChains": False,
                "imageGCHighThresholdPercent": 100,
                "resolvConf": "",
                "clusterDNS": ["127.0.0.1"],
                "clusterDomain": "cluster.local",
                "maxPods": 250,
                "kubeAPIQPS": 200,
                "kubeAPIBurst": 400,
                "nodeStatusUpdateFrequency": "2s",
                "volumePluginDir": str(STATE / "volume-plugins"),
                **{name: for_node(value) for name, value in versions.chosen().kubelet_config},
            },
            indent=1,
        ),
    )


def kubelet(programs: pathlib.Path) -> list[str]:
    return [
        str(programs / "kubelet"),
        f"--config={STATE / 'kubelet.json'}",
        f"--kubeconfig={STATE / 'kubelet.kubeconfig'}",
        f"--root-dir={STATE / 'kubelet'}",
        f"--cert-dir={STATE / 'kubelet' / 'pki'}",
        f"--hostname-override={NODE_NAME}",
        f"--node-ip={IPV4_GATEWAY}",
        *map(for_node, versions.chosen().kubelet),
    ]


def for_node(value: Any) -> Any:
    """A setting of the table of versions, with this node's containerd in it."""
    return value.format(socket=SOCKET) if isinstance(value, str) else value


def init(programs: pathlib.Path) -> None:
    """The namespaces' first process: make the mounts, start both programs, reap orphans, and end where one of the two does."""
    processes.record("node-init", int(os.readlink("/proc/self")))  # the old /proc still knows our pid outside
    run("mount", "-t", "proc", "proc", "/proc")
    for covered in PRIVATE:
        cover(pathlib.Path(covered))
    for name, value in KERNEL_SETTINGS.items():
        if pathlib.Path("/proc/sys", name).exists():
            run("mount", "--bind", write(STATE / "kernel-settings" / name, f"{value}\n"), f"/proc/sys/{name}")
    SOCKET.unlink(missing_ok=True)
    started = time.monotonic()
    names = {spawn("containerd", ["containerd", "--config", str(STATE / "containerd.toml")]): "containerd"}
    names[spawn("kubelet", kubelet(programs), after=SOCKET.exists)] = "kubelet"
    while True:
        pid, status = os.wait()
        if names.get(pid) == "kubelet" and time.monotonic() - started < RECOVERY:
            say(f"the kubelet ended with status {status} while containerd was starting; starting it again")
            time.sleep(1)
            names[spawn("kubelet", kubelet(programs))] = "kubelet"
        elif pid in names:
            say(f"{names[pid]} ended with status {status}; so does the node\n")
            os._exit(1)


def cover(path: pathlib.Path) -> None:
    """Put an empty folder of ours over a folder of the machine, with what we need of it showing through."""
    shade = STATE / "node" / path.relative_to("/")
    for kept in (STATE, CACHE, REPOSITORY, pathlib.Path(sys.prefix), pathlib.Path(sys.base_prefix)):
        if path in kept.parents:
            (shade / kept.relative_to(path)).mkdir(parents=True, exist_ok=True)
            run("mount", "--bind", kept, shade / kept.relative_to(path))
    shade.mkdir(parents=True, exist_ok=True)
    run("mount", "--rbind", shade, path)


def spawn(name: str, command: list[str], after: Callable[[], bool] = lambda: True) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        while not after():
            time.sleep(0.1)
        log = os.open(processes.LOGS / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        # Else the kubelet asks the network whether it runs in Amazon's cloud.
        os.execvpe(command[0], command, {**os.environ, "AWS_EC2_METADATA_DISABLED": "true"})
    finally:
        os._exit(127)
