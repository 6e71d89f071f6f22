# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with a wish for a guest's model, and which lock and which weights meet it."""

from __future__ import annotations

DOCUMENTATION = r"""
name: model_plan
short_description: Check the wish for a model and choose its lock
version_added: 0.1.0
author:
  - The nanobanana.testbed developers (@nanobanana-testbed)
description:
  - Compares the wish of the role C(model) with its profile and, where it was asked already, with the guest. Changes nothing.
positional: guest
options:
  _input:
    description: >-
      The wish: C(host), C(os_family), C(os_major), C(profile), C(profiles), C(data), C(variant), C(weights) and C(cases), and
      more that the role fills in.
    type: dict
    required: true
  guest:
    description: What the role's probe answered; without it only the wish is checked.
    type: dict
"""

EXAMPLES = r"""
- name: Refuse a profile that is not there
  ansible.builtin.assert:
    that: plan.problems | length == 0
    fail_msg: "{{ plan.problems | join(' ') }}"
  vars:
    plan: "{{ __model_wish | nanobanana.testbed.model_plan }}"
"""

RETURN = r"""
_value:
  description: The plan.
  type: dict
  contains:
    problems:
      description: Messages; empty where the wish can be met.
      type: list
      elements: str
    notes:
      description: What is left out or stands in, each with its reason.
      type: list
      elements: str
    variant:
      description: The variant's part of the profile; empty where there is no such variant.
      type: dict
    lock:
      description: The name of the lock for this system.
      type: str
"""

import importlib.util
import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

RUN_CASE = Path(__file__).parents[2] / "roles/model/files/run_case.py"
FAMILIES = ("Debian", "RedHat", "Windows")
SOURCES = ("none", "path", "share", "hub")
SHA256 = re.compile(r"[0-9a-fA-F]{64}")
REVISION = re.compile(r"[0-9a-f]{40}")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# The oldest Python that engine/pyproject.toml takes.
ENGINE_PYTHON = (3, 10)


def model_plan(wish: Mapping[str, Any], guest: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The plan for a host; the guest's part is checked when the wish alone is right."""
    variant = wish["data"].get("variants", {}).get(wish["variant"], {})
    lock = _lock(variant.get("locks", {}), wish["os_family"], str(wish["os_major"]))
    plan: dict[str, Any] = {"variant": variant, "lock": lock, "notes": []}
    plan["problems"] = [
        *_system(wish),
        *_profile(wish, lock),
        *_weights(wish),
        *_environment(wish),
        *_cases(wish),
    ]
    if guest is not None and not plan["problems"]:
        plan["problems"] = list(_guest(wish, variant, guest))
        plan["notes"] = list(_notes(wish, variant, guest))
    return plan


def _message(wish: Mapping[str, Any], what: str, expected: str, found: object, fix: str) -> str:
    return f"{what} of {wish['host']}: expected {expected}; found {found}. Next: {fix}."


def _lock(locks: Mapping[str, str], family: str, major: str) -> str:
    """The most special lock for a system. A lock for any system is one for Linux unless Windows has none of its own."""
    return locks.get(f"{family}-{major}") or locks.get(family) or locks.get("any", "")


def _system(wish: Mapping[str, Any]) -> Iterator[str]:
    if wish["os_family"] not in FAMILIES:
        fix = "gather the facts distribution and python before this role, or take the host out of the play's groups"
        yield _message(wish, "model: the system", "the Debian, RedHat or Windows family", wish["os_family"], fix)


def _profile(wish: Mapping[str, Any], lock: str) -> Iterator[str]:
    variants = wish["data"].get("variants", {})
    if wish["profile"] not in wish["profiles"]:
        known = ", ".join(sorted(wish["profiles"]))
        yield _message(
            wish, "model_profile", f"one of {known}", wish["profile"], "correct it, or add files/profiles/NAME.yml"
        )
    elif wish["variant"] not in variants:
        found = wish["variant"] or "nothing"
        yield _message(wish, "model_variant", f"one of {', '.join(variants)}", found, "correct it in group_vars")
    elif not lock:
        found = f"none for {wish['os_family']} {wish['os_major']}"
        yield _message(
            wish, f"the locks of {wish['profile']}", "one for this system", found, "add one, then `make lock`"
        )


def _weights(wish: Mapping[str, Any]) -> Iterator[str]:
    weights = wish["weights"]
    source = weights["source"]
    if source == "none":
        return
    if source not in SOURCES:
        yield _message(wish, "model_weights_source", f"one of {', '.join(SOURCES)}", source, "correct it in group_vars")
        return
    if source in ("path", "share") and not re.match(r"/|[A-Za-z]:", str(weights["path"])):
        fix = "name the folder on the guest that holds the weights"
        yield _message(wish, "model_weights_path", "an absolute path", weights["path"] or "nothing", fix)
    yield from _weights_files(wish, weights["files"])
    if source == "hub":
        if not re.fullmatch(r"https?://\S+", str(weights["hub_url"])):
            fix = "name the hub or your mirror"
            yield _message(wish, "model_hub_url", "an https address", weights["hub_url"] or "nothing", fix)
        if not REVISION.fullmatch(str(weights["revision"])):
            fix = "pin the commit: a branch is another model tomorrow"
            yield _message(wish, "model_hub_revision", "a commit of 40 digits", weights["revision"] or "nothing", fix)


def _weights_files(wish: Mapping[str, Any], files: list[Mapping[str, Any]]) -> Iterator[str]:
    if not files:
        fix = "print it with `python roles/model/files/weights.py manifest FOLDER` on a folder that you trust"
        yield _message(wish, "model_weights_files", "name and sha256 of each file", "none", fix)
    for item in files:
        name, sha256, fix = str(item.get("name", "")), str(item.get("sha256", "")), "correct it in group_vars"
        if not name or name.startswith("/") or ".." in name.split("/") or "\\" in name:
            yield _message(wish, "model_weights_files", "names below the folder", repr(name), fix)
        if not SHA256.fullmatch(sha256):
            yield _message(wish, f"model_weights_files, {name}", "a sha256 of 64 digits", repr(sha256), fix)


def _environment(wish: Mapping[str, Any]) -> Iterator[str]:
    for name, value in wish["environment"].items():
        if not NAME.fullmatch(str(name)) or re.search(r"['\\\n\r]", str(value)):
            fix = "take quotes, backslashes and line ends out"
            yield _message(wish, f"model_environment, {name}", "a name and a plain value", repr(value), fix)


def _cases(wish: Mapping[str, Any]) -> Iterator[str]:
    program = _run_case()
    seen: set[str] = set()
    for case in wish["cases"]:
        case_id = str(case.get("id", ""))
        if not program.SAFE_ID.fullmatch(case_id) or case_id in seen:
            expected, fix = "ids of letters, digits, - and _, each once", "correct model_cases"
            yield _message(wish, "model_cases", expected, repr(case_id), fix)
            continue
        seen.add(case_id)
        try:
            program.check_case(case)
        except program.UsageError as error:
            text = str(error)
            yield f"model_cases of {wish['host']}: {text}" + (
                "." if "Next:" in text else ". Next: correct model_cases."
            )


@lru_cache(maxsize=1)
def _run_case() -> Any:
    """The program that runs the cases on the guest: what it takes is decided there."""
    spec = importlib.util.spec_from_file_location("model_run_case", RUN_CASE)
    if spec is None or spec.loader is None:
        raise ImportError(f"{RUN_CASE} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _python(wish: Mapping[str, Any], wanted: str, python: str) -> Iterator[str]:
    if not python:
        if not wish["check_mode"]:
            expected, found = "an environment that runs", f"none in {wish['venv']}"
            yield _message(wish, "model_venv", expected, found, "run the role pyenv before")
    elif wish["data"]["engine"] and tuple(int(part) for part in python.split(".")) < ENGINE_PYTHON:
        expected = f"Python {'.'.join(map(str, ENGINE_PYTHON))} or later for the engine"
        yield _message(wish, "model_venv", expected, python, "set pyenv_python_version to one, pyenv_provider to pyenv")
    elif wanted and python != wanted:
        fix = f"set pyenv_python_version to a {wanted}, pyenv_provider to pyenv, or another model_variant"
        yield _message(wish, "model_venv", f"Python {wanted}, for which {wish['variant']} is locked", python, fix)


def _guest(wish: Mapping[str, Any], variant: Mapping[str, Any], guest: Mapping[str, Any]) -> Iterator[str]:
    needed = variant["video_memory_mb"]
    yield from _python(wish, variant["python"], guest["python"])
    if guest["gpus"] and needed and max(guest["gpus"]) < needed:
        fix = "give the VM a larger vGPU profile or another model_variant"
        yield _message(
            wish, "the GPU", f"{needed} MB of video memory for {wish['variant']}", f"{max(guest['gpus'])} MB", fix
        )
    weights, mounted = wish["weights"], guest["weights_mounted"]
    if weights["source"] == "share" and not mounted:
        yield _message(
            wish, "model_weights_path", f"a share mounted at {weights['path']}", "none", "mount it, or see data_disk"
        )
    elif weights["source"] in ("path", "share") and not guest["weights_there"]:
        yield _message(
            wish, "model_weights_path", f"a folder {weights['path']} on the guest", "none", "correct it in group_vars"
        )


def _notes(wish: Mapping[str, Any], variant: Mapping[str, Any], guest: Mapping[str, Any]) -> Iterator[str]:
    if guest["cache_why"]:
        yield f"cache in {guest['cache']}: {guest['cache_why']}"
    if variant["video_memory_mb"] and not guest["gpus"]:
        yield f"video memory not compared with the {variant['video_memory_mb']} MB that are needed: nvidia-smi shows no GPU"
    if not variant["case_command"]:
        yield f"run_test.sh runs no case: {wish['profile']} {wish['variant']} has no case_command yet"
    if wish["data"]["engine"] and not guest["systemd"]:
        yield "no nano-banana.service: the guest runs no systemd"
    elif wish["data"]["engine"] and guest["installed"] and not guest["serve"]:
        yield "nano-banana.service stays off: its environment has not what `nano-banana serve` needs; --check says what"


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters of this file."""
        return {"model_plan": model_plan}
