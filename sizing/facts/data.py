"""
Files under ``sizing/data`` as facts. What is wrong with them is said in sentences that name the file, and in a table of
rows the line: everything that is wrong with a folder or a table at once.
"""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from sizing.errors import BadRequest
from sizing.facts.fact import DATA, sentences

T = TypeVar("T")


def table(name: str) -> dict[str, Any]:
    """The TOML file *name*. Raises ``BadRequest`` with the line it breaks at."""
    try:
        return tomllib.loads((DATA / name).read_text(encoding="utf-8"))
    except OSError as failed:
        raise BadRequest(f"{_shown(name)} cannot be read: {failed.strerror}") from None
    except ValueError as broken:  # not TOML, or not UTF-8
        raise BadRequest(f"{_shown(name)} is not valid TOML: {broken}") from None


def record(kind: type[T], name: str, given: object = None) -> T:
    """The TOML file *name* as *kind*, or what was made of it (*given*). Raises ``BadRequest``."""
    with _said_of(kind, name):
        return TypeAdapter(kind).validate_python(table(name) if given is None else given)


def records(kind: type[T], folder: str) -> dict[str, T]:
    """File name without its ending -> *kind*, of every TOML file of *folder*. Raises ``BadRequest``."""
    adapter, found, problems = TypeAdapter(kind), {}, list[str]()
    for path in sorted((DATA / folder).glob("*.toml")):
        name = f"{folder}/{path.name}"
        with _collected(problems), _said_of(kind, name):
            found[path.stem] = adapter.validate_python(table(name))
    if problems:
        raise BadRequest(*problems)
    return found


def rows(kind: type[T], name: str, read: Callable[[dict[str, str]], object] = dict) -> list[T]:
    """Every row of the CSV file *name* as *kind*; *read* makes its fields of the columns. Raises ``BadRequest``."""
    adapter, found, problems = TypeAdapter(kind), list[T](), list[str]()
    with (DATA / name).open(newline="", encoding="utf-8") as lines:
        table = csv.DictReader(lines, restval="")
        for row in table:
            with _collected(problems), _said_of(kind, f"{name}:{table.line_num}"):
                found.append(adapter.validate_python(read(row)))
    if problems:
        raise BadRequest(*problems)
    return found


@contextmanager
def _said_of(kind: object, place: str) -> Iterator[None]:
    try:
        yield
    except ValidationError as error:
        raise BadRequest(*sentences(error, kind, f"{_shown(place)}: ")) from None


@contextmanager
def _collected(problems: list[str]) -> Iterator[None]:
    try:
        yield
    except BadRequest as bad:
        problems += bad.problems


def _shown(name: str) -> str:
    """As a person finds it: an absolute *name* is a file elsewhere."""
    return name if name.startswith("/") else f"sizing/data/{name}"
