"""How close estimates are to what was measured."""

from __future__ import annotations

from collections import defaultdict

import pytest

from sizing.calibration import calibration
from sizing.facts import load_facts
from sizing.fit import estimated
from sizing.measurements import Case, cases
from sizing.performance import performance

FACTS = load_facts()


@pytest.fixture(scope="module")
def errors() -> dict[str, list[float]]:
    """Relative errors on every measurement, by engine and metric; and by (engine, model, GPU) for TPOT."""
    found: dict[str, list[float]] = defaultdict(list)
    for case in cases(FACTS):
        says = estimated(case, calibration())
        for metric, value in case.seen.items():
            error = says[metric] / value - 1
            found[f"{case.setup.engine} {metric}"].append(error)
            if metric == "tpot":
                found[f"cell {case.group}"].append(error)
    return found


def mape(values: list[float]) -> float:
    return sum(map(abs, values)) / len(values)


def test_as_many_measurements_are_compared_as_before(errors: dict[str, list[float]]) -> None:
    assert {name: len(values) for name, values in errors.items() if not name.startswith("cell")} == {
        "vllm ttft": 108,
        "vllm tpot": 143,
        "vllm throughput": 198,
        "sglang ttft": 206,
        "sglang tpot": 206,
        "sglang throughput": 15,
    }


@pytest.mark.parametrize(
    ("figure", "limit"),
    [
        ("vllm tpot", 0.08),
        ("sglang tpot", 0.085),
        ("vllm ttft", 0.16),
        ("sglang ttft", 0.25),
        ("vllm throughput", 0.11),
    ],
)
def test_estimates_stay_as_close_to_measurements_as_the_fit_reached(
    errors: dict[str, list[float]], figure: str, limit: float
) -> None:
    assert mape(errors[figure]) <= limit


def test_only_a_lone_nvfp4_row_is_off_by_more_than_a_fifth_in_tpot(errors: dict[str, list[float]]) -> None:
    cells = {name: mape(values) for name, values in errors.items() if name.startswith("cell")}
    far = {name for name, error in cells.items() if error > 0.2}
    assert far == {"cell vllm qwen3-14b RTX 5070 Ti"}  # its only row, and the only NVFP4 one on a GeForce card


def test_ttft_is_not_biased(errors: dict[str, list[float]]) -> None:
    for engine in ("vllm", "sglang"):
        values = errors[f"{engine} ttft"]
        assert abs(sum(values) / len(values)) <= 0.1


def test_bands_hold_nine_of_ten_measurements() -> None:
    inside: list[bool] = []
    for case in cases(FACTS):
        inside += _inside(case)
    assert 0.85 <= sum(inside) / len(inside) <= 0.96


def _inside(case: Case) -> list[bool]:
    """Whether each measurement lies in its band; a measured median is held to the band about the median."""
    seen = performance(case.setup, case.traffic, case.kv_cache_tokens, 1 << 30)
    figures = {"ttft": seen.ttft_s, "tpot": seen.tpot_s, "throughput": seen.output_tokens_per_s}
    says = estimated(case, calibration())
    return [
        figures[metric].low <= value / says[metric] * figures[metric].mean <= figures[metric].high
        for metric, value in case.seen.items()
    ]
