# SPDX-License-Identifier: GPL-3.0-or-later
"""`lab up` and `lab down`: from whatever is there, however it was interrupted, to a lab that runs, or to nothing."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from lab import disk_image, image, inotify, machine, processes, settings, state
from lab.build import build_vcenter, vcenter_binary
from lab.daemon import Launch
from lab.errors import LabError
from lab.guests.mixed import Choice
from lab.guests.podman_cli import Podman, PodmanError, machine_containers_conf
from lab.guests.qemu_network import host_ports, network_of
from lab.paths import CHECKOUT, Paths

FAULTS_VARIABLE = (
    "NANOBANANA_LAB_FAULTS"  # a JSON file of delays and of what goes wrong, see docs/reference/lab-faults.md
)
VCENTER_VARIABLE = "NANOBANANA_LAB_VCENTER"  # a program in place of lab/vcenter, for tests
SSH = 22
CACHES = ("vcenter-*", "machine-*", "*-build.log")
FAKE_STAND_IN = "nothing (fake guests: no machine behind the VMs)"


class Steps:
    """Tells the operator what was done and how long it took; silent about steps that had nothing to do."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self._last = time.monotonic()

    def done(self, name: str, text: str, began: float | None = None) -> None:
        now = time.monotonic()
        self.say(f"{now - (began or self._last):6.1f} s  {name:<12} {text}")
        self._last = now


def up(paths: Paths, choice: Choice, say: Callable[[str], None]) -> dict[str, Any]:
    """Makes the lab run and returns what lab.json says. Raises LabError; calling it again is always right."""
    steps = Steps(say)
    paths.state.parent.mkdir(parents=True, exist_ok=True)
    with state.only_one(paths, say):
        if processes.answers(paths) and (known := state.read_json(paths.lab_json)):
            return _already_up(paths, known, choice, say)
        found = machine.look(paths, choice.drivers)
        machine.require(found, choice.drivers)
        wanted = settings.load()
        launch = _launch(paths, choice, found)
        podman = Podman(paths.lab_id, paths.containers_conf)
        paths.state.mkdir(parents=True, exist_ok=True)
        if "podman" in choice.drivers:
            state.write_text(paths.containers_conf, machine_containers_conf())
        _repair(paths, podman, choice, steps)
        binary = _build(paths, podman, launch, steps)
        _identity(paths, steps)
        if "podman" in choice.drivers:
            launch = replace(launch, subnet=_prepare_podman(paths, podman, steps))
        launch = replace(launch, vcenter=_vcenter_command(paths, binary, choice, wanted))
        return _start(paths, podman, launch, wanted, steps)


def _launch(paths: Paths, choice: Choice, found: machine.Machine) -> Launch:
    """What the drivers are given, as far as it is known before anything is made."""
    launch = Launch([], choice.default, choice.rules, cap_mb=settings.guest_memory_cap_mb(), faults=_faults_mark())
    if "podman" in choice.drivers:
        launch = replace(launch, image=image.image_name(image.os_release()))
    if "qemu" in choice.drivers:
        path, ports = str(disk_image.path(paths)), settings.guest_ports()
        launch = replace(launch, disk_image=path, kvm=found.has_kvm, ports=ports)
    return launch


def _start(paths: Paths, podman: Podman, launch: Launch, wanted: dict[str, Any], steps: Steps) -> dict[str, Any]:
    state.write_json(paths.inventory, settings.for_vcenter(wanted))
    state.write_json(paths.roles, settings.for_roles(wanted, paths))
    launch.save(paths)
    processes.start_daemon(paths)
    port = processes.vcenter_port(paths) or 0
    lab = settings.for_users(
        wanted, paths, port, launch.choice, _reachable(launch, paths.lab_id), _stand_ins(podman, launch)
    )
    state.write_json(paths.lab_json, lab)
    steps.done("vCenter", f"https://127.0.0.1:{port} as {wanted['username']}")
    return lab


def _stand_ins(podman: Podman, launch: Launch) -> dict[str, str]:
    """What each driver runs in place of the operating systems that the templates stand for."""
    found = {"fake": FAKE_STAND_IN}
    if launch.image:
        found["podman"] = f"{image.guest_os(podman, launch.image)} (podman guest)"
    if launch.disk_image:
        found["qemu"] = f"{disk_image.guest_os(Path(launch.disk_image))} (QEMU machine)"
    return found


def _reachable(launch: Launch, lab_id: str) -> dict[str, Any]:
    """Where guests are found: networks that Ansible has to take for good (a loopback address is not, elsewhere). And
    whether their processors are made of software, so that no time that they take means anything."""
    if not launch.disk_image:
        return {"guest_networks": [], "ssh_port": SSH, "emulated": False}
    network = network_of(lab_id)
    port = host_ports(launch.ports, network)[SSH]
    if launch.image and port != SSH:
        raise LabError(
            f"port {SSH} of {network}.1 is taken, and podman guests beside QEMU guests need it; stop who listens there"
        )
    networks = [f"{network}.0/24", *([launch.subnet] if launch.subnet else [])]
    return {"guest_networks": networks, "ssh_port": port, "emulated": not launch.kvm}


def down(paths: Paths, purge: bool, say: Callable[[str], None]) -> None:
    """Leaves no process, container, network, mount or file of this lab; with `purge` no cache either."""
    steps = Steps(say)
    if not paths.state.parent.is_dir():
        say("no lab here; nothing to do")
        return
    with state.only_one(paths, say):
        was_there = paths.state.exists()
        if processes.stop(paths):
            steps.done("vCenter", "stopped")
        if shutil.which("podman") and os.geteuid() == 0:
            was_there = _remove_from_podman(paths, purge, steps) or was_there
        if restored := inotify.restore_for(paths.lab_id):
            steps.done("machine", restored)
        image.remove_left_overs(paths)
        disk_image.remove_left_overs(paths)
        shutil.rmtree(paths.runtime, ignore_errors=True)
        if paths.state.exists():
            shutil.rmtree(paths.state)
            steps.done("state", f"{paths.state} removed")
        if purge:
            for cached in [path for name in CACHES for path in paths.cache.glob(name)]:
                shutil.rmtree(cached) if cached.is_dir() else cached.unlink()
            steps.done("caches", "removed")
        elif not was_there:
            say("no lab here; nothing to do")


def _already_up(paths: Paths, known: dict[str, Any], choice: Choice, say: Callable[[str], None]) -> dict[str, Any]:
    if known["guests"] != str(choice):
        raise LabError(f"the lab runs with {known['guests']} guests; for {choice} guests run: lab/lab down, then up")
    say("the lab is up; nothing to do")
    if changed := _changed_since(paths):
        say(f"changed since: {', '.join(changed)}; to use that: lab/lab down, then up")
    return known


def _changed_since(paths: Paths) -> list[str]:
    """What a running lab was started with and is another one now."""
    launch, wanted = Launch.load(paths), settings.load()
    program = VCENTER_VARIABLE not in os.environ and str(vcenter_binary(paths)) != launch.vcenter[0]
    images = bool(launch.image) and image.image_name(image.os_release()) != launch.image
    images = images or (bool(launch.disk_image) and str(disk_image.path(paths)) != launch.disk_image)
    found = {
        "lab/vcenter": program,
        "lab/images": images,
        "lab/inventory.yml": state.read_json(paths.inventory) != settings.for_vcenter(wanted),
        str(settings.ROLE.relative_to(CHECKOUT)): state.read_json(paths.roles) != settings.for_roles(wanted, paths),
        FAULTS_VARIABLE: _faults_mark() != launch.faults,
        settings.PORTS_VARIABLE: bool(launch.ports) and launch.ports != settings.guest_ports(),
    }
    return [what for what, changed in found.items() if changed]


def _repair(paths: Paths, podman: Podman, choice: Choice, steps: Steps) -> None:
    """What a lab that was killed left: containers belong to no VM any more, QEMU guests have ended with their daemon.
    The vCenter knows its VMs of before again where guests of this kind outlive it."""
    if processes.stop(paths):
        steps.done("repair", "stopped what was left of an earlier lab")
    if "podman" in choice.drivers:
        processes.wait_for_podman(paths.lab_id)
        if orphans := podman.remove_containers():
            text = f"removed {len(orphans)} guest(s) whose vCenter is gone: {', '.join(orphans)}"
            steps.done("repair", text)
    # A record that the vCenter could not read was put aside as UUID.json.broken: its disks are nobody's to throw away.
    kept = {path.name.partition(".")[0] for path in paths.kept.glob("*.json*")} - {"folders"}
    if "qemu" not in choice.drivers:
        if kept:
            steps.done("repair", f"{len(kept)} VM(s) of before are gone: {choice} guests do not outlive their lab")
        shutil.rmtree(paths.kept, ignore_errors=True)
        kept = set()
    for folder in paths.guests.glob("*"):
        if folder.name not in kept:
            shutil.rmtree(folder, ignore_errors=True)
    if kept:
        steps.done("repair", f"{len(kept)} VM(s) of before come back powered off")
    shutil.rmtree(paths.work, ignore_errors=True)
    paths.work.mkdir()
    paths.ready.unlink(missing_ok=True)


def _build(paths: Paths, podman: Podman, launch: Launch, steps: Steps) -> Path:
    """The slow steps of a cold start."""
    override = os.environ.get(VCENTER_VARIABLE)
    binary = Path(override) if override else vcenter_binary(paths)
    jobs: dict[str, Callable[[], object]] = {}
    if not binary.exists():
        jobs["vCenter"] = lambda: build_vcenter(paths)
    if launch.image and not podman.has_image(launch.image):
        jobs["guest image"] = lambda: image.build_image(paths, podman, launch.image)
    elif launch.image:
        podman.use_image(launch.image)
    if launch.disk_image and not Path(launch.disk_image).exists():
        jobs["disk image"] = lambda: disk_image.build(paths)
    if jobs:
        steps.say(f"          building {' and '.join(jobs)}; a minute or two, once")
    _side_by_side(jobs, steps)
    return binary


def _side_by_side(jobs: dict[str, Callable[[], object]], steps: Steps) -> None:
    """Daemon threads: Ctrl-C ends this program at once, and what they started ends with it (setpriv --pdeathsig)."""
    errors: list[Exception] = []
    began = time.monotonic()

    def work(name: str, job: Callable[[], object]) -> None:
        try:
            job()
            steps.done(name, "built", began)
        except Exception as error:  # whatever it is belongs to the main thread, which raises it
            errors.append(error)

    threads = [threading.Thread(target=work, args=item, daemon=True) for item in jobs.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in errors:
        if not isinstance(error, LabError):
            raise error
    if errors:
        raise LabError("\n".join(str(error) for error in errors))


def _identity(paths: Paths, steps: Steps) -> None:
    from lab import pki  # cryptography takes longer to import than a healthy `lab up` takes

    if made := pki.ensure(paths):
        steps.done("identity", ", ".join(made))


def _prepare_podman(paths: Paths, podman: Podman, steps: Steps) -> str:
    if raised := inotify.raise_for(paths.lab_id):
        steps.done("machine", raised)
    try:
        subnet = podman.ensure_network()
    except PodmanError as error:
        raise LabError(f"cannot make the lab's network: {error}") from error
    steps.done("network", f"{podman.network} {subnet}")
    return subnet


def _port_of_before(paths: Paths) -> int:
    """A running shell's settings stay valid over a repair; 0 lets the vCenter choose."""
    known = state.read_json(paths.lab_json)
    port = int(known["vcenter"]["port"]) if known else 0
    return port if port and processes.is_free(port) else 0


def _vcenter_command(paths: Paths, binary: Path, choice: Choice, wanted: dict[str, Any]) -> list[str]:
    return [
        str(binary), "-listen", f"127.0.0.1:{_port_of_before(paths)}", "-cert", str(paths.tls / "server.pem"),
        "-key", str(paths.tls / "server.key"), "-user", wanted["admin_username"],
        "-password-file", str(paths.admin_password),
        "-calls", str(paths.logs / "calls.jsonl"), "-ready", str(paths.ready), "-inventory", str(paths.inventory),
        "-work", str(paths.work), "-roles", str(paths.roles), *_faults(),
        *(["-keep", str(paths.kept)] if "qemu" in choice.drivers else []),
    ]  # fmt: skip


def _faults() -> list[str]:
    """Raises LabError when the variable names no file."""
    name = os.environ.get(FAULTS_VARIABLE, "")
    if not name:
        return []
    if not Path(name).is_file():
        raise LabError(f"{FAULTS_VARIABLE} is {name!r}, expected a JSON file; unset it for a vCenter without faults")
    return ["-faults", str(Path(name).resolve())]


def _faults_mark() -> str:
    """Of the file that the variable names, and of what is in it."""
    return "".join(f"{name} {hashlib.sha256(Path(name).read_bytes()).hexdigest()}" for name in _faults()[1:])


def _remove_from_podman(paths: Paths, purge: bool, steps: Steps) -> bool:
    # The state folder may have been removed by hand: podman needs the lab's settings all the same.
    with tempfile.NamedTemporaryFile("w", prefix="nblab-", suffix=".conf") as conf:
        conf.write(machine_containers_conf())
        conf.flush()
        return _remove_with(Podman(paths.lab_id, Path(conf.name)), paths, purge, steps)


def _remove_with(podman: Podman, paths: Paths, purge: bool, steps: Steps) -> bool:
    processes.wait_for_podman(paths.lab_id)
    try:
        guests = podman.remove_containers()
        if guests:
            steps.done("guests", f"removed {', '.join(guests)}")
        network = podman.remove_network()
        if network:
            steps.done("network", f"removed {podman.network}")
        podman.release_image(image.NAME)
        images = podman.remove_images(image.NAME) if purge else []
        if images:
            steps.done("guest image", f"removed {', '.join(images)}")
    except PodmanError as error:
        raise LabError(f"{error}; run `lab/lab down` again, then look at: podman ps --all") from error
    return bool(guests or network or images)
