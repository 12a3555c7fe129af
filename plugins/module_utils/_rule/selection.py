# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""Which pods a run is about: the same for everything that gathers, and for evaluate."""

from __future__ import annotations

import typing as t
from collections import defaultdict

from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.cluster import Cluster
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.pod import ISTIO_PORTS, has_sidecar
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.kube import Pod, PodKey, key
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.report import OutOfScope
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.snapshot import Metadata
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.exposure import Exposure, expose
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.kubelet_probes import at_risk
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.label_selector import label_matcher
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.workloads import Controllers, template_key


class Selection(t.NamedTuple):
    """Options that say which pods a run is about; names and meaning are the module's."""

    namespaces: tuple[str, ...] = ()
    exclude_namespaces: tuple[str, ...] = ()
    label_selectors: tuple[str, ...] = ()
    scope: str = "mesh"
    replicas: str = "all"


class Target(t.NamedTuple):
    """A pod that is checked: its exposed TCP ports, none where only its probes are at risk, and whose socket tables may speak for it."""

    pod: Pod
    exposures: tuple[Exposure, ...]
    readers: tuple[PodKey, ...]
    """The pods to ask, in this order, until one shows its table (see asked()): mostly the pod itself, alone."""
    istio_ports: tuple[Exposure, ...] = ()
    """On Istio's own ports, which `exposures` leaves out."""
    neighbours: tuple[PodKey, ...] = ()
    """The other hostNetwork pods of a hostNetwork pod's node: their tables show the same sockets, but their authors could make them up."""


class Targets(t.NamedTuple):
    targets: list[Target]
    skipped: list[OutOfScope]


def select(cluster: Cluster, selection: Selection) -> Targets:
    """The pods to check, sorted by namespace and name, and what was passed over and why.

    Those that Services expose, and those whose probes or hooks an upgrade may have fail, which need no Service for that.
    Raises SelectionError for a label selector that is none.
    """
    wanted = label_matcher(selection.label_selectors)
    exposures = expose(cluster.pods, cluster.registry, Controllers(cluster.controllers))
    at_risk_in = _AtRisk(cluster)
    chosen: dict[PodKey, tuple[Pod, tuple[Exposure, ...]]] = {}
    for pod in cluster.pods:
        ports = exposures.by_pod.get(pod.key) or ()
        if not ports and not (pod.key in exposures.standing and at_risk_in(pod)):
            continue
        if not in_namespaces(pod.namespace, selection) or not wanted(pod.labels):
            continue
        if selection.scope == "all" or has_sidecar(pod):
            chosen[pod.key] = (pod, ports)
    skipped = [entry for entry in exposures.skipped if in_namespaces(entry["namespace"], selection)]
    shares = _shares([pod for pod, _ports in chosen.values()], selection)
    targets = []
    for pod_key in sorted(chosen):
        pod, ports = chosen[pod_key]
        istio_ports = tuple(e for e in ports if e.port in ISTIO_PORTS) if has_sidecar(pod) else ()
        own = tuple(e for e in ports if e.port not in ISTIO_PORTS) if istio_ports else ports
        for e in istio_ports:
            reason = f"Target port {e.port} is one of Istio's own in a pod with a sidecar."
            skipped.append({"namespace": pod.namespace, "service": e.service, "port": e.service_port, "reason": reason})
        if own or at_risk_in(pod):
            several = shares.get(pod_key, (pod_key,))
            if pod.host_network:
                others = tuple(each for each in several if each != pod_key)
                targets.append(Target(pod, own, (pod_key,), istio_ports, others))
            else:
                targets.append(Target(pod, own, several, istio_ports))
    unique = {tuple(sorted(entry.items())): entry for entry in skipped}
    return Targets(targets, [unique[entry] for entry in sorted(unique)])


def _shares(pods: t.Iterable[Pod], selection: Selection) -> dict[PodKey, tuple[PodKey, ...]]:
    """Of each pod that shares its table, all pods that share it: those that are ready first."""
    alike: dict[t.Any, list[Pod]] = defaultdict(list)
    for pod in pods:
        shared = _shared_table(pod, selection)
        if shared:
            alike[shared].append(pod)
    found: dict[PodKey, tuple[PodKey, ...]] = {}
    for several in alike.values():
        keys = tuple(pod.key for pod in sorted(several, key=lambda pod: (not pod.is_ready, pod.key)))
        found.update(dict.fromkeys(keys, keys))
    return found


class _AtRisk:
    """Whether an upgrade may have a probe or hook of a pod fail, whatever Services expose."""

    def __init__(self, cluster: Cluster) -> None:
        self._localhost = any(plane.localhost_policy or plane.passthrough_off for plane in cluster.istio.planes)
        """Whether some injector has probes go to localhost, or will in another version."""
        self._listed: dict[str, set[int]] = defaultdict(set)
        """The ports that Sidecars list, by namespace; under the empty name those of Sidecars that may be for all."""
        for sidecar in cluster.sidecars:
            numbers = {entry["port"].get("number") for entry in sidecar["spec"].get("ingress") or ()}
            for name in (key(sidecar)[0], *([] if sidecar["spec"].get("workloadSelector") else [""])):
                self._listed[name].update(number for number in numbers if number)

    def __call__(self, pod: Pod) -> bool:
        always, if_listed, if_localhost = at_risk(pod)
        if not if_localhost:  # which holds all
            return False
        here = self._listed.get(pod.namespace, set()) | self._listed.get("", set())
        return bool(always or if_listed & here or self._localhost)


def asked(readers: t.Sequence[PodKey], read: t.Callable[[PodKey], bool | None]) -> t.Sequence[PodKey]:
    """Which of `readers` to ask by now, given which were `read` (None: not known yet).

    The first alone; while all that were asked could not be read, as many again and one: so a crowd that shows nothing costs few rounds, and
    one that shows something few commands. Both gathers ask here, so both make the same record.
    """
    number = 1
    while number < len(readers) and all(read(pod_key) is False for pod_key in readers[:number]):
        number += number + 1
    return readers[:number]


def why_not_covered(cluster: Cluster, selection: Selection, checked: int) -> str | None:
    """Why what is known of the cluster does not show what the selection asks for, if so; then nothing may pass by it, whoever gathered.

    `checked` is how many pods the selection leaves.
    """
    both = sorted(set(selection.namespaces) & set(selection.exclude_namespaces))
    if both:
        return f"namespaces: {both[0]!r} is also in exclude_namespaces, so it would not be checked"
    services = cluster.registry.services
    hidden = {entry["resource"]: entry.get("detail") or "no reason given" for entry in cluster.unlisted}
    if not cluster.registry.slices_recorded:
        hidden.setdefault("endpointslices", "the record holds no EndpointSlices")
    there = {pod.namespace for pod in cluster.pods} | {service.namespace for service in services}
    only = cluster.recorded_namespaces
    if only is not None and not set(selection.namespaces or ("",)) <= set(only):
        several = len(only) != 1
        return (
            f"namespaces: of this cluster namespace{'s' if several else ''} {' and '.join(only) or 'none'} alone "
            f"{'were' if several else 'was'} recorded; name {'them' if several else 'it'}, or record all of it"
        )
    for namespace in selection.namespaces:
        if namespace not in there and namespace not in cluster.empty_namespaces:
            why = (
                f", and it could not be asked whether it exists: {hidden['namespaces']}"
                if "namespaces" in hidden
                else ""
            )
            return f"namespaces: there is no Pod and no Service in a namespace {namespace!r}{why}"
    if not services and not selection.namespaces:  # every cluster has the Service of its API server
        return f"{'' if there else 'no Pod and '}no Service of the whole cluster is to be seen"
    wanted = label_matcher(selection.label_selectors)
    if selection.label_selectors and not any(
        wanted(pod.labels) for pod in cluster.pods if in_namespaces(pod.namespace, selection)
    ):
        return f"label_selectors: no pod matches {', '.join(selection.label_selectors)}"
    if "endpointslices" in hidden:
        for service in services:
            if (
                service.by_slices
                and service.key != API_SERVER
                and in_namespaces(service.namespace, selection)
                and service.has_tcp
            ):
                which = f"{service.namespace}/{service.name}"
                return f"the pods of Service {which}, which has no selector, are not known: {hidden['endpointslices']}"
    return None if checked else _nothing_left(cluster, selection)


def _nothing_left(cluster: Cluster, selection: Selection) -> str | None:
    """Why nothing at all would be checked, where that is the doing of options that only take away."""
    given = [name for name in ("exclude_namespaces", "label_selectors") if getattr(selection, name)]
    if not given:
        return None
    whole = select(cluster, selection._replace(exclude_namespaces=(), label_selectors=())).targets
    pods = f"all {len(whole)} pods" if len(whole) > 1 else "the one pod"
    return (
        f"{' and '.join(given)}: nothing is left to check, {pods} with exposed ports being left out" if whole else None
    )


def recorded_part(selection: Selection) -> Metadata:
    """What the metadata of a snapshot says of the namespaces that it is limited to: in all others nobody looked."""
    return {"namespaces": sorted(set(selection.namespaces))} if selection.namespaces else {}


API_SERVER = ("default", "kubernetes")
"""A Service that every cluster has, without a selector; it leads to no pod that a sidecar may be in."""


def _shared_table(pod: Pod, selection: Selection) -> t.Any:
    """What the pods that share a socket table have in common: hostNetwork pods their node; with `replicas: one`, so we assume, others their template."""
    if not pod.is_running:
        return None
    if pod.host_network and pod.node:
        return "node", pod.node
    return template_key(pod) if selection.replicas == "one" else None


def in_namespaces(namespace: str, selection: Selection) -> bool:
    return (
        not selection.namespaces or namespace in selection.namespaces
    ) and namespace not in selection.exclude_namespaces
