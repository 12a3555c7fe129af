# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where a pod's proxy asks for its configuration, and what a snapshot keeps of that."""

from __future__ import annotations

import json

import pytest

from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.pod import discovery, proxy_version
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model import shapes
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.kube import read_pods
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.trim import trim
from ansible_collections.meshops.istio_precheck.tests.helpers.cluster import pod


def kept(made):
    """A pod as it is read from a snapshot."""
    (found,) = read_pods([trim(made, shapes.POD)])
    return found


def config(address=None, **more):
    return {"PROXY_CONFIG": json.dumps({**({"discoveryAddress": address} if address is not None else {}), **more})}


ASKED = {
    "nothing": ({}, None),
    "Istio's default, which injectors leave out": (config(), ("istiod", "istio-system")),
    "a revision": (config("istiod-1-20.istio-system.svc:15012"), ("istiod-1-20", "istio-system")),
    "another namespace": (config("istiod-basic.mesh-a.svc.cluster.local:15012"), ("istiod-basic", "mesh-a")),
    "without svc": (config("istiod.mesh-a:15012"), ("istiod", "mesh-a")),
    "in the pod's namespace": (config("istiod:15012"), ("istiod", "shop")),
    "outside of the cluster": (config("trafficdirector.googleapis.com:443"), ("", "")),
    "an address": (config("10.1.2.3:15012"), ("", "")),
    "certificates from istiod": ({"CA_ADDR": "istiod-x.mesh-a.svc:15012"}, ("istiod-x", "mesh-a")),
    "certificates from elsewhere": ({"CA_ADDR": "meshca.googleapis.com:443"}, None),
    "certificates from cert-manager": ({"CA_ADDR": "cert-manager-istio-csr.cert-manager.svc:443"}, None),
    "both": ({**config("istiod.a.svc:15012"), "CA_ADDR": "istiod.b.svc:15012"}, ("istiod", "a")),
    "no JSON": ({"PROXY_CONFIG": "discoveryAddress: x"}, None),
    "an address that is none": (config("istiod a"), None),
    "one that is no text": ({"PROXY_CONFIG": '{"discoveryAddress": 5}'}, None),
}


@pytest.mark.parametrize("case", ASKED)
def test_a_proxy_says_where_it_asks(case):
    env, wanted = ASKED[case]
    found = discovery(kept(pod(env=env)))
    assert (found and (found.service, found.namespace)) == wanted


def test_of_a_proxys_configuration_only_that_address_is_kept():
    env = config("istiod.a.svc:15012", proxyMetadata={"X": "CANARY"}, tracing={"zipkin": {"address": "CANARY"}})
    text = json.dumps(trim(pod(env={**env, "CA_ADDR": "CANARY, and more"}), shapes.POD))
    assert "istiod.a.svc:15012" in text and "CANARY" not in text


def test_up_to_1_5_an_argument_says_so():
    old = pod()
    old["spec"]["containers"][1]["args"] += ["--discoveryAddress", "istio-pilot.mesh-a:15010"]
    found = discovery(kept(old))
    assert found and (found.service, found.namespace) == ("istio-pilot", "mesh-a")


def test_a_proxy_of_service_mesh_has_the_version_that_its_label_stands_for():
    for labels, version in (({"maistra-version": "2.1.6"}, (1, 9)), ({}, None)):
        made = kept(pod(proxy="2.1.1", labels=labels))
        assert proxy_version(made, made.containers[1]) == version
