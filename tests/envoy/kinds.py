# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The kinds of pods, and how many of a hundred draws are of each."""

from __future__ import annotations

from ansible_collections.meshops.istio_precheck.tests.envoy.pods import Kind

V4, V6 = ("10.0.0.5",), ("fd00::5",)

PLAIN = Kind(V4)
V6_ALONE = Kind(V6)
V4_FIRST, V6_FIRST = Kind(V4 + V6), Kind(V6 + V4)
DUAL_V4_FIRST, DUAL_V6_FIRST = Kind(V4 + V6, dual=True), Kind(V6 + V4, dual=True)
TPROXY, TPROXY_V6 = Kind(V4, "TPROXY"), Kind(V6, "TPROXY")
TPROXY_NO_LOCALNET = Kind(V4, "TPROXY", route_localnet=False)
NONE, NONE_V6_FIRST = Kind(V4, "NONE"), Kind(V6 + V4, "NONE")

KINDS = {
    PLAIN: 38,
    V6_ALONE: 14,
    V4_FIRST: 8,
    V6_FIRST: 8,
    DUAL_V4_FIRST: 8,
    DUAL_V6_FIRST: 6,
    TPROXY: 6,
    TPROXY_V6: 3,
    TPROXY_NO_LOCALNET: 2,
    NONE: 5,
    NONE_V6_FIRST: 2,
}
