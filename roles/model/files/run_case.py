# SPDX-License-Identifier: GPL-3.0-or-later
"""Run one test case by its id and print one JSON line; what run_test.sh and run_test.ps1 call. Python >= 3.8 alone.

Exit status: 0 passed, 1 failed or could not be run, 2 unknown case or bad usage. Standard output holds the JSON line
and nothing else. The picture appears whole or not at all.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NoReturn

PASSED, FAILED, USAGE = 0, 1, 2
SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}", re.ASCII)
SIZE = re.compile(r"([0-9]{1,5})x([0-9]{1,5})", re.ASCII)
HOLDER = re.compile(r"\{(bin|output|prompt|size|seed|weights)\}")
FORMATS = {"png": b"\x89PNG\r\n\x1a\n", "jpg": b"\xff\xd8\xff", "webp": b"RIFF"}
NEEDED = ("id", "prompt", "seed", "size", "format")
KNOWN = frozenset((*NEEDED, "quality", "timeout", "arguments"))
RUNNER = "/usr/local/bin/nano-banana-run"
RUNNER_REFUSED = 125


class UsageError(Exception):
    """The case is unknown or written wrongly: nothing was run."""


class RunError(Exception):
    """The case could not be run to its end: nothing is said about the model."""


class CaseError(Exception):
    """The engine ran, and did not do what the case asks."""


def find_case(text: str, case_id: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings and the case of an id. Raises UsageError."""
    try:
        settings = json.loads(text)
        cases = settings["cases"]
        known = [case["id"] for case in cases]
    except (ValueError, TypeError, KeyError) as error:
        raise UsageError(
            f"cases.json: expected an object with `cases`; found {error!r}. Next: run the role model"
        ) from None
    if not known:
        raise UsageError(
            "cases.json: expected at least one case; found none. Next: set model_cases, run the role model"
        )
    if not SAFE_ID.fullmatch(case_id):
        found = repr(case_id[:80])
        raise UsageError(f"case id: expected letters, digits, - and _; found {found}. Next: ./run_test.sh {known[0]}")
    if case_id not in known:
        raise UsageError(f"case {case_id}: expected one of {', '.join(known[:20])}; found none of that id")
    case = cases[known.index(case_id)]
    check_case(case)
    return settings, case


def whole(value: Any) -> bool:
    """Whether a value is a whole number; Ansible's own kind counts too."""
    return isinstance(value, int) and not isinstance(value, bool)


def good_quality(case: dict[str, Any]) -> bool:
    """Whether a quality is one that the format can have."""
    return whole(case["quality"]) and 1 <= case["quality"] <= 100 and case["format"] != "png"


def words_only(value: Any) -> bool:
    """Whether a value is a list of strings."""
    return isinstance(value, list) and all(isinstance(word, str) for word in value)


def check_case(case: dict[str, Any]) -> None:
    """Raises UsageError with the first field that is not as it should be."""
    name = f"case {case.get('id', '')}"
    missing, unknown = [key for key in NEEDED if key not in case], sorted(set(case) - KNOWN)
    if missing or unknown:
        raise UsageError(f"{name}: expected the fields {', '.join(NEEDED)}; missing {missing}, unknown {unknown}")
    tests = (
        ("prompt", isinstance(case["prompt"], str) and bool(case["prompt"].strip()), "a description"),
        ("seed", whole(case["seed"]) and 0 <= case["seed"] < 2**32, "a whole number from 0 to 4294967295"),
        ("size", isinstance(case["size"], str) and bool(SIZE.fullmatch(case["size"])), "WIDTHxHEIGHT"),
        ("format", case["format"] in list(FORMATS), " or ".join(FORMATS)),
        ("quality", "quality" not in case or good_quality(case), "1 to 100, and not with png"),
        ("timeout", "timeout" not in case or (whole(case["timeout"]) and case["timeout"] > 0), "seconds above 0"),
        ("arguments", words_only(case.get("arguments", [])), "a list of words"),
    )
    for field, good, expected in tests:
        if not good:
            raise UsageError(f"{name}, {field}: expected {expected}; found {case[field]!r}. Next: correct model_cases")


def command(settings: dict[str, Any], case: dict[str, Any], output: str, runner: str = RUNNER) -> list[str]:
    """The words to run, in the capped slice where there is one. Raises RunError when the profile draws nothing."""
    if not settings.get("command"):
        raise RunError(
            f"profile {settings.get('profile')}: expected a case_command; found none. Next: add one to the profile"
        )
    values = {"bin": settings["bin"], "output": output, **{key: str(case[key]) for key in ("prompt", "seed", "size")}}
    # From the file `environment`: the folder of the weights has their key in its name.
    values["weights"] = os.environ.get("NANO_BANANA_WEIGHTS", "")
    if not values["weights"] and any("{weights}" in word for word in settings["command"]):
        raise RunError(
            "NANO_BANANA_WEIGHTS: expected the folder of the weights; found none. Next: set model_weights_source"
        )
    words = [HOLDER.sub(lambda found: values[found.group(1)], word) for word in settings["command"]]
    if "quality" in case:
        words += ["--quality", str(case["quality"])]
    words += case.get("arguments", [])
    return [runner, *words] if os.access(runner, os.X_OK) else words


def run(words: list[str], timeout: float, log: Path) -> tuple[int, str, str]:
    """Exit status, standard output, last word on standard error; all of it goes to the log. Raises RunError."""
    with log.open("wb") as stream:
        try:
            child = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stream, start_new_session=True
            )
        except OSError as error:
            raise RunError(
                f"{words[0]}: expected a program; found: {error.strerror}. Next: run the role model"
            ) from None
        try:
            said, _none = child.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            raise RunError(
                f"expected an end within {timeout:g} s; it was stopped. Next: raise model_case_timeout"
            ) from None
        finally:
            stop(child)
        # The last word on standard error is the reason of a failure, so the rest comes when that was read.
        reason = last_line(log)
        stream.write(said)
    return child.returncode, said.decode(errors="replace"), reason


def stop(child: subprocess.Popen[bytes]) -> None:
    """End the program with all that it started."""
    if child.poll() is None:
        if os.name == "posix":
            os.killpg(child.pid, signal.SIGKILL)
        else:
            child.kill()
        child.wait()


def last_line(log: Path) -> str:
    """What the engine said last."""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "nothing"


def check_picture(data: bytes, case: dict[str, Any]) -> None:
    """Raises CaseError for a file that is no picture of the case's format, or a PNG of another size."""
    start = FORMATS[case["format"]]
    if not data.startswith(start) or (case["format"] == "webp" and data[8:12] != b"WEBP"):
        raise CaseError(f"expected a {case['format']}; found a file of {len(data)} bytes that begins with {data[:8]!r}")
    if case["format"] == "png":
        found = "{}x{}".format(*struct.unpack(">II", data[16:24])) if len(data) >= 24 else "no header"
        if found != case["size"]:
            raise CaseError(f"expected {case['size']}; found {found}")


def engine_answer(said: str) -> dict[str, Any]:
    """The engine's own JSON line, empty when it printed none."""
    for line in reversed(said.strip().splitlines()):
        try:
            answer = json.loads(line)
        except ValueError:
            continue
        if isinstance(answer, dict):
            return answer
    return {}


def draw(settings: dict[str, Any], case: dict[str, Any], home: Path, result: dict[str, Any]) -> None:
    """Run the engine and put the picture into its place; fills in the result. Raises CaseError, RunError, OSError."""
    stamp = result["started"].replace("-", "").replace(":", "")
    folder = home / "output" / case["id"]
    log = home / "logs" / f"{case['id']}-{stamp}-{os.getpid()}.log"
    folder.mkdir(parents=True, exist_ok=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    result["log"] = str(log)
    # Beside its place, so that the rename stays within one file system, which may be a share.
    with tempfile.TemporaryDirectory(prefix=".drawing-", dir=folder) as scratch:
        draft = Path(scratch) / f"picture.{case['format']}"
        words = command(settings, case, str(draft), settings.get("runner", RUNNER))
        status, said, reason = run(words, case.get("timeout", settings["timeout"]), log)
        result["engine_version"] = engine_answer(said).get("engine_version")
        if status == RUNNER_REFUSED and words[0].endswith("nano-banana-run"):
            raise RunError(reason)
        if status:
            raise CaseError(f"exit status {status}: {reason}")
        if not draft.is_file():
            raise CaseError("exit status 0: expected a picture; found no file")
        data = draft.read_bytes()
        check_picture(data, case)
        # Clones share the folder: each has a file of its own.
        place = folder / f"{result['host']}.{case['format']}"
        draft.replace(place)
    result.update(output=str(place), sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))


def outcome(text: str, case_id: str, home: Path) -> tuple[int, dict[str, Any]]:
    """The exit status and the JSON object for one id."""
    result: dict[str, Any] = {
        "id": case_id[:80],
        "status": "error",
        **dict.fromkeys(
            ("profile", "engine_version", "output", "sha256", "bytes", "prompt", "seed", "size", "format", "log")
        ),
        "host": socket.gethostname().partition(".")[0],
        "started": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "seconds": 0.0,
        "error": None,
    }
    began, status = time.monotonic(), FAILED
    try:
        settings, case = find_case(text, case_id)
        result.update(profile=settings.get("profile"), **{key: case[key] for key in NEEDED})
        draw(settings, case, home, result)
        result["status"], status = "passed", PASSED
    except UsageError as error:
        result["error"], status = str(error), USAGE
    except CaseError as error:
        result.update(status="failed", error=str(error))
    except RunError as error:
        result["error"] = str(error)
    except OSError as error:
        result["error"] = f"{error.filename or home}: {error.strerror or error}. Next: df -h {home}/output {home}/logs"
    result["seconds"] = round(time.monotonic() - began, 3)
    return status, result


def interrupted(number: int, _frame: Any) -> NoReturn:
    """A signal ends the engine too, and is told as any other error."""
    raise RunError(f"stopped by signal {number}")


def main(arguments: list[str] | None = None) -> int:
    """Entry point: FOLDER CASES ID."""
    words = sys.argv[1:] if arguments is None else arguments
    for name in ("SIGTERM", "SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), interrupted)
    case_id, text = (words[2] if len(words) == 3 else ""), ""
    with contextlib.suppress(OSError, IndexError):  # told as a bad cases.json
        text = Path(words[1]).read_text(encoding="utf-8")
    if len(words) > 3:
        case_id = " ".join(words[2:])
    status, result = outcome(text, case_id, Path(words[0] if words else "."))
    if result["error"]:
        sys.stderr.write(f"{result['error']}\n")
    sys.stdout.write(f"{json.dumps(result)}\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
