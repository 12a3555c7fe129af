# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who may import whom: the walls that docs/architecture.md names."""

from __future__ import annotations

import ast
import graphlib
import pathlib

PLUGINS = pathlib.Path(__file__).resolve().parents[2] / "plugins"
HOME = "ansible_collections.meshops.istio_precheck.plugins."

MAY = {
    "_model": "",
    "_module": "_model",
    "_sockets": "_model",
    "_mesh": "_model _sockets",
    "_rule": "_model _sockets _mesh",
    "_remedy": "_model _sockets _mesh _rule",
    "_gather": "_model _sockets _mesh _rule",
    "_apply": "_model _rule _remedy _gather",
    "_evaluate": "_model _sockets _mesh _rule _remedy",
    "_check": "_model _sockets _rule _evaluate _gather",
}
"""What each wing of module_utils may import beside itself. No wing may import plugin_utils."""

OF_THE_RULE = {"_rule.selection", "_rule.workloads"}
"""All that gather may know of the rule: which pods a run is about. It decides nothing."""

OUTSIDE = {"ansible", "kubernetes", "os", "requests", "ssl", "subprocess", "time", "urllib3", "websocket"}
"""What nothing imports that is pure."""

PURE = ("_sockets", "_mesh", "_rule", "_remedy", "_evaluate", "_gather.node_output")

OF_THE_DOCUMENT = {"_evaluate", "_mesh.cluster"}
"""The door, and what reads a snapshot for it."""


def imported(path: pathlib.Path) -> set[str]:
    """The modules that a file imports; those of the collection without HOME."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            name = (node.module or "").removeprefix(HOME)
            folder = (PLUGINS / name.replace(".", "/")).is_dir() and name != node.module
            found |= {f"{name}.{alias.name}" for alias in node.names} if folder else {name}
    return found


GRAPH = {
    ".".join(path.relative_to(PLUGINS).with_suffix("").parts): imported(path) for path in sorted(PLUGINS.rglob("*.py"))
}
ROOMS = {name.removeprefix("module_utils."): GRAPH[name] for name in GRAPH if name.startswith("module_utils.")}


def test_each_wing_imports_only_those_below_it():
    assert {room.split(".")[0] for room in ROOMS} == set(MAY)
    for room, names in ROOMS.items():
        wing = room.split(".")[0]
        used = {name.removeprefix("module_utils.").split(".")[0] for name in names if name in GRAPH}
        assert used <= {wing, *MAY[wing].split()}, room


def test_gather_decides_nothing():
    for room, names in ROOMS.items():
        if room.startswith("_gather."):
            assert {name.removeprefix("module_utils.") for name in names if "._rule." in name} <= OF_THE_RULE, room


def test_what_is_pure_imports_nothing_that_leads_outside():
    for room, names in ROOMS.items():
        if room.startswith(PURE):
            assert not OUTSIDE & {name.split(".")[0] for name in names}, room


def test_the_rules_are_given_a_cluster_and_never_its_document():
    """Which is read once: who digs in it again reads it otherwise than the others do."""
    for path in sorted((PLUGINS / "module_utils").rglob("*.py")):
        room = ".".join(path.relative_to(PLUGINS / "module_utils").with_suffix("").parts)
        if room.startswith(PURE) and room not in OF_THE_DOCUMENT:
            named = {node.id for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Name)}
            assert "Snapshot" not in named, room


def test_no_module_presents():
    for name, names in GRAPH.items():
        if name.startswith("modules."):
            assert not [used for used in names if used.startswith("plugin_utils.")], name


def test_no_import_leads_round_in_a_circle():
    graphlib.TopologicalSorter({name: names & GRAPH.keys() for name, names in GRAPH.items()}).prepare()
