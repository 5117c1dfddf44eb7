"""
What the installed ``pulumi_aws`` SDK says about a resource type, and whether given properties obey it.

Stands in for: the schema check of the AWS resource plugin. Names, types and required properties are checked at every
depth, so a typo in a nested dictionary, which the SDK itself lets pass, is found.
Cannot show: wrong values of the right type (an instance type that does not exist, ``max`` below ``min``).
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import json
import sys
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pulumi import _types

UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"  # the engine's mark for "known after apply" (sdk/go plugin/rpc.go)


class UnknownType(KeyError):
    """No class of the SDK has this type token."""


@functools.cache
def _modules() -> dict[str, tuple[str, str]]:
    """Type token -> (module, class), from the table that ``pulumi_aws/__init__.py`` registers."""
    spec = importlib.util.find_spec("pulumi_aws")
    assert spec is not None
    assert spec.origin is not None
    table = Path(spec.origin).read_text(encoding="utf-8").split('resource_modules="""')[1].split('"""')[0]
    return {token: (row["fqn"], name) for row in json.loads(table) for token, name in row["classes"].items()}


def _resource_class(token: str) -> type:
    if token not in _modules():
        raise UnknownType(token)
    module, name = _modules()[token]
    return typing.cast(type, getattr(importlib.import_module(module), name))


@functools.cache
def outputs(token: str) -> dict[str, Any]:
    """Output name -> type, of the resource type *token*."""
    return dict(_types.resource_types(_resource_class(token)))


@functools.cache
def _args_class(token: str) -> type:
    resource = _resource_class(token)
    module = sys.modules[resource.__module__]
    # Where a nested type already took the plain name, the SDK calls the resource's own class "...InitArgs".
    name = resource.__name__
    return typing.cast(type, getattr(module, f"{name}InitArgs", None) or getattr(module, f"{name}Args"))


@functools.cache
def _fields(args: type) -> dict[str, tuple[Any, bool]]:
    """Property name as the engine spells it -> (type, required)."""
    python_names = {wire: python for python, wire in _types.input_type_py_to_pulumi_names(args).items()}
    parameters = inspect.signature(args).parameters
    return {
        wire: (kind, parameters[python_names[wire]].default is inspect.Parameter.empty)
        for wire, kind in _types.input_type_types(args).items()
        if python_names[wire] in parameters
    }


def inputs(token: str) -> dict[str, tuple[Any, bool]]:
    """Input name -> (type, required), of the resource type *token*."""
    return _fields(_args_class(token))


def problems(token: str, properties: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is wrong with *properties* as inputs of *token*: (path, sentence), empty when the SDK has no objection."""
    return list(_object(_args_class(token), properties, ""))


def scalar(kind: Any) -> type | None:
    """``str``, ``int``, ``float`` or ``bool`` behind Optional, Input, Output, and a union with an enum; else None."""
    plain = _plain(kind)
    return plain if plain in (str, int, float, bool) else None


def _plain(kind: Any) -> Any:
    kind = _types.unwrap_type(kind)
    if typing.get_origin(kind) is typing.Union:
        return _plain(next(choice for choice in typing.get_args(kind) if choice is not type(None)))
    return kind


def _object(args: type, properties: Mapping[str, Any], path: str) -> Iterator[tuple[str, str]]:
    known = _fields(args)
    for name in properties:
        if name not in known and not name.startswith("__"):
            yield (
                f"{path}{name}",
                f"unknown property; known are {', '.join(sorted(known))}",
            )
    for name, (kind, required) in known.items():
        if properties.get(name) is not None:
            yield from _value(kind, properties[name], f"{path}{name}")
        elif required:
            yield f"{path}{name}", "missing required property"


def _value(kind: Any, value: Any, path: str) -> Iterator[tuple[str, str]]:
    kind = _plain(kind)
    origin = typing.get_origin(kind)
    if value is None or value == UNKNOWN or kind is Any:
        return
    if inspect.isclass(origin) and issubclass(origin, Sequence):
        if isinstance(value, list):
            for position, item in enumerate(value):
                yield from _value(typing.get_args(kind)[0], item, f"{path}[{position}]")
        else:
            yield path, f"expected a list, got {value!r}"
    elif inspect.isclass(origin) and issubclass(origin, Mapping):
        if isinstance(value, dict):
            for key, item in value.items():
                yield from _value(typing.get_args(kind)[1], item, f"{path}.{key}")
        else:
            yield path, f"expected a map, got {value!r}"
    elif inspect.isclass(kind) and _types.is_input_type(kind):
        if isinstance(value, dict):
            yield from _object(kind, value, f"{path}.")
        else:
            yield path, f"expected an object, got {value!r}"
    elif kind in (str, int, float, bool) and not _is(kind, value):
        yield path, f"expected {kind.__name__}, got {value!r}"


def _is(kind: type, value: Any) -> bool:
    if kind in (int, float):  # every number arrives as a float
        return isinstance(value, int | float) and not isinstance(value, bool) and (kind is float or value == int(value))
    return isinstance(value, kind)
