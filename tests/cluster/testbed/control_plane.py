# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""etcd, kube-apiserver and kube-controller-manager: what they are started with, and when they are well."""

from __future__ import annotations

import functools
import itertools
import json
import pathlib
import socket
import ssl
import urllib.error
import urllib.request

from . import pki, processes, versions
from .settings import IPV4_GATEWAY, SERVICE_SUBNETS, SLOT, STATE, TestbedError, write

PORT_NAMES = (
    "etcd", "etcd-peer", "apiserver", "controller-manager", "kubelet",
    "istiod-http", "istiod-grpc", "istiod-webhooks", "istiod-monitoring", "istiod-introspection",
)  # fmt: skip
FIRST_PORT = 21430 + 15 * (SLOT % 32)
LAST_PORT = FIRST_PORT + 499  # below the range from which Linux gives out ephemeral ports


def ports() -> dict[str, int]:
    """Loopback ports that were free when this cluster was made; it keeps them for life."""
    path = STATE / "ports.json"
    known = json.loads(path.read_text("utf-8")) if path.exists() else {}
    missing = [name for name in PORT_NAMES if name not in known]
    if missing:
        candidates = (number for number in range(FIRST_PORT, LAST_PORT + 1) if number not in known.values())
        free = itertools.islice(filter(is_free, candidates), len(missing))
        known.update(zip(missing, free))
        if len(known) < len(PORT_NAMES):
            raise TestbedError(f"no free loopback ports between {FIRST_PORT} and {LAST_PORT}")
        write(path, json.dumps(known))
    return known


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def require_free(*names: str) -> None:
    """Wait a little for what just ended: the last of its threads closes its sockets."""
    for name in names:
        port = ports()[name]
        processes.until(
            functools.partial(is_free, port),
            10,
            f"port {port} on 127.0.0.1, which {name} of this cluster listens on, is taken by another process",
        )


def server() -> str:
    return f"https://127.0.0.1:{ports()['apiserver']}"


def request(path: str, address: str | None = None) -> str | None:
    """What the API server, or what listens at `address`, answers to the administrator; None where it does not."""
    context = ssl.create_default_context(cafile=str(pki.PKI / "ca.crt"))
    context.load_cert_chain(pki.PKI / "admin.crt", pki.PKI / "admin.key")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open((address or server()) + path, timeout=5) as answer:
            return answer.read().decode()
    except (OSError, urllib.error.URLError):
        return None


def plain(address: str) -> str | None:
    """What is answered over plain HTTP; None where nothing is, or an error."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(address, timeout=5) as answer:
            return answer.read().decode()
    except (OSError, ValueError):
        return None


def etcd_healthy() -> bool:
    answer = plain(f"http://127.0.0.1:{ports()['etcd']}/health")
    return answer is not None and json.loads(answer)["health"] == "true"


def apiserver_healthy() -> bool:
    return request("/readyz") == "ok"


def controller_manager_healthy() -> bool:
    return request("/api/v1/namespaces/default/serviceaccounts/default") is not None


def start_etcd() -> None:
    if not processes.alive("etcd"):
        require_free("etcd", "etcd-peer")
    client, peer = (f"http://127.0.0.1:{ports()[name]}" for name in ("etcd", "etcd-peer"))
    processes.start(
        "etcd",
        [
            "etcd",
            f"--data-dir={STATE / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--auto-compaction-retention=1",
            "--logger=zap",
        ],
    )
    processes.until_healthy("etcd", etcd_healthy, 60)


def start_apiserver(programs: pathlib.Path) -> None:
    if not processes.alive("apiserver"):
        require_free("apiserver")
    processes.start(
        "apiserver",
        [
            str(programs / "kube-apiserver"),
            f"--etcd-servers=http://127.0.0.1:{ports()['etcd']}",
            "--bind-address=127.0.0.1",
            f"--secure-port={ports()['apiserver']}",
            f"--advertise-address={IPV4_GATEWAY}",
            "--endpoint-reconciler-type=none",
            "--authorization-mode=Node,RBAC",
            "--allow-privileged=true",
            # No scheduler and no node lifecycle controller here: nothing would take the taint off again.
            "--disable-admission-plugins=ServiceAccount,TaintNodesByCondition",
            f"--client-ca-file={pki.PKI / 'ca.crt'}",
            f"--tls-cert-file={pki.PKI / 'server.crt'}",
            f"--tls-private-key-file={pki.PKI / 'server.key'}",
            f"--kubelet-certificate-authority={pki.PKI / 'ca.crt'}",
            f"--kubelet-client-certificate={pki.PKI / 'apiserver-to-kubelet.crt'}",
            f"--kubelet-client-key={pki.PKI / 'apiserver-to-kubelet.key'}",
            "--kubelet-preferred-address-types=Hostname",
            f"--service-account-key-file={pki.PKI / 'service-account.pub'}",
            f"--service-account-signing-key-file={pki.PKI / 'service-account.key'}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-cluster-ip-range={SERVICE_SUBNETS}",
            *versions.chosen().apiserver,
        ],
    )
    processes.until_healthy("apiserver", apiserver_healthy, 240)


def start_controller_manager(programs: pathlib.Path) -> None:
    if not processes.alive("controller-manager"):
        require_free("controller-manager")
    kubeconfig = pki.kubeconfig(STATE / "controller-manager.kubeconfig", server(), "controller-manager")
    processes.start(
        "controller-manager",
        [
            str(programs / "kube-controller-manager"),
            f"--kubeconfig={kubeconfig}",
            "--bind-address=127.0.0.1",
            f"--secure-port={ports()['controller-manager']}",
            f"--tls-cert-file={pki.PKI / 'server.crt'}",
            f"--tls-private-key-file={pki.PKI / 'server.key'}",
            "--leader-elect=false",
            f"--flex-volume-plugin-dir={STATE / 'volume-plugins'}",
            f"--controllers={versions.chosen().controllers}",
            f"--service-account-private-key-file={pki.PKI / 'service-account.key'}",
            f"--root-ca-file={pki.PKI / 'ca.crt'}",
            "--kube-api-qps=200",
            "--kube-api-burst=400",
            *versions.chosen().controller_manager,
        ],
    )
    processes.until_healthy("controller-manager", controller_manager_healthy, 120)
