# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the collection says of cases against what is answered in one pod that holds them all."""

from __future__ import annotations

import typing as t
from collections import Counter

from ansible_collections.meshops.istio_precheck.tests.envoy.cases import Answers, Case, wanted
from ansible_collections.meshops.istio_precheck.tests.envoy.inbound import FORMS, Entry, valid
from ansible_collections.meshops.istio_precheck.tests.envoy.pods import Pod, Question
from ansible_collections.meshops.istio_precheck.tests.helpers import cluster


class Difference(t.NamedTuple):
    """`what` is `verdict`, `refused` (a plan that an istiod would not take), `not cured`, `harmed`, `could be cured` or `verdict with the plan`."""

    what: str
    case: Case
    port: int
    said: str
    found: str

    def __str__(self) -> str:
        return f"{self.what}, port {self.port}: said {self.said}; found {self.found}. {self.case}"


class Seen(t.NamedTuple):
    """What was answered with one configuration of each case, before and after the upgrade."""

    today: Answers
    after: Answers


class Comparison:
    """Cases that share a pod."""

    def __init__(self, pod: Pod, cases: t.Sequence[Case], counted: Counter[str]) -> None:
        self.pod, self.cases, self.counted = pod, cases, counted
        self.differences: list[Difference] = []

    def run(self) -> list[Difference]:
        pod = self.pod
        pod.programs.bind(bind for case in self.cases for bind in case.binds)
        try:
            pod.exclude(port for case in self.cases for port in (case.excluded if case.proxy else case.block))
            sockets = pod.sockets()
            direct = pod.ask(self._questions(), inside=True)
            before = self._seen({})
            reports = [case.report(sockets) for case in self.cases]
            for case, report in zip(self.cases, reports):
                self._verdicts("verdict", case, report, before, direct)
            self._plans(reports, before, direct, sockets)
            self._refusals(reports, before)
        finally:
            pod.programs.unbind()
        return self.differences

    def _questions(self) -> list[Question]:
        return [question for case in self.cases for question in case.questions()]

    def _seen(self, ingress: t.Mapping[int, t.Sequence[Entry]], only: t.Collection[int] | None = None) -> Seen:
        """`ingress` is what other Sidecars the cases of these numbers have; `only` which cases are asked."""
        chosen = range(len(self.cases)) if only is None else sorted(only)
        questions = [question for number in chosen for question in self.cases[number].questions()]
        answers = []
        for when in (0, 1):
            self.pod.push(
                {
                    str(number): self.cases[number].inbound(self.cases[number].planes()[when], ingress.get(number))
                    for number in chosen
                }
            )
            answers.append(self.pod.ask(questions))
            self.counted["connections"] += len(questions)
        return Seen(*answers)

    def _verdicts(self, what: str, case: Case, report: dict[str, t.Any], seen: Seen, direct: Answers) -> None:
        said = cluster.verdicts(report)
        for port in case.exposed:
            self.counted["verdicts"] += 1
            found = wanted(case, port, seen.today, seen.after, direct)
            verdict = said.get(("web", port), "ok")
            self.counted[f"  {verdict}"] += 1
            if verdict != found:
                self._differs(what, case, port, verdict, found)

    def _plans(self, reports: t.Sequence[dict[str, t.Any]], before: Seen, direct: Answers, sockets: str) -> None:
        """What a plan cures is reached, before and after the upgrade; all else that was reached still is."""
        plans = {
            number: report["remediations"][0]["manifest"]
            for number, report in enumerate(reports)
            if report["remediations"]
        }
        if not plans:
            return
        seen = self._seen({number: manifest["spec"]["ingress"] for number, manifest in plans.items()}, plans)
        for number, manifest in plans.items():
            case = self.cases[number]
            self.counted["plans"] += 1
            for plane in case.planes():
                for entry in manifest["spec"]["ingress"]:
                    if not valid(plane.version, entry):
                        self._differs(
                            "refused", case, entry["port"]["number"], str(entry), f"istiod {plane} refuses it"
                        )
            cured = {f["port"] for f in reports[number]["findings"] if f["remedy"] != "change_bind"}
            for port in case.block:
                for ip in case.asked(port) if port in case.exposed else case.kind.ips:
                    question = (ip, port)
                    for when, now, then in zip(("today", "after"), before, seen):
                        if port in cured:
                            self.counted["cured ports"] += 1
                            if not then[question]:
                                self._differs(
                                    "not cured",
                                    case,
                                    port,
                                    f"a Sidecar cures it {manifest['spec']['ingress']}",
                                    f"nobody answers {when} at {ip}",
                                )
                        elif now[question] and not then[question]:
                            self._differs(
                                "harmed",
                                case,
                                port,
                                f"unharmed by {manifest['spec']['ingress']}",
                                f"nobody answers {when} at {ip}",
                            )
                        else:
                            self.counted["other ports"] += 1
            again = case.report(
                sockets,
                [each for each in case.sidecars() if each["metadata"]["name"] != manifest["metadata"]["name"]]
                + [_created(manifest)],
            )
            self._verdicts(
                "verdict with the plan", case._replace(ingress=tuple(manifest["spec"]["ingress"])), again, seen, direct
            )

    def _refusals(self, reports: t.Sequence[dict[str, t.Any]], before: Seen) -> None:
        """Where only a change of the bind is offered, no endpoint would have done."""
        refused = {
            number: [f["port"] for f in report["findings"] if f["remedy"] == "change_bind"]
            for number, report in enumerate(reports)
        }
        refused = {number: ports for number, ports in refused.items() if ports and self.cases[number].proxy}
        if not refused:
            return
        good: dict[tuple[int, int], list[str]] = {}
        harmless: dict[tuple[int, int], list[str]] = {}
        for form in FORMS:
            ingress = {number: [_entry(port, form) for port in self.cases[number].exposed] for number in refused}
            seen = self._seen(ingress, refused)
            for number in refused:
                case = self.cases[number]
                for entry in ingress[number]:
                    if not all(valid(plane.version, entry) for plane in case.planes()):
                        continue
                    port = entry["port"]["number"]
                    asked = [(ip, port) for ip in case.asked(port)]
                    if all(then[question] for then in seen for question in asked):
                        good.setdefault((number, port), []).append(form)
                    if all(
                        then[question] or not now[question] for now, then in zip(before, seen) for question in asked
                    ):
                        harmless.setdefault((number, port), []).append(form)
        for number, ports in refused.items():
            case = self.cases[number]
            listed = {entry["port"]["number"] for entry in case.ingress}
            kept = all((number, other) in harmless or other in listed for other in case.exposed if other not in ports)
            for port in ports:
                self.counted["binds to change"] += 1
                if (number, port) in good and kept:
                    self._differs("could be cured", case, port, "change_bind", f"{good[number, port]} would do")

    def _differs(self, what: str, case: Case, port: int, said: str, found: str) -> None:
        self.differences.append(Difference(what, case, port, said, found))


def _entry(port: int, form: str) -> Entry:
    return {"port": {"number": port, "protocol": "TCP"}, **({"defaultEndpoint": f"{form}:{port}"} if form else {})}


def _created(manifest: t.Any) -> t.Any:
    metadata = {**manifest["metadata"], "creationTimestamp": "2026-02-01T00:00:00Z"}
    return {**manifest, "metadata": metadata}
