"""
Ten thousand questions and requests that nobody would ask: each gets an answer in finite numbers or a sentence.

Seeded, so that a failure repeats; ``python -m tests.sizing.fuzz LINES SEED`` runs a longer campaign.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from sizing.cli.main import app, main
from sizing.errors import KitError
from sizing.facts.catalogue import load_facts
from sizing.planning.planning import plan
from sizing.request.request import read_request
from tests.sizing.fuzz import Wild, judge_estimate, judge_line, judge_sentence, numbers

FACTS = load_facts()
LINES = 9_000
REQUESTS = 1_500
COMMAND_LINES = 400
SHARES = 10


@pytest.mark.fuzz
@pytest.mark.parametrize("share", range(SHARES))
def test_any_line_gets_finite_numbers_or_a_sentence(share: int) -> None:
    wild = Wild(FACTS, seed=share)
    for _ in range(LINES // SHARES):
        line = wild.line()
        assert judge_line(line, FACTS) == [], line


@pytest.mark.fuzz
@pytest.mark.parametrize("share", range(SHARES))
def test_any_request_gets_a_plan_in_finite_numbers_or_sentences(share: int, tmp_path: Path) -> None:
    wild, path = Wild(FACTS, seed=1000 + share), tmp_path / "request.toml"
    for _ in range(REQUESTS // SHARES):
        text = wild.toml()
        path.write_text(text, encoding="utf-8", errors="surrogatepass")
        try:
            planned = plan("fuzzed", read_request(path), FACTS)
        except KitError as refusal:
            problems = [problem for sentence in refusal.problems for problem in judge_sentence(sentence)]
        else:
            written = json.loads(planned.to_json())
            problems = [] if all(map(math.isfinite, numbers(written))) else ["a number is not finite"]
            for name, estimate in written["estimates"].items():
                if isinstance(estimate, dict) and "mean" in estimate:
                    problems += judge_estimate(name, estimate)
        assert problems == [], text


def exit_code() -> object:
    """What the command line of ``sys.argv`` ends with."""
    try:
        main()
    except SystemExit as ended:
        return ended.code or 0
    return 0


@pytest.mark.fuzz
def test_any_command_line_ends_with_0_1_or_2_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wild = Wild(FACTS, seed=7)
    folder = tmp_path / "deployments" / "laptop"
    folder.mkdir(parents=True)
    (tmp_path / "lines.jsonl").write_text('{"model": "qwen3-8b", "gpu": "L4"}\n')
    monkeypatch.chdir(tmp_path)
    commands = get_command(app)
    assert isinstance(commands, TyperGroup)
    names = sorted(commands.commands)
    for _ in range(COMMAND_LINES):
        (folder / "request.toml").write_text(wild.toml(), encoding="utf-8", errors="surrogatepass")
        arguments = wild.arguments([name for name in names if name != "fit"])
        monkeypatch.setattr(sys, "argv", ["qwenkit", *arguments])
        assert exit_code() in (0, 1, 2), arguments
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err, arguments
        assert printed.out or printed.err, arguments


@pytest.mark.parametrize(
    "line",
    [
        '{"model": "qwen3-8b", "gpu": "L4", "id": "\\ud800"}',
        "\ufeff{}",
        "[" * 100_000,
        '{"a":' * 100_000,
        '{"model": "qwen3-8b", "gpu": "L4", "tp": 1e400}',
        '{"model": "qwen3-8b", "gpu": "L4", "tp": ' + "9" * 5000 + "}",
        '{"model": "qwen3-8b", "gpu": "L4", "device_memory_gib": Infinity}',
        '{"model": "qwen3-8b", "gpu": "L4", "' + "x" * 5000 + '": 1}',
    ],
)
def test_what_only_looks_like_a_question_gets_one_short_sentence(line: str) -> None:
    assert judge_line(line, FACTS) == []


@pytest.mark.parametrize(
    "load",
    [
        {"concurrency": 100_000, "input_tokens": 10_000_000, "output_tokens": 10_000_000},
        {"concurrency": 100_000, "input_tokens": 1, "output_tokens": 10_000_000},
        {"concurrency": 256, "requests": 20_000, "input_tokens": 100_000, "output_tokens": 100_000},
        {"request_rate": 1e6, "requests": 20_000, "input_tokens": 5000, "output_tokens": 50_000},
        {"request_rate": 1e-300, "input_tokens": 10_000_000, "output_tokens": 1},
    ],
)
@pytest.mark.parametrize(
    "settings", [{}, {"max_num_batched_tokens": 1, "max_num_seqs": 1}, {"max_num_seqs": 1_000_000}]
)
def test_a_load_too_long_to_play_out_is_refused_by_a_count_not_by_patience(
    load: dict[str, float], settings: dict[str, int]
) -> None:
    question = {"model": "qwen3-8b", "gpu": "H200", "kv_cache_gib": 100, **settings, "load": load}
    assert judge_line(json.dumps(question), FACTS) == []


def test_the_judge_finds_what_it_is_there_for() -> None:
    assert judge_estimate("x", {"low": 1, "mean": 2, "high": 1.5})
    assert judge_estimate("x", {"low": 1, "mean": 2, "high": 3, "p50": 2, "p95": 1.9, "p99": 3})
    assert judge_sentence("needs nan GiB")
    assert judge_sentence("")
