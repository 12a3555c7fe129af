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


def _case(
    kind: Kind,
    versions: t.Sequence[Version],
    *binds: str,
    endpoint: str = "",
    families: tuple[str, ...] = (),
    **settings: bool,
) -> Case:
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


def _one_listener(d: Difference) -> bool:
    """Whether the pod has two families and its proxy one listener for what is redirected, that of 0.0.0.0."""
    return len(d.case.kind.ips) == 2 and not d.case.kind.dual and d.case.kind.mode == "REDIRECT"


def _asked_over_ipv6(d: Difference) -> bool:
    """A port for which no Sidecar is offered may be one that another port of the workload leaves without."""
    ports = d.case.exposed if d.what == "could be cured" else ()
    return any(map(is_6, [*d.asked, *(ip for port in ports for ip in d.case.asked(port))]))


def _endpoints(d: Difference, port: int | None = None) -> list[str]:
    return [e.get("defaultEndpoint") or "" for e in d.ingress if port in (None, e["port"]["number"])]


def _old(d: Difference) -> bool:
    return min(plane.version for plane in d.case.planes()) < (1, 11)


def _crosses(d: Difference) -> bool:
    """Whether an endpoint of the port is of the family that the pod has not."""
    v6 = is_6(d.case.kind.ips[0])
    hosts = [endpoint.rpartition(":")[0] for endpoint in _endpoints(d, d.port)]
    return any(host == "0.0.0.0" if v6 else host in ("[::]", "[::1]") for host in hosts)


KNOWN = (
    Known(
        "one family",
        "Without ISTIO_DUAL_STACK a pod of two families has one listener, 0.0.0.0:15006: IPv6 goes past the proxy, to the pod IP, where IPv4 is the first "
        "family, and is refused where IPv6 is.",
        lambda d: _one_listener(d) and _asked_over_ipv6(d),
        _case(kinds.V4_FIRST, [(1, 22, 0)], f"127.0.0.1:{PORT}", families=("IPv6",), localhost=True),
    ),
    Known(
        "first address",
        "Up to 1.10 the chain of a port that a Sidecar lists asks for the pod's first address, and what is asked at the other is closed.",
        lambda d: _one_listener(d) and _old(d) and is_6(d.case.kind.ips[0]),
        _case(
            kinds.V6_FIRST,
            [(1, 10, 0)],
            f"127.0.0.1:{PORT}",
            endpoint=f"127.0.0.1:{PORT}",
            families=("IPv4",),
        ),
    ),
    Known(
        "source of the other family",
        "istiod gives a pod's address of IPv6 the source 127.0.0.6, from which Envoy cannot connect to it, in pods of two families, and up to 1.9 in all.",
        lambda d: (
            any(is_6(ip) for ip in d.case.kind.ips)
            and d.case.kind.mode == "REDIRECT"
            and any(each.startswith("[::]:") or (each.startswith("0.0.0.0:") and _old(d)) for each in _endpoints(d))
        ),
        _case(kinds.V4_FIRST, [(1, 20, 8)], f"[fd00::5]:{PORT}", endpoint=f"[::]:{PORT}", families=("IPv4",)),
    ),
    Known(
        "families crossed",
        "With ISTIO_DUAL_STACK Envoy takes a connection over IPv6 and dials 127.0.0.1, which reaches a program on 0.0.0.0: it is said not to listen, and breaks.",
        lambda d: d.case.kind.dual and (d.said, d.found) == ("not_listening", "breaks_on_upgrade"),
        _case(kinds.DUAL_V4_FIRST, [(1, 20, 8), (1, 24, 3)], f"0.0.0.0:{PORT}", families=("IPv6",), opt_out=True),
    ),
    Known(
        "TPROXY and the other family",
        "In TPROXY mode Envoy connects from the client's address, so it reaches no endpoint of the other family.",
        lambda d: d.case.kind.mode == "TPROXY" and _crosses(d),
        _case(kinds.TPROXY, [(1, 20, 8)], f"[::1]:{PORT}", endpoint=f"[::]:{PORT}"),
    ),
    Known(
        "TPROXY without route_localnet",
        "In TPROXY mode a connection from the client's address to localhost arrives only where net.ipv4.conf.*.route_localnet is set.",
        lambda d: d.case.kind.mode == "TPROXY" and not d.case.kind.route_localnet,
        _case(kinds.TPROXY_NO_LOCALNET, [(1, 22, 0)], f"127.0.0.1:{PORT}", localhost=True),
    ),
    Known(
        "mode NONE, could be cured",
        "In mode NONE no Sidecar is offered, although Envoy could listen on the pod's first address where the program has localhost alone.",
        lambda d: d.case.kind.mode == "NONE" and d.what == "could be cured",
        _case(kinds.NONE, [(1, 20, 8)], f"127.0.0.1:{PORT}"),
    ),
    Known(
        "mode NONE, the port is taken",
        "In mode NONE Envoy cannot bind the port that the program has, so it is the program that is asked.",
        lambda d: d.case.kind.mode == "NONE" and d.what == "verdict",
        _case(kinds.NONE, [(1, 24, 3)], f"10.0.0.5:{PORT}", f"127.0.0.1:{OTHER}", endpoint=f"127.0.0.1:{OTHER}"),
    ),
)
