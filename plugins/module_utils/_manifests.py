# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""Remediations as files that a team reviews and keeps: written from a Report, live or saved, and read back."""

from __future__ import annotations

import hashlib
import re
import textwrap
import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.outside import OutsideError, from_yaml
from ansible_collections.meshops.istio_precheck.plugins.module_utils._shapes import Mapping, Only, Required
from ansible_collections.meshops.istio_precheck.plugins.module_utils._snapshot import SnapshotError, check_shape
from ansible_collections.meshops.istio_precheck.plugins.module_utils._text import printable

Thing = dict[str, t.Any]

PART = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
"""Kubernetes checks the length of a name as a whole, not of its parts between dots: IsDNS1123Label (a namespace's name), IsDNS1123Subdomain (most others)
in k8s.io/apimachinery/pkg/util/validation/validation.go@v0.20.2."""

FILE_NAME = 255 - len(".ansible_tmp12345678")
"""What a file system takes, less what Ansible adds to the name while it writes the file: atomic_move, ansible/module_utils/basic.py@2.17."""

TEXT = re.compile(
    r"(?!(y|n|yes|no|on|off|true|false|null|nan|inf)\Z)[a-z].*|\./.*|\d+\.\d+\.\d+\.\d+:\d+",
    re.ASCII | re.DOTALL | re.IGNORECASE,
)
"""What no reader of YAML takes for a number, a truth or nothing, so that it needs no quotes for that: resolve.go in sigs.k8s.io/yaml/goyaml.v2@v1.4.0,
which kubectl uses, goes by the first character."""


MANIFEST = Only(
    {
        "apiVersion": Required(str),
        "kind": Required(str),
        "metadata": Required(
            Only(
                {
                    "name": Required(str),
                    "namespace": Required(str),
                    "labels": Mapping(str),
                    "annotations": Mapping(str),
                    "resourceVersion": str,
                }
            )
        ),
        "spec": Required(dict),
    }
)
"""A Sidecar that is to be applied: what this collection writes, and what reviewers may add to it."""


class ManifestError(ValueError):
    """A remediation or a file that cannot be used; the text names it, and is printable."""

    def __init__(self, text: str) -> None:
        super().__init__(printable(text))


def sidecar_yaml(remediation: Thing) -> str:
    """The Sidecar as a file: why it is there in comments, then the manifest. The same remediation gives the same text."""
    import yaml

    meta = remediation["manifest"]["metadata"]
    said = [f"Keeps reachable: {finding}" for finding in remediation["findings"]] + list(remediation.get("notes") or ())
    if remediation["action"] == "create" and _is_namespace(meta["namespace"]) and _is_name(meta["name"]):
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


def sidecar_manifests(files: t.Sequence[Thing]) -> list[Thing]:
    """The Sidecars in files `{path, content}`, by namespace and name. Raises ManifestError for anything else in them."""
    found: dict[tuple[str, str], Thing] = {}
    for file in files:
        try:
            documents = from_yaml(file["content"])
        except OutsideError as error:
            raise ManifestError(f"{file['path']}: {error}") from error
        for document in documents:
            key = check_manifest(document, file["path"])
            if key in found:
                raise ManifestError(f"{file['path']} holds Sidecar {'/'.join(key)}, which another file holds too")
            found[key] = document
    return [found[key] for key in sorted(found)]


def check_manifest(manifest: t.Any, where: str) -> tuple[str, str]:
    """Namespace and name of a Sidecar that may be applied. Raises ManifestError, naming `where` and the path inside it, for anything else."""
    key = legal_names(manifest, where)
    if not isinstance(manifest.get("spec"), dict) or not manifest["spec"]:
        raise ManifestError(f"{where} holds a Sidecar without a spec")
    try:
        check_shape(manifest, MANIFEST, "")
    except SnapshotError as error:
        raise ManifestError(f"{where}: {error}") from error
    return key


def legal_names(manifest: t.Any, where: str) -> tuple[str, str]:
    """Namespace and name of a Sidecar. Raises ManifestError, naming `where`, if it is none or they are not what Kubernetes takes."""
    is_sidecar = (
        isinstance(manifest, dict)
        and manifest.get("kind") == "Sidecar"
        and re.fullmatch(r"networking\.istio\.io/v1[a-z0-9]*", str(manifest.get("apiVersion")))
    )
    meta = manifest.get("metadata") if is_sidecar else None
    if not isinstance(meta, dict):
        raise ManifestError(f"{where} holds something other than a Sidecar of networking.istio.io")
    namespace, name = meta.get("namespace"), meta.get("name")
    if not _is_namespace(namespace):
        raise ManifestError(f"{where}: {namespace!r} is no name of a namespace")
    if not _is_name(name):
        raise ManifestError(f"{where}: {name!r} is no name of a Sidecar")
    return namespace, name


def _is_namespace(text: t.Any) -> bool:
    return isinstance(text, str) and len(text) <= 63 and re.fullmatch(PART, text) is not None


def _is_name(text: t.Any) -> bool:
    return isinstance(text, str) and len(text) <= 253 and re.fullmatch(rf"{PART}(\.{PART})*", text) is not None


def _line(text: str) -> str:
    """One line of a comment: no line breaks of any kind, nothing that a terminal obeys."""
    return printable(" ".join(str(text).split()))
