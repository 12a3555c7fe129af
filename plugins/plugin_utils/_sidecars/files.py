# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""Remediations as files that a team reviews and keeps: written from a Report, live or saved."""

from __future__ import annotations

import hashlib
import re
import textwrap
import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._apply.manifests import (
    ManifestError,
    Thing,
    legal_names,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.kube import is_name, is_namespace
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.text import printable

FILE_NAME = 255 - len(".ansible_tmp12345678")
"""What a file system takes, less what Ansible adds to the name while it writes the file: atomic_move, ansible/module_utils/basic.py@2.17."""

TEXT = re.compile(
    r"(?!(y|n|yes|no|on|off|true|false|null|nan|inf)\Z)[a-z].*|\./.*|\d+\.\d+\.\d+\.\d+:\d+",
    re.ASCII | re.DOTALL | re.IGNORECASE,
)
"""What no reader of YAML takes for a number, a truth or nothing, so that it needs no quotes for that: resolve.go in sigs.k8s.io/yaml/goyaml.v2@v1.4.0,
which kubectl uses, goes by the first character."""


def sidecar_yaml(remediation: Thing) -> str:
    """The Sidecar as a file: why it is there in comments, then the manifest. The same remediation gives the same text."""
    import yaml

    meta = remediation["manifest"]["metadata"]
    said = [f"Keeps reachable: {finding}" for finding in remediation["findings"]] + list(remediation.get("notes") or ())
    if remediation["action"] == "create" and is_namespace(meta["namespace"]) and is_name(meta["name"]):
        said.append(
            f"Once the program binds to every address: kubectl delete sidecar --namespace {meta['namespace']} {meta['name']}"
        )
    wrap = textwrap.TextWrapper(118, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False).wrap
    header = "".join(f"# {line}\n" for text in said for line in wrap(_line(text)))

    class Dumper(yaml.SafeDumper):
        def increase_indent(self, flow: bool = False, indentless: bool = False) -> t.Any:
            return super().increase_indent(flow, False)  # sequences inside their key, as yamllint has it

    def text(dumper: t.Any, value: str) -> t.Any:
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=None if TEXT.fullmatch(value) else "'")

    Dumper.add_representer(str, text)
    return (
        header
        + "---\n"
        + yaml.dump(
            _ordered(remediation["manifest"]), Dumper=Dumper, sort_keys=False, default_flow_style=False, width=1 << 16
        )
    )


FIRST = (
    *("apiVersion", "kind", "metadata", "spec"),
    *("port", "number", "protocol", "name", "namespace", "resourceVersion", "annotations", "defaultEndpoint"),
    *("workloadSelector", "ingress", "egress", "outboundTrafficPolicy", "inboundConnectionPool"),
)
"""The order in which a person would write the keys. Any other comes after these, by name: a saved report may have them in any order."""


def _ordered(value: t.Any) -> t.Any:
    if isinstance(value, list):
        return [_ordered(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _ordered(value[key])
        for key in sorted(value, key=lambda k: (FIRST.index(k) if k in FIRST else len(FIRST), k))
    }


def sidecar_files(report: Thing) -> list[Thing]:
    """A Report's remediations as `{path, content}`, `path` being NAMESPACE/NAME.yaml below any directory.

    Raises ManifestError for names that Kubernetes would not take, since a report may come from anyone: they could lead out of the directory.
    """
    files: dict[str, Thing] = {}
    for remediation in report["remediations"]:
        namespace, name = legal_names(remediation["manifest"], "a remediation of the report")
        path = f"{namespace}/{_file_name(name)}"
        if path in files:
            raise ManifestError(f"the report has two remediations for Sidecar {namespace}/{name}")
        files[path] = {"path": path, "content": sidecar_yaml(remediation)}
    return list(files.values())


def _file_name(name: str) -> str:
    base = f"{name}.yaml"
    return base if len(base) <= FILE_NAME else f"{name[:200]}-{hashlib.sha256(name.encode()).hexdigest()[:12]}.yaml"


def _line(text: str) -> str:
    """One line of a comment: no line breaks of any kind, nothing that a terminal obeys."""
    return printable(" ".join(str(text).split()))
