"""A weights folder of one's own: counts equal the hub's for the catalogue's dense models, digit for digit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sizing.errors import BadRequest, Unsupported
from sizing.facts.catalogue import load_facts
from sizing.facts.folder_model import folder_model
from sizing.facts.model import Model

FACTS = load_facts()
DENSE = [
    model
    for model in FACTS.models.values()
    if model.model_type in ("qwen2", "qwen3") and model.modality.startswith("text")
]


def config_of(model: Model) -> dict[str, object]:
    shape = model.shape
    return {
        "model_type": model.model_type,
        "architectures": [model.architecture],
        "num_hidden_layers": shape.layers,
        "hidden_size": shape.hidden_size,
        "intermediate_size": shape.intermediate_size,
        "num_attention_heads": shape.attention_heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "vocab_size": shape.vocab_size,
        "tie_word_embeddings": shape.tie_word_embeddings,
        "max_position_embeddings": model.context.native_tokens,
    }


@pytest.mark.parametrize("model", DENSE, ids=lambda model: model.key)
def test_the_parameter_count_of_a_folder_is_the_hubs(model: Model, tmp_path: Path) -> None:
    folder = tmp_path / model.key
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config_of(model)))
    found = folder_model(folder, FACTS)
    assert found.params.total == model.params.total
    assert found.params.quantisable_linear == model.params.quantisable_linear
    assert found.shape == model.shape


def test_a_folder_without_config_or_with_an_unknown_architecture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match=r"has no config\.json"):
        folder_model(tmp_path, FACTS)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(Unsupported, match="describes a llama"):
        folder_model(tmp_path, FACTS)
    (tmp_path / "config.json").write_text('{"model_type": "qwen3"}')
    with pytest.raises(BadRequest, match="num_hidden_layers: Field required"):
        folder_model(tmp_path, FACTS)
    (tmp_path / "config.json").write_text("[")
    with pytest.raises(BadRequest, match="Invalid JSON"):
        folder_model(tmp_path, FACTS)


@pytest.mark.parametrize(
    "change",
    [
        {"model_type": ["qwen3"]},
        {"num_hidden_layers": "36"},
        {"num_hidden_layers": 0},
        {"num_attention_heads": 0},
        {"num_attention_heads": -8},
        {"vocab_size": 1.5},
        {"quantization_config": {"quant_method": "awq"}},
    ],
    ids=str,
)
def test_a_config_that_cannot_be_is_refused_in_sentences(change: dict[str, object], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config_of(FACTS.models["qwen3-8b"]) | change))
    with pytest.raises((BadRequest, Unsupported)):
        folder_model(tmp_path, FACTS)
