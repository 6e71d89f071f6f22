# SPDX-License-Identifier: GPL-3.0-or-later
"""The model engine of nanobanana.testbed: pictures of products taken apart, drawn from a prompt."""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.2.0"
