#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: upgrade_gate
short_description: The work of the role check_listeners, in one task
version_added: 1.0.0
author:
  - The meshops.istio_precheck authors (@meshops)
description:
  - The inside of the role P(meshops.istio_precheck.check_listeners#role). Use the role. The module takes its options from the variables of the role,
    runs M(meshops.istio_precheck.localhost_listener_info), decides, and writes the files that the variables select.
  - Its result tells whether the gate is open, and the last task of the role fails if it is not. The module itself fails only if an extra variable or a
    parameter of the role replaces a fact that the role sets.
  - Its options and its result may change at any time.
extends_documentation_fragment:
  - meshops.istio_precheck._attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: partial
    details:
      - Reports of a live cluster hold the time at which it was checked.
options:
  snapshot:
    description:
      - The data that tasks have gathered, to evaluate instead of a live cluster.
      - Without it and without O(problem), nothing is checked if RV(by_tasks) is true.
    type: dict
  problem:
    description:
      - Why tasks could not gather. The gate is shut then.
    type: str
seealso:
  - name: Role check_listeners
    description: The gate, with all of its variables.
    link: https://github.com/meshops/istio_precheck/blob/main/roles/check_listeners/README.md
"""

EXAMPLES = r"""
- name: Check the cluster before Istio is upgraded
  ansible.builtin.include_role:
    name: meshops.istio_precheck.check_listeners
"""

RETURN = r"""
by_tasks:
  description: Whether tasks are to gather before anything can be checked. RV(variables) are their options then.
  returned: always
  type: bool
  sample: false
outcome:
  description: The verdict for a summary of many clusters.
  returned: always
  type: dict
  sample: {"passed": false, "checked": true, "verdict": "Do not upgrade yet", "summary": {}}
passed:
  description: Whether the gate is open.
  returned: always
  type: bool
  sample: false
result:
  description: The return value of M(meshops.istio_precheck.localhost_listener_info), and the reason if it failed.
  returned: always
  type: dict
  sample: {}
variables:
  description: The values by the names of the variables, except for those of the connection.
  returned: if tasks are to gather
  type: dict
  sample: {"check_listeners_namespaces": ["shop"]}
verdict:
  description: The findings, a line each; if the gate is open also the sentence that sums them up.
  returned: always
  type: list
  elements: str
  sample: ["1 pod not checked, timeout: shop/web-7d4b9-a"]
"""

# The work is done by the action plugin of the same name. It has this file run where the module localhost_listener_info need not be packed, since the
# collections are there: by the Python that ansible-core runs with, on its own machine. Packing and compiling a hundred files takes longer than most checks.
# ansible-core puts the arguments into a file that holds the next line, and below where it says so. <<INCLUDE_ANSIBLE_MODULE_JSON_ARGS>>
GIVEN: str | bytes = "<<INCLUDE_ANSIBLE_MODULE_COMPLEX_ARGS>>"


def run_in_place(arguments: bytes) -> None:
    import sys

    if not getattr(sys.flags, "safe_path", False):
        del sys.path[0]  # where the play is, or this file: nothing is imported from there
    import importlib
    import json
    import traceback
    import types

    given = json.loads(arguments)
    place = given.pop("in_place")
    sys.path.append(place["ansible"])
    for name, folders in place["packages"].items():
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__path__ = folders
    try:
        taken = json.dumps({"ANSIBLE_MODULE_ARGS": {**given, "_ansible_module_name": place["module"]}}).encode()
        basic = importlib.import_module("ansible.module_utils.basic")
        # The profile is the one by which ansible-core reads what such a file prints.
        vars(basic).update(_ANSIBLE_ARGS=taken, _ANSIBLE_PROFILE="legacy")
        importlib.import_module(place["file"]).main()
    except Exception as error:
        message = f"the module ended with {type(error).__name__}: {error}"
        sys.stdout.write(json.dumps({"failed": True, "msg": message, "exception": traceback.format_exc()}))
        raise SystemExit(1) from None


def main() -> None:
    if isinstance(GIVEN, bytes):
        run_in_place(GIVEN)
        return
    import importlib  # a line that imports the package below by its name has the file packed

    options = {"snapshot": {"type": "dict"}, "problem": {"type": "str"}}
    module = importlib.import_module("ansible.module_utils.basic").AnsibleModule(options, supports_check_mode=True)
    module.fail_json(msg="upgrade_gate is run by the role check_listeners alone")


if __name__ == "__main__":
    main()
