# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad input gets one clear error before anything is made: exit code not 0, no traceback, nothing written."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from pathlib import Path

import pytest

from tests.integration.conftest import ROOT, Lab

pytestmark = pytest.mark.integration


def refused(lab: Lab, *arguments: str, parts: list[str], **env: str) -> str:
    """The output of a run that has to fail with these words, once, and without writing anything."""
    since = len(lab.calls())
    done = lab.playbook(*(arguments or ("site.yml",)), env=env)
    output = done.stdout + done.stderr
    assert done.returncode != 0, output
    assert "Traceback" not in output, output
    flat = re.sub(r"\s+", " ", output)
    for part in parts:
        assert part in flat, output
    assert output.count("[ERROR]") == 1, output
    assert [call["method"] for call in lab.calls()[since:] if call["write"]] == []
    assert lab.password not in output
    return output


def extra(**variables: object) -> list[str]:
    return ["site.yml", "-e", json.dumps(variables)]


def test_unknown_template(lab: Lab) -> None:
    wrong = {"library": "nano-banana", "item": "nano-banana-basline-template"}
    parts = ["no item 'nano-banana-basline-template'", "fix Did you mean 'nano-banana-baseline-template'?"]
    refused(lab, *extra(vm_template=wrong), parts=parts)


def test_memory_that_is_no_number(lab: Lab) -> None:
    parts = ["nb-stress-01: vm_memory_mb: expected a whole number of MB", "'6 GB of'", "written 6144"]
    refused(lab, *extra(vm_memory_mb="6 GB of"), parts=parts)


def test_duplicate_vm_name(lab: Lab, tmp_path: Path) -> None:
    inventory = tmp_path / "twice"
    inventory.mkdir()
    (inventory / "hosts.yml").write_text("baseline: {hosts: {nb-01: }}\nstress: {hosts: {NB-01: }}\n")
    for name in ("group_vars",):
        (inventory / name).symlink_to(ROOT / "inventories/lab" / name)
    parts = ["VM name 'nb-01': expected each name once", "nb-01 and NB-01"]
    refused(lab, "-i", str(inventory), "site.yml", parts=parts)


def test_unreachable_vcenter(lab: Lab) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    parts = ["found connection refused expected a server on that port", f"no session with vCenter 127.0.0.1:{port}"]
    refused(lab, *extra(vsphere_port=port), parts=parts)


def test_unknown_vcenter_host(lab: Lab) -> None:
    refused(lab, *extra(vsphere_hostname="no-such-host.invalid"), parts=["expected a host name that resolves"])


def test_wrong_password(lab: Lab) -> None:
    output = refused(lab, *extra(vsphere_password="not-the-pass-word"), parts=["user or password refused"])
    assert "not-the-pass-word" not in output


def test_untrusted_certificate(lab: Lab) -> None:
    parts = ["expected a certificate that is trusted here", "its authority is not trusted", "vsphere_ca_file"]
    refused(lab, *extra(vsphere_ca_file=""), parts=parts)


def test_ca_file_that_is_not_there(lab: Lab) -> None:
    refused(
        lab,
        *extra(vsphere_ca_file="/nonexistent/ca.pem"),
        parts=["because of vsphere_ca_file /nonexistent/ca.pem", "found no such file"],
    )


def test_a_web_server_that_is_no_vcenter(lab: Lab, tmp_path: Path) -> None:
    """A TLS server with the lab's own certificate that answers every request with 404."""
    program = (
        "import http.server, ssl, sys\n"
        "server = http.server.HTTPServer(('127.0.0.1', 0), http.server.BaseHTTPRequestHandler)\n"
        "context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n"
        "context.load_cert_chain(sys.argv[1], sys.argv[2])\n"
        "server.socket = context.wrap_socket(server.socket, server_side=True)\n"
        "print(server.server_port, flush=True)\n"
        "server.serve_forever()\n"
    )
    tls = lab.state / "tls"
    command = ["python3", "-c", program, str(tls / "server.pem"), str(tls / "server.key")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            assert server.stdout is not None
            port = int(server.stdout.readline())
            refused(lab, *extra(vsphere_port=port), parts=["found a web server that is none expected a vCenter server"])
        finally:
            server.terminate()


def test_misspelt_variable(lab: Lab) -> None:
    parts = ["nb-baseline-01: vm_memroy_mb", "did you mean 'vm_memory_mb'?"]
    refused(lab, *extra(vm_memroy_mb=6144), parts=parts)


@pytest.mark.parametrize(
    "playbook", ["site.yml", *(f"playbooks/{verb}.yml" for verb in ("provision", "configure", "verify", "teardown"))]
)
def test_empty_inventory(lab: Lab, playbook: str) -> None:
    parts = ["inventory /dev/null: expected at least one host in the groups baseline, compatibility, stress"]
    refused(lab, "-i", "/dev/null", playbook, parts=parts)


def test_an_empty_inventory_is_refused_whatever_tags_are_asked_for(lab: Lab) -> None:
    parts = ["inventory /dev/null: expected at least one host in the groups baseline, compatibility, stress"]
    refused(lab, "-i", "/dev/null", "playbooks/configure.yml", "--tags", "model", parts=parts)


def test_a_limit_that_names_no_host(lab: Lab) -> None:
    refused(lab, "site.yml", "--limit", "nosuch", parts=["no hosts to target"])


def test_a_limit_that_hits_no_environment(lab: Lab, tmp_path: Path) -> None:
    inventory = tmp_path / "mixed"
    inventory.mkdir()
    (inventory / "hosts.yml").write_text("baseline: {hosts: {nb-01: }}\nother: {hosts: {jump: }}\n")
    parts = ["limit 'other': expected at least one host", "use one of nb-01"]
    refused(lab, "-i", str(inventory), "site.yml", "--limit", "other", parts=parts)


def test_production_as_it_ships(lab: Lab) -> None:
    parts = [
        "inventories/production/group_vars/all/connection.yml:",
        "vsphere_hostname: expected your own value; found the template's FILL_IN",
        "testbed_owner",
    ]
    refused(lab, "-i", "inventories/production", "site.yml", parts=parts)


def test_a_lab_that_does_not_run(lab: Lab, tmp_path: Path) -> None:
    refused(lab, "site.yml", parts=["vsphere_hostname", "make lab-up"], NANOBANANA_LAB_STATE=str(tmp_path / "none"))
