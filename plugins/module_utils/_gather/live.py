# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""The live cluster of the module's options: what is listed and read, and what asks its proxies."""

from __future__ import annotations

import contextlib
import datetime
import typing as t

from ansible_collections.kubernetes.core.plugins.module_utils.k8s.core import AnsibleK8SModule

from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.api import Api
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.by_exec import by_exec
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.cluster import gather
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.connect import connect, context_name
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.progress import progress
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.proxies import Ports, ask_proxies
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.rights import ExecRights
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.source import Keep, Run, Source
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.snapshot import Snapshot
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.selection import Selection
from ansible_collections.meshops.istio_precheck.plugins.module_utils._sockets.tables import Tables

AskProxies = t.Callable[[Snapshot, Ports], list[dict[str, t.Any]]]


def ask(
    module: AnsibleK8SModule, selection: Selection, keep: Keep, tables: Tables, stack: contextlib.ExitStack
) -> tuple[Snapshot, AskProxies]:
    """The snapshot of the live cluster, but its socket tables, which `keep` gets one by one; and what asks its proxies while `stack` is open.

    Raises GatherError.
    """
    module.requires("kubernetes", "24.2.0", reason="to ask a cluster; snapshot_src needs none")
    module.requires("pyyaml")
    params = module.params
    now = datetime.datetime.now(datetime.timezone.utc)
    api, run = stack.enter_context(connect(module, params["exec_timeout"]))
    rights = ExecRights(api)
    with progress(tables) as watched:
        snapshot = gather(
            api,
            [_source(module, api, run, rights)],
            selection,
            params["istio_namespace"],
            now.strftime("%Y-%m-%dT%H:%M:%SZ"),
            keep,
            watched,
            params["socket_source"] != "exec",
        )

    context = context_name(params)
    if context:
        snapshot["metadata"]["context"] = context

    def ask_these(snapshot: Snapshot, ports: Ports) -> list[dict[str, t.Any]]:
        limits = params["concurrency"], params["concurrency_per_node"]
        return ask_proxies(snapshot, ports, run, *limits, rights, params["exec_timeout"])

    return snapshot, ask_these


def _source(module: AnsibleK8SModule, api: Api, run: Run, rights: ExecRights) -> Source:
    """What the option `socket_source` says."""
    params = module.params
    exec_source = by_exec(run, params["concurrency"], params["concurrency_per_node"], rights, params["exec_timeout"])
    if params["socket_source"] == "exec":
        return exec_source
    # Nothing that a run does not use is imported: it would take a part of the seconds that a small cluster takes.
    from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.node_probe import (
        by_node,
        exec_then_node,
        probe_settings,
        without_probes,
    )

    probe = probe_settings(
        params["node_probe_image"], params["node_probe_namespace"], params["node_probe_timeout"], params["exec_timeout"]
    )
    node_source = without_probes if module.check_mode else by_node(api, run, probe, params["concurrency"], module.warn)
    return node_source if params["socket_source"] == "node" else exec_then_node(exec_source, node_source)
