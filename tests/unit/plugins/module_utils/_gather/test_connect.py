# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From the auth options to a cluster, against servers and credential plugins that misbehave."""

from __future__ import annotations

import json
import pathlib
import sys
import time
import types
import typing as t

import pytest
import yaml

kubernetes = pytest.importorskip("kubernetes")
pytest.importorskip("websocket")

from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather import connect as _connect
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.errors import ApiError, GatherError
from ansible_collections.meshops.istio_precheck.tests.helpers.fault_server import (
    SUCCESS,
    ApiServer,
    Connection,
    FaultServer,
    answers,
    http,
    out,
    refusal,
    says,
    stand_alone,
    status,
)

PODS = "/api/v1/pods"
READ = says(out("LISTEN"), status(SUCCESS))
COMMAND = ("ss", "-ltnH")


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """Also without what the last kubeconfig said, which the client keeps."""
    monkeypatch.setattr(kubernetes.client.Configuration, "_default", None)
    stand_alone(monkeypatch, tmp_path)


def connected(exec_timeout: float = 5, **options: t.Any) -> t.Any:
    return _connect.connect(
        types.SimpleNamespace(params=options, requires=lambda *_args, **_more: None, server_side_dry_run=False),
        exec_timeout,
    )


# ---------------------------------------------------------------------------------------------------------------------
# Redirections


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("piece", [PODS, "/version"], ids=["a list", "the first request"])
def test_no_request_follows_a_redirection(code, piece):
    with FaultServer(answers(http(200, json.dumps({"items": []}).encode(), "Connection: close"))) as elsewhere:
        redirection = http(
            code, b"", f"Location: http://jane:secret@127.0.0.1:{elsewhere.port}{PODS}", "Connection: close"
        )
        with ApiServer({PODS: []}, faults={piece: [redirection]}) as server, pytest.raises(GatherError) as caught:
            with connected(host=server.url, api_key="abc", impersonate_user="jane") as (api, _run):
                api.pages(PODS, lambda item: item)
        assert elsewhere.requests == []
    assert str(caught.value).endswith(f": HTTP {code}, a redirection to 127.0.0.1, which is not followed")
    assert piece == "/version" or str(caught.value).startswith(f"GET {PODS}: ")


# ---------------------------------------------------------------------------------------------------------------------
# What is shown


def test_what_a_server_says_at_the_first_request_is_printable():
    with ApiServer(
        {}, faults={"/": [http(401, refusal(401, "Unauthorized", "no\x1b[2J\x9b31m\u202e\r\n"), "Connection: close")]}
    ) as server:
        with pytest.raises(GatherError) as caught, connected(host=server.url, api_key="abc"):
            pass
    assert str(caught.value) == "no connection to a cluster with host: no?[2J?31m???"


def test_user_and_password_in_a_url_are_not_shown():
    with ApiServer({PODS: []}, execs=READ) as server:
        with connected(host=server.url.replace("//", "//jane:secret@"), api_key="abc") as (api, run):
            assert api.server == server.url
            assert run("shop", "web", "app", COMMAND).code == 0
            server.faults = {PODS: [Connection.reset]}
            api._timeout = 0.5
            with pytest.raises(ApiError) as caught:
                api.pages(PODS, lambda item: item)
        assert not any("secret" in str(asked) for asked in server.requests)
    assert "secret" not in str(caught.value)


# ---------------------------------------------------------------------------------------------------------------------
# Credential plugins

PLUGIN = """
import json, pathlib, subprocess, sys, time
count = pathlib.Path(sys.argv[1])
count.write_text(count.read_text() + "x" if count.exists() else "x")
if pathlib.Path(sys.argv[2]).exists():
    subprocess.run([sys.executable, "-c", "import time; time.sleep(60)", "hangs-" + sys.argv[1]])
credential = {"token": "abc", "expirationTimestamp": "2020-01-01T00:00:00Z"}
print(json.dumps({"apiVersion": "client.authentication.k8s.io/v1beta1", "kind": "ExecCredential", "status": credential}))
"""


class Plugin:
    """A kubeconfig whose token comes from a plugin, and expires at once; it hangs from `hang()` on."""

    def __init__(self, place: pathlib.Path, server: str) -> None:
        (place / "plugin.py").write_text(PLUGIN, "utf-8")
        self._hangs, self._count = place / "hangs", place / "count"
        arguments = [str(place / "plugin.py"), str(self._count), str(self._hangs)]
        asked = {
            "apiVersion": "client.authentication.k8s.io/v1beta1",
            "command": sys.executable,
            "args": arguments,
            "interactiveMode": "Never",
        }
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": server}}],
            "users": [{"name": "u", "user": {"exec": asked}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        }
        self.kubeconfig = str(place / "kubeconfig")
        pathlib.Path(self.kubeconfig).write_text(yaml.safe_dump(config), "utf-8")

    @property
    def calls(self) -> int:
        return len(self._count.read_text("utf-8"))

    def hang(self) -> None:
        self._hangs.touch()

    def left(self) -> list[str]:
        """Its processes that still run, a moment later."""
        end = time.monotonic() + 5
        while True:
            found = []
            for folder in pathlib.Path("/proc").glob("[0-9]*"):
                try:
                    said = (folder / "cmdline").read_bytes()
                except OSError:
                    continue
                if str(self._count).encode() in said:
                    found.append(said.decode())
            if not found or time.monotonic() > end:
                return found
            time.sleep(0.05)


BLAMED = "the credential plugin python"


def test_a_credential_plugin_that_hangs_from_the_start_is_named_and_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(_connect, "REQUEST_TIMEOUT", 1.5)
    plugin = Plugin(tmp_path, "http://127.0.0.1:1")
    plugin.hang()
    with pytest.raises(GatherError) as caught, connected(kubeconfig=plugin.kubeconfig):
        pass
    assert str(caught.value).startswith(f"no connection to a cluster with kubeconfig: {BLAMED}")
    assert str(caught.value).endswith(" did not answer in time")
    assert plugin.left() == []


def test_a_credential_plugin_that_hangs_keeps_no_pod_beyond_its_deadline(tmp_path):
    with ApiServer({PODS: []}, execs=READ) as server:
        plugin = Plugin(tmp_path, server.url)
        with connected(1.5, kubeconfig=plugin.kubeconfig) as (_api, run):
            plugin.hang()
            began = time.monotonic()
            outcome = run("shop", "web", "app", COMMAND)
            assert time.monotonic() - began < 1.5 + 1
        assert (outcome.code, outcome.reason) == (None, "timeout")
        assert outcome.detail.startswith(f"No answer in time from {BLAMED}")
        assert server.paths("/exec") == []
    assert plugin.left() == []


def test_a_credential_plugin_is_not_run_for_each_pod(tmp_path):
    with ApiServer({PODS: []}, execs=READ) as server:
        plugin = Plugin(tmp_path, server.url)
        with connected(kubeconfig=plugin.kubeconfig) as (_api, run):
            before = plugin.calls
            assert [run("shop", f"web-{n}", "app", COMMAND).code for n in range(20)] == [0] * 20
            assert plugin.calls <= before + 3
        assert {value for asked in server.requests for value in asked.all("authorization")} == {"Bearer abc"}


def test_a_credential_plugin_that_hangs_while_a_list_is_asked_for_is_named_and_ended(tmp_path):
    with ApiServer({PODS: []}) as server:
        plugin = Plugin(tmp_path, server.url)
        with connected(kubeconfig=plugin.kubeconfig) as (api, _run):
            plugin.hang()
            api._timeout = 1.5
            with pytest.raises(ApiError, match=f"^GET {PODS}: {BLAMED}.* did not answer in time$"):
                api.pages(PODS, lambda item: item)
        assert plugin.left() == []


# ---------------------------------------------------------------------------------------------------------------------
# The name of the cluster


def test_the_context_is_the_one_that_the_cluster_is_taken_from(tmp_path, monkeypatch):
    config = {
        "clusters": [{"name": name, "cluster": {"server": f"https://{name}"}} for name in ("east", "west")],
        "contexts": [{"name": name, "context": {"cluster": name, "user": "jane"}} for name in ("east", "west")],
        "current-context": "east",
    }
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    for params, name in (
        ({"kubeconfig": str(path)}, "east"),
        ({"kubeconfig": config}, "east"),
        ({"kubeconfig": str(path), "context": "west"}, "west"),
        ({"kubeconfig": str(path), "host": "https://api"}, ""),
        ({"kubeconfig": "/no/such"}, ""),
        ({"kubeconfig": str(tmp_path)}, ""),
        ({}, ""),
    ):
        assert _connect.context_name(params) == name, params
    monkeypatch.setenv("K8S_AUTH_KUBECONFIG", str(path))
    assert _connect.context_name({}) == "east"
    monkeypatch.setenv("K8S_AUTH_CONTEXT", "west")
    assert _connect.context_name({}) == "west"
