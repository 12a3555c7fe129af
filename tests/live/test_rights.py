# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The manifests of docs/rbac on real RBAC: enough as they are, and each right of them missed by name."""

from __future__ import annotations

import copy
import json
import pathlib
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml

from ansible_collections.meshops.istio_precheck.tests.helpers import running

ROOT = pathlib.Path(__file__).resolve().parents[2]
RBAC = ROOT / "docs" / "rbac"
SCOPES = {"cluster": {}, "namespace": {"namespaces": ["cured"]}}
HOME = "istio-precheck"
EXISTS = (None, "get", "namespaces")
"""By which a namespace that holds nothing is told from one that is not there."""


def manifest(scope, name="istio-precheck", without=None):
    """The objects of a file, for namespace `cured`; under another name, and without one (namespace, verb, resource)."""
    import testcluster

    objects = copy.deepcopy(testcluster.load(RBAC / f"{scope}.yaml"))
    for each in objects:
        where = each["metadata"].get("namespace")
        if where == "shop":
            each["metadata"]["namespace"] = "cured"
        if each["kind"] == "Namespace":
            continue
        each["metadata"]["name"] = name
        for part in [each.get("roleRef")] + each.get("subjects", []):
            if part:
                part["name"] = name
        if "rules" in each:
            each["rules"] = [
                {**rule, "verbs": [verb], "resources": [resource]}
                for rule in each["rules"]
                for resource in rule["resources"]
                for verb in rule["verbs"]
                if (each["metadata"].get("namespace"), verb, resource) != without
            ]
    return objects


def rights(scope):
    found = []
    for each in manifest(scope):
        found += [
            (each["metadata"].get("namespace"), rule["verbs"][0], rule["resources"][0])
            for rule in each.get("rules", ())
        ]
    return found


class Account:
    """A ServiceAccount with the rights of a file, or all but one of them."""

    def __init__(self, cluster, scope, name, without=None):
        self.objects = manifest(scope, name, without)
        self.user = f"system:serviceaccount:{HOME}:{name}"
        self._cluster, self._name = cluster, name

    def kubeconfig(self):
        from testbed import control_plane, pki

        path = self._cluster._files / f"{self._name}.kubeconfig"
        if self._cluster.ours:
            return pki.user_kubeconfig(path, control_plane.server(), self.user, [])
        token = self._cluster.kubectl("create", "token", self._name, "--namespace", HOME).stdout.strip()
        cluster = json.loads(
            self._cluster.kubectl("config", "view", "--raw", "--minify", "--flatten", "--output=json").stdout
        )["clusters"][0]["cluster"]
        path.write_text(pki.kubeconfig_text(cluster, self.user, {"token": token}), encoding="utf-8")
        return path


@pytest.fixture(scope="module")
def accounts(workloads):
    """By (scope, right that is missing, or None), an account."""
    made = {}
    for scope in SCOPES:
        for number, right in enumerate([None, *rights(scope)]):
            made[scope, right] = Account(workloads, scope, f"precheck-{scope}-{number}", right)
    objects = {
        (each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"]): each
        for account in made.values()
        for each in account.objects
    }
    workloads.apply(objects.values())
    config = workloads.get("configmap", "istio", "--namespace", "istio-system")
    # A selector of every namespace, so that their labels are asked for and nothing depends on them.
    selecting = {"mesh": config["data"]["mesh"] + "\ndiscoverySelectors: [{}]\n"}
    workloads.kubectl(
        "patch", "configmap", "istio", "--namespace=istio-system", "--patch", json.dumps({"data": selecting})
    )
    yield made
    was = json.dumps({"data": {"mesh": config["data"]["mesh"]}})
    workloads.kubectl("patch", "configmap", "istio", "--namespace=istio-system", "--patch", was)
    workloads.kubectl(
        "delete", "--ignore-not-found", "--wait=false", "--filename=-", input=yaml.safe_dump_all(objects.values())
    )
    workloads.delete_namespace(HOME)


def minor(cluster):
    return int(json.loads(cluster.kubectl("version", "--output=json").stdout)["serverVersion"]["minor"].rstrip("+"))


@pytest.fixture(scope="module")
def ended(accounts, workloads, tmp_path_factory):
    """What the module says with each account, several at once: most of it is starting Python."""

    def one(which):
        scope, right = which
        place = tmp_path_factory.mktemp("rights")
        options = (
            {"namespaces": [HOME]} if right == EXISTS else SCOPES[scope]
        )  # which only empty ones are looked at for
        return running.module(place, kubeconfig=str(accounts[which].kubeconfig()), **options)

    kubeconfigs = list(accounts)
    with ThreadPoolExecutor(max_workers=3) as pool:
        return dict(zip(kubeconfigs, pool.map(one, kubeconfigs)))


@pytest.mark.parametrize("scope", SCOPES)
def test_with_the_rights_of_the_file_everything_works(ended, scope):
    run = ended[scope, None]
    assert (run.code, run.stderr) == (0, ""), run.output
    assert {entry["reason"] for entry in run.result["unchecked"]} <= ({"no_tool"} if scope == "cluster" else set())
    assert run.result["summary"]["pods_read"] >= 4
    assert [hint for hint in run.result["hints"] if "no pilot-agent" not in hint] == []  # these proxies have none


REQUIRED = {"services", "pods", "sidecars", "serviceentries"}


@pytest.mark.parametrize(("scope", "right"), [(scope, right) for scope in SCOPES for right in rights(scope)])
def test_without_one_of_them_the_verb_and_the_resource_are_named(ended, workloads, scope, right):
    place, verb, resource = right
    run = ended[scope, right]
    assert (run.stderr, run.strays, run.files) == ("", [], [])
    said = json.dumps(run.result).replace('\\"', '"')
    wanting = f'cannot {verb} resource "{resource}"'
    if resource == "pods/exec" and verb == "create":
        if minor(workloads) < 35:  # nobody asks for it
            assert wanting not in said and "lacks the verb" not in said and run.code == 0
            return
        # The API server gives no reason for this one: the module asked which verb it was.
        wanting = f'The user lacks the verb {verb} on resource "{resource}"'
    assert wanting in said
    if place:
        assert f'in the namespace "{place}"' in said
    control_plane = place == "istio-system"
    if (resource in REQUIRED and not control_plane) or right == EXISTS:
        assert run.code == 1 and wanting in run.result["msg"]
    elif resource == "pods/exec":
        assert run.code == 1 and "Grant the verbs get and create on pods/exec." in run.result["msg"]
        assert {entry["reason"] for entry in run.result["unchecked"]} >= {"forbidden"}
    else:
        assert run.code == 0 and any(wanting in hint for hint in run.result["hints"])


def test_impersonation_reaches_lists_and_execs(accounts, workloads, tmp_path):
    """Who may do nothing but impersonate does what the other one may, and no more."""
    full, no_exec = accounts["namespace", None], accounts["namespace", ("cured", "get", "pods/exec")]
    rule = {"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["impersonate"]}
    kubeconfig = str(workloads.kubeconfig_for("only-impersonates", [rule]))
    allowed = running.module(tmp_path, kubeconfig=kubeconfig, impersonate_user=full.user, namespaces=["cured"])
    assert (allowed.code, allowed.result.get("unchecked")) == (0, []), allowed.output
    assert allowed.result["summary"]["pods_read"] >= 4
    refused = running.module(
        tmp_path, kubeconfig=str(workloads.kubeconfig), impersonate_user=no_exec.user, namespaces=["cured"]
    )
    assert refused.code == 1
    assert f'User "{no_exec.user}" cannot get resource "pods/exec"' in refused.result["msg"]
