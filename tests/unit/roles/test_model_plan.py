# SPDX-License-Identifier: GPL-3.0-or-later
"""plugins/filter/model_plan.py and the profiles: every system has its lock, every bad wish is one message."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.nanobanana.testbed.plugins.filter.model_plan import model_plan

ROLE = Path(__file__).parents[3] / "roles/model"
PROFILES = {path.stem: yaml.safe_load(path.read_text()) for path in sorted((ROLE / "files/profiles").glob("*.yml"))}
LOCKS = {path.stem: path.read_text() for path in sorted((ROLE / "files/locks").glob("*.txt"))}
CASES = yaml.safe_load((ROLE / "defaults/main.yml").read_text())["model_cases"]
NONE = {"source": "none", "path": "", "files": []}
FILE = {"name": "unet/model.bin", "sha256": "0" * 64}
HUB = {"source": "hub", "path": "", "files": [FILE], "hub_url": "https://hub.test", "revision": "a" * 40}
GUEST = {
    "python": "3.10",
    "installed": False,
    "cache": "/srv/nano-banana/cache",
    "cache_why": "",
    "gpus": [],
    "serve": False,
    "systemd": True,
    "weights_there": True,
    "weights_mounted": True,
}


def wish(**changes: Any) -> dict[str, Any]:
    values = {
        "host": "nb-01",
        "os_family": "Debian",
        "os_major": "22",
        "profile": "nano_banana",
        "variant": "preview",
        "venv": "/venv",
        "weights": NONE,
        "environment": {},
        "cases": CASES,
        "check_mode": False,
        "profiles": list(PROFILES),
    } | changes
    return {"data": PROFILES.get(values["profile"], {})} | values


def test_the_defaults_can_be_met() -> None:
    assert model_plan(wish())["problems"] == []
    assert model_plan(wish(), GUEST)["problems"] == []


@pytest.mark.parametrize(
    ("system", "variant", "lock"),
    [
        (("Debian", "22"), "preview", "nano_banana-preview"),
        (("RedHat", "7"), "preview", "nano_banana-preview"),
        (("Debian", "22"), "diffusion", "nano_banana-diffusion-linux"),
        (("RedHat", "9"), "diffusion", "nano_banana-diffusion-linux"),
        (("RedHat", "7"), "diffusion", "nano_banana-diffusion-glibc217"),
        (("Windows", "10"), "diffusion", "nano_banana-diffusion-windows"),
    ],
)
def test_each_system_has_the_most_special_lock(system: tuple[str, str], variant: str, lock: str) -> None:
    assert model_plan(wish(os_family=system[0], os_major=system[1], variant=variant))["lock"] == lock


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"os_family": "Suse"}, ["Debian, RedHat or Windows family", "Suse"]),
        ({"profile": "sora"}, ["model_profile", "nano_banana, qwen3_vl", "sora"]),
        ({"variant": "turbo"}, ["model_variant", "preview, diffusion", "turbo"]),
        ({"weights": NONE | {"source": "tape"}}, ["model_weights_source", "tape"]),
        ({"weights": NONE | {"source": "path", "files": [FILE]}}, ["model_weights_path", "nothing"]),
        ({"weights": NONE | {"source": "share", "path": "x", "files": [FILE]}}, ["model_weights_path", "x"]),
        ({"weights": HUB | {"files": []}}, ["model_weights_files", "manifest FOLDER"]),
        ({"weights": HUB | {"files": [FILE | {"sha256": "12"}]}}, ["unet/model.bin", "64 digits", "'12'"]),
        ({"weights": HUB | {"files": [FILE | {"name": "a/../../b"}]}}, ["below the folder", "a/../../b"]),
        ({"weights": HUB | {"hub_url": "ftp://x"}}, ["model_hub_url", "ftp://x"]),
        ({"weights": HUB | {"revision": "main"}}, ["model_hub_revision", "40 digits", "main"]),
        ({"environment": {"A": "it's"}}, ["model_environment, A", "it's"]),
        ({"environment": {"A B": "1"}}, ["model_environment, A B"]),
        ({"environment": {"A": "1\nB=2"}}, ["model_environment, A"]),
        ({"cases": [CASES[0], CASES[0]]}, ["model_cases", "each once", "TC-2024-001"]),
        ({"cases": [CASES[0] | {"id": "../x"}]}, ["model_cases", "../x"]),
        ({"cases": [CASES[0] | {"size": "big"}]}, ["TC-2024-001, size", "'big'"]),
        ({"cases": [CASES[0] | {"steps": 30}]}, ["TC-2024-001", "unknown ['steps']"]),
    ],
)
def test_a_bad_wish_is_one_message(changes: dict[str, Any], words: list[str]) -> None:
    problems = model_plan(wish(**changes))["problems"]
    assert len(problems) == 1
    assert [word for word in [*words, "nb-01", "expected", "Next:"] if word not in problems[0]] == []


@pytest.mark.parametrize(
    ("changes", "found", "words"),
    [
        ({}, {"python": ""}, ["model_venv", "none in /venv", "pyenv"]),
        ({}, {"python": "3.9"}, ["Python 3.10 or later for the engine", "3.9", "pyenv_python_version"]),
        ({"variant": "diffusion"}, {"python": "3.8"}, ["Python 3.10 or later for the engine", "3.8"]),
        ({"variant": "diffusion"}, {"python": "3.11"}, ["Python 3.10, for which diffusion is locked", "3.11"]),
        ({"variant": "diffusion"}, {"gpus": [2048]}, ["4000 MB of video memory", "2048 MB"]),
        (
            {"weights": HUB | {"source": "share", "path": "/mnt/w"}},
            {"weights_mounted": False},
            ["share mounted", "/mnt/w"],
        ),
        ({"weights": HUB | {"source": "path", "path": "/w"}}, {"weights_there": False}, ["folder /w", "none"]),
    ],
)
def test_a_guest_that_cannot_be_it_is_one_message(
    changes: dict[str, Any], found: dict[str, Any], words: list[str]
) -> None:
    problems = model_plan(wish(**changes), GUEST | found)["problems"]
    assert len(problems) == 1
    assert [word for word in [*words, "nb-01", "Next:"] if word not in problems[0]] == []


def test_a_fresh_guest_passes_check_mode() -> None:
    assert model_plan(wish(check_mode=True, variant="diffusion"), GUEST | {"python": ""})["problems"] == []


@pytest.mark.parametrize(
    ("changes", "found", "words"),
    [
        ({}, {"installed": True}, "stays off: its environment has not what `nano-banana serve` needs"),
        ({}, {"systemd": False}, "runs no systemd"),
        (
            {},
            {"cache": "/home/x", "cache_why": "/srv/x is on no disk of its own"},
            "cache in /home/x: /srv/x is on no disk",
        ),
        ({"variant": "diffusion"}, {}, "nvidia-smi shows no GPU"),
        ({"profile": "qwen3_vl", "variant": "default"}, {}, "runs no case"),
    ],
)
def test_what_is_left_out_is_said_with_its_reason(changes: dict[str, Any], found: dict[str, Any], words: str) -> None:
    assert [note for note in model_plan(wish(**changes), GUEST | found)["notes"] if words in note]


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_has_all_that_the_role_reads_and_its_locks(name: str) -> None:
    profile = PROFILES[name]
    assert set(profile) == {"summary", "engine", "variants"}
    keys = {"python", "locks", "modules", "disk_mb", "video_memory_mb", "smoke", "case_command"}
    for variant in profile["variants"].values():
        assert keys <= set(variant) <= keys | {"hub"}
        assert [lock for lock in variant["locks"].values() if lock not in LOCKS] == []
        for module in set(variant["modules"]) - {"PIL", "nano_banana"}:
            assert all(re.search(rf"^{module}==", LOCKS[lock], re.MULTILINE) for lock in variant["locks"].values())


def test_every_lock_belongs_to_a_profile_and_has_its_input() -> None:
    used = {
        lock
        for profile in PROFILES.values()
        for each in profile["variants"].values()
        for lock in each["locks"].values()
    }
    assert set(LOCKS) == used == {path.stem for path in (ROLE / "files/locks").glob("*.in")}


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_has_a_hash_for_each_package_and_no_address(name: str) -> None:
    entries = re.findall(r"^(\S+)==\S+.*\\\n((?:    --hash=sha256:[0-9a-f]{64}.*\n)+)", LOCKS[name], re.MULTILINE)
    assert len(entries) == len(re.findall(r"^[^ #\n]", LOCKS[name], re.MULTILINE)) > 0
    assert "://" not in LOCKS[name]
    assert "make lock" in LOCKS[name]
    assert (ROLE / f"files/locks/{name}.in").read_text().startswith("# uv: ")


def pins(lock: str) -> dict[str, str]:
    return dict(re.findall(r"^(\S+)==(\S+)", LOCKS[lock], re.MULTILINE))


def test_the_versions_are_those_that_were_seen_to_work_together() -> None:
    for lock in ("nano_banana-diffusion-linux", "nano_banana-diffusion-glibc217", "nano_banana-diffusion-windows"):
        found = pins(lock)
        assert (found["torch"], found["torchvision"], found["numpy"].split(".")[0]) == ("2.1.0", "0.16.0", "1")
        assert tuple(map(int, found["diffusers"].split("."))) < (0, 36)
        assert tuple(map(int, found["transformers"].split("."))) < (4, 55)
        assert ("nvidia-cuda-runtime-cu12" in found) is (not lock.endswith("windows"))
    assert pins("nano_banana-diffusion-linux")["nvidia-cuda-runtime-cu12"].startswith("12.1.")
    for lock in ("qwen3_vl-default-linux", "qwen3_vl-default-glibc217", "qwen3_vl-default-windows"):
        assert pins(lock)["torch"] == "2.5.1"  # the last for glibc 2.17
        assert pins(lock)["transformers"].startswith("4.57.")
