# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The stages of the gate, all in .venv, which `make setup` makes. TESTING.md says what each is for.

`make test` runs all that are marked with *, `make STAGE` one.
"""

from __future__ import annotations

import json
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile

import nox

sys.path[:0] = ["tests", "tests/cluster"]

from gate import (  # noqa: E402
    COLLECTION,
    ROOT,
    STRICT,
    TABLE,
    VENV,
    Failed,
    Skipped,
    ansible_test,
    ask,
    copied_tree,
    each,
    pytest,
    python_version,
    pythons,
    run,
    stage,
)
from matrix import NEWEST, OLDEST, PAIRS, PLAYED_ONCE, Pair  # noqa: E402
from repack import repack  # noqa: E402
from testbed import packages, versions  # noqa: E402

CLUSTER = ROOT / "tests" / "cluster" / "cluster.py"

# The first elements of the paths that the tarball may hold.
SHIPPED = set(
    "CHANGELOG.rst CODE_OF_CONDUCT.md CONTRIBUTING.md COPYING FILES.json MANIFEST.json README.md SECURITY.md"
    " changelogs docs meta playbooks plugins roles".split()
)


def cluster_given() -> bool:
    return os.environ.get("PRECHECK_DISPOSABLE_CLUSTER") == "1" and bool(os.environ.get("KUBECONFIG"))


def cluster_possible() -> bool:
    """tests/cluster makes its cluster from Debian 12's packages."""
    try:
        system = platform.freedesktop_os_release()
    except OSError:
        return False
    debian_12 = (system.get("ID"), system.get("VERSION_ID")) == ("debian", "12")
    return debian_12 and platform.machine() == "x86_64" and not os.geteuid()


def cluster_runs() -> bool:
    """Asked before the first stage: a cluster that was given or runs already is not ours to stop."""
    status = (sys.executable, CLUSTER, "status")
    return cluster_possible() and not subprocess.run(status, check=False, capture_output=True).returncode


OURS = not cluster_given() and not cluster_runs()
if cluster_possible() and not cluster_given():
    # A stage that needs what is built waits for it by the lock of the build. A build that failed is made again there.
    TABLE.beside = (VENV / "bin" / "python", CLUSTER, "build")


# Where a cluster is given and none can be made, as on a public runner, only `live` has one; the others are left to Debian 12.
PLANNED = cluster_possible() or not cluster_given()


def need_cluster() -> None:
    if not cluster_possible():
        raise Skipped("needs root on Debian 12, x86-64")


# --- What needs no more than this checkout ----------------------------------------------------------------------------


# One worker more than there are processors: some tests wait for a deadline.
UNIT = ("-n", str((os.cpu_count() or 1) + 1), "-m", "not hypothesis", "tests/unit")


@stage()
def unit(session):
    """pytest over tests/unit, without `properties`"""
    pytest(session, *UNIT)


@stage()
def properties(session):
    """those of tests/unit that draw clusters, tables and texts at random"""
    pytest(session, "-n", "auto", "-m", "hypothesis", "tests/unit")


@stage()
def lint(session):
    """style, documentation, changelog, licences, workflows"""
    # antsibull-nox knows six of these, in environments of its own, which takes twice as long; in .venv its docs-check
    # and ansible-lint run nothing and pass, and its license-check does not read REUSE.toml.
    with copied_tree() as copy:
        files = [path for path in copy.rglob("*") if path.is_file()]
        scripts = [path for path in files if re.match(rb"#!.*\b(ba|da)?sh\n", path.read_bytes()[:80])]
        workflows = sorted(copy.glob(".github/workflows/*.yml"))
        docs = ("--plugin-docs", "--validate-collection-refs", "all", "--check-extra-docs-refs")
        commands = (
            ("ruff", "format", "--no-cache", "--diff", "."),
            ("ruff", "check", "--no-cache", "."),
            ("yamllint", "--strict", "."),
            ("ansible-lint", "--offline", "--strict"),
            ("antsibull-changelog", "lint"),
            ("antsibull-docs", "lint-collection-docs", *docs, "."),
            ("shellcheck", *sorted(path.relative_to(copy) for path in scripts)),
            ("reuse", "lint", "--lines"),
            ("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *workflows),
            ("zizmor", "--offline", "--no-progress", "--persona", "pedantic", ".github/workflows"),
            ("mypy", "--no-incremental", "--package", "ansible_collections.meshops.istio_precheck.plugins"),
        )
        # What loads a plugin would leave its bytecode, which has no licence.
        more = {"ANSIBLE_COLLECTIONS_PATH": str(copy.parents[2]), "NO_COLOR": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        more["MYPYPATH"] = more["ANSIBLE_COLLECTIONS_PATH"]
        each(*(lambda words=words: run(session, *words, cwd=copy, **more) for words in commands))


def build_into(session: nox.Session, target: pathlib.Path, backwards: bool = False) -> pathlib.Path:
    """The tarball that is released: made by ansible-galaxy, then always the same bytes for the same commit."""
    with copied_tree(backwards=backwards) as copy:
        run(session, "ansible-galaxy", "collection", "build", "--force", "--output-path", target, cwd=copy)
    tarball = next(target.glob("meshops-istio_precheck-*.tar.gz"))
    epoch = os.environ.get("SOURCE_DATE_EPOCH") or run(session, "git", "log", "-1", "--format=%ct", silent=True).strip()
    print(repack(tarball, int(epoch)), tarball.name, flush=True)
    return tarball


@stage()
def build(session):
    """the tarball and what it holds, in dist/"""
    dist = ROOT / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    tarball = build_into(session, dist)
    with tempfile.TemporaryDirectory(prefix="istio-precheck-build-") as scratch:
        if build_into(session, pathlib.Path(scratch), backwards=True).read_bytes() != tarball.read_bytes():
            raise Failed("two builds of the same files differ")
    with tarfile.open(tarball) as members:
        names = {name for name in members.getnames() if name.strip("./")}
    stray = sorted(name for name in names if name.split("/")[0] not in SHIPPED or "/." in name)
    missing = sorted({"COPYING", "README.md", "meta/runtime.yml", "plugins/modules/localhost_listener_info.py"} - names)
    if stray or missing:
        raise Failed(f"the tarball should not hold {stray} and should hold {missing}")


@stage(minutes=10)
def sanity(session):
    """ansible-test sanity, on every Python found"""
    # Pylint over the tests takes minutes: `matrix` does that, and ruff has pylint's warnings and errors.
    each(
        lambda: ansible_test(session, "sanity", "--junit", "--skip-test", "pylint"),
        lambda: ansible_test(session, "sanity", "--junit", "--test", "pylint", "plugins/"),
    )


@stage(minutes=10)
def units(session):
    """the unit tests with the oldest pair of tests/matrix.py where there is its Python; those of modules and actions by ansible-test"""
    oldest = OLDEST.python in map(python_version, pythons())
    venv = environment_of(session, OLDEST) if oldest else VENV
    python = OLDEST.python if oldest else python_version(pythons()[0])
    # It makes a process of each test, which takes four times as long.
    folders = ("tests/unit/plugins/modules/", "tests/unit/plugins/action/")
    each(
        *([lambda: pytest(session, *UNIT, venv=venv)] if oldest else []),
        lambda: ansible_test(session, "units", "--python", python, *folders, venv=venv),
    )


@stage(minutes=25)
def playbooks(session):
    """role and playbooks over recorded clusters"""
    pytest(session, "-n", "auto", "tests/playbooks")


@stage()
def installed(session):
    """install the tarball in a clean environment and play meshops.istio_precheck.demo

    As a user would: beside nothing but ansible-core and kubernetes.core, calling the playbook by its name.
    """
    with tempfile.TemporaryDirectory(prefix="istio-precheck-demo-") as scratch:
        place = pathlib.Path(scratch)
        tarball = build_into(session, place)
        core = ask(VENV / "bin" / "python", "from ansible.release import __version__; print(__version__)")
        clean = place / "venv"
        run(session, pythons()[0], "-m", "venv", clean)
        run(session, clean / "bin" / "pip", "install", "-qq", "--disable-pip-version-check", f"ansible-core=={core}")
        (clean / "ansible.cfg").touch()
        there = {
            "cwd": place,
            "venv": clean,
            "ANSIBLE_COLLECTIONS_PATH": f"{place}:{VENV / 'deps'}",
            "ANSIBLE_LOCALHOST_WARNING": "False",
            "ANSIBLE_INVENTORY_UNPARSED_WARNING": "False",
            "ANSIBLE_FORCE_COLOR": str(sys.stdout.isatty()),
        }
        galaxy = ("ansible-galaxy", "collection")
        run(session, *galaxy, "install", tarball, "--offline", "--collections-path", place, **there)
        run(session, *galaxy, "verify", "meshops.istio_precheck", "--offline", **there)
        for path in (place / COLLECTION).iterdir():  # leave what may be needed to run, and nothing else
            if path.name not in ("meta", "playbooks", "plugins", "roles"):
                (shutil.rmtree if path.is_dir() else os.remove)(path)
        printed = run(session, "ansible-playbook", "meshops.istio_precheck.demo", silent=True, **there)
    if not re.search(r"^TASK ", printed, re.MULTILINE):
        raise Failed("the demo played nothing")


@stage()
def importer(session):
    """galaxy-importer and ansible-builder over the tarball"""
    each(lambda: galaxy_importer(session), lambda: ansible_builder(session))


def galaxy_importer(session: nox.Session) -> None:
    """What Galaxy does with an upload, and what Automation Hub asks for beyond that. Each warning is a failure."""
    with tempfile.TemporaryDirectory(prefix="istio-precheck-importer-") as scratch:
        tarball = build_into(session, pathlib.Path(scratch))
        settings = {
            # It hides the collections path, not those that Python finds, as in the `ansible` package.
            "PYTHONPATH": str(VENV / "deps"),
            "GALAXY_IMPORTER_CHECK_REQUIRED_TAGS": "true",
            "GALAXY_IMPORTER_TMP_ROOT_DIR": scratch,
            "HOME": str(VENV / "home"),
        }
        command = (VENV / "bin" / "python", "-m", "galaxy_importer.main", tarball)
        printed = run(session, *command, cwd=pathlib.Path(scratch), silent=True, **settings)
    found = [line for line in printed.splitlines() if re.match(r"WARNING|ERROR|CRITICAL", line)]
    if found or "Importer processing completed successfully" not in printed:
        raise Failed(f"galaxy-importer says: {'; '.join(found) or 'nothing'}")


def ansible_builder(session: nox.Session) -> None:
    """It finds what the installed collection needs, and takes the manual's example of an execution environment."""
    with tempfile.TemporaryDirectory(prefix="istio-precheck-builder-") as scratch:
        place = pathlib.Path(scratch)
        tarball = build_into(session, place)
        install = ("install", tarball, "--no-deps", "--offline", "--collections-path", place)
        run(session, "ansible-galaxy", "collection", *install, cwd=place, ANSIBLE_COLLECTIONS_PATH=scratch)
        printed = run(session, "ansible-builder", "introspect", place, cwd=place, silent=True)
        lines = (ROOT / "meta" / "ee-requirements.txt").read_text("utf-8").splitlines()
        needed = [line for line in lines if line and not line.startswith("#")]
        found = re.findall(r"- '?(.+?)  # from collection meshops\.istio_precheck", printed)
        if not needed or found != needed:
            raise Failed(f"ansible-builder finds that the collection needs {found}, not {needed}")
        page = (ROOT / "docs" / "many-clusters.md").read_text("utf-8")
        (example,) = re.findall(r"^```yaml\n(# execution-environment\.yml\n.*?)^```$", page, re.MULTILINE | re.DOTALL)
        (place / "execution-environment.yml").write_text(example, encoding="utf-8")
        create = ("create", "--file", "execution-environment.yml", "--context", "context")
        run(session, "ansible-builder", *create, cwd=place)
        if "meshops.istio_precheck" not in (place / "context" / "_build" / "requirements.yml").read_text("utf-8"):
            raise Failed("ansible-builder leaves the collection out of the manual's execution environment")


@stage(minutes=10, everywhere=False)
def browser(session):
    """the HTML report in Chromium, installed where that can be done; pictures in tests/output/browser"""
    if not any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))):
        if os.geteuid() or not shutil.which("apt-get"):
            raise Skipped("needs chromium, or root and apt-get to install it")
        try:
            packages.install({"chromium": "chromium", "/usr/share/fonts/truetype/liberation": "fonts-liberation"})
        except packages.TestbedError as reason:
            raise Failed(str(reason)) from reason
    pip = (VENV / "bin" / "pip", "install", "-qq", "--disable-pip-version-check")
    run(session, *pip, "--requirement", "tests/requirements-browser.txt")
    pytest(session, "tests/browser")


# --- Other versions ---------------------------------------------------------------------------------------------------

# What depends on the client and on ansible-core, and takes seconds.
FAULTS = tuple(
    f"tests/unit/plugins/{name}"
    for name in ("module_utils/_gather/test_api.py", "module_utils/_gather/test_exec.py", "modules", "action")
)
# Those tests of sanity that depend on ansible-core most; `sanity` compiles and imports with every Python.
SANITY = tuple(f"--test={name}" for name in ("ansible-doc", "runtime-metadata", "validate-modules"))


def environment_of(session: nox.Session, pair: Pair) -> pathlib.Path:
    """The environment of a pair, made where it is missing."""
    found = {python_version(python): python for python in pythons()}
    if pair.python not in found:
        raise Skipped(f"there is no Python {pair.python}")
    chosen = {"CORE": pair.core, "CLIENT": pair.client, "ANSIBLE": pair.ansible}
    run(session, ROOT / "tests" / "setup", pair.venv, PYTHON=str(found[pair.python]), **chosen)
    venv = ROOT / pair.venv
    manifest = (venv / "deps" / "ansible_collections" / "kubernetes" / "core" / "MANIFEST.json").read_text("utf-8")
    version = json.loads(manifest)["collection_info"]["version"]
    if version != pair.kubernetes_core:
        raise Failed(f"ansible {pair.ansible} has kubernetes.core {version}")
    return venv


@stage(minutes=20)
@nox.parametrize("pair", [nox.param(pair, id=pair.core) for pair in PAIRS if pair != NEWEST])
def older(session, pair):
    """what a version can change of the playbooks with the oldest pair of tests/matrix.py, the fault table with the others; .venv is the newest"""
    venv = environment_of(session, pair)
    if pair != OLDEST:
        return pytest(session, "-n", "auto", *FAULTS, venv=venv)
    left = (f"--deselect={test}" for test in PLAYED_ONCE)
    return each(
        lambda: pytest(session, "-n", "auto", "tests/playbooks", *left, venv=venv),
        lambda: ansible_test(session, "sanity", "--junit", "--python", pair.python, *SANITY, venv=venv),
    )


@stage(minutes=20)
def trust(session):
    """faults, secrets and hostile input, on whole processes"""
    pytest(session, "-n", "auto", "tests/trust")


@stage(everywhere=False)
def fuzz(session):
    """coverage-guided fuzzing of what comes from outside"""
    try:
        ask(VENV / "bin" / "python", "import atheris")
    except subprocess.CalledProcessError:
        raise Skipped("needs atheris, which comes for Linux on x86-64") from None
    fuzzer = (VENV / "bin" / "python", ROOT / "tests" / "trust" / "fuzz.py", "--seconds", "20")
    run(session, *fuzzer, PYTHONPATH=str(VENV / "tree"))


@stage(minutes=60, everywhere=False, default=False)
@nox.parametrize("pair", [nox.param(pair, id=pair.core) for pair in PAIRS])
def matrix(session, pair):
    """everything with each pair of versions of tests/matrix.py; the real cluster with the oldest and the newest"""
    venv = environment_of(session, pair)
    real = cluster_given() or cluster_possible()
    without = (word for name in pair.without for word in ("--skip-test", name))
    try:
        each(
            lambda: pytest(session, "-n", "auto", "tests/unit", "tests/playbooks", "tests/trust", venv=venv),
            lambda: ansible_test(session, "sanity", "--junit", "--python", pair.python, *without, venv=venv),
            *([lambda: pytest(session, "tests/live", venv=venv)] if real and pair in (OLDEST, NEWEST) else []),
        )
    finally:
        if OURS and real and pair in (OLDEST, NEWEST):
            cluster(session, "down")
    if real or pair not in (OLDEST, NEWEST):
        return None
    untested = "not tested, needs root on Debian 12, x86-64, or a cluster to use up: tests/live"
    if STRICT:
        raise Failed(untested)
    return untested


# --- Kernel and clusters ----------------------------------------------------------------------------------------------


@stage(everywhere=False)
def kernel(session):
    """the rule against what the kernel does"""
    if sys.platform != "linux" or os.geteuid():
        raise Skipped("needs root on Linux")
    pytest(session, "tests/kernel")


@stage(everywhere=False)
def envoy(session):
    """the verdicts and remedies against what a real Envoy does"""
    if sys.platform != "linux" or os.geteuid() or platform.machine() != "x86_64":
        raise Skipped("needs root on Linux, x86-64")
    try:
        packages.install({"iptables": "iptables", "ip": "iproute2", "setpriv": "util-linux"})
    except packages.TestbedError as reason:
        raise Failed(str(reason)) from reason
    pytest(session, "tests/envoy")


@stage(minutes=5)
def istiod(session):
    """the rule against what istiod's own generator pushed"""
    pytest(session, "tests/istiod")


def cluster(session: nox.Session, command: str, **more: str) -> None:
    need_cluster()
    run(session, VENV / "bin" / "python", CLUSTER, command, **more)


@stage(minutes=40, everywhere=False, name="cluster-up", default=not cluster_given())
def cluster_up(session):
    """start the test cluster, built from Go modules the first time"""
    cluster(session, "up")


@stage(minutes=20, everywhere=False)
def live(session):
    """the tests on the real cluster"""
    if not cluster_given() and not cluster_possible():
        raise Skipped(
            "needs root on Debian 12, x86-64, or a cluster to use up: KUBECONFIG and PRECHECK_DISPOSABLE_CLUSTER=1"
        )
    if TABLE.failed("cluster-up"):
        raise Failed("the cluster did not come up")
    pytest(session, "tests/live")


@stage(minutes=40, everywhere=False, default=PLANNED)
def mesh(session):
    """a real istiod and Envoy: what the gate says, and whether the client is answered"""
    need_cluster()
    pytest(session, "tests/mesh")


@stage(minutes=40, everywhere=False, name="mesh-up", default=False)
def mesh_up(session):
    """start a real mesh to look at"""
    cluster(session, "mesh")


@stage(minutes=40, everywhere=False, default=PLANNED)
def scale(session):
    """thousands of pods, and kubelets that are slow, dead or liars"""
    need_cluster()
    pytest(session, "tests/scale")


@stage(minutes=40, everywhere=False, default=PLANNED)
def oldest(session):
    """exec, rights and the gate on the oldest Kubernetes: what a version can change"""
    need_cluster()
    this = {"ISTIO_PRECHECK_KUBERNETES": versions.OLDEST, "PRECHECK_DISPOSABLE_CLUSTER": ""}
    try:
        pytest(session, "tests/live/test_gate.py", "tests/live/test_rights.py", **this)
    finally:
        cluster(session, "down", **this)


@stage(minutes=60, default=False)
def bench(session):
    """what a cluster of 10,000 pods costs"""
    need_cluster()
    paths = ":".join(map(str, (VENV / "tree", ROOT / "tests" / "cluster", ROOT / "tests" / "scale")))
    run(session, VENV / "bin" / "python", ROOT / "tests" / "bench" / "bench.py", PYTHONPATH=paths)


@stage(everywhere=False, name="cluster-down", default=OURS)
def cluster_down(session):
    """stop the test cluster, keep only its cache"""
    cluster(session, "down")
