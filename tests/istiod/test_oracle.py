# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""istiod as oracle: where the rule says that connections go against what istiod's own generator pushed."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.cluster import read_cluster
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.control_plane import ControlPlane
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.delivery import Delivery
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.istio_values import as_version
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.snapshot import API_VERSION, KIND, check
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.pods import Mesh, by_port
from ansible_collections.meshops.istio_precheck.tests.helpers.cluster import exposed_in
from ansible_collections.meshops.istio_precheck.tests.istiod.pushed import (
    CLOSED,
    Case,
    End,
    Pushed,
    Recording,
    cases,
    recordings,
)

ENV = {
    "default": {},
    "optout": {"PILOT_ENABLE_INBOUND_PASSTHROUGH": "false"},
    "merge": {"PILOT_ALLOW_SIDECAR_SERVICE_INBOUND_LISTENER_MERGE": "true"},
    "dual": {"ISTIO_DUAL_STACK": "true"},
}
UNDECLARED = 7777
"""A port that no object names."""


def snapshot(case: Case, recording: Recording) -> dict[str, t.Any]:
    """The cluster of the case under the istiod of the recording, as the product records one."""
    pods = [_injected(each, case["mode"], ENV[recording.env]) for each in case["objects"] if each["kind"] == "Pod"]
    kinds = {kind: [each for each in case["objects"] + case["configs"] if each["kind"] == kind] for kind in KINDS}
    plane = {
        "namespace": "istio-system",
        "revision": "default",
        "version": recording.version,
        "env": ENV[recording.env],
        "meshConfig": {"rootNamespace": "istio-system", **case["mesh"]},
    }
    return check(
        {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {},
            "pods": pods,
            "istio": {
                "rootNamespace": "istio-system",
                "controlPlanes": [plane],
                "meshConfig": {},
                "variables": [name for env in ENV.values() for name in env],
            },
            "socketTables": [],
            "unread": [],
            **{field: kinds[kind] for kind, field in KINDS.items()},
        }
    )


KINDS = {
    "Service": "services",
    "EndpointSlice": "endpointSlices",
    "Sidecar": "sidecars",
    "ServiceEntry": "serviceEntries",
}


def _injected(pod: dict[str, t.Any], mode: str, env: dict[str, str]) -> dict[str, t.Any]:
    proxy = {
        "name": "istio-proxy",
        "image": "docker.io/istio/proxyv2:1.20.8",
        "args": ["proxy", "sidecar"],
        "env": [{"name": name, "value": value} for name, value in env.items()],  # as proxyMetadata gives it
    }
    metadata = {**pod["metadata"], "annotations": {"sidecar.istio.io/interceptionMode": mode}}
    return {**pod, "metadata": metadata, "spec": {**pod["spec"], "containers": [*pod["spec"]["containers"], proxy]}}


class Compared(t.NamedTuple):
    """One connection of one case: where the rule says that it goes, before or after the upgrade to this recording, and where the oracle does."""

    recording: str
    case: str
    when: str
    asked: str
    port: int
    rule: End
    oracle: frozenset[End]
    targets: tuple[str, ...]
    """The hosts of the Services that istiod counts the pod among."""

    @property
    def old(self) -> bool:
        """Whether it is of an istiod up to 1.10."""
        return self.recording.startswith(("1.9.", "1.10."))

    @property
    def tproxy(self) -> bool:
        return cases()[self.case]["mode"] == "TPROXY"

    @property
    def differs(self) -> bool:
        return self.oracle != {self.rule}


def _end(found: Delivery, asked: str) -> End:
    if found.kind in ("unix", "closed", "unknown"):
        return End(found.kind)
    return End(found.kind, found.destination(asked), found.port)


def compare(name: str, today: Recording, after: Recording) -> t.Iterator[Compared]:
    case = cases()[name]
    pushed = [
        (which, Pushed(case, which.by_case[name]), when)
        for which, when in ((today, "today"), (after, "after"))
        if name in which.by_case and "clusters" in which.by_case[name]
    ]
    pushed = [each for each in pushed if each[1].tells]
    if not pushed:
        return
    seen = snapshot(case, today)
    cluster = read_cluster(seen)
    pods = cluster.pods
    mesh = Mesh(cluster, as_version(after.version))
    exposed = by_port(exposed_in(seen).by_pod.get(pods[0].key, ()))
    for port in sorted({*exposed, *_listed(case), UNDECLARED}):
        for asked in pods[0].ips:
            found = dict(zip(("today", "after"), mesh.deliveries(pods[0], port, exposed.get(port, ()), pods[0])))
            for which, envoy, when in (each for each in pushed if each[1].tells_of(asked)):
                yield Compared(
                    str(which),
                    name,
                    when,
                    asked,
                    port,
                    _end(found[when].met(asked, port, ()), asked),
                    envoy.ends(asked, port),
                    tuple(which.by_case[name].get("targets") or ()),
                )


def _listed(case: Case) -> set[int]:
    return {
        entry["port"]["number"]
        for config in case["configs"]
        if config["kind"] == "Sidecar"
        for entry in config["spec"].get("ingress") or ()
    }


def neighbours() -> t.Iterator[tuple[Recording, Recording]]:
    """Each recording once as today's istiod and once as that after the upgrade from another with its environment."""
    for env in ENV:
        same = [each for each in recordings() if each.env == env]
        yield from zip(same, [*same[1:], same[0]])


def everything() -> t.Iterator[Compared]:
    for today, after in neighbours():
        for name in cases():
            yield from compare(name, today, after)


class Known(t.NamedTuple):
    """Why some comparisons differ, and which."""

    reason: str
    of: t.Callable[[Compared], bool]


KNOWN = (
    Known(
        "The memory store of istiod's fake does not filter by revision; a real one does, which tests/mesh shows.",
        lambda c: c.case == "sidecar-rev-label",
    ),
    Known(
        "Up to 1.10 the fake loses the event of a pod, and then knows no target.",
        lambda c: c.case.startswith("serviceentry") and c.old and not c.targets,
    ),
    Known(
        "In TPROXY mode net.ipv4.conf.*.route_localnet of the pod decides, which istiod does not know.",
        lambda c: c.tproxy and c.rule == End("unknown") and {each.address for each in c.oracle} == {"127.0.0.1"},
    ),
    Known(
        "In TPROXY mode Envoy connects from the client's address, and so to none of the other family.",
        lambda c: c.tproxy and c.rule == CLOSED and all((":" in each.address) != (":" in c.asked) for each in c.oracle),
    ),
)
"""Every difference that is known, each with its reason."""


@pytest.fixture(scope="module")
def compared() -> list[Compared]:
    return list(everything())


def test_the_rule_says_what_istiod_pushed_but_for_what_is_known(compared, capsys):
    differing = [each for each in compared if each.differs]
    unknown = [each for each in differing if not any(known.of(each) for known in KNOWN)]
    with capsys.disabled():
        print(
            f"\nistiod oracle\n  {len(compared):8,} deliveries\n  {len(differing):8,} differences, {len(unknown)} NOT KNOWN"
        )
        for known in KNOWN:
            print(f"  {sum(map(known.of, differing)):8,} differences: {known.reason}")
    assert not unknown, "\n".join(map(str, unknown[:20]))


def test_what_is_known_to_differ_still_does(compared):
    stale = [known.reason for known in KNOWN if not any(each.differs and known.of(each) for each in compared)]
    assert not stale


def test_every_case_of_every_recording_is_compared_or_was_refused(compared):
    seen = {(each.recording, each.case) for each in compared}
    for recording in recordings():
        for name, record in recording.by_case.items():
            assert (str(recording), name) in seen or "invalid" in record or "listeners" not in record, (recording, name)


@pytest.mark.parametrize(
    "wrong",
    [
        {"default_delivery": lambda plane: "localhost"},
        {"default_delivery": lambda plane: "pod_ip"},
        {"passthrough_off": property(lambda plane: False)},
        {"localhost_policy": property(lambda plane: False)},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_rule_that_is_wrong_is_noticed(wrong, monkeypatch):
    """So that the comparison cannot go blind."""
    for name, instead in wrong.items():
        monkeypatch.setattr(ControlPlane, name, instead)
    few = [name for name in cases() if name.startswith(("v4/REDIRECT", "sidecar-other"))]
    assert any(
        each.differs and not any(known.of(each) for known in KNOWN)
        for today, after in neighbours()
        for name in few
        for each in compare(name, today, after)
    )
