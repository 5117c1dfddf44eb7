"""
Errors on what the fit did not see.

One part after the other is left out, the rest fitted, the part estimated: a configuration (engine version, model, GPU,
precision, parallelism, lengths), a group (engine, model, GPU), a card, a whole class of cards. Each refit is the
least-squares solution of the rest, linearised about the full fit; the left-out part is simulated in full.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np

from sizing.facts.calibration import Calibration
from sizing.fitting.adjustable import Adjustable, Vector
from sizing.fitting.fit import Fit, log_errors
from sizing.fitting.measurements import Case


def held_out(
    constants: Adjustable, base: Calibration, known: Sequence[Case], full: Fit, part: Callable[[Case], str]
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
