"""Commands about a deployment, and what-if questions."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from sizing.cli.shared import DEPLOYMENTS, AsJson, Folder, Name, deployment, deployments, plan_of
from sizing.errors import BadRequest

commands = typer.Typer()


class Side(StrEnum):
    """What ``compare`` puts side by side."""

    gpu = "gpu"
    precision = "precision"
    engine = "engine"


@commands.command("plan")
def plan_command(name: Name, model: Folder = None, as_json: AsJson = False) -> None:
    """Show the plan: hardware, settings, memory, TTFT, TPOT and cost. Writes nothing."""
    _, planned = plan_of(name, model)
    if as_json:
        sys.stdout.write(planned.to_json())
        return
    from sizing.views.plan import show_plan
    from sizing.views.tables import console

    show_plan(console(), planned)


@commands.command()
def explain(
    name: Name,
    gpu: Annotated[str | None, typer.Option(help="Why not on this card, and what would make it enough.")] = None,
) -> None:
    """Show the plan, where its numbers come from, what would make other cards enough, and why every candidate lost."""
    from sizing.facts.catalogue import load_facts
    from sizing.views.plan import show_card, show_explanation, verdicts
    from sizing.views.tables import console
    from sizing.whatif.compare import compare

    planned, facts = plan_of(name, None)[1], load_facts()
    if gpu is None:
        show_explanation(console(), planned, verdicts(planned, facts))
        if planned.placement.kind == "home" and planned.placement.gpu:
            from sizing.hosts.bill import bill_of_materials
            from sizing.hosts.home import home_host
            from sizing.views.bill import bill_view

            host = home_host(facts, planned.placement.host_type)
            console().print(bill_view(bill_of_materials(host, facts, disk_need_gib=planned.placement.disk_gib)))
    else:
        row = compare(planned.request, facts, "gpu", [gpu])[0]
        show_card(console(), planned, row, verdicts(planned, facts, gpu))


@commands.command("compare")
def compare_command(
    name: Name,
    by: Annotated[Side, typer.Option(help="What to put side by side.")] = Side.gpu,
    only: Annotated[str, typer.Option(metavar="A,B", help="Only these, separated by commas.")] = "",
    as_json: AsJson = False,
) -> None:
    """Put GPUs, precisions or engines side by side for one request, also GPUs that nobody rents out."""
    from sizing.facts.catalogue import load_facts
    from sizing.hosts.cards import home_against_cloud
    from sizing.request.request import read_request
    from sizing.whatif.compare import compare

    request, facts = read_request(deployment(name) / "request.toml"), load_facts()
    rows = compare(request, facts, by.value, [each.strip() for each in only.split(",") if each.strip()])
    if as_json:
        print(json.dumps([row.model_dump(mode="json") for row in rows], indent=2, ensure_ascii=False))
        return
    from sizing.views.tables import comparison, console

    console().print(comparison(rows, by.value))
    best = [(row.place, row.gpu) for row in rows if row.verdict == "meets" and row.gpu is not None]
    for note in home_against_cloud(best, facts):
        print(f"! {note}")


@commands.command("report")
def report_command(
    name: Name,
    into: Annotated[Path | None, typer.Option(help="The file to write; <name>-report.html otherwise.")] = None,
) -> None:
    """Write the report of a deployment: one HTML file with plots, which opens from disk and loads nothing."""
    from sizing.facts.catalogue import load_facts
    from sizing.request.request import read_request
    from sizing.views.page import html
    from sizing.whatif.report import report

    folder = deployment(name)
    target = into or Path(f"{folder.name}-report.html")
    page = html(report(folder.name, read_request(folder / "request.toml"), load_facts()))
    try:
        target.write_text(page, encoding="utf-8")
    except OSError as failed:
        raise BadRequest(f"{target} cannot be written: {failed.strerror}") from None
    print(target)


@commands.command()
def write(
    name: Name,
    model: Folder = None,
    into: Annotated[Path | None, typer.Option(help="Write to this folder instead of the deployment's own.")] = None,
) -> None:
    """Write plan.json, values.yaml and inventory.yml of a deployment: all of them, or none."""
    from sizing.plan.files import render, write_all

    folder, planned = plan_of(name, model)
    target, files = into or folder, render(planned)
    write_all(target, files)
    for file in files:
        print(target / file)


@commands.command()
def check(
    names: Annotated[list[str] | None, typer.Argument(help="Deployments; all of them when none is named.")] = None,
) -> None:
    """Are the committed files still what request and facts give? Exit 1 with a sentence for each that is not."""
    from sizing.planning.freshness import stale

    folders = [deployment(name) for name in names or deployments()]
    if not names:  # a plan whose request is gone can still be placed
        plans = sorted(DEPLOYMENTS.glob("*/plan.json"))
        folders += [plan.parent for plan in plans if not plan.with_name("request.toml").exists()]
    if not folders:
        raise BadRequest("there is no deployments/*/request.toml here; run from the folder that holds deployments/")
    problems = [problem for folder in folders for problem in stale(folder)]
    for problem in problems:
        print(problem)
    if problems:
        raise typer.Exit(1)
    print(f"{len(folders)} deployment{'' if len(folders) == 1 else 's'} fresh: {', '.join(f.name for f in folders)}")


@commands.command()
def estimate(
    source: Annotated[str, typer.Argument(help='A file of JSON Lines, or "-" for standard input.')] = "-",
) -> None:
    """Answer what-if questions, one JSON object a line (docs/estimate.md)."""
    from sizing.facts.catalogue import load_facts
    from sizing.whatif.estimate import answers, read_questions

    try:
        text = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
        questions = read_questions(text.decode("utf-8").split("\n"))
    except OSError as failed:
        raise BadRequest(f"{source} cannot be read: {failed.strerror}") from None
    except UnicodeDecodeError as broken:
        raise BadRequest(f"{source} is not UTF-8 text: {broken}") from None
    for line in answers(questions, load_facts()):
        print(line)
