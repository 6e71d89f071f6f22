# SPDX-License-Identifier: GPL-3.0-or-later
"""The presets say exactly what the requirements say, and any backend can draw them."""

from __future__ import annotations

import json

import pytest

from nano_banana import backends, grammar, prompt
from nano_banana.errors import BadInputError
from nano_banana.lint import lint
from nano_banana.presets import PRESETS, get, isometric_first
from nano_banana.request import Lora, Request

_SOURCE = {
    "airpods": "AirPods Pro 2nd generation exploded view, all components laid flat on white background, matte finish, "
    "studio lighting, macro shot, ultra-detailed, labeled with part names",
    "dyson": "Dyson V11 motor module disassembly, knolling style, brushed aluminum housing, copper windings visible, "
    "clean layout, technical diagram aesthetic",
    "lego": "isometric projection, LEGO Technic crane set exploded view, colorful bricks separated by type, "
    "top-down perspective, clean white background",
}


def test_prompts_and_settings() -> None:
    assert {name: preset.prompt for name, preset in PRESETS.items()} == _SOURCE
    rows = [(p.name, p.lora_weight, p.guidance, p.steps, p.seed, p.controlnet) for p in PRESETS.values()]
    default = Request("x")
    assert rows == [
        ("airpods", 0.8, 7.5, 30, 12345, ""),
        ("dyson", 0.7, 8.0, default.steps, default.seed, ""),
        ("lego", 0.8, default.guidance, default.steps, default.seed, "isometric"),
    ]
    assert [p.defaulted for p in PRESETS.values()] == [(), ("steps", "seed"), ("guidance", "steps", "seed")]


def test_a_request_carries_all_of_it() -> None:
    request = get("airpods").request()
    assert (request.prompt, request.seed, request.steps, request.guidance) == (_SOURCE["airpods"], 12345, 30, 7.5)
    assert (request.width, request.height) == (1024, 1024)
    assert request.loras == (Lora("disassembly", 0.8),)
    assert request.control is None
    assert get("airpods").request(seed=0, width=512).seed == 0


def test_the_controlnet_comes_with_its_picture() -> None:
    control = get("lego").request(control=b"picture").control
    assert control is not None
    assert (control.name, control.picture) == ("isometric", b"picture")
    assert get("lego").request().control is None
    with pytest.raises(BadInputError, match="no ControlNet"):
        get("dyson").request(control=b"picture")


def test_isometric_goes_to_the_front() -> None:
    assert isometric_first("a, isometric projection, b") == "isometric projection, a, b"
    assert isometric_first("isometric projection, a") == "isometric projection, a"
    assert isometric_first("a, b") == "a, b"


def test_unknown_name_lists_those_that_exist() -> None:
    with pytest.raises(BadInputError, match="airpods, dyson, lego"):
        get("toaster")


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_the_preview_draws_it_and_the_grammar_reads_it(name: str) -> None:
    preset = PRESETS[name]
    request = preset.request(width=192, height=192, adapters=False)
    assert backends.get("preview").generate(request).size == (192, 192)
    products = {
        "airpods": "AirPods Pro 2nd generation",
        "dyson": "Dyson V11 motor module",
        "lego": "LEGO Technic crane set",
    }
    assert prompt.parse(preset.prompt, 0).product == products[name]
    assert grammar.read(preset.prompt).product == products[name]
    assert json.loads(json.dumps(preset.to_json()))["prompt"] == preset.prompt


def test_what_the_lint_says_of_the_source() -> None:
    # The prompts stay as the source has them, even where its own rules would have them otherwise.
    found = {name: [finding.rule for finding in lint(preset.prompt)] for name, preset in PRESETS.items()}
    assert found == {"airpods": ["macro-last"], "dyson": ["layout-word"], "lego": []}
