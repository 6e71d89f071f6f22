# SPDX-License-Identifier: GPL-3.0-or-later
"""roles/model/files/weights.py: what arrives has its checksum, what was interrupted goes on, what is wrong is told."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests.unit.programs import loaded

SCRIPT = Path(__file__).parents[3] / "roles/model/files/weights.py"
DATA = bytes(range(256)) * 64
SHA256 = hashlib.sha256(DATA).hexdigest()
REVISION = "a" * 40


@pytest.fixture(scope="module")
def weights() -> ModuleType:
    return loaded(SCRIPT)


@pytest.fixture
def order(tmp_path: Path) -> dict[str, Any]:
    """Weights in a folder, and where they go."""
    (tmp_path / "source/unet").mkdir(parents=True)
    (tmp_path / "source/unet/model.bin").write_bytes(DATA)
    return {
        "source": "path",
        "from": str(tmp_path / "source"),
        "repository": "who/what",
        "revision": REVISION,
        "folder": str(tmp_path / "cache/models/m"),
        "files": [{"name": "unet/model.bin", "sha256": SHA256, "size": len(DATA)}],
    }


@pytest.fixture
def hub() -> Iterator[SimpleNamespace]:
    """A hub that can stop in the middle, ignore ranges, or say no."""
    state = SimpleNamespace(asked=[], cut=0, ranges=True, status=0, data=DATA)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append((self.path, self.headers.get("Range"), self.headers.get("Authorization")))
            offset = int(self.headers["Range"][6:-1]) if state.ranges and self.headers.get("Range") else 0
            status = state.status or (206 if offset else 200)
            if offset and offset >= len(state.data):
                status = 416
            self.send_response(status)
            body = state.data[offset:] if status < 300 else b""
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: state.cut] if state.cut else body)

        def log_message(self, *words: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    state.url = f"http://127.0.0.1:{server.server_port}/"
    yield state
    server.shutdown()
    server.server_close()


def there(order: dict[str, Any]) -> dict[str, int]:
    folder = Path(order["folder"])
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in folder.rglob("*") if path.is_file()}


def test_a_folder_is_copied_once_and_mended_when_it_was_spoilt(weights: ModuleType, order: dict[str, Any]) -> None:
    assert weights.get(order) is True
    assert there(order) == {"unet/model.bin": len(DATA)}
    assert weights.get(order) is False
    Path(order["folder"], "unet/model.bin").write_bytes(b"spoilt")
    assert weights.get(order) is True
    assert there(order) == {"unet/model.bin": len(DATA)}


def test_a_hub_is_asked_for_the_pinned_commit_with_the_token(
    weights: ModuleType, order: dict[str, Any], hub: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NANO_BANANA_HUB_TOKEN", "secret")
    assert weights.get(order | {"source": "hub", "from": hub.url}) is True
    assert hub.asked == [(f"/who/what/resolve/{REVISION}/unet/model.bin", None, "Bearer secret")]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_lost_connection_is_continued(
    weights: ModuleType, order: dict[str, Any], hub: SimpleNamespace, ranges: bool
) -> None:
    order |= {"source": "hub", "from": hub.url}
    hub.cut = 5000
    with pytest.raises(weights.WeightsError, match="Next:"):
        weights.get(order)
    assert list(there(order).values()) == [5000]
    assert "unet/model.bin" not in there(order)
    hub.cut, hub.ranges = 0, ranges
    assert weights.get(order) is True
    assert hub.asked[1][1] == "bytes=5000-"
    assert there(order) == {"unet/model.bin": len(DATA)}


def test_a_killed_copy_goes_on(weights: ModuleType, order: dict[str, Any]) -> None:
    part = Path(order["folder"], f"unet/.model.bin.{SHA256[:16]}.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(DATA[:100])
    assert weights.get(order) is True
    assert there(order) == {"unet/model.bin": len(DATA)}


def test_a_whole_file_that_was_killed_before_its_rename_is_taken(
    weights: ModuleType, order: dict[str, Any], hub: SimpleNamespace
) -> None:
    part = Path(order["folder"], f"unet/.model.bin.{SHA256[:16]}.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(DATA)
    assert weights.get(order | {"source": "hub", "from": hub.url}) is True
    assert there(order) == {"unet/model.bin": len(DATA)}


@pytest.mark.parametrize("size", [0, len(DATA)])
def test_a_wrong_checksum_is_refused_and_the_next_run_starts_over(
    weights: ModuleType, order: dict[str, Any], size: int
) -> None:
    order["files"][0]["size"] = size
    source = Path(order["from"], "unet/model.bin")
    source.write_bytes(DATA[:-1] + b"x")
    with pytest.raises(weights.WeightsError, match=f"expected SHA-256 {SHA256}; found .*Next: ") as caught:
        weights.get(order)
    assert hashlib.sha256(source.read_bytes()).hexdigest() in str(caught.value)
    assert there(order) == {}
    source.write_bytes(DATA)
    assert weights.get(order) is True


@pytest.mark.parametrize("status", [401, 404, 500])
def test_what_a_hub_refuses_is_told(
    weights: ModuleType, order: dict[str, Any], hub: SimpleNamespace, status: int
) -> None:
    hub.status = status
    with pytest.raises(weights.WeightsError, match=f"HTTP {status}. Next:"):
        weights.get(order | {"source": "hub", "from": hub.url})
    assert there(order) == {}


def test_a_missing_source_and_a_silent_hub_are_told(weights: ModuleType, order: dict[str, Any]) -> None:
    with pytest.raises(weights.WeightsError, match="expected the weights; found: No such file"):
        weights.get(order | {"from": "/nowhere"})
    with pytest.raises(weights.WeightsError, match="expected an answer"):
        weights.get(order | {"source": "hub", "from": "http://127.0.0.1:9"})


@pytest.mark.parametrize("size", [len(DATA), 0])
def test_a_full_disk_is_seen_before_anything_is_copied(
    weights: ModuleType, order: dict[str, Any], monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    order["files"][0]["size"] = size
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=weights.SPARE + len(DATA) - 1))
    with pytest.raises(weights.WeightsError, match="MB free for the weights; found"):
        weights.get(order)
    assert there(order) == {}


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "a\\x", "c:x", ""])
def test_a_name_that_leads_out_of_the_folder_is_refused(weights: ModuleType, order: dict[str, Any], name: str) -> None:
    order["files"][0]["name"] = name
    with pytest.raises(weights.WeightsError, match="below the folder"):
        weights.get(order)


def test_the_token_does_not_follow_to_another_host(weights: ModuleType) -> None:
    request = weights.urllib.request.Request("https://hub.test/x", headers={"Authorization": "Bearer secret"})
    for address, kept in (("https://hub.test/y", True), ("https://storage.test/y", False)):
        found = weights.NoTokenElsewhere().redirect_request(request, None, 302, "", {}, address)
        assert found.has_header("Authorization") is kept


def test_the_manifest_of_a_folder_is_what_get_takes(order: dict[str, Any]) -> None:
    def run(*words: str, given: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(SCRIPT), *words], input=given, capture_output=True, text=True, check=False
        )

    order["files"] = json.loads(run("manifest", order["from"]).stdout)
    assert order["files"] == [{"name": "unet/model.bin", "sha256": SHA256, "size": len(DATA)}]
    assert [run("get", given=json.dumps(order)).stdout for _run in range(2)] == ["changed\n", "unchanged\n"]
    wrong = run("take")
    assert (wrong.returncode, wrong.stderr.startswith("weights.py: expected")) == (1, True)
