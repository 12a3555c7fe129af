# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reports to look at: one that holds everything a Report can say, a hostile one, and a large one."""

from __future__ import annotations

import copy
import typing as t

from ansible_collections.meshops.istio_precheck.tests.helpers import cluster

FAIL_ON = ["breaks_on_upgrade", "unreachable", "unknown", "failing_probes", "unchecked"]
Thing = dict[str, t.Any]


def about(name: str = "production", **more: t.Any) -> Thing:
    """What the role says about a run."""
    known = {
        "server": "https://api.production.example:6443",
        "server_version": "v1.29.4",
        "taken_at": "2026-11-23T06:30:00Z",
        "fail_on": FAIL_ON,
    }
    return {"cluster": name, "passed": False, **known, **more}


def _workload(
    app: str,
    binds: t.Sequence[str],
    namespace: str = "shop",
    ports: t.Sequence[int] = (8080,),
    pods: int = 1,
    **more: t.Any,
) -> list[t.Any]:
    names = [f"{app}-7d4b9-{letter}" for letter in "abcdefgh"[:pods]]
    made = [
        cluster.pod(
            name=name,
            namespace=namespace,
            app=app,
            owner=("ReplicaSet", f"{app}-7d4b9"),
            ips=(f"10.0.{len(app)}.{n}",),
            **more,
        )
        for n, name in enumerate(names, 5)
    ]
    service = cluster.service(
        app, namespace, {"app": app}, [cluster.port(80 + n, port, f"http-{port}") for n, port in enumerate(ports)]
    )
    return [made, service, [cluster.table(name, binds, namespace) for name in names]]


def everything() -> Thing:
    """A cluster with an istiod 1.9 that is about to go to 1.24."""
    parts = [
        _workload("checkout", ("127.0.0.1:8080", "127.0.0.1:9090", "0.0.0.0:9100"), ports=(8080, 9090, 9100), pods=3),
        _workload("cart", ("[::1]:8080",)),
        _workload("catalog", ("0.0.0.0:8080",), pods=2),
        _workload("search", ("0.0.0.0:15090",), namespace="search"),
        _workload("ledger", ("127.0.0.1:8443",), namespace="billing", ports=(8443,), pods=2),
        _workload("invoices", ("0.0.0.0:8080",), namespace="billing"),
        _workload("debug", ("127.0.0.1:9999",), namespace="billing", ports=(9999,)),
        _workload("canary", ("127.0.0.1:8080",), namespace="payments", revision="lost", proxy="1.14.0"),
        _workload(
            "gateway",
            ("127.0.0.1:8080",),
            namespace="payments",
            annotations={"traffic.sidecar.istio.io/excludeInboundPorts": "8080"},
        ),
        _workload("batch", ("0.0.0.0:8080",), namespace="search", pods=2),
        _workload("admin", ("10.0.5.5:8080",), namespace="billing"),
    ]
    pods, services, tables = (
        [p for part in parts for p in part[0]],
        [part[1] for part in parts],
        [x for part in parts for x in part[2]],
    )
    tables = [table for table in tables if not table["pod"].startswith("batch")]
    services.append(cluster.service("nightly", "billing", {"app": "nightly"}))
    services.append(cluster.service("dns", "search", {"app": "search"}, [cluster.port(53, 53, "dns", "UDP")]))
    report = cluster.report(
        pods=pods,
        services=services,
        tables=tables,
        sidecars=[cluster.sidecar("ledger", "billing", {"app": "ledger"}, {8443: "127.0.0.1:8443"})],
        unread=[
            {
                "namespace": "search",
                "pod": "batch-7d4b9-a",
                "reason": "no_tool",
                "detail": "No container could run a command that shows its sockets.",
            },
            {
                "namespace": "search",
                "pod": "batch-7d4b9-b",
                "reason": "timeout",
                "detail": "No answer within 10 seconds.",
            },
        ],
        waivers=[
            {"match": "port == `9999`", "reason": "A debug port, used by port-forward alone", "until": "2026-12-31"},
            {"match": "namespace == 'gone'", "reason": "No longer needed"},
        ],
        target="1.24",
        controllers=[cluster.scaled("nightly-5f6d8", "billing", ("Deployment", "nightly"), {"app": "nightly"})],
        workloadGroups=[{"metadata": cluster.meta("mainframe", "billing"), "spec": {}}],
    )
    report["findings"][0]["processes"] = [
        {"listener": report["findings"][0]["listeners"][0], "container": "app", "process": "java"}
    ]
    report["failing_probes"] = [probe(report["remediated"][0])]
    return report


def probe(record: Thing, **changed: t.Any) -> Thing:
    """A readiness probe of the record's port, which no Sidecar helps."""
    workload = record["workload"]
    return {
        "id": f"PROBE/{record['namespace']}/{workload['kind']}/{workload['name']}/app/readiness",
        **{name: record[name] for name in ("namespace", "workload", "pods", "port", "listeners")},
        "container": "app",
        "probe": "readiness",
        "impact": "breaks_on_upgrade",
        "reason": f"It asks port {record['port']} and will fail once the pod is injected again.",
        "sidecar_helps": False,
        **changed,
    }


CANARY = "<script>document.title='TAKEN'</script><img src=x onerror=\"document.title='TAKEN'\">"
HOSTILE = (
    CANARY
    + "\"'`|*_[link](https://evil.example)@everyone #1 ]]>{{ 7*7 }}{% raw %}\x00\x07\x1b[31mred\x1b[0m\x7f\x9b31m"
    + "\r\n## heading\n- item\u202egnp\u2028\ud800\ufffe</code></pre>"
)
"""What no name in Kubernetes can be, and a report from anywhere may hold."""


def hostile(report: Thing, text: str = HOSTILE) -> Thing:
    """The same Report with `text` before every text that means nothing to the formats."""
    kept = ("impact", "url", "apiVersion", "kind", "action")

    def taint(value: t.Any, name: str = "") -> t.Any:
        if isinstance(value, dict):
            return {key: taint(item, key) for key, item in value.items()}
        if isinstance(value, list):
            return [taint(item, name) for item in value]
        return text + value if isinstance(value, str) and name not in kept else value

    return taint(copy.deepcopy(report))


def large(findings: int = 2000, namespaces: int = 40) -> Thing:
    """A Report of so many findings, each of a workload of its own with a Sidecar: made from one, since evaluating a cluster is not the point."""
    made = cluster.report()
    impacts = ("breaks_on_upgrade", "unknown", "unreachable")
    finding, remediation = made["findings"][0], made["remediations"][0]
    made["findings"], made["remediations"] = [], []
    for number in range(findings):
        namespace, name, impact = f"team-{number % namespaces:02}", f"service-{number:04}", impacts[number % 7 % 3]
        changed = {"namespace": namespace, "workload": {"kind": "Deployment", "name": name}, "impact": impact}
        one = {
            **finding,
            **changed,
            "id": f"IST0143/{namespace}/Deployment/{name}/8080",
            "services": [{"name": name, "port": 80, "port_name": "http"}],
        }
        manifest = {
            **remediation["manifest"],
            "metadata": {"name": f"precheck-deployment-{name}", "namespace": namespace},
        }
        made["findings"].append(one)
        made["remediations"].append({**remediation, "manifest": manifest, "findings": [one["id"]]})
    made["summary"].update(
        ports=findings + 500,
        workloads=findings + 300,
        pods=findings + 300,
        pods_read=findings + 300,
        namespaces=namespaces,
    )
    return made


def unread(number: int = 500) -> Thing:
    """A finding, and pods that were not read: for four reasons, in ten namespaces."""
    report = cluster.report(target="1.24")
    reasons = {
        "no_tool": "No container could run a command that shows its sockets.",
        "timeout": "No answer within 10 seconds.",
        "not_running": "The pod is Pending.",
        "forbidden": 'User "jane" cannot create resource "pods/exec" in API group "" in the namespace "team-3"',
    }
    names = [list(reasons)[min(n * n // (number * number // 8), 3)] for n in range(number)]
    report["unchecked"] = [
        {
            "namespace": f"team-{n % 10}",
            "pod": f"app-{n:03}-7d4b9c5f6-x2x7k",
            "workload": {"kind": "Deployment", "name": f"app-{n:03}"},
            "reason": reason,
            "detail": reasons[reason],
        }
        for n, reason in enumerate(names)
    ]
    counts = dict.fromkeys(("ports", "workloads", "pods"), number + 1)
    report["summary"].update(unchecked=number, ports_unread=number, **counts)
    return report
