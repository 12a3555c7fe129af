# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A real Chromium, and pages served from this machine as well as opened as files."""

from __future__ import annotations

import functools
import http.server
import pathlib
import threading

import pytest
from playwright.sync_api import sync_playwright

from ansible_collections.meshops.istio_precheck.tests.browser import chromium

OUTPUT = pathlib.Path(__file__).resolve().parents[1] / "output" / "browser"


@pytest.fixture(scope="session")
def browser():
    with sync_playwright() as playwright:
        launched = chromium.launch(playwright)
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """A folder and the URL under which it is served. What else is asked for is kept in `asked`."""
    folder = tmp_path_factory.mktemp("site")
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_arguments):
            asked.append(self.path)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


@pytest.fixture()
def opened(browser, site, tmp_path):
    """Opens a page and returns it; at the end there must be no error on its console and no request but for the page itself.

    Wait with `expect`: `wait_for_function` evaluates a string, which the page's Content-Security-Policy forbids.
    """
    folder, url, asked = site
    contexts, complaints, requests = [], [], []

    def open_it(text: str, as_file: bool = False, **context):
        (folder / "page.html").write_text(text, "utf-8")
        contexts.append(browser.new_context(**{"viewport": {"width": 1200, "height": 900}, **context}))
        page = contexts[-1].new_page()
        page.set_default_timeout(60_000)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        asked.clear()
        page.goto((folder / "page.html").as_uri() if as_file else f"{url}/page.html")
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert complaints == []
    assert {
        address.rpartition("/")[2].partition("#")[0] for address in requests if not address.startswith("data:")
    } <= {"page.html"}
    assert set(asked) <= {"/page.html"}


@pytest.fixture(scope="session")
def shots():
    OUTPUT.mkdir(parents=True, exist_ok=True)
    return OUTPUT
