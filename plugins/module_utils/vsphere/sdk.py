# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""pyVmomi, imported in one place: Ansible's own checks import modules where it is not installed."""

from __future__ import annotations

from typing import Any

connect: Any
pbm: Any
SoapStubAdapter: Any
vim: Any
vmodl: Any
try:
    import pyVim.connect
    import pyVmomi

    connect, vim, vmodl, pbm = pyVim.connect, pyVmomi.vim, pyVmomi.vmodl, pyVmomi.pbm
    SoapStubAdapter = pyVmomi.SoapStubAdapter
    HAS_PYVMOMI = True
except ImportError:
    vim = vmodl = connect = pbm = SoapStubAdapter = None
    HAS_PYVMOMI = False
