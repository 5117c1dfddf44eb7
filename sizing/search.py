"""
The cheapest hardware that meets every target of a request: ``search(question)``.

Every candidate gets the fewest replicas that meet the targets (latency falls as replicas share the load, so the number
is found by bisection); the cheapest candidate wins, ties go to the higher precision and then to the faster one. Tiers
that cost answer quality (fp8 KV, 4-bit weights) are opened only when nothing before them meets. Every loser keeps its
reason, in numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal

from sizing.candidates import Candidate, Host, candidates, hosts, tiers
from sizing.cost import cost, place_prices
from sizing.errors import KitError
from sizing.host_needs import checkpoint_bytes, disk_gib, pod, replica_memory_bytes
from sizing.memory import MemoryAnswer
from sizing.performance import Performance
from sizing.plan import Cost, Rejected
from sizing.question import Question
from sizing.replica import Miss, Replica, Replicas, Shape, Share
from sizing.request import Load
from sizing.setup import Setup
from sizing.units import GIB

MOST_REPLICAS = 256


@dataclass(frozen=True)
class Option:
    """A candidate with the replicas it needs: it meets every target at this cost."""

    candidate: Candidate
    setup: Setup
    memory: MemoryAnswer
    performance: Performance
    replicas: int
    hosts: int
    disk_gib: int
    cost: Cost

    @property
    def label(self) -> str:
        count = f"{self.hosts} x " if self.hosts > 1 else ""
        return f"{count}{self.candidate}, {self.replicas} replica{_s(self.replicas)}"


class _Search:
    """One question being answered; remembers what candidates share."""

    def __init__(self, question: Question) -> None:
        self.question = question
        self.replicas = Replicas(question)

    def evaluate(self, candidate: Candidate) -> Option | Miss:
        """The candidate with the fewest replicas that meet the targets, or why none do."""
        try:
            return self._fewest(candidate)
        except KitError as refusal:
            return Miss(refusal.problems[0])

    def _fewest(self, candidate: Candidate) -> Option | Miss:
        request = self.question.request
        limits = request.limits
        held = candidate.host.at_most and candidate.host.at_most * candidate.replicas_per_host
        useful = max(request.load.concurrency or MOST_REPLICAS, limits.min_replicas)
        low, high = limits.min_replicas, min(held or MOST_REPLICAS, useful)
        if low > high:
            return Miss(f"{low} replicas were asked for; it holds {high}")
        best = self._with_replicas(candidate, low)
        if isinstance(best, Miss) and high > low:
            best = self._with_replicas(candidate, high)
            while low + 1 < high and isinstance(best, Replica):
                middle = (low + high) // 2
                tried = self._with_replicas(candidate, middle)
                if isinstance(tried, Miss):
                    low = middle
                else:
                    best, high = tried, middle
            low = high
        if isinstance(best, Miss):
            return best
        if problem := self._too_little_host_memory(candidate, best.memory):
            return Miss(problem)
        option = self._priced(candidate, best, low)
        budget = limits.usd_per_hour
        if budget is not None and option.cost.usd_per_hour > Decimal(str(budget)):
            return Miss(
                f"{option.cost.usd_per_hour:.2f} $/h with {low} replica{_s(low)}; the budget is {budget:g} $/h",
                nearness=budget / float(option.cost.usd_per_hour),
            )
        return option

    def _with_replicas(self, candidate: Candidate, replicas: int) -> Replica | Miss:
        shape = Shape(candidate.host.gpu, candidate.tp, candidate.precision, candidate.kv_cache_dtype)
        return self.replicas.carrying(shape, share(self.question.request.load, replicas))

    def _priced(self, candidate: Candidate, replica: Replica, replicas: int) -> Option:
        asked = self.question
        host_count = math.ceil(replicas / candidate.replicas_per_host)
        on_a_host = min(replicas, candidate.replicas_per_host)
        disk = disk_gib(asked.engine, checkpoint_bytes(asked.model, candidate.precision), on_a_host)
        prices = place_prices(asked.facts, asked.request.place, disk)
        lines, dated = prices(candidate.host.type, host_count)
        price = cost(lines, dated, replica.performance.output_tokens_per_s.mean * replicas)
        return Option(candidate, replica.setup, replica.memory, replica.performance, replicas, host_count, disk, price)

    def _too_little_host_memory(self, candidate: Candidate, answer: MemoryAnswer) -> str | None:
        host, together = candidate.host, candidate.replicas_per_host
        need = replica_memory_bytes(self.question.engine, candidate.tp, answer.host_memory_bytes)
        have = pod(host.usable_memory_bytes, host.vcpu, candidate.tp, together, 0).memory_bytes
        if need <= have:
            return None
        return (
            f"a replica needs {need / GIB:.0f} GiB of host memory; of {together} on a host each gets "
            f"{have / GIB:.0f} GiB"
        )


def share(load: Load, replicas: int) -> Share:
    """What the fullest of *replicas* gets of *load*."""
    if load.concurrency is not None:
        return Share(math.ceil(load.concurrency / replicas), None)
    return Share(None, (load.request_rate or 0.0) / replicas)


def _s(count: int) -> str:
    return "" if count == 1 else "s"


@dataclass(frozen=True)
class Found:
    """What the search saw: options that meet the request, cheapest first; what does not, and the nearest of it."""

    options: tuple[Option, ...]
    rejected: tuple[Rejected, ...]
    nearest: Rejected | None


def search(question: Question, usable: list[Host] | None = None) -> Found:
    """
    Every option of the first tier that has any, cheapest first, and everything that was rejected on the way.

    Args:
        usable: search only these hosts; None = all that the request may use.

    Raises: ``UnknownFact`` where the request names a GPU, host or price that no fact describes.
    """
    request, facts, model = question.request, question.facts, question.model
    searching = _Search(question)
    usable, rejected = hosts(facts, request) if usable is None else (usable, [])
    options: list[Option] = []
    nearest: tuple[float, Rejected] | None = None
    for choices in tiers(facts, request, model):
        for candidate in candidates(facts, usable, choices):
            if isinstance(candidate, Rejected):
                rejected.append(candidate)
                continue
            result = searching.evaluate(candidate)
            if isinstance(result, Option):
                options.append(result)
                continue
            lost = Rejected(candidate=str(candidate), reason=result.reason)
            rejected.append(lost)
            if nearest is None or result.nearness > nearest[0]:
                nearest = (result.nearness, lost)
        if options:
            break
    precisions = list(facts.precisions)
    options.sort(
        key=lambda option: (
            option.cost.usd_per_hour,
            precisions.index(option.candidate.precision),
            option.performance.ttft_s.mean,
        )
    )
    return Found(tuple(options), tuple(rejected), nearest[1] if nearest else None)
