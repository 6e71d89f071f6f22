# SPDX-License-Identifier: GPL-3.0-or-later
"""``make bench-preflight``: the vSphere checks of many VMs, without what the login takes, and those of one guest.

vCenter's are asked of the lab with made-up guests, in this process, as Ansible's worker does it. The guest's are one
task of ansible-playbook on a configured host, everything included but the picture.
"""

from __future__ import annotations

import argparse
import cProfile
import datetime
import json
import os
import pstats
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import (
    client,
    fleet_call,
    lookup,
    preflight_call,
    preflight_reader,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.limits import DEFAULTS
from pyVmomi import vim

from tests.bench.configure import inventory, play
from tests.bench.run import ROOT, Lab, running_lab

GUEST_GOAL = 3.0  # seconds of all checks of one guest, without the time of the picture
GUEST = {"baseline": ["nb-baseline-01"]}
GUEST_TASK = "nanobanana.testbed.preflight : Examine the guest"
GOAL = 2.0  # seconds of each vSphere gate's work for VMS machines, without the login
VMS = 100
SLOWEST = 8
Options = dict[str, Any]


def connection(lab: Lab) -> Options:
    """The options of the login that holds the project's roles."""
    told = {"hostname": lab.vcenter["hostname"], "port": lab.vcenter["port"], "username": lab.vcenter["username"]}
    told |= {"password": lab.password, "validate_certs": True, "ca_file": lab.vcenter["ca_file"]}
    return {f"vsphere_{name}": value for name, value in told.items()}


def wishes(lab: Lab, count: int) -> list[Options]:
    """VMs with all that is checked; one in ten has a vGPU, as many as the lab's board gives."""
    shared = {
        "template": {"library": "nano-banana", "item": "nano-banana-stress-template"},
        "cpus": 2,
        "memory_mb": 2048,
        "disks": [{"name": "data", "size_gb": 20}],
        "networks": [{"network": lab.vcenter["portgroup"]}],
        "placement": {name: lab.vcenter[name] for name in ("datacenter", "folder", "cluster", "datastore")},
        "customization": {"userdata": "#cloud-config\n"},
        "tweaks": {"cpu_shares": "high", "cpu_limit_mhz": "unlimited"},
    }
    gpus = [{"mode": "vgpu", "profile": "nvidia_a10-2c"}]
    return [{"name": f"bench-{n:03}", **shared, "gpu": gpus if n % 10 == 0 else []} for n in range(count)]


def params(spec: Options, **given: Any) -> Options:
    """All options of a module, those that are not given at their defaults."""
    return {name: option.get("default") for name, option in spec.items()} | given


def make(login: Options, vms: list[Options]) -> None:
    """Bring the VMs up; raises what fleet says when it cannot."""
    given = params(fleet_call.argument_spec(), owner="bench", limits=dict(DEFAULTS), vms=vms, **login)
    outcome = fleet_call.act(given, check=False)[0]
    if outcome.error:
        raise outcome.error


def gate(login: Options, stage: str, vms: list[Options]) -> dict[str, Any]:
    """One stage's checks; raises RuntimeError when a VM that is as wished is said not to be."""
    role = yaml.safe_load((ROOT / "playbooks/files/vcenter_role.yml").read_text())
    given = {"stage": stage, "owner": "bench", "vms": vms, "privileges": role["privileges"], **login}
    answer = preflight_call.run(params(preflight_call.argument_spec(), **given))
    if answer["failed"]:
        raise RuntimeError(answer["msg"][:2000])
    return answer


def enter(login: Options) -> None:
    """Log in and out again."""
    with client.connected(client.Connection.from_params(login)):
        pass


def read(login: Options, count: int) -> None:
    """The least that can be asked: the names of all VMs, and the settings of these, with nothing made of them."""
    with client.connected(client.Connection.from_params(login)) as session:
        found = lookup.find_vms(session.content, [f"bench-{n:03}" for n in range(count)])
        list(lookup.retrieve(session.content, vim.VirtualMachine, found.values(), preflight_reader.VM_PROPERTIES))


def best(repeat: int, work: Callable[[], object]) -> tuple[float, float]:
    """The shortest of several runs, in seconds; and the least that this process itself computed in one."""
    times, computed = [], []
    for _turn in range(repeat):
        began, used = time.perf_counter(), time.process_time()
        work()
        times.append(time.perf_counter() - began)
        computed.append(time.process_time() - used)
    return min(times), min(computed)


def profiled(work: Callable[[], object]) -> None:
    """Show where one run spends its time."""
    profile = cProfile.Profile()
    profile.runcall(work)
    pstats.Stats(profile).sort_stats("cumulative").print_stats(r"vsphere|checks|pyVmomi", 25)


def vsphere(count: int, repeat: int, *, profile: bool) -> dict[str, float]:
    """Seconds of each gate for so many VMs, and of the login."""
    with tempfile.TemporaryDirectory(prefix="nbb-") as folder, running_lab(Path(folder)) as lab:
        login, vms = connection(lab), wishes(lab, count)
        make(login, vms)
        found = {"login": best(repeat, partial(enter, login))[0]}
        works: dict[str, Callable[[], object]] = {"bare read": partial(read, login, count)}
        works |= {stage: partial(gate, login, stage, vms) for stage in ("machine", "platform")}
        for name, work in works.items():
            since = len(lab.methods(0))
            seconds, own = best(repeat, work)
            calls = Counter(lab.methods(since))
            found[name] = max(0.0, seconds - found["login"])
            print(
                f"{found[name]:9.2f} s  {name}: {own:.2f} s of it here, {sum(calls.values()) // repeat} calls",
                flush=True,
            )
            if profile:
                print(calls.most_common(SLOWEST))
                profiled(work)
    return found


def guest(repeat: int) -> tuple[float, float]:
    """Seconds of the one module call on a configured host without its picture, and of the picture; the best run's."""
    with tempfile.TemporaryDirectory(prefix="nbb-") as name, running_lab(Path(name), "podman") as lab:
        folder = Path(name)
        hosts = inventory(folder / "one", GUEST)
        for playbook in ("provision", "configure"):
            play(lab, hosts, ROOT / f"playbooks/{playbook}.yml")
        found = []
        for turn in range(repeat):
            run = f"bench-{turn}"
            asked = Lab(lab.state, lab.env | {"NANOBANANA_RUN_ID": run})
            tasks = dict(play(asked, hosts, ROOT / "playbooks/preflight_guest.yml").tasks)
            told = json.loads((folder / "artifacts" / run / "preflight-guest.json").read_text())
            rows = told["targets"][GUEST["baseline"][0]]["checks"]
            picture = next(row["seconds"] for row in rows if row["id"] == "model.picture")
            found.append((tasks[GUEST_TASK] - picture, picture))
            print(
                f"{found[-1][0]:9.2f} s  guest: {len(rows)} checks in one call; the picture {picture:.2f} s", flush=True
            )
        return min(found)


def main() -> int:
    """Measure, and print the line that others read; 1 when the goal is missed."""
    parser = argparse.ArgumentParser(prog="make bench-preflight", description=__doc__)
    parser.add_argument("--vms", type=int, default=VMS)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--profile", action="store_true", help="show where the time goes")
    options = parser.parse_args()
    found = vsphere(options.vms, options.repeat, profile=options.profile)
    seconds = max(found["machine"], found["platform"])
    checks, _picture = guest(options.repeat)
    today = datetime.datetime.now(tz=datetime.UTC).date()
    print(f"\n{today}, {os.cpu_count()} processors, Python {sys.version.split()[0]}, load {os.getloadavg()[0]:.1f}")
    rows = (("the slower vSphere gate", seconds, GOAL), ("the checks of one guest", checks, GUEST_GOAL))
    for name, took, goal in rows:
        print(f"{'met   ' if took <= goal else 'MISSED'}  {name} {took:.2f} s, goal {goal:g} s")
    print(f"preflight_vms={options.vms} seconds={seconds:.2f} login={found['login']:.2f} guest_checks={checks:.2f}")
    return int(any(took > goal for _name, took, goal in rows))


if __name__ == "__main__":
    raise SystemExit(main())
