# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module on a cluster of thousands of pods: it finds all there is, with as few commands as can be. How fast it is, `make bench` says."""

from __future__ import annotations

import fleet


def ids(ran):
    return [finding["id"] for finding in ran.result["findings"]]


def proxies(ran):
    """How many proxies are asked: one for each pod of a finding that was read."""
    return sum(len(finding["pods"]) for finding in ran.result["findings"])


def test_every_pod_is_read_with_one_command_and_the_proxy_of_a_finding_with_another(large, whole):
    assert (whole.result["summary"]["pods_read"], whole.execs, whole.result["unchecked"]) == (
        large.fleet.size,
        large.fleet.size + proxies(whole),
        [],
    )


def test_proxies_are_asked_of_the_pods_of_findings_alone(large, whole):
    assert whole.asked == proxies(whole) and whole.execs == large.fleet.size + whole.asked
    assert {finding["delivery"]["today"]["by"] for finding in whole.result["findings"]} == {"proxy"}


def test_exactly_the_workloads_that_listen_on_localhost_are_found(large, whole):
    assert ids(whole) == large.fleet.findings() and ids(whole)
    assert {finding["impact"] for finding in whole.result["findings"]} == {"breaks_on_upgrade"}
    assert {len(finding["pods"]) for finding in whole.result["findings"]} == {fleet.REPLICAS}


def test_a_second_run_says_the_same(run, whole):
    again = run().result
    for report in (whole.result, again):
        report["summary"].pop("seconds", None)
        report["cluster"].pop("taken_at", None)
    assert again == whole.result


def test_with_one_replica_each_template_is_read_once(large, run, whole):
    sampled = run(replicas="one")
    assert (sampled.execs, ids(sampled)) == (large.fleet.services + len(ids(sampled)), ids(whole))


def test_with_one_namespace_the_others_are_left_alone(large, run):
    namespace = large.fleet.namespaces[0]
    some = run(namespaces=[namespace])
    assert (some.execs, ids(some)) == (fleet.PODS_IN_NAMESPACE + proxies(some), large.fleet.findings(namespace))


def test_by_node_each_node_is_asked_once_and_the_same_is_found(large, run):
    namespace = large.fleet.namespaces[0]
    some = run(namespaces=[namespace], socket_source="node", node_probe_image="any", delivery_source="rule")
    assert (some.execs, ids(some), some.result["unchecked"]) == (
        fleet.NODES_OF_NAMESPACE,
        large.fleet.findings(namespace),
        [],
    )
