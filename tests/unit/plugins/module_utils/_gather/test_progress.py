# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How far a gather is, from the module to the line that shows it."""

from __future__ import annotations

import os

import pytest

from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather import progress as _progress
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.attempts import Step
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.progress import Record, progress
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.cluster import read_cluster
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.selection import Selection, select
from ansible_collections.meshops.istio_precheck.plugins.module_utils._sockets.tables import Tables
from ansible_collections.meshops.istio_precheck.tests.helpers import cluster

BINDS = {
    "local": ["127.0.0.1:8080", "[::1]:8080"],
    "both": ["127.0.0.1:8080", "0.0.0.0:8080"],
    "other": ["127.0.0.1:9999"],
    "mute": [],
}


@pytest.fixture()
def watched(monkeypatch, tmp_path):
    """A gather of four pods and a fifth that cannot be read, one step after the other, and what the file held after each."""
    file = tmp_path / "progress"
    file.touch()
    monkeypatch.setenv(_progress.VARIABLE, str(file))
    monkeypatch.setattr(_progress, "INTERVAL", 0)
    targets = select(
        read_cluster(cluster.snapshot([cluster.pod(name) for name in (*BINDS, "lost")], tables=[])), Selection()
    ).targets
    tables = Tables()
    held = []
    with progress(tables) as counting:
        counting.begin(targets, len(targets))
        held.append(Record.of(file.read_bytes()))
        for step in [
            Step(unread={"namespace": "shop", "pod": "local", "reason": "no_tool", "detail": ""}),
            *(Step(table=cluster.table(name, binds)) for name, binds in BINDS.items()),
            Step(unread={"namespace": "shop", "pod": "lost", "reason": "timeout", "detail": ""}),
        ]:
            if step.table:
                tables.add(step.table)
            counting.take(step)
            held.append(Record.of(file.read_bytes()))
    return held


def test_it_counts_as_pods_are_read_and_forgets_a_failure_that_another_source_makes_good(watched):
    assert [(record.read, record.unread, record.total) for record in watched] == [
        (0, 0, 5),
        (0, 1, 5),
        (1, 0, 5),
        (2, 0, 5),
        (3, 0, 5),
        (4, 0, 5),
        (4, 1, 5),
    ]


def test_found_is_what_is_exposed_and_listens_on_localhost_alone(watched):
    assert [record.found for record in watched] == [0, 0, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("value", [None, "/no/such/file", "/"])
def test_without_a_file_there_is_nothing_to_tell(monkeypatch, value):
    monkeypatch.delenv(_progress.VARIABLE, raising=False)
    if value:
        monkeypatch.setenv(_progress.VARIABLE, value)
    with progress(Tables()) as counting:
        assert counting is None


@pytest.mark.parametrize("text", [b"", b"\n", b"1 2 3\n", b"1 2 3 4", b"1 2 3 4 5\n", b"a b c d\n", b"\xff\n"])
def test_half_a_record_is_none(text):
    assert Record.of(text) is None


def test_a_record_is_read_as_it_was_written():
    assert Record.of(Record(1, 2, 3, 4).text()) == Record(1, 2, 3, 4)
    assert len(Record(0, 0, 0, 0).text()) == len(Record(10**8, 10**8, 10**8, 10**8).text())


def test_a_disk_that_is_full_does_not_end_a_gather(tmp_path):
    descriptor = os.open("/dev/full", os.O_WRONLY)
    try:
        _progress.Progress(descriptor, Tables()).begin([], 1)
    finally:
        os.close(descriptor)
