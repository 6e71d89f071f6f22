# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run's folder: what tasks left there, and what the report leaves there."""

from __future__ import annotations

import base64
import contextlib
import os
from pathlib import Path
from urllib.parse import quote

from .documents import documents
from .junit import Test, parse
from .model import Evidence, Report
from .render import page

LATEST = "latest"
# Up to this size (bytes) a picture stands in the page itself; a larger one is linked and must stay beside the page.
EMBEDDED = 512 * 1024
# File systems round the time of a change; a file of this run may look this many seconds older than its start.
ROUNDING = 2.0


class Folder:
    """``path`` is artifacts/<run id>. ``warnings`` collects what was wrong but did not stop the report."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.warnings: list[str] = []

    def evidence(self, since: float, drawn: frozenset[str] = frozenset()) -> Evidence:
        """Tests and pictures, by host, that were written at ``since`` (seconds since the epoch) or later.

        A picture of a host in ``drawn`` counts whatever its age: the same picture under a run id that is used again
        is not written again.
        """
        tests: dict[str, tuple[Test, ...]] = {}
        for file in self._files("verify-*.xml", since):
            try:
                tests[file.stem.removeprefix("verify-")] = parse(file.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                self.warnings.append(f"{file}: {error}. The report does not show its tests.")
        recent = set(self._files("*.png", since))
        pictures = {
            file.stem: self._source(file)
            for file in sorted(self.path.glob("*.png"))
            if file in recent or file.stem in drawn
        }
        return Evidence(tests, pictures)

    def make(self) -> None:
        """Make the folder for tasks that write into it. A failure is told when the report cannot be written either."""
        with contextlib.suppress(OSError):
            self.path.mkdir(parents=True, exist_ok=True)

    def write(self, report: Report) -> None:
        """Write page and documents, each whole or not at all, and point ``latest`` here. Raises OSError."""
        self.path.mkdir(parents=True, exist_ok=True)
        for name, text in {**documents(report), "report.html": page(report)}.items():
            self._replace(name, text)
        self._link()

    def _files(self, pattern: str, since: float) -> list[Path]:
        return [file for file in sorted(self.path.glob(pattern)) if file.stat().st_mtime >= since - ROUNDING]

    @staticmethod
    def _source(picture: Path) -> str:
        if picture.stat().st_size > EMBEDDED:
            return quote(picture.name)
        return "data:image/png;base64," + base64.b64encode(picture.read_bytes()).decode("ascii")

    def _replace(self, name: str, text: str) -> None:
        draft = self.path / f".{name}.{os.getpid()}"
        draft.write_text(text, encoding="utf-8")
        draft.replace(self.path / name)

    def _link(self) -> None:
        """Best effort: the report is complete without the link."""
        link = self.path.parent / LATEST
        draft = self.path.parent / f".{LATEST}.{os.getpid()}"
        try:
            draft.unlink(missing_ok=True)
            draft.symlink_to(self.path.name)
            draft.replace(link)
        except OSError as error:
            draft.unlink(missing_ok=True)
            self.warnings.append(f"{link}: expected to link it to {self.path.name}; found {error.strerror}.")
