# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""How Istio writes things: versions, image references, truth, JSON in annotations. No function here raises."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.outside import OutsideError, from_json

Version = tuple[int, ...]
"""Major, minor and, where it is known, patch. `(1, 12, 5) <= (1, 12)` is false: compare with `<` and `>=` only."""


SERVICE_MESH: dict[Version, Version] = {
    (1, 0): (1, 1),
    (1, 1): (1, 4),
    (2, 0): (1, 6),
    (2, 1): (1, 9),
    (2, 2): (1, 12),
    (2, 3): (1, 14),
    (2, 4): (1, 16),
    (2, 5): (1, 18),
    (2, 6): (1, 20),
    (3, 0): (1, 24),
}
"""The Istio in each OpenShift Service Mesh: its release notes, and Makefile.core.mk of the branches maistra-2.0 to maistra-2.6 of maistra/istio."""


LONGEST_TAG = 128
"""Characters: the grammar of references, github.com/distribution/reference. A value of a label has at most 63."""


def numbers(text: str | None) -> Version | None:
    """Those of `1.20.8`, `1.11.2-asm.17-distroless`, `v1.9`, `release-1.3-latest-daily`; None for anything else.

    As TagToVersionString, operator/pkg/version/version.go@1.20.8. Whose numbers they are is another question. A text that is longer than any tag,
    as the author of a pod may write one, is not looked into: to find that it is none may take time by the square of its length.
    """
    if len(text or "") > LONGEST_TAG:
        return None
    found = re.fullmatch(
        r"(?:release-)?v?(\d{1,4})\.(\d{1,4})(?:\.(\d{1,9}))?(?:\.\d+)*(?:[-+.].*)?", text or "", re.ASCII
    )
    return tuple(int(part) for part in found.groups() if part) if found else None


def as_version(text: str | None) -> Version | None:
    """The version of Istio in a text, None for none: there is no other Istio than 1, so any other number is somebody else's."""
    found = numbers(text)
    return found if found and found[0] == 1 else None


def of_service_mesh(text: str | None) -> Version | None:
    """The version of Istio in the OpenShift Service Mesh of that number; None for one that the table does not have."""
    found = numbers(text)
    return SERVICE_MESH.get(found[:2]) if found else None


def dotted(version: Version) -> str:
    return ".".join(map(str, version))


def image_tag(image: str | None) -> str | None:
    """The tag of an image reference: no digest, no registry port. None where there is none."""
    name = (image or "").partition("@")[0].rpartition("/")[2]
    return name.partition(":")[2] or None


def as_object(text: str | None) -> dict[str, t.Any]:
    """The JSON object in `text`; an empty one if it holds anything else."""
    try:
        value = from_json(text or "{}")
    except OutsideError:
        return {}
    return value if isinstance(value, dict) else {}


def go_false(text: str | None) -> bool:
    """strconv.ParseBool, as istiod's env package uses it."""
    return text in ("0", "f", "F", "false", "FALSE", "False")


def go_true(text: str | None) -> bool:
    return text in ("1", "t", "T", "true", "TRUE", "True")
