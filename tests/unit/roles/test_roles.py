# SPDX-License-Identifier: GPL-3.0-or-later
"""Every role: its variables are documented, prefixed and the same wherever they are written."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.roles import role_tables

ROLES = sorted(path for path in role_tables.ROLES.iterdir() if path.is_dir())
each_role = pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)


def data(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else None


def defaults(role: Path) -> dict[str, Any]:
    return data(role / "defaults/main.yml") or {}


def tasks(role: Path) -> list[dict[str, Any]]:
    """All tasks of a role, those in blocks too."""
    found = []
    queue = [task for path in sorted((role / "tasks").glob("*.yml")) for task in data(path) or []]
    while queue:
        task = queue.pop(0)
        found.append(task)
        for part in ("block", "rescue", "always"):
            queue.extend(task.get(part, []))
    return found


@each_role
def test_defaults_and_argument_specs_have_the_same_keys_and_values(role: Path) -> None:
    documented = {name: option["default"] for name, option in role_tables.options(role).items() if "default" in option}
    assert documented == defaults(role)


@each_role
def test_public_variables_carry_the_roles_name_and_internal_ones_two_underscores(role: Path) -> None:
    assert [name for name in role_tables.options(role) if not name.startswith(f"{role.name}_")] == []
    internal = {name for path in (role / "vars").glob("*.yml") for name in data(path)}
    internal |= {task["register"] for task in tasks(role) if "register" in task}
    internal |= {name for task in tasks(role) for name in task.get("vars", {})}
    # How a task connects is said by Ansible's own variables.
    assert [name for name in internal if not name.startswith((f"__{role.name}_", "ansible_"))] == []


@each_role
def test_no_task_hides_a_failure(role: Path) -> None:
    hiding = [task.get("name") for task in tasks(role) if task.get("ignore_errors") or task.get("failed_when") is False]
    assert hiding == []


@each_role
def test_no_role_knows_about_the_lab(role: Path) -> None:
    words = re.compile(r"\blab\b|\blab_", re.IGNORECASE)
    files = [path for path in role.rglob("*") if path.is_file() and path.suffix in (".yml", ".j2", ".py")]
    assert [str(path) for path in files if words.search(path.read_text(encoding="utf-8"))] == []


@each_role
def test_task_files_stay_readable(role: Path) -> None:
    sizes = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in (role / "tasks").glob("*.yml")}
    assert sizes
    assert max(sizes.values()) <= 120


@each_role
def test_every_supported_family_has_the_same_variables(role: Path) -> None:
    families = {path.name: set(data(path)) for path in (role / "vars").glob("[A-Z]*.yml")}
    assert len({frozenset(names) for names in families.values()}) <= 1, families


def test_one_variable_changes_the_user_of_all_roles() -> None:
    users = {name: value for role in ROLES for name, value in defaults(role).items() if name.endswith("_user")}
    assert len(users) >= 4
    assert set(users.values()) == {"{{ testbed_user | default('tester') }}"}


def test_the_roles_agree_on_the_environment() -> None:
    venvs = [value for role in ROLES for name, value in defaults(role).items() if name.endswith("_venv")]
    assert len(venvs) >= 3
    assert {re.sub(r"\{\{ \w+_user }}", "USER", venv) for venv in venvs} == {"/home/USER/nano-env"}


@each_role
def test_the_readmes_table_is_up_to_date(role: Path) -> None:
    text = (role / "README.md").read_text(encoding="utf-8")
    assert text == role_tables.updated(role), "stale: run python tests/unit/roles/role_tables.py"
