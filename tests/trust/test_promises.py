# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""docs/promises.md: a promise without a test is none."""

from __future__ import annotations

import ast
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "promises.md").read_text("utf-8")
PROMISES = re.findall(r"^- (.*?)(?=^- |^#|\Z)", TEXT, re.MULTILINE | re.DOTALL)
NODE = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def test_every_promise_names_a_test():
    assert len(PROMISES) >= 25
    assert [promise for promise in PROMISES if not NODE.search(promise)] == []


def test_every_test_that_is_named_exists_and_is_not_skipped_out_of_hand():
    missing = []
    for place, name in NODE.findall(TEXT):
        path = ROOT / place
        tree = ast.parse(path.read_text("utf-8")) if path.exists() else ast.Module([], [])
        found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name]
        marks = [ast.unparse(mark) for node in found for mark in node.decorator_list]
        if not found or any("mark.skip" in mark or "xfail" in mark for mark in marks):
            missing.append(f"{place}::{name}")
    assert missing == []
