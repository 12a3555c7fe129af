# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files below a directory, and nowhere else."""

from __future__ import annotations

import os
import stat

import pytest

from ansible_collections.meshops.istio_precheck.plugins.plugin_utils import _files

FILES = {"shop/web.yaml": "a\n", "shop/api.yaml": "b\n", "index": "c\n"}


def texts(place):
    return {str(path.relative_to(place)): path.read_text("utf-8") for path in place.rglob("*") if path.is_file()}


def test_what_is_new_is_written_for_all_to_read_and_what_stands_is_left(tmp_path):
    place = tmp_path / "some" / "sidecars"
    before = os.umask(0o077)
    try:
        assert [change.path for change in _files.write(str(place), FILES)] == list(FILES)
    finally:
        os.umask(before)
    assert texts(place) == FILES
    assert stat.S_IMODE((place / "shop").stat().st_mode) == 0o755
    assert {stat.S_IMODE((place / name).stat().st_mode) for name in FILES} == {0o644}
    (place / "shop").chmod(0o700)
    (place / "shop" / "web.yaml").write_text("old\n", "utf-8")
    assert _files.write(str(place), FILES) == [_files.Change("shop/web.yaml", "old\n", "a\n")]
    assert stat.S_IMODE((place / "shop").stat().st_mode) == 0o700  # whose it was, says who may enter


def test_a_dry_run_tells_the_same_changes_and_writes_none(tmp_path):
    place = tmp_path / "sidecars"
    assert [change.path for change in _files.write(str(place), FILES, dry_run=True)] == list(FILES)
    assert not place.exists()
    _files.write(str(place), {"shop/web.yaml": "a\n"})
    assert [c.path for c in _files.write(str(place), FILES, dry_run=True)] == ["shop/api.yaml", "index"]
    assert texts(place) == {"shop/web.yaml": "a\n"}


@pytest.mark.parametrize("to", ["elsewhere", "missing"])
def test_a_folder_that_is_a_link_is_not_followed_and_left_as_it_is(tmp_path, to):
    place, elsewhere = tmp_path / "sidecars", tmp_path / "elsewhere"
    place.mkdir()
    elsewhere.mkdir(mode=0o700)
    (place / "shop").symlink_to(tmp_path / to)
    with pytest.raises(OSError, match="shop is a symbolic link") as caught:
        _files.write(str(place), FILES)
    assert caught.value.filename == str(place / "shop" / "web.yaml")
    assert list(elsewhere.iterdir()) == [] and not (tmp_path / "missing").exists()
    assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o700


@pytest.mark.parametrize("kind", ["link", "pipe", "directory"])
def test_what_stands_in_a_files_place_is_replaced_or_named_never_written_through(tmp_path, kind):
    place, victim = tmp_path / "sidecars", tmp_path / "victim"
    (place / "shop").mkdir(parents=True)
    victim.write_text("mine\n", "utf-8")
    there = place / "shop" / "web.yaml"
    if kind == "directory":
        there.mkdir()
        with pytest.raises(OSError, match="directory"):
            _files.write(str(place), FILES)
    else:
        there.symlink_to(victim) if kind == "link" else os.mkfifo(there)
        _files.write(str(place), FILES)
        assert there.read_text("utf-8") == "a\n" and not there.is_symlink()
    assert victim.read_text("utf-8") == "mine\n"
    assert not list(place.rglob(".*"))


def test_the_directory_itself_may_be_a_link_of_the_user(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    _files.write(str(tmp_path / "link"), FILES)
    assert texts(tmp_path / "real") == FILES
