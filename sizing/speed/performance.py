"""What users see of one replica: TTFT, TPOT and throughput, each with its band and what the band rests on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sizing.engine.setup import Setup
from sizing.errors import BadRequest
from sizing.facts.calibration import Band, Calibration, calibration
from sizing.facts.precision import precisions
from sizing.plan.plan import Estimate, Grounds
from sizing.request.traffic import Traffic
from sizing.speed.patterns import played, quantile
from sizing.speed.step import StepModel, arithmetic


@dataclass(frozen=True, slots=True)
class Performance:
    """TTFT from sending to first token, TPOT per request, tokens and requests per second of wall time."""

    ttft_s: Estimate
    tpot_s: Estimate
    output_tokens_per_s: Estimate
    requests_per_s: Estimate
    saturated: bool  # requests wait for a place: more clients would not be served faster
    full_requests_per_s: float | None = None  # where requests arrive at a rate: what a full replica answers


def cell(setup: Setup, known: Calibration) -> str:
    """What has to have been measured for the narrow band: engine era, card, arithmetic, model."""
    kind = arithmetic(precisions()[setup.precision].kernel.arithmetic, setup.gpu)
    era = known.era(setup.engine, setup.engine_version).since
    return f"{setup.engine} {era}+ {setup.gpu.id} {kind} {setup.model.key}"


def _trust(setup: Setup, known: Calibration) -> tuple[dict[str, Band], Grounds, str]:
    """The bands that the measurements allow, what they make of the estimate, and what they were."""
    name, group = cell(setup, known), known.gpu_class(setup.gpu)
    bands = known.bands.engines[setup.engine]
    if setup.speculative_tokens or setup.pp > 1:
        return bands["unseen"], "calculated", "step model; drafted tokens and pipeline stages are hardly measured"
    if name in known.bands.cells:
        powers = known.bands.cells[name]
        own = {
            metric: Band(low=band.low**power, high=band.high**power, rows=band.rows)
            for metric, band in bands["measured"].items()
            for power in [powers.get(metric, 1.0)]
        }
        return own, "calibrated", f"step model fitted to measurements of {name}"
    card = f"{setup.engine} {setup.gpu.id}"
    if setup.gpu.id in known.bands.cards[setup.engine]:
        return bands["card"], "calibrated", f"step model fitted to other measurements of {card}; none of {name}"
    if group != "default":
        return bands["related"], "calculated", f"step model fitted to other {group} GPUs; {card} was not measured"
    return bands["unseen"], "calculated", f"step model on the datasheet of {setup.gpu.id}; nothing like it was measured"


def performance(
    setup: Setup,
    traffic: Traffic,
    kv_cache_tokens: int,
    max_running: int,
    known: Calibration | None = None,
    full_requests_per_s: float | None = None,
) -> Performance:
    """
    What one replica of *setup* does under *traffic*.

    Args:
        kv_cache_tokens: tokens that the replica's KV cache holds.
        max_running: sequences that its caches hold at once (state pool of hybrids); ``max_num_seqs`` limits further.
        known: calibration to use instead of the kit's own, while fitting.
        full_requests_per_s: what the replica answers when it is full, where that is known.

    Raises:
        BadRequest: no KV cache to serve from.
    """
    if kv_cache_tokens < 1 or max_running < 1:
        raise BadRequest(f"a KV cache of {kv_cache_tokens} tokens for {max_running} sequences serves nothing")
    known = known or calibration()
    step = StepModel.of(setup, known)
    seen = played(setup, traffic, kv_cache_tokens, max_running, step, full_requests_per_s)
    bands, basis, source = _trust(setup, known)

    def estimate(mean: float, band: Band, weighted: Sequence[tuple[float, float]] = ()) -> Estimate:
        quantiles = {
            name: quantile(weighted, share) for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)) if weighted
        }
        return Estimate(mean=mean, low=mean * band.low, high=mean * band.high, basis=basis, source=source, **quantiles)

    def answered(scale: float) -> Estimate:
        """Requests per second times *scale*: no more than arrive, and at the slow end no more than a full replica's."""
        one = estimate(seen.requests_per_s, bands["throughput"])
        if traffic.request_rate is not None and seen.full_requests_per_s is not None:
            slow, fast = (seen.full_requests_per_s * end for end in (bands["throughput"].low, bands["throughput"].high))
            low, high = (min(traffic.request_rate, end) for end in (slow, fast if seen.saturated else math.inf))
            one = one.model_copy(update={"low": min(low, one.mean), "high": max(high, one.mean)})
        return one.model_copy(update={part: getattr(one, part) * scale for part in ("mean", "low", "high")})

    per_step = step.tokens_per_step
    ttft_s = sum(value * weight for value, weight in seen.ttft)
    tpot_s = sum(value * weight for value, weight in seen.tpot)
    tpot = [(value / per_step, weight) for value, weight in seen.tpot] or [(0.0, 1.0)]  # no answer has a second token
    return Performance(
        ttft_s=estimate(ttft_s, bands["ttft"], seen.ttft),
        tpot_s=estimate(tpot_s / per_step, bands["tpot"], tpot),
        output_tokens_per_s=answered(traffic.output_tokens),
        requests_per_s=answered(1),
        saturated=seen.saturated,
        full_requests_per_s=seen.full_requests_per_s,
    )
