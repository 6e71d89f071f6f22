# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands that fixes tell people to type, each written once. {name} is the host. Pure; Python >= 3.8."""

from __future__ import annotations

PROVISION = "ansible-playbook playbooks/provision.yml --limit {name}"
# Takes the VM and what is on it away.
VM_ANEW = f"ansible-playbook playbooks/teardown.yml --limit {{name}} && {PROVISION}"
CONFIGURE = "ansible-playbook playbooks/configure.yml --limit {name}"
# A role alone takes a quarter of the time of all of them.
DISK = f"{CONFIGURE} --tags data_disk"
DRIVER = f"{CONFIGURE} --tags nvidia_driver,cuda_toolkit"
KERNEL = f"{CONFIGURE} --tags kernel_tuning"
PYTHON = f"{CONFIGURE} --tags pyenv,model"
# Brings back what pip believes to be installed.
REINSTALL = f"{CONFIGURE} --tags model -e model_reinstall=true"
