# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Xid messages of NVIDIA's kernel module, the gravest first: one fault often writes several."""

from __future__ import annotations

from typing import Tuple

from .cause import Cause, Rule, reboot, words
from .orders import VM_ANEW
from .result import Fix

_CATALOGUE = "docs.nvidia.com/deploy/xid-errors"
_HARDWARE = Fix(
    "Take the GPU out of use and have the host's administrator look at it: reset or replacement. Clone the VM on "
    "another GPU.",
    VM_ANEW,
)
_RESET = reboot("Restart the guest, which resets its GPU; if the message comes back, have the host looked at.")
_PROGRAM = Fix(
    "End what runs on the GPU and start it again (nvidia-smi names it). The same message with a second program, or "
    "with the same one on another GPU, tells whether the program or this GPU is at fault."
)
_WATCH = reboot(
    "Nothing now: the driver has dealt with it. Restart the guest soon, and take the GPU out if it comes again."
)

# number, NVIDIA's words, what it means here, how it is mended
_TABLE: Tuple[Tuple[int, str, str, Fix], ...] = (
    (
        79,
        "GPU has fallen off the bus",
        "the GPU no longer answers on PCIe: power, heat, seat, or a host fault",
        _HARDWARE,
    ),
    (
        95,
        "Uncontained memory error",
        "faulty video memory touched more than one program; all of them are unsafe",
        _RESET,
    ),
    (48, "Double bit ECC error", "video memory lost data that ECC could not restore", _HARDWARE),
    (140, "Unrecovered ECC error", "video memory lost data that ECC could not restore", _HARDWARE),
    (
        64,
        "Row remapper or page retirement failure",
        "no spare video memory is left to replace a faulty cell",
        _HARDWARE,
    ),
    (74, "NVLink error", "the connection between two GPUs failed", _HARDWARE),
    (62, "Internal micro-controller halt", "the GPU's own processor stopped, by heat, power or firmware", _RESET),
    (61, "Internal micro-controller breakpoint or warning", "the GPU's own processor stumbled", _RESET),
    (119, "GSP RPC timeout", "the GPU's system processor does not answer the driver", _RESET),
    (120, "GSP error", "the firmware on the GPU's system processor failed", _RESET),
    (109, "Context switch timeout", "a program did not let go of the GPU in time", _PROGRAM),
    (92, "High single-bit ECC error rate", "video memory is wearing out: ECC has to correct it often", _HARDWARE),
    (94, "Contained memory error", "faulty video memory hit one program alone, which was ended", _WATCH),
    (
        63,
        "Row remapping or page retirement recorded",
        "a faulty cell of video memory is replaced at the next reset",
        _WATCH,
    ),
    (31, "GPU memory page fault", "a program read or wrote where it has no memory", _PROGRAM),
    (32, "Invalid or corrupted push buffer stream", "the GPU got commands that it cannot read", _PROGRAM),
    (
        13,
        "Graphics engine exception",
        "a program made the GPU do what it must not, such as reading past an array",
        _PROGRAM,
    ),
    (69, "Graphics engine class error", "a program made the GPU do what it must not", _PROGRAM),
    (43, "GPU stopped processing", "a program met an error of its own; the GPU itself is healthy", _PROGRAM),
    (
        45,
        "Preemptive cleanup, due to previous errors",
        "the driver ended a program; the message before it says why",
        _PROGRAM,
    ),
)
# [  412.1] NVRM: Xid (PCI:0000:3b:00): 79, pid=1234, name=python, GPU has fallen off the bus.
_LINE = r"NVRM: Xid \(PCI:[0-9a-f:.]{{4,24}}\): {number}\b"
_WITHOUT_NUMBER = {79: r"NVRM: .{0,80}fallen off the bus"}


def _rule(number: int, meaning: str, here: str, fix: Fix) -> Rule:
    pattern = _LINE.format(number=number)
    if number in _WITHOUT_NUMBER:
        pattern = f"{pattern}|{_WITHOUT_NUMBER[number]}"
    cause = Cause(
        f"xid-{number}", f"Xid {number}: {meaning}", f"The kernel log has Xid {number}: {here}.", fix, _CATALOGUE
    )
    return Rule(cause, words(pattern))


XID_RULES: Tuple[Rule, ...] = tuple(_rule(*row) for row in _TABLE)
OTHER_XID = Rule(
    Cause(
        "xid-other",
        "An Xid message that this table does not have",
        "The kernel log has an Xid message, by which NVIDIA's kernel module reports an error of GPU, driver or "
        "program. Its number after 'Xid (PCI:...):' leads to its meaning in NVIDIA's catalogue.",
        reboot(f"Look the number up in NVIDIA's Xid catalogue ({_CATALOGUE}); restarting the guest resets the GPU."),
        _CATALOGUE,
    ),
    words(r"NVRM: Xid \(PCI:[0-9a-f:.]{4,24}\): \d"),
)
