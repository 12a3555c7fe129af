# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""Applies planned Sidecars to a cluster, each only to what it was planned for, keeps a record of what was there, and takes it back."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._apply import changes as _changes
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.errors import ApiError
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.kube import Thing
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.outside import OutsideError, read_file
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.snapshot import whole_file
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.text import printable

LONGEST_WAIT = 30
"""Seconds for which a run waits for another that uses the same record."""


class Server(t.Protocol):
    """What is needed of _gather._api.Api."""

    server: str

    def get(self, path: str) -> Thing: ...

    def write(self, method: str, path: str, body: Thing, dry_run: bool, kind: str = "json") -> Thing: ...


class RemedyError(Exception):
    """Nothing was done, or not everything; the lines say what and why, and are printable. `changed` is whether something was."""

    def __init__(self, lines: t.Sequence[str], changed: bool = False) -> None:
        self.lines, self.changed = [printable(line) for line in lines], changed
        super().__init__(" ".join(self.lines))


class Done(t.NamedTuple):
    """A change that was made, or that was tried only, and the object as it was and is then; None where there is none."""

    action: str
    name: str
    before: Thing | None
    after: Thing | None


def apply(api: Server, manifests: t.Sequence[Thing], report: Thing, path: str, check_mode: bool) -> list[Done]:
    """Applies all of these Sidecars, or none: `report` is today's, `path` the record's. Raises RemedyError."""
    read_record(path, api.server)  # before anything is asked: a file that cannot be used is the first thing to say
    planned = _changes.changes(manifests, _there(api, manifests), report)
    _refuse("Nothing was applied.", planned["refused"])
    pending = [change for change in planned["changes"] if change["action"] != "none"]
    tried = _try(api, pending, "Nothing was applied.")
    if check_mode or not pending:
        return [_done(change, result) for change, result in zip(pending, tried)]

    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(alone_with(path))
        except OSError as error:
            raise RemedyError([f"Nothing was applied: {path} cannot be written: {error.strerror or error}"]) from error
        return _make(api, pending, tried, path)


def _make(api: Server, pending: t.Sequence[Thing], tried: t.Sequence[Thing], path: str) -> list[Done]:
    """Applies what was tried, and records it, before and after. Nobody else writes the record meanwhile."""
    recorded = read_record(path, api.server)  # again: by now it may be another cluster's, checked at the same time

    def keep(changes: t.Sequence[Thing], results: t.Sequence[Thing], made: int) -> None:
        try:
            _write(_changes.record(recorded, changes, results, api.server, made), path)
        except OSError as error:
            done = f"{made} of {len(pending)} Sidecars were" if made else "Nothing was"
            why = f"{done} applied: {path} cannot be written: {error.strerror or error}"
            raise RemedyError([why], changed=made > 0) from error

    keep(pending, tried, 0)
    applied: list[Thing] = []
    for number, change in enumerate(pending):
        try:
            applied.append(_send(api, change, False))
        except ApiError as error:
            # Without an answer nobody knows, so what was tried stays in the record. With a refusal it is not there, and was somebody else's.
            unknown = tried[number : number + 1] if error.status == 0 or error.status >= 500 else []
            keep(pending[: number + len(unknown)], [*applied, *unknown], number)
            raise _stopped(pending, number, error, "applied") from error
    keep(pending, applied, len(applied))
    return [_done(change, result) for change, result in zip(pending, applied)]


def take_back(api: Server, path: str, check_mode: bool) -> list[Done]:
    """Restores what the record in `path` says was there. Raises RemedyError."""
    recorded = read_record(path, api.server, needed=True)
    entries = [entry["after"] for entry in recorded["changes"]]
    current = _there(api, entries)
    planned = _changes.undo(recorded, current, api.server)
    _refuse("Nothing was undone.", planned["refused"])
    now = {_name(each): each for each in current}
    pending = [
        {**change, "before": now[_name(change["manifest"])]}
        for change in planned["changes"]
        if change["action"] != "none"
    ]
    results = _try(api, pending, "Nothing was undone.")
    if not check_mode:
        results = []
        for number, change in enumerate(pending):
            try:
                results.append(_send(api, change, False))
            except ApiError as error:
                raise _stopped(pending, number, error, "undone") from error
    return [_done(change, result) for change, result in zip(pending, results)]


def read_record(path: str, server: str, needed: bool = False) -> t.Any:
    """The record in `path`, None where there is no file and none is needed. Raises RemedyError for a file that cannot be used."""
    try:
        return _changes.parsed(read_file(path), server)
    except FileNotFoundError as error:
        if not needed:
            return None
        raise RemedyError([f"Nothing was changed: there is no record {path}"]) from error
    except (OSError, OutsideError, _changes.RecordError) as error:
        why = "it is no file" if isinstance(error, IsADirectoryError) else getattr(error, "strerror", None) or error
        raise RemedyError(
            [f"Nothing was changed: {path} cannot be used: {why}. Give another remediate_listeners_undo_file."]
        ) from error


@contextlib.contextmanager
def alone_with(path: str) -> t.Iterator[None]:
    """While it lasts no other run of this machine applies with the record `path`. Raises OSError, also where another does so for too long."""
    lock, until = f"{path}.lock", time.monotonic() + LONGEST_WAIT
    while True:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(lock, handle):  # else the other took it away
                break
        except BlockingIOError as error:
            if time.monotonic() >= until:
                os.close(handle)
                raise OSError(error.errno, "another run is writing it", path) from error
            time.sleep(0.1)
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # it is the handle that locks: a file that stays behind stops nobody
            if _is_at(lock, handle):
                os.unlink(lock)
        os.close(handle)


def _is_at(path: str, handle: int) -> bool:
    """Whether the open file is the one with this path by now."""
    try:
        return os.path.samestat(os.fstat(handle), os.lstat(path))
    except FileNotFoundError:
        return False


def _write(record: Thing, path: str) -> None:
    """Whole or not at all, for its owner only. Raises OSError."""
    with whole_file(path) as file:
        file.write(json.dumps(record, indent=4, sort_keys=True).encode() + b"\n")


# ---------------------------------------------------------------------------------------------------------------------
# On the wire


def _there(api: Server, things: t.Sequence[Thing]) -> list[Thing]:
    """The Sidecars that there are of these. Raises RemedyError."""
    found = []
    for thing in things:
        try:
            found.append(api.get(_path(thing)))
        except ApiError as error:
            if error.status != 404:
                raise RemedyError([f"Nothing was changed: {error}"]) from error
    return found


def _try(api: Server, pending: t.Sequence[Thing], nothing: str) -> list[Thing]:
    """What the server says that it would make of each, with every admission webhook. Raises RemedyError if it refuses one."""
    results, refused = [], []
    for change in pending:
        try:
            results.append(_send(api, change, True))
        except ApiError as error:
            refused.append(_why(change, error))
    _refuse(nothing, refused)
    return results


def _send(api: Server, change: Thing, dry_run: bool) -> Thing:
    """Makes a change only if there is what it was planned for, and returns the object. Raises ApiError.

    A POST fails where something is, a PATCH where nothing is. A resourceVersion in the body makes the server refuse a PATCH or PUT (409)
    once the object has another one: k8s.io/apiserver/pkg/registry/rest/update.go and .../generic/registry/store.go@v0.20.2.
    """
    action, manifest = change["action"], change["manifest"]
    if action == "create":
        return api.write("post", _path(manifest, ""), manifest, dry_run)
    if action == "update":
        return api.write("patch", _path(manifest), manifest, dry_run, "merge-patch+json")
    if action == "restore":
        return api.write("put", _path(manifest), manifest, dry_run)
    options = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": change["preconditions"]}
    # The server reads the query only where there is no body.
    return api.write("delete", _path(manifest), {**options, **({"dryRun": ["All"]} if dry_run else {})}, dry_run)


def _path(thing: Thing, name: str | None = None) -> str:
    """Names and the version have been checked: they lead nowhere else."""
    meta = thing["metadata"]
    parts = [
        "/apis",
        thing["apiVersion"],
        "namespaces",
        meta["namespace"],
        "sidecars",
        meta["name"] if name is None else name,
    ]
    return "/".join(filter(None, parts))


# ---------------------------------------------------------------------------------------------------------------------
# In words


def _refuse(nothing: str, reasons: t.Sequence[str]) -> None:
    if reasons:
        raise RemedyError([nothing, *reasons])


def _stopped(pending: t.Sequence[Thing], number: int, error: ApiError, done: str) -> RemedyError:
    """What to say where one of several failed."""
    before = ", ".join(_name(change["manifest"]) for change in pending[:number])
    after = ", ".join(_name(change["manifest"]) for change in pending[number + 1 :])
    lines = [_why(pending[number], error), f"Before that, {before or 'none'} was {done}."]
    return RemedyError([*lines, *([f"After that, {after} was not {done}."] if after else [])], changed=number > 0)


MEANWHILE = {
    ("create", 409): "it was created since it was looked for. Plan again.",
    ("update", 409): "it changed since it was looked at. Plan again.",
    ("update", 404): "it is gone since it was looked at. Plan again.",
    ("restore", 409): "it changed since it was looked at.",
    ("restore", 404): "it is gone since it was looked at.",
    ("delete", 409): "it changed since it was looked at.",
    ("delete", 404): "it is gone since it was looked at.",
}
"""What a status of the server means, by what was to be done."""


def _why(change: Thing, error: ApiError) -> str:
    return f"Sidecar {_name(change['manifest'])}: {MEANWHILE.get((change['action'], error.status)) or error.detail}"


def _done(change: Thing, result: Thing) -> Done:
    before, after = change["before"], None if change["action"] == "delete" else result
    return Done(
        change["action"],
        _name(change["manifest"]),
        before and _changes.essence(before),
        after and _changes.essence(after),
    )


def _name(thing: Thing) -> str:
    return f"{thing['metadata']['namespace']}/{thing['metadata']['name']}"
