# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""Sidecars that are to be applied: read from the files that a team reviewed, and checked."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.kube import Thing, is_name, is_namespace
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.outside import OutsideError, from_yaml
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.schema import (
    Mapping,
    Only,
    Required,
    SnapshotError,
    check_shape,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.text import OutsideTextError

"""Kubernetes checks the length of a name as a whole, not of its parts between dots: IsDNS1123Label (a namespace's name), IsDNS1123Subdomain (most others)
in k8s.io/apimachinery/pkg/util/validation/validation.go@v0.20.2."""

MANIFEST = Only(
    {
        "apiVersion": Required(str),
        "kind": Required(str),
        "metadata": Required(
            Only(
                {
                    "name": Required(str),
                    "namespace": Required(str),
                    "labels": Mapping(str),
                    "annotations": Mapping(str),
                    "resourceVersion": str,
                }
            )
        ),
        "spec": Required(dict),
    }
)
"""A Sidecar that is to be applied: what this collection writes, and what reviewers may add to it."""


class ManifestError(OutsideTextError):
    """A remediation or a file that cannot be used; the text names it, and is printable."""


def sidecar_manifests(files: t.Sequence[Thing]) -> list[Thing]:
    """The Sidecars in files `{path, content}`, by namespace and name. Raises ManifestError for anything else in them."""
    found: dict[tuple[str, str], Thing] = {}
    for file in files:
        try:
            documents = from_yaml(file["content"])
        except OutsideError as error:
            raise ManifestError(f"{file['path']}: {error}") from error
        for document in documents:
            key = check_manifest(document, file["path"])
            if key in found:
                raise ManifestError(f"{file['path']} holds Sidecar {'/'.join(key)}, which another file holds too")
            found[key] = document
    return [found[key] for key in sorted(found)]


def check_manifest(manifest: t.Any, where: str) -> tuple[str, str]:
    """Namespace and name of a Sidecar that may be applied. Raises ManifestError, naming `where` and the path inside it, for anything else."""
    key = legal_names(manifest, where)
    if not isinstance(manifest.get("spec"), dict) or not manifest["spec"]:
        raise ManifestError(f"{where} holds a Sidecar without a spec")
    try:
        check_shape(manifest, MANIFEST, "")
    except SnapshotError as error:
        raise ManifestError(f"{where}: {error}") from error
    return key


def legal_names(manifest: t.Any, where: str) -> tuple[str, str]:
    """Namespace and name of a Sidecar. Raises ManifestError, naming `where`, if it is none or they are not what Kubernetes takes."""
    is_sidecar = (
        isinstance(manifest, dict)
        and manifest.get("kind") == "Sidecar"
        and re.fullmatch(r"networking\.istio\.io/v1[a-z0-9]*", str(manifest.get("apiVersion")))
    )
    meta = manifest.get("metadata") if is_sidecar else None
    if not isinstance(meta, dict):
        raise ManifestError(f"{where} holds something other than a Sidecar of networking.istio.io")
    namespace: t.Any = meta.get("namespace")
    name: t.Any = meta.get("name")
    if not is_namespace(namespace):
        raise ManifestError(f"{where}: {namespace!r} is no name of a namespace")
    if not is_name(name):
        raise ManifestError(f"{where}: {name!r} is no name of a Sidecar")
    return namespace, name
