"""Over how many GPUs the engines can cut a model: what must divide, and by what."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from sizing.engine.tensors import QUANTISABLE
from sizing.facts.model import Model
from sizing.facts.precision import Precision, precisions

FOUR_BIT_STEP = 32  # inputs of a rank that 4-bit kernels take at once
LARGEST_TP = 64


def _widths(
    model: Model, precision: Precision, text_only: bool, expert_parallel: bool
) -> Iterator[tuple[str, int, int]]:
    """(what, count, step): *count* / tp must be a multiple of *step*."""
    shape, linear = model.shape, model.linear_attention
    yield "attention heads", shape.attention_heads, 1
    if linear:
        yield "linear-attention key heads", linear.key_heads, 1
        yield "linear-attention value heads", linear.value_heads, 1
    if model.vision and not text_only:
        yield "vision heads", model.vision.heads, 1
        yield "vision feed-forward width", model.vision.intermediate_size, 1
    form = precisions()[precision].weights
    repository = model.quantised_repository.get(precision)
    quantised = QUANTISABLE - frozenset(repository.unquantised if repository else ())

    def step(part: str) -> int:
        if part not in quantised:
            return 1
        return form.block[1] if form.block else FOUR_BIT_STEP if form.group else 1

    width = (repository.padded_intermediate_size if repository else None) or shape.intermediate_size
    if model.experts is None and width:
        yield "feed-forward width", width, step("ffn")
    if model.experts:
        if not expert_parallel:
            # FP8 kernels refine their scales to any width of a rank; 4-bit ones no finer than a step.
            yield "expert width", model.experts.intermediate_size, 1 if form.block else step("experts")
        if model.experts.shared_intermediate_size:
            yield "shared-expert width", model.experts.shared_intermediate_size, step("shared_expert")
    yield "attention width", shape.attention_heads * shape.head_dim, step("attention")
    if linear:
        yield "linear-attention width", linear.value_heads * linear.value_head_dim, step("linear_attention")


def uncut(model: Model, precision: Precision, tp: int, text_only: bool, expert_parallel: bool) -> str | None:
    """What does not divide over *tp*, in words; None when everything does."""
    for what, count, step in _widths(model, precision, text_only, expert_parallel):
        if count % (tp * step):
            unit = f" in multiples of {step} (its {precision} scales)" if step > 1 else ""
            return f"{count} {what}, which do not divide over tp {tp}{unit}"
    kv_heads = model.shape.kv_heads
    if kv_heads % tp and tp % kv_heads:
        return f"{kv_heads} KV heads, which neither divide tp {tp} nor are divided by it"
    return None


@lru_cache(maxsize=4096)
def tensor_parallel_sizes(
    model: Model, precision: Precision, *, text_only: bool = False, expert_parallel: bool = False
) -> tuple[int, ...]:
    """Every tensor-parallel size that the engines can cut the model into, ascending; 1 always works."""
    sizes = range(2, LARGEST_TP + 1)
    return (1, *(tp for tp in sizes if not uncut(model, precision, tp, text_only, expert_parallel)))
