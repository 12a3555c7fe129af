# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A real mesh: istiod as a process beside the API server, pods with pilot-agent and Envoy, and a pod that stands for istiod in lists."""

from __future__ import annotations

import json
import pathlib
import re
from typing import Any

from . import control_plane, images, kubernetes, modules, node, packages, processes
from .settings import IPV4_GATEWAY, NODE_NAME, STATE, run

ISTIO = modules.Module(
    "istio",
    "tool",
    "",
    tags="disable_pgv",  # as Istio's own builds: without the validators of Envoy's messages, which nothing calls
    files=(
        ("istio.io/istio", "manifests/charts/base/files/crd-all.gen.yaml"),
        ("istio.io/istio", "tools/packaging/common/envoy_bootstrap.json"),
    ),
)
VERSION = "1.31.0"
"""What the tag of istiod's image says, unless a test says otherwise: the release that the module's commit is to become."""
SYSTEM = "istio-system"
PROXY = f"precheck.test/proxyv2:{VERSION}"
PILOT = "precheck.test/pilot"
REACH = "precheck.test/reach:1"
HOST = "istiod.istio-system.svc"
DISCOVERY_PORT = 15012
XTABLES = pathlib.Path("/usr/lib/x86_64-linux-gnu/xtables")
NEEDED = {"/usr/sbin/xtables-legacy-multi": "iptables"}
# Those of Istio's filters that an Envoy of others lacks are switched off.
ISTIOD_ENVIRONMENT = {
    "POD_NAMESPACE": SYSTEM,
    "REVISION": "default",  # as charts set it; without one, labels of a revision mean nothing to istiod
    "CLUSTER_ID": "Kubernetes",
    "PILOT_CERT_PROVIDER": "istiod",
    "INJECTION_WEBHOOK_CONFIG_NAME": "",
    "VALIDATION_WEBHOOK_CONFIG_NAME": "",
    "PILOT_ENABLE_METADATA_EXCHANGE": "false",
    "PILOT_ENABLE_ALPN_FILTER": "false",
}
Object = dict[str, Any]


def programs() -> pathlib.Path:
    """The folder with pilot-discovery, pilot-agent, the definitions of Istio's resources and Envoy's bootstrap."""
    return modules.built(ISTIO)


def wanted(folder: pathlib.Path) -> list[images.Image]:
    istio, envoy = programs(), modules.envoy()
    shell, applets = images.busybox()
    xtables = pathlib.Path("/usr/sbin/xtables-legacy-multi")
    proxy: images.Files = {
        "/usr/local/bin/pilot-agent": istio / "pilot-agent",
        "/usr/local/bin/envoy": envoy,
        "/var/lib/istio/envoy/envoy_bootstrap_tmpl.json": istio / "envoy_bootstrap.json",
        str(xtables): xtables,
        **{str(path): path for path in XTABLES.glob("lib*t_*.so")},
        **images.with_libraries("ss"),
        **images.libraries(envoy),
        **images.libraries(xtables),
        **shell,
    }
    names = (
        f"{ip}{legacy}{part}"
        for ip in ("iptables", "ip6tables")
        for legacy in ("", "-legacy")
        for part in ("", "-save", "-restore")
    )
    links = {**applets, **{f"/usr/sbin/{name}": xtables.name for name in names}}
    listen: images.Files = {"/bin/listen": images.go_program("listen", folder)}
    reach: images.Files = {"/bin/reach": images.go_program("reach", folder)}
    return [
        images.Image(PROXY, ["/usr/local/bin/pilot-agent"], proxy, links),
        images.Image(REACH, ["/bin/reach"], {**reach, **shell}, applets),
        images.Image(f"{PILOT}:{VERSION}", ["/bin/listen"], listen),
    ]


# --- The control plane ------------------------------------------------------------------------------------------------


def up(environment: dict[str, str] | None = None) -> None:
    """On a cluster that is up: images, definitions, configuration, istiod. What is there stays."""
    packages.install(NEEDED)
    node.load(images.made_of(wanted), "mesh-images")
    kubectl("apply", "--server-side", "--force-conflicts", "--filename", programs() / "crd-all.gen.yaml")
    kubectl("wait", "--for=condition=Established", "--timeout=60s", "--filename", programs() / "crd-all.gen.yaml")
    apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}}])
    if not kubectl("get", "configmap", "istio", "--namespace", SYSTEM, "--ignore-not-found", "--output=name").stdout:
        apply([mesh_config()])
    start(environment)
    apply([stand_in(VERSION, environment or {})])


def start(environment: dict[str, str] | None = None) -> None:
    if not processes.alive("istiod"):
        control_plane.require_free(*(name for name in control_plane.PORT_NAMES if name.startswith("istiod-")))
    ports, home = control_plane.ports(), STATE / "istiod"
    home.mkdir(exist_ok=True)
    processes.start(
        "istiod",
        [
            str(programs() / "pilot-discovery"),
            "discovery",
            f"--kubeconfig={STATE / 'kubeconfig'}",
            f"--secureGRPCAddr={IPV4_GATEWAY}:{DISCOVERY_PORT}",
            f"--grpcAddr=127.0.0.1:{ports['istiod-grpc']}",
            f"--httpAddr=127.0.0.1:{ports['istiod-http']}",
            f"--httpsAddr=127.0.0.1:{ports['istiod-webhooks']}",
            f"--monitoringAddr=127.0.0.1:{ports['istiod-monitoring']}",
            "--ctrlz_address=127.0.0.1",
            f"--ctrlz_port={ports['istiod-introspection']}",
        ],
        {**ISTIOD_ENVIRONMENT, **(environment or {})},
        home,
    )
    processes.until_healthy("istiod", ready, 120)


def ready() -> bool:
    return control_plane.plain(f"http://127.0.0.1:{control_plane.ports()['istiod-http']}/ready") is not None


def stop() -> None:
    processes.stop("istiod")


def mesh_config(**settings: Any) -> Object:
    """The mesh's configuration, which istiod and the gate both read."""
    config = {
        "rootNamespace": SYSTEM,
        "trustDomain": "cluster.local",
        "accessLogFile": "/dev/stdout",
        "defaultConfig": {"discoveryAddress": f"{HOST}:{DISCOVERY_PORT}"},
        **settings,
    }
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "istio", "namespace": SYSTEM, "labels": {"istio.io/rev": "default"}},
        "data": {"mesh": json.dumps(config, indent=1), "meshNetworks": "networks: {}"},
    }


def stand_in(tag: str, environment: dict[str, str]) -> Object:
    """The pod that lists show as istiod, with the tag and the variables that are to be seen there. It does nothing."""
    if tag != VERSION:
        node.ctr("images", "tag", "--force", f"{PILOT}:{VERSION}", f"{PILOT}:{tag}")
    labels = {"app": "istiod", "istio": "pilot", "istio.io/rev": "default"}
    variables = {"REVISION": "default", **environment}
    name = re.sub("[^a-z0-9.-]", "-", f"istiod-{tag}")
    return pod(
        name,
        SYSTEM,
        labels,
        [container("discovery", f"{PILOT}:{tag}", ["discovery"], env=plain_variables(variables))],
        {"sidecar.istio.io/inject": "false"},
    )


# --- Pods -------------------------------------------------------------------------------------------------------------


def plain_variables(values: dict[str, str]) -> list[Object]:
    return [{"name": name, "value": value} for name, value in values.items()]


def container(name: str, image: str, arguments: list[str], **more: Any) -> Object:
    return {"name": name, "image": image, "imagePullPolicy": "Never", "args": arguments, **more}


def pod(
    name: str,
    namespace: str,
    labels: dict[str, str],
    containers: list[Object],
    annotations: dict[str, str],
    **spec: Any,
) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": labels, "annotations": annotations},
        "spec": {
            "nodeName": NODE_NAME,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 1,
            "containers": containers,
            **spec,
        },
    }


def deployment(name: str, namespace: str, application: Object, probers: Object | None = None) -> Object:
    """A workload of one pod in the mesh, as the injector makes it: `application` is its container, `probers` its rewritten probes."""
    labels = {
        "app": name,
        "security.istio.io/tlsMode": "istio",
        "service.istio.io/canonical-name": name,
        "service.istio.io/canonical-revision": "latest",
    }
    status = {"initContainers": ["istio-init"], "containers": ["istio-proxy"], "revision": "default"}
    annotations = {"sidecar.istio.io/status": json.dumps(status), "istio.io/rev": "default"}
    made = pod(
        name,
        namespace,
        labels,
        [application, proxy(name, namespace, application, probers)],
        annotations,
        serviceAccountName="default",
        securityContext={"fsGroup": 1337},
        hostAliases=[{"ip": IPV4_GATEWAY, "hostnames": [HOST]}],
        initContainers=INIT,
        volumes=VOLUMES,
    )
    template = {"metadata": {"labels": labels, "annotations": annotations}, "spec": made["spec"]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": template},
    }


def service(name: str, namespace: str, **ports: tuple[int, int]) -> Object:
    """Ports by name: (the Service's, the pods')."""
    listed = [
        {"name": each.replace("_", "-"), "port": port, "targetPort": target} for each, (port, target) in ports.items()
    ]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": {"app": name}, "ports": listed},
    }


INIT = [
    # A pod has no route out; one to nowhere lets a connection to a Service's address start, which the proxy then takes over.
    container(
        "route",
        REACH,
        [],
        command=["sh", "-c", "ip route add default dev eth0; ip -6 route add default dev eth0 || true"],
        securityContext={"capabilities": {"add": ["NET_ADMIN"]}},
    ),
    container(
        "istio-init",
        PROXY,
        [
            "istio-iptables", "-p", "15001", "-z", "15006", "-u", "1337", "-m", "REDIRECT",
            "-i", "*", "-x", "", "-b", "*", "-d", "15090,15021,15020",
        ],  # fmt: skip
        securityContext={
            "capabilities": {"add": ["NET_ADMIN", "NET_RAW"], "drop": ["ALL"]},
            "runAsUser": 0,
            "runAsGroup": 0,
            "runAsNonRoot": False,
        },
    ),
]  # fmt: skip

MOUNTS = {
    "workload-socket": "/var/run/secrets/workload-spiffe-uds",
    "credential-socket": "/var/run/secrets/credential-uds",
    "workload-certs": "/var/run/secrets/workload-spiffe-credentials",
    "istiod-ca-cert": "/var/run/secrets/istio",
    "istio-data": "/var/lib/istio/data",
    "istio-envoy": "/etc/istio/proxy",
    "istio-token": "/var/run/secrets/tokens",
    "istio-podinfo": "/etc/istio/pod",
}
TOKEN = {"path": "istio-token", "expirationSeconds": 43200, "audience": "istio-ca"}
VOLUMES: list[Object] = [
    *(
        {"name": name, "emptyDir": {}}
        for name in ("workload-socket", "credential-socket", "workload-certs", "istio-data")
    ),
    {"name": "istio-envoy", "emptyDir": {"medium": "Memory"}},
    {"name": "istiod-ca-cert", "configMap": {"name": "istio-ca-root-cert"}},
    {"name": "istio-token", "projected": {"sources": [{"serviceAccountToken": TOKEN}]}},
    {
        "name": "istio-podinfo",
        "downwardAPI": {
            "items": [
                {"path": name, "fieldRef": {"fieldPath": f"metadata.{name}"}} for name in ("labels", "annotations")
            ]
        },
    },
]


def proxy(name: str, namespace: str, application: Object, probers: Object | None) -> Object:
    fields = {
        "POD_NAME": "metadata.name",
        "POD_NAMESPACE": "metadata.namespace",
        "INSTANCE_IP": "status.podIP",
        "SERVICE_ACCOUNT": "spec.serviceAccountName",
        "HOST_IP": "status.hostIP",
        "ISTIO_META_NODE_NAME": "spec.nodeName",
    }
    variables = {
        "PILOT_CERT_PROVIDER": "istiod",
        "CA_ADDR": f"{HOST}:{DISCOVERY_PORT}",
        "PROXY_CONFIG": json.dumps({"discoveryAddress": f"{HOST}:{DISCOVERY_PORT}", "concurrency": 1}),
        "ISTIO_META_POD_PORTS": json.dumps(application.get("ports", [])),
        "ISTIO_META_APP_CONTAINERS": application["name"],
        "ISTIO_META_CLUSTER_ID": "Kubernetes",
        "ISTIO_META_INTERCEPTION_MODE": "REDIRECT",
        "ISTIO_META_WORKLOAD_NAME": name,
        "ISTIO_META_OWNER": f"kubernetes://apis/apps/v1/namespaces/{namespace}/deployments/{name}",
        "ISTIO_META_MESH_ID": "cluster.local",
        "TRUST_DOMAIN": "cluster.local",
        **({"ISTIO_KUBE_APP_PROBERS": json.dumps(probers)} if probers else {}),
    }
    references = [{"name": each, "valueFrom": {"fieldRef": {"fieldPath": path}}} for each, path in fields.items()]
    return container(
        "istio-proxy",
        PROXY,
        [
            "proxy", "sidecar", "--domain", "$(POD_NAMESPACE).svc.cluster.local",
            "--proxyLogLevel=warning", "--proxyComponentLogLevel=misc:error", "--log_output_level=default:info",
        ],
        ports=[{"name": "http-envoy-prom", "containerPort": 15090}],
        env=[*references, *plain_variables(variables)],
        readinessProbe={
            "httpGet": {"path": "/healthz/ready", "port": 15021},
            "periodSeconds": 1,
            "timeoutSeconds": 3,
            "failureThreshold": 4,
        },
        securityContext={
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "runAsUser": 1337,
            "runAsGroup": 1337,
            "runAsNonRoot": True,
        },
        volumeMounts=[{"name": each, "mountPath": path} for each, path in MOUNTS.items()],
    )  # fmt: skip


# --- An application to look at ----------------------------------------------------------------------------------------


def example(namespace: str = "shop") -> list[Object]:
    """Istio's own example of IST0143 and a client: `shop` listens on 127.0.0.1:8080, behind a Service."""
    serve = container("app", REACH, ["serve", "http=127.0.0.1:8080"], ports=[{"name": "http", "containerPort": 8080}])
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        deployment("shop", namespace, serve),
        service("shop", namespace, http=(80, 8080)),
        deployment("client", namespace, container("app", REACH, ["sleep"])),
    ]


# --- kubectl ----------------------------------------------------------------------------------------------------------


def kubectl(*arguments: Any, **options: Any) -> Any:
    return run(kubernetes.binaries() / "kubectl", "--kubeconfig", STATE / "kubeconfig", *arguments, **options)


def apply(objects: list[Object]) -> None:
    kubectl("apply", "--filename=-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
