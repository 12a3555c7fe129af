# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""What a Kubernetes object says of itself: a pod's key, addresses, containers and state."""

from __future__ import annotations

import typing as t

PodKey = tuple[str, str]
Thing = dict[str, t.Any]


def key(thing: Thing) -> PodKey:
    return thing["metadata"]["namespace"], thing["metadata"]["name"]


def can_be_asked(pod: Thing) -> bool:
    """Whether the pod is, or may yet become, an endpoint: neither ended nor about to end.

    Kubernetes takes such pods out of every Service: pkg/controller/endpointslice, pod lifecycle.
    """
    return (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed") and not pod["metadata"].get(
        "deletionTimestamp"
    )


def pod_ips(pod: Thing) -> list[str]:
    """The pod's addresses, at most one a family, the primary one first. Empty for a pod that has none yet."""
    status = pod.get("status") or {}
    return [ip for ip in (entry["ip"] for entry in status.get("podIPs") or ()) if ip] or (
        [status["podIP"]] if status.get("podIP") else []
    )


def running_containers(pod: Thing) -> list[Thing]:
    """The containers that run as long as the pod does: its own, and native sidecars among the initContainers."""
    native = [c for c in pod["spec"].get("initContainers") or () if c.get("restartPolicy") == "Always"]
    return list(pod["spec"]["containers"]) + native


def matches(selector: t.Mapping[str, str], labels: t.Mapping[str, str] | None) -> bool:
    """Whether every pair of `selector` stands in `labels`."""
    labels = labels or {}
    return all(labels.get(key) == value for key, value in selector.items())


def is_running(pod: Thing) -> bool:
    return (pod.get("status") or {}).get("phase") == "Running"


def is_ready(pod: Thing) -> bool:
    """Whether the pod's containers are up: only then does a missing listener say much."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return is_running(pod) and any(c["type"] == "Ready" and c.get("status") == "True" for c in conditions)


def waiting(pod: Thing) -> list[str]:
    """The containers that do not run, each with the reason the kubelet gives."""
    found = []
    for status in (pod.get("status") or {}).get("containerStatuses") or ():
        state = status.get("state") or {}
        if state.get("running") is None and state:
            why = (state.get("waiting") or state.get("terminated") or {}).get("reason") or "no reason given"
            found.append(f"container {status['name']} does not run ({why})")
    return found


def container_ids(pod: Thing) -> dict[str, str]:
    """Names of the pod's containers by id; in the API an id is `RUNTIME://ID`."""
    status = pod.get("status") or {}
    several = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    return {each["containerID"].partition("://")[2]: each["name"] for each in several if each.get("containerID")}


def is_ipv6(address: str) -> bool:
    return ":" in address


def family_of(ip: str) -> str:
    return "IPv6" if is_ipv6(ip) else "IPv4"
