"""The data of the report: what the plan says, nothing beaten called best, and every load up to queueing."""

from __future__ import annotations

import pytest

from sizing.facts.catalogue import load_facts
from sizing.whatif.report import Report, front, report
from tests.sizing.whatif.test_compare import asked

FACTS = load_facts()


@pytest.fixture(scope="module")
def made() -> Report:
    return report("prod-qwen3-8b", asked("prod-qwen3-8b"), FACTS)


def test_exactly_the_planned_way_is_chosen(made: Report) -> None:
    chosen = [choice for choice in made.choices if choice.chosen]
    assert [choice.usd_per_hour for choice in chosen] == [made.plan.cost.usd_per_hour]
    assert chosen[0].gpu == made.plan.placement.gpu
    assert chosen[0].ttft_s == made.plan.estimates.ttft_s.mean


def test_what_misses_a_target_is_shown_as_missing_it(made: Report) -> None:
    targets = made.plan.request.targets
    assert targets.ttft_ms is not None
    assert targets.tpot_ms is not None
    assert any(not choice.meets for choice in made.choices)
    for choice in made.choices:
        within = choice.ttft_s * 1000 <= targets.ttft_ms and choice.tpot_s * 1000 <= targets.tpot_ms
        assert choice.meets == within


def test_the_front_is_what_meets_the_request_and_is_not_beaten_by_what_meets_it_too(made: Report) -> None:
    meeting = [choice for choice in made.choices if choice.meets]
    best = front(made.choices, lambda choice: choice.ttft_s)
    assert best[0].chosen
    for choice in made.choices:
        beaten = any(one.usd_per_hour <= choice.usd_per_hour and one.ttft_s < choice.ttft_s for one in meeting)
        twin = any(one.usd_per_hour < choice.usd_per_hour and one.ttft_s == choice.ttft_s for one in meeting)
        assert (choice in best) == (choice.meets and not beaten and not twin)


def test_a_card_that_falls_short_comes_with_the_change_that_helps(made: Report) -> None:
    changes = {one.gpu: [change for change, _ in one.remedies] for one in made.short}
    assert "2 cards" in changes["T4"]
    assert "fp8 weights" in changes["L4"]
    assert "H100-SXM" not in changes


def test_the_curve_passes_through_the_plan_at_the_asked_load_and_ends_queueing(made: Report) -> None:
    here = next(point for point in made.curve if point.load == made.plan.request.load.concurrency)
    assert made.plan.estimates.tpot_s is not None
    assert here.tpot_s.mean == made.plan.estimates.tpot_s.mean
    assert here.ttft_s.mean == made.plan.estimates.ttft_s.mean
    full = made.plan.estimates.saturation_concurrency
    assert here.load < full < made.curve[-1].load
    assert made.curve[-1].ttft_s.mean > 2 * here.ttft_s.mean
    assert [point.load for point in made.curve] == sorted(point.load for point in made.curve)


def test_a_rate_is_plotted_over_rates_and_passes_the_asked_one() -> None:
    load = {"request_rate": 2.0, "input_tokens": 512, "output_tokens": 128}
    made = report("by-rate", asked("prod-qwen3-8b", load=load, targets={}), FACTS)
    assert 2.0 in [point.load for point in made.curve]
    assert made.curve[0].load < 2.0
    assert made.plan.estimates.saturation_requests_per_s.mean < made.curve[-1].load


def test_replicas_share_the_load_of_the_curve() -> None:
    made = report("prod-qwen3-32b", asked("prod-qwen3-32b", limits={"gpus": ["A10G"]}), FACTS)
    assert made.plan.placement.replicas > 1
    here = next(point for point in made.curve if point.load == made.plan.request.load.concurrency)
    assert here.output_tokens_per_s.mean == pytest.approx(made.plan.estimates.output_tokens_per_s.mean, rel=1e-3)


def test_a_cpu_plan_has_no_choices_and_no_curve_but_its_gpu_alternatives() -> None:
    made = report("laptop", asked("laptop"), FACTS)
    assert (made.choices, made.curve, made.short) == ((), (), ())
    assert {row.subject for row in made.gpus} == set(FACTS.gpus)


def test_the_report_round_trips_as_json(made: Report) -> None:
    text = made.model_dump_json()
    assert Report.model_validate_json(text).model_dump_json() == text
