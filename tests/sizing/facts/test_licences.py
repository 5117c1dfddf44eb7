"""Licences are data: every model has one, every one has a verdict, a reason and a source, and plans say it."""

from __future__ import annotations

import pytest

from sizing.errors import UnknownFact
from sizing.facts.catalogue import Licence, load_facts
from sizing.facts.licences import verdict
from sizing.facts.model import Model
from sizing.planning.planning import plan
from sizing.request.request import Load, Place, Request

FACTS = load_facts()


@pytest.mark.parametrize("model", FACTS.models.values(), ids=lambda model: model.key)
def test_every_model_has_a_described_licence_and_a_verdict(model: Model) -> None:
    licence = FACTS.licence(model)
    sentence = verdict(model, licence)
    assert model.name in sentence
    assert licence.why in sentence


@pytest.mark.parametrize("licence", FACTS.licences.values(), ids=lambda licence: licence.id)
def test_a_licence_says_why_and_where_it_was_read_and_some_model_has_it(licence: Licence) -> None:
    assert licence.why
    assert licence.source
    assert [model for model in FACTS.models.values() if model.licence == licence.id]


def test_a_licence_that_no_file_describes_names_the_file_to_add() -> None:
    model = FACTS.models["qwen3-8b"].model_copy(update={"licence": "apache"})
    with pytest.raises(UnknownFact, match=r"nearest known is apache-2\.0.*sizing/data/licences/<id>\.toml"):
        FACTS.licence(model)


@pytest.mark.parametrize(
    ("key", "place", "says"),
    [
        ("qwen2.5-3b", Place(kind="aws-ec2"), "You may not sell"),
        ("qwen2.5-72b", Place(kind="aws-ec2"), "100 million monthly active users"),
        ("qwen2-math-7b", Place(kind="aws-ec2"), "Nothing at hand says whether you may sell"),
        ("qwen3-8b", Place(kind="aws-ec2"), None),
        ("qwen1.5-0.5b", Place(kind="local"), "You may not sell"),
    ],
)
def test_a_plan_warns_of_a_licence_that_is_no_plain_yes(key: str, place: Place, says: str | None) -> None:
    load = Load(concurrency=1, input_tokens=500, output_tokens=100)
    limits = {"engine": "vllm-cpu"} if place.kind == "local" else {}
    request = Request.model_validate({"model": key, "load": load, "place": place, "limits": limits})
    warnings = plan("p", request, FACTS).warnings
    if says is None:
        assert not [
            warning for warning in warnings if "licence" in warning.lower() and FACTS.models[key].name in warning
        ]
    else:
        assert [says in warning for warning in warnings if FACTS.models[key].name in warning] == [True]
