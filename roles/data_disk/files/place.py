# SPDX-License-Identifier: GPL-3.0-or-later
"""Mounts the share, makes this host's folder in it, and turns folders into links. Runs as root on the guest.

The argument is a JSON object: host, user, share and links. Ends with one message where the share is missing, and hangs
on nothing. What a folder holds is moved before a link takes its place; a run that was cut off is taken up by the next.
"""

from __future__ import annotations

import filecmp
import json
import os
import pwd
import shutil
import subprocess
import sys
from typing import Any

MOUNT_SECONDS, WRITE_SECONDS, KILL_SECONDS = 45, 20, 5
PART = ".moving-"
TRY_SHARE = 'mkdir -p "$1" && : > "$1/.write-test" && rm -f "$1/.write-test"'


class RefusedError(Exception):
    """The message for the operator."""


def bounded(seconds: int, *command: str) -> tuple[int, str]:
    """Exit status and words of a command that may wait for a server; 124 where it was ended."""
    limit = ["timeout", "--kill-after", str(KILL_SECONDS), str(seconds)]
    done = subprocess.run([*limit, *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    words = " ".join(done.stdout.decode(errors="replace").split())
    return done.returncode, words or (f"no answer within {seconds} s" if done.returncode > 123 else "no reason given")


def refuse(wish: dict[str, Any], found: str, then: str) -> RefusedError:
    share = wish["share"]
    what = f"share {share['source']} of {wish['host']}"
    return RefusedError(
        f"{what}: expected a folder at {share['path']} that {wish['user']} may write; found: {found}. Next: {then}"
    )


def mounted(path: str) -> bool:
    with open("/proc/self/mountinfo", encoding="utf-8") as lines:
        return any(line.split()[4] == path for line in lines)


def mount_share(wish: dict[str, Any]) -> None:
    """Mounted anew where it is not from its source. Raises RefusedError."""
    share = wish["share"]
    path, source = share["path"], share["source"]
    if share["type"] == "bind" and not os.path.isdir(source):
        if not share["create"]:
            raise refuse(wish, f"no folder {source} on the guest", "make it, or correct data_disk_share_source")
        os.makedirs(source)
        os.chmod(source, 0o1777)  # noqa: S103 - like /tmp: for users of all ids, who cannot take each other's folders
    if mounted(path) and not share["right"]:
        status, words = bounded(MOUNT_SECONDS, "umount", path)
        if status:
            raise refuse(wish, f"another mount at {path} that does not go: {words}", f"umount {path} on the guest")
    if not mounted(path):
        os.makedirs(path, exist_ok=True)
        kind = ["--bind"] if share["type"] == "bind" else ["-t", share["fstype"], "-o", share["try_options"]]
        status, words = bounded(MOUNT_SECONDS, "mount", *kind, source, path)
        if status:
            raise refuse(
                wish, words, f"see that {source} is there and exported to this guest; on the guest: mount {path}"
            )
    status, words = bounded(
        WRITE_SECONDS, "runuser", "-u", wish["user"], "--", "sh", "-c", TRY_SHARE, "sh", share["folder"]
    )
    if status:
        raise refuse(wish, words, f"let the user write there; a stale mount goes with: umount -f -l {path}")


def move_into(source: str, target: str) -> None:
    """Everything in a folder into another one. A name that is taken by something else gets a number."""
    for name in sorted(os.listdir(source)):
        old, new = os.path.join(source, name), os.path.join(target, name)
        number = 0
        while os.path.lexists(new):
            if os.path.isfile(old) and os.path.isfile(new) and filecmp.cmp(old, new, shallow=False):
                break  # an earlier run was cut off between the copy and the removal
            number += 1
            new = os.path.join(target, f"{name}.{number}")
        if not os.path.lexists(new):
            part = os.path.join(target, PART + name)
            remove(part)
            if os.path.isdir(old) and not os.path.islink(old):
                shutil.copytree(old, part, symlinks=True)
            else:
                shutil.copy2(old, part, follow_symlinks=False)
            os.rename(part, new)
        remove(old)


def remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.remove(path)


def link(path: str, target: str) -> bool:
    """Whether something changed. An empty target asks for a plain folder."""
    if os.path.islink(path):
        if target and os.readlink(path) == target:
            return False
        os.remove(path)
    if not target:
        if os.path.isdir(path):
            return False
        os.makedirs(path)
        return True
    if os.path.isdir(path):
        move_into(path, target)
        os.rmdir(path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    os.symlink(target, path)
    return True


def links(wish: dict[str, Any]) -> bool:
    """As the user: on a file server root may be nobody, and the files shall be the user's."""
    changed = [path for path, target in wish["links"].items() if link(path, target)]
    return bool(changed)


def become(user: str) -> None:
    entry = pwd.getpwnam(user)
    os.initgroups(user, entry.pw_gid)
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
    os.environ["HOME"] = entry.pw_dir


def main(wish: dict[str, Any]) -> int:
    """0 when everything is in its place."""
    try:
        if wish["share"]["type"] != "none":
            mount_share(wish)
        # What root left in the folders goes along: it is the user's from here on.
        for path in wish["links"]:
            if os.path.isdir(path) and not os.path.islink(path):
                subprocess.run(["chown", "--recursive", "--no-dereference", f"{wish['user']}:", path], check=True)
        become(wish["user"])
        sys.stdout.write("changed" if links(wish) else "same")
    except (RefusedError, OSError, shutil.Error) as error:
        full = isinstance(error, OSError) and error.errno == 28
        words = str(error)
        if not isinstance(error, RefusedError):
            words = (
                f"links of {wish['host']}: expected room and rights to move what they replace; found: {error}. Next: "
            )
            words += "make room there" if full else "mend that"
            words += ", then run this again: nothing is lost, and the next run goes on"
        sys.stderr.write(words + "\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
