# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure one picture. Its text is handed to the Python of the engine's environment, which has Pillow.

Nothing may be imported here but the standard library and, inside the functions, Pillow: the module that
carries this file runs in the guest's own Python, which has neither Pillow nor this collection installed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Dict, List, Tuple

# 4 bits a channel: near-whites of a light paper grain count as one colour, distinct parts do not.
BITS = 4


def dominant(pixels: Any) -> Tuple[List[int], float]:
    """The commonest colour of an RGB picture after rounding, as ([r, g, b], share of all pixels)."""
    step = 1 << (8 - BITS)
    rounded = pixels.point([value // step * step + step // 2 for value in range(256)] * 3)
    counts = rounded.getcolors(maxcolors=1 << (3 * BITS))
    count, colour = max(counts)
    return list(colour), count / float(pixels.width * pixels.height)


def fault(path: str) -> str:
    """Why there is nothing to measure at path; empty where there is."""
    file = Path(path)
    if not file.is_file():
        return "missing"
    return "" if file.stat().st_size else "empty"


def measure(path: str) -> Dict[str, Any]:
    """Format, size, brightness range, dominant colour and text metadata of the picture at path."""
    from PIL import Image

    with Image.open(path) as picture:
        picture.load()
        pixels = picture.convert("RGB")
        colour, share = dominant(pixels)
        grey = pixels.convert("L")
        return {
            "format": picture.format,
            "size": [picture.width, picture.height],
            "brightness": list(grey.getextrema()),
            "dominant": colour,
            "share": round(share, 4),
            "metadata": {key: value for key, value in picture.info.items() if isinstance(value, str)},
        }


if __name__ == "__main__":
    why = fault(sys.argv[1])
    json.dump({"fault": why} if why else measure(sys.argv[1]), sys.stdout)
