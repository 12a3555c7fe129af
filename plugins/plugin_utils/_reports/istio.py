# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""Istio's own JSON, as `istioctl analyze -o json` and `istioctl experimental precheck -o json` print it."""

from __future__ import annotations

import json

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.report import (
    CODE,
    DOCUMENTATION_URL,
    LEVEL,
    probes_of_their_own,
)
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._reports.document import Document

INTERNAL_ERROR = {
    "code": "IST0001",
    "level": "Error",
    "documentationUrl": "https://istio.io/latest/docs/reference/config/analysis/ist0001/",
}
"""Istio's code for an analysis that failed. What could not be looked at must not read like `[]`, which is what all is well looks like."""


def as_istio_json(made: Document) -> str:
    """An array of messages, indented and sorted as Go does it.

    One for each pod of a finding, of a probe that fails beside it, and each pod that could not be read.
    """
    messages = [
        {
            "code": finding["code"],
            "documentationUrl": finding["documentation_url"],
            "level": finding["level"],
            "message": finding["message"],
            "origin": f"Pod {finding['namespace']}/{pod}",
        }
        for finding in made["findings"]
        for pod in finding["pods"]
    ]
    messages += [
        {
            "code": CODE,
            "documentationUrl": DOCUMENTATION_URL,
            "level": LEVEL,
            "message": probe["reason"],
            "origin": f"Pod {probe['namespace']}/{pod}",
        }
        for probe in probes_of_their_own(made, made["metadata"].get("failOn") or ())
        for pod in probe["pods"]
    ]
    messages += [
        {
            **INTERNAL_ERROR,
            "message": f"Internal error: {pod.get('detail') or pod['reason']}",
            "origin": f"Pod {pod['namespace']}/{pod['pod']}",
        }
        for pod in made["unchecked"]
    ]
    if made.get("failed"):
        messages.append(
            {
                **INTERNAL_ERROR,
                "message": f"Internal error: {made.get('msg') or 'no reason given'}",
                "origin": "Cluster",
            }
        )
    return json.dumps(messages, indent="\t", sort_keys=True) + "\n"
