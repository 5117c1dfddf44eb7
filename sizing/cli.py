"""The command line: the only place that prints, reads files named by a person, and writes."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from sizing.errors import BadRequest, KitError
from sizing.facts import load_facts
from sizing.plan import Plan

DEPLOYMENTS = Path("deployments")

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)

Name = Annotated[str, typer.Argument(help="A deployment: a folder of deployments/, or a path to one.")]
Folder = Annotated[
    Path | None, typer.Option("--model", help="Weights in this folder instead of the model the request names.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable rows instead of a table.")]


def _deployment(name: str) -> Path:
    folder = Path(name) if os.sep in name else DEPLOYMENTS / name
    if not (folder / "request.toml").is_file():
        known = sorted(path.parent.name for path in DEPLOYMENTS.glob("*/request.toml"))
        raise BadRequest(
            f"{folder}/request.toml does not exist; deployments here: {', '.join(known) or 'none'} "
            f"(run from the folder that holds deployments/)"
        )
    return folder


def _planned(name: str, model: Path | None) -> tuple[Path, Plan]:
    from sizing.folder_model import folder_model
    from sizing.planning import plan
    from sizing.request import read_request

    folder = _deployment(name)
    facts = load_facts()
    request = read_request(folder / "request.toml")
    return folder, plan(folder.name, request, facts, None if model is None else folder_model(model, facts))


@app.command("plan")
def plan_command(name: Name, model: Folder = None, as_json: AsJson = False) -> None:
    """Show the plan: hardware, settings, memory, TTFT, TPOT and cost. Writes nothing."""
    _, planned = _planned(name, model)
    if as_json:
        sys.stdout.write(planned.to_json())
        return
    from sizing.show import console, explanation

    console().print(explanation(planned, every=False))


@app.command()
def explain(name: Name) -> None:
    """Show the plan and, in numbers, why every other candidate lost."""
    from sizing.show import console, explanation

    console().print(explanation(_planned(name, None)[1], every=True))


@app.command()
def write(
    name: Name,
    model: Folder = None,
    into: Annotated[Path | None, typer.Option(help="Write to this folder instead of the deployment's own.")] = None,
) -> None:
    """Write plan.json, values.yaml and inventory.yml of a deployment: all of them, or none."""
    from sizing.render import render

    folder, planned = _planned(name, model)
    files = render(planned)
    target = into or folder
    target.mkdir(parents=True, exist_ok=True)
    for file, text in files.items():
        part = target / f".{file}.part"
        part.write_text(text, encoding="utf-8")
    for file in files:
        (target / f".{file}.part").replace(target / file)
        print(target / file)


@app.command()
def check(
    names: Annotated[list[str] | None, typer.Argument(help="Deployments; all of them when none is named.")] = None,
) -> None:
    """Are the committed files still what request and facts give? Exit 1 with a sentence for each that is not."""
    from sizing.freshness import stale

    folders = [_deployment(name) for name in names or sorted(p.parent.name for p in DEPLOYMENTS.glob("*/request.toml"))]
    problems = [problem for folder in folders for problem in stale(folder)]
    for problem in problems:
        print(problem)
    if problems:
        raise typer.Exit(1)
    print(f"{len(folders)} deployment{'' if len(folders) == 1 else 's'} fresh: {', '.join(f.name for f in folders)}")


Match = Annotated[str, typer.Argument(help="Only rows that contain this text.")]


def _rows(rows: list[dict[str, object]], match: str, as_json: bool) -> None:
    kept = [row for row in rows if match.lower() in " ".join(str(value) for value in row.values()).lower()]
    if as_json:
        print(json.dumps(kept, indent=2, ensure_ascii=False))
        return
    from sizing.show import console, table_of

    console().print(table_of(kept))


@app.command()
def models(match: Match = "", as_json: AsJson = False) -> None:
    """The model catalogue."""
    from sizing.show import model_rows

    _rows(model_rows(load_facts()), match, as_json)


@app.command()
def gpus(match: Match = "", as_json: AsJson = False) -> None:
    """The GPUs the kit knows, and the AWS instance types that carry them."""
    from sizing.show import gpu_rows

    _rows(gpu_rows(load_facts()), match, as_json)


@app.command()
def hosts(match: Match = "", as_json: AsJson = False) -> None:
    """AWS instance types and home hosts, with prices."""
    from sizing.show import host_rows

    _rows(host_rows(load_facts()), match, as_json)


@app.command()
def estimate(
    source: Annotated[str, typer.Argument(help='A file of JSON Lines, or "-" for standard input.')] = "-",
) -> None:
    """Answer what-if questions, one JSON object a line (docs/estimate.md)."""
    from sizing.estimate import answers, read_questions

    try:
        text = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
        questions = read_questions(text.decode("utf-8").split("\n"))
    except OSError as failed:
        raise BadRequest(f"{source} cannot be read: {failed.strerror}") from None
    except UnicodeDecodeError as broken:
        raise BadRequest(f"{source} is not UTF-8 text: {broken}") from None
    for line in answers(questions, load_facts()):
        print(line)


def main() -> None:
    """Entry point: expected refusals become sentences on stderr and exit code 2."""
    try:
        app()
    except KitError as refusal:
        for problem in refusal.problems:
            print(problem, file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
