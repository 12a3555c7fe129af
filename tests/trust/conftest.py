# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib
import tempfile

import pytest


@pytest.fixture()
def tmp_path():
    """A short one: Ansible's socket lies in the temporary folder of a play, and the path of a socket has 107 characters at most, unix(7)."""
    with tempfile.TemporaryDirectory(prefix="precheck-trust-", dir="/tmp") as path:
        yield pathlib.Path(path)
