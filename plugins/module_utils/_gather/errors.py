# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""What went wrong with a cluster, as one sentence that shows no secret."""

from __future__ import annotations

import json
import typing as t
from urllib.parse import urlsplit

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.secrets import without_users
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.text import printable


class GatherError(Exception):
    """The cluster could not be looked at; the text says what and why, and is printable."""

    def __init__(self, text: str) -> None:
        super().__init__(printable(without_users(text)))


class ApiError(GatherError):
    """The API server could not be asked, or said no.

    `status` is the HTTP status, 0 where there was no answer; `detail` says why, without what was asked for; `reason` is the word of the
    server's Status for it, such as `AlreadyExists`, empty where it gave none.
    """

    def __init__(self, asked: str, detail: str, status: int = 0, reason: str = "") -> None:
        self.detail, self.status, self.reason = printable(without_users(detail)), status, reason
        super().__init__(f"{asked}: {self.detail}")


class TooMuch(OSError):
    """An answer beyond MAX_ANSWER."""


def server_error(error: BaseException) -> str | None:
    """What a request's exception means, in one sentence; None for one that is not the server's or the network's doing."""
    import urllib3
    from kubernetes.client.exceptions import ApiException

    if isinstance(error, ApiError):
        return error.detail
    if isinstance(error, ApiException):
        if 300 <= (error.status or 0) < 400:
            return redirection(error.status, (error.headers or {}).get("Location"))
        return status_message(error.body, f"{error.status} {error.reason}")
    if isinstance(error, urllib3.exceptions.HTTPError):
        pool = getattr(error, "pool", None)
        where = f"{pool.scheme}://{pool.host}:{pool.port}" if pool else "the API server"
        return f"{where} cannot be reached: {_root(error)}"
    if isinstance(error, TooMuch):
        return str(error)
    return f"{type(error).__name__}: {error}" if isinstance(error, (OSError, ValueError)) else None


def redirection(status: int | None, location: t.Any) -> str:
    """What is said of an answer that sends the client elsewhere. The rest of the address may be secret."""
    try:
        host = urlsplit(str(location or "")).hostname
    except ValueError:
        host = None
    return f"HTTP {status}, a redirection to {host or 'another path'}, which is not followed"


def status_message(body: t.Any, otherwise: str | None) -> str:
    """The sentence in a Kubernetes Status body, which names the user, verb, resource and namespace; else `otherwise`."""
    try:
        message = json.loads(body)["message"]
    except (TypeError, ValueError, KeyError, RecursionError):
        message = None
    return message if message and isinstance(message, str) else str(otherwise or "no reason given")


def status_reason(error: BaseException) -> str:
    """The word in the Kubernetes Status that a request was refused with: metav1.StatusReason. Empty where there is none."""
    try:
        reason = json.loads(getattr(error, "body", None) or "{}")["reason"]
    except (TypeError, ValueError, KeyError, RecursionError):
        return ""
    return reason if isinstance(reason, str) else ""


def _root(error: BaseException) -> str:
    """The innermost cause: urllib3 wraps a refused connection in a page of its own state."""
    reason = getattr(error, "reason", None)
    while isinstance(reason, BaseException):
        error, reason = reason, getattr(reason, "reason", None)
    text = str(error)
    return text.rpartition(": ")[2] if "object at 0x" in text else text
