"""
What an engine takes of a GPU besides weights and KV cache: libraries, activations, CUDA graphs.

vLLM measures these while starting and gives the rest to the KV cache; the items follow the rule of the version's era.
SGLang sets a share aside without measuring.

Source of every rule and constant: data/memory/*.toml.
"""

from __future__ import annotations

from typing import NamedTuple

from sizing.engine.setup import Setup
from sizing.facts.memory_rules import (
    LARGEST_CAPTURE,
    VllmEra,
    outside_known,
    sglang_era,
    sglang_rules,
    vllm_era,
    vllm_rules,
)
from sizing.facts.model import Model
from sizing.units import GIB, MIB

FLOAT32_BYTES = 4
ACTIVATION_BYTES = 2
UNKNOWN_VERSION_FACTOR = 2  # how much wider the band is outside the known versions
MROPE_POSITIONS = 4  # vLLM mrope.py: room for the frames of a long video
IMAGE_TOKENS = 16_384  # of the largest image of every Qwen tower
PATCHES_PER_TOKEN = 4
LONGEST_VIDEO = 7  # pairs of frames, each as large as an image (qwen2_vl.py _MAX_FRAMES_PER_VIDEO)
GRAPHS_OF_A_FULL_CAPTURE = 51
SMALLEST_GRAPHS_GIB = 0.05  # CUDA modules and streams of a first graph


class Overhead(NamedTuple):
    """
    Bytes of one GPU besides weights and KV.

    ``activation`` is the peak of the profiled step, ``steady`` the same without what only a cold compilation takes;
    ``graphs_outside``: not counted by the engine's budget.
    """

    non_torch: int
    rotary: int
    activation: int
    steady: int
    graphs: int
    graphs_outside: bool
    high_slack: int
    low_slack: int
    source: str


def overhead(setup: Setup) -> Overhead:
    """The overhead of *setup* on each of its GPUs."""
    return _vllm_overhead(setup) if setup.engine == "vllm" else _sglang_overhead(setup)


def runs_v2(era: VllmEra, model: Model) -> bool:
    """Whether vLLM's second model runner serves *model*; it took over family by family, then kind by kind."""
    if era.v2_families and model.model_type not in era.v2_families:
        return False
    return era.v2_runner == "all" or (era.v2_runner == "dense" and not (model.experts or model.linear_attention))


def _uses_flashinfer(setup: Setup) -> bool:
    """Hopper's FlashAttention reads fp8 KV itself; elsewhere FlashInfer does, and on B200/B300 it is the default."""
    generation = int(setup.gpu.compute_capability)
    return generation == 10 or (setup.kv_cache_dtype == "fp8" and generation != 9)


def rotary_bytes(setup: Setup) -> int:
    """
    Bytes of the table of rotations, whole on every GPU: a row for every position the checkpoint can reach.

    Source: vLLM 0.32.0 ``rotary_embedding``; with it Qwen3.5-27B weighs the 50.22 GiB that its H200 log states.
    """
    context, shape = setup.model.context, setup.model.shape
    positions = context.native_tokens
    if setup.max_model_len > positions:
        positions = context.yarn_tokens or positions
    if setup.engine == "vllm" and (setup.model.vision or context.rope.mrope_section):
        positions *= MROPE_POSITIONS
    return round(positions * shape.head_dim * (context.rope.partial_rotary_factor or 1) * ACTIVATION_BYTES)


def _workspace_bytes(setup: Setup) -> int:
    """The two buffers that routed experts work in. Source: vLLM ``fused_moe`` TritonExperts.workspace_shapes."""
    experts, hidden = setup.model.experts, setup.model.shape.hidden_size
    if experts is None:
        return 0
    width = experts.intermediate_size // (1 if setup.expert_parallel else setup.tp)
    row = max(width, hidden) + max(2 * width, hidden)
    return setup.max_num_batched_tokens * experts.per_token * row * ACTIVATION_BYTES


def _step_bytes(setup: Setup) -> int:
    """
    Peak of one forward pass: the widest layer's inputs and outputs; an MoE layer's two workspaces.

    Three copies of the hidden states, six where nothing is compiled and norms are not fused. Logged for Qwen3-8B:
    0.75 GiB with 8192 tokens (H100, warm cache), 0.23 with 2048 and ``enforce_eager`` (H200).
    """
    shape, experts, tokens = setup.model.shape, setup.model.experts, setup.max_num_batched_tokens
    hidden = (6 if setup.enforce_eager else 3) * shape.hidden_size
    if experts:
        return _workspace_bytes(setup) + tokens * hidden * ACTIVATION_BYTES
    return tokens * (3 * (shape.intermediate_size or 0) // setup.tp + hidden) * ACTIVATION_BYTES


def _encoder_bytes(setup: Setup, era: VllmEra) -> tuple[int, int]:
    """
    (peak, what stays while the language model runs) of encoding the largest image, or video, as profiling does.

    A patch's pixels in fp32, three copies of its features, and the feed-forward layer's inputs and output. Qwen3.5's
    tower: 1.85 GiB; m104 and m115 logged 1.86.
    """
    vision = setup.model.vision
    if setup.text_only or vision is None:
        return 0, 0
    images = 1
    if setup.model.model_type in era.long_video_families:
        images = min(max(1, setup.max_model_len // IMAGE_TOKENS), LONGEST_VIDEO)
    pixels = 3 * 2 * vision.patch_size**2 * FLOAT32_BYTES
    wide = (3 if vision.gated_ffn else 2) * vision.intermediate_size // setup.tp
    features = (3 * vision.hidden_size + wide) * ACTIVATION_BYTES
    kept = vision.output_size * (1 + vision.deepstack_mergers) * ACTIVATION_BYTES
    tokens = images * IMAGE_TOKENS
    return tokens * PATCHES_PER_TOKEN * (pixels + features), tokens * kept


def _captured_share(setup: Setup, era: VllmEra) -> float:
    """Sizes captured as CUDA graphs, of all: up to twice max_num_seqs where the era lets that decide."""
    if not era.captures_by_sequences:
        return 1.0
    largest = min(2 * setup.max_num_seqs * (1 + setup.speculative_tokens), LARGEST_CAPTURE)
    small = sum(size <= largest for size in (1, 2, 4)) + min(largest, 255) // 8
    return (small + max(0, (largest - 256) // 16 + 1)) / GRAPHS_OF_A_FULL_CAPTURE


def _vllm_overhead(setup: Setup) -> Overhead:
    model, shape, tokens = setup.model, setup.model.shape, setup.max_num_batched_tokens
    era = vllm_era(setup.engine_version, setup.gpu.compute_capability)
    v2 = runs_v2(era, model)
    step, hidden = _step_bytes(setup), tokens * shape.hidden_size * ACTIVATION_BYTES
    sampling = 0
    if model.modality != "embedding":
        copies = era.sampler_copies_v2 if v2 else era.sampler_copies
        sampling = round(copies * setup.max_num_seqs * shape.vocab_size * FLOAT32_BYTES)
        if era.sampler_sharded:
            sampling //= setup.tp
    if era.whole_prompt_profile:
        activation = steady = step + sampling + (round(era.multimodal_gib * GIB) if _multimodal(setup) else 0)
    else:
        encoding, encoded = _encoder_bytes(setup, era)
        workspace = _workspace_bytes(setup)  # kept from the step on
        steady = max(step, sampling + hidden + workspace) + encoded
        compiling = shape.vocab_size * shape.hidden_size * 2 // setup.tp + 2 * hidden + encoded
        activation = max(steady, compiling) if era.head_copy and not setup.enforce_eager else steady
        activation, steady = max(activation, encoding), max(steady, encoding)
    graphs = round((era.graphs_gib + era.graphs_gib_per_layer * shape.layers / setup.pp) * GIB)
    graphs = max(round(graphs * _captured_share(setup, era)), round(SMALLEST_GRAPHS_GIB * GIB))
    if setup.max_loras:
        graphs *= 2  # cudagraph_specialize_lora: every size is captured with and without adapters
    several = setup.tp > 1 or setup.pp > 1
    non_torch = round((era.non_torch_gib_with_tp if several else era.non_torch_gib) * GIB)
    if _uses_flashinfer(setup):
        non_torch += vllm_rules().flashinfer_workspace_mib * MIB
    widen = UNKNOWN_VERSION_FACTOR if outside_known("vllm", setup.engine_version) else 1
    return Overhead(
        non_torch=non_torch,
        rotary=rotary_bytes(setup),
        activation=activation,
        steady=steady,
        graphs=0 if setup.enforce_eager else graphs,
        graphs_outside=not (era.graphs_in_budget_v2 if v2 else era.graphs_in_budget),
        # A start with a warm compile cache does not copy the output head (m039 and m040: two boots of one setup).
        high_slack=round(era.high_gib * GIB) * widen + activation - steady,
        low_slack=round(era.low_gib * GIB) * widen,
        source=f"vLLM {era.first}+, {era.name}",
    )


def _multimodal(setup: Setup) -> bool:
    return setup.model.params.tower > 0 and not setup.text_only


def _sglang_overhead(setup: Setup) -> Overhead:
    era = sglang_era(setup.engine_version)
    widen = UNKNOWN_VERSION_FACTOR if outside_known("sglang", setup.engine_version) else 1
    return Overhead(
        non_torch=round(sglang_rules().context_gib * GIB),
        rotary=rotary_bytes(setup),
        activation=0,
        steady=0,
        graphs=0,
        graphs_outside=True,
        high_slack=round(era.high_gib * GIB) * widen,
        low_slack=round(era.low_gib * GIB) * widen,
        source=f"SGLang {era.first}+, {era.name}",
    )
