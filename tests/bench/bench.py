# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the check costs, as ratios from one run, in the two tables of docs/scale.md.

The cluster is that of tests/scale: a real API server, thousands of objects, and kubelets that answer at once, or as slowly as a row says.
What is compared takes turns, so that what else the machine does hits both alike; a row has the median of its runs, and how far they went apart.
"A further pod" is what one more pod adds, so that starting Ansible does not hide the difference.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
import typing as t

import fleet
import harness
from table import GROWTH_HEAD, HEAD, ROWS, Cost, Measured, growth, median_cost, noise

from ansible_collections.meshops.istio_precheck.tests.helpers.playing import environment, tool

HERE = pathlib.Path(__file__).resolve().parent

PARTS = ("small", "empty", "floor", "lists", "offline", "files", "proxies", "size", "loops")
EMPTY, FEW = "empty", "few"
FOR_KUBECTL, FOR_LOOPS = 50, 3
"""Pods for what takes a process, or a task, a pod."""
FILES = 222
BEYOND = 100_000

LISTS = [
    "/api/v1/services",
    "/api/v1/pods",
    "/api/v1/replicationcontrollers",
    "/apis/apps/v1/replicasets",
    "/apis/apps/v1/statefulsets",
    "/apis/apps/v1/daemonsets",
    "/apis/batch/v1/jobs",
    "/apis/discovery.k8s.io/v1/endpointslices",
    "/apis/networking.istio.io/v1beta1/sidecars",
]
"""What the module lists."""

Task = dict[str, t.Any]


class Process(t.NamedTuple):
    """What a process printed, and what it took with all that it started."""

    stdout: str
    seconds: float
    cpu: float


def process(command: t.Sequence[str], env: t.Mapping[str, str], given: str = "") -> Process:
    with tempfile.TemporaryFile("w+") as stdin, tempfile.TemporaryFile("w+") as stdout:
        stdin.write(given)
        stdin.seek(0)
        began = time.monotonic()
        started = subprocess.Popen(command, env=dict(env), stdin=stdin, stdout=stdout, stderr=subprocess.STDOUT)
        _pid, ended, usage = os.wait4(started.pid, 0)
        seconds = time.monotonic() - began
        started.returncode = os.waitstatus_to_exitcode(ended)
        stdout.seek(0)
        printed = stdout.read()
    if started.returncode:
        raise RuntimeError(printed)
    return Process(printed, seconds, usage.ru_utime + usage.ru_stime)


class Bench:
    def __init__(self, cluster: harness.LargeCluster, repeats: int, concurrency: int) -> None:
        self.cluster, self.repeats, self.concurrency = cluster, repeats, concurrency
        self.first = cluster.fleet.namespaces[0]
        self.pods = [(pod.namespace, pod.name) for pod in cluster.fleet.pods()][: fleet.PODS_IN_NAMESPACE]
        self.rows: dict[str, Measured] = {}
        self.growth: list[str] = []

    def row(self, name: str, values: t.Iterable[float], yardstick: t.Sequence[float] = ()) -> None:
        self.rows[name] = Measured(ROWS[name], tuple(values), noise(yardstick) if yardstick else None)
        print(self.rows[name], file=sys.stderr, flush=True)

    def ratios(self, name: str, ours: t.Sequence[float], yardstick: t.Sequence[float]) -> None:
        """Run by run."""
        self.row(name, [one / other for one, other in zip(ours, yardstick)], yardstick)

    # --- what runs ---

    def module(self, **options: t.Any) -> harness.Ran:
        ran = harness.run_module(
            self.cluster, **{"concurrency": self.concurrency, "delivery_source": "rule", **options}
        )  # what proxies cost depends on what is found
        if ran.code or ran.result["unchecked"]:
            raise RuntimeError(
                f"the module did not read all pods: {ran.result.get('msg') or ran.result['unchecked'][:3]}"
            )
        return ran

    def bare_process(self, what: str, *arguments: str, lines: t.Iterable[t.Sequence[str]] = ()) -> Process:
        command = [sys.executable, str(HERE / "bare.py"), what, str(self.cluster.kubeconfig), *arguments]
        return process(command, harness.environment(), "".join(f"{' '.join(line)}\n" for line in lines))

    def bare(self, what: str, *arguments: str, lines: t.Iterable[t.Sequence[str]] = ()) -> dict[str, t.Any]:
        return json.loads(self.bare_process(what, *arguments, lines=lines).stdout.splitlines()[-1])

    def kubectl(self, pods: t.Sequence[tuple[str, str]]) -> float:
        """Seconds of an xargs loop over `kubectl exec`."""
        exec_one = '"$0" --kubeconfig "$1" exec -n "$2" -c istio-proxy "$3" -- ss -ltnH >/dev/null'
        command = ["xargs", "-P", str(self.concurrency), "-n", "2", "sh", "-c", exec_one]
        command += [str(self.cluster.kubectl), str(self.cluster.kubeconfig)]
        return process(command, os.environ, "".join(f"{namespace} {name}\n" for namespace, name in pods)).seconds

    def gate(self, **variables: t.Any) -> Process:
        """The playbook, as a user calls it. Fails if the gate is shut."""
        with tempfile.TemporaryDirectory(prefix="istio-precheck-bench-") as scratch:
            given = pathlib.Path(scratch, "variables.json")
            named = {f"check_listeners_{name}": value for name, value in variables.items()}
            given.write_text(json.dumps(named), "utf-8")
            return process(
                [tool("ansible-playbook"), "meshops.istio_precheck.check_listeners", "-e", f"@{given}"], self.env()
            )

    def play(self, *tasks: Task) -> float:
        """Seconds that a whole ansible-playbook takes for these tasks."""
        with tempfile.TemporaryDirectory(prefix="istio-precheck-bench-") as scratch:
            book = pathlib.Path(scratch, "play.json")
            book.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": list(tasks)}]), "utf-8")
            return process([tool("ansible-playbook"), str(book)], self.env()).seconds

    def env(self) -> dict[str, str]:
        """As a user has it: without the callback of the tests, and on a terminal that is no terminal."""
        kept = environment(ANSIBLE_COLLECTIONS_PATH=str(harness.TREE))
        return {name: value for name, value in kept.items() if "CALLBACK" not in name and name != "KEEP_FACTS"}

    def auth(self) -> dict[str, str]:
        return {"kubeconfig": str(self.cluster.kubeconfig)}

    def in_turn(self, *ways: t.Callable[[], t.Any]) -> list[list[t.Any]]:
        """What each way gave, run by run."""
        runs: list[list[t.Any]] = [[] for _way in ways]
        for _repeat in range(self.repeats):
            for way, found in zip(ways, runs):
                found.append(way())
        return runs

    # --- the rows ---

    def small(self) -> None:
        """A small cluster, with kubelets as fast as real ones: 100 ms a command."""
        self.cluster.kubelets(delay=0.1)
        pods = [(pod.namespace, pod.name) for pod in self.cluster.fleet.small()]
        gate, floor = self.in_turn(
            lambda: self.gate(**self.auth(), namespaces=[fleet.SMALL], fail_on=[], target_version=fleet.TO),
            lambda: self.bare_process("istioctl", lines=pods),
        )
        self.cluster.kubelets()
        if {json.loads(run.stdout.splitlines()[-1])["count"] for run in floor} != {len(pods)}:
            raise RuntimeError("istioctl's part did not read every pod")
        self.ratios("playbook wall", [run.seconds for run in gate], [run.seconds for run in floor])
        self.ratios("playbook cpu", [run.cpu for run in gate], [run.cpu for run in floor])

    def empty(self) -> None:
        info = {"kubernetes.core.k8s_info": {**self.auth(), "kind": "Pod", "namespace": EMPTY}}
        gate, one_task = self.in_turn(lambda: self.gate(**self.auth(), namespaces=[EMPTY]), lambda: self.play(info))
        self.row("empty", [ours.seconds - theirs for ours, theirs in zip(gate, one_task)], one_task)
        self.row("tasks", [sum(line.startswith("TASK [") for line in run.stdout.splitlines()) for run in gate])

    def floor(self) -> None:
        ours, floor, kubectl = self.in_turn(
            lambda: self.module(namespaces=[self.first]),
            lambda: self.bare("exec", str(self.concurrency), lines=self.pods),
            lambda: self.kubectl(self.pods[:FOR_KUBECTL]),
        )
        if {ran.execs for ran in ours} != {len(self.pods)} or {run["count"] for run in floor} != {len(self.pods)}:
            raise RuntimeError("not every pod was read")
        self.ratios("execs", [ran.exec_seconds for ran in ours], [run["seconds"] for run in floor])
        self.ratios("execs cpu", [ran.exec_cpu for ran in ours], [run["cpu"] for run in floor])
        whole = [ran.seconds / len(self.pods) for ran in ours]
        self.ratios("kubectl", [seconds / FOR_KUBECTL for seconds in kubectl], whole)

    def lists(self) -> None:
        ours, theirs = self.in_turn(
            lambda: self.module(canned=True, exclude_namespaces=[EMPTY, FEW, fleet.SMALL]),
            lambda: self.bare("fetch", *LISTS),
        )
        seconds = [sum(ran.result["summary"]["seconds"].values()) for ran in ours]
        self.ratios("lists", seconds, [run["seconds"] for run in theirs])

    def offline(self) -> None:
        """Reading, checking and judging a recorded cluster: the CPU of the process beyond that for an empty namespace."""
        with tempfile.TemporaryDirectory(prefix="istio-precheck-bench-") as scratch:
            whole, nothing = (str(pathlib.Path(scratch, name)) for name in ("whole.json", "nothing.json"))
            self.module(canned=True, exclude_namespaces=[EMPTY, FEW, fleet.SMALL], snapshot_dest=whole)
            self.module(namespaces=[EMPTY], snapshot_dest=nothing)
            ours, start, theirs = self.in_turn(
                lambda: self.module(snapshot_src=whole, exclude_namespaces=[EMPTY, FEW, fleet.SMALL]),
                lambda: self.module(snapshot_src=nothing, namespaces=[EMPTY]),
                lambda: self.bare("loads", whole),
            )
        cpu = [ran.cpu - begin.cpu for ran, begin in zip(ours, start)]
        self.ratios("offline", cpu, [run["cpu"] for run in theirs])

    def files(self) -> None:
        """One pod of each of so many Services listens on localhost in a record, whatever it does in the cluster."""
        with tempfile.TemporaryDirectory(prefix="istio-precheck-bench-") as scratch:
            record, there = pathlib.Path(scratch, "record.json"), pathlib.Path(scratch, "sidecars")
            named = self.cluster.fleet.namespaces[: -(-FILES * fleet.REPLICAS // fleet.PODS_IN_NAMESPACE)]
            self.module(canned=True, namespaces=named, replicas="one", snapshot_dest=str(record))
            record.write_text(json.dumps(on_localhost(json.loads(record.read_text("utf-8")), FILES)), "utf-8")

            def gate(**more: t.Any) -> Process:
                return self.gate(
                    snapshot_src=str(record),
                    namespaces=named,
                    replicas="one",
                    fail_on=[],
                    target_version=fleet.TO,
                    **more,
                )

            def write() -> Process:
                done = gate(remediation_dir=str(there))
                found = sorted(there.rglob("*.yaml"))
                if len(found) != FILES:
                    raise RuntimeError(f"wanted {FILES} files, found {len(found)}: {done.stdout}")
                for path in found:
                    path.unlink()
                return done

            written, without = self.in_turn(write, gate)
        base = [run.seconds for run in without]
        self.row("files", [run.seconds - other for run, other in zip(written, base)], base)

    def proxies(self) -> None:
        """Both times are of one process, so that nothing comes between them."""
        [runs] = self.in_turn(lambda: self.module(namespaces=self.cluster.fleet.namespaces[:2], delivery_source="auto"))
        wanted = sum(len(finding["pods"]) for finding in runs[0].result["findings"])
        if {ran.asked for ran in runs} != {wanted} or not wanted:
            raise RuntimeError(f"wanted {wanted} proxies to be asked, found {[ran.asked for ran in runs]}")
        read = runs[0].result["summary"]["pods_read"]
        reading = [ran.reading_seconds / read for ran in runs]
        self.ratios("proxies", [ran.asking_seconds / wanted for ran in runs], reading)
        self.row("proxies not asked", [ran.execs - read - wanted for ran in runs])

    def size(self) -> None:
        """Time and memory by size, and by node against by exec: of the kubelets, each command takes 20 ms, and a probe a second to start."""
        of_fleet = self.cluster.fleet
        by_node = {"socket_source": "node", "node_probe_image": "any"}
        everything = {"exclude_namespaces": [EMPTY, FEW, fleet.SMALL]}
        self.cluster.kubelets(delay=0.02, start_delay=1)
        nothing, small, small_node, thousand, thousand_node, two, whole, whole_node, probes = self.in_turn(
            lambda: self.module(namespaces=[EMPTY]),
            lambda: self.module(namespaces=[fleet.SMALL]),
            lambda: self.module(namespaces=[fleet.SMALL], **by_node),
            lambda: self.module(namespaces=[self.first]),
            lambda: self.module(namespaces=[self.first], **by_node),
            lambda: self.module(namespaces=of_fleet.namespaces[:2]),
            lambda: self.module(**everything),
            lambda: self.module(**everything, **by_node),
            lambda: self.bare("probes", str(self.concurrency), lines=[(node,) for node in of_fleet.nodes]),
        )
        self.cluster.kubelets()
        self.row("memory", [ran.peak_mb for ran in whole])
        self.ratios("memory growth", [ran.peak_mb for ran in whole], [ran.peak_mb for ran in two])
        by_exec, reading = ([ran.reading_seconds for ran in runs] for runs in (whole, whole_node))
        self.row("node", [one / other for one, other in zip(by_exec, reading)], by_exec)
        runs = list(zip(whole, whole_node))
        self.row("node whole", [one.seconds / other.seconds for one, other in runs], [one.seconds for one in whole])
        self.ratios("node floor", reading, [run["seconds"] for run in probes])
        self.row("node execs", [ran.execs / len(of_fleet.nodes) for ran in whole_node])
        few, many = len(self.pods), of_fleet.size
        each = [(begin.seconds, one.seconds, all_.seconds) for begin, one, all_ in zip(nothing, thousand, whole)]
        first = [(one - begin) / few for begin, one, _all in each]
        self.ratios("further", [(all_ - one) / (many - few) for _begin, one, all_ in each], first)
        sizes = [(fleet.SMALL_PODS, small, small_node), (few, thousand, thousand_node), (many, whole, whole_node)]
        modes = {
            mode: [
                median_cost([Cost(pods, ran.requests, ran.seconds, ran.peak_mb) for ran in runs])
                for pods, runs in sized
            ]
            for mode, sized in (
                ("exec", [(pods, by_exec) for pods, by_exec, _node in sizes]),
                ("node", [(pods, by_node) for pods, _exec, by_node in sizes]),
            )
        }
        self.growth = growth(modes, BEYOND)

    def loops(self) -> None:
        pods = [{"namespace": namespace, "pod": name} for namespace, name in self.pods[:FOR_LOOPS]]
        command = {
            **self.auth(),
            "namespace": "{{ item.namespace }}",
            "pod": "{{ item.pod }}",
            "container": "istio-proxy",
            "command": "ss -ltnH",
        }

        def loop(number: int) -> Task:
            return {"kubernetes.core.k8s_exec": command, "loop": pods[:number]}

        def module(namespace: str) -> Task:
            return {"meshops.istio_precheck.localhost_listener_info": {**self.auth(), "namespaces": [namespace]}}

        def role(namespace: str) -> float:
            return self.gate(**self.auth(), fail_on=[], namespaces=[namespace], gather_with="k8s_exec").seconds

        runs = self.in_turn(
            lambda: self.play(module(EMPTY)),
            lambda: self.play(module(self.first)),
            lambda: self.play(loop(1)),
            lambda: self.play(loop(FOR_LOOPS)),
            lambda: role(EMPTY),
            lambda: role(FEW),
        )

        def further(few: list[float], many: list[float], between: int) -> list[float]:
            return [(more - less) / between for less, more in zip(few, many)]

        ours = further(runs[0], runs[1], len(self.pods))
        self.ratios("k8s_exec", further(runs[2], runs[3], FOR_LOOPS - 1), ours)
        self.ratios("role k8s_exec", further(runs[4], runs[5], FOR_LOOPS), ours)


def on_localhost(record: dict[str, t.Any], services: int) -> dict[str, t.Any]:
    """The record with one pod of each of so many Services, all of which listen on localhost."""
    wanted = {fleet.service_name(number) for number in range(services)}
    tables = {}
    for table in record["socketTables"]:
        service = table["pod"][: len("svc-0000")]
        if service in wanted:
            table["stdout"] = table["stdout"].replace(f"0.0.0.0:{fleet.APP_PORT}", f"127.0.0.1:{fleet.APP_PORT}")
            tables[table["namespace"], table["pod"]] = table
    pods = [pod for pod in record["pods"] if (pod["metadata"]["namespace"], pod["metadata"]["name"]) in tables]
    return {**record, "pods": pods, "socketTables": list(tables.values())}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pods", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--only", nargs="*", metavar="PART", choices=PARTS, help=" ".join(PARTS))
    options = parser.parse_args()
    with harness.large_cluster(options.pods) as cluster:
        for namespace in (EMPTY, FEW):
            cluster.create(fleet.namespace(namespace))
        cluster.create(fleet.service(FEW, FEW))
        for number in range(FOR_LOOPS):
            cluster.run_pod(
                fleet.Pod(FEW, f"{FEW}-{number}", FEW, cluster.fleet.nodes[number], f"10.97.0.{number + 1}")
            )
        cluster.populate_small()
        bench = Bench(cluster, options.repeats, options.concurrency)
        bench.module(namespaces=[bench.first])  # the first contact fills caches for all that follow
        failed = []
        for part in options.only or PARTS:
            began = time.monotonic()
            try:
                getattr(bench, part)()
            except (
                RuntimeError,
                AssertionError,
                subprocess.SubprocessError,
                statistics.StatisticsError,
            ) as error:  # the other parts' rows are still worth having
                failed.append(f"{part}: {str(error)[-1500:]}")
                print(failed[-1], file=sys.stderr, flush=True)
            print(f"{part}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    print(
        f"\n{os.cpu_count()} cores; {cluster.fleet.size:,} pods in {cluster.fleet.services} Services on"
        f" {len(cluster.fleet.nodes)} nodes; concurrency {options.concurrency}; {options.repeats} runs of each.\n"
    )
    print(HEAD)
    print("\n".join(str(bench.rows[name]) for name in ROWS if name in bench.rows))
    if bench.growth:
        print("\n".join(["", GROWTH_HEAD, *bench.growth]))
    if failed:
        print("\nNot measured: " + "; ".join(failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
