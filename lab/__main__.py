# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m lab VERB`, from the repository root."""

from __future__ import annotations

import sys

from lab.cli import main

sys.exit(main())
