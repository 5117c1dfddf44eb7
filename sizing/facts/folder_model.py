"""
A model of one's own: the facts of a weights folder, read from its ``config.json``.

For fine-tunes and other checkpoints of a known architecture. Parameter counts follow from the shapes (the arithmetic
that reproduces the hub's counts of the catalogue's dense models to the digit).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, ValidationError

from sizing.errors import BadRequest, Unsupported
from sizing.facts.catalogue import Facts
from sizing.facts.fact import sentences
from sizing.facts.model import Context, EngineSupport, Model, Params, Shape, Stated

DENSE = {"qwen2": "qwen2.5-7b", "qwen3": "qwen3-8b"}  # model type -> the catalogue model whose engine support it shares


Size = Annotated[int, Field(gt=0, le=100_000_000)]


class _Kind(BaseModel, strict=True):
    model_type: str


class _Config(BaseModel, strict=True):
    """What the kit reads of a ``config.json``; the rest of it is the engine's business."""

    num_hidden_layers: Size
    hidden_size: Size
    intermediate_size: Size
    num_attention_heads: Size
    num_key_value_heads: Size
    head_dim: Size | None = None
    vocab_size: Size
    tie_word_embeddings: bool = False
    max_position_embeddings: Size
    quantization_config: dict[str, object] | None = None


def folder_model(folder: Path, facts: Facts) -> Model:
    """
    The model whose weights lie in *folder*.

    Raises: ``BadRequest`` when there is no readable config; ``Unsupported`` unless it is dense and not quantised.
    """
    path = folder / "config.json"
    try:
        text = path.read_bytes()
        kind = _Kind.model_validate_json(text).model_type
        if kind not in DENSE:
            raise Unsupported(f"{path} describes a {kind}; from a folder the kit sizes {' and '.join(DENSE)} models")
        config = _Config.model_validate_json(text)
    except OSError:
        raise BadRequest(f"{folder} has no config.json; name a folder with the files of a model repository") from None
    except ValidationError as error:
        raise BadRequest(*sentences(error, _Config, f"{path}: ")) from None
    if config.quantization_config is not None:
        raise Unsupported(f"{path} describes quantised weights; from a folder the kit sizes bf16 weights so far")
    like = facts.models[DENSE[kind]]
    shape = Shape(
        layers=config.num_hidden_layers,
        full_attention_layers=config.num_hidden_layers,
        linear_attention_layers=0,
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        attention_heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        head_dim=config.head_dim or config.hidden_size // config.num_attention_heads,
        vocab_size=config.vocab_size,
        tie_word_embeddings=config.tie_word_embeddings,
        qkv_bias=kind == "qwen2",
        qk_norm=kind == "qwen3",
        attn_output_gate=False,
    )
    context = Context(native_tokens=config.max_position_embeddings, stated=f"{folder.name}/config.json")
    total, linear = _count(shape)
    return Model(
        key=folder.resolve().name.lower(),
        family=like.family,
        generation=like.generation,
        modality="text",
        hub_ids=(folder.resolve().name,),
        model_type=kind,
        architecture=like.architecture,
        licence="unstated",
        thinking=like.thinking,
        thinking_stated=like.thinking_stated,
        source=f"{folder.name}/config.json",
        context=context,
        params=Params(total=total, text=total, active_text=total, quantisable_linear=linear),
        shape=shape,
        vllm=EngineSupport(**like.vllm.model_dump()),
        sglang=EngineSupport(**like.sglang.model_dump()),
        transformers=Stated(),
    )


def _count(shape: Shape) -> tuple[int, int]:
    """Parameters in all, and in the linear layers that a quantised build packs."""
    query = shape.attention_heads * shape.head_dim
    key_value = 2 * shape.kv_heads * shape.head_dim
    attention = shape.hidden_size * (query + key_value) + query * shape.hidden_size
    mlp = 3 * shape.hidden_size * (shape.intermediate_size or 0)
    norms = 2 * shape.hidden_size + (2 * shape.head_dim if shape.qk_norm else 0)
    bias = query + key_value if shape.qkv_bias else 0
    embedding = shape.vocab_size * shape.hidden_size * (1 if shape.tie_word_embeddings else 2)
    linear = shape.layers * (attention + mlp)
    return linear + shape.layers * (norms + bias) + embedding + shape.hidden_size, linear
