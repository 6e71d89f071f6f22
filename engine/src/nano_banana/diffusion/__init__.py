# SPDX-License-Identifier: GPL-3.0-or-later
"""SDXL within a few gigabytes of video memory. Needs the extra `diffusion`; nothing outside imports it at start."""
