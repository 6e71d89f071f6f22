# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""guest.kernel and guest.isolation: does the guest run its newest kernel, with the isolated cores that are wished?"""

from __future__ import annotations

import re
from typing import List, Optional, Sequence, Set

from .host import shown
from .result import FAILED, NOT_APPLICABLE, PASSED, SKIPPED, Outcome

RUNNING = "/proc/sys/kernel/osrelease"
IMAGES = "/boot/vmlinuz-*"
ISOLATED = "/sys/devices/system/cpu/isolated"
CMDLINE = "/proc/cmdline"
# What the role writes for each isolated core; the kernel shows only the first of them outside of its command line.
ARGUMENTS = ("isolcpus", "nohz_full", "rcu_nocbs")


def flavour(release: str) -> str:
    """What kernels of one line share: 'generic' of 5.15.0-101-generic, 'el7.x86_64' of 3.10.0-1160.el7.x86_64."""
    rpm = re.search(r"\.(el\d+)(?:_\d+)?((?:\.[a-z][\w]*)*)$", release)
    if rpm:
        return f"{rpm.group(1)}{rpm.group(2)}"
    debian = re.search(r"\d-([a-z][a-z0-9-]*)$", release)
    return debian.group(1) if debian else ""


def order(release: str) -> List[int]:
    """A release's numbers without its flavour: 5.15.0-101 is after 5.15.0-97, and 1160.119.1.el7 after 1160.el7."""
    return [int(part) for part in re.findall(r"[0-9]{1,9}", re.sub(r"\.el\d.*$|-[a-z].*$", "", release))]


def judge_kernel(running: Optional[str], images: Sequence[str], container: str) -> Outcome:
    """``images`` are the paths of /boot/vmlinuz-*; a rescue image and kernels of another line do not count."""
    expected = "the newest installed kernel is running"
    if container:
        return Outcome(SKIPPED, expected, detail=f"a container ({container}) runs the kernel of the machine below it")
    release = shown(running or "")
    if not release:
        return Outcome(SKIPPED, expected, detail=f"{RUNNING} cannot be read")
    installed = [shown(path.rpartition("/vmlinuz-")[2]) for path in images]
    same = [each for each in installed if flavour(each) == flavour(release)]
    newest = max(same, key=order, default=release)
    evidence = {"kernel": release, "newest": newest}
    if order(newest) > order(release):
        why = f"{newest} is installed and waits for a restart"
        return Outcome(FAILED, expected, release, why, evidence)
    return Outcome(PASSED, expected, release, evidence=evidence)


def cpus(text: str) -> Set[int]:
    """'0-2,5' as a set; what the kernel writes for none is an empty one."""
    found: Set[int] = set()
    for part in text.strip().split(","):
        first, _dash, last = part.partition("-")
        if first.isdecimal() and (last or first).isdecimal() and len(first) < 5 and len(last) < 5:
            found |= set(range(int(first), int(last or first) + 1))
    return found


def _words(cores: Set[int]) -> str:
    return ", ".join(map(str, sorted(cores))) or "no core"


def judge_isolation(wished: Sequence[int], isolated: Optional[str], cmdline: Optional[str], container: str) -> Outcome:
    """The isolated cores of the running kernel against kernel_tuning_isolated_cores."""
    wanted = set(wished)
    expected = f"isolated: {_words(wanted)}"
    if container:
        return Outcome(SKIPPED, expected, detail=f"a container ({container}) runs the kernel of the machine below it")
    if isolated is None or cmdline is None:
        return Outcome(SKIPPED, expected, detail=f"{ISOLATED} or {CMDLINE} cannot be read")
    found = cpus(isolated)
    if not wanted and not found:
        return Outcome(NOT_APPLICABLE, detail="no isolated core is wished (kernel_tuning_isolated_cores is empty)")
    given = dict(word.split("=", 1) for word in cmdline.split() if "=" in word)
    evidence = {"isolated": sorted(found)}
    if found != wanted:
        why = "the running kernel isolates other cores than the wish names"
        return Outcome(FAILED, expected, f"isolated: {_words(found)}", why, evidence)
    missing = [name for name in ARGUMENTS if not wanted <= _listed(given.get(name, ""))]
    if wanted and missing:
        why = f"the kernel was started without {' and '.join(missing)} for these cores"
        return Outcome(FAILED, expected, f"isolated: {_words(found)}", why, evidence)
    return Outcome(PASSED, expected, f"isolated: {_words(found)}", evidence=evidence)


def _listed(value: str) -> Set[int]:
    """The cores of an argument such as isolcpus=managed_irq,domain,1-3: its first words may be flags."""
    return cpus(",".join(word for word in value.split(",") if word[:1].isdecimal()))
