"""The command that fits the speed constants."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

commands = typer.Typer()


@commands.command()
def fit(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the errors, write nothing.")] = False,
    rounds: Annotated[int, typer.Option(help="At most so many rounds.", min=1)] = 25,
) -> None:
    """Fit the speed constants to the measurements; show the errors, cross-validated; write data/speed and the page."""
    from sizing.facts.catalogue import load_facts
    from sizing.fitting.accuracy import refit
    from sizing.fitting.measurements import cases

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    refit(cases(load_facts()), rounds, not dry_run, say, show=lambda cells: print(" | ".join(cells)))
