# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is to be done with a guest's data disk, its share and its links, and what is refused."""

from __future__ import annotations

DOCUMENTATION = r"""
name: disk_plan
short_description: Plan the data disk, the share and the links of a guest
version_added: 0.1.0
author:
  - The nanobanana.testbed developers (@nanobanana-testbed)
description:
  - Compares what the role C(data_disk) was asked for with what its probe found on the guest. Changes nothing.
  - Without a probe it only looks for values that cannot be.
positional: probe
options:
  _input:
    description: The wish, as the role puts it together.
    type: dict
    required: true
  probe:
    description: What C(roles/data_disk/files/probe.py) answered.
    type: dict
"""

EXAMPLES = r"""
- name: Refuse what cannot be
  ansible.builtin.assert:
    that: (__data_disk_wish | nanobanana.testbed.disk_plan).refusals == []
"""

RETURN = r"""
_value:
  description:
    - C(refusals) has one message for each thing that has to be put right by a person. C(steps) names what is to be done, in
      this order. C(skipped) says why a guest gets no disk of its own; it is empty where it gets one. C(files) and C(folders)
      are those that are not as they should be.
  type: dict
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any

SHARES = ("none", "nfs", "bind")
# mkfs leaves up to one block group of a disk unused: what is less than this is no growth.
SLACK = 192 << 20
ABSOLUTE = re.compile(r"/[A-Za-z0-9._/-]+")
LABEL = re.compile(r"[A-Za-z0-9_-]{1,12}")


def disk_plan(wish: Mapping[str, Any], probe: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Refusals first: where there is one, no step may run."""
    refusals = _bad_values(wish)
    if probe is None or refusals:
        return {"refusals": refusals, "steps": [], "skipped": "", "files": [], "folders": []}
    container, disk = probe["container"], bool(wish["disk"]) and not probe["container"]
    files = [path for path, text in wish["files"].items() if probe["files"][path] != _digest(text)]
    steps = ["packages"] if probe["missing"] else []
    if disk:
        refusals += _disk_refusals(wish, probe)
        steps += _disk_steps(wish, probe) if not refusals else []
    owned = f"{wish['user']} {wish['user']} 755"
    fresh = "mount" in steps
    folders = [path for path in wish["folders"] if fresh or probe["folders"][path] != owned]
    steps += ["folders"] if folders else []
    steps += ["files"] if files else []
    steps += _share_steps(wish, probe)
    links = {path: probe["links"][path] for path in wish["links"]}
    steps += ["links"] if any(not _link_is_right(links[path], target) for path, target in wish["links"].items()) else []
    refusals += [_file_refusal(wish, path) for path, seen in links.items() if seen["kind"] == "file"]
    return {
        "refusals": refusals,
        "steps": steps,
        "skipped": f"a {container} container has no disk of its own" if container and wish["disk"] else "",
        "files": files,
        "folders": folders,
    }


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _link_is_right(seen: Mapping[str, str], target: str) -> bool:
    """An empty target asks for a plain folder."""
    return seen["target"] == target if target else seen["kind"] == "folder"


def _message(wish: Mapping[str, Any], thing: str, expected: str, found: Any, next_step: str) -> str:
    return f"{thing} of {wish['host']}: expected {expected}; found {found}. Next: {next_step}"


def _bad_values(wish: Mapping[str, Any]) -> list[str]:
    """What no guest could fulfil."""
    share = wish["share"]
    bad: list[tuple[bool, str, str, Any, str]] = [
        (bool(wish["name"]) and not wish["disk"], "data_disk_name", f"one of the VM's disks ({wish['disk_names']})",
         wish["name"], "name one of vm_disks, or leave data_disk_name empty for a guest without a data disk"),
        (wish["filesystem"] not in ("ext4", "xfs"), "data_disk_filesystem", "ext4 or xfs", wish["filesystem"],
         "correct it in group_vars"),
        (not LABEL.fullmatch(wish["label"]) or wish["label"] == wish["making"], "data_disk_label",
         f"1 to 12 letters, digits, _ or -, and not {wish['making']}", wish["label"], "correct it in group_vars"),
        (not ABSOLUTE.fullmatch(wish["path"]) or wish["path"].count("/") < 2, "data_disk_path",
         "an absolute path of two folders or more", wish["path"], "correct it in group_vars"),
        (share["type"] not in SHARES, "data_disk_share_type", "none, nfs or bind", share["type"],
         "correct it in group_vars"),
        (share["type"] == "nfs" and not re.fullmatch(r"[^\s:/]+:/\S*|\[[0-9a-fA-F:]+\]:/\S*", share["source"]),
         "data_disk_share_source", "SERVER:/PATH", share["source"] or "nothing", "correct it in group_vars"),
        (share["type"] == "bind" and not ABSOLUTE.fullmatch(share["source"]), "data_disk_share_source",
         "the absolute path of a folder on the guest", share["source"] or "nothing", "correct it in group_vars"),
        (not ABSOLUTE.fullmatch(share["path"]) or share["path"] == wish["path"], "data_disk_share_path",
         "an absolute path other than data_disk_path", share["path"], "correct it in group_vars"),
        (bool(re.search(r"\s", share["options"])), "data_disk_share_options", "mount options without blanks",
         share["options"], "correct it in group_vars"),
    ]  # fmt: skip
    return [_message(wish, thing, expected, found, then) for wrong, thing, expected, found, then in bad if wrong]


def _named(wish: Mapping[str, Any]) -> bool:
    """Whether the inventory names exactly this disk as one whose data may go."""
    return _plain(wish["format_over"]) == _plain(wish["disk"]["uuid"])


def _plain(uuid: str) -> str:
    return uuid.replace("-", "").lower()


def _ours(wish: Mapping[str, Any], disk: Mapping[str, Any]) -> bool:
    return bool(disk["type"] == wish["filesystem"] and disk["label"] == wish["label"] and not disk["partitions"])


def _to_be_formatted(wish: Mapping[str, Any], disk: Mapping[str, Any]) -> bool:
    """Blank, or begun by an earlier run that did not end, or named by the inventory."""
    blank = not (disk["signatures"] or disk["partitions"])
    begun = disk["label"] == wish["making"] and not disk["partitions"]
    return blank or begun or (_named(wish) and not _ours(wish, disk))


def _disk_refusals(wish: Mapping[str, Any], probe: Mapping[str, Any]) -> list[str]:
    uuid, disk, found = wish["disk"]["uuid"], probe["disk"], []
    thing = f"data disk {uuid}"
    if disk is None:
        names = ", ".join(probe["by_id"]) or "nothing"
        return [
            _message(wish, thing, f"/dev/disk/by-id/wwn-0x{_plain(uuid)}", names,
                     "ansible-playbook playbooks/provision.yml (it sets disk.EnableUUID); a guest that ran before that "
                     "has to be powered off and on")
        ]  # fmt: skip
    formatting = _to_be_formatted(wish, disk)
    if not formatting and not _ours(wish, disk):
        there = ", ".join(disk["partitions"] + disk["signatures"])
        found.append(
            _message(wish, thing, f"an empty disk, or {wish['filesystem']} with the label {wish['label']}",
                     f"{disk['link']} with {there}",
                     f'look at what it holds; data_disk_format_over: "{uuid}" lets this disk be formatted')
        )  # fmt: skip
    elsewhere = [path for path in disk["mounted"] if path != wish["path"] or formatting]
    if elsewhere or disk["holders"]:
        used = ", ".join(elsewhere + disk["holders"])
        found.append(_message(wish, thing, "a disk that nothing else uses", f"it in use by {used}", "free the disk"))
    if probe["same_label"]:
        others = ", ".join(probe["same_label"])
        found.append(
            _message(wish, f"label {wish['label']}", "no other disk with it", others, "set another data_disk_label")
        )
    mounted_here = bool(probe["mount"]) and wish["path"] in disk["mounted"]
    if probe["mount"] and not mounted_here:
        found.append(
            _message(wish, wish["path"], "the data disk", f"{probe['mount']['source']} mounted there",
                     f"umount {wish['path']}, or set another data_disk_path")
        )  # fmt: skip
    if probe["hidden"]:
        files = ", ".join(probe["hidden"])
        found.append(
            _message(wish, wish["path"], "an empty folder, as a mount hides what is in it", files,
                     f"move them away from {wish['path']}, or set another data_disk_path")
        )  # fmt: skip
    return found


def _disk_steps(wish: Mapping[str, Any], probe: Mapping[str, Any]) -> list[str]:
    disk = probe["disk"]
    line = f"LABEL={wish['label']} {wish['path']} {wish['filesystem']} {wish['mount_options']}"
    formatting = _to_be_formatted(wish, disk)
    steps = ["format"] if formatting else []
    if formatting or wish["path"] not in disk["mounted"] or probe["line"] != line:
        steps.append("mount")
    if not formatting and 0 < disk["filesystem_size"] < disk["size"] - SLACK:
        steps.append("grow")
    return steps


def _share_steps(wish: Mapping[str, Any], probe: Mapping[str, Any]) -> list[str]:
    share, seen = wish["share"], probe["share"]
    if share["type"] == "none":
        return []
    line = f"{share['source']} {share['path']} {share['fstype']} {share['mount_options']}"
    return [] if seen["right"] and seen["writable"] and seen["line"] == line else ["share"]


def _file_refusal(wish: Mapping[str, Any], path: str) -> str:
    return _message(wish, path, "a folder or a link", "a file", "move it away")


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters of this file."""
        return {"disk_plan": disk_plan}
