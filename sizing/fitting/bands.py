"""
How wide a band must be to hold nine of ten measurements that the fit did not see.

A band is a pair of quantiles of measured / estimated, for each engine and metric, at four distances from what was
measured: this model on this card with this engine (held out: one configuration), this card (held out: one model on one
card), a card of its class (held out: a card), none of its class (held out: a class). An engine of which fewer than
``ENOUGH`` figures exist shares the quantiles of all engines. Within the first level a cell that scatters less or more
than its engine gets a narrower or wider band, shrunk towards the engine's as if ``_SHRINK`` more rows lay there.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from sizing.facts.calibration import LEVELS, Band
from sizing.fitting.measurements import Metric

_OUTSIDE = 0.04  # on either side; 5 % would leave too little for rows whose label is wrong
ENOUGH = 40
_SHRINK = 8
_NARROWEST, _WIDEST = 0.5, 2.0  # powers

Residual = tuple[str, str, str, Metric, float]  # engine, cell, configuration, metric, log of measured / estimated
Bands = dict[str, dict[str, dict[str, Band]]]
Powers = dict[str, dict[str, float]]


def _powers(residuals: Iterable[Residual]) -> Powers:
    """By cell and metric: scatter of the cell over that of its engine, shrunk."""
    by_engine: dict[tuple[str, Metric], list[float]] = defaultdict(list)
    by_cell: dict[tuple[str, str, Metric], list[float]] = defaultdict(list)
    for engine, cell, _, metric, error in residuals:
        by_engine[engine, metric].append(abs(error))
        by_cell[engine, cell, metric].append(abs(error))
    found: Powers = defaultdict(dict)
    for (engine, cell, metric), errors in by_cell.items():
        usual = float(np.mean(by_engine[engine, metric]))
        shrunk = (sum(errors) + _SHRINK * usual) / (len(errors) + _SHRINK)
        found[cell][metric] = round(min(max(shrunk / usual, _NARROWEST), _WIDEST), 3) if usual else 1.0
    return dict(found)


def _quantiles(residuals: Iterable[Residual], powers: Powers) -> dict[str, dict[str, Band]]:
    """By engine and metric."""
    scaled: dict[tuple[str, Metric], list[float]] = defaultdict(list)
    for engine, cell, _, metric, error in residuals:
        scaled[engine, metric].append(error / powers[cell][metric] if powers else error)
    found: dict[str, dict[str, Band]] = defaultdict(dict)
    for (engine, metric), own in scaled.items():
        values = own
        if len(own) < ENOUGH:
            values = [value for (_, other), errors in scaled.items() if other == metric for value in errors]
        low, high = (math.exp(float(np.quantile(values, share))) for share in (_OUTSIDE, 1 - _OUTSIDE))
        found[engine][metric] = Band(low=round(low, 3), high=round(high, 3), rows=len(values))
    return dict(found)


def bands(levels: Mapping[str, Sequence[Residual]]) -> tuple[Bands, Powers]:
    """Bands from the held-out residuals of each level; none is narrower than one for what is better known."""
    powers = _powers(levels[LEVELS[0]])
    found: Bands = defaultdict(dict)
    for level in LEVELS:
        for engine, metrics in _quantiles(levels[level], powers if level == LEVELS[0] else {}).items():
            narrower = found[engine][LEVELS[LEVELS.index(level) - 1]] if level != LEVELS[0] else metrics
            found[engine][level] = {
                metric: Band(
                    low=min(band.low, narrower[metric].low), high=max(band.high, narrower[metric].high), rows=band.rows
                )
                for metric, band in metrics.items()
            }
    return dict(found), powers


def coverage(residuals: Sequence[Residual]) -> dict[tuple[str, str, Metric], list[bool]]:
    """
    Whether each measurement lies in the band of its cell, by (engine, cell, metric).

    The band is drawn without the configuration that it is tried on.
    """
    by_configuration: dict[str, list[Residual]] = defaultdict(list)
    for residual in residuals:
        by_configuration[residual[2]].append(residual)
    found: dict[tuple[str, str, Metric], list[bool]] = defaultdict(list)
    for configuration, tried in by_configuration.items():
        rest = [residual for residual in residuals if residual[2] != configuration]
        powers = _powers(rest)
        drawn = _quantiles(rest, powers)
        for engine, cell, _, metric, error in tried:
            band, power = drawn[engine][metric], powers.get(cell, {}).get(metric, 1.0)
            found[engine, cell, metric].append(band.low**power <= math.exp(error) <= band.high**power)
    return dict(found)


def write_bands(folder: Path, engines: Bands, powers: Powers, cards: dict[str, set[str]]) -> None:
    """Replace ``bands.toml`` in *folder*."""
    lines = [
        f'source = "python -m sizing fit: quantiles {_OUTSIDE:.0%} and {1 - _OUTSIDE:.0%} of measured / estimated, '
        'held out"',
        "\n[cards]",
        *(f"{engine} = {json.dumps(sorted(names))}" for engine, names in sorted(cards.items())),
    ]
    for engine, levels in sorted(engines.items()):
        for level, metrics in levels.items():
            lines.append(f"\n[engines.{engine}.{level}]")
            lines += [
                f"{metric} = {{ low = {band.low}, high = {band.high}, rows = {band.rows} }}"
                for metric, band in sorted(metrics.items())
            ]
    lines.append("\n[cells]")
    for cell, own in sorted(powers.items()):
        figures = ", ".join(f"{metric} = {power}" for metric, power in sorted(own.items()))
        lines.append(f'"{cell}" = {{ {figures} }}')
    (folder / "bands.toml").write_text("\n".join(lines) + "\n")
