"""What must hold across whole answers, whatever is asked."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from sizing.engine.settings import Settings
from sizing.engine.setup import resolve
from sizing.facts.catalogue import load_facts
from sizing.facts.gpu import Gpu
from sizing.request.traffic import Traffic
from sizing.speed.performance import Performance, performance
from sizing.speed.scheduler import Scheduler
from sizing.speed.step import StepModel

FACTS = load_facts()
MODELS = st.sampled_from(["qwen3-0.6b", "qwen3-8b", "qwen3-30b-a3b", "qwen2.5-7b"])
ENGINES = st.sampled_from(["vllm", "sglang"])
LENGTHS = st.integers(1, 4000)


def faster(gpu: Gpu, times: float) -> Gpu:
    """*gpu* with every rate of its datasheet *times* as high."""
    rates = ("mem_bandwidth_gb_s", "bf16_dense_tflops", "fp8_dense_tflops", "int8_dense_tops", "fp4_dense_tflops")
    return gpu.model_copy(update={name: rate * times for name in rates if (rate := getattr(gpu, name))})


def on(gpu: Gpu, model: str, engine: str, traffic: Traffic) -> Performance:
    setup = resolve(
        FACTS.models[model],
        "bf16",
        gpu,
        engine="sglang" if engine == "sglang" else "vllm",
        engine_version=FACTS.engines["sglang" if engine == "sglang" else "vllm"].default_version,
        asked=Settings(max_model_len=8192, kv_cache_bytes=2**34),
    )
    least_s = Scheduler(setup, StepModel.of(setup), traffic, 400_000, 256).fastest_s()
    found = performance(setup, traffic, 400_000, 256)
    assert found.ttft_s.mean >= least_s * 0.999
    return found


@settings(max_examples=40)
@given(MODELS, ENGINES, st.sampled_from(sorted(FACTS.gpus)), LENGTHS, LENGTHS, st.integers(1, 200), st.floats(1.05, 4))
def test_throughput_never_falls_with_a_faster_card(
    model: str, engine: str, gpu: str, tokens_in: int, tokens_out: int, clients: int, times: float
) -> None:
    traffic = Traffic(clients, None, tokens_in, tokens_out)
    slow = on(FACTS.gpus[gpu], model, engine, traffic)
    fast = on(faster(FACTS.gpus[gpu], times), model, engine, traffic)
    assert fast.output_tokens_per_s.mean >= slow.output_tokens_per_s.mean * 0.99


@settings(max_examples=40)
@given(MODELS, ENGINES, st.sampled_from(sorted(FACTS.gpus)), LENGTHS, LENGTHS, st.integers(1, 100), st.integers(2, 4))
def test_ttft_never_falls_with_clients(
    model: str, engine: str, gpu: str, tokens_in: int, tokens_out: int, clients: int, times: int
) -> None:
    few = Traffic(clients, None, tokens_in, tokens_out)
    some = on(FACTS.gpus[gpu], model, engine, few)
    more = on(FACTS.gpus[gpu], model, engine, replace(few, concurrency=clients * times))
    assert more.ttft_s.mean >= some.ttft_s.mean * 0.97
