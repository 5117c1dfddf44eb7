"""What several commands take, look up and print."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sizing.errors import BadRequest, echo

if TYPE_CHECKING:
    from sizing.plan.plan import Plan

DEPLOYMENTS = Path("deployments")
NAME = r"[a-z]([a-z0-9-]{0,50}[a-z0-9])?"  # what a Pulumi stack, a Helm release and a host may all be called

Name = Annotated[str, typer.Argument(help="A deployment: a folder of deployments/, or a path to one.")]
Folder = Annotated[
    Path | None, typer.Option("--model", help="Weights in this folder instead of the model the request names.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable rows instead of a table.")]
Match = Annotated[str, typer.Argument(help="Only rows that contain this text.")]


def deployment(name: str) -> Path:
    """The folder of the deployment *name*, or at that path. Raises ``BadRequest``."""
    folder = (Path(name) if os.sep in name else DEPLOYMENTS / name).resolve()
    try:
        there = (folder / "request.toml").exists()
    except OSError:  # a name that is too long for a file
        there = False
    if not there:
        raise BadRequest(
            f"{name} is no deployment: {folder}/request.toml does not exist; deployments here: "
            f"{', '.join(deployments()) or 'none (run from the folder that holds deployments/)'}"
        )
    if not re.fullmatch(NAME, folder.name):
        raise BadRequest(
            f"{echo(folder.name)} cannot name a deployment: it is a stack, a release and a host too: use a-z, 0-9 and -"
        )
    return folder


def deployments() -> list[str]:
    """The names of those here."""
    return sorted(path.parent.name for path in DEPLOYMENTS.glob("*/request.toml"))


def plan_of(name: str, model: Path | None) -> tuple[Path, Plan]:
    """The folder of the deployment *name* and its plan, with the weights in the folder *model* where one is given."""
    from sizing.facts.catalogue import load_facts
    from sizing.facts.folder_model import folder_model
    from sizing.planning.planning import plan
    from sizing.request.request import read_request

    folder = deployment(name)
    facts = load_facts()
    request = read_request(folder / "request.toml")
    if model is not None and request.place.kind != "local":
        raise BadRequest(
            f"--model serves weights of this machine, which {folder.name} ({request.place.kind}) does not reach; "
            f'use it with a deployment whose place.kind is "local"'
        )
    return folder, plan(folder.name, request, facts, None if model is None else folder_model(model, facts))


def print_matching(rows: list[dict[str, object]], match: str, as_json: bool) -> None:
    """Those of *rows* that contain *match*. Raises ``BadRequest`` where none does."""
    kept = [row for row in rows if match.lower() in " ".join(str(value) for value in row.values()).lower()]
    if as_json:
        print(json.dumps(kept, indent=2, ensure_ascii=False))
        return
    if not kept:
        raise BadRequest(f"no row contains {echo(match)}")
    from sizing.views.tables import console, print_rows

    print_rows(console(), kept)
