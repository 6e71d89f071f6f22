# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the engine's wheel on the control node, once for each content of its source folder.

Prints one JSON object: ``key`` (SHA-256 of names and contents), ``wheel`` (path, empty with --key-only) and
``built`` (false when the cache had it). The wheel is reproducible: sources are copied to a scratch folder with
fixed modes, so neither the checkout's file modes nor what an earlier build left behind get into it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

# What tools leave in a source folder, and what no wheel contains.
LEFT_OUT = frozenset({"__pycache__", "build", "dist", "tests", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".venv"})
# Wheels are zip files, whose calendar begins in 1980.
EPOCH = "315532800"


class BuildError(Exception):
    """The text says what is wrong and what to do."""


def sources(folder: Path) -> list[Path]:
    """The files that make the wheel, relative to the folder, in one order everywhere."""
    found = []
    for path in folder.rglob("*"):
        relative = path.relative_to(folder)
        if path.is_file() and not any(part in LEFT_OUT or part.endswith(".egg-info") for part in relative.parts):
            found.append(relative)
    return sorted(found)


def key_of(folder: Path) -> str:
    """SHA-256 over the names and contents of the sources. Raises BuildError when there is no project."""
    if not (folder / "pyproject.toml").is_file():
        raise BuildError(
            f"model_engine_source: expected a folder with pyproject.toml; found none in {folder}. "
            "Next: set model_engine_source to the engine's folder of a checkout"
        )
    digest = hashlib.sha256()
    for relative in sources(folder):
        content = (folder / relative).read_bytes()
        digest.update(f"{relative.as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def build(source: Path, into: Path) -> Path:
    """Build into a folder and return the wheel. Raises BuildError with the end of pip's output."""
    with tempfile.TemporaryDirectory(prefix="nano-banana-wheel-") as scratch:
        copy = Path(scratch) / "source"
        for relative in sources(source):
            target = copy / relative
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
            shutil.copyfile(source / relative, target)
            target.chmod(0o644)
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"),
                *("--no-index", "--wheel-dir", str(into), str(copy)),
            ],
            env={**os.environ, "SOURCE_DATE_EPOCH": EPOCH, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
            capture_output=True,
            text=True,
            check=False,
            umask=0o022,
        )
    wheels = list(into.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        raise BuildError(
            f"The wheel of {source} was not built by {sys.executable} (exit status {done.returncode}):\n"
            f"{(done.stderr or done.stdout).strip()[-2000:]}\n"
            "Next: install pip, setuptools and wheel into that Python (make setup)"
        )
    return wheels[0]


def cached(source: Path, cache: Path, key: str) -> tuple[Path, bool]:
    """The wheel for a key, and whether it was built now. A folder appears in the cache only when it is complete."""
    place = cache / key[:16]
    ready = list(place.glob("*.whl"))
    if ready:
        return ready[0], False
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".building-", dir=cache) as scratch:
        out = Path(scratch) / "out"
        out.mkdir()
        build(source, out)
        try:
            out.rename(place)
        except OSError:
            # Another play built the same content meanwhile; the same content is the same wheel.
            if not list(place.glob("*.whl")):
                raise
    return next(place.glob("*.whl")), True


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description="Build the engine's wheel, once for each content of its folder.")
    parser.add_argument("source", type=Path)
    parser.add_argument("cache", type=Path)
    parser.add_argument("--key-only", action="store_true", help="print the key, build nothing")
    options = parser.parse_args(arguments)
    source, cache = options.source.resolve(), options.cache.resolve()
    try:
        key = key_of(source)
        wheel, built = (None, False) if options.key_only else cached(source, cache, key)
    except BuildError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    json.dump({"key": key, "wheel": str(wheel or ""), "built": built}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
