# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""What a Kubernetes object says of itself. A pod becomes a record, made once: what the rules read of it, and no dictionary to dig in."""

from __future__ import annotations

import functools
import hashlib
import marshal
import re
import typing as t

PodKey = tuple[str, str]
Thing = dict[str, t.Any]
Labels = t.Mapping[str, str]
R = t.TypeVar("R")

NONE: dict[str, t.Any] = {}

PLAIN_MARSHAL = 2
"""The last version of the format without references, in which equal values have equal bytes; several times as fast as repr() or JSON."""


def content_of(value: t.Any) -> bytes:
    """16 bytes that stand for a plain value: equal ones have the same. Raises ValueError for one of very many levels."""
    return hashlib.blake2b(marshal.dumps(value, PLAIN_MARSHAL), digest_size=16).digest()


_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"


def is_namespace(text: t.Any) -> bool:
    """Whether it is a label of DNS, as Kubernetes wants it. It becomes a part of an address, and of a path."""
    return isinstance(text, str) and len(text) <= 63 and re.fullmatch(_LABEL, text) is not None


def is_name(text: t.Any) -> bool:
    """Whether it is a subdomain of DNS."""
    return isinstance(text, str) and len(text) <= 253 and re.fullmatch(rf"{_LABEL}(\.{_LABEL})*", text) is not None


class Template:
    """What replicas have in common of what the rules read: one object for all pods of a controller with the same labels, annotations and containers.

    `containers` are those that run as long as the pod does: its own, and native sidecars among the initContainers.
    """

    __slots__ = (
        "namespace",
        "labels",
        "annotations",
        "containers",
        "init_containers",
        "host_network",
        "owner",
        "found_out",
    )

    def __init__(self, metadata: Thing, spec: Thing) -> None:
        self.namespace: str = metadata["namespace"]
        self.labels: Labels = metadata.get("labels") or NONE
        self.annotations: Labels = metadata.get("annotations") or NONE
        self.init_containers: tuple[Thing, ...] = tuple(spec.get("initContainers") or ())
        native = (c for c in self.init_containers if c.get("restartPolicy") == "Always")
        self.containers: tuple[Thing, ...] = (*spec["containers"], *native)
        self.host_network: bool = bool(spec.get("hostNetwork"))
        self.owner: tuple[str, str] | None = controller_of({"metadata": metadata})
        """Kind and name of the controller."""
        self.found_out: dict[t.Any, t.Any] = {}
        """What once_per_template() remembers."""

    @property
    def template(self) -> Template:
        """Whoever asks about a template may ask about a pod."""
        return self


class Pod(t.NamedTuple):
    """A pod as the rules read it. `ips`: at most one a family, the primary one first, empty for a pod that has none yet."""

    namespace: str
    name: str
    template: Template
    phase: str
    ips: tuple[str, ...]
    node: str
    uid: str
    deleting: bool
    spec_like: str
    """See `specLike` in shapes.py."""
    status: Thing

    @property
    def key(self) -> PodKey:
        return self.namespace, self.name

    @property
    def labels(self) -> Labels:
        return self.template.labels

    @property
    def annotations(self) -> Labels:
        return self.template.annotations

    @property
    def owner(self) -> tuple[str, str] | None:
        """Kind and name of its controller."""
        return self.template.owner

    @property
    def host_network(self) -> bool:
        return self.template.host_network

    @property
    def containers(self) -> tuple[Thing, ...]:
        return self.template.containers

    @property
    def is_running(self) -> bool:
        return self.phase == "Running"

    @property
    def is_ready(self) -> bool:
        """Whether the pod's containers are up: only then does a missing listener say much."""
        conditions = self.status.get("conditions") or ()
        return self.is_running and any(c["type"] == "Ready" and c.get("status") == "True" for c in conditions)

    @property
    def can_be_asked(self) -> bool:
        """Whether the pod is, or may yet become, an endpoint: neither ended nor about to end.

        Kubernetes takes such pods out of every Service: pkg/controller/endpointslice, pod lifecycle.
        """
        return self.phase not in ("Succeeded", "Failed") and not self.deleting

    @property
    def is_ending(self) -> bool:
        """Whether the pod is being deleted and has not ended; on a node that is gone that has no end."""
        return self.phase not in ("Succeeded", "Failed") and self.deleting

    def waiting(self) -> list[str]:
        """The containers that do not run, each with the reason the kubelet gives."""
        found = []
        for status in self.status.get("containerStatuses") or ():
            state = status.get("state") or {}
            if state.get("running") is None and state:
                why = (state.get("waiting") or state.get("terminated") or {}).get("reason") or "no reason given"
                found.append(f"container {status['name']} does not run ({why})")
        return found

    def container_ids(self) -> dict[str, str]:
        """Names of the pod's containers by id; in the API an id is `RUNTIME://ID`."""
        several = (
            *(self.status.get("initContainerStatuses") or ()),
            *(self.status.get("containerStatuses") or ()),
        )
        return {each["containerID"].partition("://")[2]: each["name"] for each in several if each.get("containerID")}


class PodReader:
    """Makes records of pods; those of the same content have one template."""

    def __init__(self) -> None:
        self._templates: dict[bytes, Template] = {}

    def __call__(self, pod: Thing) -> Pod:
        metadata, spec, status = pod["metadata"], pod["spec"], pod.get("status") or NONE
        template = self._template(metadata, spec)
        return Pod(
            template.namespace,
            metadata["name"],
            template,
            status.get("phase") or "",
            tuple(pod_ips(status)),
            spec.get("nodeName") or "",
            metadata.get("uid") or "",
            bool(metadata.get("deletionTimestamp")),
            pod.get("specLike") or "",
            status,
        )

    def _template(self, metadata: Thing, spec: Thing) -> Template:
        parts = (
            metadata["namespace"],
            metadata.get("labels"),
            metadata.get("annotations"),
            spec["containers"],
            spec.get("initContainers"),
            spec.get("hostNetwork"),
            controller_of({"metadata": metadata}),
        )
        content = content_of(parts)
        known = self._templates.get(content)
        if known is None:
            known = self._templates[content] = Template(metadata, spec)
        return known


def pod_of(namespace: str, owner: tuple[str, str]) -> Pod:
    """A pod that the controller `owner` would make, as far as its name and labels tell nothing."""
    kind, name = owner
    owners = [{"kind": kind, "name": name, "controller": True}]
    template = Template({"namespace": namespace, "ownerReferences": owners}, {"containers": ()})
    return Pod(namespace, "", template, "", (), "", "", False, "", NONE)


def read_pods(pods: t.Iterable[Thing]) -> list[Pod]:
    """The pods of a checked snapshot, in its order."""
    return list(map(PodReader(), pods))


def once_per_template(function: t.Callable[[Template], R]) -> t.Callable[[Pod | Template], R]:
    """`function` of a pod's template, found out once for all of its pods."""

    @functools.wraps(function)
    def of_pod(pod: Pod | Template) -> R:
        known = pod.template.found_out
        if function not in known:
            known[function] = function(pod.template)
        return t.cast(R, known[function])

    return of_pod


class PerTemplate(t.Generic[R]):
    """`function` of a pod (and of what else is given), remembered for all pods of one template. Only for functions that read nothing else of a pod."""

    def __init__(self, function: t.Callable[..., R]) -> None:
        self._function = function
        self._known: dict[t.Any, R] = {}

    def __call__(self, pod: Pod, *more: t.Hashable) -> R:
        which = (pod.template, more)
        if which not in self._known:
            self._known[which] = self._function(pod, *more)
        return self._known[which]


def key(thing: Thing) -> PodKey:
    return thing["metadata"]["namespace"], thing["metadata"]["name"]


ROLLOUT_LABELS = (
    "controller-revision-hash",
    "pod-template-generation",
    "pod-template-hash",
    "rollouts-pod-template-hash",
)
"""Labels that a controller gives to the pods of one template: pkg/apis/apps of Kubernetes, and Argo Rollouts. A rollout makes another template."""


def controller_of(thing: Thing) -> tuple[str, str] | None:
    """Kind and name of an object's controller."""
    for owner in (thing.get("metadata") or NONE).get("ownerReferences") or ():
        if owner.get("controller"):
            return owner["kind"], owner["name"]
    return None


def pod_ips(status: Thing) -> list[str]:
    """The addresses in a pod's status."""
    return [ip for ip in (entry["ip"] for entry in status.get("podIPs") or ()) if ip] or (
        [status["podIP"]] if status.get("podIP") else []
    )


def matches(selector: Labels, labels: Labels | None) -> bool:
    """Whether every pair of `selector` stands in `labels`."""
    labels = labels or NONE
    return all(labels.get(key) == value for key, value in selector.items())


def is_ipv6(address: str) -> bool:
    return ":" in address


def family_of(ip: str) -> str:
    return "IPv6" if is_ipv6(ip) else "IPv4"
