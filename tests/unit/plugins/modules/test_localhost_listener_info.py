# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The door: options in, a report or one clear message out."""

from __future__ import annotations

import builtins
import errno
import json
import os
import re
import signal
import subprocess
import sys

import pytest
import yaml
from ansible.module_utils.ansible_release import __version__ as ansible_version

pytest.importorskip("kubernetes")
pytest.importorskip("websocket")

from ansible_collections.meshops.istio_precheck.plugins.module_utils import _check
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model import snapshot as _snapshot
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.waivers import BARE, SAMPLE
from ansible_collections.meshops.istio_precheck.plugins.modules import localhost_listener_info as module
from ansible_collections.meshops.istio_precheck.tests.helpers import cluster
from ansible_collections.meshops.istio_precheck.tests.helpers.fault_server import (
    SUCCESS,
    ApiServer,
    answers,
    by_command,
    exited,
    forbidden_exec,
    http,
    out,
    refusal,
    reviews,
    says,
    status,
)
from ansible_collections.meshops.istio_precheck.tests.helpers.module_runner import run

TABLE = "LISTEN 0 128 127.0.0.1:8080 0.0.0.0:*\n"
READ = says(out(TABLE), status(SUCCESS))


@pytest.fixture(autouse=True)
def no_cluster_of_the_users(alone, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in list(os.environ):
        if name.startswith(("K8S_AUTH_", "KUBE")):
            monkeypatch.delenv(name)


@pytest.fixture()
def record(tmp_path):
    path = tmp_path / "record.json"
    path.write_text(json.dumps(cluster.snapshot()), encoding="utf-8")
    return str(path)


def play(check_mode=False, **options):
    return run(module.main, check_mode, **options)


def live(server, **options):
    return play(host=server.url, api_key="abc", exec_timeout=1, **options)


def lists(*pods, namespaces=("shop",)):
    services = [cluster.service(namespace=namespace) for namespace in namespaces]
    found = {
        "/api/v1/pods": list(pods) or [cluster.pod()],
        "/api/v1/services": services,
        "/api/v1/replicationcontrollers": [],
    }
    return {**found, "/api/v1/namespaces/istio-system/pods": [], "/api/v1/namespaces/istio-system/configmaps": []}


# ---------------------------------------------------------------------------------------------------------------------
# What it returns


def test_a_recorded_cluster_gives_a_report(record):
    ended = play(snapshot_src=record)
    assert ended.code == 0
    assert len(ended.result["findings"]) == 1
    assert set(ended.result) - {"invocation"} == {"changed", "cluster", *cluster.PARTS}
    assert ended.result["changed"] is False


def test_the_same_data_inline_gives_the_same_report(record):
    one, other = play(snapshot_src=record).result, play(snapshot=cluster.snapshot()).result
    for result in (one, other):
        result["summary"].pop("seconds")
    assert {part: one[part] for part in cluster.PARTS} == {part: other[part] for part in cluster.PARTS}


def test_it_says_which_cluster_it_is_about_and_from_which_version_to_which(record):
    about = play(snapshot_src=record, target_version="1.24").result["cluster"]
    assert set(about) == set(yaml.safe_load(module.RETURN)["cluster"]["sample"])
    assert about["istio_versions"] == ["1.9.9"] and about["target_version"] == "1.24"


def test_every_part_is_documented_and_every_documented_part_is_returned(record):
    returned = set(play(snapshot_src=record).result) - {"changed", "invocation"}
    assert returned == set(yaml.safe_load(module.RETURN))


def test_no_part_has_a_name_that_ansible_keeps_for_itself():
    assert not set(cluster.PARTS) & {
        "skipped",
        "failed",
        "warnings",
        "deprecations",
        "results",
        "exception",
        "diff",
        "msg",
        "rc",
        "stdout",
        "values",
        "items",
        "keys",
    }


def test_a_live_cluster_gives_a_report():
    with ApiServer(lists(), READ) as server:
        ended = live(server)
    assert ended.code == 0
    assert len(ended.result["findings"]) == 1
    assert ended.result["summary"]["pods_read"] == 1


def test_what_was_recorded_from_a_live_cluster_evaluates_to_the_same_report(tmp_path):
    record = str(tmp_path / "record.json.gz")
    with ApiServer(lists(), READ) as server:
        one = live(server, snapshot_dest=record).result
    other = play(snapshot_src=record).result
    for result in (one, other):
        result["summary"].pop("seconds")
    assert {part: one[part] for part in cluster.PARTS} == {part: other[part] for part in cluster.PARTS}


def test_a_record_of_some_namespaces_does_not_speak_for_the_others(tmp_path):
    record = str(tmp_path / "record.json")
    own = {path.replace("/v1/", "/v1/namespaces/shop/"): found for path, found in lists().items()}
    with ApiServer({**lists(), **own}, READ) as server:
        assert live(server, snapshot_dest=record, namespaces=["shop"]).code == 0
    ended = play(snapshot_src=record)
    assert ended.code == 1 and "namespace shop alone was recorded" in ended.message
    assert play(snapshot_src=record, namespaces=["shop"]).code == 0


def test_a_version_that_only_the_cluster_shows_to_be_none_is_refused_with_what_was_found(record):
    ended = play(snapshot_src=record, target_version="2.2", waivers=[{"match": "port > `1`", "reason": "x"}])
    assert ended.code == 1
    assert ended.message.startswith("target_version: there is no istiod 2.2. Service Mesh 2.2 is Istio 1.12: ")
    assert ended.result["summary"]["pods"] == 1


def test_a_recorded_cluster_needs_no_library(record, monkeypatch):
    real = builtins.__import__

    def missing(name, *args, **kwargs):
        if name.split(".")[0] in ("kubernetes", "websocket", "urllib3", "yaml", "jmespath"):
            raise ImportError(f"No module named {name!r}")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    assert play(snapshot_src=record).code == 0
    ended = play(snapshot_src=record, waivers=[{"match": "port > `1`", "reason": "x"}])
    assert ended.message == (
        f"waivers need the Python library jmespath, which is missing: {sys.executable} -m pip install jmespath"
    )


def test_a_recorded_cluster_imports_no_client(record, tmp_path):
    """It takes longer to import than most records take to evaluate."""
    arguments = tmp_path / "arguments.json"
    arguments.write_text(json.dumps({"snapshot_src": record}), encoding="utf-8")
    code = (
        f"from {run.__module__} import patch_module_args as given; import json, sys; from {module.__name__} import main"
    )
    code += f"\ntry:\n  with given(json.load(open({str(arguments)!r}))): main()"
    code += "\nexcept SystemExit as ended: print('kubernetes' in sys.modules, ended.code)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "False 0"


def test_the_token_is_in_no_result():
    with ApiServer(lists(), READ) as server:
        assert "CANARY" not in json.dumps(play(host=server.url, api_key="CANARY").result)


# ---------------------------------------------------------------------------------------------------------------------
# Bad options


BAD_OPTIONS = {
    "an unknown scope": ({"scope": "mesch"}, "value of scope must be one of: mesh, all, got: mesch"),
    "an unknown way to read replicas": ({"replicas": "two"}, "value of replicas must be one of: all, one, got: two"),
    "an option that there is not": ({"namespace": "shop"}, "Unsupported parameters for"),
    "a label selector that is none": (
        {"label_selectors": ["app=web", "a b"]},
        "label_selectors[1]: 'a b' is no label selector",
    ),
    "a version that is none": (
        {"target_version": "latest"},
        "target_version: 'latest' is no Istio version; wanted one such as 1.24",
    ),
    "a version of today that is none": (
        {"current_version": "2024.11"},
        "current_version: there is no istiod 2024.11; wanted a version such as 1.24",
    ),
    "a digit too many": (
        {"target_version": "1.240"},
        "target_version: there is no istiod 1.240; wanted a version such as 1.24",
    ),
    "a dot too few": (
        {"target_version": "1.204"},
        "target_version: there is no istiod 1.204; wanted a version such as 1.24",
    ),
    "a digit too many of today's version": (
        {"current_version": "v1.1000.1"},
        "current_version: there is no istiod 1.1000.1; wanted a version such as 1.24",
    ),
    "no concurrency": ({"concurrency": 0}, "concurrency: wanted a number above 0, found 0"),
    "less than no concurrency": ({"concurrency": -1}, "concurrency: wanted a number above 0, found -1"),
    "a concurrency that is no number": ({"concurrency": "many"}, "concurrency"),
    "no time": ({"exec_timeout": 0}, "exec_timeout: wanted a number above 0, found 0"),
    "time without end": ({"exec_timeout": "inf"}, "exec_timeout: wanted a number above 0, found inf"),
    "more threads than a machine has": ({"concurrency": 10**9}, "concurrency: wanted at most 1000, found 1e+09"),
    "more of them on a node": ({"concurrency_per_node": 1001}, "concurrency_per_node: wanted at most 1000, found 1001"),
    "more time than there is": ({"exec_timeout": "1e308"}, "exec_timeout: wanted at most 3600, found 1e+308"),
    "more for a probe": ({"node_probe_timeout": 3601}, "node_probe_timeout: wanted at most 3600, found 3601"),
    "a time that is no number": ({"exec_timeout": "nan"}, "exec_timeout: wanted a number above 0, found nan"),
    "a namespace without a name": (
        {"namespaces": ["shop", ""]},
        "namespaces: a namespace has a name, found an empty one",
    ),
    "an excluded namespace without a name": (
        {"exclude_namespaces": [" "]},
        "exclude_namespaces: a namespace has a name, found an empty one",
    ),
    "an istio namespace without a name": (
        {"istio_namespace": ""},
        "istio_namespace: a namespace has a name, found an empty one",
    ),
    **{
        f"{name!r} for a namespace": ({"namespaces": ["shop", name]}, f"namespaces: {name!r} is no name of a namespace")
        for name in ("..", ".", "shop-*", "shop/", "Shop", "shop ", "-")
    },
    "an excluded namespace that none can be": (
        {"exclude_namespaces": ["kube-*"]},
        "exclude_namespaces: 'kube-*' is no name of a namespace",
    ),
    "a probe without an image": (
        {"socket_source": "node"},
        "socket_source is node but all of the following are missing: node_probe_image",
    ),
    "a probe in no namespace": (
        {"node_probe_namespace": " "},
        "node_probe_namespace: a namespace has a name, found an empty one",
    ),
    "no time for a probe": ({"node_probe_timeout": 0}, "node_probe_timeout: wanted a number above 0, found 0"),
    "a waiver without a reason": (
        {"waivers": [{"match": "port"}]},
        "missing required arguments: reason found in waivers",
    ),
    "a waiver with an empty reason": (
        {"waivers": [{"match": "port", "reason": " "}]},
        "waivers[0].reason: a waiver says why",
    ),
    "a waiver whose reason was not written": (
        {"waivers": [{"match": "port", "reason": "..."}]},
        "waivers[0].reason: a waiver says why",
    ),
    "a waiver that takes a port for text": (
        {"waivers": [{"match": "starts_with(port, '80')", "reason": "x"}]},
        "waivers[0].match: starts_with() wants string, found number 8080, at column 0",
    ),
    "a waiver that is no JMESPath": (
        {"waivers": [{"match": "port == ", "reason": "x"}]},
        "waivers[0].match: invalid JMESPath: ",
    ),
    "a waiver with an unknown function": ({"waivers": [{"match": "nosuch(@)", "reason": "x"}]}, "waivers"),
    "a waiver until a day that is none": (
        {"waivers": [{"match": "port > `1`", "reason": "x", "until": "2026-13-01"}]},
        "waivers[0].until: wanted a day such as 2026-12-31",
    ),
    **{
        f"a waiver of {what}": ({"waivers": [{"match": match, "reason": "x"}]}, f"waivers[0].match: {message}")
        for what, match, message in (
            (
                "parentheses without end",
                "(" * 100_000 + "port" + ")" * 100_000,
                "wanted at most 10000 characters, found 200004",
            ),
            ("many parentheses", "(" * 4000 + "port" + ")" * 4000, "it is nested too deep: '((((("),
            ("many calls", "not_null(" * 900 + "port" + ")" * 900, "it is nested too deep: 'not_null("),
            ("many denials", "!" * 9000 + "port", "it is nested too deep: '!!!"),
            ("many alternatives", "a" + "||a" * 3000, "it is nested too deep: 'a||a"),
            ("many lists", "[" * 4000 + "port" + "]" * 4000, "it is nested too deep: '[[["),
        )
    },
    "a waiver until a very long day": (
        {"waivers": [{"match": "port > `1`", "reason": "x", "until": "9" * 100_000}]},
        f"waivers[0].until: wanted a day such as 2026-12-31, found '{'9' * 57}'...",
    ),
    "a label selector without end": (
        {"label_selectors": ["app", "," * 1_000_000]},
        "label_selectors[1]: wanted at most 10000 characters, found 1000000",
    ),
    "a very long label selector": ({"label_selectors": ["=" * 9000]}, "label_selectors[0]: '========"),
    "a version without end": (
        {"target_version": "1" * 1_000_000},
        f"target_version: '{'1' * 57}'... is no Istio version",
    ),
    "two records": ({"snapshot_src": "/x", "snapshot": {}}, "parameters are mutually exclusive: snapshot_src|snapshot"),
}


@pytest.mark.parametrize("case", BAD_OPTIONS)
def test_a_bad_option_is_named_before_the_cluster_is_contacted(case):
    options, message = BAD_OPTIONS[case]
    with ApiServer(lists(), READ) as server:
        ended = play(**({} if case == "two records" else {"host": server.url, "api_key": "abc"}), **options)
        if "unknown function" not in case:  # that is found out over a finding
            assert server.connections == 0
    assert message in ended.message
    assert "Traceback" not in json.dumps(ended.result) and len(ended.message) < 1000


def test_the_column_of_a_bad_expression_is_shown():
    assert "at column 5" in play(waivers=[{"match": "port port", "reason": "x"}]).message
    assert '"port == "\n         ^' in play(waivers=[{"match": "port == ", "reason": "x"}]).message


def test_a_waiver_that_fails_over_a_finding_only_costs_no_part_of_the_report(record):
    ended = play(
        snapshot_src=record,
        waivers=[
            {"match": "notes[0] == 'x' || port > `1`", "reason": "x"},
            {"match": "impact == 'breaks_on_upgrade' && pods[0] == 'x'", "reason": "x"},
        ],
    )
    assert ended.code == 0
    late = {"match": "pods[0] == 'web-7d4b9-a' && starts_with(notes[3], '8')", "reason": "x"}
    ended = play(snapshot_src=record, waivers=[late])
    assert (
        ended.code == 1
        and ended.message.startswith("waivers: ")
        and ended.message.count("IST0143/shop/Deployment/web/8080") == 1
    )
    assert [finding["port"] for finding in ended.result["findings"]] == [8080] and ended.result["summary"][
        "pods_read"
    ] == 1


def test_waivers_are_tried_over_a_sample_of_the_shape_that_is_documented():
    returned = yaml.safe_load(module.RETURN)["findings"]["contains"]
    assert set(SAMPLE) == set(returned)
    for name, value in returned.items():
        assert type(SAMPLE[name]).__name__ == value["type"], name
        assert not value["sample"] or shape(SAMPLE[name]) == shape(value["sample"]), name
    (found,) = cluster.report(target="1.24")["findings"]
    assert shape({**found, "notes": []}) == shape(BARE)


def shape(value):
    if isinstance(value, dict):
        return {name: shape(item) for name, item in value.items()}
    return [shape(item) for item in value] if isinstance(value, list) else type(value)


# ---------------------------------------------------------------------------------------------------------------------
# Bad records


def levels(many, inner):
    for _level in range(many):
        inner = {"a": inner}
    return inner


@pytest.mark.parametrize(
    "part, message",
    [
        (levels(150, 0), "(it: wanted at most 64|x.*: wanted at most 100) levels"),
        (json.loads("NaN"), "x: wanted a number that JSON has, found nan"),
        ("\ud800", "x: wanted text, found half of a surrogate pair in it"),
    ],
)
def test_what_nobody_reads_of_a_record_has_limits_too(tmp_path, part, message):
    path = tmp_path / "record.json"
    path.write_text(json.dumps({**cluster.snapshot(), "x": part}))
    again = tmp_path / "again.json"
    ended = [play(snapshot_src=str(path), snapshot_dest=str(again))]
    if "surrogate" not in message:  # ansible-core lets none in
        ended.append(play(snapshot=json.loads(path.read_text()), snapshot_dest=str(again)))
    for each in ended:
        assert each.code == 1 and re.search(f"is no ClusterSnapshot: {message}", each.message)
        assert not again.exists() and "Traceback" not in json.dumps(each.result)


def test_what_a_later_version_added_to_a_record_is_read_and_may_be_recorded_again(tmp_path):
    path, again = tmp_path / "record.json", tmp_path / "again.json"
    path.write_text(json.dumps({**cluster.snapshot(), "x": levels(60, 0)}))
    assert play(snapshot_src=str(path), snapshot_dest=str(again)).code == 0
    assert play(snapshot_src=str(again)).code == 0


BROKEN = {
    "no JSON": ("{", "it is not JSON"),
    "a list": ("[]", "a ClusterSnapshot is a mapping, this is a list"),
    "another kind": ('{"apiVersion": "v1", "kind": "List"}', "apiVersion: wanted 'precheck.meshops.io/v1', found 'v1'"),
    "a later version": (
        {"apiVersion": "precheck.meshops.io/v2"},
        "apiVersion: wanted 'precheck.meshops.io/v1', found 'precheck.meshops.io/v2'",
    ),
    "no pods": ({"pods": None}, "pods: missing"),
    "pods that are no list": ({"pods": {}}, "pods: wanted a list, found a mapping"),
    "a pod without a name": ({"pods": [{"metadata": {}}]}, "pods[0].metadata.name: missing"),
    "a port that is none": (
        {"services": [cluster.service(ports=[cluster.port(number=99999)])]},
        "services[0].spec.ports[0].port: wanted a whole number from 1 to 65535, found 99999",
    ),
    "a table in an unknown format": (
        {"socketTables": [{"namespace": "a", "pod": "b", "format": "lsof", "stdout": ""}]},
        "socketTables[0].format: wanted one of",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_record_that_is_none_is_named_with_the_path_inside_it(case, tmp_path):
    change, message = BROKEN[case]
    text = change if isinstance(change, str) else json.dumps({**cluster.snapshot(), **change})
    path = tmp_path / "broken.json"
    path.write_text(text, encoding="utf-8")
    assert play(snapshot_src=str(path)).message.startswith(f"snapshot_src: {path} is no ClusterSnapshot: {message}")
    if not isinstance(change, str):
        assert play(snapshot=json.loads(text)).message.startswith(f"snapshot: this is no ClusterSnapshot: {message}")


def test_a_record_that_is_missing_is_named():
    assert (
        play(snapshot_src="/no/such/file").message
        == "snapshot_src: /no/such/file cannot be read: No such file or directory"
    )


def test_a_signal_that_comes_before_there_is_a_module_is_one_message(monkeypatch):
    monkeypatch.setattr(module, "AnsibleK8SModule", lambda **_options: os.kill(os.getpid(), signal.SIGTERM))
    assert play().message == "stopped by SIGTERM; nothing is known of the cluster"


@pytest.mark.parametrize("option", ["host", "proxy"])
def test_a_password_in_a_url_is_not_shown_with_the_options(option):
    asked = tuple(int(part) for part in ansible_version.split(".")[:2]) >= (2, 21)
    shown = {"_ansible_inject_invocation": True} if asked else {}  # as with -vvv; before, always
    ended = play(
        **{"host": "http://127.0.0.1:1", "api_key": "abc", option: "http://jane:swordfish@127.0.0.1:1"}, **shown
    )
    assert ended.code == 1 and "swordfish" not in str(ended)
    assert "127.0.0.1" in str(ended.result["invocation"]["module_args"][option])


@pytest.mark.parametrize("option", ["snapshot_src", "snapshot_dest"])
def test_a_pipe_is_no_record_and_is_not_waited_for(tmp_path, option):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    given = (
        {"snapshot_dest": str(pipe), "snapshot": cluster.snapshot()}
        if option == "snapshot_dest"
        else {"snapshot_src": str(pipe)}
    )
    what = "read: it is" if option == "snapshot_src" else "written: it is there and is"
    assert play(**given).message.startswith(f"{option}: {pipe} cannot be {what} no file")


def test_a_record_that_is_a_directory_is_named(tmp_path):
    assert play(snapshot_src=str(tmp_path)).message == f"snapshot_src: {tmp_path} cannot be read: Is a directory"


def test_an_empty_record_is_not_taken_for_none():
    assert play(snapshot={}).message.startswith("snapshot: this is no ClusterSnapshot: apiVersion: ")


# ---------------------------------------------------------------------------------------------------------------------
# Writing a record


def test_a_record_is_not_written_in_check_mode(tmp_path):
    path = tmp_path / "record.json"
    with ApiServer(lists(), READ) as server:
        assert live(server, check_mode=True, snapshot_dest=str(path)).code == 0
        assert not path.exists()
        assert live(server, snapshot_dest=str(path)).code == 0
    assert path.exists()


def test_a_record_that_cannot_be_written_fails_with_the_whole_report(tmp_path):
    with ApiServer(lists(), READ) as server:
        ended = live(server, snapshot_dest=str(tmp_path / "missing" / "record.json"))
    assert (
        ended.message
        == f"snapshot_dest: {tmp_path / 'missing' / 'record.json'} cannot be written: No such file or directory"
    )
    assert set(cluster.PARTS) <= set(ended.result)
    assert len(ended.result["findings"]) == 1


def test_a_full_disk_fails_with_the_whole_report_and_leaves_nothing(tmp_path, monkeypatch, record):
    def full(*_args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(_snapshot.os, "fsync", full)
    place = tmp_path / "place"
    place.mkdir()
    ended = play(snapshot_src=record, snapshot_dest=str(place / "record.json"))
    assert ended.message.endswith("cannot be written: No space left on device")
    assert set(cluster.PARTS) <= set(ended.result)
    assert list(place.iterdir()) == []


# ---------------------------------------------------------------------------------------------------------------------
# Clusters that cannot be looked at


def test_no_kubeconfig_names_the_options():
    message = play().message
    assert message.startswith("no connection to a cluster with kubeconfig, context or host (none is given)")


def test_a_kubeconfig_that_is_missing_is_named(tmp_path):
    assert play(kubeconfig=str(tmp_path / "no.yaml")).message.startswith("no connection to a cluster with kubeconfig: ")


@pytest.mark.parametrize(
    "text",
    ["", "{", "just text", "[]", "clusters: 5", "\t", "apiVersion: v1\nkind: Config\ncurrent-context: nowhere\n"],
)
def test_a_kubeconfig_that_is_none_is_named(tmp_path, text):
    (tmp_path / "config").write_text(text, encoding="utf-8")
    assert play(kubeconfig=str(tmp_path / "config")).message.startswith("no connection to a cluster with kubeconfig: ")


def test_a_context_that_there_is_not_is_named(tmp_path):
    (tmp_path / "config").write_text(
        "apiVersion: v1\nkind: Config\nclusters: []\ncontexts: []\nusers: []\n", encoding="utf-8"
    )
    message = play(kubeconfig=str(tmp_path / "config"), context="nowhere").message
    assert message.startswith("no connection to a cluster with kubeconfig, context: ") and "nowhere" in message


def test_an_unreachable_server_is_named():
    with ApiServer({}) as server:
        url = server.url
    message = play(host=url, api_key="abc").message
    assert url in message and "cannot be reached" in message


def test_a_server_that_lists_nothing_is_not_an_empty_cluster():
    with ApiServer(lists(), faults={"/api/v1/": [http(200, b"{}", "Connection: close")]}) as server:
        assert live(server).message.endswith(": the answer is no list")


def test_a_server_that_is_no_kubernetes_is_not_an_empty_cluster():
    with ApiServer({}, faults={"/": [http(200, b"<html>", "Connection: close")]}) as server:
        assert live(server).message.startswith("no connection to a cluster with host: ")


def test_a_server_that_never_answers_is_given_up(monkeypatch):
    from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather import connect as _connect

    monkeypatch.setattr(_connect, "REQUEST_TIMEOUT", 0.3)
    with ApiServer({}, faults={"/": [lambda connection: connection.hold()]}) as server:
        assert live(server).message == "no connection to a cluster with host: the API server did not answer in time"


def test_a_token_that_is_none_is_said():
    with ApiServer(
        {}, faults={"/": [http(401, refusal(401, "Unauthorized", "Unauthorized"), "Connection: close")]}
    ) as server:
        assert live(server).message == "no connection to a cluster with host: Unauthorized"


def test_a_list_that_is_forbidden_names_user_verb_and_resource():
    message = 'pods is forbidden: User "jane" cannot list resource "pods" in API group "" at the cluster scope'
    with ApiServer(
        lists(), READ, {"/api/v1/pods": [http(403, refusal(403, "Forbidden", message), "Connection: close")]}
    ) as server:
        assert live(server).message == f"GET /api/v1/pods: {message}"


def test_an_unknown_namespace_is_named():
    empty = {
        "/api/v1/namespaces/shopp/pods": [],
        "/api/v1/namespaces/shopp/services": [],
        "/api/v1/namespaces/shopp/replicationcontrollers": [],
    }
    with ApiServer({**lists(), **empty}, READ) as server:
        assert live(server, namespaces=["shopp"]).message == "namespaces: the cluster has no namespace 'shopp'"


def forbidden(*namespaces):
    def behave(connection):
        path = connection.request().path.split("/")
        if path[4] not in namespaces:
            return READ(connection)
        return answers(forbidden_exec(path[6], path[4], "get"))(connection)

    return behave


TWO = (cluster.pod(), cluster.pod(name="pay-1", namespace="bank"))


def test_exec_forbidden_everywhere_fails_with_what_is_known():
    with ApiServer(lists(*TWO, namespaces=("shop", "bank")), forbidden("shop", "bank")) as server:
        ended = live(server)
    assert ended.message.startswith('no pod may be read: User "jane" cannot get resource "pods/exec"')
    assert ended.message.endswith("Grant the verbs get and create on pods/exec.")
    assert set(cluster.PARTS) <= set(ended.result)
    assert [entry["reason"] for entry in ended.result["unchecked"]] == ["forbidden", "forbidden"]


def test_exec_forbidden_in_one_namespace_is_unchecked_there():
    with ApiServer(lists(*TWO, namespaces=("shop", "bank")), forbidden("bank")) as server:
        ended = live(server)
    assert ended.code == 0
    assert [(entry["namespace"], entry["pod"], entry["reason"]) for entry in ended.result["unchecked"]] == [
        ("bank", "pay-1", "forbidden")
    ]
    assert [finding["namespace"] for finding in ended.result["findings"]] == ["shop"]


@pytest.mark.parametrize(
    ("source", "execs", "detail"),
    [
        ("node", 0, "In check mode no probe is made."),
        ("auto", 2, "By exec: No answer in time. By probe: In check mode"),
    ],
)
def test_in_check_mode_what_only_a_probe_could_read_is_unchecked(source, execs, detail):
    with ApiServer(lists(), says(then="hold")) as server:
        ended = live(server, check_mode=True, socket_source=source, node_probe_image="busybox")
        assert len(server.paths("/exec")) == execs
        assert not server.paths("/api/v1/namespaces/default/pods")
    assert (ended.code, ended.result["changed"]) == (0, False)
    (unchecked,) = ended.result["unchecked"]
    assert unchecked["reason"] == "check_mode"
    assert unchecked["detail"].startswith(detail)


def test_a_right_that_a_probe_lacks_fails_with_what_is_known():
    message = 'pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the namespace "probes"'
    with ApiServer(
        lists(),
        READ,
        {
            "/namespaces/probes/pods": [http(403, refusal(403, "Forbidden", message), "Connection: close")],
            "selfsubjectaccessreviews": [reviews(lambda verb, _part, _namespace: verb != "list")],
        },
    ) as server:
        ended = live(server, socket_source="node", node_probe_image="busybox", node_probe_namespace="probes")
    assert ended.message == f"no pod may be read: {message}."
    assert [entry["reason"] for entry in ended.result["unchecked"]] == ["probe_forbidden"]


def test_a_record_of_a_run_that_might_read_nothing_fails_as_that_run_did(tmp_path):
    record = str(tmp_path / "record.json")
    with ApiServer(lists(), forbidden("shop")) as server:
        one = live(server, snapshot_dest=record).message
    assert play(snapshot_src=record).message == one


def test_a_client_certificate_that_is_none_names_the_options(tmp_path):
    (tmp_path / "no.pem").write_text("no certificate", encoding="utf-8")
    message = play(
        host="https://127.0.0.1:9", client_cert=str(tmp_path / "no.pem"), client_key=str(tmp_path / "no.pem")
    ).message
    assert "127.0.0.1:9" in message or "client_cert" in message or "PEM" in message or "SSL" in message


# ---------------------------------------------------------------------------------------------------------------------
# Proxies


ASKING = "/exec?container=istio-proxy&stdout=true&stderr=true&command=pilot-agent"


def proxied(behaviour, table=TABLE):
    return by_command(pilot_agent=behaviour, otherwise=says(out(table), status(SUCCESS)))


def said(ports):
    return says(out(cluster.proxy_answer(ports)), status(SUCCESS))


def comparable(result):
    result["summary"].pop("seconds")
    return {part: result[part] for part in cluster.PARTS}


def test_the_proxy_of_a_finding_is_asked_and_decides(tmp_path):
    with ApiServer(lists(), proxied(said({8080: "127.0.0.1:8080"}))) as server:
        found = live(server).result["findings"][0]
    assert len(server.paths(ASKING)) == 1
    assert (found["impact"], found["delivery"]["today"]["by"]) == ("breaks_on_upgrade", "proxy")


def test_without_a_finding_no_proxy_is_asked():
    with ApiServer(lists(), proxied(said({}), "LISTEN 0 128 0.0.0.0:8080 0.0.0.0:*\n")) as server:
        live(server)
    assert (len(server.paths("/exec")), server.paths(ASKING)) == (1, [])


@pytest.mark.parametrize("source, asked, impact", [("rule", 0, "unknown"), ("proxy", 1, "unreachable")])
def test_delivery_source_says_whether_proxies_are_asked(source, asked, impact):
    with ApiServer(lists(), proxied(said({8080: None}))) as server:
        ended = live(server, delivery_source=source)
    assert len(server.paths(ASKING)) == asked
    assert [found["impact"] for found in ended.result["findings"]] == [impact]


def test_what_proxies_said_is_recorded_and_gives_the_same_report(tmp_path):
    record = str(tmp_path / "record.json.gz")
    with ApiServer(lists(), proxied(said({8080: "127.0.0.1:8080", 9: None}))) as server:
        one = live(server, snapshot_dest=record).result
    assert _snapshot.read(record)["proxyConfigs"] == [cluster.proxy_config({8080: "127.0.0.1:8080"})]
    assert comparable(play(snapshot_src=record).result) == comparable(one)
    rule = play(snapshot_src=record, delivery_source="rule").result["findings"][0]
    assert (rule["impact"], rule["delivery"]["today"]["by"]) == ("unknown", "rule")


NO_WORD = {
    "in time": (says(then="hold"), "timeout"),
    "but garbage": (says(out("\x1b[31m{"), status(SUCCESS)), "no_answer"),
    "for want of a pilot-agent": (says(status(exited(127))), "no_agent"),
}


@pytest.mark.parametrize("case", NO_WORD)
def test_a_proxy_that_says_nothing_costs_one_line_and_no_verdict(case, tmp_path):
    behaviour, reason = NO_WORD[case]
    record = str(tmp_path / "record.json")
    with ApiServer(lists(), proxied(behaviour)) as server:
        one, other = (
            comparable(live(server, snapshot_dest=record).result),
            comparable(live(server, delivery_source="rule").result),
        )
    assert len(one["hints"]) == len(other["hints"]) + 1
    assert {**one, "hints": []} == {**other, "hints": []}
    assert _snapshot.read(record)["proxyConfigs"][0]["reason"] == reason
    assert comparable(play(snapshot_src=record).result) == one


def test_a_record_is_written_even_if_it_cannot_be_judged(tmp_path, monkeypatch):
    def broken(*_given):
        raise ZeroDivisionError

    monkeypatch.setattr(_check, "evaluated", broken)
    record = str(tmp_path / "record.json")
    with ApiServer(lists(), READ) as server, pytest.raises(ZeroDivisionError):
        live(server, snapshot_dest=record)
    assert _snapshot.read(record)["socketTables"]
