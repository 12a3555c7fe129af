# -*- coding: utf-8 -*-
# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins!

"""Values from a play as plain data."""

from __future__ import annotations

import typing as t


def plain(value: t.Any) -> t.Any:
    """`value` without ansible-core's tags and marks: plain dicts, lists, text and numbers, which every library takes."""
    if isinstance(value, t.Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, str):
        return str.__str__(value)  # str() of an unsafe text of ansible-core 2.18 and older is unsafe text again
    for kind in (bool, int, float):
        if isinstance(value, kind):
            return kind(value)
    return value
