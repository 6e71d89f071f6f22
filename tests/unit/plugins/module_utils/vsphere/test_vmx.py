# SPDX-License-Identifier: GPL-3.0-or-later
"""VMX keys: compared by meaning, removed when the wish forgets them, left alone when they are not ours."""

from __future__ import annotations

import re
from typing import Any

import pytest
from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import TestbedError
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import vmx
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.compare import compare, extra_config
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.model import VmActual
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.wish import VmWish, parse_wishes


def wished(userdata: str = "", **tweaks: Any) -> VmWish:
    raw = {"name": "nb-1", "template": {"library": "lib", "item": "base"}, "cpus": 1, "memory_mb": 4}
    return parse_wishes([raw | {"tweaks": tweaks, "customization": {"userdata": userdata}}])[0]


def found(keys: dict[str, str]) -> VmActual:
    return VmActual("vm-1", "nb-1", cpus=1, memory_mb=4, memory_reservation_mb=4, memory_locked=True, extra_config=keys)


def key_changes(wish: VmWish, keys: dict[str, str]) -> dict[str, Any]:
    """Without the mark itself, which changes whenever the set of keys does."""
    changes = {change.what.removeprefix("extra_config."): change.after for change in compare(wish, found(keys))}
    changes.pop(vmx.KEYS, None)
    return changes


@pytest.mark.parametrize(
    ("key", "wanted", "actual", "equal"),
    [
        ("mks.enable3d", "FALSE", "false", True),
        ("mks.enable3d", "FALSE", None, False),
        ("sched.mem.maxmemctl", "0", "00", True),
        ("sched.mem.maxmemctl", "0", "nonsense", False),
        ("user.flag", "true", "TRUE", True),
        ("user.text", "a", "A", False),
        ("user.text", "", None, True),
        ("guestinfo.userdata.encoding", "base64", "b64", True),
        ("guestinfo.userdata.encoding", "gzip+base64", "gz+b64", True),
        ("guestinfo.userdata.encoding", "base64", "gzip+base64", False),
    ],
)
def test_same(key: str, wanted: str, actual: str | None, equal: bool) -> None:
    assert vmx.same(key, wanted, actual) is equal


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        ({}, {}, {}),
        ({}, {"balloon": True}, {"sched.mem.maxmemctl": None, "mem.memballoon": None}),
        ({}, {"page_sharing": True}, {"sched.mem.pshare.enable": None}),
        ({}, {"accel_3d": True}, {"mks.enable3d": None}),
        ({"extra_config": {"a": "1", "b": "2"}}, {"extra_config": {"b": "3"}}, {"a": None, "b": "3"}),
        ({"extra_config": {"a": "1"}}, {"extra_config": {"a": None}}, {"a": ""}),
        ({"extra_config": {"numa.autosize.cookie": "1"}}, {}, {}),
        ({"accel_3d": True}, {}, {"mks.enable3d": "FALSE"}),
    ],
)
def test_a_key_that_leaves_the_wish_leaves_the_vm(
    before: dict[str, Any], now: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert key_changes(wished(**now), extra_config(wished(**before))) == expected


def test_keys_that_fleet_never_wrote_stay() -> None:
    theirs = {"svga.present": "TRUE", "numa.autosize.cookie": "40042", "sched.swap.derivedName": "/vmfs/x.vswp"}
    assert key_changes(wished(), extra_config(wished()) | theirs) == {}


def test_a_vm_without_the_mark_gets_it_and_loses_nothing() -> None:
    keys = {key: value for key, value in extra_config(wished()).items() if key != vmx.KEYS}
    changes = compare(wished(balloon=True), found(keys))
    assert [(change.what, change.cold) for change in changes] == [(f"extra_config.{vmx.KEYS}", False)]


def test_a_key_that_esxi_rewrites_is_written_by_the_clone_and_not_compared_later() -> None:
    wish = wished(extra_config={"numa.autosize.vcpu.maxPerVirtualNode": "4"})
    assert "numa.autosize.vcpu.maxPerVirtualNode" in key_changes(wish, {})
    assert key_changes(wish, extra_config(wish) | {"numa.autosize.vcpu.maxPerVirtualNode": "8"}) == {}


def test_user_data_that_the_guest_blanked_is_written_again_only_when_the_wish_changes() -> None:
    keys = extra_config(wished("one")) | {"guestinfo.userdata": "---", "guestinfo.userdata.encoding": ""}
    assert key_changes(wished("one"), keys) == {}
    changed = key_changes(wished("two"), keys)
    assert set(changed) == {"guestinfo.metadata", "guestinfo.userdata", "guestinfo.userdata.encoding"}


def test_removed_user_data_is_secret_in_the_diff() -> None:
    keys = extra_config(wished("one"))
    removed = next(change for change in compare(wished(), found(keys)) if change.what.endswith("guestinfo.userdata"))
    assert removed.after is None
    assert str(removed.shown(removed.before)).startswith("(not shown")


def test_a_key_with_a_blank_is_refused_because_the_mark_could_not_hold_it() -> None:
    with pytest.raises(TestbedError) as caught:
        wished(extra_config={"a b": "1"})
    assert "a key without blanks" in str(caught.value)


def test_each_key_is_declared_once_with_its_meaning_and_source() -> None:
    assert len(vmx.BY_KEY) == len(vmx.TABLE)
    for row in vmx.TABLE:
        assert re.fullmatch(r"[A-Za-z0-9_.]+", row.key)
        assert row.meaning
        assert row.source
