# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path

import pytest

from lab.guests.base import GuestError, Vm
from lab.guests.seed import Seed, make_seed


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def gz(text: str) -> str:
    return base64.b64encode(gzip.compress(text.encode())).decode()


def a_vm(**guestinfo: str) -> Vm:
    """Keyword metadata__encoding becomes guestinfo.metadata.encoding."""
    named = {f"guestinfo.{key.replace('__', '.')}": value for key, value in guestinfo.items()}
    return Vm("vm-7", "nb-01", instance_uuid="5000-1", guestinfo=named)


JSON = '{"instance-id": "i-1", "local-hostname": "web-01"}'
YAML = "instance-id: i-1\nlocal-hostname: web-01\n"


@pytest.mark.parametrize(
    ("metadata", "encoding"),
    [
        (JSON, ""),
        (YAML, ""),
        (b64(JSON), "base64"),
        (b64(YAML), "b64"),
        (b64(YAML)[:10] + "\n" + b64(YAML)[10:], "BASE64"),
        (gz(YAML), "gzip+base64"),
        (gz(JSON), "gz+b64"),
    ],
)
def test_metadata_arrives_in_every_encoding(metadata: str, encoding: str) -> None:
    seed = make_seed(a_vm(metadata=metadata, metadata__encoding=encoding))
    assert json.loads(seed.files["meta-data"]) == {"instance-id": "i-1", "local-hostname": "web-01"}
    assert seed.hostname == "web-01"


@pytest.mark.parametrize(
    ("metadata", "expected", "hostname"),
    [
        ("", {"instance-id": "5000-1"}, None),
        ("hostname: a.b.c", {"instance-id": "5000-1", "hostname": "a.b.c", "local-hostname": "a.b.c"}, "a"),
        ("public-keys-data: |\n  k1\n\n  k2\n", {"instance-id": "5000-1", "public-keys": ["k1", "k2"]}, None),
    ],
)
def test_metadata_is_completed_as_nocloud_needs_it(metadata: str, expected: dict[str, object], hostname: str) -> None:
    seed = make_seed(a_vm(metadata=metadata, userdata="#cloud-config\n"))
    assert json.loads(seed.files["meta-data"]) == expected
    assert seed.hostname == hostname


def test_network_configuration_is_left_out_with_a_remark() -> None:
    seed = make_seed(a_vm(metadata=JSON[:-1] + ', "network": "x", "network.encoding": "base64"}'))
    assert b"network" not in seed.files["meta-data"]
    assert "network" in seed.remarks[0]


def test_user_and_vendor_data_pass_unchanged() -> None:
    script = "#!/bin/sh\necho \u00e4\n"
    seed = make_seed(a_vm(userdata=gz(script), userdata__encoding="gzip+base64", vendordata="#cloud-config\n"))
    assert seed.files["user-data"] == script.encode()
    assert seed.files["vendor-data"] == b"#cloud-config\n"


def test_a_vm_without_guestinfo_or_with_emptied_guestinfo_has_no_seed() -> None:
    assert make_seed(a_vm()) == Seed({})
    assert make_seed(a_vm(metadata="---", userdata="---", metadata__encoding="base64")) == Seed({})


@pytest.mark.parametrize(
    ("metadata", "encoding", "message"),
    [
        ("%%%", "base64", "guestinfo.metadata is not base64"),
        (b64("no gzip"), "gzip+base64", "guestinfo.metadata is not gzip+base64"),
        (gz(YAML)[:40], "gz+b64", "guestinfo.metadata is not gz+b64"),
        (YAML, "rot13", "guestinfo.metadata.encoding is 'rot13', expected base64, gzip+base64 or none"),
        ("a: [", "", "neither YAML nor JSON"),
        ("- a\n- b", "", "must be a mapping, found list"),
    ],
)
def test_unreadable_guestinfo_fails_with_its_key(metadata: str, encoding: str, message: str) -> None:
    with pytest.raises(GuestError) as caught:
        make_seed(a_vm(metadata=metadata, metadata__encoding=encoding))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_writing_a_seed_replaces_the_one_of_before(tmp_path: Path) -> None:
    Seed({"meta-data": b"1", "vendor-data": b"2"}).write(tmp_path / "seed")
    Seed({"meta-data": b"3"}).write(tmp_path / "seed")
    assert {path.name: path.read_bytes() for path in (tmp_path / "seed").iterdir()} == {"meta-data": b"3"}
