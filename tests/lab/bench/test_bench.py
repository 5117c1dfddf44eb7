"""The benchmark runs, prints every figure, and asks what it says it asks. How long it takes is no test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from lab.bench.questions import mixed
from sizing.facts.catalogue import load_facts

ROOT = Path(__file__).parents[3]


def test_a_quick_run_prints_every_figure_beside_its_goal_and_the_recorded_one() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lab.bench", "--quick"],
        cwd=ROOT,
        text=True,
        capture_output=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    recorded = json.loads((ROOT / "lab/bench/recorded.json").read_text())
    for name in recorded["figures"]:
        assert name in done.stdout or "lines" in name, done.stdout
    assert recorded["date"] in done.stdout
    assert recorded["machine"] in done.stdout


def test_the_mixed_lines_are_the_same_every_time_and_name_every_model_gpu_and_engine() -> None:
    facts = load_facts()
    lines = mixed(facts, 2000)
    assert lines == mixed(facts, 2000)
    asked = [json.loads(line) for line in lines]
    assert {question["model"] for question in asked} == set(facts.models)
    assert {question["gpu"] for question in asked} == set(facts.gpus)
    assert {question["engine"] for question in asked} == {"vllm", "sglang"}
