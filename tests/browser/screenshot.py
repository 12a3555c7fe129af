# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Takes a picture of the HTML report on a recorded cluster, by default the one of the demo, or on a made one.

    PYTHONPATH=.venv/tree .venv/bin/python tests/browser/screenshot.py PICTURE.png [--snapshot RECORD.json] [--sample large] [--dark] [--height 1000]

`make browser` installs what it needs.
"""

from __future__ import annotations

import argparse
import pathlib

from playwright.sync_api import sync_playwright

from ansible_collections.meshops.istio_precheck.plugins.module_utils._evaluate import evaluate, versions
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.cluster import read_cluster
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model import snapshot as _snapshot
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.options import Options
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._reports import formats as _formats
from ansible_collections.meshops.istio_precheck.tests.browser import chromium
from ansible_collections.meshops.istio_precheck.tests.helpers import cluster, sample

ROOT = pathlib.Path(__file__).resolve().parents[2]


SAMPLES = {
    "everything": sample.everything,
    "large": lambda: sample.large(300, 60),
    "many": lambda: sample.large(300, 8),
    "unread": sample.unread,
}


def reported(given: argparse.Namespace) -> tuple[dict, str, dict]:
    if given.sample:
        return SAMPLES[given.sample](), "html", sample.about(istio_versions=["1.9.9"], target_version="1.24")
    snapshot = _snapshot.read(given.snapshot)
    seen = snapshot["metadata"]
    options = Options(cluster.TODAY)
    about = {
        "cluster": "production",
        "passed": False,
        "fail_on": sample.FAIL_ON,
        "taken_at": seen.get("takenAt"),
        "server_version": seen.get("serverVersion"),
        "server": seen.get("server"),
        "istio_versions": versions(read_cluster(snapshot), options),
    }
    return evaluate(snapshot, options), "html", about


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture")
    parser.add_argument("--snapshot", default=str(ROOT / "playbooks" / "files" / "demo_before.json"))
    parser.add_argument("--sample", choices=sorted(SAMPLES))
    parser.add_argument("--unfold", type=int, default=0, help="so many of the rows of ports")
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--width", type=int, default=1100)
    parser.add_argument("--height", type=int, default=1000)
    parser.add_argument("--scale", type=float, default=2)
    given = parser.parse_args()
    text = _formats.report_as(*reported(given))
    with sync_playwright() as playwright:
        browser = chromium.launch(playwright)
        page = browser.new_page(
            viewport={"width": given.width, "height": given.height},
            device_scale_factor=given.scale,
            color_scheme="dark" if given.dark else "light",
        )
        page.set_content(text)
        for row in page.locator(".ns .row").all()[: given.unfold]:
            row.click()
        page.evaluate("scrollTo(0, 0)")
        page.screenshot(path=given.picture)
        browser.close()


if __name__ == "__main__":
    main()
