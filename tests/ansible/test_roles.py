"""What can be said about the roles without a host."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from sizing.facts.catalogue import load_facts

ANSIBLE = Path(__file__).resolve().parents[2] / "ansible"
ROLES = sorted(path for path in (ANSIBLE / "roles").iterdir() if path.is_dir())
PLAYBOOK = yaml.safe_load((ANSIBLE / "home-server.yml").read_text())


def _readme_module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ansible_readme", ANSIBLE / "readme.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _yaml(path: Path) -> dict[str, object]:
    return (yaml.safe_load(path.read_text()) or {}) if path.exists() else {}


def _options(role: Path) -> dict[str, dict[str, object]]:
    specs = yaml.safe_load((role / "meta/argument_specs.yml").read_text())
    options: dict[str, dict[str, object]] = specs["argument_specs"]["main"]["options"]
    return options


def _named(role: Path, files: str) -> set[str]:
    """Variables of the role's own prefix that appear in its *files*."""
    pattern = re.compile(rf"(?<![\w/.\-]){role.name}_\w+")
    texts = (path.read_text() for path in role.glob(files) if path.is_file())
    return {found for text in texts for found in pattern.findall(text)}


def _registered(role: Path) -> set[str]:
    """Variables that the role's tasks themselves make: registered, set, or local to a task."""
    made: set[str] = set()

    def walk(node: object) -> None:
        if isinstance(node, list):
            for item in node:
                walk(item)
        elif isinstance(node, dict):
            made.update([node["register"]] if isinstance(node.get("register"), str) else [])
            made.update(node.get("ansible.builtin.set_fact") or {})
            made.update(node.get("vars") or {} if isinstance(node.get("vars"), dict) else {})
            made.update([node["loop_control"]["loop_var"]] if "loop_var" in node.get("loop_control", {}) else [])
            for value in node.values():
                walk(value)

    for path in role.glob("tasks/*.yml"):
        walk(yaml.safe_load(path.read_text()))
    return made


def _ansible(*arguments: str) -> str:
    """``ansible-playbook home-server.yml`` in ``ansible/``, with the inventory that its ansible.cfg names."""
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "home-server.yml", *arguments]
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1"}
    done = subprocess.run(command, cwd=ANSIBLE, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return done.stdout


def test_the_playbook_is_valid() -> None:
    assert "playbook: home-server.yml" in _ansible("--syntax-check")


def test_the_committed_inventory_is_found_and_has_the_host_of_its_plan() -> None:
    assert "hosts (1):\n      home-server" in _ansible("--list-hosts")


def test_every_variable_of_the_inventory_template_belongs_to_a_role() -> None:
    known = {name for role in ROLES for name in _options(role)}
    template = (ANSIBLE.parent / "templates/inventory.yml.j2").read_text()
    given = set(re.findall(r"^    ([a-z0-9_]+):", template, flags=re.MULTILINE))
    required = {name for role in ROLES for name, option in _options(role).items() if option.get("required")}
    assert given <= known
    assert {name for name in required if not name.startswith("pinned_packages_")} <= given


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_every_variable_a_role_uses_is_declared(role: Path) -> None:
    declared = set(_options(role)) | _registered(role) | set(_yaml(role / "vars/main.yml"))
    assert _named(role, "[dtv]*/*") - declared == set()


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_every_declared_variable_is_used_and_is_either_required_or_has_a_default(role: Path) -> None:
    options, defaults = _options(role), _yaml(role / "defaults/main.yml")
    assert set(options) - _named(role, "[dtv]*/*") == set()
    assert {name for name, option in options.items() if not option.get("required")} == set(defaults)


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_the_readme_of_a_role_is_what_its_arguments_say(role: Path) -> None:
    assert (role / "README.md").read_text() == _readme_module().render(role)


def test_every_role_of_the_play_that_has_a_preflight_is_asked_first() -> None:
    roles = [entry["role"] for entry in PLAYBOOK[0]["roles"]]
    asked = _yaml(ANSIBLE / "roles/preflight/defaults/main.yml")["preflight_roles"]
    assert roles[0] == "preflight"
    assert asked == [role for role in roles if (ANSIBLE / "roles" / role / "tasks/preflight.yml").exists()]


def test_the_driver_runs_every_card_and_engine_that_can_be_planned_but_one_that_preflight_refuses() -> None:
    facts = load_facts()
    branch = int(str(_yaml(ANSIBLE / "roles/nvidia_driver/defaults/main.yml")["nvidia_driver_branch"]))
    needed = {gpu.id: gpu.min_driver_branch for gpu in facts.gpus.values()}
    needed |= {
        f"{engine.id} {release.version}": release.min_driver_branch
        for engine in facts.engines.values()
        for release in engine.versions
    }
    assert {name for name, oldest in needed.items() if oldest > branch} == {"RTX PRO 4500 Blackwell Server"}


def test_tasks_that_see_the_key_do_not_log_it() -> None:
    def tasks(node: object) -> list[dict[str, object]]:
        if isinstance(node, list):
            return [found for item in node for found in tasks(item)]
        if isinstance(node, dict):
            nested = [found for key in ("block", "rescue") for found in tasks(node.get(key, []))]
            return nested or [node]
        return []

    for path in (ANSIBLE / "roles/serve/tasks").glob("*.yml"):
        for task in tasks(yaml.safe_load(path.read_text())):
            sees = re.search(r"serve_key\.|data\.api-key|stringData|Authorization", yaml.safe_dump(task))
            assert not sees or task.get("no_log") is True, f"{path.name}: {task['name']}"


def test_nothing_but_ansible_builtin_modules_is_used() -> None:
    for path in (*ANSIBLE.glob("roles/*/tasks/*.yml"), *ANSIBLE.glob("roles/*/handlers/*.yml")):
        used = re.findall(r"^ *(?:- )?([a-z_]+\.[a-z_.]+):", path.read_text(), flags=re.MULTILINE)
        assert [name for name in used if not name.startswith("ansible.builtin.")] == [], path
