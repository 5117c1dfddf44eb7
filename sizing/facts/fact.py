"""What every fact is: a frozen, checked record; and the words that facts of several kinds share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from sizing.errors import echo

DATA = Path(__file__).parents[1] / "data"


Basis = Literal["measured", "documented", "calculated"]


Api = Literal["chat", "embeddings", "rerank"]


class Fact(BaseModel):
    """A frozen record read from a data file; an unknown key in the file is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Sourced(Fact):
    """A number with its basis and source, for facts that differ in how well they are known."""

    value: float
    basis: Basis = "documented"
    source: str


def sentences(error: ValidationError, kind: object, prefix: str = "") -> list[str]:
    """Each problem pydantic found with a *kind* as one sentence that starts with the dotted name of the field."""
    found = []
    for problem in error.errors():
        field = ".".join(str(part)[:60] for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            known = ", ".join(_fields(kind, problem["loc"][:-1]))
            found.append(f"{prefix}{field} is not a field; fields are {known}")
            continue
        message = problem["msg"].removeprefix("Value error, ")
        asked = problem.get("input")
        shown = (
            f" (it is {echo(asked)})" if field and not isinstance(asked, dict) and problem["type"] != "missing" else ""
        )
        found.append(f"{prefix}{field + ': ' if field else ''}{message}{shown}")
    return found


def _fields(kind: object, place: tuple[int | str, ...]) -> Iterable[str]:
    """The fields of what *kind* has at *place*; names in between are keys of tables, numbers places in lists."""
    for name in place:
        for model in _models_in(kind):
            if name in model.model_fields:
                kind = model.model_fields[str(name)].annotation
                break
    return next((model.model_fields for model in _models_in(kind)), ())


def _models_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)
