# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guest gate's catalogue: every check with what it needs and how a failure is mended. Data alone."""

from __future__ import annotations

from typing import Tuple

from .orders import DISK, DRIVER, KERNEL, PROVISION, PYTHON, REINSTALL
from .result import ERROR, WARNING, Check, Fix
from .result import GUEST as ON_GUEST

STAGE = "guest"
_AGAIN = Fix("Install the model's packages again.", REINSTALL)


def _check(name: str, title: str, fix: Fix, *needs: str, severity: str = ERROR, after: Tuple[str, ...] = ()) -> Check:
    windows = name.startswith("windows.")
    environments = ("compatibility",) if windows else ()
    return Check(name, STAGE, title, fix, severity, environments, needs, after, alone=name == "model.picture")


SYSTEM: Tuple[Check, ...] = (
    _check(
        "guest.os",
        "The guest runs the wished operating system",
        Fix("Clone from a template with that system (vm_template), correct testbed_os, or allow a stand-in."),
    ),
    _check(
        "guest.machine",
        "The guest is a VM on VMware",
        Fix("Look which machine the inventory's ansible_host names, or allow a stand-in."),
    ),
    _check(
        "guest.kernel",
        "The guest runs its newest kernel",
        Fix("Restart the guest when nothing runs on it.", "systemctl reboot", ON_GUEST),
        severity=WARNING,
    ),
    _check(
        "guest.balloon",
        "The host takes no memory from the guest",
        Fix("Switch the balloon off and reserve all memory (vm_tweaks); power the VM off and on after it.", PROVISION),
    ),
    _check(
        "guest.swapped",
        "The host has swapped none of the guest's memory",
        Fix("Reserve all of the VM's memory (vm_tweaks); power the VM off and on after it.", PROVISION),
    ),
    _check(
        "guest.isolation",
        "The wished cores are isolated",
        Fix("Write the kernel's arguments and restart the guest.", KERNEL),
    ),
    _check(
        "guest.swap",
        "Swap is off where it shall be",
        Fix(
            "Turn it off; the role kernel_tuning keeps it off at the next boot.", "swapoff -a", ON_GUEST, automatic=True
        ),
    ),
    _check(
        "guest.data_disk",
        "The data disk is mounted, writable and not full",
        Fix("Make it right.", DISK),
    ),
    _check(
        "guest.data_disk_speed",
        "The data disk is not slow",
        Fix("Look at the datastore's latency and at the disk's controller: a data disk belongs on PVSCSI.", PROVISION),
        "guest.data_disk",
        severity=WARNING,
    ),
    _check("guest.share", "The share for results answers", Fix("Mount it.", "mount {share}", ON_GUEST)),
)
GPU: Tuple[Check, ...] = (
    _check(
        "gpu.present",
        "The guest has its GPU",
        Fix("Give the VM a GPU (vm_gpu), or set nvidia_driver_required to false.", PROVISION),
    ),
    _check(
        "gpu.secure_boot",
        "Secure Boot lets the driver in",
        Fix("Set nvidia_driver_source to distribution (Ubuntu), or turn Secure Boot off in the VM's options.", DRIVER),
        "gpu.present",
    ),
    _check(
        "gpu.driver",
        "NVIDIA's driver is loaded and drives the GPU",
        Fix("Install the driver again.", DRIVER),
        "gpu.present",
        after=("gpu.secure_boot",),
    ),
    _check(
        "gpu.driver_wish",
        "The driver is the wished one",
        Fix("Install the wished driver, and restart the guest where it asks for it.", DRIVER),
        "gpu.driver",
    ),
    _check(
        "gpu.driver_kind",
        "Driver and VM agree on passthrough or vGPU",
        Fix("Set nvidia_driver_kind to what the VM has.", DRIVER),
        "gpu.driver",
    ),
    _check(
        "gpu.licence",
        "The vGPU has its licence",
        Fix("Put a valid token into nvidia_driver_vgpu_token.", DRIVER),
        "gpu.driver",
    ),
    _check(
        "gpu.cuda",
        "The driver runs the wished CUDA",
        Fix("Set nvidia_driver_branch or cuda_toolkit_version by NVIDIA's table.", DRIVER),
        "gpu.driver",
    ),
    _check(
        "gpu.memory",
        "The video memory is visible, large enough and free",
        Fix("Restart the guest: its GPU starts anew.", "systemctl reboot", ON_GUEST),
        "gpu.driver",
    ),
    _check(
        "gpu.processes",
        "No leftover process is on the GPU",
        Fix("Ask whose they are, then end them: kill PID."),
        "gpu.driver",
    ),
    _check(
        "gpu.errors",
        "GPU and driver had no fault since the boot",
        Fix("End the program that did it; where it comes back, restart the guest."),
        "gpu.present",
    ),
)
MODEL: Tuple[Check, ...] = (
    _check(
        "guest.python",
        "The engine's environment runs the wished Python",
        Fix("Set pyenv_python_version or pyenv_provider; then:", PYTHON),
    ),
    _check("windows.wsl", "No Python of WSL is beside Windows' own", Fix("Remove WSL's distributions.")),
    _check(
        "windows.pillow_simd",
        "pillow-simd is the PIL that is imported",
        Fix("Install its wheel last, without dependencies (pyenv_pillow_wheel).", PYTHON),
        "guest.python",
    ),
    _check("guest.packages", "The model's packages are in its environment", _AGAIN, "guest.python"),
    _check(
        "gpu.torch",
        "The driver runs PyTorch's CUDA",
        Fix("Set nvidia_driver_branch by NVIDIA's table.", DRIVER),
        *("gpu.driver", "guest.packages"),
    ),
    _check("model.import", "The engine can be imported", _AGAIN, "guest.python", after=("guest.packages",)),
    _check(
        "model.picture",
        "The engine draws one picture",
        Fix(
            "Look at it (the run's artifacts have it), and try {engine} by hand; a damaged engine is installed again.",
            REINSTALL,
        ),
        "model.import",
        after=("guest.share", "guest.data_disk"),
    ),
    _check(
        "model.first_inference",
        "The first picture comes in time",
        Fix("Look at the VM's memory first: page sharing off, all of it reserved (vm_tweaks).", PROVISION),
        "model.picture",
    ),
)
GUEST: Tuple[Check, ...] = (*SYSTEM, *GPU, *MODEL)
# What only a Linux guest can be asked.
LINUX = (
    "guest.kernel",
    "guest.isolation",
    "guest.swap",
    "guest.data_disk_speed",
    "gpu.secure_boot",
    "gpu.errors",
)


def on(platform: str) -> Tuple[Check, ...]:
    """The rows for guests that are linux or windows."""
    if platform == "windows":
        return tuple(row for row in GUEST if row.id not in LINUX)
    return tuple(row for row in GUEST if not row.id.startswith("windows."))
