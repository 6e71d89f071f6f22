# SPDX-License-Identifier: GPL-3.0-or-later
"""podman as the lab calls it: with the lab's own configuration, and never touching what bears another lab's label."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
from dataclasses import dataclass
from pathlib import Path

LAB_LABEL = "nanobanana.lab"
MOID_LABEL = "nanobanana.moid"
SECONDS = 60.0  # for one podman command
LIMIT_CEILING = 16384  # podman lowers its own limits below the hard ones, and may not raise them again everywhere


class PodmanError(Exception):
    """podman's own last words, with the command that met them."""


@dataclass(frozen=True)
class Podman:
    lab_id: str
    conf: Path

    @property
    def network(self) -> str:
        return f"nblab-{self.lab_id}"

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "CONTAINERS_CONF": str(self.conf)}

    def run(self, *arguments: str, seconds: float = SECONDS) -> str:
        """Raises PodmanError when podman refuses, is not there or does not come back."""
        try:
            done = subprocess.run(
                ["podman", *arguments],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=seconds,
                check=False,
            )
        except FileNotFoundError as error:
            raise PodmanError("podman is not installed; run: lab/lab setup") from error
        except subprocess.TimeoutExpired as error:
            raise PodmanError(f"podman {arguments[0]}: no answer within {seconds:.0f} s") from error
        if done.returncode:
            raise PodmanError(_message(arguments, done.returncode, done.stderr))
        return done.stdout.strip()

    async def run_async(self, *arguments: str, seconds: float = SECONDS) -> str:
        """As `run`, for the daemon's event loop."""
        process = await asyncio.create_subprocess_exec(
            "podman",
            *arguments,
            env=self.environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            out, err = await asyncio.wait_for(process.communicate(), seconds)
        except TimeoutError as error:
            process.kill()
            await process.wait()
            raise PodmanError(f"podman {arguments[0]}: no answer within {seconds:.0f} s") from error
        if process.returncode:
            raise PodmanError(_message(arguments, process.returncode, err.decode(errors="replace")))
        return out.decode().strip()

    def containers(self) -> list[str]:
        """Names of this lab's containers, running or not."""
        out = self.run("ps", "--all", "--filter", f"label={LAB_LABEL}={self.lab_id}", "--format", "{{.Names}}")
        return out.split()

    def remove_containers(self) -> list[str]:
        """Removes all guests of this lab, suspended ones too; returns their names."""
        names = self.containers()
        if names:
            states = self.run("container", "inspect", "--format", "{{.Name}} {{.State.Status}}", *names)
            paused = [name for name, status in map(str.split, states.splitlines()) if status == "paused"]
            if paused:
                self.run("unpause", *paused)
            self.run("rm", "--force", "--time", "0", "--volumes", *names)
        return names

    def has_network(self) -> bool:
        out = self.run("network", "ls", "--filter", f"label={LAB_LABEL}={self.lab_id}", "--format", "{{.Name}}")
        return self.network in out.split()

    def ensure_network(self) -> str:
        """Makes the lab's bridge network, on a subnet that podman finds free, and returns that subnet."""
        if not self.has_network():
            self.run("network", "create", "--label", f"{LAB_LABEL}={self.lab_id}", self.network)
        networks = json.loads(self.run("network", "inspect", self.network))
        return str(networks[0]["subnets"][0]["subnet"])

    def remove_network(self) -> bool:
        if not self.has_network():
            return False
        self.run("network", "rm", "--force", self.network)
        return True

    def use_image(self, image: str) -> None:
        """Marks the image as this lab's by a tag of its own, so that another checkout's purge leaves it there."""
        self.run("tag", image, f"{image}-{self.lab_id}")

    def release_image(self, name: str) -> None:
        """Takes this lab's tags away; the image stays as a cache under its own."""
        for tag in self._tags(name):
            if tag.endswith(f"-{self.lab_id}"):
                self.run("untag", tag, tag)

    def remove_images(self, name: str) -> list[str]:
        """Removes the images that no lab uses, and returns their names."""
        tags = self._tags(name)
        unused = images_without_users(tags)
        for tag in unused:
            self.run("image", "rm", tag)
        return unused

    def _tags(self, name: str) -> list[str]:
        out = self.run("images", "--filter", f"reference={name}", "--format", "{{.Repository}}:{{.Tag}}")
        return out.split()

    def has_image(self, image: str) -> bool:
        try:
            self.run("image", "exists", image)
        except PodmanError:
            return False
        return True


def images_without_users(tags: list[str]) -> list[str]:
    """`NAME:HASH` is an image, `NAME:HASH-LAB` the mark of a lab that uses it."""
    return [tag for tag in tags if "-" not in tag.rsplit(":", 1)[1] and not any(t.startswith(f"{tag}-") for t in tags)]


def containers_conf(unified_cgroups: bool, systemd_runs: bool) -> str:
    """The text of the lab's containers.conf, chosen by what the machine offers."""
    # crun refuses hybrid cgroups (version 1 controllers beside version 2), runc takes both.
    runtime = "crun" if unified_cgroups else "runc"
    cgroup_manager = "systemd" if unified_cgroups and systemd_runs else "cgroupfs"
    # podman asks for a million open files; where this machine's own hard limit is lower no container would start.
    limits = ", ".join(
        f'"{name}={value}:{value}"'
        for name, value in (("nofile", _hard(resource.RLIMIT_NOFILE)), ("nproc", _hard(resource.RLIMIT_NPROC)))
    )
    return f"""\
# Written by `lab up`: podman's settings for this lab alone.
[containers]
default_ulimits = [{limits}]
log_driver = "k8s-file"
[engine]
runtime = "{runtime}"
cgroup_manager = "{cgroup_manager}"
events_logger = "file"
[network]
network_backend = "netavark"
"""


def machine_containers_conf() -> str:
    return containers_conf(
        unified_cgroups=Path("/sys/fs/cgroup/cgroup.controllers").exists(),
        systemd_runs=Path("/run/systemd/system").is_dir(),
    )


def _hard(limit: int) -> int:
    hard = resource.getrlimit(limit)[1]
    return LIMIT_CEILING if hard == resource.RLIM_INFINITY else min(hard, LIMIT_CEILING)


def _message(arguments: tuple[str, ...], status: int, stderr: str) -> str:
    lines = [line for line in stderr.splitlines() if line.strip()]
    return f"podman {arguments[0]} ended with {status}: {lines[-1] if lines else 'no message'}"
