# -*- coding: utf-8 -*-
# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Second faces of the collection's pure functions, for playbooks."""

from __future__ import annotations

import typing as t
from functools import wraps

from ansible.errors import AnsibleFilterError

from ansible_collections.meshops.istio_precheck.plugins.module_utils._apply import manifests as _manifests
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.errors import GatherError
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model import text as _text
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.report import FailOnError
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.label_selector import SelectionError
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.selection import Selection
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils import _k8s_exec, _terminal
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._plain import plain
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._reports import document as _document
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._reports import formats as _formats
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._reports import verdict as _verdict
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._sidecars import files as _sidecar_files


def _face(function: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
    """`function` as a filter: plain input, and errors that name the filter."""
    name = f"meshops.istio_precheck.{function.__name__}"

    @wraps(function)
    def face(*args: t.Any, **kwargs: t.Any) -> t.Any:
        try:
            return function(*(plain(arg) for arg in args), **{key: plain(arg) for key, arg in kwargs.items()})
        except (
            FailOnError,
            _document.ReportError,
            _manifests.ManifestError,
            GatherError,
            SelectionError,
        ) as error:
            raise AnsibleFilterError(str(error)) from error
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise AnsibleFilterError(
                f"{name}: the input is not what this filter takes: {type(error).__name__}: {error}"
            ) from error

    return face


def _selection(options: dict[str, t.Any]) -> Selection:
    return Selection(
        namespaces=tuple(options.get("namespaces") or ()),
        exclude_namespaces=tuple(options.get("exclude_namespaces") or ()),
        label_selectors=tuple(options.get("label_selectors") or ()),
        scope=options.get("scope") or "mesh",
        replicas=options.get("replicas") or "all",
    )


def list_requests(answers: list[t.Any], options: dict[str, t.Any]) -> list[t.Any]:
    return _k8s_exec.list_requests(_selection(options), options.get("istio_namespace") or "istio-system", answers)


def list_answers(results: list[t.Any]) -> list[t.Any]:
    return _k8s_exec.list_answers(results)


def list_problem(answers: list[t.Any], options: dict[str, t.Any]) -> str:
    try:
        cluster_snapshot(answers, options)
    except GatherError as error:
        return str(error)
    return ""


def cluster_snapshot(answers: list[t.Any], options: dict[str, t.Any]) -> dict[str, t.Any]:
    return _k8s_exec.base_snapshot(_selection(options), options.get("istio_namespace") or "istio-system", answers)


def exec_requests(snapshot: dict[str, t.Any], options: dict[str, t.Any], answers: list[t.Any]) -> list[t.Any]:
    return _k8s_exec.exec_requests(_selection(options), snapshot, answers)


def exec_answers(results: list[t.Any]) -> list[t.Any]:
    return _k8s_exec.exec_answers(results)


def with_sockets(snapshot: dict[str, t.Any], options: dict[str, t.Any], answers: list[t.Any]) -> dict[str, t.Any]:
    return _k8s_exec.with_sockets(_selection(options), snapshot, answers)


def verdict(
    report: dict[str, t.Any],
    fail_on: list[str],
    failure: str | None = None,
    reports: t.Sequence[str] = (),
    verbose: bool = False,
    server: str = "",
    recorded: bool = False,
) -> list[str]:
    return _verdict.verdict(report, fail_on, failure, _terminal.screen(), reports, verbose, server, recorded)


def outcome(report: dict[str, t.Any], fail_on: list[str], failure: str | None = None, server: str = "") -> str:
    return _verdict.outcome(report, fail_on, failure, server)


def cluster_verdicts(hosts: list[str], outcomes: list[dict[str, t.Any]]) -> list[str]:
    return _verdict.clusters(hosts, outcomes, _terminal.screen())


def blocking(report: dict[str, t.Any], fail_on: list[str]) -> list[str]:
    return _verdict.blockers(report, fail_on)


def sidecar_yaml(remediation: dict[str, t.Any]) -> str:
    return _sidecar_files.sidecar_yaml(remediation)


def sidecar_files(report: dict[str, t.Any]) -> list[t.Any]:
    return _sidecar_files.sidecar_files(report)


def report_as(report: dict[str, t.Any], name: str, about: dict[str, t.Any]) -> str:
    return _formats.report_as(report, name, about)


def report_name(cluster: str, name: str) -> str:
    return _formats.report_name(cluster, name)


def path_part(name: str) -> str:
    return _text.path_part(name)


def reports_as(read: dict[str, t.Any], name: str) -> str:
    return _formats.reports_as(read, name)


FACES = (
    list_requests,
    list_answers,
    list_problem,
    cluster_snapshot,
    exec_requests,
    exec_answers,
    with_sockets,
    verdict,
    outcome,
    cluster_verdicts,
    blocking,
    sidecar_yaml,
    sidecar_files,
    report_as,
    report_name,
    path_part,
    reports_as,
)


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {function.__name__: _face(function) for function in FACES}
