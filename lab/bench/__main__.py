"""``python -m lab.bench``: every figure beside its goal and the recorded one."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from lab.bench.clock import Taken, best, in_child, of_command
from lab.bench.questions import grid, mixed, plans
from sizing.errors import KitError
from sizing.facts.calibration import calibration
from sizing.facts.catalogue import load_facts
from sizing.planning.planning import plan
from sizing.request.request import Request
from sizing.whatif.estimate import answers, read_questions

RECORDED = Path(__file__).parent / "recorded.json"
LINES = 10_000


@dataclass(frozen=True, slots=True)
class Figure:
    """Something that is timed, the seconds it may take and how often it is tried."""

    name: str
    goal_s: float
    runs: int
    measure: Callable[[], Taken]


def _answer(lines: list[str]) -> None:
    for _ in answers(read_questions(lines), load_facts()):
        pass


def _plan(request: Request) -> None:
    with suppress(KitError):  # a refusal is an answer too, and the longest search
        plan("benchmark", request, load_facts())


def figures(lines: int) -> list[Figure]:
    """All figures; the long one over *lines* estimate lines."""
    load_facts()
    calibration()
    qwenkit = (sys.executable, "-m", "sizing")
    question = (grid()[0] + "\n").encode()
    many = ("\n".join(mixed(load_facts(), lines)) + "\n").encode()
    return [
        Figure("48-cell grid, after import", 0.1, 7, partial(in_child, partial(_answer, grid()))),
        *(Figure(name, 1.0, 5, partial(in_child, partial(_plan, asked))) for name, asked in plans().items()),
        Figure("qwenkit --help, from cold", 0.5, 5, partial(of_command, (*qwenkit, "--help"))),
        Figure("qwenkit estimate, one line", 0.5, 5, partial(of_command, (*qwenkit, "estimate"), question)),
        Figure("qwenkit plan, from cold", 0.5, 5, partial(of_command, (*qwenkit, "plan", "prod-qwen3-8b"))),
        Figure(f"{lines:,} estimate lines", 60.0, 1, partial(of_command, (*qwenkit, "estimate"), many)),
    ]


def _row(figure: Figure, taken: Taken, previous: dict[str, Any] | None) -> tuple[str, ...]:
    then = "" if previous is None else f"{previous['cpu_s'] * 1000:,.0f}"
    ratio = "" if previous is None else f"{taken.loops / (previous['cpu_s'] / previous['loop_s']):.2f}"
    peak = "" if taken.peak_mb is None else f"{taken.peak_mb:.0f}"
    times = f"{figure.goal_s * 1000:,.0f}", f"{taken.wall_s * 1000:,.0f}", f"{taken.cpu_s * 1000:,.0f}"
    return figure.name, *times, then, ratio, peak


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m lab.bench", description=__doc__)
    parser.add_argument("--record", metavar="MACHINE", help='replace the recorded figures; MACHINE as "2 shared cores"')
    parser.add_argument("--quick", action="store_true", help="every figure once, 100 estimate lines")
    asked = parser.parse_args()
    if asked.quick and asked.record:
        parser.error("a quick run is nothing to record")
    recorded = json.loads(RECORDED.read_text()) if RECORDED.exists() else {"figures": {}}
    table = Table(
        "figure", *(f"{name}, ms" for name in ("goal", "wall", "CPU", "recorded CPU")), "ratio", "peak, MB", box=None
    )
    for column in table.columns[1:]:
        column.justify = "right"
    found = {}
    for figure in figures(100 if asked.quick else LINES):
        taken = best(figure.measure, 1 if asked.quick else figure.runs)
        found[figure.name] = asdict(taken)
        table.add_row(*_row(figure, taken, recorded["figures"].get(figure.name)))
    Console(width=max(100, Console().width)).print(table)
    if recorded["figures"]:
        print(f"recorded {recorded['date']} on {recorded['machine']}; ratio: CPU time, both in units of a fixed loop")
    if asked.record:
        text = json.dumps({"date": date.today().isoformat(), "machine": asked.record, "figures": found}, indent=2)
        RECORDED.write_text(text + "\n")


main()
