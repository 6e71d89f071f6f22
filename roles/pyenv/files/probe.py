# SPDX-License-Identifier: GPL-3.0-or-later
"""Say which Python the environment shall use, and which one it uses; runs on the guest, Python >= 3.8 alone.

Arguments: provider, wanted version, pyenv's root, environment. Prints one JSON object: ``python`` (path of the one to
take, empty if there is none), its ``version`` (empty if it is not built to its end) and ``ensurepip``; ``venv``, the
version that the environment runs (empty if it is missing, half made, without pip, or made from a Python of the other
provider); and ``system``, the kind of system for which a built Python can be used.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

OLDEST = (3, 8)
NEWEST_MINOR = 14
ASK = """
import importlib.util, sys
print("%d.%d.%d" % sys.version_info[:3], *(int(bool(importlib.util.find_spec(name))) for name in sys.argv[1:]))
"""
# The modules that a build or an archive must have brought.
BUILT = "import ssl, sqlite3, zlib, ctypes, lzma, bz2, readline\n"


def ask(python: str, module: str, first: str = "") -> tuple[str, bool]:
    """A Python's version and whether it has a module; ('', False) when it does not run."""
    try:
        done = subprocess.run(
            [python, "-I", "-c", first + ASK, module],
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


def system(release: Path = Path("/etc/os-release")) -> str:
    """Distribution, its release and the processor: a Python built on one such system runs on the others."""
    lines = release.read_text(encoding="utf-8").splitlines() if release.exists() else []
    given = dict(line.split("=", 1) for line in lines if "=" in line)
    words = [given.get(key, "").strip("'\"") for key in ("ID", "VERSION_ID")]
    return "-".join([*words, platform.machine()])


def hangs_on(venv: str, tree: str) -> bool:
    """Whether an environment was made from the Python in a folder."""
    return os.path.realpath(f"{venv}/bin/python").startswith(os.path.realpath(tree) + "/")


def main(provider: str, wanted: str, root: str, venv: str) -> None:
    """Entry point."""
    tree = f"{root}/versions/{wanted}"
    if provider == "system":
        path, version, ensurepip = from_system(wanted)
    else:
        path = f"{tree}/bin/python"
        version, ensurepip = ask(path, "ensurepip", BUILT)
        if Path(f"{root}/versions/.unfinished-{wanted}").exists():
            version = ""
    current, pip = ask(f"{venv}/bin/python", "pip")
    whole = pip and not Path(f"{venv}.unfinished").exists() and hangs_on(venv, tree) == (provider == "pyenv")
    found = {"python": path, "version": version, "ensurepip": ensurepip, "venv": current if whole else ""}
    json.dump({**found, "system": system()}, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
