# SPDX-License-Identifier: GPL-3.0-or-later
"""The two places where the drill breaks things: inside a guest, and in vCenter as somebody else's administrator."""

from __future__ import annotations

import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyVim.connect import Disconnect, SmartConnect
from pyVmomi import vim

from tests.bench.run import BIN, ROOT, Lab

INVENTORY = Path(__file__).parent / "inventory"
TASK_SECONDS = 60.0
LOGIN_SECONDS = 60.0


@dataclass(frozen=True)
class Typed:
    """A command that was typed, and how it ended."""

    rc: int
    output: str


def on_guest(lab: Lab, host: str, script: str) -> Typed:
    """Run a shell script as root on a guest."""
    command = [sys.executable, "-m", "lab", "ssh", host, "--", "sudo", "sh", "-s"]
    done = subprocess.run(command, cwd=ROOT, env=lab.env, input=script, capture_output=True, text=True, check=False)
    return Typed(done.returncode, done.stdout + done.stderr)


def on_control(lab: Lab, command: str) -> Typed:
    """Type a command in the checkout, as the operator does whom a fix addresses."""
    env = lab.env | {"PATH": f"{BIN}:{lab.env['PATH']}"}
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    return Typed(done.returncode, done.stdout + done.stderr)


def wait_for_login(lab: Lab, host: str) -> None:
    """A guest that was told to restart takes logins again; raises TimeoutError when it does not."""
    end = time.monotonic() + LOGIN_SECONDS
    while time.monotonic() < end:
        time.sleep(0.5)
        if on_guest(lab, host, "true").rc == 0:
            return
    raise TimeoutError(f"{host} takes no login {LOGIN_SECONDS:.0f} s after its restart")


@contextmanager
def administrator(lab: Lab) -> Iterator[Any]:
    """vCenter's content as the lab's administrator sees it."""
    facts = lab.vcenter
    instance = SmartConnect(
        host=facts["hostname"],
        port=facts["port"],
        user=facts["admin_username"],
        pwd=Path(facts["admin_password_file"]).read_text().strip(),
        sslContext=ssl.create_default_context(cafile=facts["ca_file"]),
    )
    try:
        yield instance.content
    finally:
        Disconnect(instance)


def objects(content: Any, kind: Any) -> list[Any]:
    """Every object of a kind."""
    view = content.viewManager.CreateContainerView(content.rootFolder, [kind], True)
    try:
        return list(view.view)
    finally:
        view.Destroy()


def machine(content: Any, name: str) -> Any:
    """A VM by its name."""
    return next(found for found in objects(content, vim.VirtualMachine) if found.name == name)


def finish(task: Any) -> None:
    """Wait for a task; raises RuntimeError when it fails or takes too long."""
    end = time.monotonic() + TASK_SECONDS
    while task.info.state in ("queued", "running") and time.monotonic() < end:
        time.sleep(0.05)
    if task.info.state != "success":
        raise RuntimeError(f"{task.info.descriptionId}: {task.info.state} {task.info.error}")


InVCenter = Callable[[Any, str], None]


def key(name: str, value: str) -> InVCenter:
    """Somebody sets a VMX key."""

    def act(content: Any, host: str) -> None:
        spec = vim.vm.ConfigSpec(extraConfig=[vim.option.OptionValue(key=name, value=value)])
        finish(machine(content, host).ReconfigVM_Task(spec))

    return act


def reconfigured(**fields: Any) -> InVCenter:
    """Somebody changes settings of the VM."""

    def act(content: Any, host: str) -> None:
        finish(machine(content, host).ReconfigVM_Task(vim.vm.ConfigSpec(**fields)))

    return act


def accel_3d(content: Any, host: str) -> None:
    """Somebody ticks "Enable 3D Support"."""
    found = machine(content, host)
    card = next(item for item in found.config.hardware.device if isinstance(item, vim.vm.device.VirtualVideoCard))
    card.enable3DSupport = True
    edit = vim.vm.device.VirtualDeviceSpec(operation="edit", device=card)
    finish(found.ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=[edit])))


def snapshot(content: Any, host: str) -> None:
    """Somebody takes a snapshot while the GPU is out, and puts the GPU back: vSphere refuses the one, not the other."""
    found = machine(content, host)
    powered_off(content, host)
    gpu = next(item for item in found.config.hardware.device if isinstance(item, vim.vm.device.VirtualPCIPassthrough))
    for operation in ("remove", "add"):
        edit = vim.vm.device.VirtualDeviceSpec(operation=operation, device=gpu)
        finish(found.ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=[edit])))
        if operation == "remove":
            finish(found.CreateSnapshot_Task("before-the-upgrade", "", False, False))
    finish(found.PowerOnVM_Task())


def powered_off(content: Any, host: str) -> None:
    """Somebody pulls the plug."""
    finish(machine(content, host).PowerOffVM_Task())


def privilege(name: str, *, held: bool) -> InVCenter:
    """Somebody takes a privilege out of the role that the testbed's login holds on its folder, or gives it back."""

    def act(content: Any, _host: str) -> None:
        manager = content.authorizationManager
        role = next(item for item in manager.roleList if item.name == "nanobanana-testbed-folder")
        privileges = [item for item in role.privilege if item != name] + ([name] if held else [])
        manager.UpdateAuthorizationRole(role.roleId, role.name, privileges)

    return act
