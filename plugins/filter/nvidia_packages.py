# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of packages and repositories from NVIDIA's tables."""

from __future__ import annotations

DOCUMENTATION = r"""
name: nvidia_packages
short_description: Look up how a driver branch is packaged for a system
version_added: 0.1.0
author:
  - The nanobanana.testbed developers (@nanobanana-testbed)
description:
  - Reads C(plugins/module_utils/checks/data/nvidia.py).
positional: origin, branch
options:
  _input:
    description: The system, such as V(ubuntu-22.04), V(debian-12) or V(centos-7).
    type: str
    required: true
  origin:
    description: V(distribution), V(nvidia), V(mirror), or V(file) for what a driver that comes as a file needs for its build.
    type: str
    required: true
  branch:
    description: The driver branch.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Show the packages
  ansible.builtin.debug:
    msg: "{{ 'ubuntu-22.04' | nanobanana.testbed.nvidia_packages('distribution', '535') }}"
"""

RETURN = r"""
_value:
  description:
    - C(user) and C(kernel), lists of packages, the latter with C({kernel}) where the running kernel's release belongs. Both are
      empty where the table has no such row.
    - C(repository) with C(name), C(url) and C(key) of NVIDIA's repository, each empty where there is none.
  type: dict
"""

from collections.abc import Callable
from typing import Any

from ansible_collections.nanobanana.testbed.plugins.module_utils.checks import nvidia_versions as versions
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.data.nvidia import (
    BUILD_PACKAGES,
    REPOSITORY_URL,
)


def nvidia_packages(os: str, origin: str, branch: str) -> dict[str, Any]:
    """Packages of the driver, those for the kernel, and NVIDIA's repository."""
    row = versions.packages(os, origin, branch)
    repository = versions.repository(os)
    kernel = list(row.kernel) if row else []
    if origin == "file":
        kernel = list(BUILD_PACKAGES["RedHat" if os.startswith("centos") else "Debian"])
    return {
        "user": [name.format(branch=branch) for name in row.user] if row else [],
        "kernel": [name.replace("{branch}", branch) for name in kernel],
        "repository": {
            "name": repository.name if repository else "",
            "url": REPOSITORY_URL.format(name=repository.name) if repository else "",
            "key": repository.key if repository else "",
        },
    }


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters of this file."""
        return {"nvidia_packages": nvidia_packages}
