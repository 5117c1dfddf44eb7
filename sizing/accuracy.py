"""How far estimates lie from measurements: ``python -m sizing fit`` in one call, and the table it prints."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np

from sizing.measurements import Case, Metric

METRICS: tuple[Metric, ...] = ("ttft", "tpot", "throughput")


def table(known: Sequence[Case], errors: dict[str, list[float]]) -> list[str]:
    """Per engine, model and GPU: count, mean absolute error and bias of each metric, in per cent."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for case in known:
        for metric, error in zip(case.seen, errors[case.id], strict=True):
            for line in (case.group, f"all {case.setup.engine}"):
                found[line][metric].append(math.expm1(error))
    lines = [f"{'engine model GPU':58}" + "".join(f"{metric + ': n  MAPE  bias %':>28}" for metric in METRICS)]
    for name in sorted(found):
        row = f"{name:58}"
        for metric in METRICS:
            values = found[name][metric]
            if values:
                mape, bias = (100 * float(np.mean(figure)) for figure in (np.abs(values), values))
                row += f"{len(values):>14}{mape:>7.1f}{bias:>+7.1f}"
            else:
                row += " " * 28
        lines.append(row.rstrip())
    return lines


def refit(rounds: int, write: bool, say: Callable[[str], None], show: Callable[[str], None]) -> None:
    """
    Fit the constants to the kit's measurements and look at what was left out.

    Args:
        rounds: at most so many Gauss-Newton rounds.
        write: put constants and bands into ``data/speed``.
        say: takes a line about progress.
        show: takes a part of the result.
    """
