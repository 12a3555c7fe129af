# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Stands in for the script of this name that ansible-test downloads: the pip of the Python, then the one asked for."""

from __future__ import annotations

import subprocess
import sys

REFUSED = ("--no-setuptools", "--no-wheel")  # get-pip's own, which pip does not know

subprocess.run([sys.executable, "-m", "ensurepip", "--default-pip"], check=True, stdout=subprocess.DEVNULL)
arguments = [each for each in sys.argv[1:] if each not in REFUSED]
sys.exit(subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *arguments], check=False).returncode)
