"""
What one request really asks of a replica: text, images and sound in; reasoning and answer out; lengths that differ.

``whole`` adds up what a load describes in parts, and refuses parts that the model has no use for. ``lengths`` and
``traffic`` turn the result into what the simulation plays: where lengths differ, a fixed sample of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from random import Random
from statistics import NormalDist

from sizing.errors import BadRequest
from sizing.facts.model import Model
from sizing.request.modalities import prompt_tokens, tower_flop
from sizing.request.request import Load, Request
from sizing.request.trace import KEPT_ROWS
from sizing.request.traffic import Traffic


def whole(request: Request, model: Model) -> Request:
    """
    *request* with the tokens of images and sound in ``load.input_tokens``, those of reasoning in ``output_tokens``.

    Raises: ``BadRequest`` with everything the load asks that *model* cannot take or give, and requests too long for
    ``limits.max_model_len``.
    """
    load = request.load
    problems = [
        *_modality_problems(load, model),
        *_text_only_problems(request, model),
        *_answer_problems(request, model),
    ]
    if problems:
        raise BadRequest(*problems)
    tokens_in = load.input_tokens + prompt_tokens(model, load)
    tokens_out = load.output_tokens + (load.thinking_tokens or 0)
    limit = request.limits.max_model_len
    if limit is not None and limit < tokens_in + tokens_out:
        raise BadRequest(
            f"limits.max_model_len is {limit} but load asks for {tokens_in} + {tokens_out} = {tokens_in + tokens_out} "
            f"tokens a request{_parts(load, tokens_in)}; raise max_model_len to at least {tokens_in + tokens_out}"
        )
    return request.model_copy(
        update={"load": load.model_copy(update={"input_tokens": tokens_in, "output_tokens": tokens_out})}
    )


def _parts(load: Load, tokens_in: int) -> str:
    parts = []
    if tokens_in > load.input_tokens:
        parts.append(f"{tokens_in - load.input_tokens} of them images and sound")
    if load.thinking_tokens:
        parts.append(f"{load.thinking_tokens} of them reasoning")
    return f" ({', '.join(parts)})" if parts else ""


def _modality_problems(load: Load, model: Model) -> Iterator[str]:
    if load.images and model.vision is None:
        has = "its tower is not in the kit's facts" if model.modality == "vision" else "it reads no images"
        yield f"load.images is given, but {model.name} cannot be sized for them: {has}; leave it out or name a VL model"
    if load.audio_s and model.audio is None:
        has = "its tower is not in the kit's facts" if model.modality == "audio" else "it hears no sound"
        yield (
            f"load.audio_s is given, but {model.name} cannot be sized for it: {has}; leave it out or choose an Audio "
            f"or Omni model"
        )
    if load.audio_s and model.audio and model.audio.clip_s and load.audio_s > model.audio.clip_s:
        yield f"load.audio_s is {load.audio_s:g} but {model.name} cuts a clip at {model.audio.clip_s} s; ask for that"


def _text_only_problems(request: Request, model: Model) -> Iterator[str]:
    if not request.serving.text_only:
        return
    if not model.params.tower:
        yield f"serving.text_only is true but {model.name} has no tower to leave out; leave it out"
    for name, given in (("load.images", request.load.images), ("load.audio_s", request.load.audio_s)):
        if given:
            yield f"{name} is given but serving.text_only is true, which leaves the towers out; leave one of them out"


def _answer_problems(request: Request, model: Model) -> Iterator[str]:
    load, serving = request.load, request.serving
    if not model.generates:
        if load.output_tokens and load.trace is None:
            yield (
                f"load.output_tokens is {load.output_tokens} but {model.name} ({model.modality}) generates no tokens; "
                f"leave it out: targets.ttft_ms is then the time to its answer"
            )
        if load.trace is not None:
            yield f"load.trace says how long answers are, but {model.name} ({model.modality}) generates no tokens"
        if request.targets.tpot_ms is not None:
            yield f"targets.tpot_ms is given, but {model.name} ({model.modality}) generates no tokens; leave it out"
        if serving.speculative_tokens:
            yield f"serving.speculative_tokens is given, but {model.name} ({model.modality}) generates no tokens"
    elif not load.output_tokens:
        yield "load.output_tokens is missing: the mean number of tokens of an answer"
    if serving.speculative_tokens and model.generates and not model.params.mtp:
        yield (
            f"serving.speculative_tokens is {serving.speculative_tokens} but {model.name} has no MTP head that drafts "
            f"them; leave it out"
        )
    if load.thinking_tokens and not model.thinks(serving.thinking):
        off = f"{model.name} never thinks" if model.thinking == "never" else "serving.thinking is false"
        if model.thinking == "hybrid" and serving.thinking is None:
            off = f"{model.name} thinks only with serving.thinking = true"
        yield f"load.thinking_tokens is {load.thinking_tokens} but {off}; leave it out"


def longest_request(load: Load) -> int:
    """Tokens of the longest request that is played."""
    return max((sum(pair) for pair in _sample(load)), default=load.input_tokens + load.output_tokens)


def cut_requests(load: Load, max_model_len: int) -> float:
    """Share of the played requests that are longer than *max_model_len*, where the engine refuses or cuts them."""
    played = _sample(load)
    return sum(sum(pair) > max_model_len for pair in played) / len(played) if played else 0.0


def traffic(
    load: Load, model: Model, concurrency: int | None, request_rate: float | None, max_model_len: int
) -> Traffic:
    """
    What arrives at one replica whose share of a whole *load* is *concurrency* in flight, or *request_rate* per second.

    A replica of several sees the trace's arrivals as bursty as all of them together are: the careful side, since the
    gateway spreads them.
    """
    pairs = tuple(_cut(pair, max_model_len) for pair in _sample(load))
    closed = concurrency is not None
    gaps = tuple(row.gap_s for row in load.rows if row.gap_s is not None)
    return Traffic(
        concurrency=concurrency,
        request_rate=request_rate,
        input_tokens=_mean(pairs, 0) or load.input_tokens,
        output_tokens=_mean(pairs, 1) or load.output_tokens,
        pattern="closed" if closed else "poisson",
        prefix_hit_rate=load.prefix_hit_rate,
        lengths=pairs,
        gaps=() if closed or not any(gaps) else gaps,
        tower_flop=tower_flop(model, load),
    )


def _mean(pairs: tuple[tuple[int, int], ...], part: int) -> int:
    return round(sum(pair[part] for pair in pairs) / len(pairs)) if pairs else 0


def _cut(pair: tuple[int, int], max_model_len: int) -> tuple[int, int]:
    tokens_in, tokens_out = pair
    tokens_in = min(tokens_in, max_model_len - min(tokens_out, 1))
    return tokens_in, min(tokens_out, max_model_len - tokens_in)


def _sample(load: Load) -> tuple[tuple[int, int], ...]:
    """(input, output) tokens of the requests that are played in turn; empty where all are alike."""
    if load.rows:
        return tuple((row.input_tokens, row.output_tokens) for row in load.rows)
    if not load.input_tokens_stddev and not load.output_tokens_stddev:
        return ()
    inputs = _lognormal(load.input_tokens, load.input_tokens_stddev, 5)
    outputs = _lognormal(load.output_tokens, load.output_tokens_stddev, 6)
    return tuple(zip(inputs, outputs, strict=True))


@lru_cache(maxsize=64)
def _lognormal(mean: int, stddev: float, seed: int) -> tuple[int, ...]:
    """
    ``KEPT_ROWS`` lengths of a lognormal distribution, one of every equal share of it, in an order fixed by *seed*.

    Lengths are positive and their tail is long, which a normal distribution is not; its two parameters follow from mean
    and standard deviation. The tail beyond the last share is left out, so the sample is stretched to the mean.
    """
    if not stddev:
        return (mean,) * KEPT_ROWS
    variance = math.log(1 + (stddev / mean) ** 2)
    normal = NormalDist(math.log(mean) - variance / 2, math.sqrt(variance))
    lengths = [math.exp(normal.inv_cdf((index + 0.5) / KEPT_ROWS)) for index in range(KEPT_ROWS)]
    stretch = mean * KEPT_ROWS / sum(lengths)
    whole_lengths = [max(1, round(length * stretch)) for length in lengths]
    Random(seed).shuffle(whole_lengths)
    return tuple(whole_lengths)
