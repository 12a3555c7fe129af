# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""What the action plugins take from kubernetes.core, and one sentence where it is missing: ansible-core would end with a traceback."""

from __future__ import annotations

from ansible.errors import AnsibleError

try:
    from ansible_collections.kubernetes.core.plugins.action.k8s_info import ActionModule as K8sActionModule
    from ansible_collections.kubernetes.core.plugins.module_utils.args_common import AUTH_ARG_SPEC
except ImportError:
    raise AnsibleError(
        "meshops.istio_precheck needs the collection kubernetes.core, 5.0.0 or later: ansible-galaxy collection install kubernetes.core"
    ) from None

__all__ = ("AUTH_ARG_SPEC", "K8sActionModule")
