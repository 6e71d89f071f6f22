# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guest gate of a Windows host: what is asked of it, and how its answers are judged on the control node."""

from __future__ import annotations

import inspect
from dataclasses import replace
from functools import partial
from typing import Any, Dict, List, Mapping, Tuple

from . import (
    catalogue_guest,
    guest_machine,
    guest_memory,
    guest_os,
    guest_packages,
    guest_python,
    guest_wish,
    model_import,
    model_picture,
    picture_probe,
    windows,
    windows_judges,
)
from .causes import CAUSES, for_windows
from .guest_wish import Wish
from .host import NOT_FOUND, TIMED_OUT, Completed
from .orders import DISK
from .recorded import Program, RecordedHost
from .result import NOT_APPLICABLE, SKIPPED, Check, Fix, Outcome, Probe, Result, run_checks

TOOLS = r"C:\Program Files\VMware\VMware Tools\VMwareToolboxCmd.exe"
TOOLS_SECONDS = 10.0
SHARE = "share"
# The options of the guest gate that make sense there; the others keep their defaults.
OPTIONS = (
    *("name", "user", "environment", "fail_on", "os_expected", "allow_stand_in", "python_expected", "venv"),
    *("disk_path", "disk_free_mb", "share_path", "share_seconds", "engine", "modules", "pillow"),
    *("picture_path", "picture_prompt", "picture_backend", "picture_timeout", "first_inference_seconds"),
)
_AGAIN = for_windows(CAUSES["engine-missing"]).fix
# What mends it there in another way than on Linux.
FIXES: Mapping[str, Fix] = {
    "guest.data_disk": Fix("Make room on the volume; where it is missing, make it.", DISK),
    "guest.share": Fix("See that the file server is up and lets the connection's user in, then link it.", DISK),
    "windows.wsl": for_windows(CAUSES["pil-beside-wsl"]).fix,
    "windows.pillow_simd": _AGAIN,
    "guest.packages": _AGAIN,
    "model.import": _AGAIN,
    "model.picture": _AGAIN,
}


def options() -> Dict[str, Dict[str, Any]]:
    """The options of win_preflight. Paths are the guest's, so they stay text, and they have a default."""
    common = guest_wish.options()
    found = {name: dict(common[name]) for name in OPTIONS}
    for name in ("venv", "picture_path"):
        found[name] = {"type": "str", "default": ""}
    return found


def wish_from(params: Mapping[str, Any], check_mode: bool) -> Wish:
    """The wish; environment and picture are where the roles pyenv and model put them unless something else is named."""
    home = rf"C:\Users\{params['user']}"
    full = {name: option.get("default", "") for name, option in guest_wish.options().items()}
    full.update(params)
    full["venv"] = params["venv"] or rf"{home}\miniforge3\envs\nano-env"
    full["picture_path"] = params["picture_path"] or rf"{home}\nano-banana\output\preflight.png"
    return guest_wish.from_options(full, check_mode, "windows")


def rows() -> Tuple[Check, ...]:
    """The catalogue's rows for Windows, with what mends them there."""
    return tuple(replace(row, fix=FIXES.get(row.id, row.fix)) for row in catalogue_guest.on("windows"))


def programs(wish: Wish) -> List[Program]:
    """What the guest shall run, in this order."""
    python, picture, modules = wish.interpreter, wish.picture, wish.model.modules
    found = [
        Program("balloon", (TOOLS, "stat", "balloon"), TOOLS_SECONDS),
        Program("swapped", (TOOLS, "stat", "swap"), TOOLS_SECONDS),
        Program("pythons", windows.PYTHONS, windows.SECONDS),
        Program("python", (python, "--version"), guest_python.SECONDS),
        Program("pillow", tuple(windows.pillow_version(python)), windows.SECONDS),
        Program("import", model_import.command(python), model_import.SECONDS),
    ]
    if modules:
        found.append(Program("packages", guest_packages.command(python, modules), guest_packages.SECONDS))
    measure = (python, "-I", "-B", "-c", inspect.getsource(picture_probe), picture.output)
    return [
        *found,
        Program("picture", tuple(picture.command()), picture.timeout, "import", picture.output, writes=True),
        Program("measured", measure, model_picture.MEASURE_SECONDS, needs="picture"),
    ]


def order(wish: Wish) -> Dict[str, Any]:
    """The arguments of win_collect."""
    share = wish.share
    folders = [{"name": SHARE, "path": share.path, "seconds": share.seconds}] if share.path else []
    return {"programs": [program.as_dict() for program in programs(wish)], "folders": folders}


class Gate:
    """One guest's answers, and what they tell to the diagnosis of each other."""

    def __init__(self, host: RecordedHost, wish: Wish) -> None:
        self.host = host
        self.wish = wish
        self.known: Dict[str, Any] = {"platform": "windows"}
        for outcome in (self.balloon(), self.swapped()):
            self.known.update(outcome.evidence)

    def balloon(self) -> Outcome:
        """guest.balloon."""
        return guest_memory.judge_balloon(self.host.answer("balloon"))

    def swapped(self) -> Outcome:
        """guest.swapped."""
        return guest_memory.judge_swapped(self.host.answer("swapped"))

    def picture(self) -> Outcome:
        """model.picture."""
        if self.wish.check_mode:
            return Outcome(SKIPPED, detail="check mode: drawing would write a picture")
        measured = self.host.answer("measured")
        drawing = model_picture.Drawing(
            self.host.answer("picture"),
            self.host.seconds("picture"),
            None if measured.rc == NOT_FOUND else measured,
        )
        return model_picture.judge(self.wish.picture, drawing, self.known)

    def first_inference(self) -> Outcome:
        """model.first_inference, of the picture that was drawn or would not end."""
        if self.wish.check_mode or self.host.answer("picture").rc not in (0, TIMED_OUT):
            return Outcome(SKIPPED, detail="no picture was drawn")
        seconds = self.host.seconds("picture")
        return model_picture.judge_first(seconds, self.wish.model.first_seconds, self.known)

    def packages(self) -> Outcome:
        """guest.packages."""
        modules = self.wish.model.modules
        answer = self.host.answer("packages") if modules else Completed(0)
        return guest_packages.judge(modules, answer, self.wish.check_mode, self.known)


def probes(gate: Gate) -> Dict[str, Probe]:
    """A probe for each row."""
    host, wish = gate.host, gate.wish
    none = Outcome(NOT_APPLICABLE, detail="Windows hosts of the testbed have no GPU")
    return {
        **{row.id: partial(_given, none) for row in rows() if row.id.startswith("gpu.")},
        "guest.os": lambda: guest_os.judge(
            wish.os, windows_judges.os_release(host.answer("system")), None, wish.allow_stand_in
        ),
        "guest.machine": lambda: guest_machine.judge(
            windows_judges.detected_virt(host.answer("system")), wish.allow_stand_in
        ),
        "guest.balloon": gate.balloon,
        "guest.swapped": gate.swapped,
        "guest.data_disk": lambda: windows_judges.judge_volume(
            wish.system.disk, wish.system.disk_free_mb, host.answer("volumes")
        ),
        "guest.share": lambda: windows_judges.judge_share(wish.share.path, wish.share.seconds, host.answer(SHARE)),
        "windows.wsl": lambda: windows.judge_wsl(host.answer("distributions"), host.answer("pythons")),
        "guest.python": lambda: guest_python.judge(
            wish.python, wish.interpreter, host.answer("python"), wish.check_mode
        ),
        "windows.pillow_simd": lambda: windows.judge_pillow(wish.model.pillow, host.answer("pillow")),
        "guest.packages": gate.packages,
        "model.import": lambda: model_import.judge(
            host.answer("import"), wish.model.engine, wish.check_mode, gate.known
        ),
        "model.picture": gate.picture,
        "model.first_inference": gate.first_inference,
    }


def _given(outcome: Outcome) -> Outcome:
    return outcome


def judged(outputs: Mapping[str, Any], wish: Wish) -> List[Result]:
    """Every check of the gate, judged by what the guest answered."""
    gate = Gate(RecordedHost(programs(wish), outputs), wish)
    return run_checks(rows(), probes(gate), wish.values(), wish.environment)
