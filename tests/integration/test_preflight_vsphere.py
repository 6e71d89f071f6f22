# SPDX-License-Identifier: GPL-3.0-or-later
"""The platform and machine gates against the lab's vCenter: no false alarm, the right id, and a fix that mends."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import lookup, preflight_call
from pyVim.task import WaitForTask
from pyVmomi import vim

from tests.integration.conftest import BIN, ROOT, Lab, lab_whose_role_lacks, wish
from tests.integration.test_fleet import session, writes

pytestmark = pytest.mark.integration
ROLE = yaml.safe_load((ROOT / "playbooks/files/vcenter_role.yml").read_text())["privileges"]
STATIC = [{"mode": "static", "model": "A10"}]
VGPU = [{"mode": "vgpu", "profile": "nvidia_a10-4c"}]
DYNAMIC = [{"mode": "dynamic", "vendor_id": "10de", "device_id": "2236"}]
OFF = {"power": "off"}
SHARES = {"cpu_shares": "high", "cpu_limit_mhz": "unlimited"}


def ask(lab: Lab, stage: str, *vms: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The module's logic as main() calls it."""
    params = {name: option.get("default") for name, option in preflight_call.argument_spec().items()}
    params |= {"stage": stage, "owner": "tests", "vms": list(vms), "privileges": ROLE, "fail_on": "never"}
    return preflight_call.run({**params, **lab.connection(), **more})


def rows(answer: dict[str, Any], target: str) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in answer["hosts"][target]["checks"]}


def having(answer: dict[str, Any], *statuses: str) -> dict[str, list[str]]:
    """Ids by target, of those checks that ended so."""
    found = {
        target: [row["id"] for row in told["checks"] if row["status"] in statuses]
        for target, told in answer["hosts"].items()
    }
    return {target: ids for target, ids in found.items() if ids}


def test_a_healthy_lab_raises_no_alarm_and_nothing_is_written(lab: Lab) -> None:
    vms = [
        wish("a", tweaks=SHARES),
        wish("b", "stress", gpu=STATIC),
        wish("c", "compatibility", gpu=VGPU),
        wish("d", gpu=DYNAMIC),
        wish("e", disks=[], networks=[], lifecycle=OFF),
    ]
    since = len(lab.calls())
    before = ask(lab, "platform", *vms)
    assert having(before, "failed", "warned", "blocked") == {}
    assert writes(lab, since) == []
    lab.fleet(*vms)
    since = len(lab.calls())
    for stage in ("platform", "machine"):
        answer = ask(lab, stage, *vms)
        assert having(answer, "failed", "warned", "blocked") == {}, stage
        assert (answer["changed"], answer["failed"]) == (False, False)
    assert writes(lab, since) == []


def test_the_wishes_of_the_labs_own_inventory_raise_no_alarm(lab: Lab, tmp_path: Path) -> None:
    """What newcomers see first, through Ansible: its action plugin adds connection and privileges."""
    tasks = [
        {
            "name": f"Ask the {stage} gate",
            "nanobanana.testbed.preflight_vsphere": {
                "stage": stage,
                "owner": "{{ testbed_owner }}",
                "vms": "{{ ansible_play_hosts_all | nanobanana.testbed.wishes(hostvars) }}",
                "environments": "{{ {inventory_hostname: group_names | first} }}",
            },
            "delegate_to": "localhost",
            "run_once": True,
            "register": "answer",
            **extra,
        }
        for stage, extra in (("platform", {}), ("machine", {"ignore_errors": True}))
    ]
    show = {
        "name": "Show",
        "ansible.builtin.copy": {"dest": str(tmp_path / "answer.json"), "content": "{{ answer | to_json }}"},
        "delegate_to": "localhost",
        "run_once": True,
    }
    play = [{"name": "Ask", "hosts": "baseline:compatibility:stress", "gather_facts": False, "tasks": [*tasks, show]}]
    (tmp_path / "play.yml").write_text(yaml.safe_dump(play))
    done = lab.playbook("-i", "inventories/lab", str(tmp_path / "play.yml"))
    assert done.returncode == 0, done.stdout + done.stderr
    answer = json.loads((tmp_path / "answer.json").read_text())
    missing = {target for target, ids in having(answer, "failed").items() if ids == ["vm.exists"]}
    assert missing == {"nb-baseline-01", "nb-compat-01", "nb-stress-01"}
    assert "mend:     Make it. Type: ansible-playbook playbooks/provision.yml --limit nb-stress-01" in answer["msg"]
    assert "Traceback" not in done.stdout + done.stderr


def edit(lab: Lab, name: str, change: Callable[[Any], Any]) -> None:
    """As an administrator: reconfigure the VM as ``change`` says of it."""
    with session(lab) as content:
        machine = lookup.find_vms(content, [name])[name]
        WaitForTask(machine.ReconfigVM_Task(change(machine)))


def key(name: str) -> Callable[[Any], Any]:
    option = vim.option.OptionValue(key=name, value="")
    return lambda _machine: vim.vm.ConfigSpec(extraConfig=[option])


def memory(**fields: Any) -> Callable[[Any], Any]:
    locked = fields.pop("locked", None)

    def change(_machine: Any) -> Any:
        spec = vim.vm.ConfigSpec(memoryReservationLockedToMax=locked)
        if fields:
            spec.memoryAllocation = vim.ResourceAllocationInfo(**fields)
        return spec

    return change


def shares(_machine: Any) -> Any:
    info = vim.SharesInfo(level="low", shares=0)
    return vim.vm.ConfigSpec(cpuAllocation=vim.ResourceAllocationInfo(shares=info))


def device(machine: Any, kind: Any) -> Any:
    return next(item for item in machine.config.hardware.device if isinstance(item, kind))


def changed(*rows: tuple[str, Any]) -> Any:
    change = vim.vm.device.VirtualDeviceSpec
    return vim.vm.ConfigSpec(deviceChange=[change(operation=operation, device=item) for operation, item in rows])


def with_3d(machine: Any) -> Any:
    card = device(machine, vim.vm.device.VirtualVideoCard)
    card.enable3DSupport = True
    return changed(("edit", card))


def with_e1000(machine: Any) -> Any:
    old = device(machine, vim.vm.device.VirtualVmxnet3)
    new = vim.vm.device.VirtualE1000(key=-1, backing=old.backing, addressType="assigned")
    return changed(("remove", old), ("add", new))


def without_card(machine: Any) -> Any:
    return changed(("remove", device(machine, vim.vm.device.VirtualVmxnet3)))


def without_data_disk(machine: Any) -> Any:
    disks = [item for item in machine.config.hardware.device if isinstance(item, vim.vm.device.VirtualDisk)]
    return changed(("remove", disks[-1]))


def mend(lab: Lab, folder: Path, wished: dict[str, Any], told: dict[str, Any]) -> None:
    """Do what the fix says: playbooks, whose guests are made up here, by fleet alone; the rest as it is typed."""
    run = told["mend"]["run"]
    play = r"ansible-playbook playbooks/{}.yml --limit a"
    provision = re.fullmatch(f"({play.format('teardown')} && )?{play.format('provision')}(.*)", run)
    if not provision:
        hosts = folder / "hosts"
        hosts.mkdir()
        (hosts / "hosts.yml").write_text(yaml.safe_dump({"baseline": {"hosts": {"a": {}}}}))
        (hosts / "group_vars").symlink_to(ROOT / "inventories/lab/group_vars")
        env = lab.env | {"PATH": f"{BIN}:{lab.env['PATH']}", "ANSIBLE_INVENTORY": str(hosts)}
        done = subprocess.run(["bash", "-c", run], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return
    if provision[1]:
        lab.fleet({"name": "a"}, state="absent")
    words = shlex.split(provision[2])
    extra = json.loads(words[1])["vm_lifecycle"] if words else wished.get("lifecycle", {})
    outcome = lab.fleet(wished | {"lifecycle": extra})
    assert outcome.error is None


BROKEN: list[tuple[str, dict[str, Any], Callable[[Any], Any]]] = [
    ("vm.accel_3d", {}, with_3d),
    ("vm.accel_3d", {}, key("mks.enable3d")),
    ("vm.balloon", {}, key("sched.mem.maxmemctl")),
    ("vm.page_sharing", {}, key("sched.mem.pshare.enable")),
    ("vm.memory_reserved", {}, memory(locked=False, reservation=0)),
    ("vm.memory_locked", {}, memory(locked=False)),
    ("vm.memory_limit", {}, memory(limit=1024)),
    ("vm.cpu_shares", {"tweaks": SHARES}, shares),
    ("vm.nic", {}, with_e1000),
    ("vm.nic", {}, without_card),
    ("vm.data_controller", {}, without_data_disk),
    ("vm.mmio", {"gpu": STATIC}, key("pciPassthru.64bitMMIOSizeGB")),
]


@pytest.mark.parametrize(("check", "fields", "change"), BROKEN, ids=lambda item: item if isinstance(item, str) else "")
def test_what_an_administrator_breaks_is_found_and_mended(
    lab: Lab, tmp_path: Path, check: str, fields: dict[str, Any], change: Callable[[Any], Any]
) -> None:
    wished = wish("a", **fields)
    lab.fleet(wished, wish("b"))
    edit(lab, "a", change)
    answer = ask(lab, "machine", wished, wish("b"))
    assert having(answer, "failed", "warned") == {"a": [check]}
    told = rows(answer, "a")[check]
    for part in ("expected", "actual", "detail", "fix"):
        assert told[part], part
    mend(lab, tmp_path, wished, told)
    assert having(ask(lab, "machine", wished, wish("b")), "failed", "warned", "blocked") == {}


@pytest.mark.parametrize(
    ("check", "before", "after"),
    [
        ("vm.data_controller", {"tweaks": {"data_controller": "lsilogic"}}, {}),
        ("vm.size", {"memory_mb": 4096}, {}),
        ("vm.hardware_version", {}, {"tweaks": {"hardware_version": 21}}),
        ("vm.gpu", {}, {"gpu": VGPU, "placement": wish("x")["placement"] | {"host": "esx-03.lab"}}),
        ("vm.gpu", {"gpu": VGPU}, {}),
        ("vm.power", {"lifecycle": OFF}, {}),
    ],
)
def test_what_is_otherwise_than_the_wish_is_found_and_mended(
    lab: Lab, tmp_path: Path, check: str, before: dict[str, Any], after: dict[str, Any]
) -> None:
    keep = {"ttl_hours": 7, "address_networks": ["0.0.0.0/0"]}
    wished = wish("a", **after) | {"lifecycle": keep}
    placed = {"placement": after["placement"]} if "placement" in after else {}
    lab.fleet(wish("a", **before, **placed))
    answer = ask(lab, "machine", wished)
    told = rows(answer, "a")[check]
    assert told["status"] == "failed"
    if check != "vm.power":  # the VM runs: the command keeps what else the wish says of its life
        assert json.loads(shlex.split(told["mend"]["run"])[-1])["vm_lifecycle"] == keep | {"power_cycle": "allowed"}
        assert told["mend"]["automatic"] is False
        assert having(answer, "failed", "warned") == {"a": [check]}
    mend(lab, tmp_path, wished, told)
    assert having(ask(lab, "machine", wished), "failed", "warned", "blocked") == {}


def test_a_snapshot_of_a_vm_with_passthrough_is_named_and_removed(lab: Lab, tmp_path: Path) -> None:
    """vSphere refuses to take one; it allows to pass a device through to a VM that has one."""
    lab.fleet(wish("a", lifecycle=OFF))
    with session(lab) as content:
        machine = lookup.find_vms(content, ["a"])["a"]
        WaitForTask(machine.CreateSnapshot_Task(name="before lunch", memory=False, quiesce=False))
    wished = wish("a", gpu=STATIC)
    lab.fleet(wished)
    answer = ask(lab, "machine", wished)
    assert having(answer, "failed", "warned") == {"a": ["vm.snapshots"]}
    told = rows(answer, "a")["vm.snapshots"]
    assert told["evidence"] == {"snapshots": ["before lunch"]}
    mend(lab, tmp_path, wished, told)
    assert having(ask(lab, "machine", wished), "failed", "warned", "blocked") == {}
    with session(lab) as content:
        assert lookup.find_vms(content, ["a"])["a"].snapshot is None


def test_a_vgpu_may_have_one(lab: Lab) -> None:
    wished = wish("a", gpu=VGPU)
    lab.fleet(wished | {"lifecycle": OFF})
    with session(lab) as content:
        machine = lookup.find_vms(content, ["a"])["a"]
        WaitForTask(machine.CreateSnapshot_Task(name="clean", memory=False, quiesce=False))
    lab.fleet(wished)
    assert having(ask(lab, "machine", wished), "failed", "warned", "blocked") == {}


def test_the_command_that_restarts_a_vm_works(lab: Lab, tmp_path: Path) -> None:
    """The lab's hosts take no memory away, so the row's command is asked for itself."""
    from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.catalogue_vsphere import MACHINE

    lab.fleet(wish("a"))
    (row,) = [check for check in MACHINE if check.id == "vm.memory_reclaimed"]
    run = row.fix.filled({"name": "a", "owner": "tests"}).run
    since = len(lab.calls())
    mend(lab, tmp_path, wish("a"), {"mend": {"run": run}})
    assert "PowerOnVM_Task" in writes(lab, since)


def test_a_vm_that_is_not_there_and_one_of_somebody_else(lab: Lab) -> None:
    lab.fleet(wish("theirs"), owner="somebody")
    try:
        answer = ask(lab, "machine", wish("theirs"), wish("none"))
        assert having(answer, "failed") == {"theirs": ["vm.owner"], "none": ["vm.exists"]}
        assert "'somebody'" in rows(answer, "theirs")["vm.owner"]["actual"]
        assert len(having(answer, "blocked")["none"]) == len(rows(answer, "none")) - 1
        told = rows(answer, "none")["vm.exists"]
        assert told["mend"]["run"] == "ansible-playbook playbooks/provision.yml --limit none"
    finally:
        lab.fleet(state="absent", all_owned=True, owner="somebody")


def unlike(**placement: str) -> dict[str, Any]:
    return {"placement": wish("x")["placement"] | placement}


@pytest.mark.parametrize(
    ("check", "fields", "parts"),
    [
        ("wish.placement", unlike(cluster="gpu-clutser"), ["no cluster 'gpu-clutser'", "did you mean 'gpu-cluster'?"]),
        ("wish.placement", unlike(datastore="vmfs-02"), ["no datastore 'vmfs-02'"]),
        ("network.port_group", {"networks": [{"network": "tesbed"}]}, ["no network 'tesbed'", "'testbed'"]),
        ("library.item", {"template": {"library": "nano-banana", "item": "none"}}, ["no item 'none'"]),
        ("library.item", {"template": {"inventory": "none"}}, ["none named 'none'"]),
        ("wish.hardware_version", {"tweaks": {"hardware_version": 22}}, ["at most 21 (ESXi 8.0 U2)", "esx-01.lab"]),
        (
            "wish.latency",
            {"tweaks": {"latency_sensitivity": "high", "cpu_reservation_mhz": 10}},
            ["at least 5200", "10"],
        ),
        ("wish.gpu_host", {"gpu": [{"mode": "static", "model": "H100"}]}, ["model 'H100'"]),
        (
            "wish.gpu_host",
            {"gpu": [{"mode": "static", "address": "0000:af:00.0"}]},
            ["enabled but not active", "reboot host esx-02.lab"],
        ),
        (
            "wish.gpu_host",
            {"gpu": [{"mode": "vgpu", "profile": "nvidia_t4-16c"}]},
            ["vGPU needs 'sharedDirect'", "set the graphics type"],
        ),
    ],
)
def test_a_wish_that_cannot_be_met_is_found_before_anything_is_made(
    lab: Lab, check: str, fields: dict[str, Any], parts: list[str]
) -> None:
    since = len(lab.calls())
    answer = ask(lab, "platform", wish("a", **fields), wish("good"))
    assert having(answer, "failed", "warned") == {"a": [check]}
    told = rows(answer, "a")[check]
    text = f"{told['expected']} | {told['actual']} | {told['fix']}".lower()
    for part in parts:
        assert part.lower() in text
    assert writes(lab, since) == []


def test_gpus_that_others_hold_and_room_that_is_not_there(lab: Lab) -> None:
    lab.fleet(*(wish(name, gpu=STATIC, disks=[]) for name in "xyz"))
    huge = [{"name": "data", "size_gb": 63488}, {"name": "more", "size_gb": 63488}]
    answer = ask(lab, "platform", wish("a", gpu=STATIC), wish("b", disks=huge))
    where = lab.vcenter["hostname"]
    assert having(answer, "failed", "warned") == {where: ["datastore.space"], "a": ["wish.gpu"]}
    assert "held by 'x'" in rows(answer, "a")["wish.gpu"]["actual"]
    assert "GB" in rows(answer, where)["datastore.space"]["expected"]
    answer = ask(lab, "platform", *(wish(f"m{n}", memory_mb=262144, disks=[]) for n in range(4)))
    assert having(answer, "failed")[where] == ["cluster.memory"]


def test_a_login_that_fails_is_a_check_and_blocks_the_others(lab: Lab) -> None:
    where = lab.vcenter["hostname"]
    for stage in ("platform", "machine"):
        answer = ask(lab, stage, wish("a"), vsphere_password="wr0ng-secret")
        assert having(answer, "failed") == {where: ["vcenter.login"]}
        assert len(having(answer, "blocked")["a"]) == len(rows(answer, "a"))
        assert "wr0ng-secret" not in json.dumps(answer)
    answer = ask(lab, "platform", wish("a"), vsphere_port=1)
    assert "connection refused" in rows(answer, where)["vcenter.login"]["actual"]
    answer = ask(lab, "platform", wish("a"), vsphere_port=1, fail_on="failed")
    assert answer["failed"] is True
    assert "vcenter.login: vCenter answers and takes the login" in answer["msg"]


MISSING = ("VirtualMachine.Interact.PowerOn", "Host.Inventory.EditCluster")


@pytest.fixture(scope="module")
def poor(start_lab: Callable[..., Lab], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A vCenter whose administrator forgot some privileges of the role."""
    yield lab_whose_role_lacks(start_lab, tmp_path_factory.mktemp("poor"), MISSING)


def test_a_missing_privilege_is_named_where_the_wish_needs_it(poor: Lab) -> None:
    where = poor.vcenter["hostname"]
    answer = ask(poor, "platform", wish("a"))
    told = rows(answer, where)["vcenter.privileges"]
    assert told["status"] == "failed"
    assert told["evidence"] == {"missing": ["VirtualMachine.Interact.PowerOn on folder 'nano-banana'"]}
    assert "vcenter_role_principal='LAB\\testbed'" in told["fix"] or "\\testbed'" in told["fix"]
    with_gpu = rows(ask(poor, "platform", wish("a", gpu=STATIC)), where)["vcenter.privileges"]
    assert with_gpu["evidence"]["missing"][0] == "Host.Inventory.EditCluster on compute 'gpu-cluster'"
    admin = ask(poor, "platform", wish("a", gpu=STATIC), **poor.administrator())
    assert rows(admin, where)["vcenter.privileges"]["status"] in ("passed", "skipped")


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"vms": [{"name": "a"}]}, "a: vm_template"),
        ({"vms": [{"name": "a", "tempalte": {}}]}, "vm_tempalte"),
        ({"stage": "guest"}, "value of stage must be one of: platform, machine, got: guest"),
    ],
)
def test_bad_input_is_one_clear_error(lab: Lab, tmp_path: Path, options: dict[str, Any], part: str) -> None:
    args = {"stage": "platform", "owner": "tests", "vms": [], **lab.connection(), **options}
    task = {"name": "Ask", "nanobanana.testbed.preflight_vsphere": args}
    file = tmp_path / "play.yml"
    file.write_text(yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "tasks": [task]}]))
    done = lab.playbook("-i", "/dev/null", str(file))
    assert done.returncode == 2
    assert part in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_the_module_and_the_worker_tell_the_same(lab: Lab, tmp_path: Path) -> None:
    """A task with an environment of its own goes the module's way (docs/adr/0019)."""
    lab.fleet(wish("a", lifecycle=OFF))
    args = {"stage": "machine", "owner": "tests", "vms": [wish("a")], "fail_on": "never", **lab.connection()}
    tasks = []
    for number, extra in enumerate(({}, {"environment": {"ANY": "thing"}})):
        file = {"dest": str(tmp_path / f"{number}.json"), "content": "{{ answer.hosts | to_json }}"}
        tasks.append({"name": "Ask", "nanobanana.testbed.preflight_vsphere": args, "register": "answer", **extra})
        tasks.append({"name": "Show", "ansible.builtin.copy": file})
    (tmp_path / "play.yml").write_text(yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    done = lab.playbook("-i", "/dev/null", str(tmp_path / "play.yml"))
    assert done.returncode == 0, done.stdout + done.stderr
    found = [json.loads((tmp_path / f"{number}.json").read_text()) for number in (0, 1)]
    for told in found:
        for row in (row for target in told.values() for row in target["checks"]):
            del row["seconds"]
    assert found[0] == found[1]
    assert {row["id"] for row in found[0]["a"]["checks"] if row["status"] == "failed"} == {"vm.power"}
