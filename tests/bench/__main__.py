# SPDX-License-Identifier: GPL-3.0-or-later
"""``make bench-fleet``: fleet beside community.vmware.vmware_guest, bare pyVmomi and the shortest possible time.

Everything is measured as whole commands against the lab's vCenter with made-up guests. Times of a busy machine are
worth nothing, ratios within one run are; --repeat takes the best of several for fleet's short commands.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.project import Project
from tests.bench.run import ROOT, Lab, playbook, running_lab

DELAYS = {"CloneVM_Task": 2.0, "ReconfigVM_Task": 0.3, "PowerOnVM_Task": 0.5}  # seconds
CLONES_AT_ONCE = 8
PEER_FORKS = (10, 50)
GOALS = {
    "create_ratio": (">=", 30),
    "noop_ratio": (">=", 45),
    "change_ratio": (">=", 35),
    "client_over_raw": ("<=", 1.6),
    "latency_over_bound": ("<=", 1.1),
    "scale_1000_over_144": ("<=", 7.5),
}
MEMORY_GOAL_MB = 200


@dataclass
class Bench:
    """One run's figures, in seconds unless the name says otherwise."""

    count: int
    many: int
    repeat: int
    seconds: dict[str, float] = field(default_factory=dict)
    ratios: dict[str, float] = field(default_factory=dict)
    memory_mb: float = 0.0

    def note(self, name: str, seconds: float) -> float:
        """Keep a time and show it at once."""
        self.seconds[name] = seconds
        print(f"{seconds:9.2f} s  {name}", flush=True)
        return seconds

    def fleet(self, lab: Lab, project: Project, name: str, count: int, note: str = "first") -> float:
        """One whole command with fleet."""
        done = playbook(lab, project.inventory("fleet", count, note), project.playbook("fleet"))
        return self.note(name, done.seconds)

    def remove(self, lab: Lab, project: Project) -> None:
        """Every VM of the benchmark, whoever made it: both write the owner's mark."""
        playbook(lab, project.inventory("fleet", 1), project.playbook("fleet"), "-e", "bench_state=absent")

    def start(self, lab: Lab, project: Project) -> float:
        """What Ansible needs to start and end."""
        play = project.playbook("nothing")
        times = [playbook(lab, project.inventory("fleet", 1), play).seconds for _turn in range(3)]
        return self.note("ansible-playbook that does nothing", min(times))

    def best(self, lab: Lab, project: Project, name: str, notes: tuple[str, ...]) -> float:
        """The best of several runs; each wish of ``notes`` in turn, so that each run has the same to do."""
        turns = [(f"fleet {name}, run {turn + 1}", notes[turn % len(notes)]) for turn in range(self.repeat)]
        times = [self.fleet(lab, project, text, self.count, note) for text, note in turns]
        return min(times)

    def peer(self, lab: Lab, project: Project, forks: int) -> dict[str, float]:
        """create, noop and change with vmware_guest; ``poweredon`` makes VMs, only ``present`` compares settings."""
        steps = (("create", "first", "poweredon"), ("noop", "first", "present"), ("change", "second", "present"))
        times = {}
        for name, note, state in steps:
            inventory = project.inventory("peer", self.count, note)
            options = ("-f", str(forks), "-e", f"peer_state={state}")
            done = playbook(lab, inventory, project.playbook("peer"), *options)
            times[name] = self.note(f"vmware_guest {name}, {forks} forks", done.seconds)
        checked = playbook(lab, project.inventory("fleet", self.count, "second"), project.playbook("fleet"), "--check")
        if "changed=0" not in checked.output:
            raise RuntimeError("fleet finds vmware_guest's VMs different: the wishes are not the same")
        self.remove(lab, project)
        return times

    def create(self, lab: Lab, project: Project, count: int) -> float:
        """The best of several creations; the last one's VMs stay."""
        times = []
        for turn in range(self.repeat):
            if turn:
                self.remove(lab, project)
            times.append(self.fleet(lab, project, f"fleet create {count}, run {turn + 1}", count))
        return min(times)

    def compare(self, lab: Lab, project: Project) -> None:
        """fleet and the other module, one after the other on the same vCenter."""
        ours = {
            "create": self.create(lab, project, self.count),
            "noop": self.best(lab, project, "noop", ("first",)),
            "change": self.best(lab, project, "change", ("second", "first")),
        }
        self.remove(lab, project)
        theirs = [self.peer(lab, project, forks) for forks in PEER_FORKS]
        for name, seconds in ours.items():
            self.ratios[f"{name}_ratio"] = min(times[name] for times in theirs) / seconds

    def client(self, lab: Lab, project: Project) -> None:
        """fleet's own time without Ansible beside the bare calls, alternating."""
        times: dict[str, list[float]] = {"bare": [], "fleet": []}
        for kind in ("bare", "fleet") * self.repeat:
            seconds, _kilobytes = self.alone(lab, project, kind, self.count)
            times[kind].append(self.note(f"{kind} alone", seconds))
            self.remove(lab, project)
        self.ratios["client_over_raw"] = min(times["fleet"]) / min(times["bare"])

    def alone(self, lab: Lab, project: Project, kind: str, count: int) -> tuple[float, int]:
        """Seconds and peak memory in KB of one of the yardsticks of alone.py."""
        shared = {key: value for key, value in project.shared.items() if key.startswith("vsphere_")}
        file = project.folder / "alone.json"
        connection = shared | {"vsphere_validate_certs": True}
        file.write_text(json.dumps({"count": count, "connection": connection}))
        path = os.pathsep.join([str(ROOT), str(ROOT / ".collections")])
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "tests.bench.alone", kind, str(file)],
            env=lab.env | {"PYTHONPATH": path},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{kind} alone failed: {done.stderr[-4000:]}")
        return time.perf_counter() - began, int(done.stdout)

    def scale(self, lab: Lab, project: Project, start: float) -> None:
        """1,000 VMs beside 144, without Ansible's start; and what the client's memory peaks at."""
        few = self.create(lab, project, self.count)
        self.remove(lab, project)
        many = self.create(lab, project, self.many)
        self.ratios["scale_1000_over_144"] = (many - start) / (few - start)
        _seconds, kilobytes = self.alone(lab, project, "fleet", self.many)  # nothing to do: everything is read at once
        self.memory_mb = kilobytes / 1024
        self.remove(lab, project)
        self.memory_mb = max(self.memory_mb, self.alone(lab, project, "fleet", self.many)[1] / 1024)
        self.remove(lab, project)

    def latency(self, lab: Lab, project: Project) -> None:
        """Creation where clones take their time: nothing can be faster than the waves of clones and one power-on."""
        seconds = self.fleet(lab, project, "fleet create with delays", self.count)
        waves = math.ceil(self.count / CLONES_AT_ONCE)
        bound = self.note("shortest possible", waves * DELAYS["CloneVM_Task"] + DELAYS["PowerOnVM_Task"])
        self.ratios["latency_over_bound"] = seconds / bound

    def report(self) -> None:
        """Versions, goals, and the line that others read."""
        packages = ("ansible-core", "pyvmomi")
        versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
        today = datetime.datetime.now(tz=datetime.UTC).date()
        print(f"\n{today}, Python {sys.version.split()[0]}, {versions}, load {os.getloadavg()[0]:.1f}")
        if self.memory_mb:
            print(f"peak memory with {self.many} VMs: {self.memory_mb:.0f} MB (goal < {MEMORY_GOAL_MB})")
        for name, (sign, goal) in GOALS.items():
            if name in self.ratios:
                met = self.ratios[name] >= goal if sign == ">=" else self.ratios[name] <= goal
                print(f"{'met   ' if met else 'MISSED'}  {name} {self.ratios[name]:.2f}, goal {sign} {goal}")
        print(" ".join(f"{name}={self.ratios[name]:.2f}" for name in GOALS if name in self.ratios))


PARTS = ("compare", "client", "scale", "latency")


def main() -> None:
    """Run all parts, or those that are named."""
    parser = argparse.ArgumentParser(prog="make bench-fleet", description=__doc__)
    parser.add_argument("--vms", type=int, default=144)
    parser.add_argument("--many", type=int, default=1000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="all when none is named")
    options = parser.parse_args()
    parts = options.parts or PARTS
    bench = Bench(options.vms, options.many, options.repeat)
    with tempfile.TemporaryDirectory(prefix="nbb-") as name:
        folder = Path(name)
        with running_lab(folder / "plain") as lab:
            project = Project.write(folder, lab.vcenter, lab.password, sys.executable)
            start = bench.start(lab, project)
            if "compare" in parts:
                bench.compare(lab, project)
            if "client" in parts:
                bench.client(lab, project)
            if "scale" in parts:
                bench.scale(lab, project, start)
        if "latency" in parts:
            faults = folder / "faults.json"
            delays = {method: f"{seconds}s" for method, seconds in DELAYS.items()}
            faults.write_text(json.dumps({"delays": delays, "clones_at_once": CLONES_AT_ONCE}))
            with running_lab(folder / "slow", NANOBANANA_LAB_FAULTS=str(faults)) as lab:
                project = Project.write(folder / "slow", lab.vcenter, lab.password, sys.executable)
                bench.latency(lab, project)
    bench.report()


if __name__ == "__main__":
    main()
