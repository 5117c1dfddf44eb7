"""KV capacity against vLLM's own answers (data/measurements/oracle.jsonl): exact, refusals included."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sizing.facts.catalogue import load_facts
from sizing.facts.fact import DATA
from sizing.memory.kv_cache import capacity, layouts, sglang_capacity
from sizing.units import GIB

FACTS = load_facts()
MODELS = sorted(FACTS.models)


def oracle() -> list[dict[str, Any]]:
    """Every line with a capacity, but those with the state narrowed by hand (an option that the kit does not offer)."""
    lines = (DATA / "measurements" / "oracle.jsonl").read_text().splitlines()
    return [line for line in map(json.loads, lines) if line["kv_gib"] and "mamba_ssm_cache_dtype" not in line["notes"]]


def test_capacity_is_vllms_own_on_every_line() -> None:
    wrong = []
    for line in oracle():
        model = FACTS.model(line["model"])[0]
        fp8 = line["kv_cache_dtype"] == "fp8"
        prefix = line.get("prefix_caching", True)
        draft = line.get("num_speculative_tokens", 0)
        layout = layouts(model, tp=line["tp"], fp8=fp8, prefix_caching=prefix, speculative_tokens=draft)[0]
        held = capacity(
            model,
            line["kv_gib"] * GIB,
            line["max_model_len"],
            tp=line["tp"],
            fp8=fp8,
            prefix_caching=prefix,
            speculative_tokens=draft,
        )
        if "error" in line:
            found: tuple[object, ...] = (held.longest_tokens, held.longest_tokens < line["max_model_len"])
            expected: tuple[object, ...] = (line["estimated_max_model_len"], True)
        else:
            found = (
                held.blocks,
                held.tokens,
                round(held.max_concurrency, 4),
                layout.block_size,
                layout.bytes_per_token,
                layout.state_bytes,
                held.longest_tokens >= line["max_model_len"],
            )
            expected = (
                line["num_blocks"],
                line["kv_tokens"],
                line["max_concurrency"],
                line["block_size"],
                line["kv_bytes_per_token_per_rank"],
                line["state_bytes_per_seq"],
                True,
            )
        if found != expected:
            wrong.append((line["model"], line["tp"], found, expected))
    assert len(oracle()) == 625
    assert wrong == []


def test_a_plain_model_by_hand() -> None:
    """Qwen3-8B: 2 x 8 heads x 128 x 2 B x 36 layers = 147,456 B a token; 4.92 GiB = 2,239 blocks of 16."""
    held = capacity(FACTS.models["qwen3-8b"], 2_239 * 16 * 147_456, 8192)
    assert (held.blocks, held.tokens) == (2_239, 35_824)


def test_a_block_of_128_as_on_a_cpu_by_hand() -> None:
    """A block then costs 18,874,368 B: 1 GiB holds 56 of them, 7,168 tokens."""
    held = capacity(FACTS.models["qwen3-8b"], GIB, 1024, 128)
    assert (held.blocks, held.block_size, held.tokens) == (56, 128, 7_168)


def test_a_hybrid_on_sglang_runs_no_more_requests_than_it_has_states_for_by_hand() -> None:
    """States of 39,518,208 B get 0.9 / 1.9 of 8 GiB: 102 of them; the rest holds 185,509 tokens of 24,576 B."""
    layout = layouts(FACTS.models["qwen3-next-80b-a3b-instruct"])
    short, long = (sglang_capacity(layout, (8 * GIB,), length) for length in (100, 100_000))
    assert (short.tokens, short.max_concurrency) == (185_509, 102)
    assert long.max_concurrency == 1.85509


@pytest.mark.parametrize("key", MODELS)
def test_state_and_token_bytes_are_those_of_the_catalogue(key: str) -> None:
    model = FACTS.models[key]
    layout = layouts(model)[0]
    shape, linear = model.shape, model.linear_attention
    plain = 4 * shape.full_attention_layers * shape.kv_heads * shape.head_dim
    assert layout.bytes_per_token == plain + shape.extra_kv_bytes_per_token
    assert layout.state_bytes == (linear.state_bytes_per_sequence if linear else 0)


sizes = st.integers(min_value=2**20, max_value=2**41)
lengths = st.integers(min_value=1, max_value=1_000_000)


@given(st.sampled_from(MODELS), sizes, sizes, lengths)
def test_more_kv_memory_never_holds_fewer_tokens(key: str, one: int, other: int, length: int) -> None:
    less, more = (capacity(FACTS.models[key], size, length) for size in sorted((one, other)))
    assert less.tokens <= more.tokens
    assert less.longest_tokens <= more.longest_tokens


@given(st.sampled_from(MODELS), sizes)
def test_the_longest_request_fits_and_one_token_more_does_not(key: str, size: int) -> None:
    model = FACTS.models[key]
    layout = layouts(model)[0]
    held = capacity(model, size, 1024)
    if held.longest_tokens > 0:
        assert (
            layout.request_blocks(held.longest_tokens)
            <= held.blocks - 1
            < layout.request_blocks(held.longest_tokens + 1)
        )


@given(st.sampled_from(MODELS), lengths, lengths)
def test_a_longer_request_never_takes_less_memory(key: str, one: int, other: int) -> None:
    short, long = sorted((one, other))
    for layout in layouts(FACTS.models[key]):
        assert layout.request_blocks(short) <= layout.request_blocks(long)


@given(st.sampled_from(MODELS), sizes, lengths)
def test_fp8_kv_never_holds_fewer_tokens(key: str, size: int, length: int) -> None:
    model = FACTS.models[key]
    assert capacity(model, size, length).tokens <= capacity(model, size, length, fp8=True).tokens
