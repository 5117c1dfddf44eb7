"""What the targets of a request ask of latencies: the limit, what is expected, and the slow end of its band."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from sizing.plan.plan import Estimate
from sizing.request.request import Targets


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
            reached_s, slow_s = _expected_s(estimate, targets.statistic)
            found.append(Aim(name, targets.statistic, target_ms, reached_s * 1000, slow_s * 1000))
    return tuple(found)


def limits_s(targets: Targets, speed: Latencies) -> tuple[float, float]:
    """
    Seconds of TTFT and TPOT, in the asked statistic, beyond which a deployment is slower than planned: the target, and
    where none was given the slow end of what is expected. 0 for a TPOT that does not exist.
    """

    def limit_s(target_ms: float | None, estimate: Estimate | None) -> float:
        if estimate is None:
            return 0.0
        return _expected_s(estimate, targets.statistic)[1] if target_ms is None else target_ms / 1000

    return limit_s(targets.ttft_ms, speed.ttft_s), limit_s(targets.tpot_ms, speed.tpot_s)


def _expected_s(estimate: Estimate, statistic: str) -> tuple[float, float]:
    """What *statistic* is expected to be, and the slow end of its band; the mean's band is the one that is known."""
    asked_s = getattr(estimate, statistic)
    reached_s = estimate.mean if asked_s is None else asked_s
    return reached_s, reached_s * (estimate.high / estimate.mean if estimate.mean else 1.0)
