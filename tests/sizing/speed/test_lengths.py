"""Requests that differ in length, arrivals that differ in their gaps, prompts without an answer, and towers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sizing.request.traffic import Traffic
from sizing.speed.performance import Performance, performance
from sizing.speed.step import StepModel
from tests.sizing.speed.test_performance import closed, setup

VARIED = ((256, 64), (4096, 512), (512, 64), (1024, 1024), (128, 16), (128, 16))


def perform(traffic: Traffic) -> Performance:
    return performance(setup(), traffic, 400_000, 4096)


def poisson(rate: float = 4.0, **more: object) -> Traffic:
    return Traffic(None, rate, 1024, 256, "poisson", **more)  # type: ignore[arg-type]


def test_lengths_that_are_all_alike_are_as_no_lengths() -> None:
    assert perform(poisson(requests=300, lengths=((1024, 256),))) == perform(poisson(requests=300))


def test_a_closed_loop_of_equal_lengths_keeps_its_mean_when_they_are_listed_many_times() -> None:
    one, many = perform(closed(32)), perform(closed(32, lengths=((1024, 256),) * 7))
    assert many.requests_per_s.mean == pytest.approx(one.requests_per_s.mean, rel=0.03)
    assert many.tpot_s.mean == pytest.approx(one.tpot_s.mean, rel=0.03)


@pytest.mark.parametrize("traffic", [closed(32, lengths=VARIED), poisson(lengths=VARIED)], ids=["closed", "poisson"])
def test_where_lengths_differ_percentiles_lie_apart(traffic: Traffic) -> None:
    seen = perform(traffic)
    for figure in (seen.ttft_s, seen.tpot_s):
        assert figure.p50 is not None
        assert figure.p95 is not None
        assert figure.p99 is not None
        assert figure.p50 < figure.p95 <= figure.p99
    assert seen.ttft_s.p99 is not None
    assert seen.ttft_s.p99 > 1.5 * seen.ttft_s.mean


def test_a_first_wave_of_answers_without_a_second_token_takes_nothing_from_tpot() -> None:
    short, long = ((256, 1),) * 2, ((256, 64),) * 2
    first, last = perform(closed(2, lengths=short + long)), perform(closed(2, lengths=long + short))
    assert first.tpot_s.mean == pytest.approx(last.tpot_s.mean, rel=0.05)


def test_the_same_sample_gives_the_same_figures() -> None:
    assert perform(closed(32, lengths=VARIED)) == perform(closed(32, lengths=VARIED))


def test_arrivals_in_bursts_wait_longer_than_evenly_spaced_ones() -> None:
    even, bursts = (perform(poisson(8.0, gaps=gaps)) for gaps in ((1.0,), (0.0,) * 15 + (16.0,)))
    assert bursts.ttft_s.mean > 1.5 * even.ttft_s.mean
    assert even.requests_per_s.mean == bursts.requests_per_s.mean == pytest.approx(8.0)


def test_prompts_alone_in_a_closed_loop_obey_littles_law() -> None:
    for clients in (1, 16, 200):
        seen = perform(closed(clients, 512, 0))
        assert seen.requests_per_s.mean * seen.ttft_s.mean == pytest.approx(clients, rel=0.02)
        assert seen.tpot_s.mean == seen.tpot_s.p95 == seen.output_tokens_per_s.mean == 0
    # a queue of 200 waits for all of it; one prompt alone for itself
    assert perform(closed(200, 512, 0)).ttft_s.mean > 20 * perform(closed(1, 512, 0)).ttft_s.mean


def test_a_lone_request_waits_for_its_towers_too() -> None:
    flop = 4e12
    tower_s = StepModel.of(setup()).tower_s(flop)
    assert 0.004 < tower_s < 0.02  # 4 TFLOP on 989 TFLOPS, at the share that matrices reach
    plain = closed(1)
    assert perform(replace(plain, tower_flop=flop)).ttft_s.mean - perform(plain).ttft_s.mean == pytest.approx(tower_s)
