# SPDX-License-Identifier: GPL-3.0-or-later
"""Known causes: each is found in a real text, none in a healthy one, and what looks alike is told apart by facts.

The texts are re-typed excerpts; the comment before each says where it was published.
"""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.causes import (
    CAUSES,
    RULES,
    TAIL,
    Cause,
    diagnose,
)
from hypothesis import given, settings
from hypothesis import strategies as st

NO_CUDNN = "ImportError: libcudnn.so.8: cannot open shared object file: No such file or directory"
BLACK = "the picture is wrong: it is all black"
GATEWAY = "<html><head><title>503 Service Temporarily Unavailable</title></head></html>"

TEXTS: list[tuple[str, str]] = [
    # nvidia-smi: github.com/tinygrad/open-gpu-kernel-modules/issues/47
    ("nvml-mismatch", "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 570.124\n"),
    # kernel log of the same state: NVIDIA developer forum, "API mismatch"
    (
        "nvml-mismatch",
        "NVRM: API mismatch: the client has the version 535.161.07, but\nNVRM: this kernel module has 535.154.05",
    ),
    # nvidia-smi without its module: github.com/NVIDIA/nvidia-docker/issues
    (
        "driver-not-loaded",
        "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that the latest "
        "NVIDIA driver is installed and running.\n",
    ),
    # nvidia-smi, driver without a device
    ("no-device", "No devices were found\n"),
    # PyTorch on the same: cudaErrorNoDevice
    ("no-device", "RuntimeError: CUDA error: no CUDA-capable device is detected"),
    # github.com/lwfinger/rtl8723au/issues/58, with NVIDIA's module in its place
    ("secure-boot", "modprobe: ERROR: could not insert 'nvidia': Required key not available"),
    # github.com/linux-surface/linux-surface/issues/906
    ("secure-boot", "modprobe: ERROR: could not insert 'nvidia': Key was rejected by service"),
    # github.com/bryansteiner/gpu-passthrough-tutorial/issues/39
    ("gpu-init", "[   87.473074] NVRM: GPU 0000:01:00.0: RmInitAdapter failed! (0x22:0x56:667)"),
    # Dell KB 000199172
    ("gpu-bar", "PCIPassthru: total number of pages needed (4206594) exceeds limit (917504), failing"),
    # NVIDIA's kernel module, README of the Linux driver, chapter 8
    (
        "gpu-bar",
        "NVRM: This PCI I/O region assigned to your NVIDIA device is invalid:\nNVRM: BAR1 is 0M @ 0x0",
    ),
    # nvidia-smi -q of a guest before its token: NVML's state NVML_GRID_LICENSE_STATE_UNLICENSED_RESTRICTED
    ("vgpu-unlicensed", "        License Status                    : Unlicensed (Restricted)"),
    # nvidia-gridd: github.com/GreenDamTan/fastapi-dls_mirror/issues/3
    ("vgpu-unlicensed", "Valid GRID license not found. GPU features and performance will be restricted."),
    # github.com/easydiffusion/easydiffusion/issues/379
    ("cuda-803", "Error 803: system has unsupported display driver / cuda driver combination (Triggered internally at"),
    # github.com/NVIDIA/nvidia-docker/issues/1256
    ("cuda-803", "CUDA: Check failed: e == cudaSuccess (803 vs. 0) : system has unsupported display driver"),
    # github.com/DeepVAC/TorchPod/issues/43
    ("cuda-804", "Error 804: forward compatibility was attempted on non supported HW (Triggered internally at"),
    # github.com/DualCoder/vgpu_unlock/issues/51
    ("driver-insufficient", "CUDA driver version is insufficient for CUDA runtime version"),
    # torch/cuda/__init__.py, _lazy_init
    (
        "driver-insufficient",
        "The NVIDIA driver on your system is too old (found version 11040). Please update your GPU driver",
    ),
    # torch/cuda/__init__.py, _lazy_init
    ("no-driver", "RuntimeError: Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU"),
    # github.com/THU-MIG/yolov10/issues/395: cuDNN is there, the driver's library is not
    (
        "no-driver",
        "Could not load library libcudnn_cnn_infer.so.8. Error: libcuda.so: cannot open shared object file",
    ),
    # torch, c10/cuda/CUDAException.cpp
    ("no-kernel-image", "RuntimeError: CUDA error: no kernel image is available for execution on the device"),
    # torch/cuda/__init__.py, _check_cubins
    (
        "no-kernel-image",
        "Tesla K80 with CUDA capability sm_37 is not compatible with the current PyTorch installation.",
    ),
    # torch, c10/cuda/CUDACachingAllocator.cpp
    (
        "cuda-out-of-memory",
        "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB (GPU 0; 14.58 GiB",
    ),
    # CUDA runtime, cudaErrorDevicesUnavailable
    ("gpu-in-use", "RuntimeError: CUDA error: CUDA-capable device(s) is/are busy or unavailable"),
    # github.com/pytorch/pytorch/issues/104259
    ("cudnn-absent", NO_CUDNN),
    # github.com/pytorch/pytorch/issues/165812
    ("cudnn-absent", "ImportError: libcudnn.so.9: cannot open shared object file: No such file or directory"),
    # github.com/Purfview/whisper-standalone-win/issues/171
    (
        "cudnn-absent",
        "Could not load library libcudnn_ops_infer.so.8. Error: libcudnn_ops_infer.so.8: cannot open shared object "
        "file: No such file or directory",
    ),
    # github.com/bmaltais/kohya_ss/issues/1096
    (
        "cudnn-shadowed",
        "cuDNN version incompatibility: PyTorch was compiled  against (8, 7, 0) but found runtime version (8, 2, 4).",
    ),
    # github.com/pytorch/pytorch/issues/131284
    ("cuda-library-missing", "OSError: libcudart.so.12: cannot open shared object file: No such file or directory"),
    # github.com/pytorch/pytorch/issues/150724
    (
        "glibc-too-old",
        "ImportError: /lib64/libm.so.6: version `GLIBC_2.27' not found (required by /home/x/torch/lib/libcurand.so.10)",
    ),
    # torch 2.1 with a newer diffusers, as many requirements files note it
    ("torch-xpu", "AttributeError: module 'torch' has no attribute 'xpu'"),
    # opencv-python, README: "ImportError: libGL.so.1"
    ("libgl-missing", "ImportError: libGL.so.1: cannot open shared object file: No such file or directory"),
    # github.com/python-pillow/Pillow/pull/4633
    (
        "pillow-mixed",
        "The _imaging extension was built for another version of Pillow or PIL:\n"
        'Core version: "7.1.2"\nPillow version: 7.1.2',
    ),
    # CPython
    ("engine-missing", "ModuleNotFoundError: No module named 'nano_banana'\n"),
    ("engine-missing", "/home/tester/nano-env/bin/python: No module named nano_banana"),
    ("package-missing", "ModuleNotFoundError: No module named 'diffusers'"),
    # the content of nano-banana 0.4.2: nano_banana/vision.py imports openai, and its variable is SIMEN_AI_API_KEY
    (
        "foreign-nano-banana",
        'File "/v/lib/python3.10/site-packages/nano_banana/vision.py", line 10, in <module>\n'
        "    from openai import OpenAI\n"
        "ModuleNotFoundError: No module named 'openai'",
    ),
    ("foreign-nano-banana", "ModuleNotFoundError: No module named 'nano_banana.cli'"),
    ("foreign-nano-banana", "Name: nano-banana\nVersion: 0.4.2\nSummary: Simple wrapper"),
    # diffusers, pipelines/stable_diffusion/safety_checker.py
    (
        "nsfw-filter",
        "Potential NSFW content was detected in one or more images. A black image will be returned instead.",
    ),
    # github.com/huggingface/diffusers/issues/6815
    ("vae-nan", 'RuntimeWarning: invalid value encountered in cast\n  images = (images * 255).round().astype("uint8")'),
    # errno 28 as CPython and as NTFS say it
    ("disk-full", "OSError: [Errno 28] No space left on device: '/home/tester/nano-banana/output/a.png'"),
    ("disk-full", "System.IO.IOException: There is not enough space on the disk."),
    # errno 116, with the kernel's old and new words
    ("stale-share", "ls: cannot access 'output': Stale file handle"),
    ("stale-share", "df: output: Stale NFS file handle"),
    # Linux, mm/oom_kill.c
    ("killed-for-memory", "Out of memory: Killed process 4242 (python) total-vm:9012345kB, anon-rss:3456789kB"),
    ("killed-for-memory", "Memory cgroup out of memory: Killed process 17 (python)"),
    # nginx and requests
    ("http-503", GATEWAY),
    ("http-503", "requests.exceptions.HTTPError: 503 Server Error: Service Unavailable for url: http://a"),
    # umount(8) of util-linux
    ("busy-mount", "umount: /home/tester/nano-banana/output: target is busy."),
    ("busy-mount", "umount: /srv/share: device is busy"),
    # the field report's words
    ("snapshot-device-busy", "Error: device is busy"),
    # ESXi, power-on of a VM whose passed-through device another VM has
    ("device-held", "Module 'DevicePowerOn' power on failed. Device 0000:3b:00.0 is already in use."),
    # github.com/NVIDIA/NVSentinel/issues/155
    ("xid-79", "NVRM: Xid (PCI:0000:44:00): 79, GPU has fallen off the bus"),
    (
        "xid-79",
        "NVRM: (PCI ID: 10de:26b5) installed in this system has\nNVRM: fallen off the bus and is not responding",
    ),
    # github.com/leptonai/gpud/pull/46
    (
        "xid-13",
        "[Fri Aug 30 11:43:09 2024] NVRM: Xid (PCI:0000:cb:00): 13, pid='<unknown>', name=<unknown>, Graphics SM Warp",
    ),
    (
        "xid-109",
        "NVRM: Xid (PCI:0000:cb:00): 109, pid=1797828, name=pt_main_thread, Ch 00000008, errorString CTX SWITCH",
    ),
    # github.com/NVIDIA/open-gpu-kernel-modules/issues/363
    (
        "xid-31",
        "NVRM: Xid (PCI:0000:08:00): 31, pid=169800, name=chrome, Ch 00000023, intr 00000000. MMU Fault: ENGINE CE0",
    ),
    # a number that has no row here: github.com/NVIDIA/open-gpu-kernel-modules/issues/1134
    (
        "xid-other",
        "NVRM: Xid (PCI:0000:01:00): 154, GPU recovery action changed from 0x0 (None) to 0x2 (Node Reboot Required)",
    ),
]

HEALTHY = [
    "",
    "Python 3.10.12\n",
    "0.1.0\n/home/tester/nano-env/lib/python3.10/site-packages/nano_banana/__init__.py\n",
    "Name: nano-banana-engine\nVersion: 0.1.0\n",
    "| NVIDIA-SMI 535.113.01             Driver Version: 535.113.01   CUDA Version: 12.2     |\n"
    "|   0  Tesla T4                       Off | 00000000:3B:00.0 Off |                    0 |\n"
    "| N/A   29C    P8               9W /  70W |      2MiB / 15360MiB |      0%      Default |\n"
    "|  No running processes found                                                           |\n",
    "        License Status                    : Licensed (Expiry: 2026-12-1 8:0:0 GMT)\n"
    "    FB Memory Usage\n        Total : 15360 MiB\n        Reserved : 503 MiB\n",
    '{"output": "/o/p.png", "backend": "preview", "seed": 12345, "width": 503, "height": 503, "seconds": 0.8}',
    '{"format": "PNG", "brightness": [0, 255], "dominant": [248, 248, 248], "share": 0.61}',
    "0 MB\n",
    "nvidia 62709760 0 - Live 0x0000000000000000 (PO)\n",
    "NVRM: loading NVIDIA UNIX x86_64 Kernel Module  535.113.01  Tue Aug 15 00:00:00 UTC 2023",
    "Filesystem Size Used Avail Use% Mounted on\n/dev/sdb 20G 503M 19G 3% /data\n",
]


def found(text: str, **facts: Any) -> str:
    cause = diagnose(text, facts)
    return cause.id if cause else ""


@pytest.mark.parametrize(("cause", "text"), TEXTS, ids=[f"{row[0]}-{number}" for number, row in enumerate(TEXTS)])
def test_a_text_as_tools_print_it_leads_to_its_cause(cause: str, text: str) -> None:
    assert found(text) == cause
    assert found(f"some line before\n{text}\nsome line after\n") == cause
    assert found(text.replace("\n", "\r\n")) == cause


# NVIDIA's kernel module writes every Xid in this form, with or without pid and name.
@pytest.mark.parametrize("number", sorted(int(name[4:]) for name in CAUSES if re.match(r"xid-\d", name)))
@pytest.mark.parametrize("rest", [", pid=1234, name=python, Ch 00000008", ", ", " "])
def test_every_xid_of_the_table_is_known_by_its_number(number: int, rest: str) -> None:
    assert found(f"[  412.101] NVRM: Xid (PCI:0000:3b:00): {number}{rest}") == f"xid-{number}"


def test_every_cause_is_found_by_some_test() -> None:
    proved = {cause for cause, _text in TEXTS} | {name for name in CAUSES if re.match(r"xid-\d", name)}
    proved |= {row[0] for row in ALIKE} | {cause for cause, _text in CONFLICTS}
    assert set(CAUSES) - proved == set()


@pytest.mark.parametrize("text", HEALTHY)
@pytest.mark.parametrize(
    "facts", [{}, {"platform": "windows"}, {"balloon_mb": 512, "snapshots": 1, "passthrough": True}]
)
def test_a_healthy_text_has_no_cause(text: str, facts: dict[str, Any]) -> None:
    assert diagnose(text, facts) is None


SLOW = {"first": True, "seconds": 41.0, "limit": 30.0}
ALIKE: list[tuple[str, str, dict[str, Any]]] = [
    # Trap 1: the same line of the loader.
    ("cudnn-driver-mismatch", NO_CUDNN, {"driver": "470.82.01", "torch_cuda": "12.1"}),
    ("cudnn-driver-mismatch", NO_CUDNN, {"driver": "470.82.01", "torch_cuda": "12.1", "ld_library_path": "/opt/cudnn"}),
    ("cudnn-driver-mismatch", NO_CUDNN, {"driver": "525.60.13", "torch_cuda": "12.1", "strict": True}),
    ("cudnn-driver-mismatch", NO_CUDNN, {"cuda": "11.4", "torch_cuda": "12.1"}),
    ("cudnn-absent", NO_CUDNN, {"driver": "525.60.13", "torch_cuda": "12.1", "strict": False}),
    ("cudnn-absent", NO_CUDNN, {"driver": "535.183.06", "torch_cuda": "12.1"}),
    ("cudnn-absent", NO_CUDNN, {"driver": "535.183.06", "torch_cuda": "99.9"}),
    ("cudnn-absent", NO_CUDNN, {"driver": "nonsense", "torch_cuda": "12.1"}),
    ("cudnn-absent", NO_CUDNN, {"cuda": "12.2", "torch_cuda": "12.1"}),
    ("cudnn-shadowed", NO_CUDNN, {"driver": "535.183.06", "torch_cuda": "12.1", "ld_library_path": "/opt/cudnn"}),
    ("cudnn-shadowed", NO_CUDNN, {"system_cudnn": True}),
    ("cudnn-shadowed", NO_CUDNN + "\nLD_LIBRARY_PATH=/usr/local/cuda-12.1/lib64", {}),
    ("cudnn-absent", NO_CUDNN, {"system_cudnn": False, "ld_library_path": ""}),
    # Trap 2: only Windows has WSL.
    ("pil-beside-wsl", BLACK, {"platform": "windows"}),
    (
        "pil-beside-wsl",
        "the picture is wrong: its dominant colour (3, 9, 201) is no white background",
        {"platform": "Windows"},
    ),
    ("pil-shadowed", BLACK, {"platform": "linux"}),
    ("pil-shadowed", BLACK, {}),
    # Trap 3: balloon before queue, since the balloon fills the queue.
    ("balloon-503", GATEWAY, {"balloon_mb": 512}),
    ("balloon-503", GATEWAY, {"balloon_mb": "64", "queue": "full"}),
    ("queue-full-503", GATEWAY, {"balloon_mb": 0, "queue": "full"}),
    ("queue-full-503", 'HTTP/1.1 503\n\n{"reason": "queue full"}', {"balloon_mb": 0}),
    ("http-503", GATEWAY, {"balloon_mb": 0, "queue": ""}),
    # Trap 4: text alone cannot tell, and what takes memory away comes first.
    ("page-sharing", "", SLOW),
    ("page-sharing", "nothing after 41.0 s", {"first": True, "seconds": 30.5}),
    ("swapped-first-inference", "", {**SLOW, "swapped_mb": 12}),
    ("ballooned-first-inference", "", {**SLOW, "balloon_mb": 12}),
    # Trap 5: a fact that says no decides.
    ("snapshot-device-busy", "device is busy", {"passthrough": True, "snapshots": 1}),
    ("snapshot-device-busy", "Device 0000:3b:00.0 is already in use.", {"passthrough": True, "snapshots": 1}),
    ("snapshot-device-busy", "OSError: [Errno 16] Device or resource busy", {"passthrough": True, "snapshots": 2}),
    ("device-held", "device is busy", {"passthrough": True, "snapshots": 0}),
    ("device-held", "device is busy", {"passthrough": False, "snapshots": 3}),
    ("", "OSError: [Errno 16] Device or resource busy", {}),
    # No cause at the limit, at a later inference, or without a figure.
    ("", "", {"first": True, "seconds": 30.0, "limit": 30.0}),
    ("", "", {"first": False, "seconds": 99.0}),
    ("", "", {"first": True}),
    ("", "", {"first": True, "seconds": "soon"}),
]


@pytest.mark.parametrize(("cause", "text", "facts"), ALIKE)
def test_facts_tell_apart_what_looks_alike(cause: str, text: str, facts: dict[str, Any]) -> None:
    assert found(text, **facts) == cause


CONFLICTS = [
    # A full disk breaks whatever comes next.
    ("disk-full", f"{NO_CUDNN}\nOSError: [Errno 28] No space left on device"),
    # github.com/madMAx43v3r/chia-gigahorse/issues/301: the gravest of three
    (
        "xid-62",
        "NVRM: Xid (PCI:0000:0a:00): 31, pid=13332, name=cuda_plot_k32_v, Ch 00000010, intr 00000000. MMU Fault\n"
        "NVRM: Xid (PCI:0000:0a:00): 62, pid='<unknown>', name=<unknown>, 2023b230 20238a3a\n"
        "NVRM: Xid (PCI:0000:0a:00): 45, pid='<unknown>', name=<unknown>, Ch 00000008\n",
    ),
    # Unsigned, hence not loaded: the reason, not what follows from it.
    (
        "secure-boot",
        "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n"
        "modprobe: ERROR: could not insert 'nvidia': Key was rejected by service",
    ),
    # github.com/bryansteiner/gpu-passthrough-tutorial/issues/39: the adapter fails, so no device is there
    ("gpu-init", "No devices were found\nNVRM: GPU 0000:01:00.0: RmInitAdapter failed! (0x22:0x56:667)"),
    ("foreign-nano-banana", "nano_banana/vision.py\nModuleNotFoundError: No module named 'openai'"),
    ("xid-79", "No devices were found\nNVRM: Xid (PCI:0000:44:00): 79, pid=1, GPU has fallen off the bus."),
    ("cuda-out-of-memory", f"torch.cuda.OutOfMemoryError: CUDA out of memory.\n{GATEWAY}"),
    ("vae-nan", f"RuntimeWarning: invalid value encountered in cast\n{BLACK}"),
]


@pytest.mark.parametrize(("cause", "text"), CONFLICTS)
def test_of_several_causes_the_one_that_explains_the_others_wins(cause: str, text: str) -> None:
    assert found(text) == cause
    assert found("\n".join(reversed(text.splitlines()))) == cause


def test_the_five_traps_are_known_by_name() -> None:
    traps = {cause.trap for cause in CAUSES.values() if cause.trap}
    assert traps == {"cudnn", "black-picture", "balloon-503", "slow-first-inference", "device-busy"}


@pytest.mark.parametrize("cause", CAUSES.values(), ids=lambda cause: str(cause.id))
def test_every_cause_says_what_why_how_and_who_says_so(cause: Cause) -> None:
    assert re.match(r"^[a-z0-9]+(-[a-z0-9]+)*$", cause.id)
    assert all((cause.title, cause.source, cause.fix.text))
    assert cause.explanation.endswith(".")
    assert len(cause.explanation) > 40
    # Only these words may have to be filled in; whoever diagnoses has them.
    assert set(re.findall(r"\{(\w+)\}", cause.fix.text + cause.fix.run)) <= {"name", "venv"}
    # Restarting, deleting and making anew are for people to decide.
    assert not cause.fix.automatic


def test_one_cause_has_one_meaning_however_many_rules_lead_to_it() -> None:
    assert all(CAUSES[rule.cause.id] is rule.cause for rule in RULES)


def test_orders_for_windows_are_orders_that_windows_knows() -> None:
    on_windows = diagnose("ModuleNotFoundError: No module named 'nano_banana'", {"platform": "windows"})
    assert on_windows is not None
    assert (on_windows.fix.run, on_windows.fix.where) == ("Remove-Item -Recurse -Force '{venv}'", "guest")
    mismatch = diagnose("Failed to initialize NVML: Driver/library version mismatch", {"platform": "windows"})
    assert mismatch is not None
    assert mismatch.fix.run == "Restart-Computer -Force"


def test_only_the_end_of_a_long_text_counts() -> None:
    assert found(NO_CUDNN + "x" * TAIL) == ""
    assert found("x" * TAIL + "\n" + NO_CUDNN) == "cudnn-absent"


# Runs of what the patterns repeat; a pattern that backtracks would not end here.
HARD = [
    "libcudnn",
    "HTTP",
    "503 ",
    "device ",
    "a" * 50,
    "umount: ",
    "NVRM: Xid (PCI:",
    "status ",
    "\n",
    "GLIBC_2",
    "lib",
    " ",
]


@pytest.mark.parametrize("word", HARD)
def test_a_nasty_text_takes_no_longer_than_a_moment(word: str) -> None:
    text = word * (2 * TAIL // len(word))
    started = time.process_time()
    diagnose(text, {"driver": "470.82.01", "torch_cuda": "12.1"})
    # Measured: 0.1 to 0.3 s; the limit leaves room for a loaded machine.
    assert time.process_time() - started < 2.0


PIECES = st.lists(st.one_of(st.text(max_size=40), st.sampled_from([text for _cause, text in TEXTS] + HARD)), max_size=8)
FACTS = st.dictionaries(
    st.sampled_from(
        [
            "driver",
            "cuda",
            "torch_cuda",
            "strict",
            "balloon_mb",
            "swapped_mb",
            "queue",
            "platform",
            "snapshots",
            "first",
        ]
    ),
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=12), st.lists(st.integers(), max_size=2)
    ),
)


@settings(deadline=None, max_examples=150)
@given(PIECES, FACTS)
def test_whatever_is_written_the_answer_is_a_cause_or_none(pieces: list[str], facts: dict[str, Any]) -> None:
    cause = diagnose("\n".join(pieces), facts)
    assert cause is None or cause.id in CAUSES
