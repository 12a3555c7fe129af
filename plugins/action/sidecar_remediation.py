# -*- coding: utf-8 -*-
# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.outside import OutsideError
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.text import printable
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._quiet import QuietAction
from ansible_collections.meshops.istio_precheck.plugins.plugin_utils._sidecars.reviewed import reviewed_files


class ActionModule(QuietAction):
    """Reads the reviewed files, which are on the controller."""

    def _execute_module(self, *args: t.Any, **kwargs: t.Any) -> dict[str, t.Any]:
        given = kwargs.get("module_args") or self._task.args
        if given.get("files_dir") and given.get("files") is None:
            try:
                files = reviewed_files(str(given["files_dir"]))
            except (OSError, OutsideError) as error:
                where = str(error)
                if isinstance(error, OSError):
                    where = f"{error.filename or given['files_dir']}: {error.strerror or error}"
                return {"failed": True, "msg": printable(f"Nothing was changed: files_dir: {where}")}
            kwargs["module_args"] = {
                "files": files,
                **{name: value for name, value in given.items() if name != "files_dir"},
            }
        return super()._execute_module(*args, **kwargs)
