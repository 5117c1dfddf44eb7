"""Units: bytes and seconds inside, GiB, ms and $ at the edge. GiB is 2^30, GB is 10^9; never mixed."""

from __future__ import annotations

from decimal import Decimal

GIB = 2**30
MIB = 2**20
CENT = Decimal("0.01")
HOURS_PER_DAY = 24
HOURS_PER_MONTH = 730  # the month of cloud price lists: 8760 h / 12


def gib(size_bytes: float) -> float:
    """Bytes as GiB."""
    return size_bytes / GIB


def rate(per_s: float) -> str:
    """A rate with the four digits that a reader can use."""
    return f"{float(f'{per_s:.4g}'):,g}"
