# SPDX-License-Identifier: GPL-3.0-or-later
"""The service's log: one line a request, as JSON or as words. No token, and no prompt unless it was asked for."""

from __future__ import annotations

import json
import logging
import sys
from datetime import datetime, timezone
from typing import Any

LOG = logging.getLogger("nano_banana.serve")


def event(name: str, *, level: int = logging.INFO, error: BaseException | None = None, **fields: Any) -> None:
    """Write one line; fields are plain JSON values, those that are None are left out."""
    kept = {key: value for key, value in fields.items() if value is not None}
    LOG.log(level, name, extra={"fields": kept}, exc_info=error)


class Lines(logging.Formatter):
    """One line a record, whatever a client put into a path or an identity."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self._json = form == "json"

    def format(self, record: logging.LogRecord) -> str:
        """The line without its end."""
        moment = datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {"time": moment, "level": record.levelname.lower(), "event": record.getMessage()}
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        if self._json:
            return json.dumps(line, default=str)
        return " ".join(value if key in ("time", "level", "event") else f"{key}={json.dumps(value, default=str)}"
                        for key, value in line.items())  # fmt: skip


def to_stderr(form: str) -> None:
    """Send the service's lines, and uvicorn's of importance, to standard error in this form ("json", "text")."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Lines(form))
    for name, level in (("nano_banana", logging.INFO), ("uvicorn", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(level)
        logger.propagate = False
