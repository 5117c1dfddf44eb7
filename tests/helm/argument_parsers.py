"""
Run by the engine's own Python: what SGLang's or vLLM's own parser says of argument lists.

``argument_parsers.py sglang|vllm``. Standard input: JSON, a list of argument lists; standard output, last line: for
each "" or why it is refused. SGLang's wheel is on PYTHONPATH, and the packages in ABSENT, which no argument is made of,
are stood in for.
"""

from __future__ import annotations

import argparse
import importlib.machinery
import json
import sys
import types
from collections.abc import Callable
from typing import Any
from unittest.mock import MagicMock

ABSENT = ("IPython", "orjson", "torchvision", "triton")


class Anything(types.ModuleType):
    __path__ = ()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return MagicMock()


class AbsentPackages:
    """Finds the ABSENT packages, after everybody else has looked."""

    def find_spec(self, name: str, *_: object) -> importlib.machinery.ModuleSpec | None:
        known = name.partition(".")[0] in ABSENT
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if known else None  # type: ignore[arg-type]

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return Anything(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        pass


def sglang() -> Callable[[list[str]], object]:
    sys.meta_path.append(AbsentPackages())  # type: ignore[arg-type]
    from sglang.srt.server_args import ServerArgs  # type: ignore[import-not-found, unused-ignore]

    parser = Parser()
    ServerArgs.add_cli_args(parser)
    return parser.parse_args


def vllm() -> Callable[[list[str]], object]:
    from vllm.entrypoints.launchers.cli_args import (  # type: ignore[import-not-found, unused-ignore]
        make_arg_parser,
        validate_parsed_serve_args,
    )
    from vllm.entrypoints.launchers.launcher import (  # type: ignore[import-not-found, unused-ignore]
        validate_api_server_args,
    )
    from vllm.utils.argparse_utils import FlexibleArgumentParser  # type: ignore[import-not-found, unused-ignore]

    class FlexibleParser(Parser, FlexibleArgumentParser):  # type: ignore[misc, unused-ignore]
        pass

    parser = make_arg_parser(FlexibleParser())

    def take(arguments: list[str]) -> None:
        parsed = parser.parse_args(arguments)
        validate_parsed_serve_args(parsed)
        # As AsyncEngineArgs does before the server checks the name.
        parsed.structured_outputs_config.reasoning_parser = parsed.reasoning_parser or ""
        validate_api_server_args(parsed)

    return take


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise ValueError(message)


if __name__ == "__main__":
    take = {"sglang": sglang, "vllm": vllm}[sys.argv[1]]()
    answers = []
    for arguments in json.load(sys.stdin):
        try:
            take(arguments)
        except (ValueError, TypeError, KeyError, argparse.ArgumentTypeError) as refusal:
            answers.append(f"{type(refusal).__name__}: {refusal}")
        else:
            answers.append("")
    print(json.dumps(answers))
