"""
What fits to measurements taught about engines and GPUs: the constants of the step model and their bands.

Three files under ``data/speed``: ``engines.toml`` (what a step of an engine costs besides the GPU's work, by release
era), ``gpus.toml`` (which share of its datasheet a class of GPU reaches) and ``bands.toml`` (how far held-out
measurements lay from the model). ``python -m sizing fit`` writes ``value``, ``error`` and ``rows``; ``guess`` is what a
constant is pulled to where few measurements speak. Names carry the unit; a name without one is a ratio.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pydantic import Field

from sizing.facts.data import record
from sizing.facts.fact import DATA, Fact
from sizing.facts.gpu import Gpu
from sizing.facts.versions import release_of

SPEED = DATA / "speed"

LEVELS = ("measured", "card", "related", "unseen")  # this model on this card; the card; one of its class; none


class Constant(Fact):
    """A fitted number; ``error`` is its relative standard error, ``rows`` how many measurements depend on it."""

    value: float
    guess: float
    fitted: bool = True  # False: documented, the fit leaves it alone
    error: float | None = None
    rows: int = 0


class Era(Fact):
    """
    Releases from ``since`` on, until the next era; only the constants that differ from the engine's own.

    ``name@class`` holds on that class of GPU only.
    """

    since: str
    constants: dict[str, Constant]


class EngineSpeed(Fact):
    """``mixed``: prefill chunks and decodes share a step (vLLM), or prefill steps go first (SGLang)."""

    mixed: bool
    constants: dict[str, Constant]
    eras: tuple[Era, ...]


class GpuClass(Fact):
    """GPUs by compute capability, inclusive."""

    capability: tuple[float, float]
    constants: dict[str, Constant]


class Link(Fact):
    constants: dict[str, Constant]


class EngineFile(Fact):
    source: str
    engines: dict[str, EngineSpeed]


class GpuFile(Fact):
    source: str
    default: dict[str, Constant]
    classes: dict[str, GpuClass] = Field(default_factory=dict)
    links: dict[str, Link]


class Band(Fact):
    """Low and high quantile of measured / estimated over held-out measurements, and on how many."""

    low: float
    high: float
    rows: int


class BandFile(Fact):
    """
    Bands by engine, level and metric; the levels, narrow to wide, are ``LEVELS``.

    ``cards`` were measured with an engine; ``cells`` lists what on them and, by metric, the power to which the band is
    raised: below 1 where estimates of this cell are closer to measurements than the engine's others.
    """

    source: str
    cards: dict[str, tuple[str, ...]]
    engines: dict[str, dict[str, dict[str, Band]]]
    cells: dict[str, dict[str, float]]


@dataclass(frozen=True, slots=True)
class Constants:
    """Every constant of one (engine era, GPU class, link), by name, and how the three are called."""

    values: dict[str, float]
    mixed: bool
    era: str
    gpu_class: str
    link: str

    def __getitem__(self, name: str) -> float:
        return self.values[name]


@dataclass(frozen=True, slots=True)
class Calibration:
    """The three files as one immutable thing."""

    engines: EngineFile
    gpus: GpuFile
    bands: BandFile

    def era(self, engine: str, version: str) -> Era:
        """The newest era not after *version*, the oldest where all are newer."""
        eras = self.engines.engines[engine].eras
        fitting = [era for era in eras if release_of(era.since) <= release_of(version)]
        return fitting[-1] if fitting else eras[0]

    def gpu_class(self, gpu: Gpu) -> str:
        """The class *gpu* belongs to, or ``default``: its own datasheet with the median of all classes."""
        for name, known in self.gpus.classes.items():
            if known.capability[0] <= gpu.compute_capability <= known.capability[1]:
                return name
        return "default"

    def constants(self, engine: str, version: str, gpu: Gpu) -> Constants:
        speed = self.engines.engines[engine]
        era = self.era(engine, version)
        name = self.gpu_class(gpu)
        link = "nvlink" if gpu.nvlink else "pcie"
        layers = (
            self.gpus.default,
            self.gpus.classes[name].constants if name != "default" else {},
            self.gpus.links[link].constants,
            speed.constants,
            era.constants,
        )
        values = {key: constant.value for layer in layers for key, constant in layer.items()}
        values |= {key.removesuffix("@" + name): value for key, value in values.items() if key.endswith("@" + name)}
        return Constants(values, speed.mixed, era.since, name, link)


def read(folder: Path = SPEED) -> Calibration:
    """Parse the three files in *folder*."""
    return Calibration(
        record(EngineFile, f"{folder}/engines.toml"),
        record(GpuFile, f"{folder}/gpus.toml"),
        record(BandFile, f"{folder}/bands.toml"),
    )


@lru_cache(maxsize=1)
def calibration() -> Calibration:
    return read()
