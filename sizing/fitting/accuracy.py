"""How far estimates lie from measurements: ``python -m sizing fit`` in one call, and the page it writes."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from sizing.facts.calibration import LEVELS, SPEED, Calibration, read
from sizing.fitting.adjustable import Adjustable, write_constants
from sizing.fitting.bands import ENOUGH, Residual, bands, coverage, write_bands
from sizing.fitting.fit import fit, log_errors
from sizing.fitting.held_out import held_out
from sizing.fitting.measurements import FILES, Case, Metric
from sizing.plan.files import accuracy_page
from sizing.speed.performance import cell

METRICS: tuple[Metric, ...] = ("ttft", "tpot", "throughput")
PAGE = Path(__file__).resolve().parents[2] / "docs/accuracy.md"
NAMES = {"ttft": "TTFT", "tpot": "TPOT", "throughput": "throughput"}

Line = tuple[str, Metric]  # a cell, or all of an engine
Errors = dict[str, list[float]]  # by case, log of estimated / measured of each metric it saw


def fitted_errors(known: Iterable[Case], calibration: Calibration) -> Errors:
    return {case.id: log_errors(case, calibration) for case in known}


def _rows(known: Sequence[Case], errors: Errors) -> dict[Line, list[float]]:
    """Relative errors by line of the table (a cell, or all of an engine) and metric."""
    found: dict[Line, list[float]] = defaultdict(list)
    for case in known:
        for metric, error in zip(case.seen, errors[case.id], strict=True):
            for line in (f"all {case.setup.engine}", case.group):
                found[line, metric].append(math.expm1(error))
    return dict(found)


def _figures(values: Sequence[float]) -> str:
    return f"{100 * float(np.mean(np.abs(values))):.1f} ({100 * float(np.mean(values)):+.1f})"


def fitted_figures(known: Sequence[Case], errors: Errors) -> dict[Line, tuple[str, str]]:
    """Count and ``MAPE (bias)`` in per cent of every line of the table."""
    return {line: (str(len(values)), _figures(values)) for line, values in _rows(known, errors).items()}


def _residuals(known: Sequence[Case], errors: Errors, calibration: Calibration) -> list[Residual]:
    return [
        (case.setup.engine, cell(case.setup, calibration), case.configuration, metric, -error)
        for case in known
        for metric, error in zip(case.seen, errors[case.id], strict=True)
    ]


def digest() -> str:
    """Of every file that the page follows from: constants, bands and measurements."""
    files = [*sorted(SPEED.iterdir()), *FILES]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]


def _table(
    known: Sequence[Case], fitted: Errors, levels: Mapping[str, Errors], held: Mapping[Line, Sequence[bool]]
) -> list[list[str]]:
    """Engines first, then engine, model and card: the columns of ``templates/accuracy.md.j2``."""
    first = fitted_figures(known, fitted)
    by_level = [_rows(known, levels[level]) for level in LEVELS]
    lines = sorted(first, key=lambda line: (not line[0].startswith("all "), line[0], METRICS.index(line[1])))
    return [
        [
            line[0],
            NAMES[line[1]],
            *first[line],
            *(_figures(rows[line]) for rows in by_level),
            f"{sum(held[line])} of {len(held[line])}",
        ]
        for line in lines
    ]


def refit(
    known: Sequence[Case], rounds: int, write: bool, say: Callable[[str], None], show: Callable[[Sequence[str]], None]
) -> None:
    """
    Fit the constants, from where they are, to *known* measurements and look at what was left out.

    Args:
        rounds: at most so many Gauss-Newton rounds.
        write: put constants and bands into ``data/speed`` and the table into ``docs/accuracy.md``.
        say: takes a line about progress.
        show: takes the cells of a line of the result.
    """
    base = read()
    constants = Adjustable.of(base)
    say(f"{len(known)} measured loads, {len(constants.addresses)} constants")
    result = fit(constants, base, known, constants.logs(), rounds, say)
    final = constants.calibration(result.logs, base)
    parts: dict[str, Callable[[Case], str]] = {
        "measured": lambda case: case.configuration,
        "card": lambda case: case.group,
        "related": lambda case: case.setup.gpu.id,
        "unseen": lambda case: final.gpu_class(case.setup.gpu),
    }
    levels: dict[str, Errors] = {}
    for level in LEVELS:
        levels[level] = held_out(constants, base, known, result, parts[level])
        say(f"held out, as for what is {level}: done")
    residuals = {level: _residuals(known, errors, final) for level, errors in levels.items()}
    drawn, powers = bands(residuals)
    groups = {cell(case.setup, final): case.group for case in known}
    held: dict[Line, list[bool]] = defaultdict(list)
    for (engine, name, metric), inside in coverage(residuals[LEVELS[0]]).items():
        held[f"all {engine}", metric] += inside
        held[groups[name], metric] += inside
    rows = _table(known, fitted_errors(known, final), levels, held)
    factors = [
        [engine, level, NAMES[metric], *(f"{figure:g}" for figure in (band.low, band.high, band.rows))]
        for engine, found in sorted(drawn.items())
        for level in LEVELS
        for metric in METRICS
        for band in [found[level][metric]]
    ]
    show(("engine, model, card", "metric", "n", "fitted", *LEVELS, "in band"))
    for row in (*rows, *factors):
        show(row)
    if write:
        cards: dict[str, set[str]] = defaultdict(set)
        for case in known:
            cards[case.setup.engine].add(case.setup.gpu.id)
        write_constants(constants, result.logs, result.errors, result.rows, SPEED)
        write_bands(SPEED, drawn, powers, cards)
        page = accuracy_page(rows=rows, factors=factors, enough=ENOUGH, digest=digest())
        PAGE.write_text(page, encoding="utf-8")
