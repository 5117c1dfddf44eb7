"""One item of a GPU's memory: the line of every ledger, in the memory answer and in the plan alike."""

from __future__ import annotations

from dataclasses import dataclass

from sizing.fact import Basis


@dataclass(frozen=True, slots=True)
class LedgerLine:
    """``bytes`` may be negative in a ledger's last line: what is missing."""

    name: str
    bytes: int
    basis: Basis
    source: str = ""
