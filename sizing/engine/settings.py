"""The settings of an engine in vLLM's words: one type from a question to the argument list."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

KvDtype = Literal["auto", "fp8"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What somebody asks of an engine; None where its own default for that version and GPU is meant."""

    tp: int = 1
    """GPUs that share every layer of a stage."""

    pp: int = 1
    """Stages of layers, each on ``tp`` GPUs."""

    expert_parallel: bool = False
    """Whether a GPU holds whole experts, not a slice of each."""

    max_model_len: int | None = None
    """Tokens of the longest request, prompt and answer together."""

    max_num_seqs: int | None = None
    """Requests that run at once."""

    max_num_batched_tokens: int | None = None
    """Tokens of one step, and so the largest chunk of a prompt; SGLang's ``chunked_prefill_size``."""

    gpu_memory_utilization: float | None = None
    """Share of a GPU's memory that the engine plans for; SGLang's ``mem_fraction_static``."""

    kv_cache_dtype: KvDtype = "auto"
    """Elements of the KV cache: 16 bits, as the model has them, or fp8."""

    enforce_eager: bool = False
    """Whether the engine does without CUDA graphs and compilation."""

    block_size: int | None = None
    """Tokens of a block of the KV cache."""

    prefix_caching: bool | None = None
    """Whether requests share the KV cache of beginnings that are equal."""

    text_only: bool = False
    """Whether the towers of a multimodal model are left out."""

    speculative_tokens: int = 0
    """Tokens that the MTP head drafts a step."""

    kv_cache_bytes: int | None = None
    """Bytes of KV cache on each GPU, where that is said and not measured at the start."""

    max_loras: int = 0
    """Adapters that one batch may mix, SGLang's ``max_loras_per_batch``; 0: none."""

    max_lora_rank: int = 16
    """The largest rank of an adapter."""

    def all(self) -> dict[str, Any]:
        """Every setting by its name."""
        return {field.name: getattr(self, field.name) for field in fields(Settings)}
