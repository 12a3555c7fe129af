# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib

import pytest

from ansible_collections.meshops.istio_precheck.tests.envoy import pods


@pytest.fixture(scope="session")
def envoy() -> pathlib.Path:
    """The program, with all that a pod needs beside it."""
    why = pods.why_impossible()
    if why:
        pytest.skip(why)
    return pods.envoy()


@pytest.fixture(scope="module")
def pod_of(envoy):
    """A pod of each kind that is asked for, the same for whoever asks."""
    made: dict[pods.Kind, pods.Pod] = {}

    def of(kind: pods.Kind) -> pods.Pod:
        if kind not in made:
            made[kind] = pods.Pod(kind, envoy)
        return made[kind]

    yield of
    for pod in made.values():
        pod.close()
