# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""What the user may do, asked of the API server before ten thousand pods are told that he may not."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather._api import Api, ApiError

REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
"""Every user may ask this of itself: system:basic-user is bound to system:authenticated."""


def no_exec(api: Api, namespaces: t.Sequence[str]) -> list[str]:
    """The namespaces of these in which, so says the API server, the user may not run commands.

    One question for each verb that an exec takes; only where the answer is no, one for each namespace. A server that cannot say refuses
    nothing: an exec will show.
    """
    # The upgrade to a WebSocket is a GET; from 1.35 on a second check asks for create (AuthorizePodWebsocketUpgradeCreatePermission).
    try:
        verbs = ("get", "create") if minor(api.version) >= 35 else ("get",)
        if all(_may(api, verb, "") for verb in verbs):
            return []
        return [namespace for namespace in namespaces if not all(_may(api, verb, namespace) for verb in verbs)]
    except ApiError:
        return []


def minor(version: str) -> int:
    """Of `v1.35.1+k3s1` 35; 0 of what says none."""
    found = re.match(r"v?1\.(\d+)", version)
    return int(found[1]) if found else 0


def _may(api: Api, verb: str, namespace: str) -> bool:
    """Raises ApiError."""
    attributes = {
        "verb": verb,
        "resource": "pods",
        "subresource": "exec",
        **({"namespace": namespace} if namespace else {}),
    }
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    status = api.post(REVIEWS, review).get("status")
    if not isinstance(status, dict) or not isinstance(status.get("allowed"), bool):
        raise ApiError(f"POST {REVIEWS}", "the answer is no review")
    return status["allowed"]
