# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The configuration that these tests give to Envoy is the one that istiod's own generator pushed, wherever that was recorded."""

from __future__ import annotations

import typing as t

from ansible_collections.meshops.istio_precheck.tests.envoy.inbound import Inbound, Settings, inbound, valid
from ansible_collections.meshops.istio_precheck.tests.istiod.pushed import Case, Recording, cases, recordings

Shape = tuple[t.Any, ...]


def targets(case: Case, record: dict[str, t.Any]) -> list[int]:
    """The ports of the Services that the generator counted among the pod's."""
    hosts = record.get("targets")
    found = []
    for thing in case["objects"] + case["configs"]:
        if thing["kind"] == "Service":
            host = f"{thing['metadata']['name']}.{thing['metadata']['namespace']}.svc.cluster.local"
            ports = [port["targetPort"] for port in thing["spec"]["ports"]]
        elif thing["kind"] == "ServiceEntry":
            host = thing["spec"]["hosts"][0]
            ports = [port.get("targetPort") or port["number"] for port in thing["spec"]["ports"]]
        else:
            continue
        if hosts is None or host in hosts:
            found += [port if isinstance(port, int) else 8080 for port in ports]
    return found


def made(case: Case, recording: Recording, record: dict[str, t.Any]) -> Inbound:
    return inbound(
        version(recording),
        Settings(
            opt_out=recording.env == "optout",
            localhost=case["mesh"].get("inboundTrafficPolicy", {}).get("mode") == "LOCALHOST",
            merge=recording.env == "merge",
            dual=recording.env == "dual",
        ),
        case["ips"],
        case["mode"],
        targets(case, record),
        ingress(case),
    )


def version(recording: Recording) -> tuple[int, ...]:
    return tuple(map(int, recording.version.split(".")))


def ingress(case: Case) -> list[t.Any]:
    return [
        entry
        for config in case["configs"]
        if config["kind"] == "Sidecar"
        for entry in config["spec"].get("ingress", ())
    ]


def clusters_of(record: dict[str, t.Any]) -> set[Shape]:
    return {
        (
            cluster["name"],
            "" if cluster["type"] == "ORIGINAL_DST" else cluster["endpoints"][0].replace("unix:///", "unix:/"),
            tuple(cluster.get("bind") or ()),
        )
        for cluster in record["clusters"]
    }


def listeners_of(record: dict[str, t.Any]) -> set[Shape]:
    """Without what a plain TCP connection does not meet."""
    return {
        (
            listener["name"],
            (listener["address"], *(listener.get("additional") or ())),
            bool(listener.get("transparent")),
            frozenset(
                (
                    chain.get("port"),
                    tuple(each.replace("::0/0", "::/0") for each in chain.get("prefix", ())),
                    chain["to"],
                )
                for chain in listener["chains"]
                if chain.get("transport") != "tls" and not chain.get("alpn")
            ),
        )
        for listener in record["listeners"]
    }


def both() -> t.Iterator[tuple[Recording, Case, dict[str, t.Any]]]:
    for recording in recordings():
        for name, record in recording.by_case.items():
            # Which Sidecar is in effect, and which of its two ports a ServiceEntry means, is decided before; and up to 1.10 the recorder may lose a target.
            lost = name.startswith("serviceentry") and version(recording) < (1, 11) and not record.get("targets")
            if name not in ("sidecar-rev-label", "serviceentry-port-name") and not lost:
                yield recording, cases()[name], record


def test_an_istiod_refuses_the_endpoints_that_it_refused():
    compared = 0
    for recording, case, record in both():
        if recording.version != "1.14.4":  # recorded without its validation
            compared += 1
            refused = not all(valid(version(recording), entry) for entry in ingress(case))
            assert refused == ("invalid" in record), (recording, case["name"])
    assert compared > 1800


def test_the_clusters_and_chains_are_those_that_istiod_pushed():
    compared, different = 0, []
    for recording, case, record in both():
        if "clusters" not in record:
            continue
        compared += 1
        found = made(case, recording, record)
        if {tuple(cluster) for cluster in found.clusters} != clusters_of(record):
            different.append((str(recording), case["name"], "clusters"))
        shapes = {(each.name, each.addresses, each.transparent, frozenset(each.chains)) for each in found.listeners}
        if "listeners" in record and shapes != listeners_of(record):
            different.append((str(recording), case["name"], "listeners"))
    assert not different, different[:20]
    assert compared > 1800
