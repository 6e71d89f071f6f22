# SPDX-License-Identifier: GPL-3.0-or-later
"""guest.os, guest.machine, guest.python and model.import: tables of what a guest may answer."""

from __future__ import annotations

import pytest
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks import (
    guest_machine,
    guest_os,
    guest_python,
    model_import,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.host import NOT_FOUND, TIMED_OUT, Completed
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.result import (
    FAILED,
    NOT_APPLICABLE,
    PASSED,
    SKIPPED,
    WARNED,
)

UBUNTU = 'PRETTY_NAME="Ubuntu 22.04.4 LTS"\nNAME="Ubuntu"\nVERSION_ID="22.04"\nID=ubuntu\nID_LIKE=debian\n'
DEBIAN = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nNAME="Debian GNU/Linux"\nVERSION_ID="12"\nID=debian\n'
CENTOS = 'NAME="CentOS Linux"\nVERSION="7 (Core)"\nID="centos"\nVERSION_ID="7"\nPRETTY_NAME="CentOS Linux 7 (Core)"\n'
CENTOS_FULL = "CentOS Linux release 7.9.2009 (Core)\n"
ALMA = 'NAME="AlmaLinux"\nID="almalinux"\nVERSION_ID="9.4"\nPRETTY_NAME="AlmaLinux 9.4"\n'


@pytest.mark.parametrize(
    ("wish", "os_release", "redhat_release", "status", "actual"),
    [
        ("Ubuntu 22.04", UBUNTU, None, PASSED, "Ubuntu 22.04.4 LTS"),
        ("ubuntu 22.04", UBUNTU, None, PASSED, "Ubuntu 22.04.4 LTS"),
        ("Ubuntu", UBUNTU, None, PASSED, "Ubuntu 22.04.4 LTS"),
        ("Ubuntu 24.04", UBUNTU, None, FAILED, "Ubuntu 22.04.4 LTS"),
        ("Ubuntu 22.0", UBUNTU, None, FAILED, "Ubuntu 22.04.4 LTS"),
        ("Debian 12", DEBIAN, None, PASSED, "Debian GNU/Linux 12 (bookworm)"),
        ("Debian 1", DEBIAN, None, FAILED, "Debian GNU/Linux 12 (bookworm)"),
        ("Ubuntu 22.04", DEBIAN, None, FAILED, "Debian GNU/Linux 12 (bookworm)"),
        ("CentOS 7.9", CENTOS, CENTOS_FULL, PASSED, "CentOS Linux release 7.9.2009 (Core)"),
        ("CentOS 7.6", CENTOS, CENTOS_FULL, FAILED, "CentOS Linux release 7.9.2009 (Core)"),
        ("CentOS 7", CENTOS, CENTOS_FULL, PASSED, "CentOS Linux release 7.9.2009 (Core)"),
        ("CentOS 7.9", CENTOS, None, FAILED, "CentOS Linux 7 (Core)"),
        (
            "AlmaLinux 9",
            ALMA,
            "AlmaLinux release 9.4 (Seafoam Ocelot)",
            PASSED,
            "AlmaLinux release 9.4 (Seafoam Ocelot)",
        ),
        ("Windows Server 2019", DEBIAN, None, FAILED, "Debian GNU/Linux 12 (bookworm)"),
        ("Ubuntu 22.04", None, None, FAILED, "no /etc/os-release"),
        ("", UBUNTU, None, NOT_APPLICABLE, ""),
    ],
)
def test_the_guests_own_words_decide_about_its_system(
    wish: str, os_release: str | None, redhat_release: str | None, status: str, actual: str
) -> None:
    outcome = guest_os.judge(wish, os_release, redhat_release, allow_stand_in=False)
    assert (outcome.status, outcome.actual) == (status, actual)


def test_a_stand_in_is_a_warning_that_names_both() -> None:
    outcome = guest_os.judge("Windows Server 2019", DEBIAN, None, allow_stand_in=True)
    assert outcome.status == WARNED
    assert outcome.detail == "Debian GNU/Linux 12 (bookworm) stands in for Windows Server 2019"
    assert outcome.evidence["stand_in"] is True


def test_the_wished_system_is_no_stand_in_even_where_one_is_allowed() -> None:
    outcome = guest_os.judge("Ubuntu 22.04", UBUNTU, None, allow_stand_in=True)
    assert (outcome.status, outcome.evidence["stand_in"]) == (PASSED, False)


def test_os_release_is_read_with_quotes_comments_and_noise() -> None:
    text = '# comment\n\nNAME="A \\"B\\""\nVERSION_ID=\nID=x\nnot an assignment\nBUG="open\n'
    assert guest_os.parse_os_release(text) == {"NAME": 'A "B"', "VERSION_ID": "", "ID": "x"}


@pytest.mark.parametrize(
    ("wanted", "answer", "check_mode", "status", "actual"),
    [
        ("3.10.12", Completed(0, "Python 3.10.12\n"), False, PASSED, "Python 3.10.12"),
        ("", Completed(0, "Python 3.12.1\n"), False, PASSED, "Python 3.12.1"),
        ("3.10.12", Completed(0, "Python 3.11.2\n"), False, WARNED, "Python 3.11.2"),
        ("3.10.12", Completed(0, "Python 3.14.0rc1\n"), False, WARNED, "Python 3.14.0rc1"),
        ("3.6.8", Completed(0, "Python 3.6.8\n"), False, FAILED, "Python 3.6.8"),
        ("", Completed(0, err="Python 2.7.18\n"), False, FAILED, "Python 2.7.18"),
        ("3.10.12", Completed(NOT_FOUND, err="p: No such file or directory"), False, FAILED, "no p"),
        ("3.10.12", Completed(NOT_FOUND, err="p: No such file or directory"), True, SKIPPED, ""),
        ("3.10.12", Completed(1, err="cannot open shared object"), False, FAILED, "cannot open shared object"),
        ("3.10.12", Completed(0, "hello"), False, FAILED, "hello"),
    ],
)
def test_the_environments_python(wanted: str, answer: Completed, check_mode: bool, status: str, actual: str) -> None:
    outcome = guest_python.judge(wanted, "p", answer, check_mode)
    assert (outcome.status, outcome.actual) == (status, actual)


NO_MODULE = Completed(1, err="Traceback ...\nModuleNotFoundError: No module named 'nano_banana'\n")
NO_CUDNN = Completed(1, err="Traceback ...\nOSError: libcudnn.so.8: cannot open shared object file\n")


@pytest.mark.parametrize(
    ("answer", "check_mode", "status", "word"),
    [
        (Completed(0, "0.1.0\n/home/x/__init__.py\n"), False, PASSED, ""),
        (NO_MODULE, False, FAILED, "status 1"),
        (NO_MODULE, True, SKIPPED, "configure would install it"),
        (NO_CUDNN, False, FAILED, "cuDNN"),
        (NO_CUDNN, True, FAILED, "cuDNN"),
        (Completed(0, "\n"), False, FAILED, "no version"),
        (Completed(-9), False, FAILED, "status -9"),
        (Completed(TIMED_OUT), False, FAILED, "within 60 s"),
    ],
)
def test_the_import_of_the_engine(answer: Completed, check_mode: bool, status: str, word: str) -> None:
    outcome = model_import.judge(answer, True, check_mode, {})
    assert outcome.status == status
    assert word in outcome.detail


def test_a_profile_without_the_engine_has_no_import_to_check() -> None:
    assert model_import.judge(NO_MODULE, False, False, {}).status == NOT_APPLICABLE


def test_an_import_that_works_says_which_version_and_file() -> None:
    outcome = model_import.judge(Completed(0, "0.1.0\n/venv/nano_banana/__init__.py\n"), True, False, {})
    assert outcome.actual == "nano_banana 0.1.0"
    assert outcome.evidence == {"engine": "0.1.0", "file": "/venv/nano_banana/__init__.py"}


@pytest.mark.parametrize(
    ("answer", "allowed", "status", "actual"),
    [
        (Completed(0, "vmware\n"), False, PASSED, "a VM on VMware"),
        (Completed(0, "podman\n"), True, WARNED, "a container (podman)"),
        (Completed(0, "podman\n"), False, FAILED, "a container (podman)"),
        (Completed(0, "kvm\n"), True, WARNED, "another VM (kvm)"),
        (Completed(0, "kvm\n"), False, FAILED, "another VM (kvm)"),
        (Completed(1, "none\n"), False, FAILED, "a bare machine"),
        (Completed(NOT_FOUND, err="systemd-detect-virt: No such file"), False, SKIPPED, ""),
        (Completed(TIMED_OUT), False, SKIPPED, ""),
    ],
)
def test_the_guest_says_what_machine_it_is(answer: Completed, allowed: bool, status: str, actual: str) -> None:
    outcome = guest_machine.judge(answer, allowed)
    assert (outcome.status, outcome.actual) == (status, actual)
