# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is in the large cluster: its objects, and what each pod listens on. Pure; the API server and the stub kubelets both go by it."""

from __future__ import annotations

import hashlib
import json
import typing as t

Object = dict[str, t.Any]

REPLICAS = 20
PODS_ON_NODE = 50
PODS_IN_NAMESPACE = 1000
NODES_OF_NAMESPACE = PODS_IN_NAMESPACE // PODS_ON_NODE

SMALL, SMALL_PODS, SMALL_NODES = "small", 100, 4
SMALL_SERVICES = [f"svc-{9000 + number}" for number in range(SMALL_PODS // REPLICAS)]
"""Its Services: one of them, as of the others every tenth, listens on localhost."""

APP_PORT = 8080
METRICS_PORT = 9404
ODD = "odd"
"""The namespace of the pods whose kubelets are slow, dead or liars."""

FROM, TO = "1.9.9", "1.24"
STARTED = "2021-03-01T08:00:00Z"


class Pod(t.NamedTuple):
    """One pod of the fleet, by its number."""

    namespace: str
    name: str
    service: str
    node: str
    ip: str


class Fleet:
    """`pods` pods in Deployments of 20 behind a Service each, 1,000 in a namespace, 50 on a node; each namespace has nodes of its own.

    Beside them `small`, a namespace as large as a small cluster, which only who asks for it makes.
    """

    def __init__(self, pods: int) -> None:
        if pods % PODS_IN_NAMESPACE:
            raise ValueError(f"wanted a multiple of {PODS_IN_NAMESPACE} pods, found {pods}")
        self.size = pods
        self.services = pods // REPLICAS
        self.nodes = [f"node-{number:03}" for number in range(pods // PODS_ON_NODE)]
        self.namespaces = [f"team-{number:02}" for number in range(pods // PODS_IN_NAMESPACE)]
        self.small_nodes = [f"small-{number}" for number in range(SMALL_NODES)]

    def pod(self, number: int) -> Pod:
        service = number // REPLICAS
        name = f"{service_name(service)}-{template_hash(service)}-{digest('pod', number, 5)}"
        ip = f"10.{100 + number // 10000}.{100 + number // 100 % 100}.{100 + number % 100}"  # each as long as any other
        node = number // PODS_IN_NAMESPACE * NODES_OF_NAMESPACE + number % NODES_OF_NAMESPACE
        return Pod(self.namespace_of(service), name, service_name(service), self.nodes[node], ip)

    def small(self) -> t.Iterator[Pod]:
        for number in range(SMALL_PODS):
            service = SMALL_SERVICES[number // REPLICAS]
            name, node = f"{service}-{digest('small', number, 5)}", self.small_nodes[number % SMALL_NODES]
            yield Pod(SMALL, name, service, node, f"10.96.0.{100 + number}")

    def pods(self) -> t.Iterator[Pod]:
        return (self.pod(number) for number in range(self.size))

    def on_node(self, node: str) -> t.Iterator[Pod]:
        if node in self.small_nodes:
            return (pod for pod in self.small() if pod.node == node)
        block, number = divmod(self.nodes.index(node), NODES_OF_NAMESPACE)
        first = block * PODS_IN_NAMESPACE
        return (self.pod(each) for each in range(first + number, first + PODS_IN_NAMESPACE, NODES_OF_NAMESPACE))

    def namespace_of(self, service: int) -> str:
        return self.namespaces[service * REPLICAS // PODS_IN_NAMESPACE]

    def findings(self, *namespaces: str) -> list[str]:
        """The ids of what the check is to find, in these namespaces or in all."""
        wrong = [
            (self.namespace_of(number), service_name(number))
            for number in range(self.services)
            if on_localhost(service_name(number))
        ]
        return sorted(
            f"IST0143/{namespace}/Deployment/{name}/{APP_PORT}"
            for namespace, name in wrong
            if namespace in (namespaces or self.namespaces)
        )


def digest(kind: str, number: int, length: int) -> str:
    """Letters and digits as Kubernetes makes names of them, always the same for the same number."""
    letters = "bcdfghjklmnpqrstvwxz2456789"
    return "".join(
        letters[byte % len(letters)] for byte in hashlib.sha256(f"{kind} {number}".encode()).digest()[:length]
    )


def template_hash(service: int) -> str:
    return digest("template", service, 9)


def service_name(number: int) -> str:
    return f"svc-{number:04}"


def on_localhost(pod: str) -> bool:
    """Whether a pod, or the pods of a Service, listen where the check finds fault: every tenth workload, and all the odd ones."""
    return not pod.startswith("svc-") or pod[len("svc-") :][:4].endswith("3")


def listeners(pod: str) -> list[tuple[str, int]]:
    """Addresses and ports of what listens in the pod: Envoy's listeners once for each of its two workers, as with SO_REUSEPORT."""
    envoy = [("0.0.0.0", 15001), ("0.0.0.0", 15006), ("0.0.0.0", 15021), ("0.0.0.0", 15090)]
    agent = [("127.0.0.1", 15000), ("127.0.0.1", 15004), ("*", 15020)]
    return [*envoy, *envoy, *agent, ("127.0.0.1" if on_localhost(pod) else "0.0.0.0", APP_PORT), ("*", METRICS_PORT)]


def table(pod: str) -> str:
    """What `ss -ltnH` prints there."""
    rows = [(f"{address}:{port}", "*:*" if address == "*" else "0.0.0.0:*") for address, port in listeners(pod)]
    return "".join(f"LISTEN 0      128 {local:>24} {peer:>17} \n" for local, peer in rows)


def container_id(pod: str, container: str) -> str:
    return hashlib.sha256(f"{pod} {container}".encode()).hexdigest()


def seen_by_probe(word: str, pods: t.Iterable[Pod]) -> str:
    """What the script of a node probe prints on the node of these pods: for each of them Envoy, the program, and who holds which socket."""
    cgroups, names, links, tables, sockets = (
        [],
        [],
        ["lrwxrwxrwx 1 0 0 0 Mar  1 08:00 /proc/1/ns/net -> net:[4026531992]"],
        [],
        [],
    )
    for number, pod in enumerate(pods):
        network = 4026532200 + number
        rows: dict[str, list[str]] = {"tcp": [], "tcp6": []}
        for program, (container, name) in enumerate((("istio-proxy", "envoy"), (pod.service, "java"))):
            pid = 1000 + 10 * number + program
            cgroups.append(f"/proc/{pid}/cgroup:10:memory:/k8s.io/{container_id(pod.name, container)}")
            names.append(f"/proc/{pid}/comm:{name}")
            links.append(f"lrwxrwxrwx 1 1337 1337 0 Mar  1 08:00 /proc/{pid}/ns/net -> net:[{network}]")
            sockets.append(f"/proc/{pid}/fd:")
            for row, (address, port) in enumerate(listeners(pod.name)):
                if (port in (APP_PORT, METRICS_PORT)) == (container == pod.service):
                    inode = 100000 + 100 * number + row
                    family = "tcp6" if address == "*" else "tcp"
                    local = (
                        "0" * 32
                        if address == "*"
                        else "".join(f"{int(part):02X}" for part in reversed(address.split(".")))
                    )
                    peer = f"{'0' * len(local)}:0000"
                    held = f"0A 00000000:00000000 00:00000000 00000000  1337        0 {inode} 1 0000000000000000 100 0 0 10 0"
                    rows[family].append(f"{len(rows[family]):4}: {local}:{port:04X} {peer} {held}")
                    sockets.append(f"lrwx------ 1 1337 1337 64 Mar  1 08:00 {row + 3} -> socket:[{inode}]")
        head = "  sl  local_address {}  st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
        wide = " " * 24
        heads = head.format("rem_address "), head.format(f"{wide}remote_address{wide}")
        tables += [f"{word} table {network}", heads[0], *rows["tcp"], heads[1], *rows["tcp6"]]
        tables += [f"           |-- {pod.ip}", "              /32 host LOCAL"]
    parts = [
        [f"{word} pods"],
        cgroups,
        [f"{word} names"],
        names,
        [f"{word} networks"],
        links,
        tables,
        [f"{word} sockets"],
        sockets,
        [f"{word} cut"],
        [f"{word} end"],
    ]
    return "\n".join(line for part in parts for line in part) + "\n"


# ---------------------------------------------------------------------------------------------------------------------
# Objects


def meta(name: str, namespace: str | None = None, **more: t.Any) -> Object:
    return {"name": name, **({"namespace": namespace} if namespace else {}), **more}


def namespace(name: str) -> Object:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": meta(name, labels={"istio-injection": "enabled"})}


def node(name: str, port: int) -> Object:
    """A Node whose kubelet the API server finds on loopback."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": meta(name, labels={"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}),
        "status": {
            "addresses": [{"type": "Hostname", "address": "localhost"}, {"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
            "conditions": [
                {
                    "type": "Ready",
                    "status": "True",
                    "reason": "KubeletReady",
                    "lastHeartbeatTime": STARTED,
                    "lastTransitionTime": STARTED,
                }
            ],
        },
    }


def service(name: str, place: str) -> Object:
    ports = [
        {"name": "http", "port": 80, "targetPort": APP_PORT, "protocol": "TCP"},
        {"name": "http-metrics", "port": 9404, "targetPort": "metrics", "protocol": "TCP"},
    ]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": meta(name, place, labels={"app": name}),
        "spec": {"selector": {"app": name}, "ports": ports},
    }


def endpoint_slice(name: str, pods: t.Sequence[Pod]) -> Object:
    """As the controller would make it, were it here."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": meta(
            f"{name}-{digest('slice', int(name[-4:]), 5)}",
            pods[0].namespace,
            labels={"kubernetes.io/service-name": name},
        ),
        "addressType": "IPv4",
        "ports": [
            {"name": "http", "port": APP_PORT, "protocol": "TCP"},
            {"name": "http-metrics", "port": METRICS_PORT, "protocol": "TCP"},
        ],
        "endpoints": [
            {
                "addresses": [pod.ip],
                "conditions": {"ready": True},
                "targetRef": {"kind": "Pod", "namespace": pod.namespace, "name": pod.name},
                "nodeName": pod.node,
            }
            for pod in pods
        ],
    }


def owner(kind: str, name: str, uid: str) -> list[Object]:
    return [
        {
            "apiVersion": "apps/v1",
            "kind": kind,
            "name": name,
            "uid": uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }
    ]


def deployment(name: str, place: str) -> Object:
    spec = {
        "replicas": REPLICAS,
        "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}}, "spec": application(name)},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": meta(name, place, labels={"app": name}),
        "spec": spec,
    }


def replica_set(name: str, place: str, uid: str) -> Object:
    """Of the Deployment that has this uid."""
    labels = {"app": name, "pod-template-hash": template_hash(int(name[-4:]))}
    spec = {
        "replicas": REPLICAS,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": application(name)},
    }
    full = f"{name}-{labels['pod-template-hash']}"
    metadata = meta(full, place, labels=labels, ownerReferences=owner("Deployment", name, uid))
    return {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": metadata, "spec": spec}


def application(name: str) -> Object:
    probe = {"httpGet": {"path": f"/app-health/{name}/readyz", "port": 15020}, "periodSeconds": 10, "timeoutSeconds": 3}
    environment = {"LOG_LEVEL": "info", "DATABASE_HOST": f"{name}-db.data.svc.cluster.local"}
    container = {
        "name": name,
        "image": f"registry.test/shop/{name}:2024.11.3",
        "ports": [{"name": "http", "containerPort": APP_PORT}, {"name": "metrics", "containerPort": METRICS_PORT}],
        "env": [{"name": key, "value": value} for key, value in environment.items()],
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "512Mi"}},
        "readinessProbe": probe,
        "livenessProbe": probe,
    }
    return {"automountServiceAccountToken": False, "enableServiceLinks": False, "containers": [container]}


def proxy(name: str) -> Object:
    """The sidecar as the injector writes it."""
    fields = {"POD_NAME": "metadata.name", "POD_NAMESPACE": "metadata.namespace", "INSTANCE_IP": "status.podIP"}
    values = {
        "CA_ADDR": "istiod.istio-system.svc:15012",
        "ISTIO_META_INTERCEPTION_MODE": "REDIRECT",
        "ISTIO_META_WORKLOAD_NAME": name,
        "ISTIO_KUBE_APP_PROBERS": json.dumps(
            {f"/app-health/{name}/readyz": {"httpGet": {"path": "/ready", "port": APP_PORT, "scheme": "HTTP"}}}
        ),
    }
    environment = [{"name": key, "valueFrom": {"fieldRef": {"fieldPath": path}}} for key, path in fields.items()]
    mounts = {"istiod-ca-cert": "/var/run/secrets/istio", "istio-envoy": "/etc/istio/proxy"}
    return {
        "name": "istio-proxy",
        "image": f"docker.io/istio/proxyv2:{FROM}",
        "args": [
            "proxy",
            "sidecar",
            "--domain",
            "$(POD_NAMESPACE).svc.cluster.local",
            "--serviceCluster",
            name,
            "--concurrency",
            "2",
        ],
        "ports": [{"name": "http-envoy-prom", "containerPort": 15090}],
        "env": environment + [{"name": key, "value": value} for key, value in values.items()],
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"cpu": "2", "memory": "1Gi"}},
        "readinessProbe": {
            "httpGet": {"path": "/healthz/ready", "port": 15021},
            "initialDelaySeconds": 1,
            "periodSeconds": 2,
            "failureThreshold": 30,
        },
        "securityContext": {"runAsUser": 1337, "runAsGroup": 1337},
        "volumeMounts": [{"name": volume, "mountPath": path} for volume, path in mounts.items()],
    }


INIT = {
    "name": "istio-init",
    "image": f"docker.io/istio/proxyv2:{FROM}",
    "args": [
        "istio-iptables",
        "-p",
        "15001",
        "-z",
        "15006",
        "-u",
        "1337",
        "-m",
        "REDIRECT",
        "-i",
        "*",
        "-x",
        "",
        "-b",
        "*",
        "-d",
        "15090,15021,15020",
    ],
    "securityContext": {
        "runAsUser": 0,
        "runAsGroup": 0,
        "capabilities": {"add": ["NET_ADMIN", "NET_RAW"], "drop": ["ALL"]},
    },
}

VOLUMES = [
    {"name": "istiod-ca-cert", "configMap": {"name": "istio-ca-root-cert"}},
    {"name": "istio-envoy", "emptyDir": {"medium": "Memory"}},
]

INJECTED = {
    "prometheus.io/port": "15020",
    "prometheus.io/scrape": "true",
    "sidecar.istio.io/status": json.dumps(
        {
            "version": "5f7",
            "initContainers": [INIT["name"]],
            "containers": ["istio-proxy"],
            "volumes": [v["name"] for v in VOLUMES],
            "revision": "default",
        }
    ),
}


def pod_object(pod: Pod, replica_set_uid: str | None = None) -> Object:
    """A pod as the injector and the ReplicaSet's controller leave it; without a uid one that nobody owns."""
    spec = application(pod.service)
    mesh = {
        "security.istio.io/tlsMode": "istio",
        "service.istio.io/canonical-name": pod.service,
        "service.istio.io/canonical-revision": "latest",
    }
    metadata = meta(pod.name, pod.namespace, labels={"app": pod.service, **mesh}, annotations=INJECTED)
    if replica_set_uid:
        name, _dash, _suffix = pod.name.rpartition("-")
        metadata["labels"]["pod-template-hash"] = name.rpartition("-")[2]
        metadata["ownerReferences"] = owner("ReplicaSet", name, replica_set_uid)
    containers = [*spec["containers"], proxy(pod.service)]
    spec = {**spec, "nodeName": pod.node, "initContainers": [INIT], "containers": containers, "volumes": VOLUMES}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def marks(pod: Pod) -> list[str]:
    """What tells a pod from another one of its ReplicaSet, apart from its uid; each as long as that of any other."""
    return [
        pod.name,
        pod.ip,
        pod.node,
        *(container_id(pod.name, container) for container in (pod.service, "istio-proxy")),
    ]


def running(pod: Pod, containers: t.Sequence[Object]) -> Object:
    """The status that a kubelet gives a pod whose containers are up."""
    conditions = [
        {"type": kind, "status": "True", "lastTransitionTime": STARTED}
        for kind in ("Initialized", "Ready", "ContainersReady", "PodScheduled")
    ]
    statuses = [
        {
            "name": container["name"],
            "image": container["image"],
            "imageID": f"{container['image'].rpartition(':')[0]}@sha256:{hashlib.sha256(container['image'].encode()).hexdigest()}",
            "containerID": f"containerd://{container_id(pod.name, container['name'])}",
            "ready": True,
            "started": True,
            "restartCount": 0,
            "state": {"running": {"startedAt": STARTED}},
        }
        for container in containers
    ]
    addresses = {"hostIP": "127.0.0.1", "podIP": pod.ip, "podIPs": [{"ip": pod.ip}]}
    return {
        "phase": "Running",
        "startTime": STARTED,
        **addresses,
        "conditions": conditions,
        "containerStatuses": statuses,
    }


ISTIOD = Pod("istio-system", "istiod-7d5b9c4f6-x2k8p", "istiod", "node-000", "10.99.0.1")


def istiod() -> tuple[Object, Object]:
    """What tells the Istio that is installed: its pod, and its mesh configuration."""
    labels = {"app": "istiod", "istio": "pilot", "istio.io/rev": "default"}
    container = {
        "name": "discovery",
        "image": f"docker.io/istio/pilot:{FROM}",
        "env": [{"name": "REVISION", "value": "default"}],
    }
    spec = {"nodeName": ISTIOD.node, "containers": [container]}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": meta(ISTIOD.name, ISTIOD.namespace, labels=labels),
        "spec": spec,
    }
    mesh = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": meta("istio", ISTIOD.namespace),
        "data": {"mesh": "rootNamespace: istio-system\n"},
    }
    return pod, mesh
