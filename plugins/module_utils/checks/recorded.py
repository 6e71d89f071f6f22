# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest whose programs ran before: the judges of the guest gate rule on the control node what it answered."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from .host import NOT_FOUND, Completed


@dataclass(frozen=True)
class Program:
    """What the guest shall run: see the options of win_collect. ``seconds`` is its time limit."""

    name: str
    argv: Tuple[str, ...]
    seconds: float
    needs: str = ""
    removes: str = ""
    writes: bool = False

    def as_dict(self) -> Dict[str, Any]:
        """The program as win_collect takes it."""
        return {**asdict(self), "argv": list(self.argv)}


class RecordedHost:
    """Answers by what was recorded, and like a machine without the program where nothing was."""

    def __init__(self, programs: Iterable[Program], outputs: Mapping[str, Any]) -> None:
        self._names = {program.argv: program.name for program in programs}
        self._outputs = outputs

    def answer(self, name: str) -> Completed:
        """What was recorded under a name; raises nothing, whatever the record holds."""
        found = self._outputs.get(name)
        if not isinstance(found, Mapping):
            return Completed(NOT_FOUND, err=f"{name}: the guest was not asked")
        code = found.get("rc")
        if not isinstance(code, int):
            return Completed(NOT_FOUND, err=f"{name}: an answer without a status")
        return Completed(code, _lines(found.get("out")), _lines(found.get("err")))

    def seconds(self, name: str) -> float:
        """How long it took there; 0 where nobody measured it."""
        found = self._outputs.get(name)
        value = found.get("seconds") if isinstance(found, Mapping) else None
        return float(value) if isinstance(value, (int, float)) else 0.0

    def run(self, argv: Sequence[str], timeout: float) -> Completed:  # noqa: ARG002 - the guest has kept it
        """What the program did there."""
        name = self._names.get(tuple(argv))
        return self.answer(name) if name else Completed(NOT_FOUND, err=f"{argv[0]}: the guest was not asked")

    def read(self, path: str) -> Optional[str]:  # noqa: ARG002 - no file was recorded
        """Files were not recorded."""
        return None

    def glob(self, pattern: str) -> List[str]:  # noqa: ARG002 - no file was recorded
        """Files were not recorded."""
        return []

    def remove(self, path: str) -> None:
        """The guest has done that, before it ran the program that writes there."""


def _lines(text: Any) -> str:
    """Windows ends its lines with two characters, which no judge expects."""
    return str(text or "").replace("\r\n", "\n")
