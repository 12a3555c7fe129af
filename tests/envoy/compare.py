# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the collection says of cases against what is answered in one pod that holds them all."""

from __future__ import annotations

import contextlib
import typing as t
from collections import Counter

from ansible_collections.meshops.istio_precheck.tests.envoy.cases import Answers, Case, wanted
from ansible_collections.meshops.istio_precheck.tests.envoy.inbound import FORMS, Entry, Inbound, valid
from ansible_collections.meshops.istio_precheck.tests.envoy.pods import Answer, Pod, Question
from ansible_collections.meshops.istio_precheck.tests.helpers import cluster

Ingress = t.Sequence[Entry]


class Difference(t.NamedTuple):
    """`what`: `verdict`, `verdict with the plan`, `refused` (a plan that an istiod would not take), `not cured`, `harmed`, `could be cured`."""

    what: str
    case: Case
    port: int
    asked: tuple[str, ...]
    ingress: tuple[Entry, ...]
    """That of the Sidecar in effect, or of the plan."""
    said: str
    found: str

    def __str__(self) -> str:
        case = self.case._replace(ingress=self.ingress)
        return (
            f"{self.what}, port {self.port} at {' and '.join(self.asked)}: said {self.said}, found {self.found}. {case}"
        )


class Seen(t.NamedTuple):
    """What is answered, before and after the upgrade."""

    today: Answers
    after: Answers


class Comparison:
    """Cases that share a pod. Use it as a context, in which their programs run."""

    def __init__(self, pod: Pod, cases: t.Sequence[Case]) -> None:
        self.pod, self.cases = pod, cases
        self.counted: Counter[str] = Counter()
        self._asked: dict[tuple[t.Any, ...], dict[Question, Answer | None]] = {}
        self._sockets = ""
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Comparison:
        with self._stack as stack:
            stack.callback(self.pod.push, {})  # some may have listeners of their own
            stack.callback(self.pod.programs.unbind)
            self.pod.programs.bind(bind for case in self.cases for bind in case.binds)
            past = [port for case in self.cases for port in (case.excluded if case.proxy else case.block)]
            stack.enter_context(self.pod.excluding(past))
            questions = [question for case in self.cases for question in case.questions()]
            self.direct = self.pod.ask(questions, inside=True)
            self.before = self._seen(dict.fromkeys(range(len(self.cases))))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stack.close()

    # --- What is answered ---

    def _seen(self, ingress: t.Mapping[int, Ingress | None]) -> Seen:
        """By the cases of these numbers, with this ingress in the place of that of their Sidecars."""
        answers = []
        for when in (0, 1):
            answers.append(
                self._answers(
                    {n: self.cases[n].inbound(self.cases[n].planes()[when], chosen) for n, chosen in ingress.items()}
                )
            )
            self._sockets = self._sockets or self.pod.sockets()  # with those that Envoy has today
        return Seen(*answers)

    def _answers(self, inbounds: t.Mapping[int, Inbound]) -> Answers:
        """Of each case with each configuration once."""
        new = {number: inbound for number, inbound in inbounds.items() if (number, inbound) not in self._asked}
        if new:
            self.pod.push({str(number): inbound for number, inbound in new.items()})
            questions = [question for number in new for question in self.cases[number].questions()]
            found = self.pod.ask(questions)
            self.counted["connections"] += len(questions)
            for number, inbound in new.items():
                self._asked[number, inbound] = {each: found[each] for each in self.cases[number].questions()}
        return {question: by for each in inbounds.items() for question, by in self._asked[each].items()}

    def _sockets_under(self, ingress: t.Mapping[int, Ingress]) -> str:
        """The programs' sockets, and those that Envoy has today with this ingress of the cases of these numbers."""
        self.pod.push({str(n): self.cases[n].inbound(self.cases[n].today, chosen) for n, chosen in ingress.items()})
        return self.pod.sockets()

    # --- What the collection says ---

    def differences(self) -> list[Difference]:
        reports = [case.report(self._sockets) for case in self.cases]
        found: list[Difference] = []
        for case, report in zip(self.cases, reports):
            found += self._verdicts("verdict", case, report, self.before)
        return [*found, *self._plans(reports), *self._binds(reports)]

    def _verdicts(self, what: str, case: Case, report: dict[str, t.Any], seen: Seen) -> t.Iterator[Difference]:
        said = cluster.verdicts(report)
        for port in case.exposed:
            right = wanted(case, port, *seen, self.direct)
            verdict = said.get(("web", port), "ok")
            self.counted["verdicts"] += 1
            self.counted[f"verdicts: {right}"] += 1
            if verdict != right:
                yield Difference(what, case, port, tuple(case.asked(port)), case.ingress, verdict, right)

    def _plans(self, reports: t.Sequence[dict[str, t.Any]]) -> t.Iterator[Difference]:
        """What a plan cures is reached, before and after the upgrade; all else that was reached still is; and the next check sees it so."""
        plans = {n: report["remediations"][0]["manifest"] for n, report in enumerate(reports) if report["remediations"]}
        seen = self._seen({number: manifest["spec"]["ingress"] for number, manifest in plans.items()})
        sockets = self._sockets_under({n: manifest["spec"]["ingress"] for n, manifest in plans.items()})
        for number, manifest in plans.items():
            case = self.cases[number]._replace(ingress=tuple(manifest["spec"]["ingress"]))
            self.counted["plans"] += 1
            for entry in case.ingress:
                for plane in case.planes():
                    if not valid(plane.version, entry):
                        port = entry["port"]["number"]
                        yield Difference(
                            "refused", case, port, (), case.ingress, str(entry), f"istiod {plane} refuses it"
                        )
            cured = {f["port"] for f in reports[number]["findings"] if f["remedy"] != "change_bind"}
            yield from self._effects(case, cured, seen)
            others = [each for each in case.sidecars() if each["metadata"]["name"] != manifest["metadata"]["name"]]
            applied = {**manifest, "metadata": {**manifest["metadata"], "creationTimestamp": "2026-02-01T00:00:00Z"}}
            yield from self._verdicts("verdict with the plan", case, case.report(sockets, [*others, applied]), seen)

    def _effects(self, case: Case, cured: set[int], seen: Seen) -> t.Iterator[Difference]:
        for port in case.block:
            for ip in case.asked(port) if port in case.exposed else case.kind.ips:
                for when, now, then in zip(("today", "after"), self.before, seen):
                    self.counted["cured" if port in cured else "left alone"] += 1
                    what = "not cured" if port in cured else "harmed" if now[ip, port] else ""
                    if what and not then[ip, port]:
                        yield Difference(what, case, port, (ip,), case.ingress, "reached", f"not reached {when}")

    def _binds(self, reports: t.Sequence[dict[str, t.Any]]) -> t.Iterator[Difference]:
        """Where only a change of the bind is offered no endpoint would have done, or another port stands in the way of every Sidecar."""
        refused = {n: [f["port"] for f in r["findings"] if f["remedy"] == "change_bind"] for n, r in enumerate(reports)}
        refused = {number: ports for number, ports in refused.items() if ports and self.cases[number].proxy}
        would_do: dict[tuple[int, int], list[str]] = {}
        harmless: set[tuple[int, int]] = set()
        for form in FORMS:
            ingress = {number: [_entry(port, form) for port in self.cases[number].exposed] for number in refused}
            seen = self._seen(ingress)
            for number, entries in ingress.items():
                case = self.cases[number]
                for entry in entries:
                    if not all(valid(plane.version, entry) for plane in case.planes()):
                        continue
                    port = entry["port"]["number"]
                    asked = [(ip, port) for ip in case.asked(port)]
                    if all(then[question] for then in seen for question in asked):
                        would_do.setdefault((number, port), []).append(form or "no endpoint")
                    if all(then[q] or not now[q] for now, then in zip(self.before, seen) for q in asked):
                        harmless.add((number, port))
        for number, ports in refused.items():
            case = self.cases[number]
            listed = {entry["port"]["number"] for entry in case.ingress}
            free = all((number, port) in harmless or port in listed for port in case.exposed if port not in ports)
            for port in ports:
                self.counted["binds to change"] += 1
                if free and (number, port) in would_do:
                    found = " or ".join(would_do[number, port])
                    yield Difference(
                        "could be cured", case, port, tuple(case.asked(port)), case.ingress, "change_bind", found
                    )


def _entry(port: int, form: str) -> Entry:
    return {"port": {"number": port, "protocol": "TCP"}, **({"defaultEndpoint": f"{form}:{port}"} if form else {})}
