# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The remediation with every secret it can be given, and a look at everything that it shows, hands to callbacks or leaves."""

from __future__ import annotations

import base64

import pytest

pytest.importorskip("kubernetes")
pytest.importorskip("websocket")

from ansible_collections.meshops.istio_precheck.tests.helpers import fault_server, running
from ansible_collections.meshops.istio_precheck.tests.playbooks.mesh_server import REMEDIATE, Mesh

SECRETS = ("api-key", "password", "proxy-password", "user-of-the-host", "user-of-the-proxy")
PUT_THERE = ("variables.json", "ansible.cfg")


def canary(name):
    return f"CANARY-{name}-" + base64.b32encode(name.encode()).decode().strip("=")


def with_user(url, name):
    return url.replace("://", f"://jane:{canary(name)}@")


def secrets_of(server, via):
    return {
        "check_listeners_host": with_user(server.url, "user-of-the-host"),
        "check_listeners_ca_cert": fault_server.pki().ca,
        "check_listeners_api_key": canary("api-key"),
        "check_listeners_username": "jane",
        "check_listeners_password": canary("password"),
        "check_listeners_proxy": with_user(via, "user-of-the-proxy"),
        "check_listeners_proxy_headers": {"proxy_basic_auth": "jane:" + canary("proxy-password")},
        "check_listeners_exec_timeout": 60,
    }


def shown_in(ended, place):
    """Where any secret is shown, handed on or left."""
    texts = {"the output": ended.output, "the process list": "\n".join(ended.commands)}
    for path in place.rglob("*"):
        if path.is_file() and path.name not in PUT_THERE:
            texts[str(path.relative_to(place))] = path.read_bytes().decode("utf-8", "replace")
    assert "results.txt" in texts
    shapes = [
        shape
        for secret in map(canary, SECRETS)
        for shape in (secret, base64.b64encode(secret.encode()).decode().strip("="))
    ]
    return sorted({where for where, text in texts.items() for shape in shapes if shape in text})


@pytest.mark.parametrize("verbosity", ["", "-vvvv"])
def test_no_secret_is_shown_handed_on_or_left(tmp_path, verbosity):
    pki = fault_server.pki()
    with Mesh(tls=pki.context()) as server, fault_server.FaultServer(fault_server.proxy(server.port)) as via:
        told = secrets_of(server, via.url)
        told |= {
            "remediate_listeners_undo_file": str(tmp_path / "undo.json"),
            "check_listeners_report_dir": str(tmp_path / "reports"),
        }
        played = running.playbook(tmp_path, *filter(None, [verbosity]), "--diff", book=REMEDIATE, **told)
        assert played.code == 0 and server.specs, played.output[-3000:]
        assert shown_in(played, tmp_path) == []
        undone = running.playbook(
            tmp_path, *filter(None, [verbosity]), book=REMEDIATE, remediate_listeners_undo=True, **told
        )
        assert undone.code == 0 and not server.specs, undone.output[-3000:]
        assert shown_in(undone, tmp_path) == []


@pytest.mark.parametrize("book", [running.GATE, REMEDIATE])
@pytest.mark.parametrize("proxy", ["http://jane:{}@127.0.0.1:9", "jane:{}@127.0.0.1:9"])
@pytest.mark.parametrize("gather", ["module", "k8s_exec"])
def test_a_url_with_a_password_is_shown_and_written_without_it(tmp_path, book, proxy, gather):
    """Where the check fails, what it was given is all that a report can say of the cluster."""
    with Mesh(tls=fault_server.pki().context()) as server:
        told = secrets_of(server, "http://127.0.0.1:9")
    told |= {
        "check_listeners_proxy": proxy.format(canary("user-of-the-proxy")),
        "check_listeners_gather_with": gather,
        "remediate_listeners_undo_file": str(tmp_path / "undo.json"),
        "check_listeners_report_dir": str(tmp_path / "reports"),
        "check_listeners_report_formats": ["html", "json", "markdown", "junit", "sarif", "istio-json", "text", "csv"],
    }
    played = running.playbook(tmp_path, "-vvv", book=book, **told)
    assert played.code == 2, played.output[-3000:]
    assert list((tmp_path / "reports").iterdir())
    assert shown_in(played, tmp_path) == []
