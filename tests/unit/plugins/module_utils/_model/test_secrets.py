# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import time

import pytest

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.secrets import (
    passwords,
    without_user,
    without_users,
)

URLS = [
    ("https://h:6443/path", "https://h:6443/path", ""),
    ("https://jane:CANARY@h:6443/path", "https://h:6443/path", "CANARY"),
    ("https://jane:CAN@ARY@h", "https://h", "CAN@ARY"),
    ("https://jane:CAN/ARY@h", "https://h", "CAN/ARY"),
    ("https://jane:CAN://ARY@h", "https://h", "CAN://ARY"),
    ("https://jane@h", "https://h", ""),
    ("jane:CANARY@proxy:3128", "proxy:3128", "CANARY"),
    ("jane:CAN://ARY@proxy:3128", "proxy:3128", "CAN://ARY"),
    ("proxy:3128", "proxy:3128", ""),
    ("", "", ""),
]


@pytest.mark.parametrize("url, shown, password", URLS)
def test_no_url_keeps_its_user(url, shown, password):
    assert without_user(url) == shown
    assert without_user(shown) == shown
    for name in ("host", "proxy"):
        assert passwords({name: url}) == ({password} if password else set())


@pytest.mark.parametrize("url, shown, password", [each for each in URLS if "://" in each[0][:8]])
def test_nor_does_a_text_that_quotes_it(url, shown, password):
    assert without_users(f"'{url}' cannot be reached: {url}") == f"'{shown}' cannot be reached: {shown}"
    assert (
        without_users("jane@example.org, docker.io/istio/pilot@sha256:1")
        == "jane@example.org, docker.io/istio/pilot@sha256:1"
    )


@pytest.mark.parametrize(
    "text", ["://" * 1_000_000, "://a" * 1_000_000 + "@h", "@" * 3_000_000 + "://", "a://b@c " * 400_000]
)
def test_no_text_of_a_server_keeps_it_busy(text):
    before = time.process_time()
    without_users(text)
    assert time.process_time() - before < 10
