# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Known causes inside the model's environment: packages, system libraries, pictures. The most specific first."""

from __future__ import annotations

from typing import Tuple

from .cause import Cause, Facts, Rule, anew, word, words
from .causes_gpu import CUDNN_MISSING
from .orders import CONFIGURE, PYTHON, REINSTALL
from .result import GUEST, Fix

_AGAIN = Fix("Install the model's packages again from their lock.", REINSTALL)


def _windows(facts: Facts) -> bool:
    return word(facts, "platform").lower() == "windows"


PYTHON_RULES: Tuple[Rule, ...] = (
    Rule(
        Cause(
            "foreign-nano-banana",
            "Somebody else's package nano-banana is installed instead of the engine",
            "The public index has a package 'nano-banana' that wraps a paid remote service. It installs a module of "
            "the engine's name (nano_banana, with vision.py in it, version '0.1.0' as well) and asks for the package "
            "openai and an API key. The engine's own distribution is called nano-banana-engine.",
            anew("Make the environment anew; never install nano-banana from an index."),
            "metadata and content of nano-banana 0.4.2 on the public Python index",
        ),
        words(
            r"nano_banana[/\\]+vision\.py|SIMEN_AI_API_KEY|No module named 'nano_banana\.\w+'|^Name: nano[-_]banana\s*$"
            r"|module 'nano_banana' has no attribute|cannot import name '\w{1,40}' from 'nano_banana'"
        ),
    ),
    Rule(
        Cause(
            "engine-missing",
            "The engine is not installed in this environment",
            "The environment's Python has no module nano_banana: it was made anew, or its installation was "
            "interrupted.",
            _AGAIN,
            "CPython, ModuleNotFoundError",
        ),
        words(r"No module named '?nano_banana'?\s*$"),
    ),
    Rule(
        Cause(
            "torch-xpu",
            "diffusers is newer than torch",
            "Current diffusers ask for torch.xpu, which torch 2.1 does not have. Both must come from one lock.",
            _AGAIN,
            "github.com/huggingface/diffusers/issues (torch has no attribute 'xpu')",
        ),
        words(r"module 'torch' has no attribute 'xpu'"),
    ),
    Rule(
        Cause(
            "glibc-too-old",
            "The package was built for a newer C library than this system has",
            "CentOS 7 has glibc 2.17. Wheels of torch from 2.6 on (manylinux_2_28), and of onnxruntime from 1.17 on, "
            "need 2.28.",
            Fix("Take the lock of this system (roles/model/files/locks, torch 2.5 or older on CentOS 7):", REINSTALL),
            "github.com/pytorch/pytorch/issues/123649; ld.so",
        ),
        words(r"version `?'?GLIBC(?:XX)?_[\d.]{1,12}'? not found"),
    ),
    Rule(
        Cause(
            "libgl-missing",
            "OpenCV wants a library of a desktop",
            "opencv-python needs libGL, which a server without a desktop does not have; opencv-python-headless does "
            "not.",
            Fix("Take opencv-python-headless into the lock in place of opencv-python, then:", REINSTALL),
            "github.com/opencv/opencv-python, README",
        ),
        words(r"libGL\.so\.1: cannot open shared object file"),
    ),
    Rule(
        Cause(
            "pillow-mixed",
            "Two Pillows are mixed in one environment",
            "Pillow and pillow-simd share the module PIL. One was installed over the other, so that PIL's Python "
            "files and its compiled part are of different versions.",
            anew("Make the environment anew; pillow-simd goes in last and without dependencies (pyenv_pillow)."),
            "Pillow, PIL/Image.py",
        ),
        words(r"_imaging extension was built for another version of Pillow|cannot import name '_imaging' from 'PIL'"),
    ),
    Rule(
        Cause(
            "cudnn-absent",
            "cuDNN's wheel is missing or incomplete in the environment",
            "torch brings cuDNN as a wheel of its own (nvidia-cudnn-cu12). The driver fits, nothing hides the wheel: "
            "it is not there, or files of it are gone. The system needs no cuDNN.",
            _AGAIN,
            "github.com/pytorch/pytorch/issues/104259",
            "cudnn",
        ),
        CUDNN_MISSING,
    ),
    Rule(
        Cause(
            "cuda-library-missing",
            "A CUDA library of torch's wheels is missing",
            "torch brings the CUDA libraries as wheels of its own (nvidia-*-cu12); one is not there or incomplete.",
            _AGAIN,
            "github.com/pytorch/pytorch/issues/131284",
        ),
        words(
            r"lib(?:cublas|cudart|cufft|curand|cusolver|cusparse|nccl|nvrtc|nvJitLink)[\w.-]{0,40}"
            r": cannot open shared object"
        ),
    ),
    Rule(
        Cause(
            "package-missing",
            "A Python package is missing in the environment",
            "A module that the model imports is not there: the environment was changed by hand or its installation "
            "was interrupted.",
            _AGAIN,
            "CPython, ModuleNotFoundError",
        ),
        words(r"ModuleNotFoundError: No module named|ImportError: No module named"),
    ),
)
_WRONG_COLOURS = words(
    r"\ball black\b|\bblack (?:picture|image)|colou?rs? (?:are )?shift|no white background"
    r"|red and blue (?:are )?swapped"
)
_UNREGISTER = (
    r"Get-ChildItem HKCU:\Software\Microsoft\Windows\CurrentVersion\Lxss | "
    r'ForEach-Object { wsl.exe --unregister $_.GetValue("DistributionName") }'
)
PICTURE_RULES: Tuple[Rule, ...] = (
    Rule(
        Cause(
            "nsfw-filter",
            "The safety checker replaced the picture by a black one",
            "diffusers' safety checker took the picture for one that it must not show.",
            Fix(
                "Load the pipeline without safety checker, as the model's profile does, or change prompt and seed.",
                CONFIGURE,
            ),
            "diffusers, pipelines/stable_diffusion/safety_checker.py",
        ),
        words(r"potential NSFW content was detected"),
    ),
    Rule(
        Cause(
            "vae-nan",
            "The VAE computed not-a-number, which is drawn black",
            "SDXL's VAE overflows in fp16. It has to run in fp32.",
            Fix("Keep the VAE in fp32 (the model's profile does so; look at its environment file).", CONFIGURE),
            "diffusers, image_processor.py: 'invalid value encountered in cast'",
        ),
        words(r"invalid value encountered in cast"),
    ),
    Rule(
        Cause(
            "pil-beside-wsl",
            "PIL of WSL2 beside the PIL of Windows",
            "A Python of WSL, or a second Pillow, is found before the environment's own: colours change places or the "
            "picture is black. Windows Server 2019 has WSL1 at most, so any WSL Python is one too many there.",
            Fix(
                "Unregister WSL's distributions, which deletes their files, and make the environment anew "
                f"(delete it, then type: {PYTHON}); pillow-simd goes in last.",
                _UNREGISTER,
                GUEST,
            ),
            "field report, trap 2; github.com/uploadcare/pillow-simd, README",
            "black-picture",
        ),
        _WRONG_COLOURS,
        when=_windows,
    ),
    Rule(
        Cause(
            "pil-shadowed",
            "Another PIL draws the pictures",
            "The picture is black or its colours changed places although the engine drew it: a PIL that is not the "
            "lock's is found first, or its files were replaced. On Windows that is the PIL of WSL2; elsewhere a "
            "second copy in the environment.",
            _AGAIN,
            "field report, trap 2; the module PIL belongs to Pillow and to pillow-simd alike",
            "black-picture",
        ),
        _WRONG_COLOURS,
    ),
)
SYSTEM_RULES: Tuple[Rule, ...] = (
    Rule(
        Cause(
            "disk-full",
            "A disk is full",
            "The file system has no space (or no inodes) left for what was to be written.",
            Fix("Make room on the file system that is full; df -h and df -i on the guest name it."),
            "errno 28, ENOSPC",
        ),
        words(r"No space left on device|\[Errno 28\]|There is not enough space on the disk|Disk quota exceeded"),
    ),
    Rule(
        Cause(
            "stale-share",
            "The output share's handle is stale",
            "The NFS server was restarted or its directory replaced while it was mounted here.",
            Fix("Unmount it with umount -l, then mount it again; guest.share has the command with its path."),
            "errno 116, ESTALE",
        ),
        words(r"stale (?:NFS )?file handle|\[Errno 116\]"),
    ),
    Rule(
        Cause(
            "killed-for-memory",
            "The kernel ended the program because memory ran out",
            "The guest, or the limit that was set for it (3.5 GB on stress), had no memory left.",
            Fix("On stress this is a result, not a fault. Elsewhere give the VM more memory (vm_memory_mb)."),
            "Linux kernel, OOM killer",
        ),
        words(r"Out of memory: Killed process|oom-kill:constraint=|Memory cgroup out of memory"),
    ),
)
