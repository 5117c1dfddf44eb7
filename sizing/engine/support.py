"""What an engine and a card serve of a model: which releases, on which cards, thinking or not, how long a context."""

from __future__ import annotations

from typing import Literal

from sizing.errors import BadRequest, Unsupported
from sizing.facts.gpu import Gpu
from sizing.facts.model import EngineSupport, Model
from sizing.facts.versions import release_of
from sizing.request.request import Serving

GATED_DELTA_NET_CAPABILITY = 8.0  # vLLM 0.33.0 qwen_gdn_linear_attn.py: no kernel for older cards


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


def runs_on(model: Model, gpu: Gpu) -> None:
    if model.linear_attention and gpu.compute_capability < GATED_DELTA_NET_CAPABILITY:
        raise Unsupported(
            f"{model.name} has Gated DeltaNet layers, whose kernels need compute capability "
            f"{GATED_DELTA_NET_CAPABILITY}; {gpu.id} has {gpu.compute_capability}. An A10G or newer card serves it."
        )


def thinking_default(model: Model, serving: Serving) -> bool | None:
    """
    Whether answers think unless a request says otherwise; None where the model cannot choose and nobody asked.

    Raises:
        BadRequest: thinking asked of a model that never does, or refused by one that always does.
    """
    if model.thinking == "hybrid":
        return model.thinks(serving.thinking)
    if serving.thinking not in (None, model.thinking == "always"):
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
