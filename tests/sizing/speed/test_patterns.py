"""The first wave of a closed loop counts as often as it occurs."""

from __future__ import annotations

import pytest

from sizing.engine.settings import Settings
from sizing.engine.setup import resolve
from sizing.facts.catalogue import load_facts
from sizing.request.traffic import Traffic
from sizing.speed.performance import Performance, performance

FACTS = load_facts()


def seen(clients: int = 64, *, engine: str = "vllm", version: str = "0.32.0", **load: object) -> Performance:
    of = resolve(
        FACTS.model("qwen3-8b")[0],
        "bf16",
        FACTS.gpu("H100-SXM"),
        engine=engine,  # type: ignore[arg-type]
        engine_version=version,
        asked=Settings(max_model_len=8192),
    )
    return performance(of, Traffic(clients, None, 1024, 256, **load), 400_000, 4096)  # type: ignore[arg-type]


def test_the_more_requests_a_client_sends_the_less_the_first_wave_counts() -> None:
    rounds = [seen(requests=64 * count).ttft_s.mean for count in (3, 10, 100, 300)]
    assert rounds == sorted(rounds, reverse=True)


def test_ten_requests_per_client_are_what_is_answered_when_none_are_named() -> None:
    assert seen(requests=640).ttft_s.mean == pytest.approx(seen().ttft_s.mean)


def test_as_many_requests_as_clients_are_a_burst() -> None:
    alone, burst = seen(requests=64), seen(pattern="burst")
    assert alone.ttft_s.mean == pytest.approx(burst.ttft_s.mean)
    assert alone.output_tokens_per_s.mean == pytest.approx(burst.output_tokens_per_s.mean)


def test_the_median_is_that_of_a_long_run() -> None:
    medians = [seen(requests=64 * count).tpot_s.p50 for count in (10, 300)]
    assert medians[0] == pytest.approx(medians[1], rel=0.02)


def test_throughput_of_a_long_run_is_that_of_the_steady_state() -> None:
    long, longer = (seen(requests=64 * count).output_tokens_per_s.mean for count in (100, 300))
    assert long == pytest.approx(longer, rel=0.01)


def test_an_engine_in_lock_step_meets_a_burst_every_time() -> None:
    early, late = (seen(engine="sglang", version=version).ttft_s.mean for version in ("0.5.1", "0.5.23"))
    assert early > 2 * late
