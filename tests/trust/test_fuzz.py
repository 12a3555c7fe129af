# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the fuzzer found, or was begun with, played once more: no atheris needed. `make fuzz` looks for more."""

from __future__ import annotations

import gzip
import json
import math

import fuzz
import pytest

from ansible_collections.meshops.istio_precheck.plugins.module_utils import _snapshot
from ansible_collections.meshops.istio_precheck.tests.unit.plugins.module_utils import cluster

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

    monkeypatch.setattr(_evaluate, "evaluate", broken)
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
    with pytest.raises(_snapshot.SnapshotError, match=message):
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
