# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""
The cluster as test code uses it.

    cluster = running_cluster()
    cluster.install_sidecar_crd()
    cluster.apply(WORKLOADS)
    cluster.wait_ready("ist0143")
    ...
    cluster.clean_up()

It is this machine's own (`cluster.py`), or, where PRECHECK_DISPOSABLE_CLUSTER=1 says that it may be used up, the one of KUBECONFIG.
"""

from __future__ import annotations

import atexit
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from typing import Any

import yaml
from testbed import control_plane, images, kubernetes, pki
from testbed.settings import NODE_NAME, REPOSITORY, STATE, TestbedError, run

CLUSTER_DIR = pathlib.Path(__file__).resolve().parent
WORKLOADS = CLUSTER_DIR / "workloads"
OWN_CRD = CLUSTER_DIR / "sidecar-crd.yaml"
ISTIO_CRD = REPOSITORY.parent / "shared" / "data" / "istio-crds" / "sidecars-1.20.8.yaml"
RBAC = "rbac.authorization.k8s.io"
CREATED = {"precheck.test/created-by": "testcluster"}


class Cluster:
    """A running cluster, with its administrator's rights."""

    def __init__(self, kubeconfig: pathlib.Path, kubectl: str, ours: bool) -> None:
        self.kubeconfig = kubeconfig
        self.ours = ours
        self._kubectl = kubectl
        # Beside the state of our own cluster, so that `down` removes them where this process was killed.
        self._files = pathlib.Path(tempfile.mkdtemp(prefix="istio-precheck-test-", dir=STATE if ours else None))
        self._created: list[dict[str, Any]] = []
        atexit.register(shutil.rmtree, self._files, ignore_errors=True)

    def kubectl(
        self, *arguments: Any, kubeconfig: pathlib.Path | None = None, check: bool = True, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        return run(self._kubectl, "--kubeconfig", kubeconfig or self.kubeconfig, *arguments, check=check, **options)

    def get(self, *arguments: Any) -> dict[str, Any]:
        return json.loads(self.kubectl("get", "--output=json", *arguments).stdout)

    def apply(self, what: str | os.PathLike[str] | Iterable[dict[str, Any]]) -> None:
        """Apply the objects of a YAML file, of every YAML file in a folder, or as given."""
        objects = list(load(pathlib.Path(what)) if isinstance(what, (str, os.PathLike)) else what)
        if self.ours:
            for each in objects:
                bind_to_node(each)
        self.kubectl("apply", "--filename=-", input=yaml.safe_dump_all(objects))

    def install_sidecar_crd(self, path: str | os.PathLike[str] | None = None) -> None:
        """Install Istio's own definition, from `path`, PRECHECK_SIDECAR_CRD or where it lies beside the checkout; else a minimal one."""
        given = path or os.environ.get("PRECHECK_SIDECAR_CRD") or (ISTIO_CRD if ISTIO_CRD.exists() else OWN_CRD)
        self.apply(given)
        self.kubectl("wait", "--for=condition=Established", "--timeout=60s", "crd/sidecars.networking.istio.io")

    def wait_ready(self, namespace: str, timeout: float = 120, but: str = "") -> None:
        """Wait until every workload of the namespace, but for one of this name, has all of its pods, ready, and no others."""
        end = time.monotonic() + timeout
        while True:
            items = self.get("--namespace", namespace, "deployments,statefulsets,daemonsets,pods")["items"]
            missing = unready([each for each in items if not but or but not in names_of(each)])
            if not missing:
                return
            if time.monotonic() > end:
                raise TestbedError(f"after {timeout:.0f} s these are not ready in {namespace}: {'; '.join(missing)}")
            time.sleep(0.3)

    def delete_namespace(self, *namespaces: str, timeout: float = 120) -> None:
        self.kubectl("delete", "namespace", *namespaces, "--ignore-not-found", "--wait=false")
        for namespace in namespaces if self.ours else ():
            # The kubelet takes its time to report that a pod is gone; nobody here has to know.
            self.kubectl(
                "delete", "pods", "--all", "--namespace", namespace, "--grace-period=0", "--force", "--wait=false"
            )
        end = time.monotonic() + timeout
        while self.kubectl("get", "namespace", *namespaces, "--ignore-not-found", "--output=name").stdout:
            if time.monotonic() > end:
                raise TestbedError(
                    f"after {timeout:.0f} s not all of these namespaces are gone: {', '.join(namespaces)}"
                )
            time.sleep(0.3)

    def kubeconfig_for(self, user: str, rules: list[dict[str, Any]], namespace: str | None = None) -> pathlib.Path:
        """
        A kubeconfig for a user with exactly these RBAC rules: in one namespace, or in all where none is given.

        On our own cluster the user has a client certificate, elsewhere it is a ServiceAccount in `namespace` or `default`.
        """
        if not re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", user):
            raise TestbedError(f"not a name for a user: {user}")
        home = namespace or "default"
        subject = (
            {"kind": "User", "name": user, "apiGroup": RBAC}
            if self.ours
            else {"kind": "ServiceAccount", "name": user, "namespace": home}
        )
        name = f"precheck-test-{user}"
        objects: list[dict[str, Any]] = []
        if not self.ours:
            objects.append(
                {
                    "apiVersion": "v1",
                    "kind": "ServiceAccount",
                    "metadata": {"name": user, "namespace": home, "labels": CREATED},
                }
            )
        if rules:
            kind = "Role" if namespace else "ClusterRole"
            metadata = {"name": name, "labels": CREATED, **({"namespace": namespace} if namespace else {})}
            objects.append({"apiVersion": f"{RBAC}/v1", "kind": kind, "metadata": metadata, "rules": rules})
            role = {"apiGroup": RBAC, "kind": kind, "name": name}
            objects.append(
                {
                    "apiVersion": f"{RBAC}/v1",
                    "kind": f"{kind}Binding",
                    "metadata": metadata,
                    "roleRef": role,
                    "subjects": [subject],
                }
            )
        if objects:
            self.apply(objects)
            self._created += objects
        path = self._files / f"{user}.kubeconfig"
        if self.ours:
            return pki.user_kubeconfig(path, control_plane.server(), user, [])
        token = self.kubectl("create", "token", user, "--namespace", home).stdout.strip()
        cluster = json.loads(self.kubectl("config", "view", "--raw", "--minify", "--flatten", "--output=json").stdout)[
            "clusters"
        ][0]["cluster"]
        path.write_text(pki.kubeconfig_text(cluster, user, {"token": token}), encoding="utf-8")
        path.chmod(0o600)
        return path

    def load_images(self) -> None:
        """Bring the workloads' images onto a cluster that is not ours; ours has them."""
        if self.ours:
            return
        context = self.kubectl("config", "current-context").stdout.strip()
        given = os.environ.get("PRECHECK_LOAD_IMAGE")
        for archive in images.archives().values():
            if given:
                run(*shlex.split(given), archive)
            elif context.startswith("kind-"):
                run("kind", "load", "image-archive", archive, "--name", context[len("kind-") :])
            elif context.startswith("k3d-"):
                run("k3d", "image", "import", archive, "--cluster", context[len("k3d-") :])
            else:
                raise TestbedError(
                    f"no way is known to load images into {context}: set PRECHECK_LOAD_IMAGE to a command that takes an archive's path"
                )

    def clean_up(self) -> None:
        """Remove the users' rights and kubeconfigs. Namespaces are deleted by who made them."""
        if self._created:
            self.kubectl(
                "delete", "--ignore-not-found", "--wait=false", "--filename=-", input=yaml.safe_dump_all(self._created)
            )
            self._created = []
        for path in self._files.iterdir():
            path.unlink()


def running_cluster() -> Cluster:
    """Our own cluster, brought up where it is not; or the one that the environment offers."""
    if os.environ.get("PRECHECK_DISPOSABLE_CLUSTER") == "1" and os.environ.get("KUBECONFIG"):
        cluster = Cluster(pathlib.Path(os.environ["KUBECONFIG"]), "kubectl", ours=False)
        cluster.load_images()
        return cluster
    brought_up = subprocess.run(
        [sys.executable, str(CLUSTER_DIR / "cluster.py"), "up"], stdin=subprocess.DEVNULL, check=False
    )
    if brought_up.returncode:
        raise TestbedError("the cluster did not come up; it said why on stderr")
    return Cluster(STATE / "kubeconfig", str(kubernetes.binaries() / "kubectl"), ours=True)


def load(path: pathlib.Path) -> list[dict[str, Any]]:
    files = sorted(path.glob("*.y*ml")) if path.is_dir() else [path]
    documents = [each for file in files for each in yaml.safe_load_all(file.read_text("utf-8")) if each]
    return [
        each for document in documents for each in (document["items"] if document["kind"] == "List" else [document])
    ]


def bind_to_node(manifest: dict[str, Any]) -> None:
    """Our own cluster has no scheduler: say in the pod, or its template, where it runs."""
    if manifest["kind"] == "Pod":
        manifest["spec"].setdefault("nodeName", NODE_NAME)
    elif manifest["kind"] == "List":
        for each in manifest["items"]:
            bind_to_node(each)
    elif manifest["kind"] == "CronJob":
        bind_to_node({"kind": "Job", "spec": manifest["spec"]["jobTemplate"]["spec"]})
    elif manifest["kind"] in ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Job"):
        manifest["spec"]["template"]["spec"].setdefault("nodeName", NODE_NAME)


def names_of(item: dict[str, Any]) -> tuple[str, str]:
    """Its own, and that of its application."""
    return item["metadata"]["name"], item["metadata"].get("labels", {}).get("app", "")


def unready(items: list[dict[str, Any]]) -> list[str]:
    """What is not as it should be, one phrase each."""
    found = []
    for item in items:
        kind, name, status = item["kind"], item["metadata"]["name"], item.get("status", {})
        if kind != "Pod":
            want = status.get("desiredNumberScheduled", 0) if kind == "DaemonSet" else item["spec"].get("replicas", 1)
            have = status.get("numberReady", 0) if kind == "DaemonSet" else status.get("readyReplicas", 0)
            if status.get("observedGeneration", 0) < item["metadata"]["generation"] or have != want:
                found.append(f"{kind} {name} has {have} of {want}")
        elif item["metadata"].get("deletionTimestamp"):
            found.append(f"Pod {name} is being deleted")
        elif status.get("phase") != "Succeeded" and not any(
            each["type"] == "Ready" and each["status"] == "True" for each in status.get("conditions", [])
        ):
            reasons = [
                state.get("waiting", {}).get("reason")
                for state in (each["state"] for each in status.get("containerStatuses", []))
            ]
            found.append(f"Pod {name} is {', '.join(filter(None, reasons)) or status.get('phase')}")
    return found
