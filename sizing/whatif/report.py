"""
What the report of a deployment shows, as data: ``report(name, request, facts)``.

The plan; every option of its place by cost and latency, with those that are cheaper but miss a target; what the chosen
setup does from little load to more than it carries; and the cheapest way on every GPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal

from pydantic import BaseModel, ConfigDict

from sizing.facts.catalogue import Facts
from sizing.facts.precision import Precision
from sizing.plan.aims import aims
from sizing.plan.plan import Estimate, Estimates, Plan
from sizing.planning.planning import plan
from sizing.request.request import Request, Targets
from sizing.search.loaded import loaded
from sizing.search.question import Question, question
from sizing.search.search import Option, search
from sizing.search.share import Share
from sizing.whatif.compare import Row, compare
from sizing.whatif.remedies import card_verdicts

RATES = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0, 1.1, 1.25)  # of the rate at which the deployment is full


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Choice(_Part):
    """A way to serve the request: what it costs, and its latency by the statistic that the targets name."""

    label: str
    gpu: str
    gpus: int
    precision: Precision
    usd_per_hour: Decimal
    ttft_s: float
    tpot_s: float
    meets: bool
    chosen: bool


class Loaded(_Part):
    """What the whole deployment does at *load* requests in flight, or per second."""

    load: float
    ttft_s: Estimate
    tpot_s: Estimate
    output_tokens_per_s: Estimate
    requests_per_s: Estimate


class Shortfall(_Part):
    """What one card alone falls short of, and the changes after which it is enough, with what it does then."""

    gpu: str
    reason: str
    remedies: tuple[tuple[str, str], ...]


class Report(_Part):
    """Everything on the page. ``choices`` cheapest first, ``curve`` ascending; both and ``short`` empty on a CPU."""

    plan: Plan
    choices: tuple[Choice, ...]
    curve: tuple[Loaded, ...]
    gpus: tuple[Row, ...]
    short: tuple[Shortfall, ...]


def report(name: str, request: Request, facts: Facts) -> Report:
    """The report of deployment *name*. Raises whatever ``planning.plan`` does."""
    planned = plan(name, request, facts)
    rows = tuple(row for row in compare(request, facts, "gpu") if row.gpus != 0)  # a plan without GPU is shown itself
    if planned.placement.gpu is None:
        return Report(plan=planned, choices=(), curve=(), gpus=rows, short=())
    asked = question(request, facts)
    options = search(asked, compared=None).options
    return Report(
        plan=planned,
        choices=tuple(_choices(asked, options)),
        curve=tuple(_curve(asked, options[0], planned.estimates)),
        gpus=rows,
        short=tuple(
            Shortfall(
                gpu=verdict.gpu,
                reason=verdict.shortfall,
                remedies=tuple((remedy.change, remedy.outcome) for remedy in verdict.remedies),
            )
            for verdict in card_verdicts(asked)
            if verdict.shortfall
        ),
    )


def front(choices: tuple[Choice, ...], latency: Callable[[Choice], float]) -> list[Choice]:
    """Those that meet the request and that no other such beats in both cost and *latency*, cheapest first."""
    found: list[Choice] = []
    for choice in sorted(choices, key=lambda one: (one.usd_per_hour, latency(one))):
        if choice.meets and (not found or latency(choice) < latency(found[-1])):
            found.append(choice)
    return found


def _choices(asked: Question, options: tuple[Option, ...]) -> Iterator[Choice]:
    """The cheapest host for every layout of cards, with the layouts that only miss a target."""
    free = replace(asked, request=asked.request.model_copy(update={"targets": Targets()}))
    statistic = asked.request.targets.statistic
    seen = set()
    every = [(option, True) for option in options] + [(option, False) for option in search(free, compared=None).options]
    for option, meets in every:
        setup, speed = option.setup, option.performance
        if not meets and all(aim.met for aim in aims(asked.request.targets, speed)):
            continue
        layout = (setup.gpu.id, setup.tp, setup.pp, option.replicas, setup.precision, setup.kv_cache_dtype, meets)
        if layout in seen:
            continue
        seen.add(layout)
        yield Choice(
            label=option.label,
            gpu=setup.gpu.id,
            gpus=option.replicas * setup.tp * setup.pp,
            precision=setup.precision,
            usd_per_hour=option.cost.usd_per_hour,
            ttft_s=getattr(speed.ttft_s, statistic),
            tpot_s=getattr(speed.tpot_s, statistic),
            meets=meets,
            chosen=option is options[0],
        )


def _loads(request: Request, estimates: Estimates, replicas: int) -> list[float]:
    """Ascending loads to past where the deployment is full, the asked one among them: doublings, or parts of a rate."""
    load = request.load
    if load.request_rate is not None:
        full = estimates.saturation_requests_per_s.mean
        return sorted({load.request_rate, *(full * part for part in RATES)})
    asked = load.concurrency or 1
    most = 2 * max(asked, estimates.saturation_concurrency)
    doublings = range(math.ceil(math.log2(max(most / replicas, 1))) + 1)
    return sorted({float(asked), *(float(replicas * 2**power) for power in doublings)})


def _curve(asked: Question, option: Option, estimates: Estimates) -> Iterator[Loaded]:
    """The chosen setup under ``_loads``, all replicas up."""
    for total in _loads(asked.request, estimates, option.replicas):
        whole = Share(math.ceil(total), None) if asked.request.load.request_rate is None else Share(None, total)
        speed = loaded(asked, option.setup, option.memory, whole.of(option.replicas))
        all_busy = whole.times(option.replicas)
        yield Loaded(
            load=total,
            ttft_s=speed.ttft_s,
            tpot_s=speed.tpot_s,
            output_tokens_per_s=_times(speed.output_tokens_per_s, all_busy),
            requests_per_s=_times(speed.requests_per_s, all_busy),
        )


def _times(one: Estimate, factor: float) -> Estimate:
    return one.model_copy(update={part: getattr(one, part) * factor for part in ("mean", "low", "high")})
