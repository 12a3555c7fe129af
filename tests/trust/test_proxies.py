# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role asks the proxies of what it found, by the module and by tasks of kubernetes.core."""

from __future__ import annotations

import json

import pytest

from ansible_collections.meshops.istio_precheck.tests.helpers import cluster, running
from ansible_collections.meshops.istio_precheck.tests.helpers.fault_server import (
    CLOSED,
    SUCCESS,
    by_command,
    out,
    says,
    status,
)
from ansible_collections.meshops.istio_precheck.tests.helpers.servers import Cluster, auth

ON_LOCALHOST = says(out("LISTEN 0 128 127.0.0.1:8080 0.0.0.0:*\n"), status(SUCCESS), CLOSED)
SAID = says(out(cluster.proxy_answer({8080: "127.0.0.1:8080"})), status(SUCCESS), CLOSED)


@pytest.mark.parametrize("way", ["module", "k8s_exec"])
def test_the_proxy_of_a_finding_is_asked_once_and_recorded(way, tmp_path):
    record = tmp_path / "record.json"
    with Cluster("web", execs=by_command(pilot_agent=SAID, otherwise=ON_LOCALHOST)) as server:
        options = {f"check_listeners_{name}": value for name, value in auth(server).items()}
        ended = running.playbook(
            tmp_path,
            check_listeners_gather_with=way,
            check_listeners_snapshot_dest=str(record),
            check_listeners_exec_timeout=60,
            **options,
        )
    assert len(server.paths("command=pilot-agent")) == 1, ended.output
    assert json.loads(record.read_text("utf-8"))["proxyConfigs"] == [
        cluster.proxy_config({8080: "127.0.0.1:8080"}, of="web")
    ]
    (found,) = running.facts(tmp_path)["check_listeners_result"]["findings"]
    assert (found["impact"], found["delivery"]["today"]["by"]) == ("breaks_on_upgrade", "proxy")
