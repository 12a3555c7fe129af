# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""The other way to gather: what to ask kubernetes.core's k8s_info and k8s_exec tasks, and a ClusterSnapshot from what they return.

For sites that let only certified modules touch a cluster. What a task returned is reduced at once to an Answer: the raw results hold
environment values, and on some ansible-core versions the token that the task was given.
"""

from __future__ import annotations

import ast
import contextlib
import json
import re
import typing as t
from collections import defaultdict

from ansible_collections.meshops.istio_precheck.plugins.module_utils._evaluate import evaluated, proxies_to_ask
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.attempts import (
    CANNOT_RUN,
    Outcome,
    Step,
    explained,
    refused,
    step,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.errors import (
    ApiError,
    GatherError,
    status_message,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.listing import (
    CONTROL_PLANE,
    NAMESPACES,
    SELECTED,
    Listing,
    Request,
    assemble,
    reduced,
    refusal,
    requests,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.proxies import CONTAINER, proxy_config
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.cluster import read_cluster
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.proxy_answer import COMMAND
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.kube import PodKey
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.schema import Alike, Reduced
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.secrets import without_users
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.shapes import WORKLOAD_ENTRY
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.snapshot import API_VERSION, Snapshot
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.trim import Trimmer
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.options import Options
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.selection import (
    Selection,
    asked,
    recorded_part,
    select,
)

Result = dict[str, t.Any]
"""One item of a registered loop: the request it had as `item`, beside what the module returned."""

Answer = dict[str, t.Any]
"""A request as `item`, beside `objects`, or `status` and `detail`, of a list, or the fields of an Outcome of an exec."""

LISTINGS: dict[tuple[str, str], Listing] = {
    (listing.key, listing.kind): listing for listing in (*CONTROL_PLANE, NAMESPACES, *SELECTED)
}

KNOCK: dict[str, t.Any] = {
    "key": "",
    "kind": "ClusterSnapshot",
    "api_version": API_VERSION,
    "namespace": "",
    "name": "",
    "label_selectors": [],
}
"""What to ask first, to learn whether there is a cluster: no server has this kind, so it takes no right to ask for it."""


def gather_step(
    state: t.Mapping[str, t.Any], results: t.Sequence[Result], options: Options, istio_namespace: str
) -> dict[str, t.Any]:
    """One step from nothing to a snapshot: `state` is what the step before returned, `results` what came of the tasks that it asked for.

    Returns `{lists, execs, problem, snapshot, kept}`: what to ask k8s_info and k8s_exec next; if nothing, the snapshot, or why there is
    none; and what the next step needs to know. Raises SelectionError and OptionError.
    """
    selection = options.selection
    if state.get("problem") or state.get("snapshot"):
        return dict(state)
    kept = state.get("kept") or {"lists": [], "execs": [], "base": None}
    if not state and not results:
        return _step(kept, lists=[KNOCK])
    results = [{**result, "item": result[result.get("ansible_loop_var", "item")]} for result in results]
    lists = list_answers([result for result in results if "kind" in result["item"]])
    ran = [result for result in results if "kind" not in result["item"]]
    execs = exec_answers([result for result in ran if "ports" not in result["item"]])
    known = {**kept, "lists": [*kept["lists"], *(each for each in lists if each["item"]["kind"] != KNOCK["kind"])]}
    known["execs"] = [*kept["execs"], *execs]
    for answer in lists:
        if answer["item"]["kind"] == KNOCK["kind"] and answer.get("status", 404) != 404:
            return _step(problem=f"no connection to a cluster: {answer['detail']}")
    if known["base"] is None:
        wanted = list_requests(selection, istio_namespace, known["lists"])
        if wanted:
            return _step(known, lists=wanted)
        try:
            known = {**known, "lists": [], "base": base_snapshot(selection, istio_namespace, known["lists"])}
        except GatherError as error:
            return _step(problem=str(error))
    commands = exec_requests(selection, known["base"], known["execs"])
    if commands:
        return _step(known, execs=commands)
    snapshot = with_sockets(selection, known["base"], known["execs"])
    said = proxy_answers([result for result in ran if "ports" in result["item"]])
    wanted = [] if said else proxy_requests(snapshot, options)
    if wanted:
        return _step(known, execs=wanted)
    return _step(snapshot={**snapshot, "proxyConfigs": said} if said else snapshot)


def _step(kept: t.Any = None, **more: t.Any) -> dict[str, t.Any]:
    return {"lists": [], "execs": [], "problem": "", "snapshot": None, "kept": kept or {}, **more}


# ---------------------------------------------------------------------------------------------------------------------
# k8s_info


def list_requests(selection: Selection, istio_namespace: str, answers: t.Sequence[Answer]) -> list[dict[str, t.Any]]:
    """What to ask k8s_info next, given what it answered so far; empty when nothing is left.

    Round by round more is known of where control planes are; the second looks at namespaces that seem empty. Nothing is left, either, once
    a list was refused that a verdict depends on, or a namespace is known not to exist.
    """
    try:
        objects = _objects(answers)
    except GatherError:
        return []
    looked_for = [answer for answer in answers if _is_about_existence(answer["item"])]
    if any(answer.get("objects") == [] for answer in looked_for):
        return []
    said: dict[tuple[str, str, str, str], list[Answer]] = defaultdict(list)
    for answer in answers:
        said[_id(answer["item"])].append(answer)
    known = requests(selection.namespaces, istio_namespace, objects)
    items = [_item(each, version) for each in known for version in _next_version(each.listing, said.get(each.id, ()))]
    if not answers:
        return items
    asked = {answer["item"]["name"] for answer in looked_for}
    seen = {thing["metadata"]["namespace"] for name in ("pods", "services") for thing in objects.get(name) or ()}
    return items + [
        {"key": "", "kind": "Namespace", "api_version": "v1", "namespace": "", "name": name, "label_selectors": []}
        for name in selection.namespaces
        if name not in seen and name not in asked
    ]


def _is_about_existence(item: t.Mapping[str, t.Any]) -> bool:
    """Whether it asks for a Namespace that seems empty, and not for the labels of one."""
    return item["kind"] == "Namespace" and not item["key"]


def _id(item: t.Mapping[str, t.Any]) -> tuple[str, str, str, str]:
    """That of its Request."""
    return item["key"], item["kind"], item["namespace"], item["name"]


def list_answers(results: t.Sequence[Result]) -> list[Answer]:
    """What the results of k8s_info say, the objects trimmed."""
    found = []
    for result in results:
        item = result["item"]
        answer: Answer = {"item": item}
        listing = LISTINGS.get((item["key"], item["kind"]))
        if result.get("api_found") is False:
            answer.update(status=404, detail="the server does not have it")
        elif "resources" not in result:
            status, detail = _said(result)
            answer.update(status=status, detail=without_users(detail))
        elif listing:
            answer = {"item": item, **_reduced(listing, result["resources"] or (), item["api_version"])}
        else:
            answer["objects"] = [{} for _thing in result["resources"] or ()]
        if _is_masked(answer.get("objects")):
            answer = {"item": item, "status": 0, "detail": MASKED}
        found.append(answer)
    return found


MASKED = (
    "kubernetes.core hid a part of the answer, because it is the same as a secret of the connection, such as a short password; "
    "use check_listeners_gather_with: module"
)


class _Hidden(Exception):
    """A part that would be read and not kept has something hidden in it."""


class _Watching(Trimmer):
    """Looks for what is hidden before a part is reduced: what is left may not show it, such as a list without the one that has another name by then."""

    def _new_function(self, shape: t.Any) -> t.Callable[[t.Any], t.Any] | None:
        if isinstance(shape, Alike) or not isinstance(shape, Reduced):
            return super()._new_function(shape)
        inner, keep = self._function(shape.shape), shape.keep

        def watched(value: t.Any) -> t.Any:
            part = inner(value) if inner else value
            if _is_masked(part):
                raise _Hidden
            return keep(part)

        return watched


_watching = _Watching(share=False)


def _reduced(listing: Listing, resources: t.Sequence[t.Any], version: str) -> dict[str, t.Any]:
    """The `objects` of an answer, or why there are none."""
    if listing.shape is WORKLOAD_ENTRY:  # of which what is no address, and no port, is dropped
        specs = [thing.get("spec") for thing in resources if isinstance(thing, dict)]
        if _is_masked([[spec.get("address"), spec.get("ports")] for spec in specs if isinstance(spec, dict)]):
            return {"status": 0, "detail": MASKED}
    try:
        return {"objects": [reduced(listing, thing, version, _watching) for thing in resources]}
    except _Hidden:
        return {"status": 0, "detail": MASKED}


def _is_masked(value: t.Any) -> bool:
    """Whether ansible-core has hidden a part of it: remove_values(), ansible/module_utils/common/parameters.py@2.21."""
    if isinstance(value, str):
        return "*" * 8 in value or value == "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"
    if isinstance(value, dict):
        return any(_is_masked(each) for pair in value.items() for each in pair)
    return isinstance(value, list) and any(map(_is_masked, value))


def base_snapshot(selection: Selection, istio_namespace: str, answers: t.Sequence[Answer]) -> Snapshot:
    """The snapshot without socket tables. Raises GatherError if a list that a verdict depends on was refused, or a namespace is unknown."""
    for answer in answers:
        item = answer["item"]
        if _is_about_existence(item) and answer.get("objects") == []:
            raise GatherError(f"namespaces: the cluster has no namespace {item['name']!r}")
    objects = _objects(answers)
    return assemble(objects, recorded_part(selection), istio_namespace)


def _next_version(listing: Listing, said: t.Sequence[Answer]) -> t.Sequence[str]:
    """The API version to ask for next after these answers, if any: the first that the server has counts, as in the module's own lists."""
    return listing.versions[len(said) :][:1] if all(_is_absent(answer, listing) for answer in said) else ()


def _is_absent(answer: Answer, listing: Listing) -> bool:
    return answer.get("status") == 404 and bool(listing.may_be_absent or answer["item"]["name"])


def _item(request: Request, version: str) -> dict[str, t.Any]:
    """What one k8s_info task is told."""
    return {
        "key": request.listing.key,
        "kind": request.listing.kind,
        "api_version": version,
        "namespace": request.namespace,
        "name": request.name,
        "label_selectors": [request.label_selector] if request.label_selector else [],
        "required": request.listing.required,
    }


def _objects(answers: t.Sequence[Answer]) -> dict[str, list[t.Any]]:
    """The answers' objects by key. Raises ApiError."""
    objects: dict[str, list[t.Any]] = {"unlisted": [], "served": []}
    done = set()
    for answer in answers:
        item = answer["item"]
        listing = LISTINGS.get((item["key"], item["kind"]))
        which = _id(item)
        if _is_about_existence(item) and answer.get("objects"):
            objects.setdefault("emptyNamespaces", []).append(item["name"])
        elif _is_about_existence(item) and "objects" not in answer:
            objects["unlisted"].append({"resource": "namespaces", "detail": answer["detail"]})
        if listing:
            objects.setdefault(listing.key, [])
        if listing is None or which in done or _is_absent(answer, listing):
            continue
        done.add(which)
        if "objects" in answer:
            objects["served"].append(f"{item['api_version']}/{listing.kind}")
            objects[listing.key].extend(answer["objects"])
            continue
        request = Request(listing, item["namespace"], name=item["name"])
        if item.get("required", listing.required) or answer["status"] not in (401, 403, 404):
            raise ApiError(f"GET {request.path(item['api_version'])}", answer["detail"], answer["status"])
        objects["unlisted"].append(refusal(request, answer["detail"]))
    return objects


def _said(result: Result) -> tuple[int, str]:
    """(HTTP status, reason) of a request that failed, out of the text that kubernetes.core puts an exception into; 0 for no answer."""
    if _killed(result):
        return 0, "the API server did not answer in time"
    text = _text(result)
    status = re.search(r"Handshake status (\d{3})|(?:^|['(])(\d{3})\)?\s+Reason: ", text)
    code = int(status[1] or status[2]) if status else 0
    lines = text.splitlines()
    otherwise = f"HTTP {code}" if code else lines[0][:300] if lines else None
    body = re.search(
        r"(?:HTTP response body: |-\+-\+- (?=b['\"]|\{\"))(b'(?:[^'\\]|\\.)*'|b\"(?:[^\"\\]|\\.)*\"|.*)", text
    )
    if not body:
        return code, status_message(None, otherwise)
    raw: t.Any = body[1]
    with contextlib.suppress(SyntaxError, ValueError):  # a text that only looks like bytes stays as it is
        raw = ast.literal_eval(body[1]).decode("utf-8", "replace") if body[1].startswith(("b'", 'b"')) else body[1]
    try:
        raw = json.dumps(json.JSONDecoder().raw_decode(raw)[0])
    except (ValueError, RecursionError):
        pass
    return code, status_message(raw, otherwise)


def _text(result: Result) -> str:
    """What a result says of a failure: its message, or a traceback, which older versions of ansible-core leave: its last line, or all if it has an answer."""
    stderr = str(result.get("module_stderr") or "").strip()
    if "Traceback" in stderr:
        return stderr if "HTTP response body: " in stderr else stderr.splitlines()[-1]
    return f"{re.sub('^(Task failed: )?(Module failed: )?', '', str(result.get('msg') or ''))} {stderr}".strip()


# ---------------------------------------------------------------------------------------------------------------------
# k8s_exec


def exec_answers(results: t.Sequence[Result]) -> list[Answer]:
    """What the results of k8s_exec say."""
    return [{"item": result["item"], **_outcome(result)._asdict()} for result in results]


def exec_requests(selection: Selection, snapshot: Snapshot, answers: t.Sequence[Answer]) -> list[dict[str, t.Any]]:
    """What to run with k8s_exec next: for each pod that has not answered, its next attempt. Empty when nothing is left."""
    found = []
    for (namespace, name), result in _steps(selection, snapshot, answers):
        if result.attempt:
            found.append(
                {
                    "namespace": namespace,
                    "pod": name,
                    "container": result.attempt.container,
                    "command": " ".join(result.attempt.command),
                }
            )
    return found


def with_sockets(selection: Selection, snapshot: Snapshot, answers: t.Sequence[Answer]) -> Snapshot:
    """The snapshot with what the answers hold."""
    results = [result for _pod, result in _steps(selection, snapshot, answers)]
    return {
        **snapshot,
        "socketTables": [r.table for r in results if r.table],
        "unread": [r.unread for r in results if r.unread],
    }


def proxy_requests(snapshot: Snapshot, options: Options) -> list[dict[str, t.Any]]:
    """What to ask proxies with k8s_exec; `ports` says what is kept of the answer."""
    read = {(table["namespace"], table["pod"]) for table in snapshot["socketTables"]}
    cluster = read_cluster(snapshot)
    ports = proxies_to_ask(evaluated(cluster, options)[0], cluster, options, read.__contains__)
    return [
        {"namespace": namespace, "pod": pod, "container": CONTAINER, "command": " ".join(COMMAND), "ports": list(asked)}
        for (namespace, pod), asked in sorted(ports.items())
    ]


def proxy_answers(results: t.Sequence[Result]) -> list[dict[str, t.Any]]:
    """`proxyConfigs` of a snapshot, from what k8s_exec returned of proxy_requests()."""
    return [
        proxy_config((item["namespace"], item["pod"]), _outcome(result), item["ports"])
        for result in results
        for item in (result["item"],)
    ]


def _steps(selection: Selection, snapshot: Snapshot, answers: t.Sequence[Answer]) -> list[tuple[PodKey, Step]]:
    cluster = read_cluster(snapshot)
    pods = {pod.key: pod for pod in cluster.pods}
    outcomes: dict[PodKey, list[Outcome]] = defaultdict(list)
    for answer in answers:
        item = answer["item"]
        outcomes[item["namespace"], item["pod"]].append(Outcome(*(answer[field] for field in Outcome._fields)))
    targets = select(cluster, selection).targets
    groups = {each.readers[0]: each.readers for each in targets if pods[each.readers[0]].is_running}.values()
    found: dict[PodKey, Step] = {}

    def read(pod_key: PodKey) -> bool | None:
        if pod_key not in found:
            result = step(pods[pod_key], outcomes[pod_key], HANGS)
            if result.unread and result.unread["reason"] == "forbidden":
                result = Step(unread=explained(result.unread))
            found[pod_key] = result
        return None if found[pod_key].attempt else found[pod_key].table is not None

    wanted = sorted(pod_key for group in groups for pod_key in asked(group, read))
    for pod_key in wanted:
        read(pod_key)
    return [(pod_key, found[pod_key]) for pod_key in wanted]


HANGS = 2
"""Containers of one pod that may hang. A task cannot be told how much of the pod's time is left: each that hangs costs its whole time again."""

KILLED = (124, 137)
"""Exit codes of timeout(1), under which the role runs each task: those of kubernetes.core have no timeout of their own and would wait for ever."""

NOT_STARTED = (126, 127)


def _killed(result: Result) -> bool:
    return result.get("rc") in KILLED or bool(result.get("timedout"))


def _outcome(result: Result) -> Outcome:
    """What a k8s_exec result says. It reports an exec that was refused as text, and crashes on one that could not start.

    kubernetes.core 6.6.0, plugins/modules/k8s_exec.py: `int()` over a message that is no number where the container has no such binary.
    ansible-core 2.21 leaves nothing of a crash in the result, older ones leave a traceback in `module_stderr`.
    """
    if _is_masked(result.get("stdout")) or _is_masked(result.get("rc")):
        return Outcome("", None, "masked", MASKED)
    if "stdout" in result and isinstance(result.get("rc"), int):
        return Outcome(str(result["stdout"] or ""), result["rc"])
    text = _text(result)
    if _killed(result):
        return Outcome("", None, "timeout", "No answer in time.")
    status, detail = _said(result)
    if status:
        return Outcome("", None, *refused(status, detail), status)
    crashed = "module_stderr" in result and result.get("rc") not in NOT_STARTED
    if crashed or not text:
        return Outcome("", None, CANNOT_RUN, "kubernetes.core.k8s_exec could not run it.")
    return Outcome("", None, "connection", text[:300])
