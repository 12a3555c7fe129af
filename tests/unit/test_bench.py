# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the bench makes of its runs, and that the page on costs has its rows."""

from __future__ import annotations

import pathlib
import re

import pytest

from ansible_collections.meshops.istio_precheck.tests.bench import table

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "scale.md"
MOST, LEAST, NONE = table.Row("a", most=1.2), table.Row("b", "{:.0f}", least=20), table.Row("c")


@pytest.mark.parametrize(
    ("row", "values", "noise", "line"),
    [
        (MOST, (1.0, 3.0, 1.1), 12.3, "| a | 1.10 | 1.00 to 3.00 | 3 | 12 % | at most 1.20 |"),
        (MOST, (1.3,), None, "| a | 1.30 | 1.30 to 1.30 | 1 |  | at most 1.20, **missed** |"),
        (MOST, (1.204,), None, "| a | 1.20 | 1.20 to 1.20 | 1 |  | at most 1.20 |"),
        (LEAST, (18.0, 19.0, 30.0), None, "| b | 19 | 18 to 30 | 3 |  | at least 20, **missed** |"),
        (LEAST, (21.0,), None, "| b | 21 | 21 to 21 | 1 |  | at least 20 |"),
        (NONE, (7.0,), None, "| c | 7.00 | 7.00 to 7.00 | 1 |  |  |"),
    ],
)
def test_a_row_has_its_median_its_spread_and_whether_it_missed(row, values, noise, line):
    assert str(table.Measured(row, values, noise)) == line


def test_the_noise_is_how_far_runs_of_the_same_went_apart():
    assert table.noise([10.0, 9.0, 12.0]) == pytest.approx(30)


def test_what_was_not_measured_goes_on_as_between_the_last_two_sizes():
    costs = [table.Cost(100, 130, 1.0, 50), table.Cost(1_000, 1_050, 4.0, 60), table.Cost(10_000, 10_050, 31.0, 150)]
    assert table.extended(costs, 100_000) == table.Cost(100_000, 100_050, 301.0, 1050)
    assert table.growth({"exec": costs[1:]}, 100_000) == [
        "| 1,000 | `exec` | 1,050 | 4.0 | 60 | measured |",
        "| 10,000 | `exec` | 10,050 | 31.0 | 150 | measured |",
        "| 100,000 | `exec` | 100,050 | 301.0 | 1050 | by the slope |",
    ]


def test_the_cost_of_a_size_is_the_median_of_each_number():
    runs = [table.Cost(5, 1, 9, 2), table.Cost(5, 2, 8, 3), table.Cost(5, 3, 7, 9)]
    assert table.median_cost(runs) == table.Cost(5, 2, 8, 3)


def of_page(head: str) -> list[list[str]]:
    """The cells of the page's table that has this head."""
    body = PAGE.read_text("utf-8").split(f"\n{head}\n", 1)[1].split("\n\n", 1)[0]
    return [re.split(r" \| ", line.strip().strip("|").strip()) for line in body.splitlines()]


def test_the_page_on_costs_has_the_rows_of_the_bench_with_their_targets():
    rows = of_page(table.HEAD)
    assert [row[0] for row in rows] == [row.what for row in table.ROWS.values()]
    for shown, row in zip(rows, table.ROWS.values()):
        wanted = re.compile(r"(?:at (?:most|least) [\d.]+)?(?:, \*\*missed\*\*)?\|?")
        assert wanted.fullmatch(shown[-1].strip()) if row.most is not None or row.least is not None else True


def test_the_page_on_costs_has_the_growth_in_both_modes():
    rows = of_page(table.GROWTH_HEAD)
    assert {(row[0], row[1]) for row in rows} == {
        (pods, mode) for pods in ("100", "1,000", "10,000", "100,000") for mode in ("`exec`", "`node`")
    }
