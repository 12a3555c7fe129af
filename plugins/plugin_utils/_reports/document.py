# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""A Report as a document that stands alone: with the cluster, the time, and what the gate made of it.

It is what the format `json` holds, what every other format is made of, and what is read back to make one page of many clusters.
"""

from __future__ import annotations

import datetime
import json
import math
import pathlib
import re
import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.outside import (
    OutsideError,
    from_json,
    read_file,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.report import (
    BEYOND,
    FAIL_ON,
    IMPACTS,
    LATER,
    REASONS,
    REPORT,
    FailOnError,
    checked_fail_on,
    probes_of_their_own,
    was_checked,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.schema import (
    Required,
    SnapshotError,
    check_shape,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.secrets import without_user
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.snapshot import API_VERSION
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.text import OutsideTextError
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.version import VERSION

KIND = "Report"

Document = dict[str, t.Any]

METADATA = {
    "cluster": Required(str),
    "server": str,
    "context": str,
    "serverVersion": str,
    "istioVersions": [str],
    "targetVersion": str,
    "collectionVersion": str,
    "takenAt": str,
    "failOn": [str],
    "passed": Required(bool),
    "checked": bool,
    "problems": [str],
}


class ReportError(OutsideTextError):
    """Something that is no Report; the text names the path inside it."""


def document(report: t.Mapping[str, t.Any], about: t.Mapping[str, t.Any]) -> Document:
    """The Report of a run and what it is about, as one document.

    `about` holds `cluster` (its name), `passed`, and, if known, `server`, `context` (of the kubeconfig), `server_version`,
    `taken_at` (RFC 3339), `istio_versions` (of today's control planes), `target_version`, `fail_on` and `problems`, what went
    wrong beside the check. How long the run took is left out, so that the same cluster gives the same text. Raises ReportError.
    """
    seen = report.get("cluster") or {}
    names = ("server", "context", "server_version", "taken_at", "target_version")
    known = {name: about.get(name) or seen.get(name) or "" for name in names}
    made = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {
            "cluster": about.get("cluster"),
            "server": without_user(known["server"]),
            "context": known["context"],
            "serverVersion": known["server_version"],
            "istioVersions": list(about.get("istio_versions") or seen.get("istio_versions") or ()),
            "targetVersion": known["target_version"],
            "collectionVersion": VERSION,
            "takenAt": known["taken_at"],
            "failOn": _fail_on(report, about.get("fail_on") or []),
            "passed": about.get("passed"),
            "checked": was_checked(report),
            "problems": list(about.get("problems") or ()),
        },
        **{name: value for name, value in report.items() if name not in ("apiVersion", "kind", "metadata")},
        "summary": {name: value for name, value in (report.get("summary") or {}).items() if name != "seconds"},
    }
    return checked(made)


def _fail_on(report: t.Mapping[str, t.Any], fail_on: t.Any) -> list[str]:
    """`fail_on`, checked. Where it is why there was no check, what of it means something."""
    if not was_checked(report):
        return [word for word in FAIL_ON if not isinstance(fail_on, str) and word in fail_on]
    try:
        return checked_fail_on(fail_on)
    except FailOnError as error:
        raise ReportError(str(error)) from error


def checked(made: t.Any) -> Document:
    """`made`, if it is a document of this kind. Raises ReportError if not."""
    try:
        check_shape(made, {"apiVersion": Required(str), "kind": Required(str)}, "")
        for name, wanted in (("apiVersion", API_VERSION), ("kind", KIND)):
            if made[name] != wanted:
                raise ReportError(f"{name}: wanted {wanted!r}, found {made[name][:60]!r}")
        check_shape(made, {"metadata": Required(METADATA), **REPORT}, "")
    except SnapshotError as error:
        raise ReportError(str(error)) from error
    made = {**made, **{part: made.get(part) or [] for part in LATER}}
    for part in ("findings", "waived", "failing_probes", "remediated", "opens_on_upgrade", "not_listening"):
        for number, finding in enumerate(made[part]):
            if finding.get("impact") not in (None, *IMPACTS):  # the first three have one
                raise ReportError(
                    f"{part}[{number}].impact: wanted one of {', '.join(IMPACTS)}, found {finding['impact'][:60]!r}"
                )
    return made


def upgrade(made: Document) -> str:
    """From which version of Istio to which, as far as that is known: `1.9.9 to 1.24`."""
    meta = made["metadata"]
    today, then = ", ".join(meta.get("istioVersions") or ()), meta.get("targetVersion") or ""
    return f"{today or 'a version that is not known'} to {then or 'any later one'}" if today or then else ""


def blocks(made: Document, part: str, record: t.Mapping[str, t.Any]) -> bool:
    """Whether the gate is shut because of this record of a list, as report.blocking() decides."""
    fail_on = made["metadata"].get("failOn") or ()
    if part == "findings":
        return record["impact"] in fail_on or record["impact"] not in IMPACTS
    if part == "unchecked":
        return part in fail_on or record["reason"] not in REASONS
    if part == "not_checked":
        return part in fail_on or record["reason"] not in BEYOND
    if part == "failing_probes":
        own = record["id"] in {probe["id"] for probe in probes_of_their_own(made, fail_on)}
        return (own and part in fail_on) or record["impact"] not in IMPACTS
    return part in fail_on


def parse(text: bytes | str) -> Document:
    """The document in a file of the format `json`. Raises ReportError."""
    try:
        return checked(from_json(text))
    except OutsideError as error:
        raise ReportError(str(error)) from error


def read(directory: pathlib.Path) -> dict[str, list[t.Any]]:
    """The documents in a directory, `{reports, older, left_out}`, by cluster: the newest of each name and server, and as `{path, reason}` what else there is
    of it, and the files that hold none. Raises OSError for the directory."""
    found: list[tuple[str, str, Document]] = []
    older: list[dict[str, str]] = []
    left_out: list[dict[str, str]] = []
    for path in sorted(
        path for path in directory.iterdir() if path.suffix == ".json" and not path.name.endswith(".istio.json")
    ):
        try:
            made = parse(read_file(path))
        except (OSError, ReportError, OutsideError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            left_out.append({"path": str(path), "reason": reason or "it cannot be read"})
        else:
            found.append((made["metadata"]["cluster"], path.name, made))
    newest: dict[tuple[str, str], tuple[str, Document]] = {}
    for cluster, name, made in sorted(found, key=lambda one: _time(one[2]["metadata"].get("takenAt")), reverse=True):
        meta = made["metadata"]
        # A report of this machine that names no server may be of any cluster: then those of one time are of one.
        other = (meta.get("takenAt") or name) if cluster == "localhost" else ""
        kept, _made = newest.setdefault((cluster, meta.get("server") or other), (name, made))
        if kept != name:
            older.append(
                {"path": str(directory / name), "reason": f"it is of the same cluster as {kept}, and no newer"}
            )
    reports = [
        made for (cluster, _server), (name, made) in sorted(newest.items(), key=lambda one: (one[0][0], one[1][0]))
    ]
    return {"reports": reports, "older": sorted(older, key=lambda one: one["path"]), "left_out": left_out}


def _time(text: str | None) -> float:
    """Seconds, by which the newest is found whatever its offset; what is no time is older than all that is one."""
    try:
        found = datetime.datetime.fromisoformat(re.sub("[Zz]$", "+00:00", text or ""))
        return found.replace(tzinfo=found.tzinfo or datetime.timezone.utc).timestamp()
    except (OverflowError, ValueError):
        return -math.inf


def as_json(made: Document) -> str:
    """ASCII alone, so that nothing in it is obeyed by a terminal or refused as text."""
    return json.dumps(made, indent=2) + "\n"
