# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring a model's weights into the cache, each file with the checksum that it must have; Python >= 3.8 alone.

``weights.py get`` reads a JSON object from standard input: ``source`` (path, share, hub), ``from`` (folder, or address
of the hub), ``repository``, ``revision``, ``folder`` (where to), ``files`` (``name``, ``sha256``, ``size`` in bytes or
0); NANO_BANANA_HUB_TOKEN is the hub's token. A file appears under its name when its checksum was right; what was
interrupted is continued. Prints ``changed`` or ``unchanged``.

``weights.py manifest FOLDER`` prints the list of files of a folder that you trust, for model_weights_files.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import shutil
import sys
import urllib.error
import urllib.request
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO
from urllib.parse import quote

BLOCK = 4 << 20
SPARE = 256 << 20


class WeightsError(Exception):
    """The text says what is wrong and what to do."""


def sha256_of(path: Path) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(BLOCK), b""):
            digest.update(block)
    return digest.hexdigest()


def check_name(name: str) -> None:
    """Raises WeightsError for a name that leads out of the folder."""
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name:
        raise WeightsError(
            f"weights file {name!r}: expected a path below the folder. Next: correct model_weights_files"
        )


class NoTokenElsewhere(urllib.request.HTTPRedirectHandler):
    """A hub sends large files from another host, which must not see the token."""

    def redirect_request(self, req: Any, *others: Any) -> Any:
        """The next request, without the header."""
        found = super().redirect_request(req, *others)
        if found is not None and found.host != req.host:
            found.remove_header("Authorization")
        return found


def open_hub(wish: dict[str, Any], name: str, offset: int) -> BinaryIO:
    """A stream of a file from an offset on. Raises WeightsError."""
    address = "/".join((wish["from"].rstrip("/"), wish["repository"], "resolve", wish["revision"], quote(name)))
    headers = {"Range": f"bytes={offset}-"} if offset else {}
    token = os.environ.get("NANO_BANANA_HUB_TOKEN")
    if token:
        headers["Authorization"] = f"Bearer {token}"
    opener = urllib.request.build_opener(NoTokenElsewhere)
    try:
        # The scheme was checked: https, or http where the operator's own mirror has no TLS.
        answer = opener.open(urllib.request.Request(address, headers=headers), timeout=60)  # noqa: S310
    except urllib.error.HTTPError as error:
        if error.code == 416:
            return open(os.devnull, "rb")  # noqa: PTH123 - all of it is here already
        raise WeightsError(
            f"{address}: expected the file; found HTTP {error.code}. Next: check model_hub_url and the token"
        ) from None
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"{address}: expected an answer; found {error}. Next: check model_hub_url, then run again"
        ) from None
    if offset and answer.status != 206:
        raise BlockingIOError  # the server starts over, so do we
    return answer  # type: ignore[no-any-return]


def source_stream(wish: dict[str, Any], name: str, offset: int) -> BinaryIO:
    """The file at its source, from an offset on. Raises WeightsError."""
    if wish["source"] == "hub":
        return open_hub(wish, name, offset)
    path = Path(wish["from"], name)
    try:
        stream = path.open("rb")
        stream.seek(offset)
    except OSError as error:
        raise WeightsError(
            f"{path}: expected the weights; found: {error.strerror}. Next: mount it, or correct model_weights_path"
        ) from None
    return stream


def bring(wish: dict[str, Any], item: dict[str, Any], target: Path) -> None:
    """One file: to a temporary name, checked, renamed. Raises WeightsError."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{item['sha256'][:16]}.part")
    offset = part.stat().st_size if part.exists() else 0
    try:
        stream = source_stream(wish, item["name"], offset)
    except BlockingIOError:
        part.unlink()
        offset, stream = 0, source_stream(wish, item["name"], 0)
    try:
        with stream, part.open("ab") as sink:
            shutil.copyfileobj(stream, sink, BLOCK)
            sink.flush()
            os.fsync(sink.fileno())
    except http.client.IncompleteRead as error:
        raise WeightsError(
            f"{item['name']}: expected the whole file; the connection ended: {error}. Next: run again"
        ) from None
    found, size = sha256_of(part), part.stat().st_size
    if found != item["sha256"].lower():
        if not item.get("size") or size >= item["size"]:
            part.unlink()  # a whole file with a wrong sum; a shorter one is continued by the next run
        raise WeightsError(
            f"{item['name']} from {wish['from']}: expected SHA-256 {item['sha256']}; found {found} in {size} bytes. "
            "Next: compare with the source's own list; correct model_weights_files, or run again"
        )
    part.replace(target)


def check_space(wish: dict[str, Any], folder: Path, missing: list[dict[str, Any]]) -> None:
    """Raises WeightsError when what is missing does not fit."""
    needed = sum(item.get("size", 0) for item in missing)
    for item in missing:
        if wish["source"] != "hub" and not item.get("size"):
            path = Path(wish["from"], item["name"])
            needed += path.stat().st_size if path.is_file() else 0
    free = shutil.disk_usage(folder).free
    if missing and free < needed + SPARE:
        raise WeightsError(
            f"{folder}: expected {(needed + SPARE) >> 20} MB free for the weights; found {free >> 20} MB. "
            f"Next: free some (df -h {folder}) or set model_cache to a larger disk"
        )


def get(wish: dict[str, Any]) -> bool:
    """Bring what is missing; says whether anything was. Raises WeightsError."""
    for item in wish["files"]:
        check_name(item["name"])
    folder = Path(wish["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    missing = [item for item in wish["files"] if not good(folder / item["name"], item)]
    check_space(wish, folder, missing)
    for item in missing:
        bring(wish, item, folder / item["name"])
    return bool(missing)


def good(path: Path, item: dict[str, Any]) -> bool:
    """Whether a file is there with its checksum."""
    return path.is_file() and sha256_of(path) == item["sha256"].lower()


def manifest(folder: Path) -> list[dict[str, Any]]:
    """What model_weights_files takes, of a folder as it is."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return [
        {"name": path.relative_to(folder).as_posix(), "sha256": sha256_of(path), "size": path.stat().st_size}
        for path in paths
    ]


def main(words: list[str]) -> int:
    """Entry point."""
    try:
        if words[:1] == ["manifest"] and len(words) == 2:
            sys.stdout.write(json.dumps(manifest(Path(words[1])), indent=2) + "\n")
        elif words == ["get"]:
            sys.stdout.write("changed\n" if get(json.load(sys.stdin)) else "unchanged\n")
        else:
            raise WeightsError("weights.py: expected `get` or `manifest FOLDER`; found " + " ".join(words))
    except WeightsError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except OSError as error:
        found = f"{error.filename or 'weights'}: {error.strerror or error}"
        sys.stderr.write(f"{found}. Next: free space or mend the disk, then run again\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
