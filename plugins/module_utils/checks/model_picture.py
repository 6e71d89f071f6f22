# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""model.picture: does the engine draw one picture that deserves the name?"""

from __future__ import annotations

import inspect
import json
import time
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Tuple

from . import picture_probe
from .host import TIMED_OUT, Completed, Host
from .result import FAILED, PASSED, SKIPPED, Outcome

MEASURE_SECONDS = 30.0
# Where the engine writes, in a PNG, which backend drew it.
BACKEND_KEY = "nano_banana.backend"
# Below this brightness (0-255) the eye sees black; a decoder fault or a NaN in the VAE gives exactly 0.
BLACK = 16
# A layout on white: paper is the commonest colour, bright, and neither hidden by parts nor all there is.
PAPER_BRIGHTNESS = 200
PAPER_SHARE = (0.20, 0.995)


@dataclass(frozen=True)
class Order:
    """The picture that is asked for. ``size`` in pixels (width, height), ``timeout`` in seconds."""

    engine: str
    python: str
    output: str
    prompt: str
    backend: str
    seed: int = 12345
    size: Tuple[int, int] = (512, 512)
    timeout: float = 60.0

    def command(self) -> List[str]:
        """The engine's command line."""
        width, height = self.size
        return [
            *(self.engine, "generate", "--prompt", self.prompt, "--output", self.output),
            *("--size", f"{width}x{height}", "--seed", str(self.seed), "--backend", self.backend, "--json"),
        ]


def _faults(order: Order, found: Dict[str, Any]) -> List[str]:
    width, height = found["size"]
    low, high = found["brightness"]
    share, paper = found["share"], min(found["dominant"])
    faults = []
    if (width, height) != order.size:
        faults.append(f"its size is {width}x{height}")
    if high < BLACK:
        faults.append("it is all black")
    elif low == high:
        faults.append("it has one colour only")
    elif paper < PAPER_BRIGHTNESS:
        faults.append(f"its dominant colour {tuple(found['dominant'])} is no white background")
    elif not PAPER_SHARE[0] <= share <= PAPER_SHARE[1]:
        faults.append(f"the background covers {share:.1%} of it")
    backend = found["metadata"].get(BACKEND_KEY, "")
    if backend != order.backend:
        faults.append(f"its metadata names the backend '{backend}'" if backend else "its metadata names no backend")
    return faults


def judge(order: Order, drawn: Completed, seconds: float, measured: Optional[Completed]) -> Outcome:
    """Judge the engine's run and what was measured in its picture; ``measured`` is None if nothing was drawn."""
    expected = (
        f"{order.size[0]}x{order.size[1]} by {order.backend} within {order.timeout:g} s, bright background "
        f"({PAPER_SHARE[0]:.0%} to {PAPER_SHARE[1]:.1%}, >= {PAPER_BRIGHTNESS}), not black"
    )
    if drawn.rc == TIMED_OUT:
        why = "the first inference took too long; page sharing of the VM's memory is a known cause"
        return Outcome(FAILED, expected, f"nothing after {seconds:.1f} s", why)
    if drawn.rc:
        why = f"the engine ended with status {drawn.rc}"
        return Outcome(FAILED, expected, drawn.last_line(), why, {"stderr": drawn.err[-2000:]})
    if measured is None or measured.rc:
        found = measured.last_line() if measured else "no file"
        return Outcome(FAILED, expected, found, f"{order.output} is missing or cannot be decoded")
    figures: Dict[str, Any] = json.loads(measured.out)
    evidence = {
        **{key: figures[key] for key in ("format", "size", "brightness", "dominant", "share")},
        "backend": figures["metadata"].get(BACKEND_KEY, ""),
        "picture": order.output,
        "draw_seconds": round(seconds, 3),
    }
    author = evidence["backend"] or "an unnamed backend"
    actual = (
        f"{figures['size'][0]}x{figures['size'][1]} {figures['format']} by {author} "
        f"in {seconds:.1f} s, background {tuple(figures['dominant'])} {figures['share']:.1%}"
    )
    faults = _faults(order, figures)
    if faults:
        return Outcome(FAILED, expected, actual, "the picture is wrong: " + "; ".join(faults), evidence)
    return Outcome(PASSED, expected, actual, evidence=evidence)


def probe(host: Host, order: Order, check_mode: bool) -> Outcome:
    """Draw, measure, judge. An older picture is deleted first: it must not pass for today's."""
    if check_mode:
        return Outcome(SKIPPED, detail="check mode: drawing would write a picture")
    host.remove(order.output)
    started = time.monotonic()
    drawn = host.run(order.command(), order.timeout)
    seconds = time.monotonic() - started
    measured = None
    if drawn.rc == 0:
        program = inspect.getsource(picture_probe)
        measured = host.run([order.python, "-I", "-B", "-c", program, order.output], MEASURE_SECONDS)
    return judge(order, drawn, seconds, measured)
