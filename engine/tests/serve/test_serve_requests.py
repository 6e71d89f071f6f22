# SPDX-License-Identifier: GPL-3.0-or-later
"""What clients may send, what they get, and what is written about it."""

from __future__ import annotations

import base64
import io
import json
import logging
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from nano_banana import backends, metadata
from nano_banana.errors import BadInputError
from nano_banana.request import Lora, Request
from nano_banana.serve import ServeSettings, logs

JSON = {"content-type": "application/json"}
PROBLEM = {"what", "expected", "found", "fix", "reason", "request_id"}


def png(width: int = 80, height: int = 80) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (width, height), (1, 2, 3)).save(stream, "PNG")
    return stream.getvalue()


def bomb() -> bytes:
    """A PNG of 50000 x 50000 pixels whose header is honest and whose data is short."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    body = zlib.compress(b"\0" * 1_000_000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize("form", ["png", "jpeg", "webp"])
def test_a_picture_comes_as_a_file_with_its_origin(serve: Any, tmp_path: Path, form: str) -> None:
    service = serve(backends.get("preview"))
    answer = service.draw({"format": form, "seed": 5, "width": 96})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == f"image/{form}"
    assert answer.headers["x-nano-banana-seed"] == "5"
    assert answer.headers["x-nano-banana-backend"] == "preview"
    assert float(answer.headers["x-nano-banana-seconds"]) > 0
    assert float(answer.headers["x-nano-banana-queue-seconds"]) >= 0
    path = tmp_path / "a"
    path.write_bytes(answer.content)
    assert (metadata.read(path).seed, metadata.read(path).width, metadata.read(path).height) == (5, 96, 64)
    assert service.draw({"format": form, "seed": 5, "width": 96}).content == answer.content


def test_json_is_sent_to_those_who_prefer_it(serve: Any) -> None:
    service = serve()
    answer = service.draw({"seed": 7}, headers={"Accept": "application/json"})
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    data = base64.b64decode(body["picture"])
    with Image.open(io.BytesIO(data)) as image:
        assert image.getpixel((0, 0)) == (7, 9, 9)
    assert (body["seed"], body["width"], body["bytes"], body["backend"]) == (7, 64, len(data), "fake")
    assert body["request_id"] == answer.headers["x-request-id"]
    for accept in ("image/png, application/json", "application/json;q=0.5, */*", "*/*", "application/json;q=x"):
        assert service.draw(headers={"Accept": accept}).headers["content-type"] == "image/png", accept


def test_every_field_reaches_the_backend(serve: Any, fake: Any) -> None:
    control = {"name": "isometric", "picture": base64.b64encode(png()).decode(), "strength": 0.5}
    body = {"prompt": "p", "negative": "n", "width": 72, "height": 80, "seed": 3, "steps": 4, "guidance": 2,
            "loras": [{"name": "a", "weight": -1}, {"name": "b"}], "control": control, "upscale": 2, "style": False,
            "sharpen": 1.5, "format": "webp", "quality": 50}  # fmt: skip
    answer = serve().draw(body)
    assert answer.status_code == 200
    found: Request = fake.requests[0]
    assert found.control is not None
    assert (found.control.name, found.control.picture, found.control.strength) == ("isometric", png(), 0.5)
    assert "x-nano-banana-notes" in answer.headers  # one colour has no edges: it counts as blurred
    plain = Request("p", 72, 80, 3, "n", 4, 2.0, (Lora("a", -1.0), Lora("b", 0.8)), found.control, 2, False, 1.5)
    assert found == plain


@pytest.mark.parametrize(
    ("body", "status", "what"),
    [
        (b"{", 400, "body"),
        (b"", 422, "body"),
        (b"null", 422, "body"),
        (b"[]", 422, "body"),
        (b"\xff\xfe", 400, "body"),
        (b"[" * 100_000, 400, "body"),
        (b'{"prompt":"a","seed":' + b"1" * 5000 + b"}", 400, "body"),
        (b"{}", 422, "prompt"),
        (b'{"prompt":""}', 422, "prompt"),
        (b'{"prompt":" "}', 422, "prompt"),
        (b'{"prompt":"a\\u0000"}', 422, "prompt"),
        (b'{"prompt":"a\\ud800"}', 422, "prompt"),
        (b'{"prompt":["a"]}', 422, "prompt"),
        (b'{"prompt":null}', 422, "prompt"),
        (b'{"prompt":"' + b"a" * 4001 + b'"}', 422, "prompt"),
        (b'{"prompt":"a","width":NaN}', 422, "width"),
        (b'{"prompt":"a","width":1e999}', 422, "width"),
        (b'{"prompt":"a","width":-1}', 422, "width"),
        (b'{"prompt":"a","width":99999999999999999999}', 422, "width"),
        (b'{"prompt":"a","height":"64"}', 422, "height"),
        (b'{"prompt":"a","height":true}', 422, "height"),
        (b'{"prompt":"a","height":64.5}', 422, "height"),
        (b'{"prompt":"a","height":513}', 422, "height"),
        (b'{"prompt":"a","guidance":NaN}', 422, "guidance"),
        (b'{"prompt":"a","guidance":-Infinity}', 422, "guidance"),
        (b'{"prompt":"a","sharpen":1e400}', 422, "sharpen"),
        (b'{"prompt":"a","seed":-1}', 422, "seed"),
        (b'{"prompt":"a","steps":151}', 422, "steps"),
        (b'{"prompt":"a","upscale":3}', 422, "upscale"),
        (b'{"prompt":"a","format":"gif"}', 422, "format"),
        (b'{"prompt":"a","quality":90}', 422, "quality"),
        (b'{"prompt":"a","output":"/tmp/x.png"}', 422, "output"),
        (b'{"prompt":"a","loras":[{"name":"../../etc/passwd"}]}', 422, "loras.0.name"),
        (b'{"prompt":"a","loras":[{"name":"a","weight":NaN}]}', 422, "loras.0.weight"),
        (b'{"prompt":"a","preset":"/etc/passwd"}', 422, "preset"),
        (b'{"prompt":"a","control":{"name":"a","picture":"/etc/passwd"}}', 422, "control.picture"),
        (b'{"prompt":"a","control":{"name":"a","picture":"file:///etc/passwd"}}', 422, "control.picture"),
        (b'{"prompt":"a","control":{"name":"/a","picture":"AAAA"}}', 422, "control.name"),
        (b'{"prompt":"a","control":{"name":"a","picture":{"path":"/etc/passwd"}}}', 422, "control.picture"),
        (b'{"prompt":"a","control":{"name":"a","picture":"data:image/png;base64,AAAA"}}', 422, "control.picture"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_drawn(
    serve: Any, fake: Any, body: bytes, status: int, what: str
) -> None:
    service = serve(max_side=512)
    answer = service.ask("POST", "/v1/pictures", content=body, headers=JSON)
    problem = answer.json()
    assert (answer.status_code, problem["what"]) == (status, what), problem
    assert set(problem) == PROBLEM
    assert problem["reason"] == {400: "bad request", 422: "bad input"}[status]
    assert fake.requests == []
    assert service.outcomes() == {"invalid": 1}
    assert "root:" not in answer.text


@pytest.mark.parametrize(
    "data", [b"GIF89a" + b"\0" * 99, b"\x89PNG\r\n\x1a\n" + b"\0" * 99, png()[:-30], bomb(), b"no"]
)
def test_broken_pictures_and_bombs_are_refused(serve: Any, fake: Any, data: bytes) -> None:
    answer = serve().draw({"control": {"name": "a", "picture": base64.b64encode(data).decode()}})
    assert (answer.status_code, answer.json()["reason"]) == (422, "bad input")
    assert fake.requests == []


def test_what_the_backend_cannot_draw_is_bad_input(serve: Any, fake: Any) -> None:
    fake.raises["odd"] = BadInputError("--prompt", expected="few parts", found="many", fix="Name fewer.")
    answer = serve().draw({"prompt": "odd"})
    assert (answer.status_code, answer.json()["what"], answer.json()["found"]) == (422, "prompt", "many")


@pytest.mark.parametrize(
    ("headers", "what"),
    [
        ({"content-type": "text/plain"}, "Content-Type"),
        ({"content-type": "application/x-www-form-urlencoded"}, "Content-Type"),
        ({}, "Content-Type"),
        ({**JSON, "content-encoding": "gzip"}, "Content-Encoding"),
    ],
)
def test_other_types_are_refused(serve: Any, headers: dict[str, str], what: str) -> None:
    answer = serve().ask("POST", "/v1/pictures", content=b'{"prompt": "a"}', headers=headers)
    assert (answer.status_code, answer.json()["what"], answer.json()["reason"]) == (415, what, "wrong type")


def test_a_large_body_is_refused_by_its_header_and_while_it_comes(serve: Any) -> None:
    service = serve(body_bytes=1000)
    sent = 0

    async def chunks() -> Any:
        nonlocal sent
        for _ in range(1000):
            sent += 100
            yield b" " * 100

    for content in (b" " * 1001, chunks()):
        answer = service.ask("POST", "/v1/pictures", content=content, headers=JSON)
        assert (answer.status_code, answer.json()["reason"]) == (413, "too large")
    assert 1000 < sent < 2000
    assert service.draw().status_code == 200


def test_paths_and_methods_that_do_not_exist(serve: Any) -> None:
    service = serve()
    for path in ("/nothing", "/v1/../../etc/passwd", "/v1/pictures/%2e%2e%2fetc"):
        assert service.ask("GET", path).json()["reason"] == "not found"
    answer = service.ask("GET", "/v1/pictures")
    assert (answer.status_code, answer.headers["allow"], answer.json()["reason"]) == (405, "POST", "wrong method")


def test_the_token_opens_and_probes_need_none(serve: Any, caplog: pytest.LogCaptureFixture) -> None:
    service = serve(token="s3cret-token")
    with caplog.at_level(logging.INFO):
        for given in (None, "Bearer wrong", "Bearer ", "Basic s3cret-token", "s3cret-token", "Bearer s3cret-token2"):
            headers = {"Authorization": given} if given else {}
            answer = service.draw(headers=headers)
            assert (answer.status_code, answer.json()["reason"]) == (401, "unauthorized"), given
            assert answer.headers["www-authenticate"] == "Bearer"
            assert service.ask("GET", "/metrics", headers=headers).status_code == 401
        for path in ("/healthz", "/readyz", "/openapi.json"):
            assert service.ask("GET", path).status_code == 200
        assert service.draw(headers={"Authorization": "Bearer s3cret-token"}).status_code == 200
    assert len(caplog.records) > 10
    assert "s3cret" not in "".join(logs.Lines("json").format(record) for record in caplog.records)
    assert "s3cret" not in repr(ServeSettings(token="s3cret-token"))
    post = service.ask("GET", "/openapi.json").json()["paths"]["/v1/pictures"]["post"]
    assert post["security"] == [{"token": []}]
    assert "401" in post["responses"]


def test_the_identity_of_a_request_is_kept_or_made(serve: Any) -> None:
    service = serve()
    assert service.draw(headers={"X-Request-ID": "my-1"}).headers["x-request-id"] == "my-1"
    for strange in ("a b", "../x", "x" * 65, ""):
        assert service.draw(headers={"X-Request-ID": strange}).headers["x-request-id"] != strange


def test_one_line_a_request_without_the_prompt(serve: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "nano_banana.serve"):
        serve().draw({"prompt": "hush", "seed": 4}, headers={"X-Request-ID": "one"})
        serve(log_prompts=True).draw({"prompt": "aloud"})
        serve().ask("GET", "/healthz%0Ainjected")
    lines = [logs.Lines("json").format(record) for record in caplog.records]
    assert all("\n" not in line for line in lines)
    first, second, third = (json.loads(line) for line in lines)
    assert "hush" not in lines[0]
    assert (first["event"], first["id"], first["status"], first["outcome"], first["seed"]) == (
        "request",
        "one",
        200,
        "ok",
        4,
    )
    assert {"queue_seconds", "run_seconds", "seconds", "bytes_out", "width"} <= set(first)
    assert second["prompt"] == "aloud"
    assert third["status"] == 404
    text = logs.Lines("text").format(caplog.records[2])
    assert "\n" not in text
    assert "status=404" in text


def test_copies_go_into_the_folder_under_names_of_the_service(serve: Any, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    folder.mkdir()
    service = serve(output=folder)
    answer = service.draw({"prompt": "../../../tmp/x: gear", "format": "jpeg"}, headers={"X-Request-ID": "..evil"})
    kept = list(tmp_path.rglob("*"))
    assert [path.parent for path in kept] == [tmp_path, folder]
    assert kept[1].read_bytes() == answer.content
    assert kept[1].name.endswith(".jpg")
    assert "evil" not in kept[1].name
    kept[1].unlink()
    folder.rmdir()
    late = service.draw(headers={"Accept": "application/json"})
    assert late.status_code == 200
    assert late.json()["notes"] == ["the service could not keep its copy"]


def test_nothing_is_written_without_an_output_folder(serve: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    assert serve(backends.get("preview")).draw().status_code == 200
    assert list(tmp_path.iterdir()) == []


def test_a_preset_is_the_base_and_sent_fields_come_first(serve: Any, fake: Any) -> None:
    service = serve()
    assert [preset["name"] for preset in service.ask("GET", "/v1/presets").json()] == ["one"]
    answer = service.ask("POST", "/v1/pictures", json={"preset": "one", "steps": 3, "width": 128})
    assert fake.requests[-1] == Request("preset prompt", 128, 1024, 12, steps=3)
    assert "style" in json.loads(answer.headers["x-nano-banana-notes"])[0]
    fake.figures["loras"] = ["style"]
    service.draw()  # what the backend has is asked after each picture
    answer = service.ask("POST", "/v1/pictures", json={"preset": "one", "prompt": "mine"})
    assert (fake.requests[-1].prompt, fake.requests[-1].loras) == ("mine", (Lora("style", 0.7),))
    assert "x-nano-banana-notes" not in answer.headers
    unknown = service.ask("POST", "/v1/pictures", json={"preset": "two"})
    assert (unknown.status_code, unknown.json()["what"]) == (422, "preset")


def test_the_real_presets_have_the_shape_that_the_schema_tells(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    from nano_banana.presets import PRESETS

    answer = serve().ask("GET", "/v1/presets")
    assert [preset["name"] for preset in answer.json()] == list(PRESETS)


def test_info_tells_limits_and_not_where_the_model_lies(serve: Any) -> None:
    info = serve(queue=3, max_side=512).ask("GET", "/v1/info")
    assert (info.json()["queue"], info.json()["max_side"], info.json()["ready"]) == (3, 512, True)
    assert info.json()["state"]["video_memory_bytes"] == 123
    assert "/secret" not in info.text


@pytest.mark.parametrize(
    "wrong",
    [{"port": 70000}, {"queue": 0}, {"timeout_s": float("nan")}, {"token": " "}, {"token": "ä"}, {"log_format": "x"}],
)
def test_settings_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInputError):
        ServeSettings(**wrong)


def test_each_client_is_told_what_was_noticed_about_its_own_picture(serve: Any, fake: Any) -> None:
    service = serve()
    fake.figures["notes_of_each"] = [["The text has 100 tokens"]]
    answer = service.draw()
    assert json.loads(answer.headers["x-nano-banana-notes"]) == ["The text has 100 tokens"]
    # A list for other requests than those that were drawn is nobody's.
    fake.figures["notes_of_each"] = [["of one"], ["of another"]]
    assert "x-nano-banana-notes" not in service.draw().headers
