# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalogue of the guest gate: every check with what it needs and how a failure is mended."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Dict, List, Sequence, Tuple

from . import guest_machine, guest_os, guest_python, model_import, model_picture
from .host import Host
from .result import Check, Result


@dataclass(frozen=True)
class Wish:
    """What the gate compares the guest with; ``name`` is the inventory's name for it."""

    name: str
    os: str
    allow_stand_in: bool
    python: str
    venv: str
    picture: model_picture.Order
    check_mode: bool = False

    @property
    def interpreter(self) -> str:
        """The environment's Python."""
        return f"{self.venv}/bin/python"


def catalogue(host: Host, wish: Wish) -> Tuple[Check, ...]:
    """The guest gate's checks, in the order in which they run."""
    configure = f"ansible-playbook playbooks/configure.yml --limit {wish.name}"
    return (
        Check(
            id="guest.os",
            title="The guest runs the wished operating system",
            fix="Clone from a template with that system (vm_template), correct the wish, or allow a stand-in.",
            probe=partial(guest_os.probe, host, wish.os, wish.allow_stand_in),
        ),
        Check(
            id="guest.machine",
            title="The guest is a VM on VMware",
            fix="Look which machine the inventory's ansible_host names, or allow a stand-in.",
            probe=partial(guest_machine.probe, host, wish.allow_stand_in),
        ),
        Check(
            id="guest.python",
            title="The engine's environment runs the wished Python",
            fix=f"Set pyenv_python_version or pyenv_provider, then: {configure}",
            probe=partial(guest_python.probe, host, wish.python, wish.interpreter, wish.check_mode),
        ),
        Check(
            id="model.import",
            title="The engine can be imported",
            fix=f"Install it again: delete {wish.venv} on the guest, then: {configure}",
            probe=partial(model_import.probe, host, wish.interpreter, wish.check_mode),
            needs=("guest.python",),
        ),
        Check(
            id="model.picture",
            title="The engine draws one picture",
            fix=f"Run it by hand on the guest and read what it says: {' '.join(wish.picture.command()[:2])} --help",
            probe=partial(model_picture.probe, host, wish.picture, wish.check_mode),
            needs=("model.import",),
        ),
    )


def facts(results: Sequence[Result]) -> Dict[str, Any]:
    """What the run's report says about the guest; a value is empty where its check gave none."""
    wanted: List[Tuple[str, str, str]] = [
        ("os", "guest.os", "os"),
        ("stand_in", "guest.os", "stand_in"),
        ("python", "guest.python", "python"),
        ("engine", "model.import", "engine"),
        ("backend", "model.picture", "backend"),
        ("picture", "model.picture", "picture"),
    ]
    evidence = {result.id: result.evidence for result in results}
    return {name: evidence.get(check, {}).get(key, "") for name, check, key in wanted}
