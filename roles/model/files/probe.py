# SPDX-License-Identifier: GPL-3.0-or-later
"""Say what of the model is on the guest already; runs there as the model's user, Python >= 3.8 alone.

Argument: a JSON object with ``venv``, ``mark``, ``cache``, ``home``, ``files`` (paths), ``weights_path`` (of the
source), ``weights_name`` (folder in the cache) and ``weights_files``. Prints one JSON object; vars/main.yml reads it.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

GPU_QUERY = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]


def run(*words: str) -> tuple[int, str]:
    """Exit status and output of a program; 127 where there is none."""
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return 127, ""
    return done.returncode, done.stdout.decode(errors="replace").strip()


def mount_points(text: str) -> list[str]:
    """The mount points in /proc/self/mountinfo."""
    return [line.split()[4].replace("\\040", " ") for line in text.splitlines() if len(line.split()) > 4]


def mount_of(path: str, mounts: list[str]) -> str:
    """The mount point below / that a path lies in, empty for none."""
    parents = [path, *(str(parent) for parent in Path(path).parents)]
    return next((parent for parent in parents if parent != "/" and parent in mounts), "")


def cache_of(wanted: str, home: str, mounts: list[str]) -> tuple[str, str]:
    """The folder for weights and why it is not the wanted one."""
    fallback = f"{home}/nano-banana/cache"
    if wanted == fallback or wanted.startswith(home + "/"):
        return wanted, ""
    if not mount_of(wanted, mounts):
        return fallback, f"{wanted} is on no disk of its own"
    if not os.access(wanted if Path(wanted).is_dir() else Path(wanted).parent, os.W_OK):
        return fallback, f"{wanted} is not writable"
    return wanted, ""


def tmp_of(cache: str) -> str:
    """The folder for temporary files on the cache's disk, empty where there is none."""
    folder = Path(cache).parent / "tmp"
    return str(folder) if folder.is_dir() and os.access(folder, os.W_OK) else ""


def gpu_memory() -> list[int]:
    """Video memory of each GPU in MB; empty where nvidia-smi shows none."""
    status, text = run(*GPU_QUERY)
    return [int(line) for line in text.split() if line.isdigit()] if status == 0 else []


def print_of(path: str) -> str:
    """SHA-256 and mode of a file, empty where there is none."""
    try:
        return f"{hashlib.sha256(Path(path).read_bytes()).hexdigest()} {Path(path).stat().st_mode & 0o7777:04o}"
    except OSError:
        return ""


def main(wish: dict[str, Any]) -> dict[str, Any]:
    """All answers."""
    python = f"{wish['venv']}/bin/python"
    try:
        mounts = mount_points(Path("/proc/self/mountinfo").read_text(encoding="utf-8"))
    except OSError:
        mounts = []
    cache, why = cache_of(wish["cache"], wish["home"], mounts)
    weights = (
        [Path(cache, wish["weights_name"], name) for name in wish["weights_files"]] if wish["weights_name"] else []
    )
    return {
        "python": run(python, "-I", "-c", "import sys; print('%d.%d' % sys.version_info[:2])")[1],
        # A disk that was made anew has lost its weights.
        "installed": Path(wish["mark"]).exists() and all(path.is_file() for path in weights),
        "files": {path: print_of(path) for path in wish["files"]},
        "cache": cache,
        "cache_why": why,
        "tmp": tmp_of(cache) if not why else "",
        "gpus": gpu_memory(),
        "serve": run(f"{wish['venv']}/bin/nano-banana", "serve", "--check")[0] == 0,
        "enabled": run("systemctl", "is-enabled", "nano-banana.service")[1] == "enabled",
        "systemd": Path("/run/systemd/system").is_dir(),
        "container": run("systemd-detect-virt", "--container")[0] == 0,
        "weights_there": not wish["weights_path"] or Path(wish["weights_path"]).is_dir(),
        "weights_mounted": bool(wish["weights_path"]) and bool(mount_of(wish["weights_path"], mounts)),
    }


if __name__ == "__main__":
    json.dump(main(json.loads(sys.argv[1])), sys.stdout)
