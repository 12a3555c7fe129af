# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""Remediation plans: the Sidecar that keeps a workload's localhost ports reachable and changes nothing else.

A Sidecar's ingress is all or nothing and Sidecars are not merged, so a plan lists every TCP target port of the workload, and
carries over or edits the Sidecar that is effective today. Where one resource cannot do that rightly there is no manifest, and the reason
why. Citations are `path@tag` in istio/istio.
"""

from __future__ import annotations

import copy
import hashlib
import re
import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.sidecars import has_selector
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.istio_values import Version
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.kube import Thing, matches
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.text import is_printable
from ansible_collections.meshops.istio_precheck.plugins.module_utils._remedy.chosen_endpoint import (
    POD_IP,
    PodPort,
    Port,
    accepted,
    as_field,
    cure,
    keep,
    switched_off,
    why_not,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._remedy.protocol import protocol
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.workloads import Workload

Labels = dict[str, str]

GROUP = "networking.istio.io"
API_VERSIONS = ("v1beta1", "v1", "v1alpha3")
"""The first that is served counts. v1beta1 is, by every Istio from 1.5 on (manifests/charts/base/crds/crd-all.gen.yaml@1.5.0 to HEAD of 2026-08)."""

MOST_PORTS = 1000
"""Ports of a workload for which a Sidecar is planned; of many more the API server would not take it, and a plan weighs each against all listeners."""

EGRESS_NEEDED_BEFORE: Version = (1, 9)
"""Up to 1.8 validation takes no Sidecar without egress: ValidateSidecar, validation.go@1.8.6; gone in 1.9.0."""
EVERYTHING: list[Thing] = [{"hosts": ["*/*"]}]
"""What no egress means: DefaultSidecarScopeForNamespace and ConvertToSidecarScope, sidecar.go@1.8.6, 1.20.8."""

ENDPOINT_NEEDED_BEFORE: Version = (1, 10)
"""Up to 1.9 each ingress entry needs a defaultEndpoint: validation.go@1.9.9, 1.10.0."""

ONE_NAMESPACE_BEFORE: Version = (1, 24)
"""With any Sidecar the Services and ServiceEntries of a host are those of one namespace, without one they are all: sidecar.go@1.9.9, 1.20.8; release note
sidecar-scope-unit of 1.24.0."""

CUTS = (
    "Applying it, or taking it away, may cut open connections to the listed ports, once the proxy has drained its old listeners "
    "(45 seconds, unless the mesh says otherwise): choose a quiet time."
)

NOT_ASKED_FOR = (
    "A Sidecar would open it to all who may call the pod, as connections from 127.0.0.1, an address that many programs trust; "
    "it is planned with remediate_unreachable alone."
)
OPENS = (
    "It opens {}, closed today, to all who may call the pod, and the program sees connections from 127.0.0.1, an address that many programs trust: "
    "take it out of the Service instead where nobody is meant to reach it."
)

CARRIES_OVER = "precheck.meshops.io/carries-over"
"""An annotation of a new Sidecar: NAMESPACE/NAME@RESOURCEVERSION of the default whose settings it holds."""


class Neighbour(t.NamedTuple):
    """Pods of the namespace that a Sidecar may select, all of one template; those of the workload itself are among them."""

    workload: Workload
    pods: t.Sequence[str]
    labels: t.Mapping[str, str]


class WorkloadFacts(t.NamedTuple):
    """What a plan is made from."""

    workload: Workload
    ports: t.Sequence[Port]
    istio_ports: t.Sequence[PodPort]
    """Istio's own ports, as far as Services expose them."""
    effective: t.Sequence[Thing | None]
    """The Sidecars that are in effect for the workload's pods, before and after the upgrade. One, if all is well."""
    hidden_root: str
    """The root namespace, where its Sidecars could not be listed and one of them may be in effect."""
    without_sidecars: str
    """Why a Sidecar in the namespace has no effect, or may have none, if so."""
    selectors: t.Sequence[Labels]
    """Labels to select the pods by, the best first."""
    neighbours: t.Sequence[Neighbour]
    dormant: t.Sequence[tuple[Workload, Labels]]
    """What the namespace's other controllers without pods select theirs by."""
    sidecars: t.Sequence[Thing]
    """Those of the namespace."""
    versions: t.Sequence[Version | None]
    """Of every istiod that may see the Sidecar."""
    today: Version | None
    api_version: str
    opens_closed: bool = False
    """Whether a Sidecar may open a port that is closed today."""
    with_others: tuple[Workload, ...] = ()
    """Workloads that are to have the same Sidecar: `ports` and the rest are theirs, too."""
    split_hosts: t.Sequence[str] = ()
    """Hosts whose ports are those of several namespaces, each with these in words."""

    @property
    def own(self) -> tuple[Workload, ...]:
        return (self.workload, *self.with_others)


class Plan(t.NamedTuple):
    """`cures` are the ports that the manifest cures, `refused` says for each other one with a finding why it does not.

    `made_from` is `{namespace, name, resourceVersion}` of the Sidecar that the manifest edits or whose settings it carries over.
    """

    action: str
    manifest: Thing | None
    cures: frozenset[int]
    refused: dict[int, str]
    notes: list[str]
    made_from: dict[str, str] | None = None


class _Obstacle(Exception):
    """Why there is no manifest although a Sidecar would cure."""


def plan(facts: WorkloadFacts) -> Plan:
    """The plan for one workload with findings."""
    effective = facts.effective[0] if facts.effective else None
    action = "update" if effective and has_selector(effective) else "create"
    if len(facts.ports) > MOST_PORTS:
        many = f"Services expose {len(facts.ports)} ports of the workload: no Sidecar is planned for more than {MOST_PORTS}."
        return Plan(action, None, frozenset(), {port.number: many for port in facts.ports if port.finding}, [])
    endpoints = {port.number: cure(port, facts.versions) for port in facts.ports if port.finding}
    refused = {
        port.number: why_not(port, facts.versions)
        for port in facts.ports
        if port.finding and endpoints[port.number] is None
    }
    cures = {number: endpoint for number, endpoint in endpoints.items() if endpoint is not None}
    closed = {port.number for port in facts.ports if port.closed and port.number in cures}
    if not facts.opens_closed:
        refused.update(dict.fromkeys(closed, NOT_ASKED_FOR))
        cures = {number: endpoint for number, endpoint in cures.items() if number not in closed}
    if not cures:
        return Plan(action, None, frozenset(), refused, [])
    try:
        if facts.without_sidecars:
            raise _Obstacle(facts.without_sidecars)
        manifest, notes = (
            _update(facts, effective, cures) if effective and action == "update" else _create(facts, effective, cures)
        )
        if not is_printable(manifest):
            where = f"Sidecar {_name(effective)}" if effective else "the labels of its pods"
            raise _Obstacle(f"A Sidecar would hold characters that a terminal obeys: take them out of {where} first.")
    except _Obstacle as obstacle:
        return Plan(action, None, frozenset(), {**refused, **dict.fromkeys(cures, str(obstacle))}, [])
    return Plan(
        action,
        manifest,
        frozenset(cures),
        refused,
        [
            *_together(facts),
            *notes,
            *_listed(facts, effective, cures),
            *_opened([port for port in facts.ports if port.number in cures]),
            CUTS,
        ],
        _reference(effective) if effective else None,
    )


def api_version(served: t.Sequence[str], asked_for: str | None) -> str:
    """The apiVersion of the manifests: what the user asks for, else v1beta1 unless the cluster serves others only."""
    return f"{GROUP}/{asked_for or next((version for version in API_VERSIONS if version in served), API_VERSIONS[0])}"


def name_of(workload: Workload) -> str:
    """A legal name, the same at every run and no other workload's: an RFC 1123 subdomain of at most 253 characters."""
    plain = f"precheck-{workload.kind.lower()}-{workload.name}"
    labels = [part.strip("-") for part in re.sub(r"[^a-z0-9.-]", "-", plain.lower()).split(".")]
    name = ".".join(part[:63].rstrip("-") for part in labels if part)
    if name == plain and len(name) <= 253:
        return name
    return f"{name[:240].rstrip('.-')}-{hashlib.sha256(plain.encode('utf-8', 'replace')).hexdigest()[:12]}"


def _reference(sidecar: Thing) -> dict[str, str]:
    return {
        key: sidecar["metadata"][key]
        for key in ("namespace", "name", "resourceVersion")
        if sidecar["metadata"].get(key)
    }


# ---------------------------------------------------------------------------------------------------------------------
# The two actions


def _update(facts: WorkloadFacts, sidecar: Thing, cures: dict[int, str]) -> tuple[Thing, list[str]]:
    """The Sidecar that selects the pods today, edited: a second one for them would have no effect."""
    where = _name(sidecar)
    _one_effective(facts)
    _check_ports(facts)
    selector = sidecar["spec"]["workloadSelector"].get("labels") or {}
    misfit = _misfit(facts, selector, f"Sidecar {where}, which would have to be edited,")
    if misfit:
        raise _Obstacle(misfit)
    meta: Thing = {"name": sidecar["metadata"]["name"], "namespace": facts.workload.namespace}
    if sidecar["metadata"].get("resourceVersion"):
        meta["resourceVersion"] = sidecar["metadata"][
            "resourceVersion"
        ]  # the API server then refuses to edit any other version
    if sidecar["metadata"].get(
        "labels"
    ):  # where the file is applied with kubectl, a label that it lacks is taken away, istio.io/rev for one
        meta["labels"] = dict(sorted(sidecar["metadata"]["labels"].items()))
    ingress, filled = _ingress(facts, sidecar, cures)
    egress = _egress(facts, sidecar["spec"])
    spec = {**copy.deepcopy(sidecar["spec"]), **egress, "ingress": ingress}
    notes = [
        f"It edits Sidecar {where}, which selects these pods: a second one for them would have no effect. "
        f"Only its ingress {'and its egress change' if egress else 'changes'}.",
        *filled,
        *_egress_note(egress),
    ]
    return _manifest(facts, meta, spec), notes + _rivals(facts, sidecar) + _dormant(facts, selector)


def _create(facts: WorkloadFacts, default: Thing | None, cures: dict[int, str]) -> tuple[Thing, list[str]]:
    """A new Sidecar with everything of the default that it replaces; Istio inherits nothing (sidecar.go@1.20.8), whatever the reference says."""
    if facts.hidden_root:
        raise _Obstacle(
            f"The Sidecars of {facts.hidden_root} could not be listed: one of them may be for all namespaces, and a new Sidecar has to carry it over."
        )
    _one_effective(facts)
    _check_ports(facts)
    beyond = _unexposed(facts, facts.selectors[0]) if facts.selectors else None
    if beyond:  # a narrower selector would not last: the labels of the next pods are those of the first
        raise _Obstacle(f"{beyond}: a Sidecar for the workload would change it.")
    meta: dict[str, t.Any] = {"name": name_of(facts.workload), "namespace": facts.workload.namespace}
    if any(s["metadata"]["name"] == meta["name"] for s in facts.sidecars):
        raise _Obstacle(
            f"A Sidecar named {meta['name']} exists and is not the one in effect: remove or rename it first."
        )
    misfits = [_misfit(facts, labels, f"The selector {_labels(labels)}") for labels in facts.selectors]
    if all(misfits):
        raise _Obstacle(misfits[0] or "" if misfits else "No labels are known that select this workload's pods alone.")
    selector = facts.selectors[misfits.index(None)]
    carried = {
        field: copy.deepcopy(value)
        for field, value in ((default or {}).get("spec") or {}).items()
        if field not in ("workloadSelector", "ingress")
    }
    notes = []
    if default:
        what = (
            _and([*sorted(carried), *(["ingress"] if default["spec"].get("ingress") else [])])
            or "nothing, as that says nothing else,"
        )
        notes = [
            f"For these pods it replaces Sidecar {_name(default)} and carries over {what} from it; later changes there do not reach them."
        ]
        if default["metadata"].get("resourceVersion"):
            meta["annotations"] = {CARRIES_OVER: f"{_name(default)}@{default['metadata']['resourceVersion']}"}
    ingress, filled = _ingress(facts, default, cures)
    egress = _egress(facts, carried)
    spec = {
        "workloadSelector": {"labels": dict(sorted(selector.items()))},
        **carried,
        **egress,
        "ingress": ingress,
    }
    notes += [*filled, *_egress_note(egress), *([] if default else _split(facts))]
    return _manifest(facts, meta, spec), notes + _rivals(facts, None) + _dormant(facts, selector)


def _manifest(facts: WorkloadFacts, metadata: Thing, spec: Thing) -> Thing:
    return {"apiVersion": facts.api_version, "kind": "Sidecar", "metadata": metadata, "spec": spec}


# ---------------------------------------------------------------------------------------------------------------------
# Obstacles


def _one_effective(facts: WorkloadFacts) -> None:
    names = sorted({_name(sidecar) if sidecar else "none" for sidecar in facts.effective})
    if len(names) > 1:
        raise _Obstacle(
            f"Not the same Sidecar is in effect for all pods of the workload, before and after the upgrade: {_some(names)}."
        )


def _check_ports(facts: WorkloadFacts) -> None:
    """Raises _Obstacle where one list of ports does not fit all pods."""
    exposed = {seen.name for port in facts.ports for seen in port.seen}
    meant: dict[tuple[str, str, int, str], set[int]] = {}
    for port in facts.ports:
        for seen in port.seen:
            for e in seen.exposures:
                meant.setdefault((e.kind, e.service, e.service_port, e.port_name), set()).add(port.number)
    for (kind, service, number, _port_name), targets in sorted(meant.items()):  # noqa: B007
        if len(targets) > 1:
            raise _Obstacle(
                f"Port {number} of {kind} {service} is port {_some(sorted(map(str, targets)))}, depending on the pod: no Sidecar fits all of them."
            )
    for port in facts.ports:
        having = sorted(seen.name for seen in port.seen)
        if set(having) != exposed:
            services = sorted({e.service for seen in port.seen for e in seen.exposures})
            raise _Obstacle(
                f"Service {_some(services)} exposes port {port.number} on {_some(having)} only: one Sidecar for all pods would change the others."
            )


def caught(facts: WorkloadFacts, selector: Labels) -> set[Workload]:
    """The other workloads whose pods the selector matches."""
    return {n.workload for n in facts.neighbours if n.workload not in facts.own and matches(selector, n.labels)}


def _unexposed(facts: WorkloadFacts, selector: Labels) -> str | None:
    """Pods of the workload that the selector matches and no Service exposes.

    Nobody has read them, and the endpoint of a listed port is theirs, too: it may open what is closed in them.
    """
    exposed = {seen.name for port in facts.ports for seen in port.seen}
    own = (n for n in facts.neighbours if n.workload in facts.own and matches(selector, n.labels))
    beyond = sorted(name for each in own for name in each.pods if name not in exposed)
    return f"No Service exposes {_some(beyond)} of the same workload" if beyond else None


def _misfit(facts: WorkloadFacts, selector: Labels, what: str) -> str | None:
    """Why the selector does not fit the workload, by the pods it would really match."""
    own = {seen.name for port in facts.ports for seen in port.seen}
    others = sorted(f"{w.kind} {w.name}" for w in caught(facts, selector))
    if others:
        return f"{what} also selects pods of other workloads: {_some(others)}."
    left_out = (n.pods for n in facts.neighbours if not matches(selector, n.labels))
    missed = sorted(name for pods in left_out for name in pods if name in own)
    if missed:
        return f"{what} does not select all of the workload's pods: not {_some(missed)}."
    beyond = _unexposed(facts, selector)
    return f"{what} also selects pods that nobody asks: {beyond}." if beyond else None


# ---------------------------------------------------------------------------------------------------------------------
# The ingress


def _ingress(facts: WorkloadFacts, effective: Thing | None, cures: dict[int, str]) -> tuple[list[Thing], list[str]]:
    """The listeners of the effective Sidecar, those of cured ports pointed at what listens, then the ports it does not list. And notes.

    Raises _Obstacle for a port that no form of endpoint would leave as it is.
    """
    listed: dict[t.Any, Thing] = {}
    for listener in copy.deepcopy((effective or {}).get("spec", {}).get("ingress") or []):
        # Without a number it is no port of the pod. Of two with the same, which validation refuses, the first is in effect.
        listed.setdefault(listener["port"].get("number") or id(listener), listener)
    for port in facts.ports:
        if port.number in cures:
            listener = listed.setdefault(port.number, {"port": _port(facts, port)})
            for field in ("defaultEndpoint", *_hindrances(listener, facts.versions)):
                listener.pop(field, None)
            if (listener["port"].get("protocol") or "").upper() == "UDP":
                listener["port"] = _port(facts, port)
            listener.update(as_field(cures[port.number]))
        elif port.number not in listed:
            endpoint = keep(port, facts.versions)
            if endpoint is None:
                on = sorted({text for seen in port.listening() for text in port.texts(seen)})
                raise _Obstacle(
                    f"Port {port.number}, which a Sidecar would have to list too, listens on {_some(on)}: no defaultEndpoint leaves it as it is."
                )
            listed[port.number] = {"port": _port(facts, port), **as_field(endpoint)}
    filled = _fill(facts, listed.values())
    return list(listed.values()), filled


def _fill(facts: WorkloadFacts, listeners: t.Iterable[Thing]) -> list[str]:
    """Gives a defaultEndpoint to entries of the effective Sidecar without one, where an istiod in play needs it. Raises _Obstacle where none will do."""
    if not _any_before(facts, ENDPOINT_NEEDED_BEFORE):
        return []
    ports = {port.number: port for port in facts.ports}
    notes = []
    for listener in listeners:
        number = listener["port"].get("number")
        if not number or listener.get("defaultEndpoint"):
            continue
        plain = f"{POD_IP}:{number}" if accepted(POD_IP, facts.versions) else None
        endpoint = keep(ports[number], facts.versions) if number in ports else plain
        if not endpoint:
            raise _Obstacle(
                f"Port {number} has no defaultEndpoint in the Sidecar in effect, which an istiod up to 1.9 needs, and none leaves the port as it is."
            )
        listener["defaultEndpoint"] = endpoint
        notes.append(f"Port {number} gets defaultEndpoint {endpoint}: an istiod up to 1.9 takes no entry without one.")
    return notes


def _any_before(facts: WorkloadFacts, version: Version) -> bool:
    """Whether an istiod in play is older. One of unknown version is not taken for that old."""
    return any(each is not None and each < version for each in facts.versions)


def _egress(facts: WorkloadFacts, spec: Thing) -> Thing:
    """The egress that an old istiod needs, and that says what none does."""
    needed = not spec.get("egress") and _any_before(facts, EGRESS_NEEDED_BEFORE)
    return {"egress": copy.deepcopy(EVERYTHING)} if needed else {}


def _hindrances(listener: Thing, versions: t.Iterable[Version | None]) -> list[str]:
    """What an ingress entry has beside its endpoint that keeps connections to an intercepted pod from it: see _mesh.own_listener."""
    itself = listener.get("captureMode") == "NONE"
    binds = listener.get("bind") and (itself or any(version and version < (1, 11) for version in versions))
    return [*(["bind"] if binds else []), *(["captureMode"] if itself else [])]


def _port(facts: WorkloadFacts, port: Port) -> Thing:
    """Number, name and protocol as the first Service in Istio's order gives them.

    A name has nothing to do with the protocol here, and only a legal one is kept: ValidatePortName, validation.go@1.20.8.
    """
    first = min((e for seen in port.seen for e in seen.exposures), key=lambda e: (e.rank, e.service_port, e.port_name))
    spec: Thing = {"number": port.number}
    taken_for = protocol(first, facts.today)
    if taken_for:
        spec["protocol"] = taken_for
    if re.fullmatch(r"[a-zA-Z0-9]([-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?", first.port_name):
        spec["name"] = first.port_name
    return spec


# ---------------------------------------------------------------------------------------------------------------------
# Notes


def _listed(facts: WorkloadFacts, effective: Thing | None, cures: dict[int, str]) -> list[str]:
    notes = []
    there = {listener["port"].get("number") for listener in (effective or {}).get("spec", {}).get("ingress") or ()}
    others = [str(port.number) for port in facts.ports if port.number not in cures and port.number not in there]
    if others:
        many = len(others) > 1
        what, are, they = ("Ports", "are", "they are") if many else ("Port", "is", "it is")
        notes.append(
            f"{what} {_and(others)} {are} listed as {they} delivered today, because a Sidecar switches off what it does not list."
        )
    for listener in (effective or {}).get("spec", {}).get("ingress") or ():
        taken = [f"{field}: {listener[field]}" for field in _hindrances(listener, facts.versions)]
        if taken and listener["port"].get("number") in cures:
            notes.append(
                f"It takes {_and(taken)} from the entry of port {listener['port']['number']}, by which connections go past it."
            )
    notes += [f"Nothing was seen to listen on port {port.number}." for port in facts.ports if not port.listening()]
    for number, service in sorted(
        {(e.port, f"{e.kind} {e.service}") for seen in facts.istio_ports if switched_off(seen) for e in seen.exposures}
    ):
        if number not in there:
            notes.append(
                f"Port {number}, which {service} exposes, is Istio's own and not listed: "
                "with a Sidecar it is passed through to the pod IP at once, and no longer to localhost."
            )
    unread = sorted({seen.name for port in facts.ports for seen in port.seen if seen.listeners is None})
    if unread:
        notes.append(f"Not read, and supposed to listen like the others: {_some(unread)}.")
    return notes


def _egress_note(egress: Thing) -> list[str]:
    return (
        ["It has egress to */*, which is what none means: an istiod up to 1.8 takes no Sidecar without."]
        if egress
        else []
    )


def _split(facts: WorkloadFacts) -> list[str]:
    """What the first Sidecar for the pods does to calls that they make."""
    if not facts.split_hosts or not any(
        version is None or version < ONE_NAMESPACE_BEFORE for version in facts.versions
    ):
        return []
    return [
        "It is the first Sidecar for these pods, and with one an istiod before 1.24 takes the ports of a host from one namespace alone, so that their calls "
        f"to the others may fail: {'; '.join(facts.split_hosts[:3])}{f'; and {len(facts.split_hosts) - 3} more hosts' if len(facts.split_hosts) > 3 else ''}."
    ]


def _together(facts: WorkloadFacts) -> list[str]:
    return (
        [
            f"It is for {_and([f'{w.kind} {w.name}' for w in facts.own])} together: they need the same, and one selector is theirs."
        ]
        if facts.with_others
        else []
    )


def _opened(cured: t.Sequence[Port]) -> list[str]:
    """What it opens: whole ports first, then those that are closed in some of the pods alone."""
    closed = [str(port.number) for port in cured if port.closed]
    whole = [f"port{'s' if len(closed) > 1 else ''} {_and(closed)}"] if closed else []
    in_some = [(port.number, port.closed_in()) for port in cured if not port.closed]
    return [
        OPENS.format(what)
        for what in (*whole, *(f"port {number} of {_some(pods)}" for number, pods in in_some if pods))
    ]


def _rivals(facts: WorkloadFacts, chosen: Thing | None) -> list[str]:
    """Other Sidecars that select pods of the workload: younger than the one in effect, or labelled with a revision that does not serve them."""
    notes = []
    for sidecar in facts.sidecars:
        selector = sidecar["spec"]["workloadSelector"].get("labels") or {} if has_selector(sidecar) else None
        if (
            sidecar is chosen
            or selector is None
            or not any(n.workload in facts.own and matches(selector, n.labels) for n in facts.neighbours)
        ):
            continue
        revision = (sidecar["metadata"].get("labels") or {}).get("istio.io/rev")
        why = (
            f"for revision {revision} only"
            if revision
            else "but is younger and so without effect (Istio's message IST0110)"
        )
        notes.append(f"Sidecar {_name(sidecar)} selects pods of the workload too, {why}.")
    return sorted(notes)


def _dormant(facts: WorkloadFacts, selector: Labels) -> list[str]:
    caught = sorted({f"{w.kind} {w.name}" for w, labels in facts.dormant if matches(selector, labels)})
    return [f"It would also select pods of {_some(caught)}, which has none now."] if caught else []


def _name(thing: Thing) -> str:
    return f"{thing['metadata']['namespace']}/{thing['metadata']['name']}"


def _labels(labels: Labels) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))


def _and(names: t.Sequence[str]) -> str:
    return " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)


def _some(names: t.Sequence[str]) -> str:
    return _and([*names[:3], *([f"{len(names) - 3} more"] if len(names) > 3 else [])])
