# -*- coding: utf-8 -*-
# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The pure functions of the collection as filters, for playbooks that use the module alone."""

from __future__ import annotations

import datetime
import typing as t
from functools import wraps

from ansible.errors import AnsibleFilterError

from ansible_collections.meshops.istio_precheck.plugins.module_utils._apply import manifests as _manifests
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model import text as _text
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.report import DEFAULT_FAIL_ON, FailOnError
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.label_selector import SelectionError
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.options import (
    OptionError,
    Options,
    current,
    target,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.selection import Selection
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils import _gate, _k8s_exec, _terminal
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
            OptionError,
            SelectionError,
        ) as error:
            raise AnsibleFilterError(str(error)) from error
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise AnsibleFilterError(
                f"{name}: the input is not what this filter takes: {type(error).__name__}: {error}"
            ) from error

    return face


CHOICES = {"scope": ("mesh", "all"), "replicas": ("all", "one"), "delivery_source": ("auto", "rule", "proxy")}
"""The module's, and its defaults are those of Selection and Options."""

JUDGING = ("target_version", "current_version", "delivery_source")
"""Options of the evaluation that say which proxies to ask."""


def _options(options: dict[str, t.Any]) -> Options:
    """The module's options as those of the evaluation. Raises SelectionError or OptionError for what the module would not take."""
    given = {name: value for name, value in options.items() if name != "istio_namespace" and value is not None}
    for name, value in given.items():
        if name not in Selection._fields and name not in JUDGING:
            raise SelectionError(f"{name}: wanted some of {', '.join((*Selection._fields, *JUDGING))}, istio_namespace")
        if name in CHOICES and value not in CHOICES[name]:
            raise SelectionError(f"{name}: wanted one of {', '.join(CHOICES[name])}, found {value!r}")
    judging = {name: given.pop(name) for name in JUDGING if name in given}
    chosen: dict[str, t.Any] = {
        name: value if name in CHOICES else tuple(_listed(name, value)) for name, value in given.items()
    }
    made = Options(datetime.date.min, Selection(**chosen), **judging)  # no waiver is looked at, so no day counts
    target(made)
    current(made)
    return made


def _listed(name: str, value: t.Any) -> list[t.Any]:
    """`value`, if it is a list: a text is one of letters. Raises ValueError."""
    if not isinstance(value, list):
        raise ValueError(f"{name}: wanted a list, found {value!r}")
    return value


def gather_step(
    state: dict[str, t.Any], options: dict[str, t.Any], results: t.Sequence[t.Any] = ()
) -> dict[str, t.Any]:
    return _k8s_exec.gather_step(state, results, _options(options), options.get("istio_namespace") or "istio-system")


def gate(
    report: dict[str, t.Any],
    fail_on: t.Sequence[str] = DEFAULT_FAIL_ON,
    verbose: bool = False,
    recorded: bool = False,
) -> dict[str, t.Any]:
    return _gate.gate(report, fail_on, verbose, recorded)


def report_files(
    report: dict[str, t.Any],
    formats: list[str],
    cluster: str,
    fail_on: t.Sequence[str] = DEFAULT_FAIL_ON,
) -> list[dict[str, str]]:
    return _gate.report_files(report, _listed("formats", formats), cluster, fail_on)


def cluster_verdicts(hosts: list[str], outcomes: list[dict[str, t.Any]]) -> list[str]:
    if len(_listed("hosts", hosts)) != len(_listed("outcomes", outcomes)):
        raise ValueError(f"outcomes: wanted one for each of {len(hosts)} hosts, found {len(outcomes)}")
    return _verdict.clusters(hosts, outcomes, _terminal.screen())


def same_cluster(hosts: list[str], outcomes: list[dict[str, t.Any]], host: str) -> str:
    if len(_listed("hosts", hosts)) != len(_listed("outcomes", outcomes)):
        raise ValueError(f"outcomes: wanted one for each of {len(hosts)} hosts, found {len(outcomes)}")
    return _gate.same_cluster(hosts, outcomes, host)


def sidecar_yaml(remediation: dict[str, t.Any]) -> str:
    return _sidecar_files.sidecar_yaml(remediation)


def sidecar_files(report: dict[str, t.Any]) -> list[t.Any]:
    return _sidecar_files.sidecar_files(report)


def path_part(name: str) -> str:
    return _text.path_part(name)


def reports_as(read: dict[str, t.Any], name: str) -> str:
    return _formats.reports_as(read, name)


FACES = (
    cluster_verdicts,
    gate,
    gather_step,
    path_part,
    report_files,
    reports_as,
    same_cluster,
    sidecar_files,
    sidecar_yaml,
)


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {function.__name__: _face(function) for function in FACES}
