"""
One replica, every setting resolved: the input of memory and speed.

``resolve`` fills the defaults in as that engine version would, and refuses what that engine cannot build.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from sizing.engine.cuts import tensor_parallel_sizes, uncut
from sizing.engine.settings import Settings
from sizing.engine.support import runs_on, served_by
from sizing.errors import BadRequest
from sizing.facts.gpu import Gpu
from sizing.facts.memory_rules import BLOCK_TOKENS, SglangEra, SglangTier, lora_rules, sglang_era, vllm_era, vllm_rules
from sizing.facts.model import Model, Vision
from sizing.facts.precision import Precision
from sizing.units import GIB, MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup(Settings):
    """A replica of *model* on ``tp * pp`` GPUs, as the engine would run it: nothing is left to a default."""

    model: Model
    precision: Precision
    gpu: Gpu

    device_bytes: int
    """Memory of one GPU as CUDA reports it."""

    engine: Literal["vllm", "sglang"]
    engine_version: str

    max_model_len: int
    max_num_seqs: int
    max_num_batched_tokens: int
    gpu_memory_utilization: float
    prefix_caching: bool


SGLANG_RUNNING_REQUESTS = 4096  # measured on 0.5.16 (H100); its default without a request limit
VIT_L_WIDTH = 1024
V0_CHUNKED_FROM = 32_768  # the V0 engine cut prompts into chunks only beyond this max_model_len


def resolve(
    model: Model,
    precision: Precision,
    gpu: Gpu,
    *,
    engine: Literal["vllm", "sglang"],
    engine_version: str,
    asked: Settings,
    device_bytes: int | None = None,
) -> Setup:
    """
    *asked* with every default that *engine_version* would choose on *gpu*.

    Args:
        device_bytes: total memory of one GPU as CUDA reports it; None = the GPU's own.

    Raises:
        Unsupported: the engine, or that version of it, never served the model, or not on that GPU.
        BadRequest: settings contradict each other, the model or the engine; every problem in one sentence.
    """
    served_by(model, engine, engine_version)
    runs_on(model, gpu)
    problems = [
        *_cut_problems(model, precision, asked),
        *_length_problems(model, asked),
        *(_vllm_problems(asked) if engine == "vllm" else ()),
    ]
    if problems:
        raise BadRequest(*problems)
    own_bytes = round(gpu.cuda_total_gib.value * GIB)  # decides the defaults, also of a card held to another size
    length = asked.max_model_len or model.context.native_tokens
    if engine == "vllm":
        seqs, batched, utilization, prefix = _vllm_defaults(model, gpu, engine_version, own_bytes, length)
        # arg_utils.py: neither default goes beyond what the other, or the context, lets a batch hold.
        batched = min(asked.max_num_batched_tokens or batched, (asked.max_num_seqs or seqs) * length)
        seqs = min(seqs, batched)
    else:
        seqs, batched, utilization, prefix = _sglang_defaults(model, gpu, engine_version, own_bytes, asked)
    resolved = {
        "expert_parallel": asked.expert_parallel and model.experts is not None,
        "max_model_len": length,
        "max_num_seqs": asked.max_num_seqs or seqs,
        "max_num_batched_tokens": asked.max_num_batched_tokens or batched,
        "gpu_memory_utilization": asked.gpu_memory_utilization or utilization,
        "prefix_caching": prefix if asked.prefix_caching is None else asked.prefix_caching,
    }
    return Setup(
        model=model,
        precision=precision,
        gpu=gpu,
        device_bytes=own_bytes if device_bytes is None else device_bytes,
        engine=engine,
        engine_version=engine_version,
        **{**asked.all(), **resolved},
    )


@lru_cache(maxsize=4096)
def _cut_problems(model: Model, precision: Precision, asked: Settings) -> tuple[str, ...]:
    tp, pp, shape = asked.tp, asked.pp, model.shape
    problems = []
    sizes = tensor_parallel_sizes(model, precision, text_only=asked.text_only, expert_parallel=asked.expert_parallel)
    if tp not in sizes:
        why = uncut(model, precision, tp, asked.text_only, asked.expert_parallel) or f"no cut over tp {tp}"
        nearest = min(sizes, key=lambda size: (abs(size - tp), size))
        problems.append(f"{model.name} in {precision} has {why}; tp {nearest} is the nearest that works.")
    if pp > shape.layers:
        problems.append(f"{model.name} has {shape.layers} layers, fewer than pp {pp}; pp {shape.layers} is the most.")
    if pp > 1 and not model.pipeline_parallel:
        problems.append(f"{model.name} has no pipeline parallelism in any engine, and pp {pp} was asked; pp 1 works.")
    if asked.speculative_tokens and not model.params.mtp:
        problems.append(
            f"{model.name} has no MTP head, and speculative_tokens {asked.speculative_tokens} was asked; 0 works."
        )
    return tuple(problems)


def _length_problems(model: Model, asked: Settings) -> Iterator[str]:
    context, length = model.context, asked.max_model_len
    longest = max(context.native_tokens, context.yarn_tokens or 0)
    if length is not None and length > longest:
        how = f"with YaRN x{context.yarn_factor:g}" if context.yarn_tokens else "natively, and it has no YaRN extension"
        yield f"max_model_len {length} is beyond the {longest} tokens that {model.name} reaches {how}; {longest} works."


def _vllm_problems(asked: Settings) -> Iterator[str]:
    block = asked.block_size
    if block is not None and block % BLOCK_TOKENS:
        nearest = max(BLOCK_TOKENS, round(block / BLOCK_TOKENS) * BLOCK_TOKENS)
        yield (
            f"block_size {block} is no multiple of the {BLOCK_TOKENS} tokens that vLLM's attention kernels take; "
            f"{nearest} works."
        )
    ranks, rank = lora_rules().vllm_ranks, asked.max_lora_rank
    if asked.max_loras and rank not in ranks:
        nearest = min((size for size in ranks if size >= rank), default=ranks[-1])
        yield f"max_lora_rank {rank} is none of vLLM's {', '.join(map(str, ranks))}; {nearest} works."


def _vllm_defaults(
    model: Model, gpu: Gpu, version: str, total_bytes: int, max_model_len: int
) -> tuple[int, int, float, bool]:
    """(max_num_seqs, max_num_batched_tokens, utilisation, prefix caching) of an OpenAI server."""
    era = vllm_era(version, gpu.compute_capability)
    tier = [
        t for t in vllm_rules().tier if t.from_gib * GIB <= total_bytes and not _excluded(t.not_name_contains, gpu)
    ][-1]
    seqs, batched = tier.max_num_seqs, tier.max_num_batched_tokens
    if era.whole_prompt_profile:
        small = vllm_rules().tier[0]
        seqs = small.max_num_seqs
        batched = small.max_num_batched_tokens
        if max_model_len <= V0_CHUNKED_FROM:
            batched = max(batched, max_model_len)
    prefix = era.hybrid_prefix_caching if model.linear_attention else not era.whole_prompt_profile
    return seqs, batched, era.gpu_memory_utilization, prefix


def _excluded(part_of_name: str, gpu: Gpu) -> bool:
    return bool(part_of_name) and part_of_name in gpu.id.lower()


def _sglang_defaults(
    model: Model, gpu: Gpu, version: str, total_bytes: int, asked: Settings
) -> tuple[int, int, float, bool]:
    """(max_running_requests, chunked_prefill_size, mem_fraction_static, radix cache)."""
    era = sglang_era(version)
    if gpu.nvidia_smi_total_mib:  # which is what the engine asks
        total_bytes = round(gpu.nvidia_smi_total_mib.value * MIB)
    tier = [t for t in era.tiers if t.from_gib * GIB <= total_bytes][-1]
    chunk = asked.max_num_batched_tokens or tier.chunk
    fraction = _sglang_fraction(era, tier, chunk, asked.tp, asked.pp, total_bytes)
    if era.tower_takes_share and model.vision and model.modality == "vision":
        fraction *= _beside_a_tower(model.vision)
    return SGLANG_RUNNING_REQUESTS, chunk, round(fraction, 3), True


def _beside_a_tower(vision: Vision) -> float:
    """
    What the fraction is multiplied by for an image tower, by its width against ViT-L's.

    Source: SGLang ``adjust_mem_fraction_for_vlm``; it reads a depth that Qwen's towers do not state, and takes ViT-L's.
    """
    wider = (vision.hidden_size / VIT_L_WIDTH) ** 2
    return 0.95 * min(max(1 - 0.1 * (wider - 1), 0.8), 1.05)


def _sglang_fraction(era: SglangEra, tier: SglangTier, chunk: int, tp: int, pp: int, total_bytes: int) -> float:
    reserve = era.reserve
    if reserve is None:
        return era.fraction_by_tp[max(size for size in era.fraction_by_tp if size <= tp)]
    graphs = tier.graph_batch_tp4 if tp >= 4 else tier.graph_batch
    mib = reserve.base_mib + 1.5 * max(chunk, 2048) + 2 * graphs + reserve.mib_per_gpu * tp * pp
    mib += reserve.prefill_graphs_mib
    if total_bytes > 60 * GIB:
        mib = max(mib, reserve.min_reserved_mib)
    return max(0.05, 1 - mib * MIB / total_bytes)
