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
Question = tuple[str, ...]
"""The arguments of `reach`."""
Asked = t.TypeVar("Asked")
CLUSTER = testcluster.CLUSTER_DIR / "cluster.py"
PATIENCE = 60.0
"""Seconds that a change of configuration may take until it is in every proxy."""
SETTLED = 3.0
"""Seconds after which one that had no effect is taken to have none. istiod waits a tenth of a second for more changes, and up to ten while they go on."""
OPT_OUT = {"PILOT_ENABLE_INBOUND_PASSTHROUGH": "false"}
"""istiod has it in the whole story: it ended with 1.20, and so changes nothing of it."""


class Mesh:
    """A running mesh."""

    def __init__(self, cluster: testcluster.Cluster, stays: bool) -> None:
        self.cluster, self._stays = cluster, stays
        self._addresses: dict[tuple[str, str], str] = {}

    # --- What there is ---

    def deploy(self, namespace: str, *workloads: Object, ready: bool = True) -> None:
        self.cluster.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}])
        self.cluster.apply(workloads)
        if ready:
            self.cluster.wait_ready(namespace)

    def forget(self, *namespaces: str) -> None:
        """Nobody needs these any more. Where the cluster is taken down, they go with it."""
        if self._stays:
            self.cluster.delete_namespace(*namespaces)

    def configure(self, **settings: t.Any) -> None:
        """The mesh's configuration, which istiod and the gate read."""
        self.cluster.apply([mesh.mesh_config(**settings)])

    def restart_istiod(self) -> None:
        with locked("cluster"):
            mesh.stop()
            mesh.start(OPT_OUT)

    def show_istiod(self, tag: str = mesh.VERSION) -> None:
        """What lists show of it has this tag of its image."""
        self.cluster.kubectl("delete", "pods", "--all", "--namespace", mesh.SYSTEM, "--grace-period=0", "--force")
        mesh.apply([mesh.stand_in(tag, OPT_OUT)])
        self.cluster.wait_ready(mesh.SYSTEM)

    # --- What a client sees ---

    def http(self, namespace: str, service: str, port: int, client: str = "client") -> str:
        """The status that a pod of the mesh gets from a Service, or why it gets none."""
        return self.answers(namespace, {"": self.of_service(namespace, service, port)}, client)[""]

    def answers(self, namespace: str, questions: t.Mapping[str, Question], client: str = "client") -> dict[str, str]:
        """The same of several at once, by name: an HTTP status, what comes back for `hello` over TCP, or why nothing does."""
        names = list(questions)
        asked = [f"echo {number} $(/bin/reach {' '.join(questions[name])})" for number, name in enumerate(names)]
        script = "\n".join([*(f"{line} &" for line in asked), "wait"])
        command = (
            "exec",
            "--namespace",
            namespace,
            f"deployment/{client}",
            "--container=app",
            "--",
            "sh",
            "-c",
            script,
        )
        found = (line.partition(" ") for line in self.cluster.kubectl(*command).stdout.splitlines())
        said = {names[int(number)]: answer.strip() for number, _space, answer in found}
        return {name: said[name] for name in names}

    def of_service(self, namespace: str, service: str, port: int, protocol: str = "http") -> Question:
        if (namespace, service) not in self._addresses:
            spec = self.cluster.get("service", service, "--namespace", namespace)["spec"]
            self._addresses[namespace, service] = spec["clusterIP"]
        host = [f"{service}.{namespace}.svc.cluster.local"] if protocol == "http" else []
        return (protocol, f"{self._addresses[namespace, service]}:{port}", *host)

    def of_pod(self, namespace: str, workload: str, port: int, protocol: str = "http", v6: bool = False) -> Question:
        """At the pod's own address, whatever Services say."""
        (pod,) = self.cluster.get("pods", "--namespace", namespace, f"--selector=app={workload}")["items"]
        ip = next(each["ip"] for each in pod["status"]["podIPs"] if (":" in each["ip"]) == v6)
        return (protocol, f"[{ip}]:{port}" if v6 else f"{ip}:{port}", *(["pod"] if protocol == "http" else []))

    def comes_to(self, expected: Asked, ask: t.Callable[[], Asked], seconds: float = PATIENCE) -> Asked:
        """The last answer: the expected one as soon as it comes, else whatever it is in the end."""
        end = time.monotonic() + seconds
        while (answer := ask()) != expected and time.monotonic() < end:
            time.sleep(0.3)
        return answer

    def keeps_to(self, answer: Asked, ask: t.Callable[[], Asked], seconds: float = SETTLED) -> Asked:
        """This answer if it is given all the time in which a change would have reached the proxies, else another one."""
        end = time.monotonic() + seconds
        while (given := ask()) == answer and time.monotonic() < end:
            time.sleep(0.3)
        return given

    # --- What the gate says ---

    def gate(
        self, *namespaces: str, playbook: str = "meshops.istio_precheck.check_listeners", **variables: t.Any
    ) -> Played:
        return play(
            playbook=playbook,
            check_listeners_kubeconfig=str(self.cluster.kubeconfig),
            check_listeners_namespaces=list(namespaces),
            **variables,
        )


@contextlib.contextmanager
def running() -> t.Iterator[Mesh]:
    was_up = not subprocess.run(
        [sys.executable, str(CLUSTER), "status"], check=False, stdin=subprocess.DEVNULL, capture_output=True
    ).returncode
    try:
        cluster = testcluster.running_cluster()
        stays = was_up or bool(os.environ.get("PRECHECK_KEEP_MESH"))
        made = Mesh(cluster, stays)
        with locked("cluster"):
            mesh.up(OPT_OUT)
        if was_up:  # without the opt-out, perhaps
            made.restart_istiod()
            made.show_istiod()
        cluster.wait_ready(mesh.SYSTEM)
        yield made
        cluster.clean_up()
    finally:
        if not was_up and not os.environ.get("PRECHECK_KEEP_MESH"):
            subprocess.run([sys.executable, str(CLUSTER), "down"], check=True, stdin=subprocess.DEVNULL)


def application(*addresses: str, **more):
    ports = [{"containerPort": int(address.rpartition(":")[2])} for address in addresses]
    return mesh.container("app", mesh.REACH, ["serve", *addresses], ports=ports, **more)
