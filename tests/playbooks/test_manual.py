# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The manual does not lie: each of its commands, YAML blocks and links is taken at its word."""

from __future__ import annotations

import json
import os
import pathlib
import re
import shlex
import subprocess
import tempfile
import typing as t

import pytest
import yaml

from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.waivers import compile_waivers

from .conftest import environment, tool

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = sorted(
    page
    for pattern in ("*.md", "docs/**/*.md", "roles/*/README.md", "tests/**/README.md")
    for page in ROOT.glob(pattern)
)
PROGRAM_FREE = (
    "cd",
    "export",
    "git",
    "pip",
    "sudo",
    "less",
    "cat",
    "rm",
    "grep",
    "exit",
    "zcat",
    "podman",
    "docker",
    "ansible-builder",
    "ansible-navigator",
)
OURS = re.compile(r"(check|remediate|merge)_(listeners|reports)_\w+")


class Block(t.NamedTuple):
    page: pathlib.Path
    line: int
    language: str
    text: str

    @property
    def where(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks() -> t.Iterator[Block]:
    for page in PAGES:
        text = page.read_text("utf-8")
        for found in re.finditer(r"^( *)```(\S*)\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL):
            body = "\n".join(line.removeprefix(found[1]) for line in found[3].splitlines())
            yield Block(page, text.count("\n", 0, found.start()) + 1, found[2], body)


def of(*languages: str) -> list[t.Any]:
    return [pytest.param(block, id=block.where) for block in blocks() if block.language in languages]


def commands() -> list[t.Any]:
    """Lines behind a `$ ` in a console block, and every line of a shell block, without comments."""
    found = []
    for block in blocks():
        if block.language not in ("console", "shell", "bash", "sh"):
            continue
        for number, line in enumerate(re.sub(r"\\\n\s*", " ", block.text).splitlines()):
            command = line.removeprefix("$ ") if block.language == "console" else line
            if (
                command.strip()
                and not command.startswith("#")
                and (block.language != "console" or line.startswith("$ "))
            ):
                found.append(pytest.param(command, id=f"{block.where}+{number} {command[:50]}"))
    return found


@pytest.fixture(scope="module")
def variables() -> set[str]:
    """Every variable that the roles and playbooks take."""
    taken = set()
    for specs in ROOT.glob("roles/*/meta/argument_specs.yml"):
        taken |= set(yaml.safe_load(specs.read_text("utf-8"))["argument_specs"]["main"]["options"])
    for playbook in ROOT.glob("playbooks/*.yml"):
        taken |= {found.group() for found in OURS.finditer(playbook.read_text("utf-8"))}
    return taken


def known(names: t.Iterable[str], variables: set[str]) -> None:
    for name in names:
        assert name in variables or not OURS.fullmatch(name), f"no role or playbook takes {name}"


def test_the_readme_shows_what_its_command_prints_of_the_cluster_of_the_demo():
    """Played without a terminal; the path of the directory is another's."""
    readme = (ROOT / "README.md").read_text("utf-8")
    command, shown, end = re.search(
        r"^\$ (ansible-playbook .*demo_before.*)\n\.\.\.\n(TASK (?:.*\n)*?})\n\.\.\.\n(fatal: .*\n)",
        readme,
        re.MULTILINE,
    ).groups()
    with tempfile.TemporaryDirectory() as place:
        (pathlib.Path(place) / "playbooks").symlink_to(ROOT / "playbooks")
        played = run(pathlib.Path(place), *shlex.split(command), COLUMNS="", LINES="")
        assert played.returncode == 2
        said = played.stdout.replace(os.path.realpath(place), "/home/jane/istio_precheck")
        assert shown in said and said.partition(shown)[2].count(end) == 1
        assert {path.name for path in pathlib.Path(place, "reports").iterdir()} == {"localhost.html", "localhost.json"}
        assert len(list(pathlib.Path(place, "sidecars").rglob("*.yaml"))) == 4


CI = [block for block in blocks() if block.page.name == "ci.md"]


@pytest.mark.parametrize(
    ("record", "code"),
    [("playbooks/files/demo_after.json", 0), ("playbooks/files/demo_before.json", 2), ("no.json", 3)],
)
def test_the_script_for_ci_tells_findings_from_a_check_that_could_not_be_made(tmp_path, record, code):
    (script,) = [block.text for block in CI if block.language == "shell"]
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "localhost.json").write_text('{"metadata": {"checked": true}}')  # of an earlier run
    assert run(tmp_path, "sh", "-c", script, **over(tmp_path, record)).returncode == code


def test_the_command_for_ci_prints_the_whole_result_as_json_alone(tmp_path):
    (command,) = [block.text.removeprefix("$ ") for block in CI if block.language == "console"]
    settings = over(tmp_path, "playbooks/files/demo_before.json")
    ended = run(tmp_path, "sh", "-c", f"{{ {command}; }} 2>play.log", **settings)
    printed = json.loads(ended.stdout)
    assert ended.returncode == 2 and len(printed["findings"]) == 4 and printed["metadata"]["passed"] is False
    (sentence,) = [block.text for block in CI if block.text.startswith("Do not upgrade yet")]
    assert sentence in (tmp_path / "play.log").read_text("utf-8")


def over(place: pathlib.Path, record: str) -> dict[str, str]:
    """An environment in which `ansible-playbook` is that of the tests, over a record in place of a cluster."""
    wrapper = place / "ansible-playbook"
    wrapper.write_text(
        f'#!/bin/sh\nexec {tool("ansible-playbook")} "$@" -e check_listeners_snapshot_src={ROOT / record}\n'
    )
    wrapper.chmod(0o755)
    return {"PATH": f"{place}:{os.environ['PATH']}"}


def test_there_is_a_manual_to_test():
    assert len(PAGES) > 10 and len(of("yaml")) > 5 and len(commands()) > 20


# ---------------------------------------------------------------------------------------------------------------------
# Commands


@pytest.mark.parametrize("command", commands())
def test_a_command_names_only_what_there_is(command, variables):
    for part in re.split(r" && | \| |; ", command.strip("()")):
        words = shlex.split(part, comments=True)
        while words and re.fullmatch(r"\w+=.*", words[0]):
            words = words[1:]
        if words:
            look_at(words, variables)


def look_at(words: list[str], variables: set[str]) -> None:
    program, rest = words[0].rpartition("/")[2], words[1:]
    if program == "ansible-playbook":
        playbook(rest, variables)
    elif program == "ansible-galaxy":
        assert rest[:1] == ["collection"] and rest[1] in ("install", "build", "verify"), rest
    elif program == "ansible-doc":
        assert documented(rest[-1].removeprefix("meshops.istio_precheck.")), rest
    elif program in ("ansible-inventory", "ansible", "ansible-lint", "ansible-test", "tar", "sha256sum"):
        assert rest
    elif program == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE) + stages()
        for target in rest:
            assert target in targets or "=" in target or target == "STAGE", f"make has no target {target}"
    elif program == "kubectl":
        for option, value in zip(rest, rest[1:]):
            assert option not in ("-f", "--filename") or value == "-" or (ROOT / value).exists(), f"there is no {value}"
    elif program in ("python", "python3") and rest[0] != "-m":
        assert (ROOT / rest[0]).exists(), f"there is no {rest[0]}"
    elif program in ("python", "python3"):
        for path in (word.partition("::")[0] for word in rest if word.startswith("tests/")):
            assert (ROOT / path).exists(), f"there is no {path}"
    else:
        assert program in PROGRAM_FREE, f"{program} is a program that this test does not know"


def stages() -> list[str]:
    return re.search(r"^STAGES = (.*)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)[1].split()


def documented(name: str) -> bool:
    return any(
        (ROOT / place).exists()
        for place in (f"plugins/modules/{name}.py", f"roles/{name}", f"plugins/filter/{name}.yml")
    )


def playbook(words: list[str], variables: set[str]) -> None:
    names = []
    for option, value in zip(words, words[1:]):
        if option in ("-e", "--extra-vars") and not value.startswith("@"):
            names += json.loads(value) if value.startswith("{") else [value.partition("=")[0]]
    known(names, variables)
    ours = [
        word.removeprefix("meshops.istio_precheck.") for word in words if word.startswith("meshops.istio_precheck.")
    ]
    for name in ours:
        assert (ROOT / "playbooks" / f"{name}.yml").exists(), f"there is no playbook {name}"
    assert ours or any(word.endswith(".yml") for word in words), words


# ---------------------------------------------------------------------------------------------------------------------
# YAML


@pytest.mark.parametrize("block", of("yaml", "yml"))
def test_a_block_of_yaml_is_what_its_reader_takes_it_for(block, variables, tmp_path):
    for document in yaml.safe_load_all(block.text):
        if isinstance(document, list):
            plays_or_tasks(document, tmp_path)
        elif "apiVersion" in document:
            assert document["kind"] and document["metadata"]["name"]
        elif set(document) == {"rules"}:
            assert all(set(rule) == {"apiGroups", "resources", "verbs"} for rule in document["rules"])
        elif block.page.name == "CONTRIBUTING.md":
            assert set(document) <= sections()
        elif set(document) & {"all", "clusters"}:
            inventory(block.text, tmp_path)
        elif "version" in document and "dependencies" in document:
            assert set(document) <= {"version", "images", "dependencies", "additional_build_steps", "options"}
        elif {"inputs", "injectors"} & set(document) or {"fields", "required", "env", "extra_vars", "file"} & set(
            document
        ):
            assert all(isinstance(part, (dict, list)) for part in document.values())
        else:
            assert document and all(OURS.fullmatch(name) for name in document), (
                f"{block.where} is none of what this test knows"
            )
        if isinstance(document, dict):
            compile_waivers(document.get("check_listeners_waivers"))
    known((found.group() for found in OURS.finditer(block.text)), variables)


def sections() -> set[str]:
    return {name for name, _title in yaml.safe_load((ROOT / "changelogs/config.yaml").read_text("utf-8"))["sections"]}


def plays_or_tasks(document: list[dict[str, t.Any]], place: pathlib.Path) -> None:
    """Syntax-checked by Ansible itself; a file that is the reader's own is made up."""
    plays = (
        document
        if {"hosts", "import_playbook", "ansible.builtin.import_playbook"} & set(document[0])
        else [{"hosts": "localhost", "tasks": document}]
    )
    for play in plays:
        theirs = play.get("ansible.builtin.import_playbook") or play.get("import_playbook") or ""
        if theirs.endswith(".yml"):
            (place / theirs).parent.mkdir(parents=True, exist_ok=True)
            (place / theirs).write_text("- hosts: all\n  tasks: []\n", encoding="utf-8")
        for entry in play.get("vars_files") or ():
            (place / entry).write_text("{}\n", encoding="utf-8")
        for task in play.get("tasks") or ():
            inner = task.get("ansible.builtin.include_tasks") or task.get("ansible.builtin.import_tasks")
            if isinstance(inner, str):
                (place / inner).write_text("[]\n", encoding="utf-8")
    (place / "block.yml").write_text(yaml.safe_dump(plays), encoding="utf-8")
    checked = run(place, "ansible-playbook", "--syntax-check", "block.yml")
    assert checked.returncode == 0, checked.stdout


def inventory(text: str, place: pathlib.Path) -> None:
    (place / "inventory.yml").write_text(text, encoding="utf-8")
    read = run(place, "ansible-inventory", "-i", "inventory.yml", "--list")
    assert read.returncode == 0 and "hostvars" in read.stdout, read.stdout


def run(place: pathlib.Path, *command: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [tool(command[0]), *command[1:]], cwd=place, env={**environment(pathlib.Path(os.devnull), place), **settings}, check=False, text=True, timeout=120,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------------
# Links and tables


@pytest.mark.parametrize("page", [pytest.param(page, id=str(page.relative_to(ROOT))) for page in PAGES])
def test_a_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        path, _hash, anchor = target.partition("#")
        other = (page.parent / path) if path else page
        assert other.exists(), f"there is no {target}"
        if anchor and other.suffix == ".md":
            headings = re.findall(r"^#+ (.*)$", other.read_text("utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in anchors, f"{other.name} has no heading #{anchor}"


def test_the_manuals_index_and_its_page_for_docs_sites_list_every_page():
    listed = set(re.findall(r"\]\(([\w-]+\.md)\)", (ROOT / "docs/README.md").read_text("utf-8")))
    assert listed == {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"}
    guide = (ROOT / "docs/docsite/rst/guide.rst").read_text("utf-8")
    assert set(re.findall(r"/docs/([\w-]+\.md)", guide)) - {"README.md"} == listed


def test_the_summary_of_many_clusters_is_of_the_hosts_of_the_inventory_above_it():
    page = [block for block in blocks() if block.page.name == "many-clusters.md"]
    hosts = next(
        yaml.safe_load(block.text)["clusters"]["hosts"] for block in page if "ansible_connection: local" in block.text
    )
    *said, count = next(block.text for block in page if "clusters may be upgraded" in block.text).splitlines()
    assert [line.strip('"').split()[0] for line in said] == list(hosts)
    assert count.strip('"').startswith(f"{sum('Nothing stands' in line for line in said)} of {len(hosts)} clusters")


def test_troubleshooting_knows_every_reason_for_not_reading_a_pod():
    """The words as the code writes them, wherever it does."""
    words = set()
    utils, tasks = ROOT / "plugins/module_utils", ROOT / "plugins/plugin_utils/_k8s_exec.py"
    for path in [*utils.glob("_gather/*.py"), utils / "_rule/readings.py", tasks]:
        text = path.read_text("utf-8")
        found = re.findall(
            r'_Failed\("([a-z_]+)"|"reason": "([a-z_]+)"|^\s+return "([a-z_]{3,})", ', text, re.MULTILINE
        )
        words |= {word for either in found for word in either if word}
    assert {"forbidden", "timeout", "no_tool", "not_running", "suspect_table"} <= words
    rows = re.findall(r"^\| (`[a-z_`, ]+`) \|", (ROOT / "docs/troubleshooting.md").read_text("utf-8"), re.MULTILINE)
    assert words <= {word for row in rows for word in re.findall(r"`([a-z_]+)`", row)}
