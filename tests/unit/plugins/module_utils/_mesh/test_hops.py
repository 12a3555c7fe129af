# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.cluster import read_cluster
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.control_plane import ControlPlanes
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.hops import Span, said, spans, stretches
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.istio_values import as_version
from ansible_collections.meshops.istio_precheck.tests.helpers.cluster import istiod, read_pod, snapshot

LOCALHOST, OPT_OUT = {"localhost": True}, {"opt_out": True}
BOTH = {**LOCALHOST, **OPT_OUT}

STRETCHES = [
    # istiod, its settings, the target; the versions on the way that are like neither
    ("1.9.9", {}, "1.24", []),
    ("1.9.9", LOCALHOST, "1.24", ["from 1.10 to 1.11", "at 1.12", "from 1.13 to 1.21"]),
    ("1.9.9", LOCALHOST, "1.22.3", ["from 1.10 to 1.11", "at 1.12", "from 1.13 to 1.21"]),
    ("1.9.9", LOCALHOST, "1.21", []),
    ("1.9.9", LOCALHOST, "1.10", []),
    ("1.9.9", BOTH, "1.24", ["at 1.21"]),
    ("1.19", BOTH, "1.24", ["at 1.21"]),
    ("1.20.8", OPT_OUT, "1.24", ["at 1.21"]),
    ("1.20.8", LOCALHOST, "1.24", ["from 1.22 to 1.23"]),
    ("1.20.8", {}, "1.24", []),
    ("1.22.0", LOCALHOST, "1.30", []),
    ("1.24.0", {}, "1.22", []),
    ("unreadable", LOCALHOST, "1.24", []),
]


@pytest.mark.parametrize(("version", "settings", "target", "wanted"), STRETCHES)
def test_the_versions_on_the_way_that_deliver_otherwise_are_found(version, settings, target, wanted):
    today = ControlPlanes(read_cluster(snapshot(istiods=[istiod(version, **settings)])).istio).today(read_pod())
    found = stretches(today, today.upgraded(as_version(target)))
    assert [str(stretch.span) for stretch in found] == wanted
    assert all(stretch.plane.version[:2] == stretch.span.first for stretch in found)


def test_without_a_target_there_is_no_way():
    today = ControlPlanes(read_cluster(snapshot(istiods=[istiod("1.9.9", localhost=True)])).istio).today(read_pod())
    assert stretches(today, today.upgraded(None)) == ()


def test_openshift_service_mesh_goes_through_the_versions_that_it_has():
    plane = {
        **istiod(None, localhost=True),
        "version": "1.9",
        "versions": [{"by": "pod", "label": "maistra-version", "text": "2.1.3"}],
        "maistra": True,
    }
    today = ControlPlanes(read_cluster(snapshot(istiods=[plane])).istio).today(read_pod())
    found = stretches(today, today.upgraded((1, 24)))
    assert [str(stretch.span) for stretch in found] == ["at 1.12", "from 1.14 to 1.20"]


def test_spans_that_follow_each_other_are_one():
    ten, eleven, fourteen = (Span((1, n), (1, n)) for n in (10, 11, 14))
    assert spans([ten, eleven, fourteen]) == [Span((1, 10), (1, 11)), fourteen]
    assert said(spans([ten, eleven, fourteen])) == "from 1.10 to 1.11 and at 1.14"
