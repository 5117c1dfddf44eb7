"""Memory of LoRA slots: what vLLM's LoRA manager allocates (data/measurements/lora-oracle.jsonl), and arithmetic."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sizing.engine.settings import Settings
from sizing.engine.setup import Setup, resolve
from sizing.errors import BadRequest
from sizing.facts.catalogue import load_facts
from sizing.facts.fact import DATA
from sizing.facts.memory_rules import lora_rules
from sizing.memory.lora import lora_bytes
from sizing.memory.memory import memory
from sizing.units import GIB

FACTS = load_facts()
ORACLE = [json.loads(line) for line in (DATA / "measurements" / "lora-oracle.jsonl").read_text().splitlines()]


def slots(model: str, **asked: Any) -> int:
    given_args = {"engine": "vllm", "engine_version": "0.32.0", "max_loras": 1, "max_lora_rank": 16, **asked}
    return sum(lora_bytes(FACTS.models[model], **given_args))


def setup(model: str, **asked: Any) -> Setup:
    return resolve(
        FACTS.models[model],
        "bf16",
        FACTS.gpu("L40S"),
        engine="vllm",
        engine_version="0.32.0",
        asked=Settings(max_model_len=4096, **asked),
    )


def test_slots_are_what_vllm_allocates() -> None:
    """Every architecture; exact but for Qwen3-Next (0.2 %) and Flash-Next, whose hyper-connections take slots too."""
    off: dict[str, float] = {}
    for line in ORACLE:
        asked = {name: line[name] for name in ("tp", "max_loras", "max_lora_rank")}
        off[line["model"]] = max(
            off.get(line["model"], 0.0), abs(slots(line["model"], **asked) / line["bytes_per_rank"] - 1)
        )
    assert len(ORACLE) > 100
    assert off.pop("qwen3.8-flash-next") < 0.02
    assert max(off.values()) < 0.002
    assert sum(error == 0 for error in off.values()) >= len(off) - 3


def test_experts_take_adapters_since_0_11_1() -> None:
    assert slots("qwen3-30b-a3b", engine_version="0.11.0") < slots("qwen3-30b-a3b", engine_version="0.11.1") / 10


def test_adapters_come_out_of_the_kv_cache() -> None:
    plain, adapted = memory(setup("qwen3-8b")), memory(setup("qwen3-8b", max_loras=4, max_lora_rank=64))
    taken = slots("qwen3-8b", max_loras=4, max_lora_rank=64)
    lines = {line.name: line.bytes for line in adapted.ledger}
    assert taken == pytest.approx(1.45 * GIB, rel=0.01)
    assert lines["LoRA adapters"] == taken
    assert plain.kv_cache_bytes - adapted.kv_cache_bytes == taken + lines["CUDA graphs"] // 2


def test_a_rank_that_vllm_does_not_take_is_refused_with_the_next_one() -> None:
    with pytest.raises(BadRequest, match=r"max_lora_rank 24 is none of vLLM's .*; 32 works"):
        setup("qwen3-8b", max_loras=1, max_lora_rank=24)


@given(
    st.sampled_from(sorted(FACTS.models)),
    st.sampled_from(["vllm", "sglang"]),
    st.integers(1, 16),
    st.sampled_from(lora_rules().vllm_ranks),
    st.integers(1, 4),
)
def test_slots_grow_with_adapters_and_rank(model: str, engine: str, adapters: int, rank: int, pp: int) -> None:
    one = slots(model, engine=engine, max_loras=adapters, max_lora_rank=rank, pp=pp)
    assert one > 0
    assert slots(model, engine=engine, max_loras=adapters + 1, max_lora_rank=rank, pp=pp) > one
    assert slots(model, engine=engine, max_loras=adapters, max_lora_rank=2 * rank, pp=pp) == 2 * one
    assert one == slots(model, engine=engine, max_loras=adapters, max_lora_rank=rank)
