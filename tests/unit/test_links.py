# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""No link in the tarball is dead: it leads to a file that ships, or is an address of the repository."""

from __future__ import annotations

import fnmatch
import pathlib
import re

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
IGNORED = yaml.safe_load((ROOT / "galaxy.yml").read_text("utf-8"))["build_ignore"]
RELATIVE = re.compile(r"\]\(([^)\s:#]+)(?:#[^)\s]*)?\)")
ABSOLUTE = re.compile(r"https://github\.com/meshops/istio_precheck/(?:blob|tree)/main/([\w./-]*\w)")
TEXTS = (".md", ".rst", ".yml", ".yaml", ".py", ".j2")


def ships(path: str) -> bool:
    """As in `ansible-galaxy collection build`: a pattern is for the whole path; an ignored directory is left out with all in it."""
    parts = path.split("/")
    begins = ["/".join(parts[:number]) for number in range(1, len(parts) + 1)]
    return not any(fnmatch.fnmatch(begin, pattern) for begin in begins for pattern in IGNORED)


def shipped() -> list[pathlib.Path]:
    """The files with text in them, without walking through what is ignored."""
    tops = [top for top in ROOT.iterdir() if ships(top.name) and top.name != ".git"]
    files = [path for top in tops for path in ([top] if top.is_file() else top.rglob("*"))]
    return sorted(path for path in files if path.suffix in TEXTS and path.is_file() and ships(name(path)))


def name(path: pathlib.Path) -> str:
    return path.relative_to(ROOT).as_posix()


FILES = shipped()


@pytest.mark.parametrize("page", [pytest.param(page, id=name(page)) for page in FILES if page.suffix == ".md"])
def test_a_link_inside_the_tarball_leads_to_a_file_that_ships(page):
    dead = []
    for target in RELATIVE.findall(page.read_text("utf-8")):
        other = (page.parent / target).resolve()
        if not other.is_relative_to(ROOT) or not other.exists() or not ships(name(other)):
            dead.append(target)
    assert dead == []


def test_an_address_of_the_repository_leads_to_a_file_of_it():
    named = {(name(path), to) for path in FILES for to in ABSOLUTE.findall(path.read_text("utf-8"))}
    assert len(named) > 20
    assert sorted((path, to) for path, to in named if not (ROOT / to).exists()) == []


def test_the_pages_are_all_looked_through():
    assert {"README.md", "CONTRIBUTING.md", "SECURITY.md", "docs/verdicts.md", "roles/check_listeners/README.md"} <= {
        name(path) for path in FILES
    }
    assert not [path for path in FILES if name(path).split("/")[0] in ("tests", "TESTING.md")]
