"""
The cheapest hardware that meets every target of a request: ``search(question)``.

Every candidate gets the fewest replicas that meet the targets (latency falls as replicas share the load, so the number
is found by bisection) and the spare that is asked; the cheapest candidate wins, ties go to the higher precision and
then to the faster one. Tiers that cost answer quality (fp8 KV, 4-bit weights) are opened only when nothing before them
meets. Every loser keeps its reason, in numbers.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from sizing.engine.setup import Setup
from sizing.errors import KitError
from sizing.hosts.candidates import Candidate, Host, candidates, hosts, pipelines, tiers
from sizing.hosts.cost import cost, place_lines
from sizing.hosts.room import checkpoint_bytes, disk_gib, pod, replica_memory_bytes
from sizing.memory.memory import MemoryAnswer
from sizing.plan.plan import Cost, Rejected
from sizing.search.loaded import Replica, loaded
from sizing.search.question import Question
from sizing.search.tuning import Layout, Miss, Replicas
from sizing.speed.performance import Performance
from sizing.units import CENT, GIB

MOST_REPLICAS = 256
COMPARED = 4  # GPUs that are ranked by price: the chosen and three runners-up


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


@dataclass(slots=True)
class _Bracket:
    """What is known of a shape: with *missed* replicas it misses, with *met* it meets, each with what was seen."""

    missed: int = 0
    miss: Miss | None = None
    met: int | None = None
    replica: Replica | None = None


class _Search:
    """One question being answered; remembers what candidates share."""

    def __init__(self, question: Question, compared: int | None, replicas: Replicas | None) -> None:
        self.compared = compared
        self.question = question
        self.replicas = replicas or Replicas(question)
        self.peak = question.share.peak(question.request.limits.spare_share)
        self.brackets: dict[tuple[object, ...], _Bracket] = {}
        self.options: list[Option] = []
        self.rejected: list[Rejected] = []
        self.nearest: tuple[float, Rejected] | None = None
        self.too_dear: list[Candidate] = []

    def look(self, found: Iterable[Candidate | Rejected]) -> None:
        """Sort *found* into options and rejected, the cheapest hosts first."""
        limits = self.question.request.limits
        budget = None if limits.usd_per_hour is None else Decimal(str(limits.usd_per_hour))
        at_least = max(limits.min_replicas, 1 + limits.spare_replicas)
        priced: list[tuple[Decimal, int, int, Candidate]] = []
        for number, candidate in enumerate(found):
            if isinstance(candidate, Rejected):
                self.rejected.append(candidate)
            else:
                priced.append((self._usd(candidate, at_least), number, at_least, candidate))
        heapq.heapify(priced)
        while priced:
            least, number, replicas, candidate = heapq.heappop(priced)
            if budget is not None and least > budget:
                self._lose(
                    candidate, Miss(f"costs at least {least:.2f} $/h; the budget is {limits.usd_per_hour:g} $/h")
                )
                self.too_dear.append(candidate)
                continue
            enough = self._enough()
            if enough is not None and least > enough:
                self.rejected.append(self._dearer(candidate, least, enough))
                continue
            if replicas < (needed := self._fewest_possible(candidate)):
                heapq.heappush(priced, (self._usd(candidate, needed), number, needed, candidate))
                continue
            result = self.evaluate(candidate, enough)
            if isinstance(result, Option):
                self.options.append(result)
            elif isinstance(result, Rejected):
                self.rejected.append(result)
            else:
                self._lose(candidate, result)

    def _dearer(self, candidate: Candidate, least: Decimal, enough: Decimal) -> Rejected:
        cheaper = "another meets" if self.compared == 1 else f"{self.compared} GPUs meet"
        reason = f"costs at least {least:.2f} $/h; {cheaper} the request for {enough:.2f} $/h or less"
        return Rejected(candidate=str(candidate), reason=reason)

    def _lose(self, candidate: Candidate, miss: Miss) -> None:
        lost = Rejected(candidate=str(candidate), reason=miss.reason)
        self.rejected.append(lost)
        if self.nearest is None or miss.nearness > self.nearest[0]:
            self.nearest = (miss.nearness, lost)

    def cheapest_too_dear(self) -> Rejected | None:
        """Of what the budget kept from being looked into, the cheapest that holds the model."""
        for candidate in sorted(self.too_dear, key=lambda one: (one.pp > 1, self._usd(one, 1))):
            try:
                held = self._with_replicas(candidate, 1)
            except KitError:
                continue
            if isinstance(held, Replica) or held.limit in ("TTFT", "TPOT", "rate"):
                return next(lost for lost in self.rejected if lost.candidate == str(candidate))
        return None

    def _enough(self) -> Decimal | None:
        """What the dearest of the ``compared`` cheapest GPUs costs, once so many meet the request."""
        if self.compared is None:
            return None
        cheapest: dict[str, Decimal] = {}
        for option in self.options:
            gpu, usd = option.candidate.host.gpu.id, option.cost.usd_per_hour
            cheapest[gpu] = min(usd, cheapest.get(gpu, usd))
        return sorted(cheapest.values())[self.compared - 1] if len(cheapest) >= self.compared else None

    def _usd(self, candidate: Candidate, replicas: int) -> Decimal:
        """Dollars an hour of the hosts that *replicas* take, without their disks."""
        asked = self.question
        hosts = candidate.hosts_for(replicas)
        lines = place_lines(asked.facts, asked.request.place, candidate.host.type, hosts, 0)
        return sum((line.usd_per_hour for line in lines), Decimal(0))

    def _fewest_possible(self, candidate: Candidate) -> int:
        """Replicas, spare ones too, below which no simulation is needed to know that they are too few."""
        limits = self.question.request.limits
        load = self.peak.concurrency or self.peak.request_rate or 0.0
        most = self.replicas.most_share(_shape(candidate))
        carrying = 1 if isinstance(most, Miss) else max(1, math.ceil(load / most))
        return max(limits.min_replicas, min(carrying, self._most_carrying(candidate)) + limits.spare_replicas)

    def _most_carrying(self, candidate: Candidate) -> int:
        """Replicas beyond the spare ones that there may be: what the place holds, at most one per request in flight."""
        limits, host = self.question.request.limits, candidate.host
        held = host.at_most and host.at_most * candidate.replicas_per_host
        useful = max(self.peak.concurrency or MOST_REPLICAS, limits.min_replicas - limits.spare_replicas, 1)
        return min((held or MOST_REPLICAS) - limits.spare_replicas, useful)

    def evaluate(self, candidate: Candidate, enough: Decimal | None) -> Option | Miss | Rejected:
        """The candidate with the fewest replicas that meet the targets, or why none do for *enough*."""
        try:
            return self._fewest(candidate, enough)
        except KitError as refusal:
            return Miss(refusal.problems[0])

    def _fewest(self, candidate: Candidate, enough: Decimal | None) -> Option | Miss | Rejected:
        limits = self.question.request.limits
        spare = limits.spare_replicas
        least, most = max(1, limits.min_replicas - spare), self._most_carrying(candidate)
        if least > most:
            return Miss(f"{least + spare} replicas were asked for; it holds {most + spare}")
        low, high = self._fewest_possible(candidate) - spare, most
        if enough is not None:
            counts = range(low, most + 1)
            high = max(
                low, low - 1 + bisect_right(counts, enough, key=lambda count: self._usd(candidate, count + spare))
            )
        found = self._between(candidate, low, high)
        if isinstance(found, Miss):
            if high < most:
                return self._dearer(candidate, self._usd(candidate, high + 1 + spare), enough or Decimal(0))
            return found
        replicas, best = found
        if problem := self._too_little_host_memory(candidate, best.memory, candidate.fullest(replicas + spare)):
            return Miss(problem)
        option = self._priced(candidate, best, replicas + spare)
        budget = limits.usd_per_hour
        if budget is not None and option.cost.usd_per_hour > Decimal(str(budget)):
            return Miss(
                f"{option.cost.usd_per_hour:.2f} $/h with {option.replicas} replica{_s(option.replicas)}; "
                f"the budget is {budget:g} $/h",
                nearness=budget / float(option.cost.usd_per_hour),
            )
        return option

    def _between(self, candidate: Candidate, low: int, high: int) -> tuple[int, Replica] | Miss:
        """The fewest of *low* to *high* replicas that meet the targets; why *high* do not."""
        known = self.brackets.setdefault(_shape(candidate).key, _Bracket(missed=low - 1))

        def meets(replicas: int) -> bool:
            tried = self._with_replicas(candidate, replicas)
            if isinstance(tried, Replica):
                known.met, known.replica = replicas, tried
            elif replicas > known.missed:
                known.missed, known.miss = replicas, tried
            return isinstance(tried, Replica)

        if known.met is None and known.missed < high and not meets(known.missed + 1) and known.missed < high:
            meets(high)
        step = max(1, known.missed // 16)
        while known.met is not None and known.met - known.missed > 1:
            meets(min(known.missed + step, (known.missed + known.met) // 2))
            step *= 2
        if known.replica is not None and known.met is not None and known.met <= high:
            return known.met, known.replica
        tried = known.miss or self._with_replicas(candidate, high)
        return (high, tried) if isinstance(tried, Replica) else tried

    def _with_replicas(self, candidate: Candidate, replicas: int) -> Replica | Miss:
        return self.replicas.carrying(_shape(candidate), self.peak.of(replicas))

    def _priced(self, candidate: Candidate, replica: Replica, replicas: int) -> Option:
        asked = self.question
        expected = self.question.share.of(replicas)
        speed = replica.performance
        if expected != replica.share:
            speed = loaded(asked, replica.setup, replica.memory, expected)
        hosts = candidate.hosts_for(replicas)
        weight_bytes = checkpoint_bytes(asked.model, candidate.precision)
        disk = disk_gib(asked.engine, weight_bytes, candidate.fullest(replicas))
        lines = place_lines(asked.facts, asked.request.place, candidate.host.type, hosts, disk)
        price = cost(lines, speed.requests_per_s.mean * self.question.share.times(replicas), asked.request.load)
        return Option(candidate, replica.setup, replica.memory, speed, replicas, hosts, disk, price)

    def _too_little_host_memory(self, candidate: Candidate, answer: MemoryAnswer, together: int) -> str | None:
        host = candidate.host
        need = replica_memory_bytes(self.question.engine, candidate.tp, answer.host_memory_bytes)
        have = pod(host.usable_memory_bytes, host.vcpu, candidate.tp, together, 0).memory_bytes
        if need <= have:
            return None
        return (
            f"a replica needs {need / GIB:.0f} GiB of host memory; of {together} on a host each gets "
            f"{have / GIB:.0f} GiB"
        )


def _shape(candidate: Candidate) -> Layout:
    return Layout(candidate.host.gpu, candidate.tp, candidate.precision, candidate.kv_cache_dtype, candidate.pp)


def _s(count: int) -> str:
    return "" if count == 1 else "s"


@dataclass(frozen=True)
class Found:
    """What the search saw: options that meet the request, cheapest first; what does not, and the nearest of it."""

    options: tuple[Option, ...]
    rejected: tuple[Rejected, ...]
    nearest: Rejected | None


def search(
    question: Question,
    usable: list[Host] | None = None,
    *,
    compared: int | None = COMPARED,
    replicas: Replicas | None = None,
) -> Found:
    """
    Every option of the first tier that has any, cheapest first, and everything that was rejected on the way.

    Where no host holds the model, replicas over several hosts are tried. A candidate whose first host alone costs more
    than the cheapest option on each of *compared* GPUs is not looked into further; so is one that needs more of them.

    Args:
        usable: search only these hosts; None = all that the request may use.
        compared: GPUs whose cheapest option is wanted; None = every option of every candidate.
        replicas: what other searches of the same load, targets and limits, in any place, found out about replicas.

    Raises: ``UnknownFact`` where the request names a GPU, host or price that no fact describes.
    """
    request, facts, model = question.request, question.facts, question.model
    searching = _Search(question, compared, replicas)
    usable, rejected = hosts(facts, request) if usable is None else (usable, [])
    every_tier = list(tiers(facts, request, model))
    for choices in every_tier:
        searching.look(candidates(facts, usable, choices))
        if searching.options:
            break
    else:
        for choices in every_tier:
            searching.look(pipelines(facts, usable, choices, model))
            if searching.options:
                break
    precisions = list(facts.precisions)
    least = min((option.cost.usd_per_hour for option in searching.options), default=Decimal(0))
    searching.options.sort(
        key=lambda option: (
            # Less than a cent, as the disk of larger weights costs, is no reason for fewer bits.
            option.cost.usd_per_hour if option.cost.usd_per_hour - least >= CENT else least,
            precisions.index(option.candidate.precision),
            option.cost.usd_per_hour,
            option.performance.ttft_s.mean,
        )
    )
    nearness, nearest = searching.nearest or (0.0, None)
    if not searching.options and nearness == 0:
        nearest = searching.cheapest_too_dear() or nearest
    return Found(tuple(searching.options), (*rejected, *searching.rejected), nearest)
