# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where the collection is known to say something else than what is answered: each with the reason, and an example that has to differ still."""

from __future__ import annotations

import typing as t

from ansible_collections.meshops.istio_precheck.tests.envoy import kinds
from ansible_collections.meshops.istio_precheck.tests.envoy.cases import Case, Plane
from ansible_collections.meshops.istio_precheck.tests.envoy.compare import Difference
from ansible_collections.meshops.istio_precheck.tests.envoy.inbound import Settings, Version, is_6
from ansible_collections.meshops.istio_precheck.tests.envoy.pods import Kind

PORT, OTHER = 1500, 1504


class Known(t.NamedTuple):
    name: str
    reason: str
    of: t.Callable[[Difference], bool]
    example: Case


def case(
    kind: Kind,
    versions: t.Sequence[Version],
    *binds: str,
    endpoint: str = "",
    families: tuple[str, ...] = (),
    **settings: bool,
) -> Case:
    """A workload of one port, from the first of these istiods to the last."""
    planes = [Plane(version, Settings(dual=kind.dual, **settings)) for version in versions]
    entry = {"port": {"number": PORT, "protocol": "TCP"}, "defaultEndpoint": endpoint}
    return Case(
        kind,
        planes[0],
        planes[-1],
        canary=False,
        sidecar="selector" if endpoint else "",
        ingress=(entry,) if endpoint else (),
        exposed={PORT: families},
        block=range(PORT, PORT + 6),
        excluded=frozenset(),
        proxy=True,
        binds=binds,
    )


KNOWN = (
    Known(
        "TPROXY and 127.0.0.1",
        "In TPROXY mode a connection from the client's address to 127.0.0.1 arrives only where net.ipv4.conf.*.route_localnet is set, and nobody looks.",
        lambda d: d.case.kind.mode == "TPROXY" and not is_6(d.case.kind.ips[0]),
        case(kinds.TPROXY, [(1, 22, 0)], f"127.0.0.1:{PORT}", localhost=True),
    ),
    Known(
        "mode NONE, could be cured",
        "In mode NONE no Sidecar is offered, although Envoy could listen on the pod's first address where the program has localhost alone.",
        lambda d: d.case.kind.mode == "NONE" and d.what == "could be cured",
        case(kinds.NONE, [(1, 20, 8)], f"127.0.0.1:{PORT}"),
    ),
    Known(
        "mode NONE, the port is taken",
        "In mode NONE Envoy cannot bind the port that the program has, so it is the program that is asked.",
        lambda d: d.case.kind.mode == "NONE" and d.what == "verdict",
        case(kinds.NONE, [(1, 24, 3)], f"10.0.0.5:{PORT}", f"127.0.0.1:{OTHER}", endpoint=f"127.0.0.1:{OTHER}"),
    ),
)
