# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads raw values strictly and keeps every problem; wish.py and its sections say what is read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import Problem, nearest

T = TypeVar("T")


class Reader:
    """Reads one VM's mapping and keeps every problem, so that all of them are told at once."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.problems: list[Problem] = []

    def bad(self, path: str, expected: str, found: object, next_step: str = "") -> None:
        shown = "nothing" if found is None else repr(found)
        self.problems.append(Problem(f"{self.name}: vm_{path}", expected, shown, next_step))

    def integer(self, path: str, value: Any, low: int, high: int, unit: str, fallback: int) -> int:
        expected = f"a whole number of {unit} from {low} to {high}"
        number: int | None = None
        if isinstance(value, int) and not isinstance(value, bool):
            number = value
        elif isinstance(value, str) and re.fullmatch(r"[0-9]{1,12}", value.strip()):
            number = int(value)
        if number is None or not low <= number <= high:
            hint = "6 GB of memory are written 6144" if path == "memory_mb" else ""
            self.bad(path, expected, value, hint)
            return fallback
        return number

    def text(self, path: str, value: Any, *, empty: bool = True) -> str:
        if value is None and empty:
            return ""
        if not isinstance(value, str) or (not empty and not value.strip()):
            self.bad(path, "a text", value)
            return ""
        return str(value)  # drops Ansible's own subclasses of str, which YAML and SOAP writers do not know

    def choice(self, path: str, value: Any, known: tuple[str, ...]) -> str:
        if value not in known:
            self.bad(path, f"one of {', '.join(known)}", value)
            return known[0]
        return str(value)

    def boolean(self, path: str, value: Any) -> bool:
        if isinstance(value, bool):
            return value
        if isinstance(value, str) and value.lower() in ("true", "false", "yes", "no"):
            return value.lower() in ("true", "yes")
        self.bad(path, "true or false", value)
        return False

    def mapping(self, path: str, value: Any, known: Iterable[str] | None) -> dict[str, Any]:
        """A mapping whose keys are all known; ``known=None`` takes any key."""
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            self.bad(path, "a mapping", value)
            return {}
        names = None if known is None else tuple(known)
        for key in value:
            if names is not None and key not in names:
                self.bad(f"{path}.{key}", f"one of {', '.join(names)}", key, nearest(str(key), names))
        return {str(key): item for key, item in value.items() if names is None or key in names}

    def listing(self, path: str, value: Any, read: Callable[[str, Any], T]) -> tuple[T, ...]:
        if value is None:
            return ()
        if not isinstance(value, (list, tuple)):
            self.bad(path, "a list", value)
            return ()
        return tuple(read(f"{path}[{index}]", item) for index, item in enumerate(value))
