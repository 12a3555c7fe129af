#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: localhost_listener_info
short_description: Find ports that Services expose but pods listen on localhost only
version_added: 1.0.0
author:
  - The meshops.istio_precheck authors (@meshops)
description:
  - Finds the ports that a Kubernetes Service exposes and that the pods behind it listen on localhost only, Istio's message
    C(IST0143) (C(LocalhostListener)).
  - Old versions of Istio deliver such connections to localhost and so hide the mistake; newer ones do not, and the upgrade turns
    it into an outage.
  - It lists Services, Pods and Sidecars, reads the socket table of each pod that a Service exposes, or whose probes may fail after the
    upgrade, by running C(ss) or C(cat) in it, and returns what will break, why, and the Sidecar resources that prevent it.
  - Read-only. It fails only if it cannot read the cluster, never because of a finding. The role P(meshops.istio_precheck.check_listeners#role)
    makes a gate of it.
extends_documentation_fragment:
  - kubernetes.core.k8s_auth_options
  - meshops.istio_precheck._attributes
  - meshops.istio_precheck._attributes.info_module
  - meshops.istio_precheck._attributes.actiongroup_precheck
options:
  namespaces:
    description:
      - Namespaces to check. All of them if not given.
      - Only these are listed, so that rights in them are enough.
    type: list
    elements: str
    default: []
  exclude_namespaces:
    description:
      - Namespaces not to check.
    type: list
    elements: str
    default: []
  label_selectors:
    description:
      - Checks only pods whose labels match all of these, in the syntax of C(kubectl get -l).
    type: list
    elements: str
    default: []
  scope:
    description:
      - V(mesh) checks pods with an Istio sidecar, V(all) checks every pod.
    type: str
    choices: [mesh, all]
    default: mesh
  istio_namespace:
    description:
      - The namespace of istiod and its mesh configuration, if nothing else names it.
      - The module looks for istiod in every namespace, or with O(namespaces) in those that the proxies name. An istiod serves the pods whose proxies
        ask it. RV(hints) names one that is elsewhere.
    type: str
    default: istio-system
  target_version:
    description:
      - The Istio version that you are about to upgrade to, such as V(1.24). Each minor version on the way is judged, too, unless a revision runs it already.
      - Without it, any version that delivers to the pod IP.
      - An older one than that of an istiod that serves checked pods is refused. The check takes no downgrade.
      - If labels show an OpenShift Service Mesh 2, its version is accepted too, V(2.2) for Istio 1.12.
    type: str
  current_version:
    description:
      - The Istio version that runs today, for control planes outside of the cluster, such as managed and external ones, and for those whose
        version neither an image nor a label tells. For any other one the version that was read counts.
      - The settings of a control plane outside of the cluster are unknown, so from Istio 1.10 on, except for 1.21, impacts stay V(unknown).
    type: str
  snapshot_src:
    description:
      - Evaluates the recorded cluster in this file instead of a live one. JSON, or JSON compressed with gzip.
      - Mutually exclusive with O(snapshot).
    type: path
  snapshot:
    description:
      - The same as O(snapshot_src), as data.
    type: dict
  snapshot_dest:
    description:
      - Records the cluster in this file, compressed with gzip if its name ends in V(.gz). Its directory must exist.
      - Check mode writes nothing.
      - It is readable by its owner only. It holds names, labels, ports and socket tables, but no environment values and no secrets.
    type: path
  replicas:
    description:
      - V(all) reads every pod, V(one) one pod of each pod template; that one then stands for the others, and findings say so.
      - Pods have one template if they have one controller and its hash among their labels, or, without a hash, the same specification.
    type: str
    choices: [all, one]
    default: all
  concurrency:
    description:
      - How many pods are read at once, from 1 to 1000.
    type: int
    default: 32
  concurrency_per_node:
    description:
      - How many pods of one node are read at once, from 1 to 1000, within O(concurrency). The API server does not limit C(exec), so only these two spare
        a kubelet.
    type: int
    default: 8
  exec_timeout:
    description:
      - Seconds after which the module gives up a pod that does not answer, connecting included, at most 3600. All of its containers share them.
      - If a command hangs, the module tries the next container. So a first command may take half of these seconds if the pod has other containers,
        and the other containers share the rest evenly.
    type: float
    default: 10
  socket_source:
    description:
      - V(exec) reads socket tables by commands in the pods.
      - V(node) reads them by one short-lived privileged pod on each node, a probe. It takes one C(exec) a node, also reads pods that can run no
        command, such as distroless ones, and names the process and container that listen.
      - V(auto) is V(exec), and then V(node) for the pods that it could not read; nodes without such a pod get no probe.
      - Check mode makes no probe; pods that only a probe could read are in RV(unchecked) then.
      - The module removes the probe when it has answered or failed, or when the module is interrupted. The next run that may use probes removes
        those of a killed run.
    type: str
    choices: [exec, node, auto]
    default: exec
  node_probe_image:
    description:
      - The probe's image, such as V(registry.example.com/busybox:1.37). It must hold C(sh), C(ls), C(grep) and C(sleep).
      - Required if O(socket_source) is V(node) or V(auto).
    type: str
  node_probe_namespace:
    description:
      - The namespace of the probe. It must exist and allow privileged pods.
    type: str
    default: default
  node_probe_timeout:
    description:
      - Seconds within which a probe must have started, its image pulled, at most 3600.
    type: float
    default: 60
  delivery_source:
    description:
      - How to find out where a connection to a port goes today.
      - V(auto) asks the proxies of those pods that have a record in RV(findings), RV(waived) or RV(remediated), by C(pilot-agent request) in the
        container C(istio-proxy). The answer of a proxy counts. Without an answer, istiod's version and settings and the Sidecars count, and
        RV(hints) has one line on it.
      - V(rule) asks no proxy, and ignores the answers in a snapshot.
      - With V(proxy) only proxies count. Without an answer, the delivery of today is not known, and the impact is V(unknown).
      - The kernel delivers to a port that the proxy does not see, as in a pod without a sidecar, whatever is chosen here.
    type: str
    choices: [auto, rule, proxy]
    default: auto
  waivers:
    description:
      - Known findings to accept. They move from RV(findings) to RV(waived).
    type: list
    elements: dict
    default: []
    suboptions:
      match:
        description:
          - A JMESPath expression over a finding; it waives the findings for which it is true.
        type: str
        required: true
      reason:
        description:
          - Why the finding is accepted.
        type: str
        required: true
      until:
        description:
          - The last day on which the waiver counts, such as V(2026-12-31).
        type: str
  sidecar_api_version:
    description:
      - The version of C(networking.istio.io) in which to write the manifests of RV(remediations).
      - V(v1beta1) if not given, which every Istio from 1.5 on serves, or another if the cluster does not serve that.
    type: str
    choices: [v1beta1, v1, v1alpha3]
  remediate_unreachable:
    description:
      - Plans a Sidecar also for a port that other pods cannot reach today, and that it would open, to all who may call the pod. The program then
        sees connections from 127.0.0.1, an address that many programs trust.
      - Take such a port out of its Service first, unless others are meant to reach it. Without this option a Sidecar leaves it closed.
    type: bool
    default: false
requirements:
  - python >= 3.10
  - kubernetes >= 24.2.0, unless O(snapshot_src) or O(snapshot) is used
  - PyYAML, unless O(snapshot_src) or O(snapshot) is used
  - jmespath, when O(waivers) is used
notes:
  - The user needs the verb V(list) on services, pods, sidecars.networking.istio.io and serviceentries.networking.istio.io, and
    V(get) and V(create) on pods/exec.
  - With O(socket_source=node) the user needs the latter, and V(list), V(create) and V(delete) on pods, in O(node_probe_namespace) only.
seealso:
  - name: IST0143
    description: Istio's documentation of the message.
    link: https://istio.io/latest/docs/reference/config/analysis/ist0143/
  - module: kubernetes.core.k8s_info
"""

EXAMPLES = r"""
- name: Look for ports that listen on localhost only
  meshops.istio_precheck.localhost_listener_info:
    context: production
    target_version: "1.24"
  register: listeners

- name: Show what the upgrade would break
  ansible.builtin.debug:
    msg: "{{ item.id }}: {{ item.reason }}"
  loop: "{{ listeners.findings | selectattr('impact', 'equalto', 'breaks_on_upgrade') }}"
  loop_control:
    label: "{{ item.id }}"

- name: Record a cluster on a bastion
  meshops.istio_precheck.localhost_listener_info:
    namespaces: [shop, billing]
    snapshot_dest: /tmp/production.json.gz

- name: Evaluate the record, accepting a known finding
  meshops.istio_precheck.localhost_listener_info:
    snapshot_src: /tmp/production.json.gz
    waivers:
      - match: namespace == 'billing' && port == `9999`
        reason: A debug port, used by port-forward alone
        until: "2026-12-31"
  register: listeners

- name: Write the Sidecars that keep the ports reachable
  ansible.builtin.copy:
    content: "{{ item.content }}"
    dest: "/tmp/{{ item.path | replace('/', '.') }}"
    mode: "0644"
  loop: "{{ listeners | meshops.istio_precheck.sidecar_files }}"
  loop_control:
    label: "{{ item.path }}"
"""

RETURN = r"""
findings:
  description: Exposed ports that listen on localhost only, most urgent first; one for each port of a workload.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: A name that stays the same over restarts and replicas.
      type: str
      sample: IST0143/shop/Deployment/netcat/8080
    code:
      description: Istio's code of the message.
      type: str
      sample: IST0143
    level:
      description: Istio's level of the message.
      type: str
      sample: Error
    message:
      description: Istio's own text.
      type: str
      sample: Port 8080 is exposed in a Service but listens on localhost. It will not be exposed to other pods.
    documentation_url:
      description: Istio's page on the message.
      type: str
      sample: https://istio.io/latest/docs/reference/config/analysis/ist0143/
    namespace:
      description: The workload's namespace.
      type: str
      sample: shop
    workload:
      description: The topmost controller of the pods, or the pod itself where it has none.
      type: dict
      sample: {"kind": "Deployment", "name": "netcat"}
    pods:
      description: Names of the pods concerned.
      type: list
      elements: str
      sample: [netcat-7d4b9c5f6-x2x7k]
    port:
      description: The target port.
      type: int
      sample: 8080
    services:
      description: The Services that expose the port.
      type: list
      elements: dict
      sample: [{"name": "netcat", "port": 8080, "port_name": "tcp"}]
    listeners:
      description: What listens on the port.
      type: list
      elements: str
      sample: ["127.0.0.1:8080"]
    impact:
      description:
        - V(breaks_on_upgrade), other pods reach it today and will not after the upgrade.
        - V(unreachable), other pods cannot reach it today either.
        - V(unknown), how it is delivered today could not be determined.
      type: str
      sample: breaks_on_upgrade
    reason:
      description: Why this verdict, in one sentence.
      type: str
      sample: >-
        It listens on 127.0.0.1:8080 only: today istiod 1.9 delivers to 127.0.0.1, after the upgrade istiod 1.21 delivers to the pod IP.
    delivery:
      description:
        - Where a connection to the port goes, today and after the upgrade.
        - C(to) is V(localhost), V(pod_ip), V(kernel), V(unix), V(closed) where the proxy closes the connection, or V(unknown); C(address) and C(port)
          are those that are dialled, the address empty if it is the one that the client asked for; C(by) is how that is known, V(rule) by versions, settings
          and Sidecars, or V(proxy) by the answer of the proxy itself, see O(delivery_source); C(why) is the reason as text.
        - C(version_by) is where the version that decides was read, V(image), V(pod) and V(deployment) by labels, V(resource) by the status of a
          ServiceMeshControlPlane, or V(current_version); it is absent if no version decides, and after the upgrade.
        - C(between) is a list of the same for versions on the way to O(target_version), C(from_version) to C(to_version), in which the port is not
          reached, although it is today and at the target; it is absent if the port is reached all the way, or breaks for good.
      type: dict
      sample:
        today: {to: localhost, address: 127.0.0.1, port: 8080, by: rule, why: istiod 1.9 delivers to 127.0.0.1}
        after: {to: pod_ip, address: "", port: 8080, by: rule, why: istiod 1.21 delivers to the pod IP}
    answered_by:
      description:
        - The listeners that answer C(today), and C(later), after the upgrade or at a version on the way to it, those that answer then.
        - Two programs have them, so that clients reach another program than today.
      returned: if another program answers after the upgrade
      type: dict
      sample: {today: ["127.0.0.1:8080"], later: ["10.0.0.5:8080"]}
    remedy:
      description: V(create_sidecar), V(update_sidecar) or V(change_bind). In RV(waived) the remedy without the waiver; not in RV(remediated).
      type: str
      sample: create_sidecar
    opens:
      description: V(true) where the remedy, a Sidecar or another bind, would open a port that is closed today.
      type: bool
      sample: false
    notes:
      description: Further facts, such as a probe that will fail too.
      type: list
      elements: str
      sample: []
    processes:
      description: Which processes have the RV(findings[].listeners), by the kernel's names for them, and in which containers.
      returned: where the pod was read by a probe on its node, O(socket_source)
      type: list
      elements: dict
      sample: [{"listener": "127.0.0.1:8080", "container": "app", "process": "server"}]
failing_probes:
  description:
    - Probes and lifecycle hooks of the kubelet that fail, or will after the upgrade, because they ask a port that listens on localhost only, whether
      a Service exposes it or not, or one on which nothing accepts, which a proxy of Istio up to 1.11 hides from C(tcpSocket) probes.
      The pod does not become ready then, or is restarted, whatever the verdict on the port; a waiver of the port does not waive
      its probes.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: A name that stays the same over restarts and replicas.
      type: str
      sample: PROBE/shop/Deployment/netcat/app/readiness
    namespace:
      description: The workload's namespace.
      type: str
      sample: shop
    workload:
      description: The topmost controller of the pods, or the pod itself where it has none.
      type: dict
      sample: {"kind": "Deployment", "name": "netcat"}
    pods:
      description: Names of the pods concerned.
      type: list
      elements: str
      sample: [netcat-7d4b9c5f6-x2x7k]
    container:
      description: The container whose probe or hook it is.
      type: str
      sample: app
    probe:
      description: V(readiness), V(liveness), V(startup), V(postStart) or V(preStop).
      type: str
      sample: readiness
    port:
      description: The port that it asks.
      type: int
      sample: 8080
    listeners:
      description: What listens on the port.
      type: list
      elements: str
      sample: ["127.0.0.1:8080"]
    impact:
      description:
        - V(breaks_on_upgrade), it succeeds today and will not after the upgrade.
        - V(unreachable), it fails today, too.
        - V(unknown), its result of today could not be determined.
      type: str
      sample: breaks_on_upgrade
    reason:
      description: Why it fails, in one sentence.
      type: str
      sample: It asks port 8080 and will fail once the pod is injected again, because the Istio agent sends it to the pod IP.
    sidecar_helps:
      description: Whether it succeeds once a Sidecar makes the port reachable. No Sidecar helps a probe that Istio rewrote.
      type: bool
      sample: false
waived:
  description: Findings that RV(findings) does not hold because a waiver or Istio's suppress annotation accepts them. Each has C(waived_by) too.
  returned: success
  type: list
  elements: dict
  sample: []
remediated:
  description: Ports on localhost that a Sidecar or the mesh's own configuration delivers to, before and after the upgrade. Records as in RV(findings).
  returned: success
  type: list
  elements: dict
  sample: []
unchecked:
  description: Pods that were not read, or not completely. They do not count as fine.
  returned: success
  type: list
  elements: dict
  contains:
    namespace:
      description: The pod's namespace.
      type: str
      sample: shop
    pod:
      description: The pod's name.
      type: str
      sample: cart-6c9f7d4b8-abcde
    workload:
      description: The topmost controller of the pod, or the pod itself where it has none.
      type: dict
      sample: {"kind": "Deployment", "name": "cart"}
    reason:
      description: One word.
      type: str
      sample: no_tool
    detail:
      description: A sentence.
      type: str
      sample: "No container could run a command that shows its sockets (istio-proxy: ss)."
opens_on_upgrade:
  description:
    - Exposed ports that accept nothing where connections go today, and accept them where they go after the upgrade, such as those bound to the pod IP
      alone under an istiod 1.9. Other pods cannot reach them today, and will then. Records as in RV(findings), without a message.
    - A port that is reached on localhost by then, by a Sidecar or the mesh's configuration, is in RV(remediated), too.
  returned: success
  type: list
  elements: dict
  sample: []
not_listening:
  description: Exposed ports without a listener, so that the check cannot judge them. Records as in RV(findings), without a message.
  returned: success
  type: list
  elements: dict
  sample: []
not_checked:
  description: What the check does not look at, or what may differ from its rule. Nothing is known of it.
  returned: success
  type: list
  elements: dict
  contains:
    namespace:
      description: The namespace that it is in.
      type: str
      sample: shop
    workload:
      description: The workload, where it is one of this cluster's pods.
      returned: for C(no_replicas), C(no_pods) and C(envoy_filter)
      type: dict
      sample: {"kind": "Deployment", "name": "cart"}
    resource:
      description: Any other object.
      returned: for C(vm) and C(no_pod)
      type: dict
      sample: {"kind": "WorkloadGroup", "name": "ledger"}
    reason:
      description:
        - V(no_replicas), a workload with 0 replicas that a Service selects.
        - V(no_pods), one that wants pods and has none.
        - V(vm), a WorkloadEntry or a WorkloadGroup, which stand for machines.
        - V(no_pod), a Service without a selector whose EndpointSlices hold addresses that belong to no pod.
        - V(envoy_filter), a workload under an EnvoyFilter that may change where connections to it are delivered.
      type: str
      sample: no_replicas
    detail:
      description: A sentence.
      type: str
      sample: "It has 0 replicas, and Service cart will send to its pods: what they listen on is not known."
out_of_scope:
  description: Service ports that the rule does not cover, each with the reason.
  returned: success
  type: list
  elements: dict
  sample: [{"namespace": "shop", "service": "dns", "port": 53, "reason": "UDP is not checked: the rule is about TCP listeners"}]
remediations:
  description: The Sidecars that fix findings, one for each workload.
  returned: success
  type: list
  elements: dict
  contains:
    action:
      description: V(create), or V(update) for a Sidecar that the namespace has.
      type: str
      sample: create
    manifest:
      description: The whole Sidecar.
      type: dict
      sample:
        apiVersion: networking.istio.io/v1beta1
        kind: Sidecar
        metadata: {name: precheck-deployment-netcat, namespace: shop}
        spec:
          workloadSelector: {labels: {app: netcat}}
          ingress:
            - port: {number: 8080, protocol: TCP, name: tcp}
              defaultEndpoint: 127.0.0.1:8080
    findings:
      description: Ids of the findings that it fixes.
      type: list
      elements: str
      sample: [IST0143/shop/Deployment/netcat/8080]
    notes:
      description: The settings that it carries over, and their source.
      type: list
      elements: str
      sample: []
    made_from:
      description: The Sidecar that the manifest edits or carries over, if any. A manifest that edits one holds its C(resourceVersion) too.
      type: dict
      sample: {"namespace": "istio-system", "name": "default", "resourceVersion": "1234"}
hints:
  description:
    - Waivers without effect, lists that were refused, proxies that contradict the delivery expected of their istiod, and proxies without an answer.
    - Ports where one listener accepts today and another after the upgrade, which may belong to another program.
  returned: success
  type: list
  elements: str
  sample: []
summary:
  description: Counts, and seconds spent. C(ports_unread) are those ports of pods that were not read of which no list says anything.
  returned: success
  type: dict
  sample:
    namespaces: 1
    workloads: 1
    pods: 2
    pods_read: 2
    ports: 1
    ports_unread: 0
    findings: 1
    breaks_on_upgrade: 1
    unknown: 0
    unreachable: 0
    failing_probes: 0
    waived: 0
    remediated: 0
    unchecked: 0
    opens_on_upgrade: 0
    not_listening: 0
    not_checked: 0
    out_of_scope: 0
    remediations: 1
    seconds: {"gather": 0.8, "evaluate": 0.01}
cluster:
  description:
    - Which cluster this is about, and when it was looked at, as far as that is known.
    - C(context) is the one of the kubeconfig, C(istio_versions) are those of the control planes, or O(current_version) where none can be seen, and
      C(target_version) is O(target_version).
  returned: success
  type: dict
  sample:
    server: https://10.0.0.1:6443
    context: production
    server_version: v1.29.4
    taken_at: "2026-11-23T06:30:00Z"
    istio_versions: ["1.9.9"]
    target_version: "1.24"
"""

import copy
import typing as t

from ansible_collections.kubernetes.core.plugins.module_utils.args_common import AUTH_ARG_SPEC
from ansible_collections.kubernetes.core.plugins.module_utils.k8s.core import AnsibleK8SModule

from ansible_collections.meshops.istio_precheck.plugins.module_utils._check import OPTIONS, RELATIONS, check
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.report import RECORDS
from ansible_collections.meshops.istio_precheck.plugins.module_utils._module import SecretKeepingModule, stoppable


def argument_spec() -> dict[str, t.Any]:
    return copy.deepcopy({**AUTH_ARG_SPEC, **OPTIONS})


class Listening(SecretKeepingModule):
    DATA = (*RECORDS, "summary", "cluster")
    """The parts of a result that decide, or that files are made of."""


def main() -> None:
    with stoppable("nothing is known of the cluster"):
        module = AnsibleK8SModule(
            module_class=Listening,
            argument_spec=argument_spec(),
            supports_check_mode=True,
            check_k8s=False,
            check_pyyaml=False,
            **RELATIONS,
        )

        def ask_cluster(*needed: t.Any) -> t.Any:
            # What a record does not need: kubernetes takes half a second to import.
            from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.live import ask

            return ask(module, *needed)

        result = check(module.params, module.check_mode, ask_cluster)
        if result.get("failed"):
            module.fail_json(**result)
        module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
