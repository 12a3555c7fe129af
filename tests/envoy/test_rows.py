# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Each row of the tables of docs/verdicts.md in a pod of its own: what the page says, what the collection says, and what a connection finds."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.shapes import PASSTHROUGH_ENV
from ansible_collections.meshops.istio_precheck.tests.envoy import kinds
from ansible_collections.meshops.istio_precheck.tests.envoy.cases import WORST, Case, Plane, istiod, wanted
from ansible_collections.meshops.istio_precheck.tests.envoy.draws import HINGES
from ansible_collections.meshops.istio_precheck.tests.envoy.inbound import Entry, Settings, inbound, is_6, valid
from ansible_collections.meshops.istio_precheck.tests.envoy.pods import (
    CLIENT_4,
    CLIENT_6,
    Answer,
    Capture,
    Kind,
    Pod,
)
from ansible_collections.meshops.istio_precheck.tests.helpers import cluster, truth


def plane(version: str, opt_out: bool = False, localhost: bool = False, dual: bool = False) -> Plane:
    return Plane(tuple(map(int, version.split("."))), Settings(opt_out, localhost, dual=dual))


def entry(port: int, endpoint: str) -> Entry:
    return {"port": {"number": port}, **({"defaultEndpoint": endpoint} if endpoint else {})}


# ---------------------------------------------------------------------------------------------------------------------
# 1. Where a connection ends up

NO_PROXY = "no proxy"
TPROXY_V6_OLD = "interception mode TPROXY, pod with IPv6 alone, istio-init up to 1.11"
SSH_OLD = ("port 22, istio-init up to 1.12", "port 22, istio-cni, proxy up to 1.12")
MADE_ANEW = {TPROXY_V6_OLD: (1, 12), **dict.fromkeys(SSH_OLD, (1, 13))}
"""From which version on an injector makes another pod: what is said of after the upgrade, too, is in tests/unit."""
WORLDS: dict[str, tuple[Kind, Capture | str]] = {
    "interception mode TPROXY": (kinds.TPROXY, Capture()),
    TPROXY_V6_OLD: (
        kinds.TPROXY_V6._replace(route_localnet=False),
        Capture(init=(1, 11)),
    ),  # so that Envoy does not wait long
    "interception mode TPROXY, pod with IPv6 alone, istio-init from 1.12": (kinds.TPROXY_V6, Capture()),
    "port 15008, interception mode TPROXY": (kinds.TPROXY, Capture()),
    "pod with both families, asked over IPv4": (kinds.V4_FIRST, Capture()),
    "pod with both families, asked over IPv6": (kinds.V4_FIRST, Capture()),
    "pod with both families, IPv6 first, asked over IPv4": (kinds.V6_FIRST, Capture()),
    "pod with both families, IPv6 first, asked over IPv6": (kinds.V6_FIRST, Capture()),
    "pod with IPv6 alone": (kinds.V6_ALONE, Capture()),
    **dict.fromkeys(
        (
            *("no sidecar", "hostNetwork", "gateway", "waypoint", "agent of proxyless gRPC"),
            "ambient: ztunnel delivers",  # of which there is none here: it would connect to the pod IP
        ),
        (kinds.PLAIN, NO_PROXY),
    ),
    **dict.fromkeys(
        (
            "interception mode NONE, by annotation",
            "interception mode NONE, by `proxy.istio.io/config`",
            "interception mode NONE, by the proxy's variable",
            "interception mode NONE, Sidecar lists the port",
        ),
        (kinds.NONE, Capture()),
    ),
    **dict.fromkeys(
        (
            "port excluded, by annotation",
            "port excluded, by istio-init `-d`",
            "excluded port, Sidecar lists it",
            "status port set by annotation",
        ),
        (kinds.PLAIN, Capture(exclude=(8080,))),
    ),
    "port excluded, but includes are a list with it": (kinds.PLAIN, Capture(include="8080", exclude=(8080,))),
    "includes are a list without the port": (kinds.PLAIN, Capture(include="80,18080")),
    "includes are empty": (kinds.PLAIN, Capture(include="")),
    "includes are empty, by istio-init `-b`": (kinds.PLAIN, Capture(include="")),
    **dict.fromkeys(SSH_OLD, (kinds.PLAIN, Capture(init=(1, 12)))),
    "Sidecar: `127.0.0.1:8080`, pod with IPv6 alone": (kinds.V6_ALONE, Capture()),
}
"""The pods that are not ordinary: one IPv4 address, REDIRECT, everything captured."""

ROWS = {row[0]: row for row in truth.DELIVERY if row[3] is None or valid((1, 30), entry(8080, row[3]))}
"""But for those of what every istiod refuses: what it would send of that is not known."""


@pytest.mark.parametrize("special", ROWS)
def test_a_connection_ends_up_where_the_page_says(special: str, envoy):
    _special, spec, port, endpoint, cells = ROWS[special]
    kind, capture = WORLDS.get(special, (kinds.PLAIN, Capture()))
    proxied = isinstance(capture, Capture)
    asked = truth.ASKED.get(special, kind.ips[0])
    with Pod(kind, envoy if proxied else None, capture if isinstance(capture, Capture) else None) as pod:
        socket = f"{pod.folder}/app.sock"
        # In mode NONE Envoy listens where the program does not.
        own = [_joined(ip, port) for ip in kind.ips if kind.mode != "NONE" or endpoint is None]
        binds = [f"127.0.0.1:{port}", f"[::1]:{port}", *own, "127.0.0.1:9000", f"unix:{socket}"]
        pod.programs.bind(binds)
        real = (endpoint or "").replace("/run/app.sock", socket)
        ingress = [entry(8080, real)] if endpoint is not None else []
        for cell, variants in zip(cells, truth.PLANES.values()):
            settings = variants[len(special) % len(variants)]
            version = tuple(map(int, settings["version"].split(".")))
            if proxied:
                known = Settings(settings.get("opt_out", False), settings.get("localhost", False))
                pod.push({"pod": inbound(version, known, kind.ips, kind.mode, [port], ingress)})
            answer = pod.ask([(asked, port)])[asked, port]
            words = _words(answer, port, asked)
            if words == {truth.KERNEL} and (kind.mode == "TPROXY" or special.startswith("ambient")):
                words = {truth.IP}  # TPROXY shows the client's address whoever delivers; and there is no ztunnel here
            # What nobody looks at is set in this pod, and in that of the next test it is not.
            assert (truth.LO if cell == truth.UNKNOWN else cell) in words, (settings, answer)
            if cell == truth.UNKNOWN or port in ISTIOS_OWN or version >= MADE_ANEW.get(special, (9,)):
                continue
            for bind in binds[: 2 + len(own)]:
                said = _verdict(spec, settings, port, endpoint, bind, asked)
                assert said == _found(bind, answer), (settings, bind, answer)


def test_in_tproxy_mode_localhost_is_not_reached_without_route_localnet(envoy):
    kind = kinds.TPROXY_NO_LOCALNET
    with Pod(kind, envoy, Capture()) as pod:
        pod.programs.bind(["127.0.0.1:8080", "10.0.0.5:9090"])
        pod.push({"pod": inbound((1, 24, 0), Settings(localhost=True), kind.ips, kind.mode, [8080], [])})
        found = pod.ask([("10.0.0.5", 8080), ("10.0.0.5", 9090)])
    assert found["10.0.0.5", 8080] is None
    assert found["10.0.0.5", 9090]


ISTIOS_OWN = (15008, 15020, 15021, 15090)
"""Ports on which there is no verdict."""


def _joined(ip: str, port: int) -> str:
    return f"[{ip}]:{port}" if is_6(ip) else f"{ip}:{port}"


def _words(answer: Answer | None, port: int, asked: str) -> set[str]:
    """What the page calls the place from which this answer came."""
    if answer is None:
        return {truth.CLOSED}
    if answer.by.startswith("unix:"):
        return {truth.UNIX}
    host, _colon, number = answer.by.rpartition(":")
    host = host.strip("[]")
    if host in (truth.LO, truth.LO6):
        return {host if int(number) == port else f"{host} port {number}"}
    if answer.source in (CLIENT_4, CLIENT_6):
        return {truth.KERNEL}
    return {truth.IP, host} if host == asked else {host}


def _verdict(spec: t.Any, settings: t.Any, port: int, endpoint: str | None, bind: str, asked: str) -> str:
    pod = cluster.pod(**spec)
    families = ["IPv6" if is_6(asked) else "IPv4"]
    ports = cluster.report(
        pods=[pod],
        services=[cluster.service(ports=[cluster.port(80, port)], families=families)],
        istiods=[cluster.istiod(**settings)],
        sidecars=[cluster.sidecar(ingress={8080: endpoint or None})] if endpoint is not None else [],
        binds=[bind],
        target=settings["version"],
        scope="all",
    )
    return cluster.verdicts(ports).get(("web", port), "ok")


def _found(bind: str, answer: Answer | None) -> str:
    """What the verdict should be where only this one is bound, or the Unix socket."""
    local = bind.startswith(("127.", "[::1]"))
    if answer and (answer.by == bind or answer.by.startswith("unix:")):
        return "remediated" if local else "ok"
    return "unreachable" if local else "not_listening"


# ---------------------------------------------------------------------------------------------------------------------
# 2. What becomes of it


class Side(t.NamedTuple):
    """An istiod, or several where the page says that it is not known, and the endpoint of a Sidecar that it sees."""

    planes: tuple[Plane, ...]
    endpoint: str = ""

    @property
    def known(self) -> bool:
        return len(self.planes) == 1


def side(words: str, when: str, kind: Kind) -> Side:
    """What delivers so, today or after the upgrade."""
    today = when == "today"
    passes = plane("1.20.8" if today else "1.24.0", dual=kind.dual)
    local = plane("1.20.8", opt_out=True, dual=True) if kind.dual and today else plane("1.9.9")
    local = local if today else plane("1.24.0", localhost=True, dual=kind.dual)
    where, _port, number = words.partition(" port ")
    if where == "unknown":
        return Side((local, passes), f":{number}" if number else "")
    if where == truth.UNIX:
        return Side((passes,), "unix:")
    if number:
        return Side((passes,), f"{where}:{number}")
    if where == truth.LO6 and kind != kinds.V6_ALONE:
        return Side((passes,), "[::1]:8080")
    return Side((local if where in (truth.LO, truth.LO6) else passes,))


def kind_of(asked: str, today: str) -> Kind:
    if truth.LO6 in today and asked == "IPv6":
        return kinds.V6_ALONE
    # Only with ISTIO_DUAL_STACK does IPv6 meet the proxy.
    return kinds.V4_FIRST if asked == "IPv4" else kinds.DUAL_V4_FIRST


FAMILIES = {"IPv4": ("IPv4",), "IPv6": ("IPv6",), "both": ("IPv4", "IPv6")}


@pytest.mark.parametrize("row", truth.VERDICTS, ids=lambda row: ", ".join(row[:4]))
def test_what_becomes_of_a_port_is_what_the_page_says(row, envoy):
    binds, asked, today, after, verdict = row
    kind = kind_of(asked, today)
    now, then = side(today, "today", kind), side(after, "after", kind)
    kernel = today == truth.KERNEL
    with Pod(kind, envoy, Capture(exclude=(8080,) if kernel else ())) as pod:
        socket = f"{pod.folder}/app.sock"
        bound = [] if binds == "nothing" else binds.split()
        pod.programs.bind([*bound, *([f"unix:{socket}"] if "unix:" in (now.endpoint, then.endpoint) else [])])
        case = _alone(kind, now.planes[0], then.planes[0], FAMILIES[asked], bound)
        direct = pod.ask(case.questions(), inside=True)
        seen = {}
        for when, which in (("today", now), ("after", then)):
            for each in which.planes:
                endpoint = f"unix://{socket}" if which.endpoint == "unix:" else which.endpoint
                pod.push({"pod": case.inbound(each, [entry(8080, endpoint)] if endpoint else [])})
                seen[when, each] = pod.ask(case.questions())
        sockets = pod.sockets()
    outcomes = {
        wanted(case, 8080, seen["today", one], seen["after", other], direct)
        for one in now.planes
        for other in then.planes
    }
    # What only one of two istiods reaches today is neither lost for certain nor safe.
    found = min(outcomes, key=WORST.index) if now.known or len(outcomes) == 1 else "unknown"
    assert _of_row(case, now, then, sockets, kernel) == verdict
    if now.known or then.known:
        assert found == verdict
    else:  # where nobody knows of a change, none is reported
        assert verdict in outcomes


def _alone(kind: Kind, today: Plane, after: Plane, families: tuple[str, ...], binds: t.Sequence[str]) -> Case:
    """A pod that nothing else is in, of one port."""
    return Case(
        kind,
        today,
        after,
        canary=False,
        sidecar="",
        ingress=(),
        exposed={8080: families},
        block=range(8080, 8081),
        excluded=frozenset(),
        proxy=True,
        binds=tuple(binds),
    )


def _of_row(case: Case, now: Side, then: Side, sockets: str, excluded: bool) -> str:
    """The collection's verdict, where today's istiod and that to come both run and see the Sidecars of their revision."""
    istiods = [istiod(now.planes[-1]), istiod(then.planes[-1], "canary")]
    unlisted = [] if then.known else [{"resource": "configmaps", "detail": "forbidden"}]
    if not now.known and now.endpoint:  # what `:PORT` means is not known without the version
        istiods[0]["version"] = "?"
    elif not now.known:  # a revision of unknown version would count beside the one to come
        istiods[0]["envUnknown"] = [PASSTHROUGH_ENV]
    sidecars = []
    for revision, which in (("default", now), ("canary", then)):
        if which.endpoint:
            endpoint = "unix:///run/app.sock" if which.endpoint == "unix:" else which.endpoint
            sidecars.append(
                cluster.sidecar(revision, selector={"app": "web"}, ingress={8080: endpoint}, revision=revision)
            )
    if now.endpoint == then.endpoint and sidecars:
        sidecars = [{**sidecars[0], "metadata": {**sidecars[0]["metadata"], "labels": {}}}]
    table = [line for line in sockets.splitlines() if line.split()[3].endswith((":8080", ":9000", ":9999", ":15006"))]
    annotations = {"traffic.sidecar.istio.io/excludeInboundPorts": "8080"} if excluded else None
    report = cluster.report(
        pods=[cluster.pod(ips=case.kind.ips, annotations=annotations, env=case.env())],
        services=[cluster.service(families=case.exposed[8080])],
        istiods=istiods,
        sidecars=sidecars,
        tables=[cluster.table(text="".join(f"{line}\n" for line in table))],
        target=".".join(map(str, then.planes[0].version)),
        **({"unlisted": unlisted} if unlisted else {}),
    )
    return cluster.verdict(report)


# ---------------------------------------------------------------------------------------------------------------------
# 3. The two hops


@pytest.mark.parametrize("row", truth.HOPS, ids=lambda row: f"{row[0]} {row[1]} to {row[2]}")
def test_a_hop_breaks_where_the_page_says(row, envoy):
    now, settings, target, verdict = row
    chosen = truth.SETTINGS[settings]
    today = [plane(version, **chosen) for version in (("1.9.9", "1.20.8") if now == "unreadable" else (now,))]
    # Without a target it is any that delivers to the pod IP, unless the mesh has said for good that it does not.
    stays = today[0].settings.localhost and today[0].version >= (1, 22)
    after = plane(target or "1.30", **(chosen if target or stays else {}))
    with Pod(kinds.PLAIN, envoy) as pod:
        pod.programs.bind(["127.0.0.1:8080"])
        case = _alone(kinds.PLAIN, today[0], after, ("IPv4",), ["127.0.0.1:8080"])
        direct = pod.ask(case.questions(), inside=True)
        seen = {}
        # An upgrade in place goes through each version on the way.
        way = [Plane(version, today[0].settings) for version in HINGES if today[0].version < version < after.version]
        then = (*(way if target and now != "unreadable" else ()), after)
        for each in (*today, *then):
            pod.push({"pod": case.inbound(each)})
            seen[each] = pod.ask(case.questions())
    outcomes = {
        min((wanted(case, 8080, seen[each], seen[one], direct) for one in then), key=WORST.index) for each in today
    }
    assert (outcomes.pop() if len(outcomes) == 1 else "unknown") == verdict
    seen_as = cluster.istiod("?" if now == "unreadable" else now, **chosen)
    assert cluster.verdict(cluster.report(istiods=[seen_as], target=target)) == verdict


# ---------------------------------------------------------------------------------------------------------------------
# 4. Two programs on one port

TWO = ("127.0.0.1:8080", "10.0.0.5:8080")


@pytest.mark.parametrize(
    "today, after, answering",
    [
        (plane("1.9.9"), plane("1.24.0"), TWO),
        (plane("1.21.6", localhost=True), plane("1.24.0", localhost=True), TWO[::-1]),
        (plane("1.20.8"), plane("1.24.0"), (TWO[1], TWO[1])),
    ],
    ids=str,
)
def test_it_is_a_finding_where_another_program_answers_after_the_upgrade_and_its_plan_keeps_the_one(
    today, after, answering, envoy
):
    case = _alone(kinds.PLAIN, today, after, ("IPv4",), TWO)
    question = (kinds.PLAIN.ips[0], 8080)

    def answers(ingress: list[Entry] | None = None) -> tuple[str, ...]:
        found = []
        for each in (today, after):
            pod.push({"pod": case.inbound(each, ingress)})
            answer = pod.ask([question])[question]
            found.append(answer.by if answer else "")
        return tuple(found)

    with Pod(kinds.PLAIN, envoy) as pod:
        pod.programs.bind(TWO)
        assert answers() == answering
        table = cluster.table(text=pod.kernel_table())
        told = {}
        for programs in (("one", "one"), ("one", "other")):
            holders = [{"inode": pod.programs.inode(bind), "process": name} for bind, name in zip(TWO, programs)]
            told[programs] = cluster.report(
                istiods=[istiod(today)],
                tables=[{**table, "format": "procnet", "holders": holders}],
                target=".".join(map(str, after.version)),
            )
        moved = answering[0] != answering[1]
        assert [cluster.verdict(each) for each in told.values()] == ["ok", "breaks_on_upgrade" if moved else "ok"]
        for remediation in told["one", "other"]["remediations"]:
            assert answers(remediation["manifest"]["spec"]["ingress"]) == (answering[0], answering[0])
        assert bool(told["one", "other"]["remediations"]) == moved
