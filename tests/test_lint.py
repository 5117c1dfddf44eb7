"""Format, lint, which room may use which (pyproject.toml, importlinter), and types."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab.tools.build import cache

ROOT = Path(__file__).parents[1]
# What mypy knows of the packages outlives the checkout: their first reading takes a minute and a half.
MYPY = ["mypy", "--cache-dir", str(cache() / f"mypy-{os.geteuid()}")]
CHECKS = (
    ["ruff", "format", "--check", "."],
    ["ruff", "check", "."],
    ["lint-imports", "--no-cache", "--no-logo"],
    MYPY,
    [*MYPY, "helm/qwen/files"],
)


@pytest.mark.parametrize("check", CHECKS, ids=["format", "lint", "rooms", "types", "types of the chart"])
def test_the_code_passes(check: list[str]) -> None:
    program, *arguments = check
    command: list[str | Path] = [Path(sys.executable).with_name(program), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
