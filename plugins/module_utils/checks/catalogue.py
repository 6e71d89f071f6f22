# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All checks of the three gates. A list of ids until the stages' own catalogues stand beside it."""

from __future__ import annotations

from typing import Tuple

from .result import Check, Fix

_IDS = {
    "platform": (
        "vcenter.login vcenter.version vcenter.build vcenter.clock vcenter.privileges host.version library.item "
        "library.current wish.hardware_version wish.gpu wish.gpu_host datastore.space network.port_group"
    ),
    "machine": (
        "vm.exists vm.power vm.hardware_version vm.firmware vm.accel_3d vm.balloon vm.page_sharing vm.memory_reserved "
        "vm.memory_locked vm.memory_reclaimed vm.cpu_shares vm.data_controller vm.nic vm.gpu vm.gpu_host vm.snapshots"
    ),
    "guest": (
        "guest.os guest.machine guest.kernel guest.balloon guest.swapped guest.isolation guest.swap guest.data_disk "
        "guest.data_disk_speed guest.share gpu.present gpu.secure_boot gpu.driver gpu.driver_wish gpu.driver_kind "
        "gpu.licence gpu.cuda gpu.memory gpu.processes gpu.errors guest.python guest.packages gpu.torch model.import "
        "model.picture model.first_inference windows.wsl windows.pillow_simd"
    ),
}
CATALOGUE: Tuple[Check, ...] = tuple(
    Check(id_, stage, "", Fix("")) for stage, ids in _IDS.items() for id_ in ids.split()
)
