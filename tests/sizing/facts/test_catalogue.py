"""The data folder: complete, sourced, findable under every usual name. No test here has a list of names."""

from __future__ import annotations

import pytest

from sizing.errors import UnknownFact
from sizing.facts.catalogue import load_facts
from sizing.facts.fact import DATA
from sizing.facts.gpu import Gpu
from sizing.facts.model import Model

FACTS = load_facts()


def test_the_catalogue_has_every_model_gpu_and_instance_type_of_the_survey() -> None:
    assert (len(FACTS.models), len(FACTS.gpus), len(FACTS.instances)) == (100, 29, 65)


@pytest.mark.parametrize("model", FACTS.models.values(), ids=lambda model: model.key)
def test_a_model_is_sourced_and_its_numbers_agree_with_each_other(model: Model) -> None:
    assert model.source
    assert model.hub_ids
    assert model.params.total == model.params.text + model.params.tower + model.params.other
    assert model.shape.layers == model.shape.full_attention_layers + model.shape.linear_attention_layers
    assert (model.linear_attention is None) == (model.shape.linear_attention_layers == 0)
    assert model.shape.attention_heads % model.shape.kv_heads == 0
    assert model.params.active_text <= model.params.text
    assert (DATA / "models" / f"{model.key}.toml").is_file()


@pytest.mark.parametrize("model", FACTS.models.values(), ids=lambda model: model.key)
def test_every_name_of_a_model_finds_it_in_any_case(model: Model) -> None:
    for name in (model.key, *model.hub_ids):
        assert FACTS.model(name.upper())[0] is model
    for hub_id, precision in model.quantised.items():
        assert FACTS.model(hub_id) == (model, precision)


@pytest.mark.parametrize("gpu", FACTS.gpus.values(), ids=lambda gpu: gpu.id)
def test_a_gpu_is_sourced_and_found_under_every_spelling(gpu: Gpu) -> None:
    assert gpu.source
    assert gpu.cuda_total_gib.source
    assert gpu.cuda_total_gib.value < gpu.spec_memory_gb * 1e9 / 2**30 * 1.075
    for name in (gpu.id, *gpu.aliases):
        for spelling in (name, name.lower(), name.replace(" ", ""), name.replace(" ", "_"), name.replace(" ", "-")):
            assert FACTS.gpu(spelling) is gpu


@pytest.mark.parametrize("gpu", [gpu for gpu in FACTS.gpus.values() if gpu.nvidia_smi_name], ids=lambda gpu: gpu.id)
def test_a_name_and_memory_by_nvidia_smi_are_those_of_a_log(gpu: Gpu) -> None:
    assert gpu.nvidia_smi_total_mib is not None
    assert f"{gpu.nvidia_smi_name}, {gpu.nvidia_smi_total_mib.value:.0f} MiB" in gpu.nvidia_smi_total_mib.source


def test_no_two_gpus_answer_to_one_spelling() -> None:
    names = [name.lower().replace(" ", "") for gpu in FACTS.gpus.values() for name in (gpu.id, *gpu.aliases)]
    assert len(names) == len(set(names))


def test_every_instance_type_with_a_price_names_a_known_gpu_or_is_rejected_for_it() -> None:
    unknown = {instance.gpu for instance in FACTS.instances.values() if instance.gpu not in FACTS.gpus}
    assert unknown == {"T4g", "V100"}  # arm64, and older than any engine of today


def test_every_home_host_carries_a_known_gpu() -> None:
    assert {host.gpu for host in FACTS.hosts.values()} <= set(FACTS.gpus)


def test_every_default_engine_version_is_pinned_and_never_latest() -> None:
    for engine in FACTS.engines.values():
        assert engine.version(None).version == engine.default_version
        for release in engine.versions:
            assert release.image.count(":") == 1
            assert release.version in release.image
            assert release.source


def test_an_unknown_name_offers_the_nearest_and_the_file_to_add() -> None:
    with pytest.raises(UnknownFact, match=r"nearest known is qwen3-8b.*sizing/data/models/<name>\.toml") as refusal:
        FACTS.model("qwen3-8")
    assert refusal.value.kind == "unknown-model"
    with pytest.raises(UnknownFact, match=r"nearest known is RTX 4090.*sizing/data/gpus/<name>\.toml"):
        FACTS.gpu("RTX4095")


def test_the_newest_price_of_an_item_counts() -> None:
    price = FACTS.price("g5.xlarge", "us-east-1")
    assert price is not None
    assert str(price.usd_per_hour) == "1.006"  # AWS list price of 2026-07-20
    assert FACTS.price("g5.xlarge", "mars-north-1") is None


def test_a_card_is_found_with_its_memory_behind_its_name() -> None:
    spelled = {"L40S 48GB": "L40S", "RTX 5070 Ti 16GB": "RTX 5070 Ti", "rtx4090-24gb": "RTX 4090"}
    facts = load_facts()
    assert {name: facts.gpu(name).id for name in spelled} == spelled
    with pytest.raises(UnknownFact):
        facts.gpu("RTX 4090 48GB")


def test_a_nightly_image_is_taken_for_the_release_its_code_became() -> None:
    sglang = FACTS.engines["sglang"]
    assert sglang.release("nightly-dev-20260216-d3bae71e") == "0.5.9"
    assert sglang.release("nightly-dev-20260402-d7256eb6") == "0.5.10"
    assert sglang.release("nightly-dev-20990101") == sglang.release("nightly-dev") == sglang.default_version
    assert sglang.release("0.5.5") == "0.5.5"


@pytest.mark.parametrize("name", ["llama-3", "MI300X"])
def test_a_name_like_none_is_given_no_nearest(name: str) -> None:
    for look in (FACTS.model, FACTS.gpu):
        with pytest.raises(UnknownFact) as refusal:
            look(name)
        assert "nearest" not in refusal.value.problems[0]
