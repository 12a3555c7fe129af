# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The gate, without a play."""

from __future__ import annotations

import contextlib
import json

import pytest

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.report import nothing
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils import _gate
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._reports import formats as _formats


@pytest.mark.parametrize("name", _gate.SET)
def test_what_the_role_sets_is_set_by_nobody_else(name):
    assert _gate.taken({"check_listeners_context", "a"}) == ""
    assert _gate.taken({"check_listeners_context", name}).startswith(f"{name}: the role sets this")


@pytest.mark.parametrize("returned", [{"failed": True, "msg": "no route"}, {"cluster": {"server": "https://a:pw@api"}}])
def test_no_user_and_password_of_a_url_is_written_or_said(tmp_path, returned):
    values = {
        "check_listeners_fail_on": ["unchecked"],
        "check_listeners_host": "https://jane:pw@api",
        "check_listeners_report_dir": str(tmp_path),
        "check_listeners_report_formats": list(_formats.FORMATS),
    }
    made = _gate.outcome(returned, values, _gate.Place("east"))
    texts = [path.read_text("utf-8") for path in tmp_path.iterdir()]
    assert len(texts) == len(_formats.FORMATS)
    assert not [text for text in (*texts, *made.lines, made.line) if ":pw@" in text]


@pytest.mark.parametrize(
    ("host", "cluster", "variables", "name"),
    [
        ("east", {"context": "kind"}, {}, "east"),
        ("localhost", {"context": "kind", "server": "https://api"}, {}, "kind"),
        ("127.0.0.1", {"context": "kind"}, {}, "kind"),
        ("localhost", {"server": "https://jane:pw@api:6443"}, {}, "https://api:6443"),
        ("localhost", {}, {"check_listeners_context": "kind"}, "kind"),
        ("localhost", {}, {"check_listeners_context": "kind", "check_listeners_snapshot_src": "a.json"}, "localhost"),
        ("localhost", {}, {"check_listeners_context": ["kind"], "check_listeners_target_version": 1.24}, "localhost"),
        ("localhost", {}, {}, "localhost"),
    ],
)
def test_a_report_calls_the_cluster_what_people_call_it_and_its_file_by_the_host(
    tmp_path, host, cluster, variables, name
):
    values = {"check_listeners_report_dir": str(tmp_path), "check_listeners_report_formats": ["json"], **variables}
    _gate.outcome({**nothing(), "cluster": cluster}, {"check_listeners_fail_on": [], **values}, _gate.Place(host))
    saved = json.loads((tmp_path / f"{host}.json").read_text("utf-8"))
    assert saved["metadata"]["cluster"] == name


def test_a_report_says_from_which_version_to_which(tmp_path):
    values = {
        "check_listeners_fail_on": [],
        "check_listeners_report_dir": str(tmp_path),
        "check_listeners_report_formats": ["json"],
        "check_listeners_current_version": "1.9",
        "check_listeners_target_version": "1.24",
    }
    seen = {"istio_versions": ["1.9.9"], "target_version": "1.24"}
    for cluster, today in (({}, ["1.9"]), (seen, ["1.9.9"])):
        _gate.outcome({**nothing(), "cluster": cluster}, values, _gate.Place("east"))
        about = json.loads((tmp_path / "east.json").read_text("utf-8"))["metadata"]
        assert (about["istioVersions"], about["targetVersion"]) == (today, "1.24")


@pytest.mark.parametrize("left_out", [*nothing(), None])
def test_a_result_that_is_no_whole_report_opens_nothing(left_out):
    whole = {**nothing(), "summary": {"pods": 1, "pods_read": 1}}
    returned = {name: value for name, value in whole.items() if name != left_out}
    made = _gate.outcome(returned, {"check_listeners_fail_on": []}, _gate.Place("east"))
    assert made.passed is (left_out is None)
    assert ("without a result" in made.line) is (left_out is not None)


@pytest.mark.parametrize("other", [{}, "", None, 0, {"impact": "breaks_on_upgrade"}, "unknown"])
@pytest.mark.parametrize("name", [*nothing()])
def test_a_list_that_is_none_opens_nothing(name, other):
    """In a mapping or a text nobody finds a finding."""
    kept = name == "summary" and isinstance(other, dict)
    returned = {**nothing(), "summary": {"pods": 1, "pods_read": 1}, name: other}
    with contextlib.nullcontext() if kept else pytest.raises(TypeError, match=name):
        assert _gate.gate(returned, [])["passed"]
    assert _gate.outcome(returned, {"check_listeners_fail_on": []}, _gate.Place("east")).passed is kept


HERE = {
    "server": "https://api:6443",
    "record": "",
    "by": ["", ""],
    "namespaces": [],
    "exclude_namespaces": [],
    "label_selectors": [],
}


@pytest.mark.parametrize(
    ("east", "west", "same"),
    [
        ({}, {}, True),
        ({"namespaces": ["shop"]}, {}, True),
        ({"namespaces": ["shop"]}, {"namespaces": ["bank", "shop"]}, True),
        ({"namespaces": ["shop"]}, {"namespaces": ["shop"]}, True),
        ({"exclude_namespaces": ["shop"]}, {"exclude_namespaces": ["bank"]}, True),
        ({"namespaces": ["shop"]}, {"namespaces": ["bank"]}, False),
        ({"namespaces": ["shop"]}, {"exclude_namespaces": ["shop"]}, False),
        ({"server": "https://other:6443"}, {}, False),
        ({"server": ""}, {"server": ""}, False),
        ({"by": ["http://proxy-1", ""]}, {"by": ["http://proxy-2", ""]}, False),
        ({"by": ["", "bastion-1"]}, {"by": ["", "bastion-2"]}, False),
        ({"label_selectors": ["team=a"]}, {"label_selectors": ["team=b"]}, False),
        ({"label_selectors": ["team=a"]}, {"label_selectors": ["team=a"]}, True),
        ({"label_selectors": ["team=a"]}, {}, True),
        ({"label_selectors": ["team=a", "app"]}, {"label_selectors": ["app", "team=a"]}, True),
        ({}, {"server": "http://api:6443"}, False),
        ({}, {"server": "https://api:6443/clusters/west"}, False),  # behind one proxy, as of a fleet
        ({}, {"record": "2026-11-23T06:30:00Z"}, False),
    ],
)
def test_hosts_that_asked_one_server_for_one_namespace_are_the_same_cluster(east, west, same):
    outcomes = [{"asked": {**HERE, **east}}, {"asked": {}}, {}, {"asked": {**HERE, **west}}]
    hosts = ["east", "recorded", "lost", "west"]
    said = "Do not upgrade yet: east and west are the same cluster (https://api:6443). "
    for host in ("east", "west"):
        assert _gate.same_cluster(hosts, outcomes, host).startswith(said) is same
        assert bool(_gate.same_cluster(hosts, outcomes, host)) is same
    assert not any(_gate.same_cluster(hosts, outcomes, host) for host in ("recorded", "lost"))


BY_TASKS = {"server": "", "kubeconfig": "", "context": "", "by_tasks": True}


@pytest.mark.parametrize(
    ("east", "west", "same"),
    [
        ({"context": "east"}, {}, True),  # whichever the current one is
        ({}, {}, True),
        ({"context": "east"}, {"context": "east"}, True),
        ({"context": "east"}, {"context": "west"}, False),
        ({"kubeconfig": "a", "context": "east"}, {"kubeconfig": "a"}, True),
        ({"kubeconfig": "a"}, {"kubeconfig": "b"}, False),
        ({"kubeconfig": "a", "context": "east"}, {"context": "east"}, False),
        ({"server": "https://api"}, {}, True),
        ({"server": "https://api"}, {"context": "west"}, False),
        ({"server": "https://api"}, {"server": "https://api2"}, False),
        ({"by": ["", "bastion-1"]}, {"by": ["", "bastion-2"]}, False),
        ({"context": "east", "namespaces": ["shop"]}, {"namespaces": ["bank"]}, False),
        ({}, {"by_tasks": False}, False),  # that check failed
    ],
)
def test_hosts_whose_tasks_may_have_asked_one_cluster_are_told_to_name_it(east, west, same):
    outcomes = [{"asked": {**HERE, **BY_TASKS, **each}} for each in (east, west)]
    for host in ("east", "west"):
        found = _gate.same_cluster(["east", "west"], outcomes, host)
        assert bool(found) is same
        assert not same or found.startswith("Do not upgrade yet: east and west may be the same cluster. ")


def test_an_outcome_says_which_cluster_was_asked():
    returned = {**nothing(), "cluster": {"server": "https://jane:pw@api/"}}
    values = {"check_listeners_fail_on": [], "check_listeners_namespaces": ["shop"]}
    made = _gate.outcome(returned, values, _gate.Place("east", local=False))
    wanted = {"server": "https://api", "by": ["", "east"], "namespaces": ["shop"], "exclude_namespaces": []}
    unnamed = {"kubeconfig": "", "context": "", "by_tasks": False}
    assert made.asked == {**wanted, **unnamed, "record": "", "label_selectors": []}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://api", "https://api:443", True),
        ("https://API:6443", "https://api:6443/", True),
        ("http://api", "http://api:80/", True),
        ("https://api", "https://api:6443", False),
        ("https://[fd00::1]:6443", "https://[FD00::1]:6443", True),
        ("https://api:x", "https://api:x", True),
        ("https://api:x", "https://api:y", False),
    ],
)
def test_a_server_is_the_same_however_it_is_spelt(one, other, same):
    outcomes = [{"asked": {**HERE, "server": server}} for server in (one, other)]
    assert bool(_gate.same_cluster(["east", "west"], outcomes, "east")) is same


EARLY, LATE = "2026-11-23T06:30:00Z", "2026-11-24T06:30:00Z"


# What the records of two hosts say of their cluster, where they are; whether they are one.
@pytest.mark.parametrize(
    ("east", "west", "paths", "said"),
    [
        (("https://api", EARLY), ("https://api", EARLY), "aa", f"record of {EARLY} (https://api). "),
        (("https://api", EARLY), ("https://api", EARLY), "ab", f"record of {EARLY} (https://api). "),
        (("https://api", EARLY), ("https://api", LATE), "ab", ""),
        (("https://api", EARLY), ("https://other", EARLY), "ab", ""),
        (("", EARLY), ("", EARLY), "aa", f"record of {EARLY} (a.json). "),
        (("", EARLY), ("", EARLY), "ab", ""),
        (None, None, "aa", ""),  # it could not be read, which is said
    ],
)
def test_one_record_passes_for_one_host_alone(east, west, paths, said):
    """As where it is left among the variables of a group."""
    outcomes = []
    for about, path in zip((east, west), paths):
        cluster = {"cluster": dict(zip(("server", "taken_at"), about))} if about else {}
        values = {"check_listeners_fail_on": [], "check_listeners_snapshot_src": f"{path}.json"}
        outcomes.append({"asked": _gate.outcome({**nothing(), **cluster}, values, _gate.Place("east")).asked})
    found = _gate.same_cluster(["east", "west"], outcomes, "west")
    assert found.startswith(f"Do not upgrade yet: east and west are the same {said}") if said else found == ""


@pytest.mark.parametrize(
    ("server", "source", "local", "same"),
    [
        ("https://api", [{"snapshot": {"pods": []}}] * 2, True, True),
        ("https://api", [{"snapshot": {"pods": []}}] * 2, False, True),
        ("https://api", [{"snapshot_src": "r.json"}] * 2, False, True),
        ("https://127.0.0.1:6443", [{"snapshot": {"pods": []}}] * 2, False, True),
        (
            "https://127.0.0.1:6443",
            [{"snapshot_src": "r.json"}] * 2,
            False,
            False,
        ),  # each is a cluster, recorded at once
        ("https://127.0.0.1:6443", [{"snapshot_src": "r.json"}] * 2, True, True),
        ("", [{"snapshot": {"pods": []}}] * 2, True, True),
        ("", [{"snapshot": {"pods": []}}] * 2, False, True),
        ("", [{"snapshot": {"pods": []}}, {"snapshot": {"pods": [{}]}}], True, False),
        ("", [{"snapshot_src": "r.json"}] * 2, False, False),  # each has a file of its own there
    ],
)
def test_one_record_is_one_wherever_it_is_evaluated_and_whatever_it_says_of_its_server(server, source, local, same):
    """Hosts that are reached over SSH passed by one record for all of them, and so did all by one that is data and names no server."""
    outcomes = []
    for host, given in zip(("east", "west"), source):
        values = {"check_listeners_fail_on": [], **{f"check_listeners_{name}": each for name, each in given.items()}}
        returned = {**nothing(), "cluster": {"server": server, "taken_at": EARLY}}
        outcomes.append({"asked": _gate.outcome(returned, values, _gate.Place(host, local=local)).asked})
    assert bool(_gate.same_cluster(["east", "west"], outcomes, "west")) is same


@pytest.mark.parametrize(
    ("source", "taken_at", "said"),
    [
        ({"check_listeners_snapshot_src": "r.json"}, "2026-11-23T06:30:00Z", "a record of 2026-11-23T06:30:00Z."),
        ({"check_listeners_snapshot": {}}, "2026-11-23T06:30:00Z", "a record of 2026-11-23T06:30:00Z."),
        ({"check_listeners_snapshot_src": "r.json"}, "", "a record of unknown age."),
        ({}, "2026-11-23T06:30:00Z", ""),
    ],
)
def test_a_gate_that_a_record_opens_says_so_and_how_old_it_is(source, taken_at, said):
    """A record that is left among the variables of a group passes for every cluster, whatever runs by now."""
    returned = {**nothing(), "summary": {"pods": 1, "pods_read": 1}, "cluster": {"taken_at": taken_at}}
    made = _gate.outcome(returned, {"check_listeners_fail_on": [], **source}, _gate.Place("east"))
    filtered = _gate.gate(returned, [], recorded=bool(source))
    assert made.passed and filtered["passed"]
    for text in (made.line, " ".join(made.lines), filtered["outcome"]["verdict"], " ".join(filtered["verdict"])):
        assert " ".join(text.split()).endswith(f"This is {said}") if said else "record" not in text, text
