# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files: a disk that is full, really, and names that would lead elsewhere."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys

import pytest

pytest.importorskip("kubernetes")
pytest.importorskip("websocket")

from ansible_collections.meshops.istio_precheck.tests.helpers import cluster, running
from ansible_collections.meshops.istio_precheck.tests.helpers.servers import Cluster, auth

ESCAPES = "\x1b]0;owned\x07\x1b[2J\x1b[31m\r\n\x9b31m\u202e"


def small_disk(place, size):
    """The beginning of a command that sees a full disk at `place`, in a mount namespace of its own: the machine has none."""
    if (
        not shutil.which("unshare")
        or subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode
    ):
        pytest.skip("needs the right to mount: root on Linux")
    place.mkdir(parents=True, exist_ok=True)
    return [
        "unshare",
        "--mount",
        "sh",
        "-c",
        f'mount -t tmpfs -o size={size} tmpfs {shlex.quote(str(place))} && exec "$@"',
        "sh",
    ]


def test_a_full_disk_under_snapshot_dest_is_named_and_the_report_is_kept(tmp_path):
    disk = tmp_path / "disk"
    with Cluster(*(f"p{n:03}" for n in range(60))) as server:
        options = {**auth(server), "snapshot_dest": str(disk / "cluster.json")}
        ended = running.run(
            [*small_disk(disk, "16k"), sys.executable, "-c", running.MODULE], tmp_path, json.dumps(options), None, 120
        )
    assert (ended.code, ended.stderr, ended.strays, ended.files) == (1, "", [], [])
    assert ended.result["msg"] == f"snapshot_dest: {disk / 'cluster.json'} cannot be written: No space left on device"
    assert ended.result["summary"]["pods_read"] == 60


@pytest.mark.parametrize("option", ["remediation_dir", "report_dir"])
def test_a_full_disk_under_the_files_of_the_role_is_named_after_the_verdict(tmp_path, option):
    specs = running.HERE.parents[1] / "roles" / "check_listeners" / "meta" / "argument_specs.yml"
    if f"check_listeners_{option}:" not in specs.read_text("utf-8"):
        pytest.skip(f"the role has no check_listeners_{option} yet")
    disk = tmp_path / "disk"
    pods = [cluster.pod(name=f"p{n:02}", app=f"p{n:02}", owner=("ReplicaSet", f"p{n:02}-7d4b9")) for n in range(3)]
    services = [
        cluster.service(name=pod["metadata"]["labels"]["app"], selector={"app": pod["metadata"]["labels"]["app"]})
        for pod in pods
    ]
    record = tmp_path / "record.json"
    record.write_text(json.dumps(cluster.snapshot(pods=pods, services=services)), encoding="utf-8")
    variables = {"check_listeners_snapshot_src": str(record), f"check_listeners_{option}": str(disk / "files")}
    ended = running.playbook(tmp_path, prefix=small_disk(disk, "8k"), **variables)
    assert ended.code == 2 and "Traceback" not in ended.output
    assert running.facts(tmp_path)["check_listeners_passed"] is False
    verdict = "".join(ended.output.split("TASK [")[-2:])  # the list, and the sentence that the play ends with
    assert "IST0143/shop/Deployment/p00/8080" in verdict
    assert str(disk / "files") in verdict and "No space left on device" in verdict, verdict
    assert ended.strays == []


def hostile(name):
    """A recorded cluster from somebody who means no good."""
    label = f"{name}{ESCAPES}"
    pod = cluster.pod(name=label, app="web", annotations={"istio.io/rev": ESCAPES}, labels={"x": ESCAPES})
    pod["status"]["containerStatuses"] = [
        {"name": f"app{ESCAPES}", "ready": False, "state": {"waiting": {"reason": ESCAPES}}}
    ]
    other = cluster.pod(name="other", app="other", owner=("ReplicaSet", f"{label}-7d4b9"))
    service = cluster.service(ports=[cluster.port(name=f"http{ESCAPES}")])
    snapshot = cluster.snapshot(
        pods=[pod, other], services=[service, cluster.service(name=f"o{ESCAPES}", selector={"app": "other"})], tables=[]
    )
    snapshot["socketTables"] = [
        cluster.table(of=label),
        cluster.table(of="other", text=f"LISTEN 0 1 127.0.0.1:8080%{ESCAPES} *:*\n{ESCAPES}\n"),
    ]
    snapshot["unread"] = [
        {"namespace": "shop", "pod": f"lost{ESCAPES}", "reason": f"because{ESCAPES}", "detail": ESCAPES}
    ]
    snapshot["unlisted"] = [{"resource": f"jobs{ESCAPES}", "detail": ESCAPES}]
    return snapshot


def obeyed(text):
    """What of a text a terminal would obey, beside line ends."""
    return sorted({char for char in text if not char.isprintable() and char != "\n"})


@pytest.mark.parametrize("verbosity", ["-v", "-vvv"])
def test_no_escape_sequence_reaches_the_terminal(tmp_path, verbosity):
    record = tmp_path / "record.json"
    record.write_text(json.dumps(hostile("web")), encoding="utf-8")
    ended = running.playbook(tmp_path, verbosity, check_listeners_snapshot_src=str(record))
    assert ended.code == 2 and "Traceback" not in ended.output
    assert obeyed(ended.output) == []


@pytest.mark.parametrize(
    ("part", "name"),
    [(part, name) for part in ("namespace", "name") for name in ("../../escaped", "/escaped", "..", "a/b", "x\n")],
)
def test_no_file_is_written_outside_of_remediation_dir(tmp_path, part, name):
    """A remediation is made from names; those that Kubernetes would not take make no file."""
    place = tmp_path / "out" / "sidecars"
    place.parent.mkdir()
    pod = cluster.pod(owner=("ReplicaSet", f"{name}-7d4b9")) if part == "name" else cluster.pod(namespace=name)
    snapshot = cluster.snapshot(pods=[pod], services=[cluster.service(namespace=pod["metadata"]["namespace"])])
    where = {"name": name if part == "name" else "x", "namespace": pod["metadata"]["namespace"]}
    snapshot["sidecars"] = [cluster.sidecar(**where, selector={"app": "web"}, ingress={9090: "127.0.0.1:9090"})]
    record = tmp_path / "record.json"
    record.write_text(json.dumps(snapshot), encoding="utf-8")
    ended = running.playbook(
        tmp_path, check_listeners_snapshot_src=str(record), check_listeners_remediation_dir=str(place)
    )
    assert ended.code == 2 and running.facts(tmp_path)["check_listeners_passed"] is False
    new = {path for path in tmp_path.rglob("*") if path.is_file() and path.suffix == ".yaml"}
    assert all(place in path.parents and path.relative_to(place).parts[0] == "shop" for path in new), new
    assert not os.path.lexists(tmp_path / "escaped") and not os.path.lexists("/escaped")
