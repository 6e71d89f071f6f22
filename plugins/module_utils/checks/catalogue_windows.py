# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guest gate on Windows: the same ids as on Linux, with what mends them there."""

from __future__ import annotations

from typing import Tuple

from .cause import CONFIGURE, PROVISION
from .causes import CAUSES, for_windows
from .result import Check, Fix

_AGAIN = for_windows(CAUSES["engine-missing"]).fix
_WSL = for_windows(CAUSES["pil-beside-wsl"]).fix

WINDOWS: Tuple[Check, ...] = (
    Check(
        "guest.os",
        "guest",
        "The guest runs the wished operating system",
        Fix("Clone from a template with that system (vm_template), correct the wish, or allow a stand-in."),
    ),
    Check(
        "guest.machine",
        "guest",
        "The guest is a VM on VMware",
        Fix("Look which machine the inventory's ansible_host names, or allow a stand-in."),
    ),
    Check("guest.balloon", "guest", "The host takes no memory from the guest", CAUSES["balloon-503"].fix),
    Check(
        "guest.swapped",
        "guest",
        "The host has put no memory of the guest on its disk",
        Fix("Reserve and lock all of the VM's memory (vm_tweaks).", PROVISION),
    ),
    Check(
        "guest.data_disk",
        "guest",
        "The data disk is there and has room",
        Fix("Make room on the volume, or where it is missing make it.", CONFIGURE),
    ),
    Check(
        "guest.share",
        "guest",
        "The share for results answers",
        Fix("See that the file server is up and lets the connection's user in, then link the output again.", CONFIGURE),
    ),
    Check("windows.wsl", "guest", "No Python of WSL stands beside the engine's", _WSL),
    Check(
        "guest.python",
        "guest",
        "The engine's environment runs the wished Python",
        Fix("Set pyenv_python_version, then make the environment.", CONFIGURE),
    ),
    Check("windows.pillow_simd", "guest", "PIL is the wished one", _AGAIN, needs=("guest.python",)),
    Check("model.import", "guest", "The engine can be imported", _AGAIN, needs=("guest.python",)),
    Check(
        "guest.packages",
        "guest",
        "The modules of the model's profile are in the environment",
        _AGAIN,
        needs=("guest.python",),
    ),
    Check(
        "model.picture",
        "guest",
        "The engine draws one picture",
        Fix("Run it by hand on the guest and read what it says: {venv}\\Scripts\\nano-banana.exe generate --help"),
        needs=("model.import",),
    ),
    Check(
        "model.first_inference",
        "guest",
        "The first picture comes in time",
        CAUSES["page-sharing"].fix,
        needs=("model.import",),
    ),
)
