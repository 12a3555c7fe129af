# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the bench measures, with the targets, and how it becomes the two tables of docs/scale.md. Pure."""

from __future__ import annotations

import statistics
import typing as t


class Row(t.NamedTuple):
    """`what` as the page has it, the number's form, and the target: `most` or `least`."""

    what: str
    form: str = "{:.2f}"
    most: float | None = None
    least: float | None = None


BY_NODE = "by `exec` / by `node`, 20 ms a command and a second to start a probe"

ROWS = {
    "playbook wall": Row(
        "100 pods, 100 ms a command: the whole playbook / the three requests a pod of `istioctl` 1.20.8, wall time",
        most=1,
    ),
    "playbook cpu": Row("the same, CPU of the processes", most=2),
    "empty": Row(
        "the gate over an empty namespace, whole `ansible-playbook`: seconds beyond a play of one `k8s_info`", most=0.4
    ),
    "tasks": Row("tasks that a passing run of the role plays, skipped ones included", "{:.0f}", most=5),
    "lists": Row("list and evaluate 10,000 pods, no exec / fetch and `json.loads` the pages", most=1.5),
    "offline": Row("evaluate a recorded cluster of 10,000 pods, CPU / `json.loads` of the file", "{:.1f}", most=6),
    "memory": Row("peak memory of the module, 10,000 pods, in MB", "{:.0f}", most=110),
    "memory growth": Row("peak memory, 10,000 pods / 2,000 pods", most=1.2),
    "node": Row(f"read all tables of 10,000 pods on 200 nodes, {BY_NODE}", "{:.1f}", least=20),
    "node whole": Row(f"the module's whole run, {BY_NODE}", "{:.1f}"),
    "node floor": Row("read all tables by `node` / the same probes by a bare loop, which parses nothing"),
    "node execs": Row("`socket_source: node`, 10,000 pods: execs / nodes", most=1),
    "execs": Row("wall time of 1,000 execs / a bare loop of the same", most=1.1),
    "execs cpu": Row("CPU of the module per exec / of the bare loop", most=1.3),
    "kubectl": Row(
        "`xargs -P 32` over `kubectl exec`, a pod / the module's whole run over 1,000, a pod", "{:.1f}", least=3
    ),
    "files": Row("222 Sidecar files written by the role: seconds beyond the same play without them", "{:.1f}", most=5),
    "proxies": Row("ask one proxy how it delivers / read one pod, wall time"),
    "proxies not asked": Row(
        "commands beside one for each pod that is read and one for each proxy with a finding", "{:.0f}", most=0
    ),
    "further": Row("a further pod between 1,000 and 10,000 / between none and 1,000", most=1.15),
    "k8s_exec": Row(
        "a loop of `kubernetes.core.k8s_exec`, a further pod / the module, a further pod", "{:.0f}", least=200
    ),
    "role k8s_exec": Row("the role with `gather_with: k8s_exec`, a further pod / the module, a further pod", "{:.0f}"),
}


class Measured(t.NamedTuple):
    """The numbers of a row, run by run, and how far the yardstick alone went apart in these runs, in percent of its median."""

    row: Row
    values: tuple[float, ...]
    noise: float | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def missed(self) -> bool:
        # What the page shows is what counts: 1.004 is 1.00.
        shown = float(self.row.form.format(self.median))
        return (self.row.most is not None and shown > self.row.most) or (
            self.row.least is not None and shown < self.row.least
        )

    def __str__(self) -> str:
        form = self.row.form.format
        target = (
            f"at most {form(self.row.most)}"
            if self.row.most is not None
            else f"at least {form(self.row.least)}"
            if self.row.least is not None
            else ""
        )
        spread = f"{form(min(self.values))} to {form(max(self.values))}"
        noise = "" if self.noise is None else f"{self.noise:.0f} %"
        missed = ", **missed**" if self.missed else ""
        return f"| {self.row.what} | {form(self.median)} | {spread} | {len(self.values)} | {noise} | {target}{missed} |"


HEAD = "| what | median | lowest to highest | runs | noise | target |\n|---|---|---|---|---|---|"


def noise(yardstick: t.Sequence[float]) -> float:
    """How far runs of the same went apart, in percent of their median."""
    return 100 * (max(yardstick) - min(yardstick)) / statistics.median(yardstick)


class Cost(t.NamedTuple):
    """What one run of the module took."""

    pods: int
    requests: float
    seconds: float
    memory: float


def median_cost(runs: t.Sequence[Cost]) -> Cost:
    return Cost(runs[0].pods, *(statistics.median(column) for column in list(zip(*runs))[1:]))


def extended(costs: t.Sequence[Cost], pods: int) -> Cost:
    """What more pods would take, by the slope between the last two."""
    before, last = costs[-2:]
    times = (pods - last.pods) / (last.pods - before.pods)
    return Cost(pods, *(high + (high - low) * times for low, high in zip(before[1:], last[1:])))


GROWTH_HEAD = (
    "| pods | `socket_source` | requests | seconds | memory of the module, MB | |\n|---:|---|---:|---:|---:|---|"
)


def growth(modes: t.Mapping[str, t.Sequence[Cost]], beyond: int) -> list[str]:
    """Lines of the table of what a run costs as the cluster grows, the last of each mode by the slope."""
    lines = []
    for mode, costs in modes.items():
        several = [*((cost, "measured") for cost in costs), (extended(costs, beyond), "by the slope")]
        lines += [
            f"| {cost.pods:,} | `{mode}` | {cost.requests:,.0f} | {cost.seconds:,.1f} | {cost.memory:.0f} | {how} |"
            for cost, how in several
        ]
    return lines
