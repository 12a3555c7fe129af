# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The clusters in distributions/, one a file: what it is about, the cases that are tried with it, and its objects.

A case has `options` (of the module), `refused` (patterns of NAMESPACE/RESOURCE whose lists are refused; a list in all namespaces has no NAMESPACE),
`edit` and `without` (objects changed and left out, by kind, namespace and name), `plus` (objects more), `listens` (what pods listen on, if not
127.0.0.1:8080), `wanted` by NAMESPACE/WORKLOAD, `hints` (patterns, one for each), and `refuses` (what the options are refused with).
"""

from __future__ import annotations

import copy
import fnmatch
import json
import pathlib
import re
import typing as t

import yaml

from ansible_collections.meshops.istio_precheck.tests.helpers.fault_server import (
    SUCCESS,
    ApiServer,
    Connection,
    http,
    out,
    refusal,
    status,
)

Thing = dict[str, t.Any]

RESOURCES = {
    "ConfigMap": ("v1", "configmaps"),
    "Deployment": ("apps/v1", "deployments"),
    "IstioRevision": ("sailoperator.io/v1", "istiorevisions"),
    "Namespace": ("v1", "namespaces"),
    "Pod": ("v1", "pods"),
    "ReplicaSet": ("apps/v1", "replicasets"),
    "ReplicationController": ("v1", "replicationcontrollers"),
    "Service": ("v1", "services"),
    "ServiceMeshControlPlane": ("maistra.io/v2", "servicemeshcontrolplanes"),
    "Sidecar": ("networking.istio.io/v1beta1", "sidecars"),
    "ServiceEntry": ("networking.istio.io/v1beta1", "serviceentries"),
    "WorkloadEntry": ("networking.istio.io/v1beta1", "workloadentries"),
    "WorkloadGroup": ("networking.istio.io/v1beta1", "workloadgroups"),
    "EnvoyFilter": ("networking.istio.io/v1alpha3", "envoyfilters"),
}
ISTIO_HAS = [each for each in RESOURCES.values() if each[0].startswith("networking.istio.io/")]


class Case(t.NamedTuple):
    name: str
    objects: list[Thing]
    said: Thing

    @property
    def options(self) -> Thing:
        return self.said.get("options") or {}

    def find(self, kind: str) -> list[Thing]:
        return [each for each in self.objects if each["kind"] == kind]

    def refuses(self, namespace: str, resource: str) -> bool:
        return any(fnmatch.fnmatch(f"{namespace}/{resource}", each) for each in self.said.get("refused") or ())

    def table(self, pod: str) -> str:
        """What `ss -ltnH` says in NAMESPACE/POD: its program, and the proxy."""
        binds = (self.said.get("listens") or {}).get(pod, ["127.0.0.1:8080"])
        return "".join(f"LISTEN 0 128 {bind} 0.0.0.0:*\n" for bind in (*binds, "0.0.0.0:15006"))


def cases() -> list[Case]:
    found = []
    for path in sorted((pathlib.Path(__file__).parent / "distributions").glob("*.yml")):
        read = yaml.safe_load(path.read_text("utf-8"))
        found += [Case(f"{path.stem}: {each['name']}", _edited(read["objects"], each), each) for each in read["cases"]]
    return found


def _is(thing: Thing, wanted: Thing) -> bool:
    meta = thing["metadata"]
    return thing["kind"] == wanted["kind"] and all(
        meta.get(field) == wanted[field] for field in ("namespace", "name") if field in wanted
    )


def _edited(objects: list[Thing], case: Thing) -> list[Thing]:
    found = [
        copy.deepcopy(each) for each in objects if not any(_is(each, gone) for gone in case.get("without") or ())
    ] + (case.get("plus") or [])
    for edit in case.get("edit") or ():
        concerned = [each for each in found if _is(each, edit)]
        assert concerned, edit
        for each in concerned:
            each["metadata"].setdefault("labels", {}).update(edit.get("labels") or {})
            if "phase" in edit:
                each["status"] = {"phase": edit["phase"]}
            if "mesh" in edit:
                each["data"]["mesh"] = edit["mesh"]
            for container in each.get("spec", {}).get("containers") or ():
                container["image"] = edit.get("image", container["image"])
                for name, value in (edit.get("env") or {}).items():
                    entry = {"value": value} if isinstance(value, str) else {"valueFrom": value}
                    others = [e for e in container.get("env") or () if e["name"] != name]
                    container["env"] = [*others, {"name": name, **entry}]
    return found


def forbidden(namespace: str, resource: str) -> str:
    where = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
    return f'{resource} is forbidden: User "jane" cannot list resource "{resource}" in API group "" {where}'


class Cluster(ApiServer):
    """An API server with the objects of a case."""

    def __init__(self, case: Case, **options: t.Any) -> None:
        self._case = case
        super().__init__(_lists(case), execs=self._exec, **options)

    def _exec(self, connection: Connection) -> None:
        asked = connection.upgrade()
        found = re.match("/api/v1/namespaces/([^/]+)/pods/([^/]+)/exec", asked.path)
        assert found
        for part in (out(self._case.table(f"{found[1]}/{found[2]}")), status(SUCCESS)):
            connection.send(part)

    def _route(self, connection: Connection) -> None:
        asked = connection.request()
        connection.request = lambda: asked  # type: ignore[method-assign]
        found = re.fullmatch(r"/(?:api|apis/[^/]+)/v\w+(?:/namespaces/([^/]+))?/([a-z]+)", asked.path.partition("?")[0])
        if found and self._case.refuses(found[1] or "", found[2]):
            said = refusal(403, "Forbidden", forbidden(found[1] or "", found[2]))
            connection.send(http(403, said, "Connection: close"))
        else:
            super()._route(connection)


def _lists(case: Case) -> dict[str, list[Thing]]:
    lists: dict[str, list[Thing]] = {}
    namespaces = [each["metadata"]["name"] for each in case.find("Namespace")]
    kinds = {RESOURCES[each["kind"]] for each in case.objects} | _core() | set(ISTIO_HAS)
    for version, resource in kinds:
        prefix = f"/{'apis' if '/' in version else 'api'}/{version}"
        lists[f"{prefix}/{resource}"] = []
        for namespace in (*namespaces, "istio-system"):
            lists[f"{prefix}/namespaces/{namespace}/{resource}"] = []
    for each in case.objects:
        version, resource = RESOURCES[each["kind"]]
        prefix = f"/{'apis' if '/' in version else 'api'}/{version}"
        lists[f"{prefix}/{resource}"].append(each)
        namespace = each["metadata"].get("namespace")
        if namespace:
            lists[f"{prefix}/namespaces/{namespace}/{resource}"].append(each)
    return lists


def _core() -> set[tuple[str, str]]:
    return {each for each in RESOURCES.values() if each[0] in ("v1", "apps/v1")}


def k8s_info(case: Case, item: Thing) -> Thing:
    """What kubernetes.core.k8s_info returns for a request of the gather by tasks."""
    version, resource = RESOURCES.get(item["kind"], (item["api_version"], item["kind"].lower()))
    if item["kind"] not in {each["kind"] for each in case.objects} and (version, resource) not in {
        *_core(),
        *ISTIO_HAS,
    }:
        return {"item": item, "api_found": False, "resources": []}
    if item["api_version"] != version:
        return {"item": item, "api_found": False, "resources": []}
    if case.refuses(item["namespace"], resource):
        body = json.dumps({"kind": "Status", "message": forbidden(item["namespace"], resource), "code": 403})
        said = f"(403)\nReason: Forbidden\nHTTP response body: {body}\n"
        return {"item": item, "msg": f"Exception '{said}' raised while trying to get resource"}
    selectors = dict(each.split("=") for each in item["label_selectors"])
    found = [
        copy.deepcopy(each)
        for each in case.find(item["kind"])
        if item["namespace"] in ("", each["metadata"].get("namespace"))
        and selectors.items() <= (each["metadata"].get("labels") or {}).items()
    ]
    return {"item": item, "api_found": True, "resources": found}
