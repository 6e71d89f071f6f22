# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""model.picture: does the engine draw one picture that deserves the name?"""

from __future__ import annotations

import inspect
import json
import time
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Tuple

from . import picture_probe
from .diagnosis import explained
from .host import TIMED_OUT, Completed, Host, shown
from .result import FAILED, PASSED, Outcome

MEASURE_SECONDS = 30.0
# Where the engine writes, in a PNG, which backend drew it.
BACKEND_KEY = "nano_banana.backend"
# Below this brightness (0-255) the eye sees black; a decoder fault or a NaN in the VAE gives exactly 0.
BLACK = 16
# A layout on white: paper is the commonest colour, bright, and neither hidden by parts nor all there is.
PAPER_BRIGHTNESS = 200
# Red, green and blue of paper lie this close together; exchanged channels or a wrong decoder drive them apart.
TINT = 40
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


@dataclass(frozen=True)
class Drawing:
    """What was drawn: the engine's end, its seconds, and the measures; ``measured`` is None if nothing was drawn."""

    drawn: Completed
    seconds: float
    measured: Optional[Completed] = None


def draw(host: Host, order: Order) -> Drawing:
    """Draw and measure. An older picture is deleted first: it must not pass for today's."""
    try:
        host.remove(order.output)
    except OSError as error:
        return Drawing(Completed(1, err=f"{order.output}: an older picture cannot be deleted: {error.strerror}"), 0.0)
    started = time.monotonic()
    drawn = host.run(order.command(), order.timeout)
    seconds = time.monotonic() - started
    if drawn.rc:
        return Drawing(drawn, seconds)
    program = inspect.getsource(picture_probe)
    return Drawing(drawn, seconds, host.run([order.python, "-I", "-B", "-c", program, order.output], MEASURE_SECONDS))


def _figures(measured: Completed) -> Dict[str, Any]:
    """What the measuring program prints, checked; empty where it is no such thing."""
    try:
        found = json.loads(measured.out)
        if found.get("fault") in ("missing", "empty"):
            return {"fault": found["fault"]}
        return {
            "format": shown(str(found["format"])),
            "size": [int(each) for each in found["size"]][:2],
            "brightness": [int(each) for each in found["brightness"]][:2],
            "dominant": [int(each) for each in found["dominant"]][:3],
            "share": float(found["share"]),
            "backend": shown(str(found["metadata"].get(BACKEND_KEY, ""))),
        }
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return {}


def _faults(order: Order, found: Dict[str, Any]) -> List[str]:
    low, high = found["brightness"]
    red, green, blue = found["dominant"]
    share = found["share"]
    faults = []
    if tuple(found["size"]) != order.size:
        faults.append(f"its size is {found['size'][0]}x{found['size'][1]}")
    if high < BLACK:
        faults.append("the picture is all black")
    elif low == high:
        faults.append("it has one colour only")
    elif max(red, green, blue) - min(red, green, blue) > TINT:
        faults.append(f"colour shift: its dominant colour {(red, green, blue)} is no white background")
    elif min(red, green, blue) < PAPER_BRIGHTNESS:
        faults.append(f"its dominant colour {(red, green, blue)} is no white background")
    elif not PAPER_SHARE[0] <= share <= PAPER_SHARE[1]:
        faults.append(f"the background covers {share:.1%} of it")
    backend = found["backend"]
    if backend != order.backend:
        faults.append(f"its metadata names the backend '{backend}'" if backend else "its metadata names no backend")
    return faults


def _expected(order: Order) -> str:
    return (
        f"{order.size[0]}x{order.size[1]} by {order.backend} within {order.timeout:g} s, bright background "
        f"({PAPER_SHARE[0]:.0%} to {PAPER_SHARE[1]:.1%}, >= {PAPER_BRIGHTNESS}), not black"
    )


def _not_drawn(order: Order, drawing: Drawing, facts: Mapping[str, Any]) -> Outcome:
    drawn, seconds, text = drawing.drawn, drawing.seconds, f"{drawing.drawn.out}\n{drawing.drawn.err}"
    if drawn.rc == TIMED_OUT:
        slow = {**facts, "first": True, "seconds": seconds, "limit": order.timeout - 1}
        outcome = Outcome(FAILED, _expected(order), f"nothing after {seconds:.1f} s", "the first picture took too long")
        return explained(outcome, text, slow)
    why = f"the engine ended with status {drawn.rc}"
    evidence = {"stderr": drawn.err[-2000:]}
    return explained(Outcome(FAILED, _expected(order), drawn.last_line(), why, evidence), text, facts)


def judge(order: Order, drawing: Drawing, facts: Mapping[str, Any]) -> Outcome:
    """Judge the engine's run and what was measured in its picture."""
    expected, measured = _expected(order), drawing.measured
    if drawing.drawn.rc or measured is None:
        return _not_drawn(order, drawing, facts)
    figures = _figures(measured)
    if not figures or "fault" in figures or len(figures["size"]) + len(figures["brightness"]) != 4:
        fault = figures.get("fault", "")
        why = f"{order.output} is {fault}" if fault else f"{order.output} cannot be decoded"
        actual = {"missing": "no file", "empty": "a file of 0 bytes"}.get(fault, measured.last_line())
        text = f"{why}\n{drawing.drawn.err}\n{measured.err}"
        return explained(Outcome(FAILED, expected, actual, why, {"stderr": measured.err[-2000:]}), text, facts)
    evidence = {**figures, "picture": order.output, "draw_seconds": round(drawing.seconds, 3)}
    author = figures["backend"] or "an unnamed backend"
    actual = (
        f"{figures['size'][0]}x{figures['size'][1]} {figures['format']} by {author} "
        f"in {drawing.seconds:.1f} s, background {tuple(figures['dominant'])} {figures['share']:.1%}"
    )
    faults = _faults(order, figures)
    if faults:
        why = "the picture is wrong: " + "; ".join(faults)
        return explained(Outcome(FAILED, expected, actual, why, evidence), f"{why}\n{drawing.drawn.err}", facts)
    return Outcome(PASSED, expected, actual, evidence=evidence)


def judge_first(seconds: float, limit: float, facts: Mapping[str, Any]) -> Outcome:
    """The first picture's time, the start of the engine included; ``limit`` in seconds."""
    expected, actual = f"at most {limit:g} s", f"{seconds:.1f} s"
    evidence = {"first_seconds": round(seconds, 3)}
    if seconds <= limit:
        return Outcome(PASSED, expected, actual, evidence=evidence)
    outcome = Outcome(FAILED, expected, actual, f"the first inference took {seconds:.1f} s", evidence)
    return explained(outcome, "", {**facts, "first": True, "seconds": seconds, "limit": limit})
