"""What users see of a replica: properties that hold whatever the constants are."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise, permutations

import pytest

from sizing.engine.settings import Settings
from sizing.engine.setup import Setup, resolve
from sizing.facts.catalogue import load_facts
from sizing.facts.gpu import Gpu
from sizing.request.traffic import Traffic
from sizing.speed.performance import Performance, performance

FACTS = load_facts()
CARDS = ("A10G", "RTX 4090", "A100-40GB-SXM", "A100-80GB-SXM", "H100-SXM", "H200-SXM")


def setup(gpu: str = "H100-SXM", precision: str = "bf16", engine: str = "vllm", **asked: object) -> Setup:
    return resolve(
        FACTS.model("qwen3-8b")[0],
        precision,
        FACTS.gpu(gpu),
        engine=engine,  # type: ignore[arg-type]
        engine_version="0.32.0" if engine == "vllm" else "0.5.23",
        asked=Settings(max_model_len=8192, **asked),  # type: ignore[arg-type]
    )


def closed(clients: int, given: int = 1024, produced: int = 256, **more: object) -> Traffic:
    return Traffic(clients, None, given, produced, **more)  # type: ignore[arg-type]


def perform(of: Setup, traffic: Traffic, kv_cache_tokens: int = 400_000) -> Performance:
    return performance(of, traffic, kv_cache_tokens, 4096)


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
@pytest.mark.parametrize("gpu", ["A10G", "H100-SXM", "B200-SXM"])
def test_ttft_grows_with_the_prompt(engine: str, gpu: str) -> None:
    of = setup(gpu, engine=engine)
    seen = [perform(of, closed(8, given)).ttft_s.mean for given in (16, 128, 512, 513, 1024, 2048, 4096, 7000)]
    assert seen == sorted(seen)


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
@pytest.mark.parametrize("gpu", ["A10G", "H100-SXM", "B200-SXM"])
def test_tpot_and_throughput_grow_with_concurrency(engine: str, gpu: str) -> None:
    of = setup(gpu, engine=engine)
    seen = [perform(of, closed(clients)) for clients in (1, 2, 4, 8, 16, 32, 64, 128, 200)]
    tpot, rate = [s.tpot_s.mean for s in seen], [s.output_tokens_per_s.mean for s in seen]
    assert tpot == sorted(tpot)
    assert all(later >= 0.999 * before for before, later in pairwise(rate))


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
@pytest.mark.parametrize("faster", ["mem_bandwidth_gb_s", "bf16_dense_tflops"])
@pytest.mark.parametrize("clients", [1, 16, 64, 256])
def test_throughput_never_falls_with_a_faster_card(engine: str, faster: str, clients: int) -> None:
    slow = setup("A100-80GB-SXM", engine=engine)
    gpu = slow.gpu.model_copy(update={faster: 1.4 * getattr(slow.gpu, faster)})
    fast = perform(replace(slow, gpu=gpu), closed(clients)).output_tokens_per_s.mean
    assert fast >= 0.999 * perform(slow, closed(clients)).output_tokens_per_s.mean


def dominated() -> list[tuple[str, str]]:
    """Pairs of cards of which the second is nowhere slower by its datasheet."""

    def rates(gpu: Gpu) -> list[float]:
        tensor = (gpu.bf16_dense_tflops, gpu.fp8_dense_tflops, gpu.int8_dense_tops, gpu.fp4_dense_tflops)
        return [gpu.mem_bandwidth_gb_s, *(rate or 0.0 for rate in tensor)]

    pairs = permutations(FACTS.gpus.values(), 2)
    return [(a.id, b.id) for a, b in pairs if all(x <= y for x, y in zip(rates(a), rates(b), strict=True))]


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
@pytest.mark.parametrize("model", ["qwen3-0.6b", "qwen3-8b", "qwen3-30b-a3b", "qwen3.5-27b"])
def test_a_card_that_is_nowhere_slower_by_its_datasheet_is_not_slower(engine: str, model: str) -> None:
    seen = {}
    for gpu in FACTS.gpus.values():
        of = replace(setup(gpu.id, engine=engine, max_num_batched_tokens=2048), model=FACTS.model(model)[0])
        for clients in (1, 16, 64):
            seen[gpu.id, clients] = perform(of, closed(clients))
    pairs = dominated()
    assert len(pairs) > 100
    for slow, fast in pairs:
        for clients in (1, 16, 64):
            before, after = seen[slow, clients], seen[fast, clients]
            assert after.tpot_s.mean <= 1.01 * before.tpot_s.mean, (slow, fast, clients)
            assert after.output_tokens_per_s.mean >= 0.99 * before.output_tokens_per_s.mean, (slow, fast, clients)
            assert after.ttft_s.mean <= 1.1 * before.ttft_s.mean, (slow, fast, clients)  # a prompt may just miss a step


@pytest.mark.parametrize("clients", [1, 8, 64, 500])
def test_littles_law_holds_in_a_closed_loop(clients: int) -> None:
    seen = perform(setup(), closed(clients))
    in_system = seen.requests_per_s.mean * (seen.ttft_s.mean + 255 * seen.tpot_s.mean)
    assert in_system == pytest.approx(clients, rel=0.01)


def test_one_client_alone_waits_for_its_own_prompt_only() -> None:
    seen = perform(setup(), closed(1))
    assert seen.ttft_s.mean == pytest.approx(seen.ttft_s.p99, rel=1e-9)
    assert seen.output_tokens_per_s.mean == pytest.approx(256 / (seen.ttft_s.mean + 255 * seen.tpot_s.mean))


def test_more_clients_than_the_cache_holds_saturate_the_replica() -> None:
    few, many = (perform(setup(), closed(clients), kv_cache_tokens=30_000) for clients in (16, 200))
    assert (few.saturated, many.saturated) == (False, True)
    assert many.ttft_s.mean > 20 * few.ttft_s.mean
    assert many.output_tokens_per_s.mean == pytest.approx(
        perform(setup(), closed(400), kv_cache_tokens=30_000).output_tokens_per_s.mean, rel=0.01
    )


def test_a_cache_too_small_for_a_burst_preempts_and_still_answers_all() -> None:
    tight = perform(setup(), closed(64, 200, 1000, pattern="burst"), kv_cache_tokens=20_000)
    roomy = perform(setup(), closed(64, 200, 1000, pattern="burst"))
    assert 0 < tight.output_tokens_per_s.mean < roomy.output_tokens_per_s.mean


def test_cached_prefixes_shorten_ttft() -> None:
    cold, warm = (perform(setup(), closed(16, prefix_hit_rate=share)).ttft_s.mean for share in (0.0, 0.9))
    assert warm < 0.8 * cold


def test_poisson_arrivals_below_capacity_are_served_at_their_rate_and_above_it_saturate() -> None:
    calm = perform(setup(), Traffic(None, 2.0, 1024, 256, "poisson"))
    flood = perform(setup(), Traffic(None, 500.0, 1024, 256, "poisson"))
    assert (calm.saturated, calm.requests_per_s.mean) == (False, 2.0)
    assert flood.saturated
    assert flood.requests_per_s.mean < 100
    assert flood.ttft_s.mean > 10 * calm.ttft_s.mean


def test_percentiles_ascend_and_the_band_holds_the_mean() -> None:
    seen = perform(setup(), closed(64))
    for figure in (seen.ttft_s, seen.tpot_s):
        assert figure.p50 is not None
        assert figure.p50 <= figure.p95 <= figure.p99  # type: ignore[operator]
    for figure in (seen.ttft_s, seen.tpot_s, seen.output_tokens_per_s, seen.requests_per_s):
        assert figure.low < figure.mean < figure.high


def test_the_band_widens_with_the_distance_from_what_was_measured() -> None:
    of = [
        setup("H200-SXM"),  # this model on this card
        setup("L40S"),  # the card, with other models
        setup("RTX 4090"),  # a card of its class
        setup("A10G"),  # nothing of its class
    ]
    seen = [perform(one, closed(16)).tpot_s for one in of]
    widths = [figure.high / figure.low for figure in seen]
    assert widths == sorted(widths)
    assert widths[0] < widths[2]
    assert [figure.basis for figure in seen] == ["calibrated", "calibrated", "calculated", "calculated"]
    assert "A10G" in seen[-1].source


def test_drafting_and_pipelines_get_the_widest_band() -> None:
    plain = setup("H200-SXM")
    known = perform(plain, closed(16)).tpot_s
    for of in (replace(plain, speculative_tokens=2), replace(plain, pp=2)):
        seen = perform(of, closed(16)).tpot_s
        assert seen.high / seen.low > known.high / known.low


def test_all_48_cells_of_qwen3_8b_are_answered_quickly() -> None:
    grid = [
        (setup(card, precision), clients)
        for card in CARDS
        for precision in ("bf16", "awq")
        for clients in (1, 16, 64, 256)
    ]
    perform(*((grid[0][0]), closed(1)))  # the data files are read once
    seen: list[Performance] = []
    before = cpu_s(count)
    took = cpu_s(lambda: seen.extend(perform(of, closed(clients), 60_000) for of, clients in grid))
    after = cpu_s(count)
    print(f"{took:.3f} s, a count {before:.3f} s and {after:.3f} s")
    assert len(seen) == 48
    assert all(math.isfinite(s.ttft_s.mean) and s.output_tokens_per_s.mean > 0 for s in seen)
    assert took < 5 * max(before, after)


def cpu_s(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def count() -> int:
    """Work that takes as long on an idle core as the grid should, and longer on whatever makes that slower."""
    total = 0
    for number in range(1_000_000):
        total += number
    return total
