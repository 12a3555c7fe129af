# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""SARIF 2.1.0, with what code scanning services ask for beyond the schema: a physical location and a fingerprint for each result.

Results are findings, waived ones (suppressed, with the reason), probes that fail, pods that could not be read, ports that nothing listens on or
that the upgrade opens, and what the check does not look at.
Remediated ports are left out, since a result is something to look at. A check that could not be made is an unsuccessful
invocation.

It is a dictionary: no library that users have writes SARIF, and the format's own classes for Python (sarif-om) are one more to install.
"""

from __future__ import annotations

import json
import typing as t
import urllib.parse

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.report import (
    RULES,
    WORDS,
    Rule,
    probes_of_their_own,
    subject,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.version import VERSION
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._reports.document import Document, blocks
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._reports.text import some, written_out

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"

LEVELS = {word.name: word.level for word in WORDS}


def as_sarif(made: Document) -> str:
    """A log of one run. A result is an error if the gate fails on it, a warning or a note if it only reports it."""
    meta = made["metadata"]
    fail_on = meta.get("failOn") or ()
    levels = {word: "error" if word in fail_on else level for word, level in LEVELS.items()}
    counted = [probe["id"] for probe in probes_of_their_own(made, fail_on)]
    results = [_result(made, "IST0143", finding, levels[finding["impact"]]) for finding in made["findings"]]
    results += [
        {
            **_result(made, "IST0143", finding, levels[finding["impact"]]),
            "suppressions": [_suppression(finding["waived_by"])],
        }
        for finding in made["waived"]
    ]
    results += [
        _unchecked(made, pod, "error" if blocks(made, "unchecked", pod) else LEVELS["unchecked"])
        for pod in made["unchecked"]
    ]
    results += [
        _result(made, part, record, levels[part])
        for part in ("not_listening", "opens_on_upgrade")
        for record in made[part]
    ]
    results += [
        _beyond(made, record, "error" if blocks(made, "not_checked", record) else LEVELS["not_checked"])
        for record in made["not_checked"]
    ]
    results += [
        _result(made, "probe", probe, levels["failing_probes"] if probe["id"] in counted else LEVELS["failing_probes"])
        for probe in made.get("failing_probes") or ()
    ]
    invocation: dict[str, t.Any] = {"executionSuccessful": not made.get("failed")}
    said = [("error", made.get("msg") or "no reason given")] if made.get("failed") else []
    said += [("error", problem) for problem in meta.get("problems") or ()]
    said += [("note", hint) for hint in made["hints"]]
    if said:
        invocation["toolExecutionNotifications"] = [
            {"level": level, "message": {"text": written_out(text)}} for level, text in said
        ]
    run = {
        "tool": {
            "driver": {
                "name": "meshops.istio_precheck",
                "semanticVersion": meta.get("collectionVersion") or VERSION,
                "version": meta.get("collectionVersion") or VERSION,
                "informationUri": "https://github.com/meshops/istio_precheck",
                "rules": list(map(_rule, RULES)),
            }
        },
        "automationDetails": {"id": f"istio-precheck/{_quoted(meta['cluster'])}/"},
        "invocations": [invocation],
        "columnKind": "unicodeCodePoints",
        "results": results,
        "properties": {
            name: meta[name]
            for name in (
                *("cluster", "server", "context", "serverVersion", "istioVersions", "targetVersion", "takenAt"),
                "passed",
            )
            if meta.get(name) not in (None, "", [])
        },
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def _rule(rule: Rule) -> dict[str, t.Any]:
    return {
        "id": rule.id,
        "name": rule.name,
        "shortDescription": {"text": rule.short},
        **({"fullDescription": {"text": rule.full}} if rule.full else {}),
        "help": {"text": rule.help},
        **({"helpUri": rule.url} if rule.url else {}),
        "defaultConfiguration": {"level": rule.level},
    }


def _result(made: Document, rule: str, record: dict[str, t.Any], level: str) -> dict[str, t.Any]:
    said = [record.get("message"), record["reason"], *(record.get("notes") or ())]
    workload = record["workload"]
    return {
        **_about(rule, level, " ".join(written_out(text) for text in said if text)),
        "locations": [_location(made, record["namespace"], workload["kind"], workload["name"])],
        "partialFingerprints": {"precheckId/v1": f"{made['metadata']['cluster']}/{rule}/{record['id']}"},
        "properties": {
            name: record[name]
            for name in (
                "id",
                "namespace",
                "workload",
                "pods",
                "port",
                "services",
                "listeners",
                "impact",
                "remedy",
                "container",
                "probe",
            )
            if record.get(name)
        },
    }


def _unchecked(made: Document, pod: dict[str, t.Any], level: str) -> dict[str, t.Any]:
    text = f"Pod {some([pod['pod']])} was not checked, {written_out(pod['reason'])}: {written_out(pod.get('detail') or 'no detail given')}"
    return {
        **_about("unchecked", level, text),
        "locations": [_location(made, pod["namespace"], "Pod", pod["pod"])],
        "partialFingerprints": {
            "precheckId/v1": f"{made['metadata']['cluster']}/unchecked/{pod['namespace']}/{pod['pod']}/{pod['reason']}"
        },
        "properties": {name: pod[name] for name in ("namespace", "pod", "workload", "reason") if pod.get(name)},
    }


def _beyond(made: Document, record: dict[str, t.Any], level: str) -> dict[str, t.Any]:
    about = subject(record)
    place = (record["namespace"], about["kind"], about["name"])
    detail = written_out(record.get("detail") or "no detail given")
    text = f"{written_out(about['kind'])} {written_out(about['name'])} is beyond the check, {written_out(record['reason'])}: {detail}"
    return {
        **_about("not_checked", level, text),
        "locations": [_location(made, *place)],
        "partialFingerprints": {
            "precheckId/v1": "/".join((made["metadata"]["cluster"], "not_checked", *place, record["reason"]))
        },
        "properties": {
            name: record[name] for name in ("namespace", "workload", "resource", "reason") if record.get(name)
        },
    }


def _about(rule: str, level: str, text: str) -> dict[str, t.Any]:
    return {
        "ruleId": rule,
        "ruleIndex": [each.id for each in RULES].index(rule),
        "level": level,
        "message": {"text": text},
    }


def _location(made: Document, namespace: str, kind: str, name: str) -> dict[str, t.Any]:
    """There is no file. The object's place in the cluster stands for one, as services that show SARIF place a result by its file alone."""
    parts = (made["metadata"]["cluster"], namespace, kind, name)
    return {
        "physicalLocation": {
            "artifactLocation": {"uri": "/".join(_quoted(part) for part in parts)},
            "region": {"startLine": 1},
        },
        "logicalLocations": [
            {"name": written_out(name), "fullyQualifiedName": written_out("/".join(parts)), "kind": "resource"}
        ],
    }


def _suppression(by: dict[str, t.Any]) -> dict[str, t.Any]:
    return {
        "kind": "inSource" if by.get("annotation") else "external",
        "status": "accepted",
        "justification": written_out(by["reason"]),
    }


def _quoted(text: str) -> str:
    quoted = urllib.parse.quote(text.encode("utf-8", "surrogatepass"), safe="")
    return quoted.replace(".", "%2E") if not quoted.strip(".") else quoted
