"""What sets two cards apart besides memory and speed: error correction, 24 x 7, driver licence, warranty, power."""

from __future__ import annotations

from collections.abc import Iterable

from sizing.facts.catalogue import Facts
from sizing.facts.gpu import Gpu

_ECC = {
    "on": "corrects memory errors (ECC on)",
    "off": "corrects memory errors only when ECC is switched on",
    "none": "has no ECC: a flipped bit stays unnoticed",
}


def ecc(gpu: Gpu) -> str:
    """Half a sentence about the card's error correction."""
    return f"{gpu.id} {_ECC[gpu.ecc.state]}"


def differences(one: Gpu, other: Gpu, facts: Facts) -> tuple[str, ...]:
    """Sentences in which *one* and *other* differ; none for two cards of one kind and one power."""
    first, second = facts.segments[one.segment], facts.segments[other.segment]
    found = []
    if one.ecc.state != other.ecc.state:
        found.append(f"ECC: {ecc(one)}; {ecc(other)}.")
    if one.segment != other.segment:
        for name, mine, theirs in (
            ("24 x 7", first.continuous_use, second.continuous_use),
            ("Driver licence", first.driver_licence, second.driver_licence),
            ("Warranty", first.warranty, second.warranty),
        ):
            found.append(f"{name}: {one.id} ({first.name}): {mine}; {other.id} ({second.name}): {theirs}.")
    if one.tdp_w != other.tdp_w:
        found.append(f"Power: {one.id} draws up to {one.tdp_w} W, {other.id} up to {other.tdp_w} W.")
    return tuple(found)


def home_against_cloud(ways: Iterable[tuple[str | None, str | None]], facts: Facts) -> tuple[str, ...]:
    """``differences`` of the first card at home and the first in the cloud among *ways* (place, GPU id), best first."""
    first: dict[bool, Gpu] = {}
    for place, gpu in ways:
        if place is not None and gpu is not None:
            first.setdefault(place == "home", facts.gpus[gpu])
    return differences(first[True], first[False], facts) if len(first) == 2 else ()
