# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""The Report: its shape, every word that it can say, and which of these keep the gate shut.

Whatever shows a Report, or decides on one, reads the tables here. A word that they do not know blocks.
"""

from __future__ import annotations

import collections
import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.kube import Thing
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.schema import Number, Required

CODE = "IST0143"
LEVEL = "Error"
DOCUMENTATION_URL = "https://istio.io/latest/docs/reference/config/analysis/ist0143/"
MESSAGE = "Port {port} is exposed in a Service but listens on localhost. It will not be exposed to other pods."
"""Istio's own text: pkg/config/analysis/msg/messages.yaml@1.20.8."""

NODE_PROBE_PAGE = "https://github.com/meshops/istio_precheck/blob/main/docs/node-probe.md"
"""Whole, since a report is read where the manual is not."""

# ---------------------------------------------------------------------------------------------------------------------
# Words


class Rule(t.NamedTuple):
    """A rule as code scanning services show it: SARIF 2.1.0, 3.49. `level` is the one of its default configuration."""

    id: str
    name: str
    short: str
    help: str
    level: str
    full: str = ""
    url: str = ""


RULES = (
    Rule(
        id=CODE,
        name="LocalhostListener",
        short="A port that a Service exposes listens on localhost only.",
        help="Bind to 0.0.0.0 or ::, or apply the Sidecar that the report holds, or take the port out of the Service.",
        level="error",
        full="The sidecar of Istio up to 1.9 handed connections to localhost, that of later versions hands them to the pod IP, where nothing listens.",
        url=DOCUMENTATION_URL,
    ),
    Rule(
        id="unchecked",
        name="PodNotChecked",
        short="The sockets of a pod that a Service exposes could not be read.",
        help="Grant the verbs get and create on pods/exec, or see to the pod, and check again.",
        level="error",
    ),
    Rule(
        id="not_listening",
        name="PortNotListening",
        short="Nothing listens on a port that a Service exposes, so nothing can be said about it.",
        help="Check again when the program is up, or take the port out of the Service.",
        level="note",
    ),
    Rule(
        id="probe",
        name="ProbeFails",
        short="A probe of the kubelet asks a port that listens on localhost only, or on which nothing accepts, and fails.",
        help="Bind to 0.0.0.0 or ::, or let the probe run a command in the container.",
        level="error",
    ),
    Rule(
        id="opens_on_upgrade",
        name="PortOpens",
        short="A port that other pods cannot reach today will be reached after the upgrade.",
        help="Bind to 127.0.0.1, or take the port out of the Service, or say in an AuthorizationPolicy who may reach it.",
        level="note",
    ),
    Rule(
        id="not_checked",
        name="BeyondTheCheck",
        short="The check does not look at this, so nothing is known of it.",
        help="Check it by hand, as the message says.",
        level="note",
    ),
)


class Word(t.NamedTuple):
    """What a Report can say about a port, a pod or a probe. `one` and `many` follow a number."""

    name: str
    part: str
    """The list of the Report that it is said in: `findings` for an impact, for all others the list of that name."""
    label: str
    one: str
    many: str
    about: str
    fails: bool = False
    """Whether it may be named in `fail_on`."""
    default: bool = False
    """Whether it is in `fail_on` if nothing is said."""
    advice: str = ""
    rule: str = ""
    """The id of its Rule. Without one code scanning does not hear of it."""
    level: str = ""
    """The level of a result where the gate does not fail on it."""
    always: bool = False
    """Whether the verdict counts it though the gate does not fail on it."""


WORDS = (
    Word(
        "breaks_on_upgrade",
        part="findings",
        label="Breaks on upgrade",
        one="port breaks on upgrade",
        many="ports break on upgrade",
        about="Other pods reach it today, and will not after the upgrade.",
        fails=True,
        default=True,
        rule=CODE,
        level="warning",
    ),
    Word(
        "unknown",
        part="findings",
        label="Impact unknown",
        one="port of unknown impact",
        many="ports of unknown impact",
        about="Other pods will not reach it after the upgrade; whether they do today could not be determined.",
        fails=True,
        default=True,
        rule=CODE,
        level="warning",
    ),
    Word(
        "unreachable",
        part="findings",
        label="Unreachable already",
        one="port unreachable already",
        many="ports unreachable already",
        about="Other pods cannot reach it today either.",
        fails=True,
        default=True,
        rule=CODE,
        level="warning",
    ),
    Word(
        "failing_probes",
        part="failing_probes",
        label="Probe fails",
        one="probe fails",
        many="probes fail",
        about="The kubelet asks a port that listens on localhost only, or on which nothing accepts: the pod does not become ready, or is restarted.",
        fails=True,
        default=True,
        advice="Make the program listen on every address, or let the probe run a command in the container.",
        rule="probe",
        level="warning",
    ),
    Word(
        "unchecked",
        part="unchecked",
        label="Not checked",
        one="pod not checked",
        many="pods not checked",
        about="The pod could not be read. It is not fine, it is not known.",
        fails=True,
        default=True,
        rule="unchecked",
        level="warning",
    ),
    Word(
        "opens_on_upgrade",
        part="opens_on_upgrade",
        label="Opens on upgrade",
        one="port opens on upgrade",
        many="ports open on upgrade",
        about="Other pods cannot reach it today, and will after the upgrade.",
        fails=True,
        advice="Bind to 127.0.0.1, or take the port out of the Service, or say in an AuthorizationPolicy who may reach it.",
        rule="opens_on_upgrade",
        level="note",
        always=True,
    ),
    Word(
        "not_listening",
        part="not_listening",
        label="Nothing listens",
        one="port without a listener",
        many="ports without a listener",
        about="Nothing accepts connections there, so nothing can be said.",
        fails=True,
        advice="Check again when the program is up, or take the port out of the Service.",
        rule="not_listening",
        level="note",
    ),
    Word(
        "not_checked",
        part="not_checked",
        label="Beyond the check",
        one="object beyond the check",
        many="objects beyond the check",
        about="The check does not look at it, or cannot know what comes of it.",
        fails=True,
        rule="not_checked",
        level="note",
        always=True,
    ),
    Word(
        "waived",
        part="waived",
        label="Waived",
        one="port waived",
        many="ports waived",
        about="It listens on localhost only, and somebody accepted that.",
    ),
    Word(
        "remediated",
        part="remediated",
        label="Remediated",
        one="port remediated",
        many="ports remediated",
        about="It listens on localhost only, and a Sidecar or the mesh's configuration delivers to it there.",
    ),
)
"""Most urgent first."""

WORD = {word.name: word for word in WORDS}

IMPACTS = tuple(word.name for word in WORDS if word.part == "findings")
"""Most urgent first."""

FAIL_ON = tuple(word.name for word in WORDS if word.fails)
DEFAULT_FAIL_ON = tuple(word.name for word in WORDS if word.default)

REASONS = {
    "cannot_run": "Check the container; the commands of the check cannot be started in it.",
    "check_mode": "Run it without --check.",
    "connection": "Run the check again; if it stays so, check the network between the API server and the pod's node.",
    "forbidden": "Add {apiGroups: [''], resources: [pods/exec], verbs: [get, create]} to the user's Role, "
    "or set check_listeners_socket_source: node and check_listeners_node_probe_image.",
    "gone": "Run the check again; the pod was deleted meanwhile.",
    "masked": "Set check_listeners_gather_with: module; kubernetes.core hides what equals a secret of the connection.",
    "no_address": "Run the check again when the pod has an address, or delete it.",
    "no_tool": "These images have no ss, cat or netstat. Set check_listeners_socket_source: auto and check_listeners_node_probe_image to read the pods "
    f"from the node: {NODE_PROBE_PAGE}",
    "node_unreachable": "Check the node; the API server cannot reach its kubelet.",
    "not_read": "Record the cluster again, with the same namespaces, label selectors and scope.",
    "not_running": "Run the check again when the pod is up, or delete it.",
    "not_seen": "Run the check again; the pod may have been replaced meanwhile.",
    "probe_failed": "Check the node; the probe on it did not run to its end.",
    "probe_forbidden": "Give the user list, create and delete on pods and get and create on pods/exec, all in check_listeners_node_probe_namespace.",
    "probe_not_started": "Check the node, and whether it can pull check_listeners_node_probe_image.",
    "probe_rejected": f"Let check_listeners_node_probe_namespace take privileged pods: {NODE_PROBE_PAGE}",
    "server_error": "Run the check again; if it stays so, check the API server.",
    "suspect_table": "Read the pod's sockets by hand; what the check got of them is not whole.",
    "timeout": "Raise check_listeners_exec_timeout, or lower check_listeners_concurrency_per_node if many pods on the same node time out.",
    "too_much_output": "Check the pod; its table of listening sockets is out of all proportion.",
}
"""Every reason of `unchecked`, with what to do about it. A new one needs its line here: a reason that is not known blocks."""

BEYOND = {
    "envoy_filter": "Check the EnvoyFilter; the proxy may deliver elsewhere than the check says, today or after the upgrade.",
    "no_pod": "If one of these belongs to the mesh, check there what listens on localhost only.",
    "no_pods": "Find out why it has no pods, such as a quota or a webhook that does not answer, and run the check again.",
    "no_replicas": "Scale it up and run the check again before the upgrade.",
    "vm": "Check on the machine itself what listens on localhost only.",
}
"""Every reason of `not_checked`, with what to do about it. One that is not known blocks, too."""

HOOKS = ("postStart", "preStop")
"""What is a lifecycle hook among the probes of `failing_probes`."""


def probe_as_text(probe: str) -> str:
    """`readiness probe`, `postStart hook`."""
    return f"{probe} {'hook' if probe in HOOKS else 'probe'}"


# ---------------------------------------------------------------------------------------------------------------------
# The shape. What a Report of an earlier form lacks (`delivery` and the lists of LATER) is not required of one that is read back.


class WorkloadName(t.TypedDict):
    kind: str
    name: str


class ServicePort(t.TypedDict, total=False):
    name: str
    port: int
    port_name: str


class Process(t.TypedDict, total=False):
    listener: str
    container: str
    process: str


class _VersionBy(t.TypedDict, total=False):
    version_by: str


class DeliveryRecord(_VersionBy):
    """Where a connection goes. `to` is `localhost`, `pod_ip`, `kernel`, `unix`, `closed` or `unknown`; `address` and `port` are what is dialled, the address
    empty where it is the one that was asked for; `by` says how it is known: by the `rule`.
    `version_by` says where istiod's version was read, if one decides: `image`, `pod`, `deployment`, `resource` or `current_version`."""

    to: str
    address: str
    port: int
    by: str
    why: str


class DeliveryBetween(DeliveryRecord):
    """Where it goes in some versions on the way to the target, in which it is not reached."""

    from_version: str
    to_version: str


class _Between(t.TypedDict, total=False):
    between: list[DeliveryBetween]


class Deliveries(_Between):
    today: DeliveryRecord
    after: DeliveryRecord


class AnsweredBy(t.TypedDict):
    """The listeners that answer today, and those of another program that do after the upgrade, or on the way to it."""

    today: list[str]
    later: list[str]


class WaivedBy(t.TypedDict, total=False):
    reason: str
    match: str
    until: str
    annotation: str


class Record(t.TypedDict, total=False):
    """One port of one workload."""

    id: str
    namespace: str
    workload: WorkloadName
    pods: list[str]
    port: int
    services: list[ServicePort]
    listeners: list[str]
    processes: list[Process]
    delivery: Deliveries
    answered_by: AnsweredBy
    reason: str
    notes: list[str]
    impact: str | None
    remedy: str
    opens: bool
    code: str
    level: str
    message: str
    documentation_url: str
    waived_by: WaivedBy


class Finding(Record, total=False):
    """A Record with an impact, which is of IMPACTS."""


class FailingProbe(t.TypedDict):
    """A probe or hook of the kubelet that fails, or will. `probe` is `readiness`, `liveness`, `startup`, `postStart` or `preStop`; `impact` is of
    IMPACTS: it succeeds until the upgrade, fails already, or that is not known; `sidecar_helps` is whether it succeeds once a Sidecar has the port
    reached."""

    id: str
    namespace: str
    workload: WorkloadName
    pods: list[str]
    container: str
    probe: str
    port: int
    listeners: list[str]
    impact: str
    reason: str
    sidecar_helps: bool


class Unchecked(t.TypedDict, total=False):
    """A pod that was not, or not wholly, read. `reason` is of REASONS."""

    namespace: str
    pod: str
    workload: WorkloadName
    reason: str
    detail: str


class NotChecked(t.TypedDict, total=False):
    """What the run did not look at, a `workload` or another `resource`. `reason` is of BEYOND."""

    namespace: str
    workload: WorkloadName
    resource: WorkloadName
    reason: str
    detail: str


class OutOfScope(t.TypedDict, total=False):
    namespace: str
    service: str
    port: int
    reason: str


class Remediation(t.TypedDict, total=False):
    action: str
    manifest: Thing
    findings: list[str]
    notes: list[str]
    made_from: dict[str, str]


class Summary(t.TypedDict, total=False):
    """Counts; `seconds` spent. `ports_unread` are those ports of pods that were not read of which no list says anything."""

    namespaces: int
    workloads: int
    pods: int
    pods_read: int
    ports: int
    ports_unread: int
    findings: int
    breaks_on_upgrade: int
    unknown: int
    unreachable: int
    failing_probes: int
    waived: int
    remediated: int
    unchecked: int
    opens_on_upgrade: int
    not_listening: int
    not_checked: int
    out_of_scope: int
    remediations: int
    seconds: dict[str, float]


class Report(t.TypedDict, total=False):
    findings: list[Finding]
    failing_probes: list[FailingProbe]
    waived: list[Finding]
    remediated: list[Record]
    unchecked: list[Unchecked]
    opens_on_upgrade: list[Record]
    not_listening: list[Record]
    not_checked: list[NotChecked]
    out_of_scope: list[OutOfScope]
    remediations: list[Remediation]
    hints: list[str]
    summary: Summary
    failed: bool
    msg: str


COUNT = Number(0, 1 << 53)
PORT = Number(0, 65535)
WORKLOAD = {"kind": Required(str), "name": Required(str)}
DELIVERY = {
    "to": Required(str),
    "address": Required(str),
    "port": Required(PORT),
    "by": Required(str),
    "why": Required(str),
    "version_by": str,
}
WAIVED_BY = {"reason": Required(str), "match": str, "until": str, "annotation": str}
RECORD = {
    "id": Required(str),
    "namespace": Required(str),
    "workload": Required(WORKLOAD),
    "pods": Required([str]),
    "port": Required(PORT),
    "services": Required([{"name": Required(str), "port": PORT, "port_name": str}]),
    "listeners": Required([str]),
    "processes": [{"listener": Required(str), "container": str, "process": Required(str)}],
    "delivery": {
        "today": Required(DELIVERY),
        "after": Required(DELIVERY),
        "between": [{**DELIVERY, "from_version": Required(str), "to_version": Required(str)}],
    },
    "answered_by": {"today": Required([str]), "later": Required([str])},
    "reason": Required(str),
    "notes": [str],
    "impact": str,
    "remedy": str,
    "opens": bool,
    "code": str,
    "level": str,
    "message": str,
    "documentation_url": str,
    "waived_by": WAIVED_BY,
}
FINDING = {**RECORD, **dict.fromkeys(("impact", "code", "level", "message", "documentation_url"), Required(str))}
FAILING_PROBE = {
    "id": Required(str),
    "namespace": Required(str),
    "workload": Required(WORKLOAD),
    "pods": Required([str]),
    "container": Required(str),
    "probe": Required(str),
    "port": Required(PORT),
    "listeners": Required([str]),
    "impact": Required(str),
    "reason": Required(str),
    "sidecar_helps": Required(bool),
}
NOT_CHECKED = {
    "namespace": Required(str),
    "workload": WORKLOAD,
    "resource": WORKLOAD,
    "reason": Required(str),
    "detail": str,
}
MANIFEST = {
    "apiVersion": Required(str),
    "kind": Required(str),
    "metadata": Required({"namespace": Required(str), "name": Required(str)}),
    "spec": Required(dict),
}
REPORT = {
    "findings": Required([FINDING]),
    "failing_probes": [FAILING_PROBE],
    "waived": Required([{**FINDING, "waived_by": Required(WAIVED_BY)}]),
    "remediated": Required([RECORD]),
    "unchecked": Required(
        [
            {
                "namespace": Required(str),
                "pod": Required(str),
                "workload": WORKLOAD,
                "reason": Required(str),
                "detail": str,
            }
        ]
    ),
    "opens_on_upgrade": [RECORD],
    "not_listening": Required([RECORD]),
    "not_checked": [NOT_CHECKED],
    "out_of_scope": Required([{"namespace": str, "service": str, "port": PORT, "reason": str}]),
    "remediations": Required(
        [{"action": Required(str), "manifest": Required(MANIFEST), "findings": Required([str]), "notes": [str]}]
    ),
    "hints": Required([str]),
    "summary": Required(
        dict.fromkeys(("namespaces", "workloads", "pods", "pods_read", "ports", "ports_unread"), COUNT)
    ),
    "failed": bool,
    "msg": str,
}
"""What a Report that is read back must hold, in the language of schema.py."""

LISTS = tuple(name for name, shape in REPORT.items() if isinstance(getattr(shape, "shape", shape), list))

LATER = tuple(name for name in LISTS if isinstance(REPORT[name], list))
"""The lists that a Report of an earlier form has not."""

RECORDS = tuple(name for name in LISTS if name != "hints")
"""The lists that decide, or that files are made of: all but what is only told."""


def nothing() -> Report:
    """The Report of a check that could not be made."""
    return t.cast(Report, {**{name: [] for name in LISTS}, "summary": {}})


def was_made(report: t.Mapping[str, t.Any]) -> bool:
    """Whether the cluster was looked at, whatever went wrong then."""
    return bool((report.get("summary") or {}).get("pods_read"))


def was_checked(report: t.Mapping[str, t.Any]) -> bool:
    """Whether the Report is of a cluster that was checked: nothing failed, or only what came after it."""
    return was_made(report) or not report.get("failed")


# ---------------------------------------------------------------------------------------------------------------------
# The decision


class FailOnError(ValueError):
    """A `fail_on` that means nothing; the text names what is wrong."""


class Blocker(t.NamedTuple):
    """What keeps the gate shut: a word of `fail_on`, or one that is not `known` to the tables, and how often it is said."""

    word: str
    times: int
    known: bool = True


def checked_fail_on(fail_on: t.Any) -> list[str]:
    """`fail_on`, if it is a list of words that the table knows. Raises FailOnError: a text is a list of letters, and none of them is a word."""
    if not isinstance(fail_on, (list, tuple)):
        raise FailOnError(f"check_listeners_fail_on: wanted a list, found {fail_on!r}")
    for word in fail_on:
        if word not in FAIL_ON:
            raise FailOnError(f"check_listeners_fail_on: wanted some of {', '.join(FAIL_ON)}, found {word!r}")
    return list(fail_on)


def blocking(report: t.Mapping[str, t.Any], fail_on: t.Sequence[str]) -> list[Blocker]:
    """What keeps the gate shut, the most urgent first. Empty: it is open. Raises FailOnError, and KeyError for what is no Report.

    An impact or a reason that the tables do not know, such as one that a masking of secrets has changed, blocks under its own name whatever
    `fail_on` holds.
    """
    words = checked_fail_on(fail_on)
    counts = collections.Counter(finding["impact"] for finding in report["findings"])
    counts.update({part: len(report[part]) for part in ("unchecked", "not_listening")})
    counts.update({part: len(report.get(part) or ()) for part in ("opens_on_upgrade", "not_checked")})
    counts["failing_probes"] = len(probes_of_their_own(report, words))
    strange = collections.Counter(
        [
            *(finding["impact"] for finding in report["findings"] if finding["impact"] not in IMPACTS),
            *(probe["impact"] for probe in report.get("failing_probes") or () if probe["impact"] not in IMPACTS),
            *(
                pod["reason"]
                for pod in report["unchecked"]
                if pod["reason"] not in REASONS and "unchecked" not in words
            ),
            *(
                each["reason"]
                for each in report.get("not_checked") or ()
                if each["reason"] not in BEYOND and "not_checked" not in words
            ),
        ]
    )
    return [
        *(Blocker(word, counts[word]) for word in FAIL_ON if word in words and counts[word]),
        *(Blocker(str(name), count, known=False) for name, count in strange.items()),
    ]


def ignored(report: t.Mapping[str, t.Any], fail_on: t.Sequence[str]) -> list[Blocker]:
    """What would keep the gate shut if `fail_on` had its default."""
    words = checked_fail_on(fail_on)
    return [found for found in blocking(report, DEFAULT_FAIL_ON) if found.known and found.word not in words]


def beside(report: t.Mapping[str, t.Any], fail_on: t.Sequence[str]) -> list[Blocker]:
    """What the verdict counts whatever `fail_on` holds, and that is not in it."""
    counts = {word.name: len(report.get(word.part) or ()) for word in WORDS if word.always and word.name not in fail_on}
    return [Blocker(name, times) for name, times in counts.items() if times]


def subject(record: t.Mapping[str, t.Any]) -> WorkloadName:
    """What a record of `not_checked` is about; one that does not say is about its namespace."""
    about: WorkloadName | None = record.get("workload") or record.get("resource")
    return about or {"kind": "Namespace", "name": record["namespace"]}


def probes_of_their_own(report: t.Mapping[str, t.Any], fail_on: t.Sequence[str]) -> list[FailingProbe]:
    """The failing probes but for those that a Sidecar helps and whose port keeps the gate shut by itself: they are settled with the port."""
    settled = {
        _port(finding)
        for finding in report["findings"]
        if finding["impact"] in fail_on or finding["impact"] not in IMPACTS
    }
    return [
        probe
        for probe in report.get("failing_probes") or ()
        if not (probe["sidecar_helps"] is True and _port(probe) in settled)
    ]


def _port(record: t.Mapping[str, t.Any]) -> tuple[str, str, str, int]:
    return record["namespace"], record["workload"]["kind"], record["workload"]["name"], record["port"]
