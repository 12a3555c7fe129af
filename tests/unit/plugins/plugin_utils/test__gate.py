# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The gate, without a play."""

from __future__ import annotations

import pytest

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.report import nothing
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils import _gate
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._reports import formats as _formats

RESET = {
    "check_listeners_passed": False,
    "check_listeners_result": nothing(),
    "__check_listeners_gate": None,
    "__check_listeners_outcome": {},
}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("check_listeners_passed", True),
        ("check_listeners_passed", "true"),
        ("check_listeners_result", {"findings": []}),
        ("__check_listeners_gate", {"passed": True}),
        ("__check_listeners_outcome", {"passed": True}),
    ],
)
def test_what_the_role_sets_is_set_by_nobody_else(name, value):
    assert _gate.taken(RESET) == ""
    assert _gate.taken({**RESET, name: value}).startswith(f"{name}: the role sets this")


@pytest.mark.parametrize("returned", [{"failed": True, "msg": "no route"}, {"cluster": {"server": "https://a:pw@api"}}])
def test_no_user_and_password_of_a_url_is_written_or_said(tmp_path, returned):
    values = {
        "check_listeners_fail_on": ["unchecked"],
        "check_listeners_host": "https://jane:pw@api",
        "check_listeners_report_dir": str(tmp_path),
        "check_listeners_report_formats": list(_formats.FORMATS),
    }
    made = _gate.outcome(returned, values, _gate.Place("east"))
    texts = [path.read_text("utf-8") for path in tmp_path.iterdir()]
    assert len(texts) == len(_formats.FORMATS)
    assert not [text for text in (*texts, *made.lines, made.line) if ":pw@" in text]


@pytest.mark.parametrize("left_out", [*nothing(), None])
def test_a_result_that_is_no_whole_report_opens_nothing(left_out):
    whole = {**nothing(), "summary": {"pods": 1, "pods_read": 1}}
    returned = {name: value for name, value in whole.items() if name != left_out}
    made = _gate.outcome(returned, {"check_listeners_fail_on": []}, _gate.Place("east"))
    assert made.passed is (left_out is None)
    assert ("without a result" in made.line) is (left_out is not None)
