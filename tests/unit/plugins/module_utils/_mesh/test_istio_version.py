# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which Istio it is, by all that says something of it."""

from __future__ import annotations

import pytest

from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.istio_version import known
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.istio_values import (
    as_version,
    of_service_mesh,
)

MESH = "maistra-version"


def image(text):
    return {"by": "image", "text": text}


def label(text, name="app.kubernetes.io/version", by="pod"):
    return {"by": by, "label": name, "text": text}


def resource(text):
    return {"by": "resource", "text": text}


@pytest.mark.parametrize(
    "text", ["0.8", "2.1.6", "2021.9", "3.2.0", "9.4", "v2.1", "2024.11-prod", "latest", "", None, "1", "11.2"]
)
def test_there_is_no_other_istio_than_1(text):
    assert as_version(text) is None


@pytest.mark.parametrize(("text", "version"), [("2.0.11", (1, 6)), ("v2.6", (1, 20)), ("2.7", None), ("x", None)])
def test_the_numbers_of_service_mesh_are_those_of_the_table(text, version):
    assert of_service_mesh(text) == version


KNOWN = {
    "a tag": ([image("1.9.9")], False, ((1, 9, 9), "image", "")),
    "a label": ([label("1.24.3")], False, ((1, 24, 3), "pod", "")),
    "a tag that says nothing, and a label": ([image("2024.11-prod"), label("1.24.3")], False, ((1, 24, 3), "pod", "")),
    "a tag and a label": ([image("v1.27.7-1"), label("1.27.7")], False, ((1, 27, 7), "image", "")),
    "a tag and a label that says less": ([image("1.27.7"), label("1.27")], False, ((1, 27), "image", "")),
    "a rebuilt patch": ([image("1.20.8"), label("1.20.6")], False, ((1, 20), "image", "")),
    "one that begins alike in text only": ([image("1.2.0"), label("1.20.0")], False, None),
    "two minds": ([image("1.9.9"), label("1.20.8", by="deployment")], False, None),
    "the second of three": ([image("1.9.9"), label("1.20.8"), label("1.9.9", by="deployment")], False, None),
    "a number of nobody": ([image("3.2.0")], False, None),
    "a number of Service Mesh where none is shown": ([image("2.1.1")], False, None),
    "one of Service Mesh": ([image("2.1.1")], True, ((1, 9), "image", "2.1")),
    "two of Service Mesh": ([image("2.1.1"), label("2.1.6", MESH)], True, ((1, 9), "image", "2.1")),
    "two of Service Mesh that differ": ([image("2.1.1"), label("2.2.0", MESH)], True, None),
    "a label that only Service Mesh has": ([label("1.1.18", MESH)], False, ((1, 4), "pod", "1.1")),
    "an operator's word": ([resource("2.4.1")], True, ((1, 16), "resource", "2.4")),
    "an Istio in a Service Mesh": ([image("1.12.9-ossm"), label("2.2.3", MESH)], True, ((1, 12), "image", "2.2")),
    "a Service Mesh after the table": ([image("2.9.0")], True, None),
    "nothing": ([], False, None),
}


@pytest.mark.parametrize("case", KNOWN)
def test_what_says_a_version_agrees_or_it_is_not_known(case):
    versions, maistra, wanted = KNOWN[case]
    found = known(versions, maistra)
    assert (found.version, found.by, found.service_mesh) == (wanted or (None, "", ""))
    assert [each["text"] in said for each, said in zip(versions, found.said)] == (
        [] if wanted else [True] * len(versions)
    )
