# SPDX-License-Identifier: GPL-3.0-or-later
"""The last lines of the GPU benchmark for made figures: what is compared with what, and which goals are met."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "bench" / "gpu.py"


@pytest.fixture(scope="module")
def gpu() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_gpu", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    # dataclasses look their module up there.
    sys.modules["bench_gpu"] = module
    spec.loader.exec_module(module)
    return module


def figures(gpu: ModuleType, **changes: tuple[float, float]) -> list[object]:
    """Peak in GiB and seconds a picture for each variant; (0, 0) is one that did not run."""
    made = {
        "resident": (6.0, 10.0),
        "auto": (3.7, 12.0),
        "auto_cfg1": (3.5, 7.0),
        "sequential_offload": (1.2, 96.0),
        "group_block": (3.9, 11.0),
        "group_leaf": (1.5, 18.0),
    } | changes
    return [
        gpu.Figures(name, *((peak, 3.0, seconds) if peak else (None,) * 3), error="" if peak else "lost")
        for name, (peak, seconds) in made.items()
    ]


def test_all_goals_met(gpu: ModuleType) -> None:
    lines = gpu.report(figures(gpu))
    # The block-level variant is faster, with more memory than ours: it does not count.
    assert lines[-1] == "peak_gib=3.70 slowdown_vs_resident=1.20 speedup_vs_best_group=1.50 speedup_vs_sequential=8.00"
    assert [line.rsplit(" ", 1)[1] for line in lines if line.startswith("goal")] == ["met"] * 4


@pytest.mark.parametrize(
    ("changes", "missed"),
    [
        ({"auto": (3.79, 12.0)}, {"peak"}),
        ({"auto_cfg1": (3.3, 7.0)}, {"guidance"}),
        ({"group_block": (3.6, 11.0)}, {"group"}),
        ({"sequential_offload": (1.2, 71.0)}, {"sequential"}),
    ],
)
def test_each_goal_can_be_missed(gpu: ModuleType, changes: dict[str, tuple[float, float]], missed: set[str]) -> None:
    lines = gpu.report(figures(gpu, **changes))
    assert {line.split()[1] for line in lines if line.endswith("MISSED")} == missed


def test_what_did_not_run_is_said_and_never_met(gpu: ModuleType) -> None:
    lines = gpu.report(figures(gpu, auto=(0, 0)))
    assert any("did not run: lost" in line for line in lines)
    assert lines[-1].count("n/a") == 4
    assert sum(line.endswith("not measured") for line in lines) == 4


def test_a_rehearsal_has_no_figures(gpu: ModuleType) -> None:
    lines = gpu.report(figures(gpu), rehearsal=True)
    assert lines[-1].count("n/a") == 4
    assert not any(line.endswith(("met", "MISSED")) for line in lines)
