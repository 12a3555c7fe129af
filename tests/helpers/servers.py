# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A small cluster behind an API server on loopback, over TLS, of which any part can go wrong at any moment."""

from __future__ import annotations

import contextlib
import socket
import ssl
import typing as t

from ansible_collections.meshops.istio_precheck.tests.helpers import cluster, fault_server
from ansible_collections.meshops.istio_precheck.tests.helpers.fault_server import (
    SUCCESS,
    ApiServer,
    Behaviour,
    Connection,
    out,
    says,
    status,
)

FINE = "LISTEN 0 128 0.0.0.0:8080 0.0.0.0:*\n"
READ = says(out(FINE), status(SUCCESS))


def pods(*names: str, **more: t.Any) -> list[dict[str, t.Any]]:
    """Pods of a Deployment each, as the API has them: with all that a snapshot leaves out."""
    return [cluster.pod(name=name, app=name, owner=("ReplicaSet", f"{name}-7d4b9"), **more) for name in names]


KINDS = {
    "pods": "Pod",
    "services": "Service",
    "configmaps": "ConfigMap",
    "replicationcontrollers": "ReplicationController",
}


def lists(found: t.Sequence[dict[str, t.Any]]) -> dict[str, t.Any]:
    served = [
        {"name": name, "singularName": "", "namespaced": True, "kind": kind, "verbs": ["get", "list"]}
        for name, kind in KINDS.items()
    ]
    names = sorted({pod["metadata"]["labels"]["app"] for pod in found})
    return {
        "/api/v1": {"kind": "APIResourceList", "groupVersion": "v1", "resources": served},
        "/api/v1/pods": list(found),
        "/api/v1/services": [cluster.service(name=name, selector={"app": name}) for name in names],
        "/api/v1/replicationcontrollers": [],
        "/api/v1/namespaces/istio-system/pods": [],
        "/api/v1/namespaces/istio-system/configmaps": [],
    }


class Cluster(ApiServer):
    """Pods of these names, each with one port, read in the order of the names; `faults` as for ApiServer.

    Once there was a request that holds `until` in its path, every later connection meets `then`, before TLS.
    """

    def __init__(
        self, *names: str, until: str | None = None, then: Behaviour | ssl.SSLContext | None = None, **options: t.Any
    ) -> None:
        options.setdefault("execs", READ)
        options.setdefault("tls", fault_server.pki().context())
        super().__init__(lists(pods(*names)), **options)
        self._until, self._then = until, then

    def _serve(self, sock: socket.socket, behaviour: Behaviour) -> None:
        if self._then is None or not (self._until and self.paths(self._until)):
            super()._serve(sock, behaviour)
        elif isinstance(self._then, ssl.SSLContext):
            self._tls = self._then
            super()._serve(sock, behaviour)
        else:
            sock.settimeout(10)
            with contextlib.suppress(OSError, ValueError):
                self._then(Connection(sock, self))
            with contextlib.suppress(OSError):
                sock.close()

    def refuse(self) -> None:
        """Takes no more connections."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def auth(server: ApiServer) -> dict[str, t.Any]:
    return {"host": server.url, "api_key": "abc", "ca_cert": fault_server.pki().ca}
