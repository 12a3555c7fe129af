# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a proxy says of its inbound ports, read from what `pilot-agent request` printed."""

from __future__ import annotations

import json

import pytest

from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.proxy_answer import (
    ProxyAnswerError,
    inbound_clusters,
)
from ansible_collections.meshops.istio_precheck.tests.helpers.cluster import proxy_answer

TYPE = "type.googleapis.com/envoy.admin.v3.ClustersConfigDump.DynamicCluster"


def configs(*clusters):
    return {"configs": [{"@type": TYPE, "cluster": each} for each in clusters]}


def endpoints(*addresses):
    return {"endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}} for address in addresses]}]}


def at(address, port):
    return {"socket_address": {"address": address, "port_value": port}}


def static(name, *addresses, **more):
    return {"name": name, "type": "STATIC", "load_assignment": endpoints(*addresses), **more}


LOCAL = at("127.0.0.1", 8080)
PASSED = {"port": 8080, "type": "ORIGINAL_DST"}

READ = {
    "localhost": (
        proxy_answer({8080: "127.0.0.1:8080"}),
        [{"port": 8080, "type": "STATIC", "address": "127.0.0.1:8080"}],
    ),
    "localhost of IPv6": (
        proxy_answer({8080: "[::1]:8080"}),
        [{"port": 8080, "type": "STATIC", "address": "[::1]:8080"}],
    ),
    "the address that was asked for": (proxy_answer({8080: None}), [PASSED]),
    "a Unix socket": (
        proxy_answer({8080: "unix:///tmp/x.sock"}),
        [{"port": 8080, "type": "STATIC", "address": "unix:///tmp/x.sock"}],
    ),
    "several ports, in order": (
        proxy_answer({9090: None, 8080: "10.0.0.5:8080"}),
        [{"port": 8080, "type": "STATIC", "address": "10.0.0.5:8080"}, {"port": 9090, "type": "ORIGINAL_DST"}],
    ),
    "one line": (json.dumps(configs({"name": "inbound|8080||", "type": "ORIGINAL_DST"})), [PASSED]),
    "lines of a log before it": (
        f"2026-11-30T04:00:00Z\twarn\tOS CA Cert could not be found for agent\n{proxy_answer({8080: None})}",
        [PASSED],
    ),
    "lines of a log in JSON before it": (
        f'{{"level":"warn","msg":"OS CA Cert could not be found for agent"}}\n{proxy_answer({8080: None})}',
        [PASSED],
    ),
    "what an Envoy before name_regex adds": (
        json.dumps(
            configs(
                static("outbound|80||web.shop.svc.cluster.local", at("10.0.0.9", 80), at("10.0.0.8", 80)),
                {"name": "InboundPassthroughClusterIpv4", "type": "ORIGINAL_DST"},
                {"name": "BlackHoleCluster", "type": "STATIC"},
                static("inbound|8080||", LOCAL),
            )
        ),
        [{"port": 8080, "type": "STATIC", "address": "127.0.0.1:8080"}],
    ),
    "an Envoy before name_regex without an inbound port": (
        json.dumps(configs({"name": "BlackHoleCluster", "type": "STATIC"})),
        [],
    ),
    "the name of an old istiod, with the Service's port": (
        json.dumps(configs(static("inbound|80|http|web.shop.svc.cluster.local", LOCAL))),
        [{"port": 80, "type": ""}, {"port": 8080, "type": "STATIC", "address": "127.0.0.1:8080"}],
    ),
    "the name of an old istiod, with the port that a Sidecar leads to another": (
        json.dumps(configs(static("inbound|8080|http|web.shop.svc.cluster.local", at("127.0.0.1", 9090)))),
        [{"port": 8080, "type": ""}, {"port": 9090, "type": "STATIC", "address": "127.0.0.1:9090"}],
    ),
    "two clusters of one port that say the same": (
        json.dumps(configs(static("inbound|8080||", LOCAL), static("inbound|8080|http|a", LOCAL))),
        [{"port": 8080, "type": "STATIC", "address": "127.0.0.1:8080"}],
    ),
    "two clusters of one port that differ": (
        json.dumps(configs(static("inbound|8080||", LOCAL), static("inbound|8080||", at("10.0.0.5", 8080)))),
        [{"port": 8080, "type": ""}],
    ),
    "several endpoints": (
        json.dumps(configs(static("inbound|8080||", LOCAL, at("127.0.0.1", 8081)))),
        [{"port": 8080, "type": "STATIC"}],
    ),
    "no endpoint": (json.dumps(configs(static("inbound|8080||"))), [{"port": 8080, "type": "STATIC"}]),
    "a name for an address": (
        json.dumps(configs(static("inbound|8080||", at("localhost", 8080), type="STRICT_DNS"))),
        [{"port": 8080, "type": "STRICT_DNS"}],
    ),
    "an endpoint inside of the proxy": (
        json.dumps(configs(static("inbound|8080||", {"envoy_internal_address": {"server_listener_name": "x"}}))),
        [{"port": 8080, "type": "STATIC"}],
    ),
    "a path that is no text": (
        json.dumps(configs(static("inbound|8080||", {"pipe": {"path": "/tmp/\x1b[31m"}}))),
        [{"port": 8080, "type": "STATIC"}],
    ),
    "a type that is no word": (
        json.dumps(configs({"name": "inbound|8080||", "type": {"a": 1}})),
        [{"port": 8080, "type": ""}],
    ),
    "a port that is true": (
        json.dumps(configs(static("inbound|8080||", at("127.0.0.1", True)))),
        [{"port": 8080, "type": "STATIC"}],
    ),
}


@pytest.mark.parametrize("name", READ)
def test_what_a_proxy_says_of_its_inbound_ports(name):
    stdout, wanted = READ[name]
    assert inbound_clusters(stdout) == wanted


REFUSED = {
    "nothing": ("", "Its answer is no JSON object."),
    "no cluster": ("{}\n", "It has no inbound cluster at all"),
    "an empty list": ('{"configs": []}', "It has no inbound cluster at all"),
    "a table": ("LISTEN 0 128 127.0.0.1:8080 0.0.0.0:*\n", "Its answer is no JSON object."),
    "a list": ("[]", "Its answer is no JSON object."),
    "an error of Envoy": ("failed with 404\n", "Its answer is no JSON object."),
    "the beginning of an answer": (proxy_answer({8080: None})[:60], "Its answer is not read: it is not JSON"),
    "levels without end": ('{"configs": ' + "[" * 100000, "Its answer is not read: it holds more than 100 levels"),
    "half of a surrogate pair": ('{"configs": [], "a": "\\ud800"}', "Its answer is n"),
    "configurations that are no list": ('{"configs": {}}', "A part of its answer that should be a list is none."),
    "a configuration that is none": ('{"configs": [1]}', "A part of its answer that should be a mapping is none."),
    "all that an Envoy before 1.15 has": (
        json.dumps({"configs": [{"@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump"}]}),
        "Its answer is no list of clusters.",
    ),
    "a configuration without a type": ('{"configs": [{"cluster": {}}]}', "Its answer is no list of clusters."),
    "a cluster that is none": (json.dumps(configs("inbound|8080||")), "A part of its answer that should be a mapping"),
    "endpoints that are none": (
        json.dumps(configs({"name": "inbound|8080||", "load_assignment": {"endpoints": {"a": 1}}})),
        "A part of its answer that should be a list is none.",
    ),
    "an endpoint that is none": (
        json.dumps(configs({"name": "inbound|8080||", "load_assignment": {"endpoints": [{"lb_endpoints": [7]}]}})),
        "A part of its answer that should be a mapping is none.",
    ),
    "a name without a port": (json.dumps(configs({"name": "inbound|http||"})), "Its cluster 'inbound|http||' names no"),
    "a name with too large a port": (json.dumps(configs({"name": "inbound|99999||"})), "Its cluster 'inbound|99999||'"),
    "a name with the digits of another alphabet": (json.dumps(configs({"name": "inbound|٨٠||"})), "Its cluster "),
    "a name of two parts": (json.dumps(configs({"name": "inbound|8080"})), "Its cluster 'inbound|8080' names no port."),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_answer_says_why(name):
    stdout, wanted = REFUSED[name]
    with pytest.raises(ProxyAnswerError) as error:
        inbound_clusters(stdout)
    assert str(error.value).startswith(wanted)
