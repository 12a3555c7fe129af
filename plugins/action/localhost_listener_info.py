# -*- coding: utf-8 -*-
# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.kubernetes.core.plugins.action.k8s_info import ActionModule as K8sActionModule
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils import _terminal  # noqa: F401


class ActionModule(K8sActionModule):
    """kubernetes.core's search for a kubeconfig in `files/`, and its vault decryption, for this module."""

    def _ensure_invocation(self, result):
        """Leaves the result as it is: kubernetes.core would put the task's raw arguments into it, tokens included."""
        return result
