"""Tasks of the roles on no host: what they make of what programs answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.ansible.play import ANSIBLE

FINGERPRINT, OTHER = "C95B321B61E88C1809C4F759DDCAE044F796ECB0", "EB693B3035CD5710E231E123A4B469963BF863CC"
HELM = """#!/bin/sh
echo "$1" >> {calls}
[ "$1" = status ] || exit 0
echo "{complaint}" >&2
exit 1
"""
SERVE = {
    "serve_release": "qwen",
    "serve_namespace": "qwen",
    "serve_folder": "/nowhere",
    "serve_kubectl": "false",
    "serve_chart_file": "/nowhere/chart.tgz",
    "serve_description": "of-this-plan",
    "serve_ready_limit_s": 1,
}


def played(folder: Path, tasks: list[Any], variables: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    """*tasks* on this machine; programs in *folder* come before those of the system."""
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": tasks}
    (folder / "play.yml").write_text(yaml.safe_dump([play]))
    variables = {"ansible_python_interpreter": sys.executable, **variables}
    playbook = Path(sys.executable).with_name("ansible-playbook")
    arguments = ["play.yml", "-i", "localhost,", "-e", json.dumps(variables)]
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "PATH": f"{folder}:{os.environ['PATH']}"}
    return subprocess.run(
        [playbook, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("complaint", "calls"),
    [
        ("Error: release: not found", ["status", "upgrade"]),
        ("Error: Kubernetes cluster unreachable", ["status"]),
    ],
)
def test_only_a_release_that_is_not_there_is_taken_for_none(tmp_path: Path, complaint: str, calls: list[str]) -> None:
    helm, asked = tmp_path / "helm", tmp_path / "calls"
    helm.write_text(HELM.format(calls=asked, complaint=complaint))
    helm.chmod(0o755)
    release = {"ansible.builtin.include_tasks": str(ANSIBLE / "roles/serve/tasks/release.yml")}
    done = played(tmp_path, [release], SERVE)
    assert asked.read_text().split() == calls, done.stdout
    assert (done.returncode == 0) == ("upgrade" in calls), done.stdout


def test_a_file_with_a_second_key_is_not_believed_though_the_first_is_right(tmp_path: Path) -> None:
    keys = {"the key": [FINGERPRINT], "another": [OTHER], "both": [FINGERPRINT, OTHER], "none": []}
    tasks = yaml.safe_load((ANSIBLE / "roles/pinned_packages/tasks/main.yml").read_text())
    [believe] = [task for task in tasks if "ansible.builtin.assert" in task]
    every: list[Any] = []
    for name, prints in keys.items():
        lines = [line for found in prints for line in ("pub:-:4096:1:::::::scSC:", f"fpr:::::::::{found}:")]
        shown = {"pinned_packages_shown": {"stdout_lines": lines}}
        every.append(
            {"block": [believe, {"ansible.builtin.debug": {"msg": f"believed: {name}."}}], "vars": shown}
            | {"rescue": [{"ansible.builtin.debug": {"msg": f"refused: {name}."}}]}
        )
    known = {"pinned_packages_name": "kit", "pinned_packages_key_url": "https://key.example"}
    done = played(tmp_path, every, {**known, "pinned_packages_key_fingerprint": FINGERPRINT})
    assert done.returncode == 0, done.stdout + done.stderr
    assert {name for name in keys if f"believed: {name}." in done.stdout} == {"the key"}
    assert {name for name in keys if f"refused: {name}." in done.stdout} == {"another", "both", "none"}
