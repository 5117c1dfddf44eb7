"""
What users of one replica see: the engine's scheduler played out over the step model.

The scheduler is that of vLLM and SGLang, first come first served: a step computes one token for every running
sequence and, within the token budget, chunks of waiting prompts; vLLM puts both into one step, SGLang runs prompts
first and alone. A prompt is admitted while a place (``max_num_seqs``) and the KV cache for it are free; when the cache
runs full the youngest sequence is preempted and computed again. Between two events nothing changes but the context,
in which a step is affine: whole runs of decode steps are one multiplication.

    closed    steady state: the running sequences start evenly spread over their life; TTFT follows from Little's law.
              ``burst_share`` of the requests meet a start burst instead, as in published runs of about ten requests per
              client (or all of them, where an engine keeps equal lengths in lock-step); the fit says how many.
    burst     all at once at time 0, ramp and tail included
    poisson   exponential gaps from a fixed seed, the first tenth left out
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sizing.calibration import Band, Calibration, calibration
from sizing.errors import BadRequest
from sizing.plan import Estimate
from sizing.setup import Setup
from sizing.speed import StepModel, arithmetic

Pattern = Literal["closed", "burst", "poisson"]

_POISSON_REQUESTS = 300  # enough that mean TTFT at 80 % load is within its band, still a few milliseconds to simulate
_MOST_REQUESTS = 20_000  # a third of a second to simulate
_GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True, slots=True)
class Traffic:
    """What arrives at one replica. Exactly one of ``concurrency`` and ``request_rate`` (requests/s) is given."""

    concurrency: int | None
    request_rate: float | None
    input_tokens: int
    output_tokens: int
    pattern: Pattern = "closed"
    requests: int | None = None
    prefix_hit_rate: float = 0.0

    def __post_init__(self) -> None:
        problems = []
        if (self.concurrency is None) == (self.request_rate is None):
            problems.append("a load has either a concurrency or a request rate, not both and not neither")
        if self.concurrency is not None and self.concurrency < 1:
            problems.append(f"concurrency {self.concurrency} is below 1")
        if self.request_rate is not None and not 0 < self.request_rate < math.inf:
            problems.append(f"request rate {self.request_rate} is not a positive number of requests per second")
        if self.input_tokens < 1 or self.output_tokens < 0:
            problems.append(f"{self.input_tokens} input and {self.output_tokens} output tokens are no request")
        if not 0 <= self.prefix_hit_rate <= 1:
            problems.append(f"prefix hit rate {self.prefix_hit_rate} is not between 0 and 1")
        if self.requests is not None and self.requests < 1:
            problems.append(f"{self.requests} requests are none")
        played = self.requests or (self.concurrency if self.pattern == "burst" else 0) or 0
        if played > _MOST_REQUESTS:
            problems.append(f"{played} requests are too many to play out; at most {_MOST_REQUESTS} are")
        if problems:
            raise BadRequest(*problems)


@dataclass(frozen=True, slots=True)
class Performance:
    """TTFT from sending to first token, TPOT per request, tokens and requests per second of wall time."""

    ttft_s: Estimate
    tpot_s: Estimate
    output_tokens_per_s: Estimate
    requests_per_s: Estimate
    saturated: bool  # requests wait for a place: more clients would not be served faster


class _Request:
    __slots__ = ("admitted", "arrived", "context", "finish", "first", "left", "resumed", "todo")

    def __init__(self, arrived: float, context: int, todo: int, left: int) -> None:
        self.arrived = arrived
        self.context = context  # tokens in the KV cache
        self.todo = todo  # tokens to compute before the next token comes out
        self.left = left  # tokens still to be generated
        self.first = -1.0  # when the first token came out
        self.finish = 0  # decode step at whose end it is answered
        self.admitted = False
        self.resumed = False


@dataclass(slots=True)
class _Run:
    """What a simulation saw. ``ttft_s`` and ``tpot_s`` in order of completion of first token and answer."""

    ttft_s: list[float]
    tpot_s: list[float]
    finished: int
    wall_s: float
    queue_at_last_arrival: int
    decode_step_s: float  # time per token, averaged over all decoded tokens


class _Replica:
    """One engine with its queue. ``play`` advances it until *wanted* requests are answered."""

    def __init__(self, setup: Setup, step: StepModel, traffic: Traffic, kv_cache_tokens: int, max_running: int) -> None:
        self.step = step
        self.mixed = step.constants.mixed
        self.budget = max(setup.max_num_batched_tokens, 1)
        self.places = max(1, min(setup.max_num_seqs, max_running))
        self.kv = kv_cache_tokens
        hit_rate = traffic.prefix_hit_rate if setup.prefix_caching else 0.0
        self.hit = min(int(traffic.input_tokens * hit_rate), traffic.input_tokens - 1)
        self.input = traffic.input_tokens
        self.output = max(1, round(traffic.output_tokens / step.tokens_per_step))  # steps, not tokens
        self.gap_s = step.constants["request_s"]
        self.poll = step.constants["poll_steps"]

    def request(self, arrived: float) -> _Request:
        return _Request(arrived, self.hit, self.input - self.hit, self.output)

    def capacity(self) -> int:
        """Sequences that run together for long: each holds its prompt and, on average, half its answer."""
        return max(1, min(self.places, int(self.kv / (self.input + self.output / 2))))

    def spread(self, count: int) -> deque[_Request]:
        """*count* running sequences at evenly spread, slightly shaken points of their life, next to finish first."""
        running: deque[_Request] = deque()
        for index in range(count):
            shaken = (index + (index * _GOLDEN) % 1) / count
            left = 1 + int(shaken * (self.output - 1))
            request = _Request(0.0, self.input + self.output - left, 0, left)
            request.admitted = request.resumed = True
            request.finish = left
            running.append(request)
        return running

    def play(
        self,
        arrivals: Sequence[float],
        wanted: int,
        *,
        closed: int = 0,
        running: deque[_Request] | None = None,
        until_first: bool = False,
    ) -> _Run:
        """
        Simulate until *wanted* requests that were sent here are answered (or have a first token).

        Args:
            arrivals: times at which requests are sent, ascending; the engine sees them ``request_s`` later.
            closed: how many more requests follow, each sent when another is answered.
            running: sequences already decoding at time 0.
        """
        step_s, budget, places, kv, mixed = self.step.step_s, self.budget, self.places, self.kv, self.mixed
        running = running or deque()
        waiting: deque[_Request] = deque()
        ttft: list[float] = []
        tpot: list[float] = []
        coming = deque(arrivals)
        now, decoded, finished, partial, held = 0.0, 0, 0, 0, sum(request.context for request in running)
        token_time = tokens = 0.0
        queue_at_last, due, look = 0, False, 0
        gap, poll_every = self.gap_s, self.poll

        def answer(at: float) -> None:
            """Take what has its last token out of the running sequences."""
            nonlocal finished, held, closed
            while running and running[0].finish <= decoded:
                request = running.popleft()
                held -= request.context + request.left
                if request.first >= 0:
                    finished += 1
                    if self.output > 1:
                        tpot.append((at - request.first) / (self.output - 1))
                if closed > 0:
                    closed -= 1
                    coming.append(at)

        while (len(ttft) if until_first else finished) < wanted:
            if coming and coming[0] + gap <= now:
                if not due:
                    due, look = True, math.ceil(math.ceil(decoded / poll_every) * poll_every)
                if decoded >= look or not running:
                    due = False
                    while coming and coming[0] + gap <= now:
                        waiting.append(self.request(coming.popleft()))
                    queue_at_last = len(waiting)
            chunk = pairs = 0
            ready: list[_Request] = []
            if waiting:
                room = budget - len(running) if mixed else budget
                while waiting and chunk < room:
                    request = waiting[0]
                    if not request.admitted:
                        crowded = len(running) + len(ready) + partial >= places
                        full = held + request.context + request.todo + len(running) >= kv
                        if (crowded or full) and (running or ready or partial):
                            break
                        request.admitted = True
                        held += request.context + request.todo
                        partial += 1
                    tokens_now = min(request.todo, room - chunk)
                    pairs += tokens_now * (request.context + tokens_now // 2)
                    request.context += tokens_now
                    request.todo -= tokens_now
                    chunk += tokens_now
                    if request.todo:
                        break
                    waiting.popleft()
                    partial -= 1
                    ready.append(request)
            if chunk:
                decoding = len(running) if mixed else 0
                took = step_s(decoding, held if decoding else 0, chunk, pairs / chunk)
                now += took
                token_time += took * len(running)
                if decoding:
                    decoded += 1
                    held += decoding
                    tokens += decoding
                for request in ready:
                    if not request.resumed:
                        request.first = now
                        ttft.append(now - request.arrived)
                        request.left -= 1
                    request.resumed = True
                    request.finish = decoded + request.left
                    running.append(request)
                answer(now)
                continue
            if not running:
                if not coming:
                    break
                now = max(now, coming[0] + gap)
                continue
            count = len(running)
            steps = running[0].finish - decoded
            if due:
                steps = max(1, min(steps, look - decoded))
            if held + count > kv and count > 1:
                victim = running.pop()  # youngest first; what it had is computed again
                left = victim.finish - decoded
                done = victim.context + victim.left - left
                held -= done
                victim.todo, victim.context, victim.left, victim.admitted = done, 0, left, False
                waiting.appendleft(victim)
                continue
            if count > 1:
                steps = max(1, min(steps, (kv - held) // count))
            took = step_s(count, held + count * (steps - 1) / 2, 0, 0)
            if coming and not due and now + took * steps > coming[0] + gap:
                steps = max(1, min(steps, math.ceil((coming[0] + gap - now) / took)))
                took = step_s(count, held + count * (steps - 1) / 2, 0, 0)
            now += took * steps
            token_time += took * steps * count
            tokens += steps * count
            decoded += steps
            held += steps * count
            answer(now)
        return _Run(ttft, tpot, finished, now, queue_at_last, token_time / tokens if tokens else 0.0)


@dataclass(frozen=True, slots=True)
class _Seen:
    """Figures of one load before bands: sorted TTFTs and TPOTs with the weight of each, and the rate."""

    ttft: list[tuple[float, float]]
    tpot: list[tuple[float, float]]
    requests_per_s: float
    saturated: bool


def _weighted(parts: Sequence[tuple[float, Sequence[float]]]) -> list[tuple[float, float]]:
    """(value, weight) of all parts, ascending; the weights of a part share the part's."""
    return sorted((value, share / len(values)) for share, values in parts if share and values for value in values)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _quantile(weighted: Sequence[tuple[float, float]], share: float) -> float:
    reached = 0.0
    for value, weight in weighted:
        reached += weight
        if reached >= share - 1e-9:
            return value
    return weighted[-1][0] if weighted else 0.0


def _closed(replica: _Replica, clients: int, burst_share: float) -> _Seen:
    """Steady state of *clients*, mixed with the start burst that *burst_share* of the requests meet."""
    together = min(clients, replica.capacity())
    decodes = replica.output - 1
    run = replica.play(
        [], together, closed=2 * together + 1, running=replica.spread(together), until_first=decodes == 0
    )
    share = burst_share if together > 1 else 0.0
    start = replica.play([0.0] * together, together) if share > 0 else run
    token_s = run.decode_step_s
    start_token_s = start.tpot_s if share > 0 and start.tpot_s else [token_s]
    first_s = (1 - share) * _mean(run.ttft_s) + share * _mean(start.ttft_s)
    mean_token_s = (1 - share) * token_s + share * _mean(start_token_s)
    rate = together / (first_s + decodes * mean_token_s)
    wait_s = (clients - together) / rate  # Little's law for those who find no place
    return _Seen(
        _weighted([(1 - share, [first + wait_s for first in run.ttft_s]), (share, [f + wait_s for f in start.ttft_s])]),
        _weighted([(1 - share, [token_s]), (share, start_token_s)]),
        rate,
        clients > together,
    )


def _poisson(replica: _Replica, rate: float, requests: int) -> _Seen:
    gaps = random.Random(4)
    at, arrivals = 0.0, []
    for _ in range(requests):
        at += gaps.expovariate(rate)
        arrivals.append(at)
    run = replica.play(arrivals, requests)
    warm = requests // 10
    saturated = run.queue_at_last_arrival > max(4, requests // 10)
    served = min(rate, run.finished / run.wall_s) if saturated else rate
    return _Seen(_weighted([(1.0, run.ttft_s[warm:])]), _weighted([(1.0, run.tpot_s[warm:])]), served, saturated)


def _at_once(replica: _Replica, clients: int, requests: int) -> _Seen:
    """Exactly *requests* requests from *clients* who all start at once; ramp and tail count."""
    at_once = min(clients, requests)
    run = replica.play([0.0] * at_once, requests, closed=requests - at_once)
    return _Seen(
        _weighted([(1.0, run.ttft_s)]),
        _weighted([(1.0, run.tpot_s)]),
        run.finished / run.wall_s,
        clients > replica.capacity(),
    )


def _seen(setup: Setup, traffic: Traffic, kv_cache_tokens: int, max_running: int, step: StepModel) -> _Seen:
    replica = _Replica(setup, step, traffic, kv_cache_tokens, max_running)
    if traffic.request_rate is not None:
        return _poisson(replica, traffic.request_rate, traffic.requests or _POISSON_REQUESTS)
    clients = traffic.concurrency or 1
    if traffic.pattern == "burst":
        requests = traffic.requests or clients
        return _at_once(replica, requests, requests)
    if traffic.requests is not None:
        return _at_once(replica, clients, traffic.requests)
    return _closed(replica, clients, min(1.0, step.constants["burst_share"]))


def cell(setup: Setup, known: Calibration) -> str:
    """What has to have been measured for the narrow band: engine era, GPU, arithmetic."""
    kind = arithmetic(known.kernel(setup.precision).arithmetic, setup.gpu)
    return f"{setup.engine} {known.era(setup.engine, setup.engine_version).since}+ {setup.gpu.id} {kind}"


def _trust(setup: Setup, known: Calibration) -> tuple[dict[str, Band], str]:
    """The bands that the measurements allow, and what they were."""
    name, group, bands = cell(setup, known), known.gpu_class(setup.gpu), known.bands
    if setup.speculative_tokens or setup.pp > 1:
        return bands.unseen, "step model; neither drafted tokens nor pipeline stages are among the measurements"
    if name in bands.cells:
        return bands.measured, f"step model fitted to measurements of {name}"
    if group != "default":
        return bands.related, f"step model fitted to other measurements of {group} GPUs; none of {name}"
    return bands.unseen, f"step model on the datasheet of {setup.gpu.id}; nothing like {name} was measured"


def performance(
    setup: Setup,
    traffic: Traffic,
    kv_cache_tokens: int,
    max_running: int,
    known: Calibration | None = None,
) -> Performance:
    """
    What one replica of *setup* does under *traffic*.

    Args:
        kv_cache_tokens: tokens that the replica's KV cache holds.
        max_running: sequences that its caches hold at once (state pool of hybrids); ``max_num_seqs`` limits further.
        known: calibration to use instead of the kit's own, while fitting.

    Raises:
        BadRequest: no KV cache to serve from.
    """
    if kv_cache_tokens < 1 or max_running < 1:
        raise BadRequest(f"a KV cache of {kv_cache_tokens} tokens for {max_running} sequences serves nothing")
    known = known or calibration()
    step = StepModel.of(setup, known)
    seen = _seen(setup, traffic, kv_cache_tokens, max_running, step)
    bands, source = _trust(setup, known)

    def estimate(mean: float, band: Band, weighted: Sequence[tuple[float, float]] = ()) -> Estimate:
        quantiles = {
            name: _quantile(weighted, share) for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)) if weighted
        }
        return Estimate(
            mean=mean, low=mean * band.low, high=mean * band.high, basis="calculated", source=source, **quantiles
        )

    per_step = step.tokens_per_step
    ttft_s = sum(value * weight for value, weight in seen.ttft)
    tpot_s = sum(value * weight for value, weight in seen.tpot)
    tpot = [(value / per_step, weight) for value, weight in seen.tpot]
    return Performance(
        ttft_s=estimate(ttft_s, bands["ttft"], seen.ttft),
        tpot_s=estimate(tpot_s / per_step, bands["tpot"], tpot),
        output_tokens_per_s=estimate(seen.requests_per_s * traffic.output_tokens, bands["throughput"]),
        requests_per_s=estimate(seen.requests_per_s, bands["throughput"]),
        saturated=seen.saturated,
    )
