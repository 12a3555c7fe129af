# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""Paged lists of raw JSON, and single requests, through the client that kubernetes.core makes: its auth, proxy, CA and impersonation, none of the models."""

from __future__ import annotations

import contextlib
import functools
import glob
import io
import json
import os
import signal
import threading
import time
import typing as t
from urllib.parse import urlsplit

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.outside import (
    BYTES,
    OutsideError,
    from_json,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._secrets import without_user, without_users
from ansible_collections.meshops.istio_precheck.plugins.module_utils._snapshot import SnapshotError
from ansible_collections.meshops.istio_precheck.plugins.module_utils._text import printable

PAGE = 500

MAX_ANSWER = BYTES
"""Bytes of one answer, unpacked; a page of 500 pods has some megabytes, and no object can have more than 1.5."""

MAX_PAGES = 4000
"""Pages of one list, and so two million objects; no cluster is tested with a tenth of that."""

RETRIED = (429, 500, 502, 503, 504)
"""HTTP statuses that may be another the next time."""

REQUEST_TIMEOUT = 60.0
"""Seconds that one request may take, tries and waits included; a page has 500 objects."""

QUESTION_TIMEOUT = 5.0
"""Seconds for a question that can go without an answer."""

IDLE_TIMEOUT = 30.0
"""Seconds without a byte after which a request is given up."""

FIRST_WAIT = 0.5

T = t.TypeVar("T")


class GatherError(Exception):
    """The cluster could not be looked at; the text says what and why, and is printable."""

    def __init__(self, text: str) -> None:
        super().__init__(printable(without_users(text)))


class ApiError(GatherError):
    """The API server could not be asked, or said no.

    `status` is the HTTP status, 0 where there was no answer; `detail` is the reason alone, without what was asked for.
    """

    def __init__(self, asked: str, detail: str, status: int = 0) -> None:
        self.detail, self.status = printable(without_users(detail)), status
        super().__init__(f"{asked}: {self.detail}")


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
                    raise ApiError(asked, known, status) from error
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
            raise ApiError(asked, known, getattr(error, "status", 0) or 0) from error
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


class Ahead(t.Generic[T]):
    """A call that goes on in the background, in a thread that ends with the process, if not before."""

    def __init__(self, call: t.Callable[[], T]) -> None:
        self._outcome: list[tuple[T | None, BaseException | None]] = []
        self._thread = threading.Thread(target=self._work, args=(call,), name="request", daemon=True)
        self._thread.start()

    def _work(self, call: t.Callable[[], T]) -> None:
        try:
            self._outcome.append((call(), None))
        except BaseException as error:  # pylint: disable=broad-except
            self._outcome.append((None, error))

    def ends_within(self, seconds: float) -> bool:
        self._thread.join(max(0.0, seconds))
        return not self._thread.is_alive()

    @property
    def program(self) -> str:
        """What the call waits for, if that is a program that it has started: only a kubeconfig makes it do that."""
        return next((f"the credential plugin {name}" for _pid, name in _programs(self._thread)), "")

    def abandon(self) -> None:
        """Ends the programs that the call has started and waits for. What it asks of a server ends with the process."""
        for pid, _name in _programs(self._thread):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)

    def result(self) -> T:
        """What the call returns or raises, once it has. To be asked for once."""
        self._thread.join()
        result, error = self._outcome.pop()
        if error is not None:
            raise error
        return t.cast(T, result)


def within(seconds: float, asked: str, call: t.Callable[[], T] | Ahead[T]) -> T:
    """What `call` returns or raises, or ApiError if that takes longer than `seconds`.

    The generated client has no timeout of its own, the one that it can be given is renewed by each byte, and what is under it waits for
    as long as a Retry-After says. So the caller stops waiting.
    """
    ahead = call if isinstance(call, Ahead) else Ahead(call)
    try:
        if not ahead.ends_within(seconds):
            raise ApiError(asked, f"{ahead.program or 'the API server'} did not answer in time")
    except BaseException:
        ahead.abandon()
        raise
    return ahead.result()


def _programs(thread: threading.Thread) -> list[tuple[int, str]]:
    """(PID, name) of what a thread has started, and what that has, as far as they run; proc_pid_task_tid_children(5)."""
    found: list[tuple[int, str]] = []
    tasks = [f"/proc/self/task/{thread.native_id}"] if thread.is_alive() else []
    for task in tasks:
        with contextlib.suppress(OSError):
            with open(f"{task}/children", encoding="ascii") as file:
                children = file.read().split()
            for pid in children:
                with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
                    found.append((int(pid), file.read().strip()))
                tasks.extend(glob.glob(f"/proc/{pid}/task/*"))
    return found


@contextlib.contextmanager
def staying() -> t.Iterator[None]:
    """Until it ends, urllib3 follows no redirection, which would take impersonation along, and leave TLS; and takes no answer beyond MAX_ANSWER.

    Here, because the client under kubernetes.core asks on its own, too, and takes an error's text whole, whatever a caller limits.
    """
    import urllib3
    from urllib3.util.retry import Retry

    usual, request = Retry.DEFAULT, urllib3.PoolManager.request

    def limited(self: t.Any, method: str, url: str, *more: t.Any, **options: t.Any) -> t.Any:
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


class TooMuch(OSError):
    """An answer beyond MAX_ANSWER."""


def retry_after(headers: t.Mapping[str, t.Any]) -> float | None:
    """The seconds that a Retry-After header asks for, if there is one."""
    after = next((str(value).strip() for name, value in headers.items() if name.lower() == "retry-after"), "")
    return float(after) if after.isdecimal() else None


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


def redirection(status: int, location: t.Any) -> str:
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


def _root(error: BaseException) -> str:
    """The innermost cause: urllib3 wraps a refused connection in a page of its own state."""
    reason = getattr(error, "reason", None)
    while isinstance(reason, BaseException):
        error, reason = reason, getattr(reason, "reason", None)
    text = str(error)
    return text.rpartition(": ")[2] if "object at 0x" in text else text
