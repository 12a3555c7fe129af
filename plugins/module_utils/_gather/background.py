# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""Calls that go on in the background, so that whoever waits for one can stop waiting."""

from __future__ import annotations

import contextlib
import glob
import os
import signal
import threading
import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.errors import ApiError

T = t.TypeVar("T")


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
