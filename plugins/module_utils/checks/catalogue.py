# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All checks of the three gates: what the gate's waivers may name, and what the reference lists."""

from __future__ import annotations

from typing import Tuple

from .catalogue_guest import GUEST
from .catalogue_vsphere import MACHINE, PLATFORM
from .result import Check

CATALOGUE: Tuple[Check, ...] = (*PLATFORM, *MACHINE, *GUEST)
