# SPDX-License-Identifier: GPL-3.0-or-later
"""A test's end of the guest protocol, through the fake vCenter."""

from __future__ import annotations

import base64
import json
import socket
import time
from pathlib import Path
from typing import Any

FAKE_VCENTER = Path(__file__).parent / "fake_vcenter.py"


class Client:
    """Talks to the guest driver of a lab whose vCenter is the fake one."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._file = self._socket.makefile("r", encoding="utf-8")
        self._replies: dict[int, dict[str, Any]] = {}
        self.events: list[dict[str, Any]] = []
        self._last = 0

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def ask(self, operation: str, vm: dict[str, Any], **arguments: Any) -> int:
        self._last += 1
        request = {"id": self._last, "op": operation, "vm": vm, "arguments": arguments}
        self._socket.sendall(json.dumps(request).encode() + b"\n")
        return self._last

    def reply(self, number: int, seconds: float = 30) -> dict[str, Any]:
        self._read_until(lambda: number in self._replies, seconds, f"a reply to request {number}")
        return self._replies.pop(number)

    def do(self, operation: str, vm: dict[str, Any], **arguments: Any) -> dict[str, Any]:
        return self.reply(self.ask(operation, vm, **arguments))

    def event(self, moid: str, seconds: float = 30, **wanted: Any) -> dict[str, Any]:
        """The first event for `moid`, read or still to come, whose guest has the wanted fields; takes it out, and
        those of the same VM before it."""

        def match() -> int | None:
            for index, event in enumerate(self.events):
                guest = event["guest"]
                if event["moid"] == moid and all(guest.get(key) == value for key, value in wanted.items()):
                    return index
            return None

        self._read_until(lambda: match() is not None, seconds, f"an event for {moid} with {wanted}")
        index = match()
        assert index is not None
        found = self.events[index]
        self.events = [e for i, e in enumerate(self.events) if i > index or e["moid"] != moid]
        guest: dict[str, Any] = found["guest"]
        return guest

    def _read_until(self, done: Any, seconds: float, what: str) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            self._socket.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                line = self._file.readline()
            except TimeoutError as error:
                raise AssertionError(f"no {what} within {seconds} s; events so far: {self.events}") from error
            assert line, f"the vCenter closed while waiting for {what}"
            message = json.loads(line)
            if "event" in message:
                self.events.append(message)
            else:
                self._replies[message["id"]] = message


def vm(number: int, public_key: str = "", **more: Any) -> dict[str, Any]:
    """A VM as the vCenter describes it, with cloud-init data for user `tester` when a key is given."""
    name = f"nb-test-{number:02d}"
    metadata = json.dumps({"instance-id": f"{name}-1", "local-hostname": name})
    user = {
        "name": "tester",
        "sudo": "ALL=(ALL) NOPASSWD:ALL",
        "shell": "/bin/bash",
        "ssh_authorized_keys": [public_key],
    }
    userdata = "#cloud-config\n" + json.dumps({"users": [user]})
    guestinfo = {
        "guestinfo.metadata": base64.b64encode(metadata.encode()).decode(),
        "guestinfo.metadata.encoding": "base64",
        "guestinfo.userdata": base64.b64encode(userdata.encode()).decode(),
        "guestinfo.userdata.encoding": "base64",
    }
    nic = {"key": 4000, "mac": f"00:50:56:01:02:{number:02x}", "network": "testbed", "type": "vmxnet3"}
    return {
        "moid": f"vm-{60 + number}",
        "name": name,
        "uuid": f"42000000-0000-0000-0000-0000000000{number:02x}",
        "instance_uuid": f"50000000-0000-0000-0000-0000000000{number:02x}",
        "template": "nano-banana-baseline-template",
        "guest_id": "ubuntu64Guest",
        "cpus": 4,
        "memory_mb": 6144,
        "firmware": "efi",
        "guestinfo": guestinfo if public_key else {},
        "disks": [],
        "nics": [nic],
        **more,
    }
