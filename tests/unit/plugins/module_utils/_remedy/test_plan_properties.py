# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What holds for every plan over every cluster: it lists all, it loses nothing, it is the one in effect, it does what it says and no harm."""

from __future__ import annotations

import copy

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from ansible_collections.meshops.istio_precheck.plugins.module_utils._apply.manifests import sidecar_manifests
from ansible_collections.meshops.istio_precheck.plugins.module_utils._evaluate import evaluated
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.cluster import read_cluster
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.control_plane import ControlPlanes
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.delivery import delivery
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.pod import ISTIO_PORTS, revision
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.sidecars import Sidecars, has_selector
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.istio_values import as_version
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.kube import is_ipv6, matches, read_pods
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.judge import judge
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.options import Options
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.selection import Selection
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.waivers import compile_waivers
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.workloads import Controllers
from ansible_collections.meshops.istio_precheck.plugins.module_utils._sockets.parse import parse
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._sidecars.files import sidecar_files
from ansible_collections.meshops.istio_precheck.tests.helpers.cluster import TODAY, exposed_in
from ansible_collections.meshops.istio_precheck.tests.helpers.remedies import applied, clusters

SELECTIONS = (Selection(), Selection(scope="all"), Selection(label_selectors=("track=stable",)))
WAIVERS = ((), compile_waivers([{"match": "port == `9090`", "reason": "known"}]))


def bad(report):
    """Everything that does not work, by what: a finding's port, or a port on which no connection finds a listener."""
    return {
        (each["namespace"], *each["workload"].values(), each["port"])
        for name in ("findings", "waived", "not_listening")
        for each in report[name]
    }


def crosses(ip, how):
    """Whether the proxy takes the connection over one family and dials the other, which not every istiod and not every mode lets it do."""
    return how.address is not None and is_ipv6(how.address) != is_ipv6(ip)


def reached(snapshot, target, crossing=True):
    """Each exposed port of each pod that was read, at each address, today and after the upgrade, if a connection finds a listener there."""
    cluster = read_cluster(snapshot)
    planes = ControlPlanes(cluster.istio)
    sidecars, exposures = Sidecars(cluster, planes), exposed_in(snapshot).by_pod
    listeners = {each["pod"]: parse(each["format"], each["stdout"]).listeners for each in snapshot["socketTables"]}
    found = set()
    for each in read_pods(snapshot["pods"]):
        name = each.name
        for number in {e.port for e in exposures.get(each.key) or ()} if name in listeners else ():
            for when, plane in enumerate((planes.today(each), planes.after(each, as_version(target)))):
                how = delivery(each, number, sidecars.effective(each, plane), plane)
                found |= {
                    (name, number, ip, when)
                    for ip in each.ips
                    if (crossing or not crosses(ip, how))
                    and judge(listeners[name], number, [ip], how, how).outcome in ("ok", "remediated")
                }
    return found


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(
    clusters(),
    st.sampled_from((None, "1.10", "1.20", "1.21", "1.24")),
    st.sampled_from(SELECTIONS),
    st.sampled_from(WAIVERS),
    st.booleans(),
)
def test_a_plan_lists_all_loses_nothing_is_in_effect_and_does_what_it_says(before, target, selection, waivers, opening):
    options = Options(TODAY, selection, target, tuple(waivers), remediate_unreachable=opening)
    kept = copy.deepcopy(before)
    report, older = evaluated(read_cluster(before), options)
    target = None if older else target  # one that is older than what runs is refused, and all is judged without
    assert before == kept, "evaluate changed its input"
    event(
        f"{min(len(report['remediations']), 2)} remediations, {', '.join(sorted({r['action'] for r in report['remediations']}))}"
    )
    for finding in report["findings"]:
        event(f"{finding['remedy']}")

    # what arrives today and not after the upgrade is a finding; not so strictly where the proxy takes one family and dials the other
    if selection == Selection(scope="all"):
        plain = {each.name for each in read_pods(before["pods"]) if len(each.ips) == 1}
        arriving = reached(before, target)
        breaking = {
            (name, number)
            for name, number, ip, when in reached(before, target, crossing=False)
            if not when and name in plain and (name, number, ip, 1) not in arriving
        }
        assert breaking <= {
            (name, each["port"]) for part in ("findings", "waived") for each in report[part] for name in each["pods"]
        }

    after = applied(before, report["remediations"])
    controllers, exposures = Controllers(read_cluster(before).controllers), exposed_in(before).by_pod
    there, then = read_cluster(before), read_cluster(after)
    planes = ControlPlanes(there.istio)
    in_effect = Sidecars(there, planes), Sidecars(then, ControlPlanes(then.istio))
    oldest = min((plane.version for plane in planes.all if plane.version), default=(1, 99))
    for remediation in report["remediations"]:
        manifest, ids = remediation["manifest"], set(remediation["findings"])
        cured = [finding for finding in report["findings"] if finding["id"] in ids]
        assert len(cured) == len(ids) > 0
        workloads = {(each["namespace"], *each["workload"].values()) for each in cured}
        pods = [
            each
            for each in read_pods(before["pods"])
            if tuple(controllers.workload(each)) in workloads and each.key in exposures
        ]
        numbers = [listener["port"]["number"] for listener in manifest["spec"]["ingress"]]
        for each in pods:
            # (a) every TCP target port of the workload is listed, once
            wanted = {e.port for e in exposures[each.key]} - ISTIO_PORTS
            assert wanted <= set(numbers)
            assert len(numbers) == len(set(numbers))
            # (b) nothing of what was in effect is lost
            was, now = (sidecars.effective(each, planes.today(each)) for sidecars in in_effect)
            old = was["spec"] if was else {}
            for field in set(old) - {"workloadSelector", "ingress"}:
                assert manifest["spec"][field] == old[field]
            added = set(manifest["spec"]) - {"workloadSelector", "ingress"} - set(old)
            assert not added or (oldest < (1, 9) and manifest["spec"]["egress"] == [{"hosts": ["*/*"]}])
            assert added <= {"egress"}
            edited = {finding["port"] for finding in cured}
            listed = {listener["port"]["number"]: listener for listener in manifest["spec"]["ingress"]}
            for listener in old.get("ingress") or ():
                number = listener["port"]["number"]
                filled = oldest < (1, 10) and not listener.get("defaultEndpoint")
                same = (
                    {**listed[number], "defaultEndpoint": None} == {**listener, "defaultEndpoint": None}
                    if number in edited or filled
                    else listed[number] == listener
                )
                assert same, "a listener that is there already was changed"
            # (c) exactly one selector Sidecar matches the pod, and it is this one
            chosen = [
                s for s in after["sidecars"]
                if has_selector(s) and (s["metadata"].get("labels") or {}).get("istio.io/rev") in (None, planes.today(each).name or revision(each).name)
                and s["metadata"]["namespace"] == "shop" and matches(s["spec"]["workloadSelector"].get("labels") or {}, each.labels)
            ]  # fmt: skip
            shadowed = [
                s for s in chosen if s in before["sidecars"] and s["metadata"]["name"] != manifest["metadata"]["name"]
            ]
            assert len(chosen) - len(shadowed) == 1
            assert remediation["action"] == "update" or not shadowed, "a second selector Sidecar has no effect"
            assert (now["metadata"]["namespace"], now["metadata"]["name"]) == (
                manifest["metadata"]["namespace"],
                manifest["metadata"]["name"],
            )
        # ... and no other workload's pods
        selector = manifest["spec"]["workloadSelector"].get("labels") or {}
        others = [
            p
            for p in read_pods(before["pods"])
            if matches(selector, p.labels) and tuple(controllers.workload(p)) not in workloads
        ]
        assert not [p for p in others if any(c["name"] == "istio-proxy" for c in p.containers)]

    # (d) what it claims to cure is cured, and nothing else got worse
    again, _wrong = evaluated(read_cluster(after), options)
    claimed = {identity for remediation in report["remediations"] for identity in remediation["findings"]}
    assert not claimed & {finding["id"] for finding in again["findings"]}
    assert claimed == {finding["id"] for finding in report["findings"] if finding["remedy"] != "change_bind"}
    assert bad(again) <= bad(report)
    lost = reached(before, target) - reached(after, target)
    assert not lost, "what was reached is not any more"
    # a second round has nothing to add, and files say what the records say
    assert not {identity for remediation in again["remediations"] for identity in remediation["findings"]} & claimed
    by_name = sorted(
        (r["manifest"] for r in report["remediations"]),
        key=lambda m: (m["metadata"]["namespace"], m["metadata"]["name"]),
    )
    assert sidecar_manifests(sidecar_files(report)) == by_name
