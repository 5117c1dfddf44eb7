"""The table of tools: what ``tools.toml`` says, as types; and the two questions it answers about versions."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
KINDS = ("go", "venv", "wheels")

Version = tuple[int, ...]
COMPARE = {
    ">=": lambda have, wanted: have >= wanted,
    "<": lambda have, wanted: have < wanted,
    "==": lambda have, wanted: have == wanted,
}


class ToolError(Exception):
    """A tool that cannot be had: one sentence with what was wanted, what was tried and the remedy."""


def version_in(text: str) -> Version | None:
    """The first dotted number in *text* (what a program says of itself), or None."""
    found = re.search(r"\d+(?:\.\d+)+", text)
    return tuple(int(part) for part in found[0].split(".")) if found else None


def in_range(version: Version, wanted: str) -> bool:
    """Whether *version* meets every part of *wanted*, such as ``>=4.3, <5``. ValueError if *wanted* is no range."""
    for part in wanted.split(","):
        condition = re.fullmatch(r"\s*(>=|<|==)\s*(\d+(?:\.\d+)*)\s*", part)
        if not condition:
            raise ValueError(f"{wanted!r} is no version range: {part.strip()!r} is none of >=X, <X, ==X")
        edge = tuple(int(number) for number in condition[2].split("."))
        width = max(len(version), len(edge))
        padded = [number + (0,) * (width - len(number)) for number in (version, edge)]
        if not COMPARE[condition[1]](*padded):
            return False
    return True


@dataclass(frozen=True)
class Build:
    """One thing to make; it gives one or more tools."""

    name: str
    kind: str
    version: str
    takes_s: int
    disk_gib: float
    recipe: dict[str, Any]

    @cached_property
    def sources(self) -> list[Path]:
        """The committed files that fix what comes out."""
        if self.kind == "go":
            return sorted(
                path for path in (HERE / "go" / self.name).iterdir() if path.suffix in (".mod", ".sum", ".go")
            )
        return [self.listed, HERE / "stubs.py"] if "stub" in self.recipe else [self.listed]

    @property
    def listed(self) -> Path:
        """The packages of a venv or of wheels, each with its hash."""
        return HERE / str(self.recipe.get("listed", f"python/{self.name}.txt"))

    @cached_property
    def folder(self) -> str:
        """Its folder's name in the cache: another one as soon as any pin changes."""
        pins = hashlib.sha256(json.dumps([self.kind, self.version, self.recipe], sort_keys=True).encode())
        for path in self.sources:
            pins.update(path.name.encode() + b"\0" + path.read_bytes())
        return f"{self.name}-{self.version}-{pins.hexdigest()[:12]}"

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


@dataclass(frozen=True)
class Tool:
    """One tool by the name it is asked for; without a *range* it is never taken from PATH."""

    name: str
    build: Build
    program: str
    ask: tuple[str, ...]
    range: str | None


@dataclass(frozen=True)
class Table:
    tools: dict[str, Tool]
    apt: dict[str, tuple[str, ...]]

    def tool(self, name: str) -> Tool:
        if name not in self.tools:
            raise ToolError(f"There is no tool {name!r} in lab/tools/tools.toml; it has: {', '.join(self.tools)}.")
        return self.tools[name]

    def lane(self, name: str) -> tuple[str, ...]:
        if name not in self.apt:
            raise ToolError(f"There is no lane {name!r} in lab/tools/tools.toml; it has: {', '.join(self.apt)}.")
        return self.apt[name]


def load(path: Path = HERE / "tools.toml") -> Table:
    """The table, with every range read once so that a wrong one shows here. ValueError names the build at fault."""
    raw = tomllib.loads(path.read_text())
    tools: dict[str, Tool] = {}
    for name, entry in raw["build"].items():
        given = entry.pop("tools")
        kind, version, takes_s, disk_gib = (entry.pop(key) for key in ("kind", "version", "takes_s", "disk_gib"))
        build = Build(name, kind, version, takes_s, disk_gib, recipe=entry)
        if build.kind not in KINDS:
            raise ValueError(f"build {name}: kind {build.kind!r} is none of {', '.join(KINDS)}")
        for tool, how in given.items():
            if tool in tools:
                raise ValueError(f"build {name}: tool {tool} comes from {tools[tool].build.name} already")
            if "range" in how:
                in_range((0,), how["range"])
            tools[tool] = Tool(tool, build, how.get("program", tool), tuple(how.get("ask", ())), how.get("range"))
    return Table(tools, {lane: tuple(packages) for lane, packages in raw["apt"].items()})
