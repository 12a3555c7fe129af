# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A canary for each secret that the gate is given or comes across, and a look at everything that it leaves or shows, at -vvvv."""

from __future__ import annotations

import base64
import json
import pathlib
import stat
import subprocess

import pytest

pytest.importorskip("kubernetes")
pytest.importorskip("websocket")

import yaml

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model import snapshot as _snapshot
from ansible_collections.meshops.istio_precheck.tests.helpers import cluster, fault_server, running, servers
from ansible_collections.meshops.istio_precheck.tests.helpers.fault_server import (
    CLOSED,
    SUCCESS,
    out,
    says,
    status,
)
from ansible_collections.meshops.istio_precheck.tests.helpers.servers import Cluster

LOCAL = says(out("LISTEN 0 128 127.0.0.1:8080 0.0.0.0:*\n"), status(SUCCESS), CLOSED)


def canary(name: str) -> str:
    return f"CANARY-{name}-" + base64.b32encode(name.encode()).decode().strip("=")


GIVEN = ("kubeconfig-token", "kubeconfig-password", "api-key", "password", "proxy-password", "vault-password")
FOUND = (
    *("env", "proxy-env", "istiod-env", "annotation", "last-applied", "proxy-metadata", "argument", "probe-header"),
    *("managed-field", "configmap", "mesh-config"),
)


def pod(name: str) -> dict:
    """A pod with a secret wherever one is put by mistake or by design."""
    made = cluster.pod(
        name=name,
        app=name,
        owner=("ReplicaSet", f"{name}-7d4b9"),
        env={"SECRET": canary("proxy-env")},
        annotations={
            "example.org/token": canary("annotation"),
            "kubectl.kubernetes.io/last-applied-configuration": json.dumps({"env": canary("last-applied")}),
            "proxy.istio.io/config": yaml.safe_dump(
                {"interceptionMode": "REDIRECT", "proxyMetadata": {"TOKEN": canary("proxy-metadata")}}
            ),
        },
    )
    app = made["spec"]["containers"][0]
    app["env"] = [{"name": "PASSWORD", "value": canary("env")}]
    app["args"] = ["--password", canary("argument")]
    app["livenessProbe"] = {
        "httpGet": {"port": 8080, "httpHeaders": [{"name": "Authorization", "value": canary("probe-header")}]}
    }
    made["metadata"]["managedFields"] = [{"manager": canary("managed-field")}]
    return made


def full_of_secrets() -> Cluster:
    server = Cluster(execs=LOCAL)
    server.lists.update(servers.lists([pod("web"), pod("api")]))
    istiod = cluster.pod(name="istiod-1", namespace="istio-system", app="istiod", proxy=None)
    istiod["spec"]["containers"] = [
        {"name": "discovery", "image": "istio/pilot:1.9.9", "env": [{"name": "TOKEN", "value": canary("istiod-env")}]}
    ]
    server.lists["/api/v1/pods"].append(istiod)
    mesh = {
        "rootNamespace": "istio-system",
        "defaultConfig": {"tracing": {"lightstep": {"accessToken": canary("mesh-config")}}},
    }
    server.lists["/api/v1/namespaces/istio-system/configmaps"] = [
        {"metadata": {"name": "istio", "namespace": "istio-system"}, "data": {"mesh": yaml.safe_dump(mesh)}},
        {"metadata": {"name": "other", "namespace": "istio-system"}, "data": {"password": canary("configmap")}},
    ]
    return server


@pytest.fixture(scope="module", params=["module", "k8s_exec"])
def played(request, tmp_path_factory):
    """One play at -vvvv with all secrets at once: a kubeconfig and variables from the vault, a proxy, a cluster that is full of them."""
    place = tmp_path_factory.mktemp("secrets")
    pki = fault_server.pki()
    key = pathlib.Path(pki.client_key).read_text("ascii")
    inputs = place / "inputs"
    inputs.mkdir()
    (place / "out").mkdir()
    (inputs / "vault-password").write_text(canary("vault-password"), encoding="utf-8")
    with full_of_secrets() as server, fault_server.FaultServer(fault_server.proxy(server.port)) as via:
        files = {"ca": pki.ca, "cert": pki.client, "key": pki.client_key}
        data = {name: base64.b64encode(pathlib.Path(path).read_bytes()).decode() for name, path in files.items()}
        user = {
            "token": canary("kubeconfig-token"),
            "username": "jane",
            "password": canary("kubeconfig-password"),
            "client-certificate-data": data["cert"],
            "client-key-data": data["key"],
        }
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": server.url, "certificate-authority-data": data["ca"]}}],
            "users": [{"name": "u", "user": user}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        }
        variables = {
            "check_listeners_api_key": canary("api-key"),
            "check_listeners_username": "jane",
            "check_listeners_password": canary("password"),
            "check_listeners_proxy": via.url,
            "check_listeners_proxy_headers": {"proxy_basic_auth": "jane:" + canary("proxy-password")},
        }
        for name, content in (("kubeconfig", config), ("variables.yml", variables)):
            (inputs / name).write_text(yaml.safe_dump(content), encoding="utf-8")
            subprocess.run(
                [running.tool("ansible-vault"), "encrypt", "--vault-password-file", str(inputs / "vault-password"), str(inputs / name)],
                env=running.environment(place), check=True, capture_output=True, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        (place / "ansible.cfg").write_text(f"[defaults]\nlog_path = {place / 'ansible.log'}\n", encoding="utf-8")
        ended = running.playbook(
            place, "-vvvv", "--vault-password-file", str(inputs / "vault-password"), "-e", f"@{inputs / 'variables.yml'}",
            check_listeners_kubeconfig=str(inputs / "kubeconfig"), check_listeners_gather_with=request.param,
            check_listeners_snapshot_dest=str(place / "out" / "cluster.json"), check_listeners_remediation_dir=str(place / "out" / "sidecars"),
            check_listeners_report_dir=str(place / "out" / "reports"), check_listeners_exec_timeout=60,
        )  # fmt: skip
        assert any(
            "proxy-authorization" in dict(asked.headers) or "Proxy-Authorization" in dict(asked.headers)
            for asked in via.requests
        )
        tokens = {
            value for asked in server.requests for name, value in asked.headers if name.lower() == "authorization"
        }
        assert tokens <= {f"Bearer {canary(name)}" for name in ("kubeconfig-token", "api-key")} and tokens, (
            ended.output[-3000:]
        )
    ended.place, ended.key = place, key
    return ended


def everything(played) -> dict[str, str]:
    """All that was shown or left, by where: what the user put there himself is left out."""
    places = {"the output": played.output, "the process list": "\n".join(played.commands)}
    for path in sorted(played.place.rglob("*")):
        if path.is_file() and "inputs" not in path.relative_to(played.place).parts and path.name != "variables.json":
            places[str(path.relative_to(played.place))] = path.read_bytes().decode("utf-8", "replace")
    return places


def test_the_play_did_what_it_was_to_do(played):
    facts = running.facts(played.place)
    assert played.code == 2, played.output[-3000:]
    assert facts["check_listeners_passed"] is False
    assert len(facts["check_listeners_result"]["findings"]) == 2, facts["check_listeners_result"]
    assert {"ansible.log", "facts.json"} <= set(everything(played))
    assert len(_snapshot.read(str(played.place / "out" / "cluster.json"))["socketTables"]) == 2


@pytest.mark.parametrize("name", [*GIVEN, *FOUND])
def test_no_secret_is_shown_or_left_anywhere(played, name):
    secret = canary(name)
    shapes = [
        secret,
        base64.b64encode(secret.encode()).decode().strip("="),
        base64.b64encode(f"jane:{secret}".encode()).decode().strip("="),
    ]
    assert [where for where, text in everything(played).items() if any(shape in text for shape in shapes)] == []


def test_no_line_of_the_private_key_is_shown_or_left_anywhere(played):
    lines = [line for line in played.key.splitlines() if line and "-----" not in line]
    lines.append(base64.b64encode(played.key.encode()).decode()[100:160])
    assert [where for where, text in everything(played).items() if any(line in text for line in lines)] == []


def test_nobody_else_could_read_a_temporary_file_and_none_is_left(played):
    assert played.exposed == set()
    assert (played.strays, played.files) == ([], [])


def test_what_holds_the_cluster_is_for_its_owner_and_what_is_reviewed_is_for_all(played):
    modes = {
        path.suffix: stat.S_IMODE(path.stat().st_mode)
        for path in (played.place / "out").rglob("*")
        if path.is_file() and "reports" not in path.parts
    }
    assert modes == {".json": 0o600, ".yaml": 0o644}
