"""
Fit the constants of the step model to the measurement files: ``python -m sizing.fit``.

Residuals are logarithms of estimated / measured TTFT, TPOT and throughput of every case, each in units of what its
kind scatters; constants move in logarithms too, pulled to their guess by a prior, so that a constant of which little
is measured stays where it was. Damped Gauss-Newton with Cauchy weights: one odd benchmark cannot bend the rest.

Cross-validation leaves out one part after the other, fits the rest and looks at the part: a configuration (engine
version, model, GPU, precision, parallelism, lengths), a group (engine, model, GPU), a whole class of GPUs. The three
say how far to trust a card that was measured, a relative of one, and a stranger; their quantiles are the bands. Each
refit is the least-squares solution of the rest, linearised about the full fit; the left-out part is simulated in full.

Prints the table of errors; writes ``value``, ``error`` and ``rows`` into ``data/speed/*.toml``.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sizing.calibration import SPEED, Calibration, EngineFile, GpuFile, link_of, read
from sizing.facts import load_facts
from sizing.measurements import Case, Metric, cases
from sizing.traffic import cell, performance

METRICS: tuple[Metric, ...] = ("ttft", "tpot", "throughput")
SCATTER: dict[str, float] = {"ttft": 0.25, "tpot": 0.08, "throughput": 0.10}
_SHARES = ("memory", "kv", "attention", "gemm", "link", "burst_share", "kernel_latency")

Address = tuple[str, ...]  # where a constant lives, e.g. ("gpus", "classes", "hopper", "constants", "memory")


@dataclass
class Constants:
    """The adjustable numbers: their addresses, guesses, and how firmly each is pulled to its guess (log)."""

    tables: dict[str, Any]
    addresses: list[Address] = field(default_factory=list)
    guesses: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        def walk(node: Any, path: Address) -> None:
            for key, value in node.items() if isinstance(node, dict) else ():
                if isinstance(value, dict) and "guess" in value:
                    if not value["fitted"]:
                        continue
                    self.addresses.append((*path, key))
                    self.guesses.append(value["guess"])
                else:
                    walk(value, (*path, key))

        walk(self.tables, ())

    def firmness(self) -> npt.NDArray[np.float64]:
        """Standard deviation of each constant about its guess before anything is measured."""
        return np.array([_firmness(address[-1]) for address in self.addresses])

    def calibration(self, logs: npt.NDArray[np.float64], base: Calibration) -> Calibration:
        tables = _copy(self.tables)
        for address, guess, log in zip(self.addresses, self.guesses, logs, strict=True):
            node = tables
            for key in address:
                node = node[key]
            node["value"] = guess * math.exp(log)
        for engine in tables["engines"]["engines"].values():
            engine["eras"] = list(engine["eras"].values())
        return Calibration(
            EngineFile.model_validate(tables["engines"]), GpuFile.model_validate(tables["gpus"]), base.bands
        )

    @classmethod
    def of(cls, base: Calibration) -> Constants:
        tables: dict[str, Any] = {"engines": base.engines.model_dump(), "gpus": base.gpus.model_dump()}
        for engine in tables["engines"]["engines"].values():
            engine["eras"] = {era["since"]: era for era in engine["eras"]}
        return cls(tables)


def _firmness(name: str) -> float:
    """Shares of the datasheet are known to 15 %, bandwidth (never above 1) to 7 %, fixed costs to a factor of 2."""
    if name == "memory":
        return 0.07
    return 0.15 if name.startswith(_SHARES) else 0.7


def _copy(node: Any) -> Any:
    return {key: _copy(value) for key, value in node.items()} if isinstance(node, dict) else node


def depends(case: Case, address: Address, known: Calibration) -> bool:
    """Whether the constant at *address* can move *case*: saves simulating what it cannot."""
    setup, name = case.setup, address[-1]
    era = known.era(setup.engine, setup.engine_version)
    gpu_class = known.gpu_class(setup.gpu)
    own = known.gpus.classes[gpu_class].constants if gpu_class in known.gpus.classes else {}
    plain, _, only = name.partition("@")
    match address:
        case ("engines", "engines", engine, "eras", since, *_):
            return engine == setup.engine and since == era.since and only in ("", gpu_class)
        case ("engines", "engines", engine, *_):
            return engine == setup.engine and name not in era.constants
        case ("gpus", "classes", which, *_):
            return which == gpu_class
        case ("gpus", "links", which, *_):
            return setup.tp > 1 and which == link_of(setup.gpu)
    return plain not in own


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

    logs: npt.NDArray[np.float64]
    errors: npt.NDArray[np.float64]
    rows: npt.NDArray[np.int64]
    residuals: npt.NDArray[np.float64]
    jacobian: npt.NDArray[np.float64]
    spans: list[slice]


def _scale(case: Case) -> list[float]:
    return [math.sqrt(case.weight) / SCATTER[metric] for metric in case.seen]


def fit(
    constants: Constants,
    base: Calibration,
    training: Sequence[Case],
    rounds: int,
    say: Callable[[str], None] = lambda _: None,
) -> Fit:
    """Least squares over *training*; stops after *rounds* or when nothing improves."""
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

    def residuals(
        logs: npt.NDArray[np.float64], which: Iterable[int] = range(len(training))
    ) -> npt.NDArray[np.float64]:
        """Of the cases *which*; the others' are 0."""
        known = constants.calibration(logs, base)
        result = np.zeros(at)
        for index in which:
            result[spans[index]] = log_errors(training[index], known)
        scaled: npt.NDArray[np.float64] = result * scale
        return scaled

    def cost(values: npt.NDArray[np.float64], logs: npt.NDArray[np.float64]) -> float:
        return float(np.sum(np.log1p((values / 2) ** 2) * 4) + np.sum((logs / firmness) ** 2))

    logs = np.zeros(len(constants.addresses))
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
        logs: npt.NDArray[np.float64] = full.logs
        for _ in range(5):  # Cauchy weights follow the residuals
            weights = 1 / (1 + ((jacobian @ logs - target) / 2) ** 2)
            normal = jacobian.T @ (weights[:, None] * jacobian) + prior
            logs = np.asarray(np.linalg.solve(normal, jacobian.T @ (weights * target)), dtype=np.float64)
        calibrated = constants.calibration(np.clip(logs, -3, 3), base)
        for index in indices:
            result[known[index].id] = log_errors(known[index], calibrated)
    return result


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


def _no_narrower(
    found: dict[str, tuple[float, float, int]], than: dict[str, tuple[float, float, int]]
) -> dict[str, tuple[float, float, int]]:
    """*found*, stretched where chance made it narrower than a band for what is better known."""
    return {
        metric: (min(low, than[metric][0]), max(high, than[metric][1]), rows) if metric in than else (low, high, rows)
        for metric, (low, high, rows) in found.items()
    }


def write_constants(constants: Constants, result: Fit, folder: Path) -> None:
    """Put the figures into the lines they belong to; everything else in the files stays as it is."""
    figures = {
        address: (guess * math.exp(log), guess, error, rows)
        for address, guess, log, error, rows in zip(
            constants.addresses, constants.guesses, result.logs, result.errors, result.rows, strict=True
        )
    }
    for name in ("engines", "gpus"):
        path = folder / f"{name}.toml"
        lines, table_path, since = [], (), ""
        for line in path.read_text().splitlines():
            header = re.match(r"\[\[?([\w.-]+)\]\]?$", line)
            era = re.match(r'since = "([^"]+)"', line)
            constant = re.match(r'"?([\w@-]+)"? = \{ value', line)
            if header:
                table_path = tuple(header[1].split("."))
            elif era:
                since = era[1]
            elif constant and "fitted = false" not in line:
                place: list[str] = [name, *table_path]
                if "eras" in place:
                    place.insert(place.index("eras") + 1, since)
                value, guess, error, rows = figures[(*place, constant[1])]
                measured = f", error = {error:.2f}, rows = {rows}" if rows else ""
                line = f"{line.split(' = ')[0]} = {{ value = {value:.4g}, guess = {guess:g}{measured} }}"
            lines.append(line)
        path.write_text("\n".join(lines) + "\n")


def write_bands(folder: Path, levels: dict[str, dict[str, tuple[float, float, int]]], cells: Iterable[str]) -> None:
    """Replace ``bands.toml`` in *folder*."""
    lines = [
        'source = "sizing.fit: 5 % and 95 % quantiles of measured / estimated over held-out measurements"',
        "cells = [",
        *(f'  "{name}",' for name in sorted(cells)),
        "]",
    ]
    for level, found in levels.items():
        lines.append(f"\n[{level}]")
        for metric, (low, high, rows) in found.items():
            lines.append(f"{metric} = {{ low = {low:.3f}, high = {high:.3f}, rows = {rows} }}")
    (folder / "bands.toml").write_text("\n".join(lines) + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m sizing.fit", description="Fit the step model to the measurements.")
    parser.add_argument("--dry-run", action="store_true", help="print the table, write nothing")
    parser.add_argument("--rounds", type=int, default=25, help="at most so many Gauss-Newton rounds")
    options = parser.parse_args(arguments)

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    base = read()
    constants = Constants.of(base)
    known = cases(load_facts())
    say(f"{len(known)} measured loads, {len(constants.addresses)} constants")
    result = fit(constants, base, known, options.rounds, say)
    final = constants.calibration(result.logs, base)
    print("\nfitted\n" + "\n".join(table(known, {case.id: log_errors(case, final) for case in known})))
    parts: dict[str, Callable[[Case], str]] = {
        "measured": lambda case: case.configuration,
        "related": lambda case: case.group,
        "unseen": lambda case: final.gpu_class(case.setup.gpu),
    }
    levels: dict[str, dict[str, tuple[float, float, int]]] = {}
    narrower: dict[str, tuple[float, float, int]] = {}
    for level, part in parts.items():
        errors = held_out(constants, base, known, result, part)
        narrower = levels[level] = _no_narrower(bands(known, errors), narrower)
        print(f"\nheld out, as for what is {level}\n" + "\n".join(table(known, errors)))
    for level, found in levels.items():
        for metric, (low, high, rows) in found.items():
            print(f"band, {level}, {metric}: {low:.2f} .. {high:.2f} of the estimate ({rows} figures)")
    if not options.dry_run:
        write_constants(constants, result, SPEED)
        write_bands(SPEED, levels, {cell(case.setup, final) for case in known})
    return 0


if __name__ == "__main__":
    sys.exit(main())
