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

from sizing.candidates import Candidate, candidates, hosts, tiers
from sizing.cost import cost, place_prices
from sizing.errors import KitError
from sizing.facts import Engine, EngineVersion, Facts, Model
from sizing.host_needs import disk_gib, pod, replica_memory_bytes
from sizing.memory import MemoryAnswer, memory
from sizing.plan import Cost, Rejected
from sizing.request import Request
from sizing.setup import Asked, Setup, resolve
from sizing.traffic import Performance, Traffic, performance
from sizing.units import GIB

BATCHED_TOKENS = (2048, 8192)  # the two server defaults of vLLM; larger shortens TTFT, smaller shortens ITL
SPARE_SEQUENCES = 1.25  # max_num_seqs over the asked concurrency, so that a burst is not queued at once
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
    cost: Cost

    @property
    def label(self) -> str:
        count = f"{self.hosts} x " if self.hosts > 1 else ""
        return f"{count}{self.candidate}, {self.replicas} replica{_s(self.replicas)}"


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

    def evaluate(self, candidate: Candidate) -> Option | Rejected:
        """The candidate with the fewest replicas that meet the targets, or why none do."""
        found: list[Option] = []
        reasons: list[str] = []
        for batched_tokens in BATCHED_TOKENS:
            try:
                result = self._fewest(candidate, batched_tokens)
            except KitError as refusal:
                result = refusal.problems[0]
            if isinstance(result, str):
                reasons.append(result)
            else:
                found.append(result)
        if found:
            return min(found, key=lambda option: (option.cost.usd_per_hour, option.performance.ttft_s.mean))
        return Rejected(candidate=str(candidate), reason=reasons[-1])

    def _fewest(self, candidate: Candidate, batched_tokens: int) -> Option | str:
        limits = self.request.limits
        held = candidate.host.at_most and candidate.host.at_most * candidate.replicas_per_host
        useful = max(self.request.load.concurrency or MOST_REPLICAS, limits.min_replicas)
        low, high = limits.min_replicas, min(held or MOST_REPLICAS, useful)
        if low > high:
            return f"{low} replicas were asked for; it holds {high}"
        best = self._with_replicas(candidate, batched_tokens, high)
        if isinstance(best, str):
            return best
        while low < high:
            middle = (low + high) // 2
            tried = self._with_replicas(candidate, batched_tokens, middle)
            if isinstance(tried, str):
                low = middle + 1
            else:
                best, high = tried, middle
        if limits.usd_per_hour is not None and best.cost.usd_per_hour > Decimal(str(limits.usd_per_hour)):
            return (
                f"{best.cost.usd_per_hour:.2f} $/h with {best.replicas} replica{_s(best.replicas)}; "
                f"the budget is {limits.usd_per_hour:g} $/h"
            )
        return best

    def _with_replicas(self, candidate: Candidate, batched_tokens: int, replicas: int) -> Option | str:
        load = self.request.load
        if load.concurrency is not None:
            share: float = math.ceil(load.concurrency / replicas)
            sequences = max(16, 2 ** math.ceil(math.log2(share * SPARE_SEQUENCES)))
            unit = "requests in flight"
        else:
            share = (load.request_rate or 0.0) / replicas
            sequences = DEFAULT_SEQUENCES
            unit = "requests/s"
        setup, answer, speed = self._replica(candidate, batched_tokens, sequences, share)
        if speed is None:
            return answer.reason or "does not fit"
        if answer.kv_cache_tokens < self.max_model_len:
            return f"its KV cache holds {answer.kv_cache_tokens} tokens, fewer than max_model_len {self.max_model_len}"
        if problem := self._too_little_host_memory(candidate, answer):
            return problem
        targets = self.request.targets
        for name, target_ms, estimate in (
            ("TTFT", targets.ttft_ms, speed.ttft_s),
            ("TPOT", targets.tpot_ms, speed.tpot_s),
        ):
            reached_s = getattr(estimate, targets.statistic)
            if target_ms is not None and reached_s is not None and reached_s * 1000 > target_ms:
                return (
                    f"{name} {targets.statistic} {reached_s * 1000:.0f} ms at {share:g} {unit} a replica; "
                    f"the target is {target_ms:g} ms"
                )
        if load.request_rate is not None and speed.saturated:
            return (
                f"{speed.requests_per_s.mean * replicas:.2f} requests/s at most with {replicas} "
                f"replica{_s(replicas)}; {load.request_rate:g} are asked"
            )
        host_count = math.ceil(replicas / candidate.replicas_per_host)
        prices = place_prices(self.facts, self.request.place, disk_gib(self.engine, answer.weight_bytes * candidate.tp))
        lines, dated = prices(candidate.host.type, host_count)
        price = cost(lines, dated, speed.output_tokens_per_s.mean * replicas)
        return Option(candidate, setup, answer, speed, replicas, host_count, price)

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
    """What the search saw: the options that meet every target, cheapest first, and every candidate that does not."""

    options: tuple[Option, ...]
    rejected: tuple[Rejected, ...]


def search(
    request: Request, facts: Facts, model: Model, engine: Engine, release: EngineVersion, max_model_len: int
) -> Found:
    """
    Every option of the first tier that has any, cheapest first, and everything that was rejected on the way.

    Raises: ``UnknownFact`` where the request names a GPU, host or price that no fact describes.
    """
    searching = _Search(request, facts, model, engine, release, max_model_len)
    usable, rejected = hosts(facts, request)
    options: list[Option] = []
    for choices in tiers(facts, request, model):
        for candidate in candidates(facts, usable, choices):
            result = candidate if isinstance(candidate, Rejected) else searching.evaluate(candidate)
            if isinstance(result, Rejected):
                rejected.append(result)
            else:
                options.append(result)
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
    return Found(tuple(options), tuple(rejected))
