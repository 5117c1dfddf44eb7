"""
What would make a card enough: ``remedies(question, gpu)``.

One card of a kind is asked to carry the whole load as it is asked. Where it does not, each change of what is asked is
tried alone, and in pairs where none works alone: an 8-bit KV cache, fewer bits a weight, more cards, a shorter
context, a smaller load. A change goes only as far as it must.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sizing import units
from sizing.engine.cuts import tensor_parallel_sizes
from sizing.errors import BadRequest, Unsupported
from sizing.facts.gpu import Gpu
from sizing.facts.precision import Precision
from sizing.hosts.candidates import hosts, runs_on
from sizing.hosts.home import MOST_CARDS
from sizing.plan import words
from sizing.request.demand import longest_request
from sizing.search.loaded import Replica
from sizing.search.question import Question
from sizing.search.share import Share
from sizing.search.tuning import Layout, Miss, Replicas

LENGTH_STEP = 256  # max_model_len is shortened in such steps


@dataclass(frozen=True)
class Variant:
    """One card's task, or what a change makes of it."""

    replicas: Replicas  # of its question; remembers what was tried
    shape: Layout
    share: Share

    @property
    def question(self) -> Question:
        return self.replicas.question


@dataclass(frozen=True)
class Remedy:
    """A change after which the card carries the load, and what it does then. ``outcome`` is in ms and tokens."""

    change: str
    outcome: str
    variant: Variant


@dataclass(frozen=True)
class CardVerdict:
    """Whether one *gpu* is enough (``shortfall`` None), or what it falls short of and what would change that."""

    gpu: str
    shortfall: str | None
    remedies: tuple[Remedy, ...]


@dataclass(frozen=True)
class _Change:
    """*values* from the mildest on; ``apply`` makes the variant and ``say`` the words."""

    values: Sequence[Any]
    apply: Callable[[Variant, Any], Variant]
    say: Callable[[Any], str]


def card_verdicts(question: Question) -> list[CardVerdict]:
    """The verdict on one card of every GPU that the place of *question* has."""
    usable, _ = hosts(question.facts, question.request)
    return [card_verdict(question, gpu) for gpu in {host.gpu.id: host.gpu for host in usable}.values()]


def card_verdict(question: Question, gpu: Gpu) -> CardVerdict:
    """As ``remedies``; a card that runs the model in no precision falls short of that."""
    try:
        return remedies(question, gpu)
    except Unsupported as refusal:
        return CardVerdict(gpu.id, refusal.problems[0], ())


def remedies(question: Question, gpu: Gpu) -> CardVerdict:
    """
    The verdict on one card of *gpu* for the whole load of *question*, mildest change first.

    Raises: ``Unsupported`` where no published precision of the model runs on *gpu*.
    """
    precisions = _precisions(question, gpu)
    kv = question.request.limits.kv_cache_dtype or "auto"
    asked = Variant(Replicas(question), Layout(gpu, 1, precisions[0], kv), question.share)
    result = _carry(asked)
    if isinstance(result, Replica):
        return CardVerdict(gpu.id, None, ())
    changes = list(_changes(asked, precisions))
    found = [remedy for change in changes if (remedy := _first(asked, change))]
    if not found:
        found = list(_pairs(asked, changes))
    return CardVerdict(gpu.id, result.reason, tuple(found))


def _precisions(question: Question, gpu: Gpu) -> list[Precision]:
    """The published precisions that *gpu* runs, best quality first; a limit in the request leaves one."""
    facts, asked = question.facts, question.request.limits.precision
    found = []
    for precision in sorted(facts.precisions, key=lambda name: facts.precisions[name].tier):
        if asked not in (None, precision) or not question.model.repository(precision):
            continue
        try:
            runs_on(facts, precision, gpu)
        except Unsupported:
            continue
        found.append(precision)
    if not found:
        raise Unsupported(f"{gpu.id} runs {question.model.name} in no precision that is asked and published")
    return found


def _changes(asked: Variant, precisions: list[Precision]) -> Iterator[_Change]:
    """Changes of *asked*, the mildest kinds first."""
    question, load = asked.question, asked.question.request.load
    tiers = question.facts.precisions

    def weights(precision: Precision) -> _Change:
        return _Change(
            [precision],
            lambda variant, value: replace(variant, shape=replace(variant.shape, precision=value)),
            lambda value: f"{value} weights",
        )

    good = [name for name in precisions[1:] if tiers[name].tier == tiers[precisions[0]].tier]
    yield from (weights(precision) for precision in good)
    if asked.shape.kv_cache_dtype == "auto" and question.request.limits.kv_cache_dtype is None:
        yield _Change(
            ["fp8"],
            lambda variant, value: replace(variant, shape=replace(variant.shape, kv_cache_dtype=value)),
            lambda value: f"{value} KV cache",
        )
    sizes = tensor_parallel_sizes(question.model, asked.shape.precision)
    yield _Change(
        [size for size in sizes if 1 < size <= MOST_CARDS],
        lambda variant, value: replace(variant, shape=replace(variant.shape, tp=value)),
        lambda value: f"{value} cards",
    )
    yield from (weights(precision) for precision in precisions[1:] if precision not in good)
    yield _Change(
        range(question.max_model_len - LENGTH_STEP, longest_request(load) - 1, -LENGTH_STEP),
        lambda variant, value: replace(variant, replicas=Replicas(replace(variant.question, max_model_len=value))),
        lambda value: f"max_model_len {value} instead of {question.max_model_len}",
    )
    if load.concurrency is not None:
        yield _Change(
            range(load.concurrency - 1, 0, -1),
            lambda variant, value: replace(variant, share=Share(value, None)),
            lambda value: f"{Share(value, None)} instead of {load.concurrency}",
        )
    else:
        rate = load.request_rate or 0.0
        yield _Change(
            [rate * percent / 100 for percent in range(95, 0, -5)],
            lambda variant, value: replace(variant, share=Share(None, value)),
            lambda value: f"{Share(None, value)} instead of {units.rate(rate)}",
        )


def _carry(variant: Variant) -> Replica | Miss:
    try:
        return variant.replicas.carrying(variant.shape, variant.share)
    except (BadRequest, Unsupported) as refusal:
        return Miss(refusal.problems[0])


def _first(variant: Variant, change: _Change, before: str = "") -> Remedy | None:
    """*change* by its mildest value that is enough: what is enough stays enough further on."""

    def enough(value: Any) -> bool:
        return isinstance(_carry(change.apply(variant, value)), Replica)

    place = bisect_left(change.values, True, key=enough)
    if place == len(change.values):
        return None
    value = change.values[place]
    changed = change.apply(variant, value)
    result = _carry(changed)
    return Remedy(before + change.say(value), _outcome(result), changed) if isinstance(result, Replica) else None


def _pairs(asked: Variant, changes: list[_Change]) -> Iterator[Remedy]:
    """Two changes at once, each pair by its mildest values."""
    for position, one in enumerate(changes):
        for other in changes[position + 1 :]:
            for value in one.values[:MOST_CARDS]:
                if remedy := _first(one.apply(asked, value), other, f"{one.say(value)} and "):
                    yield remedy
                    break


def _outcome(replica: Replica) -> str:
    return f"{words.latencies(replica.performance)}, KV cache {replica.memory.kv_cache_tokens:,} tokens"
