# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Content Library over vCenter's REST API: from a library and item name to the template VM or OVF package behind it.

pyVmomi has no vAPI, so this is a second session with an expiry of its own; it is opened only when a VM has to
be made.
"""

from __future__ import annotations

import base64
import http.client
import json
import urllib.error
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from ansible.module_utils.urls import open_url
from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import (
    Problem,
    TestbedError,
    nearest,
    one_problem,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import ovf
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.client import (
    CONNECT_SECONDS,
    Connection,
    explain,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.faults import DeploymentLostError
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.template import Template

# Nothing that a login holds on vCenter's own root shows it the libraries, not even the administrator's role.
UNSEEN = "give the login a role on the global root (playbooks/vcenter_role.yml): without one a login sees no library"
DEPLOY_SECONDS = 3600  # vCenter answers deploy when all disks are copied
# What a proxy in vCenter says when the service behind it does not answer: the call may have been carried out.
NO_ANSWER = (502, 503, 504)


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

    def find(self, path: str, **spec: str) -> list[str]:
        """The identifiers that match all of ``spec``."""
        return list(self.call("POST", f"{path}?action=find", body=spec))

    def call(
        self,
        method: str,
        path: str,
        headers: dict[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        seconds: float = CONNECT_SECONDS,
    ) -> Any:
        """One request; the decoded JSON answer or None."""
        sent = dict(headers or {"vmware-api-session-id": self._token})
        if body is not None:
            sent["Content-Type"] = "application/json"
        try:
            answer = open_url(
                f"https://{self._connection.hostname}:{self._connection.port}/api/{path}",
                method=method,
                headers=sent,
                data=None if body is None else json.dumps(body),
                timeout=seconds,
                validate_certs=self._connection.validate_certs,
                ca_path=self._connection.ca_file or None,
                use_proxy=False,  # pyVmomi's session takes none either
                use_netrc=False,  # a .netrc entry would replace our Authorization header
            )
            content = answer.read()
        except urllib.error.HTTPError as error:
            raise self._refused(method, path, error.code, _words(error)) from error
        except urllib.error.URLError as error:
            reason = error.reason if isinstance(error.reason, BaseException) else error
            raise explain(self._connection, reason) from error
        except (OSError, http.client.HTTPException) as error:
            raise explain(self._connection, error) from error
        return json.loads(content) if content else None

    def _refused(self, method: str, path: str, status: int, words: str) -> TestbedError:
        what = f"{self._connection.where}: {method} /api/{path.split('?')[0]}"
        if status in (401, 403):
            next_step = "check the login and its privileges on the Content Library (they come from the global root)"
            return one_problem("rest_refused", what, "access", f"HTTP {status}{words}", next_step)
        code = "rest_no_answer" if status in NO_ANSWER else "rest_failed"
        return one_problem(code, what, "success", f"HTTP {status}{words}", "look at vCenter's event log")


def _words(error: urllib.error.HTTPError) -> str:
    """What vCenter says beside the number, where it says something."""
    try:
        messages = json.loads(error.read())["messages"]
        return "".join(f": {ovf.message(item)}" for item in messages[:1])
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError, AttributeError):
        return ""


@contextmanager
def rest_session(connection: Connection) -> Iterator[RestSession]:
    """A logged-in REST session, logged out again at the end."""
    session = RestSession(connection)
    session.open()
    try:
        yield session
    finally:
        session.close()


def find_items(session: RestSession, wanted: Mapping[Template, str]) -> dict[Template, str | ovf.OvfItem]:
    """The id of the template VM behind each item, or what an OVF item's filter tells of it.

    An item is looked at with regard to the resource pool that it is wanted for (its id). Raises TestbedError
    (``unknown_template``) that names every library and item that does not exist, with the nearest one that does.
    """
    problems: list[Problem] = []
    found: dict[Template, str | ovf.OvfItem] = {}
    for template in sorted(wanted, key=str):
        answer = _item(session, template, wanted[template])
        if isinstance(answer, Problem):
            problems.append(answer)
        else:
            found[template] = answer
    if problems:
        raise TestbedError("unknown_template", problems)
    return found


def _item(session: RestSession, template: Template, pool: str) -> str | ovf.OvfItem | Problem:
    what = f"template '{template}'"
    libraries = session.find("content/library", name=template.library)
    if not libraries:
        names = _names(session, "content/library", session.get("content/library"))
        hint = nearest(template.library, names) if names else UNSEEN
        return Problem(what, "an existing Content Library", f"no library '{template.library}'", hint)
    items = session.find("content/library/item", name=template.item, library_id=libraries[0])
    if not items:
        names = _names(session, "content/library/item", session.get("content/library/item", library_id=libraries[0]))
        return Problem(what, "an item of that library", f"no item '{template.item}'", nearest(template.item, names))
    kind = session.get(f"content/library/item/{items[0]}")["type"]
    if kind == "vm-template":
        return str(session.get(f"vcenter/vm-template/library-items/{items[0]}")["vm_template"])
    if kind != "ovf":
        return Problem(what, "an item of type vm-template or ovf", f"type {kind}", "name an item that holds a VM")
    return _package(session, what, items[0], pool)


def _package(session: RestSession, what: str, item: str, pool: str) -> ovf.OvfItem | Problem:
    if not pool:
        return ovf.OvfItem(item)  # the placement is wrong, which is told without what the package needs
    path = f"vcenter/ovf/library-item/{item}?action=filter"
    try:
        return ovf.read_summary(item, session.call("POST", path, body={"target": {"resource_pool_id": pool}}))
    except TestbedError as error:
        if error.error_code != "rest_failed":
            raise
        found = error.problems[0].found
        return Problem(what, "an OVF package that vCenter can read", found, "mend the item, or name another one")


def _names(session: RestSession, path: str, identifiers: Iterable[str]) -> list[str]:
    """Names for an error message only: one call each."""
    return [session.get(f"{path}/{identifier}")["name"] for identifier in identifiers]


def deploy(connection: Connection, item: str, body: Mapping[str, Any], token: str) -> str:
    """Deploy an OVF item and wait for the end; the id of the VM. Has a session of its own, for it runs in a thread.

    With the same token a call that is sent again gives the first one's result.
    Raises faults.DeploymentError, and TestbedError where the call itself is refused.
    """
    with _own_session(connection) as session:
        try:
            path = f"vcenter/ovf/library-item/{item}?action=deploy&client_token={token}"
            answer = session.call("POST", path, None, body, DEPLOY_SECONDS)
        except TestbedError as error:
            if error.error_code.startswith("rest_") and error.error_code != "rest_no_answer":
                raise
            raise DeploymentLostError(str(error)) from error
    return ovf.made(answer)


@contextmanager
def _own_session(connection: Connection) -> Iterator[RestSession]:
    """Like rest_session(), but a logout that fails takes nothing from what was done."""
    session = RestSession(connection)
    try:
        session.open()
    except TestbedError as error:
        if error.error_code in ("rest_refused", "rest_failed"):
            raise
        raise DeploymentLostError(str(error)) from error
    try:
        yield session
    finally:
        with suppress(TestbedError):
            session.close()
