# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What accepts() says, case by case. That it is what a kernel does is proved by tests/kernel/test_oracle.py."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.meshops.istio_precheck.plugins.module_utils._sockets.lookup import (
    accepts,
    is_loopback,
    is_wildcard,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._sockets.parse import Listener, parse

POD4 = "10.7.0.2"
POD6 = "fd07::2"
DESTINATIONS = ("127.0.0.1", "127.0.0.2", "::1", POD4, POD6)


@pytest.mark.parametrize(
    ("listener", "reached"),
    [
        (Listener("127.0.0.1", 80), {"127.0.0.1"}),
        (Listener("127.0.0.2", 80), {"127.0.0.2"}),
        (Listener("0.0.0.0", 80), {"127.0.0.1", "127.0.0.2", POD4}),
        (Listener(POD4, 80), {POD4}),
        (Listener("10.7.0.3", 80), set()),
        (Listener("::1", 80), {"::1"}),
        (Listener("::", 80, True), {"::1", POD6}),
        (Listener("::", 80, False), set(DESTINATIONS)),
        (Listener(POD6, 80), {POD6}),
        (Listener("fd07:0:0::2", 80), {POD6}),
        (Listener("::ffff:127.0.0.1", 80), {"127.0.0.1"}),
        (Listener("::ffff:10.7.0.2", 80), {POD4}),
        (Listener("::ffff:0.0.0.0", 80), {"127.0.0.1", "127.0.0.2", POD4}),
        (Listener("127.0.0.1", 80, None, "lo"), {"127.0.0.1"}),
        (Listener("0.0.0.0", 80, None, "lo"), {"127.0.0.1", "127.0.0.2"}),
        (Listener("::", 80, False, "lo"), {"127.0.0.1", "127.0.0.2", "::1"}),
        (Listener("::", 80, True, "lo"), {"::1"}),
        (Listener(POD4, 80, None, "lo"), set()),
    ],
    ids=lambda value: str(value) if isinstance(value, Listener) else "",  # a set's text differs from process to process
)
def test_a_lone_listener_is_found_at_exactly_these_destinations(listener: Listener, reached: set[str]) -> None:
    assert {destination for destination in DESTINATIONS if accepts([listener], 80, destination)} == reached
    assert not any(accepts([listener], 81, destination) for destination in DESTINATIONS)
    assert all(accepts([listener], 80, destination) is not None for destination in DESTINATIONS)


def test_nothing_is_found_where_nothing_listens() -> None:
    assert all(accepts([], 80, destination) is False for destination in DESTINATIONS)


@pytest.mark.parametrize("destination", ["127.0.0.1", POD4, "::ffff:10.7.0.2"])
def test_an_ipv6_wildcard_of_unknown_v6only_leaves_an_ipv4_destination_open(destination: str) -> None:
    unknown = Listener("::", 80, None)
    assert accepts([unknown], 80, destination) is None
    assert accepts([unknown, Listener("127.9.9.9", 80)], 80, destination) is None
    assert accepts([unknown, Listener("0.0.0.0", 80)], 80, destination) is True
    assert accepts([unknown, Listener("::", 80, False)], 80, destination) is True


@pytest.mark.parametrize("destination", ["::1", POD6])
def test_an_ipv6_wildcard_of_unknown_v6only_serves_every_ipv6_destination(destination: str) -> None:
    assert accepts([Listener("::", 80, None)], 80, destination) is True


def test_an_ipv4_listener_next_to_an_unknown_ipv6_wildcard_proves_nothing() -> None:
    # By SO_REUSEPORT a dual-stack :::80 and 127.0.0.1:80 do coexist, see the recorded tables.
    assert accepts([Listener("127.0.0.1", 80), Listener("::", 80, None)], 80, POD4) is None


@pytest.mark.parametrize(
    ("destination", "same_as"),
    [
        ("::ffff:127.0.0.1", "127.0.0.1"),
        ("::ffff:10.7.0.2", POD4),
        ("0.0.0.0", "127.0.0.1"),
        ("::ffff:0.0.0.0", "127.0.0.1"),
        ("::", "::1"),
        ("fd07::2%eth0", POD6),
    ],
)
def test_two_ways_to_write_a_destination_find_the_same(destination: str, same_as: str) -> None:
    for address in ("0.0.0.0", "127.0.0.1", "::1", "::ffff:127.0.0.1", POD4, POD6, "::ffff:10.7.0.2"):
        assert accepts([Listener(address, 80)], 80, destination) is accepts([Listener(address, 80)], 80, same_as)
    for v6only in (True, False, None):
        assert accepts([Listener("::", 80, v6only)], 80, destination) is accepts(
            [Listener("::", 80, v6only)], 80, same_as
        )


def test_a_listener_bound_to_an_interface_needs_the_interface_of_the_destination() -> None:
    bound = [Listener("0.0.0.0", 80, None, "eth0")]
    assert accepts(bound, 80, POD4) is None
    assert accepts(bound, 80, POD4, interface="eth0") is True
    assert accepts(bound, 80, POD4, interface="eth1") is False
    assert accepts(bound, 80, "127.0.0.1") is False
    assert accepts([*bound, Listener(POD4, 80)], 80, POD4) is True
    assert accepts([Listener("0.0.0.0", 80, None, "lo")], 80, POD4, interface="lo") is True
    assert accepts([Listener("::", 80, None, "eth0")], 80, POD4, interface="eth0") is None


@pytest.mark.parametrize("text", ["", "localhost", "10.7.0.2:80", "[::1]", "*"])
def test_what_is_no_address_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="address"):
        accepts([], 80, text)
    with pytest.raises(ValueError, match="address"):
        is_loopback(text)
    with pytest.raises(ValueError, match="address"):
        is_wildcard(text)


@pytest.mark.parametrize(
    ("address", "loopback", "wildcard"),
    [
        ("127.0.0.1", True, False),
        ("127.255.255.254", True, False),
        ("128.0.0.1", False, False),
        ("0.0.0.0", False, True),
        ("10.0.0.127", False, False),
        ("::1", True, False),
        ("::", False, True),
        ("::2", False, False),
        ("::127.0.0.1", False, False),
        ("::ffff:127.0.0.1", True, False),
        ("::ffff:7f00:1", True, False),
        ("::ffff:0.0.0.0", False, True),
        ("::ffff:0.0.0.1", False, False),
        ("fe80::1%eth0", False, False),
    ],
)
def test_loopback_and_wildcard_are_told_apart(address: str, loopback: bool, wildcard: bool) -> None:
    assert is_loopback(address) is loopback
    assert is_wildcard(address) is wildcard


LISTENERS = st.builds(
    Listener,
    address=st.sampled_from(
        ["0.0.0.0", "127.0.0.1", "127.0.0.2", "::", "::1", "::ffff:127.0.0.1", "::ffff:0.0.0.0", POD4, POD6]
    ),
    port=st.sampled_from([80, 81]),
    v6only=st.sampled_from([None, True, False]),
    interface=st.sampled_from([None, None, "lo", "eth0"]),
)


@settings(deadline=None)
@given(listeners=st.lists(LISTENERS, max_size=6), more=LISTENERS, destination=st.sampled_from(DESTINATIONS))
def test_one_listener_more_never_takes_an_answer_back(
    listeners: list[Listener], more: Listener, destination: str
) -> None:
    rank = {False: 0, None: 1, True: 2}
    assert rank[accepts([*listeners, more], 80, destination)] >= rank[accepts(listeners, 80, destination)]
    assert accepts(iter(reversed([more, *listeners])), 80, destination) is accepts([more, *listeners], 80, destination)


@settings(deadline=None)
@given(listeners=st.lists(LISTENERS, max_size=6), destination=st.sampled_from(DESTINATIONS))
def test_none_is_exactly_where_what_is_unknown_makes_a_difference(listeners: list[Listener], destination: str) -> None:
    known = [
        [
            Listener(
                listener.address,
                listener.port,
                guess if listener.v6only is None else listener.v6only,
                listener.interface,
            )
            for listener in listeners
        ]
        for guess in (True, False)
    ]
    interfaces = ["lo"] if is_loopback(destination) else ["eth0", "eth1"]
    answers = {accepts(variant, 80, destination, interface=interface) for variant in known for interface in interfaces}
    assert accepts(listeners, 80, destination) is (answers.pop() if len(answers) == 1 else None)


def test_a_java_server_on_a_mapped_loopback_address_is_localhost_only() -> None:
    listeners = parse("ss", "LISTEN 0 100 [::ffff:127.0.0.1]:8080 *:*\n").listeners
    assert accepts(listeners, 8080, "127.0.0.1") is True
    assert accepts(listeners, 8080, POD4) is False
