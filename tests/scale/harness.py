# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""
A large cluster: the etcd and kube-apiserver of tests/cluster, the objects of fleet.py, and stub kubelets that answer exec.

    with large_cluster(pods=2000) as cluster:
        report = run_module(cluster, namespaces=["team-00"]).result

The API server, its lists, its authorization and its exec proxying are real. There is no node, no container and no controller.
The first pod of each ReplicaSet is made through the API. The others are copies of what the API server then has in etcd: writing
10,000 pods by the API takes minutes, and they would be the same.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
import typing as t
import uuid
from concurrent.futures import ThreadPoolExecutor

HERE = pathlib.Path(__file__).resolve().parent
TREE = next(path for path in (pathlib.Path(sys.prefix) / "tree", HERE.parents[1] / ".venv" / "tree") if path.is_dir())

if not os.environ.get("ISTIO_PRECHECK_STATE", "").endswith(
    "-scale"
):  # a cluster of its own, beside the one that may be up
    os.environ["ISTIO_PRECHECK_STATE"] = f"{os.environ.get('ISTIO_PRECHECK_STATE') or '/run/istio-precheck'}-scale"

import fleet as fleets  # noqa: E402  pylint: disable=wrong-import-position
import testcluster  # noqa: E402  pylint: disable=wrong-import-position
import urllib3  # noqa: E402  pylint: disable=wrong-import-position
from testbed import control_plane, kubernetes, leftovers, packages, pki, processes  # noqa: E402  pylint: disable=wrong-import-position
from testbed.settings import STATE, locked, say  # noqa: E402  pylint: disable=wrong-import-position

COMPONENTS = ("etcd", "apiserver", "kubelets")
PROGRAMS = {name: package for name, package in packages.RUNTIME.items() if name in ("etcd", "openssl")}
WRITERS = 16
RESOURCES = {
    "Namespace": "/api/v1/namespaces",
    "Node": "/api/v1/nodes",
    "Pod": "/api/v1/namespaces/{}/pods",
    "Service": "/api/v1/namespaces/{}/services",
    "ConfigMap": "/api/v1/namespaces/{}/configmaps",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "ReplicaSet": "/apis/apps/v1/namespaces/{}/replicasets",
    "EndpointSlice": "/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices",
}

Object = dict[str, t.Any]


class LargeCluster:
    """What the tests and the benchmark need of it."""

    def __init__(self, fleet: fleets.Fleet) -> None:
        self.fleet = fleet
        self.kubeconfig = STATE / "kubeconfig"
        self.kubectl = kubernetes.binaries() / "kubectl"
        self._plain = urllib3.PoolManager(maxsize=WRITERS)
        self._pool = urllib3.HTTPSConnectionPool(
            "127.0.0.1",
            control_plane.ports()["apiserver"],
            maxsize=WRITERS,
            ca_certs=str(pki.PKI / "ca.crt"),
            cert_file=str(pki.PKI / "admin.crt"),
            key_file=str(pki.PKI / "admin.key"),
        )

    def request(self, method: str, path: str, body: Object | None = None, kind: str = "application/json") -> Object:
        answer = self._pool.request(
            method, path, body=json.dumps(body) if body else None, headers={"Content-Type": kind}
        )
        if answer.status >= 300:
            raise AssertionError(f"{method} {path}: {answer.status} {answer.data[:300].decode()}")
        return json.loads(answer.data)

    def create(self, made: Object) -> Object:
        return self.request("POST", RESOURCES[made["kind"]].format(made["metadata"].get("namespace")), made)

    def run_pod(self, pod: fleets.Pod, replica_set_uid: str | None = None) -> str:
        """Create a pod, and be its kubelet that reports it running. Its uid."""
        made = self.create(fleets.pod_object(pod, replica_set_uid))
        self.set_status(pod, fleets.running(pod, made["spec"]["containers"]))
        return made["metadata"]["uid"]

    def copy_pod(self, original: fleets.Pod, uid: str, copies: t.Iterable[fleets.Pod]) -> None:
        """What is stored of a pod holds lengths, so nothing in a copy may be longer or shorter."""

        def key(pod: fleets.Pod) -> str:
            return encoded(f"/registry/pods/{pod.namespace}/{pod.name}".encode())

        stored = base64.b64decode(self._etcd("range", {"key": key(original)})["kvs"][0]["value"])
        puts = []
        for pod in copies:
            value = stored
            for before, after in zip([uid, *fleets.marks(original)], [str(uuid.uuid4()), *fleets.marks(pod)]):
                if before.encode() not in stored or len(before) != len(after):
                    raise AssertionError(f"{before} cannot become {after}")
                value = value.replace(before.encode(), after.encode())
            puts.append({"requestPut": {"key": key(pod), "value": encoded(value)}})
        self._etcd("txn", {"success": puts})

    def _etcd(self, what: str, body: Object) -> Object:
        answer = self._plain.request(
            "POST", f"http://127.0.0.1:{control_plane.ports()['etcd']}/v3/kv/{what}", body=json.dumps(body)
        )
        if answer.status != 200:
            raise AssertionError(f"etcd: {answer.status} {answer.data[:300].decode()}")
        return json.loads(answer.data)

    def set_status(self, pod: fleets.Pod, status: Object) -> None:
        path = f"{RESOURCES['Pod'].format(pod.namespace)}/{pod.name}/status"
        self.request("PATCH", path, {"status": status}, "application/strategic-merge-patch+json")

    def populate(self) -> None:
        fleet = self.fleet
        with ThreadPoolExecutor(WRITERS) as pool:

            def every(function: t.Callable[[t.Any], t.Any], several: t.Iterable[t.Any]) -> None:
                for _done in pool.map(function, several):
                    pass

            def deploy(number: int) -> None:
                name, place = fleets.service_name(number), fleet.namespace_of(number)
                pods = [fleet.pod(pod) for pod in range(number * fleets.REPLICAS, (number + 1) * fleets.REPLICAS)]
                self.create(fleets.service(name, place))
                self.create(fleets.endpoint_slice(name, pods))
                deployment = self.create(fleets.deployment(name, place))
                replica_set = self.create(fleets.replica_set(name, place, deployment["metadata"]["uid"]))
                self.copy_pod(pods[0], self.run_pod(pods[0], replica_set["metadata"]["uid"]), pods[1:])

            every(self.create, [fleets.namespace(name) for name in ("istio-system", *fleet.namespaces)])
            every(self.create, [fleets.node(name, control_plane.ports()["kubelet"]) for name in fleet.nodes])
            every(deploy, range(fleet.services))
        pod, mesh = fleets.istiod()
        self.create(mesh)
        self.create(pod)
        self.set_status(fleets.ISTIOD, fleets.running(fleets.ISTIOD, pod["spec"]["containers"]))
        testcluster.Cluster(self.kubeconfig, str(self.kubectl), ours=True).install_sidecar_crd()

    def populate_small(self) -> None:
        """The namespace of a small cluster, on nodes of its own; its pods belong to no controller."""
        fleet = self.fleet
        self.create(fleets.namespace(fleets.SMALL))
        for node in fleet.small_nodes:
            self.create(fleets.node(node, control_plane.ports()["kubelet"]))
        for service in fleets.SMALL_SERVICES:
            self.create(fleets.service(service, fleets.SMALL))
        for pod in fleet.small():
            self.run_pod(pod)

    def kubelets(self, delay: float = 0, start_delay: float = 0) -> None:
        """(Re)start the kubelets, which then take `delay` seconds for a command, and `start_delay` to start a pod."""
        ports = control_plane.ports()
        port = ports["kubelet"]
        processes.stop("kubelets")
        paths = os.pathsep.join((str(HERE), str(TREE)))
        options = {
            "pki": pki.PKI,
            "apiserver": ports["apiserver"],
            "port": port,
            "pods": self.fleet.size,
            "delay": delay,
            "start-delay": start_delay,
        }
        given = [f"--{name}={value}" for name, value in options.items()]
        processes.start(
            "kubelets", ["env", f"PYTHONPATH={paths}", sys.executable, str(HERE / "stub_kubelet.py"), *given]
        )

        def listens() -> bool:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return True
            return False

        processes.until_healthy("kubelets", listens, 60)


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


@contextlib.contextmanager
def large_cluster(pods: int) -> t.Iterator[LargeCluster]:
    """The cluster, gone afterwards. What a killed run left is cleared away first."""
    packages.install(PROGRAMS)
    programs = kubernetes.binaries()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the cluster goes when the gate ends a stage
    with locked("cluster"):
        down()
        leftovers.claim_state()
        try:
            pki.ensure()
            pki.kubeconfig(STATE / "kubeconfig", control_plane.server(), "admin")
            control_plane.start_etcd()
            control_plane.start_apiserver(programs)
            cluster = LargeCluster(fleets.Fleet(pods))
            cluster.kubelets()
            began = time.monotonic()
            cluster.populate()
            fleet = cluster.fleet
            say(
                f"{fleet.size} pods in {fleet.services} Services on {len(fleet.nodes)} nodes are there ({time.monotonic() - began:.0f} s)"
            )
            yield cluster
        finally:
            down()


def down() -> None:
    for name in reversed(COMPONENTS):
        processes.stop(name, patience=5)
    leftovers.remove()


# ---------------------------------------------------------------------------------------------------------------------
# The module, as Ansible runs it: a process of its own


class Ran(t.NamedTuple):
    """A run of the module. Times are in seconds; `exec_*` are from the first exec's start to the last one's end, `reading_*` of all to do with tables,
    `asking_*` of the proxies, of which `asked` were asked. `requests` are all to the API server, execs among them."""

    code: int
    result: dict[str, t.Any]
    stderr: str
    seconds: float
    cpu: float
    peak_mb: float
    execs: int
    exec_seconds: float
    exec_cpu: float
    reading_seconds: float
    asking_seconds: float
    asked: int
    requests: int


def run_module(cluster: LargeCluster, canned: bool = False, timeout: float = 600, **options: t.Any) -> Ran:
    """Run the module against the cluster. With `canned`, each exec is answered in the process itself, at once."""
    with tempfile.TemporaryDirectory(prefix="istio-precheck-scale-") as scratch:
        arguments, report = pathlib.Path(scratch, "arguments.json"), pathlib.Path(scratch, "report.json")
        arguments.write_text(
            json.dumps({"kubeconfig": str(cluster.kubeconfig), "target_version": fleets.TO, **options}), "utf-8"
        )
        command = [
            sys.executable,
            str(HERE / "module_process.py"),
            str(arguments),
            str(report),
            *(["--canned"] if canned else []),
        ]
        done = subprocess.run(
            command,
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if not report.exists():
            raise AssertionError(done.stderr)
        return Ran(done.returncode, json.loads(done.stdout), done.stderr, **json.loads(report.read_text("utf-8")))


def environment() -> dict[str, str]:
    kept = {
        name: value for name, value in os.environ.items() if name != "KUBECONFIG" and not name.startswith("K8S_AUTH_")
    }
    return {**kept, "PYTHONPATH": os.pathsep.join((str(HERE), str(TREE)))}
