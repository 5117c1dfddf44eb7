"""Who gets what: cases/auth-matrix.toml as questions, method by method and key by key."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any, NamedTuple

from tests.helm.chart import CASES

MATRIX: dict[str, Any] = tomllib.loads((CASES / "auth-matrix.toml").read_text())
NO_KEY, WRONG_KEY, RIGHT_KEY = "no key", "wrong key", "right key"
KEYS = (NO_KEY, WRONG_KEY, RIGHT_KEY)
CLOSED = [path for paths in MATRIX["closed"].values() for path in paths]
KEYED = {tuple(entry["route"].split(" ")): entry.get("body") for entry in MATRIX["keyed"]}
OPEN = {tuple(route.split(" ")) for route in MATRIX["open"]}


class Question(NamedTuple):
    method: str
    path: str
    key: str
    status: int
    body: dict[str, Any] | None


def known_paths() -> set[str]:
    return {*CLOSED, *(path for _, path in KEYED), *(path for _, path in OPEN)}


def questions() -> Iterator[Question]:
    """Every method on every path with every key, and the status it must get."""
    for path in sorted(known_paths()):
        for method in MATRIX["methods"]:
            for key in KEYS:
                route = (method, path)
                status = 404
                if route in OPEN or (route in KEYED and key == RIGHT_KEY):
                    status = 200
                elif route in KEYED:
                    status = 401
                yield Question(method, path, key, status, KEYED.get(route))


def tricks() -> Iterator[Question]:
    """Targets that may be taken for another path, with the body of a chat."""
    body = KEYED["POST", "/v1/chat/completions"]
    for target, (without, with_key) in MATRIX["tricks"].items():
        for key in KEYS:
            yield Question("POST", target, key, with_key if key == RIGHT_KEY else without, body)
