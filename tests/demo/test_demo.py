"""``make demo`` for real: all five steps, and nothing left behind, whenever it is stopped."""

from __future__ import annotations

import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.children import child

ROOT = Path(__file__).parents[2]
WHOLE_DEMO_LIMIT_S = 900
CLEANING_LIMIT_S = 120
pytestmark = [pytest.mark.cluster, pytest.mark.pulumi]


DEMO = [sys.executable, "-m", "demo"]
EMBEDDED = {key: value for key, value in os.environ.items() if key != "MODEL"}  # the demo's own model
MARKS = ("qwenkit-demo-", "qwenkit-cluster-", "-m demo", "standins.aws")


def traces() -> dict[str, set[str]]:
    """What a demo could leave: interfaces, mounts, folders, and processes that carry its marks."""
    processes = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if any(mark in command for mark in MARKS):
                processes.add(f"{entry.name} {command[:120]}")
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    return {
        "interfaces": {entry.name for entry in Path("/sys/class/net").iterdir() if entry.name.startswith("qwenkit")},
        "mounts": {mount for mount in mounts if any(mark in mount for mark in MARKS)},
        "folders": {str(path) for path in Path(tempfile.gettempdir()).glob("qwenkit-demo-*")}
        | {str(path) for path in Path("/var/tmp").glob("qwenkit-cluster-*")},
        "processes": processes,
    }


def new(before: dict[str, set[str]], after: dict[str, set[str]]) -> dict[str, set[str]]:
    return {kind: after[kind] - before[kind] for kind in before if after[kind] - before[kind]}


def test_the_demo_plans_places_serves_compares_and_leaves_nothing() -> None:
    before = traces()
    with child(DEMO, cwd=ROOT, env=EMBEDDED) as running:
        code, said = running.exit_code(WHOLE_DEMO_LIMIT_S), running.said
    assert code == 0, said[-4000:]
    for words in (
        "1 of 5",
        "million output tokens",
        "$ pulumi up --stack prod-qwen3-8b --yes --suppress-progress --expect-no-changes",
        "without the key: 401",
        "pieces streamed",
        "the engine reports",
        "nothing is left of it but the cached tools",
    ):
        assert words in said, words
    assert new(before, traces()) == {}


@pytest.mark.parametrize("step", ["2 of 5", "3 of 5"])
def test_the_demo_stopped_anywhere_in_a_step_leaves_nothing(step: str) -> None:
    before = traces()
    with child(DEMO, cwd=ROOT, env=EMBEDDED, start_new_session=True) as running:
        running.wait_to_say(step, WHOLE_DEMO_LIMIT_S)
        # Any moment of the step must do; a red run names the moment in its assertion.
        moment_s = random.uniform(0.5, 12)
        time.sleep(moment_s)
        os.killpg(running.process.pid, signal.SIGINT)  # as Ctrl-C does: to everything in the foreground
        code, said = running.exit_code(CLEANING_LIMIT_S), running.said
    left = new(before, traces())
    assert left == {}, f"{left} after {moment_s:.1f} s of {step}: {said[-2500:]}"
    assert code == 130, said[-2500:]
