# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Inbound configurations in the words of Envoy's API."""

from __future__ import annotations

import typing as t

from ansible_collections.meshops.istio_precheck.tests.envoy.inbound import Chain, Cluster, Inbound, Listener

Thing = dict[str, t.Any]
TYPE = "type.googleapis.com/envoy"


def bootstrap(folder: str) -> Thing:
    def source(name: str) -> Thing:
        return {"resource_api_version": "V3", "path_config_source": {"path": f"{folder}/{name}.json"}}

    return {
        "node": {"id": "pod", "cluster": "pod"},
        "dynamic_resources": {"cds_config": source("cds"), "lds_config": source("lds")},
    }


def resources(kind: str, things: list[Thing], version: int) -> Thing:
    """A file of `cluster.v3.Cluster` or `listener.v3.Listener`."""
    url = f"{TYPE}.config.{kind}"
    return {"version_info": str(version), "resources": [{"@type": url, **each} for each in things]}


def envoy(inbounds: t.Mapping[str, Inbound], connect_timeout: str) -> tuple[list[Thing], list[Thing]]:
    """Clusters and listeners of several, which have no port in common: what their listeners of one name take is joined."""
    clusters, listeners = [], {}
    for scope, inbound in inbounds.items():
        clusters += [{**_cluster(scope, each), "connect_timeout": connect_timeout} for each in inbound.clusters]
        for listener in inbound.listeners:
            made = listeners.setdefault(listener.name, _listener(listener))
            made["filter_chains"] += [
                _chain(f"{scope}/{number}", scope, each) for number, each in enumerate(listener.chains)
            ]
    return clusters, list(listeners.values())


def telling(path: str, version: int) -> tuple[Thing, list[Thing]]:
    """A cluster and listeners that say which configuration this is: whoever asks at `path` is answered once Envoy has both."""
    behind = f"{path}-{version}"
    says = {
        "@type": f"{TYPE}.extensions.filters.network.direct_response.v3.Config",
        "response": {"inline_string": str(version)},
    }
    cluster = _cluster("version", Cluster(str(version), f"unix:{behind}", ()))
    chain = _chain("version", "version", Chain(None, (), str(version)))
    answer = {"filters": [{"name": "envoy.filters.network.direct_response", "typed_config": says}]}
    return cluster, [
        {"name": name, "address": {"pipe": {"path": where, "mode": 0o777}}, "filter_chains": [filters]}
        for name, where, filters in ((f"version {version}", behind, answer), ("version", path, chain))
    ]


def _address(text: str) -> Thing:
    if text.startswith("unix:"):
        return {"pipe": {"path": text.removeprefix("unix:")}}
    host, _colon, port = text.rpartition(":")
    return {"socket_address": {"address": host.strip("[]"), "port_value": int(port)}}


def _source(address: str) -> Thing:
    return {"address": address, "port_value": 0}


def _cluster(scope: str, cluster: Cluster) -> Thing:
    name = f"{scope}/{cluster.name}"
    made: Thing = {
        "name": name,
        # A proxy that dials itself would go round until it has no connections left.
        "circuit_breakers": {"thresholds": [{"max_connections": 16}]},
    }
    if cluster.binds:
        made["upstream_bind_config"] = {
            "source_address": _source(cluster.binds[0]),
            "extra_source_addresses": [{"address": _source(each)} for each in cluster.binds[1:]],
        }
    if not cluster.dials:
        return {**made, "type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED"}
    endpoint = {"endpoint": {"address": _address(cluster.dials)}}
    assignment = {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]}
    return {**made, "type": "STATIC", "load_assignment": assignment}


def _listener(listener: Listener) -> Thing:
    first, *others = listener.addresses
    filters = []
    if listener.redirected:
        filters.append(_listener_filter("original_dst", "OriginalDst"))
    if listener.transparent:
        filters.append(_listener_filter("original_src", "OriginalSrc", mark=1337))
    made: Thing = {
        "name": listener.name,
        "address": _address(first),
        "listener_filters": filters,
        "filter_chains": [],
    }
    if others:
        made["additional_addresses"] = [{"address": _address(each)} for each in others]
    if listener.transparent:
        made["transparent"] = True
    return made


def _listener_filter(name: str, kind: str, **settings: t.Any) -> Thing:
    config = {"@type": f"{TYPE}.extensions.filters.listener.{name}.v3.{kind}", **settings}
    return {"name": f"envoy.filters.listener.{name}", "typed_config": config}


def _chain(name: str, scope: str, chain: Chain) -> Thing:
    match: Thing = {}
    if chain.port is not None:
        match["destination_port"] = chain.port
    if chain.prefixes:
        match["prefix_ranges"] = [
            {"address_prefix": prefix.partition("/")[0], "prefix_len": int(prefix.partition("/")[2])}
            for prefix in chain.prefixes
        ]
    config = {
        "@type": f"{TYPE}.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "inbound",
        "cluster": f"{scope}/{chain.to}",
    }
    return {
        "name": name,
        "filter_chain_match": match,
        "filters": [{"name": "envoy.filters.network.tcp_proxy", "typed_config": config}],
    }
