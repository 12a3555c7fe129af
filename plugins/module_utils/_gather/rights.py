# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""What the user may do, asked of the API server before ten thousand pods are told that he may not."""

from __future__ import annotations

import contextlib
import re
import threading
import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.api import Api
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.attempts import EXEC_VERBS
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.errors import ApiError

REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
"""Every user may ask this of itself: system:basic-user is bound to system:authenticated."""


class ExecRights:
    """What the API server says of the user's right to run commands in pods. A server that cannot say refuses nothing: an exec will show."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._lock = threading.Lock()
        self._lacking: dict[str, list[str] | None] = {}

    def closed(self, namespaces: t.Sequence[str]) -> dict[str, list[str]]:
        """The namespaces of these in which the user may not run commands, each with the verbs that are missing.

        One question for each verb that an exec takes; only where the answer is no, one for each namespace.
        """
        try:
            if not namespaces or not lacking(self._api, self._asked(), "", "exec"):
                return {}
            found = {namespace: lacking(self._api, self._asked(), namespace, "exec") for namespace in namespaces}
        except ApiError:
            return {}
        with self._lock:
            self._lacking.update(found)
        return {namespace: verbs for namespace, verbs in found.items() if verbs}

    def lacking(self, namespace: str) -> list[str] | None:
        """The verbs that are missing there, asked for once; None if the API server does not say."""
        with self._lock:
            if namespace not in self._lacking:
                with contextlib.suppress(ApiError):
                    self._lacking[namespace] = lacking(self._api, self._asked(), namespace, "exec")
            return self._lacking.setdefault(namespace, None)

    def _asked(self) -> tuple[str, ...]:
        """Raises ApiError."""
        return EXEC_VERBS if minor(self._api.version) >= 35 else EXEC_VERBS[:1]


def lacking(api: Api, verbs: t.Sequence[str], namespace: str, subresource: str = "") -> list[str]:
    """Those of the verbs on pods that the user does not have in the namespace; empty: in all. Raises ApiError if the server does not say."""
    return [verb for verb in verbs if not _may(api, verb, namespace, subresource)]


def lacking_or_none(api: Api, verbs: t.Sequence[str], namespace: str, subresource: str = "") -> list[str] | None:
    """The same; None if the server does not say."""
    try:
        return lacking(api, verbs, namespace, subresource)
    except ApiError:
        return None


def minor(version: str) -> int:
    """Of `v1.35.1+k3s1` 35; 0 of what says none."""
    found = re.match(r"v?1\.(\d+)", version)
    return int(found[1]) if found else 0


def _may(api: Api, verb: str, namespace: str, subresource: str) -> bool:
    """Raises ApiError."""
    attributes = {
        "verb": verb,
        "resource": "pods",
        **({"subresource": subresource} if subresource else {}),
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
