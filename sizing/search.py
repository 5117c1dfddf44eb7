"""
The cheapest hardware that meets every target of a request: ``search(question)``.

Every candidate gets the fewest replicas that meet the targets (latency falls as replicas share the load, so the number
is found by bisection) and the spare that is asked; the cheapest candidate wins, ties go to the higher precision and
then to the faster one. Tiers that cost answer quality (fp8 KV, 4-bit weights) are opened only when nothing before them
meets. Every loser keeps its reason, in numbers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from sizing.candidates import Candidate, Host, candidates, hosts, pipelines, tiers
from sizing.cost import cost, place_lines
from sizing.errors import KitError
from sizing.host_needs import checkpoint_bytes, disk_gib, pod, replica_memory_bytes
from sizing.memory import MemoryAnswer
from sizing.performance import Performance
from sizing.plan import Cost, Rejected
from sizing.question import Question
from sizing.replica import Miss, Replica, Replicas, Shape, Share, loaded
from sizing.setup import Setup
from sizing.units import GIB

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


class _Search:
    """One question being answered; remembers what candidates share."""

    def __init__(self, question: Question, every: bool) -> None:
        self.every = every
        self.question = question
        self.replicas = Replicas(question)
        load, limits = question.request.load, question.request.limits
        self.whole = Share(load.concurrency, load.request_rate)
        self.peak = self.whole.peak(limits.spare_share)
        self.options: list[Option] = []
        self.rejected: list[Rejected] = []
        self.nearest: tuple[float, Rejected] | None = None
        self.too_dear: list[Candidate] = []

    def look(self, found: Iterable[Candidate | Rejected]) -> None:
        """Sort *found* into options and rejected, the cheapest hosts first."""
        priced: list[tuple[Decimal, Candidate]] = []
        for candidate in found:
            if isinstance(candidate, Rejected):
                self.rejected.append(candidate)
            else:
                priced.append((self._least_usd(candidate), candidate))
        for least, candidate in sorted(priced, key=lambda pair: pair[0]):
            budget = self.question.request.limits.usd_per_hour
            if budget is not None and least > Decimal(str(budget)):
                self._lose(candidate, Miss(f"costs at least {least:.2f} $/h; the budget is {budget:g} $/h"))
                self.too_dear.append(candidate)
                continue
            enough = None if self.every else self._enough()
            if enough is not None and least > enough:
                reason = (
                    f"costs at least {least:.2f} $/h; {COMPARED} GPUs meet the request for {enough:.2f} $/h or less"
                )
                self.rejected.append(Rejected(candidate=str(candidate), reason=reason))
                continue
            result = self.evaluate(candidate)
            if isinstance(result, Option):
                self.options.append(result)
                continue
            self._lose(candidate, result)

    def _lose(self, candidate: Candidate, miss: Miss) -> None:
        lost = Rejected(candidate=str(candidate), reason=miss.reason)
        self.rejected.append(lost)
        if self.nearest is None or miss.nearness > self.nearest[0]:
            self.nearest = (miss.nearness, lost)

    def cheapest_too_dear(self) -> Rejected | None:
        """Of what the budget kept from being looked into, the cheapest that holds the model."""
        for candidate in sorted(self.too_dear, key=lambda one: (one.pp > 1, self._least_usd(one))):
            try:
                held = self._with_replicas(candidate, 1)
            except KitError:
                continue
            if isinstance(held, Replica) or held.limit in ("TTFT", "TPOT", "rate"):
                return next(lost for lost in self.rejected if lost.candidate == str(candidate))
        return None

    def _enough(self) -> Decimal | None:
        """What the dearest of the ``COMPARED`` cheapest GPUs costs, once so many meet the request."""
        cheapest: dict[str, Decimal] = {}
        for option in self.options:
            gpu, usd = option.candidate.host.gpu.id, option.cost.usd_per_hour
            cheapest[gpu] = min(usd, cheapest.get(gpu, usd))
        return sorted(cheapest.values())[COMPARED - 1] if len(cheapest) >= COMPARED else None

    def _least_usd(self, candidate: Candidate) -> Decimal:
        """Dollars an hour of the fewest hosts that the request allows, without their disks."""
        limits, asked = self.question.request.limits, self.question
        hosts = candidate.hosts_for(max(limits.min_replicas, 1 + limits.spare_replicas))
        lines = place_lines(asked.facts, asked.request.place, candidate.host.type, hosts, 0)
        return sum((line.usd_per_hour for line in lines), Decimal(0))

    def evaluate(self, candidate: Candidate) -> Option | Miss:
        """The candidate with the fewest replicas that meet the targets, or why none do."""
        try:
            return self._fewest(candidate)
        except KitError as refusal:
            return Miss(refusal.problems[0])

    def _fewest(self, candidate: Candidate) -> Option | Miss:
        limits = self.question.request.limits
        held = candidate.host.at_most and candidate.host.at_most * candidate.replicas_per_host
        spare = limits.spare_replicas
        low = max(1, limits.min_replicas - spare)
        high = min((held or MOST_REPLICAS) - spare, max(self.peak.concurrency or MOST_REPLICAS, low))
        if low > high:
            return Miss(f"{low + spare} replicas were asked for; it holds {held or MOST_REPLICAS}")
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
        replicas = low + spare
        if problem := self._too_little_host_memory(candidate, best.memory, candidate.fullest(replicas)):
            return Miss(problem)
        option = self._priced(candidate, best, replicas)
        budget = limits.usd_per_hour
        if budget is not None and option.cost.usd_per_hour > Decimal(str(budget)):
            return Miss(
                f"{option.cost.usd_per_hour:.2f} $/h with {replicas} replica{_s(replicas)}; "
                f"the budget is {budget:g} $/h",
                nearness=budget / float(option.cost.usd_per_hour),
            )
        return option

    def _with_replicas(self, candidate: Candidate, replicas: int) -> Replica | Miss:
        shape = Shape(candidate.host.gpu, candidate.tp, candidate.precision, candidate.kv_cache_dtype, candidate.pp)
        return self.replicas.carrying(shape, self.peak.of(replicas))

    def _priced(self, candidate: Candidate, replica: Replica, replicas: int) -> Option:
        asked = self.question
        expected = self.whole.of(replicas)
        speed = replica.performance
        if expected != replica.share:
            speed = loaded(asked, replica.setup, replica.memory, expected)
        hosts = candidate.hosts_for(replicas)
        weight_bytes = checkpoint_bytes(asked.model, candidate.precision)
        disk = disk_gib(asked.engine, weight_bytes, candidate.fullest(replicas))
        lines = place_lines(asked.facts, asked.request.place, candidate.host.type, hosts, disk)
        price = cost(lines, speed.requests_per_s.mean * self.whole.times(replicas), asked.request.load)
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


def _s(count: int) -> str:
    return "" if count == 1 else "s"


@dataclass(frozen=True)
class Found:
    """What the search saw: options that meet the request, cheapest first; what does not, and the nearest of it."""

    options: tuple[Option, ...]
    rejected: tuple[Rejected, ...]
    nearest: Rejected | None


def search(question: Question, usable: list[Host] | None = None, *, every: bool = False) -> Found:
    """
    Every option of the first tier that has any, cheapest first, and everything that was rejected on the way.

    Where no host holds the model, replicas over several hosts are tried. A candidate whose first host alone costs more
    than enough options of other GPUs is not looked into further.

    Args:
        usable: search only these hosts; None = all that the request may use.
        every: look into the dearer candidates too.

    Raises: ``UnknownFact`` where the request names a GPU, host or price that no fact describes.
    """
    request, facts, model = question.request, question.facts, question.model
    searching = _Search(question, every)
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
    searching.options.sort(
        key=lambda option: (
            option.cost.usd_per_hour,
            precisions.index(option.candidate.precision),
            option.performance.ttft_s.mean,
        )
    )
    nearness, nearest = searching.nearest or (0.0, None)
    if not searching.options and nearness == 0:
        nearest = searching.cheapest_too_dear() or nearest
    return Found(tuple(searching.options), (*rejected, *searching.rejected), nearest)
