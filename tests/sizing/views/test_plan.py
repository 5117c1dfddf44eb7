"""What ``plan`` and ``explain`` print: complete, in any width, with and without a terminal."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from sizing.facts.catalogue import load_facts
from sizing.plan.plan import Plan
from sizing.plan.words import figures
from sizing.planning.planning import plan
from sizing.request.request import Targets
from sizing.units import gib
from sizing.views.plan import show_card, show_explanation, show_plan, verdicts
from sizing.whatif.compare import compare
from tests.sizing.cli.test_main import qwenkit
from tests.sizing.whatif.test_compare import asked

FACTS = load_facts()
NO_BAR_LINE = re.compile(r"^│ (?P<name>[A-Za-z].*?) +(?P<gib>[\d.]+) GiB +(?P<bar>[█▏▎▍▌▋▊▉]*) +\w+ +│$", re.MULTILINE)


@pytest.fixture(scope="module")
def planned() -> Plan:
    return plan("prod-qwen3-8b", asked("prod-qwen3-8b"), FACTS)


def paper(width: int, terminal: bool = False) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None, legacy_windows=False)


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [80, 140])
def test_the_plan_keeps_within_any_width_and_cuts_nothing(planned: Plan, width: int) -> None:
    console = paper(width, terminal=True)
    show_explanation(console, planned, verdicts(planned, FACTS))
    text = printed(console)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    for words in ("asked", "KV cache", "9 in 10", "p95", "✓ mean at most", "a month", "Where the numbers come from"):
        assert words in text


def test_without_a_terminal_every_loser_is_one_line_with_its_reason(planned: Plan) -> None:
    console = paper(80)
    show_explanation(console, planned, [])
    lines = printed(console).splitlines()
    for loser in (*planned.runners_up, *planned.rejected):
        assert any(loser.candidate in line and loser.reason in line for line in lines), loser


def test_bars_are_as_long_as_their_share_of_the_card(planned: Plan) -> None:
    console = paper(140)
    show_plan(console, planned)
    bars = {found["name"]: found["bar"] for found in NO_BAR_LINE.finditer(printed(console))}
    assert list(bars) == [line.name for line in planned.memory.ledger]
    whole = sum(len(bar) for bar in bars.values())
    for line in planned.memory.ledger:
        assert abs(len(bars[line.name]) / whole - line.bytes / planned.memory.device_bytes) < 0.06


def test_plan_prints_the_runners_up_only_and_says_how_to_see_the_rest(planned: Plan) -> None:
    console = paper(140)
    show_plan(console, planned)
    assert planned.runners_up[0].candidate in printed(console)
    assert planned.rejected[-1].candidate not in printed(console)
    assert f"{len(planned.rejected)} more candidates were rejected" in printed(console)


def test_the_asked_percentile_is_shown_beside_the_middle_and_holds_the_target(planned: Plan) -> None:
    asked_p99 = Targets(ttft_ms=1500, statistic="p99")
    ttft, tpot = figures(planned.estimates, asked_p99)[:2]
    seen = planned.estimates.ttft_s
    shown = [value * 1000 for value in (seen.p50 or 0, seen.p95 or 0, seen.p99 or 0)]
    assert ttft.percentiles == " / ".join(f"{value:,.0f}" for value in shown) + " ms"
    assert (ttft.met, tpot.met) == (shown[-1] <= 1500, None)
    assert shown[0] < seen.mean * 1000 < 1500 < shown[1]  # the first wave


def test_a_mean_that_stands_for_a_percentile_still_marks_the_target() -> None:
    request = asked("laptop").model_copy(update={"targets": Targets(ttft_ms=5000, statistic="p95")})
    laptop = plan("laptop", request, FACTS)
    ttft = figures(laptop.estimates, request.targets)[0]
    assert (ttft.percentiles, ttft.met) == ("", True)
    assert any("the mean is held against the p95 targets" in warning for warning in laptop.warnings)


def test_a_missed_target_is_marked(planned: Plan) -> None:
    late = planned.estimates.model_copy(update={"ttft_s": planned.estimates.ttft_s.model_copy(update={"mean": 9.0})})
    console = paper(140)
    show_plan(console, planned.model_copy(update={"estimates": late}))
    assert "✗ mean at most 1,500 ms" in printed(console)


def test_every_card_of_the_place_that_is_too_little_alone_comes_with_what_would_do(planned: Plan) -> None:
    found = verdicts(planned, FACTS)
    assert {"L4", "A10G", "H100-SXM"} <= {verdict.gpu for verdict in found}
    console = paper(140)
    show_explanation(console, planned, found)
    for verdict in found:
        assert (f"{verdict.gpu} alone: " in printed(console)) == (verdict.shortfall is not None)
        assert all(f"- {remedy.change}: " in printed(console) for remedy in verdict.remedies)


def test_a_card_that_nobody_sells_is_answered_with_its_memory(planned: Plan) -> None:
    console = paper(80)
    row = next(row for row in compare(planned.request, FACTS, "gpu") if row.place is None)
    show_card(console, planned, row, verdicts(planned, FACTS, row.subject))
    assert "no host with a price has it" in " ".join(printed(console).replace("│", "").split())
    assert f"Memory of one {row.subject}: {gib(row.device_bytes or 0):.2f} GiB" in printed(console)


def test_a_card_that_is_too_little_alone_comes_with_what_would_do(planned: Plan) -> None:
    console = paper(80)
    show_card(
        console, planned, compare(planned.request, FACTS, "gpu", ["RTX 4070"])[0], verdicts(planned, FACTS, "rtx4070")
    )
    assert "RTX 4070 alone" in printed(console)
    assert "- awq weights" in printed(console)


def test_the_chosen_card_is_said_to_be_chosen_and_the_others_to_cost_more(planned: Plan) -> None:
    for name, words in ((str(planned.placement.gpu), "this is what the plan chose"), ("H100-SXM", "the plan costs $")):
        console = paper(140)
        show_card(console, planned, compare(planned.request, FACTS, "gpu", [name])[0], [])
        assert words in printed(console)
        assert f"Candidates with {name}" in printed(console)


def test_a_card_that_cannot_says_why(planned: Plan) -> None:
    console = paper(140)
    request = asked("prod-qwen3-8b", model="qwen3-235b-a22b")
    show_card(console, planned, compare(request, FACTS, "gpu", ["RTX 3080 10GB"])[0], [])
    assert "cannot serve the request" in printed(console)


def test_a_cpu_plan_is_explained_without_cards() -> None:
    laptop = plan("laptop", asked("laptop"), FACTS)
    assert verdicts(laptop, FACTS) == []
    console = paper(80)
    show_explanation(console, laptop, [])
    assert "Memory of one pod" in printed(console)


def test_the_commands_print_it() -> None:
    done = qwenkit("plan", "prod-qwen3-8b")
    assert done.returncode == 0, done.stderr
    for words in ("hardware", "KV cache", "TTFT", "TPOT", "a month", "million output tokens", "Runners-up"):
        assert words in done.stdout
    done = qwenkit("explain", "prod-qwen3-8b")
    assert done.returncode == 0, done.stderr
    assert "p5.48xlarge" in done.stdout
    done = qwenkit("explain", "home-server", "--gpu", "RTX 3060 12GB")
    assert done.returncode == 0, done.stderr
    assert "Memory of one RTX 3060 12GB" in done.stdout


def test_an_unknown_card_is_one_sentence() -> None:
    done = qwenkit("explain", "prod-qwen3-8b", "--gpu", "RTX 9090")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert "RTX 9090" in done.stderr
