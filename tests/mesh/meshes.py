# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The mesh as the story uses it: its workloads, its clients, and the gate. The one asks the network, the other the collection."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import typing as t

import testcluster
from testbed import mesh
from testbed.settings import locked

from ansible_collections.meshops.istio_precheck.tests.helpers.playing import Played, play

ANSWERED, REFUSED, HELLO = "200", "503", "hello"
"""What a client says of a port over HTTP, or over TCP."""

Object = dict[str, t.Any]
CLUSTER = testcluster.CLUSTER_DIR / "cluster.py"
PATIENCE = 30.0
"""Seconds that a change of configuration may take until it is in every proxy."""
SETTLED = 6.0
"""Seconds after which one that had no effect is taken to have none."""


class Mesh:
    """A running mesh."""

    def __init__(self, cluster: testcluster.Cluster) -> None:
        self.cluster = cluster

    # --- What there is ---

    def deploy(self, namespace: str, *workloads: Object, ready: bool = True) -> None:
        self.cluster.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}])
        self.cluster.apply(workloads)
        if ready:
            self.cluster.wait_ready(namespace)

    def configure(self, **settings: t.Any) -> None:
        """The mesh's configuration, which istiod and the gate read."""
        self.cluster.apply([mesh.mesh_config(**settings)])

    def restart_istiod(self, environment: dict[str, str] | None = None, tag: str = mesh.VERSION) -> None:
        """Another istiod with these variables. What lists show of it has the same, and may have another image's tag."""
        with locked("cluster"):
            mesh.stop()
            mesh.start(environment)
        self.show_istiod(environment, tag)

    def show_istiod(self, environment: dict[str, str] | None = None, tag: str = mesh.VERSION) -> None:
        self.cluster.kubectl("delete", "pods", "--all", "--namespace", mesh.SYSTEM, "--grace-period=0", "--force")
        mesh.apply([mesh.stand_in(tag, environment or {})])
        self.cluster.wait_ready(mesh.SYSTEM)

    # --- What a client sees ---

    def http(self, namespace: str, service: str, port: int, client: str = "client") -> str:
        """The status that a pod of the mesh gets from a Service, or why it gets none."""
        host = f"{service}.{namespace}.svc.cluster.local"
        return self._reach(namespace, client, "http", f"{self._address(namespace, service)}:{port}", host)

    def tcp(self, namespace: str, service: str, port: int, client: str = "client") -> str:
        """What it gets back for `hello` over TCP."""
        return self._reach(namespace, client, "tcp", f"{self._address(namespace, service)}:{port}")

    def undeclared(self, namespace: str, workload: str, port: int, client: str = "client") -> str:
        """The same of a port that no Service has, at the pod's own address."""
        pods = self.cluster.get("pods", "--namespace", namespace, f"--selector=app={workload}")["items"]
        return self._reach(namespace, client, "tcp", f"{pods[0]['status']['podIP']}:{port}")

    def comes_to(self, expected: str, ask: t.Callable[[], str], seconds: float = PATIENCE) -> str:
        """The last answer: the expected one as soon as it comes, else whatever it is in the end."""
        end = time.monotonic() + seconds
        while (answer := ask()) != expected and time.monotonic() < end:
            time.sleep(0.3)
        return answer

    def stays(self, ask: t.Callable[[], str], seconds: float = SETTLED) -> set[str]:
        """All different answers within the time in which a change would have reached the proxies."""
        end = time.monotonic() + seconds
        answers = {ask()}
        while time.monotonic() < end:
            time.sleep(0.5)
            answers.add(ask())
        return answers

    def _address(self, namespace: str, service: str) -> str:
        return self.cluster.get("service", service, "--namespace", namespace)["spec"]["clusterIP"]

    def _reach(self, namespace: str, client: str, *arguments: str) -> str:
        command = ("exec", "--namespace", namespace, f"deployment/{client}", "--container=app", "--", "/bin/reach")
        return self.cluster.kubectl(*command, *arguments).stdout.strip()

    # --- What the gate says ---

    def gate(
        self,
        namespace: str,
        *arguments: str,
        playbook: str = "meshops.istio_precheck.check_listeners",
        **variables: t.Any,
    ) -> Played:
        return play(
            *arguments,
            playbook=playbook,
            check_listeners_kubeconfig=str(self.cluster.kubeconfig),
            check_listeners_namespaces=[namespace],
            **variables,
        )


@contextlib.contextmanager
def running() -> t.Iterator[Mesh]:
    was_up = not subprocess.run(
        [sys.executable, str(CLUSTER), "status"], check=False, stdin=subprocess.DEVNULL, capture_output=True
    ).returncode
    try:
        cluster = testcluster.running_cluster()
        with locked("cluster"):
            mesh.up()
        cluster.wait_ready(mesh.SYSTEM)
        yield Mesh(cluster)
        cluster.clean_up()
    finally:
        if not was_up and not os.environ.get("PRECHECK_KEEP_MESH"):
            subprocess.run([sys.executable, str(CLUSTER), "down"], check=True, stdin=subprocess.DEVNULL)


def application(*addresses: str, **more):
    ports = [{"containerPort": int(address.rpartition(":")[2])} for address in addresses]
    return mesh.container("app", mesh.REACH, ["serve", *addresses], ports=ports, **more)
