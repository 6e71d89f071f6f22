# SPDX-License-Identifier: GPL-3.0-or-later
"""roles/nvidia_driver/files/probe.py: what it reads off a guest."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from tests.unit.programs import loaded

SCRIPT = Path(__file__).parents[3] / "roles/nvidia_driver/files/probe.py"


@pytest.fixture(scope="module")
def probe() -> ModuleType:
    return loaded(SCRIPT)


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        # As apt names what nvidia-tesla-535-driver brings on Debian 12, and Ubuntu its packages without X.
        ("nvidia-tesla-535-driver", True),
        ("nvidia-tesla-535-kernel-dkms", True),
        ("libegl-nvidia-tesla-535-0", True),
        ("libgl1-nvidia-tesla-535-glvnd-glx", True),
        ("libnvidia-tesla-535-ml1", True),
        ("nvidia-headless-no-dkms-535-server", True),
        ("libnvidia-compute-535-server", True),
        ("linux-modules-nvidia-535-server-5.15.0-186-generic", True),
        ("linux-objects-nvidia-535-server-5.15.0-186-generic", True),
        ("cuda-drivers-535", True),
        ("libcuda1", True),
        ("nvidia-driver-branch-535-cuda", True),
        ("kmod-nvidia-branch-535-3.10.0-1160", True),
        ("libnvidia-container1", False),
        ("nvidia-container-toolkit", False),
        ("nvidia-cuda-toolkit", False),
        ("cuda-toolkit-12-2", False),
        ("libcudart12", False),
        ("linux-modules-5.15.0-186-generic", False),
        ("glx-alternative-nvidia", False),
    ],
)
def test_the_parts_of_a_driver_are_held_and_nothing_else(name: str, ours: bool) -> None:
    pattern = yaml.safe_load((SCRIPT.parents[1] / "vars/main.yml").read_text())["__nvidia_driver_pattern"]
    assert bool(re.search(pattern, name)) == ours


def device(bus: Path, address: str, vendor: str, number: str, kind: str) -> None:
    (folder := bus / address).mkdir(parents=True)
    for name, value in (("vendor", vendor), ("device", number), ("class", kind)):
        (folder / name).write_text(value + "\n")


def test_only_nvidias_display_controllers_are_gpus(probe: ModuleType, tmp_path: Path) -> None:
    device(tmp_path, "0000:00:0f.0", "0x15ad", "0x0405", "0x030000")  # VMware's own display
    device(tmp_path, "0000:0b:00.0", "0x10de", "0x2236", "0x030200")
    device(tmp_path, "0000:0b:00.1", "0x10de", "0x1aef", "0x040300")  # the card's audio
    device(tmp_path, "0000:03:00.0", "0x10de", "0x1eb8", "0x030200")
    assert probe.gpus(str(tmp_path)) == ["1eb8", "2236"]
    assert probe.gpus(str(tmp_path / "missing")) == []


@pytest.mark.parametrize(
    ("content", "on"),
    [(b"\x06\0\0\0\x01", True), (b"\x06\0\0\0\0", False), (b"", False), (None, False)],
)
def test_secure_boot_is_the_byte_after_the_attributes(
    probe: ModuleType, tmp_path: Path, content: bytes | None, on: bool
) -> None:
    if content is not None:
        (tmp_path / "variable").write_bytes(content)
    assert probe.secure_boot(str(tmp_path / "variable")) is on


def test_states_of_dpkg(probe: ModuleType) -> None:
    installed, unfinished, held = probe.from_dpkg(
        [
            "hold ok installed cuda-drivers-535 535.183.06-1",
            "install ok installed libcuda1 535.183.06-1",
            "install ok unpacked nvidia-smi 535.183.06-1",
            "install ok half-configured nvidia-kernel-dkms 535.183.06-1",
            "install reinstreq half-installed nvidia-driver 535.183.06-1",
            "deinstall ok config-files nvidia-old 470-1",
            "unknown ok not-installed nvidia-none ",
        ]
    )
    assert installed == {"cuda-drivers-535": "535.183.06-1", "libcuda1": "535.183.06-1"}
    assert unfinished == {"nvidia-smi": False, "nvidia-kernel-dkms": False, "nvidia-driver": True}
    assert held == ["cuda-drivers-535"]


def test_holds_of_rpm_are_yums_version_locks(probe: ModuleType) -> None:
    lock = "3:nvidia-driver-branch-535-535.86.10-1.el7.*\n# nvidia-modprobe-535\n"
    installed, unfinished, held = probe.from_rpm(
        ["nvidia-driver-branch-535 535.86.10", "nvidia-driver-branch-535-cuda 535.86.10"], lock
    )
    assert installed["nvidia-driver-branch-535"] == "535.86.10"
    assert not unfinished
    assert held == ["nvidia-driver-branch-535"]


def test_files_are_compared_by_content_and_mode(probe: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "file"
    right = hashlib.sha256(b"right").hexdigest()
    assert probe.differs(str(path), right, "0644")
    assert not probe.differs(str(path), "", "0644")
    path.write_bytes(b"right")
    path.chmod(0o644)
    assert not probe.differs(str(path), right, "0644")
    assert probe.differs(str(path), right, "0600")
    assert probe.differs(str(path), "", "0644")
    path.write_bytes(b"wrong")
    assert probe.differs(str(path), right, "0644")
    path.unlink()
    path.symlink_to(tmp_path)
    assert probe.differs(str(path), right, "0644")


def test_it_answers_on_any_machine_in_one_go(tmp_path: Path) -> None:
    wish: dict[str, Any] = {
        "pci": str(tmp_path),
        "packages": ["surely-not-a-package"],
        "kernel_packages": ["headers-{kernel}"],
        "pattern": "^surely-not-",
        "files": {str(tmp_path / "absent"): ["0" * 64, "0644"]},
        "links": {str(tmp_path / "link"): str(tmp_path / "target")},
        "marks": [str(tmp_path / "mark")],
        "space": [str(tmp_path)],
    }
    done = subprocess.run(
        [sys.executable, "-", json.dumps(wish)], input=SCRIPT.read_bytes(), stdout=subprocess.PIPE, check=True
    )
    found = json.loads(done.stdout)
    assert found["gpus"] == []
    assert found["missing"][0] == "surely-not-a-package"
    assert found["packages"] == {}
    assert (found["files"], found["links"]) == ([str(tmp_path / "absent")], [str(tmp_path / "link")])
    assert found["marks"] == [str(tmp_path / "mark")]
    assert found["free_mb"] > 0


@pytest.mark.parametrize(("container", "counts"), [("", True), ("podman", False)])
def test_a_containers_bus_in_sys_is_not_its_own(
    probe: ModuleType, monkeypatch: pytest.MonkeyPatch, container: str, counts: bool
) -> None:
    answers = {"systemd-detect-virt": container, "dpkg-query": "install ok installed bash 5.2-1\n"}
    monkeypatch.setattr(probe, "say", lambda program, *_rest: answers.get(program, ""))
    monkeypatch.setattr(probe, "gpus", lambda _bus: ["1eb8"])
    wish: dict[str, Any] = {"packages": ["bash"], "kernel_packages": ["linux-headers-{kernel}"], "pattern": "^bash$"}
    wish |= {"files": {}, "links": {}, "marks": [], "space": ["/"]}
    found = probe.main(wish | {"pci": "/sys/bus/pci/devices"})
    assert (found["gpus"] == ["1eb8"]) is counts
    # Nor has it a kernel that packages of its own would fit.
    assert bool(found["missing"]) is counts
    assert probe.main(wish | {"pci": "/srv/elsewhere"})["gpus"] == ["1eb8"]
    assert (found["version"], found["unheld"]) == ("5.2", ["bash"])
