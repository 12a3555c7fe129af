# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""The rule: what becomes of one exposed port of one pod, today and after the upgrade.

The kernel decides, not the name of an address: a connection arrives if a listener accepts it at the address that the delivery
dials. IST0143 is the case in which the only listeners that could have are bound to localhost.
"""

from __future__ import annotations

import itertools
import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.delivery import Cause, Delivery
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.kube import is_ipv6
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.report import IMPACTS
from ansible_collections.meshops.istio_precheck.plugins.module_utils._sockets.lookup import (
    accepts,
    is_loopback,
    is_wildcard,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._sockets.parse import Listener
from ansible_collections.meshops.istio_precheck.plugins.module_utils._sockets.tables import Holder, differ


class Verdict(t.NamedTuple):
    """`outcome`: `ok`, `finding`, `remediated` or `not_listening`; `impact` is set for a finding only."""

    outcome: str
    impact: str | None
    reason: str
    listeners: tuple[str, ...]
    ends: tuple[Delivery, Delivery] | None = None
    """The deliveries of today and of after the upgrade that decided, where these depend on the address and the listeners."""
    opens: bool = False
    """Whether nothing accepts where today's delivery dials, and something does where that of after the upgrade dials: the port is closed until then."""
    moves: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    """The listeners that accept today and those that do after the upgrade, where these are others. In a finding they are another program's."""
    one_program: bool = False
    """Whether it is known of those that one program has both."""


def judge(
    listeners: t.Sequence[Listener],
    port: int,
    ips: t.Sequence[str],
    today: Delivery,
    after: Delivery,
    idle: t.Sequence[str] = (),
    holders: t.Sequence[Holder] = (),
) -> Verdict:
    """The verdict for `port` of a pod with these listeners, and who has them, as far as that is known.

    `ips` are the pod's addresses that clients of the port use, `today` and `after` the port's delivery before and after the upgrade.
    A pod with several is as bad as its worst address: its clients do not choose. Without any it cannot be asked for. `idle` says of each of its
    containers that does not run that it does not. Where it is not known whether a door is there, the worse of both counts, and not for certain.
    """
    shut = _judge_doors(listeners, port, ips, today, after, idle, holders, True)
    unsure = today.uncertain or after.uncertain
    if unsure is None:
        return shut
    wide = _judge_doors(listeners, port, ips, today, after, idle, holders, False)
    if (shut.outcome, shut.impact) == (wide.outcome, wide.impact):
        return shut if shut.opens is wide.opens else min(shut, wide, key=lambda each: each.opens)
    worse = min(shut, wide, key=_rank)
    impact = "unknown" if worse.outcome == "finding" else None
    return worse._replace(
        impact=impact,
        reason=f"{worse.reason.removesuffix('.')}; that is not certain, because {unsure}.",
        opens=False,
        moves=((), ()),
    )


def _judge_doors(
    listeners: t.Sequence[Listener],
    port: int,
    ips: t.Sequence[str],
    today: Delivery,
    after: Delivery,
    idle: t.Sequence[str],
    holders: t.Sequence[Holder],
    shut: bool,
) -> Verdict:
    """The verdict if the doors of which that is not known are there (`shut`), or not."""
    ends = [after] if after.kind != "unknown" else _worst(port, today, after)
    here = [listener for listener in listeners if listener.port in (port, today.port, after.port)]
    for way in today.doors:
        here = way.door.programs(here)
    verdicts = []
    for ip, end in itertools.product(ips, ends):
        met = today.met(ip, port, here, shut), end.met(ip, port, here, shut)
        verdict = _judge_address(here, port, ip, *met, len(ips) > 1, idle, holders)
        verdicts.append(verdict if met == (today, end) else verdict._replace(ends=met))
    worst = min(verdicts, key=_rank, default=_silent("The pod has no address", idle))
    return worst if after.kind != "unknown" else worst._replace(opens=False, moves=((), ()))


def _worst(port: int, today: Delivery, after: Delivery) -> list[Delivery]:
    """What a delivery of after the upgrade that is not known may be: to the pod IP, or, where today's is known and so may change, to localhost."""
    passed = after._replace(kind="pod_ip", address=None, port=port, cause=Cause("perhaps", ("the pod IP", after.why)))
    if today.kind == "unknown" or not after.address:
        return [passed]
    return [passed, after._replace(kind="localhost", cause=Cause("perhaps", (after.address, after.why)))]


def _judge_address(
    listeners: t.Sequence[Listener],
    port: int,
    ip: str,
    today: Delivery,
    after: Delivery,
    several: bool,
    idle: t.Sequence[str],
    holders: t.Sequence[Holder],
) -> Verdict:
    """The verdict for one address, by three questions; and a finding, too, where it arrives at another program after than today.

    | arrives after | listens on localhost | arrives today | verdict |
    |---|---|---|---|
    | yes | not the one that is reached | | ok |
    | yes | yes | | remediated |
    | no | no | yes | finding: it breaks, or may |
    | no | no | no | not_listening |
    | no | yes | no | finding: unreachable |
    | no | yes | yes | finding: it breaks, or may |
    """
    over = f" over {'IPv6' if is_ipv6(ip) else 'IPv4'}" if several else ""
    asked = [listener for listener in listeners if listener.port == port]
    reached = _arrives(listeners, port, ip, today)
    if _arrives(listeners, port, ip, after):
        dialled = [listener for listener in listeners if listener.port == after.port]
        shown = asked if after.kind == "unix" else dialled
        opens = not reached
        now, then = _moves(listeners, ip, today, after)
        another = differ(holders, now, then) if now else None
        moves = _texts(now), _texts(then)
        if another:
            said = (
                f"Today {today.known}, where {_names(now)} accepts, but after the upgrade {after.why}{over}, "
                f"where {_names(then)} accepts, which is another program's."
            )
            return Verdict("finding", "breaks_on_upgrade", said, (*moves[0], *moves[1]), moves=moves)
        if not _is_local(shown) or accepts(listeners, port, ip):
            where = f"{after.why}{over}, where {_names(shown) or 'it'} accepts"
            today_said = f"Today {today.known}{'' if today.kind == 'closed' else ', where nothing accepts'}"
            said = f"{today_said}, but after the upgrade {where}." if opens else f"{_upper(where)}."
            verdict = Verdict("ok", None, said, _texts(shown), opens=opens)
        else:
            verdict = _remediated(shown, reached, today, after, over)._replace(opens=opens)
        return verdict._replace(moves=moves, one_program=another is False)
    found = (
        [listener for listener in listeners if listener.port == today.port] if reached and today.kind != "unix" else []
    )
    texts = _texts([*found, *asked] if reached and today.port != port else asked)
    if _is_local(asked):
        return _on_localhost(_names(asked), texts, found if today.port != port else [], reached, today, after, over)
    if reached:
        return _lost(_names(found), _texts(found), today, f"{after.why}{over}")
    if not asked:
        where = "the port" if after.port == port else f"port {after.port}, where {after.why}"
        return _silent(f"Nothing listens on {where}", idle)
    listens = f"It listens on {_names(asked)}, but {after.why}{over}, where nothing accepts."
    return Verdict("not_listening", None, listens, texts)


def _moves(
    listeners: t.Sequence[Listener], ip: str, today: Delivery, after: Delivery
) -> tuple[list[Listener], list[Listener]]:
    """See Verdict. Nothing where a delivery is to no address, or is not known."""
    ends = (today, after)
    if len(listeners) < 2 or any(end.kind not in ("localhost", "pod_ip", "kernel") for end in ends):
        return [], []
    now, then = (_accepting(listeners, end.port, end.destination(ip)) for end in ends)
    return (now, then) if now and then and not set(now) & set(then) else ([], [])


def _accepting(listeners: t.Sequence[Listener], port: int, address: str) -> list[Listener]:
    """Those that the kernel gives a connection to: one that is bound to the address goes before one that is bound to any."""
    found = [each for each in listeners if accepts([each], port, address)]
    return [each for each in found if not is_wildcard(each.address)] or found


def _remediated(shown: t.Sequence[Listener], reached: bool, today: Delivery, after: Delivery, over: str) -> Verdict:
    """A localhost port to which the delivery of after the upgrade still leads."""
    on = _names(shown)
    if reached:
        return Verdict("remediated", None, f"It listens on {on} only, and {after.why}{over}.", _texts(shown))
    said = f"It listens on {on} only: today {today.known}, which does not reach it, but after the upgrade {after.why}."
    return Verdict("remediated", None, said, _texts(shown))


def _on_localhost(
    on: str,
    texts: tuple[str, ...],
    elsewhere: t.Sequence[Listener],
    reached: bool,
    today: Delivery,
    after: Delivery,
    over: str,
) -> Verdict:
    """The finding on a port that listens on localhost only. `elsewhere`: what today's delivery reaches on another port."""
    now, then = f"today {today.known}", f"after the upgrade {after.why}{over}"
    if not reached and today.cause == after.cause:
        impact, said = "unreachable", f", and {after.why}{over}: other pods cannot reach it today either."
    elif not reached:
        impact, said = "unreachable", f": {now}, {then}, and neither reaches it."
    elif today.kind == "unknown":
        impact, said = "unknown", f": {then}, and how it is delivered today is not known, because {today.why}."
    else:
        where = f", where {_names(elsewhere)} accepts" if elsewhere else ""
        impact, said = "breaks_on_upgrade", f": {now}{where}, {then}."
    return Verdict("finding", impact, f"It listens on {on} only{said}", texts)


def _silent(said: str, idle: t.Sequence[str]) -> Verdict:
    return Verdict("not_listening", None, f"{'; '.join([said, *([' and '.join(idle)] if idle else [])])}.", ())


def answers(listeners: t.Sequence[Listener], port: int, ip: str) -> bool:
    """Whether who asks for the port at this address finds a listener; an undecidable table is taken as in _arrives()."""
    return _arrives(listeners, port, ip, Delivery("kernel", None, port, Cause("no_sidecar")))


def is_local(listeners: t.Sequence[Listener], port: int) -> bool:
    """Whether a listener on the port is there for the pod itself alone."""
    return _is_local([listener for listener in listeners if listener.port == port])


def _lost(on: str, texts: tuple[str, ...], today: Delivery, after: str) -> Verdict:
    """The finding on a port that has no localhost listener of its own: it is what the delivery of today reaches, and that of after does not."""
    if today.kind == "unknown":
        unknown = f"today {on or 'something'} may, but how it is delivered is not known, because {today.why}"
        return Verdict("finding", "unknown", f"After the upgrade {after}, where nothing accepts; {unknown}.", texts)
    where, nothing = (f", where {on} accepts", "does") if on else ("", "accepts")
    return Verdict(
        "finding",
        "breaks_on_upgrade",
        f"Today {today.known}{where}, but after the upgrade {after}, where nothing {nothing}.",
        texts,
    )


def _arrives(listeners: t.Sequence[Listener], port: int, ip: str, delivery: Delivery) -> bool:
    """Whether a connection delivered like this finds a listener; for an unknown delivery, whether it may.

    An undecidable table (a lone `::` whose IPV6_V6ONLY is not to be seen) is taken as dual-stack, the kernel's default. Not beside a
    localhost listener on the same port: the kernel lets a dual-stack socket share the port with an IPv4 one only if both ask for
    SO_REUSEPORT, so there the `::` is most likely IPv6 alone, and passing it could hide an outage.
    """
    if delivery.kind == "closed":
        return False
    if delivery.kind == "unix" or (delivery.kind == "unknown" and delivery.address is None):
        return True
    found = accepts(listeners, delivery.port, delivery.destination(ip))
    if not found and delivery.kind == "unknown":
        found = accepts(listeners, port, ip) or found
    return (
        not _is_local([listener for listener in listeners if listener.port == delivery.port])
        if found is None
        else found
    )


def _is_local(listeners: t.Sequence[Listener]) -> bool:
    """Whether one of them is there for the pod itself alone: on a localhost address, or bound to the interface lo."""
    return any(is_loopback(listener.address) or listener.interface == "lo" for listener in listeners)


def _texts(listeners: t.Sequence[Listener]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(listener.text for listener in listeners))


def _names(listeners: t.Sequence[Listener]) -> str:
    return " and ".join(_texts(listeners))


def _rank(verdict: Verdict) -> tuple[int, int, bool, bool]:
    outcomes = ("finding", "not_listening", "remediated", "ok")
    impact = IMPACTS.index(verdict.impact) if verdict.impact else 0
    return outcomes.index(verdict.outcome), impact, not verdict.opens, not verdict.moves[0]


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
