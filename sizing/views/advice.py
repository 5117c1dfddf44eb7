"""A recommendation for a terminal, and as plain data."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from sizing.advice.recommend import Advice, Recommendation
from sizing.plan.plan import Plan
from sizing.plan.words import besides


def advice_view(advice: Advice, explain: bool) -> RenderableType:
    """The answers, best first, each with its plan; with *explain* also what was passed over, and the notes' errors."""
    parts: list[RenderableType] = [_panel(rank, one) for rank, one in enumerate(advice.recommendations, start=1)]
    parts += [Text(f"! {note}", style="yellow") for note in advice.notes]
    if explain:
        parts += _passed_over(advice)
        parts += _errata(advice)
    elif advice.passed_over:
        parts.append(
            Text(
                f"{len(advice.passed_over)} other models were passed over; --explain says why, and what the notes this "
                f"kit started from got wrong about it."
            )
        )
    return Group(*parts)


def _panel(rank: int, one: Recommendation) -> Panel:
    made, estimates = one.plan, one.plan.estimates
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold")
    grid.add_column()
    engine = made.engine
    grid.add_row("hardware", _hardware(made))
    grid.add_row(
        "settings",
        f"{engine.name} {engine.version}, TP {engine.tp}, max_model_len {engine.max_model_len}, max_num_seqs "
        f"{engine.max_num_seqs}, KV {engine.kv_cache_dtype}",
    )
    load, token = made.request.load, estimates.tpot_s
    tpot = ""
    if token:
        tpot = f", TPOT {token.mean * 1000:.1f} ms ({token.low * 1000:.1f} to {token.high * 1000:.1f})"
    grid.add_row(
        "speed",
        f"{load.concurrency} at once of {load.input_tokens:,} + {load.output_tokens:,} tokens"
        f"{''.join(besides(load))}: TTFT "
        f"{estimates.ttft_s.mean * 1000:,.0f} ms ({estimates.ttft_s.low * 1000:,.0f} to "
        f"{estimates.ttft_s.high * 1000:,.0f}){tpot}",
    )
    bought = (
        f"; {one.hardware_usd:,.0f} $ of hardware, in it over the years, is bought first" if one.hardware_usd else ""
    )
    grid.add_row("cost", f"{_cost(made)}{bought}")
    for other in one.alternatives:
        grid.add_row("or", f"{_hardware(other)}: {_cost(other)}")
    grid.add_row("licence", one.verdict)
    grid.add_row("", f"source: {one.licence.source} ({one.licence.dated})")
    for position, loss in enumerate(one.gives_up):
        grid.add_row("gives up" if position == 0 else "", loss)
    scores = f", {one.published}" if one.published else ""
    return Panel(
        grid, title=Text(f"{rank}. {one.model.name} ({made.model.repository}, {made.model.precision}{scores})")
    )


def _hardware(made: Plan) -> str:
    placement = made.placement
    cards = f" ({placement.gpus_per_host} x {placement.gpu})" if placement.gpu else " (CPU only)"
    where = f" in {placement.region}" if placement.region else ""
    count = f"{placement.hosts} x " if placement.hosts > 1 else ""
    return f"{count}{placement.host_type}{cards}{where}"


def _cost(made: Plan) -> str:
    price = made.cost
    dated = f", prices of {price.prices_dated}" if price.prices_dated else ""
    return f"${price.usd_per_hour:.2f} an hour, ${price.usd_per_month:.2f} a month{dated}"


def _passed_over(advice: Advice) -> list[RenderableType]:
    if not advice.passed_over:
        return []
    table = Table(title="Passed over, best first", expand=True)
    table.add_column("model", no_wrap=True)
    table.add_column("reason", ratio=1)
    for one in advice.passed_over:
        table.add_row(one.model.name, one.reason)
    return [table]


def _errata(advice: Advice) -> list[RenderableType]:
    if not advice.errata:
        return []
    table = Table(title="What the notes this kit started from got wrong about it", expand=True)
    for column in ("they say", "so it is", "source"):
        table.add_column(column, ratio=1)
    for erratum in advice.errata:
        table.add_row(erratum.claim, erratum.correction, erratum.source)
    return [table]


def advice_data(advice: Advice) -> dict[str, object]:
    """The same as plain data for JSON; a plan comes without the candidates it rejected."""
    return {
        "recommendations": [
            {
                "rank": rank,
                "model": one.model.key,
                "name": one.model.name,
                "published": one.published,
                "licence": {**one.licence.model_dump(mode="json"), "verdict": one.verdict},
                "gives_up": list(one.gives_up),
                "hardware_usd": str(one.hardware_usd),
                "plan": _plan_data(one.plan),
                "alternatives": [_plan_data(other) for other in one.alternatives],
            }
            for rank, one in enumerate(advice.recommendations, start=1)
        ],
        "passed_over": [{"model": one.model.key, "reason": one.reason} for one in advice.passed_over],
        "notes": list(advice.notes),
        "errata": [erratum.model_dump() for erratum in advice.errata],
    }


def _plan_data(made: Plan) -> dict[str, object]:
    return made.model_dump(mode="json", exclude={"rejected", "runners_up"})
