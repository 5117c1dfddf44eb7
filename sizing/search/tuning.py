"""
The engine settings of one replica under its share of a load: ``Replicas(question).carrying(shape, share)``.

Given the cards and the precision, the engine's settings are searched here (``data/engines/<engine>.toml``,
``[searched]``): the first that meets every target is taken. What one setting misses says which others can help, so only
those are tried. Everything is in figures of one replica; hosts and money are the search's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

from sizing.engine.settings import KvDtype
from sizing.engine.setup import Setup, resolve
from sizing.errors import KitError
from sizing.facts.gpu import Gpu
from sizing.facts.precision import Precision
from sizing.memory.memory import MemoryAnswer, memory
from sizing.plan.aims import aims
from sizing.search.loaded import Replica, loaded, scheduler_of
from sizing.search.question import Question
from sizing.search.share import Share
from sizing.speed.bounds import most_share
from sizing.speed.performance import Performance
from sizing.speed.step import StepModel

RATE_WITHIN_REACH = 0.5  # no setting doubles the rate of a replica


@dataclass(frozen=True, slots=True)
class Layout:
    """How a replica lies on cards: ``tp * pp`` of one kind, weights in *precision*."""

    gpu: Gpu
    tp: int
    precision: Precision
    kv_cache_dtype: KvDtype
    pp: int = 1

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for shapes whose figures are equal."""
        return self.gpu.id, self.tp, self.pp, self.precision, self.kv_cache_dtype


@dataclass(frozen=True, slots=True)
class Tuning:
    """The engine settings that are searched; utilisation None is the engine's own default."""

    max_num_batched_tokens: int
    max_num_seqs: int
    gpu_memory_utilization: float | None


@dataclass(frozen=True, slots=True)
class Miss:
    """
    Why a replica does not meet the request, and how near it comes: 1 is a limit just met, 0 unmeasured.

    ``waits``: requests find no place, so that more KV cache could help.
    """

    reason: str
    nearness: float = 0.0
    limit: Literal["memory", "TTFT", "TPOT", "rate", "other"] = "other"
    waits: bool = False


@dataclass(frozen=True, slots=True)
class _Built:
    """A replica with its settings, whatever its share: how many requests run together; a token and a prompt alone."""

    setup: Setup
    memory: MemoryAnswer
    together: int
    alone_s: float
    prompt_s: float


@dataclass
class Replicas:
    """Replicas of one question; remembers each (shape, share) it was asked, and what does not depend on the share."""

    question: Question
    _built: dict[tuple[object, ...], _Built | Miss] = field(default_factory=dict)
    _full_rate: dict[tuple[object, ...], float] = field(default_factory=dict)
    _known: dict[tuple[object, ...], Replica | Miss] = field(default_factory=dict)
    _most: dict[tuple[object, ...], float | Miss] = field(default_factory=dict)

    def most_share(self, shape: Layout) -> float | Miss:
        """Requests in flight, or per second, that no settings let a replica of *shape* pass; why not even one."""
        if shape.key not in self._most:
            self._most[shape.key] = self._bound(shape)
        return self._most[shape.key]

    def _bound(self, shape: Layout) -> float | Miss:
        """With the KV cache of the settings that take least, and the places and the chunk of those that take most."""
        searched, request = self.question.engine.searched, self.question.request
        if searched is None or shape.pp > 1:
            return math.inf
        sequences, batched = max(searched.max_num_seqs), max(searched.max_num_batched_tokens)
        found = []
        for tuning in self._leanest(list(self.tunings(Share(sequences, None)))):
            built = self._settled(shape, tuning)
            if isinstance(built, _Built):
                if alone := self._missed_alone(built):
                    return alone
                roomy = replace(built.setup, max_num_seqs=sequences, max_num_batched_tokens=batched)
                scheduler = scheduler_of(self.question, roomy, built.memory)
                found.append(most_share(scheduler, request.targets, closed=request.load.concurrency is not None))
        return max(found, default=math.inf)  # infinite: why it holds nothing is said where it is tried

    def carrying(self, shape: Layout, share: Share) -> Replica | Miss:
        """The replica of *shape* with the first settings that meet every target under *share*, or the nearest miss."""
        key = (*shape.key, share)
        if key not in self._known:
            self._known[key] = self._tuned(shape, share)
        return self._known[key]

    def _tuned(self, shape: Layout, share: Share) -> Replica | Miss:
        most = self.most_share(shape)
        if isinstance(most, Miss):
            return most
        if share.concurrency is not None and share.concurrency > most:  # a rate is refused with the rates of both
            return Miss(
                f"no settings let a replica carry {share} within the targets; {most:.3g} at the very most",
                nearness=most / share.concurrency,
                limit="rate",
            )
        first, *others = self.tunings(share)
        result = self.tried(shape, share, first)
        if isinstance(result, Replica):
            return result
        if result.limit in ("memory", "TPOT") and not self._leaner_helps(shape, share, result, [first, *others]):
            return result
        nearest, missed_by = result, first
        for tuning in others:
            if not _can_help(nearest, missed_by, tuning):
                continue
            result = self.tried(shape, share, tuning)
            if isinstance(result, Replica):
                return result
            if result.nearness > nearest.nearness:
                nearest, missed_by = result, tuning
        return nearest

    def _leaner_helps(self, shape: Layout, share: Share, miss: Miss, tunings: list[Tuning]) -> bool:
        """Whether the settings that take least (per utilisation) pass the limit that was missed: if not, none do."""
        results = [self.tried(shape, share, tuning) for tuning in self._leanest(tunings)]
        return any(isinstance(result, Replica) or result.limit != miss.limit for result in results)

    def _leanest(self, tunings: list[Tuning]) -> list[Tuning]:
        """Of each utilisation the settings that take least memory and step time."""
        least: dict[float | None, Tuning] = {}
        for tuning in tunings:
            least[tuning.gpu_memory_utilization] = min(
                tuning,
                least.get(tuning.gpu_memory_utilization, tuning),
                key=lambda one: (one.max_num_seqs, one.max_num_batched_tokens),
            )
        return list(least.values())

    def tunings(self, share: Share) -> Iterator[Tuning]:
        """Every setting that may be tried under *share*, the usual one first."""
        searched, limits = self.question.searched, self.question.request.limits
        roomy = share.concurrency * searched.burst_room if share.concurrency else searched.sequences_at_a_rate
        most = min((size for size in searched.max_num_seqs if size >= roomy), default=searched.max_num_seqs[-1])
        fixed = limits.gpu_memory_utilization
        utilizations = [fixed] if fixed is not None else [None, *searched.gpu_memory_utilization]
        for utilization in utilizations:
            for sequences in sorted((size for size in searched.max_num_seqs if size <= most), reverse=True):
                for batched in searched.max_num_batched_tokens:
                    if batched >= sequences:
                        yield Tuning(batched, sequences, utilization)

    def tried(self, shape: Layout, share: Share, tuning: Tuning) -> Replica | Miss:
        """The replica with exactly these settings, or what it misses."""
        key = (*shape.key, tuning)
        built = self._settled(shape, tuning)
        if isinstance(built, Miss):
            return built
        if hopeless := self._hopeless(key, built, share):
            return hopeless
        speed = loaded(self.question, built.setup, built.memory, share, self._full_rate.get(key))
        waits = share.concurrency is None or share.concurrency > built.together
        return self._missed(speed, share, waits) or Replica(share, built.setup, built.memory, speed)

    def _settled(self, shape: Layout, tuning: Tuning) -> _Built | Miss:
        key = (*shape.key, tuning)
        if key not in self._built:
            self._built[key] = self._build(shape, tuning)
        return self._built[key]

    def _build(self, shape: Layout, tuning: Tuning) -> _Built | Miss:
        asked = self.question
        try:
            setup = resolve(
                asked.model,
                shape.precision,
                shape.gpu,
                engine=asked.engine.server,
                engine_version=asked.release.version,
                asked=replace(
                    asked.settings,
                    tp=shape.tp,
                    pp=shape.pp,
                    kv_cache_dtype=shape.kv_cache_dtype,
                    max_num_seqs=tuning.max_num_seqs,
                    max_num_batched_tokens=tuning.max_num_batched_tokens,
                    gpu_memory_utilization=tuning.gpu_memory_utilization,
                ),
            )
        except KitError as refusal:
            return Miss(refusal.problems[0])
        answer = memory(setup)
        if not answer.fits:
            return Miss(answer.reason or "it does not fit", limit="memory")
        if answer.kv_cache_tokens < asked.max_model_len:
            return Miss(
                f"its KV cache holds {answer.kv_cache_tokens} tokens; max_model_len is {asked.max_model_len}",
                limit="memory",
            )
        alone_s = 0.0
        if shape.pp == 1 and asked.request.load.output_tokens > 1:
            step = StepModel.of(setup)
            alone_s = step.step_s(1, 1, 0, 0) / step.tokens_per_step
        scheduler = scheduler_of(asked, setup, answer)
        return _Built(setup, answer, scheduler.capacity(), alone_s, scheduler.fastest_s())

    def _missed_alone(self, built: _Built) -> Miss | None:
        """What one request misses that has the replica to itself: no share is small enough."""
        target_ms = self.question.request.targets.tpot_ms
        if target_ms is not None and built.alone_s * 1000 > target_ms:
            return Miss(
                f"TPOT at least {built.alone_s * 1000:.0f} ms, for one request alone; the target is {target_ms:g} ms",
                nearness=target_ms / (built.alone_s * 1000),
                limit="TPOT",
            )
        target_ms = self.question.request.targets.ttft_ms
        if target_ms is not None and built.prompt_s * 1000 > target_ms:
            return Miss(
                f"TTFT at least {built.prompt_s * 1000:,.1f} ms, for one prompt alone; the target is {target_ms:g} ms",
                nearness=target_ms / (built.prompt_s * 1000),
            )
        return None

    def _hopeless(self, key: tuple[object, ...], built: _Built, share: Share) -> Miss | None:
        """What can be known to be missed without playing the share out."""
        if alone := self._missed_alone(built):
            return alone
        if share.concurrency is not None and (
            share.concurrency <= built.together or self.question.request.targets.ttft_ms is None
        ):
            return None
        if built.alone_s:
            answer_s = built.alone_s * self.question.request.load.output_tokens
            if queue := self._queue(built, share, built.together / answer_s):
                return queue
        if key not in self._full_rate:
            full = loaded(self.question, built.setup, built.memory, Share(built.together, None))
            self._full_rate[key] = full.requests_per_s.mean
        return self._queue(built, share, self._full_rate[key])

    def _queue(self, built: _Built, share: Share, rate: float) -> Miss | None:
        """What those miss who find no place, where a full replica answers at most *rate* requests/s."""
        if share.request_rate is not None:
            busy = self.question.searched.most_busy
            if share.request_rate <= busy * rate:
                return None
            return Miss(
                f"{rate:.3g} requests/s a replica at most, with {built.together} in flight; a plan loads it to "
                f"{busy:.0%} ({busy * rate:.3g}/s), and its share is {share.request_rate:.3g}",
                nearness=busy * rate / share.request_rate,
                limit="rate",
                waits=True,
            )
        target_ms = self.question.request.targets.ttft_ms
        wait_ms = ((share.concurrency or 0) - built.together) / rate * 1000
        if target_ms is None or wait_ms <= target_ms:  # Little's law
            return None
        return Miss(
            f"TTFT at least {wait_ms:.0f} ms at {share} a replica, of which {built.together} run together; "
            f"the target is {target_ms:g} ms",
            nearness=target_ms / wait_ms,
            limit="TTFT",
            waits=True,
        )

    def _missed(self, speed: Performance, share: Share, waits: bool) -> Miss | None:
        misses = [
            Miss(
                f"{aim.name} {aim.statistic} {aim.reached_ms:.0f} ms at {share} a replica; "
                f"the target is {aim.target_ms:g} ms",
                nearness=aim.target_ms / aim.reached_ms,
                limit=aim.name,
                waits=waits,
            )
            for aim in aims(self.question.request.targets, speed)
            if not aim.met
        ]
        if share.request_rate is not None and speed.saturated:
            reached = speed.requests_per_s.mean
            misses.append(
                Miss(
                    f"{reached:.3g} requests/s a replica at most; its share is {share.request_rate:.3g}",
                    nearness=reached / share.request_rate,
                    limit="rate",
                    waits=True,
                )
            )
        return min(misses, key=lambda miss: miss.nearness, default=None)


def _can_help(miss: Miss, missed_by: Tuning, other: Tuning) -> bool:
    """Whether *other* can mend what was missed: leaner or larger memory, shorter steps, or sooner prompts."""
    larger = other.gpu_memory_utilization != missed_by.gpu_memory_utilization
    more_chunk = other.max_num_batched_tokens > missed_by.max_num_batched_tokens
    leaner = not more_chunk and other.max_num_seqs <= missed_by.max_num_seqs
    if miss.limit == "memory":
        return leaner or larger
    if miss.limit == "TPOT":
        return leaner and not larger
    if miss.limit == "rate" and miss.nearness < RATE_WITHIN_REACH:
        return False
    if miss.limit in ("TTFT", "rate"):
        fewer = other.max_num_seqs < missed_by.max_num_seqs
        return not fewer and (more_chunk or (larger and miss.waits))
    return False
