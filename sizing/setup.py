"""
One replica, every setting resolved: the input of memory and speed.

``Asked`` is what somebody wrote, with None where the engine's own default for that version and GPU is wanted;
``resolve`` fills the defaults in as that engine version would, and refuses what that engine cannot build.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from sizing.eras import SglangEra, SglangTier, sglang_era, vllm_era, vllm_rules
from sizing.errors import BadRequest, Unsupported
from sizing.fact import Precision
from sizing.gpu_facts import Gpu
from sizing.kv_cache import BLOCK_TOKENS
from sizing.lora import lora_rules
from sizing.model_facts import EngineSupport, Model, Vision
from sizing.tensors import QUANTISABLE
from sizing.units import GIB, MIB
from sizing.versions import release_of
from sizing.weights import weight_formats

KvDtype = Literal["auto", "fp8"]


@dataclass(frozen=True, slots=True)
class Asked:
    """
    The engine settings of one question; None = the engine's default. vLLM's names and meaning.

    ``max_loras``: adapters that one batch may mix (SGLang's ``--max-loras-per-batch``); 0 = no adapters.
    """

    tp: int = 1
    pp: int = 1
    expert_parallel: bool = False
    max_model_len: int | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    gpu_memory_utilization: float | None = None
    kv_cache_dtype: KvDtype = "auto"
    enforce_eager: bool = False
    block_size: int | None = None
    prefix_caching: bool | None = None
    text_only: bool = False
    speculative_tokens: int = 0
    kv_cache_bytes: int | None = None
    max_loras: int = 0
    max_lora_rank: int = 16


@dataclass(frozen=True, slots=True)
class Setup:
    """A replica of *model* on ``tp * pp`` GPUs, as the engine would run it. ``device_bytes`` is CUDA's own total."""

    model: Model
    precision: Precision
    gpu: Gpu
    device_bytes: int
    engine: Literal["vllm", "sglang"]
    engine_version: str
    tp: int
    pp: int
    expert_parallel: bool
    max_model_len: int
    max_num_seqs: int
    max_num_batched_tokens: int
    gpu_memory_utilization: float
    kv_cache_dtype: KvDtype
    enforce_eager: bool
    block_size: int | None
    prefix_caching: bool
    text_only: bool
    speculative_tokens: int
    kv_cache_bytes: int | None
    max_loras: int
    max_lora_rank: int


SGLANG_RUNNING_REQUESTS = 4096  # measured on 0.5.16 (H100); its default without a request limit
VIT_L_WIDTH = 1024
FOUR_BIT_STEP = 32  # inputs of a rank that 4-bit kernels take at once
GATED_DELTA_NET_CAPABILITY = 8.0  # models.md section 8: no kernel for older cards
V0_CHUNKED_FROM = 32_768  # the V0 engine cut prompts into chunks only beyond this max_model_len
LARGEST_TP = 64


def resolve(
    model: Model,
    precision: Precision,
    gpu: Gpu,
    *,
    engine: Literal["vllm", "sglang"],
    engine_version: str,
    asked: Asked,
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
    _runs_on(model, gpu)
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
    return Setup(
        model=model,
        precision=precision,
        gpu=gpu,
        device_bytes=own_bytes if device_bytes is None else device_bytes,
        engine=engine,
        engine_version=engine_version,
        tp=asked.tp,
        pp=asked.pp,
        expert_parallel=asked.expert_parallel and model.experts is not None,
        max_model_len=length,
        max_num_seqs=asked.max_num_seqs or seqs,
        max_num_batched_tokens=asked.max_num_batched_tokens or batched,
        gpu_memory_utilization=asked.gpu_memory_utilization or utilization,
        kv_cache_dtype=asked.kv_cache_dtype,
        enforce_eager=asked.enforce_eager,
        block_size=asked.block_size,
        prefix_caching=prefix if asked.prefix_caching is None else asked.prefix_caching,
        text_only=asked.text_only,
        speculative_tokens=asked.speculative_tokens,
        kv_cache_bytes=asked.kv_cache_bytes,
        max_loras=asked.max_loras,
        max_lora_rank=asked.max_lora_rank,
    )


def served_by(model: Model, engine: Literal["vllm", "sglang"], version: str) -> None:
    """Raises ``Unsupported`` when *version* of *engine* cannot serve *model*, naming one that can."""
    support: EngineSupport = getattr(model, engine)
    key = release_of(version)
    if not support.supported:
        raise Unsupported(f"{engine} has never served {model.name} ({support.stated or 'no class for it'}).")
    if support.first and key < release_of(support.first):
        raise Unsupported(
            f"{engine} {version} does not serve {model.name}; the first version that does is {support.first}."
        )
    if support.last and key > release_of(support.last):
        raise Unsupported(
            f"{engine} {version} no longer serves {model.name}; the last version that did is {support.last}."
        )


def _runs_on(model: Model, gpu: Gpu) -> None:
    if model.linear_attention and gpu.compute_capability < GATED_DELTA_NET_CAPABILITY:
        raise Unsupported(
            f"{model.name} has Gated DeltaNet layers, whose kernels need compute capability "
            f"{GATED_DELTA_NET_CAPABILITY}; {gpu.id} has {gpu.compute_capability}. An A10G or newer card serves it."
        )


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
    form = weight_formats()[precision]
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


def _uncut(model: Model, precision: Precision, tp: int, text_only: bool, expert_parallel: bool) -> str | None:
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
    return (1, *(tp for tp in sizes if not _uncut(model, precision, tp, text_only, expert_parallel)))


@lru_cache(maxsize=4096)
def _cut_problems(model: Model, precision: Precision, asked: Asked) -> tuple[str, ...]:
    tp, pp, shape = asked.tp, asked.pp, model.shape
    problems = []
    sizes = tensor_parallel_sizes(model, precision, text_only=asked.text_only, expert_parallel=asked.expert_parallel)
    if tp not in sizes:
        why = _uncut(model, precision, tp, asked.text_only, asked.expert_parallel) or f"no cut over tp {tp}"
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


def _length_problems(model: Model, asked: Asked) -> Iterator[str]:
    context, length = model.context, asked.max_model_len
    longest = max(context.native_tokens, context.yarn_tokens or 0)
    if length is not None and length > longest:
        how = f"with YaRN x{context.yarn_factor:g}" if context.yarn_tokens else "natively, and it has no YaRN extension"
        yield f"max_model_len {length} is beyond the {longest} tokens that {model.name} reaches {how}; {longest} works."


def _vllm_problems(asked: Asked) -> Iterator[str]:
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
    model: Model, gpu: Gpu, version: str, total_bytes: int, asked: Asked
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
