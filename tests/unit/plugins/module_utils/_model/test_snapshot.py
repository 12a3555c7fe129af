# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import gzip
import json
import os
import stat

import pytest

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model import outside
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model import schema as _schema
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model import shapes as _shapes
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model import trim as _trim
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.schema import SnapshotError
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.snapshot import check, read, write
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.trim import trim
from ansible_collections.meshops.istio_precheck.tests.helpers.cluster import (
    istiod,
    pod,
    service,
    sidecar,
    snapshot,
)


def changed(path, value):
    """An ordinary snapshot with one value set; a path such as `pods.0.spec`."""
    document = copy.deepcopy(snapshot(sidecars=[sidecar(ingress={8080: "127.0.0.1:8080"})]))
    *parents, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    inner = document
    for step in parents:
        inner = inner[step]
    inner[last] = value
    return document


@pytest.mark.parametrize(
    "path, value, wanted",
    [
        (
            "apiVersion",
            "precheck.meshops.io/v2",
            "apiVersion: wanted 'precheck.meshops.io/v1', found 'precheck.meshops.io/v2'",
        ),
        ("kind", None, "kind: wanted 'ClusterSnapshot', found nothing"),
        ("pods", None, "pods: missing"),
        ("pods", {}, "pods: wanted a list, found a mapping"),
        ("pods.0", "x", "pods[0]: wanted a mapping, found 'x'"),
        ("pods.0.metadata.name", None, "pods[0].metadata.name: missing"),
        ("pods.0.metadata.labels", {"app": 1}, "pods[0].metadata.labels.app: wanted text, found 1"),
        ("pods.0.metadata.labels", {1: "app"}, "pods[0].metadata.labels: wanted text for a key, found 1"),
        ("pods.0.spec.hostNetwork", "yes", "pods[0].spec.hostNetwork: wanted true or false, found 'yes'"),
        ("pods.0.status.podIP", "10.0.0", "pods[0].status.podIP: wanted an IP address, found '10.0.0'"),
        ("pods.0.status.podIPs.0.ip", 7, "pods[0].status.podIPs[0].ip: wanted an IP address, found 7"),
        (
            "services.0.spec.ports.0.port",
            0,
            "services[0].spec.ports[0].port: wanted a whole number from 1 to 65535, found 0",
        ),
        (
            "services.0.spec.ports.0.port",
            True,
            "services[0].spec.ports[0].port: wanted a whole number from 1 to 65535, found True",
        ),
        (
            "services.0.spec.ports.0.targetPort",
            70000,
            "services[0].spec.ports[0].targetPort: wanted a whole number from 0 to 65535, found 70000",
        ),
        (
            "services.0.spec.ports.0.targetPort",
            80.0,
            "services[0].spec.ports[0].targetPort: wanted a whole number from 0 to 65535, found 80.0",
        ),
        ("sidecars.0.spec.ingress.0.port", None, "sidecars[0].spec.ingress[0].port: missing"),
        (
            "sidecars.0.spec.ingress.0.port.number",
            "8080",
            "sidecars[0].spec.ingress[0].port.number: wanted a whole number from -9223372036854775808 to 9223372036854775807, found '8080'",
        ),
        ("sidecars.0.spec.egress", [1], "sidecars[0].spec.egress[0]: wanted a mapping, found 1"),
        ("socketTables.0.format", "lsof", "socketTables[0].format: wanted one of ss, procnet, netstat, found 'lsof'"),
        ("socketTables.0.stdout", 1, "socketTables[0].stdout: wanted text, found 1"),
        ("istio.controlPlanes.0.env", {"X": 1}, "istio.controlPlanes[0].env.X: wanted text, found 1"),
        (
            "pods.0.metadata.name",
            1 << 300,
            "pods[0].metadata.name: wanted text, found 203703597633448608626844568840937816105146839366593625063...",
        ),
    ],
)
def test_a_document_that_is_no_snapshot_is_refused_with_the_path_inside_it(path, value, wanted):
    with pytest.raises(SnapshotError) as error:
        check(changed(path, value))
    assert str(error.value) == wanted


@pytest.mark.parametrize(
    "document, what", [(None, "nothing"), ([], "a list"), ("x", "text"), (1, "a number"), (True, "true or false")]
)
def test_what_is_not_even_a_mapping_is_refused(document, what):
    with pytest.raises(SnapshotError, match=f"a ClusterSnapshot is a mapping, this is {what}"):
        check(document)


@pytest.mark.parametrize(
    "path, value",
    [
        ("new", 1),
        ("pods.0.new", 1),
        ("pods.0.status", None),
        ("pods.0.status.podIP", ""),
        ("services.0.spec.ports.0.targetPort", "http"),
        ("istio", {}),
    ],
)
def test_what_a_later_version_adds_or_an_earlier_one_lacks_is_no_error(path, value):
    document = changed(path, value)
    assert check(document) is document


# ---------------------------------------------------------------------------------------------------------------------
# Trimming


def test_trimming_keeps_nothing_that_could_be_a_secret():
    secret = "swordfish"
    config = f"{{interceptionMode: NONE, proxyMetadata: {{A: {secret}}}}}"
    api = pod(annotations={"kubectl.kubernetes.io/last-applied-configuration": secret, "proxy.istio.io/config": config})
    api["metadata"]["managedFields"] = [secret]
    api["spec"]["volumes"] = [secret]
    api["spec"]["containers"][0].update(
        args=[secret], env=[{"name": "ISTIO_META_INTERCEPTION_MODE", "value": secret}], command=[secret]
    )
    asked = {"port": 80, "path": f"/health?token={secret}", "httpHeaders": [{"name": "X", "value": secret}]}
    api["spec"]["containers"][0]["livenessProbe"] = {"httpGet": asked, "exec": {"command": [secret]}}
    probers = {"/app-health/app/livez": {"httpGet": asked}}
    api["spec"]["containers"][1]["env"] = [
        {"name": "TOKEN", "value": secret},
        {"name": "FROM", "valueFrom": {"secretKeyRef": {"name": secret}}},
        {"name": _shapes.PROBERS_ENV, "value": json.dumps(probers)},
        {"name": "ISTIO_META_INTERCEPTION_MODE", "value": "NONE"},
    ]
    kept = trim(api, _shapes.POD)
    assert secret not in json.dumps(kept)
    assert kept["spec"]["containers"][1]["args"] == ["proxy", "sidecar"]
    assert [e["name"] for e in kept["spec"]["containers"][1]["env"]] == [
        _shapes.PROBERS_ENV,
        "ISTIO_META_INTERCEPTION_MODE",
    ]
    assert kept["metadata"]["annotations"]["proxy.istio.io/config"] == '{"interceptionMode": "NONE"}'


MODE = "interceptionMode: NONE\n"
CONFIGS = {
    "the mode first": (f"{MODE}proxyMetadata: {{A: b}}", "NONE"),
    "the mode last": (
        f"proxyMetadata: {{interceptionMode: REDIRECT, x: [interceptionMode, y]}}\n? [a]\n: b\n{MODE}",
        "NONE",
    ),
    "JSON": ('{"concurrency": 2, "interceptionMode": "NONE"}', "NONE"),
    "the mode of something else": ("proxyMetadata: {interceptionMode: NONE}", None),
    "a list": ("[interceptionMode, NONE]", None),
    "a word": ("interceptionMode", None),
    "a mode that is a list": ("interceptionMode: [NONE]", None),
    "a mode that is a number": ("interceptionMode: 1", None),
    "a mode that is a date": ("interceptionMode: 2020-99-99", None),
    "a mode that is nothing": ("interceptionMode: null", None),
    "not YAML": (f"{MODE}a: [", None),
    "a control": (f"{MODE}a: \x01", None),
    "half of a surrogate pair": (f"{MODE}a: \ud800", None),
    "a number of many digits": (f"{MODE}a: {'9' * 5000}", "NONE"),
    "nothing": ("", None),
    "levels without end": (f"{MODE}a: {'[' * 100_000}", None),
    "a bomb of references": (
        f"{MODE}a: &a [x]\n"
        + "".join(f"{to}: &{to} [{','.join([f'*{of}'] * 9)}]\n" for of, to in zip("abcdefgh", "bcdefghi")),
        "NONE",
    ),
}


@pytest.mark.parametrize("what", CONFIGS)
def test_of_a_proxy_config_only_the_mode_is_kept(what):
    text, mode = CONFIGS[what]
    kept = trim(pod(annotations={"proxy.istio.io/config": text}), _shapes.POD)["metadata"]["annotations"]
    assert kept.get("proxy.istio.io/config") == (None if mode is None else json.dumps({"interceptionMode": mode}))


PROBERS = {
    "levels without end": ("[" * 100_000, {}),
    "levels without end in a mapping": ('{"/a": ' * 100_000, {}),
    "no mapping": ("[]", {}),
    "a probe that is none": (
        '{"/a": 1, "/b": {"httpGet": 1}, "/c": {"httpGet": {"port": []}}, "/d": {"httpGet": {"port": 1}}}',
        {"/d": {"httpGet": {"port": 1}}},
    ),
}


@pytest.mark.parametrize("what", PROBERS)
def test_probers_that_istio_did_not_write_cost_no_pod_its_verdict(what):
    text, probers = PROBERS[what]
    (kept,) = trim(pod(env={_shapes.PROBERS_ENV: text}), _shapes.POD)["spec"]["containers"][-1]["env"]
    assert json.loads(kept["value"]) == probers


def test_trimming_keeps_the_empty_parts_of_a_sidecar_that_say_something():
    kept = trim(sidecar(selector={}, outboundTrafficPolicy={}, inboundConnectionPool={}), _shapes.SIDECAR)["spec"]
    assert kept["workloadSelector"] == {"labels": {}}
    assert kept["outboundTrafficPolicy"] == {"mode": "REGISTRY_ONLY"}
    assert "workloadSelector" not in trim(sidecar(), _shapes.SIDECAR)["spec"]
    assert "outboundTrafficPolicy" not in trim(sidecar(), _shapes.SIDECAR)["spec"]


def test_trimming_keeps_the_whole_ingress_of_a_sidecar():
    listener = {
        "port": {"number": 8443, "name": "https", "protocol": "HTTPS"},
        "bind": "0.0.0.0",
        "captureMode": "NONE",
        "defaultEndpoint": "127.0.0.1:8443",
        "tls": {"mode": "SIMPLE"},
        "connectionPool": {"tcp": {"maxConnections": 1}},
    }
    whole = {**sidecar(), "spec": {"ingress": [listener], "egress": [{"hosts": ["./*"]}]}}
    assert trim(whole, _shapes.SIDECAR) == {**whole, "metadata": trim(whole["metadata"], _shapes.META)}


def test_trimming_keeps_an_empty_list_of_included_ports_apart_from_none():
    kept = trim(pod(annotations={"traffic.sidecar.istio.io/includeInboundPorts": ""}), _shapes.POD)
    assert kept["metadata"]["annotations"]["traffic.sidecar.istio.io/includeInboundPorts"] == ""


EMPTY_PORT = {**sidecar(), "spec": {"ingress": [{"port": {}}]}}


@pytest.mark.parametrize(
    "thing, shape",
    [
        (pod(), _shapes.POD),
        (service(), _shapes.SERVICE),
        (sidecar(selector={}), _shapes.SIDECAR),
        (sidecar(), _shapes.SIDECAR),
        (EMPTY_PORT, _shapes.SIDECAR),
    ],
)
def test_what_is_trimmed_is_checked_and_trimming_again_changes_nothing(thing, shape):
    once = trim(thing, shape)
    assert trim(once, shape) == once
    _schema.check_shape(once, shape, "")


SHARED = (
    "spec.containers",
    "spec.initContainers",
    "spec.nodeName",
    "metadata.labels",
    "metadata.annotations",
    "metadata.ownerReferences",
)


def replicas():
    """What the API gives of two pods of one template: apart from names and addresses, a mount and some times tell them apart."""
    for n in (1, 2):
        one = pod(
            f"web-7d4b9-{n}", ips=[f"10.0.0.{n}"], annotations={"proxy.istio.io/config": "{}"}, init=["-m", "REDIRECT"]
        )
        for container in one["spec"]["containers"]:
            container["volumeMounts"] = [{"name": f"kube-api-access-{n}"}]
        one["spec"]["containers"][0]["env"] = [{"name": "SECRET", "value": str(n)}]
        one["status"]["conditions"] = [{"type": "Ready", "status": "True", "lastTransitionTime": str(n)}]
        yield json.loads(json.dumps(one))


def at(thing, path):
    for step in path.split("."):
        thing = thing[step]
    return thing


def test_what_replicas_have_in_common_is_held_once():
    trimmed = _trim.Trimmer()
    one, two = (trimmed(each, _shapes.POD) for each in replicas())
    assert [path for path in (*SHARED, "status.conditions", "status.phase") if at(one, path) is not at(two, path)] == []
    assert [one, two] == [trim(each, _shapes.POD) for each in replicas()]
    assert one["metadata"]["name"] != two["metadata"]["name"] and one["status"]["podIP"] != two["status"]["podIP"]


CHANGES = {
    "spec.containers": lambda one: one["spec"]["containers"][1]["args"].append("--x"),
    "metadata.labels": lambda one: one["metadata"]["labels"].update(x="y"),
    "metadata.annotations": lambda one: one["metadata"]["annotations"].update({"istio.io/rev": "x"}),
    "metadata.ownerReferences": lambda one: one["metadata"]["ownerReferences"][0].update(name="x"),
    "spec.initContainers": lambda one: one["spec"]["initContainers"][0].update(image="x:1"),
    "status.conditions": lambda one: one["status"]["conditions"][0].update(status="False"),
}


@pytest.mark.parametrize("path", CHANGES)
def test_what_replicas_do_not_have_in_common_stays_apart(path):
    one, two = replicas()
    CHANGES[path](two)
    trimmed = _trim.Trimmer()
    assert at(trimmed(one, _shapes.POD), path) != at(trimmed(two, _shapes.POD), path)
    assert [trimmed(each, _shapes.POD) for each in (one, two)] == [trim(each, _shapes.POD) for each in (one, two)]


def test_trimming_leaves_what_the_api_gave_as_it_was():
    one, _two = replicas()
    before = copy.deepcopy(one)
    _trim.Trimmer()(one, _shapes.POD)
    assert one == before


# ---------------------------------------------------------------------------------------------------------------------
# Files


@pytest.mark.parametrize("name", ["cluster.json", "cluster.json.gz"])
def test_a_snapshot_that_is_written_is_read_again(tmp_path, name):
    document = snapshot(istiods=[istiod("1.24.0", localhost=True)])
    path = str(tmp_path / name)
    write(document, path)
    first = (tmp_path / name).read_bytes()
    assert read(path) == document
    assert (first[:2] == b"\x1f\x8b") is name.endswith(".gz")
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    write(document, path)
    assert (tmp_path / name).read_bytes() == first
    assert os.listdir(tmp_path) == [name]


def test_a_snapshot_is_told_by_its_bytes_not_its_name(tmp_path):
    (tmp_path / "plain.gz").write_text(json.dumps(snapshot()))
    (tmp_path / "packed.json").write_bytes(gzip.compress(json.dumps(snapshot()).encode()))
    assert read(str(tmp_path / "plain.gz")) == read(str(tmp_path / "packed.json")) == snapshot()


@pytest.mark.parametrize(
    "content, wanted",
    [
        (b"", "it is not JSON"),
        (b"{", "it is not JSON"),
        (b"\xff\xfe", "it is not JSON"),
        (b"[" * 100000, "it holds more than 100 levels"),
        (gzip.compress(b"{}" * 100, mtime=0)[:-6], "it is not whole gzip data"),
        (b"\x1f\x8b", "it is not whole gzip data"),
        (b"\x1f\x8bxxxxxxxxxxxxxxxxxxxx", "it is not whole gzip data"),
        (b"{}", "apiVersion: wanted"),
        (b"[]", "a ClusterSnapshot is a mapping"),
    ],
)
def test_a_file_that_holds_no_snapshot_is_refused(tmp_path, content, wanted):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(SnapshotError, match=wanted):
        read(str(tmp_path / "file"))


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_file_that_is_too_large_is_refused(tmp_path, monkeypatch, pack):
    monkeypatch.setattr(outside, "BYTES", 100)
    (tmp_path / "file").write_bytes(pack(b" " * 101))
    with pytest.raises(SnapshotError, match="it holds more than 100 bytes"):
        read(str(tmp_path / "file"))


def test_a_snapshot_that_cannot_be_written_leaves_what_was_there(tmp_path):
    path = tmp_path / "cluster.json"
    path.write_text("before")
    with pytest.raises(TypeError):
        write({"pods": object()}, str(path))
    with pytest.raises(OSError):
        write(snapshot(), str(tmp_path / "missing" / "cluster.json"))
    assert path.read_text() == "before" and os.listdir(tmp_path) == ["cluster.json"]
