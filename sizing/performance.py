"""What users see of one replica: TTFT, TPOT and throughput, each with its band and what the band rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sizing.calibration import Band, Calibration, calibration
from sizing.errors import BadRequest
from sizing.patterns import played, quantile
from sizing.plan import Estimate
from sizing.setup import Setup
from sizing.speed import StepModel, arithmetic
from sizing.traffic import Traffic


@dataclass(frozen=True, slots=True)
class Performance:
    """TTFT from sending to first token, TPOT per request, tokens and requests per second of wall time."""

    ttft_s: Estimate
    tpot_s: Estimate
    output_tokens_per_s: Estimate
    requests_per_s: Estimate
    saturated: bool  # requests wait for a place: more clients would not be served faster


def cell(setup: Setup, known: Calibration) -> str:
    """What has to have been measured for the narrow band: engine era, GPU, arithmetic."""
    kind = arithmetic(known.kernel(setup.precision).arithmetic, setup.gpu)
    return f"{setup.engine} {known.era(setup.engine, setup.engine_version).since}+ {setup.gpu.id} {kind}"


def trust(setup: Setup, known: Calibration) -> tuple[dict[str, Band], str]:
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
    seen = played(setup, traffic, kv_cache_tokens, max_running, step)
    bands, source = trust(setup, known)

    def estimate(mean: float, band: Band, weighted: Sequence[tuple[float, float]] = ()) -> Estimate:
        quantiles = {
            name: quantile(weighted, share) for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)) if weighted
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
