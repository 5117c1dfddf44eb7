"""
``qwenkit``: the only room that prints, reads files named by a person, and writes.

A command imports what it calls: `--help` stays instant (docs/performance.md).
"""

from __future__ import annotations

import os
import sys

import typer

from sizing.cli import advice, calibrate, catalogue, plan
from sizing.errors import KitError

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)
for part in (plan, catalogue, advice, calibrate):
    app.add_typer(part.commands)


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
