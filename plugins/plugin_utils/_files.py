# -*- coding: utf-8 -*-
# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins!

"""Writes files below a directory on the controller, and never anywhere else.

The directory is the user's, who may have made it a link. Below it no link is followed: what stands there may come from a repository.
So each folder is entered by a descriptor; AnsibleModule.atomic_move() and what else writes whole files take a path, and follow links in it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import typing as t

DIRECTORY, FILE = 0o755, 0o644
"""Modes of what is new: for all to read, since people review it."""

NO_LINK = os.O_NOFOLLOW | os.O_CLOEXEC


class Change(t.NamedTuple):
    """A file that was written, or would be: its path below the directory, and its text before and after."""

    path: str
    before: str
    after: str


def write(directory: str, files: t.Mapping[str, str], dry_run: bool = False) -> list[Change]:
    """Writes the `files`, paths below the directory to text, that do not hold that text yet. Each appears whole, or not at all.

    Returns what changed; a `dry_run` writes nothing. Raises OSError, with the path in `filename`, where that cannot be.
    """
    if not dry_run:
        with _naming(directory):
            os.makedirs(directory, exist_ok=True)
    changes: list[Change] = []
    for path, text in files.items():
        with _naming(os.path.join(directory, path)), contextlib.ExitStack() as opened:
            *folders, name = path.split("/")
            place = _enter(opened, directory, folders, not dry_run)
            before = None if place is None else _text(place, name)
            if before != text:
                changes.append(Change(path, before or "", text))
                if place is not None and not dry_run:
                    _replace(place, name, text)
    return changes


@contextlib.contextmanager
def _naming(path: str) -> t.Iterator[None]:
    """An OSError with the whole path in it."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error


def _enter(opened: contextlib.ExitStack, directory: str, folders: t.Sequence[str], make: bool) -> int | None:
    """A descriptor of the last of the folders below the directory, which `opened` closes; None if it is not there and may not be made."""
    place: int | None = None
    for number, name in enumerate((directory, *folders)):
        if number and make:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, DIRECTORY, dir_fd=place)
                os.chmod(name, DIRECTORY, dir_fd=place)  # whatever the umask
        try:
            descriptor = os.open(
                name, os.O_RDONLY | os.O_DIRECTORY | (NO_LINK if number else os.O_CLOEXEC), dir_fd=place
            )
        except FileNotFoundError:
            if make:
                raise
            return None
        except NotADirectoryError:
            if number and stat.S_ISLNK(os.stat(name, dir_fd=place, follow_symlinks=False).st_mode):
                raise OSError(errno.ELOOP, f"{name} is a symbolic link") from None
            raise
        opened.callback(os.close, descriptor)
        place = descriptor
    return place


def _text(place: int, name: str) -> str | None:
    """The text of a file, and None where there is none; a link or a device is none, and is replaced."""
    try:
        descriptor = os.open(name, os.O_RDONLY | NO_LINK | os.O_NONBLOCK, dir_fd=place)
    except OSError:
        return None
    with open(descriptor, encoding="utf-8", errors="replace", newline="") as stream:
        return stream.read() if stat.S_ISREG(os.fstat(descriptor).st_mode) else None


def _replace(place: int, name: str, text: str) -> None:
    beside = f".{secrets.token_hex(8)}.tmp"
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE, dir_fd=place)
    try:
        with open(descriptor, "w", encoding="utf-8", newline="") as stream:
            os.fchmod(descriptor, FILE)
            stream.write(text)
        os.replace(beside, name, src_dir_fd=place, dst_dir_fd=place)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(beside, dir_fd=place)
        raise
