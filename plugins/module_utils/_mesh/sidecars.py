# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""Sidecar resources: which one is in effect for a pod, and what it says of a port.

Citations are `path@tag` in istio/istio.
"""

from __future__ import annotations

import re
import typing as t
from collections import defaultdict

from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.cluster import Cluster
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.control_plane import (
    ControlPlane,
    ControlPlanes,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.discovered import (
    knows_services,
    unseen_sidecars,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.pod import (
    has_sidecar,
    proxy_container,
    proxy_version,
    revision,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.kube import (
    ROLLOUT_LABELS,
    Pod,
    Template,
    Thing,
    matches,
)


class Case(t.NamedTuple):
    """What may be so for a pod: its effective Sidecar, or where one may be that could not be listed; and whether its Services are known."""

    sidecar: Thing | None
    hidden_root: str
    discovered: bool


class Sidecars:
    """The Sidecars of a cluster, in the order in which istiod looks at them."""

    def __init__(self, cluster: Cluster, planes: ControlPlanes) -> None:
        self._planes = planes
        self._in: dict[str, list[Thing]] = defaultdict(list)
        for sidecar in sorted(cluster.sidecars, key=age):
            self._in[sidecar["metadata"]["namespace"]].append(sidecar)
        self._made = {
            (each.namespace, each.kind, each.name): each.template_labels
            for each in cluster.controllers
            if each.template_labels is not None
        }
        """The labels that a controller gives to its pods, by its namespace, kind and name, as far as that is recorded."""
        self._hidden = {u["namespace"] for u in cluster.unlisted if u["resource"] == "sidecars" and u.get("namespace")}

    def cases(self, pod: Pod, plane: ControlPlane, anew: bool = False) -> tuple[Case, ...]:
        """One, where it is known which namespaces `plane` discovers. In the first, whatever is not known is discovered."""
        found = []
        for left_out in self._planes.discovered.cases(plane, self._namespaces(pod, plane)):
            for unseen in unseen_sidecars(plane, left_out):
                effective = self.effective(pod, plane, anew, unseen)
                hidden = self._hidden_root(pod, plane, unseen) if not effective else ""
                found.append(Case(effective, hidden, knows_services(plane, pod.namespace in left_out)))
        return tuple(found)

    def unsure(self, pod: Pod, plane: ControlPlane) -> tuple[str, str]:
        """Why it is not known which case is so, of CAUSES in delivery.py, and of which namespace; empty if it is known, or the version is not."""
        discovered, namespaces = self._planes.discovered, self._namespaces(pod, plane)
        why = discovered.unsure(plane, namespaces)
        if any(why) or plane.version is None or plane.scoped is not None:
            return why
        return "scoping_hidden", next((name for name in namespaces if discovered.selects(plane, name) is False), "")

    def _namespaces(self, pod: Pod | Template, plane: ControlPlane) -> list[str]:
        return [pod.namespace, self._planes.root_namespace(plane)]

    def effective(
        self, pod: Pod | Template, plane: ControlPlane, anew: bool = False, unseen: t.Container[str] | None = None
    ) -> Thing | None:
        """The one Sidecar that `plane` applies to the pod, None for a pod without sidecar; they are never merged.

        Oldest that selects the pod in its namespace, else the oldest without a selector there, else the oldest without one in the root
        namespace: getSidecarScope and sortConfigByCreationTime, pilot/pkg/model/push_context.go@1.20.8. One that is labelled with
        another revision is not seen: ObjectInRevision, pkg/config/model.go@1.20.8. `anew`: for the pod that comes in the place of this one.
        `unseen` are namespaces whose Sidecars the plane is taken not to see; without, those of which it is known.
        """
        if not has_sidecar(pod):
            return None
        name = plane.name or revision(pod).name
        namespaces = self._namespaces(pod, plane)
        if unseen is None:
            unseen = unseen_sidecars(plane, self._planes.discovered.cases(plane, namespaces)[0])[0]
        local, root = (
            [s for s in self._in.get(namespace) or () if revision_of(s) in (None, name) and namespace not in unseen]
            for namespace in namespaces
        )
        labels = self._labels_anew(pod, plane, name) if anew else pod.labels
        for sidecar in local:
            if has_selector(sidecar) and matches(sidecar["spec"]["workloadSelector"].get("labels") or {}, labels):
                return sidecar
        return next((s for s in local + root if not has_selector(s)), None)

    def missing(self, pod: Pod, sidecar: Thing) -> list[str]:
        """The labels by which the Sidecar selects the pod, and which the template of its controller lacks."""
        made = self._made.get((pod.namespace, *pod.owner)) if pod.owner else None
        if made is None or not has_selector(sidecar):
            return []
        wanted = sidecar["spec"]["workloadSelector"].get("labels") or {}
        given = (*GIVEN_ANEW, *ROLLOUT_LABELS)
        return sorted(label for label, value in wanted.items() if label not in given and made.get(label) != value)

    def _labels_anew(self, pod: Pod | Template, plane: ControlPlane, name: str) -> dict[str, str]:
        """The labels of the pod that comes in the place of this one, injected by `plane`, whose revision is `name`.

        What its controller's template says counts, where that is recorded: anybody may have labelled the running pod. Of a pod of a DeploymentConfig,
        and of no other, `deployment` names the rollout. The label istio.io/rev is the injector's up to 1.10 and the user's after.
        """
        labels, made = pod.labels, self._made.get((pod.namespace, *pod.owner)) if pod.owner else None
        if made is not None:
            labels = {**{label: value for label, value in labels.items() if label in GIVEN_ANEW}, **made}
        of_config = "openshift.io/deployment-config.name" in pod.annotations or "deploymentconfig" in pod.labels
        of_rollout = (*ROLLOUT_LABELS, *(["deployment"] if of_config else []))
        kept = {
            label: value
            for label, value in labels.items()
            if label not in of_rollout and not _is_of_one_run(label, value)
        }
        if kept.pop("istio.io/rev", None) is None:
            return kept
        by_injector = plane.version is not None and plane.version < LABELLED_BY_USERS
        by_user = "istio.io/rev" in made if made is not None else not _is_labelled_by_injector(pod)
        return {**kept, "istio.io/rev": name} if by_injector or by_user else kept

    def _hidden_root(self, pod: Pod, plane: ControlPlane, unseen: t.Container[str]) -> str:
        """The root namespace, if its Sidecars could not be listed and one may be in effect for a pod for which none is known to be; else an empty text."""
        if not self._hidden or not has_sidecar(pod):
            return ""
        root = self._planes.root_namespace(plane)
        return root if root in self._hidden and root not in unseen else ""


RUN_LABELS = ("batch.kubernetes.io/controller-uid", "controller-uid")
"""Labels that name one run of a Job: pkg/apis/batch of Kubernetes."""

JOB_LABELS = ("batch.kubernetes.io/job-name", "job-name")
RUN_OF_A_CRON_JOB = re.compile(r".*-\d{8,10}", re.ASCII | re.DOTALL)
"""The name of a Job that a CronJob made: getJobName, pkg/controller/cronjob of Kubernetes."""

GIVEN_ANEW = frozenset(
    (
        "apps.kubernetes.io/pod-index",
        "batch.kubernetes.io/job-completion-index",
        "istio.io/rev",
        "maistra-version",
        "networking.istio.io/tunnel",
        "security.istio.io/tlsMode",
        "service.istio.io/canonical-name",
        "service.istio.io/canonical-revision",
        "statefulset.kubernetes.io/pod-name",
        "topology.kubernetes.io/region",
        "topology.kubernetes.io/zone",
        *JOB_LABELS,
        *RUN_LABELS,
    )
)
"""Labels that no template needs to have, because Kubernetes or the injector gives them to each pod again."""

LABELLED_BY_USERS = (1, 11)
"""From this version on no injector writes the label istio.io/rev: pkg/kube/inject/webhook.go@1.11.0."""


def _is_labelled_by_injector(pod: Pod | Template) -> bool:
    """Whether the label istio.io/rev may be the injector's."""
    version = proxy_version(pod, proxy_container(pod) or {})
    return not revision(pod).certain or (version is not None and version < LABELLED_BY_USERS)


def _is_of_one_run(label: str, value: str) -> bool:
    return label in RUN_LABELS or (label in JOB_LABELS and bool(RUN_OF_A_CRON_JOB.fullmatch(value)))


def age(thing: Thing) -> tuple[str, str]:
    """Istio's order of configuration: oldest first, ties by `name.namespace` (pkg/config/config.go, sortConfigByCreationTime)."""
    meta = thing["metadata"]
    return meta.get("creationTimestamp") or "", f"{meta['name']}.{meta['namespace']}"


def revision_of(sidecar: Thing | None) -> str | None:
    """The one revision that sees the Sidecar, None if all do."""
    return (sidecar["metadata"].get("labels") or {}).get("istio.io/rev") if sidecar else None


def has_selector(sidecar: Thing) -> bool:
    """An empty workloadSelector ranks as one that selects every pod: push_context.go@1.20.8."""
    return sidecar["spec"].get("workloadSelector") is not None


def ingress_entry(sidecar: Thing | None, port: int) -> dict[str, t.Any] | None:
    """The ingress listener for a target port: it is the pod's port, never the Service's (listener_inbound.go@1.20.8)."""
    listeners = sidecar["spec"].get("ingress") or () if sidecar else ()
    return next((i for i in listeners if i["port"].get("number") == port), None)
