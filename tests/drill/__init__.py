# SPDX-License-Identifier: GPL-3.0-or-later
"""``make preflight-drill``: break one thing after the other, and see the checklist find it and its fix mend it."""
