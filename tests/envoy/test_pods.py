# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The pods themselves."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import time

from ansible_collections.meshops.istio_precheck.tests.envoy import kinds, pods

POD = """
import time
from ansible_collections.meshops.istio_precheck.tests.envoy import kinds, pods
pod = pods.Pod(kinds.PLAIN, pods.envoy())
print(pod.pid, pod.folder, flush=True)
time.sleep(600)
"""


def test_nothing_is_left_of_a_run_that_is_killed(envoy):
    run = subprocess.Popen(
        [sys.executable, "-c", POD],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        pid, folder = run.stdout.readline().split()
        namespace = os.stat(f"/proc/{pid}/ns/net").st_ino
    finally:
        run.send_signal(signal.SIGKILL)
        run.wait()
    end = time.monotonic() + 20
    while runs(pid) and time.monotonic() < end:
        time.sleep(0.05)
    assert not runs(pid)
    assert namespace not in namespaces()
    with pods.Pod(kinds.PLAIN):  # the next one takes away its files, too
        assert not pathlib.Path(folder).exists()


def runs(pid: str) -> bool:
    """Whether there is such a process; one that nobody waited for has ended, too."""
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text("utf-8")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def namespaces() -> set[int]:
    found = set()
    for path in pathlib.Path("/proc").glob("[0-9]*/ns/net"):
        try:
            found.add(path.stat().st_ino)
        except OSError:
            continue
    return found
