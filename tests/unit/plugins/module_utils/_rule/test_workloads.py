# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.kube import matches
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.objects import controller_record
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.workloads import Controllers, template_key
from ansible_collections.meshops.istio_precheck.tests.helpers.cluster import (
    as_read,
    meta,
    pod,
    read_pod,
)


def controller(kind, name, owner=None, selector=None):
    owners = {"ownerReferences": [{"kind": owner[0], "name": owner[1], "controller": True}]} if owner else {}
    return {
        "kind": kind,
        "metadata": meta(name, **owners),
        "spec": {"selector": selector} if selector is not None else {},
    }


def workload(a_pod, *controllers):
    found = Controllers(map(controller_record, controllers)).workload(as_read(a_pod))
    return found.kind, found.name


@pytest.mark.parametrize(
    "spec, controllers, wanted",
    [
        ({"owner": None, "name": "bare"}, [], ("Pod", "bare")),
        ({}, [], ("Deployment", "web")),
        ({}, [controller("ReplicaSet", "web-7d4b9", ("Deployment", "web"))], ("Deployment", "web")),
        ({}, [controller("ReplicaSet", "web-7d4b9", ("Rollout", "web"))], ("Rollout", "web")),
        ({}, [controller("ReplicaSet", "web-7d4b9")], ("ReplicaSet", "web-7d4b9")),
        ({"owner": ("ReplicaSet", "odd")}, [], ("ReplicaSet", "odd")),
        (
            {
                "labels": {"rollouts-pod-template-hash": "5f6", "pod-template-hash": "x"},
                "owner": ("ReplicaSet", "web-5f6"),
            },
            [],
            ("Rollout", "web"),
        ),
        ({"owner": ("StatefulSet", "db")}, [], ("StatefulSet", "db")),
        ({"owner": ("DaemonSet", "agent")}, [], ("DaemonSet", "agent")),
        ({"owner": ("Job", "backup-28391040")}, [], ("CronJob", "backup")),
        (
            {"owner": ("Job", "backup-28391040")},
            [controller("Job", "backup-28391040", ("CronJob", "nightly"))],
            ("CronJob", "nightly"),
        ),
        ({"owner": ("Job", "backup-20261123")}, [controller("Job", "backup-20261123")], ("Job", "backup-20261123")),
        ({"owner": ("Job", "once")}, [], ("Job", "once")),
        (
            {
                "owner": ("ReplicationController", "shop-3"),
                "annotations": {"openshift.io/deployment-config.name": "shop"},
            },
            [],
            ("DeploymentConfig", "shop"),
        ),
        (
            {"owner": ("ReplicationController", "shop-3"), "labels": {"deploymentconfig": "shop"}},
            [],
            ("DeploymentConfig", "shop"),
        ),
        ({"owner": ("ReplicationController", "old")}, [], ("ReplicationController", "old")),
        ({"owner": ("Node", "node-1"), "name": "etcd-node-1"}, [], ("Pod", "etcd-node-1")),
        ({"owner": ("Widget", "mine")}, [], ("Widget", "mine")),
    ],
)
def test_a_pod_belongs_to_the_workload_that_a_user_would_name(spec, controllers, wanted):
    assert workload(pod(**spec), *controllers) == wanted


def test_an_owner_that_does_not_control_the_pod_is_not_its_workload():
    a_pod = pod("web-1")
    a_pod["metadata"]["ownerReferences"][0]["controller"] = False
    assert workload(a_pod) == ("Pod", "web-1")


def test_the_controller_of_another_namespace_is_not_taken():
    elsewhere = controller("ReplicaSet", "web-7d4b9", ("Rollout", "other"))
    elsewhere["metadata"]["namespace"] = "billing"
    assert workload(pod(), elsewhere) == ("Deployment", "web")


@pytest.mark.parametrize(
    "kind, selector, wanted",
    [
        ("ReplicaSet", {"matchLabels": {"app": "web", "pod-template-hash": "7d4b9"}}, {"app": "web"}),
        ("StatefulSet", {"matchLabels": {"app": "web"}}, {"app": "web"}),
        ("ReplicaSet", {"matchLabels": {"pod-template-hash": "7d4b9"}}, None),
        ("ReplicaSet", {"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "x", "operator": "Exists"}]}, None),
        ("ReplicaSet", {"matchLabels": {"app": "web"}, "matchExpressions": []}, {"app": "web"}),
        ("ReplicaSet", {}, None),
        ("ReplicaSet", {"matchLabels": "odd"}, None),
        ("ReplicationController", {"app": "web", "deployment": "web-3"}, {"app": "web"}),
        ("ReplicaSet", None, None),
    ],
)
def test_the_labels_of_a_controller_are_those_that_last(kind, selector, wanted):
    a_pod = pod(owner=(kind, "web-7d4b9"))
    assert (
        Controllers([controller_record(controller(kind, "web-7d4b9", selector=selector))]).match_labels(as_read(a_pod))
        == wanted
    )


def test_the_labels_of_a_controller_that_is_not_known_are_not_guessed():
    assert Controllers(()).match_labels(read_pod()) is None
    assert Controllers(()).match_labels(read_pod(owner=None)) is None


SET_1, SET_2 = (
    {"owner": ("StatefulSet", "db"), "labels": {"pod-template-hash": "", "controller-revision-hash": revision}}
    for revision in ("1", "2")
)


@pytest.mark.parametrize(
    "one, other, same",
    [
        ({}, {"name": "web-7d4b9-b"}, True),
        ({}, {"labels": {"pod-template-hash": "66666"}, "owner": ("ReplicaSet", "web-66666")}, False),
        ({}, {"namespace": "billing"}, False),
        (SET_1, {**SET_1, "name": "db-1"}, True),
        (SET_1, SET_2, False),
    ],
)
def test_pods_share_a_template_if_their_controller_and_its_hash_are_the_same(one, other, same):
    assert (template_key(read_pod(**one)) == template_key(read_pod(**other))) is same


BATCH, OTHER = (
    {"owner": ("Job", "batch"), "labels": {"pod-template-hash": ""}, "like": name} for name in ("batch-a", "batch-c")
)


@pytest.mark.parametrize(
    "one, other, same", [(BATCH, BATCH, True), (BATCH, OTHER, False), (BATCH, {**BATCH, "owner": ("Job", "x")}, False)]
)
def test_pods_without_a_hash_share_a_template_if_controller_and_spec_are_the_same(one, other, same):
    keys = [
        template_key(as_read({**pod(owner=each["owner"], labels=each["labels"]), "specLike": each["like"]}))
        for each in (one, other)
    ]
    assert None not in keys and (keys[0] == keys[1]) is same


def test_a_pod_without_controller_or_hash_has_no_template():
    assert template_key(as_read({**pod(owner=None), "specLike": "web-7d4b9-a"})) is None
    assert template_key(read_pod(owner=None)) is None
    assert template_key(read_pod(labels={"pod-template-hash": ""})) is None


@pytest.mark.parametrize(
    "selector, labels, wanted",
    [
        ({}, None, True),
        ({}, {"a": "1"}, True),
        ({"a": "1"}, {"a": "1", "b": "2"}, True),
        ({"a": "1"}, {"a": "2"}, False),
        ({"a": "1"}, None, False),
    ],
)
def test_a_selector_matches_labels_that_hold_each_of_its_pairs(selector, labels, wanted):
    assert matches(selector, labels) is wanted
