"""What the notes this kit started from got wrong: claim, correction, source, and the advice it changes."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from functools import lru_cache

from pydantic import TypeAdapter

from sizing.facts.fact import DATA, Fact


class Erratum(Fact):
    """*touches*: the needs, model keys and GPU ids whose advice the correction changes."""

    claim: str
    correction: str
    source: str
    touches: tuple[str, ...]


@lru_cache(maxsize=1)
def load_errata() -> tuple[Erratum, ...]:
    """All of data/errata.toml."""
    table = tomllib.loads((DATA / "errata.toml").read_text(encoding="utf-8"))
    return TypeAdapter(tuple[Erratum, ...]).validate_python(table["errata"])


def touching(subjects: Iterable[str]) -> tuple[Erratum, ...]:
    """The errata that change the advice about any of *subjects* (model keys, GPU ids, needs)."""
    asked = set(subjects)
    return tuple(erratum for erratum in load_errata() if asked & set(erratum.touches))
