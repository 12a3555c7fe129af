# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""What came from a cluster, a file or a program, as one line for people to read."""

from __future__ import annotations

import re
import typing as t
import urllib.parse


def printable(text: str, instead: t.Callable[[str], str] = lambda _char: "?") -> str:
    """`text` with `instead` of whatever a terminal obeys: controls, escape sequences, line ends, marks that turn the direction of writing."""
    return text if text.isprintable() else "".join(char if char.isprintable() else instead(char) for char in text)


class OutsideTextError(ValueError):
    """An error that quotes what comes from outside, in one short line that a terminal obeys nothing of."""

    def __init__(self, text: str) -> None:
        line = printable(text)
        super().__init__(line if len(line) <= LINE else f"{line[: LINE - 3]}...")


LINE = 390
"""Characters of a message, after which nobody reads on."""


def is_printable(value: t.Any) -> bool:
    """Whether a terminal obeys nothing in any text of `value`, plain data; keys are texts, too."""
    if isinstance(value, dict):
        return all(is_printable(key) and is_printable(item) for key, item in value.items())
    return (
        all(map(is_printable, value)) if isinstance(value, list) else not isinstance(value, str) or value.isprintable()
    )


def for_people(value: t.Any) -> t.Any:
    """`value`, plain data, with every text in it printable but that of manifests.

    Those are applied as they are, and none is made that is_printable() denies.
    """
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, list):
        return [for_people(item) for item in value]
    if isinstance(value, dict):
        return {key: item if key == "manifest" else for_people(item) for key, item in value.items()}
    return value


LONGEST_PART = 200
"""Bytes of path_part(); file systems take 255, and a suffix may follow."""


def path_part(name: str) -> str:
    """`name`, such as that of an inventory's host, as one part of a path: never another directory, never hidden, never the same for two names.

    Plain names stay as they are. What file systems or shells could take amiss is percent-encoded. Raises ValueError for a name that is too long.
    """
    safe = urllib.parse.quote(name.encode("utf-8", "surrogatepass"), safe="")
    safe = re.sub(r"^\.", "%2E", safe) or "%"
    if len(safe) > LONGEST_PART:
        raise ValueError(f"the name is too long for a file: {safe[:40]}...")
    return safe
