# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A whole gather, from an API server on loopback that misbehaves as it is told."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter

import pytest

pytest.importorskip("kubernetes")
pytest.importorskip("websocket")

from ansible_collections.kubernetes.core.plugins.module_utils.k8s.client import get_api_client

from ansible_collections.meshops.istio_precheck.plugins.module_utils._evaluate import evaluate
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather import exec as _exec
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.api import Api
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.attempts import Outcome, Step
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.by_exec import by_exec
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.cluster import gather, read_sockets
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.errors import ApiError, GatherError
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.rights import ExecRights
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.snapshot import check
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.options import Options
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.selection import Selection
from ansible_collections.meshops.istio_precheck.tests.helpers import cluster
from ansible_collections.meshops.istio_precheck.tests.helpers.fault_server import (
    NO_BINARY,
    SUCCESS,
    ApiServer,
    answers,
    exited,
    forbidden_exec,
    http,
    out,
    refusal,
    reviews,
    says,
    status,
)

TABLE = "LISTEN 0 128 127.0.0.1:8080 0.0.0.0:*\n"
READ_TABLE = {"namespace": "shop", "pod": "web-1", "container": "istio-proxy", "format": "ss", "stdout": TABLE}
PROC = "  sl  local_address rem_address   st\n"
READ = says(out(TABLE), status(SUCCESS))
AT = "2026-11-23T00:00:00Z"


pytestmark = pytest.mark.usefixtures("alone")


def pods(*names, namespace="shop", **more):
    return [cluster.pod(name=name, namespace=namespace, **more) for name in names]


def lists(some_pods, some_services=None, prefix="", istio=()):
    """The lists of a cluster with no Istio API but what `istio` adds."""
    services = [cluster.service()] if some_services is None else some_services
    base = {
        f"/api/v1/{prefix}pods": some_pods,
        f"/api/v1/{prefix}services": services,
        "/api/v1/replicationcontrollers": [],
    }
    control = {"/api/v1/namespaces/istio-system/pods": [], "/api/v1/namespaces/istio-system/configmaps": []}
    return {**base, **control, **dict(istio)}


EVERYTHING = Selection()


def run(server, selection=EVERYTHING, timeout=2.0, concurrency=8, per_node=99, **auth):
    client = get_api_client(**{"host": server.url, "api_key": "abc", **auth})
    with contextlib.closing(_exec.ExecClient(client, timeout)) as executor:
        api = Api(client, 5)
        source = by_exec(executor.run, concurrency, per_node, ExecRights(api), timeout)
        return gather(api, [source], selection, "istio-system", AT)


def unread(snapshot):
    return {(entry["namespace"], entry["pod"]): (entry["reason"], entry["detail"]) for entry in snapshot["unread"]}


def read(snapshot):
    return [table["pod"] for table in snapshot["socketTables"]]


def test_a_gather_is_a_whole_snapshot():
    with ApiServer(lists(pods("web-1", "web-2")), READ) as server:
        found = run(server)
        assert found["metadata"] == {"takenAt": AT, "server": server.url, "serverVersion": "v1.30.0"}
    assert check(found) is found
    assert found["socketTables"] == [
        {"namespace": "shop", "pod": pod, "container": "istio-proxy", "format": "ss", "stdout": TABLE}
        for pod in ("web-1", "web-2")
    ]
    assert (found["unread"], found["sidecars"], found["unlisted"]) == ([], [], [])


def test_only_pods_that_a_service_exposes_are_read():
    others = pods("batch-1", app="batch") + pods("plain-1", proxy=None) + pods("done-1", phase="Succeeded")
    with ApiServer(lists(pods("web-1") + others), READ) as server:
        assert read(run(server)) == ["web-1"]
        assert len(server.paths("/exec")) == 1


def test_a_namespace_that_is_named_is_all_that_is_asked_for():
    with ApiServer(lists(pods("web-1"), prefix="namespaces/shop/"), READ) as server:
        assert read(run(server, Selection(namespaces=("shop",)))) == ["web-1"]
        assert "/api/v1/pods" not in {path.split("?")[0] for path in server.paths()}


def test_a_namespace_that_is_not_there_is_named():
    with ApiServer(lists([], [], prefix="namespaces/shopp/"), READ) as server:
        with pytest.raises(GatherError, match="^namespaces: the cluster has no namespace 'shopp'$"):
            run(server, Selection(namespaces=("shopp",)))


def test_a_namespace_that_is_empty_is_no_mistake():
    with ApiServer(
        {**lists([], [], prefix="namespaces/shop/"), "/api/v1/namespaces/shop": {"kind": "Namespace"}}, READ
    ) as server:
        found = run(server, Selection(namespaces=("shop",)))
    assert (found["pods"], found["emptyNamespaces"]) == ([], ["shop"])


def test_a_namespace_that_may_not_be_looked_at_is_not_taken_for_an_empty_one():
    def behave(asked):
        allowed = asked.request().path != "/api/v1/namespaces/shop"
        asked.send(
            http(200, b'{"items": []}', "Connection: close")
            if allowed
            else http(403, refusal(403, "Forbidden", "no"), "Connection: close")
        )

    with ApiServer(lists([]), READ, {"/namespaces/shop": [behave]}) as server:
        found = run(server, Selection(namespaces=("shop",)))
        assert "/api/v1/namespaces/shop" in server.paths()
    assert (found["emptyNamespaces"], [entry["resource"] for entry in found["unlisted"]]) == ([], ["namespaces"])


REQUIRED = {
    "pods": "/api/v1/pods",
    "services": "/api/v1/services",
    "sidecars": "/apis/networking.istio.io/v1beta1/sidecars",
    "serviceentries": "/apis/networking.istio.io/v1beta1/serviceentries",
}


@pytest.mark.parametrize("resource", REQUIRED)
def test_a_list_that_a_verdict_depends_on_and_is_forbidden_stops_the_gather(resource):
    path = REQUIRED[resource]
    message = f'{resource} is forbidden: User "jane" cannot list resource "{resource}" at the cluster scope'
    with ApiServer(
        lists(pods("web-1")), READ, {path: [http(403, refusal(403, "Forbidden", message), "Connection: close")]}
    ) as server:
        with pytest.raises(ApiError) as caught:
            run(server)
        assert str(caught.value) == f"GET {path}: {message}"
        assert server.paths("/exec") == []


@pytest.mark.parametrize("path", ["/api/v1/pods", "/api/v1/services"])
def test_a_server_that_has_no_core_kinds_is_no_cluster_without_pods(path):
    with ApiServer(lists(pods("web-1")), READ, {path: [http(404, b"not found", "Connection: close")]}) as server:
        with pytest.raises(ApiError, match=f"GET {path}: 404"):
            run(server)


BEYOND = {
    "workloadentries": "v1beta1",
    "workloadgroups": "v1beta1",
    "envoyfilters": "v1alpha3",
}


@pytest.mark.parametrize("resource", BEYOND)
def test_what_is_beyond_the_check_is_listed_where_it_may_be_and_is_no_error_where_not(resource):
    path = f"/apis/networking.istio.io/{BEYOND[resource]}/{resource}"
    message = f'{resource} is forbidden: User "jane" cannot list resource "{resource}"'
    with ApiServer(
        lists(pods("web-1")), READ, {path: [http(403, refusal(403, "Forbidden", message), "Connection: close")]}
    ) as server:
        found = run(server)
    assert found["unlisted"] == [{"resource": resource, "detail": message}]
    assert read(found) == ["web-1"]


def test_of_what_is_beyond_the_check_no_more_is_kept_than_is_read():
    base = "/apis/networking.istio.io/"
    odd = {"workloadSelector": 7, "configPatches": ["x", {"applyTo": 1, "match": [], "patch": {"value": "secret"}}]}
    istio = {
        f"{base}v1beta1/workloadentries": [
            {"metadata": cluster.meta("vm"), "spec": {"address": "192.0.2.7", "labels": {"app": "x", "odd": 1}}},
            {
                "metadata": cluster.meta("vn"),
                "spec": {"address": "vm.example", "ports": {"a": 1, "b": "x", "c": 0, "d": True}},
            },
            {"metadata": cluster.meta("odd"), "spec": "text"},
        ],
        f"{base}v1alpha3/workloadgroups": [
            {"metadata": cluster.meta("vms"), "spec": {"metadata": {"labels": {"app": "x"}}, "template": {}}}
        ],
        f"{base}v1alpha3/envoyfilters": [
            cluster.envoy_filter(priority=10),
            {"metadata": cluster.meta("odd"), "spec": odd},
        ],
    }
    with ApiServer(lists(pods("web-1"), istio=istio), READ) as server:
        found = run(server)
    assert check(found) is found
    kept = [each.get("spec") for each in found["workloadEntries"]]
    assert kept == [None, {"labels": {"app": "x"}, "address": "192.0.2.7"}, {"ports": {"a": 1}}]
    assert [each["spec"] for each in found["workloadGroups"]] == [{"metadata": {"labels": {"app": "x"}}}]
    patches = {each["metadata"]["name"]: each["spec"]["configPatches"] for each in found["envoyFilters"]}
    assert patches["patch"] == cluster.envoy_filter()["spec"]["configPatches"]
    assert "secret" not in str(patches["odd"])


def test_of_a_template_the_labels_are_kept():
    several = [
        {key: value for key, value in cluster.scaled(f"web-{n}", replicas=n).items() if key != "kind"} for n in (0, 1)
    ]
    with ApiServer({**lists(pods("web-1")), "/apis/apps/v1/replicasets": several}, READ) as server:
        found = run(server)
    assert [each["spec"] for each in found["controllers"]] == [
        {"replicas": 0, "template": {"metadata": {"labels": {"app": "web"}}}},
        {"replicas": 1, "template": {"metadata": {"labels": {"app": "web"}}}},
    ]


def test_a_list_that_helps_and_is_forbidden_is_told():
    message = 'endpointslices is forbidden: User "jane" cannot list resource "endpointslices"'
    with ApiServer(
        lists(pods("web-1")),
        READ,
        {"/endpointslices": [http(403, refusal(403, "Forbidden", message), "Connection: close")]},
    ) as server:
        found = run(server)
    assert found["unlisted"] == [{"resource": "endpointslices", "detail": message}]
    assert read(found) == ["web-1"]


def test_a_list_that_helps_and_breaks_is_not_taken_for_an_empty_one():
    with ApiServer(
        lists(pods("web-1")),
        READ,
        {"/endpointslices": [http(500, refusal(500, "InternalError", "etcd"), "Connection: close")]},
    ) as server:
        with pytest.raises(ApiError, match="endpointslices: etcd"):
            client = get_api_client(host=server.url, api_key="abc")
            gather(Api(client, 0.3), [], Selection(), "istio-system", AT)


@pytest.mark.parametrize("version", ["v1", "v1alpha3"])
def test_the_first_version_that_the_server_has_counts(version):
    path = f"/apis/networking.istio.io/{version}/sidecars"
    with ApiServer(lists(pods("web-1"), istio={path: [cluster.sidecar()]}), READ) as server:
        found = run(server)
    assert found["sidecarVersions"] == [version]
    assert found["sidecars"][0]["apiVersion"] == f"networking.istio.io/{version}"


def test_endpoint_slices_are_kept_for_services_that_select_nothing():
    services = [cluster.service(), cluster.service("bare", selector={}), cluster.service("bare", "bank")]
    slices = [
        cluster.endpoint_slice("web"),
        cluster.endpoint_slice("bare", pods=["web-1"]),
        cluster.endpoint_slice("bare", "bank"),
    ]
    with ApiServer(
        lists(pods("web-1"), services, istio={"/apis/discovery.k8s.io/v1/endpointslices": slices}), READ
    ) as server:
        found = run(server)
    assert [(part["metadata"]["namespace"], part["metadata"]["name"]) for part in found["endpointSlices"]] == [
        ("shop", "bare-abcde")
    ]


# ---------------------------------------------------------------------------------------------------------------------
# Namespaces

ISTIOD = {
    "metadata": {"name": "istiod-1", "namespace": "istio-system", "labels": {"app": "istiod"}},
    "spec": {"containers": [{"name": "discovery", "image": "docker.io/istio/pilot:1.24.0"}]},
    "status": {"phase": "Running"},
}
SELECTING = {
    "metadata": {"name": "istio", "namespace": "istio-system"},
    "data": {"mesh": "discoverySelectors: [{matchLabels: {mesh: in}}]"},
}
NAMED = {name: cluster.namespace(name, mesh="in") for name in ("shop", "istio-system")}
FORBIDDEN = 'namespaces is forbidden: User "jane" cannot list resource "namespaces"'


def selecting(prefix="", **more):
    """A cluster whose selectors select some namespaces."""
    return {
        **lists(pods("web-1") + ([] if prefix else [ISTIOD]), prefix=prefix),
        "/api/v1/namespaces/shop/replicationcontrollers": [],
        "/api/v1/namespaces/istio-system/pods": [ISTIOD],
        "/api/v1/namespaces/istio-system/configmaps": [SELECTING],
        **more,
    }


def refused(message):
    return [http(403, refusal(403, "Forbidden", message), "Connection: close")]


def test_labels_of_namespaces_are_listed_where_selectors_select_some():
    with ApiServer(selecting(**{"/api/v1/namespaces": list(NAMED.values())}), READ) as server:
        found = run(server)
    assert check(found)["namespaces"] == [NAMED["istio-system"], NAMED["shop"]]


def test_with_namespaces_each_is_asked_for_by_its_name():
    one_by_one = {f"/api/v1/namespaces/{name}": each for name, each in NAMED.items()}
    with ApiServer(selecting("namespaces/shop/", **one_by_one), READ) as server:
        found = run(server, Selection(namespaces=("shop",)))
        assert "/api/v1/namespaces" not in {path.split("?")[0] for path in server.paths()}
    assert (found["namespaces"], found["unlisted"]) == ([NAMED["istio-system"], NAMED["shop"]], [])


def test_a_root_namespace_that_is_not_there_has_no_labels_and_that_is_no_refusal():
    only = {"/api/v1/namespaces/shop": NAMED["shop"]}
    with ApiServer(selecting("namespaces/shop/", **only), READ) as server:
        found = run(server, Selection(namespaces=("shop",)))
    assert (found["namespaces"], found["unlisted"]) == ([NAMED["shop"]], [])


def test_labels_that_may_not_be_seen_are_told():
    with ApiServer(selecting(), READ, {"/api/v1/namespaces?": refused(FORBIDDEN)}) as server:
        found = run(server)
    assert (found["namespaces"], found["unlisted"]) == ([], [{"resource": "namespaces", "detail": FORBIDDEN}])
    assert f"namespaces could not be listed: {FORBIDDEN}" in evaluate(found, Options(cluster.TODAY))["hints"]


def test_the_one_namespace_that_may_not_be_looked_at_is_named():
    one_by_one = {"/api/v1/namespaces/shop": NAMED["shop"], "/api/v1/namespaces/istio-system": {}}

    no = {"/namespaces/istio-system/": [None], "/namespaces/istio-system": refused("no")}
    with ApiServer(selecting("namespaces/shop/", **one_by_one), READ, no) as server:
        found = run(server, Selection(namespaces=("shop",)))
    assert found["namespaces"] == [NAMED["shop"]]
    assert found["unlisted"] == [{"resource": "namespaces", "object": "Namespace istio-system", "detail": "no"}]
    hints = evaluate(found, Options(cluster.TODAY, Selection(namespaces=("shop",))))["hints"]
    assert "Namespace istio-system could not be read: no" in hints


@pytest.mark.parametrize("answer", [{"metadata": {"labels": {}}}, {"metadata": {"name": "shop", "labels": []}}, {}])
def test_a_namespace_that_is_none_ends_the_gather(answer):
    one_by_one = {
        **{f"/api/v1/namespaces/{name}": each for name, each in NAMED.items()},
        "/api/v1/namespaces/shop": answer,
    }
    with ApiServer(selecting("namespaces/shop/", **one_by_one), READ) as server:
        with pytest.raises(ApiError, match="^GET /api/v1/namespaces/shop: Namespace"):
            run(server, Selection(namespaces=("shop",)))


# ---------------------------------------------------------------------------------------------------------------------
# Execs


def by_pod(**behaviours):
    """Each pod's own behaviour; `other` for the rest."""

    def behave(connection):
        name = connection.request().path.split("/pods/")[1].split("/")[0]
        behaviours.get(name.replace("-", "_"), READ)(connection)

    return behave


def test_what_was_not_read_is_told_and_costs_the_others_nothing():
    mixed = by_pod(
        web_1=answers(http(404, refusal(404, "NotFound", 'pods "web-1" not found'))),
        web_2=says(then="hold"),
        web_3=answers(http(500, refusal(500, "InternalError", "error dialing backend: dial tcp: i/o timeout"))),
        web_4=says(b"\xff" * 40),
        web_5=says(status(NO_BINARY)),
    )
    names = [f"web-{n}" for n in range(1, 9)]
    with ApiServer(lists(pods(*names)), mixed) as server:
        began = time.monotonic()
        found = run(server, timeout=0.5)
        assert time.monotonic() - began < 5
    assert read(found) == ["web-6", "web-7", "web-8"]
    assert {pod: reason for (_namespace, pod), (reason, _detail) in unread(found).items()} == {
        "web-1": "gone",
        "web-2": "timeout",
        "web-3": "node_unreachable",
        "web-4": "connection",
        "web-5": "no_tool",
    }


def test_the_next_container_is_tried_where_one_cannot_run_the_command():
    def behave(connection):
        path = connection.request().path
        says(*((out(PROC), status(exited(1))) if "container=app" in path else (status(NO_BINARY),)))(connection)

    with ApiServer(lists(pods("web-1")), behave) as server:
        (table,) = run(server)["socketTables"]
    assert (table["container"], table["format"], table["stdout"]) == ("app", "procnet", PROC)


def test_a_namespace_without_the_right_is_asked_about_once_and_all_of_its_pods_are_unread():
    everything = pods(*(f"web-{n}" for n in range(30))) + pods("pay-1", namespace="bank")
    services = [cluster.service(), cluster.service(namespace="bank")]

    def behave(connection):
        parts = connection.request().path.split("/")
        (answers(forbidden_exec(parts[6], "shop", "get")) if parts[4] == "shop" else READ)(connection)

    may = {"selfsubjectaccessreviews": [reviews(lambda _verb, _part, namespace: namespace == "bank")]}
    with ApiServer(lists(everything, services), behave, may) as server:
        found = run(server, concurrency=4)
        assert len(server.paths("/namespaces/shop/pods/")) == 1
    assert read(found) == ["pay-1"]
    assert set(unread(found).values()) == {
        ("forbidden", 'User "jane" cannot get resource "pods/exec" in API group "" in the namespace "shop"')
    }
    assert len(found["unread"]) == 30


def test_a_pod_of_many_containers_has_one_deadline():
    """The issue's pod: 14 containers that hang took 50 seconds at an exec_timeout of 2."""
    crowd = cluster.pod(name="web-1")
    crowd["spec"]["containers"] += [{"name": f"more-{n}"} for n in range(12)]
    crowd["status"]["containerStatuses"] = [
        {"name": each["name"], "ready": True, "state": {"running": {}}} for each in crowd["spec"]["containers"]
    ]
    with ApiServer(lists([crowd]), says(then="hold")) as server:
        began = time.monotonic()
        found = run(server, timeout=2.0)
        assert time.monotonic() - began < 5
        containers = [path.partition("container=")[2].partition("&")[0] for path in server.paths("/exec")]
    assert unread(found) == {("shop", "web-1"): ("timeout", "No answer in time.")}
    assert len(containers) == len(set(containers)) and 3 <= len(containers) <= 14


def test_where_a_container_hangs_the_next_is_asked_in_the_same_time():
    def behave(connection):
        app = "container=app" in connection.request().path
        (says(out(PROC), status(SUCCESS)) if app else says(then="hold"))(connection)

    with ApiServer(lists(pods("web-1")), behave) as server:
        (table,) = run(server, timeout=2.0)["socketTables"]  # there would be none after the deadline
    assert table["container"] == "app"


def test_a_busy_server_is_asked_again_for_all_of_the_pods_time():
    """Its Retry-After is longer than half of the pod's time, which is what one command may take."""
    busy = http(429, refusal(429, "TooManyRequests", "slow down"), "Retry-After: 2", "Connection: close")
    with ApiServer(lists(pods("web-1")), READ, {"/exec": [busy, None]}) as server:
        assert read(run(server, timeout=3.5)) == ["web-1"]


def test_a_table_that_takes_long_to_parse_holds_up_no_other_pod():
    parsing, others = threading.Event(), threading.Event()
    kept = []

    def one(pods, take):
        def slow():
            take(Step(table={**READ_TABLE, "pod": "slow"}))

        thread = threading.Thread(target=slow)
        thread.start()
        assert parsing.wait(10)
        for pod in pods:
            if pod.name != "slow":
                take(Step(table={**READ_TABLE, "pod": pod.name}))
        others.set()
        thread.join()

    def keep(table):
        if table["pod"] == "slow":
            parsing.set()
            assert others.wait(10)
        kept.append(table["pod"])

    snapshot = cluster.snapshot([cluster.pod(name=name) for name in ("slow", "web-1", "web-2")], tables=[])
    read_sockets(snapshot, [one], Selection(), keep)
    assert kept == ["web-1", "web-2", "slow"]


def test_with_one_replica_the_next_is_asked_where_the_first_has_no_tool():
    """Each round asks as many again and one; what is recorded gives the report that the run gives."""
    with ApiServer(lists(pods(*(f"web-{n}" for n in range(9)))), by_pod(web_0=says(status(NO_BINARY)))) as server:
        found = run(server, Selection(replicas="one"))
    assert read(found) == ["web-1", "web-2"]
    assert {pod for _namespace, pod in unread(found)} == {"web-0"}
    report = evaluate(found, Options(cluster.TODAY, Selection(replicas="one")))
    assert (report["unchecked"], report["summary"]["pods_read"]) == ([], 9)


def test_one_pod_that_an_admission_webhook_protects_says_nothing_of_the_others():
    denied = answers(http(403, refusal(403, "Forbidden", 'admission webhook "exec.example" denied the request')))
    with ApiServer(lists(pods("web-1", "web-2", "web-3")), by_pod(web_1=denied)) as server:
        found = run(server, concurrency=1)
    assert read(found) == ["web-2", "web-3"]


def test_impersonation_reaches_lists_and_execs():
    with ApiServer(lists(pods("web-1")), READ) as server:
        run(server, impersonate_user="jane", impersonate_groups=["dev", "ops"])
        asked = [request for request in server.requests if "/pods" in request.path]
    assert any("/exec" in request.path for request in asked)
    assert {(request.all("Impersonate-User")[0], *sorted(request.all("Impersonate-Group"))) for request in asked} == {
        ("jane", "dev", "ops")
    }


def test_no_more_pods_are_read_at_once_than_asked_for():
    now, most, lock = [], [], threading.Lock()

    def behave(connection):
        with lock:
            now.append(1)
            most.append(len(now))
        connection.upgrade()
        time.sleep(0.01)
        with lock:
            now.pop()
        connection.send(out(TABLE) + status(SUCCESS))

    with ApiServer(lists(pods(*(f"web-{n}" for n in range(20)))), behave) as server:
        assert len(run(server, concurrency=3)["socketTables"]) == 20
    assert 1 < max(most) <= 3


def test_the_pods_of_all_nodes_are_read_in_turn():
    everything = [cluster.pod(name=f"web-{n}", node=f"node-{n // 3}") for n in range(9)]
    with ApiServer(lists(everything), READ) as server:
        run(server, concurrency=1)
        order = [path.split("/pods/")[1].split("/")[0] for path in server.paths("/exec")]
    assert order == [f"web-{n}" for n in (0, 3, 6, 1, 4, 7, 2, 5, 8)]


def test_no_node_is_asked_for_more_pods_at_once_than_its_share_and_none_waits_for_another():
    """Three slow nodes hold their share of the workers; the pods of the fourth are read meanwhile, all of them."""
    everything = [cluster.pod(name=f"web-{n}", node=f"node-{n % 4}") for n in range(40)]
    now, most, lock = Counter(), Counter(), threading.Lock()
    read_meanwhile = threading.Event()
    left = {f"web-{n}" for n in range(3, 40, 4)}

    def behave(namespace, name, container, command, seconds, share):
        node = int(name.split("-")[1]) % 4
        with lock:
            now[node] += 1
            most[node] = max(most[node], now[node])
        if node == 3:
            time.sleep(0.001)
            with lock:
                left.discard(name)
                if not left:
                    read_meanwhile.set()
        else:
            assert read_meanwhile.wait(30)
        with lock:
            now[node] -= 1
        return Outcome(TABLE, 0)

    found = []
    by_exec(behave, 8, 2)(list(map(cluster.as_read, everything)), found.append)
    assert sorted(step.table["pod"] for step in found) == sorted(pod["metadata"]["name"] for pod in everything)
    assert max(most.values()) <= 2


def test_a_worker_that_breaks_ends_the_others_after_their_pod():
    asked = []

    def behave(namespace, name, container, command, seconds, share):
        asked.append(name)
        raise MemoryError

    with pytest.raises(MemoryError):
        by_exec(behave, 4, 2)([cluster.read_pod(name=f"web-{n}", node=f"node-{n % 2}") for n in range(40)], print)
    assert len(asked) <= 4


def test_a_source_is_asked_for_what_those_before_it_could_not_read():
    asked = []

    def one(pods, take):
        asked.append([pod.name for pod in pods])
        take(Step(table={**READ_TABLE, "pod": "web-2"}))
        take(Step(unread={"namespace": "shop", "pod": "web-1", "reason": "no_tool", "detail": "first"}))
        take(Step(unread={"namespace": "shop", "pod": "web-3", "reason": "no_tool", "detail": "first"}))

    def two(pods, take):
        asked.append([pod.name for pod in pods])
        take(Step(unread={"namespace": "shop", "pod": "web-3", "reason": "gone", "detail": "second"}))
        take(Step(table={**READ_TABLE, "pod": "web-4"}))

    snapshot = cluster.snapshot([cluster.pod(name=f"web-{n}") for n in range(1, 6)], tables=[])
    kept = []
    read_sockets(snapshot, [one, two], Selection(), kept.append)
    assert asked == [[f"web-{n}" for n in range(1, 6)], ["web-1", "web-3", "web-4", "web-5"]]
    assert [table["pod"] for table in kept] == ["web-2", "web-4"]
    assert unread(snapshot) == {("shop", "web-1"): ("no_tool", "first"), ("shop", "web-3"): ("gone", "second")}


def test_tables_that_are_handed_over_are_not_held():
    kept = []
    with ApiServer(lists(pods("web-1", "web-2")), READ) as server:
        client = get_api_client(host=server.url, api_key="abc")
        with contextlib.closing(_exec.ExecClient(client, 2)) as executor:
            found = gather(Api(client, 5), [by_exec(executor.run, 2, 2)], Selection(), "istio-system", AT, kept.append)
        assert {**found, "socketTables": sorted(kept, key=lambda table: table["pod"])} == run(server)
    assert found["socketTables"] == []


def test_the_same_cluster_gives_the_same_snapshot_whatever_comes_first():
    everything = lists(pods(*(f"web-{n}" for n in range(12))))
    found = []
    for concurrency in (1, 12):
        with ApiServer(everything, READ) as server:
            found.append({**run(server, concurrency=concurrency), "metadata": None})
    assert found[0] == found[1]
