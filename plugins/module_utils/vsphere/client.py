# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One SOAP session with vCenter, and one clear error for each way in which getting it can fail."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import TestbedError, one_problem
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.sdk import (
    connect,
    vim,
    vmodl,
)

CONNECT_SECONDS = 20
ANSWER_SECONDS = 90  # for any later call; the longest of ours blocks for 20 s on purpose
_CERTIFICATE = {
    10: "it has expired",
    18: "it is self-signed",
    19: "its authority is not trusted",
    20: "its authority is not trusted",
    62: "it is made out to another name",
    64: "it is made out to another address",
}


@dataclass(frozen=True)
class Connection:
    """How to reach vCenter: the options of argument_spec.vsphere_spec()."""

    hostname: str
    port: int
    username: str
    password: str
    validate_certs: bool = True
    ca_file: str | None = None

    @classmethod
    def from_params(cls, params: dict[str, Any]) -> Connection:
        """Take the ``vsphere_*`` options out of a module's parameters."""
        prefix = "vsphere_"
        names = ("hostname", "port", "username", "password", "validate_certs", "ca_file")
        return cls(**{name: params[prefix + name] for name in names})

    def __repr__(self) -> str:
        return f"Connection({self.username}@{self.hostname}:{self.port})"

    @property
    def where(self) -> str:
        """The server as messages name it."""
        return f"vCenter {self.hostname}:{self.port}"

    def tls(self) -> ssl.SSLContext:
        """The TLS settings; raises TestbedError when the authority's file is missing or is none.

        An explicit context is a must: pyVmomi checks nothing for localhost when it gets none.
        """
        try:
            context = ssl.create_default_context(cafile=self.ca_file or None)
        except FileNotFoundError:
            found, next_step = "no such file", "check vsphere_ca_file"
        except (ssl.SSLError, OSError) as error:
            found, next_step = f"{error}", "check that vsphere_ca_file is a PEM file with certificates"
        else:
            if not self.validate_certs:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            return context
        raise one_problem("bad_ca_file", f"vsphere_ca_file {self.ca_file}", "a PEM file", found, next_step)


def explain(connection: Connection, error: BaseException) -> TestbedError:
    """The one clear error for what went wrong on the way to vCenter; what is not known is raised again."""
    reach = "check vsphere_hostname and vsphere_port, and the network between here and there"
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = _CERTIFICATE.get(error.verify_code, error.verify_message)
        next_step = "name its authority in vsphere_ca_file (vCenter offers it at /certs/download.zip)"
        row = ("untrusted_certificate", "a certificate that is trusted here", f"one that is not: {reason}", next_step)
    elif isinstance(error, ssl.SSLError):
        row = ("no_tls", "a TLS server", f"something else on that port ({error.args[-1]})", reach)
    elif isinstance(error, OSError):
        row = _explain_network(error, reach)
    elif isinstance(error, http.client.HTTPException):
        row = ("unreachable", "a vCenter server", f"no HTTP answer ({type(error).__name__})", reach)
    elif isinstance(error, vim.fault.InvalidLogin):
        next_step = "check vsphere_username and vsphere_password (or VMWARE_USER and VMWARE_PASSWORD)"
        row = ("login_refused", f"a valid login for {connection.username}", "user or password refused", next_step)
    elif isinstance(error, vmodl.MethodFault):
        row = ("fault", "a session", f"{type(error).__name__}: {error.msg or ''}".strip(), reach)
    elif "is not a VIM server" in str(error):  # a bare Exception is all that pyVmomi gives for HTTPS without vCenter
        row = ("no_vcenter", "a vCenter server", "a web server that is none", reach)
    else:
        raise error
    code, expected, found, next_step = row
    return one_problem(code, connection.where, expected, found, next_step)


def _explain_network(error: OSError, reach: str) -> tuple[str, str, str, str]:
    if isinstance(error, socket.gaierror):
        return ("unknown_host", "a host name that resolves", error.strerror or str(error), "check vsphere_hostname")
    if isinstance(error, TimeoutError):
        return ("no_answer", "an answer in time", "silence", reach)
    if isinstance(error, ConnectionRefusedError):
        return ("refused", "a server on that port", "connection refused", f"{reach}; is the server up?")
    return ("unreachable", "a vCenter server", str(error) or type(error).__name__, reach)


@dataclass(frozen=True)
class Session:
    """A logged-in pyVmomi ServiceInstance that can log in again."""

    instance: Any
    connection: Connection

    @property
    def content(self) -> Any:
        """What pyVmomi calls the service's content."""
        return self.instance.content

    def renew(self) -> None:
        """Log in again if the session has expired; raises TestbedError when the login is refused now."""
        if self._logged_in():
            return  # only the connection broke; vCenter refuses a login in a session that has one
        try:
            self.content.sessionManager.Login(self.connection.username, self.connection.password, None)
        except vim.fault.InvalidLogin as error:
            raise explain(self.connection, error) from error

    def _logged_in(self) -> bool:
        try:
            return self.content.sessionManager.currentSession is not None
        except vim.fault.NotAuthenticated:
            return False


@contextmanager
def connected(connection: Connection) -> Iterator[Session]:
    """A session, logged out again at the end.

    Raises TestbedError for everything that explain() knows.
    """
    context = connection.tls()
    previous = socket.getdefaulttimeout()
    # httpConnectionTimeout does not cover pyVmomi's version probe: a silent peer would hang for ever.
    socket.setdefaulttimeout(CONNECT_SECONDS)
    try:
        instance = connect.SmartConnect(
            host=connection.hostname,
            port=connection.port,
            user=connection.username,
            pwd=connection.password,
            sslContext=context,
            httpConnectionTimeout=ANSWER_SECONDS,
        )
    except Exception as error:  # pyVmomi raises it bare; explain() passes on what it does not know
        raise explain(connection, error) from error
    finally:
        socket.setdefaulttimeout(previous)
    try:
        yield Session(instance, connection)
    except (OSError, http.client.HTTPException, vim.fault.NotAuthenticated) as error:
        raise explain(connection, error) from error
    finally:
        connect.Disconnect(instance)


def describe(session: Session) -> dict[str, str]:
    """Which vCenter this is."""
    about = session.content.about
    return {
        "name": about.name,
        "full_name": about.fullName,
        "version": about.version,
        "build": about.build,
        "api_version": about.apiVersion,
        "instance_uuid": about.instanceUuid or "",
    }
