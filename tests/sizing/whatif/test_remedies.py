"""What would make a card enough: each remedy works and goes no further than it must."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sizing.errors import Unsupported
from sizing.facts.catalogue import load_facts
from sizing.request.request import Limits, Load, Place, Request, Targets
from sizing.search.loaded import Replica
from sizing.search.question import Question, question
from sizing.search.tuning import Miss, Replicas
from sizing.whatif.remedies import remedies

FACTS = load_facts()


def asked(model: str = "qwen3-8b", concurrency: int = 24, **limits: object) -> Question:
    request = Request(
        model=model,
        load=Load(concurrency=concurrency, input_tokens=2048, output_tokens=512),
        targets=Targets(ttft_ms=2000, tpot_ms=40),
        place=Place(kind="aws-eks"),
        limits=Limits.model_validate(limits),
    )
    return question(request, FACTS)


def test_a_card_that_is_enough_needs_no_remedy() -> None:
    verdict = remedies(asked(), FACTS.gpu("H100"))
    assert (verdict.shortfall, verdict.remedies) == (None, ())


@pytest.mark.parametrize("gpu", ["T4", "A10G", "RTX 4090"])
def test_every_remedy_is_enough_and_its_card_alone_is_not(gpu: str) -> None:
    verdict = remedies(asked(), FACTS.gpu(gpu))
    assert verdict.shortfall
    assert verdict.remedies
    for remedy in verdict.remedies:
        variant = remedy.variant
        assert isinstance(Replicas(variant.question).carrying(variant.shape, variant.share), Replica), remedy.change


def test_a_smaller_load_is_the_largest_that_the_card_carries() -> None:
    verdict = remedies(asked(), FACTS.gpu("RTX 4090"))
    (fewer,) = [remedy for remedy in verdict.remedies if "in flight" in remedy.change]
    variant = fewer.variant
    one_more = replace(variant.share, concurrency=(variant.share.concurrency or 0) + 1)
    assert isinstance(Replicas(variant.question).carrying(variant.shape, one_more), Miss)


def test_a_shorter_context_is_a_remedy_where_one_request_does_not_fit() -> None:
    verdict = remedies(asked(concurrency=1, max_model_len=40_960, kv_cache_dtype="auto"), FACTS.gpu("RTX 4090"))
    assert "max_model_len 40960" in (verdict.shortfall or "")
    (shorter,) = [remedy for remedy in verdict.remedies if remedy.change.startswith("max_model_len")]
    assert 2560 <= shorter.variant.question.max_model_len < 40_960


def test_a_card_without_a_kernel_for_any_asked_precision_is_refused_in_a_sentence() -> None:
    with pytest.raises(Unsupported, match="T4 runs Qwen3-8B in no precision"):
        remedies(asked(precision="fp8"), FACTS.gpu("T4"))


@pytest.mark.parametrize(("spread", "helps"), [(0.0, True), (3000.0, True), (9000.0, False)])
def test_the_context_is_not_shortened_below_the_longest_request(spread: float, helps: bool) -> None:
    load = Load(concurrency=1, input_tokens=3000, output_tokens=300, input_tokens_stddev=spread)
    limits = Limits(max_model_len=40_000, precision="bf16")
    request = Request(model="qwen3-8b", load=load, place=Place(kind="aws-eks"), limits=limits)
    verdict = remedies(question(request, FACTS), FACTS.gpu("A10G"))
    assert any(remedy.change.startswith("max_model_len") for remedy in verdict.remedies) == helps
