# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""What applying remediations would do to a cluster, whether that is still what was planned, and how to take it back."""

from __future__ import annotations

import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._sidecar import CARRIES_OVER

Thing = t.Dict[str, t.Any]
Key = t.Tuple[str, str]

API_VERSION = "precheck.meshops.io/v1"
KIND = "RemediationRecord"
SERVER_MANAGED = ("creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid")


class RecordError(ValueError):
    """Something that is no record of a remediation."""


def changes(manifests: t.Sequence[Thing], current: t.Sequence[Thing], remediations: t.Sequence[Thing]) -> Thing:
    """What to do for each manifest, given the Sidecars that there are and today's own plan: `{changes: [...], refused: [sentence]}`.

    A change is `{action: create | update | none, manifest, before}`. One is refused if the Sidecar is not the one it was planned from.
    """
    there = _by_key(current)
    plans = [remediation["manifest"] for remediation in remediations]
    planned: list[Thing] = []
    refused: list[str] = []
    for manifest in manifests:
        key = _key(manifest)
        existing, version = there.get(key), manifest["metadata"].get("resourceVersion")
        if existing and existing.get("spec") == manifest["spec"]:
            action, why = "none", None
        elif existing:
            action, why = "update", _why_not_update(existing, version)
        elif version:
            action, why = "update", "it is gone since the plan was made."
        else:
            action, why = "create", _why_not_create(manifest, plans)
        planned.append({"action": action, "manifest": manifest, "before": essence(existing) if existing else None})
        if why:
            refused.append(f"Sidecar {'/'.join(key)}: {why}")
    return {"changes": planned, "refused": refused}


def _why_not_update(existing: Thing, version: str | None) -> str | None:
    if version is None:
        return "it exists, but the plan is for a new one."
    now = existing["metadata"].get("resourceVersion")
    return None if version == now else f"it changed since the plan was made (resourceVersion {version}, now {now}). Plan again."


def _why_not_create(manifest: Thing, plans: t.Sequence[Thing]) -> str | None:
    """A new Sidecar holds a copy of the default that it replaces, and has to be the only one that selects its pods; today's plans know both."""
    today = _by_key(plans).get(_key(manifest))
    if today is None:
        there = next((plan for plan in plans if plan["metadata"].get("resourceVersion") and _select_alike(plan, manifest)), None)
        return f"Sidecar {'/'.join(_key(there))} selects these pods by now, and a second one would have no effect. Plan again." if there else None
    then, now = ((m["metadata"].get("annotations") or {}).get(CARRIES_OVER) or "none" for m in (manifest, today))
    return None if then == now else f"it carries over the settings of {then}, but the default now is {now}. Plan again."


def _select_alike(one: Thing, other: Thing) -> bool:
    """Whether one of the two selects all pods that the other does."""
    selectors = [(each["spec"].get("workloadSelector") or {}).get("labels") or {} for each in (one, other)]
    return _key(one)[0] == _key(other)[0] and (selectors[0].items() <= selectors[1].items() or selectors[1].items() <= selectors[0].items())


# ---------------------------------------------------------------------------------------------------------------------
# Taking it back


def record(earlier: Thing | None, planned: t.Sequence[Thing], tried: t.Sequence[Thing]) -> Thing:
    """What to keep before `planned` is applied: each Sidecar as it is and as the server's dry run says that it will be.

    `tried` are the dry run's objects for what is not `none`, in the same order. A Sidecar that `earlier` has and that is still as an earlier
    run left it keeps what was there before that run, so that one undo takes all runs back. Raises RecordError for another `earlier`.
    """
    kept = {_key(entry["after"]): entry for entry in (_checked(earlier)["changes"] if earlier else ())}
    pending = [change for change in planned if change["action"] != "none"]
    for change, result in zip(pending, tried):
        key = _key(change["manifest"])
        old = kept.get(key)
        before = old["before"] if old and change["before"] and _same(old["after"], change["before"]) else change["before"]
        kept[key] = {"before": before, "after": essence(result)}
    return {"apiVersion": API_VERSION, "kind": KIND, "changes": [kept[key] for key in sorted(kept)]}


def undo(recorded: Thing, current: t.Sequence[Thing]) -> Thing:
    """What takes the recorded changes back: `{changes: [{action: delete | restore | none, manifest, preconditions}], refused: [sentence]}`.

    A Sidecar that is neither as it was nor as it was left is refused: someone has changed it since. Raises RecordError.
    """
    there = _by_key(current)
    planned: list[Thing] = []
    refused: list[str] = []
    for entry in _checked(recorded)["changes"]:
        key, before = _key(entry["after"]), entry["before"]
        now = there.get(key)
        if _same(before, now):
            planned.append({"action": "none", "manifest": before or entry["after"]})
        elif now is None or not _same(entry["after"], now):
            refused.append(f"Sidecar {'/'.join(key)} {'is gone' if now is None else 'changed'} since it was applied.")
        elif before is None:
            preconditions = {name: now["metadata"][name] for name in ("uid", "resourceVersion") if now["metadata"].get(name)}
            planned.append({"action": "delete", "manifest": entry["after"], "preconditions": preconditions})
        else:
            meta = {**before["metadata"], "resourceVersion": now["metadata"].get("resourceVersion")}
            planned.append({"action": "restore", "manifest": {**before, "metadata": meta}})
    return {"changes": planned, "refused": refused}


def essence(thing: Thing) -> Thing:
    """An object without what the server alone writes."""
    kept = {field: value for field, value in thing.items() if field != "status"}
    return {**kept, "metadata": {field: value for field, value in thing["metadata"].items() if field not in SERVER_MANAGED}}


def _same(one: Thing | None, other: Thing | None) -> bool:
    """Whether they are the same but for server-managed fields, in whichever version of the API they were read."""
    if one is None or other is None:
        return one is other
    return all(essence(one).get(field) == essence(other).get(field) for field in ("metadata", "spec"))


def _checked(recorded: Thing) -> Thing:
    right = isinstance(recorded, dict) and (recorded.get("apiVersion"), recorded.get("kind")) == (API_VERSION, KIND)
    if not right or not all(isinstance(entry, dict) and {"before", "after"} <= set(entry) for entry in recorded.get("changes") or ()):
        raise RecordError(f"this is no {KIND} of {API_VERSION}")
    return recorded


def _key(thing: Thing) -> Key:
    return thing["metadata"]["namespace"], thing["metadata"]["name"]


def _by_key(things: t.Iterable[Thing]) -> dict[Key, Thing]:
    return {_key(thing): thing for thing in things}
