# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the files say about versions is what tests/matrix.py tests."""

from __future__ import annotations

import pathlib
import re

import pytest
import yaml

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.version import VERSION
from ansible_collections.meshops.istio_precheck.tests.cluster.testbed.versions import VERSIONS
from ansible_collections.meshops.istio_precheck.tests.matrix import NEWEST, OLDEST, PAIRS, PLAYED_ONCE

ROOT = pathlib.Path(__file__).resolve().parents[2]


def text(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def test_the_manual_lists_exactly_the_pairs():
    rows = re.findall(r"^\| (2\.\S+) \| (\S+) \| (\S+) \| (\S+) \|$", text("docs/compatibility.md"), re.MULTILINE)
    assert rows == [(pair.core, pair.python, pair.client, pair.kubernetes_core) for pair in PAIRS]


def test_the_manual_says_of_each_kubernetes_of_the_tests_that_it_is_a_real_one():
    rows = re.findall(r"^\| (1\.\d+) \| on a real one, with every change", text("docs/compatibility.md"), re.MULTILINE)
    assert rows == list(VERSIONS)


@pytest.mark.parametrize("version", [each for each in VERSIONS.values() if each.module], ids=lambda each: each.name)
def test_the_go_module_of_a_kubernetes_requires_the_release_of_its_row(version):
    required = text(f"tests/cluster/modules/kubernetes-{version.name}/go.mod")
    assert f"\tk8s.io/kubernetes v{version.module}\n" in required


def test_what_kubernetes_and_istio_both_need_is_built_once():
    """Go compiles a module twice where two programs take it in two versions."""
    newest = next(iter(VERSIONS))
    of_kubernetes, of_istio = (
        dict(
            re.findall(r"^\t(\S+) (v\S+)(?: // indirect)?$", text(f"tests/cluster/modules/{name}/go.mod"), re.MULTILINE)
        )
        for name in (f"kubernetes-{newest}", "istio")
    )
    replaced = text(f"tests/cluster/modules/kubernetes-{newest}/go.mod")
    of_kubernetes |= re.findall(r"^\t(\S+) => \1 (v\S+)$", replaced, re.MULTILINE)
    both = of_kubernetes.keys() & of_istio.keys()
    assert len(both) > 50
    assert {name: of_istio[name] for name in both} == {name: of_kubernetes[name] for name in both}


def minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


LOWER_BOUNDS = [
    ("meta/runtime.yml", f"requires_ansible: '>={minor(OLDEST.core)}.0'"),
    ("meta/ee-requirements.txt", f"kubernetes>={OLDEST.client}"),
    ("galaxy.yml", f'kubernetes.core: ">={OLDEST.kubernetes_core},'),
    ("tests/config.yml", f'python_requires: ">={OLDEST.python}"'),
    ("README.md", f"ansible-core {minor(OLDEST.core)} to {minor(NEWEST.core)}"),
    ("README.md", f"Python {OLDEST.python} to {NEWEST.python}"),
]


def test_the_collection_knows_its_own_version():
    assert f"\nversion: {VERSION}\n" in text("galaxy.yml")


@pytest.mark.parametrize("name, line", LOWER_BOUNDS)
def test_a_bound_that_a_file_declares_is_tested(name, line):
    assert line in text(name)


@pytest.mark.parametrize(
    "line", [f'ansible-core=={NEWEST.core} ; python_version >= "3.12"', f"kubernetes=={NEWEST.client}"]
)
def test_the_environment_of_the_gate_is_the_newest_pair(line):
    assert line in text("tests/requirements.txt").splitlines()


def test_every_pair_has_an_environment_of_its_own():
    assert len({pair.venv for pair in PAIRS}) == len(PAIRS)


def test_actions_are_pinned_by_commit_and_say_their_version():
    workflows = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
    uses = [
        (path.name, line.strip())
        for path in workflows
        for line in path.read_text("utf-8").splitlines()
        if "uses:" in line
    ]
    assert uses
    assert [
        each for each in uses if not re.fullmatch(r"(- )?uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", each[1])
    ] == []


@pytest.mark.parametrize("path", sorted((ROOT / "changelogs" / "fragments").glob("*.yml")), ids=lambda path: path.name)
def test_a_fragment_says_something_in_each_of_its_sections(path):
    assert all(yaml.safe_load(path.read_text("utf-8")).values())


@pytest.mark.parametrize("test", PLAYED_ONCE)
def test_what_is_left_to_the_newest_pair_is_there(test):
    file, *name = test.partition("[")[0].split("::")
    assert all(f"def {each}(" in text(file) for each in name) and text(file)
