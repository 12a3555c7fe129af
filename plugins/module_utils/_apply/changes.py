# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""What applying remediations would do to a cluster, whether that is still what was planned, and how to take it back."""

from __future__ import annotations

import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._apply.manifests import ManifestError, legal_names
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.kube import Thing
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.outside import OutsideError, from_json
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.schema import (
    Mapping,
    Only,
    Required,
    SnapshotError,
    check_shape,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.secrets import without_user
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.text import OutsideTextError
from ansible_collections.meshops.istio_precheck.plugins.module_utils._remedy.plan import CARRIES_OVER, name_of
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.workloads import Workload

Key = tuple[str, str]

API_VERSION = "precheck.meshops.io/v1"
KIND = "RemediationRecord"

KEPT = ("finalizers", "generateName", "ownerReferences")
"""Metadata that says what becomes of an object. It is not recorded: what is restored keeps what it has by then."""

RECORDED_META = {
    "name": Required(str),
    "namespace": Required(str),
    "labels": Mapping(str),
    "annotations": Mapping(str),
}
RECORDED = Only(
    {
        "apiVersion": Required(str),
        "kind": Required(str),
        "metadata": Required(Only(RECORDED_META)),
        "spec": Required(dict),
    }
)
RECORD = Only(
    {
        "apiVersion": Required(str),
        "kind": Required(str),
        "server": str,
        "changes": Required([Only({"before": RECORDED, "after": Required(RECORDED), "uid": str})]),
    }
)
"""What record() makes: before an undo sends any of it, it is read from a file that anybody may have written."""


class RecordError(OutsideTextError):
    """Something that is no record of a remediation of this cluster; the text is printable."""


def changes(manifests: t.Sequence[Thing], current: t.Sequence[Thing], report: Thing) -> Thing:
    """What to do for each manifest, given the Sidecars that there are and today's Report: `{changes: [...], refused: [sentence]}`.

    A change is `{action: create | update | none, manifest, before}`. It is refused if the Sidecar is not the one it was planned from, or
    if today's plan has something that the manifest would lose. What a manifest says beyond the plan is for its reviewers.
    """
    there = _by_key(current)
    plans = _by_key(remediation["manifest"] for remediation in report["remediations"])
    followed: dict[Key, Key] = {}
    planned: list[Thing] = []
    refused: list[str] = []
    for manifest in manifests:
        key = _key(manifest)
        existing, version = there.get(key), manifest["metadata"].get("resourceVersion")
        done = existing is not None and existing.get("spec") == manifest["spec"]
        action = "none" if done else "update" if existing or version else "create"
        planned.append({"action": action, "manifest": manifest, "before": essence(existing) if existing else None})
        if done:
            continue
        today = _todays(manifest, plans)
        why = _why_not_on(existing, version)
        if not why and today is None:
            why = _why_unplanned(manifest, report)
        elif not why and today is not None:
            other = followed.setdefault(_key(today), key)
            twice = f"Sidecar {'/'.join(other)} of these files selects the same pods, and a second one would have no effect."
            why = twice if other != key else _why_not_as(manifest, today)
        if why:
            refused.append(f"Sidecar {'/'.join(key)}: {why} Plan again.")
    return {"changes": planned, "refused": refused}


def _todays(manifest: Thing, plans: dict[Key, Thing]) -> Thing | None:
    """Today's plan for the same Sidecar; for a new one, which a team may rename, else one for the same pods."""
    alike = (
        ()
        if manifest["metadata"].get("resourceVersion")
        else (plan for plan in plans.values() if _select_alike(plan, manifest))
    )
    return plans.get(_key(manifest)) or next(iter(alike), None)


def _why_not_on(existing: Thing | None, version: str | None) -> str | None:
    """Why a manifest made from this resourceVersion cannot be applied to what there is."""
    if existing is None:
        return "it is gone since the plan was made." if version else None
    if version is None:
        return "it exists, but the plan is for a new one."
    now = existing["metadata"].get("resourceVersion")
    return None if version == now else f"it changed since the plan was made (resourceVersion {version}, now {now})."


def _why_not_as(manifest: Thing, today: Thing) -> str | None:
    """What would be worse with the manifest than with today's plan.

    A new Sidecar holds a copy of the default that it replaces, and has to be the only one that selects its pods. One that exists must go
    on to select the same.
    """
    version = manifest["metadata"].get("resourceVersion")
    if today["metadata"].get("resourceVersion") and not version:
        return f"Sidecar {'/'.join(_key(today))} selects these pods by now, and a second one would have no effect."
    carried, default = ((m["metadata"].get("annotations") or {}).get(CARRIES_OVER) or "none" for m in (manifest, today))
    if carried != default:
        return f"it carries over the settings of {carried}, but the default now is {default}."
    then, now = _selector(manifest), _selector(today)
    lost = now.items() - then.items()
    if then != now and (version or lost):
        by, instead = (
            ",".join(f"{key}={value}" for key, value in sorted(labels.items())) or "no label" for labels in (then, now)
        )
        return f"it selects pods by {by}, but today's plan by {instead}."
    listed, planned = _endpoints(manifest), _endpoints(today)
    missing = sorted(planned.keys() - listed.keys())
    if missing:
        what = (
            f"port {missing[0]} is"
            if len(missing) == 1
            else f"ports {', '.join(map(str, missing[:-1]))} and {missing[-1]} are"
        )
        return f"{what} in today's plan, but not in the file: a Sidecar switches off what it does not list."
    for port, endpoint in planned.items():
        if listed[port] != endpoint:
            return f"port {port} has the defaultEndpoint {listed[port] or 'none'}, but {endpoint or 'none'} in today's plan."
    return None


UNPLANNED = {
    "waived": "{id} is waived today ({waived_by[reason]})",
    "unchecked": "pod {pod} could not be checked today ({reason})",
    "findings": "no Sidecar fixes {id} today",
    "remediated": "{id} is remediated today",
    "not_listening": "nothing accepts connections for {id} today",
}
"""What a Report says of a workload that it has no plan for. Where it says nothing, nothing is wrong, or it was not looked at."""


def _why_unplanned(manifest: Thing, report: Thing) -> str:
    namespace, name = _key(manifest)

    def concerned(record: Thing) -> bool:
        """By the name that a new Sidecar gets; the name of one to edit does not tell whose it is, but some records do say that they edit one."""
        edits = (
            manifest["metadata"].get("resourceVersion")
            and record.get("remedy") == "update_sidecar"
            and record["port"] in _endpoints(manifest)
        )
        return record["namespace"] == namespace and (
            edits or name_of(Workload(namespace, **record["workload"])) == name
        )

    for outcome, words in UNPLANNED.items():
        for record in report.get(outcome) or ():
            if concerned(record):
                return f"{words.format(**record)}, so no Sidecar is planned for it."
    return "today's check, with the options of this run, plans no such Sidecar."


def _selector(manifest: Thing) -> dict[str, t.Any]:
    """The labels that a Sidecar selects pods by; a reviewed file may hold anything."""
    return _table(_table(manifest["spec"].get("workloadSelector")).get("labels"))


def _endpoints(manifest: Thing) -> dict[int, str | None]:
    """The ports that a Sidecar lists, each with its defaultEndpoint; of two entries for one port the first is in effect."""
    found: dict[int, str | None] = {}
    ingress = manifest["spec"].get("ingress")
    for listener in map(_table, ingress if isinstance(ingress, list) else ()):
        number = _table(listener.get("port")).get("number")
        if isinstance(number, int):
            found.setdefault(number, listener.get("defaultEndpoint") or None)
    return found


def _table(value: t.Any) -> dict[str, t.Any]:
    return value if isinstance(value, dict) else {}


def _select_alike(one: Thing, other: Thing) -> bool:
    """Whether one of the two selects all pods that the other does."""
    first, second = _selector(one).items(), _selector(other).items()
    return _key(one)[0] == _key(other)[0] and (first <= second or second <= first)


# ---------------------------------------------------------------------------------------------------------------------
# Taking it back


def record(
    earlier: Thing | None, planned: t.Sequence[Thing], tried: t.Sequence[Thing], server: str = "", made: int = 0
) -> Thing:
    """What to keep before `planned` is applied on `server`: each Sidecar as it is and as the server's dry run says that it will be.

    `tried` are the dry run's objects for what is not `none`, in the same order; the first `made` of them are what the server has made, and have the
    uid by which an undo knows them again: several clusters may have one address. A dry run of a new one has a uid that nothing will have. A Sidecar that
    `earlier` has and that is still as an earlier run left it keeps what was there before that run, so that one undo takes all runs back.
    Raises RecordError for another `earlier`, such as that of another server.
    """
    kept = {_key(entry["after"]): entry for entry in (_checked(earlier, server)["changes"] if earlier else ())}
    pending = [change for change in planned if change["action"] != "none"]
    for number, (change, result) in enumerate(zip(pending, tried)):
        key = _key(change["manifest"])
        old = kept.get(key)
        uid = result["metadata"].get("uid") if number < made or change["action"] == "update" else None
        continues = old and change["before"] and _same(old["after"], change["before"]) and _is_one(old, uid)
        before = old["before"] if old and continues else change["before"]
        kept[key] = {"before": before, "after": essence(result), **({"uid": uid} if uid else {})}
    here = server or (earlier or {}).get("server")
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        **({"server": here} if here else {}),
        "changes": [kept[key] for key in sorted(kept)],
    }


def parsed(text: str | bytes, server: str) -> Thing:
    """The record of remediations on `server` that a file with this text is. Raises RecordError."""
    try:
        return _checked(from_json(text), server)
    except OutsideError as error:
        raise RecordError(str(error)) from error


def undo(recorded: Thing, current: t.Sequence[Thing], server: str = "") -> Thing:
    """What takes the recorded changes back: `{changes: [{action: delete | restore | none, manifest, preconditions}], refused: [sentence]}`.

    A Sidecar that is neither as it was nor as it was left is refused: someone has changed it since. Raises RecordError for what is no
    record, or one of another server.
    """
    there = _by_key(current)
    planned: list[Thing] = []
    refused: list[str] = []
    for entry in _checked(recorded, server)["changes"]:
        key, before = _key(entry["after"]), entry["before"]
        now = there.get(key)
        if _same(before, now):  # whoever made it so
            planned.append({"action": "none", "manifest": before or entry["after"]})
        elif now is not None and not _is_one(entry, now["metadata"].get("uid")):
            refused.append(
                f"Sidecar {'/'.join(key)} is another one than was applied: of another cluster, or made since."
            )
        elif now is None or not _same(entry["after"], now):
            refused.append(f"Sidecar {'/'.join(key)} {'is gone' if now is None else 'changed'} since it was applied.")
        elif before is None:
            preconditions = {
                name: now["metadata"][name] for name in ("uid", "resourceVersion") if now["metadata"].get(name)
            }
            planned.append({"action": "delete", "manifest": entry["after"], "preconditions": preconditions})
        else:
            kept = {field: now["metadata"][field] for field in (*KEPT, "resourceVersion") if now["metadata"].get(field)}
            meta = {**before["metadata"], **kept}
            planned.append({"action": "restore", "manifest": {**before, "metadata": meta}})
    return {"changes": planned, "refused": refused}


def _is_one(entry: Thing, uid: str | None) -> bool:
    """Whether an entry may be of the object with this uid; an old record does not say, and neither does one of a run that was cut off."""
    return not entry.get("uid") or not uid or bool(entry["uid"] == uid)


def essence(thing: Thing) -> Thing:
    """What a remediation may change of a Sidecar, and whose it is: nothing that the server alone writes."""
    meta = {field: value for field, value in thing["metadata"].items() if field in RECORDED_META}
    return {
        "apiVersion": thing.get("apiVersion"),
        "kind": thing.get("kind"),
        "metadata": meta,
        "spec": thing.get("spec") or {},
    }


def _same(one: Thing | None, other: Thing | None) -> bool:
    """Whether they are the same but for server-managed fields, in whichever version of the API they were read."""
    if one is None or other is None:
        return one is other
    return all(essence(one).get(field) == essence(other).get(field) for field in ("metadata", "spec"))


def _checked(recorded: t.Any, server: str) -> Thing:
    """The record; an old one does not say of which server it is. Raises RecordError, which names the path inside the record."""
    if not isinstance(recorded, dict) or (recorded.get("apiVersion"), recorded.get("kind")) != (API_VERSION, KIND):
        raise RecordError(f"this is no {KIND} of {API_VERSION}")
    try:
        check_shape(recorded, RECORD, "")
        keys = [_entry_key(entry, f"changes[{number}]") for number, entry in enumerate(recorded["changes"])]
    except (ManifestError, SnapshotError) as error:
        raise RecordError(f"this is no {KIND} of {API_VERSION}: {error}") from error
    if len(set(keys)) < len(keys):
        raise RecordError("it has two changes of one Sidecar")
    there = recorded.get("server")
    if there and server and without_user(there).rstrip("/") != without_user(server).rstrip("/"):
        raise RecordError(f"it records what was changed on {without_user(there)}, but this cluster is {server}")
    return t.cast(Thing, recorded)


def _entry_key(entry: Thing, path: str) -> Key:
    """Whose change an entry is. Raises ManifestError or SnapshotError for one that is not of one Sidecar."""
    if "before" not in entry:
        raise SnapshotError(f"{path}.before: missing")
    key = legal_names(entry["after"], f"{path}.after")
    if entry["before"] is None:
        return key
    if legal_names(entry["before"], f"{path}.before") != key:
        raise SnapshotError(f"{path}.before: it is another object than {path}.after")
    return key


def _key(thing: Thing) -> Key:
    return thing["metadata"]["namespace"], thing["metadata"]["name"]


def _by_key(things: t.Iterable[Thing]) -> dict[Key, Thing]:
    return {_key(thing): thing for thing in things}
