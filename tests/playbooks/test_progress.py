# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a long gather shows while it lasts, and where."""

from __future__ import annotations

import re
import time

import pytest

from ansible_collections.meshops.istio_precheck.tests.helpers import cluster, fault_server

PODS = 30
LINE = re.compile(r"localhost: (\d+) of 30 pods read, (\d+) ports on localhost so far, (\d+) unread")


@pytest.fixture()
def slow():
    """A cluster that takes some seconds: each pod half a one, and two at once. Every tenth pod refuses, the others have a port on localhost."""
    pods = [cluster.pod(f"web-7d4b9-{number:02}", node=f"node-{number}") for number in range(PODS)]

    def behave(connection):
        time.sleep(0.5)
        if int(connection.request().path.split("/")[6][-2:]) % 10 == 9:
            connection.send(fault_server.http(500, b"no", "Connection: close"))
        else:
            fault_server.says(
                fault_server.out("LISTEN 0 4096 127.0.0.1:8080 0.0.0.0:*\n"), fault_server.status(fault_server.SUCCESS)
            )(connection)

    lists = {"/api/v1/pods": pods, "/api/v1/services": [cluster.service()], "/api/v1/replicationcontrollers": []}
    istio = {f"/api/v1/namespaces/istio-system/{kind}": [] for kind in ("pods", "configmaps")}
    with fault_server.ApiServer({**lists, **istio}, behave) as server:
        yield {
            "check_listeners_host": server.url,
            "check_listeners_api_key": "abc",
            "check_listeners_concurrency": 2,
            "check_listeners_exec_timeout": 3,
        }


def left_over(home):
    return list(home.rglob("istio-precheck-progress-*"))


def test_a_terminal_shows_one_line_that_grows_and_is_gone_at_the_end(play, slow, tmp_path):
    played = play(terminal=True, **slow)
    assert played.result["summary"]["pods_read"] == PODS - 3
    shown = [tuple(map(int, found)) for found in LINE.findall(played.terminal)]
    assert len(shown) > 2 and shown == sorted(shown) and shown[0][0] < shown[-1][0] <= PODS - 3
    assert all(read == found for read, found, _unread in shown)
    assert (
        "\n" not in played.terminal[played.terminal.index("\r\x1b[Klocalhost: ") : played.terminal.rindex("\r\x1b[K")]
    )
    assert played.terminal.rindex("\r\x1b[K") > played.terminal.rindex("pods read")
    assert all(len(line) < 80 for line in played.terminal.split("\r\x1b[K"))
    assert not LINE.search(played.output)
    assert left_over(tmp_path) == []


def test_elsewhere_nothing_is_shown(play, slow, tmp_path):
    played = play(**slow)
    assert played.result["summary"]["pods_read"] == PODS - 3
    assert "pods read," not in played.output and "\x1b" not in played.output
    assert left_over(tmp_path) == []


def test_elsewhere_verbose_lines_are_written(play, slow, tmp_path):
    played = play("-v", **slow)
    assert LINE.search(played.output)
    assert "\r" not in played.output and "ISTIO_PRECHECK_PROGRESS" not in played.output
    assert left_over(tmp_path) == []
