"""
Every command of the README and the docs is executed by a test: the quick ones here, each in the checkout; the others
in the lane that is named, whose test must contain the command's own words.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "ansible/README.md",
    ROOT / "helm/qwen/README.md",
]
ELSEWHERE = {
    "make demo": ("tests/demo/test_demo.py", '"-m", "demo"'),
    "make test": (".ci/run", "make test"),
    "pulumi up --stack prod-qwen3-8b": ("tests/infra/stack.py", '"up", "--stack"'),
    "cd ansible && ansible-playbook home-server.yml": ("tests/ansible/play.py", "home-server.yml"),
    "helm install qwen helm/qwen": ("demo/chat.py", '"install", RELEASE, "helm/qwen", "-f"'),
    "helm test qwen": ("tests/helm/test_on_a_cluster.py", '"test"'),
    "kubectl apply -f infra/device-plugin.yaml": ("tests/infra/test_device_plugin.py", "infra/device-plugin.yaml"),
    ". .venv/bin/activate": ("Makefile", "-m venv"),
}


def commands() -> list[str]:
    """The lines of every ``sh`` block, continuation lines joined, comments left out."""
    found = []
    for page in PAGES:
        for block in re.findall(r"^```sh\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
            joined = block.replace("\\\n", " ")
            found += [line.strip() for line in joined.splitlines() if line.strip() and not line.startswith("#")]
    return found


def elsewhere(command: str) -> tuple[str, str] | None:
    return next((where for start, where in ELSEWHERE.items() if command.startswith(start)), None)


HERE = [command for command in commands() if elsewhere(command) is None]
THERE = [command for command in commands() if elsewhere(command) is not None]


@pytest.mark.parametrize("command", HERE)
def test_a_documented_command_works_as_printed(command: str) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=ROOT,
        env={**os.environ, "PATH": path},
        text=True,
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.parametrize("command", THERE)
def test_a_slow_documented_command_is_run_by_a_lane(command: str) -> None:
    where = elsewhere(command)
    assert where is not None
    file, words = where
    assert words in (ROOT / file).read_text(encoding="utf-8")


def test_the_readme_has_the_two_commands_that_do_everything() -> None:
    assert {"make demo", "make test"} <= set(commands())
