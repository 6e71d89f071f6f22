# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guest gate of a Windows host: what is asked of it, and how its answers are judged on the control node."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import partial
from typing import Any, Dict, List, Mapping, Optional, Tuple

from . import (
    guest_machine,
    guest_memory,
    guest_os,
    guest_packages,
    guest_python,
    model_import,
    model_picture,
    picture_probe,
    windows,
    windows_judges,
)
from .catalogue_windows import WINDOWS
from .diagnosis import explained
from .host import NOT_FOUND, Completed
from .recorded import Program, RecordedHost
from .result import FAILED, SKIPPED, Outcome, Probe, Result, explain, run_checks, summarise

TOOLS = r"C:\Program Files\VMware\VMware Tools\VMwareToolboxCmd.exe"
TOOLS_SECONDS = 10.0
SHARE = "share"


@dataclass(frozen=True)
class Wish:
    """What the gate compares a Windows guest with; ``params`` are the options of win_preflight."""

    params: Mapping[str, Any]
    check_mode: bool = False

    @property
    def name(self) -> str:
        """The inventory's name."""
        return str(self.params["name"])

    @property
    def home(self) -> str:
        """The folder of the model's user."""
        return rf"C:\Users\{self.params['user']}"

    @property
    def venv(self) -> str:
        """The environment, as the role pyenv makes it by conda where no other is named."""
        return str(self.params["venv"] or rf"{self.home}\miniforge3\envs\nano-env")

    @property
    def python(self) -> str:
        """The environment's Python; conda puts it at the top."""
        return rf"{self.venv}\python.exe"

    @property
    def picture(self) -> model_picture.Order:
        """The picture that is asked for."""
        return model_picture.Order(
            engine=rf"{self.venv}\Scripts\nano-banana.exe",
            python=self.python,
            output=str(self.params["picture_path"] or rf"{self.home}\nano-banana\output\preflight.png"),
            prompt=str(self.params["picture_prompt"]),
            backend=str(self.params["picture_backend"]),
            timeout=float(self.params["picture_timeout"]),
        )


def programs(wish: Wish) -> List[Program]:
    """What the guest shall run, in this order."""
    python, picture, modules = wish.python, wish.picture, wish.params["modules"]
    found = [
        Program("balloon", (TOOLS, "stat", "balloon"), TOOLS_SECONDS),
        Program("swapped", (TOOLS, "stat", "swap"), TOOLS_SECONDS),
        Program("pythons", windows.PYTHONS, windows.SECONDS),
        Program("python", (python, "--version"), guest_python.SECONDS),
        Program("pillow", tuple(windows.pillow_version(python)), windows.SECONDS),
        Program("import", (python, "-I", "-B", "-c", model_import.PROGRAM), model_import.SECONDS),
    ]
    if modules:
        found.append(Program("packages", tuple(guest_packages.command(python, modules)), guest_packages.SECONDS))
    measure = (python, "-I", "-B", "-c", inspect.getsource(picture_probe), picture.output)
    return [
        *found,
        Program("picture", tuple(picture.command()), picture.timeout, "import", picture.output, writes=True),
        Program("measured", measure, model_picture.MEASURE_SECONDS, needs="picture"),
    ]


def order(wish: Wish) -> Dict[str, Any]:
    """The arguments of win_collect."""
    share = wish.params["share"]
    folders = [{"name": SHARE, "path": share, "seconds": wish.params["share_seconds"]}] if share else []
    return {"programs": [program.as_dict() for program in programs(wish)], "folders": folders}


def _facts(host: RecordedHost) -> Dict[str, Any]:
    memory = guest_memory.judge_balloon(host.answer("balloon")), guest_memory.judge_swapped(host.answer("swapped"))
    return {"platform": "windows", **memory[0].evidence, **memory[1].evidence}


def _picture(host: RecordedHost, wish: Wish) -> Outcome:
    if wish.check_mode:
        return Outcome(SKIPPED, detail="check mode: drawing would write a picture")
    drawn, measured = host.answer("picture"), host.answer("measured")
    seen: Optional[Completed] = None if measured.rc == NOT_FOUND else measured
    outcome = model_picture.judge(wish.picture, drawn, host.seconds("picture"), seen)
    return _diagnosed(outcome, drawn, _facts(host))


def _first(host: RecordedHost, wish: Wish) -> Outcome:
    if wish.check_mode:
        return Outcome(SKIPPED, detail="check mode: drawing would write a picture")
    seconds, limit = host.seconds("picture"), float(wish.params["first_inference_seconds"])
    outcome = windows_judges.judge_first(limit, seconds, host.answer("picture"))
    if outcome.status != FAILED:
        return outcome
    # The program's words belong to the picture's own row; here only time and memory speak.
    return explained(outcome, "", {**_facts(host), "first": True, "seconds": seconds, "limit": limit})


def _diagnosed(outcome: Outcome, answer: Completed, facts: Mapping[str, Any]) -> Outcome:
    if outcome.status != FAILED or outcome.cause:
        return outcome
    return explained(outcome, "\n".join((answer.out, answer.err, outcome.detail)), facts)


def probes(host: RecordedHost, wish: Wish) -> Dict[str, Probe]:
    """A probe for each row of the catalogue."""
    params, check_mode = wish.params, wish.check_mode
    system, imported, packages = host.answer("system"), host.answer("import"), host.answer("packages")
    return {
        "guest.os": partial(
            guest_os.judge, params["os_expected"], windows_judges.os_release(system), None, params["allow_stand_in"]
        ),
        "guest.machine": lambda: guest_machine.judge(windows_judges.detected_virt(system), params["allow_stand_in"]),
        "guest.balloon": lambda: guest_memory.judge_balloon(host.answer("balloon")),
        "guest.swapped": lambda: guest_memory.judge_swapped(host.answer("swapped")),
        "guest.data_disk": lambda: windows_judges.judge_volume(
            params["data_letter"], params["disk_free_mb"], host.answer("volumes")
        ),
        "guest.share": lambda: windows_judges.judge_share(params["share"], params["share_seconds"], host.answer(SHARE)),
        "windows.wsl": lambda: windows.judge_wsl(host.answer("distributions"), host.answer("pythons")),
        "guest.python": lambda: guest_python.judge(
            params["python_expected"], wish.python, host.answer("python"), check_mode
        ),
        "windows.pillow_simd": lambda: windows.judge_pillow(params["pillow"], host.answer("pillow")),
        "model.import": lambda: _diagnosed(model_import.judge(imported, check_mode), imported, _facts(host)),
        "guest.packages": lambda: guest_packages.judge(params["modules"], packages, check_mode, _facts(host)),
        "model.picture": partial(_picture, host, wish),
        "model.first_inference": partial(_first, host, wish),
    }


def judged(outputs: Mapping[str, Any], wish: Wish) -> List[Result]:
    """Every check of the gate, judged by what the guest answered."""
    host = RecordedHost(programs(wish), outputs)
    values = {"name": wish.name, "venv": wish.venv}
    return run_checks(WINDOWS, probes(host, wish), values, str(wish.params["environment"]))


def examine(outputs: Mapping[str, Any], wish: Wish) -> Dict[str, Any]:
    """What win_preflight returns; ``msg`` and ``failed`` are there only when it shall fail."""
    results = judged(outputs, wish)
    answer: Dict[str, Any] = {
        "changed": False,
        "checks": [result.as_dict() for result in results],
        "summary": summarise(results),
        "facts": facts(results),
    }
    if answer["summary"]["verdict"] == FAILED and wish.params["fail_on"] == "failed":
        again = f"ansible-playbook playbooks/preflight_guest.yml --limit {wish.name}"
        answer.update(failed=True, msg=explain(results, f"Guest gate of {wish.name}", again))
    return answer


# What of which check's evidence the run's report says about a guest.
_FACTS: Tuple[Tuple[str, str, str], ...] = (
    ("os", "guest.os", "os"),
    ("stand_in", "guest.os", "stand_in"),
    ("python", "guest.python", "python"),
    ("engine", "model.import", "engine"),
    ("backend", "model.picture", "backend"),
    ("picture", "model.picture", "picture"),
)


def facts(results: List[Result]) -> Dict[str, Any]:
    """The guest's facts for the report; a value is empty where its check gave none."""
    evidence = {result.id: result.evidence for result in results}
    return {name: evidence.get(check, {}).get(key, "") for name, check, key in _FACTS}
