# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""The control planes: which one serves a pod, today and after the upgrade, and where it delivers by default.

Citations are `path@tag` in istio/istio.
"""

from __future__ import annotations

import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.discovered import (
    EVERYTHING,
    SIDECARS_SINCE,
    Discovered,
    DiscoverySelectors,
    knows_services,
    unseen_sidecars,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.istio_version import (
    SHORT,
    STATED,
    Known,
    known,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.pod import (
    Discovery,
    Revision,
    discovery,
    revision,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.istio_values import (
    Version,
    as_version,
    dotted,
    go_false,
    go_true,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.kube import (
    Labels,
    Pod,
    PodKey,
    Template,
    Thing,
    content_of,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.objects import Service
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.shapes import (
    DUAL_STACK_ENV,
    ISTIOD_ENV,
    MERGE_ENV,
    PASSTHROUGH_ENV,
    SCOPING_ENV,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.snapshot import Unlisted


class MeshConfig(t.NamedTuple):
    """What is read of a mesh configuration."""

    root_namespace: str = ""
    localhost_policy: bool = False
    """inboundTrafficPolicy.mode LOCALHOST, from 1.22: pilot/pkg/networking/core/cluster.go@1.22.0."""
    discovery: DiscoverySelectors = EVERYTHING


class ControlPlane(t.NamedTuple):
    """What decides how inbound traffic is delivered: istiod's version and settings, never the proxy's version."""

    name: str
    version: Version | None
    env: tuple[tuple[str, str], ...] = ()
    """Variables and their values, in order."""
    mesh_config: MeshConfig = MeshConfig()
    assumed: bool = False
    """Whether no one said which version it is."""
    config_known: bool = True
    namespace: str = ""
    by: str = ""
    """Where its version was read, of istio_version."""
    service_mesh: str = ""
    """The number of OpenShift Service Mesh that its version was read from, if so."""
    said: tuple[str, ...] = ()
    """What was read of a version that is not known."""
    env_unknown: frozenset[str] = frozenset()
    """Variables that are set, or may be, to what nobody saw."""
    config_unknown: tuple[str, str] = ("", "")
    """Why its mesh configuration is not known, and the name of the ConfigMap."""
    at: str = ""
    """Of one that was not found: where the pod's proxy asks it."""
    rivals: tuple[str, ...] = ()
    """Of one that was not found, the namespaces of those that it may be."""
    families_recorded: bool = True
    """Whether the record would say so if it had ISTIO_DUAL_STACK, or a pod of it."""
    scoping_recorded: bool = True
    """The same of ENABLE_ENHANCED_RESOURCE_SCOPING."""
    running: bool = True
    """Whether it has a pod that runs; one that has none serves nobody today, and may be the next."""
    rewrites_probes: bool | None = None
    """Whether its injector's own values have probes rewritten. None if that is not known."""
    disputed: tuple[str, str, str] = ("", "", "")
    """The name, revision and namespace of one that may serve its pods instead, as far as nobody vouches for that, and hands less to localhost."""

    @property
    def localhost_policy(self) -> bool:
        return self.mesh_config.localhost_policy

    @property
    def discovery(self) -> DiscoverySelectors:
        return self.mesh_config.discovery

    def variable(self, name: str) -> str | None:
        return next((value for known, value in self.env if known == name), None)

    @property
    def passthrough_off(self) -> bool:
        return go_false(self.variable(PASSTHROUGH_ENV))

    @property
    def merges_ingress(self) -> bool:
        """Unlisted ports keep their chains from 1.16 if asked for: pilot/pkg/features/experimental.go@1.16.0."""
        return go_true(self.variable(MERGE_ENV)) and self.version is not None and self.version >= (1, 16)

    @property
    def may_merge_ingress(self) -> bool:
        return MERGE_ENV in self.env_unknown and (self.version is None or self.version >= (1, 16))

    @property
    def dual_stack(self) -> bool | None:
        """Whether proxies listen on both families of a pod that has them, from 1.17: pilot/pkg/features/pilot.go@1.17.0. None if that is not known."""
        if self.version is not None and self.version < (1, 17):
            return False
        if self.version is None or not self.families_recorded or DUAL_STACK_ENV in self.env_unknown:
            return None
        return go_true(self.variable(DUAL_STACK_ENV))

    @property
    def scoped(self) -> bool | None:
        """Whether it sees Sidecars of those namespaces alone of which it knows. None if that is not known.

        As the variable says, from 1.16, else from 1.22: change notes of 1.16.0 and pilot/pkg/features/pilot.go@1.22.0. One of unknown version may, and
        so may one that is assumed, which may be of any newer version.
        """
        if self.version is not None and self.version < (1, 16):
            return False
        if SCOPING_ENV in self.env_unknown or not self.scoping_recorded:
            return None
        said = self.variable(SCOPING_ENV)
        if go_true(said) or go_false(said):
            return go_true(said)
        return self.version is None or self.assumed or self.version >= SIDECARS_SINCE

    def default_delivery(self) -> str:
        """`localhost`, `pod_ip` or `unknown`: where the proxy connects for a port that no Sidecar mentions.

        Up to 1.9 localhost; 1.10 to 1.20 the pod IP unless PILOT_ENABLE_INBOUND_PASSTHROUGH=false; 1.21 the pod IP; from 1.22 the
        pod IP unless inboundTrafficPolicy.mode is LOCALHOST (cluster.go@1.9.9, 1.10.0, 1.20.8, 1.21.0, 1.22.0).
        """
        if self.version is None or any(self.disputed):
            return "unknown"
        if self.version < (1, 10):
            return "localhost"
        if self.version < (1, 21):
            return (
                "unknown" if PASSTHROUGH_ENV in self.env_unknown else "localhost" if self.passthrough_off else "pod_ip"
            )
        if self.version < (1, 22):
            return "pod_ip"
        return "localhost" if self.localhost_policy else "pod_ip" if self.config_known else "unknown"

    @property
    def probes_localhost(self) -> bool:
        """Whether its injector has rewritten probes go to localhost; in 1.21 the template still reads the variable that istiod does not.

        Up to 1.9 the agent does so by itself; then files/injection-template.yaml@1.10.0, 1.21.0, 1.22.0.
        """
        if self.version is not None and (1, 21) <= self.version < (1, 22) and not self.assumed:
            return self.passthrough_off
        return self.default_delivery() == "localhost"

    def upgraded(self, target: Version | None) -> ControlPlane:
        """This control plane after the upgrade, its settings kept. Without a target: any version that delivers to the pod IP.

        A mesh that is on 1.22 or later and says LOCALHOST goes on saying so in every later version.
        """
        if target is None:
            stays = self.version is not None and self.version >= (1, 22) and self.localhost_policy
            return self if stays else self._replace(version=(1, 21), assumed=True, by="")
        return self._replace(version=target, by="", service_mesh="", said=())

    def __str__(self) -> str:
        if self.assumed:
            return "a newer istiod"
        if self.version:
            mesh = [f"Service Mesh {self.service_mesh}"] if self.service_mesh else []
            how = ", ".join([*mesh, *([SHORT[self.by]] if self.by in SHORT else [])])
            return f"istiod {dotted(self.version[:2])}{f' ({how})' if how else ''}"
        said = f" ({', '.join(self.said)})" if self.said else ""
        return f"an istiod of unknown version{said}"


UNKNOWN_CONTROL_PLANE = ControlPlane("", None)

Least = t.Callable[[ControlPlane], tuple[t.Any, float]]
"""What puts control planes in order: how much each hands to localhost, the least first; then what decides between equals."""


class Istio(t.NamedTuple):
    """What is known of the control planes of a cluster, as its record says it."""

    planes: tuple[ControlPlane, ...] = ()
    """In order: see in_order()."""
    home: str | None = None
    """The namespace where the user says that istiod is; None where that is not recorded."""
    root: str = "istio-system"
    namespaces: t.Mapping[str, Labels] = {}
    """Labels of namespaces by name, as far as they are known."""
    selectors: t.Mapping[PodKey, Labels] = {}
    """Those of the Services at which proxies may ask an istiod."""
    families_recorded: bool = False
    scoping_recorded: bool = False
    maistra: bool = False
    """Whether one of the control planes is of OpenShift Service Mesh 2."""

    def root_namespace(self, plane: ControlPlane) -> str:
        """What the mesh configuration says, else its own namespace: values of the chart istiod, and forced by the operator of Service Mesh 2."""
        if plane.mesh_config.root_namespace:
            return plane.mesh_config.root_namespace
        return self.root if self.home is None or plane.namespace in ("", self.home) else plane.namespace

    def in_order(self, planes: t.Iterable[ControlPlane]) -> tuple[ControlPlane, ...]:
        """By revision, version and settings, so that the order of the record decides nothing."""

        def rank(plane: ControlPlane) -> tuple[t.Any, ...]:
            settings = (plane.env, plane.localhost_policy, self.root_namespace(plane))
            return (plane.name, plane.version or (), *settings, plane.namespace, not plane.running)

        return tuple(sorted(planes, key=rank))


def istio_of(
    istio: Thing, namespaces: t.Iterable[Thing], services: t.Iterable[Service], unlisted: t.Iterable[Unlisted]
) -> Istio:
    """The control planes of a snapshot, read once."""
    configs: dict[bytes, MeshConfig] = {}

    def config_of(said: Thing) -> MeshConfig:
        content = content_of(said)
        if content not in configs:
            configs[content] = _mesh_config(said)
        return configs[content]

    variables = istio.get("variables") or ()
    found = Istio(
        home=istio.get("istioNamespace"),
        root=istio.get("rootNamespace") or "istio-system",
        namespaces={each["metadata"]["name"]: each["metadata"].get("labels") or {} for each in namespaces},
        selectors={service.key: service.selector for service in services if service.name.startswith("istiod")},
        families_recorded=DUAL_STACK_ENV in variables,
        scoping_recorded=SCOPING_ENV in variables,
        maistra=any(plane.get("maistra") for plane in istio.get("controlPlanes") or ()),
    )
    # Records from before it was kept by control plane.
    configs_known = not any(u["resource"] == "configmaps" and not u.get("namespace") for u in unlisted)
    default = istio.get("meshConfig") or {}
    planes = (
        _plane(
            plane,
            config_of(
                default if plane.get("meshConfig") is None else plane["meshConfig"]
            ),  # an empty one says something
            configs_known,
            found,
        )
        for plane in istio.get("controlPlanes") or ()
    )
    return found._replace(planes=found.in_order(planes))


def _mesh_config(said: Thing) -> MeshConfig:
    policy, root = said.get("inboundTrafficPolicy"), said.get("rootNamespace")
    return MeshConfig(
        root if isinstance(root, str) else "",
        isinstance(policy, dict) and policy.get("mode") == "LOCALHOST",
        DiscoverySelectors(said["discoverySelectors"]) if said.get("discoverySelectors") else EVERYTHING,
    )


def _plane(plane: Thing, mesh_config: MeshConfig, configs_known: bool, istio: Istio) -> ControlPlane:
    versions, hidden = plane.get("versions"), plane.get("meshConfigUnknown")
    if versions is None:  # a record from before it was kept where a version stands
        read = Known(as_version(plane.get("version")))
    else:
        read = known(versions, bool(plane.get("maistra")))
    version, by, mesh, said = read
    return ControlPlane(
        plane.get("revision") or "default",
        version,
        tuple(sorted((plane.get("env") or {}).items())),
        mesh_config,
        config_known=configs_known and not hidden,
        namespace=plane.get("namespace") or "",
        by=by,
        service_mesh=mesh,
        said=said,
        env_unknown=frozenset(plane.get("envUnknown") or ()),
        config_unknown=(hidden["why"], hidden.get("name") or "") if hidden else ("", ""),
        families_recorded=istio.families_recorded,
        scoping_recorded=istio.scoping_recorded,
        running=plane.get("running") is not False,
        rewrites_probes=plane.get("rewritesProbes"),
    )


class ControlPlanes:
    """The control planes of a cluster, found by where a pod's proxy asks, and by the revision that the pod names.

    `current` is the version that the user states for those that nobody can see, or whose version nobody can read.
    """

    def __init__(self, istio: Istio, current: Version | None = None) -> None:
        self._istio, self._current = istio, current
        self.discovered = Discovered(istio.namespaces)
        self.root_namespace = istio.root_namespace
        self.all = istio.in_order(map(self._as_stated, istio.planes)) if current else istio.planes
        self._running = [p for p in self.all if p.running]

    def _as_stated(self, plane: ControlPlane) -> ControlPlane:
        return plane if plane.version else plane._replace(version=self._current, by=STATED, said=())

    def today(self, pod: Pod | Template) -> ControlPlane:
        """The control plane that serves the pod, an unknown one if none is found.

        A revision may run several replicas that differ, in the middle of a rollout: then the one that hands most to localhost counts,
        since that is what the pod may be served by today.
        """
        order = ("localhost", "unknown", "pod_ip")
        serving = self._serving(pod)
        return min(serving, key=lambda p: order.index(p.default_delivery())) if serving else self._unseen(pod)

    def after(self, pod: Pod | Template, target: Version | None) -> ControlPlane:
        """The control plane that will serve the pod. Of those that may serve it today, each with its successor, the one that hands least to localhost."""
        serving = self._serving(pod) or [self._unseen(pod)]
        least = self._least_local_in(pod.namespace)
        return min((self._successor(plane, target, least) for plane in serving), key=least)

    def unvouched(self, pod: Pod | Template, target: Version | None) -> tuple[ControlPlane, ...]:
        """Those that may serve the pod after the upgrade instead of after(), where nobody expects an istiod: each may see other Sidecars."""
        found: list[ControlPlane] = []
        for plane in self._serving(pod) or [self._unseen(pod)]:
            _at_home, elsewhere = self._next(plane, target)
            found += [other for other in elsewhere if other not in found]
        return tuple(found)

    def rewrite_probes(self, pod: Pod | Template, target: Version | None) -> bool | None:
        """Whether those that may inject the pod next have probes rewritten. None if that is not known, or if they do not agree."""
        next_ones = (self._next(plane, target) for plane in self._serving(pod) or [self._unseen(pod)])
        said = {plane.rewrites_probes for here, there in next_ones for plane in (*here, *there)}
        return said.pop() if len(said) == 1 else None

    def moved_to_another(self, target: Version | None) -> list[tuple[str, str]]:
        """The revisions for which `after` takes one that hands to localhost what they would not once upgraded in place; with that one."""
        found = set()
        for plane in self._running:
            other = self._successor(plane, target, lambda each: (_least_local(each), 0))
            if plane.name == other.name or other.default_delivery() != "localhost":
                continue
            if plane.upgraded(target).default_delivery() == "pod_ip":
                found.add((plane.name, other.name))
        return sorted(found)

    def elsewhere(self) -> list[str]:
        """The namespaces of control planes that are not where the user said, as far as that is recorded."""
        return sorted({p.namespace for p in self.all} - {self.home}) if self.home else []

    @property
    def home(self) -> str:
        return self._istio.home or ""

    def _least_local_in(self, namespace: str) -> Least:
        """_least_local() for pods of a namespace: one that may leave it out comes first, the more so where it sees no Sidecars there.

        Of two that hand as much to localhost, the one that may see no Sidecars of its root namespace.
        """

        def least(plane: ControlPlane) -> tuple[t.Any, float]:
            root = self.root_namespace(plane)
            cases = self.discovered.cases(plane, [namespace, root])
            blind = [unseen for left_out in cases for unseen in unseen_sidecars(plane, left_out)]
            seen, of_root = (sum(name not in unseen for unseen in blind) / len(blind) for name in (namespace, root))
            known = all(knows_services(plane, namespace in left_out) for left_out in cases)
            return (seen, *(_least_local(plane) if known else (0, False))), of_root

        return least

    def _successor(self, plane: ControlPlane, target: Version | None, least: Least) -> ControlPlane:
        """The one of _next() that is least for localhost.

        Whoever may make a pod in some namespace can label it as an istiod's, and write any root namespace beside it. So one that is neither where this
        one is, nor where the user says that istiod is, makes no verdict better: where it hands less to localhost, what becomes of this one is not known.
        """
        here, there = self._next(plane, target)
        at_home, elsewhere = min(here, key=least), min(there, key=least, default=None)
        if at_home.default_delivery() == "localhost" and elsewhere and least(elsewhere)[0] < least(at_home)[0]:
            return at_home._replace(disputed=(str(elsewhere), elsewhere.name, elsewhere.namespace))
        return at_home

    def _next(self, plane: ControlPlane, target: Version | None) -> tuple[list[ControlPlane], list[ControlPlane]]:
        """What may come after it where istiods are expected, and elsewhere: its own revision, if that runs the target version, else others of its mesh
        that do, else it, upgraded.

        What may be the next counts beside them, once upgraded itself, since it has settings of its own: one that does not run yet, one whose version
        nobody knows, and, where none runs the target version, another revision that fits.
        """
        mesh = [p for p in self.all if self._one_mesh(p, plane)]
        there = [p for p in mesh if _is_of(p, target)]
        ready = [p for p in there if p.running]
        coming = [p for p in mesh if not p.running and (p in there or _is_one_revision(p, plane))]
        nameless = [p for p in mesh if _is_nameless(p)]
        known = {"", plane.namespace, self._istio.home or self._istio.root}  # records from before it was kept name none
        own = [p for p in ready if _is_one_revision(p, plane)]
        foreign: list[ControlPlane] = []
        if own:
            found = [*own, *(p for p in coming if _is_one_revision(p, plane)), *nameless]
        elif any(p.namespace in known for p in ready):
            found = [*ready, *coming, *nameless]
        else:
            others = [p for p in mesh if not _is_one_revision(p, plane) and _may_be_next(p, plane, target)]
            foreign = [p for p in self.all if p not in mesh and _is_of(p, target)] if not there else []
            found = [*coming, plane, *ready, *others]
        upgraded = [*(p if p in there else p.upgraded(target) for p in found), *foreign]
        return [p for p in upgraded if p.namespace in known], [p for p in upgraded if p.namespace not in known]

    def _one_mesh(self, one: ControlPlane, other: ControlPlane) -> bool:
        """Whether two control planes are of one mesh: in one namespace, or with one root namespace. One that says neither is of the only mesh."""
        if not one.namespace or not other.namespace:
            return not (one.at or other.at) and len({self.root_namespace(p) for p in self.all}) == 1
        return one.namespace == other.namespace or self.root_namespace(one) == self.root_namespace(other)

    def _serving(self, pod: Pod | Template) -> list[ControlPlane]:
        """Those that serve the pod: where its proxy asks, of the Service that it asks or of the revision that the pod names.

        Without the proxy's word the revision alone has to do, as long as it means one mesh.
        """
        asked, wanted = discovery(pod), revision(pod)
        if asked is None:
            found = _of_revision(self._running, wanted)
            return found if all(self._one_mesh(found[0], p) for p in found) else []
        here = [p for p in self._running if asked.namespace and p.namespace == asked.namespace]
        choices = [self._of_service(here, asked), _of_revision(here, wanted)]
        return next(filter(None, choices if asked.certain or not wanted.certain else reversed(choices)), [])

    def _of_service(self, planes: t.Sequence[ControlPlane], asked: Discovery) -> list[ControlPlane]:
        """By the Service's own selector, where it is known, else by its name: `istiod`, or `istiod-REVISION`."""
        selector = self._istio.selectors.get((asked.namespace, asked.service)) or {}
        name = selector.get("istio.io/rev") or asked.service.removeprefix("istiod").removeprefix("-") or "default"
        return [p for p in planes if p.name == name]

    def _unseen(self, pod: Pod | Template) -> ControlPlane:
        """One of which nothing is known but what the user states: neither are its settings."""
        asked = discovery(pod)
        rivals = (
            tuple(sorted({p.namespace for p in _of_revision(self._running, revision(pod))})) if asked is None else ()
        )
        plane = UNKNOWN_CONTROL_PLANE._replace(
            at=asked.text if asked else "",
            namespace=asked.namespace if asked else "",
            rivals=rivals,
            families_recorded=self._istio.families_recorded,
        )
        if not self._current:
            return plane
        return plane._replace(
            version=self._current,
            by=STATED,
            env_unknown=frozenset(ISTIOD_ENV),
            config_known=False,
            config_unknown=("unseen", ""),
        )


def _of_revision(planes: t.Sequence[ControlPlane], wanted: Revision) -> list[ControlPlane]:
    """A name that is none may be a revision tag, which can only mean the one that there is."""
    found = [p for p in planes if p.name == wanted.name]
    return list(planes) if not found and not wanted.certain and len({p.name for p in planes}) == 1 else found


def _is_one_revision(one: ControlPlane, other: ControlPlane) -> bool:
    return (one.namespace, one.name) == (other.namespace, other.name)


def _is_of(plane: ControlPlane, target: Version | None) -> bool:
    """Whether it is of the target version."""
    return bool(target and plane.version and plane.version[: len(target)] == target)


def _is_nameless(plane: ControlPlane) -> bool:
    """Whether nobody knows its version, but for what the user states of today's."""
    return plane.version is None or plane.by == STATED


def _may_be_next(other: ControlPlane, plane: ControlPlane, target: Version | None) -> bool:
    """Whether pods may be moved from `plane` to `other`, another revision of its mesh: nobody knows its version, or it fits."""
    if _is_nameless(other) or other.version is None:
        return True
    return other.version[:2] == target[:2] if target else plane.version is None or other.version > plane.version


def _least_local(plane: ControlPlane) -> tuple[int, bool]:
    """Where a port goes by default, then whether one that a Sidecar leaves out goes there."""
    return ("pod_ip", "unknown", "localhost").index(plane.default_delivery()), plane.merges_ingress
