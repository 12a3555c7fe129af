# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which of several reports of a cluster counts."""

from __future__ import annotations

import pytest

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.report import nothing
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._reports import document as _document

NEWEST = "2026-12-01T03:00:00Z"


@pytest.mark.parametrize(
    "other",
    ["last week", "", "2026-12-01T02:59:59Z", "2026-12-01T04:00:00+05:00", "9999-99-99T00:00:00Z", "2026-12-01T02:00:00"],
)  # fmt: skip
def test_the_newest_report_of_a_cluster_counts_however_its_time_is_written(tmp_path, other):
    for name, taken_at in (("new", NEWEST), ("old", other)):
        about = {"cluster": "prod", "server": "https://a", "passed": name == "old", "taken_at": taken_at}
        made = _document.document(nothing(), about)
        (tmp_path / f"{name}.json").write_text(_document.as_json(made), encoding="utf-8")
    found = _document.read(tmp_path)
    assert [each["metadata"]["takenAt"] for each in found["reports"]] == [NEWEST]
    assert [each["path"] for each in found["older"]] == [str(tmp_path / "old.json")]


@pytest.mark.parametrize(
    ("cluster", "server", "reports"),
    [("localhost", "", 2), ("prod", "", 1), ("localhost", "https://a", 1)],
)
def test_reports_that_name_no_cluster_at_all_are_not_taken_for_those_of_one(tmp_path, cluster, server, reports):
    for name, taken_at in (("new", NEWEST), ("old", "2026-12-01T02:00:00Z")):
        about = {"cluster": cluster, "server": server, "passed": name == "new", "taken_at": taken_at}
        (tmp_path / f"{name}.json").write_text(
            _document.as_json(_document.document(nothing(), about)), encoding="utf-8"
        )
    found = _document.read(tmp_path)
    assert (len(found["reports"]), len(found["older"])) == (reports, 2 - reports)
