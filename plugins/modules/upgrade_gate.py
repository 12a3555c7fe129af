#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: upgrade_gate
short_description: The work of the role check_listeners, in one task
version_added: 0.1.0
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
verdict:
  description: The findings, a line each; if the gate is open also the sentence that sums them up.
  returned: always
  type: list
  elements: str
  sample: ["1 pod not checked, timeout: shop/web-7d4b9-a"]
"""

# The work is done by the action plugin of the same name.
