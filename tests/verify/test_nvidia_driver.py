# SPDX-License-Identifier: GPL-3.0-or-later
"""NVIDIA's driver: the wished branch, one version for all its parts, held, and loaded where the guest has a kernel."""

from __future__ import annotations

import re
from typing import Any

import pytest

from conftest import Expected

PARTS = re.compile(r"^(nvidia-driver|nvidia-headless|nvidia-utils|libnvidia-(compute|ml)|libcuda1|cuda-drivers)")
TOKEN = "/etc/nvidia/ClientConfigToken"


@pytest.fixture(scope="module")
def wish(host: Any, expected: Expected) -> dict[str, Any]:
    """The wish; skips where the guest is to have no driver."""
    wished = expected.of("nvidia_driver")
    if not wished["branch"]:
        pytest.skip("no driver is wished for this host")
    if wished["pci"].startswith("/sys/") and host.run("systemd-detect-virt --container --quiet").rc == 0:
        pytest.skip("a container sees the bus of the machine below it, and has no GPU of its own")
    devices = host.run(f"grep -l '^0x03' {wished['pci']}/*/class | sed 's/class$/vendor/' | xargs cat").stdout
    if "0x10de" not in devices.split():
        assert not wished["required"], f"{wished['pci']}: expected an NVIDIA GPU; found none"
        pytest.skip("the guest has no NVIDIA GPU on its bus, so no driver is installed")
    return wished


@pytest.fixture(scope="module")
def packages(host: Any, wish: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Name -> (dpkg's want, version) of the driver's main packages; skips where the driver came from a file."""
    if wish["kind"] == "vgpu":
        pytest.skip("a vGPU's driver comes from a file")
    if host.run("command -v dpkg-query").rc:
        pytest.skip("the driver's packages are looked up with dpkg")
    lines = host.check_output(
        "dpkg-query --show --showformat '${db:Status-Want} ${db:Status-Status} ${Package} ${Version}\\n'"
    )
    rows = [line.split() for line in lines.splitlines()]
    return {row[2]: (row[0], row[3]) for row in rows if row[1] == "installed" and PARTS.match(row[2])}


def test_the_driver_is_of_the_wished_branch_and_version(packages: dict[str, Any], wish: dict[str, Any]) -> None:
    assert packages, f"expected packages of driver {wish['branch']}; found none"
    wanted = wish["version"] or f"{wish['branch']}."
    wrong = {name: version for name, (_want, version) in packages.items() if not version.startswith(wanted)}
    assert not wrong, f"expected driver {wanted}; found {wrong}"


def test_all_parts_of_the_driver_are_held(packages: dict[str, Any]) -> None:
    loose = [name for name, (want, _version) in packages.items() if want != "hold"]
    assert not loose, f"expected all parts of the driver on hold; found loose: {', '.join(loose)}"


def test_no_package_was_left_in_the_middle(host: Any, packages: dict[str, Any]) -> None:
    assert packages
    left = host.run("dpkg --audit").stdout
    assert left == "", f"expected every package complete; found {left}"


def test_nouveau_stays_off_and_persistence_is_on_at_boot(host: Any, wish: dict[str, Any]) -> None:
    assert wish
    assert host.file("/etc/modprobe.d/nano-banana-nouveau.conf").contains("^blacklist nouveau$")
    assert host.service("nvidia-persistenced").is_enabled, "nvidia-persistenced: expected it enabled"


def test_the_licence_is_there_and_only_roots(host: Any, wish: dict[str, Any]) -> None:
    if wish["kind"] != "vgpu":
        pytest.skip("only a vGPU has a licence")
    with host.sudo():
        assert host.file("/etc/nvidia/gridd.conf").contains("^FeatureType=")
        found = host.check_output(f"stat --format '%U %a' {TOKEN}/*.tok")
    assert found == "root 600", f"{TOKEN}: expected a token of root with mode 600; found {found}"


def test_the_loaded_module_is_the_installed_one(host: Any, wish: dict[str, Any], whole_machine: None) -> None:
    installed = host.check_output("/sbin/modinfo --field version nvidia")
    loaded = host.run("cat /sys/module/nvidia/version").stdout.strip()
    assert loaded == installed, f"nvidia: expected module {installed} loaded; found {loaded or 'none'}"
    assert loaded.startswith(wish["version"] or f"{wish['branch']}.")


def test_the_driver_sees_its_gpu(host: Any, wish: dict[str, Any], whole_machine: None) -> None:
    found = host.check_output("nvidia-smi --query-gpu=driver_version,name,memory.total --format=csv,noheader")
    assert found.startswith(wish["branch"]), f"nvidia-smi: expected driver {wish['branch']}; found {found}"
