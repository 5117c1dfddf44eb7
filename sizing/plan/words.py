"""A plan in words and formatted figures, for the terminal and the page alike. GiB, ms and dollars appear here."""

from __future__ import annotations

import math
from collections.abc import Iterator
from decimal import Decimal
from typing import NamedTuple

from sizing.plan.aims import Latencies, aims
from sizing.plan.plan import Cost, Estimate, Estimates, Plan
from sizing.request.request import Load, Targets
from sizing.units import rate


class Figure(NamedTuple):
    """An expected figure as text; ``met`` is None where nothing was asked of it."""

    name: str
    mean: str
    band: str
    percentiles: str
    target: str
    met: bool | None
    basis: str
    source: str


def asked_for(plan: Plan) -> str:
    """The load and the targets of the request in one sentence."""
    load, targets = plan.request.load, plan.request.targets
    amount = (
        f"{load.concurrency:,} request{'' if load.concurrency == 1 else 's'} in flight"
        if load.concurrency
        else f"{rate(load.request_rate or 0.0)} requests/s"
    )
    hits = f", {load.prefix_hit_rate:.0%} of the prompt cached" if load.prefix_hit_rate else ""
    limits = [
        f"{name} {targets.statistic} at most {limit:,.9g} ms"
        for name, limit in (("TTFT", targets.ttft_ms), ("TPOT", targets.tpot_ms))
        if limit is not None
    ]
    wanted = f"; {', '.join(limits)}" if limits else "; no latency target"
    output = f" + {load.output_tokens:,}" if load.output_tokens else ""
    return f"{amount} of {load.input_tokens:,}{output} tokens{''.join(besides(load))}{hits}{wanted}"


def besides(load: Load) -> Iterator[str]:
    """What a request has beside the mean of its text."""
    if load.trace:
        yield f" as {load.trace} has them"
    if load.thinking_tokens:
        yield f" and {load.thinking_tokens:,} of reasoning"
    if load.images:
        count = load.images.count
        yield f", {count} image{'' if count == 1 else 's'} of {load.images.width} x {load.images.height}"
    if load.audio_s:
        yield f", {load.audio_s:g} s of sound"


def hardware(plan: Plan) -> str:
    """Hosts, cards and region."""
    placement = plan.placement
    cards = f"{placement.gpus_per_host} x {placement.gpu}" if placement.gpu else "CPU only"
    where = f" in {placement.region}" if placement.region else ""
    spot = ", spot" if placement.purchase == "spot" else ""
    return f"{placement.hosts} x {placement.host_type} ({cards}){where}{spot}"


def chosen(plan: Plan) -> list[tuple[str, str]]:
    """What the plan decided, as (term, text)."""
    placement, engine, memory = plan.placement, plan.engine, plan.memory
    stages = f", PP {engine.pp}" if engine.pp > 1 else ""
    gpus = placement.gpus_per_replica
    cards = f", {gpus} GPU{'' if gpus == 1 else 's'} each (TP {engine.tp}{stages})" if placement.gpu else ""
    utilization = (
        "" if engine.gpu_memory_utilization is None else f", gpu_memory_utilization {engine.gpu_memory_utilization:g}"
    )
    limit = placement.power_limit_w_per_gpu
    return [
        ("model", f"{plan.model.repository} in {plan.model.precision}, licence {plan.model.licence}"),
        ("hardware", f"{hardware(plan)}, {placement.disk_gib} GiB of disk{f', {limit} W a GPU' if limit else ''}"),
        ("replicas", f"{placement.replicas}{cards}"),
        ("engine", f"{engine.name} {engine.version}, {engine.image}"),
        (
            "settings",
            f"max_model_len {engine.max_model_len}, max_num_seqs {engine.max_num_seqs}, max_num_batched_tokens "
            f"{engine.max_num_batched_tokens}, KV {engine.kv_cache_dtype}{utilization}",
        ),
        (
            "KV cache",
            f"{memory.kv_cache_tokens:,} tokens a replica ({memory.kv_cache_tokens_low:,} to "
            f"{memory.kv_cache_tokens_high:,}): {memory.max_concurrency:g} of max_model_len at once",
        ),
    ]


def percentiles(targets: Targets) -> str:
    """The percentiles that are shown: the middle and the slow end, and the further end where that is asked."""
    return " / ".join(_percentiles(targets))


def _percentiles(targets: Targets) -> tuple[str, ...]:
    return ("p50", "p95", "p99") if targets.statistic == "p99" else ("p50", "p95")


def figures(estimates: Estimates, targets: Targets) -> list[Figure]:
    """Latency and throughput with band, percentiles and target; nothing of output where none is generated."""
    met: dict[str, bool] = {aim.name: aim.met for aim in aims(targets, estimates)}

    def figure(name: str, estimate: Estimate, scale: float, unit: str, limit: float | None = None) -> Figure:
        digits = _digits(estimate.mean * scale)

        def show(value: float) -> str:
            return f"{value * scale:,.{digits}f}"

        known = [getattr(estimate, name) for name in _percentiles(targets)]
        return Figure(
            name,
            f"{show(estimate.mean)} {unit}",
            f"{show(estimate.low)} to {show(estimate.high)} {unit}",
            "" if None in known else f"{' / '.join(map(show, known))} {unit}",
            "" if limit is None else f"{targets.statistic} at most {limit:,.9g} {unit}",
            met.get(name),
            estimate.basis,
            estimate.source,
        )

    full = estimates.saturation_concurrency
    found = [figure("TTFT", estimates.ttft_s, 1000, "ms", targets.ttft_ms)]
    if estimates.tpot_s:
        found.append(figure("TPOT", estimates.tpot_s, 1000, "ms", targets.tpot_ms))
    if estimates.output_tokens_per_s.mean:
        found.append(figure("output", estimates.output_tokens_per_s, 1, "tokens/s"))
    return [
        *found,
        figure("requests", estimates.requests_per_s, 1, "a second"),
        figure("saturation", estimates.saturation_requests_per_s, 1, f"a second at {full} in flight"),
    ]


def _digits(mean: float) -> int:
    """Decimals to show a figure around *mean* with: two digits that count for what is below one."""
    if mean >= 100:
        return 0
    return 1 if mean >= 1 or mean <= 0 else 1 - math.floor(math.log10(mean))


def latencies(speed: Latencies) -> str:
    """Mean TTFT, and TPOT where an answer has a second token."""
    tpot = f", TPOT {speed.tpot_s.mean * 1000:,.1f} ms" if speed.tpot_s and speed.tpot_s.mean else ""
    return f"TTFT {speed.ttft_s.mean * 1000:,.0f} ms{tpot}"


def provenance(plan: Plan) -> list[tuple[str, str, str]]:
    """(basis, source, what rests on it) for every figure of the plan, each source once."""
    found: dict[tuple[str, str], list[str]] = {}
    for name, basis, source in (
        *((line.name, line.basis, line.source) for line in plan.memory.ledger),
        *((figure.name, figure.basis, figure.source) for figure in figures(plan.estimates, plan.request.targets)),
    ):
        found.setdefault((basis, source), []).append(name)
    rows = [(basis, source, ", ".join(names)) for (basis, source), names in found.items()]
    if plan.cost.prices_dated:
        rows.append(("documented", f"price tables, the oldest of {plan.cost.prices_dated}", "cost"))
    return rows


def million(output_usd: Decimal | None, every_usd: Decimal | None) -> tuple[Decimal | None, str]:
    """What a million tokens cost and which: the output's, or the prompts' where nothing is generated."""
    return (every_usd, "tokens of prompts") if output_usd is None else (output_usd, "output tokens")


def per_million(cost: Cost) -> str:
    """The price of a million tokens in a sentence."""
    amount, kind = million(cost.usd_per_million_output_tokens, cost.usd_per_million_tokens)
    both = (
        "" if amount == cost.usd_per_million_tokens else f", {usd(cost.usd_per_million_tokens)} with the input counted"
    )
    return f"{usd(amount)} per million {kind}{both}"


def usd(amount: Decimal | None) -> str:
    """Dollars and cents, small amounts to two digits; nothing for no price."""
    if amount is None:
        return ""
    return f"${amount:.2g}" if 0 < amount < Decimal("0.1") else f"${amount:,.2f}"
