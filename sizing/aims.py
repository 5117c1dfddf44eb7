"""What the targets of a request ask of latencies: the limit, what is expected, and the slow end of its band."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from sizing.plan import Estimate
from sizing.request import Targets


class Latencies(Protocol):
    """Whatever has both: one replica's ``Performance``, a plan's ``Estimates``."""

    @property
    def ttft_s(self) -> Estimate: ...
    @property
    def tpot_s(self) -> Estimate | None: ...


@dataclass(frozen=True, slots=True)
class Aim:
    """One target and the figure it is held against, in ms of the asked statistic; ``slow_ms``: the band's end."""

    name: Literal["TTFT", "TPOT"]
    statistic: str
    target_ms: float
    reached_ms: float
    slow_ms: float

    @property
    def met(self) -> bool:
        return self.reached_ms <= self.target_ms


def aims(targets: Targets, speed: Latencies) -> tuple[Aim, ...]:
    """An ``Aim`` for each target that was given; the mean stands for a percentile that is not known (CPU plans)."""
    latencies: tuple[tuple[Literal["TTFT", "TPOT"], float | None, Estimate | None], ...] = (
        ("TTFT", targets.ttft_ms, speed.ttft_s),
        ("TPOT", targets.tpot_ms, speed.tpot_s),
    )
    found = []
    for name, target_ms, estimate in latencies:
        if target_ms is not None and estimate is not None:
            asked_s = getattr(estimate, targets.statistic)
            reached_ms = (estimate.mean if asked_s is None else asked_s) * 1000
            slower = estimate.high / estimate.mean if estimate.mean else 1.0
            found.append(Aim(name, targets.statistic, target_ms, reached_ms, reached_ms * slower))
    return tuple(found)
