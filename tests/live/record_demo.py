# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Records the two clusters of playbooks/demo.yml from the test cluster: before, and after the Sidecars that the gate wrote.

.venv/bin/python tests/cluster/cluster.py up
PYTHONPATH=.venv/tree:tests/cluster .venv/bin/python tests/live/record_demo.py
"""

from __future__ import annotations

import pathlib
import tempfile

from testcluster import WORKLOADS, running_cluster

from ansible_collections.meshops.istio_precheck.tests.helpers.playing import play

HERE = pathlib.Path(__file__).resolve().parent

FILES = HERE.parent.parent / "playbooks" / "files"
NAMESPACES = ["ist0143", "cured"]


def main() -> None:
    cluster = running_cluster()
    cluster.install_sidecar_crd()
    cluster.apply(WORKLOADS)
    for namespace in NAMESPACES:
        cluster.wait_ready(namespace)
    with tempfile.TemporaryDirectory() as scratch:
        options = {"check_listeners_kubeconfig": str(cluster.kubeconfig), "check_listeners_namespaces": NAMESPACES}
        play(
            **options,
            check_listeners_snapshot_dest=str(FILES / "demo_before.json"),
            check_listeners_remediation_dir=scratch,
        )
        for sidecar in sorted(pathlib.Path(scratch).rglob("*.yaml")):
            cluster.apply(sidecar)
        play(**options, check_listeners_snapshot_dest=str(FILES / "demo_after.json"))
        cluster.kubectl("delete", "--recursive", "--filename", scratch)
    cluster.clean_up()
    for name in ("demo_before.json", "demo_after.json"):
        (FILES / name).chmod(0o644)


if __name__ == "__main__":
    main()
