# SPDX-License-Identifier: GPL-3.0-or-later
"""A git repository that stands in for pyenv: its bin/pyenv makes a small tree around a Python that is there already.

Run this file with a folder to make one there and print its revision; the unit tests and Molecule use it. It proves
how the role clones, builds once, packs, unpacks and mends, and nothing about compiling.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PYENV = r"""#!/bin/sh
set -eu
[ "$1 $2" = "install --force" ] || { echo "usage: pyenv install --force VERSION"; exit 2; }
tree=$PYENV_ROOT/versions/$3
echo build >> "$PYENV_ROOT/stand-in.builds"
rm -rf "$tree"
mkdir -p "$tree/bin" "$tree/lib" "$TMPDIR/sources"
python3 -I - "$tree" <<END
import os, shutil, sys, sysconfig
tree, lib = sys.argv[1], sysconfig.get_path("stdlib")
shutil.copyfile(os.path.realpath(sys.executable), tree + "/bin/python")
os.chmod(tree + "/bin/python", 0o755)
os.symlink(lib, tree + "/lib/" + os.path.basename(lib))
for name in os.listdir(os.path.dirname(lib)):
    if name.startswith("libpython"):
        os.symlink(os.path.join(os.path.dirname(lib), name), tree + "/lib/" + name)
END
head -c 4000000 /dev/zero > "$tree/lib/for-a-full-disk"
[ ! -e "$PYENV_ROOT/stand-in.hold" ] || sleep 60
[ ! -e "$PYENV_ROOT/stand-in.fail" ] || { cat "$PYENV_ROOT/stand-in.fail"; exit 1; }
"""


def make(folder: Path) -> str:
    """Make the repository and return its revision."""
    (folder / "bin").mkdir(parents=True)
    program = folder / "bin/pyenv"
    program.write_text(PYENV)
    program.chmod(0o755)
    who = {
        f"GIT_{role}_{what}": "stand-in@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    when = {"GIT_AUTHOR_DATE": "2024-01-01T00:00:00Z", "GIT_COMMITTER_DATE": "2024-01-01T00:00:00Z"}
    environment = {**os.environ, **who, **when, "GIT_CONFIG_GLOBAL": os.devnull}
    git = ["git", "-C", str(folder)]
    for command in (
        ["init", "--quiet", "--template=", "--initial-branch", "main"],
        ["add", "."],
        ["commit", "--quiet", "-m", "Stand in"],
    ):
        subprocess.run([*git, *command], check=True, env=environment)
    subprocess.run([*git, "update-server-info"], check=True)
    done = subprocess.run([*git, "rev-parse", "HEAD"], check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip()


if __name__ == "__main__":
    sys.stdout.write(make(Path(sys.argv[1])))
