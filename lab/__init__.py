# SPDX-License-Identifier: GPL-3.0-or-later
"""The embedded default: a vCenter simulator on this machine whose virtual machines are real guests."""
