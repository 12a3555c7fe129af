# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""Paged lists of raw JSON, and single requests, through the client that kubernetes.core makes: its auth, proxy, CA and impersonation, none of the models."""

from __future__ import annotations

import contextlib
import functools
import io
import time
import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.background import Ahead, within
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.errors import (
    ApiError,
    TooMuch,
    server_error,
    status_reason,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.outside import (
    BYTES,
    OutsideError,
    from_json,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.schema import SnapshotError
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.secrets import without_user

PAGE = 250
"""Objects of one answer: what one takes while it is parsed is the most of what the module takes beyond its imports."""

MAX_ANSWER = BYTES
"""Bytes of one answer, unpacked; a page of pods has one or two megabytes, and no object can have more than 1.5."""

MAX_PAGES = 8000
"""Pages of one list, and so two million objects; no cluster is tested with a tenth of that."""

RETRIED = (429, 500, 502, 503, 504)
"""HTTP statuses that may be another the next time."""

REQUEST_TIMEOUT = 60.0
"""Seconds that one request may take, tries and waits included."""

QUESTION_TIMEOUT = 5.0
"""Seconds for a question that can go without an answer."""

IDLE_TIMEOUT = 30.0
"""Seconds without a byte after which a request is given up."""

FIRST_WAIT = 0.5

CONNECTIONS = 100
"""Connections that are kept for the next request. The client keeps five for each processor, and makes and drops one for each request beyond."""


class Api:
    """Asks one API server. `client` is what kubernetes.core's get_api_client() returns."""

    def __init__(self, client: t.Any, timeout: float = REQUEST_TIMEOUT) -> None:
        self._request = client.client.request
        self._timeout = timeout
        self.server = without_user(client.configuration.host)

    @functools.cached_property
    def version(self) -> str:
        """The server's, such as `v1.30.2`. Raises ApiError."""
        return str(self.get("/version").get("gitVersion") or "")

    def get(self, path: str, **params: t.Any) -> dict[str, t.Any]:
        """The JSON object at `path`. Raises ApiError."""
        return self.ask("get", path, **params)

    def ask(self, method: str, path: str, **params: t.Any) -> dict[str, t.Any]:
        """The JSON object that a request is answered with. Raises ApiError."""
        return _parsed(f"{method.upper()} {path}", self._read(path, params, method=method))

    def _read(
        self, path: str, params: dict[str, t.Any], begun: Ahead[bytes] | None = None, method: str = "get"
    ) -> bytes:
        """What the server answers, tried again where that may help; `begun` is the first try. Raises ApiError."""
        asked = f"{method.upper()} {path}"
        deadline = time.monotonic() + self._timeout
        wait = FIRST_WAIT
        while True:
            try:
                return within(deadline - time.monotonic(), asked, begun or self._begin(path, params, method))
            except Exception as error:
                known = server_error(error)
                if known is None:
                    raise
                status = getattr(error, "status", 0) or 0
                after = retry_after(getattr(error, "headers", None) or {})
                wait = wait if after is None else after
                if status not in RETRIED or time.monotonic() + wait >= deadline:
                    raise ApiError(asked, known, status, status_reason(error)) from error
            begun = None
            time.sleep(wait)
            wait = max(wait, FIRST_WAIT) * 2

    def write(
        self, method: str, path: str, body: dict[str, t.Any], dry_run: bool, kind: str = "json"
    ) -> dict[str, t.Any]:
        """The answer to a change, asked for once; `kind` is the body's, such as `merge-patch+json`. Raises ApiError.

        Its status tells what became of it: below 500, and not 0, nothing was changed.
        """
        params = {"body": body, "content_type": f"application/{kind}", "query_params": [("dryRun", "All")] * dry_run}
        return self._once(self._timeout, method, path, params)

    def post(self, path: str, body: dict[str, t.Any]) -> dict[str, t.Any]:
        """The answer to a question that changes nothing, asked once. Raises ApiError."""
        return self._once(QUESTION_TIMEOUT, "post", path, {"body": body})

    def _once(self, seconds: float, method: str, path: str, params: dict[str, t.Any]) -> dict[str, t.Any]:
        asked = f"{method.upper()} {path}"
        try:
            found = within(seconds, asked, self._begin(path, params, method))
        except Exception as error:
            known = server_error(error)
            if known is None:
                raise
            raise ApiError(asked, known, getattr(error, "status", 0) or 0, status_reason(error)) from error
        return _parsed(asked, found)

    def _begin(self, path: str, params: dict[str, t.Any], method: str = "get") -> Ahead[bytes]:
        idle = min(IDLE_TIMEOUT, self._timeout)
        return Ahead(lambda: self._request(method, path, serialize=False, _request_timeout=(idle, idle), **params).data)

    def pages(self, path: str, reduce: t.Callable[[dict[str, t.Any]], t.Any], **params: t.Any) -> list[t.Any]:
        """Every object of the list at `path`, each reduced as its page arrives, but those that are reduced to None.

        The server makes the next page while one is reduced. A continue token that has expired (410) starts the list over once: a list is of
        one moment. Raises ApiError.
        """
        asked = f"GET {path}"
        for last in (False, True):
            found: list[t.Any] = []
            tokens: set[str] = set()
            asking: dict[str, t.Any] = {**params, "limit": PAGE, "_continue": None}
            begun: Ahead[bytes] | None = None
            try:
                while True:
                    page = _parsed(asked, self._read(path, asking, begun))
                    items, token = _page(asked, page)
                    if len(tokens) >= MAX_PAGES:
                        raise ApiError(asked, f"the list has no end: more than {MAX_PAGES} pages")
                    if token in tokens:
                        raise ApiError(asked, "the list has no end: a continue token came twice")
                    if token:
                        tokens.add(token)
                        asking = {**asking, "_continue": token}
                        begun = self._begin(path, asking)
                    items.reverse()
                    while items:  # each goes as soon as it is reduced
                        try:
                            kept = reduce(items.pop())
                        except SnapshotError as error:
                            raise ApiError(asked, str(error)) from error
                        if kept is not None:
                            found.append(kept)
                    if not token:
                        return found
            except ApiError as error:
                if error.status != 410 or last:
                    raise
        raise AssertionError("not reached")


def _page(asked: str, page: dict[str, t.Any]) -> tuple[list[dict[str, t.Any]], str]:
    """A page's objects, each of which has a name, and its continue token, if any. Raises ApiError for what is no page of a list."""
    items, metadata = page.pop("items", ...) or [], page.get("metadata") or {}
    token = metadata.get("continue") or "" if isinstance(metadata, dict) else None
    if not isinstance(items, list) or not isinstance(token, str):
        raise ApiError(asked, "the answer is no list")
    for item in items:
        if not (
            isinstance(item, dict)
            and isinstance(item.get("metadata"), dict)
            and isinstance(item["metadata"].get("name"), str)
        ):
            raise ApiError(asked, "the answer is no list of objects that have a name")
    return items, token


def _parsed(asked: str, data: bytes) -> dict[str, t.Any]:
    try:
        found = from_json(data, shaped=True)
    except OutsideError as error:
        raise ApiError(asked, str(error)) from error
    if not isinstance(found, dict):
        raise ApiError(asked, "the answer is no JSON object")
    return found


@contextlib.contextmanager
def staying() -> t.Iterator[None]:
    """Until it ends, urllib3 follows no redirection, which would take impersonation along, and leave TLS; takes no answer beyond MAX_ANSWER; and
    keeps its connections.

    Here, because the client under kubernetes.core asks on its own, too, and takes an error's text whole, whatever a caller limits.
    """
    import urllib3
    from urllib3.util.retry import Retry

    usual, request = Retry.DEFAULT, urllib3.PoolManager.request

    def limited(self: t.Any, method: str, url: str, *more: t.Any, **options: t.Any) -> t.Any:
        self.connection_pool_kw["maxsize"] = CONNECTIONS
        return _whole(request(self, method, url, *more, **{**options, "preload_content": False}))

    Retry.DEFAULT = Retry(3, redirect=False)
    urllib3.PoolManager.request = limited  # type: ignore[method-assign]
    try:
        yield
    finally:
        Retry.DEFAULT = usual
        urllib3.PoolManager.request = request  # type: ignore[method-assign]


def _whole(response: t.Any) -> t.Any:
    """The response with its body, read and unpacked piece by piece: what a header says of its length takes no memory. Raises TooMuch."""
    import urllib3

    body = bytearray()
    length = str(response.headers.get("Content-Length") or "")
    if length.isdecimal() and len(length) < 20 and int(length) <= MAX_ANSWER:
        length = ""
    try:
        for piece in () if length else response.stream(PIECE, decode_content=True):
            body += piece
            if len(body) > MAX_ANSWER:
                break
        if length or len(body) > MAX_ANSWER:
            raise TooMuch(f"the answer has more than {MAX_ANSWER} bytes")
    except BaseException:
        response.close()
        raise
    response.release_conn()
    headers = {name: value for name, value in response.headers.items() if name.lower() != "content-encoding"}
    return urllib3.HTTPResponse(io.BytesIO(body), headers, response.status, reason=response.reason)


PIECE = 1 << 16


def retry_after(headers: t.Mapping[str, t.Any]) -> float | None:
    """The seconds that a Retry-After header asks for, if there is one."""
    after = next((str(value).strip() for name, value in headers.items() if name.lower() == "retry-after"), "")
    return float(after) if after.isdecimal() else None
