# SPDX-License-Identifier: GPL-3.0-or-later
"""The CUDA toolkit: the wished version, held, behind /usr/local/cuda and on everybody's PATH."""

from __future__ import annotations

from typing import Any

import pytest

from conftest import Expected


@pytest.fixture(scope="module")
def wish(host: Any, expected: Expected) -> dict[str, Any]:
    """The wish; skips where the guest is to have no toolkit."""
    wished = expected.of("cuda_toolkit")
    if not wished["version"] or wished["source"] == "none":
        pytest.skip("no toolkit is wished for this host: PyTorch's wheels bring their own CUDA runtime")
    if wished["pci"].startswith("/sys/") and host.run("systemd-detect-virt --container --quiet").rc == 0:
        pytest.skip("a container sees the bus of the machine below it, and has no GPU of its own")
    devices = host.run(f"grep -l '^0x03' {wished['pci']}/*/class | sed 's/class$/vendor/' | xargs cat").stdout
    if "0x10de" not in devices.split() and not wished["without_gpu"]:
        pytest.skip("the guest has no NVIDIA GPU on its bus, so no toolkit is installed")
    return wished


def test_the_link_leads_to_the_wished_toolkit(host: Any, wish: dict[str, Any]) -> None:
    found = host.check_output("readlink -f /usr/local/cuda")
    assert found == wish["folder"], f"/usr/local/cuda: expected {wish['folder']}; found {found}"


def test_a_login_finds_the_compiler(host: Any, expected: Expected, wish: dict[str, Any]) -> None:
    with host.sudo(expected.user):
        found = host.run("bash -l -c 'readlink -f $(command -v nvcc)'").stdout.strip()
    assert found == f"{wish['folder']}/bin/nvcc", f"nvcc: expected it below {wish['folder']}; found {found or 'none'}"


def test_the_package_is_held(host: Any, wish: dict[str, Any]) -> None:
    if wish["source"] == "runfile" or host.run("command -v dpkg-query").rc:
        pytest.skip("the toolkit is no Debian package here")
    fields = "${db:Status-Want} ${db:Status-Status} ${Version}"
    want, status, version = host.check_output(f"dpkg-query --show --showformat '{fields}' {wish['package']}").split()
    assert (want, status) == ("hold", "installed"), f"{wish['package']}: expected it on hold; found {want} {status}"
    assert version.startswith(wish["version"]), f"{wish['package']}: expected {wish['version']}; found {version}"


def test_no_cudnn_was_brought_along(host: Any, wish: dict[str, Any]) -> None:
    found = host.run(f"ls -d {wish['folder']}/lib64/libcudnn* 2>/dev/null").stdout
    assert not found, f"expected the toolkit without cuDNN; found {found}"
