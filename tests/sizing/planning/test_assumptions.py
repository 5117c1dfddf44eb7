"""A plan of every kind of input meets its targets and says what its figures assume."""

from __future__ import annotations

from typing import Any

import pytest

from sizing.facts.catalogue import load_facts
from sizing.plan.plan import Plan
from sizing.planning.planning import plan
from sizing.request.request import Request

FACTS = load_facts()
AWS = {"kind": "aws-eks"}


def planned(model: str, load: dict[str, Any], **more: Any) -> Plan:
    asked = {"model": model, "load": load, "place": AWS, "limits": {"gpus": ["L40S", "H100-SXM"]}, **more}
    made = plan("case", Request.model_validate(asked), FACTS)
    assert Plan.model_validate_json(made.to_json()) == made.model_copy(update={"rejected": ()})
    return made


def chat(**more: Any) -> dict[str, Any]:
    return {"concurrency": 8, "input_tokens": 1000, "output_tokens": 200, **more}


def said(made: Plan, words: str) -> bool:
    return any(words in warning for warning in made.warnings)


def test_an_embedding_plan_has_no_token_figures_and_a_price_of_prompts() -> None:
    targets = {"ttft_ms": 500, "statistic": "p95"}
    made = planned("qwen3-embedding-8b", {"request_rate": 20.0, "input_tokens": 512}, targets=targets)
    assert made.serve.api == "embeddings"
    assert made.estimates.ttft_s.mean <= 0.5
    assert made.estimates.output_tokens_per_s.mean == 0
    assert made.estimates.tpot_s is None
    assert made.cost.usd_per_million_output_tokens is None
    assert made.cost.usd_per_million_tokens > 0


def test_a_reranker_plan_says_how_clients_must_ask() -> None:
    made = planned("qwen3-reranker-0.6b", {"concurrency": 8, "input_tokens": 512})
    assert made.serve.api == "rerank"
    assert said(made, "instruction of its model card")


def test_adapters_take_memory_and_leave_less_for_the_cache() -> None:
    adapter = {"name": "law", "source": "acme/law", "rank": 64}
    bare = planned("qwen3-8b", chat(), serving={"thinking": False})
    with_one = planned("qwen3-8b", chat(), serving={"thinking": False, "adapters": [adapter]})
    assert with_one.memory.kv_cache_tokens_high < bare.memory.kv_cache_tokens_high
    assert any("LoRA" in line.name for line in with_one.memory.ledger)
    assert said(with_one, "figures are those of the bare model")
    assert not said(bare, "LoRA")


def test_without_its_tower_a_model_has_more_room_for_the_cache() -> None:
    one = {"limits": {"gpus": ["H100-SXM"]}}
    whole = planned("qwen3.6-27b", chat(), serving={"thinking": False}, **one)
    text = planned("qwen3.6-27b", chat(), serving={"thinking": False, "text_only": True}, **one)
    assert text.memory.kv_cache_tokens > whole.memory.kv_cache_tokens
    assert any("tower" in line.name for line in whole.memory.ledger)
    assert not any("tower" in line.name for line in text.memory.ledger)
    assert "--language-model-only" in text.engine.args


def test_sglang_says_which_sampling_clients_must_send_themselves() -> None:
    one = {"limits": {"gpus": ["H100-SXM"], "engine": "sglang"}}
    assert said(planned("qwen3-8b", chat(), serving={"thinking": False}, **one), "temperature 0.7, top_p 0.8, top_k 20")
    assert not said(planned("qwen3-8b", chat(thinking_tokens=100), **one), "temperature")


def test_drafted_tokens_take_memory_shorten_tpot_and_say_what_is_assumed() -> None:
    plain = planned("qwen3.6-27b", chat(concurrency=1), serving={"thinking": False})
    drafted = planned("qwen3.6-27b", chat(concurrency=1), serving={"thinking": False, "speculative_tokens": 2})
    assert plain.estimates.tpot_s is not None
    assert drafted.estimates.tpot_s is not None
    assert drafted.estimates.tpot_s.mean < plain.estimates.tpot_s.mean
    assert said(drafted, "70% of the drafted tokens are accepted")
    assert not said(plain, "drafted")


@pytest.mark.parametrize(
    ("model", "serving", "load", "warned"),
    [
        ("qwen3-8b", {}, {}, True),
        ("qwen3-8b", {"thinking": False}, {}, False),
        ("qwen3-8b", {}, {"thinking_tokens": 500}, False),
        ("qwq-32b", {}, {}, True),
        ("qwen2.5-7b", {}, {}, False),
    ],
)
def test_reasoning_that_nobody_counted_is_named(
    model: str, serving: dict[str, Any], load: dict[str, Any], warned: bool
) -> None:
    assert said(planned(model, chat(**load), serving=serving), "must include its reasoning") == warned


def test_reasoning_lengthens_what_a_request_takes() -> None:
    short = planned("qwen3-8b", chat(), serving={"thinking": False})
    long = planned("qwen3-8b", chat(thinking_tokens=2000))
    assert long.request.load.output_tokens == 200  # as it was asked
    assert long.estimates.requests_per_s.mean < 0.3 * short.estimates.requests_per_s.mean


def test_images_lengthen_the_prompt_and_the_wait() -> None:
    text = planned("qwen3-vl-8b", chat())
    seen = planned("qwen3-vl-8b", chat(images={"width": 1920, "height": 1080}))
    assert seen.request.load.input_tokens == 1000
    assert seen.estimates.ttft_s.mean > 1.5 * text.estimates.ttft_s.mean
    assert said(seen, "add 2042 tokens")


def test_a_p95_target_on_lengths_that_differ_asks_for_more_than_one_on_the_mean() -> None:
    load = chat(input_tokens_stddev=2000.0, output_tokens_stddev=200.0)
    targets = {"ttft_ms": 800}
    mean = planned("qwen3-8b", load, targets=targets)
    tail = planned("qwen3-8b", load, targets={**targets, "statistic": "p95"})
    assert tail.estimates.ttft_s.p95 is not None
    assert tail.estimates.ttft_s.p95 <= 0.8
    assert tail.cost.usd_per_hour >= mean.cost.usd_per_hour


def test_requests_longer_than_the_limit_are_named() -> None:
    load = chat(input_tokens_stddev=3000.0)
    made = planned("qwen3-8b", load, limits={"max_model_len": 4096, "gpus": ["L40S"]})
    assert said(made, "of the requests are longer than max_model_len 4096")
