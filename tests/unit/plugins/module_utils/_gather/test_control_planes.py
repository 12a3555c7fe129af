# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a snapshot keeps of control planes and of their mesh configuration."""

from __future__ import annotations

import json
import re

import pytest

pytest.importorskip("yaml")

from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather import control_planes as _control_planes
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh import control_plane as _control_plane
from ansible_collections.meshops.istio_precheck.plugins.module_utils._mesh.cluster import read_cluster
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model import shapes as _shapes
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model import snapshot as _snapshot
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.trim import trim
from ansible_collections.meshops.istio_precheck.tests.helpers import cluster


def istiod(
    name="istiod-1",
    image="docker.io/istio/pilot:1.9.9",
    revision="default",
    phase="Running",
    env=(),
    labels=None,
    containers=None,
    **spec,
):
    return {
        "metadata": {
            "name": name,
            "namespace": "istio-system",
            "labels": {"app": "istiod", "istio.io/rev": revision, **(labels or {})},
        },
        "spec": {
            "containers": containers
            or [{"name": "discovery", "image": image, "env": [{"name": n, "value": v} for n, v in env]}],
            **spec,
        },
        "status": {"phase": phase},
    }


def config(text, name="istio"):
    return {"metadata": {"name": name, "namespace": "istio-system"}, "data": {"mesh": text}}


def planes(*pods, configs=(), **objects):
    found, unreadable = _control_planes.control_planes(
        {"istiods": list(pods), "configMaps": list(configs), **objects}, "istio-system"
    )
    assert unreadable == []
    return found


def test_an_istiod_says_version_revision_and_the_variables_that_the_rule_reads():
    seen = istiod(env=[("PILOT_ENABLE_INBOUND_PASSTHROUGH", "false"), ("SECRET", "x")])
    (plane,) = planes(seen, configs=[config("")])["controlPlanes"]
    assert plane == {
        "namespace": "istio-system",
        "revision": "default",
        "version": "1.9.9",
        "versions": [{"by": "image", "text": "1.9.9"}],
        "env": {"PILOT_ENABLE_INBOUND_PASSTHROUGH": "false"},
        "meshConfig": {},
    }


PASSTHROUGH, SHARED = "PILOT_ENABLE_INBOUND_PASSTHROUGH", "SHARED_MESH_CONFIG"
ENVIRONMENTS = {
    "spelled out": ({"env": [{"name": PASSTHROUGH, "value": "false"}]}, {PASSTHROUGH: "false"}, []),
    "empty": ({"env": [{"name": PASSTHROUGH, "value": ""}]}, {PASSTHROUGH: ""}, []),
    "the last of two": ({"env": [{"name": PASSTHROUGH, "value": "1"}, {"name": PASSTHROUGH}]}, {PASSTHROUGH: ""}, []),
    "from a Secret": ({"env": [{"name": PASSTHROUGH, "valueFrom": {}}]}, {}, [PASSTHROUGH]),
    "from a Secret, and then spelled out": (
        {"env": [{"name": PASSTHROUGH, "valueFrom": {}}, {"name": PASSTHROUGH, "value": "1"}]},
        {PASSTHROUGH: "1"},
        [],
    ),
    "all of a ConfigMap": ({"envFrom": [{"configMapRef": {}}]}, {}, sorted(_shapes.ISTIOD_ENV)),
    "all of a ConfigMap, and one spelled out": (
        {"envFrom": [{"configMapRef": {}}], "env": [{"name": PASSTHROUGH, "value": "1"}]},
        {PASSTHROUGH: "1"},
        sorted({*_shapes.ISTIOD_ENV} - {PASSTHROUGH}),
    ),
    "of a ConfigMap under another prefix": ({"envFrom": [{"prefix": "X_", "configMapRef": {}}]}, {}, []),
}


@pytest.mark.parametrize("case", ENVIRONMENTS)
def test_a_variable_whose_value_is_not_seen_is_not_unset(case):
    container, known, unknown = ENVIRONMENTS[case]
    (plane,) = planes(istiod(containers=[{"name": "discovery", **container}]), configs=[config("")])["controlPlanes"]
    assert (plane["env"], plane.get("envUnknown", [])) == (known, unknown)


def mounts(name, volume="config-volume"):
    return {"volumes": [{"name": "cacerts"}, {"name": volume, "configMap": {"name": name}}]}


OWN, USER = (
    "inboundTrafficPolicy: {mode: PASSTHROUGH}",
    "inboundTrafficPolicy: {mode: LOCALHOST}\nrootNamespace: config",
)
MODE = "inboundTrafficPolicy"
CONFIGS = {
    "that of its revision": ({}, {"istio": OWN}, ("PASSTHROUGH", None)),
    "the one that it mounts": (mounts("istio-x"), {"istio": OWN, "istio-x": USER}, ("LOCALHOST", None)),
    "under its other name": (mounts("y", "config"), {"istio": OWN, "y": USER}, ("LOCALHOST", None)),
    "the user's below it": ({SHARED: "u"}, {"istio": "rootNamespace: own", "u": USER}, ("LOCALHOST", None)),
    "the user's, which says less": ({SHARED: "u"}, {"istio": OWN, "u": USER}, ("PASSTHROUGH", None)),
    "the user's, which is not there": ({SHARED: "u"}, {"istio": OWN}, ("PASSTHROUGH", None)),
    "the user's, of an unseen name": ({SHARED: None}, {"istio": "", "u": USER}, (None, {"why": "unnamed"})),
    "the user's, of an unseen name, which cannot matter": ({SHARED: None}, {"istio": OWN}, ("PASSTHROUGH", None)),
    "none": ({}, {"other": USER}, (None, {"why": "absent", "name": "istio-system/istio"})),
    "only the user's": ({SHARED: "u"}, {"u": USER}, (None, {"why": "absent", "name": "istio-system/istio"})),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_the_mesh_configuration_is_the_one_that_istiod_reads(case):
    spec, maps, (mode, unknown) = CONFIGS[case]
    pod = istiod(**{key: value for key, value in spec.items() if key != SHARED})
    if SHARED in spec:
        value = {"value": spec[SHARED]} if spec[SHARED] else {"valueFrom": {}}
        pod["spec"]["containers"][0]["env"] = [{"name": SHARED, **value}]
    (plane,) = planes(pod, configs=[config(text, name) for name, text in maps.items()])["controlPlanes"]
    assert plane["meshConfig"].get(MODE, {}).get("mode") == mode
    assert plane.get("meshConfigUnknown") == unknown
    assert SHARED not in plane["env"]


def test_a_mesh_configuration_that_may_not_be_listed_is_unknown():
    refused = [{"resource": "configmaps", "namespace": "istio-system", "detail": "no"}]
    (plane,) = planes(istiod(), unlisted=refused)["controlPlanes"]
    assert plane["meshConfigUnknown"] == {"why": "unlisted", "name": "istio-system"}


def values(rewriting, name="istio-sidecar-injector", **more):
    """The ConfigMap of an injector as it is kept. `rewriting` is text, or what `rewriteAppHTTPProbe` is set to."""
    webhook = {"rewriteAppHTTPProbe": rewriting, "injectedAnnotations": {"token": "secret"}}
    text = rewriting if isinstance(rewriting, str) else json.dumps({"sidecarInjectorWebhook": webhook, "global": {}})
    metadata = {"name": name, "namespace": "istio-system"}
    return trim({"metadata": metadata, "data": {"values": text, "config": "secret"}}, _shapes.MESH_CONFIG)


CANARY = {"revision": "b", "env": ()}
INJECTORS = {
    "on": ({}, [values(True)], True),
    "off": ({}, [values(False)], False),
    "not there": ({}, [values(True, "other")], None),
    "of its revision": (CANARY, [values(True), values(False, "istio-sidecar-injector-b")], False),
    "the one that it mounts": (mounts("x", "inject"), [values(True), values(False, "x")], False),
    "no JSON": ({}, [values("rewriteAppHTTPProbe: false")], None),
    "no truth": ({}, [values(json.dumps({"sidecarInjectorWebhook": {"rewriteAppHTTPProbe": "false"}}))], None),
    "no mapping": ({}, [values(json.dumps({"sidecarInjectorWebhook": ["rewriteAppHTTPProbe"]}))], None),
    "not said": ({}, [values("{}")], None),
}


@pytest.mark.parametrize("case", INJECTORS)
def test_whether_the_injector_rewrites_probes_is_the_one_thing_that_is_kept_of_its_values(case):
    spec, configs, wanted = INJECTORS[case]
    (plane,) = planes(istiod(**spec), configs=[config("", name) for name in ("istio", "istio-b")] + configs)[
        "controlPlanes"
    ]
    assert plane.get("rewritesProbes") is wanted
    assert "secret" not in json.dumps(configs)


def test_the_deployment_is_the_one_that_selects_the_pod():
    def deployment(namespace, selector, **labels):
        spec = {"selector": {"matchLabels": selector}}
        return {"metadata": {"name": "istiod", "namespace": namespace, "labels": labels}, "spec": spec}

    others = [
        deployment("istio-system", {"app": "istiod", "istio.io/rev": "canary"}, **{"operator.istio.io/version": "1"}),
        deployment("mesh-a", {"app": "istiod"}, **{"operator.istio.io/version": "2"}),
    ]
    own = deployment("istio-system", {"app": "istiod"}, **{"operator.istio.io/version": "1.9.9"})
    (plane,) = planes(istiod(), configs=[config("")], istiodDeployments=[*others, own])["controlPlanes"]
    assert plane["versions"][1:] == [{"by": "deployment", "label": "operator.istio.io/version", "text": "1.9.9"}]
    (plane,) = planes(istiod(), configs=[config("")], istiodDeployments=others)["controlPlanes"]
    assert plane["versions"][1:] == []


def test_replicas_of_one_istiod_are_one_control_plane_and_two_versions_are_two():
    found = planes(istiod(), istiod("istiod-2"), istiod("istiod-3", image="docker.io/istio/pilot:1.10.0"))[
        "controlPlanes"
    ]
    assert [plane["version"] for plane in found] == ["1.10.0", "1.9.9"] or [plane["version"] for plane in found] == [
        "1.9.9",
        "1.10.0",
    ]
    assert len(found) == 2


def deployment(revision="1-24", tag="1.24.1", template=True, **spec):
    made = istiod(image=f"docker.io/istio/pilot:{tag}", revision=revision, **spec)
    labels = made["metadata"]["labels"]
    inner = {"template": {"metadata": {"labels": labels}, "spec": made["spec"]}} if template else {}
    return {
        "metadata": {"name": f"istiod-{revision}", "namespace": "istio-system", "labels": labels},
        "spec": {"selector": {"matchLabels": labels}, **inner},
    }


CANARY = {"image": "docker.io/istio/pilot:1.24.1", "revision": "1-24"}
NEXT = ("1-24", "1.24.1", False)
WAITING = {
    "its pod runs": ([istiod(**CANARY)], [deployment()], [("1-24", "1.24.1", True)]),
    "its pod does not run yet": ([istiod(**CANARY, phase="Pending")], [deployment()], [NEXT]),
    "its pod is on a node that is lost": ([istiod(**CANARY, phase="Unknown")], [deployment()], [NEXT]),
    "it has no pod": ([], [deployment()], [NEXT]),
    "its pods have ended": ([istiod(**CANARY, phase="Failed")], [deployment()], [NEXT]),
    "its Deployment is not seen": ([istiod(**CANARY, phase="Pending")], [], [NEXT]),
    "a pod that has ended and no Deployment": ([istiod(**CANARY, phase="Succeeded")], [], []),
    "a Deployment whose template was not recorded": ([], [deployment(template=False)], []),
    "some of its pods run": (
        [istiod(**CANARY), istiod("istiod-2", **CANARY, phase="Pending")],
        [deployment()],
        [("1-24", "1.24.1", True)],
    ),
    "a rollout is about to begin": (
        [istiod(**CANARY)],
        [deployment(tag="1.24.2")],
        [("1-24", "1.24.1", True), ("1-24", "1.24.2", False)],
    ),
}


@pytest.mark.parametrize("case", WAITING)
def test_an_istiod_that_does_not_run_yet_is_one_that_does_not_run(case):
    pods, deployments, wanted = WAITING[case]
    config_maps = [config("rootNamespace: next", "istio-1-24")]
    found = planes(*pods, configs=config_maps, istiodDeployments=deployments)["controlPlanes"]
    assert [(p["revision"], p["version"], p.get("running", True)) for p in found] == wanted
    assert all(plane["meshConfig"] == {"rootNamespace": "next"} for plane in found)
    _snapshot.check({**cluster.snapshot(), "istio": {"controlPlanes": found}})


def test_the_mesh_configuration_of_the_mesh_is_not_that_of_an_istiod_that_does_not_run():
    spec = {"revision": "a", "phase": "Pending", **mounts("istio-a")}
    maps = [config("rootNamespace: of-a", "istio-a"), config("rootNamespace: of-b", "istio-b")]
    found = planes(istiod(**spec), istiod("istiod-2", revision="b", **mounts("istio-b")), configs=maps)
    assert found["rootNamespace"] == "of-b"


def test_the_sidecars_of_each_root_namespace_are_looked_for():
    maps = [config("rootNamespace: today"), config("rootNamespace: next", "istio-1-24")]
    objects = {"istiods": [istiod()], "istiodDeployments": [deployment()], "configMaps": maps}
    assert _control_planes.root_namespaces(objects, "istio-system") == ["next", "today"]


def test_an_image_without_a_version_leaves_it_to_the_labels():
    (plane,) = planes(
        istiod(image="registry.example/pilot@sha256:" + "0" * 64, labels={"app.kubernetes.io/version": "1.22.3"})
    )["controlPlanes"]
    assert plane["version"] == "1.22.3"


def test_the_discovery_container_is_read_wherever_it_stands():
    others = [{"name": "logger", "image": "logger:9.9.9"}, {"name": "discovery", "image": "istio/pilot:1.9.9"}]
    assert planes(istiod(containers=others))["controlPlanes"][0]["version"] == "1.9.9"


def test_each_revision_has_its_own_mesh_configuration():
    found = planes(
        istiod(),
        istiod("istiod-canary", revision="canary"),
        configs=[config("rootNamespace: config"), config("rootNamespace: other", "istio-canary")],
    )
    assert {plane["revision"]: plane["meshConfig"] for plane in found["controlPlanes"]} == {
        "default": {"rootNamespace": "config"},
        "canary": {"rootNamespace": "other"},
    }
    assert found["rootNamespace"] == "config"


def test_without_an_istiod_the_istio_namespace_is_the_root():
    assert planes() == {
        "istioNamespace": "istio-system",
        "rootNamespace": "istio-system",
        "controlPlanes": [],
        "meshConfig": {},
        "variables": sorted({*_shapes.ISTIOD_ENV, *_shapes.POD_ENV}),
    }


@pytest.mark.parametrize(
    "text", [None, "", "# nothing", "---", "null", "a: !!python/object/apply:os.system [id]", "a: b"]
)
def test_a_mesh_configuration_that_says_nothing_is_all_defaults(text):
    assert _control_planes.mesh_config(text) == {}


BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
LOCALHOST = {"inboundTrafficPolicy": {"mode": "LOCALHOST"}}
OF_LOCALHOST = "inboundTrafficPolicy: {mode: LOCALHOST}"
TAKEN = {
    "an alias": ("x: &x {mode: LOCALHOST}\ninboundTrafficPolicy: *x", LOCALHOST),
    "a merge": ("x: &x {mode: LOCALHOST}\ninboundTrafficPolicy: {<<: *x}", LOCALHOST),
    "a merge that is overruled": (
        "x: &x {mode: PASSTHROUGH}\ninboundTrafficPolicy: {<<: [*x], mode: LOCALHOST}",
        LOCALHOST,
    ),
    "a merge of everything": ("x: &x {inboundTrafficPolicy: {mode: LOCALHOST}}\n<<: *x", LOCALHOST),
    "its other spelling": ("inbound_traffic_policy: {mode: LOCALHOST}", LOCALHOST),
    "its number": ("inboundTrafficPolicy: {mode: 1}", LOCALHOST),
    "JSON": ('{"inboundTrafficPolicy": {"mode": "LOCALHOST"}}', LOCALHOST),
    "a bomb beside it": (f"{BOMB}inboundTrafficPolicy: {{mode: LOCALHOST}}", LOCALHOST),
    "what is no plain data beside it": (
        "x: !!binary aGk=\ny: !!set {a}\nz: 2020-01-01\ninboundTrafficPolicy: {mode: LOCALHOST}",
        LOCALHOST,
    ),
    "nothing": ("inboundTrafficPolicy:", {}),
    "what else a policy holds": (
        "outboundTrafficPolicy: {mode: ALLOW_ANY, x: [1, 2]}",
        {"outboundTrafficPolicy": {"mode": "ALLOW_ANY"}},
    ),
    "a policy without a mode": ("inboundTrafficPolicy: {x: 1}", {"inboundTrafficPolicy": {}}),
    "no selectors": ("discoverySelectors: []", {"discoverySelectors": []}),
    "selectors": (
        "discoverySelectors:\n- matchLabels: {mesh: in, x: ''}\n- matchExpressions: [{key: mesh, operator: In, values: [a, b]}]",
        {
            "discoverySelectors": [
                {"matchLabels": {"mesh": "in", "x": ""}},
                {"matchExpressions": [{"key": "mesh", "operator": "In", "values": ["a", "b"]}]},
            ]
        },
    ),
    "selectors in their other spelling": (
        "discovery_selectors: [{match_labels: {mesh: in}, match_expressions: [{key: mesh, operator: Exists}]}]",
        {
            "discoverySelectors": [
                {
                    "matchLabels": {"mesh": "in"},
                    "matchExpressions": [{"key": "mesh", "operator": "Exists", "values": []}],
                }
            ]
        },
    ),
    "what else a selector holds, which may be a mistake": (
        "discoverySelectors: [{matchLabel: {mesh: in}}, {}, {matchLabels: null}]",
        {"discoverySelectors": [{}, {}, {}]},
    ),
    "a selector that istiod refuses by itself": (
        "discoverySelectors: [{matchExpressions: [{operator: in}]}]",
        {"discoverySelectors": [{"matchExpressions": [{"key": "", "operator": "in", "values": []}]}]},
    ),
    "what other fields hold": (
        f"""accessLogFile: /dev/stdout
accessLogEncoding: JSON
access_log_format: ''
enableTracing: false
enableAutoMtls:
ingressControllerMode: 2
proxyListenPort: "15001"
proxyHttpPort: 15002.0
trustDomainAliases: [a, b]
extensionProviders: [{{name: x}}]
connectTimeout: 1m30.5s
dnsRefreshRate: 60s
h2UpgradePolicy: UPGRADE
mesh_mTLS: {{minProtocolVersion: TLSV1_3, ecdhCurves: [P-256]}}
defaultHttpRetryPolicy: {{attempts: 3}}
serviceSettings: [{{settings: {{clusterLocal: true}}, hosts: [a]}}]
defaultProviders: {{metrics: [prometheus]}}
defaultConfig:
  concurrency: 2
  status_port: 15020
  holdApplicationUntilProxyStarts: true
  proxyMetadata: {{X: "1"}}
  tracing: {{zipkin: {{address: 'a:1'}}}}
  drainDuration: 45s
  interceptionMode: TPROXY
  controlPlaneAuthPolicy: 1
{OF_LOCALHOST}""",
        LOCALHOST,
    ),
    "fields that nobody knows": (f"accessLog: 5\ndefaultConfig: {{concurrent: two}}\n{OF_LOCALHOST}", LOCALHOST),
    "a name that is a date": ("rootNamespace: 2020-01-01", {"rootNamespace": "2020-01-01"}),
    "a name to the base of 60": ("rootNamespace: 1:30", {"rootNamespace": "1:30"}),
}


@pytest.mark.parametrize("what", TAKEN)
def test_a_mesh_configuration_is_read_as_istiod_reads_it(what):
    text, fields = TAKEN[what]
    assert _control_planes.mesh_config(text) == fields


UNREADABLE = {
    "a list": ("- a list", "mesh: line 1: wanted a mapping"),
    "text": ("just text", "mesh: line 1: wanted a mapping"),
    "a number": ("5", "mesh: line 1: wanted a mapping"),
    "no YAML": ("a: b\n{unclosed", "mesh: it is not YAML: line "),
    "a tab": ("\t\tbad", "mesh: it is not YAML: line 1: "),
    "two documents": ("a: b\n---\na: b", "mesh: line 3: wanted one document"),
    "a date": (
        "inboundTrafficPolicy: {mode: 2020-01-01}",
        "mesh: inboundTrafficPolicy.mode: wanted one of PASSTHROUGH, LOCALHOST, found 2020-01-01",
    ),
    "a set": ("inboundTrafficPolicy: !!set {mode}", "mesh: line 1: the tag !!set is none of plain data"),
    "bytes": ("rootNamespace: !!binary aGk=", "mesh: line 1: the tag !!binary is none of plain data"),
    "a time": ("outboundTrafficPolicy: {mode: !!timestamp 2020-01-01}", "mesh: line 1: the tag !!timestamp is none"),
    "a number to the base of 60": (
        "outboundTrafficPolicy: {mode: 1:30}",
        "mesh: outboundTrafficPolicy.mode: wanted one of",
    ),
    "an object of Python": (
        "rootNamespace: !!python/name:os.system x",
        "mesh: line 1: the tag !!python/name:os.system is none",
    ),
    "a namespace that is true": ("rootNamespace: yes", "mesh: rootNamespace: wanted text"),
    "a namespace of too many letters": (
        f"rootNamespace: {'x' * 64}",
        "mesh: rootNamespace: wanted the name of a namespace, found 'xxx",
    ),
    "a namespace that leads elsewhere": (
        "rootNamespace: ..",
        r"mesh: rootNamespace: wanted the name of a namespace, found '\.\.'",
    ),
    "a policy that is a list": ("inboundTrafficPolicy: [LOCALHOST]", "mesh: inboundTrafficPolicy: wanted a mapping"),
    "selectors that are none": ("discoverySelectors: {}", "mesh: discoverySelectors: wanted a list"),
    "a selector that is text": ("discoverySelectors: [mesh=in]", "mesh: discoverySelectors: wanted a list of mappings"),
    "a selector by a number": (
        "discoverySelectors: [{}, {matchLabels: {mesh: 1}}]",
        r"mesh: discoverySelectors\[1\]\.matchLabels: wanted a mapping of text",
    ),
    "a selector by a list": (
        "discoverySelectors: [{match_labels: [mesh]}]",
        r"mesh: discoverySelectors\[0\]\.matchLabels: wanted a mapping of text",
    ),
    "expressions that are none": (
        "discoverySelectors: [{matchExpressions: {key: mesh}}]",
        r"mesh: discoverySelectors\[0\]\.matchExpressions: wanted a list",
    ),
    "an operator that is none": (
        "discoverySelectors: [{matchExpressions: [{key: mesh, operator: [In]}]}]",
        r"mesh: discoverySelectors\[0\]\.matchExpressions\.operator: wanted text",
    ),
    "values that are numbers": (
        "discoverySelectors: [{matchExpressions: [{key: mesh, operator: In, values: [1]}]}]",
        r"mesh: discoverySelectors\[0\]\.matchExpressions\.values: wanted a list of text",
    ),
    "two of a key": (
        "inboundTrafficPolicy: {mode: LOCALHOST}\ninboundTrafficPolicy: {}",
        "mesh: line 2: the key 'inboundTrafficPolicy' comes twice",
    ),
    "a policy in either spelling": (
        f"inbound_traffic_policy: {{mode: PASSTHROUGH}}\n{OF_LOCALHOST}",
        "mesh: inboundTrafficPolicy: it comes twice, in either spelling",
    ),
    "a namespace in either spelling": (
        "root_namespace: a\nrootNamespace: a",
        "mesh: rootNamespace: it comes twice, in either spelling",
    ),
    "another field in either spelling": (
        "defaultConfig: {statusPort: 1, status_port: 1}",
        r"mesh: defaultConfig\.statusPort: it comes twice, in either spelling",
    ),
    "a number for text": (f"accessLogFile: 5\n{OF_LOCALHOST}", "mesh: accessLogFile: wanted text$"),
    "the other spelling of it": ("trust_domain: 5", "mesh: trustDomain: wanted text$"),
    "text for truth": ("enableTracing: 'true'", "mesh: enableTracing: wanted true or false$"),
    "a number for truth": ("enablePrometheusMerge: 1", "mesh: enablePrometheusMerge: wanted true or false$"),
    "text for a number": (
        f"defaultConfig: {{concurrency: two}}\n{OF_LOCALHOST}",
        r"mesh: defaultConfig\.concurrency: wanted a whole number of 32 bits$",
    ),
    "half a number": ("proxyListenPort: 1.5", "mesh: proxyListenPort: wanted a whole number of 32 bits$"),
    "truth for a number": ("proxyListenPort: true", "mesh: proxyListenPort: wanted a whole number of 32 bits$"),
    "truth for a word": ("ingressControllerMode: off", "mesh: ingressControllerMode: wanted one of UNSPECIFIED, OFF, "),
    "a word in small letters": (
        f"accessLogEncoding: json\n{OF_LOCALHOST}",
        "mesh: accessLogEncoding: wanted one of TEXT, JSON$",
    ),
    "a word that is none": (
        "h2UpgradePolicy: yes please",
        "mesh: h2UpgradePolicy: wanted one of DO_NOT_UPGRADE, UPGRADE$",
    ),
    "the number of a word, in quotes": ("accessLogEncoding: '1'", "mesh: accessLogEncoding: wanted one of TEXT, JSON$"),
    "half the number of a word": ("accessLogEncoding: 0.5", "mesh: accessLogEncoding: wanted one of TEXT, JSON$"),
    "a list for a word": ("accessLogEncoding: [JSON]", "mesh: accessLogEncoding: wanted one of TEXT, JSON$"),
    "a word of a part": (
        "defaultConfig: {interceptionMode: redirect}",
        r"mesh: defaultConfig\.interceptionMode: wanted one of REDIRECT, TPROXY, NONE$",
    ),
    "a version of TLS": (
        "meshMTLS: {minProtocolVersion: '1.3'}",
        r"mesh: meshMTLS\.minProtocolVersion: wanted one of TLS_AUTO, TLSV1_2, TLSV1_3$",
    ),
    "either spelling of what has its own": ("meshMTLS: {}\nmesh_mTLS: {}", "mesh: meshMTLS: it comes twice, in either"),
    "words for a duration": ("connectTimeout: ten seconds", "mesh: connectTimeout: wanted a duration such as 10s$"),
    "a duration without a unit": ("connectTimeout: '10'", "mesh: connectTimeout: wanted a duration such as 10s$"),
    "a number for a duration": ("connectTimeout: 10", "mesh: connectTimeout: wanted a duration such as 10s$"),
    "a number of more than 32 bits": (
        f"proxyListenPort: 99999999999\n{OF_LOCALHOST}",
        "mesh: proxyListenPort: wanted a whole number of 32 bits$",
    ),
    "the same, in quotes": ("proxyHttpPort: '2147483648'", "mesh: proxyHttpPort: wanted a whole number of 32 bits$"),
    "text for mappings": ("extensionProviders: text", "mesh: extensionProviders: wanted a list of mappings$"),
    "a number for a part": ("defaultHttpRetryPolicy: 3", "mesh: defaultHttpRetryPolicy: wanted a mapping$"),
    "a text among mappings": ("serviceSettings: [{}, x]", "mesh: serviceSettings: wanted a list of mappings$"),
    "text for a mapping": ("defaultConfig: x", "mesh: defaultConfig: wanted a mapping$"),
    "text for texts": ("trustDomainAliases: x", "mesh: trustDomainAliases: wanted a list of texts$"),
    "a number among texts": ("trustDomainAliases: [x, 1]", "mesh: trustDomainAliases: wanted a list of texts$"),
    "truth for a variable": (
        "defaultConfig: {proxyMetadata: {X: true}}",
        r"mesh: defaultConfig\.proxyMetadata: wanted a mapping of texts$",
    ),
    "infinity": ("outboundTrafficPolicy: {x: .inf}", "mesh: line 1: .inf is no number that JSON has"),
    "more than any number": ("outboundTrafficPolicy: {x: 1e999}", "mesh: line 1: 1e999 is no number that JSON has"),
    "digits without end": (
        f"outboundTrafficPolicy: {{x: 0x{'f' * 5000}}}",
        "mesh: line 1: a number has more than 400 characters",
    ),
    "a bomb": (f"{BOMB}outboundTrafficPolicy: {{x: *a11}}", "mesh: line 1: its aliases stand for more than is read"),
    "itself": ("outboundTrafficPolicy: &x {x: *x}", "mesh: line 1: the alias \\*x stands for nothing, or for itself"),
    "levels without end": (
        "a: " + "[" * 100_000,
        "mesh: (line 1: it holds more than 100 levels|it is not YAML: line 1: .*exceeded maximum nesting depth)",
    ),
    "half of a surrogate pair": ("a: \ud800", "mesh: it is not YAML: 'utf-8' codec"),
}


@pytest.mark.parametrize("what", UNREADABLE)
def test_a_mesh_configuration_that_istiod_would_not_take_is_named_and_not_used(what):
    text, message = UNREADABLE[what]
    objects = {"configMaps": [config(text)], "istiods": [istiod()]}
    found, (hidden,) = _control_planes.control_planes(objects, "istio-system")
    assert (hidden["resource"], hidden["object"]) == ("configmaps", "ConfigMap istio-system/istio")
    assert re.match(message, hidden["detail"]) and hidden["detail"].isprintable() or "surrogate" in what
    assert found["meshConfig"] == {} and found["rootNamespace"] == "istio-system"
    snapshot = {**cluster.snapshot(), "istio": found, "unlisted": [hidden]}
    _snapshot.check(snapshot)
    (plane,) = _control_plane.ControlPlanes(read_cluster(snapshot).istio).all
    assert not plane.config_known and plane.config_unknown == ("unreadable", "istio-system/istio")


def test_one_mesh_configuration_is_read_once_however_many_istiods_mount_it(monkeypatch):
    read = []
    monkeypatch.setattr(_control_planes, "mesh_config", lambda text: read.append(text) or {})
    planes(*(istiod(f"istiod-{n}", revision=f"r{n}", **mounts("istio")) for n in range(9)), configs=[config("a: b")])
    assert read == ["a: b"]


@pytest.mark.parametrize("name", ["other", "istio-canary"])
def test_no_other_config_map_is_read(name):
    assert planes(istiod(), configs=[config("- a list", name), config("")])["meshConfig"] == {}
