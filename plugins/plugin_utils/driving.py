# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must happen on the control node for modules that drive VMs: connection from variables, progress, watching."""

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
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.progress import readable
from ansible_collections.nanobanana.testbed.plugins.plugin_utils import here
from ansible_collections.nanobanana.testbed.plugins.plugin_utils.connection import connection_args

LOOK_SECONDS = 1.0
display = Display()


class DrivingAction(ActionBase):
    """Passes a task on to its module, completed, and shows how far that is."""

    def checked(self, args: dict[str, Any]) -> dict[str, Any]:
        """The task's own arguments, read before Ansible does; raises TestbedError."""
        return args

    def work(self) -> Any:
        """What the module does: a module with ``argument_spec()`` and ``run()``.

        Imported where it is used: what is refused at once needs no pyVmomi.
        """
        raise NotImplementedError

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Check, complete and pass on the module's arguments."""
        variables = task_vars or {}
        result: dict[str, Any] = super().run(tmp, variables)
        try:
            args = self.checked(dict(self._task.args))
            args |= connection_args(args, variables, self._templar.template)
        except TestbedError as error:
            return result | {"failed": True, "msg": str(error), "error_code": error.error_code}
        if self._connection.transport != "local":  # the module's files and processes are on another machine
            return result | self._module(args, variables)
        from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import sdk

        # A worker's parent is ansible-playbook: when it is killed, the worker and the module live on.
        parent = os.getppid()
        args.setdefault("watch_pid", parent)
        with _shown_progress(self._task.action.rpartition(".")[2]) as file:
            args.setdefault("progress_file", str(file))
            if sdk.HAS_PYVMOMI and here.possible(self, variables):
                work = self.work()
                result |= here.run(work.argument_spec(), args, work.run, check=self._task.check_mode)
            else:
                result |= self._module(args, variables)
        if os.getppid() != parent:
            os._exit(1)  # nobody takes the result: Ansible's worker would wait for ever to hand it over
        return result

    def _module(self, args: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        return dict(self._execute_module(module_name=self._task.action, module_args=args, task_vars=variables))


@contextmanager
def _shown_progress(name: str) -> Iterator[Path]:
    """A file for progress lines; a thread shows each of them until the block ends."""
    with tempfile.TemporaryDirectory(prefix="fleet-") as folder:
        file = Path(folder) / "progress.jsonl"
        file.touch(mode=0o600)
        ended = threading.Event()
        thread = threading.Thread(target=_show, args=(name, file, ended), daemon=True)
        thread.start()
        try:
            yield file
        finally:
            ended.set()
            thread.join()


def _show(name: str, file: Path, ended: threading.Event) -> None:
    with file.open(encoding="utf-8") as lines:
        while not ended.wait(LOOK_SECONDS):
            for line in lines:
                display.display(f"{name}: {readable(line)}")
