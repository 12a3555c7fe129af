# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Small clusters in few words: what a test does not name is ordinary.

The ordinary case is a Deployment `web` in namespace `shop` with one pod `web-7d4b9-a` in the mesh of an istiod 1.9, and a Service
`web` that sends port 80 to the pod's port 8080.
"""

from __future__ import annotations

import datetime
import ipaddress
import json

from ansible_collections.meshops.istio_precheck.plugins.module_utils._evaluate import evaluate
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.cluster import read_cluster
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.proxy_answer import inbound_clusters
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.kube import read_pods
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.shapes import (
    DUAL_STACK_ENV,
    ISTIOD_ENV,
    POD_ENV,
    SCOPING_ENV,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.snapshot import API_VERSION, KIND, check
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.exposure import expose
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.options import Options
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.selection import Selection
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.waivers import compile_waivers
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.workloads import Controllers

TODAY = datetime.date(2026, 11, 23)

PARTS = (
    "findings",
    "failing_probes",
    "waived",
    "remediated",
    "unchecked",
    "opens_on_upgrade",
    "not_listening",
    "not_checked",
    "out_of_scope",
    "remediations",
    "hints",
    "summary",
)
"""What every Report holds: the contract, written out once for all tests."""


def meta(name, namespace="shop", created="2026-01-01T00:00:00Z", **more):
    return {"name": name, "namespace": namespace, "creationTimestamp": created, **more}


def pod(
    name="web-7d4b9-a",
    namespace="shop",
    app="web",
    ips=("10.0.0.5",),
    proxy="1.9.9",
    role="sidecar",
    native=False,
    init=None,
    init_version=None,
    revision="default",
    annotations=None,
    labels=None,
    env=None,
    ports=None,
    probes=None,
    phase="Running",
    ready=True,
    waiting=None,
    host_network=False,
    deleting=False,
    owner=("ReplicaSet", "web-7d4b9"),
    node="node-1",
    **spec,
):
    """A pod. `proxy` is the version of its istio-proxy, None for none; `init` the arguments of its istio-init, None for none (istio-cni).

    `revision` is what the injector wrote into the status annotation, None for no such annotation.
    """
    app_container = {
        "name": "app",
        "image": "registry.example:5000/app:1",
        "ports": [{"name": n, "containerPort": p} for n, p in (ports or {}).items()],
        **(probes or {}),
    }
    containers, init_containers = [app_container], []
    notes = dict(annotations or {})
    if proxy is not None:
        sidecar_container = {
            "name": "istio-proxy",
            "image": f"docker.io/istio/proxyv2:{proxy}",
            "args": ["proxy", role],
            "env": [{"name": n, "value": v} for n, v in (env or {}).items()],
        }
        if native:
            init_containers.append({**sidecar_container, "restartPolicy": "Always"})
        else:
            containers.append(sidecar_container)
        if revision is not None:
            notes.setdefault(
                "sidecar.istio.io/status", json.dumps({"containers": ["istio-proxy"], "revision": revision})
            )
    if init is not None:
        init_containers.append(
            {"name": "istio-init", "image": f"docker.io/istio/proxyv2:{init_version or proxy}", "args": list(init)}
        )
    metadata = meta(
        name, namespace, labels={"app": app, "pod-template-hash": "7d4b9", **(labels or {})}, annotations=notes
    )
    if owner:
        metadata["ownerReferences"] = [{"kind": owner[0], "name": owner[1], "controller": True}]
    if deleting:
        metadata["deletionTimestamp"] = "2026-11-23T00:00:00Z"
    status = {
        "phase": phase,
        "conditions": [{"type": "Ready", "status": str(ready)}],
        "containerStatuses": [
            {"name": "app", "ready": ready, "state": {"waiting": {"reason": waiting}} if waiting else {"running": {}}}
        ],
    }
    if ips:
        status.update(podIP=ips[0], podIPs=[{"ip": ip} for ip in ips])
    return {
        "metadata": metadata,
        "spec": {
            "containers": containers,
            "initContainers": init_containers,
            "hostNetwork": host_network,
            "nodeName": node,
            **spec,
        },
        "status": status,
    }


def read_pod(*args, **kwargs):
    """pod(), as the rules read it."""
    return as_read(pod(*args, **kwargs))


def as_read(a_pod):
    return read_pods([a_pod])[0]


def port(number=80, target=8080, name="http", protocol="TCP", **more):
    return {
        "name": name,
        "port": number,
        "protocol": protocol,
        **({} if target is None else {"targetPort": target}),
        **more,
    }


def service(
    name="web", namespace="shop", selector=None, ports=None, families=("IPv4",), created="2026-01-01T00:00:00Z", **spec
):
    """A Service; `selector={}` for none."""
    return {
        "metadata": meta(name, namespace, created),
        "spec": {
            "type": "ClusterIP",
            "selector": {"app": "web"} if selector is None else selector,
            "ports": [port()] if ports is None else ports,
            **({"ipFamilies": list(families)} if families else {}),
            **spec,
        },
    }


def service_entry(name="web-entry", namespace="shop", selector=None, ports=None):
    return {
        "metadata": meta(name, namespace),
        "spec": {
            "hosts": ["web.example"],
            "workloadSelector": {"labels": selector or {"app": "web"}},
            "ports": ports or [{"number": 80, "name": "http"}],
        },
    }


def endpoint_slice(of="web", namespace="shop", pods=(), addresses=(), family="IPv4", number=8080, name="http"):
    targets = [
        {"addresses": ["192.0.2.1"], "targetRef": {"kind": "Pod", "namespace": namespace, "name": p}} for p in pods
    ]
    return {
        "metadata": meta(f"{of}-abcde", namespace, labels={"kubernetes.io/service-name": of}),
        "addressType": family,
        "endpoints": targets + [{"addresses": [address]} for address in addresses],
        "ports": [{"name": name, "port": number, "protocol": "TCP"}],
    }


def scaled(
    name, namespace="shop", owner=None, labels=None, replicas=0, kind="ReplicaSet", created="2026-01-01T00:00:00Z"
):
    """A controller with so many replicas, whose template has these labels."""
    owners = {"ownerReferences": [{"kind": owner[0], "name": owner[1], "controller": True}]} if owner else {}
    template = {"metadata": {"labels": {"app": "web"} if labels is None else labels}}
    return {
        "kind": kind,
        "metadata": meta(name, namespace, created, **owners),
        "spec": {"replicas": replicas, "template": template},
    }


def envoy_filter(
    name="patch",
    namespace="shop",
    applied="CLUSTER",
    context="SIDECAR_INBOUND",
    operation="MERGE",
    selector=None,
    **spec,
):
    patch = {"applyTo": applied, "match": {"context": context} if context else {}, "patch": {"operation": operation}}
    chosen = {"workloadSelector": {"labels": selector}} if selector else {}
    return {"metadata": meta(name, namespace), "spec": {**chosen, "configPatches": [patch], **spec}}


def sidecar(
    name="listeners",
    namespace="shop",
    selector=None,
    ingress=None,
    created="2026-01-01T00:00:00Z",
    revision=None,
    ingress_of=None,
    **spec,
):
    """A Sidecar. `selector` None for none, {} for an empty one; `ingress` maps port numbers to a defaultEndpoint, None for unset.

    `ingress_of` is what its one entry, of port 8080 to localhost, has beside that.
    """
    if ingress_of is not None:
        spec["ingress"] = [{"port": {"number": 8080}, "defaultEndpoint": "127.0.0.1:8080", **ingress_of}]
    labels = {"labels": {"istio.io/rev": revision}} if revision else {}
    listeners = [{"port": {"number": n}, **({"defaultEndpoint": e} if e else {})} for n, e in (ingress or {}).items()]
    chosen = {} if selector is None else {"workloadSelector": {"labels": selector} if selector else {}}
    return {
        "apiVersion": "networking.istio.io/v1beta1",
        "metadata": meta(name, namespace, created, **labels),
        "spec": {**chosen, "ingress": listeners, **spec},
    }


def istiod(
    version="1.9.9",
    revision="default",
    opt_out=False,
    localhost=False,
    merge=False,
    dual=False,
    scoping=None,
    rewrites=None,
    **mesh_config,
):
    """A control plane. `opt_out`: PILOT_ENABLE_INBOUND_PASSTHROUGH=false; `localhost`: meshConfig.inboundTrafficPolicy.mode LOCALHOST;
    `dual`: ISTIO_DUAL_STACK; `scoping`: what ENABLE_ENHANCED_RESOURCE_SCOPING is set to; `rewrites`: whether its injector rewrites probes."""
    env = {"PILOT_ENABLE_INBOUND_PASSTHROUGH": "false"} if opt_out else {}
    if merge:
        env["PILOT_ALLOW_SIDECAR_SERVICE_INBOUND_LISTENER_MERGE"] = "true"
    if dual:
        env[DUAL_STACK_ENV] = "true"
    if scoping is not None:
        env[SCOPING_ENV] = scoping
    policy = {"inboundTrafficPolicy": {"mode": "LOCALHOST"}} if localhost else {}
    config = {"rootNamespace": "istio-system", **policy, **mesh_config}
    plane = {"namespace": "istio-system", "revision": revision, "version": version, "env": env, "meshConfig": config}
    return plane if rewrites is None else {**plane, "rewritesProbes": rewrites}


def namespace(name="shop", **labels):
    """A Namespace, with these labels."""
    return {"metadata": {"name": name, "labels": labels}}


def table(of="web-7d4b9-a", binds=("127.0.0.1:8080",), namespace="shop", text=None):
    """A socket table as ss prints it: binds such as `127.0.0.1:8080`, `[::1]:8080`, `*:8080` (both families), `[::]:8080` (IPv6 alone)."""
    peers = ["[::]:*" if bind.startswith("[") else "*:*" if bind.startswith("*") else "0.0.0.0:*" for bind in binds]
    lines = [f"LISTEN 0 4096 {bind} {peer}\n" for bind, peer in zip(binds, peers)]
    return {
        "namespace": namespace,
        "pod": of,
        "container": "istio-proxy",
        "format": "ss",
        "stdout": "".join(lines) if text is None else text,
    }


def held_table(held, of="web-7d4b9-a", namespace="shop"):
    """A table as a probe on the node reads it: `held` has for each bind the processes that have it open, each with its container."""
    heads = [
        "  sl  local_address rem_address   st\n",
        "  sl  local_address                         remote_address   st\n",
    ]
    lines, holders = {4: [], 6: []}, []
    for number, (bind, processes) in enumerate(held.items()):
        host, _colon, port_number = bind.rpartition(":")
        at = ipaddress.ip_address(host.strip("[]"))
        words = (at.packed[place : place + 4] for place in range(0, len(at.packed), 4))
        address = "".join(f"{int.from_bytes(word, 'little'):08X}" for word in words)
        lines[at.version].append(
            f"{number:4}: {address}:{int(port_number):04X} {'0' * len(address)}:0000 0A 00000000:00000000 00:00000000 00000000"
            f"     0        0 {500 + number} 1 0000000000000000 100 0 0 10 0\n"
        )
        for process, container in processes:
            known = {"containerID": f"{container}-id"} if container else {}
            holders.append({"inode": 500 + number, "process": process, **known})
    return {
        "namespace": namespace,
        "pod": of,
        "format": "procnet",
        "stdout": "".join([heads[0], *lines[4], heads[1], *lines[6]]),
        "holders": holders,
    }


def proxy_answer(ports):
    """What `pilot-agent request` prints of a proxy's inbound clusters: ports map to what it dials, None for the address that was asked for."""

    def config(port, dialled):
        kind = "type.googleapis.com/envoy.admin.v3.ClustersConfigDump.DynamicCluster"
        cluster = {"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": f"inbound|{port}||"}
        if dialled is None:
            return {"@type": kind, "cluster": {**cluster, "type": "ORIGINAL_DST"}}
        host, _colon, number = dialled.rpartition(":")
        address = (
            {"socket_address": {"address": host.strip("[]"), "port_value": int(number)}} if number.isdigit() else {}
        )
        if dialled.startswith("unix://"):
            address = {"pipe": {"path": dialled.removeprefix("unix://")}}
        endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
        return {
            "@type": kind,
            "cluster": {
                **cluster,
                "type": "STATIC",
                "load_assignment": {"cluster_name": cluster["name"], "endpoints": endpoints},
            },
        }

    return json.dumps({"configs": [config(*each) for each in ports.items()]}, indent=1) + "\n"


def proxy_config(ports=None, of="web-7d4b9-a", namespace="shop", **more):
    """An entry of `proxyConfigs`: `ports` as of proxy_answer(); `reason` and `detail` where the proxy said nothing."""
    said = {"inbound": inbound_clusters(proxy_answer(ports))} if ports is not None else {}
    return {"namespace": namespace, "pod": of, **said, **more}


def snapshot(
    pods=None, services=None, sidecars=(), istiods=None, tables=None, binds=("127.0.0.1:8080",), unread=(), **more
):
    """A checked snapshot; without `tables`, each running pod binds `binds`."""
    pods = [pod()] if pods is None else list(pods)
    if tables is None:
        running = [p["metadata"] for p in pods if p["status"]["phase"] == "Running"]
        tables = [table(m["name"], binds, m["namespace"]) for m in running]
    planes = [istiod()] if istiods is None else list(istiods)
    return check(
        {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {"takenAt": "2026-11-23T00:00:00Z"},
            "services": [service()] if services is None else list(services),
            "pods": pods,
            "sidecars": list(sidecars),
            "istio": {
                "rootNamespace": "istio-system",
                "controlPlanes": planes,
                "meshConfig": {},
                "variables": [*ISTIOD_ENV, *POD_ENV],
            },
            "socketTables": list(tables),
            "unread": list(unread),
            **more,
        }
    )


def report(
    *args,
    target=None,
    scope="mesh",
    waivers=(),
    today=TODAY,
    selection=None,
    delivery_source="auto",
    remediate_unreachable=False,
    **kwargs,
):
    """The Report on snapshot(*args, **kwargs)."""
    chosen = selection or Selection(scope=scope)
    options = Options(
        today,
        chosen,
        target,
        tuple(compile_waivers(waivers)),
        delivery_source=delivery_source,
        remediate_unreachable=remediate_unreachable,
    )
    return evaluate(snapshot(*args, **kwargs), options)


def exposed_in(document):
    """Which ports Services expose in a snapshot."""
    seen = read_cluster(document)
    return expose(seen.pods, seen.registry, Controllers(seen.controllers))


def verdicts(found):
    """What a Report says of each port: `{(workload, port): impact or outcome}`; a pod that was not checked is `unchecked`."""
    said = {}
    for outcome in ("not_listening", "remediated", "waived", "findings"):
        for record in found[outcome]:
            said[record["workload"]["name"], record["port"]] = record["impact"] if outcome == "findings" else outcome
    for record in found["unchecked"]:
        said[record["pod"], None] = "unchecked"
    return said


def verdict(found):
    """The one verdict of a Report on one port; `ok` where it says nothing of it."""
    said = verdicts(found)
    assert len(said) <= 1, said
    return next(iter(said.values()), "ok")
