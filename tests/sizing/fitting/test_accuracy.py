"""How close estimates are to what was measured."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import pytest

from sizing.facts.calibration import calibration
from sizing.facts.catalogue import load_facts
from sizing.fitting.accuracy import NAMES, PAGE, Errors, digest, fitted_errors, fitted_figures, refit
from sizing.fitting.measurements import Case, Metric, cases
from sizing.speed.performance import performance

FACTS = load_facts()


@pytest.fixture(scope="module")
def known() -> list[Case]:
    return cases(FACTS)


@pytest.fixture(scope="module")
def errors(known: list[Case]) -> Errors:
    return fitted_errors(known, calibration())


@pytest.fixture(scope="module")
def relative(known: list[Case], errors: Errors) -> dict[tuple[str, str], list[float]]:
    """Relative errors by engine and metric, and for TPOT by engine, model and card."""
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for case in known:
        for metric, error in zip(case.seen, errors[case.id], strict=True):
            found[case.setup.engine, metric].append(math.expm1(error))
            found[case.group, metric].append(math.expm1(error))
    return dict(found)


def mape(values: list[float]) -> float:
    return sum(map(abs, values)) / len(values)


@pytest.mark.parametrize(
    ("engine", "metric", "limit"),
    [
        ("vllm", "tpot", 0.08),
        ("sglang", "tpot", 0.08),
        ("vllm", "ttft", 0.16),
        ("sglang", "ttft", 0.20),
        ("vllm", "throughput", 0.11),
    ],
)
def test_estimates_stay_as_close_to_measurements_as_the_fit_reached(
    relative: dict[tuple[str, str], list[float]], engine: str, metric: str, limit: float
) -> None:
    assert mape(relative[engine, metric]) <= limit


def test_only_a_lone_nvfp4_row_is_off_by_more_than_a_fifth_in_tpot(
    relative: dict[tuple[str, str], list[float]],
) -> None:
    far = {group for (group, metric), values in relative.items() if metric == "tpot" and mape(values) > 0.2}
    assert far <= {"vllm qwen3-14b RTX 5070 Ti"}  # its only row, and the only NVFP4 one on a GeForce card


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_ttft_is_not_biased(relative: dict[tuple[str, str], list[float]], engine: str) -> None:
    values = relative[engine, "ttft"]
    assert abs(sum(values) / len(values)) <= 0.1


@pytest.mark.parametrize("metric", ["ttft", "tpot", "throughput"])
def test_bands_hold_nine_of_ten_measurements(known: list[Case], errors: Errors, metric: Metric) -> None:
    inside = [_inside(case, metric, errors[case.id]) for case in known if metric in case.seen]
    assert 0.85 <= sum(inside) / len(inside) <= 0.97


def _inside(case: Case, metric: Metric, errors: list[float]) -> bool:
    """Whether the measurement lies in its band; a measured median is held to the band about the median."""
    seen = performance(case.setup, case.traffic, case.kv_cache_tokens, 1 << 30)
    figure = {"ttft": seen.ttft_s, "tpot": seen.tpot_s, "throughput": seen.output_tokens_per_s}[metric]
    measured = figure.mean * math.exp(-errors[[*case.seen].index(metric)])
    return figure.low <= measured <= figure.high


def test_a_dry_run_shows_every_cell_at_every_distance_and_writes_nothing(known: list[Case]) -> None:
    few = [case for case in known if case.setup.gpu.id in ("L40S", "RTX 5070 Ti") or case.setup.model.key == "qwen3-8b"]
    before, said = digest(), list[str]()
    shown: list[Sequence[str]] = []
    refit(few, 1, write=False, say=said.append, show=shown.append)
    heads, *rows = shown
    cells = {row[0] for row in rows if len(row) == len(heads)}
    assert cells == {case.group for case in few} | {"all vllm", "all sglang"}
    assert all(row[3:] for row in rows)
    assert said[0].startswith(f"{len(few)} measured loads")
    assert digest() == before


def test_the_page_belongs_to_the_committed_constants_bands_and_measurements() -> None:
    assert f"<!-- constants, bands and measurements: {digest()} -->" in PAGE.read_text(encoding="utf-8")


def test_the_page_has_a_line_for_every_cell_that_was_measured_with_its_count(known: list[Case], errors: Errors) -> None:
    lines = {tuple(row.split(" | ")[:3]) for row in PAGE.read_text(encoding="utf-8").splitlines()}
    for (line, metric), (count, _) in fitted_figures(known, errors).items():
        assert (f"| {line}", NAMES[metric], count) in lines, line


def test_the_page_says_of_each_engine_what_the_constants_give(known: list[Case], errors: Errors) -> None:
    rows = [row.split(" | ") for row in PAGE.read_text(encoding="utf-8").splitlines() if row.startswith("| all ")]
    said = {(name.removeprefix("| "), metric): float(fitted.split(" ")[0]) for name, metric, _, fitted, *_ in rows}
    for (line, metric), (_, figures) in fitted_figures(known, errors).items():
        if line.startswith("all "):
            assert said[line, NAMES[metric]] == pytest.approx(float(figures.split(" ")[0]), abs=0.5), (line, metric)
