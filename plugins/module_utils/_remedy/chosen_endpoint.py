# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""The defaultEndpoint of each port that a Sidecar lists: one that reaches what is on localhost, or one that changes nothing.

Nothing here knows what an endpoint means. Each form is tried on every pod, before and after the upgrade, with the functions that judge
the pods; so a plan cannot promise what the next check denies. Citations are `path@tag` in istio/istio.
"""

from __future__ import annotations

import typing as t
from collections import defaultdict

from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.control_plane import ControlPlane
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.delivery import Delivery, delivery
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.families import Family
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.pod import (
    has_sidecar,
    interception,
    is_ambient,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.istio_values import Version
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.kube import Pod, is_ipv6
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.exposure import Exposure
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.judge import judge
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.pods import deciding, is_bound
from ansible_collections.meshops.istio_precheck.plugins.module_utils._sockets.lookup import is_loopback
from ansible_collections.meshops.istio_precheck.plugins.module_utils._sockets.parse import Listener
from ansible_collections.meshops.istio_precheck.plugins.module_utils._sockets.tables import Holder

LOCALHOST, LOCALHOST_6, ASKED, POD_IP, POD_IP_6 = "127.0.0.1", "[::1]", "", "0.0.0.0", "[::]"

ACCEPTED_SINCE: dict[str, Version] = {
    LOCALHOST: (),
    POD_IP: (),
    ASKED: (1, 10),
    LOCALHOST_6: (1, 14, 4),
    POD_IP_6: (1, 14, 4),
}
"""The istiod whose validation first lets each form of defaultEndpoint pass: ValidateSidecar, validation.go@1.9.9, 1.10.0, 1.14.4, 1.20.8."""

POD_IP_SINCE: Version = (1, 9)
"""Up to 1.8 validation takes 127.0.0.1 alone: validation.go@1.9.0. An istiod of unknown version is not taken for that old."""


class PodPort(t.NamedTuple):
    """One port of one pod that a Service exposes. `today` and `after` are its delivery as things stand."""

    pod: Pod
    exposures: tuple[Exposure, ...]
    listeners: tuple[Listener, ...] | None
    """On any port of the pod; None if the pod could not be read."""
    asked: tuple[str, ...]
    """The pod's addresses that clients of the port use."""
    planes: tuple[ControlPlane, ...]
    """That of today, that of after the upgrade, and those on the way that are like neither."""
    today: Delivery
    after: Delivery
    holders: tuple[Holder, ...] = ()
    """Who has the listeners, as far as that is known."""

    @property
    def name(self) -> str:
        return self.pod.name


class Port(t.NamedTuple):
    """One TCP target port of a workload, over all of its pods that Services expose."""

    number: int
    seen: tuple[PodPort, ...]
    finding: str | None
    """The id of the finding to cure, if it has one."""
    closed: bool = False
    """Whether other pods cannot reach it today either; of workloads together: of one of them."""

    @property
    def read(self) -> list[PodPort]:
        return [seen for seen in self.seen if seen.listeners is not None]

    def listening(self) -> list[PodPort]:
        """Where something has the port: a pod in which nothing has it, as in its first seconds, says nothing about an endpoint."""
        return [seen for seen in self.read if self.on(seen)]

    def kinds(self) -> list[PodPort]:
        """listening(), but one alone of the pods that differ in nothing that decides where connections end."""
        found: dict[t.Any, list[PodPort]] = defaultdict(list)
        for seen in self.listening():
            bound = is_bound(seen.listeners or ())
            addresses = deciding(seen.pod.ips, bound), deciding(seen.asked, bound)
            alike = found[seen.pod.template, addresses, seen.today, seen.after]
            if not any(other.listeners == seen.listeners for other in alike):
                alike.append(seen)
        return [seen for alike in found.values() for seen in alike]

    def on(self, seen: PodPort) -> list[Listener]:
        """What listens on the port, or on the one that a Sidecar has the proxy dial for it today."""
        return [listener for listener in seen.listeners or () if listener.port in (self.number, seen.today.port)]

    def closed_in(self) -> list[str]:
        """The pods in which others cannot reach it today either, as where one of two revisions has moved on."""
        return sorted(seen.name for seen in self.listening() if self._impact(seen) == "unreachable")

    def _impact(self, seen: PodPort) -> str | None:
        return judge(seen.listeners or (), self.number, seen.asked, seen.today, seen.after).impact

    def texts(self, seen: PodPort) -> list[str]:
        return [listener.text for listener in self.on(seen)]


def accepted(form: str, versions: t.Iterable[Version | None]) -> bool:
    """Whether every istiod in play takes a Sidecar with this form."""
    since = POD_IP_SINCE if form == POD_IP else ACCEPTED_SINCE[form]
    return all(version >= since if version is not None else form in (LOCALHOST, POD_IP) for version in versions)


def cure(port: Port, versions: t.Sequence[Version | None]) -> str | None:
    """The defaultEndpoint that reaches the port's listener in every pod, before and after the upgrade, empty for none; None if none does.

    The port that is dialled today comes first: who listens there serves the port's clients, whatever else the program has.
    """
    listening = port.kinds()
    if not listening or any(interception(seen.pod).mode == "NONE" for seen in port.seen):
        return None
    numbers = dict.fromkeys((*(seen.today.port for seen in listening), port.number))
    return next(
        (
            endpoint
            for form, endpoint in (
                (form, _endpoint(form, number))
                for number in numbers
                for form in (LOCALHOST, LOCALHOST_6, ASKED, POD_IP, POD_IP_6)
            )
            if accepted(form, versions)
            and all(
                _reached(port, seen, ip, d) and not _another(port, seen, ip, d)
                for seen in listening
                for d in _under(port, endpoint, seen)
                for ip in seen.asked
            )
        ),
        None,
    )


def keep(port: Port, versions: t.Sequence[Version | None]) -> str | None:
    """The defaultEndpoint, empty for none, under which the port goes on as it is: what is reached, today or after the upgrade, still is. None if none does.

    The first choice is what the port's default delivery says in other words, so that a program that changes its bind later, or has not
    started yet, fares as it would have without the Sidecar. A port that is closed today is not opened.
    """
    passed_on = any(seen.today.kind in ("pod_ip", "kernel") for seen in port.seen)
    forms = (ASKED, POD_IP, POD_IP_6, LOCALHOST) if passed_on else (LOCALHOST, ASKED, POD_IP, POD_IP_6, LOCALHOST_6)
    for form, endpoint in ((form, _endpoint(form, port.number)) for form in forms):
        if accepted(form, versions) and all(
            _reached(port, seen, ip, then) == _reached(port, seen, ip, now)
            if port.closed
            else _reached(port, seen, ip, then) or not _reached(port, seen, ip, now)
            for seen in port.kinds()
            for now, then in zip((seen.today, seen.after), _under(port, endpoint, seen))
            for ip in seen.asked
        ):
            return endpoint
    return None


def _under(port: Port, endpoint: str, seen: PodPort) -> list[Delivery]:
    """The port's delivery, before and after the upgrade, under a Sidecar that gives it this endpoint."""
    entry = {"port": {"number": port.number}, **as_field(endpoint)}
    sidecar = {"metadata": {"namespace": "", "name": ""}, "spec": {"ingress": [entry]}}
    return [
        delivery(seen.pod, port.number, sidecar, plane, anew=number > 0) for number, plane in enumerate(seen.planes)
    ]


def _reached(port: Port, seen: PodPort, ip: str, how: Delivery) -> bool:
    return judge(_programs(port, seen), port.number, [ip], how, how).outcome in ("ok", "remediated")


def _another(port: Port, seen: PodPort, ip: str, how: Delivery) -> bool:
    """Whether the one that answers then is another program than the one that does today."""
    if not seen.holders:
        return False
    there = judge(_programs(port, seen), port.number, [ip], seen.today, how, holders=seen.holders)
    return bool(there.moves[0]) and there.outcome == "finding"


def _programs(port: Port, seen: PodPort) -> list[Listener]:
    """The pod's listeners without the one that the proxy has on the port today, and may not have under another Sidecar."""
    here, others = list[Listener](), list[Listener]()
    for listener in seen.listeners or ():
        (here if listener.port == port.number else others).append(listener)
    for way in seen.today.doors:
        here = way.door.programs(here)
    return [*others, *here]


def _endpoint(form: str, number: int) -> str:
    return f"{form}:{number}" if form else ""


def as_field(endpoint: str) -> dict[str, str]:
    return {"defaultEndpoint": endpoint} if endpoint else {}


def switched_off(seen: PodPort) -> bool:
    """Whether a Sidecar that does not list the port takes it from localhost, today."""
    number = seen.exposures[0].port
    others = {"metadata": {"namespace": "", "name": ""}, "spec": {"ingress": [{"port": {"number": 0}}]}}
    return seen.today.kind == "localhost" and delivery(seen.pod, number, others, seen.planes[0]).kind != "localhost"


# ---------------------------------------------------------------------------------------------------------------------
# In words


def why_not(port: Port, versions: t.Sequence[Version | None]) -> str:
    """Why no Sidecar cures this port: one sentence."""
    for seen in port.seen:
        why = _out_of_reach(port, seen)
        if why:
            return why
    listening = port.listening()
    differing = sorted(
        {" and ".join(port.texts(seen)): seen.name for seen in reversed(listening)}.items(), key=lambda item: item[1]
    )
    if len(differing) > 1:
        return (
            "The pods differ, and no endpoint reaches all of them: "
            + ", ".join(f"{name} listens on {on}" for on, name in differing)
            + "."
        )
    local = sorted(
        {listener.address for seen in listening for listener in port.on(seen) if is_loopback(listener.address)}
    )
    ips = [ip for seen in listening for ip in seen.pod.ips]
    on = " and ".join(local)
    if not listening:
        return "No listener was seen that a Sidecar could name."
    if not local:
        return f"The program listens on {' and '.join(port.texts(listening[0]))}, and no defaultEndpoint reaches it in every pod."
    if not any(address in ("::1", "127.0.0.1", "::ffff:127.0.0.1") for address in local):
        return f"No Sidecar can name {on}: of all localhost addresses a proxy dials 127.0.0.1 and ::1 alone."
    if not any(is_ipv6(ip) for ip in ips):
        return f"The program listens on {on}, and in a pod without an IPv6 address no proxy dials ::1."
    if all(is_ipv6(ip) for ip in ips):
        return f"The program listens on {on}, and in a pod with IPv6 alone a proxy dials ::1 for localhost."
    under_6 = [how for seen in listening for how in _under(port, _endpoint(LOCALHOST_6, port.number), seen)]
    if not accepted(LOCALHOST_6, versions) or not all(how.address == "::1" for how in under_6):
        return f"The program listens on {on}, and an istiod in play dials 127.0.0.1 where a Sidecar says [::1] (fixed in 1.18.6, 1.19.4 and 1.20.0)."
    return f"The program listens on {on}, and no defaultEndpoint reaches it in every pod."


def _out_of_reach(port: Port, seen: PodPort) -> str | None:
    """Why the proxy has no say over the port in this pod."""
    pod = seen.pod
    if is_ambient(pod):
        return f"Pod {seen.name} is in ambient mode: ztunnel connects to the pod IP and reads no Sidecar (Istio's message IST0167)."
    if pod.host_network:
        return f"Pod {seen.name} shares its node's network, which the mesh leaves alone: a Sidecar has no effect on it."
    if not has_sidecar(pod):
        return f"Pod {seen.name} has no sidecar: a Sidecar resource has no effect on it."
    if interception(pod).mode == "NONE":
        return f"Interception mode NONE of pod {seen.name}: for a Sidecar's listener the proxy would have to bind the port that the program has."
    listed = _under(port, _endpoint(LOCALHOST, port.number), seen)
    if any(how.kind == "kernel" for how in listed):
        return (
            f"Port {port.number} is not intercepted in pod {seen.name} (traffic.sidecar.istio.io/excludeInboundPorts or includeInboundPorts): "
            "connections pass the proxy by, and with it a Sidecar."
        )
    if any(how.kind == "unknown" for how in listed):
        return (
            f"Interception mode TPROXY of pod {seen.name}: the proxy reaches 127.0.0.1 only if net.ipv4.conf.*.route_localnet is set in the pod, "
            "and nobody looked."
        )
    for way in (way for how in listed for way in how.doors if isinstance(way.door, Family)):
        if not all(way.door.takes(ip, ()) for ip in seen.asked):
            return f"In pod {seen.name} {way.cause}."
    return None


ANOTHER_PORT = (
    "Give one of the two programs another port, and the Service the port of the one that its clients are to reach."
)
"""What to do where two programs listen on one port."""


def advice(port: int, listeners: t.Sequence[str]) -> str:
    """The line to change in the program, in the words of those who wrote it.

    Where none of the finding's listeners has the port, a Sidecar has the proxy dial another today, which has to stay until it does no more.
    """
    moved = not any(text.endswith(f":{port}") for text in listeners)
    beside = " and ".join(listeners) or "what serves it today"
    return (
        (
            f"Listen on port {port} of every address, and on {beside} too until the upgrade is done. "
            if moved
            else "Bind to every address instead. "
        )
        + f'Go: net.Listen("tcp", ":{port}"), not "localhost:{port}". '
        f'Node.js: server.listen({port}), without "localhost". '
        f'Python: server = HTTPServer(("", {port}), ...) or sock.bind(("", {port})), not ("localhost", {port}); "::" in a pod with IPv6 alone. '
        f"netcat: nc -l -p {port}, without -s 127.0.0.1."
    )
