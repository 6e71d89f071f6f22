# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The section ``gpu`` of the wish: the complete list of a VM's GPU devices. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.reader import Reader

MODES = ("static", "dynamic", "vgpu")
DYNAMIC_HARDWARE = 17  # the oldest hardware version with dynamic DirectPath
MOST_GPUS = 16  # PCI passthrough devices of one VM, vSphere 7 and 8
_KEYS = {"static": ("address", "model"), "dynamic": ("vendor_id", "device_id", "label"), "vgpu": ("profile",)}
_ADDRESS = re.compile(r"[0-9a-f]{4}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]")
_HEX_ID = re.compile(r"[0-9a-f]{4}")
_FRAME_BUFFER = re.compile(r"-(\d+)([a-z])\d*(?:me)?$")


@dataclass(frozen=True)
class GpuWish:
    """One GPU device. ``static`` has an address or a model, ``dynamic`` the ids (unsigned), ``vgpu`` a profile."""

    mode: str = "static"
    address: str = ""
    model: str = ""
    vendor_id: int = 0
    device_id: int = 0
    label: str = ""
    profile: str = ""

    def __str__(self) -> str:
        if self.mode == "vgpu":
            return f"vGPU profile '{self.profile}'"
        if self.mode == "dynamic":
            label = f" labelled '{self.label}'" if self.label else ""
            return f"device {self.vendor_id:04x}:{self.device_id:04x}{label}"
        return f"device {self.address}" if self.address else f"device of model '{self.model}'"

    @property
    def profile_mb(self) -> int:
        """Frame buffer of the profile in MB by NVIDIA's naming (``nvidia_a10-4c`` has 4 GB); 0 when it tells none."""
        found = _FRAME_BUFFER.search(self.profile.lower())
        return (int(found[1]) * 1024 or 512) if found else 0

    @property
    def wants_mmio(self) -> bool:
        """Whether it maps its memory above 4 GB: every passed-through GPU, and the vGPUs for computing (``-4c``)."""
        found = _FRAME_BUFFER.search(self.profile.lower())
        return self.mode != "vgpu" or (found is not None and found[2] == "c")


def _pattern(reader: Reader, path: str, value: Any, pattern: re.Pattern[str], expected: str) -> str:
    # Unquoted, YAML reads 0000:03:00.0 as the number 180.0 and 0010 as 8: only a text is what was typed.
    text = value.strip().lower() if isinstance(value, str) else ""
    if not pattern.fullmatch(text):
        reader.bad(path, expected, value, "" if isinstance(value, str) else "put it in quotes")
        return ""
    return text


def _hex_id(reader: Reader, path: str, value: Any) -> int:
    text = _pattern(reader, path, value, _HEX_ID, "four hexadecimal digits in quotes, such as '10de'")
    return int(text, 16) if text else 0


def _static(reader: Reader, path: str, values: Mapping[str, Any]) -> GpuWish:
    address, model = values.get("address"), values.get("model")
    if (address is None) == (model is None):
        found = "neither" if address is None else "both"
        reader.bad(path, "either address or model for mode static", found, "model takes any free device of that model")
        return GpuWish()
    if model is not None:
        return GpuWish("static", model=reader.text(f"{path}.model", model, empty=False).strip())
    expected = "a PCI address in quotes, such as '0000:3b:00.0'"
    return GpuWish("static", address=_pattern(reader, f"{path}.address", address, _ADDRESS, expected))


def _device(reader: Reader, path: str, value: Any) -> GpuWish:
    values = reader.mapping(path, value, ("mode", *(key for keys in _KEYS.values() for key in keys)))
    if not values:
        reader.bad(path, "a mapping with mode", value)
        return GpuWish()
    mode = reader.choice(f"{path}.mode", values.get("mode"), MODES)
    given = {key: item for key, item in values.items() if item is not None and key != "mode"}
    if mode != values.get("mode"):
        return GpuWish()
    for key in given:
        if key not in _KEYS[mode]:
            reader.bad(f"{path}.{key}", f"only {', '.join(_KEYS[mode])} with mode {mode}", given[key])
    if mode == "static":
        return _static(reader, path, given)
    if mode == "vgpu":
        return GpuWish("vgpu", profile=reader.text(f"{path}.profile", given.get("profile"), empty=False).strip())
    return GpuWish(
        "dynamic",
        vendor_id=_hex_id(reader, f"{path}.vendor_id", given.get("vendor_id")),
        device_id=_hex_id(reader, f"{path}.device_id", given.get("device_id")),
        label=reader.text(f"{path}.label", given.get("label")),
    )


def read_gpus(reader: Reader, value: Any, *, reserve_memory: bool, hardware_version: int | None) -> tuple[GpuWish, ...]:
    """The list of GPU devices; problems are noted in the reader."""
    gpus = reader.listing("gpu", value, lambda path, item: _device(reader, path, item))
    if len(gpus) > MOST_GPUS:
        reader.bad("gpu", f"at most {MOST_GPUS} devices, what one VM takes", len(gpus))
    addresses = [gpu.address for gpu in gpus if gpu.address]
    for address in sorted({item for item in addresses if addresses.count(item) > 1}):
        reader.bad("gpu", "each address once", address)
    if gpus and not reserve_memory:
        reader.bad(
            "tweaks.reserve_memory",
            "true for a VM with GPUs, because their devices write into its memory directly",
            False,
            "take reserve_memory out of vm_tweaks, or vm_gpu out of the wish",
        )
    if any(gpu.mode == "dynamic" for gpu in gpus) and (hardware_version or DYNAMIC_HARDWARE) < DYNAMIC_HARDWARE:
        expected = f"at least {DYNAMIC_HARDWARE} for mode dynamic"
        reader.bad("tweaks.hardware_version", expected, hardware_version, "leave it out: fleet raises it")
    return gpus
