# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's side of the modules."""

from __future__ import annotations

import types

import pytest

pytest.importorskip("kubernetes")

from ansible_collections.kubernetes.core.plugins.action import k8s_info

from ansible_collections.meshops.istio_precheck.plugins.action import localhost_listener_info, sidecar_remediation


def action(base):
    made = object.__new__(base)
    made._task = types.SimpleNamespace(args={"api_key": "CANARY"})
    made._play_context = types.SimpleNamespace(no_log=False)
    return made


ACTIONS = [localhost_listener_info.ActionModule, sidecar_remediation.ActionModule]


@pytest.mark.parametrize("of", ACTIONS)
def test_the_result_does_not_get_the_tasks_own_arguments(of):
    assert action(of)._ensure_invocation({"findings": []}) == {"findings": []}


def test_kubernetes_core_still_puts_them_there_or_this_class_is_not_needed():
    assert "CANARY" in str(action(k8s_info.ActionModule)._ensure_invocation({}))


@pytest.mark.parametrize("of", ACTIONS)
def test_everything_else_is_kubernetes_cores(of):
    assert issubclass(of, k8s_info.ActionModule)
    own = [name for name, value in vars(of).items() if getattr(value, "__module__", "") == of.__module__]
    assert own in (["_execute_module"], ["_execute_module", "_is_local"])
