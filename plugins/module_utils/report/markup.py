# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTML by functions: what is not marked as HTML is escaped, so that forgetting it is impossible."""

from __future__ import annotations

import html

_EMPTY = frozenset({"img", "link", "meta"})


class Html(str):
    """Text that is HTML already; only ``el`` and ``join`` make it, and the page's own style sheet."""

    __slots__ = ()


def el(element: str, /, *content: str, **attributes: str) -> Html:
    """An element. ``class_`` is the attribute class, ``http_equiv`` is http-equiv; an empty value leaves it out."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(value)}"' for key, value in attributes.items() if value
    )
    return Html(f"<{element}{given}>" if element in _EMPTY else f"<{element}{given}>{join(*content)}</{element}>")


def join(*content: str) -> Html:
    """Pieces one after the other."""
    return Html("".join(piece if isinstance(piece, Html) else html.escape(piece) for piece in content))


def duration(seconds: float) -> str:
    """'0.4 s', '41 s', '3 min 12 s', '1 h 4 min'."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
