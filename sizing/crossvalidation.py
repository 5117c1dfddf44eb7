"""
Errors on what the fit did not see, and the bands that follow from them.

One part after the other is left out, the rest fitted, the part estimated: a configuration (engine version, model, GPU,
precision, parallelism, lengths), a group (engine, model, GPU), a whole class of GPUs. The three say how far to trust a
card that was measured, a relative of one, and a stranger; their quantiles are the bands. Each refit is the
least-squares solution of the rest, linearised about the full fit; the left-out part is simulated in full.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from sizing.calibration import Calibration
from sizing.constants import Constants, Vector
from sizing.fit import Fit, log_errors
from sizing.measurements import Case


def held_out(
    constants: Constants, base: Calibration, known: Sequence[Case], full: Fit, part: Callable[[Case], str]
) -> dict[str, list[float]]:
    """Log errors of every case, by id, from constants that saw nothing of its *part*."""
    parts: dict[str, list[int]] = defaultdict(list)
    for index, case in enumerate(known):
        parts[part(case)].append(index)
    prior = np.diag(constants.firmness() ** -2.0)
    result: dict[str, list[float]] = {}
    for indices in parts.values():
        kept = np.ones(len(full.residuals), dtype=bool)
        for index in indices:
            kept[full.spans[index]] = False
        jacobian, target = full.jacobian[kept], full.jacobian[kept] @ full.logs - full.residuals[kept]
        logs: Vector = full.logs
        for _ in range(5):  # Cauchy weights follow the residuals
            weights = 1 / (1 + ((jacobian @ logs - target) / 2) ** 2)
            normal = jacobian.T @ (weights[:, None] * jacobian) + prior
            logs = np.asarray(np.linalg.solve(normal, jacobian.T @ (weights * target)), dtype=np.float64)
        calibrated = constants.calibration(np.clip(logs, -3, 3), base)
        for index in indices:
            result[known[index].id] = log_errors(known[index], calibrated)
    return result


def bands(known: Sequence[Case], errors: dict[str, list[float]]) -> dict[str, tuple[float, float, int]]:
    """By metric, the 5 % and 95 % quantiles of measured / estimated and the count."""
    found: dict[str, list[float]] = defaultdict(list)
    for case in known:
        for metric, error in zip(case.seen, errors[case.id], strict=True):
            found[metric].append(math.exp(-error))
    return {
        metric: (float(np.quantile(values, 0.05)), float(np.quantile(values, 0.95)), len(values))
        for metric, values in found.items()
    }


def no_narrower(
    found: dict[str, tuple[float, float, int]], than: dict[str, tuple[float, float, int]]
) -> dict[str, tuple[float, float, int]]:
    """*found*, stretched where chance made it narrower than a band for what is better known."""
    return {
        metric: (min(low, than[metric][0]), max(high, than[metric][1]), rows) if metric in than else (low, high, rows)
        for metric, (low, high, rows) in found.items()
    }


def write_bands(folder: Path, levels: dict[str, dict[str, tuple[float, float, int]]], cells: Iterable[str]) -> None:
    """Replace ``bands.toml`` in *folder*."""
    lines = [
        'source = "python -m sizing fit: 5 % and 95 % quantiles of measured / estimated over held-out measurements"',
        "cells = [",
        *(f'  "{name}",' for name in sorted(cells)),
        "]",
    ]
    for level, found in levels.items():
        lines.append(f"\n[{level}]")
        for metric, (low, high, rows) in found.items():
            lines.append(f"{metric} = {{ low = {low:.3f}, high = {high:.3f}, rows = {rows} }}")
    (folder / "bands.toml").write_text("\n".join(lines) + "\n")
