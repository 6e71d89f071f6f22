# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands that draw: which words reach which part, what is printed where, and with which exit code it ends."""

from __future__ import annotations

import dataclasses
import io
import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import nano_banana
from nano_banana import backends, cli, extras
from nano_banana.backends import Settings
from nano_banana.errors import NoRoomError
from nano_banana.presets import PRESETS
from nano_banana.request import Control, Lora, Request
from nano_banana.watch import UNWATCHED, Watch

SOURCE = Path(nano_banana.__file__).parents[1]
DRAW = ["generate", "--backend", "fake", "--prompt", "pump"]


class Fake:
    """A backend that remembers what it was asked, and fails on wish."""

    name, summary = "fake", "for tests"

    def __init__(self, settings: Settings) -> None:
        self.settings, self.requests, self.events = settings, [], []  # type: ignore[var-annotated]
        self.failure: BaseException | None = None

    def load(self) -> None:
        self.events.append("load")

    def plan(self, request: Request) -> Any:
        return types.SimpleNamespace(describe=lambda: f"plan streamed: {request.width} pixels, peak 3.10 GiB")

    def state(self) -> dict[str, Any]:
        return {"plan": "streamed", "notes": ["the picture is blurred"]}

    def generate(self, request: Request, watch: Watch = UNWATCHED) -> Image.Image:
        self.events.append("generate")
        self.requests.append(request)
        for step in range(3):
            watch.step(step + 1, 3)
        if self.failure:
            raise self.failure
        return Image.new("RGB", (request.width * request.upscale, request.height * request.upscale))

    def close(self) -> None:
        self.events.append("close")


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Fake]:
    """The fake backends that commands made, in their order."""
    found: list[Fake] = []

    def factory(settings: Settings) -> Any:
        found.append(Fake(settings))
        return found[-1]

    monkeypatch.setitem(backends._FACTORIES, "fake", factory)
    return found


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch, made: list[Fake]) -> Any:
    def fail_with(failure: BaseException) -> None:
        monkeypatch.setattr(
            Fake, "__init__", lambda self, settings: vars(self).update(requests=[], events=[], failure=failure)
        )

    return fail_with


EVERY_OPTION = [
    *("--size", "80x64", "--seed", "9", "--negative", "dirt", "--steps", "12", "--guidance", "8.5"),
    *("--upscale", "2"),
    *("--no-style", "--sharpen", "1", "--lora", "a=x/a.safetensors:0.7", "--lora", "b=hub/b", "--lora-blocks"),
    *("mid_block, up_blocks.1", "--control", "iso=folder"),
    *("--control-strength", "0.5", "--upscaler", "esrgan.pth", "--model", "m", "--device", "cpu"),
    *("--vram-budget", "3.78GiB", "--plan", "streamed", "--weights", "int8", "--json"),
]


def test_every_option_of_generate_reaches_request_and_settings(
    tmp_path: Path, made: list[Fake], capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "view.png"
    Image.new("RGB", (64, 64)).save(picture)
    files = ["--control-picture", str(picture), "--output", str(tmp_path / "a.png")]
    assert cli.main([*DRAW, *EVERY_OPTION, *files]) == 0
    fake = made[0]
    assert fake.settings == Settings(
        model="m",
        device="cpu",
        vram_budget=int(3.78 * 2**30),
        plan="streamed",
        weights="int8",
        loras={"a": "x/a.safetensors", "b": "hub/b"},
        lora_blocks=("mid_block", "up_blocks.1"),
        controlnets={"iso": "folder"},
        upscaler="esrgan.pth",
    )
    loras = (Lora("a", 0.7), Lora("b", 0.8))
    control = Control("iso", picture, 0.5)
    assert fake.requests == [Request("pump", 80, 64, 9, "dirt", 12, 8.5, loras, control, 2, style=False, sharpen=1.0)]
    assert fake.events == ["load", "generate", "close"]
    said = capsys.readouterr()
    result = json.loads(said.out)
    assert (result["width"], result["height"]) == (160, 128)
    assert (result["plan"], result["notes"]) == ("streamed", ["the picture is blurred"])
    assert said.err == "plan streamed: 80 pixels, peak 3.10 GiB\nnote: the picture is blurred\n"


def test_what_is_not_typed_is_what_a_request_has_by_itself(tmp_path: Path, made: list[Fake]) -> None:
    assert cli.main([*DRAW, "--output", str(tmp_path / "a.png")]) == 0
    assert made[0].requests == [Request("pump")]
    assert made[0].settings == Settings()


BAD = [
    (["--steps", "ten"], "--steps: expected a whole number; found 'ten'"),
    (["--steps", "0"], "--steps: expected a whole number from 1 to 150; found 0"),
    (["--guidance", "nan"], "--guidance: expected a number; found 'nan'"),
    (["--guidance", "31"], "--guidance: expected a number from 0 to 30; found 31"),
    (["--upscale", "3"], "--upscale: expected 1 or 2; found 3"),
    (["--sharpen", "5"], "--sharpen: expected a number from 0 to 4"),
    (["--lora", "knolling.safetensors"], "--lora: expected NAME=PATH; found 'knolling.safetensors'"),
    (["--lora", "a=x", "--lora", "a=y"], "--lora: expected each name once; found a twice"),
    (["--lora", "a=x:3"], "--lora: expected a weight from -2 to 2; found 3"),
    (["--lora", "../a=x"], "--lora: expected NAME=PATH"),
    (["--control", "iso=folder"], "found 1 --control and no --control-picture"),
    (["--control-picture", "view.png"], "found 0 --control and one --control-picture"),
    (["--control", "iso=f", "--control-picture", "none.png"], "--control-picture: expected a picture file"),
    (["--weights", "int4"], "--weights: expected one of: native, int8; found 'int4'. Type --weights int8"),
    (["--vram-budget", "plenty"], "--vram-budget: expected a size such as 3.78GiB; found 'plenty'"),
    (["--vram-budget", "0"], "--vram-budget: expected a size such as 3.78GiB; found '0'"),
]


@pytest.mark.parametrize(("more", "message"), BAD, ids=[" ".join(more)[:40] for more, _ in BAD])
def test_a_bad_value_is_one_message_before_any_backend_is_made(
    tmp_path: Path, made: list[Fake], capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    assert cli.main([*DRAW, "--output", str(tmp_path / "a.png"), *more]) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert (said.err.count("\n"), said.out, made, list(tmp_path.iterdir())) == (1, "", [], [])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=x", ("a", "x", None)),
        ("a=x:0.5", ("a", "x", 0.5)),
        ("a=x:-1", ("a", "x", -1.0)),
        ("a=C:\\loras\\x.safetensors", ("a", "C:\\loras\\x.safetensors", None)),
        ("a=C:\\x:.5", ("a", "C:\\x", 0.5)),
        ("a=b=c:1", ("a", "b=c", 1.0)),
        ("a=x:v1.0.bin", ("a", "x:v1.0.bin", None)),
    ],
)
def test_a_weight_is_a_number_after_the_last_colon(text: str, expected: tuple[str, str, float | None]) -> None:
    from nano_banana.cli import values

    assert values.parse_lora(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("4000", 4000), ("1kB", 1000), ("1 KiB", 1024), ("3.78gib", 4058744094), ("4GB", 4 * 10**9), ("2T", 2 * 10**12)],
)
def test_sizes_of_memory(text: str, expected: int) -> None:
    from nano_banana.cli import values

    assert values.parse_bytes("--vram-budget", text) == expected


def test_no_room_is_exit_code_3_and_the_backend_is_closed(
    tmp_path: Path, made: list[Fake], failing: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(NoRoomError("video memory", expected="3.1 GiB", found="2.0 GiB", fix="Type --size 768x768."))
    assert cli.main([*DRAW, "--output", str(tmp_path / "a.png")]) == 3
    assert capsys.readouterr().err.endswith("video memory: expected 3.1 GiB; found 2.0 GiB. Type --size 768x768.\n")
    assert made[0].events == ["load", "generate", "close"]


def test_cancelled_is_exit_code_4(tmp_path: Path, made: list[Fake], failing: Any) -> None:
    from nano_banana.errors import CancelledError

    failing(CancelledError(1, 3))
    assert cli.main([*DRAW, "--output", str(tmp_path / "a.png")]) == 4


def test_ctrl_c_leaves_no_file_and_is_exit_code_130(
    tmp_path: Path, made: list[Fake], failing: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(KeyboardInterrupt())
    assert cli.main([*DRAW, "--output", str(tmp_path / "a.png")]) == 130
    assert capsys.readouterr().err.endswith("nano-banana: interrupted, no unfinished file is left\n")
    assert list(tmp_path.iterdir()) == []
    assert made[0].events[-1] == "close"


@pytest.mark.parametrize("module", ["torch", "diffusers", "spandrel"])
def test_a_missing_library_names_the_extra_and_the_folder(
    tmp_path: Path, made: list[Fake], failing: Any, capsys: pytest.CaptureFixture[str], module: str
) -> None:
    failing(ModuleNotFoundError(f"No module named '{module}'", name=module))
    assert cli.main([*DRAW, "--output", str(tmp_path / "a.png")]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert f"{module}: expected the libraries of the extra nano-banana-engine[diffusion]" in said
    assert "type: pip install '.[diffusion]'" in said
    assert "the public index does not have it" in said


def test_extras_are_those_of_the_package() -> None:
    tomllib = pytest.importorskip("tomllib")
    project = tomllib.loads((SOURCE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    imported = {"nvidia-ml-py": "pynvml", "prometheus-client": "prometheus_client"}
    listed = {
        extra: sorted(imported.get(name, name) for name in (wish.split(">=")[0] for wish in wishes))
        for extra, wishes in project["optional-dependencies"].items()
    }
    assert {extra: sorted(modules) for extra, modules in extras.EXTRAS.items()} == listed


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_bar_is_for_a_terminal_and_not_for_json(
    tmp_path: Path, made: list[Fake], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*DRAW, "--output", str(tmp_path / "a.png")]
    assert cli.main(words) == 0
    assert "/3" not in capsys.readouterr().err
    for more, shown in (([], True), (["--json"], False)):
        screen = Terminal()
        monkeypatch.setattr(sys, "stderr", screen)
        assert cli.main([*words, *more]) == 0
        assert ("[##############################] 3/3" in screen.getvalue()) is shown
        assert ("3/3\r\x1b[K" in screen.getvalue()) is shown
        assert screen.getvalue().endswith("note: the picture is blurred\n")


def test_an_unforeseen_failure_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(cli, "main", lambda: 1 // 0)
    monkeypatch.delenv("NANO_BANANA_TRACEBACK", raising=False)
    with pytest.raises(SystemExit) as ended:
        cli.run()
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "ZeroDivisionError" in said
    monkeypatch.setenv("NANO_BANANA_TRACEBACK", "1")
    with pytest.raises(ZeroDivisionError):
        cli.run()


# The commands below stand before modules of their own: here these are stand-ins, so that what is tested is the command.


def stand_in(monkeypatch: pytest.MonkeyPatch, name: str, **members: Any) -> None:
    """A module of nano_banana that exists for this test alone."""
    module = types.ModuleType(f"nano_banana.{name}")
    vars(module).update(members)
    monkeypatch.setitem(sys.modules, f"nano_banana.{name}", module)
    monkeypatch.setattr(nano_banana, name, module, raising=False)


def test_a_preset_is_the_start_and_words_change_it(
    tmp_path: Path, made: list[Fake], capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "generate",
        "--backend",
        "fake",
        "--preset",
        "dyson",
        "--size",
        "64x64",
        "--output",
        str(tmp_path / "a.png"),
    ]
    base = PRESETS["dyson"].request(width=64, height=64, adapters=False)
    assert cli.main(words) == 0
    assert "note: without the LoRA disassembly: load it with --lora disassembly=FILE" in capsys.readouterr().err
    assert cli.main([*words, "--lora", "disassembly=x", "--steps", "5"]) == 0
    assert "without" not in capsys.readouterr().err
    assert cli.main([*words, "--lora", "disassembly=x:1.5", "--seed", "1", "--prompt", "pump"]) == 0
    assert [fake.requests[0] for fake in made] == [
        base,
        dataclasses.replace(base, steps=5, loras=(Lora("disassembly", 0.7),)),
        dataclasses.replace(base, prompt="pump", seed=1, loras=(Lora("disassembly", 1.5),)),
    ]


def test_a_preset_says_that_it_goes_without_its_control_picture(
    tmp_path: Path, made: list[Fake], capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "view.png"
    Image.new("RGB", (64, 64)).save(picture)
    words = [
        "generate",
        "--backend",
        "fake",
        "--preset",
        "lego",
        "--size",
        "64x64",
        "--output",
        str(tmp_path / "a.png"),
    ]
    assert cli.main([*words, "--json"]) == 0
    said = capsys.readouterr()
    note = "without the ControlNet isometric: add --control isometric=MODEL --control-picture FILE"
    assert f"note: {note}\n" in said.err
    assert note in json.loads(said.out)["notes"]
    assert cli.main([*words, "--control", "isometric=x", "--control-picture", str(picture)]) == 0
    assert "ControlNet" not in capsys.readouterr().err
    assert [fake.requests[0].control for fake in made] == [None, Control("isometric", picture, 0.8)]


def test_serve_gives_the_typed_settings_on(
    tmp_path: Path, made: list[Fake], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(extras, "EXTRAS", {**extras.EXTRAS, "serve": ("json",)})
    stand_in(monkeypatch, "serve", run=lambda settings, backend: calls.append((settings, backend)), ServeSettings=dict)
    monkeypatch.setenv("NANO_BANANA_TOKEN", "secret")
    words = ["serve", "--backend", "fake", "--port", "many", "--max-side", "512"]
    assert cli.main(words) == 2
    assert "--port: expected a whole number; found 'many'" in capsys.readouterr().err
    words[4] = "9000"
    assert cli.main([*words, "--timeout", "2.5", "--output-dir", str(tmp_path), "--log-format", "text"]) == 0
    told = dict(host="127.0.0.1", port=9000, queue=16, batch=4, max_side=512, timeout_s=2.5)  # noqa: C408 - as a call
    assert calls[0][0] == {**told, "token": "secret", "log_format": "text", "output": tmp_path, "log_prompts": False}
    assert calls[0][1] is made[0]
    assert cli.main([*words, "--output-dir", "none"]) == 2


def test_serve_without_its_libraries_says_so_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(extras, "EXTRAS", {**extras.EXTRAS, "serve": ("no_such_module",)})
    for more in ([], ["--check"]):
        assert cli.main(["serve", *more]) == 1
        assert (
            "expected the libraries of the extra nano-banana-engine[serve]; found no no_such" in capsys.readouterr().err
        )
    monkeypatch.setattr(extras, "EXTRAS", {**extras.EXTRAS, "serve": ("json",)})
    assert cli.main(["serve", "--check"]) == 0


@pytest.mark.parametrize(
    "words",
    [["--help"], *([name, "--help"] for name in ("generate", "batch", "lint", "pack", "bench", "doctor", "serve"))],
    ids=" ".join,
)
def test_help_of_every_command_tells_the_exit_codes(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 0
    said = " ".join(capsys.readouterr().out.split())
    for code in ("0 ok", "1 this machine", "2 bad input", "3 not enough memory", "4 cancelled", "5 some", "130 inter"):
        assert code in said
