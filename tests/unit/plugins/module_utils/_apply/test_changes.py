# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import json

import pytest
from hypothesis import HealthCheck, given, settings

from ansible_collections.meshops.istio_precheck.plugins.module_utils._apply.changes import (
    RecordError,
    changes,
    parsed,
    record,
    undo,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._apply.manifests import sidecar_manifests
from ansible_collections.meshops.istio_precheck.plugins.module_utils._evaluate import evaluate
from ansible_collections.meshops.istio_precheck.plugins.module_utils._remedy.plan import CARRIES_OVER
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._sidecars.files import sidecar_files
from ansible_collections.meshops.istio_precheck.tests.helpers import cluster
from ansible_collections.meshops.istio_precheck.tests.helpers.remedies import (
    EGRESS,
    OPEN,
    clusters,
    controller,
    versioned,
)
from ansible_collections.meshops.istio_precheck.tests.helpers.remedies import applied as with_remedies

OLD, NEW = {"egress": [{"hosts": ["./*"]}]}, {"egress": [{"hosts": ["./*"]}], "ingress": [{"port": {"number": 8080}}]}

SELECTING, OTHERS = ({**NEW, "workloadSelector": {"labels": {"app": app}}} for app in ("web", "db"))


def thing(spec, name="web", version=None, namespace="shop", **metadata):
    """As a manifest says it, or with server-managed fields as a server does."""
    served = (
        {
            "resourceVersion": version,
            "uid": "u-1",
            "generation": 3,
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "managedFields": [{}],
        }
        if version
        else {}
    )
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


def planning(*manifests):
    """A report with these plans, as far as they are looked at."""
    return {"remediations": [{"manifest": each} for each in manifests]}


def planned(one, current=(), today=()):
    found = changes([one], list(current), planning(*today))
    return found["changes"][0]["action"], found["refused"]


UNPLANNED = "today's check, with the options of this run, plans no such Sidecar. Plan again."


def mine(spec, **metadata):
    return {**manifest(spec), "metadata": {"namespace": "shop", "name": "mine", **metadata}}


# What the file says; what there is; today's plan; what is done, and why not.
@pytest.mark.parametrize(
    "plan, current, today, action, why",
    [
        (manifest(NEW), [], [], "create", UNPLANNED),
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
            manifest(SELECTING), [], [mine(SELECTING, resourceVersion="7")], "create",
            "Sidecar shop/mine selects these pods by now, and a second one would have no effect. Plan again.",
        ),
        (manifest(SELECTING), [], [mine(SELECTING, namespace="bank", resourceVersion="7")], "create", UNPLANNED),
        (manifest(SELECTING), [], [mine(OTHERS, resourceVersion="7")], "create", UNPLANNED),
        (manifest(SELECTING), [], [mine(SELECTING)], "create", None),
        (manifest(NEW), [thing(OLD, version="7")], [], "update", "it exists, but the plan is for a new one. Plan again."),
        (manifest(NEW), [thing(NEW, version="7")], [], "none", None),
        (manifest(NEW, "7"), [thing(OLD, version="7")], [manifest(NEW, "7")], "update", None),
        (manifest(NEW, "7"), [thing(OLD, version="7")], [], "update", UNPLANNED),
        (manifest(SELECTING, "7"), [thing(OLD, version="7")], [mine(SELECTING)], "update", UNPLANNED),
        (manifest(NEW, "7"), [thing(NEW, version="8")], [], "none", None),
        (
            manifest(NEW, "7"), [thing(OLD, version="8")], [manifest(NEW, "8")], "update",
            "it changed since the plan was made (resourceVersion 7, now 8). Plan again.",
        ),
        (manifest(NEW, "7"), [], [], "update", "it is gone since the plan was made. Plan again."),
        (manifest(NEW), [thing(OLD, "other", "7"), thing(OLD, version="7", namespace="elsewhere")], [manifest(NEW)], "create", None),
    ],
)  # fmt: skip
def test_a_sidecar_is_touched_only_as_it_was_planned(plan, current, today, action, why):
    assert planned(plan, current, today) == (action, [f"Sidecar shop/web: {why}"] if why else [])


def ports(**more):
    return {
        "workloadSelector": {"labels": {"app": "web", "tier": "front"}},
        "ingress": [{"port": {"number": 8080}, "defaultEndpoint": "127.0.0.1:8080"}],
        **more,
    }


def listener(number, to=None, **port):
    return {"port": {"number": number, **port}, **({"defaultEndpoint": to} if to else {})}


TWO = [listener(8080, "127.0.0.1:8080", protocol="HTTP", name="http"), listener(9090)]
SWITCHES_OFF = "in today's plan, but not in the file: a Sidecar switches off what it does not list. Plan again."


# What a team made of the file, or the cluster of the plan since; why it is refused.
@pytest.mark.parametrize(
    "file, today, why",
    [
        (ports(), ports(), None),
        (ports(ingress=[listener(8080, "127.0.0.1:8080", protocol="TCP", name="other")]), ports(), None),
        (ports(ingress=[*TWO, listener(7070)], egress=[{"hosts": ["./*"]}]), ports(ingress=TWO), None),
        (ports(workloadSelector={"labels": {"app": "web", "tier": "front", "track": "stable"}}), ports(), None),
        (ports(), ports(ingress=TWO), f"port 9090 is {SWITCHES_OFF}"),
        (ports(), ports(ingress=[*TWO, listener(7070)]), f"ports 7070 and 9090 are {SWITCHES_OFF}"),
        (ports(ingress=[]), ports(), f"port 8080 is {SWITCHES_OFF}"),
        (ports(), ports(ingress=[listener(8080)]), "port 8080 has the defaultEndpoint 127.0.0.1:8080, but none in today's plan. Plan again."),
        (
            ports(ingress=[TWO[0], listener(9090, "127.0.0.1:9090")]), ports(ingress=[TWO[0], listener(9090, "0.0.0.0:9090")]),
            "port 9090 has the defaultEndpoint 127.0.0.1:9090, but 0.0.0.0:9090 in today's plan. Plan again.",
        ),
        (
            ports(workloadSelector={"labels": {"app": "web"}}), ports(),
            "it selects pods by app=web, but today's plan by app=web,tier=front. Plan again.",
        ),
        (ports(workloadSelector={}), ports(), "it selects pods by no label, but today's plan by app=web,tier=front. Plan again."),
        # What no API server would take is no error here.
        *(
            (ports(ingress=odd), ports(), f"port 8080 is {SWITCHES_OFF}")
            for odd in ("text", {"port": {"number": 8080}}, ["text"], [{}], [{"port": 8080}], [{"port": {"number": "8080"}}], [{"port": {"number": [8080]}}])
        ),
        *(
            (ports(workloadSelector=odd), ports(), "it selects pods by no label, but today's plan by app=web,tier=front. Plan again.")
            for odd in ("text", ["app"], {"labels": "app"}, {"labels": None})
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("version", [None, "7"])
def test_a_reviewed_file_may_say_more_than_todays_plan_but_nothing_worse(file, today, why, version):
    if version and file["workloadSelector"] == {"labels": {"app": "web", "tier": "front", "track": "stable"}}:
        why = "it selects pods by app=web,tier=front,track=stable, but today's plan by app=web,tier=front. Plan again."  # the others would lose it
    current = [thing(OLD, version=version)] if version else []
    assert planned(manifest(file, version), current, [manifest(today, version)])[1] == (
        [f"Sidecar shop/web: {why}"] if why else []
    )


def test_two_files_for_the_same_pods_are_refused():
    found = changes([mine(SELECTING), manifest(SELECTING)], [], planning(manifest(SELECTING)))
    assert found["refused"] == [
        "Sidecar shop/web: Sidecar shop/mine of these files selects the same pods, and a second one would have no effect. Plan again."
    ]


# ---------------------------------------------------------------------------------------------------------------------
# Files that were true once


def report(**parts):
    """The report on a cluster from which the files were written, or on what has become of it; the upgrade is from istiod 1.9 to 1.24."""
    return cluster.report(target="1.24", controllers=[controller()], remediate_unreachable=True, **parts)


SECOND_PORT = {
    "services": [cluster.service(ports=[cluster.port(), cluster.port(90, 9090, "http-b")])],
    "binds": ("127.0.0.1:8080", "127.0.0.1:9090"),
}
SELECTOR = versioned(
    cluster.sidecar("mine", selector={"app": "web"}, egress=EGRESS, ingress={7070: "127.0.0.1:7070"}), "5"
)
DEFAULT = versioned(cluster.sidecar("default", egress=[{"hosts": ["*/*"]}]), "10")
STRICT = versioned(cluster.sidecar("default", egress=EGRESS, outboundTrafficPolicy={"mode": "REGISTRY_ONLY"}), "11")
CURING = versioned(
    cluster.sidecar(
        "default", egress=EGRESS, ingress={8080: "127.0.0.1:8080"}, outboundTrafficPolicy={"mode": "REGISTRY_ONLY"}
    ),
    "11",
)
OLDER = versioned(cluster.sidecar("older", selector={"app": "web"}, ingress={8080: "127.0.0.1:8080"}), "3")
UNREAD = {"tables": [], "unread": [{"namespace": "shop", "pod": "web-7d4b9-a", "reason": "timeout", "detail": "x"}]}
WAIVED = {"waivers": [{"match": "port==`8080`", "reason": "moves in May"}]}
NAME, ID = "shop/precheck-deployment-web", "IST0143/shop/Deployment/web/8080"

STALE = {
    "a second port, for a new Sidecar": ({}, SECOND_PORT, f"{NAME}: port 9090 is {SWITCHES_OFF}"),
    "a second port, for one that exists": (
        {"sidecars": [SELECTOR]}, {"sidecars": [SELECTOR], **SECOND_PORT}, f"shop/mine: port 9090 is {SWITCHES_OFF}",
    ),
    "another default": (
        {"sidecars": [DEFAULT]}, {"sidecars": [STRICT]},
        f"{NAME}: it carries over the settings of shop/default@10, but the default now is shop/default@11. Plan again.",
    ),
    "a pod that cannot be read now": (
        {"sidecars": [DEFAULT]}, {"sidecars": [STRICT], **UNREAD},
        f"{NAME}: pod web-7d4b9-a could not be checked today (timeout), so no Sidecar is planned for it. Plan again.",
    ),
    "a waiver, for a new Sidecar": (
        {"sidecars": [DEFAULT]}, {"sidecars": [STRICT], **WAIVED},
        f"{NAME}: {ID} is waived today (moves in May), so no Sidecar is planned for it. Plan again.",
    ),
    "a waiver, for one that exists": (
        {"sidecars": [SELECTOR]}, {"sidecars": [SELECTOR], **WAIVED},
        f"shop/mine: {ID} is waived today (moves in May), so no Sidecar is planned for it. Plan again.",
    ),
    "a new default that cures": (
        {}, {"sidecars": [CURING]}, f"{NAME}: {ID} is remediated today, so no Sidecar is planned for it. Plan again.",
    ),
    "an older Sidecar that cures": (
        {}, {"sidecars": [OLDER]}, f"{NAME}: {ID} is remediated today, so no Sidecar is planned for it. Plan again.",
    ),
    "another Sidecar that selects the pods": (
        {}, {"sidecars": [SELECTOR]}, f"{NAME}: Sidecar shop/mine selects these pods by now, and a second one would have no effect. Plan again.",
    ),
    "a program that binds the address of the pod": (
        {}, {"binds": ("10.0.0.5:8080",), "istiods": [cluster.istiod("1.20.8")]}, f"{NAME}: {UNPLANNED}",
    ),
    "a program that ended": (
        {}, {"binds": ("0.0.0.0:1",)}, f"{NAME}: nothing accepts connections for {ID} today, so no Sidecar is planned for it. Plan again.",
    ),
    "a finding that no Sidecar cures by now": (
        {}, {"binds": ("127.0.0.2:8080",)}, f"{NAME}: no Sidecar fixes {ID} today, so no Sidecar is planned for it. Plan again.",
    ),
    "a finding out of sight": ({}, {"scope": "all", "pods": []}, f"{NAME}: {UNPLANNED}"),
}  # fmt: skip


@pytest.mark.parametrize("case", STALE)
def test_a_file_that_was_true_once_is_refused_with_the_reason(case):
    then, now, why = STALE[case]
    files = sidecar_manifests(sidecar_files(report(**then)))
    assert len(files) == 1
    assert changes(files, now.get("sidecars", []), report(**now))["refused"] == [f"Sidecar {why}"]


EXPIRED = {"waivers": [{"match": "port==`8080`", "reason": "moved in May", "until": "2026-05-31"}]}


@pytest.mark.parametrize(
    "then", [{}, {"sidecars": [SELECTOR]}, {"sidecars": [DEFAULT]}, SECOND_PORT, EXPIRED], ids=range(5)
)
def test_a_file_is_applied_as_long_as_it_is_true_and_then_changes_nothing(then):
    files = sidecar_manifests(sidecar_files(report(**then)))
    found = changes(files, then.get("sidecars", []), report(**then))
    assert (found["refused"], [change["action"] for change in found["changes"]]) == (
        [],
        ["update" if then.get("sidecars") == [SELECTOR] else "create"],
    )
    after = with_remedies(cluster.snapshot(sidecars=then.get("sidecars", [])), report(**then)["remediations"])[
        "sidecars"
    ]
    again = changes(files, after, report(**{**then, "sidecars": after}))
    assert (again["refused"], [change["action"] for change in again["changes"]]) == ([], ["none"])


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(clusters())
def test_a_fresh_plan_is_applied_whatever_the_cluster_and_then_changes_nothing(before):
    plan = evaluate(before, OPEN)
    files = sidecar_manifests(sidecar_files(plan))
    assert changes(files, before["sidecars"], plan)["refused"] == []
    after = with_remedies(before, plan["remediations"])
    again = changes(files, after["sidecars"], evaluate(after, OPEN))
    assert again["refused"] == []
    assert {change["action"] for change in again["changes"]} <= {"none"}


# ---------------------------------------------------------------------------------------------------------------------
# Taking it back


def applied(before, after):
    """Plan, dry run and record of one change."""
    current = [before] if before else []
    wanted = manifest(after, before["metadata"]["resourceVersion"] if before else None)
    plan = changes([wanted], current, planning(wanted))["changes"]
    return plan, thing(
        after,
        version="8",
        **{k: v for k, v in (before or thing({}))["metadata"].items() if k in ("labels", "annotations")},
    )


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
            "manifest": {
                **thing(OLD),
                "metadata": {
                    **thing(OLD, labels={"a": "b"}, annotations={"empty": ""})["metadata"],
                    "resourceVersion": "8",
                },
            },
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


# What there is by now, under another uid than was recorded, and what becomes of it.
@pytest.mark.parametrize(
    "now, actions, refused",
    [
        (OLD, ["none"], []),  # somebody has made again what was there before
        (NEW, [], ["Sidecar shop/web is another one than was applied: of another cluster, or made since."]),
        ({"egress": []}, [], ["Sidecar shop/web is another one than was applied: of another cluster, or made since."]),
    ],
)
def test_a_sidecar_that_is_as_it_was_before_needs_no_undo_and_stops_none(now, actions, refused):
    plan, result = applied(thing(OLD, version="7"), NEW)
    kept = record(None, plan, [result])
    kept["changes"][0]["uid"] = "u-1"
    current = thing(now, version="9")
    current["metadata"]["uid"] = "u-2"
    found = undo(kept, [current])
    assert ([change["action"] for change in found["changes"]], found["refused"]) == (actions, refused)


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
    assert record(kept, plan, [second])["changes"] == [{"before": thing(OLD), "after": thing(third), "uid": "u-1"}]


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
    assert record(None, [done, other], [thing(NEW, "zoo", "8")])["changes"] == [
        {"before": None, "after": thing(NEW, "zoo")}
    ]


def test_what_the_server_alone_writes_is_not_recorded():
    served = {**thing(OLD, version="7"), "status": {"seen": True}}
    served["metadata"]["selfLink"] = "/apis"
    assert changes([manifest(NEW, "7")], [served], planning())["changes"][0]["before"] == thing(OLD)


NO_RECORD = [
    {}, [], None, "text", 5, {"apiVersion": "v1", "kind": "RemediationRecord"},
    *(
        {"apiVersion": "precheck.meshops.io/v1", "kind": "RemediationRecord", "changes": odd}
        for odd in (None, "text", [{}], [{"before": None, "after": None}], [{"before": {}, "after": thing(NEW)}], [{"before": None, "after": {"metadata": {}}}])
    ),
]  # fmt: skip


@pytest.mark.parametrize("bad", NO_RECORD, ids=lambda bad: repr(bad)[:50])
def test_something_else_is_no_record(bad):
    with pytest.raises(RecordError, match="no RemediationRecord"):
        undo(bad, [])
    if bad:
        with pytest.raises(RecordError, match="no RemediationRecord"):
            record(bad, [], [])
    with pytest.raises(RecordError, match="no RemediationRecord"):
        parsed(json.dumps(bad), "")


@pytest.mark.parametrize("text", ["", "{", "\ufeff", "9" * 5000, "\ud800"])
def test_neither_is_what_is_no_json(text):
    with pytest.raises(RecordError, match="^it is not JSON: "):
        parsed(text, "")


@pytest.mark.parametrize(
    "text, why",
    [
        ("[" * 100_000, "it holds more than 100 levels"),
        ('{"a": NaN}', "a: wanted a number that JSON has, found nan"),
        ('{"a": 1e999}', "a: wanted a number that JSON has, found inf"),
        ('{"a": "\\udc00"}', "a: wanted text, found half of a surrogate pair in it"),
    ],
)
def test_neither_is_a_bomb(text, why):
    with pytest.raises(RecordError) as refused:
        parsed(text, "")
    assert str(refused.value).startswith(why)


# The address that is recorded, that of the cluster now; the one that is recorded then, None where it is refused.
@pytest.mark.parametrize(
    "recorded, here, then",
    [
        ("https://a:6443", "https://a:6443", "https://a:6443"),
        ("https://a:6443/", "https://a:6443", "https://a:6443"),
        ("https://a:6443", "https://b:6443", None),
        ("", "https://a:6443", "https://a:6443"),  # written before it had one
        ("https://a:6443", "", "https://a:6443"),
        ("", "", None),
    ],
)
def test_a_record_is_of_one_cluster(recorded, here, then):
    plan, result = applied(thing(OLD, version="7"), NEW)
    kept = record(None, plan, [result], recorded)
    refusal = (
        f"it records what was changed on {recorded}, but this cluster is {here}"
        if recorded and here and not then
        else ""
    )
    if refusal:
        uses = (
            lambda: parsed(json.dumps(kept), here),
            lambda: undo(kept, [result], here),
            lambda: record(kept, plan, [result], here),
        )
        for use in uses:
            with pytest.raises(RecordError) as refused:
                use()
            assert str(refused.value) == refusal
    else:
        assert parsed(json.dumps(kept), here) == kept
        assert [c["action"] for c in undo(kept, [result], here)["changes"]] == ["restore"]
        assert record(kept, plan, [result], here).get("server") == then


BINDING = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRoleBinding",
    "metadata": {"name": "owned"},
    "roleRef": {"kind": "ClusterRole", "name": "cluster-admin"},
}
OWNER = [{"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "1"}]


def altered(where, **fields):
    """A record of one update, in which one of the two objects, or its metadata, is another."""
    plan, result = applied(thing(OLD, version="7"), NEW)
    kept = copy.deepcopy(record(None, plan, [result]))
    side, _dot, meta = where.partition(".")
    part = kept["changes"][0][side] if side else kept
    (part[meta] if meta else part).update(fields)
    return kept


@pytest.mark.parametrize(
    "kept, path",
    [
        (
            altered("before", kind="List", items=[BINDING]),
            r"changes\[0\].before.items: this field does not belong here",
        ),
        (
            altered("before", apiVersion="v1", kind="ConfigMap"),
            r"changes\[0\].before holds something other than a Sidecar",
        ),
        (altered("before", apiVersion="networking.istio.io/v1/../../x"), r"changes\[0\].before holds something other"),
        (altered("after", apiVersion="other.istio.io/v1"), r"changes\[0\].after holds something other than a Sidecar"),
        (altered("before", items=[BINDING]), r"changes\[0\].before.items: this field does not belong here"),
        (altered("after", status={}), r"changes\[0\].after.status: this field does not belong here"),
        (altered("before.metadata", namespace="kube-system"), r"changes\[0\].before: it is another object"),
        (altered("before.metadata", name="other"), r"changes\[0\].before: it is another object"),
        (altered("before.metadata", name="../../pods/x"), r"changes\[0\].before: '../../pods/x' is no name"),
        (
            altered("before.metadata", ownerReferences=OWNER),
            r"changes\[0\].before.metadata.ownerReferences: this field does not belong",
        ),
        (
            altered("before.metadata", finalizers=["a/b"]),
            r"changes\[0\].before.metadata.finalizers: this field does not belong",
        ),
        (altered("before.metadata", uid="1"), r"changes\[0\].before.metadata.uid: this field does not belong here"),
        (altered("before.metadata", labels={"a": 1}), r"changes\[0\].before.metadata.labels.a: wanted text, found 1"),
        (altered("", extra=[]), "extra: this field does not belong here"),
    ],
)
def test_a_record_holds_sidecars_before_and_after_and_nothing_else(kept, path):
    for use in (lambda: undo(kept, []), lambda: record(kept, [], []), lambda: parsed(json.dumps(kept), "")):
        with pytest.raises(RecordError, match=path):
            use()


def test_a_record_has_one_change_of_each_sidecar():
    kept = altered("")
    kept["changes"] *= 2
    with pytest.raises(RecordError, match="two changes of one Sidecar"):
        undo(kept, [])


def test_whatever_a_cluster_has_the_record_of_it_can_be_read_and_takes_nothing_of_it_away():
    more = {"ownerReferences": OWNER, "finalizers": ["a/b"]}
    before = thing(OLD, version="7")
    before["metadata"] |= {**more, "deletionTimestamp": "2026-11-23T12:00:00Z", "of a later version": {}}
    plan, result = applied(before, NEW)
    result["metadata"] |= more
    kept = record(None, plan, [result])
    assert parsed(json.dumps(kept), "") == kept
    (restore,) = undo(kept, [result])["changes"]
    assert {name: restore["manifest"]["metadata"].get(name) for name in more} == more


def test_what_is_said_of_a_record_is_printable():
    with pytest.raises(RecordError) as refused:
        undo({**altered(""), "server": "https://jane:CANARY@a/\x1b[2J"}, [], "https://b")
    assert str(refused.value).isprintable() and "CANARY" not in str(refused.value)
