# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Each variable that says where the cluster is, in both roles that talk to one."""

from __future__ import annotations

import base64
import contextlib
import json
import pathlib
import shutil

import pytest
import yaml
from ansible_collections.kubernetes.core.plugins.module_utils.args_common import AUTH_ARG_SPEC

from ansible_collections.meshops.istio_precheck.tests.helpers import fault_server

from .conftest import GATE
from .mesh_server import REMEDIATE, Mesh

ROLES = pathlib.Path(__file__).resolve().parents[2] / "roles"
HEADERS = {"proxy_basic_auth": "jane:secret", "user_agent": "a test"}
IMPERSONATE = {"check_listeners_impersonate_user": "jane", "check_listeners_impersonate_groups": ["devs"]}


def kubeconfig(url, current):
    """With two clusters, of which one does not answer."""
    servers = {"good": url, "dead": "http://127.0.0.1:9"}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": current,
        "contexts": [{"name": name, "context": {"cluster": name, "user": "u"}} for name in servers],
        "clusters": [{"name": name, "cluster": {"server": server}} for name, server in servers.items()],
        "users": [{"name": "u", "user": {"token": "of-the-file"}}],
    }


def headers(server):
    return [{name.lower(): value for name, value in asked.headers} for asked in server.requests]


def both(play, tmp_path, **variables):
    """Both roles reach the cluster: the check finds its port, the remediation has a Sidecar tried."""
    checked = play(playbook=GATE, check_listeners_fail_on=[], **variables)
    assert checked.code == 0 and checked.result["findings"], checked.output
    tried = play("--check", playbook=REMEDIATE, remediate_listeners_undo_file=str(tmp_path / "undo.json"), **variables)
    assert tried.code == 0 and "changed=0" not in tried.output, tried.output


def fails(play, **variables):
    for book in (GATE, REMEDIATE):
        played = play(playbook=book, **variables)
        assert (played.code, "no connection to a cluster" in played.output) == (2, True), played.output


def variables_of(path):
    return set(yaml.safe_load((ROLES / path).read_text("utf-8"))["__check_listeners_connection"])


def test_every_option_of_kubernetes_core_is_one_variable_of_both_roles():
    specs = yaml.safe_load((ROLES / "check_listeners/meta/argument_specs.yml").read_text("utf-8"))
    known = {name.removeprefix("check_listeners_") for name in specs["argument_specs"]["main"]["options"]}
    mapped = variables_of("check_listeners/vars/main/connection.yml")
    assert mapped == AUTH_ARG_SPEC.keys() - {"persist_config"}
    assert mapped <= known


@pytest.mark.parametrize("current", ["good", "dead"])
def test_a_kubeconfig_beside_the_caller_and_a_context_count_in_both(play, tmp_path, current):
    """Also an empty context, which is none."""
    with Mesh() as server:
        (tmp_path / "kube.yaml").write_text(json.dumps(kubeconfig(server.url, current)), "utf-8")
        both(
            play,
            tmp_path,
            check_listeners_kubeconfig="kube.yaml",
            check_listeners_context="" if current == "good" else "good",
        )
        assert {asked.get("authorization") for asked in headers(server)} == {"Bearer of-the-file"}


def test_empty_variables_are_as_if_they_were_not_given(play, tmp_path):
    texts = {
        f"check_listeners_{name}": ""
        for name, spec in AUTH_ARG_SPEC.items()
        if spec.get("type", "str") in ("str", "path", "raw")
    }
    with Mesh() as server:
        (tmp_path / ".kube").mkdir()
        (tmp_path / ".kube" / "config").write_text(json.dumps(kubeconfig(server.url, "good")), "utf-8")
        for empty in ({}, []), ("", ""):
            proxy, groups = empty
            more = {"check_listeners_proxy_headers": proxy, "check_listeners_impersonate_groups": groups}
            both(play, tmp_path, **texts, **more, check_listeners_validate_certs="")


def test_a_host_and_a_key_or_a_user_count_in_both(play, tmp_path):
    with Mesh() as server:
        both(play, tmp_path, check_listeners_host=server.url, check_listeners_api_key="abc", **IMPERSONATE)
        seen = headers(server)
        assert {asked.get("authorization") for asked in seen} == {"Bearer abc"}
        assert {(asked.get("impersonate-user"), asked.get("impersonate-group")) for asked in seen} == {("jane", "devs")}
        server.requests.clear()
        user = {"check_listeners_username": "jane", "check_listeners_password": "secret"}
        both(play, tmp_path, check_listeners_host=server.url, **user)
        # kubernetes.core takes them, and its client hands neither to a server: Kubernetes has known no passwords since 1.19.
        assert {asked.get("authorization") for asked in headers(server)} == {None}


@pytest.mark.parametrize("groups", ["devs,ops", '["devs", "ops"]'])
def test_groups_that_are_written_as_text_are_the_same_groups_in_both(play, tmp_path, groups):
    named = {"check_listeners_impersonate_user": "jane", "check_listeners_impersonate_groups": groups}
    with Mesh() as server:
        both(play, tmp_path, check_listeners_host=server.url, check_listeners_api_key="abc", **named)
        seen = [
            [value for name, value in asked.headers if name.lower() == "impersonate-group"] for asked in server.requests
        ]
        assert seen and all(sorted(",".join(each).replace(" ", "").split(",")) == ["devs", "ops"] for each in seen)


def test_certificates_count_in_both(play, tmp_path):
    pki = fault_server.pki()
    with Mesh(tls=pki.context(ask_client=True)) as server:
        files = {"ca_cert": pki.ca, "client_cert": pki.client, "client_key": pki.client_key}
        both(
            play,
            tmp_path,
            check_listeners_host=server.url,
            **{f"check_listeners_{name}": path for name, path in files.items()},
        )
        for name, path in files.items():
            shutil.copy(path, tmp_path / f"{name}.pem")
        beside = {f"check_listeners_{name}": f"{name}.pem" for name in files}
        both(play, tmp_path, check_listeners_host=server.url, **beside)
    with Mesh(tls=pki.context()) as server:
        key = {"check_listeners_host": server.url, "check_listeners_api_key": "abc"}
        fails(play, **key)
        both(play, tmp_path, **key, check_listeners_validate_certs=False)


def test_a_proxy_and_what_goes_past_it_count_in_both(play, tmp_path):
    pki = fault_server.pki()
    with Mesh(tls=pki.context()) as server, contextlib.ExitStack() as stack:
        via = stack.enter_context(fault_server.FaultServer(fault_server.proxy(server.port)))
        told = {
            "check_listeners_host": server.url,
            "check_listeners_api_key": "abc",
            "check_listeners_ca_cert": pki.ca,
            "check_listeners_proxy_headers": HEADERS,
        }
        both(play, tmp_path, **told, check_listeners_proxy=via.url)
        secret = "Basic " + base64.b64encode(b"jane:secret").decode()
        seen = headers(via)
        assert seen and {asked.get("proxy-authorization") for asked in seen} == {secret}
        via.requests.clear()
        both(play, tmp_path, **told, check_listeners_proxy=via.url, check_listeners_no_proxy="127.0.0.1")
        assert via.requests == []


def tasks_of(things):
    for thing in things:
        yield thing
        for part in ("block", "rescue", "always"):
            yield from tasks_of(thing.get(part) or ())


@pytest.mark.parametrize("path", sorted(ROLES.rglob("tasks/*.yml")), ids=lambda path: f"{path.parts[-3]}-{path.stem}")
def test_no_loop_and_no_variable_of_a_task_hides_one_of_the_users(path):
    """One that does is seen by all that the user's variables are made of, and an extra variable of its name is seen by the task."""
    own = (f"__{path.parts[-3]}_", "ansible_", "check_listeners_")
    for task in tasks_of(yaml.safe_load(path.read_text("utf-8"))):
        names = [*(task.get("vars") or ())]
        if "loop" in task:
            names.append((task.get("loop_control") or {}).get("loop_var", "item"))
        assert [name for name in names if not name.startswith(own)] == [], task["name"]
