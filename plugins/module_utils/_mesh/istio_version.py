# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""Which Istio an istiod is, from what its image, its labels and its operator say: they agree, or it is not known."""

from __future__ import annotations

import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.istio_values import (
    Version,
    as_version,
    dotted,
    numbers,
    of_service_mesh,
)

IMAGE, POD, DEPLOYMENT, RESOURCE, STATED = "image", "pod", "deployment", "resource", "current_version"
"""Where a version stands: the tag of istiod's image, a label of its pod or of its Deployment, the status of a ServiceMeshControlPlane, or an option."""

PLACES = {
    IMAGE: "its image",
    POD: "label {} of its pod",
    DEPLOYMENT: "label {} of its Deployment",
    RESOURCE: "its ServiceMeshControlPlane",
}
SHORT = {POD: "by a label of its pod", DEPLOYMENT: "by a label of its Deployment", STATED: "as current_version says"}

ALWAYS_SERVICE_MESH = "maistra-version"
"""A label that holds a number of OpenShift Service Mesh and nothing else."""


class Known(t.NamedTuple):
    """What is known of a version. `service_mesh` is the number of OpenShift Service Mesh that it was read from, empty for none."""

    version: Version | None
    by: str = ""
    service_mesh: str = ""
    said: tuple[str, ...] = ()
    """What was read, where it is not enough to know: for people."""


def known(versions: t.Sequence[t.Mapping[str, str]], maistra: bool) -> Known:
    """`versions` as in the snapshot; what names no version says nothing, and those that do have to begin alike.

    `maistra` is whether the istiod is of OpenShift Service Mesh 2, whose numbers are then read by the table.
    """
    meant = [(each, *_meaning(each, maistra)) for each in versions]
    found = [(each, version, mesh) for each, version, mesh in meant if version]
    agreed = _in_common([version for _each, version, _mesh in found])
    if len(agreed) < 2:
        return Known(None, said=tuple(f"{_place(each)} says {each['text'][:60]}" for each in versions))
    mesh = next((mesh for _each, _version, mesh in found if mesh), "")
    return Known(agreed, found[0][0]["by"], mesh)


def _meaning(said: t.Mapping[str, str], maistra: bool) -> tuple[Version | None, str]:
    """The version of Istio, and the number of OpenShift Service Mesh that it was read from."""
    text = said["text"]
    own = as_version(text)
    if own and said["by"] != RESOURCE and said.get("label") != ALWAYS_SERVICE_MESH:
        return own, ""
    if maistra or said.get("label") == ALWAYS_SERVICE_MESH:
        mapped = of_service_mesh(text)
        return mapped, dotted((numbers(text) or ())[:2]) if mapped else ""
    return None, ""


def _in_common(versions: t.Sequence[Version]) -> Version:
    """What all begin with."""
    if not versions:
        return ()
    shortest = min(versions, key=len)
    return next((shortest[:n] for n in range(len(shortest), 0, -1) if all(v[:n] == shortest[:n] for v in versions)), ())


def _place(said: t.Mapping[str, str]) -> str:
    place = PLACES.get(said["by"])
    return place.format(said.get("label") or "") if place else said["by"]
