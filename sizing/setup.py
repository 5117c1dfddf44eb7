"""
One replica, every setting resolved: the input of memory and speed.

``Asked`` is what somebody wrote, with None where the engine's own default for that version and GPU is wanted;
``resolve`` fills the defaults in as that engine version would.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sizing.facts import Gpu, Model, Precision

KvDtype = Literal["auto", "fp8"]


@dataclass(frozen=True, slots=True)
class Asked:
    """The engine settings of one question; None = the engine's default. vLLM's names and meaning."""

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
