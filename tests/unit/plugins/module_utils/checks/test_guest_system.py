# SPDX-License-Identifier: GPL-3.0-or-later
"""Memory, kernel, disk, share, packages and Windows' own traps: each outcome of each check."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks import (
    guest_disk,
    guest_kernel,
    guest_memory,
    guest_packages,
    guest_share,
    windows,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.guest_share import Share
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.host import NOT_FOUND, TIMED_OUT, Completed
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.result import (
    FAILED,
    NOT_APPLICABLE,
    PASSED,
    SKIPPED,
    Outcome,
)

NO_TOOLS = Completed(NOT_FOUND, err="vmware-toolbox-cmd: No such file or directory")


def told(outcome: Outcome) -> str:
    return f"{outcome.status} {outcome.actual} | {outcome.detail} | {outcome.fix.shown() if outcome.fix else ''}"


@pytest.mark.parametrize(
    ("answer", "status", "mb"),
    [
        (Completed(0, "0 MB\n"), PASSED, 0),
        (Completed(0, "512 MB\n"), FAILED, 512),
        (NO_TOOLS, SKIPPED, None),
        # What open-vm-tools says on another hypervisor.
        (Completed(1, err="vmware-toolbox-cmd must be run inside a virtual machine.\n"), SKIPPED, None),
        (Completed(0, "hello"), SKIPPED, None),
        (Completed(TIMED_OUT), SKIPPED, None),
    ],
)
def test_ballooned_and_swapped_memory(answer: Completed, status: str, mb: int | None) -> None:
    balloon, swapped = guest_memory.judge_balloon(answer), guest_memory.judge_swapped(answer)
    assert (balloon.status, balloon.evidence.get("balloon_mb")) == (status, mb)
    assert (swapped.status, swapped.evidence.get("swapped_mb")) == (status, mb)


HEADING = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"


@pytest.mark.parametrize(
    ("off", "text", "container", "status"),
    [
        (True, HEADING, "", PASSED),
        (True, HEADING + "/dev/dm-1                               partition\t2097148\t\t0\t\t-2\n", "", FAILED),
        (True, HEADING + "/swap.img file 1 0 -2\n", "docker", SKIPPED),
        (True, None, "", SKIPPED),
        (False, HEADING + "/swap.img file 1 0 -2\n", "", NOT_APPLICABLE),
    ],
)
def test_swap_against_the_wish(off: bool, text: str | None, container: str, status: str) -> None:
    assert guest_memory.judge_swap(off, text, container).status == status


def images(*names: str) -> list[str]:
    return [f"/boot/vmlinuz-{name}" for name in names]


@pytest.mark.parametrize(
    ("running", "installed", "container", "status"),
    [
        ("5.15.0-101-generic\n", images("5.15.0-97-generic", "5.15.0-101-generic"), "", PASSED),
        ("5.15.0-97-generic\n", images("5.15.0-97-generic", "5.15.0-101-generic"), "", FAILED),
        ("6.1.0-18-cloud-amd64", images("6.1.0-18-cloud-amd64", "6.1.0-20-amd64"), "", PASSED),
        ("6.1.0-18-amd64", images("6.1.0-18-amd64", "6.1.0-20-amd64"), "", FAILED),
        (
            "3.10.0-1160.el7.x86_64",
            images("0-rescue-0123456789abcdef", "3.10.0-1160.el7.x86_64", "3.10.0-1160.119.1.el7.x86_64"),
            "",
            FAILED,
        ),
        (
            "3.10.0-1160.119.1.el7.x86_64",
            images("3.10.0-1160.119.1.el7.x86_64", "5.4.278-1.el7.elrepo.x86_64"),
            "",
            PASSED,
        ),
        ("5.14.0-362.8.1.el9_3.x86_64", images("5.14.0-427.13.1.el9_4.x86_64"), "", FAILED),
        ("5.15.0-101-generic", [], "", PASSED),
        ("5.15.0-97-generic", images("5.15.0-101-generic"), "podman", SKIPPED),
        (None, [], "", SKIPPED),
    ],
)
def test_a_newer_kernel_of_the_same_line_waits_for_a_restart(
    running: str | None, installed: list[str], container: str, status: str
) -> None:
    assert guest_kernel.judge_kernel(running, installed, container).status == status


LINE = "BOOT_IMAGE=/vmlinuz ro isolcpus={0} nohz_full={0} rcu_nocbs={0} irqaffinity=0"


@pytest.mark.parametrize(
    ("wished", "isolated", "cmdline", "container", "status", "words"),
    [
        ([1, 2, 3], "1-3\n", LINE.format("1,2,3"), "", PASSED, ""),
        ([1, 2, 3], "1-3\n", LINE.format("1,2,3").replace("isolcpus=", "isolcpus=managed_irq,domain,"), "", PASSED, ""),
        ([1, 2, 3], "1-2\n", LINE.format("1,2"), "", FAILED, "isolated: 1, 2"),
        ([1, 2, 3], "\n", "ro quiet", "", FAILED, "isolated: no core"),
        ([1, 2, 3], "1-3\n", "ro isolcpus=1-3 nohz_full=1-3", "", FAILED, "without rcu_nocbs"),
        ([], "1\n", LINE.format("1"), "", FAILED, "isolated: 1"),
        ([], "\n", "ro quiet", "", NOT_APPLICABLE, ""),
        ([1], "1\n", LINE.format("1"), "podman", SKIPPED, ""),
        ([1], None, "ro", "", SKIPPED, ""),
    ],
)
def test_isolated_cores_against_the_wish(
    wished: list[int], isolated: str | None, cmdline: str, container: str, status: str, words: str
) -> None:
    outcome = guest_kernel.judge_isolation(wished, isolated, cmdline, container)
    assert outcome.status == status
    assert words in told(outcome)


def space(free_kb: int, mount: str = "/srv/nano-banana") -> Completed:
    return Completed(
        0,
        "Filesystem     1024-blocks    Used Available Capacity Mounted on\n"
        f"/dev/sdb          20511312 1048576 {free_kb:>9}       6% {mount}\n",
    )


FINE, MISSING, DENIED = Completed(0), Completed(2), Completed(1)
SIZES = Completed(1, "16\t/srv/nano-banana/lost+found\n900000\t{0}\n1000000\t/srv/nano-banana\n", "du: cannot read")


@pytest.mark.parametrize(
    ("answer", "write", "biggest", "locked", "container", "status", "words"),
    [
        (space(18432000), FINE, "", False, "", PASSED, "18000 MB free"),
        (space(1024, "/"), FINE, "", False, "", FAILED, "mount /srv/nano-banana"),
        (space(18432000, "/"), FINE, "", False, "podman", SKIPPED, "no disk of its own"),
        (
            space(1024, "/"),
            FINE,
            "/srv/nano-banana/cache",
            False,
            "podman",
            FAILED,
            "find /srv/nano-banana/cache -xdev -mindepth 1 -type f -delete",
        ),
        (space(1024), FINE, "/srv/nano-banana/logs", False, "", FAILED, "Clear /srv/nano-banana/logs"),
        (space(1024), FINE, "/srv/nano-banana/mine.iso", False, "", FAILED, "if nobody needs it"),
        (space(1024), FINE, "/srv/nano-banana", False, "", FAILED, "du -xah"),
        (space(18432000), DENIED, "", True, "", FAILED, "remount,rw"),
        (space(18432000), DENIED, "", False, "", FAILED, "the model's user may not write there"),
        (space(18432000), MISSING, "", False, "", FAILED, "the folder tmp is missing"),
        (Completed(1, err="df: /srv/nano-banana: No such file or directory"), FINE, "", False, "", FAILED, "not there"),
        (Completed(TIMED_OUT), FINE, "", False, "", FAILED, "did not answer within"),
    ],
)
def test_the_data_disk_is_mounted_writable_and_not_full(
    answer: Completed, write: Completed, biggest: str, locked: bool, container: str, status: str, words: str
) -> None:
    sizes = Completed(SIZES.rc, SIZES.out.format(biggest) if biggest != "/srv/nano-banana" else "1\t/srv/nano-banana\n")
    outcome = guest_disk.judge("/srv/nano-banana", 1000, answer, write, sizes, locked, container)
    assert outcome.status == status
    assert words in told(outcome)


def test_without_a_wish_there_is_no_data_disk() -> None:
    assert guest_disk.judge("", 1000, FINE, FINE, FINE, False, "").status == NOT_APPLICABLE


@pytest.mark.parametrize(("options", "locked"), [("ro,relatime", True), ("rw,relatime", False)])
def test_a_disk_that_the_kernel_has_locked_is_known(options: str, locked: bool) -> None:
    line = f"31 1 8:16 / /srv/nano-banana {options} shared:1 - ext4 /dev/sdb {options}\n"
    assert guest_disk.read_only(line, "/srv/nano-banana") is locked


def test_the_real_commands_are_read_on_a_real_folder(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/weights").write_bytes(b"x" * 3_000_000)
    (tmp_path / "note").write_bytes(b"x")

    def run(argv: tuple[str, ...]) -> str:
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout

    found = guest_disk.usage(run(guest_disk.df(str(tmp_path))))
    assert found
    assert found.free_mb > 0
    assert guest_disk.biggest(run(guest_disk.du(str(tmp_path))), str(tmp_path)) == (f"{tmp_path}/cache", 2)


def dd(rc: int, *lines: str) -> Completed:
    return Completed(rc, err="\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("answer", "status", "words"),
    [
        (
            dd(0, "64+0 records in", "64+0 records out", "67108864 bytes (67 MB, 64 MiB) copied, 0.325381 s, 206 MB/s"),
            PASSED,
            "206.2 MB/s",
        ),
        # CentOS 7's coreutils have one unit.
        (dd(0, "64+0 records in", "64+0 records out", "67108864 bytes (67 MB) copied, 0.0332 s, 2.0 GB/s"), PASSED, ""),
        (
            dd(TIMED_OUT, "^C12+0 records in", "12582912 bytes (13 MB, 12 MiB) copied, 1.01 s, 12.4 MB/s"),
            FAILED,
            "12.5",
        ),
        (dd(1, "dd: failed to open '/srv/x': Invalid argument"), SKIPPED, "no O_DIRECT"),
        (
            dd(1, "dd: error writing '/srv/x': No space left on device", "0 bytes copied, 0.1 s, 0 kB/s"),
            FAILED,
            "status 1",
        ),
        (dd(TIMED_OUT, ""), FAILED, "no figure"),
    ],
)
def test_the_speed_of_the_data_disk(answer: Completed, status: str, words: str) -> None:
    outcome = guest_disk.judge_speed(answer, 50)
    assert outcome.status == status
    assert words in told(outcome)


NFS = Share("nfs", "files:/results", "/srv/share", "/srv/share/nb-1", 2.0)
BIND = Share("bind", "/srv/source", "/srv/share", "/srv/share/nb-1", 2.0)
MOUNTED = "40 1 0:50 / /srv/share rw,relatime shared:9 - nfs4 files:/results rw,vers=4.2,hard\n"
BOUND = "41 1 8:1 /srv/source /srv/share rw,relatime shared:1 - ext4 /dev/sda1 rw\n"


@pytest.mark.parametrize(
    ("share", "mounts", "answer", "status", "words"),
    [
        (Share(), "", FINE, NOT_APPLICABLE, "no share is wished"),
        (NFS, MOUNTED, FINE, PASSED, "nfs4 from files:/results"),
        (BIND, BOUND, FINE, PASSED, "ext4"),
        (NFS, BOUND.replace("/srv/share", "/srv/other"), FINE, FAILED, "On the guest: mount /srv/share"),
        (NFS, MOUNTED.replace("files:/results", "old:/results"), FINE, FAILED, "umount /srv/share"),
        (NFS, MOUNTED, Completed(TIMED_OUT), FAILED, "umount -l /srv/share && mount /srv/share"),
        (
            NFS,
            MOUNTED,
            Completed(1, err="sh: 1: cannot create /srv/share/nb-1/.preflight: Stale file handle"),
            FAILED,
            "umount -l",
        ),
        (NFS, MOUNTED, Completed(2, err="sh: cannot create .preflight: Permission denied"), FAILED, "configure.yml"),
        (NFS, "garbage - x\n - \n", FINE, FAILED, "nothing is mounted"),
    ],
)
def test_the_share_answers_and_takes_results(
    share: Share, mounts: str, answer: Completed, status: str, words: str
) -> None:
    outcome = guest_share.judge(share, mounts, answer, {})
    assert outcome.status == status
    assert words in told(outcome)


def test_blanks_in_mount_points_are_read_as_the_kernel_writes_them() -> None:
    assert guest_share.mounted(MOUNTED.replace("/srv/share", "/srv/a\\040b"), "/srv/a b") == ("nfs4", "files:/results")


@pytest.mark.parametrize(("check_mode", "left"), [(True, []), (False, [])])
def test_trying_the_share_leaves_nothing_behind(tmp_path: Path, check_mode: bool, left: list[str]) -> None:
    command = guest_share.command(Share("bind", "/x", str(tmp_path), str(tmp_path)), check_mode)
    assert subprocess.run(command, check=False).returncode == 0
    assert list(tmp_path.iterdir()) == left
    gone = guest_share.command(Share("bind", "/x", str(tmp_path), f"{tmp_path}/gone"), check_mode)
    assert subprocess.run(gone, check=False).returncode != 0


def found(**changes: object) -> Completed:
    answer = {"missing": [], "broken": {}, "torch": None, "torch_cuda": None, "pillow": "10.1.0", **changes}
    return Completed(0, f"a module's own words\n{json.dumps(answer)}\n")


CUDNN = "Traceback\nOSError: libcudnn.so.8: cannot open shared object file: No such file or directory\n"


@pytest.mark.parametrize(
    ("modules", "answer", "check_mode", "status", "words"),
    [
        ([], FINE, False, NOT_APPLICABLE, "names no module"),
        (["PIL"], found(), False, PASSED, "all 1"),
        (["PIL", "peft"], found(missing=["peft"]), False, FAILED, "peft is not installed"),
        (["PIL", "peft"], found(missing=["PIL", "peft"]), False, FAILED, "PIL, peft are not installed"),
        (["PIL"], found(missing=["PIL"]), True, SKIPPED, "configure installs it"),
        (["torch"], found(broken={"torch": CUDNN}), False, FAILED, "torch is installed and cannot be imported"),
        (["torch"], Completed(-11), False, FAILED, "status -11"),
        (["torch"], Completed(0, '{"missing": 1}'), False, FAILED, "status 0"),
        (["torch"], Completed(TIMED_OUT), False, FAILED, "within 60 s"),
    ],
)
def test_the_models_packages(modules: list[str], answer: Completed, check_mode: bool, status: str, words: str) -> None:
    outcome = guest_packages.judge(modules, answer, check_mode, {})
    assert outcome.status == status
    assert words in told(outcome)


@pytest.mark.parametrize(("driver", "cause"), [("515.105.01", "cudnn-driver-mismatch"), ("535.54.03", "cudnn-absent")])
def test_a_missing_cudnn_has_two_causes_that_the_driver_tells_apart(driver: str, cause: str) -> None:
    answer = found(broken={"torch": CUDNN}, torch="2.1.0+cu121")
    outcome = guest_packages.judge(["torch"], answer, False, {"driver": driver, "cuda": "12.2", "torch_cuda": "12.1"})
    assert (outcome.cause, bool(outcome.fix)) == (cause, True)


def test_the_look_at_packages_tells_missing_from_broken(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise OSError('libcudnn.so.8: cannot open shared object file')\n")
    python, *words = guest_packages.command(sys.executable, ["PIL", "torch", "no_such_module"])
    # Without -I, so that the broken module can be given by the environment.
    plain = [word for word in words if word != "-I"]
    done = subprocess.run(
        [python, *plain], capture_output=True, text=True, check=True, env={"PYTHONPATH": str(tmp_path)}
    )
    answer = guest_packages.read(Completed(0, done.stdout))
    assert answer["missing"] == ["no_such_module"]
    assert "libcudnn.so.8" in answer["broken"]["torch"]
    assert answer["pillow"][0].isdigit()


def utf16(text: str) -> str:
    """What a reader in UTF-8 makes of wsl.exe's output."""
    return text.encode("utf-16-le").decode("utf-8", "replace")


@pytest.mark.parametrize(
    ("distributions", "pythons", "status", "words"),
    [
        (Completed(NOT_FOUND, err="wsl.exe: not found"), "C:\\conda\\python.exe\r\n", PASSED, "WSL is not installed"),
        (
            Completed(1, utf16("Windows Subsystem for Linux has no installed distributions.\r\n")),
            "",
            PASSED,
            "no distribution",
        ),
        (Completed(0, utf16("Ubuntu-20.04\r\ndocker-desktop\r\n")), "", FAILED, 'wsl.exe --unregister "Ubuntu-20.04"'),
        (Completed(0, ""), "C:\\conda\\python.exe\r\n", PASSED, ""),
        (Completed(NOT_FOUND), "\\\\wsl$\\Ubuntu\\usr\\bin\\python\r\n", FAILED, "Take this folder out of PATH"),
    ],
)
def test_no_wsl_beside_windows(distributions: Completed, pythons: str, status: str, words: str) -> None:
    outcome = windows.judge_wsl(distributions, Completed(0, pythons))
    assert outcome.status == status
    assert words in told(outcome)


@pytest.mark.parametrize(
    ("wished", "answer", "status"),
    [
        ("plain", Completed(0, "10.1.0\n"), NOT_APPLICABLE),
        ("simd", Completed(0, "9.5.0.post1\r\n"), PASSED),
        ("simd", Completed(0, "10.1.0\r\n"), FAILED),
        ("simd", Completed(1, err="ModuleNotFoundError: No module named 'PIL'"), FAILED),
        ("simd", Completed(NOT_FOUND, err="python.exe"), SKIPPED),
    ],
)
def test_pillow_simd_is_known_by_its_version(wished: str, answer: Completed, status: str) -> None:
    assert windows.judge_pillow(wished, answer).status == status
