# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs behind a virtual machine of the lab's vCenter: one interface, several drivers."""
