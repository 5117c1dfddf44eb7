"""
Run by the engine's own Python: what SGLang's or vLLM's own parser says of argument lists.

``argument_parsers.py sglang|vllm``. Standard input: JSON, a list of argument lists; standard output, last line: for
each "" or why it is refused. SGLang's packages are on PYTHONPATH.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any


def sglang() -> Callable[[list[str]], object]:
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
