# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The least that the same work can cost: what the module is measured against. Prints its seconds, CPU seconds and count as JSON.

bare.py exec KUBECONFIG CONCURRENCY < PODS    one exec a line of `NAMESPACE POD`, and nothing is done with what it prints
bare.py istioctl KUBECONFIG < PODS            what istioctl 1.20.8 asks of each pod, 25 at once: get it, port-forward to its Envoy, exec
bare.py probes KUBECONFIG CONCURRENCY < NODES one probe pod a line, waited for, asked once and removed, as a run by node does
bare.py fetch KUBECONFIG PATH...              the pages of these lists, each through json.loads and dropped
bare.py loads KUBECONFIG FILE                 a recorded cluster through json.loads; reading the file is not counted
"""

from __future__ import annotations

import json
import pathlib
import ssl
import sys
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode

import kubernetes.config
import urllib3
import websocket

ERROR = 3
OF_ISTIOCTL = 25
"""Pods that istioctl asks at once."""

RUN_LABEL = "precheck.meshops.io/node-probe"


def execute(server: str, context: ssl.SSLContext, pod: t.Sequence[str], container: str, *command: str) -> int:
    """How many bytes the command prints."""
    query = urlencode(
        [("container", container), ("stdout", "true"), ("stderr", "true"), *(("command", part) for part in command)]
    )
    url = f"wss{server[len('https') :]}/api/v1/namespaces/{pod[0]}/pods/{pod[1]}/exec?{query}"
    stream = websocket.create_connection(url, sslopt={"context": context}, subprotocols=["v4.channel.k8s.io"])
    try:
        received = 0
        while True:
            data = stream.recv_data()[1]
            if data[0] == ERROR:
                return received
            received += len(data) - 1
    finally:
        stream.shutdown()


def execs(server: str, context: ssl.SSLContext, concurrency: int, pods: list[list[str]]) -> int:
    with ThreadPoolExecutor(concurrency) as pool:
        each = pool.map(lambda pod: execute(server, context, pod, "istio-proxy", "ss", "-ltnH"), pods)
        return sum(1 for received in each if received)


def config_dump(server: str, context: ssl.SSLContext, pod: t.Sequence[str]) -> dict[str, t.Any]:
    """What the pod's Envoy dumps, through a port-forward."""
    url = f"wss{server[len('https') :]}/api/v1/namespaces/{pod[0]}/pods/{pod[1]}/portforward?ports=15000"
    stream = websocket.create_connection(url, sslopt={"context": context}, subprotocols=["v4.channel.k8s.io"])
    try:
        stream.send_binary(b"\0GET /config_dump HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = b""
        while True:
            data = stream.recv_data()[1]
            if data[0] == 0 and len(data) > 3:  # a channel begins with the port's number
                answer += data[1:]
                head, _end, body = answer.partition(b"\r\n\r\n")
                if body and len(body) >= int(head.lower().partition(b"content-length:")[2].split()[0]):
                    return json.loads(body)
    finally:
        stream.shutdown()


def istioctl(server: str, context: ssl.SSLContext, pods: list[list[str]]) -> int:
    """checkListeners of istioctl 1.20.8 asks three requests a pod, after one list of all."""
    with urllib3.PoolManager(ssl_context=context, maxsize=OF_ISTIOCTL) as client:

        def ask(pod: list[str]) -> bool:
            got = client.request("GET", f"{server}/api/v1/namespaces/{pod[0]}/pods/{pod[1]}")
            dumped = config_dump(server, context, pod)
            listened = execute(server, context, pod, "istio-proxy", "ss", "-ltnH")
            return bool(json.loads(got.data)["spec"] and dumped["configs"] and listened)

        json.loads(client.request("GET", f"{server}/api/v1/namespaces/{pods[0][0]}/pods").data)
        with ThreadPoolExecutor(OF_ISTIOCTL) as pool:
            return sum(pool.map(ask, pods))


def probes(server: str, context: ssl.SSLContext, concurrency: int, nodes: list[list[str]]) -> int:
    """All are made at once, and asked as they start."""
    place, run = f"{server}/api/v1/namespaces/default/pods", "bare"
    with (
        urllib3.PoolManager(ssl_context=context, maxsize=concurrency) as client,
        ThreadPoolExecutor(concurrency) as pool,
    ):

        def make(node: list[str]) -> None:
            container = {"name": "probe", "image": "any", "command": ["sleep", "60"]}
            metadata = {"name": f"bare-{node[0]}", "labels": {RUN_LABEL: run}}
            spec = {"nodeName": node[0], "containers": [container], "terminationGracePeriodSeconds": 0}
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
            made = client.request("POST", place, body=json.dumps(pod), headers={"Content-Type": "application/json"})
            if made.status != 201:
                raise RuntimeError(made.data.decode())

        def end(name: str) -> int:
            received = execute(server, context, ("default", name), "probe", "sh", "-c", "true", "sh", "word", "5")
            client.request("DELETE", f"{place}/{name}?gracePeriodSeconds=0")
            return received

        making = [pool.submit(make, node) for node in nodes]
        ending: dict[str, t.Any] = {}
        while len(ending) < len(nodes):
            time.sleep(0.25)
            listed = client.request("GET", f"{place}?labelSelector={RUN_LABEL}%3D{run}&resourceVersion=0")
            for pod in json.loads(listed.data)["items"]:
                name = pod["metadata"]["name"]
                if pod["status"].get("phase") == "Running" and name not in ending:
                    ending[name] = pool.submit(end, name)
        for made in making:
            made.result()
        return sum(1 for ended in ending.values() if ended.result())


def fetch(server: str, context: ssl.SSLContext, paths: t.Sequence[str]) -> int:
    count = 0
    with urllib3.PoolManager(ssl_context=context) as pool:
        for path in paths:
            token = None
            while token != "":
                answer = pool.request("GET", f"{server}{path}?{urlencode({'limit': 500, 'continue': token or ''})}")
                if answer.status != 200:
                    raise RuntimeError(f"{path}: {answer.status}")
                page = json.loads(answer.data)
                count += len(page["items"])
                token = page["metadata"].get("continue") or ""  # a custom resource's last page has an empty one
    return count


def main() -> None:
    what, kubeconfig, *arguments = sys.argv[1:]
    configuration = kubernetes.config.new_client_from_config(kubeconfig).configuration
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
    context.load_cert_chain(configuration.cert_file, configuration.key_file)
    pods = [line.split() for line in sys.stdin] if what in ("exec", "istioctl", "probes") else []
    recorded = pathlib.Path(arguments[0]).read_bytes() if what == "loads" else b""
    began, cpu = time.monotonic(), time.process_time()
    if what == "exec":
        count = execs(configuration.host, context, int(arguments[0]), pods)
    elif what == "istioctl":
        count = istioctl(configuration.host, context, pods)
    elif what == "probes":
        count = probes(configuration.host, context, int(arguments[0]), pods)
    elif what == "fetch":
        count = fetch(configuration.host, context, arguments)
    else:
        count = len(json.loads(recorded)["pods"])
    print(json.dumps({"seconds": time.monotonic() - began, "cpu": time.process_time() - cpu, "count": count}))


if __name__ == "__main__":
    main()
