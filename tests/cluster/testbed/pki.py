# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A certificate authority for the cluster, and certificates from it."""

from __future__ import annotations

import base64
import json
import pathlib
import shutil
import tempfile

from .settings import SERVICE_GATEWAY, STATE, run, write

PKI = STATE / "pki"
DAYS = "365"
SERVER = (
    "subjectAltName=DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,IP:127.0.0.1,IP:::1,IP:"
    + SERVICE_GATEWAY
)
CLIENT = "extendedKeyUsage=clientAuth"
AUTHORITY = ("basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign", "subjectKeyIdentifier=hash")
"""Python's clients verify strictly from 3.13 on: they want a key usage in the authority, and key identifiers everywhere."""


def ensure() -> None:
    """Everything the components need, made in one folder that appears whole."""
    if PKI.is_dir():
        return
    fresh = pathlib.Path(tempfile.mkdtemp(prefix="pki-", dir=STATE))
    key(fresh / "ca.key")
    profile = write(
        fresh / "ca.cnf",
        "[req]\ndistinguished_name=name\nx509_extensions=ca\n[name]\n[ca]\n" + "\n".join(AUTHORITY) + "\n",
    )
    self_signed = ["openssl", "req", "-x509", "-new", "-config", profile, "-key", fresh / "ca.key", "-days", DAYS]
    run(*self_signed, "-subj", "/CN=istio-precheck-test-ca", "-out", fresh / "ca.crt")
    profile.unlink()
    key(fresh / "service-account.key")
    run("openssl", "pkey", "-in", fresh / "service-account.key", "-pubout", "-out", fresh / "service-account.pub")
    certificate(fresh, "server", "/CN=localhost", SERVER + "\nextendedKeyUsage=serverAuth")
    certificate(fresh, "admin", "/O=system:masters/CN=admin", CLIENT)
    certificate(fresh, "controller-manager", "/O=system:masters/CN=system:kube-controller-manager", CLIENT)
    certificate(fresh, "kubelet", "/O=system:nodes/CN=system:node:localhost", CLIENT)
    certificate(fresh, "apiserver-to-kubelet", "/O=system:masters/CN=kube-apiserver", CLIENT)
    fresh.replace(PKI)


def key(path: pathlib.Path) -> None:
    run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", path)
    path.chmod(0o600)


def certificate(
    folder: pathlib.Path, name: str, subject: str, extensions: str, authority: pathlib.Path | None = None
) -> None:
    authority = authority or folder
    key(folder / f"{name}.key")
    request = folder / f"{name}.csr"
    run("openssl", "req", "-new", "-key", folder / f"{name}.key", "-subj", subject, "-out", request)
    settings = write(folder / f"{name}.ext", extensions + "\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n")
    signer = [
        "-CA",
        authority / "ca.crt",
        "-CAkey",
        authority / "ca.key",
        "-CAcreateserial",
        "-CAserial",
        folder / f"{name}.srl",
    ]
    run(
        "openssl",
        "x509",
        "-req",
        "-in",
        request,
        *signer,
        "-days",
        DAYS,
        "-extfile",
        settings,
        "-out",
        folder / f"{name}.crt",
    )
    for temporary in (request, settings, folder / f"{name}.srl"):
        temporary.unlink()


def kubeconfig(path: pathlib.Path, server: str, name: str, folder: pathlib.Path = PKI) -> pathlib.Path:
    """A kubeconfig that holds all it needs, so it can be copied anywhere."""
    cluster: dict[str, object] = {"server": server, "certificate-authority-data": encoded(PKI / "ca.crt")}
    return write(
        path,
        kubeconfig_text(
            cluster,
            name,
            {
                "client-certificate-data": encoded(folder / f"{name}.crt"),
                "client-key-data": encoded(folder / f"{name}.key"),
            },
        ),
        0o600,
    )


def kubeconfig_text(cluster: dict[str, object], user: str, credentials: dict[str, str]) -> str:
    return (
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "istio-precheck", "cluster": cluster}],
                "users": [{"name": user, "user": credentials}],
                "contexts": [{"name": "istio-precheck", "context": {"cluster": "istio-precheck", "user": user}}],
                "current-context": "istio-precheck",
            },
            indent=1,
        )
        + "\n"
    )


def user_kubeconfig(path: pathlib.Path, server: str, user: str, groups: list[str]) -> pathlib.Path:
    """A kubeconfig for a client-certificate user that nobody knew before."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="user-", dir=STATE))
    try:
        certificate(folder, user, "".join(f"/O={group}" for group in groups) + f"/CN={user}", CLIENT, PKI)
        return kubeconfig(path, server, user, folder)
    finally:
        shutil.rmtree(folder)


def encoded(path: pathlib.Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
