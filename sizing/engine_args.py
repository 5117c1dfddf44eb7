"""
The engine's finished argument list: from a plan's settings to the words of vLLM or SGLang.

The words are data (``data/engines/<engine>.toml``, ``flags``); this module knows which settings are said at all. No
secret is ever among the arguments: the key comes from a Secret through the chart.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from sizing.errors import BadRequest, Unsupported
from sizing.facts import Engine, Model, Precision
from sizing.request import Serving

PORT = 8000


@dataclass(frozen=True, slots=True)
class Settings:
    """What is told to the engine; None or 1 where its own default is meant."""

    tp: int
    pp: int
    max_model_len: int
    max_num_seqs: int
    max_num_batched_tokens: int
    gpu_memory_utilization: float | None
    kv_cache_dtype: str


def thinking_default(model: Model, serving: Serving) -> bool | None:
    """
    Whether answers think unless a request says otherwise; None where the model cannot choose and nobody asked.

    Raises:
        BadRequest: thinking asked of a model that never does, or refused by one that always does.
    """
    if serving.thinking is None or model.thinking == "hybrid":
        return serving.thinking
    if serving.thinking != (model.thinking == "always"):
        does = "always thinks" if model.thinking == "always" else "never thinks"
        raise BadRequest(
            f"serving.thinking is {str(serving.thinking).lower()} but {model.key} {does} ({model.thinking_stated}); "
            f"leave serving.thinking out, or choose a model whose template has enable_thinking, such as qwen3-8b"
        )
    return serving.thinking


def yarn_override(model: Model, max_model_len: int) -> dict[str, object] | None:
    """
    The config override that stretches the context past its native length; None if it is not needed.

    Source: the form vLLM 0.32.0 accepts (``max_position_embeddings`` must be set as well, since 0.32 does not multiply
    it by the factor); SGLang 0.5.23 merges the same nested form into its config (utils/hf_transformers/config.py).
    """
    context = model.context
    if max_model_len <= context.native_tokens:
        return None
    if context.yarn_tokens is None or max_model_len > context.yarn_tokens:
        raise Unsupported(
            f"{model.key} has a context of {context.native_tokens} tokens"
            f"{f', {context.yarn_tokens} with YaRN' if context.yarn_tokens else ' and no documented YaRN extension'}; "
            f"{max_model_len} were asked. Ask for at most {context.yarn_tokens or context.native_tokens}."
        )
    rope = {
        "rope_type": "yarn",
        "rope_theta": context.rope_theta,
        "factor": context.yarn_factor,
        "original_max_position_embeddings": context.yarn_original_tokens,
        **context.rope.model_dump(exclude_none=True),
    }
    override = {"max_position_embeddings": context.yarn_tokens, "rope_parameters": rope}
    return {"text_config": override} if model.vision else override


def engine_args(
    engine: Engine,
    model: Model,
    weights: str,
    served_name: str,
    precision: Precision,
    settings: Settings,
    serving: Serving,
) -> tuple[str, ...]:
    """
    The argument list, ready for exec. *weights* is a hub id or a path inside the container.

    Raises: ``BadRequest`` and ``Unsupported`` as ``thinking_default`` and ``yarn_override`` do.
    """
    support = model.sglang if engine.id == "sglang" else model.vllm
    thinking = thinking_default(model, serving)
    override = yarn_override(model, settings.max_model_len)
    tools = serving.tools and bool(support.tool_parser)
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
        "chat_template_kwargs": None
        if thinking is None or model.thinking != "hybrid"
        else {"enable_thinking": thinking},
        "model_overrides": override,
    }
    args = [engine.flags["model"], weights] if "model" in engine.flags else [weights]
    for setting, value in said.items():
        if value is not None:
            args += [engine.flags[setting], json.dumps(value) if isinstance(value, dict) else str(value)]
    return (*args, *engine.fixed.always, *(engine.fixed.tools if tools else ()))
