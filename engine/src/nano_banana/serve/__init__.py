# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures over HTTP. Importing this needs nothing; `run` and `app.create_app` need the extra `serve`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nano_banana.serve.settings import ServeSettings

if TYPE_CHECKING:
    from nano_banana.backends import Backend

__all__ = ["ServeSettings", "run"]


def run(settings: ServeSettings, backend: Backend) -> None:
    """Listen until SIGTERM or SIGINT, then finish what was accepted within `settings.grace_s` seconds, and return.

    Raises MachineError when the address cannot be had, and whatever EngineError the backend's load ends with.
    """
    from nano_banana.serve import server

    server.run(settings, backend)
