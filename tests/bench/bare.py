# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The least that the same work can cost: what the module is measured against. Prints its seconds, CPU seconds and count as JSON.

bare.py exec KUBECONFIG CONCURRENCY < PODS    one exec a line of `NAMESPACE POD`, and nothing is done with what it prints
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


def execs(server: str, context: ssl.SSLContext, concurrency: int, pods: list[list[str]]) -> int:
    query = urlencode(
        [("container", "istio-proxy"), ("stdout", "true"), ("stderr", "true"), ("command", "ss"), ("command", "-ltnH")]
    )

    def run(pod: list[str]) -> int:
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

    with ThreadPoolExecutor(concurrency) as pool:
        return sum(1 for received in pool.map(run, pods) if received)


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
    pods = [line.split() for line in sys.stdin] if what == "exec" else []
    recorded = pathlib.Path(arguments[0]).read_bytes() if what == "loads" else b""
    began, cpu = time.monotonic(), time.process_time()
    if what == "exec":
        count = execs(configuration.host, context, int(arguments[0]), pods)
    elif what == "fetch":
        count = fetch(configuration.host, context, arguments)
    else:
        count = len(json.loads(recorded)["pods"])
    print(json.dumps({"seconds": time.monotonic() - began, "cpu": time.process_time() - cpu, "count": count}))


if __name__ == "__main__":
    main()
