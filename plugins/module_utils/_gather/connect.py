# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""From the module's auth options to the two things that a gather needs: an Api to list with and a way to run commands."""

from __future__ import annotations

import contextlib
import os
import typing as t

from ansible_collections.kubernetes.core.plugins.module_utils.k8s.client import get_api_client
from ansible_collections.kubernetes.core.plugins.module_utils.k8s.exceptions import CoreException

from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.api import REQUEST_TIMEOUT, Api, staying
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.background import within
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.errors import GatherError, server_error
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.exec import ExecClient


@contextlib.contextmanager
def connect(module: t.Any, exec_timeout: float) -> t.Iterator[tuple[Api, t.Any]]:
    """(Api, run) for the cluster that the options name: the option, then K8S_AUTH_*, then in-cluster, then the kubeconfig.

    `module` is an AnsibleK8SModule. Raises GatherError, which names the options where no cluster can be made of them.
    """
    with staying():
        client = _client(module, f"no connection to a cluster with {_given(module)}")
        try:
            executor = ExecClient(client, exec_timeout)
        except (OSError, ValueError) as error:
            raise GatherError(f"proxy, ca_cert, client_cert or client_key cannot be used: {error}") from error
        with contextlib.closing(executor):
            yield Api(client), executor.run


def context_name(params: t.Mapping[str, t.Any]) -> str:
    """The name of the context that connect() takes from a kubeconfig; empty where it takes none, or where that cannot be told.

    It is a name to show and decides nothing.
    """

    def given(name: str) -> t.Any:
        return params.get(name) or os.environ.get(f"K8S_AUTH_{name.upper()}")

    kubeconfig = given("kubeconfig")
    if given("host"):  # which goes before the server of a context
        return ""
    if given("context"):
        return str(given("context"))
    if isinstance(kubeconfig, dict):
        return str(kubeconfig.get("current-context") or "")
    if not kubeconfig and os.environ.get("KUBERNETES_SERVICE_HOST"):
        return ""
    try:
        from kubernetes import config  # pylint: disable=import-outside-toplevel

        path = os.path.expanduser(kubeconfig or config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION)
        if not all(os.path.isfile(each) for each in path.split(os.pathsep) if each):  # a pipe is read once
            return ""
        return str(config.list_kube_config_contexts(config_file=path)[1]["name"])
    except Exception:  # pylint: disable=broad-except
        return ""


def _client(module: t.Any, asked: str) -> t.Any:
    """What kubernetes.core makes of the options. Raises GatherError."""
    try:
        return within(REQUEST_TIMEOUT, asked, lambda: get_api_client(module))
    except GatherError:
        raise
    except CoreException as error:
        raise GatherError(f"{asked}: {error}") from error
    except Exception as error:  # pylint: disable=broad-except
        # A kubeconfig that is none, or a file it names, fails in whatever way its parser does; the first requests are made here, too.
        known = server_error(error) if type(error).__module__.startswith(("kubernetes", "urllib3")) else None
        raise GatherError(f"{asked}: {known or f'{type(error).__name__}: {error}'}") from error


def _given(module: t.Any) -> str:
    """The options that name a cluster, as far as they were given; their values may be secret."""
    given = [name for name in ("kubeconfig", "context", "host") if module.params.get(name)]
    return (
        ", ".join(given)
        or "kubeconfig, context or host (none is given), K8S_AUTH_*, a service account or ~/.kube/config"
    )
