"""Tables for a terminal: rows of anything, the comparison, and the terminal itself."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from sizing.plan import words
from sizing.plan.plan import Estimate

WIDEST = 100_000  # columns
WIDE_CELL = 24  # a longer text is folded in a terminal
BESIDE_CELL = 3  # its frame and the room around it

if TYPE_CHECKING:
    from sizing.whatif.compare import Row


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
