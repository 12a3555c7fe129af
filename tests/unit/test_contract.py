# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What docs/support.md promises of a version, one line a name, as it was when that version was released: fixtures/contract.txt. And the
files that outlive a run, as each release wrote them: fixtures/VERSION. They are never made again; what a later release adds has files of its own.

Nothing may go from there before the next major release. What is new says with which version it comes, and is added when that version is
set: UPDATE_SNAPSHOTS=1 and this test write the file anew.
"""

from __future__ import annotations

import datetime
import json
import os
import pathlib
import re

import pytest
import yaml

from ansible_collections.meshops.istio_precheck.plugins.module_utils._apply import changes
from ansible_collections.meshops.istio_precheck.plugins.module_utils._evaluate import evaluate
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model import report, shapes, snapshot
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.version import VERSION
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule import misreadings
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.options import Options
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._reports import document, formats, table

ROOT = pathlib.Path(__file__).resolve().parents[2]
FROZEN = ROOT / "tests" / "unit" / "fixtures" / "contract.txt"

INTERNAL = {"role_variables", "same_cluster", "upgrade_gate"}
"""Plugins for the roles alone."""
MAY_CHANGE = "may change at any time."
"""The end of a sentence of their documentation."""


def documented():
    """`(kind, name, documentation, what it returns)` of each plugin and role."""
    for path in sorted(ROOT.glob("plugins/modules/*.py")) + sorted(ROOT.glob("plugins/lookup/*.py")):
        blocks = dict(re.findall(r'^(DOCUMENTATION|RETURN) = r?"""(.*?)"""', path.read_text("utf-8"), re.M | re.S))
        returned = yaml.safe_load(blocks["RETURN"])
        yield path.parent.name.removesuffix("s"), path.stem, yaml.safe_load(blocks["DOCUMENTATION"]), returned
    for path in sorted(ROOT.glob("plugins/filter/*.yml")):
        blocks = yaml.safe_load(path.read_text("utf-8"))
        yield "filter", path.stem, blocks["DOCUMENTATION"], blocks["RETURN"]
    for path in sorted(ROOT.glob("roles/*/meta/argument_specs.yml")):
        yield "role", path.parents[1].name, yaml.safe_load(path.read_text("utf-8"))["argument_specs"]["main"], {}


DOCUMENTED = list(documented())
NAMES = [f"{kind} {name}" for kind, name, _documentation, _returned in DOCUMENTED]


def kind_of(option):
    """What a user relies on of an option or of a part of a result, but for its meaning."""
    of = f" of {option['elements']}" if "elements" in option else ""
    required = ", required" if option.get("required") else ""
    default = f", default {json.dumps(option['default'])}" if option.get("default") is not None else ""
    return f"{option.get('type', 'str')}{of}{required}{default}"


def options_in(prefix, options, since):
    for name, option in options.items():
        comes = option.get("version_added", since)
        yield f"{prefix} {name}: {kind_of(option)}", comes
        yield from ((f"{prefix} {name} takes {json.dumps(choice)}", "") for choice in option.get("choices") or ())
        yield from options_in(f"{prefix} {name}.", option.get("options") or option.get("suboptions") or {}, comes)


def parts_of(prefix, parts, since):
    for name, part in parts.items():
        comes = part.get("version_added", since)
        yield f"{prefix} {name}: {kind_of(part)}", comes
        yield from parts_of(f"{prefix} {name}.", part.get("contains") or {}, comes)
        sample = part.get("sample")
        if isinstance(sample, dict) and name != "manifest":
            yield from ((f"{prefix} {name}. {key}", "") for key in sample)


def of_plugins():
    for kind, name, documentation, returned in DOCUMENTED:
        if name not in INTERNAL:
            since = documentation["version_added"]
            yield f"{kind} {name}", since
            if "positional" in documentation:
                yield f"{kind} {name} in this order: {documentation['positional']}", since
            yield from options_in(f"{kind} {name} option", documentation["options"], since)
            yield from parts_of(f"{kind} {name} returns", returned, since)


def plain(shape):
    """A shape without the wrappers around its fields."""
    while not isinstance(shape, (dict, list, tuple, type)):
        inner = getattr(shape, "shape", None) or getattr(shape, "fields", None)
        if inner is None:
            return shape
        shape = inner
    return shape


def fields_of(prefix, shape):
    shape = plain(shape)
    if isinstance(shape, list):
        yield from fields_of(f"{prefix}[]", shape[0])
    elif isinstance(shape, dict):
        for name, inner in shape.items():
            yield f"{prefix}.{name}"
            yield from fields_of(f"{prefix}.{name}", inner)


def of_data():
    yield f"snapshot {snapshot.API_VERSION} {snapshot.KIND}"
    yield from (f"snapshot key {key}" for key in shapes.SNAPSHOT)
    yield f"record {changes.API_VERSION} {changes.KIND}"
    yield from fields_of("record", changes.RECORD)
    yield f"report {snapshot.API_VERSION} {document.KIND}"
    yield from (f"report metadata.{key}" for key in document.METADATA)
    yield from (f"report list {name}" for name in report.LISTS)
    yield from (f"report of the format {name}: HOST.{each.suffix}" for name, each in formats.FORMATS.items())
    yield from (f"report of the format csv has the column {number}, {name}" for number, name in enumerate(table.CSV, 1))
    yield from (f"report of many clusters of the format {name}" for name in formats.MERGED)
    yield f"code {report.CODE}"
    yield from (f"rule {rule.id}" for rule in report.RULES)
    yield from (f"fail_on {name}" for name in report.FAIL_ON)
    yield from (f"fail_on by default {name}" for name in report.DEFAULT_FAIL_ON)
    yield from (f"finding {key}: {word}" for key, words in misreadings.WORDS_OF.items() for word in words)
    yield from (f"reason of unchecked {name}" for name in report.REASONS)
    yield from (f"reason of not_checked {name}" for name in report.BEYOND)
    for path in ROOT.glob("playbooks/*.yml"):
        yield f"playbook {path.stem}"
        read = re.findall(r"\b([a-z]+_\w+) (?:is defined|\| default\()", path.read_text("utf-8"))
        yield from (f"playbook {path.stem} variable {name}" for name in read if not name.startswith("ansible_"))


def contract():
    """Each line of the contract of this checkout, with the version that it came with, where the documentation says that."""
    return {**dict(of_plugins()), **dict.fromkeys(of_data(), "")}


def numbers(version):
    return tuple(map(int, version.split(".")))


def frozen():
    first, *lines = FROZEN.read_text("utf-8").splitlines()
    return first, set(lines)


if os.environ.get("UPDATE_SNAPSHOTS") == "1":
    FROZEN.write_text("\n".join([VERSION, *sorted(contract())]) + "\n", encoding="utf-8")


def test_the_contract_is_that_of_the_version_in_galaxy_yml():
    assert frozen()[0] == VERSION, "a version freezes what it promises: UPDATE_SNAPSHOTS=1 and this test"


def test_nothing_that_a_release_promised_is_gone_or_another():
    assert sorted(frozen()[1] - contract().keys()) == []


def test_what_the_release_has_not_says_with_which_later_version_it_comes():
    version, lines = frozen()
    new = {line: since for line, since in contract().items() if line not in lines and since}
    assert {line: since for line, since in new.items() if numbers(since) <= numbers(version)} == {}


def test_no_option_that_is_new_to_a_plugin_of_the_release_must_be_given():
    new = [line for line in contract().keys() - frozen()[1] if ", required" in line]
    assert [line for line in new if " option " in line and line.partition(" option ")[0] in frozen()[1]] == []


def test_what_makes_the_play_fail_by_default_is_what_the_release_had():
    assert {f"fail_on by default {name}" for name in report.DEFAULT_FAIL_ON} <= frozen()[1]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_documented_came_with_a_release_or_comes_with_the_next(name):
    documentation = DOCUMENTED[NAMES.index(name)][2]
    assert numbers(documentation["version_added"]) >= (1, 0, 0), "nothing was released before 1.0.0"


@pytest.mark.parametrize("name", NAMES)
def test_what_is_for_the_roles_alone_says_that_it_may_change(name):
    _kind, plugin, documentation, _returned = DOCUMENTED[NAMES.index(name)]
    said = any(sentence.endswith(MAY_CHANGE) for sentence in documentation["description"])
    assert said == (plugin in INTERNAL)


def test_the_page_on_support_names_what_is_for_the_roles_alone():
    text = (ROOT / "docs" / "support.md").read_text("utf-8")
    assert sorted(name for name in INTERNAL if f"`{name}`" not in text) == []


# ---------------------------------------------------------------------------------------------------------------------
# What earlier releases wrote

RELEASES = sorted(path.name for path in FROZEN.parent.iterdir() if path.is_dir())


def written_by(release, kind):
    return (FROZEN.parent / release / f"{kind}.json").read_text("utf-8")


@pytest.mark.parametrize("release", RELEASES)
def test_the_record_of_a_cluster_that_an_earlier_release_made_has_its_verdicts(release):
    found = evaluate(
        snapshot.check(json.loads(written_by(release, "ClusterSnapshot"))), Options(datetime.date(2026, 11, 23))
    )
    assert [(each["id"], each["impact"]) for each in found["findings"]] == [
        ("IST0143/shop/Deployment/web/8080", "breaks_on_upgrade")
    ]
    assert [(each["pod"], each["reason"]) for each in found["unchecked"]] == [("lost-1", "timeout")]


@pytest.mark.parametrize("release", RELEASES)
def test_the_report_of_an_earlier_release_becomes_a_page(release):
    read = document.checked(json.loads(written_by(release, "Report")))
    assert read["metadata"]["collectionVersion"] == release
    assert all(name in formats.reports_as({"reports": [read]}, "html") for name in ("production", "IST0143/"))


@pytest.mark.parametrize("release", RELEASES)
def test_what_an_earlier_release_recorded_is_taken_back(release):
    recorded = changes.parsed(written_by(release, "RemediationRecord"), "https://10.0.0.1:6443")
    there = [{**each["after"], "metadata": {**each["after"]["metadata"], "uid": "u-1"}} for each in recorded["changes"]]
    planned = changes.undo(recorded, there, "https://10.0.0.1:6443")
    assert planned["refused"] == []
    assert [each["action"] for each in planned["changes"]] == ["delete", "restore"]
