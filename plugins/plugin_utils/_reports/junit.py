# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""JUnit: one test case for each port of a workload that the Report names, and for each pod that could not be read.

The Report does not name the ports that are as they should be: one case stands for all of them, so that a healthy cluster has passed
something. What the gate does not fail on is skipped, with the reason, rather than passed.

Written with ElementTree: ansible-core has a writer, ansible.utils._junit_xml, but for itself alone, and another library would be one more to install.
"""

from __future__ import annotations

import datetime
import typing as t
from xml.etree import ElementTree

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.report import (
    BEYOND,
    REASONS,
    probe_as_text,
    probes_of_their_own,
    subject,
    was_checked,
)
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._reports.document import Document, blocks, upgrade
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._reports.text import count, lines, written_out
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._reports.view import (
    fix_of,
    others,
    probe_fix,
    problems,
    remedies,
)


def as_junit(made: Document) -> str:
    """One `testsuite`, named by the cluster."""
    meta = made["metadata"]
    suite = ElementTree.Element("testsuite", {"name": written_out(meta["cluster"])})
    properties = ElementTree.SubElement(suite, "properties")
    about = {name: meta.get(name) for name in ("server", "context", "serverVersion", "takenAt")}
    about.update(istio=upgrade(made), collectionVersion=meta.get("collectionVersion"))
    for name, value in about.items():
        if value:
            ElementTree.SubElement(properties, "property", {"name": name, "value": written_out(value)})
    for name, namespace, outcome in _cases(made):
        place = f"{meta['cluster']}.{namespace}" if namespace else meta["cluster"]
        case = ElementTree.SubElement(
            suite, "testcase", {"classname": written_out(place), "name": written_out(name), "time": "0"}
        )
        if outcome:
            kind, type_, message, text = outcome
            said = {"message": written_out(message), **({"type": written_out(type_)} if kind != "skipped" else {})}
            ElementTree.SubElement(case, kind, said).text = lines(text)
    totals = {"tests": len(suite.findall("testcase"))}
    totals.update(
        {
            f"{kind}s" if kind != "skipped" else kind: len(suite.findall(f"testcase/{kind}"))
            for kind in ("failure", "error", "skipped")
        }
    )
    for name, value in totals.items():
        suite.set(name, str(value))
    if _is_time(meta.get("takenAt")):
        suite.set("timestamp", meta["takenAt"].rstrip("Z"))
    suites = ElementTree.Element(
        "testsuites", {"name": "meshops.istio_precheck", **{name: str(value) for name, value in totals.items()}}
    )
    suites.append(suite)
    ElementTree.indent(suites)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(suites, encoding="unicode") + "\n"


Outcome: t.TypeAlias = "tuple[str, str, str, str] | None"
"""Element, type, message and text of what is wrong with a case; None if nothing is."""


def _cases(made: Document) -> t.Iterator[tuple[str, str, Outcome]]:
    """`(name, namespace, outcome)` of each case."""
    fail_on = made["metadata"].get("failOn") or ()
    remediations = remedies(made)

    def bad(record: dict[str, t.Any], kind: str, text: str, element: str = "failure", shut: bool = False) -> Outcome:
        if shut or kind in fail_on:
            return element, kind, record["reason"], text
        return "skipped", "", f"Not in check_listeners_fail_on: {kind}. {record['reason']}", text

    failure = made.get("msg") or "no reason given"
    yield (
        "cluster was readable",
        "",
        ("error", "check", failure, failure) if not was_checked(made) else None,
    )
    for number, problem in enumerate(problems(made), 1):
        yield f"the gate could do its work ({number})", "", ("error", "problem", problem, problem)
    for finding in made["findings"]:
        text = _text(
            finding,
            fix_of("findings", finding, remediations.get(finding["id"]), ", which the HTML and JSON reports hold"),
        )
        yield _name(finding), finding["namespace"], bad(finding, finding["impact"], text)
    for pod in made["unchecked"]:
        said = {"reason": f"{pod['reason']}: {pod.get('detail') or 'no detail given'}"}
        advice = REASONS.get(pod["reason"], "")
        text = "\n".join(map(written_out, [said["reason"], *([f"Fix: {advice}"] if advice else [])]))
        shut = blocks(made, "unchecked", pod)
        yield (
            f"Pod {pod['pod']} can be read ({pod['reason']})",
            pod["namespace"],
            bad(said, "unchecked", text, "error", shut),
        )
    for record in made["not_listening"]:
        yield (
            f"{_name(record)} is listened on",
            record["namespace"],
            (bad(record, "not_listening", _text(record, fix_of("not_listening", record)))),
        )
    for record in made["opens_on_upgrade"]:
        text = _text(record, fix_of("opens_on_upgrade", record))
        yield f"{_name(record)} stays closed", record["namespace"], bad(record, "opens_on_upgrade", text)
    for record in made["not_checked"]:
        about, said = subject(record), {"reason": f"{record['reason']}: {record.get('detail') or 'no detail given'}"}
        advice = BEYOND.get(record["reason"], "")
        text = "\n".join(map(written_out, [said["reason"], *([f"Fix: {advice}"] if advice else [])]))
        shut = blocks(made, "not_checked", record)
        yield (
            f"{about['kind']} {about['name']} can be checked ({record['reason']})",
            record["namespace"],
            bad(said, "not_checked", text, "error", shut),
        )
    for record in made["waived"]:
        yield (
            _name(record),
            record["namespace"],
            ("skipped", "", f"Waived: {record['waived_by']['reason']}", _text(record)),
        )
    for record in made["remediated"]:
        yield f"{_name(record)}, by way of a Sidecar or the mesh's configuration", record["namespace"], None
    counted = [probe["id"] for probe in probes_of_their_own(made, fail_on)]
    for probe in made.get("failing_probes") or ():
        name = f"{_name(probe)} answers the {probe_as_text(probe['probe'])} of container {probe['container']}"
        own = probe["id"] in counted
        text = _text(probe, probe_fix(probe, own))
        if own:
            yield name, probe["namespace"], bad(probe, "failing_probes", text)
        else:
            yield name, probe["namespace"], ("skipped", "", f"Settled with the port. {probe['reason']}", text)
    fine, _unread = others(made)
    if fine:
        yield (
            f"{count(fine, 'other exposed port listens', 'other exposed ports listen')} where connections arrive",
            "",
            None,
        )


def _name(record: dict[str, t.Any]) -> str:
    return f"{record['workload']['kind']} {record['workload']['name']} port {record['port']}"


def _text(record: dict[str, t.Any], fix: str = "") -> str:
    services = ", ".join(f"{service['name']}:{service.get('port', '?')}" for service in record.get("services") or ())
    said = [
        record["id"],
        record["reason"],
        *([f"Services: {services}"] if services else []),
        f"Listens on: {', '.join(record['listeners']) or 'nothing'}",
        f"Pods: {', '.join(record['pods'])}",
        *(f"Note: {note}" for note in record.get("notes") or ()),
        *([f"Fix: {fix}"] if fix else []),
    ]
    return "\n".join(written_out(line) for line in said)


def _is_time(text: t.Any) -> bool:
    try:
        return bool(datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ"))
    except (TypeError, ValueError):
        return False
