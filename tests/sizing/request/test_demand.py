"""What a load adds up to, and the sample that is played where lengths differ."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sizing.facts.catalogue import load_facts
from sizing.request.demand import cut_requests, longest_request, traffic, whole
from sizing.request.request import Images, Limits, Load, Place, Request, Serving
from sizing.request.trace import KEPT_ROWS, TraceRow

MODELS = load_facts().models


def request(model: str, serving: Serving | None = None, **load: object) -> Request:
    given = {"concurrency": 4, "input_tokens": 1000, "output_tokens": 200, **load}
    return Request(model=model, load=Load(**given), place=Place(kind="aws-eks"), serving=serving or Serving())  # type: ignore[arg-type]


def test_images_sound_and_reasoning_are_among_the_tokens() -> None:
    found = whole(request("qwen3-vl-8b", images=Images(count=2, width=400, height=300)), MODELS["qwen3-vl-8b"])
    assert (found.load.input_tokens, found.load.output_tokens) == (1000 + 2 * 110, 200)
    found = whole(request("qwen3-8b", thinking_tokens=800), MODELS["qwen3-8b"])
    assert (found.load.input_tokens, found.load.output_tokens) == (1000, 1000)


def test_a_request_without_them_stays_as_it_is() -> None:
    plain = request("qwen3-8b")
    assert whole(plain, MODELS["qwen3-8b"]) == plain


def test_a_model_that_always_thinks_may_be_told_how_long() -> None:
    assert whole(request("qwq-32b", thinking_tokens=100), MODELS["qwq-32b"]).load.output_tokens == 300


@given(
    mean=st.integers(50, 20_000),
    spread=st.floats(0.05, 1.5),
)
def test_the_sample_has_the_asked_mean_and_spread(mean: int, spread: float) -> None:
    load = Load(concurrency=4, input_tokens=mean, input_tokens_stddev=spread * mean, output_tokens=100)
    inputs = [pair[0] for pair in traffic(load, MODELS["qwen3-8b"], 4, None, 10_000_000).lengths]
    assert len(inputs) == KEPT_ROWS
    average = sum(inputs) / KEPT_ROWS
    assert average == pytest.approx(mean, rel=0.01, abs=1)
    deviation = math.sqrt(sum((one - average) ** 2 for one in inputs) / KEPT_ROWS)
    assert 0.75 * spread * mean - 1 <= deviation <= 1.05 * spread * mean + 1
    assert min(inputs) >= 1


def test_lengths_in_and_out_are_drawn_independently_and_always_the_same() -> None:
    load = Load(concurrency=4, input_tokens=1000, input_tokens_stddev=800, output_tokens=200, output_tokens_stddev=150)
    pairs = traffic(load, MODELS["qwen3-8b"], 4, None, 40_960).lengths
    assert pairs == traffic(load, MODELS["qwen3-8b"], 4, None, 40_960).lengths
    mean_in, mean_out = (sum(pair[part] for pair in pairs) / len(pairs) for part in (0, 1))
    covariance = sum((a - mean_in) * (b - mean_out) for a, b in pairs) / len(pairs)
    assert abs(covariance) < 0.15 * 800 * 150


def test_no_request_is_played_longer_than_the_engine_takes_it() -> None:
    rows = (TraceRow(1.0, 100, 100), TraceRow(1.0, 9000, 500), TraceRow(1.0, 8000, 500))
    load = Load(request_rate=1.0, input_tokens=5700, output_tokens=367, trace="t.csv", rows=rows)
    arriving = traffic(load, MODELS["qwen3-8b"], None, 0.5, 8192)
    assert arriving.lengths == ((100, 100), (8191, 1), (8000, 192))
    assert arriving.gaps == (1.0, 1.0, 1.0)
    assert cut_requests(load, 8192) == pytest.approx(2 / 3)
    assert longest_request(load) == 9500


def test_a_closed_loop_takes_the_lengths_of_a_trace_and_not_its_arrivals() -> None:
    rows = (TraceRow(1.0, 100, 100), TraceRow(9.0, 200, 50))
    load = Load(concurrency=4, input_tokens=150, output_tokens=75, trace="t.csv", rows=rows)
    assert traffic(load, MODELS["qwen3-8b"], 4, None, 8192).gaps == ()


def test_a_load_of_one_length_plays_no_sample() -> None:
    load = Load(concurrency=4, input_tokens=150, output_tokens=75)
    arriving = traffic(load, MODELS["qwen3-8b"], 2, None, 8192)
    assert (arriving.lengths, arriving.concurrency, arriving.input_tokens) == ((), 2, 150)
    assert longest_request(load) == 225
    assert cut_requests(load, 100) == 0


def test_the_limit_is_held_against_the_whole_request() -> None:
    asked = request("qwen3-vl-8b", images=Images(width=4096, height=4096))
    limited = asked.model_copy(update={"limits": Limits(max_model_len=8192)})
    with pytest.raises(Exception, match="17386 \\+ 200 = 17586 tokens a request \\(16386 of them images and sound\\)"):
        whole(limited, MODELS["qwen3-vl-8b"])
