# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests that need torch: a pipeline with random weights in the folder format of real ones, made once a run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

# Before any library reads them: no test asks the network for a model.
os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"

pytest.importorskip("torch")

if TYPE_CHECKING:
    from standins import Planner

    from nano_banana.backends.diffusers import DiffusersBackend


@pytest.fixture(scope="session", autouse=True)
def threads() -> None:
    """One thread: the tiny networks lose far more by handing work over than a second one saves."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder made by random_model.build."""
    from nano_banana.diffusion import random_model

    return random_model.build(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def gradless() -> Iterator[None]:
    """As the pipeline runs: nothing is recorded for training."""
    import torch

    with torch.no_grad():
        yield


@pytest.fixture
def planner(monkeypatch: pytest.MonkeyPatch) -> Planner:
    """In place of plans.py and memory.py."""
    from standins import Planner

    return Planner(monkeypatch)


@pytest.fixture
def backend(tiny: Path, planner: Planner) -> DiffusersBackend:
    """On the tiny pipeline, nothing loaded yet."""
    from nano_banana.backends import Settings
    from nano_banana.backends.diffusers import DiffusersBackend

    return DiffusersBackend(Settings(model=str(tiny), device="cpu"))
