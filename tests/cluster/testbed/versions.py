# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The versions of Kubernetes that a cluster can be, and all that differs between them, one row each."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

from .settings import TestbedError


@dataclasses.dataclass(frozen=True)
class Version:
    """`module` is the exact release whose Go module modules/kubernetes-NAME requires; without it, Debian's source is built."""

    name: str
    module: str | None = None
    apiserver: tuple[str, ...] = ()
    controller_manager: tuple[str, ...] = ()
    controllers: str = "*"
    kubelet: tuple[str, ...] = ()  # {socket} is containerd's
    kubelet_config: tuple[tuple[str, Any], ...] = ()  # the same
    slices: str = "discovery.k8s.io/v1"


VERSIONS = {
    version.name: version
    for version in (
        Version(
            "1.37",
            module="1.37.2",
            # Tests may add Nodes that no kubelet reports for; their pods are not to be evicted.
            controllers="*,-node-lifecycle-controller,-taint-eviction-controller",
            kubelet_config=(("containerRuntimeEndpoint", "unix://{socket}"), ("failCgroupV1", False)),
        ),
        Version(
            "1.20",
            apiserver=("--insecure-port=0", "--feature-gates=IPv6DualStack=true"),
            controller_manager=("--port=0", "--feature-gates=IPv6DualStack=true"),
            controllers="*,-nodelifecycle",
            kubelet=("--container-runtime=remote", "--container-runtime-endpoint=unix://{socket}"),
            kubelet_config=(("featureGates", {"IPv6DualStack": True}),),
            slices="discovery.k8s.io/v1beta1",
        ),
    )
}
NEWEST, OLDEST = next(iter(VERSIONS)), next(reversed(VERSIONS))


def chosen() -> Version:
    """The version of this cluster."""
    name = os.environ.get("ISTIO_PRECHECK_KUBERNETES") or NEWEST
    if name not in VERSIONS:
        raise TestbedError(f"ISTIO_PRECHECK_KUBERNETES={name}: there is {' and '.join(VERSIONS)}")
    return VERSIONS[name]
