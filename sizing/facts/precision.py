"""
A precision of weights: ``data/precisions``, one file each. Which GPUs run it and what it gives up, how it lies in
memory, and which arithmetic multiplies it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Literal

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from sizing.facts.data import records
from sizing.facts.fact import Fact

Arithmetic = Literal["bf16", "fp8", "int8", "fp4", "weight_only"]


class LoadedZeros(Fact):
    """Width of an unpacked zero point from some compute capability on."""

    from_compute_capability: float
    bits: int


class WeightFormat(Fact):
    """
    ``bits`` per weight; scales one per ``block`` (rows x columns), per ``group`` input columns of one row, or per row.

    ``loaded_zero_bits``: the width to which the GPU's kernel repacks zero points on loading. ``recipes_differ``: makers
    of such checkpoints leave different layers in 16 bits; what single repositories leave so stands with the model.

    Source, unless a file says otherwise: parameters as vLLM 0.32.0 creates them (data/measurements/oracle.jsonl).
    """

    bits: int
    block: tuple[int, int] | None = None
    group: int | None = None
    scale_bits: int = 0
    zero_bits: int = 0
    recipes_differ: bool = False
    loaded_zero_bits: tuple[LoadedZeros, ...] = ()


class Kernel(Fact):
    """What a step reads for a weight, and which arithmetic multiplies it where the GPU has it."""

    bits_per_weight: float
    arithmetic: Arithmetic
    source: str


class PrecisionFacts(Fact):
    """
    ``rank``: the smaller, the better answers are. ``tier`` 0 is taken freely, 2 only when asked for or when nothing
    else meets. ``min_compute_capability``: of the oldest GPU that vLLM has a kernel for.
    """

    id: str
    rank: int
    min_compute_capability: float
    tier: int
    source: str
    weights: WeightFormat
    kernel: Kernel


@lru_cache(maxsize=1)
def precisions() -> dict[str, PrecisionFacts]:
    """Every known precision, best answers first."""
    return {one.id: one for one in sorted(records(PrecisionFacts, "precisions").values(), key=lambda one: one.rank)}


def _one_of(name: str, *names: str) -> str:
    if name not in names:
        *first, last = map(repr, names)
        raise PydanticCustomError("literal_error", f"Input should be {', '.join(first)} or {last}")
    return name


Precision = Annotated[str, AfterValidator(lambda name: _one_of(name, *precisions()))]
Repository = Annotated[str, AfterValidator(lambda name: _one_of(name, *precisions(), "gguf"))]  # a quantised one
