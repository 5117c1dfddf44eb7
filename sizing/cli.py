"""
The command line: the only place that prints, reads files named by a person, and writes.

A command imports what it calls: `--help` stays instant (docs/performance.md).
"""

from __future__ import annotations

import json
import os
import re
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sizing.errors import BadRequest, KitError, echo

if TYPE_CHECKING:
    from sizing.plan import Plan

DEPLOYMENTS = Path("deployments")
NAME = r"[a-z]([a-z0-9-]{0,50}[a-z0-9])?"  # what a Pulumi stack, a Helm release and a host may all be called

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)

Name = Annotated[str, typer.Argument(help="A deployment: a folder of deployments/, or a path to one.")]
Folder = Annotated[
    Path | None, typer.Option("--model", help="Weights in this folder instead of the model the request names.")
]


class Side(StrEnum):
    """What ``compare`` puts side by side."""

    gpu = "gpu"
    precision = "precision"
    engine = "engine"


AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable rows instead of a table.")]


def _deployment(name: str) -> Path:
    folder = (Path(name) if os.sep in name else DEPLOYMENTS / name).resolve()
    if not (folder / "request.toml").exists():
        raise BadRequest(
            f"{name} is no deployment: {folder}/request.toml does not exist; deployments here: "
            f"{', '.join(_deployments()) or 'none (run from the folder that holds deployments/)'}"
        )
    if not re.fullmatch(NAME, folder.name):
        raise BadRequest(
            f"{echo(folder.name)} cannot name a deployment: it is a stack, a release and a host too: use a-z, 0-9 and -"
        )
    return folder


def _deployments() -> list[str]:
    return sorted(path.parent.name for path in DEPLOYMENTS.glob("*/request.toml"))


def _planned(name: str, model: Path | None) -> tuple[Path, Plan]:
    from sizing.facts import load_facts
    from sizing.folder_model import folder_model
    from sizing.planning import plan
    from sizing.request import read_request

    folder = _deployment(name)
    facts = load_facts()
    request = read_request(folder / "request.toml")
    if model is not None and request.place.kind != "local":
        raise BadRequest(
            f"--model serves weights of this machine, which {folder.name} ({request.place.kind}) does not reach; "
            f'use it with a deployment whose place.kind is "local"'
        )
    return folder, plan(folder.name, request, facts, None if model is None else folder_model(model, facts))


@app.command("plan")
def plan_command(name: Name, model: Folder = None, as_json: AsJson = False) -> None:
    """Show the plan: hardware, settings, memory, TTFT, TPOT and cost. Writes nothing."""
    _, planned = _planned(name, model)
    if as_json:
        sys.stdout.write(planned.to_json())
        return
    from sizing.explain import show_plan
    from sizing.show import console

    show_plan(console(), planned)


@app.command()
def explain(
    name: Name,
    gpu: Annotated[str | None, typer.Option(help="Why not on this card, and what would make it enough.")] = None,
) -> None:
    """Show the plan, where its numbers come from, what would make other cards enough, and why every candidate lost."""
    from sizing.compare import compare
    from sizing.explain import show_card, show_explanation, verdicts
    from sizing.facts import load_facts
    from sizing.show import console

    planned, facts = _planned(name, None)[1], load_facts()
    if gpu is None:
        show_explanation(console(), planned, verdicts(planned, facts))
        if planned.placement.kind == "home" and planned.placement.gpu:
            from sizing.bill import bill_of_materials
            from sizing.bill_view import bill_view
            from sizing.home_hosts import home_host

            host = home_host(facts, planned.placement.host_type)
            console().print(bill_view(bill_of_materials(host, facts, disk_need_gib=planned.placement.disk_gib)))
    else:
        row = compare(planned.request, facts, "gpu", [gpu])[0]
        show_card(console(), planned, row, verdicts(planned, facts, gpu))


@app.command("compare")
def compare_command(
    name: Name,
    by: Annotated[Side, typer.Option(help="What to put side by side.")] = Side.gpu,
    only: Annotated[str, typer.Option(metavar="A,B", help="Only these, separated by commas.")] = "",
    as_json: AsJson = False,
) -> None:
    """Put GPUs, precisions or engines side by side for one request, also GPUs that nobody rents out."""
    from sizing.cards import home_against_cloud
    from sizing.compare import compare
    from sizing.facts import load_facts
    from sizing.request import read_request

    request, facts = read_request(_deployment(name) / "request.toml"), load_facts()
    rows = compare(request, facts, by.value, [each.strip() for each in only.split(",") if each.strip()])
    if as_json:
        print(json.dumps([row.model_dump(mode="json") for row in rows], indent=2, ensure_ascii=False))
        return
    from sizing.show import comparison, console

    console().print(comparison(rows, by.value))
    best = [(row.place, row.gpu) for row in rows if row.verdict == "meets" and row.gpu is not None]
    for note in home_against_cloud(best, facts):
        print(f"! {note}")


@app.command("report")
def report_command(
    name: Name,
    into: Annotated[Path | None, typer.Option(help="The file to write; <name>-report.html otherwise.")] = None,
) -> None:
    """Write the report of a deployment: one HTML file with plots, which opens from disk and loads nothing."""
    from sizing.facts import load_facts
    from sizing.page import html
    from sizing.report import report
    from sizing.request import read_request

    folder = _deployment(name)
    target = into or Path(f"{folder.name}-report.html")
    page = html(report(folder.name, read_request(folder / "request.toml"), load_facts()))
    try:
        target.write_text(page, encoding="utf-8")
    except OSError as failed:
        raise BadRequest(f"{target} cannot be written: {failed.strerror}") from None
    print(target)


@app.command()
def write(
    name: Name,
    model: Folder = None,
    into: Annotated[Path | None, typer.Option(help="Write to this folder instead of the deployment's own.")] = None,
) -> None:
    """Write plan.json, values.yaml and inventory.yml of a deployment: all of them, or none."""
    from sizing.render import render, write_all

    folder, planned = _planned(name, model)
    target, files = into or folder, render(planned)
    write_all(target, files)
    for file in files:
        print(target / file)


@app.command()
def check(
    names: Annotated[list[str] | None, typer.Argument(help="Deployments; all of them when none is named.")] = None,
) -> None:
    """Are the committed files still what request and facts give? Exit 1 with a sentence for each that is not."""
    from sizing.freshness import stale

    folders = [_deployment(name) for name in names or _deployments()]
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


Match = Annotated[str, typer.Argument(help="Only rows that contain this text.")]


def _rows(rows: list[dict[str, object]], match: str, as_json: bool) -> None:
    kept = [row for row in rows if match.lower() in " ".join(str(value) for value in row.values()).lower()]
    if as_json:
        print(json.dumps(kept, indent=2, ensure_ascii=False))
        return
    if not kept:
        raise BadRequest(f"no row contains {echo(match)}")
    from sizing.show import console, print_rows

    print_rows(console(), kept)


@app.command()
def models(match: Match = "", as_json: AsJson = False) -> None:
    """The model catalogue."""
    from sizing.facts import load_facts
    from sizing.show import model_rows

    _rows(model_rows(load_facts()), match, as_json)


@app.command()
def gpus(match: Match = "", as_json: AsJson = False) -> None:
    """The GPUs the kit knows, and the AWS instance types that carry them."""
    from sizing.facts import load_facts
    from sizing.show import gpu_rows

    _rows(gpu_rows(load_facts()), match, as_json)


@app.command()
def hosts(match: Match = "", as_json: AsJson = False) -> None:
    """AWS instance types and home hosts, with prices."""
    from sizing.facts import load_facts
    from sizing.show import host_rows

    _rows(host_rows(load_facts()), match, as_json)


@app.command()
def recommend(
    context: typer.Context,
    need: Annotated[
        list[str] | None, typer.Option(help="text, code, math, vision, audio, long-context, agents.")
    ] = None,
    gpu: Annotated[str | None, typer.Option(help="A GPU you own.")] = None,
    count: Annotated[int, typer.Option(help="How many of them, in one host.")] = 1,
    ram_gib: Annotated[int, typer.Option(help="Memory of that host.")] = 64,
    host: Annotated[str | None, typer.Option(help="A home host to buy: home-2x-rtx-4090, home-1x-rtx-3090...")] = None,
    usd_per_hour: Annotated[str | None, typer.Option(help="A budget: the cloud, or a home host by the hour.")] = None,
    usd_per_month: Annotated[str | None, typer.Option(help="The same budget by the month.")] = None,
    region: Annotated[str, typer.Option(help="AWS region of a budget.")] = "us-east-1",
    cpu_only: Annotated[bool, typer.Option("--cpu-only", help="No GPU at all.")] = False,
    commercial: Annotated[bool, typer.Option("--commercial/--non-commercial", help="Will you sell with it?")] = True,
    concurrency: Annotated[int | None, typer.Option(help="Requests at the same time.")] = None,
    input_tokens: Annotated[int | None, typer.Option(help="Of a request.")] = None,
    output_tokens: Annotated[int | None, typer.Option(help="Of an answer.")] = None,
    ttft_ms: Annotated[float | None, typer.Option(help="Mean time to the first token, at most.")] = None,
    tpot_ms: Annotated[float | None, typer.Option(help="Mean time per token after it, at most.")] = None,
    answers: Annotated[int | None, typer.Option(help="How many models.")] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Also why not the others, and errors of the notes.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Which Qwen, on which hardware, may I sell with it, what do I give up. Without flags: asks three questions."""
    from sizing.dialogue import ask_wish, budget
    from sizing.facts import load_facts
    from sizing.recommend import recommend as recommended
    from sizing.wish import Hardware, Wish

    facts = load_facts()
    if all(getattr(context.get_parameter_source(name), "name", "") == "DEFAULT" for name in context.params):
        if not sys.stdin.isatty():
            raise BadRequest("give flags (`qwenkit recommend --help`), or a terminal in which questions can be asked")
        wish = ask_wish(lambda question, default: str(typer.prompt(question, default=default)), print, facts)
    else:
        own = Hardware(gpu, count, ram_gib, host, budget(usd_per_hour, usd_per_month), region, cpu_only)
        load = (concurrency, input_tokens, output_tokens, ttft_ms, tpot_ms)
        wish = Wish(tuple(need or ()), own, commercial, *load, answers)
    advice = recommended(wish, facts)
    from sizing.advice_view import advice_data, advice_view

    if as_json:
        print(json.dumps(advice_data(advice), indent=2, ensure_ascii=False))
        return
    from sizing.show import console

    console().print(advice_view(advice, explain))


@app.command()
def errata(match: Match = "", as_json: AsJson = False) -> None:
    """What the notes this kit started from got wrong, with the correction and its source."""
    from sizing.errata import load_errata

    _rows([erratum.model_dump(exclude={"touches"}) for erratum in load_errata()], match, as_json)


@app.command()
def licences(match: Match = "", as_json: AsJson = False) -> None:
    """May I sell with it? Every licence of the catalogue: the verdict, why, and the models under it."""
    from sizing.facts import load_facts
    from sizing.licences import licence_rows

    _rows(licence_rows(load_facts()), match, as_json)


@app.command()
def bom(
    name: Annotated[
        str, typer.Argument(help="A home host (home-2x-rtx-4090, home-4x-rtx-3090...), or a deployment at home.")
    ],
    usd_per_kwh: Annotated[float | None, typer.Option(help="Price of electricity instead of the host file's.")] = None,
    as_json: AsJson = False,
) -> None:
    """The bill of materials of a home host: parts and why, power supply, watts, heat, electricity a month."""
    from dataclasses import asdict

    from sizing.bill import bill_of_materials, electricity_price, without_cards
    from sizing.facts import load_facts
    from sizing.home_hosts import home_host

    facts, price, disk = load_facts(), electricity_price(usd_per_kwh), None
    if name in facts.cpu_hosts:
        raise BadRequest(without_cards(facts.cpu_hosts[name]))
    if name not in facts.hosts and (name in _deployments() or os.sep in name):
        _, planned = _planned(name, None)
        if planned.placement.kind != "home" or planned.placement.gpu is None:
            raise BadRequest(
                f"{name} is placed on {planned.placement.host_type} ({planned.placement.kind}); only a home host with "
                f"GPUs has a bill of materials"
            )
        name, disk = planned.placement.host_type, planned.placement.disk_gib
    bill = bill_of_materials(home_host(facts, name), facts, price, disk)
    if as_json:
        print(json.dumps(asdict(bill), indent=2, default=str, ensure_ascii=False))
        return
    from sizing.bill_view import bill_view
    from sizing.show import console

    console().print(bill_view(bill))


@app.command()
def estimate(
    source: Annotated[str, typer.Argument(help='A file of JSON Lines, or "-" for standard input.')] = "-",
) -> None:
    """Answer what-if questions, one JSON object a line (docs/estimate.md)."""
    from sizing.estimate import answers, read_questions
    from sizing.facts import load_facts

    try:
        text = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
        questions = read_questions(text.decode("utf-8").split("\n"))
    except OSError as failed:
        raise BadRequest(f"{source} cannot be read: {failed.strerror}") from None
    except UnicodeDecodeError as broken:
        raise BadRequest(f"{source} is not UTF-8 text: {broken}") from None
    for line in answers(questions, load_facts()):
        print(line)


@app.command()
def fit(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the errors, write nothing.")] = False,
    rounds: Annotated[int, typer.Option(help="At most so many rounds.", min=1)] = 25,
) -> None:
    """Fit the speed constants to the measurements; show the errors, cross-validated; write data/speed and the page."""
    from sizing.accuracy import refit
    from sizing.facts import load_facts
    from sizing.measurements import cases

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    refit(cases(load_facts()), rounds, not dry_run, say, show=lambda cells: print(" | ".join(cells)))


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
