"""
``qwenkit``: the only room that prints, reads files named by a person, and writes.

A command imports what it calls: `--help` stays instant (docs/performance.md).
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from sizing import __version__
from sizing.cli import advice, calibrate, catalogue, plan
from sizing.errors import KitError

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)
for part in (plan, catalogue, advice, calibrate):
    app.add_typer(part.commands)


def _say_version(wanted: bool) -> None:
    if wanted:
        print(f"qwenkit {__version__}")
        raise typer.Exit


@app.callback()
def qwenkit(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Say the version and exit.")
    ] = False,
) -> None:
    """Plan, place and check deployments of the Qwen model family."""


def main() -> None:
    """Entry point: expected refusals become sentences on stderr and exit code 2."""
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    try:
        app()
    except KitError as refusal:
        for problem in refusal.problems:
            print(problem, file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
