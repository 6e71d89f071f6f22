# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with the wish of the roles nvidia_driver and cuda_toolkit, said before anything is installed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import Problem
from . import nvidia_versions as versions
from .result import FAILED, WARNED

FAMILIES = ("Debian", "RedHat")
ORIGINS = ("distribution", "nvidia", "mirror", "runfile")
SHA256 = re.compile(r"^[0-9a-f]{64}$")


@dataclass
class Judged:
    """``refusals`` stop the role; ``notes`` are worth a line."""

    refusals: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def refuse(self, what: str, expected: str, found: str, mend: str) -> None:
        """One refusal in the form of all messages."""
        self.refusals.append(str(Problem(what, expected, found, mend)))


def driver(wish: Mapping[str, Any], found: Mapping[str, Any]) -> Judged:
    """The driver's wish; ``found`` is the probe's answer, empty before there is one."""
    judged = Judged()
    host, branch, version = str(wish["host"]), str(wish["branch"]), str(wish["version"])
    if not branch or not _system(judged, "nvidia_driver_branch", wish):
        return judged
    if versions.branch(branch) is None:
        known = ", ".join(versions.branches())
        judged.refuse(
            f"nvidia_driver_branch of {host}", f"one of {known}", branch, "set nvidia_driver_branch in group_vars"
        )
        return judged
    if version and not re.match(rf"^{branch}(\.\d+){{1,2}}$", version):
        judged.refuse(
            f"nvidia_driver_version of {host}",
            f"a full version of branch {branch}, such as {versions.newest(branch)}",
            version,
            "correct nvidia_driver_version, or leave it empty for the newest of its branch",
        )
        return judged
    _cuda_fits(judged, "nvidia_driver_branch", host, version or branch, str(wish["cuda"]), bool(wish["strict"]))
    _file(judged, "nvidia_driver", wish, wish["kind"] == "vgpu" or wish["source"] == "runfile")
    if wish["kind"] == "vgpu" and not wish["token"]:
        judged.refuse(
            f"nvidia_driver_vgpu_token of {host}",
            "the content of a client configuration token, because a vGPU without a licence runs slowly",
            "nothing",
            "put the token into Ansible Vault and name it in nvidia_driver_vgpu_token",
        )
    if found:
        _driver_on(judged, wish, found)
    return judged


def _driver_on(judged: Judged, wish: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    host, source, branch, system = wish["host"], wish["source"], wish["branch"], str(wish["os"])
    from_file = wish["kind"] == "vgpu" or source == "runfile"
    rows = {origin: versions.packages(system, origin, branch) for origin in ORIGINS}
    if not from_file and rows[source] is None:
        good = [origin for origin, row in rows.items() if row] + ["runfile"]
        judged.refuse(
            f"nvidia_driver_source of {host}",
            f"a source that has branch {branch} for {system}: {', '.join(good)}",
            source,
            "set nvidia_driver_source or nvidia_driver_branch in group_vars",
        )
        return
    row = rows.get(source)
    if found.get("secure_boot") and (from_file or row is None or not row.signed):
        judged.refuse(
            f"Secure Boot of {host}",
            "signed kernel modules, which only nvidia_driver_source=distribution on Ubuntu brings",
            f"Secure Boot on and nvidia_driver_source={'a file' if from_file else source}, whose module is unsigned",
            "set nvidia_driver_source to distribution, or turn Secure Boot off in the VM's boot options",
        )
    _space(judged, "nvidia_driver", wish, found)
    other = found.get("packages") if from_file else found.get("runfile")
    if other:
        judged.refuse(
            f"driver of {host}",
            "one driver",
            f"{'packages' if from_file else 'a runfile'} of another source already installed ({other})",
            "remove them (apt-get purge '*nvidia*')" if from_file else "run nvidia-uninstall on the guest, then again",
        )


def cuda(wish: Mapping[str, Any], found: Mapping[str, Any]) -> Judged:
    """The toolkit's wish; ``found`` is the probe's answer, empty before there is one."""
    judged = Judged()
    host, version = str(wish["host"]), str(wish["version"])
    if not version or not _system(judged, "cuda_toolkit_version", wish):
        return judged
    if versions.toolkit(version) is None:
        known = ", ".join(versions.toolkits())
        judged.refuse(
            f"cuda_toolkit_version of {host}", f"one of {known}", version, "set cuda_toolkit_version in group_vars"
        )
        return judged
    of = str(found.get("driver") or wish["driver"])
    if of:
        _cuda_fits(judged, "cuda_toolkit_version", host, of, version, bool(wish["strict"]))
    _file(judged, "cuda_toolkit", wish, wish["source"] == "runfile")
    if found:
        _toolkit_on(judged, wish, found)
    return judged


def _toolkit_on(judged: Judged, wish: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    host, version, system = wish["host"], str(wish["version"]), str(wish["os"])
    missing = versions.in_repository(version, system) if wish["source"] in ("nvidia", "mirror") else ""
    if missing:
        judged.refuse(
            f"cuda_toolkit_version of {host}",
            f"a CUDA that NVIDIA packages for {system} ({missing})",
            version,
            "set cuda_toolkit_version, or cuda_toolkit_source to runfile, or to none where PyTorch's wheels will do",
        )
    _space(judged, "cuda_toolkit", wish, found)


def _system(judged: Judged, asked: str, wish: Mapping[str, Any]) -> bool:
    """Windows hosts have no GPU here, and of other systems nothing is known."""
    if wish["family"] in FAMILIES:
        return True
    judged.refuse(
        f"{asked} of {wish['host']}",
        f"nothing on a system of the family {wish['family'] or 'unknown'}: only {' and '.join(FAMILIES)} are supported",
        str(wish.get("branch") or wish["version"]),
        f"set {asked} to '' for this host, or gather the facts os_family, distribution and python before this role",
    )
    return False


def _space(judged: Judged, role: str, wish: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    free, needed = int(found["free_mb"]), int(wish["space_mb"])
    if not found["installed"] and free < needed:
        judged.refuse(
            f"disk of {wish['host']}",
            f"{needed} MB free below /usr and /var ({role}_space_mb)",
            f"{free} MB",
            "grow the disk of the template, or make room",
        )


def _cuda_fits(judged: Judged, asked: str, host: str, of: str, cuda_version: str, strict: bool) -> None:
    if not cuda_version:
        return
    verdict = versions.judge(of, cuda_version, strict)
    if verdict.status == WARNED:
        judged.notes.append(verdict.reason)
    if verdict.status != FAILED:
        return
    newer = versions.oldest_branch_with(verdict.minimum)
    older = versions.newest_toolkit_for(of, strict)
    mends = [f"set nvidia_driver_branch to {newer} or newer"] if newer else []
    mends += [f"set cuda_toolkit_version to {older} or older"] if older else []
    judged.refuse(
        f"{asked} of {host}",
        f"at least driver {verdict.minimum} for CUDA {cuda_version}" if verdict.minimum else "versions of the table",
        f"driver {of} ({verdict.reason})",
        ", or ".join(mends) or "correct both in group_vars",
    )


def _file(judged: Judged, role: str, wish: Mapping[str, Any], needed: bool) -> None:
    """What an installation from a file needs, and what a mirror needs."""
    host = wish["host"]
    if wish["source"] == "mirror" and not wish["repo_url"]:
        judged.refuse(
            f"nvidia_driver_repo_url of {host}",
            f"the address of your copy of NVIDIA's repository, because {role}_source is mirror",
            "nothing",
            "set nvidia_driver_repo_url in group_vars",
        )
    if not needed:
        return
    if not wish["file"] or not SHA256.match(str(wish["sha256"])):
        judged.refuse(
            f"{role}_file of {host}",
            f"a path on the control node or an address, and its {role}_file_sha256 of 64 hexadecimal digits",
            f"'{wish['file']}' and '{wish['sha256']}'",
            f"sha256sum FILE, then set {role}_file and {role}_file_sha256 in group_vars",
        )
    if not wish["version"]:
        judged.refuse(
            f"{role}_version of {host}",
            "the version that the file brings, because only that tells whether it is installed",
            "nothing",
            f"set {role}_version in group_vars",
        )
