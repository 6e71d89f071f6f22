# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab command.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the machine lacks something (the message says how to mend it),
4 no lab runs here. `ssh` gives back the code of the remote command.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time

from lab import daemon, machine, processes, state, up
from lab.errors import FAILED, MACHINE, NOT_RUNNING, OK, USAGE, LabError
from lab.guests import console, kvm
from lab.guests.mixed import DRIVERS, Choice
from lab.guests.podman_cli import PodmanError
from lab.paths import Paths
from lab.records import console_of, guest_records, log_command, ssh_command

GUESTS_VARIABLE = "NANOBANANA_LAB_GUESTS"
RULES_VARIABLE = "NANOBANANA_LAB_GUEST_RULES"
REAL = frozenset({"podman", "qemu"})


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    paths = Paths.of_checkout()
    try:
        return int(VERBS[options.verb](paths, options))
    except (LabError, PodmanError) as error:
        print(f"lab {options.verb}: {error}", file=sys.stderr)
        return getattr(error, "code", FAILED)
    except PermissionError as error:
        print(f"lab {options.verb}: {error}; if root started this lab, use sudo", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print(f"\nlab {options.verb}: interrupted; run it again to go on, or: lab/lab down", file=sys.stderr)
        return 130


def _setup(paths: Paths, options: argparse.Namespace) -> int:
    drivers = REAL if options.guests == "all" else _choice(options).drivers
    found = machine.look(paths, drivers)
    if not found.missing_packages:
        print("all packages are there")
        return OK
    print(f"installing {' '.join(found.missing_packages)}" if found.is_root else "packages are missing")
    machine.install(found)
    return OK


def _doctor(paths: Paths, options: argparse.Namespace) -> int:
    drivers = _choice(options).drivers
    checks = machine.checks(machine.look(paths, drivers), drivers)
    for check in checks:
        mend = "" if check.ok else f"; {'`lab up` does: ' if check.mended_by_up else 'run: '}{check.fix}"
        print(f"{'ok  ' if check.ok else 'LACK'}  {check.name:<30} {check.found}{mend}")
    return OK if all(check.ok or check.mended_by_up for check in checks) else MACHINE


def _up(paths: Paths, options: argparse.Namespace) -> int:
    began = time.monotonic()
    lab = up.up(paths, _choice(options), lambda text: print(text, flush=True))
    seconds, vcenter = time.monotonic() - began, lab["vcenter"]
    print(f"{seconds:6.1f} s  in all; vCenter at {vcenter['hostname']}:{vcenter['port']}, {lab['guests']} guests")
    print("next: ansible-playbook site.yml    (see also: lab/lab status, lab/lab ssh NAME, lab/lab down)")
    return OK


def _down(paths: Paths, options: argparse.Namespace) -> int:
    up.down(paths, options.purge, lambda text: print(text, flush=True))
    return OK


def _status(paths: Paths, options: argparse.Namespace) -> int:
    running = processes.answers(paths)
    lab = state.read_json(paths.lab_json) if running else None
    guests = guest_records(paths) if running else []
    if options.json:
        known = {"running": running, "daemon": state.daemon_pid(paths), "lab": lab, "guests": guests}
        print(json.dumps(known, indent=2))
        return OK if running else NOT_RUNNING
    if lab is None:
        broken = paths.state.exists()
        print(f"the lab {'is broken: it was killed or did not come up' if broken else 'is down'}; run: lab/lab up")
        return NOT_RUNNING
    vcenter = lab["vcenter"]
    print(f"lab {lab['id']} is up: vCenter https://{vcenter['hostname']}:{vcenter['port']} as {vcenter['username']}")
    print(f"password in {vcenter['password_file']}, authority in {vcenter['ca_file']}")
    print(f"administrator {vcenter['admin_username']}, password in {vcenter['admin_password_file']}")
    for guest in guests:
        addresses = ", ".join(guest["addresses"]) or "-"
        print(f"  {guest['name']:<24} {guest['power']:<11} {addresses:<16} {guest['hostname'] or '-'}")
    if not guests:
        print("  no guest was powered on yet")
    for stand_in in lab["stand_ins"]:
        print(f"  stand-in: {stand_in['template']}: {stand_in['given']} for {stand_in['asked']}")
    return OK


def _logs(paths: Paths, options: argparse.Namespace) -> int:
    command = log_command(paths, options.what, options.follow)
    os.execvp(command[0], command)  # noqa: S606 - an argument list, no shell


def _ssh(paths: Paths, options: argparse.Namespace) -> int:
    command = ssh_command(paths, options.name, options.user, options.command)
    os.execvp(command[0], command)  # noqa: S606 - an argument list, no shell


def _console(paths: Paths, options: argparse.Namespace) -> int:
    console.attach(console_of(paths, options.name), options.name)
    return OK


def _daemon(paths: Paths, _options: argparse.Namespace) -> int:
    return daemon.main(paths)


VERBS = {
    "setup": _setup,
    "doctor": _doctor,
    "up": _up,
    "down": _down,
    "status": _status,
    "logs": _logs,
    "ssh": _ssh,
    "console": _console,
    "daemon": _daemon,
}


def _add_guests(verb: argparse.ArgumentParser, more: tuple[str, ...]) -> None:
    verb.add_argument(
        "--guests",
        choices=(*DRIVERS, "auto", *more),
        default=os.environ.get(GUESTS_VARIABLE, "podman"),
        help="what runs behind the VMs. podman: containers, in a second, as root. qemu: whole machines, no root. auto: "
        f"qemu where KVM works, else podman. fake: nothing (default: {GUESTS_VARIABLE} or podman)",
    )
    verb.add_argument(
        "--rule",
        action="append",
        metavar="PATTERN=KIND",
        default=os.environ.get(RULES_VARIABLE, "").split(),
        help="another kind for the VMs whose name or template is like PATTERN, such as 'nb-stress-*=qemu'; the first "
        f"that fits counts (default: {RULES_VARIABLE}, separated by blanks)",
    )


def _choice(options: argparse.Namespace) -> Choice:
    """What runs behind the VMs. Raises LabError for what is no kind or no rule."""
    kind = options.guests
    if kind == "auto":
        kind = "qemu" if kvm.usable() else "podman"
        print(f"guests: {kind}, because KVM {'works' if kind == 'qemu' else 'does not work'} here")
    if kind not in DRIVERS:
        raise LabError(f"{GUESTS_VARIABLE} is {kind!r}, expected one of {', '.join((*DRIVERS, 'auto'))}", USAGE)
    try:
        return Choice.parse(kind, options.rule)
    except ValueError as error:
        raise LabError(str(error), USAGE) from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lab", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, text in (
        ("setup", "install the packages that the lab needs (as root), or say the command"),
        ("doctor", "say what this machine lacks; change nothing"),
        ("up", "start or repair the lab"),
    ):
        _add_guests(verbs.add_parser(name, help=text), more=("all",) if name == "setup" else ())
    down = verbs.add_parser("down", help="remove the lab: processes, guests, network, state")
    down.add_argument("--purge", action="store_true", help="guest image and vCenter program too")
    status = verbs.add_parser("status", help="what runs")
    status.add_argument("--json", action="store_true", help="for programs")
    logs = verbs.add_parser("logs", help="show a log")
    logs.add_argument("-f", "--follow", action="store_true")
    logs.add_argument("what", nargs="?", default="daemon", help="daemon (default), vcenter, calls, or a VM's name")
    console = verbs.add_parser("console", help="log in at a guest's serial console; Ctrl-] leaves it")
    console.add_argument("name", help="the VM's name")
    ssh = verbs.add_parser("ssh", help="log in to a guest, or run a command there")
    ssh.add_argument("--user", help="default: guest_user of lab/inventory.yml")
    ssh.add_argument("name", help="the VM's name")
    ssh.add_argument("command", nargs="*", help="after --")
    verbs.add_parser("daemon")  # started by `up`; no help text: not for people
    return parser
