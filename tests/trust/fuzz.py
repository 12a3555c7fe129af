# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What comes from outside, mutated for as long as one likes: socket tables, snapshot files, and whole snapshots judged.

    PYTHONPATH=.venv/tree .venv/bin/python tests/trust/fuzz.py [TARGET...] [--seconds 20] [--corpus FOLDER]

Coverage-guided, with atheris. A target takes bytes and raises where a promise is broken; test_fuzz.py plays the corpus through the same
targets without atheris. `--corpus` keeps what was found, to be added here once `-merge` has made it small.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import datetime
import functools
import ipaddress
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import typing as t

HERE = pathlib.Path(__file__).resolve().parent
CORPUS = HERE / "corpus"
HELPERS = "ansible_collections.meshops.istio_precheck.tests.helpers"


def _parts() -> contextlib.AbstractContextManager[t.Any]:
    """Where atheris runs, what is imported is instrumented for it."""
    atheris = sys.modules.get("atheris")
    return atheris.instrument_imports(include=["ansible_collections.meshops"]) if atheris else contextlib.nullcontext()


def sockets(data: bytes) -> None:
    """No table is an error: what is not understood is said, in sentences that a terminal can take."""
    with _parts():
        from ansible_collections.meshops.istio_precheck.plugins.module_utils._sockets import lookup as _lookup
        from ansible_collections.meshops.istio_precheck.plugins.module_utils._sockets import parse as _parse

    text = data.decode("utf-8", "replace")
    for fmt in _parse.FORMATS:
        table = _parse.parse(fmt, text)
        assert list(table.listeners) == sorted(set(table.listeners))
        assert _lookup.accepts(table.listeners, 8080, "10.0.0.5") in (True, False, None)
        for listener in table.listeners:
            assert 0 < listener.port < 65536
            ipaddress.ip_address(listener.address)
        assert len(table.suspect) <= 53
        assert all(len(said) < 600 and said.isascii() and said.isprintable() for said in table.suspect)


@functools.cache
def _file() -> t.IO[bytes]:
    return tempfile.NamedTemporaryFile(prefix="precheck-fuzz-")


def snapshot_file(data: bytes) -> None:
    """A file is a snapshot, or an error that says in one line what is wrong with it."""
    with _parts():
        from ansible_collections.meshops.istio_precheck.plugins.module_utils._model import schema as _schema
        from ansible_collections.meshops.istio_precheck.plugins.module_utils._model import snapshot as _snapshot

    file = _file()
    file.seek(0)
    file.truncate()
    file.write(data)
    file.flush()
    try:
        snapshot = _snapshot.read(file.name)
    except _schema.SnapshotError as error:
        assert str(error)
    else:
        judged(snapshot)


def snapshot_parts(data: bytes) -> None:
    """Whatever the reader takes can be judged; it is an ordinary snapshot with a few things changed."""
    with _parts():
        from ansible_collections.meshops.istio_precheck.plugins.module_utils._model import schema as _schema
        from ansible_collections.meshops.istio_precheck.plugins.module_utils._model import snapshot as _snapshot

    snapshot = mutated(data)
    try:
        _snapshot.check(snapshot)
    except _schema.SnapshotError as error:
        assert str(error)
    else:
        judged(snapshot)


def judged(snapshot: t.Any) -> None:
    with _parts():
        from ansible_collections.meshops.istio_precheck.plugins.module_utils import _evaluate
        from ansible_collections.meshops.istio_precheck.plugins.module_utils._apply import manifests as _manifests
        from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule import options as _options
        from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule import selection as _selection
        from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._reports import verdict as _verdict
        from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._sidecars import files as _sidecar_files

    before = json.dumps(snapshot, sort_keys=True)
    for scope, version in (("mesh", None), ("all", "1.24")):
        options = _options.Options(datetime.date(2026, 11, 23), _selection.Selection(scope=scope), version, ())
        report, _older = _evaluate.evaluated(_evaluate.read_cluster(snapshot), options)
        assert json.dumps(report, sort_keys=True, allow_nan=False) == json.dumps(
            _evaluate.evaluated(_evaluate.read_cluster(snapshot), options)[0], sort_keys=True
        )
        assert all(line.isprintable() for line in _verdict.verdict(report, ["breaks_on_upgrade", "unchecked"]))
        with contextlib.suppress(_manifests.ManifestError):
            for file in _sidecar_files.sidecar_files(report):
                namespace, slash, name = file["path"].partition("/")
                assert slash and namespace not in ("", ".", "..") and name.endswith(".yaml") and "/" not in name
    assert json.dumps(snapshot, sort_keys=True) == before, "evaluate changed what it was given"


def live_objects(data: bytes) -> None:
    """Whatever an API server lists is taken and judged, or said to be no such object in one line."""
    with _parts():
        from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather import listing as _listing

    objects = _listed(mutated(data))
    if objects is not None:
        judged(_listing.assemble(objects, {}, "istio-system"))


def recorded(data: bytes) -> None:
    """Whatever is listed, set for the mesh, and printed in pods: what is recorded of it is read again, and judged as the live cluster is."""
    with _parts():
        from ansible_collections.meshops.istio_precheck.plugins.module_utils import _evaluate
        from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather import attempts as _attempts
        from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather import listing as _listing
        from ansible_collections.meshops.istio_precheck.plugins.module_utils._model import kube as _kube
        from ansible_collections.meshops.istio_precheck.plugins.module_utils._model import snapshot as _snapshot
        from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule import options as _options
        from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule import selection as _selection
        from ansible_collections.meshops.istio_precheck.plugins.module_utils._sockets import tables as _tables

    changes, _line, printed = data.partition(b"\n")
    text = printed.decode("utf-8", "surrogateescape")
    objects = _listed(mutated(changes))
    if objects is None:
        return
    given = printed.decode("utf-8", "replace")  # the API server's answers are text, which the reader sees to
    objects["configMaps"] = [{"metadata": {"name": "istio", "namespace": "istio-system"}, "data": {"mesh": given}}]
    objects["istiods"] = [_istiod("docker.io/istio/pilot:1.24.0"), _istiod(given)]
    snapshot = _listing.assemble(objects, {}, "istio-system")
    with tempfile.TemporaryDirectory(prefix="precheck-fuzz-") as folder:
        path = f"{folder}/record.json{'.gz' if len(data) % 2 else ''}"
        spool, tables = _snapshot.Spool(path), _tables.Tables()
        for pod in _kube.read_pods(snapshot["pods"]):
            taken = _attempts.step(pod, [_attempts.Outcome(text, 0)] * 9)
            if taken.table:
                spool.append(taken.table)
                tables.add(taken.table)
            elif taken.unread:
                snapshot["unread"].append(taken.unread)
        for entry in spool.leave_out(2000):
            tables.drop((entry["namespace"], entry["pod"]))
            snapshot["unread"].append(entry)
        _snapshot.write({**snapshot, "socketTables": spool}, path)
        spool.close()
        again = _snapshot.read(path)
    for scope in ("mesh", "all"):
        options = _options.Options(datetime.date(2026, 11, 23), _selection.Selection(scope=scope), None, ())
        live = _evaluate.evaluate(snapshot, options, tables)
        assert json.dumps(live, sort_keys=True) == json.dumps(_evaluate.evaluate(again, options), sort_keys=True)


def _istiod(image: str) -> t.Any:
    container = {
        "name": "discovery",
        "image": image,
        "env": [{"name": "PILOT_ENABLE_INBOUND_PASSTHROUGH", "value": image}],
    }
    return {
        "metadata": {"name": "istiod", "namespace": "istio-system", "labels": {"istio.io/rev": image}},
        "spec": {"containers": [container]},
    }


def _plain_or(error: type[Exception], read: t.Callable[[], t.Any]) -> t.Any:
    """What is read, which JSON holds as it is, or None for an error, which is one short line."""
    try:
        value = read()
    except error as refused:
        said = str(refused)
        assert said and len(said) < 400 and "\n" not in said, said
        return None
    assert json.loads(json.dumps(value, allow_nan=False, ensure_ascii=False).encode("utf-8")) == value
    return value


def mesh_config(data: bytes) -> None:
    """A mesh configuration is plain data of a few fields, or is refused in one line."""
    with _parts():
        from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather import (
            control_planes as _control_planes,
        )
        from ansible_collections.meshops.istio_precheck.plugins.module_utils._model import outside
        from ansible_collections.meshops.istio_precheck.plugins.module_utils._model import shapes as _shapes

    text = data.decode("utf-8", "surrogateescape")
    config = _plain_or(outside.OutsideError, lambda: _control_planes.mesh_config(text))
    assert config is None or set(config) <= set(_shapes.MESH_CONFIG_FIELDS)
    _plain_or(outside.OutsideError, lambda: outside.fields_of_yaml(data, ["a", "interceptionMode"]))


def proxy_answer(data: bytes) -> None:
    """Whatever a proxy prints is an entry that can be recorded and judged; so is what a file says that one has said, or it is refused."""
    with _parts():
        from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather import attempts as _attempts
        from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather import proxies as _proxies
        from ansible_collections.meshops.istio_precheck.plugins.module_utils._model import outside
        from ansible_collections.meshops.istio_precheck.plugins.module_utils._model import schema as _schema
        from ansible_collections.meshops.istio_precheck.plugins.module_utils._model import snapshot as _snapshot

    base = json.loads(_base())
    outcome = _attempts.Outcome(data.decode("utf-8", "replace"), 0)
    entry = _proxies.proxy_config(("shop", "web-7d4b9-a"), outcome, (8080,))
    assert "inbound" in entry or (entry["reason"] == "no_answer" and entry["detail"].isprintable())
    base["proxyConfigs"] = [entry]
    judged(_snapshot.check(outside.from_json(json.dumps(base))))
    base["proxyConfigs"] = _plain_or(outside.OutsideError, lambda: outside.from_json(data)) or []
    try:
        _snapshot.check(base)
    except _schema.SnapshotError as error:
        assert str(error)
    else:
        judged(base)


def reviewed_file(data: bytes) -> None:
    """A reviewed file holds Sidecars as plain data, or is refused in one line."""
    with _parts():
        from ansible_collections.meshops.istio_precheck.plugins.module_utils._apply import manifests as _manifests
        from ansible_collections.meshops.istio_precheck.plugins.module_utils._model import outside

    file = {"path": "a.yaml", "content": data.decode("utf-8", "surrogateescape")}
    for manifest in _plain_or(_manifests.ManifestError, lambda: _manifests.sidecar_manifests([file])) or ():
        assert manifest["kind"] == "Sidecar" and manifest["metadata"]["namespace"] not in ("", ".", "..")
    _plain_or(outside.OutsideError, lambda: outside.from_yaml(data))


def saved_report(data: bytes) -> None:
    """A saved report is read as it is, or refused in one line; a record of a remediation likewise."""
    with _parts():
        from ansible_collections.meshops.istio_precheck.plugins.module_utils._apply import changes as _changes
        from ansible_collections.meshops.istio_precheck.plugins.module_utils._model import outside
        from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._reports import document as _document

    made = _plain_or(_document.ReportError, lambda: _document.parse(data))
    assert made is None or _document.parse(_document.as_json(made)) == made
    _plain_or(_changes.RecordError, lambda: _changes.parsed(data, "https://10.0.0.1"))
    _plain_or(outside.OutsideError, lambda: outside.from_json(data))


def _listed(given: t.Any) -> dict[str, list[t.Any]] | None:
    """The objects as a gather keeps them; None if it stops over one."""
    with _parts():
        from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather import listing as _listing
        from ansible_collections.meshops.istio_precheck.plugins.module_utils._model import schema as _schema
        from ansible_collections.meshops.istio_precheck.plugins.module_utils._model import trim as _trim

    trimmed = _trim.Trimmer()
    objects: dict[str, list[t.Any]] = {}
    for listing in _listing.SELECTED:
        items = given.get(listing.key)
        if listing.kind in ("Pod", "Service", "Sidecar", "ServiceEntry", "EndpointSlice", "ReplicaSet") and isinstance(
            items, list
        ):
            try:
                objects.setdefault(listing.key, []).extend(
                    _listing.reduced(listing, item, listing.versions[0], trimmed) for item in items
                )
            except _schema.SnapshotError as error:
                assert str(error)
                return None
    return objects


WORD = "0f1e2d3c"
UID = "6a2dd3f1-3f0c-4b53-8d0b-7d2f4f0a9b01"


def probe(data: bytes) -> None:
    """What a probe prints is cut off, or says of each pod what a snapshot takes."""
    with _parts():
        from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather import node_output as _node_output
        from ansible_collections.meshops.istio_precheck.plugins.module_utils._model import kube as _kube
        from ansible_collections.meshops.istio_precheck.plugins.module_utils._model import schema as _schema
        from ansible_collections.meshops.istio_precheck.plugins.module_utils._model import shapes as _shapes

    pods = json.loads(_base())["pods"]
    for pod in pods:
        pod["metadata"]["uid"] = UID
        for status in pod["status"]["containerStatuses"]:
            status["containerID"] = f"containerd://{'a' * 64}"
    try:
        steps = list(_node_output.Node(data.decode("utf-8", "replace"), WORD).tables(_kube.read_pods(pods)))
    except _node_output.ProbeError as error:
        assert str(error)
        return
    assert len(steps) == len(pods)
    for step in steps:
        if step.table:
            _schema.check_shape(step.table, _shapes.SOCKET_TABLE, "table")
            sockets(step.table["stdout"].encode())
        else:
            assert step.unread and step.unread["detail"]


def task_results(data: bytes) -> None:
    """What kubernetes.core says of a failure is a status and a sentence, whatever it says."""
    with _parts():
        from ansible_collections.meshops.istio_precheck.plugins.plugin_utils import _k8s_exec

    text = data.decode("utf-8", "replace")
    for result in ({"msg": text}, {"msg": "", "module_stderr": text, "rc": 1}):
        code, detail = _k8s_exec._said(result)
        assert 0 <= code < 1000 and detail
        outcome = _k8s_exec._outcome(result)
        assert outcome.code is None and outcome.reason and outcome.detail


# ---------------------------------------------------------------------------------------------------------------------
# Mutation by structure: bytes that nearly always are JSON of nearly the right shape


VALUES: tuple[t.Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        8080,
        15006,
        65536,
        1 << 70,
        1.5,
        float("nan"),
        float("inf"),
        "",
        " ",
        "*",
        "8080",
        "http",
        "web",
        "{",
        "{}",
        "\x1b[2J",
    ),
    *(
        "../../x",
        "a" * 300,
        "\u202e",
        "127.0.0.1",
        "::1",
        "::",
        "0.0.0.0",
        "127.0.0.1:8080",
        "unix:///x",
        "1.9.9",
        "docker.io/istio/proxyv2:1.24.0",
    ),
    *(
        "DEFAULT",
        "NONE",
        "REDIRECT",
        "Running",
        "Pending",
        "TCP",
        "UDP",
        "HTTP",
        "[::1]:8080",
        "all",
        "8080,9090",
        "- 1",
        '{"a": {"httpGet": {"port": 1}}}',
    ),
    *(
        [],
        {},
        [None],
        [[]],
        [{}],
        {"": None},
        {"labels": {}},
        {"mode": "x"},
        {"number": 8080},
        {"port": {"number": 1}},
        [1, "a", None],
    ),
)

TABLES = (
    "LISTEN 0 4096 127.0.0.1:8080 0.0.0.0:*\n",
    "LISTEN 0 4096 [::1]:8080 [::]:*\nLISTEN 0 4096 *:9090 *:*\n",
    "LISTEN 0 4096 0.0.0.0:8080 0.0.0.0:*\n",
    "garbage\n",
)


@functools.cache
def _base() -> str:
    import importlib

    cluster = importlib.import_module(f"{HELPERS}.cluster")
    made = cluster.snapshot(
        pods=[
            cluster.pod(ports={"http": 8080}),
            cluster.pod(name="api-1", app="api", native=True, init=["istio-iptables", "-b", "*", "-d", "15020"]),
        ],
        services=[
            cluster.service(),
            cluster.service(name="api", selector={"app": "api"}, ports=[cluster.port(target="http")]),
        ],
        sidecars=[cluster.sidecar(ingress={8080: "127.0.0.1:8080"}, selector={"app": "web"})],
        serviceEntries=[cluster.service_entry()],
        endpointSlices=[cluster.endpoint_slice(pods=["web-7d4b9-a"])],
        istiods=[cluster.istiod(), cluster.istiod("1.24.0", "canary", localhost=True)],
        controllers=[
            {
                "kind": "ReplicaSet",
                "metadata": cluster.meta("web-7d4b9"),
                "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}},
            }
        ],
    )
    return json.dumps(made)


def mutated(data: bytes) -> t.Any:
    """An ordinary snapshot, changed as the bytes say: each change is a way down, and what to do there."""
    document = json.loads(_base())
    given = iter(data)

    def pick(several: int) -> int:
        return next(given, 0) % several

    while True:
        first = next(given, None)
        if first is None:
            return document
        where, parent, step = document, None, None
        for _level in range(first % 12):
            steps = (
                list(where) if isinstance(where, dict) else list(range(len(where))) if isinstance(where, list) else []
            )
            if not steps:
                break
            parent, step = where, steps[pick(len(steps))]
            where = parent[step]
        if parent is None:
            continue
        what = pick(8)
        if what == 0:
            del parent[step]
        elif what == 1 and isinstance(parent, list):
            parent.append(copy.deepcopy(where))
        elif what == 2 and isinstance(where, dict):
            where[str(VALUES[pick(len(VALUES))])] = copy.deepcopy(VALUES[pick(len(VALUES))])
        elif what == 3 and isinstance(where, str):
            parent[step] = TABLES[pick(len(TABLES))]
        else:
            parent[step] = copy.deepcopy(VALUES[pick(len(VALUES))])


TARGETS: dict[str, t.Callable[[bytes], None]] = {
    "sockets": sockets,
    "snapshot_file": snapshot_file,
    "snapshot_parts": snapshot_parts,
    "live_objects": live_objects,
    "recorded": recorded,
    "mesh_config": mesh_config,
    "proxy_answer": proxy_answer,
    "reviewed_file": reviewed_file,
    "saved_report": saved_report,
    "probe": probe,
    "task_results": task_results,
}

WORDS: dict[str, t.Sequence[str]] = {
    "sockets": tuple(
        "LISTEN;127.0.0.1:;[::1]:;*:; 0 128 ;%eth0;0100007F:;0A ;local_address;remote_address;tcp6;Local Address:Port".split(
            ";"
        )
    ),
    "snapshot_file": (
        '"apiVersion"',
        "precheck.meshops.io/v1",
        '"kind"',
        "ClusterSnapshot",
        '"pods"',
        '"socketTables"',
        '"unread"',
        "NaN",
        "1e999",
        "\\ud800",
    ),
    "snapshot_parts": ("\x01\x02\x03",),
    "live_objects": ("\x01\x02\x03",),
    "recorded": (
        "\x01\x02\x03",
        "\n",
        "LISTEN 0 4096 127.0.0.1:8080 0.0.0.0:*",
        "mode: ",
        "&a ",
        "*a",
        "local_address",
    ),
    "mesh_config": (
        "inboundTrafficPolicy: ",
        "mode: LOCALHOST",
        "rootNamespace: ",
        "<<: ",
        "&a ",
        "*a",
        "!!set ",
        "0x",
        ".inf",
        "? ",
        "---\n",
    ),
    "proxy_answer": (
        '{"configs": [',
        '{"@type": "x.ClustersConfigDump.DynamicCluster", "cluster": ',
        '{"name": "inbound|8080||", "type": "STATIC"',
        ', "load_assignment": {"endpoints": [{"lb_endpoints": [{"endpoint": {"address": ',
        '{"socket_address": {"address": "127.0.0.1", "port_value": 8080}}',
        '{"pipe": {"path": "/x"}}',
        '[{"namespace": "shop", "pod": "web-7d4b9-a", "inbound": [{"port": 8080, "type": "STATIC", "address": "[::1]:8080"}]}]',
        "}}]}]}}}]}",
    ),
    "reviewed_file": (
        "kind: Sidecar\n",
        "apiVersion: networking.istio.io/v1\n",
        "metadata: {namespace: a, name: b}\n",
        "spec: {a: b}\n",
        "<<: ",
        "&a ",
        "*a",
        "---\n",
    ),
    "saved_report": ('"kind"', '"Report"', "NaN", "1e999", "\\ud800", '"changes"'),
    "probe": (
        *(
            f"{WORD} {name}\n"
            for name in ("pods", "names", "networks", "sockets", "cut", "table 1", "missing cat", "end")
        ),
        "/proc/1/cgroup:",
        "socket:[1]",
    ),
    "task_results": (
        "HTTP response body: ",
        "b'",
        "-+-+- ",
        "Handshake status 403",
        "(403)\nReason: x",
        '{"message": "no"}',
        "Traceback",
    ),
}


def fuzz(target: str, seconds: int, scratch: pathlib.Path, kept: pathlib.Path) -> None:
    """Never returns: libFuzzer ends the process, and prints what broke as Base64."""
    import atheris

    run = TARGETS[target]
    words = scratch / f"{target}.words"
    escaped = ("".join(f"{chr(92)}x{byte:02x}" for byte in word.encode()) for word in WORDS[target])
    words.write_text("# libFuzzer's dictionary\n" + "".join(f'"{word}"\n' for word in escaped), "ascii")
    for seed in (CORPUS / target).iterdir():
        run(seed.read_bytes())  # imports what it needs, instrumented, before a time limit counts
    limits = [
        f"-max_total_time={seconds}",
        "-timeout=10",
        "-rss_limit_mb=3000",
        "-max_len=4096",
        f"-dict={words}",
        f"-artifact_prefix={scratch}/",
    ]
    atheris.Setup([sys.argv[0], *limits, "-print_final_stats=1", str(kept), str(CORPUS / target)], run)
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=" ".join(TARGETS))
    parser.add_argument("--seconds", type=int, default=20, help="for each target; they run at once")
    parser.add_argument("--corpus", type=pathlib.Path, help="a folder that keeps what reached something new, by target")
    parser.add_argument("--scratch", type=pathlib.Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if unknown := set(options.targets) - set(TARGETS):
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    if options.scratch:
        fuzz(options.targets[0], options.seconds, options.scratch, options.corpus)
    with tempfile.TemporaryDirectory(prefix="precheck-fuzz-") as scratch:
        running = {}
        for target in options.targets or TARGETS:
            kept = (options.corpus or pathlib.Path(scratch)) / target
            kept.mkdir(parents=True, exist_ok=True)
            command = [
                sys.executable,
                __file__,
                target,
                f"--seconds={options.seconds}",
                f"--scratch={scratch}",
                f"--corpus={kept}",
            ]
            with open(pathlib.Path(scratch, f"{target}.log"), "wb") as log:
                running[target] = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
                )
        for target, process in running.items():
            code = process.wait()
            log = pathlib.Path(scratch, f"{target}.log").read_text("utf-8", "replace")
            runs = re.search(r"number_of_executed_units: *(\d+)", log)
            if code or not runs:
                print(log[-5000:])
            print(
                f"{target}: {f'{runs[1]} runs' if runs else 'did not run'}, {'failed' if code else 'nothing broke'}",
                flush=True,
            )
            running[target] = code or not runs
    return int(any(running.values()))


if __name__ == "__main__":
    sys.exit(main())
