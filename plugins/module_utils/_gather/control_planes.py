# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""The control planes of a snapshot, from istiods' pods and what belongs to them: where to look for these, and what is kept of them."""

from __future__ import annotations

import json
import re
import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh import istio_version
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.pod import discovery, has_sidecar
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.istio_values import (
    as_object,
    dotted,
    image_tag,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.kube import Thing, key, matches, read_pods
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.outside import (
    OutsideError,
    excerpt,
    fields_of_yaml,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.shapes import (
    ISTIOD_ENV,
    MAISTRA_LABELS,
    MESH_CONFIG_FIELDS,
    POD_ENV,
    REWRITING,
    SHARED_ENV,
    VERSION_LABELS,
)
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.snapshot import Unlisted

Objects = dict[str, t.Any]
"""The objects of each list by its key, there once it was asked for; `unlisted`, what could not be; and what else assemble() takes."""

ISTIODS, DEPLOYMENTS, CONFIG_MAPS, SERVICE_MESHES = "istiods", "istiodDeployments", "configMaps", "serviceMeshes"

# ---------------------------------------------------------------------------------------------------------------------
# Where to look


def places(objects: Objects, istio_namespace: str) -> list[str]:
    """The namespaces in which the proxies of the pods say that istiod is; `istio_namespace` too, if one does not say.

    Found out once: pods are listed before anything asks.
    """
    if "places" not in objects:
        asked = {discovery(pod) for pod in read_pods(objects.get("pods") or ()) if has_sidecar(pod)}
        named = {where.namespace for where in asked if where and where.namespace}
        objects["places"] = sorted(named | ({istio_namespace} if None in asked or not named else set()))
    return t.cast("list[str]", objects["places"])


def istiod_namespaces(objects: Objects) -> list[str]:
    """Those of the istiods that were found, and run or may yet run."""
    return sorted({pod["metadata"]["namespace"] for pod in _pods(objects)})


def is_hidden(objects: Objects, resource: str, namespace: str) -> bool:
    """Whether a list was refused there."""
    return any(
        entry["resource"] == resource and entry.get("namespace") in (None, namespace) and not entry.get("object")
        for entry in objects.get("unlisted") or ()
    )


def nameless_service_meshes(objects: Objects) -> list[str]:
    """The namespaces of OpenShift Service Meshes 2 whose version neither an image nor a label says."""
    found = set()
    for pod in _istiods(objects):
        versions, maistra = _said(pod, objects)
        if maistra and not any(
            istio_version.known([each], maistra).version for each in versions if each["by"] != istio_version.RESOURCE
        ):
            found.add(pod["metadata"]["namespace"])
    return sorted(found)


def has_selectors(objects: Objects, istio_namespace: str) -> bool:
    """Whether a control plane that was found knows of some namespaces only, so that their labels matter."""
    istio, _unreadable = control_planes(objects, istio_namespace)
    return any(plane["meshConfig"].get("discoverySelectors") for plane in istio["controlPlanes"])


def root_namespaces(objects: Objects, istio_namespace: str) -> list[str]:
    """Those of the control planes that were found, and of those that were looked for and not found."""
    istio, _unreadable = control_planes(objects, istio_namespace)
    planes = istio["controlPlanes"]
    roots = {plane["meshConfig"].get("rootNamespace") or plane["namespace"] for plane in planes}
    for place in {*places(objects, istio_namespace)} - {plane["namespace"] for plane in planes}:
        roots.add(istio["rootNamespace"] if place == istio_namespace else place)
    return sorted(roots)


def _runs(pod: Thing) -> bool:
    return (pod.get("status") or {}).get("phase") in (None, "Running")


def _pods(objects: Objects) -> list[Thing]:
    """Those that run or may yet run, those that run first."""
    return sorted(
        (
            pod
            for pod in objects.get(ISTIODS) or ()
            if (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")
        ),
        key=lambda pod: not _runs(pod),
    )


def _istiods(objects: Objects) -> list[Thing]:
    """The pods, those that run first, and after them what the Deployments make next, as pods that do not run yet."""
    made = [
        {
            "metadata": {**each["metadata"], "labels": (template.get("metadata") or {}).get("labels") or {}},
            "spec": template["spec"],
            "status": {"phase": "Pending"},
        }
        for each in objects.get(DEPLOYMENTS) or ()
        for template in (each["spec"].get("template") or {},)
        if template.get("spec")
    ]
    return [*_pods(objects), *made]


# ---------------------------------------------------------------------------------------------------------------------
# What is kept


def control_planes(objects: Objects, istio_namespace: str) -> tuple[Thing, list[Unlisted]]:
    """The snapshot's `istio`, and entries of its `unlisted` for what cannot be read of it."""
    configs = _Configs(objects)
    planes: dict[str, Thing] = {}
    for pod in _istiods(objects):
        plane = _plane(pod, objects, configs)
        planes.setdefault(json.dumps(plane, sort_keys=True), plane if _runs(pod) else {**plane, "running": False})
    found = sorted(
        planes.values(), key=lambda p: (p["namespace"], p["revision"], p["version"], json.dumps(p, sort_keys=True))
    )
    running = [plane for plane in found if plane.get("running", True)]
    at_home = [plane["meshConfig"] for plane in running if plane["namespace"] == istio_namespace]
    default = configs.of(istio_namespace, "istio") or next(iter(at_home), {})
    istio = {
        "istioNamespace": istio_namespace,
        "rootNamespace": str(default.get("rootNamespace") or istio_namespace),
        "controlPlanes": found,
        "meshConfig": default,
        "variables": sorted({*ISTIOD_ENV, *POD_ENV}),
    }
    return istio, [configs.unreadable[name] for name in sorted(configs.unreadable)]


def _plane(pod: Thing, objects: Objects, configs: _Configs) -> Thing:
    namespace = pod["metadata"]["namespace"]
    revision = (pod["metadata"].get("labels") or {}).get("istio.io/rev") or "default"
    versions, maistra = _said(pod, objects)
    known = istio_version.known(versions, maistra)
    env, unknown = _variables(_discovery(pod))
    plane = {
        "namespace": namespace,
        "revision": revision,
        "version": dotted(known.version) if known.version else "",
        "versions": versions,
        "env": {name: value for name, value in env.items() if name in ISTIOD_ENV},
        **configs.mounted(pod, env.get(SHARED_ENV), SHARED_ENV in unknown),
        **configs.injector(pod),
    }
    if maistra:
        plane["maistra"] = True
    if unknown:
        plane["envUnknown"] = sorted(unknown & {*ISTIOD_ENV})
    return plane


def _discovery(pod: Thing) -> Thing:
    containers = pod["spec"]["containers"]
    return next((c for c in containers if c["name"] == "discovery"), containers[0] if containers else {})


def _said(pod: Thing, objects: Objects) -> tuple[list[dict[str, str]], bool]:
    """What says an istiod's version, the nearest first; and whether it is one of OpenShift Service Mesh 2."""
    namespace = pod["metadata"]["namespace"]
    labels = pod["metadata"].get("labels") or {}
    deployment = _deployment(pod, objects)
    versions = []
    tag = image_tag(_discovery(pod).get("image"))
    if tag:
        versions.append({"by": istio_version.IMAGE, "text": tag})
    for by, some in ((istio_version.POD, labels), (istio_version.DEPLOYMENT, deployment)):
        versions += [{"by": by, "label": name, "text": some[name]} for name in VERSION_LABELS if some.get(name)]
    meshes = [each for each in objects.get(SERVICE_MESHES) or () if each["metadata"]["namespace"] == namespace]
    named = [each for each in meshes if each["metadata"]["name"] == labels.get("istio.io/rev")]
    for each in named or (meshes if len(meshes) == 1 else []):
        if (each.get("status") or {}).get("chartVersion"):
            versions.append({"by": istio_version.RESOURCE, "text": each["status"]["chartVersion"]})
    return versions, any(name in some for some in (labels, deployment) for name in MAISTRA_LABELS)


def _deployment(pod: Thing, objects: Objects) -> t.Mapping[str, str]:
    """The labels of the Deployment that made the pod."""
    for each in objects.get(DEPLOYMENTS) or ():
        selector = (each["spec"].get("selector") or {}).get("matchLabels")
        if selector and key(each)[0] == key(pod)[0] and matches(selector, pod["metadata"].get("labels")):
            return each["metadata"].get("labels") or {}
    return {}


def _variables(container: Thing) -> tuple[dict[str, str], set[str]]:
    """Those that are spelled out, of which the last of a name counts, and those that are set, or may be, to what is not seen."""
    known: dict[str, str | None] = {}
    for entry in container.get("env") or ():
        known[entry.get("name") or ""] = entry.get("value", "") if "valueFrom" not in entry else None
    prefixes = tuple(each.get("prefix") or "" for each in container.get("envFrom") or ())
    unknown = {name for name in (*ISTIOD_ENV, SHARED_ENV) if name not in known and name.startswith(prefixes)}
    return {name: value for name, value in known.items() if value is not None}, unknown | {
        name for name, value in known.items() if value is None
    }


class _Configs:
    """The mesh configurations of the ConfigMaps that were listed."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._maps = {key(each): each for each in objects.get(CONFIG_MAPS) or ()}
        self._read: dict[tuple[str, str], dict[str, t.Any]] = {}
        self.unreadable: dict[tuple[str, str], Unlisted] = {}

    def of(self, namespace: str, name: str) -> dict[str, t.Any]:
        """Nothing of one that is not there, or that cannot be read: then `unreadable` has it. Each is read once, however many istiods mount it."""
        if (namespace, name) not in self._read:
            self._read[namespace, name] = self._parsed(namespace, name)
        return self._read[namespace, name]

    def _parsed(self, namespace: str, name: str) -> dict[str, t.Any]:
        there = self._maps.get((namespace, name))
        try:
            return mesh_config((there.get("data") or {}).get("mesh")) if there else {}
        except OutsideError as error:
            self.unreadable[namespace, name] = {
                "resource": "configmaps",
                "namespace": namespace,
                "object": f"ConfigMap {namespace}/{name}",
                "detail": f"mesh: {error}",
            }
            return {}

    def mounted(self, pod: Thing, shared: str | None, hidden: bool) -> Thing:
        """The `meshConfig` of an istiod, the one that it mounts over the one that SHARED_MESH_CONFIG names; why it is not known, if so.

        Which it mounts: volumes of the chart istiod, and getMeshConfigMapName, pilot/pkg/bootstrap/mesh.go@1.20.8. One that it shares and that is
        not there counts as empty: AddUserMeshConfig, pkg/config/mesh/kubemesh/watcher.go@1.20.8.
        """
        namespace = pod["metadata"]["namespace"]
        name = _mounted(pod, ("config-volume", "config"), "istio")
        own = self.of(namespace, name)
        config = {**(self.of(namespace, shared) if shared else {}), **own}
        broken = [each for each in (name, shared) if (namespace, each) in self.unreadable]
        if is_hidden(self._objects, "configmaps", namespace):
            return _unknown("unlisted", namespace)
        if (namespace, name) not in self._maps:
            return _unknown("absent", f"{namespace}/{name}")
        if broken:
            return _unknown("unreadable", f"{namespace}/{broken[0]}")
        if hidden and "inboundTrafficPolicy" not in own:
            return {**_unknown("unnamed"), "meshConfig": config}
        return {"meshConfig": config}

    def injector(self, pod: Thing) -> Thing:
        """The `rewritesProbes` of an istiod, from the values that it mounts or watches, if they are there and say it: templates/istiod-injector-configmap.yaml
        of the chart istiod, and pkg/kube/inject/watcher.go@1.20.8."""
        there = self._maps.get((pod["metadata"]["namespace"], _mounted(pod, ("inject",), "istio-sidecar-injector")))
        webhook, name = REWRITING
        values = as_object(((there or {}).get("data") or {}).get("values"))
        return {"rewritesProbes": values[webhook][name]} if values else {}


def _mounted(pod: Thing, volumes: t.Sequence[str], default: str) -> str:
    """The name of the ConfigMap that an istiod mounts as one of these volumes, else that of its revision."""
    revision = (pod["metadata"].get("labels") or {}).get("istio.io/rev") or "default"
    mounted = {v.get("name"): (v.get("configMap") or {}).get("name") for v in pod["spec"].get("volumes") or ()}
    found = next(filter(None, map(mounted.get, volumes)), None)
    return found or (default if revision == "default" else f"{default}-{revision}")


def _unknown(why: str, name: str = "") -> Thing:
    return {"meshConfig": {}, "meshConfigUnknown": {"why": why, **({"name": name} if name else {})}}


POLICIES = {
    "inboundTrafficPolicy": ("PASSTHROUGH", "LOCALHOST"),
    "outboundTrafficPolicy": ("REGISTRY_ONLY", "ALLOW_ANY"),
}
"""The modes of the policies that the rule reads, each in the place of its number: mesh/v1alpha1/config.proto in istio/api@1.22.0."""


TEXT, TRUTH, COUNT, DURATION = "text", "true or false", "a whole number of 32 bits", "a duration such as 10s"
PART, PARTS, TEXTS, VARIABLES = "a mapping", "a list of mappings", "a list of texts", "a mapping of texts"
"""What a field holds, as istiod reads it: a number may stand in quotes. Of a tuple, one of these words, or any number, which need not be one of theirs."""

TLS = {
    "cipherSuites": TEXTS,
    "ecdhCurves": TEXTS,
    "minProtocolVersion": ("TLS_AUTO", "TLSV1_2", "TLSV1_3"),
}

OTHER_FIELDS: dict[str, t.Any] = {
    **dict.fromkeys(
        (
            "accessLogFile",
            "accessLogFormat",
            "inboundClusterStatName",
            "ingressClass",
            "ingressSelector",
            "ingressService",
            "outboundClusterStatName",
            "trustDomain",
        ),
        TEXT,
    ),
    **dict.fromkeys(("connectTimeout", "dnsRefreshRate", "protocolDetectionTimeout"), DURATION),
    **dict.fromkeys(
        (
            "disableEnvoyListenerLog",
            "enableAutoMtls",
            "enableEnvoyAccessLogService",
            "enablePrometheusMerge",
            "enableTracing",
            "verifyCertificateAtClient",
        ),
        TRUTH,
    ),
    **dict.fromkeys(("proxyHttpPort", "proxyInboundListenPort", "proxyListenPort"), COUNT),
    "accessLogEncoding": ("TEXT", "JSON"),
    "h2UpgradePolicy": ("DO_NOT_UPGRADE", "UPGRADE"),
    "ingressControllerMode": ("UNSPECIFIED", "OFF", "DEFAULT", "STRICT"),
    **dict.fromkeys(
        (
            "ca",
            "defaultHttpRetryPolicy",
            "defaultProviders",
            "localityLbSetting",
            "pathNormalization",
            "tcpKeepalive",
        ),
        PART,
    ),
    **dict.fromkeys(
        ("caCertificates", "certificates", "configSources", "extensionProviders", "serviceSettings"), PARTS
    ),
    **dict.fromkeys(("meshMTLS", "tlsDefaults"), TLS),
    **dict.fromkeys(
        (
            "defaultDestinationRuleExportTo",
            "defaultServiceExportTo",
            "defaultVirtualServiceExportTo",
            "trustDomainAliases",
        ),
        TEXTS,
    ),
    "defaultConfig": {
        **dict.fromkeys(
            (
                "binaryPath",
                "configPath",
                "customConfigFile",
                "discoveryAddress",
                "meshId",
                "proxyBootstrapTemplatePath",
                "serviceCluster",
            ),
            TEXT,
        ),
        **dict.fromkeys(("drainDuration", "terminationDrainDuration"), DURATION),
        "holdApplicationUntilProxyStarts": TRUTH,
        **dict.fromkeys(("concurrency", "proxyAdminPort", "statNameLength", "statusPort"), COUNT),
        "controlPlaneAuthPolicy": ("NONE", "MUTUAL_TLS", "INHERIT"),
        "interceptionMode": ("REDIRECT", "TPROXY", "NONE"),
        **dict.fromkeys(("image", "proxyStatsMatcher", "tracing"), PART),
        "extraStatTags": TEXTS,
        "proxyMetadata": VARIABLES,
    },
}
"""Fields that the rule does not read, and for which istiod refuses the whole configuration if they hold anything else: of every release that knows them.

mesh/v1alpha1/config.proto and proxy.proto in istio/api@1.22.0. One that a release does not know is passed over.
"""

OTHER_SPELLINGS = {"meshMTLS": "mesh_mTLS"}
"""Names of fields in these files that do not follow from those in JSON."""


NAMESPACE = re.compile(r"[^./]{0,63}")
"""What may be the name of a namespace, which is a label of DNS: it becomes a part of an address, of which `..` would make another."""


def mesh_config(text: str | None) -> dict[str, t.Any]:
    """The fields that the rule reads of a mesh configuration in YAML, as istiod reads them: either spelling of a field, and modes by number, too.

    Raises OutsideError for one that istiod would not take, or that is not read; protomarshal.ApplyYAML, pkg/util/protomarshal/protomarshal.go@1.22.0.
    """
    fields = dict.fromkeys(MESH_CONFIG_FIELDS) | OTHER_FIELDS
    spellings = _spellings(fields)
    read = fields_of_yaml(text or "", spellings)
    _check_fields(read, fields, "")
    config = {
        spellings[name]: value
        for name, value in read.items()
        if value is not None and spellings[name] in MESH_CONFIG_FIELDS
    }
    root = config.get("rootNamespace", "")
    if not isinstance(root, str):
        raise OutsideError("rootNamespace: wanted text")
    if not NAMESPACE.fullmatch(root):
        raise OutsideError(f"rootNamespace: wanted the name of a namespace, found {excerpt(root)}")
    for field, modes in POLICIES.items():
        policy = config.get(field)
        if policy is None:
            continue
        if not isinstance(policy, dict):
            raise OutsideError(f"{field}: wanted a mapping")
        mode = policy.get("mode")
        if isinstance(mode, int) and not isinstance(mode, bool) and 0 <= mode < len(modes):
            mode = modes[mode]
        elif mode is not None and mode not in modes:
            raise OutsideError(f"{field}.mode: wanted one of {', '.join(modes)}, found {str(mode)[:60]}")
        # Whatever else it holds, which may be much, is kept for each of its istiods, and read by nobody.
        config[field] = {} if mode is None else {"mode": mode}
    if "discoverySelectors" in config:
        config["discoverySelectors"] = _selectors(config["discoverySelectors"])
    return config


def _selectors(given: t.Any) -> list[Thing]:
    """The fields of LabelSelector, mesh/v1alpha1/config.proto in istio/api@1.22.0. What istiod makes of them is decided where they are read.

    Raises OutsideError for what has not the shape: of that, istiod takes nothing of the mesh configuration.
    """
    kept = []
    for number, each in enumerate(_list_of(given, dict, "discoverySelectors")):
        where = f"discoverySelectors[{number}]"
        labels = _field(each, "matchLabels", "match_labels")
        expressions = _field(each, "matchExpressions", "match_expressions")
        selector: Thing = {}
        if labels is not None:
            if not isinstance(labels, dict) or not all(isinstance(value, str) for value in labels.values()):
                raise OutsideError(f"{where}.matchLabels: wanted a mapping of text")
            selector["matchLabels"] = labels
        if expressions is not None:
            selector["matchExpressions"] = [
                _expression(expression, f"{where}.matchExpressions")
                for expression in _list_of(expressions, dict, f"{where}.matchExpressions")
            ]
        kept.append(selector)
    return kept


def _expression(given: Thing, where: str) -> Thing:
    made: Thing = {"key": "", "operator": "", "values": []}
    made.update((name, given[name]) for name in made if given.get(name) is not None)
    for name in ("key", "operator"):
        if not isinstance(made[name], str):
            raise OutsideError(f"{where}.{name}: wanted text")
    _list_of(made["values"], str, f"{where}.values")
    return made


def _field(given: Thing, *spellings: str) -> t.Any:
    return next((given[name] for name in spellings if given.get(name) is not None), None)


def _list_of(given: t.Any, kind: type, where: str) -> list[t.Any]:
    if not isinstance(given, list):
        raise OutsideError(f"{where}: wanted a list")
    if not all(isinstance(each, kind) for each in given):
        raise OutsideError(f"{where}: wanted a list of {'mappings' if kind is dict else 'text'}")
    return given


def _spellings(fields: t.Iterable[str]) -> dict[str, str]:
    """Either spelling of each field, and the field."""
    both = {
        OTHER_SPELLINGS.get(field) or re.sub("[A-Z]", lambda found: f"_{found[0].lower()}", field): field
        for field in fields
    }
    return {**both, **dict(zip(fields, fields))}


def _check_fields(read: t.Mapping[str, t.Any], fields: t.Mapping[str, t.Any], path: str) -> None:
    """Raises OutsideError for a field in both spellings, of which one counts or none, and for one that holds what its kind does not."""
    found: dict[str, t.Any] = {}
    for name, field in _spellings(fields).items():
        if name not in read:
            continue
        if field in found:
            raise OutsideError(f"{path}{field}: it comes twice, in either spelling")
        found[field] = read[name]
    for field, value in found.items():
        kind = fields[field]
        if kind is None or value is None:
            continue
        if isinstance(kind, tuple):
            if value not in kind and not (_is_count(value) and not _is_text(value)):
                raise OutsideError(f"{path}{field}: wanted one of {', '.join(kind)}")
            continue
        wanted = PART if isinstance(kind, dict) else kind
        if not _FITS[wanted](value):
            raise OutsideError(f"{path}{field}: wanted {wanted}")  # what it holds may be a secret
        if isinstance(kind, dict):
            _check_fields(value, kind, f"{path}{field}.")


def _is_text(value: t.Any) -> bool:
    return isinstance(value, str)


def _is_count(value: t.Any) -> bool:
    if isinstance(value, str):
        return bool(re.fullmatch(r"-?[0-9]{1,10}", value, re.ASCII)) and _is_count(int(value))
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return value == int(value) and -(1 << 31) <= value < 1 << 31


GO_DURATION = re.compile(r"[-+]?(?:0|(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:ns|us|µs|μs|ms|s|m|h))+)", re.ASCII)
"""time.ParseDuration, which some releases read them with: the others take seconds alone."""


def _is_duration(value: t.Any) -> bool:
    return _is_text(value) and bool(GO_DURATION.fullmatch(value))


_FITS: dict[str, t.Callable[[t.Any], bool]] = {
    TEXT: _is_text,
    TRUTH: lambda value: isinstance(value, bool),
    COUNT: _is_count,
    DURATION: _is_duration,
    PART: lambda value: isinstance(value, dict),
    PARTS: lambda value: isinstance(value, list) and all(isinstance(each, dict) for each in value),
    TEXTS: lambda value: isinstance(value, list) and all(map(_is_text, value)),
    VARIABLES: lambda value: isinstance(value, dict) and all(map(_is_text, value.values())),
}
