# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""The proxy's own word: what its control plane pushed for inbound ports, out of the answer of `pilot-agent request`.

The proxy keeps one cluster for each inbound port that istiod knows: `inbound|PORT||`, of type STATIC with the address that it dials, or
ORIGINAL_DST for the address that was asked for (inbound cluster builders, pilot/pkg/networking/core/v1alpha3/cluster.go@1.9.9, 1.20.8). A port
without one goes to the passthrough cluster, that is to the address that was asked for.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.istio_values import as_object
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.outside import OutsideError, from_json
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.schema import is_address
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.text import OutsideTextError

COMMAND = (
    "pilot-agent",
    "request",
    "GET",
    "config_dump?resource=dynamic_active_clusters&name_regex=inbound.*"
    "&mask=cluster.name,cluster.type,cluster.load_assignment",
)
"""Envoys before 1.20 know no name_regex and answer with the clusters of all Services: hence the mask.

The verb `request` is there from Istio 1.5 on; Envoy's admin interface knows `resource` and `mask` from 1.15 on, that of Istio 1.6.
"""

CLUSTER = ".ClustersConfigDump.DynamicCluster"
"""How the type of every part of the answer ends. An Envoy before 1.15 knows no `resource` and dumps all that it has in other parts."""

PATH = re.compile(r"[!-~]{1,108}")
"""A path of a Unix socket that is text and no longer than the kernel takes."""


class Cluster(t.TypedDict, total=False):
    """One inbound cluster, as a snapshot keeps it in `proxyConfigs[].inbound`."""

    port: int
    """The target port that it serves."""
    type: str
    """As Envoy spells it: STATIC, ORIGINAL_DST. Empty where several clusters of the port differ, or may be its."""
    address: str
    """What the proxy dials, `127.0.0.1:8080` or `unix:///path`; absent for the address that was asked for, or where there is not exactly one."""


class ProxyAnswerError(OutsideTextError):
    """The proxy's answer is none; the text says why."""


def inbound_clusters(stdout: str) -> list[Cluster]:
    """The proxy's inbound clusters, by port. Raises ProxyAnswerError.

    An answer without any cluster is none. A proxy that istiod has not configured yet gives it, and so may a program of the pod that took the
    port of the proxy's admin interface; only a port beside others says that the proxy passes it on.
    """
    configs = _configs(stdout)
    if not configs:
        raise ProxyAnswerError("It has no inbound cluster at all, as before istiod has configured it.")
    found: dict[int, Cluster] = {}
    for config in configs:
        for made in _inbound(_mapping(config.get("cluster"))):
            known = found.setdefault(made["port"], made)
            if known != made:  # which of the two a connection meets is not to be seen here
                found[made["port"]] = {"port": made["port"], "type": ""}
    return [found[port] for port in sorted(found)]


def _configs(stdout: str) -> list[dict[str, t.Any]]:
    try:
        document = _mapping(from_json(_document(stdout)))
    except OutsideError as error:
        raise ProxyAnswerError(f"Its answer is not read: {error}") from error
    configs = [_mapping(config) for config in _list(document.get("configs"))]
    if not all(str(config.get("@type")).endswith(CLUSTER) for config in configs):
        raise ProxyAnswerError("Its answer is no list of clusters.")
    return configs


def _document(stdout: str) -> str:
    """The document in what the agent printed: it may write lines of its log before it to the same stream, which may be JSON, too."""
    lines = stdout.splitlines(keepends=True)
    for number, line in enumerate(lines):
        if line.startswith("{") and not as_object(line).keys() - {"configs"}:
            return "".join(lines[number:])
    raise ProxyAnswerError("Its answer is no JSON object.")


def _inbound(cluster: dict[str, t.Any]) -> list[Cluster]:
    """What one of `inbound|PORT|SUBSET|HOST` says of a port or two; nothing for any other cluster.

    Where the name has a host (up to 1.7) its port is that of a Service, and the endpoint's the target: BuildSubsetKey, push_context.go@1.7.0. Or it
    is the target, which a Sidecar lists, and the endpoint's the one to which that leads: buildInboundClustersFromSidecar, cluster.go@1.7.0. Nothing
    tells which, so where they differ, how the port in the name is delivered is not known.
    """
    parts = str(cluster.get("name")).split("|")
    if parts[0] != "inbound":
        return []
    if len(parts) != 4 or not re.fullmatch(r"\d{1,5}", parts[1], re.ASCII):
        raise ProxyAnswerError(f"Its cluster {str(cluster.get('name'))[:60]!r} names no port.")
    dialled, named = _dialled(cluster), int(parts[1])
    port = dialled[1] if parts[3] and dialled and dialled[1] else named
    if not 0 < named < 65536:
        raise ProxyAnswerError(f"Its cluster {str(cluster.get('name'))[:60]!r} names no port.")
    made: Cluster = {"port": port, "type": _word(cluster.get("type"))}
    if dialled:
        made["address"] = dialled[0]
    return [made] if port == named else [made, {"port": named, "type": ""}]


def _dialled(cluster: dict[str, t.Any]) -> tuple[str, int] | None:
    """The one address of its endpoints, with the port (0 for a Unix socket); None where there is none, more than one, or one of another kind."""
    endpoints = [
        _mapping(_mapping(_mapping(each).get("endpoint")).get("address"))
        for locality in _list(_mapping(cluster.get("load_assignment")).get("endpoints"))
        for each in _list(_mapping(locality).get("lb_endpoints"))
    ]
    if len(endpoints) != 1:
        return None
    path = _mapping(endpoints[0].get("pipe")).get("path")
    socket = _mapping(endpoints[0].get("socket_address"))
    address, port = socket.get("address"), socket.get("port_value")
    if isinstance(path, str) and PATH.fullmatch(path):
        return f"unix://{path}", 0
    if address and is_address(address) and "%" not in address and isinstance(port, int) and _is_port(port):
        return f"[{address}]:{port}" if ":" in address else f"{address}:{port}", port
    return None


def _is_port(value: int) -> bool:
    return not isinstance(value, bool) and 0 < value < 65536


def _word(value: t.Any) -> str:
    return value if isinstance(value, str) and re.fullmatch(r"[A-Z_]{1,30}", value) else ""


def _mapping(value: t.Any) -> dict[str, t.Any]:
    """A part that is not there is empty. Raises ProxyAnswerError for one that is none."""
    if value is not None and not isinstance(value, dict):
        raise ProxyAnswerError("A part of its answer that should be a mapping is none.")
    return value or {}


def _list(value: t.Any) -> list[t.Any]:
    if value is not None and not isinstance(value, list):
        raise ProxyAnswerError("A part of its answer that should be a list is none.")
    return value or []
