"""
An architecture as tensors: which matrices a model has, and how an engine cuts each over tensor-parallel ranks.

Source: parameter shapes as vLLM 0.32.0 creates them (data/measurements/oracle.jsonl).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from typing import Literal

from sizing.facts.model import Model

QUANTISABLE = frozenset({"attention", "linear_attention", "linear_attention_output", "ffn", "experts", "shared_expert"})


@dataclass(frozen=True, slots=True)
class Tensor:
    """
    ``copies`` matrices of ``rows`` outputs x ``columns`` inputs (a vector has one column).

    Args:
        split: the dimension cut over tensor-parallel ranks; "experts" cuts columns, or copies under expert parallelism.
        smallest: rows that one rank keeps at least (one KV head).
        bits: width of an element that is never quantised.
        fused: lies in one allocation with the tensor before it (query, key and value).
    """

    part: str
    rows: int
    columns: int = 1
    split: Literal["rows", "columns", None] = None
    copies: int = 1
    smallest: int = 1
    bits: int = 16
    fused: bool = False

    def on_rank(self, tp: int, expert_parallel: bool) -> tuple[int, int, int]:
        """(rows, columns, copies) that one rank holds."""
        if self.part == "experts" and expert_parallel:
            return self.rows, self.columns, ceil(self.copies / tp)
        if self.split == "rows":
            return max(self.rows // tp, self.smallest), self.columns, self.copies
        if self.split == "columns":
            return self.rows, self.columns // tp, self.copies
        return self.rows, self.columns, self.copies


def attention_layer(model: Model) -> Iterator[Tensor]:
    """One layer of softmax attention."""
    shape = model.shape
    queries = shape.attention_heads * shape.head_dim
    keys = shape.kv_heads * shape.head_dim
    gates = 2 if shape.attn_output_gate else 1
    yield Tensor("attention", queries * gates, shape.hidden_size, "rows")
    yield Tensor("attention", keys, shape.hidden_size, "rows", copies=2, smallest=shape.head_dim, fused=True)
    yield Tensor("attention", shape.hidden_size, queries, "columns")
    if shape.qkv_bias:
        yield Tensor("norm", queries, split="rows")
        yield Tensor("norm", keys, split="rows", copies=2, smallest=shape.head_dim)
    if shape.qk_norm:
        yield Tensor("norm", shape.head_dim, copies=2)


def linear_attention_layer(model: Model) -> Iterator[Tensor]:
    """One Gated DeltaNet layer."""
    linear = model.linear_attention
    assert linear is not None
    hidden = model.shape.hidden_size
    keys, values = linear.key_heads * linear.key_head_dim, linear.value_heads * linear.value_head_dim
    yield Tensor("linear_attention", keys, hidden, "rows", copies=2)
    yield Tensor("linear_attention", values, hidden, "rows", copies=2, fused=True)
    yield Tensor("linear_attention_output", hidden, values, "columns")
    yield Tensor("gate", linear.value_heads, hidden, "rows", copies=2)
    yield Tensor("convolution", 2 * keys + values, linear.conv_kernel, "rows")
    yield Tensor("norm", linear.value_heads, split="rows")  # dt_bias
    yield Tensor("norm", linear.value_heads, split="rows", bits=32)  # A_log
    yield Tensor("norm", linear.value_head_dim)


def feed_forward(model: Model, intermediate_size: int | None = None) -> Iterator[Tensor]:
    """The dense or expert part of one layer; *intermediate_size* replaces the model's (padded repositories)."""
    hidden, experts = model.shape.hidden_size, model.experts
    if experts is None:
        width = intermediate_size or model.shape.intermediate_size or 0
        yield Tensor("ffn", width, hidden, "rows", copies=2)
        yield Tensor("ffn", hidden, width, "columns")
        return
    yield Tensor("gate", experts.count, hidden)
    yield Tensor("experts", experts.intermediate_size, hidden, "rows", copies=2 * experts.count)
    yield Tensor("experts", hidden, experts.intermediate_size, "columns", copies=experts.count)
    if experts.shared_intermediate_size:
        yield Tensor("gate", 1, hidden)
        yield Tensor("shared_expert", experts.shared_intermediate_size, hidden, "rows", copies=2)
        yield Tensor("shared_expert", hidden, experts.shared_intermediate_size, "columns")


def draft_layer(model: Model) -> Iterator[Tensor]:
    """The MTP head: a projection of two hidden states and one whole layer; embedding and output head are shared."""
    hidden = model.shape.hidden_size
    yield Tensor("mtp", hidden, 2 * hidden, "rows")
    yield Tensor("norm", hidden, copies=5)
    yield from attention_layer(model)
    yield from feed_forward(model)


def towers(model: Model, tp: int) -> Iterator[Tensor]:
    """The vision and audio towers, which no official repository quantises."""
    if vision := model.vision:
        width, merged = vision.hidden_size, 4 * vision.hidden_size
        norm = 2 if vision.norm_bias else 1
        mergers = 1 + vision.deepstack_mergers
        yield Tensor("tower", width, 3 * 2 * vision.patch_size**2)
        yield Tensor("tower", width, vision.position_embeddings + vision.patch_bias)
        yield Tensor("tower", width, norm, copies=2 * vision.layers)
        yield Tensor("tower", 3 * width, width + 1, "rows", copies=vision.layers)
        yield Tensor("tower", width, width, "columns", copies=vision.layers)
        ups = 2 if vision.gated_ffn else 1
        yield Tensor("tower", vision.intermediate_size, width + 1, "rows", copies=ups * vision.layers)
        yield Tensor("tower", width, vision.intermediate_size, "columns", copies=vision.layers)
        yield Tensor("tower", width, copies=2 * vision.layers)  # biases of the row-parallel layers
        yield Tensor("tower", width, norm)
        yield Tensor("tower", merged, norm, copies=vision.deepstack_mergers)
        yield Tensor("tower", merged, merged + 1, "rows", copies=mergers)
        yield Tensor("tower", vision.output_size, merged, "columns", copies=mergers)
        yield Tensor("tower", vision.output_size, copies=mergers)
    if audio := model.audio:
        width = audio.hidden_size
        split = audio.sharded and audio.heads % tp == 0
        layer = 4 * width**2 + 2 * width * audio.intermediate_size + 3 * width + audio.intermediate_size
        yield Tensor("tower", audio.layers * layer, split="rows" if split else None)
        yield Tensor("tower", audio.params - audio.layers * layer)
    if not vision and not audio and model.params.tower:
        yield Tensor("tower", model.params.tower, split="rows")


def layer_kinds(model: Model) -> tuple[bool, ...]:
    """For each layer, whether it is full attention (every n-th of a hybrid, the last of each n)."""
    shape = model.shape
    every = shape.layers // shape.full_attention_layers
    return tuple(index % every == every - 1 for index in range(shape.layers))


def stages(layers: int, pp: int) -> tuple[range, ...]:
    """
    The layers of each pipeline stage.

    Source: vLLM ``distributed/utils.py get_pp_indices``: what does not divide goes to the stages before the last.
    """
    sizes = [layers // pp] * pp
    for extra in range(layers % pp):
        sizes[-(extra + 2) % pp] += 1
    starts = [sum(sizes[:stage]) for stage in range(pp)]
    return tuple(range(start, start + size) for start, size in zip(starts, sizes, strict=True))
