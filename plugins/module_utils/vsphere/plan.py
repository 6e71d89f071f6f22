# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From wanted and actual to a list of operations: pure, so check mode and diff are the plan itself.

fleet plans, does the first operation, reads the VM again and plans anew until nothing is left. A VM that a
killed run left half made, or that another run changed meanwhile, is therefore nothing special.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import Problem, TestbedError, one_problem
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import ownership, vmx
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.compare import (
    Change,
    compare,
    extra_config,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.gpu_plan import moves
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.model import (
    VmActual,
    routable,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.wish import VmWish

Kind = Literal[
    "clone",
    "deploy",
    "customize",
    "reconfigure",
    "upgrade",
    "relocate",
    "override",
    "power_on",
    "shutdown",
    "power_off",
    "suspend",
    "destroy",
    "wait_address",
    "wait_settled",
    "wait_customized",
    "snapshot",
    "revert",
    "remove_snapshot",
    "remove_snapshots",
]


WORDS = {
    "clone": "clone from the template",
    "deploy": "deploy the OVF item",
    "shutdown": "shut down the guest",
    "override": "override the cluster's",
    "snapshot": "take the snapshot",
    "revert": "revert to the snapshot",
    "remove_snapshot": "remove the snapshot",
    "remove_snapshots": "remove all snapshots",
}
POWER_AFTER = {"power_on": "on", "power_off": "off", "shutdown": "off", "suspend": "suspended"}


@dataclass(frozen=True)
class Operation:
    """One thing to do to one VM; ``subject`` is the snapshot that it is about."""

    kind: Kind
    changes: tuple[Change, ...] = ()
    subject: str = ""

    def __str__(self) -> str:
        text = f"{WORDS.get(self.kind, self.kind.replace('_', ' '))} {self.subject}".rstrip()
        if self.kind in ("reconfigure", "upgrade", "override"):
            text += " " + ", ".join(change.what for change in self.changes)
        return text


@dataclass(frozen=True)
class Marks:
    """Who makes the VM and until when it is kept; written by the clone call itself.

    ``adopt`` allows to write them into a VM of the wished name that carries no mark of anybody.
    """

    owner: str
    run: str
    expires: str
    adopt: bool = False


def plan(
    wish: VmWish, actual: VmActual | None, source: VmActual | None, marks: Marks, *, deploys: bool = False
) -> list[Operation]:
    """What has to be done, in order; an empty list when vCenter matches the wish.

    ``source`` is the template, needed only while the VM does not exist; with ``deploys`` it is what is known of an
    OVF item. Raises TestbedError where the VM may not be touched (somebody else's) or cannot be changed as it stands.
    """
    if actual is None:
        if source is None:
            raise ValueError("a VM that does not exist needs its template for the plan")
        if deploys:
            return _deploy(wish, source, marks)
        customizing = wish.customization.method == "spec"
        return _clone(wish, source, marks) + _towards_power(wish, "poweredOff", customizing=customizing)
    if not actual.ready:
        return [Operation("wait_settled")]
    reconfigure = []
    if marks.adopt and ownership.adoptable(actual):
        reconfigure = [Operation("reconfigure", tuple(_mark_changes(wish, marks)))]
    else:
        check_owner(actual, marks.owner)
    _check_source(wish, actual)
    _check_customization(wish, actual)
    changes = (
        *_unfinished(wish, actual),
        *compare(wish, replace(actual, extra_config={}) if actual.deployed else actual),
    )
    reconfigure += _move(changes, wish) if moves(wish, actual) else _configure(changes)
    customize = _customize(wish, actual)
    reconfigure += customize
    changes += tuple(change for operation in customize for change in operation.changes)
    if wish.lifecycle.power == "off":
        return ([] if actual.power == "poweredOff" else [Operation("power_off")]) + reconfigure
    return _around_changes(wish, actual, changes, reconfigure)


def _configure(changes: Iterable[Change]) -> list[Operation]:
    """The operations for these changes; a hardware version has a task of its own, and other settings may need it."""
    upgrade, rest = _partition(changes)
    operations = [Operation("upgrade", upgrade)] if upgrade else []
    return operations + ([Operation("reconfigure", rest)] if rest else [])


def _partition(changes: Iterable[Change]) -> tuple[tuple[Change, ...], tuple[Change, ...]]:
    """The change of the hardware version, and the others."""
    upgrade = tuple(change for change in changes if change.what == "hardware_version")
    return upgrade, tuple(change for change in changes if change not in upgrade)


def _move(changes: tuple[Change, ...], wish: VmWish) -> list[Operation]:
    """To the host of the chosen GPUs; what is passed through on the old host has to go first."""
    gpus = [change for change in changes if change.what.startswith("gpu[")]
    gone = tuple(replace(change, after=None) for change in gpus if change.before)
    new = tuple(replace(change, before=None) for change in gpus if change.after)
    rest = tuple(change for change in changes if change not in gpus)
    relocate = Operation("relocate", (Change("host", None, wish.gpu_choice.host_name if wish.gpu_choice else ""),))
    first, last = (_configure(gone + rest), new) if gone else ([], rest + new)
    return [*first, relocate, *_configure(last)]


def _clone(wish: VmWish, source: VmActual, marks: Marks) -> list[Operation]:
    """The clone call carries the whole wish and the marks, so that no VM ever exists without its owner.

    Keys are written even where the template has them: not every vCenter copies a template's extraConfig. CPUs and
    memory are written even where they equal the template's, which may be another one by the time of the call.
    """
    changes = compare(wish, replace(source, cpus=0, memory_mb=0, extra_config={}))
    wished = extra_config(wish)
    if wish.customization.method == "spec":
        wished[vmx.CUSTOMIZATION] = f"pending {wish.customization.spec}"
        changes.append(Change(f"extra_config.{vmx.CUSTOMIZATION}", None, wished[vmx.CUSTOMIZATION]))
    changes += _inherited(source, wished)
    changes += [Change(f"extra_config.{key}", None, value) for key, value in all_marks(wish, marks).items()]
    upgrade, rest = _partition(changes)
    # What the template's hardware version cannot carry comes after the upgrade, which a clone call cannot do. Nor is a
    # template's controller exchanged by the call, and data disks never hang on one of another type than the wished.
    swaps = any(change.what == "data_controller" and change.before for change in rest)
    late = tuple(
        change
        for change in rest
        if (upgrade and change.what.startswith("gpu[") and change.after)
        or (swaps and change.what.startswith(("data_controller", "disks.")))
    )
    early = tuple(change for change in rest if change not in late)
    return [Operation("clone", early), *_configure((*upgrade, *late))]


def _inherited(source: VmActual, wished: Mapping[str, str]) -> list[Change]:
    """What the source's guest was told, and the new one must not hear."""
    return [
        Change(f"extra_config.{key}", source.extra_config[key], "", cold=False, secret=vmx.is_secret(key))
        for key in (*vmx.GUEST_DATA, vmx.CUSTOMIZATION)
        if source.extra_config.get(key) and key not in wished
    ]


def _deploy(wish: VmWish, source: VmActual, marks: Marks) -> list[Operation]:
    """Deploying takes a name, networks and notes, and the marks in these; the wish follows at once (docs/adr/0018).

    What the VM has of itself shows only then, so the plan tells what will be, not what it changes.
    """
    known = replace(source, cpus=0, memory_mb=0, extra_config={})
    changes = [replace(change, before=None) for change in compare(wish, known)]
    changes += [Change(f"extra_config.{key}", None, value) for key, value in deployment_marks(wish, marks).items()]
    customizing = wish.customization.method == "spec"
    customize = _customize(wish, replace(known, extra_config=deployment_marks(wish, marks)))
    return [
        Operation("deploy"),
        *_configure(changes),
        *customize,
        *_towards_power(wish, "poweredOff", customizing=customizing),
    ]


def _customize(wish: VmWish, actual: VmActual) -> list[Operation]:
    """A deployed VM gets its specification by a call of its own, which needs the wished cards and a VM that is off."""
    name = wish.customization.spec
    planned = f"planned {name}"
    if wish.customization.method != "spec" or actual.extra_config.get(vmx.CUSTOMIZATION) != planned:
        return []
    note = Operation("reconfigure", (Change(f"extra_config.{vmx.CUSTOMIZATION}", None, f"pending {name}"),))
    return [note] if actual.customizing else [Operation("customize"), note]


def _unfinished(wish: VmWish, actual: VmActual) -> list[Change]:
    """What a deployed VM needs beyond the wish: its marks as keys, and none of them in its notes any more."""
    if not actual.deployed:
        return []
    changes = _inherited(actual, extra_config(wish) | dict(actual.deployed))
    changes += [Change(f"extra_config.{key}", None, value, cold=False) for key, value in actual.deployed.items()]
    return [*changes, Change("annotation", None, actual.notes, cold=False)]


def all_marks(wish: VmWish, marks: Marks) -> dict[str, str]:
    """The marks of a VM that is made now."""
    return {
        vmx.OWNER: marks.owner,
        vmx.RUN: marks.run,
        vmx.EXPIRES: marks.expires,
        vmx.WISH: ownership.digest(wish),
        vmx.TEMPLATE: str(wish.template),
    }


def deployment_marks(wish: VmWish, marks: Marks) -> dict[str, str]:
    """The marks of a VM that is deployed: a customization specification, if there is one, is still to be given."""
    spec = {vmx.CUSTOMIZATION: f"planned {wish.customization.spec}"} if wish.customization.method == "spec" else {}
    return all_marks(wish, marks) | spec


def _mark_changes(wish: VmWish, marks: Marks) -> list[Change]:
    """The marks of a VM that is taken over: nobody knows what it was made from."""
    rows = all_marks(wish, marks).items()
    return [Change(f"extra_config.{key}", None, value, cold=False) for key, value in rows if key != vmx.TEMPLATE]


def _around_changes(
    wish: VmWish, actual: VmActual, changes: tuple[Change, ...], reconfigure: list[Operation]
) -> list[Operation]:
    """Power steps before and after the changes of a VM that shall not be off.

    A suspended VM takes no changes, so it is resumed for them.
    """
    pending = actual.extra_config.get(vmx.CUSTOMIZATION, "").startswith(("pending", "planned"))
    customizing = pending and wish.customization.method == "spec"
    resume = [Operation("power_on")] if actual.power == "suspended" and reconfigure else []
    if _needs_power_cycle(wish, actual, changes):
        rest = _towards_power(wish, "poweredOff", customizing=customizing)
        return [*resume, Operation("power_off"), *reconfigure, *rest]
    power = "poweredOn" if resume else actual.power
    return [*resume, *reconfigure, *_towards_power(wish, power, actual.addresses, customizing=customizing)]


def _towards_power(
    wish: VmWish, power: str, addresses: Iterable[str] = (), *, customizing: bool = False
) -> list[Operation]:
    """From a power state to the wished one.

    A guest is customized and has an address before it is suspended, so that it has started.
    """
    wanted = wish.lifecycle.power
    if wanted == "off" or (wanted, power) == ("suspended", "suspended"):
        return []
    up = [] if power == "poweredOn" else [Operation("power_on")]
    waits = [Operation("wait_customized")] if customizing else []
    reached = not waits and power == "poweredOn" and routable(addresses, wish.lifecycle.address_networks)
    wait = [] if reached else _wait_address(wish)
    return up + waits + wait + ([Operation("suspend")] if wanted == "suspended" else [])


def _wait_address(wish: VmWish) -> list[Operation]:
    return [Operation("wait_address")] if wish.lifecycle.wait_seconds else []


def check_owner(actual: VmActual, owner: str) -> None:
    """Raise TestbedError (``not_owner``) unless the VM carries our mark."""
    if actual.owner == owner and not actual.is_template:
        return
    holder = f"'{actual.owner}'" if actual.owner else "no mark of the testbed"
    raise one_problem(
        "not_owner",
        f"VM '{actual.name}' ({actual.moid})",
        f"a VM that '{owner}' owns ({vmx.OWNER})",
        "a template" if actual.is_template else holder,
        "rename the host in the inventory, "
        + ("or take the VM over with adopt: true" if ownership.adoptable(actual) else "or remove that VM by hand")
        + " if it is really yours",
    )


def _check_source(wish: VmWish, actual: VmActual) -> None:
    made_from = actual.extra_config.get(vmx.TEMPLATE, "")
    if made_from and made_from != str(wish.template):
        raise one_problem(
            "other_template",
            f"{wish.name}: vm_template",
            f"{made_from}, from which the VM was made",
            str(wish.template),
            f"remove the VM first: ansible-playbook playbooks/teardown.yml --limit {wish.name}",
        )


def customized(wish: VmWish) -> Operation:
    """Notes that the guest has been customized, so that no later run waits for it."""
    name = wish.customization.spec
    change = Change(f"extra_config.{vmx.CUSTOMIZATION}", f"pending {name}", f"done {name}", cold=False)
    return Operation("reconfigure", (change,))


def _check_customization(wish: VmWish, actual: VmActual) -> None:
    """A guest is customized once: another specification later would be a wish that nobody carries out."""
    if wish.customization.method != "spec" or not actual.extra_config.get(vmx.TEMPLATE):
        return
    made_with = actual.extra_config.get(vmx.CUSTOMIZATION, "").partition(" ")[2]
    if made_with != wish.customization.spec:
        raise one_problem(
            "other_customization",
            f"{wish.name}: vm_customization.spec",
            f"'{made_with}', with which the VM was made" if made_with else "none, as when the VM was made",
            f"'{wish.customization.spec}'",
            f"remove the VM first: ansible-playbook playbooks/teardown.yml --limit {wish.name}",
        )


def _needs_power_cycle(wish: VmWish, actual: VmActual, changes: tuple[Change, ...]) -> bool:
    """Whether the VM has to be off for the changes; TestbedError (``needs_power_off``) unless the wish allows it."""
    cold = [change for change in changes if change.cold]
    if actual.power == "poweredOff" or not cold:
        return False
    if wish.lifecycle.power_cycle == "allowed":
        return True
    raise TestbedError(
        "needs_power_off",
        [
            Problem(
                f"{wish.name}: {change.what}",
                str(change.shown(change.after)),
                f"{change.shown(change.before)} on a VM that is {actual.power}",
                "power the VM off, which this change needs, or set vm_lifecycle.power_cycle to allowed, and run again",
            )
            for change in cold
        ],
    )


def plan_reboot(
    actual: VmActual, owner: str, done: Iterable[Operation], networks: Iterable[str] = ()
) -> list[Operation]:
    """One power cycle of an existing VM; ``done`` is what this call has done to it already."""
    if not actual.ready:
        return [Operation("wait_settled")]
    check_owner(actual, owner)
    if any(operation.kind == "power_on" for operation in done):
        return [] if routable(actual.addresses, networks) else [Operation("wait_address")]
    off = [] if actual.power == "poweredOff" else [Operation("power_off")]
    return [*off, Operation("power_on"), Operation("wait_address")]


def plan_removal(actual: VmActual, owner: str) -> list[Operation]:
    """What removes the VM; raises TestbedError (``not_owner``) for somebody else's."""
    if not actual.ready:
        return [Operation("wait_settled")]
    check_owner(actual, owner)
    off = [] if actual.power == "poweredOff" else [Operation("power_off")]
    return [*off, Operation("destroy")]


def diff(name: str, operations: list[Operation]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Before and after of one VM for Ansible's diff, secrets replaced by their digest."""
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    for operation in operations:
        if operation.kind in ("clone", "deploy"):
            before["state"], after["state"] = "absent", "present"
        elif operation.kind in POWER_AFTER:
            # of several power steps, the first one says what was and the last one what will be
            before.setdefault("power", "off" if operation.kind == "power_on" else "on")
            after["power"] = POWER_AFTER[operation.kind]
        elif operation.kind == "destroy":
            before["state"], after["state"] = "present", "absent"
        for change in operation.changes:
            # of what a clone gets, the template's value says nothing; of what it does not take over, everything
            if change.before is not None and (operation.kind != "clone" or change.after is None):
                before[change.what] = change.shown(change.before)
            after[change.what] = change.shown(change.after)
    if "power" in after and before["power"] == after["power"]:
        after["power"] += " again"
    return {name: before}, {name: after}


def changes_anything(operations: list[Operation]) -> bool:
    """Whether the plan writes to vCenter (waiting does not)."""
    return any(not operation.kind.startswith("wait_") for operation in operations)


def marks_of(actual: VmActual) -> Mapping[str, str]:
    """The marks of a VM under their short names."""
    return {
        key.removeprefix("nanobanana."): actual.extra_config.get(key, "")
        for key in (vmx.OWNER, vmx.RUN, vmx.EXPIRES, vmx.WISH)
    }
