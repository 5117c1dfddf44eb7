"""The lanes: which tests run in one process, what they start, what no two of them may use at once."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lab.tools.build import cache as cache_folder

TABLE = Path(__file__).parents[1] / "lanes.toml"


@dataclass(frozen=True)
class Lane:
    """One process of pytest: the tests below *paths* (all without any) that carry *mark* (any without one)."""

    name: str
    about_s: float
    starts: str
    paths: tuple[str, ...] = ()
    mark: str = ""
    holds: tuple[str, ...] = ()

    def takes(self, path: str, marks: Iterable[str]) -> bool:
        """Whether a test in the file *path* (from the checkout) with *marks* belongs here."""
        return self.covers(path) and (not self.mark or self.mark in marks)

    def covers(self, path: str) -> bool:
        """Whether the file *path* is among its files."""
        return not self.paths or any(path == one or path.startswith(f"{one}/") for one in self.paths)


@dataclass(frozen=True)
class Table:
    lanes: tuple[Lane, ...]
    places: dict[str, int]

    def lane_of(self, path: str, marks: Iterable[str]) -> Lane:
        """The first lane that takes the test; the last one of the table takes every test."""
        asked = tuple(marks)
        return next(lane for lane in self.lanes if lane.takes(path, asked))

    def may_have(self, lane: str, path: str) -> bool:
        """Whether the lane called *lane* may have tests in the file *path*: none before it takes all of them."""
        for each in self.lanes:
            if each.covers(path) and (each.name == lane or not each.mark):
                return each.name == lane
        return False

    def named(self, names: Iterable[str]) -> list[Lane]:
        """
        The lanes called *names*, or the groups of lanes whose names begin so.

        Raises:
            KeyError: a name that fits none; the message is the sentence to show.
        """
        found: list[Lane] = []
        for name in names:
            of_name = [lane for lane in self.lanes if lane.name == name or lane.name.startswith(f"{name}-")]
            if not of_name:
                raise KeyError(f"There is no lane {name!r}; there are {', '.join(lane.name for lane in self.lanes)}.")
            found += [lane for lane in of_name if lane not in found]
        return found


@cache
def load(path: Path = TABLE) -> Table:
    """The table of lanes. ValueError names a lane that holds more than there are places for."""
    raw = tomllib.loads(path.read_text())
    places: dict[str, int] = raw["places"]
    lanes = []
    for name, entry in raw["lane"].items():
        entry |= {key: tuple(entry[key]) for key in ("paths", "holds") if key in entry}
        lanes.append(Lane(name=name, **entry))
        held = lanes[-1].holds
        if too_many := {place for place in held if held.count(place) > places.get(place, 0)}:
            raise ValueError(f"lane {name} holds {', '.join(sorted(too_many))}; [places] has {places}")
    return Table(tuple(lanes), places)


def records() -> Path:
    """Where runs of this user leave durations, logs and junit files: outside every checkout."""
    return cache_folder() / f"suite-{os.geteuid()}"


def durations(table: Table, folder: Path) -> dict[str, float]:
    """Seconds of each lane: what it took on this machine the last time it passed, else what the table says."""
    recorded = _recorded(folder)
    return {lane.name: recorded.get(lane.name, lane.about_s) for lane in table.lanes}


def remember(folder: Path, seconds: dict[str, float]) -> None:
    """Keep *seconds* of lanes for the next run."""
    half = folder / f"durations.{os.getpid()}"
    kept = _recorded(folder) | {name: round(took, 1) for name, took in seconds.items()}
    half.write_text(json.dumps(kept, indent=1))
    half.replace(folder / "durations.json")


def _recorded(folder: Path) -> dict[str, float]:
    try:
        found: dict[str, float] = json.loads((folder / "durations.json").read_text())
    except (OSError, ValueError):
        return {}
    return found
