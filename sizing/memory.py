"""
Will it fit: the memory of one GPU as an itemised ledger, and the KV cache that remains.

The engine takes a share of the card, loads the weights, measures a dummy step and gives the rest to the KV cache. Each
item follows the rule of the engine version's era (sizing/eras.py); what is given explicitly (``kv_cache_bytes``) skips
the measurement, as it does in the engine.

Source of every rule and constant: data/memory/*.toml. Checked against data/measurements/memory.csv and oracle.jsonl.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from sizing.eras import VllmEra, outside_known, sglang_era, sglang_rules, vllm_era, vllm_rules
from sizing.facts import Basis, Model, Precision
from sizing.kv_cache import Capacity, KvLayout, layouts, sglang_capacity, vllm_capacity
from sizing.setup import Setup, tensor_parallel_sizes
from sizing.units import GIB, MIB, gib
from sizing.weights import StageWeights, weight_formats, weights

ROOMY = 0.85  # share of the budget that weights may take for a suggestion
UNOFFICIAL_SHARE = 0.05  # of the weights: checkpoints of one format by different makers differ by as much
FLOAT32_BYTES = 4
ACTIVATION_BYTES = 2
LARGEST_CAPTURE = 512  # sequences; vLLM captures decode graphs up to this
STARTUP_GIB = 0.51  # taken by CUDA before the engine looks: 139.80 total, 139.29 free on the measured H200
UNKNOWN_VERSION_FACTOR = 2  # how much wider the band is outside the known versions


class LedgerLine(NamedTuple):
    """One item of a GPU's memory."""

    name: str
    bytes: int
    basis: Basis
    source: str


@dataclass(frozen=True, slots=True)
class MemoryAnswer:
    """
    The fullest GPU of a replica. ``ledger`` sums to the card; its last line is negative by what is missing.

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


class Overhead(NamedTuple):
    """Bytes of one GPU besides weights and KV. ``graphs_outside``: not counted by the engine's budget."""

    non_torch: int
    activation: int
    multimodal: int
    graphs: int
    graphs_outside: bool
    high_slack: int
    low_slack: int
    source: str


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
    overhead = _vllm_overhead(setup) if setup.engine == "vllm" else _sglang_overhead(setup)
    free = [_kv_bytes(setup, stage, overhead) for stage in per_stage]
    held = _capacity(setup, kv, free)
    fullest = min(range(len(free)), key=lambda stage: free[stage] / max(1, kv[stage].block_bytes))
    stage, layout = per_stage[fullest], kv[fullest]
    reason = _refusal(setup, stage, layout, overhead, free[fullest], held)
    low, high = _band(setup, kv, free, stage.total, overhead, held)
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
        ledger=_ledger(setup, stage, overhead, kv_bytes),
        notes=_notes(setup, held),
        yarn_factor=model.context.yarn_factor if setup.max_model_len > model.context.native_tokens else None,
    )


def _runs_v2(era: VllmEra, model: Model) -> bool:
    """vLLM's second model runner took over plain dense text models first (ground-truth.md 1.5; the H200 logs)."""
    return era.v2_runner and not (model.experts or model.linear_attention or model.vision or model.audio)


def _unofficial(setup: Setup) -> bool:
    """Whether the checkpoint is somebody's own recipe, so that its size is only known roughly."""
    return weight_formats()[setup.precision].recipes_differ and setup.model.repository(setup.precision) is None


def _multimodal(setup: Setup) -> bool:
    return setup.model.params.tower > 0 and not setup.text_only


def _uses_flashinfer(setup: Setup) -> bool:
    """Hopper's FlashAttention reads fp8 KV itself; elsewhere FlashInfer does, and on B200/B300 it is the default."""
    generation = int(setup.gpu.compute_capability)
    return generation == 10 or (setup.kv_cache_dtype == "fp8" and generation != 9)


def _vllm_overhead(setup: Setup) -> Overhead:
    model, shape, tokens = setup.model, setup.model.shape, setup.max_num_batched_tokens
    era = vllm_era(setup.engine_version, setup.gpu.compute_capability)
    v2 = _runs_v2(era, model)
    logits = setup.max_num_seqs * shape.vocab_size * FLOAT32_BYTES
    experts = model.experts
    if era.whole_prompt_profile:
        width = experts.per_token * experts.intermediate_size if experts else shape.intermediate_size or 0
        per_token = 3 * width // setup.tp + 3 * shape.hidden_size
        steady = compiling = round(tokens * per_token * ACTIVATION_BYTES + era.sampler_copies * logits)
    else:
        workspace = 0
        if experts:
            width = 2 * experts.intermediate_size // setup.tp + shape.hidden_size
            workspace = tokens * experts.per_token * width * ACTIVATION_BYTES
        sampling = round((era.sampler_copies_v2 if v2 else era.sampler_copies) * logits) + workspace
        hidden = 2 * tokens * shape.hidden_size * ACTIVATION_BYTES
        head = shape.vocab_size * shape.hidden_size * 2 // setup.tp
        steady = sampling + hidden
        compiling = max(head, sampling) + hidden if era.head_copy and not setup.enforce_eager else steady
    graphs = round((era.graphs_gib + era.graphs_gib_per_layer * shape.layers / setup.pp) * GIB)
    counted = era.graphs_in_budget_v2 if v2 else era.graphs_in_budget
    several = setup.tp > 1 or setup.pp > 1
    non_torch = round((era.non_torch_gib_with_tp if several else era.non_torch_gib) * GIB)
    if _uses_flashinfer(setup):
        non_torch += vllm_rules().flashinfer_workspace_mib * MIB
    widen = UNKNOWN_VERSION_FACTOR if outside_known("vllm", setup.engine_version) else 1
    return Overhead(
        non_torch=non_torch,
        activation=compiling,
        multimodal=round(era.multimodal_gib * GIB) if _multimodal(setup) else 0,
        graphs=0 if setup.enforce_eager else graphs,
        graphs_outside=not counted,
        # A start with a warm compile cache does not copy the output head (m039 and m040: two boots of one setup).
        high_slack=round(era.high_gib * GIB) * widen + compiling - steady,
        low_slack=round(era.low_gib * GIB) * widen,
        source=f"vLLM {era.first}+, {era.name}",
    )


def _sglang_overhead(setup: Setup) -> Overhead:
    era = sglang_era(setup.engine_version)
    widen = UNKNOWN_VERSION_FACTOR if outside_known("sglang", setup.engine_version) else 1
    return Overhead(
        non_torch=round(sglang_rules().context_gib * GIB),
        activation=0,
        multimodal=0,
        graphs=0,
        graphs_outside=True,
        high_slack=round(era.high_gib * GIB) * widen,
        low_slack=round(era.low_gib * GIB) * widen,
        source=f"SGLang {era.first}+, {era.name}",
    )


def _kv_bytes(setup: Setup, stage: StageWeights, overhead: Overhead) -> int:
    """What a GPU of that stage has for its KV cache; negative by what is missing."""
    if setup.kv_cache_bytes is not None:
        return setup.kv_cache_bytes
    share = setup.gpu_memory_utilization
    if setup.engine == "sglang":
        return round((setup.device_bytes - overhead.non_torch) * share) - stage.total - stage.padding
    budget = round(setup.device_bytes * share)
    graphs = 0 if overhead.graphs_outside else overhead.graphs
    measured = overhead.non_torch + overhead.activation + overhead.multimodal + graphs
    return budget - stage.total - stage.padding - measured


def _capacity(setup: Setup, kv: tuple[KvLayout, ...], kv_bytes: list[int]) -> Capacity:
    if setup.engine == "vllm":
        return vllm_capacity(kv, tuple(kv_bytes), setup.max_model_len)
    return sglang_capacity(kv, tuple(kv_bytes), setup.max_model_len)


def _band(
    setup: Setup, kv: tuple[KvLayout, ...], free: list[int], weight_bytes: int, overhead: Overhead, held: Capacity
) -> tuple[int, int]:
    """The tokens that 9 of 10 starts hold. Given KV memory leaves nothing to chance."""
    if setup.kv_cache_bytes is not None:
        return held.tokens, held.tokens
    unsure = round(UNOFFICIAL_SHARE * weight_bytes) if _unofficial(setup) else 0
    low = _capacity(setup, kv, [size - overhead.low_slack - unsure for size in free])
    high = _capacity(setup, kv, [size + overhead.high_slack + unsure for size in free])
    return low.tokens, high.tokens


def _refusal(
    setup: Setup, stage: StageWeights, layout: KvLayout, overhead: Overhead, kv_bytes: int, held: Capacity
) -> str | None:
    """Why the engine would not start, in one sentence with both numbers and the nearest change that fits."""
    model, card, total = setup.model, setup.gpu.id, setup.device_bytes
    what = f"{model.name} in {setup.precision}"
    taken = stage.total + stage.padding + overhead.non_torch
    usable = round(total * setup.gpu_memory_utilization)
    if setup.kv_cache_bytes is not None and taken + setup.kv_cache_bytes > total:
        return (
            f"{what} and its {gib(setup.kv_cache_bytes):.2f} GiB of KV cache take "
            f"{gib(taken + setup.kv_cache_bytes):.2f} GiB of a GPU; "
            f"{card} has {gib(total):.2f}. A KV cache of {gib(max(0, total - taken)):.2f} GiB fits."
        )
    if setup.kv_cache_bytes is None and setup.engine == "vllm" and usable > total - STARTUP_GIB * GIB:
        most = (total - STARTUP_GIB * GIB) / total
        return (
            f"gpu_memory_utilization {setup.gpu_memory_utilization:g} asks for {gib(usable):.2f} GiB; {card} has "
            f"{gib(total) - STARTUP_GIB:.2f} free at the start. {int(most * 100) / 100:g} fits."
        )
    if kv_bytes <= 0:
        need = usable - kv_bytes
        return (
            f"{what} needs {gib(need):.2f} GiB of a GPU before any KV cache ({gib(stage.total):.2f} of weights); "
            f"{card} offers {gib(usable):.2f} ({gib(total):.2f} x {setup.gpu_memory_utilization:g}). {_smaller(setup)}"
        )
    if setup.engine == "sglang":
        return None
    if setup.kv_cache_bytes is None and (outside := _outside_budget(setup, stage, layout, overhead)):
        return outside
    if held.longest_tokens < setup.max_model_len:
        nearest = (
            f"max_model_len {held.longest_tokens} fits"
            if held.longest_tokens > 0
            else "Not even one block of tokens fits"
        )
        fp8 = ", and fp8 KV about doubles it" if setup.kv_cache_dtype == "auto" and held.longest_tokens > 0 else ""
        return (
            f"{what} at max_model_len {setup.max_model_len} needs {gib(held.request_bytes):.2f} GiB of KV cache for "
            f"one request; {card} leaves {gib(kv_bytes):.2f} GiB. {nearest}{fp8}."
        )
    era = vllm_era(setup.engine_version, setup.gpu.compute_capability)
    hybrid = layout.state_bytes and era.states_limit_sequences and not setup.enforce_eager
    if hybrid and setup.kv_cache_bytes is None and setup.max_num_seqs > held.blocks:
        return (
            f"{what} runs {setup.max_num_seqs} sequences, each of which needs a block for its state; {card} leaves "
            f"{held.blocks} blocks. max_num_seqs {held.blocks} fits."
        )
    return None


def _outside_budget(setup: Setup, stage: StageWeights, layout: KvLayout, overhead: Overhead) -> str | None:
    """Memory taken while starting that the budget does not count: captured graphs, and the pool they are tried on."""
    if not overhead.graphs:
        return None
    total, card = setup.device_bytes, setup.gpu.id
    if overhead.graphs_outside:
        # The measured activation is free again when graphs are captured.
        spare = round(total * (1 - setup.gpu_memory_utilization)) + overhead.activation + overhead.multimodal
        if overhead.graphs > spare:
            return (
                f"CUDA graphs of {setup.model.name} take {gib(overhead.graphs):.2f} GiB beside the budget; "
                f"{card} keeps {gib(spare):.2f} at gpu_memory_utilization {setup.gpu_memory_utilization:g}. enforce_eager fits."
            )
        return None
    # Graphs are estimated on a pool of one block for every sequence captured (m113: 784 MiB a layer = 256 pages).
    pool = min(setup.max_num_seqs, LARGEST_CAPTURE) * layout.block_bytes
    taken = stage.total + overhead.non_torch + pool
    if taken > total - STARTUP_GIB * GIB:
        fewer = max(0, int((total - STARTUP_GIB * GIB - stage.total - overhead.non_torch) // layout.block_bytes))
        return (
            f"Starting with {setup.max_num_seqs} sequences tries graphs of {setup.model.name} on {gib(pool):.2f} GiB "
            f"beside {gib(stage.total):.2f} of weights; {card} has {gib(total):.2f}. "
            f"max_num_seqs {fewer} or enforce_eager fits."
        )
    return None


def _smaller(setup: Setup) -> str:
    """The nearest change that makes the weights fit: more GPUs, then fewer bits."""
    model, share = setup.model, setup.gpu_memory_utilization * setup.device_bytes

    def fit(precision: Precision, tp: int) -> bool:
        return weights(model, precision, tp=tp, pp=setup.pp, text_only=setup.text_only)[0].total < ROOMY * share

    sizes = tensor_parallel_sizes(
        model, setup.precision, text_only=setup.text_only, expert_parallel=setup.expert_parallel
    )
    changes = [f"tp {tp}" for tp in sizes if tp > setup.tp and fit(setup.precision, tp)][:1]
    if setup.precision in ("bf16", "fp16"):
        fewer_bits: tuple[Precision, ...] = ("fp8", "awq")
        changes += [precision for precision in fewer_bits if fit(precision, setup.tp)][:1]
    return f"{' or '.join(changes)} fits." if changes else "A GPU with more memory, or more of them, is needed."


def _ledger(setup: Setup, stage: StageWeights, overhead: Overhead, kv_bytes: int) -> tuple[LedgerLine, ...]:
    arithmetic = "architecture x format (sizing/weights.py)"
    lines = [
        LedgerLine("weights", stage.text + stage.embedding, "calculated", arithmetic),
        LedgerLine("vision and audio towers", stage.towers, "calculated", arithmetic),
        LedgerLine("MTP draft layer", stage.draft, "calculated", arithmetic),
        LedgerLine("allocator rounding", stage.padding, "calculated", "PyTorch rounds large allocations to 2 MiB"),
        LedgerLine("CUDA context and libraries", overhead.non_torch, "measured", overhead.source),
        LedgerLine("activations", overhead.activation, "calculated", overhead.source),
        LedgerLine("image and audio encoding", overhead.multimodal, "measured", overhead.source),
        LedgerLine("CUDA graphs", overhead.graphs, "calculated", overhead.source),
        LedgerLine("KV cache", kv_bytes, "calculated", overhead.source),
    ]
    shown = tuple(line for line in lines if line.bytes)
    left = setup.device_bytes - sum(line.bytes for line in shown)
    # SGLang measures nothing beforehand: what its fraction leaves is where activations and graphs go.
    rest = "left free" if setup.engine == "vllm" else "activations, CUDA graphs and free"
    return (*shown, LedgerLine(rest if left >= 0 else "missing", left, "calculated", "the rest of the card"))


def _notes(setup: Setup, held: Capacity) -> tuple[str, ...]:
    notes = []
    if unknown := outside_known(setup.engine, setup.engine_version):
        notes.append(unknown)
    if setup.engine == "sglang" and held.max_concurrency < 1:
        notes.append(
            f"SGLang starts, but its cache holds {held.tokens} tokens, fewer than one request of max_model_len"
        )
    if setup.max_model_len > setup.model.context.native_tokens:
        notes.append(f"YaRN x{setup.model.context.yarn_factor:g} beyond {setup.model.context.native_tokens} tokens")
    if _unofficial(setup):
        notes.append(f"no official {setup.precision} repository: weights by the format's plain rule, the band is wider")
    if setup.model.host_table:
        notes.append("the n-gram table is pinned in host memory")
    return tuple(notes)
