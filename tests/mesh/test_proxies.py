# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The proxy's own word, asked through its real agent, against what the cluster's lists lead one to expect. A client says who is right."""

from __future__ import annotations

import contextlib
import datetime
import json
import pathlib
import shutil

import pytest

from ansible_collections.meshops.istio_precheck.plugins.module_utils._evaluate import evaluate
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.snapshot import check
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.options import Options
from ansible_collections.meshops.istio_precheck.tests.mesh.meshes import ANSWERED, REFUSED, application

NS = "proxies"
FINDING = f"IST0143/{NS}/Deployment/shop/8080"


@pytest.fixture(scope="module")
def shop(mesh):
    """`shop` on 127.0.0.1:8080, and a client."""
    from testbed import mesh as made

    mesh.deploy(
        NS,
        made.deployment("shop", NS, application("http=127.0.0.1:8080")),
        made.service("shop", NS, http=(80, 8080)),
        made.deployment("client", NS, made.container("app", made.REACH, ["sleep"])),
    )
    yield mesh
    mesh.forget(NS)


@contextlib.contextmanager
def as_it_is(_mesh):
    yield


@contextlib.contextmanager
def wrong_tag(mesh):
    """The pod of istiod has the tag of one that delivers to localhost."""
    mesh.show_istiod(tag="1.9.9")
    try:
        yield
    finally:
        mesh.show_istiod()


@contextlib.contextmanager
def no_istiod(mesh):
    """It is somewhere else: no list shows it."""
    mesh.cluster.kubectl("delete", "pods", "--all", "--namespace", "istio-system", "--grace-period=0", "--force")
    try:
        yield
    finally:
        mesh.show_istiod()


@contextlib.contextmanager
def policy_in_no_config_map(mesh):
    """istiod reads its mesh configuration from a file, and no ConfigMap says LOCALHOST."""
    from testbed import mesh as made
    from testbed.settings import STATE

    folder = STATE / "istiod" / "etc"
    (folder / "istio" / "config").mkdir(parents=True)
    try:
        config = made.mesh_config(inboundTrafficPolicy={"mode": "LOCALHOST"})["data"]["mesh"]
        (folder / "istio" / "config" / "mesh").write_text(config, "utf-8")
        mesh.restart_istiod()
        yield
    finally:
        shutil.rmtree(folder)
        mesh.restart_istiod()


@contextlib.contextmanager
def envoy_filter(mesh):
    """It has the cluster of the port lead to localhost."""
    address = {"socket_address": {"address": "127.0.0.1", "port_value": 8080}}
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
    value = {
        "type": "STATIC",
        "lb_policy": "LEAST_REQUEST",  # that of an ORIGINAL_DST cluster is none for endpoints
        "load_assignment": {"cluster_name": "inbound|8080||", "endpoints": endpoints},
    }
    patch = {
        "applyTo": "CLUSTER",
        "match": {"context": "SIDECAR_INBOUND", "cluster": {"portNumber": 8080}},
        "patch": {"operation": "MERGE", "value": value},
    }
    made = {
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "EnvoyFilter",
        "metadata": {"name": "shop", "namespace": NS},
        "spec": {"workloadSelector": {"labels": {"app": "shop"}}, "configPatches": [patch]},
    }
    mesh.cluster.apply([made])
    try:
        yield
    finally:
        mesh.cluster.kubectl("delete", "envoyfilter", "shop", "--namespace", NS)


CASES = {
    # what is so: (the client's answer, the impact by the rule alone, that with the proxy's word, where it delivers, hints more than by the rule)
    as_it_is: (REFUSED, "unreachable", "unreachable", "pod_ip", 0),
    wrong_tag: (REFUSED, "breaks_on_upgrade", "unreachable", "pod_ip", 1),
    no_istiod: (REFUSED, "unknown", "unreachable", "pod_ip", 0),
    policy_in_no_config_map: (ANSWERED, "unreachable", "breaks_on_upgrade", "localhost", 1),
    envoy_filter: (ANSWERED, "unreachable", "breaks_on_upgrade", "localhost", 1),
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_the_proxy_decides_as_a_client_finds(shop, case, tmp_path):
    answer, expected, impact, to, hints = CASES[case]
    with case(shop):
        assert shop.comes_to(answer, lambda: shop.http(NS, "shop", 80), 60) == answer
        assert shop.keeps_to(answer, lambda: shop.http(NS, "shop", 80), 1) == answer
        record = tmp_path / "record.json"
        played = shop.gate(NS, check_listeners_snapshot_dest=str(record))
        assert played.result, played.output
        assert played.ids == [FINDING], played.output
        (found,) = played.result["findings"]
        today = found["delivery"]["today"]
        assert (found["impact"], today["to"], today["by"]) == (impact, to, "proxy"), played.output
        assert told(record, "auto")["findings"] == played.result["findings"]
        rule = told(record, "rule")
        assert [one["impact"] for one in rule["findings"]] == [expected], rule
        assert len(played.result["hints"]) == len(rule["hints"]) + hints, played.result["hints"]


def told(record: pathlib.Path, delivery_source: str):
    """The Report on what the gate recorded."""
    snapshot = check(json.loads(record.read_text("utf-8")))
    return evaluate(snapshot, Options(datetime.date.today(), delivery_source=delivery_source))
