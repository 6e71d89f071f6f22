# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Known causes between GPU, driver and CUDA, the most specific first."""

from __future__ import annotations

from typing import Tuple

from .cause import Cause, Facts, Rule, reboot, word, words
from .causes_xid import OTHER_XID, XID_RULES
from .nvidia_versions import judge
from .orders import DRIVER, PROVISION
from .result import FAILED, Fix

_MATRIX = "docs.nvidia.com/deploy/cuda-compatibility"
_PYTORCH = "PyTorch, c10/cuda and torch/cuda/__init__.py"
_DRIVER_FIX = Fix(
    "Set nvidia_driver_branch in group_vars to a branch that has at least this CUDA's driver (table in "
    "checks/data/nvidia.py), or take a build of torch for an older CUDA.",
    DRIVER,
)
_LIBRARY = r"(?:cannot open shared object file|could not load library|unable to load any of|no such file or directory)"


def too_old(facts: Facts) -> bool:
    """Whether NVIDIA's table says that the driver does not run torch's CUDA; False where a figure is missing."""
    driver, wanted, own = word(facts, "driver"), word(facts, "torch_cuda"), word(facts, "cuda")
    platform = word(facts, "platform").lower() or "linux"
    if driver and wanted:
        verdict = judge(driver, wanted, bool(facts.get("strict")), platform)
        # Without a minimum the table does not know this CUDA or driver, which proves nothing.
        return verdict.status == FAILED and bool(verdict.minimum)
    majors = [each.split(".", maxsplit=1)[0] for each in (own, wanted)]
    return all(each.isdecimal() for each in majors) and int(majors[0]) < int(majors[1])


def _shadowed(facts: Facts) -> bool:
    """Whether something outside the environment brings a cuDNN, too."""
    return bool(word(facts, "ld_library_path") or facts.get("system_cudnn"))


CUDNN_MISSING = words(rf"libcudnn[\w.-]{{0,60}}\.so.{{0,200}}{_LIBRARY}|{_LIBRARY}.{{0,200}}libcudnn[\w.-]{{0,60}}\.so")
_MISMATCH = Cause(
    "cudnn-driver-mismatch",
    "Driver and CUDA do not match, shown as a missing libcudnn.so.8",
    "The loader names cuDNN, but the driver is older than what torch's CUDA needs by NVIDIA's table. Installing cuDNN "
    "changes nothing then: first the driver has to fit, and only if the message stays is the wheel to blame.",
    _DRIVER_FIX,
    f"{_MATRIX}; field report, trap 1",
    "cudnn",
)
_SHADOWED = Cause(
    "cudnn-shadowed",
    "Another cuDNN hides the one of torch's wheels",
    "torch brings its cuDNN as a wheel (nvidia-cudnn-cu12) and finds it by its own path. A folder in LD_LIBRARY_PATH "
    "or a copy of the system comes first in the loader's search, and has another version or lacks a part.",
    Fix(
        "Take cuDNN out of LD_LIBRARY_PATH and out of the loader's configuration. This names on the guest what hides "
        "it: grep -rs LD_LIBRARY_PATH /etc/environment /etc/profile.d /etc/systemd/system; ldconfig -p | grep cudnn",
    ),
    "github.com/pytorch/pytorch/issues/104259; PyTorch's message 'cuDNN version incompatibility'",
    "cudnn",
)
_CUDNN = (
    Rule(_MISMATCH, CUDNN_MISSING, when=too_old),
    Rule(_SHADOWED, CUDNN_MISSING, when=_shadowed),
    Rule(_SHADOWED, CUDNN_MISSING, also=words(r"LD_LIBRARY_PATH|/usr/(?:local|lib)\S{0,200}libcudnn")),
    Rule(_SHADOWED, words(r"cudnn version (?:incompatibility|mismatch)|libcudnn\S{0,80}: undefined symbol")),
)
_DRIVER = (
    Rule(
        Cause(
            "nvml-mismatch",
            "The driver's library and the loaded kernel module have different versions",
            "The driver was updated on disk while the old kernel module stayed loaded. Every program that uses NVML "
            "or CUDA fails until the new module is loaded.",
            reboot("Restart the guest: it then loads the module that belongs to the library."),
            "nvidia-smi; github.com/NVIDIA/nvidia-docker/issues",
        ),
        words(r"driver/library version mismatch|API mismatch: the client has the version"),
    ),
    Rule(
        Cause(
            "secure-boot",
            "Secure Boot refuses the driver's kernel module",
            "The module is not signed by a key that the firmware trusts, so the kernel does not load it. Modules that "
            "DKMS or a runfile built on the guest are such; those of Ubuntu's linux-modules-nvidia packages are "
            "signed.",
            Fix(
                "Set nvidia_driver_source: distribution on Ubuntu, or turn Secure Boot off in the VM's boot options.",
                DRIVER,
            ),
            "Linux kernel, module signing facility (ENOKEY, EKEYREJECTED)",
        ),
        words(r"required key not available|key was rejected by service|loading of unsigned module is rejected"),
    ),
    Rule(
        Cause(
            "gpu-bar",
            "The GPU's memory is not mapped into the VM",
            "The VM gave the GPU no room in its address space: GPUs above 16 GB, and vGPUs of C profiles, need EFI "
            "firmware and 64-bit MMIO (pciPassthru.use64bitMMIO and pciPassthru.64bitMMIOSizeGB).",
            Fix(
                "Leave both keys out of vm_tweaks.extra_config, so that fleet computes them, and take an EFI template.",
                PROVISION,
            ),
            "NVRM's own message; Dell KB 000199172",
        ),
        words(
            r"NVRM: BAR\d is 0M|PCI I/O region assigned to your NVIDIA device is invalid"
            r"|total number of pages needed .{0,40}exceeds"
        ),
    ),
    *XID_RULES,
    OTHER_XID,
    Rule(
        Cause(
            "gpu-init",
            "The driver found the GPU and could not start it",
            "The kernel module's initialisation of the adapter failed. In a VM the usual reasons are a guest driver "
            "of another kind or release than the host's (vGPU), or a GPU that its last user left in a bad state.",
            reboot("Restart the guest; with a vGPU compare the guest driver's release with the host's."),
            "NVRM: RmInitAdapter failed",
        ),
        words(r"RmInitAdapter failed|rm_init_adapter failed"),
    ),
    Rule(
        Cause(
            "driver-not-loaded",
            "The driver's kernel module is not loaded",
            "nvidia-smi is installed, but no kernel module answers it: none was built for the running kernel, nouveau "
            "holds the device, or the module was refused.",
            Fix(
                "Install the driver for the running kernel; the reason stands in the guest's kernel log (dmesg).",
                DRIVER,
            ),
            "nvidia-smi",
        ),
        words(r"couldn't communicate with the NVIDIA driver|could not communicate with the NVIDIA driver"),
    ),
    Rule(
        Cause(
            "no-device",
            "The driver is loaded and sees no GPU",
            "The module is there and no device answers: the VM has no GPU, the host does not pass it through, or the "
            "driver does not know this GPU (open modules start at Turing).",
            Fix("See that the VM has its GPU (vm_gpu); a VM that lost it gets it again:", PROVISION),
            "nvidia-smi; CUDA runtime, cudaErrorNoDevice",
        ),
        words(r"^no devices were found|no CUDA-capable device is detected"),
    ),
    Rule(
        Cause(
            "vgpu-unlicensed",
            "The vGPU has no licence",
            "Without a licence NVIDIA's vGPU slows down after some minutes and CUDA stops working. The guest needs a "
            "token that its licence server accepts, a working clock, and a way to that server.",
            Fix("Put a valid token into nvidia_driver_vgpu_token (Ansible Vault).", DRIVER),
            "NVIDIA Virtual GPU Software licensing guide",
        ),
        words(r"license status\s{0,40}: unlicensed|valid GRID license not found|failed to acquire license"),
    ),
)
_CUDA = (
    Rule(
        Cause(
            "cuda-803",
            "CUDA error 803: the driver's library and its kernel module do not belong together",
            "Two copies of libcuda are about: the one that was loaded is of another release than the kernel module, "
            "mostly from a cuda-compat package or a container.",
            reboot("Remove the cuda-compat package and restart the guest."),
            f"{_MATRIX}; CUDA runtime, cudaErrorSystemDriverMismatch",
        ),
        words(r"error 803\b|\(803 vs\. 0\)|unsupported display driver / cuda driver combination"),
    ),
    Rule(
        Cause(
            "cuda-804",
            "CUDA error 804: forward compatibility on a GPU that has none",
            "A cuda-compat library is loaded; it serves data centre GPUs alone. Without it, CUDA is too new for the "
            "driver.",
            Fix("Remove the cuda-compat package, and set nvidia_driver_branch to one that has this CUDA.", DRIVER),
            f"{_MATRIX}, forward compatibility; cudaErrorCompatNotSupportedOnDevice",
        ),
        words(r"error 804\b|\(804 vs\. 0\)|forward compatibility was attempted on non supported HW"),
    ),
    Rule(
        Cause(
            "driver-insufficient",
            "The driver is too old for the program's CUDA",
            "The CUDA runtime inside the program (torch carries its own) needs a newer driver than the guest has.",
            _DRIVER_FIX,
            f"{_MATRIX}; cudaErrorInsufficientDriver; {_PYTORCH}",
        ),
        words(r"driver version is insufficient for CUDA runtime|NVIDIA driver on your system is too old"),
    ),
    Rule(
        Cause(
            "no-driver",
            "torch finds no NVIDIA driver",
            "libcuda, which the driver brings, is not there: no driver is installed, or only its headless parts "
            "without compute.",
            Fix("Install the driver: set nvidia_driver_branch and nvidia_driver_required in group_vars.", DRIVER),
            _PYTORCH,
        ),
        words(
            rf"found no NVIDIA driver on your system|libcuda\.so[\d.]{{0,20}}.{{0,40}}{_LIBRARY}"
            r"|nvidia-smi: (?:command )?not found"
        ),
    ),
)
_PROGRAM = (
    Rule(
        Cause(
            "no-kernel-image",
            "The program was not built for this generation of GPU",
            "torch's wheels hold code for certain compute capabilities; this GPU's is not among them (too old or too "
            "new).",
            Fix(
                "Take the lock of a torch build that has this GPU (model_variant, model_lock), or another GPU.",
                DRIVER,
            ),
            f"cudaErrorNoKernelImageForDevice; {_PYTORCH}",
        ),
        words(r"no kernel image is available for execution|is not compatible with the current PyTorch installation"),
    ),
    Rule(
        Cause(
            "cuda-out-of-memory",
            "Video memory is full",
            "The GPU had no memory left for what was asked: another process holds some, or the model, batch or "
            "picture is too big for this profile of GPU.",
            Fix("End what is left over on the GPU (nvidia-smi on the guest names it), or ask for less at once."),
            f"torch.cuda.OutOfMemoryError; {_PYTORCH}",
        ),
        words(r"CUDA out of memory|OutOfMemoryError: CUDA|CUDA error: out of memory|CUBLAS_STATUS_ALLOC_FAILED"),
    ),
    Rule(
        Cause(
            "gpu-in-use",
            "Another process has the GPU for itself",
            "The GPU is in an exclusive compute mode and a process holds it.",
            Fix("End the process that holds it; nvidia-smi on the guest names it."),
            "CUDA runtime, cudaErrorDevicesUnavailable",
        ),
        words(r"CUDA-capable device\(s\) is/are busy or unavailable|all CUDA-capable devices are busy"),
    ),
)
# A missing libcuda is not a missing cuDNN, though both stand in one message.
GPU_RULES: Tuple[Rule, ...] = (*_DRIVER, *_CUDA, *_CUDNN, *_PROGRAM)
