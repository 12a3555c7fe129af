# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A remediation whose files, record and cluster are somebody's who means no good."""

from __future__ import annotations

import copy
import json
import os

import pytest

pytest.importorskip("kubernetes")
pytest.importorskip("websocket")

import yaml

from ansible_collections.meshops.istio_precheck.tests.helpers import cluster, running
from ansible_collections.meshops.istio_precheck.tests.playbooks.mesh_server import REMEDIATE, Mesh

ESCAPES = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e"


def obeyed(text):
    """What of a text a terminal would obey, beside line ends."""
    return sorted({char for char in text if not char.isprintable() and char != "\n"})


def play(place, server, *arguments, **variables):
    told = {
        "check_listeners_host": server.url,
        "check_listeners_api_key": "abc",
        "check_listeners_exec_timeout": 60,
        "remediate_listeners_undo_file": str(place / "undo.json"),
    }
    return running.playbook(place, *arguments, book=REMEDIATE, **{**told, **variables})


def record_of(name):
    sidecar = {
        "apiVersion": "networking.istio.io/v1beta1",
        "kind": "Sidecar",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"egress": []},
    }
    return {
        "apiVersion": "precheck.meshops.io/v1",
        "kind": "RemediationRecord",
        "changes": [{"before": None, "after": sidecar}],
    }


def test_no_escape_sequence_of_a_remediation_reaches_the_terminal(tmp_path):
    existing = cluster.sidecar("mine", selector={"app": "web"}, ingress={7070: "127.0.0.1:7070"})
    existing["metadata"]["annotations"] = {f"note{ESCAPES}": ESCAPES}
    plain = copy.deepcopy(existing)
    with Mesh(plain) as server:
        # The Sidecar that is there does not list the port, so it is closed today.
        shown = play(tmp_path, server, "-vvv", "--diff", check_listeners_remediate_unreachable=True)
        assert shown.code == 0 and "+" in shown.output, shown.output[-2000:]
        assert obeyed(shown.output) == []
        undone = play(tmp_path, server, "-vvv", "--diff", remediate_listeners_undo=True)
        assert (undone.code, obeyed(undone.output)) == (0, []), undone.output[-2000:]
        assert server.sidecars["shop", "mine"]["spec"] == plain["spec"]

        for odd in (
            record_of(f"x{ESCAPES}"),
            {**record_of("x"), ESCAPES: 1},
            {**record_of("x"), "server": f"http://{ESCAPES}"},
        ):
            (tmp_path / "undo.json").write_text(json.dumps(odd), "utf-8")
            refused = play(tmp_path, server, "-vvv", remediate_listeners_undo=True)
            assert (refused.code, obeyed(refused.output)) == (2, []), refused.output[-2000:]
        os.unlink(tmp_path / "undo.json")

        files = tmp_path / "sidecars"
        files.mkdir()
        told = {"remediate_listeners_dir": str(files)}
        for name, document in (
            ("a.yaml", {"kind": ESCAPES}),
            ("b.yaml", {**record_of("x")["changes"][0]["after"], ESCAPES: 1}),
            (f"{ESCAPES}.yaml", 5),
        ):
            (files / name).write_text(yaml.safe_dump(document), "utf-8")
            refused = play(tmp_path, server, "-vvv", **told)
            assert (refused.code, obeyed(refused.output)) == (2, []), refused.output[-2000:]
            (files / name).unlink()


def test_the_name_of_a_host_leads_no_file_elsewhere(tmp_path):
    place = tmp_path / "a" / "b"
    place.mkdir(parents=True)
    with Mesh() as one, Mesh() as other:
        hosts = {"../../escaped": {"check_listeners_host": one.url}, "east": {"check_listeners_host": other.url}}
        (place / "inventory.json").write_text(json.dumps({"all": {"hosts": hosts}}), "utf-8")
        played = running.playbook(
            place, "-i", str(place / "inventory.json"), prefix=["env", f"PWD={place}"], book=REMEDIATE, check_listeners_api_key="abc",
            check_listeners_exec_timeout=60,
        )  # fmt: skip
    assert played.code == 0, played.output[-2000:]
    found = list(tmp_path.rglob("remediate_listeners_undo*"))
    assert len(found) == 2 and {path.parent for path in found} == {place}
    assert not list(tmp_path.rglob("*escaped*/"))
