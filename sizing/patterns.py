"""
One load played out on one replica, by its pattern.

    closed    steady state: the running sequences start evenly spread over their life; TTFT follows from Little's law.
              Where lengths differ, enough requests are played that the percentiles mean something.
              ``burst_share`` of the requests meet a start burst instead, as in published runs of about ten requests per
              client (or all of them, where an engine keeps equal lengths in lock-step); the fit says how many.
    burst     all at once at time 0, ramp and tail included
    poisson   exponential gaps from a fixed seed, or those of a trace at the asked rate; the first tenth left out
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, cycle, islice

from sizing.scheduler import Replica
from sizing.setup import Setup
from sizing.speed import StepModel
from sizing.traffic import Traffic

_POISSON_REQUESTS = 300  # enough that mean TTFT at 80 % load is within its band, still a few milliseconds to simulate
_ENDLESS = 1 << 30
_VARIED_REQUESTS = 600  # twice as many where lengths or gaps differ: percentiles 95 and 99 of them are asked for


@dataclass(frozen=True, slots=True)
class Seen:
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


def quantile(weighted: Sequence[tuple[float, float]], share: float) -> float:
    reached = 0.0
    for value, weight in weighted:
        reached += weight
        if reached >= share - 1e-9:
            return value
    return weighted[-1][0] if weighted else 0.0


def _closed(replica: Replica, clients: int, burst_share: float) -> Seen:
    """Steady state of *clients*, mixed with the start burst that *burst_share* of the requests meet."""
    together = min(clients, replica.capacity())
    decodes = replica.output - 1
    if decodes == 0:
        return _prompts_only(replica, clients)
    wanted = together if len(replica.lengths) == 1 else max(_VARIED_REQUESTS, 3 * together)
    run = replica.play([], wanted, closed=wanted + together + 1, running=replica.spread(together))
    share = burst_share if together > 1 else 0.0
    start = replica.play([0.0] * together, together) if share > 0 else run
    token_s = run.decode_step_s
    start_token_s = start.tpot_s if share > 0 and start.tpot_s else [token_s]
    seen_s = _mean(run.tpot_s)
    steady_token_s = [one * token_s / seen_s for one in run.tpot_s] if len(replica.lengths) == 1 else run.tpot_s
    first_s = (1 - share) * _mean(run.ttft_s) + share * _mean(start.ttft_s)
    mean_token_s = (1 - share) * token_s + share * _mean(start_token_s)
    rate = together / (first_s + decodes * mean_token_s)
    wait_s = (clients - together) / rate  # Little's law for those who find no place
    return Seen(
        _weighted([(1 - share, [first + wait_s for first in run.ttft_s]), (share, [f + wait_s for f in start.ttft_s])]),
        _weighted([(1 - share, steady_token_s), (share, start_token_s)]),
        rate,
        clients > together,
    )


def _prompts_only(replica: Replica, clients: int) -> Seen:
    """*clients* who send the next prompt when the last is answered, by the prompt alone; the first round left out."""
    together = min(clients, replica.capacity())
    run = replica.play([0.0] * together, together + max(2 * together, _POISSON_REQUESTS), closed=_ENDLESS)
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
    return list(accumulate(seeded.expovariate(rate) for _ in range(requests)))


def _poisson(replica: Replica, rate: float, gaps: Sequence[float], requests: int) -> Seen:
    arrivals = _arrivals(rate, gaps, requests)
    run = replica.play(arrivals, requests)
    warm = requests // 10
    saturated = run.queue_at_last_arrival > max(4, requests // 10)
    served = min(rate, run.finished / run.wall_s) if saturated else rate
    return Seen(_weighted([(1.0, run.ttft_s[warm:])]), _weighted([(1.0, run.tpot_s[warm:])]), served, saturated)


def _at_once(replica: Replica, clients: int, requests: int) -> Seen:
    """Exactly *requests* requests from *clients* who all start at once; ramp and tail count."""
    at_once = min(clients, requests)
    run = replica.play([0.0] * at_once, requests, closed=requests - at_once)
    return Seen(
        _weighted([(1.0, run.ttft_s)]),
        _weighted([(1.0, run.tpot_s)]),
        run.finished / run.wall_s,
        clients > replica.capacity(),
    )


def played(setup: Setup, traffic: Traffic, kv_cache_tokens: int, max_running: int, step: StepModel) -> Seen:
    """What the users of one replica of *setup* under *traffic* see."""
    replica = Replica(setup, step, traffic, kv_cache_tokens, max_running)
    if traffic.request_rate is not None:
        usual = _VARIED_REQUESTS if traffic.lengths or traffic.gaps else _POISSON_REQUESTS
        return _poisson(replica, traffic.request_rate, traffic.gaps, traffic.requests or usual)
    clients = traffic.concurrency or 1
    if traffic.pattern == "burst":
        requests = traffic.requests or clients
        return _at_once(replica, requests, requests)
    if traffic.requests is not None:
        return _at_once(replica, clients, traffic.requests)
    return _closed(replica, clients, min(1.0, step.constants["burst_share"]))
