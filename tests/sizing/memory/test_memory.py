"""
The memory answer against engines: starts measured for this kit, public start-up logs, worked cases and arithmetic.
"""

from __future__ import annotations

import itertools
import statistics
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.pages.memory_table import FACTS, PAGE, ask, compared, measured_starts, table, with_table
from sizing.engine.cuts import tensor_parallel_sizes
from sizing.errors import KitError
from sizing.facts.precision import Precision
from sizing.facts.precision import precisions as known_precisions
from sizing.memory.memory import MemoryAnswer
from sizing.units import GIB

MODELS = sorted(FACTS.models)
GPUS = sorted(FACTS.gpus)
CASES = sorted((Path(__file__).parent / "cases").glob("*.toml"))


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_a_worked_case_comes_out(path: Path) -> None:
    case = tomllib.loads(path.read_text())
    assert case["why"]
    answer, expect = ask(**case["question"]), case["expect"]
    figures = {
        "kv_cache_tokens": answer.kv_cache_tokens,
        "kv_cache_gib": answer.kv_cache_bytes / GIB,
        "weight_bytes": answer.weight_bytes,
        "host_memory_bytes": answer.host_memory_bytes,
    }
    assert answer.fits == expect.pop("fits")
    assert (answer.reason is None) == answer.fits
    for part in expect.pop("reason_has", []):
        assert part in (answer.reason or "")
    for name, want in expect.items():
        assert figures[name] == pytest.approx(want["value"], rel=want["within"]), name


def test_every_measured_start_is_met_within_two_percent_and_half_of_them_within_a_thousandth() -> None:
    """Ten starts of vLLM 0.26.0 on an H200: dense, MoE, hybrid; bf16, FP8, AWQ; eager; held to four sizes of card."""
    starts = measured_starts()
    assert len(starts) == 10
    errors = [abs(answer.kv_cache_tokens / start["kv_tokens_config"] - 1) for start, answer in starts]
    assert statistics.median(errors) <= 0.001
    for start, answer in starts:
        assert answer.fits
        assert answer.kv_cache_tokens == pytest.approx(start["kv_tokens_config"], rel=0.02), start["case"]
        assert answer.kv_cache_tokens_low <= start["kv_tokens_config"] <= answer.kv_cache_tokens_high
        assert answer.max_concurrency == pytest.approx(start["log"]["max_concurrency"], rel=0.02)
        # The log counts what the allocator holds after loading.
        loaded = sum(line.bytes for line in answer.ledger if line.name in ("rotary tables", "allocator rounding"))
        assert (answer.weight_bytes + loaded) / GIB == pytest.approx(start["log"]["weights_gib"], abs=0.015)


def test_public_start_up_logs_are_met() -> None:
    """KV memory of every start that says enough: median error below 1 %, the worst within the boot-to-boot spread."""
    errors = {}
    for row, answer in compared():
        if row["outcome"] == "ok" and row["kv_cache_tokens"]:
            errors[row["id"]] = abs(answer.kv_cache_tokens / int(row["kv_cache_tokens"]) - 1)
        elif row["outcome"] == "ok" and row["kv_cache_gib_per_gpu"]:
            errors[row["id"]] = abs(answer.kv_cache_bytes / GIB / float(row["kv_cache_gib_per_gpu"]) - 1)
    assert len(errors) >= 13
    assert statistics.median(errors.values()) <= 0.01
    assert {row: error for row, error in errors.items() if error > 0.08} == {"m050": pytest.approx(0.113, abs=0.005)}


def test_the_page_shows_the_starts_as_they_are_answered_now() -> None:
    page = PAGE.read_text()
    assert page == with_table(page, table()), "docs/memory.md is stale; run: python -m lab.pages.memory_table"


def test_what_ran_out_of_memory_or_was_refused_never_fits() -> None:
    failed = [(row, answer) for row, answer in compared() if row["outcome"] != "ok"]
    assert len(failed) >= 6
    assert [row["id"] for row, answer in failed if answer.fits] == []


def test_what_ran_is_not_refused() -> None:
    ran = [(row, answer) for row, answer in compared() if row["outcome"] == "ok"]
    assert len(ran) >= 14
    assert [(row["id"], answer.reason) for row, answer in ran if not answer.fits] == []


models = st.sampled_from(MODELS)
gpus = st.sampled_from(GPUS)
precisions = st.sampled_from(list(known_precisions()))
versions = st.sampled_from(["0.6.6", "0.8.5", "0.11.0", "0.19.1", "0.26.0", "0.33.0", "0.99.0"])


def served(model: str, gpu: str, precision: Precision, version: str, **asked: Any) -> MemoryAnswer | None:
    try:
        return ask(model, gpu, precision=precision, engine_version=version, **asked)
    except KitError:
        return None


@given(models, gpus, precisions, versions, st.integers(1, 16), st.integers(1, 4), st.booleans())
def test_the_ledger_sums_to_the_card_and_the_band_holds_the_answer(
    model: str, gpu: str, precision: Precision, version: str, tp: int, pp: int, eager: bool
) -> None:
    answer = served(model, gpu, precision, version, tp=tp, pp=pp, enforce_eager=eager)
    if answer is None:
        return
    assert sum(line.bytes for line in answer.ledger) == round(FACTS.gpus[gpu].cuda_total_gib.value * GIB)
    assert all(line.bytes > 0 for line in answer.ledger[:-1])
    assert 0 <= answer.kv_cache_tokens_low <= answer.kv_cache_tokens <= answer.kv_cache_tokens_high
    assert (answer.reason is None) == answer.fits


@given(models, gpus, precisions, st.integers(1, 40_960), st.integers(1, 40_960))
def test_a_longer_context_never_takes_less_memory(
    model: str, gpu: str, precision: Precision, one: int, other: int
) -> None:
    short, long = sorted((one, other))
    few = served(model, gpu, precision, "0.32.0", max_model_len=short)
    many = served(model, gpu, precision, "0.32.0", max_model_len=long)
    if few and many:
        assert few.max_concurrency >= many.max_concurrency
        assert few.fits or not many.fits


@given(models, gpus, versions, st.integers(1, 2048), st.integers(1, 2048))
def test_more_sequences_never_leave_more_kv_memory(model: str, gpu: str, version: str, one: int, other: int) -> None:
    few, many = sorted((one, other))
    less = served(model, gpu, "bf16", version, max_num_seqs=few)
    more = served(model, gpu, "bf16", version, max_num_seqs=many)
    if less and more:
        assert less.kv_cache_bytes >= more.kv_cache_bytes


@given(models, st.sampled_from(["vllm", "sglang"]), st.floats(4, 300), st.floats(4, 300))
def test_a_larger_card_never_holds_less(
    model: str, engine: Literal["vllm", "sglang"], one: float, other: float
) -> None:
    small, large = sorted((one, other))
    version = "0.32.0" if engine == "vllm" else "0.5.23"
    fixed = {"gpu_memory_utilization": 0.9, "max_num_seqs": 64, "max_num_batched_tokens": 2048, "engine": engine}
    less = served(model, "L40S", "bf16", version, device_memory_gib=small, **fixed)
    more = served(model, "L40S", "bf16", version, device_memory_gib=large, **fixed)
    if less and more:
        assert less.kv_cache_tokens <= more.kv_cache_tokens


def natural_setups() -> Iterator[tuple[str, Precision, str, Literal["vllm", "sglang"], int, int]]:
    """Every model in every precision that was published for it, on every GPU, cut in every usual way."""
    for key, model in FACTS.models.items():
        published: list[Any] = ["bf16", *sorted({kind for kind in model.quantised.values() if kind != "gguf"})]
        for precision, gpu in itertools.product(published, GPUS):
            for engine, (tp, pp) in itertools.product(
                ("vllm", "sglang"), ((1, 1), (2, 1), (4, 1), (8, 1), (16, 1), (8, 2))
            ):
                yield key, precision, gpu, engine, tp, pp  # type: ignore[misc]


def test_every_model_on_every_card_gets_a_sound_answer_or_a_reason() -> None:
    """One in twenty of all, always the same ones (the whole of them takes 20 s: no failure either)."""
    asked = answered = 0
    for model, precision, gpu, engine, tp, pp in itertools.islice(natural_setups(), 0, None, 20):
        asked += 1
        version = "0.32.0" if engine == "vllm" else "0.5.23"
        answer = served(model, gpu, precision, version, engine=engine, tp=tp, pp=pp)
        if answer is None:
            continue
        answered += 1
        assert sum(line.bytes for line in answer.ledger) == round(FACTS.gpus[gpu].cuda_total_gib.value * GIB)
        assert answer.weight_bytes > 0
        assert (answer.reason is None) == answer.fits
        assert answer.kv_cache_tokens_low <= answer.kv_cache_tokens <= answer.kv_cache_tokens_high
        assert not answer.fits or answer.kv_cache_tokens > 0
        assert not answer.fits or engine == "sglang" or answer.max_concurrency >= 1
    assert asked > 4000
    assert answered > asked / 2


def test_the_largest_model_stands_on_several_nodes() -> None:
    """2.4T parameters in bf16: 4.5 TiB. Four nodes of 8 B300 hold it at tp 8 x pp 4, two do not."""
    held = ask("qwen3.8-2.4t-a95b", "B300", precision="bf16", tp=8, pp=4, max_model_len=32_768)
    assert held.fits
    assert 4 * 8 * held.weight_bytes == pytest.approx(2 * FACTS.models["qwen3.8-2.4t-a95b"].params.total, rel=0.05)
    assert not ask("qwen3.8-2.4t-a95b", "B300", precision="bf16", tp=8, pp=2, max_model_len=32_768).fits


def test_an_embedding_model_takes_no_sampler() -> None:
    """Pooling has no logits: what is left beside weights is a forward pass."""
    pooled = {line.name: line.bytes for line in ask("qwen3-embedding-8b", "H100", engine_version="0.19.1").ledger}
    chats = {line.name: line.bytes for line in ask("qwen3-8b", "H100", engine_version="0.19.1").ledger}
    assert pooled["activations"] < chats["activations"]


def test_a_card_too_small_for_the_weights_is_told_so_whatever_kv_cache_is_given() -> None:
    answer = ask("qwen3-32b", "RTX 4090", kv_cache_gib=1, max_model_len=4096)
    assert answer.reason
    assert answer.reason.endswith("tp 4 or awq fits.")


def test_a_card_held_to_another_size_keeps_its_own_defaults() -> None:
    held, whole = ask("qwen3-8b", "H200", device_memory_gib=80), ask("qwen3-8b", "H200")
    activations = [{line.name: line.bytes for line in answer.ledger}["activations"] for answer in (held, whole)]
    assert activations[0] == activations[1]


@given(models, st.data())
def test_a_suggested_length_fits_when_it_is_asked(model: str, data: st.DataObject) -> None:
    gpu = data.draw(gpus)
    answer = served(model, gpu, "bf16", "0.32.0", max_num_seqs=8)
    if answer and answer.reason and "max_model_len" in answer.reason.split(". ")[-1]:
        length = int(answer.reason.split(". ")[-1].split()[1])
        assert ask(model, gpu, max_model_len=length, max_num_seqs=8).fits


@given(models, st.data())
def test_given_kv_memory_is_held_exactly_as_it_is(model: str, data: st.DataObject) -> None:
    tp = data.draw(st.sampled_from(tensor_parallel_sizes(FACTS.models[model], "bf16")))
    answer = served(model, "H200", "bf16", "0.32.0", tp=tp, kv_cache_gib=8, device_memory_gib=10_000)
    if answer:
        assert answer.kv_cache_bytes == 8 * GIB
        assert answer.kv_cache_tokens_low == answer.kv_cache_tokens == answer.kv_cache_tokens_high


def test_an_unknown_version_says_so_and_widens_the_band() -> None:
    known = ask("qwen3-8b", "L40S", engine_version="0.33.0")
    newer = ask("qwen3-8b", "L40S", engine_version="0.50.0")
    assert any("newer than the newest known rule (0.33.0)" in note for note in newer.notes)
    assert newer.kv_cache_tokens == known.kv_cache_tokens
    assert newer.kv_cache_tokens_low < known.kv_cache_tokens_low
    assert newer.kv_cache_tokens_high > known.kv_cache_tokens_high


def test_yarn_is_switched_on_only_beyond_the_native_length() -> None:
    assert ask("qwen3-8b", "H100", max_model_len=40_960).yarn_factor is None
    assert ask("qwen3-8b", "H100", max_model_len=40_961).yarn_factor == 4.0


def test_fewer_bits_are_suggested_only_where_a_checkpoint_exists_and_the_card_runs_it() -> None:
    """A T4 has no fp8 kernel, and nobody published Qwen3-Embedding-8B in 4 bits."""
    assert "fp8" not in (ask("qwen3-8b", "T4", precision="fp16").reason or "")
    answer = ask("qwen3-embedding-8b", "T4", precision="fp16")
    assert answer.reason
    assert answer.reason.endswith("tp 2 fits.")
