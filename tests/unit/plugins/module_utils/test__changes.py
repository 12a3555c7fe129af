# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy

import pytest
from ansible_collections.meshops.istio_precheck.plugins.module_utils._changes import RecordError, changes, record, undo
from ansible_collections.meshops.istio_precheck.plugins.module_utils._sidecar import CARRIES_OVER

OLD, NEW = {"egress": [{"hosts": ["./*"]}]}, {"egress": [{"hosts": ["./*"]}], "ingress": [{"port": {"number": 8080}}]}

SELECTING, OTHERS = ({**NEW, "workloadSelector": {"labels": {"app": app}}} for app in ("web", "db"))


def thing(spec, name="web", version=None, namespace="shop", **metadata):
    """As a manifest says it, or with server-managed fields as a server does."""
    served = {"resourceVersion": version, "uid": "u-1", "generation": 3, "creationTimestamp": "2026-01-01T00:00:00Z", "managedFields": [{}]} if version else {}
    return {
        "apiVersion": "networking.istio.io/v1beta1",
        "kind": "Sidecar",
        "metadata": {"name": name, "namespace": namespace, **metadata, **served},
        "spec": spec,
    }


def manifest(spec, version=None, carries=None):
    made = thing(spec)
    if version:
        made["metadata"]["resourceVersion"] = version
    if carries:
        made["metadata"]["annotations"] = {CARRIES_OVER: carries}
    return made


def planned(one, current=(), today=()):
    found = changes([one], list(current), [{"manifest": m} for m in today])
    return found["changes"][0]["action"], found["refused"]


# What the plan says; what there is; today's plan; what is done, and why not.
@pytest.mark.parametrize(
    "plan, current, today, action, why",
    [
        (manifest(NEW), [], [], "create", None),
        (manifest(NEW), [], [manifest(NEW)], "create", None),
        (manifest(NEW, carries="shop/default@1"), [], [manifest(NEW, carries="shop/default@1")], "create", None),
        (
            manifest(NEW, carries="shop/default@1"), [], [manifest(NEW, carries="shop/default@2")], "create",
            "it carries over the settings of shop/default@1, but the default now is shop/default@2. Plan again.",
        ),
        (
            manifest(NEW),
            [],
            [manifest(NEW, carries="shop/default@2")],
            "create",
            "it carries over the settings of none, but the default now is shop/default@2. Plan again.",
        ),
        (
            manifest(SELECTING), [], [{**manifest(SELECTING, "7"), "metadata": {"namespace": "shop", "name": "mine", "resourceVersion": "7"}}], "create",
            "Sidecar shop/mine selects these pods by now, and a second one would have no effect. Plan again.",
        ),
        (manifest(SELECTING), [], [{**manifest(SELECTING, "7"), "metadata": {"namespace": "bank", "name": "mine", "resourceVersion": "7"}}], "create", None),
        (manifest(SELECTING), [], [{**manifest(OTHERS, "7"), "metadata": {"namespace": "shop", "name": "mine", "resourceVersion": "7"}}], "create", None),
        (manifest(SELECTING), [], [{**manifest(SELECTING), "metadata": {"namespace": "shop", "name": "new"}}], "create", None),
        (manifest(NEW), [thing(OLD, version="7")], [], "update", "it exists, but the plan is for a new one."),
        (manifest(NEW), [thing(NEW, version="7")], [], "none", None),
        (manifest(NEW, "7"), [thing(OLD, version="7")], [], "update", None),
        (manifest(NEW, "7"), [thing(NEW, version="8")], [], "none", None),
        (manifest(NEW, "7"), [thing(OLD, version="8")], [], "update", "it changed since the plan was made (resourceVersion 7, now 8). Plan again."),
        (manifest(NEW, "7"), [], [], "update", "it is gone since the plan was made."),
        (manifest(NEW), [thing(OLD, "other", "7"), thing(OLD, version="7", namespace="elsewhere")], [], "create", None),
    ],
)  # fmt: skip
def test_a_sidecar_is_touched_only_as_it_was_planned(plan, current, today, action, why):
    assert planned(plan, current, today) == (action, [f"Sidecar shop/web: {why}"] if why else [])


def applied(before, after):
    """Plan, dry run and record of one change."""
    current = [before] if before else []
    plan = changes([manifest(after, before["metadata"]["resourceVersion"] if before else None)], current, [])["changes"]
    return plan, thing(after, version="8", **{k: v for k, v in (before or thing({}))["metadata"].items() if k in ("labels", "annotations")})


def test_what_was_created_is_deleted_if_it_is_still_what_it_was():
    plan, result = applied(None, NEW)
    kept = record(None, plan, [result])
    assert kept["changes"] == [{"before": None, "after": thing(NEW)}]
    assert undo(kept, [result]) == {
        "changes": [{"action": "delete", "manifest": thing(NEW), "preconditions": {"uid": "u-1", "resourceVersion": "8"}}], "refused": []
    }  # fmt: skip
    assert [c["action"] for c in undo(kept, [])["changes"]] == ["none"]


def test_what_was_edited_is_restored_whole_on_the_version_that_was_seen():
    before = thing(OLD, version="7", labels={"a": "b"}, annotations={"empty": ""})
    plan, result = applied(before, NEW)
    kept = record(None, plan, [result])
    restored = undo(kept, [result])
    assert restored["refused"] == []
    assert restored["changes"] == [
        {
            "action": "restore",
            "manifest": {**thing(OLD), "metadata": {**thing(OLD, labels={"a": "b"}, annotations={"empty": ""})["metadata"], "resourceVersion": "8"}},
        }
    ]
    assert [c["action"] for c in undo(kept, [before])["changes"]] == ["none"]


@pytest.mark.parametrize(
    "now, why",
    [
        (None, "Sidecar shop/web is gone since it was applied."),
        (thing({"egress": []}, version="9"), "Sidecar shop/web changed since it was applied."),
        (thing(NEW, version="9", labels={"new": "label"}), "Sidecar shop/web changed since it was applied."),
    ],
)
def test_what_someone_changed_since_is_left_alone(now, why):
    plan, result = applied(thing(OLD, version="7"), NEW)
    assert undo(record(None, plan, [result]), [now] if now else []) == {"changes": [], "refused": [why]}


def test_a_new_version_of_the_same_content_is_no_change():
    plan, result = applied(thing(OLD, version="7"), NEW)
    now = {**copy.deepcopy(result), "apiVersion": "networking.istio.io/v1", "status": {"seen": True}}
    now["metadata"].update(resourceVersion="99", generation=9)
    assert [c["action"] for c in undo(record(None, plan, [result]), [now])["changes"]] == ["restore"]


def test_one_undo_takes_several_runs_back():
    plan, first = applied(thing(OLD, version="7"), NEW)
    kept = record(None, plan, [first])
    third = {**NEW, "ingress": [{"port": {"number": 1}}]}
    plan, second = applied(first, third)
    assert record(kept, plan, [second])["changes"] == [{"before": thing(OLD), "after": thing(third)}]


def test_an_earlier_record_of_what_was_undone_or_changed_since_is_not_gone_by():
    plan, first = applied(thing(OLD, version="7"), NEW)
    kept = record(None, plan, [first])
    other = thing({"egress": [{"hosts": ["other/*"]}]}, version="20")
    plan, second = applied(other, NEW)
    assert record(kept, plan, [second])["changes"][0]["before"]["spec"] == other["spec"]


def test_what_a_run_does_not_touch_stays_recorded():
    plan, first = applied(None, NEW)
    kept = record(None, plan, [first])
    assert record(kept, [{"action": "none", "manifest": manifest(NEW), "before": None}], []) == kept


def test_a_dry_run_belongs_to_the_change_that_it_was_made_for():
    done = {"action": "none", "manifest": manifest(OLD), "before": thing(OLD)}
    other = {"action": "create", "manifest": thing(NEW, "zoo"), "before": None}
    assert record(None, [done, other], [thing(NEW, "zoo", "8")])["changes"] == [{"before": None, "after": thing(NEW, "zoo")}]


def test_what_the_server_alone_writes_is_not_recorded():
    served = {**thing(OLD, version="7"), "status": {"seen": True}}
    served["metadata"]["selfLink"] = "/apis"
    assert changes([manifest(NEW, "7")], [served], [])["changes"][0]["before"] == thing(OLD)


@pytest.mark.parametrize(
    "bad",
    [{}, {"apiVersion": "v1", "kind": "RemediationRecord"}, [], None, {"apiVersion": "precheck.meshops.io/v1", "kind": "RemediationRecord", "changes": [{}]}],
)
def test_something_else_is_no_record(bad):
    with pytest.raises(RecordError, match="no RemediationRecord"):
        undo(bad, [])
