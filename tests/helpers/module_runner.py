# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""main() of a module as ansible-core runs it, on every ansible-core that the collection supports."""

from __future__ import annotations

import contextlib
import io
import json
import signal
import typing as t

from ansible.module_utils import basic

try:
    from ansible.module_utils.testing import patch_module_args  # from ansible-core 2.19 on
except ImportError:

    @contextlib.contextmanager
    def patch_module_args(args: dict[str, t.Any]) -> t.Iterator[None]:
        before = basic._ANSIBLE_ARGS
        basic._ANSIBLE_ARGS = json.dumps(
            {"ANSIBLE_MODULE_ARGS": {"_ansible_remote_tmp": "/tmp", "_ansible_keep_remote_files": False, **args}}
        ).encode()
        try:
            yield
        finally:
            basic._ANSIBLE_ARGS = before


class Ended(t.NamedTuple):
    """How a module ended: its exit code, its result, and what it wrote beside that."""

    code: int
    result: dict[str, t.Any]
    stderr: str

    @property
    def message(self) -> str:
        """The message of a module that failed as it should: one line, no traceback."""
        assert self.code == 1 and self.result["failed"] is True
        assert "Traceback" not in self.stderr
        assert "Traceback" not in str(self.result.get("msg"))
        return self.result["msg"]


def run(main: t.Callable[[], t.Any], check_mode: bool = False, **options: t.Any) -> Ended:
    stdout, stderr = io.StringIO(), io.StringIO()
    code = None
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    with (
        patch_module_args({**options, "_ansible_check_mode": check_mode}),
        contextlib.redirect_stdout(stdout),
        contextlib.redirect_stderr(stderr),
    ):
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
    assert code is not None, "the module neither exited nor failed"
    # Without what ansible-core says to itself and takes out on arrival: from 2.22 on also the secrets that it is to mask everywhere.
    result = {key: value for key, value in json.loads(stdout.getvalue()).items() if not key.startswith("_ansible_")}
    return Ended(code, result, stderr.getvalue())
