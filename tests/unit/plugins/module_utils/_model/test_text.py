# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.text import path_part

NAMES = [
    "",
    ".",
    "..",
    "...",
    ".hidden",
    "/etc",
    "../../escaped",
    "a/b",
    "a%2Fb",
    "a\\b",
    "a b",
    "a\nb",
    "\x1b[2J",
    "ä",
    "\ud800",
    "east",
]


def test_a_name_is_one_part_of_a_path_and_no_two_names_are_one(tmp_path):
    parts = [path_part(name) for name in NAMES]
    assert len(set(parts)) == len(parts)
    for part in parts:
        assert (tmp_path / part).resolve().parent == tmp_path
        assert not part.startswith(".") and part.isprintable() and part.isascii()
    assert path_part("east.example-1_b") == "east.example-1_b"


def test_a_name_too_long_for_a_file_is_refused():
    with pytest.raises(ValueError, match="too long"):
        path_part("x" * 300)
