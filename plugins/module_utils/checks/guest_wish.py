# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the guest gate compares a guest with, from the options of its modules."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, Mapping, Tuple

from . import gpu_fit, gpu_present
from .guest_share import Share
from .model_picture import Order


@dataclass(frozen=True)
class Gpu:
    """The GPU: ``policy`` required, optional or none; ``root`` the PCI bus; sizes in MiB."""

    policy: str = gpu_present.NONE
    root: str = gpu_present.BUS
    branch: str = ""
    version: str = ""
    kind: str = gpu_fit.PASSTHROUGH
    cuda: str = ""
    cuda_policy: str = gpu_fit.MINOR_VERSION
    needed_mib: int = 0
    used_mib: int = 200


@dataclass(frozen=True)
class System:
    """Kernel, swap and data disk; ``disk`` is empty where none is wished, ``disk_mb_per_second`` a lower bound."""

    isolated: Tuple[int, ...] = ()
    swap_off: bool = False
    disk: str = ""
    disk_free_mb: int = 1000
    disk_mb_per_second: float = 50.0


@dataclass(frozen=True)
class Model:
    """The model's profile: whether it brings the engine, its other modules, and the first picture's limit in s."""

    engine: bool = True
    modules: Tuple[str, ...] = ()
    first_seconds: float = 30.0
    pillow: str = "plain"


@dataclass(frozen=True)
class Wish:
    """``name`` is the inventory's name of the guest, ``user`` runs the model there."""

    name: str
    os: str
    allow_stand_in: bool
    python: str
    venv: str
    picture: Order
    user: str = "tester"
    environment: str = ""
    system: System = field(default_factory=System)
    share: Share = field(default_factory=Share)
    gpu: Gpu = field(default_factory=Gpu)
    model: Model = field(default_factory=Model)
    platform: str = "linux"
    check_mode: bool = False

    @property
    def interpreter(self) -> str:
        """The environment's Python."""
        return self.picture.python

    def values(self) -> Dict[str, str]:
        """What fills the words in braces in a fix."""
        return {
            "name": self.name,
            "user": self.user,
            "venv": self.venv,
            "python": self.interpreter,
            "engine": self.picture.engine,
            "disk": self.system.disk,
            "share": self.share.path,
            "share_mount": self.share.path,
        }


def options() -> Dict[str, Dict[str, Any]]:
    """The options that the guest gate's modules have in common, as AnsibleModule takes them."""
    return {
        "name": {"type": "str", "required": True},
        "user": {"type": "str", "default": "tester"},
        "environment": {"type": "str", "default": ""},
        "fail_on": {"type": "str", "default": "failed", "choices": ["failed", "never"]},
        "os_expected": {"type": "str", "default": ""},
        "allow_stand_in": {"type": "bool", "default": False},
        "python_expected": {"type": "str", "default": ""},
        "venv": {"type": "path", "required": True},
        "isolated_cores": {"type": "list", "elements": "int", "default": []},
        "swap_off": {"type": "bool", "default": False},
        "disk_path": {"type": "str", "default": ""},
        "disk_free_mb": {"type": "int", "default": 1000},
        "disk_mb_per_second": {"type": "float", "default": 50.0},
        "share_type": {"type": "str", "default": "none", "choices": ["none", "nfs", "bind"]},
        "share_source": {"type": "str", "default": ""},
        "share_path": {"type": "str", "default": ""},
        "share_folder": {"type": "str", "default": ""},
        "share_seconds": {"type": "float", "default": 2.0},
        "gpu": {"type": "str", "default": "none", "choices": ["required", "optional", "none"]},
        "gpu_pci_root": {"type": "str", "default": gpu_present.BUS},
        "gpu_used_mb": {"type": "int", "default": 200},
        "driver_branch": {"type": "str", "default": ""},
        "driver_version": {"type": "str", "default": ""},
        "driver_kind": {"type": "str", "default": "passthrough", "choices": ["passthrough", "vgpu"]},
        "cuda": {"type": "str", "default": ""},
        "cuda_policy": {"type": "str", "default": "minor_version", "choices": ["strict", "minor_version"]},
        "engine": {"type": "bool", "default": True},
        "modules": {"type": "list", "elements": "str", "default": []},
        "pillow": {"type": "str", "default": "plain"},
        "video_memory_mb": {"type": "int", "default": 0},
        "picture_path": {"type": "path", "required": True},
        "picture_prompt": {"type": "str", "required": True},
        "picture_backend": {"type": "str", "default": "preview"},
        "picture_timeout": {"type": "float", "default": 60.0},
        "first_inference_seconds": {"type": "float", "default": 30.0},
    }


def from_options(params: Mapping[str, Any], check_mode: bool, platform: str = "linux") -> Wish:
    """The wish from a module's options; on Windows programs lie elsewhere in an environment."""
    windows = platform == "windows"
    venv = params["venv"]
    python = f"{venv}\\python.exe" if windows else f"{venv}/bin/python"
    engine = f"{venv}\\Scripts\\nano-banana.exe" if windows else f"{venv}/bin/nano-banana"
    return Wish(
        name=params["name"],
        user=params["user"],
        environment=params["environment"],
        os=params["os_expected"],
        allow_stand_in=params["allow_stand_in"],
        python=params["python_expected"],
        venv=venv,
        system=_system(params),
        share=Share(
            kind=params["share_type"],
            source=params["share_source"],
            path=params["share_path"],
            folder=params["share_folder"] or params["share_path"],
            seconds=params["share_seconds"],
        ),
        gpu=_gpu(params),
        model=_model(params),
        platform=platform,
        check_mode=check_mode,
        picture=Order(
            engine=engine,
            python=python,
            output=params["picture_path"],
            prompt=params["picture_prompt"],
            backend=params["picture_backend"],
            timeout=params["picture_timeout"],
        ),
    )


def _system(params: Mapping[str, Any]) -> System:
    return System(
        isolated=tuple(params["isolated_cores"]),
        swap_off=params["swap_off"],
        disk=params["disk_path"].rstrip("/"),
        disk_free_mb=params["disk_free_mb"],
        disk_mb_per_second=params["disk_mb_per_second"],
    )


def _gpu(params: Mapping[str, Any]) -> Gpu:
    return Gpu(
        policy=params["gpu"],
        root=params["gpu_pci_root"].rstrip("/"),
        branch=params["driver_branch"],
        version=params["driver_version"],
        kind=params["driver_kind"],
        cuda=params["cuda"],
        cuda_policy=params["cuda_policy"],
        needed_mib=params["video_memory_mb"],
        used_mib=params["gpu_used_mb"],
    )


def _model(params: Mapping[str, Any]) -> Model:
    # The engine has a check of its own, which says more than that it is there.
    modules = tuple(name for name in params["modules"] if name != "nano_banana")
    return Model(params["engine"], modules, params["first_inference_seconds"], params["pillow"])
