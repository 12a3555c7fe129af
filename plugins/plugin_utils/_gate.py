# -*- coding: utf-8 -*-
# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins!

"""The gate: from what the module returned to files, a verdict, and whether it is open."""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import json
import os
import typing as t
import urllib.parse

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.report import (
    DEFAULT_FAIL_ON,
    FailOnError,
    Report,
    blocking,
    checked_fail_on,
    nothing,
    was_checked,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.schema import type_name
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.secrets import without_user
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.text import path_part, printable
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils import _role_variables, _terminal
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._reports import verdict as _verdict
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._reports.text import lines

Values = t.Mapping[str, t.Any]

SHOWN_BY_DIFF = (".yaml", ".md")
"""The other files are for programs, or a page of which nobody reads the source."""


class Place(t.NamedTuple):
    """Where the gate runs: the host's name in the inventory, whether it is one of several, whether files may be written, how much is told.

    `local` is whether a cluster is asked from this machine.
    """

    host: str
    several: bool = False
    check_mode: bool = False
    verbose: bool = False
    local: bool = True


class Outcome(t.NamedTuple):
    """What the role makes known: its two facts, the verdict as lines and as one sentence, and what became of files.

    The lines hold the sentence only where the gate is open: where it is shut, the task that fails says it.
    """

    result: Report
    passed: bool
    lines: list[str]
    line: str
    changed: bool
    diff: list[dict[str, str]]
    asked: dict[str, t.Any]
    """Which cluster was asked, or which record, and for which pods."""


SET = ("check_listeners_passed", "check_listeners_result", "__check_listeners_gate")
"""What the role sets and decides by."""


def taken(names: t.Collection[str]) -> str:
    """Why the role's facts are not the role's to set; empty if they are. `names` are those of the variables that go before facts and what is registered.

    With `-e check_listeners_passed=true` it would be so for good.
    """
    given = [name for name in SET if name in names]
    return f"{', '.join(given)}: the role sets this, and no extra variable or parameter of a role may" if given else ""


def outcome(returned: Values, values: Values, place: Place, problem: str = "", hints: t.Sequence[str] = ()) -> Outcome:
    """What comes of `returned`, the module's result, with the role's variables `values`.

    `problem` is why there is no result, `hints` are what else a user should know. Writes the files that the variables ask for.
    """
    fail_on = list(DEFAULT_FAIL_ON)
    try:
        fail_on = checked_fail_on(values.get("check_listeners_fail_on"))
    except FailOnError as error:
        problem = problem or str(error)
    result = _result(returned, problem, hints)
    problem = result.get("msg") or ""
    passed = _is_open(result, fail_on)
    files = _Files(place)
    files.write("The Sidecars", values.get("check_listeners_remediation_dir"), lambda: _sidecars(result, place))
    about = _about(returned, values, place, passed and not files.problems, files.problems)
    formats = values.get("check_listeners_report_formats") or []
    reports = files.write(
        "The reports", values.get("check_listeners_report_dir"), lambda: _reports(result, formats, about, place.host)
    )
    server = about["server"]
    recorded = _role_variables.is_recorded(values)
    passed = passed and not files.problems
    shown = (_terminal.screen(), reports, place.verbose, recorded)
    record = _recorded(returned) if recorded else ""
    return Outcome(
        result,
        passed,
        _verdict.verdict(result, fail_on, None, *shown, server, record)
        if passed
        else _verdict.details(result, fail_on, problem or None, *shown),
        _verdict.outcome(result, fail_on, problem or None, server, files.problems, record),
        files.changed,
        files.diff,
        _asked(returned, server, values, place),
    )


def in_brief(result: Report, passed: bool, sentence: str) -> dict[str, t.Any]:
    """What a summary of many clusters takes, and `set_stats` leaves."""
    return {"passed": passed, "checked": was_checked(result), "verdict": sentence, "summary": result["summary"]}


def _asked(returned: Values, server: str, values: Values, place: Place) -> dict[str, t.Any]:
    """What tells a cluster from others: one address may be several clusters', by proxy and by machine.

    A record is told from others by its cluster and its time, whoever evaluates it; or else by its path, or by what it holds. Those of machines that
    each are a cluster may name one address, and be of one second.
    """
    record = ""
    by = [without_user(str(values.get("check_listeners_proxy") or "")), "" if place.local else place.host]
    if _role_variables.is_recorded(values):
        cluster = returned.get("cluster") or {}
        server = cluster.get("server") or ""
        given = values.get("check_listeners_snapshot")
        if given is not None or not _is_here(_host_of(server)):
            by = ["", ""]
        if cluster and not server:
            server = _text(values.get("check_listeners_snapshot_src")) or f"without a server, {_digest(given)}"
        record = _recorded(returned)
    lists = ("namespaces", "exclude_namespaces", "label_selectors")
    kubeconfig = values.get("check_listeners_kubeconfig") or ""
    return {
        "server": without_user(server).rstrip("/"),
        # Tasks of kubernetes.core do not say which server they asked.
        "kubeconfig": _digest(kubeconfig) if kubeconfig else "",
        "context": _text(values.get("check_listeners_context")),
        "by_tasks": _role_variables.by_tasks(values),
        "record": record,
        "by": by,
        **{name: list(values.get(f"check_listeners_{name}") or ()) for name in lists},
    }


def _host_of(server: str) -> str:
    """The host of a URL; this one where none is named."""
    try:
        return urllib.parse.urlsplit(server).hostname or "localhost"
    except ValueError:
        return server


def _digest(value: t.Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:12]


def same_cluster(hosts: t.Sequence[str], outcomes: t.Sequence[Values], host: str) -> str:
    """Why the gate is shut for `host` although nothing may have been found: another one asked the same cluster for the same pods.

    Then one of them does not stand for the cluster that it is named after, which nobody has looked at. Empty if there is no such host.
    `outcomes` are those of `hosts`, each with what was `asked`.
    """
    asked = {name: (outcome or {}).get("asked") or {} for name, outcome in zip(hosts, outcomes)}
    own = asked.get(host) or {}
    if not (own.get("server") or own.get("by_tasks")):
        return ""
    same = [name for name in hosts if name == host or (asked[name] and _overlap(own, asked[name]))]
    if len(same) < 2:
        return ""
    if not all(asked[name].get("server") for name in same):
        return printable(
            f"Do not upgrade yet: {', '.join(same[:-1])} and {same[-1]} may be the same cluster. With gather_with k8s_exec nobody can tell where no host "
            "is given. Give each check_listeners_host, or check_listeners_context, or a kubeconfig of its own."
        )
    what, of = ("record", f" of {own['record']}") if own["record"] else ("cluster", "")
    return printable(
        f"Do not upgrade yet: {', '.join(same[:-1])} and {same[-1]} are the same {what}{of} ({own['server']}). "
        f"Give each host a {what} of its own, or namespaces or label_selectors of its own."
    )


def _overlap(one: Values, other: Values) -> bool:
    """Whether some namespace of a cluster was asked for twice. No namespaces are all of them.

    Whether two label selectors leave each other's pods out, nobody can tell: selectors that differ are taken to do so.
    """
    if not _may_be_one(one, other):
        return False
    if one["label_selectors"] and other["label_selectors"] and {*one["label_selectors"]} != {*other["label_selectors"]}:
        return False
    named = [set(each["namespaces"]) for each in (one, other) if each["namespaces"]]
    left_out = {*one["exclude_namespaces"], *other["exclude_namespaces"]}
    return not named or bool(set.intersection(*named) - left_out)


def _may_be_one(one: Values, other: Values) -> bool:
    """Whether two hosts asked one server, or may have.

    A context that is not named is the current one of the kubeconfig, whichever that is, and a kubeconfig that is not named may be any.
    """
    if (one["record"], one["by"]) != (other["record"], other["by"]):
        return False
    if one["server"] and other["server"]:
        return _address(one["server"]) == _address(other["server"])
    unknown = [each for each in (one, other) if not each["server"]]
    if not all(each.get("by_tasks") for each in unknown):
        return False  # a check that failed, which has shut the gate
    if len(unknown) == 1:
        return not (unknown[0]["kubeconfig"] or unknown[0]["context"])
    same_file = one["kubeconfig"] == other["kubeconfig"]
    return same_file and (one["context"] == other["context"] or not (one["context"] and other["context"]))


def _address(server: str) -> tuple[t.Any, ...]:
    """The address of a server, however it is spelt; the path of a record as it is."""
    try:
        url = urllib.parse.urlsplit(server)
        port = url.port or {"http": 80, "https": 443}.get(url.scheme)
    except ValueError:
        return (server,)
    return (url.scheme, url.hostname, port, url.path.rstrip("/")) if url.hostname else (server,)


def gate(returned: Values, fail_on: t.Sequence[str], verbose: bool = False, recorded: bool = False) -> dict[str, t.Any]:
    """What comes of `returned` without a file: `{passed, blocking, details, verdict, outcome}`. Raises FailOnError.

    `blocking` are the Blockers as `{word, count, known}`, `verdict` is the text in lines, `details` is it without the sentence at its end, and `outcome` is
    what a summary of many clusters takes. Raises TypeError for what is no Report.
    """
    words = checked_fail_on(fail_on)
    _check_parts(returned)
    result = _result(returned)
    problem = result.get("msg") or None
    server = (returned.get("cluster") or {}).get("server") or ""
    passed = _is_open(result, words)
    record = _recorded(returned) if recorded else ""
    line = _verdict.outcome(result, words, problem, server, record=record)
    shown = (_terminal.screen(), (), verbose, recorded)
    return {
        "passed": passed,
        "blocking": [{"word": each.word, "count": each.times, "known": each.known} for each in blocking(result, words)],
        "details": _verdict.details(result, words, problem, *shown),
        "verdict": _verdict.verdict(result, words, problem, *shown, server, record),
        "outcome": in_brief(result, passed, line),
    }


def _recorded(returned: Values) -> str:
    """When a record was made, for people."""
    return str((returned.get("cluster") or {}).get("taken_at") or "unknown age")


def report_files(
    returned: Values, formats: t.Sequence[str], cluster: str, fail_on: t.Sequence[str]
) -> list[dict[str, str]]:
    """The reports of `returned` as files, `{path, content}` each, with what the gate makes of it. Raises FailOnError, ReportError and TypeError."""
    words = checked_fail_on(fail_on)
    _check_parts(returned)
    result = _result(returned)
    about = _about(returned, {"check_listeners_fail_on": words}, Place(cluster), _is_open(result, words), ())
    return [{"path": path, "content": text} for path, text in _reports(result, formats, about, cluster).items()]


def _is_open(result: Report, fail_on: t.Sequence[str]) -> bool:
    return not result.get("msg") and not blocking(result, fail_on)


def _result(returned: Values, problem: str = "", hints: t.Sequence[str] = ()) -> Report:
    """What the facts hold: never more than the Report, since a module's result may hold what it was given."""
    shape: dict[str, t.Any] = {**nothing()}
    found = {name: value for name, value in returned.items() if name in shape and name not in _no_parts(returned)}
    if not problem and (_has_failed(returned) or found.keys() != shape.keys()):
        problem = str(returned.get("msg") or "localhost_listener_info ended without a result")
    result: dict[str, t.Any] = {**shape, **found}
    if "hints" in found:
        result["hints"] = [*result["hints"], *hints]
    return t.cast(Report, {**result, "failed": True, "msg": problem} if problem else result)


def _no_parts(returned: Values) -> list[str]:
    """The parts that are of another type than those of a Report: in a mapping or a text in the place of a list nobody finds a finding."""
    return [
        name for name, empty in nothing().items() if name in returned and not isinstance(returned[name], type(empty))
    ]


def _check_parts(returned: Values) -> None:
    """Raises TypeError."""
    for name in _no_parts(returned):
        raise TypeError(f"{name}: found {type_name(returned[name])}")


def _has_failed(returned: Values) -> bool:
    """Whether the module failed, whatever a task's `failed_when` or `ignore_errors` made of it.

    `failed_when: false` says `failed: false` of a failed module and leaves it the rest. One that has not failed has no `msg`.
    """
    return any(returned.get(name) for name in ("failed", "failed_when_result", "msg"))


def _sidecars(result: Report, place: Place) -> dict[str, str]:
    """Of an inventory of several hosts each has a folder of its own: Sidecars of several clusters may have one name."""
    from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._sidecars import files as _sidecar_files

    folder = f"{path_part(place.host)}/" if place.several else ""
    return {folder + file["path"]: file["content"] for file in _sidecar_files.sidecar_files(dict(result))}


def _reports(result: Report, formats: t.Sequence[str], about: Values, host: str) -> dict[str, str]:
    """The files are named by the host whatever the cluster is called: who reads them knows no more than the inventory."""
    from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._reports import formats as _formats

    names = dict.fromkeys(formats)
    return {_formats.report_name(host, name): _formats.report_as(result, name, about) for name in names}


def _about(returned: Values, values: Values, place: Place, passed: bool, problems: t.Sequence[str]) -> dict[str, t.Any]:
    """What a report says beside the result."""
    cluster = returned.get("cluster") or {}
    now = datetime.datetime.now(datetime.timezone.utc)
    server = cluster.get("server") or values.get("check_listeners_host") or ""
    recorded = _role_variables.is_recorded(values)
    context = cluster.get("context") or ("" if recorded else _text(values.get("check_listeners_context")))
    stated = _text(values.get("check_listeners_current_version"))
    return {
        "cluster": _cluster_name(place.host, context, server),
        "server": server,
        "context": context,
        "server_version": cluster.get("server_version") or "",
        "taken_at": cluster.get("taken_at") or now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "istio_versions": cluster.get("istio_versions") or ([stated] if stated else []),
        "target_version": cluster.get("target_version") or _text(values.get("check_listeners_target_version")),
        "passed": passed,
        "fail_on": list(values.get("check_listeners_fail_on") or ()),
        "problems": list(problems),
    }


def _text(value: t.Any) -> str:
    """A variable that may be of a wrong type, which is then why there was no check."""
    return value if isinstance(value, str) else ""


def _cluster_name(host: str, context: str, server: str) -> str:
    """What people call the cluster: as the inventory does, unless that says no more than that it is reached from here."""
    return host if not _is_here(host) else context or without_user(server) or host


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _Files:
    """Writes files on the controller, where people look for them, and keeps what came of that."""

    def __init__(self, place: Place) -> None:
        self._dry_run = place.check_mode
        self.changed = False
        self.problems: list[str] = []
        self.diff: list[dict[str, str]] = []

    def write(self, what: str, directory: str | None, made: t.Callable[[], dict[str, str]]) -> list[str]:
        """The paths of the files that are in the directory now; empty where it is none, or what went wrong is a problem."""
        if not directory:
            return []
        from ansible_collections.meshops.istio_precheck.plugins.plugin_utils import _files

        # A relative one starts where ansible-playbook was called.
        place = os.path.realpath(os.path.expanduser(directory))
        try:
            files = made()
            changes = _files.write(place, files, self._dry_run) if files else []
        except (OSError, ValueError) as error:
            where = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)
            self.problems.append(printable(f"{what} could not be written to {directory}: {where}"))
            return []
        self.changed = self.changed or bool(changes)
        for change in changes:
            if not change.path.endswith(SHOWN_BY_DIFF):
                continue
            path = os.path.join(place, change.path)
            texts = {"before": lines(change.before), "after": lines(change.after)}
            self.diff.append({**texts, "before_header": printable(path), "after_header": printable(path)})
        return [] if self._dry_run else [os.path.join(place, name) for name in files]
