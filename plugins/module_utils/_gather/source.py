# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""What a source of socket tables is, and what it is given."""

from __future__ import annotations

import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.attempts import Outcome, Step
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.kube import Pod
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.snapshot import TableRecord

Run = t.Callable[[str, str, str, t.Sequence[str], float, float], Outcome]
"""Runs (namespace, pod, container, command, the seconds that it may take with all tries, the share of them that one try may take)."""

Take = t.Callable[[Step], None]
Source = t.Callable[[t.Sequence[Pod], Take], None]
"""Reads pods: hands over, as it comes and from whatever thread, each one's socket table or why there is none."""

EXEC_TIMEOUT = 10.0
"""Seconds for one pod, if nothing else is said."""

Keep = t.Callable[[TableRecord], None]
"""Takes one entry of `socketTables`; several threads call it at once, so that no pod's table holds up another's."""


class Rights(t.Protocol):
    """What the API server says of the user's right to run commands in pods."""

    def closed(self, namespaces: t.Sequence[str]) -> t.Mapping[str, t.Sequence[str]]:
        """The namespaces of these in which nothing may be run, each with the verbs on pods/exec that the user lacks."""

    def lacking(self, namespace: str) -> t.Sequence[str] | None:
        """The verbs on pods/exec that the user lacks there; None if the API server does not say."""
