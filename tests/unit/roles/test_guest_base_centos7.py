# SPDX-License-Identifier: GPL-3.0-or-later
"""roles/guest_base/files/centos7.sh, run with stand-ins for rpm, yum and Python in a root of its own.

Not verified on CentOS 7: that the archive's packages install and that their Python runs.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "roles/guest_base/files/centos7.sh"
DEAD = "[base]\nmirrorlist=http://mirrorlist.centos.org/?release=$releasever&arch=$basearch&repo=os\ngpgcheck=1\n"
OTHER = "[base]\nbaseurl=https://packages.example.com/centos7/os/\n"
ARCHIVE = "https://vault.centos.org/7.9.2009"
# Says that it is the version in its file's name.
PYTHON = '#!/bin/sh\ncase "$2" in *version_info*) test {minor} -ge 8 ;; esac\n'
RPM = '#!/bin/sh\necho "rpm $*" >> {log}\ngrep -qx "$2" {log}.installed\n'
# Installs what it is told to, as the real packages would: a repository on a dead server, or the collection's Python.
YUM = """#!/bin/sh
echo "yum $*" >> {log}
if grep -rlq '^mirrorlist' {root}/etc/yum.repos.d/*.repo; then echo 'Cannot find a valid baseurl' >&2; exit 1; fi
if [ -e {log}.fail ]; then rm {log}.fail; exit 1; fi
echo "$3" >> {log}.installed
case $3 in
  centos-release-scl-rh)
    printf '[centos-sclo-rh]\\nmirrorlist=http://mirrorlist.centos.org?arch=$basearch\\nenabled=1\\n' \
      > {root}/etc/yum.repos.d/CentOS-SCLo-scl-rh.repo ;;
  rh-python38-python)
    mkdir -p {root}/opt/rh/rh-python38/root/usr/bin
    cp {collection} {root}/opt/rh/rh-python38/root/usr/bin/python3.8 ;;
esac
"""
TOOLS = ("cat", "chmod", "cp", "env", "grep", "mkdir", "mv", "rm", "sed", "sh")


@dataclass
class Guest:
    """A root folder and what a guest has on its PATH."""

    root: Path
    log: Path
    path: Path = field(init=False)

    def __post_init__(self) -> None:
        self.path = self.root / "path"
        for folder in (self.path, self.root / "etc/yum.repos.d"):
            folder.mkdir(parents=True)
        for tool in TOOLS:
            (self.path / tool).symlink_to(shutil.which(tool) or "")
        self.log.touch()
        (self.root / "log.installed").touch()
        self.collection_python = self.program("collection", PYTHON.format(minor=8))
        names = {"log": self.log, "root": self.root, "collection": self.collection_python}
        self.program("rpm", RPM.format(**names))
        self.program("yum", YUM.format(**names))

    def program(self, name: str, text: str) -> Path:
        file = self.path / name
        file.write_text(text, encoding="utf-8")
        file.chmod(0o755)
        return file

    def repo(self, name: str) -> Path:
        return self.root / f"etc/yum.repos.d/{name}.repo"

    def run(self, verb: str, **environment: str) -> subprocess.CompletedProcess[str]:
        variables = {"PATH": str(self.path), "ROOT": str(self.root)} | environment
        return subprocess.run(
            ["/bin/sh", str(SCRIPT), verb], env=variables, capture_output=True, text=True, check=False
        )

    @property
    def wrapper(self) -> Path:
        return self.root / "usr/local/bin/python3.8"

    @property
    def calls(self) -> list[str]:
        return [line for line in self.log.read_text().splitlines() if line.startswith("yum")]


@pytest.fixture
def guest(tmp_path: Path) -> Guest:
    return Guest(tmp_path, tmp_path / "log")


def test_it_is_clean() -> None:
    checker = Path(sys.executable).parent / "shellcheck"
    done = subprocess.run([str(checker), str(SCRIPT)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("there", "found"),
    [
        ({"python3": 11}, "python3"),
        ({"python3": 6, "python3.9": 9}, "python3.9"),
        ({"python3.13": 13, "python3": 6}, "python3.13"),
    ],
)
def test_a_python_that_is_there_is_left_alone(guest: Guest, there: dict[str, int], found: str) -> None:
    guest.repo("CentOS-Base").write_text(DEAD)
    for name, minor in there.items():
        guest.program(name, PYTHON.format(minor=minor))
    done = guest.run("python")
    assert (done.returncode, done.stdout) == (0, f"python: {guest.path / found}\n")
    assert guest.calls == []
    assert guest.repo("CentOS-Base").read_text() == DEAD


def test_a_bare_centos_gets_archive_and_python(guest: Guest) -> None:
    guest.repo("CentOS-Base").write_text(DEAD)
    guest.program("python3", PYTHON.format(minor=6))
    done = guest.run("python")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "changed: /etc/yum.repos.d/CentOS-Base.repo",
        "changed: package centos-release-scl-rh",
        "changed: /etc/yum.repos.d/CentOS-SCLo-scl-rh.repo",
        "changed: package rh-python38-python",
        "changed: /usr/local/bin/python3.8",
        f"python: {guest.wrapper}",
    ]
    assert guest.calls == ["yum -y install centos-release-scl-rh", "yum -y install rh-python38-python"]
    base, collections = guest.repo("CentOS-Base").read_text(), guest.repo("CentOS-SCLo-scl-rh").read_text()
    assert [line for line in base.splitlines() if line.startswith("baseurl")] == [
        f"baseurl={ARCHIVE}/{part}/$basearch/" for part in ("os", "updates", "extras")
    ]
    assert f"baseurl={ARCHIVE}/sclo/$basearch/rh/" in collections
    for text, count in ((base, 3), (collections, 1)):
        assert text.count("gpgcheck=1\n") == count
        assert text.count("gpgkey=file:///etc/pki/rpm-gpg/RPM-GPG-KEY-CentOS-") == count
        assert "gpgcheck=0" not in text
    assert (guest.root / "etc/yum.repos.d/CentOS-Base.repo.before").read_text() == DEAD
    again = guest.run("python")
    assert again.stdout == f"python: {guest.wrapper}\n"
    assert len(guest.calls) == 2
    assert guest.run("repositories").stdout == ""


def test_the_systems_python_and_yum_stay_as_they_are(guest: Guest) -> None:
    guest.repo("CentOS-Base").write_text(DEAD)
    (guest.root / "usr/bin").mkdir(parents=True)
    for name in ("python", "python2", "yum"):
        (guest.root / "usr/bin" / name).write_text(name)
    assert guest.run("python").returncode == 0
    assert {file.name: file.read_text() for file in (guest.root / "usr/bin").iterdir()} == {
        name: name for name in ("python", "python2", "yum")
    }


def test_a_python_that_needs_its_libraries_gets_them(guest: Guest) -> None:
    guest.repo("CentOS-Base").write_text(DEAD)
    guest.collection_python.write_text(f'#!/bin/sh\n[ -n "$LD_LIBRARY_PATH" ] || exit 127\n{PYTHON.format(minor=8)}')
    done = guest.run("python")
    assert done.returncode == 0, done.stderr
    assert f"LD_LIBRARY_PATH={guest.root}/opt/rh/rh-python38/root/usr/lib64 " in guest.wrapper.read_text()


def test_a_python_that_runs_by_itself_gets_no_environment(guest: Guest) -> None:
    guest.repo("CentOS-Base").write_text(DEAD)
    guest.run("python")
    assert guest.wrapper.read_text() == f'#!/bin/sh\nexec {guest.root}/opt/rh/rh-python38/root/usr/bin/python3.8 "$@"\n'


def test_what_was_interrupted_is_finished_by_the_next_run(guest: Guest) -> None:
    guest.repo("CentOS-Base").write_text(DEAD)
    (guest.root / "log.fail").touch()
    assert guest.run("python").returncode == 1
    assert not guest.wrapper.exists()
    done = guest.run("python")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"python: {guest.wrapper}"
    guest.wrapper.unlink()
    assert guest.run("python").stdout.splitlines() == [
        "changed: /usr/local/bin/python3.8",
        f"python: {guest.wrapper}",
    ]


def test_a_package_without_a_python_that_runs_is_an_error(guest: Guest) -> None:
    guest.repo("CentOS-Base").write_text(DEAD)
    guest.collection_python.write_text("#!/bin/sh\nexit 1\n")
    done = guest.run("python")
    assert done.returncode == 1
    assert "expected Python >= 3.8 from the package rh-python38-python" in done.stderr


def test_check_mode_tells_and_changes_nothing(guest: Guest) -> None:
    guest.repo("CentOS-Base").write_text(DEAD)
    before = {file: file.read_bytes() for file in guest.root.rglob("*") if file.is_file() and file != guest.log}
    done = guest.run("python", CHECK="yes")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "would change: /etc/yum.repos.d/CentOS-Base.repo",
        "would change: package centos-release-scl-rh",
        "would change: package rh-python38-python",
        "would change: /usr/local/bin/python3.8",
    ]
    assert guest.calls == []
    assert before == {file: file.read_bytes() for file in guest.root.rglob("*") if file.is_file() and file != guest.log}


@pytest.mark.parametrize(
    ("found", "mirror", "expected"),
    [
        (DEAD, "", ARCHIVE),
        (DEAD, "http://mirror.example.com/7.9.2009/", "http://mirror.example.com/7.9.2009"),
        (OTHER, "", ""),
        (OTHER, "http://mirror.example.com/7.9.2009", "http://mirror.example.com/7.9.2009"),
        (DEAD.replace("mirrorlist=", "#mirrorlist="), "", ""),
        (None, "http://mirror.example.com/7.9.2009", ""),
    ],
    ids=["dead", "dead, mirror", "elsewhere", "elsewhere, mirror", "dead in a comment", "no file"],
)
def test_repositories_lead_to_the_archive_where_they_must(
    guest: Guest, found: str | None, mirror: str, expected: str
) -> None:
    file = guest.repo("CentOS-Base")
    if found is not None:
        file.write_text(found)
    done = guest.run("repositories", MIRROR=mirror)
    assert done.returncode == 0, done.stderr
    if expected:
        assert f"baseurl={expected}/os/$basearch/" in file.read_text()
    else:
        assert (file.read_text() if file.exists() else None) == found
        assert done.stdout == ""
    assert guest.run("repositories", MIRROR=mirror).stdout == ""


def test_another_mirror_takes_the_place_of_the_last_one_and_of_no_stranger(guest: Guest) -> None:
    guest.repo("CentOS-Base").write_text(DEAD)
    guest.run("repositories", MIRROR="http://one.example.com")
    assert guest.run("repositories", MIRROR="http://two.example.com").stdout
    text = guest.repo("CentOS-Base").read_text()
    assert "two.example.com" in text
    assert "one.example.com" not in text
    assert (guest.root / "etc/yum.repos.d/CentOS-Base.repo.before").read_text() == DEAD


def test_other_dead_repositories_are_switched_off(guest: Guest) -> None:
    dead = "[centos-sclo-sclo]\nbaseurl=http://mirror.centos.org/centos/7/sclo/$basearch/sclo/\nenabled = 1\n"
    guest.repo("CentOS-SCLo-scl").write_text(dead)
    guest.repo("company").write_text(dead)
    assert guest.run("repositories").stdout == "changed: /etc/yum.repos.d/CentOS-SCLo-scl.repo\n"
    assert "enabled=0" in guest.repo("CentOS-SCLo-scl").read_text()
    assert guest.repo("company").read_text() == dead
    assert guest.run("repositories").stdout == ""


def test_another_verb_is_refused(guest: Guest) -> None:
    done = guest.run("erase")
    assert (done.returncode, done.stdout) == (64, "")
    assert "repositories|python" in done.stderr
