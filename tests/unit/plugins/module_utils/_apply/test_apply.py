# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is sent, kept and left alone, in process; tests/playbooks plays the same, tests/live against a real API server."""

from __future__ import annotations

import copy
import json
import stat
import threading

import pytest

pytest.importorskip("kubernetes")

from ansible_collections.kubernetes.core.plugins.module_utils.k8s.client import get_api_client

from ansible_collections.meshops.istio_precheck.plugins.module_utils._apply import apply as _apply
from ansible_collections.meshops.istio_precheck.plugins.module_utils._apply import changes as _changes
from ansible_collections.meshops.istio_precheck.plugins.module_utils._apply.apply import RemedyError, apply, take_back
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.api import Api
from ansible_collections.meshops.istio_precheck.tests.helpers import cluster
from ansible_collections.meshops.istio_precheck.tests.playbooks.mesh_server import GROUP, Mesh

THERE = cluster.sidecar("mine", selector={"app": "web"}, ingress={7070: "127.0.0.1:7070"})


def manifest(name, number=8080, version=None):
    meta = {"name": name, "namespace": "shop", **({"resourceVersion": version} if version else {})}
    spec = {
        "workloadSelector": {"labels": {"app": name}},
        "ingress": [{"port": {"number": number}, "defaultEndpoint": f"127.0.0.1:{number}"}],
    }
    return {"apiVersion": f"{GROUP}/v1beta1", "kind": "Sidecar", "metadata": meta, "spec": spec}


def report(*manifests):
    return {"remediations": [{"manifest": each} for each in manifests]}


@pytest.fixture
def use(tmp_path):
    """Applies manifests, or takes them back."""
    path = str(tmp_path / "undo.json")

    def call(server, *manifests, undo=False, check_mode=False):
        api = Api(get_api_client(host=server.url, api_key="abc"), 5)
        if undo:
            return take_back(api, path, check_mode)
        return apply(api, list(manifests), report(*manifests), path, check_mode)

    call.path = tmp_path / "undo.json"
    return call


def kept(use):
    return {
        entry["after"]["metadata"]["name"]: entry["before"]
        for entry in json.loads(use.path.read_text("utf-8"))["changes"]
    }


def sent(server, since=0):
    return [each.line.split(" HTTP")[0] for each in server.requests[since:] if not each.line.startswith("GET ")]


def test_each_is_tried_and_then_made_and_taken_back(use):
    with Mesh(THERE) as server:
        before = server.specs
        version = server.sidecars["shop", "mine"]["metadata"]["resourceVersion"]
        planned = [manifest("api"), manifest("mine", 9090, version)]
        assert [each.action for each in use(server, *planned, check_mode=True)] == ["create", "update"]
        assert (server.specs, use.path.exists()) == (before, False)
        done = use(server, *planned)
        assert [(each.action, each.name) for each in done] == [("create", "shop/api"), ("update", "shop/mine")]
        where = f"/apis/{GROUP}/v1beta1/namespaces/shop/sidecars"
        assert sent(server)[2:] == [
            f"POST {where}?dryRun=All",
            f"PATCH {where}/mine?dryRun=All",
            f"POST {where}",
            f"PATCH {where}/mine",
        ]
        assert stat.S_IMODE(use.path.stat().st_mode) == 0o600
        assert use(server, *planned) == []
        since = len(server.requests)
        assert [each.action for each in use(server, undo=True)] == ["delete", "restore"]
        assert sent(server, since)[2:] == [f"DELETE {where}/api", f"PUT {where}/mine"]
        assert server.specs == before
        assert use(server, undo=True) == []


def test_a_create_fails_where_something_is_by_then(use):
    with Mesh() as server:
        server.after_trial = {
            **copy.deepcopy(THERE),
            "kind": "Sidecar",
            "metadata": {"name": "web", "namespace": "shop"},
        }
        with pytest.raises(RemedyError, match="shop/web: it was created since") as error:
            use(server, manifest("api"), manifest("web"), manifest("zoo"))
        assert error.value.lines[1:] == ["Before that, shop/api was applied.", "After that, shop/zoo was not applied."]
        assert error.value.changed and kept(use) == {"api": None}
        assert server.specs["shop/web"] == THERE["spec"]
        use(server, undo=True)
        assert server.specs == {"shop/web": THERE["spec"]}


@pytest.mark.parametrize("undo", [False, True])
def test_nothing_is_changed_that_someone_changed_since(use, undo):
    with Mesh(THERE) as server:
        version = server.sidecars["shop", "mine"]["metadata"]["resourceVersion"]
        if undo:
            use(server, manifest("mine", 9090, version))
        server.after_trial = {**copy.deepcopy(THERE), "kind": "Sidecar", "spec": {"egress": [{"hosts": ["./*"]}]}}
        with pytest.raises(RemedyError, match="shop/mine: it changed since"):
            use(server, *([] if undo else [manifest("mine", 9090, version)]), undo=undo)
        assert server.specs == {"shop/mine": {"egress": [{"hosts": ["./*"]}]}}
        assert undo or kept(use) == {}


def test_what_may_have_been_made_stays_in_the_record(use):
    with Mesh() as server:
        server.broken = {"web"}
        with pytest.raises(RemedyError, match="etcd is on fire"):
            use(server, manifest("api"), manifest("web"), manifest("zoo"))
        assert kept(use) == {"api": None, "web": None}
        use(server, undo=True)
        assert server.specs == {}


def test_a_record_that_cannot_be_written_stops_before_anything_is_made(use):
    use.path.mkdir()
    with Mesh() as server:
        with pytest.raises(RemedyError, match="cannot be used: it is no file"):
            use(server, manifest("api"))
        assert sent(server) == []


def test_a_record_that_another_cluster_made_meanwhile_is_not_written_over(use):
    """As of two hosts of one play with one remediate_listeners_undo_file."""
    theirs = json.dumps(_changes.record(None, [], [], "https://other.example:6443"))
    with Mesh() as server:
        api = Api(get_api_client(host=server.url, api_key="abc"), 5)
        write = api.write

        def meanwhile(*arguments):
            use.path.write_text(theirs, "utf-8")
            return write(*arguments)

        api.write = meanwhile
        with pytest.raises(RemedyError, match="it records what was changed on https://other.example:6443"):
            apply(api, [manifest("a")], report(manifest("a")), str(use.path), False)
        assert (use.path.read_text("utf-8"), server.specs) == (theirs, {})


def test_an_undo_needs_a_record(use):
    with Mesh() as server, pytest.raises(RemedyError, match="there is no record"):
        use(server, undo=True)


def test_what_is_recorded_can_be_read(use):
    with Mesh() as server:
        use(server, manifest("api"))
        assert _changes.parsed(use.path.read_bytes(), server.url)["server"] == server.url


def test_an_undo_takes_nothing_of_another_cluster_behind_the_same_address(use):
    """As behind a tunnel: the same Sidecar with the same content, and another uid."""
    with Mesh() as server:
        use(server, manifest("web"))
        (entry,) = json.loads(use.path.read_text("utf-8"))["changes"]
        assert entry["uid"] == use_uid(server, "web")
        recorded = json.loads(use.path.read_text("utf-8"))
        recorded["changes"][0]["uid"] = "another"
        use.path.write_text(json.dumps(recorded), "utf-8")
        with pytest.raises(RemedyError, match="Nothing was undone. Sidecar shop/web is another one than was applied"):
            use(server, undo=True)
        assert set(server.specs) == {"shop/web"}
        recorded["changes"][0].pop("uid")  # an old record
        use.path.write_text(json.dumps(recorded), "utf-8")
        use(server, undo=True)
        assert server.specs == {}


def use_uid(server, name):
    api = Api(get_api_client(host=server.url, api_key="abc"), 5)
    return api.get(f"/apis/{GROUP}/v1beta1/namespaces/shop/sidecars/{name}")["metadata"]["uid"]


def test_two_runs_with_one_record_write_it_one_after_the_other(use, monkeypatch):
    monkeypatch.setattr(_apply, "LONGEST_WAIT", 0)
    with Mesh() as server:
        with _apply.alone_with(str(use.path)):
            with pytest.raises(RemedyError, match="Nothing was applied: .* another run is writing it"):
                use(server, manifest("web"))
            assert (server.specs, use.path.exists()) == ({}, False)
        use(server, manifest("web"))
        use(server, manifest("api"))
        assert set(kept(use)) == {"web", "api"} and not list(use.path.parent.glob("*.lock"))


def taken_away(lock):
    lock.unlink()


def made_again(lock):
    lock.unlink()
    lock.write_text("another run's", "utf-8")


@pytest.mark.parametrize("then, stays", [(taken_away, False), (made_again, True)])
def test_a_lock_that_somebody_takes_away_spoils_no_run(tmp_path, then, stays):
    """What was applied is applied: the end of the lock is no reason for a traceback, and another's lock is left to it."""
    lock = tmp_path / "undo.json.lock"
    with _apply.alone_with(str(tmp_path / "undo.json")):
        then(lock)
    assert lock.exists() is stays


def test_a_run_waits_for_another_and_keeps_its_entries(use):
    with Mesh() as server:
        together = [threading.Thread(target=use, args=(server, manifest(name))) for name in ("web", "api", "db")]
        for each in together:
            each.start()
        for each in together:
            each.join()
        assert set(kept(use)) == {"web", "api", "db"} and len(server.specs) == 3
