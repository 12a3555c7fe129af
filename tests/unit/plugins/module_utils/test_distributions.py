# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The verdict on each of the clusters in distributions/, through both gathers: by the module, and by tasks of kubernetes.core."""

from __future__ import annotations

import contextlib
import json
import re
import tempfile

import pytest

pytest.importorskip("kubernetes")
pytest.importorskip("websocket")
pytest.importorskip("yaml")

from ansible_collections.kubernetes.core.plugins.module_utils.k8s.client import get_api_client

from ansible_collections.meshops.istio_precheck.plugins.module_utils._evaluate import evaluate
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather import exec as run_exec
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.api import Api
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.by_exec import by_exec
from ansible_collections.meshops.istio_precheck.plugins.module_utils._gather.cluster import gather
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.snapshot import check
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.options import OptionError, Options
from ansible_collections.meshops.istio_precheck.plugins.module_utils._rule.selection import Selection
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils import _k8s_exec as tasks
from ansible_collections.meshops.istio_precheck.tests.helpers import cluster, distributed

CASES = distributed.cases()
AT = "2026-11-23T00:00:00Z"


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


def options(case):
    """Those of the case; no proxy is asked, since none of these clusters has one to answer."""
    known = ("target_version", "current_version")
    assert set(case.options) <= {*known, "namespaces", "istio_namespace"}
    selection = Selection(namespaces=tuple(case.options.get("namespaces") or ()))
    return Options(cluster.TODAY, selection, **{name: case.options.get(name) for name in known}, delivery_source="rule")


def by_module(case):
    with distributed.Cluster(case) as server:
        client = get_api_client(host=server.url, api_key="abc")
        with contextlib.closing(run_exec.ExecClient(client, 5.0)) as executor:
            sources = [by_exec(executor.run, 4, 4)]
            where = case.options.get("istio_namespace", "istio-system")
            return gather(Api(client, 5), sources, options(case).selection, where, AT)


def by_tasks(case):
    where = case.options.get("istio_namespace", "istio-system")
    step = tasks.gather_step({}, [], options(case), where)
    while not step["snapshot"]:
        assert not step["problem"] and (step["lists"] or step["execs"])
        tables = [case.table(f"{each['namespace']}/{each['pod']}") for each in step["execs"]]
        results = [distributed.k8s_info(case, item) for item in step["lists"]]
        results += [{"item": each, "stdout": text, "rc": 0} for each, text in zip(step["execs"], tables)]
        step = tasks.gather_step(step, results, options(case), where)
    return step["snapshot"]


GATHERS = {"module": by_module, "k8s_exec": by_tasks}


def verdicts(report):
    """By NAMESPACE/WORKLOAD the record on its port, with what became of it as `impact`."""
    found = {}
    for outcome in ("remediated", "findings", "not_listening"):
        for record in report[outcome]:
            workload = f"{record['namespace']}/{record['workload']['name']}"
            assert record["port"] == 8080 and workload not in found
            found[workload] = record if outcome == "findings" else {**record, "impact": outcome}
    return found


@pytest.mark.parametrize("by", GATHERS)
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_each_distribution_gets_its_verdict(case, by):
    snapshot = GATHERS[by](case)
    assert check(json.loads(json.dumps(snapshot)))
    assert "CANARY" not in json.dumps(snapshot)
    if "refuses" in case.said:
        with pytest.raises(OptionError, match=case.said["refuses"]):
            evaluate(snapshot, options(case))
        return
    report = evaluate(snapshot, options(case))
    assert report == evaluate(json.loads(json.dumps(snapshot)), options(case))
    assert report["unchecked"] == [] and report["summary"]["pods_read"] == len(case.said["wanted"])
    found = verdicts(report)
    manifests = {each["findings"][0]: each["manifest"] for each in report["remediations"]}
    for workload, wanted in case.said["wanted"].items():
        record = found.pop(workload, {"impact": "ok"})
        assert record["impact"] == wanted["impact"], record
        if "today" in wanted:
            assert record["delivery"]["today"]["to"] == wanted["today"]
        if "by" in wanted:
            assert record["delivery"]["today"].get("version_by") == wanted["by"]
        said = f"{record['delivery']['today']['why']}: {record['reason']}" if "delivery" in record else ""
        assert re.search(wanted.get("says", ""), said), said
        if wanted.get("remedy"):
            assert record["remedy"] == wanted["remedy"], record["notes"]
        if wanted.get("endpoint"):
            assert manifests[record["id"]]["spec"]["ingress"][0]["defaultEndpoint"] == wanted["endpoint"]
        if "workload" in wanted:
            assert record["workload"]["kind"] == wanted["workload"]
        if "selector" in wanted:
            assert manifests[record["id"]]["spec"]["workloadSelector"]["labels"] == wanted["selector"]
    assert not found
    for pattern in case.said.get("hints") or ():
        assert any(re.search(pattern, hint) for hint in report["hints"]), report["hints"]


def test_both_gathers_make_the_same_record():
    for case in CASES:
        one, other = by_module(case), by_tasks(case)
        assert {**one, "metadata": {}} == {**other, "metadata": {}}, case.name
