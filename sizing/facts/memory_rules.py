"""
Which memory rule an engine version follows: eras are facts in ``data/memory/<engine>.toml``, found by version.

Any version has an era: one older or newer than the facts takes the nearest.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

from sizing.facts.data import record, table
from sizing.facts.fact import Fact
from sizing.facts.versions import release_of

LARGEST_CAPTURE = 512  # tokens of vLLM's largest CUDA graph, of which a sequence that decodes has one
BLOCK_TOKENS = 16  # vLLM's default block on CUDA, and the step in which a hybrid's block grows


class VllmTier(Fact):
    """A server's defaults from some GPU memory on; not for GPUs whose name contains ``not_name_contains``."""

    from_gib: float
    max_num_seqs: int
    max_num_batched_tokens: int
    not_name_contains: str = ""


class VllmEra(Fact):
    """One rule of vLLM; the fields are explained at the head of data/memory/vllm.toml."""

    first: str
    name: str
    gpu_memory_utilization: float
    min_compute_capability: float
    whole_prompt_profile: bool
    multimodal_gib: float
    long_video_families: tuple[str, ...]
    v2_runner: Literal["none", "dense", "all"]
    v2_families: tuple[str, ...]
    sampler_copies: float
    sampler_copies_v2: float
    sampler_sharded: bool
    head_copy: bool
    captures_by_sequences: bool
    graphs_gib: float
    graphs_gib_per_layer: float
    graphs_in_budget: bool
    graphs_in_budget_v2: bool
    non_torch_gib: float
    non_torch_gib_with_tp: float
    hybrid_prefix_caching: bool
    states_limit_sequences: bool
    low_gib: float
    high_gib: float
    source: str


class VllmRules(Fact):
    newest_known: str
    flashinfer_workspace_mib: int
    hybrid_log_right_since: str
    tier: tuple[VllmTier, ...]
    era: tuple[VllmEra, ...]


class SglangTier(Fact):
    from_gib: float
    chunk: int
    graph_batch: int
    graph_batch_tp4: int


class SglangReserve(Fact):
    base_mib: int
    mib_per_gpu: int
    prefill_graphs_mib: int
    min_reserved_mib: int


class SglangEra(Fact):
    """One rule of SGLang; the fields are explained at the head of data/memory/sglang.toml."""

    first: str
    name: str
    fraction_by_tp: dict[int, float]
    reserve: SglangReserve | None = None
    tower_takes_share: bool
    low_gib: float
    high_gib: float
    source: str
    tiers: tuple[SglangTier, ...]


class SglangRules(Fact):
    newest_known: str
    context_gib: float
    era: tuple[SglangEra, ...]


def _table(engine: str) -> dict[str, Any]:
    """The engine's file, where an era keeps every field of the one before it that it does not state anew."""
    given = table(f"memory/{engine}.toml")
    eras: list[dict[str, Any]] = [{}]
    for era in given.get("era", ()):
        eras.append(eras[-1] | era)
    return given | {"era": eras[1:]}


@lru_cache(maxsize=1)
def vllm_rules() -> VllmRules:
    return record(VllmRules, "memory/vllm.toml", _table("vllm"))


@lru_cache(maxsize=1)
def sglang_rules() -> SglangRules:
    return record(SglangRules, "memory/sglang.toml", _table("sglang"))


@lru_cache(maxsize=1024)
def vllm_era(version: str, compute_capability: float) -> VllmEra:
    """The rule of *version* on a GPU of *compute_capability* (early V1 left older cards on V0)."""
    key = release_of(version)
    eras = vllm_rules().era
    index = max((i for i, era in enumerate(eras) if release_of(era.first) <= key), default=0)
    while index and eras[index].min_compute_capability > compute_capability:
        index -= 1
    return eras[index]


@lru_cache(maxsize=1024)
def sglang_era(version: str) -> SglangEra:
    """The rule of *version*."""
    key = release_of(version)
    eras = sglang_rules().era
    return eras[max((i for i, era in enumerate(eras) if release_of(era.first) <= key), default=0)]


@lru_cache(maxsize=1024)
def outside_known(engine: Literal["vllm", "sglang"], version: str) -> str | None:
    """A sentence when *version* is older or newer than the facts, else None."""
    rules = vllm_rules() if engine == "vllm" else sglang_rules()
    oldest, newest = rules.era[0].first, rules.newest_known
    if release_of(version)[:3] > release_of(newest)[:3]:
        return f"{engine} {version} is newer than the newest known rule ({newest}), which is used; the band is wider"
    if release_of(version)[:3] < release_of(oldest)[:3]:
        return f"{engine} {version} is older than the oldest known rule ({oldest}), which is used; the band is wider"
    return None


class LoraRules(Fact):
    """data/memory/lora.toml."""

    vllm_ranks: tuple[int, ...]
    vllm_experts_since: str
    embedding_families: tuple[str, ...]
    joined_expert_families: tuple[str, ...]


@lru_cache(maxsize=1)
def lora_rules() -> LoraRules:
    return record(LoraRules, "memory/lora.toml")
