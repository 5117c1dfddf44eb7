"""Tables for a terminal: what ``compare``, ``models``, ``gpus`` and ``hosts`` print, and the terminal itself."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from sizing import words
from sizing.facts import Facts
from sizing.home_hosts import every_home_host
from sizing.plan import Estimate

WIDEST = 100_000  # columns
WIDE_CELL = 24  # a longer text is folded in a terminal
BESIDE_CELL = 3  # its frame and the room around it

if TYPE_CHECKING:
    from sizing.compare import Row


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
            "commercial": facts.licence(model).commercial,
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
    """Every AWS instance type, home host, rented card and CPU machine as a row; AWS prices are us-east-1's newest."""
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
    for host in every_home_host(facts):
        rows.append(
            {
                "host": host.id,
                "place": "home",
                "gpus": f"{host.gpu_count} x {host.gpu}",
                "vcpu": host.vcpu,
                "memory_gib": host.memory_gib,
                "usd_per_hour": None,
                "price_dated": host.hardware_usd_dated.isoformat(),
                "note": f"{host.cpu}, {host.nvme_gb} GB NVMe, PSU {host.psu_w} W, about {words.usd(host.hardware_usd)}",
            }
        )
    for rental in facts.rentals:
        rows.append(
            {
                "host": rental.id,
                "place": "rented",
                "gpus": f"1 x {rental.gpu}",
                "vcpu": None,
                "memory_gib": None,
                "usd_per_hour": str(rental.usd_per_hour),
                "price_dated": rental.dated.isoformat(),
                "note": rental.source,
            }
        )
    for machine in facts.cpu_hosts.values():
        listed = facts.price(machine.id, "us-east-1")
        bought = machine.hardware_usd_dated
        dated = listed.dated if listed else bought
        rows.append(
            {
                "host": machine.id,
                "place": machine.place,
                "gpus": "none",
                "vcpu": machine.vcpu,
                "memory_gib": machine.memory_gib,
                "usd_per_hour": str(listed.usd_per_hour) if listed else None,
                "price_dated": dated.isoformat() if dated else None,
                "note": f"{machine.cpu}, memory {machine.memory_gb_per_s.value:g} GB/s",
            }
        )
    return rows


def table_of(rows: Sequence[dict[str, object]]) -> Table:
    """Rows of equal keys as a table that cuts no text."""
    table = Table()
    for position, name in enumerate(rows[0] if rows else ()):
        table.add_column(name.replace("_", " "), no_wrap=position == 0, overflow="fold")
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    return table


def print_rows(terminal: Console, rows: Sequence[dict[str, object]]) -> None:
    """*rows* as wide as they are where there is no terminal; in one, the columns that it has room for."""
    table = table_of(rows)
    needed = Measurement.get(terminal, terminal.options.update(max_width=WIDEST), table).maximum
    if not terminal.is_terminal:
        terminal.width = needed
    if needed <= terminal.width:
        terminal.print(table)
        return
    room, widths = terminal.width - 1, dict[str, int]()
    for name in rows[0]:
        width = max(len(word) for word in (*name.split("_"), *_cells(rows, name)))
        width = min(width, WIDE_CELL) if widths else width
        room -= BESIDE_CELL + width
        if room < 0 and widths:
            break
        widths[name] = width
    table = table_of([{name: row[name] for name in widths} for row in rows])
    for column, width in zip(table.columns[:-1], widths.values(), strict=False):  # the last takes what is left
        column.width = width
    terminal.print(table)
    if left_out := [name for name in rows[0] if name not in widths]:
        terminal.print(f"not shown for want of width: {', '.join(left_out)}; a wider terminal or --json has them")


def _cells(rows: Sequence[dict[str, object]], name: str) -> list[str]:
    return [str(row[name] or "") for row in rows]


def comparison(rows: Sequence[Row], by: str) -> Table:
    """Rows of ``compare``: the way and its settings, then mean, band and percentiles of what it does, and money."""
    table = Table(show_lines=True, expand=True)
    table.add_column(f"{by} and the cheapest way on it", ratio=1)
    for heading in ("TTFT ms", "TPOT ms", "tokens/s", "cost"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(_way(row), *_speed(row), _money(row))
    table.caption = (
        "mean, the band in which 9 of 10 measurements are expected, percentiles; tokens/s and cost of all replicas"
    )
    return table


def _way(row: Row) -> Text:
    text = Text.assemble((row.subject, "bold"))
    if row.estimates is not None and row.max_num_batched_tokens is not None:
        where = f"{row.hosts} x {row.host} ({row.place})" if row.host else "what-if: no host with a price carries it"
        cards = f"{row.gpus} x {row.gpu}" if row.gpu else "no GPU"
        kv = "" if row.kv_cache_dtype == "auto" else f" and {row.kv_cache_dtype} KV"
        stages = "" if row.pp == 1 else f", PP {row.pp}"
        text.append(f"  {where}\n")
        text.append(
            f"{cards}, {row.precision}{kv}, TP {row.tp}{stages}, "
            f"{row.replicas} replica{'' if row.replicas == 1 else 's'}; {row.engine} {row.engine_version}, "
            f"max_num_seqs {row.max_num_seqs}, max_num_batched_tokens {row.max_num_batched_tokens:,}, "
            f"{row.kv_cache_tokens:,} KV tokens a replica"
        )
    if row.outside:
        text.append(f"\noutside the request: {row.outside}", style="yellow")
    if row.reason:
        text.append(f"\n{row.verdict}: {row.reason}", style="red")
    return text


def _speed(row: Row) -> tuple[str, ...]:
    if row.estimates is None:
        return ("", "", "")
    figures = row.estimates
    return (
        _figure(figures.ttft_s, 1000, 0),
        _figure(figures.tpot_s, 1000, 1) if figures.tpot_s else "",
        _figure(figures.output_tokens_per_s, 1, 0) if figures.output_tokens_per_s.mean else "",
    )


def _figure(estimate: Estimate, scale: float, digits: int) -> str:
    mean, low, high = (f"{value * scale:,.{digits}f}" for value in (estimate.mean, estimate.low, estimate.high))
    percentiles = "".join(
        f"\n{name} {value * scale:,.{digits}f}"
        for name in ("p50", "p95", "p99")
        if (value := getattr(estimate, name)) is not None
    )
    return f"[bold]{mean}[/]\n{low}..{high}{percentiles}"


def _money(row: Row) -> str:
    if row.usd_per_hour is None:
        return ""
    per_million, _ = words.million(row.usd_per_million_output_tokens, row.usd_per_million_tokens)
    return f"[bold]{words.usd(row.usd_per_hour)}/h[/]\n{words.usd(per_million)}/Mtok\n{row.prices_dated}"


def console() -> Console:
    """The terminal; where there is none, plain text as wide as COLUMNS says, else 140."""
    probe = Console()
    return probe if probe.is_terminal or "COLUMNS" in os.environ else Console(width=140)
