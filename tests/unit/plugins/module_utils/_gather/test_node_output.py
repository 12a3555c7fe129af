# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a node shows of its pods, from a /proc that the tests make: the real script in real shells, and what is read out of its answer."""

from __future__ import annotations

import contextlib
import itertools
import os
import pathlib
import resource
import shutil
import subprocess
import sys

import pytest

from ansible_collections.meshops.istio_precheck.plugins.module_utils._evaluate import evaluate
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.node_output import (
    SCRIPT,
    Node,
    ProbeError,
    command,
    containers_of,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.schema import SnapshotError
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.snapshot import check
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.options import Options
from ansible_collections.meshops.istio_precheck.plugins.module_utils._sockets.parse import parse
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._reports.verdict import verdict
from ansible_collections.meshops.istio_precheck.tests.helpers import cluster

UID = "6a2dd3f1-3f0c-4b53-8d0b-7d2f4f0a9b01"
OTHER_UID = "0b1c2d3e-aaaa-4bbb-8ccc-0123456789ab"
STATIC_UID = "d4a6e8b4b1c94f0c8a7e6d5c4b3a2910"
APP, PROXY, PAUSE, OTHER = ("a" * 63 + "1", "b" * 63 + "2", "c" * 63 + "3", "d" * 63 + "4")
WORD = "f00dfeed"
SYSTEMD = UID.replace("-", "_")

# A line's path in /proc/PID/cgroup, and the pods and containers that it leads through. What the kubelet calls a pod: podCgroupNamePrefix in
# pkg/kubelet/cm/pod_container_manager_linux.go, CgroupName.ToSystemd and ToCgroupfs in cgroup_manager_linux.go. What a runtime calls a container:
# containerd, getCgroupsPath in pkg/cri/server/helpers_linux.go; CRI-O, internal/config/cgmgr/systemd_linux.go and cgroupfs_linux.go; Docker under
# cri-dockerd, its default scope prefix in daemon/oci_linux.go; /.. for what is outside of the reader's own cgroup namespace: cgroup_namespaces(7).
CGROUPS = [
    ("containerd, cgroupfs, v1, burstable", f"4:memory:/kubepods/burstable/pod{UID}/{APP}", [(UID, APP)]),
    ("containerd, cgroupfs, v1, guaranteed", f"4:memory:/kubepods/pod{UID}/{APP}", [(UID, APP)]),
    ("containerd, cgroupfs, v1, without QoS cgroups", f"1:name=systemd:/pod{UID}/{APP}", [(UID, APP)]),
    ("containerd, cgroupfs, v2", f"0::/kubepods/besteffort/pod{UID}/{APP}", [(UID, APP)]),
    (
        "containerd, systemd, v1",
        f"1:name=systemd:/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{SYSTEMD}.slice/cri-containerd-{APP}.scope",
        [(UID, APP)],
    ),
    (
        "containerd, systemd, v2, guaranteed",
        f"0::/kubepods.slice/kubepods-pod{SYSTEMD}.slice/cri-containerd-{APP}.scope",
        [(UID, APP)],
    ),
    (
        "containerd, systemd, v2, systemd in the pod",
        f"0::/kubepods.slice/kubepods-pod{SYSTEMD}.slice/cri-containerd-{APP}.scope/init.scope",
        [(UID, APP)],
    ),
    (
        "containerd, told of the wrong driver",
        f"0::/system.slice/containerd.service/kubepods-pod{SYSTEMD}.slice:cri-containerd:{APP}",
        [(UID, APP)],
    ),
    (
        "containerd, systemd, v2, from another cgroup namespace",
        f"0::/../../kubepods-burstable-pod{SYSTEMD}.slice/cri-containerd-{APP}.scope",
        [(UID, APP)],
    ),
    ("containerd, cgroupfs, v2, from another cgroup namespace", f"0::/../../pod{UID}/{APP}", [(UID, APP)]),
    ("containerd, without QoS cgroups of the kubelet's", f"4:memory:/k8s.io/{APP}", [("", APP)]),
    (
        "kind, cgroupfs, v1",
        f"4:memory:/docker/{OTHER}/kubelet/kubepods/burstable/pod{UID}/{APP}",
        [("", OTHER), (UID, APP)],
    ),
    (
        "kind",
        f"0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{SYSTEMD}.slice/cri-containerd-{APP}.scope",
        [(UID, APP)],
    ),
    (
        "CRI-O, systemd",
        f"0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{SYSTEMD}.slice/crio-{APP}.scope",
        [(UID, APP)],
    ),
    (
        "CRI-O, systemd, crun",
        f"0::/kubepods.slice/kubepods-pod{SYSTEMD}.slice/crio-{APP}.scope/container",
        [(UID, APP)],
    ),
    (
        "CRI-O, systemd, its monitor",
        f"0::/kubepods.slice/kubepods-pod{SYSTEMD}.slice/crio-conmon-{APP}.scope",
        [(UID, APP)],
    ),
    ("CRI-O, cgroupfs", f"11:pids:/kubepods/burstable/pod{UID}/crio-{APP}", [(UID, APP)]),
    ("cri-dockerd, systemd", f"0::/kubepods.slice/kubepods-pod{SYSTEMD}.slice/docker-{APP}.scope", [(UID, APP)]),
    ("cri-dockerd, cgroupfs", f"4:memory:/kubepods/besteffort/pod{UID}/{APP}", [(UID, APP)]),
    (
        "a static pod",
        f"0::/kubepods.slice/kubepods-pod{STATIC_UID}.slice/cri-containerd-{APP}.scope",
        [(STATIC_UID, APP)],
    ),
    (
        "a cluster in a pod of another",
        f"4:memory:/kubepods/pod{OTHER_UID}/{OTHER}/kubepods/burstable/pod{UID}/{APP}",
        [(OTHER_UID, OTHER), (UID, APP)],
    ),
    ("the kubelet", "0::/system.slice/kubelet.service", []),
    ("a process of no cgroup", "0::/", []),
    ("a container of nobody's", f"0::/machine.slice/libpod-{APP}.scope", [("", APP)]),
    ("a container in a container", f"4:memory:/kubepods/pod{UID}/{APP}/docker/{OTHER}", [(UID, APP), (UID, OTHER)]),
    ("a pod's own cgroup", f"0::/kubepods/pod{UID}", []),
    ("an id that is too short", f"0::/kubepods/pod{UID}/{APP[:32]}", []),
    ("a name that only looks like a pod", f"0::/kubepods/podcast/{APP}", [("", APP)]),
    ("a name that only ends like a pod", f"0::/kubepods/tripod{UID}/{APP}", [("", APP)]),
    ("an id that is too long", f"0::/kubepods/pod{UID}/{APP}0", []),
]


@pytest.mark.parametrize(("path", "expected"), [row[1:] for row in CGROUPS], ids=[row[0] for row in CGROUPS])
def test_a_cgroup_names_its_pod_and_container(path, expected):
    assert containers_of(path) == expected


# ---------------------------------------------------------------------------------------------------------------------
# A node

HEADER = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
HEADER6 = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
ZEROES = "00000000:00000000 00:00000000 00000000     0        0"
FIB = (
    "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 127.0.0.0\n        /8 host LOCAL\n"
    "     |-- {0}\n        /32 host LOCAL\n     |-- 10.0.0.255\n        /32 link BROADCAST\n"
)


def row(address, port, inode, state="0A"):
    return (
        f"   0: {address}:{port:04X} {'0' * len(address)}:0000 {state} {ZEROES} {inode} 1 0000000000000000 100 0 0 10 0"
    )


def tcp(*rows):
    return "\n".join([HEADER, *rows, ""])


def process(pid, cgroup="0::/", name="sleep", net="4026531840", fds=(), tables=None, ip="10.0.0.5", ip6=None, slots=64):
    """The files of one process; `tables` are tcp and tcp6, where None is a file that is not there."""
    tcp4, tcp6 = tables if isinstance(tables, tuple) else (tables or tcp(), f"{HEADER6}\n")
    files = {
        "cgroup": f"{cgroup}\n",
        "comm": name + "\n",
        "status": f"Name:\tx\nFDSize:\t{slots}\nGroups:\t0\n",
        "ns/net": ("link", f"net:[{net}]"),
        "net/fib_trie": FIB.format(ip),
        "net/tcp": tcp4,
        "net/tcp6": tcp6,
    }
    files["net/if_inet6"] = f"{ip6} 02 40 20 80     eth0\n" if ip6 else ""
    files.update({f"fd/{number}": ("link", target) for number, target in enumerate(("/dev/null", *fds))})
    return {f"{pid}/{path}": content for path, content in files.items() if content is not None}


def ours(container, uid=UID):
    return f"9:misc:/\n8:cpuset:/kubepods/other\n4:memory:/kubepods/burstable/pod{uid}/{container}"


LOCAL = "0100007F"
TABLE = tcp(row(LOCAL, 8080, 501), row("00000000", 9090, 502), row("0500000A", 8080, 503, "01"))
POD_NET = "4026532100"


def in_pod(pid, container=APP, **more):
    return process(pid, **{"cgroup": ours(container), "net": POD_NET, "tables": TABLE, "name": "server", **more})


NODE = [
    process(1, name="systemd", tables=tcp(row("00000000", 22, 401)), fds=["socket:[401]"]),
    process(2, name="kthreadd", tables=("", "")),
]
PLAIN = [
    *NODE,
    in_pod(31, PAUSE, name="pause"),
    in_pod(300, fds=["socket:[501]", "socket:[777]"]),
    in_pod(4000, PROXY, name="envoy", fds=["socket:[502]"]),
]

# Each program once: /bin/sh is one of the others, or a fourth.
SHELLS = {os.path.realpath(path): [path] for path in ("/bin/sh", shutil.which("dash"), shutil.which("bash")) if path}
SHELLS = list(SHELLS.values())
SHELLS += [
    [busybox, "sh"] for busybox in (shutil.which("busybox"), "/bin/busybox") if busybox and os.path.exists(busybox)
][:1]


def lay(root, processes):
    """The files of these processes."""
    folders = set()
    for files in processes:
        for name, content in files.items():
            place = os.path.join(root, name)
            if os.path.dirname(place) not in folders:
                os.makedirs(os.path.dirname(place), exist_ok=True)
                folders.add(os.path.dirname(place))
            if isinstance(content, tuple):
                os.symlink(content[1], place)
            else:
                pathlib.Path(place).write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def look_at(root, shell=("/bin/sh",), path=os.environ["PATH"], seconds="60"):
    """What the script says of a node with these files."""
    done = subprocess.run(
        [*shell, "-c", SCRIPT.replace("/proc", str(root)), "sh", WORD, seconds],
        capture_output=True,
        check=False,
        env={"PATH": path},
        timeout=60,
    )
    return done.stdout.decode("utf-8", "replace").replace(str(root), "/proc")


@pytest.fixture(name="look")
def fixture_look(tmp_path):
    """Runs the script on a node with these processes."""

    def look(processes, *arguments, **more):
        return look_at(lay(tmp_path / f"proc{len(list(tmp_path.iterdir()))}", processes), *arguments, **more)

    return look


def pod(uid=UID, ids=((APP, "app"), (PROXY, "istio-proxy")), name="web-7d4b9-a", **more):
    made = cluster.pod(name, **more)
    made["metadata"]["uid"] = uid
    made["status"]["containerStatuses"] = [
        {"name": each, "containerID": f"containerd://{identity}", "ready": True} for identity, each in ids
    ]
    return made


def step(text, *pods):
    found = list(Node(text, WORD).tables(list(map(cluster.as_read, pods or [pod()]))))
    return found[0] if len(found) == 1 else found


@pytest.mark.parametrize("shell", SHELLS, ids=[pathlib.Path(shell[0]).name + "-".join(shell[1:]) for shell in SHELLS])
def test_one_look_gives_the_table_of_a_pod_and_who_listens(look, shell):
    found = step(look(PLAIN, shell))
    assert found.unread is None
    assert parse("procnet", found.table["stdout"]) == parse("procnet", TABLE + HEADER6)
    assert found.table["holders"] == [
        {"inode": 501, "process": "server", "containerID": APP},
        {"inode": 502, "process": "envoy", "containerID": PROXY},
    ]
    assert (found.table["namespace"], found.table["pod"], found.table["format"]) == ("shop", "web-7d4b9-a", "procnet")


def test_the_command_is_the_script_and_its_word():
    assert command(WORD, 7.5) == ("sh", "-c", SCRIPT, "sh", WORD, "7")


def test_a_kernel_without_ipv6_leaves_the_other_half(look):
    found = step(look([*NODE, in_pod(300, tables=(TABLE, None), fds=["socket:[501]"])]))
    assert [listener.text for listener in parse("procnet", found.table["stdout"]).listeners] == [
        "127.0.0.1:8080",
        "0.0.0.0:9090",
    ]
    assert parse("procnet", found.table["stdout"]).suspect == (
        "The IPv6 half of the table, /proc/net/tcp6, is missing.",
    )


def test_a_pod_with_an_ipv6_address_alone_is_known_by_it(look):
    processes = [*NODE, in_pod(300, ip="127.0.0.1", ip6="fd000000000000000000000000000005")]
    assert step(look(processes), pod(ips=("fd00::5",))).table
    assert step(look(processes), pod(ips=("fd00::6",))).unread


def test_a_process_that_has_ended_meanwhile_does_not_hide_its_pod(look):
    gone = in_pod(30, tables=(None, None))
    assert step(look([*NODE, gone, in_pod(300)])).table


def test_pods_of_one_node_are_told_apart(look):
    other = process(
        77, ours(OTHER, OTHER_UID), "other", "4026532200", ["socket:[501]"], tcp(row(LOCAL, 7000, 501)), "10.0.0.6"
    )
    one, two = step(look([*PLAIN, other]), pod(), pod(OTHER_UID, [(OTHER, "app")], "web-7d4b9-b", ips=("10.0.0.6",)))
    assert [listener.port for listener in parse("procnet", one.table["stdout"]).listeners] == [8080, 9090]
    assert [listener.port for listener in parse("procnet", two.table["stdout"]).listeners] == [7000]
    assert two.table["holders"] == [{"inode": 501, "process": "other", "containerID": OTHER}]


def test_a_static_pod_is_known_by_its_container(look):
    assert step(look([*NODE, in_pod(300, cgroup=ours(APP, STATIC_UID))])).table


def test_without_cgroups_of_pods_a_container_is_enough(look):
    found = step(
        look(
            [
                *NODE,
                in_pod(31, cgroup=f"4:memory:/k8s.io/{PAUSE}"),
                in_pod(300, cgroup=f"4:memory:/k8s.io/{APP}", fds=["socket:[501]"]),
            ]
        )
    )
    assert found.table["holders"] == [{"inode": 501, "process": "server", "containerID": APP}]


def test_a_container_in_a_container_speaks_for_the_outer_one(look):
    nested = in_pod(300, cgroup=f"4:memory:/kubepods/pod{UID}/{APP}/docker/{OTHER}", fds=["socket:[501]"])
    assert step(look([*NODE, nested])).table["holders"] == [{"inode": 501, "process": "server", "containerID": APP}]


def test_a_process_in_a_network_of_its_own_does_not_speak_for_the_pod(look):
    nested = in_pod(299, net="4026532300", tables=tcp(row("00000000", 8080, 9)), ip="172.17.0.2")
    found = step(look([*NODE, nested, in_pod(300)]))
    assert [listener.text for listener in parse("procnet", found.table["stdout"]).listeners] == [
        "127.0.0.1:8080",
        "0.0.0.0:9090",
    ]


def test_processes_of_one_socket_are_all_named_once(look):
    shared = [in_pod(300 + number, name="worker", fds=["socket:[501]"]) for number in range(3)]
    assert step(look([*NODE, *shared, in_pod(400, name="master", fds=["socket:[501]"])])).table["holders"] == [
        {"inode": 501, "process": "master", "containerID": APP},
        {"inode": 501, "process": "worker", "containerID": APP},
    ]


def test_a_pod_on_the_nodes_network_has_the_nodes_table(look):
    listing = tcp(row("00000000", 22, 401), row(LOCAL, 8080, 402))
    processes = [
        process(1, name="systemd", tables=listing, fds=["socket:[401]"]),
        process(300, ours(APP), "server", fds=["socket:[402]"], tables=listing),
    ]
    found = step(look(processes), pod(host_network=True, ips=("192.0.2.1",)))
    assert [listener.text for listener in parse("procnet", found.table["stdout"]).listeners] == [
        "0.0.0.0:22",
        "127.0.0.1:8080",
    ]
    assert found.table["holders"] == [
        {"inode": 401, "process": "systemd"},
        {"inode": 402, "process": "server", "containerID": APP},
    ]


# ---------------------------------------------------------------------------------------------------------------------
# What was not seen is not read

UNSEEN = [
    ("a pod that was replaced", PLAIN, pod(OTHER_UID, [(OTHER, "app")]), "No process of it was seen on node node-1"),
    (
        "a pod of which the sandbox alone is left",
        [*NODE, in_pod(31, PAUSE)],
        pod(),
        "No process of its containers was seen on node node-1",
    ),
    (
        "a pod whose containers were restarted",
        [*NODE, in_pod(31, OTHER)],
        pod(),
        "No process of its containers was seen on node node-1",
    ),
    (
        "a pod of which the API names no container",
        PLAIN,
        pod(ids=()),
        "No process of its containers was seen on node node-1",
    ),
    (
        "gVisor, which takes the address for itself",
        [*NODE, in_pod(31, ip="127.0.0.1")],
        pod(),
        "None of the networks that its processes are in",
    ),
    (
        "a virtual machine, outside of the containers",
        [*NODE, in_pod(31, cgroup=ours("e" * 64), name="qemu")],
        pod(),
        "No process of its containers",
    ),
    (
        "a pod in the node's network that should have its own",
        [*NODE, in_pod(300, net="4026531840")],
        pod(),
        "None of the networks",
    ),
    ("a pod that should be in the node's network", PLAIN, pod(host_network=True), "None of the networks"),
    ("two networks with the pod's address", [*PLAIN, in_pod(5000, net="4026532999")], pod(), "2 of the networks"),
    (
        "a network whose table could not be read",
        [*NODE, in_pod(300, tables=(None, None))],
        pod(),
        "None of the networks",
    ),
]


@pytest.mark.parametrize(
    ("processes", "wanted", "detail"), [case[1:] for case in UNSEEN], ids=[case[0] for case in UNSEEN]
)
def test_a_pod_that_was_not_seen_is_not_read(look, processes, wanted, detail):
    found = step(look(processes), wanted)
    assert found.table is None
    assert (found.unread["pod"], found.unread["reason"]) == ("web-7d4b9-a", "not_seen")
    assert found.unread["detail"].startswith(detail)


# ---------------------------------------------------------------------------------------------------------------------
# Trust


def test_an_answer_that_is_cut_off_anywhere_is_none(look):
    text = look(PLAIN)
    Node(text, WORD)
    for end in range(len(text)):
        with pytest.raises(ProbeError):
            Node(text[:end], WORD)


def test_what_does_not_begin_with_the_word_is_none(look):
    text = look(PLAIN)
    for wrong in ("", "banner\n" + text, text + "more\n", text.replace(f"{WORD} names\n", ""), text + text):
        with pytest.raises(ProbeError, match="cut off"):
            Node(wrong, WORD)
    with pytest.raises(ProbeError, match="cut off"):
        Node(text, "00000000")


@pytest.mark.parametrize("missing", ["ls", "grep"])
def test_a_tool_that_the_image_lacks_is_named(look, tmp_path, missing):
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in {"ls", "grep"} - {missing}:
        (tools / tool).symlink_to(shutil.which(tool))
    with pytest.raises(ProbeError, match=f"^The image of the probe has no {missing}.$"):
        Node(look(PLAIN, path=str(tools)), WORD)


NAMES = [
    b"a\nb",
    b"\x1b[31mred",
    b"\xff\xfe",
    b"x\n/proc/1/comm:y",
    f"{WORD} end".encode()[:15],
    b"",
    b"* ?[a]",
    b"\xe2\x80\xae",
]


@pytest.mark.parametrize(("name", "shell"), list(itertools.product(NAMES, SHELLS)), ids=repr)
def test_the_name_of_a_process_is_text_on_one_line_whatever_it_holds(look, name, shell):
    processes = [*NODE, {**in_pod(300, fds=["socket:[501]"]), "300/comm": name + b"\n"}]
    (held,) = step(look(processes, shell)).table["holders"]
    assert held["process"].isprintable()
    assert held["containerID"] == APP


def test_a_process_cannot_pass_its_socket_off_as_anothers(look):
    lie = "/tmp/x\n/proc/4000/fd:\nlrwx 1 0 0 64 3 -> socket:[501]"
    processes = [
        *PLAIN[:-2],
        in_pod(300, name="liar", fds=[lie, "socket:[501]"]),
        in_pod(4000, PROXY, name="envoy", fds=["socket:[502]"]),
    ]
    found = step(look(processes)).table
    assert not [held for held in found["holders"] if held["process"] == "envoy" and held["inode"] == 501]
    assert len(parse("procnet", found["stdout"]).listeners) == 2


# ---------------------------------------------------------------------------------------------------------------------
# What one container does costs that container. `bad` is a pod beside a good one.

BAD_UID, BAD = "99999999-0000-4000-8000-000000000099", "e" * 63 + "5"


def bad(pid, **more):
    return process(
        pid,
        **{"cgroup": ours(BAD, BAD_UID), "net": "4026532999", "name": "bad", "ip": "10.0.0.9", "tables": TABLE, **more},
    )


def beside(text):
    """What became of the bad pod; the good one is read, with who listens."""
    good, other = step(text, pod(), pod(BAD_UID, ((BAD, "bad-app"),), "bad", ips=("10.0.0.9",)))
    assert {held["process"] for held in good.table["holders"]} == {"server", "envoy"}
    return other


EVIL = {
    "many processes": ([bad(n) for n in range(5000, 5400)], None),
    "its processes ended, and many others": (
        [bad(n, net=str(4026540000 + n)) for n in range(5000, 5400)] + [bad(5999)],
        "Container bad-app has more processes than are looked at: 256, or 1000000 bytes of tables.",
    ),
    "many networks": (
        [bad(n, net=str(4026540000 + n), ip="10.7.7.7") for n in range(5000, 5030)] + [bad(5999)],
        "Container bad-app has more networks than are looked at: 4, or 1000000 bytes of tables.",
    ),
    "many listeners": (
        [bad(5000, tables=tcp(*(row(LOCAL, n, n) for n in range(1, 5000))))],
        "Its network has more than 4000 sockets that listen.",
    ),
    "many connections": ([bad(5000, tables=tcp(row(LOCAL, 8080, 501), *[row(LOCAL, 9, 9, "01")] * 20000))], None),
    "many addresses": (
        [bad(5000, ip="\n        /32 host LOCAL\n     |-- ".join(f"10.8.{n >> 8}.{n & 255}" for n in range(6000)))],
        "None of the networks that its processes are in has its address.",
    ),
    "one socket open many times": ([bad(5000, fds=["socket:[501]"] * 6000)], None),
    "a large table of open files": ([bad(5000, slots=1 << 20, fds=["socket:[501]"])], None),
    "names of open files that look like headers": ([bad(5000, fds=["/tmp/fd:/fd:/fd:"] * 6000)], None),
}


@pytest.fixture(name="evil", scope="module", params=EVIL)
def fixture_evil(request, tmp_path_factory):
    """A node with the bad pod, the same for all shells."""
    processes, detail = EVIL[request.param]
    return lay(tmp_path_factory.mktemp("evil") / "proc", [*PLAIN, *processes]), detail


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: pathlib.Path(shell[0]).name)
def test_what_one_container_does_costs_that_container_and_not_the_node(evil, shell):
    root, detail = evil
    text = look_at(root, shell)
    assert len(text) < 1_500_000
    found = beside(text)
    assert (found.table is None) is (detail is not None)
    assert detail is None or detail in found.unread["detail"]


def test_a_process_with_a_large_table_of_open_files_is_named_and_not_asked(look):
    text = look([*PLAIN, bad(5000, slots=1 << 20, fds=["socket:[501]"])])
    assert "descriptors 5000\n" in text.partition(f"{WORD} cut\n")[2]
    assert "/proc/5000/fd:" not in text


def test_where_the_time_is_over_the_pods_that_were_not_reached_say_so(look):
    uptime = {"uptime": "12345.67 99999.00\n"}
    assert step(look([uptime, *PLAIN])).table
    found = step(look([uptime, *PLAIN], seconds="0"))
    assert found.unread["reason"] == "not_seen"
    assert found.unread["detail"].startswith("The time, or the 10000000 bytes, that the probe")


DUPLICATES = """
import os, socket, sys
one = socket.create_server(("127.0.0.1", 0))
for _number in range(int(sys.argv[1])):
    os.dup(one.fileno())
print(os.fstat(one.fileno()).st_ino, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: pathlib.Path(shell[0]).name)
def test_descriptors_that_real_processes_duplicate_do_not_fill_the_answer(shell):
    """The issue's million made the script print 58 MB; here 12,000, and the lines are counted."""
    several = min(3000, resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 50)
    with contextlib.ExitStack() as stack:
        inodes = set()
        for _process in range(4):
            limits = (several + 50, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
            made = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", DUPLICATES, str(several)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    preexec_fn=lambda limits=limits: resource.setrlimit(resource.RLIMIT_NOFILE, limits),  # noqa: PLW1509
                )
            )
            inodes.add(made.stdout.readline().strip())
        done = subprocess.run([*shell, "-c", SCRIPT, "sh", WORD, "60"], capture_output=True, check=False, timeout=120)
    text = done.stdout.decode("utf-8", "replace")
    Node(text, WORD)
    assert sum(text.count(f" -> socket:[{inode}]\n") for inode in inodes) <= 4000


# ---------------------------------------------------------------------------------------------------------------------
# In the Report


def report(look, processes, *pods, **more):
    tables = [found.table for found in Node(look(processes), WORD).tables(list(map(cluster.as_read, pods)))]
    return evaluate(check(cluster.snapshot(list(pods), tables=tables)), Options(cluster.TODAY, **more))


def test_a_finding_says_which_process_and_container_listen_on_localhost(look):
    judged = report(look, PLAIN, pod())
    assert judged["findings"][0]["processes"] == [
        {"listener": "127.0.0.1:8080", "container": "app", "process": "server"}
    ]
    assert "    listens  127.0.0.1:8080 (server in container app)" in verdict(judged, [])


def test_replicas_with_the_same_process_name_it_once(look):
    again = process(77, ours(OTHER, OTHER_UID), "server", "4026532200", ["socket:[501]"], TABLE, "10.0.0.6")
    (found,) = report(look, [*PLAIN, again], pod(), pod(OTHER_UID, [(OTHER, "app")], "web-7d4b9-b", ips=("10.0.0.6",)))[
        "findings"
    ]
    assert found["pods"] == ["web-7d4b9-a", "web-7d4b9-b"]
    assert found["processes"] == [{"listener": "127.0.0.1:8080", "container": "app", "process": "server"}]


def test_a_process_of_no_container_of_the_pod_has_none(look):
    nobody = [*NODE, in_pod(300), in_pod(301, cgroup="0::/", name="debug", fds=["socket:[501]"])]
    (found,) = report(look, nobody, pod())["findings"]
    assert found["processes"] == [{"listener": "127.0.0.1:8080", "process": "debug"}]


def test_without_a_probe_nothing_is_said_of_processes():
    (found,) = evaluate(cluster.snapshot([cluster.pod()], tables=[cluster.table()]), Options(cluster.TODAY))["findings"]
    assert "processes" not in found


@pytest.mark.parametrize(
    "holder",
    [{"inode": -1, "process": "x"}, {"inode": "1", "process": "x"}, {"inode": 1}, {"inode": 1, "process": 5}],
    ids=repr,
)
def test_a_holder_of_another_shape_is_named(holder):
    table = {**cluster.table(), "holders": [holder]}
    with pytest.raises(SnapshotError, match=r"^socketTables\[0\].holders\[0\]"):
        check(cluster.snapshot([cluster.pod()], tables=[table]))
