# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look for modules in an environment. Its text is handed to the Python of the engine's environment.

Arguments: names of all modules, and of those that are imported for real; both comma-separated. Nothing may be imported
here but the standard library: the module that carries this file runs in the guest's own Python.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
import traceback
from typing import Any, Dict, List


def missing(names: List[str]) -> List[str]:
    """The modules that the interpreter would not find."""
    found = []
    for name in names:
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, ValueError, AttributeError):
            spec = None
        if spec is None:
            found.append(name)
    return found


def broken(names: List[str]) -> Dict[str, str]:
    """What each import said that failed."""
    found = {}
    for name in names:
        try:
            importlib.import_module(name)
        # A package may raise anything, SystemExit included.
        except BaseException:  # pylint: disable=broad-exception-caught
            found[name] = traceback.format_exc()[-4000:]
    return found


def main(names: List[str], native: List[str]) -> Dict[str, Any]:
    """All answers; versions only of what was imported."""
    absent = missing(names)
    failed = broken([name for name in native if name not in absent])
    torch, pillow = sys.modules.get("torch"), sys.modules.get("PIL")
    return {
        "missing": absent,
        "broken": failed,
        "torch": str(getattr(torch, "__version__", "")) if torch else None,
        "torch_cuda": getattr(getattr(torch, "version", None), "cuda", None) if torch else None,
        "pillow": str(getattr(pillow, "__version__", "")) if pillow else None,
    }


if __name__ == "__main__":
    answer = main(*([word for word in argument.split(",") if word] for argument in sys.argv[1:3]))
    sys.stdout.write("\n" + json.dumps(answer) + "\n")
