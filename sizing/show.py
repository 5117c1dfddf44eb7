"""Plans and tables for a terminal: what ``plan``, ``explain``, ``models``, ``gpus`` and ``hosts`` print."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from sizing.facts import Facts
from sizing.plan import Estimate, Plan
from sizing.units import gib

if TYPE_CHECKING:
    from sizing.compare import Row

BAR_CELLS = 40


def plan_view(plan: Plan) -> RenderableType:
    """Hardware, settings, memory ledger, speed, cost and warnings of *plan*."""
    title = Text(f"{plan.name}: {plan.model.repository} ({plan.model.precision})")
    return Panel(Group(_facts(plan), Text(), ledger(plan), Text(), _figures(plan), *_warnings(plan)), title=title)


def explanation(plan: Plan, every: bool) -> RenderableType:
    """The plan, its runners-up and the rejected candidates (with *every*)."""
    lost = Table(title="Why not the others", expand=True)
    lost.add_column("candidate", ratio=2)
    lost.add_column("$/h", justify="right")
    lost.add_column("reason", ratio=3)
    rejected = plan.rejected if every else plan.rejected[:0]
    for loser in (*plan.runners_up, *rejected):
        lost.add_row(loser.candidate, f"{loser.usd_per_hour:.2f}" if loser.usd_per_hour else "", loser.reason)
    more = len(plan.rejected) - len(rejected)
    tail = [Text(f"{more} more candidates were rejected; `qwenkit explain {plan.name}` lists them.")] if more else []
    return Group(plan_view(plan), *([lost] if lost.row_count else []), *tail)


def _facts(plan: Plan) -> Table:
    placement, engine = plan.placement, plan.engine
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold")
    grid.add_column()
    cards = f"{placement.gpus_per_host} x {placement.gpu}" if placement.gpu else "CPU only"
    where = f" in {placement.region}" if placement.region else ""
    grid.add_row(
        "hardware", f"{placement.hosts} x {placement.host_type} ({cards}){where}, {placement.disk_gib} GiB of disk"
    )
    grid.add_row(
        "replicas", f"{placement.replicas}, {placement.gpus_per_replica} GPU each (TP {engine.tp}, PP {engine.pp})"
    )
    grid.add_row("engine", f"{engine.name} {engine.version}, {engine.image}")
    utilization = (
        "" if engine.gpu_memory_utilization is None else f", gpu_memory_utilization {engine.gpu_memory_utilization:g}"
    )
    grid.add_row(
        "settings",
        f"max_model_len {engine.max_model_len}, max_num_seqs {engine.max_num_seqs}, "
        f"max_num_batched_tokens {engine.max_num_batched_tokens}, KV {engine.kv_cache_dtype}{utilization}",
    )
    grid.add_row(
        "KV cache",
        f"{plan.memory.kv_cache_tokens:,} tokens ({plan.memory.kv_cache_tokens_low:,} to "
        f"{plan.memory.kv_cache_tokens_high:,}) a replica: {plan.memory.max_concurrency:g} requests of max_model_len",
    )
    return grid


def ledger(plan: Plan) -> Table:
    """The memory of one GPU (or of the pod) line by line, with bars; the lines sum to the device."""
    table = Table(
        title=f"Memory of one {plan.placement.gpu or 'pod'}: {gib(plan.memory.device_bytes):.2f} GiB", box=None
    )
    for column, justify in (("", "left"), ("GiB", "right"), ("", "left"), ("basis", "left")):
        table.add_column(column, justify="right" if justify == "right" else "left")
    for line in plan.memory.ledger:
        bar = "█" * round(BAR_CELLS * max(0, line.bytes) / plan.memory.device_bytes)
        table.add_row(line.name, f"{gib(line.bytes):.2f}", bar, line.basis)
    return table


def _figures(plan: Plan) -> Table:
    estimates, price = plan.estimates, plan.cost
    table = Table(box=None)
    for column in ("expected", "mean", "band (9 of 10)", "p95", "basis"):
        table.add_column(column)

    def row(name: str, estimate: Estimate, scale: float, unit: str) -> None:
        p95 = "" if estimate.p95 is None else f"{estimate.p95 * scale:,.1f} {unit}"
        band = f"{estimate.low * scale:,.1f} to {estimate.high * scale:,.1f} {unit}"
        table.add_row(name, f"{estimate.mean * scale:,.1f} {unit}", band, p95, estimate.basis)

    row("TTFT", estimates.ttft_s, 1000, "ms")
    row("TPOT", estimates.tpot_s, 1000, "ms")
    row("output", estimates.output_tokens_per_s, 1, "tokens/s")
    money = f"${price.usd_per_hour:.2f} an hour, ${price.usd_per_day:.2f} a day, ${price.usd_per_month:.2f} a month"
    table.add_row(
        "cost", money, f"${price.usd_per_million_output_tokens:.2f} per million output tokens", "", price.prices_dated
    )
    for name, usd in price.lines.items():
        table.add_row("", f"${usd:.4f} an hour: {name}")
    return table


def _warnings(plan: Plan) -> list[Text]:
    return [Text(f"! {warning}", style="yellow") for warning in plan.warnings]


def model_rows(facts: Facts) -> list[dict[str, object]]:
    """Every model as a row: architecture, size, KV bytes per token, licence, engines."""
    return [
        {
            "model": model.key,
            "modality": model.modality,
            "params_b": round(model.params.total / 1e9, 2),
            "active_b": round(model.params.active_text / 1e9, 2),
            "native_context_tokens": model.context.native_tokens,
            "thinking": model.thinking,
            "licence": model.licence,
            "vllm": _support(model.vllm.supported, model.vllm.first, model.vllm.last),
            "sglang": _support(model.sglang.supported, model.sglang.first, model.sglang.last),
            "quantised": " ".join(sorted(set(model.quantised.values()))),
            "hub_ids": " ".join(model.hub_ids),
        }
        for model in facts.models.values()
    ]


def _support(supported: bool, first: str | None, last: str | None) -> str:
    if not supported:
        return "never"
    return f"{first or ''}..{last or ''}"


def gpu_rows(facts: Facts) -> list[dict[str, object]]:
    """Every GPU as a row."""
    return [
        {
            "gpu": gpu.id,
            "memory_gib": gpu.cuda_total_gib.value,
            "memory_basis": gpu.cuda_total_gib.basis,
            "bandwidth_gb_s": gpu.mem_bandwidth_gb_s,
            "bf16_tflops": gpu.bf16_dense_tflops,
            "fp8": "yes" if gpu.fp8_hardware else "weights only",
            "tdp_w": gpu.tdp_w,
            "interconnect": gpu.interconnect,
            "driver": f"R{gpu.min_driver_branch}",
            "aws": " ".join(i.id for i in facts.instances.values() if i.gpu == gpu.id and i.gpu_partition == 1),
        }
        for gpu in facts.gpus.values()
    ]


def host_rows(facts: Facts) -> list[dict[str, object]]:
    """Every AWS instance type and home host as a row, with its newest price in us-east-1."""
    rows: list[dict[str, object]] = []
    for instance in facts.instances.values():
        price = facts.price(instance.id, "us-east-1")
        rows.append(
            {
                "host": instance.id,
                "place": "aws",
                "gpus": f"{instance.gpu_count} x {instance.gpu}",
                "vcpu": instance.vcpu,
                "memory_gib": round(instance.memory_mib / 1024),
                "usd_per_hour": str(price.usd_per_hour) if price else None,
                "price_dated": price.dated.isoformat() if price else None,
                "note": instance.note,
            }
        )
    for host in facts.hosts.values():
        rows.append(
            {
                "host": host.id,
                "place": "home",
                "gpus": f"{host.gpu_count} x {host.gpu}",
                "vcpu": host.vcpu,
                "memory_gib": host.memory_gib,
                "usd_per_hour": None,
                "price_dated": host.hardware_usd_dated.isoformat(),
                "note": f"{host.cpu}, {host.nvme_gb} GB NVMe, PSU {host.psu_w} W, about ${host.hardware_usd}",
            }
        )
    return rows


def table_of(rows: Sequence[dict[str, object]]) -> Table:
    """Rows of equal keys as a table."""
    table = Table()
    for position, name in enumerate(rows[0] if rows else ()):
        table.add_column(name, no_wrap=position == 0)
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    return table


def comparison(rows: Sequence[Row], by: str) -> Table:
    """Rows of ``compare``: the way and its settings, then mean, band and p95 of what it does, and money."""
    table = Table(show_lines=True, expand=True)
    table.add_column(f"{by} and the cheapest way on it", ratio=1)
    for heading in ("TTFT ms", "TPOT ms", "tokens/s", "cost"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(_way(row), *_speed(row), _money(row))
    table.caption = "mean, the band in which 9 of 10 measurements are expected, p95; tokens/s and cost of all replicas"
    return table


def _way(row: Row) -> Text:
    text = Text(row.subject, style="bold")
    if row.estimates is not None and row.max_num_batched_tokens is not None:
        where = f"{row.hosts} x {row.host} ({row.place})" if row.host else "what-if: no host with a price carries it"
        kv = "" if row.kv_cache_dtype == "auto" else f" and {row.kv_cache_dtype} KV"
        stages = "" if row.pp == 1 else f", PP {row.pp}"
        text.append(f"  {where}\n", style="none")
        text.append(
            f"{row.gpus} x {row.gpu}, {row.precision}{kv}, TP {row.tp}{stages}, "
            f"{row.replicas} replica{'' if row.replicas == 1 else 's'}; {row.engine} {row.engine_version}, "
            f"max_num_seqs {row.max_num_seqs}, max_num_batched_tokens {row.max_num_batched_tokens:,}, "
            f"{row.kv_cache_tokens:,} KV tokens a replica",
            style="none",
        )
    if row.reason:
        text.append(f"\n{row.verdict}: {row.reason}", style="red")
    return text


def _speed(row: Row) -> tuple[str, ...]:
    if row.estimates is None:
        return ("", "", "")
    figures = row.estimates
    return (
        _figure(figures.ttft_s, 1000, 0),
        _figure(figures.tpot_s, 1000, 1),
        _figure(figures.output_tokens_per_s, 1, 0),
    )


def _figure(estimate: Estimate, scale: float, digits: int) -> str:
    mean, low, high = (f"{value * scale:,.{digits}f}" for value in (estimate.mean, estimate.low, estimate.high))
    p95 = "" if estimate.p95 is None else f"\np95 {estimate.p95 * scale:,.{digits}f}"
    return f"[bold]{mean}[/]\n{low}..{high}{p95}"


def _money(row: Row) -> str:
    if row.usd_per_hour is None:
        return ""
    return f"[bold]${row.usd_per_hour:,.2f}/h[/]\n${row.usd_per_million_output_tokens:,.2f}/Mtok\n{row.prices_dated}"


def console() -> Console:
    """The terminal; where there is none, plain text as wide as COLUMNS says, else 140."""
    probe = Console()
    return probe if probe.is_terminal or "COLUMNS" in os.environ else Console(width=140)
