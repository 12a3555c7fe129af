# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Takes a picture of the HTML report on a recorded cluster, by default the one of the demo.

    PYTHONPATH=.venv/tree .venv/bin/python tests/browser/screenshot.py PICTURE.png [--snapshot RECORD.json] [--dark] [--height 1000]

`make browser` installs what it needs.
"""

from __future__ import annotations

import argparse
import pathlib

from playwright.sync_api import sync_playwright

from ansible_collections.meshops.istio_precheck.plugins.module_utils._evaluate import evaluate
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model import snapshot as _snapshot
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.options import Options
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._reports import formats as _formats
from ansible_collections.meshops.istio_precheck.tests.browser import chromium
from ansible_collections.meshops.istio_precheck.tests.helpers import cluster, sample

ROOT = pathlib.Path(__file__).resolve().parents[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture")
    parser.add_argument("--snapshot", default=str(ROOT / "playbooks" / "files" / "demo_before.json"))
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--width", type=int, default=1100)
    parser.add_argument("--height", type=int, default=1000)
    given = parser.parse_args()
    snapshot = _snapshot.read(given.snapshot)
    seen = snapshot["metadata"]
    about = {
        "cluster": "production",
        "passed": False,
        "fail_on": sample.FAIL_ON,
        "taken_at": seen.get("takenAt"),
        "server_version": seen.get("serverVersion"),
    }
    text = _formats.report_as(
        evaluate(snapshot, Options(cluster.TODAY)), "html", {**about, "server": seen.get("server")}
    )
    with sync_playwright() as playwright:
        browser = chromium.launch(playwright)
        page = browser.new_page(
            viewport={"width": given.width, "height": given.height},
            device_scale_factor=2,
            color_scheme="dark" if given.dark else "light",
        )
        page.set_content(text)
        page.screenshot(path=given.picture)
        browser.close()


if __name__ == "__main__":
    main()
