# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Content Library over vCenter's REST API: from a library and item name to the template VM behind the item.

pyVmomi has no vAPI, so this is a second session with an expiry of its own; it is opened only when a VM has to
be made.
"""

from __future__ import annotations

import base64
import http.client
import json
import urllib.error
import urllib.parse
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from ansible.module_utils.urls import open_url
from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import (
    Problem,
    TestbedError,
    nearest,
    one_problem,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.client import (
    CONNECT_SECONDS,
    Connection,
    explain,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.wish import Template


class RestSession:
    """A session of the vSphere Automation API (paths below ``/api``)."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._token = ""

    def open(self) -> None:
        """Log in; raises TestbedError like the SOAP login does."""
        login = f"{self._connection.username}:{self._connection.password}".encode()
        self._token = str(self.call("POST", "session", {"Authorization": "Basic " + base64.b64encode(login).decode()}))

    def close(self) -> None:
        """Log out."""
        self.call("DELETE", "session")

    def get(self, path: str, **query: str) -> Any:
        """Read one resource."""
        return self.call("GET", path + ("?" + urllib.parse.urlencode(query) if query else ""))

    def call(self, method: str, path: str, headers: dict[str, str] | None = None) -> Any:
        """One request; the decoded JSON answer or None."""
        try:
            answer = open_url(
                f"https://{self._connection.hostname}:{self._connection.port}/api/{path}",
                method=method,
                headers=headers or {"vmware-api-session-id": self._token},
                timeout=CONNECT_SECONDS,
                validate_certs=self._connection.validate_certs,
                ca_path=self._connection.ca_file or None,
                use_proxy=False,  # pyVmomi's session takes none either
                use_netrc=False,  # a .netrc entry would replace our Authorization header
            )
            body = answer.read()
        except urllib.error.HTTPError as error:
            raise self._refused(method, path, error.code) from error
        except urllib.error.URLError as error:
            reason = error.reason if isinstance(error.reason, BaseException) else error
            raise explain(self._connection, reason) from error
        except (OSError, http.client.HTTPException) as error:
            raise explain(self._connection, error) from error
        return json.loads(body) if body else None

    def _refused(self, method: str, path: str, status: int) -> TestbedError:
        what = f"{self._connection.where}: {method} /api/{path.split('?')[0]}"
        if status in (401, 403):
            next_step = "check the login and its privileges on the Content Library (they come from the global root)"
            return one_problem("rest_refused", what, "access", f"HTTP {status}", next_step)
        return one_problem("rest_failed", what, "success", f"HTTP {status}", "look at vCenter's event log")


@contextmanager
def rest_session(connection: Connection) -> Iterator[RestSession]:
    """A logged-in REST session, logged out again at the end."""
    session = RestSession(connection)
    session.open()
    try:
        yield session
    finally:
        session.close()


def template_vms(session: RestSession, wanted: Iterable[Template]) -> dict[Template, str]:
    """The id of the template VM behind each item.

    Raises TestbedError (``unknown_template``) that names every library and item that does not exist, with the
    nearest one that does.
    """
    problems: list[Problem] = []
    libraries = {item["name"]: item["id"] for item in map(_library(session), session.get("content/library"))}
    items: dict[str, dict[str, dict[str, Any]]] = {}
    found: dict[Template, str] = {}
    for template in sorted(set(wanted), key=str):
        what = f"template '{template}'"
        if template.library not in libraries:
            hint = nearest(template.library, libraries)
            problems.append(Problem(what, "an existing Content Library", f"no library '{template.library}'", hint))
            continue
        if template.library not in items:
            items[template.library] = _items(session, libraries[template.library])
        item = items[template.library].get(template.item)
        if item is None:
            hint = nearest(template.item, items[template.library])
            problems.append(Problem(what, "an item of that library", f"no item '{template.item}'", hint))
        elif item["type"] != "vm-template":
            next_step = "clone the item to a VM template in the library; OVF items are not supported yet"
            problems.append(Problem(what, "an item of type vm-template", f"type {item['type']}", next_step))
        else:
            info = session.get(f"vcenter/vm-template/library-items/{item['id']}")
            found[template] = info["vm_template"]
    if problems:
        raise TestbedError("unknown_template", problems)
    return found


def _library(session: RestSession) -> Any:
    return lambda identifier: session.get(f"content/library/{identifier}")


def _items(session: RestSession, library_id: str) -> dict[str, dict[str, Any]]:
    """The items of a library by name."""
    identifiers = session.get("content/library/item", library_id=library_id)
    return {item["name"]: item for item in (session.get(f"content/library/item/{key}") for key in identifiers)}
