"""A bill of materials for a terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from sizing.hosts.bill import Bill
from sizing.views.tables import table_of


def bill_view(bill: Bill) -> RenderableType:
    """The parts as a table, their sum, and what the host draws, heats and sounds like."""
    return Group(
        table_of(bill.rows()),
        Text(
            f"{bill.host}: {bill.total_usd} $ together: {_sums(bill)}; the parts without a price are in the last sum."
        ),
        *map(Text, bill.sentences),
    )


def _sums(bill: Bill) -> str:
    return " and ".join(f"{part.usd} $ for {part.part} ({part.dated})" for part in bill.parts if part.usd is not None)
