"""How the weights of each precision lie in memory: ``data/memory/precisions.toml``."""

from __future__ import annotations

import tomllib
from functools import lru_cache

from sizing.facts.fact import DATA, Fact


class LoadedZeros(Fact):
    """Width of an unpacked zero point from some compute capability on."""

    from_compute_capability: float
    bits: int


class WeightFormat(Fact):
    """One table of data/memory/precisions.toml."""

    bits: int
    block: tuple[int, int] | None = None
    group: int | None = None
    scale_bits: int = 0
    zero_bits: int = 0
    recipes_differ: bool = False
    loaded_zero_bits: tuple[LoadedZeros, ...] = ()


@lru_cache(maxsize=1)
def weight_formats() -> dict[str, WeightFormat]:
    """Every known weight format by precision."""
    tables = tomllib.loads((DATA / "memory" / "precisions.toml").read_text())
    return {name: WeightFormat.model_validate(table) for name, table in tables.items()}
