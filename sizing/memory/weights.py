"""
Bytes of weights on each GPU of a replica: every tensor of the architecture, cut as the engine cuts it.

A tensor-parallel engine splits matrices by rows (outputs) or columns (inputs) over ``tp`` ranks, keeps at least one
KV head on each, and copies the rest (norms, routers, biases of row-parallel layers). A pipeline stage holds whole
layers; the first holds the embedding, the last the output head.

Source: parameters as vLLM 0.32.0 creates them; equals data/measurements/oracle.jsonl (see test_weights.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from typing import NamedTuple

from sizing.engine.tensors import (
    QUANTISABLE,
    Tensor,
    attention_layer,
    draft_layer,
    feed_forward,
    layer_kinds,
    linear_attention_layer,
    stages,
    towers,
)
from sizing.facts.model import Model
from sizing.facts.precision import Precision, WeightFormat, precisions
from sizing.units import MIB

VOCABULARY_PADDING = 64  # rows; vLLM vocab_parallel_embedding.DEFAULT_VOCAB_PADDING_SIZE
ALLOCATION_STEP = 2 * MIB  # PyTorch's caching allocator rounds allocations from LARGE_ALLOCATION up to this
LARGE_ALLOCATION = 10 * MIB


def tensor_bytes(
    tensor: Tensor, form: WeightFormat, quantised: bool, tp: int, expert_parallel: bool
) -> tuple[float, float]:
    """Bytes of *tensor* on one rank: the elements; their scales and zero points."""
    rows, columns, copies = tensor.on_rank(tp, expert_parallel)
    if not quantised:
        return rows * columns * copies * tensor.bits / 8, 0
    scale_bits, group = form.scale_bits + form.zero_bits, form.group
    block_rows, block_columns = form.block or (1, 1)
    if tensor.part == "experts":
        # Expert kernels halve the scale's reach until it divides a rank's width; the one for such groups drops zeros.
        width = rows if tensor.split == "rows" else columns
        reach = group or block_rows
        finer = next((n for n in (1, 2, 4, 8) if width % max(1, reach // n) == 0), 8)
        if finer > 1:
            group = group // finer if group else None
            block_rows, block_columns = max(1, block_rows // finer), max(1, block_columns // finer)
            scale_bits = form.scale_bits if group else scale_bits
    if form.block:
        scales = ceil(rows / block_rows) * ceil(columns / block_columns)
    elif group:
        scales = rows * (columns // group)
    else:
        scales = rows
    return copies * rows * columns * form.bits / 8, copies * scales * scale_bits / 8


@dataclass(frozen=True, slots=True)
class StageWeights:
    """
    Bytes on one GPU of a stage: ``total`` = text + embedding + towers + draft.

    Outside the total: ``padding``, what the allocator rounds up, and ``host``, what lies in host memory.
    """

    total: int
    text: int
    embedding: int
    towers: int
    draft: int
    padding: int
    host: int


class Size(NamedTuple):
    """Bytes of some tensors, and what the allocator rounds up on top."""

    bytes: float
    rounding: float = 0

    def __add__(self, other: Size) -> Size:  # type: ignore[override]
        return Size(self.bytes + other.bytes, self.rounding + other.rounding)


def _rounding(count: float) -> float:
    return -count % ALLOCATION_STEP if count >= LARGE_ALLOCATION else 0


@lru_cache(maxsize=16384)
def weights(
    model: Model,
    precision: Precision,
    *,
    tp: int = 1,
    pp: int = 1,
    expert_parallel: bool = False,
    text_only: bool = False,
    draft: bool = False,
    compute_capability: float | None = None,
) -> tuple[StageWeights, ...]:
    """
    Bytes of weights per GPU, one entry per pipeline stage.

    Args:
        compute_capability: the GPU's, for formats whose zero points its kernel wants wider; None = as stored.
    """
    form = precisions()[precision].weights
    repository = model.quantised_repository.get(precision)
    if compute_capability is not None and form.loaded_zero_bits:
        zero = max(
            (z for z in form.loaded_zero_bits if z.from_compute_capability <= compute_capability),
            key=lambda z: z.from_compute_capability,
        )
        form = form.model_copy(update={"zero_bits": zero.bits})
    plain = frozenset(repository.unquantised if repository else ())

    def size(tensors: Iterator[Tensor], keep: bool = False) -> Size:
        allocations: list[float] = []
        all_scales = 0.0
        for tensor in tensors:
            quantised = not keep and form.bits < 16 and tensor.part in QUANTISABLE and tensor.part not in plain
            count, scales = tensor_bytes(tensor, form, quantised, tp, expert_parallel)
            all_scales += scales
            if tensor.fused:
                allocations[-1] += count
            else:
                allocations.append(count)
        return Size(sum(allocations) + all_scales, sum(_rounding(count) for count in allocations))

    shape = model.shape
    padded = repository.padded_intermediate_size if repository else None
    vocabulary = ceil(shape.vocab_size / VOCABULARY_PADDING) * VOCABULARY_PADDING
    embedding = vocabulary // tp * shape.hidden_size * 2
    after_attention = size(feed_forward(model, padded)) + Size(2 * shape.hidden_size * 2)
    kinds = layer_kinds(model)
    full = size(attention_layer(model)) + after_attention
    linear = size(linear_attention_layer(model)) + after_attention if model.linear_attention else Size(0)
    tower = 0 if text_only else round(size(towers(model, tp)).bytes)
    draft_size = size(draft_layer(model), keep="mtp" in plain) if draft and model.params.mtp else Size(0)
    element = 2 if form.bits >= 16 else form.bits / 8
    host = round(model.host_table.params * element) if model.host_table else 0
    found = []
    for stage, layers in enumerate(stages(shape.layers, pp)):
        first, last = stage == 0, stage == pp - 1
        text = sum((full if kinds[layer] else linear for layer in layers), Size(0))
        if first:
            text += Size(model.params.other_on_gpu * 2)
        if last:
            text += Size(shape.hidden_size * 2)  # the final norm
        tables = first + (last and model.modality != "embedding" and not (shape.tie_word_embeddings and first))
        padding = text.rounding + tables * _rounding(embedding)
        stage_towers, stage_draft = tower if first else 0, round(draft_size.bytes) if last else 0
        found.append(
            StageWeights(
                total=round(text.bytes) + tables * embedding + stage_towers + stage_draft,
                text=round(text.bytes),
                embedding=tables * embedding,
                towers=stage_towers,
                draft=stage_draft,
                padding=round(padding),
                host=host if first else 0,
            )
        )
    return tuple(found)
