# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the check costs on a large cluster, as ratios from one run, in one table.

The cluster is that of tests/scale: a real API server, thousands of objects, and kubelets that answer at once. What is compared runs
in turn, and the best of its runs counts. "A further pod" is what one more pod adds, so that starting Ansible does not hide the difference.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import typing as t

import fleet
import harness

from ansible_collections.meshops.istio_precheck.tests.helpers.playing import environment, tool

HERE = pathlib.Path(__file__).resolve().parent

PARTS = ("floor", "node", "lists", "offline", "size", "plays")
EMPTY, FEW = "empty", "few"
FOR_KUBECTL, FOR_LOOPS = 200, 10
"""Pods for what takes a process, or a task, a pod."""

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


class Row(t.NamedTuple):
    what: str
    reached: float
    form: str
    most: float | None = None
    least: float | None = None

    def __str__(self) -> str:
        missed = (
            self.most is not None and self.reached > self.most or self.least is not None and self.reached < self.least
        )
        target = (
            f"at most {self.form.format(self.most)}"
            if self.most is not None
            else f"at least {self.form.format(self.least)}"
            if self.least
            else ""
        )
        return f"| {self.what} | {self.form.format(self.reached)} | {target}{', missed' if missed else ''} |"


class Bench:
    def __init__(self, cluster: harness.LargeCluster, repeats: int, concurrency: int) -> None:
        self.cluster, self.repeats, self.concurrency = cluster, repeats, concurrency
        self.first = cluster.fleet.namespaces[0]
        self.pods = [(pod.namespace, pod.name) for pod in cluster.fleet.pods()][: fleet.PODS_IN_NAMESPACE]
        self.rows: list[Row] = []

    def row(self, what: str, reached: float, form: str, **target: float) -> None:
        self.rows.append(Row(what, reached, form, **target))
        print(self.rows[-1], file=sys.stderr, flush=True)

    # --- what runs ---

    def module(self, **options: t.Any) -> harness.Ran:
        ran = harness.run_module(
            self.cluster, concurrency=self.concurrency, delivery_source="rule", **options
        )  # what proxies cost depends on what is found
        if ran.code or ran.result["unchecked"]:
            raise RuntimeError(
                f"the module did not read all pods: {ran.result.get('msg') or ran.result['unchecked'][:3]}"
            )
        return ran

    def bare(self, what: str, *arguments: str, pods: t.Sequence[tuple[str, str]] = ()) -> dict[str, t.Any]:
        command = [sys.executable, str(HERE / "bare.py"), what, str(self.cluster.kubeconfig), *arguments]
        given = "".join(f"{namespace} {name}\n" for namespace, name in pods)
        done = subprocess.run(
            command, input=given, env=harness.environment(), stdout=subprocess.PIPE, text=True, check=True
        )
        return json.loads(done.stdout)

    def kubectl(self, pods: t.Sequence[tuple[str, str]]) -> float:
        """Seconds of an xargs loop over `kubectl exec`."""
        exec_one = '"$0" --kubeconfig "$1" exec -n "$2" -c istio-proxy "$3" -- ss -ltnH >/dev/null'
        command = [
            "xargs",
            "-P",
            str(self.concurrency),
            "-n",
            "2",
            "sh",
            "-c",
            exec_one,
            str(self.cluster.kubectl),
            str(self.cluster.kubeconfig),
        ]
        began = time.monotonic()
        subprocess.run(
            command, input="".join(f"{namespace} {name}\n" for namespace, name in pods), text=True, check=True
        )
        return time.monotonic() - began

    def play(self, *tasks: Task) -> float:
        """Seconds that a whole ansible-playbook takes for these tasks."""
        with tempfile.TemporaryDirectory(prefix="istio-precheck-bench-") as scratch:
            book = pathlib.Path(scratch, "play.json")
            book.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": list(tasks)}]), "utf-8")
            env = environment(KEEP_FACTS=os.devnull, ANSIBLE_COLLECTIONS_PATH=str(harness.TREE))
            began = time.monotonic()
            done = subprocess.run(
                [tool("ansible-playbook"), str(book)],
                env=env,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                raise RuntimeError(done.stdout + done.stderr)
            return time.monotonic() - began

    def in_turn(self, *ways: t.Callable[[], t.Any], repeats: int = 0) -> list[list[t.Any]]:
        """What each way gave, run by run; they take turns, so that what else the machine does hits them alike."""
        runs: list[list[t.Any]] = [[] for _way in ways]
        for _repeat in range(repeats or self.repeats):
            for way, found in zip(ways, runs):
                found.append(way())
        return runs

    # --- the rows ---

    def floor(self) -> None:
        ours, floor = self.in_turn(
            lambda: self.module(namespaces=[self.first]),
            lambda: self.bare("exec", str(self.concurrency), pods=self.pods),
        )
        if {ran.execs for ran in ours} != {len(self.pods)} or {run["count"] for run in floor} != {len(self.pods)}:
            raise RuntimeError("not every pod was read")
        seconds = min(ran.exec_seconds for ran in ours) / min(run["seconds"] for run in floor)
        cpu = min(ran.exec_cpu for ran in ours) / min(run["cpu"] for run in floor)
        self.row("wall time of 1,000 execs / a bare loop of the same", seconds, "{:.2f}", most=1.15)
        self.row("CPU of the module per exec / of the bare loop", cpu, "{:.2f}", most=1.3)
        loop = self.kubectl(self.pods[:FOR_KUBECTL]) / FOR_KUBECTL
        whole = min(ran.seconds for ran in ours) / len(self.pods)
        self.row(
            f"`xargs -P {self.concurrency}` over `kubectl exec`, a pod / the whole module's run over 1,000, a pod",
            loop / whole,
            "{:.1f}",
            least=3,
        )

    def lists(self) -> None:
        ours, theirs = self.in_turn(lambda: self.module(canned=True), lambda: self.bare("fetch", *LISTS))
        seconds = min(sum(ran.result["summary"]["seconds"].values()) for ran in ours)
        what = f"list and evaluate {self.cluster.fleet.size:,} pods, no exec / fetch and `json.loads` the pages"
        self.row(what, seconds / min(run["seconds"] for run in theirs), "{:.2f}", most=1.3)

    def offline(self) -> None:
        """Reading, checking and judging a recorded cluster: the CPU of the process beyond that for an empty namespace."""
        with tempfile.TemporaryDirectory(prefix="istio-precheck-bench-") as scratch:
            whole, nothing = (str(pathlib.Path(scratch, name)) for name in ("whole.json", "nothing.json"))
            self.module(canned=True, snapshot_dest=whole)
            self.module(namespaces=[EMPTY], snapshot_dest=nothing)
            ours, start, theirs = self.in_turn(
                lambda: self.module(snapshot_src=whole),
                lambda: self.module(snapshot_src=nothing, namespaces=[EMPTY]),
                lambda: self.bare("loads", whole),
            )
        cpu = min(ran.cpu for ran in ours) - min(ran.cpu for ran in start)
        what = f"evaluate a recorded cluster of {self.cluster.fleet.size:,} pods, CPU / `json.loads` of the file"
        self.row(what, cpu / min(run["cpu"] for run in theirs), "{:.1f}", most=6)

    def size(self) -> None:
        """Memory and time of the whole check, by size."""
        size = self.cluster.fleet.size
        nothing, thousand, two, whole = self.in_turn(
            lambda: self.module(namespaces=[EMPTY]),
            lambda: self.module(namespaces=[self.first]),
            lambda: self.module(namespaces=self.cluster.fleet.namespaces[:2]),
            lambda: self.module(exclude_namespaces=[EMPTY, FEW]),
            repeats=max(1, self.repeats - 1),
        )
        peak = min(ran.peak_mb for ran in whole)
        self.row(f"peak memory of the module, {size:,} pods, in MB", peak, "{:.0f}", most=120)
        self.row(
            f"peak memory, {size:,} pods / 2,000 pods", peak / min(ran.peak_mb for ran in two), "{:.2f}", most=1.25
        )
        best = [min(ran.seconds for ran in runs) for runs in (nothing, thousand, whole)]
        further = (best[2] - best[1]) / (size - len(self.pods)) / ((best[1] - best[0]) / len(self.pods))
        self.row(f"a further pod between 1,000 and {size:,} / between none and 1,000", further, "{:.2f}", most=1.15)

    def node(self) -> None:
        """Of the kubelets, each command takes 20 ms, and a probe a second to start."""
        nodes = len(self.cluster.fleet.nodes)
        self.cluster.kubelets(delay=0.02, start_delay=1)
        probes, execs = self.in_turn(
            lambda: self.module(exclude_namespaces=[EMPTY, FEW], socket_source="node", node_probe_image="any"),
            lambda: self.module(exclude_namespaces=[EMPTY, FEW]),
            repeats=max(1, self.repeats - 1),
        )
        self.cluster.kubelets()
        self.row(
            f"`socket_source: node`, {self.cluster.fleet.size:,} pods: execs / nodes",
            max(ran.execs for ran in probes) / nodes,
            "{:.2f}",
            most=1,
        )
        what = "by `exec` / by `node`, 20 ms a command and a second to start a probe"
        reading = [min(ran.reading_seconds for ran in runs) for runs in (execs, probes)]
        self.row(f"read all tables, {what}", reading[0] / reading[1], "{:.1f}", least=20)
        self.row(
            f"the module's whole run, {what}",
            min(ran.seconds for ran in execs) / min(ran.seconds for ran in probes),
            "{:.1f}",
        )

    def plays(self) -> None:
        auth = {"kubeconfig": str(self.cluster.kubeconfig)}
        pods = [{"namespace": namespace, "pod": name} for namespace, name in self.pods[:FOR_LOOPS]]
        command = {
            **auth,
            "namespace": "{{ item.namespace }}",
            "pod": "{{ item.pod }}",
            "container": "istio-proxy",
            "command": "ss -ltnH",
        }

        def loop(number: int) -> Task:
            return {"kubernetes.core.k8s_exec": command, "loop": pods[:number]}

        def module(**options: t.Any) -> Task:
            return {"meshops.istio_precheck.localhost_listener_info": {**auth, **options}}

        def role(**options: t.Any) -> Task:
            variables = {f"check_listeners_{name}": value for name, value in {**auth, "fail_on": [], **options}.items()}
            return {
                "ansible.builtin.include_role": {"name": "meshops.istio_precheck.check_listeners"},
                "vars": variables,
            }

        def further(few: Task, many: Task, between: int) -> float:
            runs = self.in_turn(lambda: self.play(few), lambda: self.play(many), repeats=max(1, self.repeats - 1))
            return (min(runs[1]) - min(runs[0])) / between

        info = {"kubernetes.core.k8s_info": {**auth, "kind": "Pod", "namespace": EMPTY}}
        empty, one_task = self.in_turn(
            lambda: self.play(role(namespaces=[EMPTY])), lambda: self.play(info), repeats=self.repeats + 2
        )
        what = "the gate over an empty namespace, whole `ansible-playbook`: seconds beyond a play of one `k8s_info`"
        self.row(what, min(empty) - min(one_task), "{:.2f}", most=0.6)

        ours = further(module(namespaces=[EMPTY]), module(namespaces=[self.first]), len(self.pods))
        theirs = further(loop(1), loop(FOR_LOOPS), FOR_LOOPS - 1)
        self.row(
            "a loop of `kubernetes.core.k8s_exec`, a further pod / the module, a further pod",
            theirs / ours,
            "{:.0f}",
            least=200,
        )
        slow = further(
            role(namespaces=[EMPTY], gather_with="k8s_exec"), role(namespaces=[FEW], gather_with="k8s_exec"), FOR_LOOPS
        )
        self.row(
            "the role with `gather_with: k8s_exec`, a further pod / the module, a further pod", slow / ours, "{:.0f}"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pods", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=3)
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
        bench = Bench(cluster, options.repeats, options.concurrency)
        bench.module(namespaces=[bench.first])  # the first contact fills caches for all that follow
        failed = []
        for part in options.only or PARTS:
            try:
                getattr(bench, part)()
            except (
                RuntimeError,
                AssertionError,
                subprocess.SubprocessError,
            ) as error:  # the other parts' rows are still worth having
                failed.append(f"{part}: {str(error)[-500:]}")
                print(failed[-1], file=sys.stderr, flush=True)
    fleet_ = cluster.fleet
    print(
        f"\n{os.cpu_count()} cores; {fleet_.size:,} pods in {fleet_.services} Services on {len(fleet_.nodes)} nodes; concurrency {options.concurrency}.\n"
    )
    print("| what | reached | target |\n|---|---|---|")
    print("\n".join(str(row) for row in bench.rows))
    if failed:
        print("\nNot measured: " + "; ".join(failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
