# SPDX-License-Identifier: GPL-3.0-or-later
"""Build a Python with pyenv and pack it, unpack a packed one, keep a packed one; Python >= 3.8 alone.

``build ROOT VERSION URL REVISION`` and ``unpack ROOT VERSION ARCHIVE SHA256`` run on the guest as the user,
``store PART ARCHIVE SHA256`` on the control node. Each prints one JSON object, or says on stderr what is wrong.

A file ``versions/.unfinished-VERSION`` lies there while a tree is made, so what a kill or a full disk left behind is
never taken for a Python.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

# What a build leaves out without a word when the system lacks a library.
MODULES = "ssl sqlite3 zlib ctypes lzma bz2 readline ensurepip"
ASK = """
import importlib, sys
print("%d.%d.%d" % sys.version_info[:3])
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except Exception as error:  # a library that is there and broken raises what it likes, and is as good as missing
        print(name, "(%s)" % error)
"""
# Home folders may be closed to whoever logs in; the folder made in here has a name that nobody can guess.
SHARED = Path("/var/tmp")  # noqa: S108
REASONS = {"ssl": "OpenSSL >= 1.1.1 with its headers (on CentOS 7: openssl11-devel of EPEL)"}


class TreeError(Exception):
    """The text says what was expected, what was found and what to do."""


def digest(path: Path) -> str:
    """A file's SHA-256."""
    found = hashlib.sha256()
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            found.update(block)
    return found.hexdigest()


def examine(python: Path, version: str) -> None:
    """Prove that a Python runs, is of the version and has all modules. Raises TreeError."""
    try:
        done = subprocess.run(
            [str(python), "-I", "-c", ASK, *MODULES.split()],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=120,
            check=False,
        )
        lines = done.stdout.decode(errors="replace").split("\n")
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TreeError(f"{python}: expected a Python that runs; found {error}") from error
    if done.returncode or lines[0] != version:
        raise TreeError(f"{python}: expected Python {version}; found {lines[0] or 'nothing'}")
    missing = [line for line in lines[1:] if line]
    if missing:
        needs = [text for name, text in REASONS.items() if any(line.startswith(name + " ") for line in missing)]
        raise TreeError(
            f"{python}: expected the modules {MODULES}; found no {', '.join(missing)}. "
            f"Next: install {' and '.join(needs) or 'the missing libraries with their headers'}, then run again"
        )


@contextlib.contextmanager
def unfinished(root: Path, version: str) -> Iterator[tuple[int, bool]]:
    """Alone with the tree; the mark goes when all went well.

    Gives the lock's descriptor, which children shall keep, and whether somebody else finished while this one waited.
    """
    versions = root / "versions"
    versions.mkdir(parents=True, exist_ok=True)
    mark = versions / f".unfinished-{version}"
    with (versions / f".lock-{version}").open("w") as lock:
        waited = False
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # A build whose connection was lost goes on: wait for its end, then look.
            waited = True
            fcntl.flock(lock, fcntl.LOCK_EX)
        for left in versions.glob(f".making-{version}-*"):
            shutil.rmtree(left)
        done = waited and not mark.exists() and (versions / version).is_dir()
        mark.touch()
        yield lock.fileno(), done
        mark.unlink()


def run(command: list[str], lock: int, what: str, **environment: str) -> None:
    """Run a command. Raises TreeError with the end of its output."""
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        pass_fds=(lock,),
        env={**os.environ, **environment},
        check=False,
    )
    if done.returncode:
        words = "\n".join(done.stdout.decode(errors="replace").strip().splitlines()[-12:])
        raise TreeError(f"{what}: expected success; found exit status {done.returncode}:\n{words}")


def bring_pyenv(root: Path, url: str, revision: str, lock: int) -> None:
    """pyenv itself at its pinned revision. The folder may hold unpacked Pythons already, so it is no plain clone."""
    for left in (root / ".git").glob("**/*.lock"):
        left.unlink()
    git = ["git", "-C", str(root)]
    run(["git", "init", "--quiet", str(root)], lock, "git init")
    refs = ["+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"]
    known = subprocess.run(
        [*git, "cat-file", "-e", revision + "^{commit}"], stderr=subprocess.DEVNULL, check=False
    ).returncode
    if known:
        run([*git, "fetch", "--quiet", url, *refs], lock, "pyenv_git_url")
    run([*git, "checkout", "--quiet", "--force", "--detach", revision], lock, "pyenv_git_version")


def leave_out(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Neither byte code, which each Python makes itself, nor Python's tests of itself; no owner of the builder's."""
    parts = Path(member.name).parts
    if "__pycache__" in parts or (parts[1:2] == ("lib",) and parts[3:4] == ("test",)):
        return None
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member


def pack(tree: Path) -> Path:
    """The tree as an archive in a folder of its own that whoever logs in can read."""
    prefix = f"nano-banana-python-{hashlib.sha256(str(tree).encode()).hexdigest()[:8]}-"
    for left in SHARED.glob(prefix + "*"):
        if left.stat().st_uid == os.getuid():
            shutil.rmtree(left)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=str(SHARED)))
    folder.chmod(0o755)
    archive = folder / "python.tar.gz"
    with tarfile.open(str(archive), "w:gz", compresslevel=6) as tar:
        tar.add(str(tree), arcname=tree.name, filter=leave_out)
    archive.chmod(0o644)
    return archive


def build(root: Path, version: str, url: str, revision: str) -> dict[str, object]:
    """Build and pack, unless a build that somebody waited for has done it. Raises TreeError."""
    started = time.monotonic()
    tree = root / "versions" / version
    with unfinished(root, version) as (lock, done):
        if not done:
            bring_pyenv(root, url, revision, lock)
            # A failed build leaves its sources for a look: in a place where the next run finds and removes them.
            scratch = tempfile.mkdtemp(prefix=f".making-{version}-", dir=str(tree.parent))
            # --force: what an interrupted build left is built again, not taken for done.
            command = [str(root / "bin/pyenv"), "install", "--force", version]
            run(command, lock, f"pyenv install {version}", TMPDIR=scratch, PYENV_ROOT=str(root))
            shutil.rmtree(scratch)
        examine(tree / "bin/python", version)
    archive = pack(tree)
    return {
        "archive": str(archive),
        "sha256": digest(archive),
        "bytes": archive.stat().st_size,
        "seconds": round(time.monotonic() - started, 1),
    }


def check_digest(archive: Path, sha256: str) -> None:
    """Raises TreeError when the file is not the one that was meant."""
    found = digest(archive)
    if found != sha256:
        raise TreeError(f"{archive}: expected SHA-256 {sha256}; found {found}. Next: give the right file, or remove it")


def unpack(root: Path, version: str, archive: Path, sha256: str) -> dict[str, object]:
    """Unpack beside the place, then rename. Raises TreeError, and leaves the mark then."""
    started = time.monotonic()
    check_digest(archive, sha256)
    versions = root / "versions"
    with unfinished(root, version):
        scratch = Path(tempfile.mkdtemp(prefix=f".making-{version}-", dir=str(versions)))
        try:
            with tarfile.open(str(archive)) as tar:
                members = tar.getmembers()
                wrong = [m.name for m in members if Path(m.name).parts[:1] != (version,) or ".." in Path(m.name).parts]
                if wrong or not members:
                    raise TreeError(
                        f"{archive}: expected one folder {version}; found {wrong[0] if wrong else 'nothing'}"
                    )
                # Names were checked, and the archive's SHA-256: it is the one that was meant.
                tar.extractall(  # noqa: S202
                    str(scratch), **({"filter": "tar"} if hasattr(tarfile, "tar_filter") else {})
                )
            place = versions / version
            if place.exists():
                shutil.rmtree(place)
            (scratch / version).rename(place)
        except (tarfile.TarError, EOFError) as error:
            raise TreeError(f"{archive}: expected a tar archive; found {error}") from error
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        examine(place / "bin/python", version)
    return {"seconds": round(time.monotonic() - started, 1)}


def store(part: Path, archive: Path, sha256: str) -> dict[str, object]:
    """Take a fetched archive into the cache: whoever reads the two files finds that they agree, or builds anew."""
    check_digest(part, sha256)
    note = part.with_name(part.name + ".sha256")
    note.write_text(sha256 + "\n")
    part.replace(archive)
    note.replace(archive.with_name(archive.name + ".sha256"))
    return {"archive": str(archive)}


def main(action: str, *words: str) -> int:
    """Entry point."""
    try:
        if action == "build":
            answer = build(Path(words[0]), *words[1:])
        elif action == "unpack":
            answer = unpack(Path(words[0]), words[1], Path(words[2]), words[3])
        else:
            answer = store(Path(words[0]), Path(words[1]), words[2])
    except (TreeError, OSError) as error:
        # A full disk ends here, too: what was half made is known by its mark, and the next run makes it anew.
        sys.stderr.write(f"{error}\n")
        return 1
    json.dump(answer, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
