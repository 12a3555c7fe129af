# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""What came from a cluster, a file or a program, as one line for people to read."""

from __future__ import annotations

import typing as t


def printable(text: str, instead: t.Callable[[str], str] = lambda _char: "?") -> str:
    """`text` with `instead` of whatever a terminal obeys: controls, escape sequences, line ends, marks that turn the direction of writing."""
    return text if text.isprintable() else "".join(char if char.isprintable() else instead(char) for char in text)


def for_people(value: t.Any) -> t.Any:
    """`value`, plain data, with every text in it printable but that of manifests: those are applied as they are."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, list):
        return [for_people(item) for item in value]
    if isinstance(value, dict):
        return {key: item if key == "manifest" else for_people(item) for key, item in value.items()}
    return value
