"""
The engine's finished argument list: from a plan's settings to the words of vLLM or SGLang.

The words are data (``data/engines/<engine>.toml``, ``flags``); this module knows which settings are said at all. No
secret is ever among the arguments: the key comes from a Secret through the chart.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import reduce
from typing import Literal

from sizing.engine.settings import Settings
from sizing.engine.support import thinking_default, yarn_override
from sizing.facts.engine import Engine
from sizing.facts.memory_rules import lora_rules
from sizing.facts.model import Model, Sampling
from sizing.facts.precision import Precision
from sizing.request.request import Adapter, Serving

PORT = 8000
# Where the chart brings the weights, whatever their source.
MODEL_FOLDER = "/models"
ADAPTERS_FOLDER = "/adapters"


def sampling(model: Model, serving: Serving) -> Sampling | None:
    """What the model card recommends for the mode that answers have unasked; None where the model has one mode."""
    if model.sampling is None:
        return None
    return model.sampling.thinking if model.thinks(serving.thinking) else model.sampling.non_thinking


def engine_args(
    engine: Engine,
    model: Model,
    served_name: str,
    precision: Precision,
    settings: Settings,
    serving: Serving,
    *,
    nvlink: bool = True,
) -> tuple[str, ...]:
    """
    The argument list, ready for exec.

    Args:
        nvlink: whether it joins the GPUs of a replica on one host.

    Raises: ``BadRequest`` and ``Unsupported`` as ``thinking_default`` and ``yarn_override`` do.
    """
    settings = served_with(settings, serving, engine.server)
    support = model.supported_by(engine.server)
    thinking = thinking_default(model, serving)
    override = {
        **engine.fixed.overrides.get(model.modality, {}),
        **(yarn_override(model, settings.max_model_len or 0) or {}),
    }
    tools = serving.tools and bool(support.tool_parser)
    drawn = sampling(model, serving) if "sampling" in engine.flags else None
    said: dict[str, object | None] = {
        "served_name": served_name,
        "host": "0.0.0.0",
        "port": PORT,
        "dtype": "float16" if precision == "fp16" else None,
        "tp": settings.tp if settings.tp > 1 else None,
        "pp": settings.pp if settings.pp > 1 else None,
        "max_model_len": settings.max_model_len,
        "max_num_seqs": settings.max_num_seqs,
        "max_num_batched_tokens": settings.max_num_batched_tokens,
        "gpu_memory_utilization": settings.gpu_memory_utilization,
        "kv_cache_dtype": engine.fixed.kv_cache_fp8 if settings.kv_cache_dtype == "fp8" else None,
        "tool_parser": support.tool_parser if tools else None,
        "reasoning_parser": support.reasoning_parser or None,
        "chat_template_kwargs": {"enable_thinking": thinking} if model.thinking == "hybrid" else None,
        "sampling": drawn and drawn.model_dump(exclude_defaults=True),
        "model_overrides": override or None,
        "max_loras": settings.max_loras or None,
        "max_lora_rank": settings.max_lora_rank if settings.max_loras else None,
    }
    args = [engine.flags["model"], MODEL_FOLDER] if "model" in engine.flags else [MODEL_FOLDER]
    for setting, value in said.items():
        if value is not None:
            args += [engine.flags[setting], json.dumps(value) if isinstance(value, dict) else str(value)]
    if serving.adapters:
        names = (f"{adapter.name}={_folder(adapter)}" for adapter in serving.adapters)
        args += [*engine.fixed.lora, engine.flags["adapters"], *names]
    if drafted := settings.speculative_tokens:
        words = (("{tokens}", str(drafted)), ("{tokens+1}", str(drafted + 1)))
        args += [reduce(lambda text, word: text.replace(*word), words, said) for said in engine.fixed.speculative]
    args += engine.fixed.pooling.get(model.modality, ())
    if settings.text_only:
        args += engine.fixed.text_only
    if settings.tp > 1 and not nvlink:
        args += engine.fixed.no_nvlink
    return (*args, *engine.fixed.always, *(engine.fixed.tools if tools else ()))


def _folder(adapter: Adapter) -> str:
    return adapter.source if adapter.in_container else f"{ADAPTERS_FOLDER}/{adapter.name}"


def served_with(settings: Settings, serving: Serving, server: Literal["vllm", "sglang"]) -> Settings:
    """
    *settings* with what *serving* says of them.

    LoRA slots hold every adapter at once: SGLang counts the bare model as one, vLLM knows certain ranks only.
    """
    settings = replace(settings, speculative_tokens=serving.speculative_tokens, text_only=serving.text_only)
    if not serving.adapters:
        return settings
    slots, rank = len(serving.adapters), max(adapter.rank for adapter in serving.adapters)
    if server == "sglang":
        return replace(settings, max_loras=slots + 1, max_lora_rank=rank)
    known = min(known for known in lora_rules().vllm_ranks if known >= rank)
    return replace(settings, max_loras=slots, max_lora_rank=known)
