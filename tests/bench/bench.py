# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the check costs on the test cluster, as ratios from one run.

Each way reads the same pods in the same run. A time is that of the whole ansible-playbook; the cost of a pod is what a further pod adds
to it, so that starting Ansible, which all of them do, does not hide the difference.
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

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "live"), str(HERE.parent / "cluster")]

from playing import environment, tool  # noqa: E402  pylint: disable=wrong-import-position
from testcluster import running_cluster  # noqa: E402  pylint: disable=wrong-import-position

NAMESPACE = "bench"
TARGET = 50


def workload(name: str, replicas: int) -> list[dict[str, t.Any]]:
    labels = {"app": name}
    container = {"imagePullPolicy": "Never", "resources": {}}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"selector": labels, "ports": [{"name": "tcp", "port": 8080}]},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {
                        "automountServiceAccountToken": False,
                        "enableServiceLinks": False,
                        "terminationGracePeriodSeconds": 1,
                        "containers": [
                            {**container, "name": "app", "image": "precheck.test/netcat:1", "args": ["127.0.0.1", "8080"]},
                            {**container, "name": "istio-proxy", "image": "precheck.test/proxyv2:1.9.9", "args": ["proxy", "sidecar"]},
                        ],
                    },
                },
            },
        },
    ]


def timed(play: list[dict[str, t.Any]], place: pathlib.Path) -> float:
    """Seconds that ansible-playbook takes for the play. Raises CalledProcessError if it fails."""
    book = place / "play.json"
    book.write_text(json.dumps(play), "utf-8")
    started = time.monotonic()
    subprocess.run([tool("ansible-playbook"), str(book)], env=environment(KEEP_FACTS=os.devnull), check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - started


def book(*tasks: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    return [{"hosts": "localhost", "gather_facts": False, "tasks": list(tasks)}]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pods", type=int, default=40)
    parser.add_argument("--loop", type=int, default=8, help="how many more there are for what runs a task a pod")
    options = parser.parse_args()
    cluster = running_cluster()
    try:
        cluster.apply([*workload("many", options.pods), *workload("few", options.loop)])
        cluster.wait_ready(NAMESPACE, timeout=600)
        measure(cluster, options.pods, options.loop)
    finally:
        cluster.delete_namespace(NAMESPACE)
    return 0


def measure(cluster: t.Any, pods: int, looped: int) -> None:
    auth = {"kubeconfig": str(cluster.kubeconfig)}
    names = [item["metadata"]["name"] for item in cluster.get("pods", "--namespace", NAMESPACE, "--selector", "app=few")["items"]]
    commands = [{"namespace": NAMESPACE, "pod": name, "container": "istio-proxy", "command": "ss -ltnH"} for name in names]

    def loop(items: list[dict[str, str]]) -> list[dict[str, t.Any]]:
        arguments = {**auth, **{name: f"{{{{ item.{name} }}}}" for name in ("namespace", "pod", "container", "command")}}
        return book({"kubernetes.core.k8s_exec": arguments, "loop": items})

    def module(**more: t.Any) -> list[dict[str, t.Any]]:
        return book({"meshops.istio_precheck.localhost_listener_info": {**auth, "namespaces": [NAMESPACE], **more}})

    def role(**more: t.Any) -> list[dict[str, t.Any]]:
        more = {"kubeconfig": auth["kubeconfig"], "namespaces": [NAMESPACE], "fail_on": [], **more}
        variables = {f"check_listeners_{name}": value for name, value in more.items()}
        return book({"ansible.builtin.include_role": {"name": "meshops.istio_precheck.check_listeners"}, "vars": variables})

    with tempfile.TemporaryDirectory(prefix="istio-precheck-bench-") as scratch:
        place = pathlib.Path(scratch)
        timed(module(), place)  # the first contact fills caches for all that follow

        def per_pod(few: list[dict[str, t.Any]], many: list[dict[str, t.Any]], between: int) -> float:
            best = [min(timed(play, place) for _run in range(2)) for play in (few, many)]
            return (best[1] - best[0]) / between

        nothing, few, many = ({"label_selectors": [f"app={name}"]} for name in ("nothing", "few", "many"))
        ours = per_pod(module(**nothing), module(**many), pods)
        theirs = per_pod(loop(commands[:1]), loop(commands), looped - 1)
        slow = per_pod(role(**nothing, gather_with="k8s_exec"), role(**few, gather_with="k8s_exec"), looped)
        fast = per_pod(role(**nothing), role(**many), pods)
    print(
        f"\n{os.cpu_count()} cores, {pods} pods on one node ({looped} for what runs a task a pod); a ratio is the time of a further pod against the module's.\n"
    )
    print("| what | ratio | target |")
    print("|---|---|---|")
    print("| the module | 1 | |")
    print(f"| a play that loops `kubernetes.core.k8s_exec` | {theirs / ours:.0f} | at least {TARGET} |")
    print(f"| the role | {fast / ours:.1f} | |")
    print(f"| the role with `check_listeners_gather_with: k8s_exec` | {slow / ours:.0f} | |")
    print(f"\n(the module takes {ours * 1000:.0f} ms for a further pod here)")


if __name__ == "__main__":
    sys.exit(main())
