# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Snapshots in files: written whole or not at all, and read only where they are one."""

from __future__ import annotations

import contextlib
import errno
import gzip
import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model import outside
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model import schema as _schema
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model import snapshot as _snapshot
from ansible_collections.meshops.istio_precheck.tests.helpers import cluster


@pytest.mark.parametrize("name", ["record.json", "record.json.gz", "record"])
def test_what_is_written_is_read_again(tmp_path, name):
    snapshot = cluster.snapshot()
    _snapshot.write(snapshot, str(tmp_path / name))
    assert _snapshot.read(str(tmp_path / name)) == snapshot
    assert (tmp_path / name).read_bytes().startswith(b"\x1f\x8b") == name.endswith(".gz")


@pytest.mark.parametrize("name", ["record.json", "record.json.gz"])
def test_the_same_snapshot_gives_the_same_bytes(tmp_path, name):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        _snapshot.write(cluster.snapshot(), str(tmp_path / folder / name))
    assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.mark.parametrize(
    "snapshot",
    [
        cluster.snapshot(),
        cluster.snapshot([], [], tables=[], istiods=[]),
        {"a\nb": ["c\nd", [], {}, [1, "\\n"]], "z": None},
    ],
)
def test_it_is_indented_json_with_sorted_keys(tmp_path, snapshot):
    _snapshot.write(snapshot, str(tmp_path / "record.json"))
    text = (tmp_path / "record.json").read_bytes()
    assert text == json.dumps(snapshot, indent=1, sort_keys=True).encode() + b"\n"
    _snapshot.write(snapshot, str(tmp_path / "record.json.gz"))
    assert gzip.decompress((tmp_path / "record.json.gz").read_bytes()) == text


TABLES = [
    cluster.table(f"web-{n}", [f"127.0.0.1:{8000 + n}"], namespace) for namespace in ("bank", "shop") for n in range(9)
]


@pytest.mark.parametrize("name", ["record.json", "record.json.gz"])
def test_tables_that_waited_on_disk_give_the_same_file(tmp_path, name):
    snapshot = cluster.snapshot(tables=TABLES)
    _snapshot.write(snapshot, str(tmp_path / f"whole-{name}"))
    with contextlib.closing(_snapshot.Spool(str(tmp_path / name))) as spool:
        for table in TABLES[5:] + TABLES[:5]:
            spool.append(table)
            assert list(tmp_path.iterdir()) == [tmp_path / f"whole-{name}"]
        _snapshot.write({**snapshot, "socketTables": spool}, str(tmp_path / name))
    assert (tmp_path / name).read_bytes() == (tmp_path / f"whole-{name}").read_bytes()
    assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


def test_a_disk_that_is_full_for_the_tables_is_told_when_they_are_written(tmp_path, monkeypatch):
    def full(**_options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(_snapshot.tempfile, "TemporaryFile", full)
    with contextlib.closing(_snapshot.Spool(str(tmp_path / "record.json"))) as spool:
        for table in TABLES:
            spool.append(table)
        with pytest.raises(OSError, match="No space left"):
            _snapshot.write({**cluster.snapshot(), "socketTables": spool}, str(tmp_path / "record.json"))
    assert list(tmp_path.iterdir()) == []


def test_gzip_is_told_by_its_bytes_not_by_its_name(tmp_path):
    (tmp_path / "record.json").write_bytes(gzip.compress(json.dumps(cluster.snapshot()).encode()))
    (tmp_path / "record.json.gz").write_text(json.dumps(cluster.snapshot()), encoding="utf-8")
    assert _snapshot.read(str(tmp_path / "record.json")) == _snapshot.read(str(tmp_path / "record.json.gz"))


def test_only_its_owner_may_read_it(tmp_path):
    path = tmp_path / "record.json"
    path.write_text("before", encoding="utf-8")
    path.chmod(0o666)
    _snapshot.write(cluster.snapshot(), str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch, call):
    path = tmp_path / "record.json"
    path.write_text("before", encoding="utf-8")

    def full(*_args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(_snapshot.os, call, full)
    with pytest.raises(OSError, match="No space left"):
        _snapshot.write(cluster.snapshot(), str(path))
    assert [entry.name for entry in tmp_path.iterdir()] == ["record.json"]
    assert path.read_text("utf-8") == "before"


def test_a_directory_that_is_missing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        _snapshot.write(cluster.snapshot(), str(tmp_path / "missing" / "record.json"))


@pytest.mark.parametrize("kind", ["directory", "fifo"])
def test_what_is_there_and_no_file_is_not_replaced(tmp_path, kind):
    path = tmp_path / "there"
    path.mkdir() if kind == "directory" else os.mkfifo(path)
    with pytest.raises(OSError, match="no file"):
        _snapshot.write(cluster.snapshot(), str(path))
    assert path.is_dir() or path.is_fifo()
    assert [entry.name for entry in tmp_path.iterdir()] == ["there"]


def test_a_device_is_not_replaced():
    with pytest.raises(OSError, match="no file"):
        _snapshot.write(cluster.snapshot(), os.devnull)
    assert not os.path.isfile(os.devnull)


DOCUMENTS = {
    "nothing": (b"", "it is not JSON"),
    "half of it": (json.dumps(cluster.snapshot()).encode()[:-40], "it is not JSON"),
    "YAML": (b"apiVersion: precheck.meshops.io/v1\n", "it is not JSON"),
    "no UTF-8": (b'{"kind": "\xff"}', "it is not JSON"),
    "half of a surrogate pair": (b'{"kind": "\\ud800"}', "kind: wanted text, found half of a surrogate pair"),
    "half of one, in capitals": (b'{"kind": "\\uD800"}', "kind: wanted text, found half of a surrogate pair"),
    "too deep": (b"[" * 100_000, "it holds more than 100 levels"),
    "a number without end": (b"[" + b"9" * 5000 + b"]", "it is not JSON|a mapping"),
    "a list": (b"[]", "a ClusterSnapshot is a mapping, this is a list"),
    "half of a gzip file": (gzip.compress(b"{}" * 1000)[:-9], "it is not whole gzip data"),
    "gzip in name only": (b"\x1f\x8bnonsense", "it is not whole gzip data"),
    "gzip of no JSON": (gzip.compress(b"no"), "it is not JSON"),
}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_file_that_is_no_snapshot_says_so(tmp_path, document):
    data, message = DOCUMENTS[document]
    (tmp_path / "record.json").write_bytes(data)
    with pytest.raises(_schema.SnapshotError, match=message):
        _snapshot.read(str(tmp_path / "record.json"))


def test_a_whole_surrogate_pair_is_text(tmp_path):
    snapshot = cluster.snapshot()
    snapshot["metadata"] = {"server": "\U0001f600"}
    (tmp_path / "record.json").write_text(json.dumps(snapshot), encoding="ascii")
    assert _snapshot.read(str(tmp_path / "record.json"))["metadata"]["server"] == "\U0001f600"


@pytest.mark.parametrize("packed", [False, True])
def test_a_bomb_meets_a_limit(tmp_path, monkeypatch, packed):
    monkeypatch.setattr(outside, "BYTES", 100_000)
    bomb = b" " * 10_000_000
    (tmp_path / "record.json").write_bytes(gzip.compress(bomb) if packed else bomb)
    with pytest.raises(_schema.SnapshotError, match="it holds more than 100000 bytes"):
        _snapshot.read(str(tmp_path / "record.json"))


def test_a_file_that_is_missing_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        _snapshot.read(str(tmp_path / "missing.json"))


def test_tables_that_come_from_many_threads_at_once_are_all_kept_whole(tmp_path):
    spool = _snapshot.Spool(str(tmp_path / "record.json"))
    tables = [{"namespace": "shop", "pod": f"web-{n}", "format": "ss", "stdout": "x" * n * 50} for n in range(400)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(spool.append, tables))
    assert sorted(spool, key=lambda table: len(table["stdout"])) == tables
    spool.close()
