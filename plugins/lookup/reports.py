# -*- coding: utf-8 -*-
# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = """
name: reports
short_description: Read the JSON reports in a directory
version_added: 1.0.0
author:
  - The meshops.istio_precheck authors (@meshops)
description:
  - Reads each C(*.json) of a directory on the controller, except C(*.istio.json), and checks that it is a report as the role
    P(meshops.istio_precheck.check_listeners#role) writes it.
  - If a cluster, by its name and server, has several reports, the newest counts, and the result names the others.
  - The result names a file that is no report, with the reason; the lookup reads the others all the same.
options:
  _terms:
    description: A directory.
    type: list
    elements: path
    required: true
"""

EXAMPLES = """
- name: Name the files that are no reports
  ansible.builtin.debug:
    msg: "{{ item.path }}: {{ item.reason }}"
  loop: "{{ lookup('meshops.istio_precheck.reports', '/tmp/reports').left_out }}"
"""

RETURN = """
_raw:
  description: One dictionary for each directory.
  type: list
  elements: dict
  contains:
    reports:
      description: The reports, by the name of the cluster; of one name and server the newest.
      type: list
      elements: dict
    older:
      description: The files that hold another report of the same cluster, no newer, each with C(path) and C(reason).
      type: list
      elements: dict
    left_out:
      description: The files that are no reports, each with C(path) and C(reason).
      type: list
      elements: dict
"""

import pathlib
import typing as t

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._reports.document import read


class LookupModule(LookupBase):
    def run(self, terms: list[str], variables: dict[str, t.Any] | None = None, **kwargs: t.Any) -> list[t.Any]:
        self.set_options(var_options=variables, direct=kwargs)
        try:
            return [read(pathlib.Path(term).expanduser()) for term in terms]
        except OSError as error:
            raise AnsibleLookupError(f"{error.filename} cannot be read: {error.strerror}") from error
