# SPDX-License-Identifier: GPL-3.0-or-later
"""Entry point of `python -m nano_banana`."""

from __future__ import annotations

from nano_banana.cli import run

if __name__ == "__main__":
    run()
