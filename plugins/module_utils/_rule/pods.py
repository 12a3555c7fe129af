# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""One pod: each of its ports judged, by one table."""

from __future__ import annotations

import re
import typing as t
from collections import defaultdict

from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.cluster import Cluster
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.control_plane import (
    ControlPlane,
    ControlPlanes,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.delivery import (
    Delivery,
    delivery,
    disputed,
    of_cases,
    under_hidden_default,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.hops import Stretch, stretches
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.istio_version import STATED
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.own_listener import Own
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.pod import proxy_container, proxy_version
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.proxies import Proxies
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.sidecars import (
    Case,
    Sidecars,
    ingress_entry,
    revision_of,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.targets import ALWAYS_ASKED, asked
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.istio_values import Version, dotted
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.kube import (
    PerTemplate,
    Pod,
    Thing,
    family_of,
    key,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.exposure import Exposure
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.judge import (
    Verdict,
    answers,
    is_local,
    judge,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.kubelet_probes import (
    Failing,
    Quiet,
    failing_probes,
    probed_ports,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.on_the_way import (
    Passage,
    broken,
    with_those_on_the_way,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.selection import Target
from ansible_collections.meshops.istio_precheck.plugins.module_utils._sockets.lookup import is_loopback, is_wildcard
from ansible_collections.meshops.istio_precheck.plugins.module_utils._sockets.parse import Listener, SocketTable
from ansible_collections.meshops.istio_precheck.plugins.module_utils._sockets.tables import Holder


class JudgedPort(t.NamedTuple):
    """One port of a pod, exposed or asked by a probe, judged."""

    port: int
    verdict: Verdict
    today: Delivery
    after: Delivery
    probes: tuple[Failing, ...]
    asked: tuple[str, ...]
    """What listens on the port itself, where a probe of it fails."""
    judged_by: str | None
    """The pod whose table speaks for this one, if it is another."""
    processes: frozenset[tuple[str, str, str]] = frozenset()
    """(listener, container, process) of who listens on localhost, as far as that is known; the container is empty where it is none of the pod's."""
    between: tuple[Passage, ...] = ()
    """Where it is not reached on the way to the target version, if it is there."""


class JudgedPod:
    """What is said of the ports of a pod, and of all that are like it: these have one and the same."""

    __slots__ = ("ports",)

    def __init__(self, ports: t.Iterable[JudgedPort]) -> None:
        self.ports = tuple(ports)


ORDINARY = re.compile(r"(?!127\.|0\.0\.0\.0\Z)[0-9.]+\Z|[1-9A-Fa-f][0-9A-Fa-f]{3}:")
"""Addresses that no listener takes for its own unless it is bound to them: neither localhost, nor unspecified, nor one family inside the other."""


def is_bound(listeners: t.Iterable[Listener]) -> bool:
    """Whether one of them takes connections to an address of its own alone."""
    return any(not is_loopback(each.address) and not is_wildcard(each.address) for each in listeners)


def deciding(ips: t.Iterable[str], bound: bool) -> tuple[str, ...]:
    """What of its addresses decides who answers in a pod: their families, where none of its listeners is `bound` to one of its own."""
    return tuple(ip if bound or not ORDINARY.match(ip) else family_of(ip) for ip in ips)


LEFT_OUT = (
    "The discoverySelectors of {plane} leave namespace {namespace} out, so it sees no Sidecar there: "
    "label the namespace so that they select it, then check again, or change the bind."
)
PERHAPS_LEFT_OUT = (
    "It is not known whether the discoverySelectors of {plane} leave namespace {namespace} out: "
    "if they do, it may see no Sidecar there."
)
PERHAPS_UNSEEN = (
    "The discoverySelectors of {plane} leave namespace {namespace} out, and it is not known whether it sees Sidecars there: "
    "the value of ENABLE_ENHANCED_RESOURCE_SCOPING was not seen."
)
UNSURE = (
    "It is not known whether discoverySelectors select namespaces as these: {}. "
    "So it is not known either whether Sidecars, the policy LOCALHOST and the opt-out have an effect there."
)
MISSING = (
    "Sidecar {sidecar} selects pods by {labels}, which the template of {templates} does not give them. "
    "Whatever does may not do so again, so the Sidecar does not count for the pods after the upgrade: put {labels} into the template."
)
NAMED = 3
"""Namespaces, or templates, that a hint names."""


class Mesh:
    """What istiod does with a pod, before and after the upgrade; most of it is the same for all replicas, and found out once."""

    def __init__(
        self,
        cluster: Cluster,
        upgraded_to: Version | None,
        current: Version | None = None,
        delivery_source: str = "auto",
    ) -> None:
        self.proxies = Proxies(cluster.proxy_configs, delivery_source)
        self._target = upgraded_to
        self._current = current
        self._planes = ControlPlanes(cluster.istio, current)
        self._serving: list[ControlPlane] = []
        self._sidecars = Sidecars(cluster, self._planes)
        self.planes: t.Callable[[Pod], tuple[ControlPlane, ControlPlane]] = PerTemplate(self._planes_of)
        self._cases: t.Callable[[Pod], tuple[tuple[Case, ...], tuple[Case, ...]]] = PerTemplate(self._cases_of)
        self._unvouched: t.Callable[[Pod], tuple[tuple[ControlPlane, tuple[Case, ...]], ...]] = PerTemplate(
            self._unvouched_of
        )
        self.sidecars: t.Callable[[Pod], tuple[Thing | None, Thing | None]] = PerTemplate(self._sidecars_of)
        self._named = PerTemplate(self._named_by_a_sidecar)
        self._deliveries = PerTemplate(self._deliveries_of)
        self.stretches: t.Callable[[Pod], tuple[Stretch, ...]] = PerTemplate(self._stretches_of)
        self._ways: dict[tuple[ControlPlane, ControlPlane], tuple[Stretch, ...]] = {}
        self._on_the_way = PerTemplate(self._on_the_way_of)
        self.probes: t.Callable[[Pod, int, str | None, bool, bool | None, Quiet | None, bool], tuple[Failing, ...]] = (
            PerTemplate(self._probes_of)
        )
        self._names_any = PerTemplate(self._any_named_by_a_sidecar)
        self._verdicts: dict[t.Any, Verdict] = {}
        self._judged: dict[t.Any, JudgedPod] = {}
        self._bound: dict[SocketTable, bool] = {}
        self._labelled: set[tuple[str, str]] = set()
        """Sidecars in effect after an upgrade in place, and the one revision that sees them."""
        self._missing: dict[tuple[str, tuple[str, ...]], set[str]] = defaultdict(set)
        """Sidecars in effect today and labels by which they select, with the templates that lack these."""
        self._unsure: set[str] = set()
        """Namespaces of which it is not known, and matters, whether a control plane discovers them."""

    @property
    def all(self) -> t.Sequence[ControlPlane]:
        return self._planes.all

    def _planes_of(self, pod: Pod) -> tuple[ControlPlane, ControlPlane]:
        today = self._planes.today(pod)
        if today not in self._serving:
            self._serving.append(today)
        return today, self._planes.after(pod, self._target)

    def _cases_of(self, pod: Pod) -> tuple[tuple[Case, ...], tuple[Case, ...]]:
        today, after = self.planes(pod)
        return self._sidecars.cases(pod, today), self._sidecars.cases(pod, after, anew=True)

    def _unvouched_of(self, pod: Pod) -> tuple[tuple[ControlPlane, tuple[Case, ...]], ...]:
        others = self._planes.unvouched(pod, self._target)
        return tuple((plane, self._sidecars.cases(pod, plane, anew=True)) for plane in others)

    def sidecars_elsewhere(self, pod: Pod) -> list[Thing | None]:
        """The Sidecars that are in effect by control planes for which nobody vouches."""
        return [cases[0].sidecar for _plane, cases in self._unvouched(pod)]

    def _sidecars_of(self, pod: Pod) -> tuple[Thing | None, Thing | None]:
        _today, after = self.planes(pod)
        today_cases, after_cases = self._cases(pod)
        effective = today_cases[0].sidecar, after_cases[0].sidecar
        if effective[0] and effective[0] is not effective[1] and pod.owner:
            labels = self._sidecars.missing(pod, effective[0])
            if labels:
                kind, name = pod.owner
                self._missing["/".join(key(effective[0])), tuple(labels)].add(f"{kind} {pod.namespace}/{name}")
        bound_to = revision_of(effective[1])
        if effective[1] and bound_to and after not in self._planes.all:
            self._labelled.add(("/".join(key(effective[1])), bound_to))
        return effective

    def asked(self, entry: Target) -> Target:
        """The pod without the ports that clients ask for neither today nor after the upgrade, as istiod tells them."""
        versions = [plane.version for plane in self.planes(entry.pod)]
        if all(e.how in ALWAYS_ASKED for e in entry.exposures):
            return entry
        exposures = tuple(e for e in entry.exposures if any(asked(e.how, version) for version in versions))
        return entry._replace(exposures=exposures) if len(exposures) < len(entry.exposures) else entry

    def judged(self, entry: Target, table: SocketTable, by: Pod, holders: t.Sequence[Holder]) -> JudgedPod:
        """judge_pod(), once for all pods of which it says the same."""
        if holders or self.proxies.matter_to((entry.pod.key, by.key)):
            return JudgedPod(judge_pod(entry, table, by, holders, self))
        pod = entry.pod
        if table not in self._bound:
            self._bound[table] = is_bound(table.listeners)
        which = (
            pod.template,
            entry.exposures,
            table,
            deciding(by.ips, self._bound[table] or self._names_any(pod, entry.exposures)),
            tuple(pod.waiting()),
            None if by is pod else by.key,
        )
        if which not in self._judged:
            self._judged[which] = JudgedPod(judge_pod(entry, table, by, holders, self))
        return self._judged[which]

    def _any_named_by_a_sidecar(self, pod: Pod, exposures: tuple[Exposure, ...]) -> bool:
        return any(self._named(pod, port) for port in {*(e.port for e in exposures), *probed_ports(pod)})

    def deliveries(self, pod: Pod, port: int, exposures: t.Sequence[Exposure], by: Pod) -> tuple[Delivery, Delivery]:
        """Today's and the one after, of a port with these exposures. `by` is the pod that was read for it.

        The proxy of that one speaks for it, too, if the same istiod and Sidecar are expected for both: amid a move from one revision to the next,
        pods of one workload are served by either.
        """
        ways = frozenset(e.how for e in exposures)
        today, after = self._deliveries(pod, port, ways, self._addresses(pod, port))
        alike = by.template is pod.template or self._expected(by) == self._expected(pod)
        speakers = (pod.key, by.key) if alike else (pod.key,)
        return self.proxies.today(pod, port, speakers, self.sidecars(pod)[0], self.planes(pod)[0], today), after

    def _addresses(self, pod: Pod, port: int) -> tuple[str, ...]:
        """What of its addresses a delivery depends on."""
        return pod.ips if self._named(pod, port) else tuple(map(family_of, pod.ips))

    def _expected(self, pod: Pod) -> tuple[ControlPlane, Thing | None]:
        return self.planes(pod)[0], self.sidecars(pod)[0]

    def _named_by_a_sidecar(self, pod: Pod, port: int) -> bool:
        """Without, a delivery depends on the families alone."""
        elsewhere = (cases for _plane, cases in self._unvouched(pod))
        return any(ingress_entry(case.sidecar, port) for cases in (*self._cases(pod), *elsewhere) for case in cases)

    def _deliveries_of(
        self, pod: Pod, port: int, ways: frozenset[str], _ips: tuple[str, ...]
    ) -> tuple[Delivery, Delivery]:
        today, after = (
            self._delivery_of(pod, port, plane, cases, ways, anew)
            for plane, cases, anew in zip(self.planes(pod), self._cases(pod), (False, True))
        )
        for plane, cases in self._unvouched(pod):
            after = disputed(pod, after, plane, self._delivery_of(pod, port, plane, cases, ways, True))
        return today, after

    def _delivery_of(
        self, pod: Pod, port: int, plane: ControlPlane, cases: t.Sequence[Case], ways: frozenset[str], anew: bool
    ) -> Delivery:
        found = []
        for case in cases:
            how = delivery(pod, port, case.sidecar, plane, ways, case.discovered, anew)
            found.append(under_hidden_default(pod, how, case.hidden_root) if case.hidden_root else how)
        if len(found) == 1:
            return found[0]
        unsure = self._sidecars.unsure(pod, plane)
        decided = of_cases(pod, plane, found, unsure)
        if unsure[1] and unsure[0] != "scoping_hidden" and decided not in found:
            self._unsure.add(unsure[1])
        return decided

    def lists(self, pod: Pod) -> dict[int, str]:
        """The ports that its effective Sidecars list, of today and of after the upgrade, with the name of one that does."""
        return {
            entry["port"]["number"]: "/".join(key(sidecar))
            for sidecar in self.sidecars(pod)
            if sidecar
            for entry in sidecar["spec"].get("ingress") or ()
            if entry["port"].get("number")
        }

    def by_rule(self, pod: Pod, port: int) -> tuple[Delivery, Delivery]:
        """Today's delivery and the one after, of a port that no Service exposes."""
        return self._deliveries(pod, port, frozenset(), self._addresses(pod, port))

    def root_namespaces(self, pod: Pod) -> set[str]:
        """Where the configuration for all namespaces stands, today and after the upgrade."""
        return {self._planes.root_namespace(plane) for plane in self.planes(pod)}

    def hidden_root(self, pod: Pod) -> str:
        """The namespace whose Sidecars could not be listed, if one of them may be in effect for the pod, today or after the upgrade."""
        return next((case.hidden_root for cases in self._cases(pod) for case in cases if case.hidden_root), "")

    def without_sidecars(self, pod: Pod) -> str:
        """Why a Sidecar in the pod's namespace has no effect, today or after the upgrade, or may have none; else an empty text."""
        named = [(plane, str(plane)) for plane in reversed(self.planes(pod))]
        for plane, _cases in self._unvouched(pod):
            named.append((plane, f"{plane} of revision {plane.name} in {plane.namespace}"))
        for plane, said in named:
            selects = self._planes.discovered.selects(plane, pod.namespace)
            if not selects and plane.scoped is not False:
                why = PERHAPS_LEFT_OUT if selects is None else LEFT_OUT if plane.scoped else PERHAPS_UNSEEN
                return why.format(plane=said, namespace=pod.namespace)
        return ""

    def _probes_of(
        self,
        pod: Pod,
        port: int,
        impact: str | None,
        answered: bool,
        reached: bool | None,
        quiet: Quiet | None,
        on_localhost: bool,
    ) -> tuple[Failing, ...]:
        rewriting = self._planes.rewrite_probes(pod, self._target)
        seen = rewriting, impact, answered, reached, quiet, on_localhost
        found = failing_probes(pod, port, self.planes(pod)[1], *seen)
        met = [(each.span, failing_probes(pod, port, each.plane, *seen)) for each in self.stretches(pod)]
        failing = with_those_on_the_way(found, met)
        alone = bool(self.without_sidecars(pod))
        return tuple(each._replace(cause="bind") if alone and each.sidecar_helps else each for each in failing)

    def _stretches_of(self, pod: Pod) -> tuple[Stretch, ...]:
        """None where no version is named, or where pods move to another revision, which may be any number of versions newer."""
        today, after = self.planes(pod)
        one = (today.namespace, today.name) == (after.namespace, after.name)
        if self._target is None or not one or any(after is plane for plane in self._planes.all):
            return ()
        which = today, after
        if which not in self._ways:
            self._ways[which] = stretches(today, after)
        return self._ways[which]

    def on_the_way(self, pod: Pod, port: int, exposures: t.Sequence[Exposure]) -> t.Sequence[tuple[Stretch, Delivery]]:
        """The port's delivery in each stretch of the way to the target version."""
        if not self.stretches(pod):
            return ()
        return self._on_the_way(pod, port, frozenset(e.how for e in exposures), self._addresses(pod, port))

    def _on_the_way_of(
        self, pod: Pod, port: int, ways: frozenset[str], _ips: tuple[str, ...]
    ) -> list[tuple[Stretch, Delivery]]:
        met = []
        for each in self.stretches(pod):
            cases = self._sidecars.cases(pod, each.plane, anew=True)
            met.append((each, self._delivery_of(pod, port, each.plane, cases, ways, True)))
        return met

    def judge(
        self,
        listeners: t.Sequence[Listener],
        port: int,
        asked: t.Sequence[str],
        today: Delivery,
        after: Delivery,
        idle: tuple[str, ...],
        holders: tuple[Holder, ...] = (),
    ) -> Verdict:
        """judge(), once for all pods of which it says the same. `listeners` are those on the port, or on one that is dialled for it."""
        here = tuple(listeners)
        doors = (*today.doors, *after.doors)
        ips = deciding(asked, is_bound(here) or any(isinstance(way.door, Own) for way in doors))
        which = (here, port, ips, today, after, idle, holders)
        if which not in self._verdicts:
            self._verdicts[which] = judge(here, port, asked, today, after, idle, holders)
        return self._verdicts[which]

    def hints(self) -> list[str]:
        """What is to be said of control planes and Sidecars."""
        return [
            *self.places(),
            *self.downgrades(),
            *self.moves(),
            *self.labelled(),
            *self.missing(),
            *self.unsure(),
        ]

    def downgrades(self) -> list[str]:
        """The control planes that are newer than the target and serve none of the pods that were looked at."""
        newer = self._newer(plane for plane in self._planes.all if plane not in self._serving)
        return [f"target_version is older than {plane} of revision {plane.name}." for plane in newer]

    def downgraded(self, pods: t.Iterable[Pod]) -> str:
        """What is newer than the target: the one that serves one of these pods, or a proxy where nobody knows which that is. Empty if nothing is.

        No proxy is newer than its istiod for long.
        """
        for plane in self._newer(self._serving):
            return f"{plane}{f' of revision {plane.name}' if plane.name else ''}, which serves pods that are checked"
        target = self._target
        for pod in pods if target else ():
            proxy = proxy_container(pod)
            version = proxy_version(pod, proxy) if proxy and self.planes(pod)[0].version is None else None
            if target and version and version[: len(target)] > target:
                return f"the proxy of pod {pod.namespace}/{pod.name}, which is {dotted(version)}"
        return ""

    def _newer(self, planes: t.Iterable[ControlPlane]) -> list[ControlPlane]:
        target = self._target
        return [p for p in planes if target and p.version and p.version[: len(target)] > target]

    def places(self) -> list[str]:
        """What the user says of control planes and does not hold: where they are, and which version they have."""
        elsewhere, found = self._planes.elsewhere(), []
        if elsewhere:
            found.append(
                f"An istiod was found in {' and '.join(elsewhere)}, beside istio_namespace, which is {self._planes.home}."
            )
        if self._current and self._serving and not any(plane.by == STATED for plane in self._serving):
            found.append("current_version is not used: every version was read from the cluster.")
        return found

    def unsure(self) -> list[str]:
        """Why how some pods are reached is not known: nobody knows the labels of their namespaces, or what the selectors mean."""
        return [UNSURE.format(_some(self._unsure))] if self._unsure else []

    def missing(self) -> list[str]:
        """Why Sidecars that are in effect today do not count after the upgrade: by labels that pods have, and that their templates lack."""
        return [
            MISSING.format(
                sidecar=name,
                labels=f"the label{'s' if len(labels) > 1 else ''} {' and '.join(labels)}",
                templates=_some(templates),
            )
            for (name, labels), templates in sorted(self._missing.items())
        ]

    def labelled(self) -> list[str]:
        return [
            f"Sidecar {name} is labelled istio.io/rev={revision}, and no istiod of another revision sees it: "
            f"take the label off before pods move to one."
            for name, revision in sorted(self._labelled)
        ]

    def moves(self) -> list[str]:
        return [
            f"The settings of revision {other}, which runs the target version, count for pods of revision {name} too: let them move to it. "
            f"Upgraded in place, revision {name} would deliver to the pod IP."
            for name, other in self._planes.moved_to_another(self._target)
        ]


def _some(names: t.Collection[str]) -> str:
    return ", ".join(sorted(names)[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


NOT_EXPOSED = Verdict("ok", None, "No Service exposes it.", ())
"""Of a port that a probe asks: when that fails the pod is not ready, and with it goes every port that is exposed."""


def judge_pod(
    entry: Target, table: SocketTable, by: Pod, holders: t.Sequence[Holder], mesh: Mesh
) -> t.Iterator[JudgedPort]:
    """Each port of a pod that is exposed, or that a probe asks, by the table of `by`.

    Where that is another pod, the port is asked at that one's addresses, to which its listeners may be bound.
    """
    pod = as_read(entry.pod, by)
    idle = tuple(pod.waiting())
    exposed, listening = by_port(entry.exposures), by_port(table.listeners)
    probed = probed_ports(pod)
    named = _named(holders, entry.pod, by)
    for port in sorted(exposed.keys() | probed):
        exposures, here = exposed.get(port, ()), listening.get(port, ())
        expected = today, after = mesh.deliveries(pod, port, exposures, by)
        concerned = [each for number in sorted({port, today.port, after.port}) for each in listening.get(number, ())]
        verdict = NOT_EXPOSED
        between: tuple[Passage, ...] = ()
        if exposures:
            clients = asked_for(pod, exposures)
            verdict = mesh.judge(concerned, port, clients, today, after, idle, _of(concerned, named))
            today, after = verdict.ends or (today, after)
            if verdict.outcome in ("ok", "remediated"):
                verdict, between = _between(pod, port, exposures, clients, listening, named, verdict, *expected, mesh)
        judged_by = None if by is entry.pod else by.name
        probes: tuple[Failing, ...] = ()
        if port in probed:
            stopped = bool(idle or by.waiting())
            probes = _probes_of(pod, port, here, concerned, verdict, *expected, stopped, mesh)
        yield JudgedPort(
            port,
            verdict,
            today,
            after,
            probes,
            tuple(listener.text for listener in here if probes),
            judged_by,
            _processes(verdict, named),
            between,
        )


def _between(
    pod: Pod,
    port: int,
    exposures: t.Sequence[Exposure],
    clients: t.Sequence[str],
    listening: t.Mapping[int, t.Sequence[Listener]],
    holders: t.Sequence[Holder],
    verdict: Verdict,
    today: Delivery,
    after: Delivery,
    mesh: Mesh,
) -> tuple[Verdict, tuple[Passage, ...]]:
    """The verdict on a port that is reached at the target version, where it may not be on the way."""
    met = []
    for stretch, how in mesh.on_the_way(pod, port, exposures):
        concerned = [each for number in sorted({port, today.port, how.port}) for each in listening.get(number, ())]
        there = mesh.judge(concerned, port, clients, today, how, (), _of(concerned, holders))
        met.append((stretch.span, there, *(there.ends or (today, how))))
    return broken(verdict, after, met)


def _probes_of(
    pod: Pod,
    port: int,
    listeners: t.Sequence[Listener],
    concerned: t.Sequence[Listener],
    verdict: Verdict,
    today: Delivery,
    after: Delivery,
    stopped: bool,
    mesh: Mesh,
) -> tuple[Failing, ...]:
    """The probes that fail because the port listens on localhost only, or nothing does, whatever becomes of its other connections.

    `listeners` are those on the port, `concerned` those and the ones on ports that are dialled for it. If a container is `stopped`, what does not listen
    says nothing of it when it runs.
    """
    ips = list(pod.ips[:1])
    answered = any(answers(listeners, port, ip) for ip in ips)
    on_localhost = any(answers(listeners, port, ip) for ip in LOCALHOSTS)
    quiet = None
    if verdict.outcome not in ("finding", "remediated") and not is_local(listeners, port):
        if stopped or (answered and on_localhost):
            return ()
        if not answered:
            quiet = Quiet(on_localhost, any(_is_taken(today.met(ip, port, listeners)) for ip in ips))
    reached = None
    if today.kind != "unknown":
        reached = mesh.judge(concerned, port, ips, today, today, ()).outcome in ("ok", "remediated")
    impact = verdict.impact
    if verdict.moves[0]:  # another program answers at some address, which need not be the one that the kubelet asks
        impact = mesh.judge(concerned, port, ips, today, after, ()).impact
    if verdict is NOT_EXPOSED and reached:  # by a Sidecar that lists the port
        impact = mesh.judge(concerned, port, ips, today, after, ()).impact
    return mesh.probes(pod, port, impact, answered, reached, quiet, on_localhost)


LOCALHOSTS = ("127.0.0.1", "::1")
"""What an agent may mean by `localhost`, whose name has both in every pod: /etc/hosts, as the kubelet writes it."""


def _is_taken(met: Delivery) -> bool:
    """Whether the proxy accepts a connection that is delivered so, whatever it does with it then."""
    return met.kind != "kernel" and met.cause.name not in ("ipv6_closed", "tproxy_ipv6")


def _named(holders: t.Sequence[Holder], *pods: Pod) -> tuple[Holder, ...]:
    """`holders` with the names of their containers in the place of ids, of which each pod has others."""
    names = {container: name for pod in pods for container, name in pod.container_ids().items()} if holders else {}
    return tuple(holder._replace(container=names.get(holder.container, "")) for holder in holders)


def _of(listeners: t.Sequence[Listener], holders: t.Sequence[Holder]) -> tuple[Holder, ...]:
    """Who has these. Of one alone nobody asks."""
    return tuple(holder for holder in holders if holder.listener in listeners) if len(listeners) > 1 else ()


def _processes(verdict: Verdict, holders: t.Sequence[Holder]) -> frozenset[tuple[str, str, str]]:
    if verdict.outcome not in ("finding", "remediated"):
        return frozenset()
    return frozenset((h.listener.text, h.container, h.process) for h in holders if h.listener.text in verdict.listeners)


def as_read(pod: Pod, by: Pod) -> Pod:
    """The pod, at the addresses of the one whose table speaks for it."""
    return pod if by is pod else pod._replace(ips=by.ips)


class _OnPort(t.Protocol):
    @property
    def port(self) -> int: ...


OnPort = t.TypeVar("OnPort", bound=_OnPort)


def by_port(things: t.Iterable[OnPort]) -> dict[int, tuple[OnPort, ...]]:
    """Exposures or listeners by their port, in their order: a Service may have 65535 ports, so nobody goes through all of them for each."""
    found: dict[int, list[OnPort]] = defaultdict(list)
    for thing in things:
        found[thing.port].append(thing)
    return {port: tuple(several) for port, several in found.items()}


def asked_for(pod: Pod, exposures: t.Sequence[Exposure]) -> list[str]:
    """The pod's addresses of the families that the Services of one port have.

    The primary one for a Service from before ipFamilies, and for a ServiceEntry, to which istiod gives no other: NewEndpointBuilder,
    pilot/pkg/serviceregistry/kube/controller/endpoint_builder.go@1.20.8.
    """
    ips = pod.ips
    families = {family for e in exposures for family in e.families or [family_of(ip) for ip in ips[:1]]}
    return [ip for ip in ips if family_of(ip) in families] or list(ips[:1])
