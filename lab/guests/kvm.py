# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether KVM really runs guests here. Some machines show /dev/kvm and create virtual CPUs, but execute them one
emulated instruction at a time: a boot loader never comes to its end there. So a guest's speed is what counts."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

DEVICE = Path("/dev/kvm")
SECONDS = 4.0
TURNS = 50_000_000  # of a loop: 0.03 s in a processor, 0.4 s in QEMU's own translator, half a minute where KVM emulates
EXIT_PORT, EXIT_VALUE = 0x501, 0x10
EXIT_STATUS = EXIT_VALUE << 1 | 1  # how QEMU's isa-debug-exit device ends the process
FIRMWARE_SIZE = 64 << 10
RESET_OFFSET = FIRMWARE_SIZE - 16  # where an x86 CPU begins
JUMP_TO_START = bytes([0xE9, 0x0D, 0x00])
PROGRAM = (
    bytes([0x66, 0xB9]) + TURNS.to_bytes(4, "little")  # mov ecx, TURNS
    + bytes([0x66, 0x49, 0x75, 0xFC])  # again: dec ecx; jnz again
    + bytes([0xB0, EXIT_VALUE, 0xBA, EXIT_PORT & 0xFF, EXIT_PORT >> 8, 0xEE, 0xF4])  # out EXIT_PORT, EXIT_VALUE; hlt
)  # fmt: skip


def usable(seconds: float = SECONDS, device: Path = DEVICE) -> bool:
    """Runs a short loop in a virtual CPU and kills it when that has not ended within `seconds`."""
    return os.access(device, os.R_OK | os.W_OK) and runs("kvm", seconds)


def runs(accelerator: str, seconds: float) -> bool:
    """Whether QEMU with this accelerator gets through the loop in time."""
    with tempfile.NamedTemporaryFile(suffix=".rom") as firmware:
        firmware.write(PROGRAM.ljust(RESET_OFFSET, b"\xf4") + JUMP_TO_START.ljust(16, b"\xf4"))
        firmware.flush()
        command = [
            "qemu-system-x86_64", "-accel", accelerator, "-machine", "pc", "-m", "16", "-nodefaults", "-no-user-config",
            "-display", "none", "-bios", firmware.name,
            "-device", f"isa-debug-exit,iobase={EXIT_PORT:#x},iosize=1",
        ]  # fmt: skip
        quiet = subprocess.DEVNULL
        try:
            process = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet)
        except FileNotFoundError:
            return False
        try:
            return process.wait(seconds) == EXIT_STATUS
        except subprocess.TimeoutExpired:
            process.kill()
            _reap(process)
            return False


def _reap(process: subprocess.Popen[bytes]) -> None:
    """One that hangs inside the kernel does not end before the kernel lets it: then nobody waits for it."""
    try:
        process.wait(1)
    except subprocess.TimeoutExpired:
        return
