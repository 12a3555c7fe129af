# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""The one place where secrets are cut out of what is shown, written or recorded: URLs of servers and proxies, and text that quotes them."""

from __future__ import annotations

import re
import typing as t

URL_OPTIONS = ("host", "proxy")
"""Connection options that may hold a user and a password, which ansible-core does not know for secrets."""

WORD = re.compile(r"[^\s\"'<>]+")
"""What may be a URL inside a text; a password in it may hold whatever its owner did not encode."""

URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)?(?:(.*)@)?(.*)", re.DOTALL)
"""Scheme, user and password, the rest."""


def without_user(url: str) -> str:
    """The URL without a user and a password, with a scheme or without one, as proxies are written."""
    scheme, _user, rest = t.cast(re.Match[str], URL.fullmatch(str(url))).groups()
    return f"{scheme or ''}{rest}"


def without_users(text: str, known: t.Iterable[str] = ()) -> str:
    """A text, such as a library's error, with no user and no password in any URL that it quotes, and none of the `known` passwords."""
    for password in known:
        text = text.replace(password, "********")
    return WORD.sub(lambda found: _without(found[0]), text) if "://" in text else text


def _without(word: str) -> str:
    """The word without what stands between its first `://` and the last `@`, found in one pass: a server may send any text."""
    start, end = word.find("://") + 3, word.rfind("@")
    return word[:start] + word[end + 1 :] if 3 <= start <= end else word


def passwords(params: t.Mapping[str, t.Any]) -> set[str]:
    """The passwords in the URLs of connection options."""
    users = (t.cast(re.Match[str], URL.fullmatch(str(params.get(name) or "")))[2] or "" for name in URL_OPTIONS)
    return {user.partition(":")[2] for user in users} - {""}


def fit_to_show(params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The connection options of `params` that have to be shown otherwise than given."""
    return {name: without_user(params[name]) for name in URL_OPTIONS if params.get(name)}
