"""A bill of materials for a terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from sizing.bill import Bill
from sizing.show import table_of


def bill_view(bill: Bill) -> RenderableType:
    """The parts as a table, their sum, and what the host draws, heats and sounds like."""
    return Group(
        table_of(bill.rows()),
        Text(f"{bill.host}: {bill.total_usd} $ together."),
        *map(Text, bill.sentences),
    )
