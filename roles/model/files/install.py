# SPDX-License-Identifier: GPL-3.0-or-later
"""Install a profile into the environment whose Python runs this, or prove it; needs Python >= 3.8 and pip alone.

Argument: a JSON object. ``do`` is ``install`` (lock and wheel, modules imported) or ``prove`` (smoke command; then the
mark is written). The mark of an older install is removed first and the new one comes last, so what was interrupted is
never taken for done. Prints nothing when all is well.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HOLDER = re.compile(r"\{(bin|python|scratch|weights)\}")
MARK = "nano-banana.installed-"
IMPORT = "import importlib, sys; [importlib.import_module(name) for name in sys.argv[1:]]"


class InstallError(Exception):
    """The text says what is wrong and what to do."""


def run(words: list[str], what: str, fix: str, environment: Mapping[str, str] | None = None) -> None:
    """Run a program. Raises InstallError with the end of its output."""
    done = subprocess.run(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, check=False
    )
    if done.returncode:
        said = done.stdout.decode(errors="replace").strip()[-1500:]
        raise InstallError(f"{what}: expected exit status 0; found {done.returncode}:\n{said}\nNext: {fix}")


def pip(*words: str) -> list[str]:
    """A pip command of this environment; index, mirror, cache and authorities are those of the user's pip.conf."""
    return [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", *words]


def marks(venv: Path) -> list[Path]:
    """The marks in an environment."""
    return sorted(venv.glob(f"{MARK}*"))


def check_space(folder: Path, needed_mb: int) -> None:
    """Raises InstallError when a folder's file system has not enough left."""
    free = shutil.disk_usage(folder).free // 2**20
    if free < needed_mb:
        raise InstallError(
            f"{folder}: expected {needed_mb} MB free; found {free} MB. Next: free some (df -h {folder}), then run again"
        )


def install(wish: dict[str, Any], venv: Path) -> None:
    """Lock, wheel, consistency, imports. Raises InstallError."""
    for mark in marks(venv):
        mark.unlink()
    # What lost its files is still installed by pip's books.
    anew = ["--force-reinstall"] if wish.get("reinstall") else []
    check_space(venv, wish["disk_mb"])
    lock, wheel = wish["lock"], wish["wheel"]
    again = (
        "run the play again; a wrong hash means another file than the one locked: check the index or mirror in pip.conf"
    )
    run(
        pip(
            *("install", "--quiet", "--retries", "5", *anew),
            *("--only-binary", ":all:", "--require-hashes", "--requirement", lock),
        ),
        Path(lock).name,
        again,
    )
    # The version may stay the same while the sources change.
    if wheel:
        run(pip("install", "--quiet", "--no-index", "--no-deps", "--force-reinstall", wheel), Path(wheel).name, again)
    run(pip("check"), "pip check", f"make the environment anew: rm -r {venv}, then run the play again")
    run([sys.executable, "-I", "-c", IMPORT, *wish["modules"]], f"import of {', '.join(wish['modules'])}", again)


def prove(wish: dict[str, Any], venv: Path) -> None:
    """The smoke command, then the mark. Raises InstallError."""
    with tempfile.TemporaryDirectory(prefix="nano-banana-smoke-") as scratch:
        values = {"bin": sysconfig.get_path("scripts"), "python": sys.executable}
        values.update(scratch=scratch, weights=wish.get("weights", ""))
        words = [HOLDER.sub(lambda found: values[found.group(1)], word) for word in wish["smoke"]]
        if words:
            run(
                words,
                "smoke command",
                "mend what it says, then run the play again",
                {**os.environ, **wish.get("environment", {})},
            )
    (venv / (MARK + wish["key"])).touch()


def main(text: str) -> int:
    """Entry point."""
    wish = json.loads(text)
    try:
        {"install": install, "prove": prove}[wish["do"]](wish, Path(sys.prefix))
    except InstallError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except OSError as error:
        found = f"{error.filename or sys.prefix}: {error.strerror or error}"
        sys.stderr.write(f"{found}. Next: df -h {sys.prefix}, then run the play again\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
