# SPDX-License-Identifier: GPL-3.0-or-later
"""``make bench-configure``: bare clones to configured hosts, again, and what a task of a role costs beside a ping."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml

from tests.bench.run import BIN, ROOT, Lab, running_lab

GOALS = {"first": 150.0, "again": 30.0, "tasks_per_host": 55.0, "host_task_over_ping": 1.15}
HOSTS = {"baseline": ["nb-baseline-01"], "compatibility": ["nb-compat-01"], "stress": ["nb-stress-01"]}
PINGS = 10
SLOWEST = 10


@dataclass
class Played:
    """What one ``ansible-playbook`` did: seconds in all and by task, and how many tasks each host really ran."""

    seconds: float
    tasks: list[tuple[str, float]] = field(default_factory=list)
    by_host: dict[str, int] = field(default_factory=dict)

    @property
    def host_tasks(self) -> int:
        """Tasks that were not skipped, over all hosts."""
        return sum(self.by_host.values())

    @property
    def task_seconds(self) -> float:
        """Between the first task's start and the last one's end, without what lies between tasks."""
        return sum(seconds for _name, seconds in self.tasks)


def inventory(folder: Path, hosts: dict[str, list[str]]) -> Path:
    """An inventory of these hosts with the lab's wish."""
    folder.mkdir()
    groups = {group: {"hosts": dict.fromkeys(names)} for group, names in hosts.items()}
    (folder / "hosts.yml").write_text(yaml.safe_dump(groups))
    (folder / "group_vars").symlink_to(ROOT / "inventories/lab/group_vars")
    return folder


def play(lab: Lab, hosts: Path, playbook: Path) -> Played:
    """Run a playbook and read Ansible's own account of it; raises RuntimeError when it fails."""
    env = lab.env | {
        "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
        "ANSIBLE_CALLBACKS_ENABLED": "nanobanana.testbed.report",
        "ANSIBLE_JSON_INDENT": "0",
    }
    command = [str(BIN / "ansible-playbook"), "-i", str(hosts), str(playbook)]
    began = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(f"{playbook.name} ended with {done.returncode}:\n{failures(done.stdout) or done.stderr}")
    return account(seconds, document(done.stdout))


def document(output: str) -> dict[str, Any]:
    """The JSON in a command's output, whatever else it says before and after; raises ValueError where there is none."""
    return dict(json.JSONDecoder().raw_decode(output[output.index("{") :])[0])


def failures(output: str) -> str:
    """The results of the tasks that failed, or what there is to show instead."""
    try:
        told = document(output)
    except ValueError:
        return output[-3000:]
    found = [
        {"task": task["task"]["name"], "host": host, "found": result}
        for played in told["plays"]
        for task in played["tasks"]
        for host, result in task["hosts"].items()
        if result.get("failed") or result.get("unreachable")
    ]
    return json.dumps(found, indent=1)[-3000:]


def account(seconds: float, told: dict[str, Any]) -> Played:
    """Count what the JSON callback tells."""
    played = Played(seconds)
    for task in (task for part in told["plays"] for task in part["tasks"]):
        span = task["task"]["duration"]
        took = moment(span["end"]) - moment(span["start"]) if "end" in span else timedelta()
        played.tasks.append((task["task"]["name"], took.total_seconds()))
        for host, result in task["hosts"].items():
            played.by_host[host] = played.by_host.get(host, 0) + (not result.get("skipped", False))
    return played


def moment(text: str) -> datetime.datetime:
    """A time as the callback writes it."""
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def three(lab: Lab, folder: Path) -> dict[str, float]:
    """The three environments from bare clones, and again."""
    hosts = inventory(folder / "three", HOSTS)
    play(lab, hosts, ROOT / "playbooks/provision.yml")
    first = play(lab, hosts, ROOT / "playbooks/configure.yml")
    again = play(lab, hosts, ROOT / "playbooks/configure.yml")
    for name, played in (("first", first), ("again", again)):
        print(f"\n{played.seconds:8.2f} s  {name}: {played.by_host}; its slowest tasks:")
        for task, seconds in sorted(played.tasks, key=lambda item: -item[1])[:SLOWEST]:
            print(f"{seconds:8.2f} s    {task}", flush=True)
    play(lab, hosts, ROOT / "playbooks/teardown.yml")
    return {"first": first.seconds, "again": again.seconds, "tasks_per_host": max(again.by_host.values())}


def many(lab: Lab, folder: Path, count: int) -> dict[str, float]:
    """What a task of the second run costs on many hosts, beside a ping on the same hosts right after it."""
    hosts = inventory(folder / "many", {"baseline": [f"nb-many-{number:02}" for number in range(1, count + 1)]})
    ping = {"name": "Ping", "ansible.builtin.ping": {}}
    locate = {"name": "Locate", "ansible.builtin.include_tasks": str(ROOT / "playbooks/tasks/locate.yml")}
    pings = folder / "pings.yml"
    rows = [{"name": "Pings", "hosts": "baseline", "gather_facts": False, "tasks": [locate, *[ping] * (PINGS + 1)]}]
    pings.write_text(yaml.safe_dump(rows, sort_keys=False))
    play(lab, hosts, ROOT / "playbooks/provision.yml")
    play(lab, hosts, ROOT / "playbooks/configure.yml")
    again = play(lab, hosts, ROOT / "playbooks/configure.yml")
    # the first ping opens the connections
    pinged = sorted(seconds for name, seconds in play(lab, hosts, pings).tasks[-PINGS:] if name == "Ping")
    play(lab, hosts, ROOT / "playbooks/teardown.yml")
    task, one = again.task_seconds / again.host_tasks, pinged[PINGS // 2] / count
    print(f"\n{again.seconds:8.2f} s  {count} hosts again: {again.host_tasks} host-tasks")
    print(f"{task:8.3f} s  such a task\n{one:8.3f} s  a ping")
    return {"host_task_over_ping": task / one}


def main() -> None:
    """Measure, and print the line that others read."""
    parser = argparse.ArgumentParser(prog="make bench-configure", description=__doc__)
    parser.add_argument("--many", type=int, default=20, help="hosts of the second part (default: %(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nbb-") as name, running_lab(Path(name), "podman") as lab:
        found = three(lab, Path(name)) | many(lab, Path(name), options.many)
    today = datetime.datetime.now(tz=datetime.UTC).date()
    print(f"\n{today}, {os.cpu_count()} processors, Python {sys.version.split()[0]}, load {os.getloadavg()[0]:.1f}")
    for key, goal in GOALS.items():
        print(f"{'met   ' if found[key] <= goal else 'MISSED'}  {key} {found[key]:.2f}, goal <= {goal:g}")
    print(
        f"first={found['first']:.1f} again={found['again']:.1f} tasks_per_host={found['tasks_per_host']:.0f} "
        f"host_task_over_ping={found['host_task_over_ping']:.2f}"
    )


if __name__ == "__main__":
    main()
