# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""One check: options in, a result out. It reads a record or has the cluster asked, has it evaluated, and keeps a record.

The module is its face. The role's action calls it without one where a record is evaluated, so that no process is started for that.
"""

from __future__ import annotations

import contextlib
import datetime
import math
import sys
import time
import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._evaluate import (
    Cluster,
    evaluated,
    proxies_to_ask,
    read_cluster,
    versions,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.attempts import locked_out
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.errors import GatherError
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.source import Keep
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model import schema as _schema
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model import snapshot as _snapshot
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.kube import PodKey, is_namespace
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.outside import excerpt
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.report import Report
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.snapshot import Snapshot
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.label_selector import (
    SelectionError,
    label_matcher,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.options import (
    OptionError,
    Options,
    current,
    target,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.selection import Selection, why_not_covered
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.waivers import WaiverError, compile_waivers
from ansible_collections.meshops.istio_precheck.plugins.module_utils._sockets.tables import Tables

Values = dict[str, t.Any]
"""Options or a result, by name."""

AskProxies = t.Callable[[Snapshot, t.Mapping[PodKey, t.Collection[int]]], list[Values]]

AskCluster = t.Callable[[Selection, Keep, Tables, contextlib.ExitStack], tuple[Snapshot, AskProxies]]
"""What gives the snapshot of the live cluster, but its socket tables, which `keep` gets one by one; and what asks its proxies while the stack is open.
Raises GatherError."""

OPTIONS: Values = {
    "namespaces": {"type": "list", "elements": "str", "default": []},
    "exclude_namespaces": {"type": "list", "elements": "str", "default": []},
    "label_selectors": {"type": "list", "elements": "str", "default": []},
    "scope": {"type": "str", "choices": ["mesh", "all"], "default": "mesh"},
    "istio_namespace": {"type": "str", "default": "istio-system"},
    "target_version": {"type": "str"},
    "current_version": {"type": "str"},
    "snapshot_src": {"type": "path"},
    "snapshot": {"type": "dict"},
    "snapshot_dest": {"type": "path"},
    "replicas": {"type": "str", "choices": ["all", "one"], "default": "all"},
    "concurrency": {"type": "int", "default": 32},
    "concurrency_per_node": {"type": "int", "default": 8},
    "exec_timeout": {"type": "float", "default": 10},
    "socket_source": {"type": "str", "choices": ["exec", "node", "auto"], "default": "exec"},
    "node_probe_image": {"type": "str"},
    "node_probe_namespace": {"type": "str", "default": "default"},
    "node_probe_timeout": {"type": "float", "default": 60},
    "delivery_source": {"type": "str", "choices": ["auto", "rule", "proxy"], "default": "auto"},
    "remediate_unreachable": {"type": "bool", "default": False},
    "sidecar_api_version": {"type": "str", "choices": ["v1beta1", "v1", "v1alpha3"]},
    "waivers": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "match": {"type": "str", "required": True},
            "reason": {"type": "str", "required": True},
            "until": {"type": "str"},
        },
    },
}
"""The module's options beside those of its connection, as an argument spec."""

RELATIONS: Values = {
    "mutually_exclusive": [("snapshot_src", "snapshot")],
    "required_if": [("socket_source", name, ["node_probe_image"]) for name in ("node", "auto")],
}

LARGEST = {"concurrency": 1000, "concurrency_per_node": 1000, "exec_timeout": 3600, "node_probe_timeout": 3600}
"""Beyond these there is no use but to keep a machine busy: threads, and seconds."""


class CheckError(Exception):
    """The check cannot be made. The text says why, and names the option."""


def check(given: Values, check_mode: bool, ask: AskCluster) -> Values:
    """What the module returns for `given`, the options, but for `changed`: the Report, `cluster`, and `failed` and `msg` where the check cannot be made.

    `ask` is called where no record is given.
    """
    try:
        return _check(given, read_options(given), check_mode, ask)
    except (CheckError, GatherError) as error:
        return {"failed": True, "msg": str(error)}


def read_options(given: Values) -> Options:
    """The options of the evaluation. Raises CheckError for a bad one: before the cluster is contacted."""
    for name, largest in LARGEST.items():
        if not 0 < given[name] < math.inf:
            raise CheckError(f"{name}: wanted a number above 0, found {given[name]:g}")
        if given[name] > largest:
            raise CheckError(f"{name}: wanted at most {largest}, found {given[name]:g}")
    for name in ("namespaces", "exclude_namespaces", "istio_namespace", "node_probe_namespace"):
        names = given[name] if isinstance(given[name], list) else [given[name]]
        # An empty one selects nothing, and nothing is easily found to be in order.
        if not all(namespace.strip() for namespace in names):
            raise CheckError(f"{name}: a namespace has a name, found an empty one")
        for namespace in names:
            if not is_namespace(namespace):  # with `..` all namespaces were listed, and none was looked at
                raise CheckError(f"{name}: {excerpt(namespace)} is no name of a namespace")
    try:
        label_matcher(given["label_selectors"])
        options = Options(
            today=datetime.date.today(),
            selection=Selection(
                namespaces=tuple(given["namespaces"]),
                exclude_namespaces=tuple(given["exclude_namespaces"]),
                label_selectors=tuple(given["label_selectors"]),
                scope=given["scope"],
                replicas=given["replicas"],
            ),
            target_version=given["target_version"],
            current_version=given["current_version"],
            waivers=tuple(compile_waivers(given["waivers"])),
            sidecar_api_version=given["sidecar_api_version"],
            delivery_source=given["delivery_source"],
            remediate_unreachable=given["remediate_unreachable"],
        )
        target(options)
        current(options)
    except ImportError as error:
        # A sentence of its own: missing_required_lib() names no command.
        needed = "waivers need the Python library jmespath, which is missing"
        raise CheckError(f"{needed}: {sys.executable} -m pip install jmespath") from error
    except (OptionError, SelectionError, WaiverError) as error:
        raise CheckError(str(error)) from error
    return options


def _check(given: Values, options: Options, check_mode: bool, ask: AskCluster) -> Values:
    started = time.monotonic()
    tables = Tables()
    destination = None if check_mode else given["snapshot_dest"]
    spool = _snapshot.Spool(destination) if destination else None

    def keep(table: _snapshot.TableRecord) -> None:
        tables.add(table)
        if spool:
            spool.append(table)

    wrong, evaluating = "", 0.0

    def judge(cluster: Cluster) -> Report:
        nonlocal wrong, evaluating
        began = time.monotonic()
        report, wrong = evaluated(cluster, options, tables)
        evaluating += time.monotonic() - began
        return report

    def write_record(snapshot: Snapshot) -> str:
        return _record({**snapshot, "socketTables": spool}, destination) if spool and destination else ""

    with contextlib.ExitStack() as stack:
        recorded = _recorded(given, keep)
        snapshot, ask_these = (recorded, None) if recorded else ask(options.selection, keep, tables, stack)
        for entry in spool.leave_out() if spool else ():  # what is judged is what is recorded
            tables.drop((entry["namespace"], entry["pod"]))
            snapshot["unread"].append(entry)
        try:
            began = time.monotonic()
            cluster = read_cluster(snapshot)
            evaluating += time.monotonic() - began
            report = judge(cluster)
            asked = proxies_to_ask(report, cluster, options, tables.get) if ask_these else {}
            if ask_these and asked:
                snapshot["proxyConfigs"] = ask_these(snapshot, asked)
                report = judge(cluster._replace(proxy_configs=tuple(snapshot["proxyConfigs"])))
        except Exception:
            write_record(snapshot)  # of which whoever looks for the fault has most use
            raise
    gathered = time.monotonic() - started - evaluating
    unwritten = write_record(snapshot)
    not_covered = (None if tables else locked_out(snapshot)) or why_not_covered(
        cluster, options.selection, report["summary"]["pods"]
    )
    failure = wrong or not_covered or unwritten
    report["summary"]["seconds"] = {"gather": round(gathered, 3), "evaluate": round(evaluating, 3)}
    metadata = snapshot.get("metadata") or {}
    about = {
        "server": metadata.get("server") or "",
        "context": metadata.get("context") or "",
        "server_version": metadata.get("serverVersion") or "",
        "taken_at": metadata.get("takenAt") or "",
        "istio_versions": versions(cluster, options),
        "target_version": options.target_version or "",
    }
    return {**report, "cluster": about, **({"failed": True, "msg": failure} if failure else {})}


def _recorded(given: Values, keep: Keep) -> Snapshot | None:
    """The recorded snapshot of the options, but its socket tables, which `keep` gets; None to ask the cluster. Raises CheckError."""
    source = given["snapshot_src"]
    try:
        snapshot = _snapshot.read(source) if source else given["snapshot"]
        if snapshot is None:
            return None
        if not source:
            _snapshot.check_given(snapshot)
    except _schema.SnapshotError as error:
        what = f"snapshot_src: {source}" if source else "snapshot: this"
        raise CheckError(f"{what} is no ClusterSnapshot: {error}") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CheckError(f"snapshot_src: {source} cannot be read: {reason}") from error
    for table in snapshot["socketTables"]:
        keep(table)
    return {**snapshot, "socketTables": []}


def _record(snapshot: Snapshot, destination: str) -> str:
    """Writes the snapshot. Returns why it could not be written; empty if it was."""
    try:
        _snapshot.write(snapshot, destination)
    except (OSError, ValueError) as error:
        return f"snapshot_dest: {destination} cannot be written: {getattr(error, 'strerror', None) or error}"
    return ""
