"""The order of models is data: complete, of known models that can, and never against a published score."""

from __future__ import annotations

from itertools import combinations

import pytest

from sizing.advice.needs import Need, lacks, load_needs, load_scores, named_needs, ranked
from sizing.errors import UnknownFact
from sizing.facts.catalogue import load_facts

FACTS = load_facts()
NEEDS = pytest.mark.parametrize("need", load_needs().values(), ids=lambda need: need.id)


@NEEDS
def test_an_order_names_known_models_that_can_each_once_and_says_where_it_is_from(need: Need) -> None:
    assert need.source
    assert len(set(need.order)) == len(need.order)
    assert {key: why for key in need.order if (why := lacks(FACTS.models[key], [need]))} == {}


@NEEDS
def test_no_order_goes_against_a_published_score(need: Need) -> None:
    scores = load_scores()
    scored = [(key, scores[need.benchmark or "", key].score) for key in need.order if (need.benchmark, key) in scores]
    assert [(one, other) for one, other in combinations(scored, 2) if one[1] < other[1]] == []


def test_every_score_is_sourced_and_of_a_known_model_and_a_needs_benchmark() -> None:
    benchmarks = {need.benchmark for need in load_needs().values()}
    for (benchmark, key), score in load_scores().items():
        assert benchmark in benchmarks
        assert key in FACTS.models
        assert score.source


@NEEDS
def test_a_model_that_no_order_names_comes_after_those_the_newer_generation_first(need: Need) -> None:
    order = ranked(list(FACTS.models.values()), [need])
    rest = [model for model in order if model.key not in need.order]
    assert [model.key for model in order[: len(need.order)]] == list(need.order)
    generations = [float(model.generation) for model in rest]
    assert generations == sorted(generations, reverse=True)


def test_several_needs_are_served_by_models_that_serve_each() -> None:
    both = ranked(list(FACTS.models.values()), named_needs(["vision", "agents"]))
    assert {model.modality for model in both} == {"vision"}
    assert all(model.vllm.tool_parser for model in both)


def test_every_unknown_need_is_named() -> None:
    with pytest.raises(UnknownFact) as refusal:
        named_needs(["text", "prose", "verse"])
    assert len(refusal.value.problems) == 2
    assert "long-context" in refusal.value.problems[0]
