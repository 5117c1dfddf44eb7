"""
One load played out on one replica, by its pattern.

    closed    steady state: the running sequences start evenly spread over their life; TTFT follows from Little's law.
              Where lengths differ, enough requests are played that the percentiles mean something.
              The first request of every client meets a start burst instead: one in ten, as in published runs, unless
              ``requests`` says how many there are. ``lock_step`` of the others meet one too: an engine that starts
              equal requests together answers them together (docs/decisions/0004-the-first-wave.md).
    burst     all at once at time 0, ramp and tail included
    poisson   exponential gaps from a fixed seed, or those of a trace at the asked rate; the first tenth left out.
              Played until steady unless ``requests`` says how many there are: near what a replica sustains queues
              come and go slowly, so the run grows with 1 / (1 - rate / what is sustained)^2
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, cycle, islice

from sizing.engine.setup import Setup
from sizing.request.traffic import Traffic
from sizing.speed.scheduler import Scheduler
from sizing.speed.step import StepModel

_FEWEST_REQUESTS = 800
_MOST_REQUESTS = 5_000  # a tenth of a second to simulate
_RELAXATIONS = 100  # a queue forgets its past in 1 / (1 - load)^2 arrivals: the relaxation time of M/M/1
_LIVES = 8  # times that a full replica's requests are replaced: how many run together changes no faster
_MOST_TURNS = 30_000  # of the scheduler, well below what it plays at most; a request takes its chunks and a few more
_TURNS_BESIDE_CHUNKS = 4
_ENDLESS = 1 << 30
# Requests of a client in published runs, e.g. SemiAnalysisAI/InferenceX: --num-prompts "$((CONC * 10))"
ROUNDS = 10
_FEW_ROUNDS = 3  # fewer are played out one by one
_VARIED_REQUESTS = 600  # twice as many where lengths or gaps differ: percentiles 95 and 99 of them are asked for


@dataclass(frozen=True, slots=True)
class Seen:
    """Figures of one load before bands: sorted TTFTs and TPOTs with the weight of each, and the rate."""

    ttft: list[tuple[float, float]]
    tpot: list[tuple[float, float]]
    requests_per_s: float
    saturated: bool
    full_requests_per_s: float | None = None  # of arrivals at a rate: what a full replica answers


def _weighted(parts: Sequence[tuple[float, Sequence[float]]]) -> list[tuple[float, float]]:
    """(value, weight) of all parts that have any, ascending; weights sum to 1, those of a part share the part's."""
    seen = [(share, values) for share, values in parts if share and values]
    whole = sum(share for share, _ in seen)
    return sorted((value, share / whole / len(values)) for share, values in seen for value in values)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def quantile(weighted: Sequence[tuple[float, float]], share: float) -> float:
    reached = 0.0
    for value, weight in weighted:
        reached += weight
        if reached >= share - 1e-9:
            return value
    return weighted[-1][0] if weighted else 0.0


def _closed(replica: Scheduler, clients: int, requests: int | None, lock_step: float) -> Seen:
    """Steady state of *clients*, mixed with the start burst; with *requests*, the rate counts the run's tail."""
    together = min(clients, replica.capacity())
    decodes = replica.output - 1
    if decodes == 0:
        return _prompts_only(replica, clients)
    wanted = together if len(replica.lengths) == 1 else max(_VARIED_REQUESTS, 3 * together)
    run = replica.play([], wanted, closed=wanted + together + 1, running=replica.spread(together))
    start = replica.play([0.0] * together, together) if together > 1 else run
    first_wave = min(1.0, clients / requests) if requests else 1 / ROUNDS
    share = first_wave + (1 - first_wave) * lock_step
    token_s = run.decode_step_s
    seen_s = _mean(run.tpot_s)
    steady_token_s = [one * token_s / seen_s for one in run.tpot_s] if len(replica.lengths) == 1 else run.tpot_s
    steady_s = _mean(run.ttft_s) + decodes * token_s
    start_s = _mean(start.ttft_s) + decodes * _mean(start.tpot_s)
    rate = together / (steady_s + share * (start_s - steady_s))
    wait_s = (clients - together) / rate  # Little's law for those who find no place
    if requests:
        follow_s = (requests - together) / together * (steady_s + lock_step * (start_s - steady_s))
        rate = requests / (start.wall_s + follow_s)
    return Seen(
        _weighted([(1 - share, [first + wait_s for first in run.ttft_s]), (share, [f + wait_s for f in start.ttft_s])]),
        _weighted([(1 - share, steady_token_s), (share, start.tpot_s)]),
        rate,
        clients > together,
    )


def _prompts_only(replica: Scheduler, clients: int) -> Seen:
    """*clients* who send the next prompt when the last is answered, by the prompt alone; the first round left out."""
    together = min(clients, replica.capacity())
    run = replica.play([0.0] * together, together + max(2 * together, _FEWEST_REQUESTS), closed=_ENDLESS)
    steady = run.ttft_s[together:]
    rate = together / _mean(steady)
    wait_s = (clients - together) / rate
    return Seen(_weighted([(1.0, [first + wait_s for first in steady])]), [], rate, clients > together)


def _arrivals(rate: float, gaps: Sequence[float], requests: int) -> list[float]:
    """Times of *requests* arrivals at *rate* per second on average: *gaps* in turn, or exponential ones."""
    if gaps:
        scale = len(gaps) / sum(gaps) / rate
        return list(accumulate(gap * scale for gap in islice(cycle(gaps), requests)))
    seeded = random.Random(4)
    times = list(accumulate(seeded.expovariate(1.0) for _ in range(requests)))
    scale = requests / times[-1] / rate  # by chance a run is a few percent off its rate, which near the limit is much
    return [time * scale for time in times]


def steady_requests(replica: Scheduler, load: float, varied: bool) -> int:
    """Arrivals after which means and percentiles hardly move, at *load* of what a full replica answers."""
    wanted = max(_VARIED_REQUESTS if varied else _FEWEST_REQUESTS, _LIVES * min(load, 1.0) * replica.capacity())
    if load < 1:
        wanted = max(wanted, _RELAXATIONS / (1 - load) ** 2)
    bearable = _MOST_TURNS / (_TURNS_BESIDE_CHUNKS + replica.chunks())
    return max(_FEWEST_REQUESTS, int(min(wanted, _MOST_REQUESTS, bearable)))


def _poisson(replica: Scheduler, traffic: Traffic, rate: float, full: float) -> Seen:
    varied = bool(traffic.lengths or traffic.gaps)
    requests = traffic.requests or steady_requests(replica, rate / full, varied)
    run = replica.play(_arrivals(rate, traffic.gaps, requests), requests)
    warm = requests // 10
    saturated = rate > full or run.queue_at_last_arrival > max(4, requests // 10)
    served = min(rate, full, run.finished / run.wall_s) if saturated else rate
    return Seen(_weighted([(1.0, run.ttft_s[warm:])]), _weighted([(1.0, run.tpot_s[warm:])]), served, saturated, full)


def _at_once(replica: Scheduler, clients: int, requests: int) -> Seen:
    """Exactly *requests* requests from *clients* who all start at once; ramp and tail count."""
    at_once = min(clients, requests)
    run = replica.play([0.0] * at_once, requests, closed=requests - at_once)
    return Seen(
        _weighted([(1.0, run.ttft_s)]),
        _weighted([(1.0, run.tpot_s)]),
        run.finished / run.wall_s,
        clients > replica.capacity(),
    )


def played(
    setup: Setup,
    traffic: Traffic,
    kv_cache_tokens: int,
    max_running: int,
    step: StepModel,
    full_requests_per_s: float | None = None,
) -> Seen:
    """What the users of one replica of *setup* under *traffic* see; what it answers when full, where that is known."""
    replica = Scheduler(setup, step, traffic, kv_cache_tokens, max_running)
    lock_step = min(1.0, step.constants["lock_step"])
    if traffic.request_rate is not None:
        full = full_requests_per_s or _closed(replica, replica.capacity(), None, lock_step).requests_per_s
        return _poisson(replica, traffic, traffic.request_rate, full)
    clients = traffic.concurrency or 1
    if traffic.pattern == "burst":
        requests = traffic.requests or clients
        return _at_once(replica, requests, requests)
    if traffic.requests is not None and traffic.requests < _FEW_ROUNDS * clients:
        return _at_once(replica, clients, traffic.requests)
    return _closed(replica, clients, traffic.requests, lock_step)
