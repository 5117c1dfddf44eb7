"""``make demo`` for real: all five steps, and nothing left behind, whenever it is stopped."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.children import child
from tests.waiting import patience

ROOT = Path(__file__).parents[3]
WHOLE_DEMO_LIMIT_S = 900
CLEANING_LIMIT_S = 120
NOTHING: dict[str, list[str]] = {"interfaces": [], "mounts": [], "folders": [], "processes": [], "groups": []}
ALONE = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
pytestmark = [pytest.mark.cluster, pytest.mark.pulumi]


@dataclass(frozen=True)
class Ended:
    """The demo's exit status, all that it printed, and what it left."""

    status: int
    said: str
    left: dict[str, list[str]]


def demo(folder: Path, *stopped: str) -> Ended:
    """The demo, run or *stopped* (step, seconds) in namespaces of its own."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as var_tmp:
        result = folder / "result.json"
        command = [*ALONE, sys.executable, "-m", "tests.lab.demo.alone", str(result), var_tmp, *stopped]
        with child(command, cwd=ROOT, stdin=subprocess.PIPE) as running:
            try:
                assert running.exit_code(WHOLE_DEMO_LIMIT_S) == 0, running.said
            finally:
                running.process.communicate(timeout=patience(CLEANING_LIMIT_S))  # the end of input ends the demo
        return Ended(**json.loads(result.read_text()))


def test_the_demo_plans_places_serves_compares_and_leaves_nothing(tmp_path: Path) -> None:
    ended = demo(tmp_path)
    assert ended.status == 0, ended.said[-4000:]
    for words in (
        "1 of 5",
        "million output tokens",
        "$ pulumi up --stack prod-qwen3-8b --yes --suppress-progress --expect-no-changes",
        "without the key: 401",
        "pieces streamed",
        "the engine reports",
        "nothing is left of it but the cached tools",
    ):
        assert words in ended.said, words
    assert ended.left == NOTHING


@pytest.mark.parametrize("step", ["2 of 5", "3 of 5"])
def test_the_demo_stopped_anywhere_in_a_step_leaves_nothing(step: str, tmp_path: Path) -> None:
    # Any moment of the step must do; a red run names the moment in its assertion.
    moment_s = random.uniform(0.5, 12)
    ended = demo(tmp_path, step, str(moment_s))
    assert ended.left == NOTHING, f"{moment_s:.1f} s after {step}: {ended.said[-2500:]}"
    assert ended.status == 130, f"{moment_s:.1f} s after {step}: {ended.said[-2000:]}"
