# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""In which state a VM is left after a test case: the wish's word, held against what its GPUs allow. Pure."""

from __future__ import annotations

from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.gpu_wish import GpuWish
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.reader import Reader

POLICIES = ("auto", "keep", "power_off", "suspend", "revert")
_NEEDS_STATE = ("suspend", "revert")  # what vSphere cannot do with a DirectPath device


def policy(wished: str, gpus: tuple[GpuWish, ...]) -> str:
    """What ``auto`` means: a VM that is off runs nothing on its GPU, and that always works; others stay as they are."""
    if wished != "auto":
        return wished
    return "power_off" if gpus else "keep"


def check_policy(reader: Reader, wished: str, snapshot: str, gpus: tuple[GpuWish, ...]) -> None:
    """Note what cannot be; for a vGPU the host decides, which is asked when it comes to that."""
    direct = next((gpu for gpu in gpus if gpu.mode != "vgpu"), None)
    if direct and wished in _NEEDS_STATE:
        reader.bad(
            "lifecycle.after_case",
            f"keep or power_off, as vSphere can neither suspend nor snapshot a VM with a DirectPath device ({direct})",
            wished,
            "set it to power_off; for a clean VM make it anew: playbooks/teardown.yml, then playbooks/provision.yml",
        )
    elif wished == "revert" and not snapshot:
        reader.bad("lifecycle.snapshot", "the snapshot to which after_case reverts", None, "fleet_snapshot takes it")
