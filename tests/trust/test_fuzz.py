# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the fuzzer found, or was begun with, played once more: no atheris needed. `make fuzz` looks for more."""

from __future__ import annotations

import gzip
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather import listing as _listing
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model import outside
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model import schema as _schema
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model import snapshot as _snapshot
from ansible_collections.meshops.istio_precheck.tests.helpers import cluster
from ansible_collections.meshops.istio_precheck.tests.trust import fuzz

KEPT = sorted(fuzz.CORPUS.rglob("*.bin"))


@pytest.mark.parametrize("target", fuzz.TARGETS)
def test_nothing_of_the_corpus_breaks_a_promise(target):
    kept = [path for path in KEPT if path.parent.name == target]
    assert len(kept) >= 5
    for path in kept:
        fuzz.TARGETS[target](path.read_bytes())


def test_every_kept_input_is_of_a_target():
    assert {path.parent.name for path in KEPT} == set(fuzz.TARGETS)


def test_a_target_notices_a_broken_promise(monkeypatch):
    from ansible_collections.meshops.istio_precheck.plugins.module_utils import _evaluate

    def broken(*_args):
        raise KeyError("x")

    monkeypatch.setattr(_evaluate, "report_on", broken)
    with pytest.raises(KeyError):
        fuzz.snapshot_parts(b"")
    with pytest.raises(KeyError):
        fuzz.snapshot_file(json.dumps(cluster.snapshot()).encode())


# ---------------------------------------------------------------------------------------------------------------------
# Bombs: small for who sends them, large for who reads them


def nested(levels: int) -> dict:
    inner: dict = {}
    for _level in range(levels - 1):
        inner = {"a": inner}
    return inner


def with_mesh_config(value: object) -> bytes:
    return json.dumps({**cluster.snapshot(), "istio": {"meshConfig": {"a": value}}}).encode()


BOMBS = {
    "a packed file of blanks": (lambda: gzip.compress(b" " * (300 << 20), 9), f"it holds more than {256 << 20} bytes"),
    "a packed list of empty mappings": (
        lambda: gzip.compress(b"[" + b"{}," * 6_000_000 + b"{}]", 1),
        "it holds more than 5000000 values",
    ),
    "a mapping in a mapping, and so on": (
        lambda: with_mesh_config(nested(200)),
        "istio.meshConfig: wanted at most 64 levels, found a mapping",
    ),
    "a list in a list, for ever": (lambda: b"[" * 1_000_000, "it is not JSON|it holds more than"),
    "no number": (lambda: with_mesh_config(math.nan), r"istio.meshConfig.a: wanted a number that JSON has, found nan"),
    "more than any number": (
        lambda: with_mesh_config(0).replace(b'"a": 0', b'"a": 1e999'),
        r"istio.meshConfig.a: wanted a number that JSON has, found inf",
    ),
    "a number of many digits": (
        lambda: with_mesh_config(0).replace(b'"a": 0', b'"a": ' + b"9" * 100_000),
        "it is not JSON|a number that JSON has",
    ),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_meets_a_limit_that_its_message_names(tmp_path, bomb):
    make, message = BOMBS[bomb]
    path = tmp_path / "record.json"
    path.write_bytes(make())
    with pytest.raises(_schema.SnapshotError, match=message):
        _snapshot.read(str(path))


def test_what_is_just_within_the_limits_is_read(tmp_path):
    path = tmp_path / "record.json"
    path.write_bytes(with_mesh_config(nested(62)))
    assert _snapshot.read(str(path))["istio"]["meshConfig"]


def test_of_two_keys_of_one_name_the_last_counts_as_for_other_tools(tmp_path):
    path = tmp_path / "record.json"
    path.write_text(
        json.dumps(cluster.snapshot()).replace(
            '"kind": "ClusterSnapshot"', '"kind": "Other", "kind": "ClusterSnapshot"'
        )
    )
    assert _snapshot.read(str(path)) == cluster.snapshot()


# ---------------------------------------------------------------------------------------------------------------------
# What is recorded

PRINTED = st.one_of(
    st.binary(max_size=300),
    st.lists(
        st.sampled_from(
            [*(table.encode() for table in fuzz.TABLES), b",", b"\0", b'"', b"\\", b"{[", b"\xed\xa0\x80", b"\xff"]
        )
    ).map(b"".join),
)


@settings(max_examples=300, deadline=None)
@given(changes=st.binary(max_size=40), printed=PRINTED)
def test_what_is_recorded_of_any_cluster_is_read_again_and_judged_as_it_was(changes, printed):
    fuzz.recorded(changes.replace(b"\n", b"\r") + b"\n" + printed)


@pytest.mark.parametrize(
    "printed", [b",", b"{", b"[", b'"', b"\\", b"\0", b"\xff", b"\xed\xa0\x80", "\U0001f600".encode(), b"1,"]
)
def test_what_a_pod_prints_without_end_can_be_recorded(tmp_path, printed):
    text = (printed * (6 << 20))[: 6 << 20].decode("utf-8", "replace")
    table = {"namespace": "shop", "pod": "web", "container": "istio-proxy", "format": "ss", "stdout": text}
    path = str(tmp_path / "record.json")
    _snapshot.write({**cluster.snapshot(), "socketTables": [table]}, path)
    assert _snapshot.read(path)["socketTables"] == [table]


def test_where_tables_are_too_large_for_a_record_the_largest_pods_are_not_checked(tmp_path):
    spool = _snapshot.Spool(str(tmp_path / "record.json"))
    for pod, container, size in (("a", "x", 10), ("b", "x", 60), ("b", "y", 60), ("c", "x", 100), ("d", "x", 10)):
        spool.append({"namespace": "shop", "pod": pod, "container": container, "format": "ss", "stdout": "x" * size})
    assert spool.leave_out(1000) == []
    (left,) = spool.leave_out(600)
    assert (left["namespace"], left["pod"], left["reason"]) == ("shop", "b", "too_much_output")
    assert [table["pod"] for table in spool] == ["a", "c", "d"]
    assert [entry["pod"] for entry in spool.leave_out(0)] == ["c", "a", "d"] and list(spool) == []


@pytest.mark.parametrize("limit", ["BYTES", "VALUES"])
def test_what_could_not_be_read_again_is_not_recorded_and_the_largest_part_is_shown(tmp_path, monkeypatch, limit):
    path = tmp_path / "record.json"
    snapshot = cluster.snapshot(
        sidecars=[cluster.sidecar("large", ingress=dict.fromkeys(range(1, 999), "127.0.0.1:1"))]
    )
    _snapshot.write(snapshot, str(path))
    before = path.read_bytes()
    monkeypatch.setattr(outside, limit, 3000)
    with pytest.raises(
        _schema.SnapshotError,
        match=f"it would hold more than 3000 {limit.lower()}, and could not be read again; .*large",
    ):
        _snapshot.write(snapshot, str(path))
    assert path.read_bytes() == before and [entry.name for entry in tmp_path.iterdir()] == ["record.json"]


@pytest.mark.parametrize("port", [0, -1, 70_000, 1 << 40])
def test_a_port_that_only_istios_webhook_refuses_can_be_recorded(tmp_path, port):
    entry = cluster.service_entry()
    entry["spec"]["ports"] = [{"number": port, "name": "x", "protocol": "TCP"}]
    objects = {
        "pods": [cluster.pod()],
        "services": [cluster.service()],
        "sidecars": [cluster.sidecar(ingress={port: "127.0.0.1:8080"})],
        "serviceEntries": [entry],
    }
    listed = {listing.key: listing for listing in _listing.SELECTED}
    kept = {key: [_listing.reduced(listed[key], each, "v1") for each in things] for key, things in objects.items()}
    snapshot = _listing.assemble(kept, {}, "istio-system")
    path = str(tmp_path / "record.json")
    _snapshot.write(snapshot, path)
    fuzz.judged(_snapshot.read(path))
