"""
Least squares: the constants of the step model moved until estimates meet measurements.

Residuals are logarithms of estimated / measured TTFT, TPOT and throughput of every case, each in units of what its
kind scatters; constants move in logarithms too, pulled to their guess by a prior, so that a constant of which little
is measured stays where it was. Damped Gauss-Newton with Cauchy weights: one odd benchmark cannot bend the rest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sizing.facts.calibration import Calibration
from sizing.fitting.adjustable import Adjustable, Vector, depends
from sizing.fitting.measurements import Case, Metric
from sizing.speed.performance import performance

SCATTER: dict[str, float] = {"ttft": 0.25, "tpot": 0.08, "throughput": 0.10}


def estimated(case: Case, known: Calibration) -> dict[Metric, float]:
    """What the model says of *case*, by metric."""
    seen = performance(case.setup, case.traffic, case.kv_cache_tokens, 1 << 30, known)
    tpot = seen.tpot_s.p50 if case.median else seen.tpot_s.mean
    return {"ttft": seen.ttft_s.mean, "tpot": tpot or 0.0, "throughput": seen.output_tokens_per_s.mean}


def log_errors(case: Case, known: Calibration) -> list[float]:
    """Log of estimated / measured for each metric that was seen, in the order of ``case.seen``."""
    says = estimated(case, known)
    return [math.log(max(says[metric], 1e-9) / value) for metric, value in case.seen.items()]


@dataclass
class Fit:
    """
    Constants as logs over their guesses, and the problem about them: ``spans`` says which residuals are a case's.

    ``errors`` are relative standard errors; ``rows`` counts the figures that move with a constant.
    """

    logs: Vector
    errors: Vector
    rows: npt.NDArray[np.int64]
    residuals: Vector
    jacobian: Vector
    spans: list[slice]


def _scale(case: Case) -> list[float]:
    return [math.sqrt(case.weight) / SCATTER[metric] for metric in case.seen]


def fit(
    constants: Adjustable,
    base: Calibration,
    training: Sequence[Case],
    start: Vector,
    rounds: int,
    say: Callable[[str], None] = lambda _: None,
) -> Fit:
    """Least squares over *training* from the logs *start*; stops after *rounds* or when nothing improves."""
    firmness = constants.firmness()
    scale = np.array([value for case in training for value in _scale(case)])

    spans, at = [], 0
    for case in training:
        spans.append(slice(at, at + len(case.seen)))
        at += len(case.seen)
    moves = [
        [index for index, case in enumerate(training) if depends(case, address, base)]
        for address in constants.addresses
    ]

    def residuals(logs: Vector, which: Iterable[int] = range(len(training))) -> Vector:
        """Of the cases *which*; the others' are 0."""
        known = constants.calibration(logs, base)
        result = np.zeros(at)
        for index in which:
            result[spans[index]] = log_errors(training[index], known)
        scaled: Vector = result * scale
        return scaled

    def cost(values: Vector, logs: Vector) -> float:
        return float(np.sum(np.log1p((values / 2) ** 2) * 4) + np.sum((logs / firmness) ** 2))

    logs = start
    now = residuals(logs)
    best, damping = cost(now, logs), 1.0
    jacobian = np.zeros((len(now), len(logs)))
    normal = np.diag(firmness**-2.0)
    for turn in range(rounds):
        for column in range(len(logs)):
            moved = logs.copy()
            moved[column] += 0.02
            changed = residuals(moved, moves[column])
            for index in moves[column]:
                jacobian[spans[index], column] = (changed[spans[index]] - now[spans[index]]) / 0.02
        weights = 1 / (1 + (now / 2) ** 2)
        normal = jacobian.T @ (weights[:, None] * jacobian) + np.diag(firmness**-2.0)
        downhill = -(jacobian.T @ (weights * now) + logs / firmness**2)
        improved = False
        for _ in range(6):
            step = np.clip(np.linalg.solve(normal + damping * np.diag(np.diag(normal)), downhill), -0.7, 0.7)
            tried = residuals(logs + step)
            reached = cost(tried, logs + step)
            if reached < best:
                improved = best - reached > 1e-3 * best
                logs, now, best, damping = logs + step, tried, reached, damping / 4
                break
            damping *= 4
        say(f"round {turn + 1}: cost {best:.1f}")
        if not improved:
            break
    errors = np.sqrt(np.diag(np.linalg.inv(normal)))
    return Fit(logs, errors, np.count_nonzero(np.abs(jacobian) > 1e-3, axis=0), now, jacobian, spans)
