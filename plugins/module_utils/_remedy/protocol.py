# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""Which protocol Istio takes a Service's port for: a Sidecar that lists the port has to say the same."""

from __future__ import annotations

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.istio_values import Version
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.exposure import Exposure

PROTOCOLS = {
    p.lower(): p
    for p in ("HTTP", "HTTPS", "GRPC", "GRPC-Web", "HTTP2", "TCP", "TLS", "Mongo", "Redis", "MySQL", "HTTP_PROXY")
}
"""Those that every istiod from 1.3 on parses and that have a TCP listener: protocol.Parse, pkg/config/protocol/instance.go@1.10.0, 1.20.8."""

APP_PROTOCOLS: dict[str, tuple[str, Version]] = {
    "kubernetes.io/h2c": ("HTTP2", (1, 19)),
    "kubernetes.io/ws": ("HTTP", (1, 24)),
    "kubernetes.io/wss": ("HTTPS", (1, 24)),
}
"""Kubernetes' standard appProtocols, and the istiod that first knows each: pkg/config/kube/conversion.go@1.18.0, 1.20.8, 1.24.0."""

SERVER_FIRST = frozenset((25, 53, 3306, 27017))
"""Service ports whose protocol Istio does not try to detect, because there the server speaks first: conversion.go@1.10.0 to HEAD of 2026-08."""


def protocol(exposure: Exposure, version: Version | None) -> str | None:
    """The protocol that an istiod of `version` takes the port for, in the spelling of Parse; None where it detects it from the traffic.

    ConvertProtocol, pkg/config/kube/conversion.go@1.10.0 and 1.20.8: it is asked with the Service's port, not with the target port. A
    ServiceEntry says its protocol outright: serviceentry/conversion.go@1.20.8.
    """
    if exposure.kind == "ServiceEntry":
        return PROTOCOLS.get((exposure.app_protocol or "").lower())
    name = (exposure.port_name if exposure.app_protocol is None else exposure.app_protocol).lower()
    standard, since = APP_PROTOCOLS.get(name, ("", ()))
    if exposure.app_protocol and standard and version is not None and version >= since:
        return standard
    if name.startswith("grpc-web"):
        return "GRPC-Web"
    return PROTOCOLS.get(name.partition("-")[0]) or ("TCP" if exposure.service_port in SERVER_FIRST else None)
