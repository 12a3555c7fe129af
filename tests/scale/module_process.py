# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs the module as Ansible does, and writes what it took: module_process.py ARGUMENTS REPORT [--canned]."""

from __future__ import annotations

import atexit
import json
import pathlib
import re
import sys
import time
import typing as t

import fleet

from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather import api as _api
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather import cluster as _cluster
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather import exec as _exec
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather import proxies as _proxies
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.attempts import Outcome
from ansible_collections.meshops.istio_precheck.tests.helpers.module_runner import patch_module_args

STARTED = time.monotonic()
_read_sockets = _cluster.read_sockets
_ask_proxies = _proxies.ask_proxies
_begin = _api.Api._begin


class Meter:
    """Stands around ExecClient.run, and reads the clocks when it is entered and left."""

    def __init__(self, run: t.Callable[..., Outcome]) -> None:
        self._run = run
        self.begun: list[tuple[float, float]] = []
        self.ended: list[tuple[float, float]] = []
        self.reading = self.asking = 0.0
        self.asked = self.requests = 0

    def run(self, *arguments: t.Any) -> Outcome:
        self.begun.append((time.monotonic(), time.process_time()))
        try:
            return self._run(*arguments)
        finally:
            self.ended.append((time.monotonic(), time.process_time()))

    def read_sockets(self, *arguments: t.Any) -> None:
        began = time.monotonic()
        _read_sockets(*arguments)
        self.reading = time.monotonic() - began

    def ask_proxies(self, *arguments: t.Any) -> t.Any:
        began, before = time.monotonic(), len(self.ended)
        found = _ask_proxies(*arguments)
        self.asking, self.asked = time.monotonic() - began, len(self.ended) - before
        return found

    def report(self) -> dict[str, t.Any]:
        seconds, cpu = (
            (max(several) - min(others) for several, others in zip(zip(*self.ended), zip(*self.begun)))
            if self.ended
            else (0, 0)
        )
        peak = re.search(r"VmHWM:\s*(\d+) kB", pathlib.Path("/proc/self/status").read_text("utf-8"))
        return {
            "seconds": time.monotonic() - STARTED,
            "cpu": time.process_time(),
            "peak_mb": int(peak[1]) / 1024 if peak else 0,
            "execs": len(self.ended),
            "exec_seconds": seconds,
            "exec_cpu": cpu,
            "reading_seconds": self.reading,
            "asking_seconds": self.asking,
            "asked": self.asked,
            "requests": self.requests + len(self.ended),
        }


def canned(_client: t.Any, _namespace: str, pod: str, *_more: t.Any) -> Outcome:
    return Outcome(fleet.table(pod), 0)


def main() -> None:
    arguments, report = (pathlib.Path(path) for path in sys.argv[1:3])
    meter = Meter(canned if "--canned" in sys.argv else _exec.ExecClient.run)

    def metered(*asked: t.Any) -> Outcome:  # a function, for it to be given the client
        return meter.run(*asked)

    def begin(*asked: t.Any) -> t.Any:
        meter.requests += 1
        return _begin(*asked)

    _exec.ExecClient.run = metered  # type: ignore[method-assign]
    _api.Api._begin = begin  # type: ignore[method-assign]
    _cluster.read_sockets = meter.read_sockets
    _proxies.ask_proxies = meter.ask_proxies
    atexit.register(lambda: report.write_text(json.dumps(meter.report()), "utf-8"))
    from ansible_collections.meshops.istio_precheck.plugins.modules import localhost_listener_info

    with patch_module_args(json.loads(arguments.read_text("utf-8"))):
        localhost_listener_info.main()


if __name__ == "__main__":
    main()
