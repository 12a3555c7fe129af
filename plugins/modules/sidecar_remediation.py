#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: sidecar_remediation
short_description: Apply the Sidecars that keep ports on localhost reachable, or take them back
version_added: 1.0.0
author:
  - The meshops.istio_precheck authors (@meshops)
description:
  - Applies Sidecars that M(meshops.istio_precheck.localhost_listener_info) planned, each only if the cluster has not changed since the plan.
    All of them, or none.
  - The API server tries all of them before it applies any. It creates one only where there is none, and edits one only if it has not changed since.
  - It records the previous Sidecars for an undo.
  - The role P(meshops.istio_precheck.remediate_listeners#role) checks the cluster before and after that.
extends_documentation_fragment:
  - kubernetes.core.k8s_auth_options
  - meshops.istio_precheck._attributes
  - meshops.istio_precheck._attributes.actiongroup_precheck
attributes:
  check_mode:
    support: full
    details:
      - The API server tries every Sidecar, and applies none.
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  state:
    description:
      - V(applied) applies the Sidecars, V(undone) restores the Sidecars of O(undo_file).
    type: str
    choices: [applied, undone]
    default: applied
  report:
    description:
      - The return value of M(meshops.istio_precheck.localhost_listener_info) today.
      - Required if O(state=applied).
    type: dict
  files_dir:
    description:
      - A directory on the controller. Its files V(*.yaml) and V(*.yml), and those in its directories, hold the Sidecars to apply.
      - They have been reviewed. The module refuses a file that lacks a part of the plan in O(report), or has no part in it.
      - If not given, the module applies the plan in O(report).
    type: path
  files:
    description:
      - The same as O(files_dir), as data.
      - Mutually exclusive with O(files_dir).
    type: list
    elements: dict
    suboptions:
      path:
        description:
          - The name of the file in messages.
        type: str
        required: true
      content:
        description:
          - Its text, YAML.
        type: str
        required: true
  undo_file:
    description:
      - Where to record the previous Sidecars. The file outlives several runs, and one undo takes all of them back.
      - It is for one cluster, whose address it holds, and readable by its owner only.
    type: path
    required: true
requirements:
  - python >= 3.10
  - kubernetes >= 24.2.0
  - PyYAML
notes:
  - The user needs the verbs V(get), V(create) and V(patch) on sidecars.networking.istio.io, and V(update) and V(delete) for O(state=undone).
seealso:
  - module: meshops.istio_precheck.localhost_listener_info
"""

EXAMPLES = r"""
- name: Look for ports that listen on localhost only
  meshops.istio_precheck.localhost_listener_info:
    context: production
  register: listeners

- name: Apply the reviewed Sidecars
  meshops.istio_precheck.sidecar_remediation:
    context: production
    report: "{{ listeners }}"
    files_dir: sidecars
    undo_file: /var/lib/precheck/undo.production.json

- name: Take them back
  meshops.istio_precheck.sidecar_remediation:
    context: production
    state: undone
    undo_file: /var/lib/precheck/undo.production.json
"""

RETURN = r"""
sidecars:
  description: The Sidecars that were changed, or would be in check mode.
  returned: success
  type: list
  elements: dict
  sample: [{"action": "create", "sidecar": "shop/precheck-deployment-netcat"}]
"""

import copy
import typing as t

from ansible_collections.kubernetes.core.plugins.module_utils.args_common import AUTH_ARG_SPEC
from ansible_collections.kubernetes.core.plugins.module_utils.k8s.core import AnsibleK8SModule

from ansible_collections.meshops.istio_precheck.plugins.module_utils._apply.apply import (
    Done,
    RemedyError,
    apply,
    take_back,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._apply.manifests import (
    ManifestError,
    check_manifest,
    sidecar_manifests,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.connect import connect
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.errors import GatherError
from ansible_collections.meshops.istio_precheck.plugins.module_utils._module import SecretKeepingModule, stoppable


def argument_spec() -> dict[str, t.Any]:
    spec = copy.deepcopy(AUTH_ARG_SPEC)
    spec.update(
        state={"type": "str", "choices": ["applied", "undone"], "default": "applied"},
        report={"type": "dict"},
        files_dir={"type": "path"},
        files={
            "type": "list",
            "elements": "dict",
            "options": {"path": {"type": "str", "required": True}, "content": {"type": "str", "required": True}},
        },
        undo_file={"type": "path", "required": True},
    )
    return spec


class Quiet(SecretKeepingModule):
    LONG = ("files", "report")


def wanted(params: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    """The Sidecars to apply. Raises ManifestError."""
    if params["files"] is not None:
        return sidecar_manifests(params["files"])
    planned = [remediation["manifest"] for remediation in params["report"]["remediations"]]
    for manifest in planned:
        check_manifest(manifest, "today's plan")
    return planned


def changes(module: AnsibleK8SModule) -> list[Done]:
    """Makes them, or has them tried. Raises GatherError, ManifestError and RemedyError."""
    params, undo = module.params, module.params["state"] == "undone"
    manifests = [] if undo else wanted(params)
    with connect(module, 10) as (api, _run):
        if undo:
            return take_back(api, params["undo_file"], module.check_mode)
        return apply(api, manifests, params["report"], params["undo_file"], module.check_mode)


def shown(done: Done) -> dict[str, str]:
    """One change for `--diff`; the YAML is ASCII, so that no terminal obeys anything in it."""
    import yaml

    before, after = (
        yaml.safe_dump(each, default_flow_style=False) if each else "" for each in (done.before, done.after)
    )
    return {
        "before_header": f"Sidecar {done.name} as it is",
        "after_header": f"Sidecar {done.name}: {done.action}",
        "before": before,
        "after": after,
    }


def main() -> None:
    with stoppable("see undo_file for what was there"):
        module = AnsibleK8SModule(
            module_class=Quiet,
            argument_spec=argument_spec(),
            mutually_exclusive=[("files", "files_dir")],
            required_if=[("state", "applied", ["report"])],
            supports_check_mode=True,
            check_k8s=False,
            check_pyyaml=False,
        )
        module.requires("kubernetes", "24.2.0", reason="to ask a cluster")
        module.requires("pyyaml")
        if module.params["files_dir"]:
            module.fail_json(msg="files_dir: only the action plugin of this module reads it, on the controller")
        try:
            done = changes(module)
        except (GatherError, ManifestError) as error:
            module.fail_json(msg=f"Nothing was changed: {error}")
        except RemedyError as error:
            module.fail_json(msg="\n".join(error.lines), changed=error.changed)
        diff = {"diff": [shown(each) for each in done]} if module._diff else {}
        module.exit_json(
            changed=bool(done),
            sidecars=[{"action": each.action, "sidecar": each.name} for each in done],
            **diff,
        )


if __name__ == "__main__":
    main()
