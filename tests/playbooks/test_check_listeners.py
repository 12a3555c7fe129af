# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The gate, as a user plays it, over recorded clusters."""

from __future__ import annotations

import json
import pathlib
import re
import stat
import tempfile

import pytest
import yaml

from ansible_collections.meshops.istio_precheck.tests.helpers import cluster

ID = "IST0143/shop/Deployment/web/8080"
FINE = {"binds": ("0.0.0.0:8080",)}
SILENT = {
    "tables": [],
    "unread": [{"namespace": "shop", "pod": "web-7d4b9-a", "reason": "timeout", "detail": "No answer in time."}],
}
MIXED = {
    "pods": [cluster.pod(), cluster.pod(name="mute-1", app="mute", owner=("ReplicaSet", "mute-7d4b9"))],
    "services": [cluster.service(), cluster.service(name="mute", selector={"app": "mute"})],
    "tables": [cluster.table()],
    "unread": [{"namespace": "shop", "pod": "mute-1", "reason": "no_tool", "detail": "Nothing to read it with."}],
}


# ---------------------------------------------------------------------------------------------------------------------
# The verdict


def test_a_port_on_localhost_stops_the_play(play, record):
    played = play(check_listeners_snapshot_src=record())
    assert played.code == 2
    assert played.passed is False
    assert [finding["id"] for finding in played.result["findings"]] == [ID]
    assert set(played.result) == set(cluster.PARTS)


def test_a_cluster_without_one_passes(play, record):
    played = play(check_listeners_snapshot_src=record(**FINE))
    assert played.code == 0
    assert played.passed is True
    assert set(played.result) == set(cluster.PARTS)
    assert played.verdict().startswith(
        "Nothing stands in the way of the upgrade. Checked 1 port of 1 workload; read 1 of 1 pod"
    )


def test_a_run_that_passes_plays_five_tasks_and_one_that_fails_no_more(play, record):
    """A task that is only skipped costs a process, too."""
    for parts in (FINE, {}):
        assert play(check_listeners_snapshot_src=record(**parts)).output.count("TASK [") == 5


def test_the_verdict_comes_last_and_lists_everything_at_once(play, record):
    played = play(check_listeners_snapshot_src=record(**MIXED))
    said = played.verdict().splitlines()
    assert said[0] == "shop: Deployment web"
    assert any("port 8080: breaks on upgrade; Service web:80; pods web-7d4b9-a" in line for line in said)
    assert "1 pod not checked, no_tool: shop/mute-1" in said
    sentence = "Do not upgrade yet: 1 port breaks on upgrade, 1 pod not checked. Checked 2 ports of 2 workloads; read 1 of 2 pods."
    assert said[-1] == sentence
    *_tasks, shown, end = played.output.split("TASK [")
    assert "Do not upgrade yet" not in shown and "failed_when" not in end and "#" not in end
    assert end.count(f'"msg": "{sentence}"') == 1 and end.count("fatal: ") == 1
    assert end.rstrip().splitlines()[-1].startswith("localhost")  # the recap, and nothing in between but the verdict


def test_a_pod_that_was_not_read_stops_the_play(play, record):
    played = play(check_listeners_snapshot_src=record(**SILENT))
    assert (played.code, played.passed) == (2, False)
    assert "1 pod not checked, timeout: shop/web-7d4b9-a" in played.verdict()


@pytest.mark.parametrize(
    ("fail_on", "parts", "code"),
    [
        ([], {}, 0),
        ([], SILENT, 0),
        (["unchecked"], {}, 0),
        (["unchecked"], SILENT, 2),
        (["breaks_on_upgrade"], SILENT, 0),
        (["breaks_on_upgrade"], {}, 2),
        (["unknown", "unreachable"], {}, 0),
    ],
)
def test_the_play_fails_on_what_it_was_told_to_and_reports_the_rest(play, record, fail_on, parts, code):
    played = play(check_listeners_snapshot_src=record(**parts), check_listeners_fail_on=fail_on)
    assert (played.code, played.passed) == (code, code == 0)
    assert played.result["findings"] or played.result["unchecked"]
    assert "port 8080" in played.verdict() or "not checked" in played.verdict()


def test_a_waived_finding_does_not_stop_the_play(play, record):
    waivers = [{"match": f"id == '{ID}'", "reason": "known"}]
    played = play(check_listeners_snapshot_src=record(), check_listeners_waivers=waivers)
    assert (played.code, played.passed) == (0, True)
    assert [finding["waived_by"]["reason"] for finding in played.result["waived"]] == ["known"]
    assert "1 port waived" in played.verdict()


def test_an_expired_waiver_stops_the_play_and_says_so(play, record):
    waivers = [{"match": f"id == '{ID}'", "reason": "known", "until": "2020-01-01"}]
    played = play(check_listeners_snapshot_src=record(), check_listeners_waivers=waivers)
    assert played.code == 2
    assert "expired on 2020-01-01" in played.verdict()


DEMO = pathlib.Path(__file__).resolve().parents[2] / "playbooks/files/demo_before.json"


@pytest.mark.parametrize("reports", [False, True])
def test_on_a_small_terminal_the_list_fits_a_screen_and_the_sentence_the_last_one(play, reports):
    """Of ansible-core 2.19 and later the task that fails takes most of 24 lines by itself."""
    with tempfile.TemporaryDirectory(prefix="reports-", dir="/tmp") as place:  # a path of no more than ordinary length
        played = play(
            screen=True,
            check_listeners_snapshot_src=str(DEMO),
            **({"check_listeners_report_dir": place} if reports else {}),
        )
    assert played.code == 2
    written = played.terminal.replace("\r\n", "\n")
    listed = rows(written[written.rindex("ok: [localhost] => {") : written.rindex("TASK [")])
    assert len(listed) <= 24
    text = re.sub(r"[:\s]+", " ", "\n".join(listed))  # the names of facts with a colon or in a column, as there is room
    for said in (
        "ist0143 Deployment go-localhost",
        "port 8080 breaks on upgrade",
        "listens 127.0.0.1 8080",
        "fix apply Sidecar",
        "waive check_listeners_waivers",
        "more findings not shown",
    ):
        assert said in text
    assert ("Reports in /tmp/reports-" in "\n".join(listed)) is reports
    assert "Do not upgrade yet: 4 ports break on upgrade." in "".join(rows(written)[-24:])


def rows(written: str) -> list[str]:
    """What a terminal of 80 columns makes of a text; the last, empty one is the prompt's."""
    return [line[start : start + 80] for line in written.split("\n") for start in range(0, max(len(line), 1), 80)]


# ---------------------------------------------------------------------------------------------------------------------
# Failures


FAILURES = {
    "a record that is missing": (
        {"check_listeners_snapshot_src": "/no/such.json"},
        "snapshot_src: /no/such.json cannot be read: No such file or directory",
    ),
    "a record that is none": (
        {"check_listeners_snapshot": {"kind": "List"}},
        "snapshot: this is no ClusterSnapshot: apiVersion",
    ),
    "no cluster": ({}, "no connection to a cluster with kubeconfig, context or host (none is given)"),
    "no server": (
        {"check_listeners_host": "http://127.0.0.1:9", "check_listeners_api_key": "CANARY"},
        "127.0.0.1:9 cannot be reached",
    ),
    "no server, by tasks": (
        {
            "check_listeners_host": "http://127.0.0.1:9",
            "check_listeners_api_key": "CANARY",
            "check_listeners_gather_with": "k8s_exec",
        },
        "HTTPConnectionPool(host='127.0.0.1', port=9)",
    ),
    "a probe, and no module that makes one": (
        {
            "check_listeners_gather_with": "k8s_exec",
            "check_listeners_socket_source": "auto",
            "check_listeners_node_probe_image": "busybox",
        },
        "check_listeners_socket_source: auto needs check_listeners_gather_with: module",
    ),
    "a probe without an image": (
        {"check_listeners_socket_source": "node"},
        "socket_source is node but all of the following are missing: node_probe_image",
    ),
    "a version that is none": (
        {"check_listeners_snapshot": cluster.snapshot(), "check_listeners_target_version": "new"},
        "target_version: 'new' is no Istio version",
    ),
    "somebody else, and tasks that stay themselves": (
        {
            "check_listeners_gather_with": "k8s_exec",
            "check_listeners_impersonate_user": "jane",
            "check_listeners_host": "http://127.0.0.1:9",
        },
        "check_listeners_impersonate_user needs check_listeners_gather_with: module",
    ),
    "a value that is no number": (
        {"check_listeners_snapshot": cluster.snapshot(), "check_listeners_concurrency": "abc"},
        "argument 'check_listeners_concurrency' is of type ",
    ),
    "a variable without a value": (
        {"check_listeners_snapshot": cluster.snapshot(), "check_listeners_context": "{{ nope }}"},
        "'nope' is undefined",
    ),
    "a namespace that the record does not hold": (
        {"check_listeners_snapshot": cluster.snapshot(), "check_listeners_namespaces": ["shpo"]},
        "namespaces: there is no Pod and no Service in a namespace 'shpo'",
    ),
    "a bad waiver": (
        {"check_listeners_waivers": [{"match": "a b", "reason": "x"}]},
        "waivers[0].match: invalid JMESPath: ",
    ),
}


@pytest.mark.parametrize("case", FAILURES)
def test_a_check_that_could_not_be_made_fails_once_whatever_it_may_fail_on(play, case):
    variables, message = FAILURES[case]
    played = play("-vv", check_listeners_fail_on=[], **variables)
    assert (played.code, played.passed) == (2, False)
    assert set(played.result) == {*cluster.PARTS, "failed", "msg"}
    assert message in played.result["msg"]
    last = played.verdict().splitlines()[-1]
    assert last.startswith("Could not check the cluster: ") and message in last
    assert all(line.strip() in played.verdict() for line in played.result["msg"].split("\n"))
    assert played.output.count("fatal: [localhost]") == (
        2 if "by tasks" in case else 1
    )  # there the task that fails says it, too
    assert "Traceback" not in played.output
    assert "CANARY" not in played.output and "CANARY" not in json.dumps(played.facts)


def test_what_was_seen_before_a_failure_is_kept_and_fails_the_play_all_the_same(play, record):
    unread = [
        {
            "namespace": "shop",
            "pod": "web-7d4b9-a",
            "reason": "forbidden",
            "detail": 'User "jane" cannot create resource "pods/exec"',
        }
    ]
    played = play(check_listeners_snapshot_src=record(tables=[], unread=unread), check_listeners_fail_on=[])
    assert (played.code, played.passed) == (2, False)
    assert [entry["reason"] for entry in played.result["unchecked"]] == ["forbidden"]
    assert (
        played.verdict()
        .splitlines()[-1]
        .startswith('Could not check the cluster: no pod may be read: User "jane" cannot create')
    )


def test_a_snapshot_that_cannot_be_written_denies_no_check_that_was_made(play, record):
    played = play(check_listeners_snapshot_src=record(), check_listeners_snapshot_dest="/no/such/record.json")
    assert (played.code, played.passed) == (2, False)
    last = played.verdict().splitlines()[-1]
    assert last.startswith(
        "Do not upgrade yet: 1 port breaks on upgrade; snapshot_dest: /no/such/record.json cannot be written: "
    )
    assert last.endswith(". Checked 1 port of 1 workload; read 1 of 1 pod.")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("scope", "mesch"),
        ("gather_with", "kubectl"),
        ("fail_on", ["breaks"]),
        ("replicas", "two"),
        ("waivers", [{"match": "true"}]),
        ("exec_timeout", "soon"),
    ],
)
def test_an_unknown_value_names_its_variable(play, record, name, value):
    played = play(check_listeners_snapshot_src=record(**FINE), **{f"check_listeners_{name}": value})
    assert played.code == 2
    assert f"check_listeners_{name}" in played.verdict()
    assert "Traceback" not in played.output


def test_without_kubernetes_core_one_sentence_names_the_command_that_installs_it(play, record, tmp_path, monkeypatch):
    alone = tmp_path / "tree" / "ansible_collections" / "meshops"
    alone.mkdir(parents=True)
    (alone / "istio_precheck").symlink_to(DEMO.parents[2])
    monkeypatch.setenv("ANSIBLE_COLLECTIONS_PATH", str(tmp_path / "tree"))
    played = play(check_listeners_snapshot_src=record())
    assert played.code not in (0, 2) and "PLAY RECAP" not in played.output
    last = played.output.rstrip().splitlines()[-1]
    assert last.endswith(
        "needs the collection kubernetes.core, 5.0.0 or later: ansible-galaxy collection install kubernetes.core"
    )
    assert "Traceback" not in played.output


def test_a_variable_that_is_spelled_like_one_of_the_role_is_refused(play, record):
    """Else another cluster may be checked in its place."""
    played = play(check_listeners_snapshot_src=record(**FINE), check_listeners_kube_context="production")
    assert (played.code, played.passed) == (2, False)
    assert "Unknown variable check_listeners_kube_context. Did you mean check_listeners_context?" in played.output


def test_a_variable_of_ones_own_is_a_hint(play, record):
    played = play(check_listeners_snapshot_src=record(**FINE), check_listeners_colour="blue")
    assert played.code == 0 and "Unknown variable check_listeners_colour." in played.result["hints"]
    assert not [
        hint for hint in play(check_listeners_snapshot_src=record(**FINE)).result["hints"] if "variable" in hint
    ]


def test_an_empty_text_is_no_path_and_no_value(play, record, tmp_path):
    names = ("report_dir", "remediation_dir", "snapshot_dest", "kubeconfig", "context", "host", "target_version")
    before = files(tmp_path)
    played = play(
        check_listeners_snapshot=cluster.snapshot(),
        check_listeners_snapshot_src="",
        **{f"check_listeners_{name}": "" for name in names},
    )
    assert ([finding["id"] for finding in played.result["findings"]], played.result.get("msg")) == ([ID], None)
    assert files(tmp_path) == before


WRAPPED = [
    {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "vars": {"ansible_python_interpreter": "{{ ansible_playbook_python }}"},
        "tasks": [
            {
                "block": [{"include_role": {"name": "meshops.istio_precheck.check_listeners"}}],
                "rescue": [
                    {
                        "debug": {
                            "msg": "RESCUED {{ check_listeners_passed }} {{ check_listeners_result.findings | length }}"
                        }
                    }
                ],
                "always": [{"debug": {"msg": "ALWAYS {{ check_listeners_passed }}"}}],
            }
        ],
    }
]


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"check_listeners_snapshot": cluster.snapshot()}, ["RESCUED False 1", "ALWAYS False"]),
        ({"check_listeners_snapshot": cluster.snapshot(**FINE)}, ["ALWAYS True"]),
        ({"check_listeners_snapshot": {}}, ["RESCUED False 0", "ALWAYS False"]),
    ],
    ids=["found", "fine", "failed"],
)
def test_a_play_around_the_role_has_its_facts_on_every_path(play, variables, said):
    played = play(playbook=WRAPPED, **variables)
    assert played.code == 0
    for each in said:
        assert each in played.output


def test_a_second_run_in_one_play_forgets_the_first(play, record):
    role = {"include_role": {"name": "meshops.istio_precheck.check_listeners"}}
    tasks = [
        {**role, "vars": {"check_listeners_snapshot_src": record("fine", **FINE)}},
        {**role, "vars": {"check_listeners_snapshot_src": "/no/such.json"}},
    ]
    played = play(playbook=[{**WRAPPED[0], "tasks": tasks}])
    assert (played.code, played.passed) == (2, False)
    assert played.result["summary"] == {}


def test_templates_in_a_cluster_are_text(play, tmp_path):
    bait = "{{ lookup('ansible.builtin.pipe', 'touch " + str(tmp_path / "taken") + "') }}"
    snapshot = cluster.snapshot(pods=[cluster.pod(labels={"bait": bait})])
    snapshot["unread"].append({"namespace": "shop", "pod": "web-7d4b9-a", "reason": bait, "detail": bait})
    snapshot["services"][0]["spec"]["ports"][0]["name"] = bait
    (tmp_path / "hostile.json").write_text(json.dumps(snapshot), encoding="utf-8")
    played = play(
        check_listeners_snapshot_src=str(tmp_path / "hostile.json"),
        check_listeners_remediation_dir=str(tmp_path / "sidecars"),
    )
    assert played.code == 2
    assert not (tmp_path / "taken").exists()
    assert bait in json.dumps(played.result).replace("\\\\", "\\") or "lookup(" in json.dumps(played.result)


# ---------------------------------------------------------------------------------------------------------------------
# Files


def files(place: pathlib.Path) -> dict[str, str]:
    return {str(path.relative_to(place)): path.read_text("utf-8") for path in sorted(place.rglob("*.yaml"))}


def changed(played) -> int:
    return int(played.output.rpartition("changed=")[2].split()[0])


def test_the_sidecars_are_written_once_and_then_stand(play, record, tmp_path):
    place = tmp_path / "sidecars"
    variables = {"check_listeners_snapshot_src": record(), "check_listeners_remediation_dir": str(place)}
    first = play(**variables)
    assert first.code == 2 and changed(first) > 0
    ((name, text),) = files(place).items()
    assert name.startswith("shop/")
    assert yaml.safe_load(text) == first.result["remediations"][0]["manifest"]
    assert ID in text
    assert stat.S_IMODE((place / name).stat().st_mode) == 0o644
    second = play(**variables)
    assert changed(second) == 0
    assert files(place) == {name: text}


def test_check_mode_writes_nothing_and_a_diff_shows_what_would_be(play, record, tmp_path):
    place = tmp_path / "sidecars"
    played = play(
        "--check", "--diff", check_listeners_snapshot_src=record(), check_listeners_remediation_dir=str(place)
    )
    assert played.code == 2 and played.passed is False
    assert [finding["id"] for finding in played.result["findings"]] == [ID]
    assert "defaultEndpoint: 127.0.0.1:8080" in played.output
    assert not place.exists()


def test_no_sidecar_is_written_where_nothing_is_to_be_cured(play, record, tmp_path):
    played = play(
        check_listeners_snapshot_src=record(**FINE), check_listeners_remediation_dir=str(tmp_path / "sidecars")
    )
    assert played.code == 0
    assert files(tmp_path) == {}


def test_sidecars_that_cannot_be_written_do_not_hide_the_verdict(play, record, tmp_path):
    (tmp_path / "taken").write_text("a file", encoding="utf-8")
    played = play(check_listeners_snapshot_src=record(), check_listeners_remediation_dir=str(tmp_path / "taken"))
    assert (played.code, played.passed) == (2, False)
    assert ID in played.verdict()
    assert f"The Sidecars could not be written to {tmp_path / 'taken'}: " in played.verdict().splitlines()[-1]


def test_a_relative_path_starts_where_ansible_playbook_was_called(play, record, tmp_path):
    record()
    played = play(
        check_listeners_snapshot_src="record.json",
        check_listeners_snapshot_dest="again.json",
        check_listeners_remediation_dir="./sidecars",
    )
    assert [finding["id"] for finding in played.result["findings"]] == [ID]
    assert (tmp_path / "again.json").exists()
    assert list((tmp_path / "sidecars").rglob("*.yaml"))


def test_a_relative_kubeconfig_starts_there_too(play, tmp_path):
    context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [context],
        "users": [{"name": "u", "user": {"token": "CANARY"}}],
    }
    config["clusters"] = [{"name": "c", "cluster": {"server": "http://127.0.0.1:9"}}]
    (tmp_path / "own.kubeconfig").write_text(json.dumps(config), encoding="utf-8")
    played = play(check_listeners_kubeconfig="own.kubeconfig")
    assert "127.0.0.1:9 cannot be reached" in played.result["msg"]


# ---------------------------------------------------------------------------------------------------------------------
# Inventories


def test_a_pattern_that_matches_no_host_does_not_pass(play, record):
    played = play(inventory={"east": {}}, check_listeners_hosts="typo", check_listeners_snapshot_src=record(**FINE))
    assert played.code != 0
    assert "check_listeners_hosts matches no host" in played.output


def test_a_limit_that_matches_no_host_does_not_pass(play, record):
    played = play("--limit", "typo", inventory={"east": {}}, check_listeners_snapshot_src=record(**FINE))
    assert played.code != 0
    assert "no hosts to target" in played.output


def test_a_limit_that_leaves_no_cluster_does_not_pass(play, record):
    hosts = {"east": {"check_listeners_snapshot_src": record("east")}, "web1": {}}
    played = play("--limit", "web1", inventory=hosts, check_listeners_hosts="east")
    assert played.code != 0
    assert "--limit leaves none of check_listeners_hosts" in played.output
    assert set(play("--limit", "ea*,web1", inventory=hosts, check_listeners_hosts="east").facts) == {"east"}


def test_a_limit_in_a_file_is_one(play, record, tmp_path):
    hosts = {name: {"check_listeners_snapshot_src": record(name, **FINE)} for name in ("east", "west")}
    (tmp_path / "hosts").write_text("web1\n", "utf-8")
    played = play("--limit", "@hosts", inventory={**hosts, "web1": {}}, check_listeners_hosts="east,west")
    assert played.code != 0, played.output
    assert "--limit leaves none of check_listeners_hosts" in played.output
    (tmp_path / "hosts").write_text("east\n\nweb1\n", "utf-8")
    played = play("--limit", "@hosts", inventory={**hosts, "web1": {}}, check_listeners_hosts="east,west")
    assert (played.code, set(played.facts)) == (0, {"east"}), played.output


def test_options_that_leave_nothing_to_check_do_not_pass(play, record):
    played = play(check_listeners_snapshot_src=record(), check_listeners_exclude_namespaces="shop")
    assert (played.code, played.passed) == (2, False)
    assert "exclude_namespaces: nothing is left to check" in played.verdict()


def test_no_value_for_a_snapshot_leaves_the_cluster_to_be_asked_by_tasks(play):
    for given in (None, ""):
        played = play(
            "-vv",
            check_listeners_gather_with="k8s_exec",
            check_listeners_snapshot=given,
            check_listeners_snapshot_src=given,
        )
        assert "Contact the cluster" in played.output and played.code == 2


def test_each_host_of_the_inventory_is_a_cluster_and_a_bad_one_hides_no_other(play, record):
    played = play(
        inventory={
            "east": {"check_listeners_snapshot_src": record("east", **FINE)},
            "lost": {"check_listeners_snapshot_src": "/no/such.json"},
            "north": {"check_listeners_snapshot_src": record("north", **SILENT)},
            "typo": {"check_listeners_snapshot_src": record("typo", **FINE), "check_listeners_concurrency": "abc"},
            "west": {"check_listeners_snapshot_src": record("west")},
        }
    )
    assert played.code == 2
    assert {host for host, facts in played.facts.items() if facts["check_listeners_passed"]} == {"east"}
    assert set(played.facts) == {"east", "lost", "north", "typo", "west"}
    assert [finding["id"] for finding in played.facts["west"]["check_listeners_result"]["findings"]] == [ID]
    assert "Do not upgrade yet: 1 port breaks on upgrade" in played.verdict("west")
    assert "/no/such.json cannot be read" in played.verdict("lost")
    assert "check_listeners_concurrency" in played.verdict("typo")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("check_listeners_gather_with", "{{ nope }}"),
        ("check_listeners_gather_with", "{{ '{' | from_json }}"),
        ("check_listeners_snapshot", "{{ 'x' | from_json }}"),
        ("check_listeners_fail_on", "{{ nope }}"),
    ],
)
def test_no_variable_without_a_value_hides_the_verdict_on_another_cluster(play, record, name, value):
    bad = {"check_listeners_snapshot_src": record("bad", **FINE), name: value}
    played = play(inventory={"bad": bad, "west": {"check_listeners_snapshot_src": record("west")}})
    assert (played.code, played.facts["bad"]["check_listeners_passed"]) == (2, False)
    assert name in played.verdict("bad")
    assert "Do not upgrade yet: 1 port breaks on upgrade" in played.verdict("west")


@pytest.mark.parametrize("own", [False, True], ids=["the playbook", "a play with connection: local"])
def test_each_cluster_has_a_directory_of_sidecars_of_its_own(play, record, tmp_path, own):
    hosts = {name: {"check_listeners_snapshot_src": record(name)} for name in ("east", "west")}
    book = [{**WRAPPED[0], "hosts": "all"}] if own else "meshops.istio_precheck.check_listeners"
    play(playbook=book, inventory=hosts, check_listeners_remediation_dir="./sidecars")
    written = {name.split("/")[0] for name in files(tmp_path / "sidecars")}
    assert written == {"east", "west"}


def test_no_name_of_a_host_and_no_link_leads_a_sidecar_out_of_its_directory(play, record, tmp_path):
    hosts = {
        name: {"check_listeners_snapshot_src": record(str(n))} for n, name in enumerate(("../../escaped", "linked"))
    }
    place = tmp_path / "out" / "sidecars"
    (place / "linked").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (place / "linked" / "shop").symlink_to(tmp_path / "elsewhere")
    played = play(inventory=hosts, check_listeners_remediation_dir=str(place))
    assert list(files(place)) == ["%2E.%2F..%2Fescaped/shop/precheck-deployment-web.yaml"]
    assert not list(tmp_path.rglob("escaped")) and not list((tmp_path / "elsewhere").iterdir())
    assert stat.S_IMODE((tmp_path / "elsewhere").stat().st_mode) == 0o700
    assert "shop is a symbolic link" in played.verdict("linked").splitlines()[-1]
    assert played.facts["linked"]["check_listeners_passed"] is False


def test_hundreds_of_sidecars_are_written_by_one_task(play, tmp_path):
    names = [f"w{number:03}" for number in range(222)]
    owned = [cluster.pod(name=f"{name}-7d4b9-a", app=name, owner=("ReplicaSet", f"{name}-7d4b9")) for name in names]
    services = [cluster.service(name=name, selector={"app": name}) for name in names]
    snapshot = cluster.snapshot(pods=owned, services=services, tables=[cluster.table(of=f"{n}-7d4b9-a") for n in names])
    (tmp_path / "many.json").write_text(json.dumps(snapshot), encoding="utf-8")
    place = tmp_path / "sidecars"
    played = play(
        "-v", check_listeners_snapshot_src=str(tmp_path / "many.json"), check_listeners_remediation_dir=str(place)
    )
    assert len(files(place)) == 222
    assert changed(played) == 1
    assert played.output.count("[IST0143] (Pod shop/w") == 222  # -v shows all, and none of it in one line
    assert max(map(len, played.output.splitlines())) <= 1000


def test_some_hosts_of_the_inventory_can_be_chosen(play, record):
    hosts = {name: {"check_listeners_snapshot_src": record(name, **FINE)} for name in ("east", "west")}
    assert set(play(inventory=hosts, check_listeners_hosts="west").facts) == {"west"}
