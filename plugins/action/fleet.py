# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of ``fleet`` must happen on the control node: connection from variables, strict reading, progress."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import TestbedError
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import wish
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.customization import userdata_text
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.progress import readable
from ansible_collections.nanobanana.testbed.plugins.plugin_utils import here
from ansible_collections.nanobanana.testbed.plugins.plugin_utils.connection import connection_args

LOOK_SECONDS = 1.0
display = Display()


class ActionModule(ActionBase):
    """Reads the wish before Ansible's own argument check would, whose messages name no VM."""

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Check, complete and pass on the module's arguments."""
        variables = task_vars or {}
        result: dict[str, Any] = super().run(tmp, variables)
        args = dict(self._task.args)
        try:
            vms = list(args.get("vms") or [])
            args["vms"] = _checked(args.get("state", "present"), vms)
            args |= connection_args(args, variables, self._templar.template)
        except TestbedError as error:
            return result | {"failed": True, "msg": str(error), "error_code": error.error_code}
        if self._connection.transport != "local":  # the module's files and processes are on another machine
            return result | self._module(args, variables)
        # A worker's parent is ansible-playbook: when it is killed, the worker and the module live on.
        args.setdefault("watch_pid", os.getppid())
        with _shown_progress() as file:
            args.setdefault("progress_file", str(file))
            return result | self._work(args, variables)

    def _work(self, args: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        # Imported where it is used: a wish that is refused needs no pyVmomi.
        from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import call, sdk

        if not (sdk.HAS_PYVMOMI and here.possible(self, variables)):
            return self._module(args, variables)
        return here.run(call.argument_spec(), args, call.run, check=self._task.check_mode)

    def _module(self, args: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        return dict(self._execute_module(module_name=self._task.action, module_args=args, task_vars=variables))


@contextmanager
def _shown_progress() -> Iterator[Path]:
    """A file for progress lines; a thread shows each of them until the block ends."""
    with tempfile.TemporaryDirectory(prefix="fleet-") as folder:
        file = Path(folder) / "progress.jsonl"
        file.touch(mode=0o600)
        ended = threading.Event()
        thread = threading.Thread(target=_show, args=(file, ended), daemon=True)
        thread.start()
        try:
            yield file
        finally:
            ended.set()
            thread.join()


def _show(file: Path, ended: threading.Event) -> None:
    with file.open(encoding="utf-8") as lines:
        while not ended.wait(LOOK_SECONDS):
            for line in lines:
                display.display(f"fleet: {readable(line)}")


def _checked(state: str, vms: list[dict[str, Any]]) -> list[dict[str, Any]]:
    names = wish.parse_names(vms)
    patience = wish.parse_patience(vms)
    if state == "absent":
        return [{"name": name, "lifecycle": {"shutdown_seconds": patience[name]}} for name in names]
    wish.parse_wishes(vms if state == "present" else wish.with_wish(vms))
    return [_as_text(vm) for vm in vms]


def _as_text(vm: dict[str, Any]) -> dict[str, Any]:
    """User data as one text: the module can then hide it as a whole wherever arguments are shown."""
    customization = dict(vm.get("customization") or {})
    if not customization:
        return vm
    customization["userdata"] = userdata_text(customization.get("userdata"))
    return vm | {"customization": customization}
