"""
Bytes of GPU memory that LoRA adapters take: slots that the engine allocates when it starts.

A slot holds two factors for every matrix of the language model, at the largest rank: rank x inputs and outputs x rank,
cut over tensor-parallel ranks only where the matrix itself is (a column-parallel layer's first factor and a
row-parallel layer's second one are whole on every rank). Towers take none.

Source: vLLM 0.32.0 ``lora/layers``; equals data/measurements/lora-oracle.jsonl. SGLang 0.5.23 ``lora/mem_pool.py``
sizes the same factors, without those of routers, embedding and output head.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Literal

from sizing.engine.tensors import Tensor, attention_layer, feed_forward, layer_kinds, linear_attention_layer, stages
from sizing.facts.memory_rules import lora_rules
from sizing.facts.model import Model
from sizing.facts.versions import release_of

ELEMENT_BYTES = 2  # --lora-dtype auto: the model's own, never quantised


@lru_cache(maxsize=4096)
def lora_bytes(
    model: Model,
    *,
    engine: Literal["vllm", "sglang"],
    engine_version: str,
    max_loras: int,
    max_lora_rank: int,
    tp: int = 1,
    pp: int = 1,
    expert_parallel: bool = False,
) -> tuple[int, ...]:
    """Bytes of *max_loras* slots of *max_lora_rank* on one GPU of each pipeline stage."""
    rules, shape = lora_rules(), model.shape
    joined = engine == "vllm" and model.model_type in rules.joined_expert_families
    with_experts = engine == "sglang" or release_of(engine_version) >= release_of(rules.vllm_experts_since)

    def elements(tensors: Iterator[Tensor]) -> int:
        """Elements of both factors for one unit of rank."""
        total = 0
        for tensor in tensors:
            if tensor.columns == 1 or (engine == "sglang" and tensor.part in ("gate", "convolution")):
                continue
            if tensor.part == "experts" and not with_experts:
                continue
            rows, columns, copies = tensor.on_rank(tp, expert_parallel)
            firsts = copies // 2 if joined and tensor.part == "experts" and tensor.split == "rows" else copies
            total += firsts * columns + copies * rows
        return total

    kinds = layer_kinds(model)
    common = elements(feed_forward(model))
    full = elements(attention_layer(model)) + common
    linear = elements(linear_attention_layer(model)) + common if model.linear_attention else 0
    table = shape.vocab_size + shape.hidden_size
    if engine == "sglang" or model.model_type not in rules.embedding_families:
        table = 0
    found = []
    for stage, layers in enumerate(stages(shape.layers, pp)):
        count = sum(full if kinds[layer] else linear for layer in layers)
        count += table * ((stage == 0) + (stage == pp - 1 and model.modality != "embedding"))
        found.append(count * max_loras * max_lora_rank * ELEMENT_BYTES)
    return tuple(found)
