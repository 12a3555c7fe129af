# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Envoy and the kernel as oracle: what the collection says of random workloads against what a real connection finds, today and after the upgrade.

Needs root, Linux, x86-64 and iptables. All traffic stays in network namespaces without a way out. ENVOY_ORACLE_DRAWS and ENVOY_ORACLE_SEED change how many
workloads are drawn, and which.
"""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections import Counter

import pytest

from ansible_collections.meshops.istio_precheck.tests.envoy import kinds
from ansible_collections.meshops.istio_precheck.tests.envoy.compare import Comparison, Difference
from ansible_collections.meshops.istio_precheck.tests.envoy.draws import PORTS, draw
from ansible_collections.meshops.istio_precheck.tests.envoy.known import KNOWN, PORT, Known, case
from ansible_collections.meshops.istio_precheck.tests.envoy.pods import Kind, Pod

DRAWS = int(os.environ.get("ENVOY_ORACLE_DRAWS", "600"))
SEED = int(os.environ.get("ENVOY_ORACLE_SEED", "143"))
TOGETHER = 40
FIRST_PORT = 2000
LAST_PORT = 30000  # below those that connections are made from


def drawn(pod: Pod, seed: str, count: int, first: int = FIRST_PORT) -> Comparison:
    rng = random.Random(seed)
    return Comparison(pod, [draw(rng, pod.kind, first + number * PORTS, str(pod.folder)) for number in range(count)])


def known(difference: Difference) -> str:
    return next((each.name for each in KNOWN if each.of(difference)), "")


def test_what_is_said_of_random_workloads_is_what_a_connection_finds(pod_of, capsys):
    counted: Counter[str] = Counter()
    found: list[Difference] = []
    started = time.monotonic()
    for kind, percent in kinds.KINDS.items():
        left, first = DRAWS * percent // 100, FIRST_PORT
        while left > 0:
            count = min(left, TOGETHER)
            with drawn(pod_of(kind), f"{SEED} {kind} {left}", count, first) as comparison:
                found += comparison.differences()
            counted += comparison.counted
            counted["workloads"] += count
            left, first = left - count, first + count * PORTS
            first = first if first + TOGETHER * PORTS < LAST_PORT else FIRST_PORT
    unknown = [each for each in found if not known(each)]
    with capsys.disabled():
        print(f"\nenvoy oracle: seed {SEED}")
        for what, count in sorted(counted.items()):
            print(f"  {count:8,} {what}")
        for what, count in sorted(Counter(known(each) or "NOT KNOWN" for each in found).items()):
            print(f"  {count:8,} differences: {what}")
        print(f"  {time.monotonic() - started:8.1f} seconds")
    assert not unknown, f"{len(unknown)} differences, seed {SEED}:\n" + "\n".join(map(str, unknown[:10]))
    least = {"verdicts": 2, "cured": 0.6, "left alone": 2, "binds to change": 0.2, "verdicts: breaks_on_upgrade": 0.05}
    for what, share in least.items():
        assert counted[what] >= share * DRAWS, what


@pytest.mark.parametrize("entry", KNOWN, ids=[entry.name for entry in KNOWN])
def test_what_is_known_to_differ_still_does(entry: Known, pod_of):
    with Comparison(pod_of(entry.example.kind), [entry.example]) as comparison:
        found = comparison.differences()
    assert any(entry.of(each) for each in found), f"take it out of the list: {entry.reason}"


# ---------------------------------------------------------------------------------------------------------------------
# So that the comparison cannot go blind

UTILS = "ansible_collections.meshops.istio_precheck.plugins.module_utils."


def endpoint(form):
    return lambda port, *_more: f"{form}:{port.number}" if form else ""


WRONG = {
    "every istiod delivers to localhost": {
        "_mesh.control_plane.ControlPlane.default_delivery": lambda _plane: "localhost"
    },
    "every istiod delivers to the pod IP": {
        "_mesh.control_plane.ControlPlane.default_delivery": lambda _plane: "pod_ip"
    },
    "the opt-out is not seen": {"_mesh.control_plane.ControlPlane.passthrough_off": property(lambda _plane: False)},
    "LOCALHOST is not seen": {"_mesh.control_plane.ControlPlane.localhost_policy": property(lambda _plane: False)},
    "Sidecars are never merged": {"_mesh.control_plane.ControlPlane.merges_ingress": property(lambda _plane: False)},
    "Sidecars are always merged": {"_mesh.control_plane.ControlPlane.merges_ingress": property(lambda _plane: True)},
    "no Sidecar lists a port": {"_mesh.delivery.ingress_entry": lambda *_more: None},
    "no Sidecar is in effect": {"_mesh.sidecars.Sidecars.effective": lambda *_more, **_how: None},
    "localhost is always 127.0.0.1": {"_mesh.delivery.localhost_of": lambda _ips: "127.0.0.1"},
    "[::1] is always dialled": {"_mesh.default_endpoint.dials_ipv6_localhost": lambda _version: True},
    "[::1] is never dialled": {"_mesh.default_endpoint.dials_ipv6_localhost": lambda _version: False},
    "no pod has ISTIO_DUAL_STACK": {"_mesh.delivery.redirects_both": lambda _pod: False},
    "no istiod has ISTIO_DUAL_STACK": {"_mesh.control_plane.ControlPlane.dual_stack": property(lambda _plane: False)},
    "the proxy dials from every address": {"_mesh.delivery.within_reach": lambda found, *_more: found},
    "every port is intercepted": {"_mesh.pod.Interception.takes": lambda *_more: True},
    "no port is intercepted": {"_mesh.pod.Interception.takes": lambda *_more: False},
    "clients ask at the first address": {"_rule.pods.asked_for": lambda pod, _exposures: list(pod.ips[:1])},
    "the best address counts": {
        "_rule.judge._rank": lambda verdict: (
            -("ok", "remediated", "not_listening", "finding").index(verdict.outcome) * -1
        )
    },
    "any listener on the port accepts": {
        "_rule.judge.accepts": lambda listeners, port, *_more: any(each.port == port for each in listeners)
    },
    "nothing is on localhost": {"_rule.judge.is_loopback": lambda _address: False},
    "every istiod takes every endpoint": {"_remedy.chosen_endpoint.accepted": lambda *_more: True},
    "127.0.0.1 cures every port": {"_remedy.plan.cure": endpoint("127.0.0.1")},
    "0.0.0.0 cures every port": {"_remedy.plan.cure": endpoint("0.0.0.0")},
    "nothing cures a port": {"_remedy.plan.cure": lambda *_more: None},
    "the others are listed without endpoint": {"_remedy.plan.keep": endpoint("")},
    "the others are listed at 127.0.0.1": {"_remedy.plan.keep": endpoint("127.0.0.1")},
    "the others are not listed": {"_remedy.plan._ingress": None},
}
"""Rules that are wrong."""


def only_the_cured(original):
    def ingress(facts, effective, cures):
        entries, filled = original(facts, effective, cures)
        return [entry for entry in entries if entry["port"].get("number") in cures], filled

    return ingress


SELDOM_DRAWN = case(kinds.V4_FIRST, [(1, 20, 8)], f"[fd00::5]:{PORT}", endpoint=f"[::]:{PORT}", families=("IPv4",))
"""From 127.0.0.6 the proxy cannot connect to fd00::5."""


@pytest.fixture(scope="module")
def few(envoy):
    """Workloads of pods of which no difference is known."""
    chosen: dict[Kind, int] = {kinds.PLAIN: 30, kinds.V6_ALONE: 15, kinds.V4_FIRST: 20, kinds.DUAL_V4_FIRST: 25}
    with contextlib.ExitStack() as stack:
        pods = [(stack.enter_context(Pod(kind, envoy)), count) for kind, count in chosen.items()]
        seldom = stack.enter_context(Pod(kinds.V4_FIRST, envoy))
        yield [
            *(stack.enter_context(drawn(pod, f"wrong {pod.kind}", count)) for pod, count in pods),
            stack.enter_context(Comparison(seldom, [SELDOM_DRAWN])),
        ]


def noticed(few: list[Comparison]) -> list[Difference]:
    return [each for comparison in few for each in comparison.differences() if not known(each)]


def test_the_right_rules_are_not_noticed(few):
    assert not noticed(few)


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_rule_is_noticed(wrong: str, few, monkeypatch):
    for name, instead in WRONG[wrong].items():
        if instead is None:
            from ansible_collections.meshops.istio_precheck.plugins.module_utils._remedy import plan

            instead = only_the_cured(plan._ingress)
        monkeypatch.setattr(f"{UTILS}{name}", instead)
    assert noticed(few)
