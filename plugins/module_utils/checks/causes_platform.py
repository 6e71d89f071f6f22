# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Known causes in what vSphere does to the VM: they show inside the guest, and facts from outside decide."""

from __future__ import annotations

from typing import Tuple

from .cause import Cause, Facts, Rule, number, word, words
from .orders import PROVISION, VM_ANEW
from .result import Fix

_SLOW_SECONDS = 30.0
_503 = words(
    r"\b503\b.{0,40}service (?:temporarily )?unavailable|HTTP(?:/[\d.]{1,3})?[ :]{1,3}(?:error )?503\b"
    r"|status(?:[ _]code)?\W{1,4}503\b"
)
_QUEUE = words(r"queue (?:is )?full|too many (?:pending )?requests in (?:the )?queue|queue_full")
_BUSY = words(r"\bdevice (?:\S{1,80} )?is busy\b")
_IN_USE = words(r"\bdevice (?:\S{1,80} )?is already in use\b|device or resource busy")
_HELD = words(r"\bdevice (?:\S{1,80} )?is (?:busy|already in use)\b")


def _ballooned(facts: Facts) -> bool:
    return number(facts, "balloon_mb") > 0


def _queue_full(facts: Facts) -> bool:
    return word(facts, "queue") == "full"


def _has_a_snapshot(facts: Facts) -> bool:
    return bool(facts.get("passthrough")) and number(facts, "snapshots") > 0


def _perhaps_a_snapshot(facts: Facts) -> bool:
    """A fact that says no decides; one that is missing does not."""
    return bool(facts.get("passthrough", True)) and ("snapshots" not in facts or number(facts, "snapshots") > 0)


def slow_first(facts: Facts) -> bool:
    """The first inference took longer than its limit (seconds)."""
    return bool(facts.get("first")) and number(facts, "seconds") > (number(facts, "limit") or _SLOW_SECONDS)


def _slow_swapped(facts: Facts) -> bool:
    return slow_first(facts) and number(facts, "swapped_mb") > 0


def _slow_ballooned(facts: Facts) -> bool:
    return slow_first(facts) and _ballooned(facts)


_QUEUE_FULL = Cause(
    "queue-full-503",
    "The service answers 503 because its queue is full",
    "More requests arrived than the service may hold. No memory was taken from the VM: this is the service's own "
    "limit at work.",
    Fix("Send fewer requests at once, or raise the service's queue length; on stress this is a result, not a fault."),
    "the engine's answer; field report, trap 3",
)
_SNAPSHOT = Cause(
    "snapshot-device-busy",
    '"Device is busy" after a snapshot of a VM with a passed-through GPU',
    "A snapshot cannot hold the state of a passed-through device. Taking or reverting one leaves the device claimed, "
    "and the next power-on or driver start finds it busy. Such a VM is powered off and cloned anew, never snapshot.",
    Fix(
        "Remove the snapshots by cloning the VM anew.",
        VM_ANEW,
    ),
    "VMware, DirectPath I/O: features that are unavailable; field report, trap 5",
    "device-busy",
)
PLATFORM_RULES: Tuple[Rule, ...] = (
    Rule(
        Cause(
            "balloon-503",
            "The service answers 503 because ESXi takes the VM's memory away (ballooning)",
            "Under load the host's balloon driver claims memory inside the guest; requests wait for pages until the "
            "service gives up. It comes before a full queue, since it fills the queue.",
            Fix(
                "Write sched.mem.maxmemctl=0 and reserve all memory (vm_tweaks); mem.memballoon alone does nothing.",
                PROVISION,
            ),
            "VMware vSphere Resource Management, memory ballooning; field report, trap 3",
            "balloon-503",
        ),
        _503,
        when=_ballooned,
    ),
    Rule(_QUEUE_FULL, _503, when=_queue_full),
    Rule(_QUEUE_FULL, _503, also=_QUEUE),
    Rule(
        Cause(
            "http-503",
            "The service answers 503, and neither its queue nor a balloon explains it yet",
            "A full queue says so in the answer's text, and ballooning shows in the guest's VMware tools.",
            Fix(
                "Look on the guest whether the host has taken memory (vmware-toolbox-cmd stat balloon), then read the "
                "service's journal."
            ),
            "field report, trap 3",
        ),
        _503,
    ),
    Rule(
        Cause(
            "busy-mount",
            "A file system is in use",
            "A process has a file or its working directory there, so that it cannot be unmounted.",
            Fix("End the processes that use it; fuser -vm and the mount point name them on the guest."),
            "umount(8)",
        ),
        words(r"umount(?:\.nfs4?)?: .{0,200}(?:device|target) is busy"),
    ),
    Rule(_SNAPSHOT, _BUSY, when=_perhaps_a_snapshot),
    Rule(_SNAPSHOT, _IN_USE, when=_has_a_snapshot),
    Rule(
        Cause(
            "device-held",
            "The device is in use, and no snapshot explains it",
            "Another VM or process holds the device, and it is free again only when that one gives it back.",
            Fix("See which VM has it: fleet's error no_gpu and the check vm.gpu name the holder.", PROVISION),
            "VMware ESXi, power-on faults",
        ),
        _HELD,
    ),
)
_ANYTHING = words("")
LAST_RULES: Tuple[Rule, ...] = (
    Rule(
        Cause(
            "swapped-first-inference",
            "The first inference is slow because ESXi swapped the VM's memory",
            "The host has swapped pages of the VM to disk and reads them back at the first use.",
            Fix("Reserve and lock all of the VM's memory (vm_tweaks).", PROVISION),
            "VMware vSphere Resource Management, host swapping",
        ),
        _ANYTHING,
        when=_slow_swapped,
    ),
    Rule(
        Cause(
            "ballooned-first-inference",
            "The first inference is slow because ESXi takes the VM's memory away (ballooning)",
            "The guest has to page for what the balloon holds.",
            Fix("Write sched.mem.maxmemctl=0 and reserve all memory (vm_tweaks).", PROVISION),
            "VMware vSphere Resource Management, memory ballooning",
        ),
        _ANYTHING,
        when=_slow_ballooned,
    ),
    Rule(
        Cause(
            "page-sharing",
            "The first inference is slow because of page sharing",
            "ESXi has merged equal pages of the VM's memory; the first write to each makes a copy, which a model does "
            "millions of times while it loads. sched.mem.pshare.enable=FALSE switches that off.",
            Fix("Switch page sharing off and reserve all memory (vm_tweaks).", PROVISION),
            "VMware vSphere Resource Management, page sharing; field report, trap 4 (30 s to 1.2 s)",
            "slow-first-inference",
        ),
        _ANYTHING,
        when=slow_first,
    ),
)
