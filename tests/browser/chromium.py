# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Chromium of this machine, led by Playwright."""

from __future__ import annotations

import shutil

QUIET = (
    *(
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
    ),
    "--disable-sync",
)
"""root runs no sandbox; the rest keeps the browser from talking to anyone."""


def path() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def launch(playwright):
    """A headless browser with a profile of its own, which is gone afterwards."""
    return playwright.chromium.launch(executable_path=path(), args=list(QUIET))
