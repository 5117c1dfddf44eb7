"""
The cheapest hardware that meets every target of a request: ``search(request, facts)``.

Every candidate gets the fewest replicas that meet the targets (latency falls as replicas share the load, so the number
is found by bisection); the cheapest candidate wins, ties go to the higher precision and then to the faster one. Tiers
that cost answer quality (fp8 KV, 4-bit weights) are opened only when nothing before them meets. Every loser keeps its
reason, in numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from decimal import Decimal

from sizing.candidates import Candidate, Host, candidates, hosts, tiers
from sizing.cost import cost, place_prices
from sizing.errors import KitError
from sizing.facts import Engine, EngineVersion, Facts, Model
from sizing.host_needs import checkpoint_bytes, disk_gib, pod, replica_memory_bytes
from sizing.memory import MemoryAnswer, memory
from sizing.performance import Performance, performance
from sizing.plan import Cost, Rejected
from sizing.request import Request
from sizing.setup import Asked, Setup, resolve
from sizing.traffic import Traffic
from sizing.units import GIB

BATCHED_TOKENS = (2048, 8192)  # the two server defaults of vLLM; larger shortens TTFT, smaller shortens ITL
SPARE_SEQUENCES = 1.25  # max_num_seqs over the asked concurrency, so that a burst is not queued at once
FEWEST_SEQUENCES = 16
MOST_SEQUENCES = 1024  # vLLM's largest default; more would pay for logits and graphs of requests that queue anyway
MOST_REPLICAS = 256
DEFAULT_SEQUENCES = 256  # where a rate is asked: vLLM's own default, since nothing says how many overlap


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


@dataclass(frozen=True, slots=True)
class Miss:
    """Why a candidate does not meet the request, and how near it comes: 1 is a limit just met, 0 unmeasured."""

    reason: str
    nearness: float = 0.0


@dataclass
class _Search:
    """One request being answered; remembers what candidates share."""

    request: Request
    facts: Facts
    model: Model
    engine: Engine
    release: EngineVersion
    max_model_len: int
    _known: dict[tuple[object, ...], tuple[Setup, MemoryAnswer, Performance | None]] = field(default_factory=dict)

    def evaluate(self, candidate: Candidate) -> Option | Miss:
        """The candidate with the fewest replicas that meet the targets, or why none do."""
        found: list[Option] = []
        misses: list[Miss] = []
        for batched_tokens in BATCHED_TOKENS:
            try:
                result = self._fewest(candidate, batched_tokens)
            except KitError as refusal:
                result = Miss(refusal.problems[0])
            if isinstance(result, Miss):
                misses.append(result)
            else:
                found.append(result)
        if found:
            return min(found, key=lambda option: (option.cost.usd_per_hour, option.performance.ttft_s.mean))
        return max(misses, key=lambda miss: miss.nearness)

    def _fewest(self, candidate: Candidate, batched_tokens: int) -> Option | Miss:
        limits = self.request.limits
        held = candidate.host.at_most and candidate.host.at_most * candidate.replicas_per_host
        useful = max(self.request.load.concurrency or MOST_REPLICAS, limits.min_replicas)
        low, high = limits.min_replicas, min(held or MOST_REPLICAS, useful)
        if low > high:
            return Miss(f"{low} replicas were asked for; it holds {high}")
        best = self._with_replicas(candidate, batched_tokens, high)
        if isinstance(best, Miss):
            return best
        while low < high:
            middle = (low + high) // 2
            tried = self._with_replicas(candidate, batched_tokens, middle)
            if isinstance(tried, Miss):
                low = middle + 1
            else:
                best, high = tried, middle
        if limits.usd_per_hour is not None and best.cost.usd_per_hour > Decimal(str(limits.usd_per_hour)):
            return Miss(
                f"{best.cost.usd_per_hour:.2f} $/h with {best.replicas} replica{_s(best.replicas)}; "
                f"the budget is {limits.usd_per_hour:g} $/h",
                nearness=limits.usd_per_hour / float(best.cost.usd_per_hour),
            )
        return best

    def _with_replicas(self, candidate: Candidate, batched_tokens: int, replicas: int) -> Option | Miss:
        load = self.request.load
        if load.concurrency is not None:
            share: float = math.ceil(load.concurrency / replicas)
            spare = 2 ** math.ceil(math.log2(share * SPARE_SEQUENCES))
            sequences = min(max(FEWEST_SEQUENCES, spare), MOST_SEQUENCES, batched_tokens)
            unit = "requests in flight"
        else:
            share = (load.request_rate or 0.0) / replicas
            sequences = DEFAULT_SEQUENCES
            unit = "requests/s"
        setup, answer, speed = self._replica(candidate, batched_tokens, sequences, share)
        if speed is None:
            return Miss(answer.reason or "does not fit")
        if answer.kv_cache_tokens < self.max_model_len:
            return Miss(f"its KV cache holds {answer.kv_cache_tokens} tokens; max_model_len is {self.max_model_len}")
        if problem := self._too_little_host_memory(candidate, answer):
            return Miss(problem)
        targets = self.request.targets
        for name, target_ms, estimate in (
            ("TTFT", targets.ttft_ms, speed.ttft_s),
            ("TPOT", targets.tpot_ms, speed.tpot_s),
        ):
            reached_s = getattr(estimate, targets.statistic)
            if target_ms is not None and reached_s is not None and reached_s * 1000 > target_ms:
                return Miss(
                    f"{name} {targets.statistic} {reached_s * 1000:.0f} ms at {share:g} {unit} a replica; "
                    f"the target is {target_ms:g} ms",
                    nearness=target_ms / (reached_s * 1000),
                )
        if load.request_rate is not None and speed.saturated:
            return Miss(
                f"{speed.requests_per_s.mean * replicas:.2f} requests/s at most with {replicas} "
                f"replica{_s(replicas)}; {load.request_rate:g} are asked",
                nearness=speed.requests_per_s.mean * replicas / load.request_rate,
            )
        host_count = math.ceil(replicas / candidate.replicas_per_host)
        on_a_host = min(replicas, candidate.replicas_per_host)
        disk = disk_gib(self.engine, checkpoint_bytes(self.model, candidate.precision), on_a_host)
        prices = place_prices(self.facts, self.request.place, disk)
        lines, dated = prices(candidate.host.type, host_count)
        price = cost(lines, dated, speed.output_tokens_per_s.mean * replicas)
        return Option(candidate, setup, answer, speed, replicas, host_count, disk, price)

    def _replica(
        self, candidate: Candidate, batched_tokens: int, sequences: int, share: float
    ) -> tuple[Setup, MemoryAnswer, Performance | None]:
        key = (
            candidate.host.gpu.id,
            candidate.tp,
            candidate.precision,
            candidate.kv_cache_dtype,
            batched_tokens,
            sequences,
            share,
        )
        if key not in self._known:
            self._known[key] = self._compute(candidate, batched_tokens, sequences, share)
        return self._known[key]

    def _compute(
        self, candidate: Candidate, batched_tokens: int, sequences: int, share: float
    ) -> tuple[Setup, MemoryAnswer, Performance | None]:
        setup = resolve(
            self.model,
            candidate.precision,
            candidate.host.gpu,
            engine="sglang" if self.engine.id == "sglang" else "vllm",
            engine_version=self.release.version,
            asked=Asked(
                tp=candidate.tp,
                max_model_len=self.max_model_len,
                max_num_seqs=sequences,
                max_num_batched_tokens=batched_tokens,
                gpu_memory_utilization=self.request.limits.gpu_memory_utilization,
                kv_cache_dtype=candidate.kv_cache_dtype,
            ),
        )
        answer = memory(setup)
        if not answer.fits:
            return setup, answer, None
        load = self.request.load
        closed = load.concurrency is not None
        traffic = Traffic(
            concurrency=int(share) if closed else None,
            request_rate=None if closed else share,
            input_tokens=load.input_tokens,
            output_tokens=load.output_tokens,
            pattern="closed" if closed else "poisson",
            requests=None,
            prefix_hit_rate=load.prefix_hit_rate,
        )
        running = running_requests(answer, setup, load.input_tokens + load.output_tokens)
        return setup, answer, performance(setup, traffic, answer.kv_cache_tokens, running)

    def _too_little_host_memory(self, candidate: Candidate, answer: MemoryAnswer) -> str | None:
        host, together = candidate.host, candidate.replicas_per_host
        need = replica_memory_bytes(self.engine, candidate.tp, answer.host_memory_bytes)
        have = pod(host.usable_memory_bytes, host.vcpu, candidate.tp, together, 0).memory_bytes
        if need <= have:
            return None
        return (
            f"a replica needs {need / GIB:.0f} GiB of host memory; of {together} on a host each gets "
            f"{have / GIB:.0f} GiB"
        )


def _s(count: int) -> str:
    return "" if count == 1 else "s"


def running_requests(answer: MemoryAnswer, setup: Setup, request_tokens: int) -> int:
    """Requests of *request_tokens* that one replica's KV cache holds at once: at least 1, at most max_num_seqs."""
    full_length = max(1.0, answer.max_concurrency * setup.max_model_len / request_tokens)
    return max(1, min(setup.max_num_seqs, int(full_length)))


@dataclass(frozen=True)
class Found:
    """What the search saw: options that meet the request, cheapest first; what does not, and the nearest of it."""

    options: tuple[Option, ...]
    rejected: tuple[Rejected, ...]
    nearest: Rejected | None


def search(
    request: Request,
    facts: Facts,
    model: Model,
    engine: Engine,
    release: EngineVersion,
    max_model_len: int,
    usable: list[Host] | None = None,
) -> Found:
    """
    Every option of the first tier that has any, cheapest first, and everything that was rejected on the way.

    Args:
        usable: search only these hosts; None = all that the request may use.

    Raises: ``UnknownFact`` where the request names a GPU, host or price that no fact describes.
    """
    searching = _Search(request, facts, model, engine, release, max_model_len)
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
