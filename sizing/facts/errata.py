"""What the notes this kit started from got wrong: claim, correction, source, and the advice it changes."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from sizing.facts.data import record
from sizing.facts.fact import Fact


class Erratum(Fact):
    """*touches*: the needs, model keys and GPU ids whose advice the correction changes."""

    claim: str
    correction: str
    source: str
    touches: tuple[str, ...]


class _File(Fact):
    errata: tuple[Erratum, ...]


@lru_cache(maxsize=1)
def load_errata() -> tuple[Erratum, ...]:
    """All of data/errata.toml."""
    return record(_File, "errata.toml").errata


def touching(subjects: Iterable[str]) -> tuple[Erratum, ...]:
    """The errata that change the advice about any of *subjects* (model keys, GPU ids, needs)."""
    asked = set(subjects)
    return tuple(erratum for erratum in load_errata() if asked & set(erratum.touches))
