"""recommend, bom, licences and errata as a user meets them: flags, a terminal, or neither."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.children import exit_code
from tests.waiting import wait_for_input

ROOT = Path(__file__).parents[3]
RECOMMEND = [sys.executable, "-m", "sizing", "recommend"]


def qwenkit(*args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sizing", *args]
    return subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "140"},
        stdin=subprocess.DEVNULL,
        text=True,
        capture_output=True,
        check=False,
        timeout=120,
    )


def test_flags_get_ranked_models_with_plan_licence_and_losses() -> None:
    done = qwenkit("recommend", "--need", "code", "--gpu", "RTX 4090", "--commercial", "--concurrency", "2")
    assert done.returncode == 0, done.stderr
    for words in ("1. Qwen", "hardware", "settings", "TTFT", "TPOT", "a month", "You may sell", "source:", "gives up"):
        assert words in done.stdout


def test_explain_shows_what_was_passed_over_and_what_the_notes_got_wrong() -> None:
    done = qwenkit("recommend", "--need", "code", "--gpu", "RTX 4090", "--explain")
    assert "Passed over" in done.stdout
    assert "894 GiB" in done.stdout


def test_json_carries_whole_plans() -> None:
    done = qwenkit("recommend", "--need", "vision", "--usd-per-month", "400", "--answers", "1", "--json")
    assert done.returncode == 0, done.stderr
    (answer,) = json.loads(done.stdout)["recommendations"]
    assert answer["licence"]["commercial"] in ("yes", "conditions")
    assert float(answer["plan"]["cost"]["usd_per_month"]) <= 400
    assert answer["plan"]["engine"]["args"]


def test_without_flags_and_without_a_terminal_it_says_so_and_exits_2() -> None:
    done = qwenkit("recommend")
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert "terminal" in done.stderr


def said(terminal: int) -> bytes:
    """What comes next; nothing once the other end is closed."""
    wait_for_input(terminal, 60, "the program asks or answers")
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""


def test_on_a_terminal_it_asks_three_questions() -> None:
    parent, terminal = pty.openpty()
    asking = subprocess.Popen(RECOMMEND, cwd=ROOT, stdin=terminal, stdout=terminal, stderr=terminal)
    os.close(terminal)
    answers = [b"text\n", b"cpu\n", b"yes\n", b"1\n"]
    prompts = [b"Needs", b"One of", b"Commercial use", b"Requests at the same time"]
    seen = b""
    try:
        while more := said(parent):
            seen += more
            while prompts and prompts[0] in seen:
                os.write(parent, answers.pop(0))
                prompts.pop(0)
        assert exit_code(asking, 30) == 0, seen
    finally:
        asking.kill()
        os.close(parent)
    assert prompts == []
    assert b"1. Qwen3-0.6B" in seen


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--need", "code"), "what the model runs on"),
        (("--need", "code", "--gpu", "RTX 4095"), "nearest known is RTX 4090"),
        (("--need", "code", "--usd-per-hour", "much"), "no amount of dollars"),
        (("--need", "audio", "--gpu", "RTX 3060"), "You may not sell"),
    ],
)
def test_what_cannot_be_is_a_sentence_and_exit_2(args: tuple[str, ...], says: str) -> None:
    done = qwenkit("recommend", *args)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_bill_of_materials_has_parts_watts_heat_and_electricity() -> None:
    done = qwenkit("bom", "home-server", "--usd-per-kwh", "0.30")
    assert done.returncode == 0, done.stderr
    for words in ("power supply", "BTU/h", "0.3 $/kWh", "Noise", "launch price", "planning assumptions"):
        assert words in done.stdout
    parts = json.loads(qwenkit("bom", "home-2x-rtx-4090", "--json").stdout)
    assert parts["psu_w"] <= 1600
    told = qwenkit("bom", "home-2x-rtx-4090").stdout
    assert "3198 $ for card (launch price, undated) and 1502 $ for all but the cards (assumed 2026-11-24)" in told
    without = qwenkit("bom", "home-i7-14700kf")
    assert without.returncode == 2
    assert "has no GPU" in without.stderr
    assert "1300 $ together (assumed 2026-11-24)" in without.stderr
    refused = qwenkit("bom", "laptop")
    assert (refused.returncode, "only a home host" in refused.stderr) == (2, True)


def test_explain_of_a_home_plan_ends_with_the_bill_of_its_host() -> None:
    done = qwenkit("explain", "home-server")
    assert done.returncode == 0, done.stderr
    assert "BTU/h" in done.stdout
    assert "BTU/h" not in qwenkit("explain", "prod-qwen3-8b").stdout


def test_compare_says_what_sets_home_and_cloud_cards_apart() -> None:
    done = qwenkit("compare", "home-server", "--only", "A10G,RTX 4090")
    assert done.returncode == 0, done.stderr
    assert "! ECC: RTX 4090" in done.stdout
    assert "! Power" in done.stdout


def test_licences_and_errata_are_tables_that_can_be_filtered() -> None:
    assert "qwen2.5-3b" in qwenkit("licences", "qwen-research").stdout
    assert "894 GiB" in json.dumps(json.loads(qwenkit("errata", "480B", "--json").stdout))
