#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: role_variables
short_description: Check and convert the variables of a role of this collection
version_added: 1.0.0
author:
  - The meshops.istio_precheck authors (@meshops)
description:
  - For the roles of this collection alone. It checks the variables of the calling role against its C(meta/argument_specs.yml), and
    returns their values, so that C(a,b) becomes a list if the variable is a list.
  - It never fails. Its result names the problem.
  - Its result may change at any time.
extends_documentation_fragment:
  - meshops.istio_precheck._attributes
  - meshops.istio_precheck._attributes.info_module
attributes:
  check_mode:
    support: full
    details:
      - This action does not modify state.
options: {}
"""

EXAMPLES = r"""
- name: Check the variables of this role
  meshops.istio_precheck.role_variables:
  register: __door
"""

RETURN = r"""
problem:
  description: The problem with the variables; empty if they are valid.
  returned: always
  type: str
  sample: ""
variables:
  description: The values by the names of the variables, except for those of the connection.
  returned: always
  type: dict
  sample: {"merge_reports_formats": ["html"]}
"""

# The work is done by the action plugin of the same name.
