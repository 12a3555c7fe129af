# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""What the action plugins of this collection have in common."""

from __future__ import annotations

import typing as t

from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._kubernetes_core import K8sActionModule


class QuietAction(K8sActionModule):
    """kubernetes.core's search for a kubeconfig in `files/`, and its vault decryption."""

    def _ensure_invocation(self, result: t.Any) -> t.Any:
        """Leaves the result as it is: kubernetes.core would put the task's raw arguments into it, tokens included."""
        return result
