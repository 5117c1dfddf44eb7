"""The adjustable numbers of the calibration: where each lives, what it is pulled to, which case it can move."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sizing.facts.calibration import Calibration, EngineFile, GpuFile
from sizing.fitting.measurements import Case

_SHARES = (
    "memory",
    "kv",
    "attention",
    "gemm",
    "link",
    "kernel_latency",
    "expert_memory",
    "expert_gemm",
    "expert_spread",
)

Address = tuple[str, ...]  # where a constant lives, e.g. ("gpus", "classes", "hopper", "constants", "memory")
Vector = npt.NDArray[np.float64]


@dataclass
class Adjustable:
    """The adjustable numbers: their addresses, guesses, and how firmly each is pulled to its guess (log)."""

    tables: dict[str, Any]
    addresses: list[Address] = field(default_factory=list)
    guesses: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        def walk(node: Any, path: Address) -> None:
            for key, value in node.items() if isinstance(node, dict) else ():
                if isinstance(value, dict) and "guess" in value:
                    if not value["fitted"]:
                        continue
                    self.addresses.append((*path, key))
                    self.guesses.append(value["guess"])
                    self.values.append(value["value"])
                else:
                    walk(value, (*path, key))

        walk(self.tables, ())

    def logs(self) -> Vector:
        """The values as they are, as logs over their guesses."""
        return np.asarray(np.log(np.array(self.values) / np.array(self.guesses)))

    def firmness(self) -> Vector:
        """Standard deviation of each constant about its guess before anything is measured."""
        return np.array([_firmness(address[-1]) for address in self.addresses])

    def calibration(self, logs: Vector, base: Calibration) -> Calibration:
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
    def of(cls, base: Calibration) -> Adjustable:
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
            return setup.tp > 1 and (which == "nvlink") == setup.gpu.nvlink
    return plain not in own


def write_constants(
    constants: Adjustable, logs: Vector, errors: Vector, rows: npt.NDArray[np.int64], folder: Path
) -> None:
    """Put the figures into the lines they belong to; everything else in the files stays as it is."""
    figures = {
        address: (guess * math.exp(log), guess, error, rows)
        for address, guess, log, error, rows in zip(
            constants.addresses, constants.guesses, logs, errors, rows, strict=True
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
