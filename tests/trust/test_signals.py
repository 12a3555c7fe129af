# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Stopped by a person or by a CI system in the middle: at once, in one message, and with nothing left behind."""

from __future__ import annotations

import base64
import os
import signal
import time

import pytest
from ansible.release import __version__ as ansible_version

pytest.importorskip("kubernetes")
pytest.importorskip("websocket")

import yaml

from ansible_collections.meshops.istio_precheck.tests.helpers import fault_server, running
from ansible_collections.meshops.istio_precheck.tests.helpers.fault_server import says
from ansible_collections.meshops.istio_precheck.tests.helpers.servers import READ, Cluster, auth

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
CORE = tuple(int(part) for part in ansible_version.split(".")[:2])
EXEC_TIMEOUT = 60
SOON = 15
"""Seconds for a machine that is busy; what was waited for takes a minute."""


def hold(connection):
    connection.hold()


# What the API server does when the signal comes, and the request that shows it is in the middle of that.
MOMENTS = {
    "while a pod is read": ({"execs": says(then="hold")}, "/exec"),
    "while a pod's connection is made": (
        {"until": "/pods/a/exec", "then": hold, "faults": {"/pods/a/exec": [says(then="hold")]}},
        "/pods/a/exec",
    ),
    "while a list is waited for": ({"faults": {"/api/v1/pods": [hold]}}, "/api/v1/pods"),
    "while the cluster is asked what it is": ({"faults": {"/": [hold]}}, "/"),
}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_the_module_ends_at_once_with_a_message_and_leaves_nothing(tmp_path, moment, number):
    options, piece = MOMENTS[moment]
    record = tmp_path / "record" / "cluster.json"
    record.parent.mkdir()
    with Cluster("a", "b", **options) as server:
        pki = fault_server.pki()
        # Certificates as data in a kubeconfig: the client puts them into files, which must go as well.
        data = {
            name: base64.b64encode(open(path, "rb").read()).decode()
            for name, path in (("ca", pki.ca), ("cert", pki.client), ("key", pki.client_key))
        }
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "c",
                    "clusters": [
                        {"name": "c", "cluster": {"server": server.url, "certificate-authority-data": data["ca"]}}
                    ],
                    "users": [
                        {"name": "u", "user": {"client-certificate-data": data["cert"], "client-key-data": data["key"]}}
                    ],
                    "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                }
            ),
            encoding="utf-8",
        )
        began: list[float] = []

        def in_the_middle() -> bool:
            if server.paths(piece) and not began:
                began.append(os.times().elapsed)
            return bool(began) and os.times().elapsed > began[0] + 0.5

        ended = running.module(
            tmp_path,
            running.sends(number, in_the_middle),
            kubeconfig=str(kubeconfig),
            exec_timeout=EXEC_TIMEOUT,
            snapshot_dest=str(record),
        )
        assert os.times().elapsed - began[0] < SOON
    assert ended.code == 1
    assert ended.result["failed"] is True
    assert ended.result["msg"] == f"stopped by {number.name}; nothing is known of the cluster"
    assert ended.stderr == ""
    assert (ended.strays, ended.files) == ([], [])
    assert os.listdir(record.parent) == []


def test_the_module_goes_on_where_nohup_has_hidden_the_lost_terminal(tmp_path):
    def late(connection):
        time.sleep(1)
        READ(connection)

    with Cluster("a", "b", execs=late) as server:
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            ended = running.module(
                tmp_path, running.sends(signal.SIGHUP, lambda: bool(server.paths("/exec"))), **auth(server)
            )
        finally:
            signal.signal(signal.SIGHUP, before)
    assert (ended.code, ended.stderr, ended.result["summary"]["pods_read"]) == (0, "", 2)


@pytest.mark.parametrize(
    ("way", "number"), [("module", signal.SIGINT), ("module", signal.SIGTERM), ("k8s_exec", signal.SIGINT)]
)
def test_the_playbook_ends_and_does_not_pass_and_leaves_no_process(tmp_path, way, number):
    with Cluster("a", "b", execs=says(then="hold")) as server:
        options = {f"check_listeners_{name}": value for name, value in auth(server).items()}
        ended = running.playbook(
            tmp_path, signals=running.sends(number, lambda: bool(server.paths("/exec"))), **options,
            check_listeners_exec_timeout=20, check_listeners_gather_with=way, check_listeners_snapshot_dest=str(tmp_path / "cluster.json"),
        )  # fmt: skip
        assert server.paths("/exec"), ended.output
    assert ended.code != 0
    assert "Nothing stands in the way" not in ended.output
    assert "Traceback" not in ended.output
    if CORE >= (2, 19):
        assert ended.strays == []
        assert not (tmp_path / "cluster.json").exists()
    else:  # before, ansible-core leaves its workers behind; what they run ends at its own deadline
        assert not running.strays_of(tmp_path, patience=120)
    # Not the module with its arguments, which hold the token; with pipelining it is in no file.
    arguments = ("AnsiballZ_localhost", "AnsiballZ_upgrade_gate")
    assert [name for name in ended.files if any(each in name for each in arguments)] == []
