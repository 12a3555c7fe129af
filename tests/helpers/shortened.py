# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reports made short enough to be read by a reviewer: the text of a page, and lines that repeat with other names counted."""

from __future__ import annotations

import html.parser
import re
import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.report import WORDS
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._reports.text import count

WIDEST = 320
"""Columns of a line of text."""

VOID = ("meta", "link", "input", "br")
UNSEEN = ("head", "style", "script", "svg")
BLOCKS = ("p", "div", "section", "header", "footer", "main", "figure", "figcaption", "dl", "tr", "li", "ul", "details", "pre")  # fmt: skip
BLOCKS += ("summary", "article", "table", "h1", "h2", "h3", "h4", "h5")
LEAD = {**{f"h{n}": "#" * n + " " for n in range(1, 6)}, "li": "- ", "dt": " ", "dd": ": ", "th": " | ", "td": " | "}


class _Seen(html.parser.HTMLParser):
    """What a page shows where no script runs, and what its rows unfold to, further to the right."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._line = ""
        self._open: list[tuple[str, bool]] = []
        self._depth = 0
        self._unfolded = False

    def _end_line(self) -> None:
        text = self._line if self._is_in("pre") else " ".join(self._line.split())
        if text.strip(" |"):
            more = f" [... {len(text) - WIDEST:,} more characters]" if len(text) > WIDEST else ""
            self.lines.append("  " * self._depth + text[:WIDEST] + more)
        self._line = ""

    def _is_in(self, tag: str) -> bool:
        return any(name == tag for name, _hidden in self._open)

    def _is_hidden(self) -> bool:
        return any(hidden for _name, hidden in self._open)

    def handle_startendtag(self, tag: str, attrs: t.Any) -> None:
        pass

    def handle_starttag(self, tag: str, attrs: t.Any) -> None:
        if tag in VOID:
            return
        given = dict(attrs)
        if tag in BLOCKS:
            self._end_line()
        self._open.append((tag, tag in UNSEEN or "hidden" in given))
        if self._is_hidden():
            return
        if tag == "details":
            self._unfolded = "open" in given
        elif tag == "summary":
            self._line += "v " if self._unfolded else "> "
        self._line += LEAD.get(tag, "")

    def handle_endtag(self, tag: str) -> None:
        if tag in BLOCKS:
            self._end_line()
        if tag in ("span", "small", "b"):
            self._line += " "
        if tag == "summary":
            self._depth += 1
        if tag == "details":
            self._depth -= 1
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self._is_hidden():
            return
        if not self._is_in("pre"):
            self._line += data
            return
        *whole, last = data.split("\n")
        for line in whole:
            self.lines.append("  " * self._depth + (self._line + line).rstrip())
            self._line = ""
        self._line += last


def seen(page: str) -> str:
    """The text of an HTML page, a line for each block of it."""
    parser = _Seen()
    parser.feed(page)
    parser.close()
    return "\n".join(parser.lines) + "\n"


LONGEST = 120
"""Lines of what repeats."""

WORDING = {text for word in WORDS for text in (word.name, word.label, word.label.lower())}
LABELS = re.compile("|".join(map(re.escape, sorted(WORDING, key=len, reverse=True))))
NUMBER = re.compile(r"\d+")
COUNTS = re.compile(r"0 WORD(?:,? 0 WORD)+")


def shortened(text: str, keep: int = 2, least: int = 5) -> str:
    """The text, with the first `keep` of at least `least` runs of lines that differ in numbers and words of the Report alone; the others are counted.

    Once more with what that leaves, since what repeats may hold what repeats.
    """
    once = _once(text, keep, least)
    return once if once == text else shortened(once, keep, least)


def _once(text: str, keep: int, least: int) -> str:
    lines = text.split("\n")
    shapes = [COUNTS.sub("0 WORD", NUMBER.sub("0", LABELS.sub("WORD", line)).strip(" |")) for line in lines]
    short, at = [], 0
    while at < len(lines):
        runs = [(size, _times(shapes, at, size)) for size in range(1, LONGEST)]
        size, times = max(runs, key=lambda run: ((run[1] >= least) * run[0] * run[1], -run[0]))
        if times < least:
            short.append(lines[at])
            at += 1
            continue
        short += lines[at : at + size * keep]
        short.append(f"[... {times - keep:,} more like these, of {count(size, 'line')} each]")
        at += size * times
    return "\n".join(short)


def _times(shapes: t.Sequence[str], at: int, size: int) -> int:
    """How often the `size` lines at `at` are there in a row, but for their numbers."""
    first, times = shapes[at : at + size], 1
    while len(first) == size and shapes[at + times * size : at + (times + 1) * size] == first:
        times += 1
    return times
