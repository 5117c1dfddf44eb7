"""
Will it fit: the memory of one GPU as an itemised ledger, and the KV cache that remains.

The engine takes a share of the card, loads the weights, measures a dummy step and gives the rest to the KV cache. Each
item follows the rule of the engine version's era (sizing/facts/memory_rules.py); what is given explicitly
(``kv_cache_bytes``) skips the measurement, as it does in the engine.

Source of every rule and constant: data/memory/*.toml. Checked against data/measurements/memory.csv and oracle.jsonl.
"""

from __future__ import annotations

from dataclasses import dataclass

from sizing.engine.setup import Setup
from sizing.facts.memory_rules import outside_known, vllm_rules
from sizing.facts.precision import precisions
from sizing.facts.versions import release_of
from sizing.memory.kv_cache import Capacity, KvLayout, layouts, sglang_capacity, vllm_capacity
from sizing.memory.lora import lora_bytes
from sizing.memory.overheads import Overhead, overhead
from sizing.memory.refusals import refusal
from sizing.memory.weights import StageWeights, weights
from sizing.plan.plan import LedgerLine

UNOFFICIAL_SHARE = 0.05  # of the weights: checkpoints of one format by different makers differ by as much


@dataclass(frozen=True, slots=True)
class MemoryAnswer:
    """
    The fullest GPU of a replica. ``ledger`` sums to the card; its last line is negative by what is missing,
    or by what CUDA graphs take of the activations' memory, which is free again when they are captured.

    ``kv_cache_tokens`` and ``max_concurrency`` (requests of ``max_model_len`` at once) are the replica's, as the engine
    would log them; ``..._low`` and ``..._high`` hold 9 of 10 starts. ``reason`` is None exactly when ``fits``.
    """

    fits: bool
    reason: str | None
    weight_bytes: int
    host_memory_bytes: int
    kv_bytes_per_token: int
    state_bytes_per_sequence: int
    block_size: int
    kv_cache_bytes: int
    kv_cache_tokens: int
    kv_cache_tokens_low: int
    kv_cache_tokens_high: int
    max_concurrency: float
    ledger: tuple[LedgerLine, ...]
    notes: tuple[str, ...]
    yarn_factor: float | None


def memory(setup: Setup) -> MemoryAnswer:
    """The memory of *setup*; pure, and fast enough to be asked for thousands of candidates."""
    model, fp8 = setup.model, setup.kv_cache_dtype == "fp8"
    per_stage = weights(
        model,
        setup.precision,
        tp=setup.tp,
        pp=setup.pp,
        expert_parallel=setup.expert_parallel,
        text_only=setup.text_only,
        draft=setup.speculative_tokens > 0,
        compute_capability=setup.gpu.compute_capability,
    )
    kv = layouts(
        model,
        tp=setup.tp,
        pp=setup.pp,
        fp8=fp8,
        block_size=setup.block_size,
        prefix_caching=setup.prefix_caching,
        speculative_tokens=setup.speculative_tokens,
    )
    adapters = lora_bytes(
        model,
        engine=setup.engine,
        engine_version=setup.engine_version,
        max_loras=setup.max_loras,
        max_lora_rank=setup.max_lora_rank,
        tp=setup.tp,
        pp=setup.pp,
        expert_parallel=setup.expert_parallel,
    )
    extra = overhead(setup)
    loaded = [
        stage.total + stage.padding + extra.rotary + slots for stage, slots in zip(per_stage, adapters, strict=True)
    ]
    free = [_kv_bytes(setup, resident, extra) for resident in loaded]
    held = _capacity(setup, kv, free)
    fullest = min(range(len(free)), key=lambda stage: free[stage] / max(1, kv[stage].block_bytes))
    stage, layout = per_stage[fullest], kv[fullest]
    reason = refusal(setup, stage, loaded[fullest], layout, extra, free[fullest], held)
    low, high = _band(setup, kv, free, stage.total, extra, held)
    kv_bytes = max(0, free[fullest])
    return MemoryAnswer(
        fits=reason is None,
        reason=reason,
        weight_bytes=stage.total,
        host_memory_bytes=per_stage[0].host,
        kv_bytes_per_token=layout.bytes_per_token,
        state_bytes_per_sequence=layout.state_bytes,
        block_size=held.block_size,
        kv_cache_bytes=kv_bytes,
        kv_cache_tokens=held.tokens,
        kv_cache_tokens_low=low,
        kv_cache_tokens_high=high,
        max_concurrency=held.max_concurrency,
        ledger=_ledger(setup, stage, adapters[fullest], extra, kv_bytes, fits=reason is None),
        notes=_notes(setup, held),
        yarn_factor=model.context.yarn_factor if setup.max_model_len > model.context.native_tokens else None,
    )


def _unofficial(setup: Setup) -> bool:
    """Whether the checkpoint is somebody's own recipe, so that its size is only known roughly."""
    return precisions()[setup.precision].weights.recipes_differ and setup.model.repository(setup.precision) is None


def _kv_bytes(setup: Setup, loaded: int, extra: Overhead) -> int:
    """What a GPU holding *loaded* bytes of weights has for its KV cache; negative by what is missing."""
    if setup.kv_cache_bytes is not None:
        return setup.kv_cache_bytes
    share = setup.gpu_memory_utilization
    if setup.engine == "sglang":
        return round((setup.device_bytes - extra.non_torch) * share) - loaded
    budget = round(setup.device_bytes * share)
    graphs = 0 if extra.graphs_outside else extra.graphs
    measured = extra.non_torch + extra.activation + graphs
    return budget - loaded - measured


def _capacity(setup: Setup, kv: tuple[KvLayout, ...], kv_bytes: list[int]) -> Capacity:
    if setup.engine == "vllm":
        return vllm_capacity(kv, tuple(kv_bytes), setup.max_model_len)
    return sglang_capacity(kv, tuple(kv_bytes), setup.max_model_len)


def _band(
    setup: Setup, kv: tuple[KvLayout, ...], free: list[int], weight_bytes: int, extra: Overhead, held: Capacity
) -> tuple[int, int]:
    """The tokens that 9 of 10 starts hold. Given KV memory leaves nothing to chance."""
    if setup.kv_cache_bytes is not None:
        return held.tokens, held.tokens
    unsure = round(UNOFFICIAL_SHARE * weight_bytes) if _unofficial(setup) else 0
    low = _capacity(setup, kv, [size - extra.low_slack - unsure for size in free])
    high = _capacity(setup, kv, [size + extra.high_slack + unsure for size in free])
    return low.tokens, high.tokens


def _ledger(
    setup: Setup, stage: StageWeights, adapters: int, extra: Overhead, kv_bytes: int, *, fits: bool
) -> tuple[LedgerLine, ...]:
    arithmetic = "architecture x format (sizing/memory/weights.py)"
    lines = [
        LedgerLine("weights", stage.text + stage.embedding, "calculated", arithmetic),
        LedgerLine("vision and audio towers", stage.towers, "calculated", arithmetic),
        LedgerLine("MTP draft layer", stage.draft, "calculated", arithmetic),
        LedgerLine("LoRA adapters", adapters, "calculated", "slots x rank x layers (sizing/memory/lora.py)"),
        LedgerLine(
            "rotary tables", extra.rotary, "calculated", "positions x rotated width (sizing/memory/overheads.py)"
        ),
        LedgerLine("allocator rounding", stage.padding, "calculated", "PyTorch rounds large allocations to 2 MiB"),
        LedgerLine("CUDA context and libraries", extra.non_torch, "measured", extra.source),
        LedgerLine("activations", extra.activation, "calculated", extra.source),
        LedgerLine("CUDA graphs", extra.graphs, "calculated", extra.source),
        LedgerLine("KV cache", kv_bytes, "calculated", extra.source),
    ]
    shown = tuple(line for line in lines if line.bytes)
    left = setup.device_bytes - sum(line.bytes for line in shown)
    # SGLang measures nothing beforehand: what its fraction leaves is where activations and graphs go.
    rest = "left free" if setup.engine == "vllm" else "activations, CUDA graphs and free"
    if left < 0:
        rest = "graphs where activations were" if fits else "missing"
    return (*shown, LedgerLine(rest, left, "calculated", "the rest of the card"))


def _notes(setup: Setup, held: Capacity) -> tuple[str, ...]:
    notes = []
    if unknown := outside_known(setup.engine, setup.engine_version):
        notes.append(unknown)
    if setup.engine == "sglang" and held.max_concurrency < 1:
        notes.append(
            f"SGLang starts, but its cache holds {held.tokens} tokens, fewer than one request of max_model_len"
        )
    if setup.max_model_len > setup.model.context.native_tokens:
        notes.append(
            f"YaRN x{setup.model.context.yarn_factor:g} beyond {setup.model.context.native_tokens} tokens: the engines "
            f"apply it to every request, which may cost quality on short texts"
        )
    right_since = vllm_rules().hybrid_log_right_since
    early = setup.engine == "vllm" and release_of(setup.engine_version) < release_of(right_since)
    if early and setup.model.linear_attention:
        notes.append(f"before {right_since} the engine's own log states fewer tokens than a hybrid holds")
    if _unofficial(setup):
        notes.append(f"no official {setup.precision} repository: weights by the format's plain rule, the band is wider")
    if setup.model.host_table:
        notes.append("the n-gram table is pinned in host memory")
    return tuple(notes)
