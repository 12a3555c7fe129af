# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The life of a gate on a real API server: it fails, the remedy is applied, it passes, the remedy is taken back, it fails again."""

from __future__ import annotations

import copy
import json
import pathlib

import pytest
import yaml
from ansible_collections.kubernetes.core.plugins.module_utils.k8s.client import get_api_client

from ansible_collections.meshops.istio_precheck.plugins.module_utils._apply.apply import RemedyError, apply, take_back
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.api import Api
from ansible_collections.meshops.istio_precheck.tests.helpers.playing import play
from ansible_collections.meshops.istio_precheck.tests.helpers.remedies import manifests

CRDS = pathlib.Path(__file__).resolve().parents[3] / "shared" / "data" / "istio-crds"
REMEDIATE = "meshops.istio_precheck.remediate_listeners"
ISTIO, HOME, CHECKED = "remedy-istio", "remedy-life", "remedy-crd"
SERVER_MANAGED = ("creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid")
CREATED = f"IST0143/{HOME}/Deployment/netcat/8080"
UPDATED = f"IST0143/{HOME}/Deployment/two-ports/8080"

# It selects the pods of one workload, with everything that an edit could lose.
EXISTING = {
    "apiVersion": "networking.istio.io/v1beta1",
    "kind": "Sidecar",
    "metadata": {
        "name": "two-ports",
        "namespace": HOME,
        "labels": {"team": "shop"},
        "annotations": {"why": "a test", "empty": ""},
    },
    "spec": {
        "workloadSelector": {"labels": {"app": "two-ports"}},
        "ingress": [
            {"port": {"number": 9090, "protocol": "HTTP", "name": "metrics"}, "defaultEndpoint": "127.0.0.1:9090"}
        ],
        "egress": [{"hosts": ["./*", "istio-system/*"]}],
        "outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"},
    },
}
DEFAULT = {
    "apiVersion": "networking.istio.io/v1beta1",
    "kind": "Sidecar",
    "metadata": {"name": "default", "namespace": HOME},
    "spec": {"egress": [{"hosts": ["./*"]}], "outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"}},
}


def moved(path, namespace, **to):
    """The objects of a file that are named in `to`, in another namespace."""
    import testcluster

    found = []
    for each in testcluster.load(path):
        meta = each["metadata"]
        if each["kind"] == "Namespace":
            meta["name"] = namespace
        elif to and meta["name"] not in to["only"]:
            continue
        else:
            meta["namespace"] = namespace
        if each["kind"] == "ConfigMap":
            each["data"]["mesh"] = f"rootNamespace: {namespace}\n"
        found.append(each)
    return found


@pytest.fixture(scope="module")
def mesh(cluster):
    """Two workloads on localhost and a mesh of their own."""
    from testcluster import WORKLOADS

    cluster.delete_namespace(ISTIO, HOME)
    cluster.apply(moved(WORKLOADS / "istio-system.yaml", ISTIO))
    cluster.apply(moved(WORKLOADS / "ist0143.yaml", HOME, only=("netcat",)))
    cluster.apply(moved(WORKLOADS / "awkward.yaml", HOME, only=("two-ports",)))
    for namespace in (ISTIO, HOME):
        cluster.wait_ready(namespace)
    yield cluster
    cluster.delete_namespace(ISTIO, HOME)


@pytest.fixture
def sidecars(mesh):
    """The Sidecars that the namespace has at first."""
    mesh.kubectl("delete", "sidecars", "--all", "--namespace", HOME)
    mesh.apply(copy.deepcopy([EXISTING, DEFAULT]))
    return mesh


def gate(cluster, playbook="meshops.istio_precheck.check_listeners", *arguments, **variables):
    return play(
        *arguments,
        playbook=playbook,
        check_listeners_kubeconfig=str(cluster.kubeconfig),
        check_listeners_namespaces=[HOME],
        check_listeners_istio_namespace=ISTIO,
        check_listeners_remediate_unreachable=True,  # the other port of `two-ports`, which its own Sidecar does not list
        **variables,
    )


def objects(cluster):
    """Every Sidecar of the namespace as bytes, but for what the server alone writes."""
    found = cluster.get("sidecars", "--namespace", HOME)["items"]
    for each in found:
        each["metadata"] = {name: value for name, value in each["metadata"].items() if name not in SERVER_MANAGED}
    return json.dumps(found, indent=1, sort_keys=True)


def versions(cluster):
    return {
        each["metadata"]["name"]: each["metadata"]["resourceVersion"]
        for each in cluster.get("sidecars", "--namespace", HOME)["items"]
    }


def test_the_gate_fails_passes_with_the_remedy_and_fails_again_without_it(sidecars, tmp_path):
    undo = str(tmp_path / "undo.json")
    before = objects(sidecars)
    failing = gate(sidecars, check_listeners_remediation_dir=str(tmp_path / "sidecars"))
    assert failing.code == 2, failing.output
    assert failing.ids == [CREATED, UPDATED]

    reviewed = {"remediate_listeners_dir": str(tmp_path / "sidecars"), "remediate_listeners_undo_file": undo}
    tried = gate(sidecars, REMEDIATE, "--check", "--diff", **reviewed)
    assert tried.code == 0, tried.output
    assert objects(sidecars) == before, "check mode changed the cluster"
    assert not pathlib.Path(undo).exists()

    remedied = gate(sidecars, REMEDIATE, "--diff", **reviewed)
    assert remedied.code == 0, remedied.output
    assert remedied.passed is True
    assert remedied.result["findings"] == []
    assert [record["id"] for record in remedied.result["remediated"]] == [CREATED, UPDATED]
    assert CREATED in remedied.output[remedied.output.index("Show the fixed ports") :]
    after = objects(sidecars)
    was, now = ({each["metadata"]["name"]: each for each in json.loads(state)} for state in (before, after))
    assert set(now) - set(was) == {"precheck-deployment-netcat"}
    assert now["default"] == was["default"]
    for each in (was, now):
        each["two-ports"]["spec"].pop("ingress")
    assert now["two-ports"] == was["two-ports"], "the update touched more than ingress"

    at = versions(sidecars)
    again = gate(sidecars, REMEDIATE, **reviewed)
    assert again.code == 0, again.output
    assert "changed=0" in again.output
    assert versions(sidecars) == at

    untried = gate(sidecars, REMEDIATE, "--check", remediate_listeners_undo=True, remediate_listeners_undo_file=undo)
    assert untried.code == 0, untried.output
    assert objects(sidecars) == after, "check mode changed the cluster"
    undone = gate(sidecars, REMEDIATE, remediate_listeners_undo=True, remediate_listeners_undo_file=undo)
    assert undone.code == 0, undone.output
    assert objects(sidecars) == before

    assert gate(sidecars).ids == [CREATED, UPDATED]
    twice = gate(sidecars, REMEDIATE, remediate_listeners_undo=True, remediate_listeners_undo_file=undo)
    assert twice.code == 0, twice.output
    assert "changed=0" in twice.output


def test_a_fresh_plan_needs_no_directory(sidecars, tmp_path):
    remedied = gate(
        sidecars,
        REMEDIATE,
        remediate_listeners_undo_file=str(tmp_path / "undo.json"),
        check_listeners_fail_on=["breaks_on_upgrade"],
    )
    assert remedied.code == 0, remedied.output
    assert [record["id"] for record in remedied.result["remediated"]] == [CREATED, UPDATED]


def plan(cluster, tmp_path):
    gate(cluster, check_listeners_remediation_dir=str(tmp_path / "sidecars"))
    return {
        "remediate_listeners_dir": str(tmp_path / "sidecars"),
        "remediate_listeners_undo_file": str(tmp_path / "undo.json"),
    }


def test_nothing_is_applied_if_a_sidecar_changed_since_the_plan_was_made(sidecars, tmp_path):
    reviewed = plan(sidecars, tmp_path)
    sidecars.kubectl("label", "sidecar", "two-ports", "team=other", "--overwrite", "--namespace", HOME)
    before = objects(sidecars)
    refused = gate(sidecars, REMEDIATE, **reviewed)
    assert refused.code == 2
    assert f"Sidecar {HOME}/two-ports: it changed since the plan was made" in refused.output
    assert objects(sidecars) == before
    assert not (tmp_path / "undo.json").exists()


def test_nothing_is_applied_if_the_default_that_a_plan_carries_over_changed(sidecars, tmp_path):
    reviewed = plan(sidecars, tmp_path)
    sidecars.kubectl("label", "sidecar", "default", "team=other", "--overwrite", "--namespace", HOME)
    before = objects(sidecars)
    refused = gate(sidecars, REMEDIATE, **reviewed)
    assert refused.code == 2
    assert "it carries over the settings of" in refused.output
    assert objects(sidecars) == before


def test_nothing_is_applied_if_the_api_server_refuses_one(sidecars, tmp_path):
    reviewed = plan(sidecars, tmp_path)
    bad = tmp_path / "sidecars" / HOME / "two-ports.yaml"
    manifest = yaml.safe_load(bad.read_text("utf-8"))
    manifest["metadata"]["labels"] = {
        "team": "no value for a label!"
    }  # refused by every API server, whether it knows the schema of Sidecars or not
    bad.write_text(yaml.safe_dump(manifest), "utf-8")
    before = objects(sidecars)
    refused = gate(sidecars, REMEDIATE, **reviewed)
    assert refused.code == 2
    assert "metadata.labels" in refused.output
    assert objects(sidecars) == before
    assert not (tmp_path / "undo.json").exists()


def test_an_undo_leaves_alone_what_someone_changed_since(sidecars, tmp_path):
    reviewed = plan(sidecars, tmp_path)
    assert gate(sidecars, REMEDIATE, **reviewed).code == 0
    sidecars.kubectl("label", "sidecar", "two-ports", "team=other", "--overwrite", "--namespace", HOME)
    before = objects(sidecars)
    refused = gate(
        sidecars,
        REMEDIATE,
        remediate_listeners_undo=True,
        remediate_listeners_undo_file=reviewed["remediate_listeners_undo_file"],
    )
    assert refused.code == 2
    assert f"Sidecar {HOME}/two-ports changed since it was applied" in refused.output
    assert objects(sidecars) == before


@pytest.fixture(params=["1.10.0", "1.20.8"])
def schema(cluster, request):
    """The cluster with the definition that this Istio ships, and afterwards with the one that it had."""
    path = CRDS / f"sidecars-{request.param}.yaml"
    if not path.exists():
        pytest.skip(
            f"{path.name}, Istio's own definition, is not beside the checkout; the models of cloudcoil-models-istio judge the schema in the unit tests"
        )
    cluster.install_sidecar_crd(path)
    cluster.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": CHECKED}}])
    yield request.param
    cluster.install_sidecar_crd()
    cluster.delete_namespace(CHECKED)


def test_the_api_server_takes_every_manifest_that_any_test_renders_whole(cluster, schema):
    rendered = []
    for manifest in manifests(300):
        if schema == "1.10.0" and "inboundConnectionPool" in manifest["spec"]:
            continue  # no Sidecar of a cluster with that definition can have one to carry over
        metadata = {name: value for name, value in manifest["metadata"].items() if name != "resourceVersion"}
        rendered.append({**manifest, "metadata": {**metadata, "namespace": CHECKED}})
    assert len(rendered) > 10
    # What the schema does not know is refused by kubectl, and would be cut out by the server.
    done = cluster.kubectl(
        "create",
        "--dry-run=server",
        "--validate=true",
        "--output=yaml",
        "--filename=-",
        input=yaml.safe_dump_all(rendered),
    )
    taken = [each for each in yaml.safe_load_all(done.stdout) if each]
    assert [each["spec"] for each in taken] == [each["spec"] for each in rendered]


class Racing(Api):
    """Somebody else is at work between the trial and the rest; `meanwhile` is what they do."""

    meanwhile = staticmethod(lambda: None)

    def write(self, method, path, body, dry_run, kind="json"):
        answer = super().write(method, path, body, dry_run, kind)
        if dry_run:
            self.meanwhile()
        return answer


@pytest.fixture
def racing(sidecars):
    return Racing(get_api_client(kubeconfig=str(sidecars.kubeconfig)))


def fresh(cluster):
    result = gate(cluster, check_listeners_fail_on=[]).result
    return [remediation["manifest"] for remediation in result["remediations"]], result


def test_one_that_someone_makes_between_trial_and_apply_is_theirs(sidecars, racing, tmp_path):
    theirs = {**copy.deepcopy(DEFAULT), "metadata": {"name": "precheck-deployment-netcat", "namespace": HOME}}
    planned, report = fresh(sidecars)
    racing.meanwhile = lambda: sidecars.apply([copy.deepcopy(theirs)])
    with pytest.raises(RemedyError, match="it was created since it was looked for"):
        apply(racing, planned, report, str(tmp_path / "undo.json"), False)
    assert {each["metadata"]["name"] for each in json.loads(objects(sidecars))} == {
        "default",
        "precheck-deployment-netcat",
        "two-ports",
    }
    kept = json.loads((tmp_path / "undo.json").read_text("utf-8"))["changes"]
    assert "precheck-deployment-netcat" not in {entry["after"]["metadata"]["name"] for entry in kept}
    (before,) = [
        each for each in json.loads(objects(sidecars)) if each["metadata"]["name"] == theirs["metadata"]["name"]
    ]
    take_back(racing, str(tmp_path / "undo.json"), False)
    assert before in json.loads(objects(sidecars))


@pytest.mark.parametrize("change", ["edited", "removed"])
def test_one_that_someone_changes_between_trial_and_apply_is_theirs(sidecars, racing, tmp_path, change):
    planned, report = fresh(sidecars)
    planned = [manifest for manifest in planned if manifest["metadata"]["name"] == "two-ports"]
    assert planned
    edit = ("label", "sidecar", "two-ports", "team=other", "--overwrite", "--namespace", HOME)
    remove = ("delete", "sidecar", "two-ports", "--ignore-not-found", "--namespace", HOME)
    racing.meanwhile = lambda: sidecars.kubectl(*(edit if change == "edited" else remove))
    with pytest.raises(RemedyError, match="it changed since|it is gone since"):
        apply(racing, planned, report, str(tmp_path / "undo.json"), False)
    found = {each["metadata"]["name"]: each for each in json.loads(objects(sidecars))}
    assert found.get("two-ports", EXISTING)["spec"] == EXISTING["spec"]
    assert ("two-ports" in found) is (change == "edited")
    assert json.loads((tmp_path / "undo.json").read_text("utf-8"))["changes"] == []
