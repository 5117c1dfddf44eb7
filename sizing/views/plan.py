"""
A plan explained in a terminal: what ``plan`` and ``explain`` print.

The plan with its memory as bars, its figures beside their targets, what rests on what, what would make other cards
enough, and every candidate that lost. A loser is one line where there is no terminal, so that it can be searched for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from sizing.facts.catalogue import Facts
from sizing.plan import words
from sizing.plan.plan import Estimates, LedgerLine, Plan, Rejected
from sizing.request.request import Targets
from sizing.search.question import question
from sizing.units import gib
from sizing.whatif.compare import Row
from sizing.whatif.remedies import CardVerdict, card_verdict, card_verdicts

BAR_CELLS = 48
BESIDE_BARS = 54  # columns that the panel, a ledger line's name, its size and its basis take


def verdicts(plan: Plan, facts: Facts, gpu: str | None = None) -> list[CardVerdict]:
    """What one card of *gpu*, or of each GPU that the place has, falls short of; nothing for a CPU plan."""
    if plan.placement.gpu is None:
        return []
    asked = question(plan.request, facts)
    return [card_verdict(asked, facts.gpu(gpu))] if gpu else card_verdicts(asked)


def show_plan(console: Console, plan: Plan) -> None:
    """The plan and its runners-up."""
    console.print(_plan(plan, console.width))
    _print_losers(console, "Runners-up", plan.runners_up)
    if plan.rejected:
        console.print(f"{len(plan.rejected)} more candidates were rejected; `qwenkit explain {plan.name}` lists them.")


def show_explanation(console: Console, plan: Plan, verdicts: Sequence[CardVerdict]) -> None:
    """The plan, what rests on what, what would make the cards of *verdicts* enough, and every loser with its reason."""
    console.print(_plan(plan, console.width))
    console.print(_provenance(plan))
    _print_remedies(console, verdicts)
    _print_losers(console, "Runners-up", plan.runners_up)
    _print_losers(console, f"Why not the other {len(plan.rejected)}", plan.rejected)


def show_card(console: Console, plan: Plan, row: Row, verdicts: Sequence[CardVerdict]) -> None:
    """Why the plan is not on the card of *row*: what it does there, what would make one card enough, who lost on it."""
    console.print(_card(plan, row, console.width))
    _print_remedies(console, verdicts)
    here = [loser for loser in (*plan.runners_up, *plan.rejected) if f" x {row.subject})" in loser.candidate]
    _print_losers(console, f"Candidates with {row.subject}", here)


def _plan(plan: Plan, width: int) -> RenderableType:
    memory = plan.memory
    title = f"Memory of one {plan.placement.gpu or 'pod'}: {gib(memory.device_bytes):.2f} GiB"
    body = Group(
        _grid([("asked", words.asked_for(plan)), *words.chosen(plan)]),
        Text(),
        _ledger(title, memory.ledger, width),
        Text(),
        _figures(plan.estimates, plan.request.targets),
        Text(),
        _cost(plan),
        *(Text(f"! {warning}", style="yellow") for warning in plan.warnings),
    )
    return Panel(body, title=Text(f"{plan.name}: {plan.model.repository} on {words.hardware(plan)}"))


def _grid(rows: Iterable[tuple[str, str]]) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column()
    for term, text in rows:
        grid.add_row(term, Text(text))
    return grid


def _ledger(title: str, ledger: Sequence[LedgerLine], width: int) -> Table:
    """The memory of one GPU (or of the pod) line by line, with bars; the lines sum to the device."""
    whole = sum(line.bytes for line in ledger)
    cells = min(BAR_CELLS, max(8, width - BESIDE_BARS))
    table = Table(title=title, title_justify="left", box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, justify="right")
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    for line in ledger:
        style = "dim" if line is ledger[-1] else "cyan"
        eighths = round(8 * cells * max(0, line.bytes) / whole)
        bar = "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()
        table.add_row(line.name, f"{gib(line.bytes):.2f} GiB", Text(bar, style), line.basis)
    return table


def _figures(estimates: Estimates, targets: Targets) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("expected", "mean", "9 in 10", words.percentiles(targets), "target"):
        table.add_column(column, justify="left")
    for figure in words.figures(estimates, targets):
        sign, style = {None: ("", ""), True: ("✓ ", "green"), False: ("✗ ", "red")}[figure.met]
        target = Text.assemble((sign, style), figure.target)
        table.add_row(Text(figure.name, style="bold"), figure.mean, figure.band, figure.percentiles, target)
    return table


def _cost(plan: Plan) -> Table:
    cost = plan.cost
    standing = words.usd(cost.standing_usd_per_hour)
    dated = f"; prices of {cost.prices_dated}" if cost.prices_dated else ""
    return _grid(
        [
            (
                "cost",
                f"{words.usd(cost.usd_per_hour)} an hour, {words.usd(cost.usd_per_day)} a day, "
                f"{words.usd(cost.usd_per_month)} a month",
            ),
            (
                "",
                f"{words.per_million(cost)}{dated}",
            ),
            ("idle", f"{words.usd(cost.idle_usd_per_hour)} an hour, {standing} with no GPU host"),
            *(
                ("", f"${line.usd_per_hour:.4f} an hour: {line.name}{f' ({line.dated})' if line.dated else ''}")
                for line in cost.lines
            ),
        ]
    )


def _provenance(plan: Plan) -> Table:
    table = Table(title="Where the numbers come from", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for column in ("basis", "figures", "source"):
        table.add_column(column)
    for basis, source, names in words.provenance(plan):
        table.add_row(basis, Text(names), Text(source))
    return table


def _print_remedies(console: Console, verdicts: Sequence[CardVerdict]) -> None:
    """What one card of each verdict falls short of, and below it what would make it enough."""
    short = [verdict for verdict in verdicts if verdict.shortfall]
    if short:
        console.print(Text("\nWhat would make one card enough", style="bold"))
    for verdict in short:
        console.print(Text.assemble((verdict.gpu, "bold"), f" alone: {verdict.shortfall}"))
        for remedy in verdict.remedies:
            console.print(Text(f"  - {remedy.change}: {remedy.outcome}", style="green"))
        if not verdict.remedies:
            console.print(Text("  no one or two changes of it are enough", style="red"))


def _card(plan: Plan, row: Row, width: int) -> RenderableType:
    if row.estimates is None:
        return Panel(Text(f"It cannot serve the request: {row.reason}", style="red"), title=Text(row.subject))
    if row.verdict != "meets":
        why = f"{row.verdict}: {row.reason}"
    elif row.usd_per_hour is None:
        why = "meets the request, but no host with a price has it, so it cannot be weighed against the plan"
    elif (row.host, row.usd_per_hour) == (plan.placement.host_type, plan.cost.usd_per_hour):
        why = "this is what the plan chose"
    else:
        why = f"meets the request for {words.usd(row.usd_per_hour)} an hour; the plan costs "
        why += f"{words.usd(plan.cost.usd_per_hour)}, where it was asked to be ({plan.placement.kind})"
    where = f"{row.hosts} x {row.host} ({row.place})" if row.host else "a host of one's own"
    replicas = f", {row.replicas} replicas" if row.replicas != 1 else ""
    grid = _grid(
        [
            ("verdict", why),
            ("way", f"{where}: {row.gpus} x {row.gpu}, {row.precision}, TP {row.tp}{replicas}"),
            ("KV cache", f"{row.kv_cache_tokens:,} tokens a replica"),
            ("basis", f"{row.estimates.ttft_s.basis}: {row.estimates.ttft_s.source}"),
        ]
    )
    figures = _figures(row.estimates, plan.request.targets)
    title = f"Memory of one {row.gpu}: {gib(row.device_bytes or 0):.2f} GiB"
    return Panel(Group(grid, Text(), _ledger(title, row.ledger, width), Text(), figures), title=Text(row.subject))


def _print_losers(console: Console, title: str, losers: Sequence[Rejected]) -> None:
    if not losers:
        return
    console.print(Text(f"\n{title}", style="bold"))
    if not console.is_terminal:
        for loser in losers:
            console.print(Text(f"{_price(loser):>8}  {loser.candidate}: {loser.reason}"), soft_wrap=True)
        return
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column(ratio=2)
    grid.add_column(ratio=3)
    for loser in losers:
        grid.add_row(_price(loser), Text(loser.candidate), Text(loser.reason))
    console.print(grid)


def _price(loser: Rejected) -> str:
    return words.usd(loser.usd_per_hour)
