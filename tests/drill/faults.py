# SPDX-License-Identifier: GPL-3.0-or-later
"""What the drill breaks, and the check that must find it. The fix is not written here: the check says it."""

from __future__ import annotations

from dataclasses import dataclass

from pyVmomi import vim

from tests.drill.places import (
    InVCenter,
    accel_3d,
    key,
    powered_off,
    privilege,
    reconfigured,
    snapshot,
)

BASELINE, COMPATIBILITY, STRESS = HOSTS = ("nb-baseline-01", "nb-compat-01", "nb-stress-01")
PACKAGE = "$(/home/tester/nano-env/bin/python -c 'import site; print(site.getsitepackages()[0])')"
DISK = "/srv/nano-banana"


_FILL = f"dd if=/dev/zero of={DISK}/cache/forgotten bs=1M status=none 2> /dev/null || true"
LOW_SHARES = reconfigured(cpuAllocation=vim.ResourceAllocationInfo(shares=vim.SharesInfo(level="low", shares=1000)))


@dataclass(frozen=True)
class Fault:
    """Something that is broken on ``host`` and found by ``check`` at the gate ``stage``.

    ``guest`` is a shell script for root on the guest, ``vcenter`` what somebody does there, ``waiver`` entries of
    preflight_waivers as YAML, ``by_hand`` what a fix says that is a sentence and no command. ``explains`` are other
    checks that fail because of it. ``cause`` is the known cause that the check must name. ``restarts``: the fix
    restarts the guest. ``trap``: its name among the five traps.
    """

    name: str
    host: str
    stage: str
    check: str
    guest: str = ""
    vcenter: InVCenter | None = None
    by_hand: InVCenter | None = None
    waiver: str = ""
    explains: tuple[str, ...] = ()
    cause: str = ""
    restarts: bool = False
    trap: str = ""

    @property
    def checks(self) -> tuple[str, ...]:
        """Everything that may fail because of it."""
        return (self.check, *self.explains)


def _engine(*lines: str) -> str:
    """A script that adds lines to the engine's own package, as a bad build would have them."""
    text = "\\n".join(lines)  # Python with double quotes alone: it stands between single ones
    return f"printf '\\n{text}\\n' >> {PACKAGE}/nano_banana/__init__.py"


# What the engine writes goes through this door, whatever its backend is.
_SAVED = "from PIL import Image as _I; _save = _I.Image.save"
_PATCHED = "_I.Image.save = lambda self, *a, **k: _save({}, *a, **k)"

_APT = "apt-get install -qq -y --allow-downgrades --allow-change-held-packages"
_OLD = "cuda-drivers-535=535.43.02-1 nvidia-driver=535.43.02-1 libcuda1=535.43.02-1"

# In the order in which a host meets them: the gate that finds one shows the one before it mended, so two neighbours of
# a stage never touch the same checks (tests/unit/test_drill.py). The last of a host must not be mended by a restart;
# the data disk of nb-stress-01 is a tmpfs, so nothing restarts that one.
FAULTS = (
    Fault(
        "snapshot-of-passthrough",
        BASELINE,
        "machine",
        "vm.snapshots",
        vcenter=snapshot,
        restarts=True,
        trap="device-busy",
    ),
    Fault(
        "balloon-back",
        BASELINE,
        "machine",
        "vm.balloon",
        vcenter=key("sched.mem.maxmemctl", "2048"),
        restarts=True,
        trap="balloon-503",
    ),
    Fault(
        "page-sharing-back",
        BASELINE,
        "machine",
        "vm.page_sharing",
        vcenter=key("sched.mem.pshare.enable", "TRUE"),
        restarts=True,
        trap="slow-first-inference",
    ),
    Fault(
        "driver-mismatch",
        BASELINE,
        "guest",
        "gpu.driver",
        guest="mkdir -p /run/nb-drill && touch /run/nb-drill/mismatch",
        cause="nvml-mismatch",
        restarts=True,
    ),
    Fault(
        "driver-too-old",
        BASELINE,
        "guest",
        "gpu.driver_wish",
        guest=f"{_APT} {_OLD} > /dev/null 2>&1",
        explains=("gpu.cuda",),
    ),
    Fault(
        "picture-empty",
        BASELINE,
        "guest",
        "model.picture",
        guest=_engine(
            _SAVED, "_I.Image.save = lambda self, fp, *a, **k: None if hasattr(fp, 'write') else open(fp, 'w')"
        ),
    ),
    Fault(
        "gpu-memory-in-use",
        BASELINE,
        "guest",
        "gpu.processes",
        guest="mkdir -p /run/nb-drill; systemd-run --quiet --unit nb-drill --collect sleep 3600; "
        'echo "$(systemctl show --value --property MainPID nb-drill) python3 2048" > /run/nb-drill/processes',
        explains=("gpu.memory",),
    ),
    Fault(
        "cudnn-missing",
        BASELINE,
        "guest",
        "model.import",
        guest=_engine("import ctypes", 'ctypes.CDLL("libcudnn.so.8")'),
        explains=("guest.packages",),
        cause="cudnn-absent",
        trap="cudnn",
    ),
    Fault(
        "driver-removed",
        BASELINE,
        "guest",
        "gpu.driver",
        guest="dpkg --remove --force-hold --force-depends cuda-drivers-535 nvidia-driver > /dev/null 2>&1",
    ),
    Fault(
        "cpu-limited",
        COMPATIBILITY,
        "machine",
        "vm.cpu_shares",
        vcenter=reconfigured(cpuAllocation=vim.ResourceAllocationInfo(limit=500)),
    ),
    Fault("accel-3d-on", COMPATIBILITY, "machine", "vm.accel_3d", vcenter=accel_3d, restarts=True),
    Fault("powered-off", COMPATIBILITY, "machine", "vm.power", vcenter=powered_off, restarts=True),
    Fault("python-missing", COMPATIBILITY, "guest", "guest.python", guest="rm /home/tester/nano-env/bin/python*"),
    Fault("package-missing", COMPATIBILITY, "guest", "guest.packages", guest=f"rm -rf {PACKAGE}/PIL"),
    Fault(
        "picture-black",
        COMPATIBILITY,
        "guest",
        "model.picture",
        guest=_engine(_SAVED, _PATCHED.format("_I.new(self.mode, self.size)")),
        trap="black-picture",
    ),
    Fault("cpu-shares-low", STRESS, "machine", "vm.cpu_shares", vcenter=LOW_SHARES),
    Fault(
        "memory-unreserved",
        STRESS,
        "machine",
        "vm.memory_reserved",
        vcenter=reconfigured(
            memoryReservationLockedToMax=False, memoryAllocation=vim.ResourceAllocationInfo(reservation=0)
        ),
        explains=("vm.memory_locked",),
    ),
    Fault(
        "waiver-expired",
        STRESS,
        "machine",
        "gate.waiver",
        vcenter=LOW_SHARES,
        waiver='[{check: vm.cpu_shares, hosts: nb-stress-*, reason: the new host arrives, until: "2026-01-31"}]',
        explains=("vm.cpu_shares",),
    ),
    Fault("data-disk-full", STRESS, "guest", "guest.data_disk", guest=_FILL),
    Fault("share-gone", STRESS, "guest", "guest.share", guest="umount /srv/nano-banana-share"),
    Fault("data-disk-read-only", STRESS, "guest", "guest.data_disk", guest=f"mount -o remount,ro {DISK}"),
    Fault(
        "engine-missing",
        STRESS,
        "guest",
        "model.import",
        guest=f"rm -rf {PACKAGE}/nano_banana",
        cause="engine-missing",
    ),
    Fault("data-disk-not-ours", STRESS, "guest", "guest.data_disk", guest=f"chown -R root:root {DISK}/tmp"),
    Fault(
        "picture-colours-shifted",
        STRESS,
        "guest",
        "model.picture",
        guest=_engine("from PIL import ImageOps as _O", _SAVED, _PATCHED.format('_O.invert(self.convert("RGB"))')),
    ),
    Fault(
        "privilege-lost",
        STRESS,
        "platform",
        "vcenter.privileges",
        vcenter=privilege("VirtualMachine.Config.Memory", held=False),
        by_hand=privilege("VirtualMachine.Config.Memory", held=True),
    ),
)
