"""
What an engine takes of a GPU besides weights and KV cache: libraries, activations, CUDA graphs.

vLLM measures these while starting and gives the rest to the KV cache; the items follow the rule of the version's era.
SGLang sets a share aside without measuring.

Source of every rule and constant: data/memory/*.toml.
"""

from __future__ import annotations

from typing import NamedTuple

from sizing.eras import VllmEra, outside_known, sglang_era, sglang_rules, vllm_era, vllm_rules
from sizing.facts import Model
from sizing.setup import Setup
from sizing.units import GIB, MIB

FLOAT32_BYTES = 4
ACTIVATION_BYTES = 2
UNKNOWN_VERSION_FACTOR = 2  # how much wider the band is outside the known versions


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


def overhead(setup: Setup) -> Overhead:
    """The overhead of *setup* on each of its GPUs."""
    return _vllm_overhead(setup) if setup.engine == "vllm" else _sglang_overhead(setup)


def _runs_v2(era: VllmEra, model: Model) -> bool:
    """vLLM's second model runner took over plain dense text models first (ground-truth.md 1.5; the H200 logs)."""
    return era.v2_runner and not (model.experts or model.linear_attention or model.vision or model.audio)


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
    if setup.max_loras:
        graphs *= 2  # cudagraph_specialize_lora: every size is captured with and without adapters
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
