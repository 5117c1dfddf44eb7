"""What every fact is: a frozen, checked record; and the words that facts of several kinds share."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from sizing.errors import BadRequest, echo

DATA = Path(__file__).parents[1] / "data"


Basis = Literal["measured", "documented", "calculated"]


Api = Literal["chat", "embeddings", "rerank"]


class Fact(BaseModel):
    """A frozen record read from a data file; an unknown key in the file is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


T = TypeVar("T", bound=Fact)


class Sourced(Fact):
    """A number with its basis and source, for facts that differ in how well they are known."""

    value: float
    basis: Basis = "documented"
    source: str


def sentences(error: ValidationError, kind: type[BaseModel], prefix: str = "") -> list[str]:
    """Each problem pydantic found with a *kind* as one sentence that starts with the dotted name of the field."""
    found = []
    for problem in error.errors():
        field = ".".join(str(part)[:60] for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            known = ", ".join(_part(kind, problem["loc"][:-1]).model_fields)
            found.append(f"{prefix}{field} is not a field; fields are {known}")
            continue
        message = problem["msg"].removeprefix("Value error, ")
        asked = problem.get("input")
        shown = (
            f" (it is {echo(asked)})" if field and not isinstance(asked, dict) and problem["type"] != "missing" else ""
        )
        found.append(f"{prefix}{field + ': ' if field else ''}{message}{shown}")
    return found


def _part(kind: type[BaseModel], place: tuple[int | str, ...]) -> type[BaseModel]:
    """The part of *kind* at *place*."""
    for name in place:
        if isinstance(name, str) and name in kind.model_fields:
            kind = next(_parts_in(kind.model_fields[name].annotation), kind)
    return kind


def _parts_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _parts_in(inner)


def table(path: Path) -> dict[str, object]:
    """The TOML file *path*."""
    return tomllib.loads(path.read_text(encoding="utf-8"))


def read_folder(kind: type[T], folder: str) -> list[T]:
    """Every file of *folder* as *kind*. Raises ``BadRequest`` naming the files that are not, all of them."""
    found, problems = [], []
    for path in sorted((DATA / folder).glob("*.toml")):
        try:
            found.append(kind.model_validate(table(path)))
        except (ValueError, OSError) as broken:  # a pydantic ValidationError is a ValueError, so is broken TOML
            problems.append(
                f"sizing/data/{folder}/{path.name} is not a {kind.__name__}: {' '.join(str(broken).split())}"
            )
    if problems:
        raise BadRequest(*problems)
    return found
