# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Clusters that need a remedy: those with a golden file, random ones, and what becomes of one when its remedies are applied."""

from __future__ import annotations

import copy
import json

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ansible_collections.meshops.istio_precheck.plugins.module_utils._evaluate import evaluate
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.options import Options
from ansible_collections.meshops.istio_precheck.tests.helpers.cluster import (
    TODAY,
    istiod,
    meta,
    pod,
    port,
    service,
    sidecar,
    snapshot,
    table,
)

NOW = "2026-11-23T12:00:00Z"
OPEN = Options(TODAY, remediate_unreachable=True)
"""With Sidecars for ports that are closed today, too."""


def controller(
    name="web-7d4b9",
    labels=None,
    kind="ReplicaSet",
    namespace="shop",
    owner=("Deployment", "web"),
    expressions=None,
    **spec,
):
    owners = {"ownerReferences": [{"kind": owner[0], "name": owner[1], "controller": True}]} if owner else {}
    labels = {"app": "web", "pod-template-hash": "7d4b9"} if labels is None else labels
    selector = (
        labels
        if kind == "ReplicationController"
        else {"matchLabels": labels, **({"matchExpressions": expressions} if expressions else {})}
    )
    return {"kind": kind, "metadata": meta(name, namespace, **owners), "spec": {"selector": selector, **spec}}


def versioned(thing, version):
    thing["metadata"]["resourceVersion"] = version
    return thing


def applied(before, remediations):
    """The snapshot as it is once the remediations are in the cluster."""
    after = copy.deepcopy(before)
    for remediation in copy.deepcopy(remediations):
        manifest = remediation["manifest"]
        same = [
            s
            for s in after["sidecars"]
            if all(s["metadata"][k] == manifest["metadata"][k] for k in ("namespace", "name"))
        ]
        assert len(same) == (remediation["action"] == "update")
        if same:
            same[0]["spec"] = manifest["spec"]
        else:
            manifest["metadata"]["creationTimestamp"] = NOW
            after["sidecars"].append(manifest)
    return after


# ---------------------------------------------------------------------------------------------------------------------
# Those with a golden file

EGRESS = [{"hosts": ["./*", "istio-system/*"]}]


def _netcat():
    labels = {"app": "netcat", "pod-template-hash": "64476d7"}
    return snapshot(
        [pod("netcat-64476d7-hcwsv", "default", "netcat", labels=labels, owner=("ReplicaSet", "netcat-64476d7"))],
        [service("netcat", "default", {"app": "netcat"}, [port(8080, 8080, "tcp")])],
        controllers=[controller("netcat-64476d7", labels, namespace="default", owner=("Deployment", "netcat"))],
    )


def _with(sidecars, **more):
    return snapshot(sidecars=sidecars, controllers=[controller()], **more)


def _disagreement():
    ports = {"younger": [port(81, 8080, "tcp-legacy")], "older": [port(80, 8080, "grpc-api")]}
    created = {"younger": "2026-02-01T00:00:00Z", "older": "2026-01-01T00:00:00Z"}
    return _with([], services=[service(name, ports=ports[name], created=created[name]) for name in ports])


def _stateful_set():
    pods = [
        pod(
            f"db-{n}",
            app="db",
            owner=("StatefulSet", "db"),
            labels={"statefulset.kubernetes.io/pod-name": f"db-{n}", "controller-revision-hash": "db-1"},
        )
        for n in (0, 1)
    ]
    return snapshot(
        pods,
        [
            service(
                "db",
                selector={"app": "db"},
                ports=[port(27017, 27017, "client"), port(9216, 9216, "http-metrics")],
                clusterIP="None",
            )
        ],
        controllers=[controller("db", {"app": "db"}, "StatefulSet", owner=None)],
        binds=("127.0.0.1:27017", "0.0.0.0:9216"),
    )


GOLDEN = {
    "seed-netcat": _netcat(),
    "default-registry-only": _with(
        [versioned(sidecar("default", outboundTrafficPolicy={"mode": "REGISTRY_ONLY"}, egress=EGRESS), "4711")],
        services=[service(ports=[port(), port(9090, 9090, "http-metrics")])],
        binds=("127.0.0.1:8080", "0.0.0.0:9090"),
        istiods=[istiod("1.20.8", opt_out=True)],
    ),
    "root-default": _with(
        [
            versioned(
                sidecar(
                    "mesh-wide",
                    "istio-system",
                    egress=[{"hosts": ["./*"]}],
                    inboundConnectionPool={"tcp": {"maxConnections": 100}},
                    ingress={7070: None},
                ),
                "42",
            )
        ]
    ),
    "existing-selector": _with(
        [
            versioned(
                sidecar(
                    "web",
                    selector={"app": "web"},
                    ingress={9090: "127.0.0.1:9091"},
                    egress=EGRESS,
                    outboundTrafficPolicy={},
                ),
                "815",
            ),
            sidecar("default", egress=[{"hosts": ["./*"]}]),
        ],
        services=[service(ports=[port(), port(9090, 9090, "http-metrics"), port(7070, 7070, "admin")])],
        binds=("127.0.0.1:8080", "127.0.0.1:9091", "10.0.0.5:7070"),
    ),
    "two-services-disagree": _disagreement(),
    "statefulset-headless": _stateful_set(),
}

# ---------------------------------------------------------------------------------------------------------------------
# Random ones

PORTS = (8080, 9090, 7070)
HOSTS = ("127.0.0.1", "0.0.0.0", "*", "[::1]", "[::]", "127.0.0.2", "POD", "POD6", "")
ISTIODS = (
    [],
    [istiod("1.8.6")],
    [istiod("1.9.9")],
    [istiod("1.10.0")],
    [istiod("1.14.6", opt_out=True)],
    [istiod("1.18.0", opt_out=True)],
    [istiod("1.20.8", opt_out=True)],
    [istiod("1.20.8")],
    [istiod("1.21.0")],
    [istiod("1.24.1", localhost=True)],
    [istiod("1.9.9"), istiod("1.20.8", "canary")],
    [istiod("1.20.8", merge=True)],
    [istiod("1.20.8", opt_out=True), istiod("1.24.0", "canary")],
    [istiod("1.9.9"), istiod("1.24.0", "canary", localhost=True)],
    [istiod("1.20.8"), istiod("1.24.0", "canary", localhost=True)],
)
FAMILIES = {("10.0.0.{0}",): ("IPv4",), ("10.0.0.{0}", "fd00::{0}"): ("IPv4", "IPv6"), ("fd00::{0}",): ("IPv6",)}


def mostly(ordinary, *others):
    """The ordinary four times in five."""
    return st.sampled_from((ordinary,) * (4 * len(others)) + others)


@st.composite
def pods_of(draw, name, number, ips):
    """A workload's pods with their sockets. Mostly alike; where they are not, one Sidecar may not do."""
    home = "[::1]" if ":" in ips[0] else "127.0.0.1"
    binds = {p: draw(st.sampled_from((home, home, "*", *HOSTS))) for p in PORTS}
    tier = draw(st.sampled_from(("front", "back")))
    proxy = draw(mostly("1.9.9", None))
    annotations = draw(
        mostly(
            {}, {"traffic.sidecar.istio.io/excludeInboundPorts": "9090"}, {"sidecar.istio.io/interceptionMode": "NONE"}
        )
    )
    found, tables = [], []
    for n in range(draw(st.integers(1, 3))):
        own = dict(binds)
        if draw(mostly(False, True)):
            own[draw(st.sampled_from(PORTS))] = draw(st.sampled_from(HOSTS))
        addresses = [ip.format(10 * number + n) for ip in ips]
        ports = {"main": draw(mostly(8080, 9090))}
        each = pod(
            f"{name}-h{number}-{n}", app=name, ips=addresses, proxy=proxy, annotations=annotations, ports=ports,
            labels={"tier": tier, "track": draw(mostly("stable", "canary")), "pod-template-hash": f"h{number}"},
            owner=draw(mostly(("ReplicaSet", f"{name}-h{number}"), None)),
            revision=draw(mostly("default", "canary")),
        )  # fmt: skip
        places = {
            "POD": addresses[0] if ":" not in addresses[0] else f"[{addresses[0]}]",
            "POD6": f"[{addresses[-1]}]" if ":" in addresses[-1] else addresses[-1],
        }
        listening = [f"{places.get(host, host)}:{p}" for p, host in own.items() if host]
        found.append(each)
        if draw(mostly(True, False)):
            tables.append(table(each["metadata"]["name"], listening))
    return found, tables


def endpoints(of):
    own = (f"127.0.0.1:{of}", f"0.0.0.0:{of}", f"[::1]:{of}", f":{of}")
    return st.sampled_from((None, *own, "unix:///var/run/app", "127.0.0.1:9999", ":9090", "127.0.0.1:7070"))


@st.composite
def existing(draw, number, names):
    where = draw(mostly("shop", "istio-system"))
    others = (None, {}, {"tier": "front"}, {"track": "canary"})
    ingress = {p: draw(endpoints(p)) for p in draw(st.lists(st.sampled_from((*PORTS, 5050)), unique=True, max_size=3))}
    rest = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "egress": st.just(EGRESS),
                "outboundTrafficPolicy": st.sampled_from(({"mode": "REGISTRY_ONLY"}, {"mode": "ALLOW_ANY"}, {})),
                "inboundConnectionPool": st.just({"http": {"http1MaxPendingRequests": 7}}),
            },
        )
    )
    revision = draw(mostly(None, "default", "canary"))
    made = sidecar(
        f"s{number}",
        where,
        draw(st.sampled_from((*others, *({"app": name} for name in names * 2)))),
        ingress,
        draw(st.sampled_from(("2026-01-01T00:00:00Z", "2026-02-02T00:00:00Z"))),
        revision,
        **rest,
    )
    if not ingress:
        del made["spec"]["ingress"]
    return versioned(made, str(1000 + number))


@st.composite
def clusters(draw):
    """A namespace of one to three workloads with Services and Sidecars in all relations to each other."""
    ips = draw(st.sampled_from(tuple(FAMILIES)))
    names = ["web", "shop-web", "db"][: draw(st.integers(1, 3))]
    workloads = [draw(pods_of(name, number, ips)) for number, name in enumerate(names, 1)]
    services = []
    for number in range(draw(st.integers(1, 4))):
        selector = draw(
            mostly({"app": names[number % len(names)]}, {"app": names[0]}, {"tier": "front"}, {"track": "stable"})
        )
        offered = [
            port(p, draw(mostly(p, "main")), draw(st.sampled_from(("http", "tcp-x", "", "grpc-web-y", "a.b", "mysql"))))
            for p in draw(st.lists(st.sampled_from(PORTS), min_size=1, max_size=3, unique=True))
        ]
        created = draw(st.sampled_from(("2026-01-01T00:00:00Z", "2026-02-02T00:00:00Z")))
        services.append(
            service(f"svc{number}", selector=selector, ports=offered, families=FAMILIES[ips], created=created)
        )
    controllers = [
        controller(f"{name}-h{n}", {"app": name, "pod-template-hash": f"h{n}"}, owner=("Deployment", name))
        for n, name in enumerate(names, 1)
    ]
    return snapshot(
        [each for pods, _tables in workloads for each in pods],
        services,
        [draw(existing(number, names)) for number in range(draw(st.integers(0, 3)))],
        draw(st.sampled_from(ISTIODS)),
        [each for _pods, tables in workloads for each in tables],
        controllers=controllers if draw(mostly(True, False)) else [],
    )


def manifests(examples):
    """The manifests of every golden case and of some random clusters, always the same, each once."""
    found = [r["manifest"] for each in GOLDEN.values() for r in evaluate(each, OPEN)["remediations"]]

    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(clusters())
    def collect(cluster):
        found.extend(r["manifest"] for r in evaluate(cluster, OPEN)["remediations"])

    collect()
    return list({json.dumps(manifest, sort_keys=True): manifest for manifest in found}.values())
