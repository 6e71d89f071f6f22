# SPDX-License-Identifier: GPL-3.0-or-later
"""Say which Python the environment shall use, and which one it uses; runs on the guest, Python >= 3.8 alone.

Arguments: provider, wanted version, pyenv's root, environment. Prints one JSON object: ``python`` (path of the one to
take, empty if there is none) with its ``version`` (empty if it is not built yet) and ``ensurepip``, and ``venv``, the
version that the environment runs (empty if it is missing or has no pip).
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable

OLDEST = (3, 8)
NEWEST_MINOR = 14
ASK = """
import importlib.util, sys
print("%d.%d.%d" % sys.version_info[:3], *(int(bool(importlib.util.find_spec(name))) for name in sys.argv[1:]))
"""


def ask(python: str, module: str) -> tuple[str, bool]:
    """A Python's version and whether it has a module; ('', False) when it does not run."""
    try:
        done = subprocess.run(
            [python, "-I", "-c", ASK, module],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return "", False
    words = done.stdout.decode().split()
    return (words[0], words[1] == "1") if done.returncode == 0 and len(words) == 2 else ("", False)


def candidates(wanted: str) -> list[str]:
    """Names to look for: the wanted minor version, the system's own choice, then from new to old."""
    minor = ".".join(wanted.split(".")[:2])
    older = [f"python3.{number}" for number in range(NEWEST_MINOR, OLDEST[1] - 1, -1)]
    return list(dict.fromkeys([f"python{minor}", "python3", *older]))


def from_system(
    wanted: str,
    which: Callable[[str], str | None] = shutil.which,
    asked: Callable[[str, str], tuple[str, bool]] = ask,
) -> tuple[str, str, bool]:
    """The first candidate that runs and is not too old, as (path, version, ensurepip)."""
    for name in candidates(wanted):
        path = which(name)
        version, ensurepip = asked(path, "ensurepip") if path else ("", False)
        if path and version and tuple(int(part) for part in version.split(".")[:2]) >= OLDEST:
            return path, version, ensurepip
    return "", "", False


def main(provider: str, wanted: str, root: str, venv: str) -> None:
    """Entry point."""
    if provider == "system":
        path, version, ensurepip = from_system(wanted)
    else:
        path = f"{root}/versions/{wanted}/bin/python"
        version, ensurepip = ask(path, "ensurepip")
    current, pip = ask(f"{venv}/bin/python", "pip")
    json.dump({"python": path, "version": version, "ensurepip": ensurepip, "venv": current if pip else ""}, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
