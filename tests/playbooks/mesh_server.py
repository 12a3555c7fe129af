# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An API server on loopback that keeps Sidecars."""

from __future__ import annotations

import copy
import json
import re
import typing as t

from ansible_collections.meshops.istio_precheck.tests.helpers import cluster
from ansible_collections.meshops.istio_precheck.tests.helpers.fault_server import (
    SUCCESS,
    ApiServer,
    Connection,
    http,
    out,
    refusal,
    says,
    status,
)

REMEDIATE = "meshops.istio_precheck.remediate_listeners"
GROUP = "networking.istio.io"
NAME, ID = "precheck-deployment-web", "IST0143/shop/Deployment/web/8080"


def kinds(version: str, **names: str) -> dict[str, t.Any]:
    verbs = ["get", "list", "create", "patch", "update", "delete"]
    served = [
        {"name": name, "singularName": "", "namespaced": True, "kind": kind, "verbs": verbs}
        for name, kind in names.items()
    ]
    return {"kind": "APIResourceList", "groupVersion": version, "resources": served}


def merged(into: t.Any, patch: t.Any) -> t.Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    result = dict(into) if isinstance(into, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


class Mesh(ApiServer):
    """One workload on localhost, istiod 1.9, and Sidecars that can be written; `broken` are the names that cannot."""

    def __init__(self, *sidecars: dict[str, t.Any], **options: t.Any) -> None:
        listening = says(out("LISTEN 0 128 127.0.0.1:8080 0.0.0.0:*\n"), status(SUCCESS))
        pilot = cluster.pod(name="istiod-1", namespace="istio-system", app="istiod", proxy=None, owner=None)
        pilot["spec"]["containers"] = [{"name": "discovery", "image": "docker.io/istio/pilot:1.9.9"}]
        version = {"groupVersion": f"{GROUP}/v1beta1", "version": "v1beta1"}
        super().__init__(
            {
                "/apis": {
                    "kind": "APIGroupList",
                    "groups": [{"name": GROUP, "versions": [version], "preferredVersion": version}],
                },
                "/api/v1": kinds(
                    "v1",
                    pods="Pod",
                    services="Service",
                    configmaps="ConfigMap",
                    replicationcontrollers="ReplicationController",
                ),
                f"/apis/{GROUP}/v1beta1": kinds(f"{GROUP}/v1beta1", sidecars="Sidecar"),
                "/api/v1/pods": [cluster.pod(), pilot],
                "/api/v1/services": [cluster.service()],
                "/api/v1/replicationcontrollers": [],
                "/api/v1/namespaces/istio-system/configmaps": [],
            },
            execs=listening,
            **options,
        )
        self.sidecars: dict[tuple[str, str], t.Any] = {}
        self.broken: set[str] = set()
        self.meanwhile: dict[str, t.Any] | None = None
        """A Sidecar that is made once somebody has found that there is none of its name."""
        self.after_trial: dict[str, t.Any] | None = None
        """A Sidecar that somebody makes or changes once the last of its name has been tried."""
        self._version = 0
        for each in sidecars:
            self._keep({"kind": "Sidecar", **copy.deepcopy(each)})

    def _keep(self, thing: dict[str, t.Any]) -> dict[str, t.Any]:
        self._version += 1
        meta = thing["metadata"] = {
            "uid": f"u-{self._version}",
            "creationTimestamp": "2026-11-23T12:00:00Z",
            **thing["metadata"],
        }
        meta["resourceVersion"] = str(self._version)
        self.sidecars[meta["namespace"], meta["name"]] = thing
        return thing

    @property
    def specs(self) -> dict[str, t.Any]:
        return {"/".join(key): copy.deepcopy(each["spec"]) for key, each in self.sidecars.items()}

    def writes(self) -> list[str]:
        """What was asked for beside reading, dry runs left out."""
        return [
            asked.line
            for asked in self.requests
            if f"/apis/{GROUP}" in asked.path and not asked.line.startswith("GET ") and "dryRun" not in asked.path
        ]

    def _route(self, connection: Connection) -> None:
        asked = connection.request()
        self.lists[f"/apis/{GROUP}/v1beta1/sidecars"] = [dict(each) for each in self.sidecars.values()]
        found = re.match(rf"/apis/{GROUP}/v1beta1/namespaces/(\w+)/sidecars(?:/([^?]+))?", asked.path)
        if found:
            code, body = self._sidecar(
                asked.line.split()[0], found[1], found[2], json.loads(asked.body or b"{}"), "dryRun" in asked.path
            )
            connection.send(
                http(code, body if isinstance(body, bytes) else json.dumps(body).encode(), "Connection: close")
            )
        else:
            connection.request = lambda: asked  # type: ignore[method-assign]
            super()._route(connection)

    def _sidecar(
        self, verb: str, namespace: str, name: str | None, body: dict[str, t.Any], dry: bool
    ) -> tuple[int, t.Any]:
        name = name or body["metadata"]["name"]
        there = self.sidecars.get((namespace, name))
        if self.meanwhile and there is None and verb == "GET" and name == self.meanwhile["metadata"]["name"]:
            self._keep(self.meanwhile)
        if name in self.broken and verb != "GET" and not dry:
            return 500, refusal(500, "InternalError", "etcd is on fire")
        if verb != "POST" and there is None:
            return 404, refusal(404, "NotFound", f"no Sidecar {name}")
        wanted = body.get("preconditions") or body.get("metadata") or {}
        if there and (
            verb == "POST"
            or wanted.get("resourceVersion", there["metadata"]["resourceVersion"])
            != there["metadata"]["resourceVersion"]
        ):
            return 409, refusal(409, "Conflict", "the object has been modified")
        if verb == "GET":
            return 200, there
        kept = copy.deepcopy(self.sidecars)
        if verb == "DELETE":
            del self.sidecars[namespace, name]
            answer: t.Any = json.loads(refusal(200, "", ""))
        else:
            managed = {field: there["metadata"][field] for field in ("uid", "creationTimestamp")} if there else {}
            answer = (
                merged(copy.deepcopy(there), body)
                if verb == "PATCH"
                else {**body, "metadata": {**body["metadata"], **managed}}
            )
            self._keep(answer)
        if dry:
            self.sidecars = kept
            if self.after_trial and self.after_trial["metadata"]["name"] == name:
                self._keep(copy.deepcopy(self.after_trial))
        return 200, answer
