# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""The Sidecars that a team reviewed, read on the controller."""

from __future__ import annotations

import errno
import os
import pathlib
import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.outside import (
    YAML_BYTES,
    OutsideError,
    read_file,
)

ENDINGS = (".yaml", ".yml")


def reviewed_files(directory: str) -> list[dict[str, t.Any]]:
    """`{path, content}` of each file below `directory`, by path. Raises OSError and OutsideError, which name the one that cannot be read."""

    def stop(error: OSError) -> t.NoReturn:
        raise error

    if not os.path.isdir(directory):
        raise OSError(errno.ENOTDIR, "this is no directory", directory)
    paths = [
        pathlib.Path(folder, name)
        for folder, _folders, names in os.walk(directory, onerror=stop)
        for name in names
        if name.endswith(ENDINGS)
    ]
    return [{"path": str(path), "content": _content(path)} for path in sorted(paths)]


def _content(path: pathlib.Path) -> str:
    """Raises OSError and OutsideError."""
    try:
        return read_file(path, YAML_BYTES).decode("utf-8", "replace")
    except OutsideError as error:
        raise OutsideError(f"{path}: {error}") from error
