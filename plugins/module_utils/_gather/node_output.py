# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""What a node shows of its pods: the script that a probe runs, and from what it prints to the socket table of each pod.

Pure. The script needs a POSIX shell, `ls` and a `grep` with -m, prints what the kernel says, and judges nothing.
"""

from __future__ import annotations

import ipaddress
import re
import typing as t
from collections import defaultdict

from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.attempts import Step
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.kube import Pod, PodKey
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.snapshot import HolderRecord
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.text import OutsideTextError, printable

PROCESSES = 256
"""Processes of one container that are looked at."""

NETWORKS = 4
"""Network namespaces of one container whose tables are read; every process may make more of them."""

ROWS = 4000
"""Lines of one file of a network that are read."""

TABLE_BYTES = 1_000_000
"""Bytes of tables that one container may fill."""

ALL_BYTES = 10_000_000
"""Bytes of tables in all; more than MAX_OUTPUT of an exec would be no answer at all."""

DESCRIPTORS = 65536
"""Slots in the table of open files up to which a process is asked what it has open."""

_SCRIPT = r"""
LC_ALL=C
export LC_ALL
word=$1
for tool in ls grep; do
  command -v "$tool" >/dev/null 2>&1 || { echo "$word missing $tool"; exit 4; }
done
lf='
'
cut=
now=0
clock() { read -r now _ 2>/dev/null </proc/uptime; now=${now%%.*}; }
clock
end=$((now + ${2:-60}))
late() { clock; [ "$now" -ge "$end" ]; }
# Calls "$1 FILES..." with /proc/PID$2 for each PID of $pids, some hundred at a time: a command line has an end.
several() {
  batch= ; count=0
  for pid in $pids; do
    batch="$batch /proc/$pid$2"; count=$((count + 1))
    [ $count -lt 300 ] || { $1 $batch; batch= ; count=0; }
  done
  [ -z "$batch" ] || $1 $batch
}
cgroups() { grep -sH -m 9 -e ':memory:.*[0-9a-f]\{64\}' -e '^0::.*[0-9a-f]\{64\}' "$@"; }
names() { grep -sH -m 9 '' "$@"; }
sizes() { grep -sH -m 1 '^FDSize:' "$@"; }
links() { ls -n "$@" 2>/dev/null; }
# The last part of a path that names a container, as $id; `none` otherwise.
container() {
  id=none
  for part in $1; do
    part=${part%.scope}; part=${part##*[-:]}
    case $part in ????????????????????????????????????????????????????????????????) case $part in *[!0-9a-f]*) ;; *) id=$part ;; esac ;; esac
  done
}
echo "$word pods"
pids=
for each in /proc/[0-9]*; do
  pids="$pids ${each##*/}"
done
set -f
found=$(several cgroups /cgroup)
kept= ; old=
IFS=$lf
for line in $found; do
  pid=${line#/proc/}; pid=${pid%%/*}
  IFS=/
  container "$line"
  IFS=$lf
  [ "$pid" = "$old" ] || eval "n_$id=\$((n_$id + 1)); n=\$n_$id"
  old=$pid
  eval "i_$pid=$id"
  if [ "$n" -le @PROCESSES ]; then
    printf '%s\n' "$line"
    case "$kept " in *" $pid ") ;; *) kept="$kept $pid" ;; esac
  elif [ "$n" -eq $((@PROCESSES + 1)) ]; then
    cut="${cut}processes $id$lf"; eval "n_$id=\$((n_$id + 1))"
  fi
done
IFS=' '
# What is in no container is the node's own.
for pid in $pids; do
  eval "id=\${i_$pid:-}"
  [ -n "$id" ] || { kept="$kept $pid"; eval "i_$pid=none"; }
done
pids=$kept
echo "$word names"
several names /comm
echo "$word networks"
all=0
seen=' ' ; own=
found=$(several links /ns/net)
printf '%s\n' "$found"
IFS=$lf
for link in $found; do
  net=${link##*'-> net:['}; net=${net%']'}
  pid=${link%'/ns/net -> '*}; pid=${pid##*/}
  case $pid$net in ''|*[!0-9]*) continue ;; esac
  eval "id=\${i_$pid:-none}; t_$pid=$net"
  [ "$pid" != 1 ] || own=$net
  case $seen in *" $net "*) continue ;; esac
  eval "m=\${m_$id:-0}; b=\${b_$id:-0}"
  if [ "$id" != none ] && { [ "$m" -ge @NETWORKS ] || [ "$b" -ge @TABLE_BYTES ]; }; then
    [ "$m" -ge 1000000 ] || cut="${cut}networks $id$lf"
    eval "m_$id=1000000"
    continue
  fi
  if [ "$all" -ge @ALL_BYTES ] || late; then
    cut="${cut}table $net$lf"
    continue
  fi
  of=/proc/$pid/net
  IFS=' '
  addresses="$of/fib_trie $of/if_inet6"
  [ "$of" != /proc/1/net ] || addresses=
  table=$(grep -sh -m @ROWS -e local_address -e ' 0A ' -e '|-- ' -e ' host LOCAL' -e '^[0-9a-f]\{32\} ' "$of/tcp" "$of/tcp6" $addresses)
  IFS=$lf
  case $table in *local_address*) ;; *) continue ;; esac
  seen="$seen$net "
  all=$((all + ${#table}))
  eval "m_$id=\$((m + 1)); b_$id=\$((b + ${#table}))"
  printf '%s\n' "$word table $net" "$table"
  # The sockets to look for: those that listen.
  want= ; count=0
  for row in $table; do
    case $row in *' 0A '*) ;; *) continue ;; esac
    [ $count -lt 500 ] || break
    count=$((count + 1))
    IFS=' '
    set -- $row
    IFS=$lf
    case ${10} in ''|*[!0-9]*) ;; *) want="$want$lf-> socket:[${10}]" ;; esac
  done
  eval "w_$net=\$want"
done
echo "$word sockets"
IFS=' '
groups=
found=$(several sizes /status)
IFS=$lf
for line in $found; do
  pid=${line#/proc/}; pid=${pid%%/*}; size=${line##*[!0-9]}
  eval "net=\${t_$pid:-}; id=\${i_$pid:-none}"
  [ -n "$net" ] && [ "${size:-0}" -gt 0 ] || continue
  if [ "$size" -gt @DESCRIPTORS ]; then
    cut="${cut}descriptors $pid$lf"
    continue
  fi
  eval "want=\${w_$net:-}; f=\${f_${net}_$id:-}"
  [ -n "$want" ] || continue
  [ -n "$f" ] || groups="$groups ${net}_$id"
  eval "f_${net}_$id=\"\$f /proc/\$pid/fd\""
done
IFS=' '
for each in $groups; do
  if late; then
    cut="${cut}time sockets$lf"
    break
  fi
  eval "f=\$f_$each; want=\$w_${each%%_*}"
  ls -n / $f 2>/dev/null | grep -F -m @ROWS -e "/fd:$want"
done
echo "$word cut"
printf '%s' "$cut"
echo "$word end"
""".lstrip()

SCRIPT = re.sub("@([A-Z_]+)", lambda limit: str(globals()[limit[1]]), _SCRIPT)
"""Its arguments are a word that no process on the node can know, and the seconds that it has. Each part begins with a line that has the word, and
the last is `end`.

What one container's processes do costs that container, not the node: each has its share of processes, networks, bytes and open files, and what is
beyond it is named in the part `cut`. A table is tried with each process of a network until one answers, since processes come and go; from the node's
own network (that of process 1, whose routes may be many) the addresses are left out. Lines of sockets that do not listen stay on the node.
"""

PARTS = ("pods", "names", "networks", "sockets", "cut", "end")


def command(word: str, seconds: float) -> tuple[str, ...]:
    """The command that a probe runs; `word` is made of letters and digits, new for each probe. It takes about `seconds` at most."""
    return "sh", "-c", SCRIPT, "sh", word, str(max(1, int(seconds)))


class ProbeError(OutsideTextError):
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
_HEADER = re.compile(r"/proc/([0-9]+)/fd:\Z")
_IPV6 = re.compile(r"([0-9a-f]{32}) ")
_IPV6_LINE = re.compile(r"^[0-9a-f]{32} ", re.MULTILINE)
_LISTENING = re.compile(r" 0A [0-9A-F:]+ [0-9A-F:]+ [0-9A-F]+ +[0-9]+ +[0-9]+ +([0-9]{1,20})(?![0-9])")
"""The inode of a line of /proc/net/tcp."""


def containers_of(path: str) -> list[tuple[str, str]]:
    """(pod UID, container id) for each container that a path of /proc/PID/cgroup leads through, outermost first.

    More than one where containers run in containers. The UID is as the API writes it, empty where the path does not name it.
    """
    found = []
    uid = ""
    for part in path.split("/"):
        if len(part) < 32:
            continue
        pod, container = _POD.search(part), _CONTAINER.search(part)
        if pod:
            uid = pod[1].replace("_", "-")
        if container:
            found.append((uid, container[1]))
    return found


class _Network(t.NamedTuple):
    """A network namespace: its table as text, its addresses, and whether neither file of the table met the limit."""

    table: str
    addresses: frozenset[str]
    whole: bool


class Node:
    """What a probe saw. Raises ProbeError if that is not whole."""

    def __init__(self, text: str, word: str) -> None:
        before, *rest = f"\n{text}".split(f"\n{word} ")
        parts = [(name, body) for name, _line_feed, body in (part.partition("\n") for part in rest if text[-1] == "\n")]
        missing = next((name.partition(" ")[2] for name, _body in parts if name.startswith("missing ")), None)
        if missing is not None:
            raise ProbeError(f"The image of the probe has no {missing}.")
        named = {name: body for name, body in parts if not name.startswith("table ")}
        if before or tuple(name for name, _body in parts if not name.startswith("table ")) != PARTS or named["end"]:
            raise ProbeError("What the probe printed is cut off.")
        self._containers: dict[str, list[tuple[str, str]]] = defaultdict(list)
        known: dict[str, list[tuple[str, str]]] = {}
        for pid, path in _CGROUP.findall(named["pods"]):
            if path not in known:
                known[path] = containers_of(path)
            self._containers[pid] += known[path]
        self._names: dict[str, str] = {}
        for pid, name in _NAME.findall(named["names"]):
            self._names.setdefault(pid, printable(name))
        self._network_of: dict[str, str] = dict(_NETWORK.findall(named["networks"]))
        self._networks = {name.partition(" ")[2]: _network(body) for name, body in parts if name.startswith("table ")}
        self._holders = _holders(named["sockets"])
        self._cut = {tuple(line.split(" ", 1)) for line in named["cut"].splitlines()}

    def tables(self, pods: t.Sequence[Pod]) -> t.Iterator[Step]:
        """For each of the node's pods its entry in `socketTables`, or in `unread`."""
        by_uid = {pod.uid: pod.key for pod in pods}
        by_container = {identity: pod.key for pod in pods for identity in pod.container_ids()}
        processes: dict[PodKey, dict[str, str]] = defaultdict(dict)
        for pid, several in self._containers.items():
            for uid, container in several:
                owner = by_uid.get(uid) or by_container.get(container)
                if owner:
                    processes[owner][pid] = container
                    break
        for pod in pods:
            namespace, name = pod.key
            network, trouble = self._network(pod, processes[namespace, name])
            if trouble:
                detail = f"{trouble}{self._cut_of(pod)}"
                yield Step(unread={"namespace": namespace, "pod": name, "reason": "not_seen", "detail": detail})
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

    def _cut_of(self, pod: Pod) -> str:
        """What was too much in the pod's containers to be looked at, as a sentence."""
        limits = {"processes": PROCESSES, "networks": NETWORKS}
        return "".join(
            f" Container {name} has more {what} than are looked at: {limits[what]}, or {TABLE_BYTES} bytes of tables."
            for container, name in sorted(pod.container_ids().items())
            for what in limits
            if (what, container) in self._cut
        )

    def _network(self, pod: Pod, processes: t.Mapping[str, str]) -> tuple[str, str]:
        """(network namespace of the pod, why it is not known). `processes` has their containers.

        A process may have left for a namespace of its own, and a sandboxed runtime keeps sockets that this kernel does not see, so it must be the
        one that holds the pod's address, with a process of one of the containers that the API names.
        """
        where = pod.node
        containers = pod.container_ids()
        networks = {self._network_of[pid] for pid in processes if pid in self._network_of}
        own = self._network_of.get("1")
        if pod.host_network:
            fitting = networks & {own}
        else:
            addresses = {str(ipaddress.ip_address(ip)) for ip in pod.ips}
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
        if not fitting and any(("table", network) in self._cut for network in networks):
            return "", f"The time, or the {ALL_BYTES} bytes, that the probe on node {where} has were over."
        if len(fitting) != 1:
            return "", f"{len(fitting) or 'None'} of the networks that its processes are in has its address."
        network = fitting.pop()
        if network not in self._networks:
            return "", f"The socket table of node {where} could not be read."
        if self._networks[network].whole is False:
            return "", f"Its network has more than {ROWS} sockets that listen."
        if not any(
            container in containers and self._network_of.get(pid) == network for pid, container in processes.items()
        ):
            return (
                "",
                f"No process of its containers was seen on node {where}: they do not run or were restarted, or its runtime is a virtual machine.",
            )
        return network, ""

    def _held(self, network: str, table: str, own: t.Mapping[str, str]) -> list[HolderRecord]:
        """Which processes hold the listening sockets of a table. `own` has the containers of the pod's processes."""
        held = set()
        for inode in _LISTENING.findall(table):
            for pid in self._holders.get(inode, ()):
                if self._network_of.get(pid) == network and pid in self._names:
                    container = own.get(pid) or next((identity for _uid, identity in self._containers.get(pid, ())), "")
                    held.add((int(inode), self._names[pid], container))
        return [
            {"inode": inode, "process": process, **({"containerID": container} if container else {})}
            for inode, process, container in sorted(held)
        ]


def _network(body: str) -> _Network:
    """The lines of /proc/net/tcp, tcp6, fib_trie and if_inet6 that the script printed, in this order and told apart by their form."""
    found = _IPV6_LINE.search(body)
    ends = {body.find("|-- "), body.find("LOCAL"), found.start() if found else -1} - {-1}
    start = body.rfind("\n", 0, min(ends)) + 1 if ends else len(body)
    rows, addresses, leaf = body[:start].rstrip("\n"), set(), ""
    table = [rows] if rows else []
    for line in body[start:].splitlines():
        if "|-- " in line:
            leaf = line.split()[-1]
        elif line.endswith("/32 host LOCAL"):
            addresses.add(leaf)
        elif _IPV6.match(line):
            addresses.add(str(ipaddress.IPv6Address(int(line[:32], 16))))
        elif "LOCAL" not in line:
            table.append(line)
    text = "\n".join([*table, ""])
    return _Network(text, frozenset(addresses), text.count("\n") < ROWS or _is_whole(text.splitlines()))


def _is_whole(table: t.Sequence[str]) -> bool:
    heads = [number for number, line in enumerate(table) if "local_address" in line] + [len(table)]
    return all(after - before < ROWS for before, after in zip(heads, heads[1:]))


def _holders(listing: str) -> dict[str, list[str]]:
    """Processes by the inode of a socket that they have open.

    A file's name may hold line feeds, so a process can make up lines. It cannot take another's place: a process listed twice counts for nothing.
    """
    holders: dict[str, list[str]] = defaultdict(list)
    listed: set[str] = set()
    twice: set[str] = set()
    pid = ""
    for line in listing.split("\n"):
        _name, arrow, inode = line.rpartition(" -> socket:[")
        if arrow:
            if inode[:-1].isdecimal() and inode[-1] == "]":
                holders[inode[:-1]].append(pid)
            continue
        header = _HEADER.match(line)
        if header:
            pid = header[1]
            if pid in listed:
                twice.add(pid)
            listed.add(pid)
    return (
        {inode: [pid for pid in dict.fromkeys(pids) if pid not in twice] for inode, pids in holders.items()}
        if twice
        else holders
    )
