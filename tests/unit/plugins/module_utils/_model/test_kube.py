# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy

import pytest

from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.pod import has_sidecar
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.kube import (
    PerTemplate,
    once_per_template,
    read_pods,
)
from ansible_collections.meshops.istio_precheck.tests.helpers.cluster import pod


def test_pods_of_the_same_content_have_one_template_wherever_they_were_parsed():
    one, other = read_pods([pod("a"), copy.deepcopy(pod("b", ips=("10.0.0.6",), node="node-2", phase="Pending"))])
    assert one.template is other.template
    assert (one.name, one.ips, one.node, one.phase) == ("a", ("10.0.0.5",), "node-1", "Running")
    assert (other.name, other.ips, other.node, other.phase) == ("b", ("10.0.0.6",), "node-2", "Pending")


@pytest.mark.parametrize(
    "spec",
    [
        {"namespace": "billing"},
        {"labels": {"tier": "front"}},
        {"annotations": {"inject.istio.io/templates": "gateway"}},
        {"proxy": "1.24.0"},
        {"proxy": None},
        {"native": True},
        {"host_network": True},
        {"ports": {"http": 8080}},
    ],
)
def test_pods_of_another_content_have_another_template(spec):
    one, other = read_pods([pod(), pod(**spec)])
    assert one.template is not other.template


def test_what_is_found_out_of_a_template_is_found_out_once():
    asked = []
    once = once_per_template(lambda template: asked.append(template.labels["app"]) or len(asked))
    each = PerTemplate(lambda a_pod, *more: asked.append(more) or len(asked))
    one, same, other = read_pods([pod("a"), pod("b"), pod("c", app="db")])
    assert [once(one), once(same), once(other), once(one.template)] == [1, 1, 2, 1]
    assert [each(one, 80), each(same, 80), each(same, 81), each(other, 80)] == [3, 3, 4, 5]
    assert asked == ["web", "db", (80,), (81,), (80,)]


def test_a_record_is_not_changed():
    (one,) = read_pods([pod()])
    with pytest.raises(AttributeError):
        one.ips = ()
    assert has_sidecar(one) and one._replace(ips=()).template is one.template
