# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""What the modules of this collection have in common: they show no secret, and a signal ends them with a message."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.parameters import remove_values

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.secrets import (
    fit_to_show,
    passwords,
    without_users,
)


class SecretKeepingModule(AnsibleModule):
    """Shows no password that stands in a URL: ansible-core shows the options that a module was given, and not those in `LONG`."""

    DATA: tuple[str, ...] = ()
    """Parts of a result that decide, or that files are made of, so that nothing may be masked in them."""

    LONG: tuple[str, ...] = ()
    """Options that are whole documents, which nobody wants to see, and which may hold anything."""

    def __init__(self, *args: t.Any, **kwargs: t.Any) -> None:
        super().__init__(*args, **kwargs)
        self.no_log_values.update(passwords(self.params))

    def exit_json(self, **result: t.Any) -> None:
        super().exit_json(**self._masked(result))

    def fail_json(self, msg: str, **result: t.Any) -> None:
        super().fail_json(**self._masked({"msg": without_users(str(msg), passwords(self.params)), **result}))

    def _masked(self, result: dict[str, t.Any]) -> dict[str, t.Any]:
        """The result as it may be shown, with DATA in it as it is.

        ansible-core before 2.22 replaces each occurrence of a secret option in a result, so a password `breaks` would change what decides, and
        a short one what is applied: remove_values(), ansible/module_utils/common/parameters.py@2.21. The Report is data of the cluster, and only
        what its server or a container said in words may repeat a secret. From 2.22 on it is not the module that masks, and what masks knows
        whole options only, so those that hold more than a secret are shown otherwise than given.
        """
        self.params.update(fit_to_show(self.params))
        self.params.update({name: "not shown" for name in self.LONG if self.params.get(name) is not None})
        secrets = set(self.no_log_values)
        shown = {name: value if name in self.DATA else remove_values(value, secrets) for name, value in result.items()}
        for entry in shown.get("unchecked") or ():
            entry["detail"] = remove_values(entry.get("detail"), secrets)
        shown["invocation"] = remove_values({"module_args": self.params}, secrets)
        self.no_log_values.clear()
        return shown


class Stopped(BaseException):
    """A signal that asks to end, as an exception, so that connections are closed and half-written files removed on the way out."""


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _stop(number: int, _frame: t.Any) -> None:
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise Stopped(signal.Signals(number).name)


@contextlib.contextmanager
def stoppable(known: str) -> t.Iterator[None]:
    """A signal ends what is inside with a message, which says `known`, what is known then."""
    for each in SIGNALS:
        if each != signal.SIGHUP or signal.getsignal(each) != signal.SIG_IGN:  # nohup has hidden it
            signal.signal(each, _stop)
    try:
        yield
    except Stopped as stopped:  # there may be no module yet that could say so
        sys.stdout.write(json.dumps({"failed": True, "msg": f"stopped by {stopped}; {known}"}) + "\n")
        raise SystemExit(1) from None
