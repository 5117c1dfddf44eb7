"""
Why an engine would not start, in one sentence: what was asked, the two numbers that disagree, the nearest that fits.
"""

from __future__ import annotations

from sizing.engine.cuts import tensor_parallel_sizes
from sizing.engine.setup import Setup
from sizing.facts.memory_rules import LARGEST_CAPTURE, vllm_era
from sizing.facts.precision import Precision, precisions
from sizing.memory.kv_cache import Capacity, KvLayout
from sizing.memory.overheads import Overhead
from sizing.memory.weights import StageWeights, weights
from sizing.units import GIB, gib

ROOMY = 0.85  # share of the budget that weights may take for a suggestion
STARTUP_GIB = 0.51  # taken by CUDA before the engine looks: 139.80 total, 139.29 free on the measured H200


def refusal(
    setup: Setup,
    stage: StageWeights,
    loaded: int,
    layout: KvLayout,
    overhead: Overhead,
    kv_bytes: int,
    held: Capacity,
) -> str | None:
    """
    The sentence, or None when the engine starts.

    Args:
        loaded: bytes of weights and adapters on the fullest GPU, as the allocator holds them.
        kv_bytes: what that GPU has for its KV cache; negative by what is missing.
    """
    model, card, total = setup.model, setup.gpu.id, setup.device_bytes
    what = f"{model.name} in {setup.precision}"
    taken = loaded + overhead.non_torch
    adapters = loaded - stage.total - stage.padding - overhead.rotary
    usable = round(total * setup.gpu_memory_utilization)
    if setup.engine == "vllm" and setup.max_num_batched_tokens < setup.max_num_seqs:
        return (
            f"max_num_batched_tokens {setup.max_num_batched_tokens} is below max_num_seqs {setup.max_num_seqs}, which "
            f"vLLM refuses. max_num_seqs {setup.max_num_batched_tokens} fits."
        )
    working = taken + overhead.steady
    if setup.kv_cache_bytes is not None and working + setup.kv_cache_bytes > total:
        left = int(gib(total - working) * 100) / 100
        nearest = f"A KV cache of {left:g} GiB fits." if left > 0 else _smaller(setup)
        return (
            f"{what} and its {gib(setup.kv_cache_bytes):.2f} GiB of KV cache take "
            f"{gib(working + setup.kv_cache_bytes):.2f} GiB of a GPU; "
            f"{card} has {gib(total):.2f}. {nearest}"
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
            f"{what} needs {gib(need):.2f} GiB of a GPU before any KV cache ({gib(stage.total):.2f} of weights"
            f"{f', {gib(adapters):.2f} of LoRA adapters' if setup.max_loras else ''}); "
            f"{card} offers {gib(usable):.2f} ({gib(total):.2f} x {setup.gpu_memory_utilization:g}). {_smaller(setup)}"
        )
    if setup.engine == "sglang":
        return None
    if setup.kv_cache_bytes is None and (outside := _outside_budget(setup, loaded, layout, overhead)):
        return outside
    if held.longest_tokens < setup.max_model_len:
        nearest = (
            f"max_model_len {held.longest_tokens} fits"
            if held.longest_tokens > 0
            else f"A KV cache of {gib(layout.request_blocks(1) * layout.block_bytes):.2f} GiB holds the first tokens"
            if setup.kv_cache_bytes is not None
            else _smaller(setup).rstrip(".")
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


def _outside_budget(setup: Setup, loaded: int, layout: KvLayout, overhead: Overhead) -> str | None:
    """Memory taken while starting that the budget does not count: captured graphs, and the pool they are tried on."""
    if not overhead.graphs:
        return None
    total, card = setup.device_bytes, setup.gpu.id
    if overhead.graphs_outside:
        # The measured activation is free again when graphs are captured.
        spare = round(total * (1 - setup.gpu_memory_utilization)) + overhead.activation
        if overhead.graphs > spare:
            return (
                f"CUDA graphs of {setup.model.name} take {gib(overhead.graphs):.2f} GiB beside the budget; "
                f"{card} keeps {gib(spare):.2f} at gpu_memory_utilization {setup.gpu_memory_utilization:g}. "
                "enforce_eager fits."
            )
        return None
    # Graphs are estimated on a pool of one block for every sequence captured (m113: 784 MiB a layer = 256 pages).
    pool = min(setup.max_num_seqs, LARGEST_CAPTURE) * layout.block_bytes
    taken = loaded + overhead.non_torch + pool
    if taken > total - STARTUP_GIB * GIB:
        fewer = max(0, int((total - STARTUP_GIB * GIB - loaded - overhead.non_torch) // layout.block_bytes))
        return (
            f"Starting with {setup.max_num_seqs} sequences tries graphs of {setup.model.name} on {gib(pool):.2f} GiB "
            f"beside {gib(loaded):.2f} of weights; {card} has {gib(total):.2f}. "
            f"max_num_seqs {fewer} or enforce_eager fits."
        )
    return None


def _smaller(setup: Setup) -> str:
    """The nearest change that makes the weights fit: more GPUs, then fewer bits that are published and run here."""
    model, rules, share = setup.model, precisions(), setup.gpu_memory_utilization * setup.device_bytes

    def has(precision: Precision) -> bool:
        runs = setup.gpu.compute_capability >= rules[precision].min_compute_capability
        return runs and model.repository(precision) is not None

    def fit(precision: Precision, tp: int) -> bool:
        return weights(model, precision, tp=tp, pp=setup.pp, text_only=setup.text_only)[0].total < ROOMY * share

    sizes = tensor_parallel_sizes(
        model, setup.precision, text_only=setup.text_only, expert_parallel=setup.expert_parallel
    )
    changes = [f"tp {tp}" for tp in sizes if tp > setup.tp and fit(setup.precision, tp)][:1]
    if setup.precision in ("bf16", "fp16"):
        fewer_bits: tuple[Precision, ...] = ("fp8", "awq")
        changes += [precision for precision in fewer_bits if has(precision) and fit(precision, setup.tp)][:1]
    return f"{' or '.join(changes)} fits." if changes else "A GPU with more memory, or more of them, is needed."
