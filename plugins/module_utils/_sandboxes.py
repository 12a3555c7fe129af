# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""What a node shows of its pods: the script that a probe runs, and from what it prints to the socket table of each pod.

Pure. The script needs a POSIX shell, `ls` and `grep`, prints what the kernel says, and judges nothing.
"""

from __future__ import annotations

import ipaddress
import re
import typing as t
from collections import defaultdict

from ansible_collections.meshops.istio_precheck.plugins.module_utils._exposure import PodKey, Thing, key, pod_ips
from ansible_collections.meshops.istio_precheck.plugins.module_utils._ladder import Step
from ansible_collections.meshops.istio_precheck.plugins.module_utils._text import printable

SCRIPT = r"""
LC_ALL=C
export LC_ALL
for tool in ls grep; do
  command -v "$tool" >/dev/null 2>&1 || { echo "$1 missing $tool"; exit 4; }
done
IFS='
'
echo "$1 pods"
grep -sH -e ':memory:.*[0-9a-f]\{64\}' -e '^0::.*[0-9a-f]\{64\}' /proc/[0-9]*/cgroup
echo "$1 names"
grep -sH '' /proc/[0-9]*/comm
echo "$1 networks"
links=$(ls -n /proc/[0-9]*/ns/net 2>/dev/null)
printf '%s\n' "$links"
set -f
seen=' '
for link in $links; do
  net=${link##*'-> net:['}
  net=${net%']'}
  case $seen in *" $net "*) continue ;; esac
  of=${link%'/ns/net -> '*}
  of=/proc/${of##*/}/net
  addresses="$of/fib_trie $of/if_inet6"
  [ "$of" != /proc/1/net ] || addresses=
  IFS=' '
  table=$(grep -sh -e local_address -e ' 0A ' -e '|-- ' -e ' host LOCAL' -e '^[0-9a-f]\{32\} ' "$of/tcp" "$of/tcp6" $addresses)
  IFS='
'
  case $table in *local_address*) ;; *) continue ;; esac
  seen="$seen$net "
  printf '%s\n' "$1 table $net" "$table"
done
set +f
echo "$1 sockets"
ls -n /proc/[0-9]*/fd 2>/dev/null | grep -e '^/proc/[0-9]*/fd:$' -e ' socket:\[[0-9]*\]$'
echo "$1 end"
""".lstrip()
"""Its argument is a word that no process on the node can know: each part begins with a line that does, and the last is `end`.

A table is tried with each process of a network until one answers, since processes come and go; from the node's own network (that of process 1,
whose routes may be many) the addresses are left out. Lines of sockets that do not listen stay on the node.
"""

PARTS = ("pods", "names", "networks", "sockets", "end")


def command(word: str) -> tuple[str, ...]:
    """The command that a probe runs; `word` is made of letters and digits, new for each probe."""
    return "sh", "-c", SCRIPT, "sh", word


class ProbeError(ValueError):
    """What a probe printed is not the whole of what it was to print; the text says why."""


# A pod's cgroup, and in it a container's. The kubelet names the former pod<UID>, by systemd with underscores for dashes and behind its parents' names
# (cgroup_manager_linux.go: ToSystemd, escapeSystemdCgroupName; a static pod's UID is a hash without dashes), or makes none (cgroupsPerQOS: false). The
# runtime names the latter by its id: alone (containerd and dockershim with cgroupfs), or as cri-containerd-<id>.scope, crio-<id>[.scope],
# crio-conmon-<id>.scope, docker-<id>.scope; containerd told of the wrong driver leaves "<slice>:cri-containerd:<id>".
_POD = re.compile(r"(?:^|-)pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})(?=$|\.slice|:)")
_CONTAINER = re.compile(r"(?:^|[-:])([0-9a-f]{64})(?=$|\.scope)")
_CGROUP = re.compile(r"^/proc/(\d+)/cgroup:(.*)$", re.MULTILINE)
_NAME = re.compile(r"^/proc/(\d+)/comm:(.*)$", re.MULTILINE)
_NETWORK = re.compile(r" /proc/(\d+)/ns/net -> net:\[(\d+)\]$", re.MULTILINE)
_SOCKET = re.compile(r"^/proc/(\d+)/fd:$| -> socket:\[(\d{1,19})\]$", re.MULTILINE)
_IPV6 = re.compile(r"([0-9a-f]{32}) ")


def containers_of(path: str) -> list[tuple[str, str]]:
    """(pod UID, container id) for each container that a path of /proc/PID/cgroup leads through, outermost first.

    More than one where containers run in containers. The UID is as the API writes it, empty where the path does not name it.
    """
    found = []
    uid = ""
    for part in path.split("/"):
        pod, container = _POD.search(part), _CONTAINER.search(part)
        if pod:
            uid = pod[1].replace("_", "-")
        if container:
            found.append((uid, container[1]))
    return found


def container_ids(pod: Thing) -> dict[str, str]:
    """Names of the pod's containers by id; in the API an id is `RUNTIME://ID`."""
    status = pod.get("status") or {}
    several = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    return {each["containerID"].partition("://")[2]: each["name"] for each in several if each.get("containerID")}


class _Network(t.NamedTuple):
    """A network namespace: its table as text, and its addresses."""

    table: str
    addresses: frozenset[str]


class Node:
    """What a probe saw. Raises ProbeError if that is not whole."""

    def __init__(self, text: str, word: str) -> None:
        before, *rest = re.split(rf"^{re.escape(word)} (.*)\n", text, flags=re.MULTILINE)
        parts = list(zip(rest[::2], rest[1::2]))
        missing = next((name.partition(" ")[2] for name, _body in parts if name.startswith("missing ")), None)
        if missing is not None:
            raise ProbeError(f"The image of the probe has no {missing}.")
        named = {name: body for name, body in parts if not name.startswith("table ")}
        if before or tuple(name for name, _body in parts if not name.startswith("table ")) != PARTS or named["end"]:
            raise ProbeError("What the probe printed is cut off.")
        self._containers: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for pid, path in _CGROUP.findall(named["pods"]):
            self._containers[pid] += containers_of(path)
        self._names: dict[str, str] = {}
        for pid, name in _NAME.findall(named["names"]):
            self._names.setdefault(pid, printable(name))
        self._network_of: dict[str, str] = dict(_NETWORK.findall(named["networks"]))
        self._networks = {name.partition(" ")[2]: _network(body) for name, body in parts if name.startswith("table ")}
        self._holders = _holders(named["sockets"])

    def tables(self, pods: t.Sequence[Thing]) -> t.Iterator[Step]:
        """For each of the node's pods its entry in `socketTables`, or in `unread`."""
        by_uid = {pod["metadata"].get("uid"): key(pod) for pod in pods}
        by_container = {identity: key(pod) for pod in pods for identity in container_ids(pod)}
        processes: dict[PodKey, dict[str, str]] = defaultdict(dict)
        for pid, several in self._containers.items():
            for uid, container in several:
                owner = by_uid.get(uid) or by_container.get(container)
                if owner:
                    processes[owner][pid] = container
                    break
        for pod in pods:
            namespace, name = key(pod)
            network, trouble = self._network(pod, processes[namespace, name])
            if trouble:
                yield Step(unread={"namespace": namespace, "pod": name, "reason": "not_seen", "detail": trouble})
            else:
                table = self._networks[network].table
                yield Step(
                    table={
                        "namespace": namespace,
                        "pod": name,
                        "format": "procnet",
                        "stdout": table,
                        "holders": self._held(network, table, processes[namespace, name]),
                    }
                )

    def _network(self, pod: Thing, processes: t.Mapping[str, str]) -> tuple[str, str]:
        """(network namespace of the pod, why it is not known). `processes` has their containers.

        A process may have left for a namespace of its own, and a sandboxed runtime keeps sockets that this kernel does not see, so it must be the
        one that holds the pod's address, with a process of one of the containers that the API names.
        """
        where = pod["spec"].get("nodeName")
        containers = container_ids(pod)
        networks = {self._network_of[pid] for pid in processes if pid in self._network_of}
        own = self._network_of.get("1")
        if pod["spec"].get("hostNetwork"):
            fitting = networks & {own}
        else:
            addresses = {str(ipaddress.ip_address(ip)) for ip in pod_ips(pod)}
            fitting = {
                network
                for network in networks - {own}
                if network in self._networks and self._networks[network].addresses & addresses
            }
        if not processes:
            return (
                "",
                f"No process of it was seen on node {where}: it was replaced or has ended since, or its runtime is a virtual machine.",
            )
        if len(fitting) != 1:
            return "", f"{len(fitting) or 'None'} of the networks that its processes are in has its address."
        network = fitting.pop()
        if network not in self._networks:
            return "", f"The socket table of node {where} could not be read."
        if not any(
            container in containers and self._network_of.get(pid) == network for pid, container in processes.items()
        ):
            return (
                "",
                f"No process of its containers was seen on node {where}: they do not run or were restarted, or its runtime is a virtual machine.",
            )
        return network, ""

    def _held(self, network: str, table: str, own: t.Mapping[str, str]) -> list[dict[str, t.Any]]:
        """Which processes hold the listening sockets of a table. `own` has the containers of the pod's processes."""
        held = set()
        for row in table.splitlines():
            fields = row.split()
            if len(fields) < 10 or fields[3] != "0A":
                continue
            for pid in self._holders.get(fields[9], ()):
                if self._network_of.get(pid) == network and pid in self._names:
                    container = own.get(pid) or next((identity for _uid, identity in self._containers.get(pid, ())), "")
                    held.add((int(fields[9]), self._names[pid], container))
        return [
            {"inode": inode, "process": process, **({"containerID": container} if container else {})}
            for inode, process, container in sorted(held)
        ]


def _network(body: str) -> _Network:
    """The lines of /proc/net/tcp, tcp6, fib_trie and if_inet6 that the script printed, in this order and told apart by their form."""
    table, addresses, leaf = [], set(), ""
    for line in body.splitlines():
        if "|-- " in line:
            leaf = line.split()[-1]
        elif line.endswith("/32 host LOCAL"):
            addresses.add(leaf)
        elif _IPV6.match(line):
            addresses.add(str(ipaddress.IPv6Address(int(line[:32], 16))))
        elif "LOCAL" not in line:
            table.append(line)
    return _Network("\n".join([*table, ""]), frozenset(addresses))


def _holders(listing: str) -> dict[str, list[str]]:
    """Processes by the inode of a socket that they have open.

    A file's name may hold line feeds, so a process can make up lines. It cannot take another's place: a process listed twice counts for nothing.
    """
    holders: dict[str, list[str]] = defaultdict(list)
    listed: set[str] = set()
    twice: set[str] = set()
    pid = ""
    for header, inode in _SOCKET.findall(listing):
        if header:
            if header in listed:
                twice.add(header)
            listed.add(header)
            pid = header
        else:
            holders[inode].append(pid)
    return (
        {inode: [pid for pid in dict.fromkeys(pids) if pid not in twice] for inode, pids in holders.items()}
        if twice
        else holders
    )
