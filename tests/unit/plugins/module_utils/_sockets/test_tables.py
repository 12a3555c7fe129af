# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tables that are parsed as they come."""

from __future__ import annotations

import itertools

import pytest

from ansible_collections.meshops.istio_precheck.plugins.module_utils._evaluate import evaluate
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.options import Options
from ansible_collections.meshops.istio_precheck.plugins.module_utils._sockets.parse import parse
from ansible_collections.meshops.istio_precheck.plugins.module_utils._sockets.tables import Tables
from ansible_collections.meshops.istio_precheck.tests.helpers import cluster


def test_a_table_is_what_its_text_says():
    entry = cluster.table("web-1", ["127.0.0.1:8080", "*:9090"])
    assert Tables([entry]).get(("shop", "web-1")) == parse("ss", entry["stdout"])


def test_a_pod_without_a_table_has_none():
    assert Tables([cluster.table("web-1")]).get(("shop", "web-2")) is None
    assert not Tables()


def test_a_pod_without_a_listener_has_an_empty_table():
    tables = Tables([cluster.table("web-1", text="")])
    assert tables.get(("shop", "web-1")) == parse("ss", "")
    assert len(tables) == 1


PARTS = [
    cluster.table(binds=["127.0.0.1:8080"]),
    cluster.table(binds=["*:9090"]),
    cluster.table(text="nonsense\n"),
    cluster.table(text="more\n"),
]


@pytest.mark.parametrize("order", list(itertools.permutations(PARTS)))
def test_several_tables_of_one_pod_are_taken_together_whatever_comes_first(order):
    found = Tables(order).get(("shop", "web-7d4b9-a"))
    assert [listener.text for listener in found.listeners] == ["127.0.0.1:8080", "*:9090"]
    assert found.suspect == tuple(sorted(found.suspect)) and len(found.suspect) == 2


def test_equal_tables_are_held_once():
    tables = Tables([cluster.table("web-1"), cluster.table("web-2"), cluster.table("web-3", ["127.0.0.1:8080", "*:1"])])
    one, two, three = (tables.get(("shop", f"web-{n}")) for n in (1, 2, 3))
    assert one is two
    assert one.listeners[0] is three.listeners[1]


def test_the_report_is_the_same_from_tables_and_from_their_text():
    pods = [cluster.pod(name) for name in ("web-1", "web-2", "web-3")]
    snapshot = cluster.snapshot(pods, tables=[cluster.table("web-1"), cluster.table("web-2", ["*:8080"])])
    options = Options(cluster.TODAY)
    assert evaluate({**snapshot, "socketTables": []}, options, Tables(snapshot["socketTables"])) == evaluate(
        snapshot, options
    )
