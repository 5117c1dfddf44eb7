"""Requests that arrive at a rate: played until steady, and never planned to the edge of what a replica answers."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from sizing.engine.settings import Settings
from sizing.engine.setup import Setup, resolve
from sizing.errors import DoesNotFit
from sizing.facts.catalogue import load_facts
from sizing.plan.plan import Plan
from sizing.planning.planning import plan
from sizing.request.request import Request
from sizing.request.traffic import Traffic
from sizing.speed.patterns import steady_requests
from sizing.speed.performance import Performance, performance
from sizing.speed.scheduler import Scheduler
from sizing.speed.step import StepModel
from sizing.whatif.estimate import answer, read_questions

FACTS = load_facts()
SEARCHED = FACTS.engines["vllm"].searched
assert SEARCHED is not None
MOST_BUSY = SEARCHED.most_busy
KV_TOKENS = 120_000


def setup(model: str, gpu: str, chunk: int) -> Setup:
    return resolve(
        FACTS.model(model)[0],
        "bf16",
        FACTS.gpu(gpu),
        engine="vllm",
        engine_version=FACTS.engines["vllm"].default_version,
        asked=Settings(max_model_len=8192, max_num_seqs=256, max_num_batched_tokens=chunk),
    )


def perform(of: Setup, traffic: Traffic) -> Performance:
    return performance(of, traffic, KV_TOKENS, 256)


@pytest.mark.parametrize("load", [0.3, 0.55, MOST_BUSY])
@pytest.mark.parametrize(
    ("model", "gpu", "tokens_in", "tokens_out", "chunk"),
    [
        ("qwen3-8b", "L40S", 1024, 256, 8192),
        ("qwen3-8b", "H100-SXM", 3000, 100, 2048),
        ("qwen3-0.6b", "L4", 300, 600, 8192),
        ("qwen3-30b-a3b", "H200-SXM", 1000, 300, 8192),
        ("qwen3-embedding-0.6b", "L4", 512, 0, 8192),
    ],
)
def test_four_times_as_many_arrivals_show_the_same(
    model: str, gpu: str, tokens_in: int, tokens_out: int, chunk: int, load: float
) -> None:
    of = setup(model, gpu, chunk)
    one_second = Traffic(None, 1.0, tokens_in, tokens_out, "poisson")
    full = perform(of, one_second).full_requests_per_s
    assert full is not None
    traffic = replace(one_second, request_rate=load * full)
    usual = steady_requests(Scheduler(of, StepModel.of(of), traffic, KV_TOKENS, 256), load, varied=False)
    seen, longer = perform(of, traffic), perform(of, replace(traffic, requests=4 * usual))
    assert (seen.saturated, longer.saturated) == (False, False)
    assert longer.ttft_s.mean == pytest.approx(seen.ttft_s.mean, rel=0.12)
    assert longer.tpot_s.p95 == pytest.approx(seen.tpot_s.p95, rel=0.12)


def test_no_more_is_answered_than_arrives_nor_than_a_full_replica_answers() -> None:
    of = setup("qwen3-8b", "L40S", 8192)
    full = perform(of, Traffic(None, 1.0, 1024, 256, "poisson")).full_requests_per_s
    assert full is not None
    for load in (0.2, 0.8, 0.99, 1.5, 4.0):
        rate = perform(of, Traffic(None, load * full, 1024, 256, "poisson")).requests_per_s
        assert rate.low <= rate.mean <= rate.high <= load * full * (1 + 1e-9)
        assert rate.mean <= full * (1 + 1e-9)


def planned(rate: float, **limits: object) -> Plan:
    asked = {
        "model": "qwen3-8b",
        "load": {"request_rate": rate, "input_tokens": 1024, "output_tokens": 256},
        "targets": {"ttft_ms": 500, "tpot_ms": 60, "statistic": "p95"},
        "place": {"kind": "aws-eks"},
        "limits": {"gpus": ["L40S"], **limits},
    }
    return plan("any", Request.model_validate_json(json.dumps(asked)), FACTS)


@pytest.mark.parametrize("rate", [8.0, 50.0])
def test_a_plan_leaves_a_replica_room_for_its_queue_and_keeps_its_promise_in_a_long_run(rate: float) -> None:
    made = planned(rate)
    assert rate <= MOST_BUSY * made.estimates.saturation_requests_per_s.mean
    engine = made.engine
    line = {
        "model": "qwen3-8b",
        "precision": made.model.precision,
        "gpu": made.placement.gpu,
        "tp": engine.tp,
        "max_model_len": engine.max_model_len,
        "max_num_seqs": engine.max_num_seqs,
        "max_num_batched_tokens": engine.max_num_batched_tokens,
        "load": {
            "request_rate": rate / made.placement.replicas,
            "input_tokens": 1024,
            "output_tokens": 256,
            "requests": 8000,
        },
    }
    [question] = read_questions([json.dumps(line)])
    seen = answer(question, FACTS)
    assert seen["ttft_ms"]["p95"] <= 500
    assert seen["tpot_ms"]["p95"] <= 60
    tpot_s = made.estimates.tpot_s
    assert tpot_s is not None
    assert tpot_s.p95 is not None
    assert seen["tpot_ms"]["p95"] == pytest.approx(tpot_s.p95 * 1000, rel=0.12)


def test_a_replica_that_would_be_too_busy_is_refused_with_both_rates() -> None:
    asked = {
        "model": "qwen3-8b",
        "load": {"request_rate": 8.0, "input_tokens": 1024, "output_tokens": 256},
        "place": {"kind": "home", "host": "home-1x-rtx-4090"},
        "limits": {"precision": "bf16"},
    }
    with pytest.raises(DoesNotFit) as refused:
        plan("any", Request.model_validate_json(json.dumps(asked)), FACTS)
    sentence = r"([\d.]+) requests/s a replica at most, .* to 80% \(([\d.]+)/s\), and its share is 8"
    said = re.search(sentence, str(refused.value))
    assert said is not None
    assert float(said[2]) == pytest.approx(MOST_BUSY * float(said[1]), rel=0.01)
    assert float(said[2]) < 8


def test_a_rate_beyond_the_slow_end_of_what_is_sustained_is_warned_of() -> None:
    busy, idle = planned(50.0), planned(50.0, spare_share=0.5)
    assert busy.estimates.saturation_requests_per_s.low < 50 < idle.estimates.saturation_requests_per_s.low
    assert any("50 are asked" in warning for warning in busy.warnings)
    assert not any("are asked" in warning for warning in idle.warnings)


def test_more_in_flight_than_run_together_are_warned_of() -> None:
    asked = {
        "model": "qwen3-8b",
        "load": {"concurrency": 2, "input_tokens": 120_000, "output_tokens": 100},
        "place": {"kind": "home"},
    }
    made = plan("any", Request.model_validate_json(json.dumps(asked)), FACTS)
    assert made.estimates.saturation_concurrency == 1
    assert any("2 requests are in flight, 1 run" in warning for warning in made.warnings)


def test_an_estimate_above_what_is_answered_says_so() -> None:
    def notes(rate: float) -> str:
        load = {"request_rate": rate, "input_tokens": 1024, "output_tokens": 256}
        [question] = read_questions([json.dumps({"model": "qwen3-8b", "gpu": "L40S", "load": load})])
        return " ".join(answer(question, FACTS)["notes"])

    assert "20 requests/s are asked" in notes(20.0)
    assert "are asked" not in notes(1.0)
