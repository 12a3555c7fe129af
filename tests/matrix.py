# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The versions that the collection is held to, as data: `make matrix` tests all of them, docs/compatibility.md promises them."""

from __future__ import annotations

from typing import NamedTuple


class Pair(NamedTuple):
    """One environment. Each supported ansible-core, Python, client and kubernetes.core is in at least one."""

    python: str
    core: str  # ansible-core, of PyPI
    client: str  # kubernetes, of PyPI
    kubernetes_core: str  # the collection, of the wheel of `ansible`
    ansible: str  # of PyPI, which brings that kubernetes.core and need not go with `core`
    without: tuple[str, ...] = ()  # tests of ansible-test sanity that cannot be had with it

    @property
    def name(self) -> str:
        return f"ansible-core {self.core}, Python {self.python}, kubernetes {self.client}, kubernetes.core {self.kubernetes_core}"

    @property
    def venv(self) -> str:
        return f".venv-{self.core}"


# Oldest first. The lower bounds of galaxy.yml, meta/runtime.yml and meta/ee-requirements.txt are the first pair.
PAIRS = (
    Pair(python="3.10", core="2.17.14", client="24.2.0", kubernetes_core="5.0.0", ansible="11.0.0"),
    Pair(python="3.11", core="2.18.19", client="31.0.0", kubernetes_core="5.4.1", ansible="11.13.0"),
    Pair(python="3.11", core="2.19.14", client="35.0.0", kubernetes_core="6.2.0", ansible="12.3.0"),
    Pair(python="3.12", core="2.20.10", client="36.0.3", kubernetes_core="6.4.0", ansible="13.8.0"),
    Pair(python="3.13", core="2.21.5", client="37.0.2", kubernetes_core="6.6.0", ansible="14.5.0"),
    # A candidate. Its pylint wants a requirement that is on no package index.
    Pair(
        python="3.13", core="2.22.0rc1", client="37.0.2", kubernetes_core="6.6.0", ansible="14.5.0", without=("pylint",)
    ),
)
OLDEST = PAIRS[0]
NEWEST = max((pair for pair in PAIRS if pair.core.replace(".", "").isdigit()), key=PAIRS.index)
