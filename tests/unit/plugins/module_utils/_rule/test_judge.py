# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re

import pytest

from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.delivery import Delivery
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.judge import judge
from ansible_collections.meshops.istio_precheck.plugins.module_utils._sockets.parse import parse
from ansible_collections.meshops.istio_precheck.tests.helpers import truth
from ansible_collections.meshops.istio_precheck.tests.helpers.cluster import table

IPS = {"IPv4": ["10.0.0.5"], "IPv6": ["fd00::5"], "both": ["10.0.0.5", "fd00::5"]}


def as_delivery(words):
    where, _port, number = words.partition(" port ")
    number = int(number or 8080)
    if where in (truth.LO, truth.LO6):
        return Delivery("localhost", where, number, f"istiod delivers to {where}")
    if where == "unknown":
        return Delivery("unknown", truth.LO, number, "no istiod was found")
    kind = {truth.IP: "pod_ip", truth.KERNEL: "kernel", truth.UNIX: "unix"}[where]
    return Delivery(kind, None, number, f"the {kind} gets it")


def listeners(binds):
    return parse("ss", table(binds=[] if binds == "nothing" else binds.split())["stdout"]).listeners


def judged(binds, asked="IPv4", today=truth.LO, after=truth.IP):
    return judge(listeners(binds), 8080, IPS[asked], as_delivery(today), as_delivery(after))


@pytest.mark.parametrize("binds, asked, today, after, wanted", truth.VERDICTS)
def test_what_becomes_of_a_port_is_what_the_table_says(binds, asked, today, after, wanted):
    found = judged(binds, asked, today, after)
    assert (found.impact or found.outcome) == wanted, found
    assert (found.impact is not None) == (found.outcome == "finding")


MOVED = "127.0.0.1 port 9000"

# Beside the table of verdicts: what is closed where connections go today, and open where they go after the upgrade.
OPENS = [
    ("10.0.0.5:8080", "IPv4", truth.LO, truth.IP, True),
    ("10.0.0.5:8080", "IPv4", MOVED, truth.IP, True),
    ("0.0.0.0:8080", "IPv4", MOVED, truth.IP, True),
    ("10.0.0.5:8080 [fd00::5]:8080", "both", truth.LO, truth.IP, True),
    ("10.0.0.5:8080 [::]:8080", "both", truth.LO, truth.IP, True),
    ("[fd00::5]:8080", "IPv6", truth.LO6, truth.IP, True),
    ("[fd00::5]:8080", "IPv6", truth.LO, truth.IP, True),
    ("127.0.0.1:8080", "IPv4", truth.IP, truth.LO, True),
    ("127.0.0.1:9000", "IPv4", truth.LO, MOVED, True),
    ("0.0.0.0:8080", "IPv4", truth.LO, truth.IP, False),
    ("*:8080", "both", truth.LO, truth.IP, False),
    ("[::]:8080", "IPv6", truth.LO, truth.IP, True),
    ("10.0.0.5:8080", "IPv4", truth.IP, truth.IP, False),
    ("10.0.0.5:8080", "IPv4", truth.KERNEL, truth.IP, False),
    ("10.0.0.5:8080", "IPv4", truth.UNIX, truth.IP, False),
    ("10.0.0.5:8080", "IPv4", "unknown", truth.IP, False),
    ("10.0.0.5:8080", "IPv4", truth.LO, "unknown", False),
    ("0.0.0.0:8080", "IPv4", MOVED, "unknown", False),
    ("10.0.0.9:8080", "IPv4", truth.LO, truth.IP, False),
    ("nothing", "IPv4", truth.LO, truth.IP, False),
]


@pytest.mark.parametrize("binds, asked, today, after, wanted", OPENS)
def test_a_port_opens_if_it_is_closed_where_connections_go_today_and_open_where_they_will(
    binds, asked, today, after, wanted
):
    found = judged(binds, asked, today, after)
    assert found.opens is wanted, found
    assert not wanted or found.outcome in ("ok", "remediated")


# Who accepts today and who will, where these are others.
MOVES = [
    ("10.0.0.5:8080 127.0.0.1:8080", "IPv4", truth.LO, truth.IP, (("127.0.0.1:8080",), ("10.0.0.5:8080",))),
    ("127.0.0.1:9000 0.0.0.0:8080", "IPv4", MOVED, truth.IP, (("127.0.0.1:9000",), ("0.0.0.0:8080",))),
    ("10.0.0.5:8080 127.0.0.1:8080", "IPv4", truth.IP, truth.IP, ((), ())),
    ("10.0.0.5:8080 127.0.0.1:8080", "IPv4", "unknown", truth.IP, ((), ())),
    ("10.0.0.5:8080 127.0.0.1:8080", "IPv4", truth.LO, "unknown", ((), ())),
    ("0.0.0.0:8080 127.0.0.1:8080", "IPv4", truth.LO, truth.IP, (("127.0.0.1:8080",), ("0.0.0.0:8080",))),
    ("0.0.0.0:8080", "IPv4", truth.LO, truth.IP, ((), ())),
    ("127.0.0.1:8080", "IPv4", truth.LO, truth.IP, ((), ())),
]


@pytest.mark.parametrize("binds, asked, today, after, wanted", MOVES)
def test_it_is_known_where_another_listener_accepts_after_the_upgrade(binds, asked, today, after, wanted):
    assert judged(binds, asked, today, after).moves == wanted


@pytest.mark.parametrize(
    "binds, wanted",
    [
        ("10.0.0.5:8080", "Today istiod delivers to 127.0.0.1, where nothing accepts, but after the upgrade the pod_ip gets it, where 10.0.0.5:8080 accepts."),
        ("0.0.0.0:8080", "The pod_ip gets it, where 0.0.0.0:8080 accepts."),
    ],
)  # fmt: skip
def test_the_sentence_says_that_a_port_opens(binds, wanted):
    assert judged(binds).reason == wanted


@pytest.mark.parametrize("binds, asked, today, after, wanted", truth.VERDICTS)
def test_each_verdict_has_one_sentence(binds, asked, today, after, wanted):
    reason = judged(binds, asked, today, after).reason
    assert re.fullmatch(r"[A-Z][^\n]*\.", reason) and not re.search(r"\. [A-Z]|  |\bNone\b|\(\)", reason), reason


@pytest.mark.parametrize(
    "asked, today, after, wanted",
    [
        ("IPv4", truth.LO, truth.IP, "only: today istiod delivers to 127.0.0.1, after the upgrade the pod_ip gets it."),
        (
            "both",
            truth.LO,
            truth.IP,
            "only: today istiod delivers to 127.0.0.1, after the upgrade the pod_ip gets it over IPv4.",
        ),
        ("IPv4", truth.IP, truth.IP, "only, and the pod_ip gets it: other pods cannot reach it today either."),
        (
            "IPv4",
            truth.IP,
            truth.KERNEL,
            "only: today the pod_ip gets it, after the upgrade the kernel gets it, and neither reaches it.",
        ),
        (
            "IPv4",
            "unknown",
            truth.IP,
            "only: after the upgrade the pod_ip gets it, and how it is delivered today is not known, because no istiod was found.",
        ),
        (
            "IPv4",
            truth.LO,
            "unknown",
            "only: today istiod delivers to 127.0.0.1, after the upgrade it may be delivered to the pod IP, because no istiod was found.",
        ),
        ("IPv4", truth.LO, truth.LO, "only, and istiod delivers to 127.0.0.1."),
        ("both", truth.LO, truth.LO, "only, and istiod delivers to 127.0.0.1 over IPv4."),
        (
            "IPv4",
            truth.IP,
            truth.LO,
            "only: today the pod_ip gets it, which does not reach it, but after the upgrade istiod delivers to 127.0.0.1.",
        ),
    ],
)
def test_the_sentence_says_what_is_and_what_will_be(asked, today, after, wanted):
    assert judged("127.0.0.1:8080", asked, today, after).reason == f"It listens on 127.0.0.1:8080 {wanted}"


@pytest.mark.parametrize(
    "binds, after, wanted",
    [
        ("nothing", truth.IP, "Nothing listens on the port."),
        ("nothing", "127.0.0.1 port 9000", "Nothing listens on port 9000, where istiod delivers to 127.0.0.1."),
        ("10.0.0.9:8080", truth.IP, "It listens on 10.0.0.9:8080, but the pod_ip gets it, where nothing accepts."),
    ],
)
def test_the_sentence_says_why_a_port_is_not_judged(binds, after, wanted):
    assert judged(binds, after=after).reason == wanted


@pytest.mark.parametrize(
    "binds, today, after, listeners, wanted",
    [
        (
            "127.0.0.1:9000",
            MOVED,
            truth.IP,
            ("127.0.0.1:9000",),
            "Today istiod delivers to 127.0.0.1, where 127.0.0.1:9000 accepts, but after the upgrade the pod_ip gets it, where nothing does.",
        ),
        (
            "10.0.0.5:8080",
            truth.IP,
            truth.LO,
            ("10.0.0.5:8080",),
            "Today the pod_ip gets it, where 10.0.0.5:8080 accepts, but after the upgrade istiod delivers to 127.0.0.1, where nothing does.",
        ),
        (
            "nothing",
            truth.UNIX,
            truth.IP,
            (),
            "Today the unix gets it, but after the upgrade the pod_ip gets it, where nothing accepts.",
        ),
        (
            "127.0.0.1:9000 127.0.0.1:8080",
            MOVED,
            truth.IP,
            ("127.0.0.1:9000", "127.0.0.1:8080"),
            "It listens on 127.0.0.1:8080 only: today istiod delivers to 127.0.0.1, where 127.0.0.1:9000 accepts, after the upgrade the pod_ip gets it.",
        ),
        (
            "127.0.0.1:9000",
            "unknown port 9000",
            truth.IP,
            ("127.0.0.1:9000",),
            "After the upgrade the pod_ip gets it, where nothing accepts; today 127.0.0.1:9000 may, but how it is delivered is not known, "
            "because no istiod was found.",
        ),
    ],
)
def test_the_sentence_says_where_it_arrives_today_if_that_is_elsewhere(binds, today, after, listeners, wanted):
    found = judged(binds, today=today, after=after)
    assert (found.reason, found.listeners) == (wanted, listeners)


def test_the_sentence_says_who_accepts():
    assert judged("0.0.0.0:8080").reason == "The pod_ip gets it, where 0.0.0.0:8080 accepts."
    assert judged("nothing", "IPv4", truth.UNIX, truth.UNIX).reason == "The unix gets it, where it accepts."


def test_the_listeners_of_a_verdict_are_those_of_the_port_alone():
    assert judged("127.0.0.1:8080 127.0.0.1:8081 [::1]:8080").listeners == ("127.0.0.1:8080", "[::1]:8080")


def test_the_listeners_of_a_port_that_a_sidecar_delivers_elsewhere_are_those_it_dials():
    assert judged("127.0.0.1:9000 127.0.0.1:9001", "IPv4", "127.0.0.1 port 9000", "127.0.0.1 port 9000").listeners == (
        "127.0.0.1:9000",
    )


def test_a_pod_without_address_is_not_judged():
    assert (
        judge(listeners("127.0.0.1:8080"), 8080, [], as_delivery(truth.LO), as_delivery(truth.IP)).outcome
        == "not_listening"
    )


REST = "0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0\n"
PROCNET = "  sl  local_address rem_address   st\n{}  sl  local_address                         remote_address                        st\n{}"
ANY6 = f"   0: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 {REST}"
LO4 = f"   0: 0100007F:1F90 00000000:0000 {REST}"


@pytest.mark.parametrize(
    "text, asked, today, wanted",
    [
        (PROCNET.format("", ANY6), "IPv4", truth.LO, "ok"),
        (PROCNET.format("", ANY6), "both", truth.LO, "ok"),
        (PROCNET.format(LO4, ANY6), "IPv6", truth.LO, "ok"),
        (PROCNET.format(LO4, ANY6), "IPv4", truth.LO, "breaks_on_upgrade"),
        (PROCNET.format(LO4, ANY6), "IPv4", truth.IP, "unreachable"),
    ],
)
def test_an_ipv6_wildcard_counts_for_both_families_unless_localhost_is_bound_beside_it(text, asked, today, wanted):
    seen = parse("procnet", text)
    assert not seen.suspect and seen.listeners
    found = judge(seen.listeners, 8080, IPS[asked], as_delivery(today), as_delivery(truth.IP))
    assert (found.impact or found.outcome) == wanted
