# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""Which workload a pod belongs to, and what its controller selects pods by."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.kube import (
    ROLLOUT_LABELS,
    PerTemplate,
    Pod,
    Template,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.objects import Controller
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.report import WorkloadName

REVISION_LABELS = frozenset(
    (
        "apps.kubernetes.io/pod-index",
        "batch.kubernetes.io/controller-uid",
        "batch.kubernetes.io/job-completion-index",
        "batch.kubernetes.io/job-name",
        "controller-uid",
        "istio.io/rev",
        "job-name",
        *ROLLOUT_LABELS,
        "service.istio.io/canonical-revision",
        "statefulset.kubernetes.io/pod-name",
    )
)
"""Labels that tell one rollout, run or pod of a workload from the next: never a selector that lasts.

From the well-known labels of Kubernetes (pkg/apis/apps, pkg/apis/batch), Argo Rollouts and OpenShift; and Istio's revision, which an upgrade changes.
"""

OPENSHIFT = ("DeploymentConfig", "ReplicationController")
"""Kinds of controller for which the label `deployment` names one rollout; for any other it is a name like any other."""

TEMPLATE_LABELS = ("pod-template-hash", "rollouts-pod-template-hash", "controller-revision-hash")


class Workload(t.NamedTuple):
    namespace: str
    kind: str
    name: str

    def as_dict(self) -> WorkloadName:
        return {"kind": self.kind, "name": self.name}


class Controllers:
    """The controllers of a cluster, by namespace, kind and name."""

    def __init__(self, controllers: t.Iterable[Controller]) -> None:
        self._found: dict[Workload, Workload] = {}
        self._known = {Workload(each.namespace, each.kind, each.name): each for each in controllers}
        self._of_template = PerTemplate(self._workload)

    def workload(self, pod: Pod) -> Workload:
        """The workload a user would name: the topmost controller, or the pod itself if it has none. One object for all pods of one."""
        if pod.owner is None or pod.owner[0] == "Node":  # which has static pods, each for itself
            return Workload(pod.namespace, "Pod", pod.name)
        return self._of_template(pod)

    def _workload(self, pod: Pod) -> Workload:
        found = self._named(pod.template, *(pod.owner or ("", "")))
        return self._found.setdefault(found, found)

    def _named(self, template: Template, kind: str, name: str) -> Workload:
        """Where the controller between (a ReplicaSet, a Job) is not known, its owner is read off its name as istiod does:
        GetDeployMetaFromPod, pkg/kube/controllers/common.go and pkg/kube/inject@1.20.8.
        """
        namespace, labels = template.namespace, template.labels
        known = self._known.get(Workload(namespace, kind, name))
        if known is not None:
            return Workload(namespace, *(known.owner or (kind, name)))
        if kind == "ReplicaSet":
            for label, parent in (("pod-template-hash", "Deployment"), ("rollouts-pod-template-hash", "Rollout")):
                if labels.get(label) and name.endswith("-" + labels[label]):
                    return Workload(namespace, parent, name[: -len(labels[label]) - 1])
        if kind == "ReplicationController":
            config = template.annotations.get("openshift.io/deployment-config.name") or labels.get("deploymentconfig")
            if config:
                return Workload(namespace, "DeploymentConfig", config)
        if kind == "Job" and re.search(r"-\d{8,10}$", name):
            return Workload(namespace, "CronJob", name.rpartition("-")[0])
        return Workload(namespace, kind, name)

    def match_labels(self, pod: Pod) -> dict[str, str] | None:
        """The matchLabels of the pod's controller that last; None where it is not known or has no others.

        A Sidecar's workloadSelector knows equality only, so a selector with matchExpressions cannot be said in it.
        """
        controller = self._known.get(Workload(pod.namespace, *pod.owner)) if pod.owner else None
        if not controller:
            return None
        selector = controller.selector
        if controller.kind == "ReplicationController":  # whose selector is a plain mapping
            selector = {"matchLabels": selector}
        equal = selector.get("matchLabels")
        if selector.get("matchExpressions") or not isinstance(equal, dict):
            return None
        return lasting({str(k): str(v) for k, v in equal.items()}, controller.kind) or None


def lasting(labels: t.Mapping[str, str], kind: str) -> dict[str, str]:
    """The labels that pods of a controller of this kind share from one revision to the next."""
    return {
        key: value
        for key, value in labels.items()
        if key not in REVISION_LABELS and (key != "deployment" or kind not in OPENSHIFT)
    }


def template_key(pod: Pod) -> tuple[str, ...] | None:
    """What pods of one template share: their controller, and its template hash or else the whole spec. None for a pod that has neither."""
    named = template_hash(pod.owner, pod.labels)
    if pod.owner and named:
        return (pod.namespace, *pod.owner, named)
    return (pod.namespace, *pod.owner, "", pod.spec_like) if pod.owner and pod.spec_like else None


def template_hash(owner: tuple[str, str] | None, labels: t.Mapping[str, str]) -> str | None:
    """The label by which a controller names the template of a pod that it owns."""
    return next((labels[label] for label in TEMPLATE_LABELS if labels.get(label)), None) if owner else None
