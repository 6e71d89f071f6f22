# SPDX-License-Identifier: GPL-3.0-or-later
"""Two yardsticks, each a process of its own: bare pyVmomi that issues fleet's calls, and fleet without Ansible.

``python -m tests.bench.alone bare|fleet FILE`` reads FILE (JSON: ``connection`` as the module's options, ``count``),
makes and powers on that many VMs and prints its peak memory in KB. The caller times the whole process.
"""

from __future__ import annotations

import json
import resource
import ssl
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.limits import DEFAULTS
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.lookup import STATE_PROPERTIES, VM_PROPERTIES

from tests.bench import project

LIMITS = {"clone": DEFAULTS["clone"], "power on": DEFAULTS["power"]}
PATIENCE = 20  # seconds that one wait may take


class Bare:
    """No plan, no comparison, no error handling: the calls alone, with fleet's numbers in flight."""

    def __init__(self, content: Any, extra: dict[str, dict[str, str]]) -> None:
        from pyVmomi import vim, vmodl

        self.vim, self.query, self.content, self.extra = vim, vmodl.query.PropertyCollector, content, extra
        self.busy: dict[str, str] = {}
        self.machines: dict[str, Any] = {}  # by the task that powers it on
        self.unread: list[Any] = []
        self.changed: list[Any] = []  # their power state alone
        self.cloned: list[Any] = []
        self.ended: list[Any] = []
        self.version = ""
        self.find()
        self.watch()

    def find(self) -> None:
        """One read of the tree and of the VMs' names, one of the template."""
        kinds = [self.vim.Folder, self.vim.ResourcePool, self.vim.Datastore, self.vim.VirtualMachine]
        view = self.content.viewManager.CreateContainerView(self.content.rootFolder, kinds, True)
        names = [(kind, ["name"]) for kind in kinds]
        found = {item.propSet[0].val: item.obj for item in self.read(view, names, self.vim.view.ContainerView)}
        view.Destroy()
        self.source, self.folder = found[project.TEMPLATE], found[project.PLACEMENT["folder"]]
        self.location = self.vim.vm.RelocateSpec(
            pool=found["Resources"], datastore=found[project.PLACEMENT["datastore"]], folder=self.folder
        )
        self.read_vms([self.source])

    def filter_spec(self, view: Any, properties: list[tuple[Any, list[str]]], kind: Any) -> Any:
        path = self.query.TraversalSpec(name="v", path="view", skip=False, type=kind)
        return self.query.FilterSpec(
            objectSet=[self.query.ObjectSpec(obj=view, skip=True, selectSet=[path])],
            propSet=[self.query.PropertySpec(type=kind, pathSet=paths) for kind, paths in properties],
        )

    def read(self, view: Any, properties: list[tuple[Any, list[str]]], kind: Any) -> Any:
        spec = self.filter_spec(view, properties, kind)
        return self.content.propertyCollector.RetrievePropertiesEx([spec], self.query.RetrieveOptions()).objects

    def read_vms(self, machines: list[Any], paths: Iterable[str] = VM_PROPERTIES) -> None:
        spec = self.query.FilterSpec(
            objectSet=[self.query.ObjectSpec(obj=machine) for machine in machines],
            propSet=[self.query.PropertySpec(type=self.vim.VirtualMachine, pathSet=list(paths))],
        )
        self.content.propertyCollector.RetrievePropertiesEx([spec], self.query.RetrieveOptions())

    def watch(self) -> None:
        self.tasks = self.content.viewManager.CreateListView()
        self.waiting = self.content.propertyCollector.CreatePropertyCollector()
        paths = ["info.state", "info.error", "info.result"]
        spec = self.filter_spec(self.tasks, [(self.vim.Task, paths)], self.vim.view.ListView)
        self.waiting.CreateFilter(spec, partialUpdates=False)

    def config(self, name: str) -> Any:
        device = self.vim.vm.device
        controller = device.ParaVirtualSCSIController(key=-101, busNumber=1, sharedBus="noSharing")
        backing = device.VirtualDisk.FlatVer2BackingInfo(
            diskMode="persistent", thinProvisioned=False, eagerlyScrub=False
        )
        size = project.DATA_DISK_GB << 20
        disk = device.VirtualDisk(key=-301, controllerKey=-101, unitNumber=0, capacityInKB=size, backing=backing)
        added = [
            device.VirtualDeviceSpec(operation="add", device=controller),
            device.VirtualDeviceSpec(operation="add", device=disk, fileOperation="create"),
        ]
        return self.vim.vm.ConfigSpec(
            numCPUs=project.CPUS,
            memoryMB=project.MEMORY_MB,
            memoryReservationLockedToMax=True,
            memoryAllocation=self.vim.ResourceAllocationInfo(reservation=project.MEMORY_MB),
            extraConfig=[self.vim.option.OptionValue(key=k, value=v) for k, v in self.extra[name].items()],
            deviceChange=added,
        )

    def run(self) -> None:
        """Clone all, power all on; each VM is read after each of the two."""
        left = list(self.extra)
        while left or self.cloned or self.busy or self.unread or self.changed:
            if self.changed:
                self.read_vms(self.changed, STATE_PROPERTIES)
                self.changed = []
            if self.unread:
                self.read_vms(self.unread)
                self.unread = []
            started = []
            while left and self.free("clone"):
                started.append(self.clone(left.pop(0)))
            while self.cloned and self.free("power on"):
                started.append(self.power_on(self.cloned.pop(0)))
            if self.busy:
                self.wait(started)
        self.waiting.DestroyPropertyCollector()
        self.tasks.DestroyView()

    def free(self, kind: str) -> bool:
        return list(self.busy.values()).count(kind) < LIMITS[kind]

    def clone(self, name: str) -> Any:
        spec = self.vim.vm.CloneSpec(location=self.location, powerOn=False, template=False, config=self.config(name))
        task = self.source.CloneVM_Task(folder=self.folder, name=name, spec=spec)
        self.busy[task._moId] = "clone"
        return task

    def power_on(self, machine: Any) -> Any:
        task = machine.PowerOnVM_Task()
        self.busy[task._moId] = "power on"
        self.machines[task._moId] = machine
        return task

    def wait(self, started: list[Any]) -> None:
        self.tasks.ModifyListView(add=started, remove=self.ended)
        self.ended = []
        update = self.waiting.WaitForUpdatesEx(self.version, self.query.WaitOptions(maxWaitSeconds=PATIENCE))
        if update is None:
            return
        self.version = update.version
        for item in (item for group in update.filterSet for item in group.objectSet):
            values = {change.name: change.val for change in item.changeSet}
            if item.obj._moId in self.busy and values.get("info.state") in ("success", "error"):
                self.end(item.obj, values)

    def end(self, task: Any, values: dict[str, Any]) -> None:
        if values["info.state"] == "error":
            raise RuntimeError(f"{self.busy[task._moId]}: {values.get('info.error')}")
        self.ended.append(task)
        if self.busy.pop(task._moId) == "clone":
            self.cloned.append(values["info.result"])
            self.unread.append(values["info.result"])
        else:
            self.changed.append(self.machines[task._moId])


def bare(count: int, options: dict[str, Any]) -> None:
    """The bare loop in a session of its own."""
    from pyVim.connect import Disconnect, SmartConnect

    instance = SmartConnect(
        host=options["vsphere_hostname"],
        port=options["vsphere_port"],
        user=options["vsphere_username"],
        pwd=options["vsphere_password"],
        sslContext=ssl.create_default_context(cafile=options["vsphere_ca_file"]),
    )
    Bare(instance.content, project.settings(count, "first")).run()
    Disconnect(instance)


def whole(count: int, options: dict[str, Any]) -> None:
    """fleet itself, as its main() calls it."""
    from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import fleet_call

    params = {name: option.get("default") for name, option in fleet_call.argument_spec().items()}
    params |= {"owner": project.OWNER, "limits": dict(DEFAULTS), "vms": project.wishes(count)}
    outcome = fleet_call.act({**params, **options}, check=False)[0]
    if outcome.error:
        raise outcome.error


def main() -> None:
    """Run the one that the command line names."""
    kind, file = sys.argv[1:]
    wanted = json.loads(Path(file).read_text())
    {"bare": bare, "fleet": whole}[kind](wanted["count"], wanted["connection"])
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


if __name__ == "__main__":
    main()
