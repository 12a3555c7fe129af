# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""Text from a cluster, made fit to be shown, and to name a file."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.report import WORD
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.text import path_part, printable


def written_out(value: t.Any, keep: str = "") -> str:
    """`value` as text in which everything that is not to be seen is written out, `\\x1b` for an escape.

    That covers what a terminal obeys, what XML 1.0 forbids, what turns the direction of text, line breaks and lone surrogates; `keep` are
    characters to leave as they are.
    """
    return printable(str(value), lambda char: char if char in keep else char.encode("unicode_escape").decode("ascii"))


def lines(value: t.Any) -> str:
    """The same for text of several lines."""
    return written_out(value, keep="\n")


def count(number: int, one: str, many: str | None = None) -> str:
    """`1 pod`, `2 pods`, `2,000 pods`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def label(word: str) -> str:
    """A word of the Report as it is said: `breaks on upgrade`."""
    return WORD[word].label.lower() if word in WORD else word


def some(names: t.Sequence[str], most: int = 5) -> str:
    """The first names, and how many more there are."""
    shown = ", ".join(written_out(name) for name in names[:most])
    return shown + (f" and {len(names) - most:,} more" if len(names) > most else "")


def file_name(cluster: str, suffix: str) -> str:
    """A file's name for a cluster, as path_part() makes it.

    What would make one cluster's file look like another's of another format (`a.istio` beside `a`), or like the index of them all, is
    percent-encoded, too.
    """
    safe = re.sub(r"\.(?=(?:istio|junit)$)|^i(?=ndex$)", lambda found: f"%{ord(found[0]):02X}", path_part(cluster))
    return f"{safe}.{suffix}"
