# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import json

import pytest
import yaml

from ansible_collections.meshops.istio_precheck.plugins.module_utils._apply.manifests import (
    ManifestError,
    sidecar_manifests,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._evaluate import evaluate
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._sidecars.files import sidecar_files, sidecar_yaml
from ansible_collections.meshops.istio_precheck.tests.helpers.cluster import (
    report,
    sidecar,
    snapshot,
)
from ansible_collections.meshops.istio_precheck.tests.helpers.remedies import GOLDEN, OPEN


def remediation(**metadata):
    manifest = {
        "apiVersion": "networking.istio.io/v1beta1",
        "kind": "Sidecar",
        "metadata": {"name": "web", "namespace": "shop", **metadata},
        "spec": {"ingress": [{"port": {"number": 80}}]},
    }
    return {
        "action": "create",
        "manifest": manifest,
        "findings": ["IST0143/shop/Deployment/web/8080"],
        "notes": ["why"],
    }


def test_a_file_says_what_it_is_for_and_how_to_take_it_away():
    assert sidecar_yaml(remediation()).startswith(
        "# Keeps reachable: IST0143/shop/Deployment/web/8080\n# why\n"
        "# Once the program binds to every address: kubectl delete sidecar --namespace shop web\n---\napiVersion:"
    )
    assert "kubectl delete" not in sidecar_yaml({**remediation(), "action": "update"})


def test_no_name_is_torn_apart_at_its_hyphens():
    for length in range(1, 40):
        name = "precheck-deployment-" + "-".join("x" * length)
        assert f"{name}\n" in sidecar_yaml(remediation(name=name))


@pytest.mark.parametrize("name", GOLDEN)
def test_a_saved_report_gives_the_same_files_as_the_live_one(name):
    report = evaluate(GOLDEN[name], OPEN)
    for saved in (json.dumps(report), json.dumps(report, sort_keys=True)):
        assert sidecar_files(json.loads(saved)) == sidecar_files(report)


@pytest.mark.parametrize(
    "text", ["a\nspec: {}", "a\r\nb", "a\x85b: c", "a\u2028b", "a\x00\x1b[2Jb", "a\ud800", "\ufeff", "--- # x"]
)
def test_no_note_breaks_out_of_its_comment(text):
    hostile = {**remediation(), "findings": [text], "notes": [text]}
    written = sidecar_yaml(hostile)
    written.encode("utf-8")
    assert yaml.safe_load(written) == hostile["manifest"]
    comments, _separator, _manifest = written.partition("---\napiVersion")
    assert all(line.startswith("# ") and line.isprintable() for line in comments.splitlines())


BAD_NAMES = [
    "..",
    ".",
    "../x",
    "/etc",
    "a/b",
    "a\\b",
    "",
    "A",
    "a_b",
    "-a",
    "a-",
    "a" * 64,
    "a\n",
    "\u0430",
    None,
    1,
    ["a"],
    "~",
    "a\x00",
]


@pytest.mark.parametrize("field", ["namespace", "name"])
@pytest.mark.parametrize("bad", BAD_NAMES, ids=repr)
def test_a_name_that_kubernetes_would_not_take_names_no_file(field, bad):
    if (field, bad) == ("name", "a" * 64):
        bad = ".".join(["a" * 63] * 5)
    with pytest.raises(ManifestError, match=f"is no name of a {'namespace' if field == 'namespace' else 'Sidecar'}"):
        sidecar_files({"remediations": [remediation(**{field: bad})]})


def test_a_hostile_snapshot_leads_to_no_file_outside_the_directory():
    """The name of a Sidecar to edit comes from the snapshot as it is."""
    hostile = sidecar("../../etc/cron.d/x", selector={"app": "web"}, ingress={9090: None})
    report = evaluate(snapshot(sidecars=[hostile]), OPEN)
    assert report["remediations"][0]["manifest"]["metadata"]["name"] == "../../etc/cron.d/x"
    with pytest.raises(ManifestError):
        sidecar_files(report)


@pytest.mark.parametrize("name", ["web.v1", "a" * 70, "a.b-" + "c" * 200, "a" * 230])
def test_a_name_with_dots_or_with_long_parts_is_legal(name):
    assert sidecar_files({"remediations": [remediation(name=name)]})[0]["path"] == f"shop/{name}.yaml"


def test_the_file_of_a_very_long_name_has_a_shorter_one_which_no_other_shares():
    names = ["a" * 231, "a" * 252, "a" * 253]
    files = sidecar_files({"remediations": [remediation(name=name) for name in names]})
    bases = [each["path"].removeprefix("shop/") for each in files]
    assert len(set(bases)) == len(names)
    # as long as a file's name may be, 255 bytes, less what Ansible adds while it writes one: .ansible_tmp and eight more
    assert all(base.endswith(".yaml") and len(base) <= 235 for base in bases)
    assert [manifest["metadata"]["name"] for manifest in sidecar_manifests(files)] == names


# What some YAML of 1.1 or 1.2 reads as something else than text, kubectl's among them (sigs.k8s.io/yaml: "cannot unmarshal number into string").
NOT_TEXT_TO_ALL = """
    1e3 4e65 12e4567 1.5e3 1E3 5e-3 .5 .5e1 -.5 -1 +12 5. 1_000 1_0 08 0777 0o17 0o8 0x1F 0x1G 0b11 0b12 1:20 190:20:30 1.0 1.20 1.20.8 007 0 815
    y Y n N yes Yes YES no No NO on On ON off Off OFF true True TRUE false False FALSE null Null NULL ~ .inf -.inf .Inf .nan .NaN NaN nan inf
    2024-01-01 2024-01-01T00:00:00Z = << 7d4b9 127.1 -a
""".split()


@pytest.mark.parametrize("text", NOT_TEXT_TO_ALL)
def test_text_that_some_yaml_takes_for_anything_else_is_quoted_as_value_and_as_key(text):
    manifest = {**remediation()["manifest"], "spec": {"workloadSelector": {"labels": {"version": text, text: "x"}}}}
    written = sidecar_yaml({**remediation(), "manifest": manifest})
    assert f"      version: '{text}'\n" in written
    assert f"      '{text}': x\n" in written
    assert yaml.safe_load(written) == manifest


@pytest.mark.parametrize(
    "text",
    "web Web_1.x-y never nowhere one yaml a1e3 shop/default@7 istio-system/* ./* 127.0.0.1:8080 0.0.0.0:80 REGISTRY_ONLY".split(),
)
def test_text_that_is_text_to_all_stays_as_a_person_would_write_it(text):
    manifest = {**remediation()["manifest"], "spec": {"x": text}}
    assert f"  x: {text}\n" in sidecar_yaml({**remediation(), "manifest": manifest})


def test_two_remediations_for_one_file_are_refused():
    with pytest.raises(ManifestError, match="two remediations for Sidecar shop/web"):
        sidecar_files({"remediations": [remediation(), remediation()]})


def file(content, path="shop/web.yaml"):
    return {"path": path, "content": content if isinstance(content, str) else yaml.safe_dump(content)}


def changed(**fields):
    return {**copy.deepcopy(remediation()["manifest"]), **fields}


META = {"name": "web", "namespace": "shop"}


@pytest.mark.parametrize(
    "content, why",
    [
        ("a: [", "shop/web.yaml: it is not YAML: line 2: "),
        ("- a", "shop/web.yaml holds something other than a Sidecar"),
        ("text", "shop/web.yaml holds something other than a Sidecar"),
        (changed(kind="Secret"), "something other than a Sidecar"),
        (changed(kind="List"), "something other than a Sidecar"),
        (changed(apiVersion="v1"), "something other than a Sidecar"),
        (changed(metadata=None), "something other than a Sidecar"),
        (changed(metadata={"name": "web"}), "None is no name of a namespace"),
        (changed(metadata={"name": "web", "namespace": "../x"}), "is no name of a namespace"),
        (changed(spec=None), "a Sidecar without a spec"),
        (changed(spec={}), "a Sidecar without a spec"),
        (
            "!!python/object/apply:os.system ['true']",
            "shop/web.yaml: line 1: the tag !!python/object/apply:os.system is none of plain data",
        ),
        (changed(apiVersion="networking.istio.io/v1/../../x"), "something other than a Sidecar"),
        (changed(status={"x": 1}), "shop/web.yaml: status: this field does not belong here"),
        (changed(items=[]), "shop/web.yaml: items: this field does not belong here"),
        (
            changed(metadata={**META, "ownerReferences": []}),
            "shop/web.yaml: metadata.ownerReferences: this field does not",
        ),
        (changed(metadata={**META, "finalizers": ["a"]}), "metadata.finalizers: this field does not belong here"),
        (changed(metadata={**META, "generateName": "a"}), "metadata.generateName: this field does not belong here"),
        (changed(metadata={**META, "labels": {"a": 1}}), "metadata.labels.a: wanted text, found 1"),
    ],
)
def test_a_reviewed_file_holds_sidecars_and_nothing_else(content, why):
    with pytest.raises(ManifestError, match=why):
        sidecar_manifests([file(content)])


BOMBS = {
    "references": (
        "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 20)),
        r"line \d+: its aliases stand for more than is read",
    ),
    "merges": (
        "a0: &a0 {x: y}\n" + "".join(f"a{n}: &a{n} {{<<: [{','.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 20)),
        r"line \d+: its aliases stand for more than is read",
    ),
    "levels": ("a: " + "[" * 100_000, "levels|nesting"),
    "itself": ("kind: Sidecar\nspec: &a [*a]", "line 2: the alias .a stands for nothing, or for itself"),
    "two of a key": ("kind: Sidecar\nkind: List", "line 2: the key 'kind' comes twice"),
    "bytes": ("spec: !!binary aGk=", "line 1: the tag !!binary is none of plain data"),
    "size": ("# " + "x" * (5 << 20), "it holds more than 4194304 bytes"),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_in_a_reviewed_file_is_refused_by_its_line(bomb):
    content, why = BOMBS[bomb]
    with pytest.raises(ManifestError, match=f"shop/web.yaml: .*({why})") as error:
        sidecar_manifests([file(content)])
    assert len(str(error.value)) < 300


def test_what_a_reviewed_file_says_is_what_kubectl_would_apply():
    text = yaml.safe_dump(changed(metadata={"namespace": "shop", "name": "web"}))
    (manifest,) = sidecar_manifests([file(text.replace("spec:\n", "spec:\n  x: [1:30, 2020-01-01, yes, 0x1F, '1']\n"))])
    assert manifest["spec"]["x"] == ["1:30", "2020-01-01", True, 31, "1"]


def test_two_files_for_one_sidecar_are_refused():
    with pytest.raises(ManifestError, match="b.yaml holds Sidecar shop/web, which another file holds too"):
        sidecar_manifests([file(changed(), "a.yaml"), file(changed(), "b.yaml")])


def test_files_may_be_empty_or_hold_several_and_come_in_any_order():
    one, two = changed(), changed(metadata={"name": "api", "namespace": "shop"})
    assert sidecar_manifests([file(""), file("# only a comment\n"), file(yaml.safe_dump_all([one, two, None]))]) == [
        two,
        one,
    ]


@pytest.mark.parametrize("name", ["web; reboot", "web\nreboot", "$(reboot)", "--all", "web `reboot`"])
@pytest.mark.parametrize("field", ["name", "namespace"])
def test_no_command_is_suggested_that_says_more_than_the_name_of_a_sidecar(field, name):
    remediation = report()["remediations"][0]
    assert "kubectl delete sidecar --namespace shop precheck-deployment-web" in sidecar_yaml(remediation)
    remediation["manifest"]["metadata"][field] = name
    assert "kubectl" not in sidecar_yaml(remediation)


def test_what_is_said_of_a_file_is_printable():
    with pytest.raises(ManifestError) as refused:
        sidecar_manifests([file(changed(**{"\x9b31m": 1}), "\x1b[2J.yaml")])
    assert str(refused.value).isprintable()
